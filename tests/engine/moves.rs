//! A phone moves, or takes no offer, while an offer to it is open.

use refork::engine::events::Signal;
use refork::engine::ids::Side;
use refork::engine::ports::MediaEvent;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

fn branch(message: &Message) -> String {
    message.branch().unwrap().to_owned()
}

#[test]
fn an_offer_that_is_open_goes_to_where_its_phone_has_moved() {
    for answers_there in [true, false] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        let hold = sdp(alice(), 2, "sendonly");
        t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
        let first = t.request_to(desk(), Method::Invite);
        let again = phone("203.0.113.9:6000");
        t.register_again("bob", again, "desk", 2);
        let moved = t.request_to(again, Method::Invite);
        assert_eq!(moved.cseq(), first.cseq());
        assert_ne!(branch(&moved), branch(&first));
        assert!(moved.uri().contains("203.0.113.9"));
        // Meanwhile the device is asked whether it is there.
        let probe = t.request_to(again, Method::Options);
        t.reply(&probe, 200, again);
        t.discard(desk());
        // The first may have reached it before it moved: its answer counts too.
        let asked = if answers_there { &moved } else { &first };
        let ok = response(asked, 200, again, "b1");
        t.receive(again, with_sdp(ok, &sdp(again, 2, "recvonly")));
        let ack = t.request_to(again, Method::Ack);
        assert_eq!(ack.cseq(), first.cseq());
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), a.ack(ok.cseq()));
        t.discard(desk());
        t.discard(again);
        // Long enough for the time-out of whichever was not answered.
        for _ in 0..60 {
            t.pass(Millis::from_secs(1));
            for at in [alice(), again] {
                while let Some(probe) = t.waiting(at, &Method::Options) {
                    t.reply(&probe, 200, at);
                }
            }
        }
        assert!(t.losses().is_empty());
    }
}

#[test]
fn a_phone_that_moved_and_has_forgotten_its_call_is_lost_by_the_offer_that_follows_it() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    t.request_to(desk(), Method::Invite);
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Callee,
    });
    t.discard(desk());
    let again = phone("203.0.113.9:6000");
    t.register_again("bob", again, "desk", 2);
    let moved = t.request_to(again, Method::Invite);
    t.reply(&moved, 481, again);
    assert_eq!(t.losses(), [Signal::RequestFailed]);
}

#[test]
fn an_offer_that_a_talking_phone_ignores_is_no_loss() {
    for (method, dies) in [
        (Method::Invite, false),
        (Method::Update, false),
        (Method::Invite, true),
    ] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        let side = Side::Callee;
        let hold = sdp(alice(), 2, "sendonly");
        t.receive(alice(), with_sdp(a.request(method.clone()), &hold));
        t.request_to(desk(), method.clone());
        t.pass(Millis::from_secs(20));
        if dies {
            t.media_event(|media| MediaEvent::Silent { media, side });
        }
        for _ in 0..40 {
            t.pass(Millis::from_secs(1));
            while let Some(probe) = t.waiting(desk(), &Method::Options) {
                if !dies {
                    t.reply(&probe, 200, desk());
                }
            }
        }
        assert_eq!(!t.losses().is_empty(), dies, "{method:?}");
        if method == Method::Invite && !dies {
            // No code that would end her call (RFC 3261 12.2.1.2).
            t.response_to(alice(), 500);
        }
        if !dies {
            // The next one is asked, and may be agreed to.
            t.discard(desk());
            t.receive(alice(), a.ack(2));
            let hold = sdp(alice(), 3, "sendonly");
            t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
            t.request_to(desk(), Method::Invite);
        }
    }
}

#[test]
fn a_survivor_that_is_heard_and_ignores_the_offer_of_a_new_leg_is_not_lost() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &g722(mobile()));
    t.request_to(alice(), Method::Invite);
    for _ in 0..45 {
        t.pass(Millis::from_secs(1));
        while let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
    }
    // Who answered with what she does not take has to go; she stays.
    assert_eq!(t.losses(), [Signal::Operator]);
    assert!(t.waiting(mobile(), &Method::Bye).is_some());
}

#[test]
fn a_text_that_went_to_where_its_phone_is_goes_out_no_more_as_its_first_try_fails() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), a.message("hello"));
    t.request_to(desk(), Method::Message);
    let again = phone("203.0.113.9:6000");
    t.register_again("bob", again, "desk", 2);
    let asked = t.request_to(again, Method::Update);
    let agreed = response(&asked, 200, again, "b1");
    t.receive(again, with_sdp(agreed, &sdp(again, 1, "sendrecv")));
    let text = t.request_to(again, Method::Message);
    // Nobody is there any more.
    t.icmp(desk());
    t.reply(&text, 200, again);
    t.response_to(alice(), 200);
    t.pass(Millis::from_secs(5));
    assert!(t.waiting(again, &Method::Message).is_none());
    assert!(t.losses().is_empty());
}

/// A phone of Bob's without an instance registers from behind a NAT, by the Contact that every site has.
fn behind_a_nat(t: &mut Table, at: std::net::SocketAddr, call_id: &str, cseq: u32) {
    let register = refork::sip::Builder::request(&Method::Register, "sip:example.org")
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP 192.168.1.10:5060;branch=z9hG4bK{call_id}{cseq};rport"),
        )
        .header(Name::MaxForwards, 70)
        .header(
            Name::From,
            format_args!("<sip:bob@example.org>;tag=r{call_id}"),
        )
        .header(Name::To, "<sip:bob@example.org>")
        .header(Name::CallId, call_id)
        .header(Name::CSeq, format_args!("{cseq} REGISTER"))
        .header(Name::Contact, "<sip:bob@192.168.1.10:5060>")
        .header(Name::UserAgent, "Make/1")
        .header(Name::Expires, 3600)
        .end();
    t.receive(at, register);
    t.response_to(at, 200);
}

/// Alice talks to Bob's phone behind a NAT.
fn talking_behind_a_nat(t: &mut Table) -> Remote {
    behind_a_nat(t, desk(), "one", 1);
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), a.ack(1));
    a
}

#[test]
fn two_phones_of_one_make_at_two_sites_both_ring() {
    let mut t = Table::new(settings());
    behind_a_nat(&mut t, desk(), "one", 1);
    behind_a_nat(&mut t, mobile(), "two", 1);
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let other = t.request_to(mobile(), Method::Invite);
    t.reply(&other, 180, mobile());
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    t.request_to(mobile(), Method::Cancel);
}

#[test]
fn the_call_of_a_phone_stays_where_it_is_when_one_at_another_site_registers() {
    for held in [false, true] {
        let mut t = Table::new(settings());
        let mut a = talking_behind_a_nat(&mut t);
        if held {
            let hold = sdp(alice(), 2, "sendonly");
            t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
            let hold = t.request_to(desk(), Method::Invite);
            let ok = response(&hold, 200, desk(), "b1");
            t.receive(desk(), with_sdp(ok, &sdp(desk(), 2, "recvonly")));
            t.request_to(desk(), Method::Ack);
            let ok = t.response_to(alice(), 200);
            t.receive(alice(), a.ack(ok.cseq()));
        }
        behind_a_nat(&mut t, mobile(), "two", 1);
        t.nothing_to(mobile());
        // Where nothing is heard of the first it may have been this one.
        let mut probes = 0;
        while let Some(probe) = t.any_to(desk()) {
            probes += 1;
            let ok = response(&probe, 200, desk(), "b1");
            let answer = sdp(desk(), 2, "recvonly");
            let offers = !probe.body().is_empty();
            let bytes = if offers {
                with_sdp(ok, &answer)
            } else {
                ok.end()
            };
            t.receive(desk(), bytes);
        }
        assert_eq!(probes > 0, held);
        behind_a_nat(&mut t, mobile(), "two", 2);
        t.nothing_to(mobile());
        t.nothing_to(desk());
        t.receive(alice(), a.message("still there?"));
        t.request_to(desk(), Method::Message);
        assert!(t.losses().is_empty());
    }
}

#[test]
fn one_that_begins_anew_at_another_port_has_its_call_only_where_it_is_not_heard() {
    for silent in [false, true] {
        let mut t = Table::new(settings());
        talking_behind_a_nat(&mut t);
        if silent {
            t.media_event(|media| MediaEvent::Silent {
                media,
                side: Side::Callee,
            });
            let probe = t.request_to(desk(), Method::Options);
            t.reply(&probe, 200, desk());
        }
        let port = phone("198.51.100.2:6001");
        behind_a_nat(&mut t, port, "anew", 1);
        assert_eq!(t.any_to(port).is_some(), silent);
        assert!(t.losses().is_empty());
    }
}

#[test]
fn one_that_goes_on_registering_from_another_address_takes_its_call_along() {
    let mut t = Table::new(settings());
    let mut a = talking_behind_a_nat(&mut t);
    let again = phone("203.0.113.9:6000");
    behind_a_nat(&mut t, again, "one", 2);
    // Not the device alone: its dialog.
    let asked = t.request_to(again, Method::Update);
    let ok = response(&asked, 200, again, "b1");
    t.receive(again, with_sdp(ok, &audio(again)));
    t.receive(alice(), a.message("there?"));
    let there = t.request_to(again, Method::Message);
    t.reply(&there, 200, again);
    t.response_to(alice(), 200);
    t.nothing_to(desk());
    assert!(t.losses().is_empty());
}

#[test]
fn who_has_taken_the_call_goes_on_from_where_it_moves_while_the_survivor_is_asked() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    let invite = t.request_to(mobile(), Method::Invite);
    let ok = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &g722(mobile())));
    t.request_to(mobile(), Method::Ack);
    let join = t.request_to(alice(), Method::Invite);
    let again = phone("203.0.113.9:6000");
    t.register_again("bob", again, "mobile", 2);
    t.nothing_to(mobile());
    t.nothing_to(again);
    let ok = response(&join, 200, alice(), "x1");
    t.receive(alice(), with_sdp(ok, &g722(alice())));
    t.request_to(alice(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    let mut m = Remote::of_invite(&invite, again, "m1");
    t.receive(again, m.message("here"));
    let here = t.request_to(alice(), Method::Message);
    t.reply(&here, 200, alice());
    t.response_to(again, 200);
}
