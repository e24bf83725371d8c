//! CANCEL, of ours and of others.

use super::*;
use crate::sip::Name;

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut bench = Bench::new();
    let client = bench.request(&ours("INVITE"), udp());
    bench.seen();
    assert!(bench.cancel(client).is_empty());
    assert_eq!(bench.pass(500), ["500 send INVITE"]);
    assert_eq!(
        bench.receive(&answer(100, "INVITE", "x"), udp()),
        ["send CANCEL"]
    );
    let cancel = bench.last_sent();
    assert_eq!(cancel.uri(), "sip:bob@192.0.2.1");
    assert_eq!(cancel.branch(), Some("z9hG4bKours"));
    assert_eq!((cancel.cseq(), cancel.to_tag()), (7, None));
    assert_eq!(cancel.header(Name::Reason), Some("SIP ;cause=200"));
    assert_eq!(cancel.values(Name::Route).count(), 3);

    assert!(bench.receive(&answer(200, "CANCEL", "x"), udp()).is_empty());
    assert_eq!(
        bench.receive(&answer(487, "INVITE", "x"), udp()),
        ["send ACK", "tell 487 INVITE"]
    );
    bench.pass(32_000);
    bench.assert_empty();
}

#[test]
fn a_cancel_of_what_rings_goes_out_at_once_and_only_once() {
    let mut bench = Bench::new();
    let client = bench.request(&ours("INVITE"), udp());
    bench.receive(&answer(180, "INVITE", "x"), udp());
    assert_eq!(bench.cancel(client), ["send CANCEL"]);
    assert!(bench.cancel(client).is_empty());
    assert_eq!(bench.pass(500), ["500 send CANCEL"]);
}

#[test]
fn a_cancel_that_comes_too_late_changes_nothing() {
    let mut bench = Bench::new();
    let client = bench.request(&ours("INVITE"), udp());
    bench.receive(&answer(180, "INVITE", "x"), udp());
    bench.cancel(client);
    assert_eq!(
        bench.receive(&answer(200, "INVITE", "x"), udp()),
        ["tell 200 INVITE"]
    );
    assert!(bench.cancel(client).is_empty());
    bench.pass(32_000);
    bench.assert_empty();
    assert!(bench.cancel(client).is_empty(), "the id names nothing now");
}

#[test]
fn an_invite_cancelled_without_an_answer_times_out_silently() {
    let mut bench = Bench::new();
    let client = bench.request(&ours("INVITE"), udp());
    bench.receive(&answer(180, "INVITE", "x"), udp());
    bench.pass(60_000);
    bench.cancel(client);
    bench.receive(&answer(200, "CANCEL", "x"), udp());
    assert_eq!(bench.pass(32_000), ["32000 count INVITE timeout"]);
    // Its phone was frozen, not dead.
    assert_eq!(
        bench.receive(&answer(180, "INVITE", "x"), udp()),
        ["send CANCEL"]
    );
    bench.receive(&answer(200, "CANCEL", "x"), udp());
    assert_eq!(
        bench.receive(&answer(487, "INVITE", "x"), udp()),
        ["send ACK"]
    );
    bench.pass(32_000);
    bench.assert_empty();
}

#[test]
fn a_cancel_that_is_under_way_is_not_sent_twice() {
    let mut bench = Bench::new();
    let client = bench.request(&ours("INVITE"), udp());
    bench.receive(&answer(180, "INVITE", "x"), udp());
    bench.cancel(client);
    bench.receive(&answer(200, "CANCEL", "x"), udp());
    bench.fail(udp());
    // The phone has just taken the CANCEL.
    assert_eq!(
        bench.receive(&answer(180, "INVITE", "x"), udp()),
        ["tell 180 INVITE"]
    );
    assert_eq!(
        bench.receive(&answer(487, "INVITE", "x"), udp()),
        ["send ACK", "tell 487 INVITE"]
    );
    bench.pass(32_000);
    bench.assert_empty();
}

#[test]
fn a_held_cancel_and_its_invite_time_out_silently() {
    let mut bench = Bench::new();
    let client = bench.request(&ours("INVITE"), tcp(1));
    bench.seen();
    bench.cancel(client);
    assert_eq!(bench.pass(32_000), ["32000 count INVITE timeout"]);
    assert_eq!(
        bench.receive(&answer(200, "INVITE", "x"), tcp(1)),
        ["tell 200 INVITE"]
    );
    bench.pass(32_000);
    bench.assert_empty();
}

#[test]
fn a_cancelled_invite_over_a_broken_flow_is_no_news() {
    let mut bench = Bench::new();
    let client = bench.request(&ours("INVITE"), udp());
    bench.seen();
    bench.cancel(client);
    assert!(bench.fail(udp()).is_empty());
    let seen = bench.pass(212_000);
    assert!(!seen.iter().any(|what| what.contains("tell")), "{seen:?}");
    bench.assert_empty();
}

#[test]
fn what_is_no_invite_is_not_cancelled() {
    let mut bench = Bench::new();
    let client = bench.request(&ours("MESSAGE"), tcp(1));
    bench.seen();
    assert!(bench.cancel(client).is_empty());
    assert_eq!(
        bench.receive(&answer(200, "MESSAGE", "x"), tcp(1)),
        ["tell 200 MESSAGE"]
    );
}

#[test]
fn a_cancel_is_answered_and_told_once() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench.respond(180);
    let server = bench.server.expect("the INVITE was told");
    bench.layer.bind(server, "bound");
    assert_eq!(
        bench.receive(&theirs("CANCEL", "z9hG4bK1"), udp()),
        ["send 200 CANCEL", "tell cancelled Some(\"bound\")"]
    );
    // RFC 3261 9.2: the tag of the response to the INVITE.
    assert_eq!(bench.last_sent().to_tag(), Some("ours"));
    assert_eq!(
        bench.receive(&theirs("CANCEL", "z9hG4bK1"), udp()),
        ["send 200 CANCEL"]
    );
    assert_eq!(bench.retransmitted, (1, 0));
    assert_eq!(bench.respond(487), ["send 487 INVITE"]);
    assert!(bench.receive(&theirs("ACK", "z9hG4bK1"), udp()).is_empty());
    bench.pass(5000);
    bench.assert_empty();
}

#[test]
fn a_cancel_before_any_response_gets_a_tag_that_stays() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench.receive(&theirs("CANCEL", "z9hG4bK1"), udp());
    let first = bench.last_sent().to_tag().map(str::to_owned);
    assert!(first.is_some());
    bench.receive(&theirs("CANCEL", "z9hG4bK1"), udp());
    assert_eq!(bench.last_sent().to_tag(), first.as_deref());
}

#[test]
fn a_cancel_after_the_final_response_is_answered_and_nothing_else() {
    for status in [200, 486] {
        let mut bench = Bench::new();
        bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
        bench.respond(status);
        assert_eq!(
            bench.receive(&theirs("CANCEL", "z9hG4bK1"), udp()),
            ["send 200 CANCEL"]
        );
        assert_eq!(bench.last_sent().to_tag(), Some("ours"));
    }
}

#[test]
fn a_cancel_of_nothing_gets_481() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.receive(&theirs("CANCEL", "z9hG4bK1"), udp()),
        ["count stray cancel", "send 481 CANCEL"]
    );
    assert!(bench.last_sent().to_tag().is_some());
    bench.assert_empty();
}

#[test]
fn a_call_can_be_answered_although_it_was_cancelled() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench.receive(&theirs("CANCEL", "z9hG4bK1"), udp());
    assert_eq!(bench.respond(200), ["send 200 INVITE"]);
    assert_eq!(bench.pass(500), ["500 send 200 INVITE"]);
}
