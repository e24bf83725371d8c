//! Session descriptions among other parts of a body (RFC 5621).

use refork::sip::{Builder, Message, Method, Name};

use crate::people::*;
use crate::table::*;

const MIXED: &str = "multipart/mixed;boundary=\"=-edge\"";
const PLACE: &str = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"> \u{e9} \r\n\r\n </presence>";

/// A session description and where the caller is (RFC 6442).
fn with_place(sdp: &str) -> String {
    format!(
        "--=-edge\r\nContent-Type: application/pidf+xml\r\nContent-ID: <alice@there>\r\n\r\n{PLACE}\r\n\
         --=-edge\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}\r\n--=-edge--\r\n",
        sdp.len()
    )
}

fn mixed(builder: Builder, sdp: &str) -> bytes::Bytes {
    builder
        .header(Name::MimeVersion, "1.0")
        .body(MIXED, with_place(sdp).as_bytes())
}

/// Returns the session description, where all beside it is as it was sent.
#[track_caller]
fn enclosed(message: &Message) -> String {
    assert_eq!(message.content_type(), Some(MIXED));
    assert_eq!(message.header(Name::MimeVersion), Some("1.0"));
    let body = text(message);
    let sdp = body.split("\r\n\r\nv=0").nth(1).unwrap();
    let sdp = format!("v=0{}", sdp.split("\r\n--=-edge--").next().unwrap());
    assert_eq!(body, with_place(&sdp));
    sdp
}

#[test]
fn what_stands_beside_the_session_crosses_as_it_came() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive(alice(), mixed(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    let offered = enclosed(&invite);
    assert!(offered.contains("c=IN IP4 192.0.2.1\r\n"), "{offered}");
    assert!(!offered.contains("198.51.100.1"), "{offered}");

    let early = response(&invite, 183, desk(), "b1");
    t.receive(desk(), mixed(early, &audio(desk())));
    let heard = enclosed(&t.response_to(alice(), 183));
    assert!(!heard.contains("198.51.100.2"), "{heard}");
    t.receive(desk(), mixed(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(enclosed(&ok), heard);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    // Within the dialog, too.
    let hold = a.request(Method::Invite).header(Name::MimeVersion, "1.0");
    let hold = hold.body(MIXED, with_place(&sdp(alice(), 2, "sendonly")).as_bytes());
    t.receive(alice(), hold);
    let hold = t.request_to(desk(), Method::Invite);
    assert_eq!(hold.content_type(), Some(MIXED));
    assert!(text(&hold).contains(PLACE) && text(&hold).contains("a=sendonly"));

    // A new phone is told of the session alone: where she is then, nobody knows.
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    assert_eq!(again.content_type(), Some("application/sdp"));
}

#[test]
fn what_stands_beside_the_answer_to_a_reinvite_does_not_cross() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let hold = a.request(Method::Invite).header(Name::MimeVersion, "1.0");
    let hold = hold.body(MIXED, with_place(&sdp(alice(), 2, "sendonly")).as_bytes());
    t.receive(alice(), hold);
    let hold = t.request_to(desk(), Method::Invite);
    let held = response(&hold, 200, desk(), "b1");
    t.receive(desk(), mixed(held, &sdp(desk(), 2, "recvonly")));
    t.request_to(desk(), Method::Ack);
    let held = t.response_to(alice(), 200);
    assert_eq!(held.content_type(), Some("application/sdp"));
    assert!(text(&held).starts_with("v=0") && text(&held).contains("a=recvonly"));
    assert!(!text(&held).contains(PLACE));
}

#[test]
fn parts_without_a_session_cross_as_an_offer_that_is_to_come() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let place = format!("--x\r\nContent-Type: application/pidf+xml\r\n\r\n{PLACE}\r\n--x--");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    let kind = "multipart/mixed;boundary=x";
    t.receive(alice(), invite.body(kind, place.as_bytes()));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(invite.content_type(), Some(kind));
    assert_eq!(text(&invite), place);
    // The offer comes with the answer.
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("m=audio"));
}

#[test]
fn a_body_that_is_not_understood_is_refused_unless_it_is_optional() {
    for (disposition, crosses) in [
        (None, false),
        (Some("render"), false),
        (Some("render;handling=required"), false),
        (Some("render;handling=optional"), true),
    ] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let mut invite = request(Method::Invite, "alice", "bob", alice(), "call1");
        if let Some(disposition) = disposition {
            invite = invite.header(Name::ContentDisposition, disposition);
        }
        t.receive(alice(), invite.body("image/png", b"a picture"));
        if !crosses {
            let refused = t.response_to(alice(), 415);
            let accept = refused.header(Name::Accept).unwrap();
            assert!(accept.contains("application/sdp") && accept.contains("multipart/mixed"));
            t.nothing_to(desk());
            continue;
        }
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(invite.content_type(), Some("image/png"));
        assert_eq!(invite.header(Name::ContentDisposition), disposition);
        assert_eq!(invite.body(), b"a picture");
    }
}
