//! Locating SIP servers (RFC 3263): from the host of a URI to the transports, addresses and ports that are
//! tried, in order. What has to be looked up is a value (`Search`), so that any resolver can be behind it.
//!
//! ```text
//!  no port, no transport        the transport is known        a port, or no service records
//!        NAPTR  ─────────────────────►  SRV  ───────────────────────►  A, AAAA  ──► targets
//!               the replacements             the hosts, by weight
//! ```

mod order;
mod search;
mod shunned;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use crate::engine::ids::Transport;
use crate::sip::{Scheme, Uri};

pub use self::order::{Naptr, Srv};
pub use self::search::{Answers, Query, Records, Search};
pub use self::shunned::Shunned;

/// Where a request can be sent.
pub type Located = (Transport, SocketAddr);

/// The next hop as a URI names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// A name in lower case, or an IP address; of `maddr` where there is one. IPv6 without brackets.
    pub host: Box<str>,
    pub port: Option<u16>,
    /// The transport that the URI asks for.
    pub transport: Option<Transport>,
    /// Of a `sips:` URI: nothing but TLS will do.
    pub secure: bool,
}

impl Hop {
    /// Reads the next hop out of a URI (RFC 3263 4). None where it is no SIP URI, or asks for what cannot
    /// be: an unknown transport.
    pub fn of(uri: &Uri<'_>) -> Option<Self> {
        let secure = match uri.scheme {
            Scheme::Sip => false,
            Scheme::Sips => true,
            Scheme::Tel | Scheme::Other(_) => return None,
        };
        let transport = match uri.transport() {
            None => None,
            Some(word) => Some(Transport::parse(word)?),
        };
        let host = uri.params.value("maddr").unwrap_or(uri.host);
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        Some(Self {
            host: bare.unwrap_or(host).to_ascii_lowercase().into(),
            port: uri.port,
            transport: transport.map(|named| if secure { named.secured() } else { named }),
            secure,
        })
    }

    /// Returns the address of a hop that names one. RFC 3263 4.1, 4.2: UDP, or TLS for `sips:`, and the
    /// transport's own port where the URI says nothing.
    pub fn numeric(&self) -> Option<Located> {
        let ip: IpAddr = self.host.parse().ok()?;
        let transport = self.transport.unwrap_or_else(|| self.fallback());
        let port = self.port.unwrap_or_else(|| transport.default_port());
        Some((transport, SocketAddr::new(ip, port)))
    }

    /// Returns the same hop where nothing but TLS will do.
    #[must_use]
    pub fn secured(self) -> Self {
        Self {
            transport: self.transport.map(Transport::secured),
            secure: true,
            ..self
        }
    }

    /// Returns true where it can be reached by TLS alone.
    pub fn is_secure(&self) -> bool {
        self.secure || self.transport.is_some_and(Transport::is_secure)
    }

    fn fallback(&self) -> Transport {
        if self.secure {
            Transport::Tls
        } else {
            Transport::Udp
        }
    }
}
