//! Phones over TLS and browsers over WebSockets: reached over the connection that they opened, and
//! replaced when it is gone.

use std::sync::Arc;

use refork::config::Listener;
use refork::engine::ids;
use refork::tls::{ClientAuth, Files, Pair};
use refork::ua::{Medium, Phone, Transport};
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

const SECURE: [(ids::Transport, Transport); 3] = [
    (ids::Transport::Tls, Transport::Tls),
    (ids::Transport::Ws, Transport::Ws),
    (ids::Transport::Wss, Transport::Wss),
];

struct House {
    stage: Stage,
    trust: Arc<ClientConfig>,
    _files: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
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
            config
                .listeners
                .extend(SECURE.map(|(transport, _)| Listener {
                    transport,
                    at: "127.0.0.1:0".parse().unwrap(),
                    advertise: None,
                    dscp: None,
                }));
            config.tls = Some(Files {
                pairs: vec![pair],
                client_ca: None,
                client_auth: ClientAuth::Required,
            });
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
