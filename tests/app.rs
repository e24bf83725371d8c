//! The whole server on real sockets: started, asked, disturbed, drained and stopped.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refork::app::{Server, StartError, start, start_with};
use refork::config::{self, Config};
use refork::engine::ids::Transport;
use refork::sip::Message;
use refork::store::MemoryStore;
use refork::ua::{self, Call, Ending, Log, Medium, Phone, Profile, Reaction};

const PATIENCE: Duration = Duration::from_secs(10);
/// Nobody answers within this time who answers at all on loopback.
const SILENCE: Duration = Duration::from_millis(300);

fn config(workers: usize, more: &str) -> Config {
    let text = format!(
        "node: {{ workers: {workers} }}\n\
         listen: [\"udp://127.0.0.1:0\", \"tcp://127.0.0.1:0\"]\n\
         admin: {{ listen: \"127.0.0.1:0\" }}\n\
         timers: {{ t1: 20ms, t2: 40ms, t4: 20ms }}\n\
         {more}\n"
    );
    config::parse(&text, "test.yaml", &|_| None).unwrap()
}

fn server(workers: usize) -> Server {
    start(config(workers, "")).unwrap()
}

/// A domain whose phones need no password.
const OPEN_DOMAIN: &str = "domains: { example.org: { registrar: { auth: none } } }";

fn registered(server: &Server, log: &Log, user: &str, transport: ua::Transport) -> Phone {
    let wanted = match transport {
        ua::Transport::Udp => Transport::Udp,
        ua::Transport::Tcp => Transport::Tcp,
        ua::Transport::Tls => Transport::Tls,
        ua::Transport::Ws => Transport::Ws,
        ua::Transport::Wss => Transport::Wss,
    };
    let mut profile = Profile::new(user, user, "example.org", address(server, wanted));
    profile.transport = transport;
    profile.script.invite = Reaction::Answer(Duration::ZERO);
    let phone = Phone::start(profile, log).unwrap();
    assert_eq!(phone.register().unwrap(), 200);
    phone
}

fn session(alice: &Phone, bob: &Phone) -> (Call, Call) {
    let call = alice.call("sip:bob@example.org", Medium::Text).unwrap();
    let taken = bob.incoming(PATIENCE).unwrap();
    call.wait_up(PATIENCE).unwrap();
    taken.wait_up(PATIENCE).unwrap();
    (call, taken)
}

fn address(server: &Server, transport: Transport) -> SocketAddr {
    let addresses = server.sip_addresses();
    let found = addresses.iter().find(|address| address.0 == transport);
    found.unwrap().1
}

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn options(call_id: &str, via: &str, at: SocketAddr) -> String {
    format!(
        "OPTIONS sip:{at} SIP/2.0\r\n\
         Via: SIP/2.0/{via} {at};rport;branch=z9hG4bK-{call_id}\r\n\
         From: <sip:tester@127.0.0.1>;tag=1\r\n\
         To: <sip:{at}>\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn receive(socket: &UdpSocket) -> Message {
    let mut buffer = vec![0; 65_536];
    let len = socket.recv(&mut buffer).unwrap();
    Message::parse(buffer[..len].to_vec().into()).unwrap()
}

/// Reads one response without a body.
fn read_response(stream: &mut TcpStream) -> Message {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    Message::parse(bytes.into()).unwrap()
}

/// Asks the admin interface; returns the status and all that follows the head.
fn get(server: &Server, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.admin_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn metric(server: &Server, name: &str) -> u64 {
    let (_, text) = get(server, "/metrics");
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    let line = line.unwrap_or_else(|| panic!("no metric {name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Looks again and again, since nobody outside is told when something has come to its end.
#[expect(clippy::disallowed_methods, reason = "the test's own deadline")]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

/// Waits for the last transactions; then nothing may be left.
fn comes_to_rest(server: &Server) {
    until("every gauge zero", || {
        let readings = server.readings().unwrap();
        readings.shards.is_at_rest() && readings.bindings == 0
    });
}

#[test]
fn answers_over_udp_and_tcp_and_comes_to_rest() {
    for workers in [1, 2] {
        let server = server(workers);
        let udp = address(&server, Transport::Udp);
        let phone = phone();
        phone
            .send_to(options("u1", "UDP", udp).as_bytes(), udp)
            .unwrap();
        let answer = receive(&phone);
        assert_eq!((answer.status(), answer.call_id()), (200, "u1"));

        let tcp = address(&server, Transport::Tcp);
        let mut stream = TcpStream::connect(tcp).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(options("t1", "TCP", tcp).as_bytes())
            .unwrap();
        let answer = read_response(&mut stream);
        assert_eq!((answer.status(), answer.call_id()), (200, "t1"));
        assert_eq!(
            server.readings().unwrap().transport.connections,
            [1, 0, 0, 0]
        );
        drop(stream);
        until("connection closed", || {
            server.readings().unwrap().transport.connections == [0; 4]
        });
        comes_to_rest(&server);
    }
}

#[test]
fn nonsense_is_counted_and_harms_nobody() {
    let server = server(2);
    let udp = address(&server, Transport::Udp);
    let phone = phone();
    for nonsense in [
        &b"hello"[..],
        &[0xff; 1400],
        b"INVITE\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"\x00\x01\x00\x00STUN",
    ] {
        phone.send_to(nonsense, udp).unwrap();
    }
    let mut stream = TcpStream::connect(address(&server, Transport::Tcp)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"OPTIONS sip:a SIP/2.0\r\nContent-Length: x\r\n\r\n")
        .unwrap();
    assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
    let counted = |reason| {
        metric(
            &server,
            &format!("refork_malformed_total{{reason=\"{reason}\"}}"),
        )
    };
    until("counted", || {
        counted("not_sip") >= 1 && counted("content_length") >= 1
    });
    phone
        .send_to(options("after", "UDP", udp).as_bytes(), udp)
        .unwrap();
    until("an answer", || receive(&phone).call_id() == "after");
    comes_to_rest(&server);
}

#[test]
fn a_message_that_the_wrong_socket_received_is_answered_once() {
    let server = server(2);
    let udp = address(&server, Transport::Udp);
    // The kernel spreads peers over the sockets, their Call-IDs name the shards: all four pairs occur.
    let phones: Vec<_> = (0..8).map(|_| phone()).collect();
    for (number, phone) in phones.iter().enumerate() {
        let mut missing = BTreeSet::new();
        for call in 0..16 {
            let call_id = format!("p{number}c{call}");
            let request = options(&call_id, "UDP", phone.local_addr().unwrap());
            phone.send_to(request.as_bytes(), udp).unwrap();
            missing.insert(call_id);
        }
        while !missing.is_empty() {
            let answer = receive(phone);
            assert_eq!(answer.status(), 200);
            assert!(missing.remove(answer.call_id()), "answered twice");
        }
    }
    for phone in &phones {
        phone.set_read_timeout(Some(SILENCE / 8)).unwrap();
        assert!(phone.recv(&mut [0; 10]).is_err(), "answered twice");
    }
    assert_eq!(metric(&server, "refork_mailbox_overflows_total"), 0);
    comes_to_rest(&server);
}

#[test]
fn a_connection_is_heard_by_whichever_shard_owns_the_message() {
    let server = server(2);
    let tcp = address(&server, Transport::Tcp);
    let mut stream = TcpStream::connect(tcp).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut missing = BTreeSet::new();
    for call in 0..32 {
        let call_id = format!("c{call}");
        // In two pieces, cut somewhere else each time.
        let request = options(&call_id, "TCP", tcp);
        let (one, two) = request.as_bytes().split_at(1 + call * 7 % 200);
        stream.write_all(one).unwrap();
        stream.write_all(b"").unwrap();
        stream.write_all(two).unwrap();
        missing.insert(call_id);
    }
    while !missing.is_empty() {
        let answer = read_response(&mut stream);
        assert!(missing.remove(answer.call_id()), "answered twice");
    }
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[test]
fn operators_are_answered() {
    let server = server(2);
    assert_eq!(get(&server, "/healthz").0, 200);
    assert_eq!(get(&server, "/readyz").0, 200);
    let (status, text) = get(&server, "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("refork_conversations{state=\"established\"} 0"));
    let (status, text) = get(&server, "/api/v1/conversations");
    assert_eq!(status, 200);
    assert!(text.contains("[]"), "{text}");
    assert_eq!(
        get(&server, "/api/v1/conversations/00000000000000ff").0,
        404
    );
    assert_eq!(get(&server, "/api/v1/bindings").0, 200);
    let phone = phone();
    let udp = address(&server, Transport::Udp);
    phone
        .send_to(options("m", "UDP", udp).as_bytes(), udp)
        .unwrap();
    receive(&phone);
    assert_eq!(metric(&server, "refork_datagrams_received_total"), 1);
    assert_eq!(metric(&server, "refork_datagrams_sent_total"), 1);
}

#[test]
fn draining_turns_new_conversations_away_and_readiness_off() {
    let server = server(2);
    assert_eq!(server.drain(PATIENCE), 0);
    assert_eq!(get(&server, "/healthz").0, 200);
    assert_eq!(get(&server, "/readyz").0, 503);
    server.stop();
}

#[test]
fn addresses_in_use_are_named_with_the_mend() {
    let server = server(1);
    let (udp, admin) = (address(&server, Transport::Udp), server.admin_address());
    let mut again = config(2, "");
    again.listeners[0].at = udp;
    let error = start(again).err().unwrap();
    assert!(matches!(error, StartError::Listen { .. }));
    let text = error.to_string();
    for part in [&udp.to_string(), "another process", "`listen`"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let mut again = config(1, "");
    again.admin.listen = admin;
    let text = start(again).err().unwrap().to_string();
    for part in [&admin.to_string(), "`admin.listen`"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn what_is_stopped_gives_its_ports_back() {
    let server = server(2);
    let at = server.sip_addresses();
    let admin = server.admin_address();
    server.stop();
    let mut again = config(2, "");
    for (listener, (_, at)) in again.listeners.iter_mut().zip(&at) {
        listener.at = *at;
    }
    again.admin.listen = admin;
    assert_eq!(start(again).unwrap().sip_addresses(), at);
}

#[test]
fn sessions_cross_shards_and_transports_and_leave_nothing_behind() {
    let log = Log::start();
    let server = start(config(2, OPEN_DOMAIN)).unwrap();
    let alice = registered(&server, &log, "alice", ua::Transport::Tcp);
    let bob = registered(&server, &log, "bob", ua::Transport::Udp);
    assert_eq!(server.readings().unwrap().bindings, 2);
    // Their Call-IDs are spread over the shards by chance.
    for round in 0..8 {
        let (call, taken) = session(&alice, &bob);
        let text = format!("hello {round}");
        assert_eq!(call.message(&text).unwrap(), 200);
        assert_eq!(taken.message("and back").unwrap(), 200);
        taken.wait_texts(1, PATIENCE).unwrap();
        assert_eq!(taken.texts()[0].body, text);
        assert_eq!(server.readings().unwrap().shards.established, 1);
        assert_eq!(call.hang_up().unwrap(), 200);
        assert_eq!(taken.wait_over(PATIENCE).unwrap(), Ending::HungUpThere);
    }
    for phone in [&alice, &bob] {
        assert_eq!(phone.unregister_all().unwrap(), 200);
    }
    comes_to_rest(&server);
}

#[test]
fn a_session_outlives_the_server() {
    let log = Log::start();
    let store = Arc::new(MemoryStore::new());
    let first = start_with(config(2, OPEN_DOMAIN), store.clone()).unwrap();
    let alice = registered(&first, &log, "alice", ua::Transport::Udp);
    let bob = registered(&first, &log, "bob", ua::Transport::Udp);
    let (call, taken) = session(&alice, &bob);
    assert_eq!(call.message("before").unwrap(), 200);
    let at = first.sip_addresses();
    first.stop();
    assert_eq!(store.len(), 1);

    // One worker more than before would do as well: tags name virtual shards.
    let mut again = config(3, OPEN_DOMAIN);
    for (listener, (_, at)) in again.listeners.iter_mut().zip(&at) {
        listener.at = *at;
    }
    let second = start_with(again, store.clone()).unwrap();
    assert_eq!(call.message("after").unwrap(), 200);
    taken.wait_texts(2, PATIENCE).unwrap();
    let texts: Vec<_> = taken.texts().into_iter().map(|text| text.body).collect();
    assert_eq!(texts, ["before", "after"]);
    assert_eq!(taken.hang_up().unwrap(), 200);
    assert_eq!(call.wait_over(PATIENCE).unwrap(), Ending::HungUpThere);
    comes_to_rest(&second);
    assert!(store.is_empty());
}

#[test]
fn an_endpoint_that_is_not_there_fails_the_call_at_once() {
    for transport in ["udp", "tcp"] {
        // Bound and given up again: nobody listens there.
        let nobody = phone().local_addr().unwrap();
        let text = format!(
            "endpoints: [{{ aor: \"sip:bob@example.org\", \
             contact: \"sip:bob@{nobody};transport={transport}\" }}]\n\
             {OPEN_DOMAIN}"
        );
        let mut config = config(2, &text);
        // With the usual T1, only the transport's error can be faster than the test's patience.
        config.engine.timers = config::parse("", "", &|_| None).unwrap().engine.timers;
        let server = start(config).unwrap();
        let log = Log::start();
        let alice = registered(&server, &log, "alice", ua::Transport::Udp);
        let call = alice.call("sip:bob@example.org", Medium::Text).unwrap();
        let ending = call.wait_over(PATIENCE).unwrap();
        assert!(matches!(ending, Ending::Refused(_)), "{ending:?}");
    }
}

#[test]
fn a_draining_server_turns_new_conversations_away() {
    let log = Log::start();
    let server = start(config(2, OPEN_DOMAIN)).unwrap();
    let alice = registered(&server, &log, "alice", ua::Transport::Udp);
    let bob = registered(&server, &log, "bob", ua::Transport::Udp);
    let (call, _taken) = session(&alice, &bob);
    assert_eq!(server.drain(SILENCE), 1, "one still stands");
    let refused = alice.call("sip:bob@example.org", Medium::Text).unwrap();
    let ending = refused.wait_over(PATIENCE).unwrap();
    assert_eq!(ending, Ending::Refused(503));
    assert_eq!(call.message("still here").unwrap(), 200);
    assert_eq!(call.hang_up().unwrap(), 200);
    assert_eq!(server.drain(PATIENCE), 0);
}

#[test]
fn what_nothing_keeps_is_hung_up_on_both_sides_before_the_end() {
    let log = Log::start();
    let server = start(config(2, OPEN_DOMAIN)).unwrap();
    let alice = registered(&server, &log, "alice", ua::Transport::Tcp);
    let bob = registered(&server, &log, "bob", ua::Transport::Udp);
    let (call, taken) = session(&alice, &bob);
    server.hang_up(PATIENCE);
    assert_eq!(server.drain(Duration::ZERO), 0);
    server.stop();
    for end in [&call, &taken] {
        assert_eq!(end.wait_over(PATIENCE).unwrap(), Ending::HungUpThere);
    }
}

#[test]
fn each_conversation_is_written_down_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (file, put_away) = (
        folder.path().join("calls.json"),
        folder.path().join("calls.1"),
    );
    let records = |path: &Path| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let more = format!("{OPEN_DOMAIN}\ncdr: {{ file: {} }}", file.display());
    let server = start(config(2, &more)).unwrap();
    let log = Log::start();
    let alice = registered(&server, &log, "alice", ua::Transport::Udp);
    let bob = registered(&server, &log, "bob", ua::Transport::Udp);
    let written = |path: &Path, count: usize| {
        let lines = || fs::read_to_string(path).map_or(0, |text| text.lines().count());
        until("written down", || lines() >= count);
    };
    for round in 1..=2 {
        let (call, taken) = session(&alice, &bob);
        call.hang_up().unwrap();
        taken.wait_over(PATIENCE).unwrap();
        written(&file, round);
    }
    // As logrotate does.
    fs::rename(&file, &put_away).unwrap();
    let (call, taken) = session(&alice, &bob);
    call.hang_up().unwrap();
    taken.wait_over(PATIENCE).unwrap();
    // The end waits for the last one.
    server.stop();
    assert_eq!((records(&put_away).len(), records(&file).len()), (2, 1));
    let record = &records(&file)[0];
    assert_eq!(record["from"], "sip:alice@example.org");
    assert_eq!(
        (&record["state"], &record["kind"]),
        (&"ended".into(), &"session".into())
    );
    let history = record["history"].as_array().unwrap();
    let events: Vec<_> = history
        .iter()
        .map(|entry| entry["event"].as_str().unwrap())
        .collect();
    assert_eq!((events[0], *events.last().unwrap()), ("invited", "ended"));
    assert!(events.contains(&"answered"), "{events:?}");
    assert_eq!(history.last().unwrap()["how"]["hung_up"], "caller");
    assert!(
        history
            .iter()
            .all(|entry| entry["at"].as_str().unwrap().ends_with('Z'))
    );
}

#[test]
fn a_place_where_nothing_can_be_written_is_told_at_the_start() {
    let more = "cdr: { file: /proc/calls.json }";
    let Err(error) = start(config(1, more)) else {
        panic!("it started");
    };
    let told = error.to_string();
    assert!(
        told.contains("/proc/calls.json") && told.contains("`cdr.file`"),
        "{told}"
    );
}

#[test]
fn what_a_store_keeps_is_not_hung_up() {
    let log = Log::start();
    let server = start_with(config(2, OPEN_DOMAIN), Arc::new(MemoryStore::new())).unwrap();
    let alice = registered(&server, &log, "alice", ua::Transport::Udp);
    let bob = registered(&server, &log, "bob", ua::Transport::Udp);
    let (call, _taken) = session(&alice, &bob);
    server.hang_up(PATIENCE);
    assert_eq!(call.message("still here").unwrap(), 200);
}

#[test]
fn a_silent_connection_is_kept_while_a_conversation_needs_it() {
    for workers in [1, 2] {
        let mut config = config(workers, OPEN_DOMAIN);
        config.limits.idle = Duration::from_millis(500);
        let server = start(config).unwrap();
        let log = Log::start();
        let alice = registered(&server, &log, "alice", ua::Transport::Tcp);
        let bob = registered(&server, &log, "bob", ua::Transport::Udp);
        let (call, _taken) = session(&alice, &bob);
        // No binding names the connection any more.
        assert_eq!(alice.unregister_all().unwrap(), 200);
        let mut idle = TcpStream::connect(address(&server, Transport::Tcp)).unwrap();
        idle.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(idle.read(&mut [0; 10]).unwrap(), 0, "nobody needs this one");
        assert_eq!(
            server.readings().unwrap().transport.connections,
            [1, 0, 0, 0]
        );
        assert_eq!(call.message("still here").unwrap(), 200);
    }
}

/// Says a word over a new connection. Returns false where it is turned away.
fn is_heard(server: &Server, call_id: &str) -> Option<TcpStream> {
    let at = address(server, Transport::Tcp);
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let said = stream.write_all(options(call_id, "TCP", at).as_bytes());
    // Who is turned away may be so before it has said anything.
    let heard = said.and_then(|()| stream.peek(&mut [0]));
    heard.is_ok_and(|len| len > 0).then_some(stream)
}

#[test]
fn idle_connections_give_way_where_no_shard_needs_them() {
    for workers in [1, 2] {
        let mut config = config(workers, OPEN_DOMAIN);
        config.limits.connections = 20;
        config.limits.first_message = Duration::from_millis(500);
        let server = start(config).unwrap();
        let log = Log::start();
        let alice = registered(&server, &log, "alice", ua::Transport::Tcp);
        let bob = registered(&server, &log, "bob", ua::Transport::Udp);
        let (call, _taken) = session(&alice, &bob);
        // Whichever shard it is of, its conversation alone needs the connection.
        assert_eq!(alice.unregister_all().unwrap(), 200);
        // A tenth is for trusted peers.
        let mut idle: Vec<_> = (0..17)
            .map(|number| is_heard(&server, &format!("idle{number}")).unwrap())
            .collect();
        let mut tries = 0;
        let _came = loop {
            if let Some(came) = is_heard(&server, &format!("try{tries}")) {
                break came;
            }
            tries += 1;
            assert!(tries < 12, "nobody gives way of {workers} workers");
            // Who is idle hears nothing, and who gave way hears that at once.
            idle.rotate_left(1);
            idle[0].set_read_timeout(Some(SILENCE)).unwrap();
            read_response(&mut idle[0]);
            let _ = idle[0].read(&mut [0]);
        };
        assert_eq!(call.message("still here").unwrap(), 200);
    }
}

#[test]
fn registered_udp_flows_are_kept_alive() {
    let server = start(config(
        2,
        &format!("nat: {{ keepalive: 1s }}\n{OPEN_DOMAIN}"),
    ))
    .unwrap();
    let udp = address(&server, Transport::Udp);
    let phone = phone();
    let at = phone.local_addr().unwrap();
    let register = format!(
        "REGISTER sip:example.org SIP/2.0\r\n\
         Via: SIP/2.0/UDP {at};rport;branch=z9hG4bK-k1\r\n\
         From: <sip:alice@example.org>;tag=1\r\n\
         To: <sip:alice@example.org>\r\n\
         Call-ID: k1\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:alice@{at}>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    phone.send_to(register.as_bytes(), udp).unwrap();
    assert_eq!(receive(&phone).status(), 200);
    for _ in 0..2 {
        let mut buffer = [0; 100];
        let len = phone.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"\r\n\r\n");
    }
}
