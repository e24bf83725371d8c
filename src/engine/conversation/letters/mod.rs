//! MESSAGE requests within the conversation: one under way a direction, kept while nobody takes them.
//!
//! `queue` their order, `denied` phones that say they have no such dialog, `handing_on` what a transfer does to them,
//! `undelivered` the word to who wrote one in vain.

mod denied;
mod handing_on;
mod overdue;
pub(crate) mod queue;
mod undelivered;

use bytes::Bytes;

use self::queue::{Author, Letter, NoRoom, Reply, TRIES, reply};
use crate::engine::conversation::context::{Context, RETRY_AFTER_S, What};
use crate::engine::conversation::doubting::outcome::NOT_TAKEN;
use crate::engine::conversation::ending::last_word_goes;
use crate::engine::conversation::people::proof::is_challenge;
use crate::engine::conversation::{Conversation, hops_left};
use crate::engine::dialog::failure::{Verdict, verdict};
use crate::engine::events::{Happening, Signal};
use crate::engine::ids::{LegId, Side};
use crate::engine::ports::{Output, Token};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method, Name};

/// A letter is given up with which so many legs in a row were lost within this time.
const FATAL_MAX: u32 = 3;
const FATAL_WITHIN: Millis = Millis::from_secs(10);
/// A phone that asks for more has the last word refused.
const LAST_PAUSE_MAX: Millis = Millis::from_secs(10);

impl Conversation {
    /// A MESSAGE of one side for the other.
    pub(super) fn on_message(
        &mut self,
        context: &mut Context<'_>,
        from: Side,
        server: ServerId,
        request: &Message,
    ) {
        let to = from.other();
        if is_passing(request) {
            return self.on_passing(context, from, server, request);
        }
        let Some(hops) = hops_left(request) else {
            return context.refuse(server, 483, "no hops left");
        };
        let over = self.party(from).leg.as_ref().map(|leg| leg.id);
        if self.closing.is_some() {
            // What was not delivered has been counted and told.
            return context.refuse(server, 500, "the other side could not be reached again");
        }
        if self.given_alone(from) {
            // Whom it was meant for has hung up.
            return context.refuse(server, 500, "the other side has left the call");
        }
        let known = |letter: &Letter| {
            letter.author == Author::Other
                && letter.server.is_none()
                && letter.over == over
                && letter.cseq == request.cseq()
        };
        let queue = &self.party(to).queue;
        let left = queue.left == Some((over, request.cseq()));
        if left || queue.letters.iter().any(known) {
            // Stored before a restart; the sender never saw the 202.
            return context.answer(server, 202, None);
        }
        let letter = Letter {
            number: 0,
            lines: Bytes::from(self.lines_for(context, from, request)),
            content_type: request.content_type().unwrap_or("text/plain").into(),
            body: Bytes::copy_from_slice(request.body()),
            received: context.now,
            until: Some(until(context, request)),
            author: Author::Other,
            cseq: request.cseq(),
            over,
            tries: 0,
            ignored: 0,
            fatal: 0,
            sent_at: context.now,
            overdue: false,
            for_transferor: false,
            hops,
            refused: false,
            denied: None,
            server: Some(server),
            storing: None,
        };
        if let Err(no_room) = self.enqueue(context, to, letter) {
            self.note(context, Happening::Overflow { from });
            return match no_room {
                NoRoom::TooLarge => context.refuse(server, 413, "message larger than a queue"),
                NoRoom::Full => context.refuse(server, 500, "queue of messages full"),
            };
        }
        if self.party(to).lost.is_some() {
            self.store_letters(context, to);
        }
        self.pump(context, to);
    }

    /// Typing notices: worth something now or never (RFC 3994).
    fn on_passing(
        &mut self,
        context: &mut Context<'_>,
        from: Side,
        server: ServerId,
        request: &Message,
    ) {
        let to = self.party(from.other());
        if to.is_up() && to.queue.letters.is_empty() {
            self.carry(context, from, server, request);
        } else {
            context.answer(server, 200, None);
        }
    }

    pub(crate) fn enqueue(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        letter: Letter,
    ) -> Result<u32, NoRoom> {
        let queue = &mut self.party_mut(to).queue;
        let before = queue.bytes();
        let total = context.shared.queued.1;
        let number = queue.push(letter, total, &context.shared.settings.messages)?;
        let grown = queue.bytes() - before;
        context.shared.queued.0 += 1;
        context.shared.queued.1 += grown;
        Ok(number)
    }

    pub(super) fn dequeue(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
    ) -> Option<Letter> {
        let queue = &mut self.party_mut(to).queue;
        let before = queue.bytes();
        let letter = queue.remove(number)?;
        let shrunk = before - queue.bytes();
        if letter.author == Author::Other && letter.server.is_none() && !letter.refused {
            queue.left = Some((letter.over, letter.cseq));
        }
        if let Some(token) = letter.storing
            && !queue
                .letters
                .iter()
                .any(|kept| kept.storing == letter.storing)
        {
            context.shared.asked.remove(&token);
        }
        context.shared.queued.0 = context.shared.queued.0.saturating_sub(1);
        context.shared.queued.1 = context.shared.queued.1.saturating_sub(shrunk);
        Some(letter)
    }

    /// Takes everything out of a queue, at the end.
    pub(crate) fn drain_queue(&mut self, context: &mut Context<'_>, to: Side) -> Vec<Letter> {
        let numbers: Vec<u32> = self
            .party(to)
            .queue
            .letters
            .iter()
            .map(|letter| letter.number)
            .collect();
        numbers
            .into_iter()
            .filter_map(|number| self.dequeue(context, to, number))
            .collect()
    }

    /// Sends the next letter to a side, if one may go now.
    pub(crate) fn pump(&mut self, context: &mut Context<'_>, to: Side) {
        self.take_up_with_the_old(to);
        self.expire_letters(context, to);
        self.drop_refused(context, to);
        let check = self.party(to).check.as_ref();
        let doubted = check.is_some_and(|check| check.signal.is_some());
        if !doubted {
            self.drop_denied(context, to);
        }
        let party = self.party(to);
        if !party.is_up()
            || doubted
            || party.may_not_know()
            || self.answered.is_none()
            || self.ended.is_some()
        {
            return;
        }
        let Some(number) = party.queue.due(context.now) else {
            return;
        };
        let id = self.id;
        let ours = party
            .queue
            .letters
            .iter()
            .any(|letter| letter.number == number && letter.author != Author::Other);
        if ours && self.notice_elsewhere(context, to, number) {
            return;
        }
        let party = &mut self.parties[to.index()];
        let Some(letter) = party.queue.letter(number) else {
            return;
        };
        let again = letter.tries > 0;
        letter.tries += 1;
        (letter.sent_at, letter.overdue) = (context.now, false);
        let (lines, kind, body) = (
            letter.lines.clone(),
            letter.content_type.clone(),
            letter.body.clone(),
        );
        let (author, hops, tried) = (letter.author, letter.hops, letter.tries);
        let (kind, body) = match ours {
            true => self.worded(context, to, &kind, body),
            false => (kind, body),
        };
        let party = &mut self.parties[to.index()];
        let Some(leg) = party.leg.as_mut() else {
            return;
        };
        let course = match author {
            Author::LastWord => last_word_goes(context, &party.aor, leg),
            Author::Other | Author::Notice | Author::Undelivered => context.course(&leg.dialog),
        };
        leg.request_on(
            context,
            id,
            (&Method::Message, hops),
            What::Letter(to, number, tried),
            course,
            |builder| builder.raw_lines(&lines).body(&kind, &body),
        );
        party.queue.under_way = Some(number);
        if author == Author::Notice {
            self.believe(to.other());
            self.persist(context);
        }
        if again && author == Author::Other {
            let again = Happening::Redelivered {
                from: to.other(),
                endpoint: self.endpoint_of(to),
            };
            self.note(context, again);
        }
    }

    /// A leg that stood aside is back in its place: what is still open with its phone is under way, and does not
    /// go out a second time.
    fn take_up_with_the_old(&mut self, to: Side) {
        let party = self.party(to);
        let (Some(aside), Some(leg)) = (party.queue.aside, &party.leg) else {
            return;
        };
        let is_back = leg.id == aside.0;
        let queue = &mut self.party_mut(to).queue;
        queue.aside = None;
        if is_back && queue.under_way.is_none() {
            queue.under_way = Some(aside.1);
        }
    }

    /// What its sender was told has failed, and nobody has answered, is dropped: the sender may send it again.
    fn drop_refused(&mut self, context: &mut Context<'_>, to: Side) {
        let queue = &self.party(to).queue;
        let refused = |letter: &&Letter| letter.refused && queue.under_way != Some(letter.number);
        let refused = queue.letters.iter().filter(refused);
        let numbers: Vec<u32> = refused.map(|letter| letter.number).collect();
        for number in numbers {
            self.dequeue(context, to, number);
        }
    }

    fn expire_letters(&mut self, context: &mut Context<'_>, to: Side) {
        let max_age = context.shared.settings.messages.max_age;
        for number in self.party(to).queue.expired(max_age, context.now) {
            self.reject_letter(context, to, number, 408);
            self.announce(context, to);
        }
    }

    /// An endpoint answered a letter.
    pub(super) fn letter_response(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        to: Side,
        (number, tried): (u32, u32),
        response: &Message,
    ) {
        let status = response.status();
        if status < 200 {
            return;
        }
        let current = self.side_of(leg) == Some(to);
        let queue = &mut self.party_mut(to).queue;
        let taken = (200..300).contains(&status);
        // Only good news of an earlier try counts.
        if !taken && !queue.is_latest(number, tried) {
            return;
        }
        queue.aside.take_if(|aside| *aside == (leg, number));
        if current && queue.under_way == Some(number) {
            queue.under_way = None;
        } else if !taken {
            return;
        }
        self.closing_goes_on(context);
        let queue = &mut self.party_mut(to).queue;
        let Some(letter) = queue.letter(number) else {
            return self.pump(context, to);
        };
        let (author, tries) = (letter.author, letter.tries);
        if author != Author::Other {
            let pause = pause_of(response);
            let again = match author {
                Author::Notice => tries < TRIES,
                // A conversation that is over does not stand for long.
                Author::LastWord => tries < TRIES && pause <= LAST_PAUSE_MAX,
                Author::Other | Author::Undelivered => false,
            };
            if again && matches!(reply(status), Reply::Later) {
                // «Not now» is no refusal. What people write does not wait for it.
                let until = context.now + pause;
                self.party_mut(to).queue.notice_not_before = Some(until);
                if author == Author::LastWord {
                    self.closes_after(context, until);
                }
                return self.pump(context, to);
            }
            if self.asks_for_envelope(to, number, response) {
                return self.pump(context, to);
            }
            return self.notice_answered(context, to, number, status);
        }
        // A proxy may have sent it, as one does for a phone that is dead: that is asked whether it has its dialog, and
        // the letter goes once more to who has it.
        let doubted = status >= 300 && verdict(&Method::Message, status) == Verdict::Doubt;
        let again = doubted && tries < TRIES;
        match reply(status) {
            _ if again => {}
            Reply::Taken => self.letter_taken(context, to, number, response),
            Reply::Rejected => {
                self.dequeue_answered(context, to, number, response);
                let rejected = Happening::Rejected {
                    from: to.other(),
                    status,
                    endpoint: Some(self.endpoint_of(to)),
                };
                self.note(context, rejected);
                self.persist(context);
            }
            Reply::Later => self.letter_put_off(context, to, number, response),
            Reply::DialogGone => return self.letter_denied(context, to, number),
        }
        if doubted {
            self.suspect(context, to, Signal::RequestFailed);
        }
        self.pump(context, to);
        self.announce(context, to);
    }

    fn letter_taken(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
        response: &Message,
    ) {
        let queue = &mut self.party_mut(to).queue;
        let refused = queue.letter(number).is_some_and(|letter| letter.refused);
        if !self.dequeue_answered(context, to, number, response) && !refused {
            let delivered = Happening::Delivered {
                from: to.other(),
                endpoint: self.endpoint_of(to),
            };
            self.note(context, delivered);
            self.persist(context);
        }
    }

    /// Takes a letter out and passes the answer to its sender, where that still waits. Returns true then.
    fn dequeue_answered(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
        response: &Message,
    ) -> bool {
        let Some(letter) = self.dequeue(context, to, number) else {
            return false;
        };
        let Some(server) = letter.server else {
            if response.status() >= 300 {
                self.is_dropped(context, to, &letter);
            }
            return false;
        };
        let lines = self.lines_for(context, to.other(), response);
        context.hand_on(server, response, is_challenge(&lines), |builder| {
            builder.raw_lines(&lines).end()
        });
        // The store was faster or slower than the endpoint: what it may hold must not be sent again.
        if letter.storing.is_some() {
            self.persist(context);
        }
        true
    }

    /// «Not now»: the sender's to decide, where it still waits; else we try again.
    fn letter_put_off(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
        response: &Message,
    ) {
        let waits = self
            .party_mut(to)
            .queue
            .letter(number)
            .is_some_and(|letter| letter.server.is_some());
        if waits {
            self.dequeue_answered(context, to, number, response);
            return;
        }
        self.party_mut(to).queue.not_before = Some(context.now + pause_of(response));
    }

    /// Asks the store to keep the letters whose senders still wait.
    pub(super) fn store_letters(&mut self, context: &mut Context<'_>, to: Side) {
        // What may come back to its sender is not promised.
        let waits = |letter: &Letter| {
            letter.server.is_some() && letter.storing.is_none() && !letter.for_transferor
        };
        if !self.party(to).queue.letters.iter().any(waits) {
            return;
        }
        let token = context.ask(self.id);
        let letters = &mut self.party_mut(to).queue.letters;
        for letter in letters.iter_mut().filter(|letter| waits(letter)) {
            letter.storing = Some(token);
        }
        context.shared.out.push_back(Output::Persist {
            conversation: self.id,
            token: Some(token),
        });
    }

    /// The store has answered: 202 only for what is safe (RFC 3428 7).
    pub(crate) fn on_stored(&mut self, context: &mut Context<'_>, token: Token, ok: bool) {
        if self.arrival_stored(context, token, ok) {
            return;
        }
        let mut refused = false;
        for to in [Side::Caller, Side::Callee] {
            if self.party(to).queue.letters.is_empty() {
                continue;
            }
            let mut stored = Vec::new();
            for letter in &mut self.party_mut(to).queue.letters {
                if letter.storing == Some(token) {
                    letter.storing = None;
                    stored.extend(letter.server.take().map(|server| (letter.number, server)));
                }
            }
            for (number, server) in stored {
                if ok {
                    context.answer(server, 202, None);
                    self.note(context, Happening::Queued { from: to.other() });
                } else {
                    context.refuse(server, 500, "the store failed");
                    let queue = &mut self.party_mut(to).queue;
                    if let Some(letter) = queue.letter(number) {
                        letter.refused = true;
                    }
                    if queue.under_way != Some(number) {
                        self.dequeue(context, to, number);
                    }
                    refused = true;
                }
            }
        }
        // A write for something else may have taken it along.
        if refused {
            self.persist(context);
        }
    }

    /// What is under way is sent once more. Where both arrive, that is the one window in which a receiver
    /// sees it twice.
    pub(super) fn send_letter_again(&mut self, to: Side) {
        if self.party(to).queue.under_way.is_some() {
            self.party_mut(to).queue.under_way = None;
        }
    }

    /// The endpoint is lost: what was under way goes to the next one, and is kept until then.
    pub(super) fn letters_of_the_lost(&mut self, context: &mut Context<'_>, lost: Side) {
        // A phone that transfers has it, for all that is known; one that is lost has not.
        let aside = self.party(lost).lost.as_ref();
        let stands = aside.filter(|aside| aside.transfer.is_some() || aside.stands);
        let old = stands.map(|aside| aside.old.id);
        let queue = &self.party(lost).queue;
        if queue.letters.is_empty() && queue.not_before.is_none() {
            return;
        }
        let queue = &mut self.party_mut(lost).queue;
        let under_way = queue.under_way.take();
        queue.aside = old.zip(under_way);
        (queue.not_before, queue.notice_not_before) = (None, None);
        if let Some(number) = under_way.filter(|_| old.is_none()) {
            self.was_fatal(context, lost, number);
        }
        self.store_letters(context, lost);
    }

    /// A leg was lost with a letter under way to it. One that kills each phone that gets it has had its turn: the rest
    /// of the queue has not, and each death is a restoration of which there are so many.
    fn was_fatal(&mut self, context: &mut Context<'_>, to: Side, number: u32) {
        let Some(letter) = self.party_mut(to).queue.letter(number) else {
            return;
        };
        let at_once = context.now < letter.sent_at + FATAL_WITHIN;
        letter.fatal += u32::from(at_once && letter.author == Author::Other);
        if letter.fatal >= FATAL_MAX {
            self.reject_letter(context, to, number, NOT_TAKEN);
        }
    }
}

/// Returns how long an endpoint wishes not to be asked again.
fn pause_of(response: &Message) -> Millis {
    let after = response
        .header(Name::RetryAfter)
        .and_then(|value| value.split([' ', ';', '(']).next()?.parse::<u64>().ok())
        .unwrap_or_else(|| u64::from(RETRY_AFTER_S));
    Millis::from_secs(after.clamp(1, 60))
}

/// Returns how long a text is worth to be delivered: as its sender says (RFC 3428 4), and no longer than we keep
/// any.
fn until(context: &Context<'_>, request: &Message) -> Time {
    let most = context.shared.settings.messages.max_age;
    let expires = request.expires().filter(|seconds| *seconds > 0);
    let expires = expires.map_or(most, |seconds| Millis::from_secs(seconds.into()));
    context.now + expires.min(most)
}

/// Returns true for what is never queued: typing notices, of IETF's and of Microsoft's making.
fn is_passing(request: &Message) -> bool {
    request.content_type().is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or("").trim();
        kind.eq_ignore_ascii_case("application/im-iscomposing+xml")
            || kind.eq_ignore_ascii_case("application/x-ms-keyboard-activity")
            || kind.eq_ignore_ascii_case("text/x-msmsgscontrol")
    })
}
