//! Connections that we open over TLS: whom they are opened to has to prove it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use refork::engine::ids::{Flow, Transport};
use refork::tls::{ClientAuth, Files, Tls};
use refork::transport::{Carried, Shake};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use super::authority::{Authority, Leaf};
use super::shard::Shard;
use super::{OPTIONS, PATIENCE, to};

const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

type Secured = StreamOwned<ServerConnection, TcpStream>;

/// A server of somebody else, which asks for a certificate and answers one message.
fn server(leaf: Leaf, clients: &Authority) -> (SocketAddr, JoinHandle<std::io::Result<Secured>>) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(clients.roots()),
        Arc::clone(&provider),
    );
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![leaf.certificate], leaf.key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (socket, _) = listener.accept()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut peer = StreamOwned::new(session, socket);
        let mut message = [0; OPTIONS.len()];
        peer.read_exact(&mut message)?;
        assert_eq!(message, OPTIONS);
        peer.write_all(ANSWER)?;
        Ok(peer)
    });
    (at, served)
}

fn shard(authority: &Authority) -> Shard {
    let files = Files {
        pairs: vec![authority.keep("server", &authority.issue(&["refork.example"]))],
        client_ca: None,
        client_auth: ClientAuth::Required,
        server_ca: Some(authority.path("ca.pem")),
    };
    let tls = Arc::new(Tls::load(files).unwrap());
    Shard::over(Transport::Tls, Some(tls), 10, 10)
}

fn to_host(shard: &Shard, peer: SocketAddr, host: &str) -> Flow {
    Flow {
        transport: Transport::Tls,
        connection: shard.registry.to_host(host),
        ..to(peer)
    }
}

fn send(shard: &mut Shard, flow: &Flow) -> Carried {
    let message = Bytes::from_static(OPTIONS);
    shard.streams.send(flow, message, shard.now)
}

#[test]
fn a_host_is_told_what_is_meant_for_it_once_it_has_proved_itself() {
    let authority = Authority::new();
    for names in [
        &["pbx.example.net"][..],
        &["other.example", "PBX.example.net"],
        &["x.example", "sip:pbx.example.net"],
        &["*.example.net"],
    ] {
        let mut shard = shard(&authority);
        let (at, served) = server(authority.issue(names), &authority);
        let flow = to_host(&shard, at, "PBX.Example.net");
        assert_eq!(send(&mut shard, &flow), Carried::Done);
        shard.until(|shard| shard.messages.len() == 1);
        let mut peer = served.join().unwrap().unwrap();
        assert!(
            peer.conn.peer_certificates().is_some(),
            "it was told who we are"
        );
        // What comes over it is of the flow that it was opened for, and further messages take it, too.
        assert_eq!(shard.messages[0].0, flow);
        assert_eq!(send(&mut shard, &flow), Carried::Done);
        let mut again = [0; OPTIONS.len()];
        peer.read_exact(&mut again).unwrap();
        assert_eq!(shard.open(), 1);
        let proved = shard.registry.vouched(flow.connection.unwrap()).unwrap();
        assert_eq!(&*proved[0], "pbx.example.net");
        drop(peer);
        shard.until(|shard| shard.closed == [flow]);
        assert_eq!(shard.open(), 0);
    }
}

#[test]
fn nobody_else_is_told_anything() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (named, trusted) = ("does not name the host", "a CA that is not trusted here");
    for (leaf, why) in [
        (authority.issue(&["other.example"]), named),
        (stranger.issue(&["pbx.example.net"]), trusted),
        // Where SIP URIs name domains, DNS names are for other services (RFC 5922 7.1).
        (
            authority.issue(&["pbx.example.net", "sip:other.example"]),
            named,
        ),
        (authority.issue(&["sip:bob@pbx.example.net"]), named),
    ] {
        let mut shard = shard(&authority);
        let (at, served) = server(leaf, &authority);
        let flow = to_host(&shard, at, "pbx.example.net");
        assert_eq!(
            send(&mut shard, &flow),
            Carried::Done,
            "it waits for the handshake"
        );
        shard.until(|shard| shard.closed.len() == 1);
        assert_eq!(
            (shard.closed[0], shard.failed(Shake::Certificate)),
            (flow, 1)
        );
        // The operator is told why, and by which name.
        let [(host, what)] = &shard.troubles[..] else {
            panic!("{:?}", shard.troubles);
        };
        assert_eq!(&**host, "pbx.example.net");
        assert!(what.contains(why), "{what}");
        assert!(served.join().unwrap().is_err());
        assert_eq!(shard.open(), 0);
    }
}

#[test]
fn a_connection_to_one_host_is_none_to_another_at_the_same_address() {
    let authority = Authority::new();
    let mut shard = shard(&authority);
    let (at, served) = server(authority.issue(&["a.example"]), &authority);
    let (a, b) = (
        to_host(&shard, at, "a.example"),
        to_host(&shard, at, "b.example"),
    );
    assert_eq!(send(&mut shard, &a), Carried::Done);
    shard.until(|shard| shard.messages.len() == 1);
    let _peer = served.join().unwrap().unwrap();
    // Nobody listens there any more: what is meant for b is not carried over the connection to a.
    match send(&mut shard, &b) {
        Carried::Closed(closed) => shard.closed.push(closed),
        Carried::Done => shard.until(|shard| !shard.closed.is_empty()),
        other @ (Carried::Elsewhere(_) | Carried::Gone) => panic!("{other:?}"),
    }
    assert_eq!(shard.closed, [b]);
    // Without a name to prove none is opened.
    let nameless = Flow {
        connection: None,
        ..a
    };
    assert_eq!(send(&mut shard, &nameless), Carried::Closed(nameless));
    assert_eq!(shard.open(), 1);
}

/// A client that may prove who it is, and asks something. Returns its side, and what the shard has of it.
fn client(shard: &mut Shard, authority: &Authority, names: Option<&[&str]>) -> (Client, Flow) {
    let config = authority.client(names.map(|names| authority.issue(names)), &[&TLS13]);
    let at = shard.at;
    let comes = std::thread::spawn(move || {
        let socket = TcpStream::connect(at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "refork.example".to_owned().try_into().unwrap();
        let session = ClientConnection::new(config, name).unwrap();
        let mut peer = StreamOwned::new(session, socket);
        peer.write_all(OPTIONS).unwrap();
        peer.flush().unwrap();
        peer
    });
    let before = shard.messages.len();
    shard.until(|shard| shard.messages.len() > before);
    (comes.join().unwrap(), shard.messages[before].0)
}

type Client = StreamOwned<ClientConnection, TcpStream>;

#[test]
fn who_has_proved_to_be_a_host_is_asked_over_its_own_connection_where_it_says_so() {
    let authority = Authority::new();
    let files = Files {
        pairs: vec![authority.keep("server", &authority.issue(&["refork.example"]))],
        client_ca: Some(authority.path("ca.pem")),
        client_auth: ClientAuth::Optional,
        server_ca: Some(authority.path("ca.pem")),
    };
    let tls = Arc::new(Tls::load(files).unwrap());
    // Nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    for (names, is_host) in [
        (Some(&["other.example", "pbx.example.net"][..]), true),
        (Some(&["sip:pbx.example.net"]), true),
        (Some(&["pbx.example.net", "sip:other.example"]), false),
        (Some(&["sip:bob@pbx.example.net"]), false),
        (Some(&["*.example.net"]), false),
        (None, false),
    ] {
        let mut shard = Shard::over(Transport::Tls, Some(Arc::clone(&tls)), 10, 10);
        let (mut peer, flow) = client(&mut shard, &authority, names);
        let host = to_host(&shard, at, "pbx.example.net");
        shard.registry.alias(&flow, at.port());
        let known = shard.open();
        let sent = send(&mut shard, &host);
        if !is_host {
            // A connection of our own is opened, or cannot be.
            assert!(
                shard.open() > known || sent == Carried::Closed(host),
                "{names:?}"
            );
            continue;
        }
        assert_eq!((sent, shard.open()), (Carried::Done, known), "{names:?}");
        let mut heard = [0; OPTIONS.len()];
        peer.read_exact(&mut heard).unwrap();
        assert_eq!(heard, OPTIONS);
        // It is that host alone, at that port, and no longer than its connection stands.
        let elsewhere = to_host(
            &shard,
            SocketAddr::new(at.ip(), at.port() ^ 1),
            "pbx.example.net",
        );
        let another = to_host(&shard, at, "another.example");
        for flow in [elsewhere, another] {
            let sent = send(&mut shard, &flow);
            assert!(shard.open() > known || sent == Carried::Closed(flow));
        }
        drop(peer);
        shard.until(|shard| shard.closed.contains(&flow));
        assert!(shard.streams.take_unaliased().contains(&host));
        assert_ne!(send(&mut shard, &host), Carried::Gone);
    }
}
