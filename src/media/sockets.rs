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
    /// Binds both ports, or neither. What is sent from them has this code point (RFC 2474).
    pub(crate) fn bind(address: IpAddr, port: u16, dscp: u8) -> io::Result<Self> {
        Ok(Self {
            bind: address,
            port,
            place: None,
            rtp: bind(SocketAddr::new(address, port), dscp)?,
            rtcp: bind(SocketAddr::new(address, port | 1), dscp)?,
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
    /// Which addresses that peers are told are this machine's.
    ours: HashMap<IpAddr, (bool, Micros)>,
}

impl Routes {
    /// Finds out where to bind toward the address of a SIP peer, and what to tell it: what the engine says,
    /// else what the operator does, else what the kernel would send from.
    ///
    /// # Errors
    /// There is no way to the peer.
    pub(crate) fn toward(
        &mut self,
        peer: IpAddr,
        told: Option<IpAddr>,
        settings: &RelaySettings,
        now: Micros,
    ) -> io::Result<Local> {
        let fits = |address: Option<IpAddr>| address.filter(|a| a.is_ipv4() == peer.is_ipv4());
        if let Some(told) = fits(told) {
            let bind = if self.is_ours(told, now) {
                told
            } else {
                any(told)
            };
            return Ok(Local { bind, told });
        }
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
        self.ours.clear();
    }

    /// Returns false for the address of a NAT before us: nothing can be bound to it.
    pub(crate) fn is_ours(&mut self, address: IpAddr, now: Micros) -> bool {
        let known = self.ours.get(&address);
        if let Some((ours, _)) = known.filter(|(_, asked)| now.since(*asked) < BELIEVED) {
            return *ours;
        }
        let ours = std::net::UdpSocket::bind((address, 0)).is_ok();
        if self.ours.len() >= MAX_ROUTES {
            self.ours.clear();
        }
        self.ours.insert(address, (ours, now));
        ours
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
    let socket = std::net::UdpSocket::bind((any(peer), 0))?;
    socket.connect((peer, ANY_PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// Returns the unspecified address of the same family.
fn any(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn bind(address: SocketAddr, dscp: u8) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    sys::report_icmp_errors(&socket, address.is_ipv4())?;
    // RFC 2474: the upper six bits of the octet.
    let class = u32::from(dscp) << 2;
    if address.is_ipv6() {
        socket.set_tclass_v6(class)?;
    } else {
        socket.set_tos_v4(class)?;
    }
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn what_is_sent_is_marked() {
        for address in [V4, V6] {
            let free = std::net::UdpSocket::bind((address, 0)).unwrap();
            let port = free.local_addr().unwrap().port() & !1;
            drop(free);
            let pair = Pair::bind(address, port, 46).unwrap();
            for port in [Port::Rtp, Port::Rtcp] {
                let socket = SockRef::from(pair.socket(port));
                let class = match address {
                    IpAddr::V4(_) => socket.tos_v4().unwrap(),
                    IpAddr::V6(_) => socket.tclass_v6().unwrap(),
                };
                assert_eq!(class, 46 << 2);
            }
        }
    }

    #[test]
    fn what_the_engine_says_is_told_and_bound_where_it_is_ours() {
        let mut routes = Routes::default();
        let settings = RelaySettings::default();
        let mut toward = |peer, told: Option<[u8; 4]>| {
            let told = told.map(IpAddr::from);
            let local = routes.toward(peer, told, &settings, Micros(0)).unwrap();
            (local.told, local.bind)
        };
        let second = IpAddr::from([127, 0, 0, 2]);
        assert_eq!(toward(V4, Some([127, 0, 0, 2])), (second, second));
        // RFC 5737: of a NAT before us, for all that we know.
        let outer = IpAddr::from([203, 0, 113, 5]);
        assert_eq!(toward(V4, Some([203, 0, 113, 5])), (outer, any(V4)));
        assert_eq!(toward(V6, Some([203, 0, 113, 5])), (V6, V6));
        assert_eq!(toward(V4, None), (V4, V4));
    }
}
