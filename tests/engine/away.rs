//! Who says in a re-fork that nobody is to be had for now is not asked again at the pace of a phone that is not there.

use refork::engine::ids::Side;
use refork::engine::ports::{Command, Input};
use refork::engine::settings::Decline;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Returns when the desk phone is asked within so many seconds, where each INVITE is refused.
fn asked(t: &mut Table, seconds: u64, refuse: impl Fn(&Message) -> bytes::Bytes) -> Vec<u64> {
    let begin = t.now;
    let mut at = Vec::new();
    while t.now.since(begin) < Millis::from_secs(seconds) {
        while let Some(invite) = t.waiting(desk(), &Method::Invite) {
            at.push(t.now.since(begin).0);
            t.receive(desk(), refuse(&invite));
        }
        t.pass(Millis(100));
    }
    at
}

fn lost() -> Table {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    t
}

#[test]
fn a_phone_that_says_480_by_itself_is_asked_more_and_more_seldom() {
    let mut t = lost();
    let at = asked(&mut t, 60, |invite| {
        response(invite, 480, desk(), "x").end()
    });
    assert!((3..=4).contains(&at.len()), "{at:?}");
    assert!(at[1] >= 8_000, "{at:?}");
    assert!(at[2] - at[1] >= 16_000, "{at:?}");
}

/// It takes one call at a time, and has another: both were on the phone that is lost.
#[test]
fn a_phone_that_is_engaged_is_asked_more_and_more_seldom() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.icmp(desk());
    let begin = t.now;
    let mut at = Vec::new();
    while t.now.since(begin) < Millis::from_secs(40) {
        t.pass(Millis(100));
        t.discard(desk());
        if let Some(invite) = t.waiting(mobile(), &Method::Invite) {
            at.push(t.now.since(begin).0);
            t.reply(&invite, 486, mobile());
        }
    }
    assert_eq!(at.len(), 3, "{at:?}");
    assert!(at[1] - at[0] >= 8_000, "{at:?}");
    assert!(at[2] - at[1] >= 16_000, "{at:?}");
}

/// It rings for another call through here, which is given up after a while, or taken and hung up.
#[test]
fn a_phone_that_we_ring_for_another_call_is_asked_as_it_becomes_free() {
    for taken in [false, true] {
        let mut t = two();
        t.register("carol", third(), "carol");
        t.established();
        let conversation = t.engine.list(1)[0].key;
        let invite = request(Method::Invite, "carol", "bob", third(), "another");
        t.receive(third(), with_sdp(invite, &audio(third())));
        t.discard(desk());
        let other = t.request_to(mobile(), Method::Invite);
        t.reply(&other, 180, mobile());
        t.response_to(third(), 180);
        let side = Side::Callee;
        t.input(Input::Command(Command::DeclareLost { conversation, side }));
        t.icmp(desk());
        t.pass(Millis(100));
        t.discard(desk());
        let asked = t.waiting(mobile(), &Method::Invite).expect("asked");
        t.reply(&asked, 486, mobile());
        t.pass(Millis(2_000));
        assert!(t.waiting(mobile(), &Method::Invite).is_none());
        if taken {
            let ok = with_sdp(response(&other, 200, mobile(), "x1"), &audio(mobile()));
            t.receive(mobile(), ok);
            let taken = t.response_to(third(), 200);
            let mut carol = Remote::of_answer(&taken, third());
            t.receive(third(), carol.ack(1));
            t.pass(Millis(2_000));
            assert!(t.waiting(mobile(), &Method::Invite).is_none());
            t.discard(third());
            t.hangs_up(&mut carol);
        } else {
            t.reply(&other, 480, mobile());
        }
        t.discard(mobile());
        t.pass(Millis(600));
        assert!(t.waiting(mobile(), &Method::Invite).is_some(), "{taken}");
    }
}

#[test]
fn a_phone_is_asked_again_when_it_has_said_so() {
    for status in [404, 480, 500, 503] {
        let mut t = lost();
        let later = |invite: &Message| {
            let later = response(invite, status, desk(), "x");
            later.header(Name::RetryAfter, "20 (busy)").end()
        };
        let at = asked(&mut t, 36, later);
        assert_eq!(at.len(), 2, "{status} {at:?}");
        assert!(at[1] >= 20_000, "{status} {at:?}");
    }
}

#[test]
fn who_registers_meanwhile_is_asked_at_once() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let first = t.request_to(desk(), Method::Invite);
    t.reply(&first, 480, desk());
    t.request_to(desk(), Method::Ack);
    t.pass(Millis(3_000));
    t.nothing_to(desk());
    t.register_again("bob", desk(), "desk", 2);
    t.request_to(desk(), Method::Invite);
}

#[test]
fn while_another_rings_it_is_asked_again_too() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(100));
    let first = t.request_to(desk(), Method::Invite);
    t.reply(&first, 480, desk());
    t.request_to(desk(), Method::Ack);
    let rings = t.request_to(mobile(), Method::Invite);
    t.reply(&rings, 180, mobile());
    t.pass(Millis(7_000));
    t.nothing_to(desk());
    t.pass(Millis(9_000));
    t.request_to(desk(), Method::Invite);
}

#[test]
fn what_a_server_says_of_a_phone_beyond_it_may_change_at_once() {
    let mut settings = settings();
    let pbx = upstream("sip:198.51.100.2:5060", true);
    settings.upstreams = [("pbx".into(), pbx)].into();
    settings.domains[0].served_by = refork::engine::settings::ServedBy::Upstream("pbx".into());
    let mut t = Table::new(settings);
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.bob_is_lost();
    let at = asked(&mut t, 10, |invite| {
        response(invite, 480, desk(), "x").end()
    });
    assert!(at.len() >= 4, "{at:?}");
}

/// Who has heard it ring has refused, whichever code the button says; a phone that has not rung is in another call.
#[test]
fn a_486_after_ringing_is_a_refusal_and_one_without_is_none() {
    for (status, rings, again) in [
        (486, true, false),
        (486, false, true),
        (480, true, false),
        (480, false, true),
        (603, true, false),
        (603, false, false),
    ] {
        let mut settings = settings();
        settings.restore.decline = Decline::Endpoint;
        let mut t = Table::new(settings);
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        let first = t.request_to(mobile(), Method::Invite);
        if rings {
            t.reply(&first, 180, mobile());
        }
        t.reply(&first, status, mobile());
        t.request_to(mobile(), Method::Ack);
        let mut asked = false;
        for _ in 0..50 {
            t.pass(Millis::from_secs(1));
            t.discard(desk());
            asked |= t.waiting(mobile(), &Method::Invite).is_some();
        }
        assert_eq!(asked, again, "{status} {rings}");
        // Who registers is asked at once, unless it has refused.
        t.register_again("bob", mobile(), "mobile", 2);
        let asked = t.waiting(mobile(), &Method::Invite).is_some();
        assert_eq!(asked, again, "{status} {rings}");
    }
}

/// The lost phone itself: it may hold the lost dialog, which is ended, and it is asked again a few times.
#[test]
fn of_the_lost_phone_too_a_486_after_ringing_is_a_refusal() {
    for status in [486, 480] {
        let mut t = lost();
        let first = t.request_to(desk(), Method::Invite);
        t.reply(&first, 180, desk());
        t.reply(&first, status, desk());
        t.request_to(desk(), Method::Ack);
        t.pass(Millis::from_secs(50));
        assert!(t.waiting(desk(), &Method::Invite).is_none(), "{status}");
        assert!(t.waiting(desk(), &Method::Bye).is_none(), "{status}");
    }
}
