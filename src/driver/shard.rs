//! One shard: a poll loop around an engine.
//!
//! A turn: wait, take the mail, read the sockets (each for a bounded while), fire the timers, keep house.
//! Every input is followed to its end before the next: the engine's outputs are carried out in order, and
//! what they bring about at once (stored, resolved, unreachable) is the next input.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

use crate::engine::Engine;
use crate::engine::ids::{Flow, ListenerId, Transport};
use crate::engine::ports::{Input, Witness};
use crate::engine::snapshot::Snapshot;
use crate::engine::time::{Millis, Time};
use crate::gate::Rules;
use crate::transport::{
    Counters, Datagram, Need, Room, Socket, StreamEvent, Streams, Udp, Unreached, Views,
};

use super::dispatch::shard_of;
use super::entrance::{Entrance, Held};
use super::keepalive::Keepalive;
use super::lateness::Lateness;
use super::mailbox::Mail;
use super::promised::Promised;
use super::shared::Shared;
use super::spare::Spared;
use super::unsent::Unsent;
use super::world::Site;

/// The token of a shard's bell; those of its listeners and connections follow.
pub const BELL: Token = Token(0);
const FIRST_LISTENER: usize = 1;
const EVENTS_PER_TURN: usize = 1024;
/// Mail taken before the sockets have their turn.
const MAIL_PER_TURN: usize = 1024;
/// Inputs that follow from one before the rest waits for the next turn.
const CHAIN_MAX: usize = 4096;
/// How long to wait for room in a mailbox that was full.
pub(super) const NO_ROOM: Millis = Millis(5);
const HOUSEKEEPING: Millis = Millis::from_secs(1);
/// How long the kernel's choice of a local address is believed.
const ROUTES_KEPT: Millis = Millis::from_secs(60);

/// What a shard begins with.
pub struct Start {
    pub worker: usize,
    pub poll: Poll,
    /// One a listener, in the order of the configuration.
    pub sockets: Vec<Socket>,
    pub engine: Engine,
    /// Conversations of the shard to be taken up again.
    pub snapshots: Vec<Snapshot>,
}

pub(super) enum Listening {
    Udp(Udp),
    Tcp(mio::net::TcpListener),
}

/// A shard; it lives on a thread of its own.
pub struct Shard {
    pub(super) worker: usize,
    poll: Poll,
    pub(super) engine: Engine,
    pub(super) site: Site,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    pub(super) listening: Vec<Listening>,
    pub(super) streams: Streams,
    room: Room,
    /// Sockets that may have more to read.
    unread: BTreeSet<Token>,
    /// Connections that are not read: their source has sent more than it may, or a shard has no room for what
    /// they brought.
    pub(super) held: Held,
    /// What connections brought and a shard has had no room for.
    pub(super) kept: BTreeMap<Token, VecDeque<StreamEvent>>,
    pub(super) unsent: Unsent,
    /// Inputs that followed from outputs.
    pub(super) backlog: VecDeque<Input>,
    snapshots: Vec<Snapshot>,
    keepalive: Keepalive,
    promised: Promised,
    lateness: Lateness,
    pub(super) spared: Spared,
    /// Of the gate, and of which revision.
    pub(super) rules: Arc<Rules>,
    revision: u64,
    /// The number of the settings that the engine has.
    pub(super) revised: u64,
    /// The bans up to this one have had their connections closed.
    bans_kept: u64,
    house_kept: Time,
    routes_forgotten: Time,
    stopped: bool,
    /// Shards that have not yet told all that they know from before a restart.
    awaited: usize,
}

impl Shard {
    /// Registers the sockets with the poll.
    ///
    /// # Errors
    /// The poll does not take them.
    pub fn new(start: Start, shared: Arc<Shared>) -> io::Result<Self> {
        let registry = start.poll.registry();
        let mut listening = Vec::with_capacity(start.sockets.len());
        for (index, socket) in start.sockets.into_iter().enumerate() {
            let token = Token(FIRST_LISTENER + index);
            listening.push(match socket {
                Socket::Udp(socket) => Listening::Udp(Udp::new(socket, registry, token)?),
                Socket::Tcp(socket) => {
                    let mut socket = mio::net::TcpListener::from_std(socket);
                    socket.register(registry, token, Interest::READABLE)?;
                    Listening::Tcp(socket)
                }
            });
        }
        let counters = Arc::clone(&shared.counters[start.worker]);
        let streams = Streams::new(
            start.worker,
            Arc::clone(&shared.listeners),
            Arc::clone(&shared.registry),
            Arc::clone(&counters),
            shared.stream_limits,
            shared.tls.clone(),
            registry.try_clone()?,
            FIRST_LISTENER + listening.len(),
        );
        let now = shared.clock.now();
        Ok(Self {
            worker: start.worker,
            poll: start.poll,
            engine: start.engine,
            site: Site::new(Arc::clone(&shared), start.worker),
            counters,
            listening,
            streams,
            room: Room::new(shared.message_size),
            unread: BTreeSet::new(),
            held: Held::default(),
            kept: BTreeMap::new(),
            unsent: Unsent::new(shared.mailboxes.workers()),
            backlog: VecDeque::new(),
            snapshots: start.snapshots,
            keepalive: Keepalive::new(shared.keepalive, now),
            promised: Promised::default(),
            lateness: Lateness::new(now),
            spared: Spared::default(),
            revision: shared.gate.revision(),
            revised: 0,
            rules: shared.gate.rules(),
            bans_kept: 0,
            house_kept: now,
            routes_forgotten: now,
            stopped: false,
            awaited: shared.mailboxes.workers() - 1,
            shared,
        })
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// The poll failed, and with it everything that the shard could hear.
    pub fn run(mut self) -> io::Result<()> {
        self.rebuild();
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.stopped {
            match self.poll.poll(&mut events, Some(self.wait())) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.lateness.begin_turn(self.shared.clock.now());
            self.take_mail();
            for event in &events {
                if event.is_error() {
                    self.take_errors(event.token());
                }
                if event.token() != BELL {
                    self.unread.insert(event.token());
                }
            }
            self.read_all();
            self.fire();
            self.keep_house();
            self.unsent.flush(&self.shared.mailboxes);
            self.end_turn();
        }
        Ok(())
    }

    fn rebuild(&mut self) {
        for snapshot in std::mem::take(&mut self.snapshots) {
            let now = self.shared.clock.now();
            let id = snapshot.id;
            if !self.engine.rebuild(snapshot, now, &mut self.site) {
                let span = self.shared.spans.of(id);
                tracing::error!(parent: &span, "cannot be taken up again");
            }
            self.carry_out();
        }
        // What one says to another comes once all are there.
        self.settle();
        self.shared.mailboxes.tell_rebuilt(self.worker);
    }

    /// Returns how long there is nothing to do by itself.
    fn wait(&self) -> Duration {
        let unread = !self.unread.is_empty() && self.awaited == 0;
        if unread || !self.backlog.is_empty() {
            return Duration::ZERO;
        }
        let house = self.house_kept + HOUSEKEEPING;
        let unsent = (!self.unsent.is_empty()).then(|| self.shared.clock.now() + NO_ROOM);
        let due = [self.engine.poll_timeout(), self.held.next(), unsent];
        let due = due.into_iter().flatten().fold(house, Time::min);
        Duration::from_millis(due.since(self.shared.clock.now()).0)
    }

    /// Gives the engine an input and carries out all that follows from it.
    pub(super) fn take(&mut self, input: Input) {
        self.backlog.push_back(input);
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..CHAIN_MAX {
            let Some(input) = self.backlog.pop_front() else {
                return;
            };
            let now = self.shared.clock.now();
            self.engine.handle_input(input, now, &mut self.site);
            self.carry_out();
        }
    }

    fn take_mail(&mut self) {
        let mailboxes = self.shared.mailboxes.clone();
        mailboxes.hear(self.worker);
        self.revise();
        for _ in 0..MAIL_PER_TURN {
            let Some(mail) = mailboxes.take(self.worker) else {
                self.lateness.mark_came(self.shared.clock.now());
                return;
            };
            match mail {
                Mail::Input(input) => self.take(input),
                Mail::Send { flow, bytes, from } => {
                    self.send_stream(flow, bytes, from);
                    self.settle();
                }
                Mail::Ask(question) => question(&self.engine),
                Mail::Needs { question, needed } => {
                    self.spared
                        .answered(question, &needed, self.shared.clock.now());
                }
                Mail::Rebuilt => self.awaited = self.awaited.saturating_sub(1),
                Mail::Mark => self.lateness.mark_came(self.shared.clock.now()),
                Mail::Stop => self.stopped = true,
            }
        }
        // The rest is fetched in the next turn, without waiting.
        self.unread.insert(BELL);
        if self.lateness.marks(self.shared.clock.now()) {
            mailboxes.post(self.worker, Mail::Mark);
        }
    }

    fn listener(&self, token: Token) -> Option<&Listening> {
        self.listening.get(token.0.checked_sub(FIRST_LISTENER)?)
    }

    fn take_errors(&mut self, token: Token) {
        let mut unreachable = Vec::new();
        if let Some(Listening::Udp(udp)) = self.listener(token) {
            udp.errors(&mut unreachable);
        }
        self.tell_unreachable(unreachable);
        self.settle();
    }

    /// Reads what there is to be read; nothing before it is known which shard has which dialog.
    fn read_all(&mut self) {
        if self.awaited > 0 {
            self.unread.remove(&BELL);
            return;
        }
        self.release();
        for token in std::mem::take(&mut self.unread) {
            self.read(token);
        }
    }

    fn read(&mut self, token: Token) {
        if token == BELL {
            return;
        }
        let index = token.0 - FIRST_LISTENER;
        let more = if index >= self.listening.len() {
            self.read_stream(token)
        } else {
            self.read_listener(index)
        };
        if more {
            self.unread.insert(token);
        }
    }

    fn read_listener(&mut self, index: usize) -> bool {
        let listener = ListenerId(index as u16);
        let now = self.shared.clock.now();
        let udp = match &mut self.listening[index] {
            Listening::Udp(udp) => udp,
            Listening::Tcp(socket) => {
                let entrance = Entrance {
                    shared: &self.shared,
                    engine: &self.engine,
                    site: &self.site,
                    rules: &self.rules,
                    now,
                };
                let others = &self.spared;
                let views = Views {
                    admits: &|flow| entrance.admits(flow),
                    trusts: &|flow| entrance.trusts(flow),
                    needs: &|flow, wordless| entrance.needs(flow, wordless, others),
                };
                let more = self.streams.accept(socket, listener, now, &views);
                others.ask(self.worker, &self.shared.mailboxes);
                self.tell_refused(now);
                self.tell_yielded(now);
                return more;
            }
        };
        let entrance = Entrance {
            shared: &self.shared,
            engine: &self.engine,
            site: &self.site,
            rules: &self.rules,
            now,
        };
        let flow = |peer| Flow {
            transport: Transport::Udp,
            listener,
            peer,
            connection: None,
        };
        let hears = |peer, bytes: &[u8]| entrance.hears(&flow(peer), bytes);
        let (mut datagrams, mut unreachable, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let queued = udp.receive(
            &mut self.room,
            &self.counters,
            &mut unreachable,
            &hears,
            &mut kept,
            &mut datagrams,
        );
        for peer in kept {
            self.promised
                .kept_alive(flow(peer), &self.shared.bindings, now);
        }
        if let Some(since) = queued.since {
            let wait = self.shared.clock.ago(since);
            self.lateness.waited(wait);
            self.counters.waited(wait);
        }
        if queued.lost > 0 {
            self.lateness.lost();
        }
        for Datagram { peer, bytes } in datagrams {
            self.promised.spoke(&flow(peer), now);
            if self.deliver(flow(peer), bytes).is_err() {
                Counters::add(&self.counters.datagrams_dropped);
                self.shared.mailboxes.lost(self.worker);
            }
        }
        self.tell_unreachable(unreachable);
        self.settle();
        queued.more
    }

    pub(super) fn entrance(&self, now: Time) -> Entrance<'_> {
        Entrance {
            shared: &self.shared,
            engine: &self.engine,
            site: &self.site,
            rules: &self.rules,
            now,
        }
    }

    /// Lets what was held be read again, when its time has come.
    fn release(&mut self) {
        let now = self.shared.clock.now();
        while let Some(token) = self.held.pop_due(now) {
            self.unread.insert(token);
        }
    }

    pub(super) fn close(&mut self, flow: Flow) {
        if let Some(flow) = flow.connection.and_then(|id| self.streams.close(id)) {
            self.tell_closed(flow);
            self.settle();
        }
    }

    /// Closes the connections of whoever has been shut out since.
    pub(super) fn shut_out(&mut self, now: Time) {
        let revision = self.shared.gate.revision();
        if revision != self.revision {
            self.revision = revision;
            self.rules = self.shared.gate.rules();
        }
        let generation = self.shared.gate.generation();
        if generation == self.bans_kept {
            return;
        }
        self.bans_kept = generation;
        let entrance = Entrance {
            shared: &self.shared,
            engine: &self.engine,
            site: &self.site,
            rules: &self.rules,
            now,
        };
        for flow in self.streams.close_where(&|flow| entrance.closes(flow)) {
            self.tell_closed(flow);
        }
    }

    /// Hands a message to the shard that owns it. Gives it back where that has no room.
    pub(super) fn deliver(&mut self, flow: Flow, bytes: Bytes) -> Result<(), Bytes> {
        let mailboxes = &self.shared.mailboxes;
        if mailboxes.workers() > 1
            && let Some(shard) = shard_of(&bytes, self.shared.shard_key)
        {
            let owner = mailboxes.owner(shard);
            if owner != self.worker {
                let mail = Mail::Input(Input::Message {
                    flow,
                    bytes: bytes.clone(),
                });
                return mailboxes.offer(owner, mail).map_err(|_| bytes);
            }
        }
        self.take(Input::Message { flow, bytes });
        Ok(())
    }

    /// Tells every shard that nobody is there, says ICMP; this one once its outputs are carried out.
    pub(super) fn tell_unreachable(&mut self, unreached: Vec<Unreached>) {
        for Unreached { peer, quoted } in unreached {
            self.tell_nobody(peer, Witness::Icmp(quoted));
        }
    }

    pub(super) fn tell_nobody(&mut self, peer: SocketAddr, witness: Witness) {
        self.tell_all(move || Input::Unreachable {
            transport: Transport::Udp,
            peer,
            witness: witness.clone(),
        });
    }

    /// Tells every shard of a connection that is gone, or was not to be had.
    pub(super) fn tell_closed(&mut self, flow: Flow) {
        self.tell_all(move || Input::Closed { flow });
        for flow in self.streams.take_unaliased() {
            self.tell_all(move || Input::Closed { flow });
        }
    }

    fn tell_all(&mut self, input: impl Fn() -> Input) {
        self.backlog.push_back(input());
        self.shared.mailboxes.tell_others(self.worker, input);
    }

    fn fire(&mut self) {
        let now = self.shared.clock.now();
        if let Some(due) = self.engine.poll_timeout().filter(|due| *due <= now) {
            self.lateness.fired(due, now);
            self.engine.handle_timeout(now, &mut self.site);
            self.carry_out();
        }
        self.settle();
    }

    fn end_turn(&mut self) {
        if let Some(lateness) = self.lateness.end_turn(self.shared.clock.now()) {
            self.take(Input::Lateness(lateness));
        }
    }

    fn keep_house(&mut self) {
        let now = self.shared.clock.now();
        if now < self.house_kept + HOUSEKEEPING {
            return;
        }
        self.house_kept = now;
        if now >= self.routes_forgotten + ROUTES_KEPT {
            self.routes_forgotten = now;
            self.site.forget_routes();
        }
        let shared = Arc::clone(&self.shared);
        let others = &self.spared;
        others.forget(now);
        let entrance = Entrance {
            shared: &shared,
            engine: &self.engine,
            site: &self.site,
            rules: &self.rules,
            now,
        };
        let views = Views {
            admits: &|flow| entrance.admits(flow),
            trusts: &|flow| entrance.trusts(flow),
            needs: &|flow, wordless| entrance.needs(flow, wordless, others),
        };
        let spared = |flow: &Flow, wordless| (views.needs)(flow, wordless) != Need::Free;
        let closed = self.streams.sweep(now, views.trusts, &spared);
        self.streams.look_ahead(now, &views);
        others.ask(self.worker, &shared.mailboxes);
        for flow in closed {
            self.tell_closed(flow);
        }
        self.shut_out(now);
        self.shared.gate.sweep(now);
        if self.worker == 0 {
            self.shared.spans.sweep(now);
        }
        // What waits to be read may be what a flow is missed for.
        let caught_up = self.unread.is_empty();
        // An accept that failed for want of descriptors is tried again; no event tells when.
        for (index, listening) in self.listening.iter().enumerate() {
            if matches!(listening, Listening::Tcp(_)) {
                self.unread.insert(Token(FIRST_LISTENER + index));
            }
        }
        for flow in self.keepalive.due(&shared.bindings, self.worker, now) {
            self.send_keepalive(&flow);
        }
        if caught_up {
            for flow in self.promised.silent(&shared.bindings, now) {
                self.tell_all(move || Input::Unkept { flow });
            }
        }
        self.settle();
    }
}
