//! Names of things: conversations, legs, flows, addresses of record.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::engine::time::Time;

/// How many virtual shards tags and branches can name; the number of workers may change, this may not.
pub const VIRTUAL_SHARDS: u8 = 64;

/// The owner of a conversation, minted into every tag and branch of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VirtualShard(pub u8);

/// One conversation; unique over restarts and nodes. The top byte is its virtual shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConversationId(pub u64);

impl ConversationId {
    /// Returns the shard that owns the conversation.
    pub fn shard(self) -> VirtualShard {
        VirtualShard((self.0 >> 56) as u8 % VIRTUAL_SHARDS)
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for ConversationId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Names one question to the world; its answer carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One leg of a conversation; never used twice within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegId(pub u32);

/// The two ends of a conversation, by who invited whom at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Caller,
    Callee,
}

impl Side {
    /// Returns the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    /// Returns 0 for the caller and 1 for the callee, for arrays of two.
    pub fn index(self) -> usize {
        match self {
            Self::Caller => 0,
            Self::Callee => 1,
        }
    }

    /// Returns the word used in logs, labels and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }
}

/// What a flow runs over (RFC 3261 18, RFC 7118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Transport {
    /// Returns true where the transport itself delivers reliably and in order (RFC 3261 17).
    pub fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Returns true where what is said cannot be read on the way.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Returns true where messages come in WebSocket frames (RFC 7118).
    pub fn is_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Returns what a `sips:` URI means by the word (RFC 3261 26.2.2).
    pub fn secured(self) -> Self {
        match self {
            Self::Udp | Self::Tcp | Self::Tls => Self::Tls,
            Self::Ws | Self::Wss => Self::Wss,
        }
    }

    /// Returns the word of the Via header (RFC 3261 20.42).
    pub fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Returns the word of the `transport` URI parameter; RFC 7118 5.2 has one for both WebSockets.
    pub fn uri_param(self) -> &'static str {
        match self {
            Self::Wss => "ws",
            Self::Udp | Self::Tcp | Self::Tls | Self::Ws => self.param(),
        }
    }

    /// Returns the word of listeners and logs.
    pub fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Reads the word of a Via header or a `transport` parameter, in any case.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
            .into_iter()
            .find(|t| t.param().eq_ignore_ascii_case(word))
    }

    /// Returns the port used where none is named (RFC 3261 19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// Index of a listener, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListenerId(pub u16);

/// One TCP, TLS or WebSocket connection; never used twice in the life of the process. Or, over TLS to a
/// server, any connection to the peer on which it has proved to be a certain host, else a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    const ANY: u64 = 1 << 63;

    /// Names whichever connection the host with this hash has proved itself on.
    pub fn to_host(hash: u64) -> Self {
        Self(hash | Self::ANY)
    }

    /// Returns true where a host is named rather than a connection: one that is closed is opened again.
    pub fn is_to_host(self) -> bool {
        self.0 & Self::ANY != 0
    }
}

/// The 5-tuple or connection that an endpoint is reached through (RFC 5626 2).
///
/// `connection: None` over a stream transport means: any open connection to `peer`, else a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flow {
    pub transport: Transport,
    pub listener: ListenerId,
    pub peer: SocketAddr,
    pub connection: Option<ConnectionId>,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.peer)
    }
}

/// An address of record in canonical form: `sip:user@host`, host in lower case, escapes that need
/// not be there undone, no port, no parameters; or `tel:` with visual separators removed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Aor(Box<str>);

impl Aor {
    /// Wraps text that is already canonical; `engine::location::canonical` makes it so.
    pub fn from_canonical(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before `@`, without the scheme.
    pub fn user(&self) -> &str {
        let rest = self.0.split_once(':').map_or(&*self.0, |(_, rest)| rest);
        rest.split_once('@').map_or(rest, |(user, _)| user)
    }

    /// Returns the part after `@`, or nothing.
    pub fn host(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, host)| host)
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When a nonce of digest authentication was made, and which of that moment it is (RFC 7616 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NonceId {
    pub made: Time,
    /// Evenly spread over the nonces of a shard.
    pub serial: u32,
}

/// By what temporary GRUUs are made and read. Whoever knows it sees whose they are.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct GruuKey(pub [u8; 32]);

impl fmt::Debug for GruuKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GruuKey").finish_non_exhaustive()
    }
}
