//! Endpoints that take a re-fork and are lost at once, again and again: the others have time to ring before they are
//! asked, and each time it takes longer until they are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::aside::Restoration;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::endpoint::{Endpoint, Identity};
use crate::engine::events::Signal;
use crate::engine::ids::Side;
use crate::engine::location;
use crate::engine::routing::Target;
use crate::engine::settings::RestoreSettings;
use crate::engine::time::{Millis, Time};

/// Whose loss comes no later after its answer has relapsed: as long as it takes by default to find one dead that has
/// said nothing since.
const SOON: Millis = Millis::from_secs(15);

/// `restore.max_per_conversation` is of the restorations in so long.
const LATELY: Millis = Millis::from_secs(3600);

/// Those of one participant that have relapsed since a leg of it held for longer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Relapses {
    /// When the present leg took a re-fork.
    taken: Option<Time>,
    /// How often each has, in a row.
    times: Vec<(Arc<Identity>, u32)>,
}

impl Relapses {
    /// Returns true where the present leg took a re-fork a moment ago.
    pub(crate) fn has_just_taken(&self, now: Time) -> bool {
        self.taken.is_some_and(|taken| now <= taken + SOON)
    }

    pub(super) fn taken(&self) -> Option<Time> {
        self.taken
    }

    fn count(&mut self, who: &Arc<Identity>) {
        match self
            .times
            .iter_mut()
            .find(|(known, _)| location::same(known, who))
        {
            Some((_, times)) => *times += 1,
            None => self.times.push((Arc::clone(who), 1)),
        }
    }
}

/// One that is asked later.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PutOff {
    who: Arc<Identity>,
    /// When, where nobody else is asked.
    alone: Time,
    /// When, beside others that have not rung.
    beside: Time,
    /// When, beside others that ring.
    ringing: Time,
}

impl PutOff {
    fn new(
        restore: &RestoreSettings,
        (first_for, timeout): (Millis, Millis),
        (who, times): &(Arc<Identity>, u32),
        now: Time,
    ) -> Self {
        let most = Millis(timeout.0 / 2);
        let alone = restore.retry.pause(times.saturating_sub(1)).min(most);
        let beside = alone.max(first_for.min(most));
        let rings_out = restore.ring_timeout.min(most);
        let ringing = if *times > 1 {
            beside.max(rings_out)
        } else {
            beside
        };
        Self {
            who: Arc::clone(who),
            alone: now + alone,
            beside: now + beside,
            ringing: now + ringing,
        }
    }
}

impl Restoration {
    /// Returns true for one that is to be asked later, and not before.
    pub(super) fn puts_off(&self, who: &Identity, now: Time) -> bool {
        let known = self
            .relapsed
            .iter()
            .find(|put_off| location::same(&put_off.who, who));
        known.is_some_and(|put_off| self.until(put_off) > now)
    }

    fn until(&self, put_off: &PutOff) -> Time {
        let is_other = |who: &Identity| {
            !self
                .relapsed
                .iter()
                .any(|put_off| location::same(&put_off.who, who))
        };
        let mut others = self
            .fork
            .branches
            .iter()
            .filter(|branch| is_other(&branch.endpoint().identity))
            .peekable();
        if others.peek().is_none() {
            put_off.alone
        } else if others.any(|branch| branch.rang) {
            put_off.ringing
        } else {
            put_off.beside
        }
    }

    /// Returns when the next of them may be asked.
    pub(super) fn put_off_until(&self) -> Option<Time> {
        let begun = self.relapsed.iter().filter(|_| self.start.is_none());
        begun.map(|put_off| self.until(put_off)).min()
    }
}

impl Conversation {
    /// A leg has taken a re-fork, maybe of another participant than before.
    pub(super) fn has_taken(&mut self, now: Time, side: Side, another: bool) {
        self.restorations += 1;
        self.restored_at.push(now);
        let relapses = &mut self.party_mut(side).relapses;
        relapses.take_if(|_| another);
        relapses.get_or_insert_default().taken = Some(now);
    }

    /// Returns true where it has been restored lately as often as may be.
    pub(super) fn is_lost_too_often(&mut self, context: &Context<'_>) -> bool {
        self.restored_at.retain(|at| *at + LATELY > context.now);
        let most = context.shared.settings.restore.max_per_conversation;
        self.restored_at.len() >= most as usize
    }

    /// A leg is lost: the participant is asked otherwise where that had just taken a re-fork.
    pub(super) fn relapsed(&mut self, now: Time, side: Side, old: &Leg, signal: Signal) {
        let Some(relapses) = &mut self.party_mut(side).relapses else {
            return;
        };
        // The operator's word says nothing of the phone.
        if signal == Signal::Operator {
            return;
        }
        if relapses.has_just_taken(now) {
            relapses.count(&old.endpoint.identity);
        } else {
            self.party_mut(side).relapses = None;
        }
    }

    /// A restoration begins: those that have relapsed have their time to wait from now on.
    pub(super) fn put_off_the_relapsed(&mut self, context: &Context<'_>, side: Side) {
        let settings = &context.shared.settings.restore;
        let spans = (
            settings.same_first_for.of(self.kind),
            settings.timeout.of(self.kind),
        );
        let party = self.party_mut(side);
        if let (Some(lost), Some(relapses)) = (&mut party.lost, &party.relapses) {
            let times = relapses.times.iter();
            lost.relapsed = times
                .map(|of| PutOff::new(settings, spans, of, context.now))
                .collect();
        }
    }

    /// Asks those that have waited for long enough.
    pub(super) fn ask_the_put_off(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if lost.put_off_until().is_none_or(|until| until > now) {
            return;
        }
        let put_off = lost.relapsed.iter();
        let due = put_off.filter(|put_off| lost.until(put_off) <= now);
        let due: Vec<Arc<Identity>> = due.map(|put_off| Arc::clone(&put_off.who)).collect();
        lost.relapsed.retain(|put_off| !due.contains(&put_off.who));
        let is_due = |target: &Target| {
            due.iter()
                .any(|who| location::same(who, &target.endpoint.identity))
        };
        let targets = self.targets_again(context, side).into_iter();
        let endpoints: Vec<Endpoint> = targets
            .filter(is_due)
            .map(|target| target.endpoint)
            .collect();
        self.ask(context, side, endpoints);
    }
}
