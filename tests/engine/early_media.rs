//! Whom the caller hears of several phones that speak before they answer.

use std::net::SocketAddr;

use refork::engine::ids::Side;
use refork::engine::ports::{MediaCommand, MediaEvent, Other};
use refork::engine::settings::EarlyDialogs;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::reliable::{alice_calls, prack, reliably};
use crate::table::*;
use crate::transfer::carol;

const BOTH: [EarlyDialogs; 2] = [EarlyDialogs::Forward, EarlyDialogs::Single];
const CALLEE: Side = Side::Callee;

fn table(early: EarlyDialogs) -> Table {
    let mut wishes = settings();
    wishes.fork.early_dialogs = early;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t
}

/// Both phones ring; with the tags `b1` and `m1`.
fn both_ring(t: &mut Table) -> [Message; 2] {
    alice_calls(t, "", &audio(alice()));
    [desk(), mobile()].map(|at| t.request_to(at, Method::Invite))
}

fn speaks(t: &mut Table, invite: &Message, at: SocketAddr, tag: &str) -> Message {
    let early = with_sdp(response(invite, 183, at, tag), &audio(at));
    t.receive(at, early);
    t.response_to(alice(), 183)
}

/// The desk phone says first that it speaks, then the mobile.
fn both_speak(t: &mut Table) -> [Message; 2] {
    let invites = both_ring(t);
    speaks(t, &invites[0], desk(), "b1");
    speaks(t, &invites[1], mobile(), "m1");
    invites
}

/// Returns where the relay takes for the callee's what comes from there.
fn heard(t: &Table) -> SocketAddr {
    let last = t.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { side, streams, .. } if *side == CALLEE => streams[0].rtp,
        _ => None,
    });
    last.expect("somebody is heard")
}

/// Returns whom else the relay listens for.
fn others(t: &Table) -> Vec<Other> {
    for command in t.media.iter().rev() {
        match command {
            MediaCommand::Configure { side: CALLEE, .. } => return Vec::new(),
            MediaCommand::Overhear { side, others, .. } => {
                assert_eq!(*side, CALLEE);
                return others.clone();
            }
            _ => {}
        }
    }
    Vec::new()
}

fn rtp(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip(), 4000)
}

#[track_caller]
fn hears(t: &Table, one: SocketAddr, and: &[SocketAddr]) {
    assert_eq!(heard(t), rtp(one));
    let others = others(t);
    let listened: Vec<_> = others.iter().map(|other| other.rtp[0].unwrap()).collect();
    let expected: Vec<_> = and.iter().map(|at| rtp(*at)).collect();
    assert_eq!(listened, expected);
    let at = others.iter().map(|other| other.signalling);
    assert!(at.eq(and.iter().map(|at| at.ip())));
}

/// The relay hears one of the others, and who is heard is silent.
fn overheard(t: &mut Table, number: u32) {
    t.media_event(|media| MediaEvent::Overheard {
        media,
        side: CALLEE,
        number,
    });
}

#[test]
fn who_spoke_first_is_heard_until_it_is_silent_and_another_one_is_not() {
    for early in BOTH {
        let mut t = table(early);
        let [i1, i2] = both_ring(&mut t);
        speaks(&mut t, &i1, desk(), "b1");
        hears(&t, desk(), &[]);
        speaks(&mut t, &i2, mobile(), "m1");
        hears(&t, desk(), &[mobile()]);
        let number = others(&t)[0].number;
        // It says the same again, as phones do once a minute (RFC 3261 13.3.1.1).
        speaks(&mut t, &i2, mobile(), "m1");
        hears(&t, desk(), &[mobile()]);
        assert_eq!(others(&t)[0].number, number);
        overheard(&mut t, number + 10);
        hears(&t, desk(), &[mobile()]);
        overheard(&mut t, number);
        hears(&t, mobile(), &[desk()]);
        speaks(&mut t, &i1, desk(), "b1");
        hears(&t, mobile(), &[desk()]);
        let number = others(&t)[0].number;
        overheard(&mut t, number);
        hears(&t, desk(), &[mobile()]);
        // Whoever answers has the call, and the word.
        t.receive(
            mobile(),
            with_sdp(response(&i2, 200, mobile(), "m1"), &audio(mobile())),
        );
        t.response_to(alice(), 200);
        hears(&t, mobile(), &[]);
        let told = t.media.len();
        overheard(&mut t, number);
        assert_eq!(t.media.len(), told);
    }
}

#[test]
fn where_who_is_heard_ends_another_one_is_heard_at_once() {
    type Ends = fn(&mut Table, &Message);
    let ways: [(&str, Ends); 4] = [
        ("486", |t, invite| {
            t.receive(desk(), response(invite, 486, desk(), "b1").end());
            t.request_to(desk(), Method::Ack);
        }),
        ("BYE", |t, invite| {
            let mut b = Remote::of_invite(invite, desk(), "b1");
            t.hangs_up(&mut b);
        }),
        ("ICMP", |t, _| {
            t.media_event(|media| MediaEvent::Unreachable {
                media,
                side: CALLEE,
            });
            t.request_to(desk(), Method::Options);
            t.pass(Millis(5_100));
        }),
        ("registers anew", |t, _| {
            t.registers_anew("bob", desk(), "desk", "booted");
        }),
    ];
    for early in BOTH {
        for (how, ends) in &ways {
            let mut t = table(early);
            let [i1, i2] = both_speak(&mut t);
            let sent = t.media.len();
            ends(&mut t, &i1);
            assert_eq!(heard(&t), rtp(mobile()), "{how} {early:?}");
            hears(&t, mobile(), &[]);
            let configured = t.media[sent..].iter();
            let configured =
                configured.filter(|command| matches!(command, MediaCommand::Configure { .. }));
            assert_eq!(configured.count(), 1, "{how}");
            t.receive(
                mobile(),
                with_sdp(response(&i2, 200, mobile(), "m1"), &audio(mobile())),
            );
            t.response_to(alice(), 200);
            hears(&t, mobile(), &[]);
        }
    }
}

#[test]
fn one_that_is_not_heard_and_ends_is_listened_for_no_more() {
    let mut t = table(EarlyDialogs::Forward);
    let [i1, i2] = both_speak(&mut t);
    t.receive(mobile(), response(&i2, 486, mobile(), "m1").end());
    hears(&t, desk(), &[]);
    t.receive(desk(), response(&i1, 486, desk(), "b1").end());
    t.response_to(alice(), 486);
}

#[test]
fn of_those_behind_a_proxy_the_first_is_heard_until_it_ends() {
    for early in BOTH {
        let mut t = table(early);
        let [invite, _] = both_ring(&mut t);
        speaks(&mut t, &invite, desk(), "b1");
        let other = with_sdp(response(&invite, 183, desk(), "b2"), &audio(carol()));
        t.receive(desk(), other);
        t.response_to(alice(), 183);
        assert_eq!(heard(&t), rtp(desk()));
        assert_eq!(others(&t)[0].rtp[0], Some(rtp(carol())));
        t.receive(desk(), response(&invite, 199, desk(), "b1").end());
        assert_eq!(heard(&t), rtp(carol()), "{early:?}");
    }
}

#[test]
fn one_whom_the_caller_wants_no_more_of_is_not_heard() {
    let mut t = table(EarlyDialogs::Forward);
    let [i1, i2] = both_ring(&mut t);
    let first = speaks(&mut t, &i1, desk(), "b1");
    speaks(&mut t, &i2, mobile(), "m1");
    let mut a = Remote::of_answer(&first, alice());
    t.hangs_up(&mut a);
    hears(&t, mobile(), &[]);
}

#[test]
fn where_the_caller_has_its_answer_another_one_is_heard_by_it() {
    let mut t = table(EarlyDialogs::Single);
    alice_calls(&mut t, "Supported: 100rel\r\n", &audio(alice()));
    let [i1, i2] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
    let early = reliably(&i1, 183, desk(), "b1", 5);
    t.receive(desk(), with_sdp(early, &audio(desk())));
    let first = t.response_to(alice(), 183);
    let mut a = Remote::of_answer(&first, alice());
    t.receive(alice(), prack(&mut a, &first).end());
    t.response_to(alice(), 200);
    let early = reliably(&i2, 183, mobile(), "m1", 7);
    t.receive(mobile(), with_sdp(early, &audio(mobile())));
    assert_eq!(t.response_to(alice(), 183).body(), b"", "RFC 3262 5: once");
    hears(&t, desk(), &[mobile()]);
    t.receive(desk(), response(&i1, 486, desk(), "b1").end());
    hears(&t, mobile(), &[]);
}

#[test]
fn no_more_than_some_are_listened_for() {
    let mut t = table(EarlyDialogs::Single);
    let [invite, _] = both_ring(&mut t);
    for number in 0..100 {
        speaks(&mut t, &invite, desk(), &format!("b{number}"));
    }
    hears(&t, desk(), &[desk(); 31]);
}

#[test]
fn what_icmp_says_late_is_of_who_was_heard_before() {
    let mut t = table(EarlyDialogs::Forward);
    both_speak(&mut t);
    let number = others(&t)[0].number;
    overheard(&mut t, number);
    let refused = |t: &mut Table| {
        t.media_event(|media| MediaEvent::Unreachable {
            media,
            side: CALLEE,
        });
    };
    refused(&mut t);
    t.pass(Millis(600));
    assert!(t.waiting(mobile(), &Method::Options).is_none());
    // It is told again.
    refused(&mut t);
    t.request_to(mobile(), Method::Options);
}
