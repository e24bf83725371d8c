//! Port pairs as sockets, and the address to bind them to.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use socket2::{Domain, Protocol, Socket, Type};

use crate::media::clock::Micros;
use crate::media::place::Place;
use crate::media::settings::RelaySettings;
use crate::media::stream::Port;
use crate::media::sys;

/// The discard port: an address to ask the routing table about; nothing is sent there.
const ANY_PORT: u16 = 9;
/// Microseconds for which the kernel's choice of a local address is believed.
const BELIEVED: u64 = 10_000_000;
/// Peers whose routes are kept.
const MAX_ROUTES: usize = 4096;

/// An RTP port and the RTCP port above it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) bind: IpAddr,
    pub(crate) port: u16,
    /// Who uses it; nobody while it is at rest.
    pub(crate) place: Option<Place>,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// RTP, RTCP: it is queued to be read on.
    waiting: [bool; 2],
}

impl Pair {
    /// Binds both ports, or neither.
    pub(crate) fn bind(address: IpAddr, port: u16) -> io::Result<Self> {
        Ok(Self {
            bind: address,
            port,
            place: None,
            rtp: bind(SocketAddr::new(address, port))?,
            rtcp: bind(SocketAddr::new(address, port | 1))?,
            waiting: [false; 2],
        })
    }

    pub(crate) fn socket(&self, port: Port) -> &UdpSocket {
        match port {
            Port::Rtp => &self.rtp,
            Port::Rtcp => &self.rtcp,
        }
    }

    /// Marks a socket as queued, or no more; returns true where that is a change.
    pub(crate) fn set_waiting(&mut self, port: Port, waiting: bool) -> bool {
        let mark = match port {
            Port::Rtp => &mut self.waiting[0],
            Port::Rtcp => &mut self.waiting[1],
        };
        std::mem::replace(mark, waiting) != waiting
    }

    pub(crate) fn socket_mut(&mut self, port: Port) -> &mut UdpSocket {
        match port {
            Port::Rtp => &mut self.rtp,
            Port::Rtcp => &mut self.rtcp,
        }
    }
}

/// Where to bind for a peer, and what to tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) bind: IpAddr,
    pub(crate) told: IpAddr,
}

/// The kernel's routes to SIP peers, asked for now and then.
#[derive(Default)]
pub(crate) struct Routes {
    known: HashMap<IpAddr, (IpAddr, Micros)>,
}

impl Routes {
    /// Finds out where to bind toward the address of a SIP peer.
    ///
    /// # Errors
    /// There is no way to the peer.
    pub(crate) fn toward(
        &mut self,
        peer: IpAddr,
        settings: &RelaySettings,
        now: Micros,
    ) -> io::Result<Local> {
        let fits = |address: Option<IpAddr>| address.filter(|a| a.is_ipv4() == peer.is_ipv4());
        let told = match fits(settings.address) {
            Some(address) => address,
            None => self.local(peer, now)?,
        };
        Ok(Local {
            bind: fits(settings.bind).unwrap_or(told),
            told,
        })
    }

    /// Forgets everything: an address turned out to be gone.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    fn local(&mut self, peer: IpAddr, now: Micros) -> io::Result<IpAddr> {
        let known = self.known.get(&peer);
        if let Some((local, _)) = known.filter(|(_, asked)| now.since(*asked) < BELIEVED) {
            return Ok(*local);
        }
        let local = routed(peer)?;
        if self.known.len() >= MAX_ROUTES {
            self.known.clear();
        }
        self.known.insert(peer, (local, now));
        Ok(local)
    }
}

/// Returns the address that the kernel would send from.
fn routed(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect((peer, ANY_PORT))?;
    Ok(socket.local_addr()?.ip())
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    sys::report_icmp_errors(&socket, address.is_ipv4())?;
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}
