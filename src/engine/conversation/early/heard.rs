//! Whom the caller hears of those that ring. To the caller all of them have one address of ours, and it plays one at a
//! time (RFC 3960 3.1): who speaks first is heard, until it ends, or pauses while another one sends. Of those that only
//! said that they would speak it is the first, until one does.

use std::net::IpAddr;

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::{BranchState, Fork};
use crate::engine::conversation::session::media::PortState;
use crate::engine::ids::{LegId, Side};
use crate::engine::ports::{Generation, MediaCommand, Other, StreamSettings};
use crate::engine::time::{Millis, Time};
/// Those that the relay listens for; a proxy beyond us may name any number.
const VOICES_MAX: usize = 32;
/// How long after another one follows what the relay tells may be of the one before.
const UNDER_WAY: Millis = Millis(500);

/// Those that may be heard before the answer.
#[derive(Debug, Default)]
pub(crate) struct Voices {
    known: Vec<Voice>,
    /// Whose early media the relay forwards.
    heard: Option<u32>,
    /// When that one took another's place.
    followed: Option<Time>,
    newest: u32,
}

/// Early media of one that rings, as the relay is to know of it.
#[derive(Debug)]
struct Voice {
    number: u32,
    leg: LegId,
    /// Whose it is behind the branch: its tag.
    far: Option<Box<str>>,
    generation: Generation,
    signalling: IpAddr,
    streams: Vec<StreamSettings>,
    /// Its early dialog is over, and that of another one behind the branch may not be.
    ended: bool,
}

impl Voices {
    /// Returns whose early media the relay forwards.
    pub(crate) fn heard(&self) -> Option<LegId> {
        self.heard.and_then(|number| self.leg_of(number))
    }

    /// The same, where what the relay tells at this moment is of nobody else.
    pub(crate) fn heard_for_sure(&self, now: Time) -> Option<LegId> {
        let just = self.followed.is_some_and(|at| now < at + UNDER_WAY);
        self.heard().filter(|_| !just)
    }

    /// All that is heard of a branch ends, or what is heard of one behind it.
    pub(super) fn end(&mut self, leg: LegId, tag: Option<&str>) {
        for voice in &mut self.known {
            let meant = tag.is_none_or(|tag| voice.far.as_deref() == Some(tag));
            voice.ended |= voice.leg == leg && meant;
        }
    }

    /// Returns true where it is known what this one sends.
    pub(super) fn has(&self, leg: LegId, tag: Option<&str>) -> bool {
        let mut known = self.known.iter();
        known.any(|voice| voice.leg == leg && voice.far.as_deref() == tag)
    }

    fn leg_of(&self, number: u32) -> Option<LegId> {
        let mut known = self.known.iter();
        known
            .find(|voice| voice.number == number)
            .map(|voice| voice.leg)
    }

    /// One says what it sends, anew or for the first time. Returns its number, unless there are too many.
    fn says(&mut self, voice: Voice) -> Option<u32> {
        let same = |known: &&mut Voice| known.leg == voice.leg && known.far == voice.far;
        if let Some(known) = self.known.iter_mut().find(same) {
            let number = known.number;
            *known = Voice { number, ..voice };
            return Some(number);
        }
        if self.known.len() >= VOICES_MAX {
            return None;
        }
        self.newest += 1;
        let number = self.newest;
        self.known.push(Voice { number, ..voice });
        Some(number)
    }

    /// Forgets those whose dialogs are gone. Returns true where there were such.
    fn forget(&mut self, fork: &Fork) -> bool {
        let before = self.known.len();
        self.known.retain(|voice| {
            let branch = fork.find(voice.leg).filter(|_| !voice.ended);
            branch.is_some_and(|branch| {
                // One that is called again has no dialog yet.
                let rings = voice.far.is_none() || branch.leg.dialog.remote_tag.is_some();
                rings && branch.state == BranchState::Calling
            })
        });
        self.known.len() != before
    }

    /// Returns who else may send to the ports of the one that is heard.
    fn others(&self) -> Vec<Other> {
        let heard = |voice: &&Voice| Some(voice.number) == self.heard;
        let ports = self.known.iter().find(heard).map(|voice| voice.generation);
        let others = self.known.iter();
        others
            .filter(|voice| !heard(voice) && Some(voice.generation) == ports)
            .map(|voice| Other {
                number: voice.number,
                signalling: voice.signalling,
                rtp: voice.streams.iter().map(|stream| stream.rtp).collect(),
            })
            .collect()
    }
}

impl Conversation {
    /// One that has not answered yet says what it sends: the relay forwards it where nobody is heard, and else listens
    /// for it.
    pub(super) fn configure_branch(&mut self, context: &mut Context<'_>, leg: LegId, said: &str) {
        let Some(number) = self.voice_of(context, leg, said) else {
            return;
        };
        let invitation = self.invitation.as_deref();
        let heard = invitation.and_then(|first| first.voices.heard);
        if heard.is_none_or(|heard| heard == number) {
            self.hear(context, number);
        } else {
            self.overhear(context);
        }
    }

    /// Remembers what one sends that has not answered yet. Returns its number, unless there are too many.
    pub(super) fn voice_of(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        said: &str,
    ) -> Option<u32> {
        let invitation = self.invitation.as_deref_mut()?;
        let branch = invitation.fork.find(leg)?;
        let ports = self.ports[Side::Callee.index()].of(branch.generation);
        if ports.state != PortState::Open {
            return None;
        }
        let caller = self.parties[Side::Caller.index()].talk();
        let offered = caller.and_then(|talk| talk.said.as_deref());
        let (streams, barred) = context.streams_of(&branch.leg, (said, &branch.leg.talk), offered);
        let peer = branch.leg.dialog.flow.peer;
        let number = invitation.voices.says(Voice {
            number: 0,
            leg,
            far: branch.leg.dialog.remote_tag.clone(),
            generation: ports.generation,
            signalling: peer.ip(),
            streams,
            ended: false,
        });
        self.tell_barred(context, (Side::Callee, leg), peer, barred);
        number
    }

    /// The relay forwards the early media of this one.
    fn hear(&mut self, context: &mut Context<'_>, number: u32) {
        let media = self.id;
        let Some(invitation) = self.invitation.as_deref_mut() else {
            return;
        };
        let voices = &mut invitation.voices;
        let Some(voice) = voices.known.iter().find(|voice| voice.number == number) else {
            return;
        };
        voices.heard = Some(number);
        let command = MediaCommand::Configure {
            media,
            side: Side::Callee,
            generation: voice.generation,
            signalling: voice.signalling,
            streams: voice.streams.clone(),
        };
        let alone = voices.others().is_empty();
        self.media(context, command);
        if !alone {
            self.overhear(context);
        }
    }

    /// The same in the place of another one.
    fn hear_instead(&mut self, context: &mut Context<'_>, number: u32) {
        if let Some(invitation) = self.invitation.as_deref_mut() {
            invitation.voices.followed = Some(context.now);
        }
        self.hear(context, number);
    }

    /// Tells the relay who else may send.
    fn overhear(&mut self, context: &mut Context<'_>) {
        let Some(invitation) = self.invitation.as_deref() else {
            return;
        };
        let command = MediaCommand::Overhear {
            media: self.id,
            side: Side::Callee,
            others: invitation.voices.others(),
        };
        self.media(context, command);
    }

    /// One of those sends, and who is heard does not.
    pub(crate) fn overheard(&mut self, context: &mut Context<'_>, number: u32) {
        let voices = self.invitation.as_deref().map(|first| &first.voices);
        let voices = voices.filter(|voices| voices.heard != Some(number));
        let leg = voices.and_then(|voices| voices.leg_of(number));
        if leg.is_some_and(|leg| self.may_be_heard(leg)) {
            self.hear_instead(context, number);
        }
    }

    /// Who was heard may be gone: another one that rings is heard then. If it does not send, whoever does is next.
    pub(crate) fn hear_on(&mut self, context: &mut Context<'_>) {
        let Some(invitation) = self.invitation.as_deref_mut() else {
            return;
        };
        let voices = &mut invitation.voices;
        let gone = voices.forget(&invitation.fork);
        match (voices.heard(), gone) {
            (Some(_), true) => return self.overhear(context),
            (Some(_), false) => return,
            (None, _) => {}
        }
        voices.heard = None;
        let left: Vec<(LegId, u32)> = voices
            .known
            .iter()
            .map(|voice| (voice.leg, voice.number))
            .collect();
        let mut left = left.into_iter();
        if let Some((_, number)) = left.find(|(leg, _)| self.may_be_heard(*leg)) {
            self.hear_instead(context, number);
        }
    }
}
