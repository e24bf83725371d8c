//! Requests of others.

use super::*;
use crate::engine::transaction::Stranded;

#[test]
fn an_invite_that_takes_long_gets_a_100() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.receive(&theirs("INVITE", "z9hG4bK1"), udp()),
        ["tell INVITE"]
    );
    assert_eq!(bench.pass(10_000), ["200 send 100 INVITE"]);
    assert_eq!(bench.last_sent().to_tag(), None);
    assert_eq!(
        bench.receive(&theirs("INVITE", "z9hG4bK1"), udp()),
        ["send 100 INVITE"]
    );
    assert_eq!(bench.retransmitted, (1, 1));
    assert_eq!(bench.respond(180), ["send 180 INVITE"]);
    assert_eq!(
        bench.receive(&theirs("INVITE", "z9hG4bK1"), udp()),
        ["send 180 INVITE"]
    );
}

#[test]
fn an_invite_that_is_answered_soon_gets_no_100() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench.pass(199);
    bench.respond(183);
    assert!(bench.pass(10_000).is_empty());
}

/// RFC 3261 13.3.1.1: proxies end a call of which they have heard nothing for three minutes.
#[test]
fn a_call_that_rings_is_said_to_ring_every_minute() {
    for flow in [udp(), tcp(1)] {
        let mut bench = Bench::new();
        bench.receive(&theirs("INVITE", "z9hG4bK1"), flow);
        bench.respond(183);
        bench.pass(30_000);
        assert_eq!(bench.respond(180), ["send 180 INVITE"]);
        let seen = ["60000 send 180 INVITE", "120000 send 180 INVITE"];
        assert_eq!(bench.pass(150_000), seen);
        bench.receive(&theirs("CANCEL", "z9hG4bK1"), flow);
        assert!(bench.pass(60_000).is_empty(), "it is to end");
        bench.respond(487);
        bench.receive(&theirs("ACK", "z9hG4bK1"), flow);
        bench.pass(5000);
        bench.assert_empty();
    }
}

#[test]
fn a_failure_over_udp_is_sent_until_it_is_acknowledged() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    assert_eq!(bench.respond(486), ["send 486 INVITE"]);
    assert_eq!(
        bench.pass(12_000),
        [
            "500 send 486 INVITE",
            "1500 send 486 INVITE",
            "3500 send 486 INVITE",
            "7500 send 486 INVITE",
            "11500 send 486 INVITE",
        ]
    );
    assert_eq!(
        bench.receive(&theirs("INVITE", "z9hG4bK1"), udp()),
        ["send 486 INVITE"]
    );
    assert!(bench.receive(&theirs("ACK", "z9hG4bK1"), udp()).is_empty());
    assert!(bench.pass(4999).is_empty());
    assert!(bench.receive(&theirs("ACK", "z9hG4bK1"), udp()).is_empty());
    assert!(
        bench
            .receive(&theirs("INVITE", "z9hG4bK1"), udp())
            .is_empty()
    );
    bench.pass(1);
    bench.assert_empty();
}

#[test]
fn a_failure_that_is_never_acknowledged_is_given_up() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench.respond(500);
    let seen = bench.pass(32_000);
    assert_eq!(seen.len(), 11, "{seen:?}");
    assert_eq!(seen.last().expect("eleven"), "32000 count INVITE timeout");
    bench.assert_empty();
}

#[test]
fn a_failure_over_tcp_is_sent_once_and_its_ack_ends_it() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), tcp(1));
    bench.respond(404);
    assert!(bench.pass(20_000).is_empty());
    assert!(bench.receive(&theirs("ACK", "z9hG4bK1"), tcp(1)).is_empty());
    bench.assert_empty();
}

#[test]
fn a_2xx_is_sent_until_its_dialog_saw_the_ack() {
    for flow in [udp(), tcp(1)] {
        let mut bench = Bench::new();
        bench.receive(&theirs("INVITE", "z9hG4bK1"), flow);
        assert_eq!(bench.respond(200), ["send 200 INVITE"]);
        assert_eq!(
            bench.pass(8000),
            [
                "500 send 200 INVITE",
                "1500 send 200 INVITE",
                "3500 send 200 INVITE",
                "7500 send 200 INVITE",
            ]
        );
        assert!(
            bench
                .receive(&theirs("INVITE", "z9hG4bK1"), flow)
                .is_empty()
        );
        // The ACK of a 2xx has a branch of its own (RFC 3261 13.2.2.4).
        assert_eq!(
            bench.receive(&theirs("ACK", "z9hG4bK2"), flow),
            ["tell ACK"]
        );
        bench
            .layer
            .acknowledged(bench.server.expect("the INVITE was told"));
        assert!(bench.pass(10_000).is_empty());
        assert!(
            bench
                .receive(&theirs("INVITE", "z9hG4bK1"), flow)
                .is_empty(),
            "a late retransmission is absorbed"
        );
        assert_eq!(bench.retransmitted.0, 2);
        assert!(bench.pass(14_000).is_empty());
        bench.assert_empty();
    }
}

#[test]
fn an_ack_of_a_2xx_with_the_branch_of_the_invite_goes_up() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench.respond(200);
    let ack = theirs("ACK", "z9hG4bK1");
    assert_eq!(bench.receive(&ack, udp()), ["tell ACK"]);
    bench
        .layer
        .acknowledged(bench.server.expect("the INVITE was told"));
    assert_eq!(bench.receive(&ack, udp()), ["tell ACK"]);
}

#[test]
fn a_2xx_that_is_never_acknowledged_is_told() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench
        .layer
        .bind(bench.server.expect("the INVITE was told"), "bound");
    bench.respond(200);
    let seen = bench.pass(32_000);
    assert_eq!(
        seen[10..],
        [
            "32000 count INVITE timeout",
            "32000 tell no ack Some(\"bound\")"
        ]
    );
    bench.assert_empty();
}

#[test]
fn a_request_is_kept_until_its_final_response() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    let server = bench.server.expect("the INVITE was told");
    bench.respond(180);
    let (request, flow) = bench.layer.request_of(server).expect("it rings");
    assert_eq!((request.cseq(), flow), (3, udp()));
    bench.respond(200);
    assert!(bench.layer.request_of(server).is_none());
    // It has its final response, and keeps it.
    assert!(bench.respond(486).is_empty());
    assert_eq!(bench.pass(500), ["500 send 200 INVITE"]);
}

#[test]
fn a_request_that_comes_again_gets_the_same_answer() {
    let mut bench = Bench::new();
    let message = theirs("MESSAGE", "z9hG4bK1");
    assert_eq!(bench.receive(&message, udp()), ["tell MESSAGE"]);
    assert!(bench.receive(&message, udp()).is_empty());
    assert_eq!(bench.respond(200), ["send 200 MESSAGE"]);
    bench.pass(31_999);
    assert_eq!(bench.receive(&message, udp()), ["send 200 MESSAGE"]);
    assert_eq!(bench.retransmitted, (2, 1));
    bench.pass(1);
    bench.assert_empty();
}

#[test]
fn an_answer_over_tcp_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.receive(&theirs("MESSAGE", "z9hG4bK1"), tcp(1));
    assert_eq!(bench.respond(202), ["send 202 MESSAGE"]);
    bench.assert_empty();
}

#[test]
fn a_request_that_takes_long_gets_a_100_and_after_64_t1_nothing() {
    let mut bench = Bench::new();
    bench.receive(&theirs("MESSAGE", "z9hG4bK1"), udp());
    assert!(bench.respond(180).is_empty(), "RFC 4320 4.1");
    assert_eq!(
        bench.pass(40_000),
        ["3500 send 100 MESSAGE", "32000 count MESSAGE timeout"]
    );
    bench.assert_empty();
    assert!(bench.respond(200).is_empty(), "nobody waits any more");
}

#[test]
fn a_408_is_never_sent_to_what_is_no_invite() {
    let mut bench = Bench::new();
    let message = theirs("MESSAGE", "z9hG4bK1");
    bench.receive(&message, udp());
    bench.pass(4000);
    assert!(bench.respond(408).is_empty());
    assert!(bench.receive(&message, udp()).is_empty());
    bench.pass(32_000);
    bench.assert_empty();

    bench.receive(&theirs("INVITE", "z9hG4bK2"), udp());
    assert_eq!(bench.respond(408), ["send 408 INVITE"]);
}

#[test]
fn responses_over_udp_go_to_the_port_of_the_via_without_rport() {
    let invite = theirs("INVITE", "z9hG4bK1");
    let from = udp_from("192.0.2.1:61000");
    for (via, port) in [
        ("192.0.2.1:5070;branch=z9hG4bK1;rport", 61000),
        ("192.0.2.1:5070;branch=z9hG4bK1", 5070),
        ("192.0.2.1;branch=z9hG4bK1", 5060),
        ("phone.example:5070;branch=z9hG4bK1", 5070),
        // Of a proxy with several addresses, and of a phone behind a NAT.
        ("203.0.113.9:5070;branch=z9hG4bK1", 5070),
        ("192.168.1.7:5070;branch=z9hG4bK1", 61000),
        ("[fd00::7]:5070;branch=z9hG4bK1", 61000),
    ] {
        let mut bench = Bench::new();
        let text = invite.replace("192.0.2.1:5070;branch=z9hG4bK1;rport", via);
        bench.receive(&text, from);
        bench.respond(180);
        let sent_to = bench.sent_to.expect("the 180 was sent").peer;
        assert_eq!(sent_to, std::net::SocketAddr::from(([192, 0, 2, 1], port)));
    }
    // No NAT: the same host by another of its addresses.
    let mut bench = Bench::new();
    let via = "[fd00::7]:5070;branch=z9hG4bK1";
    let text = invite.replace("192.0.2.1:5070;branch=z9hG4bK1;rport", via);
    bench.receive(&text, udp_from("[2001:db8::7]:61000"));
    bench.respond(180);
    assert_eq!(bench.sent_to.expect("the 180 was sent").peer.port(), 5070);
}

#[test]
fn responses_over_tcp_go_back_over_the_connection_or_to_the_port_of_the_via() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), tcp(1));
    bench.respond(180);
    assert_eq!(bench.sent_to, Some(tcp(1)));
    assert!(bench.fail(tcp(2)).is_empty());
    bench.respond(183);
    assert_eq!(bench.sent_to, Some(tcp(1)));
    assert!(bench.fail(tcp(1)).is_empty());
    bench.respond(200);
    let flow = bench.sent_to.expect("the 200 was sent");
    assert_eq!((flow.peer.port(), flow.connection), (5070, None));
    // The client connects again and sends its INVITE again.
    bench.receive(&theirs("INVITE", "z9hG4bK1"), tcp(3));
    bench.pass(500);
    assert_eq!(bench.sent_to, Some(tcp(3)));
}

/// The connection that it is answered over then is the one that matters.
#[test]
fn who_asks_again_over_a_connection_is_answered_where_it_listens_once_that_is_closed() {
    let mut bench = Bench::new();
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench.receive(&theirs("INVITE", "z9hG4bK1"), tcp(1));
    bench.respond(200);
    assert_eq!(bench.sent_to, Some(tcp(1)));
    assert!(bench.fail(tcp(1)).is_empty());
    bench.pass(500);
    let flow = bench.sent_to.expect("the 200 was sent");
    assert_eq!((flow.peer.port(), flow.connection), (5070, None));
}

/// Whoever has us remember requests for nothing has no more of them looked through.
#[test]
fn a_way_back_that_is_gone_is_no_longer_watched() {
    let mut bench = Bench::new();
    let invite = theirs("INVITE", "z9hG4bK1").replace("192.0.2.1:5070", "proxy.example");
    bench.receive(&invite, udp());
    let (_, watched) = bench.layer.indexed();
    bench.fail(udp());
    assert_eq!(bench.layer.indexed().1, watched - 1);
    // Until it is another.
    bench.receive(&invite, udp_from("192.0.2.1:5080"));
    assert_eq!(bench.layer.indexed().1, watched);
}

#[test]
fn over_tls_the_host_of_the_via_is_to_prove_itself_where_it_is_connected_to() {
    let over = |number| Flow {
        transport: Transport::Tls,
        ..tcp(number)
    };
    for (sent_by, host) in [
        ("client.example:5070", Some("client.example")),
        ("192.0.2.1:5070", None),
    ] {
        let mut bench = Bench::new();
        let invite = theirs("INVITE", "z9hG4bK1").replace("192.0.2.1:5070", sent_by);
        bench.receive(&invite, over(1));
        let Flow {
            transport,
            peer,
            connection,
            ..
        } = over(1);
        let (layer, now) = (&mut bench.layer, bench.now);
        let stranded = layer.flow_failed(transport, peer, connection, now, &mut bench.out);
        let at = std::net::SocketAddr::new(peer.ip(), 5070);
        assert_eq!(stranded.len(), usize::from(host.is_some()));
        for one in stranded {
            let Stranded::Named {
                server,
                peer,
                host: named,
            } = one
            else {
                panic!("{one:?}");
            };
            assert_eq!((peer, Some(&*named)), (at, host));
            bench.layer.answer_over(server, over(9));
            bench.respond(200);
            assert_eq!(bench.sent_to, Some(over(9)));
        }
    }
}

#[test]
fn a_stranger_has_no_more_than_one_host_remembered_and_none_once_it_is_answered() {
    let over = Flow {
        transport: Transport::Tls,
        ..tcp(1)
    };
    for (answered, hosts) in [(false, 1), (true, 0)] {
        let mut bench = Bench::new();
        for number in 0..9 {
            let invite = theirs("INVITE", &format!("z9hG4bK{number}"))
                .replace("192.0.2.1:5070", &format!("h{number}.example:5070"))
                .replace("Call-ID: ", &format!("Call-ID: {number}"));
            bench.receive(&invite, over);
            if answered {
                bench.respond(403);
            }
        }
        let (layer, now) = (&mut bench.layer, bench.now);
        assert_eq!(layer.counts(), (0, 9));
        let failed = (over.transport, over.peer, over.connection);
        let stranded = layer.flow_failed(failed.0, failed.1, failed.2, now, &mut bench.out);
        assert_eq!(stranded.len(), hosts);
    }
}

/// What is sought once nobody is where responses go, of a request with this in its Via.
fn sought(sent_by: &str, flow: Flow) -> Option<(String, Option<u16>)> {
    let mut bench = Bench::new();
    let invite = theirs("INVITE", "z9hG4bK1").replace("192.0.2.1:5070", sent_by);
    bench.receive(&invite, flow);
    bench.respond(180);
    // Over a connection the address that it came from has its turn first.
    for _ in 0..2 {
        let gone = bench.sent_to?;
        let (layer, now) = (&mut bench.layer, bench.now);
        let failed = (gone.transport, gone.peer, gone.connection);
        let stranded = layer.flow_failed(failed.0, failed.1, failed.2, now, &mut bench.out);
        if let Some(Stranded::Sought { source, hop, .. }) = stranded.into_iter().next() {
            assert_eq!((source, hop.transport), (flow, Some(flow.transport)));
            return Some((hop.host.into(), hop.port));
        }
        bench.respond(183);
    }
    None
}

#[test]
fn where_nobody_listens_the_host_of_the_via_is_sought() {
    let named = |host: &str, port| Some((host.to_owned(), port));
    for flow in [udp(), tcp(1)] {
        // RFC 3263 5: SRV counts where no port is named.
        assert_eq!(sought("Proxy.example", flow), named("proxy.example", None));
        assert_eq!(
            sought("proxy.example:5070", flow),
            named("proxy.example", Some(5070))
        );
        assert_eq!(sought("192.0.2.77", flow), named("192.0.2.77", None));
        // Where the request came from; an address of another network's own; no host's at all; no name.
        for nowhere in ["192.0.2.1", "10.0.0.9", "127.0.0.1", "0.0.0.0", "224.0.0.1"] {
            assert_eq!(sought(nowhere, flow), None, "{nowhere}");
        }
        assert_eq!(sought(&format!("{}.example", "a".repeat(250)), flow), None);
    }
    let over = |transport| Flow {
        transport,
        ..tcp(1)
    };
    // An address proves nothing.
    assert_eq!(sought("192.0.2.77", over(Transport::Tls)), None);
    assert_eq!(sought("df7jal23ls0d.invalid", over(Transport::Wss)), None);
}

#[test]
fn what_was_answered_goes_to_each_place_of_the_host_until_one_does_not_fail() {
    let mut bench = Bench::new();
    let invite = theirs("INVITE", "z9hG4bK1").replace("192.0.2.1:5070", "proxy.example");
    bench.receive(&invite, udp());
    bench.respond(486);
    let gone = bench.sent_to.expect("the 486 was sent");
    let at = |last: u8| Flow {
        peer: ([192, 0, 2, last], 5060).into(),
        ..gone
    };
    let (layer, now) = (&mut bench.layer, bench.now);
    let stranded = layer.flow_failed(gone.transport, gone.peer, None, now, &mut bench.out);
    let [Stranded::Sought { server, .. }] = stranded[..] else {
        panic!("{stranded:?}");
    };
    // That one of them is where nobody was says nothing new.
    let places = [gone, at(8), at(9)];
    layer.answer_at(server, &places, now, &mut bench.out);
    assert_eq!(bench.seen(), ["send 486 INVITE"]);
    assert_eq!(bench.sent_to, Some(at(8)));
    assert_eq!(bench.fail(at(8)), ["send 486 INVITE"]);
    assert_eq!(bench.sent_to, Some(at(9)));
    assert!(bench.fail(at(9)).is_empty());
    // It is told once where that is, and the ACK ends it.
    bench.layer.answer_at(server, &places, now, &mut bench.out);
    assert!(bench.seen().is_empty());
    let ack = theirs("ACK", "z9hG4bK1").replace("192.0.2.1:5070", "proxy.example");
    bench.receive(&ack, at(9));
    bench.pass(10_000);
    bench.assert_empty();
}

/// Who sends from another port of one address is the same one: it is found under one entry.
#[test]
fn who_was_sought_at_another_port_of_its_address_is_found_by_what_it_sends() {
    let mut bench = Bench::new();
    let invite = theirs("INVITE", "z9hG4bK1").replace("192.0.2.1:5070", "proxy.example");
    bench.receive(&invite, udp());
    bench.respond(486);
    let gone = udp();
    let (layer, now) = (&mut bench.layer, bench.now);
    let stranded = layer.flow_failed(gone.transport, gone.peer, None, now, &mut bench.out);
    let [Stranded::Sought { server, .. }] = stranded[..] else {
        panic!("{stranded:?}");
    };
    let places = ["192.0.2.1:5070", "192.0.2.8:5060"].map(udp_from);
    layer.answer_at(server, &places, now, &mut bench.out);
    assert_eq!(bench.seen(), ["send 486 INVITE"]);
    assert_eq!(bench.fail(places[0]), ["send 486 INVITE"]);
    assert_eq!(bench.sent_to, Some(places[1]));
    let ack = theirs("ACK", "z9hG4bK1").replace("192.0.2.1:5070", "proxy.example");
    assert!(bench.receive(&ack, udp()).is_empty(), "it is of a 2xx");
    bench.pass(10_000);
    bench.assert_empty();
}

#[test]
fn beyond_the_limit_a_request_gets_503_and_leaves_no_trace() {
    let mut bench = Bench::new();
    bench.layer = Transactions::with_limit(TIMERS, START, 1);
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    let second = theirs("MESSAGE", "z9hG4bK2");
    for _ in 0..2 {
        assert_eq!(
            bench.receive(&second, udp()),
            ["count 503 of ours", "send 503 MESSAGE"]
        );
        let retry_after = bench.last_sent().header(crate::sip::Name::RetryAfter);
        assert!(retry_after.is_some());
        assert_eq!(bench.layer.counts(), (0, 1));
    }
    bench.respond(486);
    bench.receive(&theirs("ACK", "z9hG4bK1"), udp());
    bench.pass(5000);
    assert_eq!(bench.receive(&second, udp()), ["tell MESSAGE"]);
}

#[test]
fn what_is_answered_makes_room_for_what_is_new() {
    let mut bench = Bench::new();
    bench.layer = Transactions::with_limit(TIMERS, START, 2);
    // A call that stands, and a flood of what is answered at once.
    bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    bench.respond(200);
    for number in 2..50 {
        let branch = format!("z9hG4bK{number}");
        let method = if number % 2 == 0 { "MESSAGE" } else { "INVITE" };
        let text = theirs(method, &branch).replace("Call-ID: ", &format!("Call-ID: {number}"));
        let told = bench.receive(&text, udp());
        assert!(told.contains(&format!("tell {method}")), "{told:?}");
        bench.respond(407);
        assert_eq!(bench.layer.counts(), (0, 2));
    }
    // The call's own is not among them: its copy is absorbed.
    let copy = bench.receive(&theirs("INVITE", "z9hG4bK1"), udp());
    assert!(!copy.contains(&"tell INVITE".to_owned()), "{copy:?}");
    bench.pass(64_000);
    bench.assert_empty();
}
