//! Transfers that cross a loss, a restoration, or one another.

use refork::engine::events::Happening;
use refork::engine::ids::Side;
use refork::engine::ports::{Command, Input};
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::attended::{bob_consults_carol, naming};
use crate::people::*;
use crate::table::*;
use crate::transfer::*;

impl Table {
    /// Alice's call with Bob, which is older than any other.
    fn alice_is_lost_in_the_first_call(&mut self) {
        let conversation = self.engine.list(10).last().unwrap().key;
        let side = Side::Caller;
        self.input(Input::Command(Command::DeclareLost { conversation, side }));
    }

    /// Words of ours have reached these phones; INVITEs that came again meanwhile are no news.
    fn words_are_read(&mut self, phones: &[std::net::SocketAddr]) {
        for at in phones {
            while self.waiting(*at, &Method::Invite).is_some() {}
            while let Some(word) = self.waiting(*at, &Method::Message) {
                self.reply(&word, 200, *at);
            }
        }
    }
}

#[test]
fn the_transferee_is_lost_while_the_target_rings() {
    let mut t = three();
    let (_, mut b) = t.established();
    t.register("alice", third(), "laptop");
    let invite = t.referred(&mut b);
    t.reply(&invite, 180, carol());
    t.told(desk(), "180 Ringing");
    t.alice_is_lost();
    t.discard(alice());
    // The target takes the call of who is sought, and the transferor is done.
    let mut c = t.carol_answers(&invite);
    t.told(desk(), "200 OK");
    t.pass(Millis(2_100));
    let mut laptop = t.takes_over(third(), "a2", &audio(third()));
    t.discard(alice());
    t.words_are_read(&[third(), carol()]);
    t.hangs_up(&mut b);
    t.calls_on(&mut laptop, &mut c);
}

#[test]
fn the_transferee_is_back_before_the_target_answers() {
    let mut t = three();
    let (_, mut b) = t.established();
    t.register("alice", third(), "laptop");
    let invite = t.referred(&mut b);
    t.alice_is_lost();
    t.discard(alice());
    t.pass(Millis(2_100));
    let mut laptop = t.takes_over(third(), "a2", &audio(third()));
    t.discard(alice());
    t.words_are_read(&[carol()]);
    let mut c = t.carol_answers(&invite);
    t.told(desk(), "200 OK");
    t.words_are_read(&[carol(), third(), carol()]);
    t.calls_on(&mut laptop, &mut c);
}

#[test]
fn nobody_takes_the_call_of_who_is_lost_and_the_transferor_waits_for_it() {
    let mut t = three();
    let (_, mut b) = t.established();
    t.register("alice", third(), "laptop");
    let invite = t.referred(&mut b);
    t.alice_is_lost();
    t.discard(alice());
    t.reply(&invite, 486, carol());
    t.request_to(carol(), Method::Ack);
    t.told(desk(), "486 Busy Here");
    t.pass(Millis(2_100));
    let mut laptop = t.takes_over(third(), "a2", &audio(third()));
    let word = t.request_to(desk(), Method::Message);
    t.reply(&word, 200, desk());
    t.discard(third());
    t.calls_on(&mut laptop, &mut b);
}

#[test]
fn the_transferor_dies_while_the_target_rings_and_the_target_answers() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.icmp(desk());
    t.discard(desk());
    let mut c = t.carol_answers(&invite);
    t.word_of_carol();
    t.calls_on(&mut a, &mut c);
    for _ in 0..40 {
        t.pass(Millis::from_secs(1));
        t.discard(desk());
        for at in [alice(), carol()] {
            // Probes, and no end.
            while let Some(asked) = t.any_to(at) {
                assert_eq!(*asked.method(), Method::Options);
                t.reply(&asked, 200, at);
            }
        }
    }
    assert!(t.losses().is_empty());
    t.calls_on(&mut a, &mut c);
}

#[test]
fn the_transferor_dies_and_nobody_takes_the_call_so_it_is_restored() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.register("bob", mobile(), "mobile");
    t.reply(&invite, 486, carol());
    t.request_to(carol(), Method::Ack);
    // Its phone hears nothing of it, nor of what Alice says then.
    t.discard(desk());
    t.receive(alice(), a.message("and now?"));
    t.pass(Millis::from_secs(3));
    t.response_to(alice(), 202);
    while t.waiting(mobile(), &Method::Invite).is_none() {
        t.pass(Millis(500));
    }
    t.pass(Millis(600));
    let mut m = t.takes_over(mobile(), "m1", &audio(mobile()));
    let message = t.request_to(mobile(), Method::Message);
    assert_eq!(text(&message), "and now?");
    t.reply(&message, 200, mobile());
    t.words_are_read(&[alice()]);
    t.calls_on(&mut a, &mut m);
    let restored = |what: &Happening| {
        matches!(
            what,
            Happening::Restored {
                side: Side::Callee,
                ..
            }
        )
    };
    assert_eq!(t.happened(restored), 1);
}

#[test]
fn a_survivor_cannot_transfer_who_is_sought_and_can_later() {
    let mut t = three();
    let (mut a, _) = t.established();
    t.register("bob", mobile(), "mobile");
    t.bob_is_lost();
    t.receive(alice(), refer(&mut a, CAROL));
    let refused = t.response_to(alice(), 500);
    assert!(refused.header(Name::RetryAfter).is_some());
    t.nothing_to(carol());
    t.pass(Millis(2_100));
    let mut m = t.takes_over(mobile(), "m1", &audio(mobile()));
    let word = t.request_to(alice(), Method::Message);
    t.reply(&word, 200, alice());
    t.receive(alice(), refer(&mut a, CAROL));
    t.response_to(alice(), 202);
    t.told(alice(), "100 Trying");
    let invite = t.request_to(carol(), Method::Invite);
    let mut c = t.carol_answers(&invite);
    t.told(alice(), "200 OK");
    t.words_are_read(&[mobile(), carol()]);
    t.calls_on(&mut m, &mut c);
}

#[test]
fn of_two_refers_that_cross_the_first_counts() {
    let mut t = three();
    t.register("dave", third(), "dave");
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.receive(alice(), refer(&mut a, "<sip:dave@example.org>"));
    t.response_to(alice(), 491);
    t.nothing_to(third());
    let mut c = t.carol_answers(&invite);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.calls_on(&mut a, &mut c);
    // Who is there now may be transferred on.
    t.receive(alice(), refer(&mut a, "<sip:bob@example.org>"));
    t.response_to(alice(), 202);
}

#[test]
fn a_transferee_that_is_lost_while_two_calls_are_joined_is_sought_for_the_target() {
    let mut t = three();
    let (_, mut b) = t.established();
    t.register("alice", third(), "laptop");
    let (consulting, mut c) = bob_consults_carol(&mut t);
    t.receive(desk(), refer(&mut b, &naming(&consulting)));
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    let asked = t.request_to(carol(), Method::Invite);
    t.alice_is_lost_in_the_first_call();
    t.discard(alice());
    let ok = response(&asked, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    t.discard(desk());
    t.pass(Millis(2_100));
    let mut laptop = t.takes_over(third(), "a2", &audio(third()));
    t.words_are_read(&[third(), carol()]);
    t.calls_on(&mut laptop, &mut c);
}

#[test]
fn a_target_that_dies_while_it_is_asked_is_restored_for_the_transferor() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, _) = bob_consults_carol(&mut t);
    t.register("carol", carols_mobile(), "cm");
    t.receive(desk(), refer(&mut b, &naming(&consulting)));
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    // It says nothing any more, and so the re-INVITE has no answer.
    let mut told = None;
    for _ in 0..100 {
        t.pass(Millis(500));
        for asked in [Method::Options, Method::Notify] {
            let Some(asked) = t.waiting(desk(), &asked) else {
                continue;
            };
            if *asked.method() == Method::Notify {
                told = Some(text(&asked));
            }
            t.reply(&asked, 200, desk());
        }
        if let Some(asked) = t.waiting(alice(), &Method::Options) {
            t.reply(&asked, 200, alice());
        }
        if t.waiting(carols_mobile(), &Method::Invite).is_some() {
            break;
        }
    }
    assert_eq!(told.as_deref(), Some("SIP/2.0 408 Request Timeout\r\n"));
    t.discard(desk());
    t.pass(Millis(600));
    t.calls_on(&mut a, &mut b);
    let mut m = t.takes_over(carols_mobile(), "m1", &audio(carols_mobile()));
    t.words_are_read(&[desk(), carols_mobile()]);
    t.calls_on(&mut consulting, &mut m);
}

#[test]
fn a_target_that_repairs_its_call_meanwhile_stays_in_it() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, c) = bob_consults_carol(&mut t);
    t.referred_to(&mut b, &consulting, &c);
    let again = phone("203.0.113.9:5060");
    let invite = request(Method::Invite, "carol", "bob", again, "repair")
        .header(Name::Replaces, crate::repair::replaces(&c));
    t.receive(again, with_sdp(invite, &audio(again)));
    let ok = t.response_to(again, 200);
    let mut new = Remote::of_answer(&ok, again);
    t.receive(again, new.ack(1));
    t.words_are_read(&[desk()]);
    t.told(desk(), "480 Temporarily Unavailable");
    t.calls_on(&mut a, &mut b);
    t.calls_on(&mut consulting, &mut new);
}

#[test]
fn a_transferee_that_resumes_while_the_target_rings_is_spared_and_heard() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    let held = t.request_to(desk(), Method::Invite);
    let answer = sdp(desk(), 2, "recvonly");
    t.receive(
        desk(),
        with_sdp(response(&held, 200, desk(), "b1"), &answer),
    );
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.discard(desk());
    let invite = t.referred(&mut b);
    assert!(text(&invite).contains("a=sendonly"), "{}", text(&invite));
    let resume = sdp(alice(), 3, "sendrecv");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &resume));
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    // What the target answers is the hold that it was offered.
    let ok = response(&invite, 200, carol(), "c1")
        .header(Name::Allow, "INVITE, ACK, BYE, OPTIONS, MESSAGE, UPDATE");
    let answer = sdp(carol(), 1, "recvonly");
    t.receive(carol(), with_sdp(ok, &answer));
    t.request_to(carol(), Method::Ack);
    let resumed = t.request_to(carol(), Method::Update);
    assert!(text(&resumed).contains("a=sendrecv"), "{}", text(&resumed));
    let answer = sdp(carol(), 2, "sendrecv");
    t.receive(
        carol(),
        with_sdp(response(&resumed, 200, carol(), "c1"), &answer),
    );
    t.told(desk(), "200 OK");
    t.word_of_carol();
}

#[test]
fn a_transferee_that_holds_while_the_target_rings_is_asked_nothing() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"), "{}", text(&ok));
    t.receive(alice(), a.ack(ok.cseq()));
    // The target would talk: it is told of her hold, and she has no use for what it would send.
    let ok = response(&invite, 200, carol(), "c1")
        .header(Name::Allow, "INVITE, ACK, BYE, OPTIONS, MESSAGE, UPDATE");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 1, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    let held = t.request_to(carol(), Method::Update);
    assert!(text(&held).contains("a=sendonly"), "{}", text(&held));
    let ok = response(&held, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "recvonly")));
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.nothing_to(alice());
}

#[test]
fn a_transferor_that_holds_is_offered_nothing_as_its_transfer_fails() {
    let mut t = three();
    let (_, mut b) = t.established();
    let hold = sdp(desk(), 2, "sendonly");
    t.receive(desk(), with_sdp(b.request(Method::Invite), &hold));
    t.request_to(alice(), Method::Invite);
    // She cannot be reached for the moment: his hold is answered here, and she never says a word of it.
    t.icmp(alice());
    let ok = t.response_to(desk(), 200);
    assert!(text(&ok).contains("a=recvonly"), "{}", text(&ok));
    t.receive(desk(), b.ack(ok.cseq()));
    let invite = t.referred(&mut b);
    t.reply(&invite, 486, carol());
    t.told(desk(), "486 Busy Here");
    t.nothing_to(desk());
}

#[test]
fn a_transferor_that_holds_while_its_target_rings_is_back_with_its_hold() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let hold = sdp(desk(), 2, "sendonly");
    t.receive(desk(), with_sdp(b.request(Method::Invite), &hold));
    let ok = t.response_to(desk(), 200);
    assert!(text(&ok).contains("a=recvonly"), "{}", text(&ok));
    t.receive(desk(), b.ack(ok.cseq()));
    // What she says is no news to who holds.
    let same = sdp(alice(), 2, "sendrecv");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &same));
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.nothing_to(alice());
    t.reply(&invite, 486, carol());
    t.told(desk(), "486 Busy Here");
    t.nothing_to(desk());
    let held = t.request_to(alice(), Method::Invite);
    assert!(text(&held).contains("a=sendonly"), "{}", text(&held));
    let ok = response(&held, 200, alice(), "x1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "recvonly")));
    t.request_to(alice(), Method::Ack);
    t.nothing_to(alice());
    t.nothing_to(desk());
}

#[test]
fn a_transferor_is_told_of_the_end_over_the_connection_that_it_has() {
    // From an ephemeral port, listening on 5060 as its Contact says: nothing is sent there.
    let seen = phone("198.51.100.2:49152");
    let over = tcp(seen, 7);
    let mut t = Table::new(settings());
    t.register("carol", carol(), "carol");
    let register = t.register_request("bob", desk(), "desk", 1, 3600);
    let register = String::from_utf8_lossy(&register).replace(">;+sip", ";transport=tcp>;+sip");
    t.receive_over(over, register.into());
    t.response_to(seen, 200);
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(seen, Method::Invite);
    t.receive_over(over, with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(seen, Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive_over(over, refer(&mut b, CAROL));
    t.response_to(seen, 202);
    t.request_to(carol(), Method::Invite);
    t.hangs_up(&mut a);
    assert!(t.waiting(seen, &Method::Bye).is_some());
    t.nothing_to(desk());
}

#[test]
fn a_refer_that_was_passed_on_is_answered_as_its_side_is_lost() {
    let mut t = Table::new(refer_passes());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.established();
    let refer = |a: &mut Remote| {
        let refer = a.request(Method::Refer);
        refer.header(Name::ReferTo, "<sip:carol@example.org>").end()
    };
    t.receive(alice(), refer(&mut a));
    let passed = t.request_to(desk(), Method::Refer);
    t.nothing_to(alice());
    t.bob_is_lost();
    // RFC 5057: nothing that ends her dialog, and soon.
    let refused = t.response_to(alice(), 500);
    assert!(refused.header(Name::RetryAfter).is_some());
    t.pass(Millis(2_100));
    t.discard(desk());
    let mut m = t.takes_over(mobile(), "m1", &audio(mobile()));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    // The lost one takes it after all: that is nothing to anybody.
    t.reply(&passed, 202, desk());
    t.nothing_to(alice());
    // She asks again, and it is for who is there; what becomes of it she hears from there.
    t.receive(alice(), refer(&mut a));
    let again = t.request_to(mobile(), Method::Refer);
    t.reply(&again, 202, mobile());
    t.response_to(alice(), 202);
    let word = m.request(Method::Notify).other("Event", "refer");
    let word = word.header(Name::SubscriptionState, "terminated;reason=noresource");
    t.receive(mobile(), word.body("message/sipfrag", b"SIP/2.0 200 OK"));
    let told = t.request_to(alice(), Method::Notify);
    assert_eq!(text(&told), "SIP/2.0 200 OK");
    t.reply(&told, 200, alice());
    t.response_to(mobile(), 200);
    t.nothing_to(alice());
}

/// It has taken an INVITE that names its dialog after that had brought it back, and ends the one for the other.
#[test]
fn a_transferor_that_made_room_for_an_invite_too_late_is_sought_where_its_transfer_fails() {
    for superseded in [true, false] {
        let mut t = three();
        let (_, mut b) = t.established();
        t.bob_is_lost();
        let again = t.request_to(desk(), Method::Invite);
        assert!(again.header(Name::Replaces).is_some());
        let invite = t.referred(&mut b);
        t.reply(&invite, 180, carol());
        t.told(desk(), "180 Ringing");
        if superseded {
            let late = response(&again, 200, desk(), "b2");
            t.receive(desk(), with_sdp(late, &audio(desk())));
            t.request_to(desk(), Method::Ack);
            let bye = t.request_to(desk(), Method::Bye);
            assert_eq!(bye.to_tag(), Some("b2"));
            t.reply(&bye, 200, desk());
        }
        t.hangs_up(&mut b);
        t.pass(Millis::from_secs(25));
        t.discard(desk());
        t.reply(&invite, 486, carol());
        t.pass(Millis(10));
        let ended = t.waiting(alice(), &Method::Bye).is_some();
        assert_eq!(ended, !superseded);
        if superseded {
            let invite = t.waiting(desk(), &Method::Invite).expect("asked");
            assert!(invite.header(Name::Replaces).is_none(), "it is gone");
            let took = response(&invite, 200, desk(), "b3");
            t.receive(desk(), with_sdp(took, &audio(desk())));
            t.request_to(desk(), Method::Ack);
            let back = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
            assert_eq!(t.happened(back), 1);
        }
    }
}
