//! re-INVITE and UPDATE: a new offer goes across, the answer comes back (RFC 3261 14, RFC 3311, RFC 3264 8).

use super::enclosed::{Enclosed, end_enclosed, is_foreign, sdp_of};
use super::keys::{Role, refusal};
use super::refresh::too_brief;
use crate::engine::conversation::context::{Context, What};
use crate::engine::conversation::doubting::outcome;
use crate::engine::conversation::leg::{Leg, Talk, Unacknowledged};
use crate::engine::conversation::people::proof::is_challenge;
use crate::engine::conversation::restoring::survivor;
use crate::engine::conversation::{Conversation, hops_left};
use crate::engine::dialog::failure::{Verdict, verdict};
use crate::engine::dialog::{Negotiation, Refusal, Request};
use crate::engine::events::Signal;
use crate::engine::ids::{ConversationId, Flow, Side};
use crate::engine::settings::MediaMode;
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Message, Method, sdp};

/// One re-INVITE or UPDATE under way across.
#[derive(Debug)]
pub(crate) struct Renegotiation {
    from: Side,
    server: ServerId,
    client: ClientId,
    /// Their request is an INVITE; so its 2xx waits for an ACK.
    invite: bool,
    /// Ours is; an UPDATE goes on as one where the phone does not know UPDATE.
    ours_invite: bool,
    offer: Option<Box<str>>,
    /// It was refused once, and is made again with SRTP where it was without, or the other way round.
    turned: bool,
    /// What the other side was told before (RFC 6141: all is as it was where it fails).
    before: Talk,
}

impl Renegotiation {
    /// Its request has another transaction.
    pub(crate) fn waits_for(&mut self, swap: impl Fn(&mut ClientId)) {
        swap(&mut self.client);
    }
}

impl Conversation {
    pub(crate) fn on_renegotiate(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
    ) {
        let offer = sdp_of(request);
        if is_foreign(request) {
            return context.refuse(server, 415, "body of a re-INVITE or UPDATE that is no SDP");
        }
        let media = &context.shared.settings.media;
        if let Some(why) = offer.as_deref().and_then(|offer| refusal(offer, media)) {
            return context.refuse(server, 488, why);
        }
        let invite = *request.method() == Method::Invite;
        if too_brief(context, request) {
            return context.refuse(server, 422, "session timer shorter than the smallest");
        }
        if self.answer_returned(context, side, server, request, offer.as_deref()) {
            return;
        }
        let asks = Request::of(request.method(), offer.is_some());
        if let Err(refusal) = self.negotiations(context, side, asks) {
            let (status, why) = refusal.answer();
            return context.refuse(server, status, why);
        }
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let refreshes = offer.is_some() && offer == leg.talk.said;
        if asks == Request::Refresh {
            let moved = leg.dialog.refresh(request);
            self.accept_alone(context, side, server, None);
            self.moved(context, side, moved);
            return self.tell_who(context, side, request);
        }
        if self.party(side.other()).lost.is_some() {
            self.settle_negotiations(side);
            self.names_another(side, request);
            return self.renegotiate_with_the_standing(context, side, server, request, offer);
        }
        if refreshes {
            // Nothing new: a session timer or a keep-alive of this leg alone.
            self.settle_negotiations(side);
            let Some(leg) = self.leg_mut(side) else {
                return;
            };
            let told = survivor::answer_again(&mut leg.talk, context.shared);
            let moved = leg.dialog.refresh(request);
            self.accept_alone(context, side, server, told.as_deref());
            if invite {
                self.await_ack(context, side, server, request.cseq(), false);
            }
            self.moved(context, side, moved);
            return self.tell_who(context, side, request);
        }
        if self.only_moves(context, side, offer.as_deref()) {
            self.settle_negotiations(side);
            self.renegotiate_with_the_standing(context, side, server, request, offer);
            return self.tell_who(context, side, request);
        }
        if hops_left(request).is_none() {
            self.settle_negotiations(side);
            return context.refuse(server, 483, "no hops left");
        }
        let (id, leg) = (self.id, self.party(side).leg.as_ref().map(|leg| leg.id));
        if let Some(leg) = leg {
            context.shared.transactions.bind(server, (id, leg));
        }
        if self.grow(context, side, server, offer.as_deref()) {
            return;
        }
        self.offer_across(context, side, server, request, offer);
    }

    /// The endpoint has moved, and says so itself: the relay sends there, and the other side sees nothing of it.
    fn only_moves(&self, context: &Context<'_>, side: Side, offer: Option<&str>) -> bool {
        let only = || {
            let talk = &self.party(side).leg.as_ref()?.talk;
            let (said, told) = (talk.said.as_deref()?, talk.told.as_deref()?);
            Some(sdp::only_moves(
                said.as_bytes(),
                told.as_bytes(),
                offer?.as_bytes(),
            ))
        };
        context.shared.settings.media.mode == MediaMode::Relay && only() == Some(true)
    }

    /// The endpoint has told where it is now.
    fn moved(&mut self, context: &mut Context<'_>, side: Side, moved: bool) {
        if moved {
            self.configure(context, side);
            self.persist(context);
        }
    }

    pub(super) fn offer_across(
        &mut self,
        context: &mut Context<'_>,
        from: Side,
        server: ServerId,
        request: &Message,
        offer: Option<Box<str>>,
    ) {
        let (id, to) = (self.id, from.other());
        let Some(before) = self.leg_mut(to).map(|leg| leg.talk.clone()) else {
            self.settle_negotiations(from);
            return context.refuse(server, 500, "the other side has no dialog yet");
        };
        let told = match &offer {
            Some(offer) => match self.tell(context, to, offer, Role::Offer) {
                Some(told) => Some(told),
                None => {
                    self.settle_negotiations(from);
                    return context.refuse(server, 488, "offer that cannot be read");
                }
            },
            None => None,
        };
        let invite = *request.method() == Method::Invite;
        let mut lines = self.proof_for(context, from, request);
        lines.extend(self.identity_lines(context, from, request));
        let Some(leg) = self.leg_mut(to) else { return };
        let ours_invite = invite || !leg.abilities.update;
        let hops = hops_left(request).unwrap_or_default();
        let client = offer_anew(
            context,
            id,
            leg,
            (ours_invite, hops),
            told.as_deref(),
            (&lines, Enclosed::of(request)),
        );
        if let Some(offer) = &offer {
            self.awaits(context, from, offer);
        }
        self.renegotiation = Some(Box::new(Renegotiation {
            from,
            server,
            client,
            invite,
            ours_invite,
            offer,
            turned: false,
            before,
        }));
        self.keep_open_invite(context, server);
    }

    /// Takes an answer to our re-INVITE or UPDATE. Returns false where it is none of it.
    pub(crate) fn renegotiation_response(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        response: &Message,
        flow: Flow,
    ) -> bool {
        let Some(mut pending) = self
            .renegotiation
            .take_if(|pending| pending.client == client)
        else {
            return false;
        };
        let (from, to) = (pending.from, pending.from.other());
        let status = response.status();
        match status {
            ..200 => self.renegotiation = Some(pending),
            200..300 => self.agreed(context, *pending, response, flow),
            300.. if outcome::ends_dialog(status) => {
                self.renegotiation = Some(pending);
                self.denied(context, to, Signal::RequestFailed);
            }
            422 if self.offers_for_longer(context, &mut pending, response) => {
                self.renegotiation = Some(pending);
            }
            300.. if self.offers_the_other_way(context, &mut pending, status) => {
                self.renegotiation = Some(pending);
            }
            300.. => {
                self.settle_negotiations(from);
                if let Some(leg) = self.leg_mut(to) {
                    leg.talk.back_to(pending.before);
                }
                self.shrink(context);
                let lines = self.lines_for(context, from, response);
                context.hand_on(pending.server, response, is_challenge(&lines), |builder| {
                    builder.raw_lines(&lines).end()
                });
                if verdict(response.method(), status) == Verdict::Doubt {
                    self.suspect(context, to, Signal::RequestFailed);
                }
            }
        }
        true
    }

    /// RFC 4028 7.3: the other side takes no timer as short as that; it is asked for what it demands.
    fn offers_for_longer(
        &mut self,
        context: &mut Context<'_>,
        pending: &mut Renegotiation,
        response: &Message,
    ) -> bool {
        let leg = self.leg_mut(pending.from.other());
        if !leg.is_some_and(|leg| leg.too_brief(context, response)) {
            return false;
        }
        self.offers_again(context, pending)
    }

    /// The phone may only have refused SRTP, or the lack of it, in what takes the place of a fax.
    fn offers_the_other_way(
        &mut self,
        context: &mut Context<'_>,
        pending: &mut Renegotiation,
        status: u16,
    ) -> bool {
        let to = pending.from.other();
        let other = self.other_way_within(context, to, status, &pending.before);
        let (Some(secure), Some(offer), false) = (other, &pending.offer, pending.turned) else {
            return false;
        };
        if let Some(leg) = self.leg_mut(to) {
            leg.talk.back_to(pending.before.clone());
        }
        let told = self.tell_so(context, to, offer, Role::Offer, Some(secure));
        pending.turned = true;
        told.is_some() && self.offers_again(context, pending)
    }

    /// Makes an offer that was refused once more, as it was told last.
    fn offers_again(&mut self, context: &mut Context<'_>, pending: &mut Renegotiation) -> bool {
        let id = self.id;
        let asked = context.shared.transactions.request_of(pending.server);
        let hops = asked.and_then(|(request, _)| hops_left(request));
        let Some(leg) = self.leg_mut(pending.from.other()) else {
            return false;
        };
        let told = leg.talk.told.clone().filter(|_| pending.offer.is_some());
        let how = (pending.ours_invite, hops.unwrap_or_default());
        pending.client = offer_anew(context, id, leg, how, told.as_deref(), (&[], None));
        true
    }

    fn agreed(
        &mut self,
        context: &mut Context<'_>,
        pending: Renegotiation,
        response: &Message,
        flow: Flow,
    ) {
        let (id, from, to) = (self.id, pending.from, pending.from.other());
        let said = sdp_of(response);
        let late = pending.offer.is_none() && said.is_some();
        let Some(leg) = self.leg_mut(to) else { return };
        leg.dialog.refresh_over(response, flow);
        leg.abilities.learn(response);
        leg.is_told();
        if let Some(said) = &said {
            match late {
                true => leg.talk.offers(said.clone()),
                false => leg.talk.says(said.clone()),
            }
        }
        if pending.ours_invite {
            if late {
                leg.owe_ack(response.cseq());
            } else {
                leg.acknowledge(context, id, response.cseq(), None);
            }
        }
        let request = context.shared.transactions.request_of(pending.server);
        let cseq = request.map_or(0, |(request, _)| request.cseq());
        if let Some(leg) = self.leg_mut(from) {
            leg.misled = false;
            if let Some((request, _)) = request {
                // RFC 6141 4: one that is refused would not have moved it.
                let _ = leg.dialog.refresh(request);
            }
            if let Some(offer) = pending.offer {
                leg.talk.offers(offer);
            }
        }
        if let Some((request, _)) = request {
            self.names_another(from, request);
        }
        let role = if late { Role::Offer } else { Role::Answer };
        let told = said
            .as_deref()
            .and_then(|said| self.tell(context, from, said, role));
        let lines = self.identity_lines(context, to, response);
        self.names_another(to, response);
        self.accept_with(context, from, pending.server, &lines, told.as_deref());
        self.open_invite = None;
        if pending.invite {
            self.await_ack(context, from, pending.server, cseq, late);
        }
        if !late {
            self.settle_negotiations(from);
            self.configure(context, from);
            self.configure(context, to);
        }
        self.persist(context);
    }

    /// The answer to an offer that came in a 2xx has come with the ACK: the other side's ACK takes it on.
    pub(crate) fn late_answer(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        answer: Option<Box<str>>,
    ) {
        let (id, to) = (self.id, side.other());
        if let Some(leg) = self.leg_mut(side) {
            leg.settle();
        }
        let Some(answer) = answer else {
            return self.acknowledge_with_the_standing(context, to);
        };
        if let Some(leg) = self.leg_mut(side) {
            leg.talk.says(answer.clone());
        }
        let owed = |leg: &mut Leg| leg.ack.as_ref().is_some_and(|ack| ack.waits);
        if self.leg_mut(to).is_some_and(owed)
            && let Some(told) = self.tell(context, to, &answer, Role::Answer)
            && let Some(leg) = self.leg_mut(to)
            && let Some(ack) = leg.ack.take()
        {
            leg.settle();
            leg.acknowledge(context, id, ack.cseq, Some(told));
        }
        // Where it cannot be read.
        self.acknowledge_with_the_standing(context, to);
        self.configure(context, side);
        self.configure(context, to);
        self.persist(context);
        // Where the offer was ours alone, as to who comes back without one, the other side has heard nothing yet.
        self.catch_up(context, to);
    }

    /// The other side is lost while a renegotiation waits for it: the standing session is the answer.
    pub(crate) fn settle_renegotiation(&mut self, context: &mut Context<'_>, lost: Side) {
        self.settle_growing(context, lost);
        let Some(pending) = self.renegotiation.take() else {
            return;
        };
        self.settle_negotiations(pending.from);
        if pending.from == lost {
            // It asked and is gone; should it live, it may ask again.
            if let Some(leg) = self.leg_mut(lost.other()) {
                withdraw(context, leg, pending.offer.is_some(), pending.before);
            }
            return context.answer(pending.server, 500, None);
        }
        // It has not agreed to that, and is told of it where it is back.
        let party = self.party_mut(lost);
        let aside = party.lost.as_mut().map(|aside| &mut aside.old);
        // Another dialog may have taken its place.
        let leg = party.leg.as_mut().or(aside);
        if let Some(leg) = leg.filter(|leg| leg.talk.session == pending.before.session) {
            leg.talk.back_to(pending.before);
        }
        let Some((request, _)) = context.shared.transactions.request_of(pending.server) else {
            return;
        };
        let request = request.clone();
        self.renegotiate_with_the_standing(
            context,
            pending.from,
            pending.server,
            &request,
            pending.offer,
        );
    }

    /// An offer got no answer of an endpoint that lives: all is as it was, and a probe settles the rest. Returns
    /// false where it is dead, or the offer another one.
    pub(crate) fn offer_ignored(&mut self, context: &mut Context<'_>, client: ClientId) -> bool {
        let pending = self.renegotiation.as_ref();
        let to = pending
            .filter(|pending| pending.client == client)
            .map(|pending| pending.from.other());
        let lives = |to: &Side| {
            let leg = self.party(*to).leg.as_ref();
            leg.is_some_and(|leg| self.lives_since(context, *to, leg.offered))
        };
        let Some(to) = to.filter(lives) else {
            return false;
        };
        let Some(pending) = self.renegotiation.take() else {
            return false;
        };
        self.settle_negotiations(pending.from);
        if let Some(leg) = self.leg_mut(to) {
            leg.talk.back_to(pending.before);
        }
        self.shrink(context);
        context.answer(pending.server, 500, None);
        self.suspect(context, to, Signal::NoAnswer);
        true
    }

    /// The offer is taken back (RFC 3261 9.2): all is as it was.
    pub(crate) fn renegotiation_cancelled(&mut self, context: &mut Context<'_>, server: ServerId) {
        if self.growing_cancelled(context, server) {
            return;
        }
        let Some(pending) = self
            .renegotiation
            .take_if(|pending| pending.server == server)
        else {
            return context.answer(server, 487, None);
        };
        context.answer(server, 487, None);
        self.settle_negotiations(pending.from);
        if let Some(leg) = self.leg_mut(pending.from.other()) {
            withdraw(context, leg, pending.offer.is_some(), pending.before);
        }
        self.shrink(context);
    }

    /// The end: whoever waits is told.
    pub(crate) fn drop_renegotiation(&mut self, context: &mut Context<'_>) {
        self.drop_growing(context);
        if let Some(pending) = self.renegotiation.take() {
            context.answer(pending.server, 481, None);
        }
    }

    /// Our request got no answer at all.
    pub(crate) fn is_renegotiating(&self, client: ClientId) -> bool {
        self.renegotiation
            .as_ref()
            .is_some_and(|pending| pending.client == client)
    }

    /// The 2xx to a re-INVITE is out.
    pub(crate) fn await_ack(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        cseq: u32,
        answer_due: bool,
    ) {
        let id = self.id;
        if let Some(leg) = self.leg_mut(side) {
            context.shared.transactions.bind(server, (id, leg.id));
            let before = leg.unacknowledged.replace(Unacknowledged {
                server,
                cseq,
                answer_due,
            });
            if let Some(before) = before {
                // Who asks anew has had that 2xx, though its ACK was lost.
                context.shared.transactions.acknowledged(before.server);
            }
        }
    }

    /// An offer that is open is open for a reason that ends: else every later one would get 491.
    pub(crate) fn check_negotiations(
        &self,
        waits: impl Fn(ClientId) -> bool,
    ) -> Result<(), String> {
        for leg in self
            .parties
            .iter()
            .filter_map(|party| party.leg.as_ref())
            .filter(|leg| leg.negotiation != Negotiation::Idle)
        {
            let asked = leg.reinvite.is_some_and(&waits);
            let across = self
                .renegotiation
                .as_ref()
                .is_some_and(|pending| waits(pending.client))
                || self.growing.is_some();
            let unacknowledged =
                leg.unacknowledged.is_some() || leg.ack.as_ref().is_some_and(|ack| ack.waits);
            if !(asked || across || unacknowledged) {
                return Err(format!(
                    "{:?} for good on the leg of the {:?} of {}",
                    leg.negotiation, leg.side, self.id
                ));
            }
        }
        Ok(())
    }

    /// Opens what one side asks on both legs, or on neither.
    fn negotiations(
        &mut self,
        context: &Context<'_>,
        side: Side,
        asks: Request,
    ) -> Result<(), Refusal> {
        let open = |side| {
            let leg = self.party(side).leg.as_ref();
            leg.map_or(Negotiation::Idle, |leg| leg.negotiation)
        };
        let near = open(side).receive(asks)?;
        let far = open(side.other()).send(asks)?;
        let asked = self.party(side.other()).leg.as_ref();
        // RFC 3261 14.1: nor before the ACK to our 2xx, which shows that it knows of its dialog.
        let waits = |leg: &Leg| leg.is_asked_still(context) || leg.unacknowledged.is_some();
        if far != Negotiation::Idle && asked.is_some_and(waits) {
            return Err(Refusal::Wait);
        }
        if let Some(leg) = self.leg_mut(side) {
            leg.negotiation = near;
        }
        if let Some(leg) = self.leg_mut(side.other()) {
            leg.negotiation = far;
        }
        Ok(())
    }

    /// What was open between the two is closed, by an answer or by a failure.
    pub(super) fn settle_negotiations(&mut self, side: Side) {
        for side in [side, side.other()] {
            if let Some(leg) = self.leg_mut(side) {
                leg.settle();
            }
        }
    }
}

/// What its phone was asked on behalf of the other side comes to nothing: all is as it was.
fn withdraw(context: &mut Context<'_>, leg: &mut Leg, offered: bool, before: Talk) {
    let alike = offered && leg.talk.told == before.told;
    leg.leave(context);
    leg.alike = leg.withdrawn.filter(|_| alike);
    leg.talk.back_to(before);
}

fn offer_anew(
    context: &mut Context<'_>,
    id: ConversationId,
    leg: &mut Leg,
    (invite, hops): (bool, u8),
    told: Option<&str>,
    (lines, enclosed): (&[u8], Option<Enclosed>),
) -> ClientId {
    let method = if invite {
        Method::Invite
    } else {
        Method::Update
    };
    leg.carried(context, id, (&method, hops), What::Carry, |builder| {
        end_enclosed(builder.raw_lines(lines), enclosed.as_ref(), told)
    })
}
