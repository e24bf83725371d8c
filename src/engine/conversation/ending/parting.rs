//! A BYE that must wait (RFC 3261 15): whoever called has our 2xx, and we do not have its ACK. The conversation
//! is over; what is left of it is this one dialog.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::engine::conversation::context::{Context, What, end_with};
use crate::engine::conversation::leg::{Leg, Unacknowledged};
use crate::engine::conversation::restoring::reach::other_flows;
use crate::engine::dialog::{Do, HOPS, Happens};
use crate::engine::ids::{Aor, ConversationId};
use crate::engine::mint::tag_key;
use crate::engine::transaction::ServerId;
use crate::sip::{Builder, Message, Method, Name};

/// Dialogs that wait at a time; the BYE of one more goes out at once.
const PARTINGS_MAX: usize = 10_000;

/// What a BYE carries.
pub(crate) struct Bye {
    lines: Vec<u8>,
    content_type: Option<Box<str>>,
    body: Bytes,
}

impl Bye {
    /// For a reason (RFC 3326).
    pub(crate) fn because(reason: Option<&str>) -> Self {
        let line = |reason| format!("{}: {reason}\r\n", Name::Reason.as_str()).into_bytes();
        Self {
            lines: reason.map(line).unwrap_or_default(),
            content_type: None,
            body: Bytes::new(),
        }
    }

    /// As the other side said it, with the lines of its own that cross.
    pub(crate) fn like(request: &Message, lines: Vec<u8>) -> Self {
        Self {
            lines,
            content_type: request.content_type().map(Into::into),
            body: Bytes::copy_from_slice(request.body()),
        }
    }
}

/// The dialogs that wait, by the number in our tag.
#[derive(Default)]
pub(crate) struct Partings(BTreeMap<u64, Parting>);

struct Parting {
    id: ConversationId,
    leg: Leg,
    whose: Aor,
    waiting: Unacknowledged,
    bye: Bye,
}

impl Partings {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Leg {
    /// Ends the dialog with a phone of somebody, which may have other flows: by a BYE now, or once the ACK is here.
    pub(crate) fn part(
        mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        whose: Aor,
        bye: Bye,
    ) {
        context.forget_tag(&self.dialog.local_tag);
        let room = context.shared.partings.len() < PARTINGS_MAX;
        let waiting = self.unacknowledged.take().filter(|_| room);
        self.leave(context);
        let key = tag_key(&self.dialog.local_tag);
        match (self.life.take(Happens::Leave), waiting, key) {
            (Do::ByeAfterAck, Some(waiting), Some(key)) => {
                // A restart forgets whose ACK it waits for, and says it at once.
                context.has_said_farewell(id, whose.clone(), self.clone());
                let parting = Parting {
                    id,
                    leg: self,
                    whose,
                    waiting,
                    bye,
                };
                context.shared.partings.0.insert(key, parting);
            }
            (Do::Bye | Do::ByeAfterAck, ..) => {
                self.say(context, id, &whose, bye);
                context.has_said_farewell(id, whose, self);
            }
            (
                Do::Nothing
                | Do::Ring
                | Do::Begin
                | Do::AckAgain
                | Do::AckAndBye
                | Do::Lose
                | Do::Ask
                | Do::Cancel
                | Do::Reject
                | Do::End,
                ..,
            ) => {}
        }
    }

    /// The BYE goes to every place at which its phone may be, and over another flow of it where one fails.
    pub(crate) fn farewell(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        whose: &Aor,
        finish: impl Fn(Builder) -> Bytes,
    ) {
        self.says_farewell(context, id, whose, &finish);
        if self.may_be_elsewhere() {
            self.changes_places();
            self.says_farewell(context, id, whose, &finish);
            self.changes_places();
        }
    }

    fn says_farewell(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        whose: &Aor,
        finish: impl FnOnce(Builder) -> Bytes,
    ) {
        let others = other_flows(context, whose, self);
        let course = context.course(&self.dialog);
        let course = course.or_over(others);
        let bye = (&Method::Bye, HOPS);
        self.request_on(context, id, bye, What::Farewell, course, finish);
    }

    fn say(&mut self, context: &mut Context<'_>, id: ConversationId, whose: &Aor, bye: Bye) {
        self.farewell(context, id, whose, |builder| {
            end_with(
                builder.raw_lines(&bye.lines),
                bye.content_type.as_deref(),
                &bye.body,
            )
        });
    }
}

impl Context<'_> {
    /// An ACK that no conversation knows: it may be what a BYE waits for.
    /// Returns false where there is none that it is for.
    pub(crate) fn parting_acknowledged(&mut self, ack: &Message) -> bool {
        let key = ack.to_tag().and_then(tag_key);
        let known = key.and_then(|key| Some((key, self.shared.partings.0.get(&key)?)));
        if let Some((key, parting)) = known
            && parting.leg.dialog.owns(ack)
            && parting.waiting.cseq == ack.cseq()
        {
            let server = parting.waiting.server;
            self.shared.transactions.acknowledged(server);
            self.say_bye(key);
            return true;
        }
        false
    }

    /// No ACK has come in all the time that a 2xx is sent again: the BYE may go (RFC 3261 15).
    /// Returns false where none waits for that.
    pub(crate) fn parting_unacknowledged(&mut self, server: ServerId) -> bool {
        let mut partings = self.shared.partings.0.iter();
        let key = partings.find(|(_, parting)| parting.waiting.server == server);
        let key = key.map(|(key, _)| *key);
        if let Some(key) = key {
            self.say_bye(key);
        }
        key.is_some()
    }

    /// A request within such a dialog. A BYE has crossed ours, which need not be said any more. Returns false
    /// where it is none.
    pub(crate) fn parting_request(&mut self, server: ServerId, request: &Message) -> bool {
        let key = request.to_tag().and_then(tag_key);
        let Some(key) = key.filter(|key| {
            let parting = self.shared.partings.0.get(key);
            parting.is_some_and(|parting| parting.leg.dialog.owns(request))
        }) else {
            return false;
        };
        if *request.method() != Method::Bye {
            self.refuse(server, 481, "request within a dialog that has ended");
            return true;
        }
        self.answer(server, 200, None);
        if let Some(parting) = self.shared.partings.0.remove(&key) {
            self.shared
                .transactions
                .acknowledged(parting.waiting.server);
            self.farewell_over((parting.id, parting.leg.id), |_| true);
        }
        true
    }

    fn say_bye(&mut self, key: u64) {
        if let Some(mut parting) = self.shared.partings.0.remove(&key) {
            let Parting { id, whose, .. } = parting;
            parting.leg.say(self, id, &whose, parting.bye);
            self.has_said_farewell(id, whose, parting.leg);
        }
    }
}
