//! A tone in place of a notice, as it is seen on the wire.

use super::*;

/// What the beeps are in a format.
fn beeps(coding: Coding) -> Vec<u8> {
    Sound::beeps().octets(coding).unwrap().to_vec()
}

fn toned(side: Side, whole: bool) -> MediaEvent {
    MediaEvent::Toned {
        media: ConversationId(1),
        side,
        whole,
    }
}

impl Desk {
    fn tone(&mut self, side: Side) {
        self.session.tone(side, self.now);
        self.session.poll(self.now, &mut self.said);
    }

    /// Bob says something every 20 ms. Returns what Alice gets of it.
    fn bob_says(&mut self, sequences: std::ops::Range<u16>, number: u8) -> Vec<(Header, Vec<u8>)> {
        let mut heard = Vec::new();
        for sequence in sequences {
            let packet = voice(2, sequence, number);
            let (_, _, packet) = self.send_by(Side::Callee, Port::Rtp, B, &packet).unwrap();
            let header = rtp::parse(&packet).unwrap();
            heard.push((header, packet[rtp::FIXED..].to_vec()));
            self.pass_but_keep_events(20);
        }
        heard
    }

    fn pass_but_keep_events(&mut self, ms: u64) {
        let events = self.pass(ms);
        self.said.events.extend(events);
    }

    fn events(&mut self) -> Vec<MediaEvent> {
        let events = std::mem::take(&mut self.said.events);
        let is_toned = |event: &MediaEvent| matches!(event, MediaEvent::Toned { .. });
        events.into_iter().filter(is_toned).collect()
    }

    /// What Alice got that nobody has sent, in its order.
    fn made(&mut self) -> Vec<(Header, Vec<u8>)> {
        let packets = std::mem::take(&mut self.said.packets).into_iter();
        packets
            .filter(|(side, port, _, packet)| {
                (*side, *port) == (Side::Caller, Port::Rtp) && !rtp::is_rtcp(packet)
            })
            .map(|(.., packet)| (rtp::parse(&packet).unwrap(), packet[rtp::FIXED..].to_vec()))
            .collect()
    }
}

/// One source, no number left out, time in step with it.
fn is_one_line(heard: &[(Header, Vec<u8>)]) {
    for pair in heard.windows(2) {
        let [(before, _), (after, _)] = pair else {
            unreachable!()
        };
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.sequence, before.sequence.wrapping_add(1));
        assert_eq!(after.timestamp, before.timestamp.wrapping_add(160));
        assert_eq!(after.number, before.number);
        assert_eq!(after.payload, 160);
    }
}

fn payloads(heard: &[(Header, Vec<u8>)]) -> Vec<u8> {
    heard
        .iter()
        .flat_map(|(_, payload)| payload.clone())
        .collect()
}

#[test]
fn it_is_short_and_two_beeps() {
    let beeps = beeps(Coding::Pcmu);
    // Below a second, at 8000 samples each.
    assert_eq!(beeps.len(), 3200);
    let silent = |octets: &[u8]| octets.iter().all(|octet| *octet | 0x80 == 0xff);
    assert!(silent(&beeps[1200..2000]) && !silent(&beeps[..1200]) && !silent(&beeps[2000..]));
    // 1100 Hz: the sign changes twice a turn.
    let turns = beeps[..1200]
        .windows(2)
        .filter(|w| (w[0] ^ w[1]) & 0x80 != 0);
    let turns = turns.count();
    assert!((320..=340).contains(&turns), "{turns}");
}

#[test]
fn it_is_heard_in_place_of_what_the_packets_carried() {
    for (number, coding) in [(0, Coding::Pcmu), (8, Coding::Pcma)] {
        let mut desk = Desk::call(audio(A), audio(B));
        let mut heard = desk.bob_says(700..705, number);
        let said = heard[0].1.clone();
        desk.tone(Side::Caller);
        assert_eq!(desk.events(), []);
        let tone = desk.bob_says(705..725, number);
        assert_eq!(payloads(&tone), beeps(coding));
        assert_eq!(desk.events(), [toned(Side::Caller, true)]);
        let after = desk.bob_says(725..740, number);
        assert!(after.iter().all(|(_, payload)| *payload == said));
        heard.extend(tone);
        heard.extend(after);
        is_one_line(&heard);
        assert!(heard.iter().all(|(header, _)| !header.marker));
        assert_eq!((desk.made(), desk.events()), (vec![], vec![]));
    }
}

#[test]
fn the_other_side_hears_nothing_of_it() {
    let mut desk = Desk::call(audio(A), audio(B));
    desk.bob_says(700..705, 0);
    desk.tone(Side::Caller);
    let own = voice(1, 10, 0);
    let (_, _, packet) = desk.send_by(Side::Caller, Port::Rtp, A, &own).unwrap();
    assert_eq!(packet[rtp::FIXED..], own[rtp::FIXED..]);
}

#[test]
fn what_is_lost_or_late_of_the_packets_is_so_of_the_tone() {
    let mut desk = Desk::call(audio(A), audio(B));
    desk.bob_says(700..705, 0);
    desk.tone(Side::Caller);
    let beeps = beeps(Coding::Pcmu);
    desk.bob_says(705..706, 0);
    let late = desk.bob_says(707..708, 0);
    assert_eq!(late[0].1, beeps[320..480]);
    let older = desk.bob_says(706..707, 0);
    assert_eq!(older[0].1, beeps[160..320]);
    // One from before it began has no part of it.
    let before = desk.bob_says(704..705, 0);
    assert_eq!(before[0].1, voice(2, 704, 0)[rtp::FIXED..]);
}

#[test]
fn keys_that_are_pressed_stay_what_they_are() {
    let mut caller = audio(A);
    caller
        .formats
        .extend(formats(&[(101, "TELEPHONE-EVENT", 8000)]));
    let callee = StreamSettings {
        rtp: audio(B).rtp,
        rtcp: audio(B).rtcp,
        ..caller.clone()
    };
    let mut desk = Desk::call(caller, callee);
    desk.bob_says(700..705, 0);
    desk.tone(Side::Caller);
    desk.bob_says(705..707, 0);
    let key = desk.bob_says(707..708, 101);
    assert_eq!(key[0].1, voice(2, 707, 101)[rtp::FIXED..]);
    assert_eq!(key[0].0.number, 101);
    let on = desk.bob_says(708..709, 0);
    assert_eq!(on[0].1, beeps(Coding::Pcmu)[480..640]);
}

#[test]
fn where_nobody_speaks_it_has_packets_of_its_own() {
    for fill in [Fill::Silence, Fill::Off] {
        let mut desk = Desk::call(audio(A), audio(B));
        desk.session.rules = Arc::new(SessionRules {
            filler: fill,
            ..(*desk.session.rules).clone()
        });
        let last = desk.bob_says(700..705, 8).pop().unwrap().0;
        desk.pass_but_keep_events(1_000);
        desk.tone(Side::Caller);
        desk.pass_but_keep_events(80);
        assert_eq!(desk.made(), [], "he may speak yet");
        desk.pass_but_keep_events(1_000);
        let made = desk.made();
        is_one_line(&made);
        assert_eq!(payloads(&made), beeps(Coding::Pcma));
        let first = &made[0].0;
        assert_eq!((first.ssrc, first.number, first.marker), (2, 8, true));
        assert_eq!(first.sequence, last.sequence.wrapping_add(1));
        assert_eq!(desk.events(), [toned(Side::Caller, true)]);
        // He goes on as if nothing had been.
        let on = desk.bob_says(809..811, 8);
        assert_eq!(
            on[0].0.sequence,
            made.last().unwrap().0.sequence.wrapping_add(1)
        );
        assert_eq!((on[0].0.ssrc, on[0].0.marker), (2, true));
    }
}

#[test]
fn it_goes_on_where_the_other_falls_silent_and_comes_back() {
    let mut desk = Desk::call(audio(A), audio(B));
    desk.bob_says(700..705, 0);
    desk.session.lose(Side::Callee, desk.now);
    desk.pass_but_keep_events(200);
    desk.made();
    desk.tone(Side::Caller);
    desk.pass_but_keep_events(200);
    let by_filler = desk.made();
    is_one_line(&by_filler);
    let part = payloads(&by_filler);
    assert!(part.len() >= 1600 - 160);
    assert_eq!(part[..], beeps(Coding::Pcmu)[..part.len()]);
    // The filler is there for as long as the other is away.
    desk.pass_but_keep_events(400);
    assert_eq!(desk.events(), [toned(Side::Caller, true)]);
    let rest = payloads(&desk.made());
    assert!(rest.ends_with(&[0xff; 160]), "silence again");
}

#[test]
fn what_cannot_carry_it_is_left_alone_and_says_so() {
    let opus = |stream: &mut StreamSettings| stream.formats = formats(&[(111, "OPUS", 48_000)]);
    let g722 = |stream: &mut StreamSettings| stream.formats = formats(&[(9, "G722", 8000)]);
    let gsm = |stream: &mut StreamSettings| stream.formats = formats(&[(3, "GSM", 8000)]);
    let hold = |stream: &mut StreamSettings| stream.receives = false;
    let opaque = |stream: &mut StreamSettings| stream.inside = Inside::Sealed;
    let off = |stream: &mut StreamSettings| stream.active = false;
    let cases: [&dyn Fn(&mut StreamSettings); 6] = [&opus, &g722, &gsm, &hold, &opaque, &off];
    for (at, change) in cases.into_iter().enumerate() {
        let (mut caller, mut callee) = (audio(A), audio(B));
        change(&mut caller);
        callee.formats.clone_from(&caller.formats);
        let mut desk = Desk::call(caller, callee);
        desk.tone(Side::Caller);
        assert_eq!(desk.events(), [toned(Side::Caller, false)], "{at}");
        desk.pass_but_keep_events(1_000);
        assert_eq!((desk.made(), desk.events()), (vec![], vec![]), "{at}");
    }
}

#[test]
fn each_is_answered_once() {
    // Lost meanwhile.
    let mut desk = Desk::call(audio(A), audio(B));
    desk.bob_says(700..705, 0);
    desk.tone(Side::Caller);
    desk.bob_says(705..707, 0);
    desk.session.lose(Side::Caller, desk.now);
    desk.session.poll(desk.now, &mut desk.said);
    assert_eq!(desk.events(), [toned(Side::Caller, false)]);
    // One upon another.
    let mut desk = Desk::call(audio(A), audio(B));
    desk.bob_says(700..705, 0);
    desk.tone(Side::Caller);
    desk.bob_says(705..707, 0);
    desk.tone(Side::Caller);
    assert_eq!(desk.events(), [toned(Side::Caller, false)]);
    assert_eq!(payloads(&desk.bob_says(707..727, 0)), beeps(Coding::Pcmu));
    assert_eq!(desk.events(), [toned(Side::Caller, true)]);
    // Who speaks stops when it has hardly begun.
    let mut desk = Desk::call(audio(A), audio(B));
    desk.bob_says(700..705, 0);
    desk.tone(Side::Caller);
    desk.bob_says(705..706, 0);
    desk.pass_but_keep_events(6_000);
    assert_eq!(desk.events(), [toned(Side::Caller, false)]);
    desk.session.poll(desk.now, &mut desk.said);
    assert_eq!(desk.events(), []);
}
