//! UPDATE in early dialogs (RFC 3311).

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::hops::with_hops;
use crate::people::*;
use crate::reliable::*;
use crate::table::*;

/// Both have offer and answer before the call is taken. Returns the dialogs, and Bob's INVITE.
fn settled(t: &mut Table) -> (Remote, Remote, Message) {
    alice_calls(t, SUPPORTED, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = reliably(&invite, 183, desk(), "b1", 5);
    t.receive(desk(), with_sdp(early, &audio(desk())));
    let early = t.response_to(alice(), 183);
    assert!(early.has_token(Name::Allow, "UPDATE"));
    let mut a = Remote::of_answer(&early, alice());
    let bytes = prack(&mut a, &early).end();
    t.receive(alice(), bytes);
    t.response_to(alice(), 200);
    let carried = t.request_to(desk(), Method::Prack);
    t.receive(desk(), response(&carried, 200, desk(), "b1").end());
    let b = Remote::of_invite(&invite, desk(), "b1");
    (a, b, invite)
}

/// Bob takes the call, which has its session.
fn taken(t: &mut Table, a: &Remote, invite: &Message) {
    t.receive(desk(), answer_to(invite).end());
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!((ok.method(), ok.body()), (&Method::Invite, &b""[..]));
    t.receive(alice(), a.ack(1));
    t.nothing_to(alice());
    t.nothing_to(desk());
}

#[test]
fn the_callers_update_crosses() {
    let mut t = Table::new(settings());
    let (mut a, _, invite) = settled(&mut t);
    let offer = a.request(Method::Update);
    t.receive(alice(), with_sdp(offer, &sdp(alice(), 2, "sendonly")));
    let update = t.request_to(desk(), Method::Update);
    assert!(text(&update).contains("a=sendonly"));
    assert!(!text(&update).contains("198.51.100"));
    assert_eq!(update.to_tag(), Some("b1"));
    let answer = response(&update, 200, desk(), "b1");
    t.receive(desk(), with_sdp(answer, &sdp(desk(), 2, "recvonly")));
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"));
    assert!(ok.header(Name::Contact).is_some());
    taken(&mut t, &a, &invite);
}

#[test]
fn one_without_hops_left_crosses_no_more() {
    let mut t = Table::new(settings());
    let (mut a, mut b, _) = settled(&mut t);
    for hops in [0, 3] {
        let offer = with_sdp(a.request(Method::Update), &sdp(alice(), 2, "sendonly"));
        t.receive(alice(), with_hops(&offer, hops));
        if hops == 0 {
            t.response_to(alice(), 483);
            t.nothing_to(desk());
            continue;
        }
        let update = t.request_to(desk(), Method::Update);
        assert_eq!(update.max_forwards(), Some(2));
        let answer = response(&update, 200, desk(), "b1");
        t.receive(desk(), with_sdp(answer, &sdp(desk(), 2, "recvonly")));
        t.response_to(alice(), 200);
    }
    for hops in [0, 3] {
        let offer = with_sdp(b.request(Method::Update), &sdp(desk(), 3, "sendrecv"));
        t.receive(desk(), with_hops(&offer, hops));
        if hops == 0 {
            t.response_to(desk(), 483);
            t.nothing_to(alice());
            continue;
        }
        let update = t.request_to(alice(), Method::Update);
        assert_eq!(update.max_forwards(), Some(2));
    }
}

#[test]
fn the_callees_update_crosses() {
    let mut t = Table::new(settings());
    let (a, mut b, invite) = settled(&mut t);
    let offer = b.request(Method::Update);
    t.receive(desk(), with_sdp(offer, &sdp(desk(), 2, "sendonly")));
    let update = t.request_to(alice(), Method::Update);
    assert!(text(&update).contains("a=sendonly"));
    assert_eq!(update.from_tag(), a.remote.split("tag=").nth(1));
    let answer = response(&update, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(answer, &sdp(alice(), 2, "recvonly")));
    let ok = t.response_to(desk(), 200);
    assert!(text(&ok).contains("a=recvonly"));
    taken(&mut t, &a, &invite);
}

#[test]
fn a_refused_update_leaves_all_as_it_was() {
    let mut t = Table::new(settings());
    let (mut a, _, invite) = settled(&mut t);
    let offer = a.request(Method::Update);
    t.receive(alice(), with_sdp(offer, &sdp(alice(), 2, "sendonly")));
    let update = t.request_to(desk(), Method::Update);
    t.reply(&update, 488, desk());
    t.response_to(alice(), 488);
    // The next is a version of its own.
    let offer = a.request(Method::Update);
    t.receive(alice(), with_sdp(offer, &sdp(alice(), 2, "sendonly")));
    let again = t.request_to(desk(), Method::Update);
    let expected = text(&update).replacen(" 2 IN IP4", " 3 IN IP4", 1);
    assert_eq!(text(&again), expected);
    // One that gets no answer at all.
    for _ in 0..33 {
        t.pass(Millis::from_secs(1));
        t.discard(desk());
    }
    // RFC 4320 4.1: nobody listens for its answer any more.
    t.nothing_to(alice());
    taken(&mut t, &a, &invite);
}

#[test]
fn two_offers_in_one_early_dialog_are_glare() {
    let mut t = Table::new(settings());
    let (mut a, mut b, invite) = settled(&mut t);
    let offer = a.request(Method::Update);
    t.receive(alice(), with_sdp(offer, &sdp(alice(), 2, "sendonly")));
    let update = t.request_to(desk(), Method::Update);
    // RFC 3311 5.2: we wait for an answer there.
    let offer = b.request(Method::Update);
    t.receive(desk(), with_sdp(offer, &sdp(desk(), 2, "sendonly")));
    t.response_to(desk(), 491);
    // And have not answered here.
    let offer = a.request(Method::Update);
    t.receive(alice(), with_sdp(offer, &sdp(alice(), 3, "sendrecv")));
    let busy = t.response_to(alice(), 500);
    assert!(busy.header(Name::RetryAfter).is_some());
    // Without an offer it is taken whatever is open.
    t.receive(alice(), a.request(Method::Update).end());
    t.response_to(alice(), 200);
    t.receive(desk(), b.request(Method::Update).end());
    t.response_to(desk(), 200);
    let answer = response(&update, 200, desk(), "b1");
    t.receive(desk(), with_sdp(answer, &sdp(desk(), 2, "recvonly")));
    t.response_to(alice(), 200);
    taken(&mut t, &a, &invite);
}

#[test]
fn an_update_before_the_first_answer_must_wait() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, "", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    let ringing = t.response_to(alice(), 180);
    let mut a = Remote::of_answer(&ringing, alice());
    let offer = a.request(Method::Update);
    t.receive(alice(), with_sdp(offer, &sdp(alice(), 2, "sendonly")));
    let busy = t.response_to(alice(), 500);
    assert!(busy.header(Name::RetryAfter).is_some());
    // RFC 3311 5.2: we have offered, and have no answer.
    let mut b = Remote::of_invite(&invite, desk(), "x1");
    let offer = b.request(Method::Update);
    t.receive(desk(), with_sdp(offer, &sdp(desk(), 2, "sendonly")));
    t.response_to(desk(), 491);
    t.nothing_to(alice());
}

#[test]
fn a_callee_that_moves_its_early_media_is_answered_for_a_caller_that_knows_no_update() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, "", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = reliably(&invite, 183, desk(), "b1", 5);
    t.receive(desk(), with_sdp(early, &audio(desk())));
    let carried = t.request_to(desk(), Method::Prack);
    t.receive(desk(), response(&carried, 200, desk(), "b1").end());
    let early = t.response_to(alice(), 183);
    // She has no answer that she could rely on, and may not be offered anything (RFC 3311 5.1).
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    let offer = b.request(Method::Update);
    let moved = audio(desk())
        .replace("m=audio 4000", "m=audio 4100")
        .replace("o=- 7 1", "o=- 7 2");
    t.receive(desk(), with_sdp(offer, &moved));
    let ok = t.response_to(desk(), 200);
    assert!(text(&ok).contains("m=audio"));
    t.nothing_to(alice());
    t.receive(desk(), answer_to(&invite).end());
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(text(&ok), text(&early), "where his media is does not show");
}

#[test]
fn who_waits_for_a_phone_that_is_gone_is_told_so() {
    let mut t = Table::new(settings());
    let (mut a, _, invite) = settled(&mut t);
    let offer = a.request(Method::Update);
    t.receive(alice(), with_sdp(offer, &sdp(alice(), 2, "sendonly")));
    t.request_to(desk(), Method::Update);
    t.reply(&invite, 486, desk());
    t.request_to(desk(), Method::Ack);
    let update = t.response_to(alice(), 481);
    assert_eq!(*update.method(), Method::Update);
    t.response_to(alice(), 486);
}

/// Bob's mobile rings again, with the session that the survivor has, before it is taken.
fn rings_again(t: &mut Table) -> (Remote, Message) {
    t.established();
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    let early = reliably(&invite, 183, mobile(), "m1", 7);
    t.receive(mobile(), with_sdp(early, &audio(mobile())));
    let asked = t.request_to(mobile(), Method::Prack);
    t.reply(&asked, 200, mobile());
    (Remote::of_invite(&invite, mobile(), "m1"), invite)
}

#[test]
fn who_is_asked_again_may_update_what_it_has_answered() {
    let mut t = two();
    let (mut b, invite) = rings_again(&mut t);
    t.receive(mobile(), b.request(Method::Update).end());
    let ok = t.response_to(mobile(), 200);
    assert!(ok.header(Name::Contact).is_some() && ok.body().is_empty());
    let moved = sdp(mobile(), 2, "sendrecv").replace("m=audio 4000", "m=audio 4100");
    t.receive(mobile(), with_sdp(b.request(Method::Update), &moved));
    let ok = t.response_to(mobile(), 200);
    assert!(text(&ok).contains("RTP/AVP 0 8"), "{ok:?}");
    // What has no stream that the survivor has is none of its business.
    let video = moved.replace("m=audio 4100 RTP/AVP 0 8 101", "m=video 4100 RTP/AVP 96");
    t.receive(mobile(), with_sdp(b.request(Method::Update), &video));
    t.response_to(mobile(), 488);
    t.receive(mobile(), response(&invite, 200, mobile(), "m1").end());
    t.request_to(mobile(), Method::Ack);
    let restored = |what: &Happening| matches!(what, Happening::Restored { .. });
    assert_eq!(t.happened(restored), 1);
    // The survivor reads of the other phone, and hears of nothing else.
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn who_is_asked_again_and_has_not_answered_offers_nothing_yet() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    t.receive(mobile(), response(&invite, 180, mobile(), "m1").end());
    let mut b = Remote::of_invite(&invite, mobile(), "m1");
    t.receive(
        mobile(),
        with_sdp(b.request(Method::Update), &audio(mobile())),
    );
    t.response_to(mobile(), 491);
    t.receive(mobile(), b.request(Method::Update).end());
    t.response_to(mobile(), 200);
    t.nothing_to(alice());
}
