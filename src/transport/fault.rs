//! Why a connection ends.

use crate::sip::stream::FrameError;

use super::outbox::Full;

/// What ended a connection, or keeps it from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closed or reset by the peer, or by the network.
    Ended,
    /// Nobody can tell where a message ends.
    Frame(FrameError),
    /// The frames of a WebSocket are none.
    WebSocket,
    /// The handshake came to nothing.
    Shake(Shake),
    /// The peer does not read.
    Overflow,
}

impl Fault {
    /// Returns true where the peer has been told what is wrong, and should hear it.
    pub(super) fn has_last_word(self) -> bool {
        match self {
            Self::Frame(_) | Self::WebSocket | Self::Shake(_) => true,
            Self::Ended | Self::Overflow => false,
        }
    }
}

impl From<Full> for Fault {
    fn from(Full: Full) -> Self {
        Self::Overflow
    }
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many as may be.
    Limit,
    /// There are as many as may be of its source.
    LimitPerIp,
    /// Its source is kept out, shut out, or comes too often.
    Gate,
    /// It comes past the proxies of its listener.
    NotAProxy,
}

impl Refusal {
    pub const ALL: [Self; 4] = [Self::Limit, Self::LimitPerIp, Self::Gate, Self::NotAProxy];

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::LimitPerIp => "limit_per_ip",
            Self::Gate => "gate",
            Self::NotAProxy => "not_a_proxy",
        }
    }
}

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shake {
    /// The peer's certificate: missing, expired, of nobody we trust, of another name.
    Certificate,
    /// No version, cipher or group in common.
    Incompatible,
    /// The peer refused us, by an alert.
    Alert,
    /// What came is no TLS, or TLS that makes no sense.
    Nonsense,
    /// The HTTP request asks for no WebSocket that speaks SIP.
    Upgrade,
    /// A page of an origin that may not open one asks for a WebSocket.
    Origin,
    /// A proxy does not say who the client is.
    Proxy,
    /// Not done in time.
    Timeout,
    /// The peer left in the midst of it.
    Left,
}

impl Shake {
    pub const ALL: [Self; 9] = [
        Self::Certificate,
        Self::Incompatible,
        Self::Alert,
        Self::Nonsense,
        Self::Upgrade,
        Self::Origin,
        Self::Proxy,
        Self::Timeout,
        Self::Left,
    ];

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Incompatible => "incompatible",
            Self::Alert => "alert",
            Self::Nonsense => "nonsense",
            Self::Upgrade => "upgrade",
            Self::Origin => "origin",
            Self::Proxy => "proxy",
            Self::Timeout => "timeout",
            Self::Left => "left",
        }
    }
}
