//! One run: the clock, the queue of what is under way, the server and the phones.

mod acts;
mod lines;
mod server;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use refork::engine::Engine;
use refork::engine::ids::{ConnectionId, Side};
use refork::engine::ports::{Input, Token};
use refork::engine::time::{Millis, Time};
use refork::engine::view::Gauges;
use refork::metrics::{Metrics, Readings};

use crate::dice::Dice;
use crate::log::{Card, Fault, Log, PhoneId, What};
use crate::net::{Line, Power};
use crate::outside::Outside;
use crate::phone::{Out, Phone};
use crate::relay::{Phones, Relay};
use crate::scenario::{Act, Scenario};
use crate::store::Store;

pub(crate) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5060);
/// Its other address, where it has two.
const SECOND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 5060);
/// Some day: the engine reckons in time since the epoch.
pub(crate) const START: Time = Time(1_800_000_000_000);
/// How often the relay looks at its streams.
const WATCH: Millis = Millis(500);
/// By then a BYE has been answered, or given up.
const GOODBYE: Millis = Millis(40_000);
/// More than this at one instant is a loop without end.
pub(super) const STEPS_PER_INSTANT: u32 = 5000;

/// What is under way.
enum Event {
    ToServer {
        from: SocketAddr,
        bytes: Bytes,
    },
    ToServerStream {
        phone: PhoneId,
        id: ConnectionId,
        bytes: Bytes,
    },
    ToPhone {
        phone: PhoneId,
        to: SocketAddr,
        bytes: Bytes,
    },
    ToPhoneStream {
        phone: PhoneId,
        id: ConnectionId,
        bytes: Bytes,
    },
    /// For the server of that life only.
    Input {
        life: u32,
        input: Input,
    },
    Stored {
        life: u32,
        token: Token,
        ok: bool,
    },
    Watch,
    Act(Act),
    Recover {
        phone: PhoneId,
        from: Fault,
    },
    Reconnect(PhoneId),
    /// The connection is given up unless data flows again.
    StreamTimeout {
        phone: PhoneId,
        id: ConnectionId,
    },
    ServerUp,
}

pub(crate) struct Simulation {
    now: Time,
    queue: BTreeMap<(Time, u64), Event>,
    order: u64,
    engine: Option<Engine>,
    life: u32,
    outside: Outside,
    phones: Vec<Phone>,
    lines: Vec<Line>,
    relay: Relay,
    store: Store,
    /// By phone: something befell it, or its server.
    shaken: Vec<bool>,
    /// The relay's next look is in the queue.
    watching: bool,
    scenario: Scenario,
    chance: Dice,
    connections: u64,
    /// Texts said so far, by conversation and side.
    said: BTreeMap<(usize, Side), u32>,
    broken: Vec<String>,
    /// Somebody will read its ladder.
    told: bool,
    /// Of all lives of the server together.
    metrics: Metrics,
    pub(crate) log: Log,
}

/// What is left when all is over.
pub(crate) struct Rest {
    pub(crate) gauges: Gauges,
    /// What the engine found wrong with itself on the way.
    pub(crate) broken: Vec<String>,
    pub(crate) media_sessions: usize,
    pub(crate) media_ports: usize,
    pub(crate) misuse: Vec<String>,
    pub(crate) snapshots: usize,
    pub(crate) bindings: usize,
    /// Names of running phones that think that they are in a call.
    pub(crate) busy: Vec<String>,
    /// What a scrape shows.
    pub(crate) metrics: String,
}

impl Simulation {
    pub(crate) fn new(scenario: Scenario, told: bool) -> Self {
        let mut chance = Dice::new(scenario.seed);
        let by_tcp = if scenario.rules.two_homes {
            SECOND
        } else {
            SERVER
        };
        let phones: Vec<_> = scenario
            .phones
            .iter()
            .map(|spec| Phone::new(spec.clone(), SERVER, chance.fork()))
            .collect();
        let roster = scenario
            .phones
            .iter()
            .zip(&scenario.places)
            .map(|(spec, (talk, side))| Card {
                name: spec.name.clone(),
                user: spec.user.clone(),
                talk: *talk,
                side: *side,
                traits: spec.traits,
                stream: spec.stream,
            })
            .collect();
        let rules = scenario.rules;
        let one_voice = !rules.two_homes && !rules.single_early;
        let mut run = Self {
            now: START,
            queue: BTreeMap::new(),
            order: 0,
            engine: None,
            life: 0,
            outside: Outside::new(SERVER, by_tcp),
            lines: phones.iter().map(|_| Line::new()).collect(),
            relay: Relay::new(SERVER.ip(), rules.silence, one_voice),
            store: Store::default(),
            shaken: vec![false; phones.len()],
            watching: false,
            phones,
            chance,
            connections: 0,
            said: BTreeMap::new(),
            broken: Vec::new(),
            told,
            metrics: Metrics::new("sim"),
            log: Log {
                rules: scenario.rules,
                roster,
                ..Log::default()
            },
            scenario,
        };
        run.start_server();
        for (at, act) in run.scenario.acts.clone() {
            run.at(START + at, Event::Act(act));
        }
        run
    }

    /// Runs the scenario to its end, and on until everything has run out.
    pub(crate) fn run(&mut self) -> Rest {
        self.run_until(START + self.scenario.length);
        self.say_goodbye();
        self.run_until(self.now + GOODBYE);
        for phone in 0..self.phones.len() {
            if self.lines[phone].power == Power::On {
                // What a phone could not be told while it was away, its user notices.
                if self.shaken[phone] {
                    self.phones[phone].hang_up(self.now);
                }
                self.phones[phone].unregister(self.now);
                self.flush(phone);
            }
        }
        // Every timer is shorter than a registration, and what began last ends within another minute.
        self.run_until(self.now + Millis::from_secs(900));
        let gauges = self.engine.as_ref().map(Engine::gauges).unwrap_or_default();
        Rest {
            gauges,
            broken: std::mem::take(&mut self.broken),
            media_sessions: self.relay.sessions(),
            media_ports: self.relay.ports(),
            misuse: std::mem::take(&mut self.relay.misuse),
            // But for lost dialogs that are told once more by time.
            snapshots: self.store.len().saturating_sub(gauges.lost_dialogs),
            bindings: self.outside.bindings_left(),
            metrics: self.metrics.render(&Readings::default(), Duration::ZERO),
            busy: self
                .phones
                .iter()
                .zip(&self.lines)
                .filter(|(phone, line)| line.passes() && phone.is_busy())
                .map(|(phone, _)| phone.spec.name.clone())
                .collect(),
        }
    }

    /// Whatever still goes on is ended by one of its phones: the others must learn of it.
    fn say_goodbye(&mut self) {
        let mut ended = Vec::new();
        for phone in 0..self.phones.len() {
            let (talk, _) = self.scenario.places[phone];
            if self.lines[phone].passes()
                && !ended.contains(&talk)
                && self.phones[phone].hang_up(self.now)
            {
                // Of a talk with a second call, everybody puts the receiver down.
                let second =
                    |act: &Act| matches!(act, Act::Consult { talk: of, .. } if *of == talk);
                if !self.scenario.acts.iter().any(|(_, act)| second(act)) {
                    ended.push(talk);
                }
            }
            self.flush(phone);
        }
    }

    fn run_until(&mut self, end: Time) {
        let (mut steps, mut instant) = (0, self.now);
        while let Some(next) = self.next_time().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            if self.now > instant {
                (steps, instant) = (0, self.now);
            }
            steps += 1;
            assert!(
                steps < STEPS_PER_INSTANT,
                "the clock stands still at {:?}: engine wants {:?}",
                self.now.since(START),
                self.engine.as_ref().and_then(Engine::poll_timeout),
            );
            self.step();
        }
        self.now = end;
    }

    /// Returns how many writes were late, and how many failed.
    pub(crate) fn store_trouble(&self) -> (usize, usize) {
        (self.store.slow, self.store.failed)
    }

    /// Returns how often one that rings was heard in another's place.
    pub(crate) fn overheard(&self) -> usize {
        self.relay.overheard
    }

    fn next_time(&self) -> Option<Time> {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let engine = self.engine.as_ref().and_then(Engine::poll_timeout);
        let phones = self
            .phones
            .iter()
            .zip(&self.lines)
            .filter(|(_, line)| line.power == Power::On)
            .filter_map(|(phone, _)| phone.poll_timeout());
        phones.chain(queued).chain(engine).min()
    }

    fn step(&mut self) {
        let mut steps = 0;
        while let Some(entry) = self.queue.first_entry() {
            steps += 1;
            assert!(steps < STEPS_PER_INSTANT, "events without end");
            if entry.key().0 > self.now {
                break;
            }
            let event = entry.remove();
            self.happen(event);
        }
        self.time_server();
        for phone in 0..self.phones.len() {
            let due = self.phones[phone]
                .poll_timeout()
                .is_some_and(|at| at <= self.now);
            if due && self.lines[phone].power == Power::On {
                self.phones[phone].handle_timeout(self.now);
                self.flush(phone);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToServer { from, bytes } => self.datagram_at_server(from, bytes),
            Event::ToServerStream { phone, id, bytes } => self.stream_at_server(phone, id, bytes),
            Event::ToPhone { phone, to, bytes } => self.datagram_at_phone(phone, to, bytes),
            Event::ToPhoneStream { phone, id, bytes } => self.stream_at_phone(phone, id, bytes),
            Event::Input { life, input } => {
                if life == self.life {
                    self.tell(input);
                }
            }
            Event::Stored { life, token, ok } => {
                if life == self.life && self.store.commit(token, ok) {
                    self.log.add(self.now, None, What::Stored(ok));
                    self.tell(Input::Stored { token, ok });
                }
            }
            Event::Watch => self.watch(),
            Event::Act(act) => self.act(act),
            Event::Recover { phone, from } => self.recover(phone, from),
            Event::Reconnect(phone) => self.reconnect(phone),
            Event::StreamTimeout { phone, id } => self.stream_timeout(phone, id),
            Event::ServerUp => self.start_server(),
        }
    }

    fn watch(&mut self) {
        let view = View {
            phones: &self.phones,
            lines: &self.lines,
        };
        for event in self.relay.watch(&view, self.now) {
            self.tell(Input::Media(event));
        }
        self.keep_watch();
    }

    /// The relay looks again after a while, as long as it has something to look at.
    pub(super) fn keep_watch(&mut self) {
        self.watching = self.relay.sessions() > 0;
        if self.watching {
            self.after(WATCH, Event::Watch);
        }
    }

    fn at(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    fn after(&mut self, span: Millis, event: Event) {
        self.at(self.now + span, event);
    }

    /// Gives the server news of that life, a little later.
    fn inform(&mut self, input: Input) {
        let (life, delay) = (self.life, self.scenario.weather.delay(&mut self.chance));
        self.after(delay, Event::Input { life, input });
    }

    /// Says something for the reader of a ladder, where anybody will read it.
    fn remark(&mut self, phone: Option<PhoneId>, text: impl FnOnce() -> String) {
        if self.told {
            self.log.add(self.now, phone, What::Remark(text()));
        }
    }

    fn give(&mut self, phone: PhoneId, bytes: Bytes) {
        self.phones[phone].handle(bytes, self.now);
        self.flush(phone);
    }

    /// Carries out what a phone has decided.
    fn flush(&mut self, phone: PhoneId) {
        for out in self.phones[phone].drain() {
            match out {
                Out::Note(what) => self.log.add(self.now, Some(phone), what),
                Out::Send(bytes) => self.send_from_phone(phone, bytes),
            }
        }
    }
}

/// The phones as the relay sees them.
struct View<'a> {
    phones: &'a [Phone],
    lines: &'a [Line],
}

impl View<'_> {
    fn at(&self, ip: IpAddr) -> Option<(&Phone, &Line)> {
        self.phones
            .iter()
            .zip(self.lines)
            .find(|(phone, _)| phone.spec.address.ip() == ip)
    }
}

impl Phones for View<'_> {
    fn media_to(&self, rtp: SocketAddr, signalling: IpAddr) -> Option<SocketAddr> {
        self.phones
            .iter()
            .zip(self.lines)
            .filter(|(_, line)| line.speaks() && !line.unheard)
            .filter(|(phone, _)| [rtp.ip(), signalling].contains(&phone.spec.address.ip()))
            .find_map(|(phone, _)| phone.media_to(rtp))
    }

    fn plays_early_to(&self, port: u16) -> bool {
        let mut phones = self.phones.iter().zip(self.lines);
        phones.any(|(phone, line)| line.speaks() && !line.unheard && phone.plays_early_to(port))
    }

    fn listens_early_to(&self, port: u16) -> bool {
        let mut phones = self.phones.iter().zip(self.lines);
        phones.any(|(phone, line)| line.passes() && phone.listens_early_to(port))
    }

    fn refuses(&self, rtp: SocketAddr) -> bool {
        self.at(rtp.ip())
            .is_some_and(|(phone, line)| match line.power {
                _ if line.cut => false,
                Power::On => !phone.has_media_port(rtp),
                Power::Frozen => false,
                Power::Off { speaks } => speaks,
            })
    }
}
