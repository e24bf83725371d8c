//! A dialog's life (RFC 3261 12 to 15, RFC 5407): from the INVITE that would make it to its end.

use serde::{Deserialize, Serialize};

/// How far a dialog is.
///
/// ```text
///   we called                                    we are called
///   Calling ──provisional──► Ringing             Invited
///      │ 2xx: ACK               │ 2xx: ACK          │ our 2xx
///      │                        │                   ▼
///      │                        │                Answered
///      ▼                        ▼                   │ ACK, a request, no ACK at all
///   Confirmed ◄─────────────────────────────────────┘
///
///   from every state: a failure, a BYE, or our leave ──► Ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "bool", from = "bool")]
pub enum Life {
    /// Our INVITE is out, or will be; no tag of theirs is known.
    Calling,
    /// A provisional response has made an early dialog (RFC 3261 12.1).
    Ringing,
    /// Their INVITE is here and has no 2xx of ours.
    Invited,
    /// It has our first 2xx, and nothing shows yet that this has arrived.
    Answered,
    /// Both ends know of the dialog.
    Confirmed,
    Ended,
}

/// What happens to it. The responses are those to the INVITE that makes the dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happens {
    /// A response from 101 to 199.
    Provisional,
    /// A 2xx. Where a 2xx has made the dialog already: the same once more, by its tag.
    Success,
    /// A 2xx with another tag than the one that made the dialog: a proxy has forked (RFC 3261 13.2.2.4).
    OtherSuccess,
    /// A response from 300 to 699, or none at all.
    Failure,
    /// We send the 2xx to their INVITE.
    Accept,
    /// We refuse their INVITE, or they have cancelled it.
    Refuse,
    /// The ACK to a 2xx of ours.
    Ack,
    /// No ACK came to a 2xx of ours, however often that was sent (RFC 3261 13.3.1.4).
    NoAck,
    /// A request within the dialog, or an answer to one of ours.
    Speech,
    /// Their BYE.
    Bye,
    /// We end it.
    Leave,
    /// Their endpoint is back that may have missed our BYE.
    Return,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    Nothing,
    /// Tag, target and routes are those of the response; whoever called learns that it rings.
    Ring,
    /// Tag, target and routes are those of the response; the session begins, and an ACK is due.
    Begin,
    /// The ACK was lost: the same goes out again.
    AckAgain,
    /// It is another dialog, which nobody wants: ACK, then BYE.
    AckAndBye,
    /// The endpoint is out of reach.
    Lose,
    /// The endpoint is asked whether it lives.
    Ask,
    /// A BYE goes out.
    Bye,
    /// A BYE goes out once the ACK is here, or has had its time (RFC 3261 15).
    ByeAfterAck,
    /// The INVITE is taken back.
    Cancel,
    /// The INVITE gets a final response that is no 2xx.
    Reject,
    /// The other side is told of the end.
    End,
}

impl Life {
    /// Returns the next state, and what is to be done.
    #[rustfmt::skip]
    pub fn after(self, happens: Happens) -> (Self, Do) {
        use Happens as H;
        match (self, happens) {
            (Self::Calling | Self::Ringing, H::Provisional) => (Self::Ringing, Do::Ring),
            // Before the first 2xx no tag is chosen: where a proxy forks, the first that answers is it.
            (Self::Calling | Self::Ringing, H::Success | H::OtherSuccess) => (Self::Confirmed, Do::Begin),
            (Self::Calling | Self::Ringing, H::Failure) => (Self::Ended, Do::End),
            // RFC 3261 15: the callee may not; but its 2xx may be on the way still.
            (Self::Calling | Self::Ringing, H::Bye) => (Self::Ended, Do::End),
            // RFC 3261 9.1: the transaction waits for a provisional response where there is none yet.
            (Self::Calling | Self::Ringing, H::Leave) => (Self::Ended, Do::Cancel),
            (Self::Calling, H::Accept | H::Refuse | H::Ack | H::NoAck | H::Speech | H::Return) => (Self::Calling, Do::Nothing),
            (Self::Ringing, H::Accept | H::Refuse | H::Ack | H::NoAck | H::Speech | H::Return) => (Self::Ringing, Do::Nothing),

            (Self::Invited, H::Accept) => (Self::Answered, Do::Nothing),
            (Self::Invited, H::Refuse | H::Leave) => (Self::Ended, Do::Reject),
            // RFC 3261 15.1.2: the INVITE that is pending gets its 487.
            (Self::Invited, H::Bye) => (Self::Ended, Do::Reject),
            (Self::Invited, H::Provisional | H::Success | H::OtherSuccess | H::Failure) => (Self::Invited, Do::Nothing),
            (Self::Invited, H::Ack | H::NoAck | H::Speech | H::Return) => (Self::Invited, Do::Nothing),

            // It speaks in the dialog, so it has the 2xx.
            (Self::Answered, H::Ack | H::Speech) => (Self::Confirmed, Do::Nothing),
            // The dialog is confirmed nevertheless; who never had it cannot be asked in it.
            (Self::Answered, H::NoAck) => (Self::Confirmed, Do::Lose),
            // RFC 5407 3.1.6: the caller may send it before its ACK arrives.
            (Self::Answered, H::Bye) => (Self::Ended, Do::End),
            (Self::Answered, H::Leave) => (Self::Ended, Do::ByeAfterAck),
            // RFC 5407 3.1.2: the CANCEL has crossed our 2xx, and changes nothing.
            (Self::Answered, H::Refuse) => (Self::Answered, Do::Nothing),
            (Self::Answered, H::Return) => (Self::Answered, Do::Nothing),
            (Self::Answered, H::Accept | H::Provisional | H::Success | H::OtherSuccess | H::Failure) => (Self::Answered, Do::Nothing),

            (Self::Confirmed, H::Success) => (Self::Confirmed, Do::AckAgain),
            (Self::Confirmed, H::OtherSuccess) => (Self::Confirmed, Do::AckAndBye),
            // Of a re-INVITE: who is only silent in the dialog is asked.
            (Self::Confirmed, H::NoAck) => (Self::Confirmed, Do::Ask),
            (Self::Confirmed, H::Bye) => (Self::Ended, Do::End),
            (Self::Confirmed, H::Leave) => (Self::Ended, Do::Bye),
            // Overtaken by the 2xx, or of another fork.
            (Self::Confirmed, H::Provisional | H::Failure) => (Self::Confirmed, Do::Nothing),
            (Self::Confirmed, H::Accept | H::Refuse | H::Ack | H::Speech | H::Return) => (Self::Confirmed, Do::Nothing),

            // Somebody took the call that nobody wants any more.
            (Self::Ended, H::Success | H::OtherSuccess) => (Self::Ended, Do::AckAndBye),
            (Self::Ended, H::Return) => (Self::Ended, Do::Bye),
            (Self::Ended, H::Provisional | H::Failure | H::Accept | H::Refuse) => (Self::Ended, Do::Nothing),
            (Self::Ended, H::Ack | H::NoAck | H::Speech | H::Bye | H::Leave) => (Self::Ended, Do::Nothing),
        }
    }

    /// Takes what happens, and returns what is to be done.
    pub fn take(&mut self, happens: Happens) -> Do {
        let (next, act) = self.after(happens);
        *self = next;
        act
    }

    /// Returns true from the first 2xx on.
    pub fn is_up(self) -> bool {
        match self {
            Self::Answered | Self::Confirmed => true,
            Self::Calling | Self::Ringing | Self::Invited | Self::Ended => false,
        }
    }
}

/// What lasts is whether the dialog has its 2xx: a restart forgets the INVITE's transaction, and with it that an ACK is
/// due. Whoever keeps the 2xx goes on from there.
impl From<Life> for bool {
    fn from(life: Life) -> Self {
        life.is_up()
    }
}

impl From<bool> for Life {
    fn from(up: bool) -> Self {
        if up { Self::Confirmed } else { Self::Calling }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dialog::check::assert_rows;

    const STATES: [Life; 6] = [
        Life::Calling,
        Life::Ringing,
        Life::Invited,
        Life::Answered,
        Life::Confirmed,
        Life::Ended,
    ];
    const HAPPENS: [Happens; 12] = [
        Happens::Provisional,
        Happens::Success,
        Happens::OtherSuccess,
        Happens::Failure,
        Happens::Accept,
        Happens::Refuse,
        Happens::Ack,
        Happens::NoAck,
        Happens::Speech,
        Happens::Bye,
        Happens::Leave,
        Happens::Return,
    ];
    const TABLE: &str = "
        Calling Provisional -> Ringing Ring
        Calling Success -> Confirmed Begin
        Calling OtherSuccess -> Confirmed Begin
        Calling Failure -> Ended End
        Calling Accept -> Calling Nothing
        Calling Refuse -> Calling Nothing
        Calling Ack -> Calling Nothing
        Calling NoAck -> Calling Nothing
        Calling Speech -> Calling Nothing
        Calling Bye -> Ended End
        Calling Leave -> Ended Cancel
        Calling Return -> Calling Nothing

        Ringing Provisional -> Ringing Ring
        Ringing Success -> Confirmed Begin
        Ringing OtherSuccess -> Confirmed Begin
        Ringing Failure -> Ended End
        Ringing Accept -> Ringing Nothing
        Ringing Refuse -> Ringing Nothing
        Ringing Ack -> Ringing Nothing
        Ringing NoAck -> Ringing Nothing
        Ringing Speech -> Ringing Nothing
        Ringing Bye -> Ended End
        Ringing Leave -> Ended Cancel
        Ringing Return -> Ringing Nothing

        Invited Provisional -> Invited Nothing
        Invited Success -> Invited Nothing
        Invited OtherSuccess -> Invited Nothing
        Invited Failure -> Invited Nothing
        Invited Accept -> Answered Nothing
        Invited Refuse -> Ended Reject
        Invited Ack -> Invited Nothing
        Invited NoAck -> Invited Nothing
        Invited Speech -> Invited Nothing
        Invited Bye -> Ended Reject
        Invited Leave -> Ended Reject
        Invited Return -> Invited Nothing

        Answered Provisional -> Answered Nothing
        Answered Success -> Answered Nothing
        Answered OtherSuccess -> Answered Nothing
        Answered Failure -> Answered Nothing
        Answered Accept -> Answered Nothing
        Answered Refuse -> Answered Nothing
        Answered Ack -> Confirmed Nothing
        Answered NoAck -> Confirmed Lose
        Answered Speech -> Confirmed Nothing
        Answered Bye -> Ended End
        Answered Leave -> Ended ByeAfterAck
        Answered Return -> Answered Nothing

        Confirmed Provisional -> Confirmed Nothing
        Confirmed Success -> Confirmed AckAgain
        Confirmed OtherSuccess -> Confirmed AckAndBye
        Confirmed Failure -> Confirmed Nothing
        Confirmed Accept -> Confirmed Nothing
        Confirmed Refuse -> Confirmed Nothing
        Confirmed Ack -> Confirmed Nothing
        Confirmed NoAck -> Confirmed Ask
        Confirmed Speech -> Confirmed Nothing
        Confirmed Bye -> Ended End
        Confirmed Leave -> Ended Bye
        Confirmed Return -> Confirmed Nothing

        Ended Provisional -> Ended Nothing
        Ended Success -> Ended AckAndBye
        Ended OtherSuccess -> Ended AckAndBye
        Ended Failure -> Ended Nothing
        Ended Accept -> Ended Nothing
        Ended Refuse -> Ended Nothing
        Ended Ack -> Ended Nothing
        Ended NoAck -> Ended Nothing
        Ended Speech -> Ended Nothing
        Ended Bye -> Ended Nothing
        Ended Leave -> Ended Nothing
        Ended Return -> Ended Bye
    ";

    #[test]
    fn every_pair_does_what_the_table_says() {
        assert_rows(TABLE, &STATES, &HAPPENS, |state, happens| {
            let (next, act) = state.after(*happens);
            format!("{next:?} {act:?}")
        });
    }

    #[test]
    fn a_restart_keeps_whether_the_dialog_has_its_2xx() {
        for state in STATES {
            let kept = Life::from(bool::from(state));
            assert_eq!(kept.is_up(), state.is_up(), "{state:?}");
            // Nobody waits for an ACK whose transaction is forgotten.
            assert_ne!(kept, Life::Answered);
        }
    }
}
