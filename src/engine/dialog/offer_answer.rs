//! Offer/answer (RFC 3264, RFC 6337): who has an offer open, and what glare is.
//!
//! ```text
//!            offer sent                     offer received
//!        ┌──────────────► Offered         ┌──────────────► Asked
//!      Idle ◄───────────────┘           Idle ◄───────────────┘
//!         answer received, refused         answer sent, refused
//! ```

use serde::{Deserialize, Serialize};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Negotiation {
    /// Nothing is open: both may offer.
    #[default]
    Idle,
    /// We have offered and wait for the answer.
    Offered,
    /// They have offered and wait for ours.
    Asked,
}

/// One step of either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    SendOffer,
    ReceiveOffer,
    SendAnswer,
    ReceiveAnswer,
    /// The request that carried the offer failed: all is as it was before (RFC 6141).
    Fail,
}

/// Why a step is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RFC 3261 14.2: our own offer is open, theirs gets 491.
    Glare,
    /// RFC 3261 14.2: theirs is open already, a second gets 500 with Retry-After.
    Busy,
    /// Ours must wait until theirs, or our own before it, is answered.
    Wait,
    /// An answer to nothing: ignored.
    Unasked,
}

impl Negotiation {
    /// Takes one step.
    ///
    /// # Errors
    /// The reason why the step is out of turn; the state is as before.
    pub fn step(self, act: Act) -> Result<Self, Refusal> {
        match (self, act) {
            (Self::Idle, Act::SendOffer) => Ok(Self::Offered),
            (Self::Idle, Act::ReceiveOffer) => Ok(Self::Asked),
            (Self::Idle, Act::SendAnswer | Act::ReceiveAnswer) => Err(Refusal::Unasked),
            (Self::Idle, Act::Fail) => Ok(Self::Idle),

            (Self::Offered, Act::SendOffer) => Err(Refusal::Wait),
            (Self::Offered, Act::ReceiveOffer) => Err(Refusal::Glare),
            (Self::Offered, Act::SendAnswer) => Err(Refusal::Unasked),
            (Self::Offered, Act::ReceiveAnswer | Act::Fail) => Ok(Self::Idle),

            (Self::Asked, Act::SendOffer) => Err(Refusal::Wait),
            (Self::Asked, Act::ReceiveOffer) => Err(Refusal::Busy),
            (Self::Asked, Act::SendAnswer | Act::Fail) => Ok(Self::Idle),
            (Self::Asked, Act::ReceiveAnswer) => Err(Refusal::Unasked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair() {
        use Act::{Fail, ReceiveAnswer, ReceiveOffer, SendAnswer, SendOffer};
        use Negotiation::{Asked, Idle, Offered};
        let table = [
            (Idle, SendOffer, Ok(Offered)),
            (Idle, ReceiveOffer, Ok(Asked)),
            (Idle, SendAnswer, Err(Refusal::Unasked)),
            (Idle, ReceiveAnswer, Err(Refusal::Unasked)),
            (Idle, Fail, Ok(Idle)),
            (Offered, SendOffer, Err(Refusal::Wait)),
            (Offered, ReceiveOffer, Err(Refusal::Glare)),
            (Offered, SendAnswer, Err(Refusal::Unasked)),
            (Offered, ReceiveAnswer, Ok(Idle)),
            (Offered, Fail, Ok(Idle)),
            (Asked, SendOffer, Err(Refusal::Wait)),
            (Asked, ReceiveOffer, Err(Refusal::Busy)),
            (Asked, SendAnswer, Ok(Idle)),
            (Asked, ReceiveAnswer, Err(Refusal::Unasked)),
            (Asked, Fail, Ok(Idle)),
        ];
        assert_eq!(table.len(), 3 * 5, "a pair is missing");
        for (state, act, expected) in table {
            assert_eq!(state.step(act), expected, "{state:?} {act:?}");
        }
    }
}
