//! One answer to one offer in each early dialog, whoever answers after it has rung elsewhere (RFC 3261 13.2.1).

use std::net::SocketAddr;

use refork::engine::ids::Side;
use refork::engine::settings::{EarlyDialogs, MediaMode};
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::reliable::{SUPPORTED, alice_calls, prack, reliably};
use crate::table::*;
use crate::video::told;

/// Sound in these formats alone.
fn sound(at: SocketAddr, formats: &str) -> String {
    let ip = at.ip();
    let digits = if formats.contains("101") {
        "a=rtpmap:101 telephone-event/8000\r\n"
    } else {
        ""
    };
    format!(
        "v=0\r\no=- 7 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP {formats}\r\n{digits}a=sendrecv\r\n"
    )
}

fn formats(message: &Message) -> String {
    let all = text(message);
    let line = all.lines().find_map(|line| line.strip_prefix("m=audio "));
    let (_, formats) = line.unwrap().split_once("RTP/AVP ").unwrap();
    formats.into()
}

fn version(message: &Message) -> u64 {
    let all = text(message);
    let origin = all.lines().find(|line| line.starts_with("o=")).unwrap();
    origin.split(' ').nth(2).unwrap().parse().unwrap()
}

/// Which numbers the relay knows of a side's first stream.
fn relayed(t: &Table, side: Side) -> Vec<u8> {
    let stream = &told(t, side, 0)[0];
    assert!(stream.active);
    stream.formats.iter().map(|format| format.number).collect()
}

fn table(mode: MediaMode, early: EarlyDialogs) -> Table {
    let mut wishes = settings();
    wishes.media.mode = mode;
    wishes.fork.early_dialogs = early;
    Table::new(wishes)
}

/// Alice acknowledges her 200, and Bob's phone has its ACK.
fn acknowledged(t: &mut Table, ok: &Message, at: SocketAddr) -> Remote {
    let a = Remote::of_answer(ok, alice());
    t.receive(alice(), a.ack(ok.cseq()));
    t.discard(at);
    a
}

/// The desk phone rings with PCMU, and takes the call with PCMA: what the caller hears of each.
fn answers_otherwise(t: &mut Table) -> (Message, Message) {
    let invite = t.request_to(desk(), Method::Invite);
    let early = response(&invite, 183, desk(), "b1");
    t.receive(desk(), with_sdp(early, &sound(desk(), "0")));
    let first = t.response_to(alice(), 183);
    t.receive(desk(), with_sdp(answer_to(&invite), &sound(desk(), "8")));
    (first, t.response_to(alice(), 200))
}

/// Alice is offered what was answered: returns the formats, and lets her agree.
fn set_right(t: &mut Table, before: &Message) -> String {
    let offer = t.next_to(alice());
    assert!(matches!(offer.method(), Method::Invite | Method::Update));
    assert!(version(&offer) > version(before));
    let ok = response(&offer, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sound(alice(), &formats(&offer))));
    if *offer.method() == Method::Invite {
        t.request_to(alice(), Method::Ack);
    }
    t.nothing_to(alice());
    formats(&offer)
}

fn hangs_up(t: &mut Table, mut a: Remote, at: SocketAddr) {
    a.cseq += 10;
    t.hangs_up(&mut a);
    let bye = t.request_to(at, Method::Bye);
    t.reply(&bye, 200, at);
}

#[test]
fn who_answers_behind_a_forking_proxy_has_a_dialog_of_its_own_with_the_caller() {
    for mode in [MediaMode::Relay, MediaMode::Direct] {
        for reliable in [false, true] {
            let mut t = table(mode, EarlyDialogs::Forward);
            let lines = if reliable { SUPPORTED } else { "" };
            alice_calls(&mut t, lines, &audio(alice()));
            let invite = t.request_to(desk(), Method::Invite);
            let early = if reliable {
                reliably(&invite, 183, desk(), "e1", 5)
            } else {
                response(&invite, 183, desk(), "e1")
            };
            t.receive(desk(), with_sdp(early, &sound(desk(), "0")));
            let first = t.response_to(alice(), 183);
            assert_eq!(formats(&first), "0");
            if reliable {
                let mut a = Remote::of_answer(&first, alice());
                t.receive(alice(), prack(&mut a, &first).end());
                t.response_to(alice(), 200);
                let carried = t.request_to(desk(), Method::Prack);
                assert_eq!(carried.to_tag(), Some("e1"));
                t.receive(desk(), response(&carried, 200, desk(), "e1").end());
            }
            let ok = response(&invite, 200, mobile(), "e3");
            t.receive(desk(), with_sdp(ok, &sound(mobile(), "8")));
            let ack = t.request_to(desk(), Method::Ack);
            assert_eq!(ack.to_tag(), Some("e3"));
            let ok = t.response_to(alice(), 200);
            assert_ne!(ok.to_tag(), first.to_tag(), "{mode:?} {reliable}");
            assert_eq!(formats(&ok), "8");
            let a = acknowledged(&mut t, &ok, desk());
            t.nothing_to(alice());
            t.nothing_to(desk());
            if mode == MediaMode::Relay {
                assert_eq!(relayed(&t, Side::Callee), [8]);
                assert_eq!(relayed(&t, Side::Caller), [0, 8, 101]);
            }
            hangs_up(&mut t, a, desk());
            t.ends_empty();
        }
    }
}

#[test]
fn in_one_stable_dialog_the_first_answer_stands_until_the_caller_agrees_to_another() {
    for mode in [MediaMode::Relay, MediaMode::Direct] {
        for reliable in [false, true] {
            let mut t = table(mode, EarlyDialogs::Single);
            t.register("bob", desk(), "desk");
            t.register("bob", mobile(), "mobile");
            let lines = if reliable { SUPPORTED } else { "" };
            alice_calls(&mut t, lines, &audio(alice()));
            let [i1, i2] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
            let early = if reliable {
                reliably(&i1, 183, desk(), "b1", 10)
            } else {
                response(&i1, 183, desk(), "b1")
            };
            t.receive(desk(), with_sdp(early, &sound(desk(), "0")));
            let first = t.response_to(alice(), 183);
            if reliable {
                let mut a = Remote::of_answer(&first, alice());
                t.receive(alice(), prack(&mut a, &first).end());
                t.response_to(alice(), 200);
                let carried = t.request_to(desk(), Method::Prack);
                t.receive(desk(), response(&carried, 200, desk(), "b1").end());
            }
            let ok = response(&i2, 200, mobile(), "m1");
            t.receive(mobile(), with_sdp(ok, &sound(mobile(), "8")));
            t.request_to(mobile(), Method::Ack);
            let ok = t.response_to(alice(), 200);
            assert_eq!(ok.to_tag(), first.to_tag());
            // Unreliably it was no answer yet: it comes with the 2xx, as it was.
            let stands = if reliable { &b""[..] } else { first.body() };
            assert_eq!(ok.body(), stands, "{mode:?} {reliable}");
            t.nothing_to(alice());
            let a = acknowledged(&mut t, &ok, mobile());
            assert_eq!(set_right(&mut t, &first), "8");
            if mode == MediaMode::Relay {
                assert_eq!(relayed(&t, Side::Callee), [8]);
                assert_eq!(relayed(&t, Side::Caller), [8]);
            }
            t.request_to(desk(), Method::Cancel);
            hangs_up(&mut t, a, mobile());
        }
    }
}

#[test]
fn an_answer_that_goes_with_the_first_one_is_mapped_and_nobody_is_asked() {
    // What rang first said, who answers says, and whether Alice is asked then.
    for (first, second, asked) in [
        ("0", "0 8", false),
        ("0 101", "0", false),
        ("0 8", "8", true),
        ("0", "0 101", true),
        ("0", "9", true),
    ] {
        let mut t = table(MediaMode::Relay, EarlyDialogs::Single);
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        t.alice_invites(&sound(alice(), "0 8 9 101"));
        let [i1, i2] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
        let early = response(&i1, 183, desk(), "b1");
        t.receive(desk(), with_sdp(early, &sound(desk(), first)));
        let early = t.response_to(alice(), 183);
        let ok = response(&i2, 200, mobile(), "m1");
        t.receive(mobile(), with_sdp(ok, &sound(mobile(), second)));
        let ok = t.response_to(alice(), 200);
        assert_eq!(ok.body(), early.body(), "{first}, {second}");
        acknowledged(&mut t, &ok, mobile());
        let offer = t.waiting(alice(), &Method::Invite);
        assert_eq!(offer.is_some(), asked, "{first}, {second}");
        if let Some(offer) = offer {
            assert_eq!(formats(&offer), second);
        }
        let at = told(&t, Side::Callee, 0)[0].rtp.unwrap();
        assert_eq!(at.ip(), mobile().ip());
    }
}

#[test]
fn early_media_of_another_phone_is_heard_where_it_goes_with_the_first() {
    for (second, heard) in [("0 8", mobile()), ("8", desk())] {
        let mut t = table(MediaMode::Relay, EarlyDialogs::Single);
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        t.alice_invites(&audio(alice()));
        let [i1, i2] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
        let early = response(&i1, 183, desk(), "b1");
        t.receive(desk(), with_sdp(early, &sound(desk(), "0")));
        let first = t.response_to(alice(), 183);
        let early = response(&i2, 183, mobile(), "m1");
        t.receive(mobile(), with_sdp(early, &sound(mobile(), second)));
        assert_eq!(t.response_to(alice(), 183).body(), first.body());
        t.receive(desk(), response(&i1, 486, desk(), "b1").end());
        let at = told(&t, Side::Callee, 0)[0].rtp.unwrap();
        assert_eq!(at.ip(), heard.ip(), "{second}");
    }
}

#[test]
fn one_phone_that_answers_otherwise_than_it_rang_is_offered_to_the_caller() {
    let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
    alice_calls(&mut t, "", &audio(alice()));
    let (first, ok) = answers_otherwise(&mut t);
    assert_eq!((ok.to_tag(), ok.body()), (first.to_tag(), first.body()));
    acknowledged(&mut t, &ok, desk());
    assert_eq!(set_right(&mut t, &first), "8");
}

#[test]
fn a_caller_that_refuses_keeps_its_call_and_one_that_is_busy_is_asked_again() {
    for status in [488, 491] {
        let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
        t.register("bob", desk(), "desk");
        t.alice_invites(&audio(alice()));
        let (first, ok) = answers_otherwise(&mut t);
        let mut a = acknowledged(&mut t, &ok, desk());
        let offer = t.request_to(alice(), Method::Invite);
        t.reply(&offer, status, alice());
        t.request_to(alice(), Method::Ack);
        t.nothing_to(alice());
        // The same offer again is answered as it was, and acknowledged.
        t.receive(
            alice(),
            with_sdp(a.request(Method::Invite), &audio(alice())),
        );
        let again = t.response_to(alice(), 200);
        assert_eq!(formats(&again), formats(&first));
        t.receive(alice(), a.ack(again.cseq()));
        if status == 491 {
            assert_eq!(set_right(&mut t, &first), "8");
        }
        t.nothing_to(alice());
        t.receive(alice(), a.request(Method::Info).end());
        t.request_to(desk(), Method::Info);
    }
}

#[test]
fn what_the_caller_must_know_is_offered_after_a_restart_too() {
    let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let (first, ok) = answers_otherwise(&mut t);
    let mut a = acknowledged(&mut t, &ok, desk());
    t.request_to(alice(), Method::Invite);
    t.receive(alice(), a.message("hello?"));
    t.discard(alice());
    t.restart();
    assert_eq!(set_right(&mut t, &first), "8");
}

/// Two phones behind a proxy ring, the first reliably. Returns the INVITE and Alice's two dialogs.
fn two_behind_a_proxy(t: &mut Table) -> (Message, Remote, Remote) {
    alice_calls(t, "Supported: 100rel, 199\r\n", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = reliably(&invite, 183, desk(), "e1", 5);
    t.receive(desk(), with_sdp(early, &sound(desk(), "0")));
    let first = t.response_to(alice(), 183);
    let mut one = Remote::of_answer(&first, alice());
    t.receive(alice(), prack(&mut one, &first).end());
    t.response_to(alice(), 200);
    let carried = t.request_to(desk(), Method::Prack);
    t.receive(desk(), response(&carried, 200, desk(), "e1").end());
    t.receive(desk(), response(&invite, 180, mobile(), "e2").end());
    let second = t.response_to(alice(), 180);
    assert_ne!(second.to_tag(), first.to_tag());
    let two = Remote::of_answer(&second, alice());
    (invite, one, two)
}

#[test]
fn an_offer_goes_to_the_phone_whose_early_dialog_it_is_in() {
    let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
    let (invite, mut one, _) = two_behind_a_proxy(&mut t);
    let update = one.request(Method::Update);
    t.receive(alice(), with_sdp(update, &sdp(alice(), 2, "sendonly")));
    let carried = t.request_to(desk(), Method::Update);
    assert_eq!(carried.to_tag(), Some("e1"));
    assert!(carried.cseq() > invite.cseq() + 1);
    let held = sdp(desk(), 2, "recvonly").replace("0 8 101", "0");
    let answer = response(&carried, 200, desk(), "e1");
    // The other one speaks meanwhile.
    t.receive(desk(), response(&invite, 180, mobile(), "e2").end());
    t.response_to(alice(), 180);
    t.receive(desk(), with_sdp(answer, &held));
    let agreed = t.response_to(alice(), 200);
    assert!(text(&agreed).contains("a=recvonly"));
    // And so does the first.
    let mut b = Remote::of_invite(&invite, desk(), "e1");
    let update = b.request(Method::Update);
    t.receive(desk(), with_sdp(update, &sound(desk(), "0")));
    let carried = t.request_to(alice(), Method::Update);
    let whose = one.remote.rsplit("tag=").next();
    assert_eq!(carried.from_tag(), whose);
}

#[test]
fn each_of_those_behind_a_proxy_ends_by_itself() {
    let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
    let (invite, one, two) = two_behind_a_proxy(&mut t);
    let tag = |remote: &Remote| remote.remote.rsplit("tag=").next().unwrap().to_owned();
    t.receive(desk(), response(&invite, 199, desk(), "e1").end());
    let ended = t.response_to(alice(), 199);
    assert_eq!(ended.to_tag(), Some(&*tag(&one)));
    t.nothing_to(alice());
    let ok = response(&invite, 200, mobile(), "e2");
    t.receive(desk(), with_sdp(ok, &sound(mobile(), "8")));
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.to_tag(), Some(&*tag(&two)));
    assert_eq!(formats(&ok), "8");
}

#[test]
fn a_branch_that_fails_ends_all_that_rang_behind_it() {
    let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (invite, one, two) = two_behind_a_proxy(&mut t);
    t.request_to(mobile(), Method::Invite);
    t.reply(&invite, 486, desk());
    let mut ended = [0, 1].map(|_| t.response_to(alice(), 199).to_tag().unwrap().to_owned());
    ended.sort();
    let mut rang = [one, two].map(|who| who.remote.rsplit("tag=").next().unwrap().to_owned());
    rang.sort();
    assert_eq!(ended, rang);
    t.nothing_to(alice());
}

#[test]
fn a_farewell_to_one_behind_a_proxy_leaves_the_others_ringing() {
    for answers in ["e1", "e2"] {
        let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
        let (invite, mut one, _) = two_behind_a_proxy(&mut t);
        t.hangs_up(&mut one);
        // It is the caller's to end one early dialog, and so it is ours (RFC 3261 15).
        let left = t.request_to(desk(), Method::Bye);
        assert_eq!(left.to_tag(), Some("e1"));
        t.reply(&left, 200, desk());
        t.nothing_to(desk());
        t.nothing_to(alice());
        t.receive(desk(), response(&invite, 180, desk(), "e1").end());
        t.nothing_to(alice());
        let ok = response(&invite, 200, desk(), answers);
        t.receive(desk(), with_sdp(ok, &sound(desk(), "0")));
        let ack = t.request_to(desk(), Method::Ack);
        assert_eq!(ack.to_tag(), Some(answers));
        if answers == "e1" {
            let bye = t.request_to(desk(), Method::Bye);
            assert_eq!(bye.to_tag(), Some("e1"));
            t.reply(&bye, 200, desk());
            t.response_to(alice(), 480);
        } else {
            t.response_to(alice(), 200);
        }
    }
}

#[test]
fn who_is_new_behind_a_proxy_has_heard_no_more_than_the_invite() {
    let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
    let (invite, mut one, _) = two_behind_a_proxy(&mut t);
    let update = one.request(Method::Update);
    t.receive(alice(), with_sdp(update, &sdp(alice(), 2, "sendonly")));
    let carried = t.request_to(desk(), Method::Update);
    let held = sdp(desk(), 2, "recvonly").replace("0 8 101", "0");
    let answer = response(&carried, 200, desk(), "e1");
    t.receive(desk(), with_sdp(answer, &held));
    t.response_to(alice(), 200);
    let ok = response(&invite, 200, desk(), "e3");
    t.receive(desk(), with_sdp(ok, &sound(desk(), "0")));
    let ok = t.response_to(alice(), 200);
    let mut a = acknowledged(&mut t, &ok, desk());
    a.cseq = one.cseq + 10;
    let offer = sdp(alice(), 3, "inactive");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
    let offer = t.request_to(desk(), Method::Invite);
    assert_eq!(offer.to_tag(), Some("e3"));
    // RFC 3264 8: one more than what it has been told.
    assert_eq!(version(&offer), version(&invite) + 1);
}

#[test]
fn one_behind_a_proxy_that_hangs_up_before_it_answers_leaves_the_others_ringing() {
    for hangs_up in ["e1", "e2"] {
        let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
        let (invite, one, two) = two_behind_a_proxy(&mut t);
        let mut gone = Remote::of_invite(&invite, desk(), hangs_up);
        t.hangs_up(&mut gone);
        let ended = t.response_to(alice(), 199);
        let (its, others) = match hangs_up {
            "e1" => (&one, "e2"),
            _ => (&two, "e1"),
        };
        assert!(its.remote.ends_with(ended.to_tag().unwrap()));
        assert!(ended.header(Name::Reason).unwrap().contains("cause=480"));
        t.nothing_to(desk());
        let ok = response(&invite, 200, desk(), others);
        t.receive(desk(), with_sdp(ok, &sound(desk(), "0")));
        assert_eq!(
            t.request_to(desk(), Method::Ack).to_tag(),
            Some(others),
            "{hangs_up}"
        );
        t.response_to(alice(), 200);
    }
}

#[test]
fn where_the_last_one_behind_a_proxy_hangs_up_nothing_rings_there_any_more() {
    let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
    let (invite, _, _) = two_behind_a_proxy(&mut t);
    for (phone, cseq, status) in [("e1", 100, 199), ("e2", 200, 480)] {
        let mut gone = Remote::of_invite(&invite, desk(), phone);
        gone.cseq = cseq;
        t.hangs_up(&mut gone);
        t.response_to(alice(), status);
    }
    let cancel = t.request_to(desk(), Method::Cancel);
    assert_eq!(cancel.branch(), invite.branch());
    t.reply(&cancel, 200, desk());
    t.reply(&invite, 487, desk());
    t.discard(desk());
    t.ends_empty();
}

#[test]
fn no_more_than_a_few_phones_behind_a_proxy_ring_for_the_caller() {
    let mut t = table(MediaMode::Relay, EarlyDialogs::Forward);
    alice_calls(&mut t, "", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let mut shown = Vec::new();
    for number in 0..40 {
        let ringing = response(&invite, 180, desk(), &format!("e{number}"));
        t.receive(desk(), ringing.end());
        if let Some(ringing) = t.any_to(alice()).filter(|it| it.status() == 180) {
            shown.push(ringing.to_tag().unwrap().to_owned());
        }
    }
    assert_eq!(shown.len(), 8);
    let ok = response(&invite, 200, desk(), "e39").header(Name::Subject, "late");
    t.receive(desk(), with_sdp(ok, &sound(desk(), "8")));
    let ok = t.response_to(alice(), 200);
    assert!(!shown.contains(&ok.to_tag().unwrap().to_owned()));
    let a = acknowledged(&mut t, &ok, desk());
    hangs_up(&mut t, a, desk());
    t.ends_empty();
}
