//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714): one direction of one stream under one master key.
//!
//! Pure, in place, without allocation once keyed. Authentication comes before everything else: a
//! packet that fails leaves no trace in the context, so that a forged one can move neither the
//! rollover counter nor the replay list.

mod inbound;
mod keys;
mod outbound;
mod replay;
#[cfg(test)]
mod tests;

pub use inbound::{Inbound, Refused};
pub use outbound::Outbound;

/// Octets that a packet grows by at most: SRTCP's index and the longest tag.
pub const GROWTH: usize = 4 + 16;
/// The E flag in front of the SRTCP index (RFC 3711 3.4).
const ENCRYPTED: u32 = 1 << 31;
/// Octets in front of what SRTCP encrypts: the first header and SSRC.
const RTCP_CLEAR: usize = 8;

/// Returns the octets of RTP that stay in the clear: header, CSRCs and extension.
fn clear_octets(packet: &[u8]) -> Option<usize> {
    let [first, ..] = *packet else { return None };
    if first >> 6 != 2 {
        return None;
    }
    let mut clear = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(clear + 2..clear + 4)?;
        clear += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (clear <= packet.len()).then_some(clear)
}

/// Reads four octets; the caller has checked that they are there.
fn word(packet: &[u8], at: usize) -> Option<u32> {
    let octets = packet.get(at..at + 4)?;
    Some(u32::from_be_bytes([
        octets[0], octets[1], octets[2], octets[3],
    ]))
}

fn sequence(packet: &[u8]) -> Option<u16> {
    let octets = packet.get(2..4)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

/// Guesses the 48-bit index of a packet from the highest one so far (RFC 3711 3.3.1). None where it
/// would be before the first or beyond the last.
fn guess(highest: u64, sequence: u16) -> Option<u64> {
    let ahead = sequence.wrapping_sub(highest as u16) as i16;
    highest
        .checked_add_signed(i64::from(ahead))
        .filter(|index| index >> 48 == 0)
}
