//! What a filler says besides silence, in both laws of G.711: made once, played by all.

use std::sync::Arc;

use crate::engine::settings;
use crate::media::payload::Coding;

/// Samples a second of G.711.
const RATE: f64 = 8000.0;
/// Hz, and the share of full scale, of a beep: higher than what networks say, so that it is none of these.
const PITCH: f64 = 1100.0;
const LOUDNESS: f64 = 0.2;
/// Samples of a beep, and between two.
const BEEP: usize = 1200;
const PAUSE: usize = 800;

/// What is sent to who waits.
#[derive(Clone, Debug)]
pub(crate) enum Fill {
    Off,
    Silence,
    Sound(Arc<Sound>),
}

#[derive(Debug)]
pub(crate) struct Sound {
    pcmu: Box<[u8]>,
    pcma: Box<[u8]>,
}

impl From<&settings::Filler> for Fill {
    fn from(filler: &settings::Filler) -> Self {
        match filler {
            settings::Filler::Off => Self::Off,
            settings::Filler::Silence => Self::Silence,
            // Nothing again and again is silence.
            settings::Filler::Sound(samples) if samples.is_empty() => Self::Silence,
            settings::Filler::Sound(samples) => Self::Sound(Arc::new(Sound::new(samples))),
        }
    }
}

impl Fill {
    pub(crate) fn sound(&self) -> Option<&Arc<Sound>> {
        match self {
            Self::Off | Self::Silence => None,
            Self::Sound(sound) => Some(sound),
        }
    }
}

impl Sound {
    /// Makes two beeps, 0.4 s in all.
    pub(crate) fn beeps() -> Self {
        let turn = std::f64::consts::TAU * PITCH / RATE;
        let beep: Vec<i16> = (0..BEEP)
            .map(|at| {
                // Ten milliseconds up and down, so that it does not click.
                let edge = (at.min(BEEP - at) as f64 / 80.0).min(1.0);
                ((turn * at as f64).sin() * edge * LOUDNESS * f64::from(i16::MAX)) as i16
            })
            .collect();
        Self::new(&[&beep[..], &[0; PAUSE], &beep].concat())
    }

    /// Returns how many samples it has.
    pub(crate) fn length(&self) -> usize {
        self.pcmu.len()
    }

    fn new(samples: &[i16]) -> Self {
        Self {
            pcmu: samples.iter().copied().map(mu_law).collect(),
            pcma: samples.iter().copied().map(a_law).collect(),
        }
    }

    /// Returns it in a format; none where we have no encoder for that.
    pub(crate) fn of(&self, coding: Coding) -> Option<&[u8]> {
        match coding {
            Coding::Pcmu => Some(&self.pcmu),
            Coding::Pcma => Some(&self.pcma),
            Coding::G722 | Coding::Opus | Coding::Event | Coding::Noise | Coding::Other => None,
        }
    }
}

/// ITU-T G.711, table 2: eight segments of sixteen steps, all bits inverted.
fn mu_law(sample: i16) -> u8 {
    const BIAS: u16 = 0x84;
    const CLIP: u16 = 0x7fff - BIAS;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let size = sample.unsigned_abs().min(CLIP) + BIAS;
    let segment = size.ilog2() - 7;
    let step = (size >> (segment + 3)) & 0xf;
    !(sign | (segment as u8) << 4 | step as u8)
}

/// ITU-T G.711, table 1: the first two segments are one straight line; even bits inverted.
fn a_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    // Thirteen bits; of the negative ones -1 is the smallest.
    let size = (if sample < 0 { !sample } else { sample } >> 3) as u16;
    let segment = size.checked_ilog2().unwrap_or(0).saturating_sub(4);
    let step = (size >> segment.max(1)) & 0xf;
    (sign | (segment as u8) << 4 | step as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::payload::Silence;

    /// By the decoders of G.711, as everybody writes them.
    fn heard(coding: Coding, octet: u8) -> i32 {
        let mu = coding == Coding::Pcmu;
        let (bits, negative) = if mu {
            (!octet, 0x80)
        } else {
            (octet ^ 0x55, 0)
        };
        let (segment, step) = (i32::from(bits >> 4 & 7), i32::from(bits & 0xf));
        let size = if mu {
            (((step << 3) + 0x84) << segment) - 0x84
        } else if segment == 0 {
            (step << 4) + 8
        } else {
            ((step << 4) + 0x108) << (segment - 1)
        };
        if bits & 0x80 == negative { -size } else { size }
    }

    #[test]
    fn both_laws_are_those_of_g711() {
        // As other encoders have them.
        for (sample, mu, a) in [
            (0, 0xff, 0xd5),
            (-1, 0x7f, 0x55),
            (8, 0xfe, 0xd5),
            (100, 0xf2, 0xd3),
            (1000, 0xce, 0xfa),
            (-1000, 0x4e, 0x7a),
            (12345, 0x97, 0xbd),
            (i16::MAX, 0x80, 0xaa),
            (i16::MIN, 0x00, 0x2a),
        ] {
            assert_eq!((mu_law(sample), a_law(sample)), (mu, a), "{sample}");
        }
        for sample in i16::MIN..=i16::MAX {
            let exact = i32::from(sample);
            for (coding, octet) in [
                (Coding::Pcmu, mu_law(sample)),
                (Coding::Pcma, a_law(sample)),
            ] {
                let off = (heard(coding, octet) - exact).abs();
                // Half a step of its segment, and what is clipped.
                assert!(off <= 16 + exact.abs() / 24, "{coding:?} {sample}: {off}");
            }
        }
    }

    #[test]
    fn silence_is_the_sound_of_nothing() {
        let sound = Sound::new(&[0]);
        for coding in [Coding::Pcmu, Coding::Pcma] {
            let said = sound.of(coding).unwrap();
            assert_eq!(coding.silence(), Some(Silence::Octet(said[0])));
        }
        assert!(sound.of(Coding::Other).is_none() && sound.of(Coding::Opus).is_none());
        let nothing = settings::Filler::Sound(Arc::new([]));
        assert!(Fill::from(&nothing).sound().is_none());
    }
}
