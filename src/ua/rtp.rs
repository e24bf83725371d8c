//! A phone's voice: one RTP packet of G.711 every 20 ms (RFC 3550, RFC 3551), and a record of what came.

use std::net::SocketAddr;
use std::time::Duration;

use mio::net::UdpSocket;

use super::request::random;

/// Milliseconds in a packet.
const PTIME: Duration = Duration::from_millis(20);
/// Samples in a packet, at 8000 Hz.
const SAMPLES: u32 = 160;
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

/// The voice of one call.
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
    pub(super) sent: Vec<Packet>,
    pub(super) received: Vec<Packet>,
}

impl Rtp {
    pub(super) fn new(socket: UdpSocket, port: u16, voice: u8) -> Self {
        Self {
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

    /// Sets where to speak to, and whether to.
    pub(super) fn set(&mut self, remote: Option<SocketAddr>, speaking: bool, now: Duration) {
        if speaking && !self.speaking {
            self.next = now;
            self.begins = true;
        }
        self.remote = remote;
        self.speaking = speaking && remote.is_some();
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
                payload_type: 0,
                payload: vec![self.voice; SAMPLES as usize],
                peer,
            };
            self.begins = false;
            // A peer that is gone is told by silence, as with a phone of flesh and plastic.
            let _ = socket.send_to(&packet.to_bytes(), peer);
            if self.sent.len() < PACKETS_MAX {
                self.sent.push(packet);
            }
            self.sequence = self.sequence.wrapping_add(1);
            self.timestamp = self.timestamp.wrapping_add(SAMPLES);
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
                    let packet = Packet::parse(&buffer[..length], now(), peer);
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
