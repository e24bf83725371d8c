//! What the gate kept out.

use prometheus::{IntCounter, IntGauge};

use crate::engine::events::Offence;

use super::family::{Maker, raise, show};
use super::names;
use super::readings::GateReading;

pub(super) struct GateMetrics {
    banned: IntGauge,
    /// Over the rate, banned, denied.
    dropped: [IntCounter; 3],
    closed: IntCounter,
    strikes: [IntCounter; Offence::ALL.len()],
    /// By offence, then those of operators.
    bans: [IntCounter; Offence::ALL.len() + 1],
}

impl GateMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let offences = Offence::ALL.map(Offence::as_str);
        let [a, b, c, d] = offences;
        Self {
            banned: make.gauge(names::BANNED),
            dropped: make.counters_by(names::GATE_DROPPED, "reason", ["rate", "banned", "denied"]),
            closed: make.counter(names::GATE_CLOSED),
            strikes: make.counters_by(names::STRIKES, "why", offences),
            bans: make.counters_by(names::BANS, "why", [a, b, c, d, "operator"]),
        }
    }

    pub(super) fn set(&self, gate: &GateReading) {
        show(&self.banned, gate.banned_now);
        raise(&self.dropped[0], gate.dropped_too_much);
        raise(&self.dropped[1], gate.dropped_banned);
        raise(&self.dropped[2], gate.dropped_denied);
        raise(&self.closed, gate.closed);
        for (shown, total) in self.strikes.iter().zip(gate.strikes) {
            raise(shown, total);
        }
        for (shown, total) in self.bans.iter().zip(gate.bans) {
            raise(shown, total);
        }
    }
}
