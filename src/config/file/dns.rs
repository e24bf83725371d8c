//! `dns`: who is asked for names.

use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::listen::address_of;
use super::quantity::{MS, SECOND, Span, Whole};
use super::text::{FromText, text_type};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Dns {
    /// Name servers; with none, those of the system.
    pub(crate) servers: Vec<NameServer>,
    /// How long one has time to answer.
    pub(crate) timeout: Span<{ 100 * MS }, { 30 * SECOND }>,
    /// How often a question is put.
    pub(crate) attempts: Whole<1, 10>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Span(2 * SECOND),
            attempts: Whole(2),
        }
    }
}

/// An address, with port 53 where it names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameServer(pub(crate) SocketAddr);

impl FromText for NameServer {
    const WHAT: &'static str = "a name server";

    fn form() -> String {
        "an IP address with or without a port: 192.0.2.53, 127.0.0.1:5353, [2001:db8::53]:53"
            .to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match address_of(text) {
            Some((ip, _)) if ip.is_unspecified() => {
                Err(format!("`{text}` is no address of a server"))
            }
            Some((_, Some(0))) => Err(format!("`{text}` has port 0")),
            Some((ip, port)) => Ok(Self(SocketAddr::new(ip, port.unwrap_or(53)))),
            None => Err(format!("`{text}` is no IP address")),
        }
    }

    fn pattern() -> String {
        "^([0-9.]+(:[0-9]+)?|[\\[\\]0-9a-fA-F:.]+)$".to_owned()
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

text_type!(NameServer);
