//! Makes a failing run small: what can be left out, or be as usual, while it still fails.

use crate::net::Weather;
use crate::phone::Traits;
use crate::rules::Rules;
use crate::scenario::Scenario;

/// So many runs are tried.
const TRIES_MAX: usize = 600;

struct Shrinking<F> {
    best: Scenario,
    fails: F,
    tries: usize,
}

/// Returns a smaller one that `fails` as well.
pub(crate) fn shrink(scenario: Scenario, fails: impl Fn(&Scenario) -> bool) -> Scenario {
    let mut work = Shrinking {
        best: scenario,
        fails,
        tries: 0,
    };
    while work.round() && work.tries < TRIES_MAX {}
    work.best
}

impl<F: Fn(&Scenario) -> bool> Shrinking<F> {
    /// Returns true where anything has become smaller.
    fn round(&mut self) -> bool {
        let mut any = self.leave_acts_out();
        any |= self.try_with(
            |it| it.rules = Rules::default(),
            |it| it.rules != Rules::default(),
        );
        let fair = Weather::fair();
        any |= self.try_with(|it| it.weather = fair, |it| it.weather != fair);
        any |= self.try_with(|it| it.weather.loss = 0, |it| it.weather.loss > 0);
        any |= self.try_with(
            |it| it.weather.duplication = 0,
            |it| it.weather.duplication > 0,
        );
        any |= self.try_with(|it| it.weather.late = 0, |it| it.weather.late > 0);
        any |= self.try_with(|it| it.weather.jitter = 0, |it| it.weather.jitter > 0);
        any |= self.try_with(|it| it.slow_store = 0, |it| it.slow_store > 0);
        any |= self.try_with(|it| it.failing_store = 0, |it| it.failing_store > 0);
        for phone in (0..self.best.phones.len()).rev() {
            any |= self.try_with(|it| it.leave_phone_out(phone), |_| true);
        }
        for phone in 0..self.best.phones.len() {
            any |= self.try_with(
                |it| it.phones[phone].traits = Traits::perfect(),
                |it| it.phones[phone].traits != Traits::perfect(),
            );
            any |= self.try_with(
                |it| it.phones[phone].stream = false,
                |it| it.phones[phone].stream,
            );
        }
        any
    }

    /// Half of them at once, then a quarter, down to each by itself.
    fn leave_acts_out(&mut self) -> bool {
        let mut any = false;
        let mut size = self.best.acts.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.best.acts.len() {
                let until = (from + size).min(self.best.acts.len());
                let without = self.try_with(|it| drop(it.acts.drain(from..until)), |_| true);
                any |= without;
                if !without {
                    from = until;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        any
    }

    fn try_with(
        &mut self,
        change: impl FnOnce(&mut Scenario),
        worth_it: impl FnOnce(&Scenario) -> bool,
    ) -> bool {
        if self.tries >= TRIES_MAX || !worth_it(&self.best) {
            return false;
        }
        self.tries += 1;
        let mut smaller = self.best.clone();
        change(&mut smaller);
        let fails = (self.fails)(&smaller);
        if fails {
            self.best = smaller;
        }
        fails
    }
}

#[test]
fn keeps_what_it_takes() {
    let full = Scenario::of(7);
    assert!(full.acts.len() > 4);
    let wanted = format!("{:?}", full.acts[3]);
    let small = shrink(full, |scenario| {
        scenario.acts.iter().any(|act| format!("{act:?}") == wanted)
    });
    assert_eq!(small.acts.len(), 1);
    assert_eq!(small.weather, Weather::fair());
    assert!(!small.phones.iter().any(|phone| phone.stream));
}
