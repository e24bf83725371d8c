//! Streams that were refused (RFC 3264 6): their ports are given back, for they may never be wanted again. An
//! offer that brings such a stream back waits for ports as any that has more streams (`grow`).

use super::media::{PortState, Ports};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::dialog::Negotiation;
use crate::engine::ids::Side;
use crate::engine::ports::MediaCommand;
use crate::engine::settings::MediaMode;
use crate::sip::sdp::{self, Media, Sdp};

/// Which streams of a session, by their place: the first 32, which are more than the relay carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams(u32);

impl Streams {
    pub(super) const ALL: Self = Self(u32::MAX);

    /// Returns the first so many.
    pub(super) fn first(count: usize) -> Self {
        (0..count).collect()
    }

    pub(super) fn has(self, at: usize) -> bool {
        u32::try_from(at)
            .ok()
            .and_then(|at| self.0.checked_shr(at))
            .is_some_and(|bits| bits & 1 == 1)
    }

    /// Returns how many there are up to the last of these.
    pub(super) fn count(self) -> usize {
        (u32::BITS - self.0.leading_zeros()) as usize
    }
}

impl FromIterator<usize> for Streams {
    fn from_iter<I: IntoIterator<Item = usize>>(streams: I) -> Self {
        let bit = |at: usize| u32::try_from(at).ok().and_then(|at| 1u32.checked_shl(at));
        Self(
            streams
                .into_iter()
                .filter_map(bit)
                .fold(0, |all, bit| all | bit),
        )
    }
}

impl Ports {
    /// Returns for which streams there are ports, toward whoever is called.
    pub(crate) fn room(&self) -> Streams {
        let sets = || self.others.iter().chain([self]);
        let longest = sets().map(|set| set.addresses.len()).max().unwrap_or(0);
        let open = |at: &usize| sets().any(|set| set.at(*at).is_some());
        (0..longest).filter(open).collect()
    }
}

impl Conversation {
    /// Gives back the ports of streams that are refused, once no offer is open that may bring them back.
    pub(crate) fn shrink(&mut self, context: &mut Context<'_>) {
        let settled = self.answered.is_some()
            && self.ended.is_none()
            && self.invitation.is_none()
            && self.growing.is_none()
            && self.giving.is_none()
            && self.parties.iter().all(|party| {
                let idle =
                    |leg: &Leg| leg.negotiation == Negotiation::Idle && !leg.lent && !leg.misled;
                party.lost.is_none() && party.leg.as_ref().is_some_and(idle)
            });
        if !settled || context.shared.settings.media.mode != MediaMode::Relay {
            return;
        }
        for side in [Side::Caller, Side::Callee] {
            let ports = &self.ports[side.index()];
            let talk = self.party(side).talk();
            let Some(talk) = talk.filter(|_| ports.state == PortState::Open) else {
                continue;
            };
            let Some(running) = talk.running() else {
                continue;
            };
            let over = |at: &usize| ports.at(*at).is_some() && !running.has(*at);
            let streams: Vec<usize> = (0..ports.addresses.len()).filter(over).collect();
            if streams.is_empty() {
                continue;
            }
            let (media, ports) = (self.id, &mut self.ports[side.index()]);
            for at in &streams {
                ports.addresses[*at].set_port(0);
            }
            let command = MediaCommand::CloseStreams {
                media,
                side,
                generation: ports.generation,
                streams,
            };
            self.media(context, command);
            self.persist(context);
        }
    }
}

impl Talk {
    /// Returns the streams that both ends want; none where one of them has said nothing yet.
    fn running(&self) -> Option<Streams> {
        let (told, said) = (self.told.as_deref()?, self.said.as_deref()?);
        let told = Sdp::parse(told.as_bytes()).ok()?;
        let said = Sdp::parse(said.as_bytes()).ok()?;
        let both = told.media().iter().zip(said.media()).enumerate();
        let running = both.filter(|(_, (told, said))| {
            told.port != 0 && said.port != 0 && told.is_carried_as(said)
        });
        Some(running.map(|(at, _)| at).collect())
    }

    /// Returns true where both ends want a stream of RTP.
    pub(super) fn runs_by_rtp(&self) -> bool {
        let both = [self.told.as_deref(), self.said.as_deref()].map(|text| {
            let sdp = Sdp::parse(text.unwrap_or("").as_bytes()).ok()?;
            let runs = |media: &Media<'_>| media.port != 0 && media.is_rtp();
            Some(sdp.media().iter().map(runs).collect::<Vec<bool>>())
        });
        let [Some(told), Some(said)] = both else {
            return false;
        };
        told.into_iter().zip(said).any(|(told, said)| told && said)
    }

    /// Returns what stands of what the endpoint was told last: without the streams that it refused, whose
    /// ports may be another call's by now.
    pub(crate) fn standing(&self) -> Option<Box<str>> {
        let told = self.told.as_deref()?;
        let said = self.said.as_deref().unwrap_or("");
        let rest = sdp::without_refused(told.as_bytes(), said.as_bytes());
        let rest = rest.and_then(|rest| String::from_utf8(rest).ok());
        Some(rest.map_or_else(|| told.into(), String::into_boxed_str))
    }

    /// Tells the endpoint what stands once more, of its own accord or ours: under a new version where that
    /// reads otherwise than what it was told last (RFC 3264 8).
    pub(crate) fn tell_standing(&mut self) -> Option<Box<str>> {
        let standing = self.standing()?;
        if self.told.as_ref() == Some(&standing) {
            return Some(standing);
        }
        let version = self.next_version();
        let anew = Sdp::parse(standing.as_bytes()).ok()?.with_version(version);
        let anew: Box<str> = String::from_utf8(anew).ok()?.into();
        (self.version, self.told) = (version, Some(anew.clone()));
        Some(anew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_known_by_their_place() {
        let some: Streams = [0, 3, 31, 32, 400].into_iter().collect();
        let seen: Vec<usize> = (0..500).filter(|at| some.has(*at)).collect();
        assert_eq!(seen, [0, 3, 31]);
        assert_eq!((some.count(), Streams::default().count()), (32, 0));
        assert_eq!(Streams::first(2), [0, 1].into_iter().collect());
        assert!(Streams::ALL.has(31) && !Streams::ALL.has(32));
    }

    #[test]
    fn what_stands_is_told_under_a_new_version_once() {
        let text = |version: u64, video: u16| -> Box<str> {
            format!(
                "v=0\r\no=- 7 {version} IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                 m=audio 20000 RTP/AVP 0\r\nm=video {video} RTP/AVP 96\r\n"
            )
            .into()
        };
        let mut talk = Talk {
            session: 7,
            version: 3,
            told: Some(text(3, 20_002)),
            said: Some(text(1, 4002)),
            ..Talk::default()
        };
        assert_eq!(talk.tell_standing(), Some(text(3, 20_002)));
        talk.said = Some(text(1, 0));
        for _ in 0..2 {
            assert_eq!(talk.tell_standing(), Some(text(4, 0)));
        }
    }
}
