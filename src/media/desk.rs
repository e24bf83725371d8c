//! All sessions of one relay thread, with their ports and alarms: carries out commands.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::Token;

use crate::engine::ids::Side;
use crate::engine::ports::{Claim, Generation, MediaCommand, MediaEvent, MediaId, STREAMS_MAX};
use crate::engine::settings::Reserve;
use crate::media::clock::Micros;
use crate::media::counters::{RelayCounters, Tally};
use crate::media::handle::EventSink;
use crate::media::pairs::Pairs;
use crate::media::place::{PairId, Place};
use crate::media::report::{LineState, SessionReport};
use crate::media::session::{Configuration, Session, SessionRules};
use crate::media::settings::{RelaySettings, kept_from};
use crate::media::sockets::{Local, Routes};
use crate::media::sound::{Fill, Sound};
use crate::media::table::Table;
use crate::media::traffic::Buffer;
use crate::media::wires::{Leg, Way, Wires};

/// Generations of one side that may stand together.
const MAX_LEGS: usize = 16;
/// Microseconds between two words to the operator that ports are out.
const SAID_EVERY: u64 = 1_000_000;
/// Why free ports are not given.
const KEPT: &str = "the ports that are left are kept (media.reserve)";

pub(crate) struct Desk {
    pub(crate) tally: Tally,
    pub(crate) entries: Table<Entry>,
    /// Sockets with more to read than one turn allows.
    pub(crate) unread: VecDeque<Token>,
    pub(crate) buffer: Box<Buffer>,
    /// Events not yet told.
    pub(crate) events: Vec<MediaEvent>,
    sink: EventSink,
    pub(crate) pairs: Pairs,
    pub(crate) routes: Routes,
    settings: RelaySettings,
    rules: Arc<SessionRules>,
    counters: Arc<RelayCounters>,
    random: Box<dyn FnMut() -> u64 + Send>,
    by_media: HashMap<MediaId, u32>,
    alarms: BinaryHeap<Reverse<(Micros, u32)>>,
    /// When the operator was last told that ports are out, and how often they were since.
    said: Option<Micros>,
    unsaid: u64,
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
    pub(crate) pairs: Pairs,
    pub(crate) settings: RelaySettings,
    /// `settings.filler`, as all threads have it.
    pub(crate) filler: Fill,
    pub(crate) events: EventSink,
    pub(crate) counters: Arc<RelayCounters>,
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
    claim: Claim,
    again: Vec<u16>,
}

impl Desk {
    pub(crate) fn new(fittings: Fittings) -> Self {
        let settings = fittings.settings;
        Self {
            tally: Tally::default(),
            entries: Table::new(),
            unread: VecDeque::new(),
            buffer: Box::new(Buffer::default()),
            events: Vec::new(),
            sink: fittings.events,
            pairs: fittings.pairs,
            routes: Routes::default(),
            rules: Arc::new(SessionRules {
                latch: settings.latch,
                silence: settings.silence.map(|ms| ms.saturating_mul(1000)),
                filler: fittings.filler,
                tone: Arc::new(Sound::beeps()),
                epoch_us: fittings.epoch_us,
            }),
            settings,
            counters: fittings.counters,
            random: fittings.random,
            by_media: HashMap::new(),
            alarms: BinaryHeap::new(),
            said: None,
            unsaid: 0,
        }
    }

    pub(crate) fn command(&mut self, command: MediaCommand, now: Micros) {
        match command {
            MediaCommand::Open {
                media,
                side,
                generation,
                streams,
                claim,
                toward,
                told,
                again,
            } => {
                let wanted = Wanted {
                    side,
                    generation,
                    streams,
                    claim,
                    again,
                };
                // Ports of before a restart may be gone, which is told where they are sought.
                let again = !wanted.again.is_empty();
                let _within = again.then(|| self.settings.spans.of(media).entered());
                let result = self
                    .routes
                    .toward(toward, told, &self.settings, now)
                    .and_then(|local| self.open(media, &wanted, local, now));
                if let Err(error) = &result {
                    if error.kind() == io::ErrorKind::AddrNotAvailable {
                        self.routes.forget();
                    }
                    self.refused(media, &wanted, error, now);
                }
                self.events.push(MediaEvent::Opened {
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
            MediaCommand::Lost {
                media,
                side,
                transferred,
            } => {
                if let Some((slot, entry)) = self.entry(media) {
                    match transferred {
                        true => entry.session.transfer(side, now),
                        false => entry.session.lose(side, now),
                    }
                    self.attend(slot, now);
                }
            }
            MediaCommand::Tone { media, side } => match self.entry(media) {
                Some((slot, entry)) => {
                    entry.session.tone(side, now);
                    self.attend(slot, now);
                }
                None => self.events.push(MediaEvent::Toned {
                    media,
                    side,
                    whole: false,
                }),
            },
            MediaCommand::Overhear {
                media,
                side,
                others,
            } => {
                if let Some((_, entry)) = self.entry(media) {
                    entry.session.overhear(side, others, now);
                }
            }
            MediaCommand::CloseStreams {
                media,
                side,
                generation,
                streams,
            } => self.close_streams(media, (side, generation), &streams, now),
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

    /// Changes what is kept of the ports.
    pub(crate) fn reserve(&mut self, reserve: Reserve) {
        self.settings.reserve = reserve;
    }

    /// Takes up lines of before a restart.
    pub(crate) fn resume(&mut self, media: MediaId, side: Side, lines: &[LineState], now: Micros) {
        if let Some((_, entry)) = self.entry(media) {
            entry.session.resume(side, lines, now);
        }
    }

    pub(crate) fn report(&self, media: MediaId) -> Option<SessionReport> {
        let slot = *self.by_media.get(&media)?;
        let entry = self.entries.get(slot)?;
        Some(entry.session.report(|side, stream| {
            let live = entry.session.live()[side.index()];
            live.and_then(|generation| entry.wires.leg(side, generation))
                .or_else(|| entry.wires.legs[side.index()].last())
                .and_then(|leg| leg.pair(stream))
                .and_then(|id| self.pairs.get(id))
                .map_or(0, |pair| pair.port)
        }))
    }

    /// Tells what happened: together, so that whoever listens is woken once.
    pub(crate) fn tell(&mut self) {
        for event in self.events.drain(..) {
            (self.sink)(event);
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Micros) {
        while let Some(&Reverse((at, slot))) = self.alarms.peek() {
            if at > now {
                break;
            }
            self.alarms.pop();
            let entry = self.entries.get_mut(slot);
            if let Some(entry) = entry.filter(|entry| entry.armed == Some(at)) {
                entry.armed = None;
                self.attend(slot, now);
            }
        }
        self.pairs.tidy(now);
    }

    /// Returns when to be called next whatever happens: `now` where there is more to read.
    pub(crate) fn deadline(&self, now: Micros) -> Option<Micros> {
        if self.unread.is_empty() {
            let alarm = self.alarms.peek().map(|Reverse((at, _))| *at);
            alarm.into_iter().chain(self.pairs.deadline()).min()
        } else {
            Some(now)
        }
    }

    /// Lets a session say what it has to say, and sets its alarm.
    pub(crate) fn attend(&mut self, slot: u32, now: Micros) {
        let Some(entry) = self.entries.get_mut(slot) else {
            return;
        };
        let mut way = Way {
            wires: &entry.wires,
            pairs: &self.pairs,
            live: entry.session.live(),
            tally: &mut self.tally,
            events: &mut self.events,
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
        let Some(entry) = self.entries.get_mut(slot) else {
            return refuse("no such session");
        };
        if wanted.streams > STREAMS_MAX {
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
        let missing: Vec<usize> = (0..wanted.streams)
            .filter(|stream| standing.is_none_or(|leg| leg.pair(*stream).is_none()))
            .filter(|stream| wanted.again.get(*stream) != Some(&0))
            .collect();
        let more = missing.len();
        let kept = kept_from(self.settings.reserve, wanted.claim, self.pairs.size());
        if more > 0 && kept > 0 && self.pairs.available(now) < more + kept {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, KEPT));
        }
        let mut taken: Vec<PairId> = Vec::with_capacity(more);
        for &stream in &missing {
            let place = Place {
                slot,
                generation: wanted.generation,
                side,
                stream: stream as u8,
            };
            let again = wanted.again.get(stream).copied();
            match self.pairs.take(local.bind, again, place, now) {
                Ok(id) => {
                    self.counters.ports_used.fetch_add(2, Ordering::Relaxed);
                    taken.push(id);
                }
                Err(error) => {
                    self.give_back(taken, now);
                    return Err(error);
                }
            }
        }
        let Some(entry) = self.entries.get_mut(slot) else {
            return refuse("no such session");
        };
        entry.session.open(side, wanted.streams);
        let legs = &mut entry.wires.legs[side.index()];
        let known = legs
            .iter()
            .position(|leg| leg.generation == wanted.generation);
        let index = known.unwrap_or_else(|| {
            // One is the rule, and most sides never have another.
            legs.reserve_exact(1);
            legs.push(Leg {
                generation: wanted.generation,
                local,
                pairs: Vec::new(),
            });
            legs.len() - 1
        });
        let leg = &mut legs[index];
        let more = wanted.streams.saturating_sub(leg.pairs.len());
        leg.pairs.reserve_exact(more);
        leg.pairs.extend(std::iter::repeat_n(None, more));
        for (stream, id) in missing.into_iter().zip(taken) {
            leg.pairs[stream] = Some(id);
        }
        // Exact, for it is kept as long as the call.
        let mut told = Vec::with_capacity(wanted.streams);
        told.extend((0..wanted.streams).map(|stream| {
            let pair = leg.pair(stream).and_then(|id| self.pairs.get(id));
            SocketAddr::new(local.told, pair.map_or(0, |pair| pair.port))
        }));
        Ok(told)
    }

    /// Counts ports that were not to be had, and tells the operator: where many are refused, now and then.
    fn refused(&mut self, media: MediaId, wanted: &Wanted, error: &io::Error, now: Micros) {
        let claim = wanted.claim;
        self.counters.ports_refused[claim as usize].fetch_add(1, Ordering::Relaxed);
        self.unsaid += 1;
        if self.said.is_none_or(|said| now.since(said) >= SAID_EVERY) {
            let (side, claim, times) = (wanted.side.as_str(), claim.as_str(), self.unsaid);
            let span = self.settings.spans.of(media);
            tracing::warn!(parent: &span, side, claim, times, %error, "no media ports");
            (self.said, self.unsaid) = (Some(now), 0);
        }
    }

    fn configure(&mut self, media: MediaId, mut told: Configuration, now: Micros) {
        let (side, generation) = (told.side, told.generation);
        let Some((slot, entry)) = self.entry(media) else {
            return;
        };
        let legs = &mut entry.wires.legs[side.index()];
        let Some(leg) = legs.iter().find(|leg| leg.generation == generation) else {
            let spans = &self.settings.spans;
            tracing::debug!(parent: &spans.of(media), generation, "no ports to configure");
            return;
        };
        told.v4 = leg.local.bind.is_ipv4();
        told.streams.truncate(leg.pairs.len());
        entry.session.configure(told, now);
        let older = legs.extract_if(.., |leg| leg.generation < generation);
        let pairs = older.flat_map(|leg| leg.pairs).flatten().collect();
        self.give_back(pairs, now);
        self.attend(slot, now);
    }

    fn close_streams(
        &mut self,
        media: MediaId,
        (side, generation): (Side, Generation),
        streams: &[usize],
        now: Micros,
    ) {
        let Some((_, entry)) = self.entry(media) else {
            return;
        };
        let legs = &mut entry.wires.legs[side.index()];
        let Some(leg) = legs.iter_mut().find(|leg| leg.generation == generation) else {
            return;
        };
        let pairs = streams
            .iter()
            .filter_map(|stream| leg.pairs.get_mut(*stream)?.take())
            .collect();
        self.give_back(pairs, now);
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
        let pairs = gone.flat_map(|leg| leg.pairs).flatten().collect();
        self.give_back(pairs, now);
        self.attend(slot, now);
        self.vacate_if_bare(slot, now);
    }

    fn give_back(&mut self, pairs: Vec<PairId>, now: Micros) {
        for id in pairs {
            self.pairs.release(id, now);
            self.counters.ports_used.fetch_sub(2, Ordering::Relaxed);
        }
    }

    fn entry(&mut self, media: MediaId) -> Option<(u32, &mut Entry)> {
        let slot = *self.by_media.get(&media)?;
        let entry = self.entries.get_mut(slot)?;
        Some((slot, entry))
    }

    /// Returns the slot of a session, which begins with this where there is none.
    fn slot(&mut self, media: MediaId) -> u32 {
        if let Some(&slot) = self.by_media.get(&media) {
            return slot;
        }
        let entry = Entry {
            session: Session::new(media, Arc::clone(&self.rules), (self.random)()),
            wires: Wires::default(),
            armed: None,
        };
        let slot = self.entries.insert(entry);
        self.by_media.insert(media, slot);
        self.counters.sessions.fetch_add(1, Ordering::Relaxed);
        slot
    }

    /// Ends a session that holds no port: it can't relay anything.
    fn vacate_if_bare(&mut self, slot: u32, now: Micros) {
        let entry = self.entries.get(slot);
        if entry.is_some_and(|entry| entry.wires.legs.iter().all(Vec::is_empty)) {
            self.vacate(slot, now);
        }
    }

    fn vacate(&mut self, slot: u32, now: Micros) {
        let Some(entry) = self.entries.remove(slot) else {
            return;
        };
        self.by_media.remove(&entry.session.media);
        self.counters.sessions.fetch_sub(1, Ordering::Relaxed);
        let legs = entry.wires.legs.into_iter().flatten();
        let pairs = legs.flat_map(|leg| leg.pairs).flatten().collect();
        self.give_back(pairs, now);
    }
}
