//! Silence sent to a survivor while the other side is away, so that its own RTP timeout does not
//! fire. Only G.711 can be made without a codec.

use crate::media::clock::Micros;
use crate::media::line::Line;
use crate::media::rtp::{self, Header};

/// Milliseconds in a packet where a side says nothing sensible.
const USUAL_PTIME: u16 = 20;
const LONGEST_PTIME: u16 = 100;
/// Samples a millisecond of G.711.
const RATE: usize = 8;
/// G.711's clock rate in Hz.
pub(crate) const CLOCK: u32 = 8000;
/// The longest filler packet.
pub(crate) const LONGEST: usize = rtp::FIXED + LONGEST_PTIME as usize * RATE;
/// Packets that may be caught up with at once; a longer lag becomes a seam.
const CATCH_UP: u64 = 5;
/// Microseconds between sender reports of our own (RFC 3550 6.2: five seconds at least).
const REPORT_EVERY: u64 = 5_000_000;

/// One stream's filler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filler {
    number: u8,
    octet: u8,
    ptime_ms: u16,
    next: Micros,
    next_report: Micros,
    /// The next packet follows something else, or a gap.
    seam: bool,
}

impl Filler {
    /// Starts as soon as the packet before it is over.
    pub(crate) fn start(number: u8, octet: u8, ptime: u16, line: &Line, now: Micros) -> Self {
        let ptime_ms = match ptime {
            0 => USUAL_PTIME,
            given => given.min(LONGEST_PTIME),
        };
        let after = line
            .last_at()
            .map_or(now, |last| last + u64::from(ptime_ms) * 1000);
        Self {
            number,
            octet,
            ptime_ms,
            next: after.max(now),
            next_report: now + REPORT_EVERY,
            seam: true,
        }
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
        let octets = usize::from(self.ptime_ms) * RATE;
        let place = line.fill(octets as u32, CLOCK, octets, self.seam, self.next);
        let header = Header {
            marker: self.seam,
            number: self.number,
            sequence: place.sequence,
            timestamp: place.timestamp,
            ssrc: place.ssrc,
            payload: octets,
        };
        let packet = &mut into[..rtp::FIXED + octets];
        packet.fill(self.octet);
        packet[0] = 0x80;
        rtp::write(packet, &header);
        self.seam = false;
        self.next = self.next + ptime;
        Some(packet.len())
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
