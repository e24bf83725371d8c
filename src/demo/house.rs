//! The server on loopback, and the three phones.

use std::net::SocketAddr;
use std::time::Duration;

use crate::app::{self, Server};
use crate::config;
use crate::ua::{Log, Phone, Profile, Reaction};

use super::DemoError;

pub(super) const ALICE: &str = "Alice";
pub(super) const DESK: &str = "Bob's desk";
pub(super) const MOBILE: &str = "Bob's mobile";
pub(super) const BOB: &str = "\"Bob\" <sip:bob@example.org>";

/// Loopback only, any free ports, three users, and limits that need less patience than a network does.
const SETTINGS: &str = r#"
node: { name: demo, workers: 1 }
listen: ["udp://127.0.0.1:0"]
domains:
  example.org: { realm: example.org, registrar: {} }
users:
  sip:alice@example.org: { password: demo-alice }
  sip:bob@example.org: { password: demo-bob }
  sip:carol@example.org: { password: demo-carol }
endpoints:
  - { instance: "urn:uuid:5eedd00d-0000-1000-8000-0000000de5c0", name: "Bob's desk phone" }
  - { instance: "urn:uuid:5eedd00d-0000-1000-8000-000000a0b11e", name: "Bob's mobile" }
detect:
  grace: 1s
  probe: { interval: 15s, timeout: 500ms, tries: 2 }
  media: { silence: 1s }
restore:
  same_first_for: { audio: 1s, message: 1s }
admin: { listen: "127.0.0.1:0" }
"#;

/// The three settings of `SETTINGS` that differ from the defaults in time, for the reader.
const TIGHTENED: &str = "detect.grace 1s (5s), detect.probe.timeout 500ms (4s), \
    detect.media.silence 1s (3s), restore.same_first_for 1s (2s for calls, 12s for messages)";

/// The running server. It ends with the demo.
pub(super) struct House {
    _server: Server,
    sip: SocketAddr,
    pub(super) log: Log,
    pub(super) alice: Phone,
    pub(super) mobile: Phone,
}

impl House {
    /// Starts the server, and registers Alice's phone and Bob's mobile.
    pub(super) fn open() -> Result<Self, DemoError> {
        let server = app::start(config::parse(SETTINGS, "refork demo", &|_| None)?)?;
        let (_, sip) = *server.sip_addresses().first().ok_or(DemoError::Deaf)?;
        let log = Log::start();
        let alice = register(&log, profile(ALICE, "alice", sip))?;
        let mut mobile = profile(MOBILE, "bob", sip);
        mobile.instance = Some("urn:uuid:5eedd00d-0000-1000-8000-000000a0b11e".to_owned());
        let mobile = register(&log, mobile)?;
        Ok(Self {
            _server: server,
            sip,
            log,
            alice,
            mobile,
        })
    }

    /// Switches on Bob's desk phone, as it is at the beginning of each scene.
    pub(super) fn desk(&self) -> Result<Phone, DemoError> {
        let mut desk = profile(DESK, "bob", self.sip);
        desk.instance = Some("urn:uuid:5eedd00d-0000-1000-8000-0000000de5c0".to_owned());
        desk.script.invite = Reaction::Answer(Duration::from_millis(800));
        register(&self.log, desk)
    }

    /// Tells who is there.
    pub(super) fn story(&self) -> String {
        format!(
            "A server has started on udp://{} with users of its own. Alice has one phone; Bob has two, \
             a desk phone and a mobile. They are small SIP phones over real sockets, and have registered \
             by digest. Refork stands between them and relays their voices. What you read below is \
             what the phones sent and received.\n\n\
             To be done in under half a minute, some settings are tighter than by default: {TIGHTENED}.",
            self.sip
        )
    }
}

fn profile(label: &str, user: &str, server: SocketAddr) -> Profile {
    let mut profile = Profile::new(label, user, "example.org", server);
    profile.password = format!("demo-{user}");
    profile
}

fn register(log: &Log, profile: Profile) -> Result<Phone, DemoError> {
    let phone = Phone::start(profile, log)?;
    match phone.register()? {
        200..300 => Ok(phone),
        status => Err(DemoError::Register {
            phone: phone.label().to_owned(),
            status,
        }),
    }
}
