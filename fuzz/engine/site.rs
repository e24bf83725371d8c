//! Where the engine stands: its settings, its bindings, and who is at which address.
//! The first bytes choose what the operator wishes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use refork::engine::Engine;
use refork::engine::endpoint::Binding;
use refork::engine::ids::{
    Aor, ConnectionId, Flow, GruuKey, ListenerId, NonceId, Transport, VIRTUAL_SHARDS, VirtualShard,
};
use refork::engine::location::SpentNonces;
use refork::engine::ports::World;
use refork::engine::settings::{
    Account, Auth, Credentials, Domain, EarlyDialogs, ForkOrder, LimitSettings, MediaMode,
    PathMode, Redirects, ReferPolicy, RegistrarSettings, ServedBy, Settings, Srtp, Upstream,
};
use refork::engine::time::{Millis, Time};
use refork::sip::digest::{Algorithm, ha1};

use super::Choices;

/// How many addresses there are to speak from: three phones, a stranger over IPv6, and the PBX.
pub(super) const PEERS: usize = 6;
pub(super) const PBX: usize = 5;
pub(super) const PASSWORD: &str = "secret";

pub(super) fn peer(number: usize) -> SocketAddr {
    match number {
        4 => (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 5]), 5060).into(),
        PBX => ([192, 0, 2, 50], 5060).into(),
        _ => ([198, 51, 100, 1 + number as u8], 5060).into(),
    }
}

pub(super) fn flow(number: usize, over_tcp: bool) -> Flow {
    let (transport, connection) = if over_tcp {
        (Transport::Tcp, Some(ConnectionId(number as u64)))
    } else {
        (Transport::Udp, None)
    };
    Flow {
        transport,
        listener: ListenerId(0),
        peer: peer(number),
        connection,
    }
}

#[derive(Default)]
pub(super) struct Site(BTreeMap<Aor, Vec<Binding>>, RefCell<SpentNonces>);

impl World for Site {
    fn advertised(&self, flow: &Flow) -> SocketAddr {
        match flow.peer {
            SocketAddr::V4(_) => ([192, 0, 2, 1], 5060).into(),
            SocketAddr::V6(_) => (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), 5060).into(),
        }
    }

    fn flow_to(
        &self,
        transport: Transport,
        peer: SocketAddr,
        _: &str,
        _: Option<ListenerId>,
    ) -> Option<Flow> {
        self.open_to(transport, peer)
    }

    fn open_to(&self, transport: Transport, peer: SocketAddr) -> Option<Flow> {
        matches!(transport, Transport::Udp | Transport::Tcp).then_some(Flow {
            transport,
            listener: ListenerId(0),
            peer,
            connection: None,
        })
    }

    fn gruu_key(&self) -> GruuKey {
        GruuKey([9; 32])
    }

    fn bindings(&self, aor: &Aor) -> Vec<Binding> {
        self.0.get(aor).cloned().unwrap_or_default()
    }

    fn spend(&self, nonce: NonceId, count: u32, now: Time) -> bool {
        self.1.borrow_mut().spend(nonce, count, now)
    }

    fn change_bindings(&mut self, aor: &Aor, act: &mut dyn FnMut(&mut Vec<Binding>)) {
        act(self.0.entry(aor.clone()).or_default());
    }

    fn expired(&mut self, now: Time) -> Vec<Aor> {
        let due = |held: &Vec<Binding>| held.iter().any(|binding| binding.expires <= now);
        let all = self.0.iter().filter(|(_, held)| due(held));
        all.map(|(aor, _)| aor.clone()).collect()
    }
}

pub(super) fn engine(settings: Settings, seed: u8) -> Engine {
    let shards = (0..VIRTUAL_SHARDS).map(VirtualShard).collect();
    Engine::new(settings, shards, [seed; 32])
}

/// What operators wish differs; the first bytes choose. Zeroes are the defaults, and by chance a wish differs
/// one time in eight.
pub(super) fn settings(choices: &mut Choices<'_>) -> Settings {
    let mut rare = || choices.byte() & choices.byte() & choices.byte();
    let (fork, rest, upstream) = (rare(), rare(), rare());
    let set = |byte: u8, bit: u32| byte & (1 << bit) != 0;
    let mut settings = Settings {
        domains: domains(if set(rest, 0) {
            Auth::Users
        } else {
            Auth::None
        }),
        upstreams: [("pbx".into(), pbx(upstream))].into(),
        limits: LimitSettings {
            conversations: 50,
            ..LimitSettings::default()
        },
        ..Settings::default()
    };
    if set(rest, 0) {
        settings.users = ["alice", "bob", "carol"].map(user).into();
    }
    settings.fork.order = match fork & 3 {
        1 => ForkOrder::Serial,
        2 => ForkOrder::Q,
        _ => ForkOrder::Parallel,
    };
    if set(fork, 2) {
        settings.fork.early_dialogs = EarlyDialogs::Single;
    }
    settings.fork.reliable_provisionals = !set(fork, 3);
    if set(fork, 4) {
        settings.fork.redirects = Redirects::Pass;
    }
    if set(fork, 5) {
        settings.refer = ReferPolicy::Pass;
    }
    if set(fork, 6) {
        settings.detect.session_timer = None;
    }
    settings.restore.auto_answer_same = set(fork, 7);
    settings.media.srtp = match rest >> 1 & 3 {
        1 => Srtp::Off,
        2 => Srtp::Required,
        _ => Srtp::Optional,
    };
    if set(rest, 3) {
        settings.media.mode = MediaMode::Direct;
    }
    settings.detect.media_confirm = !set(rest, 4);
    settings
}

fn domains(auth: Auth) -> Vec<Domain> {
    let registrar = RegistrarSettings {
        auth,
        ..RegistrarSettings::default()
    };
    vec![
        Domain {
            host: "example.org".into(),
            realm: "example.org".into(),
            served_by: ServedBy::Registrar(registrar),
        },
        Domain {
            host: "pbx.example.net".into(),
            realm: "pbx".into(),
            served_by: ServedBy::Upstream("pbx".into()),
        },
    ]
}

fn user(name: &str) -> (Aor, Credentials) {
    let aor = Aor::from_canonical(format!("sip:{name}@example.org"));
    let ha1 = ha1(Algorithm::Sha256, name, "example.org", PASSWORD);
    let credentials = Credentials {
        ha1_sha256: Some(ha1.into()),
        ..Credentials::default()
    };
    (aor, credentials)
}

fn pbx(choice: u8) -> Upstream {
    let set = |bit: u32| choice & (1 << bit) != 0;
    Upstream {
        targets: vec!["sip:192.0.2.50".into(), "sip:pbx.example.net".into()],
        trusted: !set(0),
        path: if set(1) {
            PathMode::Contact
        } else {
            PathMode::Path
        },
        account: set(2).then(|| Account {
            user: "refork".into(),
            password: PASSWORD.into(),
            realms: Box::default(),
        }),
        sources: Vec::new(),
        probe: set(3).then_some(Millis::from_secs(15)),
        ..Upstream::default()
    }
}
