//! What is seen of users' calls (`engine::board`), on all workers.

use std::sync::{Mutex, PoisonError};

use crate::engine::board::{Board, Light, LightKey};
use crate::engine::ids::Aor;
use crate::engine::mint::hash64;

use super::entrance::Counts;

/// In parts by the users, each with its lock, which is held for one look.
pub struct Boards {
    parts: Box<[Mutex<Board>]>,
    /// Subscriptions, by who watches.
    watchers: Counts,
}

impl Boards {
    /// Makes empty ones, of as many parts as there are workers.
    pub fn new(workers: usize) -> Self {
        Self {
            parts: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            watchers: Counts::default(),
        }
    }

    pub(super) fn show(&self, user: &Aor, call: LightKey, light: Option<Light>) -> bool {
        self.with(user, |board| board.show(user, call, light))
    }

    pub(super) fn lights(&self, user: &Aor) -> Vec<(LightKey, Light)> {
        self.with(user, |board| board.lights(user))
    }

    pub(super) fn watch(&self, watcher: &Aor, user: &Aor, begins: bool) {
        self.watchers.count(hash64(watcher), begins);
        self.with(user, |board| board.watch(user, begins));
    }

    pub(super) fn watching(&self, watcher: &Aor) -> usize {
        self.watchers.of(hash64(watcher)) as usize
    }

    fn with<T>(&self, user: &Aor, act: impl FnOnce(&mut Board) -> T) -> T {
        let part = hash64(user) % self.parts.len() as u64;
        let part = &self.parts[part as usize];
        act(&mut part.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
