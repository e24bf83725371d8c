//! What belongs to one leg stays on it (RFC 7092 3.2): no phone learns of the other's software, way or
//! credentials.

use refork::sip::{Builder, Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Header fields that stay, with a value that would show them. What is agreed hop by hop has no room for
/// such a value, or is refused where it is not known: `AGREED` names it.
const STAYS: &[(Name, &str)] = &[
    (
        Name::Allow,
        "INVITE, ACK, BYE, CANCEL, MESSAGE, UPDATE, SECRET",
    ),
    (Name::Supported, "replaces, secret"),
    (Name::Unsupported, "secret"),
    (Name::Authorization, "Digest username=\"secret\""),
    (Name::ProxyAuthorization, "Digest username=\"secret\""),
    (Name::ProxyAuthenticate, "Digest realm=\"secret\""),
    (Name::WwwAuthenticate, "Digest realm=\"secret\""),
    (Name::AuthenticationInfo, "nextnonce=\"secret\""),
    (Name::SessionExpires, "1800;secret"),
    (Name::MinSe, "90;secret"),
    (Name::Path, "<sip:secret.example.net;lr>"),
    (Name::ServiceRoute, "<sip:secret.example.net;lr>"),
    (Name::UserAgent, "secret/1"),
    (Name::Server, "secret/1"),
    (Name::PAssertedIdentity, "<sip:secret@example.net>"),
    (Name::PPreferredIdentity, "<sip:secret@example.net>"),
    (Name::Diversion, "<sip:secret@example.net>"),
    (Name::Warning, "399 secret \"secret\""),
    (Name::RecordRoute, "<sip:secret.example.net;lr>"),
];

/// Of these the names must not cross, whatever they say.
const AGREED: &[(Name, &str)] = &[(Name::RSeq, "17"), (Name::RAck, "17 1 INVITE")];

/// Adds every field that must stay, and one that must cross.
fn marked(builder: Builder) -> Builder {
    STAYS
        .iter()
        .chain(AGREED)
        .fold(builder, |builder, (name, value)| {
            builder.header(*name, value)
        })
        .other("X-Crosses", "yes")
}

/// Nothing of the other leg shows in the message, and what may cross has.
#[track_caller]
fn hides(message: &Message) {
    let shown = String::from_utf8(message.bytes().to_vec()).unwrap();
    for line in shown.lines() {
        assert!(
            !line.to_ascii_lowercase().contains("secret"),
            "{line}\n{shown}"
        );
    }
    for (name, _) in AGREED {
        assert_eq!(message.header(*name), None, "{shown}");
    }
    assert_eq!(message.other("X-Crosses"), Some("yes"), "{shown}");
}

/// No Via, Contact, Route or tag of the other leg.
#[track_caller]
fn hides_the_way(message: &Message, host: &str) {
    let shown = String::from_utf8(message.bytes().to_vec()).unwrap();
    assert!(!shown.contains(host), "{shown}");
}

#[test]
fn an_invite_and_its_answers_hide_their_leg() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let invite = marked(request(Method::Invite, "alice", "bob", alice(), "call1"));
    t.receive(
        alice(),
        with_sdp(
            invite
                .header(Name::Route, "<sip:secret.example.net;lr>")
                .header(Name::Require, "replaces"),
            &audio(alice()),
        ),
    );
    let invite = t.request_to(desk(), Method::Invite);
    hides(&invite);
    hides_the_way(&invite, "198.51.100.1");
    assert_eq!(invite.header(Name::Require), None);
    assert_ne!(invite.call_id(), "call1");
    assert_ne!(invite.from_tag(), Some("tcall1"));

    t.receive(desk(), marked(response(&invite, 183, desk(), "b1")).end());
    let early = t.response_to(alice(), 183);
    // The answer's Record-Route is the caller's own (RFC 3261 12.1.1).
    assert_eq!(early.values(Name::RecordRoute).count(), 1);
    hides_but_for_the_route(&early);
    hides_the_way(&early, "198.51.100.2");
    t.receive(
        desk(),
        with_sdp(marked(response(&invite, 200, desk(), "b1")), &audio(desk())),
    );
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.values(Name::RecordRoute).count(), 1);
    hides_but_for_the_route(&ok);
    hides_the_way(&ok, "198.51.100.2");
}

/// As `hides`, for a response that returns the caller's Record-Route.
#[track_caller]
fn hides_but_for_the_route(message: &Message) {
    let shown = String::from_utf8(message.bytes().to_vec()).unwrap();
    let rest: Vec<&str> = shown
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("Record-Route:"))
        .collect();
    hides(&Message::parse(rest.concat().into()).unwrap());
}

#[test]
fn a_refusal_hides_its_leg() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), marked(response(&invite, 486, desk(), "b1")).end());
    let refused = t.response_to(alice(), 486);
    hides(&refused);
    hides_the_way(&refused, "198.51.100.2");
}

#[test]
fn what_goes_on_within_the_dialogs_hides_its_leg() {
    for method in [Method::Message, Method::Info] {
        let mut t = Table::new(settings());
        let (mut a, mut b) = t.established();
        for (from, to) in [(alice(), desk()), (desk(), alice())] {
            let far = if from == alice() { &mut a } else { &mut b };
            let sent = marked(far.request(method.clone()))
                .header(Name::HistoryInfo, "<sip:secret@example.net>;index=1")
                .body("text/plain", b"hi");
            t.receive(from, sent);
            let carried = t.request_to(to, method.clone());
            hides(&carried);
            hides_the_way(&carried, &from.ip().to_string());
            t.receive(to, marked(response(&carried, 200, to, "x1")).end());
            let ok = t.response_to(from, 200);
            hides(&ok);
            hides_the_way(&ok, &to.ip().to_string());
        }
        t.receive(alice(), marked(a.request(Method::Bye)).end());
        let bye = t.request_to(desk(), Method::Bye);
        hides(&bye);
        hides_the_way(&bye, "198.51.100.1");
    }
}

#[test]
fn what_belongs_to_no_session_hides_its_leg() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let sent = marked(request(Method::Message, "alice", "bob", alice(), "page1"));
    t.receive(alice(), sent.body("text/plain", b"hi"));
    let carried = t.request_to(desk(), Method::Message);
    hides(&carried);
    t.receive(desk(), marked(response(&carried, 200, desk(), "x1")).end());
    hides_but_for_the_route(&t.response_to(alice(), 200));
}

#[test]
fn a_refork_hides_the_lost_leg_and_the_new_one() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(refork::engine::time::Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    hides_the_way(&invite, "198.51.100.1");
    hides_the_way(&invite, "198.51.100.2");
    t.receive(
        mobile(),
        with_sdp(
            marked(response(&invite, 200, mobile(), "m1")),
            &audio(mobile()),
        ),
    );
    let notice = t.request_to(alice(), Method::Message);
    hides_the_way(&notice, "198.51.100.3");
    hides_the_way(&notice, "secret");
}
