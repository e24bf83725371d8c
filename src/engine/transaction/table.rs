//! What the four tables are written in: acts and timers.

use crate::engine::settings::TimerSettings;
use crate::engine::time::Millis;

/// What a client machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAct {
    /// The request goes out.
    Send,
    /// It goes out again; where a failure has been acknowledged, the ACK does.
    Resend,
    /// The ACK of a failure (RFC 3261 17.1.1.3) takes the request's place and goes out.
    Ack,
    /// A CANCEL goes out, in a transaction of its own.
    Cancel,
    /// The response goes up.
    Report,
    /// The user is told that nobody answered.
    Timeout,
    /// Nobody answered, and the user does not wait for it any more.
    Lapse,
    /// The user is told that the transport failed.
    Unreachable,
    /// The user is told that the connection is closed by which it was heard.
    Severed,
    /// What came is a retransmission and ends here.
    Absorb,
    /// The request is needed no longer.
    Drop,
    /// Both timers stop.
    Stop,
    Start(Timer),
    /// The timer runs twice as long as before.
    Double(Timer),
    /// The timer runs for T2.
    Slow(Timer),
}

/// What a server machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerAct {
    /// The user's response goes out and is kept.
    Send,
    /// The response sent last goes out again, where there is one.
    Resend,
    /// A 100 goes out and is kept.
    Trying,
    /// The ACK goes up.
    PassAck,
    /// The user is told of the CANCEL.
    Cancelled,
    /// The user is told that its 2xx was never acknowledged.
    NoAck,
    /// What should have come did not.
    Lapse,
    /// What came is a retransmission and ends here.
    Absorb,
    /// The response sent last is needed no longer.
    Drop,
    /// The same request by another way is a new one (RFC 3261 8.2.2.2).
    Unmerge,
    /// Both timers stop.
    Stop,
    /// The timer that sends again stops.
    Quiet,
    Start(Timer),
    /// The timer runs twice as long as before, but not longer than T2.
    Double(Timer),
}

/// The timers of RFC 3261 17, table 4, of RFC 6026, and some of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    H,
    I,
    J,
    K,
    L,
    M,
    /// RFC 3261 9.1: how long after its CANCEL an INVITE may go unanswered.
    Withdrawn,
    /// How long an INVITE that was given up can still be answered by a phone that was frozen.
    Forget,
    /// The same where the way to it broke, and nothing more is sent: what was on its way has arrived by then.
    Astray,
    /// RFC 3261 17.2.1: the user has this long before a 100 is sent for it.
    Trying,
    /// RFC 4320 4.1: the same where the request is no INVITE.
    Patience,
    /// How long the user may take to answer what is no INVITE: nobody listens any longer after that.
    Answer,
    /// RFC 3261 13.3.1.4: a 2xx to an INVITE is sent again.
    Success,
    /// RFC 3261 13.3.1.1: what was said of an INVITE that is not answered yet is said again.
    Ringing,
}

/// A transaction has one timer of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hand {
    /// Something is sent again.
    Resend,
    /// A state ends.
    Deadline,
}

const TIMER_D_MIN: Millis = Millis::from_secs(32);
/// RFC 3261 16.6 step 11, and longer than any `ring_timeout` may be.
const TIMER_C: Millis = Millis::from_secs(660);
const FORGET: Millis = Millis::from_secs(180);
const TRYING: Millis = Millis(200);
const RINGING: Millis = Millis::from_secs(60);
const ATTEMPTS: u64 = 64;

impl Timer {
    /// Returns which of a transaction's two timers it is.
    pub(super) fn hand(self) -> Hand {
        match self {
            Self::A
            | Self::E
            | Self::G
            | Self::Trying
            | Self::Patience
            | Self::Success
            | Self::Ringing => Hand::Resend,
            Self::B
            | Self::C
            | Self::D
            | Self::F
            | Self::H
            | Self::I
            | Self::J
            | Self::K
            | Self::L
            | Self::M
            | Self::Withdrawn
            | Self::Forget
            | Self::Astray
            | Self::Answer => Hand::Deadline,
        }
    }

    /// Returns how long it runs at first: zero goes off at once, nothing is not started.
    pub(super) fn span(self, settings: &TimerSettings, reliable: bool) -> Option<Millis> {
        let long = settings.t1.times(ATTEMPTS);
        let unless_reliable = |span| Some(if reliable { Millis(0) } else { span });
        match self {
            Self::A | Self::E | Self::G => (!reliable).then_some(settings.t1),
            Self::B | Self::F | Self::H | Self::L | Self::M | Self::Withdrawn | Self::Answer => {
                Some(long)
            }
            Self::C => Some(TIMER_C),
            Self::D => unless_reliable(long.max(TIMER_D_MIN)),
            Self::I | Self::K => unless_reliable(settings.t4),
            Self::J => unless_reliable(long),
            Self::Forget => Some(FORGET),
            Self::Astray => Some(settings.t4),
            Self::Trying => Some(TRYING),
            // The sum of timer E's spans until it has grown to T2.
            Self::Patience => Some(Millis(settings.t2.0.saturating_sub(settings.t1.0).max(1))),
            Self::Success => Some(settings.t1),
            Self::Ringing => Some(RINGING),
        }
    }

    /// Returns how long it runs after it ran for `last`.
    pub(super) fn doubled(self, last: Millis, settings: &TimerSettings) -> Millis {
        let twice = last.times(2).max(Millis(1));
        // Timer A has no bound but timer B (RFC 3261 17.1.1.2).
        if self == Self::A {
            twice
        } else {
            twice.min(settings.t2)
        }
    }
}

/// Holds a machine against its table, written out.
#[cfg(test)]
pub(super) mod check {
    use std::fmt::Debug;

    /// Goes through every pair of state and input. A line of the table is
    /// `state input -> next state: acts`; the order is that of the lists.
    pub(crate) fn assert_table<S, I, A>(
        states: &[S],
        inputs: &[I],
        step: impl Fn(S, I) -> (S, &'static [A]),
        table: &str,
    ) where
        S: Copy + Debug + PartialEq,
        I: Copy + Debug,
        A: Debug + 'static,
    {
        let mut lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
        for state in states {
            for input in inputs {
                let (next, acts) = step(*state, *input);
                assert!(states.contains(&next), "{next:?} is not in the list");
                let acts: Vec<_> = acts.iter().map(|act| format!("{act:?}")).collect();
                let line = format!("{state:?} {input:?} -> {next:?}: {}", acts.join(", "));
                assert_eq!(Some(line.trim_end()), lines.next());
            }
        }
        assert_eq!(lines.next(), None, "the table has more pairs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: TimerSettings = TimerSettings {
        t1: Millis(500),
        t2: Millis(4000),
        t4: Millis(5000),
    };

    #[test]
    fn spans_are_those_of_table_4() {
        let table = [
            // Timer, over UDP, over a reliable transport.
            (Timer::A, Some(500), None),
            (Timer::B, Some(32_000), Some(32_000)),
            (Timer::C, Some(660_000), Some(660_000)),
            (Timer::D, Some(32_000), Some(0)),
            (Timer::E, Some(500), None),
            (Timer::F, Some(32_000), Some(32_000)),
            (Timer::G, Some(500), None),
            (Timer::H, Some(32_000), Some(32_000)),
            (Timer::I, Some(5000), Some(0)),
            (Timer::J, Some(32_000), Some(0)),
            (Timer::K, Some(5000), Some(0)),
            (Timer::L, Some(32_000), Some(32_000)),
            (Timer::M, Some(32_000), Some(32_000)),
            (Timer::Withdrawn, Some(32_000), Some(32_000)),
            (Timer::Forget, Some(180_000), Some(180_000)),
            (Timer::Trying, Some(200), Some(200)),
            (Timer::Patience, Some(3500), Some(3500)),
            (Timer::Answer, Some(32_000), Some(32_000)),
            (Timer::Success, Some(500), Some(500)),
            (Timer::Ringing, Some(60_000), Some(60_000)),
        ];
        for (timer, udp, reliable) in table {
            assert_eq!(timer.span(&SETTINGS, false), udp.map(Millis), "{timer:?}");
            assert_eq!(
                timer.span(&SETTINGS, true),
                reliable.map(Millis),
                "{timer:?}"
            );
        }
    }

    #[test]
    fn timer_d_is_never_shorter_than_32_seconds() {
        let quick = TimerSettings {
            t1: Millis(50),
            ..SETTINGS
        };
        assert_eq!(Timer::D.span(&quick, false), Some(Millis(32_000)));
    }

    #[test]
    fn only_timer_a_grows_beyond_t2() {
        let grown = |timer: Timer| timer.doubled(Millis(4000), &SETTINGS);
        assert_eq!(grown(Timer::A), Millis(8000));
        for timer in [Timer::E, Timer::G, Timer::Success] {
            assert_eq!(grown(timer), Millis(4000));
        }
    }
}
