use std::sync::Arc;

use super::*;
use crate::engine::ids::ConversationId;
use crate::engine::ports::{MediaEvent, PayloadFormat, StreamSettings};
use crate::engine::settings::Latch as LatchRule;
use crate::media::report::LineState;
use crate::media::session::{Configuration, Outbox, SessionRules};
use crate::media::sound::{Fill, Sound};

#[path = "tone.rs"]
mod tone;

const A: &str = "192.0.2.1:4000";
const B: &str = "198.51.100.2:5000";
const C: &str = "203.0.113.3:6000";

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
        sends: true,
        receives: true,
        video: false,
        opaque: false,
        srtp: None,
        formats: formats(&[(0, "PCMU", 8000), (8, "PCMA", 8000)]),
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
fn fills_in_the_format_last_spoken_at_the_survivors_pace() {
    for (number, octet) in [(0, 0xff), (8, 0xd5), (9, 0xfd)] {
        let [mut caller, mut callee] = [audio(A), audio(B)];
        caller.formats.extend(formats(&[(9, "G722", 8000)]));
        callee.formats.clone_from(&caller.formats);
        caller.ptime = 30;
        let mut desk = Desk::call(caller, callee);
        let last = desk.send(Side::Callee, B, &voice(2, 700, number)).unwrap();
        desk.pass(100);
        desk.session.lose(Side::Callee, desk.now);
        desk.pass(89);
        let fillers = desk.fillers();
        assert_eq!(fillers.len(), 3);
        for (index, (side, header, silence)) in fillers.into_iter().enumerate() {
            let expected = Header {
                marker: index == 0,
                number,
                sequence: last.sequence + 1 + index as u16,
                timestamp: last.timestamp + 800 + 240 * index as u32,
                ssrc: 2,
                payload: 240,
            };
            assert_eq!((side, header, silence), (Side::Caller, expected, octet));
        }
    }
}

#[test]
fn fills_only_where_silence_can_be_made_and_is_wanted() {
    let hold = |stream: &mut StreamSettings| stream.receives = false;
    let opaque = |stream: &mut StreamSettings| stream.opaque = true;
    let opus = |stream: &mut StreamSettings| {
        stream.formats = formats(&[(111, "OPUS", 48_000), (0, "PCMU", 8000)]);
    };
    let gsm = |stream: &mut StreamSettings| {
        stream.formats = formats(&[(3, "GSM", 8000), (0, "PCMU", 8000)]);
    };
    let off = |stream: &mut StreamSettings| stream.active = false;
    type Change<'a> = &'a dyn Fn(&mut StreamSettings);
    let cases: [(&str, Change<'_>, Option<u8>, bool); 8] = [
        ("as it is", &|_| {}, Some(0), true),
        ("nothing was spoken", &|_| {}, None, true),
        ("hold", &hold, None, false),
        ("opaque", &opaque, Some(0), false),
        ("gsm is spoken", &gsm, Some(3), false),
        ("pcmu beside gsm is spoken", &gsm, Some(0), true),
        ("opus is spoken", &opus, Some(111), true),
        ("rejected", &off, None, false),
    ];
    for (what, change, spoken, filled) in cases {
        let (mut caller, mut callee) = (audio(A), audio(B));
        change(&mut caller);
        callee.formats = formats(&[(111, "OPUS", 48_000), (3, "GSM", 8000), (0, "PCMU", 8000)]);
        let mut desk = Desk::call(caller, callee);
        if let Some(number) = spoken {
            desk.send(Side::Callee, B, &voice(2, 700, number));
        }
        desk.session.lose(Side::Callee, desk.now);
        desk.pass(100);
        let fillers = desk.fillers();
        assert_eq!(!fillers.is_empty(), filled, "{what}");
        assert!(
            fillers.iter().all(|(side, ..)| *side == Side::Caller),
            "{what}"
        );
    }
}

#[test]
fn the_filler_ends_with_the_first_packet_of_the_successor() {
    let mut desk = Desk::call(audio(A), audio(B));
    desk.session.lose(Side::Callee, desk.now);
    desk.pass(50);
    desk.configure(Side::Callee, 2, audio(C));
    desk.pass(40);
    let last = desk.fillers().last().unwrap().1;
    // The dead one is a stranger now.
    assert_eq!(desk.send(Side::Callee, B, &voice(2, 1, 0)), None);
    let first = desk.send(Side::Callee, C, &voice(3, 9000, 0)).unwrap();
    assert_eq!((first.ssrc, first.marker), (last.ssrc, true));
    assert_eq!(first.sequence, last.sequence.wrapping_add(1));
    desk.pass(500);
    assert!(desk.fillers().is_empty());
    assert_eq!(desk.tally.seams, 1);
}

#[test]
fn the_silence_of_opus_is_one_frame_of_it() {
    let opus = |address: &str| {
        let mut stream = audio(address);
        stream.formats = formats(&[(111, "OPUS", 48_000)]);
        stream.ptime = 60;
        stream
    };
    let mut desk = Desk::call(opus(A), opus(B));
    let last = desk.send(Side::Callee, B, &voice(2, 1, 111)).unwrap();
    desk.pass(100);
    desk.session.lose(Side::Callee, desk.now);
    desk.pass(50);
    assert_eq!(desk.said.packets.len(), 3);
    for (at, (_, _, _, packet)) in desk.said.packets.iter().enumerate() {
        let header = rtp::parse(packet).unwrap();
        assert_eq!(
            (header.number, &packet[rtp::FIXED..]),
            (111, &[0xf8, 0xff, 0xfe][..])
        );
        let ahead = header.timestamp.wrapping_sub(last.timestamp);
        assert_eq!(ahead, (100 + 20 * at as u32) * 48);
    }
}

#[test]
fn who_hears_nothing_is_filled_before_the_other_is_known_to_be_lost() {
    let mut desk = Desk::call(audio(A), audio(B));
    let last = desk.send(Side::Callee, B, &voice(2, 700, 0)).unwrap();
    desk.send(Side::Caller, A, &voice(1, 1, 0));
    assert_eq!(desk.pass(2990), []);
    assert_eq!(desk.fillers(), []);
    // Alice talks all the while.
    desk.send(Side::Caller, A, &voice(1, 2, 0));
    desk.pass(100);
    let fillers = desk.fillers();
    assert_eq!(fillers.len(), 5, "3.00 to 3.08 s");
    assert!(fillers.iter().all(|(side, ..)| *side == Side::Caller));
    let (_, first, octet) = fillers[0];
    assert!(first.marker && octet == 0xff);
    assert_eq!(first.sequence, last.sequence + 1);
    assert_eq!(first.timestamp, last.timestamp + 3000 * 8);
    // Its RTCP is life, and nothing to hear; its RTP is joined by a seam.
    desk.send_by(Side::Callee, Port::Rtcp, B, &receiver_report(2));
    desk.pass(100);
    assert_eq!(desk.fillers().len(), 5);
    let back = desk.send(Side::Callee, B, &voice(2, 860, 0)).unwrap();
    assert_eq!(back.sequence, last.sequence + 11);
    assert!(back.marker);
    desk.pass(1000);
    assert_eq!(desk.fillers(), []);
}

#[test]
fn what_a_network_held_back_does_not_put_the_clock_forward() {
    let mut desk = Desk::call(audio(A), audio(B));
    let last = desk.send(Side::Callee, B, &voice(2, 100, 0)).unwrap();
    desk.pass(8000);
    desk.said.packets.clear();
    // Its host lets go of 100 packets at once, those of the last two seconds, and talks on.
    for sequence in 400..498 {
        assert_eq!(desk.send(Side::Callee, B, &voice(2, sequence, 0)), None);
    }
    let first = desk.send(Side::Callee, B, &voice(2, 498, 0)).unwrap();
    assert!(first.marker);
    assert_eq!(
        first.timestamp,
        last.timestamp + 401 * 160,
        "60 ms ahead, and not two seconds"
    );
    desk.pass(20);
    let next = desk.send(Side::Callee, B, &voice(2, 499, 0)).unwrap();
    assert_eq!(next.timestamp, first.timestamp + 160);
    assert_eq!(desk.fillers_to_alice(), [], "it speaks for itself");
}

#[test]
fn a_phone_whose_clock_stood_still_is_heard_again() {
    let mut desk = Desk::call(audio(A), audio(B));
    let last = desk.send(Side::Callee, B, &voice(2, 100, 0)).unwrap();
    desk.pass(8000);
    let mut heard = Vec::new();
    for sequence in 101..121 {
        heard.extend(desk.send(Side::Callee, B, &voice(2, sequence, 0)));
        desk.pass(20);
    }
    assert_eq!(heard.len(), 10, "after 200 ms");
    assert_eq!(
        heard[0].timestamp,
        last.timestamp + 8200 * 8 + 160,
        "behind the filler"
    );
}

#[test]
fn a_silence_on_purpose_is_left_alone() {
    // A hold that comes while it is silent; comfort noise; no word of RTP wanted.
    let mut held = audio(B);
    held.sends = false;
    let mut desk = Desk::call(audio(A), audio(B));
    desk.send(Side::Callee, B, &voice(2, 1, 0));
    desk.pass(3100);
    assert!(!desk.fillers_to_alice().is_empty());
    desk.configure(Side::Callee, 1, held);
    desk.pass(5000);
    assert_eq!(desk.fillers_to_alice(), []);
    let mut noisy = audio(A);
    noisy.formats.extend(formats(&[(13, "CN", 8000)]));
    let mut both = audio(B);
    both.formats.clone_from(&noisy.formats);
    let mut desk = Desk::call(noisy, both);
    desk.send(Side::Callee, B, &voice(2, 1, 0));
    desk.send(Side::Callee, B, &voice(2, 2, 13));
    desk.pass(5000);
    assert_eq!(desk.fillers_to_alice(), []);
    desk.session.lose(Side::Callee, desk.now);
    desk.pass(100);
    assert!(!desk.fillers_to_alice().is_empty());
}

#[test]
fn a_sound_is_heard_from_its_beginning_once_the_other_is_lost() {
    let samples: Vec<i16> = (0..400)
        .map(|at| if at < 200 { 8000 } else { -8000 })
        .collect();
    let sound = crate::engine::settings::Filler::Sound(samples.into());
    for (number, high, low, silence) in [(0, 0xa0, 0x20, 0xff), (8, 0x8a, 0x0a, 0xd5)] {
        let mut desk = Desk::call(audio(A), audio(B));
        desk.session.rules = Arc::new(SessionRules {
            filler: Fill::from(&sound),
            ..(*desk.session.rules).clone()
        });
        desk.send(Side::Callee, B, &voice(2, 1, number));
        desk.pass(3050);
        let last: Vec<u8> = desk
            .fillers_to_alice()
            .iter()
            .map(|filler| filler.2)
            .collect();
        assert_eq!(last, [silence; 3], "it may be back at any moment");
        desk.session.transfer(Side::Callee, desk.now);
        desk.pass(100);
        let fillers = desk.fillers_to_alice();
        assert!(fillers.len() >= 5 && fillers.iter().all(|filler| filler.2 == silence));
        desk.session.lose(Side::Callee, desk.now);
        desk.pass(100);
        let said: Vec<u8> = desk
            .said
            .packets
            .iter()
            .filter(|packet| packet.0 == Side::Caller)
            .flat_map(|packet| packet.3[12..].to_vec())
            .collect();
        assert_eq!(said.len(), 5 * 160);
        let (first, rest) = said.split_at(200);
        assert!(
            first.iter().all(|octet| octet & 0xf0 == high & 0xf0),
            "{first:x?}"
        );
        assert!(
            rest[..200].iter().all(|octet| octet & 0xf0 == low & 0xf0),
            "{rest:x?}"
        );
        assert_eq!(said[..400], said[400..]);
    }
}

#[test]
fn a_survivor_on_hold_is_filled_once_it_listens_again() {
    let mut desk = Desk::call(audio(A), audio(B));
    desk.session.lose(Side::Callee, desk.now);
    let mut held = audio(A);
    held.receives = false;
    desk.configure(Side::Caller, 1, held);
    desk.pass(100);
    assert!(desk.fillers().is_empty());
    desk.configure(Side::Caller, 1, audio(A));
    desk.pass(100);
    assert!(!desk.fillers().is_empty());
    // Lost as well: nobody is there to be filled.
    desk.session.lose(Side::Caller, desk.now);
    desk.pass(100);
    assert!(desk.fillers().is_empty());
}

#[test]
fn a_filled_line_has_sender_reports() {
    let mut desk = Desk::call(audio(A), audio(B));
    desk.session.lose(Side::Callee, desk.now);
    desk.pass(10_100);
    let reports: Vec<_> = desk
        .said
        .packets
        .iter()
        .filter(|(.., packet)| rtp::is_rtcp(packet))
        .collect();
    assert_eq!(reports.len(), 2);
    for (side, port, to, packet) in reports {
        assert_eq!((*side, *port), (Side::Caller, Port::Rtcp));
        assert_eq!(*to, at("192.0.2.1:4001"));
        assert!(rtcp::is_valid(packet));
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
        stream.opaque = true;
        stream
    };
    let mut desk = Desk::call(opaque(A), opaque(B));
    let bye = [&[0x81, 203, 0, 1][..], &[1; 4], &[9; 14]].concat();
    for packet in [vec![22, 254, 255, 0], voice(1, 7, 77), voice(9, 1, 77), bye] {
        let (_, _, passed) = desk.send_by(Side::Caller, Port::Rtp, A, &packet).unwrap();
        assert_eq!(passed, packet);
    }
    assert_eq!(desk.send_by(Side::Caller, Port::Rtp, C, &[22; 20]), None);
    assert_eq!(desk.tally.dropped_stranger, 1);
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
    assert_eq!(desk.said.events, [MediaEvent::Flowing { media, side }]);
    desk.said.events.clear();
    let mut held = audio(A);
    held.sends = false;
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
