//! What happened, in order: what the judge judges by, and what a failing seed is told with.

use std::fmt::Write;

use refork::engine::ids::Side;
use refork::engine::time::Time;
use refork::sip::{Message, Method, Name};
use serde::{Deserialize, Serialize};

use crate::phone::Traits;
use crate::rules::Rules;

/// Index into the roster.
pub(crate) type PhoneId = usize;

/// Who a phone is: the judge knows no more of it than this and what it sent and got.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) talk: usize,
    pub(crate) side: Side,
    pub(crate) traits: Traits,
    /// Over TCP: loses its connection when the server restarts.
    pub(crate) stream: bool,
}

/// Something bad that befalls a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    Killed,
    Frozen,
    Cut,
    /// Nothing reaches it by datagram; what it sends arrives.
    Deaf,
    /// Nothing that it sends arrives by datagram.
    Mute,
    /// None of its media arrives; it hears, and what it says of its calls arrives.
    Unheard,
    /// Its connection was reset.
    Reset,
    /// It has another address now.
    Moved,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Got(Message),
    Sent(Message),
    /// A request of the phone had no answer.
    TimedOut(Method),
    /// Its user puts the receiver down.
    HungUp,
    /// Nobody has refreshed its session (RFC 4028 10).
    Expired,
    /// Whom it has handed the call to has taken it.
    Transferred,
    Fault(Fault),
    /// Thawed, connected again, or started anew.
    Recovered,
    /// Its media arrives again.
    Heard,
    /// The server stopped, or is there again.
    ServerDown,
    ServerUp,
    /// The store has ended a write that the server waits for: it has kept it, or failed.
    Stored(bool),
    /// For the reader only.
    Remark(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Time,
    /// None: the server.
    pub(crate) phone: Option<PhoneId>,
    pub(crate) what: What,
}

#[derive(Default)]
pub(crate) struct Log {
    /// What the server was told to do, which is no secret.
    pub(crate) rules: Rules,
    pub(crate) roster: Vec<Card>,
    pub(crate) entries: Vec<Entry>,
}

impl Log {
    pub(crate) fn add(&mut self, at: Time, phone: Option<PhoneId>, what: What) {
        self.entries.push(Entry { at, phone, what });
    }

    /// Returns when anything happened last that a phone saw.
    pub(crate) fn last(&self) -> Time {
        let seen = |entry: &&Entry| !matches!(entry.what, What::Remark(_) | What::Stored(_));
        self.entries
            .iter()
            .rfind(seen)
            .map_or(Time(0), |entry| entry.at)
    }

    /// Writes everything as a ladder, times counted from `start`. The server's side of the ladder is on
    /// the right.
    pub(crate) fn ladder(&self, start: Time) -> String {
        let mut out = String::new();
        for entry in &self.entries {
            let at = entry.at.since(start).0;
            let who = entry.phone.map_or("server", |id| &self.roster[id].name);
            let _ = write!(out, "{:>4}.{:03} {who:<6} ", at / 1000, at % 1000);
            let _ = match &entry.what {
                What::Got(message) => writeln!(out, "<--- {}", line(message)),
                What::Sent(message) => writeln!(out, "---> {}", line(message)),
                What::Remark(text) => writeln!(out, "     {text}"),
                What::TimedOut(method) => writeln!(out, "**** no answer to {}", method.as_str()),
                What::HungUp => writeln!(out, "**** hangs up"),
                What::Expired => writeln!(out, "**** session expired"),
                What::Transferred => writeln!(out, "**** handed on"),
                What::Fault(fault) => writeln!(out, "**** {fault:?}"),
                What::Recovered => writeln!(out, "**** recovered"),
                What::Heard => writeln!(out, "**** heard again"),
                What::ServerDown => writeln!(out, "**** down"),
                What::ServerUp => writeln!(out, "**** up"),
                What::Stored(true) => writeln!(out, "     stored"),
                What::Stored(false) => writeln!(out, "     not stored"),
            };
        }
        out
    }
}

/// Returns a message's start line and what tells it from others.
pub(crate) fn line(message: &Message) -> String {
    let mut out = if message.is_request() {
        format!("{} {}", message.method().as_str(), message.uri())
    } else {
        format!("{} {}", message.status(), message.reason_phrase())
    };
    let short = |text: Option<&str>| -> String {
        let text = text.unwrap_or("-");
        text[text.len().saturating_sub(8)..].to_owned()
    };
    let _ = write!(
        out,
        "  [{} {} call {} from {} to {} branch {}]",
        message.cseq(),
        message.method().as_str(),
        short(Some(message.call_id())),
        short(message.from_tag()),
        short(message.to_tag()),
        short(message.branch()),
    );
    for name in [
        Name::Replaces,
        Name::Reason,
        Name::RetryAfter,
        Name::RSeq,
        Name::RAck,
        Name::SessionExpires,
        Name::ReferTo,
    ] {
        if let Some(value) = message.header(name) {
            let _ = write!(out, " {}: {value}", name.as_str());
        }
    }
    let plain = |kind: &str| kind.starts_with("text/plain");
    if message.content_type().is_some_and(plain) {
        let _ = write!(out, " {:?}", String::from_utf8_lossy(message.body()));
    }
    if message.content_type() == Some("application/sdp") {
        let body = String::from_utf8_lossy(message.body()).into_owned();
        for sdp in body.lines().filter(|line| {
            ["o=", "c=", "m=", "a=send", "a=recv", "a=inactive"]
                .iter()
                .any(|start| line.starts_with(start))
        }) {
            let _ = write!(out, " | {sdp}");
        }
    }
    out
}
