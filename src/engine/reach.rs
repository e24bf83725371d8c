//! How far somebody's calls, and transfers, may go.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    Anywhere,
    /// To our users, and to this upstream.
    Upstream(Box<str>),
    /// To our users.
    Users,
}

impl Reach {
    /// Returns true where a call may go to our users (no upstream), or to an upstream.
    pub fn takes(&self, upstream: Option<&str>) -> bool {
        match (self, upstream) {
            (Self::Anywhere, _) | (_, None) => true,
            (Self::Upstream(theirs), Some(upstream)) => **theirs == *upstream,
            (Self::Users, Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reaches_more_than_its_own() {
        let pbx = Reach::Upstream("pbx".into());
        for (reach, users, own, other) in [
            (Reach::Anywhere, true, true, true),
            (pbx, true, true, false),
            (Reach::Users, true, false, false),
        ] {
            let takes = (
                reach.takes(None),
                reach.takes(Some("pbx")),
                reach.takes(Some("trunk")),
            );
            assert_eq!(takes, (users, own, other), "{reach:?}");
        }
    }
}
