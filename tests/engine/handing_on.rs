//! Letters and transfers: what was written to Bob is not shown to Carol, to whom he passes the call.

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;
use crate::transfer::{CAROL, carol, refer, three};
use crate::undelivered::is_told;

const DROPPED: &str = "1 messages to bob were not delivered.";

fn rejected(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Rejected { status: 480, .. }))
}

/// Alice writes to Bob, whose phone has not answered when it refers her to Carol. `waits`: she has no 202 yet.
fn written_then_referred(
    waits: bool,
) -> (Table, Remote, refork::sip::Message, refork::sip::Message) {
    let mut t = three();
    let (mut a, mut b) = t.established();
    t.receive(alice(), a.message("for Bob only"));
    let message = t.request_to(desk(), Method::Message);
    if !waits {
        t.pass(Millis(2_100));
        t.response_to(alice(), 202);
        t.discard(desk());
    }
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 202);
    while let Some(probe) = t.waiting(desk(), &Method::Options) {
        t.reply(&probe, 200, desk());
    }
    let invite = t.request_to(carol(), Method::Invite);
    (t, a, message, invite)
}

#[test]
fn the_target_is_shown_nothing_from_before() {
    for waits in [true, false] {
        let (mut t, mut a, _, invite) = written_then_referred(waits);
        t.carol_answers(&invite);
        assert!(t.waiting(carol(), &Method::Message).is_none());
        if waits {
            let failed = t.response_to(alice(), 500);
            assert!(failed.header(Name::RetryAfter).is_some());
        } else {
            is_told(&mut t, DROPPED);
        }
        assert_eq!(rejected(&t), 1);
        t.word_of_carol();
        assert_eq!(t.engine.gauges().queued_messages, 0);
        t.receive(alice(), a.message("hello"));
        let message = t.request_to(carol(), Method::Message);
        assert_eq!(text(&message), "hello");
    }
}

#[test]
fn what_comes_while_the_target_rings_is_for_the_target() {
    let (mut t, mut a, _, invite) = written_then_referred(false);
    t.receive(alice(), a.message("who is there?"));
    t.response_to(alice(), 202);
    t.carol_answers(&invite);
    let message = t.request_to(carol(), Method::Message);
    assert_eq!(text(&message), "who is there?");
    t.reply(&message, 200, carol());
    assert_eq!(rejected(&t), 1);
    is_told(&mut t, DROPPED);
    t.word_of_carol();
}

#[test]
fn who_is_led_to_has_nothing_from_before_and_its_sender_is_told() {
    let mut t = three();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.receive(alice(), a.message("for Bob only"));
    t.response_to(alice(), 202);
    let rings = t.request_to(desk(), Method::Invite);
    let moved = response(&rings, 302, desk(), "f1").end();
    let own = format!("<sip:phone@{}>", desk());
    let moved = String::from_utf8_lossy(&moved).replace(&own, CAROL);
    t.receive(desk(), moved.into());
    t.request_to(desk(), Method::Ack);
    let invite = t.request_to(carol(), Method::Invite);
    let mut c = t.carol_answers(&invite);
    assert!(t.waiting(carol(), &Method::Message).is_none());
    is_told(&mut t, DROPPED);
    t.word_of_carol();
    assert_eq!(rejected(&t), 1);
    t.calls_on(&mut a, &mut c);
}

#[test]
fn the_transferor_may_answer_yet() {
    let (mut t, _, message, invite) = written_then_referred(true);
    t.reply(&message, 200, desk());
    t.response_to(alice(), 200);
    t.carol_answers(&invite);
    assert!(t.waiting(carol(), &Method::Message).is_none());
    assert_eq!(rejected(&t), 0);
}

#[test]
fn what_was_not_sent_yet_is_refused_at_once() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    for text in ["one", "two"] {
        t.receive(alice(), a.message(text));
    }
    t.receive(desk(), refer(&mut b, CAROL));
    // Her dialog stands, and she may write to Carol.
    t.response_to(alice(), 500);
    assert_eq!(rejected(&t), 1);
    t.request_to(carol(), Method::Invite);
}

#[test]
fn the_transferor_gets_its_letters_with_the_call() {
    let (mut t, _, _, invite) = written_then_referred(false);
    t.restart();
    let again = t.request_to(carol(), Method::Invite);
    assert_eq!(again.bytes(), invite.bytes());
    t.discard(desk());
    t.reply(&again, 486, carol());
    let message = t.waiting(desk(), &Method::Message).unwrap();
    assert_eq!(text(&message), "for Bob only");
    assert_eq!(rejected(&t), 0);
}

#[test]
fn a_letter_that_the_transferor_may_yet_answer_is_not_sent_twice() {
    for late in [200, 480] {
        let (mut t, _, message, invite) = written_then_referred(false);
        t.reply(&invite, 486, carol());
        t.request_to(carol(), Method::Ack);
        // Its first try is open: what comes now is that one again.
        t.pass(Millis(1_000));
        while let Some(again) = t.waiting(desk(), &Method::Message) {
            assert_eq!(again.branch(), message.branch(), "delivered twice");
        }
        t.discard(desk());
        t.reply(&message, late, desk());
        if late == 480 {
            // Somebody on the way may have said so.
            let asked = t.request_to(desk(), Method::Update);
            let stands = response(&asked, 200, desk(), "b1");
            t.receive(desk(), with_sdp(stands, &audio(desk())));
        }
        t.pass(Millis(3_000));
        let again = t.waiting(desk(), &Method::Message);
        assert_eq!(again.is_some(), late == 480, "{late}");
    }
}

#[test]
fn a_letter_whose_try_failed_while_the_target_rang_goes_with_the_call() {
    let (mut t, _, message, invite) = written_then_referred(false);
    t.reply(&message, 480, desk());
    t.reply(&invite, 486, carol());
    let again = t.waiting(desk(), &Method::Message).expect("another try");
    assert_ne!(again.branch(), message.branch());
    assert_eq!(text(&again), "for Bob only");
}
