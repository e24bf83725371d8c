//! The RTP relay: what `MediaCommand` asks for, done on threads of its own.
//!
//! A pure core (`session`, `line`, `latch`, `rtcp`, ...) takes packets and the time and says what to
//! send; a thin shell (`thread`, `sockets`, `sys`) owns the sockets, reads the clock and is the only
//! part that speaks to the kernel. No packet allocates, and none takes a lock.

mod clock;
mod counters;
mod handle;
mod report;
mod settings;
mod sys;
mod thread;

pub use counters::RelayCounters;
pub use handle::{MediaHandle, Relay, StartError};
pub use report::{LineState, Received, SessionReport, StreamReport};
pub use settings::RelaySettings;
