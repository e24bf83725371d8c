//! The far end of a call is given to another conversation (RFC 5589 7): what the conversation does that has
//! it. Its other side, who transfers, then has a BYE.
//!
//! The leg stays here until its phone has agreed to the other session by a re-INVITE; where it does not,
//! all is as it was (RFC 6141). Nobody rings, nothing is asked of the phone but that, and no server between
//! that has never heard of Replaces, or lets nobody replace what is not his, comes in between.

use bytes::Bytes;

use super::Conversation;
use super::asserted::is_told;
use super::context::{Context, What, end_with};
use super::enclosed::sdp_of;
use super::keys::{Role, Telling};
use super::leg::{Leg, Talk};
use super::media::{self, Ports};
use super::notice::{MARK, NOTICE_TYPE};
use super::outcome;
use super::parting::Bye;
use super::queue::{Author, Letter};
use crate::engine::dialog::{Act, Life, Negotiation};
use crate::engine::events::{Ending, Signal};
use crate::engine::handover::{Handover, Wanted, Word};
use crate::engine::ids::{ConversationId, Flow, LegId, Side};
use crate::engine::ports::Output;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ClientId;
use crate::sip::{Message, Method, Name};

/// The other conversation opens ports first, which takes no longer.
const PROMISE: Millis = Millis::from_secs(6);
/// Who has an offer of its own open is asked again after that, about (RFC 3261 14.1).
const AGAIN: Millis = Millis(2_000);

/// One end is promised to another conversation.
#[derive(Debug)]
pub(super) struct Giving {
    side: Side,
    pub(super) to: ConversationId,
    /// Nobody there has answered yet (`semi_attended`).
    pub(super) rings: bool,
    /// The promise ends then, where nothing has been asked.
    until: Time,
    again_at: Option<Time>,
    wanted: Option<Wanted>,
    /// The re-INVITE that is out, and what the phone was told before.
    asked: Option<(ClientId, Talk)>,
    /// The other side has hung up: its phone takes the transfer for done.
    pub(super) left: bool,
}

impl Giving {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let waits = self.awaited().is_none() && self.asked.is_none();
        self.again_at
            .into_iter()
            .chain(waits.then_some(self.until))
            .min()
    }

    /// Returns who waits for somebody that has not answered.
    pub(super) fn awaited(&self) -> Option<ConversationId> {
        (self.rings && self.wanted.is_some()).then_some(self.to)
    }

    pub(super) fn is_answered(&mut self, now: Time) {
        self.rings = false;
        self.until = now + PROMISE;
    }
}

impl Context<'_> {
    /// Says a word to another conversation.
    pub(crate) fn tell(&mut self, from: ConversationId, to: ConversationId, word: Word) {
        let handover = Handover { from, to, word };
        self.shared.out.push_back(Output::Handover(handover));
    }

    /// Ends a leg that was given to a conversation which is over.
    pub(crate) fn part_with(&mut self, id: ConversationId, leg: &Bytes) {
        if let Ok(leg) = rmp_serde::from_slice::<Leg>(leg) {
            self.know_tag(&leg.dialog.local_tag, (id, leg.id));
            leg.part(self, id, Bye::because(None));
        }
    }
}

impl Leg {
    /// Sends a MESSAGE whose answer nobody here waits for.
    fn write(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        lines: &[u8],
        kind: &str,
        body: &[u8],
    ) {
        self.request(context, id, &Method::Message, What::Farewell, |builder| {
            builder.raw_lines(lines).body(kind, body)
        });
    }

    /// Returns true where nothing is open in the dialog.
    fn is_quiet(&self) -> bool {
        self.life == Life::Confirmed
            && self.negotiation == Negotiation::Idle
            && self.reinvite.is_none()
            && self.unacknowledged.is_none()
            && !self.ack.as_ref().is_some_and(|ack| ack.waits)
    }
}

impl Giving {
    /// The re-INVITE has another transaction.
    pub(super) fn waits_for(&mut self, swap: impl Fn(&mut ClientId)) {
        if let Some((open, _)) = &mut self.asked {
            swap(open);
        }
    }
}

impl Conversation {
    /// Promises the end of a side to another conversation. Returns false where that cannot be.
    pub(super) fn promise(
        &mut self,
        context: &Context<'_>,
        side: Side,
        to: ConversationId,
    ) -> bool {
        let party = self.party(side);
        let free = self.closing.is_none()
            && self.giving.is_none()
            && party.queue.letters.is_empty()
            && party
                .leg
                .as_ref()
                .is_some_and(|leg| leg.life == Life::Confirmed && !leg.reports_are_open());
        if free {
            self.promise_to(context, side, to, false);
        }
        free
    }

    pub(super) fn promise_to(
        &mut self,
        context: &Context<'_>,
        side: Side,
        to: ConversationId,
        rings: bool,
    ) {
        self.giving = Some(Box::new(Giving {
            side,
            to,
            rings,
            until: context.now + PROMISE,
            again_at: None,
            wanted: None,
            asked: None,
            left: false,
        }));
    }

    pub(super) fn is_giving(&self, client: ClientId) -> bool {
        let asked = self
            .giving
            .as_ref()
            .and_then(|giving| giving.asked.as_ref());
        asked.is_some_and(|(open, _)| *open == client)
    }

    /// The other conversation is ready.
    pub(super) fn on_wanted(
        &mut self,
        context: &mut Context<'_>,
        from: ConversationId,
        wanted: Wanted,
    ) {
        let free = |giving: &&mut Box<Giving>| giving.to == from && giving.wanted.is_none();
        let Some(giving) = self.giving.as_mut().filter(free) else {
            return context.tell(self.id, from, Word::Keep(481));
        };
        giving.wanted = Some(wanted);
        match giving.rings {
            true => self.tell_of_ringing(context),
            false => self.ask_to_go(context),
        }
    }

    /// Sends the re-INVITE, or waits until nothing else is open in the dialog.
    pub(super) fn ask_to_go(&mut self, context: &mut Context<'_>) {
        let id = self.id;
        let Some(giving) = &mut self.giving else {
            return;
        };
        let (side, Some(wanted)) = (giving.side, &giving.wanted) else {
            return;
        };
        let party = &mut self.parties[side.index()];
        let Some(leg) = &mut party.leg else { return };
        let open = leg.negotiation.step(Act::SendOffer);
        let quiet = leg.is_quiet() && party.queue.letters.is_empty();
        let (true, Ok(open)) = (quiet, open) else {
            let pause = context.shared.mint.jitter(AGAIN, 0.2);
            giving.again_at = Some(context.now + pause);
            return;
        };
        let before = leg.talk.clone();
        let ports = Ports {
            addresses: wanted.addresses.clone(),
            ..Ports::default()
        };
        let ours = context.world.advertised(&leg.dialog.flow);
        let mode = context.shared.settings.media.mode;
        let mut telling = Telling::new(context.shared, Role::Offer);
        telling.secure = Some(!before.keys.is_empty());
        let told = media::tell(
            &mut leg.talk,
            &wanted.said,
            &ports,
            ours,
            mode,
            &mut telling,
        );
        let Some(told) = told else {
            leg.talk.back_to(before);
            return self.keep(context, 488);
        };
        leg.negotiation = open;
        leg.lent = true;
        let told_who = is_told(&party.asker, &leg.dialog.flow, context);
        let asserted = wanted.asserted.as_deref().filter(|_| told_who);
        let client = leg.request(context, id, &Method::Invite, What::Give, |builder| {
            let builder = match asserted {
                Some(asserted) => builder.header(Name::PAssertedIdentity, asserted),
                None => builder,
            };
            end_with(builder, Some("application/sdp"), told.as_bytes())
        });
        giving.asked = Some((client, before));
        self.persist(context);
    }

    /// The phone's answer.
    pub(super) fn give_response(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let (id, status) = (self.id, response.status());
        let Some(side) = self.side_of(leg).filter(|_| status >= 200) else {
            return;
        };
        let waited = self.is_giving(client);
        let Some(leg) = self.parties[side.index()].leg.as_mut() else {
            return;
        };
        if (200..300).contains(&status) {
            leg.acknowledge(context, id, response.cseq(), None);
            leg.dialog.refresh_over(response, flow);
            leg.abilities.learn(response);
            if let Some(said) = sdp_of(response).filter(|_| waited) {
                leg.talk.said = Some(said);
                return self.give(context, side);
            }
            // Nobody wants it any more, or it has not said what it agrees to.
            self.keep(context, 488);
            return self.restate(context);
        }
        if !waited {
            leg.lent = false;
            return;
        }
        if outcome::ends_dialog(status) {
            self.keep(context, status);
            return self.lose(context, side, Signal::RequestFailed);
        }
        let again = status == 491 || status == 422 && leg.too_brief(context, response);
        if again && let Some(giving) = &mut self.giving {
            if let Some((_, before)) = giving.asked.take() {
                leg.talk.back_to(before);
            }
            let pause = if status == 491 { AGAIN } else { Millis(0) };
            giving.again_at = Some(context.now + context.shared.mint.jitter(pause, 0.2));
            return;
        }
        if let Some((_, before)) = self.giving.as_mut().and_then(|giving| giving.asked.take()) {
            leg.talk.back_to(before);
            leg.lent = false;
        }
        self.keep(context, status);
    }

    /// It did not answer: the transfer has failed, and a probe tells what that means.
    pub(super) fn give_unanswered(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        signal: Signal,
    ) {
        if !self.is_giving(client) {
            return;
        }
        let status = if signal == Signal::Transport {
            503
        } else {
            408
        };
        self.keep(context, status);
        if let Some(side) = self.side_of(leg) {
            self.suspect(context, side, signal);
        }
    }

    /// The leg goes to the other conversation, and this one is over.
    fn give(&mut self, context: &mut Context<'_>, side: Side) {
        let Some(giving) = self.giving.take() else {
            return;
        };
        self.settle_carried(context, side.other());
        self.last_letters(context, side);
        let Some(mut leg) = self.party_mut(side).leg.take() else {
            return;
        };
        leg.lent = false;
        context.tag_moves(&leg.dialog.local_tag, giving.to);
        if let Ok(leg) = rmp_serde::to_vec(&leg) {
            context.tell(self.id, giving.to, Word::Give(leg.into()));
        }
        self.finish(context, Ending::Joined);
    }

    /// What was accepted for the leg goes out before it does; of what it said and nobody has taken its phone is
    /// told, as that was meant for who has left.
    fn last_letters(&mut self, context: &mut Context<'_>, side: Side) {
        let (id, left) = (self.id, side.other());
        let under_way = self.party(side).queue.under_way;
        let accepted = |letter: &Letter| letter.author == Author::Other && letter.server.is_none();
        let letters = self.party(side).queue.letters.iter();
        let numbers: Vec<u32> = letters
            .filter(|letter| accepted(letter))
            .map(|letter| letter.number)
            .collect();
        for number in numbers {
            let Some(letter) = self.dequeue(context, side, number) else {
                continue;
            };
            if let Some(leg) = self.leg_mut(side).filter(|_| under_way != Some(number)) {
                leg.write(
                    context,
                    id,
                    &letter.lines,
                    &letter.content_type,
                    &letter.body,
                );
            }
        }
        let letters = self.party(left).queue.letters.iter();
        let undelivered = letters.filter(|letter| accepted(letter)).count();
        if undelivered == 0 {
            return;
        }
        let body = self.failure_text(context, left, undelivered);
        if let Some(leg) = self.leg_mut(side).filter(|leg| leg.abilities.message) {
            leg.write(context, id, MARK, NOTICE_TYPE, body.as_bytes());
        }
    }

    /// The leg stays here; whoever waits for it is told.
    pub(super) fn keep(&mut self, context: &mut Context<'_>, status: u16) {
        let id = self.id;
        let Some(giving) = self.giving.take() else {
            return;
        };
        context.tell(id, giving.to, Word::Keep(status));
        self.taken_back(context, *giving);
    }

    /// The other conversation does not want it any more.
    pub(super) fn declined(&mut self, context: &mut Context<'_>, from: ConversationId) {
        if let Some(giving) = self.giving.take_if(|giving| giving.to == from) {
            self.taken_back(context, *giving);
        }
    }

    fn taken_back(&mut self, context: &mut Context<'_>, giving: Giving) {
        let other = giving.side.other();
        if let Some((_, before)) = giving.asked
            && let Some(leg) = self.leg_mut(giving.side)
        {
            leg.leave(context);
            leg.talk.back_to(before);
        }
        if giving.left && self.invitation.is_some() {
            return self.give_up_inviting(context, 487, Ending::Cancelled, None);
        }
        if giving.left {
            return self.finish(context, Ending::HungUp(other));
        }
        self.persist(context);
    }

    /// A side's leg is put aside, or all is over: whoever waits for it is told, and what it was told before
    /// comes back.
    pub(super) fn drop_giving(&mut self, context: &mut Context<'_>, side: Side) -> Option<Talk> {
        let giving = self.giving.take_if(|giving| giving.side == side)?;
        context.tell(self.id, giving.to, Word::Keep(480));
        giving.asked.map(|(_, before)| before)
    }

    /// The other side of who is to be given hangs up: its phone takes the transfer for done. Returns false
    /// where nobody is to be given.
    pub(super) fn leaves_given(&mut self, side: Side) -> bool {
        let giving = self.giving.as_mut();
        let Some(giving) = giving.filter(|giving| giving.side == side.other()) else {
            return false;
        };
        giving.left = true;
        true
    }

    /// Nobody is left to restore a side for that is to be given.
    pub(super) fn given_alone(&self, side: Side) -> bool {
        let giving = self.giving.as_ref();
        giving.is_some_and(|giving| giving.left && giving.side == side)
    }

    /// A phone may have agreed to a session that came to nothing, and is told once more what stands.
    pub(super) fn restate(&mut self, context: &mut Context<'_>) {
        let id = self.id;
        for side in [Side::Caller, Side::Callee] {
            let Some(leg) = self.leg_mut(side).filter(|leg| leg.lent && leg.is_quiet()) else {
                continue;
            };
            let before = leg.talk.clone();
            let (Some(told), Ok(open)) =
                (leg.talk.tell_anew(), leg.negotiation.step(Act::SendOffer))
            else {
                continue;
            };
            leg.before = Some(Box::new(before));
            leg.negotiation = open;
            leg.lent = false;
            leg.request(context, id, &Method::Invite, What::Wish, |builder| {
                end_with(builder, Some("application/sdp"), told.as_bytes())
            });
        }
    }

    /// Asks again, or takes the promise back.
    pub(super) fn giving_due(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Some(giving) = &mut self.giving else {
            return;
        };
        if giving.awaited().is_none() && giving.asked.is_none() && giving.until <= now {
            return self.keep(context, 491);
        }
        if giving.again_at.take_if(|at| *at <= now).is_some() {
            self.ask_to_go(context);
        }
    }
}
