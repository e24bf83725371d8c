//! Who somebody is, as far as that is known, and how far their calls and transfers may go.

use serde::{Deserialize, Serialize};

use crate::engine::ids::Aor;
use crate::engine::refusal::Refusal;

/// What is told to a stranger that wants more than our users.
pub const NOT_FOR_STRANGERS: Refusal = Refusal::new(403, "beyond our users, for somebody unknown");

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asker {
    /// A user of ours: by digest, or by what is registered or configured for it.
    Proven(Aor),
    /// In the name of a user of a domain that asks for no proof.
    Unasked(Aor),
    /// A peer whose word is believed.
    Trusted,
    /// A user whom this upstream knows, and has let register; or that upstream itself.
    Of(Box<str>),
    /// In the name of a user whom this upstream would know; nothing shows that it is that user.
    Says(Box<str>),
    #[default]
    Stranger,
}

impl Asker {
    /// Returns true where nothing shows who it is.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Says(_) | Self::Stranger => true,
            Self::Proven(_) | Self::Unasked(_) | Self::Trusted | Self::Of(_) => false,
        }
    }

    /// Returns the upstream that knows who it is, or would: it alone judges what they show it.
    pub fn upstream(&self) -> Option<&str> {
        match self {
            Self::Of(upstream) | Self::Says(upstream) => Some(upstream),
            Self::Proven(_) | Self::Unasked(_) | Self::Trusted | Self::Stranger => None,
        }
    }

    /// Returns true where a call of theirs may go to our users (no upstream), or to an upstream.
    pub fn may_reach(&self, upstream: Option<&str>) -> bool {
        match (self, upstream) {
            (Self::Proven(_) | Self::Unasked(_) | Self::Trusted, _) | (_, None) => true,
            // A call of its own is the upstream's to judge.
            (Self::Of(theirs) | Self::Says(theirs), Some(upstream)) => **theirs == *upstream,
            (Self::Stranger, Some(_)) => false,
        }
    }

    /// The same where we call in their stead, with our own account or address: the upstream judges us then.
    pub fn may_send_to(&self, upstream: Option<&str>) -> bool {
        match self {
            Self::Says(_) => upstream.is_none(),
            Self::Proven(_) | Self::Unasked(_) | Self::Trusted | Self::Of(_) | Self::Stranger => {
                self.may_reach(upstream)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reaches_more_than_its_own() {
        let alice = || Aor::from_canonical("sip:alice@example.org");
        for (asker, users, own, other) in [
            (Asker::Proven(alice()), true, true, true),
            (Asker::Unasked(alice()), true, true, true),
            (Asker::Trusted, true, true, true),
            (Asker::Of("pbx".into()), true, true, false),
            (Asker::Says("pbx".into()), true, true, false),
            (Asker::Stranger, true, false, false),
        ] {
            let reached = [None, Some("pbx"), Some("trunk")].map(|to| asker.may_reach(to));
            assert_eq!(reached, [users, own, other], "{asker:?}");
            let says = matches!(asker, Asker::Says(_));
            let sent = [None, Some("pbx"), Some("trunk")].map(|to| asker.may_send_to(to));
            assert_eq!(sent, [users, own && !says, other], "{asker:?}");
        }
    }
}
