//! `restore.rate`: a mass loss is worked off in order, and does not flood the network.
//!
//! Each INVITE of a re-fork takes its part of the rate: the first of a restoration, those to further endpoints, those
//! of each further round, and that to an endpoint which registers meanwhile. Whoever finds nothing left waits in one
//! queue, and has one INVITE when its turn comes: of those that are called blindly nobody overtakes. Who is known to be
//! there does: to an endpoint that registers, and to one that asks for another INVITE (by a challenge, 422, 481 to a
//! Replaces), it goes at once, and those who wait pay for it.
//!
//! A turn comes before the way is looked up and ports are opened; where those are late, what is there in the end goes
//! at the rate as well, before further turns.

use std::collections::BTreeMap;

use crate::engine::ids::{ConversationId, Side};
use crate::engine::time::Time;

const SECOND_NS: u64 = 1_000_000_000;
const MILLI_NS: u64 = 1_000_000;
/// What may go out at one moment, as time of the rate: the phones of one participant ring together.
const BURST_NS: u64 = 10 * MILLI_NS;

/// What one who waits has yet to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It has had its turn, and was called too late for it: its INVITE.
    Invite,
    /// Its turn.
    Turn,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(Stage, u64);

impl Ticket {
    pub(crate) fn stage(self) -> Stage {
        self.0
    }
}

/// An even pace (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two, in nanoseconds.
    interval: u64,
    burst: u64,
    /// When the next one would go by an even pace.
    next: u64,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        let rate = u64::from(per_second.max(1));
        // A burst that is shorter than an interval lets nothing go together, and would only bend the pace.
        let burst = if SECOND_NS / rate < BURST_NS {
            BURST_NS
        } else {
            0
        };
        Self {
            // With the burst in it, no second has more than the rate.
            interval: (SECOND_NS + burst).div_ceil(rate),
            burst,
            next: 0,
        }
    }

    fn free_at(&self) -> Time {
        Time(self.next.saturating_sub(self.burst).div_ceil(MILLI_NS))
    }

    fn spend(&mut self, now: Time) {
        // Turns come on whole milliseconds; what they come late by is not lost.
        let now = nanos(now).saturating_sub(MILLI_NS - 1);
        self.next = self.next.max(now).saturating_add(self.interval);
    }
}

/// What is left of the rate, and who waits for it.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Of turns, in which the ways and the ports of one INVITE are sought.
    turns: Pace,
    /// Of INVITEs that go: names and ports may have been late, and all be there at one moment.
    invites: Pace,
    newest: u64,
    waiting: BTreeMap<Ticket, (ConversationId, Side)>,
}

impl Budget {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            turns: Pace::new(per_second),
            invites: Pace::new(per_second),
            newest: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes a turn, or the INVITE of one, now. Returns false where none is left, or others wait for it; not for
    /// who is `called` from among them.
    pub(crate) fn take(&mut self, now: Time, stage: Stage, called: bool) -> bool {
        // Of those who wait the first has the least stage.
        let first = self.waiting.first_key_value();
        let before = !called && first.is_some_and(|(ticket, _)| ticket.stage() <= stage);
        let pace = match stage {
            Stage::Turn => &mut self.turns,
            Stage::Invite => &mut self.invites,
        };
        let free = !before && pace.free_at() <= now;
        if free {
            pace.spend(now);
        }
        free
    }

    /// An INVITE goes now in any case.
    pub(crate) fn spend(&mut self, now: Time) {
        self.turns.spend(now);
        self.invites.spend(now);
    }

    pub(crate) fn queue(&mut self, stage: Stage, who: (ConversationId, Side)) -> Ticket {
        self.newest += 1;
        let ticket = Ticket(stage, self.newest);
        self.waiting.insert(ticket, who);
        ticket
    }

    pub(crate) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Returns when the first of those who wait is called.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let (first, _) = self.waiting.first_key_value()?;
        let invites = self.invites.free_at();
        Some(match first.stage() {
            Stage::Invite => invites,
            Stage::Turn => invites.max(self.turns.free_at()),
        })
    }

    /// Takes out who is called now. It is to take what it waited for.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Ticket, ConversationId, Side)> {
        self.next_due().filter(|due| *due <= now)?;
        let (ticket, (id, side)) = self.waiting.pop_first()?;
        Some((ticket, id, side))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

fn nanos(time: Time) -> u64 {
    time.0.saturating_mul(MILLI_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: (ConversationId, Side) = (ConversationId(7), Side::Callee);

    /// Who is called has its turn, and its INVITE goes.
    fn called(budget: &mut Budget, now: Time) -> bool {
        let mut take = |stage| budget.take(now, stage, true);
        take(Stage::Turn) && take(Stage::Invite)
    }

    /// Lets so many wait at once; returns when each has its turn.
    fn storm(rate: u32, many: u64) -> Vec<u64> {
        let mut budget = Budget::new(rate);
        let start = 1_700_000_000_437;
        for _ in 0..many {
            budget.queue(Stage::Turn, CALL);
        }
        let mut turns = Vec::new();
        while let Some(due) = budget.next_due() {
            let now = due.max(Time(start));
            while budget.pop_due(now).is_some() {
                assert!(called(&mut budget, now));
                turns.push(now.0 - start);
            }
        }
        turns
    }

    #[test]
    fn the_rate_is_held_in_every_second_and_used_up() {
        for rate in [1, 2, 7, 99, 100, 101, 1000, 2500, 40_000] {
            let turns = storm(rate, u64::from(rate) * 4);
            for (first, at) in turns.iter().enumerate() {
                let within = turns[first..].partition_point(|turn| *turn < at + 1000);
                assert!(within <= rate as usize, "{within} of {rate} in a second");
            }
            let last = turns.last().copied().unwrap_or(0);
            assert!(last <= 4 * 1010, "{rate}: the last has waited {last} ms");
        }
    }

    #[test]
    fn turns_are_spread_evenly() {
        assert_eq!(storm(2, 4), [0, 500, 1000, 1500]);
        let turns = storm(1000, 3000);
        let together = |at: &u64| turns.iter().filter(|turn| *turn == at).count();
        assert!(turns.iter().all(|at| together(at) <= 11));
    }

    #[test]
    fn nobody_overtakes_and_who_leaves_costs_nothing() {
        let mut budget = Budget::new(1);
        let now = Time(5_500);
        assert!(budget.take(now, Stage::Turn, false) && budget.take(now, Stage::Invite, false));
        assert!(!budget.take(now, Stage::Turn, false));
        let tickets = [(); 3].map(|()| budget.queue(Stage::Turn, CALL));
        assert_eq!(budget.next_due(), Some(Time(6_500)));
        assert_eq!(budget.pop_due(Time(6_499)), None);
        budget.leave(tickets[0]);
        let turn = budget.pop_due(Time(6_500));
        assert_eq!(turn.map(|(ticket, ..)| ticket), Some(tickets[1]));
        assert!(called(&mut budget, Time(6_500)));
        let other = budget.take(Time(7_500), Stage::Turn, false);
        assert!(!other, "somebody waits");
        assert_eq!(
            budget.pop_due(Time(7_500)).map(|turn| turn.0),
            Some(tickets[2])
        );
        assert_eq!(budget.next_due(), None);
    }

    #[test]
    fn what_goes_in_any_case_is_paid_for() {
        let mut budget = Budget::new(1);
        budget.spend(Time(0));
        budget.spend(Time(0));
        budget.queue(Stage::Turn, CALL);
        assert_eq!(budget.next_due(), Some(Time(2_000)));
    }

    #[test]
    fn who_had_its_turn_goes_before_who_waits_for_one() {
        let mut budget = Budget::new(10);
        for at in 0..3 {
            assert!(budget.take(Time(5_000 + at * 100), Stage::Turn, false));
        }
        // Their ports are there at one moment.
        let now = Time(5_250);
        assert!(budget.take(now, Stage::Invite, false));
        assert!(!budget.take(now, Stage::Invite, false));
        let waits = budget.queue(Stage::Turn, CALL);
        let second = budget.queue(Stage::Invite, CALL);
        assert!(!budget.take(Time(5_350), Stage::Invite, false), "one waits");
        assert_eq!(budget.pop_due(Time(5_349)), None);
        assert_eq!(budget.pop_due(Time(5_350)).map(|turn| turn.0), Some(second));
        assert!(budget.take(Time(5_350), Stage::Invite, true));
        assert_eq!(budget.pop_due(Time(5_450)).map(|turn| turn.0), Some(waits));
    }
}
