//! Which transaction a request belongs to.

use super::*;

#[test]
fn the_same_branch_from_elsewhere_is_another_request() {
    let mut bench = Bench::new();
    let invite = theirs("INVITE", "z9hG4bK1");
    bench.receive(&invite, udp());
    bench.respond(486);
    // Another address, another sent-by, another method: none is the INVITE, and no ACK but its own counts.
    let elsewhere = udp_from("192.0.2.99:5060");
    assert_eq!(
        bench.receive(&theirs("ACK", "z9hG4bK1"), elsewhere),
        ["tell ACK"]
    );
    let other_sent_by = theirs("ACK", "z9hG4bK1").replace("192.0.2.1:5070", "192.0.2.1:5071");
    assert_eq!(bench.receive(&other_sent_by, udp()), ["tell ACK"]);
    assert_eq!(
        bench.receive(&theirs("CANCEL", "z9hG4bK1"), elsewhere),
        ["count stray cancel", "send 481 CANCEL"]
    );
    assert_eq!(
        bench.receive(&theirs("OPTIONS", "z9hG4bK1"), udp()),
        ["tell OPTIONS"]
    );
    assert_eq!(bench.layer.counts(), (0, 2));
    assert!(bench.receive(&theirs("ACK", "z9hG4bK1"), udp()).is_empty());
}

#[test]
fn a_nat_that_changes_the_port_changes_the_way_back() {
    let mut bench = Bench::new();
    let invite = theirs("INVITE", "z9hG4bK1");
    bench.receive(&invite, udp());
    bench.respond(180);
    let moved = udp_from("192.0.2.1:61000");
    assert_eq!(bench.receive(&invite, moved), ["send 180 INVITE"]);
    assert_eq!(bench.sent_to, Some(moved));
    bench.respond(486);
    assert_eq!(bench.sent_to, Some(moved));
    assert!(
        bench
            .receive(&theirs("ACK", "z9hG4bK1"), udp_from("192.0.2.1:61001"))
            .is_empty()
    );
}

#[test]
fn the_host_of_the_via_has_no_case() {
    let mut bench = Bench::new();
    let named = |host| theirs("MESSAGE", "z9hG4bK1").replace("192.0.2.1:5070", host);
    bench.receive(&named("Phone.Example"), udp());
    assert!(bench.receive(&named("phone.example"), udp()).is_empty());
    assert_eq!(bench.layer.counts(), (0, 1));
}

#[test]
fn a_client_of_rfc_2543_is_understood() {
    for branch in ["1", "z9hG4bK"] {
        let mut bench = Bench::new();
        let invite = theirs("INVITE", branch);
        assert_eq!(bench.receive(&invite, udp()), ["tell INVITE"]);
        assert!(bench.receive(&invite, udp()).is_empty());
        // The same branch for everything, as such clients have it: still another request.
        let second = invite.replace("CSeq: 3", "CSeq: 4");
        assert_eq!(bench.receive(&second, udp()), ["tell INVITE"]);
        assert_eq!(
            bench.receive(&theirs("CANCEL", branch), udp()),
            ["send 200 CANCEL", "tell cancelled None"]
        );
        assert_eq!(bench.respond(486), ["send 486 INVITE"]);
        let ack = theirs("ACK", branch).replace("CSeq: 3", "CSeq: 4").replace(
            "To: <sip:alice@example.org>",
            "To: <sip:alice@example.org>;tag=ours",
        );
        assert!(bench.receive(&ack, udp()).is_empty());
        // The first INVITE still rings, the second one's failure is acknowledged.
        assert_eq!(bench.pass(4000), ["200 send 100 INVITE"]);
    }
}

#[test]
fn a_client_without_a_branch_is_understood() {
    let mut bench = Bench::new();
    let message = theirs("MESSAGE", "").replace(";branch=", "");
    assert_eq!(bench.receive(&message, udp()), ["tell MESSAGE"]);
    assert_eq!(bench.respond(200), ["send 200 MESSAGE"]);
    assert_eq!(bench.receive(&message, udp()), ["send 200 MESSAGE"]);
}

#[test]
fn a_copy_that_came_by_another_path_gets_482() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    let copy = theirs("INVITE", "z9hG4bK2");
    let seen = bench.receive(&copy, udp_from("192.0.2.2:5060"));
    assert_eq!(seen, ["count 482 of ours", "send 482 INVITE"]);
    assert!(bench.last_sent().to_tag().is_some());
    assert_eq!(bench.layer.counts(), (0, 1));
    // Also late, when the first one is answered already.
    bench.respond(200);
    let seen = bench.receive(&copy, udp());
    assert_eq!(seen, ["count 482 of ours", "send 482 INVITE"]);
}

/// RFC 3261 8.2.2.2: only what is going on yet can be merged with. A proxy tries again by another way.
#[test]
fn what_has_failed_may_be_tried_again() {
    const COPY: [&str; 2] = ["count 482 of ours", "send 482 INVITE"];
    for flow in [udp(), tcp(1)] {
        let mut bench = Bench::new();
        bench.receive(&theirs("INVITE", "z9hG4bK1"), flow);
        bench.respond(480);
        let again = theirs("INVITE", "z9hG4bK2");
        assert_eq!(bench.receive(&again, flow), COPY, "nobody has heard of it");
        bench.receive(&theirs("ACK", "z9hG4bK1"), flow);
        assert_eq!(bench.receive(&again, flow), ["tell INVITE"]);
        // That one has copies, too, also once the first is forgotten.
        bench.pass(6000);
        assert_eq!(bench.receive(&theirs("INVITE", "z9hG4bK3"), flow), COPY);
    }
}

#[test]
fn what_has_failed_without_an_ack_may_be_tried_again_at_once() {
    for (status, again) in [
        (480, true),
        (503, true),
        (302, true),
        (200, false),
        (408, false),
    ] {
        let mut bench = Bench::new();
        bench.receive(&theirs("MESSAGE", "z9hG4bK1"), udp());
        bench.respond(status);
        let seen = bench.receive(&theirs("MESSAGE", "z9hG4bK2"), udp_from("192.0.2.2:5060"));
        let told = seen == ["tell MESSAGE"];
        assert_eq!(told, again, "{status}: {seen:?}");
        // What came before is answered as before.
        let seen = bench.receive(&theirs("MESSAGE", "z9hG4bK1"), udp());
        let withheld = status == 408;
        assert_eq!(seen.len(), usize::from(!withheld), "{status}: {seen:?}");
    }
}

#[test]
fn what_only_resembles_a_copy_is_none() {
    let copy = theirs("INVITE", "z9hG4bK2");
    for (what, other) in [
        ("Call-ID: theirs", "Call-ID: others"),
        ("tag=b", "tag=c"),
        ("CSeq: 3", "CSeq: 4"),
        // In a dialog.
        (
            "To: <sip:alice@example.org>",
            "To: <sip:alice@example.org>;tag=ours",
        ),
        // A proxy that forks through us to two phones.
        ("INVITE sip:alice@198", "INVITE sip:alice.2@198"),
    ] {
        let mut bench = Bench::new();
        bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
        let text = copy.replace(what, other);
        assert_ne!(text, copy);
        assert_eq!(bench.receive(&text, udp()), ["tell INVITE"], "{other}");
    }
}

#[test]
fn a_client_may_try_again_with_credentials_and_the_same_cseq() {
    let mut bench = Bench::new();
    bench.receive(&theirs("REGISTER", "z9hG4bK1"), udp());
    assert_eq!(bench.respond(401), ["send 401 REGISTER"]);
    let seen = bench.receive(&theirs("REGISTER", "z9hG4bK2"), udp());
    assert_eq!(seen, ["tell REGISTER"]);
    assert_eq!(bench.respond(200), ["send 200 REGISTER"]);
    bench.pass(32_000);
    bench.assert_empty();
}
