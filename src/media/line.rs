//! The one line of SSRC, sequence numbers and timestamps that a side sees, whoever speaks on it.
//!
//! Sources come and go (phones, our own filler); each is joined to the line at a *seam*: its first
//! packet gets the next sequence number, and a timestamp that is ahead by the time that passed.
//! Between seams a source's numbers are shifted by constants, so that what the network lost or
//! swapped is lost or swapped for the receiver too, as RTP has it.

use crate::media::clock::{Micros, ticks};
use crate::media::report::LineState;
use crate::media::rtp::Header;

/// RFC 3550 A.1: a gap this wide is not loss but a source that started over.
const MAX_DROPOUT: i16 = 3000;
/// RFC 3550 A.1: a packet this late is not late but of another start.
const MAX_MISORDER: i16 = 100;
/// Packets a second that may have been sent since a state was saved: audio, and video.
const AUDIO_RATE: u64 = 100;
const VIDEO_RATE: u64 = 1000;
const VIDEO_CLOCK: u32 = 90_000;
/// What the time before the first packet of a line of our own is counted by, in Hz.
const OWN_CLOCK: u32 = 8000;
/// For so many microseconds what is older than what was filled in for it is left out: all of it comes at once
/// where a network was away and its queues are let go. Who speaks so for longer has a clock that stood still.
const STALE: u64 = 200_000;
/// Of a second: a source that is behind the filler by no more than this part of one was only overtaken by it.
const LATE_SHARE: u32 = 25;
/// Seconds that a source may have been away, and by which it may be ahead, for its clock to be believed.
const AWAY_MAX: u32 = 60;
const AHEAD_MAX: u32 = 1;
/// A jump wider than half of the sequence space would look like a step back.
const MAX_SKIP: u64 = 30_000;

#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What to start with where we speak first.
    seed: u64,
    /// It began by `start_as_own`.
    owned: bool,
    head: Option<Head>,
    source: Option<Source>,
    /// Who spoke before we filled in for it.
    paused: Option<Box<Paused>>,
    packets: u64,
    octets: u64,
}

/// A source that fell silent, and may go on by its own clock.
#[derive(Clone, Copy, Debug)]
struct Paused {
    ssrc: u32,
    timestamp_shift: u32,
    /// Since when it has said what is too old.
    stale_since: Option<Micros>,
}

/// What a source says that was paused.
enum Resumed {
    /// It is older than what was filled in.
    Stale,
    /// At this timestamp of the line.
    At(u32),
    /// Its clock says nothing.
    Anew,
}

/// The newest that was sent.
#[derive(Clone, Copy, Debug)]
struct Head {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    clock: u32,
    /// When `timestamp` was first sent.
    at: Micros,
    /// Ticks from one timestamp to the next, as last seen.
    step: u32,
}

/// Who speaks now, and how its numbers become the line's.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    /// Highest sequence number received.
    highest: u16,
    sequence_shift: u16,
    timestamp_shift: u32,
    /// Sequence numbers since the seam: nothing older has a place on the line.
    since: u32,
    /// Where a source that jumped would go on (RFC 3550 A.1 `bad_seq`).
    jumped_to: Option<u16>,
    /// A sender report of this source was passed on.
    reported: bool,
}

/// A packet's place on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// The first of its source on a line that had another before.
    pub(crate) seam: bool,
}

/// How the RTCP of the source that speaks is made to fit the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// SSRC of the line.
    pub(crate) line: u32,
    /// SSRC of the source.
    pub(crate) source: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// A sender report of this source was passed on, so an LSR can be meant for it.
    pub(crate) reported: bool,
}

impl Line {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            owned: false,
            head: None,
            source: None,
            paused: None,
            packets: 0,
            octets: 0,
        }
    }

    /// Goes on with a line of before a restart. `age_ms`: since the state's `at_ms`.
    pub(crate) fn resume(&mut self, state: &LineState, age_ms: u64, now: Micros) {
        let rate = if state.clock == VIDEO_CLOCK {
            VIDEO_RATE
        } else {
            AUDIO_RATE
        };
        let skip = (age_ms.saturating_mul(rate) / 1000 + 1).min(MAX_SKIP) as u16;
        self.source = None;
        self.head = Some(Head {
            ssrc: state.ssrc,
            sequence: state.sequence.wrapping_add(skip),
            timestamp: state
                .timestamp
                .wrapping_add(ticks(age_ms.saturating_mul(1000), state.clock)),
            clock: state.clock,
            at: now,
            step: 0,
        });
    }

    /// Makes a line on which nothing was sent by us begin under an SSRC of its own, and not that of its
    /// first source, or of a process before. Under a key that outlives a restart the numbers of either
    /// may have been used (RFC 3711 9.1).
    pub(crate) fn start_as_own(&mut self, now: Micros) {
        if self.packets > 0 || self.owned {
            return;
        }
        self.owned = true;
        self.source = None;
        self.head = Some(Head {
            ssrc: (self.seed >> 32) as u32,
            sequence: self.seed as u16 >> 1,
            timestamp: (self.seed >> 16) as u32,
            clock: OWN_CLOCK,
            at: now,
            step: 0,
        });
    }

    /// Ends the source that speaks: whatever comes next is joined by a seam.
    pub(crate) fn cut(&mut self) {
        self.source = None;
        self.paused = None;
    }

    /// Finds a packet's place. None where its sequence number fits nowhere.
    pub(crate) fn place(&mut self, packet: &Header, clock: u32, now: Micros) -> Option<Place> {
        let Some(source) = self.source.as_mut().filter(|s| s.ssrc == packet.ssrc) else {
            return self.rejoin(packet, clock, now);
        };
        let ahead = packet.sequence.wrapping_sub(source.highest) as i16;
        if source.jumped_to == Some(packet.sequence) {
            return Some(self.join(packet, None, clock, now));
        }
        if !(-MAX_MISORDER..MAX_DROPOUT).contains(&ahead) {
            source.jumped_to = Some(packet.sequence.wrapping_add(1));
            return None;
        }
        source.jumped_to = None;
        let place = Place {
            ssrc: self.head?.ssrc,
            sequence: packet.sequence.wrapping_add(source.sequence_shift),
            timestamp: packet.timestamp.wrapping_add(source.timestamp_shift),
            seam: false,
        };
        if ahead > 0 {
            source.highest = packet.sequence;
            source.since = source.since.saturating_add(u32::from(ahead.unsigned_abs()));
            self.advance(&place, clock, now);
        } else if u32::from(ahead.unsigned_abs()) > source.since {
            // From before the seam: its number is taken.
            return None;
        }
        self.count(packet.payload);
        Some(place)
    }

    /// Adds a packet of our own that lasts `step` ticks. `seam`: something else was before it, or
    /// nothing, or more time passed than one packet.
    pub(crate) fn fill(
        &mut self,
        step: u32,
        clock: u32,
        octets: usize,
        seam: bool,
        now: Micros,
    ) -> Place {
        if let Some(source) = self.source.take() {
            self.paused = Some(Box::new(Paused {
                ssrc: source.ssrc,
                timestamp_shift: source.timestamp_shift,
                stale_since: None,
            }));
        }
        let place = match &self.head {
            None => Place {
                ssrc: (self.seed >> 32) as u32,
                // Room above, so that it does not wrap at once (RFC 3711 3.3.1 would lose count).
                sequence: self.seed as u16 >> 1,
                timestamp: (self.seed >> 16) as u32,
                seam: true,
            },
            Some(head) => Place {
                ssrc: head.ssrc,
                sequence: head.sequence.wrapping_add(1),
                timestamp: if seam {
                    head.after(now)
                } else {
                    head.timestamp.wrapping_add(step)
                },
                seam,
            },
        };
        self.advance(&place, clock, now);
        if let Some(head) = &mut self.head {
            head.step = step;
        }
        self.count(octets);
        place
    }

    /// Returns how the speaking source's numbers become the line's; none while nobody speaks.
    pub(crate) fn shift(&self) -> Option<Shift> {
        let (source, head) = (self.source?, self.head?);
        Some(Shift {
            line: head.ssrc,
            source: source.ssrc,
            sequence: source.sequence_shift,
            timestamp: source.timestamp_shift,
            reported: source.reported,
        })
    }

    /// A sender report of the speaking source was passed on.
    pub(crate) fn set_reported(&mut self) {
        if let Some(source) = &mut self.source {
            source.reported = true;
        }
    }

    /// Returns the line's SSRC, once there is one.
    pub(crate) fn ssrc(&self) -> Option<u32> {
        self.head.map(|head| head.ssrc)
    }

    /// Returns the SSRC to speak under: the line's, or the one it would start with.
    pub(crate) fn own_ssrc(&self) -> u32 {
        self.ssrc().unwrap_or((self.seed >> 32) as u32)
    }

    /// Returns when the newest timestamp was sent.
    pub(crate) fn last_at(&self) -> Option<Micros> {
        self.head.map(|head| head.at)
    }

    /// Returns the timestamp of this moment on the line.
    pub(crate) fn timestamp_at(&self, now: Micros) -> Option<u32> {
        self.head.map(|head| {
            head.timestamp
                .wrapping_add(ticks(now.since(head.at), head.clock))
        })
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// Returns what outlives a restart. `at_ms` turns our time into that of the Unix epoch.
    pub(crate) fn state(&self, at_ms: impl FnOnce(Micros) -> u64) -> Option<LineState> {
        self.head.map(|head| LineState {
            ssrc: head.ssrc,
            sequence: head.sequence,
            timestamp: head.timestamp,
            clock: head.clock,
            at_ms: at_ms(head.at),
        })
    }

    /// Joins a source that did not speak last. None where what it says is too old by now.
    fn rejoin(&mut self, packet: &Header, clock: u32, now: Micros) -> Option<Place> {
        let at = match self.resumed(packet, clock, now) {
            Resumed::Stale => return None,
            Resumed::At(timestamp) => Some(timestamp),
            Resumed::Anew => None,
        };
        self.paused = None;
        Some(self.join(packet, at, clock, now))
    }

    fn resumed(&mut self, packet: &Header, clock: u32, now: Micros) -> Resumed {
        let paused = self.paused.as_mut().filter(|p| p.ssrc == packet.ssrc);
        let (Some(paused), Some(head)) = (paused, &self.head) else {
            return Resumed::Anew;
        };
        let timestamp = packet.timestamp.wrapping_add(paused.timestamp_shift);
        let ahead = timestamp.wrapping_sub(head.timestamp) as i32;
        let passed = ticks(now.since(head.at), head.clock).saturating_add(clock * AHEAD_MAX);
        if ahead > 0 && ahead.unsigned_abs() <= passed {
            return Resumed::At(timestamp);
        }
        let since = *paused.stale_since.get_or_insert(now);
        let behind = clock / LATE_SHARE + 1..=clock.saturating_mul(AWAY_MAX);
        let late = ahead < 0 && behind.contains(&ahead.unsigned_abs());
        match late && now.since(since) < STALE {
            true => Resumed::Stale,
            false => Resumed::Anew,
        }
    }

    /// Begins a source, at the timestamp where its own clock says one, else at that of this moment.
    fn join(&mut self, packet: &Header, at: Option<u32>, clock: u32, now: Micros) -> Place {
        let place = match &self.head {
            // The first source's numbers are the line's.
            None => Place {
                ssrc: packet.ssrc,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                seam: false,
            },
            Some(head) => Place {
                ssrc: head.ssrc,
                sequence: head.sequence.wrapping_add(1),
                timestamp: at.unwrap_or_else(|| head.after(now)),
                seam: true,
            },
        };
        self.source = Some(Source {
            ssrc: packet.ssrc,
            highest: packet.sequence,
            sequence_shift: place.sequence.wrapping_sub(packet.sequence),
            timestamp_shift: place.timestamp.wrapping_sub(packet.timestamp),
            since: 0,
            jumped_to: None,
            reported: false,
        });
        self.advance(&place, clock, now);
        self.count(packet.payload);
        place
    }

    fn advance(&mut self, place: &Place, clock: u32, now: Micros) {
        let Some(head) = &mut self.head else {
            self.head = Some(Head {
                ssrc: place.ssrc,
                sequence: place.sequence,
                timestamp: place.timestamp,
                clock,
                at: now,
                step: 0,
            });
            return;
        };
        if place.timestamp != head.timestamp {
            let next = place.sequence == head.sequence.wrapping_add(1);
            let step = place.timestamp.wrapping_sub(head.timestamp);
            if next && !place.seam && step < clock {
                head.step = step;
            }
            head.timestamp = place.timestamp;
            head.clock = clock;
            head.at = now;
        }
        head.sequence = place.sequence;
    }

    /// Counts a packet that is sent as it came, and goes on from there with what comes after: who hears it must not
    /// see numbers of one SSRC again.
    pub(crate) fn passes(&mut self, packet: &Header, clock: u32, now: Micros) {
        self.cut();
        let is_late = self.head.as_ref().is_some_and(|head| {
            head.ssrc == packet.ssrc && (packet.sequence.wrapping_sub(head.sequence) as i16) <= 0
        });
        if !is_late {
            self.head = Some(Head {
                ssrc: packet.ssrc,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                clock,
                at: now,
                step: 0,
            });
        }
        self.count(packet.payload);
    }

    /// Counts a packet that is sent.
    pub(crate) fn count(&mut self, octets: usize) {
        self.packets += 1;
        self.octets += octets as u64;
    }
}

impl Head {
    /// Returns the timestamp of a source that joins now: ahead by the time that passed (in ticks of
    /// the clock before it, RFC 7160 4.1), but not on top of the last packet.
    fn after(&self, now: Micros) -> u32 {
        let passed = ticks(now.since(self.at), self.clock);
        self.timestamp.wrapping_add(passed.max(self.step).max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const CLOCK: u32 = 8000;

    fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header {
            marker: false,
            number: 0,
            sequence,
            timestamp,
            ssrc,
            payload: 160,
        }
    }

    fn ms(ms: u64) -> Micros {
        Micros::from_ms(ms)
    }

    #[test]
    fn the_first_source_gives_its_numbers() {
        let mut line = Line::new(1);
        let place = line.place(&packet(7, 65_535, 1000), CLOCK, ms(0)).unwrap();
        let expected = Place {
            ssrc: 7,
            sequence: 65_535,
            timestamp: 1000,
            seam: false,
        };
        assert_eq!(place, expected);
        let next = line.place(&packet(7, 0, 1160), CLOCK, ms(20)).unwrap();
        assert_eq!((next.sequence, next.timestamp, next.seam), (0, 1160, false));
    }

    #[test]
    fn another_source_follows_by_one_and_by_the_time_that_passed() {
        for (gap_ms, ticks) in [(3, 160), (20, 160), (21, 168), (1500, 12_000)] {
            let mut line = Line::new(1);
            line.place(&packet(7, 9, 840), CLOCK, ms(0)).unwrap();
            line.place(&packet(7, 10, 1000), CLOCK, ms(20)).unwrap();
            let place = line
                .place(&packet(8, 500, 777_777), CLOCK, ms(20 + gap_ms))
                .unwrap();
            let expected = Place {
                ssrc: 7,
                sequence: 11,
                timestamp: 1000 + ticks,
                seam: true,
            };
            assert_eq!(place, expected, "{gap_ms} ms");
        }
    }

    #[test]
    fn one_ssrc_on_two_endpoints_is_two_sources() {
        let mut line = Line::new(1);
        line.place(&packet(7, 10, 1000), CLOCK, ms(0)).unwrap();
        line.cut();
        let place = line.place(&packet(7, 11, 50), CLOCK, ms(1000)).unwrap();
        assert_eq!(
            (place.sequence, place.timestamp, place.seam),
            (11, 9000, true)
        );
    }

    #[test]
    fn what_went_by_as_it_came_is_followed_and_never_said_again() {
        let mut line = Line::new(1);
        line.place(&packet(7, 10, 1000), CLOCK, ms(0)).unwrap();
        line.passes(&packet(7, 500, 9000), CLOCK, ms(20));
        line.passes(&packet(7, 499, 8840), CLOCK, ms(21));
        let place = line.place(&packet(7, 11, 1160), CLOCK, ms(40)).unwrap();
        assert_eq!((place.ssrc, place.sequence, place.seam), (7, 501, true));
        assert_eq!(place.timestamp, 9160);
        // Of another source.
        line.passes(&packet(9, 3, 50), CLOCK, ms(60));
        let place = line.place(&packet(7, 12, 1320), CLOCK, ms(80)).unwrap();
        assert_eq!((place.ssrc, place.sequence, place.seam), (9, 4, true));
        assert_eq!((line.packets(), line.octets()), (6, 960));
    }

    #[test]
    fn what_is_older_than_the_seam_has_no_place() {
        let mut line = Line::new(1);
        line.place(&packet(7, 10, 0), CLOCK, ms(0)).unwrap();
        line.place(&packet(8, 100, 0), CLOCK, ms(20)).unwrap();
        assert_eq!(line.place(&packet(8, 99, 0), CLOCK, ms(21)), None);
        line.place(&packet(8, 103, 480), CLOCK, ms(80)).unwrap();
        let late = line.place(&packet(8, 101, 160), CLOCK, ms(81)).unwrap();
        assert_eq!(late.sequence, 12);
        assert_eq!(line.place(&packet(8, 99, 0), CLOCK, ms(82)), None);
    }

    #[test]
    fn a_source_that_starts_over_is_believed_the_second_time() {
        let mut line = Line::new(1);
        line.place(&packet(7, 10, 0), CLOCK, ms(0)).unwrap();
        assert_eq!(line.place(&packet(7, 30_000, 9), CLOCK, ms(20)), None);
        let place = line.place(&packet(7, 30_001, 169), CLOCK, ms(40)).unwrap();
        assert_eq!(
            (place.sequence, place.timestamp, place.seam),
            (11, 320, true)
        );
    }

    #[test]
    fn a_seam_counts_in_the_clock_of_what_was_before() {
        let mut line = Line::new(1);
        line.place(&packet(7, 10, 0), 48_000, ms(0)).unwrap();
        let place = line.place(&packet(8, 1, 0), 8000, ms(1000)).unwrap();
        assert_eq!(place.timestamp, 48_000);
        let place = line.place(&packet(9, 1, 0), 8000, ms(2000)).unwrap();
        assert_eq!(place.timestamp, 56_000);
    }

    #[test]
    fn a_timestamp_that_repeats_counts_from_its_first_packet() {
        // A telephone event: one timestamp for 100 ms.
        let mut line = Line::new(1);
        for n in 0..5u16 {
            let at = ms(20 * u64::from(n));
            line.place(&packet(7, 10 + n, 1000), CLOCK, at).unwrap();
        }
        let place = line.place(&packet(8, 1, 0), CLOCK, ms(100)).unwrap();
        assert_eq!(place.timestamp, 1800);
    }

    #[test]
    fn our_own_packets_join_like_a_source() {
        let mut line = Line::new(1);
        line.place(&packet(7, 10, 1000), CLOCK, ms(0)).unwrap();
        let first = line.fill(160, CLOCK, 160, true, ms(3000));
        assert_eq!((first.sequence, first.timestamp), (11, 25_000));
        let second = line.fill(160, CLOCK, 160, false, ms(3020));
        assert_eq!((second.sequence, second.timestamp), (12, 25_160));
        // A source that comes right after does not lie on top of it.
        let place = line.place(&packet(8, 1, 0), CLOCK, ms(3021)).unwrap();
        assert_eq!((place.sequence, place.timestamp), (13, 25_320));
        assert_eq!((line.packets(), line.octets()), (4, 640));
    }

    #[test]
    fn resumes_beyond_what_can_have_been_sent() {
        let state = LineState {
            ssrc: 7,
            sequence: 65_500,
            timestamp: 1000,
            clock: CLOCK,
            at_ms: 1_000_000,
        };
        let mut line = Line::new(1);
        line.resume(&state, 2000, ms(5));
        let place = line.place(&packet(8, 1, 0), CLOCK, ms(1005)).unwrap();
        assert_eq!(place.ssrc, 7);
        assert!(place.seam);
        let ahead = place.sequence.wrapping_sub(state.sequence);
        assert!((100..3000).contains(&ahead), "{ahead}");
        assert_eq!(place.timestamp, 1000 + 3 * CLOCK);
        assert_eq!(line.state(|at| at.0).unwrap().sequence, place.sequence);
    }

    /// What a source sends and what the network makes of it.
    fn source() -> impl Strategy<Value = (u32, u16, u32, Vec<(u8, bool)>, u64)> {
        (
            1..4u32,
            any::<u16>(),
            any::<u32>(),
            // By packet: how many places it comes late, and whether it is lost.
            proptest::collection::vec((0..3u8, any::<bool>()), 1..40),
            0..5000u64,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_line_is_one_line(
            sources in proptest::collection::vec(source(), 1..8),
            lossy in any::<bool>(),
        ) {
            let mut line = Line::new(5);
            let mut now = ms(1);
            let mut numbers = BTreeSet::new();
            let mut newest: Option<(i64, Place, Micros)> = None;
            for (ssrc, sequence, timestamp, packets, pause_ms) in sources {
                line.cut();
                now = now + pause_ms * 1000;
                // By arrival; a source's first packet is neither late nor lost.
                let mut order: Vec<_> = (0..packets.len())
                    .filter(|n| *n == 0 || !lossy || !packets[*n].1)
                    .collect();
                order.sort_by_key(|n| if *n == 0 { 0 } else { n + usize::from(packets[*n].0) });
                let before = newest;
                let mut first = None;
                for n in order {
                    now = now + 20_000;
                    let header = packet(
                        ssrc,
                        sequence.wrapping_add(n as u16),
                        timestamp.wrapping_add(160 * n as u32),
                    );
                    let place = line.place(&header, CLOCK, now).unwrap();
                    let number = n as i64 + *first.get_or_insert_with(|| {
                        before.map_or_else(|| place.sequence.into(), |(number, ..)| number + 1)
                    });
                    prop_assert_eq!(place.sequence, number as u16);
                    prop_assert!(numbers.insert(number), "{} twice", number);
                    prop_assert_eq!(place.seam, n == 0 && before.is_some());
                    if let Some((_, last, at)) = before {
                        prop_assert_eq!(place.ssrc, last.ssrc);
                        let passed = ticks(now.since(at), CLOCK);
                        let step = place.timestamp.wrapping_sub(last.timestamp);
                        prop_assert!(n > 0 || step.abs_diff(passed) <= 160);
                    }
                    if newest.is_none_or(|(top, ..)| number > top) {
                        newest = Some((number, place, now));
                    }
                }
            }
            if !lossy {
                let (low, high) = (numbers.first().unwrap(), numbers.last().unwrap());
                prop_assert_eq!(high - low + 1, numbers.len() as i64, "a hole");
            }
        }
    }
}
