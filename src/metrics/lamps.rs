//! Who watches whose calls, and is told of them.

use prometheus::{IntCounter, IntGauge};

use crate::engine::events::Told;

use super::family::{Maker, show};
use super::names;

pub(super) struct LampMetrics {
    now: IntGauge,
    notified: [IntCounter; Told::ALL.len()],
}

impl LampMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            now: make.gauge(names::LAMPS),
            notified: make.counters_by(names::NOTIFIED, "outcome", Told::ALL.map(Told::as_str)),
        }
    }

    pub(super) fn notified(&self, told: Told) {
        self.notified[told as usize].inc();
    }

    pub(super) fn set(&self, now: usize) {
        show(&self.now, now as u64);
    }
}
