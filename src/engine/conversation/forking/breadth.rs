//! How many phones may ring for one request, over all that forks it (RFC 5393 5), and requests that come back
//! (RFC 5393 4).

use crate::engine::ids::Aor;
use crate::engine::mint::hash64;
use crate::engine::routing::Target;
use crate::sip::{Message, Name, Via};

/// RFC 5393 5.3.1: where the request says nothing.
const BREADTH: u32 = 60;

/// Reads Max-Breadth. None where nobody may ring any more, or it is no number.
pub(crate) fn breadth(request: &Message) -> Option<u32> {
    let Some(value) = request.header(Name::MaxBreadth) else {
        return Some(BREADTH);
    };
    let most: u32 = value.trim().parse().ok()?;
    (most > 0).then_some(most)
}

/// What an INVITE that we begin ourselves starts with.
pub(crate) fn own() -> u32 {
    BREADTH
}

/// Returns what one of so many branches may have of it.
pub(crate) fn share(breadth: u32, branches: usize) -> u32 {
    let branches = u32::try_from(branches).unwrap_or(u32::MAX).max(1);
    (breadth / branches).max(1)
}

/// Cuts groups that are wider into ones that may ring, one after another.
pub(crate) fn narrow(groups: Vec<Vec<Target>>, breadth: u32) -> Vec<Vec<Target>> {
    let most = usize::try_from(breadth).unwrap_or(usize::MAX).max(1);
    let cut = |group: Vec<Target>| -> Vec<Vec<Target>> {
        group.chunks(most).map(<[Target]>::to_vec).collect()
    };
    groups.into_iter().flat_map(cut).collect()
}

/// Returns what the branch of a request says of whom it is for: the same for every shard of a node, another
/// for every node.
pub(crate) fn mark(node: &str, aor: &Aor) -> String {
    format!("{:08x}", hash64((node, aor.as_str())) as u32)
}

/// Returns true where a request went through us before on its way to the same person: it would go round for
/// ever. To another one it may come back (a spiral, RFC 5393 2).
pub(crate) fn has_looped(request: &Message, node: &str, aor: &Aor) -> bool {
    let mut own = None;
    let mut ours = |via: &str| {
        let branch = Via::parse(via).ok()?.branch?;
        let (coin, marked) = branch.split_once('.')?;
        crate::engine::mint::branch_shard(coin)?;
        Some(marked == own.get_or_insert_with(|| mark(node, aor)).as_str())
    };
    request.vias().any(|via| ours(via) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breadth_is_shared_and_never_given_twice() {
        for (breadth, branches, each) in [(60, 1, 60), (60, 7, 8), (2, 2, 1), (1, 1, 1)] {
            assert_eq!(share(breadth, branches), each);
            assert!(each * branches as u32 <= breadth);
        }
    }

    #[test]
    fn a_mark_is_of_the_person_and_of_the_node() {
        let bob = Aor::from_canonical("sip:bob@example.org");
        let carol = Aor::from_canonical("sip:carol@example.org");
        assert_eq!(mark("a", &bob), mark("a", &bob));
        assert_ne!(mark("a", &bob), mark("b", &bob));
        assert_ne!(mark("a", &bob), mark("a", &carol));
    }
}
