//! What a phone speaks: its codecs under numbers of its own, whether it has a camera, what it refuses.

use std::fmt::Write;

use refork::sip::sdp::{Media, Payload};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Codec {
    Pcmu,
    Pcma,
    G722,
    Opus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Speech {
    /// In order of preference.
    pub(crate) codecs: [Option<Codec>; 4],
    /// Payload numbers of Opus and of telephone events.
    pub(crate) opus: u8,
    pub(crate) event: u8,
    /// Milliseconds in a packet; 0: it says nothing of it.
    pub(crate) ptime: u16,
    /// It answers with the first codec alone that it knows.
    pub(crate) single: bool,
    pub(crate) camera: bool,
    /// It takes no other session within a call than the one that it began with: 488.
    pub(crate) rigid: bool,
}

impl Default for Speech {
    fn default() -> Self {
        Self {
            codecs: [Some(Codec::Pcmu), Some(Codec::Pcma), None, None],
            opus: 111,
            event: 101,
            ptime: 0,
            single: false,
            camera: false,
            rigid: false,
        }
    }
}

impl Codec {
    const fn encoding(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            // RFC 3551 4.5.2: its clock is not what its name says.
            Self::G722 => "G722/8000",
            Self::Opus => "opus/48000/2",
        }
    }

    fn is(self, payload: &Payload<'_>) -> bool {
        let encoding = self.encoding();
        let (name, clock) = encoding.split_once('/').unwrap_or((encoding, ""));
        let clock = clock.split('/').next().unwrap_or_default();
        payload.name.eq_ignore_ascii_case(name) && payload.clock.to_string() == clock
    }
}

/// A format as it stands in a description.
struct Format {
    number: u8,
    encoding: &'static str,
}

impl Speech {
    fn codecs(&self) -> impl Iterator<Item = Codec> + '_ {
        self.codecs.iter().flatten().copied()
    }

    fn number(&self, codec: Codec) -> u8 {
        match codec {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
            Codec::Opus => self.opus,
        }
    }

    fn all(&self) -> Vec<Format> {
        let codecs = self.codecs().map(|codec| Format {
            number: self.number(codec),
            encoding: codec.encoding(),
        });
        let event = Format {
            number: self.event,
            encoding: EVENT,
        };
        codecs.chain([event]).collect()
    }

    /// Returns what it takes of an offer, under the offer's numbers (RFC 3264 6.1). None of it where it knows no codec.
    fn common(&self, offer: &Media<'_>) -> Vec<Format> {
        let mut known: Vec<_> = offer
            .payloads()
            .filter_map(|payload| {
                let codec = self.codecs().find(|codec| codec.is(&payload))?;
                Some(Format {
                    number: payload.number,
                    encoding: codec.encoding(),
                })
            })
            .collect();
        if self.single {
            known.truncate(1);
        }
        let mut events = offer.payloads();
        let event = events.find(|payload| payload.name.eq_ignore_ascii_case("telephone-event"));
        if let Some(event) = event.filter(|_| !known.is_empty()) {
            known.push(Format {
                number: event.number,
                encoding: EVENT,
            });
        }
        known
    }

    /// Writes a section of sound: all that it speaks, or what it takes of an offer. Returns false where that is nothing.
    pub(super) fn sound(
        &self,
        out: &mut String,
        port: u16,
        offer: Option<&Media<'_>>,
        direction: &str,
    ) -> bool {
        let formats = offer.map_or_else(|| self.all(), |offer| self.common(offer));
        if formats.is_empty() {
            return false;
        }
        let _ = write!(out, "m=audio {port} RTP/AVP");
        for format in &formats {
            let _ = write!(out, " {}", format.number);
        }
        out.push_str("\r\n");
        for format in &formats {
            let _ = write!(out, "a=rtpmap:{} {}\r\n", format.number, format.encoding);
        }
        if self.ptime > 0 {
            let _ = write!(out, "a=ptime:{}\r\n", self.ptime);
        }
        let _ = write!(out, "a={direction}\r\n");
        true
    }
}

const EVENT: &str = "telephone-event/8000";
