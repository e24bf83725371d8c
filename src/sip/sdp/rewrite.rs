//! Writing a session description again under our address, the rest byte for byte.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::crypto::Crypto;
use super::line::{Line, lines, media_words};
use super::parse::{Direction, Media, Sdp};
use crate::sip::cut;

/// What is to change.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<'a> {
    /// Our session id and version for the o= line (RFC 8866 5.2).
    pub session: u64,
    pub version: u64,
    /// Ours.
    pub address: IpAddr,
    /// Media is not anchored: the session's c= line stays as it is.
    pub keep_session_address: bool,
    /// By `m=` section.
    pub places: &'a [Place],
    /// By `m=` section; what is missing stays as it stands.
    pub covers: &'a [Cover<'a>],
    /// ICE candidates name addresses that are not ours.
    pub drop_ice: bool,
}

/// Where a section's stream is told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As it stands.
    Keep,
    At(SocketAddr),
    /// Port 0 (RFC 3264 6).
    Rejected,
}

/// How a section's stream is told to be encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cover<'a> {
    /// As it stands.
    #[default]
    Keep,
    /// Under this profile, with these keys and nothing else that was said of keys: plain RTP without any.
    Ours {
        profile: &'a str,
        keys: &'a [Crypto],
    },
    /// Port 0 (RFC 3264 6) under this profile.
    Refused { profile: &'a str },
}

impl Sdp<'_> {
    /// Writes the description with these changes.
    pub fn rewrite(&self, with: &Rewrite<'_>) -> Vec<u8> {
        let mut out = String::with_capacity(self.text.len() + 64);
        let mut replaced = None;
        for text in lines(self.session()) {
            match Line::parse(text) {
                Some(Line { letter: b'o', .. }) => {
                    let (session, version) = (with.session, with.version);
                    let _ = write!(
                        out,
                        "o=- {session} {version} IN {}\r\n",
                        typed(with.address)
                    );
                }
                Some(Line { letter: b'c', .. }) if !with.keep_session_address => {
                    replaced = Some(text);
                    connection(&mut out, with.address);
                }
                Some(line) if with.drop_ice && is_ice(&line) => {}
                Some(_) | None => push(&mut out, text),
            }
        }
        for (at, media) in self.media().iter().enumerate() {
            let place = with.places.get(at).copied().unwrap_or(Place::Keep);
            let cover = with.covers.get(at).copied().unwrap_or_default();
            section(&mut out, media, (place, cover), replaced, with);
        }
        out.into_bytes()
    }

    /// Writes the description with its streams covered so, nothing else changed.
    pub fn covered(&self, covers: &[Cover<'_>]) -> Vec<u8> {
        let mut out = String::with_capacity(self.text.len() + 128);
        for text in lines(self.session()) {
            push(&mut out, text);
        }
        for (at, media) in self.media().iter().enumerate() {
            let cover = covers.get(at).copied().unwrap_or_default();
            for text in lines(media.text) {
                match Line::parse(text) {
                    Some(Line { letter: b'm', .. }) => {
                        let refused = matches!(cover, Cover::Refused { .. });
                        media_line(&mut out, media, refused.then_some(0), cover);
                    }
                    Some(line) if cover.drops(&line) => {}
                    Some(_) | None => push(&mut out, text),
                }
            }
            if media.port != 0 {
                cover.write(&mut out);
            }
        }
        out.into_bytes()
    }

    /// Writes the description under another version, nothing else changed.
    pub fn with_version(&self, version: u64) -> Vec<u8> {
        let mut out = String::with_capacity(self.text.len() + 8);
        for text in lines(self.text) {
            match Line::parse(text) {
                Some(Line {
                    letter: b'o',
                    value,
                }) => {
                    let words: Vec<_> = cut::each(value, b' ').collect();
                    let _ = match words[..] {
                        [user, id, _, ref rest @ ..] => {
                            write!(out, "o={user} {id} {version} {}\r\n", rest.join(" "))
                        }
                        _ => write!(out, "{text}\r\n"),
                    };
                }
                Some(_) | None => push(&mut out, text),
            }
        }
        out.into_bytes()
    }
}

impl Cover<'_> {
    /// Returns true for what another said of keys.
    fn drops(&self, line: &Line<'_>) -> bool {
        *self != Self::Keep
            && ["crypto", "fingerprint", "setup", "tls-id", "key-mgmt"]
                .iter()
                .any(|name| line.attribute(name).is_some())
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Keep | Self::Refused { .. } => {}
            Self::Ours { keys, .. } => {
                for key in *keys {
                    let _ = write!(out, "a=crypto:{}\r\n", key.write());
                }
            }
        }
    }
}

fn section(
    out: &mut String,
    media: &Media<'_>,
    (place, cover): (Place, Cover<'_>),
    replaced: Option<&str>,
    with: &Rewrite<'_>,
) {
    let active = media.port != 0;
    let place = match cover {
        Cover::Refused { .. } => Place::Rejected,
        Cover::Keep | Cover::Ours { .. } => place,
    };
    let at = match place {
        Place::At(at) if active => Some(at),
        Place::At(_) | Place::Keep | Place::Rejected => None,
    };
    let held = at.and_then(|_| held(media));
    let relayed = !with.keep_session_address;
    let mut addressed = false;
    let start = out.len();
    for text in lines(media.text) {
        let Some(line) = Line::parse(text) else {
            push(out, text);
            continue;
        };
        match line.letter {
            b'm' => match (place, at) {
                (_, Some(at)) => media_line(out, media, Some(at.port()), cover),
                (Place::Rejected, None) => media_line(out, media, Some(0), cover),
                (Place::Keep | Place::At(_), None) => media_line(out, media, None, cover),
            },
            b'c' => match at {
                Some(at) => {
                    addressed = true;
                    connection(out, at.ip());
                }
                None if place == Place::Keep => push(out, text),
                None => connection(out, with.address),
            },
            _ if line.attribute("rtcp").is_some() => match (place, at) {
                (Place::Keep, _) => push(out, text),
                (_, Some(at)) if media.is_rtp() && !media.rtcp_mux => {
                    let _ = write!(out, "a=rtcp:{}\r\n", at.port().saturating_add(1));
                }
                (Place::At(_) | Place::Rejected, _) => {}
            },
            _ if with.drop_ice && is_ice(&line) => {}
            _ if cover.drops(&line) => {}
            // A fax has no keys: what is said of some is for nobody but us.
            _ if relayed && media.is_fax() && line.attribute("crypto").is_some() => {}
            b'a' if held.is_some() && Direction::parse(line.value.trim_ascii()).is_some() => {}
            _ => push(out, text),
        }
    }
    if let Some(direction) = held {
        let _ = write!(out, "a={}\r\n", direction.as_str());
    }
    if place != Place::Rejected && active {
        cover.write(out);
    }
    if let Some(at) = at
        && !addressed
        && (at.ip() != with.address || replaced.is_none())
    {
        insert_connection(out, start, &format!("c=IN {}", typed(at.ip())));
    }
    // The session's address is ours now: a stream that stays where it was must say so.
    if place == Place::Keep
        && !media.has_own_address()
        && active
        && let Some(line) = replaced
    {
        insert_connection(out, start, line);
    }
}

/// Returns the direction that a stream on hold by its address has (RFC 3264 8.4): the new address does
/// not say any more that nothing is to be sent to it.
fn held(media: &Media<'_>) -> Option<Direction> {
    let held = media.is_rtp() && media.is_old_hold();
    held.then_some(match media.direction {
        Direction::SendRecv | Direction::SendOnly => Direction::SendOnly,
        Direction::RecvOnly | Direction::Inactive => Direction::Inactive,
    })
}

/// Writes the `m=` line with another port, where there is one, and under the profile of its cover.
fn media_line(out: &mut String, media: &Media<'_>, port: Option<u16>, cover: Cover<'_>) {
    let first = lines(media.text).next().unwrap_or("");
    let (kind, stands, rest) = media_words(first);
    let (profile, formats) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
    let profile = match cover {
        Cover::Keep => profile,
        Cover::Ours { profile, .. } | Cover::Refused { profile } => profile,
    };
    let _ = match port {
        Some(port) => write!(out, "{kind} {port} {profile}{formats}\r\n"),
        None if cover == Cover::Keep => write!(out, "{first}\r\n"),
        None => write!(out, "{kind} {stands} {profile}{formats}\r\n"),
    };
}

/// Puts a c= line right behind the `m=` line at `start`, and its i= line (RFC 8866 5).
fn insert_connection(out: &mut String, start: usize, line: &str) {
    let after = |at: usize| out[at..].find("\r\n").map_or(out.len(), |end| at + end + 2);
    let mut at = after(start);
    if out[at..].starts_with("i=") {
        at = after(at);
    }
    out.insert_str(at, &format!("{line}\r\n"));
}

fn connection(out: &mut String, address: IpAddr) {
    let _ = write!(out, "c=IN {}\r\n", typed(address));
}

fn typed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("IP4 {address}"),
        IpAddr::V6(address) => format!("IP6 {address}"),
    }
}

fn is_ice(line: &Line<'_>) -> bool {
    [
        "candidate",
        "ice-ufrag",
        "ice-pwd",
        "ice-options",
        "ice-lite",
        "ice-mismatch",
        "remote-candidates",
        "end-of-candidates",
    ]
    .iter()
    .any(|name| line.attribute(name).is_some())
}

fn push(out: &mut String, text: &str) {
    out.push_str(text);
    out.push_str("\r\n");
}
