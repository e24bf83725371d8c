//! A shard that cannot keep up, and one whose time passes fast.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::config;
use crate::driver::Mail;
use crate::engine::ids::Transport;
use crate::engine::mint::hash_shard;
use crate::engine::time::Millis;
use crate::metrics::Readings;
use crate::sip::{Builder, Message, Method, Name};

use super::{Server, start};

const PATIENCE: Duration = Duration::from_secs(60);
/// More than a mailbox holds.
const REQUESTS: usize = 15_000;

const CONFIG: &str = r#"
node: { workers: 2 }
listen: ["tcp://127.0.0.1:0"]
domains: { example.org: { registrar: { auth: none } } }
admin: { listen: "127.0.0.1:0" }
limits: { requests_per_ip: { rate: 1000000, burst: 1000000 } }
"#;

fn connections(server: &Server, worker: usize) -> u64 {
    let counters = &server.shared.counters[worker];
    let open = counters.of(Transport::Tcp).unwrap();
    open.load(Ordering::Relaxed)
}

/// Looks again and again, since nobody outside is told.
#[expect(clippy::disallowed_methods, reason = "the test's own deadline")]
fn until(what: &str, so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

fn options(call_id: &str) -> String {
    format!(
        "OPTIONS sip:example.org SIP/2.0\r\n\
         Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK-{call_id}\r\nMax-Forwards: 70\r\n\
         From: <sip:t@elsewhere.example>;tag=1\r\nTo: <sip:example.org>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn what_comes_over_a_connection_waits_for_a_shard_that_is_late() {
    let server = start(config::parse(CONFIG, "test", &|_| None).unwrap()).unwrap();
    let shared = &server.shared;
    let mut peer = TcpStream::connect(server.sip_addresses()[0].1).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    until("accepted", || (0..2).any(|w| connections(&server, w) == 1));
    // The worker that does not have the connection stands still.
    let late = usize::from(connections(&server, 0) == 1);
    let (go, waits) = channel::<()>();
    let stand_still = move |_: &_| {
        let _ = waits.recv();
    };
    assert!(
        shared
            .mailboxes
            .post(late, Mail::Ask(Box::new(stand_still)))
    );
    let of_late = |call_id: &String| {
        let shard = hash_shard(shared.shard_key, call_id.as_str());
        shared.mailboxes.owner(shard) == late
    };
    let flood: String = (0..)
        .map(|number| format!("c{number}"))
        .filter(of_late)
        .take(REQUESTS)
        .map(|call_id| options(&call_id))
        .collect();
    let mut writer = peer.try_clone().unwrap();
    let writer = std::thread::spawn(move || writer.write_all(flood.as_bytes()));
    until("its mailbox is full", || shared.mailboxes.is_full(late));
    drop(go);
    let (mut answers, mut rest) = (0, Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    while answers < REQUESTS {
        let len = peer.read(&mut buffer).unwrap();
        assert!(len > 0, "closed after {answers} answers");
        rest.extend_from_slice(&buffer[..len]);
        while let Some(end) = memchr::memmem::find(&rest, b"\r\n\r\n") {
            rest.drain(..end + 4);
            answers += 1;
        }
    }
    writer.join().unwrap().unwrap();
    assert_eq!((answers, shared.mailboxes.overflows()), (REQUESTS, 0));
}

#[test]
fn a_shard_whose_mailbox_is_full_is_told_of_another_configuration_too() {
    let server = start(config::parse(CONFIG, "test", &|_| None).unwrap()).unwrap();
    let shared = &server.shared;
    let (go, waits) = channel::<()>();
    let stand_still = move |_: &_| {
        let _ = waits.recv();
    };
    let mailboxes = &shared.mailboxes;
    assert!(mailboxes.post(1, Mail::Ask(Box::new(stand_still))));
    // What the shard takes before it stands still makes room for as much again.
    // In one go: on a machine that is busy each look costs others' turns.
    let is_full = || (0..1_000).any(|_| !mailboxes.post(1, Mail::Mark));
    until("its mailbox is full", is_full);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refork.yaml");
    let text = CONFIG.replace(
        "limits: {",
        "media: { reserve: { restorations: 0.2 } }\nlimits: { conversations: 8, connections: 20, connections_per_ip: 1,",
    );
    std::fs::write(&file, text).unwrap();
    assert!(server.reload(&file));
    drop(go);
    for worker in 0..2 {
        until("it has the new limit", || {
            let (tell, told) = channel();
            let question = move |engine: &crate::engine::Engine| {
                let _ = tell.send(engine.settings().limits.conversations);
            };
            mailboxes.post(worker, Mail::Ask(Box::new(question)))
                && told.recv_timeout(PATIENCE).unwrap() == 8
        });
    }
    // A second connection of one address finds no place.
    let at = server.sip_addresses()[0].1;
    let mut first = TcpStream::connect(at).unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    first.write_all(options("first").as_bytes()).unwrap();
    assert!(first.read(&mut [0; 2000]).unwrap() > 0);
    let mut second = TcpStream::connect(at).unwrap();
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(second.read(&mut [0; 1]), Ok(0) | Err(_)));
}

/// A phone by hand.
struct Phone {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Phone {
    fn of(server: &Server) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let server = server.sip_addresses()[0].1;
        Self { socket, server }
    }

    fn at(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).unwrap();
    }

    /// Waits for a message of this method, past all others; a request where `status` is 0.
    fn hears(&self, method: &Method, status: u16) -> Message {
        let mut bytes = [0; 4096];
        loop {
            let len = self.socket.recv(&mut bytes).unwrap();
            let Ok(message) = Message::parse(bytes[..len].to_vec().into()) else {
                continue;
            };
            let heard = if message.is_request() {
                0
            } else {
                message.status()
            };
            if message.method() == method && heard == status {
                return message;
            }
        }
    }

    fn request(&self, method: Method, user: &str, cseq: u32) -> Builder {
        let (at, name) = (self.at(), method.as_str().to_owned());
        Builder::request(&method, &format!("sip:{user}example.org"))
            .header(
                Name::Via,
                format_args!("SIP/2.0/UDP {at};branch=z9hG4bK{name}{cseq};rport"),
            )
            .header(Name::MaxForwards, 70)
            .header(Name::From, format_args!("<sip:bob@example.org>;tag={name}"))
            .header(Name::To, "<sip:bob@example.org>")
            .header(Name::CallId, format_args!("{name}{cseq}"))
            .header(Name::CSeq, format_args!("{cseq} {name}"))
            .header(
                Name::Contact,
                format_args!("<sip:bob@{at}>;+sip.instance=\"<urn:uuid:7>\";reg-id=1"),
            )
    }

    fn session(&self) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 0\r\n",
            self.at().port()
        )
    }
}

/// RFC 5626 4.4: a phone that was asked to keep its flow alive, has done so, and does so no more.
#[test]
fn who_kept_its_flow_alive_and_does_so_no_more_is_missed() {
    let config = r#"
node: { workers: 1 }
listen: ["udp://127.0.0.1:0"]
domains: { example.org: { registrar: { auth: none } } }
admin: { listen: "127.0.0.1:0" }
media: { mode: direct }
detect: { probe: off, media: off, session_timer: off }
"#;
    let server = start(config::parse(config, "test", &|_| None).unwrap()).unwrap();
    let shared = &server.shared;
    let missed = || {
        let text = shared.metrics.render(&Readings::default(), Duration::ZERO);
        let wanted = "refork_suspicions_total{signal=\"registration\"} ";
        let found = text.lines().find_map(|line| line.strip_prefix(wanted));
        found.unwrap().to_owned()
    };
    let (alice, bob) = (Phone::of(&server), Phone::of(&server));
    let register = bob.request(Method::Register, "", 1);
    bob.send(&register.header(Name::Supported, "outbound").end());
    let registered = bob.hears(&Method::Register, 200);
    assert_eq!(registered.header(Name::FlowTimer), Some("30"));
    let invite = alice.request(Method::Invite, "bob@", 1);
    let invite = invite.body("application/sdp", alice.session().as_bytes());
    alice.send(&invite);
    let rings = bob.hears(&Method::Invite, 0);
    let ok = Builder::respond(&rings, 200, "OK", Some("b"), bob.server)
        .header(Name::Contact, format_args!("<sip:bob@{}>", bob.at()));
    bob.send(&ok.body("application/sdp", bob.session().as_bytes()));
    bob.hears(&Method::Ack, 0);
    let ok = alice.hears(&Method::Invite, 200);
    let ack = alice.request(Method::Ack, "bob@", 1);
    let ack = String::from_utf8(ack.end().to_vec()).unwrap();
    let tag = format!(
        "<sip:bob@example.org>;tag={}\r\nCall-ID: INVITE1",
        ok.to_tag().unwrap()
    );
    let ack = ack
        .replace("<sip:bob@example.org>\r\nCall-ID: ACK1", &tag)
        .replace(";tag=ACK", ";tag=INVITE");
    alice.send(ack.as_bytes());
    let passes = |cseq| {
        // What was sent before is behind it.
        bob.send(&bob.request(Method::Options, "", cseq).end());
        bob.hears(&Method::Options, 200);
        shared.clock.jump(Millis::from_secs(80));
    };
    passes(1);
    passes(2);
    assert_eq!(missed(), "0", "it has promised nothing");
    bob.send(b"\r\n\r\n");
    passes(3);
    until("its flow is missed", || missed() == "1");
}
