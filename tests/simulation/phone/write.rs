//! Requests and responses as the phone writes them.

use bytes::Bytes;
use refork::engine::time::{Millis, Time};
use refork::sip::{Builder, Message, Method, Name, reason_phrase};

use super::call::Stage;
use super::transaction::Client;
use super::{DOMAIN, Phone, Temper};

impl Phone {
    fn via(&mut self) -> String {
        let branch = self.coin("z9hG4bK");
        let word = if self.spec.stream { "TCP" } else { "UDP" };
        format!("SIP/2.0/{word} {};branch={branch};rport", self.spec.address)
    }

    pub(super) fn contact(&self) -> String {
        let (user, address) = (&self.spec.user, self.spec.address);
        let transport = if self.spec.stream {
            ";transport=tcp"
        } else {
            ""
        };
        format!(
            "\"{}\" <sip:{user}@{address}{transport}>;+sip.instance=\"<urn:uuid:{}>\"",
            self.spec.name, self.spec.name
        )
    }

    /// Sends a request and waits for its answer.
    pub(super) fn begin(&mut self, bytes: Bytes, call: Option<u64>, now: Time) {
        let request = Message::parse(bytes.clone()).expect("the phone writes sound requests");
        let (t1, udp) = (self.spec.traits.t1(), !self.spec.stream);
        self.clients.push(Client::new(&request, call, t1, udp, now));
        self.send(bytes);
    }

    pub(super) fn send_register(&mut self, expires: u64, now: Time) {
        self.registration.at = None;
        self.clients
            .retain(|client| client.method != Method::Register);
        self.registration.cseq += 1;
        let user = self.spec.user.clone();
        let tag = self.coin("t");
        let call_id = format!("reg{}/{}", self.spec.name, self.registration.starts);
        let bytes = Builder::request(&Method::Register, &format!("sip:{DOMAIN}"))
            .header(Name::Via, self.via())
            .header(Name::MaxForwards, 70)
            .header(Name::From, format_args!("<sip:{user}@{DOMAIN}>;tag={tag}"))
            .header(Name::To, format_args!("<sip:{user}@{DOMAIN}>"))
            .header(Name::CallId, call_id)
            .header(
                Name::CSeq,
                format_args!("{} REGISTER", self.registration.cseq),
            )
            .header(Name::Contact, self.contact())
            .header(Name::Expires, expires)
            .header(Name::Allow, self.spec.traits.allow())
            .header(Name::UserAgent, "Simulated/1.0")
            .end();
        self.begin(bytes, None, now);
    }

    /// Begins a request within a dialog, or the one that makes it.
    fn within(&mut self, at: usize, method: &Method, cseq: u32) -> Builder {
        let via = self.via();
        let call = &self.calls[at];
        let builder = Builder::request(method, &call.target)
            .header(Name::Via, via)
            .header(Name::MaxForwards, 70)
            .header(
                Name::From,
                format_args!("{};tag={}", call.local, call.local_tag),
            );
        let builder = match &call.remote_tag {
            Some(tag) => builder.header(Name::To, format_args!("{};tag={tag}", call.remote)),
            None => builder.header(Name::To, &call.remote),
        };
        builder
            .header(Name::CallId, &call.call_id)
            .header(Name::CSeq, format_args!("{cseq} {}", method.as_str()))
    }

    pub(super) fn next_within(&mut self, at: usize, method: &Method) -> Builder {
        self.calls[at].local_cseq += 1;
        let cseq = self.calls[at].local_cseq;
        self.within(at, method, cseq)
    }

    /// Sends the INVITE that begins a call, or a re-INVITE.
    pub(super) fn invite(&mut self, at: usize, changed: bool, now: Time) {
        let builder = self.next_within(at, &Method::Invite);
        let expires = self.asks_for_timer(at);
        let builder = self.capable(builder, expires.as_deref());
        let builder = match self.replaces_of(at) {
            Some(replaces) => builder.header(Name::Replaces, replaces),
            None => builder,
        };
        let offer = self.calls[at].session.offer(changed);
        let bytes = builder.body("application/sdp", offer.as_bytes());
        let id = self.calls[at].id;
        self.begin(bytes, Some(id), now);
        if let Some(client) = self.clients.last()
            && self.calls[at].branch.is_empty()
        {
            self.calls[at].branch.clone_from(&client.branch);
        }
    }

    /// Adds what the phone is able to do, and what is agreed of its session timer.
    pub(super) fn capable(&self, builder: Builder, expires: Option<&str>) -> Builder {
        let builder = builder
            .header(Name::Contact, self.contact())
            .header(Name::Allow, self.spec.traits.allow())
            .header(Name::UserAgent, "Simulated/1.0");
        let known = self.spec.traits.supported();
        let builder = if known.is_empty() {
            builder
        } else {
            builder.header(Name::Supported, known)
        };
        match expires {
            Some(expires) => builder.header(Name::SessionExpires, expires),
            None => builder,
        }
    }

    /// Sends a re-INVITE, or leaves it until the one under way is done.
    pub(super) fn change(&mut self, at: usize, now: Time) {
        if self.calls[at].changing {
            self.calls[at].change_at = Some(now + Millis(1000));
            return;
        }
        self.calls[at].changing = true;
        self.calls[at].change_at = None;
        self.invite(at, true, now);
    }

    pub(super) fn bye(&mut self, at: usize, now: Time) {
        let bytes = self.next_within(at, &Method::Bye).end();
        self.calls[at].stage = Stage::Ending;
        // What was put off is not asked of a call that is over.
        self.calls[at].change_at = None;
        let id = self.calls[at].id;
        self.begin(bytes, Some(id), now);
    }

    /// RFC 3261 9.1: the branch and number are the INVITE's.
    pub(super) fn cancel(&mut self, at: usize, now: Time) {
        let branch = self.calls[at].branch.clone();
        let Some(invite) = self
            .clients
            .iter()
            .find(|client| client.branch == branch && client.method == Method::Invite)
        else {
            return;
        };
        let invite = Message::parse(invite.bytes.clone()).expect("the phone's own INVITE");
        let bytes = Builder::request(&Method::Cancel, invite.uri())
            .copy(&invite, Name::Via)
            .header(Name::MaxForwards, 70)
            .copy(&invite, Name::From)
            .copy(&invite, Name::To)
            .copy(&invite, Name::CallId)
            .header(Name::CSeq, format_args!("{} CANCEL", invite.cseq()))
            .end();
        let id = self.calls[at].id;
        self.begin(bytes, Some(id), now);
    }

    /// Sends the ACK of a 2xx, and keeps it for when that comes again.
    pub(super) fn acknowledge(&mut self, at: usize, cseq: u32, answer: Option<String>) {
        let builder = self.within(at, &Method::Ack, cseq);
        let bytes = match answer {
            Some(answer) => builder.body("application/sdp", answer.as_bytes()),
            None => builder.end(),
        };
        self.calls[at].ack = Some((cseq, bytes.clone()));
        self.send(bytes);
    }

    /// RFC 3261 17.1.1.3: the ACK of a response that is no success.
    pub(super) fn refusal_ack(invite: &Bytes, response: &Message) -> Bytes {
        let invite = Message::parse(invite.clone()).expect("the phone's own INVITE");
        Builder::request(&Method::Ack, invite.uri())
            .copy(&invite, Name::Via)
            .header(Name::MaxForwards, 70)
            .copy(&invite, Name::From)
            .copy(response, Name::To)
            .copy(&invite, Name::CallId)
            .header(Name::CSeq, format_args!("{} ACK", invite.cseq()))
            .end()
    }

    /// Sends the next text that waits, one at a time (RFC 3428 8).
    pub(super) fn next_text(&mut self, at: usize, now: Time) {
        if self.calls[at].texting || self.calls[at].stage != Stage::Live {
            return;
        }
        let Some(text) = self.calls[at].texts.pop_front() else {
            return;
        };
        self.calls[at].texting = true;
        let bytes = self
            .next_within(at, &Method::Message)
            .body("text/plain", text.as_bytes());
        let id = self.calls[at].id;
        self.begin(bytes, Some(id), now);
    }

    /// Answers a request; a final response to an INVITE of `call` carries what makes a dialog.
    pub(super) fn respond(
        &mut self,
        request: &Message,
        status: u16,
        body: Option<String>,
        now: Time,
    ) {
        // An INVITE that comes again after its dialog has ended begins another one under the Call-ID.
        let owns = self.calls.iter().position(|call| call.owns(request));
        let mut calls = self.calls.iter();
        let latest = calls.rposition(|call| call.call_id == request.call_id());
        let at = owns.or(latest);
        let tag = match at {
            Some(at) => self.calls[at].local_tag.clone(),
            None => format!("t{}", self.spec.name),
        };
        let server = self.server;
        let reason = reason_phrase(status);
        let builder = Builder::respond(request, status, reason, Some(&tag), server);
        let speaks_of_itself = status < 300
            && status > 100
            && matches!(
                request.method(),
                Method::Invite | Method::Update | Method::Options
            );
        let timed = status >= 200 && *request.method() != Method::Options;
        let expires = self.agrees_to_timer(request).filter(|_| timed);
        let builder = if speaks_of_itself {
            self.capable(builder, expires.as_deref())
        } else {
            builder
        };
        let reliable = at.and_then(|at| self.calls[at].reliable);
        let reliable = reliable.filter(|_| status == 180);
        let builder = match reliable {
            Some(reliable) => builder
                .header(Name::Require, "100rel")
                .header(Name::RSeq, reliable.rseq),
            // RFC 4028 9: who is to refresh must know how.
            None if expires.is_some_and(|value| value.contains("refresher=uac")) => {
                builder.header(Name::Require, "timer")
            }
            None => builder,
        };
        let bytes = match body {
            Some(body) => builder.body("application/sdp", body.as_bytes()),
            None => builder.end(),
        };
        if speaks_of_itself
            && timed
            && let Some(at) = at
        {
            let success = Message::parse(bytes.clone()).expect("the phone's own answer");
            self.timed(at, &success, true, now);
        }
        let slow = self.spec.traits.temper == Temper::Slow && *request.method() != Method::Invite;
        let udp = !self.spec.stream;
        let Some(server) = self
            .servers
            .iter_mut()
            .find(|server| server.matches(request))
        else {
            return;
        };
        if slow {
            server.answer_at(now + Millis(700), status, bytes);
            return;
        }
        server.answer(status, bytes.clone(), udp, now);
        if reliable.is_some() {
            server.insist(now);
        }
        self.send(bytes.clone());
        let twice = self.spec.traits.temper == Temper::AnswersTwice;
        if twice && status / 100 == 2 && *request.method() == Method::Invite {
            self.send(bytes);
        }
    }
}
