//! Where the media of each side runs, and how a session description is told to the other side.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::leg::Talk;
use crate::engine::ids::Side;
use crate::engine::ports::{Generation, MediaCommand, MediaId, PayloadFormat, StreamSettings};
use crate::engine::settings::MediaMode;
use crate::sip::sdp::{Direction, Kind, Media, Place, Rewrite, Sdp};

/// The relay's ports on one side.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) generation: Generation,
    pub(crate) state: PortState,
    /// By stream; empty until they are open.
    pub(crate) addresses: Vec<SocketAddr>,
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
        toward: IpAddr,
    ) -> MediaCommand {
        self.state = PortState::Opening;
        MediaCommand::Open {
            media,
            side,
            generation: self.generation,
            streams,
            toward,
            again: Vec::new(),
        }
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
            toward,
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

    pub(crate) fn opened(&mut self, result: Option<Vec<SocketAddr>>) {
        self.state = match result {
            Some(addresses) => {
                self.addresses = addresses;
                PortState::Open
            }
            None => PortState::Failed,
        };
    }
}

/// Returns how many streams of an offer the relay carries: up to its last RTP section. An INVITE
/// without an offer gets room for audio and video.
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
        .rposition(|media| media.is_rtp())
        .map_or(0, |last| last + 1)
}

/// Returns true where a session carries text only.
pub(crate) fn is_text_only(offer: &str) -> bool {
    Sdp::parse(offer.as_bytes()).is_ok_and(|sdp| {
        !sdp.media().is_empty() && sdp.media().iter().all(|media| media.kind == Kind::Message)
    })
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
) -> Option<Box<str>> {
    let sdp = Sdp::parse(said.as_bytes()).ok()?;
    let relayed = mode == MediaMode::Relay;
    let places: Vec<Place> = sdp
        .media()
        .iter()
        .enumerate()
        .map(|(at, media)| {
            if media.port == 0 {
                Place::Keep
            } else if media.is_sip_message() {
                Place::At(signalling)
            } else if relayed && media.is_rtp() {
                ports
                    .addresses
                    .get(at)
                    .map_or(Place::Rejected, |rtp| Place::At(*rtp))
            } else {
                Place::Keep
            }
        })
        .collect();
    let address = ports
        .addresses
        .first()
        .map_or_else(|| signalling.ip(), SocketAddr::ip);
    let write = |version| {
        let bytes = sdp.rewrite(&Rewrite {
            session: talk.session,
            version,
            address,
            keep_session_address: !relayed,
            places: &places,
            drop_ice: relayed && !sdp.media().iter().any(|media| media.is_secure()),
        });
        String::from_utf8(bytes).ok().map(String::into_boxed_str)
    };
    let same = write(talk.version)?;
    let Some(told) = &talk.told else {
        talk.told = Some(same.clone());
        return Some(same);
    };
    if *told == same {
        return Some(same);
    }
    talk.version += 1;
    let changed = write(talk.version)?;
    talk.told = Some(changed.clone());
    Some(changed)
}

/// Returns true where two descriptions hold and refuse the same streams.
pub(crate) fn same_directions(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (Sdp::parse(one.as_bytes()), Sdp::parse(other.as_bytes())) else {
        return true;
    };
    one.media().iter().zip(other.media()).all(|(one, other)| {
        (one.port == 0) == (other.port == 0) && one.direction == other.direction
    })
}

/// RFC 2543 put a stream on hold by the address 0.0.0.0 (RFC 3264 8.4).
fn is_old_hold(media: &Media<'_>) -> bool {
    media.address.is_some_and(|ip| ip.is_unspecified())
}

/// Returns what the relay must know of a side's streams, by what it and the other side said.
pub(crate) fn streams(said: &str, other: Option<&str>) -> Vec<StreamSettings> {
    let Ok(sdp) = Sdp::parse(said.as_bytes()) else {
        return Vec::new();
    };
    let other = other.and_then(|other| Sdp::parse(other.as_bytes()).ok());
    let wanted = |at: usize| {
        other
            .as_ref()
            .and_then(|other| other.media().get(at))
            .is_none_or(|media| {
                media.port != 0 && media.direction.receives() && !is_old_hold(media)
            })
    };
    sdp.media()
        .iter()
        .enumerate()
        .map(|(at, media)| StreamSettings {
            active: media.port != 0 && media.is_rtp(),
            rtp: media
                .address
                .filter(|ip| media.port != 0 && !ip.is_unspecified())
                .map(|ip| SocketAddr::new(ip, media.port)),
            rtcp: media.rtcp_address(),
            rtcp_mux: media.rtcp_mux,
            // A phone that holds may play music or nothing: its silence says nothing.
            sends: media.direction == Direction::SendRecv && !is_old_hold(media) && wanted(at),
            receives: media.direction.receives() && !is_old_hold(media),
            video: media.kind == Kind::Video,
            opaque: media.is_secure(),
            formats: media
                .payloads()
                .map(|payload| PayloadFormat {
                    number: payload.number,
                    name: payload.name.to_ascii_uppercase().into(),
                    clock: payload.clock,
                })
                .collect(),
            ptime: media.ptime.unwrap_or(20),
        })
        .collect()
}
