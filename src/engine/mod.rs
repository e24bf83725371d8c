//! The engine: SIP events and the time in, actions out. It owns no socket, no task and no clock.

mod admission;
mod arrivals;
pub mod asker;
pub mod board;
pub mod conversation;
pub mod dialog;
pub mod dispatch;
mod edge;
pub mod endpoint;
pub mod events;
pub mod group;
pub mod handover;
pub mod health;
mod heard;
mod hidden;
pub mod ids;
pub mod inquiry;
mod inspect;
mod lamps;
mod listening;
pub mod locating;
pub mod location;
pub mod mint;
pub mod network;
mod orders;
mod overload;
mod passages;
pub mod ports;
mod probes;
pub mod reasons;
pub mod refusal;
mod returns;
pub mod revision;
pub mod routing;
pub mod settings;
pub mod snapshot;
pub mod time;
pub mod timers;
pub mod timestamp;
pub mod transaction;
mod trust;
mod unreached;
pub mod upstreams;
pub mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::engine::admission::{WrongDomains, is_of_scanner, offence};
use crate::engine::conversation::carrying::watching::changed;
use crate::engine::conversation::carrying::within::Within;
use crate::engine::conversation::context::{Context, Shared};
use crate::engine::conversation::ending::farewells::Farewells;
use crate::engine::conversation::ending::graves::Graves;
use crate::engine::conversation::ending::parting::Partings;
use crate::engine::conversation::ending::stray::Strays;
use crate::engine::conversation::people::account::Proving;
use crate::engine::conversation::restoring::budget::Budget;
use crate::engine::conversation::transferring::semi_attended::TakenBack;
use crate::engine::conversation::under_way::UnderWay;
use crate::engine::conversation::{
    Conversation, Failing, Key, Moves, Ringing, answered_peers, aor_key, peer_key,
};
use crate::engine::edge::Relays;
use crate::engine::endpoint::{BindingChange, BindingsChanged};
use crate::engine::events::{Event, Offence};
use crate::engine::ids::{ConversationId, Flow, VirtualShard};
use crate::engine::lamps::Lamps;
use crate::engine::locating::{Located, Shunned};
use crate::engine::location::Registrar;
use crate::engine::mint::{Mint, ShardKey};
use crate::engine::overload::Overload;
use crate::engine::passages::Passages;
use crate::engine::ports::{Input, Output, Token, World};
use crate::engine::probes::Probes;
use crate::engine::returns::Returns;
use crate::engine::settings::Settings;
use crate::engine::snapshot::{Snapshot, VERSION};
use crate::engine::time::{Millis, Time};
use crate::engine::timers::Timers;
use crate::engine::transaction::Transactions;
use crate::engine::upstreams::{Peers, Upstreams};
use crate::engine::view::Detail;
use crate::sip::{Message, Method};

/// How often expired bindings are looked for.
const SWEEP: Millis = Millis::from_secs(1);
/// Ended conversations kept for the API.
const ENDED_MAX: usize = 10_000;

/// One shard's engine.
pub struct Engine {
    shared: Shared,
    registrar: Registrar,
    conversations: BTreeMap<ConversationId, Box<Conversation>>,
    passages: Passages,
    relays: Relays,
    probes: Probes,
    returns: Returns,
    lamps: Lamps,
    timers: Timers<ConversationId>,
    /// Conversations by what they are found by that does not name them.
    index: BTreeSet<(Key, ConversationId)>,
    ended: VecDeque<Detail>,
    next_sweep: Time,
    draining: bool,
    overload: Overload,
    ringing: Ringing,
    /// When the operator was told last that a service was called to which no route leads.
    no_service_told: Option<Time>,
    wrong_domains: WrongDomains,
}

impl Engine {
    /// Makes an engine that mints ids in `shards` (its own virtual shards, not empty); `seed` is the
    /// source of every tag, branch and jitter.
    pub fn new(settings: Settings, shards: Vec<VirtualShard>, seed: [u8; 32]) -> Self {
        let mut mint = Mint::new(seed);
        let secret = mint.secret();
        let shard = shards.first().copied().unwrap_or(VirtualShard(0));
        let leads = shards.contains(&VirtualShard(0));
        let upstreams = Upstreams::new(&settings, Time(0));
        let told = upstreams.view().into_iter().filter(|_| leads);
        let out =
            told.map(|seen| Output::from(changed(seen.upstream, seen.target, None, seen.state)));
        let probed = if leads {
            upstreams.probed()
        } else {
            Vec::new()
        };
        Self {
            registrar: Registrar::new(secret, 0),
            passages: Passages::new(shard),
            relays: Relays::new(shard),
            probes: Probes::new(VirtualShard(0), probed),
            returns: Returns::default(),
            lamps: Lamps::default(),
            shared: Shared {
                transactions: Transactions::new(settings.timers, Time(0)),
                budget: Budget::new(settings.restore.rate),
                strays: Strays::default(),
                partings: Partings::default(),
                farewells: Farewells::default(),
                graves: Graves::default(),
                taken_back: TakenBack::default(),
                shunned: Shunned::default(),
                within: Within::default(),
                proving: Proving::default(),
                peers: Peers::of(&settings, true),
                doubted: Peers::of(&settings, false),
                settings,
                mint,
                out: out.collect(),
                upstreams,
                back: BTreeSet::new(),
                shard_key: ShardKey::default(),
                home: shard,
                leads,
                tags: HashMap::new(),
                moves: Moves::new(&shards),
                asked: HashMap::new(),
                queued: (0, 0),
                under_way: UnderWay::default(),
            },
            conversations: BTreeMap::new(),
            timers: Timers::new(Time(0)),
            index: BTreeSet::new(),
            ended: VecDeque::new(),
            next_sweep: Time(0),
            draining: false,
            overload: Overload::default(),
            ringing: Ringing::default(),
            no_service_told: None,
            wrong_domains: WrongDomains::default(),
        }
    }

    /// Gives it the secret that the other shards of the node have, so that they know each other's nonces, and a number
    /// of its own among them, below 64, so that no two make the same.
    #[must_use]
    pub fn with_secret(mut self, secret: [u8; 32], shard: u8) -> Self {
        self.registrar = Registrar::new(secret, shard);
        self
    }

    /// Gives it the key by which whoever asks it has chosen it.
    #[must_use]
    pub fn with_shard_key(mut self, key: ShardKey) -> Self {
        self.shared.shard_key = key;
        self
    }

    /// Takes one event. Its consequences wait in `poll_output`.
    pub fn handle_input(&mut self, input: Input, now: Time, world: &mut dyn World) {
        match input {
            Input::Message { flow, bytes } => self.receive(bytes, flow, now, world),
            Input::Unreachable {
                transport,
                peer,
                witness,
            } => self.unreachable(transport, peer, &witness, now, world),
            Input::Closed { flow } => self.flow_failed(&flow, Failing::Closed, now, world),
            Input::Unkept { flow } => {
                for id in self.found_by(peer_key(flow.transport, flow.peer)) {
                    self.with(id, now, world, |conversation, context| {
                        conversation.on_flow_unkept(context, &flow);
                    });
                }
            }
            Input::Bindings(changed) => self.bindings_changed(&changed, now, world),
            Input::Observed(seen) => self.shared.saw(&seen, now),
            Input::Resolved { token, targets } => self.resolved(token, &targets, now, world),
            Input::Media(event) => {
                self.with(event.media(), now, world, |conversation, context| {
                    conversation.on_media(context, event);
                });
            }
            Input::Stored { token, ok } => {
                if let Some(id) = self.shared.asked.remove(&token) {
                    self.with(id, now, world, |conversation, context| {
                        conversation.on_stored(context, token, ok);
                    });
                }
            }
            Input::Inquiry(inquiry) => self.inquired(inquiry, now, world),
            Input::Found(found) => {
                if let Some(id) = self.shared.asked.remove(&found.token) {
                    self.with(id, now, world, |conversation, context| {
                        conversation.on_found(context, found.token, found.counterpart);
                    });
                }
            }
            Input::Handover(handover) => self.handed_over(handover, now, world),
            Input::Moved(moved) => self.shared.moves.learn(&moved),
            Input::Lit(user) => self.shine_here(&user, now, world),
            Input::Watches(watch) => {
                let mut context = self.shared.context(now, world);
                self.lamps.outdated(&mut context, &watch, None);
            }
            Input::Command(command) => self.command(command, now, world),
            Input::Revised(revision) => revision.apply(&mut self.shared.settings),
            Input::Lateness(lateness) => self.measure(lateness, now),
        }
        self.listen(now, world);
    }

    /// Where a name leads is told to who has asked.
    fn resolved(&mut self, token: Token, targets: &[Located], now: Time, world: &mut dyn World) {
        if let Some(id) = self.shared.asked.remove(&token) {
            self.with(id, now, world, |conversation, context| {
                conversation.on_resolved(context, token, targets);
            });
            return;
        }
        let shared = &mut self.shared;
        for peers in [&mut shared.peers, &mut shared.doubted] {
            if peers.on_resolved(token, targets, now) {
                return;
            }
        }
        if self.way_back_found(token, targets, now, world) {
            return;
        }
        let mut context = self.shared.context(now, world);
        if self.probes.on_resolved(&mut context, token, targets) {
            return;
        }
        if let Some(renewed) = context.within_located(token, targets) {
            return self.renewed(renewed, now, world);
        }
        self.passages.on_resolved(&mut context, token, targets);
        self.relays.on_resolved(&mut context, token, targets);
    }

    /// Fires what is due. Call it when `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Time, world: &mut dyn World) {
        self.shared
            .transactions
            .handle_timeout(now, &mut self.shared.out);
        self.listen(now, world);
        while let Some(id) = self.timers.pop_due(now) {
            if let Some(conversation) = self.conversations.get_mut(&id) {
                conversation.timer = None;
            }
            self.with(id, now, world, |conversation, context| {
                conversation.on_deadline(context)
            });
            self.listen(now, world);
        }
        while let Some((ticket, id, side)) = self.shared.budget.pop_due(now) {
            self.with(id, now, world, |conversation, context| {
                conversation.on_turn(context, side, ticket);
            });
            self.listen(now, world);
        }
        self.probes.fire(&mut self.shared.context(now, world));
        self.lamps.fire(&mut self.shared.context(now, world));
        self.listen(now, world);
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP;
            self.sweep(now, world);
        }
    }

    /// Returns the next action, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// Returns when `handle_timeout` wants to be called, if ever.
    pub fn poll_timeout(&self) -> Option<Time> {
        [
            self.shared.transactions.poll_timeout(),
            self.timers.next_due(),
            self.shared.budget.next_due(),
            self.probes.next_due(),
            self.lamps.next_due(),
            Some(self.next_sweep),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the durable state of a conversation, or nothing where it has none (not yet answered). Of one that is
    /// over that is the dialogs whose BYE is out.
    pub fn snapshot(&self, id: ConversationId) -> Option<Snapshot> {
        let (state, farewells) = match self.conversations.get(&id) {
            Some(conversation) => {
                conversation.answered?;
                let state = rmp_serde::to_vec_named(&**conversation).ok()?.into();
                let farewells = self.shared.farewells_within(id);
                (state, farewells.unwrap_or_default())
            }
            None => (self.shared.farewells_of(id)?, bytes::Bytes::new()),
        };
        Some(Snapshot {
            version: VERSION,
            id,
            state,
            farewells,
        })
    }

    /// Takes a conversation up again from its durable state, at start. Returns false for a snapshot that
    /// this version cannot read.
    pub fn rebuild(&mut self, snapshot: Snapshot, now: Time, world: &mut dyn World) -> bool {
        let conversation = (snapshot.version == VERSION)
            .then(|| rmp_serde::from_slice::<Conversation>(&snapshot.state).ok())
            .flatten();
        let Some(conversation) = conversation else {
            let mut context = self.shared.context(now, world);
            return snapshot.version == VERSION
                && context.farewells_resume(snapshot.id, &snapshot.state);
        };
        let id = conversation.id;
        if !snapshot.farewells.is_empty() {
            let mut context = self.shared.context(now, world);
            context.farewells_go_on(id, &snapshot.farewells);
        }
        self.conversations.insert(id, Box::new(conversation));
        self.with(id, now, world, |conversation, context| {
            conversation.rebuild(context)
        });
        self.listen(now, world);
        true
    }

    /// Reads a message; one that is none is counted, and answered where that can be.
    fn receive(&mut self, bytes: bytes::Bytes, flow: Flow, now: Time, world: &mut dyn World) {
        match Message::parse(bytes) {
            Ok(message) if is_of_scanner(&message) => {
                self.emit(offence(Offence::Scanner, flow, false));
            }
            Ok(message) => {
                let routed = self.shared.moves.route(&message);
                if let Some(to) = routed.or_else(|| self.invited_elsewhere(&message, flow)) {
                    return self.shared.context(now, world).forward(to, flow, &message);
                }
                if let Some(message) = self.put_off(message, flow, now, world) {
                    let out = &mut self.shared.out;
                    self.shared.transactions.receive(message, flow, now, out);
                }
            }
            Err(malformed) => self.malformed(malformed, flow),
        }
    }

    /// Returns who has the INVITE that a CANCEL is for, where that is with another worker.
    fn invited_elsewhere(&self, message: &Message, flow: Flow) -> Option<ConversationId> {
        if !message.is_request() || *message.method() != Method::Cancel {
            return None;
        }
        let here = || self.shared.transactions.knows(message, flow);
        self.shared.moves.invited(message).filter(|_| !here())
    }

    fn bindings_changed(&mut self, changed: &BindingsChanged, now: Time, world: &mut dyn World) {
        for id in self.found_by(aor_key(&changed.aor)) {
            self.with(id, now, world, |conversation, context| {
                conversation.on_bindings(context, changed)
            });
        }
        self.lamps.registered(changed);
        let mut context = self.shared.context(now, world);
        for change in &changed.changes {
            if let BindingChange::Registered { binding, .. } = change {
                context.open_graves(&changed.aor, &binding.endpoint);
            }
        }
    }

    /// Bindings changed by what this shard took: for its own conversations, and for the other shards.
    fn bindings_have_changed(
        &mut self,
        changed: Option<BindingsChanged>,
        now: Time,
        world: &mut dyn World,
    ) {
        if let Some(changed) = changed {
            self.bindings_changed(&changed, now, world);
            self.shared.out.push_back(Output::Bindings(changed));
        }
    }

    fn sweep(&mut self, now: Time, world: &mut dyn World) {
        let (changes, events) = self.registrar.sweep(now, world);
        self.shared.out.extend(events.into_iter().map(Output::from));
        for changed in changes {
            self.bindings_have_changed(Some(changed), now, world);
        }
        let questions = self.shared.peers.refresh(now, &mut self.shared.mint);
        self.shared.out.extend(questions);
        let questions = self.shared.doubted.refresh(now, &mut self.shared.mint);
        self.shared.out.extend(questions);
        self.upstreams_are_back(now, world);
        let mut context = self.shared.context(now, world);
        self.passages.sweep(&mut context);
        self.relays.sweep(&mut context);
        context.shared.under_way.sweep(now);
        context.graves_due();
        context.farewells_due();
        self.probes.hurry(&mut context);
        self.lamps.look_around(&mut context);
        let renewed = context.within_sweep();
        self.renewed(renewed, now, world);
        self.shared.shunned.sweep(now);
        self.shared.end_pauses(now);
        self.listen(now, world);
        self.forget_old(now);
    }

    fn forget_old(&mut self, now: Time) {
        let keep = self.shared.settings.history_keep;
        let old = |detail: &Detail| detail.summary.ended.is_none_or(|ended| ended + keep <= now);
        while self.ended.front().is_some_and(old) {
            self.ended.pop_front();
        }
    }

    fn found_by(&self, key: Key) -> Vec<ConversationId> {
        let (first, last) = (ConversationId(0), ConversationId(u64::MAX));
        self.index
            .range((key, first)..=(key, last))
            .map(|(_, id)| *id)
            .collect()
    }

    /// Lets a conversation act, then takes note of what became of it. Returns false where there is none.
    fn with(
        &mut self,
        id: ConversationId,
        now: Time,
        world: &mut dyn World,
        act: impl FnOnce(&mut Conversation, &mut Context<'_>),
    ) -> bool {
        let Some(conversation) = self.conversations.get_mut(&id) else {
            return false;
        };
        let mut context = self.shared.context(now, world);
        context.of = Some(id);
        act(conversation, &mut context);
        self.settle(id, now, world);
        true
    }

    /// Brings timer and index in line with a conversation, or lets it go.
    fn settle(&mut self, id: ConversationId, now: Time, world: &mut dyn World) {
        let Some(conversation) = self.conversations.get_mut(&id) else {
            return;
        };
        let context = &mut self.shared.context(now, world);
        conversation.forget_answered(context);
        conversation.forget_sleepers(context);
        conversation.hear_on(context);
        let (over, soonest) = (conversation.ended.is_some(), now + Millis(1));
        let silent = over || conversation.answered.is_some();
        if let Some(rings) = conversation.rings.take_if(|_| silent) {
            self.ringing.end(rings, world);
        }
        if let Some(burden) = conversation.burden.take_if(|_| silent) {
            let others = conversation.was_taken_back();
            let mut context = self.shared.context(now, world);
            context.no_longer_under_way(burden, others);
        }
        let stands = !over && conversation.answered.is_some();
        if stands && self.shared.farewells.has_begun(id) {
            self.shared.out.push_back(Output::Persist {
                conversation: id,
                token: None,
            });
        }
        if std::mem::replace(&mut conversation.stands, stands) != stands
            && let Some(asker) = conversation.made_by
        {
            world.stands(asker, stands);
        }
        let relayed = if over { 0 } else { conversation.relayed() };
        let before = std::mem::replace(&mut conversation.streams, relayed);
        if let Some(asker) = conversation.made_by {
            (before..relayed).for_each(|_| world.streams(asker, true));
            (relayed..before).for_each(|_| world.streams(asker, false));
        }
        let deadline = conversation
            .deadline(self.shared.settings.messages.suspect_after)
            .filter(|_| !over);
        if conversation.timer.map(|(at, _)| at) != deadline {
            if let Some((_, timer)) = conversation.timer.take() {
                self.timers.cancel(timer);
            }
            // A deadline that lies in the past is a bug of ours: it must not stop the shard.
            conversation.timer = deadline.map(|at| (at, self.timers.insert(at.max(soonest), id)));
        }
        let (keys, expected) = if over {
            Default::default()
        } else {
            (conversation.keys(), conversation.answered_legs())
        };
        if (keys, expected) != (conversation.indexed, conversation.expected) {
            // Those that begin first: a peer that stays never counts as gone.
            for peer in answered_peers(&keys, expected) {
                world.leg(peer.number(), true);
            }
            for peer in answered_peers(&conversation.indexed, conversation.expected) {
                world.leg(peer.number(), false);
            }
            conversation.expected = expected;
            let half = conversation.half().filter(|_| !over);
            let before = std::mem::replace(&mut conversation.half, half);
            if half != before {
                half.into_iter()
                    .for_each(|number| world.half(number, id, true));
                before
                    .into_iter()
                    .for_each(|number| world.half(number, id, false));
            }
        }
        let rung = match over {
            true => Box::default(),
            false => conversation.rung_peers(),
        };
        if rung != conversation.rung {
            rung.iter().for_each(|peer| world.rings(*peer, true));
            let before = std::mem::replace(&mut conversation.rung, rung);
            before.iter().for_each(|peer| world.rings(*peer, false));
        }
        if keys != conversation.indexed {
            for key in conversation.indexed.into_iter().flatten() {
                self.index.remove(&(key, id));
            }
            self.index
                .extend(keys.into_iter().flatten().map(|key| (key, id)));
            conversation.indexed = keys;
        }
        let news = conversation.shines();
        if over && let Some(conversation) = self.conversations.remove(&id) {
            if self.ended.len() >= ENDED_MAX {
                self.ended.pop_front();
            }
            let detail = conversation.detail();
            if self.shared.settings.records && !conversation.was_challenged() {
                let record = Output::Record(Box::new(detail.clone()));
                self.shared.out.push_back(record);
            }
            self.ended.push_back(detail);
        }
        self.shine(id, news, now, world);
    }

    fn emit(&mut self, event: Event) {
        self.shared.out.push_back(event.into());
    }
}
