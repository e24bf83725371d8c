//! What the API and the metrics see of the engine.

use std::iter::Sum;
use std::net::SocketAddr;

use serde::Serialize;

use crate::engine::events::Entry;
use crate::engine::health::Health;
use crate::engine::ids::{ConversationId, Side};
use crate::engine::settings::Kind;
use crate::engine::time::Time;

/// Where a conversation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Inviting,
    Established,
    Suspect,
    Restoring,
    Ended,
}

impl Stage {
    /// Those that conversations go through before their end, for the metrics that must exist from the start.
    pub const LIVE: [Self; 4] = [
        Self::Inviting,
        Self::Established,
        Self::Suspect,
        Self::Restoring,
    ];

    /// Every stage.
    pub const ALL: [Self; 5] = [
        Self::Inviting,
        Self::Established,
        Self::Suspect,
        Self::Restoring,
        Self::Ended,
    ];

    /// Returns the word used in logs, labels and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inviting => "inviting",
            Self::Established => "established",
            Self::Suspect => "suspect",
            Self::Restoring => "restoring",
            Self::Ended => "ended",
        }
    }
}

/// Why a host could not be spoken with over TLS the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub at: Time,
    /// The address of the host that was tried.
    pub peer: SocketAddr,
    /// A sentence for the operator.
    pub what: Box<str>,
}

/// One target of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamView {
    pub upstream: Box<str>,
    /// Its URI.
    pub target: Box<str>,
    pub state: Health,
    /// When it came to be so.
    pub since: Time,
    /// Until when it is left alone since it asked for that; of its addresses, the last that is.
    pub paused: Option<Time>,
    /// Why its last handshake came to nothing. The transport knows, and no shard.
    pub trouble: Option<Trouble>,
}

/// One line of the list of conversations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// As `ConversationId` displays itself.
    pub id: String,
    #[serde(skip)]
    pub key: ConversationId,
    pub kind: Kind,
    pub stage: Stage,
    pub from: String,
    pub to: String,
    pub call_id: String,
    pub started: Time,
    pub answered: Option<Time>,
    pub ended: Option<Time>,
    /// Times that a side was restored.
    pub restorations: u32,
    /// Messages waiting for delivery.
    pub queued: u32,
}

impl Summary {
    /// Has its times shown by another clock.
    pub fn shown(&mut self, by: impl Fn(Time) -> Time) {
        self.started = by(self.started);
        self.answered = self.answered.map(&by);
        self.ended = self.ended.map(&by);
    }
}

/// One leg, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LegView {
    pub side: Side,
    pub state: &'static str,
    pub endpoint: String,
    pub contact: String,
    pub flow: String,
    pub call_id: String,
    /// As it stands in what we send on the leg (RFC 7989).
    pub session_id: String,
}

/// One conversation in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    #[serde(flatten)]
    pub summary: Summary,
    pub legs: Vec<LegView>,
    pub history: Vec<Entry>,
}

impl Detail {
    /// Has its times shown by another clock.
    pub fn shown(&mut self, by: impl Fn(Time) -> Time) {
        self.summary.shown(&by);
        for entry in &mut self.history {
            entry.at = by(entry.at);
        }
    }
}

/// Everything that must be zero again when all is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gauges {
    pub inviting: usize,
    pub established: usize,
    pub suspect: usize,
    pub restoring: usize,
    /// Restorations whose next INVITE waits for `restore.rate`.
    pub restorations_waiting: usize,
    /// Lost dialogs whose phones have not answered their BYE.
    pub lost_dialogs: usize,
    pub legs: usize,
    pub client_transactions: usize,
    pub server_transactions: usize,
    pub queued_messages: usize,
    pub queued_bytes: usize,
    /// Bytes of requests outside of dialogs that wait for their answers.
    pub under_way: usize,
    pub timers: usize,
    /// Addresses of upstreams that are left alone since they asked for it.
    pub pauses: usize,
    /// Shards that put off what is new.
    pub overloaded: usize,
    /// Subscriptions of users to the calls of others.
    pub lamps: usize,
}

impl Gauges {
    /// Returns true where nothing is left but what waits for phones which may never come back.
    pub fn is_at_rest(self) -> bool {
        let without = Self {
            lost_dialogs: 0,
            ..self
        };
        without == Self::default()
    }
}

impl Sum for Gauges {
    /// Adds up shards.
    fn sum<I: Iterator<Item = Self>>(shards: I) -> Self {
        shards.fold(Self::default(), |sum, shard| Self {
            inviting: sum.inviting + shard.inviting,
            established: sum.established + shard.established,
            suspect: sum.suspect + shard.suspect,
            restoring: sum.restoring + shard.restoring,
            restorations_waiting: sum.restorations_waiting + shard.restorations_waiting,
            lost_dialogs: sum.lost_dialogs + shard.lost_dialogs,
            legs: sum.legs + shard.legs,
            client_transactions: sum.client_transactions + shard.client_transactions,
            server_transactions: sum.server_transactions + shard.server_transactions,
            queued_messages: sum.queued_messages + shard.queued_messages,
            queued_bytes: sum.queued_bytes + shard.queued_bytes,
            under_way: sum.under_way + shard.under_way,
            timers: sum.timers + shard.timers,
            pauses: sum.pauses + shard.pauses,
            overloaded: sum.overloaded + shard.overloaded,
            lamps: sum.lamps + shard.lamps,
        })
    }
}
