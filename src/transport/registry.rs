//! What all shards must know of each other's connections: who has one to a peer, and how many there are.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};

use crate::engine::ids::{ConnectionId, Flow, Transport};

/// The number within a shard has this many bits; the shard stands above it.
const NUMBER_BITS: u32 = 48;

/// Returns the worker that owns a connection.
pub fn worker_of(id: ConnectionId) -> usize {
    (id.0 >> NUMBER_BITS) as usize
}

pub(super) fn connection_id(worker: usize, number: u64) -> ConnectionId {
    ConnectionId((worker as u64) << NUMBER_BITS | number)
}

pub(super) fn number_of(id: ConnectionId) -> u64 {
    id.0 & ((1 << NUMBER_BITS) - 1)
}

/// Open connections by peer, and the limits on them. Shared by all shards.
#[derive(Debug)]
pub struct Registry {
    open: DashMap<(Transport, SocketAddr), Flow>,
    /// The names in the certificates that peers have proved to hold.
    vouched: DashMap<ConnectionId, Arc<[Box<str>]>>,
    by_ip: DashMap<IpAddr, usize>,
    accepted: AtomicUsize,
    opened: AtomicUsize,
    max: usize,
    max_by_ip: usize,
}

/// How a connection came about; each kind has a limit of its own, so that nobody who connects to us can
/// keep us from connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Accepted,
    Opened,
}

impl Registry {
    /// Makes an empty one: at most `max` connections of either origin, `max_by_ip` accepted ones of an
    /// address.
    pub fn new(max: usize, max_by_ip: usize) -> Self {
        Self {
            open: DashMap::new(),
            vouched: DashMap::new(),
            by_ip: DashMap::new(),
            accepted: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            max,
            max_by_ip,
        }
    }

    /// Returns the open connection to a peer.
    pub fn find(&self, transport: Transport, peer: SocketAddr) -> Option<Flow> {
        self.open.get(&(transport, peer)).map(|flow| *flow)
    }

    /// Takes a place for a connection. Every true is given back by `release`.
    pub(super) fn admit(&self, origin: Origin, ip: IpAddr) -> bool {
        let count = self.count(origin);
        if count.fetch_add(1, Ordering::Relaxed) >= self.max {
            count.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if origin == Origin::Opened {
            return true;
        }
        let mut of_ip = self.by_ip.entry(ip).or_insert(0);
        if *of_ip >= self.max_by_ip {
            count.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        *of_ip += 1;
        true
    }

    pub(super) fn release(&self, origin: Origin, ip: IpAddr) {
        self.count(origin).fetch_sub(1, Ordering::Relaxed);
        if origin == Origin::Opened {
            return;
        }
        if let Entry::Occupied(mut of_ip) = self.by_ip.entry(ip) {
            *of_ip.get_mut() -= 1;
            if *of_ip.get() == 0 {
                of_ip.remove();
            }
        }
    }

    /// Makes a connection the one that its peer is reached by. Where there is one already, it stays,
    /// and is returned.
    pub(super) fn claim(&self, flow: Flow) -> Result<(), Flow> {
        match self.open.entry((flow.transport, flow.peer)) {
            Entry::Occupied(held) => Err(*held.get()),
            Entry::Vacant(free) => {
                free.insert(flow);
                Ok(())
            }
        }
    }

    /// Returns the names that the peer of a connection has proved by its certificate (RFC 5922 7.1).
    pub fn vouched(&self, connection: ConnectionId) -> Option<Arc<[Box<str>]>> {
        self.vouched.get(&connection).map(|names| names.clone())
    }

    pub(super) fn vouch(&self, connection: ConnectionId, names: Vec<Box<str>>) {
        self.vouched.insert(connection, names.into());
    }

    pub(super) fn forget(&self, flow: &Flow) {
        if let Some(connection) = &flow.connection {
            self.vouched.remove(connection);
        }
        self.open
            .remove_if(&(flow.transport, flow.peer), |_, held| {
                held.connection == flow.connection
            });
    }

    fn count(&self, origin: Origin) -> &AtomicUsize {
        match origin {
            Origin::Accepted => &self.accepted,
            Origin::Opened => &self.opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::ListenerId;

    #[test]
    fn a_connection_names_its_worker() {
        let id = connection_id(5, 77);
        assert_eq!((worker_of(id), number_of(id)), (5, 77));
    }

    #[test]
    fn limits_hold_and_places_come_back() {
        let registry = Registry::new(3, 2);
        let ip = |last| IpAddr::from([127, 0, 0, last]);
        assert!(registry.admit(Origin::Accepted, ip(1)));
        assert!(registry.admit(Origin::Accepted, ip(1)));
        assert!(!registry.admit(Origin::Accepted, ip(1)), "two an address");
        assert!(registry.admit(Origin::Accepted, ip(2)));
        assert!(!registry.admit(Origin::Accepted, ip(3)), "three in all");
        assert!(registry.admit(Origin::Opened, ip(1)), "counted apart");
        registry.release(Origin::Accepted, ip(1));
        assert!(registry.admit(Origin::Accepted, ip(3)));
        for last in [1, 2, 3] {
            registry.release(Origin::Accepted, ip(last));
        }
        assert!(registry.by_ip.is_empty());
    }

    #[test]
    fn the_first_connection_to_a_peer_stays() {
        let registry = Registry::new(9, 9);
        let flow = |number| Flow {
            transport: Transport::Tcp,
            listener: ListenerId(0),
            peer: ([127, 0, 0, 1], 5060).into(),
            connection: Some(ConnectionId(number)),
        };
        assert_eq!(registry.claim(flow(1)), Ok(()));
        assert_eq!(registry.claim(flow(2)), Err(flow(1)));
        registry.forget(&flow(2));
        assert_eq!(registry.find(Transport::Tcp, flow(1).peer), Some(flow(1)));
        registry.forget(&flow(1));
        assert_eq!(registry.find(Transport::Tcp, flow(1).peer), None);
    }
}
