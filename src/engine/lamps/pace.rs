//! When whoever watches is told: one NOTIFY at a time (RFC 6665 4.2.2), one a second (RFC 4235 3.10), and what
//! there is to tell is what holds by then.
//!
//! ```text
//!             news                 its time, or asked
//!   Rest ───────────────► Due ─────────────────────────► Out ── news ──► Behind
//!    ▲ ▲                   │ ▲                            │                 │
//!    │ └─── as it was ─────┘ └──── taken, or put off ─────┼─────────────────┘
//!    └──────────────────── taken ─────────────────────────┘
//!
//!   the end:  Rest, Due ──► Last        Out, Behind ──► Ending ── answered ──► Last ── answered ──► over
//!   the watcher is gone, from every state ──► over
//! ```

use crate::engine::time::Millis;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// All is told.
    Rest,
    /// There may be something to tell, at its time.
    Due,
    /// A NOTIFY has no answer yet.
    Out,
    /// The same, and there is something to tell again.
    Behind,
    /// A NOTIFY has no answer yet, and the next one is the last.
    Ending,
    /// The last one has no answer yet.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happens {
    /// A call of the user has changed.
    News,
    /// A SUBSCRIBE was accepted: it is told at once (RFC 6665 4.2.1.2).
    Asked,
    /// The time to tell has come, and something is new.
    Time,
    /// The time has come, and all is as it was told last.
    AsItWas,
    /// The NOTIFY was taken.
    Taken,
    /// It was refused for now; it is to come again after so long.
    PutOff(Millis),
    /// It was refused for good, or nobody has answered (RFC 6665 4.2.2, RFC 5057 5.1).
    Gone,
    /// The time of the subscription is over, or the watcher wants no more.
    End,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Do {
    Nothing,
    /// The next NOTIFY has its time a second after the last.
    Wait,
    /// It has its time after so long.
    WaitLonger(Millis),
    Notify,
    /// The same, with `terminated`.
    NotifyLast,
    Forget,
}

impl Pace {
    /// The table: the next state, and what is to be done.
    #[rustfmt::skip]
    pub(super) fn take(self, what: Happens) -> (Self, Do) {
        use Happens as H;
        match (self, what) {
            (_, H::Gone) => (self, Do::Forget),

            (Self::Rest, H::News) => (Self::Due, Do::Wait),
            (Self::Rest | Self::Due, H::Asked) => (Self::Out, Do::Notify),
            (Self::Rest | Self::Due, H::End) => (Self::Last, Do::NotifyLast),
            // Whose answer it is has been told of otherwise.
            (Self::Rest, H::Time | H::AsItWas | H::Taken | H::PutOff(_)) => (Self::Rest, Do::Nothing),

            (Self::Due, H::Time) => (Self::Out, Do::Notify),
            (Self::Due, H::AsItWas) => (Self::Rest, Do::Nothing),
            (Self::Due, H::News | H::Taken | H::PutOff(_)) => (Self::Due, Do::Nothing),

            (Self::Out, H::Taken) => (Self::Rest, Do::Nothing),
            (Self::Out | Self::Behind, H::News | H::Asked) => (Self::Behind, Do::Nothing),
            (Self::Behind, H::Taken) => (Self::Due, Do::Wait),
            (Self::Out | Self::Behind, H::PutOff(span)) => (Self::Due, Do::WaitLonger(span)),
            (Self::Out | Self::Behind, H::End) => (Self::Ending, Do::Nothing),
            (Self::Out | Self::Behind, H::Time | H::AsItWas) => (self, Do::Nothing),

            (Self::Ending, H::Taken | H::PutOff(_)) => (Self::Last, Do::NotifyLast),
            // A SUBSCRIBE that crosses the end finds none.
            (Self::Ending, H::News | H::Asked | H::Time | H::AsItWas | H::End) => (Self::Ending, Do::Nothing),

            (Self::Last, H::Taken | H::PutOff(_)) => (Self::Last, Do::Forget),
            (Self::Last, H::News | H::Asked | H::Time | H::AsItWas | H::End) => (Self::Last, Do::Nothing),
        }
    }

    /// Returns true where it goes on: the last NOTIFY is neither out nor all that is to come.
    pub(super) fn is_active(self) -> bool {
        match self {
            Self::Rest | Self::Due | Self::Out | Self::Behind => true,
            Self::Ending | Self::Last => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Millis = Millis(7);
    const STATES: [Pace; 6] = [
        Pace::Rest,
        Pace::Due,
        Pace::Out,
        Pace::Behind,
        Pace::Ending,
        Pace::Last,
    ];

    /// State and deed of every pair, in the order of `STATES`.
    #[test]
    #[rustfmt::skip]
    fn every_pair() {
        use {Do as D, Happens as H, Pace as P};
        let nothing = STATES.map(|state| (state, D::Nothing));
        let [rest, due, _, behind, ending, last] = nothing;
        for (what, row) in [
            (H::News, [(P::Due, D::Wait), due, behind, behind, ending, last]),
            (H::Asked, [(P::Out, D::Notify), (P::Out, D::Notify), behind, behind, ending, last]),
            (H::Time, [rest, (P::Out, D::Notify), (P::Out, D::Nothing), behind, ending, last]),
            (H::AsItWas, [rest, rest, (P::Out, D::Nothing), behind, ending, last]),
            (H::Taken, [rest, due, rest, (P::Due, D::Wait), (P::Last, D::NotifyLast), (P::Last, D::Forget)]),
            (H::PutOff(LATER), [rest, due, (P::Due, D::WaitLonger(LATER)), (P::Due, D::WaitLonger(LATER)), (P::Last, D::NotifyLast), (P::Last, D::Forget)]),
            (H::Gone, STATES.map(|state| (state, D::Forget))),
            (H::End, [(P::Last, D::NotifyLast), (P::Last, D::NotifyLast), ending, ending, ending, last]),
        ] {
            for (state, wanted) in STATES.into_iter().zip(row) {
                assert_eq!(state.take(what), wanted, "{state:?} {what:?}");
            }
        }
    }

    /// Whatever happens in whatever order, there is never a second NOTIFY before the first has its answer.
    #[test]
    fn one_at_a_time() {
        let all = [
            Happens::News,
            Happens::Asked,
            Happens::Time,
            Happens::AsItWas,
            Happens::Taken,
            Happens::PutOff(LATER),
            Happens::End,
        ];
        for seed in 0_u32..5000 {
            let (mut pace, mut out, mut dice) = (Pace::Rest, false, seed);
            for _ in 0..20 {
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let what = all[(dice >> 16) as usize % all.len()];
                let answer = matches!(what, Happens::Taken | Happens::PutOff(_));
                if answer && !out {
                    continue;
                }
                out &= !answer;
                let (next, deed) = pace.take(what);
                pace = next;
                match deed {
                    Do::Notify | Do::NotifyLast => assert!(!std::mem::replace(&mut out, true)),
                    Do::Forget => break,
                    Do::Nothing | Do::Wait | Do::WaitLonger(_) => {}
                }
            }
        }
    }
}
