//! An offer of ours that was taken back, or that a restart has forgotten: its phone may have agreed all the same, and is
//! told once more what stands before anybody speaks with it.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::dialog::{Act, Negotiation};
use crate::engine::ids::{LegId, Side};
use crate::engine::transaction::ClientId;

impl Leg {
    /// What we asked in it is taken back. Whether its phone agrees all the same is not known yet, and would not be
    /// after a restart.
    pub(crate) fn take_back(&mut self, context: &mut Context<'_>) {
        self.leave(context);
        self.lent |= self.withdrawn.is_some();
    }

    /// Returns the state in which an offer of ours is open; none where there may be no other. Nor is there beside one
    /// that was taken back and is not over (RFC 3261 14.1).
    pub(crate) fn may_offer(&self, context: &Context<'_>) -> Option<Negotiation> {
        let free = !self.is_asked_still(context);
        self.negotiation.step(Act::SendOffer).ok().filter(|_| free)
    }

    /// Returns true where what was taken back may yet be answered. Who comes back has not had it, or has answered it.
    pub(crate) fn is_asked_still(&self, context: &Context<'_>) -> bool {
        let transactions = &context.shared.transactions;
        let missed = |client| self.returns && transactions.is_unheard_of(client);
        let taken_back = self.withdrawn;
        taken_back.is_some_and(|client| transactions.is_under_way(client) && !missed(client))
    }
}

impl Conversation {
    /// A re-INVITE or UPDATE that was taken back has its final answer, or gets none. Returns whether its phone has
    /// agreed all the same to what does not stand, or may have; none where it is another request, or nobody knows.
    pub(crate) fn withdrawn_over(
        &mut self,
        leg: LegId,
        client: ClientId,
        astray: Option<bool>,
    ) -> Option<bool> {
        let known = self.parties.iter_mut().flat_map(|party| {
            let lost = party.lost.as_mut().map(|lost| &mut lost.old);
            lost.into_iter().chain(party.leg.as_mut())
        });
        let mut known = known.filter(|known| known.id == leg && known.withdrawn == Some(client));
        let leg = known.next()?;
        leg.withdrawn = None;
        let astray = astray.map(|astray| astray || leg.unsure);
        leg.lent = astray.unwrap_or(leg.lent);
        astray
    }

    /// Nobody waits any more for the consent that a survivor may have given before a restart.
    pub(crate) fn restate_to_unsure(&mut self, context: &mut Context<'_>, survivor: Side) {
        let survivor = self.leg_mut(survivor);
        if let Some(survivor) = survivor.filter(|survivor| survivor.unsure) {
            survivor.lent = true;
            self.restate(context);
            self.persist(context);
        }
    }
}
