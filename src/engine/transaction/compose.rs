//! The messages that the layer writes by itself.

use std::net::SocketAddr;

use bytes::Bytes;

use super::lookup::Lookup;
use crate::sip::{Builder, Message, Method, Name, reason_phrase};

const MAX_FORWARDS: u8 = 70;
/// What a client is told to wait where there is no room for its request, in seconds.
const RETRY_AFTER: u8 = 10;

/// Returns the ACK of a failure (RFC 3261 17.1.1.3).
pub(super) fn ack(invite: &Message, failure: &Message) -> Bytes {
    beside(invite, &Method::Ack)
        .header(Name::To, failure.header(Name::To).unwrap_or(""))
        .end()
}

/// Returns the CANCEL of an INVITE (RFC 3261 9.1), with the value of a Reason header.
pub(super) fn cancel(invite: &Message, reason: Option<&str>) -> Bytes {
    let mut cancel = beside(invite, &Method::Cancel).copy(invite, Name::To);
    if let Some(reason) = reason {
        cancel = cancel.header(Name::Reason, reason);
    }
    cancel.end()
}

/// Returns a 100 (RFC 3261 8.2.6.1).
pub(super) fn trying(request: &Message, source: SocketAddr) -> Bytes {
    Builder::respond(request, 100, reason_phrase(100), None, source)
        .copy(request, Name::Timestamp)
        .end()
}

/// Returns a final response with `tag` in its To, else with one that is the same for the same request.
pub(super) fn answer(
    request: &Message,
    status: u16,
    tag: Option<&str>,
    source: SocketAddr,
) -> Bytes {
    let own = tag.is_none().then(|| Lookup::tag(request));
    let tag = tag.or(own.as_deref());
    let response = Builder::respond(request, status, reason_phrase(status), tag, source);
    match status {
        503 => response.header(Name::RetryAfter, RETRY_AFTER).end(),
        _ => response.end(),
    }
}

/// Returns a 503 to a request that may come again after so many seconds (RFC 3261 20.33).
pub(super) fn put_off(request: &Message, seconds: u64, source: SocketAddr) -> Bytes {
    let tag = Lookup::tag(request);
    Builder::respond(request, 503, reason_phrase(503), Some(&tag), source)
        .header(Name::RetryAfter, seconds)
        .end()
}

/// Begins what goes the same way as an INVITE, to whatever it reached.
fn beside(invite: &Message, method: &Method) -> Builder {
    Builder::request(method, invite.uri())
        .header(Name::Via, invite.vias().next().unwrap_or(""))
        .header(Name::MaxForwards, MAX_FORWARDS)
        .copy(invite, Name::Route)
        .copy(invite, Name::From)
        .copy(invite, Name::CallId)
        .header(
            Name::CSeq,
            format_args!("{} {}", invite.cseq(), method.as_str()),
        )
}
