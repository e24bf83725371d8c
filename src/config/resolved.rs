//! The configuration as the program needs it: it cannot be invalid.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::file::Dscp;
use crate::engine::ids::Transport;
use crate::engine::network::Network;
use crate::engine::settings::Settings;
use crate::tls;

use super::written::Written;

/// Everything, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Shards; at least one.
    pub workers: usize,
    /// Not empty. A `ListenerId` is an index into it.
    pub listeners: Vec<Listener>,
    /// There where a listener needs certificates; they could be read.
    pub tls: Option<tls::Files>,
    pub engine: Settings,
    pub media: MediaConfig,
    pub dns: DnsConfig,
    pub limits: TransportLimits,
    pub rate: RateConfig,
    pub bans: BanConfig,
    pub admin: AdminConfig,
    pub log: LogConfig,
    /// Where ended conversations are written to.
    pub cdr: Option<PathBuf>,
    /// Keys that are set but have no effect in this version, and the like: logged at the start.
    pub warnings: Vec<String>,
    /// What the file says, to be compared with what it says later.
    pub written: Written,
    /// Users of the first start, to be printed; empty where the file names users.
    pub made_users: Vec<MadeUser>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub transport: Transport,
    /// What who comes speaks, and is told: another one where proxies end TLS before the listener.
    pub spoken: Transport,
    /// Port 0 takes any free one.
    pub at: SocketAddr,
    /// What peers are told instead of the local address of the flow.
    pub advertise: Option<SocketAddr>,
    /// Differentiated services code point of what is sent (RFC 4594), 0 to 63.
    pub dscp: u8,
    /// Those that stand before it.
    pub proxies: Option<Proxies>,
    /// Of the pages that may open a WebSocket, as browsers write them; all where none is named.
    pub origins: Vec<Box<str>>,
}

impl Listener {
    /// Makes one of which nothing but its place is told.
    pub fn new(transport: Transport, at: SocketAddr) -> Self {
        Self {
            transport,
            spoken: transport,
            at,
            advertise: None,
            dscp: Dscp::SIGNALLING.0,
            proxies: None,
            origins: Vec::new(),
        }
    }
}

/// Proxies whose word on who a client is is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    pub networks: Vec<Network>,
    pub by: NamedBy,
}

impl Proxies {
    /// Returns true where an address is that of one of them.
    pub fn hold(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.holds(address))
    }
}

/// How a proxy says who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// By the PROXY protocol; who speaks it not is not let in.
    ProxyProtocol,
    /// By a header of the request for a WebSocket; who is no proxy is a client.
    Header(ForwardedBy),
}

/// The header by which a proxy says who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedBy {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaConfig {
    pub ports: RangeInclusive<u16>,
    /// What peers are told; None: the local address toward the peer.
    pub address: Option<IpAddr>,
    /// Differentiated services code point of what is sent, 0 to 63 (RFC 4594).
    pub dscp: u8,
}

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long a server has time to answer.
    pub timeout: Duration,
    /// How often a question is put.
    pub attempts: usize,
}

impl DnsConfig {
    /// Returns how long a name is sought: for two of the three rounds that it takes nobody may answer.
    pub fn deadline(&self) -> Duration {
        let attempts = u32::try_from(self.attempts).unwrap_or(u32::MAX);
        self.timeout.saturating_mul(attempts.saturating_mul(3))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// Octets of one SIP message.
    pub message_size: usize,
    /// Octets asked of the kernel for what waits at one UDP socket.
    pub receive_buffer: usize,
    pub connections: usize,
    pub connections_per_ip: usize,
    /// A connection without a word for this long is closed.
    pub idle: Duration,
    /// A client that connects must have said anything whole by then.
    pub first_message: Duration,
    /// A message that has begun must be whole by then.
    pub header_timeout: Duration,
    /// CRLF sent over registered UDP flows this often (RFC 5626 4.4.1 keeps the NAT's binding).
    pub keepalive: Duration,
}

/// What one source may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// At least one.
    pub per_second: u32,
    /// At once; at least one.
    pub burst: u32,
}

/// When a source is shut out: after so many offences within a time, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanConfig {
    /// At least one.
    pub after: u32,
    pub within: Duration,
    pub duration: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    pub listen: SocketAddr,
    pub token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter as `tracing_subscriber::EnvFilter` reads it.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// A user that the first start invented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeUser {
    pub aor: String,
    pub password: String,
}
