//! A phone that rings, and is lost before it has answered.
//!
//! Where its connection closes it has `detect.grace` to register again; then its branch has failed. Where it registers
//! as after a reboot, or over a new connection in the place of the one that it rang by, it knows nothing of what rang:
//! that is taken back, and it is asked anew, for what is left of its time. Whom the call was forwarded to is not known
//! by its registrations here: it rings for all of its time.

use super::{Branch, BranchState};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::inviting::verdict;
use crate::engine::conversation::restoring::reach::standing;
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Happening, Signal};
use crate::engine::ids::{LegId, Side};
use crate::engine::routing;
use crate::engine::time::Time;

impl Branch {
    /// Returns when it stops ringing, as far as is known.
    pub(crate) fn rings_until(&self) -> Time {
        self.severed.map_or(self.until, |at| at.min(self.until))
    }

    /// Returns the failure of one that was not answered in its time.
    pub(crate) fn unanswered(&self) -> u16 {
        if self.severed.is_some() { 480 } else { 408 }
    }

    /// Returns true where its phone has had the INVITE, and has begun `anew` since.
    pub(crate) fn is_forgotten(&self, context: &Context<'_>, anew: bool) -> bool {
        let heard = self.client.is_some() && !self.is_unheard(context);
        let counts = context.shared.settings.detect.registration;
        anew && counts && heard && self.state == BranchState::Calling
    }

    /// Returns true where its INVITE is out and has had no response at all.
    pub(crate) fn is_unheard(&self, context: &Context<'_>) -> bool {
        let transactions = &context.shared.transactions;
        let client = self.client;
        client.is_some_and(|client| transactions.is_unheard(client))
    }

    /// Returns true where its INVITE goes to the very place of who registers.
    pub(crate) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        let (own, flow) = (&self.leg.endpoint, self.leg.dialog.flow);
        own.contact == endpoint.contact && endpoint.flow.is_none_or(|known| known == flow)
    }

    /// Returns true where what is out to a phone leads nowhere since it registered.
    fn is_overtaken(&self, context: &Context<'_>, endpoint: &Endpoint, anew: bool) -> bool {
        if self.leads_to(endpoint) {
            return self.is_forgotten(context, anew);
        }
        // A phone that rings where datagrams lead rings on while its address changes.
        let reliable = self.leg.dialog.flow.transport.is_reliable();
        self.is_unheard(context) || reliable || self.is_forgotten(context, anew)
    }
}

impl Conversation {
    /// The connection of a branch is closed whose phone rings.
    pub(crate) fn branch_severed(&mut self, context: &mut Context<'_>, leg: LegId) {
        let detect = &context.shared.settings.detect;
        let until = context.now + detect.grace;
        if !detect.transport || self.rings_elsewhere(context, leg) {
            return;
        }
        let Some((side, fork)) = self.fork_of(leg) else {
            return;
        };
        // Who is reached by an address of its own may open another connection for its answer.
        let rings = |branch: &&mut Branch| {
            branch.state == BranchState::Calling && !branch.located && branch.meant.is_none()
        };
        let Some(branch) = fork.branch(leg).filter(rings) else {
            return;
        };
        branch.severed = Some(until);
        let suspected = Happening::Suspected {
            side,
            signal: Signal::Transport,
            endpoint: branch.endpoint().name.clone(),
        };
        self.note(context, suspected);
    }

    /// Returns true where the phone of a branch has another flow that stands.
    fn rings_elsewhere(&mut self, context: &Context<'_>, leg: LegId) -> bool {
        let Some((side, fork)) = self.fork_of(leg) else {
            return false;
        };
        let Some(branch) = fork.branch(leg) else {
            return false;
        };
        let flow = branch.leg.dialog.flow;
        let identity = branch.leg.endpoint.identity.clone();
        let aor = &self.party(side).aor;
        let known = routing::flows(aor, &identity, context.now, context.world);
        let mut others = known.iter().filter_map(|endpoint| endpoint.flow);
        others.any(|other| other != flow && standing(context, &other).is_some())
    }

    /// Returns an endpoint where its phone is by the time that it has its turn: it may have moved meanwhile. One that is
    /// no longer registered may yet answer where it was.
    pub(crate) fn where_it_is(&self, context: &Context<'_>, endpoint: Endpoint) -> Endpoint {
        let aor = &self.party(Side::Callee).aor;
        let known = routing::flows(aor, &endpoint.identity, context.now, context.world);
        let stands = known.iter().any(|known| known.is_at(&endpoint));
        match known.into_iter().next() {
            Some(latest) if !stands => latest,
            Some(_) | None => endpoint,
        }
    }

    /// A phone of who is called registers, before anybody has answered: where it rings, or should, it may not know.
    pub(crate) fn callee_registered(
        &mut self,
        context: &mut Context<'_>,
        endpoint: &Endpoint,
        anew: bool,
    ) {
        let aor = &self.party(Side::Callee).aor;
        let known = routing::flows(aor, &endpoint.identity, context.now, context.world);
        let Some(invitation) = self.invitation.as_mut().filter(|i| i.held.is_none()) else {
            return;
        };
        let own = invitation.fork.to(&endpoint.identity);
        let Some(branch) = own.filter(|branch| branch.meant.is_none()) else {
            return;
        };
        let (leg, flow) = (branch.leg.id, branch.leg.dialog.flow);
        match branch.state {
            BranchState::Ready | BranchState::Calling => {}
            // Where it is asked by a name, its registration tells nothing.
            BranchState::Resolving(_) | BranchState::Joining => return,
        }
        let client = branch.client;
        // A second flow of it (RFC 5626) is no other place while the first stands.
        let stands = endpoint.flow != Some(flow)
            && known.iter().any(|known| known.flow == Some(flow))
            && context.world.is_open(&flow);
        let overtaken = match client {
            Some(_) => branch.is_overtaken(context, endpoint, anew),
            None => !branch.leads_to(endpoint),
        };
        if stands || !overtaken {
            client.into_iter().for_each(|client| context.hurry(client));
            return self.deaf_lives(context, leg);
        }
        let (secure, turned) = (branch.secure, branch.turned);
        let (left, severed) = (branch.until.since(context.now), branch.severed.is_some());
        if let Some(old) = invitation.fork.take(leg) {
            self.drop_branch(context, old, Some(ELSEWHERE));
        }
        let there = self.make_branch(context, Side::Callee, endpoint.clone(), left);
        let Some(invitation) = &mut self.invitation else {
            return;
        };
        match there {
            Ok(mut branch) => {
                (branch.secure, branch.turned) = (secure, turned);
                invitation.fork.branches.push(branch);
            }
            Err(status) => invitation.fork.judge(verdict(status)),
        }
        let (side, endpoint) = (Side::Callee, &endpoint.name);
        if client.is_none() {
            // Nobody has missed anything.
            return self.next_group(context);
        }
        if !severed {
            let signal = match anew {
                true => Signal::Registration,
                false => Signal::Moved,
            };
            let endpoint = endpoint.clone();
            let suspected = Happening::Suspected {
                side,
                signal,
                endpoint,
            };
            self.note(context, suspected);
        }
        let endpoint = endpoint.clone();
        self.note(context, Happening::Alive { side, endpoint });
        self.settle_crossings(context, Some(leg));
        self.early_ended(context, leg, 480);
        self.next_group(context);
    }
}
