//! Clients behind proxies: each is a source of its own.

use std::io::{Read, Write};
use std::net::TcpStream;

use refork::config;
use refork::sip::{Message, Name};
use refork::ua::Transport;

use crate::stage::{SOON, Stage};

const LISTEN: &str = r#"
listen:
  - { at: "ws://127.0.0.1:0", proxies: [127.0.0.1], forwarded_by: x_forwarded_for }
  - { at: "tcp://127.0.0.1:0", proxies: [127.0.0.0/8], proxy_protocol: true }
"#;

struct House {
    stage: Stage,
    tcp: std::net::SocketAddr,
}

fn house() -> House {
    let listeners = config::parse(LISTEN, "proxies", &|_| None)
        .unwrap()
        .listeners;
    let stage = Stage::with(|config| {
        config.bans.after = 3;
        config.engine.acl.deny = vec!["192.0.2.99".parse().unwrap()];
        // The other listeners of its kind are in front of it.
        config
            .listeners
            .retain(|listener| !listener.transport.is_reliable());
        config.listeners.extend(listeners);
    });
    let tcp = stage.sip(Transport::Tcp, false);
    House { stage, tcp }
}

fn options(number: usize) -> String {
    format!(
        "OPTIONS sip:bob@example.org SIP/2.0\r\n\
         Via: SIP/2.0/TCP 10.1.1.1:5060;rport;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:x@elsewhere.example>;tag=1\r\nTo: <sip:bob@example.org>\r\n\
         Call-ID: c{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

impl House {
    /// Comes through the proxy in the name of a client.
    fn come(&self, client: &str, port: u16, said: &str) -> TcpStream {
        let mut proxy = TcpStream::connect(self.tcp).unwrap();
        proxy.set_read_timeout(Some(SOON)).unwrap();
        let header = format!("PROXY TCP4 {client} 127.0.0.1 {port} 5060\r\n{said}");
        proxy.write_all(header.as_bytes()).unwrap();
        proxy
    }
}

/// Reads one answer; none where the connection is closed.
fn answer(proxy: &mut TcpStream) -> Option<Message> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match proxy.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Ok(_) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
    }
    Some(Message::parse(bytes.into()).unwrap())
}

#[test]
fn a_client_behind_a_proxy_is_a_source_of_its_own() {
    let house = house();
    let mut good = house.come("192.0.2.7", 40_000, &options(1));
    let told = answer(&mut good).unwrap();
    let via = told.header(Name::Via).unwrap();
    assert!(
        via.contains("received=192.0.2.7") && via.contains("rport=40000"),
        "{via}"
    );
    // One client misbehaves until it is shut out.
    let mut bad = house.come("192.0.2.66", 1, "");
    for _ in 0..4 {
        let _ = bad.write_all(b"nonsense\r\n\r\n");
    }
    house.stage.wait_metric("refork_banned", 1.0);
    let mut again = house.come("192.0.2.66", 2, &options(2));
    assert!(answer(&mut again).is_none());
    let mut denied = house.come("192.0.2.99", 3, &options(3));
    assert!(answer(&mut denied).is_none());
    // Nobody else behind the proxy is.
    good.write_all(options(4).as_bytes()).unwrap();
    assert!(answer(&mut good).is_some());
    let mut other = house.come("192.0.2.8", 4, &options(5));
    assert!(answer(&mut other).is_some());
    house.stage.finish();
}
