//! The engine: SIP events and the time in, actions out. It owns no socket, no task and no clock.

mod arrivals;
pub mod conversation;
pub mod dialog;
pub mod dispatch;
pub mod endpoint;
pub mod events;
pub mod ids;
pub mod location;
pub mod mint;
mod passages;
pub mod ports;
pub mod routing;
pub mod settings;
pub mod snapshot;
pub mod time;
pub mod timers;
pub mod transaction;
pub mod view;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::engine::conversation::context::{
    Budget, Context, Errand, Leaving, Shared, Strays, What, acknowledge_and_leave,
};
use crate::engine::conversation::{Conversation, Key, aor_key, peer_key};
use crate::engine::endpoint::BindingsChanged;
use crate::engine::events::{Event, Signal};
use crate::engine::ids::{ConversationId, Flow, ListenerId, VirtualShard};
use crate::engine::location::Registrar;
use crate::engine::mint::{Mint, tag_key};
use crate::engine::passages::Passages;
use crate::engine::ports::{Command, Input, Output, World};
use crate::engine::settings::Settings;
use crate::engine::snapshot::{Snapshot, VERSION};
use crate::engine::time::{Millis, Time};
use crate::engine::timers::Timers;
use crate::engine::transaction::{Heard, Transactions};
use crate::engine::view::{Detail, Gauges, Stage, Summary};
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
    timers: Timers<ConversationId>,
    /// Conversations by what they are found by that does not name them.
    index: BTreeSet<(Key, ConversationId)>,
    ended: VecDeque<Detail>,
    next_sweep: Time,
    draining: bool,
}

impl Engine {
    /// Makes an engine that mints ids in `shards` (its own virtual shards, not empty); `seed` is the
    /// source of every tag, branch and jitter.
    pub fn new(settings: Settings, shards: Vec<VirtualShard>, seed: [u8; 32]) -> Self {
        let mut mint = Mint::new(seed);
        let secret = mint.secret();
        let shard = shards.first().copied().unwrap_or(VirtualShard(0));
        Self {
            registrar: Registrar::new(secret),
            passages: Passages::new(shard),
            shared: Shared {
                transactions: Transactions::new(settings.timers, Time(0)),
                budget: Budget::new(settings.restore.rate),
                strays: Strays::default(),
                settings,
                mint,
                out: VecDeque::new(),
                tags: HashMap::new(),
                asked: HashMap::new(),
                queued: (0, 0),
            },
            conversations: BTreeMap::new(),
            timers: Timers::new(Time(0)),
            index: BTreeSet::new(),
            ended: VecDeque::new(),
            next_sweep: Time(0),
            draining: false,
        }
    }

    /// Takes one event. Its consequences wait in `poll_output`.
    pub fn handle_input(&mut self, input: Input, now: Time, world: &mut dyn World) {
        match input {
            Input::Message { flow, bytes } => self.receive(bytes, flow, now),
            Input::Unreachable { transport, peer } => {
                let flow = Flow {
                    transport,
                    listener: ListenerId(0),
                    peer,
                    connection: None,
                };
                self.flow_failed(&flow, false, now, world);
            }
            Input::Closed { flow } => self.flow_failed(&flow, true, now, world),
            Input::Bindings(changed) => self.bindings_changed(&changed, now, world),
            Input::Resolved { token, addresses } => {
                if let Some(id) = self.shared.asked.remove(&token) {
                    self.with(id, now, world, |conversation, context| {
                        conversation.on_resolved(context, token, &addresses);
                    });
                } else {
                    let mut context = self.shared.context(now, world);
                    self.passages.on_resolved(&mut context, token, &addresses);
                }
            }
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
            Input::Command(command) => self.command(command, now, world),
        }
        self.listen(now, world);
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
            Some(self.next_sweep),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the durable state of a conversation, or nothing where it has none (not yet answered).
    pub fn snapshot(&self, id: ConversationId) -> Option<Snapshot> {
        let conversation = self.conversations.get(&id)?;
        conversation.answered?;
        let state = rmp_serde::to_vec(&**conversation).ok()?;
        Some(Snapshot {
            version: VERSION,
            id,
            state: state.into(),
        })
    }

    /// Takes a conversation up again from its durable state, at start. Returns false for a snapshot that
    /// this version cannot read.
    pub fn rebuild(&mut self, snapshot: Snapshot, now: Time, world: &mut dyn World) -> bool {
        let conversation = (snapshot.version == VERSION)
            .then(|| rmp_serde::from_slice::<Conversation>(&snapshot.state).ok())
            .flatten();
        let Some(conversation) = conversation else {
            return false;
        };
        let id = conversation.id;
        self.conversations.insert(id, Box::new(conversation));
        self.with(id, now, world, |conversation, context| {
            conversation.rebuild(context)
        });
        self.listen(now, world);
        true
    }

    /// Counts what there is now.
    pub fn gauges(&self) -> Gauges {
        let (client_transactions, server_transactions) = self.shared.transactions.counts();
        let mut gauges = Gauges {
            client_transactions,
            server_transactions,
            queued_messages: self.shared.queued.0,
            queued_bytes: self.shared.queued.1,
            timers: self.timers.len() + self.shared.transactions.timers(),
            ..Gauges::default()
        };
        for conversation in self.conversations.values() {
            gauges.legs += conversation.leg_count();
            match conversation.stage() {
                Stage::Inviting => gauges.inviting += 1,
                Stage::Established => gauges.established += 1,
                Stage::Suspect => gauges.suspect += 1,
                Stage::Restoring => gauges.restoring += 1,
                // It has been let go of.
                Stage::Ended => {}
            }
        }
        gauges
    }

    /// Lists live conversations, and ended ones as long as their history is kept; newest first.
    pub fn list(&self, limit: usize) -> Vec<Summary> {
        let live = self
            .conversations
            .values()
            .map(|conversation| (Reverse(conversation.started), conversation.id, None));
        let ended = self.ended.iter().map(|detail| {
            let summary = &detail.summary;
            (Reverse(summary.started), summary.key, Some(summary))
        });
        let mut all: Vec<_> = live.chain(ended).collect();
        all.sort_by_key(|(started, id, _)| (*started, *id));
        all.truncate(limit);
        all.into_iter()
            .filter_map(|(_, id, ended)| match ended {
                Some(summary) => Some(summary.clone()),
                None => self.conversations.get(&id).map(|live| live.summary()),
            })
            .collect()
    }

    /// Returns one conversation with its history.
    pub fn detail(&self, id: ConversationId) -> Option<Detail> {
        let live = self
            .conversations
            .get(&id)
            .map(|conversation| conversation.detail());
        live.or_else(|| {
            self.ended
                .iter()
                .find(|detail| detail.summary.key == id)
                .cloned()
        })
    }

    /// Returns true where a conversation needs the flow. Quick: it may be asked of every silent one.
    pub fn uses(&self, flow: &Flow) -> bool {
        let found = self.found_by(peer_key(flow.transport, flow.peer));
        let mut conversations = found.iter().filter_map(|id| self.conversations.get(id));
        conversations.any(|conversation| conversation.needs(flow))
    }

    /// Returns the settings it works by.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Looks at what must always be so; returns what is not, for tests and simulations.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (key, id) in &self.index {
            if !self.conversations.contains_key(id) {
                return Err(format!("the index names {key:?} of {id}, which has ended"));
            }
        }
        for conversation in self.conversations.values() {
            conversation.check_negotiations(|client| self.shared.transactions.waits(client))?;
        }
        if self.conversations.is_empty() {
            let left = (
                self.shared.tags.len(),
                self.shared.asked.len(),
                self.shared.queued,
                self.timers.len(),
            );
            if left != (0, 0, (0, 0), 0) {
                return Err(format!(
                    "no conversation, but tags, questions, messages, timers: {left:?}"
                ));
            }
        }
        Ok(())
    }

    /// Reads a message; one that is none is counted, and answered where that can be.
    fn receive(&mut self, bytes: bytes::Bytes, flow: Flow, now: Time) {
        match Message::parse(bytes) {
            Ok(message) => {
                self.shared
                    .transactions
                    .receive(message, flow, now, &mut self.shared.out)
            }
            Err(malformed) => self.malformed(malformed, flow),
        }
    }

    /// Goes through what the transactions tell.
    fn listen(&mut self, now: Time, world: &mut dyn World) {
        while let Some(heard) = self.shared.transactions.poll_heard() {
            match heard {
                Heard::Request {
                    server,
                    request,
                    flow,
                } => self.request(server, &request, flow, now, world),
                Heard::Ack { request, .. } => {
                    let bound = request
                        .to_tag()
                        .and_then(tag_key)
                        .and_then(|key| self.shared.tags.get(&key));
                    if let Some((id, leg)) = bound.copied() {
                        self.with(id, now, world, |conversation, context| {
                            conversation.on_ack(context, leg, &request);
                        });
                    }
                }
                Heard::Cancelled {
                    server,
                    context: Some((id, _)),
                    cancel,
                } => {
                    self.with(id, now, world, |conversation, context| {
                        conversation.on_cancelled(context, server, &cancel)
                    });
                }
                Heard::Cancelled {
                    server,
                    context: None,
                    ..
                } => {
                    self.shared.context(now, world).answer(server, 487, None);
                }
                Heard::Response {
                    client,
                    context: errand,
                    response,
                    flow,
                } => self.response(client, errand, &response, flow, now, world),
                Heard::Timeout {
                    client,
                    context: errand,
                } => {
                    self.unanswered(client, errand, false, now, world);
                }
                Heard::Unreachable {
                    client,
                    context: errand,
                } => {
                    self.unanswered(client, errand, true, now, world);
                }
                Heard::NoAck {
                    server,
                    context: Some((id, leg)),
                } => {
                    self.with(id, now, world, |conversation, context| {
                        conversation.on_no_ack(context, leg, server)
                    });
                }
                Heard::NoAck { context: None, .. } => {}
                Heard::Stray { response, flow } => {
                    // A phone that thawed after everyone had given up: it must not be left in a call.
                    if (200..300).contains(&response.status())
                        && *response.method() == Method::Invite
                        && !self.acknowledge_standing(&response, now, world)
                        && self.shared.strays.take(now)
                    {
                        let mut context = self.shared.context(now, world);
                        acknowledge_and_leave(&mut context, &response, flow, Leaving::Once, None);
                    }
                }
            }
        }
    }

    /// Acknowledges a 2xx whose INVITE is forgotten, as after a restart, where its dialog stands. Returns
    /// false where it does not.
    fn acknowledge_standing(
        &mut self,
        response: &Message,
        now: Time,
        world: &mut dyn World,
    ) -> bool {
        let key = response.from_tag().and_then(tag_key);
        let Some((id, leg)) = key.and_then(|key| self.shared.tags.get(&key)).copied() else {
            return false;
        };
        let mut stands = false;
        self.with(id, now, world, |conversation, context| {
            stands = conversation.acknowledge_standing(context, leg, response);
        });
        stands
    }

    fn response(
        &mut self,
        client: transaction::ClientId,
        errand: Errand,
        response: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) {
        if let What::Passage(number) = errand.what {
            let mut context = self.shared.context(now, world);
            return self
                .passages
                .on_response(&mut context, number, client, response);
        }
        let known = self.with(errand.conversation, now, world, |conversation, context| {
            conversation.on_response(context, client, errand, response, flow);
        });
        let lone = !known && errand.what == What::Invite && (200..300).contains(&response.status());
        if lone {
            let mut context = self.shared.context(now, world);
            acknowledge_and_leave(&mut context, response, flow, Leaving::Surely, None);
        }
    }

    fn unanswered(
        &mut self,
        client: transaction::ClientId,
        errand: Errand,
        unreachable: bool,
        now: Time,
        world: &mut dyn World,
    ) {
        if let What::Passage(number) = errand.what {
            let mut context = self.shared.context(now, world);
            return self
                .passages
                .on_unanswered(&mut context, number, client, unreachable);
        }
        self.with(errand.conversation, now, world, |conversation, context| {
            conversation.on_unanswered(context, client, errand, unreachable);
        });
    }

    fn flow_failed(&mut self, flow: &Flow, closed: bool, now: Time, world: &mut dyn World) {
        self.shared.transactions.flow_failed(
            flow.transport,
            flow.peer,
            flow.connection,
            now,
            &mut self.shared.out,
        );
        self.listen(now, world);
        for id in self.found_by(peer_key(flow.transport, flow.peer)) {
            self.with(id, now, world, |conversation, context| {
                conversation.on_flow_failed(context, flow, closed);
            });
        }
    }

    fn bindings_changed(&mut self, changed: &BindingsChanged, now: Time, world: &mut dyn World) {
        for id in self.found_by(aor_key(&changed.aor)) {
            self.with(id, now, world, |conversation, context| {
                conversation.on_bindings(context, changed)
            });
        }
    }

    fn sweep(&mut self, now: Time, world: &mut dyn World) {
        let (changes, events) = self.registrar.sweep(now, world);
        self.shared
            .out
            .extend(events.into_iter().map(Output::Event));
        for changed in changes {
            self.bindings_changed(&changed, now, world);
            self.shared.out.push_back(Output::Bindings(changed));
        }
        self.passages.sweep(now);
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

    fn command(&mut self, command: Command, now: Time, world: &mut dyn World) {
        match command {
            Command::DeclareLost { conversation, side } => {
                self.with(conversation, now, world, |conversation, context| {
                    conversation.lose(context, side, Signal::Operator);
                });
            }
            Command::HangUp { conversation } => {
                self.with(conversation, now, world, |conversation, context| {
                    conversation.hang_up_both(context);
                });
            }
            Command::HangUpAll => {
                for id in Vec::from_iter(self.conversations.keys().copied()) {
                    self.with(id, now, world, |conversation, context| {
                        conversation.hang_up_both(context);
                    });
                }
            }
            Command::Drain => self.draining = true,
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
        act(conversation, &mut self.shared.context(now, world));
        self.settle(id, now);
        true
    }

    /// Brings timer and index in line with a conversation, or lets it go.
    fn settle(&mut self, id: ConversationId, now: Time) {
        let Some(conversation) = self.conversations.get_mut(&id) else {
            return;
        };
        let (over, soonest) = (conversation.ended.is_some(), now + Millis(1));
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
        let keys = if over {
            Default::default()
        } else {
            conversation.keys()
        };
        if keys != conversation.indexed {
            for key in conversation.indexed.into_iter().flatten() {
                self.index.remove(&(key, id));
            }
            self.index
                .extend(keys.into_iter().flatten().map(|key| (key, id)));
            conversation.indexed = keys;
        }
        if over && let Some(conversation) = self.conversations.remove(&id) {
            if self.ended.len() >= ENDED_MAX {
                self.ended.pop_front();
            }
            self.ended.push_back(conversation.detail());
        }
    }

    fn emit(&mut self, event: Event) {
        self.shared.out.push_back(Output::Event(event));
    }
}

impl Shared {
    fn context<'a>(&'a mut self, now: Time, world: &'a mut dyn World) -> Context<'a> {
        Context {
            now,
            world,
            shared: self,
        }
    }
}
