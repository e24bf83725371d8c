//! The layer as a whole, told as ladders.

mod cancel;
mod client;
mod matching;
mod random;
mod server;

use std::collections::VecDeque;

use bytes::Bytes;

use super::{ClientId, Heard, Of, ServerId, Transactions};
use crate::engine::events::{Event, Retransmission};
use crate::engine::ids::{ConnectionId, ConversationId, Flow, ListenerId, Transport};
use crate::engine::ports::Output;
use crate::engine::settings::TimerSettings;
use crate::engine::time::{Millis, Time};
use crate::sip::{Builder, Message, reason_phrase};

const TIMERS: TimerSettings = TimerSettings {
    t1: Millis(500),
    t2: Millis(4000),
    t4: Millis(5000),
};
const START: Time = Time(1_000_000);

/// A layer, a clock, and what came of it.
struct Bench {
    layer: Transactions<&'static str, &'static str>,
    now: Time,
    out: VecDeque<Output>,
    /// The server transaction heard of last.
    server: Option<ServerId>,
    /// Where the last message went.
    sent_to: Option<Flow>,
    sent: Vec<Message>,
    retransmitted: (u32, u32),
    /// Whose the last copy or time-out was.
    of: Option<ConversationId>,
}

/// Contexts that begin so are of a conversation.
impl Of for &'static str {
    fn conversation(&self) -> Option<ConversationId> {
        let id = self.strip_prefix("of ")?.parse();
        id.ok().map(ConversationId)
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            layer: Transactions::new(TIMERS, START),
            now: START,
            out: VecDeque::new(),
            server: None,
            sent_to: None,
            sent: Vec::new(),
            retransmitted: (0, 0),
            of: None,
        }
    }

    fn receive(&mut self, text: &str, flow: Flow) -> Vec<String> {
        let message = parse(text);
        self.layer.receive(message, flow, self.now, &mut self.out);
        self.seen()
    }

    fn request(&mut self, text: &str, flow: Flow) -> ClientId {
        self.request_with("context", text, flow)
    }

    fn request_with(&mut self, context: &'static str, text: &str, flow: Flow) -> ClientId {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.layer
            .request(bytes, flow, context, self.now, &mut self.out)
    }

    fn cancel(&mut self, client: ClientId) -> Vec<String> {
        let reason = Some("SIP ;cause=200");
        self.layer.cancel(client, reason, self.now, &mut self.out);
        self.seen()
    }

    /// Answers the request heard of last.
    fn respond(&mut self, status: u16) -> Vec<String> {
        let server = self.server.expect("a request was heard of");
        let bytes = match self.layer.request_of(server) {
            Some((request, flow)) => Builder::respond(
                request,
                status,
                reason_phrase(status),
                Some("ours"),
                flow.peer,
            )
            .end(),
            None => Bytes::from_static(b"SIP/2.0 200 too late\r\n\r\n"),
        };
        self.layer
            .respond(server, status, bytes, self.now, &mut self.out);
        self.seen()
    }

    fn fail(&mut self, flow: Flow) -> Vec<String> {
        self.layer.flow_failed(
            flow.transport,
            flow.peer,
            flow.connection,
            self.now,
            &mut self.out,
        );
        self.seen()
    }

    /// Lets time pass; what happens in it is marked with its milliseconds.
    fn pass(&mut self, span: u64) -> Vec<String> {
        let (start, end) = (self.now, self.now + Millis(span));
        let mut all = Vec::new();
        while let Some(due) = self.layer.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.layer.handle_timeout(self.now, &mut self.out);
            let at = self.now.since(start).0;
            all.extend(self.seen().into_iter().map(|what| format!("{at} {what}")));
        }
        self.now = end;
        self.layer.handle_timeout(end, &mut self.out);
        assert!(self.seen().is_empty(), "the timeout that was told was late");
        all
    }

    /// What was done and told since the last time.
    fn seen(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(output) = self.out.pop_front() {
            match &output {
                Output::Send { flow, bytes } => {
                    let message = Message::parse(bytes.clone()).expect("what is sent can be read");
                    all.push(format!("send {}", summary(&message)));
                    self.sent_to = Some(*flow);
                    self.sent.push(message);
                }
                Output::Event {
                    of,
                    event: Event::Retransmitted { kind },
                } => {
                    self.of = *of;
                    match kind {
                        Retransmission::Received => self.retransmitted.0 += 1,
                        Retransmission::Sent => self.retransmitted.1 += 1,
                    }
                }
                Output::Event {
                    of,
                    event: Event::TransactionTimeout { method },
                } => {
                    self.of = *of;
                    all.push(format!("count {method} timeout"));
                }
                Output::Event {
                    event: Event::Refused { status, .. },
                    ..
                } => {
                    all.push(format!("count {status} of ours"));
                }
                Output::Event {
                    event: Event::Stray { what },
                    ..
                } => all.push(format!("count stray {what}")),
                Output::Event { .. }
                | Output::Resolve { .. }
                | Output::Media(_)
                | Output::Persist { .. }
                | Output::Forget { .. }
                | Output::Bindings(_)
                | Output::Observed(_)
                | Output::Record(_)
                | Output::Inquiry(_)
                | Output::Handover(_)
                | Output::Moved(_)
                | Output::Lit(_)
                | Output::Watches(_)
                | Output::Forward(_)
                | Output::Found(_) => panic!("a layer of transactions does not {output:?}"),
            }
        }
        while let Some(heard) = self.layer.poll_heard() {
            all.push(match heard {
                Heard::Request {
                    server, request, ..
                } => {
                    self.server = Some(server);
                    format!("tell {}", summary(&request))
                }
                Heard::Ack { request, .. } => format!("tell {}", summary(&request)),
                Heard::Cancelled { context, .. } => format!("tell cancelled {context:?}"),
                Heard::Response { response, .. } => format!("tell {}", summary(&response)),
                Heard::Timeout { .. } => "tell timeout".into(),
                Heard::Unreachable { .. } => "tell unreachable".into(),
                Heard::Severed { closed: true, .. } => "tell severed".into(),
                Heard::Severed { closed: false, .. } => "tell doubted".into(),
                Heard::NoAck { context, .. } => format!("tell no ack {context:?}"),
                Heard::Stray { response, .. } => format!("tell stray {}", summary(&response)),
            });
        }
        all
    }

    fn last_sent(&self) -> &Message {
        self.sent.last().expect("something was sent")
    }

    fn assert_empty(&self) {
        assert_eq!((self.layer.counts(), self.layer.timers()), ((0, 0), 0));
        assert_eq!(self.layer.indexed(), (0, 0));
        assert_eq!(self.layer.poll_timeout(), None);
    }
}

fn summary(message: &Message) -> String {
    let method = message.method().as_str();
    match message.status() {
        0 => method.to_owned(),
        status => format!("{status} {method}"),
    }
}

fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("a test's message can be read")
}

/// The peer's usual flow.
fn udp() -> Flow {
    udp_from("192.0.2.1:5060")
}

fn udp_from(peer: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        listener: ListenerId(0),
        peer: peer.parse().expect("an address"),
        connection: None,
    }
}

fn tcp(connection: u64) -> Flow {
    Flow {
        transport: Transport::Tcp,
        listener: ListenerId(1),
        peer: "192.0.2.1:40000".parse().expect("an address"),
        connection: Some(ConnectionId(connection)),
    }
}

/// A request of ours to a peer.
fn ours(method: &str) -> String {
    format!(
        "{method} sip:bob@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKours;rport\r\n\
         Max-Forwards: 69\r\n\
         Route: <sip:first.example;lr>, <sip:second.example;lr>\r\n\
         Route: <sip:third.example;lr>\r\n\
         From: <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.org>\r\n\
         Call-ID: ours@198.51.100.1\r\n\
         CSeq: 7 {method}\r\n\
         Contact: <sip:alice@198.51.100.1>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A peer's answer to it; `tag` tells forks apart.
fn answer(status: u16, method: &str, tag: &str) -> String {
    format!(
        "SIP/2.0 {status} {}\r\n\
         Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKours;rport=5060\r\n\
         From: <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.org>;tag={tag}\r\n\
         Call-ID: ours@198.51.100.1\r\n\
         CSeq: 7 {method}\r\n\
         Content-Length: 0\r\n\r\n",
        reason_phrase(status)
    )
}

/// A request of a peer.
fn theirs(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:alice@198.51.100.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5070;branch={branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:bob@example.org>;tag=b\r\n\
         To: <sip:alice@example.org>\r\n\
         Call-ID: theirs@192.0.2.1\r\n\
         CSeq: 3 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}
