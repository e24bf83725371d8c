//! Log lines: what the engine tells operators, as `tracing` events with the conversation's id and Call-ID.
//!
//! A call at `info` is a few lines: invited, answered, lost, restored, ended. Everything else is `debug`,
//! peers' nonsense too: it has its counters.

use std::fmt::{self, Write as _};

use tracing::{debug, info, warn};

use crate::engine::events::{Ending, Event, GaveUp, Happening, Retransmission};
use crate::engine::ids::ConversationId;
use crate::engine::settings::Kind;

/// Logs an event.
pub fn log(event: &Event) {
    match event {
        Event::Conversation {
            id,
            call_id,
            kind,
            what,
        } => happening(*id, &Clean(call_id), *kind, what),
        Event::Registered {
            aor,
            contact,
            expires,
        } => {
            let (aor, contact) = (Clean(aor), Clean(contact));
            debug!(%aor, %contact, expires_s = expires.as_secs_ceil(), "registered");
        }
        Event::Unregistered {
            aor,
            contact,
            expired,
        } => {
            let (aor, contact) = (Clean(aor), Clean(contact));
            debug!(%aor, %contact, expired, "unregistered");
        }
        Event::Refused {
            method,
            status,
            why,
            peer,
        } => {
            let (method, peer) = (Clean(method), Clean(peer));
            debug!(%method, status, why, %peer, "refused");
        }
        Event::Unproven {
            method,
            aor,
            why,
            peer,
        } => {
            let (method, aor, failed) = (Clean(method), Clean(aor), why.is_failure());
            let why = why.as_str();
            if failed {
                info!(%method, %aor, why, %peer, "not authenticated");
            } else {
                debug!(%method, %aor, why, %peer, "asked for credentials");
            }
        }
        Event::Malformed { reason, peer } => debug!(reason, peer = %Clean(peer), "malformed"),
        Event::Crowded {
            crowd,
            from,
            peer,
            tell,
        } => {
            let (from, peer, why) = (Clean(from), Clean(peer), crowd.limit());
            if *tell {
                warn!(%from, %peer, why, "too many calls: one was refused, and others may be");
            } else {
                debug!(%from, %peer, why, "too many calls");
            }
        }
        Event::Overload { on: true, lateness } => {
            warn!(
                late_ms = lateness.0,
                "overloaded: what is new is put off with 503"
            );
        }
        Event::Overload {
            on: false,
            lateness,
        } => info!(late_ms = lateness.0, "in time again: what is new is taken"),
        // The gate names whom it shuts out.
        Event::Offence { what, flow, proven } => {
            debug!(what = what.as_str(), peer = %flow, proven, "offence");
        }
        Event::Stray { what } => debug!(what, "stray"),
        Event::Keyed { clear: true } => debug!("SRTP keys over signalling that is not encrypted"),
        Event::Keyed { clear: false } => debug!("SRTP keys"),
        Event::Retransmitted { kind } => match kind {
            Retransmission::Received => debug!("retransmission received"),
            Retransmission::Sent => debug!("retransmission sent"),
        },
        Event::UpstreamChanged {
            upstream,
            target,
            before: Some(_),
            state,
            used: true,
        } => info!(%upstream, %target, state, "upstream"),
        Event::UpstreamChanged { before: None, .. } => {}
        Event::UpstreamChanged {
            upstream,
            target,
            before: Some(_),
            state,
            used: false,
        } => warn!(%upstream, %target, state, "upstream"),
        Event::NotLocated { host, kept: false } => warn!(host = %Clean(host), "not located"),
        Event::NotLocated { host, kept: true } => {
            warn!(host = %Clean(host), "DNS does not answer: its last word is used");
        }
        Event::TargetFailed {
            name,
            target,
            failure,
            next,
        } => {
            let (name, failure) = (Clean(name), failure.as_str());
            debug!(%name, target, failure, next, "target failed");
        }
        Event::Proved => {}
        Event::Unanswered {
            upstream,
            method,
            realm,
            why,
        } => {
            let (method, realm, why) = (Clean(method), Clean(realm), why.as_str());
            warn!(%upstream, %method, %realm, why, "challenge of an upstream not answered");
        }
        Event::TransactionTimeout { method } => {
            debug!(method = %Clean(method), "transaction timed out");
        }
    }
}

fn happening(id: ConversationId, call_id: &Clean<'_>, kind: Kind, what: &Happening) {
    match what {
        Happening::Invited { from, to } => {
            let (from, to) = (Clean(from), Clean(to));
            info!(conversation = %id, %call_id, kind = kind.as_str(), %from, %to, "invited");
        }
        Happening::Ringing { endpoint } => {
            debug!(conversation = %id, %call_id, endpoint = %Clean(endpoint), "ringing");
        }
        Happening::Refused { endpoint, status } => {
            debug!(conversation = %id, %call_id, endpoint = %Clean(endpoint), status, "endpoint refused");
        }
        Happening::Redirected { endpoint, to } => {
            let (endpoint, to) = (Clean(endpoint), Clean(to));
            info!(conversation = %id, %call_id, %endpoint, %to, "redirected");
        }
        Happening::Answered { endpoint } => {
            info!(conversation = %id, %call_id, endpoint = %Clean(endpoint), "answered");
        }
        Happening::Suspected { side, signal } => {
            let (side, signal) = (side.as_str(), signal.as_str());
            debug!(conversation = %id, %call_id, side, signal, "suspected");
        }
        Happening::Alive { side } => {
            debug!(conversation = %id, %call_id, side = side.as_str(), "alive");
        }
        Happening::Lost {
            side,
            signal,
            endpoint,
        } => {
            let (side, signal, endpoint) = (side.as_str(), signal.as_str(), Clean(endpoint));
            info!(conversation = %id, %call_id, side, signal, %endpoint, "lost");
        }
        Happening::Reinvited {
            side,
            endpoint,
            attempt,
        } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            debug!(conversation = %id, %call_id, side, %endpoint, attempt, "invited again");
        }
        Happening::Spared { side, endpoint } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            debug!(conversation = %id, %call_id, side, %endpoint, "left alone in another call");
        }
        Happening::Restored {
            side,
            endpoint,
            same,
            after,
        } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            info!(conversation = %id, %call_id, side, %endpoint, same, after_ms = after.0, "restored");
        }
        Happening::Transferring { side, to } => {
            let to = Clean(to);
            info!(conversation = %id, %call_id, side = side.as_str(), %to, "transferring");
        }
        Happening::Transferred { side, endpoint } => {
            let endpoint = Clean(endpoint);
            info!(conversation = %id, %call_id, side = side.as_str(), %endpoint, "transferred");
        }
        Happening::TransferFailed { side, status } => {
            info!(conversation = %id, %call_id, side = side.as_str(), status, "transfer failed");
        }
        Happening::Repaired { side, endpoint } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            info!(conversation = %id, %call_id, side, %endpoint, "repaired by the phone");
        }
        Happening::Notice { side, outcome } => {
            let (side, outcome) = (side.as_str(), outcome.as_str());
            debug!(conversation = %id, %call_id, side, outcome, "notice");
        }
        Happening::Queued { from } => {
            debug!(conversation = %id, %call_id, from = from.as_str(), "message queued");
        }
        Happening::Delivered { from } => {
            debug!(conversation = %id, %call_id, from = from.as_str(), "message delivered");
        }
        Happening::Redelivered { from } => {
            debug!(conversation = %id, %call_id, from = from.as_str(), "message delivered again");
        }
        Happening::Rejected { from, status } => {
            debug!(conversation = %id, %call_id, from = from.as_str(), status, "message rejected");
        }
        Happening::Overflow { from } => {
            warn!(conversation = %id, %call_id, from = from.as_str(), "no room for a message");
        }
        Happening::Rebuilt => debug!(conversation = %id, %call_id, "rebuilt"),
        Happening::Ended { how, undelivered } => {
            let how = Words(*how);
            info!(conversation = %id, %call_id, %how, undelivered, "ended");
        }
    }
}

/// An ending in words.
struct Words(Ending);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ending::HungUp(side) => write!(f, "hung up by the {}", side.as_str()),
            Ending::Cancelled => f.write_str("cancelled"),
            Ending::Failed(status) => write!(f, "failed with {status}"),
            Ending::RestoreTimeout(side) => {
                write!(f, "{} could not be reached again", side.as_str())
            }
            Ending::Joined => f.write_str("joined with another call"),
            Ending::Transfer(status) => write!(f, "transfer failed with {status}"),
            Ending::Operator => f.write_str("ended by the operator"),
            Ending::Gave(GaveUp::NoMediaPorts) => f.write_str("no media ports left"),
            Ending::Gave(GaveUp::TooManyRestorations) => f.write_str("too many restorations"),
        }
    }
}

/// Text of a peer, with what could forge a log line or drive a terminal escaped.
struct Clean<'a>(&'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;
    use crate::engine::events::Signal;
    use crate::engine::ids::Side;
    use crate::engine::time::Millis;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Logs happenings of one conversation and returns the lines at `level` and above.
    fn logged(level: tracing::Level, happenings: &[Happening]) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for what in happenings {
                log(&Event::Conversation {
                    id: ConversationId(7),
                    call_id: "a@b\r\nforged".into(),
                    kind: Kind::Call,
                    what: what.clone(),
                });
            }
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn a_call() -> Vec<Happening> {
        let endpoint: Box<str> = "desk".into();
        let side = Side::Callee;
        vec![
            Happening::Invited {
                from: "sip:a@x".into(),
                to: "sip:b@x".into(),
            },
            Happening::Ringing {
                endpoint: endpoint.clone(),
            },
            Happening::Answered {
                endpoint: endpoint.clone(),
            },
            Happening::Suspected {
                side,
                signal: Signal::Silence,
            },
            Happening::Lost {
                side,
                signal: Signal::ProbeTimeout,
                endpoint: endpoint.clone(),
            },
            Happening::Reinvited {
                side,
                endpoint: endpoint.clone(),
                attempt: 1,
            },
            Happening::Restored {
                side,
                endpoint,
                same: true,
                after: Millis(400),
            },
            Happening::Ended {
                how: Ending::HungUp(Side::Caller),
                undelivered: 0,
            },
        ]
    }

    #[test]
    fn a_call_is_five_lines_at_info() {
        let lines = logged(tracing::Level::INFO, &a_call());
        let words = ["invited", "answered", "lost", "restored", "ended"];
        assert_eq!(lines.len(), words.len(), "{lines:#?}");
        for (line, word) in lines.iter().zip(words) {
            assert!(line.contains(word), "{word} in {line}");
            assert!(line.contains("conversation=0000000000000007"), "{line}");
        }
    }

    #[test]
    fn debug_has_the_rest() {
        assert_eq!(logged(tracing::Level::DEBUG, &a_call()).len(), 8);
    }

    #[test]
    fn a_peer_cannot_forge_a_line() {
        let lines = logged(tracing::Level::INFO, &a_call()[..1]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains(r"call_id=a@b\r\nforged"), "{}", lines[0]);
    }
}
