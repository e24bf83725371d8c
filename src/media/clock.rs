//! The relay's notion of time: given to the core, read by the shell.

use std::ops::Add;

/// Microseconds since the relay started; never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub(crate) u64);

impl Micros {
    #[cfg(test)]
    pub(crate) const fn from_ms(ms: u64) -> Self {
        Self(ms * 1000)
    }

    /// Returns the microseconds from `earlier` to here, zero where `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Micros {
    type Output = Self;

    fn add(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// Returns how many ticks of a clock rate pass in a span of microseconds, wrapped to a timestamp.
pub(crate) fn ticks(micros: u64, clock: u32) -> u32 {
    (u128::from(micros) * u128::from(clock) / 1_000_000) as u32
}
