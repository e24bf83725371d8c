//! A simulated phone: a whole user agent over the wire format alone, knowing nothing of the engine.
//!
//! Sans-IO like what it tests: messages, acts of its user and the time go in; bytes for the server and
//! notes for the log come out.

mod call;
mod refer;
mod reliable;
mod repair;
mod requests;
mod responses;
mod session;
mod speech;
#[cfg(test)]
mod tests;
mod timer;
mod traits;
mod transaction;
mod write;

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::settings::Kind;
use refork::engine::time::{Millis, Time};
use refork::sip::{Message, Method};
use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::log::What;
use call::{Call, Stage};
use session::Session;
use transaction::{Client, ClientState, LINGER, Server};

pub(crate) use speech::{Codec, Speech};
pub(crate) use traits::{Temper, Traits};

/// How long a caller listens to the ringing.
const PATIENCE: Millis = Millis(120_000);
/// How long a phone rings before it gives up by itself.
const RINGS_FOR: Millis = Millis(100_000);
const EXPIRES_S: u64 = 600;
const DOMAIN: &str = "sim.test";

pub(crate) enum Out {
    Send(Bytes),
    Note(What),
}

/// What a phone is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) address: SocketAddr,
    pub(crate) stream: bool,
    pub(crate) traits: Traits,
}

pub(crate) struct Phone {
    pub(crate) spec: Spec,
    server: SocketAddr,
    dice: Dice,
    coins: u64,
    clients: Vec<Client>,
    servers: Vec<Server>,
    calls: Vec<Call>,
    registration: Registration,
    out: Vec<Out>,
}

#[derive(Default)]
struct Registration {
    wanted: bool,
    cseq: u32,
    /// So often it was started anew: then it has another Call-ID (RFC 3261 10.2.4).
    starts: u32,
    /// When it is to be sent (again).
    at: Option<Time>,
}

impl Phone {
    pub(crate) fn new(spec: Spec, server: SocketAddr, dice: Dice) -> Self {
        Self {
            spec,
            server,
            dice,
            coins: 0,
            clients: Vec::new(),
            servers: Vec::new(),
            calls: Vec::new(),
            registration: Registration::default(),
            out: Vec::new(),
        }
    }

    /// Returns what it has to send and to say since the last time.
    pub(crate) fn drain(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn register(&mut self, now: Time) {
        self.registration.wanted = true;
        self.send_register(EXPIRES_S, now);
    }

    pub(crate) fn unregister(&mut self, now: Time) {
        self.registration = Registration {
            wanted: false,
            at: None,
            ..self.registration
        };
        self.send_register(0, now);
    }

    /// Everything that is not burnt into it is gone.
    pub(crate) fn forget_all(&mut self) {
        self.clients.clear();
        self.servers.clear();
        self.calls.clear();
        self.registration.at = None;
        self.registration.cseq = 0;
        self.registration.starts += 1;
    }

    /// The phone stands at another address: it registers, and perhaps mends its calls by itself.
    pub(crate) fn moved(&mut self, address: SocketAddr, now: Time) {
        self.spec.address = address;
        self.register(now);
        if self.spec.traits.temper == Temper::HangsUpOnMove {
            self.hang_up(now);
        }
        if self.spec.traits.repairs {
            self.repair(now);
        }
    }

    pub(crate) fn call(&mut self, user: &str, kind: Kind, now: Time) {
        let id = self.number();
        let session = self.session(kind, id);
        let (call_id, local_tag) = (self.coin("c"), self.tag());
        let call = Call {
            local: format!("\"{}\" <sip:{}@{DOMAIN}>", self.spec.user, self.spec.user),
            remote: format!("<sip:{user}@{DOMAIN}>"),
            target: format!("sip:{user}@{DOMAIN}"),
            ..Call::new(id, call_id, local_tag, session)
        };
        self.calls.push(call);
        self.invite(self.calls.len() - 1, false, now);
    }

    /// Its user puts the receiver down. Returns false where there is nothing to put down.
    pub(crate) fn hang_up(&mut self, now: Time) -> bool {
        let mut any = false;
        for id in self.ids() {
            let Some(at) = self.find(id) else { continue };
            match self.calls[at].stage {
                Stage::Live => {
                    self.note(What::HungUp);
                    self.bye(at, now);
                }
                Stage::Calling => {
                    self.note(What::HungUp);
                    self.cancel(at, now);
                }
                // Too early for a BYE of the callee (RFC 3261 15): it is asked again later.
                Stage::Answered | Stage::Ringing { .. } | Stage::Ending => continue,
            }
            any = true;
        }
        any
    }

    /// Its user writes into the session that stands. Returns false where none does.
    pub(crate) fn say(&mut self, text: &str, now: Time) -> bool {
        let Some(at) = self.live() else { return false };
        self.calls[at].texts.push_back(text.to_owned());
        self.next_text(at, now);
        true
    }

    /// Its user puts the other on hold, or takes it back.
    pub(crate) fn hold(&mut self, on: bool, now: Time) -> bool {
        let Some(at) = self.live() else { return false };
        if self.calls[at].session.held == on {
            return false;
        }
        self.calls[at].session.held = on;
        self.change(at, now);
        true
    }

    /// Its user shows pictures, or no longer. Returns false where nothing changes.
    pub(crate) fn film(&mut self, on: bool, now: Time) -> bool {
        let Some(at) = self.live() else { return false };
        let filming = self.calls[at].session.filming;
        if filming == on || !self.spec.traits.speech.camera {
            return false;
        }
        self.calls[at].session.filming = on;
        self.change(at, now);
        true
    }

    /// Returns true where a dialog stands.
    pub(crate) fn is_talking(&self) -> bool {
        self.live().is_some()
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.calls.is_empty()
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registration.wanted
    }

    pub(crate) fn has_media_port(&self, rtp: SocketAddr) -> bool {
        self.calls.iter().any(|call| {
            let session = &call.session;
            let picture = SocketAddr::new(session.rtp.ip(), session.picture_port());
            session.rtp == rtp || picture == rtp
        })
    }

    /// Returns where the media of the stream that it wants at `rtp` is sent to, where it sends any.
    pub(crate) fn media_to(&self, rtp: SocketAddr) -> Option<SocketAddr> {
        let early = self.spec.traits.early;
        let sends = |call: &&Call| call.stands() || early && call.is_early();
        let mut calls = self.calls.iter().filter(sends);
        calls.find_map(|call| call.session.media_to(rtp))
    }

    /// Returns true where it plays something to that port before it is answered.
    pub(crate) fn plays_early_to(&self, port: u16) -> bool {
        let rings = |call: &&Call| matches!(call.stage, Stage::Ringing { .. }) && call.is_early();
        let mut calls = self.calls.iter().filter(rings);
        // Where it has moved since, nobody knows where it sends from.
        let here = |call: &Call| call.session.rtp.ip() == self.spec.address.ip();
        self.spec.traits.early
            && calls.any(|call| {
                let to = call.session.media_to(call.session.rtp);
                here(call) && to.is_some_and(|to| to.port() == port)
            })
    }

    /// Returns true where it calls, and was told that media comes from that port before the answer.
    pub(crate) fn listens_early_to(&self, port: u16) -> bool {
        let mut calls = self.calls.iter();
        calls.any(|call| {
            let from = call.session.remote.filter(|_| call.stage == Stage::Calling);
            from.is_some_and(|from| from.port() == port)
        })
    }

    /// Its connection is closed. What it has asked within a call is not answered any more (RFC 3261 8.1.3.1); who
    /// calls may have its answer over the next connection.
    pub(crate) fn is_cut_off(&mut self, now: Time) {
        self.give_up_asking(now, |client| client.state == ClientState::Proceeding);
    }

    /// Its re-INVITEs of that kind are not answered any more.
    fn give_up_asking(&mut self, now: Time, which: impl Fn(&Client) -> bool) {
        let open = |client: &mut Client| {
            let within = which(client) && client.is_within_a_dialog();
            client.method == Method::Invite && within
        };
        let open: Vec<_> = self.clients.extract_if(.., open).collect();
        for client in open {
            self.note(What::TimedOut(client.method.clone()));
            self.unanswered(&client, now);
        }
    }

    /// Nobody takes its connection. A re-INVITE that it has just sent has failed (RFC 3261 8.1.3.1).
    pub(crate) fn is_refused(&mut self, bytes: &Bytes, now: Time) {
        self.give_up_asking(now, |client| client.bytes == *bytes);
    }

    pub(crate) fn handle(&mut self, bytes: Bytes, now: Time) {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(malformed) => panic!("the server wrote a malformed message: {malformed:?}"),
        };
        self.note(What::Got(message.clone()));
        if message.is_request() {
            self.handle_request(&message, now);
        } else {
            self.handle_response(&message, now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let clients = self.clients.iter().map(Client::next);
        let servers = self.servers.iter().map(Server::next);
        let calls = self.calls.iter().filter_map(Call::next);
        clients
            .chain(servers)
            .chain(calls)
            .chain(self.registration.at)
            .min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.registration.at.is_some_and(|at| at <= now) {
            self.send_register(EXPIRES_S, now);
        }
        self.time_clients(now);
        self.time_servers(now);
        self.time_calls(now);
    }

    fn time_clients(&mut self, now: Time) {
        for at in (0..self.clients.len()).rev() {
            let client = &mut self.clients[at];
            if client.until > now {
                if let Some(bytes) = client.due(now) {
                    self.send(bytes);
                }
                continue;
            }
            match client.state {
                ClientState::Done => {
                    self.clients.remove(at);
                }
                // Its user has heard it ring long enough.
                ClientState::Proceeding if client.method == Method::Invite => {
                    client.until = now + LINGER + LINGER;
                    client.state = ClientState::Trying;
                    let call = client.call;
                    if let Some(at) = call.and_then(|id| self.find(id)) {
                        self.cancel(at, now);
                    }
                }
                ClientState::Trying | ClientState::Proceeding => {
                    let client = self.clients.remove(at);
                    self.note(What::TimedOut(client.method.clone()));
                    self.unanswered(&client, now);
                }
            }
        }
    }

    fn time_servers(&mut self, now: Time) {
        for at in (0..self.servers.len()).rev() {
            let udp = !self.spec.stream;
            let server = &mut self.servers[at];
            if let Some((status, bytes)) = server.ripe(now) {
                server.answer(status, bytes.clone(), udp, now);
                self.send(bytes);
            } else if server.until > now {
                if let Some(bytes) = server.due(now) {
                    self.send(bytes);
                }
            } else {
                let server = self.servers.remove(at);
                self.forgotten(&server, now);
            }
        }
    }

    fn time_calls(&mut self, now: Time) {
        for id in self.ids() {
            let Some(at) = self.find(id) else { continue };
            if self.calls[at].change_at.is_some_and(|at| at <= now) {
                self.change(at, now);
            }
            self.time_session(at, now);
            let Stage::Ringing {
                ring,
                answer,
                give_up,
            } = self.calls[at].stage
            else {
                continue;
            };
            if ring.is_some_and(|ring| ring <= now) {
                self.calls[at].stage = Stage::Ringing {
                    ring: None,
                    answer,
                    give_up,
                };
                self.ring(at, now);
            }
            if answer.is_some_and(|answer| answer <= now) {
                self.take(at, now);
            } else if give_up <= now {
                self.decline(at, 480, now);
            }
        }
    }

    fn send(&mut self, bytes: Bytes) {
        self.out.push(Out::Send(bytes));
    }

    fn note(&mut self, what: What) {
        self.out.push(Out::Note(what));
    }

    fn number(&mut self) -> u64 {
        self.coins += 1;
        self.coins
    }

    /// Returns a new name for something.
    fn coin(&mut self, kind: &str) -> String {
        let (number, chance) = (self.number(), self.dice.between(0, 0xffff));
        format!("{kind}{}x{number}x{chance:04x}", self.spec.name)
    }

    /// Returns our tag of a new dialog.
    fn tag(&mut self) -> String {
        if self.spec.traits.temper == Temper::ReusesTags {
            return format!("t{}", self.spec.name);
        }
        self.coin("t")
    }

    fn session(&mut self, kind: Kind, id: u64) -> Session {
        let rtp = SocketAddr::new(self.spec.address.ip(), 20_000 + 2 * (id % 5000) as u16);
        Session::new(kind, rtp, id, self.spec.traits.speech)
    }

    fn ids(&self) -> Vec<u64> {
        self.calls.iter().map(|call| call.id).collect()
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.calls.iter().position(|call| call.id == id)
    }

    fn live(&self) -> Option<usize> {
        self.calls.iter().position(|call| call.stage == Stage::Live)
    }
}
