//! The program where the machine has too little time for it: it is stopped and let go on by signals, so that
//! what it is sent waits in the kernel's queue.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use refork::sip::{Message, Name};
use refork::ua::{Call, Ending, Log, Medium, Phone, Profile, Reaction};

/// For what goes through an overloaded server, on a machine that may be busy itself.
const PATIENCE: Duration = Duration::from_secs(60);
const STOPPED: Duration = Duration::from_millis(300);
const RUNS: Duration = Duration::from_millis(60);
/// Between two calls of a stranger. All that wait while the server is stopped fit into the smallest queue.
const KNOCK: Duration = Duration::from_millis(20);

/// A server process.
struct Program {
    child: Child,
    sip: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Program {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("refork.yaml");
        let text = format!(
            "node: {{ data_dir: \"{}\", workers: 1 }}\n\
             listen: [\"udp://127.0.0.1:0\"]\n\
             domains: {{ example.org: {{ registrar: {{ auth: none }} }} }}\n\
             limits: {{ requests_per_ip: {{ rate: 100000, burst: 100000 }} }}\n\
             admin: {{ listen: \"127.0.0.1:0\" }}\n",
            directory.path().join("state").display()
        );
        fs::write(&path, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_refork"))
            .args(["run", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let sip = lines.map_while(Result::ok).find_map(|line| {
            let address = line.trim().strip_prefix("sip:")?.split(';').next()?;
            address.parse().ok()
        });
        Self {
            child,
            sip: sip.expect("the program says where it listens"),
            _directory: directory,
        }
    }

    fn phone(&self, log: &Log, label: &str) -> Phone {
        let user = label.split('-').next().unwrap();
        let mut profile = Profile::new(label, user, "example.org", self.sip);
        profile.instance = Some(format!("urn:uuid:{label}"));
        profile.script.invite = Reaction::Answer(Duration::ZERO);
        let phone = Phone::start(profile, log).unwrap();
        assert_eq!(phone.register().unwrap(), 200, "{label}");
        phone
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program gets a sixth of the time, until this is dropped.
struct Starved {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Starved {
    fn begin(program: &Program) -> Self {
        let (stop, stopped) = channel();
        let pid = program.child.id().to_string();
        let signal = move |name: &str| {
            let sent = Command::new("kill").args([name, &pid]).status().unwrap();
            assert!(sent.success());
        };
        let thread = std::thread::spawn(move || {
            let goes_on = |span| stopped.recv_timeout(span) == Err(RecvTimeoutError::Timeout);
            while goes_on(RUNS) {
                signal("-STOP");
                let more = goes_on(STOPPED);
                signal("-CONT");
                if !more {
                    return;
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Somebody who calls nobody, again and again.
struct Stranger {
    socket: UdpSocket,
    server: SocketAddr,
    calls: usize,
}

impl Stranger {
    fn new(program: &Program) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(KNOCK)).unwrap();
        Self {
            socket,
            server: program.sip,
            calls: 0,
        }
    }

    /// Calls until a call is refused with this.
    fn until(&mut self, status: u16, log: &Log) -> Message {
        let ends = log.now() + PATIENCE;
        loop {
            assert!(log.now() < ends, "no {status} after {} calls", self.calls);
            self.calls += 1;
            let (call, at) = (self.calls, self.socket.local_addr().unwrap());
            let invite = format!(
                "INVITE sip:nobody@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{call};rport\r\n\
                 From: <sip:x@example.org>;tag={call}\r\nTo: <sip:nobody@example.org>\r\n\
                 Call-ID: {call}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:x@{at}>\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            self.socket.send_to(invite.as_bytes(), self.server).unwrap();
            let mut room = [0; 2000];
            while let Ok(length) = self.socket.recv(&mut room) {
                let bytes = Bytes::copy_from_slice(&room[..length]);
                let answer = Message::parse(bytes).unwrap();
                if answer.status() == status {
                    return answer;
                }
            }
        }
    }

    /// The next call of all is refused with this: what was answered before does not count.
    fn next(&mut self, status: u16, log: &Log) {
        let before = self.calls;
        while self.until(status, log).call_id().parse::<usize>().unwrap() <= before {}
    }
}

fn session(from: &Phone, to: &Phone) -> (Call, Call) {
    let call = from.call(&to.profile().aor(), Medium::Text).unwrap();
    let taken = to.incoming(PATIENCE).unwrap();
    call.wait_up(PATIENCE).unwrap();
    taken.wait_up(PATIENCE).unwrap();
    (call, taken)
}

#[test]
fn new_calls_are_put_off_and_what_stands_goes_on() {
    let program = Program::start();
    let log = Log::start();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|label| program.phone(&log, label));
    let (call, taken) = session(&alice, &bob);
    let desk = program.phone(&log, "dave-desk");
    let (kept, lost) = session(&carol, &desk);
    let mobile = program.phone(&log, "dave-mobile");
    let mut stranger = Stranger::new(&program);
    stranger.until(404, &log);

    let starved = Starved::begin(&program);
    let refused = stranger.until(503, &log);
    let pause = refused.header(Name::RetryAfter).unwrap();
    assert!(pause.parse::<u32>().unwrap() >= 5, "{pause}");
    // A call that stands is held, taken up again, written in, and ended.
    assert_eq!(call.hold().unwrap(), 200);
    stranger.next(503, &log);
    assert_eq!(call.resume().unwrap(), 200);
    assert_eq!(taken.message("still here").unwrap(), 200);
    call.wait_texts(1, PATIENCE).unwrap();
    // A phone that is lost is sought, and found again.
    stranger.next(503, &log);
    desk.kill();
    let said = kept.message("and you?").unwrap();
    assert!(matches!(said, 200 | 202), "{said}");
    let restored = mobile.incoming(PATIENCE).unwrap();
    restored.wait_up(PATIENCE).unwrap();
    restored.wait_texts(1, PATIENCE).unwrap();
    stranger.next(503, &log);
    assert_eq!(call.hang_up().unwrap(), 200);
    assert_eq!(taken.wait_over(PATIENCE).unwrap(), Ending::HungUpThere);
    stranger.next(503, &log);

    drop(starved);
    stranger.next(404, &log);
    let (again, taken) = session(&alice, &bob);
    assert_eq!(again.hang_up().unwrap(), 200);
    taken.wait_over(PATIENCE).unwrap();
    assert_eq!(kept.hang_up().unwrap(), 200);
    restored.wait_over(PATIENCE).unwrap();
    drop(lost);
}
