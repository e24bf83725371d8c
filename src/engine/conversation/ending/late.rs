//! A phone that takes the call after it was won (RFC 3261 13.2.2.4): its dialog ends as a lost one does, which a
//! restart does not forget. It may have taken that call in the place of its lost dialog, which has the call again by
//! what it asked in it before: the BYE by which it ends that (RFC 3891 3) is no farewell. Nor is it where the other
//! side does not agree to what the phone took the call with.
//!
//! One that was asked again, in vain, and answers while its side is sought yet takes the call: its 2xx was lost on the
//! way, or it slept, and finds as it wakes what has timed out for us. Where it rings first it goes on ringing.

use std::sync::Arc;

use bytes::Bytes;

use super::stray::CSEQ_GAP;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::answers::Answer;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::{Branch, BranchState};
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::dialog::Happens;
use crate::engine::endpoint::Identity;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::location;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ClientId;
use crate::sip::Message;

/// Branches remembered at a time; the answer of an older one is ended by what it says itself.
const DROPPED_MAX: usize = 32;
/// Of those that nobody has answered the latest may take the call yet: they keep their session.
const IN_VAIN_MAX: usize = 4;
/// For so long at least one is remembered: no shorter than by the transactions.
const SLEEP: Millis = Millis::from_secs(300);

/// One whose INVITE we have taken back, and that may be answered yet.
#[derive(Debug)]
pub(crate) struct Dropped {
    branch: Branch,
    at: Time,
    /// Nobody had answered it, and nobody else had the call.
    in_vain: bool,
}

impl Leg {
    /// Returns true where its BYE makes room for a dialog that we have ended already.
    pub(crate) fn is_superseded(&self, context: &Context<'_>) -> bool {
        let lasts = context.shared.settings.timers.t1.times(64);
        self.superseded.is_some_and(|at| context.now < at + lasts)
    }
}

impl Conversation {
    /// The INVITE of a branch is taken back, and its answer may cross that. One that nobody has answered (`in_vain`)
    /// may find its phone asleep, which rings as it wakes.
    pub(crate) fn may_be_answered_yet(
        &mut self,
        context: &mut Context<'_>,
        mut branch: Branch,
        in_vain: bool,
    ) {
        if !in_vain {
            branch.invite = Bytes::new();
            // ACK and BYE say nothing of a session, and nobody tells of a phone that never answers.
            branch.leg.talk = Talk::default();
        }
        if let Some(client) = branch.client.filter(|_| in_vain && !branch.rang) {
            context.may_wake(client);
        }
        let now = context.now;
        self.forget_dropped(now);
        let full = self.dropped.len() >= DROPPED_MAX;
        let mut kept = 0;
        for at in (0..self.dropped.len()).rev() {
            kept += usize::from(self.dropped[at].in_vain);
            if kept >= IN_VAIN_MAX || full && at == 0 {
                self.sleeps_on(context, at);
            }
        }
        if full {
            self.dropped.remove(0);
        }
        self.dropped.push(Dropped {
            branch,
            at: now,
            in_vain,
        });
    }

    /// Those that may sleep are not to have the call any more, where another has it or nobody is to: what is left of
    /// our INVITEs anywhere ends.
    pub(crate) fn forget_sleepers(&mut self, context: &mut Context<'_>) {
        for at in 0..self.dropped.len() {
            if !self.may_yet_take(&self.dropped[at]) {
                self.sleeps_on(context, at);
            }
        }
    }

    /// One of them is not waited for any more.
    fn sleeps_on(&mut self, context: &mut Context<'_>, at: usize) {
        let known = &mut self.dropped[at];
        if !std::mem::replace(&mut known.in_vain, false) {
            return;
        }
        known.branch.invite = Bytes::new();
        known.branch.leg.talk = Talk::default();
        if let Some(client) = known.branch.client {
            // A CANCEL goes where its phone is reached now.
            self.take_back(context, &self.dropped[at].branch, None);
            context.wakes_no_more(client);
        }
    }

    /// Returns when the oldest of them is forgotten.
    pub(crate) fn dropped_until(&self) -> Option<Time> {
        self.dropped.first().map(|known| known.at + SLEEP)
    }

    pub(crate) fn forget_dropped(&mut self, now: Time) {
        self.dropped.retain(|known| known.at + SLEEP > now);
    }

    /// The INVITE of a branch has its time-out: its phone may sleep, and take it as it wakes, which the transactions
    /// tell for a while.
    pub(crate) fn may_sleep(&mut self, context: &mut Context<'_>, leg: LegId) {
        if let Some(branch) = self.branch_mut(leg).cloned() {
            self.may_be_answered_yet(context, branch, true);
        }
    }

    /// One that is taken back has had no response. Returns false where it is another.
    pub(crate) fn dropped_unanswered(&mut self, leg: LegId, unreachable: bool) -> bool {
        let mut dropped = self.dropped.iter();
        let known = dropped.any(|known| known.branch.leg.id == leg);
        if unreachable {
            self.take_dropped(leg);
        }
        known
    }

    /// It has its final response.
    pub(crate) fn take_dropped(&mut self, leg: LegId) -> Option<Dropped> {
        let mut dropped = self.dropped.iter();
        let at = dropped.position(|known| known.branch.leg.id == leg)?;
        Some(self.dropped.remove(at))
    }

    /// Who has let it ring out says so: its INVITE is over.
    pub(crate) fn has_let_it_ring(&mut self, context: &mut Context<'_>, leg: LegId) {
        let sought = self.parties.iter_mut();
        let mut sought = sought.filter_map(|party| party.lost.as_mut());
        let said = |(silent, _): &mut (LegId, _)| *silent == leg;
        if sought.any(|lost| lost.silent.extract_if(.., said).count() > 0) {
            // Else it would be asked after a restart as it begins anew.
            self.persist(context);
        }
    }

    /// A phone begins anew. One that rang for all of its time, and has not said since that its INVITE is over, was gone
    /// by then: it has not let it ring out.
    pub(crate) fn has_not_let_it_ring(&mut self, side: Side, identity: &Identity) {
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let same = |known: &Identity| location::same(known, identity);
        let rang_out = |(_, silent): &mut (LegId, Arc<Identity>)| same(silent);
        if lost.silent.extract_if(.., rang_out).count() > 0 {
            lost.refused.retain(|known| !same(known));
        }
    }

    /// A 2xx to an INVITE that was taken back.
    pub(crate) fn dropped_answered(
        &mut self,
        context: &mut Context<'_>,
        dropped: Dropped,
        answer: &Answer<'_>,
    ) {
        let (side, leg) = (dropped.branch.leg.side, dropped.branch.leg.id);
        if !self.may_yet_take(&dropped) || self.party(side).lost.is_none() {
            return self.answered_too_late(context, dropped, answer.response, answer.flow);
        }
        let now = context.now;
        self.calls_yet(context, dropped.branch, None, now);
        self.again_response(context, side, leg, answer);
    }

    /// A phone rings that has said nothing to its INVITE, which was given up: it slept. Returns false where it is not
    /// to ring: others have the call, or have had another INVITE there that they ring by.
    pub(crate) fn dropped_rings(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        answer: &Answer<'_>,
    ) -> bool {
        let at = self.dropped.iter();
        let at = at.clone().position(|known| known.branch.leg.id == leg);
        // A CANCEL that is out makes it ring no more.
        let open = context.shared.transactions.open(client).is_some();
        let Some(at) = at.filter(|at| {
            let known = &self.dropped[*at];
            open && !known.branch.rang
                && self.may_yet_take(known)
                && answer.response.status() != 199
        }) else {
            return false;
        };
        let (side, identity) = {
            let leg = &self.dropped[at].branch.leg;
            (leg.side, leg.endpoint.identity.clone())
        };
        let Some(lost) = &mut self.party_mut(side).lost else {
            return false;
        };
        let other = lost.fork.to(&identity).map(|other| {
            let unheard = other.is_unheard(context);
            (other.leg.id, unheard)
        });
        // Who has said no at another INVITE is not to be rung.
        if lost.has_refused(&identity) || other.is_some_and(|(_, unheard)| !unheard) {
            return false;
        }
        let until = context.now + Self::ring_time(context, lost);
        lost.failed.retain(|known| known.identity != identity);
        let other = other.and_then(|(other, _)| lost.fork.take(other));
        let dropped = self.dropped.remove(at);
        if let Some(other) = other {
            self.give_up(context, other);
        }
        self.calls_yet(context, dropped.branch, Some(client), until);
        self.again_response(context, side, leg, answer);
        self.persist(context);
        true
    }

    /// Who was given up is called still.
    fn calls_yet(
        &mut self,
        context: &mut Context<'_>,
        branch: Branch,
        client: Option<ClientId>,
        until: Time,
    ) {
        let (side, leg) = (branch.leg.side, branch.leg.id);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let tag = branch.leg.dialog.local_tag.clone();
        lost.fork.branches.push(Branch {
            state: BranchState::Calling,
            client,
            severed: None,
            until,
            ..branch
        });
        context.know_tag(&tag, (self.id, leg));
    }

    /// Returns true where its side is sought still, as it was when nobody answered, and its ports are open.
    fn may_yet_take(&self, dropped: &Dropped) -> bool {
        let (side, generation) = (dropped.branch.leg.side, dropped.branch.generation);
        let lost = self.party(side).lost.as_ref();
        let sought = lost.is_some_and(|lost| lost.may_yet_take(dropped.at));
        let open = self.ports[side.index()].generations();
        let ports = open.contains(&generation) || open.is_empty() && generation == 0;
        let over = self.closing.is_some() || self.ended.is_some();
        dropped.in_vain && sought && ports && !over
    }

    /// A phone has taken our INVITE in the place of the dialog that it names (RFC 3891 3), and we have no use for that:
    /// the BYE by which it ends the other is no farewell.
    pub(crate) fn has_made_room(
        &mut self,
        context: &Context<'_>,
        side: Side,
        named: Option<LegId>,
    ) {
        let Some(named) = named else { return };
        let party = self.party_mut(side);
        let lost = party.lost.as_mut().map(|lost| &mut lost.old);
        let standing = party.leg.as_mut().or(lost);
        if let Some(standing) = standing.filter(|standing| standing.id == named) {
            standing.superseded = Some(context.now);
        }
    }

    fn answered_too_late(
        &mut self,
        context: &mut Context<'_>,
        dropped: Dropped,
        response: &Message,
        flow: Flow,
    ) {
        let mut leg = dropped.branch.leg;
        self.has_made_room(context, leg.side, dropped.branch.names);
        leg.dialog.answered_by(response, flow);
        leg.dialog.skip(CSEQ_GAP);
        let _ = leg.life.take(Happens::Success);
        leg.acknowledge(context, self.id, response.cseq(), None);
        self.bury(context, leg);
        self.persist(context);
    }

    /// The same 2xx once more: its ACK was lost. Returns false where it is none of a dialog that ends.
    pub(crate) fn acknowledge_ghost(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
    ) -> bool {
        let id = self.id;
        let mut ghosts = self.ghosts.iter_mut();
        let ghost = ghosts.find(|ghost| {
            ghost.id == leg && ghost.dialog.remote_tag.as_deref() == response.to_tag()
        });
        if let Some(ghost) = ghost {
            ghost.acknowledge_again(context, id, response.cseq());
            return true;
        }
        false
    }
}
