//! Whether a target of an upstream is used.

use serde::Serialize;

use crate::engine::locating::{Hop, Located};
use crate::engine::time::{Millis, Time};

/// What was seen of a target, for every shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub hop: Hop,
    pub sign: Sign,
    /// When an answer came; of a failure, when that was sent which failed.
    pub at: Time,
}

/// ```text
///              no answer           no answer to a probe
///      Up ──────────────► Suspect ──────────────────► Ejected ◄──┐
///      ▲ ◄───────────────                                │       │
///      │      an answer                         an answer│       │ no answer to a probe
///      │                                                 ▼       │
///      └───────────────────────────────────────────── Returning ─┘
///                         an answer
/// ```
/// A call that fails raises a suspicion, and no more: it may be the request that the target will not answer.
/// What puts a target out is a probe, the second failure in a row; two answers in a row bring it back. What
/// counts as no answer is silence and a transport that fails, and to a probe 503 and 408.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Up,
    /// A probe of it failed, or calls: asked after the others.
    Suspect,
    /// Not asked.
    Ejected,
    /// It has answered once since. Not asked yet, where there are probes that tell more.
    Returning,
}

/// What was seen of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    ProbeAnswered,
    ProbeFailed,
    CallAnswered,
    CallFailed,
    /// It has answered a probe by 503 or 408, or too late: no reason to ask it, but the silence is not its own.
    Heard,
    /// Somebody who is reached through it says nothing: it is probed soon, to know whose silence that is.
    Doubted,
    /// By a 503 with Retry-After it asks to be left alone at this address for so long (RFC 3261 21.5.4).
    Paused(Located, Millis),
    /// Nobody answered at this address, or nothing leads there: it is asked after its others.
    Silent(Located),
    /// The operator has it asked again.
    Resumed,
}

impl Health {
    /// Every state, for the metrics that must exist from the start.
    pub const ALL: [Self; 4] = [Self::Up, Self::Suspect, Self::Ejected, Self::Returning];

    /// Returns the word used in logs, labels and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Ejected => "ejected",
            Self::Returning => "returning",
        }
    }

    /// Returns the state after a sign.
    #[rustfmt::skip]
    pub fn after(self, sign: Sign) -> Self {
        use Sign as S;
        match (self, sign) {
            (Self::Up, S::ProbeAnswered | S::CallAnswered) => Self::Up,
            (Self::Up, S::ProbeFailed | S::CallFailed) => Self::Suspect,
            (Self::Suspect, S::ProbeAnswered | S::CallAnswered) => Self::Up,
            (Self::Suspect, S::ProbeFailed) => Self::Ejected,
            (Self::Suspect, S::CallFailed) => Self::Suspect,
            // A call that was under way when it was put out.
            (Self::Ejected, S::ProbeAnswered | S::CallAnswered) => Self::Returning,
            (Self::Ejected, S::ProbeFailed | S::CallFailed) => Self::Ejected,
            (Self::Returning, S::ProbeAnswered | S::CallAnswered) => Self::Up,
            (Self::Returning, S::ProbeFailed) => Self::Ejected,
            (Self::Returning, S::CallFailed) => Self::Returning,
            // It is left alone, whatever state it is in, and is as well as it was.
            (state, S::Paused(..) | S::Silent(_) | S::Resumed | S::Doubted | S::Heard) => state,
        }
    }
}

impl Sign {
    /// Returns true where it speaks for the target.
    pub fn is_good(self) -> bool {
        match self {
            Self::ProbeAnswered | Self::CallAnswered => true,
            Self::ProbeFailed
            | Self::CallFailed
            | Self::Heard
            | Self::Doubted
            | Self::Paused(..)
            | Self::Silent(_)
            | Self::Resumed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Transport;

    #[test]
    fn every_pair() {
        use Health::{Ejected, Returning, Suspect, Up};
        for (state, good, probe_failed, call_failed) in [
            (Up, Up, Suspect, Suspect),
            (Suspect, Up, Ejected, Suspect),
            (Ejected, Returning, Ejected, Ejected),
            (Returning, Up, Ejected, Returning),
        ] {
            for (sign, then) in [
                (Sign::ProbeAnswered, good),
                (Sign::CallAnswered, good),
                (Sign::ProbeFailed, probe_failed),
                (Sign::CallFailed, call_failed),
                (pause(), state),
                (Sign::Silent(somewhere()), state),
                (Sign::Resumed, state),
                (Sign::Doubted, state),
                (Sign::Heard, state),
            ] {
                assert_eq!(state.after(sign), then, "{state:?} {sign:?}");
            }
        }
    }

    fn somewhere() -> Located {
        (Transport::Udp, ([192, 0, 2, 1], 5060).into())
    }

    fn pause() -> Sign {
        Sign::Paused(somewhere(), Millis(1_000))
    }

    #[test]
    fn calls_alone_put_nobody_out() {
        let used = |health| matches!(health, Health::Up | Health::Suspect);
        for state in Health::ALL.into_iter().filter(|state| used(*state)) {
            assert!(used(state.after(Sign::CallFailed)), "{state:?}");
            assert!(used(state.after(pause())), "{state:?}");
        }
    }
}
