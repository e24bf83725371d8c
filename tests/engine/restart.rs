//! kill -9: what was durable goes on.

use refork::engine::events::{Happening, Signal};
use refork::engine::ids::Side;
use refork::engine::ports::MediaCommand;
use refork::engine::settings::Kind;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;
use crate::unjoined::only_the_mobile;

#[test]
fn a_standing_call_goes_on_and_no_phone_notices() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.restart();
    t.nothing_to(alice());
    t.nothing_to(desk());
    t.receive(alice(), a.message("still there?"));
    let carried = t.request_to(desk(), Method::Message);
    t.reply(&carried, 200, desk());
    t.response_to(alice(), 200);
    t.receive(desk(), b.message("yes"));
    let carried = t.request_to(alice(), Method::Message);
    t.reply(&carried, 200, alice());
    t.response_to(desk(), 200);
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.ends_empty();
}

#[test]
fn the_sequence_jumps_beyond_what_may_have_been_sent() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), a.message("1"));
    let before = t.request_to(desk(), Method::Message);
    t.reply(&before, 200, desk());
    t.response_to(alice(), 200);
    t.restart();
    t.receive(alice(), a.message("2"));
    let after = t.request_to(desk(), Method::Message);
    assert!(after.cseq() > before.cseq() + 100);
}

#[test]
fn a_restoration_goes_on_with_the_same_invite() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    let before = t.request_to(mobile(), Method::Invite);
    t.restart();
    let after = t.request_to(mobile(), Method::Invite);
    assert_eq!(
        before.bytes(),
        after.bytes(),
        "a retransmission to the phone"
    );
    t.receive(
        mobile(),
        with_sdp(
            response(&after, 200, mobile(), "m1"),
            &sdp(mobile(), 1, "sendrecv"),
        ),
    );
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn accepted_messages_outlive_the_process_and_come_once() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    for text in ["1", "2"] {
        t.receive(alice(), a.message(text));
        t.response_to(alice(), 202);
    }
    t.discard(desk());
    t.restart();
    // The sender never saw its 202 and sends the last one again.
    t.receive(
        alice(),
        a.numbered(Method::Message, a.cseq).body("text/plain", b"2"),
    );
    t.response_to(alice(), 202);
    let again = loop {
        let message = t.next_to(desk());
        if *message.method() == Method::Invite {
            break message;
        }
    };
    t.receive(
        desk(),
        with_sdp(response(&again, 200, desk(), "b2"), &text_sdp(desk())),
    );
    for expected in ["1", "2"] {
        let carried = loop {
            let message = t.next_to(desk());
            if *message.method() == Method::Message {
                break message;
            }
        };
        assert_eq!(text(&carried), expected);
        t.reply(&carried, 200, desk());
    }
    assert_eq!(t.engine.gauges().queued_messages, 0);
}

#[test]
fn a_call_that_rings_is_no_conversation_yet() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    t.restart();
    assert_eq!(t.engine.gauges().inviting, 0);
    // Whoever answers now is not left in a call with nobody. Without an ACK it answers again until it
    // has the BYE.
    for _ in 0..2 {
        t.receive(
            desk(),
            with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv")),
        );
        let bye = t.request_to(desk(), Method::Bye);
        assert_eq!(bye.header(Name::CSeq), Some("101 BYE"));
        assert_eq!(
            bye.header(Name::Reason),
            None,
            "nobody completed it elsewhere"
        );
    }
    t.nothing_to(desk());
}

#[test]
fn an_invite_that_waits_for_the_other_side_is_answered_after_it() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold);
    let before = t.request_to(desk(), Method::Invite);
    // With that it is not sent again by itself (RFC 3261 17.1.1.2).
    t.pass(Millis(300));
    t.discard(desk());
    t.restart();
    let again = t.request_to(desk(), Method::Invite);
    assert!(again.cseq() > before.cseq());
    assert!(text(&again).contains("a=sendonly"));
    let answer = sdp(desk(), 2, "recvonly");
    t.receive(
        desk(),
        with_sdp(response(&again, 200, desk(), "b1"), &answer),
    );
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"));
    t.receive(alice(), a.ack(ok.cseq()));
    t.discard(desk());
    // It has its answer, and is not taken once more.
    t.restart();
    t.nothing_to(desk());
    t.nothing_to(alice());
}

#[test]
fn an_invite_that_was_refused_is_not_taken_once_more_after_it() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold);
    let across = t.request_to(desk(), Method::Invite);
    t.reply(&across, 488, desk());
    t.response_to(alice(), 488);
    t.discard(desk());
    t.restart();
    t.nothing_to(desk());
    t.nothing_to(alice());
}

#[test]
fn a_restart_does_not_repeat_the_notice() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let _seen = t.request_to(alice(), Method::Message);
    t.restart();
    assert!(
        t.waiting(alice(), &Method::Message).is_none(),
        "Alice is told twice"
    );
}

#[test]
fn a_2xx_to_an_invite_of_before_is_acknowledged_and_ends_no_call() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let reinvite = t.request_to(desk(), Method::Invite);
    t.restart();
    let again = t.request_to(desk(), Method::Invite);
    let answer = |invite: &Message| {
        let invite = response(invite, 200, desk(), "b1");
        with_sdp(invite, &sdp(desk(), 2, "recvonly"))
    };
    for _ in 0..2 {
        t.receive(desk(), answer(&reinvite));
        assert_eq!(t.request_to(desk(), Method::Ack).cseq(), reinvite.cseq());
        t.nothing_to(desk());
    }
    t.receive(desk(), answer(&again));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.hangs_up(&mut b);
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.ends_empty();
}

/// Returns the sides whose ports the relay was asked for again since then.
fn taken_again(t: &Table, since: usize) -> Vec<(Side, u32)> {
    t.media[since..]
        .iter()
        .filter_map(|command| match command {
            MediaCommand::Open {
                side,
                generation,
                again,
                ..
            } if !again.is_empty() => Some((*side, *generation)),
            _ => None,
        })
        .collect()
}

#[test]
fn media_ports_are_taken_again_where_one_restart_follows_another() {
    let mut t = Table::new(settings());
    t.established();
    // The second death comes before the relay has answered.
    t.relay_waits = true;
    t.restart();
    let before = t.media.len();
    t.restart();
    assert_eq!(
        taken_again(&t, before),
        [(Side::Caller, 0), (Side::Callee, 0)]
    );
    // So do those of a phone that is lost and may come back.
    t.bob_is_lost();
    let before = t.media.len();
    t.restart();
    assert_eq!(
        taken_again(&t, before),
        [(Side::Caller, 0), (Side::Callee, 0)]
    );
}

#[test]
fn the_last_word_is_said_again_before_the_bye() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    t.pass(settings().restore.timeout.of(Kind::Call));
    let word = t.request_to(alice(), Method::Message);
    t.restart();
    t.pass(Millis(400));
    let again = t.request_to(alice(), Method::Message);
    assert_eq!(text(&again), text(&word));
    t.nothing_to(alice());
    t.reply(&again, 200, alice());
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.discard(desk());
    t.ends_empty();
}

#[test]
fn a_new_leg_is_durable_as_soon_as_it_is_joined() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.bob_is_lost();
    // The same endpoint: nothing is said to Alice, so nothing else is written down.
    let mut b = t.takes_over(desk(), "b2", &sdp(desk(), 1, "sendrecv"));
    t.discard(desk());
    t.restart();
    assert!(
        t.waiting(desk(), &Method::Invite).is_none(),
        "what has been restored is restored again"
    );
    t.receive(alice(), a.message("still there?"));
    let carried = t.request_to(desk(), Method::Message);
    assert_eq!(carried.to_tag(), Some("b2"));
    t.reply(&carried, 200, desk());
    t.response_to(alice(), 200);
    t.receive(desk(), b.message("yes"));
    let carried = t.request_to(alice(), Method::Message);
    t.reply(&carried, 200, alice());
    t.response_to(desk(), 200);
    t.nothing_to(alice());
}

#[test]
fn a_word_that_waited_for_the_queue_is_said_after_a_restart() {
    let mut t = two();
    let about_alice = t.both_have_moved();
    t.restart();
    t.reply(&about_alice, 200, mobile());
    for _ in 0..40 {
        t.pass(Millis(1000));
        while let Some(m) = t.waiting(mobile(), &Method::Message) {
            t.reply(&m, 200, mobile());
        }
        while let Some(m) = t.waiting(mobile(), &Method::Options) {
            t.reply(&m, 200, mobile());
        }
        while let Some(m) = t.waiting(third(), &Method::Options) {
            t.reply(&m, 200, third());
        }
    }
    let about_bob = t.request_to(third(), Method::Message);
    assert_eq!(text(&about_bob), "bob is continuing on Phone-mobile.");
}

#[test]
fn who_answered_a_re_fork_as_the_second_is_not_asked_again_after_a_restart() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let second = t.request_to(desk(), Method::Invite);
    t.reply(&second, 180, desk());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &g722(mobile()));
    // Alice has to agree to that, and has not said a word when the desk phone answers too.
    t.request_to(alice(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(response(&second, 200, desk(), "d2"), &audio(desk())),
    );
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.restart();
    t.pass(Millis::from_secs(1));
    assert!(t.waiting(desk(), &Method::Invite).is_none());
}

/// The process dies as Alice's phone is asked, and she has said nothing when the new phone hangs up: the next one that
/// speaks so finds that she has agreed to nothing.
#[test]
fn what_a_survivor_was_asked_for_before_a_restart_is_not_taken_for_what_it_has_agreed_to() {
    let (mut t, _) = only_the_mobile();
    let mut m = t.takes_over(mobile(), "m1", &g722(mobile()));
    t.request_to(alice(), Method::Invite);
    t.restart();
    t.pass(Millis(100));
    let asked = t.request_to(alice(), Method::Invite);
    t.reply(&asked, 100, alice());
    t.hangs_up(&mut m);
    let cancel = t.request_to(alice(), Method::Cancel);
    t.reply(&cancel, 200, alice());
    t.reply(&asked, 487, alice());
    t.request_to(alice(), Method::Ack);
    // She may have agreed before.
    let stands = t.request_to(alice(), Method::Invite);
    let ok = response(&stands, 200, alice(), "x");
    t.receive(alice(), with_sdp(ok, &audio(alice())));
    t.discard(alice());
    t.register("bob", third(), "third");
    t.takes_over(third(), "t1", &g722(third()));
    t.pass(Millis(4_100));
    let asked = t.waiting(alice(), &Method::Invite).expect("asked");
    assert!(text(&asked).contains("RTP/AVP 9\r\n"), "{}", text(&asked));
}

/// Bob's desk phone has the call, and Alice has not heard that for a moment. Returns her dialog, and the 2xx.
fn answered_unheard(t: &mut Table) -> (Remote, Message) {
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    t.takes_over(desk(), "b1", &sdp(desk(), 1, "sendrecv"));
    let ok = t.response_to(alice(), 200);
    t.pass(Millis(200));
    t.discard(alice());
    (Remote::of_answer(&ok, alice()), ok)
}

#[test]
fn an_answer_without_its_ack_is_sent_on() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let (a, ok) = answered_unheard(&mut t);
    t.restart();
    for _ in 0..2 {
        let again = t.response_to(alice(), 200);
        assert_eq!(again.bytes(), ok.bytes());
        t.pass(Millis(600));
    }
    t.discard(alice());
    t.receive(alice(), a.ack(1));
    t.pass(Millis(8000));
    t.nothing_to(alice());
    // It is known to have been heard.
    t.restart();
    t.pass(Millis(8000));
    t.nothing_to(alice());
    t.nothing_to(desk());
}

#[test]
fn an_answer_that_ended_with_its_connection_is_said_over_the_next_one() {
    for acknowledged in [false, true] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let seen = |port| phone(&format!("198.51.100.1:{port}"));
        let register = t.register_request("alice", alice(), "alice", 1, 3600);
        t.receive_over(tcp(seen(49_152), 7), register);
        t.response_to(seen(49_152), 200);
        let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
        let invite = with_sdp(invite, &sdp(alice(), 1, "sendrecv"));
        t.receive_over(tcp(seen(49_152), 7), invite);
        t.takes_over(desk(), "b1", &sdp(desk(), 1, "sendrecv"));
        let ok = t.response_to(seen(49_152), 200);
        let a = Remote::of_answer(&ok, alice());
        if acknowledged {
            t.receive_over(tcp(seen(49_152), 7), a.ack(1));
            t.pass(Millis::from_secs(1));
            t.discard(seen(49_152));
        }
        t.restart();
        t.pass(Millis(500));
        t.nothing_to(seen(49_152));
        let register = t.register_request("alice", alice(), "alice", 2, 3600);
        t.receive_over(tcp(seen(49_153), 8), register);
        let mut answers = std::iter::from_fn(|| t.any_to(seen(49_153)));
        let again = answers.find(|it| !it.is_request() && *it.method() == Method::Invite);
        // Whoever has it already says its ACK once more.
        assert_eq!(again.expect("its answer").bytes(), ok.bytes());
        t.receive_over(tcp(seen(49_153), 8), a.ack(1));
        t.discard(seen(49_153));
        t.pass(Millis(3000));
        while let Some(more) = t.any_to(seen(49_153)) {
            assert!(more.is_request(), "{}", text(&more));
        }
        assert!(t.losses().is_empty());
    }
}

#[test]
fn a_caller_that_never_acknowledges_is_lost_after_a_restart_too() {
    let mut t = Table::new(settings());
    t.register("alice", alice(), "alice");
    t.register("bob", desk(), "desk");
    answered_unheard(&mut t);
    t.restart();
    t.pass(Millis(33_000));
    let lost = |what: &Happening| {
        matches!(
            what,
            Happening::Lost {
                signal: Signal::NoAck,
                ..
            }
        )
    };
    assert_eq!(t.happened(lost), 1);
}

#[test]
fn an_answer_that_no_invite_waits_for_is_not_sent_on() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    answered_unheard(&mut t);
    t.now = t.now + Millis(40_000);
    t.restart();
    t.nothing_to(alice());
}

/// Alice's phone has agreed to a phone that hangs up, or may have before a restart: what it says to that once more tells
/// nothing of the first time. It is told what stands, else it does not hear the next phone, which speaks as the first did.
#[test]
fn a_survivor_that_may_have_agreed_to_who_has_gone_is_told_what_stands() {
    let mut untold: Vec<(bool, u16)> = Vec::new();
    for (restart, word) in [
        (true, 491),
        (true, 500),
        (true, 488),
        (true, 487),
        (false, 200),
    ] {
        let (mut t, _) = only_the_mobile();
        let mut m = t.takes_over(mobile(), "m1", &g722(mobile()));
        let mut asked = t.request_to(alice(), Method::Invite);
        if restart {
            t.restart();
            t.pass(Millis(100));
            asked = t.request_to(alice(), Method::Invite);
        }
        assert!(text(&asked).contains("RTP/AVP 9\r\n"));
        if matches!(word, 200 | 487) {
            t.reply(&asked, 100, alice());
            t.hangs_up(&mut m);
            let cancel = t.request_to(alice(), Method::Cancel);
            t.reply(&cancel, 200, alice());
        }
        match word {
            200 => {
                let ok = response(&asked, 200, alice(), "x");
                t.receive(alice(), with_sdp(ok, &g722(alice())));
            }
            500 => {
                let later = response(&asked, 500, alice(), "x").header(Name::RetryAfter, 1);
                t.receive(alice(), later.end());
            }
            _ => t.reply(&asked, word, alice()),
        }
        t.request_to(alice(), Method::Ack);
        if matches!(word, 491 | 500) {
            t.hangs_up(&mut m);
        }
        let mut told = None;
        for second in 0..12 {
            if second == 5 {
                t.register("bob", third(), "third");
                t.takes_over(third(), "t1", &audio(third()));
            }
            t.pass(Millis(1000));
            while let Some(offer) = t.waiting(alice(), &Method::Invite) {
                let ok = response(&offer, 200, alice(), "x");
                t.receive(alice(), with_sdp(ok, &audio(alice())));
                told = Some(offer);
            }
            t.discard(alice());
        }
        if !told.is_some_and(|offer| text(&offer).contains("RTP/AVP 0")) {
            untold.push((restart, word));
        }
    }
    assert_eq!(untold, []);
}
