//! Requests of ours.

use super::*;

#[test]
fn an_unanswered_invite_over_udp_is_sent_seven_times_and_times_out() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    assert_eq!(bench.seen(), ["send INVITE"]);
    assert_eq!(
        bench.pass(32_000),
        [
            "500 send INVITE",
            "1500 send INVITE",
            "3500 send INVITE",
            "7500 send INVITE",
            "15500 send INVITE",
            "31500 send INVITE",
            "32000 count INVITE timeout",
            "32000 tell timeout",
        ]
    );
    assert_eq!(bench.retransmitted, (0, 6));
    assert_eq!(bench.layer.counts(), (1, 0), "a frozen phone may thaw");
    assert!(bench.pass(180_000).is_empty());
    bench.assert_empty();
}

#[test]
fn what_is_told_of_a_request_is_of_the_conversation_it_was_sent_for() {
    for (context, of) in [("of 7", Some(ConversationId(7))), ("context", None)] {
        let mut bench = Bench::new();
        bench.request_with(context, &ours("INVITE"), udp());
        bench.pass(500);
        assert_eq!((bench.retransmitted, bench.of), ((0, 1), of));
        bench.of = None;
        bench.pass(31_500);
        assert_eq!(bench.of, of, "the time-out");
    }
}

#[test]
fn an_unanswered_invite_over_tcp_is_sent_once() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), tcp(1));
    assert_eq!(bench.seen(), ["send INVITE"]);
    assert_eq!(
        bench.pass(60_000),
        ["32000 count INVITE timeout", "32000 tell timeout"]
    );
    bench.pass(180_000);
    bench.assert_empty();
}

/// RFC 3261 8.1.3.3, 18.1.2.
#[test]
fn a_response_that_is_not_ours_alone_changes_nothing() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.seen();
    let several = "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKother\r\n";
    for status in [180, 200, 486] {
        let text = answer(status, "INVITE", "x");
        for more in [format!("Via: {several}"), format!("v: {several}")] {
            let text = text.replacen("From:", &format!("{more}From:"), 1);
            assert_eq!(bench.receive(&text, udp()), ["count stray vias"]);
        }
        let text = text.replace("rport=5060", "rport=5060, SIP/2.0/UDP 192.0.2.77");
        assert_eq!(bench.receive(&text, udp()), ["count stray vias"]);
        // The top one is somebody else's.
        let text = answer(status, "INVITE", "x").replace("z9hG4bKours", "z9hG4bKtheirs");
        let seen = bench.receive(&text, udp());
        let told = format!("tell stray {status} INVITE");
        assert_eq!(seen, ["count stray response".to_owned(), told]);
    }
    let seen = bench.receive(&answer(200, "INVITE", "x"), udp());
    assert_eq!(seen, ["tell 200 INVITE"]);
}

#[test]
fn a_provisional_response_ends_the_retransmissions_and_the_wait() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.pass(700);
    assert!(bench.receive(&answer(100, "INVITE", "x"), udp()).is_empty());
    assert!(bench.pass(600_000).is_empty());
    for _ in 0..2 {
        let seen = bench.receive(&answer(180, "INVITE", "x"), udp());
        assert_eq!(seen, ["tell 180 INVITE"]);
    }
    // Timer C alone.
    assert_eq!(bench.layer.timers(), 1);
    bench.receive(&answer(486, "INVITE", "x"), udp());
    bench.pass(32_000);
    bench.assert_empty();
}

#[test]
fn a_failure_is_told_once_and_acknowledged_each_time() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.receive(&answer(180, "INVITE", "x"), udp());
    let seen = bench.receive(&answer(486, "INVITE", "x"), udp());
    assert_eq!(seen, ["send ACK", "tell 486 INVITE"]);
    let ack = bench.last_sent();
    assert_eq!(ack.uri(), "sip:bob@192.0.2.1");
    assert_eq!(ack.branch(), Some("z9hG4bKours"));
    assert_eq!(ack.vias().count(), 1);
    assert_eq!((ack.cseq(), ack.to_tag()), (7, Some("x")));
    assert_eq!(
        (ack.from_tag(), ack.call_id()),
        (Some("a"), "ours@198.51.100.1")
    );
    assert_eq!(ack.values(crate::sip::Name::Route).count(), 3);
    assert_eq!(bench.sent_to, Some(udp()));

    bench.pass(31_999);
    let seen = bench.receive(&answer(486, "INVITE", "x"), udp());
    assert_eq!(seen, ["send ACK"]);
    assert_eq!(bench.retransmitted, (1, 1));
    bench.pass(1);
    bench.assert_empty();
}

#[test]
fn a_failure_over_tcp_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), tcp(1));
    bench.seen();
    let seen = bench.receive(&answer(603, "INVITE", "x"), tcp(1));
    assert_eq!(seen, ["send ACK", "tell 603 INVITE"]);
    bench.assert_empty();
}

#[test]
fn every_2xx_goes_up_of_whichever_fork() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.seen();
    for tag in ["x", "x", "y", "x"] {
        let seen = bench.receive(&answer(200, "INVITE", tag), udp());
        assert_eq!(seen, ["tell 200 INVITE"]);
        bench.pass(1000);
    }
    // Another fork's ringing or failure came late.
    assert!(bench.receive(&answer(180, "INVITE", "z"), udp()).is_empty());
    assert!(bench.receive(&answer(486, "INVITE", "z"), udp()).is_empty());
    bench.pass(27_999);
    let seen = bench.receive(&answer(200, "INVITE", "w"), udp());
    assert_eq!(seen, ["tell 200 INVITE"]);
    bench.pass(1);
    bench.assert_empty();
}

#[test]
fn a_2xx_after_a_failure_goes_up() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.receive(&answer(486, "INVITE", "x"), udp());
    let seen = bench.receive(&answer(200, "INVITE", "y"), udp());
    assert_eq!(seen, ["tell 200 INVITE"]);
}

#[test]
fn a_phone_that_thaws_after_the_timeout_is_cancelled() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.pass(100_000);
    let seen = bench.receive(&answer(180, "INVITE", "x"), udp());
    assert_eq!(seen, ["send CANCEL"]);
    // It is sent again like any request, but not for every sign of life.
    assert!(bench.receive(&answer(180, "INVITE", "x"), udp()).is_empty());
    assert_eq!(bench.pass(1500), ["500 send CANCEL", "1500 send CANCEL"]);
    assert!(bench.receive(&answer(200, "CANCEL", "x"), udp()).is_empty());
    let seen = bench.receive(&answer(487, "INVITE", "x"), udp());
    assert_eq!(seen, ["send ACK"]);
    bench.pass(32_000);
    bench.assert_empty();
}

#[test]
fn a_phone_that_thaws_and_answers_is_told() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.pass(100_000);
    bench.receive(&answer(180, "INVITE", "x"), udp());
    for _ in 0..2 {
        let seen = bench.receive(&answer(200, "INVITE", "x"), udp());
        assert_eq!(seen, ["tell 200 INVITE"]);
    }
    bench.pass(32_000);
    bench.assert_empty();
}

#[test]
fn a_request_over_udp_is_sent_at_growing_intervals_up_to_t2() {
    let mut bench = Bench::new();
    bench.request(&ours("MESSAGE"), udp());
    bench.seen();
    assert_eq!(
        bench.pass(40_000),
        [
            "500 send MESSAGE",
            "1500 send MESSAGE",
            "3500 send MESSAGE",
            "7500 send MESSAGE",
            "11500 send MESSAGE",
            "15500 send MESSAGE",
            "19500 send MESSAGE",
            "23500 send MESSAGE",
            "27500 send MESSAGE",
            "31500 send MESSAGE",
            "32000 count MESSAGE timeout",
            "32000 tell timeout",
        ]
    );
    bench.assert_empty();
}

#[test]
fn a_100_slows_a_request_down_to_t2() {
    let mut bench = Bench::new();
    bench.request(&ours("BYE"), udp());
    bench.seen();
    assert!(bench.receive(&answer(100, "BYE", "x"), udp()).is_empty());
    assert_eq!(
        bench.pass(9000),
        ["500 send BYE", "4500 send BYE", "8500 send BYE"]
    );
    let seen = bench.receive(&answer(200, "BYE", "x"), udp());
    assert_eq!(seen, ["tell 200 BYE"]);
    assert!(bench.receive(&answer(200, "BYE", "x"), udp()).is_empty());
    assert_eq!(bench.retransmitted.0, 1);
    assert!(bench.pass(5000).is_empty());
    bench.assert_empty();
}

#[test]
fn an_answered_request_over_tcp_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.request(&ours("OPTIONS"), tcp(1));
    bench.seen();
    assert!(bench.pass(31_999).is_empty());
    let seen = bench.receive(&answer(405, "OPTIONS", "x"), tcp(1));
    assert_eq!(seen, ["tell 405 OPTIONS"]);
    bench.assert_empty();
    // What comes after is nobody's.
    let seen = bench.receive(&answer(405, "OPTIONS", "x"), tcp(1));
    assert_eq!(seen, ["count stray response", "tell stray 405 OPTIONS"]);
}

#[test]
fn a_response_finds_its_request_by_branch_and_method() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.seen();
    let seen = bench.receive(&answer(200, "BYE", "x"), udp());
    assert_eq!(seen, ["count stray response", "tell stray 200 BYE"]);
    let other = answer(200, "INVITE", "x").replace("z9hG4bKours", "z9hG4bKother");
    let seen = bench.receive(&other, udp());
    assert_eq!(seen, ["count stray response", "tell stray 200 INVITE"]);
}

#[test]
fn nobody_waits_for_a_peer_that_is_not_there() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.request(&ours("MESSAGE").replace("ours;", "second;"), udp());
    bench.request(&ours("OPTIONS"), udp_from("192.0.2.2:5060"));
    bench.seen();
    assert_eq!(bench.fail(udp()), ["tell unreachable", "tell unreachable"]);
    // The INVITE is remembered: one of those that went out before may have arrived.
    assert_eq!(bench.layer.counts(), (2, 0));
    assert!(bench.fail(udp()).is_empty());
    assert_eq!(bench.pass(180_000).last().unwrap(), "32000 tell timeout");
    bench.assert_empty();
}

#[test]
fn a_phone_that_rings_after_all_is_cancelled() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.seen();
    assert_eq!(bench.fail(udp()), ["tell unreachable"]);
    // Nobody is asked any more, and nothing is sent again.
    assert!(bench.pass(4_000).is_empty());
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
fn an_icmp_does_not_end_what_was_taken_back() {
    let mut bench = Bench::new();
    let invite = bench.request(&ours("INVITE"), udp());
    bench.seen();
    assert!(bench.cancel(invite).is_empty());
    assert!(bench.fail(udp()).is_empty());
    assert_eq!(bench.pass(500), ["500 send INVITE"]);
    assert_eq!(
        bench.receive(&answer(180, "INVITE", "x"), udp()),
        ["send CANCEL", "tell 180 INVITE"]
    );
}

#[test]
fn what_is_insisted_on_goes_out_again_in_spite_of_an_icmp() {
    let mut bench = Bench::new();
    let bye = bench.request(&ours("BYE"), udp());
    bench.layer.insist(bye);
    bench.seen();
    let mut sent = Vec::new();
    for _ in 0..32 {
        sent.extend(bench.pass(1000));
        assert!(bench.fail(udp()).is_empty(), "an ICMP ends it");
    }
    let again = sent.iter().filter(|what| what.ends_with("send BYE"));
    assert_eq!(again.count(), 10, "RFC 3261 17.1.2.2: {sent:?}");
    assert_eq!(sent.last().unwrap(), "1000 tell timeout");
    bench.assert_empty();
}

#[test]
fn what_is_insisted_on_ends_with_its_connection() {
    let mut bench = Bench::new();
    let bye = bench.request(&ours("BYE"), tcp(1));
    bench.layer.insist(bye);
    bench.seen();
    assert_eq!(bench.fail(tcp(1)), ["tell unreachable"]);
    bench.assert_empty();
}

#[test]
fn a_closed_connection_ends_what_went_over_it() {
    let mut bench = Bench::new();
    let any = Flow {
        connection: None,
        ..tcp(0)
    };
    bench.request(&ours("MESSAGE"), tcp(1));
    bench.request(&ours("MESSAGE").replace("ours;", "second;"), tcp(2));
    bench.request(&ours("MESSAGE").replace("ours;", "third;"), any);
    bench.seen();
    assert_eq!(bench.fail(tcp(1)), ["tell unreachable", "tell unreachable"]);
    assert_eq!(bench.layer.counts(), (1, 0));
    assert_eq!(bench.fail(any), ["tell unreachable"]);
    bench.assert_empty();
}

#[test]
fn a_broken_transport_does_not_end_what_rings() {
    // Anybody can forge an ICMP, and nobody the end of a connection.
    for (flow, told) in [(udp(), "tell doubted"), (tcp(1), "tell severed")] {
        let mut bench = Bench::new();
        let invite = bench.request(&ours("INVITE"), flow);
        bench.receive(&answer(180, "INVITE", "x"), flow);
        assert_eq!(bench.fail(flow), [told]);
        assert_eq!(bench.cancel(invite), ["send CANCEL"]);
        // The closed connection is not waited for: a CANCEL opens another one.
        assert_eq!(bench.sent_to.and_then(|flow| flow.connection), None);
        bench.receive(&answer(200, "CANCEL", "x"), flow);
        bench.receive(&answer(487, "INVITE", "x"), flow);
        bench.pass(32_000);
        bench.assert_empty();
    }
}

#[test]
fn an_icmp_does_not_take_a_cancel_back() {
    let mut bench = Bench::new();
    let invite = bench.request(&ours("INVITE"), udp());
    bench.receive(&answer(180, "INVITE", "x"), udp());
    bench.cancel(invite);
    assert!(bench.fail(udp()).is_empty());
    assert_eq!(bench.pass(500), ["500 send CANCEL"]);
}

#[test]
fn what_rings_for_ever_is_cancelled() {
    let mut bench = Bench::new();
    bench.request(&ours("INVITE"), udp());
    bench.receive(&answer(180, "INVITE", "x"), udp());
    assert!(bench.pass(659_999).is_empty());
    assert_eq!(
        bench.pass(1),
        ["1 count INVITE timeout", "1 send CANCEL", "1 tell timeout"]
    );
    bench.pass(180_000);
    bench.assert_empty();
}

#[test]
fn a_phone_that_rings_and_is_back_over_another_connection_is_cancelled_there() {
    let mut bench = Bench::new();
    let invite = bench.request(&ours("INVITE"), tcp(1));
    bench.receive(&answer(180, "INVITE", "x"), tcp(1));
    assert_eq!(bench.fail(tcp(1)), ["tell severed"]);
    bench.receive(&answer(180, "INVITE", "x"), tcp(2));
    assert_eq!(bench.cancel(invite), ["send CANCEL"]);
    assert_eq!(bench.sent_to, Some(tcp(2)));
    bench.receive(&answer(200, "CANCEL", "x"), tcp(2));
    bench.receive(&answer(487, "INVITE", "x"), tcp(2));
    assert_eq!(bench.sent_to, Some(tcp(2)));
    bench.assert_empty();
}

#[test]
fn two_requests_with_one_branch_do_not_end_each_other() {
    let mut bench = Bench::new();
    bench.request(&ours("MESSAGE"), udp());
    bench.pass(1000);
    bench.request(&ours("MESSAGE"), udp());
    let seen = bench.pass(31_500);
    assert!(seen.contains(&"31000 tell timeout".to_owned()), "{seen:?}");
    // The second one still waits.
    assert_eq!(
        bench.receive(&answer(200, "MESSAGE", "x"), udp()),
        ["tell 200 MESSAGE"]
    );
    bench.pass(5000);
    bench.assert_empty();
}

#[test]
fn what_is_no_request_reaches_nobody() {
    let mut bench = Bench::new();
    let without_branch = ours("MESSAGE").replace(";branch=z9hG4bKours", "");
    for text in ["nonsense", &answer(200, "INVITE", "x"), &without_branch] {
        bench.request(text, udp());
        assert_eq!(bench.seen(), ["tell unreachable"]);
    }
    bench.assert_empty();
}
