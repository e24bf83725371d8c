//! URIs that name one device of a user, from wherever they are asked for (RFC 5627): the address of record with
//! the instance in `gr`. They are made of the two alone, so nothing is kept of them, and they stay what they are.
//!
//! Temporary ones, which hide the user, are in `temporary`.

use std::fmt::Write;

use super::aor::unescaped;
use crate::engine::endpoint::{Binding, Identity};
use crate::engine::ids::Aor;
use crate::sip::{Message, Name, Uri};

/// What a URI says of the device that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// Any of the user's.
    Any,
    /// The one with this instance.
    Instance(Box<str>),
    /// One that does not show which.
    Temporary,
    /// One that no URI of ours names.
    Nobody,
}

/// Reads whom a URI of a domain of ours means (RFC 5627 3.3, 6.1).
pub(crate) fn meant(uri: &Uri<'_>) -> Meant {
    if !uri.params.has("gr") {
        return Meant::Any;
    }
    match uri.params.value("gr") {
        None => Meant::Temporary,
        Some(value) => instance(value).map_or(Meant::Nobody, Meant::Instance),
    }
}

/// Returns true for a URI that is to show neither the user nor the device (RFC 5627 3.1.2).
pub(crate) fn hides(uri: &Uri<'_>) -> bool {
    meant(uri) == Meant::Temporary
}

/// Reads the `gr` parameter where it holds the instance itself, in lower case.
pub(super) fn instance(value: &str) -> Option<Box<str>> {
    let urn = String::from_utf8(unescaped(value.as_bytes())).ok()?;
    let urn = urn.to_ascii_lowercase();
    urn.starts_with("urn:").then(|| urn.into())
}

/// Returns true where a REGISTER asks for GRUUs, or must be understood to (RFC 5627 5.1, 5.2).
pub(super) fn asks(request: &Message) -> bool {
    request.has_token(Name::Supported, "gruu") || request.has_token(Name::Require, "gruu")
}

/// Returns the public GRUU of a binding of this user (RFC 5627 5.4); none where its instance is no URN.
pub(super) fn public(user: &Aor, binding: &Binding) -> Option<String> {
    let Identity::Instance(instance) = &*binding.endpoint.identity else {
        return None;
    };
    if !instance.starts_with("urn:") {
        return None;
    }
    let mut uri = format!("{user};gr=");
    for byte in instance.bytes() {
        // RFC 3261 25.1: what a URI parameter may hold as it is.
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    Some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_by_a_uri() {
        let device = |text: &str| Meant::Instance(text.into());
        for (uri, expected) in [
            ("sip:bob@example.org", Meant::Any),
            ("sip:bob@example.org;gr=urn:uuid:0A", device("urn:uuid:0a")),
            (
                "sip:bob@example.org;transport=tcp;GR=urn%3auuid%3A0a",
                device("urn:uuid:0a"),
            ),
            ("sip:bob@example.org;gr=urn:x:a%20b", device("urn:x:a b")),
            ("sip:bob@example.org;gr=kjh29x97us97d", Meant::Nobody),
            ("sip:tgruu.7hs@example.org;gr", Meant::Temporary),
            ("sip:bob@example.org;gr=", Meant::Nobody),
            ("sip:bob@example.org;gr=%FF", Meant::Nobody),
        ] {
            assert_eq!(meant(&Uri::parse(uri).unwrap()), expected, "{uri}");
        }
    }
}
