//! What all shards share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::ids::{GruuKey, ListenerId, Transport};
use crate::engine::mint::ShardKey;
use crate::gate::Gate;
use crate::media::MediaHandle;
use crate::metrics::{Metrics, TransportReading};
use crate::observe::Spans;
use crate::store::Store;
use crate::tls::Tls;
use crate::transport::{Bound, Counters, Registry, StreamLimits};

use super::bindings::Bindings;
use super::boards::Boards;
use super::clock::Clock;
use super::conversations::Conversations;
use super::entrance::{Counts, Legs};
use super::halves::Halves;
use super::mailbox::Mailboxes;
use super::records::Records;
use super::resolver::Resolver;
use super::revised::Revisions;
use super::spent::Spent;

/// One for the whole server.
pub struct Shared {
    pub clock: Clock,
    /// A `ListenerId` is an index into it.
    pub listeners: Arc<[Bound]>,
    pub mailboxes: Mailboxes,
    pub shard_key: ShardKey,
    pub gruu_key: GruuKey,
    pub bindings: Bindings,
    pub spent: Spent,
    pub boards: Boards,
    pub legs: Legs,
    pub halves: Halves,
    /// Calls that nobody has answered yet, by who makes them.
    pub ringing: Counts,
    /// Calls that are answered, by who has made them.
    pub standing: Counts,
    /// Streams that the relay carries for those calls.
    pub streams: Counts,
    /// How many each worker has.
    pub conversations: Conversations,
    pub gate: Gate,
    pub revisions: Revisions,
    pub registry: Arc<Registry>,
    /// There where a listener needs it.
    pub tls: Option<Arc<Tls>>,
    /// By worker.
    pub counters: Vec<Arc<Counters>>,
    pub metrics: Arc<Metrics>,
    /// Of the conversations, for the log.
    pub spans: Spans,
    pub media: MediaHandle,
    pub store: Arc<dyn Store>,
    pub resolver: Resolver,
    pub records: Records,
    pub stream_limits: StreamLimits,
    /// Octets of a datagram.
    pub message_size: usize,
    /// CRLF goes over registered UDP flows this often; never where it is zero.
    pub keepalive: Duration,
}

impl Shared {
    /// Returns the counters of all sockets.
    pub fn transport_reading(&self) -> TransportReading {
        let mut reading = TransportReading {
            mailbox_overflows: self.mailboxes.overflows(),
            ..TransportReading::default()
        };
        for counters in &self.counters {
            counters.read_into(&mut reading);
        }
        reading
    }

    pub(super) fn listener(&self, id: ListenerId) -> Option<&Bound> {
        self.listeners.get(usize::from(id.0))
    }

    /// Returns the listener to reach a peer from: `from`, or another one at its place or on its address, else one
    /// on the address that the kernel would send from (`local`), else one on all addresses, else any of the peer's
    /// family, and of equals the first. None where there is none.
    pub(super) fn listener_toward(
        &self,
        transport: Transport,
        peer: SocketAddr,
        (local, from): (Option<IpAddr>, Option<ListenerId>),
    ) -> Option<ListenerId> {
        let from = from.and_then(|id| self.listener(id)).map(|bound| bound.at);
        let fits = |bound: &Bound| {
            let ip = bound.at.ip();
            if bound.listener.transport != transport || ip.is_ipv4() != peer.is_ipv4() {
                None
            } else if bound.listener.spoken != transport {
                // Whom we connect to is not before the proxy.
                Some(5)
            } else if from == Some(bound.at) {
                Some(0)
            } else if from.is_some_and(|from| from.ip() == ip) {
                Some(1)
            } else if Some(ip) == local {
                Some(2)
            } else if ip.is_unspecified() {
                Some(3)
            } else {
                Some(4)
            }
        };
        let ranked = self.listeners.iter().enumerate();
        let best = ranked.filter_map(|(index, bound)| Some((fits(bound)?, index)));
        let (_, index) = best.min()?;
        u16::try_from(index).ok().map(ListenerId)
    }
}

/// Returns true where we can be the one who begins: nobody can be called over a WebSocket (RFC 7118 5).
pub(super) fn can_open(transport: Transport) -> bool {
    match transport {
        Transport::Udp | Transport::Tcp | Transport::Tls => true,
        Transport::Ws | Transport::Wss => false,
    }
}
