//! The connections of one shard, driven by hand.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use mio::{Events, Interest, Poll, Token};
use refork::config::Listener;
use refork::engine::ids::{Flow, ListenerId, Transport};
use refork::engine::time::{Millis, Time};
use refork::tls::{ClientAuth, Files, Tls};
use refork::transport::{
    Bound, Counters, Fault, Guest, Need, Refusal, Registry, Shake, Socket, StreamEvent,
    StreamLimits, Streams, Views, Yielded, bind,
};

use super::authority::Authority;
use super::{FIRST_CONNECTION, LISTENER, PATIENCE, listener};

/// The connections of one shard, with their poll and a listener.
pub(crate) struct Shard {
    pub(crate) poll: Poll,
    socket: mio::net::TcpListener,
    pub(crate) at: SocketAddr,
    pub(crate) streams: Streams,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) now: Time,
    pub(crate) messages: Vec<(Flow, Bytes)>,
    /// How many were too large to be one.
    pub(crate) too_large: usize,
    pub(crate) closed: Vec<Flow>,
    /// Why connections ended.
    pub(crate) faults: Vec<Fault>,
    /// Hosts that were connected to in vain, and why.
    pub(crate) troubles: Vec<(Box<str>, Box<str>)>,
    pub(crate) accepted: usize,
    /// Clients that are not let in.
    pub(crate) denied: Vec<IpAddr>,
    /// As whom everybody is accepted.
    pub(crate) guest: Guest,
    /// The ports of peers whose connections are needed.
    pub(crate) needed: Vec<u16>,
    /// The ports of those that others have yet to say that of.
    pub(crate) asked: Vec<u16>,
}

fn need(flow: &Flow, needed: &[u16], asked: &[u16]) -> Need {
    let port = flow.peer.port();
    match (needed.contains(&port), asked.contains(&port)) {
        (true, _) => Need::Needed,
        (false, true) => Need::Asked,
        (false, false) => Need::Free,
    }
}

impl Shard {
    pub(crate) fn new(connections: usize, connections_per_ip: usize) -> Self {
        Self::over(Transport::Tcp, None, connections, connections_per_ip)
    }

    pub(crate) fn over(
        transport: Transport,
        tls: Option<Arc<Tls>>,
        connections: usize,
        connections_per_ip: usize,
    ) -> Self {
        let listener = listener(transport, "127.0.0.1");
        Self::of(&listener, tls, connections, connections_per_ip)
    }

    pub(crate) fn of(
        listener: &Listener,
        tls: Option<Arc<Tls>>,
        connections: usize,
        connections_per_ip: usize,
    ) -> Self {
        let poll = Poll::new().unwrap();
        let (bound, mut sockets) = bind(listener, 1, crate::BUFFER).unwrap();
        let Some(Socket::Tcp(socket)) = sockets.pop() else {
            panic!("not a TCP socket");
        };
        let mut socket = mio::net::TcpListener::from_std(socket);
        poll.registry()
            .register(&mut socket, LISTENER, Interest::READABLE)
            .unwrap();
        let registry = Arc::new(Registry::new(connections, connections_per_ip));
        let counters = Arc::new(Counters::default());
        let at = bound.at;
        let listeners: Arc<[Bound]> = Arc::new([bound]);
        let limits = StreamLimits {
            message_size: 1000,
            idle: Millis::from_secs(60),
            first_message: Millis::from_secs(10),
            header_timeout: Millis::from_secs(5),
        };
        Self {
            streams: Streams::new(
                0,
                listeners,
                Arc::clone(&registry),
                Arc::clone(&counters),
                limits,
                tls,
                poll.registry().try_clone().unwrap(),
                FIRST_CONNECTION,
            ),
            poll,
            socket,
            at,
            registry,
            counters,
            now: Time(1_000_000),
            messages: Vec::new(),
            too_large: 0,
            closed: Vec::new(),
            faults: Vec::new(),
            troubles: Vec::new(),
            accepted: 0,
            denied: Vec::new(),
            guest: Guest::Stranger,
            needed: Vec::new(),
            asked: Vec::new(),
        }
    }

    pub(crate) fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        let mut events = Events::with_capacity(64);
        while !enough(self) {
            self.poll.poll(&mut events, Some(PATIENCE)).unwrap();
            assert!(!events.is_empty(), "nothing came");
            for event in &events {
                if event.token() == LISTENER {
                    let (guest, needed, asked) = (self.guest, &self.needed, &self.asked);
                    let views = Views {
                        admits: &|_| Some(guest),
                        trusts: &|_| false,
                        needs: &|flow, _| need(flow, needed, asked),
                    };
                    let (socket, now) = (&self.socket, self.now);
                    while self.streams.accept(socket, ListenerId(0), now, &views) {}
                } else {
                    self.read(event.token());
                }
            }
            self.accepted = self.counters.accepted.load(Ordering::Relaxed) as usize;
        }
    }

    /// Waits once, and reads what there is.
    pub(crate) fn turn(&mut self) {
        let mut events = Events::with_capacity(8);
        self.poll.poll(&mut events, Some(PATIENCE)).unwrap();
        for event in &events {
            if event.token() != LISTENER {
                self.read(event.token());
            }
        }
    }

    pub(crate) fn read(&mut self, token: Token) {
        self.streams.drain(token);
        loop {
            let mut out = Vec::new();
            let (guest, denied) = (self.guest, &self.denied);
            let (needed, asked) = (&self.needed, &self.asked);
            let views = Views {
                admits: &|flow| (!denied.contains(&flow.peer.ip())).then_some(guest),
                trusts: &|_| false,
                needs: &|flow, _| need(flow, needed, asked),
            };
            let more = self.streams.ready(token, self.now, &views, &mut out);
            for event in out {
                match event {
                    StreamEvent::Message { flow, bytes } => self.messages.push((flow, bytes)),
                    StreamEvent::Pings { .. } => {}
                    StreamEvent::TooLarge { count, .. } => self.too_large += count,
                    StreamEvent::Over {
                        connection, fault, ..
                    } => {
                        self.faults.push(fault);
                        self.troubles.extend(self.streams.trouble(connection));
                        let ended = self.streams.end(connection, fault, self.now);
                        self.closed.extend(ended);
                    }
                }
            }
            if !more {
                return;
            }
        }
    }

    pub(crate) fn connect(&mut self) -> TcpStream {
        let before = self.accepted;
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        self.until(|shard| shard.accepted > before);
        stream
    }

    pub(crate) fn open(&self) -> u64 {
        let open = self.counters.connections.iter();
        open.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn sweep_after(&mut self, span: Millis) -> Vec<Flow> {
        self.now = self.now + span;
        self.streams.sweep(self.now, &|_| false, &|_, _| false)
    }

    pub(crate) fn connect_after(&mut self, span: Millis) -> TcpStream {
        self.now = self.now + span;
        self.connect()
    }

    /// Looks at who would give way next. Returns how many others were asked about.
    pub(crate) fn looks_ahead(&mut self) -> usize {
        let asked = std::cell::Cell::new(0);
        let views = Views {
            admits: &|_| None,
            trusts: &|_| false,
            needs: &|_, _| {
                asked.set(asked.get() + 1);
                Need::Asked
            },
        };
        self.streams.look_ahead(self.now, &views);
        asked.get()
    }

    /// Returns whose connections gave way since this was asked: ports of peers.
    pub(crate) fn yielded(&mut self) -> Vec<(u16, Yielded)> {
        let yielded = self.streams.take_yielded().into_iter();
        yielded.map(|(flow, why)| (flow.peer.port(), why)).collect()
    }

    /// Returns how many connections were turned away for a reason.
    pub(crate) fn refused(&self, why: Refusal) -> u64 {
        let at = Refusal::ALL.iter().position(|known| *known == why).unwrap();
        self.counters.refused[at].load(Ordering::Relaxed)
    }

    /// Returns how many handshakes came to nothing for a reason.
    pub(crate) fn failed(&self, why: Shake) -> u64 {
        let at = Shake::ALL.iter().position(|known| *known == why).unwrap();
        self.counters.handshakes_failed[at].load(Ordering::Relaxed)
    }

    /// Answers the newest message over its flow.
    pub(crate) fn answer(&mut self, bytes: &'static [u8]) {
        let flow = self.messages.last().unwrap().0;
        let sent = self
            .streams
            .send(&flow, Bytes::from_static(bytes), self.now);
        assert_eq!(sent, refork::transport::Carried::Done);
    }
}

impl Authority {
    /// Returns what a listener needs that asks clients for nothing.
    pub(crate) fn listener(&self, names: &[&str]) -> Arc<Tls> {
        let pair = self.keep("server", &self.issue(names));
        let files = Files {
            pairs: vec![pair],
            client_ca: None,
            client_auth: ClientAuth::Required,
            server_ca: None,
        };
        Arc::new(Tls::load(files).unwrap())
    }
}
