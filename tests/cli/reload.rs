//! The running program reads its configuration again.

use std::net::UdpSocket;
use std::time::Duration;

use crate::running::Running;
use crate::write;

/// Until a shard has its mail.
const TRIES: usize = 20;

fn text(node: &str, more: &str) -> String {
    format!(
        "node: {{ name: {node}, workers: 2 }}\nlisten: [\"udp://127.0.0.1:0\"]\n\
         domains: {{ example.org: {{ registrar: {{ auth: none }} }} }}\n\
         admin: {{ listen: 127.0.0.1:0 }}\n{more}"
    )
}

/// Whether somebody at an address of ours is heard.
fn is_heard(server: &Running, from: &str) -> bool {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    let at = socket.local_addr().unwrap();
    let options = format!(
        "OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{port};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@elsewhere.example>;tag=1\r\nTo: <sip:example.org>\r\n\
         Call-ID: {port}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        port = at.port()
    );
    socket
        .send_to(options.as_bytes(), server.at("udp"))
        .unwrap();
    let mut buffer = [0; 2048];
    socket.recv(&mut buffer).is_ok()
}

#[test]
fn lists_and_limits_are_read_again_by_a_signal_and_the_rest_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let lay = |text: &str| write(folder.path(), "refork.yaml", text);
    let path = lay(&text("a", ""));
    let server = Running::start(&path);
    assert!(is_heard(&server, "127.0.0.9"));

    lay(&text(
        "a",
        "acl: { deny: [127.0.0.9] }\nbans: { after: 7 }\n",
    ));
    server.hang_up();
    let line = server.says("the configuration was read again");
    assert!(line.contains("acl.deny[0], bans.after"), "{line}");
    // Each shard is told by mail.
    assert!((0..TRIES).any(|_| !is_heard(&server, "127.0.0.9")));
    assert!(is_heard(&server, "127.0.0.8"));

    lay(&text("a", "bans: { after: many }\n"));
    server.hang_up();
    let line = server.says("the configuration stays as it was");
    assert!(
        line.contains("line=5") && line.contains("bans.after"),
        "{line}"
    );
    assert!(line.contains("refork.yaml"), "{line}");
    assert!(!is_heard(&server, "127.0.0.9"), "as it was");

    lay(&text("b", "limits: { idle: 1m }\n"));
    server.hang_up();
    let line = server.says("take a restart");
    assert!(line.contains("limits.idle, node.name"), "{line}");
    assert!((0..TRIES).any(|_| is_heard(&server, "127.0.0.9")));
}

#[test]
fn what_a_file_of_users_says_otherwise_is_named_too() {
    let folder = tempfile::tempdir().unwrap();
    let users = |text: &str| write(folder.path(), "users.yaml", text);
    users("sip:carol@example.org: { password: carol-secret, numbers: [\"+49301\"] }\n");
    let path = write(
        folder.path(),
        "refork.yaml",
        &text("a", "users_file: users.yaml\n"),
    );
    let server = Running::start(&path);
    users(
        "sip:carol@example.org: { password: carol-secret, numbers: [\"+49302\"] }\n\
         sip:new@example.org: { password: new-secret }\n",
    );
    server.hang_up();
    let line = server.says("the configuration was read again");
    assert!(
        line.contains("users.sip:carol@example.org.numbers[0]"),
        "{line}"
    );
    let line = server.says("take a restart");
    assert!(
        line.contains("users.sip:new@example.org.password"),
        "{line}"
    );
    assert!(!line.contains("carol"), "{line}");
}
