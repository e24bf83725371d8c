//! Targets that failed lately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Located;
use crate::engine::time::{Millis, Time};

/// How long a target that did not answer is asked after the others.
const LAST_FOR: Millis = Millis::from_secs(30);
/// Of one that does not answer all the time no more need be known for so long.
const KNOWN_FOR: Millis = Millis::from_secs(1);
/// Targets remembered; with more, the one that is free again soonest is forgotten.
const REMEMBERED_MAX: usize = 4096;

/// Remembers what failed: who asked for a pause has it where another is well (RFC 3261 21.5.4), who was silent
/// comes last.
#[derive(Debug, Default)]
pub struct Shunned {
    until: BTreeMap<Located, Shun>,
    /// The same, by when they are free again.
    soonest: BTreeSet<(Time, Located)>,
}

#[derive(Clone, Copy, Debug)]
struct Shun {
    until: Time,
    /// It asked for it: nothing is sent there meanwhile that can go elsewhere.
    away: bool,
}

impl Shunned {
    /// A target did not answer.
    pub fn failed(&mut self, target: Located, now: Time) {
        if !self.is_away(&target, now) {
            let until = now + LAST_FOR;
            self.shun(target, Shun { until, away: false });
        }
    }

    /// A target is left alone until then, or longer where it asked for that before.
    pub fn pause(&mut self, target: Located, until: Time, now: Time) {
        let known = self.until.get(&target).filter(|shun| shun.away);
        if until > now && known.is_none_or(|shun| shun.until < until) {
            self.shun(target, Shun { until, away: true });
        }
    }

    /// A target need not be left alone any more.
    pub fn resume(&mut self, target: &Located) {
        if self.until.get(target).is_some_and(|shun| shun.away) {
            self.forget(target);
        }
    }

    /// A target answered. A pause stands: what was answered may have been asked before it.
    pub fn answered(&mut self, target: &Located) {
        if self.until.get(target).is_some_and(|shun| !shun.away) {
            self.forget(target);
        }
    }

    /// Returns true where it would change next to nothing that a target did not answer.
    pub fn knows(&self, target: &Located, now: Time) -> bool {
        let shun = self.until.get(target);
        shun.is_some_and(|shun| {
            let failed = shun.until + KNOWN_FOR > now + LAST_FOR;
            failed || shun.away && now < shun.until
        })
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

    /// Returns true where all of these asked to be left alone.
    pub fn all_away(&self, targets: &[Located], now: Time) -> bool {
        !targets.is_empty() && targets.iter().all(|target| self.is_away(target, now))
    }

    /// Returns the targets that may be asked now, those that failed lately last. Who asked to be left alone is
    /// asked after these where none is well, the one that is free soonest first: a pause makes no target nobody.
    pub fn order(&self, targets: &[Located], now: Time) -> VecDeque<Located> {
        let mut ordered = VecDeque::with_capacity(targets.len());
        let (mut silent, mut away) = (Vec::new(), Vec::new());
        for target in targets {
            match self.until.get(target).filter(|shun| now < shun.until) {
                None => ordered.push_back(*target),
                Some(shun) if shun.away => away.push((shun.until, *target)),
                Some(_) => silent.push(*target),
            }
        }
        let none_is_well = ordered.is_empty();
        ordered.extend(silent);
        if none_is_well {
            away.sort_by_key(|(until, _)| *until);
            ordered.extend(away.into_iter().map(|(_, target)| target));
        }
        ordered
    }

    /// Forgets what is over.
    pub fn sweep(&mut self, now: Time) {
        while self.soonest.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, target)) = self.soonest.pop_first()
        {
            self.until.remove(&target);
        }
    }

    fn shun(&mut self, target: Located, shun: Shun) {
        self.forget(&target);
        if self.until.len() >= REMEMBERED_MAX
            && let Some((_, soonest)) = self.soonest.pop_first()
        {
            self.until.remove(&soonest);
        }
        self.soonest.insert((shun.until, target));
        self.until.insert(target, shun);
    }

    fn forget(&mut self, target: &Located) {
        if let Some(shun) = self.until.remove(target) {
            self.soonest.remove(&(shun.until, *target));
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
        shunned.failed(target(1), Time(0));
        shunned.pause(target(2), Time(5_000), Time(0));
        assert_eq!(order(&shunned, 4_999), [3, 1]);
        assert!(shunned.is_away(&target(2), Time(4_999)));
        assert!(!shunned.is_away(&target(1), Time(1)) && shunned.has(&target(1), Time(1)));
        assert_eq!(order(&shunned, 5_000), [2, 3, 1]);
        assert_eq!(order(&shunned, 30_000), [1, 2, 3]);
        shunned.answered(&target(1));
        assert_eq!(order(&shunned, 1), [1, 3]);
    }

    #[test]
    fn what_is_known_of_a_silence_is_soon_worth_saying_again() {
        let mut shunned = Shunned::default();
        assert!(!shunned.knows(&target(1), Time(100_000)));
        shunned.failed(target(1), Time(100_000));
        assert!(shunned.knows(&target(1), Time(100_999)));
        assert!(!shunned.knows(&target(1), Time(101_000)));
        shunned.answered(&target(1));
        assert!(!shunned.knows(&target(1), Time(100_001)));
        // Who asked to be left alone is, for as long as it asked.
        shunned.pause(target(2), Time(105_000), Time(100_000));
        assert!(shunned.knows(&target(2), Time(104_999)));
        assert!(!shunned.knows(&target(2), Time(105_000)));
    }

    #[test]
    fn a_pause_ends_by_its_time_alone() {
        let mut shunned = Shunned::default();
        shunned.pause(target(1), Time(5_000), Time(0));
        shunned.answered(&target(1));
        shunned.failed(target(1), Time(1));
        shunned.pause(target(1), Time(2_000), Time(2));
        assert!(shunned.is_away(&target(1), Time(4_999)));
        assert!(!shunned.has(&target(1), Time(5_000)));
        shunned.pause(target(1), Time(7_000), Time(3));
        assert!(shunned.is_away(&target(1), Time(6_999)));
        // Nothing is asked for by a Retry-After of zero.
        shunned.pause(target(2), Time(4), Time(4));
        assert_eq!(order(&shunned, 4), [2, 3]);
        shunned.failed(target(1), Time(7_000));
        assert_eq!(order(&shunned, 7_001), [2, 3, 1]);
    }

    #[test]
    fn where_none_is_well_who_is_away_is_asked_the_soonest_first() {
        let mut shunned = Shunned::default();
        for (port, until) in [(1, 9_000), (3, 5_000)] {
            shunned.pause(target(port), Time(until), Time(0));
        }
        assert_eq!(order(&shunned, 1), [2]);
        shunned.failed(target(2), Time(1));
        assert_eq!(order(&shunned, 2), [2, 3, 1]);
        let all = |ports: &[u16], now| {
            let targets: Vec<_> = ports.iter().copied().map(target).collect();
            shunned.all_away(&targets, Time(now))
        };
        assert!(all(&[1, 3], 4_999) && !all(&[1, 3], 5_000));
        assert!(!all(&[1, 2, 3], 2) && !all(&[], 2));
    }

    #[test]
    fn it_is_bounded() {
        let mut shunned = Shunned::default();
        for port in 0..=u16::MAX {
            shunned.pause(target(port), Time(u64::from(port) + 10), Time(0));
        }
        assert_eq!(shunned.until.len(), REMEMBERED_MAX);
        assert!(shunned.is_away(&target(u16::MAX), Time(0)));
        shunned.sweep(Time(u64::from(u16::MAX) + 10));
        assert!(shunned.until.is_empty() && shunned.soonest.is_empty());
    }
}
