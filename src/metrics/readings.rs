//! What is not told by events but read at each scrape: sums over shards, sockets and the relay.

use std::time::Duration;

use crate::engine::events::Offence;
use crate::engine::ports::Claim;
use crate::engine::view::Gauges;

/// Everything that a scrape asks for. Totals only ever grow in the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Summed over all shards.
    pub shards: Gauges,
    /// Contacts registered now, over all AORs.
    pub bindings: u64,
    pub transport: TransportReading,
    pub gate: GateReading,
    pub relay: RelayReading,
    /// When the first certificate of ours ends, in seconds since 1970; 0 without one.
    pub certificate_not_after: u64,
    /// Lines of the log that nobody will read.
    pub log_lost: u64,
}

/// Counters of the SIP sockets, summed over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportReading {
    /// Stream connections open now, by `labels::STREAMS`.
    pub connections: [u64; 4],
    pub accepted: u64,
    /// Turned away, by `labels::REFUSALS`.
    pub refused: [u64; 4],
    /// Closed because the peer did not read.
    pub overflowed: u64,
    /// Whose peer came and said nothing.
    pub silent: u64,
    /// Closed to make place for another, by `labels::YIELDED`.
    pub yielded: [u64; 2],
    /// Handshakes that came to nothing, by `labels::HANDSHAKES`.
    pub handshakes_failed: [u64; 9],
    pub datagrams_received: u64,
    pub datagrams_sent: u64,
    /// Received but too large or not taken by a shard, or not taken by the kernel for sending.
    pub datagrams_dropped: u64,
    /// Lost since the kernel's queue was full.
    pub datagrams_lost: u64,
    /// The longest that one waited there since the last reading.
    pub datagram_wait: Duration,
    /// Inputs lost because a shard's mailbox was full.
    pub mailbox_overflows: u64,
}

/// Counters of the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateReading {
    /// Sources that are shut out now.
    pub banned_now: u64,
    /// Datagrams and connections of sources that sent more than they may.
    pub dropped_too_much: u64,
    /// Datagrams and connections of sources that are shut out.
    pub dropped_banned: u64,
    pub dropped_denied: u64,
    /// Connections closed because their source was shut out.
    pub closed: u64,
    /// By offence.
    pub strikes: [u64; Offence::ALL.len()],
    /// By offence, then those that an operator made.
    pub bans: [u64; Offence::ALL.len() + 1],
}

/// Counters of the media relay, summed over all its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayReading {
    /// Media sessions now.
    pub sessions: u64,
    pub ports_used: u64,
    /// How many ports the configured range has.
    pub ports: u64,
    /// Times that no ports were to be had, by claim.
    pub ports_refused: [u64; Claim::ALL.len()],
    pub rtp_received: u64,
    pub rtp_sent: u64,
    pub rtcp_received: u64,
    pub rtcp_sent: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// From an address that the stream is not latched to.
    pub dropped_stranger: u64,
    /// Neither RTP nor RTCP.
    pub dropped_malformed: u64,
    /// The other side has no address yet, does not want to receive, or the source's side is lost.
    pub dropped_no_target: u64,
    /// SRTP whose tag does not fit.
    pub dropped_forged: u64,
    /// SRTP that was here before.
    pub dropped_replayed: u64,
    /// Not to be encrypted a second time under one index.
    pub dropped_unsealed: u64,
    /// In a format that the other side has not agreed to.
    pub dropped_format: u64,
    /// The kernel took no more.
    pub dropped_send: u64,
    /// Made by us while a side was away.
    pub filler: u64,
    /// Streams that went on from another address without a word of signalling.
    pub relatches: u64,
    /// Sources joined to a stream that had one before.
    pub seams: u64,
    /// ICMP errors that named a place we send to.
    pub unreachable: u64,
}
