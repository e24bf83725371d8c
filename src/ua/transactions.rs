//! A phone's transactions (RFC 3261 17), kept for the whole of its short life so that every
//! retransmission finds its own.

use std::time::Duration;

use bytes::Bytes;

use crate::sip::{Message, Method};

use super::net::Link;
use super::request::{Draft, Ticket};

/// More than any scene has; the oldest is forgotten.
const KEPT_MAX: usize = 4096;
/// RFC 3261 17.1.2.2, T2.
const INTERVAL_MAX: Duration = Duration::from_secs(4);
/// RFC 3261 17: timers B, F and H are 64 times T1.
pub(super) const GIVE_UP_T1S: u32 = 64;

/// Resends until told to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resend {
    next: Duration,
    interval: Duration,
    max: Duration,
}

impl Resend {
    pub(super) fn start(now: Duration, t1: Duration, max: Duration) -> Self {
        Self {
            next: now + t1,
            interval: t1,
            max,
        }
    }

    /// Returns true where it is time to send again, and sets the next time.
    fn is_due(&mut self, now: Duration) -> bool {
        if now < self.next {
            return false;
        }
        self.interval = (self.interval * 2).min(self.max);
        self.next = now + self.interval;
        true
    }
}

/// What a response is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Only its ticket.
    Plain,
    Invite(usize),
    Reinvite(usize),
    /// Ends the call, whatever the answer.
    Bye,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) branch: String,
    pub(super) draft: Draft,
    pub(super) bytes: Bytes,
    pub(super) link: Link,
    pub(super) purpose: Purpose,
    pub(super) ticket: Ticket,
    pub(super) resend: Option<Resend>,
    /// None once there is a final response.
    pub(super) ends: Option<Duration>,
    /// The ACK to a refusal of an INVITE.
    pub(super) ack: Option<Bytes>,
}

#[derive(Debug)]
pub(super) struct Server {
    branch: String,
    sent_by: String,
    method: Method,
    pub(super) link: Link,
    pub(super) request: Message,
    pub(super) response: Option<Bytes>,
    pub(super) status: u16,
    pub(super) resend: Option<Resend>,
    ends: Duration,
}

/// What the passing of time asks for.
#[derive(Debug)]
pub(super) enum Due {
    Send(Link, Bytes),
    /// A request was never answered.
    TimedOut(Purpose, Ticket),
}

#[derive(Debug, Default)]
pub(super) struct Transactions {
    pub(super) clients: Vec<Client>,
    servers: Vec<Server>,
}

impl Transactions {
    pub(super) fn add_client(&mut self, client: Client) {
        if self.clients.len() >= KEPT_MAX {
            self.clients.remove(0);
        }
        self.clients.push(client);
    }

    pub(super) fn client(&mut self, response: &Message) -> Option<&mut Client> {
        let branch = response.branch()?;
        self.clients
            .iter_mut()
            .rev()
            .find(|client| client.branch == branch && client.draft.method == *response.method())
    }

    pub(super) fn add_server(&mut self, request: &Message, link: Link, now: Duration) {
        if self.servers.len() >= KEPT_MAX {
            self.servers.remove(0);
        }
        let (branch, sent_by) = key(request);
        self.servers.push(Server {
            branch,
            sent_by,
            method: request.method().clone(),
            link,
            request: request.clone(),
            response: None,
            status: 0,
            resend: None,
            ends: now,
        });
    }

    /// Finds the transaction of a request that came before; an ACK to a refusal and a CANCEL name
    /// that of their INVITE.
    pub(super) fn server(&mut self, request: &Message, method: &Method) -> Option<&mut Server> {
        let (branch, sent_by) = key(request);
        self.servers.iter_mut().rev().find(|server| {
            server.method == *method && server.branch == branch && server.sent_by == sent_by
        })
    }

    /// Finds the INVITE of a dialog that has this CSeq: whose 2xx an ACK is for.
    pub(super) fn invite(
        &mut self,
        call_id: &str,
        from_tag: &str,
        cseq: u32,
    ) -> Option<&mut Server> {
        self.servers.iter_mut().rev().find(|server| {
            server.method == Method::Invite
                && server.request.call_id() == call_id
                && server.request.from_tag() == Some(from_tag)
                && server.request.cseq() == cseq
        })
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let clients = self.clients.iter().filter_map(|client| {
            let resend = client.resend.map(|resend| resend.next);
            resend.into_iter().chain(client.ends).min()
        });
        let servers = self
            .servers
            .iter()
            .filter_map(|server| server.resend.map(|resend| resend.next));
        clients.chain(servers).min()
    }

    pub(super) fn run(&mut self, now: Duration) -> Vec<Due> {
        let mut due = Vec::new();
        for client in &mut self.clients {
            if client.ends.is_some_and(|ends| ends <= now) {
                client.ends = None;
                client.resend = None;
                due.push(Due::TimedOut(client.purpose, client.ticket));
            } else if client
                .resend
                .as_mut()
                .is_some_and(|resend| resend.is_due(now))
            {
                due.push(Due::Send(client.link, client.bytes.clone()));
            }
        }
        for server in &mut self.servers {
            if !server
                .resend
                .as_mut()
                .is_some_and(|resend| resend.is_due(now))
            {
                continue;
            }
            if server.ends <= now {
                server.resend = None;
            } else if let Some(response) = &server.response {
                due.push(Due::Send(server.link, response.clone()));
            }
        }
        due
    }
}

impl Server {
    /// Keeps a final response to an INVITE until it is acknowledged (RFC 3261 13.3.1.4, 17.2.1); over a
    /// reliable transport only a 2xx is sent again.
    pub(super) fn await_ack(&mut self, now: Duration, t1: Duration) {
        self.ends = now + t1 * GIVE_UP_T1S;
        let again = self.status < 300 || !self.link.is_reliable();
        self.resend = again.then(|| Resend::start(now, t1, INTERVAL_MAX));
    }
}

fn key(request: &Message) -> (String, String) {
    let via = request.via();
    (
        via.branch.unwrap_or("").to_owned(),
        format!("{}:{}", via.host, via.port.unwrap_or(5060)),
    )
}

/// How a request of ours is sent again over UDP: INVITE without a bound, others up to T2.
pub(super) fn resend(method: &Method, link: Link, now: Duration, t1: Duration) -> Option<Resend> {
    let max = if *method == Method::Invite {
        Duration::MAX / 4
    } else {
        INTERVAL_MAX
    };
    (!link.is_reliable()).then(|| Resend::start(now, t1, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_their_bound() {
        let t1 = Duration::from_millis(500);
        let mut resend = Resend::start(Duration::ZERO, t1, INTERVAL_MAX);
        let mut sent = Vec::new();
        for ms in (0..16_000).step_by(100) {
            if resend.is_due(Duration::from_millis(ms)) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11_500, 15_500]);
    }
}
