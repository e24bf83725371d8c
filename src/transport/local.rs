//! Which of this machine's addresses a peer sees.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Returns the address that the kernel would send from to reach a peer; none where there is no route.
/// Nothing is sent.
pub fn toward(peer: IpAddr) -> Option<IpAddr> {
    let any = match peer {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // The port plays no part in the routing; discard's is as good as any.
    socket.connect((peer, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Returns true where an address is one of this machine's.
pub fn bindable(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_from_loopback() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(toward(loopback), Some(loopback));
        assert!(bindable(loopback));
        // RFC 5737: an address of documentation is nobody's.
        assert!(!bindable(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
    }
}
