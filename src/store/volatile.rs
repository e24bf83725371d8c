//! No store at all: what there is ends with the process, and nothing is spent on keeping it.

use crate::engine::ids::ConversationId;
use crate::engine::mint::Secret;

use super::{Store, StoreError};

#[derive(Clone, Copy, Debug, Default)]
pub struct Volatile;

impl Store for Volatile {
    fn keeps(&self) -> bool {
        false
    }

    fn secret(&self, fresh: Secret) -> Result<Secret, StoreError> {
        Ok(fresh)
    }

    fn put(&self, _: ConversationId, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&self, _: ConversationId) -> Result<(), StoreError> {
        Ok(())
    }

    fn all(&self) -> Result<Vec<(ConversationId, Vec<u8>)>, StoreError> {
        Ok(Vec::new())
    }
}
