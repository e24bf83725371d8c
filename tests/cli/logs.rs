//! What the log says of a call, whichever thread says it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use refork::ua::{Call, Log, Medium, Phone, Profile, Reaction};
use serde_json::Value;

use crate::running::Running;
use crate::write;

const SOON: Duration = Duration::from_secs(10);

/// Starts a server that writes such a log, with media ports for one call and its re-fork.
fn server(level: &str, format: &str) -> (tempfile::TempDir, Running) {
    let directory = tempfile::tempdir().unwrap();
    let ports = six_ports();
    let config = format!(
        "node: {{ workers: 1 }}\n\
         listen: [\"udp://127.0.0.1:0\"]\n\
         domains: {{ example.org: {{ registrar: {{ auth: none }} }} }}\n\
         admin: {{ listen: \"127.0.0.1:0\" }}\n\
         media: {{ ports: {ports}-{} }}\n\
         log: {{ level: {level}, format: {format} }}\n",
        ports + 5,
    );
    let path = write(directory.path(), "logs.yaml", &config);
    let running = Running::start(&path);
    (directory, running)
}

/// Returns the first of six ports that are free, an even one.
fn six_ports() -> u16 {
    (0..100)
        .find_map(|_| {
            let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
            let from = probe.local_addr().unwrap().port() & !1;
            drop(probe);
            let end = from.checked_add(6)?;
            let sockets = (from..end).map(|port| UdpSocket::bind(("127.0.0.1", port)));
            sockets.collect::<Result<Vec<_>, _>>().ok().map(|_| from)
        })
        .expect("six free ports in a row")
}

fn phone(user: &str, at: SocketAddr, log: &Log) -> Phone {
    let mut profile = Profile::new(user, user, "example.org", at);
    profile.user_agent = format!("{user}/1");
    let phone = Phone::start(profile, log).unwrap();
    assert_eq!(phone.register().unwrap(), 200);
    phone
}

fn connect(caller: &Phone, callee: &Phone) -> (Call, Call) {
    callee.script(|script| script.invite = Reaction::Answer(Duration::from_millis(50)));
    let call = caller.call(&callee.profile().aor(), Medium::Audio).unwrap();
    let taken = callee.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    taken.wait_up(SOON).unwrap();
    (call, taken)
}

/// Asks the admin interface, and returns the answer.
fn ask(admin: SocketAddr, method: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(admin).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 20"), "{text}");
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A call whose callee is lost and asked again, and a second call for which no ports are left. Returns the log,
/// and the Call-IDs of both.
fn a_night(server: &Running) -> (Vec<String>, [String; 2]) {
    let log = Log::start();
    let at = server.at("udp");
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|user| phone(user, at, &log));
    let (call, _taken) = connect(&alice, &bob);
    let list: Value =
        serde_json::from_str(&ask(server.admin(), "GET", "/api/v1/conversations")).unwrap();
    let id = list["conversations"][0]["id"].as_str().unwrap();
    let path = format!("/api/v1/conversations/{id}/lost?side=callee");
    ask(server.admin(), "POST", &path);
    let mut lines = server.says_until("restored");
    let second = carol.call("sip:bob@example.org", Medium::Audio).unwrap();
    second.wait_over(SOON).unwrap();
    assert_eq!(call.hang_up().unwrap(), 200);
    lines.extend(server.says_until("hung up"));
    (lines, [call.call_id(), second.call_id()])
}

/// Returns the words of a conversation's lines, in their order, each with its level.
fn words_of(lines: &[Value], call_id: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let words = lines.iter().filter_map(|line| {
        let span = &line["span"];
        if span["call_id"] != call_id {
            return None;
        }
        assert_eq!(span["name"], "conversation", "{line}");
        ids.push(span["id"].as_str().unwrap().to_owned());
        Some(format!("{} {}", line["level"], line["message"]).replace('"', ""))
    });
    let words = words.collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "one conversation has one id: {ids:?}");
    words
}

#[test]
fn whoever_speaks_of_a_call_names_it() {
    let (_directory, server) = server("debug", "json");
    let (lines, [first, second]) = a_night(&server);
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let told = words_of(&lines, &first);
    let life = [
        "INFO invited",
        "DEBUG ringing",
        "INFO answered",
        // By the thread of the admin interface.
        "INFO ordered by the admin interface",
        "INFO lost",
        "DEBUG invited again",
        "INFO restored",
        "INFO ended",
    ];
    for word in life {
        assert!(told.iter().any(|told| told == word), "{word} in {told:#?}");
    }
    // By a thread of the relay.
    let told = words_of(&lines, &second);
    assert!(
        told.contains(&"WARN no media ports".to_owned()),
        "{told:#?}"
    );
    for line in &lines {
        assert_ne!(line["level"], "ERROR", "{line}");
        for field in ["conversation", "id", "call_id", "media"] {
            assert!(line.get(field).is_none(), "twice: {line}");
        }
    }
}

#[test]
fn a_call_is_a_few_lines_for_people() {
    let (_directory, server) = server("info", "text");
    let (lines, [first, second]) = a_night(&server);
    let words = |call_id: &str| -> Vec<&str> {
        let mark = format!(" call_id={call_id}}}: ");
        let of_call = lines.iter().filter_map(|line| {
            let (before, said) = line.split_once(&mark)?;
            assert!(before.contains(" conversation{id="), "{line}");
            assert!(!said.contains(call_id), "twice: {line}");
            Some(said)
        });
        of_call.collect()
    };
    let begins = |words: &[&str], wanted: &[&str]| {
        assert_eq!(words.len(), wanted.len(), "{words:#?}");
        for (word, wanted) in words.iter().zip(wanted) {
            assert!(word.starts_with(wanted), "{wanted}: {words:#?}");
        }
    };
    let mut told = words(&first);
    // The order is carried out by another thread than the one that tells of it.
    told.sort_by_key(|word| word.starts_with("ordered"));
    begins(
        &told,
        &[
            "invited", "answered", "lost", "restored", "ended", "ordered",
        ],
    );
    begins(&words(&second), &["invited", "no media ports", "ended"]);
}

#[test]
fn whoever_sends_a_datagram_that_is_too_large_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = "listen: [\"udp://127.0.0.1:0\"]\n\
                  domains: { example.org: { registrar: { auth: none } } }\n\
                  admin: { listen: \"127.0.0.1:0\" }\n\
                  limits: { message_size: 4KiB }\nlog: { level: debug }\n";
    let server = Running::start(&write(directory.path(), "logs.yaml", config));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&[b'x'; 9_000], server.at("udp")).unwrap();
    let line = server.says("datagram that is too large");
    let peer = format!("peer={}", socket.local_addr().unwrap());
    assert!(line.contains("DEBUG") && line.contains(&peer), "{line}");
}
