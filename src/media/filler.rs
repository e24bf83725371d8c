//! Silence, or a sound, sent to a survivor while the other side is away, so that its own RTP timeout does
//! not fire. In G.711, G.722 and Opus: in any other format nothing is sent.

use std::sync::Arc;

use crate::media::clock::Micros;
use crate::media::line::Line;
use crate::media::payload::{Coding, Silence};
use crate::media::rtp::{self, Header};
use crate::media::sound::{Said, Sound};

/// Milliseconds in a packet where a side says nothing sensible.
const USUAL_PTIME: u16 = 20;
const LONGEST_PTIME: u16 = 100;
/// Octets a millisecond of G.711 and G.722.
const RATE: usize = 8;
/// The most octets that a packet carries, and the longest packet.
pub(crate) const PAYLOAD: usize = LONGEST_PTIME as usize * RATE;
pub(crate) const LONGEST: usize = rtp::FIXED + PAYLOAD;
/// Packets that may be caught up with at once; a longer lag becomes a seam.
const CATCH_UP: u64 = 5;
/// Microseconds between sender reports of our own (RFC 3550 6.2: five seconds at least).
const REPORT_EVERY: u64 = 5_000_000;

/// One stream's filler.
#[derive(Debug)]
pub(crate) struct Filler {
    number: u8,
    coding: Coding,
    /// What it says, and how far it has come, in octets or frames; silence without.
    sound: Option<(Arc<Sound>, usize)>,
    ptime_ms: u16,
    next: Micros,
    next_report: Micros,
    /// The next packet follows something else, or a gap.
    seam: bool,
}

impl Filler {
    /// Starts as soon as the packet before it is over.
    pub(crate) fn start(
        (number, coding): (u8, Coding),
        ptime: u16,
        line: &Line,
        now: Micros,
    ) -> Self {
        let ptime_ms = match (coding, ptime) {
            // Its frame says how long it is.
            (Coding::Opus, _) | (_, 0) => USUAL_PTIME,
            (_, given) => given.min(LONGEST_PTIME),
        };
        let after = line
            .last_at()
            .map_or(now, |last| last + u64::from(ptime_ms) * 1000);
        Self {
            number,
            coding,
            sound: None,
            ptime_ms,
            next: after.max(now),
            next_report: now + REPORT_EVERY,
            seam: true,
        }
    }

    /// Says a sound from now on, from its beginning; goes on with the one that it says already.
    pub(crate) fn says(&mut self, sound: &Arc<Sound>) {
        if self.sound.is_none() {
            self.sound = Some((Arc::clone(sound), 0));
        }
    }

    pub(crate) fn coding(&self) -> Coding {
        self.coding
    }

    pub(crate) fn deadline(&self) -> Micros {
        self.next.min(self.next_report)
    }

    /// Writes the packet that is due and returns its length; none while nothing is due.
    pub(crate) fn poll(
        &mut self,
        line: &mut Line,
        into: &mut [u8; LONGEST],
        now: Micros,
    ) -> Option<usize> {
        if self.next > now {
            return None;
        }
        let ptime = u64::from(self.ptime_ms) * 1000;
        if now.since(self.next) > CATCH_UP * ptime {
            self.next = now;
            self.seam = true;
        }
        let silence = self.coding.silence()?;
        let octets = self.speak(silence, &mut into[rtp::FIXED..]);
        let clock = silence.clock();
        let ticks = u32::from(self.ptime_ms) * (clock / 1000);
        let place = line.fill(ticks, clock, octets, self.seam, self.next);
        let header = Header {
            marker: self.seam,
            number: self.number,
            sequence: place.sequence,
            timestamp: place.timestamp,
            ssrc: place.ssrc,
            payload: octets,
        };
        let packet = &mut into[..rtp::FIXED + octets];
        packet[0] = 0x80;
        rtp::write(packet, &header);
        self.seam = false;
        self.next = self.next + ptime;
        Some(packet.len())
    }

    /// Writes what the packet says, and returns its length.
    fn speak(&mut self, silence: Silence, into: &mut [u8]) -> usize {
        let said = self.sound.as_mut();
        let said = said.and_then(|(sound, at)| Some((sound.of(self.coding)?, at)));
        let octets = usize::from(self.ptime_ms) * RATE;
        match (said, silence) {
            (Some((Said::Octets(said), at)), _) => {
                for octet in &mut into[..octets] {
                    *octet = said[*at];
                    *at = (*at + 1) % said.len();
                }
                octets
            }
            (Some((Said::Frames(said), at)), _) => {
                let frame = &said[*at];
                *at = (*at + 1) % said.len();
                into[..frame.len()].copy_from_slice(frame);
                frame.len()
            }
            (None, Silence::Octet(octet)) => {
                into[..octets].fill(octet);
                octets
            }
            (None, Silence::Frame(frame)) => {
                into[..frame.len()].copy_from_slice(frame);
                frame.len()
            }
        }
    }

    /// Returns true where a sender report is due, and reckons with the next.
    pub(crate) fn report_due(&mut self, now: Micros) -> bool {
        let due = self.next_report <= now;
        if due {
            self.next_report = now + REPORT_EVERY;
        }
        due
    }
}
