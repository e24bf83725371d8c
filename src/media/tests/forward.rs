use std::sync::Arc;

use super::*;
use crate::engine::ids::ConversationId;
use crate::engine::ports::{MediaEvent, PayloadFormat, StreamSettings, Voice};
use crate::engine::settings::Latch as LatchRule;
use crate::media::report::LineState;
use crate::media::session::{Configuration, Outbox, SessionRules};
use crate::media::sound::{Fill, Sound};

#[path = "filler.rs"]
mod filler;
#[path = "overhear.rs"]
mod overhear;
#[path = "tone.rs"]
mod tone;

const A: &str = "192.0.2.1:4000";
const B: &str = "198.51.100.2:5000";
const C: &str = "203.0.113.3:6000";
/// Nothing that belongs on a stream.
const SIP: &[u8] = b"INVITE sip:00900666@198.51.100.2 SIP/2.0\r\nMax-Forwards: 70\r\n\r\n";

/// A session, the time, and what it said by itself.
struct Desk {
    session: Session,
    now: Micros,
    tally: Tally,
    said: Said,
}

#[derive(Default)]
struct Said {
    packets: Vec<(Side, Port, SocketAddr, Vec<u8>)>,
    events: Vec<MediaEvent>,
}

impl Outbox for Said {
    fn send(&mut self, side: Side, _: usize, port: Port, to: SocketAddr, packet: &[u8]) {
        self.packets.push((side, port, to, packet.to_vec()));
    }

    fn filled(&mut self) {}

    fn event(&mut self, event: MediaEvent) {
        self.events.push(event);
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn formats(list: &[(u8, &str, u32)]) -> Vec<PayloadFormat> {
    list.iter()
        .map(|&(number, name, clock)| PayloadFormat {
            number,
            name: name.into(),
            clock,
        })
        .collect()
}

fn audio(rtp: &str) -> StreamSettings {
    let rtp = at(rtp);
    StreamSettings {
        active: true,
        rtp: Some(rtp),
        rtcp: Some(SocketAddr::new(rtp.ip(), rtp.port() + 1)),
        rtcp_mux: false,
        voice: Voice::Due,
        receives: true,
        video: false,
        inside: Inside::Rtp,
        srtp: None,
        formats: formats(&[(0, "PCMU", 8000), (8, "PCMA", 8000)]),
        besides: Vec::new(),
        told: Vec::new(),
        ptime: 20,
    }
}

fn voice(ssrc: u32, sequence: u16, number: u8) -> Vec<u8> {
    let header = Header {
        marker: false,
        number,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc,
        payload: 160,
    };
    let mut packet = vec![0x80; rtp::FIXED + 160];
    rtp::write(&mut packet, &header);
    packet
}

/// UDPTL that may be taken for RTP of this source.
fn like_voice(ssrc: u8, sequence: u8) -> Vec<u8> {
    let ifp = [0xc0, 0, 0, 0, 0, 0, 0, 0, ssrc, sequence];
    [&[0x80, 0, 10][..], &ifp, &[0, 1, 100], &[sequence; 100]].concat()
}

fn receiver_report(ssrc: u32) -> Vec<u8> {
    [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes()].concat()
}

impl Desk {
    fn new() -> Self {
        let rules = SessionRules {
            latch: LatchRule::Signalling,
            silence: Some(3_000_000),
            filler: Fill::Silence,
            tone: Arc::new(Sound::beeps()),
            epoch_us: 1_000_000_000,
        };
        Self {
            session: Session::new(ConversationId(1), Arc::new(rules), 42),
            now: Micros::from_ms(1),
            tally: Tally::default(),
            said: Said::default(),
        }
    }

    /// Two sides that are configured so.
    fn call(caller: StreamSettings, callee: StreamSettings) -> Self {
        let mut desk = Self::new();
        desk.configure(Side::Caller, 1, caller);
        desk.configure(Side::Callee, 1, callee);
        desk
    }

    fn configure(&mut self, side: Side, generation: u32, stream: StreamSettings) {
        let told = Configuration {
            side,
            generation,
            signalling: stream.rtp.unwrap().ip(),
            streams: vec![stream],
            v4: true,
        };
        self.session.configure(told, self.now);
    }

    fn send_by(
        &mut self,
        side: Side,
        port: Port,
        source: &str,
        packet: &[u8],
    ) -> Option<(Port, SocketAddr, Vec<u8>)> {
        let mut packet = packet.to_vec();
        let length = packet.len();
        let arrival = Arrival {
            side,
            stream: 0,
            port,
            source: at(source),
        };
        let passed = self
            .session
            .packet(&arrival, &mut packet, length, self.now, &mut self.tally);
        if passed.attention {
            self.session.poll(self.now, &mut self.said);
        }
        let forward = passed.forward?;
        packet.truncate(forward.length);
        Some((forward.port, forward.to, packet))
    }

    fn send(&mut self, side: Side, source: &str, packet: &[u8]) -> Option<Header> {
        self.send_by(side, Port::Rtp, source, packet)
            .map(|(_, _, packet)| rtp::parse(&packet).unwrap())
    }

    /// Lets time pass, alarm by alarm, and returns the events.
    fn pass(&mut self, ms: u64) -> Vec<MediaEvent> {
        let end = self.now + ms * 1000;
        while let Some(next) = self.session.deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.session.poll(self.now, &mut self.said);
            assert!(self.session.deadline() != Some(next), "an alarm that stays");
        }
        self.now = end;
        std::mem::take(&mut self.said.events)
    }

    /// What Alice gets of it; where she says nothing herself, Bob gets some too.
    fn fillers_to_alice(&mut self) -> Vec<(Side, Header, u8)> {
        let mut fillers = self.fillers();
        fillers.retain(|(side, ..)| *side == Side::Caller);
        fillers
    }

    fn fillers(&mut self) -> Vec<(Side, Header, u8)> {
        std::mem::take(&mut self.said.packets)
            .into_iter()
            .filter(|(.., packet)| !rtp::is_rtcp(packet))
            .map(|(side, _, _, packet)| {
                (side, rtp::parse(&packet).unwrap(), *packet.last().unwrap())
            })
            .collect()
    }
}

#[test]
fn what_a_held_side_does_not_get_leaves_no_hole() {
    let mut desk = Desk::call(audio(A), audio(B));
    let first = desk.send(Side::Caller, A, &voice(1, 10, 0)).unwrap();
    let mut held = audio(B);
    held.receives = false;
    desk.configure(Side::Callee, 1, held);
    assert_eq!(desk.send(Side::Caller, A, &voice(1, 11, 0)), None);
    desk.configure(Side::Callee, 1, audio(B));
    desk.pass(1000);
    let next = desk.send(Side::Caller, A, &voice(1, 900, 0)).unwrap();
    assert_eq!(next.sequence, first.sequence + 1);
    assert_eq!(next.timestamp, first.timestamp + 8000);
}

#[test]
fn who_goes_on_after_its_packets_were_refused_is_told_once_as_heard() {
    let (media, side) = (ConversationId(1), Side::Callee);
    for (from, known) in [(B, 1), (C, 2)] {
        let mut desk = Desk::call(audio(A), audio(B));
        desk.send(side, B, &voice(7, 1, 0));
        for _ in 0..known {
            assert!(desk.session.refused(side, 0, at(B), desk.now));
            assert_eq!(desk.pass(90).pop(), None);
            desk.session.poll(desk.now, &mut desk.said);
            assert_eq!(desk.pass(0), [MediaEvent::Unreachable { media, side }]);
            // What was under way then.
            desk.send(side, B, &voice(7, 2, 0));
            assert_eq!(desk.pass(1000), []);
        }
        desk.send(side, from, &voice(7, 60, 0));
        assert_eq!(
            desk.pass(0),
            [MediaEvent::Flowing { media, side }],
            "{from}"
        );
        desk.send(side, from, &voice(7, 61, 0));
        assert_eq!(desk.pass(0), []);
        // Where it is now is another matter; that it takes nothing and is heard is told now and then.
        let again = desk.session.refused(side, 0, at(from), desk.now);
        assert_eq!(again, from == C);
        desk.now = desk.now + 30_000_000;
        assert!(desk.session.refused(side, 0, at(from), desk.now));
    }
}

#[test]
fn who_is_heard_by_one_stream_has_refused_another_and_not_the_call() {
    let (media, side) = (ConversationId(1), Side::Callee);
    let mut desk = Desk::new();
    for (side, streams) in [
        (Side::Caller, [audio(A), audio("192.0.2.1:4010")]),
        (side, [audio(B), audio("198.51.100.2:5010")]),
    ] {
        let told = Configuration {
            side,
            generation: 1,
            signalling: streams[0].rtp.unwrap().ip(),
            streams: streams.into(),
            v4: true,
        };
        desk.session.configure(told, desk.now);
    }
    desk.send(side, B, &voice(7, 1, 0));
    // Nobody takes the second, and the first is heard on.
    let refused = desk
        .session
        .refused(side, 1, at("198.51.100.2:5010"), desk.now);
    assert!(refused);
    desk.session.poll(desk.now, &mut desk.said);
    assert_eq!(desk.pass(0), [MediaEvent::Unreachable { media, side }]);
    desk.pass(1_000);
    desk.send(side, B, &voice(7, 60, 0));
    assert_eq!(desk.pass(0), [MediaEvent::Flowing { media, side }]);
}

#[test]
fn numbers_are_those_of_the_receiver() {
    let mut callee = audio(B);
    callee.formats = formats(&[(0, "PCMU", 8000), (96, "TELEPHONE-EVENT", 8000)]);
    let mut caller = audio(A);
    caller.formats = formats(&[(0, "PCMU", 8000), (101, "TELEPHONE-EVENT", 8000)]);
    let mut desk = Desk::call(caller, callee);
    for (sequence, side, source, number, expected) in [
        (1, Side::Caller, A, 0, 0),
        (2, Side::Caller, A, 101, 96),
        (3, Side::Callee, B, 96, 101),
        (4, Side::Callee, B, 33, 33),
    ] {
        let passed = desk
            .send(side, source, &voice(5, sequence, number))
            .unwrap();
        assert_eq!(passed.number, expected);
    }
}

/// A survivor sends as it was told by the phone that is gone, whatever the next one has agreed to.
#[test]
fn what_the_next_phone_has_not_agreed_to_is_not_for_it() {
    let opus = |number| formats(&[(number, "OPUS", 48_000), (0, "PCMU", 8000)]);
    let mut caller = audio(A);
    (caller.formats, caller.told) = (opus(96), opus(111));
    caller.formats.extend(formats(&[(97, "SPEEX", 8000)]));
    let mut callee = audio(B);
    callee.formats = opus(98);
    let mut desk = Desk::call(caller, callee.clone());
    let number = |desk: &mut Desk, sequence, number| {
        let passed = desk.send(Side::Caller, A, &voice(5, sequence, number));
        passed.map(|passed| passed.number)
    };
    assert_eq!(number(&mut desk, 1, 0), Some(0));
    assert_eq!(number(&mut desk, 2, 111), Some(98));
    assert_eq!(number(&mut desk, 3, 96), Some(98));
    assert_eq!(number(&mut desk, 4, 97), None);
    assert_eq!(desk.tally.dropped_format, 1);
    // It offers that, and the answer is on its way.
    callee.besides = formats(&[(99, "SPEEX", 8000)]);
    desk.configure(Side::Callee, 1, callee);
    assert_eq!(number(&mut desk, 5, 97), Some(99));
    assert_eq!(desk.tally.dropped_format, 1);
}

#[test]
fn rtcp_finds_its_port_with_and_without_mux() {
    let beside = |address: &str| {
        let address = at(address);
        SocketAddr::new(address.ip(), address.port() + 1).to_string()
    };
    for (caller_mux, callee_mux) in [(false, false), (true, false), (false, true), (true, true)] {
        let (mut caller, mut callee) = (audio(A), audio(B));
        caller.rtcp_mux = caller_mux;
        callee.rtcp_mux = callee_mux;
        let mut desk = Desk::call(caller, callee);
        for (side, from, to, near, far) in [
            (Side::Caller, A, B, caller_mux, callee_mux),
            (Side::Callee, B, A, callee_mux, caller_mux),
        ] {
            let (port, source) = match near {
                true => (Port::Rtp, from.to_owned()),
                false => (Port::Rtcp, beside(from)),
            };
            let expected = match far {
                true => (Port::Rtp, at(to)),
                false => (Port::Rtcp, at(&beside(to))),
            };
            let report = receiver_report(9);
            let (port, to, passed) = desk.send_by(side, port, &source, &report).unwrap();
            assert_eq!((port, to), expected);
            assert_eq!(passed, report);
        }
    }
}

#[test]
fn malformed_rtcp_neither_passes_nor_latches() {
    let mut desk = Desk::call(audio(A), audio(B));
    let odd = [0x81, 201, 0, 1, 0, 0, 0, 1];
    assert_eq!(
        desk.send_by(Side::Caller, Port::Rtcp, "192.0.2.1:9", &odd),
        None
    );
    assert_eq!(desk.tally.dropped_malformed, 1);
    let (_, to, _) = desk
        .send_by(Side::Callee, Port::Rtcp, B, &receiver_report(1))
        .unwrap();
    assert_eq!(to, at("192.0.2.1:4001"));
}

#[test]
fn a_new_video_source_is_asked_for_a_key_frame() {
    let video = |address: &str| {
        let mut stream = audio(address);
        stream.video = true;
        stream.formats = formats(&[(96, "VP8", 90_000)]);
        stream
    };
    let mut desk = Desk::call(video(A), video(B));
    desk.send(Side::Callee, B, &voice(2, 1, 96));
    desk.send(Side::Caller, A, &voice(1, 1, 96));
    assert!(desk.said.packets.is_empty());
    desk.session.lose(Side::Callee, desk.now);
    desk.configure(Side::Callee, 2, video(C));
    let first = desk.send(Side::Callee, C, &voice(3, 1, 96)).unwrap();
    // A marker in video ends a frame: it is not ours to set.
    assert!(!first.marker);
    let (side, port, to, request) = desk.said.packets.pop().unwrap();
    assert_eq!((side, port), (Side::Callee, Port::Rtcp));
    assert_eq!(to, at("203.0.113.3:6001"));
    assert_eq!(request[request.len() - 4..], 3u32.to_be_bytes());
    // So is the survivor, for the new endpoint has seen nothing yet.
    desk.send(Side::Caller, A, &voice(1, 2, 96)).unwrap();
    let (side, _, _, request) = desk.said.packets.pop().unwrap();
    assert_eq!(side, Side::Caller);
    assert_eq!(request[request.len() - 4..], 1u32.to_be_bytes());
}

#[test]
fn opaque_packets_pass_untouched() {
    let opaque = |address: &str| {
        let mut stream = audio(address);
        stream.inside = Inside::Sealed;
        stream
    };
    let mut desk = Desk::call(opaque(A), opaque(B));
    let bye = [&[0x81, 203, 0, 1][..], &[1; 4], &[9; 14]].concat();
    let hello = [&[22, 254, 255][..], &[0; 8], &[0, 1, 1]].concat();
    for packet in [hello.clone(), voice(1, 7, 77), voice(9, 1, 77), bye] {
        let (_, _, passed) = desk.send_by(Side::Caller, Port::Rtp, A, &packet).unwrap();
        assert_eq!(passed, packet);
    }
    assert_eq!(desk.send_by(Side::Caller, Port::Rtp, C, &hello), None);
    assert_eq!(desk.tally.dropped_stranger, 1);
    for port in [Port::Rtp, Port::Rtcp] {
        assert_eq!(desk.send_by(Side::Caller, port, A, SIP), None);
    }
    assert_eq!(desk.tally.dropped_malformed, 2);
}

/// What counts of UDPTL is a number of its own, which may be anything: it is neither RTP nor RTCP.
#[test]
fn fax_passes_untouched_whatever_it_looks_like() {
    let fax = |address: &str| {
        let mut stream = audio(address);
        (stream.inside, stream.voice, stream.rtcp_mux) = (Inside::Fax, Voice::None, true);
        (stream.rtcp, stream.formats) = (stream.rtp, Vec::new());
        stream
    };
    let mut desk = Desk::call(fax(A), fax(B));
    // As short as they come; like RTCP; like RTP of two sources; like RTP that claims too much.
    let packets = [
        vec![0, 1, 1, 6, 0],
        [&[0x80, 201, 1, 6, 0, 1, 13][..], &[9; 13]].concat(),
        like_voice(1, 7),
        like_voice(9, 90),
        vec![0xbf, 0xff, 1, 6, 0, 0],
    ];
    for (from, source) in [(Side::Caller, A), (Side::Callee, B)] {
        for packet in &packets {
            let passed = desk.send_by(from, Port::Rtp, source, packet);
            let (port, to, passed) = passed.unwrap();
            let there = if source == A { B } else { A };
            assert_eq!((port, to, &passed), (Port::Rtp, at(there), packet));
        }
    }
    // Nobody else has a word, not even by the number of a source that was heard.
    assert_eq!(
        desk.send_by(Side::Caller, Port::Rtp, C, &like_voice(9, 91)),
        None
    );
    assert_eq!(desk.tally.dropped_stranger, 1);
    // And nobody has another word: whose address this is trusts us.
    for port in [Port::Rtp, Port::Rtcp] {
        assert_eq!(desk.send_by(Side::Caller, port, A, SIP), None);
    }
    assert_eq!(desk.tally.dropped_malformed, 2);
    let report = desk.session.report(|_, _| 0);
    for side in &report.sides {
        let octets = packets.iter().map(Vec::len).sum::<usize>() as u64;
        let received = side[0].received;
        assert_eq!(
            (received.packets, received.octets, received.lost),
            (5, octets, 0)
        );
    }
    // Its silence is nobody's loss, and is not filled.
    desk.pass(10_000);
    assert_eq!((desk.said.packets.len(), desk.said.events.len()), (0, 0));

    // The sound goes on under the one source that was heard before.
    let mut desk = Desk::call(audio(A), audio(B));
    let (_, _, before) = desk
        .send_by(Side::Caller, Port::Rtp, A, &voice(1, 1, 0))
        .unwrap();
    for (side, stream) in [(Side::Caller, fax(A)), (Side::Callee, fax(B))] {
        desk.configure(side, 1, stream);
    }
    for packet in &packets {
        desk.send_by(Side::Caller, Port::Rtp, A, packet).unwrap();
    }
    for (side, stream) in [(Side::Caller, audio(A)), (Side::Callee, audio(B))] {
        desk.configure(side, 1, stream);
    }
    let (_, _, after) = desk
        .send_by(Side::Caller, Port::Rtp, A, &voice(1, 60, 0))
        .unwrap();
    let [before, after] = [before, after].map(|packet| rtp::parse(&packet).unwrap());
    assert_eq!(after.ssrc, before.ssrc);
    assert_ne!(after.sequence, before.sequence);
}

#[test]
fn only_the_rtp_target_can_be_unreachable() {
    let mut desk = Desk::call(audio(A), audio(B));
    let callee = Side::Callee;
    assert!(
        !desk
            .session
            .refused(callee, 0, at("198.51.100.2:5001"), desk.now)
    );
    assert!(!desk.session.refused(callee, 0, at(C), desk.now));
    assert!(desk.session.refused(callee, 0, at(B), desk.now));
    assert!(!desk.session.refused(callee, 0, at(B), desk.now));
    desk.now = desk.now + 1_000_000;
    assert!(desk.session.refused(callee, 0, at(B), desk.now));
    // Another target is news at once; a lost side is none.
    desk.configure(callee, 1, audio(C));
    assert!(desk.session.refused(callee, 0, at(C), desk.now));
    desk.session.lose(callee, desk.now);
    desk.now = desk.now + 5_000_000;
    assert!(!desk.session.refused(callee, 0, at(C), desk.now));
}

#[test]
fn silence_is_a_matter_of_the_whole_side() {
    let mut desk = Desk::call(audio(A), audio(B));
    let media = desk.session.media;
    desk.pass(2000);
    desk.send(Side::Caller, A, &voice(1, 1, 0));
    // Strangers are no sign of life, RTCP is.
    desk.send(Side::Callee, C, &voice(2, 1, 0));
    let side = Side::Callee;
    assert_eq!(desk.pass(2000), [MediaEvent::Silent { media, side }]);
    desk.send_by(side, Port::Rtcp, B, &receiver_report(2));
    assert_eq!(desk.said.events, [MediaEvent::Reported { media, side }]);
    desk.said.events.clear();
    let mut held = audio(A);
    held.voice = Voice::None;
    desk.configure(Side::Caller, 1, held);
    assert_eq!(desk.pass(10_000), [MediaEvent::Silent { media, side }]);
}

#[test]
fn a_phone_that_moved_is_followed_by_its_ssrc() {
    let mut desk = Desk::call(audio(A), audio(B));
    let before = desk.send(Side::Caller, A, &voice(1, 10, 0)).unwrap();
    desk.pass(600);
    let moved = desk.send(Side::Caller, C, &voice(1, 40, 0)).unwrap();
    // One source, so its numbers stand as they are.
    assert_eq!(moved.sequence, before.sequence + 30);
    assert!(!moved.marker);
    assert_eq!(desk.tally.relatches, 1);
    let (_, to, _) = desk
        .send_by(Side::Callee, Port::Rtp, B, &voice(2, 1, 0))
        .unwrap();
    assert_eq!(to, at(C));
}

#[test]
fn addresses_that_are_none_get_nothing() {
    for address in [
        "0.0.0.0:4000",
        "192.0.2.1:0",
        "224.0.0.5:4000",
        "255.255.255.255:9",
    ] {
        let mut callee = audio(B);
        callee.rtp = Some(at(address));
        callee.rtcp = None;
        let mut desk = Desk::call(audio(A), callee);
        assert_eq!(desk.send(Side::Caller, A, &voice(1, 1, 0)), None);
        let report = receiver_report(1);
        let beside = "192.0.2.1:4001";
        assert_eq!(
            desk.send_by(Side::Caller, Port::Rtcp, beside, &report),
            None
        );
        assert_eq!(desk.tally.dropped_no_target, 2, "{address}");
    }
}

#[test]
fn nobody_elsewhere_names_an_address_of_this_machine_alone() {
    let mut desk = Desk::call(audio(A), audio(B));
    let mut callee = audio("127.0.0.1:4000");
    callee.rtcp = Some(at("127.0.0.1:4001"));
    desk.session.configure(
        Configuration {
            side: Side::Callee,
            generation: 2,
            signalling: at(B).ip(),
            streams: vec![callee],
            v4: true,
        },
        desk.now,
    );
    assert_eq!(desk.send(Side::Caller, A, &voice(1, 1, 0)), None);
    let report = receiver_report(1);
    let beside = "192.0.2.1:4001";
    assert_eq!(
        desk.send_by(Side::Caller, Port::Rtcp, beside, &report),
        None
    );
    // It is heard, and answered, where it calls from.
    assert!(desk.send(Side::Callee, B, &voice(2, 1, 0)).is_some());
    let (_, to, _) = desk
        .send_by(Side::Caller, Port::Rtp, A, &voice(1, 2, 160))
        .unwrap();
    assert_eq!(to, at(B));
}

#[test]
fn a_restart_goes_on_on_the_same_line() {
    let mut before = Desk::call(audio(A), audio(B));
    let sent = before.send(Side::Caller, A, &voice(1, 10, 0)).unwrap();
    let line: LineState = before.session.report(|_, _| 0).sides[1][0].line.unwrap();
    assert_eq!((line.ssrc, line.sequence, line.at_ms), (1, 10, 1_000_001));
    let mut desk = Desk::new();
    desk.now = Micros::from_ms(2001);
    desk.session.open(Side::Callee, 1);
    desk.session.resume(Side::Callee, &[line], desk.now);
    desk.configure(Side::Caller, 1, audio(A));
    desk.configure(Side::Callee, 1, audio(B));
    desk.pass(20);
    let next = desk.send(Side::Caller, A, &voice(1, 110, 0)).unwrap();
    assert_eq!((next.ssrc, next.timestamp), (1, sent.timestamp + 16_160));
    assert!((100..3000).contains(&(next.sequence - sent.sequence)));
}
