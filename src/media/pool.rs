//! Which port pairs are free. Pure: whether a port can be bound is the shell's to find out.
//!
//! Each thread has its own share of the range. Pairs are taken in a shuffled order and given back to
//! the end of the queue after a rest, so that a late packet of an old call finds nobody.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::media::clock::Micros;

/// Microseconds for which a pair is not used again.
pub(crate) const REST: u64 = 5_000_000;

#[derive(Debug)]
pub(crate) struct Pool {
    share: Share,
    size: usize,
    free: VecDeque<u16>,
    /// In the order of release.
    resting: VecDeque<(Micros, u16)>,
}

/// The pairs of one thread: every `count`th of the range.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    range: RangeInclusive<u16>,
    index: usize,
    count: usize,
}

impl Share {
    pub(crate) fn new(range: RangeInclusive<u16>, index: usize, count: usize) -> Self {
        Self {
            range,
            index,
            count: count.max(1),
        }
    }

    /// Returns the RTP ports of the share: even ones with the odd port above in range.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        (first..last)
            .filter(|port| port % 2 == 0 && *port != 0)
            .skip(self.index)
            .step_by(self.count)
    }

    fn contains(&self, port: u16) -> bool {
        let first = u32::from(*self.range.start()).next_multiple_of(2).max(2);
        let port = u32::from(port);
        port % 2 == 0
            && port >= first
            && port < u32::from(*self.range.end())
            && ((port - first) / 2) as usize % self.count == self.index
    }
}

impl Pool {
    /// `random` shuffles: it returns a number below its argument.
    pub(crate) fn new(share: Share, mut random: impl FnMut(usize) -> usize) -> Self {
        let mut ports: Vec<u16> = share.ports().collect();
        for last in (1..ports.len()).rev() {
            ports.swap(last, random(last + 1));
        }
        Self {
            share,
            size: ports.len(),
            free: ports.into(),
            resting: VecDeque::new(),
        }
    }

    /// Takes the pair that was unused for longest.
    pub(crate) fn take(&mut self, now: Micros) -> Option<u16> {
        while let Some(&(since, port)) = self.resting.front() {
            if now.since(since) < REST {
                break;
            }
            self.resting.pop_front();
            self.free.push_back(port);
        }
        self.free.pop_front()
    }

    /// Returns how many pairs can be taken.
    pub(crate) fn available(&self, now: Micros) -> usize {
        self.free.len() + rested(&self.resting, now)
    }

    /// Takes a pair by its number, be it at rest; of another share, nothing is kept count of.
    pub(crate) fn take_this(&mut self, port: u16) {
        self.free.retain(|free| *free != port);
        self.resting.retain(|(_, resting)| *resting != port);
    }

    /// Gives a pair back.
    pub(crate) fn release(&mut self, port: u16, now: Micros) {
        if self.share.contains(port) {
            self.resting.push_back((now, port));
        }
    }

    /// Gives back a pair that someone else on this machine holds.
    pub(crate) fn put_off(&mut self, port: u16) {
        if self.share.contains(port) {
            self.free.push_back(port);
        }
    }

    /// Returns true for a pair of this share, free or taken.
    pub(crate) fn contains(&self, port: u16) -> bool {
        self.share.contains(port)
    }

    /// Returns how many pairs the share has.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

/// Returns how many of those given back, in the order of their release, have rested.
pub(crate) fn rested<T>(given_back: &VecDeque<(Micros, T)>, now: Micros) -> usize {
    given_back.partition_point(|(since, _)| now.since(*since) >= REST)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pool(range: RangeInclusive<u16>) -> Pool {
        Pool::new(Share::new(range, 0, 1), |below| below / 2)
    }

    #[test]
    fn pairs_are_even_and_whole() {
        for (range, expected) in [
            (10_000..=10_003, vec![10_000, 10_002]),
            (10_001..=10_004, vec![10_002]),
            (10_000..=10_000, vec![]),
            (10_001..=10_002, vec![]),
            (0..=3, vec![2]),
            (65_532..=65_535, vec![65_532, 65_534]),
        ] {
            let ports: Vec<_> = Share::new(range.clone(), 0, 1).ports().collect();
            assert_eq!(ports, expected, "{range:?}");
        }
    }

    #[test]
    fn shares_are_disjoint_and_whole() {
        for range in [10_000..=10_041, 0..=39, 10_001..=10_040] {
            let mut seen = BTreeSet::new();
            for index in 0..3 {
                let share = Share::new(range.clone(), index, 3);
                for port in share.ports() {
                    assert!(seen.insert(port));
                    assert!(share.contains(port), "{port} of {range:?}");
                }
            }
            let all: BTreeSet<_> = Share::new(range, 0, 1).ports().collect();
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn a_released_pair_rests_and_goes_last() {
        let mut pool = pool(10_000..=10_007);
        let now = Micros(0);
        let first = pool.take(now).unwrap();
        pool.release(first, now);
        let mut rest: Vec<_> = std::iter::from_fn(|| pool.take(now)).collect();
        assert_eq!(rest.len(), 3);
        assert!(!rest.contains(&first));
        assert_eq!(pool.take(Micros(REST - 1)), None);
        assert_eq!(pool.take(Micros(REST)), Some(first));
        rest.push(first);
        assert_eq!(rest.iter().collect::<BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn a_named_pair_is_taken_once() {
        let mut pool = pool(10_000..=10_003);
        pool.release(10_002, Micros(0));
        pool.take_this(10_002);
        assert_eq!(pool.take(Micros(REST)), Some(10_000));
        assert_eq!(pool.take(Micros(REST)), None);
        // Not of this share: it is not ours to give out.
        pool.release(20_000, Micros(0));
        assert_eq!(pool.take(Micros(REST)), None);
    }
}
