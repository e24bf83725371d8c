//! The client machine of everything that is no INVITE.

use super::table::{ClientAct as Act, Timer};

/// RFC 3261 17.1.2.
///
/// ```text
///                     | request: send, start E and F
///                     v
///       F: tell user  |  E: send again, double E up to T2
///     +---------- Trying ----------+
///     |               | 1xx        |
///     |               v            | 200-699: tell user
///     +-------- Proceeding --------+
///     |    E: send again, E is T2  |
///     |                            v
///     |                        Completed
///     |                            | K
///     +------> Terminated <--------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// 100.
    Trying,
    /// 101 to 199.
    Progress,
    /// 200 to 699.
    Final,
    /// Timer E.
    Resend,
    /// Timer F, or K.
    Deadline,
    /// The transport failed.
    Broken,
}

/// How it begins.
pub(super) const START: (State, &[Act]) = (
    State::Trying,
    &[Act::Send, Act::Start(Timer::E), Act::Start(Timer::F)],
);

const FINISH: &[Act] = &[Act::Stop, Act::Drop, Act::Report, Act::Start(Timer::K)];

/// Returns the next state and what is to be done.
pub(super) fn step(state: State, input: Input) -> (State, &'static [Act]) {
    use {Input as I, State as S};
    match (state, input) {
        (S::Trying, I::Trying) => (S::Proceeding, &[]),
        (S::Trying, I::Progress) => (S::Proceeding, &[Act::Report]),
        (S::Trying, I::Final) => (S::Completed, FINISH),
        (S::Trying, I::Resend) => (S::Trying, &[Act::Resend, Act::Double(Timer::E)]),
        (S::Trying, I::Deadline) => (S::Terminated, &[Act::Timeout]),
        (S::Trying, I::Broken) => (S::Terminated, &[Act::Unreachable]),

        (S::Proceeding, I::Trying) => (S::Proceeding, &[]),
        (S::Proceeding, I::Progress) => (S::Proceeding, &[Act::Report]),
        (S::Proceeding, I::Final) => (S::Completed, FINISH),
        (S::Proceeding, I::Resend) => (S::Proceeding, &[Act::Resend, Act::Slow(Timer::E)]),
        (S::Proceeding, I::Deadline) => (S::Terminated, &[Act::Timeout]),
        (S::Proceeding, I::Broken) => (S::Terminated, &[Act::Unreachable]),

        // Late: the final response overtook it.
        (S::Completed, I::Trying | I::Progress) => (S::Completed, &[]),
        (S::Completed, I::Final) => (S::Completed, &[Act::Absorb]),
        (S::Completed, I::Resend | I::Broken) => (S::Completed, &[]),
        (S::Completed, I::Deadline) => (S::Terminated, &[]),

        (
            S::Terminated,
            I::Trying | I::Progress | I::Final | I::Resend | I::Deadline | I::Broken,
        ) => (S::Terminated, &[]),
    }
}

impl State {
    /// Returns true as long as a broken transport changes anything.
    pub(super) fn minds_transport(self) -> bool {
        match self {
            Self::Trying | Self::Proceeding => true,
            Self::Completed | Self::Terminated => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::transaction::table::check::assert_table;

    const STATES: &[State] = &[
        State::Trying,
        State::Proceeding,
        State::Completed,
        State::Terminated,
    ];
    const INPUTS: &[Input] = &[
        Input::Trying,
        Input::Progress,
        Input::Final,
        Input::Resend,
        Input::Deadline,
        Input::Broken,
    ];
    const TABLE: &str = "
        Trying Trying -> Proceeding:
        Trying Progress -> Proceeding: Report
        Trying Final -> Completed: Stop, Drop, Report, Start(K)
        Trying Resend -> Trying: Resend, Double(E)
        Trying Deadline -> Terminated: Timeout
        Trying Broken -> Terminated: Unreachable

        Proceeding Trying -> Proceeding:
        Proceeding Progress -> Proceeding: Report
        Proceeding Final -> Completed: Stop, Drop, Report, Start(K)
        Proceeding Resend -> Proceeding: Resend, Slow(E)
        Proceeding Deadline -> Terminated: Timeout
        Proceeding Broken -> Terminated: Unreachable

        Completed Trying -> Completed:
        Completed Progress -> Completed:
        Completed Final -> Completed: Absorb
        Completed Resend -> Completed:
        Completed Deadline -> Terminated:
        Completed Broken -> Completed:

        Terminated Trying -> Terminated:
        Terminated Progress -> Terminated:
        Terminated Final -> Terminated:
        Terminated Resend -> Terminated:
        Terminated Deadline -> Terminated:
        Terminated Broken -> Terminated:
    ";

    #[test]
    fn every_pair_does_what_the_table_says() {
        assert_table(STATES, INPUTS, step, TABLE);
    }
}
