//! What a peer sends under its key.

use std::fmt;

use super::keys::{Cipher, Kind};
use super::replay::Window;
use super::{ENCRYPTED, RTCP_CLEAR, clear_octets, guess, sequence, word};
use crate::sip::sdp::MasterKey;

/// SSRCs that are followed at once; the one not heard for longest makes room.
const SOURCES: usize = 4;
/// Rollover counters that a source unknown to us may have: RFC 3711 3.3.1 starts at zero, but after a
/// restart of ours the peer's packets go on where they are. At 50 packets a second this is 3.2 hours.
const LATE: u64 = 9;

/// Why a packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too short, or no RTP.
    Malformed,
    /// The tag does not fit: forged, damaged, or under another key.
    Forged,
    /// It was here before, or is too old to tell.
    Replayed,
}

/// Checks and decrypts what comes under one key.
pub struct Inbound {
    rtp: Cipher,
    rtcp: Cipher,
    heard: [Option<Source>; SOURCES],
    controls: [Option<Source>; SOURCES],
    /// Packets taken, by which the oldest source is found.
    turn: u64,
}

#[derive(Clone, Copy)]
struct Source {
    ssrc: u32,
    highest: u64,
    seen: Window,
    turn: u64,
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbound")
    }
}

impl Inbound {
    pub fn new(key: &MasterKey) -> Option<Self> {
        Some(Self {
            rtp: Cipher::derive(key, Kind::Rtp)?,
            rtcp: Cipher::derive(key, Kind::Rtcp)?,
            heard: [None; SOURCES],
            controls: [None; SOURCES],
            turn: 0,
        })
    }

    /// Checks an SRTP packet, decrypts it in place, and returns its octets without the tag.
    ///
    /// # Errors
    /// It is not the peer's, or was here before; then neither packet nor context has changed.
    pub fn rtp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let length = packet
            .len()
            .checked_sub(self.rtp.tag())
            .ok_or(Refused::Malformed)?;
        let (packet, tag) = packet.split_at_mut(length);
        let clear = clear_octets(packet).ok_or(Refused::Malformed)?;
        let (Some(ssrc), Some(sequence)) = (word(packet, 8), sequence(packet)) else {
            return Err(Refused::Malformed);
        };
        let known = find(&self.heard, ssrc);
        let (first, tries) = match known {
            Some(source) => {
                let index = guess(source.highest, sequence).ok_or(Refused::Replayed)?;
                if !source.seen.is_new(index) {
                    return Err(Refused::Replayed);
                }
                (index, 1)
            }
            None => (u64::from(sequence), LATE),
        };
        let mut indices = (0..tries).map(|rolled| first + (rolled << 16));
        let index = match &self.rtp {
            Cipher::Cm(cm) => {
                let check = cm.check(packet);
                let fits = |index: &u64| check.fits(&((index >> 16) as u32).to_be_bytes(), tag);
                let index = indices.find(fits).ok_or(Refused::Forged)?;
                cm.apply(ssrc, index, &mut packet[clear..]);
                index
            }
            Cipher::Gcm(gcm) => {
                let (aad, data) = packet.split_at_mut(clear);
                indices
                    .find(|index| gcm.open(gcm.nonce(ssrc, *index), aad, data, tag))
                    .ok_or(Refused::Forged)?
            }
        };
        self.turn += 1;
        note(&mut self.heard, ssrc, index, self.turn);
        Ok(length)
    }

    /// Checks and decrypts an SRTCP packet likewise. One that is only authenticated (E flag 0) is taken.
    ///
    /// # Errors
    /// As for RTP.
    pub fn rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let length = packet
            .len()
            .checked_sub(self.rtcp.tag() + 4)
            .filter(|length| *length >= RTCP_CLEAR)
            .ok_or(Refused::Malformed)?;
        let (packet, rest) = packet.split_at_mut(length);
        let at = match &self.rtcp {
            Cipher::Cm(_) => 0,
            Cipher::Gcm(_) => self.rtcp.tag(),
        };
        let (Some(ssrc), Some(trailer)) = (word(packet, 4), word(rest, at)) else {
            return Err(Refused::Malformed);
        };
        let (encrypted, index) = (trailer & ENCRYPTED != 0, u64::from(trailer & !ENCRYPTED));
        if find(&self.controls, ssrc).is_some_and(|source| !source.seen.is_new(index)) {
            return Err(Refused::Replayed);
        }
        let trailer = trailer.to_be_bytes();
        match &self.rtcp {
            Cipher::Cm(cm) => {
                if !cm.check(packet).fits(&trailer, &rest[4..]) {
                    return Err(Refused::Forged);
                }
                if encrypted {
                    cm.apply(ssrc, index, &mut packet[RTCP_CLEAR..]);
                }
            }
            Cipher::Gcm(gcm) => {
                let tag = &rest[..at];
                let nonce = gcm.nonce(ssrc, index);
                let authentic = if encrypted {
                    let (head, data) = packet.split_at_mut(RTCP_CLEAR);
                    let mut aad = [0; RTCP_CLEAR + 4];
                    aad[..RTCP_CLEAR].copy_from_slice(head);
                    aad[RTCP_CLEAR..].copy_from_slice(&trailer);
                    gcm.open(nonce, &aad, data, tag)
                } else {
                    gcm.verify(nonce, packet, trailer, tag)
                };
                if !authentic {
                    return Err(Refused::Forged);
                }
            }
        }
        self.turn += 1;
        note(&mut self.controls, ssrc, index, self.turn);
        Ok(length)
    }
}

fn find(sources: &[Option<Source>; SOURCES], ssrc: u32) -> Option<&Source> {
    sources.iter().flatten().find(|source| source.ssrc == ssrc)
}

/// Notes an authentic packet.
fn note(sources: &mut [Option<Source>; SOURCES], ssrc: u32, index: u64, turn: u64) {
    let known = sources
        .iter_mut()
        .flatten()
        .find(|source| source.ssrc == ssrc);
    if let Some(source) = known {
        source.highest = source.highest.max(index);
        source.seen.note(index);
        source.turn = turn;
        return;
    }
    let oldest = sources
        .iter_mut()
        .min_by_key(|source| source.map_or(0, |source| source.turn));
    if let Some(place) = oldest {
        let mut seen = Window::default();
        seen.note(index);
        *place = Some(Source {
            ssrc,
            highest: index,
            seen,
            turn,
        });
    }
}
