//! How bytes get from a phone to the server and back.

use bytes::Bytes;
use refork::engine::ids::{ConnectionId, Flow, Transport};
use refork::engine::ports::{Input, Witness};
use refork::engine::time::Millis;
use refork::sip::Message;
use std::net::SocketAddr;

use super::{Event, Simulation};
use crate::log::{PhoneId, What, line};
use crate::net::{Connection, Power};
use crate::outside::{TCP, UDP};
use crate::scenario::Act;

/// Datagrams that a stopped phone's socket keeps.
const WAITING_MAX: usize = 100;

/// So much of a datagram an ICMP error has room for at a host that quotes all it can.
const QUOTED_MAX: usize = 520;

impl Simulation {
    pub(super) fn send_from_phone(&mut self, phone: PhoneId, bytes: Bytes) {
        let message = Message::parse(bytes.clone()).expect("phones write sound messages");
        self.log.add(self.now, Some(phone), What::Sent(message));
        if self.phones[phone].spec.stream {
            return self.stream_from_phone(phone, bytes);
        }
        let from = self.phones[phone].spec.address;
        let fates = if self.lines[phone].cut || self.lines[phone].mute {
            Vec::new()
        } else {
            self.scenario.weather.fates(&mut self.chance)
        };
        if fates.is_empty() {
            self.lost(Some(phone), &bytes, "on the way to the server");
        }
        for delay in fates {
            let bytes = bytes.clone();
            self.after(delay, Event::ToServer { from, bytes });
        }
    }

    pub(super) fn send_from_server(&mut self, flow: Flow, bytes: Bytes) {
        if flow.transport != Transport::Udp {
            return self.stream_from_server(flow, bytes);
        }
        let Some(phone) = self.phone_at(flow.peer) else {
            return self.lost(None, &bytes, "no phone has that address");
        };
        let fates = self.scenario.weather.fates(&mut self.chance);
        if fates.is_empty() {
            self.lost(None, &bytes, "on the way to the phone");
        }
        for delay in fates {
            let (bytes, to) = (bytes.clone(), flow.peer);
            self.after(delay, Event::ToPhone { phone, to, bytes });
        }
    }

    pub(super) fn datagram_at_server(&mut self, from: SocketAddr, bytes: Bytes) {
        let flow = Flow {
            transport: Transport::Udp,
            listener: UDP,
            peer: from,
            connection: None,
        };
        self.tell(Input::Message { flow, bytes });
    }

    pub(super) fn datagram_at_phone(&mut self, phone: PhoneId, to: SocketAddr, bytes: Bytes) {
        let away = self.lines[phone].cut || self.lines[phone].deaf;
        if self.phones[phone].spec.address != to || away {
            return self.lost(Some(phone), &bytes, "nobody there");
        }
        match self.lines[phone].power {
            Power::On => self.give(phone, bytes),
            Power::Frozen => {
                let waiting = &mut self.lines[phone].waiting;
                if waiting.len() < WAITING_MAX {
                    waiting.push_back(bytes);
                }
            }
            Power::Off { speaks } => {
                self.lost(Some(phone), &bytes, "switched off");
                if speaks {
                    // Every third host has no room for more than eight octets, which is no part of a message.
                    let quoted = match phone % 3 {
                        2 => Bytes::new(),
                        _ => bytes.slice(..bytes.len().min(QUOTED_MAX)),
                    };
                    self.inform(Input::Unreachable {
                        transport: Transport::Udp,
                        peer: to,
                        witness: Witness::Icmp(quoted),
                    });
                }
            }
        }
    }

    fn stream_from_phone(&mut self, phone: PhoneId, bytes: Bytes) {
        if self.engine.is_none() {
            self.lost(Some(phone), &bytes, "connection refused");
            self.phones[phone].is_refused(&bytes, self.now);
            let wait = self.chance.span(500, 1500);
            return self.after(wait, Event::Reconnect(phone));
        }
        if self.lines[phone].connection.is_none() {
            let ip = self.phones[phone].spec.address.ip();
            let port = 30_000 + (self.connections % 30_000) as u16;
            self.connect(phone, SocketAddr::new(ip, port));
            // A phone that has made a new connection registers over it.
            if !bytes.starts_with(b"REGISTER") {
                self.after(Millis(1), Event::Act(Act::Register(phone)));
            }
        }
        let delay = self.scenario.weather.delay(&mut self.chance);
        let (now, cut) = (self.now, self.lines[phone].cut);
        let Some(connection) = &mut self.lines[phone].connection else {
            return;
        };
        if cut || !connection.held_for_server.is_empty() {
            connection.held_for_server.push_back(bytes);
            return;
        }
        let (at, id) = ((now + delay).max(connection.to_server), connection.id);
        connection.to_server = at;
        self.at(at, Event::ToServerStream { phone, id, bytes });
    }

    pub(super) fn stream_at_server(&mut self, phone: PhoneId, id: ConnectionId, bytes: Bytes) {
        let cut = self.lines[phone].cut;
        let Some(connection) = self.lines[phone]
            .connection
            .as_mut()
            .filter(|connection| connection.id == id)
        else {
            return self.lost(Some(phone), &bytes, "connection closed");
        };
        if cut {
            connection.held_for_server.push_back(bytes);
            return;
        }
        let flow = flow(connection);
        self.tell(Input::Message { flow, bytes });
    }

    fn stream_from_server(&mut self, flow: Flow, bytes: Bytes) {
        let known = |line: &crate::net::Line| match (&line.connection, flow.connection) {
            (Some(connection), Some(id)) => connection.id == id,
            (Some(connection), None) => connection.peer == flow.peer,
            (None, _) => false,
        };
        let mut found = self.lines.iter().position(known);
        if found.is_none() && flow.connection.is_none() {
            found = self
                .phone_at(flow.peer)
                .filter(|phone| self.phones[*phone].spec.stream && self.lines[*phone].passes());
            if let Some(phone) = found {
                self.connect(phone, flow.peer);
            }
        }
        let Some(phone) = found else {
            self.lost(None, &bytes, "no connection");
            return self.inform(Input::Closed { flow });
        };
        let delay = self.scenario.weather.delay(&mut self.chance);
        let now = self.now;
        let Some(connection) = &mut self.lines[phone].connection else {
            return;
        };
        let at = (now + delay).max(connection.to_phone);
        connection.to_phone = at;
        let id = connection.id;
        self.at(at, Event::ToPhoneStream { phone, id, bytes });
    }

    pub(super) fn stream_at_phone(&mut self, phone: PhoneId, id: ConnectionId, bytes: Bytes) {
        let passes = self.lines[phone].passes();
        let Some(connection) = self.lines[phone]
            .connection
            .as_mut()
            .filter(|connection| connection.id == id)
        else {
            return self.lost(Some(phone), &bytes, "connection closed");
        };
        if passes && connection.held_for_phone.is_empty() {
            return self.give(phone, bytes);
        }
        connection.held_for_phone.push_back(bytes);
        if self.lines[phone].power != Power::Frozen {
            let wait = self.chance.span(15_000, 30_000);
            self.after(wait, Event::StreamTimeout { phone, id });
        }
    }

    /// The line is whole, and the phone runs: what has waited arrives.
    pub(super) fn release(&mut self, phone: PhoneId) {
        for bytes in std::mem::take(&mut self.lines[phone].waiting) {
            self.give(phone, bytes);
        }
        let Some(connection) = &mut self.lines[phone].connection else {
            return;
        };
        let id = connection.id;
        let to_server = std::mem::take(&mut connection.held_for_server);
        let to_phone = std::mem::take(&mut connection.held_for_phone);
        for bytes in to_server {
            self.at(self.now, Event::ToServerStream { phone, id, bytes });
        }
        for bytes in to_phone {
            self.at(self.now, Event::ToPhoneStream { phone, id, bytes });
        }
    }

    /// A phone has one connection: who is reached over another closes the one before.
    fn connect(&mut self, phone: PhoneId, peer: SocketAddr) {
        if let Some(before) = self.lines[phone].connection.take() {
            self.outside.connections.remove(&before.peer);
            let flow = flow(&before);
            self.inform(Input::Closed { flow });
        }
        self.connections += 1;
        let id = ConnectionId(self.connections);
        self.outside.connections.insert(peer, id);
        self.lines[phone].connection = Some(Connection::new(id, peer, self.now));
    }

    /// Ends a phone's connection, and tells those who can know.
    pub(super) fn close(&mut self, phone: PhoneId, tell_server: bool) {
        let Some(connection) = self.lines[phone].connection.take() else {
            return;
        };
        self.outside.connections.remove(&connection.peer);
        self.phones[phone].is_cut_off(self.now);
        if tell_server {
            self.inform(Input::Closed {
                flow: flow(&connection),
            });
        }
        let wait = self.chance.span(200, 1500);
        self.after(wait, Event::Reconnect(phone));
    }

    pub(super) fn stream_timeout(&mut self, phone: PhoneId, id: ConnectionId) {
        let line = &self.lines[phone];
        let stale = line
            .connection
            .as_ref()
            .is_some_and(|connection| connection.id == id);
        if stale && !line.passes() && line.power != Power::Frozen {
            self.close(phone, true);
        }
    }

    /// A phone that has lost its connection makes another, and registers over it.
    pub(super) fn reconnect(&mut self, phone: PhoneId) {
        let line = &self.lines[phone];
        if line.power != Power::On || line.connection.is_some() {
            return;
        }
        if line.cut || self.engine.is_none() {
            return self.after(Millis(1000), Event::Reconnect(phone));
        }
        if self.phones[phone].is_registered() {
            self.phones[phone].register(self.now);
            self.flush(phone);
        }
    }

    fn phone_at(&self, address: SocketAddr) -> Option<PhoneId> {
        self.phones
            .iter()
            .position(|phone| phone.spec.address == address)
    }

    fn lost(&mut self, phone: Option<PhoneId>, bytes: &Bytes, why: &str) {
        self.remark(phone, || {
            let what = Message::parse(bytes.clone()).map_or_else(
                |malformed| format!("{malformed:?}"),
                |message| line(&message),
            );
            format!("x    ({why}) {what}")
        });
    }
}

fn flow(connection: &Connection) -> Flow {
    Flow {
        transport: Transport::Tcp,
        listener: TCP,
        peer: connection.peer,
        connection: Some(connection.id),
    }
}
