//! A short tone to a side that was told of a change by no message: two beeps in place of what it would hear.
//!
//! No packet is added where packets come: what they carry is written over, and their numbers, time and format
//! are those that they had. Where none come, a filler is there to carry it.

use std::sync::Arc;

use crate::engine::ids::Side;
use crate::engine::ports::MediaEvent;
use crate::media::clock::Micros;
use crate::media::payload::{Coding, Mapped};
use crate::media::rtp;
use crate::media::session::{Outbox, Party, Session};
use crate::media::sound::Sound;

/// Ticks a second of G.711.
const CLOCK: u32 = 8000;
/// How long packets to carry it are waited for, in microseconds; then it makes its own.
const PATIENCE: u64 = 100_000;
/// What has not been heard by then is left out.
const LONGEST: u64 = 5_000_000;

/// One that a side is to hear.
#[derive(Debug)]
pub(crate) struct Tone {
    sound: Arc<Sound>,
    asked: Micros,
    /// The timestamp on the side's line with which it began.
    began: Option<u32>,
    /// How far it has come, in samples, and how many of them were said.
    reached: usize,
    said: usize,
    /// Nobody speaks: it has packets of its own.
    pub(crate) alone: bool,
}

impl Tone {
    fn new(sound: &Arc<Sound>, now: Micros) -> Self {
        Self {
            sound: Arc::clone(sound),
            asked: now,
            began: None,
            reached: 0,
            said: 0,
            alone: false,
        }
    }

    /// Returns true for formats in which it can be said.
    fn fits(&self, coding: Coding) -> bool {
        self.sound.octets(coding).is_some()
    }

    /// A packet of the other side goes to who is to hear it: nobody else need carry it then. What is no speech,
    /// as a key that is pressed, stays as it is.
    pub(crate) fn is_carried(&mut self, as_what: &Mapped, packet: &mut [u8]) {
        if as_what.clock == CLOCK && self.fits(as_what.coding) {
            self.alone = false;
            self.write_over(as_what.coding, packet);
        }
    }

    pub(crate) fn write_over(&mut self, coding: Coding, packet: &mut [u8]) {
        let timestamp = rtp::parse(packet).map(|header| header.timestamp);
        if let (Some(timestamp), Some(payload)) = (timestamp, rtp::payload_mut(packet)) {
            self.speak(coding, timestamp, payload);
        }
    }

    /// Writes its part of this time over what a packet carries: an octet is a sample, and a tick.
    fn speak(&mut self, coding: Coding, timestamp: u32, payload: &mut [u8]) {
        let Some(said) = self.sound.octets(coding) else {
            return;
        };
        let began = *self.began.get_or_insert(timestamp);
        // One that was overtaken may be older than the beginning.
        let Ok(at) = usize::try_from(timestamp.wrapping_sub(began) as i32) else {
            return;
        };
        let rest = said.get(at..).unwrap_or_default();
        for (octet, sample) in payload.iter_mut().zip(rest) {
            *octet = *sample;
        }
        self.said += rest.len().min(payload.len());
        self.reached = self.reached.max(at + payload.len());
    }

    /// Returns true once its time has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.reached >= self.sound.length()
    }

    /// Returns true where no more of it is missing than is lost on a bad day.
    fn is_whole(&self) -> bool {
        4 * self.said >= 3 * self.sound.length()
    }

    /// Returns true where it is given up.
    fn is_late(&self, now: Micros) -> bool {
        now.since(self.asked) >= LONGEST
    }

    /// Returns true where it has waited long enough for somebody to speak.
    fn goes_alone(&self, now: Micros) -> bool {
        !self.alone && self.began.is_none() && now.since(self.asked) >= PATIENCE
    }

    fn deadline(&self) -> Micros {
        let waits = !self.alone && self.began.is_none();
        self.asked + if waits { PATIENCE } else { LONGEST }
    }
}

impl Session {
    /// Lets a side hear a tone. What came of it is told once for each; another one before it is whole ends it.
    pub(crate) fn tone(&mut self, side: Side, now: Micros) {
        let tone = Tone::new(&self.rules.tone, now);
        let [caller, callee] = &mut self.sides;
        let (hears, speaks) = match side {
            Side::Caller => (caller, &*callee),
            Side::Callee => (callee, &*caller),
        };
        hears.end_tones();
        let there = hears.live.is_some() && !hears.lost;
        let found = hears.streams.iter_mut().zip(&speaks.streams);
        let mut found = found.filter(|(stream, from)| {
            let coding = stream.fillable().map(|(_, coding)| coding);
            there && stream.hears(from) && coding.is_some_and(|coding| tone.fits(coding))
        });
        match found.next() {
            Some((stream, _)) => stream.tone = Some(Box::new(tone)),
            None => hears.toned[0] += 1,
        }
    }

    /// Lets tones that nobody carries have packets of their own.
    pub(crate) fn let_tones_go_alone(&mut self, now: Micros) {
        let mut changed = false;
        let streams = self.sides.iter_mut().flat_map(|party| &mut party.streams);
        for tone in streams.filter_map(|stream| stream.tone.as_mut()) {
            if tone.goes_alone(now) {
                tone.alone = true;
                changed = true;
            }
        }
        if changed {
            self.refill(now);
        }
    }

    /// Ends the tones that are over, and tells what came of them.
    pub(crate) fn attend_tones(&mut self, now: Micros, out: &mut impl Outbox) {
        let (media, mut changed) = (self.media, false);
        for side in [Side::Caller, Side::Callee] {
            let near = &mut self.sides[side.index()];
            for stream in &mut near.streams {
                let Some(tone) = &mut stream.tone else {
                    continue;
                };
                if tone.is_over() || tone.is_late(now) {
                    near.toned[usize::from(tone.is_whole())] += 1;
                    stream.tone = None;
                    changed = true;
                }
            }
            for (whole, count) in [false, true].into_iter().zip(&mut near.toned) {
                for _ in 0..std::mem::take(count) {
                    out.event(MediaEvent::Toned { media, side, whole });
                }
            }
        }
        if changed {
            self.refill(now);
        }
    }

    /// Returns when `attend_tones` has something to do.
    pub(crate) fn tone_deadline(&self) -> Option<Micros> {
        let streams = self.sides.iter().flat_map(|party| &party.streams);
        let tones = streams.filter_map(|stream| stream.tone.as_ref());
        tones.map(|tone| tone.deadline()).min()
    }
}

impl Party {
    /// Nobody is there any more to hear the tones that are not over.
    pub(crate) fn end_tones(&mut self) {
        for stream in &mut self.streams {
            if stream.tone.take().is_some() {
                self.toned[0] += 1;
            }
        }
    }
}
