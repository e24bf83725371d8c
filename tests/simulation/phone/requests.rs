//! The phone as user agent server.

use refork::engine::settings::Kind;
use refork::engine::time::Time;
use refork::sip::{Message, Method, Name};

use super::call::{Call, Stage};
use super::reliable::Reliable;
use super::transaction::Server;
use super::{Phone, RINGS_FOR, Temper};

impl Phone {
    pub(super) fn handle_request(&mut self, request: &Message, now: Time) {
        if *request.method() == Method::Ack {
            return self.acked(request, now);
        }
        if let Some(server) = self.servers.iter().find(|server| server.matches(request)) {
            if let Some(bytes) = server.response() {
                self.send(bytes);
            }
            return;
        }
        if *request.method() == Method::Options && self.spec.traits.temper == Temper::IgnoresOptions
        {
            return;
        }
        let call = self.calls.iter().find(|call| call.owns(request));
        let id = call.map(|call| call.id);
        let t1 = self.spec.traits.t1();
        self.servers.push(Server::new(request, id, t1, now));
        match (request.method(), request.to_tag(), id) {
            (Method::Cancel, ..) => self.cancelled(request, now),
            (Method::Invite, None, _) => self.invited(request, now),
            (Method::Options | Method::Message, None, _) => self.outside(request, now),
            (_, Some(_), Some(id)) => self.inside(request, id, now),
            (Method::Options, Some(_), None)
                if self.spec.traits.temper == Temper::OptionsAnyway =>
            {
                self.outside(request, now);
            }
            (_, Some(_), None) => self.respond(request, 481, None, now),
            (_, None, _) => self.respond(request, 405, None, now),
        }
    }

    /// An ACK ends the sending again of what it belongs to; that of a 2xx makes the call stand.
    fn acked(&mut self, ack: &Message, now: Time) {
        let by_branch = self.servers.iter().position(|server| server.matches(ack));
        let found = by_branch.or_else(|| {
            self.servers.iter().position(|server| {
                *server.request.method() == Method::Invite
                    && server.request.call_id() == ack.call_id()
                    && server.request.cseq() == ack.cseq()
                    && server.status / 100 == 2
            })
        });
        let Some(at) = found else { return };
        if self.servers[at].acked || self.servers[at].status < 200 {
            return;
        }
        self.servers[at].acknowledged(now);
        if self.servers[at].status >= 300 {
            return;
        }
        let Some(at) = self.servers[at].call.and_then(|id| self.find(id)) else {
            return;
        };
        if !ack.body().is_empty() {
            self.calls[at].session.answered(ack.body());
        }
        if self.calls[at].stage != Stage::Answered {
            return;
        }
        self.calls[at].stage = Stage::Live;
        self.next_text(at, now);
        self.takes_its_place(at, now);
    }

    fn cancelled(&mut self, cancel: &Message, now: Time) {
        let invite = self
            .servers
            .iter()
            .find(|server| {
                *server.request.method() == Method::Invite
                    && server.request.branch() == cancel.branch()
            })
            .map(|server| (server.request.clone(), server.call, server.is_open_invite()));
        let Some((invite, call, open)) = invite else {
            return self.respond(cancel, 481, None, now);
        };
        self.respond(cancel, 200, None, now);
        if !open || self.spec.traits.temper == Temper::IgnoresCancel {
            return;
        }
        self.respond(&invite, 487, None, now);
        self.calls.retain(|known| Some(known.id) != call);
    }

    fn invited(&mut self, invite: &Message, now: Time) {
        let replaced = match self.replaced(invite) {
            Ok(replaced) => replaced,
            Err(status) => return self.respond(invite, status, None, now),
        };
        let traits = self.spec.traits;
        let talks = self.calls.iter().any(Call::stands);
        let refusal = match traits.temper {
            _ if replaced.is_some() => None,
            Temper::Busy => Some(486),
            Temper::Declines => Some(603),
            _ if talks && !traits.call_waiting => Some(486),
            Temper::Perfect
            | Temper::AnswersTwice
            | Temper::IgnoresOptions
            | Temper::NoMessage
            | Temper::Slow
            | Temper::ReusesTags
            | Temper::IgnoresCancel
            | Temper::OptionsAnyway
            | Temper::HangsUpOnMove
            | Temper::NeverAnswers => None,
        };
        if let Some(status) = refusal {
            return self.respond(invite, status, None, now);
        }
        let id = self.number();
        let mut session = self.session(Kind::Call, id);
        if !invite.body().is_empty() && session.answer(invite.body()).is_none() {
            return self.respond(invite, 488, None, now);
        }
        let text = |name| {
            let value = invite.header(name).unwrap_or_default();
            value.split(";tag=").next().unwrap_or_default().to_owned()
        };
        let local_tag = self.tag();
        let mut call = Call {
            stage: Stage::Ringing {
                ring: Some(now + traits.ring_after),
                answer: traits.answers().then(|| now + traits.answer_after),
                give_up: now + RINGS_FOR,
            },
            remote_tag: invite.from_tag().map(ToOwned::to_owned),
            local: text(Name::To),
            remote: text(Name::From),
            target: invite.from().uri.to_owned(),
            remote_cseq: invite.cseq(),
            branch: invite.branch().unwrap_or_default().to_owned(),
            replaces: replaced,
            ..Call::new(id, invite.call_id().to_owned(), local_tag, session)
        };
        call.retarget(invite);
        self.calls.push(call);
        if let Some(server) = self
            .servers
            .iter_mut()
            .find(|server| server.matches(invite))
        {
            server.call = Some(id);
        }
        if replaced.is_some() {
            self.take(self.calls.len() - 1, now);
        }
    }

    /// Returns the call that Replaces names, where the phone knows the header (RFC 3891 3).
    fn replaced(&self, invite: &Message) -> Result<Option<u64>, u16> {
        let Some(value) = invite
            .header(Name::Replaces)
            .filter(|_| self.spec.traits.replaces)
        else {
            return Ok(None);
        };
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().unwrap_or_default();
        let (mut to, mut from) = (None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("to-tag", tag)) => to = Some(tag),
                Some(("from-tag", tag)) => from = Some(tag),
                Some(_) | None => {}
            }
        }
        let known = self.calls.iter().find(|call| {
            call.stands()
                && call.call_id == call_id
                && Some(&*call.local_tag) == to
                && call.remote_tag.as_deref() == from
        });
        known.map(|call| Some(call.id)).ok_or(481)
    }

    pub(super) fn ring(&mut self, at: usize, now: Time) {
        let Some(invite) = self.open_invite(at) else {
            return;
        };
        if !self.rings_reliably(&invite) {
            let early = self.early_answer(&invite, at);
            let status = if early.is_some() { 183 } else { 180 };
            self.calls[at].early.clone_from(&early);
            return self.respond(&invite, status, early, now);
        }
        let rseq = 100 + self.calls[at].id as u32;
        // Every second one answers the offer already (RFC 3262 5).
        let early = rseq.is_multiple_of(2) && !invite.body().is_empty();
        let session = &mut self.calls[at].session;
        let body = early.then(|| session.answer(invite.body())).flatten();
        self.calls[at].reliable = Some(Reliable::new(rseq, body.is_some(), now));
        self.respond(&invite, 180, body, now);
    }

    /// What one that plays something as it rings says of where that comes from.
    fn early_answer(&mut self, invite: &Message, at: usize) -> Option<String> {
        if !self.spec.traits.early || invite.body().is_empty() {
            return None;
        }
        let session = &mut self.calls[at].session;
        let answer = session.answer(invite.body())?;
        (session.kind == Kind::Call).then_some(answer)
    }

    /// Its user takes the call.
    pub(super) fn take(&mut self, at: usize, now: Time) {
        let Some(invite) = self.open_invite(at) else {
            return;
        };
        if self.waits_for_prack(at, now) {
            return;
        }
        let settled = self.calls[at].reliable.is_some_and(|it| it.answers);
        let early = self.calls[at].early.clone();
        let session = &mut self.calls[at].session;
        let body = if settled || early.is_some() {
            early
        } else if invite.body().is_empty() {
            Some(session.offer(false))
        } else {
            session.answer(invite.body())
        };
        self.calls[at].stage = Stage::Answered;
        self.respond(&invite, 200, body, now);
    }

    pub(super) fn decline(&mut self, at: usize, status: u16, now: Time) {
        if let Some(invite) = self.open_invite(at) {
            self.respond(&invite, status, None, now);
        }
        self.calls.remove(at);
    }

    fn open_invite(&self, at: usize) -> Option<Message> {
        let branch = Some(&*self.calls[at].branch);
        let server = self
            .servers
            .iter()
            .find(|server| server.is_open_invite() && server.request.branch() == branch)?;
        Some(server.request.clone())
    }

    fn outside(&mut self, request: &Message, now: Time) {
        self.respond(request, 200, None, now);
    }

    fn inside(&mut self, request: &Message, id: u64, now: Time) {
        let Some(at) = self.find(id) else { return };
        let method = request.method().clone();
        if self.calls[at].stage == Stage::Ending && method != Method::Bye {
            return self.respond(request, 481, None, now);
        }
        if request.cseq() <= self.calls[at].remote_cseq {
            return self.respond(request, 500, None, now);
        }
        self.calls[at].remote_cseq = request.cseq();
        match method {
            Method::Bye => {
                self.respond(request, 200, None, now);
                if let Some(invite) = self.open_invite(at) {
                    self.respond(&invite, 487, None, now);
                }
                self.calls.remove(at);
            }
            Method::Options => self.respond(request, 200, None, now),
            Method::Message if self.spec.traits.temper == Temper::NoMessage => {
                self.respond(request, 405, None, now);
            }
            Method::Message => self.respond(request, 200, None, now),
            Method::Prack => self.pracked(request, at, now),
            Method::Notify => self.notified(request, at, now),
            Method::Update if !self.spec.traits.update => self.respond(request, 405, None, now),
            Method::Invite | Method::Update if self.calls[at].is_in_glare(request) => {
                self.respond(request, 491, None, now);
            }
            Method::Invite | Method::Update => self.changed(request, at, now),
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Info
            | Method::Subscribe
            | Method::Refer
            | Method::Publish
            | Method::Other(_) => self.respond(request, 405, None, now),
        }
    }

    /// A re-INVITE or UPDATE: with an offer that is answered; a re-INVITE without one gets ours.
    fn changed(&mut self, request: &Message, at: usize, now: Time) {
        self.calls[at].retarget(request);
        let session = &mut self.calls[at].session;
        if session.refuses(request.body()) {
            return self.respond(request, 488, None, now);
        }
        let body = if !request.body().is_empty() {
            match session.answer(request.body()) {
                Some(answer) => Some(answer),
                None => return self.respond(request, 488, None, now),
            }
        } else if *request.method() == Method::Invite {
            Some(session.offer(false))
        } else {
            None
        };
        self.respond(request, 200, body, now);
    }

    /// A transaction is over that was never acknowledged (RFC 3261 13.3.1.4).
    pub(super) fn forgotten(&mut self, server: &Server, now: Time) {
        let unacked =
            *server.request.method() == Method::Invite && server.status / 100 == 2 && !server.acked;
        let Some(at) = server.call.and_then(|id| self.find(id)).filter(|_| unacked) else {
            return;
        };
        if self.calls[at].stands() {
            self.bye(at, now);
        }
    }
}
