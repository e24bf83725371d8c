//! The relay over loopback sockets, as the engine and phones see it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::engine::ids::{ConversationId, Side};
use crate::engine::ports::{
    Claim, Generation, Inside, MediaCommand, MediaEvent, PayloadFormat, StreamSettings, Voice,
};
use crate::engine::settings::Reserve;
use crate::media::report::SessionReport;
use crate::media::rtp::{self, Header};
use crate::media::{MediaHandle, Relay, RelaySettings};

const PATIENCE: Duration = Duration::from_secs(10);
const CALL: ConversationId = ConversationId(7);
const V4: &str = "127.0.0.1";

/// A relay, and one call through it.
struct Rig {
    relay: Relay,
    events: Receiver<MediaEvent>,
}

/// A phone's two ports.
struct Phone {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

impl Rig {
    fn new(change: impl FnOnce(&mut RelaySettings)) -> Self {
        // A place that was free a moment ago; the relay passes over what others took since.
        let probe = UdpSocket::bind((V4, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let from = probe.min(60_000);
        let mut settings = RelaySettings {
            ports: from..=from + 400,
            silence: None,
            ..RelaySettings::default()
        };
        change(&mut settings);
        let (tell, events) = channel();
        let relay = Relay::start(settings, move |event| {
            // The test may be over.
            let _ = tell.send(event);
        })
        .unwrap();
        Self { relay, events }
    }

    fn handle(&self) -> MediaHandle {
        self.relay.handle()
    }

    fn next_event(&self) -> MediaEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    fn open_with(
        &self,
        side: Side,
        generation: Generation,
        toward: &str,
        streams: usize,
        again: Vec<u16>,
    ) -> Option<Vec<SocketAddr>> {
        self.open_for(Claim::Known, (side, generation), toward, streams, again)
    }

    fn open_for(
        &self,
        claim: Claim,
        (side, generation): (Side, Generation),
        toward: &str,
        streams: usize,
        again: Vec<u16>,
    ) -> Option<Vec<SocketAddr>> {
        self.handle().command(MediaCommand::Open {
            media: CALL,
            side,
            generation,
            streams,
            claim,
            toward: toward.parse().unwrap(),
            told: None,
            again,
        });
        match self.next_event() {
            MediaEvent::Opened {
                media: CALL,
                side: told,
                generation: of,
                result,
            } if told == side && of == generation => result,
            other @ (MediaEvent::Opened { .. }
            | MediaEvent::Silent { .. }
            | MediaEvent::Flowing { .. }
            | MediaEvent::Reported { .. }
            | MediaEvent::Overheard { .. }
            | MediaEvent::Unreachable { .. }
            | MediaEvent::Toned { .. }) => panic!("{other:?}"),
        }
    }

    fn open(&self, side: Side, generation: Generation) -> SocketAddr {
        self.open_with(side, generation, V4, 1, Vec::new()).unwrap()[0]
    }

    fn configure(&self, side: Side, generation: Generation, stream: StreamSettings) {
        let signalling = stream.rtp.unwrap().ip();
        self.handle().command(MediaCommand::Configure {
            media: CALL,
            side,
            generation,
            signalling,
            streams: vec![stream],
        });
    }

    fn lose(&self, side: Side) {
        self.handle().command(MediaCommand::Lost {
            media: CALL,
            side,
            transferred: false,
        });
    }

    /// Returns once every command before is carried out.
    fn report(&self) -> Option<SessionReport> {
        let (tell, told) = channel();
        self.handle().report(CALL, move |report| {
            tell.send(report).unwrap();
        });
        told.recv_timeout(PATIENCE).unwrap()
    }

    /// A call between two phones, talking. Returns our port toward each.
    fn call(&self, caller: &Phone, callee: &Phone) -> [SocketAddr; 2] {
        let ports = [self.open(Side::Caller, 1), self.open(Side::Callee, 1)];
        self.configure(Side::Caller, 1, caller.settings());
        self.configure(Side::Callee, 1, callee.settings());
        self.report().unwrap();
        ports
    }

    fn close(self) {
        self.handle().command(MediaCommand::Close { media: CALL });
        assert_eq!(self.report(), None);
        let counters = self.handle();
        let counters = counters.counters();
        assert_eq!(counters.sessions.load(Ordering::Relaxed), 0);
        assert_eq!(counters.ports_used.load(Ordering::Relaxed), 0);
        self.relay.stop();
    }
}

impl Phone {
    fn new(ssrc: u32) -> Self {
        Self::at(V4, ssrc)
    }

    fn at(ip: &str, ssrc: u32) -> Self {
        let bind = || {
            let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        Self {
            rtp: bind(),
            rtcp: bind(),
            ssrc,
            sequence: (ssrc * 1000) as u16,
            timestamp: ssrc * 100_000,
        }
    }

    fn settings(&self) -> StreamSettings {
        StreamSettings {
            active: true,
            rtp: Some(self.rtp.local_addr().unwrap()),
            rtcp: Some(self.rtcp.local_addr().unwrap()),
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

    fn talk(&mut self, to: SocketAddr) -> Header {
        let header = Header {
            marker: false,
            number: 0,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload: 160,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        self.rtp.send_to(&packet(&header), to).unwrap();
        header
    }

    fn hear(&self) -> (Header, SocketAddr) {
        let mut bytes = [0; 2048];
        let (length, from) = self.rtp.recv_from(&mut bytes).unwrap();
        (rtp::parse(&bytes[..length]).unwrap(), from)
    }

    fn hears_nothing(&self) {
        self.rtp.set_nonblocking(true).unwrap();
        let heard = self.rtp.recv_from(&mut [0; 64]);
        assert!(heard.is_err(), "{heard:?}");
        self.rtp.set_nonblocking(false).unwrap();
    }
}

fn packet(header: &Header) -> Vec<u8> {
    let mut bytes = vec![0x80; rtp::FIXED + header.payload];
    rtp::write(&mut bytes, header);
    bytes
}

fn after(header: &Header, sequence: u16) -> u16 {
    header.sequence.wrapping_add(sequence)
}

#[test]
fn relays_both_ways_and_gives_everything_back() {
    for ip in [V4, "::1"] {
        let rig = Rig::new(|_| {});
        let (mut a, mut b) = (Phone::at(ip, 1), Phone::at(ip, 2));
        let [to_a, to_b] = [
            rig.open_with(Side::Caller, 1, ip, 1, vec![]).unwrap()[0],
            rig.open_with(Side::Callee, 1, ip, 1, vec![]).unwrap()[0],
        ];
        assert_eq!(to_a.ip(), ip.parse::<IpAddr>().unwrap());
        assert_eq!(to_a.port() % 2, 0);
        rig.configure(Side::Caller, 1, a.settings());
        rig.configure(Side::Callee, 1, b.settings());
        rig.report();
        for _ in 0..5 {
            let said = a.talk(to_a);
            assert_eq!(b.hear(), (said, to_b));
            let said = b.talk(to_b);
            assert_eq!(a.hear(), (said, to_a));
        }
        let report = rig.report().unwrap();
        for side in [Side::Caller, Side::Callee] {
            let stream = &report.sides[side.index()][0];
            assert_eq!(stream.received.packets, 5);
            assert_eq!(stream.received.lost, 0);
            assert_eq!(stream.sent_packets, 5);
            assert_eq!(stream.sent_octets, 800);
        }
        assert_eq!(report.sides[0][0].port, to_a.port());
        rig.close();
    }
}

#[test]
fn a_refork_goes_on_on_the_same_line() {
    let rig = Rig::new(|_| {});
    let (mut a, mut b, mut c) = (Phone::new(1), Phone::new(2), Phone::new(3));
    let [to_a, to_b] = rig.call(&a, &b);
    a.talk(to_a);
    b.hear();
    b.talk(to_b);
    let (first, _) = a.hear();
    rig.lose(Side::Callee);
    // The filler goes on in the same stream.
    let mut last = first;
    for index in 0..3 {
        let (filler, from) = a.hear();
        assert_eq!(from, to_a);
        assert_eq!(filler.ssrc, first.ssrc);
        assert_eq!(filler.sequence, after(&last, 1));
        assert_eq!(filler.marker, index == 0);
        assert_eq!(filler.payload, 160);
        last = filler;
    }
    // What the lost phone still says reaches nobody.
    b.talk(to_b);
    let to_c = rig.open(Side::Callee, 2);
    assert_ne!(to_c, to_b);
    rig.configure(Side::Callee, 2, c.settings());
    a.talk(to_a);
    let (heard, from) = c.hear();
    assert_eq!((from, heard.ssrc), (to_c, 1));
    c.talk(to_c);
    loop {
        let (next, from) = a.hear();
        assert_eq!(from, to_a);
        assert_eq!(next.ssrc, first.ssrc);
        assert_eq!(next.sequence, after(&last, 1));
        let step = next.timestamp.wrapping_sub(last.timestamp);
        assert!((1..8000).contains(&step), "{step}");
        last = next;
        if next.marker {
            break;
        }
    }
    c.talk(to_c);
    let (next, _) = a.hear();
    assert_eq!(next.sequence, after(&last, 1));
    assert_eq!(next.timestamp.wrapping_sub(last.timestamp), 160);
    rig.close();
}

#[test]
fn both_generations_stand_until_one_is_configured() {
    let rig = Rig::new(|_| {});
    let (mut a, mut b, mut c) = (Phone::new(1), Phone::new(2), Phone::new(3));
    let [to_a, to_b] = rig.call(&a, &b);
    let to_c = rig.open(Side::Callee, 2);
    b.talk(to_b);
    a.hear();
    // Not configured yet: nothing from there.
    c.talk(to_c);
    b.talk(to_b);
    assert_eq!(a.hear().0.ssrc, 2);
    let used = || rig.handle().counters().ports_used.load(Ordering::Relaxed);
    rig.report();
    assert_eq!(used(), 6);
    rig.configure(Side::Callee, 2, c.settings());
    rig.report();
    assert_eq!(used(), 4);
    c.talk(to_c);
    let (heard, _) = a.hear();
    assert_eq!((heard.ssrc, heard.marker), (2, true));
    a.talk(to_a);
    c.hear();
    // A fork that failed.
    let other = rig.open(Side::Callee, 3);
    assert_ne!(other, to_c);
    rig.handle().command(MediaCommand::CloseSide {
        media: CALL,
        side: Side::Callee,
        generation: 3,
    });
    rig.report();
    assert_eq!(used(), 4);
    rig.close();
}

#[test]
fn streams_that_are_refused_give_their_ports_back_alone() {
    let rig = Rig::new(|_| {});
    let (mut a, b) = (Phone::new(1), Phone::new(2));
    let open = |again| rig.open_with(Side::Caller, 1, V4, 3, again).unwrap();
    let all = open(vec![]);
    let to_b = rig.open(Side::Callee, 1);
    let used = || rig.handle().counters().ports_used.load(Ordering::Relaxed);
    for (streams, left) in [(vec![0, 2], 4), (vec![0, 2, 9], 4)] {
        rig.handle().command(MediaCommand::CloseStreams {
            media: CALL,
            side: Side::Caller,
            generation: 1,
            streams,
        });
        rig.report();
        assert_eq!(used(), left);
    }
    // The one in the middle runs on, at its port.
    let refused = || StreamSettings {
        active: false,
        ..a.settings()
    };
    for (side, phone) in [(Side::Caller, &a), (Side::Callee, &b)] {
        rig.handle().command(MediaCommand::Configure {
            media: CALL,
            side,
            generation: 1,
            signalling: V4.parse().unwrap(),
            streams: vec![refused(), phone.settings(), refused()],
        });
    }
    assert_eq!(
        rig.open_with(Side::Callee, 1, V4, 2, vec![]).unwrap()[0],
        to_b
    );
    rig.handle().command(MediaCommand::Configure {
        media: CALL,
        side: Side::Callee,
        generation: 1,
        signalling: V4.parse().unwrap(),
        streams: vec![refused(), b.settings()],
    });
    a.talk(all[1]);
    assert_eq!(b.hear().0.ssrc, 1);
    // They come back with the next offer, at other ports; where the engine says that there are none, not.
    assert_eq!(open(vec![0, all[1].port(), 0])[0].port(), 0);
    assert_eq!(used(), 6);
    let anew = open(vec![]);
    assert_eq!((anew[1], used()), (all[1], 10));
    assert!(anew[0] != all[0] && anew[2] != all[2] && anew.iter().all(|at| at.port() != 0));
    rig.close();
}

/// Each side says that it is where we send to the other from, and is silent, so that there is something to hear.
#[test]
fn a_call_never_hears_itself() {
    for bind in [None, Some(Ipv4Addr::UNSPECIFIED.into())] {
        let rig = Rig::new(|settings| (settings.bind, settings.silence) = (bind, Some(100)));
        let b = Phone::new(2);
        let ports = [rig.open(Side::Caller, 1), rig.open(Side::Callee, 1)];
        for (side, at) in [(Side::Caller, ports[1]), (Side::Callee, ports[0])] {
            let stream = StreamSettings {
                rtp: Some(at),
                rtcp: Some(SocketAddr::new(at.ip(), at.port() + 1)),
                ..b.settings()
            };
            rig.configure(side, 1, stream);
        }
        rig.report();
        std::thread::sleep(Duration::from_millis(600));
        let report = rig.report().unwrap();
        for side in &report.sides {
            assert!(side[0].sent_packets > 0, "{report:?}");
            assert_eq!(side[0].received.packets, 0, "{report:?}");
        }
        rig.close();
    }
}

#[test]
fn lets_no_stranger_in() {
    let rig = Rig::new(|_| {});
    let (mut a, b) = (Phone::new(1), Phone::new(2));
    let mut stranger = Phone::at("127.0.0.2", 66);
    let [to_a, _] = rig.call(&a, &b);
    stranger.talk(to_a);
    a.talk(to_a);
    assert_eq!(b.hear().0.ssrc, 1);
    stranger.ssrc = 1;
    stranger.talk(to_a);
    a.talk(to_a);
    assert_eq!(b.hear().0.sequence, a.sequence.wrapping_sub(1));
    b.hears_nothing();
    rig.report();
    let dropped = rig
        .handle()
        .counters()
        .dropped_stranger
        .load(Ordering::Relaxed);
    assert_eq!(dropped, 2);
    rig.close();
}

#[test]
fn ports_run_out_and_come_back() {
    let rig = Rig::new(|_| {});
    let many = |generation| rig.open_with(Side::Caller, generation, V4, 16, vec![]);
    assert!(rig.open_with(Side::Caller, 1, V4, 17, vec![]).is_none());
    let mut generation = 1;
    while many(generation).is_some() {
        generation += 1;
        assert!(generation < 16, "200 pairs hold no more than 12 times 16");
    }
    rig.handle().command(MediaCommand::Close { media: CALL });
    rig.report();
    let used = rig.handle().counters().ports_used.load(Ordering::Relaxed);
    assert_eq!(used, 0);
    // They rest; but ports that are named are taken at once.
    let again = {
        let probe = Rig::new(|_| {});
        let port = probe.open(Side::Caller, 1).port();
        probe.close();
        port
    };
    let taken = rig.open_with(Side::Caller, 1, V4, 1, vec![again]);
    assert_eq!(taken.unwrap()[0].port(), again);
    rig.close();
}

#[test]
fn opening_again_with_more_streams_keeps_those_there_are() {
    let rig = Rig::new(|_| {});
    let first = rig.open(Side::Caller, 1);
    let both = rig.open_with(Side::Caller, 1, V4, 2, vec![]).unwrap();
    assert_eq!(both[0], first);
    assert_ne!(both[1], first);
    assert_eq!(rig.open(Side::Caller, 1), first);
    rig.close();
}

#[test]
fn a_closed_port_is_told_at_once() {
    let rig = Rig::new(|_| {});
    let (mut a, b) = (Phone::new(1), Phone::new(2));
    let [to_a, _] = rig.call(&a, &b);
    a.talk(to_a);
    b.hear();
    drop(b);
    a.talk(to_a);
    let told = rig.next_event();
    assert_eq!(
        told,
        MediaEvent::Unreachable {
            media: CALL,
            side: Side::Callee
        }
    );
    // Not again for each packet.
    for _ in 0..5 {
        a.talk(to_a);
    }
    rig.report();
    assert!(rig.events.try_recv().is_err());
    rig.close();
}

#[test]
fn silence_is_told_and_its_end() {
    let rig = Rig::new(|settings| settings.silence = Some(50));
    let (mut a, b) = (Phone::new(1), Phone::new(2));
    let [to_a, _] = [rig.open(Side::Caller, 1), rig.open(Side::Callee, 1)];
    rig.configure(Side::Caller, 1, a.settings());
    let mut held = b.settings();
    held.voice = Voice::None;
    rig.configure(Side::Callee, 1, held);
    let (media, side) = (CALL, Side::Caller);
    assert_eq!(rig.next_event(), MediaEvent::Silent { media, side });
    a.talk(to_a);
    assert_eq!(rig.next_event(), MediaEvent::Flowing { media, side });
    assert_eq!(rig.next_event(), MediaEvent::Silent { media, side });
    rig.close();
}

#[test]
fn orders_that_can_wait_are_carried_out_by_themselves() {
    let rig = Rig::new(|settings| settings.silence = Some(40));
    let a = Phone::new(1);
    rig.open(Side::Caller, 1);
    let (media, side) = (CALL, Side::Caller);
    // The first comes right after an order, the rest when the thread no longer looks for any.
    for _ in 0..3 {
        rig.configure(side, 1, a.settings());
        assert_eq!(rig.next_event(), MediaEvent::Silent { media, side });
    }
    rig.close();
}

#[test]
fn what_comes_to_a_pair_at_rest_is_for_nobody() {
    let rig = Rig::new(|_| {});
    let (mut a, b) = (Phone::new(1), Phone::new(2));
    let [to_a, _] = rig.call(&a, &b);
    rig.handle().command(MediaCommand::Close { media: CALL });
    rig.report();
    for _ in 0..3 {
        a.talk(to_a);
    }
    // The same port for the same phone: what came before is not heard after.
    let again = rig.open_with(Side::Caller, 1, V4, 1, vec![to_a.port()]);
    assert_eq!(again, Some(vec![to_a]));
    rig.open(Side::Callee, 1);
    rig.configure(Side::Caller, 1, a.settings());
    rig.configure(Side::Callee, 1, b.settings());
    rig.report();
    let said = a.talk(to_a);
    assert_eq!(b.hear().0, said);
    b.hears_nothing();
    let counters = rig.handle();
    let dropped = counters
        .counters()
        .dropped_no_target
        .load(Ordering::Relaxed);
    assert_eq!(dropped, 3);
    rig.close();
}

#[test]
fn oversize_and_odd_datagrams_go_nowhere() {
    let rig = Rig::new(|_| {});
    let (mut a, b) = (Phone::new(1), Phone::new(2));
    let [to_a, _] = rig.call(&a, &b);
    let mut long = packet(&a.talk(to_a));
    long.resize(2049, 0);
    b.hear();
    for odd in [
        &long[..],
        &[],
        &[0x80],
        &[0x80; 11],
        b"\r\n\r\n",
        &[0x40; 12],
    ] {
        a.rtp.send_to(odd, to_a).unwrap();
    }
    a.talk(to_a);
    b.hear();
    b.hears_nothing();
    rig.report();
    let dropped = rig
        .handle()
        .counters()
        .dropped_malformed
        .load(Ordering::Relaxed);
    assert_eq!(dropped, 6);
    rig.close();
}

/// Returns a place of a hundred ports that nobody has, and that the kernel gives to nobody who names none.
fn quiet_place() -> u16 {
    let first = std::process::id() % 200 * 100;
    let places = (first..20_000).step_by(100).chain((0..first).step_by(100));
    let mut places = places.filter_map(|place| u16::try_from(10_000 + place).ok());
    let is_free = |from: &u16| (*from..*from + 100).all(|at| UdpSocket::bind((V4, at)).is_ok());
    places.find(is_free).unwrap()
}

#[test]
fn the_last_ports_are_kept_for_calls_that_stand() {
    let from = quiet_place();
    // Others may have some of them all the same.
    let _others = [10, 50, 51, 90].map(|at| UdpSocket::bind((V4, from + at)).unwrap());
    let rig = Rig::new(|settings| {
        settings.ports = from..=from + 99;
        settings.reserve = Reserve {
            standing: 0.2,
            known: 0.5,
        };
    });
    let open = |claim, generation, streams| {
        let place = (Side::Caller, generation);
        rig.open_for(claim, place, V4, streams, Vec::new())
            .is_some()
    };
    // Of 50 pairs 25 are not for strangers, and 10 for nobody but calls that stand.
    assert!(open(Claim::Stranger, 1, 16));
    assert!(!open(Claim::Stranger, 2, 16));
    assert!(open(Claim::Known, 3, 16));
    assert!(!open(Claim::Known, 4, 9));
    assert!(open(Claim::Standing, 5, 9));
    let refused = &rig.handle().counters().reading().ports_refused;
    assert_eq!(*refused, [0, 1, 1]);
    // What is given back has to rest, and is not there before.
    rig.handle().command(MediaCommand::CloseSide {
        media: CALL,
        side: Side::Caller,
        generation: 1,
    });
    assert!(!open(Claim::Stranger, 6, 1));
    // Another reading of the configuration keeps nothing.
    rig.handle().reserve(Reserve {
        standing: 0.0,
        known: 0.0,
    });
    assert!(open(Claim::Stranger, 7, 1));
}
