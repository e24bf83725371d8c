//! Upstreams as groups: which of their targets are used, and in which order. What is seen of one on any
//! shard is told to all, so that each has the same picture; one shard probes.

mod peers;

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::endpoint::Endpoint;
use crate::engine::health::{Health, Observation, Sign};
use crate::engine::locating::{Hop, Located};
use crate::engine::mint::hash64;
use crate::engine::settings::Settings;
use crate::engine::time::{Millis, Time};
use crate::engine::view::UpstreamView;
use crate::sip::Uri;

pub(crate) use self::peers::Peers;

/// Without probes nothing but a call can show that a target is back: after this long it has its turn again.
const REST: Millis = Millis::from_secs(30);
/// Of a target that answers calls all the time the shards tell each other no more often.
const TOLD_EVERY: Millis = Millis::from_secs(1);

/// For how long a target is left alone at most, whatever its Retry-After says: where nothing else shows that it
/// takes calls again, and where probes are answered all the while.
const PAUSE_MAX: Millis = Millis::from_secs(3600);
const PAUSE_PROBED_MAX: Millis = Millis::from_secs(60);
/// Addresses of one target that are known to pause; with more, the one that is free soonest is forgotten.
const PAUSES_MAX: usize = 64;

/// The targets of all upstreams.
#[derive(Debug, Default)]
pub struct Upstreams {
    groups: BTreeMap<Box<str>, Vec<Member>>,
    watched: BTreeMap<Hop, Watched>,
    /// Those that a call failed at, or somebody beyond says nothing: they are probed soon.
    hurry: BTreeSet<Hop>,
}

#[derive(Debug)]
struct Member {
    hop: Hop,
    uri: Box<str>,
    priority: u16,
    weight: u16,
}

/// The same place may be a target of several upstreams.
#[derive(Debug)]
struct Watched {
    health: Health,
    since: Time,
    /// Its last sign of life.
    heard: Time,
    /// When it last said anything, be it that it takes no calls.
    spoke: Time,
    /// When a call last failed at it.
    failed: Time,
    /// How often it is probed. None: never.
    probe: Option<Millis>,
    /// Those of its addresses that asked to be left alone, and until when they are.
    pauses: BTreeMap<Located, Time>,
}

/// A target is left alone at one of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    pub until: Time,
    /// It was not before.
    pub new: bool,
}

impl Watched {
    /// Returns how late it is asked. None: not at all, as long as probes do not show that it is back.
    fn rank(&self, now: Time) -> Option<u8> {
        match (self.health, self.probe) {
            (Health::Up, _) => Some(0),
            (Health::Suspect, None) if self.failed + REST <= now => Some(0),
            (Health::Suspect, _) => Some(1),
            (Health::Ejected | Health::Returning, _) => None,
        }
    }

    /// Returns until when it is left alone; one that has a name may have other addresses than those that are.
    fn paused_until(&self, hop: &Hop, now: Time) -> Option<Time> {
        let until = self.pauses.get(&hop.numeric()?).copied();
        until.filter(|until| *until > now)
    }

    /// Returns true where it may be asked instead of another.
    fn takes_calls(&self, hop: &Hop, now: Time) -> bool {
        self.health == Health::Up && self.paused_until(hop, now).is_none()
    }
}

impl Upstreams {
    /// Takes all for up until something else shows.
    pub fn new(settings: &Settings, now: Time) -> Self {
        let mut upstreams = Self::default();
        for (name, upstream) in &settings.upstreams {
            let mut members = Vec::new();
            for target in &upstream.targets {
                let uri = Uri::parse(&target.uri).ok();
                let Some(hop) = uri.and_then(|uri| Hop::of(&uri)) else {
                    continue;
                };
                let watched = upstreams.watched.entry(hop.clone()).or_insert(Watched {
                    health: Health::Up,
                    since: now,
                    heard: now,
                    spoke: now,
                    failed: now,
                    probe: None,
                    pauses: BTreeMap::new(),
                });
                let soonest = watched.probe.into_iter().chain(upstream.probe).min();
                watched.probe = soonest;
                members.push(Member {
                    hop,
                    uri: target.uri.clone(),
                    priority: target.priority,
                    weight: target.weight,
                });
            }
            upstreams.groups.insert(name.clone(), members);
        }
        upstreams
    }

    /// Returns those targets of an upstream that may be asked, the first to be asked first: who failed
    /// lately last, the rest by priority and, within it, by weight. The same `key` draws the same. Who asked to be
    /// left alone is asked all the same where no other is well, the one that is free soonest first: one refusal,
    /// which may be no more than what somebody beyond said, must not take the upstream from everybody.
    pub fn choose<T>(
        &self,
        name: &str,
        targets: Vec<T>,
        place: impl Fn(&T) -> Option<Hop>,
        key: u64,
        now: Time,
    ) -> Vec<T> {
        let members = self.groups.get(name).map_or(&[][..], |members| members);
        let mut chosen = Vec::with_capacity(targets.len());
        let mut paused = Vec::new();
        for target in targets {
            let hop = place(&target);
            let known = hop.and_then(|hop| {
                let member = members.iter().find(|member| member.hop == hop)?;
                Some((member, self.watched.get(&hop)?))
            });
            let Some((member, watched)) = known else {
                chosen.push((0, 0, 0.0, target));
                continue;
            };
            let Some(rank) = watched.rank(now) else {
                continue;
            };
            if let Some(until) = watched.paused_until(&member.hop, now) {
                paused.push((until, target));
            } else {
                // Of exponentials whose rates are the weights the least is drawn by weight.
                let uniform = (hash64((key, &member.hop)) >> 11) as f64 / (1u64 << 53) as f64;
                let drawn = -(1.0 - uniform).ln() / f64::from(member.weight.max(1));
                chosen.push((rank, member.priority, drawn, target));
            }
        }
        chosen.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
        paused.sort_by_key(|(until, _)| *until);
        if chosen.first().is_some_and(|(rank, ..)| *rank == 0) {
            paused.clear();
        }
        let chosen = chosen.into_iter().map(|(.., target)| target);
        let paused = paused.into_iter().map(|(_, target)| target);
        chosen.chain(paused).collect()
    }

    /// Takes what was seen of a place. Returns what the place was and is, where that is not the same.
    pub fn observe(&mut self, seen: &Observation, now: Time) -> Option<(Health, Health)> {
        let Observation { hop, sign, at } = seen;
        let watched = self.watched.get_mut(hop)?;
        if *sign == Sign::Doubted {
            self.hurry.insert(hop.clone());
            return None;
        }
        if *sign == Sign::Heard {
            watched.spoke = watched.spoke.max(*at);
            return None;
        }
        if sign.is_good() {
            watched.heard = watched.heard.max(*at);
            watched.spoke = watched.spoke.max(*at);
        } else if *at < watched.heard {
            // It has answered since that was sent.
            return None;
        }
        if *sign == Sign::CallFailed {
            self.hurry.insert(hop.clone());
            // Each failure begins the rest anew.
            watched.failed = now;
        }
        let next = watched.health.after(*sign);
        if next != watched.health {
            watched.since = now;
        }
        let before = std::mem::replace(&mut watched.health, next);
        (next != before).then_some((before, next))
    }

    /// A target asked at that time to be left alone at one of its addresses. None where that asks for nothing.
    pub fn pause(
        &mut self,
        hop: &Hop,
        target: Located,
        (asked, span): (Time, Millis),
        now: Time,
    ) -> Option<Pause> {
        let watched = self.watched.get_mut(hop)?;
        let most = watched.probe.map_or(PAUSE_MAX, |_| PAUSE_PROBED_MAX);
        let until = asked + span.min(most);
        if until <= now {
            return None;
        }
        let known = watched.pauses.get(&target).filter(|known| **known > now);
        let (new, until) = (
            known.is_none(),
            known.map_or(until, |known| until.max(*known)),
        );
        watched.pauses.insert(target, until);
        if watched.pauses.len() > PAUSES_MAX {
            let soonest = watched.pauses.iter().min_by_key(|(_, until)| **until);
            let soonest = soonest.map(|(target, _)| *target);
            watched.pauses.retain(|known, _| Some(*known) != soonest);
        }
        Some(Pause { until, new })
    }

    /// Returns the target that names this address, or whose name it was located by. What a far end's Contact
    /// or Route leads to is no target's, whatever upstream the call went through.
    pub fn owner(&self, target: &Located, located_by: Option<&Hop>) -> Option<Hop> {
        let mut watched = self.watched.keys();
        let numeric = watched.find(|hop| hop.numeric().as_ref() == Some(target));
        let named = located_by.filter(|hop| hop.numeric().is_none());
        let named = named.filter(|hop| self.watched.contains_key(*hop));
        numeric.or(named).cloned()
    }

    /// Returns true for the place of a target.
    pub fn is_watched(&self, hop: &Hop) -> bool {
        self.watched.contains_key(hop)
    }

    /// Ends the pauses of a place, and returns of which of its addresses they were.
    pub fn resume(&mut self, hop: &Hop) -> Vec<Located> {
        let watched = self.watched.get_mut(hop);
        let pauses = watched.map(|watched| std::mem::take(&mut watched.pauses));
        pauses.unwrap_or_default().into_keys().collect()
    }

    /// Forgets pauses that are over, and returns whose they were.
    pub fn sweep(&mut self, now: Time) -> Vec<(Hop, Located)> {
        let mut over = Vec::new();
        for (hop, watched) in &mut self.watched {
            let ended = watched.pauses.extract_if(.., |_, until| *until <= now);
            over.extend(ended.map(|(target, _)| (hop.clone(), target)));
        }
        over
    }

    /// Counts addresses that are left alone.
    pub fn paused(&self) -> usize {
        let watched = self.watched.values();
        watched.map(|watched| watched.pauses.len()).sum()
    }

    /// Returns true where a sign says something that the other shards do not know already.
    pub fn minds(&self, seen: &Observation) -> bool {
        let Observation { hop, sign, at } = seen;
        self.watched.get(hop).is_some_and(|watched| {
            if sign.is_good() {
                watched.health != Health::Up || watched.heard + TOLD_EVERY <= *at
            } else {
                watched.heard <= *at
            }
        })
    }

    /// Returns true where none of an upstream's targets has said anything since then, each of which is probed.
    pub fn is_silent(&self, name: &str, since: Time) -> bool {
        let members = self.groups.get(name).map_or(&[][..], |members| members);
        let silent = |member: &Member| {
            let watched = self.watched.get(&member.hop);
            watched.is_some_and(|watched| watched.probe.is_some() && watched.spoke < since)
        };
        !members.is_empty() && members.iter().all(silent)
    }

    /// Returns true for a target that is probed within a second in any case.
    pub fn is_hurried(&self, hop: &Hop) -> bool {
        self.hurry.contains(hop)
    }

    /// Returns the targets of an upstream that are probed.
    pub fn probed_of(&self, name: &str) -> Vec<Hop> {
        let members = self.groups.get(name).map_or(&[][..], |members| members);
        let hops = members.iter().map(|member| &member.hop);
        let probed = |hop: &&Hop| self.watched.get(*hop).is_some_and(|it| it.probe.is_some());
        hops.filter(probed).cloned().collect()
    }

    /// Returns true where another target of the same upstream is up, and could be asked instead.
    pub fn has_other(&self, uri: &str, now: Time) -> bool {
        let Some(hop) = hop_of(uri) else { return false };
        let is_up = |member: &Member| {
            let watched = self.watched.get(&member.hop);
            watched.is_some_and(|watched| watched.takes_calls(&member.hop, now))
        };
        let mut groups = self.groups.values();
        groups.any(|members| {
            let other = |member: &Member| member.hop != hop && is_up(member);
            members.iter().any(|member| member.hop == hop) && members.iter().any(other)
        })
    }

    /// Returns the places that are to be probed soon, and forgets them.
    pub fn hurried(&mut self) -> BTreeSet<Hop> {
        std::mem::take(&mut self.hurry)
    }

    /// Returns the places that are probed, with a URI of each, and how often.
    pub fn probed(&self) -> Vec<(Hop, Box<str>, Millis)> {
        let members = self.groups.values().flatten();
        let uris: BTreeMap<&Hop, &Box<str>> = members.map(|m| (&m.hop, &m.uri)).collect();
        let probed = self.watched.iter().filter_map(|(hop, watched)| {
            let uri = uris.get(hop)?;
            Some((hop.clone(), (*uri).clone(), watched.probe?))
        });
        probed.collect()
    }

    /// Lists all targets.
    pub fn view(&self) -> Vec<UpstreamView> {
        let all = self.groups.iter().flat_map(|(name, members)| {
            members.iter().filter_map(|member| {
                let watched = self.watched.get(&member.hop)?;
                Some(UpstreamView {
                    upstream: name.clone(),
                    target: member.uri.clone(),
                    state: watched.health,
                    since: watched.since,
                    paused: watched.pauses.values().max().copied(),
                    trouble: None,
                })
            })
        });
        all.collect()
    }

    /// Returns the names of the upstreams that a place belongs to, with its URI there.
    pub fn names_of(&self, hop: &Hop) -> Vec<(Box<str>, Box<str>)> {
        let all = self.groups.iter().flat_map(|(name, members)| {
            let members = members.iter().filter(|member| member.hop == *hop);
            members.map(|member| (name.clone(), member.uri.clone()))
        });
        all.collect()
    }
}

/// Returns the URI that says where an endpoint is asked at: of its upstream, else its own.
pub fn place_of(endpoint: &Endpoint) -> &str {
    endpoint.through.as_deref().unwrap_or(&endpoint.contact)
}

/// Returns the next hop of a URI.
pub fn hop_of(uri: &str) -> Option<Hop> {
    Hop::of(&Uri::parse(uri).ok()?)
}

#[cfg(test)]
mod tests;
