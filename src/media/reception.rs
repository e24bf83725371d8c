//! What arrived: counts, loss and jitter (RFC 3550 A.1, A.3, A.8).

use crate::media::clock::Micros;
use crate::media::report::Received;
use crate::media::rtp::Header;

/// Of one side and stream, over all sources that it had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reception {
    packets: u64,
    octets: u64,
    /// Of the sources before this one.
    lost: i64,
    run: Option<Run>,
}

/// One source, from its first sequence number on.
#[derive(Clone, Copy, Debug)]
struct Run {
    ssrc: u32,
    /// Lowest and highest sequence number, counted on over wraps.
    first: i64,
    highest: i64,
    received: i64,
    clock: u32,
    timestamp: u32,
    at: Micros,
    /// In ticks, times 16.
    jitter: u64,
}

impl Reception {
    /// Notes a packet. `timed`: its timestamp says when it was made (those of telephone events
    /// repeat).
    pub(crate) fn note(&mut self, packet: &Header, clock: u32, timed: bool, now: Micros) {
        self.packets += 1;
        self.octets += packet.payload as u64;
        let Some(run) = self.run.as_mut().filter(|r| r.ssrc == packet.ssrc) else {
            return self.begin(packet, clock, now);
        };
        let ahead = i64::from(packet.sequence.wrapping_sub(run.highest as u16) as i16);
        if !(-100..3000).contains(&ahead) {
            return self.begin(packet, clock, now);
        }
        let sequence = run.highest + ahead;
        run.highest = run.highest.max(sequence);
        run.first = run.first.min(sequence);
        run.received += 1;
        if timed {
            if run.clock == clock {
                let passed = now.since(run.at) as i64 * i64::from(clock) / 1_000_000;
                let made = i64::from(packet.timestamp.wrapping_sub(run.timestamp) as i32);
                let transit = passed.abs_diff(made).min(u64::from(clock) * 10);
                run.jitter += transit;
                run.jitter -= (run.jitter - transit + 8) / 16;
            }
            run.clock = clock;
            run.timestamp = packet.timestamp;
            run.at = now;
        }
    }

    /// Returns it as the operator sees it.
    pub(crate) fn received(&self) -> Received {
        Received {
            packets: self.packets,
            octets: self.octets,
            lost: self.lost + self.run.map_or(0, |run| run.lost()),
            jitter_us: self.run.map_or(0, |run| {
                run.jitter * 1_000_000 / 16 / u64::from(run.clock.max(1))
            }),
        }
    }

    fn begin(&mut self, packet: &Header, clock: u32, now: Micros) {
        self.lost += self.run.map_or(0, |run| run.lost());
        let jitter = self
            .run
            .filter(|run| run.clock == clock)
            .map_or(0, |run| run.jitter);
        let sequence = i64::from(packet.sequence);
        self.run = Some(Run {
            ssrc: packet.ssrc,
            first: sequence,
            highest: sequence,
            received: 1,
            clock,
            timestamp: packet.timestamp,
            at: now,
            jitter,
        });
    }
}

impl Run {
    fn lost(&self) -> i64 {
        self.highest - self.first + 1 - self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, timestamp: u32, ssrc: u32) -> Header {
        Header {
            marker: false,
            number: 0,
            sequence,
            timestamp,
            ssrc,
            payload: 160,
        }
    }

    #[test]
    fn counts_what_is_missing() {
        let mut reception = Reception::default();
        // Over the wrap: 65534, 65535, (0), 1, (2), 3, 3 again, and a late 0.
        for (n, sequence) in [65534u16, 65535, 1, 3, 3, 0].into_iter().enumerate() {
            let at = Micros::from_ms(20 * n as u64);
            reception.note(&packet(sequence, 160 * n as u32, 1), 8000, true, at);
        }
        let received = reception.received();
        assert_eq!(received.packets, 6);
        assert_eq!(received.octets, 960);
        // Six expected (65534 to 3), six came, one of them twice: RFC 3550 A.3 counts it so.
        assert_eq!(received.lost, 0);
    }

    #[test]
    fn keeps_the_losses_of_sources_that_went() {
        let mut reception = Reception::default();
        reception.note(&packet(10, 0, 1), 8000, true, Micros(0));
        reception.note(&packet(13, 480, 1), 8000, true, Micros::from_ms(60));
        reception.note(&packet(500, 0, 2), 8000, true, Micros::from_ms(80));
        reception.note(&packet(502, 320, 2), 8000, true, Micros::from_ms(120));
        assert_eq!(reception.received().lost, 3);
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_an_uneven_one_has() {
        let run = |wobble: &dyn Fn(u64) -> u64| {
            let mut reception = Reception::default();
            for n in 0..500u64 {
                let at = Micros(n * 20_000 + wobble(n));
                reception.note(&packet(n as u16, 160 * n as u32, 1), 8000, true, at);
            }
            reception.received().jitter_us
        };
        assert_eq!(run(&|_| 0), 0);
        // Every second packet 5 ms late: |D| is 5 ms for each, so J goes to 5 ms.
        let jitter = run(&|n| (n % 2) * 5000);
        assert!((4500..=5000).contains(&jitter), "{jitter}");
    }
}
