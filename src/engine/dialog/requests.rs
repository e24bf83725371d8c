//! Requests within a dialog (RFC 3261 12.2): in what order they count, what each may do how far the dialog
//! is, which of them move its target, and which may be open together.

use super::life::Life;
use super::offer_answer::{Act, Negotiation, Refusal};
use crate::sip::Method;

/// How a CSeq stands to the highest that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing came before.
    First,
    Lower,
    Equal,
    Next,
    /// Higher by more than one: what lies between was lost, or refused on its way.
    Gap,
}

/// What a CSeq does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is the highest from now on.
    Take,
    /// RFC 3261 12.2.2: the request gets a 500.
    Stale,
    /// The number is that of an INVITE (RFC 3261 9.1, 13.2.2.4), and is matched with it elsewhere.
    OfInvite,
}

impl Order {
    /// Compares a number with the highest so far.
    pub fn of(last: Option<u32>, cseq: u32) -> Self {
        match last {
            None => Self::First,
            Some(last) if cseq < last => Self::Lower,
            Some(last) if cseq == last => Self::Equal,
            Some(last) if cseq - last == 1 => Self::Next,
            Some(_) => Self::Gap,
        }
    }

    /// Returns what a number that stands so does. Retransmissions have ended in their transaction, so one
    /// that is equal is of another request.
    pub fn turn(self, method: &Method) -> Turn {
        match (self, is_of_invite(method)) {
            (Self::First | Self::Lower | Self::Equal | Self::Next | Self::Gap, true) => {
                Turn::OfInvite
            }
            (Self::First | Self::Next | Self::Gap, false) => Turn::Take,
            (Self::Lower | Self::Equal, false) => Turn::Stale,
        }
    }
}

fn is_of_invite(method: &Method) -> bool {
    match method {
        Method::Ack | Method::Cancel => true,
        Method::Invite
        | Method::Bye
        | Method::Options
        | Method::Register
        | Method::Message
        | Method::Info
        | Method::Update
        | Method::Prack
        | Method::Subscribe
        | Method::Notify
        | Method::Refer
        | Method::Publish
        | Method::Other(_) => false,
    }
}

/// Returns true where the request, once it is accepted, and its 2xx tell where the sender is from now on
/// (RFC 3261 12.2, RFC 3311 5.1, RFC 5057 5.4, RFC 6665 4.1.3).
pub fn refreshes_target(method: &Method) -> bool {
    match method {
        Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer => {
            true
        }
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Message
        | Method::Info
        | Method::Prack
        | Method::Publish
        | Method::Other(_) => false,
    }
}

/// What becomes of a request within the dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has its effect.
    Take,
    /// It asks whether we are there: 200.
    Here,
    /// It gets this code.
    Refuse(u16, &'static str),
}

const NO_PRACK: Admission = Admission::Refuse(481, "PRACK for a response that was not reliable");
const NEVER: Admission = Admission::Refuse(405, "method not meant for a dialog");
const EARLY: Admission = Admission::Refuse(500, "request before the answer");
const OVER: Admission = Admission::Refuse(481, "request within a dialog that has ended");

impl Life {
    /// Returns what becomes of a request that is the dialog's, and comes in its order.
    #[rustfmt::skip]
    pub fn admit(self, method: &Method) -> Admission {
        use Method as M;
        match (self, method) {
            (
                Self::Ended,
                M::Invite | M::Ack | M::Bye | M::Cancel | M::Options | M::Register | M::Message | M::Info | M::Update
                | M::Prack | M::Subscribe | M::Notify | M::Refer | M::Publish | M::Other(_),
            ) => OVER,
            (Self::Calling | Self::Ringing | Self::Invited | Self::Answered | Self::Confirmed, M::Ack | M::Cancel | M::Register) => NEVER,
            (Self::Calling | Self::Ringing, M::Prack) => NO_PRACK,
            // RFC 3262 3: whether a response waits for it, and be it one that our 2xx has overtaken.
            (Self::Invited | Self::Answered | Self::Confirmed, M::Prack) => Admission::Take,
            (Self::Calling | Self::Ringing | Self::Invited | Self::Answered | Self::Confirmed, M::Bye) => Admission::Take,

            // It has overtaken the 2xx, or speaks before it: the dialog is there, we are not so far.
            (Self::Calling | Self::Ringing | Self::Invited, M::Options) => Admission::Here,
            // A text of the caller's waits for who answers.
            (Self::Invited, M::Message) => Admission::Take,
            (Self::Calling | Self::Ringing, M::Message) => EARLY,
            // RFC 3311 5.1: in an early dialog, which there is not before a provisional response.
            // RFC 6086: so may INFO, such as digits for a machine that speaks before it answers.
            (Self::Ringing | Self::Invited, M::Update | M::Info) => Admission::Take,
            (Self::Calling, M::Update | M::Info) => EARLY,
            // An INVITE while the first is pending (RFC 3261 14.2): 500 as well.
            (
                Self::Calling | Self::Ringing | Self::Invited,
                M::Invite | M::Subscribe | M::Notify | M::Refer | M::Publish | M::Other(_),
            ) => EARLY,

            (
                Self::Answered | Self::Confirmed,
                M::Invite | M::Options | M::Message | M::Info | M::Update | M::Subscribe | M::Notify | M::Refer
                | M::Publish | M::Other(_),
            ) => Admission::Take,
        }
    }
}

/// Requests by what else may be open beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// With an offer, or asking for one.
    Invite,
    /// UPDATE with an offer.
    Offer,
    /// UPDATE without: it refreshes target and session timer, and touches no session.
    Refresh,
    /// Any other.
    Other,
}

impl Request {
    /// Reads a request; `offers` where it brings a session description.
    pub fn of(method: &Method, offers: bool) -> Self {
        match method {
            Method::Invite => Self::Invite,
            Method::Update if offers => Self::Offer,
            Method::Update => Self::Refresh,
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Register
            | Method::Message
            | Method::Info
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Publish
            | Method::Other(_) => Self::Other,
        }
    }
}

impl Negotiation {
    /// Returns what is open once the far end's request is taken.
    ///
    /// # Errors
    /// It may not be open with what is (RFC 3261 14.2, RFC 3311 5.2).
    pub fn receive(self, request: Request) -> Result<Self, Refusal> {
        match request {
            Request::Invite | Request::Offer => self.step(Act::ReceiveOffer),
            Request::Refresh | Request::Other => Ok(self),
        }
    }

    /// Returns what is open once our request is out.
    ///
    /// # Errors
    /// It must wait (RFC 3261 14.1, RFC 3311 5.1).
    pub fn send(self, request: Request) -> Result<Self, Refusal> {
        match request {
            Request::Invite | Request::Offer => self.step(Act::SendOffer),
            Request::Refresh | Request::Other => Ok(self),
        }
    }
}

impl Refusal {
    /// Returns what the far end's request gets, and why.
    pub fn answer(self) -> (u16, &'static str) {
        match self {
            Self::Busy => (500, "another offer of theirs is open"),
            Self::Glare | Self::Wait | Self::Unasked => (491, "another offer is open"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dialog::check::assert_rows;

    fn methods() -> [Method; 15] {
        [
            Method::Invite,
            Method::Ack,
            Method::Bye,
            Method::Cancel,
            Method::Options,
            Method::Register,
            Method::Message,
            Method::Info,
            Method::Update,
            Method::Prack,
            Method::Subscribe,
            Method::Notify,
            Method::Refer,
            Method::Publish,
            Method::parse("WAVE"),
        ]
    }

    /// One line an order: what it does to each of `methods`.
    #[test]
    fn every_method_in_every_order() {
        let orders = [
            (Order::First, None, 0),
            (Order::Lower, Some(7), 6),
            (Order::Equal, Some(7), 7),
            (Order::Next, Some(7), 8),
            (Order::Gap, Some(7), 9),
        ];
        for (order, last, cseq) in orders {
            assert_eq!(Order::of(last, cseq), order);
            for method in methods() {
                let expected = match (&method, order) {
                    (Method::Ack | Method::Cancel, _) => Turn::OfInvite,
                    (_, Order::Lower | Order::Equal) => Turn::Stale,
                    (_, Order::First | Order::Next | Order::Gap) => Turn::Take,
                };
                assert_eq!(order.turn(&method), expected, "{order:?} {method:?}");
            }
        }
        assert_eq!(Order::of(Some(0), u32::MAX), Order::Gap);
        assert_eq!(Order::of(Some(u32::MAX), 0), Order::Lower);
    }

    #[test]
    fn these_methods_move_the_target_and_no_other() {
        let moving: Vec<_> = methods().into_iter().filter(refreshes_target).collect();
        assert_eq!(
            moving,
            [
                Method::Invite,
                Method::Update,
                Method::Subscribe,
                Method::Notify,
                Method::Refer
            ]
        );
    }

    #[test]
    fn every_method_in_every_state() {
        let states = [
            Life::Calling,
            Life::Ringing,
            Life::Invited,
            Life::Answered,
            Life::Confirmed,
            Life::Ended,
        ];
        // The columns are those of `states`: t is taken, 2 is our 200, the rest are codes.
        let table = "
            INVITE 500 500 500 t t 481
            ACK 405 405 405 405 405 481
            BYE t t t t t 481
            CANCEL 405 405 405 405 405 481
            OPTIONS 200 200 200 t t 481
            REGISTER 405 405 405 405 405 481
            MESSAGE 500 500 t t t 481
            INFO 500 t t t t 481
            UPDATE 500 t t t t 481
            PRACK 481 481 t t t 481
            SUBSCRIBE 500 500 500 t t 481
            NOTIFY 500 500 500 t t 481
            REFER 500 500 500 t t 481
            PUBLISH 500 500 500 t t 481
            WAVE 500 500 500 t t 481
        ";
        let mut lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
        for method in methods() {
            let cells = states.map(|state| match state.admit(&method) {
                Admission::Take => "t".to_owned(),
                Admission::Here => "200".to_owned(),
                Admission::Refuse(status, _) => status.to_string(),
            });
            let line = format!("{} {}", method.as_str(), cells.join(" "));
            assert_eq!(lines.next(), Some(&*line));
        }
        assert_eq!(lines.next(), None, "the table has more methods");
    }

    const OPEN: [Negotiation; 3] = [Negotiation::Idle, Negotiation::Offered, Negotiation::Asked];
    const REQUESTS: [Request; 4] = [
        Request::Invite,
        Request::Offer,
        Request::Refresh,
        Request::Other,
    ];

    #[test]
    fn every_request_of_theirs_meets_what_is_open() {
        let table = "
            Idle Invite -> Asked
            Idle Offer -> Asked
            Idle Refresh -> Idle
            Idle Other -> Idle

            Offered Invite -> 491
            Offered Offer -> 491
            Offered Refresh -> Offered
            Offered Other -> Offered

            Asked Invite -> 500
            Asked Offer -> 500
            Asked Refresh -> Asked
            Asked Other -> Asked
        ";
        assert_rows(table, &OPEN, &REQUESTS, |open, request| {
            match open.receive(*request) {
                Ok(next) => format!("{next:?}"),
                Err(refusal) => refusal.answer().0.to_string(),
            }
        });
    }

    #[test]
    fn every_request_of_ours_meets_what_is_open() {
        let table = "
            Idle Invite -> Offered
            Idle Offer -> Offered
            Idle Refresh -> Idle
            Idle Other -> Idle

            Offered Invite -> Wait
            Offered Offer -> Wait
            Offered Refresh -> Offered
            Offered Other -> Offered

            Asked Invite -> Wait
            Asked Offer -> Wait
            Asked Refresh -> Asked
            Asked Other -> Asked
        ";
        assert_rows(table, &OPEN, &REQUESTS, |open, request| {
            match open.send(*request) {
                Ok(next) => format!("{next:?}"),
                Err(refusal) => format!("{refusal:?}"),
            }
        });
    }

    #[test]
    fn a_request_is_known_by_method_and_offer() {
        for method in methods() {
            let kinds = [true, false].map(|offers| Request::of(&method, offers));
            let expected = match method.as_str() {
                "INVITE" => [Request::Invite, Request::Invite],
                "UPDATE" => [Request::Offer, Request::Refresh],
                _ => [Request::Other, Request::Other],
            };
            assert_eq!(kinds, expected, "{method:?}");
        }
    }
}
