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
//! The two are known to be one call by the users that they are between, and their domain: a PBX that has dialogs of its
//! own (Asterisk) leaves nothing else alike. Where two users have several calls with one another they are restored
//! as any. Whichever hears first that it is lost has the other one ask whether it is, too; and whoever hangs up
//! meanwhile does so for both.

use serde::{Deserialize, Serialize};

use super::aside::Restoration;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::forking::{Branch, BranchState};
use crate::engine::conversation::leg::Leg;
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Ending, Signal};
use crate::engine::handover::Word;
use crate::engine::ids::{ConversationId, LegId, Side};
use crate::engine::mint::hash64;
use crate::engine::settings::Kind;
use crate::engine::time::{Millis, Time};

/// The other half has so long to find out that its far side is lost, too; longer where probes take longer.
const PATIENCE: Millis = Millis::from_secs(10);
/// It is asked each time that this has passed.
const EACH: Millis = Millis::from_secs(2);
/// What it has beyond the time of its probes.
const MARGIN: Millis = Millis::from_secs(2);

/// A restoration that may find the other half of its call.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Half {
    /// None before it has looked for that; a restart begins anew.
    #[serde(skip)]
    until: Option<Time>,
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
    pub(super) fn of(old: &Leg, signal: Signal) -> Option<Self> {
        (old.is_beyond() && signal != Signal::Operator).then(Self::default)
    }

    fn waits(&self, now: Time) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Restoration {
    /// Returns true where the other half may yet come in: nobody has seen a phone ring.
    fn may_meet(&self) -> bool {
        let asked = self.half.as_ref().is_some_and(|half| half.asked.is_some());
        self.transfer.is_none() && !asked && self.rings_nowhere()
    }

    fn rings_nowhere(&self) -> bool {
        let rings = |branch: &Branch| branch.rang || branch.state == BranchState::Joining;
        !self.fork.branches.iter().any(rings)
    }

    /// Returns true for the leg that the other half has given.
    pub(crate) fn is_of_half(&self, leg: LegId) -> bool {
        let half = self.half.as_ref();
        half.is_some_and(|half| half.asked == Some(leg))
    }
}

impl Conversation {
    /// Returns the number by which its other half finds it; none where it is no half of a call.
    pub(crate) fn half(&self) -> Option<u64> {
        let phone = self.beyond()?.other();
        self.number(phone)
    }

    /// Returns the number of the half whose phone is on that side. How the PBX names the domain of the other user says
    /// nothing; both are of that of the phone that is here.
    fn number(&self, phone: Side) -> Option<u64> {
        let here = self.party(self.beyond()?.other());
        let [caller, callee] = self.parties.each_ref().map(|party| party.aor.user());
        let named = [caller, callee].iter().all(|user| !user.is_empty());
        let known = named && caller != "anonymous";
        let kind = self.kind == Kind::Call;
        let of = ("half", phone.index(), kind, here.aor.host(), caller, callee);
        known.then(|| hash64(of))
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
        let (probe, secure) = (self.probing(context), self.secure);
        let other = self.other_half(context, side);
        let Some(lost) = self.party_mut(side).lost.as_mut() else {
            return false;
        };
        let waits = lost.half.as_mut().is_some_and(|half| {
            let probed = probe.timeout.times(probe.tries.into());
            let until = (now + PATIENCE).max(now + probed + MARGIN);
            half.until.get_or_insert(until);
            half.waits(now)
        });
        if lost.transfer.is_some() || !giving && (!waits || other.is_none()) {
            return false;
        }
        lost.start = Some(now + EACH);
        let upstreams = context.on_the_way(&lost.old);
        if let Some(other) = other {
            context.tell(self.id, other, Word::Half { upstreams, secure });
        }
        true
    }

    /// Returns true where who registers is not called, for another half is asked about it.
    pub(super) fn may_meet_half(&self, context: &Context<'_>, side: Side) -> bool {
        let lost = self.party(side).lost.as_ref();
        let half = lost.and_then(|lost| lost.half.as_ref());
        half.is_some_and(|half| half.waits(context.now)) && self.other_half(context, side).is_some()
    }

    /// Returns the other half of a call whose far side is lost; none where it could be another call's.
    fn other_half(&self, context: &Context<'_>, side: Side) -> Option<ConversationId> {
        if self.beyond() != Some(side) {
            return None;
        }
        let own = context.world.halves(self.number(side.other())?);
        let others = context.world.halves(self.number(side)?);
        match (&*own, &*others) {
            ([own], [other]) if *own == self.id && *other != self.id => Some(*other),
            _ => None,
        }
    }

    /// The other half has lost its far side, beyond one of these upstreams.
    pub(crate) fn on_half(
        &mut self,
        context: &mut Context<'_>,
        from: ConversationId,
        (upstreams, secure): (&[Box<str>], bool),
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
        if !context.is_through(&lost.old, upstreams) || !lost.may_meet() {
            return;
        }
        if side == Side::Callee {
            // The caller's half is who asks.
            let (upstreams, secure) = (context.on_the_way(&lost.old), self.secure);
            return context.tell(self.id, from, Word::Half { upstreams, secure });
        }
        // Nobody's call by `sips:` goes on in the clear (RFC 3261 26.2.2).
        let phone = side.other();
        let clear = self.secure && !secure;
        let again = self.has_promised_half(from);
        if clear || !again && !self.promise_to_half(context, phone, from) {
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
        let gives = |branch: &Branch| branch.giver == Some(from);
        if lost
            .as_ref()
            .is_some_and(|lost| lost.fork.branches.iter().any(gives))
        {
            // It has said so before.
            return;
        }
        let Some(lost) = lost.filter(|lost| lost.may_meet()) else {
            return context.tell(self.id, from, Word::Decline);
        };
        let Some(half) = &mut lost.half else {
            return context.tell(self.id, from, Word::Decline);
        };
        half.there = Some((from, there));
        let mut before = std::mem::take(&mut lost.fork);
        (lost.all_at, lost.retry_at) = (None, None);
        self.cancel_branches(context, &mut before, Some(ELSEWHERE));
        if let Some(lost) = &mut self.party_mut(Side::Callee).lost {
            lost.fork = before;
        }
        self.begin_now(context, Side::Callee);
    }

    /// Whoever hangs up does so for both halves, where the other one has lost its far side.
    pub(crate) fn hangs_up_for_both(&mut self, context: &mut Context<'_>) {
        let Some(side) = self.beyond() else { return };
        let lost = self.party(side).lost.as_ref();
        if lost.is_some_and(|lost| lost.half.is_some())
            && let Some(other) = self.other_half(context, side)
        {
            context.tell(self.id, other, Word::HungUp);
        }
    }

    /// The other half is over, by who has its phone.
    pub(crate) fn on_half_hung_up(&mut self, context: &mut Context<'_>) {
        let Some(side) = self.beyond().filter(|_| self.closing.is_none()) else {
            return;
        };
        let lost = self.party(side).lost.as_ref();
        if lost.is_some_and(|lost| lost.half.is_some() && lost.rings_nowhere()) {
            self.finish(context, Ending::HungUp(side));
        }
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
