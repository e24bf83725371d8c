//! `restore.filler`: what a survivor hears, as samples that the relay can play.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Check, key};
use crate::config::file;
use crate::engine::settings::Filler;

/// Samples a second of G.711.
const RATE: u32 = 8000;
const KIND: &str = "a WAV file of 16-bit PCM, mono or stereo, with 8000 samples a second or a multiple of it up to \
                    48000, and at most 16 MiB; sox and ffmpeg write them";
const OCTETS_MAX: u64 = 16 << 20;
/// Hz, and the share of full scale, of the tone: 200 ms of it in every 3 s, as of a call that waits.
const PITCH: f64 = 425.0;
const LOUDNESS: f64 = 0.15;
const TONE: usize = 200 * (RATE as usize) / 1000;
const TONE_EVERY: usize = 3 * RATE as usize;

/// `directory` is what the path of a file is relative to.
pub(super) fn filler(filler: &file::Filler, directory: &Path, check: &mut Check<'_>) -> Filler {
    match filler {
        file::Filler::Off => Filler::Off,
        file::Filler::Silence => Filler::Silence,
        file::Filler::Tone => Filler::Sound(tone().into()),
        file::Filler::File(path) => match read(&directory.join(path)).and_then(|wav| samples(&wav))
        {
            Ok(samples) => Filler::Sound(samples.into()),
            Err(why) => {
                check.problem(&key("restore.filler"), format!("`{path}`: {why}"), KIND);
                Filler::Silence
            }
        },
    }
}

fn tone() -> Vec<i16> {
    let turn = std::f64::consts::TAU * PITCH / f64::from(RATE);
    let mut samples = vec![0; TONE_EVERY];
    for (at, sample) in samples.iter_mut().take(TONE).enumerate() {
        // Ten milliseconds up and down, so that it does not click.
        let edge = (at.min(TONE - at) as f64 / 80.0).min(1.0);
        *sample = ((turn * at as f64).sin() * edge * LOUDNESS * f64::from(i16::MAX)) as i16;
    }
    samples
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let what = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !what.is_file() {
        // A FIFO would be waited for, whoever may write to it.
        return Err("it is no file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(OCTETS_MAX + 1).read_to_end(&mut bytes);
    match read.map_err(|error| error.to_string())? {
        more if more as u64 > OCTETS_MAX => Err("it is too large".to_owned()),
        _ => Ok(bytes),
    }
}

/// Returns the samples of a WAV file, mixed to one channel and thinned to `RATE`.
fn samples(wav: &[u8]) -> Result<Vec<i16>, String> {
    let Some((b"RIFF", b"WAVE")) = wav.get(0..4).zip(wav.get(8..12)).and_then(as_words) else {
        return Err("this is no WAV file".to_owned());
    };
    let (mut rest, mut format) = (&wav[12..], None);
    while let Some((head, body)) = rest.split_at_checked(8) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        // The last one may be cut short, as what was recorded by a program that was killed.
        let (chunk, after) = body.split_at(length.min(body.len()));
        match &head[..4] {
            b"fmt " => format = Some(steps(chunk)?),
            b"data" => {
                let step = format.ok_or("its data comes before its format")?;
                return thinned(chunk, step);
            }
            _ => {}
        }
        rest = after.get(length % 2..).unwrap_or_default();
    }
    Err("it has no samples".to_owned())
}

fn as_words<'a>((riff, wave): (&'a [u8], &'a [u8])) -> Option<(&'a [u8; 4], &'a [u8; 4])> {
    Some((riff.first_chunk()?, wave.first_chunk()?))
}

/// Returns how many numbers become one sample.
fn steps(format: &[u8]) -> Result<usize, String> {
    let (Some(&[coding, _, channels, _, a, b, c, d]), Some(&bits)) =
        (format.first_chunk::<8>(), format.get(14))
    else {
        return Err("its format is cut short".to_owned());
    };
    let rate = u32::from_le_bytes([a, b, c, d]);
    // 1 is PCM; 0xfffe, PCM most of the time, says so further on.
    if coding != 1 || bits != 16 || !(1..=2).contains(&channels) {
        return Err(format!(
            "format {coding} with {channels} channels of {bits} bits cannot be played"
        ));
    }
    if !rate.is_multiple_of(RATE) || !(RATE..=48_000).contains(&rate) {
        return Err(format!("{rate} samples a second cannot be played"));
    }
    Ok((rate / RATE) as usize * usize::from(channels))
}

fn thinned(data: &[u8], step: usize) -> Result<Vec<i16>, String> {
    let mean = |group: &[u8]| {
        let (numbers, _) = group.as_chunks::<2>();
        let sum: i32 = numbers
            .iter()
            .map(|pair| i32::from(i16::from_le_bytes(*pair)))
            .sum();
        (sum / step as i32) as i16
    };
    let samples: Vec<i16> = data.chunks_exact(2 * step).map(mean).collect();
    match samples.is_empty() {
        true => Err("it has no samples".to_owned()),
        false => Ok(samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(channels: u8, rate: u32, bits: u8, data: &[i16]) -> Vec<u8> {
        let data: Vec<u8> = data
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        file.extend([1, 0, channels, 0]);
        file.extend(rate.to_le_bytes());
        file.extend([0, 0, 0, 0, 0, 0, bits, 0]);
        file.extend(b"data");
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn files_are_mixed_and_thinned() {
        assert_eq!(samples(&wav(1, 8000, 16, &[1, -2, 3])), Ok(vec![1, -2, 3]));
        assert_eq!(
            samples(&wav(2, 8000, 16, &[10, 20, -6, -8, 5])),
            Ok(vec![15, -7])
        );
        let fine = [6, 6, 6, 6, 6, 12, -1, -1, -1, -1, -1, -1];
        assert_eq!(samples(&wav(1, 48_000, 16, &fine)), Ok(vec![7, -1]));
        assert_eq!(samples(&wav(2, 24_000, 16, &fine)), Ok(vec![7, -1]));
    }

    #[test]
    fn only_a_file_is_read() {
        for path in ["/", "/dev/null"] {
            assert_eq!(read(Path::new(path)), Err("it is no file".to_owned()));
        }
        assert!(read(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        for (file, why) in [
            (Vec::new(), "no WAV"),
            (b"RIFF\0\0\0\0AVI ".to_vec(), "no WAV"),
            (b"RIFF\0\0\0\0WAVE".to_vec(), "no samples"),
            (
                b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab".to_vec(),
                "before its format",
            ),
            (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0ab".to_vec(), "cut short"),
            (wav(1, 8000, 16, &[]), "no samples"),
            (wav(1, 8000, 8, &[1]), "8 bits"),
            (wav(3, 8000, 16, &[1]), "3 channels"),
            (wav(1, 44_100, 16, &[1]), "44100 samples"),
            (wav(1, 0, 16, &[1]), "0 samples"),
        ] {
            let refused = samples(&file).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let whole = wav(1, 8000, 16, &[7; 9]);
        for length in 0..whole.len() {
            // However it is cut, it is read or refused.
            let _ = samples(&whole[..length]);
        }
    }

    #[test]
    fn the_tone_begins_and_ends_softly_and_is_mostly_silence() {
        let tone = tone();
        assert_eq!(tone.len(), 24_000);
        assert!(tone[..1600].iter().any(|sample| *sample > 4000));
        assert!(
            tone[..8]
                .iter()
                .chain(&tone[1592..])
                .all(|sample| sample.abs() < 600)
        );
    }
}
