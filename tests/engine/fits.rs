//! Answers that do not fit: streams that are refused, and others than the survivor has.

use refork::engine::ids::Side;
use refork::engine::ports::MediaEvent;
use refork::engine::time::Millis;
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
    t.reply(&invite, 403, desk());
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

/// A description with these formats alone.
fn of(at: std::net::SocketAddr, formats: &str, lines: &str) -> String {
    audio(at).replace("RTP/AVP 0 8 101", &format!("RTP/AVP {formats}")) + lines
}

/// Returns the formats of the first stream.
fn formats(message: &Message) -> String {
    let text = text(message);
    let line = text.lines().find(|line| line.starts_with("m=")).unwrap();
    line.split(' ').skip(3).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_phone_that_takes_not_all_that_the_survivor_sends_costs_one_reinvite() {
    let mut t = two();
    t.established_with(&of(alice(), "0 8", ""), &of(desk(), "0 8", ""));
    t.bob_is_lost();
    t.takes_over(desk(), "m1", &of(desk(), "8", ""));
    let asked = t.request_to(alice(), Method::Invite);
    assert_eq!(formats(&asked), "8");
    let ok = response(&asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &of(alice(), "8", "")));
    t.request_to(alice(), Method::Ack);
    t.nothing_to(alice());
}

#[test]
fn what_the_survivor_does_not_speak_nobody_need_hear() {
    // It was offered both, and has taken one: it sends that.
    for (answer, asked) in [("8", false), ("8 0", false), ("0", true)] {
        let mut t = two();
        t.established_with(&of(alice(), "0 8", ""), &of(desk(), "8", ""));
        t.bob_is_lost();
        t.takes_over(desk(), "m1", &of(desk(), answer, ""));
        let invite = t.waiting(alice(), &Method::Invite);
        assert_eq!(invite.is_some(), asked, "{answer}");
    }
}

#[test]
fn packets_of_another_make_are_another_format() {
    let amr = |at, number: u8, align: u8| {
        let lines = format!(
            "a=rtpmap:{number} AMR/8000\r\na=fmtp:{number} mode-set=7; octet-align={align}\r\n"
        );
        of(at, &number.to_string(), &lines)
    };
    for (align, asked) in [(1, false), (0, true)] {
        let mut t = two();
        t.established_with(&amr(alice(), 96, 1), &amr(desk(), 96, 1));
        t.bob_is_lost();
        t.takes_over(desk(), "m1", &amr(desk(), 97, align));
        let invite = t.waiting(alice(), &Method::Invite);
        assert_eq!(invite.is_some(), asked, "{align}");
    }
}

#[test]
fn a_survivor_that_offers_less_meanwhile_is_answered_with_no_more_and_is_heard_later() {
    let mut t = two();
    let (mut a, _) = t.established_with(&of(alice(), "0 8", ""), &of(desk(), "0 8", ""));
    t.bob_is_lost();
    let less = of(alice(), "8", "");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &less));
    let ok = t.response_to(alice(), 200);
    assert_eq!(formats(&ok), "8");
    t.receive(alice(), a.ack(a.cseq));
    // Nothing of hers: no session.
    t.receive(alice(), with_sdp(a.request(Method::Invite), &g722(alice())));
    t.response_to(alice(), 488);
    t.receive(alice(), a.ack(a.cseq));
    // The phone that takes the other one of what it was offered is of no use to her.
    t.takes_over(desk(), "m1", &of(desk(), "0", ""));
    let asked = t.request_to(alice(), Method::Invite);
    assert_eq!(formats(&asked), "0");
}

#[test]
fn a_new_phone_hears_of_what_the_survivor_did_not_take() {
    let mut t = two();
    let wide = "9 8";
    t.established_with(&of(alice(), "0 8 9", ""), &of(desk(), "0", ""));
    t.bob_is_lost();
    t.takes_over(desk(), "m1", &of(desk(), wide, ""));
    let asked = t.request_to(alice(), Method::Invite);
    assert_eq!(formats(&asked), wide);
    let ok = response(&asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &of(alice(), "8", "")));
    t.request_to(alice(), Method::Ack);
    t.request_to(desk(), Method::Bye);
    let told = t.request_to(desk(), Method::Invite);
    assert_eq!(formats(&told), "8");
}

#[test]
fn a_phone_that_answers_without_a_session_is_passed_over() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), response(&invite, 200, desk(), "n1").end());
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.nothing_to(alice());
}

#[test]
fn two_new_phones_hear_each_other_or_are_not_joined() {
    let mut t = two();
    t.register("alice", alice(), "alice");
    t.established_with(&of(alice(), "0 8", ""), &of(desk(), "0 8", ""));
    t.bob_is_lost();
    t.alice_is_lost();
    let to_alice = t.request_to(alice(), Method::Invite);
    let answer = response(&to_alice, 200, alice(), "a1");
    t.takes_over(desk(), "m1", &of(desk(), "8", ""));
    t.receive(alice(), with_sdp(answer, &of(alice(), "0", "")));
    t.request_to(alice(), Method::Ack);
    // Whoever was first is asked whether it takes what the second one speaks.
    t.request_to(desk(), Method::Bye);
    let asked = t.request_to(desk(), Method::Invite);
    assert_eq!(formats(&asked), "0");
    // It does not, and the second one, which was offered what the lost phone spoke, is asked once more.
    t.reply(&asked, 488, desk());
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    let again = t.request_to(alice(), Method::Invite);
    assert_eq!(formats(&again), "8");
    // Once.
    let answer = response(&again, 200, alice(), "a2");
    t.receive(alice(), with_sdp(answer, &of(alice(), "0", "")));
    t.request_to(alice(), Method::Ack);
    let asked = t.request_to(desk(), Method::Invite);
    t.reply(&asked, 488, desk());
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.pass(Millis::from_secs(20));
    assert!(t.waiting(alice(), &Method::Invite).is_none());
}

/// Its answer shows life, and what the lost phone has said is no word for it any more.
#[test]
fn a_suspect_that_agrees_to_a_new_phone_hears_nothing_of_the_one_before() {
    let mut t = two();
    t.established_with(&of(alice(), "0 8 9", ""), &of(desk(), "0 8", ""));
    t.is_lost_and_refuses(desk());
    t.discard(desk());
    t.takes_over(mobile(), "m1", &of(mobile(), "0 9", ""));
    let join = t.request_to(alice(), Method::Invite);
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Caller,
    });
    t.request_to(alice(), Method::Options);
    let ok = response(&join, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &of(alice(), "0 9", "")));
    t.request_to(alice(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    t.pass(Millis(4_000));
    for method in [Method::Invite, Method::Update] {
        assert!(t.waiting(alice(), &method).is_none(), "{method:?}");
    }
}

#[test]
fn who_is_sought_after_a_phone_of_few_formats_is_offered_all_that_the_survivor_has() {
    let mut t = two();
    t.established();
    t.is_lost_and_refuses(desk());
    // The mobile has one format, which is none of those that Alice has offered, and which she agrees to.
    let invite = t.waiting(mobile(), &Method::Invite).unwrap();
    let answer = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(answer, &g722(mobile())));
    let join = t.waiting(alice(), &Method::Invite).unwrap();
    let ok = response(&join, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &g722(alice())));
    t.is_lost_and_refuses(mobile());
    let again = t.waiting(desk(), &Method::Invite).unwrap();
    let offer = text(&again);
    assert!(offer.contains("RTP/AVP 9 0 8 101\r\n"), "{offer}");
    assert_eq!(
        offer
            .matches("a=rtpmap:101 telephone-event/8000\r\n")
            .count(),
        1
    );
    // It has what it had before, and Alice is asked for that.
    t.receive(desk(), with_sdp(answer_to(&again), &audio(desk())));
    let join = t.waiting(alice(), &Method::Invite).unwrap();
    let ok = response(&join, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &audio(alice())));
    // All is as it was: nothing is offered twice.
    t.is_lost_and_refuses(desk());
    let again = t.waiting(mobile(), &Method::Invite).unwrap();
    let offer = text(&again);
    assert!(offer.contains("RTP/AVP 0 8 101\r\n"), "{offer}");
}

impl Table {
    /// Bob's phone is lost, and takes no other call.
    fn is_lost_and_refuses(&mut self, at: std::net::SocketAddr) {
        self.discard(alice());
        self.discard(desk());
        self.discard(mobile());
        self.bob_is_lost();
        let invite = self.request_to(at, Method::Invite);
        self.reply(&invite, 403, at);
    }
}

#[test]
fn the_packets_of_a_survivor_last_as_long_as_it_wishes_whoever_comes() {
    let mut t = two();
    let long = audio(alice()) + "a=ptime:30\r\n";
    t.established_with(&long, &audio(desk()));
    let lasts = |t: &Table, side, generation| told(t, side, generation)[0].ptime;
    assert_eq!(lasts(&t, Side::Caller, 0), 30);
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    // What fills the gap is of her length, and so is what she is to be sent.
    assert_eq!(lasts(&t, Side::Caller, 0), 30);
    let invite = t.request_to(mobile(), Method::Invite);
    assert!(text(&invite).contains("a=ptime:30"), "{}", text(&invite));
    let short = audio(mobile()) + "a=ptime:20\r\n";
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &short),
    );
    t.request_to(mobile(), Method::Ack);
    assert_eq!(lasts(&t, Side::Callee, 1), 20);
    assert_eq!(lasts(&t, Side::Caller, 0), 30);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}
