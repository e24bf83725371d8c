//! An attended transfer to a call that still rings (RFC 5589 7, as many phones do it): the transferor has
//! called the target itself, and does not wait until somebody answers.
//!
//! ```text
//!   this call      transferor     the other call         target
//!       │◄─ REFER ──────│               │── INVITE ────────►│
//!       ├── who is there? ─────────────►│◄── 180 ───────────│
//!       │◄────────────── who is called, promised             │
//!       ├── this is the session ───────►│                   │
//!       │               ├── CANCEL ────►│  it rings on      │
//!       │               │◄─ 487 ────────│◄── 200 ───────────│
//!       │                               │── ACK, re-INVITE ►│
//! ```
//!
//! The target's phones ring on, and none is rung twice. What follows their answer is as where they had
//! answered before (`giving`). The transferor's own INVITE is answered like any other while it stands; most
//! phones take it back at once, and are then done with the call.
//!
//! Where the CANCEL comes before the REFER there is nobody to be given any more, and who is meant is called as in
//! a basic transfer. So it is where the transferor has called without an offer: it alone could answer the
//! target's, and is about to leave.

use std::collections::VecDeque;

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::Turn;
use crate::engine::conversation::inviting::Invitation;
use crate::engine::dialog::Happens;
use crate::engine::endpoint::Endpoint;
use crate::engine::handover::Word;
use crate::engine::ids::{LegId, Side};
use crate::engine::inquiry::{Counterpart, Inquiry};
use crate::engine::mint::tag_key;
use crate::engine::settings::ForkSettings;
use crate::engine::time::{Millis, Time};

/// A REFER that a CANCEL has overtaken comes within that.
const REMEMBERED: Millis = Millis::from_secs(4);
/// Early dialogs that are remembered at a time.
const REMEMBERED_MAX: usize = 1_000;

/// The early dialogs of calls that their callers have just taken back, by the number in our tag.
#[derive(Default)]
pub(crate) struct TakenBack(VecDeque<(u64, Time)>);

impl TakenBack {
    fn add(&mut self, key: u64, now: Time) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((key, now));
    }

    /// Returns true for a dialog of a call that was taken back a moment ago.
    pub(crate) fn has(&self, key: u64, now: Time) -> bool {
        let fresh = |at: Time| now.since(at) <= REMEMBERED;
        self.0.iter().any(|&(known, at)| known == key && fresh(at))
    }
}

impl Invitation {
    /// The caller has taken its call back.
    pub(crate) fn is_taken_back(&self, context: &mut Context<'_>) {
        for early in self.early.iter().filter(|early| !early.over) {
            if let Some(key) = tag_key(&early.dialog.local_tag) {
                context.shared.taken_back.add(key, context.now);
            }
        }
    }

    /// Returns how long it can take at most until somebody has answered, or nobody has.
    fn rings_for(&self, now: Time, all: &ForkSettings) -> Millis {
        let branches = self.fork.branches.iter();
        let left = branches.map(|branch| branch.until.since(now)).max();
        let later = Turn::ring_in_all(&self.fork.waiting, all);
        Millis(left.unwrap_or_default().0.saturating_add(later.0))
    }
}

impl Conversation {
    /// Returns who is called, for the caller who has named one of its early dialogs, and promises it.
    ///
    /// # Errors
    /// 487 where whoever is called cannot be given, and is to be called anew; 480 where that would be in the
    /// clear and must not; 603 where there is no such call.
    pub(super) fn promise_ringing(
        &mut self,
        context: &Context<'_>,
        leg: LegId,
        inquiry: &Inquiry,
    ) -> Result<Counterpart, u16> {
        let invitation = self.invitation.as_deref().ok_or(603_u16)?;
        let (caller, called) = (self.party(Side::Caller), self.party(Side::Callee));
        let own = caller.leg.as_ref().filter(|own| own.id == leg);
        let own = own.ok_or(603_u16)?;
        let mut early = invitation.early.iter().filter(|early| !early.over);
        let names = own.dialog.call_id == inquiry.call_id
            && own.dialog.remote_tag.as_ref() == Some(&inquiry.remote_tag)
            && early.any(|early| early.dialog.local_tag == inquiry.local_tag);
        if !names || !caller.may_be_replaced_by(&inquiry.whose) || self.id == inquiry.by {
            return Err(603);
        }
        self.goes_on_in(inquiry)?;
        // Without an offer of the caller's there would be nobody to answer the target's.
        if self.kind != inquiry.kind || invitation.offer.is_none() {
            return Err(487);
        }
        let mut branches = invitation.fork.branches.iter();
        let branch = branches
            .clone()
            .find(|branch| branch.rang)
            .or_else(|| branches.next())
            .ok_or(603_u16)?;
        let counterpart = Counterpart {
            aor: called.aor.clone(),
            address: called.address.clone(),
            languages: called.languages.clone(),
            asked: called.asked.clone(),
            asker: called.asker.clone(),
            privacy: called.veil.value().map(Into::into),
            endpoint: Endpoint {
                flow: Some(branch.leg.dialog.flow),
                ..branch.leg.endpoint.clone()
            },
            replaces: None,
            gives: Some(self.id),
            rings: Some(invitation.rings_for(context.now, &context.shared.settings.fork)),
        };
        self.promise_to(context, Side::Callee, inquiry.by, true);
        Ok(counterpart)
    }

    /// Says that the target rings, to the conversation that waits for it.
    pub(crate) fn tell_of_ringing(&self, context: &mut Context<'_>) {
        let waits = self.giving.as_ref().and_then(|giving| giving.awaited());
        let branches = self
            .invitation
            .iter()
            .flat_map(|first| &first.fork.branches);
        let rang = branches.into_iter().any(|branch| branch.rang);
        if let Some(to) = waits.filter(|_| rang) {
            context.tell(self.id, to, Word::Rings);
        }
    }

    /// The caller is done with a call that rings, since somebody else waits for who is called: the phones ring
    /// on. Returns false where nobody waits.
    pub(crate) fn caller_leaves(&mut self, context: &mut Context<'_>) -> bool {
        let Some(giving) = self.giving.as_mut().filter(|giving| giving.rings) else {
            return false;
        };
        if std::mem::replace(&mut giving.left, true) {
            return true;
        }
        self.settle_crossings(context, None);
        let Some(invitation) = self.invitation.as_deref_mut() else {
            return false;
        };
        invitation.adrift = None;
        // It was for the caller's own call (RFC 3261 13.3.1); a transfer has a deadline of its own.
        invitation.expires = None;
        let (server, early) = (invitation.server, std::mem::take(&mut invitation.early));
        for early in early {
            context.forget_tag(&early.dialog.local_tag);
            // Those of the caller's that they wait for do not come any more.
            for owed in early.owed {
                self.prack(context, &owed, None);
            }
        }
        let mut tag = None;
        if let Some(leg) = self.leg_mut(Side::Caller) {
            let _ = leg.life.take(Happens::Refuse);
            tag = Some(leg.dialog.local_tag.clone());
        }
        context.answer(server, 487, tag.as_deref());
        if let Some(tag) = tag {
            context.forget_tag(&tag);
        }
        // A 2xx may have waited for a PRACK of the caller's.
        self.let_in(context);
        true
    }

    /// Somebody has answered: who waits for that one has it asked, whether the caller is there or not.
    pub(crate) fn answered_for_another(&mut self, context: &mut Context<'_>) {
        let Some(giving) = &mut self.giving else {
            return;
        };
        giving.is_answered(context.now);
        if giving.left {
            let caller = self.party_mut(Side::Caller);
            caller.check = None;
            if let Some(leg) = &mut caller.leg {
                leg.unacknowledged = None;
                context.forget_tag(&leg.dialog.local_tag);
            }
        }
        self.ask_to_go(context);
    }

    /// Nobody has answered: who waits is told with which status.
    pub(crate) fn nobody_for_another(&mut self, context: &mut Context<'_>, status: u16) {
        if let Some(giving) = self.giving.take() {
            context.tell(self.id, giving.to, Word::Keep(status));
        }
    }
}
