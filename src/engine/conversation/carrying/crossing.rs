//! What crosses from one leg to the other, as it came: all that is not the leg's own.

use crate::engine::asker::Asker;
use crate::engine::conversation::people::claims::is_mere_claim;
use crate::sip::{Field, Message, Name};

/// Signatures of one request that are handed on: a call that was diverted has one for each time (RFC 8946).
const SIGNATURES_MAX: usize = 5;
/// Octets that are kept of what one user tells the other; the RFC's own use of it has 256.
const FOR_USER_MAX: usize = 1024;

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

/// Returns the lines of a message of `sender` that cross to the other leg, each with its line end.
pub(crate) fn crossing(message: &Message, sender: &Asker) -> Vec<u8> {
    crossing_but(message, sender, |_| false)
}

/// The same without some.
pub(crate) fn crossing_but(
    message: &Message,
    sender: &Asker,
    stays: impl Fn(&Field<'_>) -> bool,
) -> Vec<u8> {
    message.lines_but(|field| {
        field.name.is_some_and(|name| STAYS.contains(&name))
            || is_mere_claim(field, sender)
            || stays(field)
    })
}

/// Returns the lines of a request that sign who sends it (RFC 8224); they cross where what they sign does.
pub(crate) fn signature(request: &Message) -> Vec<u8> {
    let signatures = request.raw_fields(Name::Identity).take(SIGNATURES_MAX);
    let lines =
        signatures.flat_map(|value| [Name::Identity.as_str().as_bytes(), b": ", value, b"\r\n"]);
    lines.flatten().copied().collect()
}

/// Returns the lines of an INVITE that name a dialog of an upstream's, for it to replace (RFC 3891 4), and that
/// demand that it does so.
pub(crate) fn replacing(request: &Message) -> Vec<u8> {
    let Some(replaces) = request.header(Name::Replaces) else {
        return Vec::new();
    };
    let mut lines = format!("{}: {replaces}\r\n", Name::Replaces.as_str());
    if request.has_token(Name::Require, "replaces") {
        lines.push_str(Name::Require.as_str());
        lines.push_str(": replaces\r\n");
    }
    lines.into_bytes()
}

/// Returns true where an INVITE would join a dialog of who is called (RFC 3911): that one's phone has it under the
/// ids of its leg with us, as it told them, and the header crosses as it came.
pub(crate) fn joins(request: &Message) -> bool {
    let mut fields = request.all();
    fields.any(|field| field.raw_name.eq_ignore_ascii_case("Join"))
}

/// Returns the line by which it demands that.
pub(crate) fn joining(request: &Message) -> &'static [u8] {
    if joins(request) && request.has_token(Name::Require, "join") {
        b"Require: join\r\n"
    } else {
        b""
    }
}

/// Returns the lines by which one user tells the other something at the beginning (RFC 7433).
pub(crate) fn for_user(request: &Message) -> Box<[u8]> {
    const NAME: &str = "User-to-User";
    let fields = request
        .all()
        .filter(|field| field.raw_name.eq_ignore_ascii_case(NAME));
    let lines = fields.flat_map(|field| [NAME.as_bytes(), b": ", field.value, b"\r\n"]);
    let lines: Vec<u8> = lines.flatten().copied().collect();
    match lines.len() {
        ..=FOR_USER_MAX => lines.into(),
        _ => Box::default(),
    }
}

/// As `crossing`, of an answer to a first INVITE that makes no dialog of ours yet: with its Session-ID.
pub(crate) fn with_session(mut lines: Vec<u8>, response: &Message) -> Vec<u8> {
    if let Some(session) = response.header(Name::SessionId) {
        let line = format!("{}: {session}\r\n", Name::SessionId.as_str());
        lines.extend_from_slice(line.as_bytes());
    }
    lines
}
