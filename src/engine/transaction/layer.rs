//! The layer: which transaction a message belongs to, and when its timers go off.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;

use super::slab::Slab;
use super::{ClientId, Heard, ServerId};
use crate::engine::ids::{ConnectionId, Flow, Transport};
use crate::engine::ports::Output;
use crate::engine::settings::TimerSettings;
use crate::engine::time::Time;
use crate::engine::timers::Timers;
use crate::sip::Message;

/// The transactions of one shard.
///
/// Whatever is called, what is to be sent is appended to `out` in order, and what the user is told
/// waits in `poll_heard`.
pub struct Transactions<C, S> {
    settings: TimerSettings,
    clients: Slab<C>,
    servers: Slab<Option<S>>,
    timers: Timers<()>,
    heard: VecDeque<Heard<C, S>>,
}

impl<C: Clone, S: Clone> Transactions<C, S> {
    /// Makes a layer without transactions.
    pub fn new(settings: TimerSettings, now: Time) -> Self {
        Self {
            settings,
            clients: Slab::new(),
            servers: Slab::new(),
            timers: Timers::new(now),
            heard: VecDeque::new(),
        }
    }

    /// Takes a message that came over `flow`.
    pub fn receive(&mut self, message: Message, flow: Flow, now: Time, out: &mut VecDeque<Output>) {
        let _ = (message, flow, now, out, self.settings);
    }

    /// Takes the news that nothing reaches a peer (ICMP), or that a connection closed or could not be
    /// opened; without a connection every flow to that peer is meant.
    pub fn flow_failed(
        &mut self,
        transport: Transport,
        peer: SocketAddr,
        connection: Option<ConnectionId>,
        now: Time,
        out: &mut VecDeque<Output>,
    ) {
        let _ = (transport, peer, connection, now, out);
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
        let _ = (bytes, flow, now, out);
        ClientId(self.clients.insert(context))
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
        let _ = (client, reason, now, out);
    }

    /// Keeps something with a server transaction.
    pub fn bind(&mut self, server: ServerId, context: S) {
        if let Some(kept) = self.servers.get_mut(server.0) {
            *kept = Some(context);
        }
    }

    /// Returns a request and the flow it came over, until its final response.
    pub fn request_of(&self, server: ServerId) -> Option<(&Message, Flow)> {
        let _ = server;
        None
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
        let _ = (server, status, bytes, now, out);
    }

    /// The dialog saw the ACK of a 2xx.
    pub fn acknowledged(&mut self, server: ServerId) {
        let _ = server;
    }

    /// Fires what is due. Call it when `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Time, out: &mut VecDeque<Output>) {
        let _ = (now, out);
    }

    /// Returns when `handle_timeout` wants to be called, if ever.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next_due()
    }

    /// Returns what the user is to be told next.
    pub fn poll_heard(&mut self) -> Option<Heard<C, S>> {
        self.heard.pop_front()
    }

    /// Counts client and server transactions.
    pub fn counts(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    /// Counts timers.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }
}
