//! One stream of a phone: its voice, one RTP packet of G.711 every 20 ms (RFC 3550, RFC 3551), or what it
//! shows, and a record of what came.

use std::net::SocketAddr;
use std::time::Duration;

use mio::net::UdpSocket;

use crate::sip::sdp::Crypto;

use super::description::{Cover, RemoteStream, Section};
use super::profile::Srtp;
use super::request::random;
use super::srtp::{self, Line};

/// Milliseconds in a packet.
const PTIME: Duration = Duration::from_millis(20);
/// Octets in a packet; of voice at 8000 Hz its samples too.
const SAMPLES: u32 = 160;
/// What a packet lasts at the 90 kHz of pictures.
const PICTURE: u32 = 1800;
const PICTURE_TYPE: u8 = 96;
const HEADER: usize = 12;
/// A record of ten minutes; what comes after is not kept.
const PACKETS_MAX: usize = 30_000;

/// An RTP packet that was sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Since the log's start.
    pub at: Duration,
    pub sequence: u16,
    /// In samples of 1/8000 s.
    pub timestamp: u32,
    pub ssrc: u32,
    pub marker: bool,
    pub payload_type: u8,
    pub payload: Vec<u8>,
    /// Whom it came from, or went to.
    pub peer: SocketAddr,
}

impl Packet {
    fn parse(bytes: &[u8], at: Duration, peer: SocketAddr) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        // Version 2; our peers send neither padding, extension nor contributing sources.
        if header[0] != 0x80 {
            return None;
        }
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        Some(Self {
            at,
            sequence: u16::from_be_bytes([header[2], header[3]]),
            timestamp: word(4),
            ssrc: word(8),
            marker: header[1] & 0x80 != 0,
            payload_type: header[1] & 0x7f,
            payload: bytes[HEADER..].to_vec(),
            peer,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.push(0x80);
        bytes.push(self.payload_type | if self.marker { 0x80 } else { 0 });
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// The voice of one call, or its pictures.
#[derive(Debug)]
pub(super) struct Rtp {
    /// None: the call is over or the phone is killed.
    socket: Option<UdpSocket>,
    pub(super) port: u16,
    remote: Option<SocketAddr>,
    speaking: bool,
    next: Duration,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    voice: u8,
    begins: bool,
    video: bool,
    pub(super) cover: Cover,
    /// The other end has said something of it.
    answered: bool,
    /// Ours and theirs, with the keys that they were made of.
    lines: Option<((Crypto, Line), (Crypto, Line))>,
    /// Packets that came and could not be deciphered, or came plain where they must not.
    pub(super) undeciphered: usize,
    pub(super) sent: Vec<Packet>,
    pub(super) received: Vec<Packet>,
}

impl Rtp {
    pub(super) fn new(socket: UdpSocket, port: u16, voice: u8, video: bool, srtp: Srtp) -> Self {
        Self {
            video,
            cover: Cover {
                bound: srtp == Srtp::Required,
                line: (srtp != Srtp::Off).then(|| srtp::fresh(1)),
            },
            answered: false,
            lines: None,
            undeciphered: 0,
            socket: Some(socket),
            port,
            remote: None,
            speaking: false,
            next: Duration::ZERO,
            sequence: random() as u16,
            timestamp: random() as u32,
            ssrc: random() as u32,
            voice,
            begins: true,
            sent: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Returns what we say of it.
    pub(super) fn section(&self) -> Section {
        Section {
            port: if self.socket.is_some() { self.port } else { 0 },
            cover: self.cover.clone(),
        }
    }

    /// Covers the stream as the answer to an offer must (RFC 4568 5.1.2).
    pub(super) fn answer_to(&mut self, offer: &RemoteStream, srtp: Srtp) {
        self.cover.bound = offer.bound;
        let theirs = srtp::spoken(offer.lines.clone()).filter(|_| srtp != Srtp::Off);
        self.cover.line = theirs.map(|theirs| {
            let mut ours = self.cover.line.take();
            let line = ours.get_or_insert_with(|| srtp::fresh(1));
            line.tag = theirs.tag;
            line.clone()
        });
    }

    /// Takes what the other end said of its keys. Returns true where the stream may run.
    pub(super) fn agree(&mut self, remote: &RemoteStream, srtp: Srtp) -> bool {
        self.answered = true;
        let tag = self.cover.line.as_ref().map(|ours| ours.tag);
        let lines = remote.lines.iter().cloned();
        let theirs = srtp::spoken(lines.filter(|line| Some(line.tag) == tag).collect());
        let (Some(ours), Some(theirs)) = (self.cover.line.clone(), theirs) else {
            self.lines = None;
            return !self.cover.bound && srtp != Srtp::Required;
        };
        let before = self.lines.take();
        let (old_ours, old_theirs) = match before {
            Some((ours, theirs)) => (Some(ours), Some(theirs)),
            None => (None, None),
        };
        let keep = |old: Option<(Crypto, Line)>, new: Crypto| match old {
            Some((known, line)) if known.key == new.key => Some((new, line)),
            Some(_) | None => Line::new(&new.key).map(|line| (new, line)),
        };
        self.lines = keep(old_ours, ours).zip(keep(old_theirs, theirs));
        self.lines.is_some()
    }

    /// Sets where to speak to, and whether to.
    pub(super) fn set(&mut self, remote: Option<SocketAddr>, speaking: bool, now: Duration) {
        if speaking && !self.speaking {
            self.next = now;
            self.begins = true;
        }
        self.remote = remote;
        self.speaking = speaking && remote.is_some();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.socket.is_none()
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
        self.speaking = false;
    }

    /// Goes on from now, as a process does that was stopped.
    pub(super) fn resume(&mut self, now: Duration) {
        self.next = now;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.speaking.then_some(self.next)
    }

    /// Sends what is due.
    pub(super) fn speak(&mut self, now: Duration) {
        let (Some(socket), Some(peer)) = (&self.socket, self.remote) else {
            return;
        };
        while self.speaking && self.next <= now {
            let packet = Packet {
                at: now,
                sequence: self.sequence,
                timestamp: self.timestamp,
                ssrc: self.ssrc,
                marker: self.begins,
                payload_type: if self.video { PICTURE_TYPE } else { 0 },
                payload: vec![self.voice; SAMPLES as usize],
                peer,
            };
            self.begins = false;
            // A peer that is gone is told by silence, as with a phone of flesh and plastic.
            let bytes = match &mut self.lines {
                Some(((_, ours), _)) => ours.seal(packet.to_bytes()),
                None => packet.to_bytes(),
            };
            let _ = socket.send_to(&bytes, peer);
            if self.sent.len() < PACKETS_MAX {
                self.sent.push(packet);
            }
            self.sequence = self.sequence.wrapping_add(1);
            let step = if self.video { PICTURE } else { SAMPLES };
            self.timestamp = self.timestamp.wrapping_add(step);
            self.next += PTIME;
        }
    }

    /// Reads what has come.
    pub(super) fn listen(&mut self, now: impl Fn() -> Duration) {
        let Some(socket) = &self.socket else { return };
        let mut buffer = [0; 2048];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((length, peer)) => {
                    let bytes = match &mut self.lines {
                        Some((_, (_, theirs))) => theirs.open(&buffer[..length]),
                        // It overtook the answer that its key is in.
                        None if self.cover.bound && !self.answered => continue,
                        None if self.cover.bound => None,
                        None => Some(buffer[..length].to_vec()),
                    };
                    let Some(bytes) = bytes else {
                        self.undeciphered += 1;
                        continue;
                    };
                    let packet = Packet::parse(&bytes, now(), peer);
                    if self.received.len() < PACKETS_MAX {
                        self.received.extend(packet);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // ICMP of an earlier packet: the next read is clean.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_survives_the_wire() {
        let packet = Packet {
            at: Duration::ZERO,
            sequence: 0xfffe,
            timestamp: 0x0102_0304,
            ssrc: 0xdead_beef,
            marker: true,
            payload_type: 8,
            payload: vec![1, 2, 3],
            peer: ([127, 0, 0, 1], 9).into(),
        };
        let read = Packet::parse(&packet.to_bytes(), packet.at, packet.peer);
        assert_eq!(read, Some(packet));
        for bad in [&[0x80; 11][..], &[0x40; 12]] {
            assert_eq!(
                Packet::parse(bad, Duration::ZERO, ([127, 0, 0, 1], 9).into()),
                None
            );
        }
    }
}
