//! Where the media of each side runs, and how a session description is told to the other side.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::formats::Formats;
use super::keys::{Covers, Role, Telling};
use super::refused::Streams;
use crate::engine::conversation::leg::Talk;
use crate::engine::ids::{LegId, Side};
use crate::engine::ports::{
    Claim, Generation, Inside, MediaCommand, MediaId, STREAMS_MAX, StreamSettings, Voice,
};
use crate::engine::settings::MediaMode;
use crate::sip::sdp::{self, Direction, Keying, Kind, Media, Place, Rewrite, Sdp};

/// The relay's ports on one side.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) generation: Generation,
    /// The newest that was ever opened on this side: one that was given back is not used again.
    pub(crate) newest: Generation,
    pub(crate) state: PortState,
    /// By stream; empty until they are open. Port 0: the stream was refused, and its ports were given back.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Which address of ours the endpoint reaches that they are for. After a restart only its family is
    /// known.
    #[serde(skip)]
    pub(crate) reach: Option<IpAddr>,
    /// Of which leg the operator was told that its media is not sent where it has it.
    #[serde(skip)]
    pub(crate) barred: Option<LegId>,
    /// Those for endpoints of the same fork that reach us at another address; mostly there are none.
    #[serde(default)]
    pub(crate) others: Vec<Self>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PortState {
    /// The session needs none.
    #[default]
    None,
    Opening,
    Open,
    Failed,
}

impl Ports {
    /// Asks the relay for ports.
    pub(crate) fn open(
        &mut self,
        media: MediaId,
        side: Side,
        streams: usize,
        claim: Claim,
        toward: IpAddr,
    ) -> MediaCommand {
        self.state = PortState::Opening;
        MediaCommand::Open {
            media,
            side,
            generation: self.generation,
            streams,
            claim,
            toward,
            told: self.told(),
            again: Vec::new(),
        }
    }

    /// Returns the address that the peer is told, or was told first.
    pub(super) fn told(&self) -> Option<IpAddr> {
        let first = self.addresses.first().map(SocketAddr::ip);
        first.or_else(|| self.reach.filter(|reach| !reach.is_unspecified()))
    }

    /// Returns our address for a stream; none where there are no ports for it.
    pub(super) fn at(&self, stream: usize) -> Option<SocketAddr> {
        let known = self.addresses.get(stream).copied();
        known.filter(|address| address.port() != 0)
    }

    /// Returns true where some of these streams have no ports.
    pub(super) fn lack(&self, wanted: Streams) -> bool {
        (0..wanted.count()).any(|at| wanted.has(at) && self.at(at).is_none())
    }

    /// Asks for the same ports once more, after a restart.
    pub(crate) fn open_again(
        &mut self,
        media: MediaId,
        side: Side,
        toward: IpAddr,
    ) -> MediaCommand {
        self.state = PortState::Opening;
        MediaCommand::Open {
            media,
            side,
            generation: self.generation,
            streams: self.addresses.len(),
            claim: Claim::Standing,
            toward,
            told: self.told(),
            again: self.addresses.iter().map(SocketAddr::port).collect(),
        }
    }

    /// Returns true where ports were open before a restart, or were being taken again when the next one
    /// came.
    pub(crate) fn are_taken(&self) -> bool {
        match self.state {
            PortState::Open => true,
            PortState::Opening => !self.addresses.is_empty(),
            PortState::None | PortState::Failed => false,
        }
    }
}

/// Returns how many streams of an offer the relay carries: up to the last that comes by datagram, and that has a place
/// there. An INVITE without an offer gets room for audio and video.
pub(crate) fn streams_needed(offer: Option<&str>, mode: MediaMode) -> usize {
    if mode != MediaMode::Relay {
        return 0;
    }
    let Some(offer) = offer else { return 2 };
    let Ok(sdp) = Sdp::parse(offer.as_bytes()) else {
        return 0;
    };
    sdp.media()
        .iter()
        .rposition(|media| media.is_datagrams())
        .map_or(0, |last| (last + 1).min(STREAMS_MAX))
}

/// Returns the streams of an offer within a dialog that the relay carries.
pub(super) fn streams_wanted(offer: &str, mode: MediaMode) -> Streams {
    if mode != MediaMode::Relay {
        return Streams::default();
    }
    let Ok(sdp) = Sdp::parse(offer.as_bytes()) else {
        return Streams::default();
    };
    let media = sdp.media().iter().take(STREAMS_MAX).enumerate();
    media
        .filter(|(_, media)| media.is_datagrams() && media.port != 0)
        .map(|(at, _)| at)
        .collect()
}

/// Returns true where a session carries text only.
pub(crate) fn is_text_only(offer: &str) -> bool {
    has_only(offer, |media| media.kind == Kind::Message)
}

/// Returns true where all that a session carries goes by MESSAGE within the dialog.
pub(crate) fn is_all_signalling(offer: &str) -> bool {
    has_only(offer, |media| media.is_sip_message())
}

/// Returns true where it is a session description with a stream that is not refused.
pub(crate) fn has_streams(said: &str) -> bool {
    Sdp::parse(said.as_bytes()).is_ok_and(|sdp| sdp.media().iter().any(|media| media.port != 0))
}

fn has_only(offer: &str, test: impl Fn(&Media<'_>) -> bool) -> bool {
    Sdp::parse(offer.as_bytes())
        .is_ok_and(|sdp| !sdp.media().is_empty() && sdp.media().iter().all(test))
}

/// Writes what one side said for the other: under our o= line and our addresses, the rest as it came.
/// The version goes up by one where something changed, and only there (RFC 3264 8).
/// None where it is no session description.
pub(crate) fn tell(
    talk: &mut Talk,
    said: &str,
    ports: &Ports,
    signalling: SocketAddr,
    mode: MediaMode,
    telling: &mut Telling<'_>,
) -> Option<Box<str>> {
    let whole = with_all_sections(talk, said, telling.role);
    let sdp = Sdp::parse(whole.as_deref().unwrap_or(said).as_bytes()).ok()?;
    let relayed = mode == MediaMode::Relay;
    let covers = match mode {
        MediaMode::Relay => Covers::find(talk, &sdp, telling),
        MediaMode::Direct => Covers::past_us(&sdp, telling),
    };
    let covers = covers.with(&talk.keys);
    let places: Vec<Place> = sdp
        .media()
        .iter()
        .enumerate()
        .map(|(at, media)| {
            if media.port == 0 {
                Place::Keep
            } else if media.is_sip_message() {
                Place::At(signalling)
            } else if relayed && media.is_datagrams() {
                let rtp = ports.at(at).filter(|_| telling.room.has(at));
                rtp.map_or(Place::Rejected, Place::At)
            } else {
                Place::Keep
            }
        })
        .collect();
    let address = ports
        .addresses
        .first()
        .map_or_else(|| signalling.ip(), SocketAddr::ip);
    let asks = telling.role == Role::Offer;
    let write = |version| {
        let bytes = sdp.rewrite(&Rewrite {
            session: talk.session,
            version,
            address,
            keep_session_address: !relayed,
            places: &places,
            covers: &covers,
            drop_ice: relayed && !ends_at_the_phones(&sdp),
        });
        String::from_utf8(bytes).ok().map(String::into_boxed_str)
    };
    let same = write(talk.version)?;
    let Some(told) = &talk.told else {
        (talk.told, talk.asked) = (Some(same.clone()), asks);
        return Some(same);
    };
    if *told == same {
        talk.asked &= asks;
        return Some(same);
    }
    talk.version = talk.next_version();
    let changed = write(talk.version)?;
    (talk.told, talk.asked) = (Some(changed.clone()), asks);
    Some(changed)
}

/// Returns what one side said with the sections that the other must be told (RFC 3264 6, 8): the two may not have
/// the same number, where one of them has been another phone's before, and an answer may be none to its offer.
fn with_all_sections(talk: &Talk, said: &str, role: Role) -> Option<String> {
    let whole = match role {
        Role::Answer => {
            let offer = talk.said.as_deref()?.as_bytes();
            let whole = sdp::answer_to(offer, said.as_bytes());
            let answer = whole.as_deref().unwrap_or(said.as_bytes());
            if let Some(plain) = sdp::without_unasked(offer, answer) {
                return Some(plain);
            }
            whole?
        }
        Role::Offer => {
            let sections = |text: &str| text.matches("\nm=").count();
            let known = [talk.told.as_deref(), talk.said.as_deref()];
            let most = known
                .into_iter()
                .flatten()
                .max_by_key(|text| sections(text))?;
            let count = sections(most).max(sections(said));
            if sections(said) == count {
                return None;
            }
            sdp::with_sections(said.as_bytes(), count, most.as_bytes())?
        }
    };
    String::from_utf8(whole).ok()
}

/// Returns true where a stream of RTP is wanted whose keys, if it has any, are told by us.
pub(crate) fn has_our_rtp(said: &str) -> bool {
    let ours =
        |media: &Media<'_>| media.port != 0 && media.is_rtp() && media.keying() != Keying::EndToEnd;
    Sdp::parse(said.as_bytes()).is_ok_and(|sdp| sdp.media().iter().any(ours))
}

/// Returns true where the endpoints agree on keys between them, and may need their own ways to each other.
fn ends_at_the_phones(sdp: &Sdp<'_>) -> bool {
    let mut media = sdp.media().iter();
    media.any(|media| media.keying() == Keying::EndToEnd)
}

/// Returns true where two descriptions hold and refuse the same streams.
pub(crate) fn same_directions(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (Sdp::parse(one.as_bytes()), Sdp::parse(other.as_bytes())) else {
        return true;
    };
    let mut both = one.media().iter().zip(other.media());
    both.all(|(one, other)| {
        (one.port == 0) == (other.port == 0) && one.direction == other.direction
    })
}

/// The same for who talks so: streams that it refuses, or does not have, are all one to it, and where it holds by
/// itself so is what the other side would say.
pub(crate) fn same_directions_for(own: &Talk, one: &str, other: &str) -> bool {
    let said = own.said.as_deref().unwrap_or_default();
    let parsed = [said, one, other].map(|text| Sdp::parse(text.as_bytes()));
    let [Ok(said), Ok(one), Ok(other)] = parsed else {
        return true;
    };
    let both = one.media().iter().zip(other.media());
    let mut streams = said.media().iter().zip(both).enumerate();
    streams.all(|(at, (said, (one, other)))| {
        let wish = own.wishes.get(at).copied().unwrap_or_default();
        let does = |told: &Media<'_>| {
            let told = told.direction;
            (
                wish.sends() && told.receives(),
                wish.receives() && told.sends(),
            )
        };
        let gone = (one.port == 0, other.port == 0);
        said.port == 0 || gone.0 == gone.1 && does(one) == does(other)
    })
}

/// Returns true where a description lets its reader send or hear what the one before did not; of a reader that has
/// said `own`, what it would do of that, with the streams that stood before.
pub(crate) fn opens(own: Option<&str>, before: &str, now: &str) -> bool {
    let (Ok(before), Ok(now)) = (Sdp::parse(before.as_bytes()), Sdp::parse(now.as_bytes())) else {
        return false;
    };
    let own = own.map(|own| Sdp::parse(own.as_bytes()));
    let wish = |at: usize| match &own {
        None => Some(Direction::SendRecv),
        Some(own) => {
            let media = own.as_ref().ok()?.media().get(at)?;
            (media.port != 0).then_some(media.does())
        }
    };
    let mut both = before.media().iter().zip(now.media()).enumerate();
    both.any(|(at, (before, now))| {
        let (was, is) = (before.direction, now.direction);
        let Some(wish) = wish(at).filter(|_| now.port != 0) else {
            return false;
        };
        let heard = is.sends() && !was.sends() && wish.receives();
        // What it would send while it holds by itself is not missed.
        let said = is.receives() && !was.receives() && wish == Direction::SendRecv;
        heard || said || before.port == 0 && own.is_none()
    })
}

/// Returns what the relay must know of a side's streams, by what it said, by its talk with us and by what the other
/// side said.
pub(crate) fn streams(said: &str, talk: &Talk, other: Option<&str>) -> Vec<StreamSettings> {
    let Ok(mut sdp) = Sdp::parse(said.as_bytes()) else {
        return Vec::new();
    };
    if let Some(named) = &talk.named {
        named.locate(&mut sdp);
    }
    let keys = &talk.keys;
    let told = talk.told.as_deref();
    let told = told.and_then(|told| Sdp::parse(told.as_bytes()).ok());
    let other = other.and_then(|other| Sdp::parse(other.as_bytes()).ok());
    // RFC 5761 5.1.1: who offered it and was not answered with it sends and awaits RTCP by itself. Fax has none.
    let is_muxed = |at: usize, said: &Media<'_>| {
        let told = told.as_ref().and_then(|told| told.media().get(at));
        said.is_fax() || said.rtcp_mux && told.is_none_or(|told| told.rtcp_mux)
    };
    let is_told_to_speak = |at: usize| {
        let told = told.as_ref().and_then(|told| told.media().get(at));
        told.is_some_and(|told| told.direction == Direction::RecvOnly)
    };
    // RFC 8643 3: who names a fingerprint beside plain RTP and hears of none has plain RTP.
    let is_sealed = |at: usize| {
        let told = told.as_ref().and_then(|told| told.media().get(at));
        told.is_none_or(|told| told.port == 0 || told.keying() == Keying::EndToEnd)
    };
    let more = talk.more.as_deref();
    let more = more.and_then(|more| Sdp::parse(more.as_bytes()).ok());
    let formats = |at: usize, said: &Media<'_>| {
        let more = more.as_ref().and_then(|more| more.media().get(at));
        let told = told.as_ref().and_then(|told| told.media().get(at));
        Formats::of(said, more, told)
    };
    // An answer of another transport than its offer's: nothing runs by it.
    let fits = |at: usize, said: &Media<'_>| {
        let other = other.as_ref().and_then(|other| other.media().get(at));
        other.is_none_or(|other| other.port == 0 || other.is_carried_as(said))
    };
    let wanted = |at: usize| {
        other
            .as_ref()
            .and_then(|other| other.media().get(at))
            .is_none_or(|media| media.port != 0 && media.does().receives())
    };
    sdp.media()
        .iter()
        .enumerate()
        .map(|(at, media)| (at, media, formats(at, media)))
        .map(|(at, media, formats)| StreamSettings {
            active: media.port != 0
                && media.is_datagrams()
                && fits(at, media)
                && !keys.bars(at, media),
            rtp: media
                .address
                .filter(|ip| media.port != 0 && !ip.is_unspecified())
                .map(|ip| SocketAddr::new(ip, media.port)),
            rtcp: media.rtcp_address(is_muxed(at, media)),
            rtcp_mux: is_muxed(at, media),
            voice: match media.direction {
                // A fax machine has nothing to say while it listens.
                _ if media.is_fax() || media.is_old_hold() || !wanted(at) => Voice::None,
                Direction::SendRecv => Voice::Due,
                // Who says so by itself holds the other side, and may play music or nothing.
                Direction::SendOnly if talk.asked && is_told_to_speak(at) => Voice::Due,
                Direction::SendOnly => Voice::Perhaps,
                Direction::RecvOnly | Direction::Inactive => Voice::None,
            },
            receives: media.does().receives(),
            video: media.kind == Kind::Video,
            inside: match media.keying() {
                _ if media.is_fax() => Inside::Fax,
                Keying::EndToEnd if is_sealed(at) => Inside::Sealed,
                Keying::None | Keying::Sdes | Keying::EndToEnd => Inside::Rtp,
            },
            srtp: keys.keys(at, media),
            formats: formats.said,
            besides: formats.besides,
            told: formats.told,
            ptime: media.ptime.unwrap_or(20),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mint::Mint;
    use crate::engine::settings::Srtp;

    /// A session with one stream of sound.
    fn said(address: &str, port: u16, direction: &str) -> String {
        format!(
            "v=0\r\no=- 7 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\n{direction}"
        )
    }

    #[test]
    fn silence_is_watched_only_where_a_voice_is_due() {
        const HERE: &str = "198.51.100.1";
        const ANY: &str = "0.0.0.0";
        // What the side says: address, port, direction; what the other says, if it has said anything;
        // whether the stream runs, what the side's silence tells, whether it is sent to.
        let cases = [
            (HERE, 4000, "sendrecv", None, (true, Voice::Due, true)),
            (HERE, 4000, "", None, (true, Voice::Due, true)),
            (HERE, 4000, "sendonly", None, (true, Voice::Perhaps, false)),
            (HERE, 4000, "recvonly", None, (true, Voice::None, true)),
            (HERE, 4000, "inactive", None, (true, Voice::None, false)),
            (ANY, 4000, "sendrecv", None, (true, Voice::None, false)),
            (
                HERE,
                4000,
                "sendrecv",
                Some((HERE, 4000, "sendrecv")),
                (true, Voice::Due, true),
            ),
            (
                HERE,
                4000,
                "sendrecv",
                Some((HERE, 4000, "recvonly")),
                (true, Voice::Due, true),
            ),
            (
                HERE,
                4000,
                "sendrecv",
                Some((HERE, 4000, "sendonly")),
                (true, Voice::None, true),
            ),
            (
                HERE,
                4000,
                "sendrecv",
                Some((HERE, 4000, "inactive")),
                (true, Voice::None, true),
            ),
            (
                HERE,
                4000,
                "sendrecv",
                Some((HERE, 0, "sendrecv")),
                (true, Voice::None, true),
            ),
            (
                HERE,
                4000,
                "recvonly",
                Some((HERE, 4000, "sendonly")),
                (true, Voice::None, true),
            ),
            (
                HERE,
                4000,
                "sendonly",
                Some((HERE, 4000, "recvonly")),
                (true, Voice::Perhaps, false),
            ),
            (
                HERE,
                4000,
                "sendonly",
                Some((HERE, 4000, "sendonly")),
                (true, Voice::None, false),
            ),
        ];
        for (address, port, direction, other, expected) in cases {
            let line = |direction: &str| match direction {
                "" => String::new(),
                direction => format!("a={direction}\r\n"),
            };
            let other_said =
                other.map(|(address, port, direction)| said(address, port, &line(direction)));
            let streams = streams(
                &said(address, port, &line(direction)),
                &Talk::default(),
                other_said.as_deref(),
            );
            let [stream] = &streams[..] else {
                panic!("{streams:?}");
            };
            assert_eq!(
                (stream.active, stream.voice, stream.receives),
                expected,
                "{address} {port} {direction:?}, other {other:?}"
            );
            let place = (address == HERE).then(|| SocketAddr::new(HERE.parse().unwrap(), port));
            assert_eq!(stream.rtp, place);
        }
    }

    #[test]
    fn who_was_asked_to_speak_alone_is_due_and_who_holds_is_not() {
        // Whether it was offered a session, or had an answer; what that said.
        for (asked, told, voice) in [
            (true, "recvonly", Voice::Due),
            (true, "sendrecv", Voice::Perhaps),
            (false, "recvonly", Voice::Perhaps),
        ] {
            let text = |direction: &str| said("198.51.100.1", 4000, &format!("a={direction}\r\n"));
            let talk = Talk {
                asked,
                told: Some(text(told).into()),
                ..Talk::default()
            };
            let streams = streams(&text("sendonly"), &talk, Some(&text(told)));
            assert_eq!(streams[0].voice, voice, "{asked} {told}");
        }
    }

    #[test]
    fn a_rejected_stream_and_one_of_text_carry_nothing() {
        let rejected = said("198.51.100.1", 0, "a=sendrecv\r\n");
        let stream = &streams(&rejected, &Talk::default(), None)[0];
        assert_eq!((stream.active, stream.rtp), (false, None));
        let text = rejected.replace("audio 0 RTP/AVP 0", "message 5060 sip null");
        assert!(!streams(&text, &Talk::default(), None)[0].active);
        let none = streams("not a description", &Talk::default(), None);
        assert_eq!(none, []);
    }

    /// RFC 5761 5.1.1, RFC 3605 2.1.
    #[test]
    fn rtcp_goes_with_rtp_where_both_ends_said_so() {
        const MUX: &str = "a=rtcp-mux\r\n";
        const BOTH: &str = "a=rtcp-mux\r\na=rtcp:4009\r\n";
        let ours = |lines: &str| said("192.0.2.1", 20_000, lines);
        for (lines, told, muxed, port) in [
            ("", None, false, 4001),
            ("", Some(""), false, 4001),
            ("a=rtcp:4009\r\n", Some(""), false, 4009),
            ("", Some(MUX), false, 4001),
            (MUX, None, true, 4000),
            (MUX, Some(MUX), true, 4000),
            (MUX, Some(""), false, 4001),
            (BOTH, Some(MUX), true, 4000),
            (BOTH, Some(""), false, 4009),
        ] {
            let told = told.map(ours);
            let said = said("198.51.100.1", 4000, lines);
            let talk = Talk {
                told: told.clone().map(String::into_boxed_str),
                ..Talk::default()
            };
            let streams = streams(&said, &talk, None);
            let rtcp = streams[0].rtcp.unwrap().port();
            assert_eq!(
                (streams[0].rtcp_mux, rtcp),
                (muxed, port),
                "{lines:?} {told:?}"
            );
        }
    }

    #[test]
    fn an_equal_text_keeps_its_version() {
        let mut talk = Talk {
            session: 7,
            version: 3,
            ..Talk::default()
        };
        let ports = Ports {
            addresses: vec!["192.0.2.1:20000".parse().unwrap()],
            ..Ports::default()
        };
        let mut mint = Mint::new([1; 32]);
        let mut version = |said: String| {
            let us = "192.0.2.1:5060".parse().unwrap();
            let mut telling = Telling {
                role: Role::Offer,
                srtp: Srtp::Optional,
                secure: None,
                room: Streams::ALL,
                mint: &mut mint,
            };
            let told = tell(&mut talk, &said, &ports, us, MediaMode::Relay, &mut telling).unwrap();
            let origin = told.lines().find(|line| line.starts_with("o=")).unwrap();
            origin.split(' ').nth(2).unwrap().to_owned()
        };
        let call = said("198.51.100.1", 4000, "");
        let hold = said("198.51.100.1", 4000, "a=sendonly\r\n");
        assert_eq!(version(call.clone()), "3");
        // Where the phone is does not show, and so changes nothing.
        assert_eq!(version(said("198.51.100.9", 5000, "")), "3");
        assert_eq!(version(hold.clone()), "4");
        assert_eq!(version(hold), "4");
        assert_eq!(version(call), "5");
    }
}
