//! A new leg takes the lost one's place; or the lost one comes back.

use std::sync::Arc;

use super::relapses::Relapses;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE, What, end_with};
use crate::engine::conversation::doubting::outcome;
use crate::engine::conversation::ending::stray::{Leaving, acknowledge_and_leave};
use crate::engine::conversation::forking::trail::Walked;
use crate::engine::conversation::forking::{Branch, BranchState};
use crate::engine::conversation::leg::Talk;
use crate::engine::conversation::session::enclosed::sdp_of;
use crate::engine::conversation::session::fits::is_deaf;
pub(crate) use crate::engine::conversation::session::keys::Role;
use crate::engine::dialog::Do;
use crate::engine::endpoint::Identity;
use crate::engine::events::{Happening, Refuser, Signal};
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::location;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ClientId;
use crate::sip::{Message, Method, sdp};

/// So often a survivor may put off the re-INVITE of a join.
const PUT_OFF_MAX: u32 = 3;

/// An answer that waits for the survivor's consent.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(super) leg: LegId,
    /// The re-INVITE to the survivor, and what that was told before.
    pub(crate) asked: Option<(ClientId, Talk)>,
    /// When it is asked again: it had an offer of its own.
    pub(super) again_at: Option<Time>,
    /// When it is doubted, where it has said nothing at all.
    pub(super) silent_at: Option<Time>,
    /// It was, and that it says nothing is no other's fault.
    pub(super) doubted: bool,
}

impl Joining {
    pub(crate) fn again(leg: LegId, at: Time) -> Self {
        Self {
            leg,
            asked: None,
            again_at: Some(at),
            silent_at: None,
            doubted: false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        [self.again_at, self.silent_at].into_iter().flatten().min()
    }
}

impl Joining {
    /// The re-INVITE has another transaction.
    pub(crate) fn waits_for(&mut self, swap: impl Fn(&mut ClientId)) {
        if let Some((open, _)) = &mut self.asked {
            swap(open);
        }
    }
}

impl Conversation {
    /// A 2xx of the re-fork: joined, where the survivor's session takes it.
    pub(super) fn again_answered(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let id = self.id;
        let rings = |branch: &&mut Branch| branch.state == BranchState::Calling;
        if let Some(branch) = self.branch_mut(leg).filter(rings) {
            branch.turn_back_to(response.to_tag());
        }
        // RFC 3262 5: the answer may have come before, reliably, and does not come again.
        let before = self
            .branch_mut(leg)
            .filter(|branch| branch.leg.dialog.remote_tag.as_deref() == response.to_tag());
        let before = before.and_then(|branch| branch.leg.talk.said.clone());
        let said = sdp_of(response).or(before);
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        match branch.leg.take_success(response) {
            Do::AckAgain => return branch.leg.acknowledge_again(context, id, response.cseq()),
            Do::AckAndBye => {
                let why = Some(ELSEWHERE);
                return acknowledge_and_leave(context, response, flow, Leaving::Surely, why);
            }
            Do::Begin
            | Do::Nothing
            | Do::Ring
            | Do::Lose
            | Do::Ask
            | Do::Bye
            | Do::ByeAfterAck
            | Do::Cancel
            | Do::Reject
            | Do::End => {}
        }
        branch.leg.dialog.answered_by(response, flow);
        branch.leg.is_named(context);
        branch.leg.abilities.learn(response);
        branch.leg.timed_by(context, response);
        branch.leg.seen = context.now;
        match said {
            Some(said) => branch.leg.talk.says(said),
            None => branch.leg.talk.said = None,
        }
        branch.leg.acknowledge(context, id, response.cseq(), None);
        self.is_known_by_answer(context, side, leg, response);
        self.taken(context, side, leg);
    }

    /// A branch has a leg that could take the place.
    pub(crate) fn taken(&mut self, context: &mut Context<'_>, side: Side, leg: LegId) {
        let branch = self.branch_mut(leg);
        let said = branch.and_then(|branch| branch.leg.talk.said.clone());
        // What the survivor was told is another answer's while it is asked for its consent to that.
        let asked = self.party(side).lost.as_ref().is_some_and(|lost| {
            let joining = lost.joining.as_ref();
            joining.is_some_and(|joining| joining.asked.is_some())
        });
        let fits = !asked && self.fits(context, side.other(), said.as_deref());
        if fits {
            self.resume_the_absent(side);
        }
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if fits {
            if let Some(branch) = lost.fork.take(leg) {
                self.adopt(context, side, branch);
                self.catch_up(context, side);
            }
            return;
        }
        if lost.joining.is_some() {
            // Another answer waits for the survivor's consent already.
            if let Some(mut branch) = lost.fork.take(leg) {
                branch.state = BranchState::Joining;
                self.drop_branch(context, branch, Some(ELSEWHERE));
                // A restart before the survivor has said a word would ask it once more.
                self.persist(context);
            }
            return;
        }
        if let Some(branch) = lost.fork.branch(leg) {
            branch.state = BranchState::Joining;
        }
        lost.unreached = None;
        self.persist(context);
        self.join(context, side, leg);
    }

    /// Both are lost, and who held is replaced: the other's next endpoint begins without that hold.
    fn resume_the_absent(&mut self, side: Side) {
        if self.party(side).lost.is_some()
            && let Some(resumed) = self.resumed(side)
            && let Some(absent) = &mut self.party_mut(side.other()).lost
        {
            absent.old.talk.said = Some(resumed);
        }
    }

    /// Only where the answer does not fit does the survivor get a re-INVITE, and it gets one.
    pub(super) fn join(&mut self, context: &mut Context<'_>, side: Side, leg: LegId) {
        let (id, survivor) = (self.id, side.other());
        let branch = self
            .party_mut(side)
            .lost
            .as_mut()
            .and_then(|lost| lost.fork.branch(leg));
        let Some(said) = branch.map(|branch| branch.leg.talk.said.clone().unwrap_or_default())
        else {
            return;
        };
        let Some((open, before)) = self
            .leg_mut(survivor)
            .and_then(|leg| Some((leg.may_offer(context)?, leg.talk.clone())))
        else {
            return self.join_later(context, side, leg, Millis(0));
        };
        let told = self.tell(context, survivor, &said, Role::Offer);
        // Nobody is asked to agree to nothing: without a session it would be the survivor who offers one.
        let told = told.filter(|told| !sdp::is_mute(said.as_bytes(), told.as_bytes()));
        let Some(asked) = self.leg_mut(survivor) else {
            return;
        };
        let Some(told) = told else {
            asked.talk.back_to(before);
            return self.join_failed(context, side, leg, Refuser::Refork);
        };
        asked.negotiation = open;
        let patience = self.probing(context).timeout;
        if let Some(lost) = &mut self.party_mut(side).lost {
            lost.before = Some(Box::new(before.clone()));
            self.persist(context);
        }
        let Some(asked) = self.leg_mut(survivor) else {
            return;
        };
        let client = asked.request(context, id, &Method::Invite, What::Join, |builder| {
            end_with(builder, Some("application/sdp"), told.as_bytes())
        });
        if let Some(lost) = &mut self.party_mut(side).lost {
            lost.joining = Some(Joining {
                leg,
                asked: Some((client, before)),
                again_at: None,
                silent_at: Some(context.now + patience),
                doubted: false,
            });
        }
    }

    /// Returns how long an offer of ours to a side waits that has met one of its own (RFC 3261 14.1): longer where
    /// the dialog is of our making.
    pub(crate) fn pause_of_glare(&self, context: &mut Context<'_>, side: Side) -> Millis {
        let leg = self.party(side).leg.as_ref();
        let theirs = leg.is_some_and(|leg| leg.dialog.call_id == self.call_id);
        let (middle, share) = if theirs {
            (Millis(1000), 1.0)
        } else {
            (Millis(3050), 950.0 / 3050.0)
        };
        context.shared.mint.jitter(middle, share)
    }

    /// The survivor has an offer of its own open, or one of ours that was taken back, or is not reached: the new leg
    /// stays, and it is asked again after a while.
    pub(super) fn join_later(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        at_least: Millis,
    ) {
        let pause = self.pause_of_glare(context, side.other()).max(at_least);
        if let Some(lost) = &mut self.party_mut(side).lost {
            lost.joining = Some(Joining::again(leg, context.now + pause));
        }
    }

    /// Returns how long a survivor wishes to be left alone, a few times where it has no offer of its own open.
    fn puts_off(&mut self, side: Side, response: &Message) -> Option<Millis> {
        let survivor = self.party(side.other()).leg.as_ref();
        let after = survivor.and_then(|leg| leg.puts_off(response))?;
        let lost = self.party_mut(side).lost.as_mut()?;
        if response.status() == 491 {
            return Some(after);
        }
        lost.put_off += 1;
        (lost.put_off <= PUT_OFF_MAX).then_some(after)
    }

    /// The pause is over; meanwhile the survivor's session may have become one that fits.
    pub(super) fn join_due(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        let due = |joining: &mut Joining| joining.again_at.is_some_and(|at| at <= now);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let Some(Joining { leg, .. }) = lost.joining.take_if(due) else {
            return;
        };
        let branch = lost.fork.branch(leg);
        let asks = branch.as_ref().is_some_and(|branch| branch.asks.is_some());
        let said = branch.and_then(|branch| branch.leg.talk.said.clone());
        let survivor = self.party(side.other()).leg.as_ref();
        let unsure = survivor.is_some_and(|survivor| survivor.unsure);
        if unsure || asks || !self.fits(context, side.other(), said.as_deref()) {
            return self.join(context, side, leg);
        }
        let lost = self.party_mut(side).lost.as_mut();
        if let Some(branch) = lost.and_then(|lost| lost.fork.take(leg)) {
            self.adopt(context, side, branch);
            self.catch_up(context, side);
        }
    }

    /// The survivor's answer to that re-INVITE.
    pub(crate) fn join_response(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let id = self.id;
        let Some(survivor) = self.side_of(leg).filter(|_| response.status() >= 200) else {
            return;
        };
        let side = survivor.other();
        let ok = response.status() < 300;
        let Some(leg) = self.leg_mut(survivor) else {
            return;
        };
        let known = leg.ack.as_ref().map(|ack| ack.cseq);
        if ok && known >= Some(response.cseq()) {
            return leg.acknowledge_again(context, id, response.cseq());
        }
        if ok {
            leg.acknowledge(context, id, response.cseq(), None);
        }
        let joining = self.joining(side, client);
        let Some(leg) = self.leg_mut(survivor) else {
            return;
        };
        let Some((waiting, before)) = joining else {
            // It was taken back: somebody else has the place, or nobody.
            if ok {
                leg.lent = true;
                self.restate(context);
                self.persist(context);
            }
            return;
        };
        let repairs = self
            .branch_mut(waiting)
            .is_some_and(|branch| branch.asks.is_some());
        let Some(leg) = self.leg_mut(survivor) else {
            return;
        };
        if outcome::ends_dialog(response.status()) {
            leg.talk.back_to(before);
            if let Some(lost) = &mut self.party_mut(side).lost {
                lost.joining = Some(Joining {
                    leg: waiting,
                    again_at: None,
                    ..Joining::again(waiting, context.now)
                });
            }
            return self.denied(context, survivor, Signal::RequestFailed);
        }
        if !ok {
            leg.talk.back_to(before);
            if let Some(lost) = &mut self.party_mut(side).lost {
                lost.before = None;
            }
            // RFC 4028 7.3: the next one asks for what it demands.
            let brief = response.status() == 422
                && self
                    .leg_mut(survivor)
                    .is_some_and(|leg| leg.too_brief(context, response));
            if brief {
                return self.join_later(context, side, waiting, Millis(0));
            }
            if let Some(after) = self.puts_off(side, response) {
                return self.join_later(context, side, waiting, after);
            }
            self.join_failed(context, side, waiting, Refuser::Survivor);
            return self.restate_to_unsure(context, survivor);
        }
        leg.dialog.refresh_over(response, flow);
        if let Some(said) = sdp_of(response) {
            leg.talk.says(said);
        }
        (leg.lent, leg.unsure) = (false, false);
        if !repairs && let Some(lost) = &mut self.party_mut(side).lost {
            lost.before = None;
        }
        let Some(leg) = self.leg_mut(survivor) else {
            return;
        };
        if is_deaf(&leg.talk) {
            // It stays in the call and takes none of these streams: another endpoint may do better; who repairs
            // itself may not, and the survivor is told once more of the session that it had.
            if repairs {
                leg.talk.told = before.told;
                leg.lent = true;
            }
            self.join_failed(context, side, waiting, Refuser::Survivor);
            self.configure(context, survivor);
            return self.restate(context);
        }
        let branch = self
            .party_mut(side)
            .lost
            .as_mut()
            .and_then(|lost| lost.fork.take(waiting));
        if let Some(branch) = branch {
            self.adopt(context, side, branch);
            self.configure(context, survivor);
            // It may have taken less than it was offered.
            self.catch_up(context, side);
        }
    }

    /// Takes what waits for this very re-INVITE: the leg, and what the survivor was told before.
    pub(super) fn joining(&mut self, side: Side, client: ClientId) -> Option<(LegId, Talk)> {
        let lost = self.party_mut(side).lost.as_mut()?;
        let asked = |joining: &mut Joining| {
            joining
                .asked
                .as_ref()
                .is_some_and(|(open, _)| *open == client)
        };
        let joining = lost.joining.take_if(asked)?;
        Some((joining.leg, joining.asked?.1))
    }

    /// The survivor is gone while it was asked: the answer is joined without it.
    pub(super) fn join_without(&mut self, context: &mut Context<'_>, survivor: Side) {
        let side = survivor.other();
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let Some(joining) = lost.joining.take() else {
            return;
        };
        if let Some(branch) = lost.fork.take(joining.leg) {
            self.adopt(context, side, branch);
        }
    }

    /// The survivor is asked at another place of its own: what waits for its consent asks for that again.
    pub(crate) fn joins_later(&mut self, context: &mut Context<'_>, survivor: Side) {
        let lost = self.party_mut(survivor.other()).lost.as_mut();
        let Some(joining) = lost.and_then(|lost| lost.joining.take()) else {
            return;
        };
        let again = Joining::again(joining.leg, context.now);
        let asked = joining.asked.is_some();
        self.unask(context, survivor, Some(joining).filter(|_| asked));
        if let Some(lost) = &mut self.party_mut(survivor.other()).lost {
            lost.joining = Some(again);
        }
    }

    /// An answer cannot be joined, or the survivor does not agree to it.
    pub(super) fn join_failed(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        by: Refuser,
    ) {
        let came = self.party(side.other()).relapses.as_deref();
        let came = came.and_then(Relapses::taken);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let Some(branch) = lost.fork.take(leg) else {
            return;
        };
        // What it has answered to is the offer of the phone that the survivor's took the place of.
        let outdated = by == Refuser::Survivor && came >= Some(branch.sent);
        if branch.asks.is_some() {
            return self.not_agreed(context, side, branch, 488);
        }
        let refused = Happening::Refused {
            side,
            endpoint: branch.leg.endpoint.name.clone(),
            status: 488,
            by,
            attempt: branch.attempt(),
        };
        let identity = &branch.leg.endpoint.identity;
        let known = |known: &Arc<Identity>| location::same(known, identity);
        if outdated && lost.transfer.is_none() && !lost.unjoined.iter().any(known) {
            lost.unjoined.push(Arc::clone(identity));
            let (endpoint, meant) = (branch.leg.endpoint.clone(), branch.meant.clone());
            self.drop_branch(context, branch, None);
            self.note(context, refused);
            return self.ask_at_once(context, side, endpoint, meant);
        }
        lost.refused.extend(branch.identities());
        Self::judge_target(lost, 488);
        self.drop_branch(context, branch, None);
        self.note(context, refused);
        self.go_on(context, side);
    }

    /// A new leg takes the lost one's place.
    fn adopt(&mut self, context: &mut Context<'_>, side: Side, mut branch: Branch) {
        if branch.asks.is_some() && branch.picker.is_none() {
            return self.consented(context, side, branch);
        }
        if branch.asks.is_some() && !self.seat_picker(context, side, &mut branch) {
            return self.disagreed(context, side, branch);
        }
        let attempt = branch.attempt();
        let (mut leg, picker, meant, trail) =
            (branch.leg, branch.picker, branch.meant, branch.trail);
        let Some(mut lost) = self.party_mut(side).lost.take() else {
            return;
        };
        lost.turns.leave(context);
        self.cancel_branches(context, &mut lost.fork, Some(ELSEWHERE));
        self.unask(context, side.other(), lost.joining.take());
        let same = leg.is_endpoint_of(&lost.old)
            || lost.is_of_half(leg.id)
            || self.is_at_other_half(context, &leg, &lost.old);
        let endpoint = leg.endpoint.name.clone();
        let after = context.now.since(lost.since);
        let transferred = lost.transfer.is_some();
        let given = lost.giver().map(|_| lost.old.who().clone());
        if !transferred && picker.is_none() && meant.is_none() {
            leg.follows(&lost.old, same);
        }
        let mut transferor = None;
        if transferred {
            transferor = Some(lost.old);
        } else if lost.gone {
            context.forget_tag(&lost.old.dialog.local_tag);
        } else {
            self.bury(context, lost.old);
        }
        let steps = std::mem::take(&mut lost.fork.steps);
        let walked = meant
            .as_ref()
            .map(|_| trail.map(|trail| Walked::of(&trail, steps.clone())));
        let picker = picker.map(|person| *person);
        let person = picker.or_else(|| meant.map(|meant| meant.person));
        let another = person.is_some();
        if let Some(transfer) = &mut lost.transfer {
            // The participant is the target already, and these were for the transferor.
            transfer.change_places(self.party_mut(side));
            self.letters_after_transfer(context, side);
            transfer.change_places(self.party_mut(side));
        }
        if let Some(person) = person {
            // Whom somebody has forwarded the call to, or who has taken it in its place.
            self.hand_on(context, side, person, transferred);
        }
        if let Some(survivor) = self.leg_mut(side.other()) {
            // It goes with what that was told, or has been agreed to.
            survivor.misled = false;
        }
        let party = self.party_mut(side);
        party.leg = Some(leg);
        match walked {
            Some(walked) => party.walked = walked,
            None => {
                if let Some(walked) = &mut party.walked {
                    walked.steps = steps;
                }
            }
        }
        match transferor {
            Some(transferor) => {
                self.transferred(context, transferor, lost.transfer, endpoint.clone());
            }
            None => {
                self.has_taken(context.now, side, another);
            }
        }
        let unused = self.ports[side.index()].settle(branch.generation);
        self.configure(context, side);
        self.close_ports(context, side, unused);
        self.watch(context, side);
        if !transferred {
            self.note(
                context,
                Happening::Restored {
                    side,
                    endpoint,
                    same,
                    after,
                    attempt,
                },
            );
        }
        self.persist(context);
        self.pump(context, side);
        self.announce(context, side);
        if let Some(transferor) = given {
            self.introduce(context, side, transferor);
        }
    }
}
