//! The INVITE client machine.

use super::table::{ClientAct as Act, Timer};

/// RFC 3261 17.1.1 as RFC 6026 7.2 has it. What is added: an INVITE that was taken back waits for its
/// answer with a deadline (`Held`, `Severed`, `Cancelling`; RFC 3261 9.1), and one that was given up
/// without a final response is remembered (`Abandoned`, `Recalled`), since a phone that was frozen may
/// thaw and ring or answer; not for long where what went out last came back. Where the user would have the call
/// yet (`Woken`), it decides what becomes of a phone that rings.
///
/// ```text
///                            | INVITE: send, start A and B
///               cancel       v
///     Held (Severed) <--- Calling ------------------------------+
///      |                     |  A: send again, double A         |
///      |                     |  B: tell user                    |
///      | 1xx: send CANCEL    | 1xx                              |
///      v                     v                                  v
///  Cancelling <--------- Proceeding ---------------+        Abandoned
///      |   cancel: send CANCEL |   C: tell user,     |          |  1xx: send CANCEL
///      | 64*T1                 |      send CANCEL    |          v
///      +-----------------------|-----> Abandoned     +-----> Recalled
///                              |                                |
///      from every state above: | 2xx                 300-699    | Forget, Astray
///                              v                        v       v
///                          Accepted                Completed   Terminated
///                          2xx: tell user          300-699: send ACK
///                              | M                      | D
///                              +-----> Terminated <-----+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Sent, nothing heard.
    Calling,
    /// The same, and taken back: the CANCEL waits for a provisional response.
    Held,
    /// Taken back too, and what went out last did not arrive.
    Severed,
    /// A provisional response came.
    Proceeding,
    /// The CANCEL is sent.
    Cancelling,
    /// A failure came and was acknowledged.
    Completed,
    /// A 2xx came.
    Accepted,
    /// Given up without a final response.
    Abandoned,
    /// Given up; something came nevertheless, and a CANCEL was sent.
    Recalled,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// 100.
    Trying,
    /// 101 to 199.
    Progress,
    /// 2xx.
    Success,
    /// 300 to 699.
    Failure,
    /// The user takes the INVITE back.
    Cancel,
    /// Timer A.
    Resend,
    /// The timer that bounds the state.
    Deadline,
    /// The transport failed.
    Broken,
    /// Who is asked is there again, for all that is known.
    Hurry,
    /// 101 to 199 where nothing was heard before, and the user would have it yet.
    Woken,
}

/// How it begins.
pub(super) const START: (State, &[Act]) = (
    State::Calling,
    &[Act::Send, Act::Start(Timer::A), Act::Start(Timer::B)],
);

/// How it goes on after a restart that has closed the connection by which it was sent.
pub(super) const RESUMED: (State, &[Act]) = (State::Proceeding, &[Act::Start(Timer::C)]);

const ACCEPT: &[Act] = &[Act::Stop, Act::Drop, Act::Report, Act::Start(Timer::M)];
const FAIL: &[Act] = &[Act::Stop, Act::Ack, Act::Report, Act::Start(Timer::D)];
const CANCEL: &[Act] = &[Act::Stop, Act::Cancel, Act::Start(Timer::Withdrawn)];
const RING: &[Act] = &[Act::Stop, Act::Report, Act::Start(Timer::C)];
const RESEND: &[Act] = &[Act::Resend, Act::Double(Timer::A)];
/// As if it had gone out for the first time, but that timer B runs on.
const ANEW: &[Act] = &[Act::Resend, Act::Start(Timer::A)];

/// Returns the next state and what is to be done.
#[rustfmt::skip]
pub(super) fn step(state: State, input: Input) -> (State, &'static [Act]) {
    use {Input as I, State as S};
    match (state, input) {
        (S::Calling, I::Trying) => (S::Proceeding, &[Act::Stop, Act::Start(Timer::C)]),
        (S::Calling, I::Progress | I::Woken) => (S::Proceeding, RING),
        (S::Calling, I::Success) => (S::Accepted, ACCEPT),
        (S::Calling, I::Failure) => (S::Completed, FAIL),
        (S::Calling, I::Cancel) => (S::Held, &[]),
        (S::Calling, I::Resend) => (S::Calling, RESEND),
        (S::Calling, I::Deadline) => (S::Abandoned, &[Act::Stop, Act::Timeout, Act::Start(Timer::Forget)]),
        // The user goes on at once. But one of those that went out may have arrived, and only its answer is lost.
        (S::Calling, I::Broken) => (S::Abandoned, &[Act::Stop, Act::Unreachable, Act::Start(Timer::Astray)]),
        (S::Calling, I::Hurry) => (S::Calling, ANEW),

        (S::Held | S::Severed, I::Trying) => (S::Cancelling, CANCEL),
        (S::Held | S::Severed, I::Progress) => (S::Cancelling, &[Act::Stop, Act::Report, Act::Cancel, Act::Start(Timer::Withdrawn)]),
        (S::Held | S::Severed | S::Abandoned, I::Woken) => (S::Proceeding, RING),
        (S::Held | S::Severed, I::Success) => (S::Accepted, ACCEPT),
        (S::Held | S::Severed, I::Failure) => (S::Completed, FAIL),
        (S::Held, I::Cancel) => (S::Held, &[]),
        (S::Severed, I::Cancel) => (S::Severed, &[]),
        // Where only the answer was lost the phone rings, and this is how we learn that it wants a CANCEL.
        (S::Held | S::Severed, I::Resend) => (S::Held, RESEND),
        (S::Held, I::Deadline) => (S::Abandoned, &[Act::Stop, Act::Lapse, Act::Start(Timer::Forget)]),
        (S::Severed, I::Deadline) => (S::Abandoned, &[Act::Stop, Act::Lapse, Act::Start(Timer::Astray)]),
        // Nobody waits for it, and a network that is down for a moment is no end.
        (S::Held | S::Severed, I::Broken) => (S::Severed, &[]),
        (S::Held, I::Hurry) => (S::Held, &[]),
        (S::Severed, I::Hurry) => (S::Severed, &[]),

        (S::Proceeding, I::Trying) => (S::Proceeding, &[]),
        (S::Proceeding, I::Progress | I::Woken) => (S::Proceeding, &[Act::Report]),
        (S::Proceeding, I::Success) => (S::Accepted, ACCEPT),
        (S::Proceeding, I::Failure) => (S::Completed, FAIL),
        (S::Proceeding, I::Cancel) => (S::Cancelling, CANCEL),
        (S::Proceeding, I::Resend) => (S::Proceeding, &[]),
        // How long it may ring is the user's to say; this is for what the user has lost sight of.
        (S::Proceeding, I::Deadline) => (S::Recalled, &[Act::Timeout, Act::Cancel, Act::Start(Timer::Forget)]),
        // It rings there, and may be answered over another connection; and anybody can forge an ICMP.
        (S::Proceeding, I::Broken) => (S::Proceeding, &[Act::Severed]),
        // It has the INVITE.
        (S::Proceeding, I::Hurry) => (S::Proceeding, &[]),

        (S::Cancelling, I::Trying) => (S::Cancelling, &[]),
        (S::Cancelling, I::Progress | I::Woken) => (S::Cancelling, &[Act::Report]),
        // RFC 3261 9.1: the CANCEL came too late.
        (S::Cancelling, I::Success) => (S::Accepted, ACCEPT),
        (S::Cancelling, I::Failure) => (S::Completed, FAIL),
        (S::Cancelling, I::Cancel | I::Resend | I::Broken | I::Hurry) => (S::Cancelling, &[]),
        (S::Cancelling, I::Deadline) => (S::Abandoned, &[Act::Lapse, Act::Start(Timer::Forget)]),

        (S::Completed, I::Trying | I::Progress | I::Woken) => (S::Completed, &[]),
        // A proxy passes on a 2xx even after a failure (RFC 3261 16.7), and somebody must end that call.
        (S::Completed, I::Success) => (S::Completed, &[Act::Report]),
        (S::Completed, I::Failure) => (S::Completed, &[Act::Absorb, Act::Resend]),
        (S::Completed, I::Cancel | I::Resend | I::Hurry) => (S::Completed, &[]),
        (S::Completed, I::Deadline) => (S::Terminated, &[]),
        // RFC 3261 17.1.1.2 ends here; but what failed need not have been the ACK.
        (S::Completed, I::Broken) => (S::Completed, &[]),

        // Late, or of another fork that is about to be cancelled by its proxy.
        (S::Accepted, I::Trying | I::Progress | I::Woken) => (S::Accepted, &[]),
        // RFC 6026 7.2: every 2xx goes up, for the user must ACK each one.
        (S::Accepted, I::Success) => (S::Accepted, &[Act::Report]),
        (S::Accepted, I::Failure | I::Cancel | I::Resend | I::Hurry) => (S::Accepted, &[]),
        (S::Accepted, I::Deadline) => (S::Terminated, &[]),
        (S::Accepted, I::Broken) => (S::Accepted, &[]),

        (S::Abandoned, I::Trying | I::Progress) => (S::Recalled, &[Act::Cancel, Act::Start(Timer::Forget)]),
        (S::Abandoned | S::Recalled, I::Success) => (S::Accepted, ACCEPT),
        (S::Abandoned | S::Recalled, I::Failure) => (S::Completed, &[Act::Stop, Act::Ack, Act::Start(Timer::D)]),
        (S::Abandoned, I::Cancel | I::Resend | I::Broken | I::Hurry) => (S::Abandoned, &[]),
        (S::Abandoned | S::Recalled, I::Deadline) => (S::Terminated, &[]),

        (S::Recalled, I::Trying | I::Progress | I::Woken) => (S::Recalled, &[]),
        (S::Recalled, I::Cancel | I::Resend | I::Broken | I::Hurry) => (S::Recalled, &[]),

        (
            S::Terminated,
            I::Trying | I::Progress | I::Success | I::Failure | I::Cancel | I::Resend | I::Deadline | I::Broken | I::Hurry
            | I::Woken,
        ) => (S::Terminated, &[]),
    }
}

impl State {
    /// Returns true as long as a broken transport changes anything, be it only where a CANCEL goes.
    pub(super) fn minds_transport(self) -> bool {
        match self {
            Self::Calling | Self::Held | Self::Severed | Self::Proceeding | Self::Cancelling => {
                true
            }
            Self::Completed
            | Self::Accepted
            | Self::Abandoned
            | Self::Recalled
            | Self::Terminated => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::transaction::table::check::assert_table;

    const STATES: &[State] = &[
        State::Calling,
        State::Held,
        State::Severed,
        State::Proceeding,
        State::Cancelling,
        State::Completed,
        State::Accepted,
        State::Abandoned,
        State::Recalled,
        State::Terminated,
    ];
    const INPUTS: &[Input] = &[
        Input::Trying,
        Input::Progress,
        Input::Success,
        Input::Failure,
        Input::Cancel,
        Input::Resend,
        Input::Deadline,
        Input::Broken,
        Input::Hurry,
        Input::Woken,
    ];
    const TABLE: &str = "
        Calling Trying -> Proceeding: Stop, Start(C)
        Calling Progress -> Proceeding: Stop, Report, Start(C)
        Calling Success -> Accepted: Stop, Drop, Report, Start(M)
        Calling Failure -> Completed: Stop, Ack, Report, Start(D)
        Calling Cancel -> Held:
        Calling Resend -> Calling: Resend, Double(A)
        Calling Deadline -> Abandoned: Stop, Timeout, Start(Forget)
        Calling Broken -> Abandoned: Stop, Unreachable, Start(Astray)
        Calling Hurry -> Calling: Resend, Start(A)
        Calling Woken -> Proceeding: Stop, Report, Start(C)

        Held Trying -> Cancelling: Stop, Cancel, Start(Withdrawn)
        Held Progress -> Cancelling: Stop, Report, Cancel, Start(Withdrawn)
        Held Success -> Accepted: Stop, Drop, Report, Start(M)
        Held Failure -> Completed: Stop, Ack, Report, Start(D)
        Held Cancel -> Held:
        Held Resend -> Held: Resend, Double(A)
        Held Deadline -> Abandoned: Stop, Lapse, Start(Forget)
        Held Broken -> Severed:
        Held Hurry -> Held:
        Held Woken -> Proceeding: Stop, Report, Start(C)

        Severed Trying -> Cancelling: Stop, Cancel, Start(Withdrawn)
        Severed Progress -> Cancelling: Stop, Report, Cancel, Start(Withdrawn)
        Severed Success -> Accepted: Stop, Drop, Report, Start(M)
        Severed Failure -> Completed: Stop, Ack, Report, Start(D)
        Severed Cancel -> Severed:
        Severed Resend -> Held: Resend, Double(A)
        Severed Deadline -> Abandoned: Stop, Lapse, Start(Astray)
        Severed Broken -> Severed:
        Severed Hurry -> Severed:
        Severed Woken -> Proceeding: Stop, Report, Start(C)

        Proceeding Trying -> Proceeding:
        Proceeding Progress -> Proceeding: Report
        Proceeding Success -> Accepted: Stop, Drop, Report, Start(M)
        Proceeding Failure -> Completed: Stop, Ack, Report, Start(D)
        Proceeding Cancel -> Cancelling: Stop, Cancel, Start(Withdrawn)
        Proceeding Resend -> Proceeding:
        Proceeding Deadline -> Recalled: Timeout, Cancel, Start(Forget)
        Proceeding Broken -> Proceeding: Severed
        Proceeding Hurry -> Proceeding:
        Proceeding Woken -> Proceeding: Report

        Cancelling Trying -> Cancelling:
        Cancelling Progress -> Cancelling: Report
        Cancelling Success -> Accepted: Stop, Drop, Report, Start(M)
        Cancelling Failure -> Completed: Stop, Ack, Report, Start(D)
        Cancelling Cancel -> Cancelling:
        Cancelling Resend -> Cancelling:
        Cancelling Deadline -> Abandoned: Lapse, Start(Forget)
        Cancelling Broken -> Cancelling:
        Cancelling Hurry -> Cancelling:
        Cancelling Woken -> Cancelling: Report

        Completed Trying -> Completed:
        Completed Progress -> Completed:
        Completed Success -> Completed: Report
        Completed Failure -> Completed: Absorb, Resend
        Completed Cancel -> Completed:
        Completed Resend -> Completed:
        Completed Deadline -> Terminated:
        Completed Broken -> Completed:
        Completed Hurry -> Completed:
        Completed Woken -> Completed:

        Accepted Trying -> Accepted:
        Accepted Progress -> Accepted:
        Accepted Success -> Accepted: Report
        Accepted Failure -> Accepted:
        Accepted Cancel -> Accepted:
        Accepted Resend -> Accepted:
        Accepted Deadline -> Terminated:
        Accepted Broken -> Accepted:
        Accepted Hurry -> Accepted:
        Accepted Woken -> Accepted:

        Abandoned Trying -> Recalled: Cancel, Start(Forget)
        Abandoned Progress -> Recalled: Cancel, Start(Forget)
        Abandoned Success -> Accepted: Stop, Drop, Report, Start(M)
        Abandoned Failure -> Completed: Stop, Ack, Start(D)
        Abandoned Cancel -> Abandoned:
        Abandoned Resend -> Abandoned:
        Abandoned Deadline -> Terminated:
        Abandoned Broken -> Abandoned:
        Abandoned Hurry -> Abandoned:
        Abandoned Woken -> Proceeding: Stop, Report, Start(C)

        Recalled Trying -> Recalled:
        Recalled Progress -> Recalled:
        Recalled Success -> Accepted: Stop, Drop, Report, Start(M)
        Recalled Failure -> Completed: Stop, Ack, Start(D)
        Recalled Cancel -> Recalled:
        Recalled Resend -> Recalled:
        Recalled Deadline -> Terminated:
        Recalled Broken -> Recalled:
        Recalled Hurry -> Recalled:
        Recalled Woken -> Recalled:

        Terminated Trying -> Terminated:
        Terminated Progress -> Terminated:
        Terminated Success -> Terminated:
        Terminated Failure -> Terminated:
        Terminated Cancel -> Terminated:
        Terminated Resend -> Terminated:
        Terminated Deadline -> Terminated:
        Terminated Broken -> Terminated:
        Terminated Hurry -> Terminated:
        Terminated Woken -> Terminated:
    ";

    #[test]
    fn every_pair_does_what_the_table_says() {
        assert_table(STATES, INPUTS, step, TABLE);
    }
}
