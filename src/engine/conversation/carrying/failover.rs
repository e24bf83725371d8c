//! The next target of a hop, where one fails (RFC 3263 4.3): it timed out, the transport failed, or it
//! answered 503. The endpoint is invited anew there, and the caller or survivor learns nothing of it.
//!
//! | what failed | for this request | for those that follow |
//! | --- | --- | --- |
//! | silence, the transport | the next target | asked last for a while, of an upstream by every shard, and a suspicion |
//! | 503 with Retry-After | the next target | left alone for as long (RFC 3261 21.5.4) where another is well, of an upstream by every shard |
//! | 503 without | the next target | nothing: it counts as a 500 does |
//! | any of these, to a stranger's request | the next target | nothing: what it asks for may be meant to fail |

use std::collections::VecDeque;

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, retry_after};
use crate::engine::conversation::forking::calling::{hop_of, listener_for};
use crate::engine::conversation::forking::{Branch, BranchState, Fork};
use crate::engine::conversation::restoring::reach::standing;
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Event, Refuser, TargetFailure};
use crate::engine::ids::{Flow, LegId, ListenerId, Side, Transport};
use crate::engine::locating::Located;
use crate::engine::routing;
use crate::engine::time::Time;
use crate::engine::upstreams::place_of;
use crate::sip::Message;

/// Takes the first of these targets of an endpoint that we have a listener for.
pub(crate) fn next_flow(
    context: &Context<'_>,
    endpoint: &Endpoint,
    rest: &mut VecDeque<Located>,
) -> Option<Flow> {
    let from = listener_for(context, endpoint);
    next_flow_to(context, (&hop_of(endpoint)?.host, from), rest)
}

/// Takes the first of these targets of a host that we have a listener for, `from` rather than others.
pub(crate) fn next_flow_to(
    context: &Context<'_>,
    (host, from): (&str, Option<ListenerId>),
    rest: &mut VecDeque<Located>,
) -> Option<Flow> {
    while let Some((transport, peer)) = rest.pop_front() {
        if let Some(flow) = context.world.flow_to(transport, peer, host, from) {
            return Some(flow);
        }
    }
    None
}

/// A request at one target of an endpoint.
pub(crate) struct Sent<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) flow: Flow,
    pub(crate) at: Time,
    /// Nothing shows whose it is.
    pub(crate) strangers: bool,
}

/// Remembers that a target failed, and tells the operator. `address`: the hop has another address;
/// `other`: another hop has its turn.
pub(crate) fn target_failed(
    context: &mut Context<'_>,
    sent: &Sent<'_>,
    failure: TargetFailure,
    (address, other): (bool, bool),
) {
    let target = (sent.flow.transport, sent.flow.peer);
    match failure {
        _ if sent.strangers => {}
        TargetFailure::Unavailable(None) => {}
        TargetFailure::Unavailable(Some(span)) => {
            context.asked_for_a_pause(target, hop_of(sent.endpoint).as_ref(), span);
        }
        TargetFailure::Silent | TargetFailure::Unreachable => {
            context.was_silent(target, hop_of(sent.endpoint).as_ref());
            if !address {
                context.call_failed(sent.endpoint, sent.at);
            }
        }
    }
    context.emit(Event::TargetFailed {
        name: sent.endpoint.name.clone(),
        target: sent.flow.to_string().into(),
        failure,
        next: address || other,
    });
}

impl Conversation {
    /// The target of a branch failed. Returns true where another one is tried in its place.
    pub(crate) fn fail_over(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        failure: TargetFailure,
    ) -> bool {
        let strangers = self.is_strangers();
        let Some((side, fork)) = self.fork_of(leg) else {
            return false;
        };
        if fork.branch(leg).is_some_and(|branch| !branch.located) {
            return failure == TargetFailure::Unreachable
                && self.other_flow(context, side, leg, true);
        }
        // One that rang has been reached.
        let calling = |branch: &&mut Branch| {
            branch.located
                && branch.state == BranchState::Calling
                && !(branch.rang && failure == TargetFailure::Silent)
        };
        let Some(branch) = fork.branch(leg).filter(calling) else {
            return false;
        };
        let endpoint = branch.leg.endpoint.clone();
        let sent = Sent {
            endpoint: &endpoint,
            flow: branch.leg.dialog.flow,
            at: branch.sent,
            strangers,
        };
        let mut rest = std::mem::take(&mut branch.rest);
        let next = next_flow(context, &branch.leg.endpoint, &mut rest);
        let others = (next.is_some(), false);
        target_failed(context, &sent, failure, others);
        next.is_some_and(|flow| self.branch_goes_to(context, side, leg, None, flow, Some(rest)))
    }

    /// A phone's flow has failed before it said a word: its INVITE goes over another one of the same phone
    /// (RFC 5626 5.3, 7). `hop`: our own flow failed; else that of a proxy beyond, which others may go by.
    /// Returns true where there is one.
    fn other_flow(&mut self, context: &mut Context<'_>, side: Side, leg: LegId, hop: bool) -> bool {
        let aor = self.party(side).aor.clone();
        let (now, secure) = (context.now, self.secure);
        let Some((_, fork)) = self.fork_of(leg) else {
            return false;
        };
        let calling = |branch: &&mut Branch| branch.state == BranchState::Calling && !branch.rang;
        let Some(branch) = fork.branch(leg).filter(calling) else {
            return false;
        };
        let failed = branch.leg.dialog.flow;
        let aor = match &branch.meant {
            Some(meant) => meant.person.aor.clone(),
            None => aor,
        };
        let mut past = std::mem::take(&mut branch.past);
        past.push(branch.leg.endpoint.clone());
        let mut known = routing::flows(&aor, &branch.leg.endpoint.identity, now, context.world);
        // It may be called at the others already.
        known.retain(|endpoint| !fork.rings_at(endpoint) && !past.contains(endpoint));
        if secure {
            let flow = |known: &Endpoint| known.flow.map(|flow| context.world.spoken(&flow));
            known.retain(|known| flow(known).is_some_and(Transport::is_secure));
        }
        let target = |flow: &Flow| (flow.transport, flow.peer);
        if hop {
            context.shared.shunned.failed(target(&failed), now);
        }
        let next = known.into_iter().find_map(|endpoint| {
            let flow = standing(context, &endpoint.flow?)?;
            let sound = !context.shared.shunned.has(&target(&flow), now);
            sound.then_some((endpoint, flow))
        });
        let Some((endpoint, flow)) = next else {
            return false;
        };
        context.emit(Event::TargetFailed {
            name: endpoint.name.clone(),
            target: failed.to_string().into(),
            failure: TargetFailure::Unreachable,
            next: true,
        });
        if let Some(branch) = self.fork_of(leg).and_then(|(_, fork)| fork.branch(leg)) {
            branch.past = past;
        }
        self.branch_goes_to(context, side, leg, Some(endpoint), flow, None)
    }

    /// Invites the endpoint of a branch anew over a flow: as `endpoint` where it is known as something else
    /// there, with what is left of its hop's targets where it was located.
    fn branch_goes_to(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        endpoint: Option<Endpoint>,
        flow: Flow,
        rest: Option<VecDeque<Located>>,
    ) -> bool {
        let old = self.fork_of(leg).and_then(|(_, fork)| fork.take(leg));
        let Some(old) = old else { return false };
        context.forget_tag(&old.leg.dialog.local_tag);
        if let Some(client) = old.client {
            context.cancel(client, None);
        }
        let alone = old.leg.dialog.ours_alone;
        let endpoint = endpoint.unwrap_or(old.leg.endpoint);
        let mut branch =
            self.branch_over(context, side, endpoint, flow, BranchState::Ready, old.until);
        (branch.located, branch.rest) = (rest.is_some(), rest.unwrap_or_default());
        (branch.secure, branch.turned, branch.grown) = (old.secure, old.turned, old.grown);
        (branch.past, branch.attempt) = (old.past, old.attempt);
        branch.is_for(old.meant);
        branch.leg.dialog.ours_alone = alone;
        let inviting = self.answered.is_none();
        if inviting {
            if let Some(invitation) = &mut self.invitation {
                invitation.fork.branches.push(branch);
            }
            // One that has rung has a dialog with the caller, which ends here.
            self.settle_crossings(context, Some(leg));
            self.early_ended(context, leg, 503);
            self.next_group(context);
        } else if let Some(lost) = &mut self.party_mut(side).lost {
            lost.fork.branches.push(branch);
            self.launch_again(context, side);
        }
        true
    }

    /// A branch was answered: by a 503 the next target has its turn, where there is one, and by a 430 of a proxy
    /// to which the phone's flow is gone (RFC 5626 5.3.1) another flow of the phone.
    pub(crate) fn target_answered(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) -> bool {
        if response.status() != 503 {
            let target = (flow.transport, flow.peer);
            context.shared.shunned.answered(&target);
            let strangers = self.is_strangers();
            let branch = self.fork_of(leg).and_then(|(_, fork)| fork.branch(leg));
            if let Some(branch) = branch.filter(|branch| branch.located && !strangers) {
                context.call_answered(&branch.leg.endpoint);
            }
            let side = self.fork_of(leg).map(|(side, _)| side);
            return response.status() == 430
                && side.is_some_and(|side| self.other_flow(context, side, leg, false));
        }
        let failure = TargetFailure::Unavailable(retry_after(response));
        self.fail_over(context, leg, failure)
    }

    /// Gives the next target its turn where one has said nothing at all.
    pub(crate) fn fall_silent(&mut self, context: &mut Context<'_>) {
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
                || !context.shared.upstreams.has_other(&contact, now)
            {
                continue;
            }
            // The next target of the upstream has its turn.
            context.cancel(client, None);
            match self.branch_side(leg) {
                Some(side) => self.again_failed(context, side, leg, 408, Refuser::Network),
                None => self.invitation_unanswered(context, leg, 408),
            }
        }
    }

    /// Nothing shows whose call it is: what it meets with says nothing of where it went.
    fn is_strangers(&self) -> bool {
        self.party(Side::Caller).asker.is_unknown()
    }

    /// Returns true where what a request to a leg meets with says something of where it went.
    pub(crate) fn speaks(&self, leg: LegId) -> bool {
        let mut legs = self.parties.iter().filter_map(|party| party.leg.as_ref());
        legs.any(|known| known.id == leg) && !self.is_strangers()
    }

    pub(in crate::engine::conversation) fn fork_of(
        &mut self,
        leg: LegId,
    ) -> Option<(Side, &mut Fork)> {
        if self.is_inviting(leg) {
            let invitation = self.invitation.as_mut()?;
            return Some((Side::Callee, &mut invitation.fork));
        }
        let side = self.branch_side(leg)?;
        let lost = self.party_mut(side).lost.as_mut()?;
        Some((side, &mut lost.fork))
    }
}
