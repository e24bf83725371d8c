//! What the engine asks for and needs at once: bindings, flows, addresses.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use refork::engine::endpoint::Binding;
use refork::engine::ids::{Aor, ConnectionId, Flow, GruuKey, ListenerId, NonceId, Transport};
use refork::engine::location::SpentNonces;
use refork::engine::ports::World;
use refork::engine::time::Time;

pub(crate) const UDP: ListenerId = ListenerId(0);
pub(crate) const TCP: ListenerId = ListenerId(1);

pub(crate) struct Outside {
    pub(crate) server: SocketAddr,
    /// Where it is for who comes over TCP.
    by_tcp: SocketAddr,
    bindings: BTreeMap<Aor, Vec<Binding>>,
    /// Open connections by their far end.
    pub(crate) connections: BTreeMap<SocketAddr, ConnectionId>,
    spent: RefCell<SpentNonces>,
}

impl Outside {
    pub(crate) fn new(server: SocketAddr, by_tcp: SocketAddr) -> Self {
        Self {
            server,
            by_tcp,
            bindings: BTreeMap::new(),
            connections: BTreeMap::new(),
            spent: RefCell::default(),
        }
    }

    pub(crate) fn bindings_left(&self) -> usize {
        self.bindings.values().map(Vec::len).sum()
    }
}

impl World for Outside {
    fn advertised(&self, flow: &Flow) -> SocketAddr {
        if flow.listener == TCP {
            self.by_tcp
        } else {
            self.server
        }
    }

    fn open_to(&self, transport: Transport, peer: SocketAddr) -> Option<Flow> {
        let open = self.flow_to(transport, peer, "", None);
        open.filter(|flow| flow.connection.is_some())
    }

    fn flow_to(
        &self,
        transport: Transport,
        peer: SocketAddr,
        _: &str,
        _: Option<ListenerId>,
    ) -> Option<Flow> {
        let (listener, connection) = match transport {
            Transport::Udp => (UDP, None),
            Transport::Tcp => (TCP, self.connections.get(&peer).copied()),
            Transport::Tls | Transport::Ws | Transport::Wss => return None,
        };
        Some(Flow {
            transport,
            listener,
            peer,
            connection,
        })
    }

    fn gruu_key(&self) -> GruuKey {
        GruuKey([9; 32])
    }

    fn bindings(&self, aor: &Aor) -> Vec<Binding> {
        self.bindings.get(aor).cloned().unwrap_or_default()
    }

    fn bound_over(&self, flow: &Flow) -> Vec<Aor> {
        let names = |binding: &Binding| binding.endpoint.flow.as_ref() == Some(flow);
        let all = self.bindings.iter();
        let over = all.filter(|(_, bindings)| bindings.iter().any(names));
        over.map(|(aor, _)| aor.clone()).collect()
    }

    fn spend(&self, nonce: NonceId, count: u32, now: Time) -> bool {
        self.spent.borrow_mut().spend(nonce, count, now)
    }

    fn change_bindings(&mut self, aor: &Aor, act: &mut dyn FnMut(&mut Vec<Binding>)) {
        let list = self.bindings.entry(aor.clone()).or_default();
        act(list);
        if list.is_empty() {
            self.bindings.remove(aor);
        }
    }

    fn expired(&mut self, now: Time) -> Vec<Aor> {
        self.bindings
            .iter()
            .filter(|(_, list)| list.iter().any(|binding| binding.expires <= now))
            .map(|(aor, _)| aor.clone())
            .collect()
    }
}
