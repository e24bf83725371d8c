//! A phone that has registered twice over (RFC 5626 4.3), and one of its two flows is dead.

use std::net::SocketAddr;

use refork::engine::events::{Event, Happening, NoticeOutcome, Signal};
use refork::engine::settings::Settings;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;
use crate::transfer::{carol, carols_mobile};

/// The two flows of Bob's desk phone; calls take the one that it registered last.
const FLOWS: [fn() -> SocketAddr; 2] = [mobile, desk];

fn registers(t: &mut Table, user: &str, at: SocketAddr, reg_id: usize, cseq: u32) {
    let register = t.register_request(user, at, "desk", cseq, 3600);
    let register = String::from_utf8_lossy(&register)
        .replace("Call-ID: reg-", &format!("Call-ID: {reg_id}-reg-"))
        .replace(";+sip", &format!(";reg-id={reg_id};+sip"));
    t.receive(at, register.into());
    t.response_to(at, 200);
}

/// Alice and Bob's desk phone have what these two offer, over the second of its flows.
fn table() -> Table {
    table_with(settings())
}

fn table_with(wishes: Settings) -> Table {
    let mut t = Table::new(wishes);
    for (at, reg_id) in FLOWS.into_iter().zip(1..) {
        registers(&mut t, "bob", at(), reg_id, 1);
        t.pass(Millis(1_000));
    }
    t
}

/// ICMP says so of all that was sent over the dead flow.
fn nobody_takes_it(t: &mut Table, at: SocketAddr) -> usize {
    let sent = t.discard(at);
    if sent > 0 {
        t.icmp(at);
    }
    sent
}

fn lost(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Lost { .. }))
}

#[test]
fn a_text_goes_over_the_flow_that_lives_and_so_does_all_that_follows() {
    for call in [true, false] {
        let mut t = table();
        let (mut a, mut b) = match call {
            true => t.established(),
            false => t.texting(),
        };
        t.receive(alice(), a.message("hi"));
        t.request_to(desk(), Method::Message);
        t.icmp(desk());
        // It is asked over both, and the dialog where it has answered.
        nobody_takes_it(&mut t, desk());
        let alive = t.request_to(mobile(), Method::Options);
        t.reply(&alive, 200, mobile());
        let offer = t.request_to(mobile(), Method::Update);
        let answer = if call {
            audio(mobile())
        } else {
            text_sdp(mobile())
        };
        t.receive(
            mobile(),
            with_sdp(response(&offer, 200, mobile(), "b1"), &answer),
        );
        let hi = t.request_to(mobile(), Method::Message);
        assert_eq!(text(&hi), "hi");
        assert!(hi.uri().contains("198.51.100.3"), "{}", hi.uri());
        t.reply(&hi, 200, mobile());
        t.response_to(alice(), 200);
        t.receive(alice(), a.request(Method::Info).end());
        let info = t.request_to(mobile(), Method::Info);
        t.reply(&info, 200, mobile());
        t.response_to(alice(), 200);
        t.nothing_to(desk());
        assert_eq!(lost(&t), 0);
        b.at = mobile();
        t.hangs_up(&mut b);
        let bye = t.request_to(alice(), Method::Bye);
        t.reply(&bye, 200, alice());
        t.ends_empty();
    }
}

#[test]
fn a_phone_that_is_asked_for_another_reason_is_found_over_its_other_flow_too() {
    let mut t = table();
    t.established();
    t.desk_is_silent();
    nobody_takes_it(&mut t, desk());
    lives_over_the_other_flow(&mut t);
    assert_eq!(lost(&t), 0);
}

#[test]
fn a_caller_is_found_over_its_other_flow() {
    let mut t = Table::new(settings());
    registers(&mut t, "alice", third(), 1, 1);
    t.pass(Millis(1_000));
    registers(&mut t, "alice", alice(), 2, 1);
    // What she calls by shows the same instance.
    t.register("bob", desk(), "desk-of-bob");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1").end();
    let with_instance = String::from_utf8_lossy(&invite).replace(
        "Contact: <sip:alice@198.51.100.1:5060>",
        "Contact: <sip:alice@198.51.100.1:5060>;+sip.instance=\"<urn:uuid:desk>\"",
    );
    let with_offer = with_instance.replace(
        "Content-Length: 0\r\n\r\n",
        &format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{}",
            audio(alice()).len(),
            audio(alice())
        ),
    );
    t.receive(alice(), with_offer.into());
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive(desk(), b.message("hi"));
    t.request_to(alice(), Method::Message);
    t.icmp(alice());
    nobody_takes_it(&mut t, alice());
    let alive = t.request_to(third(), Method::Options);
    t.reply(&alive, 200, third());
    let offer = t.request_to(third(), Method::Invite);
    let answer = response(&offer, 200, third(), "a1");
    t.receive(third(), with_sdp(answer, &audio(third())));
    t.request_to(third(), Method::Ack);
    let hi = t.request_to(third(), Method::Message);
    t.reply(&hi, 200, third());
    t.response_to(desk(), 200);
    assert_eq!(lost(&t), 0);
}

#[test]
fn a_text_that_is_not_taken_where_its_phone_answers_goes_out_ever_more_seldom() {
    let mut t = table();
    // It has one flow alone, where OPTIONS arrives and nothing else does.
    t.site.bindings.get_mut(&bob()).unwrap().remove(0);
    let (mut a, _) = t.texting();
    t.receive(alice(), a.message("hi"));
    let mut tries = 0;
    for _ in 0..1_200 {
        while let Some(message) = t.waiting(desk(), &Method::Message) {
            tries += 1;
            assert_eq!(text(&message), "hi");
            t.icmp(desk());
        }
        for at in [alice(), desk()] {
            while let Some(probe) = t.waiting(at, &Method::Options) {
                t.reply(&probe, 200, at);
            }
        }
        t.pass(Millis(50));
    }
    // At once, then after 1, 2, 4, 8, 16 and 32 seconds.
    assert_eq!(tries, 7);
    t.response_to(alice(), 202);
    assert_eq!(lost(&t), 0);
    let asked = t.happened(
        |what| matches!(what, Happening::Suspected { signal, .. } if *signal == Signal::Transport),
    );
    assert_eq!(asked, tries);
}

/// The survivor's phone answers over its other flow, and its dialog is there as well.
fn lives_over_the_other_flow(t: &mut Table) {
    let alive = t.request_to(mobile(), Method::Options);
    t.reply(&alive, 200, mobile());
    let offer = t.request_to(mobile(), Method::Update);
    let answer = response(&offer, 200, mobile(), "b1");
    t.receive(mobile(), with_sdp(answer, &audio(mobile())));
}

/// Alice goes on at another phone, of which Bob's is told.
fn alice_is_elsewhere() -> Table {
    let mut t = table();
    t.register("alice", third(), "laptop");
    t.established();
    t.alice_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(third(), "a2", &audio(third()));
    t
}

#[test]
fn a_survivor_reads_the_notice_over_the_flow_that_lives() {
    let mut t = alice_is_elsewhere();
    let notice = t.request_to(desk(), Method::Message);
    t.icmp(desk());
    nobody_takes_it(&mut t, desk());
    lives_over_the_other_flow(&mut t);
    t.pass(Millis(1_100));
    let again = t.request_to(mobile(), Method::Message);
    assert_eq!(text(&again), text(&notice));
    t.reply(&again, 200, mobile());
    t.nothing_to(desk());
    let told = t.happened(|what| {
        matches!(what, Happening::Notice { outcome, .. } if *outcome == NoticeOutcome::Delivered)
    });
    assert_eq!(told, 1);
}

#[test]
fn the_word_of_undelivered_texts_is_read_over_the_flow_that_lives() {
    let mut t = table();
    let (_, mut b) = t.established();
    t.alice_is_lost();
    let text_of_bob = b.request(Method::Message).header(Name::Expires, 2);
    t.receive(desk(), text_of_bob.body("text/plain", b"hi"));
    t.response_to(desk(), 202);
    t.pass(Millis(2_100));
    t.discard(desk());
    let invite = t.waiting(alice(), &Method::Invite).expect("asked");
    let took = response(&invite, 200, alice(), "a2");
    t.receive(alice(), with_sdp(took, &audio(alice())));
    let word = t.request_to(desk(), Method::Message);
    assert_eq!(text(&word), "1 messages to alice were not delivered.");
    t.icmp(desk());
    nobody_takes_it(&mut t, desk());
    lives_over_the_other_flow(&mut t);
    t.pass(Millis(1_100));
    let again = t.request_to(mobile(), Method::Message);
    assert_eq!(text(&again), text(&word));
}

#[test]
fn a_notice_that_no_flow_takes_is_given_up() {
    let mut t = alice_is_elsewhere();
    let mut said = 0;
    for _ in 0..60 {
        // OPTIONS arrives where it was, and nothing else does.
        while t.waiting(desk(), &Method::Message).is_some() {
            said += 1;
            t.icmp(desk());
        }
        for at in [desk(), third()] {
            while let Some(probe) = t.waiting(at, &Method::Options) {
                t.reply(&probe, 200, at);
            }
        }
        t.discard(mobile());
        t.pass(Millis(500));
    }
    assert_eq!(said, 2);
    assert_eq!(t.engine.gauges().queued_messages, 0);
}

#[test]
fn a_bye_goes_over_the_other_flow_where_the_first_is_dead_or_silent() {
    for refused in [true, false] {
        let mut t = table();
        let (mut a, _) = t.established();
        t.hangs_up(&mut a);
        let first = t.request_to(desk(), Method::Bye);
        if refused {
            t.icmp(desk());
        } else {
            t.pass(Millis::from_secs(5));
        }
        let bye = t.request_to(mobile(), Method::Bye);
        assert_eq!(bye.cseq(), first.cseq());
        // A phone is no target of a name.
        let failed = |event: &Event| matches!(event, Event::TargetFailed { .. });
        assert!(!t.events.iter().any(failed));
        t.discard(desk());
        t.discard(mobile());
        t.reply(&bye, 200, mobile());
        registers(&mut t, "bob", mobile(), 1, 2);
        t.nothing_to(mobile());
        t.discard(desk());
        t.ends_empty();
    }
}

/// Alice is lost once too often, of which Bob's phone is told.
fn alice_is_given_up() -> Table {
    let mut wishes = settings();
    wishes.restore.max_per_conversation = 0;
    let mut t = table_with(wishes);
    t.established();
    t.alice_is_lost();
    t
}

#[test]
fn the_last_word_goes_over_the_flow_that_lives_and_so_does_the_bye() {
    for refused in [true, false] {
        let mut t = alice_is_given_up();
        let word = t.request_to(desk(), Method::Message);
        if refused {
            t.icmp(desk());
        } else {
            t.pass(Millis(1_900));
            assert_eq!(t.discard(mobile()), 0, "too soon");
            t.pass(Millis(200));
            t.discard(desk());
        }
        let again = t.request_to(mobile(), Method::Message);
        assert_eq!((text(&again), again.cseq()), (text(&word), word.cseq()));
        t.pass(Millis(1_500));
        t.discard(desk());
        t.discard(mobile());
        t.reply(&again, 200, mobile());
        let bye = t.waiting(mobile(), &Method::Bye);
        if refused && bye.is_none() {
            t.request_to(desk(), Method::Bye);
            t.icmp(desk());
            t.request_to(mobile(), Method::Bye);
        }
        let told = t.happened(|what| {
            matches!(
                what,
                Happening::LastWord { outcome, .. } if *outcome == NoticeOutcome::Delivered
            )
        });
        assert_eq!(told, 1, "{refused}");
    }
}

/// Who says nothing over any of them has its BYE all the same.
#[test]
fn a_last_word_that_no_flow_takes_is_waited_for_over_each_of_them() {
    let mut t = alice_is_given_up();
    t.pass(Millis(3_900));
    assert!(t.waiting(desk(), &Method::Bye).is_none());
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
    t.pass(Millis(200));
    let byes = [desk(), mobile()].map(|at| t.waiting(at, &Method::Bye).is_some());
    assert!(byes.contains(&true));
}

/// A restart says it once more, and who puts it off has it a little later: each flow has its time as before.
#[test]
fn the_last_word_that_is_said_once_more_goes_over_each_flow_too() {
    for restarts in [true, false] {
        let mut t = alice_is_given_up();
        let word = t.request_to(desk(), Method::Message);
        if restarts {
            t.pass(Millis(1_000));
            t.discard(desk());
            t.restart();
        } else {
            let later = response(&word, 480, desk(), "b1").header(Name::RetryAfter, 1);
            t.receive(desk(), later.end());
            t.pass(Millis(1_000));
        }
        t.pass(Millis(100));
        t.request_to(desk(), Method::Message);
        t.pass(Millis(2_000));
        let again = t.request_to(mobile(), Method::Message);
        assert_eq!(text(&again), text(&word));
        t.pass(Millis(1_500));
        for at in [desk(), mobile()] {
            assert!(t.waiting(at, &Method::Bye).is_none(), "too soon");
        }
        t.reply(&again, 200, mobile());
        let byes = [desk(), mobile()].map(|at| t.waiting(at, &Method::Bye).is_some());
        assert!(byes.contains(&true));
    }
}

#[test]
fn a_phone_that_no_bye_has_reached_has_one_more_when_it_is_back() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.hangs_up(&mut a);
    t.request_to(desk(), Method::Bye);
    t.pass(Millis::from_secs(600));
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.register_again("bob", desk(), "desk", 3);
    t.nothing_to(desk());
    t.ends_empty();
}

/// A phone answers a re-fork with what Alice's phone refuses, and is let go. Returns its BYE.
fn let_go(t: &mut Table) -> Message {
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    let answer = response(&invite, 200, desk(), "b2");
    t.receive(desk(), with_sdp(answer, &g722(desk())));
    t.request_to(desk(), Method::Ack);
    let join = t.request_to(alice(), Method::Invite);
    t.reply(&join, 500, alice());
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.to_tag(), Some("b2"));
    bye
}

/// Takes all that is said to a phone. Returns how many BYEs there are of a dialog.
fn byes(t: &mut Table, at: SocketAddr, tag: &str) -> usize {
    let mut byes = 0;
    while let Some(bye) = t.waiting(at, &Method::Bye) {
        byes += usize::from(bye.to_tag() == Some(tag));
    }
    t.discard(at);
    byes
}

#[test]
fn the_bye_to_a_phone_that_is_let_go_while_the_call_goes_on_goes_over_the_other_flow() {
    let mut t = table();
    let first = let_go(&mut t);
    t.icmp(desk());
    let bye = t
        .waiting(mobile(), &Method::Bye)
        .expect("over the other flow");
    assert_eq!((bye.cseq(), bye.to_tag()), (first.cseq(), Some("b2")));
}

#[test]
fn a_phone_that_is_let_go_while_the_call_goes_on_has_one_more_bye_when_it_is_back() {
    for answered in [false, true] {
        let mut t = Table::new(settings());
        let bye = let_go(&mut t);
        if answered {
            t.reply(&bye, 200, desk());
        }
        t.pass(Millis::from_secs(45));
        t.discard(desk());
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Ended { .. })),
            0
        );
        t.register_again("bob", desk(), "desk", 2);
        assert_eq!(byes(&mut t, desk(), "b2"), usize::from(!answered));
    }
}

/// Whom the call was handed to has flows of her own, which are not those of who had it before.
#[test]
fn who_was_called_in_a_transfer_has_her_bye_over_her_other_flow() {
    for refused in [true, false] {
        let mut t = Table::new(settings());
        for (at, reg_id) in [carols_mobile(), carol()].into_iter().zip(1..) {
            let register = t.register_request("carol", at, "carol", 1, 3600);
            let register = String::from_utf8_lossy(&register)
                .replace("Call-ID: reg-", &format!("Call-ID: {reg_id}-reg-"))
                .replace(";+sip", &format!(";reg-id={reg_id};+sip"));
            t.receive(at, register.into());
            t.response_to(at, 200);
            t.pass(Millis(1_000));
        }
        let (mut a, mut b) = t.established();
        let invite = t.referred(&mut b);
        t.carol_answers(&invite);
        t.word_of_carol();
        t.hangs_up(&mut a);
        let first = t.request_to(carol(), Method::Bye);
        if refused {
            t.icmp(carol());
        } else {
            t.pass(Millis::from_secs(5));
        }
        let bye = t.waiting(carols_mobile(), &Method::Bye);
        let bye = bye.expect("over her other flow");
        assert_eq!((bye.cseq(), bye.to_tag()), (first.cseq(), Some("c1")));
        t.reply(&bye, 200, carols_mobile());
        t.discard(desk());
    }
}
