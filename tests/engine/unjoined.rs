//! A survivor that says nothing to the re-INVITE by which a new phone is to be joined.

use refork::engine::events::{Happening, Signal};
use refork::engine::ids::Side;
use refork::engine::ports::MediaEvent;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::edge::contact_of;
use crate::people::*;
use crate::repair::replaces;
use crate::table::*;

/// Bob is lost, and his desk phone takes no call: his mobile has been asked. Returns Alice's dialog, too.
pub fn only_the_mobile() -> (Table, Remote) {
    let mut t = two();
    let (a, _) = t.established();
    t.bob_is_lost();
    let there = t.request_to(desk(), Method::Invite);
    t.reply(&there, 403, desk());
    t.discard(desk());
    (t, a)
}

/// Bob's mobile answers with what Alice has not got, and she is asked. Returns the mobile's INVITE and hers.
fn asked_to_join() -> (Table, Message, Message) {
    let (mut t, _) = only_the_mobile();
    let (invite, join) = answers(&mut t);
    (t, invite, join)
}

fn answers(t: &mut Table) -> (Message, Message) {
    let invite = t.request_to(mobile(), Method::Invite);
    let answer = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(answer, &g722(mobile())));
    t.request_to(mobile(), Method::Ack);
    let join = t.request_to(alice(), Method::Invite);
    (invite, join)
}

fn is_heard(t: &mut Table) {
    t.media_event(|media| MediaEvent::Flowing {
        media,
        side: Side::Caller,
    });
}

fn suspected(t: &Table) -> usize {
    t.happened(|what| {
        let mine = matches!(
            what,
            Happening::Suspected {
                side: Side::Caller,
                signal: Signal::NoAnswer,
                ..
            }
        );
        mine
    })
}

fn lost(t: &Table) -> usize {
    let mine =
        |what: &Happening| matches!(what, Happening::Lost { side, .. } if *side == Side::Caller);
    t.happened(mine)
}

fn joined(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Restored { .. }))
}

/// Answers what is asked of Alice's phone beside the re-INVITE. Returns how often that was.
fn lives(t: &mut Table, span: Millis) -> usize {
    let (mut asked, end) = (0, t.now + span);
    while t.now < end {
        if let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
            asked += 1;
        }
        t.pass(Millis(100));
    }
    asked
}

#[test]
fn a_survivor_that_is_gone_too_is_found_so_in_time_and_the_new_phone_keeps_the_call() {
    let (mut t, _, _) = asked_to_join();
    t.pass(Millis(4_100));
    assert_eq!((suspected(&t), lost(&t)), (1, 0));
    t.pass(Millis(7_800));
    t.discard(alice());
    t.pass(Millis(200));
    assert_eq!((lost(&t), joined(&t)), (1, 1));
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
    // Now it is Alice who is sought.
    t.takes_over(alice(), "a2", &g722(alice()));
    let join = t.request_to(mobile(), Method::Invite);
    let ok = response(&join, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &g722(mobile())));
    assert_eq!(joined(&t), 2);
}

/// Its phone has moved, and says so by a dialog of its own while it is asked by the one before.
#[test]
fn a_survivor_that_replaces_its_dialog_meanwhile_is_asked_by_the_new_one() {
    let (mut t, a) = only_the_mobile();
    answers(&mut t);
    let replacing = request(Method::Invite, "alice", "bob", alice(), "anew")
        .header(Name::Contact, contact_of("alice", alice()))
        .header(Name::Replaces, replaces(&a));
    let replacing = with_sdp(replacing, &sdp(alice(), 1, "sendrecv"));
    t.receive(alice(), replacing);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.request_to(alice(), Method::Bye);
    t.pass(Millis(2_500));
    let join = t.waiting(alice(), &Method::Invite).unwrap();
    assert_eq!(join.call_id(), "anew");
    let ok = response(&join, 200, alice(), "a1");
    t.receive(alice(), with_sdp(ok, &g722(alice())));
    assert_eq!((lost(&t), joined(&t)), (0, 1));
    let bye = a.request(Method::Bye).end();
    t.receive(alice(), bye);
    t.request_to(mobile(), Method::Bye);
}

#[test]
fn a_survivor_that_had_a_later_request_before_the_re_invite_is_asked_once_more() {
    let (mut t, _, join) = asked_to_join();
    assert!(lives(&mut t, Millis(4_500)) > 0);
    t.discard(alice());
    // RFC 3261 12.2.2: the OPTIONS was there first, the re-INVITE was lost on the way until now.
    t.reply(&join, 500, alice());
    t.request_to(alice(), Method::Ack);
    assert!(lives(&mut t, Millis(2_100)) < 2);
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
    let again = t.request_to(alice(), Method::Invite);
    let ok = response(&again, 200, alice(), "a1");
    t.receive(alice(), with_sdp(ok, &g722(alice())));
    assert_eq!((lost(&t), joined(&t)), (0, 1));
}

#[test]
fn a_survivor_that_only_fails_is_not_asked_once_more() {
    let (mut t, _, join) = asked_to_join();
    t.reply(&join, 500, alice());
    t.request_to(mobile(), Method::Bye);
    assert_eq!(joined(&t), 0);
}

#[test]
fn a_survivor_that_lives_and_says_nothing_to_it_costs_the_new_phone_no_half_minute() {
    let (mut t, _, join) = asked_to_join();
    assert!(
        lives(&mut t, Millis(11_900)) > 0,
        "it is asked whether it is there"
    );
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
    assert!(lives(&mut t, Millis(200)) < 2);
    let bye = t.request_to(mobile(), Method::Bye);
    assert!(bye.header(Name::Reason).unwrap().contains("cause=408"));
    t.reply(&bye, 200, mobile());
    assert_eq!((lost(&t), joined(&t)), (0, 0));
    // It has not refused, and is asked once more when Alice can be; then it is left in peace.
    t.discard(alice());
    lives(&mut t, Millis::from_secs(19));
    t.discard(alice());
    assert!(t.waiting(mobile(), &Method::Invite).is_none());
    lives(&mut t, Millis(2_500));
    t.discard(alice());
    let (again, _) = answers_again(&mut t);
    assert_ne!(again.call_id(), join.call_id());
    let anew = t.request_to(alice(), Method::Invite);
    assert!(anew.cseq() > join.cseq());
    lives(&mut t, Millis(12_500));
    let bye = t.request_to(mobile(), Method::Bye);
    t.reply(&bye, 200, mobile());
    lives(&mut t, Millis::from_secs(10));
    assert!(t.waiting(mobile(), &Method::Invite).is_none());
    assert_eq!(lost(&t), 0);
}

/// The re-INVITE that was taken back is over, and Alice's phone is asked anew.
fn answers_again(t: &mut Table) -> (Message, ()) {
    let invite = t.request_to(mobile(), Method::Invite);
    t.discard(mobile());
    let answer = response(&invite, 200, mobile(), "m2");
    t.receive(mobile(), with_sdp(answer, &g722(mobile())));
    t.request_to(mobile(), Method::Ack);
    (invite, ())
}

#[test]
fn who_is_heard_is_not_lost_and_one_that_answers_late_is_joined() {
    let (mut t, _, join) = asked_to_join();
    is_heard(&mut t);
    t.pass(Millis(4_100));
    assert_eq!((suspected(&t), lost(&t)), (1, 0));
    let ok = response(&join, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &g722(alice())));
    assert_eq!((lost(&t), joined(&t)), (0, 1));
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
}

#[test]
fn a_survivor_whose_user_is_asked_has_its_time() {
    let (mut t, _, join) = asked_to_join();
    t.reply(&join, 180, alice());
    t.pass(Millis(13_000));
    assert_eq!((suspected(&t), lost(&t)), (0, 0));
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
    let ok = response(&join, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &g722(alice())));
    assert_eq!(joined(&t), 1);
}

#[test]
fn a_survivor_gets_no_reinvite_beside_one_that_was_taken_back() {
    let (mut t, invite, join) = asked_to_join();
    t.reply(&join, 100, alice());
    let mut taken = Remote::of_invite(&invite, mobile(), "m1");
    t.hangs_up(&mut taken);
    let cancel = t.request_to(alice(), Method::Cancel);
    t.reply(&cancel, 200, alice());
    t.register("bob", third(), "third");
    let invite = t.request_to(third(), Method::Invite);
    let answer = response(&invite, 200, third(), "t1");
    t.receive(third(), with_sdp(answer, &g722(third())));
    t.request_to(third(), Method::Ack);
    t.pass(Millis(6_000));
    assert!(t.waiting(alice(), &Method::Invite).is_none());
    t.reply(&join, 487, alice());
    t.pass(Millis(4_100));
    let again = t.waiting(alice(), &Method::Invite).expect("a re-INVITE");
    assert!(again.cseq() > join.cseq());
}

#[test]
fn a_survivor_that_says_nothing_at_all_gets_one_reinvite_at_a_time() {
    let (mut t, _, join) = asked_to_join();
    is_heard(&mut t);
    lives(&mut t, Millis(12_100));
    let bye = t.request_to(mobile(), Method::Bye);
    t.reply(&bye, 200, mobile());
    // Another phone takes the call while the first re-INVITE may yet be answered.
    t.register("bob", third(), "third");
    let invite = t.request_to(third(), Method::Invite);
    let answer = response(&invite, 200, third(), "t1");
    t.receive(third(), with_sdp(answer, &g722(third())));
    t.request_to(third(), Method::Ack);
    t.discard(alice());
    let began = t.now;
    let anew = loop {
        match t.waiting(alice(), &Method::Invite) {
            Some(one) if one.cseq() == join.cseq() => {}
            Some(anew) => break anew,
            None => assert!(lives(&mut t, Millis(100)) < 9),
        }
    };
    let waited = t.now.since(began);
    assert!(
        waited >= Millis(19_000) && waited <= Millis(25_000),
        "{waited:?}"
    );
    let ok = response(&anew, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &g722(alice())));
    assert_eq!((lost(&t), joined(&t)), (0, 1));
}

#[test]
fn a_survivor_that_talks_and_is_not_reached_has_its_grace_to_be_back() {
    // Its address has changed, or its connection is down: that is no more than a suspicion.
    let (mut t, _, join) = asked_to_join();
    is_heard(&mut t);
    t.icmp(alice());
    t.discard(alice());
    t.pass(Millis(200));
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
    assert_eq!((lost(&t), joined(&t)), (0, 0));
    t.pass(Millis(4_200));
    let again = t.waiting(alice(), &Method::Invite).expect("a re-INVITE");
    assert!(again.cseq() > join.cseq());
    let ok = response(&again, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &g722(alice())));
    assert_eq!((lost(&t), joined(&t)), (0, 1));
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
}

#[test]
fn a_survivor_that_talks_and_is_never_reached_costs_the_new_phone_its_grace_and_no_more() {
    let (mut t, _, _) = asked_to_join();
    is_heard(&mut t);
    let began = t.now;
    let bye = loop {
        t.icmp(alice());
        t.discard(alice());
        match t.waiting(mobile(), &Method::Bye) {
            Some(bye) => break bye,
            None => t.pass(Millis(100)),
        }
        assert!(t.now.since(began) < Millis::from_secs(12));
    };
    assert!(t.now.since(began) >= settings().detect.grace);
    assert!(bye.header(Name::Reason).unwrap().contains("cause=408"));
    assert_eq!((lost(&t), joined(&t)), (0, 0));
}
