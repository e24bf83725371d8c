//! A phone's state, behind its lock: sockets, registration, transactions, calls.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::sip::{Message, Uri};

use super::dialog::{Dialog, Ending, Role, Text, Todo};
use super::log::{Log, What};
use super::net::{Link, Net};
use super::profile::Profile;
use super::request::{Ticket, fresh};
use super::rtp::Rtp;
use super::transactions::{Due, Purpose, Transactions};
use super::{Transport, UaError};

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) profile: Profile,
    pub(super) label: Arc<str>,
    pub(super) log: Log,
    /// None: killed.
    pub(super) net: Option<Net>,
    pub(super) local: SocketAddr,
    pub(super) frozen: bool,
    pub(super) transactions: Transactions,
    pub(super) calls: Vec<Dialog>,
    /// Texts that belong to no dialog.
    pub(super) texts: Vec<Text>,
    /// Final responses by ticket; None: nothing came.
    pub(super) outcomes: BTreeMap<Ticket, Option<Message>>,
    pub(super) registration: (String, u32),
    tickets: u64,
}

impl Agent {
    pub(super) fn new(profile: Profile, log: Log, net: Net) -> Self {
        Self {
            label: Arc::from(profile.label.as_str()),
            local: net.local,
            profile,
            log,
            net: Some(net),
            frozen: false,
            transactions: Transactions::default(),
            calls: Vec::new(),
            texts: Vec::new(),
            outcomes: BTreeMap::new(),
            registration: (fresh(), 0),
            tickets: 0,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.log.now()
    }

    /// Whoever is killed or frozen does nothing.
    pub(super) fn check_awake(&self) -> Result<(), UaError> {
        if self.net.is_none() {
            Err(UaError::Killed(self.profile.label.clone()))
        } else if self.frozen {
            Err(UaError::Frozen(self.profile.label.clone()))
        } else {
            Ok(())
        }
    }

    pub(super) fn kill(&mut self) {
        if self.net.take().is_some() {
            for rtp in self.calls.iter_mut().flat_map(|call| &mut call.rtp) {
                rtp.close();
            }
            self.log.push(&self.label, What::Killed);
        }
    }

    pub(super) fn freeze(&mut self) {
        if self.net.is_some() && !self.frozen {
            self.frozen = true;
            self.log.push(&self.label, What::Frozen);
        }
    }

    pub(super) fn thaw(&mut self) {
        if self.net.is_some() && self.frozen {
            self.frozen = false;
            self.log.push(&self.label, What::Thawed);
            let now = self.now();
            for rtp in self.calls.iter_mut().flat_map(|call| &mut call.rtp) {
                rtp.resume(now);
            }
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Reads all that came, and does what is due.
    pub(super) fn work(&mut self) {
        if self.frozen {
            return;
        }
        let log = self.log.clone();
        for rtp in self.calls.iter_mut().flat_map(|call| &mut call.rtp) {
            rtp.listen(|| log.now());
        }
        let Some(net) = &mut self.net else { return };
        for (link, bytes) in net.receive() {
            self.on_bytes(link, bytes);
        }
        let now = self.now();
        for due in self.transactions.run(now) {
            match due {
                Due::Send(link, bytes) => self.send(link, bytes),
                Due::TimedOut(purpose, ticket) => {
                    self.outcomes.insert(ticket, None);
                    if let Purpose::Invite(call) = purpose {
                        self.calls[call].end(Ending::NoAnswer);
                    }
                }
            }
        }
        for call in 0..self.calls.len() {
            self.run_script(call, now);
            for rtp in &mut self.calls[call].rtp {
                rtp.speak(now);
            }
        }
    }

    fn run_script(&mut self, call: usize, now: Duration) {
        let Role::Taken(taken) = &mut self.calls[call].role else {
            return;
        };
        let Some((_, todo)) = taken.todo.filter(|(at, _)| *at <= now) else {
            return;
        };
        taken.todo = None;
        if self.calls[call].is_over() {
            return;
        }
        // A call that was answered or refused by hand meanwhile is past its script.
        let _ = match todo {
            Todo::Answer => self.answer(call),
            Todo::Refuse(status) => self.refuse(call, status),
        };
    }

    /// Returns when there is next something to do without a packet.
    pub(super) fn deadline(&self) -> Option<Duration> {
        if self.frozen {
            return None;
        }
        let scripts = self.calls.iter().filter_map(|call| match &call.role {
            Role::Taken(taken) => taken.todo.map(|(at, _)| at),
            Role::Placed(_) => None,
        });
        let voices = self
            .calls
            .iter()
            .flat_map(|call| &call.rtp)
            .filter_map(Rtp::deadline);
        scripts
            .chain(voices)
            .chain(self.transactions.deadline())
            .min()
    }

    fn on_bytes(&mut self, link: Link, bytes: Bytes) {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            // A keep-alive (RFC 5626 4.4.1).
            return;
        }
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(fault) => {
                let text = format!("received nonsense: {fault}");
                self.log.push(&self.label, What::Note(text));
                return;
            }
        };
        let from = link.peer();
        self.log.push(
            &self.label,
            What::Received {
                from,
                message: message.clone(),
            },
        );
        if message.is_request() {
            self.on_request(link, &message);
        } else {
            self.on_response(&message);
        }
    }

    pub(super) fn send(&mut self, link: Link, bytes: Bytes) {
        let Some(net) = &mut self.net else { return };
        if let Ok(message) = Message::parse(bytes.clone()) {
            let to = link.peer();
            self.log.push(&self.label, What::Sent { to, message });
        }
        net.send(link, &bytes);
    }

    /// Finds the way to the first Route or the Request-URI where it names an address, else to the server.
    pub(super) fn link_for(&mut self, routes: &[String], uri: &str) -> Result<Link, UaError> {
        let hop = routes
            .first()
            .and_then(|route| crate::sip::Address::parse(route).ok())
            .map_or(uri, |route| route.uri);
        let named = Uri::parse(hop).ok().and_then(|uri| {
            let ip: IpAddr = uri.host_ip()?;
            Some(SocketAddr::new(ip, uri.port.unwrap_or(5060)))
        });
        let peer = named.unwrap_or(self.profile.server);
        match &mut self.net {
            Some(net) => {
                let profile = &self.profile;
                Ok(net.link_to(peer, profile.trust.as_ref(), &profile.domain)?)
            }
            None => Err(UaError::Killed(self.profile.label.clone())),
        }
    }

    /// Returns our Contact's URI.
    pub(super) fn contact_uri(&self) -> String {
        let (user, transport) = (&self.profile.user, self.profile.transport.param());
        format!("sip:{user}@{}{transport}", self.sent_by())
    }

    /// Returns the host and port that we name. A WebSocket client has none that anybody could connect to
    /// (RFC 7118 5).
    pub(super) fn sent_by(&self) -> String {
        match self.profile.transport {
            Transport::Udp | Transport::Tcp | Transport::Tls => self.local.to_string(),
            Transport::Ws | Transport::Wss => format!("{}.invalid", self.label),
        }
    }

    /// Returns our Contact for dialogs, with the instance (RFC 5626 4.2.1 allows it there too).
    pub(super) fn contact(&self) -> String {
        let mut contact = match &self.profile.display {
            Some(display) => format!("\"{display}\" <{}>", self.contact_uri()),
            None => format!("<{}>", self.contact_uri()),
        };
        if let Some(instance) = &self.profile.instance {
            contact.push_str(&format!(";+sip.instance=\"<{instance}>\""));
        }
        contact
    }

    /// Returns our From or To value without a tag.
    pub(super) fn myself(&self) -> String {
        match &self.profile.display {
            Some(display) => format!("\"{display}\" <{}>", self.profile.aor()),
            None => format!("<{}>", self.profile.aor()),
        }
    }
}
