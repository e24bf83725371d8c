//! The lost endpoint is reached, and busy: perhaps with the very call that is to be restored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::aside::Restoration;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::Branch;
use crate::engine::conversation::leg::Leg;
use crate::engine::endpoint::{Endpoint, Identity};
use crate::engine::events::Happening;
use crate::engine::ids::{Flow, Side};
use crate::engine::location;
use crate::engine::time::{Millis, Time};

use crate::engine::conversation::index::{answered_peers, peer_key, rung_at};

/// A busy endpoint is asked so many times more.
const BUSY_MAX: u32 = 3;
/// Endpoints that are freed beside the lost one, which were lost before it.
const FREED_MAX: usize = 16;

/// Who was busy with a call that is over.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Busy {
    #[serde(default)]
    freed: Vec<Freed>,
    /// Endpoints that were left alone, each told of once.
    spared: Vec<Arc<Identity>>,
}

/// How often one said so, and when it is asked again.
#[derive(Debug, Serialize, Deserialize)]
struct Freed {
    endpoint: Endpoint,
    times: u32,
    again: Option<Time>,
}

impl Freed {
    fn is(&self, endpoint: &Endpoint) -> bool {
        location::same(&self.endpoint.identity, &endpoint.identity)
    }
}

impl Busy {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.freed.iter().filter_map(|freed| freed.again).min()
    }

    /// Returns true where an endpoint is to be asked later, and not before.
    pub(super) fn holds_back(&self, endpoint: &Endpoint) -> bool {
        let mut waiting = self.freed.iter().filter(|freed| freed.again.is_some());
        waiting.any(|freed| freed.is(endpoint))
    }

    /// Returns how often an endpoint, the lost one or another, was freed. None where it is not to be asked once more.
    fn times(&self, endpoint: &Endpoint, lost: bool) -> Option<u32> {
        match self.freed.iter().find(|freed| freed.is(endpoint)) {
            Some(freed) => Some(freed.times).filter(|times| *times < BUSY_MAX),
            None => (lost || self.freed.len() < FREED_MAX).then_some(0),
        }
    }

    fn is_freed(&mut self, endpoint: &Endpoint, times: u32, again: Time) {
        self.freed.retain(|freed| !freed.is(endpoint));
        self.freed.push(Freed {
            endpoint: endpoint.clone(),
            times,
            again: Some(again),
        });
    }

    /// Returns who is to be asked again by now.
    fn due(&mut self, now: Time) -> Vec<Endpoint> {
        let due = |freed: &mut Freed| {
            let due = freed.again.take_if(|at| *at <= now);
            due.map(|_| freed.endpoint.clone())
        };
        self.freed.iter_mut().filter_map(due).collect()
    }
}

impl Restoration {
    /// Returns true where a phone may forward the call for that very call: it holds the lost dialog still, and has
    /// no Replaces.
    pub(super) fn forwards_when_busy(&self, branch: &Branch) -> bool {
        location::same(&branch.leg.endpoint.identity, &self.old.endpoint.identity)
            && self.transfer.is_none()
            && !(self.gone || branch.rang || branch.replaces)
    }
}

impl Conversation {
    /// Ends the lost dialog at its busy endpoint, or one that was lost there before, over the flow by which it said so,
    /// and asks it again once that has had time to arrive: an INVITE that overtakes the BYE finds it busy still. Returns
    /// false where it holds none, or was asked often enough: it is busy with something else.
    pub(super) fn free(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: &Endpoint,
        flow: Flow,
    ) -> bool {
        let first = context.shared.settings.restore.retry.first;
        let id = self.id;
        let before = self.lay_ghosts(context, &endpoint.identity, Some(flow));
        let party = self.party_mut(side);
        let Some(lost) = &mut party.lost else {
            return false;
        };
        let same = location::same(&endpoint.identity, &lost.old.endpoint.identity);
        let Some(times) = lost.busy.times(endpoint, same).filter(|_| same || before) else {
            return false;
        };
        if same && !lost.gone {
            lost.old.dialog.flow = flow;
            lost.old.bye(context, id, &party.aor, None);
            lost.gone = true;
        }
        let at = context.now + Millis(first.0.saturating_mul(1 << times));
        lost.busy.is_freed(endpoint, times + 1, at);
        true
    }

    /// Returns true where an endpoint is to be left alone, for it is in another conversation.
    pub(super) fn spares(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: &Endpoint,
    ) -> bool {
        if !context.shared.settings.restore.spare_busy
            || !self.is_elsewhere(context, side, endpoint)
        {
            return false;
        }
        if let Some(lost) = &mut self.party_mut(side).lost
            && !lost.busy.spared.contains(&endpoint.identity)
        {
            lost.busy.spared.push(Arc::clone(&endpoint.identity));
            let endpoint = endpoint.name.clone();
            self.note(context, Happening::Spared { side, endpoint });
        }
        true
    }

    /// Returns true where an endpoint has a leg in another conversation, as far as that can be told.
    fn is_elsewhere(&self, context: &Context<'_>, side: Side, endpoint: &Endpoint) -> bool {
        let Some(flow) = endpoint.flow.filter(|_| endpoint.has_own_address()) else {
            return false;
        };
        // What the lost one has elsewhere may have died with this leg, and not be known yet.
        let lost = self.party(side).lost.as_ref();
        if lost.is_none_or(|lost| {
            let old = &lost.old.endpoint.identity;
            lost.transfer.is_some() || location::same(old, &endpoint.identity)
        }) {
            return false;
        }
        self.has_other_legs(context, &flow)
    }

    /// Returns true where a leg is with the phone of our own other half, which the old one was with by way of a PBX:
    /// that shows Contact and product of ours, and the phone is in that call.
    pub(super) fn is_at_other_half(&self, context: &Context<'_>, leg: &Leg, old: &Leg) -> bool {
        let flow = &leg.dialog.flow;
        let direct = !leg.is_beyond() && leg.endpoint.has_own_address();
        direct && context.is_other_half(old) && self.has_other_legs(context, flow)
    }

    fn has_other_legs(&self, context: &Context<'_>, flow: &Flow) -> bool {
        let peer = peer_key(flow.transport, flow.peer);
        let ours = answered_peers(&self.indexed, self.expected).filter(|known| *known == peer);
        context.world.legs(peer.number()) as usize > ours.count()
    }

    /// Returns true where a phone that has an address of its own rings for another conversation, or has a leg there.
    pub(super) fn is_engaged_here(&self, context: &Context<'_>, flow: &Flow) -> bool {
        let number = rung_at(flow);
        let ours = self.rung.iter().filter(|known| **known == number);
        context.world.ringing(number) > ours.count() || self.has_other_legs(context, flow)
    }

    /// Those that were engaged by other conversations of ours are asked as soon as that is over.
    pub(super) fn ask_who_is_free_again(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let watched = lost.away.looks(now);
        let free = |flow: &Flow| !self.is_engaged_here(context, flow);
        let free: Vec<Flow> = watched.into_iter().filter(free).collect();
        if let Some(lost) = &mut self.party_mut(side).lost
            && lost.away.are_free_again(&free, now)
        {
            lost.retry_at = Some(now);
        }
    }

    /// Asks the endpoints again that were busy.
    pub(super) fn ask_the_freed(&mut self, context: &mut Context<'_>, side: Side) {
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        for endpoint in lost.busy.due(context.now) {
            self.ask_at_once(context, side, endpoint, None);
        }
    }
}
