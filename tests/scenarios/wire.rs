//! A phone that says what its test has it say: for flows that `refork::ua` does not know.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use refork::sip::digest::{Challenge, ha1};
use refork::sip::{Address, Message, Method, Name, reason_phrase};
use refork::ua::{Log, Transport};

use crate::stage::{PASSWORD, SOON, Stage, pause};

/// A request that may go out once more with credentials.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: String,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
    /// Further header lines, each with its end.
    pub(crate) more: String,
    pub(crate) sdp: String,
    branch: String,
}

/// A dialog as this end has it.
pub(crate) struct Dialog {
    local: String,
    remote: String,
    call_id: String,
    cseq: u32,
    target: String,
}

impl Dialog {
    /// That of a request which a 2xx has answered.
    pub(crate) fn begun(request: &Request, ok: &Message) -> Self {
        Self {
            local: request.from.clone(),
            remote: ok.header(Name::To).unwrap().to_owned(),
            call_id: request.call_id.clone(),
            cseq: request.cseq,
            target: contact(ok),
        }
    }
}

pub(crate) struct Wire {
    user: &'static str,
    socket: UdpSocket,
    /// Where its sound is sent from and comes to.
    pub(crate) sound: UdpSocket,
    server: SocketAddr,
    seen: HashSet<Bytes>,
    waiting: Vec<Message>,
    number: u32,
    /// A clock.
    log: Log,
}

impl Wire {
    /// Somebody at an address, whom nobody knows yet.
    pub(crate) fn bind(user: &'static str, ip: Ipv4Addr) -> Self {
        let open = || {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            let timeout = Some(Duration::from_millis(100));
            socket.set_read_timeout(timeout).unwrap();
            socket
        };
        let (socket, sound) = (open(), open());
        Self {
            user,
            server: socket.local_addr().unwrap(),
            socket,
            sound,
            seen: HashSet::new(),
            waiting: Vec::new(),
            number: 0,
            log: Log::start(),
        }
    }

    /// A user of the stage's server.
    pub(crate) fn of(stage: &Stage, user: &'static str) -> Self {
        Self::at(stage, user, Ipv4Addr::LOCALHOST)
    }

    pub(crate) fn at(stage: &Stage, user: &'static str, ip: Ipv4Addr) -> Self {
        Self {
            server: stage.sip(Transport::Udp, false),
            ..Self::bind(user, ip)
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Describes its sound.
    pub(crate) fn sdp(&self, version: u32, direction: &str) -> String {
        self.sdp_at(self.sound.local_addr().unwrap(), version, direction)
    }

    /// Describes sound that is somewhere else.
    pub(crate) fn sdp_at(&self, at: SocketAddr, version: u32, direction: &str) -> String {
        let (ip, port) = (at.ip(), at.port());
        format!(
            "v=0\r\no=- 7 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n"
        )
    }

    fn own(&self) -> String {
        format!("<sip:{}@example.org>", self.user)
    }

    fn fresh(&mut self) -> String {
        self.number += 1;
        format!("{}x{}", self.number, self.local().port())
    }

    /// A first request to a URI.
    pub(crate) fn first(&mut self, method: Method, uri: &str) -> Request {
        let id = self.fresh();
        Request {
            method,
            uri: uri.to_owned(),
            from: format!("{};tag={id}", self.own()),
            to: format!("<{uri}>"),
            call_id: format!("{id}@{}", self.local().ip()),
            cseq: 1,
            more: String::new(),
            sdp: String::new(),
            branch: String::new(),
        }
    }

    /// The next request of a dialog.
    pub(crate) fn within(&self, dialog: &mut Dialog, method: Method) -> Request {
        dialog.cseq += 1;
        Request {
            method,
            uri: dialog.target.clone(),
            from: dialog.local.clone(),
            to: dialog.remote.clone(),
            call_id: dialog.call_id.clone(),
            cseq: dialog.cseq,
            more: String::new(),
            sdp: String::new(),
            branch: String::new(),
        }
    }

    pub(crate) fn send(&mut self, request: &mut Request) {
        request.branch = format!("z9hG4bK{}", self.fresh());
        self.write(request, request.cseq);
    }

    fn write(&self, request: &Request, cseq: u32) {
        let Request {
            method,
            uri,
            from,
            to,
            call_id,
            more,
            sdp,
            branch,
            ..
        } = request;
        let (method, at) = (method.as_str(), self.local());
        let kind = content_type(sdp);
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch={branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{}@{at}>\r\n{more}{kind}\
             Content-Length: {}\r\n\r\n{sdp}",
            self.user,
            sdp.len()
        );
        self.socket.send_to(text.as_bytes(), self.server).unwrap();
    }

    /// Sends a request, is asked for proof, and sends it again with that.
    pub(crate) fn prove(&mut self, request: &mut Request) {
        self.send(request);
        let challenged = self.response(request, |status| status >= 200);
        let (asked, answer) = match challenged.status() {
            401 => (Name::WwwAuthenticate, "Authorization"),
            407 => (Name::ProxyAuthenticate, "Proxy-Authorization"),
            other => panic!("{other} and no challenge"),
        };
        let challenge = challenged.fields(asked).find_map(Challenge::parse).unwrap();
        let (method, user) = (request.method.as_str(), self.user);
        let ha1 = ha1(challenge.algorithm, user, challenge.realm, PASSWORD);
        let proof = challenge.answer(user, &ha1, method, &request.uri, "c");
        request.more += &format!("{answer}: {proof}\r\n");
        request.cseq += 1;
        self.send(request);
    }

    /// Returns the final response to a request, with its proof where it is asked for.
    pub(crate) fn ask(&mut self, request: &mut Request) -> Message {
        self.prove(request);
        self.response(request, |status| status >= 200)
    }

    /// Waits for a response to a request; a refused INVITE has its ACK (RFC 3261 17.1.1.3).
    pub(crate) fn response(&mut self, request: &Request, wanted: impl Fn(u16) -> bool) -> Message {
        let what = format!("a response to {}", request.method.as_str());
        let response = self.hears(&what, |message| {
            !message.is_request()
                && message.branch() == Some(&request.branch)
                && wanted(message.status())
        });
        if request.method == Method::Invite && response.status() >= 300 {
            let ack = Request {
                method: Method::Ack,
                to: response.header(Name::To).unwrap().to_owned(),
                more: String::new(),
                sdp: String::new(),
                ..request.clone()
            };
            self.write(&ack, request.cseq);
        }
        response
    }

    /// Takes an INVITE back (RFC 3261 9.1).
    pub(crate) fn cancel(&self, invite: &Request) {
        let cancel = Request {
            method: Method::Cancel,
            more: String::new(),
            sdp: String::new(),
            ..invite.clone()
        };
        self.write(&cancel, invite.cseq);
    }

    /// Waits for a request.
    pub(crate) fn request(&mut self, method: &Method) -> Message {
        self.hears(method.as_str(), |message| {
            message.is_request() && message.method() == method
        })
    }

    /// Waits for a message; what else comes is kept for later, and what comes again is dropped.
    fn hears(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        let ends = self.log.now() + SOON;
        loop {
            if let Some(at) = self.waiting.iter().position(&wanted) {
                return self.waiting.remove(at);
            }
            let mut buffer = [0; 65536];
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                self.server = from;
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                // Pings that keep the flow are no messages.
                if let Ok(message) = Message::parse(bytes.clone())
                    && self.seen.insert(bytes)
                {
                    self.waiting.push(message);
                }
            }
            let user = self.user;
            assert!(self.log.now() < ends, "{user} waits for {what} in vain");
        }
    }

    /// Answers a request under a tag.
    pub(crate) fn answer(&self, request: &Message, status: u16, tag: &str, more: &str, sdp: &str) {
        let line = |name: &str, value: &str| format!("{name}: {value}\r\n");
        let vias: String = request.vias().map(|via| line("Via", via)).collect();
        let (from, to) = (request.header(Name::From), request.header(Name::To));
        let tag = match request.to_tag() {
            None => format!(";tag={tag}"),
            Some(_) => String::new(),
        };
        let text = format!(
            "SIP/2.0 {status} {}\r\n{vias}From: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\n\
             CSeq: {} {}\r\nContact: <sip:{}@{}>\r\n{more}{}Content-Length: {}\r\n\r\n{sdp}",
            reason_phrase(status),
            from.unwrap(),
            to.unwrap(),
            request.call_id(),
            request.cseq(),
            request.method().as_str(),
            self.user,
            self.local(),
            content_type(sdp),
            sdp.len()
        );
        self.socket.send_to(text.as_bytes(), self.server).unwrap();
    }

    /// Acknowledges a 2xx, perhaps with an answer in it. Returns the dialog.
    pub(crate) fn acknowledge(&mut self, invite: &Request, ok: &Message, sdp: &str) -> Dialog {
        let mut dialog = Dialog {
            cseq: invite.cseq - 1,
            ..Dialog::begun(invite, ok)
        };
        let mut ack = self.within(&mut dialog, Method::Ack);
        ack.sdp = sdp.to_owned();
        self.send(&mut ack);
        dialog
    }

    /// Calls with an offer, until the call stands.
    pub(crate) fn call(&mut self, uri: &str, offer: &str) -> (Dialog, Message) {
        let mut invite = self.first(Method::Invite, uri);
        invite.sdp = offer.to_owned();
        let ok = self.ask(&mut invite);
        assert_eq!(ok.status(), 200);
        (self.acknowledge(&invite, &ok, ""), ok)
    }

    /// Takes a call with an answer, until it stands.
    pub(crate) fn takes(&mut self, answer: &str) -> (Dialog, Message) {
        let invite = self.request(&Method::Invite);
        self.answer(&invite, 200, "taken", "", answer);
        self.request(&Method::Ack);
        (Dialog::of_invite(&invite, "taken"), invite)
    }

    /// Hangs up.
    pub(crate) fn leave(&mut self, dialog: &mut Dialog) {
        let mut bye = self.within(dialog, Method::Bye);
        self.send(&mut bye);
        let ok = self.response(&bye, |status| status >= 200);
        assert_eq!(ok.status(), 200);
    }

    /// Hangs up on another one of these, who answers.
    pub(crate) fn leave_answered(&mut self, dialog: &mut Dialog, other: &mut Self) {
        let mut bye = self.within(dialog, Method::Bye);
        self.send(&mut bye);
        let there = other.request(&Method::Bye);
        other.answer(&there, 200, "", "", "");
        let ok = self.response(&bye, |status| status >= 200);
        assert_eq!(ok.status(), 200);
    }

    /// Registers, or with 0 seconds takes its binding away.
    pub(crate) fn register(&mut self, seconds: u32) {
        let mut register = self.first(Method::Register, "sip:example.org");
        register.to = self.own();
        register.more = format!("Expires: {seconds}\r\n");
        assert_eq!(self.ask(&mut register).status(), 200);
    }

    /// Says this voice to a port of the server's until somebody hears it.
    pub(crate) fn speaks(&self, to: SocketAddr, voice: u8, heard: impl Fn() -> bool) {
        let ends = self.log.now() + SOON;
        let mut number: u16 = 1;
        while !heard() {
            let mut packet = vec![0x80, 0];
            packet.extend(number.to_be_bytes());
            packet.extend((u32::from(number) * 160).to_be_bytes());
            packet.extend([1, 2, 3, voice]);
            packet.extend([voice; 160]);
            self.sound.send_to(&packet, to).unwrap();
            number += 1;
            pause();
            assert!(self.log.now() < ends, "nobody hears {voice:#04x}");
        }
    }

    /// Hears somebody with this voice.
    pub(crate) fn hears_voice(&self, voice: u8) {
        let ends = self.log.now() + SOON;
        let mut buffer = [0; 2048];
        loop {
            let length = self.sound.recv(&mut buffer).unwrap_or(0);
            if length > 12 && buffer[12] == voice {
                return;
            }
            let user = self.user;
            assert!(self.log.now() < ends, "{user} hears no voice {voice:#04x}");
        }
    }

    /// Returns true where no sound comes for a while, once what was on its way has been read.
    pub(crate) fn hears_nothing(&self) -> bool {
        let mut buffer = [0; 2048];
        let ends = self.log.now() + SOON;
        while self.log.now() < ends {
            if self.sound.recv(&mut buffer).is_err() {
                return true;
            }
        }
        false
    }
}

impl Dialog {
    pub(crate) fn of_invite(invite: &Message, tag: &str) -> Self {
        Self {
            local: format!("{};tag={tag}", invite.header(Name::To).unwrap()),
            remote: invite.header(Name::From).unwrap().to_owned(),
            call_id: invite.call_id().to_owned(),
            cseq: 0,
            target: contact(invite),
        }
    }
}

/// Returns the port of the sound that a message describes.
pub(crate) fn sound_of(message: &Message) -> SocketAddr {
    let text = std::str::from_utf8(message.body()).unwrap();
    let (_, rest) = text.split_once("c=IN IP4 ").unwrap();
    let ip = rest.lines().next().unwrap().parse().unwrap();
    let (_, rest) = text.split_once("m=audio ").unwrap();
    let port = rest.split(' ').next().unwrap().parse().unwrap();
    SocketAddr::new(ip, port)
}

fn contact(message: &Message) -> String {
    let value = message.values(Name::Contact).next().unwrap();
    Address::parse(value).unwrap().uri.to_owned()
}

fn content_type(sdp: &str) -> &'static str {
    match sdp {
        "" => "",
        _ => "Content-Type: application/sdp\r\n",
    }
}
