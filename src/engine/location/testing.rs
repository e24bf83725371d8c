//! What the tests of location and routing share: a world of bindings, settings, messages as text.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;

use super::{SpentNonces, canonical};
use crate::engine::endpoint::Binding;
use crate::engine::ids::{Aor, Flow, GruuKey, ListenerId, NonceId, Transport};
use crate::engine::ports::World;
use crate::engine::settings::*;
use crate::engine::time::{Millis, Time};
use crate::sip::Message;
use crate::sip::digest::{Algorithm, ha1};

/// A moment to begin at.
pub(crate) const START: Time = Time(1_750_000_000_000);

/// Bindings, nonces and who is in a call, and nothing else of the world.
#[derive(Default)]
pub(crate) struct Book(
    pub(crate) BTreeMap<Aor, Vec<Binding>>,
    RefCell<SpentNonces>,
    pub(crate) BTreeSet<u64>,
);

impl Book {
    /// Returns a world with these.
    pub(crate) fn of(bindings: BTreeMap<Aor, Vec<Binding>>) -> Self {
        Self(bindings, RefCell::default(), BTreeSet::new())
    }
}

impl World for Book {
    fn advertised(&self, flow: &Flow) -> SocketAddr {
        flow.peer
    }

    fn flow_to(&self, _: Transport, _: SocketAddr, _: &str, _: Option<ListenerId>) -> Option<Flow> {
        None
    }

    fn open_to(&self, _: Transport, _: SocketAddr) -> Option<Flow> {
        None
    }

    fn gruu_key(&self) -> GruuKey {
        GruuKey([9; 32])
    }

    fn bindings(&self, aor: &Aor) -> Vec<Binding> {
        self.0.get(aor).cloned().unwrap_or_default()
    }

    fn legs(&self, peer: u64) -> u32 {
        self.2.contains(&peer).into()
    }

    fn spend(&self, nonce: NonceId, count: u32, now: Time) -> bool {
        self.1.borrow_mut().spend(nonce, count, now)
    }

    fn change_bindings(&mut self, aor: &Aor, act: &mut dyn FnMut(&mut Vec<Binding>)) {
        let bindings = self.0.entry(aor.clone()).or_default();
        act(bindings);
        if bindings.is_empty() {
            self.0.remove(aor);
        }
    }

    fn expired(&mut self, now: Time) -> Vec<Aor> {
        let due: BTreeSet<&Aor> = self
            .0
            .iter()
            .filter(|(_, bindings)| bindings.iter().any(|binding| binding.expires <= now))
            .map(|(aor, _)| aor)
            .collect();
        due.into_iter().cloned().collect()
    }
}

pub(crate) fn aor(text: &str) -> Aor {
    canonical(text).unwrap()
}

pub(crate) fn message(text: &str) -> Message {
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    Message::parse(Bytes::from(format!("{text}\r\n"))).unwrap()
}

pub(crate) fn udp(peer: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        listener: ListenerId(0),
        peer: peer.parse().unwrap(),
        connection: None,
    }
}

pub(crate) fn registrar(auth: Auth) -> ServedBy {
    ServedBy::Registrar(RegistrarSettings {
        max_expires: Millis::from_secs(7200),
        min_expires: Millis::from_secs(60),
        max_bindings: 3,
        auth,
        lamps: true,
    })
}

/// Domains: `example.org` with users, `open.example` without, `pbx.example.net` of an upstream.
pub(crate) fn settings() -> Settings {
    let domain = |host: &str, served_by| Domain {
        host: host.into(),
        realm: host.into(),
        served_by,
    };
    let user = |user: &str, md5: bool, sha256: bool| {
        let ha1 = |algorithm| Some(ha1(algorithm, user, "example.org", "secret").into());
        let credentials = Credentials {
            ha1_md5: ha1(Algorithm::Md5).filter(|_| md5),
            ha1_sha256: ha1(Algorithm::Sha256).filter(|_| sha256),
            ha1_sha512_256: ha1(Algorithm::Sha512_256).filter(|_| user == "erin"),
        };
        (aor(&format!("sip:{user}@example.org")), credentials)
    };
    Settings {
        domains: vec![
            domain("example.org", registrar(Auth::Users)),
            domain("open.example", registrar(Auth::None)),
            domain("pbx.example.net", ServedBy::Upstream("pbx".into())),
        ],
        users: BTreeMap::from([
            user("alice", true, true),
            user("bob", true, false),
            user("carol", false, true),
            user("erin", true, true),
        ]),
        ..Settings::default()
    }
}

/// As with no file: the domain `*` with realm `refork`, and alice.
pub(crate) fn default_settings() -> Settings {
    let credentials = Credentials {
        ha1_md5: Some(ha1(Algorithm::Md5, "alice", "refork", "secret").into()),
        ha1_sha256: None,
        ha1_sha512_256: None,
    };
    Settings {
        domains: vec![Domain {
            host: "*".into(),
            realm: "refork".into(),
            served_by: registrar(Auth::Users),
        }],
        users: BTreeMap::from([(aor("sip:alice@refork"), credentials)]),
        ..Settings::default()
    }
}
