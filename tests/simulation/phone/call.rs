//! One call or session of a phone: its dialog and where it stands.

use std::collections::VecDeque;

use bytes::Bytes;
use refork::engine::time::Time;
use refork::sip::{Address, Message, Method, Name};

use super::reliable::Reliable;
use super::session::Session;
use super::timer::Timer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Our INVITE is out.
    Calling,
    /// An INVITE came; when it is told that it rings, answered, given up.
    Ringing {
        ring: Option<Time>,
        answer: Option<Time>,
        give_up: Time,
    },
    /// Our 2xx is out, its ACK has not come.
    Answered,
    Live,
    /// Our BYE is out.
    Ending,
}

pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) stage: Stage,
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: Option<String>,
    /// Our From and the far end's To, without tags.
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) target: String,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: u32,
    pub(crate) session: Session,
    /// Branch of the INVITE that began it.
    pub(crate) branch: String,
    /// The ACK of our last INVITE and its number.
    pub(crate) ack: Option<(u32, Bytes)>,
    /// Texts that wait for the one under way.
    pub(crate) texts: VecDeque<String>,
    pub(crate) texting: bool,
    /// A re-INVITE of ours is under way, or is to be tried again.
    pub(crate) changing: bool,
    pub(crate) change_at: Option<Time>,
    /// Our provisional response that wants a PRACK.
    pub(crate) reliable: Option<Reliable>,
    /// The answer that it has given as it rang, unreliably: its 2xx says the same (RFC 3261 13.2.1).
    pub(crate) early: Option<String>,
    /// Those of the far end that had theirs: tag and RSeq.
    pub(crate) pracked: Vec<(String, String)>,
    pub(crate) timer: Option<Timer>,
    /// The call that this one takes the place of.
    pub(crate) replaces: Option<u64>,
}

impl Call {
    /// Makes a call that is to be begun, from nobody and to nobody yet.
    pub(super) fn new(id: u64, call_id: String, local_tag: String, session: Session) -> Self {
        Self {
            id,
            stage: Stage::Calling,
            call_id,
            local_tag,
            remote_tag: None,
            local: String::new(),
            remote: String::new(),
            target: String::new(),
            local_cseq: 0,
            remote_cseq: 0,
            session,
            branch: String::new(),
            ack: None,
            texts: Default::default(),
            texting: false,
            changing: false,
            change_at: None,
            reliable: None,
            early: None,
            pracked: Vec::new(),
            timer: None,
            replaces: None,
        }
    }

    /// Returns true where a dialog stands.
    pub(crate) fn stands(&self) -> bool {
        matches!(self.stage, Stage::Answered | Stage::Live)
    }

    /// Returns true where its media may flow though nobody has answered: a description has been answered early.
    pub(super) fn is_early(&self) -> bool {
        match self.stage {
            Stage::Calling => true,
            Stage::Ringing { .. } => {
                self.early.is_some() || self.reliable.is_some_and(|it| it.answers)
            }
            Stage::Answered | Stage::Live | Stage::Ending => false,
        }
    }

    pub(crate) fn owns(&self, request: &Message) -> bool {
        self.call_id == request.call_id()
            && request.to_tag() == Some(&self.local_tag)
            && self.remote_tag.as_deref() == request.from_tag()
    }

    /// Returns true where a request meets one of its own that is open, also the INVITE by which it has called: an INVITE
    /// meets each (RFC 3261 14.2), an UPDATE with an offer one that has no answer yet, and without one none (RFC 3311 5.2).
    pub(crate) fn is_in_glare(&self, request: &Message) -> bool {
        let calling = self.stage == Stage::Calling;
        let unanswered = calling && !self.session.is_agreed();
        if *request.method() == Method::Invite {
            return self.changing || calling;
        }
        (self.changing || unanswered) && !request.body().is_empty()
    }

    /// Takes the far end's Contact.
    pub(crate) fn retarget(&mut self, message: &Message) {
        if let Some(contact) = message.values(Name::Contact).next()
            && let Ok(contact) = Address::parse(contact)
        {
            self.target = contact.uri.to_owned();
        }
    }

    pub(crate) fn next(&self) -> Option<Time> {
        let ringing = match self.stage {
            Stage::Ringing {
                ring,
                answer,
                give_up,
            } => [ring, answer, Some(give_up)].into_iter().flatten().min(),
            Stage::Calling | Stage::Answered | Stage::Live | Stage::Ending => None,
        };
        let timer = self.timer.map(|timer| timer.at);
        [ringing, self.change_at, timer].into_iter().flatten().min()
    }
}
