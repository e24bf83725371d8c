//! Lost dialogs of conversations that are over. A phone that was cut off for hours still holds its dead call; it has
//! the BYE as soon as it registers.

use std::collections::{BTreeMap, BTreeSet};

use super::ghosts::{Haunt, way_back};
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::dialog::Happens;
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Event, Forgotten};
use crate::engine::ids::{Aor, ConversationId, Flow, LegId};
use crate::engine::location;
use crate::engine::time::{Millis, Time};

/// Dialogs remembered at a time; beyond that the oldest is forgotten.
const GRAVES_MAX: usize = 10_000;
/// How long one is remembered.
const REST: Millis = Millis::from_secs(12 * 3600);
/// BYEs of one because its phone has registered: one that never answers them has had enough.
const RETURNS_MAX: u32 = 8;
/// BYEs that go at once where a phone registers which had many calls, as a gateway has; the others follow by time.
const AT_ONCE: usize = 20;
/// BYEs by time in one sweep: calls that ended together are not all told together.
const DUE_MAX: usize = 200;
/// Between two lines of the log about too many.
const SAID_EVERY: Millis = Millis::from_secs(60);

pub(super) type Key = (ConversationId, LegId);

/// The dialogs, by their legs.
#[derive(Default)]
pub(crate) struct Graves {
    graves: BTreeMap<Key, Grave>,
    by_aor: BTreeSet<(Aor, Key)>,
    by_age: BTreeSet<(Time, Key)>,
    /// When each is to be looked at next.
    due: BTreeSet<(Time, Key)>,
    /// When the operator was last told that there are too many.
    said: Option<Time>,
}

pub(super) struct Grave {
    pub(super) aor: Aor,
    pub(super) leg: Leg,
    reason: Option<&'static str>,
    since: Time,
    next: Time,
    /// BYEs by time, as those of a conversation that goes on, and BYEs by registrations.
    pub(super) haunt: Haunt,
    returns: u32,
}

impl Graves {
    /// Returns true where there are too many, and the oldest is forgotten.
    fn insert(&mut self, key: Key, grave: Grave) -> bool {
        self.by_aor.insert((grave.aor.clone(), key));
        self.by_age.insert((grave.since, key));
        self.due.insert((grave.next, key));
        self.graves.insert(key, grave);
        let oldest = self.by_age.first().copied();
        let oldest = oldest.filter(|_| self.graves.len() > GRAVES_MAX);
        oldest.is_some_and(|(_, oldest)| self.take(oldest).is_some())
    }

    fn take(&mut self, key: Key) -> Option<Grave> {
        let grave = self.graves.remove(&key)?;
        self.due.remove(&(grave.next, key));
        self.by_age.remove(&(grave.since, key));
        self.by_aor.remove(&(grave.aor.clone(), key));
        Some(grave)
    }

    pub(crate) fn len(&self) -> usize {
        self.graves.len()
    }

    /// One is told with the next that are due, bit by bit.
    pub(super) fn is_due(&mut self, key: Key, now: Time) {
        if let Some(grave) = self.graves.get_mut(&key) {
            self.due.remove(&(grave.next, key));
            grave.next = now;
            self.due.insert((now, key));
        }
    }

    /// The phone has answered the BYE of a dialog.
    pub(crate) fn answered(&mut self, key: Key, status: u16, flow: &Flow) {
        let grave = self.graves.get_mut(&key);
        if grave.is_some_and(|grave| grave.leg.is_ended_by(status, flow)) {
            self.take(key);
        }
    }

    /// Returns those of a conversation.
    pub(super) fn of_conversation(&self, id: ConversationId) -> impl Iterator<Item = &Grave> {
        let graves = self.graves.range((id, LegId(0))..=(id, LegId(u32::MAX)));
        graves.map(|(_, grave)| grave)
    }

    /// Returns true where any of a conversation has BYEs by time to come.
    pub(super) fn has_untold(&self, id: ConversationId) -> bool {
        let mut graves = self.of_conversation(id);
        graves.any(|grave| grave.haunt.next.is_some())
    }

    fn of(&self, aor: &Aor) -> Vec<Key> {
        let first = (aor.clone(), (ConversationId(0), LegId(0)));
        let all = self.by_aor.range(first..);
        let theirs = all.take_while(|(of, _)| of == aor);
        theirs.map(|(_, key)| *key).collect()
    }
}

impl Context<'_> {
    /// A lost dialog outlives its conversation, until its phone has answered a BYE, and is told by time as it was to be
    /// before (`haunt`). Whose place another endpoint has taken is told so (`replaced`).
    pub(crate) fn entomb(
        &mut self,
        id: ConversationId,
        aor: Aor,
        mut leg: Leg,
        haunt: Haunt,
        replaced: bool,
    ) {
        let reason = replaced.then_some(ELSEWHERE);
        leg.talk = Talk::default();
        let _ = leg.life.take(Happens::Leave);
        let (since, ends) = (self.now, self.now + REST);
        let grave = Grave {
            aor,
            leg,
            reason,
            since,
            next: haunt.next.unwrap_or(ends),
            haunt,
            returns: 0,
        };
        self.shared.farewells.begins(id);
        if self.shared.graves.insert((id, grave.leg.id), grave) {
            self.forgets(Forgotten::AtOnce);
        }
    }

    /// There are too many of them.
    pub(super) fn forgets(&mut self, when: Forgotten) {
        let said = &mut self.shared.graves.said;
        let tell = said.is_none_or(|said| self.now.since(said) >= SAID_EVERY);
        if tell {
            *said = Some(self.now);
        }
        self.emit(Event::Forgotten { when, tell });
    }

    /// A phone is back on the network: what it still holds ends now.
    pub(crate) fn open_graves(&mut self, aor: &Aor, endpoint: &Endpoint) {
        let mut told = 0;
        for key in self.shared.graves.of(aor) {
            let graves = &mut self.shared.graves;
            let is_its =
                |grave: &Grave| location::same(&grave.leg.endpoint.identity, &endpoint.identity);
            if !graves.graves.get(&key).is_some_and(is_its) {
                continue;
            }
            let Some(mut grave) = graves.take(key) else {
                continue;
            };
            grave.returns += 1;
            if grave.returns > RETURNS_MAX {
                continue;
            }
            if let Some(flow) = endpoint.flow {
                grave.leg.goes_over(flow);
            }
            told += 1;
            if told > AT_ONCE {
                grave.next = self.now;
            } else {
                grave.leg.bye_again(self, key.0, &grave.aor, grave.reason);
            }
            self.shared.graves.insert(key, grave);
        }
    }

    /// Upstreams answer again: what they have missed is told bit by bit, as what is due by time.
    pub(crate) fn graves_beyond(&mut self, upstreams: &[Box<str>]) {
        let all = self.shared.graves.graves.iter();
        let beyond = |grave: &Grave| self.is_through(&grave.leg, upstreams);
        let missed = all.filter(|(_, grave)| grave.returns < RETURNS_MAX && beyond(grave));
        let missed: Vec<Key> = missed.map(|(key, _)| *key).collect();
        for key in missed {
            self.shared.graves.is_due(key, self.now);
            if let Some(grave) = self.shared.graves.graves.get_mut(&key) {
                grave.returns += 1;
            }
        }
    }

    /// Phones that never register are told once more by time; what nobody has asked for is forgotten.
    pub(crate) fn graves_due(&mut self) {
        let mut told = 0;
        while let Some((next, key)) = self.shared.graves.due.first().copied() {
            if next > self.now || told == DUE_MAX {
                break;
            }
            let Some(mut grave) = self.shared.graves.take(key) else {
                self.shared.graves.due.pop_first();
                continue;
            };
            let ends = grave.since + REST;
            if ends <= self.now {
                continue;
            }
            told += 1;
            grave.haunt.told_again(self.now);
            grave.leg.goes_over(way_back(self, &grave.aor, &grave.leg));
            grave.leg.bye_again(self, key.0, &grave.aor, grave.reason);
            grave.next = grave.haunt.next.unwrap_or(ends);
            self.shared.graves.insert(key, grave);
            self.grave_told(key.0);
        }
    }
}
