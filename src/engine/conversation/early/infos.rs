//! INFO in early dialogs (RFC 6086): digits for a machine that speaks and never answers, and what it says to them.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, Errand, What};
use crate::engine::ids::{ConversationId, LegId, Side};
use crate::engine::transaction::ServerId;
use crate::sip::Message;

impl Conversation {
    /// The caller's crosses to the phone whose early dialog it is in. Where several stand behind one that the caller
    /// sees, it is for the one that it hears; where it hears none, nobody knows whom it is for.
    pub(super) fn early_info(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        server: ServerId,
        request: &Message,
    ) {
        let Some(invitation) = self.invitation.as_deref() else {
            return;
        };
        let Some(early) = invitation.early.get(at) else {
            return;
        };
        let ring = |leg: &LegId| invitation.fork.find(*leg).is_some();
        let mut ringing = early.branches.iter().copied().filter(ring);
        let leg = match (ringing.next(), ringing.next()) {
            (Some(only), None) => Some(only),
            (Some(_), Some(_)) => invitation
                .voices
                .heard()
                .filter(|heard| early.branches.contains(heard) && ring(heard)),
            (None, _) => early.branches.first().copied(),
        };
        let Some(leg) = leg else {
            return context.refuse(server, 500, "request for one of several that ring");
        };
        let far = early.far.clone();
        let Some(across) = self.across(context, Side::Caller, server, request) else {
            return;
        };
        let id = self.id;
        let Some(branch) = self.branch_mut(leg) else {
            return context.refuse(server, 500, "request before the answer");
        };
        branch.turn_back_to(far.as_deref());
        let client = across.send(context, &mut branch.leg.dialog, errand(id, leg), request);
        self.carries(context, (client, server), Side::Caller, request);
    }

    /// That of who is called crosses in the early dialog that the caller has with it.
    pub(super) fn branch_info(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
    ) {
        let invitation = self.invitation.as_deref();
        let at = invitation.and_then(|first| first.early_of(leg, request.from_tag()));
        let caller = self.party(Side::Caller).leg.as_ref().map(|leg| leg.id);
        let (Some(at), Some(caller)) = (at, caller) else {
            return context.refuse(server, 500, "request before the answer");
        };
        let Some(across) = self.across(context, Side::Callee, server, request) else {
            return;
        };
        let id = self.id;
        let Some(early) = self.early_mut(at) else {
            return;
        };
        let client = across.send(context, &mut early.dialog, errand(id, caller), request);
        self.carries(context, (client, server), Side::Callee, request);
    }
}

fn errand(conversation: ConversationId, leg: LegId) -> Errand {
    Errand {
        conversation,
        leg,
        what: What::Early,
    }
}
