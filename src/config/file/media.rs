//! `media`: voice and video.

use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::listen::Dscp;
use super::quantity::Decimal;
use super::text::{FromText, text_type};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Media {
    /// Through our relay, through rtpengine (not in this version), or past us.
    pub(crate) mode: MediaMode,
    /// Of the relay; an even RTP port and the odd RTCP port above it make a pair.
    pub(crate) ports: Ports,
    /// Shares of the ports that not every call may take.
    pub(crate) reserve: Reserve,
    /// Where the first packet may come from: the address of the SDP or of the signalling, or the
    /// former only.
    pub(crate) latch: Latch,
    /// SRTP with keys in the SDP, which ends at each leg: not spoken, as each phone has it, or on every
    /// leg.
    pub(crate) srtp: Srtp,
    /// What peers are told: `auto`, or an IP address.
    pub(crate) address: MediaAddress,
    /// Differentiated services code point of the relay's packets: a name, or 0 to 63.
    pub(crate) dscp: Dscp,
    /// Control addresses of rtpengine. No effect in this version.
    pub(crate) rtpengine: Vec<String>,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            mode: MediaMode::Relay,
            ports: Ports {
                first: 10_000,
                last: 32_767,
            },
            reserve: Reserve::default(),
            latch: Latch::Signalling,
            srtp: Srtp::Optional,
            address: MediaAddress::Auto,
            dscp: Dscp::VOICE,
            rtpengine: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reserve {
    /// Kept for calls that stand: they are restored when nothing else is left.
    pub(crate) restorations: Decimal<0, 9>,
    /// Kept for those and for calls of users, trusted peers and upstreams: strangers may not take them.
    pub(crate) users: Decimal<0, 9>,
}

impl Default for Reserve {
    fn default() -> Self {
        Self {
            restorations: Decimal(0.1),
            users: Decimal(0.25),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MediaMode {
    Relay,
    Rtpengine,
    Direct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Srtp {
    Off,
    Optional,
    Required,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Latch {
    Signalling,
    Sdp,
}

/// A range of whole port pairs (RFC 3550 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl FromText for Ports {
    const WHAT: &'static str = "a range of ports";

    fn form() -> String {
        "an even first and an odd last port from 1024 up, so that all are pairs: 10000-32767"
            .to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let ports = text.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        });
        let (first, last): (u16, u16) =
            ports.ok_or_else(|| format!("`{text}` is no range of ports"))?;
        if first < 1024 {
            Err(format!("port {first} is reserved for the system"))
        } else if first > last {
            Err(format!("{first} is above {last}"))
        } else if first % 2 != 0 {
            Err(format!("{first} is odd, RTP has even ports"))
        } else if last % 2 == 0 {
            Err(format!("{last} is even, it has no RTCP port beside it"))
        } else {
            Ok(Self { first, last })
        }
    }

    fn pattern() -> String {
        "^[0-9]+ *- *[0-9]+$".to_owned()
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

text_type!(Ports);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaAddress {
    Auto,
    Ip(IpAddr),
}

impl FromText for MediaAddress {
    const WHAT: &'static str = "an address";

    fn form() -> String {
        "auto, or an IP address that peers can reach".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<IpAddr>() {
            Ok(ip) if !ip.is_unspecified() => Ok(Self::Ip(ip)),
            Ok(_) => Err(format!("`{text}` is no address that a peer could reach")),
            Err(_) => Err(format!("`{text}` is no IP address")),
        }
    }

    fn pattern() -> String {
        "^(auto|[0-9a-fA-F:.]+)$".to_owned()
    }
}

impl fmt::Display for MediaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

text_type!(MediaAddress);
