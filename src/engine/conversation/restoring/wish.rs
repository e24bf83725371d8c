//! What the survivor held, resumed or did not take while its other side was sought, and where it is by then: told to who
//! answers.

use serde::{Deserialize, Serialize};

use super::survivor::stand;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, retry_after};
use crate::engine::conversation::doubting::outcome;
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::conversation::session::enclosed::sdp_of;
pub(crate) use crate::engine::conversation::session::keys::{Role, Telling};
use crate::engine::conversation::session::media;
use crate::engine::events::Signal;
use crate::engine::ids::{ConversationId, Flow, LegId, Side};
use crate::engine::settings::MediaMode;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ClientId;
use crate::sip::{Message, Method, sdp};

/// Who puts it off each time, as with an offer of its own open, is asked so often, and then is left as it is.
const TRIES_MAX: u8 = 5;
/// Two that offer something else each time they are asked are left as they are after that.
const ROUNDS_MAX: u8 = 3;

/// An offer that has to wait (RFC 3261 14.1).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wish {
    pub(crate) at: Option<Time>,
    tries: u8,
    /// The phone was asked for an offer by the INVITE of this number: the ACK of a 2xx to that brings an answer.
    unsaid: Option<u32>,
    /// So many others have been asked so just before, one for the sake of the other.
    rounds: u8,
}

/// What was asked before a restart has its late answer within that.
const RISEN: Millis = Millis::from_secs(2);
/// For so long at most: 14.2 says up to ten seconds.
const PUT_OFF_FOR: Millis = Millis::from_secs(10);

impl Leg {
    /// Returns how long at least its phone wishes to be asked nothing anew: it has an offer of its own open (491), it
    /// answers another request of ours yet (RFC 3261 14.2), or it had a later one before this (RFC 3261 12.2.2).
    pub(crate) fn puts_off(&self, response: &Message) -> Option<Millis> {
        let overtaken = self.dialog.local_cseq > response.cseq();
        match response.status() {
            491 => Some(Millis(0)),
            500 => {
                let after = retry_after(response).map(|after| after.min(PUT_OFF_FOR));
                after.or_else(|| overtaken.then_some(Millis(0)))
            }
            _ => None,
        }
    }

    /// A 2xx that nobody waits for any more has its ACK all the same: with what stands, where it brings an offer that was
    /// asked for (RFC 3261 13.2.2.4).
    pub(crate) fn acknowledge_late(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        response: &Message,
    ) {
        let asked = |cseq: &mut u32| *cseq == response.cseq();
        let asked = self.wish.unsaid.take_if(asked).is_some();
        let offer = sdp_of(response).filter(|_| asked);
        let (Some(offer), Some(told)) = (offer, self.talk.standing()) else {
            return self.acknowledge_again(context, id, response.cseq());
        };
        let answer = stand(&mut self.talk, &told, offer, context.shared);
        self.acknowledge(context, id, response.cseq(), answer);
    }

    /// Returns true for the answer to a request by which an offer was asked for.
    pub(crate) fn is_asked_for(&self, response: &Message) -> bool {
        self.wish.unsaid == Some(response.cseq()) && *response.method() == Method::Invite
    }

    /// It has agreed, or never will. What has come up since waits for its own turn.
    pub(crate) fn is_told(&mut self) {
        (self.lent, self.misled, self.unsure) = (false, false, false);
        (self.wish.tries, self.wish.rounds) = (0, 0);
    }

    /// After a restart nobody waits for what was asked then.
    pub(crate) fn asks_anew(&mut self, now: Time) {
        if self.wish.unsaid.is_some() {
            self.wish.at = Some(now + RISEN);
        }
    }
}

impl Conversation {
    /// The survivor may have held or resumed while the new endpoint rang, and was answered here: the
    /// endpoint is offered now what its INVITE did not say.
    pub(crate) fn catch_up(&mut self, context: &mut Context<'_>, side: Side) {
        let id = self.id;
        if let Some(leg) = self.leg_mut(side) {
            leg.wish.at = None;
        }
        if self.is_asked_to_go(side) {
            return self.catch_up_once_free(context, side);
        }
        // Who is asked has said less than it wishes, perhaps: its answer tells.
        let asked = self.party(side.other()).leg.as_ref();
        if asked.is_some_and(|leg| leg.open_wish.is_some()) {
            return self.catch_up_once_free(context, side);
        }
        let Some(offer) = self.offer_to(side) else {
            return;
        };
        let survivor = self.party(side.other()).talk();
        // What the survivor has offered once it takes, but where it has chosen of what it was told since.
        let chooses = survivor.is_some_and(Talk::chooses);
        let wider = self.offer_anew(side).filter(|_| !chooses);
        let mode = context.shared.settings.media.mode;
        let ports = &self.ports[side.index()];
        let Some(leg) = self.parties[side.index()].leg.as_mut() else {
            return;
        };
        let ours = context.world.advertised(&leg.dialog.flow);
        let before = leg.talk.clone();
        let mut talk = before.clone();
        let mut telling = Telling::new(context.shared, Role::Offer);
        let told = media::tell(&mut talk, &offer, ports, ours, mode, &mut telling);
        let (Some(told), Some(known)) = (told, &before.told) else {
            return;
        };
        let said = before.said.as_deref().unwrap_or_default();
        let takes = wider.as_deref().unwrap_or(&told);
        let less = sdp::takes_some(known.as_bytes(), said.as_bytes(), takes.as_bytes());
        let past_us = mode == MediaMode::Direct;
        let moved = !sdp::same_ways(told.as_bytes(), known.as_bytes(), past_us);
        if !less && !moved && media::same_directions_for(&before, &told, known) {
            // It may have agreed to something else.
            return self.restate(context);
        }
        if moved && sdp::has_ice(told.as_bytes()) {
            return self.ask_for_offer(context, side);
        }
        let method = leg.abilities.offers_by();
        // RFC 3261 14.1: no re-INVITE before the ACK to our 2xx.
        let through = leg.unacknowledged.is_none() || method == Method::Update;
        let Some(offered) = leg.may_offer(context).filter(|_| through) else {
            return self.catch_up_once_free(context, side);
        };
        leg.talk = talk;
        leg.offer_alone(context, id, &method, (offered, before), &told);
        self.persist(context);
    }

    /// New credentials of ICE in an offer are a restart, to which the endpoint would have to answer with new ones of its
    /// own (RFC 8839 4.4.1.1), and so on for ever between the two. Who is asked for an offer says what it has, and has
    /// the other side's in the ACK (RFC 3725 4.1).
    fn ask_for_offer(&mut self, context: &mut Context<'_>, side: Side) {
        let id = self.id;
        let Some(leg) = self.parties[side.index()].leg.as_mut() else {
            return;
        };
        let through = leg.unacknowledged.is_none();
        let Some(offered) = leg.may_offer(context).filter(|_| through) else {
            return self.catch_up_once_free(context, side);
        };
        leg.ask_for_its_own(context, id, offered);
        leg.wish.unsaid = Some(leg.dialog.local_cseq);
        self.persist(context);
    }

    /// Its offer: what the other side has said last is the answer, and that may have to hear of the offer in turn.
    fn take_offer(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        response: &Message,
        flow: Flow,
    ) {
        let id = self.id;
        let other = self.party(side.other()).talk();
        let other = other.and_then(|talk| talk.said.clone());
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let rounds = std::mem::take(&mut leg.wish).rounds;
        leg.owe_ack(response.cseq());
        leg.dialog.refresh_over(response, flow);
        leg.abilities.learn(response);
        if let Some(offer) = sdp_of(response) {
            let before = [leg.talk.told.clone(), leg.talk.said.clone()];
            let [told, own] = before.map(Option::unwrap_or_default);
            leg.talk.offers(offer.clone());
            let other = other.map(|said| {
                let fitting = sdp::answer_with(said.as_bytes(), offer.as_bytes());
                let fitting = fitting.and_then(|answer| String::from_utf8(answer).ok());
                let said = fitting.map_or(said, Into::into);
                sdp::with_role(said.as_bytes(), told.as_bytes(), own.as_bytes())
                    .map_or(said, Into::into)
            });
            let answer = other.and_then(|said| self.tell(context, side, &said, Role::Answer));
            if let Some(leg) = self.leg_mut(side).filter(|_| answer.is_some()) {
                leg.settle();
                leg.acknowledge(context, id, response.cseq(), answer);
            }
        }
        // Where it offers nothing, or nothing that can be read.
        self.acknowledge_with_the_standing(context, side);
        self.configure(context, side);
        self.persist(context);
        if let Some(other) = self.leg_mut(side.other())
            && rounds < ROUNDS_MAX
        {
            other.wish.rounds = rounds + 1;
            self.catch_up(context, side.other());
        }
        if let Some(other) = self.leg_mut(side.other())
            && other.open_wish.is_none()
            && other.wish.at.is_none()
        {
            other.wish.rounds = 0;
        }
    }

    /// The same where the other side may have to be told something itself: its answer to that counts.
    pub(super) fn catch_up_after(&mut self, context: &mut Context<'_>, side: Side) {
        let other = self.party(side.other()).leg.as_ref();
        if other.is_some_and(|leg| leg.wish.at.is_some()) {
            return self.catch_up_once_free(context, side);
        }
        self.catch_up(context, side);
    }

    /// Another offer is open that has its end: ours waits, and nobody has been asked yet.
    fn catch_up_once_free(&mut self, context: &mut Context<'_>, side: Side) {
        let pause = self.pause_of_glare(context, side);
        if let Some(leg) = self.leg_mut(side) {
            leg.wish.at = Some(context.now + pause);
        }
    }

    /// It is put off by its phone: it goes out once more after a while.
    fn catch_up_later(&mut self, context: &mut Context<'_>, side: Side, at_least: Millis) {
        let pause = self.pause_of_glare(context, side).max(at_least);
        if let Some(leg) = self.leg_mut(side) {
            leg.wish.tries += 1;
            leg.wish.at = Some(context.now + pause);
        }
    }

    pub(crate) fn catch_up_due(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        let due = |at: &mut Time| *at <= now;
        if let Some(leg) = self.leg_mut(side)
            && leg.wish.at.take_if(due).is_some()
        {
            self.catch_up_with_who_is_there(context, side);
        }
    }

    /// The same of who is there: what one that is sought, or hands the call on, has said last is for nobody before it has
    /// the call again, and whoever takes its place says its own.
    pub(crate) fn catch_up_with_who_is_there(&mut self, context: &mut Context<'_>, side: Side) {
        let tries = self.leg_mut(side).map_or(0, |leg| leg.wish.tries);
        if self.party(side.other()).lost.is_some() {
            if tries > 0 {
                // It was told what stands, and has put that off.
                self.restate(context);
            }
            return self.catch_up_once_free(context, side);
        }
        // Who lives, and never says a word to it, is left as it is.
        if tries <= TRIES_MAX {
            self.catch_up(context, side);
        }
    }

    /// The answer to that offer. The survivor has had its own long since.
    pub(crate) fn wish_response(
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
        let ok = status < 300;
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let open = leg.wish_over(client);
        if !ok && let Some(open) = open {
            leg.unwish(*open);
            leg.wish.unsaid.take_if(|asked| *asked == response.cseq());
            return self.unwished(context, side, response);
        }
        if outcome::ends_dialog(status) {
            return self.denied(context, side, Signal::RequestFailed);
        }
        if open.is_none() {
            // It was taken back.
            if ok && *response.method() == Method::Invite {
                leg.acknowledge_late(context, id, response);
            }
            return;
        }
        if leg.is_asked_for(response) {
            (leg.lent, leg.misled, leg.unsure) = (false, false, false);
            return self.take_offer(context, side, response, flow);
        }
        leg.is_told();
        if *response.method() == Method::Invite {
            leg.acknowledge(context, id, response.cseq(), None);
        }
        leg.agreed(response, flow);
        self.configure(context, side);
        self.persist(context);
        let waits = self.leg_mut(side.other());
        if waits.is_some_and(|leg| leg.wish.at.take().is_some()) {
            self.catch_up(context, side.other());
        }
    }

    /// Its phone does not agree, now or for good.
    fn unwished(&mut self, context: &mut Context<'_>, side: Side, response: &Message) {
        if outcome::ends_dialog(response.status()) {
            return self.denied(context, side, Signal::RequestFailed);
        }
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        // RFC 4028 7.3: the next one asks for what it demands.
        let brief = response.status() == 422 && leg.too_brief(context, response);
        // With an offer of its own open, or one of ours that was taken back (RFC 3261 14.2), it is told once that is
        // over.
        let after = leg
            .puts_off(response)
            .or_else(|| brief.then_some(Millis(0)));
        match after.filter(|_| leg.wish.tries < TRIES_MAX) {
            Some(after) => self.catch_up_later(context, side, after),
            None => leg.is_told(),
        }
        self.persist(context);
    }

    /// A probe settles what the silence means. It may have agreed.
    pub(crate) fn wish_unanswered(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        signal: Signal,
    ) {
        let Some(side) = self.side_of(leg) else {
            return;
        };
        if let Some(leg) = self.leg_mut(side)
            && let Some(open) = leg.wish_over(client)
        {
            leg.wish_unheard(*open);
            leg.wish.unsaid = None;
            leg.wish.tries += 1;
        }
        self.suspect(context, side, signal);
    }
}
