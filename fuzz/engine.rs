//! The engine under a stream of bytes that choose what happens next: requests and answers of phones that
//! know its tags and of strangers that don't, copies, damage, loss, time, media, stores and restarts.
//!
//! What must hold: no panic, no invariant broken, nothing sent that is no SIP, no more sent for one input
//! than a fork may need, and nothing left when everyone has gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::Engine;
use refork::engine::endpoint::Binding;
use refork::engine::events::{Event, Happening};
use refork::engine::ids::{
    Aor, ConnectionId, ConversationId, Flow, ListenerId, Side, Transport, VIRTUAL_SHARDS,
    VirtualShard,
};
use refork::engine::ports::{Command, Input, MediaCommand, MediaEvent, Output, Token, World};
use refork::engine::settings::{
    Auth, Domain, LimitSettings, PathMode, RegistrarSettings, ServedBy, Settings, Upstream,
};
use refork::engine::snapshot::Snapshot;
use refork::engine::time::{Millis, Time};
use refork::sip::{Builder, Message, Method, Name};

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "nobody"];
/// Who is asked for: mostly those who are at home.
const ASKED: [&str; 8] = [
    "bob", "carol", "bob", "carol", "bob", "carol", "alice", "nobody",
];
const METHODS: [&str; 14] = [
    "INVITE", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "MESSAGE", "INFO", "UPDATE",
    "PRACK", "REFER", "NOTIFY", "ODD",
];
const STATUSES: [u16; 16] = [
    100, 180, 183, 200, 200, 200, 202, 302, 401, 408, 481, 486, 487, 491, 500, 603,
];
const LINES: [&str; 12] = [
    "Require: 100rel\r\n",
    "Supported: timer, replaces, 100rel, norefersub\r\n",
    "Session-Expires: 90;refresher=uac\r\n",
    "Min-SE: 4000000000\r\n",
    "Expires: 0\r\n",
    "Max-Forwards: 0\r\n",
    "Record-Route: <sip:192.0.2.9;lr>, <sip:192.0.2.8>\r\n",
    "Route: <sip:192.0.2.1;lr>\r\n",
    "Refer-To: <sip:carol@example.org>\r\n",
    "Event: refer\r\nSubscription-State: active\r\n",
    "Reason: SIP;cause=503, Q.850;cause=38\r\n",
    "RSeq: 1\r\nRAck: 1 1 INVITE\r\nRetry-After: 3\r\n",
];
const PER_INPUT_MAX: usize = 2_000;
const STEPS_MAX: usize = 400;

#[derive(Default)]
struct Site(BTreeMap<Aor, Vec<Binding>>);

impl World for Site {
    fn advertised(&self, _flow: &Flow) -> SocketAddr {
        ([192, 0, 2, 1], 5060).into()
    }

    fn flow_to(&self, transport: Transport, peer: SocketAddr, _host: &str) -> Option<Flow> {
        self.open_to(transport, peer)
    }

    fn open_to(&self, transport: Transport, peer: SocketAddr) -> Option<Flow> {
        matches!(transport, Transport::Udp | Transport::Tcp).then_some(Flow {
            transport,
            listener: ListenerId(0),
            peer,
            connection: None,
        })
    }

    fn bindings(&self, aor: &Aor) -> Vec<Binding> {
        self.0.get(aor).cloned().unwrap_or_default()
    }

    fn change_bindings(&mut self, aor: &Aor, act: &mut dyn FnMut(&mut Vec<Binding>)) {
        act(self.0.entry(aor.clone()).or_default());
    }

    fn expired(&mut self, now: Time) -> Vec<Aor> {
        let due = |held: &Vec<Binding>| held.iter().any(|binding| binding.expires <= now);
        let all = self.0.iter().filter(|(_, held)| due(held));
        all.map(|(aor, _)| aor.clone()).collect()
    }
}

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
    site: Site,
    now: Time,
    /// What was sent, to be answered, copied and learned from: the latest.
    sent: Vec<(Flow, Message)>,
    received: Vec<(Flow, Bytes)>,
    tokens: Vec<Token>,
    names: Vec<Token>,
    store: BTreeMap<ConversationId, Vec<u8>>,
    /// What a phone sent was damaged: what copies it may be too.
    damaged: bool,
    /// Answered, lost, restored.
    reached: [usize; 3],
    /// What other shards would say.
    follows: Vec<Input>,
    next_port: u16,
}

fn settings() -> Settings {
    let registrar = RegistrarSettings {
        auth: Auth::None,
        ..RegistrarSettings::default()
    };
    let upstream = Upstream {
        targets: vec!["sip:pbx.example.net".into(), "sip:192.0.2.50".into()],
        trusted: false,
        path: PathMode::Path,
        account: None,
        probe: None,
    };
    Settings {
        domains: vec![
            Domain {
                host: "example.org".into(),
                realm: "example.org".into(),
                served_by: ServedBy::Registrar(registrar),
            },
            Domain {
                host: "pbx.example.net".into(),
                realm: "pbx".into(),
                served_by: ServedBy::Upstream("pbx".into()),
            },
        ],
        upstreams: [("pbx".into(), upstream)].into(),
        limits: LimitSettings {
            conversations: 50,
            ..LimitSettings::default()
        },
        ..Settings::default()
    }
}

fn engine(seed: u8) -> Engine {
    let shards = (0..VIRTUAL_SHARDS).map(VirtualShard).collect();
    Engine::new(settings(), shards, [seed; 32])
}

fn peer(number: usize) -> SocketAddr {
    ([198, 51, 100, 1 + number as u8], 5060).into()
}

fn flow(number: usize, over_tcp: bool) -> Flow {
    let (transport, connection) = if over_tcp {
        (Transport::Tcp, Some(ConnectionId(number as u64)))
    } else {
        (Transport::Udp, None)
    };
    Flow {
        transport,
        listener: ListenerId(0),
        peer: peer(number),
        connection,
    }
}

fn sdp(choice: usize) -> &'static str {
    match choice {
        0 => {
            "v=0\r\no=a 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        }
        1 => {
            "v=0\r\no=a 1 2 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\nm=audio 4002 RTP/AVP 8 96\r\na=rtpmap:96 opus/48000/2\r\na=sendonly\r\nm=video 0 RTP/AVP 97\r\n"
        }
        2 => {
            "v=0\r\no=a 1 3 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\nm=message 5060 TCP/MSRP *\r\n"
        }
        _ => "v=0\r\nm=audio\r\n",
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            engine: engine(1),
            site: Site::default(),
            now: Time(1_700_000_000_000),
            sent: Vec::new(),
            received: Vec::new(),
            tokens: Vec::new(),
            names: Vec::new(),
            store: BTreeMap::new(),
            damaged: false,
            reached: [0; 3],
            follows: Vec::new(),
            next_port: 20_000,
        }
    }

    fn input(&mut self, input: Input) {
        self.engine.handle_input(input, self.now, &mut self.site);
        self.drain();
    }

    fn message(&mut self, flow: Flow, bytes: Bytes) {
        self.received.push((flow, bytes.clone()));
        if self.received.len() > 32 {
            self.received.remove(0);
        }
        self.input(Input::Message { flow, bytes });
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        loop {
            let Some(output) = self.engine.poll_output() else {
                let Some(input) = self.follows.pop() else {
                    break;
                };
                self.engine.handle_input(input, self.now, &mut self.site);
                continue;
            };
            outputs += 1;
            assert!(outputs < PER_INPUT_MAX, "a storm");
            match output {
                Output::Send { flow, bytes } => match Message::parse(bytes.clone()) {
                    Ok(message) => {
                        self.sent.push((flow, message));
                        if self.sent.len() > 64 {
                            self.sent.remove(0);
                        }
                    }
                    Err(_) if self.damaged => {}
                    Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&bytes)),
                },
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
                    let result = Some(ports.collect());
                    self.engine.handle_input(
                        Input::Media(MediaEvent::Opened {
                            media,
                            side,
                            generation,
                            result,
                        }),
                        self.now,
                        &mut self.site,
                    );
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
                Output::Resolve { token, .. } => self.names.push(token),
                Output::Inquiry(inquiry) => self.follows.push(Input::Inquiry(inquiry)),
                Output::Found(found) => self.follows.push(Input::Found(found)),
                Output::Handover(handover) => self.follows.push(Input::Handover(handover)),
                Output::Moved(_) | Output::Forward(_) => panic!("one engine has all shards"),
                Output::Event(Event::Conversation { what, .. }) => {
                    let reached = [
                        matches!(what, Happening::Answered { .. }),
                        matches!(what, Happening::Lost { .. }),
                        matches!(
                            what,
                            Happening::Restored { .. } | Happening::Repaired { .. }
                        ),
                    ];
                    for (count, more) in self.reached.iter_mut().zip(reached) {
                        *count += usize::from(more);
                    }
                }
                Output::Media(_) | Output::Bindings(_) | Output::Observed(_) | Output::Event(_) => {
                }
            }
        }
        if let Err(broken) = self.engine.check_invariants() {
            panic!("{broken}");
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

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(16) {
            0..=4 => self.request(choices),
            5..=8 => self.answer(choices),
            9 => self.again(choices),
            10 => {
                let span = 1_u64 << choices.below(16);
                self.pass(Millis(span));
            }
            11 => {
                let flow = flow(choices.below(5), choices.below(2) == 0);
                if choices.below(2) == 0 {
                    self.input(Input::Closed { flow });
                } else {
                    let (transport, peer) = (flow.transport, flow.peer);
                    self.input(Input::Unreachable { transport, peer });
                }
            }
            12 => self.stored_or_resolved(choices),
            13 => self.media(choices),
            14 => self.order(choices),
            _ => {
                if choices.below(8) == 0 {
                    self.restart();
                }
            }
        }
    }

    /// A tag of ours that some phone has seen, or another.
    fn tag(&self, choices: &mut Choices<'_>) -> Option<String> {
        let (_, known) = choices.one_of(&self.sent)?;
        let tag = match choices.below(4) {
            0 => return Some("made-up".into()),
            1 => known.to_tag(),
            _ => known.from_tag(),
        };
        tag.map(str::to_owned)
    }

    fn request(&mut self, choices: &mut Choices<'_>) {
        let method = METHODS[choices.below(METHODS.len())];
        let who = choices.below(5);
        let flow = flow(who, choices.below(3) == 0);
        let to = ASKED[choices.below(ASKED.len())];
        let from = PEOPLE[who.min(3)];
        // Within the dialog of something that we were sent, or outside of any.
        let known = choices
            .one_of(&self.sent)
            .map(|(_, message)| message.call_id().to_owned());
        let inside = choices.below(2) == 0;
        let call_id = match known.filter(|_| inside) {
            Some(call_id) => call_id,
            None => format!("call{}", choices.below(6)),
        };
        let (theirs, ours) = (
            self.tag(choices).filter(|_| inside),
            self.tag(choices).filter(|_| inside),
        );
        let from_tag = theirs.unwrap_or_else(|| format!("t{}", choices.below(3)));
        let to_tag = ours.map_or(String::new(), |tag| format!(";tag={tag}"));
        let mut more = String::new();
        for _ in 0..choices.below(4) {
            more.push_str(LINES[choices.below(LINES.len())]);
        }
        if choices.below(16) == 0
            && let Some((_, known)) = choices.one_of(&self.sent)
        {
            more.push_str(&format!(
                "Replaces: {};to-tag={};from-tag={}\r\n",
                known.call_id(),
                known.to_tag().unwrap_or("x"),
                known.from_tag().unwrap_or("x")
            ));
        }
        let (kind, body) = match choices.below(6) {
            0 => ("text/plain", "hello"),
            1..=3 => ("application/sdp", sdp(choices.below(4))),
            _ => ("", ""),
        };
        let kind = if kind.is_empty() {
            String::new()
        } else {
            format!("Content-Type: {kind}\r\n")
        };
        let cseq = choices.below(5) + 1;
        let branch = choices.below(40);
        let uri = if choices.below(6) == 0 {
            "pbx.example.net"
        } else {
            "example.org"
        };
        let transport = flow.transport.param().to_ascii_uppercase();
        let text = format!(
            "{method} sip:{to}@{uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {};branch=z9hG4bK{branch};rport\r\n\
             From: <sip:{from}@example.org>;tag={from_tag}\r\nTo: <sip:{to}@{uri}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{from}@{}>;+sip.instance=\"<urn:uuid:{who}>\"\r\n\
             {more}{kind}Content-Length: {}\r\n\r\n{body}",
            flow.peer,
            flow.peer,
            body.len()
        );
        let bytes = self.maybe_damaged(text.into_bytes(), choices);
        self.message(flow, bytes);
    }

    fn answer(&mut self, choices: &mut Choices<'_>) {
        // Mostly the latest: what is old has been given up.
        let asked = self.sent.iter().rev();
        let asked = asked.filter(|(_, m)| m.is_request() && *m.method() != Method::Ack);
        let asked: Vec<_> = asked.take(8).cloned().collect();
        let Some((flow, asked)) = choices.one_of(&asked).cloned() else {
            return;
        };
        let status = STATUSES[choices.below(STATUSES.len())];
        let tag = ["a", "b"][choices.below(2)];
        let builder = Builder::respond(&asked, status, "x", Some(tag), flow.peer)
            .header(Name::Contact, format_args!("<sip:x@{}>", flow.peer));
        let bytes = match choices.below(3) {
            0 => builder.end(),
            _ => builder.body("application/sdp", sdp(choices.below(4)).as_bytes()),
        };
        let bytes = self.maybe_damaged(bytes.to_vec(), choices);
        // A forged one comes from elsewhere.
        let flow = if choices.below(16) == 0 {
            self::flow(choices.below(5), false)
        } else {
            flow
        };
        self.message(flow, bytes);
    }

    fn again(&mut self, choices: &mut Choices<'_>) {
        if let Some((flow, bytes)) = choices.one_of(&self.received).cloned() {
            self.message(flow, bytes);
        }
    }

    fn maybe_damaged(&mut self, mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Bytes {
        if choices.below(12) == 0 && !bytes.is_empty() {
            self.damaged = true;
            let at = (choices.below(256) * 256 + choices.below(256)) % bytes.len();
            match choices.below(3) {
                0 => bytes[at] = choices.byte(),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, choices.byte()),
            }
        }
        bytes.into()
    }

    fn stored_or_resolved(&mut self, choices: &mut Choices<'_>) {
        let ok = choices.below(4) != 0;
        if !self.tokens.is_empty() {
            let token = self.tokens.remove(choices.below(self.tokens.len()));
            self.input(Input::Stored { token, ok });
        }
        if !self.names.is_empty() {
            let token = self.names.remove(choices.below(self.names.len()));
            self.resolve(token, choices.below(3));
        }
    }

    fn resolve(&mut self, token: Token, how_many: usize) {
        let targets = (0..how_many).map(|number| (Transport::Udp, peer(number)));
        let targets = targets.collect();
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
        let event = match choices.below(4) {
            0 => MediaEvent::Silent { media, side },
            1 => MediaEvent::Flowing { media, side },
            2 => MediaEvent::Unreachable { media, side },
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
        let command = match choices.below(8) {
            0 => Command::HangUp { conversation },
            _ => Command::DeclareLost { conversation, side },
        };
        self.input(Input::Command(command));
    }

    fn restart(&mut self) {
        self.engine = engine(2);
        (self.tokens, self.names) = (Vec::new(), Vec::new());
        for bytes in self.store.values().cloned().collect::<Vec<_>>() {
            let snapshot: Snapshot = rmp_serde::from_slice(&bytes).expect("what was kept is read");
            let now = self.now;
            assert!(self.engine.rebuild(snapshot, now, &mut self.site));
            self.drain();
        }
    }

    /// Everyone has gone: what stands is given up, and nothing is left.
    fn end(&mut self) {
        for _ in 0..8 {
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
            self.pass(Millis::from_secs(400));
        }
        let left = self.engine.gauges();
        assert_eq!(left, Default::default(), "left over");
    }
}

/// Bytes that choose what happens. Returns how many conversations were answered, lost and restored: what
/// never gets there tests nothing.
pub fn run(bytes: &[u8]) -> [usize; 3] {
    let mut choices = Choices(bytes);
    let mut bench = Bench::new();
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
