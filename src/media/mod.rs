//! The RTP relay: what `MediaCommand` asks for, done on threads of its own.
//!
//! A pure core (`session`, `forward`, `line`, `latch`, `rtcp`, `filler`, ...) takes packets and the
//! time and says what to send; a thin shell (`thread`, `desk`, `traffic`, `wires`, `pairs`, `sockets`,
//! `sys`) owns the sockets, reads the clock and is the only part that speaks to the kernel. No packet allocates, and none takes a lock.

mod clock;
mod counters;
mod desk;
mod filler;
mod forward;
mod handle;
mod latch;
mod line;
mod overhear;
mod pairs;
mod payload;
mod place;
mod pool;
mod reception;
mod report;
mod rig;
mod rtcp;
mod rtp;
mod secure;
mod session;
mod settings;
mod shape;
mod sockets;
mod sound;
pub mod srtp;
mod stream;
mod sys;
mod table;
mod thread;
mod tone;
mod traffic;
mod watch;
mod wires;

pub use counters::RelayCounters;
pub use handle::{MediaHandle, Relay, StartError};
pub use report::{LineState, Received, SessionReport, StreamReport};
pub use rig::Passed;
pub use settings::RelaySettings;

/// Rewrites a compound RTCP packet in place as the relay does, between two lines where `joined`, else
/// between none. Returns its new length; none where it is no RTCP. For the fuzz targets.
pub fn pass_rtcp(bytes: &mut [u8], joined: bool) -> Option<usize> {
    rtcp::rewrite_for_fuzzing(bytes, joined)
}

/// Lets bytes choose what comes to a session, one of whose phones speaks SRTP, and returns what became of it. For the
/// fuzz targets.
pub fn pass_packets(bytes: &[u8]) -> Passed {
    rig::run(bytes)
}

#[cfg(test)]
mod tests;
