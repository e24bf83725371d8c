//! The engine under a stream of bytes that choose what happens next: requests and answers of phones that
//! know its tags and of strangers that don't, copies, damage, loss, time, media, stores and restarts.
//!
//! What must hold: no panic, no invariant broken, nothing sent that is no SIP, no more sent for one input
//! than a fork may need, and nothing left when everyone has gone.

mod phones;
mod site;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::Engine;
use refork::engine::events::{Event, Happening};
use refork::engine::ids::{ConversationId, Flow, Side, Token, Transport};
use refork::engine::ports::{Command, Input, MediaCommand, MediaEvent, Output, Witness};
use refork::engine::settings::Settings;
use refork::engine::snapshot::Snapshot;
use refork::engine::time::{Millis, Time};
use refork::sip::{Message, Method};

use phones::Dialog;
use site::{PBX, PEERS, Site, engine, flow, peer};

const PER_INPUT_MAX: usize = 2_000;
const STEPS_MAX: usize = 400;
const SENT_MAX: usize = 64;
const RECEIVED_MAX: usize = 32;

/// How often what was reached: what is never reached tests nothing.
pub type Reached = BTreeMap<&'static str, usize>;

/// The bytes, one choice after the other; zeroes at the end.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }

    fn one_of<'t, T>(&mut self, list: &'t [T]) -> Option<&'t T> {
        let at = self.below(list.len());
        list.get(at)
    }
}

struct Bench {
    engine: Engine,
    settings: Settings,
    site: Site,
    now: Time,
    /// What was sent, to be answered, copied and learned from: the latest.
    sent: Vec<(Flow, Message)>,
    received: Vec<(Flow, Bytes)>,
    /// What phones know of their dialogs, the latest last.
    dialogs: Vec<Dialog>,
    tokens: Vec<Token>,
    names: Vec<Token>,
    store: BTreeMap<ConversationId, Vec<u8>>,
    /// What a phone sent was damaged: what copies it may be too.
    damaged: bool,
    reached: Reached,
    /// Calls that phones have begun.
    calls: usize,
    /// What other shards and the relay say.
    follows: VecDeque<Input>,
    /// What the relay has not said yet, while it is slow.
    unopened: Vec<Input>,
    relay_slow: bool,
    next_port: u16,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self {
            engine: engine(settings.clone(), 1),
            settings,
            site: Site::default(),
            now: Time(1_700_000_000_000),
            sent: Vec::new(),
            received: Vec::new(),
            dialogs: Vec::new(),
            tokens: Vec::new(),
            names: Vec::new(),
            store: BTreeMap::new(),
            damaged: false,
            reached: Reached::new(),
            calls: 0,
            follows: VecDeque::new(),
            unopened: Vec::new(),
            relay_slow: false,
            next_port: 20_000,
        }
    }

    fn input(&mut self, input: Input) {
        self.engine.handle_input(input, self.now, &mut self.site);
        self.drain();
    }

    fn message(&mut self, flow: Flow, bytes: Bytes) {
        self.received.push((flow, bytes.clone()));
        if self.received.len() > RECEIVED_MAX {
            self.received.remove(0);
        }
        self.input(Input::Message { flow, bytes });
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        loop {
            let Some(output) = self.engine.poll_output() else {
                let Some(input) = self.follows.pop_front() else {
                    break;
                };
                self.engine.handle_input(input, self.now, &mut self.site);
                continue;
            };
            outputs += 1;
            assert!(outputs < PER_INPUT_MAX, "a storm");
            self.carry_out(output);
        }
        if let Err(broken) = self.engine.check_invariants() {
            panic!("{broken}");
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { flow, bytes } => self.send(flow, bytes),
            Output::Media(MediaCommand::Open {
                media,
                side,
                generation,
                streams,
                ..
            }) => {
                let ports = (0..streams).map(|_| {
                    self.next_port = self.next_port.wrapping_add(2).max(20_000);
                    SocketAddr::from(([192, 0, 2, 1], self.next_port))
                });
                let opened = Input::Media(MediaEvent::Opened {
                    media,
                    side,
                    generation,
                    result: Some(ports.collect()),
                });
                if self.relay_slow {
                    self.unopened.push(opened);
                } else {
                    self.follows.push_back(opened);
                }
            }
            Output::Persist {
                conversation,
                token,
            } => {
                if let Some(snapshot) = self.engine.snapshot(conversation) {
                    let bytes = rmp_serde::to_vec(&snapshot).expect("a snapshot can be kept");
                    self.store.insert(conversation, bytes);
                }
                self.tokens.extend(token);
            }
            Output::Forget { conversation } => drop(self.store.remove(&conversation)),
            Output::Resolve { token, .. } => {
                self.reach("sought");
                self.names.push(token);
            }
            Output::Inquiry(inquiry) => self.follows.push_back(Input::Inquiry(inquiry)),
            Output::Found(found) => {
                if found.counterpart.is_ok() {
                    self.reach("found the other end");
                }
                self.follows.push_back(Input::Found(found));
            }
            Output::Observed(observation) => {
                self.follows.push_back(Input::Observed(observation));
            }
            Output::Handover(handover) => {
                self.reach("handed over");
                self.follows.push_back(Input::Handover(handover));
            }
            Output::Moved(_) | Output::Forward(_) => panic!("one engine has all shards"),
            Output::Event { event, .. } => self.told(&event),
            Output::Media(_)
            | Output::Bindings(_)
            | Output::Record(_)
            | Output::Lit(_)
            | Output::Watches(_) => {}
        }
    }

    fn send(&mut self, flow: Flow, bytes: Bytes) {
        let message = match Message::parse(bytes.clone()) {
            Ok(message) => message,
            Err(_) if self.damaged => return,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&bytes)),
        };
        if message.is_request() {
            match message.method() {
                Method::Update => self.reach("sent an UPDATE"),
                Method::Notify => self.reach("sent a NOTIFY"),
                Method::Prack => self.reach("sent a PRACK"),
                Method::Register => self.reach("carried a REGISTER"),
                _ => {}
            }
        } else {
            match (message.method(), message.status()) {
                (Method::Prack, 200) => self.reach("took a PRACK"),
                (Method::Update, 200) => self.reach("took an UPDATE"),
                (Method::Invite, 422) => self.reach("refused a timer"),
                (_, 401 | 407) => self.reach("challenged"),
                (_, 503) => self.reach("put off"),
                _ => {}
            }
            self.answered(flow, &message);
        }
        self.sent.push((flow, message));
        if self.sent.len() > SENT_MAX {
            self.sent.remove(0);
        }
    }

    fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::Conversation { what, .. } => match what {
                Happening::Answered { .. } => self.reach("answered"),
                Happening::Lost { .. } => self.reach("lost"),
                Happening::Restored { .. } | Happening::Repaired { .. } => self.reach("restored"),
                Happening::Redirected { .. } => self.reach("redirected"),
                Happening::Transferred { .. } => self.reach("transferred"),
                Happening::Queued { .. } => self.reach("queued"),
                Happening::Rebuilt => self.reach("rebuilt"),
                _ => {}
            },
            Event::Keyed { .. } => self.reach("keyed"),
            Event::Overload { .. } => self.reach("overloaded"),
            Event::Registered { .. } => self.reach("registered"),
            Event::TargetFailed { .. } => self.reach("failed over"),
            _ => {}
        }
    }

    fn pass(&mut self, span: Millis) {
        let end = self.now + span;
        let mut turns = 0;
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) {
            turns += 1;
            assert!(turns < 1_000_000, "time stands still");
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now, &mut self.site);
            self.drain();
        }
        self.now = end;
    }

    /// What ICMP quotes: something that was sent there, be it cut short or spoiled, or nothing.
    fn witness(&mut self, peer: SocketAddr, choices: &mut Choices<'_>) -> Witness {
        let mut sent = self.sent.iter().rev();
        let last = sent.find(|(flow, _)| flow.peer == peer);
        let mut quoted = last.map_or_else(Vec::new, |(_, message)| message.bytes().to_vec());
        match choices.below(8) {
            0 => return Witness::Host,
            1 => quoted.clear(),
            2 => quoted.truncate(usize::from(choices.byte())),
            3 => {
                let at = usize::from(choices.byte());
                if let Some(spoiled) = quoted.get_mut(at) {
                    *spoiled = choices.byte();
                }
            }
            _ => {}
        }
        Witness::Icmp(quoted.into())
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(32) {
            0..=3 => self.call(choices),
            4..=6 => self.request(choices),
            7..=10 => self.accept(choices),
            11..=14 => self.answer(choices),
            15..=21 => self.within(choices),
            22 => self.again(choices),
            23 => {
                let span = 1_u64 << choices.below(16);
                self.pass(Millis(span));
            }
            24 => {
                let flow = flow(choices.below(PEERS), choices.below(2) == 0);
                if choices.below(2) == 0 {
                    self.input(Input::Closed { flow });
                } else {
                    let (transport, peer) = (flow.transport, flow.peer);
                    let witness = self.witness(peer, choices);
                    self.input(Input::Unreachable {
                        transport,
                        peer,
                        witness,
                    });
                }
            }
            25 => self.stored_or_resolved(choices),
            26 | 27 => self.media(choices),
            28 | 29 => self.order(choices),
            30 => self.prove(choices),
            _ => match choices.below(16) {
                0 => self.restart(),
                1..=3 => {
                    self.relay_slow = !self.relay_slow;
                    for opened in std::mem::take(&mut self.unopened) {
                        self.input(opened);
                    }
                }
                4..=6 => self.late(choices),
                _ => {}
            },
        }
    }

    fn late(&mut self, choices: &mut Choices<'_>) {
        self.lateness(Millis([0, 100, 600][choices.below(3)]));
    }

    /// The shard is so late, for so long that it counts.
    fn lateness(&mut self, lateness: Millis) {
        for _ in 0..12 {
            self.input(Input::Lateness(lateness));
            self.pass(Millis(100));
        }
    }

    fn again(&mut self, choices: &mut Choices<'_>) {
        if let Some((flow, bytes)) = choices.one_of(&self.received).cloned() {
            self.message(flow, bytes);
        }
    }

    fn stored_or_resolved(&mut self, choices: &mut Choices<'_>) {
        let ok = choices.below(4) != 0;
        if !self.tokens.is_empty() {
            let token = self.tokens.remove(choices.below(self.tokens.len()));
            self.input(Input::Stored { token, ok });
        }
        if !self.names.is_empty() {
            let token = self.names.remove(choices.below(self.names.len()));
            self.resolve(token, choices.below(4));
        }
    }

    fn resolve(&mut self, token: Token, how_many: usize) {
        let all = [
            (Transport::Udp, peer(PBX)),
            (Transport::Tcp, peer(PBX)),
            (Transport::Udp, peer(1)),
        ];
        let targets = all.into_iter().take(how_many).collect();
        self.input(Input::Resolved { token, targets });
    }

    fn one_conversation(&self, choices: &mut Choices<'_>) -> Option<ConversationId> {
        let all = self.engine.list(20);
        Some(choices.one_of(&all)?.key)
    }

    fn media(&mut self, choices: &mut Choices<'_>) {
        let Some(media) = self.one_conversation(choices) else {
            return;
        };
        let side = [Side::Caller, Side::Callee][choices.below(2)];
        let event = match choices.below(5) {
            0 => MediaEvent::Silent { media, side },
            1 => MediaEvent::Flowing { media, side },
            2 => MediaEvent::Unreachable { media, side },
            3 => MediaEvent::Toned {
                media,
                side,
                whole: true,
            },
            _ => MediaEvent::Opened {
                media,
                side,
                generation: choices.below(3) as u32,
                result: None,
            },
        };
        self.input(Input::Media(event));
    }

    fn order(&mut self, choices: &mut Choices<'_>) {
        let Some(conversation) = self.one_conversation(choices) else {
            return;
        };
        let side = [Side::Caller, Side::Callee][choices.below(2)];
        let command = match choices.below(32) {
            0 => Command::HangUpAll,
            1 => Command::Drain,
            2..=4 => Command::HangUp { conversation },
            _ => Command::DeclareLost { conversation, side },
        };
        self.input(Input::Command(command));
    }

    fn restart(&mut self) {
        self.engine = engine(self.settings.clone(), 2);
        (self.tokens, self.names) = (Vec::new(), Vec::new());
        (self.follows, self.unopened) = (VecDeque::new(), Vec::new());
        for bytes in self.store.values().cloned().collect::<Vec<_>>() {
            let snapshot: Snapshot = rmp_serde::from_slice(&bytes).expect("what was kept is read");
            let now = self.now;
            assert!(self.engine.rebuild(snapshot, now, &mut self.site));
            self.drain();
        }
    }

    /// Everyone has gone: what stands is given up, and nothing is left.
    fn end(&mut self) {
        self.relay_slow = false;
        for _ in 0..8 {
            for opened in std::mem::take(&mut self.unopened) {
                self.input(opened);
            }
            for token in std::mem::take(&mut self.tokens) {
                self.input(Input::Stored { token, ok: true });
            }
            for token in std::mem::take(&mut self.names) {
                self.resolve(token, 0);
            }
            for summary in self.engine.list(100) {
                let conversation = summary.key;
                self.input(Input::Command(Command::HangUp { conversation }));
            }
            self.lateness(Millis(0));
            self.pass(Millis::from_secs(400));
        }
        let mut left = self.engine.gauges();
        if self
            .settings
            .upstreams
            .values()
            .any(|upstream| upstream.probe.is_some())
        {
            // Whether the PBX lives is asked for ever: per target one OPTIONS and the next.
            assert!(
                left.client_transactions <= 2 && left.timers <= 6,
                "{left:?}"
            );
            (left.client_transactions, left.timers) = (0, 0);
        }
        assert!(left.is_at_rest(), "left over: {left:?}");
    }
}

/// Bytes that choose what happens. Returns what was reached.
pub fn run(bytes: &[u8]) -> Reached {
    let mut choices = Choices(bytes);
    let mut bench = Bench::new(site::settings(&mut choices));
    for (who, name) in [(1, "bob"), (2, "carol")] {
        // Bob and Carol are at home.
        let text = format!(
            "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKr{who};rport\r\n\
             From: <sip:{name}@example.org>;tag=r\r\nTo: <sip:{name}@example.org>\r\nCall-ID: r{who}\r\n\
             CSeq: 1 REGISTER\r\nContact: <sip:{name}@{at}>;+sip.instance=\"<urn:uuid:{who}>\"\r\n\
             Expires: 3600\r\nContent-Length: 0\r\n\r\n",
            at = peer(who),
        );
        bench.message(flow(who, false), text.into());
        bench.prove_as(name);
    }
    for _ in 0..STEPS_MAX {
        if choices.0.is_empty() {
            break;
        }
        bench.step(&mut choices);
    }
    bench.end();
    bench.reached
}
