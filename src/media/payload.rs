//! Payload type numbers: those of one side made those of the other.

use crate::engine::ports::PayloadFormat;

/// What a format is to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Pcmu,
    Pcma,
    /// RFC 3551 4.5.2: 8000 ticks a second, though it has twice as many samples.
    G722,
    /// RFC 7587: 48000 ticks a second, whatever is in it.
    Opus,
    /// RFC 4733: many packets with one timestamp.
    Event,
    /// RFC 3389 comfort noise.
    Noise,
    Other,
}

impl Coding {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "PCMU" => Self::Pcmu,
            "PCMA" => Self::Pcma,
            "G722" => Self::G722,
            "OPUS" => Self::Opus,
            "TELEPHONE-EVENT" => Self::Event,
            "CN" => Self::Noise,
            _ => Self::Other,
        }
    }

    /// Returns true for what carries the conversation itself.
    pub(crate) fn speaks(self) -> bool {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::Opus | Self::Other => true,
            Self::Event | Self::Noise => false,
        }
    }

    /// Returns true where each packet's timestamp says when it was made.
    pub(crate) fn is_timed(self) -> bool {
        self != Self::Event
    }

    /// Returns silence in this format, where it can be had without a codec.
    pub(crate) fn silence(self) -> Option<Silence> {
        match self {
            Self::Pcmu => Some(Silence::Octet(0xff)),
            Self::Pcma => Some(Silence::Octet(0xd5)),
            // The smallest step in both bands: whatever was heard before, a decoder comes to rest within
            // 40 ms, 61 dB below full scale.
            Self::G722 => Some(Silence::Octet(0xfd)),
            // CELT, the full band, mono, one frame of 20 ms (RFC 6716 3.1), whose first bit says silence.
            Self::Opus => Some(Silence::Frame(&[0xf8, 0xff, 0xfe])),
            Self::Event | Self::Noise | Self::Other => None,
        }
    }
}

/// What is nothing to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Of each tick at 8000 Hz.
    Octet(u8),
    /// Of 20 ms at 48000 Hz.
    Frame(&'static [u8]),
}

impl Silence {
    /// Returns the clock rate of what it is silence in, in Hz.
    pub(crate) fn clock(self) -> u32 {
        match self {
            Self::Octet(_) => 8000,
            Self::Frame(_) => 48_000,
        }
    }
}

/// One format of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) number: u8,
    pub(crate) coding: Coding,
    pub(crate) clock: u32,
    /// Only of `Coding::Other`: the rest are told apart by their coding.
    name: Option<Box<str>>,
}

impl From<PayloadFormat> for Format {
    fn from(format: PayloadFormat) -> Self {
        let coding = Coding::of(&format.name);
        Self {
            number: format.number,
            coding,
            clock: format.clock,
            name: (coding == Coding::Other).then_some(format.name),
        }
    }
}

impl Format {
    fn is_same(&self, other: &Self) -> bool {
        self.coding == other.coding
            && self.name == other.name
            && self.clock == other.clock
            && (!self.is_unexplained() || self.number == other.number)
    }

    /// Returns true where all that is known of it is its number.
    fn is_unexplained(&self) -> bool {
        self.name.as_deref() == Some("")
    }
}

/// What becomes of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) from: u8,
    /// None: the other side has not agreed to such a format.
    pub(crate) to: Option<u8>,
    pub(crate) clock: u32,
    pub(crate) coding: Coding,
}

/// The way from one side's numbers to the other's.
#[derive(Clone, Debug, Default)]
pub(crate) struct PayloadMap {
    formats: Box<[Mapped]>,
}

impl PayloadMap {
    /// Pairs formats by name and clock rate: the same number where it means the same, else the
    /// first, second, ... of that name with the first, second, ... of the other side.
    pub(crate) fn between(from: &[Format], to: &[Format]) -> Self {
        let formats = from
            .iter()
            .enumerate()
            .map(|(index, format)| Mapped {
                from: format.number,
                to: partner(format, &from[..index], to),
                clock: format.clock.max(1),
                coding: format.coding,
            })
            .collect();
        Self { formats }
    }

    /// Looks a number up; one that nobody has said, and whose offer we may not have seen, passes as it is, with the
    /// clock rate `usual`.
    pub(crate) fn get(&self, number: u8, usual: u32) -> Mapped {
        self.formats
            .iter()
            .find(|mapped| mapped.from == number)
            .copied()
            .unwrap_or(Mapped {
                from: number,
                to: Some(number),
                clock: usual,
                coding: Coding::Other,
            })
    }
}

/// Returns the number under which the other side takes a format. What is nothing to hear is for it to ignore, and so
/// is a number that means the same to all (RFC 3550 5.1); any other it might take for what it is set to by itself.
fn partner(format: &Format, before: &[Format], to: &[Format]) -> Option<u8> {
    let same = |other: &&Format| other.is_same(format);
    let candidates = || to.iter().filter(same);
    let rank = before.iter().filter(same).count();
    candidates()
        .find(|other| other.number == format.number)
        .or_else(|| candidates().nth(rank))
        .or_else(|| candidates().next())
        // A digit is one at any clock rate.
        .or_else(|| {
            let mut events = to.iter().filter(|other| other.coding == Coding::Event);
            events.next().filter(|_| format.coding == Coding::Event)
        })
        .map(|other| other.number)
        .or_else(|| {
            let known = to.iter().find(|other| other.number == format.number);
            let bare = known.is_some_and(Format::is_unexplained);
            let unexplained = bare || known.is_none() && format.is_unexplained();
            let is_fixed = format.number <= PayloadFormat::FIXED_MAX;
            let free = known.is_none() && (to.is_empty() || !format.coding.speaks());
            (unexplained || is_fixed || free).then_some(format.number)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(list: &[(u8, &str, u32)]) -> Vec<Format> {
        list.iter()
            .map(|&(number, name, clock)| PayloadFormat {
                number,
                name: name.into(),
                clock,
            })
            .map(Format::from)
            .collect()
    }

    #[test]
    fn pairs_by_name_and_clock() {
        let from = formats(&[
            (0, "PCMU", 8000),
            (96, "OPUS", 48_000),
            (97, "H264", 90_000),
            (98, "H264", 90_000),
            (101, "TELEPHONE-EVENT", 8000),
            (102, "TELEPHONE-EVENT", 48_000),
            (110, "SPEEX", 8000),
            (111, "SPEEX", 16_000),
        ]);
        let to = formats(&[
            (111, "OPUS", 48_000),
            (0, "PCMU", 8000),
            (126, "H264", 90_000),
            (125, "H264", 90_000),
            (96, "TELEPHONE-EVENT", 8000),
        ]);
        let map = PayloadMap::between(&from, &to);
        for (number, expected) in [
            (0, Some(0)),
            (96, Some(111)),
            (97, Some(126)),
            (98, Some(125)),
            (101, Some(96)),
            // Digits all the same.
            (102, Some(96)),
            // The other side has not agreed to it, and may take the number for anything.
            (110, None),
            // It would be taken for OPUS.
            (111, None),
            // Not in the list at all.
            (18, Some(18)),
            (127, Some(127)),
        ] {
            assert_eq!(map.get(number, 8000).to, expected, "{number}");
        }
        assert_eq!(map.get(96, 8000).clock, 48_000);
        assert_eq!(map.get(18, 8000).clock, 8000);
        assert_eq!(map.get(101, 8000).coding, Coding::Event);
    }

    #[test]
    fn what_nobody_misses_or_mistakes_passes() {
        let sends = formats(&[
            (3, "GSM", 8000),
            (9, "G722", 16_000),
            (13, "CN", 8000),
            (97, "", 8000),
            (98, "", 8000),
            (99, "ILBC", 8000),
            (100, "ILBC", 8000),
            (101, "TELEPHONE-EVENT", 8000),
        ]);
        let to = formats(&[(9, "G722", 8000), (97, "", 8000), (100, "", 8000)]);
        let map = PayloadMap::between(&sends, &to);
        for (number, expected) in [
            // Fixed numbers, one with a clock rate that some phones get wrong.
            (3, Some(3)),
            (9, Some(9)),
            // Nothing to hear, and digits.
            (13, Some(13)),
            (101, Some(101)),
            // One of the two says the number alone.
            (97, Some(97)),
            (98, Some(98)),
            (100, Some(100)),
            (99, None),
        ] {
            assert_eq!(map.get(number, 8000).to, expected, "{number}");
        }
        // Of a side that has said nothing nothing is known.
        let map = PayloadMap::between(&sends, &[]);
        assert_eq!(map.get(99, 8000).to, Some(99));
    }

    #[test]
    fn prefers_a_number_that_means_the_same() {
        let from = formats(&[(97, "H264", 90_000), (98, "H264", 90_000)]);
        let to = formats(&[(98, "H264", 90_000), (99, "H264", 90_000)]);
        let map = PayloadMap::between(&from, &to);
        assert_eq!(map.get(98, 8000).to, Some(98));
    }
}
