//! What the sockets of one shard count. Others read it at each scrape.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::ids::Transport;
use crate::metrics::TransportReading;

use super::fault::{Fault, Shake};

/// Totals since the start; `connections` is what is open now.
#[derive(Debug, Default)]
pub struct Counters {
    /// By transport: TCP, TLS, WS, WSS.
    pub connections: [AtomicU64; 4],
    pub accepted: AtomicU64,
    /// Turned away by a limit on connections.
    pub refused: AtomicU64,
    /// Closed because the peer did not read.
    pub overflowed: AtomicU64,
    /// Closed because the peer came and said nothing.
    pub silent: AtomicU64,
    /// Handshakes that came to nothing, in the order of `Shake::ALL`.
    pub handshakes_failed: [AtomicU64; Shake::ALL.len()],
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

    /// Adds everything to a reading.
    pub fn read_into(&self, reading: &mut TransportReading) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (sum, counter) in reading.connections.iter_mut().zip(&self.connections) {
            *sum += of(counter);
        }
        reading.accepted += of(&self.accepted);
        reading.refused += of(&self.refused);
        reading.overflowed += of(&self.overflowed);
        reading.silent += of(&self.silent);
        let failed = reading.handshakes_failed.iter_mut();
        for (sum, counter) in failed.zip(&self.handshakes_failed) {
            *sum += of(counter);
        }
        reading.datagrams_received += of(&self.datagrams_received);
        reading.datagrams_sent += of(&self.datagrams_sent);
        reading.datagrams_dropped += of(&self.datagrams_dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::HANDSHAKES;

    #[test]
    fn every_reason_has_its_label() {
        assert_eq!(Shake::ALL.map(Shake::as_str), HANDSHAKES);
    }
}
