//! Phones over TLS and browsers over WebSockets: reached over the connection that they opened, and
//! replaced when it is gone.

use std::net::SocketAddr;
use std::sync::Arc;

use refork::app::{self, Server};
use refork::config::{self, Config, Listener};
use refork::engine::ids;
use refork::engine::settings::{PathMode, Route, RouteFork, Upstream};
use refork::tls::{ClientAuth, Files, Pair};
use refork::ua::{Ending, Medium, Phone, Profile, Transport};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use crate::stage::{
    LATER, Loss, SOON, Stage, answers, connect, hang_up, killed_and_frozen, only_told, talk,
};

killed_and_frozen!(
    a_tls_phone_is_replaced,
    a_tls_caller_is_replaced,
    a_browser_is_replaced,
    a_session_of_browsers_goes_on,
);

const SECURE: [ids::Transport; 3] = [ids::Transport::Tls, ids::Transport::Ws, ids::Transport::Wss];

fn listener(transport: ids::Transport) -> Listener {
    Listener::new(transport, "127.0.0.1:0".parse().unwrap())
}

/// Bob's server, which takes calls of anybody who comes over TLS.
const OTHER: &str = r#"
node: { name: other, workers: 1 }
listen:
  - udp://127.0.0.1:0
domains:
  "*": { realm: example.org, registrar: { auth: none } }
media: { ports: 33000-33199 }
timers: { t1: 50ms, t2: 200ms, t4: 200ms }
admin: { listen: "127.0.0.1:0" }
"#;

/// A stage with the transports that need more than an address.
pub(crate) struct House {
    pub(crate) stage: Stage,
    pub(crate) trust: Arc<ClientConfig>,
    _files: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let files = tempfile::tempdir().unwrap();
        let names = ["example.org", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let pair = Pair {
            certificate: files.path().join("cert.pem"),
            key: files.path().join("key.pem"),
        };
        std::fs::write(&pair.certificate, made.cert.pem()).unwrap();
        std::fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let trust = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stage = Stage::with(|config| {
            config.listeners.extend(SECURE.map(listener));
            config.tls = Some(Files {
                pairs: vec![pair],
                client_ca: None,
                client_auth: ClientAuth::Required,
                server_ca: Some(files.path().join("cert.pem")),
            });
            change(config);
        });
        Self {
            stage,
            trust: Arc::new(trust),
            _files: files,
        }
    }

    fn phone(&self, label: &str, transport: Transport) -> Phone {
        let server = self.stage.sip(transport, false);
        self.stage.phone_with(label, |profile| {
            profile.server = server;
            profile.transport = transport;
            profile.trust = Some(Arc::clone(&self.trust));
        })
    }
}

#[test]
fn calls_between_all_of_them() {
    let house = House::new();
    for (transport, other) in [
        (Transport::Tls, Transport::Wss),
        (Transport::Ws, Transport::Tls),
        (Transport::Wss, Transport::Udp),
        (Transport::Tcp, Transport::Ws),
    ] {
        let (alice, bob) = (house.phone("alice", transport), house.phone("bob", other));
        let (call, taken) = connect(&alice, &bob, Medium::Audio);
        talk(&call, &taken);
        assert_eq!(call.message("over there?").unwrap(), 200);
        assert_eq!(taken.message("yes").unwrap(), 200);
        assert_eq!(call.hold().unwrap(), 200);
        assert_eq!(call.resume().unwrap(), 200);
        hang_up(&taken, &call);
        for phone in [&alice, &bob] {
            assert_eq!(phone.unregister_all().unwrap(), 200);
        }
    }
    house.stage.finish();
}

/// One end is lost, and its user's other phone takes the call.
fn replaced(loss: Loss, transport: Transport, callee: bool, medium: Medium) {
    let house = House::new();
    let phone = |label: &str| house.phone(label, transport);
    let (survivor, lost, mobile) = if callee {
        (phone("alice"), phone("bob-desk"), "bob-mobile")
    } else {
        (phone("bob"), phone("alice-desk"), "alice-mobile")
    };
    let (stays, goes) = if callee {
        connect(&survivor, &lost, medium)
    } else {
        let (call, taken) = connect(&lost, &survivor, medium);
        (taken, call)
    };
    if medium == Medium::Audio {
        talk(&stays, &goes);
    }
    let mobile = phone(mobile);
    answers(&mobile);
    let since = house.stage.log.now();
    loss.happens_to(&lost);
    if medium == Medium::Text {
        // What is said meanwhile is not lost.
        let status = stays.message("still there?").unwrap();
        assert!(matches!(status, 200 | 202), "{status}");
    }
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    if medium == Medium::Audio {
        talk(&stays, &again);
    } else {
        assert_eq!(again.wait_texts(1, SOON).unwrap()[0].body, "still there?");
    }
    stays.wait_texts(1, SOON).unwrap();
    only_told(&house.stage.log, &survivor, since, 1);
    loss.is_over_for(&lost);
    hang_up(&again, &stays);
    house.stage.finish();
}

fn a_tls_phone_is_replaced(loss: Loss) {
    replaced(loss, Transport::Tls, true, Medium::Audio);
}

fn a_tls_caller_is_replaced(loss: Loss) {
    replaced(loss, Transport::Tls, false, Medium::Audio);
}

fn a_browser_is_replaced(loss: Loss) {
    replaced(loss, Transport::Wss, true, Medium::Audio);
}

fn a_session_of_browsers_goes_on(loss: Loss) {
    replaced(loss, Transport::Ws, true, Medium::Text);
}

/// Starts another server, with the certificate of the house.
fn other_server(files: &Files) -> Server {
    let mut config = config::parse(OTHER, "other", &|_| None).unwrap();
    config.listeners.push(listener(ids::Transport::Tls));
    config.tls = Some(files.clone());
    app::start(config).unwrap()
}

fn address(server: &Server, wanted: ids::Transport) -> SocketAddr {
    let all = server.sip_addresses();
    let mut all = all.iter();
    all.find(|(transport, _)| *transport == wanted).unwrap().1
}

/// Through two servers, the one an upstream of the other.
fn through_an_upstream(target: impl Fn(SocketAddr) -> String) {
    let mut other = None;
    let house = House::with(|config| {
        let server = other_server(config.tls.as_ref().unwrap());
        let target = target(address(&server, ids::Transport::Tls));
        let upstream = Upstream {
            targets: vec![target.as_str().into()],
            sources: Vec::new(),
            probe: None,
            trusted: true,
            path: PathMode::default(),
            ..Upstream::default()
        };
        config.engine.upstreams.insert("other".into(), upstream);
        config.engine.routes.push(Route {
            pattern: "sip:zoe@*".into(),
            to: "other".into(),
            fork: RouteFork::default(),
            emergency: None,
        });
        other = Some(server);
    });
    let server = other.unwrap();
    let alice = house.phone("alice", Transport::Tls);
    // Who is called by sips is not rung in the clear there either.
    let at = address(&server, ids::Transport::Tls);
    let mut profile = Profile::new("zoe", "zoe", "example.org", at);
    profile.transport = Transport::Tls;
    profile.trust = Some(Arc::clone(&house.trust));
    profile.t1 = std::time::Duration::from_millis(100);
    let zoe = Phone::start(profile, &house.stage.log).unwrap();
    assert_eq!(zoe.register().unwrap(), 200);
    let (call, taken) = connect(&alice, &zoe, Medium::Audio);
    talk(&call, &taken);
    assert_eq!(taken.message("within").unwrap(), 200);
    hang_up(&taken, &call);
    let readings = server.readings().unwrap();
    assert_eq!(readings.transport.connections, [0, 2, 0, 0]);
    house.stage.finish();
}

#[test]
fn an_upstream_is_called_over_tls() {
    through_an_upstream(|at| format!("sip:{at};transport=tls"));
}

#[test]
fn an_upstream_is_called_by_a_sips_uri() {
    through_an_upstream(|at| format!("sips:{at}"));
}

#[test]
fn who_is_called_by_sips_is_rung_over_tls_alone() {
    let house = House::new();
    let alice = house.phone("alice", Transport::Tls);
    let desk = house.stage.desk();
    let by_sips = || alice.call("sips:bob@example.org", Medium::Audio).unwrap();
    assert_eq!(by_sips().wait_over(SOON).unwrap(), Ending::Refused(480));
    let mobile = house.phone("bob-mobile", Transport::Tls);
    answers(&mobile);
    let call = by_sips();
    let taken = mobile.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    taken.wait_up(SOON).unwrap();
    talk(&call, &taken);
    // Both ways within it.
    assert_eq!(call.message("there").unwrap(), 200);
    assert_eq!(taken.message("and back").unwrap(), 200);
    hang_up(&call, &taken);
    assert_eq!(desk.calls(), 0);
    house.stage.finish();
}
