//! Whom a call was for, one after another (RFC 7044): History-Info of those before us, and what we add.
//!
//! A phone learns by what Contact of it it is called, and nobody else does: to the caller, and to whom a
//! phone forwards, a participant is its AOR alone.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::people::asserted::is_told;
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Aor, LegId, Side};
use crate::engine::location::token;
use crate::sip::{Address, Message, Name, Params, Privacy, Uri};

/// Entries that are handed on: the first, which is whom the call was meant for, and the last ones.
const ENTRIES_MAX: usize = 20;
/// Octets of an entry that are.
const ENTRY_MAX: usize = 512;
/// Octets of an index; each step makes it longer by two or more.
const INDEX_MAX: usize = 100;
/// RFC 3323 4.1.1.3.
const NOBODY: &str = "sip:anonymous@anonymous.invalid";

/// The entries of History-Info, the present target last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trail {
    entries: Vec<Entry>,
    /// Whoever began it wants nobody named.
    hidden: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// With its headers: Reason and Privacy (RFC 7044 5).
    uri: Box<str>,
    index: Box<str>,
    /// How it came about (`rc`, `mp`, `np`), and whatever else there was; with its semicolons.
    params: Box<str>,
    hidden: bool,
    /// A Contact of a phone, for that phone alone.
    contact: bool,
}

/// How many steps lead on from each index (RFC 7044 10.3).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Steps(BTreeMap<Box<str>, u32>);

impl Steps {
    fn next(&mut self, index: &str) -> Box<str> {
        let count = self.0.entry(index.into()).or_insert(0);
        *count += 1;
        format!("{index}.{count}").into()
    }
}

/// How a call came to who has it, and the steps that have led on from there: a re-fork is one more (RFC 7044 9.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Walked {
    pub(crate) trail: Box<Trail>,
    pub(crate) steps: Steps,
}

impl Walked {
    /// Reads the trail that led to an endpoint.
    pub(crate) fn of(endpoint: &Trail, steps: Steps) -> Box<Self> {
        let mut trail = endpoint.clone();
        if trail.entries.len() > 1 {
            trail.entries.pop();
        }
        Box::new(Self {
            trail: Box::new(trail),
            steps,
        })
    }
}

/// How an endpoint is called by what the trail ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// By a Contact of its AOR.
    Registered,
    /// By whoever else knows the participant.
    Beyond,
}

impl Step {
    pub(crate) fn toward(endpoint: &Endpoint) -> Self {
        match endpoint.through {
            Some(_) => Self::Beyond,
            None => Self::Registered,
        }
    }
}

impl Trail {
    /// Returns the trail of a request that brings one, or whose sender wants to know of it; its last entry is
    /// the Request-URI (RFC 7044 9.1), or the user who is called where there is a token.
    pub(crate) fn of(request: &Message, user: &Aor, believed: bool) -> Option<Box<Self>> {
        let entries = if believed { read(request) } else { Vec::new() };
        if entries.is_empty() && !wants(request) {
            return None;
        }
        let mut trail = Self {
            entries,
            hidden: Privacy::of(request).hides_history(),
        };
        let (last, uri) = (trail.entries.last(), token::known_as(request.uri(), user));
        if last.is_none_or(|last| !is_one(&last.uri, uri)) {
            let index = last.map_or_else(|| "1".into(), |last| format!("{}.1", last.index).into());
            trail.push(uri, index, "");
        }
        Some(Box::new(trail))
    }

    /// Returns the trail of whom somebody forwards to, and why.
    pub(crate) fn after(
        before: Option<&Self>,
        by: &str,
        status: u16,
        to: &str,
        steps: &mut Steps,
    ) -> Box<Self> {
        let mut trail = before.cloned().unwrap_or_else(|| Self {
            entries: vec![Entry::new(by, "1".into(), "")],
            hidden: false,
        });
        let mut from = Box::<str>::default();
        if let Some(last) = trail.entries.last_mut() {
            last.gave(status);
            from.clone_from(&last.index);
        }
        trail.push(to, steps.next(&from), &format!(";mp={from}"));
        Box::new(trail)
    }

    /// Returns the trail of one endpoint.
    pub(crate) fn toward(&self, uri: &str, step: Step, steps: &mut Steps) -> Box<Self> {
        let mut trail = self.clone();
        let from = self.entries.last().map_or("", |last| &*last.index);
        let how = match step {
            Step::Registered => "rc",
            Step::Beyond => "np",
        };
        trail.push(uri, steps.next(from), &format!(";{how}={from}"));
        if let (Some(last), Step::Registered) = (trail.entries.last_mut(), step) {
            last.contact = true;
        }
        Box::new(trail)
    }

    /// Returns what the caller is told with a response to a request with this trail: what the response says,
    /// or else what the request said, without the phone's Contact.
    pub(crate) fn back(&self, response: &Message) -> Self {
        let said = read(response);
        let hidden = Privacy::of(response).hides_history();
        let contacts: Vec<&str> = self
            .entries
            .iter()
            .filter(|entry| entry.contact)
            .map(|entry| &*entry.index)
            .collect();
        let known = |index: &str| self.entries.iter().any(|entry| *entry.index == *index);
        let mut entries = if said.is_empty() {
            self.entries.clone()
        } else {
            said
        };
        entries.retain(|entry| !contacts.contains(&&*entry.index));
        for entry in &mut entries {
            entry.hidden |= hidden && !known(&entry.index);
        }
        Self {
            entries,
            hidden: self.hidden,
        }
    }

    /// Writes the header line; `trusted` where the far end may be told what was to be hidden.
    pub(crate) fn line(&self, trusted: bool) -> String {
        let mut line = format!("{}: ", Name::HistoryInfo.as_str());
        for (at, entry) in self.entries.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let hidden = !trusted && (entry.hidden || (self.hidden && !entry.contact));
            let (uri, headers) = if hidden {
                (NOBODY, entry.reason())
            } else {
                (&*entry.uri, None)
            };
            let _ = match headers {
                Some(reason) => write!(line, "{comma}<{uri}?{reason}>"),
                None => write!(line, "{comma}<{uri}>"),
            };
            let _ = write!(line, ";index={}{}", entry.index, entry.params);
        }
        line.push_str("\r\n");
        line
    }

    fn push(&mut self, uri: &str, index: Box<str>, params: &str) {
        if index.len() > INDEX_MAX {
            return;
        }
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.remove(1);
        }
        self.entries.push(Entry::new(uri, index, params));
    }
}

impl Entry {
    fn new(uri: &str, index: Box<str>, params: &str) -> Self {
        Self {
            uri: uri.into(),
            index,
            params: params.into(),
            hidden: false,
            contact: false,
        }
    }

    fn parse(value: &str) -> Option<Self> {
        let address = Address::parse(value)
            .ok()
            .filter(|_| value.len() <= ENTRY_MAX)?;
        let uri = address.uri_parsed().ok()?;
        let index = address.params.value("index")?;
        let numbers = |index: &str| {
            let mut parts = index.split('.');
            parts.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        };
        if index.len() > INDEX_MAX || !numbers(index) {
            return None;
        }
        let headers = uri.headers.unwrap_or("").split('&');
        let mut headers = headers.filter_map(|header| header.split_once('='));
        let hidden = headers.any(|(name, value)| {
            name.eq_ignore_ascii_case("Privacy") && value.to_ascii_lowercase().contains("history")
        });
        Some(Self {
            hidden,
            ..Self::new(address.uri, index.into(), &others(&address.params))
        })
    }

    /// RFC 7044 10.2: the reason belongs to who was called in vain.
    fn gave(&mut self, status: u16) {
        if self.reason().is_none() {
            let joint = if self.uri.contains('?') { '&' } else { '?' };
            self.uri = format!("{}{joint}Reason=SIP%3Bcause%3D{status}", self.uri).into();
        }
    }

    fn reason(&self) -> Option<&str> {
        let (_, headers) = self.uri.split_once('?')?;
        let mut headers = headers.split('&');
        headers.find(|header| {
            let name = header.split('=').next();
            name.is_some_and(|name| name.eq_ignore_ascii_case("Reason"))
        })
    }
}

impl Conversation {
    /// Returns the History-Info line by which the caller learns whom its call went to, where it wishes to.
    pub(crate) fn history_back(
        &self,
        context: &Context<'_>,
        leg: LegId,
        response: &Message,
    ) -> Vec<u8> {
        let line = || {
            let invitation = self.invitation.as_deref().filter(|first| first.told)?;
            let trail = invitation.fork.find(leg)?.trail.as_ref()?;
            let caller = self.party(Side::Caller);
            let flow = &caller.leg.as_ref()?.dialog.flow;
            let trusted = is_told(&caller.asker, flow, context);
            Some(trail.back(response).line(trusted).into_bytes())
        };
        line().unwrap_or_default()
    }
}

/// Returns true where a request's sender wants to be told (RFC 7044 5).
pub(crate) fn wants(request: &Message) -> bool {
    request.has_token(Name::Supported, "histinfo")
}

fn read(message: &Message) -> Vec<Entry> {
    let values = message.values(Name::HistoryInfo);
    let mut entries: Vec<Entry> = values.filter_map(Entry::parse).collect();
    if let Some(many) = entries.len().checked_sub(ENTRIES_MAX).filter(|n| *n > 0) {
        entries.drain(1..=many);
    }
    entries
}

/// Returns the parameters beside the index, each behind its semicolon.
fn others(params: &Params<'_>) -> String {
    let is_index = |param: &&str| {
        let name = param.split('=').next().unwrap_or("");
        name.trim().eq_ignore_ascii_case("index")
    };
    let others = params.raw().filter(|param| !is_index(param));
    others.flat_map(|param| [";", param]).collect()
}

/// Returns true where two URIs name one target, whatever their parameters.
fn is_one(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (Uri::parse(one), Uri::parse(other)) else {
        return false;
    };
    one.user == other.user && one.host.eq_ignore_ascii_case(other.host) && one.port == other.port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &str) -> Message {
        let text = format!(
            "INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Max-Forwards: 70\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.into()).unwrap()
    }

    fn bob() -> Aor {
        Aor::from_canonical("sip:bob@example.org")
    }

    fn value(trail: &Trail, trusted: bool) -> String {
        let line = trail.line(trusted);
        line.trim_end()
            .strip_prefix("History-Info: ")
            .unwrap()
            .into()
    }

    #[test]
    fn a_trail_names_each_step_and_why() {
        let bob = "sip:bob@example.org";
        let carol = "sip:carol@example.org";
        let mut steps = Steps::default();
        let first = Trail::after(None, bob, 302, "sip:carol@example.org", &mut steps);
        assert_eq!(
            value(&first, false),
            "<sip:bob@example.org?Reason=SIP%3Bcause%3D302>;index=1, \
             <sip:carol@example.org>;index=1.1;mp=1"
        );
        let _ = Trail::after(Some(&first), carol, 301, "sip:erin@example.org", &mut steps);
        let second = Trail::after(Some(&first), carol, 301, "sip:dave@example.org", &mut steps);
        let toward = second.toward("sip:d@198.51.100.6", Step::Registered, &mut steps);
        assert_eq!(
            value(&toward, false),
            "<sip:bob@example.org?Reason=SIP%3Bcause%3D302>;index=1, \
             <sip:carol@example.org?Reason=SIP%3Bcause%3D301>;index=1.1;mp=1, \
             <sip:dave@example.org>;index=1.1.2;mp=1.1, \
             <sip:d@198.51.100.6>;index=1.1.2.1;rc=1.1.2"
        );
    }

    #[test]
    fn what_came_is_gone_on_with() {
        for (lines, expected) in [
            ("", None),
            (
                "Supported: timer, HistInfo\r\n",
                Some("<sip:bob@example.org>;index=1"),
            ),
            (
                "History-Info: <sip:x@y>;index=1\r\nHistory-Info: \"B\" <sip:bob@EXAMPLE.org;user=phone>;foo=\"a,b\";index=1.1;mp=1\r\n",
                Some(
                    "<sip:x@y>;index=1, <sip:bob@EXAMPLE.org;user=phone>;index=1.1;foo=\"a,b\";mp=1",
                ),
            ),
            (
                "History-Info: <sip:x@y>;index=1.4\r\n",
                Some("<sip:x@y>;index=1.4, <sip:bob@example.org>;index=1.4.1"),
            ),
            // What is no entry is none.
            (
                "History-Info: <sip:x@y>, <sip:x@y>;index=1..2, <sip:x@y>;index=a, nonsense;index=1, <sip:z@y>;index=7\r\n",
                Some("<sip:z@y>;index=7, <sip:bob@example.org>;index=7.1"),
            ),
        ] {
            let trail = Trail::of(&request(lines), &bob(), true);
            assert_eq!(
                trail.map(|trail| value(&trail, true)).as_deref(),
                expected,
                "{lines}"
            );
        }
    }

    #[test]
    fn of_too_many_the_first_and_the_last_are_kept() {
        let many: String = (1..=100)
            .map(|n| format!("History-Info: <sip:u{n}@y>;index={n}\r\n"))
            .collect();
        let mut trail = Trail::of(&request(&many), &bob(), true).unwrap();
        assert_eq!(trail.entries.len(), ENTRIES_MAX);
        assert_eq!(&*trail.entries[0].uri, "sip:u1@y");
        assert_eq!(&*trail.entries[ENTRIES_MAX - 2].uri, "sip:u100@y");
        let mut steps = Steps::default();
        for _ in 0..200 {
            let bob = "sip:bob@example.org";
            trail = Trail::after(Some(&trail), bob, 302, "sip:bob@example.org", &mut steps);
        }
        assert!(trail.line(true).len() < 20 * 1024);
    }

    #[test]
    fn who_is_to_be_hidden_is_hidden_from_those_who_are_not_trusted() {
        let private = "History-Info: <sip:x@y?Reason=SIP%3Bcause%3D302&Privacy=history>;index=1, <sip:bob@example.org>;index=1.1;mp=1\r\n";
        let trail = Trail::of(&request(private), &bob(), true).unwrap();
        assert_eq!(
            value(&trail, false),
            "<sip:anonymous@anonymous.invalid?Reason=SIP%3Bcause%3D302>;index=1, <sip:bob@example.org>;index=1.1;mp=1"
        );
        assert!(value(&trail, true).starts_with("<sip:x@y?Reason"));
        let all = format!("Privacy: history\r\n{private}");
        let trail = Trail::of(&request(&all), &bob(), true).unwrap();
        let mut steps = Steps::default();
        let toward = trail.toward("sip:b@198.51.100.2", Step::Registered, &mut steps);
        assert_eq!(
            value(&toward, false),
            "<sip:anonymous@anonymous.invalid?Reason=SIP%3Bcause%3D302>;index=1, \
             <sip:anonymous@anonymous.invalid>;index=1.1;mp=1, \
             <sip:b@198.51.100.2>;index=1.1.1;rc=1.1"
        );
    }
}
