//! The layer: which transaction a message belongs to, and when its timers go off.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;

use super::clients::Clients;
use super::effects::{Due, Effects, Whose};
use super::servers::{Servers, Stranded};
use super::{ClientId, Heard, Of, ServerId};
use crate::engine::ids::{ConnectionId, Flow, Transport};
use crate::engine::ports::Output;
use crate::engine::settings::TimerSettings;
use crate::engine::time::Time;
use crate::engine::timers::Timers;
use crate::sip::{Message, Method};

/// How many server transactions stand at most; a request beyond gets a 503 and leaves no trace.
const SERVERS_MAX: usize = 200_000;

/// The transactions of one shard.
///
/// Whatever is called, what is to be sent is appended to `out` in order, and what the user is told
/// waits in `poll_heard`.
///
/// What the layer refuses by itself (481, 482, 503) leaves no transaction, so the ACK of such an INVITE
/// goes up as one that no dialog knows.
pub struct Transactions<C, S> {
    settings: TimerSettings,
    clients: Clients<C>,
    servers: Servers<S>,
    timers: Timers<Due>,
    heard: VecDeque<Heard<C, S>>,
}

impl<C: Clone + Of, S: Clone + Of> Transactions<C, S> {
    /// Makes a layer without transactions.
    pub fn new(settings: TimerSettings, now: Time) -> Self {
        Self::with_limit(settings, now, SERVERS_MAX)
    }

    /// Makes a layer that holds no more than `servers` server transactions.
    pub fn with_limit(settings: TimerSettings, now: Time, servers: usize) -> Self {
        Self {
            settings,
            clients: Clients::new(),
            servers: Servers::new(servers),
            timers: Timers::new(now),
            heard: VecDeque::new(),
        }
    }

    /// Takes a message that came over `flow`.
    pub fn receive(&mut self, message: Message, flow: Flow, now: Time, out: &mut VecDeque<Output>) {
        let (clients, servers, mut effects) = self.parts(now, out);
        if message.is_request() {
            servers.receive(message, flow, &mut effects);
        } else {
            clients.receive(message, flow, &mut effects);
        }
    }

    /// Returns true where a request belongs to a transaction that stands.
    pub fn knows(&self, request: &Message, flow: Flow) -> bool {
        self.servers.knows(request, flow)
    }

    /// Answers a request 503 and forgets it: it may come again after so many seconds.
    pub fn put_off(
        &mut self,
        request: &Message,
        seconds: u64,
        flow: Flow,
        now: Time,
        out: &mut VecDeque<Output>,
    ) {
        let (_, servers, mut effects) = self.parts(now, out);
        servers.put_off(request, seconds, flow, &mut effects);
    }

    /// Takes the news that nothing reaches a peer (ICMP), or that a connection closed or could not be
    /// opened; without a connection every flow to that peer is meant. Returns the requests whose responses need
    /// another way that is yet to be found.
    pub fn flow_failed(
        &mut self,
        transport: Transport,
        peer: SocketAddr,
        connection: Option<ConnectionId>,
        now: Time,
        out: &mut VecDeque<Output>,
    ) -> Vec<Stranded> {
        let (clients, servers, mut effects) = self.parts(now, out);
        clients.flow_failed(transport, peer, connection, &mut effects);
        servers.flow_failed(transport, peer, connection, &mut effects)
    }

    /// Takes word that nothing reaches a peer over UDP, which may be wrong: a phone that rings may be asked whether it
    /// is there, and an INVITE that has gone out three times unheard fails. No other request does. Returns what `flow_failed` does: no response goes nowhere by it.
    pub fn flow_doubted(
        &mut self,
        transport: Transport,
        peer: SocketAddr,
        now: Time,
        out: &mut VecDeque<Output>,
    ) -> Vec<Stranded> {
        let (clients, servers, mut effects) = self.parts(now, out);
        clients.flow_doubted(transport, peer, &mut effects);
        servers.flow_failed(transport, peer, None, &mut effects)
    }

    /// Nobody has taken a request of ours, nor an INVITE to that peer of which nothing was heard; what else goes there
    /// goes on.
    pub fn not_taken(&mut self, id: ClientId, now: Time, out: &mut VecDeque<Output>) {
        let (clients, _, mut effects) = self.parts(now, out);
        clients.not_taken(id, &mut effects);
    }

    /// Returns the request of ours with that branch, where it waits for the answer of a peer.
    pub fn quoted(
        &self,
        method: &Method,
        branch: &str,
        transport: Transport,
        peer: SocketAddr,
    ) -> Option<ClientId> {
        self.clients.quoted(method, branch, transport, peer)
    }

    /// Lets the responses to a request go over another flow than it came by.
    pub fn answer_over(&mut self, server: ServerId, flow: Flow) {
        self.servers.answer_over(server, flow);
    }

    /// Lets the responses to a request go to where the host of its Via was located, the first of these that does not
    /// fail. What was answered goes there again: it got nowhere.
    pub fn answer_at(
        &mut self,
        server: ServerId,
        flows: &[Flow],
        now: Time,
        out: &mut VecDeque<Output>,
    ) {
        let (_, servers, mut effects) = self.parts(now, out);
        servers.answer_at(server, flows, &mut effects);
    }

    /// Sends a request, as it is built whole with a branch of ours in its top Via, and waits for its
    /// answers. The ACK of a 2xx has no transaction and is no business of the layer.
    pub fn request(
        &mut self,
        bytes: Bytes,
        flow: Flow,
        context: C,
        now: Time,
        out: &mut VecDeque<Output>,
    ) -> ClientId {
        let (clients, _, mut effects) = self.parts(now, out);
        clients.request(bytes, flow, context, &mut effects)
    }

    /// Waits for the answers to an INVITE of before a restart, which rings where it went, and is not sent once more:
    /// the connection that it went over is closed.
    pub fn resume_invite(
        &mut self,
        invite: Bytes,
        flow: Flow,
        context: C,
        now: Time,
        out: &mut VecDeque<Output>,
    ) -> ClientId {
        let (clients, _, mut effects) = self.parts(now, out);
        clients.resume(invite, flow, context, &mut effects)
    }

    /// Lets a request that went out as a datagram go out again until its time is over (timer F), whatever an ICMP
    /// says of its peer meanwhile: the user would send it again. RFC 3261 17.1.4 ends the transaction and tells the
    /// user, which is for those that have another target to turn to.
    pub fn insist(&mut self, client: ClientId) {
        self.clients.insist(client);
    }

    /// Returns what a request is known by that is not sent yet, and will have another transaction then.
    pub fn reserve(&mut self) -> ClientId {
        self.clients.reserve()
    }

    /// Takes an INVITE back (RFC 3261 9.1), with the value of a Reason header. The CANCEL waits for a
    /// provisional response. From here on the user hears of the INVITE only if it is answered: when
    /// nothing comes within 64*T1 it counts as timed out without a word.
    pub fn cancel(
        &mut self,
        client: ClientId,
        reason: Option<&str>,
        now: Time,
        out: &mut VecDeque<Output>,
    ) {
        let (clients, _, mut effects) = self.parts(now, out);
        clients.cancel(client, reason, &mut effects);
    }

    /// Returns true where a request of ours may still be answered.
    pub fn waits(&self, client: ClientId) -> bool {
        self.clients.waits(client)
    }

    /// Returns true where nothing at all has come back for a request of ours yet.
    pub fn is_silent(&self, client: ClientId) -> bool {
        self.clients.is_silent(client)
    }

    /// The same, be it that it was taken back.
    pub fn is_unheard_of(&self, client: ClientId) -> bool {
        self.clients.is_unheard_of(client)
    }

    /// Returns true until a request of ours has its final answer or no more time for one, be it that it was taken
    /// back.
    pub fn is_under_way(&self, client: ClientId) -> bool {
        self.clients.is_under_way(client)
    }

    /// Returns a request of ours that has no final answer yet, as it was sent, and what it was sent for.
    pub fn open(&self, client: ClientId) -> Option<(Bytes, C)> {
        self.clients.open(client)
    }

    /// Goes on sending a 2xx to an INVITE whose transaction a restart has ended. None where that cannot be told from
    /// others.
    pub fn resume(
        &mut self,
        success: Bytes,
        flow: Flow,
        context: S,
        now: Time,
        out: &mut VecDeque<Output>,
    ) -> Option<ServerId> {
        let (_, servers, mut effects) = self.parts(now, out);
        servers.resume(success, flow, context, &mut effects)
    }

    /// Keeps something with a server transaction.
    pub fn bind(&mut self, server: ServerId, context: S) {
        self.servers.bind(server, context);
    }

    /// Says under which To tag an INVITE is refused: the answer to its CANCEL has the same (RFC 3261 9.2).
    pub fn tagged(&mut self, server: ServerId, tag: &str) {
        self.servers.tagged(server, tag);
    }

    /// Returns a request and the flow it came over, until its final response.
    pub fn request_of(&self, server: ServerId) -> Option<(&Message, Flow)> {
        self.servers.request_of(server)
    }

    /// Answers a request. A 2xx to an INVITE is sent again until it is `acknowledged`.
    pub fn respond(
        &mut self,
        server: ServerId,
        status: u16,
        bytes: Bytes,
        now: Time,
        out: &mut VecDeque<Output>,
    ) {
        let (_, servers, mut effects) = self.parts(now, out);
        servers.respond(server, status, bytes, &mut effects);
    }

    /// Answers a request and keeps nothing of it (RFC 3261 26.3.2.4).
    pub fn challenge(
        &mut self,
        server: ServerId,
        bytes: Bytes,
        now: Time,
        out: &mut VecDeque<Output>,
    ) {
        let (_, servers, mut effects) = self.parts(now, out);
        servers.challenge(server, bytes, &mut effects);
    }

    /// Whom an INVITE is for is there again: it goes out at once, where it has no answer.
    pub fn hurry(&mut self, client: ClientId, now: Time, out: &mut VecDeque<Output>) {
        let (clients, _, mut effects) = self.parts(now, out);
        clients.hurry(client, &mut effects);
    }

    /// The phone of an INVITE that is given up may ring yet: the user is told then, and decides.
    pub fn may_wake(&mut self, client: ClientId) {
        self.clients.may_wake(client);
    }

    /// Nobody would have it ring any more: whoever has that INVITE gets a CANCEL.
    pub fn wakes_no_more(&mut self, client: ClientId, now: Time, out: &mut VecDeque<Output>) {
        let (clients, _, mut effects) = self.parts(now, out);
        clients.wakes_no_more(client, &mut effects);
    }

    /// Returns true for an INVITE that waits for its first response.
    pub fn is_unheard(&self, client: ClientId) -> bool {
        self.clients.is_unheard(client)
    }

    /// Returns the flow that a request went over, or by which its last response came.
    pub fn goes_over(&self, client: ClientId) -> Option<Flow> {
        self.clients.goes_over(client)
    }

    /// What is still to go to who was asked, as a CANCEL, goes over another flow.
    pub fn moved(&mut self, client: ClientId, flow: Flow) {
        self.clients.moved(client, flow);
    }

    /// Lets responses go over another flow of the client, whose own is closed. A failure that waits for its ACK
    /// goes out again: it may have gone with the connection.
    pub fn redirect(
        &mut self,
        server: ServerId,
        flow: Flow,
        now: Time,
        out: &mut VecDeque<Output>,
    ) {
        let (_, servers, mut effects) = self.parts(now, out);
        servers.redirect(server, flow, &mut effects);
    }

    /// The dialog saw the ACK of a 2xx.
    pub fn acknowledged(&mut self, server: ServerId) {
        self.servers.acknowledged(server, &mut self.timers);
    }

    /// Fires what is due. Call it when `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Time, out: &mut VecDeque<Output>) {
        let (clients, servers, mut effects) = self.parts(now, out);
        while let Some(due) = effects.timers.pop_due(now) {
            match due.whose {
                Whose::Client(id) => clients.due(id, due.hand, &mut effects),
                Whose::Server(id) => servers.due(id, due.hand, &mut effects),
            }
        }
    }

    /// Returns when `handle_timeout` wants to be called, if ever.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next_due()
    }

    /// Returns what the user is to be told next.
    pub fn poll_heard(&mut self) -> Option<Heard<C, S>> {
        self.heard.pop_front()
    }

    /// Counts client and server transactions, among them INVITEs that were given up and are only
    /// remembered.
    pub fn counts(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    /// Counts timers.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }
    #[cfg(test)]
    pub(super) fn indexed(&self) -> (usize, usize) {
        (self.clients.indexed(), self.servers.indexed())
    }

    fn parts<'a>(
        &'a mut self,
        now: Time,
        out: &'a mut VecDeque<Output>,
    ) -> (&'a mut Clients<C>, &'a mut Servers<S>, Effects<'a, C, S>) {
        let effects = Effects {
            settings: self.settings,
            now,
            timers: &mut self.timers,
            heard: &mut self.heard,
            out,
        };
        (&mut self.clients, &mut self.servers, effects)
    }
}
