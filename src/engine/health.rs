//! Whether a target of an upstream is used.

use serde::Serialize;

use crate::engine::locating::Hop;

/// What was seen of a target, for every shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub hop: Hop,
    pub sign: Sign,
}

/// ```text
///              no answer              no answer
///      Up ──────────────► Suspect ──────────────► Ejected ◄──┐
///      ▲ ◄───────────────    │                       │       │
///      │      an answer                     an answer│       │ no answer
///      │                                             ▼       │
///      └───────────────────────────────────────── Returning ─┘
///                       an answer
/// ```
/// Two failures in a row put a target out, two answers in a row bring it back. What counts as no answer is
/// silence, a transport that fails, 503, and to a probe 408.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Up,
    /// It failed once: asked after the others.
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
            (Self::Suspect, S::ProbeFailed | S::CallFailed) => Self::Ejected,
            // A call that was under way when it was put out.
            (Self::Ejected, S::ProbeAnswered | S::CallAnswered) => Self::Returning,
            (Self::Ejected, S::ProbeFailed | S::CallFailed) => Self::Ejected,
            (Self::Returning, S::ProbeAnswered | S::CallAnswered) => Self::Up,
            (Self::Returning, S::ProbeFailed | S::CallFailed) => Self::Ejected,
        }
    }
}

impl Sign {
    /// Returns true where it speaks for the target.
    pub fn is_good(self) -> bool {
        match self {
            Self::ProbeAnswered | Self::CallAnswered => true,
            Self::ProbeFailed | Self::CallFailed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair() {
        use Health::{Ejected, Returning, Suspect, Up};
        for (state, good, bad) in [
            (Up, Up, Suspect),
            (Suspect, Up, Ejected),
            (Ejected, Returning, Ejected),
            (Returning, Up, Ejected),
        ] {
            for sign in [Sign::ProbeAnswered, Sign::CallAnswered] {
                assert_eq!(state.after(sign), good, "{state:?} {sign:?}");
            }
            for sign in [Sign::ProbeFailed, Sign::CallFailed] {
                assert_eq!(state.after(sign), bad, "{state:?} {sign:?}");
            }
        }
    }
}
