//! Which counts of nonces have been used, on all workers: one password given once proves one thing once.

use std::sync::{Mutex, PoisonError};

use crate::engine::ids::NonceId;
use crate::engine::location::SpentNonces;
use crate::engine::time::Time;

/// In parts by the nonces' serial numbers, each with its lock, which is held for one look.
pub struct Spent(Box<[Mutex<SpentNonces>]>);

impl Spent {
    /// Makes an empty one, of as many parts as there are workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Mutex::default()).collect())
    }

    /// Uses a count of a nonce up. Returns false where it was used before, or may have been.
    pub(super) fn spend(&self, nonce: NonceId, count: u32, now: Time) -> bool {
        let part = nonce.serial as usize % self.0.len();
        let mut part = self.0[part].lock().unwrap_or_else(PoisonError::into_inner);
        part.spend(nonce, count, now)
    }
}
