//! The first 2xx: who sent it has the call, and the caller gets it (RFC 3261 13.2.2.4, RFC 3264 4).

use super::success::Success;
use super::{Invitation, verdict};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::ending::stray::{Leaving, acknowledge_and_leave};
use crate::engine::conversation::forking::Branch;
use crate::engine::conversation::forking::trail::Walked;
use crate::engine::conversation::leg::Unacknowledged;
use crate::engine::conversation::people::veil::Veil;
use crate::engine::conversation::session::enclosed::{Enclosed, end_enclosed, sdp_of};
pub(crate) use crate::engine::conversation::session::keys::Role;
use crate::engine::dialog::Happens;
use crate::engine::dialog::reliable::RAck;
use crate::engine::events::{Happening, Refuser};
use crate::engine::ids::{Flow, LegId, Side};
use crate::sip::Message;

/// Who has the call.
pub(super) struct Won {
    pub(super) branch: Branch,
    /// Its session.
    pub(super) said: Option<Box<str>>,
    /// That is an offer.
    pub(super) delayed: bool,
}

impl Branch {
    /// Takes what a 2xx says of the session. Returns the description that holds, and whether it is an offer
    /// that the ACK must answer.
    pub(super) fn take_description(
        &mut self,
        response: &Message,
        offered: bool,
    ) -> (Option<Box<str>>, bool) {
        let same = self.leg.dialog.remote_tag.as_deref() == response.to_tag();
        let settled = self.settled && same;
        let said = sdp_of(response);
        let delayed = !offered && !settled && said.is_some();
        // RFC 3262 5: the answer may have come before, reliably, and does not come again.
        let before = self.leg.talk.said.take().filter(|_| same);
        let holds = said.or(before);
        if let Some(holds) = &holds {
            match delayed {
                true => self.leg.talk.offers(holds.clone()),
                false => self.leg.talk.says(holds.clone()),
            }
        }
        (holds, delayed)
    }
}

impl Invitation {
    /// RFC 3262 3, 5: returns true where the caller owes a PRACK, or one of the two an answer, before it may
    /// have the 2xx of this branch in the early dialog that is `at` there.
    pub(super) fn holds(&self, leg: LegId, at: usize) -> bool {
        self.early.get(at).is_some_and(|early| {
            early.sent.holds_success() || self.is_crossing(leg, &early.dialog.local_tag)
        })
    }
}

impl Conversation {
    /// The first 2xx wins.
    pub(crate) fn accepted(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        self.caller_asks_again(context);
        if let Some(branch) = self.branch_mut(leg) {
            branch.turn_to(response.to_tag());
        }
        let Some(at) = self.early_with(context, leg, response) else {
            return;
        };
        if self.early_mut(at).is_some_and(|early| early.left) {
            // The caller has hung up on this one alone.
            acknowledge_and_leave(context, response, flow, Leaving::Surely, None);
            return self.branch_failed(context, leg, (verdict(480), Refuser::Survivor));
        }
        let Some(mut invitation) = self.invitation.take() else {
            return;
        };
        if invitation.holds(leg, at) {
            let held = || Box::new((leg, response.clone(), flow));
            invitation.held.get_or_insert_with(held);
            self.invitation = Some(invitation);
            return;
        }
        self.invitation = Some(invitation);
        let history = self.history_back(context, leg, response);
        let Some(mut invitation) = self.invitation.take() else {
            return;
        };
        let Some(mut branch) = invitation.fork.take(leg) else {
            self.invitation = Some(invitation);
            return;
        };
        self.cancel_branches(context, &mut invitation.fork, Some(ELSEWHERE));
        self.invitation = Some(invitation);
        self.settle_crossings(context, None);
        let Some(invitation) = self.invitation.take() else {
            return;
        };
        let (said, delayed) = branch.take_description(response, invitation.offer.is_some());
        let _ = branch.leg.take_success(response);
        branch.leg.dialog.answered_by(response, flow);
        branch.leg.abilities.learn(response);
        branch.leg.timed_by(context, response);
        branch.leg.seen = context.now;
        branch.leg.is_named(context);
        branch.leg.is_shown_by(response, &context.shared.settings);
        if delayed {
            branch.leg.owe_ack(response.cseq());
        } else {
            branch
                .leg
                .acknowledge(context, self.id, response.cseq(), None);
        }
        let won = Won {
            branch,
            said,
            delayed,
        };
        let answer = Some((response, history));
        self.answer_caller(context, invitation, at, won, answer);
    }

    /// The caller has its 2xx, in the early dialog that is `at` there: like `answer`, with lines of ours; where
    /// there is none, one of ours alone.
    pub(super) fn answer_caller(
        &mut self,
        context: &mut Context<'_>,
        mut invitation: Box<Invitation>,
        at: usize,
        won: Won,
        answer: Option<(&Message, Vec<u8>)>,
    ) {
        let (server, registered) = (invitation.server, invitation.registered);
        let Won {
            mut branch,
            said,
            delayed,
        } = won;
        let uuid = branch.leg.dialog.session.theirs;
        let identity = branch.leg.who().clone();
        let endpoint = branch.endpoint().name.clone();
        let caller = self.party(Side::Caller).leg.as_ref();
        let cseq = caller.and_then(|leg| leg.dialog.remote_cseq).unwrap_or(0);
        let meant = branch.meant.take();
        let steps = std::mem::take(&mut invitation.fork.steps);
        let walked = branch.trail.as_ref();
        let walked = walked.map(|trail| Walked::of(trail, steps));
        let chosen = self.choose_early(context, invitation, at);
        let unused = self.ports[Side::Callee.index()].settle(branch.generation);
        let callee = self.party_mut(Side::Callee);
        if let Some(mut meant) = meant {
            meant.person.swap(callee);
        }
        callee.leg = Some(branch.leg);
        callee.walked = walked;
        if let Some((response, _)) = &answer {
            callee.veil = Veil::of(response);
        }
        callee.believed = Some(identity);
        let Some(caller) = self.party_mut(Side::Caller).leg.as_mut() else {
            return;
        };
        let _ = caller.life.take(Happens::Accept);
        caller.dialog.session.ours = uuid;
        let identity = caller.endpoint.identity.clone();
        let tag = caller.dialog.local_tag.clone();
        let accepting = caller.accepting(context, server);
        let sent = chosen.as_ref().map(|early| &early.sent);
        let rack = |rseq| RAck { rseq, cseq };
        let out = sent.and_then(|sent| sent.out()).map(|(rseq, _)| rseq);
        let latest = sent.and_then(|sent| sent.latest());
        caller.unacknowledged = Some(Unacknowledged {
            server,
            cseq,
            answer_due: delayed,
        });
        (caller.overtaken, caller.reliable) = (out.map(rack), latest.map(rack));
        self.party_mut(Side::Caller).believed = Some(identity);
        let role = if delayed { Role::Offer } else { Role::Answer };
        let settled = chosen.is_some_and(|early| early.settled);
        let body = self.answer_in(context, settled, said.as_deref(), role);
        self.answered = Some(context.now);
        self.persist(context);
        let (status, reason) = answer.as_ref().map_or((200, "OK"), |(response, _)| {
            (response.status(), response.reason_phrase())
        });
        let lines = answer.as_ref().map(|(response, history)| {
            let mut lines = self.lines_of(context, Side::Callee, response);
            lines.extend(self.asserted_line(context, Side::Callee, response));
            lines.extend_from_slice(history);
            lines
        });
        if let Some((response, _)) = &answer {
            self.names_another(Side::Callee, response);
        }
        let way = context.shared.transactions.request_of(server);
        let way = way.map(|(_, flow)| flow).filter(|_| !delayed);
        let bytes = context.compose(server, status, reason, Some(&tag), |builder| {
            let builder = accepting.write(builder);
            let builder = builder.raw_lines(lines.as_deref().unwrap_or_default());
            let enclosed = answer
                .as_ref()
                .and_then(|(response, _)| Enclosed::of(response));
            end_enclosed(builder, enclosed.as_ref(), body.as_deref())
        });
        if let Some(bytes) = bytes {
            if let (Some(caller), Some(flow)) = (self.leg_mut(Side::Caller), way) {
                caller.success = Some(Success::of(&bytes, (flow, registered), cseq, context));
            }
            context.reply(server, status, bytes);
        }
        self.configure(context, Side::Caller);
        self.configure(context, Side::Callee);
        self.close_ports(context, Side::Callee, unused);
        let side = Side::Callee;
        self.note(context, Happening::Answered { side, endpoint });
        for side in [Side::Caller, Side::Callee] {
            self.watch(context, side);
            self.pump(context, side);
        }
        self.answered_for_another(context);
    }
}
