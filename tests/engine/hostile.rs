//! Nonsense within a conversation: random requests, answers, damaged bytes, ICMP and time. Nothing may
//! panic, spin or be left over, whatever a phone or a stranger sends.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use refork::engine::events::Happening;
use refork::engine::ids::Side;
use refork::engine::ports::{Command, Input, MediaEvent};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

const STATUSES: [u16; 20] = [
    100, 180, 183, 200, 202, 302, 400, 401, 404, 408, 415, 420, 480, 481, 486, 487, 488, 491, 500,
    603,
];

struct Chaos {
    rng: StdRng,
    table: Table,
    alice: Remote,
    bob: Remote,
    /// What the phones were asked, to be answered at some time or never.
    asked: Vec<(std::net::SocketAddr, Message)>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut table = Table::new(settings());
        table.register("bob", desk(), "desk");
        table.register("bob", mobile(), "mobile");
        table.damages = true;
        let (alice, bob) = if seed.is_multiple_of(2) {
            table.established()
        } else {
            table.texting()
        };
        Self {
            rng: StdRng::seed_from_u64(seed),
            table,
            alice,
            bob,
            asked: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..12) {
            0..4 => self.request(),
            4..8 => self.answer(),
            8 => {
                let span = self.rng.random_range(1..8_000);
                self.table.pass(Millis(span));
            }
            9 => {
                let at = *[alice(), desk(), mobile()].choose(&mut self.rng).unwrap();
                self.table.icmp(at);
            }
            10 => self.outside(),
            _ => {
                if self.rng.random_bool(0.1) {
                    self.table.restart();
                }
            }
        }
        for at in [alice(), desk(), mobile()] {
            while let Some(message) = self.table.any_to(at) {
                if message.is_request() && *message.method() != Method::Ack {
                    self.asked.push((at, message));
                }
            }
        }
        self.asked.truncate(64);
    }

    fn request(&mut self) {
        let methods = [
            Method::Invite,
            Method::Ack,
            Method::Bye,
            Method::Cancel,
            Method::Options,
            Method::Message,
            Method::Info,
            Method::Update,
            Method::Prack,
            Method::Notify,
            Method::Refer,
            Method::Other("ODD".into()),
        ];
        let method = methods.choose(&mut self.rng).unwrap().clone();
        // A plain BYE ends it all: seldom.
        if method == Method::Bye && self.rng.random_bool(0.9) {
            return;
        }
        let from_alice = self.rng.random_bool(0.5);
        let remote = if from_alice {
            &mut self.alice
        } else {
            &mut self.bob
        };
        let at = remote.at;
        let cseq = if self.rng.random_bool(0.2) {
            self.rng.random()
        } else {
            remote.cseq += 1;
            remote.cseq
        };
        let mut builder = remote.numbered(method, cseq % (i32::MAX as u32));
        if self.rng.random_bool(0.1) {
            builder = builder.header(Name::Require, "100rel");
        }
        let bytes = match self.rng.random_range(0..5) {
            0 => builder.end(),
            1 => builder.body("text/plain", b"hello"),
            2 => builder.body("application/sdp", b"v=0\r\nm=audio\r\n"),
            3 => with_sdp(builder, &sdp(at, 2, "sendonly")),
            _ => with_sdp(builder, &sdp(at, 3, "sendrecv").replace("0 8 101", "8 96")),
        };
        let bytes = self.damaged(bytes.to_vec());
        self.table.raw(at, bytes.into());
    }

    fn answer(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.asked.len());
        let (phone, request) = if self.rng.random_bool(0.3) {
            self.asked[at].clone()
        } else {
            self.asked.swap_remove(at)
        };
        let status = *STATUSES.choose(&mut self.rng).unwrap();
        let tag = *["b1", "m1", "x1", "tcall1"].choose(&mut self.rng).unwrap();
        let builder = response(&request, status, phone, tag);
        let bytes = if self.rng.random_bool(0.5) {
            with_sdp(builder, &sdp(phone, 1, "sendrecv"))
        } else {
            builder.end()
        };
        let bytes = self.damaged(bytes.to_vec());
        self.table.raw(phone, bytes.into());
    }

    fn outside(&mut self) {
        let Some(id) = self.table.engine.list(1).first().map(|summary| summary.key) else {
            return;
        };
        let side = if self.rng.random_bool(0.5) {
            Side::Caller
        } else {
            Side::Callee
        };
        let input = match self.rng.random_range(0..7) {
            5 => Input::Media(MediaEvent::Overheard {
                media: id,
                side,
                number: self.rng.random_range(0..4),
            }),
            0 => Input::Media(MediaEvent::Silent { media: id, side }),
            1 => Input::Media(MediaEvent::Flowing { media: id, side }),
            2 => Input::Media(MediaEvent::Unreachable { media: id, side }),
            3 => Input::Media(MediaEvent::Toned {
                media: id,
                side,
                whole: true,
            }),
            4 => Input::Media(MediaEvent::Opened {
                media: id,
                side,
                generation: self.rng.random_range(0..3),
                result: self.rng.random_bool(0.5).then(Vec::new),
            }),
            _ => Input::Command(Command::DeclareLost {
                conversation: id,
                side,
            }),
        };
        self.table.input(input);
    }

    /// Now and then a byte is lost, changed or doubled on the way.
    fn damaged(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.rng.random_bool(0.8) || bytes.is_empty() {
            return bytes;
        }
        let at = self.rng.random_range(0..bytes.len());
        match self.rng.random_range(0..4) {
            0 => bytes[at] = self.rng.random(),
            1 => bytes.truncate(at),
            2 => {
                bytes.remove(at);
            }
            _ => bytes.insert(at, b'\n'),
        }
        bytes
    }
}

#[test]
fn nothing_that_is_sent_within_a_conversation_breaks_it() {
    let mut lost = 0;
    for seed in 0..200 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..150 {
            chaos.step();
        }
        lost += chaos
            .table
            .happened(|what| matches!(what, Happening::Lost { .. }));
        // Everyone falls silent: what stands is lost, is given up, and leaves nothing.
        chaos.table.pass(Millis::from_secs(60));
        for summary in chaos.table.engine.list(1) {
            for side in [Side::Caller, Side::Callee] {
                let media = summary.key;
                chaos
                    .table
                    .input(Input::Media(MediaEvent::Silent { media, side }));
            }
        }
        chaos.table.pass(Millis::from_secs(600));
        let left = chaos.table.engine.gauges();
        assert!(left.is_at_rest(), "seed {seed}: {left:?}");
    }
    assert!(
        lost > 100,
        "the nonsense no longer reaches the conversation: {lost} losses"
    );
}

#[test]
fn a_forged_2xx_is_not_multiplied() {
    let mut t = Table::new(settings());
    let victim = phone("203.0.113.66:53");
    let forge = |number: u32| {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {SERVER};branch=z9hG4bKrf{number:018}\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:x@203.0.113.67>\r\nRecord-Route: <sip:203.0.113.68;lr>\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    t.receive(victim, forge(0).into());
    t.pass(Millis::from_secs(33));
    assert_eq!(t.discard(victim), 1, "a BYE");
    for number in 0..1000 {
        t.receive(victim, forge(number).into());
    }
    assert_eq!(t.discard(victim), 50);
    t.ends_empty();
}
