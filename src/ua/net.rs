//! A phone's SIP sockets: one UDP socket, or connections and, over TCP, a listener.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::Bytes;
use mio::net::UdpSocket;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};

use super::Transport;
use super::wire::{Connection, Trust};

/// The poll only says that something came; then everything is read.
const ANY: Token = Token(1);

/// Where a message came from, or is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Udp(SocketAddr),
    Connection { connection: u64, peer: SocketAddr },
}

impl Link {
    pub(super) fn peer(&self) -> SocketAddr {
        match self {
            Self::Udp(peer) | Self::Connection { peer, .. } => *peer,
        }
    }

    pub(super) fn is_reliable(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}

/// The sockets. Dropping them is what SIGKILL does.
#[derive(Debug)]
pub(super) struct Net {
    registry: Registry,
    transport: Transport,
    main: Main,
    connections: BTreeMap<u64, Connection>,
    counter: u64,
    pub(super) local: SocketAddr,
}

#[derive(Debug)]
enum Main {
    Udp(UdpSocket),
    Tcp(TcpListener),
    /// Holds the port that is named, where nobody listens.
    Client {
        _held: Socket,
    },
}

impl Net {
    /// Binds a free port of a loopback address.
    pub(super) fn bind(
        transport: Transport,
        address: IpAddr,
        registry: Registry,
    ) -> io::Result<Self> {
        let any = SocketAddr::new(address, 0);
        let (main, local) = match transport {
            Transport::Udp => {
                let mut socket = UdpSocket::bind(any)?;
                registry.register(&mut socket, ANY, Interest::READABLE)?;
                let local = socket.local_addr()?;
                (Main::Udp(socket), local)
            }
            Transport::Tcp => {
                let listener = TcpListener::bind(any)?;
                listener.set_nonblocking(true)?;
                let fd = listener.as_raw_fd();
                registry.register(&mut SourceFd(&fd), ANY, Interest::READABLE)?;
                let local = listener.local_addr()?;
                (Main::Tcp(listener), local)
            }
            Transport::Tls | Transport::Ws | Transport::Wss => {
                let held = Socket::new(Domain::for_address(any), Type::STREAM, None)?;
                held.bind(&any.into())?;
                let local = held.local_addr()?.as_socket();
                let local = local.ok_or(ErrorKind::AddrNotAvailable)?;
                (Main::Client { _held: held }, local)
            }
        };
        Ok(Self {
            registry,
            transport,
            main,
            connections: BTreeMap::new(),
            counter: 0,
            local,
        })
    }

    /// Opens a socket for RTP beside the SIP one.
    pub(super) fn open_rtp(&self) -> io::Result<(UdpSocket, u16)> {
        let mut socket = UdpSocket::bind(SocketAddr::new(self.local.ip(), 0))?;
        self.registry
            .register(&mut socket, ANY, Interest::READABLE)?;
        let port = socket.local_addr()?.port();
        Ok((socket, port))
    }

    /// Finds the way to an address: the open connection, or a new one.
    pub(super) fn link_to(
        &mut self,
        peer: SocketAddr,
        trust: Option<&Arc<ClientConfig>>,
        server: &str,
    ) -> io::Result<Link> {
        if let Main::Udp(_) = self.main {
            return Ok(Link::Udp(peer));
        }
        let open = self
            .connections
            .iter()
            .find(|(_, known)| known.peer == peer && !known.closed);
        if let Some((connection, _)) = open {
            return Ok(Link::Connection {
                connection: *connection,
                peer,
            });
        }
        let trust = Trust {
            config: trust,
            server,
        };
        let connection = self.keep(Connection::open(self.transport, peer, &trust)?)?;
        Ok(Link::Connection { connection, peer })
    }

    fn keep(&mut self, connection: Connection) -> io::Result<u64> {
        let fd = connection.fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut SourceFd(&fd), ANY, interest)?;
        self.counter += 1;
        self.connections.insert(self.counter, connection);
        Ok(self.counter)
    }

    /// Sends a message; what can't be sent is lost, and retransmission or a timeout has to tell.
    pub(super) fn send(&mut self, link: Link, bytes: &[u8]) {
        match (&self.main, link) {
            (Main::Udp(socket), Link::Udp(peer)) => {
                let _ = socket.send_to(bytes, peer);
            }
            (_, Link::Connection { connection, .. }) => {
                if let Some(connection) = self.connections.get_mut(&connection) {
                    connection.send(bytes);
                }
            }
            (Main::Tcp(_) | Main::Client { .. }, Link::Udp(_)) => {}
        }
    }

    /// Reads all that has come.
    pub(super) fn receive(&mut self) -> Vec<(Link, Bytes)> {
        let mut messages = Vec::new();
        match &self.main {
            Main::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                loop {
                    match socket.recv_from(&mut buffer) {
                        Ok((length, peer)) => {
                            messages
                                .push((Link::Udp(peer), Bytes::copy_from_slice(&buffer[..length])));
                        }
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                        Err(_) => break,
                    }
                }
            }
            Main::Tcp(listener) => {
                let mut fresh = Vec::new();
                while let Ok(accepted) = listener.accept() {
                    fresh.push(accepted);
                }
                for (socket, peer) in fresh {
                    // A connection that can't be watched is one that the peer sees closed.
                    let _ = Connection::accepted(socket, peer).and_then(|known| self.keep(known));
                }
            }
            Main::Client { .. } => {}
        }
        for (connection, known) in &mut self.connections {
            let link = Link::Connection {
                connection: *connection,
                peer: known.peer,
            };
            known.flush();
            messages.extend(known.read().into_iter().map(|bytes| (link, bytes)));
        }
        self.connections.retain(|_, known| !known.closed);
        messages
    }
}
