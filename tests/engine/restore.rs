//! The re-fork: without a word to the survivor.

use refork::engine::events::{Ending, Happening};
use refork::engine::ids::Side;
use refork::engine::ports::{Command, Input, MediaCommand};
use refork::engine::settings::{PerKind, RestoreOrder};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

#[test]
fn the_same_endpoint_first_then_all_and_one_notice() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    assert_eq!(
        again
            .header(Name::Replaces)
            .map(|value| value.contains("to-tag=b1")),
        Some(true)
    );
    assert!(again.header(Name::RejectContact).is_none(), "it is sought");
    t.nothing_to(mobile());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    assert!(invite.header(Name::Replaces).is_none());
    assert!(
        invite
            .header(Name::RejectContact)
            .unwrap()
            .contains("automata")
    );
    assert_ne!(invite.call_id(), again.call_id());
    t.reply(&invite, 180, mobile());
    t.nothing_to(alice());
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    assert_eq!(text(&notice), "bob is continuing on Phone-mobile.");
    assert_eq!(notice.other("Auto-Submitted"), Some("auto-generated"));
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    // The lost dialog gets a BYE, for a phone that comes back to life.
    let bye = loop {
        let message = t.next_to(desk());
        if *message.method() == Method::Bye {
            break message;
        }
    };
    assert!(bye.header(Name::Reason).is_some());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { same: false, .. })),
        1
    );
}

/// The lost phone rings no longer alone than it has.
#[test]
fn with_no_time_of_its_own_the_same_endpoint_is_asked_beside_all_others() {
    for order in [RestoreOrder::SameFirst, RestoreOrder::All] {
        let mut wishes = settings();
        wishes.restore.order = order;
        wishes.restore.same_first_for = PerKind::both(Millis(0));
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        t.established();
        t.bob_is_lost();
        t.pass(Millis(10));
        let same = t.request_to(desk(), Method::Invite);
        assert!(same.header(Name::Replaces).is_some());
        t.takes_over(mobile(), "m1", &audio(mobile()));
        // One round, and no more: who says nothing yet is not asked twice.
        assert!(t.waiting(desk(), &Method::Invite).is_none());
        t.request_to(alice(), Method::Message);
    }
}

#[test]
fn the_same_endpoint_again_needs_no_notice() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.takes_over(desk(), "b2", &audio(desk()));
    t.nothing_to(alice());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { same: true, .. })),
        1
    );
    // The conversation goes on as if nothing had been.
    t.discard(desk());
    t.receive(alice(), a.message("hello"));
    assert_eq!(text(&t.request_to(desk(), Method::Message)), "hello");
}

#[test]
fn a_phone_that_knows_nothing_of_the_old_dialog_is_asked_again_without() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let with = t.request_to(desk(), Method::Invite);
    t.reply(&with, 481, desk());
    t.request_to(desk(), Method::Ack);
    let without = t.request_to(desk(), Method::Invite);
    assert!(with.header(Name::Replaces).is_some() && without.header(Name::Replaces).is_none());
}

#[test]
fn who_refused_is_not_rung_again_and_who_is_away_is() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let first = t.request_to(desk(), Method::Invite);
    t.reply(&first, 403, desk());
    t.request_to(desk(), Method::Ack);
    // At once, since there is nothing to wait for.
    let away = t.request_to(mobile(), Method::Invite);
    t.reply(&away, 503, mobile());
    t.request_to(mobile(), Method::Ack);
    t.pass(Millis(700));
    t.request_to(mobile(), Method::Invite);
    t.pass(Millis::from_secs(20));
    t.discard(mobile());
    t.nothing_to(desk());
}

#[test]
fn a_480_is_an_absence_unless_it_rang_there() {
    for (rings, again) in [(false, true), (true, false)] {
        let mut t = Table::new(settings());
        t.established();
        t.bob_is_lost();
        let first = t.request_to(desk(), Method::Invite);
        if rings {
            t.reply(&first, 180, desk());
        }
        t.reply(&first, 480, desk());
        t.discard(desk());
        t.pass(Millis::from_secs(30));
        assert_eq!(t.waiting(desk(), &Method::Invite).is_some(), again);
    }
}

#[test]
fn an_endpoint_that_registers_meanwhile_is_invited_at_once() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    t.icmp(desk());
    t.discard(desk());
    t.register("bob", mobile(), "mobile");
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.request_to(alice(), Method::Message);
}

#[test]
fn a_phone_that_comes_back_where_it_was_rings_at_once() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let first = t.request_to(desk(), Method::Invite);
    // Nobody hears it: the next one would go out at 15.5 s.
    t.pass(Millis(8_000));
    assert_eq!(t.discard(desk()), 4);
    t.register_again("bob", desk(), "desk", 2);
    let again = t.request_to(desk(), Method::Invite);
    assert_eq!(again.branch(), first.branch(), "it is the same INVITE");
    // Should that be lost it goes out as often as a new one.
    t.pass(Millis(1_600));
    assert!(t.waiting(desk(), &Method::Invite).is_some());
    assert!(t.waiting(desk(), &Method::Invite).is_some());
    assert!(t.waiting(desk(), &Method::Invite).is_none());
    // Once it has the INVITE, a binding that is refreshed is nothing to it.
    t.reply(&again, 180, desk());
    t.register_again("bob", desk(), "desk", 3);
    t.nothing_to(desk());
}

#[test]
fn a_phone_that_reboots_while_it_rings_in_a_refork_is_asked_anew() {
    // It rang; or had the INVITE, and had not said so yet.
    for status in [180, 100] {
        let mut t = two();
        t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        let first = t.request_to(mobile(), Method::Invite);
        t.reply(&first, status, mobile());
        t.pass(Millis(2_000));
        t.registers_anew("bob", mobile(), "mobile", "boot2");
        let cancel = t.request_to(mobile(), Method::Cancel);
        assert_eq!(cancel.call_id(), first.call_id());
        t.reply(&cancel, 481, mobile());
        t.takes_over(mobile(), "m2", &audio(mobile()));
        t.request_to(alice(), Method::Message);
    }
}

#[test]
fn the_lost_phone_reboots_while_it_rings_again_and_has_not_refused() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let first = t.request_to(desk(), Method::Invite);
    t.reply(&first, 180, desk());
    t.registers_anew("bob", desk(), "desk", "boot2");
    t.request_to(desk(), Method::Cancel);
    let again = t.request_to(desk(), Method::Invite);
    assert_ne!(again.call_id(), first.call_id());
    // It dies again, and is away for as long as the first one would have rung.
    t.pass(Millis::from_secs(31));
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    t.request_to(desk(), Method::Invite);
    t.nothing_to(alice());
}

#[test]
fn a_phone_that_comes_back_elsewhere_while_its_old_place_is_called_rings_at_once() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    t.request_to(desk(), Method::Invite);
    t.pass(Millis(8_000));
    t.register_again("bob", third(), "desk", 2);
    t.request_to(third(), Method::Invite);
}

#[test]
fn the_same_phone_back_on_another_port_is_the_same_endpoint() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let again = phone("198.51.100.2:6000");
    t.register_again("bob", again, "desk", 2);
    // The INVITE that went to where it no longer is ends; the new one goes there.
    t.takes_over(again, "b2", &audio(again));
    t.nothing_to(alice());
}

#[test]
fn the_one_stream_goes_on_and_nothing_else_of_the_survivor_is_touched() {
    let mut t = two();
    t.established();
    let before = t.media.len();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let mut seen = t.media[before..].iter().map(|command| match command {
        MediaCommand::Lost {
            side: Side::Callee,
            transferred: false,
            ..
        } => "lost",
        MediaCommand::Open {
            side: Side::Callee,
            generation: 1,
            ..
        } => "open",
        MediaCommand::Configure {
            side: Side::Callee,
            generation: 1,
            ..
        } => "configure",
        _ => "other",
    });
    assert_eq!(
        seen.by_ref().collect::<Vec<_>>(),
        ["lost", "open", "configure"]
    );
}

#[test]
fn the_offer_begins_with_what_is_in_use() {
    let mut t = two();
    // Bob's desk phone took PCMA.
    let answer = audio(desk()).replace("RTP/AVP 0 8 101", "RTP/AVP 8 101");
    t.established_with(&audio(alice()), &answer);
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    assert!(
        text(&invite).contains("RTP/AVP 8 101 0"),
        "{}",
        text(&invite)
    );
}

#[test]
fn an_answer_that_does_not_fit_costs_the_survivor_one_reinvite() {
    let mut t = two();
    let answer = audio(desk()).replace("RTP/AVP 0 8 101", "RTP/AVP 8 101");
    t.established_with(&audio(alice()), &answer);
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let pcmu = audio(mobile()).replace("RTP/AVP 0 8 101", "RTP/AVP 0");
    t.takes_over(mobile(), "m1", &pcmu);
    let join = t.request_to(alice(), Method::Invite);
    assert!(
        text(&join).contains("RTP/AVP 0") && text(&join).contains(" 2 IN IP4"),
        "{}",
        text(&join)
    );
    let agrees = || with_sdp(response(&join, 200, alice(), "tcall1"), &audio(alice()));
    t.receive(alice(), agrees());
    t.request_to(alice(), Method::Ack);
    t.request_to(alice(), Method::Message);
    // That ACK was lost.
    t.receive(alice(), agrees());
    t.request_to(alice(), Method::Ack);
    t.nothing_to(alice());
}

#[test]
fn a_survivor_that_refuses_is_spared_and_the_next_endpoint_asked() {
    let mut t = two();
    let answer = audio(desk()).replace("RTP/AVP 0 8 101", "RTP/AVP 8 101");
    t.established_with(&audio(alice()), &answer);
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    t.takes_over(
        mobile(),
        "m1",
        &audio(mobile()).replace("RTP/AVP 0 8 101", "RTP/AVP 0"),
    );
    let join = t.request_to(alice(), Method::Invite);
    t.reply(&join, 488, alice());
    t.request_to(alice(), Method::Ack);
    t.request_to(mobile(), Method::Bye);
    t.nothing_to(alice());
}

#[test]
fn an_offer_of_the_survivor_while_it_is_asked_to_join_is_glare() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &g722(mobile())),
    );
    t.request_to(alice(), Method::Invite);
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    t.response_to(alice(), 491);
}

#[test]
fn a_491_to_the_join_does_not_hang_up_on_who_answered() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &g722(mobile()));
    let join = t.request_to(alice(), Method::Invite);
    t.reply(&join, 491, alice());
    t.request_to(alice(), Method::Ack);
    // Her own offer has its turn first, and is answered by what stands.
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.pass(Millis(2_000));
    let join = t.request_to(alice(), Method::Invite);
    assert!(text(&join).contains("RTP/AVP 9"), "{}", text(&join));
    t.discard(alice());
    t.receive(
        alice(),
        with_sdp(response(&join, 200, alice(), "tcall1"), &g722(alice())),
    );
    t.request_to(alice(), Method::Ack);
    t.nothing_to(mobile());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        1
    );
}

/// The survivor's phone answers something else yet, and says so by 500 and a time (RFC 3261 14.2).
fn puts_off(t: &mut Table, join: &Message) {
    let busy = response(join, 500, alice(), "tcall1").header(Name::RetryAfter, 1);
    t.discard(alice());
    t.receive(alice(), busy.end());
    t.request_to(alice(), Method::Ack);
}

#[test]
fn a_survivor_that_puts_off_the_join_is_asked_again_a_few_times() {
    for times in [1, 3, 4] {
        let mut t = two();
        t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &g722(mobile()));
        for _ in 0..times {
            let join = t.request_to(alice(), Method::Invite);
            puts_off(&mut t, &join);
            t.pass(Millis(900));
            t.nothing_to(alice());
            t.pass(Millis(1_200));
        }
        if times > 3 {
            t.nothing_to(alice());
            t.request_to(mobile(), Method::Bye);
            continue;
        }
        let join = t.request_to(alice(), Method::Invite);
        t.discard(alice());
        t.receive(
            alice(),
            with_sdp(response(&join, 200, alice(), "tcall1"), &g722(alice())),
        );
        t.request_to(alice(), Method::Ack);
        t.nothing_to(mobile());
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Restored { .. })),
            1
        );
    }
}

#[test]
fn who_hangs_up_while_the_survivor_is_asked_is_not_joined() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let mut m = t.takes_over(mobile(), "m1", &g722(mobile()));
    let join = t.request_to(alice(), Method::Invite);
    t.hangs_up(&mut m);
    t.receive(
        alice(),
        with_sdp(
            response(&join, 200, alice(), "tcall1"),
            &sdp(alice(), 2, "sendrecv"),
        ),
    );
    t.pass(Millis::from_secs(20));
    t.nothing_to(mobile());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        0
    );
    assert!(t.waiting(desk(), &Method::Invite).is_some());
}

#[test]
fn two_answers_and_one_is_joined() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let first = t.request_to(desk(), Method::Invite);
    t.reply(&first, 180, desk());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.request_to(desk(), Method::Cancel);
    // Too late: it has answered.
    t.receive(
        desk(),
        with_sdp(response(&first, 200, desk(), "late"), &audio(desk())),
    );
    let mut seen: Vec<Message> = Vec::new();
    for _ in 0..3 {
        seen.push(t.next_to(desk()));
    }
    let late: Vec<_> = seen
        .iter()
        .filter(|message| message.to_tag() == Some("late"))
        .map(|message| message.method().as_str().to_owned())
        .collect();
    assert_eq!(late, ["ACK", "BYE"]);
}

#[test]
fn a_frozen_phone_that_thaws_is_left_without_a_call() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let waiting = t.request_to(desk(), Method::Invite);
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.pass(Millis::from_secs(60));
    t.discard(desk());
    // It rings for the INVITE that waited in its socket: CANCEL.
    t.reply(&waiting, 180, desk());
    t.request_to(desk(), Method::Cancel);
    // And if it answers all the same: ACK and BYE.
    t.receive(
        desk(),
        with_sdp(response(&waiting, 200, desk(), "thaw"), &audio(desk())),
    );
    t.request_to(desk(), Method::Ack);
    t.request_to(desk(), Method::Bye);
}

#[test]
fn a_phone_that_was_cut_off_for_long_finds_no_call_left_when_it_registers() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    // Neither the BYE nor what followed reached it.
    t.pass(Millis::from_secs(50));
    t.discard(desk());
    let back = phone("198.51.100.2:7000");
    t.register_again("bob", back, "desk", 2);
    let bye = t.request_to(back, Method::Bye);
    assert_eq!(bye.to_tag(), Some("b1"));
    t.reply(&bye, 200, back);
    // Once is enough.
    t.register_again("bob", back, "desk", 3);
    t.nothing_to(back);
}

#[test]
fn nobody_comes_back() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.discard(desk());
    t.receive(alice(), a.message("are you there?"));
    t.response_to(alice(), 202);
    t.pass(Millis::from_secs(59));
    t.nothing_to(alice());
    t.pass(Millis(1_200));
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(text(&word), "bob is gone; 1 not delivered.");
    t.reply(&word, 200, alice());
    let bye = t.request_to(alice(), Method::Bye);
    assert!(bye.header(Name::Reason).unwrap().contains("cause=480"));
    t.reply(&bye, 200, alice());
    assert_eq!(
        t.happened(|what| matches!(
            what,
            Happening::Ended {
                how: Ending::RestoreTimeout(Side::Callee),
                undelivered: 1
            }
        )),
        1
    );
    t.ends_empty();
}

#[test]
fn the_survivor_is_answered_meanwhile() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.discard(desk());
    t.receive(alice(), a.request(Method::Options).end());
    t.response_to(alice(), 200);
    t.receive(
        alice(),
        a.request(Method::Info)
            .body("application/dtmf-relay", b"Signal=1\r\n"),
    );
    t.response_to(alice(), 200);
    t.receive(
        alice(),
        a.request(Method::Refer)
            .header(Name::ReferTo, "<sip:x@y>")
            .end(),
    );
    assert!(
        t.response_to(alice(), 500)
            .header(Name::RetryAfter)
            .is_some()
    );
    // A hold is granted, and remembered.
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"));
    t.receive(alice(), a.ack(ok.cseq()));
    t.register("bob", mobile(), "mobile");
    let invite = t.request_to(mobile(), Method::Invite);
    assert!(text(&invite).contains("a=sendonly"));
}

#[test]
fn an_ack_that_is_owed_is_sent_when_the_other_side_is_lost() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.receive(alice(), a.request(Method::Invite).end());
    let late = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(
            response(&late, 200, desk(), "b1"),
            &sdp(desk(), 2, "sendrecv"),
        ),
    );
    t.response_to(alice(), 200);
    t.alice_is_lost();
    t.discard(alice());
    let ack = t.request_to(desk(), Method::Ack);
    assert!(text(&ack).contains("m=audio"), "the answer to its offer");
    // Both may offer again.
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 3, "sendonly")),
    );
    t.response_to(desk(), 200);
}

#[test]
fn a_survivor_who_hangs_up_ends_it_all() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    let waiting = t.request_to(desk(), Method::Invite);
    t.reply(&waiting, 180, desk());
    t.hangs_up(&mut a);
    let methods: Vec<_> = (0..2)
        .map(|_| t.next_to(desk()).method().as_str().to_owned())
        .collect();
    assert_eq!(methods, ["CANCEL", "BYE"]);
    t.ends_empty();
}

#[test]
fn either_side_may_be_the_lost_one_and_both() {
    let mut t = Table::new(settings());
    t.register("alice", alice(), "alice");
    t.register("bob", desk(), "desk");
    t.established();
    t.bob_is_lost();
    t.alice_is_lost();
    t.takes_over(alice(), "a2", &audio(alice()));
    t.takes_over(desk(), "b2", &audio(desk()));
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        2
    );
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Notice { .. })),
        0
    );
}

#[test]
fn who_moved_while_a_notice_to_it_waited_is_announced_too() {
    let mut t = two();
    let about_alice = t.both_have_moved();
    t.reply(&about_alice, 200, mobile());
    let about_bob = t.request_to(third(), Method::Message);
    assert_eq!(text(&about_bob), "bob is continuing on Phone-mobile.");
}

/// Bob's desk phone dies, and takes the call again.
fn dies_and_is_back(t: &mut Table, tag: &str) {
    t.bob_is_lost();
    while let Some(message) = t.any_to(desk()) {
        if *message.method() == Method::Invite {
            let ok = response(&message, 200, desk(), tag);
            t.receive(desk(), with_sdp(ok, &audio(desk())));
            break;
        }
    }
    t.discard(desk());
    t.nothing_to(alice());
}

#[test]
fn an_endpoint_that_answers_and_dies_again_and_again_is_given_up() {
    let mut wishes = settings();
    wishes.restore.max_per_conversation = 2;
    let mut t = Table::new(wishes);
    t.established();
    for tag in ["b2", "b3"] {
        dies_and_is_back(&mut t, tag);
    }
    t.bob_is_lost();
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(
        text(&word),
        "bob was lost too often, and the call is given up. 0 messages were not delivered."
    );
    t.reply(&word, 200, alice());
    let bye = t.request_to(alice(), Method::Bye);
    let reason = bye.header(Name::Reason).unwrap();
    assert!(reason.contains("too often"), "{reason}");
}

#[test]
fn a_long_call_may_be_restored_as_often_in_each_hour() {
    let mut wishes = settings();
    wishes.restore.max_per_conversation = 2;
    wishes.detect.probe = None;
    let mut t = Table::new(wishes);
    t.established();
    for tag in ["b2", "b3", "b4", "b5", "b6"] {
        dies_and_is_back(&mut t, tag);
        t.pass(Millis::from_secs(1_801));
        t.discard(desk());
    }
    for tag in ["b7", "b8"] {
        t.bob_is_lost();
        let gone = t.waiting(alice(), &Method::Message).is_some();
        assert_eq!(gone, tag == "b8", "{tag}");
        if let Some(invite) = t.waiting(desk(), &Method::Invite) {
            let ok = response(&invite, 200, desk(), tag);
            t.receive(desk(), with_sdp(ok, &audio(desk())));
        }
        t.discard(desk());
    }
}

#[test]
fn a_storm_is_worked_off_in_order() {
    let mut wishes = settings();
    wishes.restore.rate = 1;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    for call in ["c1", "c2", "c3"] {
        t.receive(
            alice(),
            with_sdp(
                request(Method::Invite, "alice", "bob", alice(), call),
                &audio(alice()),
            ),
        );
        let invite = t.request_to(desk(), Method::Invite);
        t.receive(
            desk(),
            with_sdp(response(&invite, 200, desk(), call), &audio(desk())),
        );
        t.request_to(desk(), Method::Ack);
    }
    let all: Vec<_> = t.engine.list(3).iter().map(|summary| summary.key).collect();
    for conversation in all {
        t.input(Input::Command(Command::DeclareLost {
            conversation,
            side: Side::Callee,
        }));
    }
    let invited = |t: &Table| t.happened(|what| matches!(what, Happening::Reinvited { .. }));
    assert_eq!(invited(&t), 1);
    t.pass(Millis(1_000));
    assert_eq!(invited(&t), 2);
    t.pass(Millis(1_000));
    assert_eq!(invited(&t), 3);
}

#[test]
fn a_survivor_lost_while_it_is_asked_does_not_hold_up_the_new_leg() {
    let mut t = two();
    t.register("alice", alice(), "alice");
    let answer = audio(desk()).replace("RTP/AVP 0 8 101", "RTP/AVP 8 101");
    t.established_with(&audio(alice()), &answer);
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(
        mobile(),
        "m1",
        &audio(mobile()).replace("RTP/AVP 0 8 101", "RTP/AVP 0"),
    );
    let join = t.request_to(alice(), Method::Invite);
    t.reply(&join, 481, alice());
    t.request_to(alice(), Method::Ack);
    // A refusal by a phone that no longer knows the dialog is its loss, not the new endpoint's fault.
    t.pass(Millis(700));
    t.request_to(alice(), Method::Invite);
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        1
    );
}

#[test]
fn a_phone_that_calls_itself_otherwise_after_its_start_is_invited_anew() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let old = t.request_to(desk(), Method::Invite);
    let register =
        String::from_utf8(t.register_request("bob", desk(), "desk", 2, 3600).to_vec()).unwrap();
    let renamed = register.replace(
        "<sip:bob@198.51.100.2:5060>;+sip",
        "<sip:bob-2@198.51.100.2:5060>;+sip",
    );
    t.receive(desk(), renamed.into());
    let mut invites = vec![old.uri().to_owned()];
    while let Some(invite) = t.waiting(desk(), &Method::Invite) {
        invites.push(invite.uri().to_owned());
    }
    assert!(
        invites.iter().any(|uri| uri.contains("bob-2")),
        "{invites:?}"
    );
}

#[test]
fn who_registered_over_a_connection_that_is_closed_is_called_at_its_contact() {
    let ephemeral = phone("198.51.100.2:49152");
    let behind_nat = phone("203.0.113.9:49152");
    for (seen, there) in [(ephemeral, desk()), (behind_nat, behind_nat)] {
        let mut t = Table::new(settings());
        let register = t.register_request("bob", desk(), "desk", 1, 3600);
        let register = String::from_utf8_lossy(&register).replace(">;+sip", ";transport=tcp>;+sip");
        t.receive_over(tcp(seen, 7), register.into());
        t.response_to(seen, 200);
        t.alice_invites(&audio(alice()));
        let over_it = t.request_to(seen, Method::Invite);
        t.receive_over(tcp(seen, 7), response(&over_it, 486, seen, "b1").end());
        t.discard(seen);
        t.discard(alice());
        t.closed(seen, 7);
        let again = request(Method::Invite, "alice", "bob", alice(), "call2");
        t.receive(alice(), with_sdp(again, &audio(alice())));
        let anew = t.request_to(there, Method::Invite);
        assert!(anew.header(Name::Via).unwrap().starts_with("SIP/2.0/TCP"));
    }
}

#[test]
fn who_is_sent_a_request_over_a_connection_that_closes_is_probed_over_another() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let ephemeral = phone("198.51.100.1:49152");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive_over(tcp(ephemeral, 7), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(ephemeral, 200);
    let a = Remote::of_answer(&ok, ephemeral);
    t.receive_over(tcp(ephemeral, 7), a.ack(1));
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive(desk(), b.message("one"));
    t.request_to(ephemeral, Method::Message);
    t.closed(ephemeral, 7);
    t.request_to(alice(), Method::Options);
    t.nothing_to(ephemeral);
}

#[test]
fn a_caller_who_came_over_a_connection_that_is_closed_is_sought_at_its_contact() {
    // Unregistered, from an ephemeral port, listening on 5060 as its Contact says.
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let ephemeral = phone("198.51.100.1:49152");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive_over(tcp(ephemeral, 7), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(ephemeral, 200);
    let a = Remote::of_answer(&ok, ephemeral);
    t.receive_over(tcp(ephemeral, 7), a.ack(1));
    t.closed(ephemeral, 7);
    t.request_to(alice(), Method::Options);
    let conversation = t.engine.list(1)[0].key;
    t.input(Input::Command(Command::DeclareLost {
        conversation,
        side: Side::Caller,
    }));
    t.request_to(alice(), Method::Invite);
    t.nothing_to(ephemeral);
}

/// Bob has three phones, of which the lost one is the least preferred.
fn by_q() -> Table {
    let mut wishes = settings();
    wishes.restore.order = RestoreOrder::Q;
    let mut t = Table::new(wishes);
    t.register_with_q("bob", desk(), "desk", "0.2");
    t.established();
    t.register_with_q("bob", mobile(), "mobile", "0.9");
    t.register_with_q("bob", third(), "third", "0.5");
    t.bob_is_lost();
    t
}

#[test]
fn by_q_value_the_next_are_asked_when_the_time_of_those_before_is_up() {
    let mut t = by_q();
    let best = t.request_to(mobile(), Method::Invite);
    t.reply(&best, 180, mobile());
    t.nothing_to(third());
    t.pass(Millis(2_100));
    t.request_to(third(), Method::Invite);
    assert!(t.waiting(desk(), &Method::Invite).is_none());
    t.pass(Millis(2_100));
    t.request_to(desk(), Method::Invite);
    // It has been ringing all the while.
    t.receive(
        mobile(),
        with_sdp(response(&best, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
}

#[test]
fn by_q_value_the_next_are_asked_at_once_when_those_before_have_failed() {
    let mut t = by_q();
    let best = t.request_to(mobile(), Method::Invite);
    t.reply(&best, 180, mobile());
    t.reply(&best, 486, mobile());
    t.request_to(mobile(), Method::Ack);
    let second = t.request_to(third(), Method::Invite);
    t.reply(&second, 503, third());
    t.request_to(third(), Method::Ack);
    t.request_to(desk(), Method::Invite);
    t.discard(desk());
    // Who was away is asked again when everyone has had a turn, who refused is not.
    let last = t.waiting(third(), &Method::Invite);
    assert!(last.is_none());
    t.pass(Millis::from_secs(40));
    t.request_to(third(), Method::Invite);
    t.nothing_to(mobile());
}

#[test]
fn a_call_and_a_session_are_each_sought_for_a_time_of_their_own() {
    for (session, seconds) in [(false, 60), (true, 600)] {
        let mut wishes = settings();
        wishes.restore.timeout = PerKind {
            audio: Millis::from_secs(60),
            message: Millis::from_secs(600),
        };
        let mut t = Table::new(wishes);
        if session {
            t.texting();
        } else {
            t.established();
        }
        t.bob_is_lost();
        let mut passed = 0;
        let told = loop {
            t.pass(Millis::from_secs(1));
            passed += 1;
            t.discard(desk());
            let Some(next) = t.any_to(alice()) else {
                assert!(passed < 700, "nobody gives up");
                continue;
            };
            if *next.method() != Method::Options {
                break next;
            }
            t.reply(&next, 200, alice());
            // What came with it is looked at now.
            if let Some(told) = t.waiting(alice(), &Method::Message) {
                break told;
            }
        };
        assert_eq!(text(&told), "bob is gone; 0 not delivered.");
        assert!((seconds..=seconds + 1).contains(&passed), "{passed}");
        t.reply(&told, 200, alice());
        assert!(t.waiting(alice(), &Method::Bye).is_some());
    }
}
