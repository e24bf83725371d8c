//! The first fork ends without an answer: nobody takes the call, or the caller thinks better of it.

use super::{Invitation, verdict};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, joined};
use crate::engine::conversation::doubting::outcome::for_the_other_side;
use crate::engine::conversation::forking::toward::why_refused;
use crate::engine::conversation::forking::{Branch, Verdict};
use crate::engine::conversation::people::proof::is_challenge;
use crate::engine::events::{Ending, Happening, Refuser};
use crate::engine::ids::{LegId, Side};
use crate::engine::location::Tried;
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method, Name, reason_phrase};

/// Q.850: no route to destination. It tells a caller's PBX or trunk this from a phone that is not there.
const NO_ROUTE: &str =
    "Q.850;cause=3;text=\"No address of the next hop is found or can be reached\"";

/// What a branch is judged by whose hop was located nowhere.
pub(super) fn unlocated(status: u16) -> Verdict {
    let reason = Name::Reason.as_str();
    Verdict {
        lines: format!("{reason}: {NO_ROUTE}\r\n").into_bytes(),
        ..verdict(status)
    }
}

/// Returns what the history says of a branch that has failed, perhaps since it asks the caller.
pub(super) fn failure(branch: &Branch, status: u16, by: Refuser, asks: bool) -> Happening {
    let endpoint = branch.endpoint().name.clone();
    if asks {
        return Happening::Challenged { endpoint, status };
    }
    Happening::Refused {
        side: Side::Callee,
        endpoint,
        status,
        by,
        attempt: None,
    }
}

impl Conversation {
    /// Returns true where an upstream wants proof of its own user, who is to call again with that: what was shown
    /// already, and is wrong, is no more than refused.
    pub(super) fn asks_the_caller(
        &self,
        context: &Context<'_>,
        invitation: &Invitation,
        (status, lines): (u16, &[u8]),
    ) -> bool {
        if !matches!(status, 401 | 407) || !is_challenge(lines) {
            return false;
        }
        let Some(caller) = &self.party(Side::Caller).leg else {
            return true;
        };
        let shown = &invitation.lines.to_judge;
        let tried = Tried::in_lines(shown, &Method::Invite, &caller.dialog.flow);
        !tried.is_refused(lines, context.now, context.world)
    }

    /// Nobody took the call, unless who picks it up does so yet.
    pub(super) fn fail(&mut self, context: &mut Context<'_>) {
        let first = self.invitation.as_deref();
        if first.is_some_and(|first| !first.fork.branches.is_empty()) {
            return;
        }
        self.settle_crossings(context, None);
        let Some(mut invitation) = self.invitation.take() else {
            return;
        };
        let best = invitation.fork.best.take().unwrap_or_else(|| verdict(480));
        let status = for_the_other_side(best.status, is_challenge(&best.lines));
        let how = match self.asks_the_caller(context, &invitation, (status, &best.lines)) {
            true => Ending::Challenged(status),
            false => Ending::Failed(status),
        };
        let reason = if status == best.status && !best.reason.is_empty() {
            &*best.reason
        } else {
            reason_phrase(status)
        };
        let tag = self
            .leg_mut(Side::Caller)
            .map(|leg| leg.dialog.local_tag.clone());
        context.respond(
            invitation.server,
            status,
            reason,
            tag.as_deref(),
            |builder| {
                let builder = builder.raw_lines(&best.lines);
                match best.body {
                    Some((content_type, body)) if status == best.status => {
                        builder.body(&content_type, &body)
                    }
                    Some(_) | None => builder.end(),
                }
            },
        );
        self.drop_early(context, &invitation);
        self.nobody_for_another(context, status);
        self.finish(context, how);
    }

    /// The caller thought better of it (RFC 3261 9.2), or we must end what has not begun.
    pub(crate) fn give_up_inviting(
        &mut self,
        context: &mut Context<'_>,
        status: u16,
        how: Ending,
        reason: Option<&str>,
    ) {
        self.settle_crossings(context, None);
        let Some(mut invitation) = self.invitation.take() else {
            return;
        };
        let tag = self
            .leg_mut(Side::Caller)
            .map(|leg| leg.dialog.local_tag.clone());
        context.answer_because(invitation.server, status, tag.as_deref(), why_refused(how));
        self.cancel_branches(context, &mut invitation.fork, reason);
        if how == Ending::Cancelled {
            invitation.is_taken_back(context);
        }
        self.drop_early(context, &invitation);
        self.finish(context, how);
    }

    /// The caller's word on how long its invitation is good for (RFC 3261 13.3.1). Who has taken the call by then
    /// has it.
    pub(crate) fn invitation_expires(&mut self, context: &mut Context<'_>) {
        let Some(invitation) = &mut self.invitation else {
            return;
        };
        let due = invitation.expires.take_if(|at| *at <= context.now);
        // Who waits for the phones that ring has them ring on.
        if due.is_some() && invitation.held.is_none() && !self.caller_leaves(context) {
            self.give_up_inviting(context, 487, Ending::Failed(487), None);
        }
    }

    /// CANCEL of the caller, or of who offered anew.
    pub(crate) fn on_cancelled(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        cancel: &Message,
    ) {
        if self.asking_cancelled(context, server) {
            return;
        }
        if self.invitation.is_none() {
            return self.renegotiation_cancelled(context, server);
        }
        if self.caller_leaves(context) {
            return;
        }
        // RFC 3326 3.1: where another phone took the call, these show none that was missed.
        let reason = joined(cancel.values(Name::Reason));
        let reason = (!reason.is_empty()).then_some(&*reason);
        self.give_up_inviting(context, 487, Ending::Cancelled, reason);
    }

    /// Ends the ringing of phones that nobody answers, in the first fork.
    pub(crate) fn ring_out(&mut self, context: &mut Context<'_>) {
        let Some(mut invitation) = self.invitation.take() else {
            return;
        };
        let out = self.rung_out(context, &mut invitation.fork);
        let gone: Vec<(LegId, u16)> = out
            .iter()
            .map(|branch| (branch.leg.id, branch.unanswered()))
            .collect();
        for branch in out {
            let status = branch.unanswered();
            invitation.fork.judge(verdict(status));
            let endpoint = branch.endpoint().name.clone();
            self.note(
                context,
                Happening::Refused {
                    side: Side::Callee,
                    endpoint,
                    status,
                    by: Refuser::of_silence(branch.rang && status == 408),
                    attempt: None,
                },
            );
        }
        self.invitation = Some(invitation);
        for (leg, status) in &gone {
            self.settle_crossings(context, Some(*leg));
            self.early_ended(context, *leg, *status);
        }
        if !gone.is_empty() {
            self.next_group(context);
        }
    }

    /// Closes a conversation whose caller is gone before anyone answered.
    pub(crate) fn caller_gone(&mut self, context: &mut Context<'_>) {
        if self.invitation.is_some() && !self.caller_leaves(context) {
            self.give_up_inviting(context, 487, Ending::Cancelled, None);
        }
    }
}
