//! What a session tells about itself, and what outlives a restart.

use serde::{Deserialize, Serialize};

/// Where a line stands: enough to go on with it after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineState {
    pub ssrc: u32,
    /// Highest sequence number sent.
    pub sequence: u16,
    /// Newest timestamp sent.
    pub timestamp: u32,
    /// Clock rate of the format last sent, in Hz.
    pub clock: u32,
    /// Milliseconds since the Unix epoch when `timestamp` was sent.
    pub at_ms: u64,
}

/// What arrived from a side on one stream (RFC 3550 A.3, A.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    pub packets: u64,
    /// Payload octets, without headers and padding.
    pub octets: u64,
    /// Expected less received; below zero with duplicates.
    pub lost: i64,
    /// Interarrival jitter in microseconds.
    pub jitter_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    pub received: Received,
    /// RTP packets sent toward the side, filler among them.
    pub sent_packets: u64,
    pub sent_octets: u64,
    /// Our RTP port on this side.
    pub port: u16,
    /// The line toward this side; none while nothing was sent.
    pub line: Option<LineState>,
}

/// By side (caller, callee) and stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    pub sides: [Vec<StreamReport>; 2],
}
