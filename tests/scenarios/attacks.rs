//! What strangers do to a server on the open network, and that good phones notice nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use refork::config::{BanConfig, RateConfig};
use refork::sip::digest::{Challenge, ha1};
use refork::sip::{Message, Name};
use refork::ua::{Medium, Reaction, Transport};

use crate::metrics::ask;
use crate::stage::{LATER, SOON, Stage, connect, hang_up, talk};

/// Where strangers live.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// Where the phones live.
const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// What is not answered by then is not answered.
const SILENCE: Duration = Duration::from_millis(500);

fn strict() -> Stage {
    Stage::with(|config| {
        config.rate = RateConfig {
            per_second: 20,
            burst: 40,
        };
        config.bans = BanConfig {
            after: 5,
            within: Duration::from_secs(60),
            duration: Duration::from_secs(60),
        };
    })
}

fn request(method: &str, number: usize, from: SocketAddr, transport: &str, more: &str) -> String {
    format!(
        "{method} sip:example.org SIP/2.0\r\nVia: SIP/2.0/{transport} {from};branch=z9hG4bKx{number};rport\r\n\
         From: <sip:alice@example.org>;tag=x{number}\r\nTo: <sip:alice@example.org>\r\n\
         Call-ID: {number}-{from}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

/// A socket of somebody who is not registered.
struct Stranger {
    socket: UdpSocket,
    server: SocketAddr,
    number: usize,
}

impl Stranger {
    fn at(ip: Ipv4Addr, stage: &Stage) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        Self {
            socket,
            server: stage.sip(Transport::Udp, false),
            number: 0,
        }
    }

    fn send(&mut self, method: &str, more: &str) {
        self.number += 1;
        let from = self.socket.local_addr().unwrap();
        let text = request(method, self.number, from, "UDP", more);
        self.socket.send_to(text.as_bytes(), self.server).unwrap();
    }

    fn hears(&self) -> Option<Message> {
        let mut buffer = [0; 65536];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(Message::parse(buffer[..length].to_vec().into()).unwrap())
    }

    fn ask(&mut self, method: &str, more: &str) -> Option<u16> {
        self.send(method, more);
        self.hears().map(|message| message.status())
    }

    /// Guesses a password: asks for a nonce, and answers it. Returns what that is answered.
    fn guess(&mut self) -> u16 {
        self.try_password("guess", "")
    }

    fn try_password(&mut self, password: &str, more: &str) -> u16 {
        let authorization = self.proof(password) + more;
        self.ask("REGISTER", &authorization).unwrap()
    }

    /// Asks for a nonce. Returns the line that answers it.
    fn proof(&mut self, password: &str) -> String {
        self.send("REGISTER", "");
        let challenged = self.hears().unwrap();
        let field = challenged.header(Name::WwwAuthenticate).unwrap();
        let challenge = Challenge::parse(field).unwrap();
        let ha1 = ha1(challenge.algorithm, "alice", "example.org", password);
        let answer = challenge.answer("alice", &ha1, "REGISTER", "sip:example.org", "c");
        format!("Authorization: {answer}\r\n")
    }
}

/// The Call-ID says which of the workers a request falls to, and whoever sends it chooses that.
#[test]
fn what_a_phone_has_proved_once_nobody_proves_again_at_another_worker() {
    let stage = Stage::with(|config| config.workers = 4);
    let (mut phone, mut thief) = (Stranger::at(HOME, &stage), Stranger::at(STRANGER, &stage));
    let proof = phone.proof(crate::stage::PASSWORD);
    assert_eq!(phone.ask("REGISTER", &proof), Some(200));
    // Never all to the one worker that knows it, in so many tries.
    for _ in 0..16 {
        assert_eq!(thief.ask("REGISTER", &proof), Some(401));
    }
    stage.finish();
}

#[test]
fn who_sends_too_much_is_dropped_and_no_phone_beside_it() {
    let stage = strict();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    // The second one floods from the address that the phones have, too.
    for ip in [STRANGER, HOME] {
        let mut stranger = Stranger::at(ip, &stage);
        for _ in 0..1000 {
            stranger.send("OPTIONS", "");
        }
        let (call, taken) = connect(&alice, &bob, Medium::Audio);
        talk(&call, &taken);
        hang_up(&call, &taken);
        let answers = std::iter::from_fn(|| stranger.hears()).count();
        assert!((1..300).contains(&answers), "{answers} answers");
    }
    let dropped = stage.metric("refork_gate_dropped_total{reason=\"rate\"}");
    assert!(dropped > 1200.0, "{dropped}");
    stage.finish();
}

#[test]
fn who_guesses_passwords_is_shut_out_and_no_phone_beside_it() {
    let stage = strict();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let mut stranger = Stranger::at(HOME, &stage);
    for _ in 0..5 {
        assert_eq!(stranger.guess(), 401);
    }
    assert_eq!(stranger.ask("OPTIONS", ""), None, "shut out");
    assert_eq!(stage.metric("refork_banned"), 1.0);
    assert_eq!(stage.metric("refork_bans_total{why=\"credentials\"}"), 1.0);
    // Those that are registered from the same address go on: calls, and their next REGISTER.
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    hang_up(&call, &taken);
    assert_eq!(alice.register().unwrap(), 200);
    // The same over a connection.
    let server = stage.sip(Transport::Tcp, false);
    let mut connection = TcpStream::connect(server).unwrap();
    assert_eq!(read(&mut connection), "", "closed");

    let bans = ask(stage.admin(), "GET", "/api/v1/bans");
    assert!(bans.contains("\"source\":\"127.0.0.1\""), "{bans}");
    assert!(bans.contains("\"why\":\"credentials\""), "{bans}");
    ask(stage.admin(), "DELETE", "/api/v1/bans?source=127.0.0.1");
    assert_eq!(stranger.ask("OPTIONS", ""), Some(200), "let in again");
    stage.finish();
}

#[test]
fn who_lets_somebody_ring_is_shut_out_all_the_same() {
    let stage = strict();
    let bob = stage.desk();
    bob.script(|script| script.invite = Reaction::Ring);
    let mut stranger = Stranger::at(STRANGER, &stage);
    let at = stranger.socket.local_addr().unwrap();
    let invite = request("INVITE", 0, at, "UDP", &format!("Contact: <sip:{at}>\r\n"))
        .replace(
            "sip:alice@example.org>;tag",
            "sip:mallory@elsewhere.example>;tag",
        )
        .replace("sip:alice@example.org>", "sip:bob@example.org>")
        .replace("INVITE sip:example.org", "INVITE sip:bob@example.org");
    let sent = stranger.socket.send_to(invite.as_bytes(), stranger.server);
    sent.unwrap();
    while stranger.hears().unwrap().status() != 180 {}
    for _ in 0..5 {
        assert_eq!(stranger.guess(), 401);
    }
    assert_eq!(stranger.ask("OPTIONS", ""), None, "shut out");
}

#[test]
fn a_phone_that_guesses_over_its_own_flow_is_shut_out_alone() {
    let stage = strict();
    let alice = stage.phone("alice");
    let mut stranger = Stranger::at(HOME, &stage);
    let at = stranger.socket.local_addr().unwrap();
    let contact = format!("Contact: <sip:alice@{at}>;expires=60\r\n");
    assert_eq!(stranger.try_password("correct horse", &contact), 200);
    for _ in 0..5 {
        assert_eq!(stranger.guess(), 401);
    }
    assert_eq!(stranger.ask("OPTIONS", ""), None, "shut out");
    let bans = ask(stage.admin(), "GET", "/api/v1/bans");
    assert!(bans.contains(&format!("\"flow\":\"udp:{at}\"")), "{bans}");
    // A phone that is switched on behind the same address, and one that was there before.
    let bob = stage.desk();
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    hang_up(&call, &taken);
    ask(stage.admin(), "DELETE", "/api/v1/bans?source=127.0.0.1");
    assert_eq!(stranger.ask("OPTIONS", ""), Some(200), "let in again");
    stage.finish();
}

#[test]
fn datagrams_in_anothers_name_keep_no_connection_of_it_waiting() {
    let stage = strict();
    let mut forged = Stranger::at(HOME, &stage);
    for _ in 0..1000 {
        forged.send("OPTIONS", "");
    }
    let server = stage.sip(Transport::Tcp, false);
    let mut connection = TcpStream::connect(server).unwrap();
    let from = connection.local_addr().unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let options = request("OPTIONS", 0, from, "TCP", "");
    connection.write_all(options.as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    let length = connection.read(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200"));
    stage.finish();
}

#[test]
fn what_anybody_could_send_in_anothers_name_shuts_nobody_out() {
    let stage = strict();
    let mut stranger = Stranger::at(STRANGER, &stage);
    for number in 0..20 {
        let nonsense = format!("nonsense {number}\r\n\r\n");
        let sent = stranger
            .socket
            .send_to(nonsense.as_bytes(), stranger.server);
        sent.unwrap();
    }
    // Somebody else's nonce, or one that was made up: whoever sends it need not have got it here.
    let mut other = Stranger::at(Ipv4Addr::new(127, 0, 0, 67), &stage);
    other.send("REGISTER", "");
    let challenged = other.hears().unwrap();
    let field = challenged.header(Name::WwwAuthenticate).unwrap().to_owned();
    let challenge = Challenge::parse(&field).unwrap();
    let answer = challenge.answer("alice", "00", "REGISTER", "sip:example.org", "c");
    for _ in 0..10 {
        let authorization = format!("Authorization: {answer}\r\n");
        assert_eq!(stranger.ask("REGISTER", &authorization), Some(401));
    }
    assert_eq!(stage.metric("refork_banned"), 0.0);
    assert_eq!(stranger.ask("OPTIONS", ""), Some(200));
    stage.finish();
}

#[test]
fn nonsense_over_connections_closes_them_all() {
    let stage = strict();
    let server = stage.sip(Transport::Tcp, false);
    let alice = stage.phone_with("alice", |profile| {
        profile.server = server;
        profile.transport = Transport::Tcp;
    });
    let mut idle = TcpStream::connect(server).unwrap();
    let broken = "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\n";
    for _ in 0..5 {
        let mut connection = TcpStream::connect(server).unwrap();
        connection.write_all(broken.as_bytes()).unwrap();
        let _ = read(&mut connection);
    }
    stage.wait_metric("refork_banned", 1.0);
    assert_eq!(read(&mut idle), "", "closed, though it did nothing");
    assert_eq!(
        alice.register().unwrap(),
        200,
        "not that of a registered phone"
    );
    stage.finish();
}

#[test]
fn who_begins_messages_and_does_not_end_them_holds_nobody_up() {
    let stage = Stage::with(|config| {
        config.limits.header_timeout = Duration::from_millis(500);
    });
    let server = stage.sip(Transport::Tcp, false);
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut connection = TcpStream::connect(server).unwrap();
            connection.write_all(b"INVITE sip:bob@example.org").unwrap();
            connection
        })
        .collect();
    let alice = stage.phone_with("alice", |profile| {
        profile.server = server;
        profile.transport = Transport::Tcp;
    });
    let bob = stage.desk();
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    hang_up(&call, &taken);
    for mut connection in slow {
        assert_eq!(read(&mut connection), "", "closed");
    }
    stage.finish();
}

#[test]
fn a_flood_over_a_connection_is_read_slowly_and_loses_nothing() {
    let stage = strict();
    let server = stage.sip(Transport::Tcp, false);
    let mut connection = TcpStream::connect(server).unwrap();
    let from = connection.local_addr().unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let flood: String = (0..80)
        .map(|number| request("OPTIONS", number, from, "TCP", ""))
        .collect();
    let begun = stage.log.now();
    connection.write_all(flood.as_bytes()).unwrap();
    let mut text = String::new();
    hear_answers(&mut connection, 80, &mut text);
    // What came in one read is answered; the next read waits for what that cost.
    connection
        .write_all(request("OPTIONS", 80, from, "TCP", "").as_bytes())
        .unwrap();
    hear_answers(&mut connection, 81, &mut text);
    let took = stage.log.now() - begun;
    assert!(took > Duration::from_millis(1500), "{took:?}");
    stage.finish();
}

#[test]
fn large_messages_are_read_as_slowly_as_many_small_ones() {
    let stage = strict();
    let server = stage.sip(Transport::Tcp, false);
    let mut connection = TcpStream::connect(server).unwrap();
    let from = connection.local_addr().unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let large = |number| {
        let small = request("OPTIONS", number, from, "TCP", "");
        let head = small.replace("Content-Length: 0", "Content-Length: 30000");
        format!("{head}{}", "x".repeat(30_000))
    };
    // Ten, with 80 times 4 KiB in them: 40 are free, and 20 a second.
    let begun = stage.log.now();
    let mut text = String::new();
    for number in 0..10 {
        connection.write_all(large(number).as_bytes()).unwrap();
    }
    hear_answers(&mut connection, 10, &mut text);
    // What came in one read is answered; the next read waits for what that cost.
    connection.write_all(large(10).as_bytes()).unwrap();
    hear_answers(&mut connection, 11, &mut text);
    let took = stage.log.now() - begun;
    assert!(took > Duration::from_millis(1500), "{took:?}");
    // Somebody else is heard meanwhile.
    assert_eq!(Stranger::at(HOME, &stage).ask("OPTIONS", ""), Some(200));
    stage.finish();
}

#[test]
fn responses_and_keep_alives_over_a_connection_have_a_rate_too() {
    let stage = strict();
    let server = stage.sip(Transport::Tcp, false);
    let mut connection = TcpStream::connect(server).unwrap();
    let from = connection.local_addr().unwrap();
    connection.set_read_timeout(Some(LATER)).unwrap();
    let stray: String = (0..1000)
        .map(|number| {
            let request = request("OPTIONS", number, from, "TCP", "");
            let (_, headers) = request.split_once("\r\n").unwrap();
            format!("SIP/2.0 200 OK\r\n{headers}")
        })
        .collect();
    let begun = stage.log.now();
    connection.write_all(stray.as_bytes()).unwrap();
    connection
        .write_all(request("OPTIONS", 1000, from, "TCP", "").as_bytes())
        .unwrap();
    hear_answers(&mut connection, 1, &mut String::new());
    // 400 at once, 200 a second, and all of one read.
    let took = stage.log.now() - begun;
    assert!(took > Duration::from_millis(1000), "{took:?}");

    let begun = stage.log.now();
    connection.write_all(&b"\r\n\r\n".repeat(1000)).unwrap();
    connection.read_exact(&mut [0; 2000]).unwrap();
    // The first may have been in the same read as the last keep-alive.
    for number in 1001..=1002 {
        connection
            .write_all(request("OPTIONS", number, from, "TCP", "").as_bytes())
            .unwrap();
        hear_answers(&mut connection, 1, &mut String::new());
    }
    let took = stage.log.now() - begun;
    assert!(took > Duration::from_millis(1500), "{took:?}");
    stage.finish();
}

/// Reads until so many answers have begun in all.
fn hear_answers(connection: &mut TcpStream, count: usize, text: &mut String) {
    let mut buffer = [0; 4096];
    while text.matches("SIP/2.0 200 OK").count() < count {
        let length = connection.read(&mut buffer).unwrap();
        assert!(length > 0, "closed after {text}");
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
}

/// Reads until the end.
fn read(connection: &mut TcpStream) -> String {
    connection.set_read_timeout(Some(SOON)).unwrap();
    let mut bytes = Vec::new();
    match connection.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn who_is_on_the_list_is_met_with_silence() {
    let stage = Stage::with(|config| {
        config.engine.acl.deny = vec!["127.0.0.66".parse().unwrap()];
    });
    let alice = stage.phone("alice");
    let mut stranger = Stranger::at(STRANGER, &stage);
    assert_eq!(stranger.ask("OPTIONS", ""), None);
    let mut neighbour = Stranger::at(Ipv4Addr::new(127, 0, 0, 67), &stage);
    assert_eq!(neighbour.ask("OPTIONS", ""), Some(200));
    assert_eq!(alice.register().unwrap(), 200);
    let dropped = stage.metric("refork_gate_dropped_total{reason=\"denied\"}");
    assert_eq!(dropped, 1.0);
    stage.finish();
}
