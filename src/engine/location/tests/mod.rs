//! The registrar as a phone sees it.

mod bindings;
mod model;
mod phones;
mod proof;
mod refusals;
mod temporary;

use std::fmt::Write;

use super::testing::{Book, START, aor, message, settings, udp};
use super::{Registered, Registrar};
use crate::engine::endpoint::{Binding, BindingChange};
use crate::engine::events::{Event, Unproven};
use crate::engine::ids::Flow;
use crate::engine::ports::World;
use crate::engine::settings::Settings;
use crate::engine::time::{Millis, Time};
use crate::sip::{Message, Name};

const OPEN: &str = "sip:bob@open.example";

/// A registrar, its world, and a clock.
struct Room {
    registrar: Registrar,
    settings: Settings,
    book: Book,
    now: Time,
}

/// One REGISTER in the making.
#[derive(Clone)]
struct Request {
    uri: String,
    to: String,
    call_id: String,
    cseq: u32,
    lines: String,
    from_params: &'static str,
    flow: Flow,
}

impl Request {
    fn new(to: &str, cseq: u32, lines: &str) -> Self {
        let host = to.rsplit('@').next().unwrap_or("");
        Self {
            uri: format!("sip:{host}"),
            to: to.into(),
            call_id: "call".into(),
            cseq,
            lines: lines.into(),
            from_params: "",
            flow: udp("192.0.2.1:5060"),
        }
    }

    fn over(mut self, peer: &str) -> Self {
        self.flow = udp(peer);
        self
    }

    fn in_call(mut self, call_id: &str) -> Self {
        self.call_id = call_id.into();
        self
    }

    fn at(mut self, uri: &str) -> Self {
        self.uri = uri.into();
        self
    }

    fn with(mut self, line: &str) -> Self {
        let _ = write!(self.lines, "\n{line}");
        self
    }

    fn message(&self) -> Message {
        let lines = match self.lines.trim() {
            "" => String::new(),
            lines => format!("{lines}\n"),
        };
        message(&format!(
            "REGISTER {} SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1;rport\nFrom: <{}>;tag=1{}\n\
             To: <{}>\nCall-ID: {}\nCSeq: {} REGISTER\n{lines}",
            self.uri, self.to, self.from_params, self.to, self.call_id, self.cseq,
        ))
    }
}

impl Room {
    fn new(settings: Settings) -> Self {
        Self {
            registrar: Registrar::new([9; 32], 0),
            settings,
            book: Book::default(),
            now: START,
        }
    }

    fn register(&mut self, request: &Request) -> (Registered, Message) {
        let done = self.registrar.register(
            &request.message(),
            &request.flow,
            self.now,
            &self.settings,
            &mut self.book,
        );
        let response = Message::parse(done.response.clone()).unwrap();
        assert_eq!(response.status(), done.status);
        assert!(response.to_tag().is_some());
        assert_eq!(response.cseq(), request.cseq);
        assert_eq!(response.via().rport, Some(Some(request.flow.peer.port())));
        if done.status != 200 {
            assert_eq!(done.changed, None);
        }
        (done, response)
    }

    /// Registers and returns the status alone.
    fn status(&mut self, request: &Request) -> u16 {
        self.register(request).0.status
    }

    /// Registers, which must work, and returns the Contacts of the 200.
    fn contacts(&mut self, request: &Request) -> Vec<String> {
        let (done, response) = self.register(request);
        assert_eq!(done.status, 200, "{}", response.reason_phrase());
        response.values(Name::Contact).map(str::to_owned).collect()
    }

    fn bindings(&self, to: &str) -> Vec<Binding> {
        self.book.bindings(&aor(to))
    }
}

fn open(cseq: u32, lines: &str) -> Request {
    Request::new(OPEN, cseq, lines)
}

/// `+name` for a binding new or afresh, `>name` for one that moved, `-name` removed, `!name` expired.
fn changes(done: &Registered) -> Vec<String> {
    let changes = done.changed.iter().flat_map(|changed| &changed.changes);
    changes
        .map(|change| match change {
            BindingChange::Registered { binding, moved, .. } => {
                format!(
                    "{}{}",
                    if *moved { '>' } else { '+' },
                    binding.endpoint.contact
                )
            }
            BindingChange::Removed { binding, expired } => {
                format!(
                    "{}{}",
                    if *expired { '!' } else { '-' },
                    binding.endpoint.contact
                )
            }
        })
        .collect()
}

fn why(done: &Registered) -> Option<&'static str> {
    done.events.iter().find_map(|event| {
        let Event::Refused { why, .. } = event else {
            return None;
        };
        Some(*why)
    })
}

/// Returns what was wrong with the credentials.
fn unproven(done: &Registered) -> Vec<Unproven> {
    let why = |event: &Event| {
        let Event::Unproven { why, .. } = event else {
            return None;
        };
        Some(*why)
    };
    done.events.iter().filter_map(why).collect()
}
