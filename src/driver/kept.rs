//! What names were located at last, for when DNS is in trouble (RFC 8767).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::locating::{Hop, Located};

/// For how long an answer is gone by that cannot be had again (RFC 8767 5: one to three days).
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Hops whose last targets are kept; with more, the oldest is forgotten.
const KEPT_MAX: usize = 1024;

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) targets: Vec<Located>,
    /// Somebody did not answer: what is missing may be there.
    pub(super) trouble: bool,
}

/// How a search is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// By what was found, all that there is or what could be learnt.
    Found,
    /// By what was found before.
    Stale,
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    by_hop: BTreeMap<Hop, (Vec<Located>, Duration)>,
}

impl Kept {
    /// Takes what a search came to at `now`, a time since any beginning, and returns what it is answered
    /// with. What DNS says whole replaces what it said before, also where it says that there is nothing. In
    /// trouble what it last said whole is better than a part: that may be the way that was second best, or
    /// the host itself in place of its services.
    pub(super) fn settle(
        &mut self,
        hop: &Hop,
        found: Found,
        now: Duration,
    ) -> (Vec<Located>, Settled) {
        let Found { targets, trouble } = found;
        let fresh = |(_, at): &&(Vec<Located>, Duration)| *at + STALE_MAX > now;
        if trouble {
            return match self.by_hop.get(hop).filter(fresh) {
                Some((kept, _)) => (kept.clone(), Settled::Stale),
                None if targets.is_empty() => (targets, Settled::Nothing),
                None => (targets, Settled::Found),
            };
        }
        if targets.is_empty() {
            self.by_hop.remove(hop);
            return (targets, Settled::Nothing);
        }
        if self.by_hop.len() >= KEPT_MAX && !self.by_hop.contains_key(hop) {
            let oldest = self.by_hop.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(hop, _)| hop.clone()) {
                self.by_hop.remove(&oldest);
            }
        }
        self.by_hop.insert(hop.clone(), (targets.clone(), now));
        (targets, Settled::Found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Transport;

    fn hop(host: &str) -> Hop {
        Hop {
            host: host.into(),
            port: None,
            transport: None,
            secure: false,
        }
    }

    fn found(ports: &[u16], trouble: bool) -> Found {
        let target = |port: &u16| (Transport::Udp, ([192, 0, 2, 1], *port).into());
        Found {
            targets: ports.iter().map(target).collect(),
            trouble,
        }
    }

    #[test]
    fn trouble_takes_nothing_away_for_a_day() {
        let (mut kept, name) = (Kept::default(), hop("pbx.example.net"));
        let mut settle = |ports: &[u16], trouble, at| {
            let (targets, how) = kept.settle(&name, found(ports, trouble), at);
            let ports: Vec<u16> = targets.iter().map(|(_, at)| at.port()).collect();
            (ports, how)
        };
        let (start, day) = (Duration::from_secs(7), STALE_MAX);
        let (nothing, stale) = (Settled::Nothing, Settled::Stale);
        assert_eq!(settle(&[], true, start), (vec![], nothing));
        // A part is better than nothing, but is not what is kept.
        assert_eq!(settle(&[5060], true, start), (vec![5060], Settled::Found));
        assert_eq!(settle(&[], true, start), (vec![], nothing));
        assert_eq!(settle(&[1, 2], false, start), (vec![1, 2], Settled::Found));
        let later = start + day - Duration::from_secs(1);
        assert_eq!(settle(&[5060], true, later), (vec![1, 2], stale));
        assert_eq!(settle(&[], true, later), (vec![1, 2], stale));
        assert_eq!(settle(&[], true, start + day), (vec![], nothing));
        assert_eq!(settle(&[3], true, start + day), (vec![3], Settled::Found));
        // What is said to be gone is gone.
        assert_eq!(settle(&[4], false, later), (vec![4], Settled::Found));
        assert_eq!(settle(&[], false, later), (vec![], nothing));
        assert_eq!(settle(&[], true, later), (vec![], nothing));
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let mut kept = Kept::default();
        for n in 0..=KEPT_MAX {
            let name = hop(&format!("h{n}.example.net"));
            kept.settle(&name, found(&[1], false), Duration::from_secs(n as u64));
        }
        assert_eq!(kept.by_hop.len(), KEPT_MAX);
        let now = Duration::from_secs(KEPT_MAX as u64);
        let mut last = |n: usize| {
            let name = hop(&format!("h{n}.example.net"));
            kept.settle(&name, found(&[], true), now).1
        };
        assert_eq!((last(0), last(1)), (Settled::Nothing, Settled::Stale));
    }
}
