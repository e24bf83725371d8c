//! When the INVITEs of a re-fork may go: by `restore.rate` (`budget`).

use super::aside::Restoration;
use super::budget::Ticket;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::Branch;
use crate::engine::ids::{ConversationId, Side};
use crate::engine::time::Millis;

/// How long a restoration may wait for its first turn; its time runs from then on.
pub(super) const WAIT_MAX: Millis = Millis::from_secs(600);

/// A restoration and the budget of the node.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Its place among those who wait.
    ticket: Option<Ticket>,
    /// INVITEs that are paid for.
    prepaid: u32,
}

impl Turns {
    /// Returns true where its turn comes by itself.
    pub(super) fn waits(&self) -> bool {
        self.ticket.is_some()
    }

    pub(super) fn leave(&mut self, context: &mut Context<'_>) {
        if let Some(ticket) = self.ticket.take() {
            context.shared.budget.leave(ticket);
        }
    }

    /// An endpoint has asked for another INVITE, which goes at once.
    pub(super) fn prepay(&mut self, context: &mut Context<'_>) {
        self.prepaid += 1;
        context.shared.budget.spend(context.now);
    }

    /// Takes what one INVITE costs; where nothing is left it waits.
    fn take(&mut self, context: &mut Context<'_>, who: (ConversationId, Side)) -> bool {
        if self.prepaid > 0 {
            self.prepaid -= 1;
            return true;
        }
        let budget = &mut context.shared.budget;
        let free = budget.take(context.now);
        if !free && self.ticket.is_none() {
            self.ticket = Some(budget.queue(who));
        }
        free
    }
}

impl Restoration {
    /// Returns true where a branch of its fork may be called now.
    pub(super) fn may_call(
        turns: &mut Turns,
        context: &mut Context<'_>,
        id: ConversationId,
        branch: &Branch,
    ) -> bool {
        // It was called before, and has asked to be called otherwise or at another place.
        if branch.attempt > 0 {
            context.shared.budget.spend(context.now);
            return true;
        }
        turns.take(context, (id, branch.leg.side))
    }
}

impl Conversation {
    /// Begins a restoration, where it may send an INVITE now. Its time runs from here on.
    pub(super) fn begin_restoring(&mut self, context: &mut Context<'_>, side: Side) {
        let (id, kind) = (self.id, self.kind);
        let timeout = context.shared.settings.restore.timeout.of(kind);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if lost.turns.waits() || !lost.turns.take(context, (id, side)) {
            return;
        }
        lost.turns.prepaid += 1;
        lost.start = None;
        lost.deadline = context.now + timeout;
        self.first_round(context, side);
    }

    /// An endpoint of a side has asked for another INVITE, which goes at once.
    pub(super) fn prepay(&mut self, context: &mut Context<'_>, side: Side) {
        if let Some(lost) = &mut self.party_mut(side).lost {
            lost.turns.prepay(context);
        }
    }

    /// A side that waited for the budget may send an INVITE.
    pub(crate) fn on_turn(&mut self, context: &mut Context<'_>, side: Side, ticket: Ticket) {
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if lost.turns.ticket.take_if(|own| *own == ticket).is_none() {
            return;
        }
        lost.turns.prepaid += 1;
        if lost.start.is_some() {
            self.begin_restoring(context, side);
        } else {
            self.launch_again(context, side);
        }
    }
}
