//! A session between two phones, one of which speaks SRTP, for the fuzz targets: bytes choose what its streams
//! carry, which packets come from where and when, and what is told of its sides meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::engine::ids::{ConversationId, Side};
use crate::engine::ports::{
    Inside, MediaEvent, Other, PayloadFormat, SrtpKeys, StreamSettings, Voice,
};
use crate::engine::settings::Latch as LatchRule;
use crate::media::clock::Micros;
use crate::media::counters::Tally;
use crate::media::forward::Arrival;
use crate::media::session::{Configuration, Outbox, Session, SessionRules};
use crate::media::sound::{Fill, Sound};
use crate::media::srtp::{GROWTH, Inbound, Outbound};
use crate::media::stream::Port;
use crate::sip::sdp::{MasterKey, Suite};

/// Octets of the longest packet that is made.
const LONGEST: usize = 255;

/// Who speaks SRTP.
const SECURE: Side = Side::Callee;

struct Rig {
    session: Session,
    now: Micros,
    tally: Tally,
    /// What the phone with the keys sends and hears under.
    sends: Option<Outbound>,
    hears: Option<Inbound>,
    wishes: u8,
    generation: [u32; 2],
    passed: Passed,
}

/// What became of what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Packets that went on to the other side.
    pub forwarded: usize,
    /// Of these, those that the phone with the keys has opened.
    pub opened: usize,
    /// Packets of the relay's own.
    pub filled: usize,
}

struct Said<'a>(&'a mut usize);

impl Outbox for Said<'_> {
    fn send(&mut self, _: Side, _: usize, _: Port, to: SocketAddr, packet: &[u8]) {
        assert!(to.port() != 0 && packet.len() >= 8, "RTP or RTCP");
        *self.0 += 1;
    }

    fn filled(&mut self) {}

    fn event(&mut self, _: MediaEvent) {}
}

fn at(side: Side, port: Port) -> SocketAddr {
    let host = Ipv4Addr::new(192, 0, 2, 1 + side.index() as u8);
    SocketAddr::new(IpAddr::V4(host), 4000 + u16::from(port == Port::Rtcp))
}

fn key(octet: u8, gcm: bool) -> MasterKey {
    let suite = if gcm {
        Suite::AeadAes128Gcm
    } else {
        Suite::AesCm128HmacSha1_80
    };
    MasterKey::fresh(suite, |octets| octets.fill(octet))
}

impl Rig {
    fn new(wishes: u8) -> Self {
        let rules = SessionRules {
            latch: LatchRule::Signalling,
            silence: Some(3_000_000),
            filler: Fill::Silence,
            tone: Arc::new(Sound::beeps()),
            epoch_us: 1_000_000_000,
        };
        let gcm = wishes & 1 != 0;
        let mut rig = Self {
            session: Session::new(ConversationId(1), Arc::new(rules), 42),
            now: Micros(1000),
            tally: Tally::default(),
            sends: Outbound::new(&key(2, gcm), 1_000_000_000),
            hears: Inbound::new(&key(1, gcm)),
            wishes,
            generation: [1; 2],
            passed: Passed::default(),
        };
        rig.configure(Side::Caller);
        rig.configure(Side::Callee);
        rig
    }

    fn configure(&mut self, side: Side) {
        let gcm = self.wishes & 1 != 0;
        let keys = SrtpKeys {
            ours: key(1, gcm),
            theirs: key(2, gcm),
        };
        let format = |number, name: &str, clock| PayloadFormat {
            number,
            name: name.into(),
            clock,
        };
        let event = if side == SECURE { 101 } else { 97 };
        let formats = vec![
            format(0, "PCMU", 8000),
            format(8, "PCMA", 8000),
            format(event, "TELEPHONE-EVENT", 8000),
        ];
        let stream = StreamSettings {
            active: true,
            rtp: Some(at(side, Port::Rtp)),
            rtcp: Some(at(side, Port::Rtcp)),
            rtcp_mux: self.wishes & 2 != 0,
            voice: Voice::Due,
            receives: true,
            video: self.wishes & 4 != 0,
            inside: match self.wishes >> 3 & 7 {
                0 => Inside::Sealed,
                1 => Inside::Fax,
                _ => Inside::Rtp,
            },
            srtp: (side == SECURE).then(|| Box::new(keys)),
            formats,
            besides: Vec::new(),
            told: Vec::new(),
            ptime: 20,
        };
        let told = Configuration {
            side,
            generation: self.generation[side.index()],
            signalling: at(side, Port::Rtp).ip(),
            streams: vec![stream],
            v4: true,
        };
        self.session.configure(told, self.now);
    }

    /// A packet comes; under the key of its phone, where that is `sealed`.
    fn packet(&mut self, side: Side, port: Port, stranger: bool, sealed: bool, bytes: &[u8]) {
        let mut room = [0; LONGEST + 2 * GROWTH];
        room[..bytes.len()].copy_from_slice(bytes);
        let mut length = bytes.len();
        let unix_us = self.session.rules.epoch_us + self.now.0;
        if let Some(sends) = self.sends.as_mut().filter(|_| sealed) {
            let control = port == Port::Rtcp || crate::media::rtp::is_rtcp(bytes);
            let done = if control {
                sends.rtcp(&mut room, length, unix_us)
            } else {
                sends.rtp(&mut room, length)
            };
            length = done.unwrap_or(length);
        }
        let mut source = at(side, port);
        if stranger {
            source.set_port(source.port() + 10);
        }
        let arrival = Arrival {
            side,
            stream: 0,
            port,
            source,
        };
        let end = length + GROWTH;
        let passed = self.session.packet(
            &arrival,
            &mut room[..end],
            length,
            self.now,
            &mut self.tally,
        );
        if let Some(forward) = passed.forward {
            assert!(forward.length <= end, "it has room");
            assert!(forward.to.port() != 0);
            self.passed.forwarded += 1;
            if side != SECURE {
                self.is_heard(&mut room[..forward.length]);
            }
        }
        if passed.attention {
            self.poll();
        }
    }

    /// What goes to the phone with the keys it can open: each index is used once.
    fn is_heard(&mut self, packet: &mut [u8]) {
        let Some(hears) = &mut self.hears else { return };
        let control = crate::media::rtp::is_rtcp(packet);
        let opened = if control {
            hears.rtcp(packet)
        } else {
            hears.rtp(packet)
        };
        if let Ok(length) = opened {
            assert!(length <= packet.len());
            self.passed.opened += 1;
        }
    }

    fn poll(&mut self) {
        self.session
            .poll(self.now, &mut Said(&mut self.passed.filled));
    }

    /// Who is a stranger else may send, too.
    fn overhear(&mut self, side: Side) {
        let mut rtp = at(side, Port::Rtp);
        let signalling = rtp.ip();
        rtp.set_port(rtp.port() + 10);
        let other = Other {
            number: 1,
            signalling,
            rtp: vec![Some(rtp)],
        };
        self.session.overhear(side, vec![other], self.now);
    }

    /// Something else than a packet.
    fn told(&mut self, side: Side, what: u8) {
        match what {
            0 => self.session.lose(side, self.now),
            1 => {
                self.generation[side.index()] += 1;
                self.configure(side);
            }
            2 => self.configure(side),
            3 => self.session.unplug(side, self.now),
            4 => {
                let target = at(side, Port::Rtp);
                self.session.refused(side, 0, target, self.now);
            }
            5 => self.session.transfer(side, self.now),
            6 => self.overhear(side),
            _ => self.now = self.now + 1_000_000,
        }
    }
}

/// Runs what bytes choose: the first says how the call is made; then each step has an octet for what it is, and for a
/// packet another for its length.
pub(crate) fn run(bytes: &[u8]) -> Passed {
    let Some((wishes, mut rest)) = bytes.split_first() else {
        return Passed::default();
    };
    let mut rig = Rig::new(*wishes);
    while let [step, more @ ..] = rest {
        rest = more;
        let side = [Side::Caller, Side::Callee][usize::from(step & 1)];
        rig.now = rig.now + 5_000 * u64::from(step >> 5);
        if step & 0x10 != 0 {
            rig.told(side, step >> 1 & 7);
        } else {
            let [length, more @ ..] = rest else { break };
            let (packet, more) = more.split_at(usize::from(*length).min(more.len()));
            rest = more;
            let port = if step & 2 != 0 { Port::Rtcp } else { Port::Rtp };
            let sealed = side == SECURE && step & 8 == 0;
            rig.packet(side, port, step & 4 != 0, sealed, packet);
        }
        if rig.session.deadline().is_some_and(|due| due <= rig.now) {
            rig.poll();
        }
    }
    rig.passed
}
