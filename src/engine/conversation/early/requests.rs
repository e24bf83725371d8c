//! Requests in early dialogs: of the caller's, and of who is invited.

use super::Early;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, Errand, What};
use crate::engine::conversation::forking::Branch;
use crate::engine::dialog::Admission;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method};

impl Conversation {
    /// Returns the branches of the first fork and of re-forks.
    pub(crate) fn branches(&self) -> impl Iterator<Item = &Branch> {
        let first = self.invitation.iter().map(|first| &first.fork);
        let again = self.parties.iter().filter_map(|party| party.lost.as_ref());
        let forks = first.chain(again.map(|lost| &lost.fork));
        forks.flat_map(|fork| &fork.branches)
    }

    /// Returns the branch of the first fork or of a re-fork.
    pub(crate) fn branch_mut(&mut self, leg: LegId) -> Option<&mut Branch> {
        let first = self.invitation.as_mut().map(|first| &mut first.fork);
        let again = self.parties.iter_mut();
        let again = again.filter_map(|party| party.lost.as_mut().map(|lost| &mut lost.fork));
        first
            .into_iter()
            .chain(again)
            .find_map(|fork| fork.branch(leg))
    }

    /// Who is invited speaks before its 2xx, or has overtaken it.
    pub(crate) fn early_request(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
    ) {
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        if matches!(
            request.method(),
            Method::Update | Method::Bye | Method::Info
        ) {
            branch.turn_back_to(request.from_tag());
        }
        if !branch.leg.dialog.owns(request) {
            // A proxy may have forked there: it is not the phone that rings now.
            return context.refuse(server, 481, "tags of another dialog");
        }
        if branch.leg.dialog.receive(request).is_err() {
            return context.refuse(server, 500, "CSeq lower than one before");
        }
        let admission = branch.leg.life.admit(request.method());
        let again = self.branch_side(leg).is_some();
        match admission {
            Admission::Take if *request.method() == Method::Bye => match self.branch_side(leg) {
                Some(side) => self.again_farewell(context, side, leg, server, request),
                None => {
                    context.answer(server, 200, None);
                    self.early_farewell(context, leg);
                }
            },
            Admission::Take if *request.method() == Method::Update => match self.branch_side(leg) {
                Some(_) => self.again_update(context, leg, server, request),
                None => self.branch_update(context, leg, server, request),
            },
            Admission::Take if *request.method() == Method::Info && !again => {
                self.branch_info(context, leg, server, request);
            }
            // The survivor knows nothing of it, whether it rings or waits for the survivor's consent.
            Admission::Take if *request.method() != Method::Options => {
                context.refuse(server, 500, "request before the answer");
            }
            Admission::Take | Admission::Here => context.answer(server, 200, None),
            Admission::Refuse(status, why) => context.refuse(server, status, why),
        }
    }

    /// The caller speaks in one of its early dialogs.
    pub(crate) fn caller_request(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let Some(invitation) = self.invitation.as_deref_mut() else {
            return;
        };
        let mut early = invitation.early.iter();
        let Some(at) = early.position(|early| early.dialog.owns(request)) else {
            return context.refuse(server, 481, "tags of another dialog");
        };
        let early = &mut invitation.early[at];
        if (early.over || early.left) && *request.method() != Method::Prack {
            return context.refuse(server, 481, "early dialog that has ended");
        }
        if early.dialog.receive(request).is_err() {
            return context.refuse(server, 500, "CSeq lower than one before");
        }
        early.dialog.flow = flow;
        self.caller_back(context, flow);
        let Some(leg) = self.leg_mut(Side::Caller) else {
            return;
        };
        leg.abilities.learn(request);
        leg.dialog.flow = flow;
        let admission = leg.life.admit(request.method());
        if admission == Admission::Take && context.refuse_demands(server, request) {
            return;
        }
        match (admission, request.method()) {
            (Admission::Take, Method::Prack) => self.on_prack(context, at, server, request),
            (Admission::Take, Method::Update) => self.early_update(context, at, server, request),
            (Admission::Take, Method::Info) => self.early_info(context, at, server, request),
            (Admission::Take, Method::Bye) => self.early_bye(context, at, server),
            (Admission::Take, Method::Message) => {
                self.on_message(context, Side::Caller, server, request);
            }
            (Admission::Here, _) => context.answer(server, 200, None),
            (Admission::Refuse(status, why), _) => context.refuse(server, status, why),
            (
                Admission::Take,
                Method::Invite
                | Method::Ack
                | Method::Cancel
                | Method::Options
                | Method::Register
                | Method::Subscribe
                | Method::Notify
                | Method::Refer
                | Method::Publish
                | Method::Other(_),
            ) => context.refuse(server, 500, "request before the answer"),
        }
    }

    /// RFC 3261 15: the caller wants no more of one early dialog; its branches end, the others ring on, and those
    /// behind the same branch: its phone has the BYE, and what answers in it all the same is hung up on.
    fn early_bye(&mut self, context: &mut Context<'_>, at: usize, server: ServerId) {
        context.answer(server, 200, None);
        if self.caller_leaves(context) {
            return;
        }
        let Some(invitation) = self.invitation.as_deref_mut() else {
            return;
        };
        let heard = |early: &Early| !early.over && !early.left;
        let mut others = invitation.early.iter().enumerate();
        let shares = others.any(|(other, early)| {
            other != at && heard(early) && early.branches == invitation.early[at].branches
        });
        if shares {
            let early = &mut invitation.early[at];
            early.left = true;
            let owed = std::mem::take(&mut early.owed);
            early.sent.forget();
            let (behind, far) = (early.branches.first().copied(), early.far.clone());
            for owed in owed {
                self.prack(context, &owed, None);
            }
            // No PRACK comes any more for what an answer may wait for.
            self.let_in(context);
            if let (Some(leg), Some(far)) = (behind, far) {
                if let Some(invitation) = self.invitation.as_deref_mut() {
                    invitation.voices.end(leg, Some(&far));
                }
                self.leave_behind(context, leg, &far);
            }
            return;
        }
        let early = invitation.early.swap_remove(at);
        let fork = &mut invitation.fork;
        let ended: Vec<Branch> = early
            .branches
            .iter()
            .filter_map(|leg| fork.take(*leg))
            .collect();
        let (none_rings, none_waits) = (fork.branches.is_empty(), fork.waiting.is_empty());
        let own = self
            .leg_mut(Side::Caller)
            .map(|leg| leg.dialog.local_tag.clone());
        if own.as_ref() != Some(&early.dialog.local_tag) {
            context.forget_tag(&early.dialog.local_tag);
        }
        for branch in ended {
            self.settle_crossings(context, Some(branch.leg.id));
            self.drop_branch(context, branch, None);
        }
        match (none_rings, none_waits) {
            (true, true) => self.caller_gone(context),
            (true, false) => self.next_group(context),
            (false, _) => {}
        }
    }

    /// Says BYE in the early dialog of one of those behind a branch.
    fn leave_behind(&mut self, context: &mut Context<'_>, leg: LegId, far: &str) {
        let id = self.id;
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        let spoke = branch.leg.dialog.remote_tag.clone();
        branch.turn_back_to(Some(far));
        let dialog = &mut branch.leg.dialog;
        if dialog.remote_tag.as_deref() == Some(far) {
            let course = context.course(dialog);
            let via = context.via(id, &course.flow);
            let bytes = dialog.request(&Method::Bye, &via).end();
            let errand = Errand {
                conversation: id,
                leg,
                what: What::Early,
            };
            context.send_on(dialog, course, bytes, errand);
        }
        branch.turn_back_to(spoke.as_deref());
    }
}
