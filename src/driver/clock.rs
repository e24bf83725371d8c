//! The only place that reads the clock for the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::time::{Millis, Time};

/// Milliseconds since the Unix epoch by the wall clock at the start, counted on by the monotonic one:
/// it never runs backwards, and setting the wall clock fires no timer. All shards share one. What people and other
/// programs are shown is `by_the_wall`.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    epoch: Time,
    /// Milliseconds that the wall clock was set forward since; below 0: back.
    steps: Arc<AtomicI64>,
    /// Milliseconds that a test has let pass in no time.
    #[cfg(test)]
    jumped: Arc<std::sync::atomic::AtomicU64>,
}

/// Milliseconds by which the two clocks may differ before the wall clock counts as set: what one moment is shown as
/// does not change with each look.
const STEP_MIN: u64 = 1000;

impl Clock {
    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "the driver reads the clock")]
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            start: Instant::now(),
            // A wall clock before 1970 is as good as one at it.
            epoch: Time(since.map_or(0, millis)),
            steps: Arc::default(),
            #[cfg(test)]
            jumped: Arc::default(),
        }
    }

    /// Returns the time.
    pub fn now(&self) -> Time {
        let now = self.epoch + Millis(millis(self.start.elapsed()));
        #[cfg(test)]
        let now = now + Millis(self.jumped.load(Ordering::Relaxed));
        now
    }

    /// Lets so much time pass at once.
    #[cfg(test)]
    pub(crate) fn jump(&self, span: Millis) {
        self.jumped.fetch_add(span.0, Ordering::Relaxed);
    }

    /// Returns by what a time is shown: as the wall clock would have it, had it been right all the while. It is one
    /// shift for all times, so that what lies between two of them is what passed.
    #[expect(clippy::disallowed_methods, reason = "the driver reads the clock")]
    pub fn by_the_wall(&self) -> impl Fn(Time) -> Time + Copy + use<> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.shifted(since.map_or(0, millis))
    }

    fn shifted(&self, wall: u64) -> impl Fn(Time) -> Time + Copy + use<> {
        let known = self.steps.load(Ordering::Relaxed);
        let ahead = wall
            .cast_signed()
            .saturating_sub(self.now().0.cast_signed());
        let steps = if ahead.abs_diff(known) < STEP_MIN {
            known
        } else {
            self.steps.store(ahead, Ordering::Relaxed);
            ahead
        };
        move |time: Time| Time(time.0.saturating_add_signed(steps))
    }

    /// Returns how long ago something was, by the wall clock: `then` is since the Unix epoch.
    #[expect(clippy::disallowed_methods, reason = "the driver reads the clock")]
    pub fn ago(&self, then: Duration) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Millis(since.map_or(0, |now| millis(now.saturating_sub(then))))
    }
}

/// Returns whole milliseconds, saturating.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_moves_all_that_is_shown_and_no_time_between() {
        let clock = Clock::start();
        let (begun, ended) = (clock.now(), clock.now() + Millis(5_000));
        let wall = |ahead: i64| clock.now().0.saturating_add_signed(ahead);
        // A machine without a clock of its own, which NTP has set; then an hour back, by hand.
        for (ahead, shown) in [
            (0, 0),
            (700, 0),
            (-700, 0),
            (1_700_000_000_000, 1_700_000_000_000),
            (1_700_000_000_500, 1_700_000_000_000),
            (-3_600_000, -3_600_000),
        ] {
            let by = clock.clone().shifted(wall(ahead));
            let off = by(begun).0.cast_signed() - begun.0.cast_signed();
            // Between the two looks at the clock a moment has passed.
            assert!(off.abs_diff(shown) < 100, "{ahead}: {off}");
            assert_eq!(by(ended).since(by(begun)), Millis(5_000));
        }
    }
}
