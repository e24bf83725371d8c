//! What crosses on the wire, comes twice, or is of another fork (RFC 3261 13 to 15, RFC 5407).

use bytes::Bytes;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;

/// The same request from a phone that has moved.
fn moved(request: &Bytes) -> Bytes {
    let text = String::from_utf8(request.to_vec()).unwrap();
    let at = text.split("<sip:phone@").nth(1).unwrap();
    let at = at.split('>').next().unwrap();
    let old = format!("Contact: <sip:phone@{at}>");
    assert!(text.contains(&old), "{text}");
    text.replace(&old, "Contact: <sip:moved@203.0.113.9>")
        .into()
}

/// The next INFO of one side, as the other gets it, answered.
fn info_across(t: &mut Table, from: &mut Remote, to: std::net::SocketAddr) -> Message {
    t.receive(from.at, from.request(Method::Info).end());
    let info = t.request_to(to, Method::Info);
    t.reply(&info, 200, to);
    t.response_to(from.at, 200);
    info
}

#[test]
fn an_update_without_an_offer_is_accepted_whatever_is_open() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    // RFC 3311 5.2: it is no offer, so there is no glare.
    t.receive(desk(), b.request(Method::Update).end());
    t.response_to(desk(), 200);
    t.receive(alice(), a.request(Method::Update).end());
    t.response_to(alice(), 200);
    // The offer is open still.
    t.receive(
        desk(),
        with_sdp(b.request(Method::Update), &sdp(desk(), 2, "sendonly")),
    );
    t.response_to(desk(), 491);
    t.receive(
        alice(),
        with_sdp(a.request(Method::Update), &sdp(alice(), 3, "sendrecv")),
    );
    t.response_to(alice(), 500);
    t.receive(
        desk(),
        with_sdp(
            response(&offer, 200, desk(), "b1"),
            &sdp(desk(), 2, "recvonly"),
        ),
    );
    t.request_to(desk(), Method::Ack);
    assert!(text(&t.response_to(alice(), 200)).contains("a=recvonly"));
}

#[test]
fn a_target_moves_by_what_is_accepted_alone() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    // RFC 6141 4: glare refuses it, and its Contact with it.
    let glare = with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly"));
    t.receive(desk(), moved(&glare));
    t.response_to(desk(), 491);
    t.receive(desk(), b.ack(b.cseq));
    assert!(!info_across(&mut t, &mut a, desk()).uri().contains("moved"));
    // One that the other side refuses moves nothing either.
    t.reply(&offer, 488, desk());
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 488);
    t.receive(alice(), a.ack(2));
    let hold = with_sdp(b.request(Method::Invite), &sdp(desk(), 3, "sendonly"));
    t.receive(desk(), moved(&hold));
    let offer = t.request_to(alice(), Method::Invite);
    assert!(!info_across(&mut t, &mut a, desk()).uri().contains("moved"));
    t.receive(
        alice(),
        with_sdp(
            response(&offer, 200, alice(), "tcall1"),
            &sdp(alice(), 3, "recvonly"),
        ),
    );
    t.request_to(alice(), Method::Ack);
    t.response_to(desk(), 200);
    t.receive(desk(), b.ack(b.cseq));
    let info = info_across(&mut t, &mut a, desk());
    assert_eq!(info.uri(), "sip:moved@203.0.113.9");
}

#[test]
fn a_refer_that_is_accepted_moves_the_target() {
    let mut t = Table::new(refer_passes());
    let (mut a, mut b) = t.established();
    for (status, uri) in [
        (603, format!("sip:phone@{}", alice())),
        (202, "sip:moved@203.0.113.9".to_owned()),
    ] {
        t.receive(alice(), moved(&a.request(Method::Refer).end()));
        let refer = t.request_to(desk(), Method::Refer);
        t.reply(&refer, status, desk());
        t.response_to(alice(), status);
        let seen = info_across(&mut t, &mut b, alice());
        if status == 202 {
            assert_eq!(seen.uri(), uri);
        } else {
            assert!(!seen.uri().contains("moved"), "{}", seen.uri());
        }
    }
}

#[test]
fn a_new_offer_ends_the_wait_for_the_ack_before_it() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let refresh = sdp(alice(), 1, "sendrecv");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &refresh));
    let first = t.response_to(alice(), 200);
    // Its ACK is lost; she could not ask anew without that 2xx.
    t.receive(alice(), with_sdp(a.request(Method::Invite), &refresh));
    let second = t.response_to(alice(), 200);
    assert_ne!(first.cseq(), second.cseq());
    t.receive(alice(), a.ack(second.cseq()));
    t.pass(Millis::from_secs(20));
    t.nothing_to(alice());
}

#[test]
fn a_bye_of_another_fork_does_not_end_the_one_that_rings() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    for tag in ["f1", "f2"] {
        t.receive(desk(), response(&invite, 180, desk(), tag).end());
        t.response_to(alice(), 180);
    }
    let mut gone = Remote::of_invite(&invite, desk(), "f1");
    t.hangs_up(&mut gone);
    t.receive(
        desk(),
        with_sdp(response(&invite, 200, desk(), "f2"), &audio(desk())),
    );
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 200);
}

#[test]
fn a_bye_of_the_phone_that_rings_ends_its_branch() {
    let mut t = two();
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.request_to(mobile(), Method::Invite);
    t.receive(desk(), response(&invite, 180, desk(), "b1").end());
    t.response_to(alice(), 180);
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.receive(desk(), b.request(Method::Options).end());
    t.response_to(desk(), 200);
    // Its numbers count in the early dialog as well.
    t.receive(desk(), b.numbered(Method::Info, b.cseq - 5).end());
    t.response_to(desk(), 500);
    t.hangs_up(&mut b);
    t.request_to(desk(), Method::Cancel);
    t.receive(desk(), b.request(Method::Options).end());
    t.response_to(desk(), 481);
    t.nothing_to(alice());
    t.nothing_to(mobile());
}

#[test]
fn a_second_answer_from_a_fork_while_the_survivor_is_asked_is_ended() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    let answers = |tag: &str| with_sdp(response(&invite, 200, mobile(), tag), &g722(mobile()));
    t.receive(mobile(), answers("m1"));
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Invite);
    // The same again wants its ACK; that of another phone behind the same proxy ACK and BYE.
    t.receive(mobile(), answers("m1"));
    let ack = t.request_to(mobile(), Method::Ack);
    assert_eq!(ack.to_tag(), Some("m1"));
    t.receive(mobile(), answers("m2"));
    for method in [Method::Ack, Method::Bye] {
        assert_eq!(t.request_to(mobile(), method).to_tag(), Some("m2"));
    }
    t.nothing_to(mobile());
}

#[test]
fn a_2xx_again_of_a_phone_that_counts_as_lost_gets_its_ack_and_no_bye() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let ok = with_sdp(answer_to(&invite), &audio(desk()));
    t.receive(desk(), ok.clone());
    t.request_to(desk(), Method::Ack);
    let a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), a.ack(1));
    t.bob_is_lost();
    t.discard(desk());
    t.receive(desk(), ok);
    let ack = t.request_to(desk(), Method::Ack);
    assert_eq!((ack.to_tag(), ack.cseq()), (Some("b1"), invite.cseq()));
    t.nothing_to(desk());
}

#[test]
fn a_bye_before_the_ack_is_a_farewell() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let mut a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    // RFC 5407 3.1.6: it has overtaken the ACK, which comes to nothing.
    t.hangs_up(&mut a);
    t.request_to(desk(), Method::Bye);
    t.receive(alice(), a.ack(1));
    t.nothing_to(alice());
    t.nothing_to(desk());
}
