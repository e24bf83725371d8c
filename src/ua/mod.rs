//! Small SIP user agents over real sockets, for the demo and for tests.
//!
//! They know nothing of the engine: they speak SIP and RTP as a phone on somebody's desk would, may be
//! killed or frozen in the middle of it, and keep a record of every message that they sent or received.
//! A phone is one thread with its sockets; what tests call locks its state, acts, and waits for events
//! with a deadline.

mod agent;
mod call;
mod continuity;
mod description;
mod dialog;
mod incoming;
mod ladder;
mod log;
mod net;
mod outgoing;
mod phone;
mod profile;
mod request;
mod responses;
mod rtp;
mod srtp;
#[cfg(test)]
mod tests;
mod transactions;
mod wire;

use std::io;
use std::time::Duration;

pub use call::Call;
pub use continuity::{Continuity, Seam};
pub use description::Medium;
pub use dialog::{Ending, Phase, Text};
pub use ladder::{Burst, Ladder};
pub use log::{Entry, Log, What};
pub use phone::Phone;
pub use profile::{Profile, Reaction, Script, Srtp, Transport};
pub use request::Ticket;
pub use rtp::Packet;

/// What a user agent can't do, or waited for in vain.
#[derive(Debug, thiserror::Error)]
pub enum UaError {
    #[error("could not use a socket")]
    Socket(#[from] io::Error),
    #[error("{0} is killed")]
    Killed(String),
    #[error("{0} is frozen")]
    Frozen(String),
    #[error("{phone} waited {within:?} in vain for {what}")]
    InVain {
        phone: String,
        what: String,
        within: Duration,
    },
    #[error("{phone} got no answer to its {method}")]
    NoAnswer { phone: String, method: String },
    #[error("{0} makes no sense in the call's present state")]
    OutOfPlace(&'static str),
}
