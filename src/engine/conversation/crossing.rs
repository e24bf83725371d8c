//! What crosses from one leg to the other, as it came: all that is not the leg's own.

use crate::sip::{Field, Message, Name};

/// Header fields that belong to one leg and never cross to the other (topology hiding, RFC 7092 3.2):
/// transaction and dialog, routes, credentials, and what is agreed hop by hop.
const STAYS: &[Name] = &[
    Name::Via,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::Contact,
    Name::MaxForwards,
    Name::Route,
    Name::RecordRoute,
    Name::ContentLength,
    Name::ContentType,
    Name::Allow,
    Name::Supported,
    Name::Require,
    Name::ProxyRequire,
    Name::Unsupported,
    Name::Authorization,
    Name::ProxyAuthorization,
    Name::ProxyAuthenticate,
    Name::WwwAuthenticate,
    Name::AuthenticationInfo,
    Name::SessionExpires,
    Name::MinSe,
    Name::RSeq,
    Name::RAck,
    Name::Replaces,
    Name::Path,
    Name::ServiceRoute,
    Name::UserAgent,
    Name::Server,
    Name::PAssertedIdentity,
    Name::PPreferredIdentity,
    Name::HistoryInfo,
    Name::Diversion,
    Name::MaxBreadth,
    Name::SessionId,
    Name::Identity,
    Name::Warning,
];

/// Returns the lines of a message that cross to the other leg, each with its line end.
pub(crate) fn crossing(message: &Message) -> Vec<u8> {
    crossing_but(message, |_| false)
}

/// The same without some.
pub(super) fn crossing_but(message: &Message, stays: impl Fn(&Field<'_>) -> bool) -> Vec<u8> {
    let mut lines = Vec::new();
    for field in message.all() {
        if field.name.is_some_and(|name| STAYS.contains(&name)) || stays(&field) {
            continue;
        }
        lines.extend_from_slice(field.raw_name.as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(field.value);
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// As `crossing`, of an answer to a first INVITE that makes no dialog of ours yet: with its Session-ID.
pub(super) fn with_session(mut lines: Vec<u8>, response: &Message) -> Vec<u8> {
    if let Some(session) = response.header(Name::SessionId) {
        let line = format!("{}: {session}\r\n", Name::SessionId.as_str());
        lines.extend_from_slice(line.as_bytes());
    }
    lines
}
