//! Requests outside of dialogs that nobody answers: how many texts of one sender there may be, and how much all
//! of them may hold.

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::events::{Event, Glut};
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::admission::{again, gateway, guarded, instead};
use crate::edge::{granted, in_front, pbx, register};
use crate::people::*;
use crate::table::*;

fn few() -> Settings {
    Settings {
        limits: LimitSettings {
            texts_per_user: 2,
            texts_per_ip: 3,
            ..guarded().limits
        },
        ..guarded()
    }
}

fn stranger(last: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 100, last], 5060))
}

/// Bob's desk phone is on, and answers no text.
fn silent(settings: Settings) -> Table {
    let mut t = Table::new(settings);
    t.signs_on("bob", desk(), "desk");
    t
}

fn text_of(from: &str, at: SocketAddr, call_id: &str, size: usize) -> Bytes {
    let body = "x".repeat(size);
    request(Method::Message, from, "bob", at, call_id).body("text/plain", body.as_bytes())
}

/// Of somebody whose domain is none of ours.
fn unknown(at: SocketAddr, call_id: &str, size: usize) -> Bytes {
    let ours = text_of("mallory", at, call_id, size);
    instead(
        &ours,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    )
}

impl Table {
    fn texts_bob(&mut self, at: SocketAddr, text: Bytes) -> Message {
        self.receive(at, text);
        self.request_to(desk(), Method::Message)
    }

    fn is_too_much(&mut self, at: SocketAddr, text: Bytes, status: u16) {
        self.receive(at, text);
        let refused = self.response_to(at, status);
        assert_eq!(refused.header(Name::RetryAfter), Some("10"));
        self.nothing_to(desk());
    }

    fn gluts(&self) -> Vec<(Glut, bool)> {
        let glut = |event: &Event| match event {
            Event::Glut { glut, tell, .. } => Some((*glut, *tell)),
            _ => None,
        };
        self.events.iter().filter_map(glut).collect()
    }

    fn held(&self) -> usize {
        self.engine.gauges().under_way
    }
}

#[test]
fn an_unknown_address_has_so_many_texts_that_nobody_answers() {
    let mut t = silent(few());
    let texts: Vec<Message> = (0..3)
        .map(|n| t.texts_bob(stranger(1), unknown(stranger(1), &format!("text{n}"), 9)))
        .collect();
    // From another port, too.
    let other_port = SocketAddr::new(stranger(1).ip(), 6060);
    for n in 3..5 {
        let one_more = unknown(other_port, &format!("text{n}"), 9);
        t.is_too_much(other_port, one_more, 480);
    }
    // The operator hears of a flood once in a while.
    assert_eq!(t.gluts(), [(Glut::Address, true), (Glut::Address, false)]);
    t.texts_bob(stranger(2), unknown(stranger(2), "other", 9));
    t.reply(&texts[0], 200, desk());
    t.response_to(stranger(1), 200);
    t.texts_bob(stranger(1), unknown(stranger(1), "text5", 9));
    t.is_too_much(stranger(1), unknown(stranger(1), "text6", 9), 480);
    // Nobody answers any of the others.
    t.pass(Millis::from_secs(33));
    t.discard(desk());
    t.discard(stranger(1));
    assert_eq!(t.held(), 0);
    assert!(t.site.ringing.is_empty());
    t.texts_bob(stranger(1), unknown(stranger(1), "text7", 9));
}

#[test]
fn an_address_that_datagrams_name_has_fewer_texts_and_is_counted_apart() {
    let mut settings = few();
    settings.limits.texts_per_unproven_ip = 1;
    let mut t = silent(settings);
    t.texts_bob(stranger(1), unknown(stranger(1), "text1", 9));
    t.is_too_much(stranger(1), unknown(stranger(1), "text2", 9), 480);
    let at = SocketAddr::new(stranger(1).ip(), 40_000);
    let over = |n: u8| {
        let text = unknown(at, &format!("tcp{n}"), 9);
        instead(&text, "SIP/2.0/UDP", "SIP/2.0/TCP")
    };
    for n in 0..3 {
        t.receive_over(tcp(at, 7), over(n));
        t.request_to(desk(), Method::Message);
    }
    t.receive_over(tcp(at, 7), over(3));
    t.response_to(at, 480);
}

#[test]
fn strangers_send_one_user_no_more_than_so_many_texts() {
    let mut settings = few();
    settings.limits.texts_per_called = 2;
    let mut t = silent(settings);
    t.signs_on("carol", third(), "third");
    for n in 1..=2 {
        t.texts_bob(stranger(n), unknown(stranger(n), &format!("text{n}"), 9));
    }
    t.is_too_much(stranger(3), unknown(stranger(3), "text3", 9), 480);
    assert_eq!(t.gluts(), [(Glut::Called, true)]);
    let other = instead(
        &unknown(stranger(3), "text4", 9),
        "sip:bob@example.org",
        "sip:carol@example.org",
    );
    t.receive(stranger(3), other);
    t.request_to(third(), Method::Message);
    // Whoever is known may write to him, and a call rings all the same.
    for n in 0..4 {
        let text = text_of("carol", gateway(), &format!("trunk{n}"), 9);
        t.texts_bob(gateway(), text);
    }
    let call = crate::admission::invite("mallory", "bob", stranger(4), "call");
    t.receive(
        stranger(4),
        instead(&call, "sip:mallory@example.org", "sip:m@elsewhere.example"),
    );
    t.request_to(desk(), Method::Invite);
}

#[test]
fn a_user_has_its_own_limit_of_texts_wherever_they_come_from() {
    let mut t = silent(few());
    let proven = |t: &mut Table, at: SocketAddr, call_id: &str| {
        let first = text_of("alice", at, call_id, 9);
        let challenged = t.is_asked(at, &first);
        again(&first, &challenged, "alice")
    };
    for (at, call_id) in [(alice(), "text1"), (stranger(5), "text2")] {
        let text = proven(&mut t, at, call_id);
        t.texts_bob(at, text);
    }
    let text = proven(&mut t, stranger(6), "text3");
    t.is_too_much(stranger(6), text, 500);
    assert_eq!(t.gluts(), [(Glut::User, true)]);
    t.texts_bob(stranger(6), unknown(stranger(6), "text4", 9));
}

#[test]
fn strangers_hold_a_quarter_and_leave_the_rest_to_those_who_are_known() {
    let mut settings = guarded();
    settings.limits.under_way = 400_000;
    let mut t = silent(settings);
    // 20,000 as it came, and as it went: 40,000 and a little.
    let first = t.texts_bob(stranger(1), unknown(stranger(1), "text1", 20_000));
    t.texts_bob(stranger(2), unknown(stranger(2), "text2", 20_000));
    t.is_too_much(stranger(3), unknown(stranger(3), "text3", 20_000), 500);
    for n in 0..6 {
        let text = text_of("carol", gateway(), &format!("trunk{n}"), 20_000);
        t.texts_bob(gateway(), text);
    }
    let text = text_of("carol", gateway(), "trunk6", 20_000);
    t.is_too_much(gateway(), text, 500);
    assert_eq!(t.gluts(), [(Glut::Strangers, true), (Glut::All, true)]);
    let full = t.held();
    assert!((350_000..400_000).contains(&full), "{full}");
    t.reply(&first, 200, desk());
    t.response_to(stranger(1), 200);
    assert!(t.held() < full - 40_000);
    t.texts_bob(stranger(3), unknown(stranger(3), "text4", 20_000));
    t.pass(Millis::from_secs(33));
    assert_eq!(t.held(), 0);
}

/// A call to Bob, as large as that.
fn call_of(from: &str, at: SocketAddr, call_id: &str, size: usize) -> Bytes {
    let call = crate::admission::invite(from, "bob", at, call_id);
    let filler = format!("X-Filler: {}\r\n", "x".repeat(988)).repeat(size / 1_000);
    instead(&call, "Contact:", &format!("{filler}Contact:"))
}

fn unknown_call(at: SocketAddr, call_id: &str, size: usize) -> Bytes {
    let ours = call_of("mallory", at, call_id, size);
    instead(
        &ours,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    )
}

#[test]
fn calls_that_ring_are_measured_until_they_do_no_more() {
    let mut settings = guarded();
    settings.limits.under_way = 400_000;
    let mut t = silent(settings);
    let rings = |t: &mut Table, at: SocketAddr, call: Bytes| {
        t.receive(at, call);
        t.request_to(desk(), Method::Invite)
    };
    let first = rings(
        &mut t,
        stranger(1),
        unknown_call(stranger(1), "call1", 20_000),
    );
    let back = unknown_call(stranger(2), "call2", 20_000);
    rings(&mut t, stranger(2), back.clone());
    t.is_too_much(stranger(3), unknown_call(stranger(3), "call3", 20_000), 500);
    let known: Vec<Message> = (0..6)
        .map(|n| {
            let call = call_of("carol", gateway(), &format!("trunk{n}"), 20_000);
            rings(&mut t, gateway(), call)
        })
        .collect();
    t.is_too_much(
        gateway(),
        call_of("carol", gateway(), "trunk6", 20_000),
        500,
    );
    assert_eq!(t.gluts(), [(Glut::Strangers, true), (Glut::All, true)]);
    let full = t.held();
    assert!((350_000..400_000).contains(&full), "{full}");
    // One that is refused, and one that is answered.
    t.reply(&first, 486, desk());
    t.request_to(desk(), Method::Ack);
    t.response_to(stranger(1), 486);
    let ok = with_sdp(answer_to(&known[0]), &audio(desk()));
    t.receive(desk(), ok);
    t.request_to(desk(), Method::Ack);
    let left = t.held();
    assert!(left < full - 80_000, "{left} of {full}");
    // One that is taken back while the phone has said nothing may be sent to it again for a while.
    let cancel = instead(&back, "INVITE sip", "CANCEL sip");
    t.receive(stranger(2), instead(&cancel, "1 INVITE", "1 CANCEL"));
    t.response_to(stranger(2), 200);
    t.response_to(stranger(2), 487);
    assert_eq!(t.held(), left);
    t.pass(Millis::from_secs(33));
    assert!(t.held() < left - 40_000);
    t.pass(Millis::from_secs(70));
    assert_eq!(t.held(), 0);
}

#[test]
fn what_one_phone_answered_is_held_until_the_other_has_had_its_time() {
    let mut t = silent(few());
    t.signs_on("bob", mobile(), "mobile");
    for n in 0..4 {
        let text = unknown(stranger(1), &format!("text{n}"), 9);
        let sent = t.texts_bob(stranger(1), text);
        t.reply(&sent, 200, desk());
        // Answered: it does not count among the texts of the stranger.
        t.response_to(stranger(1), 200);
    }
    assert!(t.held() > 4 * 3 * 2048, "{}", t.held());
    t.pass(Millis::from_secs(30));
    assert!(t.held() > 0);
    t.pass(Millis::from_secs(4));
    assert_eq!(t.held(), 0);
}

#[test]
fn a_silent_pbx_lets_strangers_hold_no_more_than_their_part() {
    let mut settings = in_front(PathMode::Path).engine.settings().clone();
    settings.limits.under_way = 80_000;
    let mut t = Table::new(settings);
    let registers = |t: &mut Table, user: &str, at: SocketAddr, cseq: u32| {
        t.receive(at, register(user, at, cseq, 3600).end());
    };
    registers(&mut t, "bob", desk(), 1);
    let onward = t.request_to(pbx(), Method::Register);
    t.receive(pbx(), granted(&onward, 1800).end());
    t.response_to(desk(), 200);
    assert_eq!(t.held(), 0);
    // Each holds more than 4 KiB.
    registers(&mut t, "mallory", stranger(1), 1);
    t.request_to(pbx(), Method::Register);
    registers(&mut t, "mallory", stranger(2), 1);
    t.request_to(pbx(), Method::Register);
    registers(&mut t, "mallory", stranger(3), 1);
    let refused = t.response_to(stranger(3), 500);
    assert_eq!(refused.header(Name::RetryAfter), Some("10"));
    t.nothing_to(pbx());
    assert_eq!(t.gluts(), [(Glut::Strangers, true)]);
    // A phone that is registered, over its flow.
    for cseq in 2..5 {
        registers(&mut t, "bob", desk(), cseq);
        t.request_to(pbx(), Method::Register);
    }
    t.pass(Millis::from_secs(70));
    assert_eq!(t.held(), 0);
}
