//! What happened in all runs together: a judge of runs in which nothing happens is content too.

use std::collections::{BTreeMap, BTreeSet};

use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::judge::{CONTINUED, FAILED};
use crate::log::{Fault, What};
use crate::phone::Temper;
use crate::run::{START, Simulation};

/// How often each thing happened, by its name.
#[derive(Debug, Default)]
pub(crate) struct Census(BTreeMap<String, usize>);

/// In every run or nearly: answered calls and sessions, faults, texts, invitations to the lost.
const OFTEN: [&str; 4] = ["ACK", "fault", "text", "Replaces"];
/// In one of ten at least.
const SOMETIMES: [&str; 30] = [
    "restart",
    "CONTINUED",
    "FAILED",
    "store slow",
    "Killed",
    "rebooted",
    "Frozen",
    "Cut",
    "Moved",
    "early media",
    "PRACK got",
    "PRACK sent",
    "refresh got",
    "refresh sent",
    "UPDATE",
    "hold",
    "202",
    "AnswersTwice",
    "Slow",
    "IgnoresOptions",
    "NoMessage",
    "ReusesTags",
    "IgnoresCancel",
    "OptionsAnyway",
    "CANCEL",
    "481",
    "G722",
    "opus",
    "pictures",
    "silence unseen",
];
/// In one of fifty at least.
const SELDOM: [&str; 16] = [
    "store failed",
    "overheard",
    "Unheard",
    "Deaf",
    "Mute",
    "Reset",
    "REFER",
    "NOTIFY",
    "handed on",
    "488",
    "491",
    "long",
    "NeverAnswers",
    "Declines",
    "HangsUpOnMove",
    "repairs anew",
];

impl Census {
    pub(crate) fn count(&mut self, run: &Simulation) {
        let mut dead = BTreeSet::new();
        for entry in &run.log.entries {
            match &entry.what {
                What::Fault(fault) => {
                    if *fault == Fault::Killed {
                        dead.insert(entry.phone);
                    }
                    self.add("fault");
                    self.add(&format!("{fault:?}"));
                }
                What::Recovered if dead.remove(&entry.phone) => self.add("rebooted"),
                What::Recovered => self.add("well again"),
                What::ServerUp => self.add("restart"),
                What::Transferred => self.add("handed on"),
                What::Got(message) => self.got(message),
                What::Sent(message) => self.sent(message),
                What::TimedOut(_)
                | What::HungUp
                | What::Expired
                | What::Heard
                | What::ServerDown
                | What::Stored(_)
                | What::Remark(_) => {}
            }
        }
        for card in &run.log.roster {
            if card.traits.temper != Temper::Perfect {
                self.add(&format!("{:?}", card.traits.temper));
            }
        }
        if run.log.rules.silence.is_none() {
            self.add("silence unseen");
        }
        // Of its talks one lasts for more than five minutes.
        if run.log.last().since(START) > Millis::from_secs(300 + 240) {
            self.add("long");
        }
        self.more("overheard", run.overheard());
        let (slow, failed) = run.store_trouble();
        self.more("store slow", slow);
        self.more("store failed", failed);
    }

    fn got(&mut self, message: &Message) {
        if !message.is_request() {
            return match message.status() {
                202 => self.add("202"),
                status @ (481 | 491) => self.add(&status.to_string()),
                183 if !message.body().is_empty() => self.add("early media"),
                _ => {}
            };
        }
        let body = String::from_utf8_lossy(message.body());
        for start in [CONTINUED, FAILED, "text "] {
            if body.starts_with(start) {
                self.add(start.trim_end());
            }
        }
        if message.header(Name::Replaces).is_some() {
            self.add("Replaces");
        }
        let method = message.method();
        match method {
            Method::Ack | Method::Cancel | Method::Notify | Method::Update => {
                self.add(method.as_str());
            }
            Method::Prack => self.add("PRACK got"),
            Method::Invite
            | Method::Bye
            | Method::Register
            | Method::Options
            | Method::Message
            | Method::Info
            | Method::Subscribe
            | Method::Refer
            | Method::Publish
            | Method::Other(_) => {}
        }
        if is_refresh(message) {
            self.add("refresh got");
        }
    }

    fn sent(&mut self, message: &Message) {
        if !message.is_request() {
            if let status @ (488 | 491) = message.status() {
                self.add(&status.to_string());
            }
            return;
        }
        if message.header(Name::Replaces).is_some() {
            self.add("repairs anew");
        }
        let body = String::from_utf8_lossy(message.body());
        if body.contains("a=sendonly") {
            self.add("hold");
        }
        for codec in ["G722", "opus"] {
            if body.contains(codec) {
                self.add(codec);
            }
        }
        if body.contains("a=rtpmap:96 VP8") {
            self.add("pictures");
        }
        match message.method() {
            Method::Prack => self.add("PRACK sent"),
            Method::Refer => self.add("REFER"),
            Method::Ack
            | Method::Cancel
            | Method::Notify
            | Method::Update
            | Method::Invite
            | Method::Bye
            | Method::Register
            | Method::Options
            | Method::Message
            | Method::Info
            | Method::Subscribe
            | Method::Publish
            | Method::Other(_) => {}
        }
        if is_refresh(message) {
            self.add("refresh sent");
        }
    }

    fn add(&mut self, what: &str) {
        self.more(what, 1);
    }

    fn more(&mut self, what: &str, count: usize) {
        *self.0.entry(what.to_owned()).or_default() += count;
    }

    /// Returns what happened too seldom in so many runs.
    pub(crate) fn poor(&self, runs: usize) -> Vec<&'static str> {
        let wanted = OFTEN.iter().map(|what| (*what, runs));
        let wanted = wanted
            .chain(SOMETIMES.iter().map(|what| (*what, runs / 10)))
            .chain(SELDOM.iter().map(|what| (*what, runs / 50)));
        let count = |what: &str| self.0.get(what).copied().unwrap_or_default();
        let poor = wanted.filter(|(what, least)| count(what) < *least);
        poor.map(|(what, _)| what).collect()
    }
}

/// Returns true for what refreshes a session within its dialog (RFC 4028).
fn is_refresh(message: &Message) -> bool {
    message.to_tag().is_some()
        && matches!(message.method(), Method::Invite | Method::Update)
        && message.header(Name::SessionExpires).is_some()
}
