//! A real name server, Knot DNS, on a free port of loopback.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long it may take to read its zone, on a machine that is busy.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const TRIES: usize = 5;
const ZONE: &str = "example.net";
/// SOA, with a negative TTL of a second; a name server.
const HEAD: &str =
    "@ 3600 SOA ns hostmaster 1 3600 600 86400 1\n@ 3600 NS ns\nns 3600 A 127.0.0.1\n";

pub(crate) struct NameServer {
    folder: TempDir,
    child: Child,
    pub(crate) at: SocketAddr,
}

impl NameServer {
    /// Serves `example.net` with these records, one a line: `name ttl TYPE data`.
    pub(crate) fn start(records: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..TRIES {
            let at = free_port();
            write_zone(&folder, records);
            let mut child = spawn(&folder, at, None);
            if answers(at, &mut child) {
                return Self { folder, child, at };
            }
            end(&mut child);
        }
        panic!("no knotd: run tests/bootstrap/install");
    }

    /// Serves these records instead, at the same place.
    pub(crate) fn change(&mut self, records: &str) {
        self.stop();
        write_zone(&self.folder, records);
        self.child = spawn(&self.folder, self.at, None);
        assert!(
            answers(self.at, &mut self.child),
            "knotd does not come back"
        );
    }

    /// Serves these records, but nothing below this name, which is a zone that it cannot load: SERVFAIL.
    pub(crate) fn ail(&mut self, records: &str, name: &str) {
        self.stop();
        write_zone(&self.folder, records);
        self.child = spawn(&self.folder, self.at, Some(name));
        assert!(
            answers(self.at, &mut self.child),
            "knotd does not come back"
        );
    }

    pub(crate) fn stop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// A port that is free for datagrams and for connections.
fn free_port() -> SocketAddr {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        if UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

fn write_zone(folder: &TempDir, records: &str) {
    let zone = format!("$ORIGIN {ZONE}.\n{HEAD}{records}\n");
    let path = folder.path().join("zone");
    fs::write(path, zone).unwrap();
}

fn spawn(folder: &TempDir, at: SocketAddr, ailing: Option<&str>) -> Child {
    let home = folder.path().display();
    let (ip, port) = (at.ip(), at.port());
    let ailing = ailing.map(|name| format!("  - domain: {name}.{ZONE}\n    file: no-such-zone\n"));
    let text = format!(
        "server:\n  rundir: \"{home}\"\n  pidfile: \"{home}/pid\"\n  listen: {ip}@{port}\n  \
         udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: \"{home}/db\"\n\
         log:\n  - target: stderr\n    any: warning\n\
         template:\n  - id: default\n    storage: \"{home}\"\n    zonefile-load: whole\n    journal-content: none\n\
         zone:\n  - domain: {ZONE}\n    file: zone\n{}",
        ailing.unwrap_or_default()
    );
    let path: PathBuf = folder.path().join("knot.conf");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let program = ["/usr/sbin/knotd", "/usr/local/sbin/knotd"];
    let program = program.into_iter().find(|path| fs::exists(path).unwrap());
    let mut command = Command::new(program.unwrap_or("knotd"));
    command.arg("-c").arg(path).stdin(Stdio::null());
    let started = command.spawn();
    started.unwrap_or_else(|error| panic!("knotd: {error}: run tests/bootstrap/install"))
}

/// Waits until it answers for its zone. Returns false where it ends.
fn answers(at: SocketAddr, child: &mut Child) -> bool {
    /// RFC 1035 4.1: one question, SOA of `example.net`.
    const QUESTION: &[u8] =
        b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03net\x00\x00\x06\x00\x01";
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let step = Duration::from_millis(100);
    socket.set_read_timeout(Some(step)).unwrap();
    for _ in 0..STARTS_WITHIN.as_millis() / step.as_millis() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        // Refused, where it does not listen yet.
        let _ = socket.send_to(QUESTION, at);
        let mut answer = [0; 512];
        // Authoritative, no error.
        if let Ok((length, _)) = socket.recv_from(&mut answer)
            && length > 12
            && answer[2] & 0x84 == 0x84
            && answer[3] & 0x0f == 0
        {
            return true;
        }
        crate::stage::pause();
    }
    false
}
