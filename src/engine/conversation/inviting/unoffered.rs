//! A pickup whose INVITE offers nothing (RFC 3261 13.2.1): its 2xx offers what the caller has offered, and its ACK
//! brings the answer that the caller waits for. Where the phone rings by a transfer or a re-fork it is offered what that
//! was, and its answer is joined as that of any phone.
//!
//! ```text
//!   caller            Refork             called          who picks up
//!      │── INVITE ──────►│── INVITE ───────►│                 │
//!      │                 │◄── INVITE, Replaces, no offer ─────│
//!      │                 │── 200, offer ─────────────────────►│
//!      │                 │◄── ACK, answer ────────────────────│
//!      │◄── 200 ─────────│── CANCEL ───────►│                 │
//! ```
//!
//! Until then the phones ring on, and who answers one of them has the call: who picks up has a BYE.

use super::answered::Won;
use super::verdict;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::ending::parting::Bye;
use crate::engine::conversation::forking::{Branch, BranchState, Fork, Meant};
use crate::engine::conversation::leg::{Leg, Unacknowledged};
use crate::engine::conversation::people::person::Person;
use crate::engine::conversation::session::enclosed::sdp_of;
use crate::engine::conversation::session::keys::{Role, Telling};
use crate::engine::conversation::session::media;
use crate::engine::dialog::Happens;
use crate::engine::events::Refuser;
use crate::engine::ids::{LegId, Side};
use crate::engine::ports::Generation;
use crate::engine::refusal::Refusal;
use crate::engine::transaction::ServerId;
use crate::sip::Message;

impl Branch {
    /// Returns true for who picks up and is asked for its session.
    pub(crate) fn is_being_asked(&self) -> bool {
        self.picks.is_some()
    }
}

impl Conversation {
    /// Who picks up is offered what the caller wants, and is a branch until its ACK.
    pub(super) fn offer_to_picker(
        &mut self,
        context: &mut Context<'_>,
        (named, generation): (LegId, Generation),
        (server, cseq): (ServerId, u32),
        mut leg: Leg,
        picker: Person,
        wanted: Box<str>,
    ) -> Result<(), Refusal> {
        let side = leg.side;
        let mode = context.shared.settings.media.mode;
        let ours_at = context.world.advertised(&leg.dialog.flow);
        let mut telling = Telling::new(context.shared, Role::Offer);
        let ports = self.ports[side.index()].of(generation);
        let body = media::tell(&mut leg.talk, &wanted, ports, ours_at, mode, &mut telling);
        let Some(body) = body else {
            context.forget_tag(&leg.dialog.local_tag);
            return Err((488, "pickup with a session that does not fit").into());
        };
        self.accept_picker(context, &mut leg, (server, cseq), &body, true);
        let mut branch = Branch::new(leg, BranchState::Joining, context.now);
        branch.generation = generation;
        branch.picks = Some(named);
        if let Some(invitation) = &mut self.invitation {
            branch.meant = Some(Box::new(Meant {
                person: picker,
                trail: None,
            }));
            invitation.fork.branches.push(branch);
        } else if let Some(lost) = &mut self.party_mut(side).lost {
            branch.picker = Some(Box::new(picker));
            lost.fork.branches.push(branch);
            // A restart ends its dialog.
            self.persist(context);
        }
        Ok(())
    }

    /// The ACK of who was offered a session. Returns false where it is somebody else's.
    pub(crate) fn picker_acknowledges(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        request: &Message,
    ) -> bool {
        let Some(branch) = self.picking(leg) else {
            return false;
        };
        let ours = |waiting: &mut Unacknowledged| waiting.cseq == request.cseq();
        let Some(waiting) = branch.leg.unacknowledged.take_if(ours) else {
            return true;
        };
        let _ = branch.leg.life.take(Happens::Ack);
        let named = branch.picks;
        context.shared.transactions.acknowledged(waiting.server);
        let settings = &context.shared.settings.media;
        let useless = branch.lacks_keys(settings, request) || branch.is_mute(request);
        let answer = sdp_of(request).filter(|answer| media::has_streams(answer) && !useless);
        if let Some(side) = self.branch_side(leg) {
            self.picker_answers_again(context, side, (leg, named), answer);
            return true;
        }
        let at = named.and_then(|named| self.rings_at(context, named));
        let (Some(answer), Some(at)) = (answer, at) else {
            self.leave_picker(context, leg);
            return true;
        };
        let Some(mut invitation) = self.invitation.take() else {
            return true;
        };
        let branch = invitation.fork.take(leg);
        self.cancel_branches(context, &mut invitation.fork, Some(ELSEWHERE));
        self.invitation = Some(invitation);
        self.settle_crossings(context, None);
        let (Some(mut branch), Some(invitation)) = (branch, self.invitation.take()) else {
            return true;
        };
        branch.leg.talk.says(answer.clone());
        branch.leg.seen = context.now;
        let won = Won {
            branch,
            said: Some(answer),
            delayed: false,
        };
        self.answer_caller(context, invitation, at, won, None);
        true
    }

    /// The same where the phone rings by a transfer or a re-fork: the survivor is asked where it must be.
    fn picker_answers_again(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        (leg, named): (LegId, Option<LegId>),
        answer: Option<Box<str>>,
    ) {
        let now = context.now;
        let fork = self
            .party_mut(side)
            .lost
            .as_mut()
            .map(|lost| &mut lost.fork);
        let rings = |fork: &&mut Fork| named.is_some_and(|named| fork.find(named).is_some());
        let branch = fork.filter(rings).and_then(|fork| fork.branch(leg));
        let (Some(branch), Some(answer)) = (branch, answer) else {
            return self.leave_picker(context, leg);
        };
        branch.leg.talk.says(answer);
        branch.leg.seen = now;
        branch.picks = None;
        self.taken(context, side, leg);
    }

    /// Returns the caller's early dialog with the phone whose call is picked up, while it rings and the caller owes
    /// nothing in it.
    fn rings_at(&mut self, context: &mut Context<'_>, named: LegId) -> Option<usize> {
        let tag = self.branch_mut(named)?.leg.dialog.remote_tag.clone();
        let at = self.early_for(context, named, tag.as_deref())?;
        let invitation = self.invitation.as_ref()?;
        let free = invitation.held.is_none() && !invitation.holds(named, at);
        let settled = invitation.early.get(at).is_some_and(|early| early.settled);
        (free && !settled).then_some(at)
    }

    /// Who picks up has never acknowledged its 2xx. Returns false where it is somebody else.
    pub(crate) fn picker_is_silent(&mut self, context: &mut Context<'_>, leg: LegId) -> bool {
        let Some(branch) = self.picking(leg) else {
            return false;
        };
        branch.leg.unacknowledged = None;
        let _ = branch.leg.life.take(Happens::NoAck);
        self.leave_picker(context, leg);
        true
    }

    /// Who picks up has no session for the caller: the phones ring on.
    fn leave_picker(&mut self, context: &mut Context<'_>, leg: LegId) {
        let Some(branch) = self.picking(leg) else {
            return;
        };
        let branch = branch.clone();
        if let Some(side) = self.branch_side(leg) {
            if let Some(lost) = &mut self.party_mut(side).lost {
                lost.fork.take(leg);
            }
            self.drop_branch(context, branch, None);
            return self.go_on(context, side);
        }
        let whose = self.called(&branch).clone();
        branch.leg.part(context, self.id, whose, Bye::because(None));
        self.branch_failed(context, leg, (verdict(480), Refuser::Refork));
    }

    fn picking(&mut self, leg: LegId) -> Option<&mut Branch> {
        let first = self.invitation.as_mut().map(|first| &mut first.fork);
        let lost = self
            .parties
            .iter_mut()
            .filter_map(|party| party.lost.as_mut());
        let mut forks = first.into_iter().chain(lost.map(|lost| &mut lost.fork));
        let branch = forks.find_map(|fork| fork.branch(leg));
        branch.filter(|branch| branch.is_being_asked())
    }
}
