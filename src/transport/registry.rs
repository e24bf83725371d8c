//! What all shards must know of each other's connections: who has one to a peer, and how many there are.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use sha2::{Digest, Sha256};

use super::troubles::Troubles;
use crate::engine::ids::{ConnectionId, Flow, Transport};
use crate::gate::Source;

/// The number within a shard has this many bits; the shard stands above it.
const NUMBER_BITS: u32 = 48;

/// Hosts that TLS connections are opened to, as far as they are remembered.
const HOSTS_MAX: usize = 10_000;
/// Names of one certificate that its holder is reached by over its own connection.
const ALIASES_MAX: usize = 8;

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
    /// Which connection a host has proved itself on, by address and host.
    to_hosts: DashMap<(SocketAddr, ConnectionId), ConnectionId>,
    hosts: DashMap<ConnectionId, Box<str>>,
    /// Of those whose handshakes came to nothing.
    pub troubles: Troubles,
    /// The names in the certificates that peers have proved to hold.
    vouched: DashMap<ConnectionId, Arc<[Box<str>]>>,
    /// Of connections that their clients take requests over: what they are found under in `to_hosts`.
    aliases: DashMap<ConnectionId, Vec<(SocketAddr, ConnectionId)>>,
    by_source: DashMap<Source, usize>,
    accepted: AtomicUsize,
    opened: AtomicUsize,
    max: AtomicUsize,
    max_by_ip: AtomicUsize,
}

/// Of the places for who connects to us, one in so many is kept for trusted peers.
const RESERVE: usize = 10;

/// Who connects to us, as far as its address tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    Stranger,
    Trusted,
}

/// How a connection came about; each kind has a limit of its own, so that nobody who connects to us can
/// keep us from connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Accepted,
    Opened,
}

impl Registry {
    /// Makes an empty one: at most `max` connections of either origin, a tenth of them for trusted peers alone,
    /// and `max_by_ip` accepted ones of a stranger's IPv4 address or IPv6 /64.
    pub fn new(max: usize, max_by_ip: usize) -> Self {
        Self {
            open: DashMap::new(),
            to_hosts: DashMap::new(),
            hosts: DashMap::new(),
            troubles: Troubles::default(),
            vouched: DashMap::new(),
            aliases: DashMap::new(),
            by_source: DashMap::new(),
            accepted: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            max_by_ip: AtomicUsize::new(max_by_ip),
        }
    }

    /// Changes the limits for who comes from now on: nobody who is there has to go.
    pub fn limit(&self, max: usize, max_by_ip: usize) {
        self.max.store(max, Ordering::Relaxed);
        self.max_by_ip.store(max_by_ip, Ordering::Relaxed);
    }

    /// Returns the open connection to a peer.
    pub fn find(&self, transport: Transport, peer: SocketAddr) -> Option<Flow> {
        self.open.get(&(transport, peer)).map(|flow| *flow)
    }

    /// Takes a place for a connection. Every true is given back by `release`.
    pub(super) fn admit(&self, origin: Origin, guest: Guest) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let most = match (origin, guest) {
            (Origin::Accepted, Guest::Stranger) => max - max / RESERVE,
            (Origin::Accepted, Guest::Trusted) | (Origin::Opened, _) => max,
        };
        let count = self.count(origin);
        let free = count.fetch_add(1, Ordering::Relaxed) < most;
        if !free {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        free
    }

    /// Returns true where nine of ten places for strangers are taken.
    pub(super) fn is_short(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let most = max - max / RESERVE;
        self.accepted.load(Ordering::Relaxed) >= most - most / 10
    }

    /// Takes a place of those that the source of a client has.
    pub(super) fn admit_client(&self, ip: IpAddr, guest: Guest) -> bool {
        let mut of_source = self.by_source.entry(Source::of(ip)).or_insert(0);
        let max_by_ip = self.max_by_ip.load(Ordering::Relaxed);
        let free = guest == Guest::Trusted || *of_source < max_by_ip;
        if free {
            *of_source += 1;
        }
        free
    }

    /// Gives the places of a connection back.
    pub(super) fn release(&self, origin: Origin, client: Option<IpAddr>) {
        self.count(origin).fetch_sub(1, Ordering::Relaxed);
        let Some(ip) = client else { return };
        if let Entry::Occupied(mut of_source) = self.by_source.entry(Source::of(ip)) {
            *of_source.get_mut() -= 1;
            if *of_source.get() == 0 {
                of_source.remove();
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

    /// Names whichever connection a host has proved itself on. None where too many hosts are known, or one
    /// has the hash of another.
    pub fn to_host(&self, host: &str) -> Option<ConnectionId> {
        let host = host.to_ascii_lowercase();
        let hash = Sha256::digest(host.as_bytes());
        let (first, _) = hash.split_first_chunk::<8>()?;
        let id = ConnectionId::to_host(u64::from_be_bytes(*first));
        if let Some(known) = self.hosts.get(&id) {
            return (**known == *host).then_some(id);
        }
        if self.hosts.len() >= HOSTS_MAX {
            // Those that are in use are named again by the next request to them.
            self.hosts.clear();
        }
        self.hosts.insert(id, host.into());
        Some(id)
    }

    /// Returns the host that a connection has to belong to.
    pub fn host(&self, id: ConnectionId) -> Option<Box<str>> {
        self.hosts.get(&id).map(|host| host.clone())
    }

    pub(super) fn find_to_host(
        &self,
        peer: SocketAddr,
        host: ConnectionId,
    ) -> Option<ConnectionId> {
        self.to_hosts.get(&(peer, host)).map(|id| *id)
    }

    /// As `claim`, of a connection on which the peer is to prove that it is a host.
    pub(super) fn claim_to_host(
        &self,
        peer: SocketAddr,
        host: ConnectionId,
        id: ConnectionId,
    ) -> Result<(), ConnectionId> {
        match self.to_hosts.entry((peer, host)) {
            Entry::Occupied(held) => Err(*held.get()),
            Entry::Vacant(free) => {
                free.insert(id);
                Ok(())
            }
        }
    }

    /// Returns the names that the peer of a connection has proved by its certificate (RFC 5922 7.1).
    pub fn vouched(&self, connection: ConnectionId) -> Option<Arc<[Box<str>]>> {
        if connection.is_to_host() {
            return self.host(connection).map(|host| [host].into());
        }
        self.vouched.get(&connection).map(|names| names.clone())
    }

    pub(super) fn vouch(&self, connection: ConnectionId, names: Vec<Box<str>>) {
        self.vouched.insert(connection, names.into());
    }

    /// The client of a connection takes requests over it that are for a port at its own address, and for a host
    /// that its certificate names (RFC 5923 8.2). Nothing without a certificate, and nothing where there is a
    /// connection to that host already.
    pub fn alias(&self, flow: &Flow, port: u16) {
        let Some(id) = flow.connection.filter(|id| !id.is_to_host()) else {
            return;
        };
        if self.aliases.contains_key(&id) {
            return;
        }
        let Some(names) = self.vouched.get(&id).map(|names| names.clone()) else {
            return;
        };
        let peer = SocketAddr::new(flow.peer.ip(), port);
        // A user is no host, and a name with a pattern is nobody's.
        let named = names.iter().filter(|name| !name.contains(['@', '*']));
        let hosts = named
            .take(ALIASES_MAX)
            .filter_map(|name| self.to_host(name));
        let claimed = hosts.filter(|host| self.claim_to_host(peer, *host, id).is_ok());
        let held: Vec<_> = claimed.map(|host| (peer, host)).collect();
        self.aliases.insert(id, held);
        if !self.vouched.contains_key(&id) {
            // It has closed meanwhile.
            self.unalias(id);
        }
    }

    /// Forgets what else a connection is found under. Returns that, as the peer and the host.
    pub(super) fn unalias(&self, id: ConnectionId) -> Vec<(SocketAddr, ConnectionId)> {
        let held = self.aliases.remove(&id);
        let held = held.map(|(_, held)| held).unwrap_or_default();
        for known in &held {
            self.to_hosts.remove_if(known, |_, found| *found == id);
        }
        held
    }

    /// Forgets a connection of a flow.
    pub(super) fn forget(&self, flow: &Flow, id: ConnectionId) {
        self.vouched.remove(&id);
        if let Some(host) = flow.connection.filter(|named| named.is_to_host()) {
            let own = |_: &_, held: &ConnectionId| *held == id;
            self.to_hosts.remove_if(&(flow.peer, host), own);
            return;
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
        for last in [1, 1, 2] {
            assert!(
                registry.admit(Origin::Accepted, Guest::Stranger)
                    && registry.admit_client(ip(last), Guest::Stranger)
            );
        }
        assert!(
            !registry.admit_client(ip(1), Guest::Stranger),
            "two an address"
        );
        assert!(
            !registry.admit(Origin::Accepted, Guest::Stranger),
            "three in all"
        );
        assert!(
            registry.admit(Origin::Opened, Guest::Stranger),
            "counted apart"
        );
        registry.release(Origin::Accepted, Some(ip(1)));
        assert!(
            registry.admit(Origin::Accepted, Guest::Stranger)
                && registry.admit_client(ip(3), Guest::Stranger)
        );
        // Who is there stays where there may be fewer, and more may come where there may be more.
        for (max, free) in [(2, false), (4, true)] {
            registry.limit(max, 2);
            assert_eq!(registry.admit(Origin::Accepted, Guest::Stranger), free);
        }
        registry.release(Origin::Accepted, None);
        for last in [1, 2, 3] {
            registry.release(Origin::Accepted, Some(ip(last)));
        }
        assert!(registry.by_source.is_empty());
    }

    #[test]
    fn strangers_leave_a_tenth_to_trusted_peers() {
        let registry = Registry::new(20, 2);
        let admit = |guest| registry.admit(Origin::Accepted, guest);
        assert_eq!((0..30).filter(|_| admit(Guest::Stranger)).count(), 18);
        assert_eq!((0..30).filter(|_| admit(Guest::Trusted)).count(), 2);
        assert!(registry.admit(Origin::Opened, Guest::Stranger));
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert!((0..9).all(|_| registry.admit_client(peer, Guest::Trusted)));
        assert!(!registry.admit_client(peer, Guest::Stranger));
        for _ in 0..9 {
            registry.release(Origin::Accepted, Some(peer));
        }
        assert!(registry.by_source.is_empty());
        assert!(admit(Guest::Stranger));
    }

    #[test]
    fn whoever_has_a_network_is_one_source() {
        let registry = Registry::new(9, 2);
        let admitted =
            |address: &str| registry.admit_client(address.parse().unwrap(), Guest::Stranger);
        assert!(admitted("2001:db8:1:2::1") && admitted("2001:db8:1:2:3:4:5:6"));
        assert!(!admitted("2001:db8:1:2::7"));
        assert!(admitted("2001:db8:1:3::1"), "another customer");
        assert!(admitted("192.0.2.1") && admitted("::ffff:192.0.2.1"));
        assert!(!admitted("192.0.2.1"));
        assert!(registry.admit(Origin::Accepted, Guest::Stranger));
        registry.release(
            Origin::Accepted,
            Some("2001:db8:1:2::ffff".parse().unwrap()),
        );
        assert!(admitted("2001:db8:1:2::7"));
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
        registry.forget(&flow(2), ConnectionId(2));
        assert_eq!(registry.find(Transport::Tcp, flow(1).peer), Some(flow(1)));
        registry.forget(&flow(1), ConnectionId(1));
        assert_eq!(registry.find(Transport::Tcp, flow(1).peer), None);
    }

    #[test]
    fn a_host_is_named_by_itself_and_has_a_connection_at_each_address() {
        let registry = Registry::new(9, 9);
        let (a, b) = (
            registry.to_host("PBX.example").unwrap(),
            registry.to_host("b.example").unwrap(),
        );
        assert!(a.is_to_host() && a != b && !ConnectionId(5).is_to_host());
        assert_eq!(registry.to_host("pbx.EXAMPLE"), Some(a));
        assert_eq!(registry.host(a).as_deref(), Some("pbx.example"));
        let at = |last| SocketAddr::from(([127, 0, 0, last], 5061));
        assert_eq!(registry.claim_to_host(at(1), a, ConnectionId(1)), Ok(()));
        assert_eq!(
            registry.claim_to_host(at(1), a, ConnectionId(2)),
            Err(ConnectionId(1))
        );
        assert_eq!(registry.find_to_host(at(1), b), None, "of another name");
        assert_eq!(registry.find_to_host(at(2), a), None, "at another address");
        let flow = Flow {
            transport: Transport::Tls,
            listener: ListenerId(0),
            peer: at(1),
            connection: Some(a),
        };
        registry.forget(&flow, ConnectionId(2));
        assert_eq!(registry.find_to_host(at(1), a), Some(ConnectionId(1)));
        registry.forget(&flow, ConnectionId(1));
        assert_eq!(registry.find_to_host(at(1), a), None);
        for number in 0..2 * HOSTS_MAX {
            assert!(registry.to_host(&format!("h{number}.example")).is_some());
        }
        assert!(registry.hosts.len() <= HOSTS_MAX);
    }
}
