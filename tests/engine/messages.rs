//! Text within the conversation: in order, once, none lost.

use refork::engine::events::{Happening, NoticeOutcome};
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

#[test]
fn a_message_waits_for_the_far_sides_answer_and_gets_that_one() {
    for status in [200, 202, 415, 486] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.texting();
        t.receive(alice(), a.message("hi"));
        let carried = t.request_to(desk(), Method::Message);
        t.nothing_to(alice());
        t.reply(&carried, status, desk());
        t.response_to(alice(), status);
        assert_eq!(t.engine.gauges().queued_messages, 0);
    }
}

#[test]
fn one_is_under_way_at_a_time_and_order_is_the_senders() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    for text in ["1", "2", "3"] {
        t.receive(alice(), a.message(text));
    }
    for expected in ["1", "2", "3"] {
        let carried = t.request_to(desk(), Method::Message);
        assert_eq!(text(&carried), expected);
        t.nothing_to(desk());
        t.reply(&carried, 200, desk());
        t.response_to(alice(), 200);
    }
}

#[test]
fn what_the_far_side_lets_wait_is_stored_before_it_is_accepted() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    t.store_waits = true;
    t.receive(alice(), a.message("hi"));
    t.request_to(desk(), Method::Message);
    t.pass(Millis(2_100));
    t.nothing_to(alice());
    t.store_answers(true);
    t.response_to(alice(), 202);
}

#[test]
fn who_falls_silent_as_kept_texts_are_handed_over_is_asked_as_soon_as_for_a_fresh_one() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    for text in ["1", "2"] {
        t.receive(alice(), a.message(text));
        t.response_to(alice(), 202);
    }
    t.discard(desk());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    let carried = t.request_to(mobile(), Method::Message);
    assert_eq!(text(&carried), "1");
    t.pass(Millis(1_900));
    assert!(t.waiting(mobile(), &Method::Options).is_none());
    t.pass(Millis(200));
    let probe = t.waiting(mobile(), &Method::Options).unwrap();
    // It lives, and is slow: it is asked once for each text.
    t.reply(&probe, 200, mobile());
    t.pass(Millis::from_secs(5));
    assert!(t.waiting(mobile(), &Method::Options).is_none());
    t.reply(&carried, 200, mobile());
    while t.waiting(mobile(), &Method::Message).is_some() {}
    t.pass(Millis(2_100));
    t.waiting(mobile(), &Method::Options).unwrap();
    t.pass(Millis::from_secs(8));
    assert_eq!(t.losses().len(), 2, "the mobile is lost too");
}

#[test]
fn a_store_that_fails_is_no_202() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    t.store_waits = true;
    t.receive(alice(), a.message("hi"));
    t.store_answers(false);
    assert!(
        t.response_to(alice(), 500)
            .header(Name::RetryAfter)
            .is_some()
    );
    assert_eq!(t.engine.gauges().queued_messages, 0);
}

#[test]
fn what_the_sender_was_told_has_failed_goes_to_no_later_phone() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.texting();
    t.store_waits = true;
    t.receive(alice(), a.message("hi"));
    t.request_to(desk(), Method::Message);
    t.pass(Millis(2_100));
    t.store_answers(false);
    t.response_to(alice(), 500);
    t.store_waits = false;
    // She sends it again: that one counts.
    t.bob_is_lost();
    t.receive(alice(), a.message("hi"));
    t.response_to(alice(), 202);
    t.discard(mobile());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    let carried = t.request_to(mobile(), Method::Message);
    assert_eq!(text(&carried), "hi");
    t.reply(&carried, 200, mobile());
    t.nothing_to(mobile());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Delivered { .. })),
        1
    );
}

#[test]
fn a_conversation_that_ends_while_the_store_is_asked_waits_for_nothing() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    t.store_waits = true;
    for text in ["1", "2"] {
        t.receive(alice(), a.message(text));
    }
    t.hangs_up(&mut a);
    for _ in 0..2 {
        t.response_to(alice(), 480);
    }
    t.pass(Millis::from_secs(40));
    t.store_answers(true);
    t.nothing_to(alice());
}

#[test]
fn messages_to_a_lost_side_arrive_in_order_at_the_new_endpoint_then_the_notice() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.texting();
    // The first is under way when the phone dies: it will be delivered again.
    t.receive(alice(), a.message("1"));
    t.request_to(desk(), Method::Message);
    t.bob_is_lost();
    t.response_to(alice(), 202);
    for text in ["2", "3"] {
        t.receive(alice(), a.message(text));
        t.response_to(alice(), 202);
    }
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    for expected in ["1", "2", "3"] {
        t.nothing_to(alice());
        let carried = t.request_to(mobile(), Method::Message);
        assert_eq!(text(&carried), expected);
        t.reply(&carried, 200, mobile());
    }
    let notice = t.request_to(alice(), Method::Message);
    assert!(text(&notice).contains("Phone-mobile"));
    t.reply(&notice, 200, alice());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Redelivered { .. })),
        1
    );
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Delivered { .. })),
        3
    );
}

#[test]
fn the_notice_is_not_said_again_while_the_conversation_goes_on() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let mut b = t.takes_over(mobile(), "m1", &audio(mobile()));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    for _ in 0..3 {
        t.receive(alice(), a.message("hello"));
        let carried = t.request_to(mobile(), Method::Message);
        assert_eq!(text(&carried), "hello");
        t.reply(&carried, 200, mobile());
        t.response_to(alice(), 200);
        t.receive(mobile(), b.message("hi"));
        let carried = t.request_to(alice(), Method::Message);
        assert_eq!(text(&carried), "hi");
        t.reply(&carried, 200, alice());
        t.response_to(mobile(), 200);
    }
    t.nothing_to(alice());
    // Nor when the same phone is lost and comes back.
    t.bob_is_lost();
    t.discard(mobile());
    t.register_again("bob", mobile(), "mobile", 2);
    t.nothing_to(alice());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Notice { .. })),
        1
    );
}

#[test]
fn a_late_200_of_the_lost_phone_counts() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.texting();
    t.receive(alice(), a.message("1"));
    let sent = t.request_to(desk(), Method::Message);
    t.bob_is_lost();
    t.reply(&sent, 200, desk());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    t.nothing_to(mobile());
}

#[test]
fn one_bad_message_does_not_block_the_rest() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    for text in ["bad", "good"] {
        t.receive(alice(), a.message(text));
        t.response_to(alice(), 202);
    }
    t.takes_over(desk(), "b2", &text_sdp(desk()));
    let bad = loop {
        let message = t.next_to(desk());
        if *message.method() == Method::Message {
            break message;
        }
    };
    t.reply(&bad, 415, desk());
    assert_eq!(text(&t.request_to(desk(), Method::Message)), "good");
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Rejected { status: 415, .. })),
        1
    );
}

#[test]
fn a_reinvite_whose_ack_is_lost_does_not_stop_the_messages() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(
            response(&offer, 200, desk(), "b1"),
            &sdp(desk(), 2, "recvonly"),
        ),
    );
    t.discard(desk());
    // No ACK of Alice ever; but she lives.
    for _ in 0..12 {
        t.pass(Millis(3_500));
        while let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
        t.receive(alice(), a.request(Method::Info).end());
        if let Some(info) = t.waiting(desk(), &Method::Info) {
            t.reply(&info, 200, desk());
        }
        while let Some(probe) = t.waiting(desk(), &Method::Options) {
            t.reply(&probe, 200, desk());
        }
    }
    assert_eq!(t.happened(|what| matches!(what, Happening::Lost { .. })), 0);
    t.discard(alice());
    t.receive(desk(), b.message("are you there?"));
    t.pass(Millis::from_secs(5));
    assert!(
        t.waiting(alice(), &Method::Message).is_some(),
        "the text never reaches Alice"
    );
}

#[test]
fn a_refresh_whose_ack_is_lost_does_not_stop_the_messages() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    // A session timer's re-INVITE that says nothing new.
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 1, "sendrecv")),
    );
    for _ in 0..12 {
        t.pass(Millis(3_500));
        while let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
        t.receive(alice(), a.request(Method::Info).end());
        while let Some(info) = t.waiting(desk(), &Method::Info) {
            t.reply(&info, 200, desk());
        }
        while let Some(probe) = t.waiting(desk(), &Method::Options) {
            t.reply(&probe, 200, desk());
        }
    }
    assert_eq!(t.happened(|what| matches!(what, Happening::Lost { .. })), 0);
    t.discard(alice());
    t.receive(desk(), b.message("are you there?"));
    t.pass(Millis::from_secs(5));
    assert!(t.waiting(alice(), &Method::Message).is_some());
}

#[test]
fn a_caller_that_speaks_in_the_dialog_knows_of_it_without_its_ack() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive(
        desk(),
        with_sdp(
            response(&invite, 200, desk(), "b1"),
            &sdp(desk(), 1, "sendrecv"),
        ),
    );
    let ok = t.response_to(alice(), 200);
    t.receive(desk(), b.message("hi"));
    t.nothing_to(alice());
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.request(Method::Options).end());
    t.request_to(alice(), Method::Message);
}

#[test]
fn a_full_queue_says_so() {
    let mut wishes = settings();
    wishes.messages.per_conversation = 1;
    wishes.messages.bytes_per_conversation = 100;
    let mut t = Table::new(wishes);
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    t.receive(alice(), a.message("1"));
    t.response_to(alice(), 202);
    t.receive(alice(), a.message("2"));
    assert!(
        t.response_to(alice(), 500)
            .header(Name::RetryAfter)
            .is_some()
    );
    t.receive(alice(), a.message(&"x".repeat(101)));
    t.response_to(alice(), 413);
}

#[test]
fn typing_is_answered_and_never_queued() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    let typing = |a: &mut Remote| {
        a.request(Method::Message)
            .body("application/im-iscomposing+xml", b"<x/>")
    };
    t.receive(alice(), typing(&mut a));
    let carried = t.request_to(desk(), Method::Message);
    t.reply(&carried, 200, desk());
    t.response_to(alice(), 200);
    t.bob_is_lost();
    t.receive(alice(), typing(&mut a));
    t.response_to(alice(), 200);
    assert_eq!(t.engine.gauges().queued_messages, 0);
}

#[test]
fn a_phone_without_message_is_told_outside_of_the_dialog() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &sdp(mobile(), 1, "sendrecv"));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 405, alice());
    let outside = t.request_to(alice(), Method::Message);
    assert!(outside.to_tag().is_none());
    assert_ne!(outside.call_id(), notice.call_id());
    t.reply(&outside, 200, alice());
    let told = |what: &Happening| {
        matches!(
            what,
            Happening::Notice {
                outcome: NoticeOutcome::DeliveredOutOfDialog,
                ..
            }
        )
    };
    assert_eq!(t.happened(told), 1);
    t.nothing_to(alice());
}

#[test]
fn a_failed_notice_is_no_sign_of_loss() {
    for status in [481, 403, 606] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &sdp(mobile(), 1, "sendrecv"));
        let notice = t.request_to(alice(), Method::Message);
        t.reply(&notice, status, alice());
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Lost { .. })),
            1,
            "{status}"
        );
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Notice { .. })),
            1
        );
    }
}

#[test]
fn a_notice_that_is_put_off_is_said_once_more() {
    for status in [500, 491, 408] {
        let mut t = two();
        t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &audio(mobile()));
        let notice = t.request_to(alice(), Method::Message);
        let later = response(&notice, status, alice(), "x1").header(Name::RetryAfter, "3 (busy)");
        t.receive(alice(), later.end());
        t.pass(Millis(2_900));
        t.nothing_to(alice());
        t.pass(Millis(200));
        let again = t.request_to(alice(), Method::Message);
        assert_eq!(text(&again), text(&notice));
        t.reply(&again, status, alice());
        t.pass(Millis::from_secs(10));
        t.nothing_to(alice());
        let lost = |what: &Happening| matches!(what, Happening::Lost { .. });
        let told = |what: &Happening| matches!(what, Happening::Notice { .. });
        assert_eq!((t.happened(lost), t.happened(told)), (1, 1));
    }
}

#[test]
fn who_is_exempt_is_told_nothing() {
    for (pattern, exempt) in [
        ("urn:uuid:lap*", true),
        ("*laptop", true),
        ("phone-lap*", true),
        ("urn:uuid:desk", false),
    ] {
        let mut settings = settings();
        settings.notice.exempt = vec![pattern.into()];
        let mut t = Table::new(settings);
        t.register("alice", alice(), "laptop");
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        let (mut a, _) = t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &audio(mobile()));
        if exempt {
            t.nothing_to(alice());
        } else {
            let notice = t.request_to(alice(), Method::Message);
            t.reply(&notice, 200, alice());
        }
        let outcome = |what: &Happening| match what {
            Happening::Notice { outcome, .. } => Some(*outcome),
            _ => None,
        };
        let told: Vec<NoticeOutcome> = t.history().into_iter().filter_map(outcome).collect();
        let expected = match exempt {
            true => NoticeOutcome::Exempt,
            false => NoticeOutcome::Delivered,
        };
        assert_eq!(told, [expected], "{pattern}");
        // What people say is for everyone.
        t.receive(alice(), a.message("hi"));
        t.request_to(mobile(), Method::Message);
    }
}

/// RFC 3862: where the survivor's session takes nothing else, or its phone has spoken so.
#[test]
fn a_notice_comes_in_an_envelope_where_texts_do() {
    let plain = text_sdp(alice());
    let enveloped = plain.clone() + "a=accept-types:message/cpim\r\n";
    for (offer, speaks, expected) in [
        (&plain, None, false),
        (&enveloped, None, true),
        (&plain, Some("message/cpim"), true),
        (&plain, Some("text/plain"), false),
    ] {
        let mut t = two();
        let (mut a, _) = t.established_with(offer, &text_sdp(desk()));
        if let Some(kind) = speaks {
            t.receive(alice(), a.request(Method::Message).body(kind, b"hello"));
            let message = t.request_to(desk(), Method::Message);
            assert_eq!(message.content_type(), Some(kind));
            t.reply(&message, 200, desk());
            t.response_to(alice(), 200);
        }
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &text_sdp(mobile()));
        let notice = t.request_to(alice(), Method::Message);
        assert_eq!(notice.other("Auto-Submitted"), Some("auto-generated"));
        let says = "bob is continuing on Phone-mobile.";
        if expected {
            assert_eq!(notice.content_type(), Some("message/cpim"));
            let envelope = "From: <sip:bob@example.org>\r\nTo: \"alice\" <sip:alice@example.org>\r\n\r\n\
                            Content-Type: text/plain;charset=UTF-8\r\n\r\n";
            assert_eq!(text(&notice), format!("{envelope}{says}"));
        } else {
            assert_eq!(text(&notice), says);
        }
        // Outside of the dialog too.
        t.reply(&notice, 405, alice());
        let outside = t.request_to(alice(), Method::Message);
        assert_eq!(outside.content_type(), notice.content_type());
        assert_eq!(outside.body(), notice.body());
    }
}

#[test]
fn a_message_that_a_living_phone_never_answers_is_given_up_not_the_phone() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    for text in ["poison", "next"] {
        t.receive(alice(), a.message(text));
    }
    for _ in 0..140 {
        t.pass(Millis(500));
        for at in [alice(), desk()] {
            while let Some(probe) = t.waiting(at, &Method::Options) {
                t.reply(&probe, 200, at);
            }
        }
    }
    assert_eq!(t.happened(|what| matches!(what, Happening::Lost { .. })), 0);
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Rejected { status: 408, .. })),
        1
    );
    let next = std::iter::from_fn(|| t.waiting(desk(), &Method::Message))
        .find(|message| text(message) == "next");
    assert!(next.is_some(), "one bad message does not block the rest");
}

#[test]
fn a_try_that_a_dead_phone_never_answered_is_not_held_against_a_message() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.texting();
    t.receive(alice(), a.message("hi"));
    t.request_to(desk(), Method::Message);
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    // Its answers to this are lost, and those to OPTIONS are not.
    for _ in 0..66 {
        t.pass(Millis(500));
        while let Some(probe) = t.waiting(mobile(), &Method::Options) {
            t.reply(&probe, 200, mobile());
        }
    }
    let tried = std::iter::from_fn(|| t.waiting(mobile(), &Method::Message));
    let last = tried.last().unwrap();
    assert_eq!(text(&last), "hi");
    t.reply(&last, 200, mobile());
    let delivered = t.happened(|what| matches!(what, Happening::Delivered { .. }));
    let rejected = t.happened(|what| matches!(what, Happening::Rejected { .. }));
    assert_eq!((delivered, rejected), (1, 0));
}

#[test]
fn a_text_before_the_answer_waits_for_who_answers() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&text_sdp(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    let early = Remote::of_answer(&t.response_to(alice(), 180), alice());
    let mut early = early;
    t.receive(alice(), early.message("pick up!"));
    t.pass(Millis::from_secs(5));
    t.nothing_to(desk());
    t.receive(desk(), with_sdp(answer_to(&invite), &text_sdp(desk())));
    t.request_to(desk(), Method::Ack);
    assert_eq!(text(&t.request_to(desk(), Method::Message)), "pick up!");
}

#[test]
fn no_202_once_the_last_word_is_out() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.pass(Millis::from_secs(60));
    let word = t.request_to(alice(), Method::Message);
    t.receive(alice(), a.message("one more"));
    let answer = t.next_to(alice());
    t.reply(&word, 200, alice());
    assert!(
        answer.status() >= 300,
        "{} for a text that is thrown away",
        answer.status()
    );
}

#[test]
fn a_text_that_overtakes_the_2xx_is_not_denied() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&text_sdp(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive(desk(), b.message("hi"));
    let answer = t.next_to(desk());
    assert_ne!(answer.status(), 481, "481 ends the dialog for Bob's client");
}

#[test]
fn a_503_of_a_phone_does_not_stop_the_senders_client() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), a.message("one"));
    let one = t.request_to(desk(), Method::Message);
    t.reply(&one, 503, desk());
    let refused = t.response_to(alice(), 500);
    assert!(refused.header(Name::RetryAfter).is_some());
}

#[test]
fn the_notice_follows_a_message_that_nobody_answers() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    t.receive(alice(), a.message("poison"));
    t.response_to(alice(), 202);
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    for _ in 0..200 {
        t.pass(Millis(500));
        for at in [alice(), mobile()] {
            while let Some(probe) = t.waiting(at, &Method::Options) {
                t.reply(&probe, 200, at);
            }
        }
    }
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Rejected { status: 408, .. })),
        1
    );
    let notice = t.waiting(alice(), &Method::Message);
    assert!(notice.is_some(), "no notice");
}

#[test]
fn the_notice_follows_a_message_that_grew_too_old() {
    let mut wishes = settings();
    wishes.messages.max_age = Millis::from_secs(20);
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    t.receive(alice(), a.message("later"));
    t.response_to(alice(), 202);
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    for _ in 0..100 {
        t.pass(Millis(500));
        while let Some(m) = t.waiting(mobile(), &Method::Message) {
            t.reply(&m, 480, mobile());
        }
        // Whoever is on the way may have said so.
        while let Some(asked) = t.waiting(mobile(), &Method::Invite) {
            let stands = response(&asked, 200, mobile(), "m1");
            t.receive(mobile(), with_sdp(stands, &text_sdp(mobile())));
        }
        for at in [alice(), mobile()] {
            while let Some(probe) = t.waiting(at, &Method::Options) {
                t.reply(&probe, 200, at);
            }
        }
    }
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Rejected { status: 408, .. })),
        1
    );
    let notice = t.waiting(alice(), &Method::Message);
    assert!(notice.is_some(), "no notice");
}
