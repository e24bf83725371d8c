//! A BYE to a caller whose ACK is not here yet (RFC 3261 15).

use refork::engine::events::Happening;
use refork::engine::ids::Side;
use refork::engine::ports::{Command, Input};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Bob has taken the call, and Alice has the 2xx, but we do not have her ACK. Returns both dialogs.
pub(crate) fn answered() -> (Table, Remote, Remote) {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    let b = Remote::of_invite(&invite, desk(), "b1");
    (t, a, b)
}

fn bob_hangs_up(t: &mut Table, b: &mut Remote) {
    let bye = b
        .request(Method::Bye)
        .header(Name::Reason, "Q.850;cause=16");
    t.receive(desk(), bye.end());
    t.response_to(desk(), 200);
}

/// Alice gets a BYE and answers it; then nothing is left.
fn it_ends(mut t: Table) -> Message {
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.pass(Millis::from_secs(10));
    t.nothing_to(alice());
    t.ends_empty();
    bye
}

#[test]
fn the_callers_bye_waits_for_its_ack() {
    let (mut t, a, mut b) = answered();
    bob_hangs_up(&mut t, &mut b);
    t.nothing_to(alice());
    // The 2xx comes again meanwhile.
    t.pass(Millis(600));
    t.response_to(alice(), 200);
    t.nothing_to(alice());
    // An ACK with other tags is none of this dialog.
    let stranger = Remote {
        local: a.local.replace("tcall1", "other"),
        ..a.clone()
    };
    t.receive(alice(), stranger.ack(1));
    t.nothing_to(alice());
    t.receive(alice(), a.ack(1));
    let bye = it_ends(t);
    assert_eq!(bye.header(Name::Reason), Some("Q.850;cause=16"));
    assert_eq!(bye.to_tag(), Some("tcall1"));
}

#[test]
fn without_an_ack_the_bye_goes_when_the_2xx_is_sent_no_more() {
    let (mut t, _, mut b) = answered();
    bob_hangs_up(&mut t, &mut b);
    let start = t.now;
    let bye = loop {
        t.pass(Millis(500));
        match t.any_to(alice()) {
            Some(message) if message.is_request() => break message,
            Some(_) | None => {}
        }
    };
    assert_eq!(t.now.since(start), Millis(32_000));
    assert_eq!(*bye.method(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.ends_empty();
}

#[test]
fn byes_that_cross_are_one_end() {
    let (mut t, mut a, mut b) = answered();
    bob_hangs_up(&mut t, &mut b);
    // RFC 5407 3.1.6: it may have overtaken the ACK, or Alice has heard enough.
    let odd = a.request(Method::Info).end();
    t.receive(alice(), odd);
    t.response_to(alice(), 481);
    let bye = a.request(Method::Bye).end();
    t.receive(alice(), bye);
    t.response_to(alice(), 200);
    t.receive(alice(), a.ack(1));
    t.pass(Millis::from_secs(40));
    t.nothing_to(alice());
    t.ends_empty();
}

#[test]
fn the_operators_bye_waits_too() {
    let (mut t, a, _) = answered();
    let conversation = t.engine.list(1)[0].key;
    t.input(Input::Command(Command::HangUp { conversation }));
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.nothing_to(alice());
    t.receive(alice(), a.ack(1));
    let bye = it_ends(t);
    assert!(bye.header(Name::Reason).is_some());
}

#[test]
fn who_is_lost_before_its_ack_gets_its_bye_after_it() {
    let (mut t, a, mut b) = answered();
    let conversation = t.engine.list(1)[0].key;
    let side = Side::Caller;
    t.input(Input::Command(Command::DeclareLost { conversation, side }));
    let again = t.request_to(alice(), Method::Invite);
    t.reply(&again, 180, alice());
    bob_hangs_up(&mut t, &mut b);
    let cancel = t.request_to(alice(), Method::Cancel);
    t.reply(&cancel, 200, alice());
    t.reply(&again, 487, alice());
    t.request_to(alice(), Method::Ack);
    t.nothing_to(alice());
    t.receive(alice(), a.ack(1));
    it_ends(t);
}

#[test]
fn who_has_lost_its_place_before_its_ack_gets_its_bye_though_none_comes() {
    let (mut t, _, _) = answered();
    t.register("alice", third(), "laptop");
    t.alice_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(third(), "a2", &audio(third()));
    assert!(t.waiting(alice(), &Method::Bye).is_none());
    t.pass(Millis(32_000));
    let bye = t.waiting(alice(), &Method::Bye).unwrap();
    assert!(bye.header(Name::Reason).unwrap().contains("cause=200"));
}

/// RFC 5407 3.2: a re-INVITE crosses the BYE of who was to answer it.
#[test]
fn a_reinvite_that_crosses_a_bye_is_answered_and_the_call_ends() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold);
    let hold = t.request_to(desk(), Method::Invite);
    t.hangs_up(&mut b);
    // A phone that has hung up knows the dialog no more.
    t.reply(&hold, 481, desk());
    t.request_to(desk(), Method::Ack);
    let bye = loop {
        let message = t.next_to(alice());
        if message.is_request() {
            break message;
        }
        assert_eq!(message.status(), 481, "her re-INVITE is over");
        t.receive(alice(), a.ack(message.cseq()));
    };
    assert_eq!(*bye.method(), Method::Bye);
    t.reply(&bye, 200, alice());
    assert_eq!(t.happened(|what| matches!(what, Happening::Lost { .. })), 0);
    t.ends_empty();
}
