//! Where conversations' durable state lies. One interface; for now there is none that outlives the
//! process: a node runs without one, and tests restart engines from one in memory.

mod memory;
mod volatile;

use thiserror::Error;

use crate::engine::ids::ConversationId;
use crate::engine::mint::Secret;

pub use memory::MemoryStore;
pub use volatile::Volatile;

/// The store did not take or give what it should.
#[derive(Debug, Error)]
#[error("the store failed")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Keeps the newest snapshot of every conversation. Shared by all shards; each conversation is written
/// by one of them.
pub trait Store: Send + Sync + 'static {
    /// Returns false where nothing is kept: then no snapshot need be made.
    fn keeps(&self) -> bool {
        true
    }

    /// Returns what the keys come from that last as long as what is kept: that by which it was spread over shards,
    /// and that of temporary GRUUs. Where there is none yet, `fresh` is it from now on.
    ///
    /// # Errors
    /// It could not be read, or not be made safe.
    fn secret(&self, fresh: Secret) -> Result<Secret, StoreError>;

    /// Keeps a snapshot in the place of an older one. When it returns, the snapshot is safe.
    ///
    /// # Errors
    /// It could not be made safe; the older one still stands.
    fn put(&self, id: ConversationId, snapshot: &[u8]) -> Result<(), StoreError>;

    /// Drops what is kept of a conversation.
    ///
    /// # Errors
    /// It may still be there at the next start.
    fn remove(&self, id: ConversationId) -> Result<(), StoreError>;

    /// Returns everything kept, in the order of ids.
    ///
    /// # Errors
    /// Some of it could not be read.
    fn all(&self) -> Result<Vec<(ConversationId, Vec<u8>)>, StoreError>;
}
