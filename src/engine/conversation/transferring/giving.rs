//! The far end of a call is given to another conversation (RFC 5589 7): what the conversation does that has
//! it. Its other side, who transfers, then has a BYE.
//!
//! The leg stays here until its phone has agreed to the other session by a re-INVITE; where it does not,
//! all is as it was (RFC 6141). Nobody rings, nothing is asked of the phone but that, and no server between
//! that has never heard of Replaces, or lets nobody replace what is not his, comes in between. What becomes of
//! the leg then is in `given`.

use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, What, end_with};
use crate::engine::conversation::doubting::outcome;
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::conversation::people::asserted::{heard_of, is_told};
use crate::engine::conversation::people::veil::Veil;
use crate::engine::conversation::session::enclosed::sdp_of;
pub(crate) use crate::engine::conversation::session::keys::{Role, Telling};
use crate::engine::conversation::session::media::{self, Ports};
use crate::engine::dialog::{Life, Negotiation};
use crate::engine::events::Signal;
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
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Giving {
    pub(super) side: Side,
    pub(super) to: ConversationId,
    /// Nobody there has answered yet (`semi_attended`).
    pub(super) rings: bool,
    /// The promise ends then, where nothing has been asked.
    pub(super) until: Time,
    pub(super) again_at: Option<Time>,
    wanted: Option<Wanted>,
    /// The re-INVITE that is out.
    #[serde(skip)]
    pub(super) asked: Option<ClientId>,
    /// What the phone was told before it.
    pub(super) before: Option<Box<Talk>>,
    /// The other side has hung up: its phone takes the transfer for done.
    pub(super) left: bool,
    /// It goes to the other half of the same call, and what its phone has written goes with it.
    #[serde(default)]
    pub(super) half: bool,
    /// The leg has gone, and whether it has arrived is not known yet.
    pub(super) given: Option<Box<Leg>>,
}

impl Giving {
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let waits = self.is_idle();
        self.again_at
            .into_iter()
            .chain(waits.then_some(self.until))
            .min()
    }

    /// Nothing has been asked, of who has answered.
    fn is_idle(&self) -> bool {
        self.awaited().is_none() && self.asked.is_none() && self.given.is_none()
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
}

impl Leg {
    /// Returns true where both ends have taken the call, though the ACK of the phone's INVITE may be on its way yet.
    fn has_agreed(&self) -> bool {
        matches!(self.life, Life::Answered | Life::Confirmed)
    }

    /// Returns true where nothing is open in the dialog.
    pub(crate) fn is_quiet(&self, context: &Context<'_>) -> bool {
        self.life == Life::Confirmed
            && self.negotiation == Negotiation::Idle
            && self.reinvite.is_none()
            && !self.is_asked_still(context)
            && self.unacknowledged.is_none()
            && !self.ack.as_ref().is_some_and(|ack| ack.waits)
    }
}

impl Giving {
    /// The re-INVITE has another transaction.
    pub(crate) fn waits_for(&mut self, swap: impl Fn(&mut ClientId)) {
        if let Some(open) = &mut self.asked {
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
                .is_some_and(|leg| leg.has_agreed() && !leg.reports_are_open());
        if free {
            self.promise_to(context, side, to, false);
        }
        free
    }

    /// Returns true where that is so of the other half of the call, which has asked for nothing yet.
    pub(crate) fn has_promised_half(&self, to: ConversationId) -> bool {
        let giving = self.giving.as_ref();
        giving.is_some_and(|giving| giving.half && giving.to == to && giving.is_idle())
    }

    /// The same to the other half of the call.
    pub(crate) fn promise_to_half(
        &mut self,
        context: &Context<'_>,
        side: Side,
        to: ConversationId,
    ) -> bool {
        let promised = self.promise(context, side, to);
        if let Some(giving) = self.giving.as_mut().filter(|_| promised) {
            giving.half = true;
        }
        promised
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
            before: None,
            left: false,
            half: false,
            given: None,
        }));
    }

    pub(super) fn has_giving_to(&self, to: ConversationId) -> bool {
        self.giving.as_ref().is_some_and(|giving| giving.to == to)
    }

    pub(super) fn is_giving(&self, client: ClientId) -> bool {
        let asked = self
            .giving
            .as_ref()
            .and_then(|giving| giving.asked.as_ref());
        asked.is_some_and(|open| *open == client)
    }

    /// The phone of a side is asked for its consent to another conversation's session.
    pub(crate) fn is_asked_to_go(&self, side: Side) -> bool {
        let giving = self.giving.as_ref();
        giving.is_some_and(|giving| giving.side == side && giving.asked.is_some())
    }

    /// The other conversation is ready.
    pub(super) fn on_wanted(
        &mut self,
        context: &mut Context<'_>,
        from: ConversationId,
        wanted: Wanted,
    ) {
        let Some(giving) = self.giving.as_mut().filter(|giving| giving.to == from) else {
            return context.tell(self.id, from, Word::Unknown);
        };
        // It asks anew after a restart.
        if giving.given.is_some() {
            return self.offer_given(context);
        }
        giving.wanted = Some(wanted);
        match giving.rings {
            true => self.tell_of_ringing(context),
            false => self.ask_to_go(context),
        }
    }

    /// Sends the re-INVITE, or waits until nothing else is open in the dialog.
    pub(super) fn ask_to_go(&mut self, context: &mut Context<'_>) {
        let id = self.id;
        // Before the phone is asked: after a restart it must be known what it was told before.
        self.persist(context);
        let Some(giving) = &mut self.giving else {
            return;
        };
        let (side, Some(wanted), None) = (giving.side, &giving.wanted, giving.asked) else {
            return;
        };
        let party = &mut self.parties[side.index()];
        let Some(leg) = &mut party.leg else { return };
        let open = leg.may_offer(context);
        let quiet = leg.is_quiet(context) && party.queue.letters.is_empty();
        let (true, Some(open)) = (quiet, open) else {
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
        telling.secure = Some(before.is_keyed());
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
        let veil = Veil::again(wanted.privacy.clone());
        let asserted = wanted.asserted.as_deref();
        let asserted = heard_of(asserted, &veil, &leg.endpoint, told_who, context);
        let privacy = veil.line(told_who);
        let client = leg.request(context, id, &Method::Invite, What::Give, |builder| {
            let builder = match asserted {
                Some(asserted) => builder.header(Name::PAssertedIdentity, asserted),
                None => builder,
            };
            let builder = builder.raw_lines(privacy.as_bytes());
            end_with(builder, Some("application/sdp"), told.as_bytes())
        });
        (giving.asked, giving.before) = (Some(client), Some(Box::new(before)));
    }

    /// The phone's answer.
    pub(crate) fn give_response(
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
                leg.talk.says(said);
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
            return self.denied(context, side, Signal::RequestFailed);
        }
        let put_off = leg.puts_off(response);
        let again = put_off.is_some() || status == 422 && leg.too_brief(context, response);
        if again && let Some(giving) = &mut self.giving {
            giving.asked = None;
            // It has agreed to nothing.
            leg.lent = false;
            if let Some(before) = giving.before.take() {
                leg.talk.back_to(*before);
            }
            let pause = put_off.map_or(Millis(0), |after| after.max(AGAIN));
            giving.again_at = Some(context.now + context.shared.mint.jitter(pause, 0.2));
            return;
        }
        if let Some(giving) = &mut self.giving
            && let Some(before) = giving.before.take()
        {
            giving.asked = None;
            leg.talk.back_to(*before);
            leg.lent = false;
        }
        self.keep(context, status);
    }

    /// It did not answer: the transfer has failed, and a probe tells what that means.
    pub(crate) fn give_unanswered(
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

    /// Asks again, or takes the promise back.
    pub(crate) fn giving_due(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Some(giving) = &mut self.giving else {
            return;
        };
        if giving.is_idle() && giving.until <= now {
            return self.keep(context, 491);
        }
        if giving.again_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        match giving.given {
            Some(_) => self.offer_given(context),
            None => self.ask_to_go(context),
        }
    }
}
