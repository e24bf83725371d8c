//! Proxies between us and the phones: Record-Route, loose and strict routes, other places than Contact.

use bytes::Bytes;
use refork::engine::events::Happening;
use refork::engine::settings::{Route, RouteFork, Upstream};
use refork::engine::time::Millis;
use refork::sip::{Builder, Method, Name};

use crate::people::*;
use crate::table::*;

fn proxy() -> std::net::SocketAddr {
    phone("198.51.100.9:5060")
}

/// Alice's INVITE, come through a proxy.
fn through_a_proxy() -> Bytes {
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1").header(
        Name::RecordRoute,
        "<sip:198.51.100.9;lr>, <sip:outer.example.net;lr>",
    );
    with_sdp(invite, &sdp(alice(), 1, "sendrecv"))
}

#[test]
fn the_callers_route_set_is_shown_and_used() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.receive(proxy(), through_a_proxy());
    let invite = t.request_to(desk(), Method::Invite);
    assert!(
        invite.header(Name::RecordRoute).is_none(),
        "it belongs to the caller's leg"
    );
    t.reply(&invite, 180, desk());
    let ringing = t.response_to(proxy(), 180);
    assert_eq!(ringing.values(Name::RecordRoute).count(), 2);
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv")),
    );
    let ok = t.response_to(proxy(), 200);
    assert_eq!(ok.values(Name::RecordRoute).count(), 2);
    t.request_to(desk(), Method::Ack);
    t.receive(proxy(), Remote::of_answer(&ok, alice()).ack(1));
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive(desk(), b.request(Method::Bye).end());
    // RFC 3261 12.1.1: the route set of a UAS is the Record-Route as it came; it goes where it came from.
    let bye = t.request_to(proxy(), Method::Bye);
    let routes: Vec<_> = bye.values(Name::Route).collect();
    assert_eq!(
        routes,
        ["<sip:198.51.100.9;lr>", "<sip:outer.example.net;lr>"]
    );
    assert!(bye.uri().contains("198.51.100.1"));
}

#[test]
fn the_callees_route_set_is_reversed_and_a_strict_router_obeyed() {
    for (first, uri, last) in [
        (
            "<sip:p2.example.net;lr>",
            "sip:phone@198.51.100.2:5060",
            "<sip:p1.example.net;lr>",
        ),
        (
            "<sip:p2.example.net>",
            "sip:p2.example.net",
            "<sip:phone@198.51.100.2:5060>",
        ),
    ] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        t.alice_invites(&sdp(alice(), 1, "sendrecv"));
        let invite = t.request_to(desk(), Method::Invite);
        let ok = answer_to(&invite).header(
            Name::RecordRoute,
            format_args!("<sip:p1.example.net;lr>, {first}"),
        );
        t.receive(desk(), with_sdp(ok, &sdp(desk(), 1, "sendrecv")));
        let ack = t.request_to(desk(), Method::Ack);
        let routes: Vec<_> = ack.values(Name::Route).collect();
        assert_eq!(ack.uri(), uri);
        assert_eq!(routes.last().copied(), Some(last), "{routes:?}");
        assert_eq!(routes.len(), 2);
    }
}

#[test]
fn a_phone_behind_nat_is_answered_and_asked_where_it_is_seen() {
    let mut t = Table::new(settings());
    let seen = phone("203.0.113.50:33333");
    let private = phone("10.0.0.7:5060");
    // Its Contact names an address that nobody here can reach.
    let register =
        String::from_utf8(t.register_request("bob", private, "desk", 1, 3600).to_vec()).unwrap();
    t.receive(seen, register.into());
    t.response_to(seen, 200);
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(seen, Method::Invite);
    assert!(invite.uri().contains("10.0.0.7"));
    t.receive(
        seen,
        with_sdp(
            response(&invite, 200, private, "n1"),
            &sdp(private, 1, "sendrecv"),
        ),
    );
    let ack = t.request_to(seen, Method::Ack);
    assert!(ack.uri().contains("10.0.0.7"));
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.receive(alice(), a.message("hi"));
    t.request_to(seen, Method::Message);
}

#[test]
fn a_path_is_the_way_to_the_phone() {
    let mut t = Table::new(settings());
    let register =
        String::from_utf8(t.register_request("bob", desk(), "desk", 1, 3600).to_vec()).unwrap();
    let register = register.replacen(
        "Expires:",
        "Path: <sip:198.51.100.9;lr>\r\nSupported: path\r\nExpires:",
        1,
    );
    t.receive(proxy(), register.into());
    t.response_to(proxy(), 200);
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(proxy(), Method::Invite);
    assert_eq!(invite.header(Name::Route), Some("<sip:198.51.100.9;lr>"));
}

#[test]
fn the_same_endpoint_may_be_asked_to_answer_by_itself() {
    let mut wishes = settings();
    wishes.restore.auto_answer_same = true;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.established();
    t.bob_is_lost();
    let same = t.request_to(desk(), Method::Invite);
    assert_eq!(same.header(Name::AnswerMode), Some("Auto"));
    assert!(
        same.header(Name::CallInfo)
            .unwrap()
            .contains("answer-after=0")
    );
    assert!(
        same.header(Name::AlertInfo)
            .unwrap()
            .contains("info=alert-autoanswer")
    );
    t.pass(Millis(2_100));
    let other = t.request_to(mobile(), Method::Invite);
    let asks = [Name::AnswerMode, Name::CallInfo, Name::AlertInfo];
    assert!(asks.iter().all(|name| other.header(*name).is_none()));
}

#[test]
fn nobody_is_asked_to_answer_by_itself_unwished() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let same = t.request_to(desk(), Method::Invite);
    let asks = [Name::AnswerMode, Name::CallInfo, Name::AlertInfo];
    assert!(asks.iter().all(|name| same.header(*name).is_none()));
}

#[test]
fn a_nat_that_changes_the_port_is_followed_within_the_dialog() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.texting();
    let rebound = phone("198.51.100.1:61000");
    t.receive(rebound, a.message("one"));
    let one = t.request_to(desk(), Method::Message);
    t.reply(&one, 200, desk());
    t.discard(alice());
    t.receive(desk(), b.message("two"));
    assert!(
        t.waiting(rebound, &Method::Message).is_some(),
        "sent to the port that the NAT has closed"
    );
}

#[test]
fn behind_a_nat_that_changed_the_port_texts_go_both_ways() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.texting();
    let rebound = phone("198.51.100.1:61000");
    t.receive(desk(), b.message("from bob"));
    let mut got = 0;
    for minute in 0..5 {
        t.receive(rebound, a.message(&format!("from alice {minute}")));
        for _ in 0..12 {
            t.pass(Millis::from_secs(5));
            for method in [
                Method::Message,
                Method::Options,
                Method::Invite,
                Method::Update,
            ] {
                while let Some(request) = t.waiting(desk(), &method) {
                    t.reply(&request, 200, desk());
                }
            }
            got += usize::from(t.waiting(rebound, &Method::Message).is_some());
        }
    }
    let repaired = t.happened(|what| matches!(what, Happening::Repaired { .. }));
    assert!(
        got > 0,
        "lost {} times, repaired {repaired} times, and nothing came through",
        t.happened(|what| matches!(what, Happening::Lost { .. }))
    );
}

#[test]
fn behind_an_upstream_the_aor_is_asked_for_again() {
    let mut wishes = settings();
    let targets = vec!["sip:198.51.100.2:5060".into()];
    wishes.upstreams.insert(
        "pbx".into(),
        Upstream {
            targets,
            ..upstream("", false)
        },
    );
    wishes.routes.push(Route {
        pattern: "sip:4*@*".into(),
        to: "pbx".into(),
        fork: RouteFork::default(),
        emergency: None,
    });
    let mut t = Table::new(wishes);
    let invite = request(Method::Invite, "alice", "401", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &sdp(alice(), 1, "sendrecv")));
    let invite = t.request_to(desk(), Method::Invite);
    // Asterisk's Contact names nobody.
    let ok = Builder::respond(&invite, 200, "OK", Some("b1"), SERVER.parse().unwrap())
        .header(Name::Contact, "<sip:198.51.100.2:5060>");
    t.receive(desk(), with_sdp(ok, &sdp(desk(), 1, "sendrecv")));
    t.discard(desk());
    t.restart();
    t.bob_is_lost();
    t.pass(Millis::from_secs(20));
    let mut asked = Vec::new();
    while let Some(invite) = t.waiting(desk(), &Method::Invite) {
        asked.push(invite.uri().to_owned());
    }
    assert!(
        asked.iter().any(|uri| uri.contains("401@")),
        "only {asked:?} was asked"
    );
}
