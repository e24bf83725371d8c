//! Token buckets by source: a table of fixed size without locks, shared by all shards.
//!
//! A bucket is one word, by the generic cell rate algorithm (ITU-T I.371): the moment at which it would be
//! full again. One whose moment has passed is as good as none, so that only who spends faster than he is
//! given takes a place. A source has four places by its hash, under a key of this process; where others
//! have them all, it takes that of whoever owes least. So addresses that are made up push each other out,
//! and never one that has spent more than they.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::time::{Millis, Time};

const WAYS: usize = 4;
/// Sets of places; 512 KiB in all.
const SETS: usize = 16 * 1024;
/// A word is a tag of the source above a moment in microseconds, which comes round after 50 days.
const MOMENT_BITS: u32 = 42;
const MOMENT: u64 = (1 << MOMENT_BITS) - 1;
/// What lies further ahead has passed.
const AHEAD_MAX: u64 = MOMENT / 2;
/// How far below empty what cannot be turned away may bring a bucket, in microseconds.
const DEBT_MAX: u64 = 10_000_000;
/// Tries to spend while others spend from the same place; then it is free.
const TRIES: usize = 8;

/// What a bucket holds, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Microseconds to a token.
    interval: u64,
    /// Microseconds from empty to full.
    depth: u64,
}

impl Pace {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = 1_000_000 / u64::from(per_second.max(1));
        Self::every(interval.max(1), burst)
    }

    /// One token every `interval` microseconds.
    pub(super) fn every(interval: u64, burst: u32) -> Self {
        let depth = interval.saturating_mul(u64::from(burst.max(1)));
        Self {
            interval,
            depth: depth.min(AHEAD_MAX / 2),
        }
    }

    /// The same where so many tokens are spent as one; no more than there can be, or it never passed.
    pub(super) fn by(self, tokens: u64) -> Self {
        Self {
            interval: self.interval.saturating_mul(tokens).min(self.depth),
            ..self
        }
    }
}

#[derive(Debug)]
pub(super) struct Buckets {
    places: Box<[[AtomicU64; WAYS]]>,
    hasher: RandomState,
}

/// The places of a source, and what its words begin with.
struct Whose<'a> {
    set: &'a [AtomicU64; WAYS],
    tag: u64,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self {
            places: (0..SETS).map(|_| Default::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Spends a token. Where less than half of them are left, who has something of his own `aside` is judged
    /// by that and spends none, so that the rest are for others of the same source. False: none is left.
    pub(super) fn spend(
        &self,
        of: impl Hash,
        pace: Pace,
        now: Time,
        aside: impl FnOnce() -> Option<bool>,
    ) -> bool {
        let whose = self.whose(of);
        let moment = moment(now);
        let (_, ahead) = whose.find(moment);
        if ahead > pace.depth / 2 {
            if let Some(judged) = aside() {
                return judged;
            }
            if ahead + pace.interval > pace.depth {
                return false;
            }
        }
        whose.charge(moment, pace, pace.depth);
        true
    }

    /// Empties a bucket of a single token, whether that was there or not.
    pub(super) fn take_all(&self, of: impl Hash, pace: Pace, now: Time) {
        let whose = self.whose(of);
        whose.charge(moment(now), pace, pace.depth);
    }

    /// Spends a token that may have to be owed, for what is here already.
    pub(super) fn owe(&self, of: impl Hash, pace: Pace, now: Time) {
        let whose = self.whose(of);
        whose.charge(moment(now), pace, pace.depth + DEBT_MAX);
    }

    /// Returns true where less than half of the tokens are left.
    pub(super) fn is_scarce(&self, of: impl Hash, pace: Pace, now: Time) -> bool {
        let (_, ahead) = self.whose(of).find(moment(now));
        ahead > pace.depth / 2
    }

    /// Returns true where a token that was spent has not come back yet.
    pub(super) fn is_there(&self, of: impl Hash, now: Time) -> bool {
        let (_, ahead) = self.whose(of).find(moment(now));
        ahead > 0
    }

    /// Returns how long there is no token; zero where there is one.
    pub(super) fn dry_for(&self, of: impl Hash, pace: Pace, now: Time) -> Millis {
        let (_, ahead) = self.whose(of).find(moment(now));
        let over = (ahead + pace.interval).saturating_sub(pace.depth);
        Millis(over.div_ceil(1000))
    }

    /// Forgets what is full again, before its moment comes round. To be called within any 25 days.
    pub(super) fn sweep(&self, now: Time) {
        let moment = moment(now);
        for place in self.places.iter().flatten() {
            let word = place.load(Ordering::Relaxed);
            if word != 0 && ahead_of(word, moment) == 0 {
                let (set, unset) = (Ordering::Relaxed, Ordering::Relaxed);
                // Somebody spends from it again: then it stays.
                let _ = place.compare_exchange(word, 0, set, unset);
            }
        }
    }

    fn whose(&self, of: impl Hash) -> Whose<'_> {
        let hash = self.hasher.hash_one(of);
        Whose {
            set: &self.places[hash as usize % SETS],
            // Never zero: that is an empty place.
            tag: (hash >> MOMENT_BITS | 1) << MOMENT_BITS,
        }
    }
}

impl Whose<'_> {
    /// Returns the source's place, else one that it may take, and how far its moment is ahead.
    fn find(&self, moment: u64) -> ((&AtomicU64, u64), u64) {
        let mut least = (&self.set[0], 0, u64::MAX);
        for place in self.set {
            let word = place.load(Ordering::Relaxed);
            let ahead = ahead_of(word, moment);
            if word & !MOMENT == self.tag {
                return ((place, word), ahead);
            }
            if ahead < least.2 {
                least = (place, word, ahead);
            }
        }
        ((least.0, least.1), 0)
    }

    fn charge(&self, moment: u64, pace: Pace, most: u64) {
        for _ in 0..TRIES {
            let ((place, word), ahead) = self.find(moment);
            let ahead = (ahead + pace.interval).min(most.max(ahead));
            let next = self.tag | (moment + ahead) & MOMENT;
            let (set, unset) = (Ordering::Relaxed, Ordering::Relaxed);
            if place.compare_exchange_weak(word, next, set, unset).is_ok() {
                return;
            }
        }
    }
}

fn moment(now: Time) -> u64 {
    now.0.wrapping_mul(1000) & MOMENT
}

fn ahead_of(word: u64, moment: u64) -> u64 {
    let ahead = word.wrapping_sub(moment) & MOMENT;
    if word == 0 || ahead > AHEAD_MAX {
        0
    } else {
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_800_000_000_000);
    const PACE: Pace = Pace {
        interval: 10_000,
        depth: 50_000,
    };

    fn spend(buckets: &Buckets, of: u32, now: Time) -> bool {
        buckets.spend(of, PACE, now, || None)
    }

    #[test]
    fn a_burst_then_the_rate() {
        assert_eq!(Pace::new(100, 5), PACE);
        let buckets = Buckets::new();
        let taken = (0..20).filter(|_| spend(&buckets, 1, START)).count();
        assert_eq!(taken, 5);
        assert!(spend(&buckets, 2, START), "another source has its own");
        let mut now = START;
        let mut taken = 0;
        for _ in 0..1000 {
            now = now + Millis(1);
            taken += usize::from(spend(&buckets, 1, now));
        }
        assert_eq!(taken, 100, "one every 10 ms");
        let later = now + Millis::from_secs(60);
        assert_eq!((0..20).filter(|_| spend(&buckets, 1, later)).count(), 5);
    }

    #[test]
    fn who_has_something_aside_leaves_half_for_the_others() {
        let buckets = Buckets::new();
        let heard = (0..1000).filter(|_| buckets.spend(1, PACE, START, || Some(true)));
        assert_eq!(heard.count(), 1000);
        assert!(buckets.is_scarce(1, PACE, START));
        assert!(
            !buckets.spend(1, PACE, START, || Some(false)),
            "his own is empty"
        );
        assert!(spend(&buckets, 1, START) && spend(&buckets, 1, START));
        assert!(!spend(&buckets, 1, START));
        assert!(buckets.spend(1, PACE, START, || Some(true)));
    }

    #[test]
    fn a_debt_is_paid_off_before_more_is_read() {
        let buckets = Buckets::new();
        (0..205).for_each(|_| buckets.owe(1, PACE, START));
        assert_eq!(buckets.dry_for(1, PACE, START), Millis(2010));
        let later = START + Millis(2010);
        assert_eq!(buckets.dry_for(1, PACE, later), Millis(0));
        assert!(spend(&buckets, 1, later) && !spend(&buckets, 1, later));
        (0..1_000_000).for_each(|_| buckets.owe(1, PACE, START));
        assert!(buckets.dry_for(1, PACE, START) <= Millis(10_020));
    }

    #[test]
    fn made_up_sources_do_not_wash_away_one_that_is_over_its_rate() {
        let buckets = Buckets::new();
        assert!((0..10).any(|_| !spend(&buckets, 1, START)));
        for made_up in 2..500_000 {
            spend(&buckets, made_up, START);
        }
        assert!(!spend(&buckets, 1, START), "it is still over");
        assert!(spend(&buckets, 500_001, START), "and a new one is let in");
    }

    #[test]
    fn what_is_full_again_is_forgotten_before_its_moment_comes_round() {
        let buckets = Buckets::new();
        assert!((0..10).any(|_| !spend(&buckets, 1, START)));
        let days = |days: u64| START + Millis::from_secs(days * 24 * 3600);
        buckets.sweep(days(1));
        let left = |word: &&AtomicU64| word.load(Ordering::Relaxed) != 0;
        assert_eq!(buckets.places.iter().flatten().filter(left).count(), 0);
        for day in 0..120 {
            assert!(spend(&buckets, 1, days(day)), "day {day}");
            buckets.sweep(days(day) + Millis(1));
        }
    }

    #[test]
    fn the_slowest_and_the_fastest_fit() {
        for (rate, burst) in [(1, 1_000_000), (1_000_000, 1_000_000), (1, 1)] {
            let buckets = Buckets::new();
            let pace = Pace::new(rate, burst);
            assert!(buckets.spend(1, pace, START, || None), "{rate} {burst}");
        }
    }
}
