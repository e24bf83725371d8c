//! The only source of chance in a run.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use refork::engine::time::Millis;

/// Seeded: the same seed throws the same numbers.
pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Makes dice of their own for a part of the run, so that what it throws disturbs no other part.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.0.random())
    }

    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.between(0, 99) < share
    }

    /// Both ends included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    pub(crate) fn span(&mut self, low: u64, high: u64) -> Millis {
        Millis(self.between(low, high))
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.between(0, from.len() as u64 - 1) as usize]
    }

    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        self.0.random()
    }
}
