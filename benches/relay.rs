//! What a relayed packet costs: CPU seconds of the relay's thread for a million packets, in turn with
//! a bare thread that only receives and sends, in one run. Many streams, one way, as telephone calls
//! have them: 172 octets, 50 packets a second each.
//!
//! `cargo bench --bench relay` measures. With `REFORK_RELAY_SERVE=FILE` it only opens the streams
//! (callers at 127.0.0.1:20000, 20002, ...; callees at 30000, ...), writes our ports into the file,
//! one a line, and relays until it is killed: for a generator of another make.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program: it reads the clock, prints, and may fail"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use refork::engine::ids::{ConversationId, Side};
use refork::engine::ports::{
    Claim, Inside, MediaCommand, MediaEvent, PayloadFormat, StreamSettings, Voice,
};
use refork::media::srtp::{GROWTH, Inbound, Outbound};
use refork::media::{Relay, RelaySettings};
use refork::sip::sdp::{MasterKey, Suite};

const STREAMS: usize = 400;
const RATE: u64 = 20_000;
const ROUNDS: usize = 3;

fn main() {
    if let Ok(file) = std::env::var("REFORK_RELAY_SERVE") {
        return serve(&file);
    }
    // Without the argument that `cargo bench` gives, only whether it works.
    let measuring = std::env::args().any(|arg| arg == "--bench");
    srtp(if measuring { 1_000_000 } else { 1000 });
    let (streams, rounds, duration) = match measuring {
        true => (STREAMS, ROUNDS, Duration::from_secs(6)),
        false => (4, 1, Duration::from_millis(200)),
    };
    let load = Load::new(streams);
    let bare = start_bare(&load.sinks());
    let (relay, relayed) = open(&load.sources(), &load.sinks());
    for _ in 0..rounds {
        for (name, ports) in [("bare", &bare), ("relay", &relayed)] {
            let before = cpu_of(name);
            let (sent, received) = load.run(ports, duration);
            let cpu = cpu_of(name) - before;
            println!(
                "{name:>6}: {:6.2} CPU s for 1M packets ({sent} sent, {received} received)",
                cpu.as_secs_f64() / received as f64 * 1e6,
            );
        }
    }
    relay.stop();
}

/// What SRTP costs: a packet opened under one key and sealed under another, as between two secure
/// phones. The first is sealed for it, which is taken off by measuring it alone.
fn srtp(packets: u32) {
    const PLAIN: usize = 172;
    let packet = |number: u32| {
        let mut room = [0x80; PLAIN + GROWTH];
        room[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        room[8..12].copy_from_slice(&7u32.to_be_bytes());
        room[0] = 0x80;
        room
    };
    for suite in Suite::ALL {
        let key = |octet: u8| MasterKey::fresh(suite, |octets| octets.fill(octet));
        let mut phone = Outbound::new(&key(1), 0).unwrap();
        let start = Instant::now();
        for number in 0..packets {
            let mut room = packet(number);
            std::hint::black_box(phone.rtp(&mut room, PLAIN)).unwrap();
        }
        let seal = start.elapsed();
        let mut phone = Outbound::new(&key(1), 0).unwrap();
        let mut near = Inbound::new(&key(1)).unwrap();
        let mut far = Outbound::new(&key(2), 0).unwrap();
        let start = Instant::now();
        for number in 0..packets {
            let mut room = packet(number);
            let sealed = phone.rtp(&mut room, PLAIN).unwrap();
            let length = near.rtp(&mut room[..sealed]).unwrap();
            std::hint::black_box(far.rtp(&mut room, length)).unwrap();
        }
        let both = start.elapsed() - seal;
        let each = |spent: Duration| spent.as_nanos() as f64 / f64::from(packets) / 1000.0;
        println!(
            "{:>24}: {:.2} us to seal, {:.2} us to open and seal again",
            suite.as_str(),
            each(seal),
            each(both),
        );
    }
}

fn serve(file: &str) {
    let many = |base: u16| -> Vec<SocketAddr> {
        let port = |index| (Ipv4Addr::LOCALHOST, base + 2 * index).into();
        (0..STREAMS as u16).map(port).collect()
    };
    let (_relay, ports) = open(&many(20_000), &many(30_000));
    let lines: Vec<String> = ports.iter().map(|port| port.port().to_string()).collect();
    fs::write(file, lines.join("\n")).unwrap();
    loop {
        thread::park();
    }
}

/// Opens a call for each pair of phones; returns our port toward each caller.
fn open(callers: &[SocketAddr], callees: &[SocketAddr]) -> (Relay, Vec<SocketAddr>) {
    let (tell, events) = channel();
    let settings = RelaySettings {
        ports: 40_000..=59_999,
        ..RelaySettings::default()
    };
    let relay = Relay::start(settings, move |event| {
        if matches!(event, MediaEvent::Opened { .. }) {
            tell.send(event).unwrap();
        }
    })
    .unwrap();
    let handle = relay.handle();
    let mut ports = Vec::new();
    for (index, (caller, callee)) in callers.iter().zip(callees).enumerate() {
        let media = ConversationId(index as u64);
        for (side, phone) in [(Side::Caller, caller), (Side::Callee, callee)] {
            handle.command(MediaCommand::Open {
                media,
                side,
                generation: 1,
                streams: 1,
                claim: Claim::Known,
                toward: phone.ip(),
                told: None,
                again: Vec::new(),
            });
            let MediaEvent::Opened { result, .. } = events.recv().unwrap() else {
                unreachable!("only these are told");
            };
            if side == Side::Caller {
                ports.push(result.unwrap()[0]);
            }
            handle.command(MediaCommand::Configure {
                media,
                side,
                generation: 1,
                signalling: phone.ip(),
                streams: vec![settings_of(*phone)],
            });
        }
    }
    (relay, ports)
}

fn settings_of(phone: SocketAddr) -> StreamSettings {
    StreamSettings {
        active: true,
        rtp: Some(phone),
        rtcp: None,
        rtcp_mux: false,
        voice: Voice::Due,
        receives: true,
        video: false,
        inside: Inside::Rtp,
        srtp: None,
        formats: vec![PayloadFormat {
            number: 0,
            name: "PCMU".into(),
            clock: 8000,
        }],
        besides: Vec::new(),
        told: Vec::new(),
        ptime: 20,
    }
}

/// Callers that talk and callees that count.
struct Load {
    sources: Vec<UdpSocket>,
    sinks: Vec<SocketAddr>,
    received: Arc<AtomicU64>,
}

impl Load {
    fn new(streams: usize) -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sources = (0..streams).map(|_| bind()).collect();
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        let sinks = listen("sink", (0..streams).map(|_| bind()).collect(), {
            move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            sources,
            sinks,
            received,
        }
    }

    fn sources(&self) -> Vec<SocketAddr> {
        let address = |socket: &UdpSocket| socket.local_addr().unwrap();
        self.sources.iter().map(address).collect()
    }

    fn sinks(&self) -> Vec<SocketAddr> {
        self.sinks.clone()
    }

    /// Talks for a while; returns how many packets were sent and how many arrived.
    fn run(&self, ports: &[SocketAddr], duration: Duration) -> (u64, u64) {
        let before = self.received.load(Ordering::Relaxed);
        let rate = RATE * self.sources.len() as u64 / STREAMS as u64;
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < duration {
            let due = start.elapsed().as_micros() as u64 * rate / 1_000_000;
            while sent < due {
                let stream = sent as usize % ports.len();
                let sequence = sent as usize / ports.len();
                let packet = voice(stream as u32, sequence as u32);
                self.sources[stream]
                    .send_to(&packet, ports[stream])
                    .unwrap();
                sent += 1;
            }
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_millis(100));
        (sent, self.received.load(Ordering::Relaxed) - before)
    }
}

fn voice(stream: u32, sequence: u32) -> [u8; 172] {
    let mut packet = [0xd5; 172];
    packet[..2].copy_from_slice(&[0x80, 0]);
    packet[2..4].copy_from_slice(&(sequence as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&(sequence * 160).to_be_bytes());
    packet[8..12].copy_from_slice(&(1000 + stream).to_be_bytes());
    packet
}

/// The least that a relay of many streams can do: wait, receive, send.
fn start_bare(sinks: &[SocketAddr]) -> Vec<SocketAddr> {
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let out: Vec<_> = sinks
        .iter()
        .map(|sink| {
            let socket = bind();
            socket.connect(sink).unwrap();
            socket
        })
        .collect();
    listen("bare", sinks.iter().map(|_| bind()).collect(), {
        move |stream, packet| {
            out[stream].send(packet).unwrap();
        }
    })
}

/// Reads sockets on a thread of that name for as long as the process lives.
fn listen(
    name: &str,
    sockets: Vec<UdpSocket>,
    mut take: impl FnMut(usize, &[u8]) + Send + 'static,
) -> Vec<SocketAddr> {
    let addresses = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
    let mut poll = Poll::new().unwrap();
    let mut sockets: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            socket.set_nonblocking(true).unwrap();
            mio::net::UdpSocket::from_std(socket)
        })
        .collect();
    for (index, socket) in sockets.iter_mut().enumerate() {
        let registry = poll.registry();
        registry
            .register(socket, Token(index), Interest::READABLE)
            .unwrap();
    }
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let mut events = Events::with_capacity(256);
            let mut buffer = [0; 2048];
            loop {
                poll.poll(&mut events, None).unwrap();
                for event in &events {
                    let stream = event.token().0;
                    while let Ok((length, _)) = sockets[stream].recv_from(&mut buffer) {
                        take(stream, &buffer[..length]);
                    }
                }
            }
        })
        .unwrap();
    addresses
}

/// Returns the CPU time of this process' threads whose name starts so.
fn cpu_of(name: &str) -> Duration {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let read = |file| fs::read_to_string(task.join(file)).unwrap_or_default();
        if read("comm").starts_with(name) {
            let on_cpu = read("schedstat");
            nanos += on_cpu
                .split(' ')
                .next()
                .and_then(|nanos| nanos.parse::<u64>().ok())
                .unwrap_or_default();
        }
    }
    Duration::from_nanos(nanos)
}
