//! What the operator wishes of the relay, resolved.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::engine::ports::Claim;
use crate::engine::settings::{Filler, Latch, Reserve};
use crate::observe::Spans;

#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// Ports to take; an even RTP port and the odd RTCP port above it make a pair (RFC 3550 11).
    pub ports: RangeInclusive<u16>,
    /// What of them is kept for whom.
    pub reserve: Reserve,
    /// The address that peers are told. None: the local address that the kernel would send from
    /// toward the SIP peer. Ignored for peers of the other family, and where the engine says what to tell.
    pub address: Option<IpAddr>,
    /// The address to bind where it is not the one told: behind a one-to-one NAT, the unspecified
    /// address. Ignored for the other family.
    pub bind: Option<IpAddr>,
    /// Where the first packet of a stream may come from.
    pub latch: Latch,
    /// Milliseconds without a packet after which a side that should send is told to be silent.
    pub silence: Option<u64>,
    /// What the survivor's stream is filled with while the other side is lost, or silent.
    pub filler: Filler,
    /// Differentiated services code point of what is sent, 0 to 63 (RFC 2474).
    pub dscp: u8,
    /// Relay threads; sessions are spread over them by a hash of their id. At least one.
    pub threads: usize,
    /// What is logged of a session is of its conversation.
    pub spans: Spans,
}

/// Returns how many of so many pairs must still be free once a claim has had its turn.
pub(crate) fn kept_from(reserve: Reserve, claim: Claim, pairs: usize) -> usize {
    let share = match claim {
        Claim::Standing => 0.0,
        Claim::Known => reserve.standing,
        Claim::Stranger => reserve.known.max(reserve.standing),
    };
    (pairs as f64 * share.clamp(0.0, 1.0)) as usize
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            ports: 10_000..=32_767,
            reserve: Reserve::default(),
            address: None,
            bind: None,
            latch: Latch::Signalling,
            silence: Some(3_000),
            filler: Filler::Silence,
            dscp: 0,
            threads: 1,
            spans: Spans::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pairs_are_for_calls_that_stand() {
        let kept = |standing, known| {
            Claim::ALL.map(|claim| kept_from(Reserve { standing, known }, claim, 200))
        };
        assert_eq!(kept(0.1, 0.25), [0, 20, 50]);
        assert_eq!(
            kept(0.3, 0.25),
            [0, 60, 60],
            "a stranger never has more than a user"
        );
        assert_eq!(kept(0.0, 0.0), [0, 0, 0]);
    }
}
