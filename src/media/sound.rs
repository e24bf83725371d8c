//! What a filler says besides silence, in the formats that we can make: made once, played by all.

use std::sync::Arc;

use audio_codec::Encoder;
use audio_codec::g722::G722Encoder;
use audio_codec::opus::{OpusApplication, OpusEncoder};

use crate::engine::settings;
use crate::media::filler;
use crate::media::payload::Coding;

/// Samples a second of what it is made of.
const RATE: u32 = 8000;
/// Samples of a frame of Opus, 20 ms, and the bits a second of them: speech, as a telephone has it.
const FRAME: usize = 160;
const OPUS_BITS: i32 = 16_000;
/// Octets of silence before a sound in G.722, 40 ms: what was heard before is still in the decoder's scale, and
/// the encoder's begins at rest.
const REST: usize = 320;
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

/// One sound.
#[derive(Debug)]
pub(crate) struct Sound {
    pcmu: Box<[u8]>,
    pcma: Box<[u8]>,
    /// These two only of what is played by a filler.
    g722: Box<[u8]>,
    opus: Box<[Box<[u8]>]>,
}

/// A sound as a stream has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'a> {
    /// One for each tick at 8000 Hz.
    Octets(&'a [u8]),
    /// One for each 20 ms.
    Frames(&'a [Box<[u8]>]),
}

impl From<&settings::Filler> for Fill {
    fn from(filler: &settings::Filler) -> Self {
        match filler {
            settings::Filler::Off => Self::Off,
            settings::Filler::Silence => Self::Silence,
            // Nothing again and again is silence.
            settings::Filler::Sound(samples) if samples.is_empty() => Self::Silence,
            settings::Filler::Sound(samples) => Self::Sound(Arc::new(Sound::filler(samples))),
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
        let turn = std::f64::consts::TAU * PITCH / f64::from(RATE);
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
            g722: Box::default(),
            opus: Box::default(),
        }
    }

    /// Makes what is played from a stream's first packet on, in whichever format that is.
    fn filler(samples: &[i16]) -> Self {
        Self {
            g722: g722(samples),
            opus: opus(samples),
            ..Self::new(samples)
        }
    }

    /// Returns it for a filler to play; none where it cannot be made in that format.
    pub(crate) fn of(&self, coding: Coding) -> Option<Said<'_>> {
        match coding {
            Coding::Pcmu | Coding::Pcma => self.octets(coding).map(Said::Octets),
            Coding::G722 => (!self.g722.is_empty()).then_some(Said::Octets(&self.g722)),
            Coding::Opus => (!self.opus.is_empty()).then_some(Said::Frames(&self.opus)),
            Coding::Event | Coding::Noise | Coding::Other => None,
        }
    }

    /// Returns it in a format of which each octet says one sample and no more, so that it can be written over others.
    pub(crate) fn octets(&self, coding: Coding) -> Option<&[u8]> {
        match coding {
            Coding::Pcmu => Some(&self.pcmu),
            Coding::Pcma => Some(&self.pcma),
            Coding::G722 | Coding::Opus | Coding::Event | Coding::Noise | Coding::Other => None,
        }
    }
}

fn g722(samples: &[i16]) -> Box<[u8]> {
    let said = [&[0; REST], samples].concat();
    let wide = audio_codec::resample(&said, RATE, 2 * RATE);
    G722Encoder::new().encode(&wide).into()
}

fn opus(samples: &[i16]) -> Box<[Box<[u8]>]> {
    let mut encoder = OpusEncoder::new_with_application(RATE, 1, OpusApplication::Voip);
    encoder.set_bitrate(OPUS_BITS);
    let mut frame = |part: &[i16]| {
        let mut whole = [0; FRAME];
        whole[..part.len()].copy_from_slice(part);
        encoder.encode(&whole).into()
    };
    let frames: Box<[Box<[u8]>]> = samples.chunks(FRAME).map(&mut frame).collect();
    let fits = |frame: &[u8]| (1..=filler::PAYLOAD).contains(&frame.len());
    match frames.iter().all(|frame| fits(frame)) {
        true => frames,
        false => Box::default(),
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
    use audio_codec::Decoder;
    use audio_codec::g722::G722Decoder;
    use audio_codec::opus::OpusDecoder;

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
    fn a_filler_is_heard_in_g722_and_opus_as_in_g711() {
        // 0.6 s of 425 Hz, then as much of nothing.
        let turn = std::f64::consts::TAU * 425.0 / f64::from(RATE);
        let loud = |at: i32| ((turn * f64::from(at)).sin() * 5000.0) as i16;
        let samples: Vec<i16> = (0..4800).map(loud).chain([0; 4800]).collect();
        let sound = Sound::filler(&samples);

        let Some(Said::Octets(g722)) = sound.of(Coding::G722) else {
            panic!("{sound:?}");
        };
        let heard: Vec<i16> = G722Decoder::new()
            .decode(g722)
            .into_iter()
            .step_by(2)
            .collect();
        assert!(
            heard.len().abs_diff(REST + samples.len()) < 40,
            "{}",
            heard.len()
        );
        assert_like(&samples, &heard[REST..]);

        let Some(Said::Frames(frames)) = sound.of(Coding::Opus) else {
            panic!("{sound:?}");
        };
        let mut decoder = OpusDecoder::new(RATE, 1);
        let heard: Vec<i16> = frames
            .iter()
            .flat_map(|frame| decoder.decode(frame))
            .collect();
        assert_eq!(heard.len(), samples.len());
        assert_like(&samples, &heard);
        let longest = frames.iter().map(|frame| frame.len()).max();
        assert!(longest < Some(100), "{longest:?}");
    }

    /// Of every tenth of a second, but the one in which the sound ends: as loud, and as high.
    fn assert_like(said: &[i16], heard: &[i16]) {
        let loudness = |part: &[i16]| {
            let sum: f64 = part.iter().map(|sample| f64::from(*sample).powi(2)).sum();
            (sum / part.len() as f64).sqrt()
        };
        let height = |part: &[i16]| {
            let rises = part.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0);
            rises.count() as f64
        };
        for (at, (said, heard)) in said.chunks(800).zip(heard.chunks(800)).enumerate() {
            let (said_by, heard_by) = (loudness(said), loudness(heard));
            match at {
                0 | 6 => {}
                1..6 => {
                    assert!(
                        (heard_by / said_by - 1.0).abs() < 0.2,
                        "{at}: {said_by} {heard_by}"
                    );
                    assert!(
                        (height(said) - height(heard)).abs() <= 1.0,
                        "{at}: {}",
                        height(heard)
                    );
                }
                _ => assert!(heard_by < 50.0, "{at}: {heard_by}"),
            }
        }
    }

    #[test]
    fn silence_is_the_sound_of_nothing() {
        let sound = Sound::new(&[0]);
        for coding in [Coding::Pcmu, Coding::Pcma] {
            let said = sound.octets(coding).unwrap();
            assert_eq!(coding.silence(), Some(Silence::Octet(said[0])));
        }
        // Two beeps are written over what is said, which in these cannot be done.
        for coding in [Coding::G722, Coding::Opus, Coding::Other] {
            assert!(sound.of(coding).is_none() && sound.octets(coding).is_none());
        }
        let nothing = settings::Filler::Sound(Arc::new([]));
        assert!(Fill::from(&nothing).sound().is_none());
    }
}
