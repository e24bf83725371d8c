//! Requests that a phone receives, and how it answers.

use bytes::Bytes;

use crate::sip::sdp::Direction;
use crate::sip::{Builder, Message, Method, Name, reason_phrase};

use super::UaError;
use super::agent::Agent;
use super::description::{self, Medium};
use super::dialog::{Dialog, Ending, Phase, Role, Taken, Text, Todo};
use super::net::Link;
use super::outgoing::SDP;
use super::profile::{Reaction, Script, Srtp};
use super::request::{fresh, random};
use super::rtp::Rtp;
use super::srtp;

impl Agent {
    pub(super) fn on_request(&mut self, link: Link, request: &Message) {
        if *request.method() == Method::Ack {
            self.on_ack(request);
            return;
        }
        if let Some(server) = self.transactions.server(request, request.method()) {
            let again = server.response.clone();
            if let Some(response) = again {
                self.send(link, response);
            }
            return;
        }
        let now = self.now();
        self.transactions.add_server(request, link, now);
        let dialog = self.calls.iter().position(|call| call.owns(request));
        match (request.method(), request.to_tag(), dialog) {
            (Method::Cancel, _, _) => self.on_cancel(link, request),
            (Method::Invite, None, _) => self.on_invite(link, request),
            (_, Some(_), None) => self.reply(link, request, 481),
            (_, Some(_), Some(call)) if self.calls[call].is_over() => {
                self.reply(link, request, 481);
            }
            (Method::Invite | Method::Update, Some(_), Some(call)) => {
                self.on_offer(link, request, call);
            }
            (Method::Bye, Some(_), Some(call)) => {
                self.reply(link, request, 200);
                self.calls[call].end(Ending::HungUpThere);
            }
            (Method::Message, _, dialog) => self.on_message(link, request, dialog),
            (Method::Options, _, _) => {
                let status = self.profile.script.options_status;
                self.reply(link, request, status);
            }
            (Method::Notify, Some(_), Some(call)) => {
                self.reply(link, request, 200);
                self.calls[call].reports.extend(reported(request));
            }
            (Method::Info | Method::Prack, Some(_), Some(_)) => {
                self.reply(link, request, 200);
            }
            (Method::Bye | Method::Update | Method::Info | Method::Prack, None, _) => {
                self.reply(link, request, 481);
            }
            (
                Method::Ack
                | Method::Register
                | Method::Subscribe
                | Method::Notify
                | Method::Refer
                | Method::Publish
                | Method::Other(_),
                _,
                _,
            ) => self.reply(link, request, 501),
        }
    }

    fn on_invite(&mut self, link: Link, request: &Message) {
        let replaced = match self.replaced(request) {
            Ok(replaced) => replaced,
            Err(status) => return self.reply(link, request, status),
        };
        if !self.takes(request.body()) {
            return self.reply(link, request, 488);
        }
        let medium = description::read(request.body()).map_or(Medium::Audio, |it| it.medium);
        let remote = request.header(Name::From).unwrap_or("");
        let local = request.header(Name::To).unwrap_or("");
        let mut dialog = Dialog {
            role: Role::Taken(Taken {
                invite: request.clone(),
                link,
                todo: None,
            }),
            phase: Phase::Ringing,
            call_id: request.call_id().to_owned(),
            local_tag: fresh(),
            remote_tag: request.from_tag().map(str::to_owned),
            local: local.to_owned(),
            remote: without_tag(remote).to_owned(),
            target: String::new(),
            routes: request
                .values(Name::RecordRoute)
                .map(str::to_owned)
                .collect(),
            local_cseq: 0,
            remote_cseq: request.cseq(),
            acks: Vec::new(),
            medium,
            session: random() >> 32,
            version: 1,
            direction: Direction::SendRecv,
            on_hold: false,
            offering: request.body().is_empty(),
            remote_sdp: Vec::new(),
            rtp: Vec::new(),
            offered: 0,
            texts: Vec::new(),
            reports: Vec::new(),
            seen: false,
        };
        dialog.refresh_target(request);
        let call = self.calls.len();
        self.calls.push(dialog);
        if let Some(old) = replaced {
            // RFC 3891 3: accepted as it is, and the replaced dialog gets a BYE.
            if self.answer(call).is_ok() {
                let _ = self.in_dialog(old, Method::Bye, Vec::new(), None);
                self.calls[old].phase = Phase::Over(Ending::Replaced);
            }
            return;
        }
        self.react(call);
    }

    fn react(&mut self, call: usize) {
        let now = self.now();
        let todo = match self.profile.script.invite {
            Reaction::Ring => None,
            Reaction::Answer(after) => Some((now + after, Todo::Answer)),
            Reaction::Refuse(status, after) if after.is_zero() => {
                // It was new a moment ago: it can be refused.
                let _ = self.refuse(call, status);
                return;
            }
            Reaction::Refuse(status, after) => Some((now + after, Todo::Refuse(status))),
        };
        if let Role::Taken(taken) = &mut self.calls[call].role {
            taken.todo = todo;
        }
        self.ring(call);
    }

    /// Finds the dialog that Replaces names (RFC 3891 3): Ok(None) where there is no such header.
    fn replaced(&self, request: &Message) -> Result<Option<usize>, u16> {
        let replaces = request
            .header(Name::Replaces)
            .filter(|_| self.profile.script.knows_replaces);
        let Some(replaces) = replaces else {
            return Ok(None);
        };
        let mut parts = replaces.split(';').map(str::trim);
        let call_id = parts.next().unwrap_or("");
        let (mut to_tag, mut from_tag) = (None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("to-tag", tag)) => to_tag = Some(tag),
                Some(("from-tag", tag)) => from_tag = Some(tag),
                Some(_) | None => {}
            }
        }
        let found = self.calls.iter().position(|call| {
            call.call_id == call_id
                && to_tag == Some(&call.local_tag)
                && from_tag == call.remote_tag.as_deref()
        });
        match found {
            Some(call) if self.calls[call].is_standing() => Ok(Some(call)),
            Some(call) if self.calls[call].is_over() => Err(603),
            Some(_) | None => Err(481),
        }
    }

    /// Sends 180.
    pub(super) fn ring(&mut self, call: usize) {
        self.respond_to_invite(call, 180, None, None);
    }

    /// Sends 200 with our description: the answer, or our offer where the INVITE had none.
    pub(super) fn answer(&mut self, call: usize) -> Result<(), UaError> {
        self.check_awake()?;
        let dialog = &self.calls[call];
        let Role::Taken(taken) = &dialog.role else {
            return Err(UaError::OutOfPlace("answering a call that was placed here"));
        };
        if dialog.phase != Phase::Ringing {
            return Err(UaError::OutOfPlace("answering"));
        }
        let offer = taken.invite.body().to_vec();
        let rtp = self.open_rtp(dialog.medium)?;
        let (address, now) = (self.local.ip(), self.now());
        let script = self.profile.script.clone();
        let dialog = &mut self.calls[call];
        dialog.rtp = rtp;
        dialog.mirror(&offer, &script);
        let body = dialog.describe(address);
        dialog.phase = Phase::Answered;
        self.respond_to_invite(call, 200, Some(body), None);
        self.calls[call].apply(&offer, &script, now);
        Ok(())
    }

    /// Sends a final refusal.
    pub(super) fn refuse(&mut self, call: usize, status: u16) -> Result<(), UaError> {
        self.check_awake()?;
        if self.calls[call].phase != Phase::Ringing {
            return Err(UaError::OutOfPlace("refusing"));
        }
        self.respond_to_invite(call, status, None, None);
        self.calls[call].end(Ending::Refused(status));
        Ok(())
    }

    /// Sends 302: the caller is to call somebody else.
    pub(super) fn forward(&mut self, call: usize, to: &str) -> Result<(), UaError> {
        self.check_awake()?;
        if self.calls[call].phase != Phase::Ringing {
            return Err(UaError::OutOfPlace("forwarding"));
        }
        self.respond_to_invite(call, 302, None, Some(to));
        self.calls[call].end(Ending::Refused(302));
        Ok(())
    }

    fn respond_to_invite(
        &mut self,
        call: usize,
        status: u16,
        body: Option<Vec<u8>>,
        elsewhere: Option<&str>,
    ) {
        let dialog = &self.calls[call];
        let Role::Taken(taken) = &dialog.role else {
            return;
        };
        let (invite, link, tag) = (taken.invite.clone(), taken.link, dialog.local_tag.clone());
        let mut builder = self.response(&invite, status, &tag, link);
        if status < 300 {
            builder = builder.copy(&invite, Name::RecordRoute);
            for (name, value) in self.dialog_headers() {
                builder = builder.header(name, value);
            }
        }
        if let Some(to) = elsewhere {
            builder = builder.header(Name::Contact, format_args!("<{to}>"));
        }
        let bytes = match body {
            Some(body) => builder.body(SDP, &body),
            None => builder.end(),
        };
        self.finish(link, &invite, status, bytes);
    }

    /// Re-INVITE or UPDATE of a standing dialog: answered with what we have, mirrored.
    fn on_offer(&mut self, link: Link, request: &Message, call: usize) {
        let (address, now) = (self.local.ip(), self.now());
        let script = self.profile.script.clone();
        if !self.takes(request.body()) {
            return self.reply(link, request, 488);
        }
        let pictures = description::read(request.body())
            .is_some_and(|offer| offer.streams.get(1).is_some_and(|it| it.rtp.is_some()));
        let has_none = self.calls[call].rtp.get(1).is_none_or(Rtp::is_closed);
        let more = match pictures && has_none && script.shows {
            true => self
                .open_rtp(Medium::Video)
                .ok()
                .and_then(|mut all| all.pop()),
            false => None,
        };
        let dialog = &mut self.calls[call];
        if !dialog.is_standing() {
            return self.reply(link, request, 481);
        }
        if dialog.offering && !request.body().is_empty() {
            // RFC 3261 14.2.
            return self.reply(link, request, 491);
        }
        dialog.remote_cseq = request.cseq();
        dialog.refresh_target(request);
        let is_invite = *request.method() == Method::Invite;
        let body = (is_invite || !request.body().is_empty()).then(|| {
            if let Some(more) = more {
                dialog.rtp.truncate(1);
                dialog.rtp.push(more);
            }
            dialog.mirror(request.body(), &script);
            dialog.offering = request.body().is_empty();
            dialog.version += 1;
            dialog.apply(request.body(), &script, now);
            dialog.describe(address)
        });
        let tag = dialog.local_tag.clone();
        let mut builder = self.response(request, 200, &tag, link);
        for (name, value) in self.dialog_headers() {
            builder = builder.header(name, value);
        }
        let bytes = match body {
            Some(body) => builder.body(SDP, &body),
            None => builder.end(),
        };
        self.finish(link, request, 200, bytes);
    }

    fn on_message(&mut self, link: Link, request: &Message, dialog: Option<usize>) {
        let script = &self.profile.script;
        let status = if script.takes_messages {
            script.message_status
        } else {
            405
        };
        // Stamped before the answer goes out: the next text may come of it at once.
        let text = Text::of(request, self.now());
        self.reply(link, request, status);
        if !(200..300).contains(&status) {
            return;
        }
        match dialog {
            Some(call) => self.calls[call].texts.push(text),
            None => self.texts.push(text),
        }
    }

    fn on_cancel(&mut self, link: Link, request: &Message) {
        let Some(server) = self.transactions.server(request, &Method::Invite) else {
            return self.reply(link, request, 481);
        };
        let invite = server.request.clone();
        self.reply(link, request, 200);
        let call = self.calls.iter().position(|call| {
            matches!(&call.role, Role::Taken(taken) if taken.invite.bytes() == invite.bytes())
        });
        if let Some(call) = call
            && self.calls[call].phase == Phase::Ringing
        {
            self.respond_to_invite(call, 487, None, None);
            self.calls[call].end(Ending::Cancelled);
        }
    }

    fn on_ack(&mut self, ack: &Message) {
        // To a refusal: in the INVITE's transaction; to a 2xx: in its dialog.
        let server = match self.transactions.server(ack, &Method::Invite) {
            Some(server) => Some(server),
            None => {
                let from_tag = ack.from_tag().unwrap_or("");
                self.transactions
                    .invite(ack.call_id(), from_tag, ack.cseq())
            }
        };
        if let Some(server) = server {
            server.resend = None;
        }
        let Some(call) = self.calls.iter().position(|call| call.owns(ack)) else {
            return;
        };
        let (now, script) = (self.now(), self.profile.script.clone());
        let dialog = &mut self.calls[call];
        if dialog.phase == Phase::Answered {
            dialog.phase = Phase::Up;
        }
        if dialog.offering && !ack.body().is_empty() {
            dialog.offering = false;
            dialog.apply(ack.body(), &script, now);
        }
    }

    pub(super) fn open_rtp(&self, medium: Medium) -> Result<Vec<Rtp>, UaError> {
        let streams = match medium {
            Medium::Text => 0,
            Medium::Audio => 1,
            Medium::Video => 2,
        };
        let Some(net) = &self.net else {
            return Err(UaError::Killed(self.profile.label.clone()));
        };
        let open = |at| {
            let (socket, port) = net.open_rtp()?;
            let (voice, srtp) = (self.profile.voice, self.profile.script.srtp);
            Ok(Rtp::new(socket, port, voice, at == 1, srtp))
        };
        (0..streams).map(open).collect()
    }

    /// Returns true where we can answer an offer's sound: it is encrypted as we want it.
    fn takes(&self, offer: &[u8]) -> bool {
        let Some(offer) = description::read(offer).filter(|offer| offer.medium != Medium::Text)
        else {
            return true;
        };
        let sound = &offer.streams[0];
        let spoken = srtp::spoken(sound.lines.clone()).is_some();
        match self.profile.script.srtp {
            Srtp::Off => !sound.bound,
            Srtp::Optional => !sound.bound || spoken,
            Srtp::Required => spoken,
        }
    }

    /// Answers with a status and nothing more; a tag of our own where there was none.
    fn reply(&mut self, link: Link, request: &Message, status: u16) {
        let mut builder = self.response(request, status, &fresh(), link);
        if *request.method() == Method::Options || status == 405 {
            builder = builder
                .header(Name::Allow, self.profile.allow())
                .header(Name::UserAgent, &self.profile.user_agent);
        }
        self.finish(link, request, status, builder.end());
    }

    fn response(&self, request: &Message, status: u16, tag: &str, link: Link) -> Builder {
        Builder::respond(
            request,
            status,
            reason_phrase(status),
            Some(tag),
            link.peer(),
        )
    }

    fn finish(&mut self, link: Link, request: &Message, status: u16, bytes: Bytes) {
        let (now, t1) = (self.now(), self.profile.t1);
        if let Some(server) = self.transactions.server(request, request.method()) {
            server.response = Some(bytes.clone());
            server.status = status;
            if *request.method() == Method::Invite && status >= 200 {
                server.await_ack(now, t1);
            }
        }
        self.send(link, bytes);
    }
}

impl Dialog {
    /// Takes the direction and the keys that answer an offer (RFC 3264 6.1); without an offer ours stay.
    fn mirror(&mut self, offer: &[u8], script: &Script) {
        let Some(remote) = description::read(offer) else {
            return;
        };
        self.offered = remote.streams.len();
        for (at, (rtp, remote)) in self.rtp.iter_mut().zip(&remote.streams).enumerate() {
            if remote.rtp.is_none() || at > 0 && !script.shows {
                rtp.close();
            }
            rtp.answer_to(remote, script.srtp);
        }
        let ours = if self.on_hold {
            Direction::SendOnly
        } else {
            Direction::SendRecv
        };
        let theirs = remote.streams[0].direction.mirrored();
        self.direction = match (
            ours.sends() && theirs.sends(),
            ours.receives() && theirs.receives(),
        ) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        };
    }
}

/// Reads the status out of a NOTIFY for a REFER (RFC 3515 2.4.5).
fn reported(notify: &Message) -> Option<u16> {
    let line = std::str::from_utf8(notify.body()).ok()?;
    line.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// Cuts the parameters off a From value.
fn without_tag(value: &str) -> &str {
    let end = value.rfind('>').map(|at| at + 1);
    match end {
        Some(end) => &value[..end],
        None => value.split(';').next().unwrap_or(value),
    }
}
