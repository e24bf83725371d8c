//! The durable state of a conversation: what it is rebuilt from after a restart.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::ids::ConversationId;

/// Goes up when a field changes its meaning; readers refuse what is of another version.
///
/// Fields go by their names, so that two releases of one version read each other's: a reader leaves out what it does
/// not know, and a field that is new has a default (`#[serde(default)]`) for what has not got it.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub id: ConversationId,
    /// The conversation, in MessagePack, structs as maps: for the engine alone.
    pub state: Bytes,
    /// The dialogs that have ended while it goes on, and whose BYE nobody has answered; the same.
    #[serde(default)]
    pub farewells: Bytes,
}
