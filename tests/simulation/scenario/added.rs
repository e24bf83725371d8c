//! What was added when many seeds were known already: each by dice of its own, which leaves the rest of a run as it was.

use refork::engine::ids::Side;
use refork::engine::settings::Kind;
use refork::engine::time::Millis;

use super::{Act, Scenario, Victim, user};
use crate::dice::Dice;
use crate::log::Fault;

impl Scenario {
    /// Who is left puts the other on hold, or takes that back, while another phone is sought or rings.
    pub(super) fn survivors_hold(&mut self, dice: &mut Dice) {
        for at in 0..self.acts.len() {
            let (ms, Act::Befall { victim, .. }) = &self.acts[at] else {
                continue;
            };
            let (ms, Victim::Holder(talk, side)) = (*ms, *victim) else {
                continue;
            };
            let spoken = self.acts.iter().any(|(_, act)| {
                matches!(act, Act::Call { user: called, kind: Kind::Call, .. } if *called == user(talk, Side::Callee))
            });
            if spoken && dice.percent(30) {
                let (side, on) = (side.other(), dice.percent(75));
                self.at(
                    ms.0 + dice.between(500, 14_000),
                    Act::Hold { talk, side, on },
                );
            }
        }
    }

    /// Who hands a call on puts the other on hold just before, as phones do; the two cross, or not.
    pub(super) fn transferors_hold(&mut self, dice: &mut Dice) {
        for at in 0..self.acts.len() {
            let (ms, Act::Refer { talk, side, .. }) = &self.acts[at] else {
                continue;
            };
            let (ms, talk, side) = (ms.0, *talk, *side);
            if dice.percent(40) {
                let before = ms.saturating_sub(dice.between(0, 150));
                let (side, on) = (side, true);
                self.at(before, Act::Hold { talk, side, on });
            }
        }
    }

    /// Of those that repair themselves, and know Replaces, some do so by that.
    pub(super) fn some_call_anew(&mut self, dice: &mut Dice) {
        for phone in &mut self.phones {
            let traits = &mut phone.traits;
            traits.anew = dice.percent(40) && traits.repairs && traits.replaces;
        }
    }

    /// Some are heard before they answer, and of those some fall silent as they ring.
    pub(super) fn some_play_early(&mut self, dice: &mut Dice) {
        for phone in &mut self.phones {
            phone.traits.early = dice.percent(30);
        }
        for (at, called) in self.calls() {
            let rings: Vec<_> = (0..self.phones.len())
                .filter(|phone| self.phones[*phone].user == called)
                .collect();
            if rings.len() < 2 || !dice.percent(60) {
                continue;
            }
            for phone in &rings {
                self.phones[*phone].traits.early = true;
            }
            let victim = Victim::Phone(dice.pick(&rings));
            let fault = dice.pick(&[Fault::Killed, Fault::Frozen, Fault::Cut, Fault::Unheard]);
            let lasts = dice.percent(70).then(|| dice.span(1500, 60_000));
            self.at(
                at.0 + dice.between(300, 3000),
                Act::Befall {
                    victim,
                    fault,
                    speaks: dice.percent(50),
                    lasts,
                },
            );
        }
    }

    /// Of some that talk no media arrives any more, and all else does.
    pub(super) fn lines_fail_one_way(&mut self, length: u64, dice: &mut Dice) {
        let begins = |act: &Act| {
            let Act::Call { phone, kind, .. } = act else {
                return None;
            };
            (*kind == Kind::Call).then_some(*phone)
        };
        let callers: Vec<_> = self
            .acts
            .iter()
            .filter_map(|(_, act)| begins(act))
            .collect();
        for caller in callers {
            let (talk, _) = self.places[caller];
            if !dice.percent(8) {
                continue;
            }
            let side = dice.pick(&[Side::Caller, Side::Callee]);
            let lasts = (!dice.percent(40)).then(|| dice.span(2000, 120_000));
            self.at(
                dice.between(8000, length),
                Act::Befall {
                    victim: Victim::Holder(talk, side),
                    fault: Fault::Unheard,
                    speaks: false,
                    lasts,
                },
            );
        }
    }

    /// Returns when whom is called, by voice.
    fn calls(&self) -> Vec<(Millis, String)> {
        let calls = self.acts.iter().filter_map(|(at, act)| {
            let Act::Call { user, kind, .. } = act else {
                return None;
            };
            (*kind == Kind::Call).then(|| (*at, user.clone()))
        });
        calls.collect()
    }
}
