//! The sockets of a listener: one a worker, all on the same port.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use thiserror::Error;

use crate::config::Listener;
use crate::engine::ids::Transport;

use super::sys;

/// Asked of the kernel, which may give less (net.core.wmem_max).
const SEND_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const BACKLOG: i32 = 1024;

/// A listener could not be opened.
#[derive(Debug, Error)]
pub enum BindError {
    #[error("{}", mend(.0))]
    System(#[source] io::Error),
}

/// A listener and the address that it got.
#[derive(Clone, Debug)]
pub struct Bound {
    pub listener: Listener,
    pub at: SocketAddr,
    /// Bytes of the queue of datagrams that the kernel gave: no more than it was asked for.
    pub receive_buffer: Option<usize>,
}

/// One worker's socket of a listener.
pub enum Socket {
    Udp(std::net::UdpSocket),
    Tcp(std::net::TcpListener),
}

/// Opens a listener: `workers` sockets that share one port, over which the kernel spreads its peers. Each
/// UDP socket asks for a queue of `receive_buffer` bytes; the kernel may give less (net.core.rmem_max).
///
/// # Errors
/// The address is taken or not this machine's, or the port needs rights that the process lacks.
pub fn bind(
    listener: &Listener,
    workers: usize,
    receive_buffer: usize,
) -> Result<(Bound, Vec<Socket>), BindError> {
    let kind = match listener.transport {
        Transport::Udp => Kind::Udp,
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => Kind::Tcp,
    };
    let open = |at, shared| open(kind, listener, at, shared, receive_buffer);
    let first = open(listener.at, false).map_err(BindError::System)?;
    let at = local_address(&first).map_err(BindError::System)?;
    let bound = Bound {
        listener: listener.clone(),
        at,
        receive_buffer: kind.receive_buffer(&first).map_err(BindError::System)?,
    };
    if workers <= 1 {
        return Ok((bound, vec![kind.finish(first).map_err(BindError::System)?]));
    }
    // The first one was bound alone, which fails where another process has the port: sockets that
    // share a port would not notice, and each would get a part of the messages.
    drop(first);
    let sockets = (0..workers)
        .map(|_| kind.finish(open(at, true)?))
        .collect::<io::Result<_>>()
        .map_err(BindError::System)?;
    Ok((bound, sockets))
}

#[derive(Clone, Copy)]
enum Kind {
    Udp,
    Tcp,
}

impl Kind {
    /// Returns what the kernel gave, of datagrams.
    fn receive_buffer(self, socket: &RawSocket) -> io::Result<Option<usize>> {
        match self {
            // socket(7): it tells twice what was asked for, to have room for its own books.
            Self::Udp => socket.recv_buffer_size().map(|bytes| Some(bytes / 2)),
            Self::Tcp => Ok(None),
        }
    }

    /// Makes it listen.
    fn finish(self, socket: RawSocket) -> io::Result<Socket> {
        Ok(match self {
            Self::Udp => Socket::Udp(socket.into()),
            Self::Tcp => {
                socket.listen(BACKLOG)?;
                Socket::Tcp(socket.into())
            }
        })
    }
}

fn open(
    kind: Kind,
    listener: &Listener,
    at: SocketAddr,
    shared: bool,
    receive_buffer: usize,
) -> io::Result<RawSocket> {
    let (form, protocol) = match kind {
        Kind::Udp => (Type::DGRAM, Protocol::UDP),
        Kind::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = RawSocket::new(Domain::for_address(at), form, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match kind {
        Kind::Udp => {
            // Smaller buffers do as well, if not as long.
            let _ = socket.set_recv_buffer_size(receive_buffer);
            let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
            sys::report_errors(&socket, at.is_ipv6())?;
            sys::report_queue(&socket)?;
        }
        // Old connections in TIME_WAIT must not keep a restart from the port.
        Kind::Tcp => socket.set_reuse_address(true)?,
    }
    socket.set_reuse_port(shared)?;
    mark(&socket, listener, at)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// Marks what is sent with the listener's code point (RFC 2474).
pub(super) fn mark<'s>(
    socket: impl Into<SockRef<'s>>,
    listener: &Listener,
    at: SocketAddr,
) -> io::Result<()> {
    let class = u32::from(listener.dscp) << 2;
    let socket = socket.into();
    if at.is_ipv6() {
        socket.set_tclass_v6(class)
    } else {
        socket.set_tos_v4(class)
    }
}

fn local_address(socket: &RawSocket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// Says what is wrong and what to do about it.
fn mend(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AddrInUse {
        "another process listens there: stop it, or change `listen`".to_owned()
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        "the address is not one of this machine's: change `listen`".to_owned()
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "ports below 1024 need CAP_NET_BIND_SERVICE: give it, or change `listen`".to_owned()
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: usize = 64 * 1024;

    fn listener(transport: Transport, at: &str) -> Listener {
        Listener {
            dscp: 24,
            ..Listener::new(transport, at.parse().unwrap())
        }
    }

    #[test]
    fn workers_share_the_port_that_the_first_got() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let (bound, sockets) = bind(&listener(transport, "127.0.0.1:0"), 3, BUFFER).unwrap();
            assert_ne!(bound.at.port(), 0);
            for socket in &sockets {
                let at = match socket {
                    Socket::Udp(socket) => socket.local_addr(),
                    Socket::Tcp(socket) => socket.local_addr(),
                };
                assert_eq!(at.unwrap(), bound.at);
            }
            assert_eq!(sockets.len(), 3);
        }
    }

    #[test]
    fn a_port_in_use_is_refused_even_where_ports_are_shared() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let (bound, _held) = bind(&listener(transport, "127.0.0.1:0"), 2, BUFFER).unwrap();
            for workers in [1, 2] {
                let again = bind(&listener(transport, &bound.at.to_string()), workers, BUFFER);
                let error = again.err().map(|error| error.to_string());
                assert!(
                    error
                        .as_deref()
                        .is_some_and(|e| e.contains("another process")),
                    "{transport:?} {workers}: {error:?}"
                );
            }
        }
    }

    #[test]
    fn the_queue_is_as_large_as_asked_for() {
        let at = |transport| {
            let (bound, _) = bind(&listener(transport, "127.0.0.1:0"), 2, BUFFER).unwrap();
            bound.receive_buffer
        };
        assert_eq!(at(Transport::Udp), Some(BUFFER));
        assert_eq!(at(Transport::Tcp), None);
    }

    #[test]
    fn what_is_sent_is_marked_over_accepted_connections_too() {
        let class = |socket: &SockRef<'_>, at: SocketAddr| match at {
            SocketAddr::V4(_) => socket.tos_v4().unwrap(),
            SocketAddr::V6(_) => socket.tclass_v6().unwrap(),
        };
        for (transport, at) in [
            (Transport::Udp, "127.0.0.1:0"),
            (Transport::Udp, "[::1]:0"),
            (Transport::Tcp, "127.0.0.1:0"),
            (Transport::Tcp, "[::1]:0"),
        ] {
            let (bound, sockets) = bind(&listener(transport, at), 1, BUFFER).unwrap();
            match &sockets[0] {
                Socket::Udp(socket) => assert_eq!(class(&socket.into(), bound.at), 24 << 2),
                Socket::Tcp(socket) => {
                    let _peer = std::net::TcpStream::connect(bound.at).unwrap();
                    // The listener does not wait; on loopback the connection is there.
                    let (accepted, _) = socket.accept().unwrap();
                    assert_eq!(class(&SockRef::from(&accepted), bound.at), 24 << 2);
                }
            }
        }
    }

    #[test]
    fn foreign_addresses_are_refused() {
        // RFC 5737: an address of documentation is nobody's.
        assert!(bind(&listener(Transport::Udp, "192.0.2.1:0"), 1, BUFFER).is_err());
    }
}
