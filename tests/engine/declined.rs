//! Who is found and does not go on: a person that declines, and a machine that takes the call.

use refork::engine::events::{Ending, Happening, NoticeOutcome};
use refork::engine::ids::Side;
use refork::engine::settings::Decline;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Bob's desk phone is lost; it and his mobile ring.
fn both_ring() -> (Table, Message, Message) {
    ringing(two())
}

fn ringing(mut t: Table) -> (Table, Message, Message) {
    t.established();
    t.bob_is_lost();
    let there = t.request_to(desk(), Method::Invite);
    t.reply(&there, 180, desk());
    t.pass(Millis(2_100));
    let mobiles = t.request_to(mobile(), Method::Invite);
    t.reply(&mobiles, 180, mobile());
    (t, there, mobiles)
}

fn ended(t: &Table) -> Vec<Ending> {
    let ending = |what: &&Happening| match what {
        Happening::Ended { how, .. } => Some(*how),
        _ => None,
    };
    t.history().iter().filter_map(ending).collect()
}

/// A 2xx with a Contact that has these parameters.
fn taken(invite: &Message, at: std::net::SocketAddr, params: &str) -> bytes::Bytes {
    let answer = with_sdp(response(invite, 200, at, "v1"), &audio(at));
    let plain = format!("<sip:phone@{at}>");
    let text = String::from_utf8(answer.to_vec()).unwrap();
    text.replacen(&plain, &format!("{plain}{params}"), 1).into()
}

#[test]
fn a_person_that_declines_does_so_for_all_of_its_phones() {
    for status in [600, 603, 604, 607] {
        let (mut t, _, mobiles) = both_ring();
        t.reply(&mobiles, status, mobile());
        t.request_to(mobile(), Method::Ack);
        t.request_to(desk(), Method::Cancel);
        let word = t.request_to(alice(), Method::Message);
        assert_eq!(text(&word), "bob is gone; 0 not delivered.");
        t.reply(&word, 200, alice());
        let bye = t.request_to(alice(), Method::Bye);
        let reason = bye.header(Name::Reason).unwrap();
        assert!(reason.starts_with("SIP;cause=603;"), "{reason}");
        assert_eq!(ended(&t), [Ending::Declined(Side::Callee)], "{status}");
        t.pass(Millis::from_secs(30));
        assert!(t.waiting(mobile(), &Method::Invite).is_none());
        t.discard(desk());
        t.reply(&bye, 200, alice());
        t.ends_empty();
    }
}

#[test]
fn a_phone_declines_for_itself_where_that_is_wished() {
    let mut wishes = settings();
    wishes.restore.decline = Decline::Endpoint;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut t, there, mobiles) = ringing(t);
    t.reply(&mobiles, 603, mobile());
    t.request_to(mobile(), Method::Ack);
    assert!(t.waiting(desk(), &Method::Cancel).is_none());
    t.pass(Millis::from_secs(10));
    t.nothing_to(alice());
    assert!(
        t.waiting(mobile(), &Method::Invite).is_none(),
        "it has refused"
    );
    let answer = response(&there, 200, desk(), "x1");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let restored = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
    assert_eq!(t.happened(restored), 1);
}

#[test]
fn a_dialog_that_is_over_at_the_phone_is_no_word_of_the_person() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let replacing = t.request_to(desk(), Method::Invite);
    assert!(replacing.header(Name::Replaces).is_some());
    // RFC 3891 3: it has ended the dialog that is to be replaced.
    t.reply(&replacing, 603, desk());
    t.request_to(desk(), Method::Ack);
    let plain = t.request_to(desk(), Method::Invite);
    assert!(plain.header(Name::Replaces).is_none());
    assert!(ended(&t).is_empty());
    t.nothing_to(alice());
    // Now it is Bob who says so.
    t.reply(&plain, 180, desk());
    t.reply(&plain, 603, desk());
    let word = t.request_to(alice(), Method::Message);
    t.reply(&word, 200, alice());
    assert_eq!(ended(&t), [Ending::Declined(Side::Callee)]);
}

#[test]
fn a_session_that_one_phone_does_not_take_is_no_word_for_the_others() {
    let (mut t, there, mobiles) = both_ring();
    t.reply(&mobiles, 606, mobile());
    t.request_to(mobile(), Method::Ack);
    assert!(t.waiting(desk(), &Method::Cancel).is_none());
    assert!(ended(&t).is_empty());
    let answer = response(&there, 200, desk(), "x1");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.request_to(desk(), Method::Ack);
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        1
    );
}

#[test]
fn a_machine_does_not_win_while_a_person_may_answer() {
    for params in [";automata", ";actor=\"msg-taker\""] {
        let (mut t, there, mobiles) = both_ring();
        t.receive(mobile(), taken(&mobiles, mobile(), params));
        t.request_to(mobile(), Method::Ack);
        t.request_to(mobile(), Method::Bye);
        assert!(t.waiting(desk(), &Method::Cancel).is_none());
        t.nothing_to(alice());
        // It is not asked again, and Bob answers at last.
        t.pass(Millis::from_secs(10));
        assert!(t.waiting(mobile(), &Method::Invite).is_none());
        let answer = response(&there, 200, desk(), "x1");
        t.receive(desk(), with_sdp(answer, &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let restored = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
        assert_eq!(t.happened(restored), 1);
        t.nothing_to(alice());
    }
}

#[test]
fn a_machine_is_better_than_nobody_and_as_good_as_any_where_that_is_wished() {
    for (avoid, others) in [(true, false), (false, true)] {
        let mut settings = settings();
        settings.restore.avoid_voicemail = avoid;
        let mut t = Table::new(settings);
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        t.established();
        t.bob_is_lost();
        let there = t.request_to(desk(), Method::Invite);
        t.reply(&there, if others { 180 } else { 403 }, desk());
        t.pass(Millis(2_100));
        let mobiles = t.request_to(mobile(), Method::Invite);
        t.discard(mobile());
        t.receive(mobile(), taken(&mobiles, mobile(), ";automata"));
        t.request_to(mobile(), Method::Ack);
        let restored = |what: &Happening| matches!(what, Happening::Restored { .. });
        assert_eq!(t.happened(restored), 1);
        assert!(t.waiting(mobile(), &Method::Bye).is_none());
    }
}

/// Bob's desk phone is lost, and fails as soon as it is asked (None: by ICMP); his mobile is a machine, and is left.
fn machine_left_for_a_phone_that_fails(status: Option<u16>) -> Table {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let there = t.request_to(desk(), Method::Invite);
    match status {
        Some(status) => t.reply(&there, status, desk()),
        None => t.icmp(desk()),
    }
    t.pass(Millis(2_100));
    let mobiles = t.request_to(mobile(), Method::Invite);
    assert!(mobiles.header(Name::RejectContact).is_some());
    t.discard(mobile());
    t.receive(mobile(), taken(&mobiles, mobile(), ";automata"));
    t.request_to(mobile(), Method::Ack);
    let bye = t.request_to(mobile(), Method::Bye);
    t.reply(&bye, 200, mobile());
    t
}

const FAST: [Option<u16>; 5] = [None, Some(408), Some(480), Some(486), Some(503)];

#[test]
fn a_machine_does_not_win_over_a_phone_that_is_away_for_the_moment() {
    for status in FAST {
        let mut t = machine_left_for_a_phone_that_fails(status);
        t.discard(desk());
        t.pass(Millis::from_secs(20));
        t.nothing_to(mobile());
        t.discard(desk());
        // The phone is back.
        t.register_again("bob", desk(), "desk", 2);
        let again = loop {
            match t.waiting(desk(), &Method::Invite) {
                Some(again) => break again,
                None => t.pass(Millis(1000)),
            }
        };
        t.receive(
            desk(),
            with_sdp(response(&again, 200, desk(), "x1"), &audio(desk())),
        );
        assert!(t.waiting(desk(), &Method::Ack).is_some());
        let restored = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
        assert_eq!(t.happened(restored), 1, "{status:?}");
        t.nothing_to(alice());
    }
}

#[test]
fn a_machine_is_the_last_resort_where_nobody_comes_back() {
    for status in FAST {
        let mut t = machine_left_for_a_phone_that_fails(status);
        t.pass(Millis::from_secs(42));
        t.nothing_to(mobile());
        t.pass(Millis::from_secs(4));
        let mobiles = t.request_to(mobile(), Method::Invite);
        assert!(mobiles.header(Name::RejectContact).is_none(), "it may now");
        t.discard(mobile());
        t.receive(mobile(), taken(&mobiles, mobile(), ";automata"));
        t.request_to(mobile(), Method::Ack);
        let restored = |what: &Happening| matches!(what, Happening::Restored { .. });
        assert_eq!(t.happened(restored), 1, "{status:?}");
        assert!(t.waiting(mobile(), &Method::Bye).is_none());
    }
}

#[test]
fn a_machine_is_asked_again_at_once_where_the_person_has_refused() {
    let (mut t, there, mobiles) = both_ring();
    t.receive(mobile(), taken(&mobiles, mobile(), ";automata"));
    t.request_to(mobile(), Method::Ack);
    t.request_to(mobile(), Method::Bye);
    t.reply(&there, 486, desk());
    let mobiles = t.request_to(mobile(), Method::Invite);
    t.receive(mobile(), taken(&mobiles, mobile(), ";automata"));
    t.request_to(mobile(), Method::Ack);
    let restored = |what: &Happening| matches!(what, Happening::Restored { same: false, .. });
    assert_eq!(t.happened(restored), 1);
}

#[test]
fn a_phone_that_forwards_its_calls_has_not_refused() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let there = t.request_to(desk(), Method::Invite);
    t.reply(&there, 302, desk());
    t.request_to(desk(), Method::Ack);
    // It is asked again, as one that is away.
    t.pass(Millis::from_secs(1));
    let again = t.request_to(desk(), Method::Invite);
    assert_ne!(again.call_id(), there.call_id());
}

/// Alice talks to a machine, which has answered with these parameters, and is lost.
fn machine_lost(params: &str) -> (Table, Message) {
    let mut t = two();
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), taken(&invite, desk(), params));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    let others = t.waiting(mobile(), &Method::Invite).unwrap();
    t.reply(&others, 487, mobile());
    t.discard(mobile());
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    assert!(again.header(Name::RejectContact).is_none());
    (t, again)
}

#[test]
fn a_machine_that_was_lost_is_restored() {
    // It need not have said before that it is one.
    for before in [";automata", ""] {
        let (mut t, again) = machine_lost(before);
        t.receive(desk(), taken(&again, desk(), ";automata"));
        t.request_to(desk(), Method::Ack);
        let restored = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
        assert_eq!(t.happened(restored), 1);
        assert!(t.waiting(desk(), &Method::Invite).is_none());
    }
    // Another of its kind does as well.
    let (mut t, _) = machine_lost(";automata");
    t.pass(Millis(2_100));
    let other = t.request_to(mobile(), Method::Invite);
    assert!(other.header(Name::RejectContact).is_none());
    t.receive(mobile(), taken(&other, mobile(), ";automata"));
    t.request_to(mobile(), Method::Ack);
    let restored = |what: &Happening| matches!(what, Happening::Restored { same: false, .. });
    assert_eq!(t.happened(restored), 1);
}

#[test]
fn the_history_says_whose_endpoint_rang_and_refused() {
    let (mut t, _, mobiles) = both_ring();
    t.reply(&mobiles, 486, mobile());
    let happened = t.history().into_iter().filter_map(|what| match what {
        Happening::Ringing { side, endpoint, .. } => Some(("rang", *side, &**endpoint)),
        Happening::Refused { side, endpoint, .. } => Some(("refused", *side, &**endpoint)),
        Happening::Answered { side, endpoint } => Some(("answered", *side, &**endpoint)),
        _ => None,
    });
    let (desk, mobile) = ("Bob's desk phone", "Phone-mobile");
    assert_eq!(
        happened.collect::<Vec<_>>(),
        [
            ("answered", Side::Callee, desk),
            ("rang", Side::Callee, desk),
            ("rang", Side::Callee, mobile),
            ("refused", Side::Callee, mobile),
        ]
    );
    let mut t = Table::new(settings());
    t.register("alice", alice(), "alice");
    t.established();
    t.alice_is_lost();
    let again = t.request_to(alice(), Method::Invite);
    t.reply(&again, 180, alice());
    t.reply(&again, 486, alice());
    let of_the_caller = |what: &Happening| {
        matches!(
            what,
            Happening::Ringing {
                side: Side::Caller,
                ..
            } | Happening::Refused {
                side: Side::Caller,
                status: 486,
                ..
            }
        )
    };
    assert_eq!(t.happened(of_the_caller), 2);
}

#[test]
fn a_notice_that_was_put_off_does_not_hold_up_the_last_word() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let notice = t.request_to(alice(), Method::Message);
    let later = response(&notice, 480, alice(), "x1").header(Name::RetryAfter, 60);
    t.receive(alice(), later.end());
    t.bob_is_lost();
    let again = t.request_to(mobile(), Method::Invite);
    t.reply(&again, 603, mobile());
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(text(&word), "bob is gone; 0 not delivered.");
    t.reply(&word, 200, alice());
    t.request_to(alice(), Method::Bye);
}

fn last_words(t: &Table) -> Vec<NoticeOutcome> {
    let word = |what: &&Happening| match what {
        Happening::LastWord {
            side: Side::Caller,
            outcome,
            ..
        } => Some(*outcome),
        _ => None,
    };
    t.history().iter().filter_map(word).collect()
}

/// Nobody comes back. Returns the last word.
fn given_up() -> (Table, Message) {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    t.pass(Millis::from_secs(60));
    let word = t.request_to(alice(), Method::Message);
    (t, word)
}

#[test]
fn what_became_of_the_last_word_is_told() {
    for (status, outcome) in [
        (200, NoticeOutcome::Delivered),
        (415, NoticeOutcome::Refused),
    ] {
        let (mut t, word) = given_up();
        t.reply(&word, status, alice());
        t.request_to(alice(), Method::Bye);
        assert_eq!(last_words(&t), [outcome]);
    }
    let (mut t, _) = given_up();
    t.pass(Millis(2_100));
    assert!(t.waiting(alice(), &Method::Bye).is_some());
    assert_eq!(last_words(&t), [NoticeOutcome::Unanswered]);
    let last = t.history().into_iter().last().cloned();
    assert!(matches!(last, Some(Happening::Ended { .. })), "{last:?}");
}

#[test]
fn a_last_word_that_is_put_off_for_a_moment_is_said_once_more() {
    let (mut t, word) = given_up();
    let later = response(&word, 480, alice(), "x1").header(Name::RetryAfter, 5);
    t.receive(alice(), later.end());
    t.pass(Millis(4_900));
    t.nothing_to(alice());
    t.pass(Millis(200));
    let again = t.request_to(alice(), Method::Message);
    assert_eq!(text(&again), text(&word));
    t.reply(&again, 480, alice());
    t.request_to(alice(), Method::Bye);
    assert_eq!(last_words(&t), [NoticeOutcome::Refused]);
    // For a minute nobody waits.
    let (mut t, word) = given_up();
    let later = response(&word, 480, alice(), "x1").header(Name::RetryAfter, 60);
    t.receive(alice(), later.end());
    t.request_to(alice(), Method::Bye);
    assert_eq!(last_words(&t), [NoticeOutcome::Refused]);
}

#[test]
fn a_last_word_that_was_put_off_is_no_unanswered_one_when_the_survivor_hangs_up() {
    for (answers, outcome) in [
        (true, NoticeOutcome::Refused),
        (false, NoticeOutcome::Unanswered),
    ] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        t.bob_is_lost();
        t.pass(Millis::from_secs(60));
        let word = t.request_to(alice(), Method::Message);
        if answers {
            let later = response(&word, 480, alice(), "x1").header(Name::RetryAfter, 5);
            t.receive(alice(), later.end());
        }
        t.hangs_up(&mut a);
        assert_eq!(last_words(&t), [outcome]);
        let nameless = |what: &Happening| matches!(what, Happening::LastWord { endpoint, .. } if endpoint.is_empty());
        assert_eq!(t.happened(nameless), 0, "whose phone it was is told");
    }
}
