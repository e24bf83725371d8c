//! A loss at the worst moment: while a request of either side is open, and once more before all is over.

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::reliable::{SUPPORTED, alice_calls, prack, reliably};
use crate::table::*;
use crate::video::{both, ports};

/// Both can say something that the other hears.
fn the_call_goes_on(t: &mut Table, a: &mut Remote, b: &mut Remote) {
    let (here, there) = (a.at, b.at);
    for (from, to) in [(&mut *a, there), (&mut *b, here)] {
        t.receive(from.at, from.request(Method::Info).end());
        let info = t.request_to(to, Method::Info);
        t.reply(&info, 200, to);
        t.response_to(from.at, 200);
    }
}

#[test]
fn the_callee_is_lost_while_the_callers_reinvite_is_open() {
    let mut t = two();
    let (mut a, _) = t.established();
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    t.request_to(desk(), Method::Invite);
    t.bob_is_lost();
    // Her hold is granted here, and told to who comes.
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"));
    t.receive(alice(), a.ack(ok.cseq()));
    t.discard(desk());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    assert!(text(&invite).contains("a=sendonly"));
    let answer = sdp(mobile(), 1, "recvonly");
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &answer),
    );
    t.request_to(mobile(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    let mut m = Remote::of_invite(&invite, mobile(), "m1");
    the_call_goes_on(&mut t, &mut a, &mut m);
}

#[test]
fn the_callee_is_lost_while_the_callers_update_is_open() {
    let mut t = two();
    let offer = sdp(alice(), 1, "sendrecv");
    let (mut a, _) = t.established_with(&offer, &audio(desk()));
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Update), &hold));
    while t.waiting(desk(), &Method::Update).is_none()
        && t.waiting(desk(), &Method::Invite).is_none()
    {
        t.pass(Millis(10));
    }
    t.bob_is_lost();
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"));
    t.discard(desk());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    assert!(text(&invite).contains("a=sendonly"));
}

/// Bob's phone holds, and is lost before Alice's has answered; her answer crosses the CANCEL.
fn agrees_too_late(t: &mut Table, a: &mut Remote, b: &mut Remote) -> Message {
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly")),
    );
    let hold = t.request_to(alice(), Method::Invite);
    assert!(text(&hold).contains("a=sendonly"));
    t.bob_is_lost();
    t.discard(desk());
    let ok = response(&hold, 200, a.at, "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 2, "recvonly")));
    let ack = t.request_to(alice(), Method::Ack);
    assert_eq!(ack.cseq(), hold.cseq());
    hold
}

#[test]
fn who_agrees_to_the_hold_of_who_is_lost_already_is_not_left_on_hold() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    let hold = agrees_too_late(&mut t, &mut a, &mut b);
    let again = t.request_to(alice(), Method::Invite);
    assert!(text(&again).contains("a=sendrecv"), "{}", text(&again));
    // Her first answer comes once more.
    let ok = response(&hold, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 2, "recvonly")));
    assert_eq!(t.request_to(alice(), Method::Ack).cseq(), hold.cseq());
    let ok = response(&again, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendrecv")));
    assert_eq!(t.request_to(alice(), Method::Ack).cseq(), again.cseq());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    assert!(text(&invite).contains("a=sendrecv"));
    let ok = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &audio(mobile())));
    t.request_to(mobile(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    let mut m = Remote::of_invite(&invite, mobile(), "m1");
    the_call_goes_on(&mut t, &mut a, &mut m);
}

#[test]
fn who_offers_as_it_is_told_what_stands_is_told_after_its_offer() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    agrees_too_late(&mut t, &mut a, &mut b);
    let again = t.request_to(alice(), Method::Invite);
    // RFC 3261 14.1: glare.
    t.reply(&again, 491, alice());
    t.request_to(alice(), Method::Ack);
    t.nothing_to(alice());
    let own = sdp(alice(), 3, "sendrecv");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &own));
    let ok = t.response_to(alice(), 200);
    t.nothing_to(alice());
    t.receive(alice(), a.ack(ok.cseq()));
    let again = t.request_to(alice(), Method::Invite);
    assert!(text(&again).contains("a=sendrecv"), "{}", text(&again));
}

#[test]
fn an_offer_that_was_taken_back_in_time_leaves_nothing_to_say() {
    let mut t = two();
    let (_, mut b) = t.established();
    let hold = sdp(desk(), 2, "sendonly");
    t.receive(desk(), with_sdp(b.request(Method::Invite), &hold));
    let hold = t.request_to(alice(), Method::Invite);
    t.reply(&hold, 100, alice());
    t.bob_is_lost();
    let cancel = t.request_to(alice(), Method::Cancel);
    t.reply(&cancel, 200, alice());
    t.reply(&hold, 487, alice());
    t.request_to(alice(), Method::Ack);
    t.nothing_to(alice());
}

#[test]
fn a_phone_is_lost_while_the_callers_prack_waits_for_it() {
    let mut t = two();
    alice_calls(&mut t, SUPPORTED, &audio(alice()));
    let (first, second) = (
        t.request_to(desk(), Method::Invite),
        t.request_to(mobile(), Method::Invite),
    );
    t.receive(
        desk(),
        with_sdp(reliably(&first, 183, desk(), "b1", 7), &audio(desk())),
    );
    let early = t.response_to(alice(), 183);
    let mut dialog = Remote::of_answer(&early, alice());
    t.receive(alice(), prack(&mut dialog, &early).end());
    t.response_to(alice(), 200);
    t.request_to(desk(), Method::Prack);
    // The desk phone is never heard of again; the mobile is answered.
    t.pass(Millis(1_000));
    t.discard(desk());
    t.discard(mobile());
    t.receive(
        mobile(),
        with_sdp(response(&second, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_ne!(ok.to_tag(), early.to_tag(), "of another early dialog");
    let mut a = Remote::of_answer(&ok, alice());
    a.cseq = dialog.cseq;
    t.receive(alice(), a.ack(ok.cseq()));
    assert!(t.waiting(desk(), &Method::Cancel).is_some());
    let mut m = Remote::of_invite(&second, mobile(), "m1");
    t.discard(alice());
    the_call_goes_on(&mut t, &mut a, &mut m);
}

#[test]
fn a_phone_of_a_refork_is_lost_before_it_answers_our_prack() {
    let mut t = two();
    t.register("bob", third(), "third");
    let (mut a, _) = t.established();
    t.discard(mobile());
    t.discard(third());
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    let first = t.request_to(mobile(), Method::Invite);
    let second = t.request_to(third(), Method::Invite);
    t.receive(
        mobile(),
        with_sdp(reliably(&first, 183, mobile(), "m1", 30), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Prack);
    t.pass(Millis(1_000));
    t.discard(mobile());
    t.discard(third());
    t.receive(
        third(),
        with_sdp(response(&second, 200, third(), "c1"), &audio(third())),
    );
    t.request_to(third(), Method::Ack);
    assert!(t.waiting(mobile(), &Method::Cancel).is_some());
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    let mut c = Remote::of_invite(&second, third(), "c1");
    the_call_goes_on(&mut t, &mut a, &mut c);
}

#[test]
fn a_phone_lost_again_while_the_queue_is_delivered_loses_nothing() {
    let mut t = two();
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    for text in ["1", "2", "3"] {
        t.receive(alice(), a.message(text));
        t.response_to(alice(), 202);
    }
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    let first = t.request_to(mobile(), Method::Message);
    assert_eq!(text(&first), "1");
    t.reply(&first, 200, mobile());
    // The second is under way.
    let second = t.request_to(mobile(), Method::Message);
    assert_eq!(text(&second), "2");
    t.register("bob", third(), "third");
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    t.takes_over(third(), "c1", &text_sdp(third()));
    for expected in ["2", "3"] {
        t.nothing_to(alice());
        let carried = t.request_to(third(), Method::Message);
        assert_eq!(text(&carried), expected);
        t.reply(&carried, 200, third());
    }
    let notice = t.request_to(alice(), Method::Message);
    assert!(text(&notice).contains("third"), "{}", text(&notice));
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Delivered { .. })),
        3
    );
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Redelivered { .. })),
        1
    );
}

#[test]
fn a_survivor_that_adds_pictures_while_the_other_is_sought_may_do_so_again() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.discard(desk());
    let with = both(alice()).replace("o=- 7 1 ", "o=- 7 2 ");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &with));
    t.relay_answers();
    let ok = t.response_to(alice(), 200);
    assert_eq!(ports(&ok)[1], 0, "nobody is there to show it to");
    t.receive(alice(), a.ack(ok.cseq()));
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    let answer = both(mobile()).replace("m=video 4002", "m=video 0");
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &answer),
    );
    t.request_to(mobile(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    let again = both(alice()).replace("o=- 7 1 ", "o=- 7 3 ");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &again));
    t.relay_answers();
    let offer = t.request_to(mobile(), Method::Invite);
    assert_eq!(ports(&offer).len(), 2);
    assert!(ports(&offer).iter().all(|port| *port > 0), "{offer:?}");
}

#[test]
fn the_lost_phones_bye_crosses_the_refork() {
    let mut t = two();
    let (_, mut b) = t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let again = t.request_to(desk(), Method::Invite);
    t.discard(desk());
    let invite = t.request_to(mobile(), Method::Invite);
    t.reply(&invite, 180, mobile());
    // It was not dead: its user puts it down, which ends the conversation for all.
    t.receive(desk(), b.request(Method::Bye).end());
    t.response_to(desk(), 200);
    t.reply(&again, 481, desk());
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    assert!(t.waiting(mobile(), &Method::Cancel).is_some());
}

#[test]
fn the_first_who_rings_is_lost_in_its_early_dialog() {
    // It rang, and knows nothing of that when it is back: it is asked anew. Then the call is the other one's, and no
    // early dialog is left.
    let mut t = two();
    alice_calls(&mut t, "", &audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    let second = t.request_to(mobile(), Method::Invite);
    t.reply(&first, 180, desk());
    t.response_to(alice(), 180);
    t.registers_anew("bob", desk(), "desk", "boot2");
    let cancel = t.request_to(desk(), Method::Cancel);
    assert_eq!(cancel.call_id(), first.call_id());
    let anew = t.request_to(desk(), Method::Invite);
    assert_ne!(anew.call_id(), first.call_id());
    t.reply(&anew, 180, desk());
    t.response_to(alice(), 180);
    t.pass(Millis(500));
    t.discard(desk());
    t.discard(mobile());
    t.receive(
        mobile(),
        with_sdp(response(&second, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(ok.cseq()));
    let cancel = t.request_to(desk(), Method::Cancel);
    assert_eq!(cancel.call_id(), anew.call_id());
    assert!(cancel.header(Name::Reason).is_some());
    let mut m = Remote::of_invite(&second, mobile(), "m1");
    the_call_goes_on(&mut t, &mut a, &mut m);
}

#[test]
fn an_answer_too_late_is_ended_by_a_number_beyond_its_prack() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let again = t.request_to(desk(), Method::Invite);
    t.discard(desk());
    t.receive(desk(), reliably(&again, 180, desk(), "d2", 30).end());
    let prack = t.request_to(desk(), Method::Prack);
    t.receive(desk(), response(&prack, 200, desk(), "d2").end());
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.request_to(desk(), Method::Cancel);
    // Its 200 has crossed the CANCEL.
    t.discard(desk());
    t.receive(
        desk(),
        with_sdp(response(&again, 200, desk(), "d2"), &audio(desk())),
    );
    let ack = t.request_to(desk(), Method::Ack);
    assert_eq!(ack.cseq(), again.cseq());
    let bye = t.request_to(desk(), Method::Bye);
    assert!(
        bye.cseq() > prack.cseq(),
        "else it is refused (RFC 3261 12.2.2)"
    );
}

/// RFC 3261 13.2.2.4: it would be sent again and again.
#[test]
fn a_lost_phone_that_agrees_too_late_is_acknowledged() {
    for until in ["lost", "replaced", "over"] {
        let mut t = two();
        let (mut a, _) = t.established();
        let hold = sdp(alice(), 2, "sendonly");
        t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
        let asked = t.request_to(desk(), Method::Invite);
        t.reply(&asked, 100, desk());
        t.bob_is_lost();
        let cancel = t.waiting(desk(), &Method::Cancel).expect("a CANCEL");
        t.reply(&cancel, 200, desk());
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), a.ack(ok.cseq()));
        if until == "replaced" {
            t.pass(Millis(2_100));
            let answer = sdp(mobile(), 1, "recvonly");
            t.takes_over(mobile(), "m1", &answer);
        }
        if until == "over" {
            t.hangs_up(&mut a);
        }
        t.discard(desk());
        let late = response(&asked, 200, desk(), "b1");
        t.receive(desk(), with_sdp(late, &sdp(desk(), 2, "recvonly")));
        let ack = t.waiting(desk(), &Method::Ack);
        let ack = ack.unwrap_or_else(|| panic!("{until}: no ACK"));
        assert_eq!(ack.cseq(), asked.cseq(), "{until}");
        assert_eq!(ack.call_id(), asked.call_id(), "{until}");
        assert_eq!(ack.to_tag(), Some("b1"), "{until}");
        assert!(t.waiting(desk(), &Method::Ack).is_none(), "{until}");
    }
}

/// An offer of who is lost is taken back, and its phone agrees to it all the same.
#[test]
fn who_agrees_to_what_stands_is_not_told_that_once_more() {
    for (direction, answered, again) in [
        ("sendrecv", "sendrecv", false),
        ("sendonly", "recvonly", true),
        // What it has said before was something else.
        ("sendrecv", "sendonly", true),
    ] {
        let mut t = two();
        let (mut a, _) = t.established();
        let offer = sdp(alice(), 2, direction);
        t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
        let asked = t.request_to(desk(), Method::Invite);
        t.alice_is_lost();
        t.response_to(alice(), 500);
        let agreed = response(&asked, 200, desk(), "b1");
        t.receive(desk(), with_sdp(agreed, &sdp(desk(), 2, answered)));
        t.request_to(desk(), Method::Ack);
        let told = t.waiting(desk(), &Method::Invite).is_some();
        assert_eq!(told, again, "{direction} {answered}");
    }
}
