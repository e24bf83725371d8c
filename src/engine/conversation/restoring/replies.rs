//! What the endpoints of a re-fork say to their INVITEs, and who registers meanwhile.

use super::away::is_engaged;
use super::forwarded::is_moved;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::answers::Answer;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::early::prack::Owed;
use crate::engine::conversation::ending::stray::{Leaving, acknowledge_and_leave};
use crate::engine::conversation::forking::{Branch, BranchState, Failure, failure};
use crate::engine::conversation::session::enclosed::sdp_of;
use crate::engine::dialog::reliable::{self, Order};
use crate::engine::dialog::{Do, Happens};
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Ending, Happening, Refuser};
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::location;
use crate::engine::settings::Decline;
use crate::engine::transaction::ServerId;
use crate::sip::Message;

impl Conversation {
    /// Returns the side whose re-fork has this branch.
    pub(in crate::engine::conversation) fn branch_side(&self, leg: LegId) -> Option<Side> {
        [Side::Caller, Side::Callee].into_iter().find(|side| {
            self.party(*side)
                .lost
                .as_ref()
                .is_some_and(|lost| lost.fork.branches.iter().any(|branch| branch.leg.id == leg))
        })
    }

    /// An answer to an INVITE of the re-fork.
    pub(in crate::engine::conversation) fn again_response(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        answer: &Answer<'_>,
    ) {
        let (response, flow) = (answer.response, answer.flow);
        match response.status() {
            199 => self.early_ended_beyond(context, leg, response, flow),
            ..200 => self.again_ringing(context, side, leg, response, flow),
            200..300
                if self.again_lacks_keys(&context.shared.settings.media, side, leg, response) =>
            {
                acknowledge_and_leave(context, response, flow, Leaving::Surely, None);
                let names = self.branch_mut(leg).and_then(|branch| branch.names);
                self.has_made_room(context, side, names);
                self.again_failed(context, side, leg, 488, Refuser::Refork);
            }
            200..300 if self.prefers_people(context, side, leg, response) => {
                acknowledge_and_leave(context, response, flow, Leaving::Surely, None);
                self.machine_left(context, side, leg, response.status());
            }
            200..300 => self.again_answered(context, side, leg, response, flow),
            422 if self.asks_for_longer(context, leg, response) => {
                self.launch_again(context, side);
            }
            401 | 407 if self.answers_challenge(context, leg, answer) => {
                self.launch_again(context, side);
            }
            status => {
                self.follow_again(context, side, leg, response);
                self.is_away(context, side, leg, response);
                self.again_failed(context, side, leg, status, Refuser::Endpoint);
            }
        }
    }

    fn again_ringing(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let ring = Self::ring_time(context, lost);
        let Some(branch) = lost.fork.branch(leg) else {
            return;
        };
        let asks = reliable::rseq(response);
        if let (Some(rseq), Some(tag)) = (asks, response.to_tag())
            && branch.heard.take(tag, rseq) != Order::Take
        {
            return;
        }
        branch.turn_to(response.to_tag());
        if response.to_tag().is_some() && branch.leg.life.take(Happens::Provisional) == Do::Ring {
            branch.leg.dialog.answered_by(response, flow);
        }
        let said = sdp_of(response).filter(|_| asks.is_some());
        if let Some(said) = said {
            // The answer, which need not come again with the 2xx (RFC 3262 5).
            branch.leg.talk.says(said);
            branch.settled = true;
        }
        let owed = asks.map(|rseq| Owed::new(&branch.leg, rseq, response.cseq()));
        let first = !std::mem::replace(&mut branch.rang, true);
        branch.is_heard();
        let found = first && branch.may_miss();
        if found {
            branch.until = context.now + ring;
        }
        let (endpoint, attempt) = (branch.endpoint().name.clone(), branch.attempt());
        if first {
            self.note(
                context,
                Happening::Ringing {
                    side,
                    endpoint,
                    attempt,
                },
            );
            self.target_rings(context, side);
        }
        if let Some(owed) = &owed {
            self.prack(context, owed, None);
        }
        if owed.is_some() || found {
            self.persist(context);
        }
    }

    /// Who is invited again takes leave, mostly while the survivor is asked: the others go on, and so do those that
    /// ring behind the same proxy.
    pub(crate) fn again_farewell(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        server: ServerId,
        request: &Message,
    ) {
        let refused = !self.is_failure_bye(context, request);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let branch = lost.fork.branch(leg);
        let owns = |branch: &&mut Branch| branch.asks.is_none() && branch.leg.dialog.owns(request);
        let branch = branch.filter(owns);
        if branch.is_none() {
            return context.refuse(server, 481, "tags of another dialog");
        }
        if branch.is_some_and(|branch| branch.state == BranchState::Calling && branch.hangs_up()) {
            return context.answer(server, 200, None);
        }
        let joining = lost.joining.take_if(|joining| joining.leg == leg);
        let Some(branch) = lost.fork.take(leg) else {
            return;
        };
        let (endpoint, attempt) = (branch.leg.endpoint.name.clone(), branch.attempt());
        if refused {
            lost.refused.extend(branch.identities());
        }
        Self::judge_target(lost, 480);
        context.answer(server, 200, None);
        if branch.state == BranchState::Joining {
            context.forget_tag(&branch.leg.dialog.local_tag);
        } else {
            self.drop_branch(context, branch, None);
        }
        self.unask(context, side.other(), joining);
        let gone = Happening::Refused {
            side,
            endpoint,
            status: 480,
            by: Refuser::Endpoint,
            attempt,
        };
        self.note(context, gone);
        self.go_on(context, side);
    }

    /// A branch failed: by status, or without a response (408, 503).
    pub(in crate::engine::conversation) fn again_failed(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        status: u16,
        by: Refuser,
    ) {
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let Some(branch) = lost.fork.take(leg) else {
            return;
        };
        context.forget_tag(&branch.leg.dialog.local_tag);
        if !branch.followed {
            Self::judge_target(lost, status);
        }
        let (endpoint, meant) = (branch.leg.endpoint.clone(), branch.meant.clone());
        let name = endpoint.name.clone();
        let same = location::same(&endpoint.identity, &lost.old.endpoint.identity);
        let refused = Happening::Refused {
            side,
            endpoint: name,
            status,
            by,
            attempt: branch.attempt(),
        };
        // RFC 3891 3: by 603 a phone says, too, that the dialog is over. Where it rang, somebody has pressed a button.
        let missed = branch.may_miss() && status == 408;
        let unknown = branch.replaces
            && (matches!(status, 481 | 420 | 501) || (status == 603 || missed) && !branch.rang);
        // Who says nothing to it has not done by that BYE what it asks for.
        let silent = branch.replaces && !branch.rang && matches!(status, 408 | 503);
        if (unknown || silent) && lost.farewell {
            return self.finish(context, Ending::HungUp(side));
        }
        if unknown {
            // It knows nothing of the lost dialog, or has ended it.
            lost.plain.push(endpoint.identity.clone());
            self.note(context, refused);
            return self.ask_at_once(context, side, endpoint, meant);
        }
        // Where it rang, somebody has pressed a button.
        let busy = is_engaged(status, &branch);
        if busy || is_moved(status) && lost.forwards_when_busy(&branch) {
            if same {
                lost.plain.push(endpoint.identity.clone());
            }
            if self.free(context, side, &endpoint, branch.leg.dialog.flow) {
                self.persist(context);
                return self.note(context, refused);
            }
        }
        if self.turns(context, side, &branch, status) {
            self.note(context, refused);
            return self.ask_at_once(context, side, endpoint, meant);
        }
        let for_all = is_for_all(status)
            && context.shared.settings.restore.decline == Decline::Person
            && !self.is_transferring(side);
        if for_all && meant.is_none() {
            self.note(context, refused);
            return self.close(context, side, Ending::Declined(side));
        }
        // A person that forwards its calls has not refused to go on where whom it names is not called.
        let forwards = (300..400).contains(&status) && !branch.rang && !self.is_transferring(side);
        let engaged = is_engaged(status, &branch);
        let later = forwards || engaged && !self.is_transferring(side);
        let no = failure(status, branch.rang) == Failure::Refused && !later;
        if let Some(lost) = &mut self.party_mut(side).lost {
            if no || branch.followed {
                lost.refused.push(endpoint.identity);
            } else if lost.transfer.is_none() {
                if !engaged {
                    lost.away.is_free(&endpoint);
                }
                lost.failed.push(endpoint);
            }
        }
        self.note(context, refused);
        if let Some(meant) = meant.filter(|_| for_all) {
            self.named_declines(context, side, &meant.person.aor);
        }
        self.go_on(context, side);
    }

    /// What is tried next: everyone, where only the same endpoint was asked; else again after a while.
    pub(in crate::engine::conversation) fn go_on(&mut self, context: &mut Context<'_>, side: Side) {
        // Who failed is not to be rung again after a restart.
        self.persist(context);
        if self.is_transferring(side) {
            return self.next_targets(context, side);
        }
        if self.machines_are_all(context, side) {
            return self.ask_the_machines(context, side);
        }
        let retry = context.shared.settings.restore.retry;
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if lost.all_at.is_some() {
            if lost.fork.branches.is_empty() {
                lost.all_at = Some(context.now);
                self.restore_due(context, side);
            }
            return;
        }
        self.call_the_named(context, side);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if lost.retry_at.is_some() || lost.start.is_some() {
            return;
        }
        let pause = retry.pause(lost.round);
        lost.round += 1;
        let at = context.now + context.shared.mint.jitter(pause, retry.jitter);
        let back = lost.away.next_back(context.now);
        lost.retry_at = Some(back.map_or(at, |back| back.min(at)));
    }

    /// Ends the ringing of phones that nobody answers.
    pub(super) fn again_rung_out(&mut self, context: &mut Context<'_>, side: Side) {
        let Some(mut lost) = self.party_mut(side).lost.take() else {
            return;
        };
        let alone = self.missed_after(context);
        let ring = Self::ring_time(context, &lost);
        for branch in &mut lost.fork.branches {
            // A place that has said nothing at all is no proxy that waits for somebody: the next one has its turn.
            let over = branch.until <= context.now && branch.may_miss() && !branch.rang;
            if over && branch.is_unheard(context) {
                branch.until = (context.now + alone).min(branch.sent + ring);
            }
        }
        let rang = self.rung_out(context, &mut lost.fork);
        let any = !rang.is_empty();
        let silent = |branch: &Branch| branch.replaces && !branch.rang;
        let farewell = lost.farewell && rang.iter().any(silent);
        let (mut names, mut missed) = (Vec::new(), Vec::new());
        for branch in rang {
            let status = branch.unanswered();
            let by = Refuser::of_silence(branch.rang && status == 408);
            names.push((branch.endpoint().name.clone(), by, branch.attempt(), status));
            // Nobody was there to let it ring whose phone is gone, or has begun anew and knows nothing of it.
            if branch.rang && status == 408 && branch.asked.is_none() {
                let own = &branch.leg;
                lost.refused.push(own.endpoint.identity.clone());
                lost.silent.push((own.id, own.endpoint.identity.clone()));
            } else if branch.may_miss() && !branch.rang {
                lost.plain.push(branch.leg.endpoint.identity.clone());
                missed.push((branch.leg.endpoint.clone(), branch.meant.clone()));
            } else {
                lost.away.is_free(&branch.leg.endpoint);
                lost.failed.push(branch.leg.endpoint.clone());
            }
            Self::judge_target(&mut lost, status);
        }
        self.party_mut(side).lost = Some(lost);
        for (endpoint, by, attempt, status) in names {
            self.note(
                context,
                Happening::Refused {
                    side,
                    endpoint,
                    status,
                    by,
                    attempt,
                },
            );
        }
        if farewell {
            // By its BYE it has not done what the INVITE asks for, which it never answered.
            self.finish(context, Ending::HungUp(side));
        } else if any {
            for (endpoint, meant) in missed {
                self.ask_meant(context, side, vec![endpoint], meant);
            }
            self.go_on(context, side);
        }
    }

    /// An endpoint registers while its participant is lost, maybe `anew`: it is invited at once, before all who wait
    /// for a turn.
    pub(in crate::engine::conversation) fn registered_meanwhile(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: &Endpoint,
        anew: bool,
    ) {
        let Some(lost) = &self.party(side).lost else {
            return;
        };
        if lost.stands {
            return;
        }
        if anew && context.shared.settings.detect.registration {
            self.has_not_let_it_ring(side, &endpoint.identity);
        }
        let Some(lost) = &self.party(side).lost else {
            return;
        };
        if lost.start.is_some() {
            // A transfer asks whom it is to, and begins by itself.
            if lost.transfer.is_some() || self.may_meet_half(context, side) {
                return;
            }
            self.begin_now(context, side);
        }
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        // What was asked of the one that was there before is asked of this one.
        let displaced = |branch: &&mut Branch| {
            branch.state != BranchState::Joining
                && location::displaces(endpoint, &branch.leg.endpoint)
        };
        if let Some(branch) = lost.fork.branches.iter_mut().find(displaced) {
            let (leg, rings) = (branch.leg.id, branch.rang);
            // What has had no answer goes out again though it is taken back, and another INVITE would ring beside it.
            if rings || branch.is_unheard(context) && branch.leads_to(endpoint) {
                let own = &mut branch.leg.endpoint;
                branch.asked.get_or_insert_with(|| own.identity.clone());
                *own = endpoint.clone();
                self.persist(context);
                if rings {
                    return self.deaf_lives(context, leg);
                }
            } else if let Some(branch) = lost.fork.take(leg) {
                self.drop_branch(context, branch, None);
            }
        }
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if let Some(branch) = lost.fork.to(&endpoint.identity) {
            let leg = branch.leg.id;
            if branch.leads_to(endpoint) {
                branch.at_once = true;
                let Some(client) = branch.client else {
                    return self.launch_again(context, side);
                };
                if !branch.is_forgotten(context, anew) {
                    context.hurry(client);
                    return self.deaf_lives(context, leg);
                }
            }
            if branch.state == BranchState::Joining && !anew {
                // It has taken the call, and goes on from where it is now.
                if let Some(flow) = endpoint.flow {
                    branch.leg.dialog.flow = flow;
                }
                branch.leg.dialog.target.clone_from(&endpoint.contact);
                branch.leg.endpoint = endpoint.clone();
                return self.persist(context);
            }
            // The branch runs to where the endpoint no longer is, or to what it no longer calls itself or knows of.
            if let Some(branch) = lost.fork.take(leg) {
                self.drop_branch(context, branch, Some(ELSEWHERE));
            }
        }
        self.ask_at_once(context, side, endpoint.clone(), None);
    }
}

/// Returns true for what one endpoint says for all of its participant (RFC 3261 16.7 step 5, 21.6): the person does
/// not wish to go on. 606 is about a session, and another endpoint may take it.
fn is_for_all(status: u16) -> bool {
    (600..700).contains(&status) && status != 606
}
