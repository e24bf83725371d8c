//! What operators turn: `store`, `tls`, `admin`, `timers`, `nat`, `acl`, `bans`, `history`, `limits`,
//! `log`, `capture`, `cdr`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{DAY, GIB, HOUR, KIB, MIB, MINUTE, MS, SECOND, Size, Span, Whole};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Store {
    /// A database in `node.data_dir`.
    Embedded,
    /// The URL of a Redis or Valkey.
    Redis(String),
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tls {
    /// PEM file: the certificate, then the rest of its chain. Relative to this file.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file.
    pub(crate) key: Option<PathBuf>,
    /// More certificates, each for the names in it.
    pub(crate) more: Vec<TlsPair>,
    /// PEM file with the CAs that certificates of clients are held against; without it none is asked for.
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate, where there is a `client_ca`.
    pub(crate) client_auth: ClientAuth,
    /// PEM file with the CAs that servers are held against that we connect to; without it, the system's.
    pub(crate) server_ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsPair {
    /// PEM file.
    pub(crate) certificate: PathBuf,
    /// PEM file.
    pub(crate) key: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientAuth {
    /// Who has none is turned away.
    #[default]
    Required,
    /// Who has none is a stranger.
    Optional,
}

#[derive(Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// Address and port.
    pub(crate) listen: SocketAddrText,
    /// What clients must send; demanded off loopback.
    pub(crate) token: Option<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddrText(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
            token: None,
        }
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// An IP address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketAddrText(pub(crate) SocketAddr);

impl super::text::FromText for SocketAddrText {
    const WHAT: &'static str = "an address";

    fn form() -> String {
        "an IP address and a port: 127.0.0.1:8080, \"[::1]:8080\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("`{text}` is no IP address with a port"))
    }

    fn pattern() -> String {
        "^[\\[\\]0-9a-fA-F:.]+:[0-9]+$".to_owned()
    }
}

impl std::fmt::Display for SocketAddrText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

super::text::text_type!(SocketAddrText);

/// RFC 3261 17, table 4.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timers {
    /// Round-trip time estimate.
    pub(crate) t1: Span<{ 10 * MS }, { 10 * SECOND }>,
    /// Longest wait between retransmissions.
    pub(crate) t2: Span<{ 10 * MS }, MINUTE>,
    /// How long a message stays in the network.
    pub(crate) t4: Span<{ 10 * MS }, MINUTE>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Span(500 * MS),
            t2: Span(4 * SECOND),
            t4: Span(5 * SECOND),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Nat {
    /// Registered UDP flows get a CRLF this often (RFC 5626 4.4.1).
    pub(crate) keepalive: Span<SECOND, HOUR>,
}

impl Default for Nat {
    fn default() -> Self {
        Self {
            keepalive: Span(25 * SECOND),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Acl {
    /// Networks; where there are any, all others but trusted ones are shut out.
    pub(crate) allow: Vec<String>,
    /// Networks that are shut out, whatever else names them.
    pub(crate) deny: Vec<String>,
    /// Networks that are asked for no digest, and whose word on who calls is believed.
    pub(crate) trusted: Vec<String>,
    /// Phones are told who calls them as trusted peers are, by P-Asserted-Identity, where who calls does not wish
    /// to be unnamed.
    pub(crate) identity_to_phones: bool,
    /// Names that clients prove by certificates of `tls.client_ca`, and are trusted like networks for:
    /// a domain, or `sip:user@domain`.
    pub(crate) trusted_certificates: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Bans {
    /// Failures.
    pub(crate) after: Whole<1, 1_000_000>,
    /// In this time.
    pub(crate) within: Span<SECOND, DAY>,
    /// How long it is shut out.
    #[serde(rename = "for")]
    pub(crate) duration: Span<SECOND, { 30 * DAY }>,
}

impl Default for Bans {
    fn default() -> Self {
        Self {
            after: Whole(20),
            within: Span(MINUTE),
            duration: Span(10 * MINUTE),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct History {
    /// How long an ended conversation can be looked up.
    pub(crate) keep: Span<0, { 400 * DAY }>,
    /// Their size. No effect in this version.
    pub(crate) max: Size<MIB, { 1024 * GIB }>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            keep: Span(7 * DAY),
            max: Size(GIB),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Of one SIP message.
    pub(crate) message_size: Size<{ 4 * KIB }, { 16 * MIB }>,
    /// Of what waits at one worker's UDP socket; the kernel may give less.
    pub(crate) receive_buffer: Size<{ 64 * KIB }, { 1024 * MIB }>,
    /// TCP connections.
    pub(crate) connections: Whole<1, 1_000_000>,
    /// TCP connections of one IPv4 address, or of one IPv6 /64.
    pub(crate) connections_per_ip: Whole<1, 1_000_000>,
    /// A connection without a word for this long is closed, unless something needs it.
    pub(crate) idle: Span<{ 10 * SECOND }, DAY>,
    /// A client that connects must have said anything whole by then.
    pub(crate) first_message: Span<{ 100 * MS }, HOUR>,
    /// A message that has begun must be whole by then.
    pub(crate) header_timeout: Span<{ 100 * MS }, { 5 * MINUTE }>,
    /// Requests of one address, or of one IPv6 /64.
    pub(crate) requests_per_ip: RequestsPerIp,
    /// Conversations at a time.
    pub(crate) conversations: Whole<1, 10_000_000>,
    /// Calls that nobody has answered yet, at a time. Strangers together have half of it.
    pub(crate) ringing: Whole<1, 10_000_000>,
    /// The same of one user who has proven who it is. Trusted peers and upstreams have no such limit.
    pub(crate) ringing_per_user: Whole<1, 1_000_000>,
    /// The same of one address, or of one IPv6 /64, of whose calls nothing else is known.
    pub(crate) ringing_per_ip: Whole<1, 1_000_000>,
    /// The same where datagrams alone name the address: anybody can have sent them.
    pub(crate) ringing_per_unproven_ip: Whole<1, 1_000_000>,
    /// The same for one user, of all callers of whom nothing is known.
    pub(crate) ringing_per_called: Whole<1, 1_000_000>,
    /// Calls of one user at a time, answered or not. Trusted peers and upstreams have no such limit.
    pub(crate) calls_per_user: Whole<1, 1_000_000>,
    /// The same of one address, or of one IPv6 /64, of whose calls nothing else is known.
    pub(crate) calls_per_ip: Whole<1, 1_000_000>,
    /// Streams that the relay carries in the calls of one user, at a time: each takes two pairs of ports. Trusted
    /// peers and upstreams have no such limit.
    pub(crate) streams_per_user: Whole<16, 1_000_000>,
    /// The same of one address, or of one IPv6 /64, of whose calls nothing else is known.
    pub(crate) streams_per_ip: Whole<16, 1_000_000>,
    /// What MESSAGE, and other requests outside of dialogs that are carried on, may hold while they wait for
    /// their answers. Strangers together have a quarter of it.
    pub(crate) under_way: Size<{ 4 * MIB }, { 64 * GIB }>,
    /// MESSAGE outside of dialogs of one user that wait for their answers. Trusted peers and upstreams have no
    /// such limit.
    pub(crate) texts_per_user: Whole<1, 1_000_000>,
    /// The same of one address, or of one IPv6 /64, of whose texts nothing else is known.
    pub(crate) texts_per_ip: Whole<1, 1_000_000>,
    /// The same where datagrams alone name the address: anybody can have sent them.
    pub(crate) texts_per_unproven_ip: Whole<1, 1_000_000>,
    /// The same for one user, of all senders of whom nothing is known.
    pub(crate) texts_per_called: Whole<1, 1_000_000>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: Size(64 * KIB),
            receive_buffer: Size(4 * MIB),
            connections: Whole(20_000),
            connections_per_ip: Whole(200),
            idle: Span(15 * MINUTE),
            first_message: Span(10 * SECOND),
            header_timeout: Span(5 * SECOND),
            requests_per_ip: RequestsPerIp::default(),
            conversations: Whole(100_000),
            ringing: Whole(10_000),
            ringing_per_user: Whole(50),
            ringing_per_ip: Whole(100),
            ringing_per_unproven_ip: Whole(10),
            ringing_per_called: Whole(20),
            calls_per_user: Whole(200),
            calls_per_ip: Whole(200),
            streams_per_user: Whole(500),
            streams_per_ip: Whole(500),
            under_way: Size(256 * MIB),
            texts_per_user: Whole(100),
            texts_per_ip: Whole(100),
            texts_per_unproven_ip: Whole(20),
            texts_per_called: Whole(20),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestsPerIp {
    /// Per second.
    pub(crate) rate: Whole<1, 1_000_000>,
    /// At once.
    pub(crate) burst: Whole<1, 1_000_000>,
}

impl Default for RequestsPerIp {
    fn default() -> Self {
        Self {
            rate: Whole(200),
            burst: Whole(400),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// error, warn, info, debug or trace; or by module: `info,refork::observe=debug`.
    pub(crate) level: String,
    /// Lines for people, or JSON objects.
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Capture {
    /// A Homer: `udp://homer:9060`.
    pub(crate) hep: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cdr {
    /// JSON lines.
    pub(crate) file: Option<PathBuf>,
}
