//! The phone's half of offer and answer (RFC 3264).

use std::fmt::Write;
use std::net::SocketAddr;

use refork::engine::settings::Kind;
use refork::sip::sdp::{self, Direction, Sdp};

/// What the phone says of its session, and was last told.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) kind: Kind,
    /// Where it wants its RTP.
    pub(crate) rtp: SocketAddr,
    /// Where it was told to send RTP.
    pub(crate) remote: Option<SocketAddr>,
    /// It has put the other on hold.
    pub(crate) held: bool,
    /// What it may do after the last answer.
    pub(crate) direction: Direction,
    id: u64,
    version: u64,
}

impl Session {
    pub(crate) fn new(kind: Kind, rtp: SocketAddr, id: u64) -> Self {
        Self {
            kind,
            rtp,
            remote: None,
            held: false,
            direction: Direction::SendRecv,
            id,
            version: 1,
        }
    }

    fn head(&self) -> String {
        let ip = self.rtp.ip();
        format!(
            "v=0\r\no=- {} {} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n",
            self.id, self.version
        )
    }

    fn wish(&self) -> Direction {
        if self.held {
            Direction::SendOnly
        } else {
            Direction::SendRecv
        }
    }

    /// Makes an offer; a new version where it is not the first.
    pub(crate) fn offer(&mut self, changed: bool) -> String {
        self.version += u64::from(changed);
        let mut out = self.head();
        match self.kind {
            Kind::Call => audio(&mut out, self.rtp.port(), &["0", "8", "101"], self.wish()),
            Kind::Session => out.push_str("m=message 5060 sip null\r\n"),
        }
        out
    }

    /// Answers an offer, or returns nothing where no section of it can be taken.
    pub(crate) fn answer(&mut self, offer: &[u8]) -> Option<String> {
        let offer = Sdp::parse(offer).ok()?;
        self.version += 1;
        let mut out = self.head();
        let mut taken = false;
        for media in offer.media() {
            match media.kind {
                sdp::Kind::Audio if media.port != 0 => {
                    let formats: Vec<_> = media
                        .formats
                        .iter()
                        .copied()
                        .filter(|format| ["0", "8", "101"].contains(format))
                        .collect();
                    self.kind = Kind::Call;
                    self.direction = both(self.wish(), media.direction.mirrored());
                    self.remote = media.address.map(|ip| SocketAddr::new(ip, media.port));
                    audio(&mut out, self.rtp.port(), &formats, self.direction);
                    taken |= !formats.is_empty();
                }
                sdp::Kind::Message if media.port != 0 => {
                    self.kind = Kind::Session;
                    out.push_str("m=message 5060 sip null\r\n");
                    taken = true;
                }
                sdp::Kind::Audio | sdp::Kind::Message | sdp::Kind::Video | sdp::Kind::Other => {
                    let _ = write!(out, "m=audio 0 {} 0\r\n", media.proto);
                }
            }
        }
        taken.then_some(out)
    }

    /// Takes the answer to an offer of its own.
    pub(crate) fn answered(&mut self, answer: &[u8]) {
        let Ok(answer) = Sdp::parse(answer) else {
            return;
        };
        if let Some(media) = answer.media().first()
            && media.kind == sdp::Kind::Audio
            && media.port != 0
        {
            self.direction = both(self.wish(), media.direction.mirrored());
            self.remote = media.address.map(|ip| SocketAddr::new(ip, media.port));
        }
    }
}

/// Returns what is left of a wish where the other end allows only so much.
fn both(wish: Direction, allowed: Direction) -> Direction {
    match (
        wish.sends() && allowed.sends(),
        wish.receives() && allowed.receives(),
    ) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

fn audio(out: &mut String, port: u16, formats: &[&str], direction: Direction) {
    let _ = write!(out, "m=audio {port} RTP/AVP {}\r\n", formats.join(" "));
    if formats.contains(&"101") {
        out.push_str("a=rtpmap:101 telephone-event/8000\r\n");
    }
    let _ = write!(out, "a={}\r\n", direction.as_str());
}
