//! Requests within dialogs go where the route set or the target leads, and over the flow where that is a
//! phone's (RFC 3261 12.2.1.1); the next target where one fails, TCP for what is large.

use std::net::SocketAddr;

use refork::engine::events::{Event, Happening, TargetFailure};
use refork::engine::ids::{Side, Transport};
use refork::engine::ports::MediaEvent;
use refork::engine::settings::{Route, RouteFork, Settings};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Numbers that begin with 4 are behind a trunk at the desk phone's place.
fn behind_a_trunk() -> Settings {
    let mut wishes = settings();
    wishes
        .upstreams
        .insert("trunk".into(), upstream("sip:198.51.100.2", false));
    wishes.routes.push(Route {
        pattern: "sip:4*@*".into(),
        to: "trunk".into(),
        fork: RouteFork::default(),
        emergency: None,
    });
    wishes
}

const TRUNK: fn() -> SocketAddr = desk;

fn edge() -> SocketAddr {
    phone("203.0.113.80:5060")
}

fn table() -> Table {
    let mut t = Table::new(behind_a_trunk());
    let at = vec![(Transport::Udp, edge())];
    t.names.insert("edge.example.net".into(), at);
    t
}

/// Alice calls 401; the trunk takes the call with these lines instead of a Contact of its own.
fn taken(t: &mut Table, lines: &[(Name, &str)]) -> (Remote, Message) {
    let invite = request(Method::Invite, "alice", "401", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(TRUNK(), Method::Invite);
    let answer = trunk_takes(&invite, lines);
    t.receive(TRUNK(), answer);
    (Remote::of_invite(&invite, TRUNK(), "b1"), invite)
}

fn trunk_takes(invite: &Message, lines: &[(Name, &str)]) -> bytes::Bytes {
    let mut answer =
        refork::sip::Builder::respond(invite, 200, "OK", Some("b1"), SERVER.parse().unwrap())
            .header(
                Name::Allow,
                "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, UPDATE",
            );
    for (name, value) in lines {
        answer = answer.header(*name, value);
    }
    with_sdp(answer, &audio(TRUNK()))
}

/// Alice has her 200, and says so.
fn hears(t: &mut Table) -> Remote {
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    a
}

const ELSEWHERE: (Name, &str) = (Name::Contact, "<sip:b2bua@203.0.113.80>");
const HERE: (Name, &str) = (Name::Contact, "<sip:b2bua@198.51.100.2>");
const EDGE: (Name, &str) = (Name::RecordRoute, "<sip:edge.example.net;lr>");

fn lost(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Lost { .. }))
}

fn failures(t: &Table) -> Vec<(TargetFailure, bool)> {
    let failures = t.events.iter().filter_map(|event| match event {
        Event::TargetFailed { failure, next, .. } => Some((*failure, *next)),
        _ => None,
    });
    failures.collect()
}

#[test]
fn a_peer_is_asked_where_its_contact_is() {
    let mut t = table();
    let (mut b, _) = taken(&mut t, &[ELSEWHERE]);
    let ack = t.request_to(edge(), Method::Ack);
    assert_eq!(ack.uri(), "sip:b2bua@203.0.113.80");
    t.nothing_to(TRUNK());
    let mut a = hears(&mut t);
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(edge(), Method::Info);
    t.reply(&info, 200, edge());
    t.response_to(alice(), 200);
    // What comes from either place is of the dialog, and moves nothing.
    t.receive(edge(), b.request(Method::Info).end());
    let info = t.request_to(alice(), Method::Info);
    t.reply(&info, 200, alice());
    t.response_to(edge(), 200);
    t.receive(TRUNK(), b.request(Method::Info).end());
    let info = t.request_to(alice(), Method::Info);
    t.reply(&info, 200, alice());
    t.response_to(TRUNK(), 200);
    t.hangs_up(&mut a);
    let bye = t.request_to(edge(), Method::Bye);
    t.reply(&bye, 200, edge());
    t.nothing_to(TRUNK());
    assert_eq!(lost(&t), 0);
    t.ends_empty();
}

#[test]
fn a_route_by_name_is_located_before_the_ack() {
    let mut t = table();
    t.dns_waits = true;
    taken(&mut t, &[HERE, EDGE]);
    t.nothing_to(TRUNK());
    let mut a = hears(&mut t);
    t.receive(alice(), a.request(Method::Info).end());
    t.nothing_to(TRUNK());
    t.nothing_to(edge());
    t.dns_answers();
    let ack = t.request_to(edge(), Method::Ack);
    assert_eq!(ack.header(Name::Route), Some("<sip:edge.example.net;lr>"));
    assert_eq!(ack.uri(), "sip:b2bua@198.51.100.2");
    let info = t.request_to(edge(), Method::Info);
    t.reply(&info, 200, edge());
    t.response_to(alice(), 200);
    // For a while the shard goes by what it was told.
    t.dns_waits = true;
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(edge(), Method::Info);
    t.reply(&info, 200, edge());
    t.response_to(alice(), 200);
    t.pass(Millis::from_secs(31));
    t.discard(edge());
    // The conversation is over before the BYE is out.
    t.hangs_up(&mut a);
    t.nothing_to(edge());
    t.dns_answers();
    let bye = t.request_to(edge(), Method::Bye);
    t.reply(&bye, 200, edge());
    t.ends_empty();
}

#[test]
fn a_request_that_waits_for_a_name_is_answered_as_any_other() {
    let mut t = table();
    taken(&mut t, &[HERE, EDGE]);
    t.request_to(edge(), Method::Ack);
    let mut a = hears(&mut t);
    t.pass(Millis::from_secs(31));
    while let Some(probe) = t.waiting(edge(), &Method::Options) {
        t.reply(&probe, 200, edge());
    }
    t.dns_waits = true;
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    t.nothing_to(edge());
    t.dns_answers();
    let reinvite = t.request_to(edge(), Method::Invite);
    assert!(text(&reinvite).contains("a=sendonly"));
    let answer = response(&reinvite, 200, TRUNK(), "b1");
    t.receive(edge(), with_sdp(answer, &sdp(TRUNK(), 2, "recvonly")));
    t.request_to(edge(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"));
}

#[test]
fn where_a_name_leads_nowhere_it_goes_back_to_where_it_came_from() {
    let mut t = table();
    t.names.clear();
    taken(&mut t, &[HERE, EDGE]);
    let ack = t.request_to(TRUNK(), Method::Ack);
    assert_eq!(ack.header(Name::Route), Some("<sip:edge.example.net;lr>"));
    // Nor to an address that the name has only within some other network.
    let mut t = table();
    let inside = vec![(Transport::Udp, phone("192.168.1.1:5060"))];
    t.names.insert("edge.example.net".into(), inside);
    taken(&mut t, &[HERE, EDGE]);
    t.request_to(TRUNK(), Method::Ack);
}

#[test]
fn a_private_contact_is_a_nat_and_leads_nowhere() {
    let mut t = table();
    taken(&mut t, &[(Name::Contact, "<sip:b2bua@192.168.1.2>")]);
    let ack = t.request_to(TRUNK(), Method::Ack);
    assert_eq!(ack.uri(), "sip:b2bua@192.168.1.2");
}

#[test]
fn a_new_target_is_asked_from_its_acceptance_on() {
    let mut t = table();
    let (mut b, _) = taken(&mut t, &[HERE]);
    t.request_to(TRUNK(), Method::Ack);
    let mut a = hears(&mut t);
    b.at = edge();
    let hold = sdp(edge(), 2, "sendonly");
    t.receive(TRUNK(), with_sdp(b.request(Method::Update), &hold));
    let offer = t.request_to(alice(), Method::Invite);
    // Not before: it may be refused (RFC 6141).
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(TRUNK(), Method::Info);
    t.reply(&info, 200, TRUNK());
    t.response_to(alice(), 200);
    let answer = response(&offer, 200, alice(), "x1");
    t.receive(alice(), with_sdp(answer, &audio(alice())));
    t.response_to(TRUNK(), 200);
    t.receive(alice(), a.request(Method::Info).end());
    t.request_to(edge(), Method::Info);
}

#[test]
fn a_caller_behind_a_proxy_is_asked_by_its_route_set() {
    let mut t = table();
    t.register("bob", desk(), "desk");
    let proxy = phone("198.51.100.9:5060");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1").header(
        Name::RecordRoute,
        "<sip:edge.example.net;lr>, <sip:198.51.100.9;lr>",
    );
    t.receive(proxy, with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(proxy, 200);
    t.receive(proxy, Remote::of_answer(&ok, alice()).ack(1));
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive(desk(), b.request(Method::Bye).end());
    let bye = t.request_to(edge(), Method::Bye);
    assert_eq!(bye.values(Name::Route).count(), 2);
    t.nothing_to(proxy);
}

/// RFC 5658 5: one proxy between two networks has a Record-Route for each.
#[test]
fn a_proxy_on_two_networks_is_gone_through_by_both_its_names() {
    let mut t = table();
    t.register("bob", desk(), "desk");
    let proxy = edge();
    let [near, far] = [
        "<sip:203.0.113.80;lr>",
        "<sip:10.0.0.80:5080;transport=tcp;lr>",
    ];
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1")
        .header(Name::RecordRoute, near)
        .header(Name::RecordRoute, far);
    t.receive(proxy, with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(invite.header(Name::RecordRoute), None);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(proxy, 200);
    let recorded: Vec<_> = ok.values(Name::RecordRoute).collect();
    assert_eq!(recorded, [near, far]);
    t.receive(proxy, Remote::of_answer(&ok, alice()).ack(1));
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive(desk(), b.request(Method::Info).end());
    let info = t.request_to(proxy, Method::Info);
    let routes: Vec<_> = info.values(Name::Route).collect();
    assert_eq!(routes, [near, far]);
    assert_eq!(info.uri(), format!("sip:alice@{}", alice()));

    // The other way round where it stands before who is called.
    let mut t = table();
    let lines = [(Name::RecordRoute, far), (Name::RecordRoute, near)];
    taken(&mut t, &lines);
    let ack = t.request_to(proxy, Method::Ack);
    assert_eq!(ack.values(Name::Route).collect::<Vec<_>>(), [near, far]);
    let mut a = hears(&mut t);
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(proxy, Method::Info);
    assert_eq!(info.values(Name::Route).collect::<Vec<_>>(), [near, far]);
}

#[test]
fn a_phone_is_asked_over_its_flow_whatever_its_contact_says() {
    let mut t = table();
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let answer = response(&invite, 200, edge(), "b1");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    let ack = t.request_to(desk(), Method::Ack);
    assert_eq!(ack.uri(), "sip:phone@203.0.113.80:5060");
    let mut a = hears(&mut t);
    t.receive(alice(), a.request(Method::Info).end());
    t.request_to(desk(), Method::Info);
}

#[test]
fn a_hop_that_is_not_there_gives_way_to_where_the_peer_is_heard() {
    let mut t = table();
    taken(&mut t, &[ELSEWHERE]);
    t.request_to(edge(), Method::Ack);
    let mut a = hears(&mut t);
    t.receive(alice(), a.request(Method::Info).end());
    let first = t.request_to(edge(), Method::Info);
    t.icmp(edge());
    let second = t.request_to(TRUNK(), Method::Info);
    assert_ne!(first.branch(), second.branch());
    assert_eq!(first.cseq(), second.cseq());
    t.reply(&second, 200, TRUNK());
    t.response_to(alice(), 200);
    assert_eq!(failures(&t), [(TargetFailure::Unreachable, true)]);
    // It comes last for a while.
    t.discard(edge());
    t.receive(alice(), a.request(Method::Info).end());
    t.request_to(TRUNK(), Method::Info);
    assert_eq!(lost(&t), 0);
}

#[test]
fn a_silent_hop_gives_way_before_anybody_is_taken_for_lost() {
    let mut t = table();
    taken(&mut t, &[ELSEWHERE]);
    t.request_to(edge(), Method::Ack);
    let mut a = hears(&mut t);
    t.receive(alice(), a.message("hello"));
    t.request_to(edge(), Method::Message);
    // It might come twice: not before the first has had its whole time (RFC 3261 17.1.2.2, Timer F).
    for n in 0..322 {
        assert!(n > 318 || t.waiting(TRUNK(), &Method::Message).is_none());
        t.pass(Millis(100));
        while let Some(probe) = t.waiting(TRUNK(), &Method::Options) {
            t.reply(&probe, 200, TRUNK());
        }
    }
    let message = t.request_to(TRUNK(), Method::Message);
    t.reply(&message, 200, TRUNK());
    assert_eq!(lost(&t), 0);
    assert_eq!(failures(&t), [(TargetFailure::Silent, true)]);
}

/// Alice asks what the other end can, the first target says nothing for a while, and the second has its turn.
fn two_are_asked(t: &mut Table) -> (Message, Message) {
    taken(t, &[ELSEWHERE]);
    t.request_to(edge(), Method::Ack);
    let mut a = hears(t);
    t.receive(alice(), a.request(Method::Options).end());
    let first = t.request_to(edge(), Method::Options);
    t.pass(Millis(5_100));
    t.discard(edge());
    let second = t.request_to(TRUNK(), Method::Options);
    assert_eq!(first.cseq(), second.cseq());
    t.discard(TRUNK());
    (first, second)
}

#[test]
fn of_two_targets_whoever_answers_first_is_heard() {
    let mut t = table();
    let (first, second) = two_are_asked(&mut t);
    t.reply(&first, 200, edge());
    t.response_to(alice(), 200);
    t.reply(&second, 500, TRUNK());
    t.nothing_to(alice());
    assert_eq!(lost(&t), 0);
    let mut t = table();
    let (first, second) = two_are_asked(&mut t);
    t.reply(&second, 200, TRUNK());
    t.response_to(alice(), 200);
    t.reply(&first, 481, edge());
    t.nothing_to(alice());
    assert_eq!(lost(&t), 0);
}

#[test]
fn a_later_target_that_knows_nothing_of_the_dialog_decides_nothing() {
    for status in [404, 408, 481] {
        let mut t = table();
        let (first, second) = two_are_asked(&mut t);
        t.reply(&second, status, TRUNK());
        t.nothing_to(alice());
        t.nothing_to(TRUNK());
        t.reply(&first, 200, edge());
        t.response_to(alice(), 200);
        assert_eq!(lost(&t), 0, "{status}");
    }
    // Nor one that is not there.
    let mut t = table();
    let (first, _) = two_are_asked(&mut t);
    t.icmp(TRUNK());
    t.reply(&first, 200, edge());
    t.response_to(alice(), 200);
    assert_eq!(lost(&t), 0);
}

#[test]
fn where_the_earlier_target_says_nothing_either_a_probe_settles_it() {
    for dead in [false, true] {
        let mut t = table();
        let (_, second) = two_are_asked(&mut t);
        t.reply(&second, 481, TRUNK());
        let mut probe = None;
        for _ in 0..300 {
            t.pass(Millis(100));
            probe = t.waiting(TRUNK(), &Method::Options);
            if probe.is_some() {
                break;
            }
            assert_eq!(lost(&t), 0);
        }
        let probe = probe.expect("a probe");
        assert_ne!(probe.cseq(), second.cseq());
        if !dead {
            t.reply(&probe, 200, TRUNK());
        } else {
            // Who is heard would not be lost by what its signalling says.
            let side = Side::Callee;
            t.media_event(|media| MediaEvent::Silent { media, side });
        }
        t.pass(Millis::from_secs(15));
        assert_eq!(lost(&t), usize::from(dead));
    }
}

#[test]
fn what_must_not_come_twice_waits_until_the_first_target_has_failed() {
    let mut t = table();
    taken(&mut t, &[ELSEWHERE]);
    t.request_to(edge(), Method::Ack);
    let mut a = hears(&mut t);
    t.receive(alice(), a.request(Method::Info).end());
    let first = t.request_to(edge(), Method::Info);
    t.pass(Millis(8_000));
    t.discard(edge());
    t.nothing_to(TRUNK());
    t.icmp(edge());
    let second = t.request_to(TRUNK(), Method::Info);
    assert_eq!(first.cseq(), second.cseq());
    t.reply(&second, 200, TRUNK());
    t.response_to(alice(), 200);
    assert_eq!(lost(&t), 0);
}

#[test]
fn a_503_within_a_dialog_gives_way_and_the_last_one_is_the_answer() {
    let mut t = table();
    taken(&mut t, &[ELSEWHERE]);
    t.request_to(edge(), Method::Ack);
    let mut a = hears(&mut t);
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let first = t.request_to(edge(), Method::Invite);
    t.reply(&first, 503, edge());
    t.request_to(edge(), Method::Ack);
    let second = t.request_to(TRUNK(), Method::Invite);
    t.nothing_to(alice());
    t.reply(&second, 503, TRUNK());
    t.request_to(TRUNK(), Method::Ack);
    t.response_to(alice(), 500);
    let failed = |next| (TargetFailure::Unavailable(None), next);
    assert_eq!(failures(&t), [failed(true), failed(false)]);
}

#[test]
fn an_ack_that_was_lost_goes_both_ways() {
    let mut t = table();
    let (_, invite) = taken(&mut t, &[ELSEWHERE]);
    t.request_to(edge(), Method::Ack);
    t.nothing_to(TRUNK());
    t.receive(TRUNK(), trunk_takes(&invite, &[ELSEWHERE]));
    t.request_to(edge(), Method::Ack);
    t.request_to(TRUNK(), Method::Ack);
}

fn at_length(a: &mut Remote, method: Method) -> bytes::Bytes {
    a.request(method)
        .body("text/plain", "long ".repeat(300).as_bytes())
}

fn over(message: &Message) -> &str {
    let via = message.header(Name::Via).unwrap();
    via.split([' ', '/']).nth(2).unwrap()
}

#[test]
fn what_is_large_goes_over_tcp_within_a_dialog() {
    let mut t = table();
    taken(&mut t, &[ELSEWHERE]);
    t.request_to(edge(), Method::Ack);
    let mut a = hears(&mut t);
    t.receive(alice(), at_length(&mut a, Method::Message));
    let message = t.request_to(edge(), Method::Message);
    assert_eq!(over(&message), "TCP");
    t.receive_over(tcp(edge(), 7), response(&message, 200, edge(), "b1").end());
    t.response_to(alice(), 200);
    // What fits stays where it is, and a connection that closes then is no sign of anything.
    t.receive(alice(), a.message("short"));
    let message = t.request_to(edge(), Method::Message);
    assert_eq!(over(&message), "UDP");
    t.reply(&message, 200, edge());
    t.closed(edge(), 7);
    let suspected = t.happened(|what| matches!(what, Happening::Suspected { .. }));
    assert_eq!(suspected, 0);
}

#[test]
fn where_tcp_is_refused_it_goes_by_datagram_all_the_same() {
    // Also where the peer's Contact is where it is heard.
    for (contact, at) in [(ELSEWHERE, edge()), (HERE, TRUNK())] {
        let mut t = table();
        taken(&mut t, &[contact]);
        t.request_to(at, Method::Ack);
        let mut a = hears(&mut t);
        t.receive(alice(), at_length(&mut a, Method::Info));
        let info = t.request_to(at, Method::Info);
        assert_eq!(over(&info), "TCP");
        t.closed(at, 1);
        let again = t.request_to(at, Method::Info);
        assert_eq!(over(&again), "UDP");
        assert_eq!(again.body().len(), 1500);
        t.reply(&again, 200, at);
        t.response_to(alice(), 200);
        // That is remembered.
        t.receive(alice(), at_length(&mut a, Method::Info));
        let info = t.request_to(at, Method::Info);
        assert_eq!(over(&info), "UDP");
        t.reply(&info, 200, at);
        assert_eq!(lost(&t), 0);
    }
}

#[test]
fn a_phone_and_who_has_nothing_but_udp_get_datagrams() {
    let mut t = table();
    taken(
        &mut t,
        &[(Name::Contact, "<sip:b2bua@203.0.113.80;transport=udp>")],
    );
    t.request_to(edge(), Method::Ack);
    let mut a = hears(&mut t);
    t.receive(alice(), at_length(&mut a, Method::Info));
    assert_eq!(over(&t.request_to(edge(), Method::Info)), "UDP");
    let mut t = table();
    let (mut a, _) = t.texting();
    t.receive(alice(), at_length(&mut a, Method::Message));
    assert_eq!(over(&t.request_to(desk(), Method::Message)), "UDP");
}

/// That somebody is trusted says nothing of a NAT before it. Whoever names itself in Via and Contact alike, and is
/// seen elsewhere, is behind one (RFC 3581 4); who has registered is reached where it did.
#[test]
fn who_calls_from_a_trusted_network_is_asked_where_it_is_unless_it_wants_it_elsewhere() {
    let seen = format!("UDP {}", alice());
    let itself = format!("UDP {}", edge());
    for (registered, via, to) in [
        (true, &seen, alice()),
        (true, &itself, alice()),
        (false, &itself, alice()),
        (false, &seen, edge()),
    ] {
        let mut wishes = settings();
        wishes.acl.trusted = vec!["198.51.100.1/32".parse().unwrap()];
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        if registered {
            t.register("alice", alice(), "laptop");
        }
        let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
        let invite = with_sdp(invite, &audio(alice()));
        let invite = String::from_utf8(invite.to_vec()).unwrap();
        let invite = invite.replacen(&seen, via, 1).replacen(
            &format!("<sip:alice@{}>", alice()),
            &format!("<sip:alice@{}>", edge()),
            1,
        );
        t.receive(alice(), invite.into());
        let asked = t.request_to(desk(), Method::Invite);
        t.receive(desk(), with_sdp(answer_to(&asked), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        hears(&mut t);
        let mut b = Remote::of_invite(&asked, desk(), "b1");
        t.receive(desk(), b.request(Method::Info).end());
        let info = t.request_to(to, Method::Info);
        assert_eq!(info.uri(), format!("sip:alice@{}", edge()));
    }
}
