//! A phone that takes the call after it was won (RFC 3261 13.2.2.4): its dialog ends as a lost one does, which a
//! restart does not forget. It may have taken that call in the place of its lost dialog, which has the call again by
//! what it asked in it before: the BYE by which it ends that (RFC 3891 3) is no farewell.

use super::stray::CSEQ_GAP;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::dialog::Happens;
use crate::engine::ids::{Flow, LegId};
use crate::engine::location;
use crate::sip::Message;

/// Branches remembered at a time; the answer of an older one is ended by what it says itself.
const DROPPED_MAX: usize = 32;

/// One whose INVITE we have taken back, and that may be answered yet.
#[derive(Debug)]
pub(crate) struct Dropped {
    leg: Leg,
    /// It names the lost dialog of its phone.
    replaces: bool,
}

impl Leg {
    /// Returns true where its BYE makes room for a dialog that we have ended already.
    pub(crate) fn is_superseded(&self, context: &Context<'_>) -> bool {
        let lasts = context.shared.settings.timers.t1.times(64);
        self.superseded.is_some_and(|at| context.now < at + lasts)
    }
}

impl Conversation {
    /// The INVITE of a branch is taken back, and its answer may cross that.
    pub(crate) fn may_be_answered_yet(&mut self, mut leg: Leg, replaces: bool) {
        // ACK and BYE say nothing of a session, and nobody tells of a phone that never answers.
        leg.talk = Talk::default();
        if self.dropped.len() >= DROPPED_MAX {
            self.dropped.remove(0);
        }
        self.dropped.push(Dropped { leg, replaces });
    }

    /// It has its final response, or has none.
    pub(crate) fn take_dropped(&mut self, leg: LegId) -> Option<Dropped> {
        let at = self.dropped.iter().position(|known| known.leg.id == leg)?;
        Some(self.dropped.remove(at))
    }

    pub(crate) fn answered_too_late(
        &mut self,
        context: &mut Context<'_>,
        dropped: Dropped,
        response: &Message,
        flow: Flow,
    ) {
        let Dropped { mut leg, replaces } = dropped;
        let party = self.party_mut(leg.side);
        let lost = party.lost.as_mut().map(|lost| &mut lost.old);
        if replaces
            && let Some(standing) = party.leg.as_mut().or(lost)
            && standing.id < leg.id
            && location::same(&standing.endpoint.identity, &leg.endpoint.identity)
        {
            standing.superseded = Some(context.now);
        }
        leg.dialog.answered_by(response, flow);
        leg.dialog.skip(CSEQ_GAP);
        let _ = leg.life.take(Happens::Success);
        leg.acknowledge(context, self.id, response.cseq(), None);
        self.bury(context, leg);
        self.persist(context);
    }

    /// The same 2xx once more: its ACK was lost. Returns false where it is none of a dialog that ends.
    pub(crate) fn acknowledge_ghost(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
    ) -> bool {
        let id = self.id;
        let mut ghosts = self.ghosts.iter_mut();
        let ghost = ghosts.find(|ghost| {
            ghost.id == leg && ghost.dialog.remote_tag.as_deref() == response.to_tag()
        });
        if let Some(ghost) = ghost {
            ghost.acknowledge_again(context, id, response.cseq());
            return true;
        }
        false
    }
}
