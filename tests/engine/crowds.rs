//! Calls that nobody answers hold ports: how many of them there may be, and who has the last ports.

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::events::{Crowd, Ending, Event, GaveUp, Happening};
use refork::engine::ids::{ConversationId, Side};
use refork::engine::ports::{Claim, Command, Input, MediaCommand};
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::admission::{ack_of, again, gateway, guarded, instead, invite};
use crate::people::*;
use crate::table::*;
use crate::video::ports;

fn few() -> Settings {
    Settings {
        limits: LimitSettings {
            ringing: 8,
            ringing_per_user: 2,
            ringing_per_ip: 3,
            ..guarded().limits
        },
        ..guarded()
    }
}

/// Bob's desk phone rings, and nobody answers it.
fn unanswered() -> Table {
    let mut t = Table::new(few());
    t.signs_on("bob", desk(), "desk");
    t
}

fn stranger(last: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 100, last], 5060))
}

/// Of somebody whose domain is none of ours.
fn unknown(at: SocketAddr, call_id: &str) -> Bytes {
    let ours = invite("mallory", "bob", at, call_id);
    instead(
        &ours,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    )
}

impl Table {
    fn rings_bob(&mut self, at: SocketAddr, invite: Bytes) -> Message {
        self.receive(at, invite);
        self.request_to(desk(), Method::Invite)
    }

    /// The operator orders something about the call that stands, and its callee.
    fn the_standing_one(&mut self, order: impl FnOnce(ConversationId, Side) -> Command) {
        let mut all = self.engine.list(9).into_iter();
        let stands = all.find(|one| one.answered.is_some() && one.ended.is_none());
        let command = order(stands.unwrap().key, Side::Callee);
        self.input(Input::Command(command));
    }

    /// A call to Bob is answered. Returns his side of it.
    fn answers_bob(&mut self, at: SocketAddr, invite: Bytes) -> Remote {
        let rings = self.rings_bob(at, invite);
        let answer = with_sdp(response(&rings, 200, desk(), "b1"), &audio(desk()));
        self.receive(desk(), answer);
        self.request_to(desk(), Method::Ack);
        let taken = self.response_to(at, 200);
        let caller = Remote::of_answer(&taken, at);
        self.receive(at, caller.ack(1));
        Remote::of_invite(&rings, desk(), "b1")
    }

    fn crowds(&self) -> Vec<(Crowd, bool)> {
        let crowd = |event: &Event| match event {
            Event::Crowded { crowd, tell, .. } => Some((*crowd, *tell)),
            _ => None,
        };
        self.events.iter().filter_map(crowd).collect()
    }

    fn claims(&self, of: Side) -> Vec<Claim> {
        let claim = |command: &MediaCommand| match command {
            MediaCommand::Open { side, claim, .. } if *side == of => Some(*claim),
            _ => None,
        };
        self.media.iter().filter_map(claim).collect()
    }
}

/// The request from another instance of the caller's, as a CANCEL.
pub fn cancel_of(invite: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(invite);
    let head = text.split("Content-Type").next().unwrap();
    let cancel = head.replacen("INVITE sip", "CANCEL sip", 1);
    let cancel = cancel.replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL");
    format!("{cancel}Content-Length: 0\r\n\r\n").into()
}

#[test]
fn a_stranger_has_so_many_calls_that_nobody_answers() {
    let mut t = unanswered();
    let rings: Vec<Message> = (0..3)
        .map(|n| t.rings_bob(stranger(1), unknown(stranger(1), &format!("call{n}"))))
        .collect();
    // From another port, too.
    let other_port = SocketAddr::new(stranger(1).ip(), 6060);
    for n in 3..5 {
        let one_more = unknown(other_port, &format!("call{n}"));
        t.receive(other_port, one_more.clone());
        let refused = t.response_to(other_port, 480);
        assert_eq!(refused.header(Name::RetryAfter), Some("10"));
        let warning = refused.header(Name::Warning).unwrap();
        assert!(
            warning.starts_with("399 test \"Too many calls"),
            "{warning}"
        );
        t.receive(other_port, ack_of(&one_more, &refused));
        t.nothing_to(desk());
    }
    // The operator hears of a flood once in a while.
    assert_eq!(
        t.crowds(),
        [(Crowd::Address, true), (Crowd::Address, false)]
    );
    // Others may call, and so may this one once somebody has answered or it has given up.
    t.rings_bob(stranger(2), unknown(stranger(2), "other"));
    let answer = with_sdp(response(&rings[0], 200, desk(), "b1"), &audio(desk()));
    t.receive(desk(), answer);
    t.request_to(desk(), Method::Ack);
    t.response_to(stranger(1), 200);
    t.rings_bob(stranger(1), unknown(stranger(1), "call5"));
    t.receive(stranger(1), unknown(stranger(1), "call6"));
    t.response_to(stranger(1), 480);
    t.receive(stranger(1), cancel_of(&unknown(stranger(1), "call1")));
    t.response_to(stranger(1), 200);
    t.response_to(stranger(1), 487);
    t.rings_bob(stranger(1), unknown(stranger(1), "call7"));
}

#[test]
fn a_network_of_one_customer_is_one_stranger() {
    let mut t = unanswered();
    let of = |n: u16| phone(&format!("[2001:db8:7:7::{n:x}]:5060"));
    for n in 0..3 {
        t.rings_bob(of(n), unknown(of(n), &format!("call{n}")));
    }
    t.receive(of(9), unknown(of(9), "call9"));
    t.response_to(of(9), 480);
    let neighbour = phone("[2001:db8:7:8::1]:5060");
    t.rings_bob(neighbour, unknown(neighbour, "call10"));
}

#[test]
fn a_user_has_its_own_limit_wherever_it_calls_from() {
    let mut t = unanswered();
    let calls = |t: &mut Table, at: SocketAddr, call_id: &str| {
        let first = invite("alice", "bob", at, call_id);
        let challenged = t.is_asked(at, &first);
        t.receive(at, again(&first, &challenged, "alice"));
    };
    for (at, call_id) in [(alice(), "call1"), (stranger(5), "call2")] {
        calls(&mut t, at, call_id);
        t.request_to(desk(), Method::Invite);
    }
    calls(&mut t, stranger(6), "call3");
    t.response_to(stranger(6), 480);
    assert_eq!(t.crowds(), [(Crowd::User, true)]);
    // Whoever else sits behind that address is not held responsible.
    t.rings_bob(stranger(6), unknown(stranger(6), "call4"));
}

#[test]
fn answered_calls_of_a_stranger_have_a_limit_too() {
    let mut settings = few();
    settings.limits.calls_per_ip = 2;
    let mut t = Table::new(settings);
    t.signs_on("bob", desk(), "desk");
    let call = |n: u8| unknown(stranger(1), &format!("call{n}"));
    let mut first = t.answers_bob(stranger(1), call(1));
    t.rings_bob(stranger(1), call(2));
    let refused = |t: &mut Table, n: u8| {
        t.receive(stranger(1), call(n));
        let refused = t.response_to(stranger(1), 480);
        assert_eq!(refused.header(Name::RetryAfter), Some("10"));
        let warning = refused.header(Name::Warning).unwrap();
        assert!(warning.contains("Too many calls at a time"), "{warning}");
        t.receive(stranger(1), ack_of(&call(n), &refused));
        t.nothing_to(desk());
    };
    refused(&mut t, 3);
    // What stands is counted after a restart, too; what rang is gone.
    t.receive(stranger(1), cancel_of(&call(2)));
    t.response_to(stranger(1), 200);
    t.response_to(stranger(1), 487);
    t.discard(desk());
    t.restart();
    t.rings_bob(stranger(1), call(4));
    refused(&mut t, 5);
    t.answers_bob(stranger(2), unknown(stranger(2), "other"));
    // One is over: there is room for another.
    t.hangs_up(&mut first);
    t.request_to(stranger(1), Method::Bye);
    t.rings_bob(stranger(1), call(6));
    refused(&mut t, 7);
    let of = t.crowds();
    assert_eq!(of.len(), 3, "one for each that was refused");
    assert!(
        of.iter().all(|(of, _)| *of == Crowd::AddressCalls),
        "{of:?}"
    );
}

#[test]
fn answered_calls_of_a_user_have_a_limit_and_those_of_a_trusted_peer_none() {
    for (calls, streams, crowd) in [(1, 9, Crowd::UserCalls), (9, 1, Crowd::UserStreams)] {
        let mut settings = few();
        (settings.limits.calls_per_user, settings.limits.calls_per_ip) = (calls, calls);
        (
            settings.limits.streams_per_user,
            settings.limits.streams_per_ip,
        ) = (streams, streams);
        calls_of_a_user_and_of_a_trusted_peer(settings, crowd);
    }
}

#[track_caller]
fn calls_of_a_user_and_of_a_trusted_peer(settings: Settings, crowd: Crowd) {
    let mut t = Table::new(settings);
    t.signs_on("bob", desk(), "desk");
    let calls = |t: &mut Table, at: SocketAddr, call_id: &str| {
        let first = invite("alice", "bob", at, call_id);
        let challenged = t.is_asked(at, &first);
        again(&first, &challenged, "alice")
    };
    let first = calls(&mut t, alice(), "call1");
    t.answers_bob(alice(), first);
    let second = calls(&mut t, stranger(5), "call2");
    t.receive(stranger(5), second);
    t.response_to(stranger(5), 480);
    assert_eq!(t.crowds(), [(crowd, true)]);
    for n in 0..3 {
        t.answers_bob(
            gateway(),
            invite("carol", "bob", gateway(), &format!("trunk{n}")),
        );
    }
}

/// Those of a call that stands among them: there they are turned down alone.
#[test]
fn the_streams_of_a_strangers_calls_have_a_limit() {
    const VIDEO: &str = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let mut settings = few();
    settings.limits.streams_per_ip = 2;
    let mut t = Table::new(settings);
    t.signs_on("bob", desk(), "desk");
    let call = |n: u8| unknown(stranger(1), &format!("call{n}"));
    let mut first = t.answers_bob(stranger(1), call(1));
    let refused = VIDEO.replace("4002", "0");
    for (version, more, carried) in [
        (2, [VIDEO, VIDEO], [true, false, false]),
        (3, [VIDEO, VIDEO], [true, false, false]),
        (4, [VIDEO, &refused], [true, true, false]),
    ] {
        let offer = sdp(desk(), version, "sendrecv") + &more.concat();
        t.receive(desk(), with_sdp(first.request(Method::Invite), &offer));
        let asked = t.request_to(stranger(1), Method::Invite);
        let told = ports(&asked).into_iter().map(|port| port != 0);
        assert_eq!(told.collect::<Vec<_>>(), carried);
        let answer = carried[1..]
            .iter()
            .map(|is| if *is { VIDEO } else { &refused });
        let answer = sdp(stranger(1), version, "sendrecv") + &answer.collect::<String>();
        let ok = with_sdp(response(&asked, 200, stranger(1), "x"), &answer);
        t.receive(stranger(1), ok);
        t.request_to(stranger(1), Method::Ack);
        let ok = t.response_to(desk(), 200);
        t.receive(desk(), first.ack(ok.cseq()));
    }
    assert_eq!(t.crowds(), [(Crowd::AddressStreams, true)], "once");
    t.restart();
    t.receive(stranger(1), call(2));
    let refused = t.response_to(stranger(1), 480);
    assert_eq!(refused.header(Name::RetryAfter), Some("10"));
    let warning = refused.header(Name::Warning).unwrap();
    assert!(warning.contains("Too many streams at a time"), "{warning}");
    t.receive(stranger(1), ack_of(&call(2), &refused));
    assert_eq!(t.crowds().last(), Some(&(Crowd::AddressStreams, true)));
    t.rings_bob(stranger(2), unknown(stranger(2), "other"));
    t.hangs_up(&mut first);
    t.request_to(stranger(1), Method::Bye);
    t.rings_bob(stranger(1), call(3));
}

#[test]
fn strangers_ring_one_user_no_more_than_so_often() {
    let mut settings = few();
    settings.limits.ringing_per_called = 2;
    let mut t = Table::new(settings);
    t.signs_on("bob", desk(), "desk");
    t.signs_on("carol", third(), "third");
    for n in 1..=2 {
        t.rings_bob(stranger(n), unknown(stranger(n), &format!("call{n}")));
    }
    t.receive(stranger(3), unknown(stranger(3), "call3"));
    t.response_to(stranger(3), 480);
    assert_eq!(t.crowds(), [(Crowd::Called, true)]);
    // Others may be called, and whoever is known may call.
    let other = instead(
        &unknown(stranger(3), "call4"),
        "sip:bob@example.org",
        "sip:carol@example.org",
    );
    t.receive(stranger(3), other);
    t.request_to(third(), Method::Invite);
    t.rings_bob(gateway(), invite("carol", "bob", gateway(), "trunk"));
    t.receive(stranger(1), cancel_of(&unknown(stranger(1), "call1")));
    t.response_to(stranger(1), 200);
    t.response_to(stranger(1), 487);
    t.discard(desk());
    t.rings_bob(stranger(3), unknown(stranger(3), "call5"));
}

#[test]
fn an_address_that_datagrams_name_has_less_and_is_counted_apart() {
    let mut settings = few();
    settings.limits.ringing_per_unproven_ip = 1;
    let mut t = Table::new(settings);
    t.signs_on("bob", desk(), "desk");
    t.rings_bob(stranger(1), unknown(stranger(1), "call1"));
    t.receive(stranger(1), unknown(stranger(1), "call2"));
    t.response_to(stranger(1), 480);
    // Whoever is really there.
    let at = SocketAddr::new(stranger(1).ip(), 40_000);
    let over = |n: u8| {
        instead(
            &unknown(at, &format!("tcp{n}")),
            "SIP/2.0/UDP",
            "SIP/2.0/TCP",
        )
    };
    for n in 0..3 {
        t.receive_over(tcp(at, 7), over(n));
        t.request_to(desk(), Method::Invite);
    }
    t.receive_over(tcp(at, 7), over(3));
    t.response_to(at, 480);
}

#[test]
fn strangers_leave_half_of_all_to_those_who_are_known() {
    let mut t = unanswered();
    for n in 1..=4 {
        t.rings_bob(stranger(n), unknown(stranger(n), &format!("call{n}")));
    }
    t.receive(stranger(5), unknown(stranger(5), "call5"));
    let refused = t.response_to(stranger(5), 500);
    assert_eq!(refused.header(Name::RetryAfter), Some("10"));
    // A trusted peer has no limit but that of all.
    for n in 0..4 {
        let trunk = invite("carol", "bob", gateway(), &format!("trunk{n}"));
        t.rings_bob(gateway(), trunk);
    }
    t.receive(gateway(), invite("carol", "bob", gateway(), "trunk4"));
    t.response_to(gateway(), 500);
    assert_eq!(t.crowds(), [(Crowd::Strangers, true), (Crowd::All, true)]);
    // All of them ring out.
    t.pass(Millis::from_secs(60));
    t.discard(desk());
    assert!(t.site.ringing.is_empty());
}

#[test]
fn the_relay_knows_whose_call_ports_are_for() {
    let mut t = unanswered();
    t.rings_bob(stranger(1), unknown(stranger(1), "call1"));
    assert_eq!(t.claims(Side::Caller), [Claim::Stranger]);
    assert_eq!(t.claims(Side::Callee), [Claim::Stranger]);
    t.media.clear();
    let ring = t.rings_bob(gateway(), invite("carol", "bob", gateway(), "call2"));
    assert_eq!(t.claims(Side::Caller), [Claim::Known]);
    assert_eq!(t.claims(Side::Callee), [Claim::Known]);
    t.media.clear();
    // A call of a stranger stands as any other once it is answered.
    let ring_of_stranger = t.rings_bob(stranger(2), unknown(stranger(2), "call3"));
    for (ring, caller) in [(ring, gateway()), (ring_of_stranger, stranger(2))] {
        t.media.clear();
        t.receive(
            desk(),
            with_sdp(response(&ring, 200, desk(), "b1"), &audio(desk())),
        );
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(caller, 200);
        t.receive(caller, Remote::of_answer(&ok, caller).ack(1));
        t.the_standing_one(|conversation, side| Command::DeclareLost { conversation, side });
        assert_eq!(t.claims(Side::Callee), [Claim::Standing]);
        let again = t.request_to(desk(), Method::Invite);
        t.reply(&again, 403, desk());
        t.the_standing_one(|conversation, _| Command::HangUp { conversation });
        t.discard(desk());
    }
}

#[test]
fn a_restoration_takes_what_new_calls_may_not() {
    let mut t = two();
    t.established();
    t.least = Claim::Standing;
    t.receive(third(), invite("carol", "bob", third(), "call2"));
    t.response_to(third(), 500);
    t.nothing_to(desk());
    t.the_standing_one(|conversation, side| Command::DeclareLost { conversation, side });
    t.takes_over(desk(), "b2", &audio(desk()));
}

#[test]
fn a_restoration_without_ports_goes_on_until_there_are_some() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.no_ports = |_| true;
    t.bob_is_lost();
    t.pass(Millis::from_secs(20));
    t.nothing_to(desk());
    t.nothing_to(mobile());
    t.nothing_to(alice());
    // Somebody has hung up.
    t.no_ports = |_| false;
    let invite = (0..20).find_map(|_| {
        t.pass(Millis(500));
        t.waiting(desk(), &Method::Invite)
    });
    let answer = response(&invite.unwrap(), 200, desk(), "b2");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    let restored = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
    assert_eq!(t.happened(restored), 1);
    t.discard(mobile());
    t.hangs_up(&mut a);
    t.discard(desk());
    t.ends_empty();
}

#[test]
fn a_restoration_that_never_gets_ports_ends_at_its_time() {
    let mut t = two();
    t.established();
    t.no_ports = |_| true;
    t.bob_is_lost();
    let how = Ending::Gave(GaveUp::NoMediaPorts);
    let ended = |what: &Happening| matches!(what, Happening::Ended { how: as_, .. } if *as_ == how);
    t.pass(Millis::from_secs(59));
    t.nothing_to(alice());
    t.pass(Millis::from_secs(1));
    let word = t.request_to(alice(), Method::Message);
    assert!(text(&word).contains("is gone"));
    t.reply(&word, 200, alice());
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.discard(desk());
    assert_eq!(t.happened(ended), 1);
    t.ends_empty();
}
