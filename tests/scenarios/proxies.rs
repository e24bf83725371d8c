//! Clients behind proxies: each is a source of its own.

use std::io::{Read, Write};
use std::net::TcpStream;

use refork::config::{self, Config, Listener};
use refork::engine::ids;
use refork::engine::settings::{Auth, ServedBy};
use refork::sip::{Message, Name};
use refork::ua::Transport;

use crate::stage::{SOON, Stage};

const LISTEN: &str = r#"
listen:
  - { at: "ws://127.0.0.1:0", proxies: [127.0.0.1], forwarded_by: x_forwarded_for }
  - { at: "tcp://127.0.0.1:0", proxies: [127.0.0.0/8], proxy_protocol: true }
"#;
const GOOD: &str = "192.0.2.7";
const BAD: &str = "192.0.2.66";

/// How the proxy says who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Protocol,
    Header,
}

impl By {
    /// Returns what a proxy says of a client.
    fn naming(self, client: &str, port: u16) -> Vec<u8> {
        let said = match self {
            Self::Protocol => format!("PROXY TCP4 {client} 127.0.0.1 {port} 5060\r\n"),
            Self::Header => format!(
                "GET / HTTP/1.1\r\nHost: refork\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: sip\r\nX-Forwarded-For: nonsense, {client}\r\n\r\n"
            ),
        };
        said.into_bytes()
    }
}

const BOTH: [By; 2] = [By::Protocol, By::Header];

struct House(Stage);

fn house(change: impl FnOnce(&mut Config)) -> House {
    let listeners = config::parse(LISTEN, "proxies", &|_| None)
        .unwrap()
        .listeners;
    House(Stage::with(|config| {
        config.bans.after = 3;
        // The other listeners of its kind are in front of it.
        config
            .listeners
            .retain(|listener| !listener.transport.is_reliable());
        config.listeners.extend(listeners);
        change(config);
    }))
}

fn options(number: usize) -> String {
    format!(
        "OPTIONS sip:bob@example.org SIP/2.0\r\n\
         Via: SIP/2.0/TCP 10.1.1.1:5060;rport;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:x@elsewhere.example>;tag=1\r\nTo: <sip:bob@example.org>\r\n\
         Call-ID: c{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

struct Client {
    by: By,
    proxy: TcpStream,
    /// Whether the WebSocket is there, where it needs one.
    open: bool,
}

impl House {
    /// A proxy connects in the name of a client that goes on to say something.
    fn come(&self, by: By, client_ip: &str, port: u16, said: &str) -> Client {
        let mut client = self.connect(by);
        let said = match said {
            "" => Vec::new(),
            said => client.framed(said),
        };
        let all = [by.naming(client_ip, port), said].concat();
        client.proxy.write_all(&all).unwrap();
        client
    }

    fn connect(&self, by: By) -> Client {
        let transport = match by {
            By::Protocol => Transport::Tcp,
            By::Header => Transport::Ws,
        };
        let proxy = TcpStream::connect(self.0.sip(transport, false)).unwrap();
        proxy.set_read_timeout(Some(SOON)).unwrap();
        let open = by == By::Protocol;
        Client { by, proxy, open }
    }

    /// Returns whether a client is heard that comes now.
    fn hears(&self, by: By, client: &str, number: u16) -> bool {
        let mut client = self.come(by, client, number, &options(number.into()));
        client.answer().is_some()
    }
}

impl Client {
    /// RFC 6455 5.2: text, masked with nothing.
    fn framed(&self, said: &str) -> Vec<u8> {
        let [high, low] = (said.len() as u16).to_be_bytes();
        match self.by {
            By::Protocol => said.into(),
            By::Header => [&[0x81, 0x80 | 126, high, low, 0, 0, 0, 0], said.as_bytes()].concat(),
        }
    }

    fn say(&mut self, said: &str) {
        let framed = self.framed(said);
        self.proxy.write_all(&framed).unwrap();
    }

    /// Reads one answer; none where the connection is closed.
    fn answer(&mut self) -> Option<Message> {
        if !self.open {
            let head = self.until_blank()?;
            self.open = head.starts_with(b"HTTP/1.1 101 ");
            if !self.open {
                return None;
            }
        }
        if self.by == By::Protocol {
            return Some(Message::parse(self.until_blank()?.into()).unwrap());
        }
        let [kind, len] = [self.byte()?, self.byte()?];
        if kind != 0x81 {
            return None;
        }
        let len = match len {
            126 => usize::from(u16::from_be_bytes([self.byte()?, self.byte()?])),
            len => len.into(),
        };
        let mut bytes = vec![0; len];
        self.proxy.read_exact(&mut bytes).unwrap();
        Some(Message::parse(bytes.into()).unwrap())
    }

    fn until_blank(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(self.byte()?);
        }
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.proxy.read(&mut byte) {
            Ok(1) => Some(byte[0]),
            Ok(_) => None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_client_behind_a_proxy_is_a_source_of_its_own() {
    for by in BOTH {
        let house = house(|_| {});
        let mut good = house.come(by, GOOD, 40_000, &options(1));
        let told = good.answer().unwrap();
        let via = told.header(Name::Via).unwrap();
        assert!(via.contains("received=192.0.2.7"), "{via}");
        assert!(by == By::Header || via.contains("rport=40000"), "{via}");
        // One client misbehaves until it is shut out.
        let mut bad = house.come(by, BAD, 1, "");
        for _ in 0..4 {
            let framed = bad.framed("nonsense\r\n\r\n");
            let _ = bad.proxy.write_all(&framed);
        }
        house.0.wait_metric("refork_banned", 1.0);
        for by in BOTH {
            assert!(!house.hears(by, BAD, 2), "by {by:?}");
        }
        // Nobody else behind the proxy is.
        good.say(&options(4));
        assert!(good.answer().is_some());
        for (by, number) in BOTH.into_iter().zip(5..) {
            assert!(house.hears(by, "192.0.2.8", number), "by {by:?}");
        }
        house.0.finish();
    }
}

#[test]
fn who_breaks_the_framing_at_once_is_shut_out_alone() {
    for by in BOTH {
        let house = house(|_| {});
        let mut good = house.come(by, GOOD, 1, &options(1));
        assert!(good.answer().is_some());
        // All in one segment with what says who it is.
        for port in 10..14 {
            let mut bad = house.connect(by);
            let broken = match by {
                By::Protocol => options(port.into())
                    .replace("Length: 0", "Length: many")
                    .into_bytes(),
                By::Header => vec![0xff; 40],
            };
            bad.proxy
                .write_all(&[by.naming(BAD, port), broken].concat())
                .unwrap();
            let mut rest = Vec::new();
            let _ = bad.proxy.read_to_end(&mut rest);
        }
        house.0.wait_metric("refork_banned", 1.0);
        assert!(!house.hears(by, BAD, 20), "by {by:?}");
        assert!(house.hears(by, "192.0.2.8", 21), "by {by:?}");
        good.say(&options(22));
        assert!(good.answer().is_some(), "by {by:?}");
        house.0.finish();
    }
}

#[test]
fn who_is_not_named_yet_is_not_held_against_the_proxy() {
    let house = house(|config| {
        config.limits.connections_per_ip = 2;
        config.bans.after = 1;
    });
    let nonsense = [
        &b"nonsense\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\r\n\r\n",
    ];
    let waiting: Vec<_> = BOTH
        .iter()
        .flat_map(|by| [*by; 5])
        .map(|by| house.connect(by))
        .collect();
    for by in BOTH {
        for said in nonsense {
            let mut bad = house.connect(by);
            bad.proxy.write_all(said).unwrap();
            let mut rest = Vec::new();
            let _ = bad.proxy.read_to_end(&mut rest);
        }
    }
    for (by, number) in BOTH.into_iter().zip(1..) {
        assert!(house.hears(by, GOOD, number), "by {by:?}");
    }
    assert!(house.0.metric("refork_banned") < 1.0);
    drop(waiting);
    house.0.finish();
}

#[test]
fn lists_are_asked_for_the_client_and_not_for_the_proxy() {
    for by in BOTH {
        let house = house(|config| {
            config.engine.acl.allow = vec!["192.0.2.0/24".parse().unwrap()];
            config.engine.acl.deny = vec!["192.0.2.99".parse().unwrap()];
        });
        assert!(house.hears(by, GOOD, 1), "by {by:?}");
        assert!(!house.hears(by, "192.0.2.99", 2), "by {by:?}");
        assert!(!house.hears(by, "198.51.100.1", 3), "by {by:?}");
        house.0.finish();
        let house = self::house(|config| {
            config.engine.acl.deny = vec!["127.0.0.1".parse().unwrap()];
        });
        assert!(house.hears(by, GOOD, 1), "by {by:?}");
        house.0.finish();
    }
}

#[test]
fn each_client_has_its_own_connections() {
    for by in BOTH {
        let house = house(|config| config.limits.connections_per_ip = 2);
        let mut of_one: Vec<_> = (1..=2)
            .map(|number| house.come(by, GOOD, number, &options(number.into())))
            .collect();
        for client in &mut of_one {
            assert!(client.answer().is_some(), "by {by:?}");
        }
        assert!(!house.hears(by, GOOD, 3), "by {by:?}");
        assert!(house.hears(by, "192.0.2.8", 4), "by {by:?}");
        house.0.finish();
    }
}

#[test]
fn where_the_proxies_end_tls_the_phones_are_told_of_tls() {
    for (ends, via, param) in [
        (true, "SIP/2.0/TLS ", "tls"),
        (false, "SIP/2.0/TCP ", "tcp"),
    ] {
        let house = house(|config| {
            for domain in &mut config.engine.domains {
                if let ServedBy::Registrar(registrar) = &mut domain.served_by {
                    registrar.auth = Auth::None;
                }
            }
            let tcp = |listener: &&mut Listener| listener.transport == ids::Transport::Tcp;
            for listener in config.listeners.iter_mut().filter(tcp).filter(|_| ends) {
                listener.spoken = ids::Transport::Tls;
            }
        });
        let contact = "<sip:bob@192.0.2.7:4000;transport=tls>";
        let register = options(1)
            .replace("OPTIONS sip:bob@", "REGISTER sip:")
            .replace("1 OPTIONS", "1 REGISTER")
            .replace("<sip:x@elsewhere.example>", "<sip:bob@example.org>")
            .replace(
                "Content-Length",
                &format!("Contact: {contact}\r\nContent-Length"),
            );
        let mut phone = house.come(By::Protocol, GOOD, 4000, &register);
        assert_eq!(phone.answer().unwrap().status(), 200);
        let text = options(2)
            .replace("OPTIONS", "MESSAGE")
            .replace("tag=1", "tag=2");
        let _sender = house.come(By::Protocol, GOOD, 4001, &text);
        let heard = phone.answer().unwrap();
        assert!(heard.is_request());
        let value = heard.header(Name::Via).unwrap();
        assert!(value.starts_with(via), "{value}");
        let invite = options(3).replace("OPTIONS", "INVITE").replace(
            "Content-Length",
            "Contact: <sip:x@192.0.2.7:4001;transport=tls>\r\nContent-Length",
        );
        let ok = format!(
            "SIP/2.0 200 OK\r\nVia: {value}\r\nFrom: {}\r\nTo: {};tag=9\r\nCall-ID: {}\r\n\
             CSeq: {} MESSAGE\r\nContent-Length: 0\r\n\r\n",
            heard.header(Name::From).unwrap(),
            heard.header(Name::To).unwrap(),
            heard.call_id(),
            heard.cseq()
        );
        phone.say(&ok);
        let _caller = house.come(By::Protocol, GOOD, 4002, &invite);
        let heard = phone.answer().unwrap();
        let contact = heard.header(Name::Contact).unwrap();
        assert!(
            contact.contains(&format!(";transport={param}>")),
            "{contact}"
        );
    }
}
