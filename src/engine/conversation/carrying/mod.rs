//! Requests within the conversation: whose they are, and across to the other side.
//!
//! `crossing` what passes from one leg to the other, `demands` what a request requires, `course`, `within` and
//! `failover` its way, `size` what no datagram should carry, `watching` the targets of upstreams.

pub(crate) mod course;
pub(crate) mod crossing;
pub(crate) mod demands;
pub(crate) mod failover;
pub(crate) mod size;
pub(crate) mod watching;
pub(crate) mod within;

use self::demands::demands;
use crate::engine::conversation::context::{ALLOW, Context, Errand, What, end_with};
use crate::engine::conversation::doubting::outcome::NOT_TAKEN;
use crate::engine::conversation::ending::parting::Bye;
use crate::engine::conversation::people::proof::is_challenge;
use crate::engine::conversation::session::enclosed::sdp_of;
use crate::engine::conversation::{Carried, Conversation};
use crate::engine::dialog::failure::{Verdict, verdict};
use crate::engine::dialog::{Admission, Dialog, Do, Happens};
use crate::engine::events::{Ending, GaveUp, Signal};
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::time::Time;
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Message, Method, Name};

/// What crosses of a request, beside its body.
pub(super) struct Across {
    lines: Vec<u8>,
    hops: u8,
}

impl Across {
    /// Sends the request on within another dialog.
    pub(super) fn send(
        &self,
        context: &mut Context<'_>,
        dialog: &mut Dialog,
        errand: Errand,
        request: &Message,
    ) -> ClientId {
        let course = context.course(dialog);
        let via = context.via(errand.conversation, &course.flow);
        let mut builder = dialog.carried(request.method(), &via, self.hops);
        if matches!(
            request.method(),
            Method::Notify | Method::Refer | Method::Subscribe
        ) {
            let sips = dialog.security().is_told();
            let contact = context.contact_over(&course.flow, sips);
            builder = builder.header(Name::Contact, contact);
        }
        let builder = builder.raw_lines(&self.lines).raw_lines(&demands(request));
        let bytes = end_with(builder, request.content_type(), request.body());
        context.send_on(dialog, course, bytes, errand)
    }
}

/// Requests of one side that may wait for the other at a time; a phone that sends more is refused.
const CARRIED_MAX: usize = 32;

impl Conversation {
    /// A request with a To tag of ours.
    pub(crate) fn on_request(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let side = self.side_of(leg);
        if side == Some(Side::Caller) && self.invitation.is_some() {
            self.caller_request(context, server, request, flow);
        } else if let Some(side) = side {
            self.live_request(context, side, server, request, flow);
        } else if let Some(side) = self.lost_side_of(leg) {
            self.lost_request(context, side, server, request, flow);
        } else if self.is_leaving(leg) {
            self.leaving_request(context, leg, server, request);
        } else if self.is_inviting(leg) || self.branch_side(leg).is_some() {
            self.early_request(context, leg, server, request);
        } else {
            context.refuse(server, 481, "request within a dialog that has ended");
        }
    }

    fn live_request(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        if !leg.dialog.owns(request) {
            return context.refuse(server, 481, "tags of another dialog");
        }
        if leg.dialog.receive(request).is_err() {
            return context.refuse(server, 500, "CSeq lower than one before");
        }
        leg.abilities.learn(request);
        let before = leg.life;
        let _ = leg.life.take(Happens::Speech);
        let proves = leg.life != before;
        let admission = leg.life.admit(request.method());
        self.follow(context, side, flow);
        self.shows_life(context, side);
        match admission {
            Admission::Take if context.refuse_demands(server, request) => {}
            Admission::Take => self.take_request(context, side, server, request),
            Admission::Here => context.answer(server, 200, None),
            Admission::Refuse(status, why) => context.refuse(server, status, why),
        }
        if proves {
            self.pump(context, side);
        }
    }

    /// What is admitted has its effect.
    fn take_request(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
    ) {
        match request.method() {
            Method::Bye => self.on_bye(context, side, server, request),
            Method::Message => self.on_message(context, side, server, request),
            Method::Invite | Method::Update => self.on_renegotiate(context, side, server, request),
            Method::Prack => self.late_prack(context, side, server, request),
            Method::Refer => self.on_refer(context, side, server, request),
            Method::Options
            | Method::Info
            | Method::Notify
            | Method::Subscribe
            | Method::Publish
            | Method::Register
            | Method::Ack
            | Method::Cancel
            | Method::Other(_) => self.carry(context, side, server, request),
        }
    }

    /// Requests go where the phone was last heard from: a NAT may have given it another port, a closed
    /// connection another one. Its tags and CSeq were checked; the target changes by re-INVITE only.
    fn follow(&mut self, context: &mut Context<'_>, side: Side, flow: Flow) {
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        if !context.may_take(&leg.dialog, &flow) {
            // It is answered there, and asked nothing in the clear.
            return;
        }
        let before = leg.dialog.flow;
        leg.goes_over(flow);
        if before == flow {
            return;
        }
        if before.peer.ip() != flow.peer.ip() {
            self.configure(context, side);
        }
        self.persist(context);
    }

    /// Sends a request on within the other side's dialog, all but the dialog's own fields as it came.
    pub(super) fn carry(
        &mut self,
        context: &mut Context<'_>,
        from: Side,
        server: ServerId,
        request: &Message,
    ) {
        let given = self.given_alone(from) || self.has_given(from.other());
        if self.party(from.other()).lost.is_some() || given {
            return self.answer_for_the_lost(context, from, server, request);
        }
        let Some(across) = self.across(context, from, server, request) else {
            return;
        };
        let id = self.id;
        let Some(leg) = self.leg_mut(from.other()) else {
            return context.refuse(server, 500, "the other side has no dialog yet");
        };
        let errand = Errand {
            conversation: id,
            leg: leg.id,
            what: What::Carry,
        };
        let client = across.send(context, &mut leg.dialog, errand, request);
        self.carries(context, (client, server), from, request);
    }

    /// Returns what crosses of a request; none where it may not, and is refused.
    pub(super) fn across(
        &self,
        context: &mut Context<'_>,
        from: Side,
        server: ServerId,
        request: &Message,
    ) -> Option<Across> {
        if self.carried.len() >= CARRIED_MAX {
            context.refuse(server, 500, "too many requests wait for the other side");
            return None;
        }
        let Some(hops) = hops_left(request) else {
            context.refuse(server, 483, "no hops left");
            return None;
        };
        let lines = self.lines_for(context, from, request);
        Some(Across { lines, hops })
    }

    /// A request is on its way across, and its sender waits for the answer.
    pub(super) fn carries(
        &mut self,
        context: &Context<'_>,
        (client, server): (ClientId, ServerId),
        from: Side,
        request: &Message,
    ) {
        self.carried.push(Carried {
            client,
            server,
            from,
            method: request.method().clone(),
            sent: context.now,
            early: self.answered.is_none(),
        });
    }

    /// What was carried in an early dialog gets no answer.
    pub(super) fn carried_in_vain(&mut self, context: &mut Context<'_>, client: ClientId) {
        let vain = |carried: &mut Carried| carried.client == client;
        for carried in self.carried.extract_if(.., vain) {
            context.answer(carried.server, 500, None);
        }
    }

    /// An answer to what was carried.
    pub(super) fn carried_response(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        response: &Message,
    ) {
        // RFC 4320 4.1: a non-INVITE request gets no provisional that its sender did not ask for.
        if response.status() < 200 {
            return;
        }
        let Some(at) = self
            .carried
            .iter()
            .position(|carried| carried.client == client)
        else {
            return;
        };
        let to = self.carried[at].from.other();
        let made = match response.status() {
            ..300 => Verdict::Stands,
            // Who only rings is no side of the call that could be lost.
            _ if self.carried[at].early => Verdict::Stands,
            status => verdict(&self.carried[at].method, status),
        };
        let offers = matches!(self.carried[at].method, Method::Invite | Method::Update);
        if made == Verdict::Gone && (offers || !self.is_asked_first(context.now, to)) {
            return self.denied(context, to, Signal::RequestFailed);
        }
        let carried = self.carried.remove(at);
        if made == Verdict::Gone {
            context.answer(carried.server, NOT_TAKEN, None);
            return self.suspect(context, to, Signal::RequestFailed);
        }
        if (200..300).contains(&response.status()) {
            self.retarget(context, &carried, response);
        }
        let contact = self
            .leg_mut(carried.from)
            .filter(|_| matches!(carried.method, Method::Subscribe | Method::Refer))
            .map(|leg| context.contact(&leg.dialog));
        let lines = self.lines_for(context, carried.from, response);
        // RFC 3261 11.2: these are of the dialog that the request came by, and its other end is us.
        let asks = carried.method == Method::Options && (200..300).contains(&response.status());
        let supported = asks.then(|| context.supported());
        context.hand_on(
            carried.server,
            response,
            is_challenge(&lines),
            |mut builder| {
                if let Some(contact) = contact {
                    builder = builder.header(Name::Contact, contact);
                }
                if let Some(supported) = supported {
                    builder = builder.header(Name::Allow, ALLOW);
                    builder = builder.header(Name::Supported, supported);
                }
                end_with(
                    builder.raw_lines(&lines).raw_lines(&demands(response)),
                    response.content_type(),
                    response.body(),
                )
            },
        );
        if made == Verdict::Doubt {
            self.suspect(context, to, Signal::RequestFailed);
        }
    }

    /// Both ends may have told where they are now.
    fn retarget(&mut self, context: &mut Context<'_>, carried: &Carried, response: &Message) {
        let mut moved = false;
        if let Some(leg) = self.leg_mut(carried.from)
            && let Some((request, _)) = context.shared.transactions.request_of(carried.server)
        {
            moved |= leg.dialog.refresh(request);
        }
        if let Some(leg) = self.leg_mut(carried.from.other()) {
            moved |= leg.dialog.refresh(response);
        }
        if moved {
            self.persist(context);
        }
    }

    /// Returns true where an endpoint has spoken since, or is heard.
    pub(super) fn lives_since(&self, context: &Context<'_>, side: Side, sent: Time) -> bool {
        let leg = self.party(side).leg.as_ref();
        let heard = self.is_watched_and_heard(context, side);
        leg.is_some_and(|leg| heard || leg.seen > sent)
    }

    /// A request got no answer of an endpoint that lives: that one is not taken there, and a probe settles the
    /// rest. Returns false where it is dead.
    pub(super) fn ignored(&mut self, context: &mut Context<'_>, client: ClientId) -> bool {
        let at = self.carried.iter().position(|carried| {
            carried.client == client
                && self.lives_since(context, carried.from.other(), carried.sent)
        });
        let Some(at) = at else { return false };
        let carried = self.carried.remove(at);
        context.answer(carried.server, 500, None);
        self.suspect(context, carried.from.other(), Signal::NoAnswer);
        true
    }

    /// The other side is lost: what it owed an answer is answered here.
    pub(super) fn settle_carried(&mut self, context: &mut Context<'_>, lost: Side) {
        let (waiting, rest) = std::mem::take(&mut self.carried)
            .into_iter()
            .partition(|carried| carried.from == lost.other());
        self.carried = rest;
        let waiting: Vec<Carried> = waiting;
        for carried in waiting {
            let Some((request, _)) = context.shared.transactions.request_of(carried.server) else {
                continue;
            };
            let request = request.clone();
            self.answer_for_the_lost(context, carried.from, carried.server, &request);
        }
    }

    /// BYE: a farewell, or a network that failed (RFC 3326).
    fn on_bye(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
    ) {
        if self.giving.is_some() {
            self.persist(context);
        }
        context.answer(server, 200, None);
        let leg = self.party(side).leg.as_ref();
        let up = leg.is_some_and(|leg| self.can_be_sought(context, side, leg));
        let up = up && self.party(side).is_up();
        let done = self.other_is_leaving() || self.giving.is_some();
        let superseded = leg.is_some_and(|leg| leg.is_superseded(context));
        if up && superseded && !done {
            return self.lose(context, side, Signal::Superseded);
        }
        if up && self.is_failure_bye(context, request) && !done {
            return self.lose(context, side, Signal::FailureBye);
        }
        // RFC 4028 10: nor is this the user's.
        let run_out = self.party(side).leg.as_ref();
        if up && !done && run_out.is_some_and(|leg| leg.runs_out_unheard(context.now)) {
            return self.lose(context, side, Signal::SessionExpired);
        }
        // RFC 3261 13.3.1.4: it hangs up by itself, and nobody has put a receiver down.
        let repeats = self.party(side).leg.as_ref();
        let repeats = repeats.and_then(|leg| leg.repeats.as_deref());
        if up && !done && repeats.is_some_and(|repeats| repeats.are_in_vain(context.now)) {
            return self.lose(context, side, Signal::NoAck);
        }
        let act = self.leg_mut(side).map(|leg| leg.life.take(Happens::Bye));
        if self.leaves_given(side) {
            // Its phone has no dialog any more, and would say so.
            return self.settle_carried(context, side);
        }
        if act == Some(Do::Reject) {
            return self.caller_gone(context);
        }
        self.hang_up(context, side, request);
    }

    pub(super) fn is_failure_bye(&self, context: &Context<'_>, request: &Message) -> bool {
        use crate::engine::settings::FailureCause;
        let causes = &context.shared.settings.detect.failure_bye;
        request.values(Name::Reason).any(|reason| {
            let (protocol, params) = reason.split_once(';').unwrap_or((reason, ""));
            let cause = crate::sip::Params::new(params)
                .value("cause")
                .and_then(|cause| cause.parse::<u16>().ok());
            cause.is_some_and(|cause| {
                causes.iter().any(|known| match known {
                    FailureCause::Sip(known) => {
                        protocol.trim().eq_ignore_ascii_case("SIP") && *known == cause
                    }
                    FailureCause::Q850(known) => {
                        protocol.trim().eq_ignore_ascii_case("Q.850") && *known == cause
                    }
                })
            })
        })
    }

    fn other_is_leaving(&self) -> bool {
        self.closing.is_some()
    }

    /// Ends the conversation by the wish of one side: the other gets the BYE with what it carried.
    fn hang_up(&mut self, context: &mut Context<'_>, side: Side, request: &Message) {
        let id = self.id;
        let lines = self.lines_of(context, side, request);
        // As long as it is known whose phone it was for.
        self.last_word_ends(context, side);
        if let Some(other) = self.party_mut(side.other()).leg.take() {
            let aor = self.party(side.other()).aor.clone();
            other.part(context, id, aor, Bye::like(request, lines));
        }
        if let Some(mut leg) = self.party_mut(side).leg.take() {
            leg.leave(context);
            context.forget_tag(&leg.dialog.local_tag);
        }
        self.finish(context, Ending::HungUp(side));
    }

    /// Answers a request that changes nothing but its own dialog with a 2xx of ours.
    pub(super) fn accept_alone(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        sdp: Option<&str>,
    ) {
        self.accept_with(context, side, server, &[], sdp);
    }

    /// The same with lines of the other side.
    pub(super) fn accept_with(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        lines: &[u8],
        sdp: Option<&str>,
    ) {
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let accepting = leg.accepting(context, server);
        context.respond(server, 200, "OK", None, |builder| {
            end_with(
                accepting.write(builder).raw_lines(lines),
                Some("application/sdp"),
                sdp.unwrap_or("").as_bytes(),
            )
        });
    }

    /// The ACK to a 2xx of ours (RFC 3261 13.2.2.4): it may bring the answer that the other side waits for.
    pub(crate) fn on_ack(&mut self, context: &mut Context<'_>, leg: LegId, request: &Message) {
        let Some(side) = self.side_of(leg) else {
            return self.acknowledged_aside(context, leg, request);
        };
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let Some(waiting) = leg
            .unacknowledged
            .take_if(|waiting| waiting.cseq == request.cseq())
        else {
            return;
        };
        let _ = leg.life.take(Happens::Ack);
        let success = leg.success.take();
        let kept = success.as_ref().is_some_and(|it| it.is_to_be_forgotten());
        if success.is_some_and(|success| success.is_hushed()) {
            self.configure(context, side);
        }
        context.shared.transactions.acknowledged(waiting.server);
        if kept {
            self.persist(context);
        }
        self.shows_life(context, side);
        if waiting.answer_due {
            self.late_answer(context, side, sdp_of(request));
        }
        if self.giving.is_none() {
            self.restate(context);
        }
        self.pump(context, side);
    }

    /// Our 2xx was never acknowledged. Who never had the dialog is lost, and the call ends where nothing shows that
    /// it was there at all; who is only silent in it is asked.
    pub(crate) fn on_no_ack(&mut self, context: &mut Context<'_>, leg: LegId, server: ServerId) {
        let Some(side) = self.side_of(leg) else {
            return self.unacknowledged_aside(context, leg, server);
        };
        let forged = self.may_be_forged(context, side);
        let Some(waiting) = self.leg_mut(side).and_then(|leg| {
            leg.unacknowledged
                .take_if(|waiting| waiting.server == server)
        }) else {
            return;
        };
        if forged {
            return self.finish(context, Ending::Gave(GaveUp::NeverAcknowledged));
        }
        if let Some(leg) = self.leg_mut(side) {
            // It is sent no more.
            leg.success = None;
            if leg.life.take(Happens::NoAck) == Do::Lose {
                return self.lose(context, side, Signal::NoAck);
            }
        }
        if waiting.answer_due {
            self.late_answer(context, side, None);
        }
        self.suspect(context, side, Signal::NoAnswer);
    }
}

/// Returns Max-Forwards less one (RFC 7332): None where none is left.
pub(crate) fn hops_left(request: &Message) -> Option<u8> {
    request.max_forwards().unwrap_or(70).checked_sub(1)
}
