//! A log that nobody can write or read, and a server whose calls go on.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::{refork, write};

const LOOK: Duration = Duration::from_millis(50);
const LOOKS: usize = 600;

/// A server with such a stderr and stdout.
struct Server {
    process: Child,
    sip: SocketAddr,
    admin: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(level: &str, stderr: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports = [(); 2].map(|()| free_port());
        let [sip, admin] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let config = format!(
            "node: {{ workers: 1 }}\n\
             listen: [\"udp://{sip}\"]\n\
             domains: {{ example.org: {{ registrar: {{ auth: none }} }} }}\n\
             admin: {{ listen: \"{admin}\" }}\n\
             log: {{ level: {level} }}\n"
        );
        let path = write(directory.path(), "sinks.yaml", &config);
        let process = refork()
            .args(["run", "-c", &path])
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut server = Self {
            process,
            sip,
            admin,
            _directory: directory,
        };
        server.serves();
        server
    }

    /// Waits until it answers.
    fn serves(&mut self) {
        for _ in 0..LOOKS {
            if self.registers() {
                return;
            }
            assert_eq!(self.process.try_wait().unwrap(), None, "it has ended");
            std::thread::sleep(LOOK);
        }
        panic!("it answers nobody");
    }

    /// Returns true where a REGISTER is answered, which `debug` tells of.
    fn registers(&self) -> bool {
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (at, to) = (phone.local_addr().unwrap(), self.sip);
        let request = format!(
            "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{port}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\n\
             Call-ID: {port}@{at}\r\nCSeq: 1 REGISTER\r\nContact: <sip:alice@{at}>\r\nContent-Length: 0\r\n\r\n",
            port = at.port(),
        );
        phone
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        phone.send_to(request.as_bytes(), to).unwrap();
        let mut answer = [0; 2000];
        phone
            .recv(&mut answer)
            .is_ok_and(|got| answer[..got].starts_with(b"SIP/2.0 200"))
    }

    fn lost(&self) -> u64 {
        let mut socket = TcpStream::connect(self.admin).unwrap();
        let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix("refork_log_lines_lost_total "));
        found.unwrap().parse().unwrap()
    }

    /// Ends it by SIGTERM, and returns its exit code.
    fn end(&mut self) -> Option<i32> {
        let id = self.process.id().to_string();
        let told = std::process::Command::new("kill").arg(id).status();
        assert!(told.unwrap().success());
        self.ends()
    }

    /// Returns its exit code once it has ended.
    fn ends(&mut self) -> Option<i32> {
        for _ in 0..LOOKS {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(LOOK);
        }
        panic!("it does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap().port()
}

#[test]
fn a_full_disk_takes_lines_and_no_calls() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut server = Server::start("debug", full(), full());
    server.serves();
    assert!(server.lost() > 0);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_reader_that_is_gone_takes_lines_and_no_calls() {
    let (reader, writer) = pipe().unwrap();
    let mut server = Server::start("debug", writer.try_clone().unwrap(), writer);
    drop(reader);
    for _ in 0..3 {
        server.serves();
    }
    assert!(server.lost() > 0);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_reader_that_stands_still_delays_no_call_and_no_end() {
    let (reader, mut writer) = pipe().unwrap();
    // Full from the start: 64 KiB, by the page.
    let page = [b'x'; 4096];
    for _ in 0..16 {
        writer.write_all(&page).unwrap();
    }
    let mut server = Server::start("debug", writer.try_clone().unwrap(), writer);
    server.serves();
    assert_eq!(server.end(), Some(0));
    drop(reader);
}

/// A service manager starts it again, once it has ended.
#[test]
fn a_reader_that_stands_still_keeps_no_start_that_fails() {
    let directory = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let config = format!("listen: [\"udp://{at}\"]\nadmin: {{ listen: \"127.0.0.1:0\" }}\n");
    let in_use = write(directory.path(), "in_use.yaml", &config);
    let wrong = write(directory.path(), "wrong.yaml", "listen: 7\n");
    for (path, code) in [(in_use, 1), (wrong, 2)] {
        let (reader, mut writer) = pipe().unwrap();
        for _ in 0..16 {
            writer.write_all(&[b'x'; 4096]).unwrap();
        }
        let mut server = Server {
            process: refork()
                .current_dir(directory.path())
                .args(["run", "-c", &path])
                .stdout(Stdio::null())
                .stderr(writer)
                .spawn()
                .unwrap(),
            sip: at,
            admin: at,
            _directory: tempfile::tempdir().unwrap(),
        };
        assert_eq!(server.ends(), Some(code), "{path}");
        drop(reader);
    }
}

#[test]
fn all_that_was_logged_is_written_before_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path: &Path = &directory.path().join("log");
    let mut server = Server::start("debug", File::create(path).unwrap(), Stdio::null());
    for _ in 0..8 {
        server.serves();
    }
    assert_eq!(server.end(), Some(0));
    let log = fs::read_to_string(path).unwrap();
    assert!(log.matches("registered").count() >= 8, "{log}");
    assert!(log.ends_with("refork has stopped\n"), "{log}");
}
