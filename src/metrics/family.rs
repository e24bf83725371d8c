//! Making metrics: each is registered, and every label value that is known beforehand is there with 0.

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::names::Family;

/// Makes metrics in one registry. Names and labels are constants, so a refusal of the registry is a
/// mistake of ours that every start and every test would show.
pub(super) struct Maker<'a>(pub(super) &'a Registry);

impl Maker<'_> {
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("names and labels are constants");
        self.0
            .register(Box::new(collector.clone()))
            .expect("names are used once");
        collector
    }

    pub(super) fn counter(&self, family: Family) -> IntCounter {
        self.keep(IntCounter::new(family.name, family.help))
    }

    pub(super) fn gauge(&self, family: Family) -> IntGauge {
        self.keep(IntGauge::new(family.name, family.help))
    }

    pub(super) fn float(&self, family: Family) -> Gauge {
        self.keep(Gauge::new(family.name, family.help))
    }

    /// A counter of CPU seconds and the like: Prometheus wants the type, not only the name.
    pub(super) fn float_counter(&self, family: Family) -> prometheus::Counter {
        self.keep(prometheus::Counter::new(family.name, family.help))
    }

    pub(super) fn counters(&self, family: Family, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(
            Opts::new(family.name, family.help),
            labels,
        ))
    }

    /// One counter for each value of the only label, in the order given.
    pub(super) fn counters_by<const N: usize>(
        &self,
        family: Family,
        label: &str,
        values: [&str; N],
    ) -> [IntCounter; N] {
        let all = self.counters(family, &[label]);
        values.map(|value| all.with_label_values(&[value]))
    }

    pub(super) fn gauges(&self, family: Family, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(
            Opts::new(family.name, family.help),
            labels,
        ))
    }

    /// One gauge for each value of the only label, in the order given.
    pub(super) fn gauges_by<const N: usize>(
        &self,
        family: Family,
        label: &str,
        values: [&str; N],
    ) -> [IntGauge; N] {
        let all = self.gauges(family, &[label]);
        values.map(|value| all.with_label_values(&[value]))
    }

    /// One histogram for each value of the only label, in the order given.
    pub(super) fn histograms_by<const N: usize>(
        &self,
        family: Family,
        label: &str,
        values: [&str; N],
        buckets: &[f64],
    ) -> [Histogram; N] {
        let opts = HistogramOpts::new(family.name, family.help).buckets(buckets.to_vec());
        let all: HistogramVec = self.keep(HistogramVec::new(opts, &[label]));
        values.map(|value| all.with_label_values(&[value]))
    }
}

/// Sets a gauge.
pub(super) fn show(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Brings a counter up to a total kept elsewhere. A total that fell is a reading that came late: the
/// counter never falls.
pub(super) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
