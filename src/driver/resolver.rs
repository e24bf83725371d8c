//! Names to addresses, on a few threads of their own: the system's resolver blocks.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::ids::Transport;
use crate::engine::ports::{Input, Token};

use super::mailbox::{Mail, Mailboxes};

const THREADS: usize = 4;
/// Names waiting for a thread; beyond it, a name is answered with no address.
const WAITING_MAX: usize = 1024;
/// More addresses than this are not tried.
const ADDRESSES_MAX: usize = 16;

/// A question, and who asks.
pub(super) struct Question {
    pub(super) worker: usize,
    pub(super) token: Token,
    pub(super) host: Box<str>,
    pub(super) port: Option<u16>,
    pub(super) transport: Option<Transport>,
}

/// The threads end with the last copy of it.
pub struct Resolver {
    questions: SyncSender<Question>,
}

impl Resolver {
    /// Starts the threads; answers go to the mailbox of the worker that asked.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(mailboxes: &Mailboxes) -> io::Result<Self> {
        let (questions, waiting) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for index in 0..THREADS {
            let (waiting, mailboxes) = (Arc::clone(&waiting), mailboxes.clone());
            std::thread::Builder::new()
                .name(format!("resolver-{index}"))
                .spawn(move || answer_all(&waiting, &mailboxes))?;
        }
        Ok(Self { questions })
    }

    /// Answers at once where the host is an address already, or where too many names wait; else the
    /// answer comes by mail.
    pub(super) fn ask(&self, question: Question) -> Option<Input> {
        let token = question.token;
        if let Some(ip) = literal(&question.host) {
            let addresses = vec![target(ip, question.port, question.transport)];
            return Some(Input::Resolved { token, addresses });
        }
        let host = question.host.clone();
        if self.questions.try_send(question).is_err() {
            tracing::warn!(%host, "too many names wait to be resolved");
            let addresses = Vec::new();
            return Some(Input::Resolved { token, addresses });
        }
        None
    }
}

fn answer_all(waiting: &Mutex<Receiver<Question>>, mailboxes: &Mailboxes) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(question) = next else { return };
        let token = question.token;
        let addresses = resolve(&question);
        let answer = Mail::Input(Input::Resolved { token, addresses });
        mailboxes.post(question.worker, answer);
    }
}

fn resolve(question: &Question) -> Vec<(Transport, SocketAddr)> {
    let mut addresses = Vec::new();
    match (&*question.host, 0).to_socket_addrs() {
        Ok(found) => {
            for address in found {
                let target = target(address.ip(), question.port, question.transport);
                if addresses.len() < ADDRESSES_MAX && !addresses.contains(&target) {
                    addresses.push(target);
                }
            }
        }
        Err(error) => tracing::debug!(host = %question.host, %error, "not resolved"),
    }
    addresses
}

/// Reads an address as a SIP URI writes it, IPv6 in brackets.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// RFC 3263 4.1 and 4.2: UDP and the transport's own port where nothing else is said.
fn target(ip: IpAddr, port: Option<u16>, transport: Option<Transport>) -> (Transport, SocketAddr) {
    let transport = transport.unwrap_or(Transport::Udp);
    let port = port.unwrap_or_else(|| transport.default_port());
    (transport, SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(host: &str, port: Option<u16>, transport: Option<Transport>) -> Question {
        Question {
            worker: 0,
            token: Token(7),
            host: host.into(),
            port,
            transport,
        }
    }

    #[test]
    fn addresses_are_answered_at_once() {
        let poll = mio::Poll::new().unwrap();
        let polls = [poll.registry()].into_iter();
        let resolver = Resolver::start(&Mailboxes::new(polls, mio::Token(0)).unwrap()).unwrap();
        for (host, port, transport, expected) in [
            ("192.0.2.1", None, None, (Transport::Udp, "192.0.2.1:5060")),
            (
                "[2001:db8::1]",
                None,
                Some(Transport::Tls),
                (Transport::Tls, "[2001:db8::1]:5061"),
            ),
            (
                "2001:db8::1",
                Some(5080),
                Some(Transport::Tcp),
                (Transport::Tcp, "[2001:db8::1]:5080"),
            ),
        ] {
            let answer = resolver.ask(question(host, port, transport));
            let Some(Input::Resolved { token, addresses }) = answer else {
                panic!("{host} is not answered");
            };
            assert_eq!(token, Token(7));
            assert_eq!(addresses, [(expected.0, expected.1.parse().unwrap())]);
        }
    }

    #[test]
    fn names_are_looked_up() {
        let loopback = resolve(&question("localhost", Some(5070), None));
        assert!(loopback.iter().any(|(transport, address)| {
            *transport == Transport::Udp && address.ip().is_loopback() && address.port() == 5070
        }));
        // RFC 6761 6.4: never resolves.
        assert!(resolve(&question("nobody.invalid", None, None)).is_empty());
    }
}
