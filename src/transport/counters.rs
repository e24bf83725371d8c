//! What the sockets of one shard count. Others read it at each scrape.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::TransportReading;

/// Totals since the start; `connections` is what is open now.
#[derive(Debug, Default)]
pub struct Counters {
    pub connections: AtomicU64,
    pub accepted: AtomicU64,
    /// Turned away by a limit on connections.
    pub refused: AtomicU64,
    pub datagrams_received: AtomicU64,
    pub datagrams_sent: AtomicU64,
    /// Too large, not taken by a shard, or not taken by the kernel.
    pub datagrams_dropped: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one off a count of what is there now.
    pub fn take(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds everything to a reading.
    pub fn read_into(&self, reading: &mut TransportReading) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        reading.connections += of(&self.connections);
        reading.accepted += of(&self.accepted);
        reading.refused += of(&self.refused);
        reading.datagrams_received += of(&self.datagrams_received);
        reading.datagrams_sent += of(&self.datagrams_sent);
        reading.datagrams_dropped += of(&self.datagrams_dropped);
    }
}
