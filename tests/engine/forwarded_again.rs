//! Phones of a re-fork that forward their calls.

use refork::engine::events::{Ending, Happening};
use refork::engine::ids::Side;
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::forwarding::*;
use crate::people::*;
use crate::table::*;

const TO_CAROL: &[&str] = &["<sip:carol@example.org>"];

/// Bob's desk phone is lost. Returns its INVITE.
fn lost(mut t: Table) -> (Table, Remote, Message) {
    let (a, _) = t.established();
    t.bob_is_lost();
    let there = t.request_to(desk(), Method::Invite);
    (t, a, there)
}

/// It forwards to Carol, who is called.
fn carol_is_called() -> (Table, Remote, Message) {
    let (mut t, a, there) = lost(four());
    t.forwards(&there, desk(), TO_CAROL);
    let invite = t.request_to(carol(), Method::Invite);
    (t, a, invite)
}

fn takes(t: &mut Table, invite: &Message, at: std::net::SocketAddr) {
    let answer = response(invite, 200, at, "n1");
    t.receive(at, with_sdp(answer, &audio(at)));
    t.request_to(at, Method::Ack);
}

fn restored(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Restored { .. }))
}

fn redirected(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Redirected { side, .. } if *side == Side::Callee))
}

fn ended(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Ended { .. }))
}

#[test]
fn whom_a_phone_forwards_to_has_the_call_as_the_person_that_it_is() {
    let (mut t, mut a, invite) = carol_is_called();
    assert_eq!(
        invite.header(Name::HistoryInfo),
        Some(
            "<sip:bob@example.org?Reason=SIP%3Bcause%3D302>;index=1, \
             <sip:carol@example.org>;index=1.1;mp=1, \
             <sip:carol@198.51.100.5:5060>;index=1.1.1;rc=1.1"
        )
    );
    assert_eq!(invite.header(Name::Replaces), None);
    takes(&mut t, &invite, carol());
    assert_eq!((restored(&t), redirected(&t)), (1, 1));
    assert_eq!(t.engine.list(1)[0].to, "sip:carol@example.org");
    let word = t.request_to(alice(), Method::Message);
    assert!(
        text(&word).starts_with("carol is continuing on "),
        "{}",
        text(&word)
    );
    t.reply(&word, 200, alice());
    t.discard(desk());
    // Bob's desk phone still holds a dead call, and has the BYE when it registers again.
    t.pass(Millis::from_secs(40));
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    t.request_to(desk(), Method::Bye);
    // It is Carol who is sought when her phone is lost.
    t.register("carol", mobile(), "cm");
    t.receive(alice(), a.message("there?"));
    let there = t.request_to(carol(), Method::Message);
    t.knows_no_call(&there, carol());
    t.response_to(alice(), 202);
    t.discard(carol());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    takes(&mut t, &invite, mobile());
    assert!(t.waiting(desk(), &Method::Invite).is_none());
    assert_eq!(restored(&t), 2);
}

#[test]
fn one_phone_takes_the_call_from_none_of_the_others() {
    let mut t = four();
    t.register("bob", mobile(), "mobile");
    let (mut t, _, there) = lost(t);
    t.forwards(&there, desk(), TO_CAROL);
    let other = t.request_to(mobile(), Method::Invite);
    t.reply(&other, 180, mobile());
    t.pass(Millis::from_secs(10));
    t.nothing_to(carol());
    t.reply(&other, 486, mobile());
    let invite = t.request_to(carol(), Method::Invite);
    takes(&mut t, &invite, carol());
    assert_eq!(restored(&t), 1);
}

#[test]
fn nobody_waits_half_a_minute_for_who_is_dead_and_who_comes_back_wins() {
    for comes_back in [false, true] {
        let mut t = four();
        t.register("bob", mobile(), "mobile");
        let (mut t, _, _) = lost(t);
        t.pass(Millis(2_000));
        let other = t.request_to(mobile(), Method::Invite);
        t.forwards(&other, mobile(), TO_CAROL);
        t.nothing_to(carol());
        t.pass(Millis(2_000));
        let invite = t.request_to(carol(), Method::Invite);
        t.reply(&invite, 180, carol());
        t.discard(desk());
        if !comes_back {
            takes(&mut t, &invite, carol());
            assert_eq!(t.engine.list(1)[0].to, "sip:carol@example.org");
            continue;
        }
        t.register_again("bob", desk(), "desk", 2);
        t.pass(Millis(600));
        let again = t.request_to(desk(), Method::Invite);
        t.discard(desk());
        takes(&mut t, &again, desk());
        t.request_to(carol(), Method::Cancel);
        assert_eq!(t.engine.list(1)[0].to, "sip:bob@example.org");
        assert_eq!(restored(&t), 1);
    }
}

#[test]
fn what_a_phone_says_counts_for_the_person_that_it_is_of() {
    // A no of Carol's is none of Bob's.
    for status in [486, 603] {
        let (mut t, _, invite) = carol_is_called();
        t.reply(&invite, status, carol());
        t.request_to(carol(), Method::Ack);
        t.pass(Millis::from_secs(20));
        assert_eq!(ended(&t), 0, "{status}");
        t.nothing_to(alice());
        t.nothing_to(carol());
        // Who has forwarded its call is not asked again, but another phone of Bob's is.
        assert!(t.waiting(desk(), &Method::Invite).is_none());
        t.register("bob", mobile(), "mobile");
        let back = t.request_to(mobile(), Method::Invite);
        takes(&mut t, &back, mobile());
        assert_eq!(t.engine.list(1)[0].to, "sip:bob@example.org");
        assert_eq!(restored(&t), 1);
    }
    // All of Carol's phones stop at her 603, and Bob's do not.
    let mut t = four();
    t.register("carol", third(), "c3");
    let (mut t, _, there) = lost(t);
    t.forwards(&there, desk(), TO_CAROL);
    let (one, other) = (
        t.request_to(carol(), Method::Invite),
        t.request_to(third(), Method::Invite),
    );
    t.reply(&other, 180, third());
    t.register("bob", mobile(), "mobile");
    let back = t.request_to(mobile(), Method::Invite);
    t.reply(&back, 180, mobile());
    t.reply(&one, 603, carol());
    t.request_to(third(), Method::Cancel);
    assert!(t.waiting(mobile(), &Method::Cancel).is_none());
    takes(&mut t, &back, mobile());
    assert_eq!(ended(&t), 0);
    // And Bob's is for all that are called in his place.
    let (mut t, _, invite) = carol_is_called();
    t.reply(&invite, 180, carol());
    t.register("bob", mobile(), "mobile");
    let back = t.request_to(mobile(), Method::Invite);
    t.reply(&back, 603, mobile());
    t.request_to(carol(), Method::Cancel);
    let word = t.request_to(alice(), Method::Message);
    t.reply(&word, 200, alice());
    let declined = |what: &Happening| matches!(what, Happening::Ended { how, .. } if *how == Ending::Declined(Side::Callee));
    assert_eq!(t.happened(declined), 1);
}

#[test]
fn nobody_is_called_twice_and_forwarding_ends_somewhere() {
    let (mut t, _, there) = lost(four());
    let both = [
        "<sip:carol@example.org>;q=0.7",
        "<sip:dave@example.org>;q=0.3",
    ];
    t.forwards(&there, desk(), &both);
    let second = t.request_to(carol(), Method::Invite);
    t.nothing_to(dave());
    t.forwards(
        &second,
        carol(),
        &["<sip:bob@example.org>", "<sip:dave@example.org>"],
    );
    let third = t.request_to(dave(), Method::Invite);
    t.forwards(&third, dave(), TO_CAROL);
    t.pass(Millis::from_secs(30));
    for at in [desk(), carol(), dave()] {
        assert!(t.waiting(at, &Method::Invite).is_none(), "{at}");
    }
    assert_eq!((redirected(&t), ended(&t)), (2, 0));

    let mut wishes = settings();
    let at = |n: usize| phone(&format!("198.51.100.{}:5060", 20 + n));
    wishes.endpoints = (0..8)
        .map(|n| StaticEndpoint {
            aor: refork::engine::ids::Aor::from_canonical(format!("sip:u{n}@example.org")),
            contact: format!("sip:u{n}@198.51.100.{}", 20 + n).into(),
            name: None,
        })
        .collect();
    let (mut t, _, there) = lost(Table::new(wishes));
    t.forwards(&there, desk(), &["<sip:u0@example.org>"]);
    for n in 0..5 {
        let invite = t.request_to(at(n), Method::Invite);
        let to = format!("<sip:u{}@example.org>", n + 1);
        t.forwards(&invite, at(n), &[&to]);
    }
    t.pass(Millis::from_secs(30));
    t.nothing_to(at(5));
    assert_eq!(redirected(&t), 5);
}

/// A phone without Replaces is busy with the call that was lost, and forwards for that.
#[test]
fn a_phone_that_forwards_when_busy_is_freed_of_the_lost_call_first() {
    for still in [false, true] {
        let mut t = four();
        t.alice_invites(&audio(alice()));
        let invite = t.request_to(desk(), Method::Invite);
        let answer = response(&invite, 200, desk(), "b1");
        t.receive(desk(), with_sdp(answer, &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
        t.bob_is_lost();
        let there = t.request_to(desk(), Method::Invite);
        assert_eq!(there.header(Name::Replaces), None);
        t.forwards(&there, desk(), TO_CAROL);
        let bye = t.request_to(desk(), Method::Bye);
        assert_eq!(bye.call_id(), invite.call_id());
        t.reply(&bye, 200, desk());
        t.nothing_to(carol());
        t.pass(Millis(600));
        let again = t.request_to(desk(), Method::Invite);
        if still {
            t.forwards(&again, desk(), TO_CAROL);
            t.request_to(carol(), Method::Invite);
        } else {
            takes(&mut t, &again, desk());
            t.nothing_to(carol());
            assert_eq!(restored(&t), 1);
        }
    }
}

#[test]
fn where_redirections_are_not_followed_the_phone_counts_as_away() {
    let mut wishes = settings();
    wishes.fork.redirects = Redirects::Pass;
    let (mut t, _, there) = lost(with(wishes));
    t.forwards(&there, desk(), TO_CAROL);
    t.pass(Millis(700));
    t.nothing_to(carol());
    assert!(t.waiting(desk(), &Method::Invite).is_some());
}

/// Numbers are behind an upstream, by a route that says what becomes of a redirection.
#[test]
fn the_route_to_who_is_lost_says_whether_it_is_followed() {
    for (all, own) in [
        (Redirects::Pass, Redirects::Follow),
        (Redirects::Follow, Redirects::Pass),
    ] {
        let mut wishes = settings();
        wishes.fork.redirects = all;
        let pbx = upstream("sip:198.51.100.2", false);
        wishes.upstreams.insert("pbx".into(), pbx);
        wishes.routes = vec![Route {
            pattern: "sip:4*@*".into(),
            to: "pbx".into(),
            fork: RouteFork {
                redirects: Some(own),
                ring_timeout: None,
            },
            emergency: None,
        }];
        let mut t = Table::new(wishes);
        t.register("carol", carol(), "carol");
        let invite = request(Method::Invite, "alice", "401", alice(), "call1");
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        let invite = t.request_to(desk(), Method::Invite);
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
        t.bob_is_lost();
        let there = t.request_to(desk(), Method::Invite);
        t.forwards(&there, desk(), TO_CAROL);
        t.pass(Millis(700));
        let called = t.waiting(carol(), &Method::Invite).is_some();
        assert_eq!(called, own == Redirects::Follow);
    }
}

#[test]
fn a_restart_forgets_nobody_who_is_called_in_anothers_place() {
    let (mut t, _, invite) = carol_is_called();
    t.reply(&invite, 180, carol());
    t.restart();
    let same = t.request_to(carol(), Method::Invite);
    assert_eq!(same.call_id(), invite.call_id());
    takes(&mut t, &same, carol());
    assert_eq!(t.engine.list(1)[0].to, "sip:carol@example.org");

    // Nor who waits for her turn.
    let mut t = four();
    t.register("bob", mobile(), "mobile");
    let (mut t, _, there) = lost(t);
    t.forwards(&there, desk(), TO_CAROL);
    let other = t.request_to(mobile(), Method::Invite);
    t.reply(&other, 180, mobile());
    t.restart();
    let other = t.request_to(mobile(), Method::Invite);
    t.reply(&other, 486, mobile());
    let invite = t.request_to(carol(), Method::Invite);
    takes(&mut t, &invite, carol());
    assert_eq!(t.engine.list(1)[0].to, "sip:carol@example.org");
}

/// A phone forwards to its user's mailbox, which says what it is.
#[test]
fn a_machine_that_was_named_is_the_last_resort_too() {
    let mut t = four();
    t.register("bob", mobile(), "mobile");
    let (mut t, _, _) = lost(t);
    t.pass(Millis(2_000));
    let other = t.request_to(mobile(), Method::Invite);
    t.forwards(&other, mobile(), TO_CAROL);
    t.pass(Millis(2_000));
    let machine = |invite: &Message| {
        let answer = with_sdp(response(invite, 200, carol(), "v1"), &audio(carol()));
        let plain = format!("<sip:phone@{}>", carol());
        let text = String::from_utf8(answer.to_vec()).unwrap();
        text.replacen(&plain, &format!("{plain};automata"), 1)
            .into()
    };
    let invite = t.request_to(carol(), Method::Invite);
    assert!(invite.header(Name::RejectContact).is_some());
    t.receive(carol(), machine(&invite));
    t.request_to(carol(), Method::Ack);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    t.pass(Millis::from_secs(38));
    t.nothing_to(carol());
    t.pass(Millis::from_secs(4));
    let invite = t.request_to(carol(), Method::Invite);
    t.discard(carol());
    t.receive(carol(), machine(&invite));
    t.request_to(carol(), Method::Ack);
    assert_eq!(restored(&t), 1);
    assert_eq!(t.engine.list(1)[0].to, "sip:carol@example.org");
}
