//! Lost dialogs: each gets an end, so that a phone which comes back to life finds no call left on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::parting::Bye;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::rebuild::JUMP;
use crate::engine::conversation::restoring::reach::{standing, way_anew};
use crate::engine::dialog::{Do, Happens, Life};
use crate::engine::endpoint::Identity;
use crate::engine::ids::{Aor, ConversationId, Flow, LegId, Side};
use crate::engine::location;
use crate::engine::routing;
use crate::engine::time::{Millis, Time};

/// Lost dialogs that a conversation remembers; the oldest goes where those go whose conversation is over.
const GHOSTS_MAX: usize = 4;
/// How long after its BYE one that was not answered is told once more; then twice as long, and so on.
const PAUSE: Millis = Millis::from_secs(60);
/// How often: the last time is an hour after the first.
const ROUNDS_MAX: u32 = 6;

/// When a lost dialog is told once more, whatever becomes of the others and of the conversation. A phone that never
/// registers comes back without a word.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Haunt {
    pub(super) next: Option<Time>,
    /// BYEs by time so far.
    pub(super) rounds: u32,
}

/// Those of a conversation.
pub(crate) type Haunts = BTreeMap<LegId, Haunt>;

impl Haunt {
    /// Its first BYE is out.
    pub(crate) fn begun(now: Time) -> Self {
        Self::after(0, now)
    }

    /// A BYE is out, after so many by time.
    pub(super) fn after(rounds: u32, now: Time) -> Self {
        let pause = PAUSE.times(1 << rounds.min(ROUNDS_MAX));
        Self {
            next: (rounds < ROUNDS_MAX).then(|| now + pause),
            rounds,
        }
    }

    /// It is told as its phone registers, and by time no more.
    pub(super) fn without_rounds() -> Self {
        Self {
            next: None,
            rounds: ROUNDS_MAX,
        }
    }

    /// One more BYE goes out. One that was not due by time, as of a phone that is back, is none of the rounds.
    pub(super) fn told_again(&mut self, now: Time) {
        let due = self.next.is_some_and(|next| next <= now);
        *self = Self::after(self.rounds + u32::from(due), now);
    }
}

impl Conversation {
    /// A lost dialog gets a best-effort end: a phone that comes back to life finds no call left on it.
    pub(crate) fn bury(&mut self, context: &mut Context<'_>, mut old: Leg) {
        context.forget_tag(&old.dialog.local_tag);
        old.goes_over(self.way_back(context, &old));
        if old.life == Life::Answered {
            let aor = self.party(old.side).aor.clone();
            return old.part(context, self.id, aor, Bye::because(Some(ELSEWHERE)));
        }
        let aor = &self.parties[old.side.index()].aor;
        old.bye(context, self.id, aor, Some(ELSEWHERE));
        if self.ghosts.len() >= GHOSTS_MAX {
            let oldest = self.ghosts.remove(0);
            let aor = self.party(oldest.side).aor.clone();
            self.entomb_ghost(context, aor, oldest);
        }
        self.haunts.insert(old.id, Haunt::begun(context.now));
        self.ghosts.push(old);
    }

    fn entomb_ghost(&mut self, context: &mut Context<'_>, aor: Aor, ghost: Leg) {
        let haunt = self.haunts.remove(&ghost.id).unwrap_or_default();
        context.entomb(self.id, aor, ghost, haunt, true);
    }

    /// Returns when one of them is told once more.
    pub(crate) fn haunted_at(&self) -> Option<Time> {
        self.haunts.values().filter_map(|haunt| haunt.next).min()
    }

    /// Returns where a lost endpoint is best reached.
    pub(super) fn way_back(&self, context: &Context<'_>, old: &Leg) -> Flow {
        way_back(context, &self.party(old.side).aor, old)
    }

    /// The conversation is over, and phones have not answered the end of their lost dialogs.
    pub(super) fn leave_ghosts(&mut self, context: &mut Context<'_>) {
        for ghost in std::mem::take(&mut self.ghosts) {
            let aor = self.party(ghost.side).aor.clone();
            self.entomb_ghost(context, aor, ghost);
        }
    }

    /// Returns how many lost dialogs it remembers.
    pub(crate) fn ghost_count(&self) -> usize {
        self.ghosts.len()
    }

    /// Somebody else has a side's place: its lost dialogs are at phones of who had it.
    pub(crate) fn leave_ghosts_of(&mut self, context: &mut Context<'_>, side: Side, aor: &Aor) {
        let theirs = |ghost: &mut Leg| ghost.side == side;
        let theirs: Vec<Leg> = self.ghosts.extract_if(.., theirs).collect();
        for ghost in theirs {
            self.entomb_ghost(context, aor.clone(), ghost);
        }
    }

    /// After a restart: the store knows of a dialog only whether it stands. A BYE that has just gone out goes once more:
    /// its transaction has ended with us.
    pub(crate) fn ghosts_resume(&mut self, now: Time) {
        for ghost in &mut self.ghosts {
            let haunt = self.haunts.entry(ghost.id).or_default();
            if haunt.rounds == 0 {
                haunt.next = Some(now);
            }
            ghost.dialog.resume(JUMP);
            let _ = ghost.life.take(Happens::Leave);
        }
    }

    /// The lost dialogs whose BYE nobody has answered get it once more.
    pub(crate) fn haunted_due(&mut self, context: &mut Context<'_>) {
        let (id, now) = (self.id, context.now);
        let mut ghosts = std::mem::take(&mut self.ghosts);
        for ghost in &mut ghosts {
            let due = |haunt: &&mut Haunt| haunt.next.is_some_and(|at| at <= now);
            let Some(haunt) = self.haunts.get_mut(&ghost.id).filter(due) else {
                continue;
            };
            haunt.told_again(now);
            ghost.goes_over(self.way_back(context, ghost));
            let aor = &self.parties[ghost.side.index()].aor;
            ghost.bye_again(context, id, aor, Some(ELSEWHERE));
        }
        self.ghosts = ghosts;
    }

    /// Upstreams answer again: the lost dialogs through them, whose BYE nobody has answered, get it once more.
    pub(crate) fn ghosts_beyond(&mut self, context: &Context<'_>, upstreams: &[Box<str>]) {
        for ghost in self
            .ghosts
            .iter()
            .filter(|it| context.is_through(it, upstreams))
        {
            let haunt = self.haunts.entry(ghost.id).or_default();
            if haunt.rounds < ROUNDS_MAX {
                haunt.next = Some(context.now);
            }
        }
    }

    /// The BYE of a lost dialog has its answer.
    pub(crate) fn farewell_answered(&mut self, leg: LegId, status: u16, flow: &Flow) {
        self.ghosts
            .retain_mut(|ghost| ghost.id != leg || !ghost.is_ended_by(status, flow));
        let ghosts = &self.ghosts;
        self.haunts
            .retain(|leg, _| ghosts.iter().any(|ghost| ghost.id == *leg));
    }

    /// A phone is back on the network: a dead call of ours that it still holds ends now. Returns true where there was
    /// one.
    pub(crate) fn lay_ghosts(
        &mut self,
        context: &mut Context<'_>,
        identity: &Identity,
        flow: Option<Flow>,
    ) -> bool {
        let (id, mut any) = (self.id, false);
        for ghost in &mut self.ghosts {
            if !location::same(&ghost.endpoint.identity, identity) {
                continue;
            }
            if let Some(flow) = flow {
                ghost.goes_over(flow);
            }
            let aor = &self.parties[ghost.side.index()].aor;
            any |= ghost.bye_again(context, id, aor, Some(ELSEWHERE));
        }
        any
    }
}

impl Leg {
    /// The BYE of a lost dialog has its answer. One that knows no such call may be another phone than the one that
    /// holds it: where that may be elsewhere it is told there when it is back. Returns true where nobody is left to be
    /// told.
    pub(super) fn is_ended_by(&mut self, status: u16, flow: &Flow) -> bool {
        let elsewhere = status >= 300 && self.may_be_elsewhere();
        if elsewhere {
            self.is_not_at(flow);
        }
        !elsewhere
    }

    /// The BYE of a lost dialog goes once more, unless it was answered. Returns true where it does.
    pub(super) fn bye_again(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        whose: &Aor,
        reason: Option<&str>,
    ) -> bool {
        let again = self.life.take(Happens::Return) == Do::Bye;
        if again {
            self.bye(context, id, whose, reason);
        }
        again
    }
}

/// Returns where a lost endpoint is best reached: where it registered last, else where it was.
pub(crate) fn way_back(context: &Context<'_>, aor: &Aor, old: &Leg) -> Flow {
    let known = routing::flows(aor, &old.endpoint.identity, context.now, context.world);
    let mut registered = known.into_iter().filter_map(|endpoint| endpoint.flow);
    let registered = registered.find_map(|flow| standing(context, &flow));
    // Who hands the call on is there, and registered under another address than its side has now.
    let own = || standing(context, &old.dialog.flow);
    // A connection that is closed may be opened again.
    let anew = || way_anew(context, old).filter(|_| old.dialog.flow.transport.is_reliable());
    registered.or_else(own).or_else(anew).unwrap_or(Flow {
        connection: None,
        ..old.dialog.flow
    })
}
