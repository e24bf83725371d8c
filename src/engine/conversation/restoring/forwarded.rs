//! A phone of a re-fork that forwards its calls: whom it names is called as in a first fork (`forking::redirect`).
//!
//! The others are asked on beside that: the person that was lost may come back, and the first that answers has the
//! place. What a phone says counts for the person that it is of.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::{Branch, BranchState, aor_of};
use crate::engine::ids::{Aor, LegId, Side};
use crate::sip::Message;

/// Returns true for a redirection that can be followed: 305 names a proxy, 380 another service.
pub(super) fn is_moved(status: u16) -> bool {
    matches!(status, 300..=302)
}

impl Conversation {
    /// A branch has failed: it may name somebody else.
    pub(super) fn follow_again(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        response: &Message,
    ) {
        let first_for = context.shared.settings.restore.same_first_for.of(self.kind);
        let Some(lost) = &self.party(side).lost else {
            return;
        };
        let branch = lost.fork.find(leg);
        if branch.is_some_and(|branch| lost.forwards_when_busy(branch)) {
            return;
        }
        let waiting = lost.fork.waiting.len();
        self.redirected(context, side, leg, response);
        if let Some(lost) = &mut self.party_mut(side).lost
            && lost.transfer.is_none()
            && lost.fork.waiting.len() > waiting
        {
            let at = context.now + first_for;
            lost.named_at = lost.named_at.or(Some(at));
        }
    }

    /// Those who were named have their turn once nobody else rings. Who was lost is mostly dead, and says nothing
    /// for half a minute: nobody waits for that as long.
    pub(super) fn call_the_named(&mut self, context: &mut Context<'_>, side: Side) {
        let first_for = context.shared.settings.restore.same_first_for.of(self.kind);
        let now = context.now;
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let said = |branch: &Branch| branch.rang || branch.state == BranchState::Joining;
        let waited = lost.named_at.is_none_or(|at| at <= now);
        let nobody = lost.fork.branches.is_empty();
        if lost.transfer.is_some() || lost.fork.branches.iter().any(said) || !(nobody || waited) {
            return;
        }
        let Some(turn) = lost.fork.waiting.pop_front() else {
            lost.named_at = None;
            return;
        };
        lost.named_at = (!lost.fork.waiting.is_empty()).then(|| now + first_for);
        let endpoints = turn.targets.into_iter().map(|target| target.endpoint);
        self.ask_meant(context, side, endpoints.collect(), turn.meant);
    }

    /// Who was named declines: that is a word for all of that person's phones (RFC 3261 16.7 step 5), and for nobody
    /// else's.
    pub(super) fn named_declines(&mut self, context: &mut Context<'_>, side: Side, aor: &Aor) {
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        lost.fork
            .waiting
            .retain(|turn| aor_of(&turn.meant) != Some(aor));
        let theirs = |branch: &mut Branch| {
            branch.state != BranchState::Joining && aor_of(&branch.meant) == Some(aor)
        };
        let theirs: Vec<Branch> = lost.fork.branches.extract_if(.., theirs).collect();
        for branch in theirs {
            self.drop_branch(context, branch, None);
        }
    }
}
