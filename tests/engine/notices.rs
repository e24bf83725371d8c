//! Notices that a phone does not take now: said once more, and in nobody's way.

use refork::engine::events::{Happening, NoticeOutcome};
use refork::engine::ids::Transport;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::admission::instead;
use crate::people::*;
use crate::proofs::{NONCE, TRUNK, asks, with_account};
use crate::table::*;

/// Alice's phone, whose Allow lacks MESSAGE, talks to Bob's desk phone.
fn without_message(t: &mut Table) -> Remote {
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1")
        .header(Name::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.register("bob", mobile(), "mobile");
    a
}

fn put_off(t: &mut Table, notice: &Message, status: u16) {
    let later = response(notice, status, alice(), "x1").header(Name::RetryAfter, 5);
    t.receive(alice(), later.end());
}

#[test]
fn a_notice_outside_of_the_dialog_is_said_twice_at_most_and_texts_pass_it() {
    for status in [480, 486, 500, 600] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let mut a = without_message(&mut t);
        t.bob_is_lost();
        t.pass(Millis(2_100));
        let mut b = t.takes_over(mobile(), "m1", &audio(mobile()));
        let notice = t.request_to(alice(), Method::Message);
        assert!(notice.to_tag().is_none());
        put_off(&mut t, &notice, status);
        // What Bob writes does not wait for it.
        t.receive(mobile(), b.message("hello"));
        let hello = t.request_to(alice(), Method::Message);
        assert_eq!(text(&hello), "hello");
        t.reply(&hello, 200, alice());
        t.response_to(mobile(), 200);
        // Nor is it forgotten where Alice's text arrives.
        t.receive(alice(), a.message("hi"));
        let hi = t.request_to(mobile(), Method::Message);
        t.reply(&hi, 200, mobile());
        t.response_to(alice(), 200);
        t.pass(Millis(5_100));
        let again = t.request_to(alice(), Method::Message);
        assert_eq!(text(&again), text(&notice));
        assert!(again.to_tag().is_none());
        put_off(&mut t, &again, status);
        t.pass(Millis::from_secs(20));
        assert!(t.waiting(alice(), &Method::Message).is_none(), "{status}");
        assert_eq!(t.engine.gauges().queued_messages, 0);
        let told = |what: &Happening| matches!(what, Happening::Notice { .. });
        assert_eq!(t.happened(told), 1);
    }
}

/// Alice's phone refuses the notice for want of something that it would take. Returns what it hears next.
fn refuses(t: &mut Table, notice: &Message, accept: &str) -> Option<Message> {
    let refusal = response(notice, 415, alice(), "x1").header(Name::Accept, accept);
    t.receive(alice(), refusal.end());
    t.waiting(alice(), &Method::Message)
}

fn outcomes(t: &Table) -> Vec<NoticeOutcome> {
    let outcome = |what: &&Happening| match what {
        Happening::Notice { outcome, .. } => Some(*outcome),
        _ => None,
    };
    t.history().iter().filter_map(outcome).collect()
}

#[test]
fn a_notice_that_is_refused_for_want_of_an_envelope_is_said_once_more_in_one() {
    for in_dialog in [true, false] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        if in_dialog {
            t.established();
            t.register("bob", mobile(), "mobile");
        } else {
            without_message(&mut t);
        }
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &audio(mobile()));
        let notice = t.request_to(alice(), Method::Message);
        assert_eq!(notice.content_type(), Some("text/plain;charset=UTF-8"));
        let again = refuses(&mut t, &notice, "image/png, message/cpim");
        let again = again.expect("the same in an envelope");
        assert_eq!(again.content_type(), Some("message/cpim"));
        assert_eq!(again.to_tag().is_some(), in_dialog);
        assert!(text(&again).ends_with(&text(&notice)), "{}", text(&again));
        assert!(outcomes(&t).is_empty());
        t.reply(&again, 200, alice());
        let delivered = match in_dialog {
            true => NoticeOutcome::Delivered,
            false => NoticeOutcome::DeliveredOutOfDialog,
        };
        assert_eq!(outcomes(&t), [delivered]);
        t.nothing_to(alice());
    }
}

#[test]
fn who_takes_no_envelope_either_has_refused_the_notice() {
    for (accept, times) in [("application/sdp", 1), ("message/cpim", 2)] {
        let mut t = two();
        t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &audio(mobile()));
        let mut notice = t.waiting(alice(), &Method::Message);
        let mut said = 0;
        while let Some(one) = notice {
            said += 1;
            notice = refuses(&mut t, &one, accept);
        }
        assert_eq!(said, times, "{accept}");
        assert_eq!(outcomes(&t), [NoticeOutcome::Refused], "{accept}");
    }
}

#[test]
fn what_waits_for_its_reader_is_not_said_of_who_is_gone_again() {
    let mut t = two();
    t.register("alice", third(), "laptop");
    t.established();
    t.alice_is_lost();
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.bob_is_lost();
    t.discard(mobile());
    t.takes_over(third(), "a2", &audio(third()));
    assert!(t.waiting(third(), &Method::Message).is_none());
    // Bob goes on at his mobile again.
    t.discard(mobile());
    t.registers_anew("bob", mobile(), "mobile", "again");
    t.takes_over(mobile(), "m2", &audio(mobile()));
    let of_alice = t.waiting(mobile(), &Method::Message).unwrap();
    t.reply(&of_alice, 200, mobile());
    let notice = t.request_to(third(), Method::Message);
    assert!(text(&notice).contains("Phone-mobile"));
    t.reply(&notice, 200, third());
    assert!(t.waiting(third(), &Method::Message).is_none());
}

/// The change is news still where the phone that it names has gone and come back meanwhile.
#[test]
fn a_notice_that_is_put_off_is_said_where_its_phone_was_lost_and_is_back() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let notice = t.request_to(alice(), Method::Message);
    let later = response(&notice, 503, alice(), "a1").header(Name::RetryAfter, 10);
    t.receive(alice(), later.end());
    t.bob_is_lost();
    t.discard(mobile());
    t.discard(desk());
    t.pass(Millis(100));
    let again = t.waiting(mobile(), &Method::Invite);
    let again = again.unwrap_or_else(|| {
        t.pass(Millis(1_000));
        t.waiting(mobile(), &Method::Invite).expect("asked again")
    });
    let took = response(&again, 200, mobile(), "m2");
    t.receive(mobile(), with_sdp(took, &audio(mobile())));
    t.pass(Millis::from_secs(11));
    let said = t.waiting(alice(), &Method::Message).expect("the notice");
    assert_eq!(text(&said), text(&notice));
}

#[test]
fn the_contact_of_a_stranger_brings_nobody_a_notice_nor_our_account() {
    let mut t = Table::new(with_account(&[]));
    t.register("bob", mobile(), "mobile");
    let stranger = phone("198.51.100.77:5060");
    let invite = request(Method::Invite, "mallory", "bob", stranger, "call1")
        .header(Name::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS");
    let invite = with_sdp(invite, &audio(stranger));
    let invite = instead(
        &invite,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    );
    let own = format!("<sip:mallory@{stranger}>");
    let named = format!("<sip:4900666@{}>", TRUNK());
    t.receive(stranger, instead(&invite, &own, &named));
    let invite = t.request_to(mobile(), Method::Invite);
    t.receive(mobile(), with_sdp(answer_to(&invite), &audio(mobile())));
    t.request_to(mobile(), Method::Ack);
    let ok = t.response_to(stranger, 200);
    t.receive(stranger, Remote::of_answer(&ok, stranger).ack(1));
    t.register("bob", third(), "laptop");
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let mut b = t.takes_over(third(), "m1", &audio(third()));
    t.nothing_to(TRUNK());
    let notice = t.request_to(stranger, Method::Message);
    assert!(notice.to_tag().is_none());
    t.reply(&notice, 200, stranger);
    // What is of its dialog goes where it wants that, and is proven by nobody.
    t.hangs_up(&mut b);
    let bye = t.request_to(TRUNK(), Method::Bye);
    asks(&mut t, &bye, 407, &[(Name::ProxyAuthenticate, NONCE)]);
    t.nothing_to(TRUNK());
}

/// Who is trusted is where its Contact says, as with what is of its dialog; who is not is where it is heard.
#[test]
fn the_notice_outside_of_the_dialog_finds_a_trusted_peer_where_its_contact_says() {
    let (gateway, beside) = (phone("203.0.113.7:5060"), phone("203.0.113.8:5080"));
    for (trusted, host, there) in [
        (true, "203.0.113.8:5080", true),
        (true, "gw.example.net:5080", true),
        (false, "203.0.113.8:5080", false),
        (false, "gw.example.net:5080", false),
    ] {
        let mut wishes = settings();
        if trusted {
            wishes.acl.trusted = vec!["203.0.113.7".parse().unwrap()];
        }
        let mut t = Table::new(wishes);
        let named = vec![(Transport::Udp, beside)];
        t.names.insert("gw.example.net".into(), named);
        t.register("bob", desk(), "desk");
        let invite = request(Method::Invite, "4930", "bob", gateway, "call1")
            .header(Name::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS");
        let invite = with_sdp(invite, &audio(gateway));
        let invite = instead(
            &invite,
            "sip:4930@example.org",
            "sip:4930@elsewhere.example",
        );
        let own = format!("<sip:4930@{gateway}>");
        let named = format!("<sip:4930@{host}>");
        t.receive(gateway, instead(&invite, &own, &named));
        let invite = t.request_to(desk(), Method::Invite);
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(gateway, 200);
        t.receive(gateway, Remote::of_answer(&ok, gateway).ack(1));
        t.register("bob", mobile(), "mobile");
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(mobile(), "m1", &audio(mobile()));
        let at = if there { beside } else { gateway };
        let notice = t.request_to(at, Method::Message);
        assert!(notice.to_tag().is_none());
        t.reply(&notice, 200, at);
        assert_eq!(outcomes(&t), [NoticeOutcome::DeliveredOutOfDialog]);
    }
}
