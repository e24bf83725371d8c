//! When the INVITEs of a re-fork may go: by `restore.rate` (`budget`).

use serde::{Deserialize, Serialize};

use super::aside::Restoration;
use super::budget::{Stage, Ticket};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::Branch;
use crate::engine::ids::{ConversationId, Side};
use crate::engine::time::{Millis, Time};

/// How long a restoration may wait for its turns: its time runs from the first on, and stands still while it waits
/// for a further one.
pub(super) const WAIT_MAX: Millis = Millis::from_secs(600);

/// A restoration and the budget of the node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Turns {
    /// Its place among those who wait.
    #[serde(skip)]
    ticket: Option<Ticket>,
    /// Since when it waits for a further turn.
    since: Option<Time>,
    /// It has had a turn, whose INVITE has not gone.
    #[serde(skip)]
    taken: bool,
    /// It is its turn now.
    #[serde(skip)]
    called: bool,
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

    /// Takes a turn, or the INVITE of one; where nothing is left it waits.
    fn take(
        &mut self,
        context: &mut Context<'_>,
        stage: Stage,
        who: (ConversationId, Side),
    ) -> bool {
        let budget = &mut context.shared.budget;
        if budget.take(context.now, stage, self.called) {
            return true;
        }
        if let Some(turn) = self.ticket.take_if(|own| own.stage() > stage) {
            budget.leave(turn);
        }
        self.ticket = self.ticket.or_else(|| Some(budget.queue(stage, who)));
        false
    }

    fn take_turn(&mut self, context: &mut Context<'_>, who: (ConversationId, Side)) -> bool {
        self.taken = self.taken || self.take(context, Stage::Turn, who);
        self.taken
    }

    fn take_invite(&mut self, context: &mut Context<'_>, who: (ConversationId, Side)) -> bool {
        let free = self.take_turn(context, who) && self.take(context, Stage::Invite, who);
        if free {
            (self.taken, self.called) = (false, false);
        }
        free
    }
}

impl Restoration {
    /// Returns when its time is over, which stands still while it waits for a further turn.
    pub(super) fn over_at(&self) -> Time {
        match self.turns.since {
            Some(_) => self.deadline.max(self.since + WAIT_MAX),
            None => self.deadline,
        }
    }

    /// It waits for a further turn from now on, or no longer. Returns true where that is new.
    pub(super) fn wait(&mut self, now: Time, waits: bool) -> bool {
        if waits {
            let new = self.turns.since.is_none();
            self.turns.since = self.turns.since.or(Some(now));
            return new;
        }
        if let Some(since) = self.turns.since.take() {
            let later = self.deadline + now.since(since);
            self.deadline = self.deadline.max(later.min(self.since + WAIT_MAX));
        }
        false
    }

    /// Its time begins.
    fn begin(&mut self, now: Time, timeout: Millis) {
        self.start = None;
        self.deadline = now + timeout;
    }

    /// Returns true where a branch of its fork may be called now.
    pub(super) fn may_call(
        turns: &mut Turns,
        context: &mut Context<'_>,
        id: ConversationId,
        branch: &Branch,
    ) -> bool {
        // Or it was called before, and has asked to be called otherwise or at another place.
        if branch.at_once || branch.attempt > 0 {
            context.shared.budget.spend(context.now);
            return true;
        }
        turns.take_invite(context, (id, branch.leg.side))
    }
}

impl Conversation {
    /// Begins a restoration, where it may send an INVITE now. Its time runs from here on.
    pub(super) fn begin_restoring(&mut self, context: &mut Context<'_>, side: Side) {
        let id = self.id;
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if lost.turns.waits() || !lost.turns.take_turn(context, (id, side)) {
            return;
        }
        self.begin_now(context, side);
    }

    /// Begins a restoration, also before its turn, for an endpoint of it is there: the others keep its place in the
    /// queue then.
    pub(super) fn begin_now(&mut self, context: &mut Context<'_>, side: Side) {
        let timeout = context.shared.settings.restore.timeout.of(self.kind);
        let own_until = context.now + self.own_time(context, side);
        if let Some(lost) = &mut self.party_mut(side).lost {
            lost.begin(context.now, timeout);
            lost.own_until = own_until;
            self.put_off_the_relapsed(context, side);
            self.first_round(context, side);
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
        lost.turns.called = true;
        if lost.start.is_some() {
            self.begin_restoring(context, side);
        } else {
            self.launch_again(context, side);
        }
        if let Some(lost) = &mut self.party_mut(side).lost {
            lost.turns.called = false;
        }
    }
}
