//! `listen` and `advertise`: where SIP is spoken, and what peers are told.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{FromText, Ordered, TextOr, text_type};
use crate::engine::ids::Transport;

pub(crate) type Listen = TextOr<ListenAt, ListenLong>;
pub(crate) type Advertise = TextOr<AdvertiseTo, Ordered<AdvertiseTo>>;

/// UDP and TCP on every IPv4 address.
pub(super) fn defaults() -> Vec<Listen> {
    [Transport::Udp, Transport::Tcp]
        .map(|transport| {
            let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, transport.default_port()));
            TextOr::Text(ListenAt { transport, at })
        })
        .to_vec()
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenLong {
    /// `udp://address:port`.
    pub(crate) at: ListenAt,
    /// Differentiated services code point of what is sent: `cs3` where nothing is said, or 0 to 63.
    #[serde(default)]
    pub(crate) dscp: Option<Dscp>,
    /// What peers are told of this listener.
    #[serde(default)]
    pub(crate) advertise: Option<AdvertiseTo>,
    /// Networks of the proxies before this listener, whose word on who a client is is taken.
    #[serde(default)]
    pub(crate) proxies: Vec<String>,
    /// They say it by the PROXY protocol, ahead of all else, and nobody else is let in.
    #[serde(default)]
    pub(crate) proxy_protocol: bool,
    /// They end TLS: peers are told that it is spoken here.
    #[serde(default)]
    pub(crate) proxies_end_tls: bool,
    /// Or by this header of the request for a WebSocket.
    #[serde(default)]
    pub(crate) forwarded_by: Option<ForwardedBy>,
    /// Origins of the pages that may open a WebSocket: `https://phone.example.org`; all where none is named.
    #[serde(default)]
    pub(crate) origins: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForwardedBy {
    /// X-Forwarded-For.
    XForwardedFor,
    /// Forwarded (RFC 7239).
    Forwarded,
}

/// `udp://address:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenAt {
    pub(crate) transport: Transport,
    pub(crate) at: SocketAddr,
}

impl FromText for ListenAt {
    const WHAT: &'static str = "a listener";

    fn form() -> String {
        "a transport, an IP address and a port: udp://192.0.2.1:5060, tcp://[::]:5060; \
         0.0.0.0 and [::] are all addresses"
            .to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let (scheme, address) = text
            .split_once("://")
            .ok_or_else(|| format!("`{text}` names no transport"))?;
        let transport = Transport::parse(scheme)
            .ok_or_else(|| format!("`{scheme}` is no transport: udp, tcp, tls, ws or wss"))?;
        let (ip, port) = address_of(address)
            .ok_or_else(|| format!("`{address}` is no IP address with a port"))?;
        let port = port.unwrap_or_else(|| transport.default_port());
        Ok(Self {
            transport,
            at: SocketAddr::new(ip, port),
        })
    }

    fn pattern() -> String {
        "^(udp|tcp|tls|ws|wss)://".to_owned()
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.param(), self.at)
    }
}

text_type!(ListenAt);

/// What peers are told: the local address of the flow, or this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdvertiseTo {
    Auto,
    /// Without a port: the listener's own.
    Address(IpAddr, Option<u16>),
}

impl FromText for AdvertiseTo {
    const WHAT: &'static str = "an address";

    fn form() -> String {
        "auto, or an IP address with or without a port: 203.0.113.5, 203.0.113.5:5060, \
         [2001:db8::5]:5060; no host name: write the address that `getent ahosts NAME` tells, \
         or ${VARIABLE}, where that changes from start to start"
            .to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match address_of(text) {
            Some((ip, _)) if ip.is_unspecified() => {
                Err(format!("`{text}` is no address that a peer could reach"))
            }
            Some((_, Some(0))) => Err(format!("`{text}` has port 0")),
            Some((ip, port)) => Ok(Self::Address(ip, port)),
            None if text.bytes().any(|b| b.is_ascii_alphabetic()) && !text.contains(' ') => Err(
                format!("`{text}` is no IP address, and names are not looked up here"),
            ),
            None => Err(format!("`{text}` is no IP address")),
        }
    }

    fn pattern() -> String {
        "^(auto|[0-9.]+(:[0-9]+)?|[\\[\\]0-9a-fA-F:.]+)$".to_owned()
    }
}

impl fmt::Display for AdvertiseTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Address(ip, None) => write!(f, "{ip}"),
            Self::Address(ip, Some(port)) => write!(f, "{}", SocketAddr::new(*ip, *port)),
        }
    }
}

text_type!(AdvertiseTo);

/// Reads an IP address with or without a port; an IPv6 address with one stands in brackets.
pub(super) fn address_of(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok().map(|ip| (ip, None))
}

/// A code point of RFC 2474, by the names of RFC 2474, 2597 and 3246 or by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dscp(pub(crate) u8);

impl Dscp {
    /// What telephones and their switches mark signalling with (CS3). RFC 4594 2.3 has CS5 for it, and CS3 for
    /// video; most networks do not.
    pub(crate) const SIGNALLING: Self = Self(24);
    /// Expedited forwarding (RFC 3246), what RFC 4594 4.1 has for telephony.
    pub(crate) const VOICE: Self = Self(46);

    fn by_name(name: &str) -> Option<u8> {
        let digit =
            |c: char, from: u32, to: u32| c.to_digit(10).filter(|d| (from..=to).contains(d));
        let mut rest = name.get(2..)?.chars();
        let value = match (name.get(..2)?, rest.next(), rest.next(), rest.next()) {
            ("ef", None, None, None) => 46,
            ("cs", Some(class), None, None) => digit(class, 0, 7)? * 8,
            ("af", Some(class), Some(drop), None) => {
                digit(class, 1, 4)? * 8 + digit(drop, 1, 3)? * 2
            }
            _ => return None,
        };
        u8::try_from(value).ok()
    }
}

impl FromText for Dscp {
    const WHAT: &'static str = "a code point";

    fn form() -> String {
        "a name, cs0 to cs7, af11 to af43 or ef, or a number from 0 to 63".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::by_name(text)
            .or_else(|| text.parse().ok().filter(|n| *n < 64))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no code point"))
    }

    fn pattern() -> String {
        "^(cs[0-7]|af[1-4][1-3]|ef|[0-9]+)$".to_owned()
    }

    fn looks_like() -> &'static [&'static str] {
        &["string", "integer"]
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

text_type!(Dscp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_names() {
        for (text, value) in [
            ("cs3", 24),
            ("ef", 46),
            ("af31", 26),
            ("af43", 38),
            ("0", 0),
            ("63", 63),
        ] {
            assert_eq!(Dscp::from_text(text), Ok(Dscp(value)), "{text}");
        }
        for text in ["", "c", "cs8", "af44", "af51", "efx", "64", "é3"] {
            assert!(Dscp::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn listeners_are_read() {
        for (text, written) in [
            ("udp://127.0.0.1:5080", "udp://127.0.0.1:5080"),
            ("TCP://[::1]:0", "tcp://[::1]:0"),
            ("tcp://0.0.0.0", "tcp://0.0.0.0:5060"),
            ("tls://[::]", "tls://[::]:5061"),
        ] {
            let listener = ListenAt::from_text(text).map(|l| l.to_string());
            assert_eq!(listener.as_deref(), Ok(written), "{text}");
        }
        for text in [
            "127.0.0.1:5060",
            "sctp://127.0.0.1",
            "udp://localhost:5060",
            "udp://:5060",
            "udp://1.2.3.4:70000",
        ] {
            assert!(ListenAt::from_text(text).is_err(), "{text}");
        }
    }
}
