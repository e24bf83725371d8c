//! One name of a conversation over all its legs (RFC 7989).

use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

const NIL: &str = "00000000000000000000000000000000";
const ALICE: &str = "a1a1a1a1a1a141a181a1a1a1a1a1a1a1";
const BOB: &str = "b2b2b2b2b2b242b282b2b2b2b2b2b2b2";

/// Returns both halves.
#[track_caller]
fn halves(message: &Message) -> (String, String) {
    let all: Vec<_> = message.fields(Name::SessionId).collect();
    let [value] = all[..] else {
        panic!("{all:?}");
    };
    let (local, remote) = value.split_once(";remote=").unwrap();
    (local.into(), remote.into())
}

/// Alice and Bob's desk phone talk; each names itself, where it has something to say.
fn talking(t: &mut Table, alices: Option<&str>, bobs: Option<&str>) -> (Remote, Remote, Message) {
    let mut invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    if let Some(uuid) = alices {
        invite = invite.header(Name::SessionId, format_args!("{uuid};remote={NIL}"));
    }
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    let mut ok = answer_to(&invite);
    if let Some(uuid) = bobs {
        let known = halves(&invite).0;
        ok = ok.header(Name::SessionId, format_args!("{uuid};remote={known}"));
    }
    t.receive(desk(), with_sdp(ok, &audio(desk())));
    let ack = t.request_to(desk(), Method::Ack);
    assert_eq!(halves(&ack).0, halves(&invite).0);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    // The INVITE that went to Bob knew nobody yet.
    assert_eq!(halves(&invite).1, NIL);
    let b = Remote::of_invite(&invite, desk(), "b1");
    (a, b, ok)
}

#[test]
fn phones_that_name_themselves_see_each_others_names() {
    let mut t = two();
    let (mut a, _, ok) = talking(&mut t, Some(ALICE), Some(BOB));
    assert_eq!(halves(&ok), (BOB.into(), ALICE.into()));
    let asks = a
        .request(Method::Info)
        .header(Name::SessionId, format_args!("{ALICE};remote={BOB}"));
    t.receive(alice(), asks.body("application/x", b"x"));
    t.discard(mobile());
    let info = t.request_to(desk(), Method::Info);
    assert_eq!(halves(&info), (ALICE.into(), BOB.into()));
    let ok = response(&info, 200, desk(), "b1")
        .header(Name::SessionId, format_args!("{BOB};remote={ALICE}"));
    t.receive(desk(), ok.end());
    let ok = t.response_to(alice(), 200);
    assert_eq!(halves(&ok), (BOB.into(), ALICE.into()));
}

#[test]
fn phones_that_name_themselves_nothing_are_named() {
    let mut t = two();
    let (mut a, mut b, ok) = talking(&mut t, None, None);
    let (bobs, alices) = halves(&ok);
    assert!(![&bobs, &alices].contains(&&NIL.to_owned()));
    assert_ne!(bobs, alices);
    t.receive(alice(), a.message("hello"));
    t.discard(mobile());
    let there = t.request_to(desk(), Method::Message);
    assert_eq!(halves(&there), (alices.clone(), bobs.clone()));
    t.reply(&there, 200, desk());
    t.response_to(alice(), 200);
    t.receive(desk(), b.request(Method::Bye).end());
    let bye = t.request_to(alice(), Method::Bye);
    assert_eq!(halves(&bye), (bobs, alices));
}

#[test]
fn a_refork_and_a_restart_keep_the_name() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    talking(&mut t, Some(ALICE), Some(BOB));
    t.register("bob", mobile(), "mobile");
    t.bob_is_lost();
    t.discard(desk());
    t.pass(refork::engine::time::Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    // It is Alice who calls, and nobody knows yet whom she will talk with.
    assert_eq!(halves(&invite), (ALICE.into(), NIL.into()));
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &audio(mobile())),
    );
    let ack = t.request_to(mobile(), Method::Ack);
    assert_ne!(halves(&ack).1, NIL);
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(halves(&word), (BOB.into(), ALICE.into()));
    t.reply(&word, 200, alice());
    t.restart();
    let mut m = Remote::of_invite(&invite, mobile(), "m1");
    t.receive(mobile(), m.message("here"));
    let here = t.request_to(alice(), Method::Message);
    assert_eq!(halves(&here), (BOB.into(), ALICE.into()));
}

#[test]
fn a_name_that_is_none_is_replaced() {
    let mut t = two();
    let (_, _, ok) = talking(&mut t, Some("not-a-uuid"), Some(NIL));
    let (bobs, alices) = halves(&ok);
    assert_eq!((bobs.len(), alices.len()), (32, 32));
    assert!(bobs != NIL && alices != NIL && alices != "not-a-uuid");
}
