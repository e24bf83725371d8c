//! The client transactions: requests of ours that wait for their answers.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use bytes::Bytes;

use super::client_machine::{Input, Machine};
use super::effects::{Clock, Effects, Set, Whose};
use super::lookup::Lookup;
use super::slab::{Key, Slab};
use super::table::{ClientAct as Act, Hand};
use super::{ClientId, Heard, Of, Sent, compose, invite_client, non_invite_client};
use crate::engine::events::Event;
use crate::engine::ids::{ConnectionId, Flow, Transport};
use crate::sip::{Message, Method, glance};

#[derive(Debug)]
pub(super) struct Clients<C> {
    slab: Slab<Client<C>>,
    /// Only looked up, never gone through.
    by_branch: HashMap<Lookup, ClientId>,
    /// Those that a broken transport ends, by whom they wait for.
    by_peer: BTreeSet<(Transport, SocketAddr, Key)>,
}

#[derive(Debug)]
struct Client<C> {
    machine: Machine,
    lookup: Lookup,
    flow: Flow,
    /// Where the request was sent: what `by_peer` has it under, as long as it has it.
    watched: Option<(Transport, SocketAddr)>,
    /// Nothing where the transaction is the layer's own CANCEL.
    context: Option<C>,
    /// It goes out again in spite of an ICMP, until its time is over.
    insists: bool,
    /// The request; once a failure came, its ACK; once nothing can be sent any more, nothing.
    bytes: Bytes,
    /// Whether its phone may ring yet, though it was given up.
    sleep: Sleep,
    /// What the CANCEL is to give as its reason.
    reason: Option<Box<str>>,
    clock: Clock,
}

/// What is waited for of the phone of an INVITE that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    /// Nothing: nobody would have it ring.
    Unwanted,
    /// It may ring yet, and nobody has said anything.
    Silent,
    /// The same, and somebody has the INVITE, be it the phone or who is on the way: that one is not to keep it.
    Tried,
}

impl<C: Clone + Of> Clients<C> {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            by_branch: HashMap::new(),
            by_peer: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn waits(&self, id: ClientId) -> bool {
        self.slab.get(id.0).is_some()
    }

    pub(super) fn is_silent(&self, id: ClientId) -> bool {
        let machine = self.slab.get(id.0).map(|client| client.machine);
        matches!(
            machine,
            Some(
                Machine::Invite(invite_client::State::Calling)
                    | Machine::NonInvite(non_invite_client::State::Trying)
            )
        )
    }

    /// The same, be it that it was taken back.
    pub(super) fn is_unheard_of(&self, id: ClientId) -> bool {
        let machine = self.slab.get(id.0).map(|client| client.machine);
        let given_up = machine.is_some_and(Machine::is_given_up_unheard);
        given_up || self.is_silent(id)
    }

    pub(super) fn is_under_way(&self, id: ClientId) -> bool {
        let client = self.slab.get(id.0);
        client.is_some_and(|client| client.machine.minds_transport())
    }

    /// Returns a request that has no final answer yet, as it was sent.
    pub(super) fn open(&self, id: ClientId) -> Option<(Bytes, C)> {
        let client = self.slab.get(id.0)?;
        let open = matches!(
            client.machine,
            Machine::Invite(invite_client::State::Calling | invite_client::State::Proceeding)
                | Machine::NonInvite(
                    non_invite_client::State::Trying | non_invite_client::State::Proceeding
                )
        );
        let context = client.context.clone().filter(|_| open)?;
        Some((client.bytes.clone(), context))
    }

    /// Counts what the indexes hold, which is nothing when there are no transactions.
    #[cfg(test)]
    pub(super) fn indexed(&self) -> usize {
        self.by_branch.len() + self.by_peer.len()
    }

    /// Sends a request. One that is no request, or has no branch, reaches nobody.
    pub(super) fn request<S>(
        &mut self,
        bytes: Bytes,
        flow: Flow,
        context: C,
        effects: &mut Effects<'_, C, S>,
    ) -> ClientId {
        self.begin(bytes, flow, context, Machine::start, effects)
    }

    /// Waits for the answers to an INVITE that was sent in a former life.
    pub(super) fn resume<S>(
        &mut self,
        bytes: Bytes,
        flow: Flow,
        context: C,
        effects: &mut Effects<'_, C, S>,
    ) -> ClientId {
        let resumed = |_: &Method| {
            let (state, acts) = invite_client::RESUMED;
            (Machine::Invite(state), acts)
        };
        self.begin(bytes, flow, context, resumed, effects)
    }

    fn begin<S>(
        &mut self,
        bytes: Bytes,
        flow: Flow,
        context: C,
        start: impl FnOnce(&Method) -> (Machine, &'static [Act]),
        effects: &mut Effects<'_, C, S>,
    ) -> ClientId {
        let Some((method, branch)) = glance::request(&bytes) else {
            let client = ClientId(self.slab.spent());
            effects.tell(Heard::Unreachable { client, context });
            return client;
        };
        let lookup = Lookup::client(branch, &method);
        self.start(lookup, start(&method), bytes, flow, Some(context), effects)
    }

    pub(super) fn reserve(&mut self) -> ClientId {
        ClientId(self.slab.spent())
    }

    /// Takes a response.
    pub(super) fn receive<S>(
        &mut self,
        response: Message,
        flow: Flow,
        effects: &mut Effects<'_, C, S>,
    ) {
        // RFC 3261 8.1.3.3: it was on its way to somebody before us.
        if response.vias().nth(1).is_some() {
            return effects.event(Event::Stray { what: "vias" });
        }
        let found = response
            .branch()
            .map(|branch| Lookup::client(branch, response.method()))
            .and_then(|lookup| self.by_branch.get(&lookup).copied());
        let Some((id, client)) = found.and_then(|id| Some((id, self.slab.get_mut(id.0)?))) else {
            effects.event(Event::Stray { what: "response" });
            effects.tell(Heard::Stray { response, flow });
            return;
        };
        if flow.transport == client.flow.transport && flow.transport.is_reliable() {
            // The peer has come back over another connection: ACK and CANCEL take that one.
            client.flow = flow;
            if let Some((transport, peer)) = client.watched
                && peer != flow.peer
            {
                client.watched = Some((transport, flow.peer));
                self.by_peer.remove(&(transport, peer, id.0));
                self.by_peer.insert((transport, flow.peer, id.0));
            }
        }
        // RFC 3581 4: who was asked answers from there. One that answers from another port may listen there or not,
        // and was heard where it was asked.
        let asked = client.flow;
        let same_host = flow.peer.ip().to_canonical() == asked.peer.ip().to_canonical();
        let datagrams = !flow.transport.is_reliable() && flow.transport == asked.transport;
        let over = if datagrams && same_host { asked } else { flow };
        let sleeps = client.sleep != Sleep::Unwanted && client.machine.is_given_up_unheard();
        let input = match response.status() {
            // Who is on the way has the INVITE: that does not say that anybody rings.
            ..=100 if sleeps => {
                client.sleep = Sleep::Tried;
                return;
            }
            101..=199 if sleeps => {
                // From here on it is taken back as any other.
                client.sleep = Sleep::Unwanted;
                Input::Woken
            }
            status => Input::Response(status),
        };
        self.feed(id, input, Some((response, over)), effects);
    }

    pub(super) fn goes_over(&self, id: ClientId) -> Option<Flow> {
        self.slab.get(id.0).map(|client| client.flow)
    }

    /// Who was asked is reached over another flow of the same transport.
    pub(super) fn moved(&mut self, id: ClientId, flow: Flow) {
        let Some(client) = self.slab.get_mut(id.0) else {
            return;
        };
        client.flow = flow;
        if let Some((transport, peer)) = client.watched {
            self.by_peer.remove(&(transport, peer, id.0));
            client.watched = Some((flow.transport, flow.peer));
            self.by_peer.insert((flow.transport, flow.peer, id.0));
        }
    }

    /// What nobody asks for a second time goes out again in spite of an ICMP.
    pub(super) fn insist(&mut self, id: ClientId) {
        if let Some(client) = self.slab.get_mut(id.0) {
            client.insists = true;
        }
    }

    /// Takes an INVITE back.
    pub(super) fn cancel<S>(
        &mut self,
        id: ClientId,
        reason: Option<&str>,
        effects: &mut Effects<'_, C, S>,
    ) {
        if let Some(client) = self.slab.get_mut(id.0) {
            if client.reason.is_none() {
                client.reason = reason.map(Into::into);
            }
            self.feed(id, Input::Cancel, None, effects);
        }
    }

    /// The phone of an INVITE that is given up, and that has said nothing, may ring yet: the user is told then, and
    /// takes it back or not.
    pub(super) fn may_wake(&mut self, id: ClientId) {
        if let Some(client) = self.slab.get_mut(id.0) {
            client.sleep = Sleep::Silent;
        }
    }

    /// Nobody waits for that any more. Whoever has the INVITE all the same gets its CANCEL (RFC 3261 9.1).
    pub(super) fn wakes_no_more<S>(&mut self, id: ClientId, effects: &mut Effects<'_, C, S>) {
        let Some(client) = self.slab.get_mut(id.0) else {
            return;
        };
        let before = std::mem::replace(&mut client.sleep, Sleep::Unwanted);
        if before == Sleep::Tried && client.machine.is_given_up_unheard() {
            self.feed(id, Input::Response(100), None, effects);
        }
    }

    /// Sends an INVITE again at once that nobody has answered, where it goes by datagrams: a phone that was away for
    /// a while does not wait for timer A, which may have grown to many seconds.
    pub(super) fn hurry<S>(&mut self, id: ClientId, effects: &mut Effects<'_, C, S>) {
        let client = self.slab.get(id.0);
        if client.is_some_and(|client| !client.flow.transport.is_reliable()) {
            self.feed(id, Input::Hurry, None, effects);
        }
    }

    /// Returns true for an INVITE that waits for its first response.
    pub(super) fn is_unheard(&self, id: ClientId) -> bool {
        let client = self.slab.get(id.0);
        client.is_some_and(|client| {
            matches!(
                client.machine,
                Machine::Invite(invite_client::State::Calling)
            )
        })
    }

    pub(super) fn due<S>(&mut self, id: ClientId, hand: Hand, effects: &mut Effects<'_, C, S>) {
        let forgets = |client: &Client<C>| {
            let abandoned = matches!(
                client.machine,
                Machine::Invite(invite_client::State::Abandoned)
            );
            abandoned && client.sleep == Sleep::Tried
        };
        if hand == Hand::Deadline && self.slab.get(id.0).is_some_and(forgets) {
            return self.wakes_no_more(id, effects);
        }
        self.feed(id, Input::Due(hand), None, effects);
    }

    /// Ends what waits for an answer over a flow, or over every flow to a peer.
    pub(super) fn flow_failed<S>(
        &mut self,
        transport: Transport,
        peer: SocketAddr,
        connection: Option<ConnectionId>,
        effects: &mut Effects<'_, C, S>,
    ) {
        let waiting: Vec<ClientId> = self.at(transport, peer).collect();
        for id in waiting {
            let Some(client) = self.slab.get_mut(id.0) else {
                continue;
            };
            // A flow without a connection took whichever was open.
            let concerned = match (client.flow.connection, connection) {
                (Some(sent_over), Some(broken)) => sent_over == broken,
                (None, _) | (_, None) => true,
            };
            let goes_on = client.insists && !transport.is_reliable();
            if concerned && !goes_on {
                // What still goes there, as a CANCEL may, opens another connection.
                let own = client.flow.connection;
                client.flow.connection = own.filter(|own| own.is_to_host());
                self.feed(id, Input::Broken, None, effects);
            }
        }
    }

    /// Ends one that waits for an answer: nobody has taken it, nor an INVITE there of which nothing was heard.
    pub(super) fn not_taken<S>(&mut self, id: ClientId, effects: &mut Effects<'_, C, S>) {
        let Some(client) = self.slab.get(id.0) else {
            return;
        };
        let there = client.watched.into_iter();
        let there = there.flat_map(|(transport, peer)| self.at(transport, peer));
        let calling = there.filter(|other| self.is_unheard(*other));
        let mut broken: Vec<ClientId> = calling.filter(|other| *other != id).collect();
        if !client.insists {
            broken.push(id);
        }
        for id in broken {
            self.feed(id, Input::Broken, None, effects);
        }
    }

    /// Returns those that wait for the answer of a peer.
    fn at(&self, transport: Transport, peer: SocketAddr) -> impl Iterator<Item = ClientId> {
        let range = (transport, peer, Key::MIN)..=(transport, peer, Key::MAX);
        self.by_peer.range(range).map(|entry| ClientId(entry.2))
    }

    /// Somebody says that nobody takes what goes to a peer: who rings there may be asked, and an INVITE that has gone out
    /// three times without a word, over a second and a half, is believed to have found nobody.
    pub(super) fn flow_doubted<S>(
        &mut self,
        transport: Transport,
        peer: SocketAddr,
        effects: &mut Effects<'_, C, S>,
    ) {
        let there = self.at(transport, peer);
        let thrice = effects.settings.t1.times(4);
        let concerned = |id: &ClientId| {
            let client = self.slab.get(id.0);
            client.is_some_and(|client| match client.machine {
                Machine::Invite(invite_client::State::Proceeding) => true,
                Machine::Invite(invite_client::State::Calling) => client.clock.waits() >= thrice,
                Machine::Invite(_) | Machine::NonInvite(_) => false,
            })
        };
        let concerned: Vec<ClientId> = there.filter(concerned).collect();
        for id in concerned {
            self.feed(id, Input::Broken, None, effects);
        }
    }

    /// Returns the request with that branch, where it waits for the answer of a peer.
    pub(super) fn quoted(
        &self,
        method: &Method,
        branch: &str,
        transport: Transport,
        peer: SocketAddr,
    ) -> Option<ClientId> {
        let found = *self.by_branch.get(&Lookup::client(branch, method))?;
        let client = self.slab.get(found.0)?;
        (client.watched == Some((transport, peer))).then_some(found)
    }

    fn start<S>(
        &mut self,
        lookup: Lookup,
        (machine, acts): (Machine, &'static [Act]),
        bytes: Bytes,
        flow: Flow,
        context: Option<C>,
        effects: &mut Effects<'_, C, S>,
    ) -> ClientId {
        // A CANCEL that nobody hears lets the phone ring on.
        let insists = context.is_none();
        let watched = (flow.transport, flow.peer);
        let id = ClientId(self.slab.insert(Client {
            machine,
            lookup,
            flow,
            watched: Some(watched),
            context,
            insists,
            bytes,
            sleep: Sleep::Unwanted,
            reason: None,
            clock: Clock::default(),
        }));
        self.by_branch.insert(lookup, id);
        self.by_peer.insert((watched.0, watched.1, id.0));
        self.act(id, acts, None, effects);
        id
    }

    /// Takes one step.
    fn feed<S>(
        &mut self,
        id: ClientId,
        input: Input,
        response: Option<(Message, Flow)>,
        effects: &mut Effects<'_, C, S>,
    ) {
        let Some(client) = self.slab.get_mut(id.0) else {
            return;
        };
        let acts = client.machine.step(input);
        let (over, watch) = (client.machine.is_over(), client.machine.minds_transport());
        if !watch && let Some((transport, peer)) = client.watched.take() {
            self.by_peer.remove(&(transport, peer, id.0));
        }
        if watch && client.watched.is_none() {
            // It had been given up, and its phone rings after all.
            let (transport, peer) = (client.flow.transport, client.flow.peer);
            client.watched = Some((transport, peer));
            self.by_peer.insert((transport, peer, id.0));
        }
        let then = self.act(id, acts, response, effects);
        if over {
            self.remove(id, effects);
        } else if then == Set::AtOnce {
            self.feed(id, Input::Due(Hand::Deadline), None, effects);
        }
    }

    fn act<S>(
        &mut self,
        id: ClientId,
        acts: &[Act],
        mut response: Option<(Message, Flow)>,
        effects: &mut Effects<'_, C, S>,
    ) -> Set {
        let whose = Whose::Client(id);
        let mut then = Set::Runs;
        let mut sent = self.challenged(id, response.as_ref());
        for act in acts {
            let Some(client) = self.slab.get_mut(id.0) else {
                break;
            };
            let reliable = client.flow.transport.is_reliable();
            match act {
                Act::Send => effects.send(client.flow, client.bytes.clone()),
                Act::Resend => effects.send_again(
                    client.flow,
                    client.bytes.clone(),
                    client.context.conversation(),
                ),
                Act::Ack => {
                    let invite = Message::parse(std::mem::take(&mut client.bytes));
                    if let (Ok(invite), Some((failure, _))) = (invite, &response) {
                        client.bytes = compose::ack(&invite, failure);
                        effects.send(client.flow, client.bytes.clone());
                    }
                }
                Act::Cancel => self.send_cancel(id, effects),
                Act::Report => {
                    if let (Some((response, flow)), Some(context)) =
                        (response.take(), client.context.clone())
                    {
                        effects.tell(Heard::Response {
                            client: id,
                            context,
                            response,
                            flow,
                            sent: sent.take(),
                        });
                    }
                }
                Act::Timeout => {
                    client.lapse(effects);
                    if let Some(context) = client.context.clone() {
                        effects.tell(Heard::Timeout {
                            client: id,
                            context,
                        });
                    }
                }
                Act::Lapse => client.lapse(effects),
                Act::Unreachable => {
                    if let Some(context) = client.context.clone() {
                        effects.tell(Heard::Unreachable {
                            client: id,
                            context,
                        });
                    }
                }
                Act::Severed => {
                    if let Some(context) = client.context.clone() {
                        let closed = reliable;
                        effects.tell(Heard::Severed { context, closed });
                    }
                }
                Act::Absorb => effects.absorbed(client.context.conversation()),
                Act::Drop => client.bytes = Bytes::new(),
                Act::Stop => client.clock.stop(effects.timers),
                Act::Start(timer) => {
                    if client.clock.start(*timer, reliable, whose, effects) == Set::AtOnce {
                        then = Set::AtOnce;
                    }
                }
                Act::Double(timer) => client.clock.double(*timer, whose, effects),
                Act::Slow(timer) => client
                    .clock
                    .run(*timer, effects.settings.t2, whose, effects),
            }
        }
        then
    }

    /// Returns the request that a response asks proof for.
    fn challenged(&self, id: ClientId, response: Option<&(Message, Flow)>) -> Option<Box<Sent>> {
        let (response, _) = response?;
        let asks = matches!(response.status(), 401 | 407);
        let client = self.slab.get(id.0).filter(|_| asks)?;
        Some(Box::new(Sent {
            bytes: client.bytes.clone(),
            flow: client.flow,
        }))
    }

    /// Sends the CANCEL of an INVITE, unless one is still under way.
    fn send_cancel<S>(&mut self, id: ClientId, effects: &mut Effects<'_, C, S>) {
        let Some(client) = self.slab.get(id.0) else {
            return;
        };
        let Ok(invite) = Message::parse(client.bytes.clone()) else {
            return;
        };
        let lookup = Lookup::client(invite.branch().unwrap_or(""), &Method::Cancel);
        if self.by_branch.contains_key(&lookup) {
            return;
        }
        let bytes = compose::cancel(&invite, client.reason.as_deref());
        let flow = client.flow;
        let start = Machine::start(&Method::Cancel);
        self.start(lookup, start, bytes, flow, None, effects);
    }

    fn remove<S>(&mut self, id: ClientId, effects: &mut Effects<'_, C, S>) {
        let Some(mut client) = self.slab.remove(id.0) else {
            return;
        };
        client.clock.stop(effects.timers);
        if self.by_branch.get(&client.lookup) == Some(&id) {
            self.by_branch.remove(&client.lookup);
        }
    }
}

impl<C: Of> Client<C> {
    fn lapse<S>(&self, effects: &mut Effects<'_, C, S>) {
        let method = self.bytes.split(|byte| *byte == b' ').next();
        let method = method.and_then(|method| std::str::from_utf8(method).ok());
        let method = method.unwrap_or("").into();
        effects.event_of(
            self.context.conversation(),
            Event::TransactionTimeout { method },
        );
    }
}
