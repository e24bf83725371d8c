//! What the failure of an in-dialog request does to the dialog (RFC 5057).

use crate::sip::Method;

/// Returns true where the endpoint's dialog with us is gone.
///
/// Narrower than RFC 5057's table 1: 405 and 489 speak of a method, and 480, 482 to 485 and 502 come from
/// proxies that know nothing of the dialog; a probe settles those (design: signals of loss).
pub(crate) fn ends_dialog(status: u16) -> bool {
    matches!(status, 404 | 410 | 430 | 481 | 604)
}

/// Returns true where a failure that reads as the dialog's end speaks of a subscription alone, which an
/// endpoint may not know, or know no longer, while the call goes on (RFC 5057 5.1, RFC 6665 4.1.3).
pub(crate) fn is_of_a_usage(method: &Method, status: u16) -> bool {
    status == 481 && matches!(method, Method::Notify | Method::Subscribe | Method::Refer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_speaks_of_the_dialog_ends_it() {
        let ending: Vec<u16> = (100..700).filter(|status| ends_dialog(*status)).collect();
        assert_eq!(ending, [404, 410, 430, 481, 604]);
    }
}
