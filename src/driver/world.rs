//! What an engine asks for and needs at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::engine::board::{Light, LightKey};
use crate::engine::endpoint::Binding;
use crate::engine::ids::{
    Aor, ConnectionId, ConversationId, Flow, GruuKey, ListenerId, NonceId, Transport,
};
use crate::engine::ports::World;
use crate::engine::time::{Millis, Time};
use crate::transport::{Bound, toward};

use super::shared::{Shared, can_open};

/// Peers whose local address is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// AORs looked at that are registered over one flow.
const BOUND_MAX: usize = 8;

/// The world of one shard.
pub(super) struct Site {
    shared: Arc<Shared>,
    worker: usize,
    /// The kernel's answers by peer. Forgotten now and then: routes change.
    local: RefCell<BTreeMap<IpAddr, Option<IpAddr>>>,
}

impl Site {
    pub(super) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        Self {
            shared,
            worker,
            local: RefCell::default(),
        }
    }

    /// Asks the kernel anew from now on.
    pub(super) fn forget_routes(&self) {
        self.local.borrow_mut().clear();
    }

    fn local(&self, peer: IpAddr) -> Option<IpAddr> {
        let mut local = self.local.borrow_mut();
        if let Some(known) = local.get(&peer) {
            return *known;
        }
        if local.len() >= REMEMBERED_MAX {
            local.clear();
        }
        let found = toward(peer);
        local.insert(peer, found);
        found
    }
}

impl World for Site {
    fn advertised(&self, flow: &Flow) -> SocketAddr {
        let known = self.shared.listener(flow.listener);
        // A flow of a former life may name a listener that is no more.
        let Some(bound) = known.or_else(|| self.shared.listeners.first()) else {
            return SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        };
        if let Some(told) = bound.listener.advertise {
            return told;
        }
        if !bound.at.ip().is_unspecified() {
            return bound.at;
        }
        let ip = self.local(flow.peer.ip());
        SocketAddr::new(ip.unwrap_or_else(|| bound.at.ip()), bound.at.port())
    }

    fn spoken(&self, flow: &Flow) -> Transport {
        let known = self.shared.listener(flow.listener);
        known
            .filter(|bound| bound.listener.transport == flow.transport)
            .map_or(flow.transport, |bound| bound.listener.spoken)
    }

    fn is_ours(&self, ip: IpAddr) -> bool {
        let told = |bound: &Bound| {
            let told = bound.listener.advertise.map(|told| told.ip());
            bound.at.ip() == ip || told == Some(ip)
        };
        // What is sent to an address of this host comes from that.
        self.shared.listeners.iter().any(told) || self.local(ip) == Some(ip)
    }

    fn listens_on(&self, port: u16) -> bool {
        self.shared.listeners.iter().any(|bound| {
            let told = bound.listener.advertise.map(|told| told.port());
            bound.at.port() == port || told == Some(port)
        })
    }

    fn shown(&self, at: Time) -> Time {
        self.shared.clock.by_the_wall()(at)
    }

    fn flow_to(
        &self,
        transport: Transport,
        peer: SocketAddr,
        host: &str,
        from: Option<ListenerId>,
    ) -> Option<Flow> {
        let registry = &self.shared.registry;
        let connection = match transport {
            // Whoever came from there need not be the host.
            Transport::Tls => Some(registry.to_host(host)?),
            Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => None,
        };
        if connection.is_none()
            && let Some(open) = self.open_to(transport, peer)
        {
            return Some(open);
        }
        if !can_open(transport) {
            return None;
        }
        let local = self.local(peer.ip());
        let listener = self
            .shared
            .listener_toward(transport, peer, (local, from))?;
        Some(Flow {
            transport,
            listener,
            peer,
            connection,
        })
    }

    fn open_to(&self, transport: Transport, peer: SocketAddr) -> Option<Flow> {
        let reliable = transport.is_reliable();
        reliable.then(|| self.shared.registry.find(transport, peer))?
    }

    fn vouched(&self, connection: ConnectionId) -> Option<Arc<[Box<str>]>> {
        // A host that we connected to is known by other CAs than clients are.
        let accepted = !connection.is_to_host();
        accepted.then(|| self.shared.registry.vouched(connection))?
    }

    fn alias(&self, flow: &Flow, port: u16) {
        self.shared.registry.alias(flow, port);
    }

    fn offers_alias(&self, flow: &Flow) -> bool {
        let ours = self.shared.tls.as_ref().is_some_and(|tls| tls.has_own());
        ours && flow.connection.is_some_and(ConnectionId::is_to_host)
    }

    fn gruu_key(&self) -> GruuKey {
        self.shared.gruu_key
    }

    fn bindings(&self, aor: &Aor) -> Vec<Binding> {
        self.shared.bindings.of(aor)
    }

    fn bound_over(&self, flow: &Flow) -> Vec<Aor> {
        self.shared.bindings.over(flow, BOUND_MAX)
    }

    fn leg(&mut self, peer: u64, begins: bool) {
        self.shared.legs.0.count(peer, begins);
    }

    fn legs(&self, peer: u64) -> u32 {
        self.shared.legs.0.of(peer)
    }

    fn half(&mut self, number: u64, half: ConversationId, begins: bool) {
        self.shared.halves.change(number, half, begins);
    }

    fn halves(&self, number: u64) -> Vec<ConversationId> {
        self.shared.halves.of(number)
    }

    fn rings(&mut self, asker: u64, begins: bool) {
        self.shared.ringing.count(asker, begins);
    }

    fn ringing(&self, asker: u64) -> usize {
        self.shared.ringing.of(asker) as usize
    }

    fn stands(&mut self, asker: u64, begins: bool) {
        self.shared.standing.count(asker, begins);
    }

    fn standing(&self, asker: u64) -> usize {
        self.shared.standing.of(asker) as usize
    }

    fn streams(&mut self, asker: u64, begins: bool) {
        self.shared.streams.count(asker, begins);
    }

    fn streaming(&self, asker: u64) -> usize {
        self.shared.streams.of(asker) as usize
    }

    fn elsewhere(&self) -> usize {
        self.shared.conversations.beside(self.worker)
    }

    fn mark(&mut self, number: u64, span: Millis, now: Time) {
        self.shared.gate.mark(number, span, now);
    }

    fn is_marked(&self, number: u64, now: Time) -> bool {
        self.shared.gate.is_marked(number, now)
    }

    fn show(&mut self, user: &Aor, call: LightKey, light: Option<Light>) -> bool {
        self.shared.boards.show(user, call, light)
    }

    fn lights(&self, user: &Aor) -> Vec<(LightKey, Light)> {
        self.shared.boards.lights(user)
    }

    fn watch(&mut self, watcher: &Aor, user: &Aor, begins: bool) {
        self.shared.boards.watch(watcher, user, begins);
    }

    fn watching(&self, watcher: &Aor) -> usize {
        self.shared.boards.watching(watcher)
    }

    fn spend(&self, nonce: NonceId, count: u32, now: Time) -> bool {
        self.shared.spent.spend(nonce, count, now)
    }

    fn change_bindings(&mut self, aor: &Aor, act: &mut dyn FnMut(&mut Vec<Binding>)) {
        self.shared.bindings.change(aor, act);
    }

    fn expired(&mut self, now: Time) -> Vec<Aor> {
        self.shared.bindings.expired(self.worker, now)
    }
}
