//! What the gate says to the sockets of a shard: who is heard, and which connections wait.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use dashmap::{DashMap, Entry};
use mio::Token;

use crate::engine::Engine;
use crate::engine::events::Offence;
use crate::engine::ids::Flow;
use crate::engine::time::{Millis, Time};
use crate::gate::{Freight, Load, Rules, Standing, Verdict};
use crate::transport::{Guest, Need};

use super::shared::Shared;
use super::spare::Spared;
use super::world::Site;

/// The beginning of every response (RFC 3261 7.2).
const RESPONSE: &[u8] = b"SIP/2.0 ";

/// How many there are of each number, over all shards.
#[derive(Debug, Default)]
pub struct Counts(DashMap<u64, u32>);

/// The peers of legs whose calls were answered, by `Engine::peer_number`.
#[derive(Debug, Default)]
pub struct Legs(pub(super) Counts);

impl Legs {
    pub(super) fn stands(&self, flow: &Flow) -> bool {
        self.0.of(Engine::peer_number(flow.transport, flow.peer)) > 0
    }
}

impl Counts {
    pub(super) fn of(&self, number: u64) -> u32 {
        self.0.get(&number).map_or(0, |count| *count)
    }

    pub(super) fn count(&self, number: u64, begins: bool) {
        match self.0.entry(number) {
            Entry::Vacant(free) if begins => drop(free.insert(1)),
            // What ends has begun.
            Entry::Vacant(_) => {}
            Entry::Occupied(mut held) if begins => *held.get_mut() += 1,
            Entry::Occupied(mut held) => {
                *held.get_mut() -= 1;
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
    }
}

/// The gate as one shard asks it.
pub(super) struct Entrance<'a> {
    pub(super) shared: &'a Shared,
    pub(super) engine: &'a Engine,
    pub(super) site: &'a Site,
    pub(super) rules: &'a Rules,
    pub(super) now: Time,
}

impl Entrance<'_> {
    /// Returns true where a datagram is to be looked at.
    pub(super) fn hears(&self, flow: &Flow, bytes: &[u8]) -> bool {
        let standing = || self.standing(flow);
        let gate = &self.shared.gate;
        let verdict = gate.hear(self.rules, flow.into(), freight(bytes), self.now, standing);
        verdict == Verdict::Heard
    }

    /// Returns as whose a connection is to be accepted, if it is. Each counts as a request: it has no binding,
    /// no leg and no certificate yet.
    pub(super) fn admits(&self, flow: &Flow) -> Option<Guest> {
        let standing = || self.standing(flow);
        let gate = &self.shared.gate;
        let verdict = gate.hear(self.rules, flow.into(), Load::Request, self.now, standing);
        (verdict == Verdict::Heard).then(|| {
            if self.trusts(flow) {
                Guest::Trusted
            } else {
                Guest::Stranger
            }
        })
    }

    /// Returns whether a registration, or a conversation of any shard, needs a connection that no message has
    /// passed over for so long.
    pub(super) fn needs(&self, flow: &Flow, wordless: Millis, others: &Spared) -> Need {
        if self.shared.bindings.names(flow) || self.engine.uses(flow) {
            return Need::Needed;
        }
        let others_there = self.shared.mailboxes.workers() - 1;
        others.needs(flow, wordless, others_there, self.now)
    }

    pub(super) fn trusts(&self, flow: &Flow) -> bool {
        self.engine.trusts(flow, self.site)
    }

    /// Returns true where a connection is to be closed since it is shut out.
    pub(super) fn closes(&self, flow: &Flow) -> bool {
        let gate = &self.shared.gate;
        gate.closes(self.rules, flow.into(), self.now, || self.standing(flow))
    }

    /// Returns how long a connection is not to be read.
    pub(super) fn holds(&self, flow: &Flow) -> Millis {
        let gate = &self.shared.gate;
        gate.unheard_for(self.rules, flow.into(), self.now, || self.standing(flow))
    }

    /// Counts a message that came over a connection.
    pub(super) fn read(&self, flow: &Flow, bytes: &[u8]) {
        let standing = || self.standing(flow);
        let gate = &self.shared.gate;
        gate.read(self.rules, flow.into(), freight(bytes), self.now, standing);
    }

    /// Counts keep-alives that came over a connection: they ask for as little as responses do.
    pub(super) fn pinged(&self, flow: &Flow, times: usize) {
        let standing = || self.standing(flow);
        let gate = &self.shared.gate;
        for _ in 0..times {
            gate.read(self.rules, flow.into(), Load::Response, self.now, standing);
        }
    }

    /// Takes note of an offence.
    pub(super) fn strike(&self, flow: &Flow, offence: Offence, proven: bool) {
        let standing = || self.standing(flow);
        let gate = &self.shared.gate;
        gate.strike(self.rules, flow.into(), offence, proven, self.now, standing);
    }

    fn standing(&self, flow: &Flow) -> Standing {
        if self.trusts(flow) {
            Standing::Trusted
        } else if self.shared.bindings.names(flow) {
            Standing::Bound
        } else if self.shared.legs.stands(flow) {
            Standing::InCall
        } else {
            Standing::Stranger
        }
    }
}

fn freight(bytes: &[u8]) -> Freight {
    // A keep-alive is empty, and asks for nothing.
    let load = if bytes.is_empty() || bytes.starts_with(RESPONSE) {
        Load::Response
    } else {
        Load::Request
    };
    Freight(load, bytes.len())
}

/// Connections that are not read before their time.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_token: BTreeMap<Token, Time>,
    by_time: BTreeSet<(Time, Token)>,
}

impl Held {
    /// Holds a connection; one that is held already stays so until its time.
    pub(super) fn hold(&mut self, token: Token, until: Time) {
        if let btree_map::Entry::Vacant(free) = self.by_token.entry(token) {
            free.insert(until);
            self.by_time.insert((until, token));
        }
    }

    pub(super) fn holds(&self, token: Token) -> bool {
        self.by_token.contains_key(&token)
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(until, _)| *until)
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<Token> {
        let (until, token) = *self.by_time.first()?;
        if until > now {
            return None;
        }
        self.by_time.remove(&(until, token));
        self.by_token.remove(&token);
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_while_any_leg_to_it_stands() {
        let legs = Legs::default();
        let flow = Flow {
            transport: crate::engine::ids::Transport::Udp,
            listener: crate::engine::ids::ListenerId(0),
            peer: ([192, 0, 2, 1], 5060).into(),
            connection: None,
        };
        let peer = Engine::peer_number(flow.transport, flow.peer);
        for begins in [true, true, false] {
            legs.0.count(peer, begins);
            assert!(legs.stands(&flow));
        }
        legs.0.count(peer, false);
        assert!(!legs.stands(&flow) && legs.0.0.is_empty());
        legs.0.count(peer, false);
        assert!(legs.0.0.is_empty());
    }

    #[test]
    fn held_until_its_time_and_once() {
        let mut held = Held::default();
        held.hold(Token(1), Time(20));
        held.hold(Token(2), Time(10));
        held.hold(Token(1), Time(30));
        assert!(held.holds(Token(1)) && held.next() == Some(Time(10)));
        assert_eq!(held.pop_due(Time(9)), None);
        assert_eq!(held.pop_due(Time(25)), Some(Token(2)));
        assert_eq!(held.pop_due(Time(25)), Some(Token(1)));
        assert!(!held.holds(Token(1)) && held.next().is_none());
    }
}
