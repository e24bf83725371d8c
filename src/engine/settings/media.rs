//! What the operator wishes of media.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaMode {
    Relay,
    /// Not anchored: addresses pass as they are, a new leg costs the survivor a re-INVITE.
    Direct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latch {
    /// The first packet may come from the IP in the SDP or of the signalling source.
    Signalling,
    /// From the IP in the SDP only.
    Sdp,
}

/// What a survivor's phone gets while the other side is away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filler {
    Off,
    #[default]
    Silence,
    /// Linear samples, 8000 a second, again and again; silence until the other side is known to be lost.
    Sound(Arc<[i16]>),
}

/// SRTP with keys in the session description, which ends at each leg (RFC 4568).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Srtp {
    /// It is not spoken: who offers nothing else is refused.
    Off,
    /// Each leg as its endpoint has it.
    Optional,
    /// On every leg.
    Required,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MediaSettings {
    pub mode: MediaMode,
    pub srtp: Srtp,
    /// The relay tells every peer of its family this address of ours, wherever that peer is.
    pub address: Option<IpAddr>,
    /// The relay's.
    pub ports: RangeInclusive<u16>,
    pub latch: Latch,
    pub reserve: Reserve,
}

/// Shares of the relay's ports that are kept, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reserve {
    /// For calls that stand.
    pub standing: f64,
    /// For those and for calls of whoever is known.
    pub known: f64,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self {
            mode: MediaMode::Relay,
            srtp: Srtp::Optional,
            address: None,
            ports: 10_000..=32_767,
            latch: Latch::Signalling,
            reserve: Reserve::default(),
        }
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Self {
            standing: 0.1,
            known: 0.25,
        }
    }
}
