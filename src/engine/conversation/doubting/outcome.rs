//! What is heard of an endpoint by the answers to our requests (RFC 5057).

use crate::engine::dialog::failure::{Verdict, ends_the_call, verdict};
use crate::sip::Method;

/// Returns true where the endpoint's dialog with us is gone, by the answer to a request of the call.
pub(crate) fn ends_dialog(status: u16) -> bool {
    status >= 300 && verdict(&Method::Invite, status) == Verdict::Gone
}

/// What the sender of a request is told by which a phone has denied a dialog that it has: no code that ends one.
pub(crate) const NOT_TAKEN: u16 = 488;

/// Returns true where an answer shows that the endpoint lives, and is no proxy's word that it is away.
pub(crate) fn shows_life(status: u16) -> bool {
    // A 503 or 504 ends no more than the request, but is no endpoint's.
    status < 300
        || !matches!(status, 503 | 504) && verdict(&Method::Invite, status) == Verdict::Stands
}

/// Returns true for what somebody on the way says of a device, or of itself.
pub(crate) fn is_away(status: u16) -> bool {
    matches!(status, 408 | 480 | 503 | 504)
}

/// Returns what is handed on to the other side for a failure. A 503 speaks of that endpoint alone, and would
/// stop all that the other has to do with us (RFC 3261 16.7 step 6). A challenge that does not cross is for us:
/// the other side has no credentials for it, and must not be told to try some (RFC 3261 21.4.2 wants the
/// challenge with it).
pub(crate) fn for_the_other_side(status: u16, challenge_crosses: bool) -> u16 {
    match status {
        503 => 500,
        401 | 407 if !challenge_crosses => 403,
        _ => status,
    }
}

/// The same for a request within a dialog: what ends that, or the call in it, is said of the leg where it was heard,
/// and the other one stands. It hears that its request failed, and may come again (RFC 5057 5.1, RFC 3261 12.2.1.2).
pub(crate) fn for_the_other_leg(method: &Method, status: u16, challenge_crosses: bool) -> u16 {
    if ends_the_call(method, status) {
        return 500;
    }
    for_the_other_side(status, challenge_crosses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_speaks_of_the_dialog_ends_it() {
        let ending: Vec<u16> = (100..700).filter(|status| ends_dialog(*status)).collect();
        assert_eq!(ending, [404, 410, 430, 481, 604]);
    }

    #[test]
    fn a_proxys_word_is_no_sign_of_life() {
        let away: Vec<u16> = (200..700).filter(|status| !shows_life(*status)).collect();
        assert_eq!(
            away,
            [
                404, 408, 410, 416, 430, 480, 481, 482, 484, 485, 502, 503, 504, 604
            ]
        );
    }

    #[test]
    fn what_is_for_us_alone_is_not_handed_on() {
        let changed: Vec<(u16, u16)> = (300..700)
            .map(|status| (status, for_the_other_side(status, false)))
            .filter(|(heard, told)| heard != told)
            .collect();
        assert_eq!(changed, [(401, 403), (407, 403), (503, 500)]);
    }

    #[test]
    fn what_ends_a_dialog_is_no_word_for_the_other_one() {
        let told = |status| for_the_other_leg(&Method::Info, status, false);
        let later: Vec<u16> = (300..700).filter(|status| told(*status) == 500).collect();
        assert_eq!(
            later,
            [
                404, 408, 410, 416, 430, 480, 481, 482, 483, 484, 485, 500, 502, 503, 604
            ]
        );
        assert_eq!((told(407), told(488)), (403, 488));
    }
}
