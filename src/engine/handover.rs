//! What two conversations, often of two shards, say to one another while one gives the other the far end of
//! its call: an attended transfer (RFC 5589 7) whose two calls are both ours.
//!
//! ```text
//!   taker                      giver            far end
//!     │── Inquiry ──────────────►│                 │
//!     │◄── Found, which promises │                 │
//!     │── Ask ──────────────────►│── re-INVITE ───►│
//!     │                          │◄── 200, ACK ───►│
//!     │◄── Give ─────────────────│                 │
//!     │── Taken ────────────────►│                 │
//! ```

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{ConversationId, Flow, VirtualShard};

/// A word of one conversation to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    pub from: ConversationId,
    pub to: ConversationId,
    pub word: Word,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The end that was promised is to be asked for this session.
    Ask(Wanted),
    /// It is not wanted any more.
    Decline,
    /// It has not answered yet, and rings.
    Rings,
    /// It has agreed: the state of its leg, as a snapshot has it. Said again until it is answered.
    Give(Bytes),
    /// The leg has arrived, and is stored.
    Taken,
    /// It is not given, for this status; the giver's call is as it was.
    Keep(u16),
    /// Nothing has been promised here, or a restart has forgotten it.
    Unknown,
    /// The giver is over, and has not heard that the leg has arrived: it is the taker's to keep or to end.
    Leave(Bytes),
    /// The far side is lost, beyond one of these upstreams, of a call that may be the other half of this one
    /// (`conversation::restoring::halves`).
    Half {
        upstreams: Vec<Box<str>>,
        /// It was begun by a `sips:` URI.
        secure: bool,
    },
    /// That side is lost here, too: the phone of the other one is promised.
    Here(Box<Endpoint>),
    /// Who has that phone has hung up.
    HungUp,
}

/// The session that the far end is offered, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// What the taker's other side has said.
    pub said: Box<str>,
    /// The taker's media ports, by stream; none where its media does not run through us.
    pub addresses: Vec<SocketAddr>,
    /// Value of P-Asserted-Identity, for who may be told (RFC 3325).
    pub asserted: Option<Box<str>>,
    /// The value of Privacy of whom that names.
    pub privacy: Option<Box<str>>,
}

/// A dialog of ours is with a conversation of another shard than its tag names, or an INVITE with one of another than
/// its Call-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The one that is named.
    pub shard: VirtualShard,
    pub by: MovedBy,
    /// Who has the dialog; nobody any more.
    pub with: Option<ConversationId>,
}

/// What comes by that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovedBy {
    /// All within a dialog, by the number within its tag.
    Tag(u64),
    /// The CANCEL of an INVITE with Replaces, by the hash of its Call-ID.
    CallId(u64),
}

/// A message of such a dialog, for the shard of the conversation that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub to: ConversationId,
    pub flow: Flow,
    pub bytes: Bytes,
}
