//! The engine on a table: a world that answers at once, a clock that is turned by hand, and phones that
//! say what the test says. Every message is written down, and shown as a ladder where a test fails.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use refork::engine::Engine;
use refork::engine::board::{Board, Light, LightKey};
use refork::engine::dispatch::owner;
use refork::engine::endpoint::Binding;
use refork::engine::events::{Event, Happening};
use refork::engine::handover::{Forward, Handover};
use refork::engine::health::{Observation, Sign};
use refork::engine::ids::{
    Aor, ConnectionId, ConversationId, Flow, GruuKey, ListenerId, NonceId, Side, Transport,
    VIRTUAL_SHARDS, VirtualShard,
};
use refork::engine::locating::Located;
use refork::engine::location::SpentNonces;
use refork::engine::mint::ShardKey;
use refork::engine::ports::{
    Claim, Generation, Input, MediaCommand, MediaEvent, Output, Token, World,
};
use refork::engine::settings::Settings;
use refork::engine::snapshot::Snapshot;
use refork::engine::time::{Millis, Time};
use refork::sip::{Builder, Message, Method, Name, reason_phrase};

pub const SERVER: &str = "192.0.2.1:5060";

/// Returns what a peer is told to reach us at: the LAN, IPv6 and the rest are three networks of ours.
pub fn ours(peer: IpAddr) -> SocketAddr {
    let ours = match peer {
        IpAddr::V4(peer) if peer.octets()[0] == 10 => "10.0.0.1:5060",
        IpAddr::V4(_) => SERVER,
        IpAddr::V6(_) => "[2001:db8::1]:5060",
    };
    ours.parse().unwrap()
}

fn count(counts: &mut BTreeMap<u64, usize>, of: u64, begins: bool) {
    let held = counts.entry(of).or_default();
    *held = if begins { *held + 1 } else { *held - 1 };
    if *held == 0 {
        counts.remove(&of);
    }
}

/// The world of one engine.
#[derive(Default)]
pub struct Site {
    pub bindings: BTreeMap<Aor, Vec<Binding>>,
    /// Open connections, by their peer.
    pub open: BTreeMap<SocketAddr, Flow>,
    /// What the certificates of connections say.
    pub vouched: BTreeMap<ConnectionId, Arc<[Box<str>]>>,
    /// What is remembered, and until when.
    pub marks: BTreeMap<u64, Time>,
    /// Legs whose calls were answered, by the number of their peer.
    pub legs: BTreeMap<u64, u32>,
    pub halves: BTreeSet<(u64, ConversationId)>,
    /// How many calls of whom ring.
    pub ringing: BTreeMap<u64, usize>,
    /// How many calls of whom stand.
    pub standing: BTreeMap<u64, usize>,
    /// How many streams of whose calls are relayed.
    pub streaming: BTreeMap<u64, usize>,
    /// Whose connections are for requests to a port of theirs, too.
    pub aliases: RefCell<Vec<(Option<ConnectionId>, u16)>>,
    /// The counts of nonces that have been used.
    pub spent: RefCell<SpentNonces>,
    /// What is seen of users' calls.
    pub board: Board,
    /// How many subscriptions whom has.
    pub watching: BTreeMap<Aor, usize>,
    /// By how much the clock on the wall was set forward.
    pub ahead: Millis,
}

impl World for Site {
    fn shown(&self, at: Time) -> Time {
        at + self.ahead
    }

    fn advertised(&self, flow: &Flow) -> SocketAddr {
        ours(flow.peer.ip())
    }

    fn is_ours(&self, ip: IpAddr) -> bool {
        ours(ip).ip() == ip
    }

    fn listens_on(&self, port: u16) -> bool {
        port == 5060
    }

    fn open_to(&self, transport: Transport, peer: SocketAddr) -> Option<Flow> {
        let open = self.open.get(&peer).copied();
        open.filter(|flow| flow.transport == transport)
    }

    fn flow_to(
        &self,
        transport: Transport,
        peer: SocketAddr,
        _: &str,
        from: Option<ListenerId>,
    ) -> Option<Flow> {
        if let Some(open) = self.open_to(transport, peer) {
            return Some(open);
        }
        matches!(transport, Transport::Udp | Transport::Tcp | Transport::Tls).then_some(Flow {
            transport,
            listener: from.unwrap_or(ListenerId(0)),
            peer,
            connection: None,
        })
    }

    fn vouched(&self, connection: ConnectionId) -> Option<Arc<[Box<str>]>> {
        self.vouched.get(&connection).cloned()
    }

    fn alias(&self, flow: &Flow, port: u16) {
        self.aliases.borrow_mut().push((flow.connection, port));
    }

    fn offers_alias(&self, flow: &Flow) -> bool {
        flow.transport == Transport::Tls
    }

    fn gruu_key(&self) -> GruuKey {
        GruuKey([9; 32])
    }

    fn bindings(&self, aor: &Aor) -> Vec<Binding> {
        self.bindings.get(aor).cloned().unwrap_or_default()
    }

    fn bound_over(&self, flow: &Flow) -> Vec<Aor> {
        let names = |binding: &Binding| binding.endpoint.flow.as_ref() == Some(flow);
        let all = self.bindings.iter();
        let over = all.filter(|(_, bindings)| bindings.iter().any(names));
        over.map(|(aor, _)| aor.clone()).collect()
    }

    fn leg(&mut self, peer: u64, begins: bool) {
        let count = self.legs.entry(peer).or_default();
        *count = if begins { *count + 1 } else { *count - 1 };
        self.legs.retain(|_, count| *count > 0);
    }

    fn legs(&self, peer: u64) -> u32 {
        self.legs.get(&peer).copied().unwrap_or(0)
    }

    fn half(&mut self, number: u64, half: ConversationId, begins: bool) {
        match begins {
            true => self.halves.insert((number, half)),
            false => self.halves.remove(&(number, half)),
        };
    }

    fn halves(&self, number: u64) -> Vec<ConversationId> {
        let all = self.halves.iter().filter(|(known, _)| *known == number);
        all.map(|(_, half)| *half).collect()
    }

    fn mark(&mut self, number: u64, span: Millis, now: Time) {
        self.marks.insert(number, now + span);
    }

    fn is_marked(&self, number: u64, now: Time) -> bool {
        self.marks.get(&number).is_some_and(|until| *until > now)
    }

    fn rings(&mut self, asker: u64, begins: bool) {
        count(&mut self.ringing, asker, begins);
    }

    fn stands(&mut self, asker: u64, begins: bool) {
        count(&mut self.standing, asker, begins);
    }

    fn streams(&mut self, asker: u64, begins: bool) {
        count(&mut self.streaming, asker, begins);
    }

    fn streaming(&self, asker: u64) -> usize {
        self.streaming.get(&asker).copied().unwrap_or(0)
    }

    fn standing(&self, asker: u64) -> usize {
        self.standing.get(&asker).copied().unwrap_or(0)
    }

    fn ringing(&self, asker: u64) -> usize {
        self.ringing.get(&asker).copied().unwrap_or(0)
    }

    fn show(&mut self, user: &Aor, call: LightKey, light: Option<Light>) -> bool {
        self.board.show(user, call, light)
    }

    fn lights(&self, user: &Aor) -> Vec<(LightKey, Light)> {
        self.board.lights(user)
    }

    fn watch(&mut self, watcher: &Aor, user: &Aor, begins: bool) {
        let held = self.watching.entry(watcher.clone()).or_default();
        *held = if begins { *held + 1 } else { *held - 1 };
        self.board.watch(user, begins);
    }

    fn watching(&self, watcher: &Aor) -> usize {
        self.watching.get(watcher).copied().unwrap_or(0)
    }

    fn spend(&self, nonce: NonceId, count: u32, now: Time) -> bool {
        self.spent.borrow_mut().spend(nonce, count, now)
    }

    fn change_bindings(&mut self, aor: &Aor, act: &mut dyn FnMut(&mut Vec<Binding>)) {
        act(self.bindings.entry(aor.clone()).or_default());
    }

    fn expired(&mut self, now: Time) -> Vec<Aor> {
        let due = |bindings: &Vec<Binding>| bindings.iter().any(|binding| binding.expires <= now);
        self.bindings
            .iter()
            .filter(|(_, bindings)| due(bindings))
            .map(|(aor, _)| aor.clone())
            .collect()
    }
}

pub struct Table {
    pub engine: Engine,
    /// Another worker's, which has the odd virtual shards; none where one has them all.
    other: Option<Engine>,
    /// Whose is in `engine` now.
    worker: u8,
    pub site: Site,
    settings: Settings,
    pub now: Time,
    mail: VecDeque<(SocketAddr, Message)>,
    /// Requests that have no final answer: to whom, and whether a provisional one came.
    pub out: Vec<(SocketAddr, Message, bool)>,
    /// How each was reached last.
    pub reached_over: BTreeMap<SocketAddr, Flow>,
    pub events: Vec<Event>,
    /// Those of them that are of a conversation.
    pub of_calls: Vec<Event>,
    pub media: Vec<MediaCommand>,
    pub store: BTreeMap<ConversationId, Vec<u8>>,
    /// What the phones send is damaged: so is what is copied from it, as into an ACK or a 400.
    pub damages: bool,
    /// The store does not answer while this is set.
    pub store_waits: bool,
    /// What shards ask one another does not arrive while this is set.
    pub inquiries_lost: bool,
    /// Calls that a record was written of.
    pub recorded: usize,
    /// What shards tell one another of lamps does not arrive while this is set.
    pub lights_lost: bool,
    /// What conversations say to one another arrives later while this is set.
    pub handovers_wait: bool,
    handovers: Vec<Handover>,
    /// The relay does not answer while this is set.
    pub relay_waits: bool,
    /// So much is done yet of what is wanted; then it is killed, and does nothing until it is restarted.
    pub lives_for: Option<usize>,
    /// Where the first session of a consultation had Carol's phone send.
    pub media_of_carol: String,
    /// The relay has no ports toward these.
    pub no_ports: fn(IpAddr) -> bool,
    /// The relay has ports left for this claim and those before it.
    pub least: Claim,
    /// What the names of hosts are located at.
    pub names: BTreeMap<Box<str>, Vec<Located>>,
    /// DNS does not answer while this is set.
    pub dns_waits: bool,
    pub sought: Vec<(Token, Box<str>)>,
    /// What workers have told one another of upstreams.
    pub observed: Vec<Sign>,
    asked: Vec<Token>,
    unopened: Vec<MediaCommand>,
    next_port: u16,
    /// What the relay has given, by stream.
    given: BTreeMap<(ConversationId, Side, Generation), Vec<u16>>,
    ladder: String,
}

impl Table {
    pub fn new(settings: Settings) -> Self {
        Self {
            engine: engine(settings.clone(), 1),
            other: None,
            worker: 0,
            site: Site::default(),
            settings,
            now: Time(1_700_000_000_000),
            mail: VecDeque::new(),
            out: Vec::new(),
            reached_over: BTreeMap::new(),
            events: Vec::new(),
            of_calls: Vec::new(),
            media: Vec::new(),
            store: BTreeMap::new(),
            damages: false,
            store_waits: false,
            inquiries_lost: false,
            recorded: 0,
            lights_lost: false,
            handovers_wait: false,
            handovers: Vec::new(),
            relay_waits: false,
            lives_for: None,
            media_of_carol: String::new(),
            no_ports: |_| false,
            least: Claim::Stranger,
            names: BTreeMap::new(),
            dns_waits: false,
            sought: Vec::new(),
            observed: Vec::new(),
            asked: Vec::new(),
            unopened: Vec::new(),
            next_port: 20_000,
            given: BTreeMap::new(),
            ladder: String::new(),
        }
    }

    /// Two workers, with half of the virtual shards each.
    pub fn of_two_workers(settings: Settings) -> Self {
        Self {
            engine: of_worker(&settings, 0, 0),
            other: Some(of_worker(&settings, 1, 0)),
            ..Self::new(settings)
        }
    }

    /// Gives the engine an input and carries out what it wants.
    pub fn input(&mut self, input: Input) {
        let owner = self.owner(&input);
        self.at(owner, |t| {
            t.engine.handle_input(input, t.now, &mut t.site);
            t.drain();
        });
    }

    /// Keeps what is asked, for ICMP to quote.
    fn is_sent(&mut self, peer: SocketAddr, message: &Message) {
        let key = |message: &Message| {
            (
                message.branch().map(str::to_owned),
                message.method().clone(),
            )
        };
        let asks = message.is_request() && *message.method() != Method::Ack;
        let mut latest = self.out.iter().rev().take(64);
        if asks && !latest.any(|(_, known, _)| key(known) == key(message)) {
            self.out.push((peer, message.clone(), false));
        }
    }

    fn is_answered(&mut self, message: &Message) {
        let status = message.status();
        let answered = |(_, known, _): &(SocketAddr, Message, bool)| {
            (known.branch(), known.method()) == (message.branch(), message.method())
        };
        if status >= 200 {
            self.out.retain(|known| !answered(known));
        } else if status > 0
            && let Some(known) = self.out.iter_mut().find(|known| answered(known))
        {
            known.2 = true;
        }
    }

    /// Returns the worker that an input is for.
    fn owner(&self, input: &Input) -> u8 {
        if self.other.is_none() {
            return 0;
        }
        let shard = match input {
            Input::Message { bytes, .. } => match Message::parse(bytes.clone()) {
                Ok(message) => owner(&message, ShardKey::default()),
                Err(_) => return self.worker,
            },
            Input::Media(event) => event.media().shard(),
            Input::Inquiry(inquiry) => inquiry.shard,
            Input::Found(found) => found.by.shard(),
            Input::Handover(handover) => handover.to.shard(),
            Input::Moved(moved) => moved.shard,
            _ => return self.worker,
        };
        shard.0 % 2
    }

    /// Both workers are told what was seen of an upstream.
    pub fn observed_by_all(&mut self, seen: &Observation) {
        for worker in 0..2 {
            let input = Input::Observed(seen.clone());
            self.at(worker, |t| {
                t.engine.handle_input(input, t.now, &mut t.site);
                t.drain();
            });
        }
    }

    fn at(&mut self, worker: u8, act: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.worker, worker);
        if before != worker {
            std::mem::swap(&mut self.engine, self.other.as_mut().unwrap());
        }
        act(self);
        if before != worker {
            std::mem::swap(&mut self.engine, self.other.as_mut().unwrap());
        }
        self.worker = before;
    }

    pub fn receive(&mut self, from: SocketAddr, bytes: Bytes) {
        self.receive_over(flow(from), bytes);
    }

    pub fn receive_over(&mut self, flow: Flow, bytes: Bytes) {
        let message = Message::parse(bytes.clone()).unwrap();
        self.write(flow.peer, "──►", &message);
        if flow.connection.is_some() {
            self.site.open.insert(flow.peer, flow);
        }
        self.is_answered(&message);
        self.input(Input::Message { flow, bytes });
    }

    /// Takes bytes as they come from the network, sound or not.
    pub fn raw(&mut self, from: SocketAddr, bytes: Bytes) {
        self.input(Input::Message {
            flow: flow(from),
            bytes,
        });
    }

    /// Returns the next message to a phone, if there is one.
    pub fn any_to(&mut self, phone: SocketAddr) -> Option<Message> {
        let at = self.mail.iter().position(|(to, _)| *to == phone)?;
        Some(self.mail.remove(at)?.1)
    }

    /// Returns all that has been sent to anybody and was not looked at.
    pub fn all_mail(&mut self) -> VecDeque<(SocketAddr, Message)> {
        std::mem::take(&mut self.mail)
    }

    fn drain(&mut self) {
        loop {
            let Some(output) = self.engine.poll_output() else {
                break;
            };
            if !self.does(&output) {
                continue;
            }
            if let Output::Observed(seen) = &output {
                self.observed.push(seen.sign);
            }
            match output {
                Output::Send { flow, bytes } => {
                    let message = match Message::parse(bytes.clone()) {
                        Ok(message) => message,
                        Err(_) if self.damages => continue,
                        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&bytes)),
                    };
                    self.write(flow.peer, "◄──", &message);
                    self.reached_over.insert(flow.peer, flow);
                    self.is_sent(flow.peer, &message);
                    // 100 only stops retransmissions.
                    if message.status() != 100 {
                        self.mail.push_back((flow.peer, message));
                    }
                }
                Output::Media(command) => self.relay(command),
                Output::Persist {
                    conversation,
                    token,
                } => {
                    if let Some(snapshot) = self.engine.snapshot(conversation) {
                        self.store
                            .insert(conversation, rmp_serde::to_vec(&snapshot).unwrap());
                    }
                    self.asked.extend(token);
                    if !self.store_waits {
                        self.store_answers(true);
                    }
                }
                Output::Forget { conversation } => {
                    self.store.remove(&conversation);
                }
                Output::Event { of, event } => self.noted(of, event),
                Output::Resolve { token, hop } if self.dns_waits => {
                    self.sought.push((token, hop.host));
                }
                Output::Resolve { token, hop } => self.dns_answers_one(token, &hop.host),
                Output::Observed(seen) if self.other.is_some() => {
                    let input = Input::Observed(seen);
                    self.at(1 - self.worker, |t| {
                        t.engine.handle_input(input, t.now, &mut t.site);
                        t.drain();
                    });
                }
                Output::Lit(_) if self.lights_lost => {}
                Output::Lit(user) if self.other.is_some() => {
                    self.at(1 - self.worker, |t| {
                        t.engine.handle_input(Input::Lit(user), t.now, &mut t.site);
                        t.drain();
                    });
                }
                Output::Watches(watch) if self.other.is_some() => {
                    self.at(1 - self.worker, |t| {
                        t.engine
                            .handle_input(Input::Watches(watch), t.now, &mut t.site);
                        t.drain();
                    });
                }
                Output::Bindings(_) | Output::Observed(_) | Output::Lit(_) | Output::Watches(_) => {
                }
                Output::Record(_) => self.recorded += 1,
                Output::Inquiry(inquiry) if self.inquiries_lost => drop(inquiry),
                Output::Inquiry(inquiry) => self.input(Input::Inquiry(inquiry)),
                Output::Found(found) => self.input(Input::Found(found)),
                Output::Handover(handover) if self.handovers_wait => self.handovers.push(handover),
                Output::Handover(handover) => self.input(Input::Handover(handover)),
                Output::Moved(moved) => {
                    assert!(self.other.is_some(), "one engine has all shards");
                    self.input(Input::Moved(moved));
                }
                Output::Forward(Forward { to, flow, bytes }) => {
                    let there = to.shard().0 % 2;
                    assert_ne!(there, self.worker, "it is its own");
                    self.at(there, |t| {
                        let input = Input::Message { flow, bytes };
                        t.engine.handle_input(input, t.now, &mut t.site);
                        t.drain();
                    });
                }
            }
        }
        self.engine
            .check_invariants()
            .unwrap_or_else(|broken| panic!("{broken}\n{}", self.ladder));
    }

    /// Returns false for what is not done any more, since it was killed.
    fn does(&mut self, output: &Output) -> bool {
        match (&mut self.lives_for, output) {
            (None, _) => true,
            (Some(0), _) => false,
            (Some(_), Output::Event { .. } | Output::Media(_)) => true,
            (Some(left), _) => {
                *left -= 1;
                true
            }
        }
    }

    pub fn store_answers(&mut self, ok: bool) {
        for token in std::mem::take(&mut self.asked) {
            self.input(Input::Stored { token, ok });
        }
    }

    /// What conversations have said to one another arrives.
    pub fn handovers_arrive(&mut self) {
        self.handovers_wait = false;
        for handover in std::mem::take(&mut self.handovers) {
            self.input(Input::Handover(handover));
        }
    }

    /// DNS answers what it let wait.
    pub fn dns_answers(&mut self) {
        self.dns_waits = false;
        for (token, host) in std::mem::take(&mut self.sought) {
            self.dns_answers_one(token, &host);
        }
    }

    fn dns_answers_one(&mut self, token: Token, host: &str) {
        let targets = self.names.get(host).cloned().unwrap_or_default();
        self.input(Input::Resolved { token, targets });
    }

    /// The relay answers what it let wait.
    pub fn relay_answers(&mut self) {
        self.relay_waits = false;
        for command in std::mem::take(&mut self.unopened) {
            self.open(command);
        }
    }

    fn relay(&mut self, command: MediaCommand) {
        self.media.push(command.clone());
        if self.relay_waits {
            self.unopened.push(command);
        } else {
            self.open(command);
        }
    }

    fn open(&mut self, command: MediaCommand) {
        if let MediaCommand::Open {
            media,
            side,
            generation,
            streams,
            claim,
            again,
            toward,
            told: _,
        } = command
        {
            let given = self.given.entry((media, side, generation)).or_default();
            let refused = (self.no_ports)(toward) || claim > self.least;
            for stream in 0..if refused { 0 } else { streams } {
                self.next_port += 2;
                let port = again.get(stream).copied().unwrap_or(self.next_port);
                match given.get_mut(stream) {
                    Some(closed @ 0) => *closed = port,
                    Some(_) => {}
                    None => given.push(port),
                }
            }
            let addresses = given.iter().take(streams);
            let addresses = addresses.map(|port| SocketAddr::new(ours(toward).ip(), *port));
            let result = (!refused).then(|| addresses.collect());
            self.input(Input::Media(MediaEvent::Opened {
                media,
                side,
                generation,
                result,
            }));
        } else if let MediaCommand::CloseStreams {
            media,
            side,
            generation,
            streams,
        } = command
        {
            let given = self.given.get_mut(&(media, side, generation));
            let given = given.expect("ports that are given back are open");
            for stream in streams {
                assert_ne!(std::mem::take(&mut given[stream]), 0, "given back twice");
            }
        }
    }

    /// Turns the clock, stopping at every deadline.
    pub fn pass(&mut self, span: Millis) {
        let end = self.now + span;
        while let Some((worker, due)) = self.next_due().filter(|(_, due)| *due <= end) {
            self.now = self.now.max(due);
            self.at(worker, |t| {
                t.engine.handle_timeout(t.now, &mut t.site);
                t.drain();
            });
        }
        self.now = end;
    }

    fn next_due(&self) -> Option<(u8, Time)> {
        let other = self.other.as_ref().and_then(Engine::poll_timeout);
        let dues = [(0, self.engine.poll_timeout()), (1, other)];
        let dues = dues
            .into_iter()
            .filter_map(|(worker, due)| Some((worker, due?)));
        dues.min_by_key(|(_, due)| *due)
    }

    /// Kills the engine and starts another one from the store.
    pub fn restart(&mut self) {
        let _ = writeln!(self.ladder, "          restart");
        self.lives_for = None;
        self.engine = engine(self.settings.clone(), 2);
        if self.other.is_some() {
            self.engine = of_worker(&self.settings, 0, 1);
            self.other = Some(of_worker(&self.settings, 1, 1));
        }
        self.site.legs.clear();
        self.site.halves.clear();
        self.site.ringing.clear();
        self.site.standing.clear();
        self.site.streaming.clear();
        self.site.board = Board::default();
        self.site.watching.clear();
        self.given.clear();
        self.unopened.clear();
        for bytes in self.store.values().cloned().collect::<Vec<_>>() {
            let snapshot: Snapshot = rmp_serde::from_slice(&bytes).unwrap();
            let two = u8::from(self.other.is_some());
            self.at(snapshot.id.shard().0 % 2 * two, |t| {
                assert!(t.engine.rebuild(snapshot, t.now, &mut t.site));
            });
        }
        // What one says to another comes once all are there.
        for worker in 0..=u8::from(self.other.is_some()) {
            self.at(worker, Self::drain);
        }
    }

    /// Returns the next message to a phone.
    #[track_caller]
    pub fn next_to(&mut self, phone: SocketAddr) -> Message {
        let at = self.mail.iter().position(|(to, _)| *to == phone);
        let Some(at) = at else {
            panic!("nothing was sent to {phone}\n{}", self.ladder);
        };
        self.mail.remove(at).unwrap().1
    }

    /// Returns the next message to a phone, which must be this request.
    #[track_caller]
    pub fn request_to(&mut self, phone: SocketAddr, method: Method) -> Message {
        let message = self.next_to(phone);
        assert!(
            message.is_request() && *message.method() == method,
            "{phone} got {} and not {method:?}\n{}",
            title(&message),
            self.ladder
        );
        message
    }

    /// Returns the next message to a phone, which must be a response with this status.
    #[track_caller]
    pub fn response_to(&mut self, phone: SocketAddr, status: u16) -> Message {
        let message = self.next_to(phone);
        assert_eq!(
            message.status(),
            status,
            "{phone} got {}\n{}",
            title(&message),
            self.ladder
        );
        message
    }

    /// Returns a request that waits for a phone, if there is one.
    pub fn waiting(&mut self, phone: SocketAddr, method: &Method) -> Option<Message> {
        let is = |(to, message): &(SocketAddr, Message)| {
            *to == phone && message.is_request() && message.method() == method
        };
        let at = self.mail.iter().position(is)?;
        Some(self.mail.remove(at)?.1)
    }

    /// Returns what has been sent and not been looked at, oldest first.
    pub fn mail(&self) -> impl Iterator<Item = &(SocketAddr, Message)> {
        self.mail.iter()
    }

    /// Nothing has been sent to the phone.
    #[track_caller]
    pub fn nothing_to(&mut self, phone: SocketAddr) {
        if let Some((_, message)) = self.mail.iter().find(|(to, _)| *to == phone) {
            panic!("{phone} got {}\n{}", title(message), self.ladder);
        }
    }

    /// Forgets what was sent to a phone: it is dead.
    pub fn discard(&mut self, phone: SocketAddr) -> usize {
        let before = self.mail.len();
        self.mail.retain(|(to, _)| *to != phone);
        before - self.mail.len()
    }

    /// Returns what the history says, in words.
    pub fn history(&self) -> Vec<&Happening> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Conversation { what, .. } => Some(what),
                _ => None,
            })
            .collect()
    }

    fn noted(&mut self, of: Option<ConversationId>, event: Event) {
        if let Event::Conversation { id, .. } = &event {
            assert_eq!(of, Some(*id), "{event:?}");
        }
        self.of_calls.extend(of.map(|_| event.clone()));
        self.events.push(event);
    }

    pub fn happened(&self, test: impl Fn(&Happening) -> bool) -> usize {
        self.history().into_iter().filter(|what| test(what)).count()
    }

    /// Waits until every transaction has had its time, then nothing may be left.
    #[track_caller]
    pub fn ends_empty(&mut self) {
        self.pass(Millis::from_secs(400));
        // What lost dialogs are told once more by time may have gone out just now.
        for _ in 0..2 {
            let mut engines = std::iter::once(&self.engine).chain(&self.other);
            if engines.any(|engine| engine.gauges().client_transactions > 0) {
                self.pass(Millis::from_secs(40));
            }
        }
        for engine in std::iter::once(&self.engine).chain(&self.other) {
            let gauges = engine.gauges();
            assert!(gauges.is_at_rest(), "left over {gauges:?}\n{}", self.ladder);
        }
        // But for lost dialogs that are told once more by time: of each conversation those that are left, and no others.
        for (id, bytes) in &self.store {
            let snapshot: Snapshot = rmp_serde::from_slice(bytes).unwrap();
            let mut engines = std::iter::once(&self.engine).chain(&self.other);
            let graves = engines.find_map(|engine| engine.snapshot(*id));
            let graves = graves.map(|graves| graves_of(&graves));
            assert_eq!(
                graves,
                Some(graves_of(&snapshot)),
                "the store keeps an ended conversation\n{}",
                self.ladder
            );
        }
        assert!(self.site.legs.is_empty(), "peers are expected for ever");
        assert!(self.site.halves.is_empty(), "halves of calls that are over");
        assert!(self.site.ringing.is_empty(), "somebody rings for ever");
        assert!(self.site.board.is_empty(), "a lamp shines for ever");
        assert!(
            self.site.standing.is_empty() && self.site.streaming.is_empty(),
            "a call that is over still stands"
        );
    }

    fn write(&mut self, peer: SocketAddr, arrow: &str, message: &Message) {
        let at = self.now.0 % 1_000_000;
        let _ = writeln!(
            self.ladder,
            "{:>8.3} {peer:<22} {arrow} {}",
            at as f64 / 1000.0,
            title(message)
        );
    }
}

/// Returns the Call-IDs of the dialogs that are kept of a conversation that is over.
fn graves_of(snapshot: &Snapshot) -> BTreeSet<String> {
    #[derive(serde::Deserialize)]
    struct Kept {
        farewells: Vec<(String, Grave)>,
    }
    #[derive(serde::Deserialize)]
    struct Grave {
        dialog: Dialog,
    }
    #[derive(serde::Deserialize)]
    struct Dialog {
        call_id: String,
    }
    let kept: Kept = rmp_serde::from_slice(&snapshot.state).expect("no conversation that is over");
    let graves = kept.farewells.into_iter();
    graves.map(|(_, grave)| grave.dialog.call_id).collect()
}

fn engine(settings: Settings, seed: u8) -> Engine {
    let shards = (0..VIRTUAL_SHARDS).map(VirtualShard).collect();
    Engine::new(settings, shards, [seed; 32])
}

/// One of two workers.
fn of_worker(settings: &Settings, worker: u8, life: u8) -> Engine {
    let shards = (0..VIRTUAL_SHARDS).filter(|shard| shard % 2 == worker);
    let shards = shards.map(VirtualShard).collect();
    let seed = [worker + 1 + 2 * life; 32];
    Engine::new(settings.clone(), shards, seed).with_secret([7; 32], 0)
}

pub fn title(message: &Message) -> String {
    if message.is_request() {
        format!(
            "{} {} {}",
            message.method().as_str(),
            message.uri(),
            message.cseq()
        )
    } else {
        format!(
            "{} {} {}",
            message.status(),
            message.reason_phrase(),
            message.method().as_str()
        )
    }
}

pub fn flow(peer: SocketAddr) -> Flow {
    Flow {
        transport: Transport::Udp,
        listener: ListenerId(0),
        peer,
        connection: None,
    }
}

pub fn tcp(peer: SocketAddr, connection: u64) -> Flow {
    Flow {
        transport: Transport::Tcp,
        listener: ListenerId(1),
        peer,
        connection: Some(ConnectionId(connection)),
    }
}

pub fn phone(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An audio session as phones offer it.
pub fn sdp(address: SocketAddr, version: u32, direction: &str) -> String {
    let (ip, port) = (address.ip(), 4000);
    format!(
        "v=0\r\no=- 7 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )
}

/// A text session as legacy IM clients offer it.
pub fn text_sdp(address: SocketAddr) -> String {
    let ip = address.ip();
    format!(
        "v=0\r\no=- 7 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message 5060 sip null\r\n"
    )
}

/// A request of a phone outside of any dialog.
pub fn request(method: Method, from: &str, to: &str, at: SocketAddr, call_id: &str) -> Builder {
    let (from_uri, name) = (
        format!("sip:{from}@example.org"),
        method.as_str().to_owned(),
    );
    Builder::request(&method, &format!("sip:{to}@example.org"))
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP {at};branch=z9hG4bK{call_id}{name};rport"),
        )
        .header(Name::MaxForwards, 70)
        .header(
            Name::From,
            format_args!("\"{from}\" <{from_uri}>;tag=t{call_id}"),
        )
        .header(Name::To, format_args!("<sip:{to}@example.org>"))
        .header(Name::CallId, call_id)
        .header(Name::CSeq, format_args!("1 {name}"))
        .header(Name::Contact, format_args!("<sip:{from}@{at}>"))
}

pub fn with_sdp(builder: Builder, sdp: &str) -> Bytes {
    builder.body("application/sdp", sdp.as_bytes())
}

/// A phone's response to a request of ours.
pub fn response(request: &Message, status: u16, at: SocketAddr, tag: &str) -> Builder {
    Builder::respond(
        request,
        status,
        reason_phrase(status),
        Some(tag),
        SERVER.parse().unwrap(),
    )
    .header(Name::Contact, format_args!("<sip:phone@{at}>"))
}

/// The far side of a dialog with us, as a phone keeps it.
#[derive(Clone)]
pub struct Remote {
    pub at: SocketAddr,
    pub call_id: String,
    pub local: String,
    pub remote: String,
    pub target: String,
    pub cseq: u32,
}

impl Remote {
    /// The caller's, of our 2xx.
    pub fn of_answer(answer: &Message, at: SocketAddr) -> Self {
        Self {
            at,
            call_id: answer.call_id().into(),
            local: answer.header(Name::From).unwrap().into(),
            remote: answer.header(Name::To).unwrap().into(),
            target: contact(answer),
            cseq: answer.cseq(),
        }
    }

    /// The callee's, of our INVITE.
    pub fn of_invite(invite: &Message, at: SocketAddr, tag: &str) -> Self {
        Self {
            at,
            call_id: invite.call_id().into(),
            local: format!("{};tag={tag}", invite.header(Name::To).unwrap()),
            remote: invite.header(Name::From).unwrap().into(),
            target: contact(invite),
            cseq: 100,
        }
    }

    pub fn request(&mut self, method: Method) -> Builder {
        self.cseq += 1;
        self.numbered(method, self.cseq)
    }

    pub fn ack(&self, cseq: u32) -> Bytes {
        self.numbered(Method::Ack, cseq).end()
    }

    pub fn numbered(&self, method: Method, cseq: u32) -> Builder {
        let (at, name) = (self.at, method.as_str().to_owned());
        let unique = format!("{}{cseq}{name}{}", self.call_id.len(), at.port());
        Builder::request(&method, &self.target)
            .header(
                Name::Via,
                format_args!("SIP/2.0/UDP {at};branch=z9hG4bKp{unique};rport"),
            )
            .header(Name::MaxForwards, 70)
            .header(Name::From, &self.local)
            .header(Name::To, &self.remote)
            .header(Name::CallId, &self.call_id)
            .header(Name::CSeq, format_args!("{cseq} {name}"))
            .header(Name::Contact, format_args!("<sip:phone@{at}>"))
    }

    pub fn message(&mut self, text: &str) -> Bytes {
        self.request(Method::Message)
            .body("text/plain", text.as_bytes())
    }
}

pub fn contact(message: &Message) -> String {
    let value = message.values(Name::Contact).next().expect("a Contact");
    value
        .trim_start_matches('<')
        .split('>')
        .next()
        .unwrap()
        .into()
}

pub fn text(message: &Message) -> String {
    String::from_utf8(message.body().to_vec()).unwrap()
}
