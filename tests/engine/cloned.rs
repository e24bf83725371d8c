//! A second phone registers under the instance of one that talks, as of a profile that was copied: the call stays
//! with who holds it.

use std::net::SocketAddr;

use refork::engine::events::Signal;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;

fn copy() -> SocketAddr {
    phone("203.0.113.9:6000")
}

/// Alice and Bob's desk phone talk, and another phone registers as that. Returns the dialogs of both, and what asks
/// for the call at the other.
fn copied() -> (Table, Remote, Remote, Message) {
    let mut t = Table::new(settings());
    let (a, b) = t.established();
    t.register_again("bob", copy(), "desk", 2);
    let asked = t.request_to(copy(), Method::Update);
    t.nothing_to(desk());
    (t, a, b, asked)
}

fn agrees(t: &mut Table, asked: &Message) {
    let ok = response(asked, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &audio(desk())));
}

/// Bob's desk phone has the call, and what is said in it from now on.
fn stays(t: &mut Table, a: &mut Remote) {
    assert!(t.losses().is_empty());
    t.receive(alice(), a.message("still there?"));
    let text = t.request_to(desk(), Method::Message);
    assert!(text.uri().contains("198.51.100.2"), "{}", text.uri());
    t.reply(&text, 200, desk());
    t.response_to(alice(), 200);
    t.nothing_to(copy());
    t.hangs_up(a);
    t.request_to(desk(), Method::Bye);
    t.nothing_to(copy());
}

#[test]
fn who_is_heard_where_it_was_is_asked_there_once_the_other_place_denies_the_call() {
    let (mut t, mut a, _, asked) = copied();
    t.reply(&asked, 481, copy());
    let asked = t.request_to(desk(), Method::Update);
    assert!(asked.uri().contains("198.51.100.2"), "{}", asked.uri());
    t.nothing_to(alice());
    agrees(&mut t, &asked);
    stays(&mut t, &mut a);
}

#[test]
fn and_where_the_other_place_says_nothing() {
    let (mut t, mut a, _, late) = copied();
    t.pass(Millis::from_secs(8));
    t.discard(copy());
    let asked = t.request_to(desk(), Method::Update);
    // Its refusal comes late, and is no word of who is asked now.
    t.reply(&late, 481, copy());
    assert!(t.losses().is_empty());
    agrees(&mut t, &asked);
    stays(&mut t, &mut a);
}

#[test]
fn an_icmp_from_the_other_place_says_no_more() {
    let (mut t, mut a, ..) = copied();
    t.icmp(copy());
    let asked = t.request_to(desk(), Method::Update);
    agrees(&mut t, &asked);
    stays(&mut t, &mut a);
}

#[test]
fn what_it_says_by_itself_shows_where_it_is() {
    let (mut t, mut a, mut b, asked) = copied();
    t.receive(desk(), b.message("hello"));
    let text = t.request_to(alice(), Method::Message);
    t.reply(&text, 200, alice());
    t.response_to(desk(), 200);
    t.reply(&asked, 481, copy());
    t.nothing_to(desk());
    stays(&mut t, &mut a);
}

#[test]
fn an_offer_that_went_to_the_other_place_is_answered_here() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Update), &hold));
    t.request_to(desk(), Method::Update);
    t.register_again("bob", copy(), "desk", 2);
    let carried = t.request_to(copy(), Method::Update);
    t.discard(copy());
    t.reply(&carried, 481, copy());
    t.response_to(alice(), 200);
    let asked = t.request_to(desk(), Method::Update);
    agrees(&mut t, &asked);
    // Alice has been answered, and it has heard nothing of her hold.
    let told = t.request_to(desk(), Method::Update);
    assert!(text(&told).contains("a=sendonly"), "{}", text(&told));
    let ok = response(&told, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &sdp(desk(), 2, "recvonly")));
    t.nothing_to(alice());
    stays(&mut t, &mut a);
}

#[test]
fn a_call_that_neither_place_holds_is_lost_and_ended_at_both() {
    let (mut t, _, _, asked) = copied();
    t.reply(&asked, 481, copy());
    let asked = t.request_to(desk(), Method::Update);
    t.reply(&asked, 481, desk());
    assert_eq!(t.losses(), [Signal::Moved]);
    t.discard(alice());
    t.takes_over(copy(), "c1", &audio(copy()));
    for at in [desk(), copy()] {
        t.request_to(at, Method::Bye);
    }
}

#[test]
fn one_that_falls_silent_as_it_is_asked_where_it_was_is_lost_at_once() {
    let (mut t, _, _, asked) = copied();
    t.reply(&asked, 481, copy());
    t.request_to(desk(), Method::Update);
    t.desk_is_silent();
    assert_eq!(t.losses(), [Signal::Moved]);
}

#[test]
fn one_that_is_silent_is_lost_by_the_word_of_the_new_place_and_ended_at_both() {
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_silent();
    t.discard(desk());
    t.register_again("bob", copy(), "desk", 2);
    let asked = t.request_to(copy(), Method::Update);
    t.reply(&asked, 481, copy());
    assert_eq!(t.losses(), [Signal::Moved]);
    t.takes_over(copy(), "c1", &audio(copy()));
    for at in [desk(), copy()] {
        t.request_to(at, Method::Bye);
    }
}

#[test]
fn a_farewell_reaches_both_places_as_long_as_neither_has_spoken() {
    let (mut t, mut a, ..) = copied();
    t.hangs_up(&mut a);
    for at in [desk(), copy()] {
        t.request_to(at, Method::Bye);
    }
}

#[test]
fn a_restart_does_not_forget_the_other_place() {
    let (mut t, mut a, ..) = copied();
    t.restart();
    t.hangs_up(&mut a);
    for at in [desk(), copy()] {
        assert!(t.waiting(at, &Method::Bye).is_some(), "{at}");
    }
}

#[test]
fn what_a_phone_has_said_before_it_moved_does_not_put_it_back() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), a.message("hello"));
    let text = t.request_to(desk(), Method::Message);
    t.register_again("bob", copy(), "desk", 2);
    assert!(t.waiting(copy(), &Method::Update).is_some());
    t.reply(&text, 200, desk());
    t.response_to(alice(), 200);
    t.hangs_up(&mut a);
    assert!(t.waiting(copy(), &Method::Bye).is_some());
}

#[test]
fn a_dialog_of_a_call_that_is_over_ends_at_both_places() {
    let (mut t, mut a, _, asked) = copied();
    t.reply(&asked, 481, copy());
    t.request_to(desk(), Method::Update);
    t.desk_is_silent();
    t.discard(alice());
    t.hangs_up(&mut a);
    // One knows nothing of it, and where it was nobody has heard.
    let bye = t.waiting(copy(), &Method::Bye).unwrap();
    t.reply(&bye, 481, copy());
    assert!(t.waiting(desk(), &Method::Bye).is_some());
    t.pass(Millis::from_secs(40));
    t.discard(desk());
    t.discard(copy());
    t.pass(Millis::from_secs(25));
    let bye = t.waiting(desk(), &Method::Bye).expect("another BYE");
    t.reply(&bye, 200, desk());
    t.discard(desk());
    t.pass(Millis::from_secs(3000));
    assert!(t.waiting(desk(), &Method::Bye).is_none());
    assert!(t.waiting(copy(), &Method::Bye).is_none());
}

#[test]
fn the_place_that_has_not_answered_its_bye_is_told_when_it_is_back() {
    let (mut t, _, _, asked) = copied();
    t.reply(&asked, 481, copy());
    t.request_to(desk(), Method::Update);
    t.desk_is_silent();
    t.discard(alice());
    t.takes_over(copy(), "c1", &audio(copy()));
    // That one knows nothing of the old call; where it was nobody has heard.
    let bye = t.request_to(copy(), Method::Bye);
    t.reply(&bye, 481, copy());
    t.request_to(desk(), Method::Bye);
    t.pass(Millis::from_secs(40));
    t.discard(desk());
    t.discard(copy());
    t.register_again("bob", desk(), "desk", 3);
    let bye = t.waiting(desk(), &Method::Bye).unwrap();
    assert!(bye.uri().contains("198.51.100.2"), "{}", bye.uri());
}

#[test]
fn who_waits_for_the_survivor_is_joined_though_a_copy_of_that_denies_the_call() {
    let mut t = two();
    t.register("alice", alice(), "alice");
    t.established();
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    // Alice may be sending PCMU: she is asked first.
    let less = audio(mobile()).replace("RTP/AVP 0 8 101", "RTP/AVP 8 101");
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &less),
    );
    t.request_to(alice(), Method::Invite);
    t.register_again("alice", copy(), "alice", 2);
    let asked = t.request_to(copy(), Method::Invite);
    t.reply(&asked, 481, copy());
    for _ in 0..2 {
        // Her dialog first, and then her consent.
        t.pass(Millis::from_secs(3));
        let asked = [Method::Update, Method::Invite]
            .iter()
            .find_map(|method| t.waiting(alice(), method))
            .unwrap();
        t.discard(alice());
        let answer = match text(&asked).contains("RTP/AVP 8 101") {
            true => audio(alice()).replace("RTP/AVP 0 8 101", "RTP/AVP 8 101"),
            false => audio(alice()),
        };
        let ok = response(&asked, 200, alice(), "x1");
        t.receive(alice(), with_sdp(ok, &answer));
    }
    t.request_to(alice(), Method::Ack);
    let word = t.request_to(alice(), Method::Message);
    assert!(text(&word).starts_with("bob is continuing on "));
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
}
