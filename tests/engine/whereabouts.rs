//! Media that goes past us: whoever takes a place learns where the other side is by then, and by which credentials.

use std::net::SocketAddr;

use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::direct::direct;
use crate::people::*;
use crate::table::*;

/// Audio at another port of a phone.
fn audio_on(at: SocketAddr, port: u16) -> String {
    let audio = audio(at);
    let from = audio.find("m=audio ").expect("a stream") + "m=audio ".len();
    let until = from + audio[from..].find(' ').unwrap();
    format!("{}{port}{}", &audio[..from], &audio[until..])
}

/// DTLS-SRTP by way of ICE, under credentials of this name.
fn browser(at: SocketAddr, ufrag: &str, setup: &str) -> String {
    let ip = at.ip();
    format!(
        "v=0\r\no=- 7 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:0123456789abcdef{ufrag}\r\na=fingerprint:sha-256 AA:{ufrag}\r\n\
         a=setup:{setup}\r\na=rtcp-mux\r\n"
    )
}

/// Bob's desk phone is lost, and the mobile rings with what it was offered.
fn mobile_rings(t: &mut Table) -> Message {
    t.register("bob", mobile(), "mobile");
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.request_to(mobile(), Method::Invite)
}

fn answers(t: &mut Table, at: SocketAddr, invite: &Message, tag: &str, sdp: &str) {
    t.receive(at, with_sdp(response(invite, 200, at, tag), sdp));
}

fn hears_the_notice(t: &mut Table) {
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
}

#[test]
fn a_survivor_that_moves_its_media_while_another_phone_rings_is_heard_there() {
    for method in [Method::Invite, Method::Update] {
        let mut t = direct();
        let (mut a, _) = t.established_with(&audio(alice()), &audio(desk()));
        let invite = mobile_rings(&mut t);
        let offer = a.request(method.clone());
        t.receive(alice(), with_sdp(offer, &audio_on(alice(), 7000)));
        let ok = t.response_to(alice(), 200);
        if method == Method::Invite {
            t.receive(alice(), a.ack(ok.cseq()));
        }
        answers(&mut t, mobile(), &invite, "m1", &audio(mobile()));
        t.request_to(mobile(), Method::Ack);
        let join = t.request_to(alice(), Method::Invite);
        answers(&mut t, alice(), &join, "tcall1", &audio_on(alice(), 7000));
        t.request_to(alice(), Method::Ack);
        let told = t.request_to(mobile(), Method::Invite);
        assert!(text(&told).contains("m=audio 7000 "), "{}", text(&told));
        answers(&mut t, mobile(), &told, "m1", &audio(mobile()));
        t.discard(mobile());
        hears_the_notice(&mut t);
        t.pass(Millis(2_000));
        t.nothing_to(alice());
        t.nothing_to(mobile());
    }
}

#[test]
fn a_survivor_that_agrees_from_another_port_is_heard_there() {
    let mut t = direct();
    t.established_with(&audio(alice()), &audio(desk()));
    let invite = mobile_rings(&mut t);
    answers(&mut t, mobile(), &invite, "m1", &audio(mobile()));
    t.request_to(mobile(), Method::Ack);
    let join = t.request_to(alice(), Method::Invite);
    answers(&mut t, alice(), &join, "tcall1", &audio_on(alice(), 7000));
    let told = t.request_to(mobile(), Method::Invite);
    assert!(text(&told).contains("m=audio 7000 "), "{}", text(&told));
}

/// Bob's mobile has taken the place, and is asked for its offer.
fn mobile_is_asked(t: &mut Table) -> Message {
    t.established_with(
        &browser(alice(), "uA0", "actpass"),
        &browser(desk(), "uD0", "active"),
    );
    let invite = mobile_rings(t);
    let answer = browser(mobile(), "uM0", "active");
    answers(t, mobile(), &invite, "m1", &answer);
    t.request_to(mobile(), Method::Ack);
    // An ICE restart to the survivor, whose answer has new ones (RFC 8839 4.4.1.1).
    let join = t.request_to(alice(), Method::Invite);
    assert!(text(&join).contains("a=ice-ufrag:uM0"));
    let agreed = browser(alice(), "uA1", "passive");
    answers(t, alice(), &join, "tcall1", &agreed);
    t.request_to(alice(), Method::Ack);
    hears_the_notice(t);
    t.request_to(mobile(), Method::Invite)
}

#[test]
fn new_credentials_of_ice_cross_by_an_offer_that_is_asked_for() {
    let mut t = direct();
    let asked = mobile_is_asked(&mut t);
    assert_eq!(text(&asked), "", "nothing is offered");
    answers(
        &mut t,
        mobile(),
        &asked,
        "m1",
        &browser(mobile(), "uM0", "actpass"),
    );
    let answer = text(&t.request_to(mobile(), Method::Ack));
    assert!(answer.contains("a=ice-ufrag:uA1"), "{answer}");
    assert!(answer.contains("a=setup:passive"), "{answer}");
    // It has offered what Alice knows.
    t.pass(Millis(5_000));
    t.nothing_to(alice());
    t.nothing_to(mobile());
}

#[test]
fn an_offer_that_nobody_waits_for_any_more_is_answered_by_what_stands() {
    for restarts in [true, false] {
        let mut t = direct();
        let asked = mobile_is_asked(&mut t);
        match restarts {
            true => t.restart(),
            false => t.bob_is_lost(),
        }
        t.discard(mobile());
        let offer = browser(mobile(), "uM0", "actpass");
        answers(&mut t, mobile(), &asked, "m1", &offer);
        let ack = t.waiting(mobile(), &Method::Ack).expect("an ACK");
        assert!(text(&ack).contains("a=ice-ufrag:uA0"), "{}", text(&ack));
        if !restarts {
            continue;
        }
        t.pass(Millis(2_100));
        let again = t.request_to(mobile(), Method::Invite);
        assert_eq!(text(&again), "");
        answers(&mut t, mobile(), &again, "m1", &offer);
        let answer = text(&t.request_to(mobile(), Method::Ack));
        assert!(answer.contains("a=ice-ufrag:uA1"), "{answer}");
    }
}

#[test]
fn two_that_offer_new_credentials_each_time_are_left_as_they_are_in_the_end() {
    let mut t = direct();
    let mut waiting = Some(mobile_is_asked(&mut t));
    let mut asked = 0;
    for round in 2..20 {
        let (at, tag) = match round % 2 {
            0 => (mobile(), "m1"),
            _ => (alice(), "tcall1"),
        };
        let Some(invite) = waiting.take().or_else(|| t.waiting(at, &Method::Invite)) else {
            break;
        };
        let ufrag = format!("u{round}");
        answers(&mut t, at, &invite, tag, &browser(at, &ufrag, "actpass"));
        let answer = text(&t.request_to(at, Method::Ack));
        assert!(
            !answer.contains("actpass") && answer.contains("a=setup:"),
            "{answer}"
        );
        asked += 1;
    }
    assert_eq!(asked, 4);
    t.pass(Millis(10_000));
    t.nothing_to(alice());
    t.nothing_to(mobile());
}

#[test]
fn an_old_hold_of_the_survivors_stays_where_a_new_phone_heeds_none() {
    // What the phone that is lost has answered to it.
    for answer in ["recvonly", "sendrecv"] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let held = audio(alice()).replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0");
        assert!(held.contains("0.0.0.0"));
        let (mut a, _) = t.established();
        let offer = a.request(Method::Invite);
        t.receive(alice(), with_sdp(offer, &held));
        let told = t.request_to(desk(), Method::Invite);
        answers(&mut t, desk(), &told, "b1", &sdp(desk(), 2, answer));
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), a.ack(ok.cseq()));
        t.discard(desk());
        let invite = mobile_rings(&mut t);
        // It says sendrecv whatever it was asked.
        answers(&mut t, mobile(), &invite, "m1", &audio(mobile()));
        t.request_to(mobile(), Method::Ack);
        hears_the_notice(&mut t);
        t.pass(Millis(5_000));
        t.nothing_to(alice());
    }
}
