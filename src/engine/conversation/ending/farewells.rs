//! BYEs that are out as a dialog ends, with its conversation or before that. A phone that none has reached has one more
//! when it is back. A restart ends their transactions, and would leave a phone in a call that is over: the store keeps
//! their dialogs, and those of graves, as long as there is a BYE to be sent again; beside the conversation where that goes
//! on, else in its place.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ghosts::{Haunt, way_back};
use super::graves::Key;
use crate::engine::conversation::context::{Context, Shared};
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::conversation::rebuild::JUMP;
use crate::engine::events::Forgotten;
use crate::engine::ids::{Aor, ConversationId, Flow, LegId};
use crate::engine::ports::Output;
use crate::engine::routing;
use crate::engine::time::{Millis, Time};

/// Conversations of which they are kept at a time: where there are more, the one that has only graves for longest is
/// forgotten by a restart.
const FAREWELLS_MAX: usize = 10_000;
/// How often it is looked whether graves of a conversation have BYEs to come.
const LOOK: Millis = Millis::from_secs(60);

/// The dialogs, by their conversations.
#[derive(Default)]
pub(crate) struct Farewells {
    all: BTreeMap<ConversationId, Farewell>,
    /// Those of which graves alone are left, by age: they may last for an hour, and make room for others.
    buried: BTreeSet<(Time, ConversationId)>,
    /// Whose the newest is, or the newest grave: where it goes on, the store does not have that yet.
    newest: Option<ConversationId>,
}

struct Farewell {
    /// Each, and whose phone has it.
    legs: Vec<(Aor, Leg)>,
    /// The conversation is over, and the store has this in its place.
    over: bool,
    since: Time,
    until: Time,
}

impl Farewells {
    /// A dialog of a conversation has ended.
    pub(super) fn begins(&mut self, id: ConversationId) {
        self.newest = Some(id);
    }

    /// Returns true where one of a conversation has ended since it was last asked.
    pub(crate) fn has_begun(&mut self, id: ConversationId) -> bool {
        self.newest.take_if(|newest| *newest == id).is_some()
    }

    /// One of a conversation has changed.
    fn sort(&mut self, id: ConversationId) {
        let Some(farewell) = self.all.get(&id) else {
            return;
        };
        let key = (farewell.since, id);
        if farewell.over && farewell.legs.is_empty() {
            self.buried.insert(key);
        } else {
            self.buried.remove(&key);
        }
    }

    fn take(&mut self, id: ConversationId) -> Option<Farewell> {
        let farewell = self.all.remove(&id)?;
        self.buried.remove(&(farewell.since, id));
        Some(farewell)
    }
}

/// What the store has of a conversation that is over.
#[derive(Serialize, Deserialize)]
struct Kept<L> {
    farewells: Vec<(Aor, L)>,
    /// How often graves among them have been told by time.
    #[serde(default)]
    rounds: BTreeMap<LegId, u32>,
}

impl Context<'_> {
    /// The BYE of a dialog is out, or waits for an ACK.
    pub(super) fn has_said_farewell(&mut self, id: ConversationId, whose: Aor, mut leg: Leg) {
        leg.talk = Talk::default();
        if let Some(farewell) = self.farewell(id) {
            farewell.legs.retain(|(_, known)| known.id != leg.id);
            farewell.legs.push((whose, leg));
            self.shared.farewells.sort(id);
            self.shared.farewells.begins(id);
        }
    }

    /// Returns that of a conversation; none where there is no room.
    fn farewell(&mut self, id: ConversationId) -> Option<&mut Farewell> {
        let farewells = &self.shared.farewells;
        if farewells.all.len() >= FAREWELLS_MAX && !farewells.all.contains_key(&id) {
            let oldest = farewells.buried.first().copied();
            self.forgets(Forgotten::AtRestart);
            let (_, oldest) = oldest?;
            self.end_farewell(oldest);
        }
        let (since, until) = (
            self.now,
            self.now + self.shared.settings.timers.t1.times(64),
        );
        let farewell = self.shared.farewells.all.entry(id);
        let farewell = farewell.or_insert_with(|| Farewell {
            legs: Vec::new(),
            over: false,
            since,
            until,
        });
        farewell.until = until;
        Some(farewell)
    }

    /// A conversation of these is over: the store has its farewells from now on, or nothing.
    pub(super) fn keep_farewells(&mut self, id: ConversationId) {
        let known = self.shared.farewells.all.contains_key(&id);
        let any = known || self.shared.graves.has_untold(id);
        if any && let Some(farewell) = self.farewell(id) {
            farewell.over = true;
            self.shared.farewells.sort(id);
            self.persist_farewells(id);
        } else {
            self.forget(id);
        }
    }

    fn persist_farewells(&mut self, conversation: ConversationId) {
        let token = None;
        let out = &mut self.shared.out;
        out.push_back(Output::Persist {
            conversation,
            token,
        });
    }

    /// A BYE has its answer.
    pub(crate) fn farewell_answered(&mut self, of: Key, status: u16, flow: &Flow) {
        self.farewell_over(of, |leg| leg.is_ended_by(status, flow));
    }

    /// The dialog may have ended.
    pub(super) fn farewell_over(&mut self, (id, leg): Key, ends: impl Fn(&mut Leg) -> bool) {
        let Some(farewell) = self.shared.farewells.all.get_mut(&id) else {
            // It was a grave of one that goes on.
            return self.persist_farewells(id);
        };
        farewell
            .legs
            .retain_mut(|(_, known)| known.id != leg || !ends(known));
        if farewell.legs.is_empty() && !self.shared.graves.has_untold(id) {
            return self.end_farewell(id);
        }
        self.shared.farewells.sort(id);
        // A restart is not to tell it once more.
        self.persist_farewells(id);
    }

    /// A grave was told by time: a restart goes on from there.
    pub(super) fn grave_told(&mut self, id: ConversationId) {
        self.persist_farewells(id);
    }

    /// Those that were sent for long enough are forgotten by the store, where nothing follows by time.
    pub(crate) fn farewells_due(&mut self) {
        let due = |farewell: &Farewell| farewell.until <= self.now;
        let all = self.shared.farewells.all.iter();
        let due: Vec<ConversationId> = all
            .filter(|(_, farewell)| due(farewell))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.leave_unanswered(id);
            let untold = self.shared.graves.has_untold(id);
            let until = self.now + LOOK;
            match self.shared.farewells.all.get_mut(&id) {
                Some(farewell) if farewell.over && untold => {
                    farewell.until = until;
                    self.shared.farewells.sort(id);
                }
                _ => self.end_farewell(id),
            }
        }
    }

    /// No BYE has reached an upstream, or a phone that is registered: it has one more when it is back.
    fn leave_unanswered(&mut self, id: ConversationId) {
        let farewell = self.shared.farewells.all.get_mut(&id);
        let legs = farewell.map(|known| std::mem::take(&mut known.legs));
        for (aor, leg) in legs.unwrap_or_default() {
            if leg.is_beyond() {
                // An upstream that was away has it once more by time, and when it is back.
                self.entomb(id, aor, leg, Haunt::begun(self.now), false);
                continue;
            }
            let known = routing::flows(&aor, &leg.endpoint.identity, self.now, self.world);
            if !known.is_empty() {
                // Nothing shows that it has missed the end: there are no more by time.
                self.entomb(id, aor, leg, Haunt::without_rounds(), false);
            }
        }
    }

    fn end_farewell(&mut self, id: ConversationId) {
        let farewell = self.shared.farewells.take(id);
        match farewell {
            Some(farewell) if farewell.over => self.forget(id),
            Some(_) => self.persist_farewells(id),
            None => {}
        }
    }

    fn forget(&mut self, conversation: ConversationId) {
        self.shared.out.push_back(Output::Forget { conversation });
    }

    /// After a restart: the dialogs of a conversation that was over get their BYE once more; graves, of which there may
    /// be many, bit by bit, as what is due by time. Returns false where that is none.
    pub(crate) fn farewells_resume(&mut self, id: ConversationId, state: &[u8]) -> bool {
        if !self.farewells_go_on(id, state) {
            return false;
        }
        self.keep_farewells(id);
        true
    }

    /// The same of a conversation that goes on.
    pub(crate) fn farewells_go_on(&mut self, id: ConversationId, state: &[u8]) -> bool {
        let Ok(kept) = rmp_serde::from_slice::<Kept<Leg>>(state) else {
            return false;
        };
        for (aor, mut leg) in kept.farewells {
            leg.dialog.resume(JUMP);
            let key = (id, leg.id);
            let rounds = kept.rounds.get(&leg.id).copied();
            let haunt = Haunt::after(rounds.unwrap_or(0), self.now);
            if rounds.is_none() {
                leg.goes_over(way_back(self, &aor, &leg));
                leg.bye(self, id, &aor, None);
            }
            self.entomb(id, aor, leg, haunt, false);
            if rounds.is_some() && haunt.next.is_some() {
                self.shared.graves.is_due(key, self.now);
            }
        }
        true
    }
}

impl Shared {
    /// Returns what the store is to have of a conversation that is over; none where that is nothing.
    pub(crate) fn farewells_of(&self, id: ConversationId) -> Option<Bytes> {
        let farewell = self.farewells.all.get(&id).filter(|known| known.over)?;
        self.kept_of(id, &farewell.legs)
    }

    /// The same of one that goes on.
    pub(crate) fn farewells_within(&self, id: ConversationId) -> Option<Bytes> {
        let farewell = self.farewells.all.get(&id);
        let legs = farewell.map_or(&[][..], |known| &known.legs);
        let any = !legs.is_empty() || self.graves.has_untold(id);
        any.then(|| self.kept_of(id, legs)).flatten()
    }

    fn kept_of(&self, id: ConversationId, legs: &[(Aor, Leg)]) -> Option<Bytes> {
        let live = legs.iter();
        let live = live.map(|(aor, leg)| (aor.clone(), leg));
        let graves = || self.graves.of_conversation(id);
        let buried = graves().map(|grave| (grave.aor.clone(), &grave.leg));
        let kept = Kept {
            farewells: live.chain(buried).collect(),
            rounds: graves()
                .map(|grave| (grave.leg.id, grave.haunt.rounds))
                .collect(),
        };
        rmp_serde::to_vec_named(&kept).ok().map(Bytes::from)
    }
}
