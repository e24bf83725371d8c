//! What arrived: counts, loss and jitter (RFC 3550 A.1, A.3, A.8).

use crate::media::clock::Micros;
use crate::media::report::Received;
use crate::media::rtp::Header;

/// Of one side and stream, over all sources that it had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reception {
    packets: u64,
    octets: u64,
    /// Expected less received, over all sources.
    lost: i64,
    run: Run,
}

/// One source, from its first sequence number on.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// None before the first.
    ssrc: Option<u32>,
    /// From the lowest sequence number to the highest.
    span: u32,
    highest: u16,
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
        let run = &mut self.run;
        let ahead = packet.sequence.wrapping_sub(run.highest) as i16;
        if run.ssrc != Some(packet.ssrc) || !(-100..3000).contains(&ahead) {
            return self.begin(packet, clock, now);
        }
        let distance = u32::from(ahead.unsigned_abs());
        // How far the range of what is expected grows; this packet is one of it.
        let more = if ahead > 0 {
            run.highest = packet.sequence;
            run.span = run.span.saturating_add(distance);
            distance
        } else {
            let below = distance.saturating_sub(run.span);
            run.span = run.span.max(distance);
            below
        };
        self.lost += i64::from(more) - 1;
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

    /// Counts a packet that is no RTP, and so tells nothing of those that are missing.
    pub(crate) fn count(&mut self, octets: usize) {
        self.packets += 1;
        self.octets += octets as u64;
    }

    /// Returns it as the operator sees it.
    pub(crate) fn received(&self) -> Received {
        Received {
            packets: self.packets,
            octets: self.octets,
            lost: self.lost,
            jitter_us: self.run.jitter * 1_000_000 / 16 / u64::from(self.run.clock.max(1)),
        }
    }

    fn begin(&mut self, packet: &Header, clock: u32, now: Micros) {
        let same_clock = self.run.clock == clock;
        self.run = Run {
            ssrc: Some(packet.ssrc),
            span: 0,
            highest: packet.sequence,
            clock,
            timestamp: packet.timestamp,
            at: now,
            jitter: if same_clock { self.run.jitter } else { 0 },
        };
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
