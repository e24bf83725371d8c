//! What we do not know: carried, or refused with what would be right (RFC 3261 8.2, 20.11, 20.12).

use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

#[test]
fn outside_of_dialogs_what_is_not_known_is_refused_by_name() {
    let wave = || Method::parse("WAVE");
    for (method, lines, status, name, value) in [
        (wave(), "", 501, None, ""),
        (
            Method::Invite,
            "Require: timer, magic\r\nRequire: more\r\n",
            420,
            Some(Name::Unsupported),
            "magic, more",
        ),
        (
            Method::Message,
            "Require: magic\r\n",
            420,
            Some(Name::Unsupported),
            "magic",
        ),
        (
            Method::Options,
            "Require: magic\r\n",
            420,
            Some(Name::Unsupported),
            "magic",
        ),
        (
            Method::Invite,
            "Proxy-Require: privacy, foo\r\n",
            420,
            Some(Name::Unsupported),
            "foo",
        ),
        (
            Method::Invite,
            "Content-Encoding: gzip\r\n",
            415,
            Some(Name::AcceptEncoding),
            "identity",
        ),
        (
            Method::Invite,
            "e: gzip\r\n",
            415,
            Some(Name::AcceptEncoding),
            "identity",
        ),
    ] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let sent = request(method.clone(), "alice", "bob", alice(), "c1");
        let sent = with_sdp(sent.raw_lines(lines.as_bytes()), &audio(alice()));
        t.receive(alice(), sent);
        let refused = t.response_to(alice(), status);
        if let Some(name) = name {
            let told: Vec<&str> = refused.values(name).collect();
            assert_eq!(told.join(", "), value, "{method:?} {lines}");
        }
        t.nothing_to(desk());
    }
}

#[test]
fn within_a_dialog_an_encoding_is_the_far_ends_matter_but_for_sessions() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    for method in [Method::Invite, Method::Update] {
        let offer = a.request(method).header(Name::ContentEncoding, "deflate");
        t.receive(alice(), with_sdp(offer, &sdp(alice(), 2, "sendonly")));
        let refused = t.response_to(alice(), 415);
        assert_eq!(refused.header(Name::AcceptEncoding), Some("identity"));
        t.nothing_to(desk());
    }
    let info = a
        .request(Method::Info)
        .header(Name::ContentEncoding, "deflate");
    t.receive(alice(), info.body("x/y", b"\x01\x02"));
    let info = t.request_to(desk(), Method::Info);
    assert_eq!(info.header(Name::ContentEncoding), Some("deflate"));
    assert_eq!(info.body(), b"\x01\x02");
}

/// Extensions that have to be done on each leg: what we do not do is not promised in a phone's name.
#[test]
fn no_extension_is_promised_that_is_not_ours() {
    const THEIRS: [&str; 16] = [
        "gruu",
        "outbound",
        "path",
        "replaces",
        "norefersub",
        "tdialog",
        "join",
        "precondition",
        "trickle-ice",
        "siprec",
        "resource-priority",
        "early-session",
        "sec-agree",
        "multiple-refer",
        "nosub",
        "target-dialog",
    ];
    const OURS: [&str; 4] = ["replaces", "norefersub", "timer", "100rel"];
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "c1")
        .header(Name::Supported, THEIRS.join(", "));
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    let ok = response(&invite, 200, desk(), "b1").header(Name::Supported, THEIRS.join(", "));
    t.receive(desk(), with_sdp(ok, &audio(desk())));
    let ok = t.response_to(alice(), 200);
    for message in [&invite, &ok] {
        let told: Vec<&str> = message.values(Name::Supported).collect();
        assert!(!told.is_empty());
        assert!(told.iter().all(|tag| OURS.contains(tag)), "{told:?}");
    }
}

const SIGNED: &str = "Date: Sat, 28 Nov 2026 12:00:00 GMT\r\n\
    Identity: eyJhbGciOiJFUzI1NiJ9.eyJkZXN0Ijp7fX0.c2ln;info=<https://cert.example.org/p.cer>;alg=ES256;ppt=shaken\r\n";

fn identity(message: &refork::sip::Message) -> Vec<String> {
    message.fields(Name::Identity).map(Into::into).collect()
}

#[test]
fn a_signature_crosses_with_what_it_signs() {
    let expected = SIGNED
        .lines()
        .nth(1)
        .unwrap()
        .trim()
        .strip_prefix("Identity: ")
        .unwrap();
    for method in [Method::Invite, Method::Message] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let sent =
            request(method.clone(), "alice", "bob", alice(), "c1").raw_lines(SIGNED.as_bytes());
        t.receive(alice(), with_sdp(sent, &audio(alice())));
        let carried = t.request_to(desk(), method);
        assert_eq!(identity(&carried), [expected]);
        assert_eq!(
            carried.header(Name::Date),
            Some("Sat, 28 Nov 2026 12:00:00 GMT")
        );
        // RFC 8224 4: the URIs of From and To are what it is over.
        assert_eq!(carried.from().uri, "sip:alice@example.org");
        assert_eq!(carried.to().uri, "sip:bob@example.org");
    }
}

#[test]
fn a_signature_of_somebody_unnamed_does_not_cross() {
    for method in [Method::Invite, Method::Message] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let sent = request(method.clone(), "alice", "bob", alice(), "c1")
            .raw_lines(SIGNED.as_bytes())
            .header(Name::Privacy, "user");
        t.receive(alice(), with_sdp(sent, &audio(alice())));
        assert!(identity(&t.request_to(desk(), method)).is_empty());
    }
}

#[test]
fn a_re_fork_is_not_signed_and_says_again_what_one_user_told_the_other() {
    let mut t = two();
    let uui = "56a390f3d2b7310023a2;encoding=hex;purpose=isdn-uui";
    let charged = "1234bc9876e;icid-generated-at=192.0.6.8;orig-ioi=home1.net";
    let invite = request(Method::Invite, "alice", "bob", alice(), "c1")
        .raw_lines(SIGNED.as_bytes())
        .other("User-to-User", uui)
        .other("P-Charging-Vector", charged);
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let first = t.request_to(desk(), Method::Invite);
    assert_eq!(first.other("User-to-User"), Some(uui));
    // Which is a trusted peer's to say (RFC 7315 5.6).
    assert_eq!(first.other("P-Charging-Vector"), None);
    let ok = answer_to(&first).other("User-to-User", "aa;encoding=hex");
    t.receive(desk(), with_sdp(ok, &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.other("User-to-User"), Some("aa;encoding=hex"));
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    // What is within the dialog is signed anew, over the same two.
    let info = a.request(Method::Info).raw_lines(SIGNED.as_bytes()).end();
    t.receive(alice(), info);
    let info = t.request_to(desk(), Method::Info);
    assert_eq!(identity(&info).len(), 1);
    t.reply(&info, 200, desk());
    t.discard(mobile());
    t.bob_is_lost();
    t.restart();
    t.pass(Millis(2_100));
    let again = t.waiting(mobile(), &Method::Invite).unwrap();
    // RFC 8224 6.2.2: its Date would be old, and a signature is for one call.
    assert!(identity(&again).is_empty());
    assert_eq!(again.other("User-to-User"), Some(uui));
}

/// RFC 3911, RFC 5359 2.11: Bob's phone has told Carol the ids of its dialog, which is with us, and mixes.
#[test]
fn a_third_party_joins_by_the_phone_that_has_the_dialog() {
    let carol = phone("198.51.100.9:5060");
    let mut t = two();
    let (_, b) = t.established();
    let (_, ours) = b.remote.rsplit_once("tag=").unwrap();
    let join = format!("{};to-tag=b1;from-tag={ours}", b.call_id);
    let invite = |call_id: &str| {
        request(Method::Invite, "carol", "bob", carol, call_id).header(Name::Require, "join")
    };
    for (call_id, status) in [("j1", 420), ("j2", 200)] {
        let joins = invite(call_id).other("Join", &join);
        t.receive(carol, with_sdp(joins, &audio(carol)));
        let asked = t.request_to(desk(), Method::Invite);
        assert_eq!(asked.other("Join"), Some(&*join));
        assert!(asked.has_token(Name::Require, "join"));
        let other = t.request_to(mobile(), Method::Invite);
        t.reply(&other, 481, mobile());
        t.request_to(mobile(), Method::Ack);
        let answer = response(&asked, status, desk(), "j").header(Name::Unsupported, "join");
        t.receive(desk(), with_sdp(answer, &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let told = t.response_to(carol, status);
        let unsupported = (status == 420).then_some("join");
        assert_eq!(told.header(Name::Unsupported), unsupported);
    }

    // What names no dialog is nobody's to join.
    t.receive(carol, with_sdp(invite("j3"), &audio(carol)));
    let refused = t.response_to(carol, 420);
    assert_eq!(refused.header(Name::Unsupported), Some("join"));
    t.nothing_to(desk());
}

/// RFC 3261 8.2.2.1; the URIs are those of RFC 4475 3.3.2 and 3.3.3, and one that is well known.
#[test]
fn a_scheme_that_is_not_carried_is_refused() {
    for uri in [
        "nobodyKnowsThisScheme:totallyopaquecontent",
        "soap.beep://192.0.2.103:3002",
        "mailto:bob@example.org",
    ] {
        for method in [Method::Invite, Method::Message, Method::Options] {
            let mut t = Table::new(settings());
            t.register("bob", desk(), "desk");
            let sent = request(method.clone(), "alice", "bob", alice(), "s1");
            let sent = with_sdp(sent, &audio(alice()));
            let sent = String::from_utf8(sent.to_vec()).unwrap();
            let sent = sent.replacen(" sip:bob@example.org ", &format!(" {uri} "), 1);
            t.receive(alice(), sent.into());
            t.response_to(alice(), 416);
            t.nothing_to(desk());
        }
    }
}
