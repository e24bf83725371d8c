//! Holds and their end, by either side and in every form (RFC 3264 8.4).

use refork::engine::ids::Side;
use refork::engine::ports::Voice;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;
use crate::video::told;

pub fn direction(message: &Message) -> String {
    let body = text(message);
    let lines = body.lines().filter_map(|line| line.strip_prefix("a="));
    let mut found = lines.filter(|line| !line.contains(':'));
    found.next().unwrap_or("sendrecv").to_owned()
}

/// What each side hears, and whether its silence would tell.
fn heard(t: &Table) -> [(bool, bool); 2] {
    [Side::Caller, Side::Callee].map(|side| {
        let stream = &told(t, side, 0)[0];
        (stream.receives, stream.voice == Voice::Due)
    })
}

#[test]
fn either_side_holds_and_takes_it_back() {
    // What is said, what the other is told, what it answers, what the holder is told; what caller and
    // callee hear where the caller holds.
    let table = [
        (
            "sendonly",
            "sendonly",
            "recvonly",
            "recvonly",
            [(false, false), (true, false)],
        ),
        (
            "inactive",
            "inactive",
            "inactive",
            "inactive",
            [(false, false), (false, false)],
        ),
        (
            "recvonly",
            "recvonly",
            "sendonly",
            "sendonly",
            [(true, false), (false, true)],
        ),
        (
            "sendrecv",
            "sendrecv",
            "sendrecv",
            "sendrecv",
            [(true, true), (true, true)],
        ),
        // The other one holds too.
        (
            "sendonly",
            "sendonly",
            "inactive",
            "inactive",
            [(false, false), (false, false)],
        ),
        (
            "sendrecv",
            "sendrecv",
            "sendonly",
            "sendonly",
            [(true, false), (false, false)],
        ),
        (
            "sendrecv",
            "sendrecv",
            "sendrecv",
            "sendrecv",
            [(true, true), (true, true)],
        ),
    ];
    for by in [Side::Caller, Side::Callee] {
        for method in [Method::Invite, Method::Update] {
            let mut t = Table::new(settings());
            let (mut a, mut b) = t.established();
            // Alice's phone says what it can: only then is it asked by UPDATE.
            let mut version = 1;
            for (said, across, answer, back, expected) in table {
                version += 1;
                let (from, to, dialog) = match by {
                    Side::Caller => (alice(), desk(), &mut a),
                    Side::Callee => (desk(), alice(), &mut b),
                };
                let offer = sdp(from, version, said);
                t.receive(from, with_sdp(dialog.request(method.clone()), &offer));
                let offer = t.next_to(to);
                assert_eq!(direction(&offer), across, "{by:?} {said}");
                let tag = if by == Side::Caller { "b1" } else { "x" };
                let ok = response(&offer, 200, to, tag);
                t.receive(to, with_sdp(ok, &sdp(to, version, answer)));
                if *offer.method() == Method::Invite {
                    t.request_to(to, Method::Ack);
                }
                let ok = t.response_to(from, 200);
                assert_eq!(direction(&ok), back, "{by:?} {said}");
                if method == Method::Invite {
                    t.receive(from, dialog.ack(ok.cseq()));
                }
                let mut expected = expected;
                if by == Side::Callee {
                    expected.reverse();
                }
                assert_eq!(heard(&t), expected, "{by:?} {said} {answer}");
            }
        }
    }
}

/// Somebody puts the other on hold.
fn held_by(t: &mut Table, holder: Side, hold: &dyn Fn(&str) -> String) -> (Remote, Remote) {
    let (mut a, mut b) = t.established();
    let (from, to, dialog) = match holder {
        Side::Caller => (alice(), desk(), &mut a),
        Side::Callee => (desk(), alice(), &mut b),
    };
    let offer = hold(&sdp(from, 2, "sendrecv"));
    t.receive(from, with_sdp(dialog.request(Method::Invite), &offer));
    let offer = t.request_to(to, Method::Invite);
    let tag = if holder == Side::Caller { "b1" } else { "x" };
    let ok = response(&offer, 200, to, tag);
    let answer = match direction(&offer).as_str() {
        "recvonly" => "sendonly",
        "inactive" => "inactive",
        _ => "recvonly",
    };
    t.receive(to, with_sdp(ok, &sdp(to, 2, answer)));
    t.request_to(to, Method::Ack);
    let ok = t.response_to(from, 200);
    t.receive(from, dialog.ack(ok.cseq()));
    (a, b)
}

#[test]
fn whoever_held_is_lost_and_nobody_is_left_on_hold() {
    let by_direction = |sdp: &str| sdp.replace("a=sendrecv", "a=sendonly");
    let by_address = |sdp: &str| sdp.replace("c=IN IP4 198.51.100", "c=IN IP4 0.0.0.0 ;");
    let by_address = |sdp: &str| {
        let _ = by_address;
        let line = sdp.lines().find(|line| line.starts_with("c=")).unwrap();
        sdp.replace(line, "c=IN IP4 0.0.0.0")
    };
    let forms: [&dyn Fn(&str) -> String; 2] = [&by_direction, &by_address];
    for hold in forms {
        let mut t = Table::new(settings());
        held_by(&mut t, Side::Callee, hold);
        t.bob_is_lost();
        t.register("bob", mobile(), "mobile");
        let invite = t.request_to(mobile(), Method::Invite);
        assert_eq!(direction(&invite), "sendrecv");
        let ok = response(&invite, 200, mobile(), "m1");
        t.receive(mobile(), with_sdp(ok, &sdp(mobile(), 1, "sendrecv")));
        t.request_to(mobile(), Method::Ack);
        let resumed = t.request_to(alice(), Method::Invite);
        assert_eq!(direction(&resumed), "sendrecv");
        let ok = response(&resumed, 200, alice(), "x");
        t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendrecv")));
        t.request_to(alice(), Method::Ack);
        t.request_to(alice(), Method::Message);
        t.nothing_to(alice());
        t.nothing_to(mobile());
        let stream = &told(&t, Side::Callee, 1)[0];
        assert!(stream.receives && stream.voice == Voice::Due);
        assert!(told(&t, Side::Caller, 0)[0].receives);
    }
}

/// RFC 3264 6.1: that the survivor only speaks was no more than its answer.
#[test]
fn a_lost_phone_that_only_listened_leaves_nobody_deaf() {
    for lost in [Side::Callee, Side::Caller] {
        for hold in ["recvonly", "inactive", "sendonly"] {
            let mut t = Table::new(settings());
            held_by(&mut t, lost, &|sdp| {
                sdp.replace("a=sendrecv", &format!("a={hold}"))
            });
            let (person, next, survivor, tag) = match lost {
                Side::Callee => ("bob", mobile(), alice(), "x"),
                Side::Caller => ("alice", third(), desk(), "b1"),
            };
            match lost {
                Side::Callee => t.bob_is_lost(),
                Side::Caller => t.alice_is_lost(),
            }
            t.register(person, next, "next");
            let invite = t.request_to(next, Method::Invite);
            assert_eq!(direction(&invite), "sendrecv", "{lost:?} {hold}");
            let ok = response(&invite, 200, next, "m1");
            t.receive(next, with_sdp(ok, &sdp(next, 1, "sendrecv")));
            t.request_to(next, Method::Ack);
            let resumed = t.request_to(survivor, Method::Invite);
            assert_eq!(direction(&resumed), "sendrecv", "{lost:?} {hold}");
            let ok = response(&resumed, 200, survivor, tag);
            t.receive(survivor, with_sdp(ok, &sdp(survivor, 3, "sendrecv")));
            t.request_to(survivor, Method::Ack);
            t.request_to(survivor, Method::Message);
            t.nothing_to(survivor);
            t.nothing_to(next);
            assert!(told(&t, lost, 1)[0].receives);
            assert!(told(&t, lost.other(), 0)[0].receives);
        }
    }
}

#[test]
fn a_new_phone_that_holds_by_itself_leaves_the_hold_as_it_is() {
    let mut t = Table::new(settings());
    held_by(&mut t, Side::Callee, &|sdp| {
        sdp.replace("a=sendrecv", "a=sendonly")
    });
    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    let invite = t.request_to(mobile(), Method::Invite);
    let ok = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &sdp(mobile(), 1, "sendonly")));
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn the_hold_of_a_survivor_lasts() {
    let mut t = Table::new(settings());
    held_by(&mut t, Side::Caller, &|sdp| {
        sdp.replace("a=sendrecv", "a=sendonly")
    });
    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    let invite = t.request_to(mobile(), Method::Invite);
    assert_eq!(direction(&invite), "sendonly");
    let ok = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &sdp(mobile(), 1, "recvonly")));
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

/// However it holds, and whatever the lost phone has made of that.
#[test]
fn the_hold_of_a_survivor_is_not_taken_for_the_lost_ones() {
    // What Alice offers, what the desk phone answers, what the mobile is asked for, and what it answers.
    let table = [
        ("inactive", "inactive", "inactive", "inactive"),
        ("sendonly", "inactive", "sendonly", "recvonly"),
        ("sendonly", "recvonly", "sendonly", "recvonly"),
        ("recvonly", "sendonly", "recvonly", "sendonly"),
    ];
    for (hold, answer, asked, taken) in table {
        for refreshed in [false, true] {
            let mut t = Table::new(settings());
            let (mut a, mut b) = t.established();
            let offer = sdp(alice(), 2, hold);
            t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
            let offer = t.request_to(desk(), Method::Invite);
            let ok = response(&offer, 200, desk(), "b1");
            t.receive(desk(), with_sdp(ok, &sdp(desk(), 2, answer)));
            t.request_to(desk(), Method::Ack);
            let ok = t.response_to(alice(), 200);
            t.receive(alice(), a.ack(ok.cseq()));
            if refreshed {
                // The desk phone says its answer again by an offer, which holds nobody.
                let again = sdp(desk(), 3, answer);
                t.receive(desk(), with_sdp(b.request(Method::Invite), &again));
                let offer = t.request_to(alice(), Method::Invite);
                let ok = response(&offer, 200, alice(), "x");
                t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, hold)));
                t.request_to(alice(), Method::Ack);
                let ok = t.response_to(desk(), 200);
                t.receive(desk(), b.ack(ok.cseq()));
                t.restart();
            }
            t.bob_is_lost();
            t.register("bob", mobile(), "mobile");
            let invite = t.request_to(mobile(), Method::Invite);
            assert_eq!(direction(&invite), asked, "{hold} {answer} {refreshed}");
            let ok = response(&invite, 200, mobile(), "m1");
            t.receive(mobile(), with_sdp(ok, &sdp(mobile(), 1, taken)));
            t.request_to(mobile(), Method::Ack);
            t.request_to(alice(), Method::Message);
            t.nothing_to(alice());
            t.nothing_to(mobile());
            // It takes the hold off.
            let offer = sdp(alice(), 4, "sendrecv");
            t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
            let offer = t.request_to(mobile(), Method::Invite);
            assert_eq!(direction(&offer), "sendrecv", "{hold} {answer} {refreshed}");
        }
    }
}

#[test]
fn a_phone_that_comes_back_by_itself_keeps_its_hold() {
    let mut t = Table::new(settings());
    let (_, mut b) = held_by(&mut t, Side::Callee, &|sdp| {
        sdp.replace("a=sendrecv", "a=sendonly")
    });
    t.bob_is_lost();
    t.discard(desk());
    t.receive(desk(), b.message("here I am"));
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
    assert!(!told(&t, Side::Callee, 0)[0].receives);
}

/// RFC 5359 2.3: who holds describes the session of a server that plays music.
#[test]
fn music_from_another_place_is_heard_while_on_hold() {
    let mut t = Table::new(settings());
    let (_, mut b) = t.established();
    let music = phone("198.51.100.77:5060");
    let hold = with_sdp(b.request(Method::Invite), &sdp(music, 2, "sendonly"));
    t.receive(desk(), hold);
    let held = t.request_to(alice(), Method::Invite);
    assert_eq!(direction(&held), "sendonly");
    assert!(!text(&held).contains("198.51.100.77"), "{}", text(&held));
    let ok = response(&held, 200, alice(), "x");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 2, "recvonly")));
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(desk(), 200);
    t.receive(desk(), b.ack(ok.cseq()));
    // The relay expects the sound from there; that there is none says nothing of Bob's phone.
    let stream = &told(&t, Side::Callee, 0)[0];
    assert_eq!(stream.rtp, Some(phone("198.51.100.77:4000")));
    assert_eq!(stream.voice, Voice::Perhaps);
    assert!(told(&t, Side::Caller, 0)[0].receives);
    let again = with_sdp(b.request(Method::Invite), &sdp(desk(), 3, "sendrecv"));
    t.receive(desk(), again);
    let resumed = t.request_to(alice(), Method::Invite);
    assert_eq!(direction(&resumed), "sendrecv");
    let ok = response(&resumed, 200, alice(), "x");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendrecv")));
    t.response_to(desk(), 200);
    assert_eq!(
        told(&t, Side::Callee, 0)[0].rtp,
        Some(phone("198.51.100.2:4000"))
    );
}

/// Alice holds while Bob's mobile rings, which takes the call and is told of the hold. Returns the offer.
fn held_while_it_rang(t: &mut Table) -> Message {
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    let ok = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &audio(mobile())));
    t.request_to(mobile(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    let offer = t.request_to(mobile(), Method::Invite);
    assert_eq!(direction(&offer), "sendonly");
    offer
}

#[test]
fn a_hold_that_met_an_offer_is_offered_again() {
    let mut t = two();
    let mut offer = held_while_it_rang(&mut t);
    for _ in 0..2 {
        t.reply(&offer, 491, mobile());
        t.request_to(mobile(), Method::Ack);
        // RFC 3261 14.1: the Call-ID is ours.
        t.pass(Millis(2_050));
        t.nothing_to(mobile());
        t.pass(Millis(2_050));
        offer = t.request_to(mobile(), Method::Invite);
        assert_eq!(direction(&offer), "sendonly");
        t.discard(mobile());
    }
    let ok = response(&offer, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &sdp(mobile(), 2, "recvonly")));
    t.request_to(mobile(), Method::Ack);
    t.pass(Millis(10_000));
    assert!(t.waiting(mobile(), &Method::Invite).is_none());
    assert!(t.waiting(alice(), &Method::Invite).is_none());
    let heard = &told(&t, Side::Callee, 1)[0];
    assert!(heard.receives && heard.voice == Voice::None);
}

#[test]
fn who_has_an_offer_open_each_time_is_left_alone_in_the_end() {
    let mut t = two();
    let mut offer = Some(held_while_it_rang(&mut t));
    let mut offers = 0;
    while let Some(one) = offer.take() {
        offers += 1;
        assert!(offers < 10, "it is asked for ever");
        t.reply(&one, 491, mobile());
        t.pass(Millis(4_100));
        offer = t.waiting(mobile(), &Method::Invite);
        t.discard(mobile());
    }
    assert_eq!(offers, 6);
}

fn alice_lives(t: &mut Table, span: u64) {
    for _ in 0..span / 100 {
        t.pass(Millis(100));
        if let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
    }
}

/// RFC 3261 14.2: it answers another request of ours yet, and says when it may be asked.
#[test]
fn a_hold_that_its_phone_puts_off_is_offered_again_after_that_time() {
    for (asks_for, waits) in [("1", 1_000), ("6", 6_000), ("3600", 10_000)] {
        let mut t = two();
        let mut offer = held_while_it_rang(&mut t);
        let mut offers = 1;
        loop {
            let later = response(&offer, 500, mobile(), "m1").header(Name::RetryAfter, asks_for);
            t.receive(mobile(), later.end());
            t.request_to(mobile(), Method::Ack);
            alice_lives(&mut t, waits - 100);
            t.nothing_to(mobile());
            alice_lives(&mut t, 4_100);
            let Some(again) = t.waiting(mobile(), &Method::Invite) else {
                break;
            };
            assert_eq!(direction(&again), "sendonly");
            t.discard(mobile());
            (offer, offers) = (again, offers + 1);
            assert!(offers < 10, "it is asked for ever");
        }
        assert_eq!(offers, 6, "{asks_for}");
    }
    // One that says no more than that it does not work is believed.
    let mut t = two();
    let offer = held_while_it_rang(&mut t);
    t.reply(&offer, 500, mobile());
    t.pass(Millis::from_secs(12));
    assert!(t.waiting(mobile(), &Method::Invite).is_none());
}

/// Alice's hold is answered by nothing: her phone has its answer from here, and whoever has the call then is told of it.
#[test]
fn a_hold_in_the_middle_of_which_the_other_side_died_is_told_to_who_has_the_call_then() {
    for back in [false, true] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
        t.receive(alice(), hold);
        let asked = t.request_to(desk(), Method::Invite);
        assert_eq!(direction(&asked), "sendonly");
        t.bob_is_lost();
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), a.ack(ok.cseq()));
        t.discard(desk());
        if back {
            t.receive(desk(), b.request(Method::Info).body("text/plain", b"5"));
            t.request_to(alice(), Method::Info);
            let told = t.request_to(desk(), Method::Update);
            assert_eq!(direction(&told), "sendonly");
        } else {
            t.pass(Millis(2_100));
            let invite = t.waiting(mobile(), &Method::Invite).expect("asked");
            takes_a_call_on_hold(&mut t, &invite);
        }
        assert!(t.waiting(alice(), &Method::Invite).is_none());
    }
}

fn takes_a_call_on_hold(t: &mut Table, invite: &Message) {
    assert_eq!(direction(invite), "sendonly");
    t.discard(mobile());
    let ok = response(invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &sdp(mobile(), 1, "recvonly")));
    t.request_to(mobile(), Method::Ack);
    let notice = t.waiting(alice(), &Method::Message).expect("told");
    t.reply(&notice, 200, alice());
    t.pass(Millis(6_000));
    assert!(t.waiting(mobile(), &Method::Invite).is_none());
}

/// Somebody on the way says that the phone is away: the hold has failed, and Alice's phone may ask for it once more.
#[test]
fn a_hold_that_was_answered_by_408_is_told_where_it_is_asked_for_again() {
    let mut t = two();
    let (mut a, _) = t.established();
    let hold = |a: &mut Remote| with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    let first = hold(&mut a);
    t.receive(alice(), first);
    let asked = t.request_to(desk(), Method::Invite);
    t.receive(desk(), response(&asked, 408, desk(), "b1").end());
    t.response_to(alice(), 500);
    t.receive(alice(), a.ack(asked.cseq()));
    t.bob_is_lost();
    t.discard(desk());
    t.discard(alice());
    let again = hold(&mut a);
    t.receive(alice(), again);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.pass(Millis(2_100));
    let invite = t.waiting(mobile(), &Method::Invite).expect("asked");
    takes_a_call_on_hold(&mut t, &invite);
}

/// The way to the phone breaks as it is asked, and it is there all the same.
#[test]
fn a_hold_that_icmp_has_stopped_is_told_once_the_phone_has_shown_life() {
    let mut t = two();
    let (mut a, _) = t.established();
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold);
    t.request_to(desk(), Method::Invite);
    t.icmp(desk());
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    let probe = t.request_to(desk(), Method::Options);
    t.reply(&probe, 200, desk());
    let told = t.request_to(desk(), Method::Update);
    assert_eq!(direction(&told), "sendonly");
    let ok = response(&told, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &sdp(desk(), 2, "recvonly")));
    t.pass(Millis(6_000));
    assert!(t.losses().is_empty());
    assert!(t.waiting(desk(), &Method::Update).is_none());
    assert!(t.waiting(alice(), &Method::Invite).is_none());
}

/// RFC 3261 14.1: its phone may not know of its dialog before, and would say so.
#[test]
fn a_caller_is_offered_nothing_before_it_has_acknowledged_the_call() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    let hold = sdp(desk(), 2, "sendonly");
    let offer = b.request(Method::Invite);
    t.receive(desk(), with_sdp(offer, &hold));
    t.response_to(desk(), 491);
    t.nothing_to(alice());
    t.receive(alice(), a.ack(1));
    let offer = b.request(Method::Invite);
    t.receive(desk(), with_sdp(offer, &hold));
    t.request_to(alice(), Method::Invite);
}
