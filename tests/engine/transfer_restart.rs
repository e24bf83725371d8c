//! A restart in the middle of a transfer: whoever is transferred ends up with somebody, or is told why not.

use refork::engine::settings::ForkOrder;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;
use crate::transfer::*;

/// Carol's phones are called one after another.
fn in_turn() -> Table {
    let mut wishes = settings();
    wishes.fork.order = ForkOrder::Serial;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register_with_q("carol", carol(), "carol", "0.9");
    t.register_with_q("carol", carols_mobile(), "cm", "0.5");
    t
}

#[test]
fn later_targets_have_their_turn_after_it() {
    let mut t = in_turn();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.restart();
    let again = t.request_to(carol(), Method::Invite);
    assert_eq!(again.bytes(), invite.bytes());
    t.nothing_to(carols_mobile());
    t.reply(&again, 486, carol());
    let mut m = t.takes_over(carols_mobile(), "m1", &audio(carols_mobile()));
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.calls_on(&mut a, &mut m);
}

#[test]
fn the_best_failure_is_told_after_it() {
    let mut t = in_turn();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.reply(&invite, 486, carol());
    t.request_to(carol(), Method::Ack);
    t.request_to(carols_mobile(), Method::Invite);
    t.restart();
    let again = t.request_to(carols_mobile(), Method::Invite);
    t.reply(&again, 480, carols_mobile());
    t.told(desk(), "486 Busy Here");
    t.calls_on(&mut a, &mut b);
}

#[test]
fn who_was_not_called_yet_is_called_after_it() {
    let mut t = in_turn();
    let (mut a, mut b) = t.established();
    // The relay has not got ports yet; the phone says something meanwhile.
    t.relay_waits = true;
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    t.receive(alice(), a.message("are you there?"));
    t.pass(Millis(2_100));
    t.response_to(alice(), 202);
    t.nothing_to(carol());
    t.relay_waits = false;
    t.restart();
    t.pass(Millis(10));
    let invite = t.request_to(carol(), Method::Invite);
    t.carol_answers(&invite);
    let message = t.request_to(carol(), Method::Message);
    assert_eq!(text(&message), "are you there?");
    t.told(desk(), "200 OK");
}

#[test]
fn the_transferee_is_asked_for_its_consent_again() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let ok = response(&invite, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &g722(carol())));
    t.request_to(carol(), Method::Ack);
    let asked = t.request_to(alice(), Method::Invite);
    t.restart();
    t.pass(Millis(10));
    t.nothing_to(carol());
    let again = t.request_to(alice(), Method::Invite);
    assert!(again.cseq() > asked.cseq());
    t.receive(
        alice(),
        with_sdp(response(&again, 200, alice(), "x1"), &g722(alice())),
    );
    t.request_to(alice(), Method::Ack);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.calls_on(&mut a, &mut Remote::of_invite(&invite, carol(), "c1"));
}

#[test]
fn a_transferee_whose_transferor_is_gone_is_told_why_there_is_nobody() {
    let mut t = in_turn();
    let (_, mut b) = t.established();
    t.referred(&mut b);
    t.hangs_up(&mut b);
    t.restart();
    let again = t.request_to(carol(), Method::Invite);
    t.reply(&again, 486, carol());
    let last = t.request_to(carols_mobile(), Method::Invite);
    t.reply(&last, 480, carols_mobile());
    t.told(desk(), "486 Busy Here");
    let bye = t.request_to(alice(), Method::Bye);
    let why = bye.header(Name::Reason);
    assert_eq!(
        why,
        Some("SIP;cause=486;text=\"The transfer failed: Busy Here\"")
    );
    t.reply(&bye, 200, alice());
    t.discard(carol());
    t.discard(carols_mobile());
    t.ends_empty();
}

#[test]
fn what_the_transferor_was_to_be_told_is_told_after_it() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 202);
    t.request_to(desk(), Method::Notify);
    let invite = t.request_to(carol(), Method::Invite);
    let mut c = t.carol_answers(&invite);
    // The first word has no answer, and the last one waits for it.
    t.nothing_to(desk());
    t.restart();
    t.told(desk(), "200 OK");
    t.discard(alice());
    t.calls_on(&mut a, &mut c);
}
