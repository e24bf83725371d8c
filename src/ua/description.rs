//! The session descriptions that a phone writes, and what it takes from those it gets (RFC 3264).

use std::net::{IpAddr, SocketAddr};

use crate::sip::sdp::{Direction, Kind, Sdp};

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// G.711 over RTP.
    Audio,
    /// An IM session as legacy clients write it: `m=message 5060 sip null`, text in MESSAGE requests.
    Text,
}

/// What the other end said of its first stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) medium: Medium,
    /// Where it wants RTP; none where the stream is refused.
    pub(super) rtp: Option<SocketAddr>,
    pub(super) direction: Direction,
}

/// Writes an offer or answer. `port` is the RTP port, and unused for text.
pub(super) fn write(
    medium: Medium,
    address: IpAddr,
    port: u16,
    session: u64,
    version: u32,
    direction: Direction,
) -> Vec<u8> {
    let family = if address.is_ipv6() { "IP6" } else { "IP4" };
    let head = format!(
        "v=0\r\no=- {session} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
    );
    let media = match medium {
        Medium::Audio => format!(
            "m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na={}\r\n",
            direction.as_str()
        ),
        Medium::Text => "m=message 5060 sip null\r\n".to_owned(),
    };
    (head + &media).into_bytes()
}

/// Reads the first stream of a description; nothing where there is none.
pub(super) fn read(body: &[u8]) -> Option<Remote> {
    let sdp = Sdp::parse(body).ok()?;
    let media = sdp.media().first()?;
    let medium = match media.kind {
        Kind::Message => Medium::Text,
        Kind::Audio | Kind::Video | Kind::Other => Medium::Audio,
    };
    let rtp = media
        .address
        .filter(|_| media.port != 0 && media.is_rtp())
        .map(|address| SocketAddr::new(address, media.port));
    Some(Remote {
        medium,
        rtp,
        direction: media.direction,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let body = write(Medium::Audio, address, 4000, 7, 1, Direction::SendOnly);
            assert_eq!(
                read(&body),
                Some(Remote {
                    medium: Medium::Audio,
                    rtp: Some(SocketAddr::new(address, 4000)),
                    direction: Direction::SendOnly,
                })
            );
        }
        let body = write(
            Medium::Text,
            IpAddr::from([127, 0, 0, 1]),
            0,
            7,
            1,
            Direction::SendRecv,
        );
        assert_eq!(read(&body).map(|remote| remote.medium), Some(Medium::Text));
    }
}
