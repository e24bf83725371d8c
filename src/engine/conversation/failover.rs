//! The next target of a hop, where one fails (RFC 3263 4.3): it timed out, the transport failed, or it
//! answered 503. The endpoint is invited anew there, and the caller or survivor learns nothing of it.

use std::collections::VecDeque;

use super::Conversation;
use super::calling::hop_of;
use super::context::{Context, retry_after};
use super::fork::{Branch, BranchState, Fork};
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Event, TargetFailure};
use crate::engine::health::Sign;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::locating::Located;
use crate::engine::upstreams::place_of;
use crate::sip::Message;

/// Takes the first of these targets of an endpoint that we have a listener for.
pub(crate) fn next_flow(
    context: &Context<'_>,
    endpoint: &Endpoint,
    rest: &mut VecDeque<Located>,
) -> Option<Flow> {
    next_flow_to(context, &hop_of(endpoint)?.host, rest)
}

/// Takes the first of these targets of a host that we have a listener for.
pub(crate) fn next_flow_to(
    context: &Context<'_>,
    host: &str,
    rest: &mut VecDeque<Located>,
) -> Option<Flow> {
    while let Some((transport, peer)) = rest.pop_front() {
        if let Some(flow) = context.world.flow_to(transport, peer, host) {
            return Some(flow);
        }
    }
    None
}

/// Remembers that a target failed, and tells the operator. `address`: the hop has another address;
/// `other`: another hop has its turn.
pub(crate) fn target_failed(
    context: &mut Context<'_>,
    endpoint: &Endpoint,
    flow: Flow,
    failure: TargetFailure,
    (address, other): (bool, bool),
) {
    let target = (flow.transport, flow.peer);
    let now = context.now;
    context.shared.shunned.failed(target, failure.pause(), now);
    if !address {
        context.call_shows(endpoint, Sign::CallFailed);
    }
    context.emit(Event::TargetFailed {
        name: endpoint.name.clone(),
        target: flow.to_string().into(),
        failure,
        next: address || other,
    });
}

impl Conversation {
    /// The target of a branch failed. Returns true where another one is tried in its place.
    pub(super) fn fail_over(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        failure: TargetFailure,
    ) -> bool {
        let Some((side, fork)) = self.fork_of(leg) else {
            return false;
        };
        // One that rang has been reached.
        let calling = |branch: &&mut Branch| {
            branch.located
                && branch.state == BranchState::Calling
                && !(branch.rang && failure == TargetFailure::Silent)
        };
        let Some(branch) = fork.branch(leg).filter(calling) else {
            return false;
        };
        let (failed, endpoint) = (branch.leg.dialog.flow, branch.leg.endpoint.clone());
        let mut rest = std::mem::take(&mut branch.rest);
        let next = next_flow(context, &branch.leg.endpoint, &mut rest);
        let taken = next.and_then(|flow| Some((flow, fork.take(leg)?)));
        target_failed(
            context,
            &endpoint,
            failed,
            failure,
            (taken.is_some(), false),
        );
        let Some((flow, old)) = taken else {
            return false;
        };
        context.forget_tag(&old.leg.dialog.local_tag);
        if let Some(client) = old.client {
            context.cancel(client, None);
        }
        let mut branch = self.branch_over(
            context,
            side,
            old.leg.endpoint,
            flow,
            BranchState::Ready,
            old.until,
        );
        (branch.located, branch.rest) = (true, rest);
        (branch.secure, branch.turned, branch.grown) = (old.secure, old.turned, old.grown);
        let inviting = self.answered.is_none();
        if inviting {
            if let Some(invitation) = &mut self.invitation {
                invitation.fork.branches.push(branch);
            }
            self.next_group(context);
        } else if let Some(lost) = &mut self.party_mut(side).lost {
            lost.fork.branches.push(branch);
            self.launch_again(context, side);
        }
        true
    }

    /// A branch was answered: by a 503 the next target has its turn, where there is one.
    pub(super) fn target_answered(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) -> bool {
        if response.status() != 503 {
            let target = (flow.transport, flow.peer);
            context.shared.shunned.answered(&target);
            let branch = self.fork_of(leg).and_then(|(_, fork)| fork.branch(leg));
            if let Some(branch) = branch.filter(|branch| branch.located) {
                context.call_shows(&branch.leg.endpoint, Sign::CallAnswered);
            }
            return false;
        }
        let failure = TargetFailure::Unavailable(retry_after(response));
        self.fail_over(context, leg, failure)
    }

    /// Gives the next target its turn where one has said nothing at all.
    pub(super) fn fall_silent(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let invitation = self.invitation.as_mut().map(|known| &mut known.fork);
        let lost = self
            .parties
            .iter_mut()
            .filter_map(|party| party.lost.as_mut());
        let forks = invitation
            .into_iter()
            .chain(lost.map(|lost| &mut lost.fork));
        let due: Vec<_> = forks
            .flat_map(|fork| &mut fork.branches)
            .filter_map(|branch| {
                branch.silent_at.take_if(|at| *at <= now)?;
                Some((
                    branch.leg.id,
                    branch.client?,
                    place_of(&branch.leg.endpoint).to_owned(),
                ))
            })
            .collect();
        for (leg, client, contact) in due {
            if !context.shared.transactions.is_silent(client)
                || self.fail_over(context, leg, TargetFailure::Silent)
                || !context.shared.upstreams.has_other(&contact)
            {
                continue;
            }
            // The next target of the upstream has its turn.
            context.cancel(client, None);
            match self.branch_side(leg) {
                Some(side) => self.again_failed(context, side, leg, 408),
                None => self.invitation_unanswered(context, leg, 408),
            }
        }
    }

    fn fork_of(&mut self, leg: LegId) -> Option<(Side, &mut Fork)> {
        if self.is_inviting(leg) {
            let invitation = self.invitation.as_mut()?;
            return Some((Side::Callee, &mut invitation.fork));
        }
        let side = self.branch_side(leg)?;
        let lost = self.party_mut(side).lost.as_mut()?;
        Some((side, &mut lost.fork))
    }
}
