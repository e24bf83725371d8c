//! What the relay counts: plain numbers on its threads, added to shared atomics once a turn.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::ports::Claim;
use crate::metrics::RelayReading;

/// Why a packet went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// From an address or with an SSRC that the stream is not latched to.
    Stranger,
    /// Nothing of what the stream carries, or too large, or of a sequence that fits nowhere.
    Malformed,
    /// Its side is lost or not configured, or the other side has no address or wants nothing.
    NoTarget,
    /// In a format that the other side has not agreed to.
    Format,
    /// SRTP whose tag does not fit.
    Forged,
    /// SRTP that was here before, or is too old to tell.
    Replayed,
    /// Not to be encrypted: its index was used, or there is no room.
    Unsealed,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Totals of one turn of a relay thread.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Tally { $($(#[$doc])* pub(crate) $name: u64,)+ }

        /// Totals of all relay threads since the start. Shared; read it at every scrape.
        #[derive(Debug, Default)]
        pub struct RelayCounters {
            $($(#[$doc])* pub $name: AtomicU64,)+
            /// Media sessions now.
            pub sessions: AtomicU64,
            /// Ports taken now (two a pair).
            pub ports_used: AtomicU64,
            /// Ports of the configured range.
            pub ports: AtomicU64,
            /// Times that no ports were to be had, by claim.
            pub ports_refused: [AtomicU64; Claim::ALL.len()],
        }

        impl Tally {
            /// Adds everything to the shared totals and starts again from zero.
            pub(crate) fn flush(&mut self, into: &RelayCounters) {
                $(if self.$name != 0 {
                    into.$name.fetch_add(self.$name, Ordering::Relaxed);
                })+
                *self = Self::default();
            }
        }
    };
}

counters! {
    rtp_received,
    rtp_sent,
    rtcp_received,
    rtcp_sent,
    bytes_received,
    bytes_sent,
    dropped_stranger,
    dropped_malformed,
    dropped_no_target,
    dropped_format,
    dropped_forged,
    dropped_replayed,
    dropped_unsealed,
    /// Not taken by the kernel.
    dropped_send,
    /// Silence packets made by us while a side was away.
    filler,
    /// Sources that went on from another address without a word of signalling.
    relatches,
    /// New sources joined to a line that had one before.
    seams,
    /// ICMP errors that named a place we send to.
    unreachable,
}

impl Tally {
    pub(crate) fn drop_one(&mut self, why: Dropped) {
        match why {
            Dropped::Stranger => self.dropped_stranger += 1,
            Dropped::Malformed => self.dropped_malformed += 1,
            Dropped::NoTarget => self.dropped_no_target += 1,
            Dropped::Format => self.dropped_format += 1,
            Dropped::Forged => self.dropped_forged += 1,
            Dropped::Replayed => self.dropped_replayed += 1,
            Dropped::Unsealed => self.dropped_unsealed += 1,
        }
    }
}

impl RelayCounters {
    /// Returns everything as the metrics want it.
    pub fn reading(&self) -> RelayReading {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayReading {
            sessions: of(&self.sessions),
            ports_used: of(&self.ports_used),
            ports: of(&self.ports),
            ports_refused: Claim::ALL.map(|claim| of(&self.ports_refused[claim as usize])),
            rtp_received: of(&self.rtp_received),
            rtp_sent: of(&self.rtp_sent),
            rtcp_received: of(&self.rtcp_received),
            rtcp_sent: of(&self.rtcp_sent),
            bytes_received: of(&self.bytes_received),
            bytes_sent: of(&self.bytes_sent),
            dropped_stranger: of(&self.dropped_stranger),
            dropped_malformed: of(&self.dropped_malformed),
            dropped_no_target: of(&self.dropped_no_target),
            dropped_format: of(&self.dropped_format),
            dropped_forged: of(&self.dropped_forged),
            dropped_replayed: of(&self.dropped_replayed),
            dropped_unsealed: of(&self.dropped_unsealed),
            dropped_send: of(&self.dropped_send),
            filler: of(&self.filler),
            relatches: of(&self.relatches),
            seams: of(&self.seams),
            unreachable: of(&self.unreachable),
        }
    }
}
