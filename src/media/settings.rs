//! What the operator wishes of the relay, resolved.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::engine::settings::Latch;

#[derive(Clone, Debug, PartialEq)]
pub struct RelaySettings {
    /// Ports to take; an even RTP port and the odd RTCP port above it make a pair (RFC 3550 11).
    pub ports: RangeInclusive<u16>,
    /// The address that peers are told. None: the local address that the kernel would send from
    /// toward the SIP peer. Ignored for peers of the other family.
    pub address: Option<IpAddr>,
    /// The address to bind where it is not the one told: behind a one-to-one NAT, the unspecified
    /// address. Ignored for the other family.
    pub bind: Option<IpAddr>,
    /// Where the first packet of a stream may come from.
    pub latch: Latch,
    /// Milliseconds without a packet after which a side that should send is told to be silent.
    pub silence: Option<u64>,
    /// Fill the survivor's stream with silence while the other side is lost.
    pub filler: bool,
    /// Relay threads; sessions are spread over them by a hash of their id. At least one.
    pub threads: usize,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            ports: 10_000..=32_767,
            address: None,
            bind: None,
            latch: Latch::Signalling,
            silence: Some(3_000),
            filler: true,
            threads: 1,
        }
    }
}
