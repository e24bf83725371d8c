//! Texts that were accepted and do not arrive are counted, and whoever wrote them is told how many there were.

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

/// Bob is lost, and Alice has written to him: two texts that are worth something for two seconds, and one more.
fn waiting(t: &mut Table) -> Remote {
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.discard(desk());
    for expires in [Some(2), Some(2), None] {
        let mut message = a.request(Method::Message);
        if let Some(expires) = expires {
            message = message.header(Name::Expires, expires);
        }
        t.receive(alice(), message.body("text/plain", b"hi"));
        t.response_to(alice(), 202);
    }
    a
}

/// Returns what the history, and so CDR and metric, has in the end.
fn undelivered(t: &Table) -> Option<u32> {
    t.history().into_iter().find_map(|what| match what {
        Happening::Ended { undelivered, .. } => Some(*undelivered),
        _ => None,
    })
}

/// Alice is told by us.
#[track_caller]
pub fn is_told(t: &mut Table, says: &str) {
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(text(&word), says);
    assert_eq!(word.other("Auto-Submitted"), Some("auto-generated"));
    t.reply(&word, 200, alice());
}

#[test]
fn what_expired_before_somebody_came_back_is_told_after_the_notice() {
    let mut t = two();
    let mut a = waiting(&mut t);
    t.pass(Millis(2_100));
    t.discard(desk());
    t.nothing_to(alice());
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let carried = t.request_to(mobile(), Method::Message);
    t.nothing_to(alice());
    t.reply(&carried, 200, mobile());
    is_told(&mut t, "bob is continuing on Phone-mobile.");
    is_told(&mut t, "2 messages to bob were not delivered.");
    t.nothing_to(alice());
    t.hangs_up(&mut a);
    assert_eq!(undelivered(&t), Some(2));
}

#[test]
fn where_nobody_comes_back_the_last_word_has_those_that_expired_too() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    waiting(&mut t);
    t.pass(Millis::from_secs(60));
    is_told(&mut t, "bob is gone; 3 not delivered.");
    t.request_to(alice(), Method::Bye);
    assert_eq!(undelivered(&t), Some(3));
}

#[test]
fn a_machine_is_not_told_of_its_words() {
    for (submitted, told) in [("auto-generated", false), ("no", true)] {
        let mut t = two();
        let (mut a, _) = t.established();
        t.bob_is_lost();
        t.discard(desk());
        let words = a.request(Method::Message);
        let words = words.other("Auto-Submitted", submitted);
        t.receive(alice(), words.body("text/plain", b"gone on"));
        t.response_to(alice(), 202);
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &audio(mobile()));
        let carried = t.request_to(mobile(), Method::Message);
        t.reply(&carried, 415, mobile());
        is_told(&mut t, "bob is continuing on Phone-mobile.");
        if told {
            is_told(&mut t, "1 messages to bob were not delivered.");
        }
        t.nothing_to(alice());
        t.hangs_up(&mut a);
        assert_eq!(undelivered(&t), Some(1));
    }
}

#[test]
fn what_is_refused_after_its_202_is_told() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.discard(desk());
    for text in ["1", "2"] {
        t.receive(alice(), a.message(text));
        t.response_to(alice(), 202);
    }
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    for status in [415, 200] {
        t.nothing_to(alice());
        let carried = t.request_to(mobile(), Method::Message);
        t.reply(&carried, status, mobile());
    }
    is_told(&mut t, "bob is continuing on Phone-mobile.");
    is_told(&mut t, "1 messages to bob were not delivered.");
    // Who waits for the answer has it, and is told no more.
    t.receive(alice(), a.message("3"));
    let carried = t.request_to(mobile(), Method::Message);
    t.reply(&carried, 415, mobile());
    t.response_to(alice(), 415);
    t.nothing_to(alice());
    t.hangs_up(&mut a);
    assert_eq!(undelivered(&t), Some(1));
}

#[test]
fn a_text_that_expires_while_its_sender_waits_costs_that_no_call() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), a.message("first"));
    t.request_to(desk(), Method::Message);
    let brief = a.request(Method::Message).header(Name::Expires, 1);
    t.receive(alice(), brief.body("text/plain", b"soon worth nothing"));
    t.nothing_to(alice());
    t.pass(Millis(1_100));
    // A 408 to what is no INVITE is none (RFC 4320 4.2), and her phone would take her call for over (RFC 5057).
    let failed = t.response_to(alice(), 500);
    assert!(failed.header(Name::RetryAfter).is_some());
}
