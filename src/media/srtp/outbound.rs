//! What we send under our key.

use std::fmt;

use super::keys::{Cipher, Kind};
use super::replay::Window;
use super::{ENCRYPTED, RTCP_CLEAR, clear_octets, guess, sequence, word};
use crate::sip::sdp::MasterKey;

/// SRTCP indices for a second: a process that starts again with the same key begins beyond those used
/// before by the clock alone. They last for a year.
const INDICES: u64 = 64;
/// Indices by which bursts may run ahead of the clock.
const BURST: u64 = 128;
/// How far beyond the clock a context begins, so that it passes the bursts of one before.
const START: u64 = 2 * BURST;

/// Encrypts one line. No two packets get the same keystream: an index is used once, and only one SSRC
/// is spoken for (RFC 3711 9.1).
pub struct Outbound {
    rtp: Cipher,
    rtcp: Cipher,
    line: Option<Line>,
    /// The next SRTCP index, not cut to 31 bits.
    next: u64,
}

struct Line {
    ssrc: u32,
    highest: u64,
    used: Window,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

impl Outbound {
    /// `unix_us`: the time in microseconds since the Unix epoch.
    pub fn new(key: &MasterKey, unix_us: u64) -> Option<Self> {
        Some(Self {
            rtp: Cipher::derive(key, Kind::Rtp)?,
            rtcp: Cipher::derive(key, Kind::Rtcp)?,
            line: None,
            next: by_clock(unix_us) + START,
        })
    }

    /// Encrypts the RTP packet in the first `length` octets of `room` and returns the octets that it
    /// has then. None where there is no room, its index was used, or the SSRC is not the line's.
    pub fn rtp(&mut self, room: &mut [u8], length: usize) -> Option<usize> {
        let packet = room.get(..length)?;
        let (clear, ssrc) = (clear_octets(packet)?, word(packet, 8)?);
        let sequence = sequence(packet)?;
        let line = self.line.get_or_insert_with(|| Line {
            ssrc,
            highest: u64::from(sequence),
            used: Window::default(),
        });
        let index = guess(line.highest, sequence)
            .filter(|index| line.ssrc == ssrc && line.used.is_new(*index))?;
        let end = length + self.rtp.tag();
        let packet = room.get_mut(..end)?;
        let (packet, tag) = packet.split_at_mut(length);
        match &self.rtp {
            Cipher::Cm(cm) => {
                cm.apply(ssrc, index, &mut packet[clear..]);
                cm.seal(packet, &((index >> 16) as u32).to_be_bytes(), tag);
            }
            Cipher::Gcm(gcm) => {
                let (aad, data) = packet.split_at_mut(clear);
                tag.copy_from_slice(&gcm.seal(gcm.nonce(ssrc, index), aad, data)?);
            }
        }
        line.used.note(index);
        line.highest = line.highest.max(index);
        Some(end)
    }

    /// Encrypts a compound RTCP packet likewise. None where there is no room, or it would be more than
    /// can be told apart from those after a restart.
    pub fn rtcp(&mut self, room: &mut [u8], length: usize, unix_us: u64) -> Option<usize> {
        let clock = by_clock(unix_us);
        let count = self.next.max(clock);
        if length < RTCP_CLEAR || count > clock + START + BURST {
            return None;
        }
        let index = count as u32 & !ENCRYPTED;
        let trailer = (index | ENCRYPTED).to_be_bytes();
        let end = length + self.rtcp.tag() + trailer.len();
        let ssrc = word(room, 4)?;
        let packet = room.get_mut(..end)?;
        let (packet, rest) = packet.split_at_mut(length);
        match &self.rtcp {
            Cipher::Cm(cm) => {
                cm.apply(ssrc, u64::from(index), &mut packet[RTCP_CLEAR..]);
                let (word, tag) = rest.split_at_mut(trailer.len());
                word.copy_from_slice(&trailer);
                cm.seal(packet, &trailer, tag);
            }
            Cipher::Gcm(gcm) => {
                let (head, data) = packet.split_at_mut(RTCP_CLEAR);
                let mut aad = [0; RTCP_CLEAR + 4];
                aad[..RTCP_CLEAR].copy_from_slice(head);
                aad[RTCP_CLEAR..].copy_from_slice(&trailer);
                let sealed = gcm.seal(gcm.nonce(ssrc, u64::from(index)), &aad, data)?;
                let (tag, word) = rest.split_at_mut(sealed.len());
                tag.copy_from_slice(&sealed);
                word.copy_from_slice(&trailer);
            }
        }
        self.next = count + 1;
        Some(end)
    }
}

fn by_clock(unix_us: u64) -> u64 {
    (u128::from(unix_us) * u128::from(INDICES) / 1_000_000) as u64
}
