//! The durable state of a conversation: what it is rebuilt from after a restart.

use serde::{Deserialize, Serialize};

use crate::engine::ids::ConversationId;

/// Goes up when a field changes its meaning; readers refuse what is newer than they are.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub id: ConversationId,
}
