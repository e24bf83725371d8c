//! `restore.rate`: a mass loss is worked off in order, and does not flood the network.

use std::collections::BTreeMap;

use crate::engine::time::Time;

/// How many re-forks may begin in a second: a mass loss is worked off in order (design: `restore.rate`).
#[derive(Debug)]
pub(crate) struct Budget {
    per_second: u32,
    /// Starts given out, by the second they lie in.
    given: BTreeMap<u64, u32>,
}

impl Budget {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            given: BTreeMap::new(),
        }
    }

    /// Takes a start: now, or the first second that has room.
    pub(crate) fn take(&mut self, now: Time) -> Time {
        let this = now.0 / 1000;
        self.given = self.given.split_off(&this);
        let mut second = this;
        while self
            .given
            .get(&second)
            .is_some_and(|given| *given >= self.per_second)
        {
            second += 1;
        }
        *self.given.entry(second).or_insert(0) += 1;
        if second == this {
            now
        } else {
            Time(second * 1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_spreads_a_storm_over_seconds() {
        let mut budget = Budget::new(2);
        let now = Time(5_500);
        let starts: Vec<u64> = (0..5).map(|_| budget.take(now).0).collect();
        assert_eq!(starts, [5_500, 5_500, 6_000, 6_000, 7_000]);
        assert_eq!(budget.take(Time(8_000)), Time(8_000));
    }
}
