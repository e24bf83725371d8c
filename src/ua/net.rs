//! A phone's SIP sockets: one UDP socket, or a TCP listener and its connections.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

use crate::sip::stream::{Frame, Framer};

use super::Transport;

const HEAD_MAX: usize = 64 * 1024;
const BODY_MAX: usize = 64 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The poll only says that something came; then everything is read.
const ANY: Token = Token(1);

/// Where a message came from, or is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Udp(SocketAddr),
    Tcp { connection: u64, peer: SocketAddr },
}

impl Link {
    pub(super) fn peer(&self) -> SocketAddr {
        match self {
            Self::Udp(peer) | Self::Tcp { peer, .. } => *peer,
        }
    }

    pub(super) fn is_reliable(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }
}

/// The sockets. Dropping them is what SIGKILL does.
#[derive(Debug)]
pub(super) struct Net {
    registry: Registry,
    main: Main,
    connections: BTreeMap<u64, Connection>,
    counter: u64,
    pub(super) local: SocketAddr,
}

#[derive(Debug)]
enum Main {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    framer: Framer,
    peer: SocketAddr,
    /// Not yet taken by the kernel.
    waiting: Vec<u8>,
    closed: bool,
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
                let mut listener = TcpListener::bind(any)?;
                registry.register(&mut listener, ANY, Interest::READABLE)?;
                let local = listener.local_addr()?;
                (Main::Tcp(listener), local)
            }
        };
        Ok(Self {
            registry,
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
    pub(super) fn link_to(&mut self, peer: SocketAddr) -> io::Result<Link> {
        if let Main::Udp(_) = self.main {
            return Ok(Link::Udp(peer));
        }
        let open = self
            .connections
            .iter()
            .find(|(_, known)| known.peer == peer && !known.closed);
        if let Some((connection, _)) = open {
            return Ok(Link::Tcp {
                connection: *connection,
                peer,
            });
        }
        let socket = std::net::TcpStream::connect_timeout(&peer, CONNECT_WITHIN)?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let connection = self.keep(TcpStream::from_std(socket), peer)?;
        Ok(Link::Tcp { connection, peer })
    }

    fn keep(&mut self, mut socket: TcpStream, peer: SocketAddr) -> io::Result<u64> {
        self.registry
            .register(&mut socket, ANY, Interest::READABLE | Interest::WRITABLE)?;
        self.counter += 1;
        self.connections.insert(
            self.counter,
            Connection {
                socket,
                framer: Framer::new(HEAD_MAX, BODY_MAX),
                peer,
                waiting: Vec::new(),
                closed: false,
            },
        );
        Ok(self.counter)
    }

    /// Sends a message; what can't be sent is lost, and retransmission or a timeout has to tell.
    pub(super) fn send(&mut self, link: Link, bytes: &[u8]) {
        match (&self.main, link) {
            (Main::Udp(socket), Link::Udp(peer)) => {
                let _ = socket.send_to(bytes, peer);
            }
            (_, Link::Tcp { connection, .. }) => {
                if let Some(connection) = self.connections.get_mut(&connection) {
                    connection.waiting.extend_from_slice(bytes);
                    connection.flush();
                }
            }
            (Main::Tcp(_), Link::Udp(_)) => {}
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
                    let _ = self.keep(socket, peer);
                }
            }
        }
        for (connection, known) in &mut self.connections {
            let link = Link::Tcp {
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

impl Connection {
    fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(written) => {
                    self.waiting.drain(..written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    fn read(&mut self) -> Vec<Bytes> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(length) => self.framer.push(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        let mut messages = Vec::new();
        while let Some(frame) = self.framer.next_frame() {
            match frame {
                Ok(Frame::Message(bytes)) => messages.push(bytes),
                Ok(Frame::Ping) => self.waiting.extend_from_slice(b"\r\n"),
                Ok(Frame::Pong) => {}
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.flush();
        messages
    }
}
