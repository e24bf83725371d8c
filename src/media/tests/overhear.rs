//! Several phones that ring send to one port, and one of them is heard.

use super::*;
use crate::engine::ports::Other;

/// Behind the NAT of `C`.
const NATTED: &str = "10.0.0.7:4000";
const SIDE: Side = Side::Callee;

impl Desk {
    /// Bob is heard, and another one rings who is known by this number.
    fn rings_too(&mut self, number: u32, rtp: &str, signalling: &str) {
        let other = Other {
            number,
            signalling: at(signalling).ip(),
            rtp: vec![Some(at(rtp))],
        };
        self.session.overhear(SIDE, vec![other], self.now);
    }

    /// Returns who was overheard as somebody sends for so long.
    fn sends_for(&mut self, from: &str, ssrc: u32, ms: u64) -> Option<u32> {
        let mut events = Vec::new();
        for packet in 0..ms / 20 {
            assert_eq!(self.send(SIDE, from, &voice(ssrc, packet as u16, 0)), None);
            events.extend(self.pass(20));
        }
        overheard(events)
    }
}

fn overheard(events: Vec<MediaEvent>) -> Option<u32> {
    let mut numbers = Vec::new();
    for event in events {
        if let MediaEvent::Overheard { side, number, .. } = event {
            assert_eq!(side, SIDE);
            numbers.push(number);
        }
    }
    assert!(numbers.len() < 2, "told once: {numbers:?}");
    numbers.pop()
}

#[test]
fn one_that_sends_is_told_of_where_who_is_heard_does_not() {
    // By the address of its SDP, by its host, by the host of its SIP; its host is Bob's, and that is another phone.
    for (rtp, signalling, from) in [
        (C, C, C),
        (C, A, "203.0.113.3:61000"),
        (NATTED, C, "203.0.113.3:61000"),
        ("198.51.100.2:7000", B, "198.51.100.2:7000"),
    ] {
        let mut desk = Desk::call(audio(A), audio(B));
        desk.pass(2000);
        desk.rings_too(5, rtp, signalling);
        // Bob has so long to begin.
        assert_eq!(desk.sends_for(from, 9, 200), None, "{rtp}");
        assert_eq!(desk.sends_for(from, 9, 1000), Some(5), "once {rtp}");
        // It is told anew of whom there is.
        desk.rings_too(6, rtp, signalling);
        assert_eq!(desk.sends_for(from, 9, 40), Some(6), "{rtp}");
        // It is heard from then on.
        let mut heard = audio(rtp);
        heard.rtp = Some(at(rtp));
        let told = Configuration {
            side: SIDE,
            generation: 1,
            signalling: at(signalling).ip(),
            streams: vec![heard],
            v4: true,
        };
        desk.session.configure(told, desk.now);
        desk.rings_too(7, B, B);
        assert!(desk.send(SIDE, from, &voice(9, 900, 0)).is_some(), "{rtp}");
        assert_eq!(desk.sends_for(B, 8, 900), None, "{rtp}");
        assert_eq!(desk.sends_for(B, 8, 400), Some(7), "{rtp}");
    }
}

#[test]
fn who_is_heard_is_not_interrupted_and_may_pause() {
    let mut desk = Desk::call(audio(A), audio(B));
    desk.pass(2000);
    desk.rings_too(5, C, C);
    for round in 0..5 {
        assert!(desk.send(SIDE, B, &voice(7, round, 0)).is_some());
        assert_eq!(desk.sends_for(C, 9, 900), None);
    }
    assert_eq!(desk.sends_for(C, 9, 300), Some(5));
    // Back in time.
    assert!(desk.send(SIDE, B, &voice(7, 90, 0)).is_some());
}

#[test]
fn only_media_of_those_who_ring_counts() {
    let mut desk = Desk::call(audio(A), audio(B));
    desk.pass(2000);
    desk.rings_too(5, C, C);
    desk.pass(2000);
    assert_eq!(desk.sends_for("203.0.113.66:4000", 9, 100), None);
    for (port, packet) in [
        (Port::Rtp, receiver_report(9)),
        (Port::Rtcp, receiver_report(9)),
        (Port::Rtp, vec![0; 20]),
    ] {
        desk.send_by(SIDE, port, C, &packet);
    }
    // Bob's own, under another SSRC than a moment ago.
    assert!(desk.send(SIDE, B, &voice(7, 1, 0)).is_some());
    assert_eq!(desk.send(SIDE, B, &voice(8, 1, 0)), None);
    assert_eq!(overheard(desk.pass(100)), None);
    // Nor once nobody rings any more.
    desk.pass(2000);
    desk.session.overhear(SIDE, Vec::new(), desk.now);
    assert_eq!(desk.sends_for(C, 9, 400), None);
    desk.rings_too(5, C, C);
    desk.configure(SIDE, 1, audio(B));
    assert_eq!(desk.sends_for(C, 9, 400), None);
}
