//! Whether a stream of RTP went on as if nothing had happened.

use std::collections::BTreeSet;
use std::time::Duration;

use super::rtp::Packet;

/// Packets on each side of a seam of which the least delayed tells how the timestamps stand to the
/// clock: a late packet says nothing.
const NEAR: usize = 250;
/// Samples in a millisecond.
const PER_MS: i64 = 8;

/// What was seen in the packets of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuity {
    pub packets: usize,
    /// Sources (SSRC).
    pub sources: usize,
    /// Times that a sequence number did not follow the one before.
    pub breaks: usize,
    /// Times that a timestamp did not grow.
    pub steps_back: usize,
    /// Where another voice begins.
    pub seams: Vec<Seam>,
}

/// A place where the voice changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seam {
    pub at: Duration,
    /// First octet of the payload before and after.
    pub voices: [u8; 2],
    /// The first packet of the new voice carries the marker.
    pub marker: bool,
    /// By how many samples the timestamps left the time that passed, since the stream's first voice.
    pub drift: i64,
    /// How late packets usually were on the worse side of the seam, beyond the least delayed one, in samples: by about
    /// so much that one may have been late as well.
    pub lateness: i64,
}

impl Continuity {
    /// Looks at packets in the order they came.
    pub fn of(packets: &[Packet]) -> Self {
        let sources: BTreeSet<u32> = packets.iter().map(|packet| packet.ssrc).collect();
        let pairs = || packets.iter().zip(packets.iter().skip(1));
        let breaks = pairs().filter(|(a, b)| b.sequence != a.sequence.wrapping_add(1));
        let back = pairs().filter(|(a, b)| b.timestamp.wrapping_sub(a.timestamp) as i32 <= 0);
        let mut seams = Vec::new();
        let first_change = pairs().position(|(a, b)| voice(a) != voice(b));
        for (at, (a, b)) in pairs().enumerate() {
            if voice(a) == voice(b) {
                continue;
            }
            let before = &packets[..first_change.map_or(at, |first| first + 1)];
            let before = &before[before.len().saturating_sub(NEAR)..];
            let after = &packets[at + 1..];
            let run = after.iter().take_while(|packet| voice(packet) == voice(b));
            let after = &after[..run.count().min(NEAR)];
            let (stood, late_before) = offset(before, &packets[0]);
            let (stands, late_after) = offset(after, &packets[0]);
            seams.push(Seam {
                at: b.at,
                voices: [voice(a), voice(b)],
                marker: b.marker,
                drift: stands - stood,
                lateness: late_before.max(late_after),
            });
        }
        Self {
            packets: packets.len(),
            sources: sources.len(),
            breaks: breaks.count(),
            steps_back: back.count(),
            seams,
        }
    }

    /// Returns the largest drift, in samples.
    pub fn worst_drift(&self) -> i64 {
        let drifts = self.seams.iter().map(|seam| seam.drift.abs());
        drifts.max().unwrap_or(0)
    }

    /// Returns true where no seam drifts by more samples than that, and what the machine itself was late.
    pub fn keeps_time(&self, within: i64) -> bool {
        let mut seams = self.seams.iter();
        seams.all(|seam| seam.drift.abs() <= within + seam.lateness)
    }

    /// Returns where a voice begins for the first time.
    pub fn seam_to(&self, voice: u8) -> Option<&Seam> {
        self.seams.iter().find(|seam| seam.voices[1] == voice)
    }
}

fn voice(packet: &Packet) -> u8 {
    packet.payload.first().copied().unwrap_or(0)
}

/// Returns how far the timestamps are ahead of the arrivals, in samples since `zero`, by the packet that
/// was delayed least; and how much later the one in the middle was.
fn offset(packets: &[Packet], zero: &Packet) -> (i64, i64) {
    let offsets = packets.iter().map(|packet| {
        let stamp = i64::from(packet.timestamp.wrapping_sub(zero.timestamp) as i32);
        let passed = packet.at.saturating_sub(zero.at).as_micros() as i64;
        stamp - passed * PER_MS / 1000
    });
    let mut offsets: Vec<i64> = offsets.collect();
    offsets.sort_unstable();
    let best = offsets.last().copied().unwrap_or(0);
    let usual = offsets.get(offsets.len() / 2).copied().unwrap_or(0);
    (best, best - usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(nth: u16, at_ms: u64, timestamp: u32, voice: u8) -> Packet {
        Packet {
            at: Duration::from_millis(at_ms),
            sequence: 65_530u16.wrapping_add(nth),
            timestamp: u32::MAX.wrapping_add(timestamp),
            ssrc: 1,
            marker: nth == 0 || nth == 10,
            payload_type: 0,
            payload: vec![voice],
            peer: ([127, 0, 0, 1], 9).into(),
        }
    }

    #[test]
    fn a_seam_that_keeps_time_and_one_that_does_not() {
        for (jump, drift) in [(1000 * 8, 0), (160, -(1000 - 20) * 8)] {
            let mut packets: Vec<_> = (0..10)
                .map(|nth| packet(nth, u64::from(nth) * 20, u32::from(nth) * 160, 1))
                .collect();
            packets.extend((0..10).map(|nth| {
                let at = 9 * 20 + 1000 + u64::from(nth) * 20;
                packet(10 + nth, at, 9 * 160 + jump + u32::from(nth) * 160, 2)
            }));
            let seen = Continuity::of(&packets);
            assert_eq!((seen.breaks, seen.sources, seen.steps_back), (0, 1, 0));
            let seam = seen.seam_to(2).unwrap();
            assert!(seam.marker);
            assert_eq!((seam.voices, seam.drift), ([1, 2], drift));
            assert_eq!(seen.worst_drift(), drift.abs());
            assert_eq!(seen.keeps_time(160), drift == 0);
            packets.remove(3);
            packets[12].ssrc = 9;
            let seen = Continuity::of(&packets);
            assert_eq!((seen.breaks, seen.sources), (1, 2));
        }
    }

    #[test]
    fn a_machine_that_is_late_itself_is_no_drift_and_a_jump_is() {
        // After the seam the best packet is 25 ms late, and most of them are by 35.
        let late = |nth: u64| if nth == 3 { 25 } else { 35 };
        for (jump, keeps) in [(0, true), (400, false)] {
            let mut packets: Vec<_> = (0..10)
                .map(|nth| packet(nth, u64::from(nth) * 20, u32::from(nth) * 160, 1))
                .collect();
            packets.extend((10..20).map(|nth| {
                let at = u64::from(nth) * 20 + late(u64::from(nth) - 10);
                packet(nth, at + jump, u32::from(nth) * 160, 2)
            }));
            let seen = Continuity::of(&packets);
            assert_eq!(seen.worst_drift(), (25 + jump as i64) * 8);
            assert_eq!(seen.keeps_time(160), keeps, "{seen:?}");
        }
    }
}
