//! The SIP sockets over the real loopback: batches, ICMP errors, framing, limits, time-outs. Time is an
//! argument, so nothing waits for a clock; what waits for the kernel waits for the poll.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

#[path = "transport/authority.rs"]
mod authority;
#[path = "transport/hosts.rs"]
mod hosts;
#[path = "transport/proxied.rs"]
mod proxied;
#[path = "transport/shard.rs"]
mod shard;
#[path = "transport/tls.rs"]
mod tls;
#[path = "transport/web.rs"]
mod web;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mio::{Events, Poll, Token};
use refork::config::Listener;
use refork::driver::Clock;
use refork::engine::ids::{Flow, ListenerId, Transport};
use refork::engine::time::Millis;
use refork::transport::{
    Carried, Counters, Datagram, Guest, Queued, Refusal, Room, Sent, Socket, Udp, Unreached,
    Yielded, bind,
};

use shard::Shard;

const PATIENCE: Duration = Duration::from_secs(10);
const LISTENER: Token = Token(1);
const FIRST_CONNECTION: usize = 2;
const BUFFER: usize = 64 * 1024;
const OPTIONS: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 4\r\nX: 1\r\n\r\nbody";

fn listener(transport: Transport, ip: &str) -> Listener {
    Listener::new(transport, SocketAddr::new(ip.parse().unwrap(), 0))
}

/// A UDP socket of ours, its poll, and what came out of it so far.
struct Datagrams {
    poll: Poll,
    udp: Udp,
    at: SocketAddr,
    room: Room,
    counters: Counters,
    unreachable: Vec<Unreached>,
    /// Who is not to be heard.
    shut_out: Option<SocketAddr>,
    /// Whose keep-alives came.
    kept: Vec<SocketAddr>,
    received: Vec<Datagram>,
    /// What the reads said of the kernel's queue.
    queued: Vec<Queued>,
}

impl Datagrams {
    fn new(ip: &str, message_size: usize) -> Self {
        let poll = Poll::new().unwrap();
        let (bound, mut sockets) = bind(&listener(Transport::Udp, ip), 1, BUFFER).unwrap();
        let Some(Socket::Udp(socket)) = sockets.pop() else {
            panic!("not a UDP socket");
        };
        Self {
            udp: Udp::new(socket, poll.registry(), LISTENER).unwrap(),
            poll,
            at: bound.at,
            room: Room::new(message_size),
            counters: Counters::default(),
            unreachable: Vec::new(),
            shut_out: None,
            kept: Vec::new(),
            received: Vec::new(),
            queued: Vec::new(),
        }
    }

    fn send(&mut self, bytes: &[u8], to: SocketAddr) -> Sent {
        self.udp
            .send(bytes, to, &self.counters, &mut self.unreachable)
    }

    /// Takes one batch; returns true where more may wait.
    fn read(&mut self) -> bool {
        let queued = self.udp.receive(
            &mut self.room,
            &self.counters,
            &mut self.unreachable,
            &|peer, _| Some(peer) != self.shut_out,
            &mut self.kept,
            &mut self.received,
        );
        self.queued.push(queued);
        queued.more
    }

    /// Takes what comes until there is enough.
    fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        let mut events = Events::with_capacity(8);
        while !enough(self) {
            self.poll.poll(&mut events, Some(PATIENCE)).unwrap();
            assert!(!events.is_empty(), "nothing came");
            for event in &events {
                if event.is_error() {
                    self.udp.errors(&mut self.unreachable);
                }
            }
            while self.read() {}
        }
    }
}

fn unreached(peer: SocketAddr, quoted: &'static [u8]) -> Unreached {
    let quoted = Bytes::from_static(quoted);
    Unreached { peer, quoted }
}

/// An address where nobody listens any more.
fn deserted(ip: &str) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.local_addr().unwrap()
}

#[test]
fn icmp_names_who_is_not_there() {
    for ip in ["127.0.0.1", "::1"] {
        let mut ours = Datagrams::new(ip, 1000);
        let nobody = deserted(ip);
        assert_eq!(ours.send(b"anyone?", nobody), Sent::Done);
        ours.until(|ours| !ours.unreachable.is_empty());
        assert_eq!(ours.unreachable, [unreached(nobody, b"anyone?")], "{ip}");
        // What is sent there is told apart, as long as it may be.
        ours.unreachable.clear();
        let long = [OPTIONS, &[b'x'; 900]].concat();
        for message in [OPTIONS, &long, OPTIONS] {
            ours.send(message, nobody);
        }
        ours.until(|ours| ours.unreachable.len() > 1);
        assert_eq!(ours.unreachable[0], unreached(nobody, OPTIONS), "{ip}");
        let quoted = &ours.unreachable[1].quoted;
        assert!(long.starts_with(quoted), "{ip}");
        assert!((500..=576).contains(&quoted.len()), "{ip}");
    }
}

#[test]
fn the_error_of_one_does_not_keep_a_datagram_from_another() {
    let mut ours = Datagrams::new("127.0.0.1", 1000);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let nobody = deserted("127.0.0.1");
    let mut buffer = [0; 100];
    for _ in 0..20 {
        ours.unreachable.clear();
        assert_eq!(ours.send(b"anyone?", nobody), Sent::Done);
        // On loopback the error is there when send returns, and meets the next call.
        assert_eq!(ours.send(b"hello", peer.local_addr().unwrap()), Sent::Done);
        assert_eq!(peer.recv(&mut buffer).unwrap(), 5);
        assert_eq!(ours.unreachable, [unreached(nobody, b"anyone?")]);
    }
}

#[test]
fn a_peer_without_a_way_to_it_is_unreachable() {
    let mut ours = Datagrams::new("127.0.0.1", 1000);
    // RFC 5737; from a loopback address there is no way out of the machine.
    let outside = "192.0.2.1:5060".parse().unwrap();
    assert_eq!(ours.send(b"hello", outside), Sent::Unreachable);
    assert_eq!(
        ours.counters.datagrams_dropped.load(Ordering::Relaxed),
        1,
        "counted"
    );
}

#[test]
fn more_than_a_datagram_holds_says_nothing_of_the_peer() {
    let mut ours = Datagrams::new("127.0.0.1", 1000);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sent = ours.send(&[b'x'; 70_000], peer.local_addr().unwrap());
    assert_eq!(sent, Sent::Dropped);
}

#[test]
fn datagrams_come_whole_or_not_at_all() {
    let mut ours = Datagrams::new("127.0.0.1", 100);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = ours.at;
    let send = |bytes: &[u8]| peer.send_to(bytes, at).unwrap();
    // Empty, keep-alives of phones, a line end before a message, one too large, and the last.
    send(b"");
    send(b"\r\n\r\n");
    send(&[0; 4]);
    send(b"\r\nfirst");
    send(&[b'x'; 101]);
    send(&[b'y'; 100]);
    for number in 0..100_u8 {
        send(&[b'z', number]);
    }
    ours.until(|ours| ours.received.len() == 102);
    // Who is shut out keeps nothing alive.
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.shut_out = Some(other.local_addr().unwrap());
    other.send_to(b"\r\n\r\n", ours.at).unwrap();
    send(b"last");
    ours.until(|ours| ours.received.len() == 103);
    ours.received.pop();
    assert_eq!(ours.kept, [peer.local_addr().unwrap(); 3]);
    assert_eq!(&*ours.received[0].bytes, b"first");
    assert_eq!(&*ours.received[1].bytes, &[b'y'; 100]);
    for (number, datagram) in ours.received[2..].iter().enumerate() {
        assert_eq!(&*datagram.bytes, [b'z', number as u8]);
        assert_eq!(datagram.peer, peer.local_addr().unwrap());
    }
    assert_eq!(ours.counters.datagrams_dropped.load(Ordering::Relaxed), 1);
}

fn read_exactly(stream: &mut TcpStream, expected: &[u8]) {
    let mut buffer = vec![0; expected.len()];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(buffer, expected);
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 100]), Ok(0) | Err(_))
}

fn to(peer: SocketAddr) -> Flow {
    Flow {
        transport: Transport::Tcp,
        listener: ListenerId(0),
        peer,
        connection: None,
    }
}

#[test]
fn the_kernel_says_what_its_queue_had_no_room_for() {
    for ip in ["127.0.0.1", "::1"] {
        let mut ours = Datagrams::new(ip, 1000);
        let peer = UdpSocket::bind((ip, 0)).unwrap();
        let sent = 1000;
        for _ in 0..sent {
            peer.send_to(OPTIONS, ours.at).unwrap();
        }
        while ours.read() {}
        let taken = ours.received.len();
        assert!(taken > 0 && taken < sent, "{taken}");
        // The next one that finds room says how many did not.
        peer.send_to(OPTIONS, ours.at).unwrap();
        ours.until(|ours| ours.received.len() > taken);
        let lost: u32 = ours.queued.iter().map(|queued| queued.lost).sum();
        assert_eq!(lost as usize, sent - taken, "{ip}");
        let counted = ours.counters.datagrams_lost.load(Ordering::Relaxed);
        assert_eq!(counted as usize, sent - taken);
        // Each is told once.
        peer.send_to(OPTIONS, ours.at).unwrap();
        ours.until(|ours| ours.received.len() > taken + 1);
        assert_eq!(
            ours.queued.iter().map(|queued| queued.lost).sum::<u32>(),
            lost
        );
    }
}

#[test]
fn the_kernel_says_how_long_a_datagram_has_waited() {
    let clock = Clock::start();
    // The first socket of a machine that asks for stamps has them only when the kernel finds time to begin:
    // until then a datagram has that of its reading.
    let stamped = (0..20).any(|_| {
        let mut ours = Datagrams::new("127.0.0.1", 1000);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = clock.now();
        peer.send_to(OPTIONS, ours.at).unwrap();
        // Nobody writes here: it is a while until that is known.
        peer.set_read_timeout(Some(Duration::from_millis(60)))
            .unwrap();
        peer.recv(&mut [0]).unwrap_err();
        peer.send_to(OPTIONS, ours.at).unwrap();
        ours.until(|ours| ours.received.len() == 2);
        let waited = clock.ago(ours.queued[0].since.unwrap());
        // Both clocks count whole milliseconds.
        assert!(
            waited <= (clock.now() + Millis(2)).since(before),
            "{waited:?}"
        );
        waited >= Millis(50)
    });
    assert!(stamped, "of the first, not the second");
}

#[test]
fn stun_says_where_a_phone_is_seen() {
    for ip in ["127.0.0.1", "::1"] {
        let mut ours = Datagrams::new(ip, 1000);
        let phone = UdpSocket::bind((ip, 0)).unwrap();
        phone.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.extend(1..=12);
        phone.send_to(&request, ours.at).unwrap();
        phone.send_to(b"OPTIONS", ours.at).unwrap();
        ours.until(|ours| ours.received.len() == 1);
        assert_eq!(&*ours.received[0].bytes, b"OPTIONS", "STUN is no message");
        let mut answer = [0; 100];
        let len = phone.recv(&mut answer).unwrap();
        assert_eq!(&answer[..2], [1, 1]);
        assert_eq!(&answer[4..20], &request[4..20]);
        let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
        assert_eq!(port, phone.local_addr().unwrap().port());
        assert_eq!(len, if ip == "::1" { 44 } else { 32 });
    }
}

#[test]
fn who_is_shut_out_is_not_told_where_it_is_seen_either() {
    let mut ours = Datagrams::new("127.0.0.1", 1000);
    let [phone, other] = [0, 0].map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap());
    ours.shut_out = Some(phone.local_addr().unwrap());
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend(1..=12);
    phone.send_to(&request, ours.at).unwrap();
    other.send_to(b"OPTIONS", ours.at).unwrap();
    ours.until(|ours| ours.received.len() == 1);
    phone.set_nonblocking(true).unwrap();
    assert!(phone.recv(&mut [0; 100]).is_err());
}

#[test]
fn frames_are_found_wherever_the_stream_is_cut() {
    let mut shard = Shard::new(10, 10);
    let mut phone = shard.connect();
    for cut in 1..OPTIONS.len() {
        phone.write_all(&OPTIONS[..cut]).unwrap();
        // The ping's answer on a second connection says that the first piece was read alone.
        let mut other = shard.connect();
        other.write_all(b"\r\n\r\n").unwrap();
        let first = shard.messages.len();
        other.shutdown(std::net::Shutdown::Write).unwrap();
        let closed = shard.closed.len();
        shard.until(|shard| shard.closed.len() > closed);
        read_exactly(&mut other, b"\r\n");
        assert_eq!(shard.messages.len(), first, "cut at {cut}");
        phone.write_all(&OPTIONS[cut..]).unwrap();
        shard.until(|shard| shard.messages.len() > first);
        let (flow, bytes) = &shard.messages[first];
        assert_eq!(bytes, OPTIONS, "cut at {cut}");
        assert_eq!(flow.peer, phone.local_addr().unwrap());
        assert!(flow.connection.is_some());
    }
}

#[test]
fn what_is_answered_goes_over_the_connection_that_asked() {
    let mut shard = Shard::new(10, 10);
    let mut phone = shard.connect();
    phone.write_all(OPTIONS).unwrap();
    shard.until(|shard| shard.messages.len() == 1);
    let flow = shard.messages[0].0;
    for flow in [flow, to(flow.peer)] {
        let answer = Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n");
        assert_eq!(
            shard.streams.send(&flow, answer.clone(), shard.now),
            Carried::Done
        );
        read_exactly(&mut phone, &answer);
    }
    assert_eq!(shard.open(), 1, "reused");
}

#[test]
fn a_connection_is_opened_where_there_is_none() {
    let mut shard = Shard::new(10, 10);
    let phone = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = phone.local_addr().unwrap();
    for piece in [&b"INVITE one"[..], b", two"] {
        let sent = shard
            .streams
            .send(&to(peer), Bytes::from_static(piece), shard.now);
        assert_eq!(sent, Carried::Done);
    }
    let (mut accepted, _) = phone.accept().unwrap();
    accepted.set_read_timeout(Some(PATIENCE)).unwrap();
    let flow = shard.registry.find(Transport::Tcp, peer).unwrap();
    // What waited for the connection goes out in order once the poll says that it is open.
    let mut events = Events::with_capacity(8);
    shard.poll.poll(&mut events, Some(PATIENCE)).unwrap();
    for event in &events {
        shard.read(event.token());
    }
    read_exactly(&mut accepted, b"INVITE one, two");
    assert_eq!(shard.open(), 1);
    drop(accepted);
    shard.until(|shard| !shard.closed.is_empty());
    assert_eq!(shard.closed, [flow]);
    assert_eq!(shard.registry.find(Transport::Tcp, peer), None);
    assert_eq!(
        shard
            .streams
            .send(&flow, Bytes::from_static(b"x"), shard.now),
        Carried::Gone
    );
    assert_eq!(shard.open(), 0);
}

#[test]
fn a_connection_that_is_refused_is_told() {
    let mut shard = Shard::new(10, 10);
    let peer = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let bytes = Bytes::from_static(b"x");
    match shard.streams.send(&to(peer), bytes, shard.now) {
        Carried::Closed(closed) => shard.closed.push(closed),
        Carried::Done => shard.until(|shard| !shard.closed.is_empty()),
        other @ (Carried::Elsewhere(_) | Carried::Gone) => panic!("{other:?}"),
    }
    assert_eq!(shard.closed[0].peer, peer);
    assert_eq!(shard.open(), 0);
    assert_eq!(shard.registry.find(Transport::Tcp, peer), None);
}

#[test]
fn too_many_connections_are_turned_away() {
    let mut shard = Shard::new(10, 2);
    let (_first, second) = (shard.connect(), shard.connect());
    let mut third = TcpStream::connect(shard.at).unwrap();
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    shard.until(|shard| shard.refused(Refusal::LimitPerIp) == 1);
    assert!(is_closed(&mut third));
    assert_eq!(shard.open(), 2);
    drop(second);
    shard.until(|shard| shard.closed.len() == 1);
    shard.connect();
    assert_eq!(shard.open(), 2);
}

#[test]
fn a_message_that_is_never_whole_closes_its_connection() {
    let mut shard = Shard::new(10, 10);
    let (mut slow, mut patient) = (shard.connect(), shard.connect());
    slow.write_all(OPTIONS).unwrap();
    slow.write_all(b"OPTIONS sip:").unwrap();
    patient.write_all(b"\r\n\r\n").unwrap();
    shard.until(|shard| shard.messages.len() == 1);
    // The rest of what slow has written may lie in another segment: the next byte brings it in.
    slow.write_all(b"a").unwrap();
    let mut pong = [0; 2];
    let mut events = Events::with_capacity(8);
    shard.poll.poll(&mut events, Some(PATIENCE)).unwrap();
    for event in &events {
        shard.read(event.token());
    }
    patient.read_exact(&mut pong).unwrap();
    assert!(shard.sweep_after(Millis(4_999)).is_empty());
    // Bytes that trickle in do not buy time.
    slow.write_all(b"b").unwrap();
    shard.poll.poll(&mut events, Some(PATIENCE)).unwrap();
    for event in &events {
        shard.read(event.token());
    }
    let closed = shard.sweep_after(Millis(1));
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].peer, slow.local_addr().unwrap());
    assert!(is_closed(&mut slow));
    assert_eq!(shard.open(), 1);
}

#[test]
fn idle_connections_go_unless_they_are_needed() {
    let mut shard = Shard::new(10, 10);
    let (mut needed, mut idle) = (shard.connect(), shard.connect());
    for phone in [&mut needed, &mut idle] {
        phone.write_all(OPTIONS).unwrap();
    }
    shard.until(|shard| shard.messages.len() == 2);
    shard.now = shard.now + Millis::from_secs(60);
    let peer = needed.local_addr().unwrap();
    let closed = shard
        .streams
        .sweep(shard.now, &|_| false, &|flow, _| flow.peer == peer);
    assert_eq!(closed.len(), 1);
    assert!(is_closed(&mut idle));
    needed.write_all(OPTIONS).unwrap();
    shard.until(|shard| shard.messages.len() == 3);
    assert!(shard.sweep_after(Millis(59_999)).is_empty());
    assert_eq!(shard.sweep_after(Millis(1)).len(), 1);
    assert_eq!(shard.open(), 0);
}

#[test]
fn who_comes_and_says_nothing_has_less_time_than_who_falls_silent() {
    let mut shard = Shard::new(10, 10);
    let (mut silent, mut trickles) = (shard.connect(), shard.connect());
    // A keep-alive is no word either.
    let (mut speaks, mut pings, told) = (shard.connect(), shard.connect(), shard.connect());
    speaks.write_all(OPTIONS).unwrap();
    pings.write_all(b"\r\n\r\n").unwrap();
    shard.until(|shard| shard.messages.len() == 1);
    read_in(&mut shard, &mut pings, b"\r\n");
    let flow = to(told.local_addr().unwrap());
    let sent = shard
        .streams
        .send(&flow, Bytes::from_static(OPTIONS), shard.now);
    assert_eq!(sent, Carried::Done);
    assert!(shard.sweep_after(Millis(9_999)).is_empty());
    // Line feeds are no words.
    trickles.write_all(b"\n\n").unwrap();
    shard.turn();
    assert_eq!(shard.sweep_after(Millis(1)).len(), 3);
    for phone in [&mut silent, &mut trickles, &mut pings] {
        assert!(is_closed(phone));
    }
    assert_eq!(shard.counters.silent.load(Ordering::Relaxed), 3);
    assert!(shard.sweep_after(Millis(49_998)).is_empty());
    assert_eq!(shard.open(), 2, "the rest may be idle for long");
}

#[test]
fn who_says_nothing_gives_way_and_then_who_is_idle_and_not_needed() {
    let port = |phone: &TcpStream| phone.local_addr().unwrap().port();
    // A tenth is nobody's here: strangers have nine places, and of one address as many.
    for (connections, per_ip, full) in [(10, 20, Refusal::Limit), (100, 9, Refusal::LimitPerIp)] {
        let mut shard = Shard::new(connections, per_ip);
        let mut phones: Vec<_> = (0..8).map(|_| shard.connect()).collect();
        for (count, phone) in phones.iter_mut().enumerate().take(7) {
            phone.write_all(OPTIONS).unwrap();
            shard.until(|shard| shard.messages.len() > count);
        }
        shard.now = shard.now + Millis(999);
        let late = shard.connect();
        // The last of them is silent for less than a second, and the others have said something just now.
        let _refused = TcpStream::connect(shard.at).unwrap();
        shard.until(|shard| shard.refused(full) == 1);
        shard.now = shard.now + Millis(100);
        let next = shard.connect();
        assert_eq!(shard.yielded(), [(port(&phones[7]), Yielded::Silent)]);
        assert!(is_closed(&mut phones[7]));
        shard.now = shard.now + Millis::from_secs(10);
        for mut silent in [late, next] {
            let gone = port(&silent);
            drop(std::mem::replace(&mut silent, shard.connect()));
            assert_eq!(shard.yielded(), [(gone, Yielded::Silent)]);
            shard.now = shard.now + Millis(100);
            phones.push(silent);
        }
        // What is needed stays, whoever comes; of the rest who has been idle for longest goes.
        for phone in phones.iter_mut().skip(8) {
            phone.write_all(OPTIONS).unwrap();
        }
        shard.until(|shard| shard.messages.len() == 9);
        shard.needed = phones[..6].iter().map(port).collect();
        let _last = shard.connect();
        assert_eq!(shard.yielded(), [(port(&phones[6]), Yielded::Idle)]);
        shard.now = shard.now + Millis(999);
        let _refused = TcpStream::connect(shard.at).unwrap();
        shard.until(|shard| shard.refused(full) == 2);
        let [silent, idle] = &shard.counters.yielded;
        let counted = [silent, idle].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counted, [3, 1]);
    }
}

#[test]
fn those_that_others_are_asked_about_give_way_at_the_next_try() {
    for (connections, per_ip, full) in [(10, 20, Refusal::Limit), (100, 9, Refusal::LimitPerIp)] {
        let mut shard = Shard::new(connections, per_ip);
        let mut phones: Vec<_> = (0..9).map(|_| shard.connect()).collect();
        for (count, phone) in phones.iter_mut().enumerate() {
            phone.write_all(OPTIONS).unwrap();
            shard.until(|shard| shard.messages.len() > count);
            shard.now = shard.now + Millis(1);
        }
        let ports: Vec<_> = phones
            .iter()
            .map(|phone| phone.local_addr().unwrap().port())
            .collect();
        (shard.needed, shard.asked) = (ports[..7].to_vec(), ports[7..].to_vec());
        shard.now = shard.now + Millis::from_secs(10);
        let _refused = TcpStream::connect(shard.at).unwrap();
        shard.until(|shard| shard.refused(full) == 1);
        // Long after, and the answers are there.
        shard.now = shard.now + Millis::from_secs(30);
        shard.asked.clear();
        let _comes = shard.connect();
        let _next = shard.connect_after(Millis(100));
        let gone = [ports[7], ports[8]].map(|port| (port, Yielded::Idle));
        assert_eq!(shard.yielded(), gone);
    }
}

#[test]
fn the_others_are_asked_before_all_places_are_taken() {
    let mut shard = Shard::new(100, 100);
    let mut phones: Vec<_> = (0..80).map(|_| shard.connect()).collect();
    for (count, phone) in phones.iter_mut().enumerate() {
        phone.write_all(OPTIONS).unwrap();
        shard.until(|shard| shard.messages.len() > count);
    }
    shard.now = shard.now + Millis::from_secs(10);
    assert_eq!(shard.looks_ahead(), 0, "there are places");
    let _more = shard.connect();
    assert_eq!(shard.looks_ahead(), 80, "one has yet to say a word");
    assert!(shard.yielded().is_empty());
}

#[test]
fn keep_alives_do_not_keep_a_connection_that_nobody_needs() {
    let mut shard = Shard::new(10, 10);
    let (mut pings, mut needed) = (shard.connect(), shard.connect());
    for phone in [&mut pings, &mut needed] {
        phone.write_all(OPTIONS).unwrap();
    }
    shard.until(|shard| shard.messages.len() == 2);
    assert!(shard.sweep_after(Millis(59_999)).is_empty());
    for phone in [&mut pings, &mut needed] {
        phone.write_all(b"\r\n\r\n").unwrap();
        read_in(&mut shard, phone, b"\r\n");
    }
    shard.now = shard.now + Millis(1);
    let peer = needed.local_addr().unwrap();
    let closed = shard
        .streams
        .sweep(shard.now, &|_| false, &|flow, _| flow.peer == peer);
    assert_eq!(closed.len(), 1);
    assert!(is_closed(&mut pings));
    assert_eq!(shard.open(), 1);
}

#[test]
fn a_trusted_peer_may_be_silent() {
    let mut shard = Shard::new(10, 10);
    let (mut trunk, mut stranger) = (shard.connect(), shard.connect());
    shard.now = shard.now + Millis::from_secs(59);
    let peer = trunk.local_addr().unwrap();
    let closed = shard
        .streams
        .sweep(shard.now, &|flow| flow.peer == peer, &|_, _| false);
    assert_eq!(closed.len(), 1);
    assert!(is_closed(&mut stranger));
    trunk.write_all(b"\r\n\r\n").unwrap();
    read_in(&mut shard, &mut trunk, b"\r\n");
    for (seconds, closed) in [(59, 0), (1, 1)] {
        shard.now = shard.now + Millis::from_secs(seconds);
        let swept = shard.streams.sweep(shard.now, &|_| true, &|_, _| false);
        assert_eq!(swept.len(), closed);
    }
}

#[test]
fn strangers_leave_room_for_trusted_peers() {
    let mut shard = Shard::new(10, 20);
    let _strangers: Vec<_> = (0..9).map(|_| shard.connect()).collect();
    let mut refused = TcpStream::connect(shard.at).unwrap();
    refused.set_read_timeout(Some(PATIENCE)).unwrap();
    shard.until(|shard| shard.refused(Refusal::Limit) == 1);
    assert!(is_closed(&mut refused));
    shard.guest = Guest::Trusted;
    let _trunk = shard.connect();
    assert_eq!(shard.open(), 10);
}

#[test]
fn a_trusted_peer_may_have_more_than_a_stranger() {
    let mut shard = Shard::new(10, 1);
    let _stranger = shard.connect();
    shard.guest = Guest::Trusted;
    let _trunk = [shard.connect(), shard.connect()];
    assert_eq!(shard.open(), 3);
}

/// Takes what a phone is sent, while the shard works.
fn read_in(shard: &mut Shard, phone: &mut TcpStream, expected: &[u8]) {
    phone.set_nonblocking(true).unwrap();
    let mut heard = vec![0; expected.len()];
    while phone.peek(&mut heard).is_ok_and(|len| len < expected.len()) || heard != expected {
        shard.turn();
    }
    phone.set_nonblocking(false).unwrap();
    phone.read_exact(&mut heard).unwrap();
}

#[test]
fn a_peer_that_does_not_read_is_gone() {
    let mut shard = Shard::new(10, 10);
    let deaf = shard.connect();
    let flow = to(deaf.local_addr().unwrap());
    let piece = Bytes::from(vec![b'x'; 60_000]);
    let mut sent = 0;
    let closed = loop {
        match shard.streams.send(&flow, piece.clone(), shard.now) {
            Carried::Done => sent += piece.len(),
            Carried::Closed(closed) => break closed,
            other @ (Carried::Elsewhere(_) | Carried::Gone) => panic!("{other:?}"),
        }
        assert!(sent < 100 << 20, "no bound on what waits");
    };
    assert_eq!(closed.peer, deaf.local_addr().unwrap());
    assert_eq!(shard.open(), 0);
}

#[test]
fn a_peer_that_does_not_read_keeps_nobody_else_waiting() {
    let mut shard = Shard::new(10, 10);
    let (deaf, mut other) = (shard.connect(), shard.connect());
    hears_meanwhile(&mut shard, Transport::Tcp, &deaf, &mut other, OPTIONS);
}

/// Sends to one that does not read until it is gone; each time another one has a word at once, `framed` as it is on
/// its wire.
fn hears_meanwhile(
    shard: &mut Shard,
    transport: Transport,
    deaf: &TcpStream,
    other: &mut TcpStream,
    framed: &[u8],
) {
    let way = |peer: &TcpStream| Flow {
        transport,
        ..to(peer.local_addr().unwrap())
    };
    let (deaf, way) = (way(deaf), way(other));
    let piece = Bytes::from(vec![b'x'; 60_000]);
    other
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut heard = 0;
    loop {
        let carried = shard.streams.send(&deaf, piece.clone(), shard.now);
        let word = Bytes::from_static(OPTIONS);
        assert_eq!(shard.streams.send(&way, word, shard.now), Carried::Done);
        read_exactly(other, framed);
        heard += 1;
        match carried {
            Carried::Done => assert!(heard < 2000, "no bound on what waits"),
            Carried::Closed(_) => break,
            other @ (Carried::Elsewhere(_) | Carried::Gone) => panic!("{other:?}"),
        }
    }
    assert!(heard > 2, "something waited for the deaf one");
    assert_eq!(shard.open(), 1);
}

#[test]
fn a_stream_that_cannot_be_framed_is_closed() {
    for nonsense in [
        &b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\n"[..],
        b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 9999999\r\n\r\n",
        &[b'x'; 2000],
    ] {
        let mut shard = Shard::new(10, 10);
        let mut phone = shard.connect();
        phone.write_all(OPTIONS).unwrap();
        phone.write_all(nonsense).unwrap();
        shard.until(|shard| shard.closed.len() == 1);
        assert_eq!(shard.messages.len(), 1, "what came before is heard");
        assert!(is_closed(&mut phone));
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let mut shard = Shard::new(10, 10);
    let mut phone = shard.connect();
    let head = "MESSAGE sip:b@example.org SIP/2.0\r\n\
        Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@example.org>;tag=1\r\n\
        To: <sip:b@example.org>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\nContent-Length: 70000\r\n\r\n";
    phone.write_all(head.as_bytes()).unwrap();
    phone.write_all(&[b'y'; 30_000]).unwrap();
    // It is told at once, and says the rest all the same.
    shard.until(|shard| shard.too_large == 1);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\r\n\r\n") {
        let len = phone.read(&mut buffer).unwrap();
        answer.extend_from_slice(&buffer[..len]);
    }
    assert!(answer.starts_with(b"SIP/2.0 413 "));
    phone.write_all(&[b'y'; 40_000]).unwrap();
    phone.write_all(OPTIONS).unwrap();
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(&*shard.messages[0].1, OPTIONS);
    assert_eq!(shard.too_large, 1);
    assert!(shard.closed.is_empty());
}

#[test]
fn who_cannot_be_framed_is_told_before_it_is_closed() {
    let head = "INVITE sip:b@example.org SIP/2.0\r\n\
        Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@example.org>;tag=1\r\n\
        To: <sip:b@example.org>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n";
    let long = format!("X: {}", "x".repeat(2000));
    for (rest, status) in [
        ("Content-Length: -1\r\n\r\n", "400 "),
        ("l: 1\r\nl: 2\r\n\r\n", "400 "),
        ("Content-Length: 9999999\r\n\r\n", "413 "),
        (&long, "513 "),
    ] {
        let mut shard = Shard::new(1, 1);
        let mut phone = shard.connect();
        phone.write_all(head.as_bytes()).unwrap();
        phone.write_all(rest.as_bytes()).unwrap();
        // It is in the midst of saying much more.
        let mut more = phone.try_clone().unwrap();
        more.write_all(&[b'y'; 60_000]).unwrap();
        shard.until(|shard| shard.closed.len() == 1);
        assert_eq!(shard.open(), 0, "nobody reaches it any more");
        more.write_all(&[b'y'; 60_000]).unwrap();
        shard.turn();
        let mut answer = String::new();
        phone.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        // Its place is given back when it has gone, and when it does not go.
        let _refused = TcpStream::connect(shard.at).unwrap();
        shard.until(|shard| shard.refused(Refusal::Limit) == 1);
        if status == "400 " {
            drop((phone, more));
            shard.turn();
        } else {
            assert!(shard.sweep_after(Millis(2000)).is_empty());
        }
        let _next = shard.connect();
    }
}
