//! What phones and the PBX say: anything at all, and what fits the dialogs that they are in.

use std::fmt::Write;

use bytes::Bytes;
use refork::engine::ids::Flow;
use refork::sip::digest::{self, Challenge};
use refork::sip::{Builder, Message, Method, Name};

use super::site::{PASSWORD, PBX, PEERS, flow};
use super::{Bench, Choices};

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "nobody"];
/// Who is asked for: mostly those who are at home.
const ASKED: [&str; 8] = [
    "bob", "carol", "bob", "carol", "bob", "carol", "alice", "nobody",
];
const METHODS: [&str; 16] = [
    "INVITE",
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "MESSAGE",
    "INFO",
    "UPDATE",
    "PRACK",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "PUBLISH",
    "ODD",
];
/// Within a dialog.
const WITHIN: [&str; 16] = [
    "ACK", "ACK", "ACK", "INVITE", "INVITE", "UPDATE", "UPDATE", "PRACK", "PRACK", "REFER",
    "REFER", "MESSAGE", "INFO", "BYE", "OPTIONS", "NOTIFY",
];
const STATUSES: [u16; 20] = [
    100, 180, 183, 183, 200, 200, 200, 200, 202, 302, 401, 407, 408, 422, 481, 486, 487, 491, 503,
    603,
];
const LINES: [&str; 16] = [
    "Require: 100rel\r\n",
    "Supported: timer, replaces, 100rel, norefersub\r\n",
    "Session-Expires: 90;refresher=uac\r\n",
    "Session-Expires: 1800;refresher=uas\r\nSupported: timer\r\n",
    "Min-SE: 4000000000\r\n",
    "Expires: 0\r\n",
    "Max-Forwards: 0\r\n",
    "Record-Route: <sip:192.0.2.9;lr>, <sip:192.0.2.8>\r\n",
    "Route: <sip:192.0.2.1;lr>\r\n",
    "Refer-To: <sip:carol@example.org>\r\n",
    "Event: refer\r\nSubscription-State: active\r\n",
    "Reason: SIP;cause=503, Q.850;cause=38\r\n",
    "RSeq: 1\r\nRAck: 1 1 INVITE\r\nRetry-After: 3\r\n",
    "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, MESSAGE, REFER, NOTIFY\r\n",
    "Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000\r\n",
    "Allow: INVITE, ACK, BYE, CANCEL\r\nUser-Agent: Old/1\r\n",
];
const DIALOGS_MAX: usize = 24;

/// A dialog as the phone at its other end knows it.
pub(super) struct Dialog {
    flow: Flow,
    call_id: String,
    /// The phone's tag, and the engine's.
    theirs: String,
    ours: String,
    cseq: u32,
    /// CSeq of the INVITE that the phone has not acknowledged.
    invited: u32,
    /// RSeq and CSeq of the provisional response that it has not acknowledged.
    reliable: Option<(u32, u32)>,
    target: String,
}

fn sdp(choice: usize) -> &'static str {
    const AUDIO: &str = "v=0\r\no=a 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    match choice {
        0 => {
            "v=0\r\no=a 1 2 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\nm=audio 4002 RTP/AVP 8 96\r\na=rtpmap:96 opus/48000/2\r\na=sendonly\r\nm=video 0 RTP/AVP 97\r\n"
        }
        1 => {
            "v=0\r\no=a 1 3 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\nm=message 5060 TCP/MSRP *\r\n"
        }
        2 => {
            "v=0\r\no=a 1 4 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
        }
        3 => {
            "v=0\r\no=a 1 5 IN IP4 198.51.100.3\r\ns=-\r\nc=IN IP4 198.51.100.3\r\nt=0 0\r\nm=audio 4004 RTP/AVP 0\r\na=crypto:7 AES_CM_128_HMAC_SHA1_32 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\nm=video 4006 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=inactive\r\n"
        }
        4 => {
            "v=0\r\no=a 1 6 IN IP4 198.51.100.3\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=fingerprint:sha-256 00:11\r\na=ice-ufrag:x\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtcp-mux\r\na=setup:actpass\r\n"
        }
        5 => "v=0\r\nm=audio\r\n",
        _ => AUDIO,
    }
}

impl Bench {
    /// The phone learns of a dialog, or more of one.
    fn learn(&mut self, dialog: Dialog) {
        let known = self.dialogs.iter_mut().find(|known| {
            (&*known.call_id, &*known.theirs, &*known.ours)
                == (&*dialog.call_id, &*dialog.theirs, &*dialog.ours)
        });
        if let Some(known) = known {
            known.cseq = known.cseq.max(dialog.cseq);
            known.invited = dialog.invited;
            known.reliable = dialog.reliable.or(known.reliable);
            return;
        }
        self.dialogs.push(dialog);
        if self.dialogs.len() > DIALOGS_MAX {
            self.dialogs.remove(0);
        }
    }

    /// The engine answers a phone's INVITE: that phone is in a dialog.
    pub(super) fn answered(&mut self, flow: Flow, answer: &Message) {
        let (Some(theirs), Some(ours)) = (answer.from_tag(), answer.to_tag()) else {
            return;
        };
        if *answer.method() != Method::Invite || !(101..300).contains(&answer.status()) {
            return;
        }
        let number = answer.header(Name::RSeq);
        let number = number.and_then(|number| number.trim().parse().ok());
        let dialog = Dialog {
            flow,
            call_id: answer.call_id().to_owned(),
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
            cseq: answer.cseq(),
            invited: answer.cseq(),
            reliable: number.map(|number| (number, answer.cseq())),
            target: contact(answer),
        };
        self.learn(dialog);
    }

    /// A request within a dialog that a phone is in, as it should be.
    pub(super) fn within(&mut self, choices: &mut Choices<'_>) {
        let method = WITHIN[choices.below(WITHIN.len())];
        // Mostly the latest: older ones have ended.
        let back = choices.below(16).min(choices.below(16)) + 1;
        let other = choices.one_of(&self.dialogs).map(|dialog| {
            format!(
                "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
                dialog.call_id, dialog.ours, dialog.theirs
            )
        });
        let at = self.dialogs.len().checked_sub(back);
        let Some(dialog) = at.and_then(|at| self.dialogs.get_mut(at)) else {
            return;
        };
        let mut more = String::new();
        let cseq = match method {
            "ACK" => dialog.invited,
            _ => {
                dialog.cseq += 1;
                dialog.cseq
            }
        };
        match method {
            "INVITE" => dialog.invited = cseq,
            "PRACK" => {
                let (number, of) = dialog.reliable.take().unwrap_or((1, 1));
                let _ = write!(more, "RAck: {number} {of} INVITE\r\n");
            }
            "REFER" => {
                let to = ASKED[choices.below(ASKED.len())];
                let replaces = other.filter(|_| choices.below(2) == 0);
                let replaces = replaces.map_or(String::new(), |other| format!("?Replaces={other}"));
                let _ = write!(more, "Refer-To: <sip:{to}@example.org{replaces}>\r\n");
            }
            _ => {}
        }
        if choices.below(3) == 0 {
            more.push_str(LINES[choices.below(LINES.len())]);
        }
        let (kind, body) = match (method, choices.below(8)) {
            ("MESSAGE", _) => ("Content-Type: text/plain\r\n", "hello"),
            ("INVITE" | "UPDATE" | "ACK" | "PRACK", shape @ 0..6) => {
                ("Content-Type: application/sdp\r\n", sdp(shape * 2 % 9))
            }
            _ => ("", ""),
        };
        let flow = dialog.flow;
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{} {at};branch=z9hG4bKw{}{cseq}{method};rport\r\n\
             From: <sip:x@example.org>;tag={}\r\nTo: <sip:y@example.org>;tag={}\r\nCall-ID: {}\r\n\
             CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:x@{at}>\r\n{more}{kind}\
             Content-Length: {}\r\n\r\n{body}",
            dialog.target,
            flow.transport.via(),
            dialog.theirs,
            dialog.theirs,
            dialog.ours,
            dialog.call_id,
            body.len(),
            at = flow.peer,
        );
        let bytes = self.maybe_damaged(text.into_bytes(), choices);
        self.message(flow, bytes);
    }

    /// A request that is challenged, once more with the proof.
    pub(super) fn prove(&mut self, choices: &mut Choices<'_>) {
        self.prove_as(PEOPLE[choices.below(PEOPLE.len())]);
    }

    pub(super) fn prove_as(&mut self, user: &str) {
        let challenged = self.sent.iter().rev().find_map(|(flow, message)| {
            let name = match message.status() {
                401 => Name::WwwAuthenticate,
                407 => Name::ProxyAuthenticate,
                _ => return None,
            };
            let challenge = message.values(name).last()?.to_owned();
            Some((*flow, message.clone(), challenge))
        });
        let Some((flow, refusal, challenge)) = challenged else {
            return;
        };
        let asked = self.received.iter().rev().find_map(|(_, bytes)| {
            let asked = Message::parse(bytes.clone()).ok()?;
            let same = asked.is_request()
                && (asked.call_id(), asked.cseq()) == (refusal.call_id(), refusal.cseq());
            same.then_some(asked)
        });
        let (Some(asked), Some(challenge)) = (asked, Challenge::parse(&challenge)) else {
            return;
        };
        let method = asked.method().as_str();
        let ha1 = digest::ha1(challenge.algorithm, user, challenge.realm, PASSWORD);
        let proof = challenge.answer(user, &ha1, method, asked.uri(), "c");
        let name = if refusal.status() == 401 {
            "Authorization"
        } else {
            "Proxy-Authorization"
        };
        let text = String::from_utf8_lossy(asked.bytes());
        let number = asked.cseq();
        let text = text
            .replacen("\r\n", &format!("\r\n{name}: {proof}\r\n"), 1)
            .replacen("branch=z9hG4bK", "branch=z9hG4bKp", 1)
            .replacen(
                &format!("CSeq: {number} "),
                &format!("CSeq: {} ", number.wrapping_add(1)),
                1,
            );
        self.message(flow, text.into());
    }

    /// A tag of ours that some phone has seen, or another.
    fn tag(&self, choices: &mut Choices<'_>) -> Option<String> {
        let (_, known) = choices.one_of(&self.sent)?;
        let tag = match choices.below(4) {
            0 => return Some("made-up".into()),
            1 => known.to_tag(),
            _ => known.from_tag(),
        };
        tag.map(str::to_owned)
    }

    /// One phone calls another, as it should.
    pub(super) fn call(&mut self, choices: &mut Choices<'_>) {
        let who = choices.below(3);
        let flow = flow(who, false);
        let to = ASKED[choices.below(ASKED.len())];
        self.calls += 1;
        let (from, call, body) = (PEOPLE[who], self.calls, sdp(7 + choices.below(4)));
        let text = format!(
            "INVITE sip:{to}@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKcall{call};rport\r\n\
             From: <sip:{from}@example.org>;tag=c{call}\r\nTo: <sip:{to}@example.org>\r\nCall-ID: c{call}\r\n\
             CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nSupported: 100rel, timer, replaces\r\n\
             Contact: <sip:{from}@{at}>;+sip.instance=\"<urn:uuid:{who}>\"\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, MESSAGE, REFER, NOTIFY, OPTIONS\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
            at = flow.peer,
        );
        self.message(flow, text.into());
    }

    /// A phone accepts the latest that it was asked, as it should.
    pub(super) fn accept(&mut self, choices: &mut Choices<'_>) {
        let wants_invite = choices.below(2) == 0;
        let asked = self.sent.iter().rev().find(|(_, asked)| {
            asked.is_request()
                && *asked.method() != Method::Ack
                && (*asked.method() == Method::Invite || !wants_invite)
        });
        let Some((flow, asked)) = asked.cloned() else {
            return;
        };
        let tag = ["a", "b"][choices.below(2)];
        let builder = Builder::respond(&asked, 200, "OK", Some(tag), flow.peer)
            .header(Name::Contact, format_args!("<sip:x@{}>", flow.peer))
            .header(Name::Allow, "INVITE, ACK, BYE, UPDATE, MESSAGE, REFER");
        let bytes = if asked.body().is_empty() && *asked.method() != Method::Invite {
            builder.end()
        } else {
            builder.body("application/sdp", sdp(7).as_bytes())
        };
        self.in_dialog(flow, &asked, tag);
        self.message(flow, bytes);
    }

    /// The phone's answer puts it into a dialog.
    fn in_dialog(&mut self, flow: Flow, asked: &Message, tag: &str) {
        if *asked.method() != Method::Invite {
            return;
        }
        self.learn(Dialog {
            flow,
            call_id: asked.call_id().to_owned(),
            theirs: asked.to_tag().unwrap_or(tag).to_owned(),
            ours: asked.from_tag().unwrap_or("x").to_owned(),
            cseq: 0,
            invited: 0,
            reliable: None,
            target: contact(asked),
        });
    }

    pub(super) fn request(&mut self, choices: &mut Choices<'_>) {
        let method = METHODS[choices.below(METHODS.len())];
        let who = choices.below(PEERS);
        let flow = flow(who, choices.below(3) == 0);
        let to = ASKED[choices.below(ASKED.len())];
        let from = PEOPLE[who.min(3)];
        // Within the dialog of something that we were sent, or outside of any.
        let known = choices
            .one_of(&self.sent)
            .map(|(_, message)| message.call_id().to_owned());
        let inside = choices.below(4) == 0;
        let call_id = match known.filter(|_| inside) {
            Some(call_id) => call_id,
            None => format!("call{}", choices.below(24)),
        };
        let (theirs, ours) = (
            self.tag(choices).filter(|_| inside),
            self.tag(choices).filter(|_| inside),
        );
        let from_tag = theirs.unwrap_or_else(|| format!("t{}", choices.below(3)));
        let to_tag = ours.map_or(String::new(), |tag| format!(";tag={tag}"));
        let mut more = String::new();
        for _ in 0..choices.below(4) {
            more.push_str(LINES[choices.below(LINES.len())]);
        }
        if choices.below(16) == 0
            && let Some((_, known)) = choices.one_of(&self.sent)
        {
            let _ = write!(
                more,
                "Replaces: {};to-tag={};from-tag={}\r\n",
                known.call_id(),
                known.to_tag().unwrap_or("x"),
                known.from_tag().unwrap_or("x")
            );
        }
        let (kind, body) = match choices.below(6) {
            0 => ("Content-Type: text/plain\r\n", "hello"),
            1..=3 => ("Content-Type: application/sdp\r\n", sdp(choices.below(8))),
            _ => ("", ""),
        };
        let cseq = choices.below(5) + 1;
        let branch = choices.below(200);
        let host = if choices.below(6) == 0 {
            "pbx.example.net"
        } else {
            "example.org"
        };
        // The PBX asks for phones by what it was told of them.
        let told = choices.one_of(&self.sent).map(|(_, message)| told(message));
        let uri = match told.flatten() {
            Some(told) if who == PBX && choices.below(2) == 0 => told,
            _ => format!("sip:{to}@{host}"),
        };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{} {at};branch=z9hG4bK{branch};rport\r\n\
             From: <sip:{from}@{host}>;tag={from_tag}\r\nTo: <sip:{to}@{host}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{from}@{at}>;+sip.instance=\"<urn:uuid:{who}>\"\r\n\
             {more}{kind}Content-Length: {}\r\n\r\n{body}",
            flow.transport.via(),
            body.len(),
            at = flow.peer,
        );
        let bytes = self.maybe_damaged(text.into_bytes(), choices);
        self.message(flow, bytes);
    }

    pub(super) fn answer(&mut self, choices: &mut Choices<'_>) {
        // Mostly the latest: what is old has been given up.
        let asked = self.sent.iter().rev();
        let asked = asked.filter(|(_, m)| m.is_request() && *m.method() != Method::Ack);
        let asked: Vec<_> = asked.take(8).cloned().collect();
        let Some((flow, asked)) = choices.one_of(&asked).cloned() else {
            return;
        };
        let status = STATUSES[choices.below(STATUSES.len())];
        let tag = ["a", "b"][choices.below(2)];
        let at = flow.peer;
        let mut builder = Builder::respond(&asked, status, "x", Some(tag), at);
        builder = match (status, asked.method()) {
            (200, Method::Register) => builder
                .copy(&asked, Name::Contact)
                .header(Name::Expires, 90 * choices.below(40)),
            (302, _) => builder.header(
                Name::Contact,
                format_args!("<sip:{}@example.org>", ASKED[choices.below(ASKED.len())]),
            ),
            _ => builder.header(Name::Contact, format_args!("<sip:x@{at}>")),
        };
        match status {
            101..=199 if choices.below(2) == 0 => {
                let number = choices.below(3) + 1;
                builder = builder
                    .header(Name::Require, "100rel")
                    .header(Name::RSeq, number);
            }
            200 if choices.below(3) == 0 => {
                builder = builder
                    .header(Name::Require, "timer")
                    .header(Name::SessionExpires, "90;refresher=uas");
            }
            401 | 407 => {
                let name = if status == 401 {
                    Name::WwwAuthenticate
                } else {
                    Name::ProxyAuthenticate
                };
                builder = builder.header(name, "Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"");
            }
            422 => builder = builder.header(Name::MinSe, 3600),
            503 => builder = builder.header(Name::RetryAfter, choices.byte()),
            _ => {}
        }
        if choices.below(2) == 0 {
            builder = builder.raw_lines(LINES[choices.below(LINES.len())].as_bytes());
        }
        let invite = *asked.method() == Method::Invite;
        if (101..300).contains(&status) {
            self.in_dialog(flow, &asked, tag);
        }
        let bytes = match choices.below(3) {
            0 => builder.end(),
            _ if !invite && asked.body().is_empty() => builder.end(),
            _ => builder.body("application/sdp", sdp(choices.below(8)).as_bytes()),
        };
        let bytes = self.maybe_damaged(bytes.to_vec(), choices);
        // A forged one comes from elsewhere.
        let flow = if choices.below(16) == 0 {
            self::flow(choices.below(PEERS), false)
        } else {
            flow
        };
        self.message(flow, bytes);
    }

    fn maybe_damaged(&mut self, mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Bytes {
        if choices.below(24) == 0 && choices.below(2) == 1 && !bytes.is_empty() {
            self.damaged = true;
            let at = (choices.below(256) * 256 + choices.below(256)) % bytes.len();
            match choices.below(3) {
                0 => bytes[at] = choices.byte(),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, choices.byte()),
            }
        }
        bytes.into()
    }
}

fn contact(message: &Message) -> String {
    let contact = message.values(Name::Contact).next().unwrap_or_default();
    uri(contact).unwrap_or_else(|| "sip:x@192.0.2.1".into())
}

/// A URI of ours that a message carries.
fn told(message: &Message) -> Option<String> {
    let names = [Name::Path, Name::RecordRoute, Name::Contact];
    names
        .into_iter()
        .find_map(|name| uri(message.values(name).next()?))
}

fn uri(address: &str) -> Option<String> {
    let (_, rest) = address.split_once('<')?;
    let (uri, _) = rest.split_once('>')?;
    Some(uri.to_owned())
}
