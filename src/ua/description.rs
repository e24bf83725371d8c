//! The session descriptions that a phone writes, and what it takes from those it gets (RFC 3264).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::sip::sdp::{Crypto, Direction, Kind, Media, Sdp};

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// G.711 over RTP.
    Audio,
    /// The same, and pictures beside it.
    Video,
    /// An IM session as legacy clients write it: `m=message 5060 sip null`, text in MESSAGE requests.
    Text,
}

/// One stream of RTP as a phone describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// 0: refused, or taken out.
    pub(super) port: u16,
    pub(super) cover: Cover,
}

/// How a stream is told to be encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cover {
    /// The profile says so.
    pub(super) bound: bool,
    /// Our key.
    pub(super) line: Option<Crypto>,
}

/// What the other end said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) medium: Medium,
    /// By `m=` line; the first is sound, the second pictures.
    pub(super) streams: Vec<RemoteStream>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteStream {
    /// Where it wants RTP; none where the stream is refused.
    pub(super) rtp: Option<SocketAddr>,
    pub(super) direction: Direction,
    pub(super) bound: bool,
    pub(super) lines: Vec<Crypto>,
}

/// Writes an offer or answer; text has no sections of RTP.
pub(super) fn write(
    address: IpAddr,
    (session, version): (u64, u32),
    direction: Direction,
    sections: &[Section],
) -> Vec<u8> {
    let family = if address.is_ipv6() { "IP6" } else { "IP4" };
    let mut out = format!(
        "v=0\r\no=- {session} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
    );
    for (at, Section { port, cover }) in sections.iter().enumerate() {
        let profile = if cover.bound { "RTP/SAVP" } else { "RTP/AVP" };
        let _ = match at {
            0 => write!(
                out,
                "m=audio {port} {profile} 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
                 a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n"
            ),
            _ => write!(
                out,
                "m=video {port} {profile} 96\r\na=rtpmap:96 H264/90000\r\n"
            ),
        };
        if let Some(line) = cover.line.as_ref().filter(|_| *port != 0) {
            let _ = write!(out, "a=crypto:{}\r\n", line.write());
        }
        let _ = write!(out, "a={}\r\n", direction.as_str());
    }
    if sections.is_empty() {
        out.push_str("m=message 5060 sip null\r\n");
    }
    out.into_bytes()
}

/// Reads a description; nothing where there is no stream in it.
pub(super) fn read(body: &[u8]) -> Option<Remote> {
    let sdp = Sdp::parse(body).ok()?;
    let medium = match sdp.media() {
        [] => return None,
        [first, ..] if first.kind == Kind::Message => Medium::Text,
        [_] => Medium::Audio,
        [_, ..] => Medium::Video,
    };
    let stream = |media: &Media<'_>| RemoteStream {
        rtp: media
            .address
            .filter(|_| media.port != 0 && media.is_rtp())
            .map(|address| SocketAddr::new(address, media.port)),
        direction: media.direction,
        bound: media.must_be_secure(),
        lines: media.crypto(),
    };
    Some(Remote {
        medium,
        streams: sdp.media().iter().map(stream).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let line = super::super::srtp::fresh(1);
        let section = |port, bound, line: Option<&Crypto>| Section {
            port,
            cover: Cover {
                bound,
                line: line.cloned(),
            },
        };
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let sections = [section(4000, true, Some(&line)), section(0, false, None)];
            let body = write(address, (7, 1), Direction::SendOnly, &sections);
            let stream = |rtp, bound, lines| RemoteStream {
                rtp,
                direction: Direction::SendOnly,
                bound,
                lines,
            };
            assert_eq!(
                read(&body),
                Some(Remote {
                    medium: Medium::Video,
                    streams: vec![
                        stream(
                            Some(SocketAddr::new(address, 4000)),
                            true,
                            vec![line.clone()]
                        ),
                        stream(None, false, Vec::new()),
                    ],
                })
            );
        }
        let address = IpAddr::from([127, 0, 0, 1]);
        let body = write(address, (7, 1), Direction::SendRecv, &[]);
        assert_eq!(read(&body).map(|remote| remote.medium), Some(Medium::Text));
    }
}
