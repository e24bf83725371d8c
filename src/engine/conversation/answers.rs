//! Answers to what we sent, and the lack of them: each goes to the act that asked.

use super::Conversation;
use super::carrying::within::Renewed;
use super::context::{Context, ELSEWHERE, Errand, What};
use super::doubting::outcome;
use super::ending::stray::{Leaving, acknowledge_and_leave, acknowledge_ringing};
use super::session::enclosed::sdp_of;
use crate::engine::dialog::Do;
use crate::engine::events::{Refuser, Signal, TargetFailure};
use crate::engine::ids::{Flow, LegId};
use crate::engine::locating::Located;
use crate::engine::ports::Token;
use crate::engine::transaction::{ClientId, Sent};
use crate::sip::sdp::Sdp;
use crate::sip::{Message, Method};

/// A response to a request of ours, as the transactions tell it.
pub(crate) struct Answer<'a> {
    pub(crate) response: &'a Message,
    /// What it came over.
    pub(crate) flow: Flow,
    /// The request, where proof is asked for.
    pub(crate) sent: Option<&'a Sent>,
}

impl Conversation {
    /// A response to a request of ours.
    pub(crate) fn on_response(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        errand: Errand,
        answer: &Answer<'_>,
    ) {
        let response = answer.response;
        let leg = errand.leg;
        let agreed = (200..300).contains(&response.status());
        if response.status() >= 200 {
            self.reinvite_over(leg, client, errand.what);
        }
        let final_one = response.status() >= 200;
        let stands =
            errand.what.offers_what_stands() || self.agrees_as_before(&errand, client, response);
        let astray = agreed && !stands;
        let over = final_one.then(|| self.withdrawn_over(leg, client, Some(astray)));
        let over = over.flatten();
        self.session_renewed(context, errand, response);
        self.proof_goes_on(context, errand, response);
        self.answered(context, client, errand, answer);
        match over {
            Some(true) => self.restate(context),
            // A restart need not tell its phone anything.
            Some(false) => self.persist(context),
            None => {}
        }
    }

    /// The act that asked takes the answer.
    fn answered(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        errand: Errand,
        answer: &Answer<'_>,
    ) {
        let leg = errand.leg;
        let (response, flow) = (answer.response, answer.flow);
        self.agreed_too_late(context, errand, response, flow);
        if !self.is_from_its_place(leg, errand.what, response, &flow) {
            return;
        }
        match errand.what {
            What::Invite if self.target_answered(context, leg, response, flow) => {}
            What::Invite => self.invite_response(context, client, leg, answer),
            What::Carry => {
                self.lives_by(context, leg, response, &flow);
                if self.renegotiation_response(context, client, response, flow) {
                    return;
                }
                if (200..300).contains(&response.status()) && *response.method() == Method::Invite {
                    return self.acknowledge_known(context, leg, response);
                }
                self.carried_response(context, client, response);
            }
            What::Letter(to, number, tried) => {
                self.lives_by(context, leg, response, &flow);
                self.letter_response(context, leg, to, (number, tried), response);
            }
            What::Probe => self.probe_response(context, leg, response, flow),
            What::Doubt => self.doubt_response(context, leg, response, flow),
            What::Join => {
                self.lives_by(context, leg, response, &flow);
                self.join_response(context, client, leg, response, flow);
            }
            What::Give => {
                self.lives_by(context, leg, response, &flow);
                self.give_response(context, client, leg, response, flow);
            }
            What::Wish => {
                self.lives_by(context, leg, response, &flow);
                self.wish_response(context, client, leg, response, flow);
            }
            What::Refresh => {
                self.lives_by(context, leg, response, &flow);
                self.refresh_response(context, client, leg, response, flow);
            }
            What::Report => {
                self.lives_by(context, leg, response, &flow);
                self.report_response(context, leg, response);
            }
            What::Early => self.early_response(context, client, response),
            What::Farewell if response.status() >= 200 && *response.method() == Method::Bye => {
                self.farewell_answered(leg, response.status(), &flow);
            }
            What::Farewell
            | What::Passage(_)
            | What::Relay(_)
            | What::Upstream(_)
            | What::Lamp(_) => {}
        }
    }

    /// A request of ours within a dialog has another transaction now.
    pub(crate) fn goes_on_as(&mut self, renewed: &Renewed) {
        let Renewed {
            errand,
            before,
            now,
            flow,
        } = *renewed;
        let swap = |client: &mut ClientId| {
            if *client == before {
                *client = now;
            }
        };
        for party in &mut self.parties {
            let joining = party
                .lost
                .iter_mut()
                .filter_map(|lost| lost.joining.as_mut());
            joining.for_each(|joining| joining.waits_for(swap));
            let lost = party.lost.as_mut().map(|lost| &mut lost.old);
            let legs = lost.into_iter().chain(party.leg.as_mut());
            for leg in legs.filter(|leg| leg.id == errand.leg) {
                leg.dialog.take_way(flow);
                let open = leg.reinvite.iter_mut().chain(&mut leg.withdrawn);
                open.for_each(swap);
                leg.open_wish
                    .iter_mut()
                    .for_each(|open| open.waits_for(swap));
                leg.untold
                    .iter_mut()
                    .for_each(|untold| untold.waits_for(swap));
            }
        }
        self.carried
            .iter_mut()
            .for_each(|carried| swap(&mut carried.client));
        if let Some(pending) = &mut self.renegotiation {
            pending.waits_for(swap);
        }
        if let Some(giving) = &mut self.giving {
            giving.waits_for(swap);
        }
        if let Some(invitation) = &mut self.invitation {
            invitation.wait_for(swap);
        }
    }

    /// A re-INVITE or UPDATE of ours has its final answer, or gets none. What was asked for ourselves is
    /// settled with it; what was carried across is settled with who asked.
    fn reinvite_over(&mut self, leg: LegId, client: ClientId, what: What) {
        let known = self.parties.iter_mut().flat_map(|party| {
            let lost = party.lost.as_mut().map(|lost| &mut lost.old);
            lost.into_iter().chain(party.leg.as_mut())
        });
        for leg in known.filter(|known| known.id == leg) {
            let over = leg.reinvite.take_if(|open| *open == client).is_some();
            let alone = matches!(
                what,
                What::Doubt | What::Join | What::Give | What::Wish | What::Refresh
            );
            if over && alone {
                leg.settle();
            }
        }
    }

    /// Returns true for the answer to an offer that was taken back where both say what stands.
    fn agrees_as_before(&self, errand: &Errand, client: ClientId, response: &Message) -> bool {
        let mut legs = self.parties.iter().filter_map(|party| party.leg.as_ref());
        let asked = legs.find(|leg| leg.id == errand.leg && leg.alike == Some(client));
        let unnumbered = |text: &str| {
            let text = Sdp::parse(text.as_bytes()).ok()?;
            Some(text.with_version(0))
        };
        let known = asked.and_then(|leg| unnumbered(leg.talk.said.as_deref()?));
        known.is_some() && known == sdp_of(response).and_then(|said| unnumbered(&said))
    }

    fn invite_response(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        answer: &Answer<'_>,
    ) {
        let (response, flow) = (answer.response, answer.flow);
        if self.is_inviting(leg) {
            return self.invitation_response(context, leg, answer);
        }
        if let Some(side) = self.branch_side(leg) {
            return self.again_response(context, side, leg, answer);
        }
        if response.status() < 200 {
            if !self.dropped_rings(context, client, leg, answer) {
                context.cancel(client, None);
                acknowledge_ringing(context, response, flow);
            }
            return;
        }
        let dropped = self.take_dropped(leg);
        self.has_let_it_ring(context, leg);
        if response.status() >= 300 || self.acknowledge_standing(context, leg, response) {
            return;
        }
        match dropped {
            Some(dropped) => self.dropped_answered(context, dropped, answer),
            None if self.acknowledge_ghost(context, leg, response) => {}
            // A proxy has forked, and this one answers as well.
            None => {
                acknowledge_and_leave(context, response, flow, Leaving::Surely, Some(ELSEWHERE));
            }
        }
    }

    /// A 2xx of a phone that is lost to a re-INVITE or UPDATE: nobody waits for it, but to an INVITE it wants its ACK
    /// (RFC 3261 13.2.2.4), and would be sent again and again. What it has said to the session that stands counts
    /// where it comes back.
    fn agreed_too_late(
        &mut self,
        context: &mut Context<'_>,
        errand: Errand,
        response: &Message,
        flow: Flow,
    ) {
        let success = (200..300).contains(&response.status());
        if !success || errand.what == What::Invite {
            return;
        }
        let id = self.id;
        let asides = self.parties.iter_mut().filter_map(|party| {
            let lost = party.lost.as_mut();
            lost.map(|lost| &mut lost.old)
        });
        let gone = self.leaving.iter_mut().map(|leaving| &mut leaving.leg);
        let mut known = asides.chain(&mut self.ghosts).chain(gone);
        if let Some(leg) = known.find(|known| known.id == errand.leg) {
            if errand.what.offers_what_stands() && !leg.is_asked_for(response) {
                leg.agreed(response, flow);
            }
            if *response.method() == Method::Invite {
                leg.acknowledge_late(context, id, response);
            }
        }
    }

    fn acknowledge_known(&mut self, context: &mut Context<'_>, leg: LegId, response: &Message) {
        let id = self.id;
        if let Some(side) = self.side_of(leg)
            && let Some(leg) = self.leg_mut(side)
        {
            leg.acknowledge_again(context, id, response.cseq());
        }
    }

    /// A 2xx to an INVITE that has been answered, or is forgotten, as after a restart: where its dialog
    /// stands, or is only thought lost, it wants its ACK and no BYE. Returns false where it is another dialog.
    pub(crate) fn acknowledge_standing(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
    ) -> bool {
        let id = self.id;
        let known = self.parties.iter_mut().find_map(|party| {
            let lost = party.lost.as_mut().map(|lost| &mut lost.old);
            party
                .leg
                .as_mut()
                .into_iter()
                .chain(lost)
                .find(|known| known.id == leg && known.life.is_up())
        });
        let ours = |known: &&mut super::Leg| *known.dialog.call_id == *response.call_id();
        let Some(known) = known.filter(ours) else {
            return false;
        };
        let again = known.take_success(response) == Do::AckAgain;
        if again {
            known.acknowledge_late(context, id, response);
        }
        again
    }

    /// Any word of the endpoint's is a sign of life, but not a proxy's that it is away, nor what it may have said at a
    /// place before it left that.
    fn lives_by(&mut self, context: &mut Context<'_>, leg: LegId, response: &Message, flow: &Flow) {
        if outcome::shows_life(response.status())
            && let Some(side) = self.side_of(leg)
            && let Some(known) = self.leg_mut(side)
            && !known.is_also_at(flow)
        {
            if let Some(leg) = self.leg_mut(side) {
                leg.heard = context.now;
            }
            self.shows_life(context, side);
        }
    }

    /// A request of ours got no answer: by time-out, or since nobody could be reached.
    pub(crate) fn on_unanswered(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        errand: Errand,
        unreachable: bool,
    ) {
        let leg = errand.leg;
        let (signal, failure) = if unreachable {
            (Signal::Transport, TargetFailure::Unreachable)
        } else {
            (Signal::NoAnswer, TargetFailure::Silent)
        };
        self.reinvite_over(leg, client, errand.what);
        self.withdrawn_over(leg, client, None);
        match errand.what {
            What::Invite if self.fail_over(context, leg, failure) => {}
            What::Invite if self.dropped_unanswered(leg, unreachable) => {}
            What::Invite => {
                if self.is_inviting(leg) {
                    let status = if unreachable { 480 } else { 408 };
                    self.invitation_unanswered(context, leg, status);
                } else if let Some(side) = self.branch_side(leg) {
                    if !unreachable {
                        self.may_sleep(context, leg);
                    }
                    let status = if unreachable { 503 } else { 408 };
                    let rang = self.branch_mut(leg).is_some_and(|branch| branch.rang);
                    let by = Refuser::of_silence(rang);
                    self.again_failed(context, side, leg, status, by);
                }
            }
            What::Carry => self.carry_unanswered(context, client, leg, signal),
            What::Letter(to, number, tried) => {
                self.letter_unanswered(context, leg, to, (number, tried), signal);
            }
            What::Probe if unreachable => self.probe_unanswered(context, leg),
            // A probe has a time-out of its own, shorter than the transaction's.
            What::Probe => {}
            What::Doubt => self.doubt_unanswered(context, leg, unreachable),
            What::Join => self.join_unanswered(context, client, leg, signal),
            What::Give => self.give_unanswered(context, client, leg, signal),
            What::Wish => self.wish_unanswered(context, client, leg, signal),
            What::Refresh => self.refresh_unanswered(context, client, leg, signal),
            What::Report => self.report_unanswered(context, leg, signal),
            What::Early => self.early_unanswered(context, client),
            What::Farewell
            | What::Passage(_)
            | What::Relay(_)
            | What::Upstream(_)
            | What::Lamp(_) => {}
        }
    }

    fn carry_unanswered(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        signal: Signal,
    ) {
        let pending = self.is_renegotiating(client)
            || self.carried.iter().any(|carried| carried.client == client);
        let Some(side) = self.side_of(leg).filter(|_| pending) else {
            return;
        };
        if signal == Signal::Transport {
            // No more than a suspicion; who asked is answered as if the other were away.
            self.settle_renegotiation(context, side);
            self.settle_carried(context, side);
            self.suspect(context, side, signal);
        } else if self.is_out(side) {
            self.settle_renegotiation(context, side);
            self.settle_carried(context, side);
        } else if !self.ignored(context, client) && !self.offer_ignored(context, client) {
            if !self.may_be_cut_off(context, side) {
                return self.lose(context, side, signal);
            }
            self.settle_renegotiation(context, side);
            self.settle_carried(context, side);
            self.suspect(context, side, signal);
        }
    }

    /// A host was looked up for a branch.
    pub(crate) fn on_resolved(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        targets: &[Located],
    ) {
        self.invitation_resolved(context, token, targets);
        self.again_resolved(context, token, targets);
        self.media_located(context, token, targets);
    }
}
