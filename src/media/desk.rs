//! All sessions of one relay thread, with their ports and alarms: carries out commands.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::{Interest, Registry, Token};

use crate::engine::ids::Side;
use crate::engine::ports::{Generation, MediaCommand, MediaEvent, MediaId};
use crate::media::clock::Micros;
use crate::media::counters::{RelayCounters, Tally};
use crate::media::handle::EventSink;
use crate::media::place::{MAX_STREAMS, Place};
use crate::media::pool::Pool;
use crate::media::report::{LineState, SessionReport};
use crate::media::session::{Configuration, Session, SessionRules};
use crate::media::settings::RelaySettings;
use crate::media::sockets::{Local, Pair};
use crate::media::stream::Port;
use crate::media::traffic::Buffer;
use crate::media::wires::{Leg, Way, Wires};

/// Ports held by others on this machine that are passed over for one pair.
const TRIES: usize = 256;
/// Generations of one side that may stand together.
const MAX_LEGS: usize = 16;

pub(crate) struct Desk {
    pub(crate) tally: Tally,
    pub(crate) entries: Vec<Option<Entry>>,
    /// Sockets with more to read than one turn allows.
    pub(crate) unread: VecDeque<Token>,
    pub(crate) buffer: Box<Buffer>,
    pub(crate) events: EventSink,
    registry: Registry,
    settings: RelaySettings,
    rules: SessionRules,
    counters: Arc<RelayCounters>,
    pool: Pool,
    random: Box<dyn FnMut() -> u64 + Send>,
    vacant: Vec<u32>,
    by_media: HashMap<MediaId, u32>,
    alarms: BinaryHeap<Reverse<(Micros, u32)>>,
}

/// A session and its sockets.
pub(crate) struct Entry {
    pub(crate) session: Session,
    pub(crate) wires: Wires,
    /// The alarm that counts; others of the slot are stale.
    armed: Option<Micros>,
}

/// What a desk is made of.
pub(crate) struct Fittings {
    pub(crate) registry: Registry,
    pub(crate) settings: RelaySettings,
    pub(crate) events: EventSink,
    pub(crate) counters: Arc<RelayCounters>,
    pub(crate) pool: Pool,
    /// Not to be guessed from outside.
    pub(crate) random: Box<dyn FnMut() -> u64 + Send>,
    /// The Unix time at `Micros(0)`, in microseconds.
    pub(crate) epoch_us: u64,
}

/// What `Open` asks for.
struct Wanted {
    side: Side,
    generation: Generation,
    streams: usize,
    again: Vec<u16>,
}

impl Desk {
    pub(crate) fn new(fittings: Fittings) -> Self {
        let settings = fittings.settings;
        Self {
            tally: Tally::default(),
            entries: Vec::new(),
            unread: VecDeque::new(),
            buffer: Box::new(Buffer::default()),
            events: fittings.events,
            registry: fittings.registry,
            rules: SessionRules {
                latch: settings.latch,
                silence: settings.silence.map(|ms| ms.saturating_mul(1000)),
                filler: settings.filler,
                epoch_us: fittings.epoch_us,
            },
            settings,
            counters: fittings.counters,
            pool: fittings.pool,
            random: fittings.random,
            vacant: Vec::new(),
            by_media: HashMap::new(),
            alarms: BinaryHeap::new(),
        }
    }

    pub(crate) fn command(&mut self, command: MediaCommand, now: Micros) {
        match command {
            MediaCommand::Open {
                media,
                side,
                generation,
                streams,
                toward,
                again,
            } => {
                let wanted = Wanted {
                    side,
                    generation,
                    streams,
                    again,
                };
                let result = Local::toward(toward, &self.settings)
                    .and_then(|local| self.open(media, &wanted, local, now));
                if let Err(error) = &result {
                    tracing::warn!(%media, side = side.as_str(), %error, "no media ports");
                }
                (self.events)(MediaEvent::Opened {
                    media,
                    side,
                    generation,
                    result: result.ok(),
                });
            }
            MediaCommand::Configure {
                media,
                side,
                generation,
                signalling,
                streams,
            } => {
                let told = Configuration {
                    side,
                    generation,
                    signalling,
                    streams,
                    v4: true,
                };
                self.configure(media, told, now);
            }
            MediaCommand::Lost { media, side } => {
                if let Some((slot, entry)) = self.entry(media) {
                    entry.session.lose(side, now);
                    self.attend(slot, now);
                }
            }
            MediaCommand::CloseSide {
                media,
                side,
                generation,
            } => self.close_side(media, side, generation, now),
            MediaCommand::Close { media } => {
                if let Some(&slot) = self.by_media.get(&media) {
                    self.vacate(slot, now);
                }
            }
        }
    }

    /// Takes up lines of before a restart.
    pub(crate) fn resume(&mut self, media: MediaId, side: Side, lines: &[LineState], now: Micros) {
        if let Some((_, entry)) = self.entry(media) {
            entry.session.resume(side, lines, now);
        }
    }

    pub(crate) fn report(&self, media: MediaId) -> Option<SessionReport> {
        let slot = *self.by_media.get(&media)?;
        let entry = self.entries.get(slot as usize)?.as_ref()?;
        Some(entry.session.report(|side, stream| {
            let live = entry.session.live()[side.index()];
            live.and_then(|generation| entry.wires.leg(side, generation))
                .or_else(|| entry.wires.legs[side.index()].last())
                .and_then(|leg| leg.pairs.get(stream))
                .map_or(0, |pair| pair.port)
        }))
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Micros) {
        while let Some(&Reverse((at, slot))) = self.alarms.peek() {
            if at > now {
                break;
            }
            self.alarms.pop();
            let entry = self.entries.get_mut(slot as usize).and_then(Option::as_mut);
            if let Some(entry) = entry.filter(|entry| entry.armed == Some(at)) {
                entry.armed = None;
                self.attend(slot, now);
            }
        }
    }

    /// Returns when to be called next whatever happens: `now` where there is more to read.
    pub(crate) fn deadline(&self, now: Micros) -> Option<Micros> {
        if self.unread.is_empty() {
            self.alarms.peek().map(|Reverse((at, _))| *at)
        } else {
            Some(now)
        }
    }

    /// Lets a session say what it has to say, and sets its alarm.
    pub(crate) fn attend(&mut self, slot: u32, now: Micros) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let mut way = Way {
            wires: &entry.wires,
            live: entry.session.live(),
            tally: &mut self.tally,
            events: &self.events,
        };
        entry.session.poll(now, &mut way);
        if let Some(deadline) = entry.session.deadline()
            && entry.armed.is_none_or(|armed| deadline < armed)
        {
            entry.armed = Some(deadline);
            self.alarms.push(Reverse((deadline, slot)));
        }
    }

    fn open(
        &mut self,
        media: MediaId,
        wanted: &Wanted,
        local: Local,
        now: Micros,
    ) -> io::Result<Vec<SocketAddr>> {
        let slot = self.slot(media);
        let opened = self.take_ports(slot, wanted, local, now);
        if opened.is_err() {
            self.vacate_if_bare(slot, now);
        }
        opened
    }

    fn take_ports(
        &mut self,
        slot: u32,
        wanted: &Wanted,
        local: Local,
        now: Micros,
    ) -> io::Result<Vec<SocketAddr>> {
        let side = wanted.side;
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::as_mut) else {
            return refuse("no such session");
        };
        if wanted.streams > MAX_STREAMS {
            return refuse("too many streams");
        }
        if entry.session.live()[side.index()].is_some_and(|live| live > wanted.generation) {
            return refuse("the generation is over");
        }
        let legs = &entry.wires.legs[side.index()];
        let standing = legs.iter().find(|leg| leg.generation == wanted.generation);
        if standing.is_none() && legs.len() >= MAX_LEGS {
            return refuse("too many generations");
        }
        let local = standing.map_or(local, |leg| leg.local);
        let there = standing.map_or(0, |leg| leg.pairs.len());
        let mut taken: Vec<Pair> = Vec::new();
        for stream in there..wanted.streams {
            let place = Place {
                slot,
                side,
                generation: Place::fold(wanted.generation),
                stream,
                port: Port::Rtp,
            };
            let again = wanted.again.get(stream).copied();
            match self.take_pair(local, again, place, now) {
                Ok(pair) => taken.push(pair),
                Err(error) => {
                    self.give_back(taken, now);
                    return Err(error);
                }
            }
        }
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::as_mut) else {
            return refuse("no such session");
        };
        entry.session.open(side, wanted.streams);
        let legs = &mut entry.wires.legs[side.index()];
        let leg = match legs
            .iter()
            .position(|leg| leg.generation == wanted.generation)
        {
            Some(index) => &mut legs[index],
            None => {
                legs.push(Leg {
                    generation: wanted.generation,
                    local,
                    pairs: Vec::new(),
                });
                let last = legs.len() - 1;
                &mut legs[last]
            }
        };
        leg.pairs.extend(taken);
        let told = leg.pairs.iter().take(wanted.streams);
        Ok(told
            .map(|pair| SocketAddr::new(local.told, pair.port))
            .collect())
    }

    /// Takes and registers one pair: the one that is asked for again, else the next that is free.
    fn take_pair(
        &mut self,
        local: Local,
        again: Option<u16>,
        place: Place,
        now: Micros,
    ) -> io::Result<Pair> {
        let mut found = None;
        if let Some(port) = again.filter(|port| port % 2 == 0 && *port != 0) {
            match Pair::bind(local.bind, port) {
                Ok(pair) => {
                    self.pool.take_this(port);
                    found = Some(pair);
                }
                Err(error) => tracing::warn!(port, %error, "a media port is not to be had again"),
            }
        }
        let tries = TRIES.min(self.pool.size());
        let mut pair = match found {
            Some(pair) => pair,
            None => self.take_next(local, tries, now)?,
        };
        for port in [Port::Rtp, Port::Rtcp] {
            let token = Place { port, ..place }.token();
            let socket = pair.socket_mut(port);
            if let Err(error) = self.registry.register(socket, token, Interest::READABLE) {
                self.pool.release(pair.port, now);
                return Err(error);
            }
        }
        self.counters.ports_used.fetch_add(2, Ordering::Relaxed);
        Ok(pair)
    }

    fn take_next(&mut self, local: Local, tries: usize, now: Micros) -> io::Result<Pair> {
        let mut last = io::Error::new(io::ErrorKind::AddrInUse, "all ports are taken");
        for _ in 0..tries {
            let Some(port) = self.pool.take(now) else {
                break;
            };
            match Pair::bind(local.bind, port) {
                Ok(pair) => return Ok(pair),
                Err(error) => {
                    self.pool.put_off(port);
                    let taken_by_others = error.kind() == io::ErrorKind::AddrInUse;
                    last = error;
                    if !taken_by_others {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    fn configure(&mut self, media: MediaId, mut told: Configuration, now: Micros) {
        let (side, generation) = (told.side, told.generation);
        let Some((slot, entry)) = self.entry(media) else {
            return;
        };
        let legs = &mut entry.wires.legs[side.index()];
        let Some(leg) = legs.iter().find(|leg| leg.generation == generation) else {
            tracing::debug!(%media, generation, "no ports to configure");
            return;
        };
        told.v4 = leg.local.bind.is_ipv4();
        told.streams.truncate(leg.pairs.len());
        entry.session.configure(told, now);
        let older = legs.extract_if(.., |leg| leg.generation < generation);
        let pairs = older.flat_map(|leg| leg.pairs).collect();
        self.give_back(pairs, now);
        self.attend(slot, now);
    }

    fn close_side(&mut self, media: MediaId, side: Side, generation: Generation, now: Micros) {
        let Some((slot, entry)) = self.entry(media) else {
            return;
        };
        if entry.session.live()[side.index()] == Some(generation) {
            entry.session.unplug(side, now);
        }
        let legs = &mut entry.wires.legs[side.index()];
        let gone = legs.extract_if(.., |leg| leg.generation == generation);
        let pairs = gone.flat_map(|leg| leg.pairs).collect();
        self.give_back(pairs, now);
        self.attend(slot, now);
        self.vacate_if_bare(slot, now);
    }

    fn give_back(&mut self, pairs: Vec<Pair>, now: Micros) {
        for pair in pairs {
            self.pool.release(pair.port, now);
            self.counters.ports_used.fetch_sub(2, Ordering::Relaxed);
        }
    }

    fn entry(&mut self, media: MediaId) -> Option<(u32, &mut Entry)> {
        let slot = *self.by_media.get(&media)?;
        let entry = self.entries.get_mut(slot as usize)?.as_mut()?;
        Some((slot, entry))
    }

    /// Returns the slot of a session, which begins with this where there is none.
    fn slot(&mut self, media: MediaId) -> u32 {
        if let Some(&slot) = self.by_media.get(&media) {
            return slot;
        }
        let entry = Entry {
            session: Session::new(media, self.rules, (self.random)()),
            wires: Wires::default(),
            armed: None,
        };
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.entries[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.entries.push(Some(entry));
                self.entries.len() as u32 - 1
            }
        };
        self.by_media.insert(media, slot);
        self.counters.sessions.fetch_add(1, Ordering::Relaxed);
        slot
    }

    /// Ends a session that holds no port: it can't relay anything.
    fn vacate_if_bare(&mut self, slot: u32, now: Micros) {
        let entry = self.entries.get(slot as usize).and_then(Option::as_ref);
        if entry.is_some_and(|entry| entry.wires.legs.iter().all(Vec::is_empty)) {
            self.vacate(slot, now);
        }
    }

    fn vacate(&mut self, slot: u32, now: Micros) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.by_media.remove(&entry.session.media);
        self.vacant.push(slot);
        self.counters.sessions.fetch_sub(1, Ordering::Relaxed);
        let legs = entry.wires.legs.into_iter().flatten();
        self.give_back(legs.flat_map(|leg| leg.pairs).collect(), now);
    }
}
