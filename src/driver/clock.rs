//! The only place that reads the clock for the engine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::time::{Millis, Time};

/// Milliseconds since the Unix epoch by the wall clock at the start, counted on by the monotonic one:
/// it never runs backwards, and setting the wall clock fires no timer. All shards share one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    epoch: Time,
}

impl Clock {
    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "the driver reads the clock")]
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            start: Instant::now(),
            // A wall clock before 1970 is as good as one at it.
            epoch: Time(since.map_or(0, millis)),
        }
    }

    /// Returns the time.
    pub fn now(&self) -> Time {
        self.epoch + Millis(millis(self.start.elapsed()))
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
