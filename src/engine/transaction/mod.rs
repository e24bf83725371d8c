//! Transactions (RFC 3261 17, RFC 6026): the four machines and the table that finds them.

mod client_machine;
mod clients;
mod compose;
mod effects;
mod invite_client;
mod invite_server;
mod layer;
mod lookup;
mod non_invite_client;
mod non_invite_server;
mod server_machine;
mod servers;
mod slab;
mod table;
#[cfg(test)]
mod tests;
mod way_back;

pub use layer::Transactions;
pub use servers::Stranded;
pub use slab::{ClientId, ServerId};

use bytes::Bytes;

use crate::engine::ids::{ConversationId, Flow};
use crate::sip::Message;

/// A request as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub bytes: Bytes,
    pub flow: Flow,
}

/// What a user keeps with a transaction says whose it is, for the log.
pub trait Of {
    /// Returns the conversation that the transaction belongs to, where it belongs to one.
    fn conversation(&self) -> Option<ConversationId>;
}

impl<T: Of> Of for Option<T> {
    fn conversation(&self) -> Option<ConversationId> {
        self.as_ref().and_then(Of::conversation)
    }
}

/// What the transactions tell their user: `C` is what it keeps with a client transaction, `S` with a
/// server transaction.
#[derive(Clone, Debug)]
pub enum Heard<C, S> {
    /// A new request; its server transaction waits for `respond`.
    Request {
        server: ServerId,
        request: Message,
        flow: Flow,
    },
    /// An ACK that belongs to no failure (those are absorbed).
    Ack { request: Message, flow: Flow },
    /// A CANCEL for a pending INVITE came, and was answered 200. The user answers the INVITE (487).
    Cancelled {
        server: ServerId,
        context: Option<S>,
        cancel: Message,
    },
    /// Every provisional above 100, and the final response. Of an INVITE each 2xx, the first, sent
    /// again, or of another fork (RFC 6026 7.2), and a failure once.
    Response {
        client: ClientId,
        context: C,
        response: Message,
        flow: Flow,
        /// What it answers, where it asks for proof: that may go out again.
        sent: Option<Box<Sent>>,
    },
    /// No final answer in time (timers B and F).
    Timeout { client: ClientId, context: C },
    /// The transport failed before a final answer.
    Unreachable { client: ClientId, context: C },
    /// The connection is closed of an INVITE that has a provisional response: the answer may yet come over another.
    /// Or, where it is not `closed`, ICMP says that nobody takes the datagrams that go there.
    Severed { context: C, closed: bool },
    /// The 2xx to an INVITE was sent again and again for 64*T1, and no ACK came.
    NoAck {
        server: ServerId,
        context: Option<S>,
    },
    /// A response that matches nothing.
    Stray { response: Message, flow: Flow },
}
