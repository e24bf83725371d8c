//! Lost dialogs: each gets an end, so that a phone which comes back to life finds no call left on it.

use serde::{Deserialize, Serialize};

use super::parting::Bye;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::rebuild::JUMP;
use crate::engine::conversation::restoring::reach::{standing, way_anew};
use crate::engine::dialog::{Do, Happens, Life};
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Aor, ConversationId, Flow, LegId, Side};
use crate::engine::location;
use crate::engine::routing;
use crate::engine::time::{Millis, Time};

/// Lost dialogs that a conversation remembers; the oldest goes where those go whose conversation is over.
const GHOSTS_MAX: usize = 4;
/// How long after its BYE one that was not answered is told once more; then twice as long, and so on.
const PAUSE: Millis = Millis::from_secs(60);
/// How often: the last time is an hour after the first.
pub(super) const ROUNDS_MAX: u32 = 6;

/// When lost dialogs are told once more. A phone that never registers comes back without a word.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Haunted {
    pub(crate) next: Option<Time>,
    rounds: u32,
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
            context.entomb(self.id, aor, oldest, self.haunted.rounds, true);
        }
        self.ghosts.push(old);
        self.haunted = Haunted {
            next: Some(context.now + PAUSE),
            rounds: 0,
        };
    }

    /// Returns where a lost endpoint is best reached.
    pub(super) fn way_back(&self, context: &Context<'_>, old: &Leg) -> Flow {
        way_back(context, &self.party(old.side).aor, old)
    }

    /// The conversation is over, and phones have not answered the end of their lost dialogs.
    pub(super) fn leave_ghosts(&mut self, context: &mut Context<'_>) {
        let rounds = self.haunted.rounds;
        for ghost in std::mem::take(&mut self.ghosts) {
            let aor = self.party(ghost.side).aor.clone();
            context.entomb(self.id, aor, ghost, rounds, true);
        }
    }

    /// Returns how many lost dialogs it remembers.
    pub(crate) fn ghost_count(&self) -> usize {
        self.ghosts.len()
    }

    /// Somebody else has a side's place: its lost dialogs are at phones of who had it.
    pub(crate) fn leave_ghosts_of(&mut self, context: &mut Context<'_>, side: Side, aor: &Aor) {
        let rounds = self.haunted.rounds;
        for ghost in self.ghosts.extract_if(.., |ghost| ghost.side == side) {
            context.entomb(self.id, aor.clone(), ghost, rounds, true);
        }
    }

    /// After a restart: the store knows of a dialog only whether it stands. A BYE that has just gone out goes once more:
    /// its transaction has ended with us.
    pub(crate) fn ghosts_resume(&mut self, now: Time) {
        if !self.ghosts.is_empty() && self.haunted.rounds == 0 {
            self.haunted.next = Some(now);
        }
        for ghost in &mut self.ghosts {
            ghost.dialog.resume(JUMP);
            let _ = ghost.life.take(Happens::Leave);
        }
    }

    /// The lost dialogs whose BYE nobody has answered get it once more.
    pub(crate) fn haunted_due(&mut self, context: &mut Context<'_>) {
        let due = self.haunted.next.is_some_and(|at| at <= context.now);
        if !due {
            return;
        }
        let id = self.id;
        let mut ghosts = std::mem::take(&mut self.ghosts);
        for ghost in &mut ghosts {
            ghost.goes_over(self.way_back(context, ghost));
            let aor = &self.parties[ghost.side.index()].aor;
            ghost.bye_again(context, id, aor, Some(ELSEWHERE));
        }
        self.haunted.rounds += 1;
        let goes_on = !ghosts.is_empty() && self.haunted.rounds < ROUNDS_MAX;
        let pause = pause(self.haunted.rounds);
        self.haunted.next = goes_on.then(|| context.now + pause);
        self.ghosts = ghosts;
    }

    /// Upstreams answer again: the lost dialogs through them, whose BYE nobody has answered, get it once more.
    pub(crate) fn ghosts_beyond(&mut self, context: &Context<'_>, upstreams: &[Box<str>]) {
        let mut ghosts = self.ghosts.iter();
        if self.haunted.rounds < ROUNDS_MAX && ghosts.any(|it| context.is_through(it, upstreams)) {
            self.haunted.next = Some(context.now);
        }
    }

    /// The BYE of a lost dialog has its answer.
    pub(crate) fn farewell_answered(&mut self, leg: LegId, status: u16, flow: &Flow) {
        self.ghosts
            .retain_mut(|ghost| ghost.id != leg || !ghost.is_ended_by(status, flow));
    }

    /// A phone is back on the network: a dead call of ours that it still holds ends now.
    pub(crate) fn lay_ghosts(&mut self, context: &mut Context<'_>, endpoint: &Endpoint) {
        let id = self.id;
        for ghost in &mut self.ghosts {
            if !location::same(&ghost.endpoint.identity, &endpoint.identity) {
                continue;
            }
            if let Some(flow) = endpoint.flow {
                ghost.goes_over(flow);
            }
            let aor = &self.parties[ghost.side.index()].aor;
            ghost.bye_again(context, id, aor, Some(ELSEWHERE));
        }
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

    /// The BYE of a lost dialog goes once more, unless it was answered.
    pub(super) fn bye_again(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        whose: &Aor,
        reason: Option<&str>,
    ) {
        if self.life.take(Happens::Return) == Do::Bye {
            self.bye(context, id, whose, reason);
        }
    }
}

/// Returns how long a lost dialog rests after so many BYEs by time.
pub(super) fn pause(rounds: u32) -> Millis {
    PAUSE.times(1 << rounds.min(ROUNDS_MAX))
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
