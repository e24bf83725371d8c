//! What calls show of the targets of upstreams, and which of them a call may ask.

use std::hash::Hash;

use crate::engine::conversation::context::{Context, Shared};
use crate::engine::endpoint::Endpoint;
use crate::engine::events::Event;
use crate::engine::health::{Health, Observation, Sign};
use crate::engine::locating::{Hop, Located};
use crate::engine::mint::hash64;
use crate::engine::ports::Output;
use crate::engine::routing::{Destination, Target};
use crate::engine::time::{Millis, Time};
use crate::engine::upstreams::{hop_of, place_of};

/// How long who belongs to no upstream is left alone at most: no operator sees it, and no other shard knows.
const PAUSE_UNSEEN_MAX: Millis = Millis::from_secs(60);

impl Shared {
    /// Takes what was seen of a target, here or on another shard.
    pub(crate) fn saw(&mut self, seen: &Observation, now: Time) {
        if let Sign::Paused(target, span) = seen.sign {
            return self.left_alone(seen, target, span, now);
        }
        if let Sign::Silent(target) = seen.sign {
            return self.shunned.failed(target, now);
        }
        if seen.sign == Sign::Resumed {
            let over = self.upstreams.resume(&seen.hop);
            over.iter().for_each(|target| self.shunned.resume(target));
            return self.pauses_over(&seen.hop, &over);
        }
        let news = self.upstreams.observe(seen, now);
        if news.is_some_and(|(before, _)| seen.sign.is_good() && before != Health::Returning) {
            self.back.insert(seen.hop.clone());
        }
        let Some((before, health)) = news.filter(|_| self.leads) else {
            return;
        };
        for (upstream, target) in self.upstreams.names_of(&seen.hop) {
            let event = changed(upstream, target, Some(before), health);
            self.out.push_back(event.into());
        }
    }

    fn left_alone(&mut self, seen: &Observation, target: Located, span: Millis, now: Time) {
        let asked = (seen.at, span);
        let Some(pause) = self.upstreams.pause(&seen.hop, target, asked, now) else {
            return;
        };
        self.shunned.pause(target, pause.until, now);
        if !self.leads || !pause.new {
            return;
        }
        let span = pause.until.since(now);
        for (upstream, uri) in self.upstreams.names_of(&seen.hop) {
            let event = Event::UpstreamPaused {
                upstream,
                target: uri,
                address: shown(&target),
                span,
            };
            self.out.push_back(event.into());
        }
    }

    /// Tells which pauses are over.
    pub(crate) fn end_pauses(&mut self, now: Time) {
        for (hop, target) in self.upstreams.sweep(now) {
            self.pauses_over(&hop, &[target]);
        }
    }

    fn pauses_over(&mut self, hop: &Hop, targets: &[Located]) {
        let names = self.upstreams.names_of(hop).into_iter();
        for (upstream, uri) in names.filter(|_| self.leads) {
            let events = targets.iter().map(|target| Event::UpstreamPauseOver {
                upstream: upstream.clone(),
                target: uri.clone(),
                address: shown(target),
            });
            self.out.extend(events.map(Output::from));
        }
    }
}

fn shown((transport, at): &Located) -> Box<str> {
    format!("{}:{at}", transport.param()).into()
}

/// Tells what a target of an upstream is from now on.
pub(crate) fn changed(
    upstream: Box<str>,
    target: Box<str>,
    before: Option<Health>,
    health: Health,
) -> Event {
    Event::UpstreamChanged {
        upstream,
        target,
        before: before.map(Health::as_str),
        state: health.as_str(),
        used: matches!(health, Health::Up | Health::Suspect),
    }
}

impl Context<'_> {
    /// Takes what was seen of a target, and tells the other shards.
    pub(crate) fn observe(&mut self, seen: Observation) {
        self.shared.saw(&seen, self.now);
        self.shared.out.push_back(Output::Observed(seen));
    }

    /// A call was answered where an endpoint is asked. Most show that it is as it was.
    pub(crate) fn call_answered(&mut self, endpoint: &Endpoint) {
        self.call_shows(endpoint, Sign::CallAnswered, self.now);
    }

    /// A call that was sent at that time has failed where an endpoint is asked.
    pub(crate) fn call_failed(&mut self, endpoint: &Endpoint, sent: Time) {
        self.call_shows(endpoint, Sign::CallFailed, sent);
    }

    /// Somebody asked to be left alone at an address (RFC 3261 21.5.4): of an upstream all shards are told.
    /// `located_by`: what the request went by, and the address was located by.
    pub(crate) fn asked_for_a_pause(
        &mut self,
        target: Located,
        located_by: Option<&Hop>,
        span: Millis,
    ) {
        let now = self.now;
        match self.shared.upstreams.owner(&target, located_by) {
            Some(hop) => self.observe(Observation {
                hop,
                sign: Sign::Paused(target, span),
                at: now,
            }),
            None => {
                let until = now + span.min(PAUSE_UNSEEN_MAX);
                self.shared.shunned.pause(target, until, now);
            }
        }
    }

    /// Nobody answered at an address that a hop was located at, or nothing leads there: of an upstream's target all
    /// shards are told, or a call at each would wait for the same; once where many calls say so.
    pub(crate) fn was_silent(&mut self, target: Located, located_by: Option<&Hop>) {
        if self.shared.shunned.knows(&target, self.now) {
            return;
        }
        let upstreams = &self.shared.upstreams;
        let hop = located_by.filter(|hop| upstreams.is_watched(hop)).cloned();
        let now = self.now;
        match hop.or_else(|| upstreams.owner(&target, None)) {
            Some(hop) => self.observe(Observation {
                hop,
                sign: Sign::Silent(target),
                at: now,
            }),
            None => self.shared.shunned.failed(target, now),
        }
    }

    fn call_shows(&mut self, endpoint: &Endpoint, sign: Sign, at: Time) {
        let Some(hop) = hop_of(place_of(endpoint)) else {
            return;
        };
        let seen = Observation { hop, sign, at };
        if self.shared.upstreams.minds(&seen) {
            self.observe(seen);
        }
    }

    /// Leaves of an upstream's targets those that may be asked, in order. None where all are down.
    pub(crate) fn choose(&self, mut there: Destination, key: impl Hash) -> Option<Destination> {
        let Some(name) = &there.upstream else {
            return Some(there);
        };
        let (upstreams, targets) = (&self.shared.upstreams, there.targets);
        let place = |target: &'_ Target| -> Option<Hop> { hop_of(place_of(&target.endpoint)) };
        there.targets = upstreams.choose(name, targets, place, hash64(key), self.now);
        (!there.targets.is_empty()).then_some(there)
    }
}
