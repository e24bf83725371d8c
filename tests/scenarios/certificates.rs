//! Who is known by a certificate.

use std::sync::Arc;

use refork::config::Listener;
use refork::engine::ids;
use refork::tls::{ClientAuth, Files};
use refork::ua::{Medium, Phone, Transport};
use rustls::version::{TLS12, TLS13};

use crate::authority::Authority;
use crate::stage::{Stage, connect, hang_up, talk};

fn house(authority: &Authority) -> Stage {
    let pair = authority.keep("server", &authority.issue(&["example.org"]));
    Stage::with(|config| {
        config
            .listeners
            .extend([ids::Transport::Tls, ids::Transport::Wss].map(listener));
        config.tls = Some(Files {
            pairs: vec![pair],
            client_ca: Some(authority.path("ca.pem")),
            client_auth: ClientAuth::Optional,
            server_ca: None,
        });
        let trusted = &mut config.engine.acl.trusted_certificates;
        trusted.extend(["gw.example.net".into(), "sip:carrier@example.net".into()]);
    })
}

fn listener(transport: ids::Transport) -> Listener {
    Listener::new(transport, "127.0.0.1:0".parse().unwrap())
}

/// Switches on somebody who knows no password, with a certificate for these names, or with none.
fn gateway(stage: &Stage, authority: &Authority, transport: Transport, names: &[&str]) -> Phone {
    let own = (!names.is_empty()).then(|| authority.issue(names));
    let trust = authority.client(own, &[&TLS12, &TLS13]);
    let server = stage.sip(transport, false);
    stage.stranger("gateway", |profile| {
        profile.user = "alice".into();
        profile.server = server;
        profile.transport = transport;
        profile.trust = Some(Arc::clone(&trust));
    })
}

#[test]
fn a_gateway_is_known_by_its_certificate() {
    let authority = Authority::new();
    let stage = house(&authority);
    let bob = stage.phone("bob");
    for (transport, names) in [
        (Transport::Tls, &["x.example.net", "GW.example.net"][..]),
        (Transport::Wss, &["gw.example.net"]),
        (Transport::Tls, &["sip:gw.example.net"]),
        (Transport::Tls, &["sip:carrier@example.net"]),
    ] {
        let gateway = gateway(&stage, &authority, transport, names);
        let (call, taken) = connect(&gateway, &bob, Medium::Audio);
        talk(&call, &taken);
        hang_up(&taken, &call);
        assert_eq!(gateway.register().unwrap(), 200);
        assert_eq!(gateway.unregister_all().unwrap(), 200);
    }
    for names in [
        &[][..],
        &["pbx.example.net"],
        // A URI says who it is, and no DNS name beside it (RFC 5922 7.1).
        &["gw.example.net", "sip:other.example.net"],
        // A user of the domain is not the domain.
        &["sip:x@gw.example.net"],
    ] {
        let gateway = gateway(&stage, &authority, Transport::Tls, names);
        assert_eq!(gateway.register().unwrap(), 401, "{names:?}");
    }
    stage.finish();
}
