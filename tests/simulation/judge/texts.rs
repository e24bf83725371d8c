//! Messages: in order, each once, none lost.

use std::collections::BTreeMap;

use refork::engine::ids::Side;
use refork::engine::time::{Millis, Time};
use refork::sip::Method;

use super::legs::Request;
use super::{CONTINUED, Case, FAILED, FLIGHT, TRANSACTION, UNDELIVERED, text};

/// Within this, what waits is delivered to a phone that is there.
const PROMPT: Millis = Millis(12_000);

/// One coming of a text to a phone.
struct Coming {
    at: Time,
    number: u32,
    leg: usize,
}

impl Case<'_> {
    pub(super) fn texts(&mut self) {
        let talks = self.log.roster.iter().map(|card| card.talk).max();
        for talk in 0..talks.map_or(0, |last| last + 1) {
            for side in [Side::Caller, Side::Callee] {
                self.direction(talk, side);
            }
        }
        self.strangers();
        self.promises();
    }

    /// What is promised is stored first (RFC 3428 7).
    fn promises(&mut self) {
        let mut found = Vec::new();
        for leg in &self.legs {
            let texts = leg.sent.iter().filter(|it| it.method == Method::Message);
            for text in texts {
                let Some((at, 202)) = text.answer else {
                    continue;
                };
                // What the store had is promised after a restart, though who has died never heard of it.
                let known = self.restarted(text.at, at);
                if !known && !self.stored.iter().any(|kept| (text.at..=at).contains(kept)) {
                    let what = format!("{:?} promised and not stored", text.body);
                    found.push((at, leg.phone, what));
                }
            }
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }

    /// Judges what `side` of a conversation wrote.
    fn direction(&mut self, talk: usize, side: Side) {
        let comings = self.comings(talk, side);
        let mut found = Vec::new();
        let mut latest: BTreeMap<usize, &Coming> = BTreeMap::new();
        let mut seen: BTreeMap<u32, &Coming> = BTreeMap::new();
        for coming in &comings {
            let before = latest.insert(coming.leg, coming);
            if let Some(before) = before.filter(|before| before.number > coming.number)
                && !self.may_come_again(before, coming, &comings)
            {
                found.push((coming, "out of order"));
            }
            if let Some(earlier) = seen.insert(coming.number, coming)
                && !self.may_come_again(earlier, coming, &comings)
            {
                found.push((coming, "came twice"));
            }
        }
        // From leg to leg, only what was under way may come again.
        for coming in &comings {
            let ahead = comings.iter().any(|other| {
                self.legs[other.leg].invited < self.legs[coming.leg].invited
                    && other.number > coming.number
            });
            if ahead {
                found.push((
                    coming,
                    "came to a later phone after its successor to an earlier",
                ));
            }
        }
        let found: Vec<_> = found
            .into_iter()
            .map(|(coming, what)| {
                let text = text(talk, side, coming.number);
                (
                    coming.at,
                    self.legs[coming.leg].phone,
                    format!("{text:?} {what}"),
                )
            })
            .collect();
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
        self.lost(talk, side, &comings);
        self.undelivered(talk, side);
    }

    /// Returns true where the server may not have learnt that a text had come: its phone or the server itself was hit
    /// before the answer can have been heard. A phone that was stopped finds later what came meanwhile.
    fn may_come_again(&self, earlier: &Coming, later: &Coming, all: &[Coming]) -> bool {
        let answered = earlier.at + TRANSACTION;
        let [first, second] = [earlier, later].map(|coming| self.legs[coming.leg].phone);
        let is_known = |other: &Coming| other.number == earlier.number && other.at < earlier.at;
        let written = self.written(earlier).filter(|_| !all.iter().any(is_known));
        let mut restarts = self.restarts.iter();
        // What was on its way as the server died may come first after it has risen.
        let had = |up: Time, down: Time| {
            up >= earlier.at || up + FLIGHT >= earlier.at && written.is_some_and(|at| at < down)
        };
        restarts.any(|(down, up)| *down <= answered && had(*up, *down) && *up <= later.at)
            || self.trouble(first, earlier.at, answered)
            || self.trouble(second, later.at, later.at)
    }

    /// Returns when a text was sent first.
    fn written(&self, coming: &Coming) -> Option<Time> {
        let leg = &self.legs[coming.leg];
        let side = leg.side.other();
        let sent = self.side(leg.talk, side).flat_map(|peer| &peer.sent);
        let of = sent.filter(|sent| number_of(&sent.body, leg.talk, side) == Some(coming.number));
        of.map(|sent| sent.at).min()
    }

    fn comings(&self, talk: usize, side: Side) -> Vec<Coming> {
        let mut comings = Vec::new();
        for (number, leg) in self.legs.iter().enumerate() {
            if leg.talk != talk || leg.side != side.other() {
                continue;
            }
            let texts = leg.got.iter().filter(|got| got.method == Method::Message);
            for request in texts.filter(|got| !is_stale(got)) {
                if let Some(of) = number_of(&request.body, talk, side) {
                    comings.push(Coming {
                        at: request.at,
                        number: of,
                        leg: number,
                    });
                }
            }
        }
        comings.sort_by_key(|coming| coming.at);
        comings
    }

    /// What was accepted arrives, if the conversation goes on.
    fn lost(&mut self, talk: usize, side: Side, comings: &[Coming]) {
        let last = self.log.last();
        let mut found = Vec::new();
        for leg in self.side(talk, side) {
            for request in &leg.sent {
                let Some(number) = number_of(&request.body, talk, side) else {
                    continue;
                };
                let Some((at, 200..300)) = request.answer else {
                    continue;
                };
                if comings.iter().any(|coming| coming.number == number) {
                    continue;
                }
                let skipped = comings.iter().any(|coming| coming.number > number);
                let reachable = self.side(talk, side.other()).any(|peer| {
                    // What was refused for its number is sent once more when that is heard.
                    let tries = peer.got.iter().filter(|got| {
                        let of = number_of(&got.body, talk, side);
                        is_stale(got) && of.is_some_and(|of| of <= number)
                    });
                    let tried = tries.map(|got| got.last).max();
                    let begun = peer
                        .acked
                        .map(|acked| tried.unwrap_or(at).max(acked).max(at));
                    let from = begun.map(|begun| begun + PROMPT);
                    !peer.scarred && from.is_some_and(|from| from <= peer.end().unwrap_or(last))
                });
                if skipped || reachable {
                    let what = format!("{:?} accepted and lost", request.body);
                    found.push((at, leg.phone, what));
                }
            }
        }
        // Of what was dropped its sender is told.
        if found.len() <= self.told_undelivered(talk, side) {
            return;
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }

    /// Every MESSAGE is a text of the other side or a word of the server.
    fn strangers(&mut self) {
        let mut found = Vec::new();
        for leg in &self.legs {
            for request in leg.got.iter().filter(|got| got.method == Method::Message) {
                let body = &request.body;
                let mut words = [CONTINUED, FAILED, UNDELIVERED].into_iter();
                let system = words.any(|word| body.starts_with(word));
                if !system && number_of(body, leg.talk, leg.side.other()).is_none() {
                    found.push((request.at, leg.phone, format!("{body:?} is not for it")));
                }
            }
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }
}

pub(super) fn number_of(body: &str, talk: usize, side: Side) -> Option<u32> {
    let start = format!("text {talk} {} ", side.as_str());
    body.strip_prefix(&start)?.parse().ok()
}

/// Returns true for a try that comes too late: it is refused by its number and never seen (RFC 3261 12.2.2).
fn is_stale(got: &Request) -> bool {
    matches!(got.answer, Some((_, 500 | 481)))
}
