//! What not everybody may say: claims that only a trusted peer makes, and what somebody unknown has no business
//! to ask of a phone, such as to take the call by itself.

use crate::engine::asker::Asker;
use crate::sip::{Field, Message, Name};

/// Claims within a domain of trust: RFC 3325 8, RFC 5002, RFC 5009 7, RFC 5502 6, RFC 6050 4.1, RFC 7315 4, RFC 7316;
/// and Remote-Party-ID, which came before all of these and has phones that believe it.
const OF_TRUSTED: [&str; 14] = [
    "P-Asserted-Identity",
    "P-Asserted-Service",
    "P-Associated-URI",
    "P-Called-Party-ID",
    "P-Charging-Function-Addresses",
    "P-Charging-Vector",
    "P-Early-Media",
    "P-Private-Network-Indication",
    "P-Profile-Key",
    "P-Refused-URI-List",
    "P-Served-User",
    "P-User-Database",
    "P-Visited-Network-ID",
    "Remote-Party-ID",
];

/// Of these, and of what phones say, what is nobody's to know outside of such a domain: RFC 4457, RFC 5002, RFC 5502 6,
/// RFC 6050 4.1, RFC 7315 6, RFC 7316.
const AMONG_TRUSTED: [&str; 9] = [
    "P-Access-Network-Info",
    "P-Asserted-Service",
    "P-Charging-Function-Addresses",
    "P-Charging-Vector",
    "P-Private-Network-Indication",
    "P-Profile-Key",
    "P-Served-User",
    "P-User-Database",
    "P-Visited-Network-ID",
];

/// Orders to a phone, and words on who else wished for the call: RFC 5373 5, RFC 3261 20.4, RFC 3892 6.
const OF_KNOWN: [&str; 4] = [
    "Alert-Info",
    "Answer-Mode",
    "Priv-Answer-Mode",
    "Referred-By",
];

/// Returns true for a header field that does not cross, since nobody can know whether it is true.
pub(crate) fn is_mere_claim(field: &Field<'_>, asker: &Asker) -> bool {
    *asker != Asker::Trusted && is_for_trusted(field) || asker.is_unknown() && is_order(field)
}

/// Returns true for what is believed of trusted peers alone.
pub(crate) fn is_for_trusted(field: &Field<'_>) -> bool {
    is_among(field, &OF_TRUSTED)
}

/// Returns true for what goes to nobody but trusted peers, whoever says it: how networks work and charge, and who
/// somebody is that wishes not to be named by the header field itself (draft-ietf-sip-privacy-04 6.2).
pub(crate) fn is_withheld(field: &Field<'_>) -> bool {
    is_among(field, &AMONG_TRUSTED) || is_party(field) && is_private(field.value)
}

/// Returns true for what names somebody as P-Asserted-Identity does, and is told to whom that would be.
pub(crate) fn is_party(field: &Field<'_>) -> bool {
    is_among(field, &["Remote-Party-ID"])
}

/// A party with a `privacy` other than `off`.
fn is_private(party: &[u8]) -> bool {
    let text = String::from_utf8_lossy(party).to_ascii_lowercase();
    let mut wishes = text.split(';').filter_map(|param| {
        let (name, value) = param.split_once('=')?;
        (name.trim() == "privacy").then(|| value.trim_start_matches([' ', '\t', '"']))
    });
    wishes.any(|wish| !wish.starts_with("off"))
}

/// Returns the lines that the upstream which knows somebody may judge, where we do not know them.
pub(crate) fn for_own_upstream(request: &Message, asker: &Asker) -> Vec<u8> {
    if asker.is_unknown() {
        request.lines_but(|field| !is_order(field))
    } else {
        Vec::new()
    }
}

/// Returns true for what says or asks something that the sender must be known for.
fn is_order(field: &Field<'_>) -> bool {
    // As phones have it that know no Answer-Mode.
    let answers = || {
        field.name == Some(Name::CallInfo)
            && memchr::memmem::find(&field.value.to_ascii_lowercase(), b"answer-after").is_some()
    };
    is_among(field, &OF_KNOWN) || answers()
}

fn is_among(field: &Field<'_>, names: &[&str]) -> bool {
    // By its full name, where it came by the short one.
    let name = field.name.map_or(field.raw_name, |name| name.as_str());
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Aor;

    #[test]
    fn a_party_that_wishes_it_is_withheld() {
        for (party, withheld) in [
            ("<sip:a@b>", false),
            ("\"A\" <sip:a@b>;party=calling;screen=yes", false),
            ("<sip:a@b>;privacy=off;screen=no", false),
            ("<sip:a@b>;privacy=OFF, <sip:c@d>;screen=no", false),
            ("<sip:a@b>;privacy=full", true),
            ("<sip:a@b>;screen=yes; Privacy = \"name,uri\"", true),
            ("<sip:a@b>;privacy=name-network", true),
            ("<sip:a@b>;privacy=off, <sip:c@d>;privacy=uri", true),
        ] {
            let text = String::from_utf8(message().bytes().to_vec()).unwrap();
            let line = format!("remote-party-id: {party}\r\nRemote-Party-ID: \"Boss\"");
            let text = text.replace("Remote-Party-ID: \"Boss\"", &line);
            let message = Message::parse(text.into_bytes().into()).unwrap();
            let left = String::from_utf8(message.lines_but(is_withheld)).unwrap();
            assert_eq!(!left.contains("remote-party-id"), withheld, "{party}");
            assert!(left.contains("Boss"));
        }
    }

    fn message() -> Message {
        let text = "INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
            From: <sip:a@example.org>;tag=1\r\nTo: <sip:bob@example.org>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
            Remote-Party-ID: \"Boss\" <sip:boss@example.org>;screen=yes\r\np-served-user: <sip:b@example.org>\r\n\
            P-Asserted-Identity: <sip:boss@example.org>\r\nPriv-Answer-Mode: Auto\r\nb: <sip:boss@example.org>\r\n\
            Call-Info: <sip:x>;Answer-After=0\r\nCall-Info: <http://example.org/a.png>;purpose=icon\r\n\
            Alert-Info: <http://10.0.0.1/admin>\r\nSubject: hello\r\nContent-Length: 0\r\n\r\n";
        Message::parse(bytes::Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn each_says_what_it_may() {
        let user = || Aor::from_canonical("sip:a@example.org");
        let claims = ["Remote-Party-ID", "p-served-user", "P-Asserted-Identity"];
        let orders = ["Priv-Answer-Mode", "b: ", "Answer-After=0", "Alert-Info"];
        for (asker, claimed, ordered) in [
            (Asker::Trusted, true, true),
            (Asker::Proven(user()), false, true),
            (Asker::Unasked(user()), false, true),
            (Asker::Of("pbx".into()), false, true),
            (Asker::Says("pbx".into()), false, false),
            (Asker::Stranger, false, false),
        ] {
            let message = message();
            let left = message.lines_but(|field| is_mere_claim(field, &asker));
            let left = String::from_utf8(left).unwrap();
            let stands = |words: [&str; 2]| left.contains(&words.concat());
            for name in claims {
                assert_eq!(stands([name, ": "]), claimed, "{asker:?} {name}");
            }
            for name in orders {
                assert_eq!(left.contains(name), ordered, "{asker:?} {name}");
            }
            assert!(left.contains("Subject: hello") && left.contains("purpose=icon"));
            let upstream = String::from_utf8(for_own_upstream(&message, &asker)).unwrap();
            for name in orders {
                assert_eq!(upstream.contains(name), !ordered, "{asker:?} {name}");
            }
            assert!(!upstream.contains("Remote-Party-ID") && !upstream.contains("icon"));
        }
    }
}
