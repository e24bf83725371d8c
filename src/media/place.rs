//! What an event of the poller is about, packed into its token.

use mio::Token;

use crate::engine::ids::Side;
use crate::engine::ports::Generation;
use crate::media::stream::Port;

/// Streams of one session.
pub(crate) const MAX_STREAMS: usize = 1 << STREAM_BITS;

const STREAM_BITS: u32 = 4;
const GENERATION_BITS: u32 = 26;

const _: () = assert!(usize::BITS == 64, "a token holds a place in 64 bits");

/// One socket: of a session, a side, a generation of ports, a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: u32,
    pub(crate) side: Side,
    /// Only the low bits, see `fold`.
    pub(crate) generation: Generation,
    pub(crate) stream: usize,
    pub(crate) port: Port,
}

impl Place {
    /// Cuts a generation to what a token holds; those of one side that stand together differ there.
    pub(crate) fn fold(generation: Generation) -> Generation {
        generation & ((1 << GENERATION_BITS) - 1)
    }

    pub(crate) fn token(self) -> Token {
        let mut bits = u64::from(Self::fold(self.generation));
        bits = bits << STREAM_BITS | self.stream as u64 & (MAX_STREAMS as u64 - 1);
        bits = bits << 1 | u64::from(self.port == Port::Rtcp);
        bits = bits << 1 | self.side.index() as u64;
        bits = bits << 32 | u64::from(self.slot);
        Token(bits as usize)
    }

    pub(crate) fn of(token: Token) -> Self {
        let bits = token.0 as u64;
        Self {
            slot: bits as u32,
            side: if bits >> 32 & 1 == 0 {
                Side::Caller
            } else {
                Side::Callee
            },
            port: if bits >> 33 & 1 == 0 {
                Port::Rtp
            } else {
                Port::Rtcp
            },
            stream: (bits >> 34) as usize & (MAX_STREAMS - 1),
            generation: (bits >> (34 + STREAM_BITS)) as Generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_a_place() {
        for side in [Side::Caller, Side::Callee] {
            for port in [Port::Rtp, Port::Rtcp] {
                for (slot, generation, stream) in
                    [(0, 0, 0), (u32::MAX - 1, 7, 15), (3, (1 << 26) - 1, 1)]
                {
                    let place = Place {
                        slot,
                        side,
                        generation,
                        stream,
                        port,
                    };
                    assert_eq!(Place::of(place.token()), place);
                }
            }
        }
    }
}
