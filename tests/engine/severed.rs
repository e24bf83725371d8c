//! A phone that rings, and is lost before it has answered: it is asked anew as soon as it is back.

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::events::{Happening, Signal};
use refork::engine::ids::Side;
use refork::engine::settings::ForkOrder;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::early_ends::TOLD;
use crate::people::*;
use crate::reliable::alice_calls;
use crate::table::*;
use crate::transfer::{carol, three};

/// The desk phone alone rings, and Alice's knows. Returns its INVITE and what she was told.
fn rings(t: &mut Table, lines: &str) -> (Message, Message) {
    t.register("bob", desk(), "desk");
    alice_calls(t, lines, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    (invite, t.response_to(alice(), 180))
}

/// Bob's desk phone registers over a connection.
fn registers_over(t: &mut Table, at: SocketAddr, connection: u64, call_id: &str) {
    let register = t.register_request("bob", at, "desk", 1, 3600);
    let register = String::from_utf8_lossy(&register)
        .replace("SIP/2.0/UDP", "SIP/2.0/TCP")
        .replace("z9hG4bKr", &format!("z9hG4bK{call_id}"))
        .replace("reg-desk", call_id);
    t.receive_over(tcp(at, connection), register.into());
    t.response_to(at, 200);
}

/// The same, where that rings.
fn rings_over(t: &mut Table) -> Message {
    registers_over(t, desk(), 7, "first");
    alice_calls(t, TOLD, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive_over(tcp(desk(), 7), response(&invite, 180, desk(), "b1").end());
    t.response_to(alice(), 180);
    invite
}

/// The INVITE is taken back from a phone that is asked anew. Returns the new one.
#[track_caller]
fn asked_anew(t: &mut Table, first: &Message, at: SocketAddr) -> Message {
    let cancel = t.request_to(at, Method::Cancel);
    assert_eq!(cancel.call_id(), first.call_id());
    let again = t.request_to(at, Method::Invite);
    assert_ne!(again.call_id(), first.call_id());
    again
}

fn takes(invite: &Message, at: SocketAddr) -> Bytes {
    with_sdp(response(invite, 200, at, "b2"), &audio(at))
}

#[test]
fn a_phone_that_reboots_while_it_rings_is_asked_anew() {
    let mut t = Table::new(settings());
    let (first, rang) = rings(&mut t, TOLD);
    t.pass(Millis(2_000));
    t.registers_anew("bob", desk(), "desk", "boot2");
    let again = asked_anew(&mut t, &first, desk());
    let signs = t.happened(|what| {
        matches!(
            what,
            Happening::Suspected {
                signal: Signal::Registration,
                ..
            } | Happening::Alive { .. }
        )
    });
    assert_eq!(signs, 2);
    // The one early dialog is over, and another one begins.
    let ended = t.response_to(alice(), 199);
    assert_eq!(ended.to_tag(), rang.to_tag());
    t.receive(desk(), response(&again, 180, desk(), "b2").end());
    let rings = t.response_to(alice(), 180);
    assert_ne!(rings.to_tag(), rang.to_tag());
    t.receive(desk(), takes(&again, desk()));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.to_tag(), rings.to_tag());
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
}

#[test]
fn a_phone_that_reboots_before_it_rings_is_asked_anew_too() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    t.reply(&first, 100, desk());
    t.registers_anew("bob", desk(), "desk", "boot2");
    let again = asked_anew(&mut t, &first, desk());
    // It has not had this one: the same is sent again at once.
    t.registers_anew("bob", desk(), "desk", "boot3");
    let same = t.request_to(desk(), Method::Invite);
    assert_eq!(same.branch(), again.branch());
}

#[test]
fn a_binding_that_is_refreshed_is_nothing_to_who_rings() {
    for moves in [false, true] {
        let mut t = Table::new(settings());
        let (first, _) = rings(&mut t, "");
        // It rings on behind a NAT that gives it another port, too.
        let at = match moves {
            true => phone("198.51.100.2:6000"),
            false => desk(),
        };
        t.register_again("bob", at, "desk", 2);
        t.nothing_to(at);
        t.nothing_to(desk());
        t.receive(at, takes(&first, at));
        t.response_to(alice(), 200);
    }
}

#[test]
fn an_invite_that_nobody_has_heard_follows_the_phone() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    t.request_to(desk(), Method::Invite);
    t.pass(Millis(8_000));
    t.discard(desk());
    t.register_again("bob", third(), "desk", 2);
    let again = t.request_to(third(), Method::Invite);
    t.receive(third(), takes(&again, third()));
    t.response_to(alice(), 200);
}

#[test]
fn who_is_asked_anew_rings_no_longer_than_it_would_have() {
    let mut t = Table::new(settings());
    let (first, _) = rings(&mut t, "");
    t.pass(Millis::from_secs(50));
    t.registers_anew("bob", desk(), "desk", "boot2");
    let again = asked_anew(&mut t, &first, desk());
    t.reply(&again, 180, desk());
    t.response_to(alice(), 180);
    t.discard(desk());
    t.pass(Millis(9_900));
    t.nothing_to(alice());
    t.pass(Millis(200));
    t.response_to(alice(), 408);
    t.request_to(desk(), Method::Cancel);
}

#[test]
fn where_registrations_are_no_sign_a_reboot_is_none() {
    let mut settings = settings();
    settings.detect.registration = false;
    let mut t = Table::new(settings);
    rings(&mut t, "");
    t.registers_anew("bob", desk(), "desk", "boot2");
    t.pass(Millis::from_secs(10));
    t.nothing_to(desk());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Suspected { .. })),
        0
    );
}

#[test]
fn a_phone_whose_connection_closes_while_it_rings_is_asked_over_its_next() {
    let mut t = Table::new(settings());
    let first = rings_over(&mut t);
    t.closed(desk(), 7);
    let suspected = |what: &Happening| {
        matches!(
            what,
            Happening::Suspected {
                side: Side::Callee,
                signal: Signal::Transport,
                ..
            }
        )
    };
    assert_eq!(t.happened(suspected), 1);
    t.pass(Millis(2_000));
    t.discard(desk());
    registers_over(&mut t, third(), 8, "second");
    let again = asked_anew(&mut t, &first, third());
    t.response_to(alice(), 199);
    t.receive_over(tcp(third(), 8), takes(&again, third()));
    t.request_to(third(), Method::Ack);
    t.response_to(alice(), 200);
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Alive { .. })),
        1
    );
}

#[test]
fn a_phone_that_does_not_come_back_rings_for_the_grace() {
    for others in [false, true] {
        let mut t = Table::new(settings());
        if others {
            t.register("bob", mobile(), "mobile");
        }
        rings_over(&mut t);
        t.closed(desk(), 7);
        t.pass(Millis(4_900));
        t.nothing_to(alice());
        t.pass(Millis(200));
        if !others {
            t.response_to(alice(), 480);
            continue;
        }
        let ended = t.response_to(alice(), 199);
        assert!(ended.header(Name::Reason).unwrap().contains("cause=480"));
        let invite = t.waiting(mobile(), &Method::Invite).unwrap();
        t.receive(mobile(), takes(&invite, mobile()));
        t.response_to(alice(), 200);
    }
}

#[test]
fn who_is_heard_over_another_connection_rings_on() {
    let mut t = Table::new(settings());
    let first = rings_over(&mut t);
    t.closed(desk(), 7);
    t.pass(Millis(2_000));
    let still = response(&first, 180, desk(), "b1").end();
    t.receive_over(tcp(third(), 8), still);
    t.response_to(alice(), 180);
    t.pass(Millis::from_secs(10));
    t.nothing_to(alice());
    t.receive_over(tcp(third(), 8), with_sdp(answer_to(&first), &audio(desk())));
    t.response_to(alice(), 200);
}

#[test]
fn the_target_of_a_transfer_reboots_while_it_rings() {
    let mut t = three();
    let (_, mut b) = t.established();
    let first = t.referred(&mut b);
    t.reply(&first, 180, carol());
    t.registers_anew("carol", carol(), "carol", "boot2");
    let again = asked_anew(&mut t, &first, carol());
    t.receive(carol(), takes(&again, carol()));
    t.request_to(carol(), Method::Ack);
    assert!(t.waiting(alice(), &Method::Message).is_some());
}

#[test]
fn in_a_refork_who_is_gone_has_not_let_it_ring_out() {
    // The one that rings has closed its connection; or is there, and nobody takes the call.
    for gone in [true, false] {
        let mut t = Table::new(settings());
        registers_over(&mut t, desk(), 7, "first");
        t.register("bob", mobile(), "mobile");
        t.alice_invites(&audio(alice()));
        let invite = t.request_to(mobile(), Method::Invite);
        t.receive(mobile(), takes(&invite, mobile()));
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
        t.discard(desk());
        t.bob_is_lost();
        t.icmp(mobile());
        t.pass(Millis(2_100));
        let again = t.request_to(desk(), Method::Invite);
        t.receive_over(tcp(desk(), 7), response(&again, 180, desk(), "d2").end());
        if gone {
            t.closed(desk(), 7);
        }
        t.pass(Millis::from_secs(31));
        if !gone {
            t.receive_over(tcp(desk(), 7), response(&again, 487, desk(), "d2").end());
        }
        t.discard(desk());
        registers_over(&mut t, third(), 8, "second");
        let asked = t.waiting(third(), &Method::Invite).is_some();
        assert_eq!(asked, gone);
    }
}

#[test]
fn in_a_refork_who_says_nothing_as_it_has_rung_out_was_gone_by_then() {
    // It reboots: it was there, and nobody took the call; or it knows nothing of that.
    for (there, restarts) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut t = two();
        t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        let invite = t.request_to(mobile(), Method::Invite);
        t.reply(&invite, 180, mobile());
        t.pass(Millis::from_secs(31));
        let cancel = t.request_to(mobile(), Method::Cancel);
        if there {
            t.reply(&cancel, 200, mobile());
            t.reply(&invite, 487, mobile());
        }
        t.pass(Millis::from_secs(5));
        if restarts {
            t.restart();
        }
        t.discard(mobile());
        // A binding that is refreshed says nothing.
        t.register_again("bob", mobile(), "mobile", 2);
        t.nothing_to(mobile());
        t.registers_anew("bob", mobile(), "mobile", "boot2");
        let asked = t.waiting(mobile(), &Method::Invite);
        assert_eq!(asked.is_some(), !there);
        // What it refuses now it has refused.
        let Some(asked) = asked else { continue };
        t.reply(&asked, 180, mobile());
        t.reply(&asked, 486, mobile());
        t.request_to(mobile(), Method::Ack);
        t.registers_anew("bob", mobile(), "mobile", "boot3");
        t.nothing_to(mobile());
    }
}

/// What is registered of whom the call was forwarded to is not watched, and would not bring its phone back.
#[test]
fn whom_the_call_was_forwarded_to_rings_for_all_of_its_time() {
    let mut t = Table::new(settings());
    t.register("carol", carol(), "carol");
    registers_over(&mut t, desk(), 7, "first");
    let invite = request(Method::Invite, "alice", "carol", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let first = t.request_to(carol(), Method::Invite);
    t.forwards(&first, carol(), &["<sip:bob@example.org>"]);
    let second = t.request_to(desk(), Method::Invite);
    t.receive_over(tcp(desk(), 7), response(&second, 180, desk(), "b1").end());
    t.discard(alice());
    t.closed(desk(), 7);
    t.pass(Millis(6_000));
    t.nothing_to(alice());
    let takes = with_sdp(answer_to(&second), &audio(desk()));
    t.receive_over(tcp(desk(), 8), takes);
    t.response_to(alice(), 200);
}

#[test]
fn a_phone_that_moves_before_its_turn_is_called_where_it_is() {
    let mut wishes = settings();
    wishes.fork.order = ForkOrder::Serial;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    t.registers_anew("bob", third(), "mobile", "moved");
    t.reply(&first, 486, desk());
    t.request_to(desk(), Method::Ack);
    let second = t.request_to(third(), Method::Invite);
    t.nothing_to(mobile());
    t.receive(third(), takes(&second, third()));
    t.request_to(third(), Method::Ack);
    t.response_to(alice(), 200);
}

#[test]
fn a_phone_that_comes_over_a_connection_before_its_invite_is_out_is_called_over_that() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.relay_waits = true;
    t.alice_invites(&audio(alice()));
    registers_over(&mut t, third(), 7, "first");
    t.relay_answers();
    let invite = t.request_to(third(), Method::Invite);
    t.nothing_to(desk());
    let ok = response(&invite, 200, third(), "b1");
    t.receive_over(tcp(third(), 7), with_sdp(ok, &audio(third())));
    t.request_to(third(), Method::Ack);
    t.response_to(alice(), 200);
}

/// It slept through its INVITE, and rings by that as it wakes.
#[test]
fn a_connection_that_closes_under_who_has_just_woken_is_noticed() {
    for seconds in [31, 45] {
        let mut t = Table::new(settings());
        registers_over(&mut t, desk(), 7, "first");
        t.established();
        t.bob_is_lost();
        let invite = t.request_to(desk(), Method::Invite);
        t.pass(Millis::from_secs(seconds));
        t.receive_over(tcp(desk(), 7), response(&invite, 180, desk(), "b2").end());
        assert!(t.waiting(desk(), &Method::Cancel).is_none());
        let missed = |what: &Happening| {
            matches!(
                what,
                Happening::Suspected {
                    signal: Signal::Transport,
                    ..
                }
            )
        };
        assert_eq!(t.happened(missed), 0);
        t.closed(desk(), 7);
        assert_eq!(t.happened(missed), 1, "{seconds}");
        t.pass(Millis::from_secs(6));
        let refused = |what: &Happening| matches!(what, Happening::Refused { status: 480, .. });
        assert_eq!(t.happened(refused), 1, "{seconds}");
    }
}
