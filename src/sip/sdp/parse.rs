//! Looking into a session description.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::line::{Line, lines};
use super::{BYTES_MAX, MEDIA_MAX, SdpError};
use crate::sip::cut;

/// RFC 1035 2.3.4.
const HOST_MAX: usize = 253;

/// A session description, borrowed from the body it stands in.
#[derive(Clone, Debug, PartialEq)]
pub struct Sdp<'a> {
    pub(super) text: &'a str,
    media: Vec<Media<'a>>,
}

/// What an `m=` line carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Audio,
    Video,
    /// Text messages.
    Message,
    Other,
}

/// RFC 3264 5.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// How the keys of a stream are agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keying {
    /// Plain RTP, or no RTP at all.
    #[default]
    None,
    /// In the description itself: `a=crypto` (RFC 4568).
    Sdes,
    /// Between the endpoints alone: DTLS-SRTP (RFC 5763), MIKEY (RFC 4567).
    EndToEnd,
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Media<'a> {
    pub kind: Kind,
    pub port: u16,
    pub proto: &'a str,
    /// In order of preference.
    pub formats: Vec<&'a str>,
    /// Of its own c= line or the session's.
    pub address: Option<IpAddr>,
    /// The name that stands there in place of an address (RFC 8866 5.7).
    pub host: Option<&'a str>,
    pub direction: Direction,
    pub rtcp_mux: bool,
    /// Milliseconds.
    pub ptime: Option<u16>,
    /// The section's lines with the `m=` line.
    pub(super) text: &'a str,
    rtcp: Option<(u16, Option<IpAddr>)>,
    keying: Keying,
    own_address: bool,
}

/// One RTP payload type (RFC 8866 6.6, RFC 3551 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    pub number: u8,
    pub name: &'a str,
    pub clock: u32,
}

impl Direction {
    pub fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Reads an attribute's name.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }

    /// Returns the attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Returns what is left of it where the other end allows no more than that.
    pub fn within(self, allowed: Self) -> Self {
        Self::of(
            self.sends() && allowed.sends(),
            self.receives() && allowed.receives(),
        )
    }

    /// Returns what the other end answers (RFC 3264 6.1).
    pub fn mirrored(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }
}

impl<'a> Sdp<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no session description, or larger than any phone's.
    pub fn parse(body: &'a [u8]) -> Result<Self, SdpError> {
        if body.len() > BYTES_MAX {
            return Err(SdpError::TooLarge);
        }
        let text = std::str::from_utf8(body).map_err(|_| SdpError::NotText)?;
        for (at, line) in lines(text).enumerate() {
            // A carriage return that ends no line is one for some and none for others.
            let parsed = Line::parse(line)
                .filter(|line| memchr::memchr(b'\r', line.value.as_bytes()).is_none())
                .ok_or(SdpError::Line(at + 1))?;
            if at == 0 && (parsed.letter != b'v' || parsed.value.trim_ascii() != "0") {
                return Err(SdpError::Version);
            }
        }
        if text.trim_ascii().is_empty() {
            return Err(SdpError::Version);
        }
        let (session, sections) = sections(text);
        if sections.len() > MEDIA_MAX {
            return Err(SdpError::TooLarge);
        }
        let common = Common::of(session);
        let media = sections
            .into_iter()
            .map(|section| Media::parse(section, &common).ok_or(SdpError::Line(0)))
            .collect::<Result<_, _>>()?;
        Ok(Self { text, media })
    }

    /// Returns the `m=` sections in their order.
    pub fn media(&self) -> &[Media<'a>] {
        &self.media
    }

    /// Puts an address in the place of a name.
    pub fn locate(&mut self, host: &str, at: IpAddr) {
        let named = self.media.iter_mut();
        for media in named.filter(|media| media.host == Some(host)) {
            media.address = Some(at);
        }
    }

    /// Returns the part before the first `m=` line.
    pub(super) fn session(&self) -> &'a str {
        sections(self.text).0
    }
}

/// What the session level says for every section that does not say otherwise.
#[derive(Default)]
struct Common<'a> {
    address: Option<IpAddr>,
    host: Option<&'a str>,
    direction: Direction,
    fingerprint: bool,
}

impl<'a> Common<'a> {
    fn of(session: &'a str) -> Self {
        let mut common = Self::default();
        for line in lines(session).filter_map(Line::parse) {
            match line.letter {
                b'c' => (common.address, common.host) = connection(line.value),
                b'a' => {
                    if let Some(direction) = Direction::parse(line.value.trim_ascii()) {
                        common.direction = direction;
                    }
                    common.fingerprint |= line.attribute("fingerprint").is_some();
                }
                _ => {}
            }
        }
        common
    }
}

/// What the lines of a section say of keys.
#[derive(Default)]
struct Keys {
    crypto: bool,
    fingerprint: bool,
    mikey: bool,
}

impl Keys {
    fn read(&mut self, line: &Line<'_>) {
        self.crypto |= line.attribute("crypto").is_some();
        self.fingerprint |= line.attribute("fingerprint").is_some();
        self.mikey |= line.attribute("key-mgmt").is_some();
    }

    /// Where a phone offers several ways at once, keys in the description come before the others.
    fn of(&self, media: &Media<'_>) -> Keying {
        if !media.is_rtp() {
            Keying::None
        } else if media.proto.contains("TLS/") {
            Keying::EndToEnd
        } else if self.crypto {
            Keying::Sdes
        } else if self.fingerprint || self.mikey {
            Keying::EndToEnd
        } else if media.must_be_secure() {
            Keying::Sdes
        } else {
            Keying::None
        }
    }
}

impl<'a> Media<'a> {
    fn parse(text: &'a str, common: &Common<'a>) -> Option<Self> {
        let mut all = lines(text).filter_map(Line::parse);
        let value = all
            .next()
            .filter(|line| !line.value.starts_with(' '))?
            .value;
        let mut words = cut::each(value, b' ').filter(|word| !word.is_empty());
        let kind = match words.next()? {
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            "message" => Kind::Message,
            _ => Kind::Other,
        };
        let port = cut::each(words.next()?, b'/').next()?.parse().ok()?;
        let proto = words.next()?;
        let mut media = Self {
            kind,
            port,
            proto,
            formats: words.collect(),
            address: common.address,
            host: common.host,
            direction: common.direction,
            rtcp_mux: false,
            ptime: None,
            text,
            rtcp: None,
            keying: Keying::None,
            own_address: false,
        };
        let mut keys = Keys {
            fingerprint: common.fingerprint,
            ..Keys::default()
        };
        for line in all {
            media.read(&line);
            keys.read(&line);
        }
        media.keying = keys.of(&media);
        Some(media)
    }

    fn read(&mut self, line: &Line<'a>) {
        if line.letter == b'c' {
            (self.address, self.host) = connection(line.value);
            self.own_address = true;
        } else if let Some(direction) =
            Direction::parse(line.value.trim_ascii()).filter(|_| line.letter == b'a')
        {
            self.direction = direction;
        } else if line.attribute("rtcp-mux").is_some() {
            self.rtcp_mux = true;
        } else if let Some(value) = line.attribute("ptime") {
            self.ptime = value.parse().ok().filter(|ms| (1..=200).contains(ms));
        } else if let Some(value) = line.attribute("rtcp") {
            // RFC 3605 2.1: port, then perhaps a whole address.
            let mut words = value.split_ascii_whitespace();
            if let Some(port) = words.next().and_then(|port| port.parse().ok()) {
                self.rtcp = Some((port, words.nth(2).and_then(|ip| ip.parse().ok())));
            }
        }
    }

    /// Returns true for RTP of any profile.
    pub fn is_rtp(&self) -> bool {
        self.proto.contains("RTP/") && (self.proto.contains("AVP"))
    }

    /// Returns true where the address 0.0.0.0 puts it on hold, as RFC 2543 did (RFC 3264 8.4).
    pub fn is_old_hold(&self) -> bool {
        self.address.is_some_and(|ip| ip.is_unspecified())
    }

    /// Returns what its author does: who holds by the old way hears nothing.
    pub fn does(&self) -> Direction {
        let hears = self.direction.receives() && !self.is_old_hold();
        Direction::of(self.direction.sends(), hears)
    }

    /// Returns true for fax by datagram (ITU-T T.38), which is no RTP.
    pub fn is_fax(&self) -> bool {
        self.proto.eq_ignore_ascii_case("udptl")
    }

    /// Returns true for what comes by datagram, which a relay can carry.
    pub fn is_datagrams(&self) -> bool {
        self.is_rtp() || self.is_fax()
    }

    /// Returns true for two sections that a relay carries in the same way, or neither: under DTLS alone, too, or not.
    pub fn is_carried_as(&self, other: &Media<'_>) -> bool {
        let way =
            |media: &Media<'_>| (media.is_rtp(), media.is_fax(), media.proto.contains("TLS/"));
        way(self) == way(other)
    }

    /// Returns how the stream's keys are agreed.
    pub fn keying(&self) -> Keying {
        self.keying
    }

    /// Returns true where the profile itself says that the stream is encrypted (RFC 3711 12).
    pub fn must_be_secure(&self) -> bool {
        self.proto.contains("SAVP")
    }

    /// Returns true for the line that IM clients write for text in MESSAGE requests: `m=message 5060 sip ...`.
    pub fn is_sip_message(&self) -> bool {
        self.kind == Kind::Message && self.proto.eq_ignore_ascii_case("sip")
    }

    /// Returns true where the section has a c= line of its own.
    pub(super) fn has_own_address(&self) -> bool {
        self.own_address
    }

    /// Returns where RTCP goes: with RTP where both ends said so (`muxed`, RFC 5761 5.1.1), else RFC 3605, else
    /// one above RTP (RFC 3550 11).
    pub fn rtcp_address(&self, muxed: bool) -> Option<SocketAddr> {
        let (port, address) = match self.rtcp {
            _ if muxed => (self.port, None),
            Some((port, address)) => (port, address),
            None => (self.port.checked_add(1)?, None),
        };
        (self.port != 0 && port != 0)
            .then(|| address.or(self.address).map(|ip| SocketAddr::new(ip, port)))
            .flatten()
    }

    /// Goes through the RTP payload types in order of preference.
    pub fn payloads(&self) -> impl Iterator<Item = Payload<'a>> + '_ {
        self.formats.iter().filter_map(|format| {
            let number: u8 = format.parse().ok().filter(|number| *number < 128)?;
            self.mapped(number).or_else(|| fixed(number))
        })
    }

    /// Returns the value of a format's parameter (`a=fmtp`).
    pub(super) fn parameter(&self, number: u8, name: &str) -> Option<&'a str> {
        lines(self.text).filter_map(Line::parse).find_map(|line| {
            let (format, parameters) = cut::once(line.attribute("fmtp")?, b' ')?;
            if format.parse() != Ok(number) {
                return None;
            }
            cut::each(parameters, b';').find_map(|parameter| {
                let (known, value) = cut::once(parameter, b'=')?;
                known
                    .trim_ascii()
                    .eq_ignore_ascii_case(name)
                    .then(|| value.trim_ascii())
            })
        })
    }

    fn mapped(&self, number: u8) -> Option<Payload<'a>> {
        lines(self.text).filter_map(Line::parse).find_map(|line| {
            let (format, encoding) = cut::once(line.attribute("rtpmap")?, b' ')?;
            if format.parse() != Ok(number) {
                return None;
            }
            let mut parts = cut::each(encoding.trim_ascii(), b'/');
            Some(Payload {
                number,
                name: parts.next()?,
                clock: parts.next()?.trim_ascii().parse().ok()?,
            })
        })
    }
}

/// Cuts a description into its session part and its `m=` sections.
pub(super) fn sections(text: &str) -> (&str, Vec<&str>) {
    let mut starts: Vec<usize> = text.match_indices("\nm=").map(|(at, _)| at + 1).collect();
    if text.starts_with("m=") {
        starts.insert(0, 0);
    }
    let session = &text[..starts.first().copied().unwrap_or(text.len())];
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let media = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &text[*start..end])
        .collect();
    (session, media)
}

/// Reads the address of a c= line, or the name in its place.
fn connection(value: &str) -> (Option<IpAddr>, Option<&str>) {
    let written = value.split_ascii_whitespace().nth(2).unwrap_or("");
    if let Ok(address) = cut::each(written, b'/').next().unwrap_or("").parse() {
        return (Some(address), None);
    }
    let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let named = written.bytes().any(|b| b.is_ascii_alphabetic())
        && written.len() <= HOST_MAX
        && written.bytes().all(label);
    (None, named.then_some(written))
}

/// RFC 3551 6: payload types that need no rtpmap.
fn fixed(number: u8) -> Option<Payload<'static>> {
    let (name, clock) = match number {
        0 => ("PCMU", 8000),
        3 => ("GSM", 8000),
        4 => ("G723", 8000),
        5 => ("DVI4", 8000),
        6 => ("DVI4", 16000),
        7 => ("LPC", 8000),
        8 => ("PCMA", 8000),
        9 => ("G722", 8000),
        10 | 11 => ("L16", 44100),
        12 => ("QCELP", 8000),
        13 => ("CN", 8000),
        14 => ("MPA", 90000),
        15 => ("G728", 8000),
        16 => ("DVI4", 11025),
        17 => ("DVI4", 22050),
        18 => ("G729", 8000),
        25 => ("CELB", 90000),
        26 => ("JPEG", 90000),
        28 => ("NV", 90000),
        31 => ("H261", 90000),
        32 => ("MPV", 90000),
        33 => ("MP2T", 90000),
        34 => ("H263", 90000),
        _ => return None,
    };
    Some(Payload {
        number,
        name,
        clock,
    })
}
