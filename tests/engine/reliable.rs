//! Reliable provisional responses (RFC 3262): PRACK on each leg, and what it brings.

use refork::engine::settings::{EarlyDialogs, ForkOrder};
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::calls::cancel_like;
use crate::people::*;
use crate::table::*;

/// Alice's INVITE, with lines of her own; without a body where it is empty.
pub fn alice_calls(t: &mut Table, lines: &str, body: &str) {
    if t.site.bindings.is_empty() {
        t.register("bob", desk(), "desk");
    }
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1")
        .header(Name::Allow, "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE")
        .raw_lines(lines.as_bytes());
    let bytes = if body.is_empty() {
        invite.end()
    } else {
        with_sdp(invite, body)
    };
    t.receive(alice(), bytes);
}

pub const SUPPORTED: &str = "Supported: 100rel\r\n";
pub const REQUIRED: &str = "Require: 100rel\r\n";

/// A response of Bob's that wants a PRACK.
pub fn reliably(
    invite: &Message,
    status: u16,
    at: std::net::SocketAddr,
    tag: &str,
    rseq: u32,
) -> Builder {
    response(invite, status, at, tag)
        .header(Name::Require, "100rel")
        .header(Name::RSeq, rseq)
        .header(Name::Allow, "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE")
}

pub fn rseq(response: &Message) -> u32 {
    assert!(response.has_token(Name::Require, "100rel"), "{response:?}");
    response.header(Name::RSeq).unwrap().parse().unwrap()
}

/// A PRACK of Alice's for a response.
pub fn prack(dialog: &mut Remote, response: &Message) -> Builder {
    let rack = format!("{} {} INVITE", rseq(response), response.cseq());
    dialog.request(Method::Prack).header(Name::RAck, rack)
}

#[test]
fn pracks_cross_where_both_speak_reliably() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, SUPPORTED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    assert!(invite.has_token(Name::Supported, "100rel"));
    t.receive(
        desk(),
        with_sdp(reliably(&invite, 183, desk(), "b1", 700), &audio(desk())),
    );
    let early = t.response_to(alice(), 183);
    assert!(!text(&early).contains("198.51.100"), "{}", text(&early));
    // What Alice may have to say goes with Bob's PRACK.
    t.nothing_to(desk());
    let mut a = Remote::of_answer(&early, alice());
    let prack = prack(&mut a, &early).end();
    t.receive(alice(), prack);
    t.response_to(alice(), 200);
    let prack = t.request_to(desk(), Method::Prack);
    let rack = format!("700 {} INVITE", invite.cseq());
    assert_eq!(prack.header(Name::RAck), Some(&*rack));
    assert_eq!(prack.cseq(), invite.cseq() + 1);
    assert_eq!(prack.to_tag(), Some("b1"));
    t.receive(desk(), response(&prack, 200, desk(), "b1").end());
    // The answer is known on both sides.
    t.receive(desk(), answer_to(&invite).end());
    let ack = t.request_to(desk(), Method::Ack);
    assert_eq!(ack.cseq(), invite.cseq());
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.body(), b"");
    assert_eq!(ok.to_tag(), early.to_tag());
    t.receive(alice(), a.ack(1));
    // The dialog goes on: hold and farewell.
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold);
    let hold = t.request_to(desk(), Method::Invite);
    assert!(text(&hold).contains("a=sendonly"));
    assert!(!hold.has_token(Name::Supported, "100rel"));
    let held = response(&hold, 200, desk(), "b1");
    t.receive(desk(), with_sdp(held, &sdp(desk(), 2, "recvonly")));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.ends_empty();
}

#[test]
fn a_callee_alone_gets_its_prack_at_once() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, "", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = with_sdp(reliably(&invite, 183, desk(), "b1", 1), &audio(desk()));
    t.receive(desk(), early.clone());
    let prack = t.request_to(desk(), Method::Prack);
    t.receive(desk(), response(&prack, 200, desk(), "b1").end());
    let shown = t.response_to(alice(), 183);
    assert_eq!(shown.header(Name::RSeq), None);
    assert!(!shown.has_token(Name::Require, "100rel"));
    // It had not heard the PRACK: that comes again by itself, and Alice hears nothing.
    t.receive(desk(), early);
    t.nothing_to(alice());
    t.nothing_to(desk());
    // One is missing before this: it waits for its turn (RFC 3262 4).
    t.receive(desk(), reliably(&invite, 180, desk(), "b1", 3).end());
    t.nothing_to(alice());
    t.nothing_to(desk());
    t.receive(desk(), reliably(&invite, 180, desk(), "b1", 2).end());
    let prack = t.request_to(desk(), Method::Prack);
    assert!(prack.header(Name::RAck).unwrap().starts_with("2 "));
    t.response_to(alice(), 180);
    // The answer does not come again; Alice needs it.
    t.receive(desk(), answer_to(&invite).end());
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(text(&ok), text(&shown));
}

#[test]
fn a_caller_alone_is_told_reliably_and_owes_a_prack_before_the_answer() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, REQUIRED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    let ringing = t.response_to(alice(), 180);
    let first = rseq(&ringing);
    // The next waits for the PRACK of that one.
    let early = response(&invite, 183, desk(), "x1");
    t.receive(desk(), with_sdp(early, &audio(desk())));
    t.nothing_to(alice());
    let mut a = Remote::of_answer(&ringing, alice());
    let bytes = prack(&mut a, &ringing).end();
    t.receive(alice(), bytes);
    t.response_to(alice(), 200);
    let early = t.response_to(alice(), 183);
    assert_eq!(rseq(&early), first + 1);
    // RFC 3262 3: a session description is on its way in it.
    let ok = response(&invite, 200, desk(), "x1");
    t.receive(desk(), with_sdp(ok, &audio(desk())));
    t.nothing_to(alice());
    t.nothing_to(desk());
    let bytes = prack(&mut a, &early).end();
    t.receive(alice(), bytes);
    t.response_to(alice(), 200);
    let ok = t.response_to(alice(), 200);
    assert_eq!((ok.method(), ok.body()), (&Method::Invite, &b""[..]));
    t.request_to(desk(), Method::Ack);
    t.nothing_to(desk());
    t.receive(alice(), a.ack(1));
    t.pass(Millis(5000));
    t.nothing_to(alice());
}

#[test]
fn a_response_without_a_prack_comes_again_and_ends_the_call() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, REQUIRED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    let first = t.response_to(alice(), 180);
    let mut at = Vec::new();
    let start = t.now;
    let refused = loop {
        t.pass(Millis(100));
        match t.any_to(alice()) {
            Some(again) if again.status() == 180 => {
                assert_eq!(again.bytes(), first.bytes());
                at.push(t.now.since(start).0);
            }
            Some(other) => break other,
            None => {}
        }
    };
    assert_eq!(at, [500, 1500, 3500, 7500, 15_500, 31_500]);
    assert_eq!((refused.status(), t.now.since(start).0), (504, 32_000));
    t.request_to(desk(), Method::Cancel);
}

#[test]
fn a_prack_for_nothing_is_told_so() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, REQUIRED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    let ringing = t.response_to(alice(), 180);
    let number = rseq(&ringing);
    let mut a = Remote::of_answer(&ringing, alice());
    for rack in [
        format!("{} 1 INVITE", number + 1),
        format!("{number} 2 INVITE"),
        format!("{number} 1 UPDATE"),
        "x".to_owned(),
    ] {
        let wrong = a.request(Method::Prack).header(Name::RAck, &rack).end();
        t.receive(alice(), wrong);
        t.response_to(alice(), 481);
    }
    let right = prack(&mut a, &ringing).end();
    t.receive(alice(), right);
    t.response_to(alice(), 200);
    let twice = prack(&mut a, &ringing).end();
    t.receive(alice(), twice);
    t.response_to(alice(), 481);
    t.pass(Millis(5000));
    t.nothing_to(alice());
}

#[test]
fn a_prack_that_the_answer_has_overtaken_is_accepted() {
    // Datagrams may change places: the ACK may be here first.
    for ack_first in [false, true] {
        overtaken_by_the_answer(ack_first);
    }
}

fn overtaken_by_the_answer(ack_first: bool) {
    let mut t = Table::new(settings());
    alice_calls(&mut t, REQUIRED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    let ringing = t.response_to(alice(), 180);
    // No session description is in it: the 2xx need not wait (RFC 3262 3).
    let ok = response(&invite, 200, desk(), "x1");
    t.receive(desk(), with_sdp(ok, &audio(desk())));
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("m=audio"));
    let mut a = Remote::of_answer(&ringing, alice());
    let late = prack(&mut a, &ringing).end();
    if ack_first {
        t.receive(alice(), a.ack(1));
    }
    t.receive(alice(), late);
    let answer = t.response_to(alice(), 200);
    assert_eq!(*answer.method(), Method::Prack);
    if !ack_first {
        t.receive(alice(), a.ack(1));
    }
    let twice = prack(&mut a, &ringing).end();
    t.receive(alice(), twice);
    t.response_to(alice(), 481);
}

#[test]
fn an_offer_in_a_reliable_response_is_answered_by_prack() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, SUPPORTED, "");
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(invite.body(), b"");
    assert!(invite.has_token(Name::Supported, "100rel"));
    t.receive(
        desk(),
        with_sdp(reliably(&invite, 183, desk(), "b1", 9), &audio(desk())),
    );
    let offer = t.response_to(alice(), 183);
    assert!(text(&offer).contains("m=audio"));
    let mut a = Remote::of_answer(&offer, alice());
    // It must answer.
    let empty = prack(&mut a, &offer).end();
    t.receive(alice(), empty);
    t.response_to(alice(), 400);
    t.nothing_to(desk());
    let answer = sdp(alice(), 1, "recvonly");
    let bytes = with_sdp(prack(&mut a, &offer), &answer);
    t.receive(alice(), bytes);
    t.response_to(alice(), 200);
    let carried = t.request_to(desk(), Method::Prack);
    assert!(text(&carried).contains("a=recvonly"));
    assert!(!text(&carried).contains("198.51.100"));
    t.receive(desk(), response(&carried, 200, desk(), "b1").end());
    t.receive(desk(), answer_to(&invite).end());
    let ack = t.request_to(desk(), Method::Ack);
    assert_eq!(ack.body(), b"");
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.body(), b"");
    t.receive(alice(), a.ack(1));
    t.nothing_to(desk());
}

#[test]
fn without_an_offer_a_caller_that_knows_no_prack_gets_it_with_the_answer() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, "", "");
    let invite = t.request_to(desk(), Method::Invite);
    // Nobody could answer an offer in a provisional response.
    assert!(!invite.has_token(Name::Supported, "100rel"));
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.nothing_to(desk());
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(
        alice(),
        with_sdp(a.numbered(Method::Ack, 1), &audio(alice())),
    );
    let ack = t.request_to(desk(), Method::Ack);
    assert!(text(&ack).contains("m=audio"));
}

#[test]
fn an_offer_in_a_prack_crosses_and_its_answer_comes_back() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, SUPPORTED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(reliably(&invite, 183, desk(), "b1", 5), &audio(desk())),
    );
    let early = t.response_to(alice(), 183);
    let mut a = Remote::of_answer(&early, alice());
    let offer = with_sdp(prack(&mut a, &early), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), offer);
    t.nothing_to(alice());
    let carried = t.request_to(desk(), Method::Prack);
    assert!(text(&carried).contains("a=sendonly"));
    // The 2xx waits for the answer, whatever overtakes what.
    t.receive(desk(), answer_to(&invite).end());
    t.nothing_to(alice());
    let answer = response(&carried, 200, desk(), "b1");
    t.receive(desk(), with_sdp(answer, &sdp(desk(), 2, "recvonly")));
    let ok = t.response_to(alice(), 200);
    assert_eq!(*ok.method(), Method::Prack);
    assert!(text(&ok).contains("a=recvonly"));
    let ok = t.response_to(alice(), 200);
    assert_eq!((ok.method(), ok.body()), (&Method::Invite, &b""[..]));
    t.request_to(desk(), Method::Ack);
    t.receive(alice(), a.ack(1));
}

#[test]
fn each_fork_has_its_own_dialog_and_its_own_pracks() {
    let mut t = two();
    alice_calls(&mut t, SUPPORTED, &audio(alice()));
    let [i1, i2] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
    t.receive(
        desk(),
        with_sdp(reliably(&i1, 183, desk(), "b1", 10), &audio(desk())),
    );
    t.receive(
        mobile(),
        with_sdp(reliably(&i2, 183, mobile(), "m1", 20), &audio(mobile())),
    );
    let [e1, e2] = [0, 1].map(|_| t.response_to(alice(), 183));
    assert_ne!(e1.to_tag(), e2.to_tag());
    // Each counts its own numbers.
    let [mut d1, mut d2] = [&e1, &e2].map(|early| Remote::of_answer(early, alice()));
    let second = prack(&mut d2, &e2).end();
    t.receive(alice(), second);
    t.response_to(alice(), 200);
    let carried = t.request_to(mobile(), Method::Prack);
    assert!(carried.header(Name::RAck).unwrap().starts_with("20 "));
    t.receive(mobile(), response(&carried, 200, mobile(), "m1").end());
    t.nothing_to(desk());
    // One that is not owed in this dialog.
    let crossed = d2
        .request(Method::Prack)
        .header(Name::RAck, format!("{} 1 INVITE", rseq(&e1)));
    t.receive(alice(), crossed.end());
    t.response_to(alice(), 481);
    // The mobile takes the call; the desk phone's dialog is over, and what is said in it.
    t.receive(mobile(), response(&i2, 200, mobile(), "m1").end());
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.to_tag(), e2.to_tag());
    t.request_to(desk(), Method::Cancel);
    d1.cseq = 7;
    let first = prack(&mut d1, &e1).end();
    t.receive(alice(), first);
    t.response_to(alice(), 481);
    t.receive(alice(), d2.ack(1));
    let bye = d2.request(Method::Bye).end();
    t.receive(alice(), bye);
    t.response_to(alice(), 200);
}

#[test]
fn in_one_stable_dialog_the_numbers_of_all_branches_are_one_line() {
    let mut wishes = settings();
    wishes.fork.early_dialogs = EarlyDialogs::Single;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    alice_calls(&mut t, SUPPORTED, &audio(alice()));
    let [i1, i2] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
    t.receive(
        desk(),
        with_sdp(reliably(&i1, 183, desk(), "b1", 10), &audio(desk())),
    );
    let e1 = t.response_to(alice(), 183);
    t.receive(mobile(), reliably(&i2, 180, mobile(), "m1", 20).end());
    t.nothing_to(alice());
    let mut a = Remote::of_answer(&e1, alice());
    // Nothing but ringing is in it: that need not wait for Alice.
    t.request_to(mobile(), Method::Prack);
    let first = prack(&mut a, &e1).end();
    t.receive(alice(), first);
    t.response_to(alice(), 200);
    let e2 = t.response_to(alice(), 180);
    assert_eq!(e2.to_tag(), e1.to_tag());
    assert_eq!(rseq(&e2), rseq(&e1) + 1);
    t.request_to(desk(), Method::Prack);
}

#[test]
fn phones_behind_a_forking_proxy_are_acknowledged_each_in_its_dialog() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, "", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), reliably(&invite, 180, desk(), "p1", 4).end());
    let first = t.request_to(desk(), Method::Prack);
    t.receive(desk(), reliably(&invite, 180, desk(), "p2", 4).end());
    let second = t.request_to(desk(), Method::Prack);
    assert_eq!([first.to_tag(), second.to_tag()], [Some("p1"), Some("p2")]);
    t.receive(desk(), reliably(&invite, 180, desk(), "p1", 5).end());
    let third = t.request_to(desk(), Method::Prack);
    assert_eq!(third.to_tag(), Some("p1"));
    assert!(third.cseq() > second.cseq() && second.cseq() > first.cseq());
}

#[test]
fn a_farewell_to_the_phone_that_rings_gives_the_next_one_its_turn() {
    let mut wishes = settings();
    wishes.fork.order = ForkOrder::Serial;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    alice_calls(&mut t, "", &audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    t.reply(&first, 180, desk());
    let mut early = Remote::of_answer(&t.response_to(alice(), 180), alice());
    t.hangs_up(&mut early);
    t.request_to(desk(), Method::Cancel);
    t.request_to(mobile(), Method::Invite);
    t.nothing_to(alice());
}

#[test]
fn a_farewell_to_one_early_dialog_leaves_the_others_ringing() {
    let mut t = two();
    alice_calls(&mut t, "", &audio(alice()));
    let [i1, i2] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
    t.reply(&i1, 180, desk());
    t.reply(&i2, 180, mobile());
    let [e1, e2] = [0, 1].map(|_| t.response_to(alice(), 180));
    let [mut d1, mut d2] = [&e1, &e2].map(|early| Remote::of_answer(early, alice()));
    let bye = d1.request(Method::Bye).end();
    t.receive(alice(), bye);
    t.response_to(alice(), 200);
    t.request_to(desk(), Method::Cancel);
    t.nothing_to(mobile());
    t.nothing_to(alice());
    d2.cseq = 7;
    let bye = d2.request(Method::Bye).end();
    t.receive(alice(), bye);
    t.response_to(alice(), 200);
    t.request_to(mobile(), Method::Cancel);
    t.response_to(alice(), 487);
    for (at, invite) in [(desk(), &i1), (mobile(), &i2)] {
        t.reply(invite, 487, at);
    }
    t.receive(alice(), {
        let ack = request(Method::Ack, "alice", "bob", alice(), "call1").end();
        String::from_utf8_lossy(&ack)
            .replace("call1ACK", "call1INVITE")
            .into_bytes()
            .into()
    });
    for at in [desk(), mobile()] {
        t.discard(at);
    }
    t.ends_empty();
}

/// Takes a PRACK that goes out for a response of this number, and returns its CSeq.
fn pracked(t: &mut Table, invite: &Message, at: std::net::SocketAddr, rseq: u32) -> u32 {
    let prack = t.request_to(at, Method::Prack);
    let rack = format!("{rseq} {} INVITE", invite.cseq());
    assert_eq!(prack.header(Name::RAck), Some(&*rack));
    assert_eq!(prack.to_tag(), Some("x1"));
    assert_eq!(prack.from_tag(), invite.from_tag());
    t.receive(at, response(&prack, 200, at, "x1").end());
    prack.cseq()
}

#[test]
fn who_rings_reliably_in_spite_of_its_cancel_has_its_pracks_and_is_ended_beyond_them() {
    let mut t = two();
    alice_calls(&mut t, "", &audio(alice()));
    let [desks, mobiles] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
    t.reply(&mobiles, 100, mobile());
    t.receive(desk(), with_sdp(answer_to(&desks), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let cancel = t.request_to(mobile(), Method::Cancel);
    t.reply(&cancel, 200, mobile());
    // It rings all the same, and once more before it has the PRACK.
    let rings = |rseq| reliably(&mobiles, 180, mobile(), "x1", rseq).end();
    t.receive(mobile(), rings(700));
    let first = pracked(&mut t, &mobiles, mobile(), 700);
    assert!(first > mobiles.cseq());
    t.receive(mobile(), rings(700));
    assert_eq!(pracked(&mut t, &mobiles, mobile(), 700), first);
    t.receive(mobile(), rings(701));
    let second = pracked(&mut t, &mobiles, mobile(), 701);
    assert!(second > first);
    // What wants no PRACK gets none.
    t.receive(mobile(), response(&mobiles, 180, mobile(), "x1").end());
    t.nothing_to(mobile());
    t.receive(mobile(), response(&mobiles, 200, mobile(), "x1").end());
    t.request_to(mobile(), Method::Ack);
    let bye = t.request_to(mobile(), Method::Bye);
    assert!(bye.cseq() > second, "beyond the PRACKs");
    t.reply(&bye, 200, mobile());
}

#[test]
fn who_rings_reliably_after_its_caller_has_gone_has_its_prack() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 100, desk());
    t.receive(alice(), cancel_like(Method::Cancel));
    t.response_to(alice(), 200);
    t.response_to(alice(), 487);
    t.receive(alice(), cancel_like(Method::Ack));
    let cancel = t.request_to(desk(), Method::Cancel);
    t.reply(&cancel, 200, desk());
    t.receive(desk(), reliably(&invite, 180, desk(), "x1", 9).end());
    pracked(&mut t, &invite, desk(), 9);
    t.reply(&invite, 487, desk());
    t.request_to(desk(), Method::Ack);
    t.ends_empty();
}

#[test]
fn a_phone_of_a_restoration_gets_its_pracks_too() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2100));
    t.discard(desk());
    let invite = t.request_to(mobile(), Method::Invite);
    assert!(invite.has_token(Name::Supported, "100rel"));
    let early = reliably(&invite, 183, mobile(), "m1", 30);
    t.receive(mobile(), with_sdp(early, &audio(mobile())));
    let prack = t.request_to(mobile(), Method::Prack);
    assert!(prack.header(Name::RAck).unwrap().starts_with("30 "));
    t.receive(mobile(), response(&prack, 200, mobile(), "m1").end());
    // The answer was in the 183 (RFC 3262 5): it fits, and the survivor notices nothing.
    t.receive(mobile(), response(&invite, 200, mobile(), "m1").end());
    t.request_to(mobile(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
}

#[test]
fn where_it_is_off_no_prack_is_asked_for() {
    let mut wishes = settings();
    wishes.fork.reliable_provisionals = false;
    let mut t = Table::new(wishes);
    alice_calls(&mut t, REQUIRED, &audio(alice()));
    let refused = t.response_to(alice(), 420);
    assert_eq!(refused.header(Name::Unsupported), Some("100rel"));
    let invite = request(Method::Invite, "alice", "bob", alice(), "call2");
    let invite = invite.header(Name::Supported, "100rel");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    assert!(!invite.has_token(Name::Supported, "100rel"));
    // A phone that does it all the same would give up without.
    t.receive(desk(), reliably(&invite, 180, desk(), "b1", 3).end());
    t.request_to(desk(), Method::Prack);
    let ringing = t.response_to(alice(), 180);
    assert_eq!(ringing.header(Name::RSeq), None);
}

#[test]
fn a_prack_whose_answer_was_lost_is_accepted_after_a_restart() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, REQUIRED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    let ringing = t.response_to(alice(), 180);
    let mut a = Remote::of_answer(&ringing, alice());
    let lost = prack(&mut a, &ringing).end();
    t.receive(alice(), lost.clone());
    t.response_to(alice(), 200);
    let ok = response(&invite, 200, desk(), "x1");
    t.receive(desk(), with_sdp(ok, &audio(desk())));
    t.response_to(alice(), 200);
    t.receive(alice(), a.ack(1));
    t.restart();
    t.discard(alice());
    t.receive(alice(), lost);
    let answer = t.response_to(alice(), 200);
    assert_eq!(*answer.method(), Method::Prack);
    // There was no other.
    let other = format!("{} 1 INVITE", rseq(&ringing) + 1);
    let other = a.request(Method::Prack).header(Name::RAck, other).end();
    t.receive(alice(), other);
    t.response_to(alice(), 481);
}

/// RFC 3261 13.3.1.1: proxies end a call of which they hear nothing for three minutes.
#[test]
fn what_is_said_again_of_a_phone_that_rings_has_the_number_that_its_prack_has_answered() {
    let mut wishes = settings();
    wishes.fork.ring_timeout = Millis::from_secs(120);
    let mut t = Table::new(wishes);
    alice_calls(&mut t, SUPPORTED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), reliably(&invite, 180, desk(), "b1", 7).end());
    let early = t.response_to(alice(), 180);
    let mut a = Remote::of_answer(&early, alice());
    let bytes = prack(&mut a, &early).end();
    t.receive(alice(), bytes);
    t.response_to(alice(), 200);
    let carried = t.request_to(desk(), Method::Prack);
    t.reply(&carried, 200, desk());
    t.pass(Millis::from_secs(59));
    t.nothing_to(alice());
    t.pass(Millis::from_secs(2));
    let again = t.response_to(alice(), 180);
    assert_eq!(rseq(&again), rseq(&early));
    t.nothing_to(alice());
}
