//! The server machine of everything that is no INVITE.

use super::table::{ServerAct as Act, Timer};

/// RFC 3261 17.2.2 with RFC 4320: a 100 goes out only when the client's timer E has grown to T2, a 408
/// never, and what the user has not answered after 64*T1 nobody waits for any more.
///
/// ```text
///                     | request: tell user
///                     v
///            408  Trying ---------------+
///      +------------- |                 |
///      |              | 100             | 200-699: send
///      |              v                 |
///      +-------- Proceeding ------------+
///      |   request: send last again     |
///      |              |                 v
///      |              | 64*T1       Completed   request: send last again
///      |              v                 | J
///      |          Terminated <----------+
///      +--> Completed, with nothing to send
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The user has it.
    Trying,
    /// The user has it, and a 100 was sent.
    Proceeding,
    /// It is answered, or will never be.
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The request came again.
    Request,
    /// The user sends a 100.
    Provisional,
    /// The user sends a final response.
    Final,
    /// The user sends one that must not go out.
    Withheld,
    /// The timer of the 100.
    Resend,
    /// 64*T1 without an answer, or timer J.
    Deadline,
}

/// How it begins.
pub(super) const START: (State, &[Act]) = (
    State::Trying,
    &[Act::Start(Timer::Patience), Act::Start(Timer::Answer)],
);

const FINISH: &[Act] = &[Act::Stop, Act::Send, Act::Start(Timer::J)];
const WITHHOLD: &[Act] = &[Act::Stop, Act::Drop, Act::Start(Timer::J)];

/// Returns the next state and what is to be done.
pub(super) fn step(state: State, input: Input) -> (State, &'static [Act]) {
    use {Input as I, State as S};
    match (state, input) {
        (S::Trying, I::Request) => (S::Trying, &[Act::Absorb]),
        (S::Trying, I::Provisional) => (S::Proceeding, &[Act::Quiet, Act::Send]),
        (S::Trying, I::Final) => (S::Completed, FINISH),
        (S::Trying, I::Withheld) => (S::Completed, WITHHOLD),
        (S::Trying, I::Resend) => (S::Proceeding, &[Act::Trying]),
        (S::Trying, I::Deadline) => (S::Terminated, &[Act::Lapse]),

        (S::Proceeding, I::Request) => (S::Proceeding, &[Act::Absorb, Act::Resend]),
        (S::Proceeding, I::Provisional) => (S::Proceeding, &[Act::Send]),
        (S::Proceeding, I::Final) => (S::Completed, FINISH),
        (S::Proceeding, I::Withheld) => (S::Completed, WITHHOLD),
        // Its 100 is out already.
        (S::Proceeding, I::Resend) => (S::Proceeding, &[]),
        (S::Proceeding, I::Deadline) => (S::Terminated, &[Act::Lapse]),

        (S::Completed, I::Request) => (S::Completed, &[Act::Absorb, Act::Resend]),
        // RFC 3261 17.2.2: further responses of the user are discarded.
        (S::Completed, I::Provisional | I::Final | I::Withheld) => (S::Completed, &[]),
        (S::Completed, I::Resend) => (S::Completed, &[]),
        (S::Completed, I::Deadline) => (S::Terminated, &[]),

        (
            S::Terminated,
            I::Request | I::Provisional | I::Final | I::Withheld | I::Resend | I::Deadline,
        ) => (S::Terminated, &[]),
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
        Input::Request,
        Input::Provisional,
        Input::Final,
        Input::Withheld,
        Input::Resend,
        Input::Deadline,
    ];
    const TABLE: &str = "
        Trying Request -> Trying: Absorb
        Trying Provisional -> Proceeding: Quiet, Send
        Trying Final -> Completed: Stop, Send, Start(J)
        Trying Withheld -> Completed: Stop, Drop, Start(J)
        Trying Resend -> Proceeding: Trying
        Trying Deadline -> Terminated: Lapse

        Proceeding Request -> Proceeding: Absorb, Resend
        Proceeding Provisional -> Proceeding: Send
        Proceeding Final -> Completed: Stop, Send, Start(J)
        Proceeding Withheld -> Completed: Stop, Drop, Start(J)
        Proceeding Resend -> Proceeding:
        Proceeding Deadline -> Terminated: Lapse

        Completed Request -> Completed: Absorb, Resend
        Completed Provisional -> Completed:
        Completed Final -> Completed:
        Completed Withheld -> Completed:
        Completed Resend -> Completed:
        Completed Deadline -> Terminated:

        Terminated Request -> Terminated:
        Terminated Provisional -> Terminated:
        Terminated Final -> Terminated:
        Terminated Withheld -> Terminated:
        Terminated Resend -> Terminated:
        Terminated Deadline -> Terminated:
    ";

    #[test]
    fn every_pair_does_what_the_table_says() {
        assert_table(STATES, INPUTS, step, TABLE);
    }
}
