//! TLS listeners, against a client of another make of use: rustls as a blocking client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use bytes::Bytes;
use refork::engine::ids::Transport;
use refork::engine::time::Millis;
use refork::tls::{ClientAuth, Files, Tls};
use refork::transport::{Carried, Fault, Shake};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::authority::Authority;
use super::shard::Shard;
use super::{OPTIONS, PATIENCE, to};

const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

type Secured = StreamOwned<ClientConnection, TcpStream>;

fn secured(config: Arc<ClientConfig>, name: &str, at: SocketAddr) -> Secured {
    let name = name.to_owned().try_into().unwrap();
    let socket = TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket)
}

/// Asks and reads the answer; then the phone waits for what it is told over the channel that it returns.
fn ask(phone: &mut Secured) -> std::io::Result<()> {
    phone.write_all(OPTIONS)?;
    let mut answer = [0; ANSWER.len()];
    phone.read_exact(&mut answer)?;
    assert_eq!(answer, ANSWER);
    Ok(())
}

/// A phone on a thread of its own: the shard is driven by this one.
fn phone(
    config: Arc<ClientConfig>,
    name: &'static str,
    at: SocketAddr,
) -> JoinHandle<std::io::Result<Secured>> {
    std::thread::spawn(move || {
        let mut phone = secured(config, name, at);
        ask(&mut phone)?;
        Ok(phone)
    })
}

/// Lets a phone ask and be answered.
fn served(shard: &mut Shard, config: Arc<ClientConfig>, name: &'static str) -> Secured {
    let phone = phone(config, name, shard.at);
    let before = shard.messages.len();
    shard.until(|shard| shard.messages.len() > before);
    shard.answer(ANSWER);
    phone.join().unwrap().unwrap()
}

fn certificate(phone: &Secured) -> Vec<u8> {
    phone.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn both_versions_are_spoken() {
    let authority = Authority::new();
    let tls = authority.listener(&["sip.example.org"]);
    for version in [&TLS12, &TLS13] {
        let mut shard = Shard::over(Transport::Tls, Some(Arc::clone(&tls)), 10, 10);
        let config = authority.client(None, &[version]);
        let phone = served(&mut shard, config, "sip.example.org");
        assert_eq!(phone.conn.protocol_version(), Some(version.version));
        let (flow, bytes) = &shard.messages[0];
        assert_eq!((flow.transport, &**bytes), (Transport::Tls, OPTIONS));
        let known = shard.registry.find(Transport::Tls, flow.peer);
        assert_eq!(
            known,
            Some(*flow),
            "requests to the phone find its connection"
        );
        drop(phone);
        shard.until(|shard| shard.closed.len() == 1);
        assert_eq!(
            (
                shard.open(),
                shard.registry.find(Transport::Tls, shard.closed[0].peer)
            ),
            (0, None)
        );
    }
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let authority = Authority::new();
    let (first, second) = (
        authority.issue(&["a.example"]),
        authority.issue(&["b.example", "*.c.example"]),
    );
    let files = Files {
        pairs: vec![authority.keep("a", &first), authority.keep("b", &second)],
        client_ca: None,
        client_auth: ClientAuth::Required,
        server_ca: None,
    };
    let tls = Arc::new(Tls::load(files).unwrap());
    let mut shard = Shard::over(Transport::Tls, Some(tls), 10, 10);
    for (name, shown) in [
        ("a.example", &first),
        ("b.example", &second),
        ("x.c.example", &second),
    ] {
        let config = authority.client(None, &[&TLS13]);
        let phone = served(&mut shard, config, name);
        assert_eq!(certificate(&phone), &*shown.certificate, "{name}");
    }
    // Of a name that nobody has, the first is shown, and the client turns away.
    let lost = phone(authority.client(None, &[&TLS13]), "d.example", shard.at);
    shard.until(|shard| shard.failed(Shake::Alert) == 1);
    assert!(lost.join().unwrap().is_err());
}

fn with_clients(authority: &Authority, client_auth: ClientAuth) -> Shard {
    let files = Files {
        pairs: vec![authority.keep("server", &authority.issue(&["sip.example.org"]))],
        client_ca: Some(authority.path("ca.pem")),
        client_auth,
        server_ca: None,
    };
    let tls = Arc::new(Tls::load(files).unwrap());
    Shard::over(Transport::Tls, Some(tls), 10, 10)
}

#[test]
fn clients_prove_who_they_are() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for version in [&TLS12, &TLS13] {
        let mut shard = with_clients(&authority, ClientAuth::Required);
        for (names, vouched) in [
            (&["PBX.example.net"][..], &["pbx.example.net"][..]),
            (&["x.example.net", "sip:example.net"], &["example.net"]),
            (&["sip:bob@Example.net"], &["sip:bob@example.net"]),
        ] {
            let own = authority.issue(names);
            let config = authority.client(Some(own), &[version]);
            let _phone = served(&mut shard, config, "sip.example.org");
            let flow = shard.messages.last().unwrap().0;
            let known = shard.registry.vouched(flow.connection.unwrap()).unwrap();
            let known: Vec<&str> = known.iter().map(|name| &**name).collect();
            assert_eq!(known, vouched);
        }
        let messages = shard.messages.len();
        for own in [None, Some(stranger.issue(&["pbx.example.net"]))] {
            let before = shard.failed(Shake::Certificate);
            let config = authority.client(own, &[version]);
            let turned_away = phone(config, "sip.example.org", shard.at);
            shard.until(|shard| shard.failed(Shake::Certificate) > before);
            assert!(turned_away.join().unwrap().is_err());
        }
        assert_eq!(shard.messages.len(), messages, "nothing of theirs is heard");
    }
}

#[test]
fn where_a_certificate_is_optional_who_has_none_is_a_stranger() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut shard = with_clients(&authority, ClientAuth::Optional);
    let config = authority.client(None, &[&TLS13]);
    let _phone = served(&mut shard, config, "sip.example.org");
    let flow = shard.messages[0].0;
    assert_eq!(shard.registry.vouched(flow.connection.unwrap()), None);
    let config = authority.client(Some(stranger.issue(&["pbx.example.net"])), &[&TLS13]);
    let turned_away = phone(config, "sip.example.org", shard.at);
    shard.until(|shard| shard.failed(Shake::Certificate) == 1);
    assert!(turned_away.join().unwrap().is_err());
}

#[test]
fn certificates_are_renewed_and_what_stands_goes_on() {
    let authority = Authority::new();
    let tls = authority.listener(&["sip.example.org"]);
    let mut shard = Shard::over(Transport::Tls, Some(Arc::clone(&tls)), 10, 10);
    let client = || authority.client(None, &[&TLS13]);
    let mut old = served(&mut shard, client(), "sip.example.org");
    assert!(!tls.has_changed());
    let renewed = authority.issue(&["sip.example.org"]);
    authority.keep("server", &renewed);
    tls.reload().unwrap();
    assert!(!tls.has_changed());
    let new = served(&mut shard, client(), "sip.example.org");
    assert_eq!(certificate(&new), &*renewed.certificate);
    assert_ne!(certificate(&old), certificate(&new));
    let still = std::thread::spawn(move || ask(&mut old).map(|()| old));
    shard.until(|shard| shard.messages.len() == 3);
    shard.answer(ANSWER);
    still.join().unwrap().unwrap();
    // Half a renewal changes nothing.
    std::fs::write(authority.path("server.key"), "nothing of the kind\n").unwrap();
    assert!(tls.reload().is_err());
    let newer = served(&mut shard, client(), "sip.example.org");
    assert_eq!(certificate(&newer), &*renewed.certificate);
}

#[test]
fn a_handshake_that_is_never_done_is_ended() {
    let authority = Authority::new();
    let mut shard = Shard::over(
        Transport::Tls,
        Some(authority.listener(&["a.example"])),
        10,
        10,
    );
    let config = authority.client(None, &[&TLS13]);
    let mut hello = Vec::new();
    let name = "a.example".try_into().unwrap();
    let mut session = ClientConnection::new(config, name).unwrap();
    session.write_tls(&mut hello).unwrap();
    let (mut silent, mut slow) = (shard.connect(), shard.connect());
    slow.write_all(&hello[..10]).unwrap();
    assert!(shard.sweep_after(Millis(4_999)).is_empty());
    slow.write_all(&hello[10..20]).unwrap();
    assert_eq!(shard.sweep_after(Millis(1)).len(), 2, "bytes buy no time");
    assert_eq!(shard.failed(Shake::Timeout), 2);
    for phone in [&mut silent, &mut slow] {
        // A farewell, and the end.
        let _ = phone.read_to_end(&mut Vec::new());
        assert!(super::is_closed(phone));
    }
    assert_eq!(shard.open(), 0);
}

#[test]
fn a_handshake_is_no_word_but_the_time_for_one_begins_with_its_end() {
    let authority = Authority::new();
    let tls = authority.listener(&["a.example"]);
    let mut shard = Shard::over(Transport::Tls, Some(tls), 10, 10);
    let config = authority.client(None, &[&TLS13]);
    let sockets = [shard.connect(), shard.connect()];
    let peers: Vec<_> = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
    assert!(shard.sweep_after(Millis(4_000)).is_empty());
    let phones = sockets.map(|mut socket| {
        let config = Arc::clone(&config);
        std::thread::spawn(move || {
            let name = "a.example".to_owned().try_into().unwrap();
            let mut session = ClientConnection::new(config, name).unwrap();
            session.complete_io(&mut socket).unwrap();
            StreamOwned::new(session, socket)
        })
    });
    shard.until(|shard| {
        let known = |peer| shard.registry.find(Transport::Tls, peer).is_some();
        peers.iter().all(|peer| known(*peer))
    });
    let [mut silent, mut speaks] = phones.map(|phone| phone.join().unwrap());
    assert!(shard.sweep_after(Millis(9_999)).is_empty());
    speaks.write_all(OPTIONS).unwrap();
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(shard.sweep_after(Millis(1)).len(), 1);
    assert_eq!(shard.counters.silent.load(Ordering::Relaxed), 1);
    let mut rest = Vec::new();
    let _ = silent.sock.read_to_end(&mut rest);
    assert!(super::is_closed(&mut silent.sock));
    assert!(shard.sweep_after(Millis(59_998)).is_empty());
}

#[test]
fn what_is_no_tls_is_turned_away() {
    let authority = Authority::new();
    let mut shard = Shard::over(
        Transport::Tls,
        Some(authority.listener(&["a.example"])),
        10,
        10,
    );
    let mut plain = shard.connect();
    plain.write_all(OPTIONS).unwrap();
    shard.until(|shard| shard.closed.len() == 1);
    assert_eq!(shard.faults, [Fault::Shake(Shake::Nonsense)]);
    assert_eq!(shard.failed(Shake::Nonsense), 1);
    let leaver = shard.connect();
    drop(leaver);
    shard.until(|shard| shard.closed.len() == 2);
    assert_eq!(shard.failed(Shake::Left), 1);
    assert!(shard.messages.is_empty());
}

#[test]
fn a_secured_peer_that_does_not_read_is_gone() {
    let authority = Authority::new();
    let mut shard = Shard::over(
        Transport::Tls,
        Some(authority.listener(&["a.example"])),
        10,
        10,
    );
    let deaf = served(&mut shard, authority.client(None, &[&TLS13]), "a.example");
    let mut flow = to(deaf.sock.local_addr().unwrap());
    flow.transport = Transport::Tls;
    let piece = Bytes::from(vec![b'x'; 60_000]);
    let mut sent = 0;
    loop {
        match shard.streams.send(&flow, piece.clone(), shard.now) {
            Carried::Done => sent += piece.len(),
            Carried::Closed(_) => break,
            other @ (Carried::Elsewhere(_) | Carried::Gone) => panic!("{other:?}"),
        }
        assert!(sent < 100 << 20, "no bound on what waits");
    }
    assert_eq!(shard.counters.overflowed.load(Ordering::Relaxed), 1);
    assert_eq!(shard.open(), 0);
}
