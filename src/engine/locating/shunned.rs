//! Targets that failed lately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Located;
use crate::engine::time::{Millis, Time};

/// How long a target that did not answer is asked after the others.
const LAST_FOR: Millis = Millis::from_secs(30);
/// Nobody is left alone longer, whatever its Retry-After says.
const AWAY_MAX: Millis = Millis::from_secs(3600);
/// Targets remembered; with more, the one that is free again soonest is forgotten.
const REMEMBERED_MAX: usize = 4096;

/// Remembers what failed: who asked for a pause has it (RFC 3261 21.5.4), who was silent comes last.
#[derive(Debug, Default)]
pub struct Shunned {
    until: BTreeMap<Located, Shun>,
    /// The same, by when they are free again.
    soonest: BTreeSet<(Time, Located)>,
}

#[derive(Clone, Copy, Debug)]
struct Shun {
    until: Time,
    /// It asked for it: nothing is sent there meanwhile.
    away: bool,
}

impl Shunned {
    /// A target failed; `pause` is what it asked for.
    pub fn failed(&mut self, target: Located, pause: Option<Millis>, now: Time) {
        let span = pause.map_or(LAST_FOR, |pause| Millis(pause.0.min(AWAY_MAX.0)));
        let shun = Shun {
            until: now + span,
            away: pause.is_some(),
        };
        self.answered(&target);
        if self.until.len() >= REMEMBERED_MAX
            && let Some((_, soonest)) = self.soonest.pop_first()
        {
            self.until.remove(&soonest);
        }
        self.soonest.insert((shun.until, target));
        self.until.insert(target, shun);
    }

    /// A target answered.
    pub fn answered(&mut self, target: &Located) {
        if let Some(shun) = self.until.remove(target) {
            self.soonest.remove(&(shun.until, *target));
        }
    }

    /// Returns true where a target failed lately.
    pub fn has(&self, target: &Located, now: Time) -> bool {
        let shun = self.until.get(target);
        shun.is_some_and(|shun| now < shun.until)
    }

    /// Returns true where a target asked to be left alone.
    pub fn is_away(&self, target: &Located, now: Time) -> bool {
        let shun = self.until.get(target);
        shun.is_some_and(|shun| shun.away && now < shun.until)
    }

    /// Returns the targets that may be asked now, those that failed lately last.
    pub fn order(&self, targets: &[Located], now: Time) -> VecDeque<Located> {
        let (mut first, mut last) = (VecDeque::with_capacity(targets.len()), Vec::new());
        for target in targets {
            match self.until.get(target).filter(|shun| now < shun.until) {
                None => first.push_back(*target),
                Some(shun) if shun.away => {}
                Some(_) => last.push(*target),
            }
        }
        first.extend(last);
        first
    }

    /// Forgets what is over.
    pub fn sweep(&mut self, now: Time) {
        while self.soonest.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, target)) = self.soonest.pop_first()
        {
            self.until.remove(&target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Transport;

    fn target(port: u16) -> Located {
        (Transport::Udp, ([192, 0, 2, 1], port).into())
    }

    fn order(shunned: &Shunned, now: u64) -> Vec<u16> {
        let targets = [1, 2, 3].map(target);
        let ordered = shunned.order(&targets, Time(now));
        ordered.into_iter().map(|(_, at)| at.port()).collect()
    }

    #[test]
    fn silence_puts_last_and_a_pause_takes_away() {
        let mut shunned = Shunned::default();
        assert_eq!(order(&shunned, 0), [1, 2, 3]);
        shunned.failed(target(1), None, Time(0));
        shunned.failed(target(2), Some(Millis(5_000)), Time(0));
        assert_eq!(order(&shunned, 4_999), [3, 1]);
        assert!(shunned.is_away(&target(2), Time(4_999)));
        assert!(!shunned.is_away(&target(1), Time(1)) && shunned.has(&target(1), Time(1)));
        assert_eq!(order(&shunned, 5_000), [2, 3, 1]);
        assert_eq!(order(&shunned, 30_000), [1, 2, 3]);
        shunned.answered(&target(1));
        assert_eq!(order(&shunned, 1), [1, 3]);
    }

    #[test]
    fn it_is_bounded() {
        let mut shunned = Shunned::default();
        for port in 0..=u16::MAX {
            shunned.failed(target(port), Some(Millis(u64::from(port) + 10)), Time(0));
        }
        assert_eq!(shunned.until.len(), REMEMBERED_MAX);
        assert!(shunned.is_away(&target(u16::MAX), Time(0)));
        shunned.failed(target(1), Some(Millis(u64::MAX)), Time(0));
        assert!(!shunned.is_away(&target(1), Time(AWAY_MAX.0)));
        shunned.sweep(Time(AWAY_MAX.0));
        assert!(shunned.until.is_empty() && shunned.soonest.is_empty());
    }
}
