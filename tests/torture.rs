//! The torture messages of RFC 4475 and RFC 5118: what the message layer makes of each.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

use std::path::Path;

use bytes::Bytes;
use refork::sip::{Contacts, Message, Method, Name, Uri};

/// What a message must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A message that is worked with.
    Taken,
    /// Refused with one of these, and answerable.
    Refused(&'static [u16]),
    /// A response, or nonsense: nothing is sent, whether it parses or not.
    Swallowed,
}

use Fate::{Refused, Swallowed, Taken};

const TABLE: &[(&str, Fate)] = &[
    ("rfc4475/wsinv", Taken),
    ("rfc4475/intmeth", Taken),
    ("rfc4475/esc01", Taken),
    ("rfc4475/escnull", Taken),
    ("rfc4475/esc02", Taken),
    ("rfc4475/lwsdisp", Taken),
    ("rfc4475/longreq", Taken),
    ("rfc4475/dblreq", Taken),
    ("rfc4475/semiuri", Taken),
    ("rfc4475/transports", Taken),
    ("rfc4475/mpart01", Taken),
    ("rfc4475/unreason", Swallowed),
    ("rfc4475/noreason", Swallowed),
    ("rfc4475/badinv01", Refused(&[400])),
    ("rfc4475/clerr", Refused(&[400])),
    ("rfc4475/ncl", Refused(&[400])),
    ("rfc4475/scalar02", Refused(&[400])),
    ("rfc4475/scalarlg", Swallowed),
    ("rfc4475/quotbal", Refused(&[400])),
    ("rfc4475/ltgtruri", Refused(&[400])),
    ("rfc4475/lwsruri", Refused(&[400])),
    ("rfc4475/lwsstart", Refused(&[400])),
    ("rfc4475/trws", Refused(&[400])),
    ("rfc4475/escruri", Refused(&[400])),
    ("rfc4475/baddate", Refused(&[400])),
    ("rfc4475/regbadct", Refused(&[400])),
    ("rfc4475/badaspec", Refused(&[400])),
    ("rfc4475/baddn", Refused(&[400])),
    ("rfc4475/badvers", Refused(&[505])),
    ("rfc4475/mismatch01", Refused(&[400])),
    ("rfc4475/mismatch02", Refused(&[400])),
    ("rfc4475/bigcode", Swallowed),
    ("rfc4475/badbranch", Taken),
    ("rfc4475/insuf", Refused(&[400])),
    // The next four are the routing layer's to refuse.
    ("rfc4475/unkscm", Taken),
    ("rfc4475/novelsc", Taken),
    ("rfc4475/unksm2", Taken),
    ("rfc4475/bext01", Taken),
    ("rfc4475/invut", Taken),
    ("rfc4475/regaut01", Taken),
    ("rfc4475/multi01", Refused(&[400])),
    ("rfc4475/mcl01", Refused(&[400])),
    ("rfc4475/bcast", Swallowed),
    ("rfc4475/zeromf", Taken),
    ("rfc4475/cparam01", Taken),
    ("rfc4475/cparam02", Taken),
    ("rfc4475/regescrt", Taken),
    ("rfc4475/sdp01", Taken),
    ("rfc4475/inv2543", Taken),
    ("rfc5118/ipv6-good", Taken),
    ("rfc5118/ipv6-bad", Refused(&[400])),
    ("rfc5118/port-ambiguous", Taken),
    ("rfc5118/port-unambiguous", Taken),
    ("rfc5118/via-received-param-with-delim", Taken),
    ("rfc5118/via-received-param-no-delim", Taken),
    ("rfc5118/ipv6-in-sdp", Taken),
    ("rfc5118/mult-ip-in-header", Taken),
    ("rfc5118/mult-ip-in-sdp", Taken),
    ("rfc5118/ipv4-mapped-ipv6", Taken),
    ("rfc5118/ipv6-bug-abnf-3-colons", Refused(&[400])),
    ("rfc5118/ipv6-correct-abnf-2-colons", Taken),
];

fn load(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/torture")
        .join(name)
        .with_extension("dat");
    Bytes::from(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

#[test]
fn every_file_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut files: Vec<String> = ["rfc4475", "rfc5118"]
        .iter()
        .flat_map(|rfc| std::fs::read_dir(root.join(rfc)).unwrap())
        .map(|entry| entry.unwrap().path())
        .map(|path| path.strip_prefix(&root).unwrap().with_extension(""))
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    let mut table: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    files.sort();
    table.sort_unstable();
    assert_eq!(table, files);
    assert_eq!(table.len(), 61);
}

#[test]
fn every_message_meets_its_fate() {
    let mut wrong = Vec::new();
    for (name, fate) in TABLE {
        let parsed = Message::parse(load(name));
        let right = match (fate, &parsed) {
            (Taken, Ok(message)) => message.is_request(),
            (Refused(statuses), Err(malformed)) => {
                statuses.contains(&malformed.status) && malformed.salvaged.is_some()
            }
            (Swallowed, Ok(message)) => !message.is_request(),
            (Swallowed, Err(malformed)) => malformed.salvaged.is_none(),
            (Taken, Err(_)) | (Refused(_), Ok(_)) => false,
        };
        if !right {
            wrong.push(format!(
                "{name}: {fate:?}, but {:?}",
                parsed.map(|m| m.uri().to_owned())
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_short_tortuous_invite_is_read_right() {
    let message = Message::parse(load("rfc4475/wsinv")).unwrap();
    assert_eq!(*message.method(), Method::Invite);
    assert_eq!(
        message.uri(),
        "sip:vivekg@chair-dnrc.example.com;unknownparam"
    );
    assert_eq!(message.cseq(), 9);
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.call_id(), "wsinv.ndaksdj@192.0.2.1");
    assert_eq!(message.from_tag(), Some("98asjd8"));
    assert_eq!(message.to_tag(), Some("1918181833n"));
    assert_eq!(message.vias().count(), 3);
    assert_eq!(message.branch(), Some("390skdjuw"));
    assert_eq!(message.header(Name::Subject), Some(""));
    assert_eq!(message.from().display.as_deref(), Some("J Rosenberg \\\""));
    let Contacts::List(contacts) = message.contacts().unwrap() else {
        panic!("no contact")
    };
    assert_eq!(contacts.len(), 1);
    assert_eq!(
        message
            .other("NewFangledHeader")
            .map(|v| v.contains("newfangled value")),
        Some(true)
    );
}

#[test]
fn unusual_values_are_read_right() {
    let message = Message::parse(load("rfc4475/intmeth")).unwrap();
    assert!(
        matches!(message.method(), Method::Other(name) if name.starts_with("!interesting-Method0123456789_*+`.%indeed'~"))
    );
    let message = Message::parse(load("rfc4475/dblreq")).unwrap();
    assert_eq!(*message.method(), Method::Register);
    assert!(message.body().is_empty());
    let message = Message::parse(load("rfc4475/escnull")).unwrap();
    let Contacts::List(contacts) = message.contacts().unwrap() else {
        panic!("no contact")
    };
    assert_eq!(contacts[0].uri_parsed().unwrap().user_unescaped(), "\0");
    let message = Message::parse(load("rfc4475/mpart01")).unwrap();
    assert!(message.body().contains(&0x30) && message.body().len() > 500);
    let message = Message::parse(load("rfc5118/ipv6-good")).unwrap();
    assert_eq!(
        Uri::parse(message.uri()).unwrap().host_ip(),
        Some("2001:db8::10".parse().unwrap())
    );
    let message = Message::parse(load("rfc5118/port-unambiguous")).unwrap();
    assert_eq!(Uri::parse(message.uri()).unwrap().port, Some(5070));
}

#[test]
fn no_mutation_panics() {
    // A small generator of its own: the same mutations at every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut taken = 0;
    for (name, _) in TABLE {
        let original = load(name);
        for _ in 0..400 {
            let mut bytes = original.to_vec();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] = random(256) as u8,
                    1 => bytes.truncate(at.max(1)),
                    2 => {
                        bytes.insert(at, b"\r\n:;,<>\"@ \0\xff"[random(12)]);
                    }
                    _ => {
                        let to = at + random(bytes.len() - at);
                        let piece = bytes[at..to].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            if let Ok(message) = Message::parse(Bytes::from(bytes)) {
                taken += 1;
                touch(&message);
            }
        }
    }
    assert!(
        taken > 1000,
        "only {taken} mutations parsed: nothing was tried"
    );
}

/// Asks a message for everything it can tell.
fn touch(message: &Message) {
    let _ = (
        message.uri(),
        message.reason_phrase(),
        message.call_id(),
        message.branch(),
        message.via(),
    );
    let _ = (
        message.from().uri_parsed(),
        message.to().tag(),
        message.contacts(),
        message.expires(),
    );
    let _ = (
        message.max_forwards(),
        message.content_type(),
        message.has_token(Name::Supported, "x"),
    );
    let _ = Uri::parse(message.uri()).map(|uri| (uri.user_unescaped().len(), uri.equals(&uri)));
    let _ = refork::sip::sdp::Sdp::parse(message.body()).map(|sdp| sdp.with_version(1));
    let answer =
        refork::sip::Builder::respond(message, 400, "x", Some("t"), ([127, 0, 0, 1], 5060).into())
            .end();
    assert!(answer.ends_with(b"\r\n\r\n"));
    let fields: usize = message.all().map(|field| field.value.len()).sum();
    assert!(fields <= message.bytes().len());
}
