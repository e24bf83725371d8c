//! Answers that do not fit: streams that are refused, and others than the survivor has.

use refork::engine::ids::Side;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;
use crate::video::{both, ports, told};

/// Takes the call, and none of its streams.
fn mute(at: std::net::SocketAddr) -> String {
    audio(at).replace("m=audio 4000", "m=audio 0")
}

/// Two streams, and the second one is refused.
#[track_caller]
fn sound_alone(message: &Message) {
    let ports = ports(message);
    assert!(
        ports.len() == 2 && ports[0] > 0 && ports[1] == 0,
        "{ports:?}"
    );
}

/// Bob has three phones; he talks at the desk.
fn three() -> Table {
    let mut t = two();
    t.register("bob", third(), "third");
    t
}

/// A phone takes the INVITE of the re-fork and is turned away.
fn is_passed_over(t: &mut Table, at: std::net::SocketAddr, invite: &Message, answer: &str) {
    t.receive(at, with_sdp(response(invite, 200, at, "n1"), answer));
    let ack = t.request_to(at, Method::Ack);
    assert_eq!(ack.call_id(), invite.call_id());
    let bye = t.request_to(at, Method::Bye);
    assert_eq!(bye.call_id(), invite.call_id());
    t.reply(&bye, 200, at);
}

#[test]
fn a_phone_that_takes_no_stream_is_not_joined() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    is_passed_over(&mut t, desk(), &invite, &mute(desk()));
    // Perhaps it wanted SRTP.
    let other_way = t.request_to(desk(), Method::Invite);
    assert!(text(&other_way).contains("RTP/SAVP"));
    is_passed_over(&mut t, desk(), &other_way, &mute(desk()));
    t.nothing_to(alice());
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn a_survivor_that_takes_no_stream_of_the_new_phone_gets_another_phone() {
    let mut t = three();
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 603, desk());
    t.request_to(desk(), Method::Ack);
    let (invite, other) = (
        t.request_to(mobile(), Method::Invite),
        t.request_to(third(), Method::Invite),
    );
    t.reply(&other, 180, third());
    let answer = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(answer, &g722(mobile())));
    t.request_to(mobile(), Method::Ack);
    let asked = t.request_to(alice(), Method::Invite);
    let ok = response(&asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &mute(alice())));
    t.request_to(alice(), Method::Ack);
    let bye = t.request_to(mobile(), Method::Bye);
    t.reply(&bye, 200, mobile());
    // The other one fits what she had, but she has no stream any more: she is asked again.
    let answer = response(&other, 200, third(), "x1");
    t.receive(third(), with_sdp(answer, &audio(third())));
    t.request_to(third(), Method::Ack);
    let asked = t.request_to(alice(), Method::Invite);
    assert!(text(&asked).contains("PCMU"));
    let ok = response(&asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &audio(alice())));
    t.request_to(alice(), Method::Ack);
    for (side, generation) in [(Side::Caller, 0), (Side::Callee, 1)] {
        assert!(told(&t, side, generation)[0].active, "{side:?}");
    }
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn the_survivor_never_has_fewer_streams_than_before() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established_with(&both(alice()), &both(desk()));
    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    // It leaves out what it should refuse.
    let mut m = t.takes_over(mobile(), "m1", &audio(mobile()));
    let join = t.request_to(alice(), Method::Invite);
    sound_alone(&join);
    let refused = "m=video 0 RTP/AVP 96\r\n";
    let answer = audio(alice()) + refused;
    t.receive(
        alice(),
        with_sdp(response(&join, 200, alice(), "tcall1"), &answer),
    );
    t.request_to(alice(), Method::Ack);
    t.request_to(alice(), Method::Message);
    let gone = t.discard(desk());
    assert!(gone > 0);

    // Its own offers have one stream, hers have two: each is told of as many as it knows.
    let hold = sdp(mobile(), 2, "sendonly");
    t.receive(mobile(), with_sdp(m.request(Method::Invite), &hold));
    let held = t.request_to(alice(), Method::Invite);
    sound_alone(&held);
    let answer = sdp(alice(), 2, "recvonly") + refused;
    t.receive(
        alice(),
        with_sdp(response(&held, 200, alice(), "tcall1"), &answer),
    );
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(mobile(), 200);
    assert_eq!(ports(&ok).len(), 1, "{}", text(&ok));
    t.receive(mobile(), m.ack(m.cseq));

    t.receive(alice(), with_sdp(a.request(Method::Invite), &both(alice())));
    let shown = t.request_to(mobile(), Method::Invite);
    assert_eq!(ports(&shown).len(), 2);
    t.receive(
        mobile(),
        with_sdp(response(&shown, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    sound_alone(&ok);
    t.receive(alice(), a.ack(a.cseq));
}

#[test]
fn a_phone_that_comes_back_with_fewer_streams_takes_none_from_the_survivor() {
    let mut t = Table::new(settings());
    let (_, mut b) = t.established_with(&both(alice()), &both(desk()));
    t.bob_is_lost();
    t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendrecv")),
    );
    let asked = t.request_to(alice(), Method::Invite);
    sound_alone(&asked);
    let answer = audio(alice()) + "m=video 0 RTP/AVP 96\r\n";
    t.receive(
        alice(),
        with_sdp(response(&asked, 200, alice(), "tcall1"), &answer),
    );
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(desk(), 200);
    assert_eq!(ports(&ok).len(), 1, "{}", text(&ok));
}
