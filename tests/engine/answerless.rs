//! A 2xx without an answer to the offer of its INVITE (RFC 3261 13.2.1): nobody would be heard in that call.

use refork::engine::settings::Srtp;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::reliable::alice_calls;
use crate::table::*;

/// A phone takes the call, and says nothing of the session: it is hung up on.
fn says_nothing(t: &mut Table, at: std::net::SocketAddr, answer: bytes::Bytes) {
    t.receive(at, answer);
    t.request_to(at, Method::Ack);
    let bye = t.request_to(at, Method::Bye);
    t.reply(&bye, 200, at);
}

fn plain(invite: &Message) -> bytes::Bytes {
    answer_to(invite).body("text/plain", b"v=0 would be better")
}

#[test]
fn it_has_not_got_the_call_and_the_others_ring_on() {
    let mut t = two();
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let other = t.request_to(mobile(), Method::Invite);
    says_nothing(&mut t, desk(), answer_to(&invite).end());
    t.nothing_to(alice());
    let answer = response(&other, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(answer, &audio(mobile())));
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("m=audio"));
}

#[test]
fn where_it_is_the_only_one_the_caller_is_refused_and_it_rings_no_second_time() {
    for srtp in [Srtp::Off, Srtp::Optional] {
        for plainly in [false, true] {
            let mut wishes = settings();
            wishes.media.srtp = srtp;
            let mut t = Table::new(wishes);
            t.register("bob", desk(), "desk");
            t.alice_invites(&audio(alice()));
            let invite = t.request_to(desk(), Method::Invite);
            let answer = match plainly {
                true => plain(&invite),
                false => answer_to(&invite).end(),
            };
            says_nothing(&mut t, desk(), answer);
            t.response_to(alice(), 488);
            t.nothing_to(desk());
        }
    }
}

#[test]
fn what_it_said_as_it_rang_is_its_answer() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = response(&invite, 183, desk(), "b1");
    t.receive(desk(), with_sdp(early, &audio(desk())));
    let early = t.response_to(alice(), 183);
    t.receive(desk(), answer_to(&invite).end());
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(text(&ok), text(&early));
    t.nothing_to(desk());
}

#[test]
fn who_was_offered_nothing_owes_no_answer() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, "", "");
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), answer_to(&invite).end());
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.body(), b"");
    t.nothing_to(desk());
}

#[test]
fn it_takes_no_call_again_either() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    let answer = response(&invite, 200, mobile(), "m1").end();
    says_nothing(&mut t, mobile(), answer);
    t.pass(Millis::from_secs(20));
    assert!(t.waiting(mobile(), &Method::Invite).is_none());
    assert!(t.waiting(alice(), &Method::Message).is_none());
}
