//! Snapshots in memory: they outlive the engine, but not the process.

use std::sync::OnceLock;

use dashmap::DashMap;

use crate::engine::ids::ConversationId;
use crate::engine::mint::Secret;

use super::{Store, StoreError};

#[derive(Debug, Default)]
pub struct MemoryStore {
    snapshots: DashMap<ConversationId, Box<[u8]>>,
    secret: OnceLock<Secret>,
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many conversations are kept.
    pub fn len(&self) -> usize {
        self.snapshots.len()
    }

    /// Returns true where nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
    }
}

impl Store for MemoryStore {
    fn secret(&self, fresh: Secret) -> Result<Secret, StoreError> {
        Ok(*self.secret.get_or_init(|| fresh))
    }

    fn put(&self, id: ConversationId, snapshot: &[u8]) -> Result<(), StoreError> {
        self.snapshots.insert(id, snapshot.into());
        Ok(())
    }

    fn remove(&self, id: ConversationId) -> Result<(), StoreError> {
        self.snapshots.remove(&id);
        Ok(())
    }

    fn all(&self) -> Result<Vec<(ConversationId, Vec<u8>)>, StoreError> {
        let mut all: Vec<_> = self
            .snapshots
            .iter()
            .map(|kept| (*kept.key(), kept.value().to_vec()))
            .collect();
        all.sort_unstable();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_first_secret_stays() {
        let store = MemoryStore::new();
        for fresh in [3, 4] {
            assert_eq!(store.secret(Secret([fresh; 32])).unwrap().0, [3; 32]);
        }
    }

    #[test]
    fn the_newest_stands_until_it_is_removed() {
        let store = MemoryStore::new();
        for (id, text) in [(2, "b"), (1, "a"), (2, "c")] {
            store.put(ConversationId(id), text.as_bytes()).unwrap();
        }
        let kept = |id, text: &str| (ConversationId(id), text.as_bytes().to_vec());
        assert_eq!(store.all().unwrap(), [kept(1, "a"), kept(2, "c")]);
        store.remove(ConversationId(1)).unwrap();
        assert_eq!(store.all().unwrap(), [kept(2, "c")]);
        store.remove(ConversationId(2)).unwrap();
        assert!(store.is_empty());
    }
}
