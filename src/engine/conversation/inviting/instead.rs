//! Whom or what a refusal names in the place of who was called.

use crate::engine::conversation::session::enclosed::sdp_of;
use crate::sip::{Message, Name};

/// Returns true for a refusal whose Contacts are others who can be called (RFC 3261 8.1.3.4, 21.4.23).
pub(super) fn names_others(status: u16) -> bool {
    matches!(status, 300..=304 | 306..=399 | 485)
}

/// Returns the body by which a refusal says what there is instead (RFC 3261 21.3.1, 21.3.5). A session in it is
/// that of who refuses, and goes no further.
pub(super) fn choices(response: &Message) -> Option<(Box<str>, Vec<u8>)> {
    let says = matches!(response.status(), 300 | 380) && !response.body().is_empty();
    let content_type = response.content_type().filter(|_| says)?;
    sdp_of(response)
        .is_none()
        .then(|| (content_type.into(), response.body().to_vec()))
}

/// Returns where a redirection points (RFC 3261 8.1.3.4): the one Contact that is meant for who asked.
pub(super) fn contacts(response: &Message) -> Vec<u8> {
    response
        .values(Name::Contact)
        .flat_map(|contact| format!("Contact: {contact}\r\n").into_bytes())
        .collect()
}
