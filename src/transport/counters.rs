//! What the sockets of one shard count. Others read it at each scrape.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::ids::Transport;
use crate::engine::time::Millis;
use crate::metrics::TransportReading;

use super::fault::{Fault, Refusal, Shake};
use super::yielding::Yielded;

/// Totals since the start; `connections` is what is open now.
#[derive(Debug, Default)]
pub struct Counters {
    /// By transport: TCP, TLS, WS, WSS.
    pub connections: [AtomicU64; 4],
    pub accepted: AtomicU64,
    /// Turned away, in the order of `Refusal::ALL`.
    pub refused: [AtomicU64; Refusal::ALL.len()],
    /// Closed because the peer did not read.
    pub overflowed: AtomicU64,
    /// Closed because the peer came and said nothing.
    pub silent: AtomicU64,
    /// Closed to make place for another, in the order of `Yielded::ALL`.
    pub yielded: [AtomicU64; Yielded::ALL.len()],
    /// Handshakes that came to nothing, in the order of `Shake::ALL`.
    pub handshakes_failed: [AtomicU64; Shake::ALL.len()],
    pub datagrams_received: AtomicU64,
    pub datagrams_sent: AtomicU64,
    /// Too large, not taken by a shard, or not taken by the kernel.
    pub datagrams_dropped: AtomicU64,
    /// Lost since the kernel's queue was full.
    pub datagrams_lost: AtomicU64,
    /// The longest that one waited in the kernel's queue since this was last read.
    pub datagram_wait_ms: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds some.
    pub(super) fn add_many(counter: &AtomicU64, more: u64) {
        if more > 0 {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// A datagram has waited for so long.
    pub fn waited(&self, wait: Millis) {
        if wait > Millis(0) {
            self.datagram_wait_ms.fetch_max(wait.0, Ordering::Relaxed);
        }
    }

    /// Takes one off a count of what is there now.
    pub fn take(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the count of connections over a transport; over UDP there are none.
    pub fn of(&self, transport: Transport) -> Option<&AtomicU64> {
        let index = match transport {
            Transport::Udp => return None,
            Transport::Tcp => 0,
            Transport::Tls => 1,
            Transport::Ws => 2,
            Transport::Wss => 3,
        };
        self.connections.get(index)
    }

    /// Counts a connection that is turned away.
    pub(super) fn refuse(&self, why: Refusal) {
        let [limit, limit_per_ip, gate, not_a_proxy] = &self.refused;
        Self::add(match why {
            Refusal::Limit => limit,
            Refusal::LimitPerIp => limit_per_ip,
            Refusal::Gate => gate,
            Refusal::NotAProxy => not_a_proxy,
        });
    }

    /// Counts why a connection ended, where it is worth a count.
    pub(super) fn ended(&self, fault: Fault) {
        match fault {
            Fault::Overflow => Self::add(&self.overflowed),
            Fault::Shake(why) => {
                let index = Shake::ALL.iter().position(|known| *known == why);
                if let Some(counter) = index.and_then(|at| self.handshakes_failed.get(at)) {
                    Self::add(counter);
                }
            }
            Fault::Ended | Fault::Frame(_) | Fault::WebSocket => {}
        }
    }

    /// Adds everything to a reading; the longest wait begins anew.
    pub fn read_into(&self, reading: &mut TransportReading) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (sum, counter) in reading.connections.iter_mut().zip(&self.connections) {
            *sum += of(counter);
        }
        reading.accepted += of(&self.accepted);
        for (sum, counter) in reading.refused.iter_mut().zip(&self.refused) {
            *sum += of(counter);
        }
        reading.overflowed += of(&self.overflowed);
        reading.silent += of(&self.silent);
        for (sum, counter) in reading.yielded.iter_mut().zip(&self.yielded) {
            *sum += of(counter);
        }
        let failed = reading.handshakes_failed.iter_mut();
        for (sum, counter) in failed.zip(&self.handshakes_failed) {
            *sum += of(counter);
        }
        reading.datagrams_received += of(&self.datagrams_received);
        reading.datagrams_sent += of(&self.datagrams_sent);
        reading.datagrams_dropped += of(&self.datagrams_dropped);
        reading.datagrams_lost += of(&self.datagrams_lost);
        let wait = self.datagram_wait_ms.swap(0, Ordering::Relaxed);
        reading.datagram_wait = reading.datagram_wait.max(Duration::from_millis(wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{HANDSHAKES, REFUSALS, YIELDED};

    #[test]
    fn every_reason_has_its_label() {
        assert_eq!(Shake::ALL.map(Shake::as_str), HANDSHAKES);
        assert_eq!(Refusal::ALL.map(Refusal::as_str), REFUSALS);
        assert_eq!(Yielded::ALL.map(Yielded::as_str), YIELDED);
    }
}
