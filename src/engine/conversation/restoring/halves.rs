//! A call between two phones here that goes through a PBX twice is two conversations: the caller's half and the
//! callee's. Where the PBX has forgotten the call, since it has started anew, or is away for too long, each of them has
//! lost its far side, though both phones are there. Nobody is rung then. The caller's half takes the callee's phone from
//! the other one, as a transfer between two calls of ours does (`transferring`), and the call goes on past the PBX.
//!
//! ```text
//!   caller's phone     its half              callee's half     callee's phone
//!        │══════════════►│   ✖   PBX   ✖        │◄══════════════│
//!        │               │── Half ─────────────►│               │
//!        │               │◄── Here, promised ───│               │
//!        │               │── Ask ──────────────►│── re-INVITE ─►│
//!        │               │◄── Give ─────────────│               │
//!        │◄══════════════╪══════════════════════════════════════►│
//! ```
//!
//! The two are known to be one call by the users that they are between: a PBX that has dialogs of its own (Asterisk)
//! leaves nothing else alike. Whichever hears first that it is lost has the other one ask whether it is, too.

use serde::{Deserialize, Serialize};

use super::aside::Restoration;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::endpoint::Endpoint;
use crate::engine::events::Signal;
use crate::engine::handover::Word;
use crate::engine::ids::{ConversationId, LegId, Side};
use crate::engine::mint::hash64;
use crate::engine::time::{Millis, Time};

/// The other half has so long to find out that its far side is lost, too.
const PATIENCE: Millis = Millis::from_secs(10);
/// And is asked so often.
const EACH: Millis = Millis::from_secs(2);

/// A restoration that may find the other half of its call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Half {
    until: Time,
    /// The phone that the other half has promised.
    #[serde(skip)]
    there: Option<(ConversationId, Endpoint)>,
    /// The branch for it.
    #[serde(skip)]
    asked: Option<LegId>,
}

impl Half {
    /// Returns one for a leg that is lost; none for who is reached past any upstream, or is sought at the operator's
    /// word.
    pub(super) fn of(old: &Leg, signal: Signal, now: Time) -> Option<Self> {
        (old.is_beyond() && signal != Signal::Operator).then_some(Self {
            until: now + PATIENCE,
            there: None,
            asked: None,
        })
    }
}

impl Restoration {
    /// Returns true for the leg that the other half has given.
    pub(super) fn is_of_half(&self, leg: LegId) -> bool {
        let half = self.half.as_ref();
        half.is_some_and(|half| half.asked == Some(leg))
    }
}

/// Returns the number by which the half is found whose phone is on this side.
fn number(phone: Side, caller: &str, callee: &str) -> u64 {
    hash64(("half", phone.index(), caller, callee))
}

impl Conversation {
    /// Returns the number by which its other half finds it; none where it is no half of a call.
    pub(crate) fn half(&self) -> Option<u64> {
        let phone = self.beyond()?.other();
        Some(self.half_of(phone))
    }

    fn half_of(&self, phone: Side) -> u64 {
        let user = |side| self.party(side).aor.user();
        number(phone, user(Side::Caller), user(Side::Callee))
    }

    /// Returns the one side that is beyond an upstream, or was where it is lost.
    fn beyond(&self) -> Option<Side> {
        self.answered?;
        let is_beyond = |side: Side| {
            let party = self.party(side);
            let lost = party.lost.as_ref().filter(|lost| lost.transfer.is_none());
            let leg = party.leg.as_ref().or_else(|| lost.map(|lost| &lost.old));
            leg.map(Leg::is_beyond)
        };
        match (is_beyond(Side::Caller)?, is_beyond(Side::Callee)?) {
            (true, false) => Some(Side::Caller),
            (false, true) => Some(Side::Callee),
            (true, true) | (false, false) => None,
        }
    }

    /// Returns true where a restoration does not begin yet, for the other half of its call may have lost its far side,
    /// too, or has been promised what is left here.
    pub(super) fn waits_for_half(&mut self, context: &mut Context<'_>, side: Side) -> bool {
        let (giving, now) = (self.giving.is_some(), context.now);
        let others = self.other_halves(context, side);
        let Some(lost) = self.party_mut(side).lost.as_mut() else {
            return false;
        };
        let waits = lost.half.as_ref().is_some_and(|half| now < half.until);
        if lost.transfer.is_some() || !giving && (!waits || others.is_empty()) {
            return false;
        }
        lost.start = Some(now + EACH);
        let upstreams = context.on_the_way(&lost.old);
        for other in others {
            let upstreams = upstreams.clone();
            context.tell(self.id, other, Word::Half(upstreams));
        }
        true
    }

    /// Returns true where who registers is not called, for another half is asked about it.
    pub(super) fn may_meet_half(&self, context: &Context<'_>, side: Side) -> bool {
        let lost = self.party(side).lost.as_ref();
        let half = lost.and_then(|lost| lost.half.as_ref());
        half.is_some_and(|half| context.now < half.until)
            && !self.other_halves(context, side).is_empty()
    }

    /// Returns those that may be the other half of a call whose far side is lost.
    fn other_halves(&self, context: &Context<'_>, side: Side) -> Vec<ConversationId> {
        if self.beyond() != Some(side) {
            return Vec::new();
        }
        let mut others = context.world.halves(self.half_of(side));
        others.retain(|other| *other != self.id);
        others
    }

    /// The other half has lost its far side, beyond one of these upstreams.
    pub(crate) fn on_half(
        &mut self,
        context: &mut Context<'_>,
        from: ConversationId,
        upstreams: &[Box<str>],
    ) {
        let side = self.beyond().filter(|_| self.closing.is_none());
        let Some(side) = side.filter(|_| self.ended.is_none()) else {
            return;
        };
        let party = self.party(side);
        if let Some(leg) = &party.leg {
            if !context.is_through(leg, upstreams) {
                return;
            }
            // It is waited for no longer where that has come to an end for the other half.
            return match self.is_out(side) {
                true => self.lose(context, side, Signal::ProbeTimeout),
                false => self.suspect(context, side, Signal::RequestFailed),
            };
        }
        let Some(lost) = party.lost.as_ref() else {
            return;
        };
        if !context.is_through(&lost.old, upstreams) {
            return;
        }
        if side == Side::Callee {
            // The caller's half is who asks.
            let upstreams = context.on_the_way(&lost.old);
            if lost.start.is_some() {
                context.tell(self.id, from, Word::Half(upstreams));
            }
            return;
        }
        let phone = side.other();
        if !self.promise_to_half(context, phone, from) {
            return;
        }
        self.persist(context);
        if let Some(leg) = &self.party(phone).leg {
            let endpoint = Endpoint {
                flow: Some(leg.dialog.flow),
                ..leg.endpoint.clone()
            };
            context.tell(self.id, from, Word::Here(Box::new(endpoint)));
        }
    }

    /// The other half has promised its phone.
    pub(crate) fn on_half_here(
        &mut self,
        context: &mut Context<'_>,
        from: ConversationId,
        there: Endpoint,
    ) {
        let lost = self.party_mut(Side::Callee).lost.as_mut();
        let waits = |half: &&mut Half| half.there.is_none() && half.asked.is_none();
        let half = lost
            .filter(|lost| lost.start.is_some() && lost.transfer.is_none())
            .and_then(|lost| lost.half.as_mut())
            .filter(waits);
        let Some(half) = half else {
            return context.tell(self.id, from, Word::Decline);
        };
        half.there = Some((from, there));
        self.begin_now(context, Side::Callee);
    }

    /// Asks the phone alone that the other half has promised. Returns false where there is none.
    pub(super) fn ask_the_half(&mut self, context: &mut Context<'_>, side: Side) -> bool {
        let lost = self.party_mut(side).lost.as_mut();
        let half = lost.and_then(|lost| lost.half.as_mut());
        let Some((giver, endpoint)) = half.and_then(|half| half.there.take()) else {
            return false;
        };
        let Some(lost) = &self.party(side).lost else {
            return false;
        };
        let ring = Self::ring_time(context, lost);
        let Ok(mut branch) = self.make_branch(context, side, endpoint, ring) else {
            context.tell(self.id, giver, Word::Decline);
            return false;
        };
        branch.giver = Some(giver);
        if let Some(lost) = &mut self.party_mut(side).lost {
            if let Some(half) = &mut lost.half {
                half.asked = Some(branch.leg.id);
            }
            lost.fork.branches.push(branch);
        }
        self.launch_again(context, side);
        true
    }

    /// The other half keeps its phone: all are called as in any restoration. Returns false where it was not asked.
    pub(crate) fn half_keeps(&mut self, context: &mut Context<'_>, side: Side, leg: LegId) -> bool {
        let lost = self.party_mut(side).lost.as_mut();
        let Some(lost) = lost.filter(|lost| lost.is_of_half(leg)) else {
            return false;
        };
        lost.half = None;
        if let Some(mut branch) = lost.fork.take(leg) {
            branch.giver = None;
            self.drop_branch(context, branch, None);
        }
        self.first_round(context, side);
        true
    }
}
