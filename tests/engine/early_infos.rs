//! INFO in early dialogs (RFC 6086): digits for a machine that speaks before it answers, or never does.

use refork::engine::events::Happening;
use refork::engine::ids::Side;
use refork::engine::ports::MediaEvent;
use refork::engine::settings::{EarlyDialogs, MediaMode};
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::hops::with_hops;
use crate::people::*;
use crate::table::*;

/// Bob's phone speaks before it answers. Returns the dialogs of both, and its INVITE.
fn speaks(t: &mut Table) -> (Remote, Remote, Message) {
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = response(&invite, 183, desk(), "b1");
    t.receive(desk(), with_sdp(early, &audio(desk())));
    let early = t.response_to(alice(), 183);
    let b = Remote::of_invite(&invite, desk(), "b1");
    (Remote::of_answer(&early, alice()), b, invite)
}

fn digit(who: &mut Remote, digit: u8) -> bytes::Bytes {
    let body = format!("Signal={digit}\r\nDuration=160\r\n");
    who.request(Method::Info)
        .other("Info-Package", "dtmf-relay")
        .body("application/dtmf-relay", body.as_bytes())
}

#[test]
fn digits_cross_before_the_answer_and_after_it() {
    let mut t = Table::new(settings());
    let (mut a, _, invite) = speaks(&mut t);
    t.receive(alice(), digit(&mut a, 1));
    let one = t.request_to(desk(), Method::Info);
    assert_eq!(one.to_tag(), Some("b1"));
    assert_eq!(text(&one), "Signal=1\r\nDuration=160\r\n");
    assert_eq!(one.other("Info-Package"), Some("dtmf-relay"));
    t.nothing_to(alice());
    t.reply(&one, 200, desk());
    t.response_to(alice(), 200);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 200);
    t.receive(alice(), a.ack(1));
    t.receive(alice(), digit(&mut a, 2));
    let two = t.request_to(desk(), Method::Info);
    assert!(two.cseq() > one.cseq());
    t.reply(&two, 200, desk());
    t.response_to(alice(), 200);
}

#[test]
fn what_the_machine_says_crosses_to_the_caller() {
    let mut t = Table::new(settings());
    let (a, mut b, _) = speaks(&mut t);
    t.receive(desk(), digit(&mut b, 1));
    let one = t.request_to(alice(), Method::Info);
    assert_eq!(one.from_tag(), a.remote.split("tag=").nth(1));
    assert_eq!(text(&one), "Signal=1\r\nDuration=160\r\n");
    t.reply(&one, 415, alice());
    t.response_to(desk(), 415);
}

#[test]
fn the_answer_may_come_before_that_to_a_digit() {
    let mut t = Table::new(settings());
    let (mut a, _, invite) = speaks(&mut t);
    t.receive(alice(), digit(&mut a, 1));
    let one = t.request_to(desk(), Method::Info);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    assert_eq!(t.response_to(alice(), 200).method(), &Method::Invite);
    t.receive(alice(), a.ack(1));
    t.reply(&one, 200, desk());
    assert_eq!(t.response_to(alice(), 200).method(), &Method::Info);
}

#[test]
fn a_digit_that_is_refused_ends_nothing() {
    for (status, told) in [(415, 415), (469, 469), (481, 500), (408, 500), (404, 500)] {
        let mut t = Table::new(settings());
        let (mut a, _, invite) = speaks(&mut t);
        t.receive(alice(), digit(&mut a, 1));
        let one = t.request_to(desk(), Method::Info);
        t.reply(&one, status, desk());
        t.response_to(alice(), told);
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Suspected { .. })),
            0
        );
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.response_to(alice(), 200);
    }
}

#[test]
fn digits_have_hops_and_a_number_of_their_own() {
    let mut t = Table::new(settings());
    let (mut a, _, _) = speaks(&mut t);
    let one = digit(&mut a, 1);
    t.receive(alice(), with_hops(&one, 0));
    t.response_to(alice(), 483);
    let two = digit(&mut a, 2);
    t.receive(alice(), with_hops(&two, 3));
    let carried = t.request_to(desk(), Method::Info);
    assert_eq!(carried.max_forwards(), Some(2));
    // RFC 3261 12.2.2.
    a.cseq = 0;
    t.receive(alice(), digit(&mut a, 3));
    t.response_to(alice(), 500);
}

#[test]
fn of_several_that_ring_each_has_its_own_digits() {
    for early in [EarlyDialogs::Forward, EarlyDialogs::Single] {
        let mut wishes = settings();
        wishes.fork.early_dialogs = early;
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        t.alice_invites(&audio(alice()));
        let mut dialogs = Vec::new();
        for (at, tag) in [(desk(), "b1"), (mobile(), "m1")] {
            let invite = t.request_to(at, Method::Invite);
            let ringing = response(&invite, 183, at, tag);
            t.receive(at, with_sdp(ringing, &audio(at)));
            let ringing = t.response_to(alice(), 183);
            let mut dialog = Remote::of_answer(&ringing, alice());
            dialog.cseq += 10 * dialogs.len() as u32;
            dialogs.push(dialog);
        }
        for (at, a) in [desk(), mobile()].into_iter().zip(&mut dialogs) {
            // In one dialog for all, it is for the one that she hears: who has spoken first, and then who sends.
            if at == mobile() {
                t.media_event(|media| MediaEvent::Overheard {
                    media,
                    side: Side::Callee,
                    number: 2,
                });
            }
            t.receive(alice(), digit(a, 1));
            let one = t.request_to(at, Method::Info);
            t.reply(&one, 200, at);
            t.response_to(alice(), 200);
        }
    }
}

#[test]
fn in_one_dialog_for_several_of_which_none_is_heard_nobody_can_tell_whom_a_digit_is_for() {
    let mut wishes = settings();
    wishes.fork.early_dialogs = EarlyDialogs::Single;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.alice_invites(&audio(alice()));
    let invites = [desk(), mobile()].map(|at| (t.request_to(at, Method::Invite), at));
    for (invite, at) in &invites {
        t.reply(invite, 180, *at);
    }
    let ringing = t.response_to(alice(), 180);
    t.discard(alice());
    let mut a = Remote::of_answer(&ringing, alice());
    t.receive(alice(), digit(&mut a, 1));
    t.response_to(alice(), 500);
    // Of two the one that rings yet.
    t.reply(&invites[0].0, 486, desk());
    t.receive(alice(), digit(&mut a, 2));
    t.request_to(mobile(), Method::Info);
}

/// The machine has lost by then, and denies its early dialog. The one that has won is asked nothing.
#[test]
fn what_a_loser_says_to_a_digit_is_no_word_of_who_has_won() {
    for mode in [MediaMode::Relay, MediaMode::Direct] {
        let mut wishes = settings();
        wishes.media.mode = mode;
        let mut t = Table::new(wishes);
        t.register("bob", mobile(), "mobile");
        let (mut a, _, _) = speaks(&mut t);
        t.receive(alice(), digit(&mut a, 1));
        let one = t.request_to(desk(), Method::Info);
        let other = t.waiting(mobile(), &Method::Invite).unwrap();
        t.receive(
            mobile(),
            with_sdp(response(&other, 200, mobile(), "m1"), &audio(mobile())),
        );
        t.request_to(mobile(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
        t.reply(&one, 481, desk());
        t.pass(Millis(100));
        assert!(t.losses().is_empty(), "{mode:?}");
        for asked in [Method::Bye, Method::Update, Method::Options, Method::Invite] {
            assert!(t.waiting(mobile(), &asked).is_none(), "{mode:?} {asked:?}");
        }
    }
}
