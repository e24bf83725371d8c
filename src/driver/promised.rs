//! Which UDP flows their phones keep alive by themselves, as they were asked to by a Flow-Timer, and which of these
//! have fallen silent (RFC 5626 4.4): a sign that the phone, or the way to it, is gone.
//!
//! A phone that has never sent a keep-alive has promised nothing, and says nothing by its silence.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::ids::{Flow, Transport};
use crate::engine::time::{Millis, Time};
use crate::sip::keep_every;

use super::bindings::Bindings;

/// A keep-alive that came so soon after another one says nothing new.
const SOON: Millis = Millis(1000);
/// How long a flow may be silent, in thousandths of what was asked for: one keep-alive may be lost on the way.
const MISSED: u64 = 2500;

/// Those of one worker, whose sockets hear them.
#[derive(Default)]
pub(super) struct Promised {
    /// When something came last.
    heard: BTreeMap<Flow, Time>,
    by_time: BTreeSet<(Time, Flow)>,
}

impl Promised {
    /// A keep-alive came. Only those of bindings that name their flow are a promise: no more flows are held than
    /// there are of these.
    pub(super) fn kept_alive(&mut self, flow: Flow, bindings: &Bindings, now: Time) {
        if self.heard.contains_key(&flow) {
            self.spoke(&flow, now);
        } else if bindings.keeps(&flow) {
            self.put(flow, now);
        }
    }

    /// Something else came, which shows as well that the flow stands.
    pub(super) fn spoke(&mut self, flow: &Flow, now: Time) {
        if let Some(before) = self.heard.get(flow).copied()
            && now.since(before) >= SOON
        {
            self.by_time.remove(&(before, *flow));
            self.put(*flow, now);
        }
    }

    fn put(&mut self, flow: Flow, now: Time) {
        self.heard.insert(flow, now);
        self.by_time.insert((now, flow));
    }

    /// Returns over which flows nothing has come for two and a half times as long as was asked for. Each is named once, until a
    /// keep-alive comes over it again; none that no binding names any more.
    pub(super) fn silent(&mut self, bindings: &Bindings, now: Time) -> Vec<Flow> {
        let mut silent = Vec::new();
        while let Some((heard, flow)) = self.by_time.first().copied()
            && now.since(heard) >= allowed()
        {
            self.by_time.pop_first();
            self.heard.remove(&flow);
            if bindings.keeps(&flow) {
                silent.push(flow);
            }
        }
        silent
    }
}

fn allowed() -> Millis {
    Millis(MISSED * u64::from(keep_every(Transport::Udp.is_reliable())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::bindings::tests::{aor, binding};

    fn flow(bindings: &Bindings, port: u16, timed: bool) -> Flow {
        let binding = crate::engine::endpoint::Binding {
            reg_id: Some(1),
            timed,
            ..binding(port, 1_000_000)
        };
        let flow = binding.endpoint.flow.unwrap();
        bindings.change(&aor("a"), &mut |held| held.push(binding.clone()));
        flow
    }

    #[test]
    fn a_flow_that_was_kept_and_is_kept_no_longer_is_named_once() {
        let bindings = Bindings::new(1);
        let flow = flow(&bindings, 1, true);
        let mut promised = Promised::default();
        promised.kept_alive(flow, &bindings, Time(0));
        promised.kept_alive(flow, &bindings, Time(29_000));
        assert!(promised.silent(&bindings, Time(103_900)).is_empty());
        assert_eq!(promised.silent(&bindings, Time(104_000)), [flow]);
        assert!(promised.silent(&bindings, Time(200_000)).is_empty());
        promised.kept_alive(flow, &bindings, Time(200_000));
        promised.spoke(&flow, Time(240_000));
        assert!(promised.silent(&bindings, Time(314_000)).is_empty());
        assert_eq!(promised.silent(&bindings, Time(315_000)), [flow]);
    }

    #[test]
    fn who_has_promised_nothing_is_not_missed() {
        let bindings = Bindings::new(1);
        let (numbered, other) = (flow(&bindings, 1, true), flow(&bindings, 2, false));
        let mut promised = Promised::default();
        // One never keeps its flow alive, the other was not asked to.
        promised.spoke(&numbered, Time(0));
        promised.kept_alive(other, &bindings, Time(0));
        assert!(promised.silent(&bindings, Time(500_000)).is_empty());
    }

    #[test]
    fn whose_binding_is_gone_is_not_missed() {
        let bindings = Bindings::new(1);
        let flow = flow(&bindings, 1, true);
        let mut promised = Promised::default();
        promised.kept_alive(flow, &bindings, Time(0));
        bindings.change(&aor("a"), &mut Vec::clear);
        assert!(promised.silent(&bindings, Time(500_000)).is_empty());
        assert!(promised.heard.is_empty() && promised.by_time.is_empty());
    }
}
