//! The phone's half of offer and answer (RFC 3264).

use std::fmt::Write;
use std::net::SocketAddr;

use refork::engine::settings::Kind;
use refork::sip::sdp::{self, Direction, Media, Sdp};

use super::Speech;

/// The one format of pictures here.
const PICTURE: &str = "96";

/// What the phone says of its session, and was last told.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) kind: Kind,
    /// Where it wants its RTP.
    pub(crate) rtp: SocketAddr,
    /// Where it was told to send RTP.
    pub(crate) remote: Option<SocketAddr>,
    /// Where it sends its pictures, if any.
    pictures: Option<SocketAddr>,
    /// It has put the other on hold.
    pub(crate) held: bool,
    /// Its user shows pictures.
    pub(crate) filming: bool,
    /// What it may do after the last answer.
    pub(crate) direction: Direction,
    speech: Speech,
    /// The sections that there are besides the first, which no description leaves out again (RFC 3264 8).
    others: Vec<sdp::Kind>,
    /// What its user wished of it when it was agreed on last: hold, and pictures.
    agreed: (bool, bool),
    /// The origin of what it agreed to last.
    known: String,
    id: u64,
    version: u64,
}

impl Session {
    pub(crate) fn new(kind: Kind, rtp: SocketAddr, id: u64, speech: Speech) -> Self {
        Self {
            kind,
            rtp,
            remote: None,
            pictures: None,
            held: false,
            filming: false,
            direction: Direction::SendRecv,
            speech,
            others: Vec::new(),
            agreed: (false, false),
            known: String::new(),
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
        let wish = self.wish();
        match self.kind {
            Kind::Call => {
                let port = self.rtp.port();
                self.speech.sound(&mut out, port, None, wish.as_str());
            }
            Kind::Session => out.push_str("m=message 5060 sip null\r\n"),
        }
        if self.filming && !self.others.contains(&sdp::Kind::Video) {
            self.others.push(sdp::Kind::Video);
        }
        for kind in &self.others {
            let port = match kind {
                sdp::Kind::Video if self.filming => self.picture_port(),
                sdp::Kind::Audio | sdp::Kind::Message | sdp::Kind::Video | sdp::Kind::Other => 0,
            };
            section(&mut out, *kind, port, wish);
        }
        out
    }

    pub(crate) fn picture_port(&self) -> u16 {
        self.rtp.port() + PICTURE_PORT
    }

    /// Returns where the media of the stream that it wants at `rtp` is sent to, where it sends any.
    pub(crate) fn media_to(&self, rtp: SocketAddr) -> Option<SocketAddr> {
        if rtp == self.rtp {
            self.remote.filter(|_| self.direction.sends())
        } else if rtp == SocketAddr::new(self.rtp.ip(), self.picture_port()) {
            self.pictures
        } else {
            None
        }
    }

    /// Takes what the other end says of its pictures.
    fn see(&mut self, media: &Media<'_>) {
        let sends = self.filming && both(self.wish(), media.direction.mirrored()).sends();
        let there = media.address.map(|ip| SocketAddr::new(ip, media.port));
        self.pictures = there.filter(|_| sends && media.port != 0);
    }

    /// Returns true where an offer has been answered in it.
    pub(crate) fn is_agreed(&self) -> bool {
        !self.known.is_empty()
    }

    /// Returns true for an offer of something else than what stands, where it takes no such thing.
    pub(crate) fn refuses(&self, offer: &[u8]) -> bool {
        let news = !offer.is_empty() && origin(offer) != self.known;
        self.speech.rigid && !self.known.is_empty() && news
    }

    /// Answers an offer, or returns nothing where no section of it can be taken.
    pub(crate) fn answer(&mut self, offer: &[u8]) -> Option<String> {
        let known = origin(offer);
        let offer = Sdp::parse(offer).ok()?;
        self.version += 1;
        let mut out = self.head();
        let mut taken = false;
        for (at, media) in offer.media().iter().enumerate() {
            if at > self.others.len() {
                self.others.push(media.kind);
            }
            taken |= self.answer_section(&mut out, media);
        }
        if taken {
            self.known = known;
        }
        taken.then_some(out)
    }

    /// Returns true where it takes the section.
    fn answer_section(&mut self, out: &mut String, media: &Media<'_>) -> bool {
        let direction = both(self.wish(), media.direction.mirrored());
        // It knows no SRTP.
        let open = media.kind == sdp::Kind::Message || media.proto == "RTP/AVP";
        let taken = media.port != 0
            && open
            && match media.kind {
                sdp::Kind::Audio => {
                    let port = self.rtp.port();
                    let speech = self.speech;
                    speech.sound(out, port, Some(media), direction.as_str())
                }
                sdp::Kind::Message => {
                    out.push_str("m=message 5060 sip null\r\n");
                    true
                }
                sdp::Kind::Video => {
                    if self.speech.camera {
                        section(out, media.kind, self.picture_port(), direction);
                    }
                    self.speech.camera
                }
                sdp::Kind::Other => false,
            };
        match media.kind {
            kind if !taken => {
                self.filming &= kind != sdp::Kind::Video;
                if kind == sdp::Kind::Video {
                    self.pictures = None;
                }
                let _ = write!(
                    out,
                    "m={} 0 {} {}\r\n",
                    name(kind),
                    media.proto,
                    media.formats.join(" ")
                );
            }
            sdp::Kind::Audio => {
                self.kind = Kind::Call;
                self.direction = direction;
                self.remote = media.address.map(|ip| SocketAddr::new(ip, media.port));
            }
            sdp::Kind::Message => self.kind = Kind::Session,
            sdp::Kind::Video => {
                self.filming = true;
                self.see(media);
            }
            sdp::Kind::Other => {}
        }
        self.agreed = (self.held, self.filming);
        taken
    }

    /// Takes the answer to an offer of its own.
    pub(crate) fn answered(&mut self, answer: &[u8]) {
        let known = origin(answer);
        let Ok(answer) = Sdp::parse(answer) else {
            return;
        };
        if !known.is_empty() {
            self.known = known;
        }
        if let Some(media) = answer.media().first()
            && media.kind == sdp::Kind::Audio
            && media.port != 0
        {
            self.direction = both(self.wish(), media.direction.mirrored());
            self.remote = media.address.map(|ip| SocketAddr::new(ip, media.port));
        }
        let mut media = answer.media().iter();
        let picture = media.find(|media| media.kind == sdp::Kind::Video && media.port != 0);
        self.filming &= picture.is_some();
        match picture {
            Some(media) => self.see(media),
            None => self.pictures = None,
        }
        self.agreed = (self.held, self.filming);
    }

    /// Takes what says only where media comes from before the answer: an answer that is not sent reliably (RFC 3261
    /// 13.2.1).
    pub(crate) fn hears(&mut self, early: &[u8]) {
        let Ok(early) = Sdp::parse(early) else {
            return;
        };
        if let Some(media) = early.media().first()
            && media.kind == sdp::Kind::Audio
            && media.port != 0
        {
            self.direction = both(self.wish(), media.direction.mirrored());
            self.remote = media.address.map(|ip| SocketAddr::new(ip, media.port));
        }
    }

    /// An offer of its own was refused: all is as it was (RFC 6141).
    pub(crate) fn refused(&mut self) {
        (self.held, self.filming) = self.agreed;
    }
}

/// Pictures come this far above the sound.
const PICTURE_PORT: u16 = 20_000;

fn origin(description: &[u8]) -> String {
    let text = String::from_utf8_lossy(description);
    let origin = text.lines().find(|line| line.starts_with("o="));
    origin.unwrap_or_default().to_owned()
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

fn name(kind: sdp::Kind) -> &'static str {
    match kind {
        sdp::Kind::Audio => "audio",
        sdp::Kind::Video => "video",
        sdp::Kind::Message => "message",
        sdp::Kind::Other => "application",
    }
}

/// Writes a section beside the sound; one of port 0 is refused.
fn section(out: &mut String, kind: sdp::Kind, port: u16, direction: Direction) {
    let _ = write!(out, "m={} {port} RTP/AVP {PICTURE}\r\n", name(kind));
    if port != 0 {
        let _ = write!(out, "a=rtpmap:{PICTURE} VP8/90000\r\n");
        let _ = write!(out, "a={}\r\n", direction.as_str());
    }
}
