//! The torture messages of RFC 4475 and RFC 5118, as they are, over real sockets to the running
//! server: what it answers, and that it goes on.

use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use refork::sip::{Message, Method};
use refork::ua::Transport;
use rustls::{ClientConnection, StreamOwned};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::{Message as Frame, WebSocket};

use crate::secure::House;
use crate::stage::{SOON, Stage};

/// What a message must bring.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It is well formed: any answer but 400 and 500.
    Understood,
    /// One of these.
    One(&'static [u16]),
    /// Any answer but a 2xx.
    Refused,
    /// A response that matches nothing.
    Silence,
    /// Whatever it is answered, the server goes on.
    Survived,
}

use Outcome::{One, Refused, Silence, Survived, Understood};

const TABLE: &[(&str, Outcome)] = &[
    ("rfc4475/wsinv", Understood),
    ("rfc4475/intmeth", Understood),
    ("rfc4475/esc01", Understood),
    ("rfc4475/escnull", Understood),
    // %-escapes in a method are no escapes: this is no REGISTER.
    ("rfc4475/esc02", Refused),
    ("rfc4475/lwsdisp", Understood),
    ("rfc4475/longreq", Understood),
    ("rfc4475/dblreq", Understood),
    ("rfc4475/semiuri", Understood),
    ("rfc4475/transports", Understood),
    ("rfc4475/mpart01", Understood),
    ("rfc4475/unreason", Silence),
    ("rfc4475/noreason", Silence),
    ("rfc4475/badinv01", One(&[400])),
    ("rfc4475/clerr", One(&[400])),
    ("rfc4475/ncl", One(&[400])),
    ("rfc4475/scalar02", One(&[400])),
    ("rfc4475/scalarlg", Silence),
    ("rfc4475/quotbal", One(&[400])),
    ("rfc4475/ltgtruri", One(&[400])),
    ("rfc4475/lwsruri", One(&[400])),
    ("rfc4475/lwsstart", One(&[400])),
    ("rfc4475/trws", One(&[400])),
    ("rfc4475/escruri", One(&[400])),
    ("rfc4475/baddate", One(&[400])),
    ("rfc4475/regbadct", One(&[400])),
    ("rfc4475/badaspec", One(&[400])),
    ("rfc4475/baddn", One(&[400])),
    ("rfc4475/badvers", One(&[505])),
    ("rfc4475/mismatch01", One(&[400])),
    ("rfc4475/mismatch02", One(&[400, 405, 501])),
    ("rfc4475/bigcode", Silence),
    ("rfc4475/badbranch", Survived),
    ("rfc4475/insuf", One(&[400])),
    ("rfc4475/unkscm", One(&[400, 404, 416])),
    ("rfc4475/novelsc", One(&[400, 404, 416])),
    ("rfc4475/unksm2", One(&[400, 401, 403, 404, 407, 416])),
    ("rfc4475/bext01", One(&[420])),
    ("rfc4475/invut", One(&[401, 403, 404, 407, 415, 480])),
    ("rfc4475/regaut01", One(&[400, 401, 403, 404, 407])),
    ("rfc4475/multi01", One(&[400])),
    ("rfc4475/mcl01", One(&[400])),
    ("rfc4475/bcast", Silence),
    ("rfc4475/zeromf", One(&[200, 483])),
    ("rfc4475/cparam01", Understood),
    ("rfc4475/cparam02", Understood),
    ("rfc4475/regescrt", Understood),
    ("rfc4475/sdp01", Understood),
    ("rfc4475/inv2543", Survived),
    ("rfc5118/ipv6-good", Understood),
    ("rfc5118/ipv6-bad", One(&[400])),
    ("rfc5118/port-ambiguous", Survived),
    ("rfc5118/port-unambiguous", Understood),
    ("rfc5118/via-received-param-with-delim", Understood),
    ("rfc5118/via-received-param-no-delim", Understood),
    ("rfc5118/ipv6-in-sdp", Understood),
    ("rfc5118/mult-ip-in-header", Understood),
    ("rfc5118/mult-ip-in-sdp", Understood),
    ("rfc5118/ipv4-mapped-ipv6", Understood),
    ("rfc5118/ipv6-bug-abnf-3-colons", Survived),
    ("rfc5118/ipv6-correct-abnf-2-colons", Understood),
];

impl Outcome {
    fn is_met_by(self, answer: Option<u16>) -> bool {
        match (self, answer) {
            (Understood, Some(status)) => status != 400 && status != 500,
            (One(statuses), Some(status)) => statuses.contains(&status),
            (Refused, Some(status)) => status >= 300,
            (Silence, answer) => answer.is_none(),
            (Survived, _) => true,
            (Understood | One(_) | Refused, None) => false,
        }
    }

    /// Returns true where nothing more is to be waited for once the server has shown that it goes on.
    fn may_be_silent(self) -> bool {
        matches!(self, Silence | Survived)
    }
}

fn load(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    std::fs::read(root.join(name).with_extension("dat")).unwrap()
}

/// A question that shows that the server goes on. It has the message's Call-ID, and so is taken after it.
fn options(message: &[u8], number: usize, transport: &str, from: SocketAddr) -> String {
    let text = String::from_utf8_lossy(message);
    let call_id = text
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let name = name.trim();
            ["call-id", "i"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
                .then(|| value.trim().to_owned())
        })
        .unwrap_or_else(|| format!("none-{number}"));
    format!(
        "OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/{transport} {from};branch=z9hG4bKalive{number};rport\r\n\
         From: <sip:judge@example.net>;tag=j{number}\r\nTo: <sip:example.org>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// On a stream another message follows that of `dblreq`; the table speaks of the first.
const SECOND: &str = "dblreq.0ha0isnda977644900765@192.0.2.15";

/// The final answers that have come: to the message, and to the question.
#[derive(Debug, Default)]
struct Heard {
    answer: Option<u16>,
    alive: Option<u16>,
    /// The connection was closed.
    closed: bool,
}

impl Heard {
    fn take(&mut self, bytes: &[u8], number: usize) {
        // What answers nonsense repeats it, so it need not parse.
        let text = String::from_utf8_lossy(bytes);
        let status = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
        let status: u16 = status.unwrap().parse().unwrap();
        if status < 200 || text.contains(SECOND) {
            return;
        }
        if text.contains(&format!("z9hG4bKalive{number};")) {
            self.alive = Some(status);
        } else {
            self.answer = Some(status);
        }
    }

    fn is_done(&self, outcome: Outcome) -> bool {
        self.alive.is_some() && (self.answer.is_some() || outcome.may_be_silent())
    }
}

/// The ports that a Via without `rport` may have the answer sent to (RFC 3261 18.2.2).
const PORTS: [u16; 6] = [5060, 5061, 5050, 5070, 6050, 19823];

/// Sends a message by UDP, from an address of its own, so that no late answer is taken for another's.
fn over_udp(name: &str, outcome: Outcome, number: usize, stage: &Stage) -> Heard {
    let server = stage.sip(Transport::Udp, false);
    let process = std::process::id().to_be_bytes();
    let own = IpAddr::V4(Ipv4Addr::new(
        127,
        100 + number as u8,
        process[2],
        process[3].clamp(2, 253),
    ));
    let sockets = PORTS.map(|port| UdpSocket::bind((own, port)).unwrap());
    let asks = &sockets[0];
    asks.set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    for socket in &sockets[1..] {
        socket.set_nonblocking(true).unwrap();
    }
    let message = load(name);
    asks.send_to(&message, server).unwrap();
    let from = asks.local_addr().unwrap();
    let question = options(&message, number, "UDP", from);
    asks.send_to(question.as_bytes(), server).unwrap();
    let mut heard = Heard::default();
    let ends = stage.log.now() + SOON;
    let mut buffer = [0; 65536];
    while !heard.is_done(outcome) && stage.log.now() < ends {
        for socket in &sockets {
            if let Ok(length) = socket.recv(&mut buffer) {
                heard.take(&buffer[..length], number);
            }
        }
    }
    heard
}

/// A connection that a message is sent over as it is.
enum Wire {
    Stream(Box<dyn Stream>),
    /// One message a frame (RFC 7118 4.2).
    Web(Box<WebSocket<TcpStream>>),
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Wire {
    /// Returns it, and the address that it has at this end.
    fn open(house: &House, transport: Transport) -> (Self, SocketAddr) {
        let server = house.stage.sip(transport, false);
        let socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let from = socket.local_addr().unwrap();
        let wire = match transport {
            Transport::Tls => {
                let name = "example.org".try_into().unwrap();
                let trust = Arc::clone(&house.trust);
                let session = ClientConnection::new(trust, name).unwrap();
                Self::Stream(Box::new(StreamOwned::new(session, socket)))
            }
            Transport::Ws => {
                let mut request = "ws://example.org/".into_client_request().unwrap();
                let sip = HeaderValue::from_static("sip");
                request.headers_mut().insert("Sec-WebSocket-Protocol", sip);
                Self::Web(Box::new(tungstenite::client(request, socket).unwrap().0))
            }
            Transport::Udp | Transport::Tcp | Transport::Wss => Self::Stream(Box::new(socket)),
        };
        (wire, from)
    }

    fn send(&mut self, bytes: &[u8]) {
        // It may be closed for what came before.
        match self {
            Self::Stream(stream) => drop(stream.write_all(bytes).and_then(|()| stream.flush())),
            Self::Web(socket) => drop(socket.send(Frame::binary(bytes.to_vec()))),
        }
    }

    /// Listens until enough is heard. Returns false where it was closed, or nothing came for long.
    fn listen(
        &mut self,
        heard: &mut Heard,
        number: usize,
        is_done: impl Fn(&Heard) -> bool,
    ) -> bool {
        let mut bytes = Vec::new();
        let mut buffer = [0; 65536];
        while !is_done(heard) {
            let came = match self {
                Self::Stream(stream) => stream.read(&mut buffer),
                Self::Web(socket) => match socket.read() {
                    Ok(frame) => {
                        let frame = frame.into_data();
                        buffer[..frame.len()].copy_from_slice(&frame);
                        Ok(frame.len())
                    }
                    Err(tungstenite::Error::Io(error)) => Err(error),
                    Err(error) => Err(io::Error::other(error.to_string())),
                },
            };
            let length = match came {
                Ok(length) if length > 0 => length,
                Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => return false,
                Ok(_) | Err(_) => {
                    heard.closed = true;
                    return false;
                }
            };
            bytes.extend_from_slice(&buffer[..length]);
            // None of the answers has a body.
            while let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                let answer: Vec<u8> = bytes.drain(..end + 4).collect();
                heard.take(&answer, number);
            }
        }
        true
    }
}

/// Sends a message over a connection, and the question after it: its answer comes behind all that the message is
/// answered. What cannot be framed closes the connection, then the question has its own.
fn connected(
    name: &str,
    outcome: Outcome,
    number: usize,
    house: &House,
    transport: Transport,
) -> Heard {
    let message = load(name);
    let mut heard = Heard::default();
    let (mut wire, from) = Wire::open(house, transport);
    let word = match transport {
        Transport::Tls => "TLS",
        Transport::Ws => "WS",
        Transport::Udp | Transport::Tcp | Transport::Wss => "TCP",
    };
    let question = options(&message, number, word, from);
    wire.send(&message);
    if outcome.may_be_silent() {
        wire.send(question.as_bytes());
        if wire.listen(&mut heard, number, |heard| heard.alive.is_some()) {
            return heard;
        }
    } else {
        wire.listen(&mut heard, number, |heard| heard.answer.is_some());
    }
    let (mut another, from) = Wire::open(house, transport);
    another.send(options(&message, number, word, from).as_bytes());
    another.listen(&mut heard, number, |heard| heard.alive.is_some());
    heard
}

/// What says that it is longer than it is: on a stream the rest of it is waited for, and in vain.
const UNFINISHED: &str = "rfc4475/clerr";

fn endure(transport: Transport) {
    let house = House::with(|config| {
        // Each is an offence over a connection: the judge must not be shut out.
        config.bans.after = 10_000;
        config.limits.header_timeout = Duration::from_millis(500);
    });
    let mut wrong = Vec::new();
    for (number, (name, outcome)) in TABLE.iter().enumerate() {
        let heard = match transport {
            Transport::Udp => over_udp(name, *outcome, number, &house.stage),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                connected(name, *outcome, number, &house, transport)
            }
        };
        let framed = matches!(transport, Transport::Tcp | Transport::Tls);
        let cut_off = framed && *name == UNFINISHED && heard.closed && heard.answer.is_none();
        if heard.alive != Some(200) || !cut_off && !outcome.is_met_by(heard.answer) {
            wrong.push(format!("{name}: {outcome:?}, but {heard:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    house.stage.finish();
}

#[test]
fn every_torture_message_over_udp() {
    endure(Transport::Udp);
}

#[test]
fn every_torture_message_over_tcp() {
    endure(Transport::Tcp);
}

#[test]
fn every_torture_message_over_tls() {
    endure(Transport::Tls);
}

#[test]
fn every_torture_message_over_a_websocket() {
    endure(Transport::Ws);
}

/// The messages are sent as they are, so a file that no longer is what the table says would not show.
#[test]
fn what_is_understood_is_what_parses() {
    for (name, outcome) in TABLE {
        let parsed = Message::parse(Bytes::from(load(name)));
        if matches!(outcome, Understood) {
            let message = parsed.unwrap_or_else(|_| panic!("{name} does not parse"));
            assert_ne!(*message.method(), Method::Ack, "{name}");
        }
    }
}
