//! Why hosts that we connect to over TLS cannot be spoken with: what an operator is to mend, said once.

use std::net::SocketAddr;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rustls::{CertificateError, Error as TlsError};

use super::connection::Connection;
use super::registry::{Origin, Registry, number_of};
use super::streams::Streams;
use crate::engine::ids::{ConnectionId, Flow};
use crate::engine::time::Time;
use crate::engine::view::Trouble;
use crate::tls::{self, date};

/// Hosts at their addresses that are known to fail; with more, all are forgotten, and told of again.
const TROUBLES_MAX: usize = 1024;

/// By host and address, what came of the last handshake, where that was nothing. One for all workers.
#[derive(Debug, Default)]
pub struct Troubles(DashMap<(Box<str>, SocketAddr), Trouble>);

impl Troubles {
    /// Takes the reason why a handshake came to nothing. Returns true where it is another one than the last time.
    pub fn note(&self, host: &str, peer: SocketAddr, what: Box<str>, now: Time) -> bool {
        if self.0.len() >= TROUBLES_MAX {
            self.0.clear();
        }
        let trouble = Trouble {
            at: now,
            peer,
            what,
        };
        match self.0.entry((host.into(), peer)) {
            Entry::Vacant(free) => {
                free.insert(trouble);
                true
            }
            Entry::Occupied(mut known) => known.insert(trouble.clone()).what != trouble.what,
        }
    }

    /// The host has proved itself at that address. Returns true where it had not before.
    pub(super) fn is_over(&self, host: &str, peer: SocketAddr) -> bool {
        !self.0.is_empty() && self.0.remove(&(host.into(), peer)).is_some()
    }

    /// Returns the last that came of a host at any of its addresses.
    pub fn of(&self, host: &str) -> Option<Trouble> {
        let host = host.to_ascii_lowercase();
        let of_host = self.0.iter().filter(|one| *one.key().0 == *host);
        of_host.map(|one| one.clone()).max_by_key(|one| one.at)
    }
}

impl Registry {
    /// A connection's handshake is over: what the peer has proved is known from now on.
    ///
    /// # Errors
    /// Another connection is the one to its peer.
    pub(super) fn greeted(&self, connection: &Connection) -> Result<(), Flow> {
        let flow = connection.flow;
        match connection.origin {
            // What was opened is known already.
            Origin::Opened => {
                if let Some(host) = flow.connection.and_then(|host| self.host(host))
                    && self.troubles.is_over(&host, flow.peer)
                {
                    tracing::info!(%host, peer = %flow.peer, "speaks TLS with us again");
                }
                Ok(())
            }
            Origin::Accepted => {
                if let (Some(id), Some(certificate)) = (flow.connection, connection.certificate()) {
                    self.vouch(id, tls::names(certificate));
                }
                self.claim(flow)
            }
        }
    }
}

impl Streams {
    /// Returns the host that a connection was opened to and why its TLS came to nothing.
    pub fn trouble(&self, id: ConnectionId) -> Option<(Box<str>, Box<str>)> {
        let connection = self.open.get(&number_of(id))?;
        let host = connection.flow.connection.filter(|id| id.is_to_host())?;
        Some((self.registry.host(host)?, connection.failure()?))
    }
}

/// Says what is wrong with whom we connect to, without what changes from one try to the next.
pub(super) fn reason(error: &TlsError) -> Box<str> {
    let said = if let TlsError::InvalidCertificate(why) = error {
        of_certificate(why)
    } else if let TlsError::AlertReceived(alert) = error {
        format!(
            "it refuses us by the alert {alert:?}: it may want a certificate of ours, or another one"
        )
    } else {
        error.to_string()
    };
    said.into()
}

fn of_certificate(why: &CertificateError) -> String {
    use CertificateError as C;
    if let C::ExpiredContext { not_after, .. } = why {
        format!("its certificate ended on {}", date(not_after.as_secs()))
    } else if let C::NotValidYetContext { not_before, .. } = why {
        let begin = date(not_before.as_secs());
        format!("its certificate is not good before {begin}")
    } else if let C::NotValidForNameContext { presented, .. } = why {
        let named = presented.join(", ");
        format!("its certificate does not name the host of the target, but {named}")
    } else if *why == C::NotValidForName {
        "its certificate does not name the host of the target".to_owned()
    } else if matches!(why, C::UnknownIssuer | C::BadSignature) {
        // Or of one by the name of a CA that is trusted, with another key.
        "its certificate is of a CA that is not trusted here (`tls.server_ca`)".to_owned()
    } else {
        format!("its certificate is not taken: {why:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_news_once() {
        let troubles = Troubles::default();
        let peer: SocketAddr = "192.0.2.1:5061".parse().unwrap();
        let note = |what: &str, at| troubles.note("pbx.example.net", peer, what.into(), Time(at));
        assert!(note("ended", 1));
        assert!(!note("ended", 2));
        assert!(note("unknown", 3));
        let known = troubles.of("PBX.example.net").unwrap();
        assert_eq!((&*known.what, known.at), ("unknown", Time(3)));
        assert!(troubles.is_over("pbx.example.net", peer));
        assert_eq!(troubles.of("pbx.example.net"), None);
        assert!(!troubles.is_over("pbx.example.net", peer));
        assert!(note("unknown", 4));
    }
}
