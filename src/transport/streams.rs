//! The stream connections of one shard: accepted, opened, read, written, and closed in the end.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::event::Source;
use mio::{Interest, Token};
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::{NamedBy, TransportLimits};
use crate::engine::ids::{ConnectionId, Flow, ListenerId, Transport};
use crate::engine::time::{Millis, Time};
use crate::tls::Tls;

use super::bind::{Bound, mark};
use super::connection::{Connection, Reading, Who};
use super::counters::Counters;
use super::fault::{Fault, Refusal, Shake};
use super::layer::Layer;
use super::leaving::Leaving;
use super::registry::{Guest, Origin, Registry, connection_id, number_of, worker_of};
use super::speech::Speech;
use super::web::Door;
use super::yielding::{Views, Yielding};

/// Connections accepted from one listener before others have their turn.
const ACCEPT_PER_TURN: usize = 64;
/// How long opening a connection may take. Short of RFC 3261's 64*T1, so that another target is tried.
const OPEN_TIMEOUT: Millis = Millis::from_secs(5);
/// The kernel asks a silent peer whether it is there: a phone that lost its power says no farewell.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// What was sent must be acknowledged by then.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);
const ROOM_BYTES: usize = 16 * 1024;

/// What came out of a connection.
#[derive(Debug)]
pub enum StreamEvent {
    Message {
        flow: Flow,
        bytes: Bytes,
    },
    /// Keep-alives, which are answered.
    Pings {
        flow: Flow,
        count: usize,
    },
    /// Messages whose bodies were too large, which are answered.
    TooLarge {
        flow: Flow,
        count: usize,
    },
    /// Nothing comes from it any more: to be closed once the messages before are dealt with.
    Over {
        flow: Flow,
        connection: ConnectionId,
        fault: Fault,
    },
}

/// What became of something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    Done,
    /// The connection is this worker's.
    Elsewhere(usize),
    /// The flow's connection is long gone; nobody but the sender needs to be told.
    Gone,
    /// It broke just now, or could not be opened (then the flow names no connection).
    Closed(Flow),
}

#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Octets of a header, and of a body.
    pub message_size: usize,
    pub idle: Millis,
    pub header_timeout: Millis,
    /// How long who came may say nothing at all.
    pub first_message: Millis,
}

impl From<&TransportLimits> for StreamLimits {
    fn from(limits: &TransportLimits) -> Self {
        let millis = |span: Duration| Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        Self {
            message_size: limits.message_size,
            idle: millis(limits.idle),
            header_timeout: millis(limits.header_timeout),
            first_message: millis(limits.first_message),
        }
    }
}

/// The connections that belong to one shard.
pub struct Streams {
    pub(super) worker: usize,
    listeners: Arc<[Bound]>,
    pub(super) registry: Arc<Registry>,
    pub(super) counters: Arc<Counters>,
    pub(super) limits: StreamLimits,
    /// There where a listener needs it.
    tls: Option<Arc<Tls>>,
    pub(super) poll: mio::Registry,
    /// Connection `n` has the token `first_token + n`.
    pub(super) first_token: usize,
    next: u64,
    /// Who was turned away last, and why, until somebody asks.
    refused: Option<(SocketAddr, Refusal)>,
    pub(super) open: BTreeMap<u64, Connection>,
    pub(super) leaving: BTreeMap<u64, Leaving>,
    pub(super) yielding: Yielding,
    pub(super) unaliased: Vec<Flow>,
    pub(super) room: Box<[u8]>,
}

impl Streams {
    /// Makes an empty table; connections are registered with `poll` from `first_token` on.
    pub fn new(
        worker: usize,
        listeners: Arc<[Bound]>,
        registry: Arc<Registry>,
        counters: Arc<Counters>,
        limits: StreamLimits,
        tls: Option<Arc<Tls>>,
        poll: mio::Registry,
        first_token: usize,
    ) -> Self {
        Self {
            worker,
            listeners,
            registry,
            counters,
            limits,
            tls,
            poll,
            first_token,
            next: 0,
            refused: None,
            open: BTreeMap::new(),
            leaving: BTreeMap::new(),
            yielding: Yielding::default(),
            unaliased: Vec::new(),
            room: vec![0; ROOM_BYTES].into(),
        }
    }

    /// Accepts what waits, within the limits and of peers that somebody admits. Returns true where more may wait.
    pub fn accept(
        &mut self,
        socket: &mio::net::TcpListener,
        listener: ListenerId,
        now: Time,
        views: &Views<'_>,
    ) -> bool {
        let bound = self.listeners.get(usize::from(listener.0));
        let transport = bound.map_or(Transport::Tcp, |bound| bound.listener.transport);
        let proxies = bound.and_then(|bound| bound.listener.proxies.clone());
        for _ in 0..ACCEPT_PER_TURN {
            // None waits, or there are no descriptors left: then housekeeping looks again, lest the
            // shard spin.
            let Ok((stream, peer)) = socket.accept() else {
                return false;
            };
            let flow = Flow {
                transport,
                listener,
                peer,
                connection: Some(connection_id(self.worker, self.next)),
            };
            let by_proxy = proxies.as_ref().filter(|proxies| proxies.hold(peer.ip()));
            let who = match (&proxies, by_proxy.map(|proxies| proxies.by)) {
                (_, Some(NamedBy::ProxyProtocol)) => Who::Header(Vec::new()),
                (_, Some(NamedBy::Header(_))) => Who::Request,
                // Whoever came past the proxies could say that it is anybody.
                (Some(proxies), None) if proxies.by == NamedBy::ProxyProtocol => {
                    self.refuse(peer, Refusal::NotAProxy);
                    continue;
                }
                (_, None) => Who::Known,
            };
            // A client is asked for once it is known.
            let client = matches!(who, Who::Known).then_some(peer.ip());
            let guest = match client {
                Some(_) => (views.admits)(&flow),
                None => Some(Guest::Stranger),
            };
            let Some(guest) = guest else {
                self.refuse(peer, Refusal::Gate);
                continue;
            };
            if let Err(why) = self.admit(client, guest, now, views) {
                self.refuse(peer, why);
                continue;
            }
            tune(&stream);
            let Some(layer) = self.layer_of_server(transport) else {
                self.registry.release(Origin::Accepted, client);
                continue;
            };
            if let Ok(ready) = self.add(flow, Origin::Accepted, client, stream, layer, who, now) {
                Counters::add(&self.counters.accepted);
                if ready {
                    // Another connection with the same address and port can't be open.
                    let _ = self.registry.claim(flow);
                }
            }
        }
        true
    }

    fn refuse(&mut self, peer: SocketAddr, why: Refusal) {
        self.counters.refuse(why);
        self.refused = Some((peer, why));
    }

    /// Returns who was turned away last since this was asked.
    pub fn take_refused(&mut self) -> Option<(SocketAddr, Refusal)> {
        self.refused.take()
    }

    /// Reads and writes what the poll says is possible. Returns true where more may be there to read. Who is
    /// named by a proxy must be one that somebody admits.
    pub fn ready(
        &mut self,
        token: Token,
        now: Time,
        views: &Views<'_>,
        into: &mut Vec<StreamEvent>,
    ) -> bool {
        let number = (token.0 - self.first_token) as u64;
        let Some(connection) = self.open.get_mut(&number) else {
            return false;
        };
        let flow = connection.flow;
        let connection_id = connection_id(self.worker, number);
        let over = |counters: &Counters, flow, fault| {
            counters.ended(fault);
            StreamEvent::Over {
                flow,
                connection: connection_id,
                fault,
            }
        };
        let written = if connection.is_opening() {
            connection.finish_opening(now)
        } else {
            connection.flush(now)
        };
        if let Err(fault) = written {
            into.push(over(&self.counters, flow, fault));
            return false;
        }
        if connection.is_opening() {
            return false;
        }
        let (mut messages, shaking) = (Vec::new(), connection.is_shaking());
        let accepted_from = connection.accepted_from;
        let reading = connection.read(&mut self.room, now, &mut messages);
        let named = connection.take_named();
        if let Some(peer) = named {
            let named = Flow { peer, ..flow };
            let refusal = match (views.admits)(&named) {
                None => Some(Refusal::Gate),
                Some(guest) => {
                    let admitted = self.admit_client(peer.ip(), guest, now, views);
                    (!admitted).then_some(Refusal::LimitPerIp)
                }
            };
            if let Some(why) = refusal {
                into.push(over(&self.counters, flow, Fault::Ended));
                self.refuse(peer, why);
                return false;
            }
            // It has said who it is just now, and so is not the one that gave way.
            let Some(connection) = self.open.get_mut(&number) else {
                return false;
            };
            connection.client = Some(peer.ip());
        }
        let Some(connection) = self.open.get_mut(&number) else {
            return false;
        };
        let flow = connection.flow;
        let is_new = shaking && !connection.is_shaking();
        if is_new && self.registry.greeted(connection).is_err() && flow.peer != accepted_from {
            // Of two clients that nobody could tell apart the second has to come again.
            into.push(over(&self.counters, flow, Fault::Ended));
            return false;
        }
        let pings = connection.take_pings();
        into.extend(pings.map(|count| StreamEvent::Pings { flow, count }));
        let oversized = connection.take_oversized();
        into.extend(oversized.map(|count| StreamEvent::TooLarge { flow, count }));
        let message = |bytes| StreamEvent::Message { flow, bytes };
        into.extend(messages.into_iter().map(message));
        match reading {
            Reading::Drained => false,
            Reading::More => true,
            Reading::Over(fault) => {
                into.push(over(&self.counters, flow, fault));
                false
            }
        }
    }

    /// The connection is not read for a while, through no fault of its peer's: until it is read again, it has
    /// all the time that it had.
    pub fn pause(&mut self, token: Token, now: Time) {
        let number = token.0.checked_sub(self.first_token).map(|n| n as u64);
        if let Some(connection) = number.and_then(|number| self.open.get_mut(&number)) {
            connection.pause(now);
        }
    }

    /// Returns false while a proxy has yet to say whom a connection is from: its flow names the proxy, of whom
    /// nothing that comes over it tells anything.
    pub fn is_known(&self, token: Token) -> bool {
        let number = token.0.checked_sub(self.first_token).map(|n| n as u64);
        let connection = number.and_then(|number| self.open.get(&number));
        connection.is_some_and(Connection::is_known)
    }

    /// Returns the flow of a connection.
    pub fn flow_of(&self, token: Token) -> Option<Flow> {
        let number = token.0.checked_sub(self.first_token)? as u64;
        Some(self.open.get(&number)?.flow)
    }

    /// Closes every connection that is to be closed, of those that are known.
    pub fn close_where(&mut self, is_closed: &dyn Fn(&Flow) -> bool) -> Vec<Flow> {
        let known = self
            .open
            .values()
            .filter(|connection| connection.is_known());
        let flows = known.map(|connection| connection.flow);
        let ids: Vec<_> = flows
            .filter(is_closed)
            .filter_map(|flow| flow.connection)
            .collect();
        ids.into_iter().filter_map(|id| self.close(id)).collect()
    }

    /// Sends over the flow's connection, or over any to its peer, opening one where there is none.
    pub fn send(&mut self, flow: &Flow, bytes: Bytes, now: Time) -> Carried {
        let known = match flow.connection {
            Some(host) if host.is_to_host() => self.registry.find_to_host(flow.peer, host),
            Some(id) => Some(id),
            None => {
                let found = self.registry.find(flow.transport, flow.peer);
                found.and_then(|found| found.connection)
            }
        };
        let Some(id) = known else {
            return self.open(flow, bytes, now);
        };
        if worker_of(id) != self.worker {
            return Carried::Elsewhere(worker_of(id));
        }
        let Some(connection) = self.open.get_mut(&number_of(id)) else {
            return Carried::Gone;
        };
        match connection.send(bytes, now) {
            Ok(()) => Carried::Done,
            Err(fault) => {
                self.counters.ended(fault);
                self.close(id).map_or(Carried::Gone, Carried::Closed)
            }
        }
    }

    /// Closes what took too long: to open, for its handshake, to say its first word, to send a message that it
    /// began, or to say anything more while nobody needs it (`spared` is told for how long it has said nothing).
    /// Who is trusted need say no first word, and no more than keep-alives.
    pub fn sweep(
        &mut self,
        now: Time,
        trusted: &dyn Fn(&Flow) -> bool,
        spared: &dyn Fn(&Flow, Millis) -> bool,
    ) -> Vec<Flow> {
        self.part(now);
        let late: Vec<_> = self
            .open
            .iter()
            .filter(|(_, connection)| {
                let idle = connection.idle_for(now);
                if connection.is_opening() {
                    return idle >= OPEN_TIMEOUT;
                }
                if connection.is_paused() {
                    return false;
                }
                let late = connection.shaking_for(now) >= self.limits.header_timeout;
                if late {
                    self.counters.ended(Fault::Shake(Shake::Timeout));
                }
                let silent = !late
                    && connection.silent_for(now) >= self.limits.first_message
                    && !trusted(&connection.flow);
                if silent {
                    Counters::add(&self.counters.silent);
                }
                // The keep-alives of who is trusted are word enough.
                let wordless = connection.wordless_for(now);
                let needless = wordless >= self.limits.idle
                    && (idle >= self.limits.idle || !trusted(&connection.flow))
                    && !spared(&connection.flow, wordless);
                late || silent
                    || needless
                    || connection.midway_for(now) >= self.limits.header_timeout
            })
            .map(|(number, _)| connection_id(self.worker, *number))
            .collect();
        late.into_iter().filter_map(|id| self.close(id)).collect()
    }

    fn open(&mut self, flow: &Flow, bytes: Bytes, now: Time) -> Carried {
        let failed = Carried::Closed(*flow);
        let id = connection_id(self.worker, self.next);
        let Some(layer) = self.layer_of_client(flow) else {
            return failed;
        };
        let host = flow.connection;
        let flow = Flow {
            connection: host.or(Some(id)),
            ..*flow
        };
        let claimed = match host {
            Some(host) => self
                .registry
                .claim_to_host(flow.peer, host, id)
                .map_err(Some),
            None => self.registry.claim(flow).map_err(|held| held.connection),
        };
        if let Err(held) = claimed {
            // Another shard was faster.
            return held.map_or(failed, |id| Carried::Elsewhere(worker_of(id)));
        }
        if !self.registry.admit(Origin::Opened, Guest::Stranger) {
            self.refuse(flow.peer, Refusal::Limit);
            self.registry.forget(&flow, id);
            return failed;
        }
        let Ok(stream) = self.connect(&flow) else {
            self.registry.release(Origin::Opened, None);
            self.registry.forget(&flow, id);
            return failed;
        };
        let added = self.add(flow, Origin::Opened, None, stream, layer, Who::Known, now);
        if added.is_err() {
            return failed;
        }
        match self
            .open
            .get_mut(&number_of(id))
            .map(|c| c.send(bytes, now))
        {
            Some(Ok(())) => Carried::Done,
            Some(Err(fault)) => {
                self.counters.ended(fault);
                self.close(id);
                failed
            }
            None => failed,
        }
    }

    /// Returns what lies between the wire and the messages of whom we connect to; none where nobody can be
    /// connected to, or where the host is not known any more that has to prove itself.
    fn layer_of_client(&self, flow: &Flow) -> Option<Layer> {
        match flow.transport {
            Transport::Tcp => Some(Layer::Plain),
            Transport::Tls => {
                let host = self.registry.host(flow.connection?)?;
                let name = ServerName::try_from(String::from(host)).ok()?;
                let config = self.tls.as_ref()?.client();
                let session = rustls::ClientConnection::new(config, name).ok()?;
                Some(Layer::tls(session))
            }
            // RFC 7118 5: nobody can connect to a WebSocket client.
            Transport::Udp | Transport::Ws | Transport::Wss => None,
        }
    }

    fn connect(&self, flow: &Flow) -> io::Result<mio::net::TcpStream> {
        let socket = Socket::new(
            Domain::for_address(flow.peer),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        if let Some(bound) = self.listeners.get(usize::from(flow.listener.0)) {
            mark(&socket, &bound.listener, flow.peer)?;
            if let Some(from) = source_address(bound, flow.peer) {
                socket.bind(&SocketAddr::new(from, 0).into())?;
            }
        }
        match socket.connect(&flow.peer.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let stream = mio::net::TcpStream::from_std(socket.into());
        tune(&stream);
        Ok(stream)
    }

    /// Returns what lies between the wire and the messages of who connects to us; none where certificates
    /// are missing, which the configuration rules out.
    fn layer_of_server(&self, transport: Transport) -> Option<Layer> {
        if !transport.is_secure() {
            return Some(Layer::Plain);
        }
        let session = rustls::ServerConnection::new(self.tls.as_ref()?.server()).ok()?;
        Some(Layer::tls(session))
    }

    /// Takes a connection, for which there is a place, into the table. Returns whether it can be used at
    /// once.
    fn add(
        &mut self,
        flow: Flow,
        origin: Origin,
        client: Option<IpAddr>,
        stream: mio::net::TcpStream,
        layer: Layer,
        who: Who,
        now: Time,
    ) -> io::Result<bool> {
        let number = self.next;
        self.next += 1;
        let speech = if flow.transport.is_web_socket() {
            let door = Door {
                listeners: Arc::clone(&self.listeners),
                listener: flow.listener,
                by_proxy: matches!(who, Who::Request),
            };
            Speech::web_socket(self.limits.message_size, door)
        } else {
            Speech::stream(self.limits.message_size)
        };
        let mut connection = Connection::new(flow, origin, stream, layer, speech, who, now);
        connection.client = client;
        let ready = !connection.is_shaking();
        let token = Token(self.first_token + number as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = connection.source().register(&self.poll, token, interest) {
            self.registry.release(origin, client);
            self.registry
                .forget(&flow, connection_id(self.worker, number));
            return Err(error);
        }
        if let Some(open) = self.counters.of(flow.transport) {
            Counters::add(open);
        }
        self.open.insert(number, connection);
        Ok(ready)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let all: Vec<_> = self.open.keys().copied().collect();
        for number in all {
            self.close(connection_id(self.worker, number));
        }
        self.part(Time(u64::MAX));
    }
}

/// A listener bound to one address sends from it, too.
fn source_address(bound: &Bound, peer: SocketAddr) -> Option<IpAddr> {
    let ip = bound.at.ip();
    (!ip.is_unspecified() && ip.is_ipv4() == peer.is_ipv4()).then_some(ip)
}

/// Best effort: a connection works without.
fn tune(stream: &mio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN));
}
