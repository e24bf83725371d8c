//! Targets that are reached over TLS alone.

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::ids::{Flow, Transport};
use refork::engine::settings::{PathMode, Route, RouteFork, Settings, Upstream};
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::attended::naming;
use crate::people::*;
use crate::repair::replaces;
use crate::table::*;
use crate::transfer::{carol, refer};

#[test]
fn a_sips_target_is_called_over_tls_and_told_a_sips_contact() {
    for (target, contact) in [
        ("sips:pbx.example.net", "<sips:refork@"),
        ("sip:pbx.example.net;transport=tls", "<sip:refork@"),
    ] {
        let mut wishes = settings();
        let upstream = Upstream {
            targets: vec![target.into()],
            trusted: false,
            path: PathMode::default(),
            sources: Vec::new(),
            probe: None,
            ..Upstream::default()
        };
        wishes.upstreams.insert("pbx".into(), upstream);
        wishes.routes.push(Route {
            pattern: "sip:4*@*".into(),
            to: "pbx".into(),
            fork: RouteFork::default(),
            emergency: None,
        });
        let mut t = Table::new(wishes);
        let at = vec![(Transport::Tls, desk())];
        t.names.insert("pbx.example.net".into(), at);
        let invite = request(Method::Invite, "alice", "401", alice(), "secure");
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(invite.via().transport, "TLS");
        assert!(invite.via().params.has("alias"), "RFC 5923 8.1");
        let told = invite.header(Name::Contact).unwrap();
        assert!(told.starts_with(contact), "{target}: {told}");
    }
}

fn tls(at: SocketAddr, connection: u64) -> Flow {
    Flow {
        transport: Transport::Tls,
        ..tcp(at, connection)
    }
}

fn by_sips(request: Bytes) -> Bytes {
    let text = String::from_utf8(request.to_vec()).unwrap();
    text.replacen(" sip:", " sips:", 1).into()
}

/// Alice's phone is connected over TLS; it asks for somebody by a `sips:` URI.
fn asks(t: &mut Table, to: &str, call_id: &str) {
    let invite = request(Method::Invite, "alice", to, alice(), call_id);
    let invite = by_sips(with_sdp(invite, &audio(alice())));
    t.receive_over(tls(alice(), 1), invite);
}

/// A phone of Bob's over TLS, whose Contact is a `sip:` one as most have it.
fn registers(t: &mut Table, at: SocketAddr, instance: &str) {
    let register = t.register_request("bob", at, instance, 1, 3600);
    t.receive_over(tls(at, u64::from(at.port()) + 1), register);
    t.response_to(at, 200);
}

fn says(t: &mut Table, at: SocketAddr, message: Bytes) {
    t.receive_over(tls(at, u64::from(at.port()) + 1), message);
}

#[track_caller]
fn is_not_allowed(t: &mut Table) {
    let refused = t.response_to(alice(), 480);
    let warning = refused.header(Name::Warning).unwrap();
    assert!(warning.starts_with("380 "), "{warning}");
    assert!(warning.ends_with(" \"SIPS Not Allowed\""), "{warning}");
}

#[test]
fn who_has_phones_in_the_clear_alone_is_not_called_by_sips() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let register = t.register_request("bob", mobile(), "mobile", 1, 3600);
    t.receive_over(tcp(mobile(), 5), register);
    t.response_to(mobile(), 200);
    asks(&mut t, "bob", "call1");
    is_not_allowed(&mut t);
    let text = request(Method::Message, "alice", "bob", alice(), "text1");
    let text = by_sips(text.body("text/plain", b"hello"));
    t.receive_over(tls(alice(), 1), text);
    is_not_allowed(&mut t);
    t.nothing_to(desk());
    t.nothing_to(mobile());
    // Who is nowhere at all is not there: that is another answer.
    asks(&mut t, "carol", "call3");
    let refused = t.response_to(alice(), 404);
    assert!(refused.header(Name::Warning).is_none());
}

#[test]
fn of_several_phones_those_over_tls_ring() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    registers(&mut t, mobile(), "mobile");
    asks(&mut t, "bob", "call1");
    let invite = t.request_to(mobile(), Method::Invite);
    t.nothing_to(desk());
    assert_eq!(invite.via().transport, "TLS");
    let ok = with_sdp(answer_at(&invite, mobile()), &audio(mobile()));
    says(&mut t, mobile(), ok);
    t.request_to(mobile(), Method::Ack);
    // RFC 3261 12.1.1.
    let ok = t.response_to(alice(), 200);
    assert_eq!(
        ok.header(Name::Contact),
        Some("<sips:refork@192.0.2.1:5060>")
    );
    // What is asked for by `sip:` has both.
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    registers(&mut t, mobile(), "mobile");
    t.alice_invites(&audio(alice()));
    t.request_to(mobile(), Method::Invite);
    t.request_to(desk(), Method::Invite);
}

#[test]
fn what_asks_for_secrecy_in_the_clear_is_refused() {
    for flow in [flow(alice()), tcp(alice(), 1)] {
        let mut t = Table::new(settings());
        registers(&mut t, mobile(), "mobile");
        let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
        t.receive_over(flow, by_sips(with_sdp(invite, &audio(alice()))));
        is_not_allowed(&mut t);
        t.nothing_to(mobile());
    }
}

/// Alice has called Bob by sips, at his mobile phone.
fn talks(t: &mut Table) -> Remote {
    registers(t, mobile(), "mobile");
    asks(t, "bob", "call1");
    let invite = t.request_to(mobile(), Method::Invite);
    let ok = with_sdp(answer_at(&invite, mobile()), &audio(mobile()));
    says(t, mobile(), ok);
    t.request_to(mobile(), Method::Ack);
    let a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive_over(tls(alice(), 1), a.ack(1));
    a
}

#[test]
fn a_re_fork_goes_on_in_secret() {
    let mut t = Table::new(settings());
    talks(&mut t);
    t.register("bob", desk(), "desk");
    t.bob_is_lost();
    t.request_to(mobile(), Method::Invite);
    t.pass(Millis::from_secs(5));
    t.nothing_to(desk());
    // One that comes over TLS is asked at once.
    registers(&mut t, third(), "third");
    let again = t.request_to(third(), Method::Invite);
    assert_eq!(again.via().transport, "TLS");
    let ok = with_sdp(response(&again, 200, third(), "c1"), &audio(third()));
    says(&mut t, third(), ok);
    t.request_to(third(), Method::Ack);
    t.request_to(alice(), Method::Message);
    t.nothing_to(desk());
}

#[test]
fn who_speaks_in_the_clear_within_it_is_asked_nothing_there() {
    let mut t = Table::new(settings());
    let mut a = talks(&mut t);
    t.site.open.insert(alice(), tls(alice(), 1));
    t.raw(alice(), a.request(Method::Info).end());
    let info = t.request_to(mobile(), Method::Info);
    says(&mut t, mobile(), response(&info, 200, mobile(), "b1").end());
    t.response_to(alice(), 200);
    t.bob_is_lost();
    t.discard(alice());
    registers(&mut t, third(), "third");
    t.pass(Millis::from_secs(5));
    let again = t.request_to(third(), Method::Invite);
    let ok = with_sdp(response(&again, 200, third(), "c1"), &audio(third()));
    says(&mut t, third(), ok);
    let notice = t.request_to(alice(), Method::Message);
    assert_eq!(notice.via().transport, "TLS");
}

#[test]
fn a_phone_that_moves_into_the_clear_is_not_followed_there() {
    let mut t = Table::new(settings());
    talks(&mut t);
    let register = t.register_request("bob", desk(), "mobile", 2, 3600);
    t.receive(desk(), register);
    t.response_to(desk(), 200);
    t.pass(Millis::from_secs(20));
    t.nothing_to(desk());
    let mut t = Table::new(settings());
    talks(&mut t);
    let register = t.register_request("bob", desk(), "mobile", 2, 3600);
    says(&mut t, desk(), register);
    t.response_to(desk(), 200);
    t.pass(Millis::from_secs(20));
    let doubt = t.next_to(desk());
    assert_eq!(doubt.via().transport, "TLS");
}

#[test]
fn whom_a_phone_forwards_to_in_the_clear_is_not_called() {
    let mut t = Table::new(settings());
    for (user, at) in [("carol", desk()), ("dave", third())] {
        let register = t.register_request(user, at, user, 1, 3600);
        t.receive_over(tls(at, u64::from(at.port()) + 1), register);
        t.response_to(at, 200);
    }
    registers(&mut t, mobile(), "mobile");
    asks(&mut t, "bob", "call1");
    let invite = t.request_to(mobile(), Method::Invite);
    let server = SERVER.parse().unwrap();
    let moved = Builder::respond(&invite, 302, "Moved Temporarily", Some("f1"), server).header(
        Name::Contact,
        "<sip:carol@example.org>, <sips:dave@example.org>;q=0.1",
    );
    says(&mut t, mobile(), moved.end());
    t.request_to(mobile(), Method::Ack);
    t.request_to(third(), Method::Invite);
    t.nothing_to(desk());
}

fn behind(target: &str) -> Settings {
    let mut wishes = settings();
    wishes
        .upstreams
        .insert("pbx".into(), upstream(target, false));
    wishes.routes.push(Route {
        pattern: "sip:4*@*".into(),
        to: "pbx".into(),
        fork: RouteFork::default(),
        emergency: None,
    });
    wishes
}

#[test]
fn an_upstream_without_tls_is_not_asked() {
    for target in [
        "sip:198.51.100.2",
        "sip:198.51.100.2;transport=tcp",
        "sip:pbx.example.net",
    ] {
        let mut t = Table::new(behind(target));
        let at = vec![(Transport::Udp, desk()), (Transport::Tls, desk())];
        t.names.insert("pbx.example.net".into(), at);
        asks(&mut t, "401", "call1");
        is_not_allowed(&mut t);
        t.nothing_to(desk());
    }
}

/// The upstream takes the call with a Contact that is a `sip:` one, in the clear for all it says.
fn takes(t: &mut Table, invite: &Message) {
    let ok = Builder::respond(invite, 200, "OK", Some("b1"), SERVER.parse().unwrap())
        .header(Name::Contact, "<sip:401@198.51.100.2>");
    t.receive_over(tls(desk(), 7), with_sdp(ok, &audio(desk())));
}

#[test]
fn an_upstream_with_tls_is_asked_by_sips_and_all_that_follows_goes_over_it() {
    for target in [
        "sips:198.51.100.2:5060",
        "sip:198.51.100.2:5060;transport=tls",
    ] {
        let mut t = Table::new(behind(target));
        asks(&mut t, "401", "call1");
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(invite.uri(), "sips:401@198.51.100.2:5060", "{target}");
        assert!(invite.header(Name::Contact).unwrap().starts_with("<sips:"));
        takes(&mut t, &invite);
        let ack = t.request_to(desk(), Method::Ack);
        assert_eq!(ack.via().transport, "TLS");
        let mut a = Remote::of_answer(&t.response_to(alice(), 200), alice());
        t.receive_over(tls(alice(), 1), a.ack(1));
        t.receive_over(tls(alice(), 1), a.request(Method::Info).end());
        let info = t.request_to(desk(), Method::Info);
        assert_eq!(info.via().transport, "TLS", "{target}");
    }
}

/// Alice has called Carol by sips, and Carol has called Bob, by `sips:` or in the clear. Returns Carol's ends.
fn carol_talks_with_both(t: &mut Table, secret: bool) -> (Remote, Remote) {
    let register = t.register_request("carol", carol(), "carol", 1, 3600);
    says(t, carol(), register);
    t.response_to(carol(), 200);
    if secret {
        registers(t, desk(), "desk");
    } else {
        t.register("bob", desk(), "desk");
    }
    asks(t, "carol", "call1");
    let invite = t.request_to(carol(), Method::Invite);
    let ok = with_sdp(response(&invite, 200, carol(), "c1"), &audio(carol()));
    says(t, carol(), ok);
    t.request_to(carol(), Method::Ack);
    let a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive_over(tls(alice(), 1), a.ack(1));
    let of_alice = Remote::of_invite(&invite, carol(), "c1");
    let invite = request(Method::Invite, "carol", "bob", carol(), "call2");
    let invite = with_sdp(invite, &audio(carol()));
    says(t, carol(), if secret { by_sips(invite) } else { invite });
    let invite = t.request_to(desk(), Method::Invite);
    let ok = with_sdp(answer_to(&invite), &audio(desk()));
    if secret {
        says(t, desk(), ok);
    } else {
        t.receive(desk(), ok);
    }
    t.request_to(desk(), Method::Ack);
    let of_bob = Remote::of_answer(&t.response_to(carol(), 200), carol());
    says(t, carol(), of_bob.ack(1));
    (of_alice, of_bob)
}

#[test]
fn a_call_by_sips_is_not_carried_on_in_the_clear_by_a_transfer_in_either_direction() {
    for within_the_clear in [true, false] {
        let mut t = Table::new(settings());
        let (mut of_alice, mut of_bob) = carol_talks_with_both(&mut t, false);
        let refer = if within_the_clear {
            refer(&mut of_bob, &naming(&of_alice))
        } else {
            refer(&mut of_alice, &naming(&of_bob))
        };
        says(&mut t, carol(), refer);
        if within_the_clear {
            let refused = t.response_to(carol(), 480);
            assert!(refused.header(Name::Warning).unwrap().starts_with("380 "));
        } else {
            // There it is found out as Bob is to be called.
            t.response_to(carol(), 202);
            let mut told = String::new();
            while !told.starts_with("SIP/2.0 480 ") {
                let notify = t.request_to(carol(), Method::Notify);
                told = text(&notify);
                says(&mut t, carol(), response(&notify, 200, carol(), "n1").end());
            }
        }
        t.nothing_to(alice());
        t.nothing_to(desk());
        // Both calls are as they were.
        says(&mut t, carol(), of_alice.request(Method::Info).end());
        let info = t.request_to(alice(), Method::Info);
        assert_eq!(info.via().transport, "TLS");
        says(&mut t, carol(), of_bob.request(Method::Info).end());
        t.request_to(desk(), Method::Info);
    }
}

#[test]
fn two_calls_by_sips_are_joined_by_a_transfer() {
    let mut t = Table::new(settings());
    let (of_alice, mut of_bob) = carol_talks_with_both(&mut t, true);
    says(&mut t, carol(), refer(&mut of_bob, &naming(&of_alice)));
    t.response_to(carol(), 202);
    let asked = t.request_to(alice(), Method::Invite);
    assert_eq!(asked.via().transport, "TLS");
}

#[test]
fn a_sips_contact_is_bound_over_tls_alone() {
    let mut t = Table::new(settings());
    let by = |cseq, expires, t: &Table| {
        let register = t.register_request("bob", desk(), "desk", cseq, expires);
        let text = String::from_utf8(register.to_vec()).unwrap();
        Bytes::from(text.replacen("<sip:bob@198", "<sips:bob@198", 1))
    };
    for (cseq, flow, expires, status) in [
        (1, flow(desk()), 3600, 400),
        (2, tcp(desk(), 5), 3600, 400),
        (3, tls(desk(), 6), 3600, 200),
        // What takes it away harms nobody.
        (4, flow(desk()), 0, 200),
    ] {
        let register = by(cseq, expires, &t);
        t.receive_over(flow, register);
        t.response_to(desk(), status);
    }
}

/// Answers a take-over in the clear and one over TLS as they come.
#[track_caller]
fn is_refused_in_the_clear_alone(t: &mut Table, secret: bool) {
    let answer = t.next_to(third());
    if secret {
        assert_eq!(answer.status(), 200);
        return;
    }
    assert_eq!(answer.status(), 480);
    let warning = answer.header(Name::Warning).unwrap();
    assert!(warning.starts_with("380 "), "{warning}");
}

fn ways() -> [(Flow, bool); 3] {
    [
        (flow(third()), false),
        (tcp(third(), 9), false),
        (tls(third(), 9), true),
    ]
}

#[test]
fn nobody_takes_a_place_in_a_call_by_sips_in_the_clear() {
    for (flow, secret) in ways() {
        let mut t = Table::new(settings());
        let mut a = talks(&mut t);
        let invite = request(Method::Invite, "alice", "bob", third(), "call9");
        let invite = invite.header(Name::Replaces, replaces(&a));
        t.receive_over(flow, with_sdp(invite, &audio(alice())));
        is_refused_in_the_clear_alone(&mut t, secret);
        if !secret {
            // The call is as it was.
            t.receive_over(tls(alice(), 1), a.request(Method::Info).end());
            t.request_to(mobile(), Method::Info);
        }
    }
}

#[test]
fn nobody_picks_up_a_call_by_sips_in_the_clear() {
    for (flow, secret) in ways() {
        let mut t = Table::new(settings());
        registers(&mut t, mobile(), "mobile");
        asks(&mut t, "bob", "call1");
        let ringing = t.request_to(mobile(), Method::Invite);
        says(
            &mut t,
            mobile(),
            response(&ringing, 180, mobile(), "b1").end(),
        );
        t.response_to(alice(), 180);
        let (call_id, ours) = (ringing.call_id(), ringing.from_tag().unwrap());
        let named = format!("{call_id};to-tag={ours};from-tag=b1;early-only");
        let invite = request(Method::Invite, "carol", "bob", third(), "call9");
        let invite = invite.header(Name::Replaces, named);
        t.receive_over(flow, with_sdp(invite, &audio(third())));
        is_refused_in_the_clear_alone(&mut t, secret);
        if !secret {
            t.nothing_to(alice());
            t.nothing_to(mobile());
        }
    }
}
