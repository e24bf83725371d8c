//! What is on its way between two phones as the call of one is joined with another (RFC 5589 7).

use refork::engine::ids::ConversationId;
use refork::engine::ports::{Command, Input};
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::attended::{bob_consults_carol, naming};
use crate::people::*;
use crate::table::*;
use crate::transfer::*;
use crate::undelivered::is_told;

/// What a phone whose call is joined with another has said to who leaves it.
#[test]
fn who_is_given_never_hears_that_its_dialog_is_gone() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    // Before Bob hangs up, and after.
    t.receive(carol(), c.request(Method::Info).end());
    t.request_to(desk(), Method::Info);
    t.nothing_to(carol());
    t.hangs_up(&mut consulting);
    t.response_to(carol(), 200);
    t.receive(carol(), c.request(Method::Info).end());
    t.response_to(carol(), 200);
    t.receive(carol(), c.message("are you there?"));
    t.response_to(carol(), 500);
    t.nothing_to(desk());
    t.carol_agrees(&asked);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.word_of_alice();
    t.calls_on(&mut a, &mut c);
}

#[test]
fn what_waits_for_who_transfers_is_answered_as_its_call_is_joined() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.receive(carol(), c.request(Method::Info).end());
    t.request_to(desk(), Method::Info);
    t.receive(carol(), c.message("waits"));
    t.request_to(desk(), Method::Message);
    t.nothing_to(carol());
    t.carol_agrees(&asked);
    t.response_to(carol(), 200);
    // Her dialog stands.
    t.response_to(carol(), 500);
    t.waiting(desk(), &Method::Info);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
    t.calls_on(&mut a, &mut c);
}

#[test]
fn of_what_was_accepted_for_who_transfers_its_sender_is_told() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.receive(carol(), c.message("precious"));
    t.request_to(desk(), Method::Message);
    t.pass(Millis(2_200));
    while t.waiting(carol(), &Method::Invite).is_some() {}
    t.response_to(carol(), 202);
    t.discard(desk());
    let ok = response(&asked, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    let told = t.request_to(carol(), Method::Message);
    let says = text(&told);
    // The call goes on.
    assert_eq!(says, "1 messages to bob were not delivered.");
    t.reply(&told, 200, carol());
    t.discard(desk());
    t.word_of_carol();
    t.word_of_alice();
    t.calls_on(&mut a, &mut c);
}

#[test]
fn who_wrote_to_who_transfers_is_told_that_it_did_not_arrive() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    t.receive(alice(), a.message("for Bob only"));
    t.request_to(desk(), Method::Message);
    t.pass(Millis(2_100));
    t.response_to(alice(), 202);
    t.discard(desk());
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.carol_agrees(&asked);
    is_told(&mut t, "1 messages to bob were not delivered.");
    t.discard(desk());
    t.word_of_carol();
    t.word_of_alice();
    t.calls_on(&mut a, &mut c);
}

#[test]
fn what_was_accepted_for_who_is_given_goes_out_before() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.receive(desk(), consulting.message("one"));
    let first = t.request_to(carol(), Method::Message);
    t.receive(desk(), consulting.message("two"));
    t.pass(Millis(2_200));
    t.response_to(desk(), 202);
    t.response_to(desk(), 202);
    t.discard(carol());
    let ok = response(&asked, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    let second = t.request_to(carol(), Method::Message);
    assert_eq!(text(&second), "two");
    t.reply(&second, 200, carol());
    t.reply(&first, 200, carol());
    t.discard(desk());
    t.word_of_carol();
    t.word_of_alice();
    t.calls_on(&mut a, &mut c);
}

#[test]
fn who_transfers_is_let_go_once_the_leg_is_stored_where_it_went() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.store_waits = true;
    t.carol_agrees(&asked);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.word_of_alice();
    t.nothing_to(desk());
    t.store_answers(false);
    t.nothing_to(desk());
    t.store_waits = false;
    t.pass(Millis(2_100));
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.call_id(), consulting.call_id);
    t.reply(&bye, 200, desk());
    t.calls_on(&mut a, &mut c);
}

/// Both calls end while the leg is on its way from the one to the other.
#[test]
fn a_leg_that_neither_call_has_any_more_is_ended() {
    let mut t = three();
    let (_, mut b) = t.established();
    let (consulting, c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.handovers_wait = true;
    t.carol_agrees(&asked);
    for call in t.engine.list(10) {
        let conversation = call.key;
        t.input(Input::Command(Command::HangUp { conversation }));
    }
    t.nothing_to(carol());
    t.handovers_arrive();
    let bye = t.request_to(carol(), Method::Bye);
    assert_eq!(bye.call_id(), c.call_id);
    t.reply(&bye, 200, carol());
    t.nothing_to(carol());
}

#[test]
fn who_has_agreed_to_nothing_is_not_told_its_session_anew() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.reply(&asked, 491, carol());
    t.request_to(carol(), Method::Ack);
    t.hangs_up(&mut a);
    t.pass(Millis(3_000));
    t.nothing_to(carol());
    t.discard(desk());
    t.calls_on(&mut consulting, &mut c);
}

/// What went out before the leg was given is answered late, and is no BYE.
#[test]
fn the_answer_to_a_text_ends_no_dialog() {
    let mut t = three();
    let (_, mut b) = t.established();
    let taker = t.engine.list(1)[0].key;
    let (mut consulting, c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.receive(desk(), consulting.message("precious"));
    t.receive(desk(), consulting.message("more"));
    t.pass(Millis(2_200));
    t.discard(carol());
    t.handovers_wait = true;
    let ok = response(&asked, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    let text = t.request_to(carol(), Method::Message);
    // The call that should have it ends, and then the one that has it again.
    for call in [taker, other_than(&t, taker)] {
        t.input(Input::Command(Command::HangUp { conversation: call }));
        t.handovers_arrive();
    }
    let bye = t.waiting(carol(), &Method::Bye).expect("the BYE");
    assert_eq!(bye.call_id(), c.call_id);
    t.reply(&text, 200, carol());
    t.pass(Millis::from_secs(45));
    t.discard(carol());
    t.register_again("carol", carol(), "carol", 2);
    t.request_to(carol(), Method::Bye);
}

fn other_than(t: &Table, known: ConversationId) -> ConversationId {
    let all = t.engine.list(2);
    let mut keys = all.iter().map(|call| call.key);
    keys.find(|key| *key != known).unwrap()
}

/// Whose ACK is on its way yet is asked a moment later, and by nothing that its phone may not know.
#[test]
fn a_caller_is_given_whose_ack_comes_after_the_refer() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = request(Method::Invite, "carol", "bob", carol(), "call2");
    t.receive(carol(), with_sdp(invite, &audio(carol())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(response(&invite, 200, desk(), "b2"), &audio(desk())),
    );
    t.request_to(desk(), Method::Ack);
    let consulted = Remote::of_invite(&invite, desk(), "b2");
    let mut c = Remote::of_answer(&t.response_to(carol(), 200), carol());
    t.receive(desk(), refer(&mut b, &naming(&consulted)));
    t.response_to(desk(), 202);
    t.receive(carol(), c.ack(1));
    t.pass(Millis(2_500));
    let asked = t.request_to(carol(), Method::Invite);
    assert_eq!(asked.call_id(), "call2", "nobody rings");
    assert_eq!(asked.header(Name::Replaces), None);
    let ok = response(&asked, 200, carol(), "tcall2");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    t.discard(desk());
    t.word_of_carol();
    t.word_of_alice();
    t.calls_on(&mut a, &mut c);
}
