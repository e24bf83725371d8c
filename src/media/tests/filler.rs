//! What a survivor hears while the other side is away, and the seam where somebody comes.

use super::*;
use crate::media::payload::Coding;
use crate::media::sound::Said;

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
    let opaque = |stream: &mut StreamSettings| stream.inside = Inside::Sealed;
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
    held.voice = Voice::None;
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
fn music_on_hold_that_ends_is_told_and_filled() {
    let mut music = audio(B);
    (music.voice, music.receives) = (Voice::Perhaps, false);
    let mut held = audio(A);
    held.voice = Voice::None;
    for plays in [false, true] {
        let mut desk = Desk::call(audio(A), audio(B));
        let media = desk.session.media;
        desk.configure(Side::Callee, 1, music.clone());
        desk.configure(Side::Caller, 1, held.clone());
        // The last of its speech, which was under way.
        desk.send(Side::Callee, B, &voice(2, 1, 0));
        desk.pass(1500);
        let side = Side::Callee;
        if plays {
            desk.send(side, B, &voice(2, 2, 0));
            assert_eq!(desk.pass(100), [MediaEvent::Flowing { media, side }]);
        }
        let told = desk.pass(5000);
        let silent: &[MediaEvent] = match plays {
            true => &[MediaEvent::Silent { media, side }],
            false => &[],
        };
        assert_eq!(told, silent);
        assert_eq!(!desk.fillers_to_alice().is_empty(), plays);
    }
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
fn a_sound_is_played_in_wideband_formats_too() {
    let sound = crate::engine::settings::Filler::Sound(vec![8000; 24_000].into());
    let fill = Fill::from(&sound);
    for (format, silence) in [((9, "G722", 8000), 160), ((111, "OPUS", 48_000), 3)] {
        let [mut caller, mut callee] = [audio(A), audio(B)];
        caller.formats = formats(&[format]);
        callee.formats.clone_from(&caller.formats);
        let mut desk = Desk::call(caller, callee);
        desk.session.rules = Arc::new(SessionRules {
            filler: fill.clone(),
            ..(*desk.session.rules).clone()
        });
        desk.send(Side::Callee, B, &voice(2, 1, format.0));
        desk.session.lose(Side::Callee, desk.now);
        desk.pass(3500);
        let packets = &desk.said.packets;
        let said = packets.iter().filter(|packet| !rtp::is_rtcp(&packet.3));
        let said: Vec<&[u8]> = said.map(|packet| &packet.3[12..]).collect();
        let expected: Vec<&[u8]> = match fill.sound().unwrap().of(Coding::of(format.1)).unwrap() {
            Said::Octets(octets) => octets.chunks_exact(160).collect(),
            Said::Frames(frames) => frames.iter().map(|frame| &frame[..]).collect(),
        };
        // All of it, then from its beginning.
        assert!(said.len() > expected.len(), "{}", said.len());
        for (at, said) in said.iter().enumerate() {
            assert_eq!(*said, expected[at % expected.len()], "{at}");
        }
        assert!(said[100].len() >= silence && said[100] != said[0]);
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
