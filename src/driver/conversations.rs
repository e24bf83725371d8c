//! How many conversations each shard has.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number for each worker, which it alone writes.
#[derive(Debug)]
pub struct Conversations(Box<[AtomicUsize]>);

impl Conversations {
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicUsize::new(0)).collect())
    }

    /// Most inputs change nothing: then the others' caches are left alone.
    pub(super) fn tell(&self, worker: usize, conversations: usize) {
        let known = &self.0[worker];
        if known.load(Ordering::Relaxed) != conversations {
            known.store(conversations, Ordering::Relaxed);
        }
    }

    /// Returns how many the others have.
    pub(super) fn beside(&self, worker: usize) -> usize {
        let all = self.0.iter().enumerate();
        let others = all.filter(|(other, _)| *other != worker);
        others.map(|(_, has)| has.load(Ordering::Relaxed)).sum()
    }
}
