//! The INVITE server machine.

use super::table::{ServerAct as Act, Timer};

/// RFC 3261 17.2.1 as RFC 6026 7.1 has it. What is added: the 2xx is sent again here, as the user of
/// RFC 3261 13.3.1.4 would, until its dialog saw the ACK (`Acknowledged`), and a CANCEL is told once
/// (`Cancelled`), and what a caller heard of a phone that rings is said again every minute
/// (RFC 3261 13.3.1.1), since a proxy ends a call that it has heard nothing of for three.
///
/// A send that fails changes nothing (RFC 3261 17.2.4 would end it): the timers bound every state, and
/// the peer's retransmission may come over another path.
///
/// ```text
///                            | INVITE: tell user, 100 after 200 ms
///                            v
///   CANCEL: tell user   Proceeding   INVITE: send last again
///        +----------------- | ------------------+
///        |              1xx |                   |
///        |                  v                   |
///        +-------------- Ringing ---------------+   1xx again every minute
///        v                  |                   | 300-699: send, start G and H
///    Cancelled ------ as Proceeding             v
///                           |               Completed   INVITE: send last again
///        2xx: send, start L |                   |   |   G: send last again, double G up to T2
///                           v               ACK |   | H
///   2xx again          Accepted                 v   |
///   up to T2                |             Confirmed |
///              acknowledged |                   |   |
///                           v                 I |   |
///                     Acknowledged              |   |
///                           | L                 |   |
///                           +--> Terminated <---+---+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The user has it.
    Proceeding,
    /// The user has it and has sent a 1xx.
    Ringing,
    /// The user has it and was told of a CANCEL.
    Cancelled,
    /// A 2xx is sent again and again.
    Accepted,
    /// The ACK of the 2xx came: only retransmissions are still waited for.
    Acknowledged,
    /// A failure is sent again and again.
    Completed,
    /// The ACK of the failure came.
    Confirmed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The INVITE came again.
    Invite,
    Ack,
    Cancel,
    /// The user sends a 1xx.
    Provisional,
    /// The user sends a 2xx.
    Success,
    /// The user sends another final response.
    Failure,
    /// The user's dialog saw the ACK of the 2xx.
    Acknowledged,
    /// Timer G, the 2xx's timer, that of the 100 or that of a 1xx.
    Resend,
    /// Timer H, I or L.
    Deadline,
}

/// How it begins.
pub(super) const START: (State, &[Act]) = (State::Proceeding, &[Act::Start(Timer::Trying)]);

const RING: &[Act] = &[Act::Quiet, Act::Send, Act::Start(Timer::Ringing)];
const ACCEPT: &[Act] = &[
    Act::Stop,
    Act::Send,
    Act::Start(Timer::Success),
    Act::Start(Timer::L),
];
const FAIL: &[Act] = &[
    Act::Stop,
    Act::Send,
    Act::Start(Timer::G),
    Act::Start(Timer::H),
];

/// Returns the next state and what is to be done.
pub(super) fn step(state: State, input: Input) -> (State, &'static [Act]) {
    use {Input as I, State as S};
    match (state, input) {
        (S::Proceeding | S::Ringing | S::Cancelled, I::Invite) => {
            (state, &[Act::Absorb, Act::Resend])
        }
        // Nothing has been sent that it could acknowledge.
        (S::Proceeding | S::Ringing | S::Cancelled, I::Ack | I::Acknowledged) => (state, &[]),
        (S::Proceeding, I::Cancel) => (S::Cancelled, &[Act::Cancelled]),
        // Its final response follows at once.
        (S::Ringing, I::Cancel) => (S::Cancelled, &[Act::Quiet, Act::Cancelled]),
        (S::Cancelled, I::Cancel) => (S::Cancelled, &[Act::Absorb]),
        (S::Proceeding | S::Ringing, I::Provisional) => (S::Ringing, RING),
        (S::Cancelled, I::Provisional) => (S::Cancelled, &[Act::Quiet, Act::Send]),
        (S::Proceeding | S::Ringing | S::Cancelled, I::Success) => (S::Accepted, ACCEPT),
        (S::Proceeding | S::Ringing | S::Cancelled, I::Failure) => (S::Completed, FAIL),
        (S::Proceeding | S::Cancelled, I::Resend) => (state, &[Act::Trying]),
        (S::Ringing, I::Resend) => (S::Ringing, &[Act::Resend, Act::Start(Timer::Ringing)]),
        // None runs: how long it may ring is the user's to say.
        (S::Proceeding | S::Ringing | S::Cancelled, I::Deadline) => (state, &[]),

        // The 2xx comes again by its own timer (RFC 6026 8.7).
        (S::Accepted, I::Invite) => (S::Accepted, &[Act::Absorb]),
        // An ACK with the INVITE's branch, as old clients send it: the dialog wants it all the same.
        (S::Accepted, I::Ack) => (S::Accepted, &[Act::PassAck]),
        (S::Accepted, I::Cancel) => (S::Accepted, &[]),
        // It has its final response.
        (S::Accepted, I::Provisional | I::Success | I::Failure) => (S::Accepted, &[]),
        (S::Accepted, I::Acknowledged) => (S::Acknowledged, &[Act::Quiet, Act::Drop]),
        (S::Accepted, I::Resend) => (S::Accepted, &[Act::Resend, Act::Double(Timer::Success)]),
        (S::Accepted, I::Deadline) => (S::Terminated, &[Act::Lapse, Act::NoAck]),

        (S::Acknowledged, I::Invite) => (S::Acknowledged, &[Act::Absorb]),
        (S::Acknowledged, I::Ack) => (S::Acknowledged, &[Act::PassAck]),
        (S::Acknowledged, I::Cancel | I::Acknowledged | I::Resend) => (S::Acknowledged, &[]),
        (S::Acknowledged, I::Provisional | I::Success | I::Failure) => (S::Acknowledged, &[]),
        (S::Acknowledged, I::Deadline) => (S::Terminated, &[]),

        (S::Completed, I::Invite) => (S::Completed, &[Act::Absorb, Act::Resend]),
        // Who hears that it has failed, and says so, may try once more by another way.
        (S::Completed, I::Ack) => (
            S::Confirmed,
            &[Act::Stop, Act::Unmerge, Act::Start(Timer::I)],
        ),
        (S::Completed, I::Cancel | I::Acknowledged) => (S::Completed, &[]),
        (S::Completed, I::Provisional | I::Success | I::Failure) => (S::Completed, &[]),
        (S::Completed, I::Resend) => (S::Completed, &[Act::Resend, Act::Double(Timer::G)]),
        (S::Completed, I::Deadline) => (S::Terminated, &[Act::Lapse]),

        (S::Confirmed, I::Invite | I::Ack) => (S::Confirmed, &[Act::Absorb]),
        (S::Confirmed, I::Cancel | I::Acknowledged | I::Resend) => (S::Confirmed, &[]),
        (S::Confirmed, I::Provisional | I::Success | I::Failure) => (S::Confirmed, &[]),
        (S::Confirmed, I::Deadline) => (S::Terminated, &[]),

        (
            S::Terminated,
            I::Invite
            | I::Ack
            | I::Cancel
            | I::Provisional
            | I::Success
            | I::Failure
            | I::Acknowledged
            | I::Resend
            | I::Deadline,
        ) => (S::Terminated, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::transaction::table::check::assert_table;

    const STATES: &[State] = &[
        State::Proceeding,
        State::Ringing,
        State::Cancelled,
        State::Accepted,
        State::Acknowledged,
        State::Completed,
        State::Confirmed,
        State::Terminated,
    ];
    const INPUTS: &[Input] = &[
        Input::Invite,
        Input::Ack,
        Input::Cancel,
        Input::Provisional,
        Input::Success,
        Input::Failure,
        Input::Acknowledged,
        Input::Resend,
        Input::Deadline,
    ];
    const TABLE: &str = "
        Proceeding Invite -> Proceeding: Absorb, Resend
        Proceeding Ack -> Proceeding:
        Proceeding Cancel -> Cancelled: Cancelled
        Proceeding Provisional -> Ringing: Quiet, Send, Start(Ringing)
        Proceeding Success -> Accepted: Stop, Send, Start(Success), Start(L)
        Proceeding Failure -> Completed: Stop, Send, Start(G), Start(H)
        Proceeding Acknowledged -> Proceeding:
        Proceeding Resend -> Proceeding: Trying
        Proceeding Deadline -> Proceeding:

        Ringing Invite -> Ringing: Absorb, Resend
        Ringing Ack -> Ringing:
        Ringing Cancel -> Cancelled: Quiet, Cancelled
        Ringing Provisional -> Ringing: Quiet, Send, Start(Ringing)
        Ringing Success -> Accepted: Stop, Send, Start(Success), Start(L)
        Ringing Failure -> Completed: Stop, Send, Start(G), Start(H)
        Ringing Acknowledged -> Ringing:
        Ringing Resend -> Ringing: Resend, Start(Ringing)
        Ringing Deadline -> Ringing:

        Cancelled Invite -> Cancelled: Absorb, Resend
        Cancelled Ack -> Cancelled:
        Cancelled Cancel -> Cancelled: Absorb
        Cancelled Provisional -> Cancelled: Quiet, Send
        Cancelled Success -> Accepted: Stop, Send, Start(Success), Start(L)
        Cancelled Failure -> Completed: Stop, Send, Start(G), Start(H)
        Cancelled Acknowledged -> Cancelled:
        Cancelled Resend -> Cancelled: Trying
        Cancelled Deadline -> Cancelled:

        Accepted Invite -> Accepted: Absorb
        Accepted Ack -> Accepted: PassAck
        Accepted Cancel -> Accepted:
        Accepted Provisional -> Accepted:
        Accepted Success -> Accepted:
        Accepted Failure -> Accepted:
        Accepted Acknowledged -> Acknowledged: Quiet, Drop
        Accepted Resend -> Accepted: Resend, Double(Success)
        Accepted Deadline -> Terminated: Lapse, NoAck

        Acknowledged Invite -> Acknowledged: Absorb
        Acknowledged Ack -> Acknowledged: PassAck
        Acknowledged Cancel -> Acknowledged:
        Acknowledged Provisional -> Acknowledged:
        Acknowledged Success -> Acknowledged:
        Acknowledged Failure -> Acknowledged:
        Acknowledged Acknowledged -> Acknowledged:
        Acknowledged Resend -> Acknowledged:
        Acknowledged Deadline -> Terminated:

        Completed Invite -> Completed: Absorb, Resend
        Completed Ack -> Confirmed: Stop, Unmerge, Start(I)
        Completed Cancel -> Completed:
        Completed Provisional -> Completed:
        Completed Success -> Completed:
        Completed Failure -> Completed:
        Completed Acknowledged -> Completed:
        Completed Resend -> Completed: Resend, Double(G)
        Completed Deadline -> Terminated: Lapse

        Confirmed Invite -> Confirmed: Absorb
        Confirmed Ack -> Confirmed: Absorb
        Confirmed Cancel -> Confirmed:
        Confirmed Provisional -> Confirmed:
        Confirmed Success -> Confirmed:
        Confirmed Failure -> Confirmed:
        Confirmed Acknowledged -> Confirmed:
        Confirmed Resend -> Confirmed:
        Confirmed Deadline -> Terminated:

        Terminated Invite -> Terminated:
        Terminated Ack -> Terminated:
        Terminated Cancel -> Terminated:
        Terminated Provisional -> Terminated:
        Terminated Success -> Terminated:
        Terminated Failure -> Terminated:
        Terminated Acknowledged -> Terminated:
        Terminated Resend -> Terminated:
        Terminated Deadline -> Terminated:
    ";

    #[test]
    fn every_pair_does_what_the_table_says() {
        assert_table(STATES, INPUTS, step, TABLE);
    }
}
