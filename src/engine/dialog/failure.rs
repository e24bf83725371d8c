//! What the failure of a request within a dialog does to the dialog (RFC 5057).

use crate::sip::Method;

/// What ends with a failure (RFC 5057 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The request alone.
    Transaction,
    /// What the request is part of: the call, or a subscription.
    Usage,
    /// All that the two have with each other.
    Dialog,
}

/// What is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Whoever sent it is there.
    Stands,
    /// It may come of a proxy that knows nothing of the dialog, or speaks of a subscription only: a probe
    /// settles it.
    Doubt,
    /// The endpoint has no such dialog any more.
    Gone,
}

/// Returns what ends with a final response that is no 2xx.
#[rustfmt::skip]
pub fn ends(status: u16) -> Ends {
    match status {
        // The target, or the dialog, is not there.
        404 | 410 | 416 | 430 | 482 | 483 | 484 | 485 | 502 | 604 => Ends::Dialog,
        405 | 408 | 480 | 481 | 489 | 501 => Ends::Usage,
        // Where it went it says where to, or it must be asked otherwise; who is unknown is one of these.
        ..400
        | 400..=403 | 406 | 407 | 409 | 411..=415 | 417..=429 | 431..=479 | 486..=488 | 490..=499
        | 500 | 503..=599 | 600..=603 | 605.. => Ends::Transaction,
    }
}

/// Returns what a failure of a request of ours means for the endpoint's dialog with us.
#[rustfmt::skip]
pub fn verdict(method: &Method, status: u16) -> Verdict {
    match (ends(status), status) {
        (Ends::Transaction, _) => Verdict::Stands,
        // RFC 5057 5.2, RFC 6665 4.1.3: of a subscription that it knows no longer, while the call goes on.
        (Ends::Usage, 481) if is_of_a_subscription(method) => Verdict::Doubt,
        (Ends::Usage, 481) => Verdict::Gone,
        // It has never heard of the method, or of the event: the call is no part of that.
        (Ends::Usage, 405 | 489 | 501) => Verdict::Stands,
        (Ends::Usage, _) => Verdict::Doubt,
        (Ends::Dialog, 404 | 410 | 430 | 604) => Verdict::Gone,
        // The hops were the other side's, and few.
        (Ends::Dialog, 483) => Verdict::Stands,
        (Ends::Dialog, _) => Verdict::Doubt,
    }
}

/// Returns true for what ends more for who hears it than its request: its dialog, or the call in it.
#[rustfmt::skip]
pub fn ends_the_call(method: &Method, status: u16) -> bool {
    match (ends(status), status) {
        (Ends::Transaction, _) => false,
        (Ends::Usage, 481) => !is_of_a_subscription(method),
        (Ends::Usage, 405 | 489 | 501) => false,
        (Ends::Usage | Ends::Dialog, _) => true,
    }
}

fn is_of_a_subscription(method: &Method) -> bool {
    match method {
        Method::Notify | Method::Subscribe | Method::Refer => true,
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Message
        | Method::Info
        | Method::Update
        | Method::Prack
        | Method::Publish
        | Method::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5057 5.1: whatever is not named here ends the transaction alone.
    #[test]
    fn what_ends_with_each_code() {
        let named = [
            (404, Ends::Dialog),
            (405, Ends::Usage),
            (408, Ends::Usage),
            (410, Ends::Dialog),
            (416, Ends::Dialog),
            // RFC 5626 11.2: the flow is gone, and with it the way to whoever had the dialog.
            (430, Ends::Dialog),
            (480, Ends::Usage),
            (481, Ends::Usage),
            (482, Ends::Dialog),
            (483, Ends::Dialog),
            (484, Ends::Dialog),
            (485, Ends::Dialog),
            (489, Ends::Usage),
            (501, Ends::Usage),
            (502, Ends::Dialog),
            (604, Ends::Dialog),
        ];
        for status in 300..700 {
            let known = named.iter().find(|(known, _)| *known == status);
            let expected = known.map_or(Ends::Transaction, |(_, ends)| *ends);
            assert_eq!(ends(status), expected, "{status}");
        }
    }

    #[test]
    fn what_is_made_of_each_code() {
        let of = |method: &Method, verdict_of: Verdict| -> Vec<u16> {
            let all = 300..700;
            all.filter(|status| verdict(method, *status) == verdict_of)
                .collect()
        };
        for method in [
            Method::Invite,
            Method::Update,
            Method::Info,
            Method::Message,
        ] {
            assert_eq!(of(&method, Verdict::Gone), [404, 410, 430, 481, 604]);
            assert_eq!(
                of(&method, Verdict::Doubt),
                [408, 416, 480, 482, 484, 485, 502]
            );
        }
        for method in [Method::Notify, Method::Subscribe, Method::Refer] {
            assert_eq!(of(&method, Verdict::Gone), [404, 410, 430, 604]);
            assert_eq!(
                of(&method, Verdict::Doubt),
                [408, 416, 480, 481, 482, 484, 485, 502]
            );
        }
    }

    #[test]
    fn what_ends_a_call_for_who_hears_it() {
        for (method, of_the_call) in [
            (Method::Invite, true),
            (Method::Info, true),
            (Method::Message, true),
            (Method::Notify, false),
        ] {
            let ends: Vec<u16> = (300..700)
                .filter(|status| ends_the_call(&method, *status))
                .collect();
            let known = [
                404, 408, 410, 416, 430, 480, 481, 482, 483, 484, 485, 502, 604,
            ];
            let known = known.iter().copied();
            let known: Vec<u16> = known.filter(|s| of_the_call || *s != 481).collect();
            assert_eq!(ends, known, "{method:?}");
        }
    }
}
