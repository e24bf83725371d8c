//! What a phone is, and how it behaves.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

/// What SIP is carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Transport {
    /// Returns the word of a Via.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    pub(super) fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Returns the `transport` parameter of a Contact (RFC 7118 5.2 has one word for both WebSockets).
    pub(super) fn param(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }
}

/// How an INVITE is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Rings, and waits for `Call::answer` or `Call::refuse`.
    Ring,
    /// Rings, and answers by itself after this long.
    Answer(Duration),
    /// Sends this final status, after ringing this long; at once without ringing where it is zero.
    Refuse(u16, Duration),
}

/// Whether a phone encrypts its media, with keys in the description (RFC 4568).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Srtp {
    /// It knows nothing of it: a profile that asks for it is refused.
    Off,
    /// Where the other end does too: it offers a key under the plain profile.
    Optional,
    /// Always: what is plain is refused.
    Required,
}

/// What a phone does by itself.
#[derive(Clone, Debug)]
pub struct Script {
    pub invite: Reaction,
    /// False: MESSAGE is missing in Allow, and refused with 405.
    pub takes_messages: bool,
    /// What MESSAGE gets where it is taken.
    pub message_status: u16,
    /// What OPTIONS gets, in a dialog and outside.
    pub options_status: u16,
    /// False: an INVITE with Replaces is met as if it had none (RFC 3891 is an option).
    pub knows_replaces: bool,
    /// Sends RTP while a call's direction allows it.
    pub speaks: bool,
    pub srtp: Srtp,
    /// Takes pictures where they are offered.
    pub shows: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            invite: Reaction::Ring,
            takes_messages: true,
            message_status: 200,
            options_status: 200,
            knows_replaces: true,
            speaks: true,
            srtp: Srtp::Off,
            shows: true,
        }
    }
}

/// One phone: who owns it, and what it tells about itself.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How the log and the ladder call it.
    pub label: String,
    pub user: String,
    pub domain: String,
    /// Display name of From and Contact.
    pub display: Option<String>,
    pub password: String,
    /// `urn:uuid:...` for `+sip.instance` (RFC 5626 4.1).
    pub instance: Option<String>,
    pub user_agent: String,
    pub transport: Transport,
    /// Whom it trusts over TLS; its server must prove to be `domain`.
    pub trust: Option<Arc<ClientConfig>>,
    /// Loopback address to bind.
    pub address: IpAddr,
    /// Everything that has no better place to go is sent here.
    pub server: SocketAddr,
    /// RFC 3261 17.1.1.1.
    pub t1: Duration,
    /// Seconds asked for in REGISTER.
    pub expires: u32,
    /// Every octet of the RTP payloads it sends, so that it can be told who is heard.
    pub voice: u8,
    pub script: Script,
}

impl Profile {
    /// Makes a plain UDP phone of `user` on the server's own address.
    pub fn new(label: &str, user: &str, domain: &str, server: SocketAddr) -> Self {
        Self {
            label: label.to_owned(),
            user: user.to_owned(),
            domain: domain.to_owned(),
            display: None,
            password: String::new(),
            instance: None,
            user_agent: "refork-ua/1".to_owned(),
            transport: Transport::Udp,
            trust: None,
            address: server.ip(),
            server,
            t1: Duration::from_millis(500),
            expires: 3600,
            voice: label.bytes().fold(0x20, |sum, byte| sum ^ byte) & 0x7f,
            script: Script::default(),
        }
    }

    /// Returns the address of record.
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// Returns what Allow says.
    pub(super) fn allow(&self) -> &'static str {
        if self.script.takes_messages {
            "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, UPDATE, INFO"
        } else {
            "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO"
        }
    }
}
