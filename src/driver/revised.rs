//! The newest reading of the configuration. Each shard fetches it by its number, so that none has to have room in
//! its mailbox for it: a reading is in force for all of them or for none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::engine::ports::Input;
use crate::engine::revision::Revision;

use super::shard::Shard;

/// The newest revision of the settings.
#[derive(Debug, Default)]
pub struct Revisions {
    number: AtomicU64,
    newest: Mutex<Option<Revision>>,
}

impl Revisions {
    /// Puts a revision to where each shard finds it in its next turn.
    pub fn put(&self, revision: Revision) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
        self.number.fetch_add(1, Ordering::Release);
    }

    /// Returns the newest one, where it is another than who asks has had last.
    fn newer(&self, known: &mut u64) -> Option<Revision> {
        let number = self.number.load(Ordering::Acquire);
        if number == *known {
            return None;
        }
        *known = number;
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }
}

impl Shard {
    /// Takes a newer revision, where there is one.
    pub(super) fn revise(&mut self) {
        let Some(revision) = self.shared.revisions.newer(&mut self.revised) else {
            return;
        };
        self.take(Input::Revised(Box::new(revision)));
        self.shut_out(self.shared.clock.now());
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::settings::Settings;

    #[test]
    fn the_newest_is_taken_once_by_each() {
        let revisions = Revisions::default();
        let (mut one, mut other) = (0, 0);
        assert_eq!(revisions.newer(&mut one), None);
        let mut settings = Settings::default();
        for conversations in [5, 6] {
            settings.limits.conversations = conversations;
            revisions.put(Revision::of(&settings));
            let newest = revisions.newer(&mut one);
            assert_eq!(newest, Some(Revision::of(&settings)));
            assert_eq!(revisions.newer(&mut one), None);
        }
        let newest = revisions.newer(&mut other);
        assert_eq!(newest, Some(Revision::of(&settings)), "the older is gone");
    }
}
