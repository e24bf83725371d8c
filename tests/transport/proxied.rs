//! Listeners behind proxies, and the pages that may open WebSockets.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use refork::config::{ForwardedBy, Listener, NamedBy, Proxies};
use refork::engine::ids::Transport;
use refork::engine::time::Millis;
use refork::transport::{Fault, Refusal, Shake};
use rustls::version::TLS13;
use rustls::{ClientConnection, StreamOwned};

use super::authority::Authority;
use super::shard::Shard;
use super::{OPTIONS, PATIENCE, is_closed, listener};

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 5060\r\n";

fn behind(transport: Transport, by: NamedBy, proxies: &str) -> Listener {
    let networks = vec![proxies.parse().unwrap()];
    Listener {
        proxies: Some(Proxies { networks, by }),
        ..listener(transport, "127.0.0.1")
    }
}

fn by_protocol(transport: Transport) -> Listener {
    behind(transport, NamedBy::ProxyProtocol, "127.0.0.0/8")
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The binary header, with more behind the addresses than anybody asked for.
fn binary(client: &str) -> Vec<u8> {
    let SocketAddr::V6(client) = at(client) else {
        panic!("not IPv6");
    };
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x21".to_vec();
    bytes.extend(40_u16.to_be_bytes());
    bytes.extend(client.ip().octets());
    bytes.extend([0; 16]);
    bytes.extend(client.port().to_be_bytes());
    bytes.extend([0x13, 0xc4, 0x04, 0, 1, 0]);
    bytes
}

#[test]
fn a_client_is_who_the_header_names() {
    for (header, client) in [
        (HEADER.to_vec(), "192.0.2.7:40000"),
        (binary("[2001:db8::7]:40000"), "[2001:db8::7]:40000"),
    ] {
        for cut in [1, 14, header.len() - 1, header.len(), header.len() + 10] {
            let mut shard = Shard::of(&by_protocol(Transport::Tcp), None, 10, 10);
            let whole = [&header[..], OPTIONS].concat();
            let mut proxy = shard.connect();
            proxy.write_all(&whole[..cut]).unwrap();
            shard.turn();
            proxy.write_all(&whole[cut..]).unwrap();
            shard.until(|shard| shard.messages.len() == 1);
            let (flow, bytes) = shard.messages[0].clone();
            assert_eq!((flow.peer, &*bytes), (at(client), OPTIONS), "cut at {cut}");
            let known = shard.registry.find(Transport::Tcp, at(client));
            assert_eq!(known, Some(flow), "it is reached by its own address");
            shard.answer(b"SIP/2.0 200 OK\r\n\r\n");
            let mut answer = [0; 18];
            proxy.read_exact(&mut answer).unwrap();
            drop(proxy);
            shard.until(|shard| shard.closed.len() == 1);
            assert_eq!(shard.closed[0], flow);
            assert_eq!(shard.registry.find(Transport::Tcp, at(client)), None);
        }
    }
}

#[test]
fn limits_are_those_of_the_client() {
    let mut shard = Shard::of(&by_protocol(Transport::Tcp), None, 10, 2);
    let mut proxy = |port: u16, client: &str| {
        let header = format!("PROXY TCP4 {client} 127.0.0.1 {port} 5060\r\n");
        let mut proxy = shard.connect();
        proxy
            .write_all(&[header.as_bytes(), OPTIONS].concat())
            .unwrap();
        let heard = shard.messages.len() + shard.closed.len();
        shard.until(|shard| shard.messages.len() + shard.closed.len() > heard);
        (proxy, shard.messages.len())
    };
    let (_first, _second) = (proxy(1, "192.0.2.7"), proxy(2, "192.0.2.7"));
    let (mut third, heard) = proxy(3, "192.0.2.7");
    assert_eq!(heard, 2, "two an address");
    assert!(is_closed(&mut third));
    let (_other, heard) = proxy(4, "192.0.2.8");
    assert_eq!(heard, 3);
    // The same address and port: nobody could tell them apart.
    let (mut double, heard) = proxy(4, "192.0.2.8");
    assert_eq!(heard, 3);
    assert!(is_closed(&mut double));
    shard.denied = vec![address("192.0.2.9")];
    let mut denied = shard.connect();
    denied
        .write_all(b"PROXY TCP4 192.0.2.9 127.0.0.1 1 5060\r\n")
        .unwrap();
    let closed = shard.closed.len();
    shard.until(|shard| shard.closed.len() > closed);
    assert!(is_closed(&mut denied));
    assert_eq!(shard.refused(Refusal::LimitPerIp), 1);
    let of = address("192.0.2.9");
    let last = shard.streams.take_refused();
    assert!(last.is_some_and(|(peer, why)| (peer.ip(), why) == (of, Refusal::Gate)));
    assert_eq!(shard.refused(Refusal::Gate), 1);
    assert_eq!(shard.open(), 3);
}

#[test]
fn only_a_proxy_speaks_for_others_and_it_must() {
    // Nobody else gets in.
    let foreign = behind(Transport::Tcp, NamedBy::ProxyProtocol, "192.0.2.0/24");
    let mut shard = Shard::of(&foreign, None, 10, 10);
    let mut stranger = TcpStream::connect(shard.at).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    shard.until(|shard| shard.refused(Refusal::NotAProxy) == 1);
    assert!(is_closed(&mut stranger));
    // What is no header is not taken for a message.
    let mut shard = Shard::of(&by_protocol(Transport::Tcp), None, 10, 10);
    let mut forgets = shard.connect();
    forgets.write_all(OPTIONS).unwrap();
    shard.until(|shard| shard.closed.len() == 1);
    assert_eq!(shard.faults, [Fault::Shake(Shake::Proxy)]);
    // A check of the proxy's own.
    let mut checks = shard.connect();
    checks.write_all(b"PROXY UNKNOWN\r\n").unwrap();
    checks.write_all(OPTIONS).unwrap();
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(shard.messages[0].0.peer, checks.local_addr().unwrap());
    // The header has no more time than a handshake.
    let mut slow = shard.connect();
    slow.write_all(b"PROXY TCP4").unwrap();
    shard.turn();
    assert!(shard.sweep_after(Millis(4_999)).is_empty());
    assert_eq!(shard.sweep_after(Millis(1)).len(), 1);
    assert!(is_closed(&mut slow));
    assert_eq!(shard.failed(Shake::Timeout), 1);
}

#[test]
fn the_header_stands_before_the_handshake() {
    let authority = Authority::new();
    let tls = authority.listener(&["sip.example.org"]);
    let mut shard = Shard::of(&by_protocol(Transport::Tls), Some(tls), 10, 10);
    let (config, to) = (authority.client(None, &[&TLS13]), shard.at);
    let phone = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(HEADER).unwrap();
        let name = "sip.example.org".try_into().unwrap();
        let mut phone = StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket);
        phone.write_all(OPTIONS).unwrap();
        phone
    });
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(shard.messages[0].0.peer, at("192.0.2.7:40000"));
    drop(phone.join().unwrap());
}

fn upgrade(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [
        b"GET /sip HTTP/1.1\r\nHost: refork\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: sip\r\n",
        lines.as_ref(),
        b"\r\n",
    ]
    .concat()
}

/// A masked frame with a short text.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text);
    frame
}

/// Asks for a WebSocket and says something; returns whom it is from.
fn heard_from(listener: &Listener, lines: impl AsRef<[u8]>) -> (IpAddr, bool) {
    let mut shard = Shard::of(listener, None, 10, 10);
    let mut phone = shard.connect();
    let all = [upgrade(lines), frame(OPTIONS)].concat();
    phone.write_all(&all).unwrap();
    shard.until(|shard| shard.messages.len() == 1);
    let flow = shard.messages[0].0;
    assert_eq!(flow.peer.port(), phone.local_addr().unwrap().port());
    assert_eq!(shard.registry.find(Transport::Ws, flow.peer), Some(flow));
    (flow.peer.ip(), flow.peer.ip().is_loopback())
}

#[test]
fn a_browser_is_who_its_proxy_says() {
    let by = NamedBy::Header(ForwardedBy::XForwardedFor);
    let listener = behind(Transport::Ws, by, "127.0.0.0/8");
    let forged = "X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\nForwarded: for=198.51.100.2\r\n";
    assert_eq!(heard_from(&listener, forged).0, address("192.0.2.7"));
    let lines = "X-Forwarded-For: nonsense\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.2\r\n";
    assert_eq!(heard_from(&listener, lines).0, address("192.0.2.7"));
    for unreadable in [
        &b"\xff, 192.0.2.7"[..],
        b"\xe9\r\nX-Forwarded-For: 192.0.2.7",
    ] {
        let line = [b"X-Forwarded-For: ", unreadable, b"\r\n"].concat();
        assert_eq!(heard_from(&listener, line).0, address("192.0.2.7"));
    }
    let by = NamedBy::Header(ForwardedBy::Forwarded);
    let listener = behind(Transport::Ws, by, "127.0.0.0/8");
    let said =
        "Forwarded: for=\"[2001:db8::7]:1\";proto=https\r\nX-Forwarded-For: 198.51.100.1\r\n";
    assert_eq!(heard_from(&listener, said).0, address("2001:db8::7"));
}

#[test]
fn who_is_not_named_is_not_the_proxy() {
    let by = NamedBy::Header(ForwardedBy::XForwardedFor);
    let listener = behind(Transport::Ws, by, "127.0.0.0/8");
    for lines in [
        &b""[..],
        b"Forwarded: for=192.0.2.7\r\n",
        b"X-Forwarded-For: \xff\r\n",
        b"X-Forwarded-For: \xff, 127.0.0.2\r\n",
        b"X-Forwarded-For: 192.0.2.7, unknown\r\n",
        b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For:\r\n",
    ] {
        let mut shard = Shard::of(&listener, None, 10, 10);
        let mut phone = shard.connect();
        let all = [upgrade(lines), frame(OPTIONS)].concat();
        phone.write_all(&all).unwrap();
        shard.until(|shard| shard.closed.len() == 1);
        assert_eq!(shard.faults, [Fault::Shake(Shake::Proxy)]);
        let mut answer = String::new();
        phone.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(shard.messages.is_empty(), "{lines:?}");
        assert_eq!(shard.failed(Shake::Proxy), 1);
    }
}

/// What a client says wrongly is its own doing, however early it says it.
#[test]
fn a_fault_is_of_whom_it_comes_from() {
    let by = NamedBy::Header(ForwardedBy::XForwardedFor);
    let web = [upgrade("X-Forwarded-For: 192.0.2.7\r\n"), vec![0xff; 40]].concat();
    let endless = [HEADER, b"OPTIONS sip:a@example.org SIP/2.0\r\nVia: SIP/2.0/TCP 10.1.1.1;branch=z9hG4bK1\r\n\
        From: <sip:x@example.org>;tag=1\r\nTo: <sip:a@example.org>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
        Content-Length: many\r\n\r\n"].concat();
    for (listener, said) in [
        (behind(Transport::Ws, by, "127.0.0.0/8"), web),
        (by_protocol(Transport::Tcp), endless),
    ] {
        let mut shard = Shard::of(&listener, None, 10, 10);
        let mut phone = shard.connect();
        phone.write_all(&said).unwrap();
        shard.until(|shard| shard.closed.len() == 1);
        assert_eq!(shard.closed[0].peer.ip(), address("192.0.2.7"));
        let mut answer = Vec::new();
        phone.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            listener.transport == Transport::Ws || answer.contains("received=192.0.2.7"),
            "{answer}"
        );
    }
}

#[test]
fn nobody_says_for_itself_who_it_is() {
    let lines = "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\n";
    let by = NamedBy::Header(ForwardedBy::XForwardedFor);
    assert!(heard_from(&behind(Transport::Ws, by, "192.0.2.0/24"), lines).1);
    assert!(heard_from(&listener(Transport::Ws, "127.0.0.1"), lines).1);
}

#[test]
fn pages_of_other_origins_open_no_web_socket() {
    let listener = Listener {
        origins: vec![
            "https://phone.example.org".into(),
            "http://10.0.0.1:8080".into(),
        ],
        ..listener(Transport::Ws, "127.0.0.1")
    };
    for origin in ["https://Phone.example.org", "http://10.0.0.1:8080"] {
        heard_from(&listener, format!("Origin: {origin}\r\n"));
    }
    // No browser says nothing.
    heard_from(&listener, "");
    for lines in [
        "Origin: https://evil.example\r\n",
        "Origin: http://phone.example.org\r\n",
        "Origin: https://phone.example.org.evil.example\r\n",
        "Origin: https://phone.example.org:8443\r\n",
        "Origin: null\r\n",
        "Origin: https://phone.example.org\r\nOrigin: https://evil.example\r\n",
    ] {
        let mut shard = Shard::of(&listener, None, 10, 10);
        let mut page = shard.connect();
        page.write_all(&upgrade(lines)).unwrap();
        shard.until(|shard| shard.closed.len() == 1);
        let mut answer = String::new();
        page.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{lines}: {answer}");
        assert_eq!(shard.faults, [Fault::Shake(Shake::Origin)]);
        assert_eq!(shard.failed(Shake::Origin), 1);
    }
    heard_from(
        &super::listener(Transport::Ws, "127.0.0.1"),
        "Origin: https://evil.example\r\n",
    );
}
