//! What a REFER asks for (RFC 3515 2.1, RFC 3892, RFC 4488).

use std::fmt::Write;

use crate::engine::conversation::context::Context;
use crate::engine::dialog::name_addr;
use crate::engine::refusal::Refusal;
use crate::sip::{Address, Message, Name, Scheme, Uri};

/// Header components of a Refer-To that are looked at.
const FIELDS_MAX: usize = 16;
/// Octets of one that is taken over.
const FIELD_MAX: usize = 512;

/// Those that may come with a transferred call: what it is about, and whom it is meant to reach. Identity,
/// routes, credentials and bodies are ours to write.
const TAKEN: [Name; 8] = [
    Name::Subject,
    Name::AlertInfo,
    Name::CallInfo,
    Name::AcceptContact,
    Name::RejectContact,
    Name::RequestDisposition,
    Name::AcceptLanguage,
    Name::ReplyTo,
];

/// A REFER that can be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refer {
    /// The Request-URI of the INVITE: without method and header components.
    pub(super) target: Box<str>,
    /// Name-addr of who is called.
    pub(super) address: Box<str>,
    /// The dialog that is to be replaced at the target (RFC 3891).
    pub(super) replaces: Option<Box<str>>,
    /// Header lines for the INVITE, each with its line end.
    pub(super) lines: Vec<u8>,
    /// The sender wants to be told what becomes of it.
    pub(super) subscribes: bool,
}

const UNREADABLE: Refusal = Refusal::new(400, "Refer-To that cannot be read");
/// RFC 3515 2.4.2. A code that speaks of the Request-URI would end the dialog (RFC 5057 5.1).
const DECLINED: Refusal = Refusal::new(603, "REFER for anything but a call");

/// Reads a REFER.
///
/// # Errors
/// Not one Refer-To, or one that cannot be read: 400. Another method than INVITE, another scheme than
/// SIP's or `tel`: 603.
pub(super) fn read(request: &Message) -> Result<Refer, Refusal> {
    let mut values = request.values(Name::ReferTo);
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err((400, "REFER without its one Refer-To").into());
    };
    let address = Address::parse(value).map_err(|_| UNREADABLE)?;
    let uri = address.uri_parsed().map_err(|_| UNREADABLE)?;
    let method = uri.params.value("method");
    if method.is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
        return Err(DECLINED);
    }
    let target = bare(&uri).ok_or(DECLINED)?;
    let mut lines = Vec::new();
    let mut replaces = None;
    for (name, value) in uri.header_fields().take(FIELDS_MAX) {
        // Nothing may begin a line of its own.
        if value.len() > FIELD_MAX || value.chars().any(char::is_control) {
            return Err((400, "header in a Refer-To that cannot be written").into());
        }
        if name.eq_ignore_ascii_case(Name::Replaces.as_str()) {
            replaces = Some(value.into());
        } else if let Some(name) = TAKEN
            .iter()
            .find(|known| name.eq_ignore_ascii_case(known.as_str()))
        {
            lines.extend_from_slice(format!("{}: {}\r\n", name.as_str(), value.trim()).as_bytes());
        }
    }
    let named = Address {
        uri: &target,
        ..address
    };
    Ok(Refer {
        address: name_addr(&named),
        target: target.clone(),
        replaces,
        lines,
        subscribes: !request.has_token(Name::ReferSub, "false"),
    })
}

/// Writes a URI without what is for a REFER only.
pub(crate) fn bare(uri: &Uri<'_>) -> Option<Box<str>> {
    let scheme = match uri.scheme {
        Scheme::Sip => "sip:",
        Scheme::Sips => "sips:",
        Scheme::Tel => "tel:",
        Scheme::Other(_) => return None,
    };
    let mut text = scheme.to_owned();
    text.push_str(uri.user.unwrap_or(""));
    if uri.scheme != Scheme::Tel {
        if uri.user.is_some() {
            text.push('@');
        }
        if uri.host.contains(':') {
            text.extend(["[", uri.host, "]"]);
        } else {
            text.push_str(uri.host);
        }
        if let Some(port) = uri.port {
            let _ = write!(text, ":{port}");
        }
    }
    let is_method = |param: &&str| {
        let name = param.split('=').next().unwrap_or("");
        name.trim().eq_ignore_ascii_case("method")
    };
    for param in uri.params.raw().filter(|param| !is_method(param)) {
        text.push(';');
        text.push_str(param);
    }
    Some(text.into())
}

/// Writes who transfers (RFC 3892 3): as the network knows it, whatever the REFER claims.
pub(super) fn referred_by(transferor: &str) -> String {
    let address = Address::parse(transferor);
    let uri = address.map_or(transferor, |address| address.uri);
    format!("{}: <{uri}>\r\n", Name::ReferredBy.as_str())
}

impl Context<'_> {
    /// Takes a REFER (RFC 3515 2.4.2): the sender is told by NOTIFY what becomes of it, or not at all
    /// (RFC 4488 4).
    pub(super) fn accept_refer(
        &mut self,
        server: crate::engine::transaction::ServerId,
        contact: &str,
        subscribes: bool,
    ) {
        self.respond(server, 202, "Accepted", None, |builder| {
            let builder = builder.header(Name::Contact, contact);
            if subscribes {
                builder.end()
            } else {
                builder.header(Name::ReferSub, "false").end()
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Builder, Method};

    fn refer(lines: &[(Name, &str)]) -> Message {
        let mut builder = Builder::request(&Method::Refer, "sip:a@example.org")
            .header(Name::Via, "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1")
            .header(Name::From, "<sip:b@example.org>;tag=1")
            .header(Name::To, "<sip:a@example.org>;tag=2")
            .header(Name::CallId, "x")
            .header(Name::CSeq, "1 REFER");
        for (name, value) in lines {
            builder = builder.header(*name, value);
        }
        Message::parse(builder.end()).unwrap()
    }

    fn to(value: &str) -> Result<Refer, Refusal> {
        read(&refer(&[(Name::ReferTo, value)]))
    }

    #[test]
    fn a_target_comes_without_what_is_for_the_refer() {
        for (value, target, address) in [
            (
                "<sip:c@example.org>",
                "sip:c@example.org",
                "<sip:c@example.org>",
            ),
            (
                "Carol <sip:c@example.org:5070;transport=tcp;method=INVITE?Subject=x>",
                "sip:c@example.org:5070;transport=tcp",
                "\"Carol\" <sip:c@example.org:5070;transport=tcp>",
            ),
            (
                "sip:c@[2001:db8::1]",
                "sip:c@[2001:db8::1]",
                "<sip:c@[2001:db8::1]>",
            ),
            (
                "<tel:+431234;phone-context=x>",
                "tel:+431234;phone-context=x",
                "<tel:+431234;phone-context=x>",
            ),
            ("<sip:192.0.2.1>", "sip:192.0.2.1", "<sip:192.0.2.1>"),
        ] {
            let refer = to(value).unwrap();
            assert_eq!((&*refer.target, &*refer.address), (target, address));
            assert!(refer.subscribes);
        }
    }

    #[test]
    fn only_known_headers_are_taken_over_and_none_begins_a_line() {
        let refer = to(
            "<sip:c@example.org?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2&subject=a%20word&From=sip%3Aevil%40x&\
             Route=%3Csip%3Ax%3E&body=v%3D0&Authorization=x>",
        )
        .unwrap();
        assert_eq!(refer.replaces.as_deref(), Some("x;to-tag=1;from-tag=2"));
        assert_eq!(refer.lines, b"Subject: a word\r\n");
        for hostile in [
            "<sip:c@example.org?Subject=a%0D%0ARoute%3A%20x>",
            "<sip:c@example.org?Replaces=x%00>",
        ] {
            assert_eq!(to(hostile).unwrap_err().status, 400, "{hostile}");
        }
        let long = format!("<sip:c@example.org?Subject={}>", "x".repeat(FIELD_MAX + 1));
        assert_eq!(to(&long).unwrap_err().status, 400);
    }

    #[test]
    fn what_is_no_call_is_declined_and_the_dialog_stands() {
        assert_eq!(read(&refer(&[])).unwrap_err().status, 400);
        let twice = [
            (Name::ReferTo, "<sip:c@example.org>"),
            (Name::ReferTo, "<sip:d@example.org>"),
        ];
        assert_eq!(read(&refer(&twice)).unwrap_err().status, 400);
        assert_eq!(to("<not a uri>").unwrap_err().status, 400);
        assert_eq!(to("<sip:c@example.org;method=BYE>").unwrap_err(), DECLINED);
        assert_eq!(to("<http://example.org/>").unwrap_err(), DECLINED);
    }

    #[test]
    fn a_sender_may_wish_to_hear_nothing_of_it() {
        let silent = [
            (Name::ReferTo, "<sip:c@example.org>"),
            (Name::ReferSub, "false"),
        ];
        assert!(!read(&refer(&silent)).unwrap().subscribes);
    }
}
