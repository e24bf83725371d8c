//! Who is beyond an upstream, and whom they may have us call. That an upstream's word on who calls is believed
//! says nothing of whoever takes a call there, or makes one: what they have us call is at our expense.

use crate::engine::asker::Asker;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::ids::Side;
use crate::engine::trust;

/// Returns true where somebody may have us call somebody else, by a transfer or by forwarding, who is reached
/// through an upstream, or (none) is a user of ours.
pub(crate) fn may_have_called(asker: &Asker, beyond: bool, upstream: Option<&str>) -> bool {
    asker.may_send_to(upstream) && !(beyond && upstream.is_some())
}

impl Conversation {
    /// Returns the upstream in the name of one of whose users this side calls, and nothing shows that it is that user:
    /// our account there would vouch for it. Whoever calls by the upstream is the upstream's to know.
    pub(super) fn claims(&self, side: Side) -> Option<Box<str>> {
        let party = self.party(side);
        let beyond = party.leg.as_ref().is_some_and(Leg::is_beyond);
        match &party.asker {
            Asker::Says(upstream) if !beyond => Some(upstream.clone()),
            Asker::Says(_)
            | Asker::Proven(_)
            | Asker::Unasked(_)
            | Asker::Trusted
            | Asker::Of(_)
            | Asker::Stranger => None,
        }
    }

    /// Returns true where a side was called through an upstream, or calls from the address of one.
    pub(crate) fn is_beyond(&self, context: &Context<'_>, side: Side) -> bool {
        let party = self.party(side);
        party.leg.as_ref().is_some_and(|leg| {
            let settings = &context.shared.settings;
            let listed = || trust::is_listed(&leg.dialog.flow, settings, &*context.world);
            leg.is_beyond() || (party.asker == Asker::Trusted && !listed())
        })
    }
}
