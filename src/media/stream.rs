//! One `m=` line on one side: where it comes from, what arrived, and the line that goes to it.

use std::net::SocketAddr;

use crate::engine::ports::{Inside, PayloadFormat, StreamSettings, Voice};
use crate::media::clock::Micros;
use crate::media::filler::Filler;
use crate::media::latch::{Beside, Latch};
use crate::media::line::Line;
use crate::media::payload::{Coding, Format, PayloadMap};
use crate::media::reception::Reception;
use crate::media::secure::Secure;
use crate::media::tone::Tone;

/// How long after a refusal what was sent before it may still come.
const UNDER_WAY: u64 = 100_000;

/// The two ports of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Rtp,
    Rtcp,
}

/// What a side wants, see `StreamSettings`; where it is, its latches know.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) active: bool,
    pub(crate) rtcp_mux: bool,
    pub(crate) voice: Voice,
    pub(crate) receives: bool,
    pub(crate) video: bool,
    pub(crate) inside: Inside,
    pub(crate) ptime: u16,
    numbers: Box<Numbers>,
}

/// Payload numbers, see `StreamSettings`.
#[derive(Debug, Default)]
struct Numbers {
    formats: Box<[Format]>,
    besides: Box<[Format]>,
    told: Box<[Format]>,
}

impl Wishes {
    /// Returns the formats by whose numbers the side sends: as it was told, and as it has said where that tells nothing
    /// else of a number.
    pub(crate) fn sends(&self) -> Vec<Format> {
        joined(&self.numbers.told, &self.numbers.formats)
    }

    /// Returns the formats that the side takes.
    pub(crate) fn takes(&self) -> Vec<Format> {
        joined(&self.numbers.formats, &self.numbers.besides)
    }

    /// Returns the formats that the side has said, in order of its preference.
    pub(crate) fn formats(&self) -> &[Format] {
        &self.numbers.formats
    }
}

fn joined(first: &[Format], more: &[Format]) -> Vec<Format> {
    let free = |format: &&Format| first.iter().all(|known| known.number != format.number);
    first
        .iter()
        .chain(more.iter().filter(free))
        .cloned()
        .collect()
}

impl From<StreamSettings> for Wishes {
    fn from(settings: StreamSettings) -> Self {
        let all = |formats: Vec<PayloadFormat>| formats.into_iter().map(Format::from).collect();
        Self {
            active: settings.active,
            rtcp_mux: settings.rtcp_mux,
            voice: settings.voice,
            receives: settings.receives,
            video: settings.video,
            inside: settings.inside,
            ptime: settings.ptime,
            numbers: Box::new(Numbers {
                formats: all(settings.formats),
                besides: all(settings.besides),
                told: all(settings.told),
            }),
        }
    }
}

/// There are two of them for as long as a call is: what is rare stands in a box.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) wishes: Wishes,
    pub(crate) rtp: Latch,
    pub(crate) rtcp: Beside,
    pub(crate) reception: Reception,
    /// From this side's payload numbers to the other's.
    pub(crate) map: PayloadMap,
    /// What this side hears.
    pub(crate) line: Line,
    /// The format that last spoke on the line, by this side's number.
    pub(crate) spoken: Option<(u8, Coding)>,
    /// Speaks on the line while the other side is away.
    pub(crate) filler: Option<Box<Filler>>,
    /// Is heard in place of what the line carries.
    pub(crate) tone: Option<Box<Tone>>,
    /// This side was lost, and nothing has come from its successor.
    pub(crate) away: bool,
    /// The last that it said was comfort noise (RFC 3389): it says nothing on purpose.
    pub(crate) hushed: bool,
    /// A key frame is to be asked of this SSRC.
    pub(crate) key_frame: Option<u32>,
    /// SRTP on this side.
    pub(crate) secure: Option<Box<Secure>>,
    pub(crate) refused: Option<Box<Refused>>,
}

/// Packets were refused.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The target that refused one last.
    pub(crate) by: SocketAddr,
    /// When that was told.
    pub(crate) told: Micros,
    /// Nothing has come since.
    pub(crate) silent: bool,
}

impl Stream {
    /// Makes a stream of which nothing is known. `seed`: for a line that we start ourselves.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            wishes: Wishes::default(),
            rtp: Latch::default(),
            rtcp: Beside::default(),
            reception: Reception::default(),
            map: PayloadMap::default(),
            line: Line::new(seed),
            spoken: None,
            filler: None,
            tone: None,
            away: false,
            hushed: false,
            key_frame: None,
            secure: None,
            refused: None,
        }
    }

    /// Returns where this side's RTCP goes, and from which of our ports (RFC 5761).
    pub(crate) fn rtcp_target(&self) -> Option<(Port, SocketAddr)> {
        if self.wishes.rtcp_mux {
            self.rtp.target().map(|to| (Port::Rtp, to))
        } else {
            self.rtcp.target().map(|to| (Port::Rtcp, to))
        }
    }

    /// Something has come. Returns true where that is the first since packets to this side were refused, and was not
    /// under way then: it is somewhere else, or the error was another's.
    pub(crate) fn outlives_refusal(&mut self, now: Micros) -> bool {
        let refused = self.refused.as_deref_mut();
        refused.is_some_and(|refused| {
            let later = now.since(refused.told) >= UNDER_WAY;
            later && std::mem::take(&mut refused.silent)
        })
    }

    /// Returns the format of a filler for this side: the one that last spoke, or before anyone spoke the
    /// first that we can make; none where we can make none.
    pub(crate) fn fillable(&self) -> Option<(u8, Coding)> {
        let listed = |number| self.wishes.formats().iter().any(|f| f.number == number);
        match self.spoken {
            Some((number, coding)) if listed(number) => coding.silence().map(|_| (number, coding)),
            Some(_) | None => self.wishes.formats().iter().find_map(|format| {
                let silence = format.coding.silence()?;
                (format.clock == silence.clock()).then_some((format.number, format.coding))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::media::desk::Entry;
    use crate::media::place::PairId;
    use crate::media::sockets::Pair;
    use crate::media::wires::Leg;

    /// What a call of one stream holds in memory, without what its formats add and the allocator
    /// rounds up.
    #[test]
    fn a_call_is_small() {
        let side = size_of::<Leg>()
            + size_of::<PairId>()
            + size_of::<Option<Pair>>()
            + size_of::<Stream>();
        let call = size_of::<Option<Entry>>() + 2 * side;
        assert!(call <= 1480, "{call} octets");
    }
}
