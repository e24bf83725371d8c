//! The server transactions: requests of others that wait for our answers.

mod resumed;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;

use super::effects::{Clock, Due, Effects, Set, Whose};
use super::lookup::Lookup;
use super::server_machine::{Input, Machine};
use super::slab::{Key, Slab};
use super::table::{Hand, ServerAct as Act};
use super::way_back::{Next, WayBack, reply_flow};
use super::{Heard, Of, ServerId, compose};
use crate::engine::events::Event;
use crate::engine::ids::{ConnectionId, Flow, Transport};
use crate::engine::locating::Hop;
use crate::engine::timers::Timers;
use crate::sip::{Message, Method, glance};

#[derive(Debug)]
pub(super) struct Servers<S> {
    slab: Slab<Server<S>>,
    limit: usize,
    /// Those that are only there for copies of what was answered, the oldest first, and some that are gone.
    answered: VecDeque<ServerId>,
    /// Only looked up, never gone through, as `merged`.
    by_branch: HashMap<Lookup, ServerId>,
    merged: HashMap<Lookup, ServerId>,
    /// Those whose responses have another way where this one fails, by where they go.
    by_peer: BTreeSet<(Transport, SocketAddr, Key)>,
}

#[derive(Debug)]
struct Server<S> {
    machine: Machine,
    lookup: Lookup,
    /// The same for who sends from where its responses go now.
    moved: Option<Lookup>,
    merged: Option<Lookup>,
    /// Where the request came from.
    flow: Flow,
    back: WayBack,
    /// Until the final response.
    request: Option<Box<Message>>,
    /// The response sent last.
    last: Option<Bytes>,
    context: Option<S>,
    /// The To tag of its final response, as far as that is known.
    tag: Option<Box<str>>,
    clock: Clock,
}

impl<S> Server<S> {
    /// What is the same but for its way is no copy of it any more.
    fn unmerge(&mut self, known: &mut HashMap<Lookup, ServerId>) {
        if let Some(merged) = self.merged.take() {
            known.remove(&merged);
        }
    }
}

/// A request whose way back is gone, and where the one is to be found that it came from.
#[derive(Debug, PartialEq, Eq)]
pub enum Stranded {
    /// At its address, where the host has to prove itself: `answer_over` says by which connection.
    Named {
        server: ServerId,
        peer: SocketAddr,
        host: Box<str>,
    },
    /// Nobody is there. `answer_at` says where the host of its Via is.
    Sought {
        server: ServerId,
        source: Flow,
        hop: Hop,
    },
}

/// What an input brings along.
#[derive(Debug)]
enum With {
    Nothing,
    Response(Bytes),
    Message(Message, Flow),
}

impl<S: Clone + Of> Servers<S> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slab: Slab::new(),
            limit,
            answered: VecDeque::new(),
            by_branch: HashMap::new(),
            merged: HashMap::new(),
            by_peer: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Counts what the indexes hold, which is nothing when there are no transactions.
    #[cfg(test)]
    pub(super) fn indexed(&self) -> usize {
        self.by_branch.len() + self.merged.len() + self.by_peer.len()
    }

    pub(super) fn bind(&mut self, id: ServerId, context: S) {
        if let Some(server) = self.slab.get_mut(id.0) {
            server.context = Some(context);
        }
    }

    pub(super) fn tagged(&mut self, id: ServerId, tag: &str) {
        if let Some(server) = self.slab.get_mut(id.0) {
            server.tag = Some(tag.into());
        }
    }

    pub(super) fn request_of(&self, id: ServerId) -> Option<(&Message, Flow)> {
        let server = self.slab.get(id.0)?;
        Some((server.request.as_deref()?, server.flow))
    }

    pub(super) fn receive<C>(
        &mut self,
        request: Message,
        flow: Flow,
        effects: &mut Effects<'_, C, S>,
    ) {
        let lookup = Lookup::server(&request, &flow);
        let found = self.by_branch.get(&lookup).copied();
        let server = found.and_then(|id| Some((id, self.slab.get(id.0)?)));
        if let Some((id, server)) = server
            && server.flow == flow
        {
            self.turn(id, WayBack::is_proven);
        }
        match (request.method(), found) {
            (Method::Ack, Some(id)) => {
                self.feed(id, Input::Ack, With::Message(request, flow), effects);
            }
            (Method::Ack, None) => effects.tell(Heard::Ack { request, flow }),
            (Method::Cancel, found) => self.cancel(found, request, flow, effects),
            (_, Some(id)) => self.again(id, request, flow, effects),
            (_, None) => self.first(lookup, request, flow, effects),
        }
    }

    pub(super) fn knows(&self, request: &Message, flow: Flow) -> bool {
        self.by_branch.contains_key(&Lookup::server(request, &flow))
    }

    pub(super) fn put_off<C>(
        &self,
        request: &Message,
        seconds: u64,
        flow: Flow,
        effects: &mut Effects<'_, C, S>,
    ) {
        effects.event(Event::Refused {
            method: request.method().as_str().into(),
            status: 503,
            why: "overloaded",
            peer: flow.peer.to_string().into(),
        });
        let reply = reply_flow(request, flow);
        effects.send(reply, compose::put_off(request, seconds, flow.peer));
    }

    /// Takes a response of the user.
    pub(super) fn respond<C>(
        &mut self,
        id: ServerId,
        status: u16,
        bytes: Bytes,
        effects: &mut Effects<'_, C, S>,
    ) {
        let Some(server) = self.slab.get_mut(id.0) else {
            return;
        };
        if status >= 200 {
            server.request = None;
            if matches!(server.machine, Machine::Invite(_)) {
                server.tag = glance::to_tag(&bytes).map(Into::into);
            }
        }
        let (only_for_copies, failed) = match server.machine {
            Machine::Invite(_) => (status >= 300, false),
            // Of a 408, which does not go out, nobody hears, and what it is of may have been done.
            Machine::NonInvite(_) => (status >= 200, status >= 300 && status != 408),
        };
        // Some clients try again with credentials but the same CSeq, and proxies what has failed: that is no copy.
        if matches!(status, 401 | 407) || failed {
            server.unmerge(&mut self.merged);
        }
        self.feed(id, Input::Respond(status), With::Response(bytes), effects);
        if only_for_copies && self.slab.get(id.0).is_some() {
            self.answered.push_back(id);
            self.forget_gone();
        }
    }

    /// Asks for proof and keeps nothing (RFC 3261 8.2.7, 26.3.2.4): a copy of the request is asked the same again,
    /// and an ACK finds nobody.
    pub(super) fn challenge<C>(
        &mut self,
        id: ServerId,
        bytes: Bytes,
        effects: &mut Effects<'_, C, S>,
    ) {
        if let Some(server) = self.slab.get(id.0) {
            let flows = server.back.flows();
            flows.for_each(|flow| effects.send(flow, bytes.clone()));
            self.remove(id, effects.timers);
        }
    }

    /// They go in about the order in which they were answered.
    fn forget_gone(&mut self) {
        while let Some(first) = self.answered.front()
            && self.slab.get(first.0).is_none()
        {
            self.answered.pop_front();
        }
    }

    /// Lets go of the one that was answered first. Whoever floods, under names that are made up too, takes the
    /// place of his own: a copy that comes still is taken for a new request.
    fn makes_room(&mut self, timers: &mut Timers<Due>) -> bool {
        self.forget_gone();
        let Some(first) = self.answered.pop_front() else {
            return false;
        };
        self.remove(first, timers);
        true
    }

    /// The 2xx need not be sent again.
    pub(super) fn acknowledged(&mut self, id: ServerId, timers: &mut Timers<Due>) {
        let Some(server) = self.slab.get_mut(id.0) else {
            return;
        };
        // The only acts of this input are these two.
        if !server.machine.step(Input::Acknowledged).is_empty() {
            server.clock.quiet(timers);
            server.last = None;
        }
    }

    pub(super) fn due<C>(&mut self, id: ServerId, hand: Hand, effects: &mut Effects<'_, C, S>) {
        self.feed(id, Input::Due(hand), With::Nothing, effects);
    }

    /// Lets responses go another way (RFC 3261 18.2.2) where theirs is gone. Returns those for which that is to be
    /// found out. Of one flow those of one host alone that are to be connected to, and have yet to be answered: whoever
    /// names others for each request has many remembered for nothing.
    pub(super) fn flow_failed<C>(
        &mut self,
        transport: Transport,
        peer: SocketAddr,
        connection: Option<ConnectionId>,
        effects: &mut Effects<'_, C, S>,
    ) -> Vec<Stranded> {
        let (mut stranded, mut named) = (Vec::new(), None);
        let range = (transport, peer, Key::MIN)..=(transport, peer, Key::MAX);
        let there: Vec<Key> = self.by_peer.range(range).map(|(_, _, key)| *key).collect();
        for key in there {
            let server = self.slab.get_mut(key);
            let Some(server) = server.filter(|server| server.back.is_over(connection)) else {
                continue;
            };
            let (id, source, waits) = (ServerId(key), server.flow, server.request.is_some());
            match self.turn(id, WayBack::fails) {
                Next::ToHost(host) if waits && named.as_ref().is_none_or(|one| *one == host) => {
                    named = Some(host.clone());
                    let peer = self
                        .slab
                        .get(key)
                        .map_or(peer, |server| server.back.flow.peer);
                    let server = id;
                    stranded.push(Stranded::Named { server, peer, host });
                }
                Next::Seek(hop) => {
                    let server = id;
                    stranded.push(Stranded::Sought {
                        server,
                        source,
                        hop,
                    });
                }
                Next::Located => self.is_there(id, effects),
                Next::ToHost(_) | Next::Another | Next::Nothing => {}
            }
        }
        stranded
    }

    /// Changes where responses go.
    fn turn<T>(&mut self, id: ServerId, to: impl FnOnce(&mut WayBack) -> T) -> T
    where
        T: Default,
    {
        let Some(server) = self.slab.get_mut(id.0) else {
            return T::default();
        };
        let way = |back: &WayBack| (back.flow.transport, back.flow.peer, id.0);
        let before = way(&server.back);
        let turned = to(&mut server.back);
        let (now, watched) = (way(&server.back), server.back.is_watched());
        self.by_peer.remove(&before);
        if watched {
            self.by_peer.insert(now);
        }
        turned
    }

    /// Its client has been located: it is told again, and what it says from there is of the transaction.
    fn is_there<C>(&mut self, id: ServerId, effects: &mut Effects<'_, C, S>) {
        self.say_again(id, effects);
        let Some(server) = self.slab.get_mut(id.0) else {
            return;
        };
        let last = server.last.as_ref();
        let last = last.and_then(|last| Message::parse(last.clone()).ok());
        let message = server.request.as_deref().or(last.as_ref());
        let lookup = message.and_then(|message| Lookup::moved(message, &server.back.flow));
        // Another port of its address is looked up as it is itself, and what is not moved is not to be forgotten.
        let lookup = lookup.filter(|lookup| *lookup != server.lookup);
        let before = std::mem::replace(&mut server.moved, lookup);
        self.forget_moved(id, before);
        if let Some(lookup) = lookup {
            self.by_branch.entry(lookup).or_insert(id);
        }
    }

    fn forget_moved(&mut self, id: ServerId, moved: Option<Lookup>) {
        if let Some(moved) = moved
            && self.by_branch.get(&moved) == Some(&id)
        {
            self.by_branch.remove(&moved);
        }
    }

    /// Sends what was answered last over the flow that responses take now.
    fn say_again<C>(&mut self, id: ServerId, effects: &mut Effects<'_, C, S>) {
        if let Some(server) = self.slab.get(id.0)
            && let Some(last) = &server.last
        {
            let of = server.context.conversation();
            effects.send_again(server.back.flow, last.clone(), of);
        }
    }

    /// Lets responses go over another flow than the request came by.
    pub(super) fn answer_over(&mut self, id: ServerId, flow: Flow) {
        self.turn(id, |back| back.flow = flow);
    }

    /// Lets responses go over the first of these that does not fail.
    pub(super) fn answer_at<C>(
        &mut self,
        id: ServerId,
        flows: &[Flow],
        effects: &mut Effects<'_, C, S>,
    ) {
        if self.turn(id, |back| back.located(flows)) == Next::Located {
            self.is_there(id, effects);
        }
    }

    pub(super) fn redirect<C>(
        &mut self,
        id: ServerId,
        flow: Flow,
        effects: &mut Effects<'_, C, S>,
    ) {
        self.turn(id, |back| back.turn(flow));
        let Some(server) = self.slab.get_mut(id.0) else {
            return;
        };
        server.flow = flow;
        if server.request.is_none() {
            self.say_again(id, effects);
        }
    }

    /// Takes a request that begins a transaction.
    fn first<C>(
        &mut self,
        lookup: Lookup,
        request: Message,
        flow: Flow,
        effects: &mut Effects<'_, C, S>,
    ) {
        let merged = Lookup::merged(&request);
        let back = WayBack::of(&request, flow);
        let reply = back.flow;
        if merged.is_some_and(|merged| self.merged.contains_key(&merged)) {
            return effects.refuse(&request, 482, "merged request", reply, flow.peer);
        }
        if self.slab.len() >= self.limit && !self.makes_room(effects.timers) {
            return effects.refuse(&request, 503, "too many transactions", reply, flow.peer);
        }
        let (machine, acts) = Machine::start(request.method());
        let id = self.keep(Server {
            machine,
            lookup,
            moved: None,
            merged,
            flow,
            back,
            request: Some(Box::new(request.clone())),
            last: None,
            context: None,
            tag: None,
            clock: Clock::default(),
        });
        self.act(id, acts, With::Nothing, effects);
        effects.tell(Heard::Request {
            server: id,
            request,
            flow,
        });
    }

    /// Takes a request that came before.
    fn again<C>(
        &mut self,
        id: ServerId,
        request: Message,
        flow: Flow,
        effects: &mut Effects<'_, C, S>,
    ) {
        if let Some(server) = self.slab.get_mut(id.0)
            && server.flow != flow
        {
            // A NAT or the client itself has changed the way back.
            server.flow = flow;
            self.turn(id, |back| back.turn(reply_flow(&request, flow)));
        }
        self.feed(id, Input::Request, With::Nothing, effects);
    }

    /// Answers a CANCEL by itself (RFC 3261 9.2), without a transaction: to the same CANCEL it says the
    /// same.
    fn cancel<C>(
        &mut self,
        invite: Option<ServerId>,
        cancel: Message,
        flow: Flow,
        effects: &mut Effects<'_, C, S>,
    ) {
        let reply = reply_flow(&cancel, flow);
        let found = invite.and_then(|id| Some((id, self.slab.get(id.0)?)));
        let Some((id, server)) = found else {
            effects.event(Event::Stray { what: "cancel" });
            effects.send(reply, compose::answer(&cancel, 481, None, flow.peer));
            return;
        };
        let last = server
            .last
            .clone()
            .and_then(|last| Message::parse(last).ok());
        // RFC 3261 9.2: that of the final response, which has gone out or follows at once.
        let own = server.tag.as_deref();
        let tag = own.or_else(|| last.as_ref().and_then(Message::to_tag));
        effects.send(reply, compose::answer(&cancel, 200, tag, flow.peer));
        self.feed(id, Input::Cancel, With::Message(cancel, flow), effects);
    }

    /// Takes one step.
    fn feed<C>(&mut self, id: ServerId, input: Input, with: With, effects: &mut Effects<'_, C, S>) {
        let Some(server) = self.slab.get_mut(id.0) else {
            return;
        };
        let acts = server.machine.step(input);
        let over = server.machine.is_over();
        let then = self.act(id, acts, with, effects);
        if over {
            self.remove(id, effects.timers);
        } else if then == Set::AtOnce {
            self.feed(id, Input::Due(Hand::Deadline), With::Nothing, effects);
        }
    }

    fn act<C>(
        &mut self,
        id: ServerId,
        acts: &[Act],
        mut with: With,
        effects: &mut Effects<'_, C, S>,
    ) -> Set {
        let whose = Whose::Server(id);
        let mut then = Set::Runs;
        let Some(server) = self.slab.get_mut(id.0) else {
            return then;
        };
        let reliable = server.flow.transport.is_reliable();
        let of = server.context.conversation();
        for act in acts {
            match act {
                Act::Send => {
                    if let With::Response(bytes) = &with {
                        server.last = Some(bytes.clone());
                        for flow in server.back.flows() {
                            effects.send(flow, bytes.clone());
                        }
                    }
                }
                Act::Resend => {
                    if let Some(last) = &server.last {
                        for flow in server.back.flows() {
                            effects.send_again(flow, last.clone(), of);
                        }
                    }
                }
                Act::Trying => {
                    if let Some(request) = &server.request {
                        let bytes = compose::trying(request, server.flow.peer);
                        server.last = Some(bytes.clone());
                        for flow in server.back.flows() {
                            effects.send(flow, bytes.clone());
                        }
                    }
                }
                Act::PassAck => {
                    if let With::Message(request, flow) = with.take() {
                        effects.tell(Heard::Ack { request, flow });
                    }
                }
                Act::Cancelled => {
                    if let With::Message(cancel, _) = with.take() {
                        effects.tell(Heard::Cancelled {
                            server: id,
                            context: server.context.clone(),
                            cancel,
                        });
                    }
                }
                Act::NoAck => effects.tell(Heard::NoAck {
                    server: id,
                    context: server.context.clone(),
                }),
                Act::Lapse => {
                    let method = server.request.as_ref();
                    let method = method.map_or("INVITE", |request| request.method().as_str());
                    let method = method.into();
                    effects.event_of(of, Event::TransactionTimeout { method });
                }
                Act::Absorb => effects.absorbed(of),
                Act::Drop => server.last = None,
                Act::Unmerge => server.unmerge(&mut self.merged),
                Act::Stop => server.clock.stop(effects.timers),
                Act::Quiet => server.clock.quiet(effects.timers),
                Act::Start(timer) => {
                    if server.clock.start(*timer, reliable, whose, effects) == Set::AtOnce {
                        then = Set::AtOnce;
                    }
                }
                Act::Double(timer) => server.clock.double(*timer, whose, effects),
            }
        }
        then
    }

    fn remove(&mut self, id: ServerId, timers: &mut Timers<Due>) {
        let Some(mut server) = self.slab.remove(id.0) else {
            return;
        };
        server.clock.stop(timers);
        self.by_branch.remove(&server.lookup);
        self.forget_moved(id, server.moved);
        if let Some(merged) = server.merged {
            self.merged.remove(&merged);
        }
        let way = server.back.flow;
        self.by_peer.remove(&(way.transport, way.peer, id.0));
    }
}

impl With {
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Nothing)
    }
}
