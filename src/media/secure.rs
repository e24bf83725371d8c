//! SRTP on one stream of one side: what comes is opened before anything looks at it, what goes is
//! sealed after everything is written.

use crate::engine::ports::SrtpKeys;
use crate::media::counters::Dropped;
use crate::media::srtp::{Inbound, Outbound, Refused};
use crate::media::stream::Stream;

/// The contexts of one stream.
#[derive(Debug)]
pub(crate) struct Secure {
    keys: SrtpKeys,
    inbound: Inbound,
    outbound: Outbound,
    /// False where the side speaks plain RTP by now. The contexts stay, so that the same key never
    /// begins anew.
    active: bool,
}

impl Secure {
    /// None where a key is not one of its suite.
    fn new(keys: SrtpKeys, unix_us: u64) -> Option<Self> {
        Some(Self {
            inbound: Inbound::new(&keys.theirs)?,
            outbound: Outbound::new(&keys.ours, unix_us)?,
            keys,
            active: true,
        })
    }

    fn take(&mut self, keys: SrtpKeys, unix_us: u64) -> Option<()> {
        if self.keys.theirs != keys.theirs {
            self.inbound = Inbound::new(&keys.theirs)?;
        }
        if self.keys.ours != keys.ours {
            self.outbound = Outbound::new(&keys.ours, unix_us)?;
        }
        self.keys = keys;
        Some(())
    }
}

impl Stream {
    /// Takes the side's keys, none for plain RTP. Keys that stay the same go on where they are.
    pub(crate) fn secure_with(&mut self, keys: Option<Box<SrtpKeys>>, unix_us: u64) {
        match (&mut self.secure, keys) {
            (None, None) => {}
            (Some(secure), None) => secure.active = false,
            (None, Some(keys)) => {
                self.secure = Secure::new(*keys, unix_us).map(Box::new);
                self.wishes.active &= self.secure.is_some();
            }
            (Some(secure), Some(keys)) => {
                secure.active = true;
                self.wishes.active &= secure.take(*keys, unix_us).is_some();
            }
        }
    }

    /// Checks and decrypts what came, and returns its octets then.
    pub(crate) fn unseal(&mut self, control: bool, packet: &mut [u8]) -> Result<usize, Dropped> {
        let Some(secure) = self.secure.as_mut().filter(|secure| secure.active) else {
            return Ok(packet.len());
        };
        let opened = if control {
            secure.inbound.rtcp(packet)
        } else {
            secure.inbound.rtp(packet)
        };
        opened.map_err(|why| match why {
            Refused::Malformed => Dropped::Malformed,
            Refused::Forged => Dropped::Forged,
            Refused::Replayed => Dropped::Replayed,
        })
    }

    /// Encrypts what is to go to the side: the first `length` octets of `room`. Returns its octets then.
    pub(crate) fn seal(
        &mut self,
        control: bool,
        room: &mut [u8],
        length: usize,
        unix_us: u64,
    ) -> Result<usize, Dropped> {
        let Some(secure) = self.secure.as_mut().filter(|secure| secure.active) else {
            return Ok(length);
        };
        let sealed = if control {
            secure.outbound.rtcp(room, length, unix_us)
        } else {
            secure.outbound.rtp(room, length)
        };
        sealed.ok_or(Dropped::Unsealed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::engine::ids::{ConversationId, Side};
    use crate::engine::ports::{Inside, MediaEvent, PayloadFormat, StreamSettings, Voice};
    use crate::engine::settings::Latch;
    use crate::media::clock::Micros;
    use crate::media::counters::Tally;
    use crate::media::forward::Arrival;
    use crate::media::rtp;
    use crate::media::session::{Configuration, Outbox, Session, SessionRules};
    use crate::media::sound::{Fill, Sound};
    use crate::media::srtp::GROWTH;
    use crate::media::stream::Port;
    use crate::sip::sdp::{MasterKey, Suite};

    const A: &str = "192.0.2.1:4000";
    const B: &str = "198.51.100.2:5000";
    const C: &str = "203.0.113.3:6000";
    const SUITE: Suite = Suite::AesCm128HmacSha1_80;

    #[derive(Default)]
    struct Said(Vec<(Side, Vec<u8>)>);

    impl Outbox for Said {
        fn send(&mut self, side: Side, _: usize, _: Port, _: SocketAddr, packet: &[u8]) {
            self.0.push((side, packet.to_vec()));
        }

        fn filled(&mut self) {}

        fn event(&mut self, _: MediaEvent) {}
    }

    /// A phone's half: it sends under its own key and hears under ours.
    struct Phone {
        keys: Option<SrtpKeys>,
        sends: Option<Outbound>,
        hears: Option<Inbound>,
        at: SocketAddr,
        ssrc: u32,
        next: u16,
    }

    impl Phone {
        fn new(at: &str, ssrc: u32, key: Option<u8>) -> Self {
            let keys = key.map(|octet| SrtpKeys {
                ours: MasterKey::fresh(SUITE, |octets| octets.fill(octet)),
                theirs: MasterKey::fresh(SUITE, |octets| octets.fill(octet + 1)),
            });
            Self {
                sends: keys
                    .as_ref()
                    .and_then(|keys| Outbound::new(&keys.theirs, 0)),
                hears: keys.as_ref().and_then(|keys| Inbound::new(&keys.ours)),
                keys,
                at: at.parse().unwrap(),
                ssrc,
                next: 65_530,
            }
        }

        fn settings(&self) -> StreamSettings {
            StreamSettings {
                active: true,
                rtp: Some(self.at),
                rtcp: Some(SocketAddr::new(self.at.ip(), self.at.port() + 1)),
                rtcp_mux: false,
                voice: Voice::Due,
                receives: true,
                video: false,
                inside: Inside::Rtp,
                srtp: self.keys.clone().map(Box::new),
                formats: vec![PayloadFormat {
                    number: 0,
                    name: "PCMU".into(),
                    clock: 8000,
                }],
                besides: Vec::new(),
                told: Vec::new(),
                ptime: 20,
            }
        }

        /// Returns the next packet of a voice, as it is on the wire.
        fn speak(&mut self) -> Vec<u8> {
            let header = rtp::Header {
                marker: false,
                number: 0,
                sequence: self.next,
                timestamp: u32::from(self.next) * 160,
                ssrc: self.ssrc,
                payload: 160,
            };
            self.next = self.next.wrapping_add(1);
            let mut packet = vec![0x80; rtp::FIXED + 160];
            rtp::write(&mut packet, &header);
            let length = packet.len();
            packet.resize(length + GROWTH, 0);
            let end = match &mut self.sends {
                Some(out) => out.rtp(&mut packet, length).unwrap(),
                None => length,
            };
            packet.truncate(end);
            packet
        }

        fn report(&mut self) -> Vec<u8> {
            let mut packet = [&[0x80, 201, 0, 1][..], &self.ssrc.to_be_bytes()].concat();
            packet.resize(8 + GROWTH, 0);
            let end = match &mut self.sends {
                Some(out) => out.rtcp(&mut packet, 8, 0).unwrap(),
                None => 8,
            };
            packet.truncate(end);
            packet
        }

        /// Hears a packet of the wire; it must be what we sent under our key.
        fn hear(&mut self, packet: &[u8]) -> Vec<u8> {
            let mut packet = packet.to_vec();
            if let Some(inbound) = &mut self.hears {
                let opened = if rtp::is_rtcp(&packet) {
                    inbound.rtcp(&mut packet)
                } else {
                    inbound.rtp(&mut packet)
                };
                packet.truncate(opened.expect("authentic"));
            }
            packet
        }

        fn hear_voice(&mut self, packet: &[u8]) -> rtp::Header {
            let packet = self.hear(packet);
            assert_eq!(packet[12], 0x80, "the words themselves");
            rtp::parse(&packet).unwrap()
        }
    }

    struct Desk {
        session: Session,
        now: Micros,
        tally: Tally,
        said: Said,
    }

    impl Desk {
        fn call(caller: &Phone, callee: &Phone) -> Self {
            let rules = SessionRules {
                tone: Arc::new(Sound::beeps()),
                latch: Latch::Signalling,
                silence: Some(3_000_000),
                filler: Fill::Silence,
                epoch_us: 1_000_000_000,
            };
            let mut desk = Self {
                session: Session::new(ConversationId(1), Arc::new(rules), 42),
                now: Micros::from_ms(1),
                tally: Tally::default(),
                said: Said::default(),
            };
            desk.configure(Side::Caller, 1, caller);
            desk.configure(Side::Callee, 1, callee);
            desk
        }

        fn configure(&mut self, side: Side, generation: u32, phone: &Phone) {
            let told = Configuration {
                side,
                generation,
                signalling: phone.at.ip(),
                streams: vec![phone.settings()],
                v4: true,
            };
            self.session.configure(told, self.now);
        }

        fn send(
            &mut self,
            side: Side,
            port: Port,
            from: SocketAddr,
            packet: &[u8],
        ) -> Option<Vec<u8>> {
            let mut room = packet.to_vec();
            room.resize(packet.len() + GROWTH, 0);
            let arrival = Arrival {
                side,
                stream: 0,
                port,
                source: from,
            };
            let passed =
                self.session
                    .packet(&arrival, &mut room, packet.len(), self.now, &mut self.tally);
            self.now = self.now + 20_000;
            let forward = passed.forward?;
            room.truncate(forward.length);
            Some(room)
        }

        fn voice(&mut self, side: Side, from: &mut Phone) -> Option<Vec<u8>> {
            let packet = from.speak();
            self.send(side, Port::Rtp, from.at, &packet)
        }

        fn pass(&mut self, ms: u64) -> Vec<(Side, Vec<u8>)> {
            let end = self.now + ms * 1000;
            while let Some(next) = self.session.deadline().filter(|next| *next <= end) {
                self.now = self.now.max(next);
                self.session.poll(self.now, &mut self.said);
            }
            self.now = end;
            std::mem::take(&mut self.said.0)
        }
    }

    #[test]
    fn each_side_hears_under_its_own_key() {
        for (caller, callee) in [(Some(1), Some(11)), (Some(1), None), (None, Some(11))] {
            let mut caller = Phone::new(A, 1, caller);
            let mut callee = Phone::new(B, 2, callee);
            let mut desk = Desk::call(&caller, &callee);
            let mut last = None;
            // Over the wrap of the sequence numbers.
            for _ in 0..20 {
                let wire = desk.voice(Side::Caller, &mut caller).unwrap();
                let header = callee.hear_voice(&wire);
                if let Some(last) = last {
                    assert_eq!(header.sequence, u16::wrapping_add(last, 1));
                }
                last = Some(header.sequence);
                let wire = desk.voice(Side::Callee, &mut callee).unwrap();
                caller.hear_voice(&wire);
            }
            let report = caller.report();
            let from = SocketAddr::new(caller.at.ip(), caller.at.port() + 1);
            let wire = desk.send(Side::Caller, Port::Rtcp, from, &report).unwrap();
            assert!(rtp::is_rtcp(&callee.hear(&wire)));
            assert_eq!(desk.tally.dropped_forged, 0);
        }
    }

    #[test]
    fn the_survivor_hears_one_line_under_one_key_over_a_new_phone() {
        let mut survivor = Phone::new(A, 1, Some(1));
        let mut first = Phone::new(B, 2, Some(11));
        let mut desk = Desk::call(&survivor, &first);
        let wire = desk.voice(Side::Callee, &mut first).unwrap();
        let mut before = survivor.hear_voice(&wire);
        desk.voice(Side::Caller, &mut survivor).unwrap();
        desk.session.lose(Side::Callee, desk.now);
        let filled = desk.pass(200);
        assert!(filled.len() >= 8, "{}", filled.len());
        for (side, wire) in filled {
            assert_eq!(side, Side::Caller);
            let packet = survivor.hear(&wire);
            if rtp::is_rtcp(&packet) {
                continue;
            }
            let header = rtp::parse(&packet).unwrap();
            assert_eq!(header.ssrc, before.ssrc);
            assert_eq!(header.sequence, before.sequence.wrapping_add(1));
            before = header;
        }
        let mut second = Phone::new(C, 3, Some(21));
        desk.configure(Side::Callee, 2, &second);
        // The survivor's own packets go on under its key, and the new phone hears them under its own.
        let wire = desk.voice(Side::Caller, &mut survivor).unwrap();
        second.hear_voice(&wire);
        let wire = desk.voice(Side::Callee, &mut second).unwrap();
        let header = survivor.hear_voice(&wire);
        assert_eq!(header.ssrc, before.ssrc);
        assert_eq!(header.sequence, before.sequence.wrapping_add(1));
        // Nobody took the old phone's key along.
        let late = first.speak();
        assert_eq!(desk.send(Side::Callee, Port::Rtp, second.at, &late), None);
        assert_eq!(desk.tally.dropped_forged, 1);
    }

    #[test]
    fn a_forged_packet_takes_no_stream() {
        let mut caller = Phone::new(A, 1, Some(1));
        let mut callee = Phone::new(B, 2, Some(11));
        let mut desk = Desk::call(&caller, &callee);
        // From the very address that may be latched to, before the phone's own first packet.
        let mut thief = Phone::new(A, 1, Some(31));
        let forged = thief.speak();
        let beside: SocketAddr = "192.0.2.1:9999".parse().unwrap();
        assert_eq!(desk.send(Side::Caller, Port::Rtp, beside, &forged), None);
        let report = thief.report();
        assert_eq!(desk.send(Side::Caller, Port::Rtcp, beside, &report), None);
        assert_eq!(desk.tally.dropped_forged, 2);
        // Plain RTP is no way in either.
        let plain = Phone::new(A, 1, None).speak();
        assert_eq!(desk.send(Side::Caller, Port::Rtp, caller.at, &plain), None);
        assert_eq!(desk.tally.dropped_forged, 3);
        let target = desk.session.sides[0].streams[0].rtp.target();
        assert_eq!(target, Some(caller.at));
        let spoken = caller.speak();
        assert!(
            desk.send(Side::Caller, Port::Rtp, caller.at, &spoken)
                .is_some()
        );
        // Heard on the way and sent again from elsewhere, even when the phone has long been silent.
        desk.pass(5000);
        assert_eq!(desk.send(Side::Caller, Port::Rtp, beside, &spoken), None);
        assert_eq!(desk.tally.dropped_replayed, 1);
        let wire = desk.voice(Side::Callee, &mut callee).unwrap();
        caller.hear_voice(&wire);
    }

    #[test]
    fn a_new_key_of_one_end_leaves_the_other_ends_as_it_is() {
        let mut caller = Phone::new(A, 1, Some(1));
        let callee = Phone::new(B, 2, Some(11));
        let mut desk = Desk::call(&caller, &callee);
        let mut callee = callee;
        let wire = desk.voice(Side::Callee, &mut callee).unwrap();
        let before = caller.hear_voice(&wire);
        let keys = caller.keys.as_mut().unwrap();
        keys.theirs = MasterKey::fresh(SUITE, |octets| octets.fill(99));
        caller.sends = Outbound::new(&keys.theirs, 0);
        desk.configure(Side::Caller, 1, &caller);
        let wire = desk.voice(Side::Caller, &mut caller).unwrap();
        callee.hear_voice(&wire);
        let wire = desk.voice(Side::Callee, &mut callee).unwrap();
        assert_eq!(
            caller.hear_voice(&wire).sequence,
            before.sequence.wrapping_add(1)
        );
    }

    #[test]
    fn a_restart_under_the_same_key_speaks_as_another_source() {
        let line = |seed: u64| {
            let caller = Phone::new(A, 1, Some(1));
            let mut callee = Phone::new(B, 2, None);
            let mut desk = Desk::call(&caller, &callee);
            desk.session = Session::new(ConversationId(1), Arc::clone(&desk.session.rules), seed);
            desk.configure(Side::Caller, 1, &caller);
            desk.configure(Side::Callee, 1, &callee);
            let wire = desk.voice(Side::Callee, &mut callee).unwrap();
            rtp::ssrc(&wire).unwrap()
        };
        // Never the source's, which would be the same after a restart.
        assert_ne!(line(1), 2);
        assert_ne!(line(1), line(3));
    }

    #[test]
    fn a_tone_is_under_the_key_of_who_hears_it() {
        let mut survivor = Phone::new(A, 1, Some(1));
        let mut other = Phone::new(B, 2, Some(11));
        other.next = 100;
        let mut desk = Desk::call(&survivor, &other);
        let wire = desk.voice(Side::Callee, &mut other).unwrap();
        let mut before = survivor.hear_voice(&wire);
        desk.session.tone(Side::Caller, desk.now);
        let mut heard = Vec::new();
        for _ in 0..20 {
            let wire = desk.voice(Side::Callee, &mut other).unwrap();
            let packet = survivor.hear(&wire);
            let header = rtp::parse(&packet).unwrap();
            assert_eq!(header.ssrc, before.ssrc);
            assert_eq!(header.sequence, before.sequence.wrapping_add(1));
            heard.extend_from_slice(&packet[rtp::FIXED..]);
            before = header;
        }
        let sound = Sound::beeps();
        let beeps = sound.octets(crate::media::payload::Coding::Pcmu).unwrap();
        assert_eq!(heard, beeps);
    }
}
