//! One `m=` line on one side: where it comes from, what arrived, and the line that goes to it.

use std::net::SocketAddr;

use crate::engine::ports::StreamSettings;
use crate::media::clock::Micros;
use crate::media::filler::{self, Filler};
use crate::media::latch::Latch;
use crate::media::line::Line;
use crate::media::payload::{Coding, PayloadMap};
use crate::media::reception::Reception;

/// The two ports of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Rtp,
    Rtcp,
}

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) settings: StreamSettings,
    pub(crate) rtp: Latch,
    pub(crate) rtcp: Latch,
    pub(crate) reception: Reception,
    /// From this side's payload numbers to the other's.
    pub(crate) map: PayloadMap,
    /// What this side hears.
    pub(crate) line: Line,
    /// The format that last spoke on the line, by this side's number.
    pub(crate) spoken: Option<(u8, Coding)>,
    /// Speaks on the line while the other side is away.
    pub(crate) filler: Option<Filler>,
    /// This side was lost, and nothing has come from its successor.
    pub(crate) away: bool,
    /// A key frame is to be asked of this SSRC.
    pub(crate) key_frame: Option<u32>,
    /// The target that last refused a packet, and when that was told.
    pub(crate) refused: Option<(SocketAddr, Micros)>,
}

impl Stream {
    /// Makes a stream of which nothing is known. `seed`: for a line that we start ourselves.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            settings: StreamSettings {
                active: false,
                rtp: None,
                rtcp: None,
                rtcp_mux: false,
                sends: false,
                receives: false,
                video: false,
                opaque: false,
                formats: Vec::new(),
                ptime: 20,
            },
            rtp: Latch::default(),
            rtcp: Latch::default(),
            reception: Reception::default(),
            map: PayloadMap::default(),
            line: Line::new(seed),
            spoken: None,
            filler: None,
            away: false,
            key_frame: None,
            refused: None,
        }
    }

    /// Returns where this side's RTCP goes, and from which of our ports (RFC 5761).
    pub(crate) fn rtcp_target(&self) -> Option<(Port, SocketAddr)> {
        if self.settings.rtcp_mux {
            self.rtp.target().map(|to| (Port::Rtp, to))
        } else {
            self.rtcp.target().map(|to| (Port::Rtcp, to))
        }
    }

    /// Returns payload number and octet of silence for this side: in the format that last spoke, or
    /// before anyone spoke in the first that we can make.
    pub(crate) fn silence(&self) -> Option<(u8, u8)> {
        let listed = |number| self.settings.formats.iter().any(|f| f.number == number);
        match self.spoken {
            Some((number, coding)) if listed(number) => {
                coding.silence().map(|octet| (number, octet))
            }
            Some(_) | None => self.settings.formats.iter().find_map(|format| {
                let octet = Coding::of(&format.name).silence()?;
                (format.clock == filler::CLOCK).then_some((format.number, octet))
            }),
        }
    }
}
