//! Which socket is whose: what the poller's tokens and the open pairs say of each other.

use mio::Token;

use crate::engine::ids::Side;
use crate::engine::ports::Generation;
use crate::media::stream::Port;

/// Where a pair stands: in a session, on a side, of a generation of ports, for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: u32,
    pub(crate) generation: Generation,
    pub(crate) side: Side,
    /// Below `STREAMS_MAX`.
    pub(crate) stream: u8,
}

/// The number of an open pair. It is used again once the pair is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairId(pub(crate) u32);

impl PairId {
    /// Returns the token of one of the pair's sockets, which it keeps whoever uses it.
    pub(crate) fn token(self, port: Port) -> Token {
        Token((self.0 as usize) << 1 | usize::from(port == Port::Rtcp))
    }

    pub(crate) fn of(token: Token) -> (Self, Port) {
        let port = if token.0 & 1 == 0 {
            Port::Rtp
        } else {
            Port::Rtcp
        };
        (Self((token.0 >> 1) as u32), port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_a_pair_and_a_port() {
        for id in [0, 1, 77_777, u32::MAX] {
            for port in [Port::Rtp, Port::Rtcp] {
                let token = PairId(id).token(port);
                assert_eq!(PairId::of(token), (PairId(id), port));
            }
        }
    }
}
