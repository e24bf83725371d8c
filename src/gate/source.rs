//! Whom a limit or a ban is for.

use std::fmt;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

use crate::engine::ids::{Flow, Transport};
use crate::engine::network::customer;

/// An IPv4 address, or the /64 that one customer of an IPv6 network has: whoever has one address of it
/// has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// Returns the source that an address belongs to. An IPv4 address that came over an IPv6 socket
    /// (RFC 4291 2.5.5.2) is that IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        Self(customer(address))
    }
}

/// The other end of a flow: what one phone is told from another by, behind one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    pub transport: Transport,
    pub peer: SocketAddr,
}

impl Origin {
    /// Returns the source that it belongs to.
    pub fn source(&self) -> Source {
        Source::of(self.peer.ip())
    }
}

impl From<&Flow> for Origin {
    fn from(flow: &Flow) -> Self {
        Self {
            transport: flow.transport,
            peer: flow.peer,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.peer)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

impl FromStr for Source {
    type Err = AddrParseError;

    /// Reads an address, or a source as it is shown.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text
            .strip_suffix("/64")
            .filter(|address| address.contains(':'));
        address.unwrap_or(text).parse().map(Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_is_one_source() {
        for (address, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ] {
            let source: Source = address.parse().unwrap();
            assert_eq!(source.to_string(), shown);
            assert_eq!(shown.parse(), Ok(source));
        }
        for wrong in ["", "192.0.2.0/64", "192.0.2.0/24", "2001:db8::/32", "host"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }
}
