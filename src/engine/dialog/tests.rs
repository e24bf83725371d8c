//! A dialog as messages make it, write it and change it.

use bytes::Bytes;

use super::*;
use crate::engine::ids::{ListenerId, Transport};

fn flow(port: u16) -> Flow {
    Flow {
        transport: Transport::Udp,
        listener: ListenerId(0),
        peer: ([198, 51, 100, 2], port).into(),
        connection: None,
    }
}

fn parse(text: &str) -> Message {
    let text = text.trim_start().replace('\n', "\r\n");
    Message::parse(Bytes::from(format!("{text}\r\n\r\n"))).expect("a message")
}

/// A message of the far end with what all of them have, and lines of its own.
fn message(start: &str, tags: (&str, &str), cseq: &str, lines: &str) -> Message {
    let (from, to) = tags;
    parse(&format!(
        "{start}\nVia: SIP/2.0/UDP 198.51.100.2:5060;branch=z9hG4bKx{}\nMax-Forwards: 70\n\
         From: \"Alice \\\"A\\\"\" <sip:alice@example.org>{from}\nTo: <sip:bob@example.org>{to}\n\
         Call-ID: c1\nCSeq: {cseq}\n{lines}Content-Length: 0",
        cseq.replace(' ', "")
    ))
}

const RECORDED: &str = "Record-Route: <sip:p1.example.net;lr>, <sip:p2.example.net;lr>\n\
                        Record-Route: <sip:p3.example.net;lr>\n";

/// Alice has called us.
fn called(lines: &str) -> Dialog {
    let contact = "Contact: <sip:alice@198.51.100.2>\n";
    let invite = message(
        "INVITE sip:bob@example.org SIP/2.0",
        (";tag=a", ""),
        "7 INVITE",
        &format!("{contact}{lines}"),
    );
    Dialog::of_request(&invite, flow(5060), "us".into())
}

/// We have called, and nobody has answered.
fn calling() -> Dialog {
    Dialog {
        remote_tag: None,
        remote_cseq: None,
        local: "<sip:alice@example.org>".into(),
        remote: "<sip:bob@example.org>".into(),
        target: "sip:bob@198.51.100.2".into(),
        local_cseq: 1,
        ..called("")
    }
}

fn answer(status: &str, tag: &str, lines: &str) -> Message {
    message(
        &format!("SIP/2.0 {status}"),
        (";tag=us", &format!(";tag={tag}")),
        "1 INVITE",
        lines,
    )
}

/// What the dialog writes next, read again.
fn next(dialog: &mut Dialog, method: &Method) -> Message {
    let via = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKours";
    Message::parse(dialog.request(method, via).end()).expect("a request")
}

fn routes(message: &Message) -> Vec<&str> {
    message.values(Name::Route).collect()
}

fn theirs(method: &str, cseq: u32, lines: &str) -> Message {
    message(
        &format!("{method} sip:us@192.0.2.1 SIP/2.0"),
        (";tag=a", ";tag=us"),
        &format!("{cseq} {method}"),
        lines,
    )
}

#[test]
fn the_route_set_of_a_request_is_in_its_order() {
    let mut dialog = called(RECORDED);
    let bye = next(&mut dialog, &Method::Bye);
    assert_eq!(bye.uri(), "sip:alice@198.51.100.2");
    assert_eq!(
        routes(&bye),
        [
            "<sip:p1.example.net;lr>",
            "<sip:p2.example.net;lr>",
            "<sip:p3.example.net;lr>"
        ]
    );
    // RFC 3261 12.2.1.1: From is our To, with our tag.
    assert_eq!(bye.header(Name::From), Some("<sip:bob@example.org>;tag=us"));
    assert_eq!(
        bye.header(Name::To),
        Some("\"Alice \\\"A\\\"\" <sip:alice@example.org>;tag=a")
    );
}

#[test]
fn the_route_set_of_a_response_is_turned_round() {
    let mut dialog = calling();
    let lines = format!("Contact: <sip:bob@198.51.100.3>\n{RECORDED}");
    dialog.answered_by(&answer("200 OK", "b", &lines), flow(5060));
    let bye = next(&mut dialog, &Method::Bye);
    assert_eq!(bye.uri(), "sip:bob@198.51.100.3");
    assert_eq!(
        routes(&bye),
        [
            "<sip:p3.example.net;lr>",
            "<sip:p2.example.net;lr>",
            "<sip:p1.example.net;lr>"
        ]
    );
    assert_eq!(bye.header(Name::To), Some("<sip:bob@example.org>;tag=b"));
}

#[test]
fn a_2xx_replaces_the_route_set_of_the_provisional_response() {
    let mut dialog = calling();
    let ringing = answer("180 Ringing", "b", RECORDED);
    dialog.answered_by(&ringing, flow(5060));
    let ok = answer(
        "200 OK",
        "b",
        "Record-Route: <sip:p4.example.net;lr>\nContact: <sip:bob@198.51.100.3>\n",
    );
    dialog.answered_by(&ok, flow(5060));
    assert_eq!(
        routes(&next(&mut dialog, &Method::Info)),
        ["<sip:p4.example.net;lr>"]
    );
    // What follows leaves it as it is (RFC 3261 12.2: the route set is fixed).
    let moved = theirs("INVITE", 8, RECORDED);
    assert!(!dialog.refresh(&moved));
    assert_eq!(
        routes(&next(&mut dialog, &Method::Info)),
        ["<sip:p4.example.net;lr>"]
    );
}

#[test]
fn a_strict_router_is_the_request_uri_and_the_target_goes_last() {
    let strict = "Record-Route: <sip:old.example.net>\nRecord-Route: <sip:p2.example.net;lr>\n";
    let mut dialog = called(strict);
    let bye = next(&mut dialog, &Method::Bye);
    assert_eq!(bye.uri(), "sip:old.example.net");
    assert_eq!(
        routes(&bye),
        ["<sip:p2.example.net;lr>", "<sip:alice@198.51.100.2>"]
    );
    // A strict one further on is the next router's to mind.
    let later = "Record-Route: <sip:p1.example.net;lr>\nRecord-Route: <sip:old.example.net>\n";
    let bye = next(&mut called(later), &Method::Bye);
    assert_eq!(bye.uri(), "sip:alice@198.51.100.2");
    assert_eq!(
        routes(&bye),
        ["<sip:p1.example.net;lr>", "<sip:old.example.net>"]
    );
}

#[test]
fn the_ack_of_a_2xx_goes_the_dialogs_way_with_the_invites_number() {
    let mut dialog = calling();
    let lines = format!("Contact: <sip:bob@198.51.100.3>\n{RECORDED}");
    dialog.answered_by(&answer("200 OK", "b", &lines), flow(5060));
    let _ = next(&mut dialog, &Method::Info);
    let ack = dialog.ack(1, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKack");
    let ack = Message::parse(ack.end()).expect("an ACK");
    assert_eq!((ack.cseq(), ack.method()), (1, &Method::Ack));
    assert_eq!(ack.uri(), "sip:bob@198.51.100.3");
    assert_eq!(routes(&ack).len(), 3);
    assert_eq!(next(&mut dialog, &Method::Info).cseq(), 3, "no number lost");
}

#[test]
fn each_fork_makes_a_dialog_of_its_own() {
    let mut dialog = calling();
    let first = answer("180 Ringing", "b1", "Contact: <sip:b1@198.51.100.3>\n");
    dialog.answered_by(&first, flow(5060));
    let mut other = dialog.clone();
    let second = answer(
        "180 Ringing",
        "b2",
        "Contact: <sip:b2@198.51.100.4>\nRecord-Route: <sip:p2.example.net;lr>\n",
    );
    other.answered_by(&second, flow(5062));
    let from = |tag: &str| {
        message(
            "INFO sip:us@192.0.2.1 SIP/2.0",
            (&format!(";tag={tag}"), ";tag=us"),
            "1 INFO",
            "",
        )
    };
    assert!(dialog.owns(&from("b1")) && !dialog.owns(&from("b2")));
    assert!(other.owns(&from("b2")) && !other.owns(&from("b1")));
    assert_eq!(&*dialog.target, "sip:b1@198.51.100.3");
    assert_eq!(&*other.target, "sip:b2@198.51.100.4");
    assert!(dialog.routes.is_empty());
    assert_eq!(other.routes.len(), 1);
    assert_eq!(other.flow, flow(5062));
}

#[test]
fn another_fork_counts_its_own_numbers() {
    let mut dialog = calling();
    dialog.answered_by(&answer("180 Ringing", "a", ""), flow(5060));
    assert_eq!(dialog.receive(&theirs("INFO", 50, "")), Ok(()));
    // The same phone goes on with its numbers.
    dialog.answered_by(&answer("183 Progress", "a", ""), flow(5060));
    assert_eq!(dialog.receive(&theirs("INFO", 50, "")), Err(OutOfOrder));
    dialog.answered_by(&answer("200 OK", "other", ""), flow(5060));
    assert_eq!(dialog.receive(&theirs("INFO", 2, "")), Ok(()));
}

#[test]
fn a_dialog_is_known_by_call_id_and_both_tags() {
    let dialog = called("");
    let from =
        |from: &str, to: &str| message("BYE sip:us@192.0.2.1 SIP/2.0", (from, to), "8 BYE", "");
    assert!(dialog.owns(&from(";tag=a", ";tag=us")));
    assert!(!dialog.owns(&from(";tag=A", ";tag=us")));
    assert!(!dialog.owns(&from("", ";tag=us")));
    assert!(!dialog.owns(&from(";tag=a", ";tag=them")));
    assert!(!dialog.owns(&from(";tag=a", "")));
    let other = Dialog {
        call_id: "c2".into(),
        ..dialog
    };
    assert!(!other.owns(&from(";tag=a", ";tag=us")));
    // Before the far end has shown its tag, any is its.
    assert!(calling().owns(&from(";tag=any", ";tag=us")));
}

#[test]
fn numbers_of_theirs_only_rise() {
    let mut dialog = called("");
    assert_eq!(dialog.receive(&theirs("INFO", 7, "")), Err(OutOfOrder));
    assert_eq!(dialog.receive(&theirs("INFO", 8, "")), Ok(()));
    assert_eq!(dialog.receive(&theirs("INFO", 8, "")), Err(OutOfOrder));
    assert_eq!(dialog.receive(&theirs("INFO", 20, "")), Ok(()), "a gap");
    assert_eq!(dialog.receive(&theirs("BYE", 19, "")), Err(OutOfOrder));
    // The ACK has its INVITE's number, and takes none.
    assert_eq!(dialog.receive(&theirs("ACK", 7, "")), Ok(()));
    assert_eq!(dialog.remote_cseq, Some(20));
}

#[test]
fn numbers_after_a_restart_are_beyond_all_that_were_sent() {
    let mut dialog = called("");
    let last = next(&mut dialog, &Method::Info).cseq();
    assert_eq!(dialog.receive(&theirs("INFO", 8, "")), Ok(()));
    dialog.resume(1000);
    assert_eq!(next(&mut dialog, &Method::Info).cseq(), last + 1001);
    // The answer to their last one may never have left; the one before it is old.
    assert_eq!(dialog.receive(&theirs("INFO", 7, "")), Err(OutOfOrder));
    assert_eq!(dialog.receive(&theirs("INFO", 8, "")), Ok(()));

    let mut fresh = calling();
    fresh.resume(1000);
    assert_eq!(fresh.remote_cseq, None);
    fresh.remote_cseq = Some(0);
    fresh.resume(u32::MAX);
    assert_eq!((fresh.local_cseq, fresh.remote_cseq), (u32::MAX, None));
}

#[test]
fn the_target_moves_by_what_may_move_it() {
    let contact = "Contact: <sip:alice@203.0.113.9>\n";
    for (method, moves) in [
        ("INVITE", true),
        ("UPDATE", true),
        ("SUBSCRIBE", true),
        ("NOTIFY", true),
        ("REFER", true),
        ("INFO", false),
        ("MESSAGE", false),
        ("OPTIONS", false),
        ("BYE", false),
        ("PRACK", false),
        ("PUBLISH", false),
        ("WAVE", false),
    ] {
        let mut dialog = called("");
        assert_eq!(
            dialog.refresh(&theirs(method, 8, contact)),
            moves,
            "{method}"
        );
        let target = if moves {
            "sip:alice@203.0.113.9"
        } else {
            "sip:alice@198.51.100.2"
        };
        assert_eq!(next(&mut dialog, &Method::Info).uri(), target, "{method}");
        assert!(!dialog.refresh(&theirs(method, 9, contact)), "the same");
        assert!(!dialog.refresh(&theirs(method, 10, "")), "no Contact");
        assert_eq!(&*dialog.target, target, "{method}");
    }
    let mut dialog = calling();
    let ok = answer("200 OK", "b", "Contact: <sip:bob@203.0.113.9>\n");
    dialog.refresh_over(&ok, flow(5099));
    assert_eq!(&*dialog.target, "sip:bob@203.0.113.9");
    assert_eq!(dialog.flow, flow(5099));
}

#[test]
fn a_caller_without_contact_is_reached_by_its_from() {
    let invite = message(
        "INVITE sip:bob@example.org SIP/2.0",
        (";tag=a", ""),
        "7 INVITE",
        "",
    );
    let mut dialog = Dialog::of_request(&invite, flow(5060), "us".into());
    let bye = next(&mut dialog, &Method::Bye);
    assert_eq!(bye.uri(), "sip:alice@example.org");
    assert_eq!(bye.cseq(), 1);
}
