//! REGISTERs that are refused, and how that looks.

use super::*;

#[test]
fn what_is_not_understood_is_refused() {
    let long = format!("Contact: <sip:{}@h>", "x".repeat(2100));
    for (request, status, expected) in [
        (
            Request::new("sip:bob@other.example", 1, "Contact: <sip:b@h>"),
            404,
            "not served here",
        ),
        (
            Request::new("sip:bob@pbx.example.net", 1, "Contact: <sip:b@h>"),
            404,
            "not served here",
        ),
        (
            Request::new("sip:open.example", 1, "").at("sip:open.example"),
            404,
            "not served here",
        ),
        (
            Request::new("tel:+15550123", 1, "").at("sip:open.example"),
            404,
            "not served here",
        ),
        // A domain of ours, but not that of the AOR.
        (open(1, "").at("sip:example.org"), 404, "not served here"),
        (open(1, "").at("sip:other.example"), 404, "not served here"),
        (
            open(1, "Contact: <mailto:b@h>"),
            400,
            "Contact is no SIP URI",
        ),
        (open(1, &long), 400, "Contact too long"),
    ] {
        let mut room = Room::new(settings());
        let (done, response) = room.register(&request);
        assert_eq!(
            (done.status, why(&done)),
            (status, Some(expected)),
            "{}",
            request.to
        );
        assert_eq!(response.reason_phrase(), expected);
        assert_eq!(room.book.0.len(), 0);
    }
    // An address in place of the domain is let through.
    let mut room = Room::new(settings());
    assert_eq!(room.status(&open(1, "").at("sip:192.0.2.9:5060")), 200);
}

#[test]
fn what_is_required_must_be_known() {
    for (required, unsupported) in [
        ("path", None),
        ("Outbound, PATH", None),
        ("path, gruu, foo", Some("foo")),
        // RFC 6140 5.2.
        ("gin", Some("gin")),
    ] {
        let mut room = Room::new(settings());
        let (done, response) =
            room.register(&open(1, "Contact: <sip:b@h>").with(&format!("Require: {required}")));
        assert_eq!(response.header(Name::Unsupported), unsupported);
        assert_eq!(done.status, if unsupported.is_some() { 420 } else { 200 });
    }
}

#[test]
fn a_retransmission_that_reaches_us_gets_the_same_tag() {
    let mut room = Room::new(settings());
    let request = open(1, "");
    let (_, one) = room.register(&request);
    let (_, two) = room.register(&request);
    let (_, other) = room.register(&open(1, "").in_call("other"));
    assert_eq!(one.to_tag(), two.to_tag());
    assert_ne!(one.to_tag(), other.to_tag());
}
