//! After a suspicion that came to nothing the same kind of sign is left alone for a while. It is not forgotten:
//! where it has come again, or the silence still lasts, it is looked at when that time ends. ICMP for the media of a
//! phone that is trusted in its silence is news once: a muted phone that has died says so. From then on it has a pause
//! of its own, which grows alike, for a phone may live that has closed its port, and ICMP can be forged.

use crate::engine::events::Signal;
use crate::engine::ids::LegId;
use crate::engine::time::{Millis, Time};

/// How long.
const TRUST: Millis = Millis::from_secs(30);
/// A phone that is muted for long is trusted for twice as long each time, at most so often.
const DOUBLED_MAX: u32 = 3;

/// What was found to mean nothing.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    /// Another leg is another endpoint.
    leg: Option<LegId>,
    signal: Option<Signal>,
    /// None: nothing is trusted.
    until: Option<Time>,
    /// Silences in a row that meant nothing while they went on.
    silences: u32,
    /// It came again, or lasts.
    again: bool,
    proven: Option<Proven>,
    /// ICMP for its media meant nothing, either, while it was silent.
    refused: Option<Refused>,
}

/// Nobody took its media, and it was found to live.
#[derive(Clone, Copy, Debug)]
struct Refused {
    until: Time,
    /// In a row.
    times: u32,
}

/// A dialog that was asked, and stands: another silence is no reason to ask more than its device for a while.
#[derive(Clone, Copy, Debug)]
struct Proven {
    leg: LegId,
    until: Time,
    /// In a row.
    times: u32,
}

impl Trust {
    /// A suspicion came to nothing; `silent` where the endpoint should be heard, and is not, and `refused` where ICMP
    /// was among its signs.
    pub(super) fn begin(
        &mut self,
        leg: LegId,
        signal: Signal,
        silent: bool,
        refused: bool,
        now: Time,
    ) {
        let known = self.leg == Some(leg) && silent;
        let before = if known { self.silences } else { 0 };
        let known = self.refused.filter(|_| known);
        let refused = match (refused && silent, known) {
            (true, known) => {
                let times = known.map_or(0, |known| known.times + 1);
                let until = now + TRUST.times(1 << times.min(DOUBLED_MAX));
                Some(Refused { until, times })
            }
            (false, known) => known,
        };
        *self = Self {
            leg: Some(leg),
            signal: Some(if silent { Signal::Silence } else { signal }),
            until: Some(now + TRUST.times(1 << before.min(DOUBLED_MAX))),
            silences: if silent { before + 1 } else { 0 },
            again: silent,
            proven: self.proven,
            refused,
        };
    }

    /// Returns true where a sign is not looked at now.
    pub(super) fn leaves(&mut self, leg: LegId, signal: Signal, now: Time) -> bool {
        let same = self.signal.is_some_and(|known| is_like(known, signal));
        let apart = self.signal == Some(Signal::Silence) && signal == Signal::MediaUnreachable;
        let until = match apart {
            true => self.refused.map(|refused| refused.until),
            false => self.until,
        };
        let trusted = until.is_some_and(|until| until > now);
        let left = self.leg == Some(leg) && same && trusted;
        self.again |= left;
        left
    }

    /// A sign is not looked at before its time.
    pub(super) fn put_off(&mut self, leg: LegId, signal: Signal, now: Time) {
        *self = Self {
            leg: Some(leg),
            signal: Some(signal),
            until: Some(now + TRUST),
            silences: 0,
            again: true,
            proven: self.proven,
            refused: None,
        };
    }

    /// The dialog was asked, and answered.
    pub(super) fn dialog_stands(&mut self, leg: LegId, now: Time) {
        let lately = |known: &Proven| known.leg == leg && now <= known.until + TRUST;
        let times = self
            .proven
            .filter(lately)
            .map_or(0, |known| known.times + 1);
        self.proven = Some(Proven {
            leg,
            until: now + TRUST.times(1 << times.min(DOUBLED_MAX)),
            times,
        });
    }

    /// Returns true where it was asked at all, and answered.
    pub(super) fn has_stood(&self, leg: LegId) -> bool {
        self.proven.is_some_and(|known| known.leg == leg)
    }

    /// Returns true where it need not be asked again for a silence alone. Who speaks and pauses in turn would be
    /// asked at each pause.
    pub(super) fn is_proven(&self, leg: LegId, now: Time) -> bool {
        let known = self.proven.filter(|known| known.leg == leg);
        known.is_some_and(|known| known.until > now)
    }

    /// Media has come since, or another session was agreed: what comes from now on is news.
    pub(crate) fn end(&mut self) {
        *self = Self {
            proven: self.proven,
            ..Self::default()
        };
    }

    /// Returns when a sign is to be looked at again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.until.filter(|_| self.again)
    }

    /// Returns the sign that is to be looked at now.
    pub(super) fn due(&mut self, leg: LegId, now: Time) -> Option<Signal> {
        self.deadline().filter(|at| *at <= now)?;
        (self.until, self.again) = (None, false);
        self.signal.filter(|_| self.leg == Some(leg))
    }
}

fn is_like(known: Signal, signal: Signal) -> bool {
    let of_media = |signal| matches!(signal, Signal::Silence | Signal::MediaUnreachable);
    known == signal || of_media(known) && of_media(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEG: LegId = LegId(1);

    fn at(seconds: u64) -> Time {
        Time(0) + Millis::from_secs(seconds)
    }

    #[test]
    fn a_sign_that_comes_again_is_looked_at_once_the_time_is_over() {
        let mut trust = Trust::default();
        assert!(!trust.leaves(LEG, Signal::Registration, at(1)));
        trust.begin(LEG, Signal::Registration, false, false, at(1));
        assert_eq!(trust.deadline(), None);
        assert!(!trust.leaves(LEG, Signal::Silence, at(2)), "another kind");
        assert!(!trust.leaves(LegId(2), Signal::Registration, at(2)));
        assert!(trust.leaves(LEG, Signal::Registration, at(2)));
        assert_eq!(trust.due(LEG, at(30)), None);
        assert_eq!(trust.due(LEG, at(31)), Some(Signal::Registration));
        assert_eq!((trust.deadline(), trust.due(LEG, at(90))), (None, None));
        assert!(!trust.leaves(LEG, Signal::Registration, at(32)));
    }

    #[test]
    fn a_silence_that_lasts_is_looked_at_again_more_and_more_seldom() {
        let mut trust = Trust::default();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            trust.begin(LEG, Signal::MediaUnreachable, true, true, now);
            let due = trust.deadline().unwrap_or(now);
            pauses.push(due.since(now).0 / 1000);
            assert_eq!(trust.due(LEG, due), Some(Signal::Silence));
            now = due;
        }
        assert_eq!(pauses, [30, 60, 120, 240, 240, 240]);
        trust.end();
        trust.begin(LEG, Signal::Silence, true, false, now);
        assert_eq!(trust.deadline(), Some(now + TRUST));
    }

    #[test]
    fn icmp_in_a_trusted_silence_is_news_and_then_has_a_pause_of_its_own() {
        const ICMP: Signal = Signal::MediaUnreachable;
        let mut trust = Trust::default();
        trust.begin(LEG, Signal::Silence, true, false, at(0));
        let (mut refused, mut silent) = (Vec::new(), Vec::new());
        for second in 1..1000 {
            // Both come each second, and each time it is found to live.
            for (signal, looked) in [(ICMP, &mut refused), (Signal::Silence, &mut silent)] {
                if !trust.leaves(LEG, signal, at(second)) {
                    looked.push(second);
                    trust.begin(LEG, signal, true, signal == ICMP, at(second));
                }
            }
        }
        assert_eq!(refused, [1, 31, 91, 211, 451, 691, 931]);
        assert_eq!(silent, [0; 0]);
        trust.end();
        trust.begin(LEG, Signal::Silence, true, false, at(1000));
        assert!(!trust.leaves(LEG, ICMP, at(1001)), "media came since");
    }

    #[test]
    fn a_sign_of_another_leg_says_nothing_of_this_one() {
        let mut trust = Trust::default();
        trust.put_off(LEG, Signal::Silence, at(0));
        assert_eq!(trust.due(LegId(2), at(60)), None);
        assert_eq!(trust.deadline(), None);
    }
}
