//! Log lines: what the engine tells operators, as `tracing` events within the span of their conversation.
//!
//! A call at `info` is a few lines: invited, answered, lost, restored, ended. Everything else is `debug`,
//! peers' nonsense too: it has its counters. What a line is of (the conversation's id and Call-ID) stands in
//! the span and not in the line. A line that the level leaves out costs a look at the level.

mod spans;

use std::fmt::{self, Write as _};

use tracing::Span;
use tracing::field::display;

pub use self::spans::Spans;
use crate::engine::events::{Ending, Event, GaveUp, Happening, Retransmission};
use crate::engine::ids::ConversationId;
use crate::engine::reasons::Crowd;
use crate::engine::settings::Kind;
use crate::engine::time::Time;

/// Whose span a line goes into.
#[derive(Clone, Copy)]
struct Scope<'a>(Option<(&'a Spans, ConversationId)>);

impl Scope<'_> {
    fn span(self) -> Span {
        self.0.map_or_else(Span::none, |(spans, id)| spans.of(id))
    }
}

/// Writes a line into a scope, which is looked for only where the level wants the line.
macro_rules! line {
    ($scope:expr, $level:ident, $($what:tt)*) => {
        if tracing::Level::$level <= tracing::level_filters::LevelFilter::current() {
            $scope.span().in_scope(|| tracing::event!(tracing::Level::$level, $($what)*));
        }
    };
}

impl Spans {
    /// Logs what was told of a conversation, or of none.
    pub fn log(&self, of: Option<ConversationId>, event: &Event, now: Time) {
        let Event::Conversation {
            id,
            call_id,
            kind,
            what,
        } = event
        else {
            return tell(Scope(of.map(|id| (self, id))), event);
        };
        if matches!(what, Happening::Invited { .. } | Happening::Rebuilt) {
            self.begin(*id, call_id);
        }
        happening(Scope(Some((self, *id))), *kind, what);
        if matches!(what, Happening::Ended { .. }) {
            self.end(*id, now);
        }
    }
}

/// Logs an event of no conversation.
pub fn log(event: &Event) {
    tell(Scope(None), event);
}

fn tell(scope: Scope<'_>, event: &Event) {
    match event {
        // Logged with its span, by `Spans::log`.
        Event::Conversation { kind, what, .. } => happening(scope, *kind, what),
        Event::Registered {
            aor,
            contact,
            expires,
        } => {
            let (aor, contact) = (Clean(aor), Clean(contact));
            line!(scope, DEBUG, %aor, %contact, expires_s = expires.as_secs_ceil(), "registered");
        }
        Event::Unregistered {
            aor,
            contact,
            expired,
        } => {
            let (aor, contact) = (Clean(aor), Clean(contact));
            line!(scope, DEBUG, %aor, %contact, expired, "unregistered");
        }
        Event::NotKept { aor, contact } => {
            let (aor, contact) = (Clean(aor), Clean(contact));
            line!(scope, WARN, %aor, %contact, "the upstream shows other Contacts than the phone's, which it cannot be called by: set its `path: contact`");
        }
        Event::Refused {
            method,
            status,
            why,
            peer,
        } => {
            let (method, peer) = (Clean(method), Clean(peer));
            line!(scope, DEBUG, %method, status, why, %peer, "refused");
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
                line!(scope, INFO, %method, %aor, why, %peer, "not authenticated");
            } else {
                line!(scope, DEBUG, %method, %aor, why, %peer, "asked for credentials");
            }
        }
        Event::Malformed { reason, peer } => {
            line!(scope, DEBUG, reason, peer = %Clean(peer), "malformed")
        }
        Event::Crowded {
            crowd,
            from,
            peer,
            tell,
        } => {
            let (from, peer, why) = (Clean(from), Clean(peer), crowd.limit());
            let in_call = matches!(crowd, Crowd::UserStreams | Crowd::AddressStreams);
            if *tell && in_call {
                line!(scope, WARN, %from, %peer, why, "too many streams: a call was refused, or has fewer, and others may be");
            } else if *tell {
                line!(scope, WARN, %from, %peer, why, "too many calls: one was refused, and others may be");
            } else {
                line!(scope, DEBUG, %from, %peer, why, "too many calls");
            }
        }
        Event::NoService { uri, peer } => {
            let (uri, peer) = (Clean(uri), Clean(peer));
            line!(scope, WARN, %uri, %peer, "a call for help was refused: no entry of `routes` leads to the service");
        }
        Event::WrongDomain {
            method,
            domain,
            served,
            peer,
            tell,
        } => {
            let (method, domain) = (Clean(method), Clean(domain));
            let (served, peer) = (Clean(served), Clean(peer));
            if *tell {
                line!(scope, INFO, %method, %domain, %served, %peer, "refused: the domain is none of `domains`");
            } else {
                line!(scope, DEBUG, %method, %domain, %peer, "the domain is none of `domains`");
            }
        }
        Event::Glut {
            glut,
            method,
            from,
            peer,
            tell,
        } => {
            let (method, from, peer) = (Clean(method), Clean(from), Clean(peer));
            let why = glut.limit();
            if *tell {
                line!(scope, WARN, %method, %from, %peer, why, "too much under way: a request was refused, and others may be");
            } else {
                line!(scope, DEBUG, %method, %from, %peer, why, "too much under way");
            }
        }
        Event::Forgotten { when, tell } => {
            let when = when.as_str();
            if *tell {
                line!(
                    scope,
                    WARN,
                    when,
                    "too many phones have not answered a BYE: one is forgotten, and others may be"
                );
            } else {
                line!(
                    scope,
                    DEBUG,
                    when,
                    "who has not answered a BYE is forgotten"
                );
            }
        }
        Event::Notified {
            watcher,
            watched,
            told,
        } => {
            let (watcher, watched, told) = (Clean(watcher), Clean(watched), told.as_str());
            line!(scope, DEBUG, %watcher, %watched, told, "told of calls");
        }
        Event::Overload { on: true, lateness } => {
            line!(
                scope,
                WARN,
                late_ms = lateness.0,
                "overloaded: what is new is put off with 503"
            );
        }
        Event::Overload {
            on: false,
            lateness,
        } => line!(
            scope,
            INFO,
            late_ms = lateness.0,
            "in time again: what is new is taken"
        ),
        // The gate names whom it shuts out.
        Event::Offence { what, flow, proven } => {
            line!(scope, DEBUG, what = what.as_str(), peer = %flow, proven, "offence");
        }
        Event::Stray { what } => line!(scope, DEBUG, what, "stray"),
        Event::Keyed { clear: true } => line!(
            scope,
            DEBUG,
            "SRTP keys over signalling that is not encrypted"
        ),
        Event::BareFax => line!(scope, DEBUG, "fax in the clear, where sound is encrypted"),
        Event::Barred { why, at, peer } => line!(
            scope,
            WARN,
            why = why.as_str(),
            %at,
            %peer,
            "no media is sent where this leg has it"
        ),
        Event::Keyed { clear: false } => line!(scope, DEBUG, "SRTP keys"),
        Event::Retransmitted { kind } => match kind {
            Retransmission::Received => line!(scope, DEBUG, "retransmission received"),
            Retransmission::Sent => line!(scope, DEBUG, "retransmission sent"),
        },
        Event::UpstreamChanged {
            upstream,
            target,
            before: Some(_),
            state,
            used: true,
        } => line!(scope, INFO, %upstream, %target, state, "upstream"),
        Event::UpstreamChanged { before: None, .. } => {}
        Event::UpstreamChanged {
            upstream,
            target,
            before: Some(_),
            state,
            used: false,
        } => line!(scope, WARN, %upstream, %target, state, "upstream"),
        Event::UpstreamPaused {
            upstream,
            target,
            address,
            span,
        } => {
            let pause_s = span.as_secs_ceil();
            line!(scope, WARN, %upstream, %target, %address, pause_s, "upstream asks to be left alone");
        }
        Event::UpstreamPauseOver {
            upstream,
            target,
            address,
        } => line!(scope, INFO, %upstream, %target, %address, "upstream is left alone no longer"),
        Event::NotLocated { host, kept: false } => {
            line!(scope, WARN, host = %Clean(host), "not located")
        }
        Event::NotLocated { host, kept: true } => {
            line!(scope, WARN, host = %Clean(host), "DNS does not answer: its last word is used");
        }
        Event::TargetFailed {
            name,
            target,
            failure,
            next,
        } => {
            let (name, failure) = (Clean(name), failure.as_str());
            line!(scope, DEBUG, %name, target, failure, next, "target failed");
        }
        Event::Proved => {}
        Event::Unanswered {
            upstream,
            method,
            realm,
            why,
        } => {
            let (method, realm, why) = (Clean(method), Clean(realm), why.as_str());
            line!(scope, WARN, %upstream, %method, %realm, why, "challenge of an upstream not answered");
        }
        Event::TransactionTimeout { method } => {
            line!(scope, DEBUG, method = %Clean(method), "transaction timed out");
        }
    }
}

fn happening(scope: Scope<'_>, kind: Kind, what: &Happening) {
    match what {
        Happening::Invited { from, to } => {
            let (from, to) = (Clean(from), Clean(to));
            line!(scope, INFO, kind = kind.as_str(), %from, %to, "invited");
        }
        Happening::Ringing {
            side,
            endpoint,
            attempt,
        } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            line!(scope, DEBUG, side, %endpoint, attempt, "ringing");
        }
        Happening::Refused {
            side,
            endpoint,
            status,
            by,
            attempt,
        } => {
            let (side, by, endpoint) = (side.as_str(), by.as_str(), Clean(endpoint));
            line!(scope, DEBUG, side, %endpoint, status, by, attempt, "endpoint refused");
        }
        Happening::Challenged { endpoint, status } => {
            line!(scope, DEBUG, endpoint = %Clean(endpoint), status, "the caller is asked for proof");
        }
        Happening::Redirected { side, endpoint, to } => {
            let (side, endpoint, to) = (side.as_str(), Clean(endpoint), Clean(to));
            line!(scope, INFO, side, %endpoint, %to, "redirected");
        }
        Happening::Answered { side, endpoint } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            line!(scope, INFO, side, %endpoint, "answered");
        }
        Happening::Suspected {
            side,
            signal,
            endpoint,
        } => {
            let (side, signal, endpoint) = (side.as_str(), signal.as_str(), Clean(endpoint));
            line!(scope, DEBUG, side, signal, %endpoint, "suspected");
        }
        Happening::Alive { side, endpoint } => {
            line!(scope, DEBUG, side = side.as_str(), endpoint = %Clean(endpoint), "alive");
        }
        Happening::Lost {
            side,
            signal,
            endpoint,
        } => {
            let (side, signal, endpoint) = (side.as_str(), signal.as_str(), Clean(endpoint));
            line!(scope, INFO, side, signal, %endpoint, "lost");
        }
        Happening::Reinvited {
            side,
            endpoint,
            attempt,
        } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            line!(scope, DEBUG, side, %endpoint, attempt, "invited again");
        }
        Happening::Spared { side, endpoint } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            line!(scope, DEBUG, side, %endpoint, "left alone in another call");
        }
        Happening::Restored {
            side,
            endpoint,
            same,
            after,
            attempt,
        } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            line!(scope, INFO, side, %endpoint, same, after_ms = after.0, attempt, "restored");
        }
        Happening::Transferring { side, endpoint, to } => {
            let (endpoint, to) = (Clean(endpoint), Clean(to));
            line!(scope, INFO, side = side.as_str(), %endpoint, %to, "transferring");
        }
        Happening::Transferred { side, endpoint } => {
            let endpoint = Clean(endpoint);
            line!(scope, INFO, side = side.as_str(), %endpoint, "transferred");
        }
        Happening::TransferFailed { side, status } => {
            line!(scope, INFO, side = side.as_str(), status, "transfer failed");
        }
        Happening::Repaired { side, endpoint } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            line!(scope, INFO, side, %endpoint, "repaired by the phone");
        }
        Happening::TakenOver {
            side,
            endpoint,
            same,
        } => {
            let (side, endpoint) = (side.as_str(), Clean(endpoint));
            line!(scope, INFO, side, %endpoint, same, "taken over by a phone");
        }
        Happening::Notice {
            side,
            endpoint,
            outcome,
        } => {
            let (side, outcome, endpoint) = (side.as_str(), outcome.as_str(), Clean(endpoint));
            line!(scope, DEBUG, side, outcome, %endpoint, "notice");
        }
        Happening::LastWord {
            side,
            endpoint,
            outcome,
        } => {
            let (side, outcome, endpoint) = (side.as_str(), outcome.as_str(), Clean(endpoint));
            line!(scope, DEBUG, side, outcome, %endpoint, "last word");
        }
        Happening::Queued { from } => {
            line!(scope, DEBUG, from = from.as_str(), "message queued");
        }
        Happening::Delivered { from, endpoint } => {
            let (from, endpoint) = (from.as_str(), Clean(endpoint));
            line!(scope, DEBUG, from, %endpoint, "message delivered");
        }
        Happening::Redelivered { from, endpoint } => {
            let (from, endpoint) = (from.as_str(), Clean(endpoint));
            line!(scope, DEBUG, from, %endpoint, "message delivered again");
        }
        Happening::Rejected {
            from,
            status,
            endpoint,
        } => {
            let endpoint = endpoint.as_deref().map(|name| display(Clean(name)));
            line!(
                scope,
                DEBUG,
                from = from.as_str(),
                status,
                endpoint,
                "message rejected"
            );
        }
        Happening::Overflow { from } => {
            line!(scope, WARN, from = from.as_str(), "no room for a message");
        }
        Happening::Rebuilt => line!(scope, DEBUG, "rebuilt"),
        // What the operator is to hear of is the call that follows.
        Happening::Ended {
            how: how @ Ending::Challenged(_),
            undelivered,
        } => line!(scope, DEBUG, how = %Words(*how), undelivered, "ended"),
        Happening::Ended { how, undelivered } => {
            let how = Words(*how);
            line!(scope, INFO, %how, undelivered, "ended");
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
            Ending::Challenged(status) => write!(f, "challenged with {status}"),
            Ending::RestoreTimeout(side) => {
                write!(f, "{} could not be reached again", side.as_str())
            }
            Ending::Declined(side) => write!(f, "{} declined to go on", side.as_str()),
            Ending::Joined => f.write_str("joined with another call"),
            Ending::Transfer(status) => write!(f, "transfer failed with {status}"),
            Ending::Operator => f.write_str("ended by the operator"),
            Ending::Gave(GaveUp::NoMediaPorts) => f.write_str("no media ports left"),
            Ending::Gave(GaveUp::TooManyRestorations) => f.write_str("too many restorations"),
            Ending::Gave(GaveUp::NeverAcknowledged) => {
                f.write_str("the caller never acknowledged the answer")
            }
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
mod tests;
