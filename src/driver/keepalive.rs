//! Which UDP flows are due for a keep-alive: all within one interval, evenly spread.

use std::time::Duration;

use crate::engine::ids::Flow;
use crate::engine::time::{Millis, Time};

use super::bindings::Bindings;
use super::clock::millis;

/// Goes round the flows of registered bindings once an interval.
pub(super) struct Keepalive {
    /// None: never.
    interval: Option<Millis>,
    /// When this round began.
    begun: Time,
    /// The last flow served in this round.
    last: Option<Flow>,
    /// Nobody is left in this round.
    done: bool,
}

impl Keepalive {
    pub(super) fn new(interval: Duration, now: Time) -> Self {
        Self {
            interval: Some(Millis(millis(interval))).filter(|interval| interval.0 > 0),
            begun: now,
            last: None,
            done: false,
        }
    }

    /// Returns the flows to serve now; to be called once a second.
    pub(super) fn due(&mut self, bindings: &Bindings, worker: usize, now: Time) -> Vec<Flow> {
        let Some(interval) = self.interval else {
            return Vec::new();
        };
        if now.since(self.begun) >= interval {
            (self.begun, self.last, self.done) = (now, None, false);
        }
        if self.done {
            return Vec::new();
        }
        let seconds = (interval.0 / 1000).max(1) as usize;
        let share = bindings.flows_of(worker).div_ceil(seconds).max(1);
        let flows = bindings.udp_flows(worker, self.last, share);
        self.done = flows.len() < share;
        self.last = flows.last().copied().or(self.last);
        flows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::driver::bindings::tests::{aor, binding};

    #[test]
    fn every_flow_has_its_turn_once_an_interval() {
        let bindings = Bindings::new(1);
        bindings.change(&aor("a"), &mut |held| {
            held.extend((1..=7).map(|port| binding(port, 1_000_000)));
        });
        let mut keepalive = Keepalive::new(Duration::from_secs(5), Time(0));
        let mut served = BTreeMap::<Flow, usize>::new();
        for second in 0..15 {
            let flows = keepalive.due(&bindings, 0, Time(second * 1000));
            assert!(flows.len() <= 2, "spread evenly");
            for flow in flows {
                *served.entry(flow).or_default() += 1;
            }
        }
        assert_eq!(served.len(), 7);
        assert!(served.values().all(|times| *times == 3), "{served:?}");
    }

    #[test]
    fn zero_is_never() {
        let bindings = Bindings::new(1);
        bindings.change(&aor("a"), &mut |held| held.push(binding(1, 1000)));
        let mut keepalive = Keepalive::new(Duration::ZERO, Time(0));
        assert!(keepalive.due(&bindings, 0, Time(100_000)).is_empty());
    }
}
