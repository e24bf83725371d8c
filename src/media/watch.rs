//! Watches that a side is heard as long as it should be.
//!
//! ```text
//! idle --expect--> listening --due--> silent
//!  ^                |  ^  ^ heard       | heard: flowing again
//!  +----- pause ----+  |  +-------------+
//!                      | RTP: flowing
//! idle --expect_once_heard--> waiting
//! ```

use crate::media::clock::Micros;

/// What a side sends for so long after it was configured may have been under way before: who puts the other side on
/// hold, and is silent from then on, has not begun to play music.
const LAST_WORDS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// How long is too long, in microseconds; none: never.
    after: Option<u64>,
    state: State,
    /// `Silent` was told and `Flowing` not yet.
    owes: bool,
}

/// What something that came means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that is not known.
    Known,
    /// The side is there, and its media still missing.
    Reports,
    /// A silence that was told is over, or what need not have come has begun.
    Flowing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// What comes from then on must go on.
    Waiting {
        from: Micros,
    },
    Listening {
        since: Micros,
    },
    Silent,
}

impl Watch {
    pub(crate) fn new(after: Option<u64>) -> Self {
        Self {
            after,
            state: State::Idle,
            owes: false,
        }
    }

    /// From now on something should come: the side was configured and sends. A silence that was
    /// told before may be told again.
    pub(crate) fn expect(&mut self, now: Micros) {
        self.state = State::Listening { since: now };
    }

    /// From now on something may come. Once it does it should go on.
    pub(crate) fn expect_once_heard(&mut self, now: Micros) {
        let from = now + LAST_WORDS;
        self.state = State::Waiting { from };
    }

    /// Nothing needs to come: hold, or nothing configured.
    pub(crate) fn pause(&mut self) {
        self.state = State::Idle;
    }

    /// Another endpoint: what was told of the one before no longer counts.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.after);
    }

    /// Something valid came, media or its reports.
    pub(crate) fn heard(&mut self, media: bool, now: Micros) -> Heard {
        match self.state {
            // That a told silence is over is not known before something should come again: it would be told as
            // flowing for good, as nothing is due meanwhile.
            State::Idle => return Heard::Known,
            // Who holds in silence still reports by RTCP.
            State::Waiting { from } if media && from <= now => {
                self.state = State::Listening { since: now };
                self.owes = true;
            }
            State::Waiting { .. } => return Heard::Known,
            // A phone that is muted for long reports on.
            before @ (State::Listening { .. } | State::Silent) => {
                self.state = State::Listening { since: now };
                if !media {
                    return match before {
                        State::Silent => Heard::Reports,
                        State::Idle | State::Waiting { .. } | State::Listening { .. } => {
                            Heard::Known
                        }
                    };
                }
            }
        }
        match std::mem::take(&mut self.owes) {
            true => Heard::Flowing,
            false => Heard::Known,
        }
    }

    /// Returns true while something should come, and does.
    pub(crate) fn listens(&self) -> bool {
        matches!(self.state, State::Listening { .. })
    }

    /// Returns true where a silence is to be told now.
    pub(crate) fn due(&mut self, now: Micros) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.state = State::Silent;
            self.owes = true;
        }
        due
    }

    pub(crate) fn deadline(&self) -> Option<Micros> {
        match (self.state, self.after) {
            (State::Listening { since }, Some(after)) => Some(since + after),
            (State::Listening { .. }, None)
            | (State::Idle | State::Waiting { .. } | State::Silent, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_each_silence_once() {
        let ms = Micros::from_ms;
        let mut watch = Watch::new(Some(3_000_000));
        assert!(!watch.due(ms(9000)));
        watch.expect(ms(1000));
        assert_eq!(watch.deadline(), Some(ms(4000)));
        assert!(!watch.due(ms(3999)));
        assert_eq!(watch.heard(true, ms(2000)), Heard::Known);
        assert!(!watch.due(ms(4999)));
        assert!(watch.due(ms(5000)));
        assert!(!watch.due(ms(60_000)));
        assert_eq!(watch.heard(true, ms(61_000)), Heard::Flowing);
        assert_eq!(watch.heard(true, ms(61_020)), Heard::Known);
        assert!(watch.due(ms(64_020)));
    }

    #[test]
    fn reports_alone_are_no_media() {
        let ms = Micros::from_ms;
        let mut watch = Watch::new(Some(3_000_000));
        watch.expect(ms(0));
        assert_eq!(
            watch.heard(false, ms(2000)),
            Heard::Known,
            "it may begin late"
        );
        for silence in [5000, 10_000] {
            assert!(!watch.due(ms(silence - 1)));
            assert!(watch.due(ms(silence)));
            assert_eq!(watch.heard(false, ms(silence + 2000)), Heard::Reports);
            assert_eq!(watch.heard(false, ms(silence + 2000)), Heard::Known);
        }
        assert_eq!(watch.heard(true, ms(12_500)), Heard::Flowing);
        assert_eq!(watch.heard(false, ms(13_000)), Heard::Known);
    }

    #[test]
    fn music_on_hold_is_due_once_it_plays() {
        let ms = Micros::from_ms;
        let mut watch = Watch::new(Some(3_000_000));
        watch.expect_once_heard(ms(0));
        // Speech that was under way, and reports.
        assert_eq!(watch.heard(true, ms(999)), Heard::Known);
        assert_eq!(watch.heard(false, ms(2000)), Heard::Known);
        assert_eq!(watch.deadline(), None);
        assert_eq!(
            watch.heard(true, ms(2500)),
            Heard::Flowing,
            "it flows, which was not known"
        );
        assert_eq!(watch.heard(true, ms(2520)), Heard::Known);
        assert!(watch.due(ms(5520)));
        assert_eq!(watch.heard(true, ms(6000)), Heard::Flowing);
        watch.expect_once_heard(ms(7000));
        assert!(!watch.due(ms(60_000)), "another session, another wish");
    }

    #[test]
    fn a_hold_pauses_and_an_answer_starts_anew() {
        let ms = Micros::from_ms;
        let mut watch = Watch::new(Some(3_000_000));
        watch.expect(ms(0));
        watch.pause();
        assert!(!watch.due(ms(10_000)));
        watch.expect(ms(20_000));
        assert!(watch.due(ms(23_000)));
        watch.expect(ms(24_000));
        assert!(watch.due(ms(27_000)));
        // Told twice, over once.
        assert_eq!(watch.heard(true, ms(28_000)), Heard::Flowing);
        assert_eq!(watch.heard(true, ms(28_001)), Heard::Known);
        watch.due(ms(40_000));
        watch.forget();
        assert_eq!(watch.heard(true, ms(41_000)), Heard::Known);
    }

    #[test]
    fn nothing_flows_while_nothing_is_due() {
        let ms = Micros::from_ms;
        let mut watch = Watch::new(Some(3_000_000));
        watch.expect(ms(0));
        assert!(watch.due(ms(3000)));
        watch.expect_once_heard(ms(4000));
        assert_eq!(
            watch.heard(false, ms(4500)),
            Heard::Known,
            "a report on hold"
        );
        assert_eq!(watch.heard(true, ms(4900)), Heard::Known, "its last words");
        assert_eq!(watch.heard(true, ms(5500)), Heard::Flowing, "music");

        watch.expect(ms(6000));
        assert!(watch.due(ms(9000)));
        watch.pause();
        assert_eq!(watch.heard(true, ms(9500)), Heard::Known);
        watch.expect(ms(10_000));
        assert_eq!(
            watch.heard(true, ms(10_500)),
            Heard::Flowing,
            "the silence told before"
        );
    }

    #[test]
    fn without_a_limit_nothing_is_told() {
        let mut watch = Watch::new(None);
        watch.expect(Micros(0));
        assert!(!watch.due(Micros(u64::MAX)));
    }
}
