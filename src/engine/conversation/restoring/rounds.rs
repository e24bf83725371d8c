//! Whose turn it is in a re-fork: the same endpoint first, all at once, or by q-value; and at last who is beyond an
//! upstream. That one may have an answering machine, which would have the call before a phone that starts anew is back.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::BranchState;
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::Side;
use crate::engine::location;
use crate::engine::routing::{self, Target};
use crate::engine::settings::{ForkOrder, RestoreOrder};
use crate::engine::time::Millis;

/// Time for the slowest path through a proxy and back.
const MISSED_MIN: Millis = Millis::from_secs(2);

impl Conversation {
    /// Asks those whose turn is first.
    pub(super) fn first_round(&mut self, context: &mut Context<'_>, side: Side) {
        if self.ask_the_half(context, side) {
            return;
        }
        match context.shared.settings.restore.order {
            RestoreOrder::SameFirst => self.ask_the_same(context, side),
            RestoreOrder::All => self.ask_those_here(context, side),
            RestoreOrder::Q => self.ask_the_next(context, side),
        }
    }

    /// Those asked so far have failed, or had their time: the next ones, while the others ring on.
    pub(super) fn next_round(&mut self, context: &mut Context<'_>, side: Side) {
        match context.shared.settings.restore.order {
            RestoreOrder::SameFirst | RestoreOrder::All => self.ask_all(context, side),
            RestoreOrder::Q => self.ask_the_next(context, side),
        }
    }

    /// Asks everyone: those that are reached from here, and where none of them shows life or says no, the
    /// upstream that may know others.
    pub(super) fn ask_all(&mut self, context: &mut Context<'_>, side: Side) {
        let here = endpoints(self.targets_again(context, side));
        self.ask(context, side, here.clone());
        self.ask_beyond(context, side, &here);
    }

    /// The phones here have had the time that is theirs alone. In a round that is not over others have theirs yet.
    pub(super) fn beyond_due(&mut self, context: &mut Context<'_>, side: Side) {
        let lost = self.party(side).lost.as_ref();
        if lost.is_some_and(|lost| lost.all_at.is_none()) {
            let here = endpoints(self.targets_again(context, side));
            self.ask_beyond(context, side, &here);
        }
    }

    fn ask_beyond(&mut self, context: &mut Context<'_>, side: Side, here: &[Endpoint]) {
        let first_for = context.shared.settings.restore.same_first_for.of(self.kind);
        let Some(lost) = &self.party(side).lost else {
            return;
        };
        if !lost.refused.is_empty() || lost.away.has_engaged(here) {
            return;
        }
        let old = &lost.old.endpoint.identity;
        let (mut hope, mut fresh) = (false, false);
        for branch in &lost.fork.branches {
            let endpoint = branch.endpoint();
            hope |= branch.rang || endpoint.through.is_some();
            let asked = branch.state == BranchState::Calling;
            let new = !asked || context.now.since(branch.sent) < first_for;
            fresh |= new && !location::same(&endpoint.identity, old);
        }
        if hope {
            return;
        }
        if fresh && first_for > Millis(0) {
            // They have their time first, however soon others have failed.
            return self.beyond_comes_next(context, side);
        }
        let Some(there) = self.target_beyond(context, side) else {
            return;
        };
        let (now, waits) = (context.now, self.has_phones_here(context, side));
        if let Some(lost) = &mut self.party_mut(side).lost
            && waits
            && now < lost.own_until
        {
            lost.beyond_at = Some(lost.own_until);
            return;
        }
        self.ask(context, side, vec![there.endpoint]);
    }

    /// Returns true where one of a lost participant's phones is registered here, and not at an upstream alone.
    fn has_phones_here(&self, context: &Context<'_>, side: Side) -> bool {
        let party = self.party(side);
        let lost = party.lost.as_ref();
        let bindings = context.world.bindings(&party.aor);
        lost.is_some_and(|lost| !lost.old.is_beyond())
            && bindings.iter().any(|known| known.expires > context.now)
    }

    /// Returns how long a lost participant's own phones are asked before the upstream is: `Upstream::restore_after`,
    /// where there is time for both.
    pub(super) fn own_time(&self, context: &Context<'_>, side: Side) -> Millis {
        let settings = &context.shared.settings;
        let asked = self.party(side).asked.as_deref();
        let route = |uri| routing::route(uri, &[], context.now, settings, context.world).ok();
        let there = asked.and_then(route).and_then(|there| there.upstream);
        let upstream = there.and_then(|name| settings.upstreams.get(&name));
        let half = settings.restore.timeout.of(self.kind).0 / 2;
        upstream.map_or(Millis(0), |upstream| {
            Millis(upstream.restore_after.0.min(half))
        })
    }

    fn ask_those_here(&mut self, context: &mut Context<'_>, side: Side) {
        let all = self.targets_again(context, side);
        self.beyond_comes_next(context, side);
        self.ask(context, side, endpoints(all));
    }

    /// Has the upstream that may know others asked once those here have had their time.
    fn beyond_comes_next(&mut self, context: &Context<'_>, side: Side) {
        let first_for = context.shared.settings.restore.same_first_for.of(self.kind);
        if self.target_beyond(context, side).is_none() {
            return;
        }
        if let Some(lost) = &mut self.party_mut(side).lost {
            lost.all_at.get_or_insert(context.now + first_for);
        }
    }

    /// Returns how long a phone that may not be behind its name any more has for an INVITE with Replaces.
    pub(super) fn missed_after(&self, context: &Context<'_>) -> Millis {
        let alone = context.shared.settings.restore.same_first_for.of(self.kind);
        alone.max(MISSED_MIN)
    }

    /// Asks the lost endpoint alone for a while; everyone, where it is not to be reached or
    /// has relapsed.
    fn ask_the_same(&mut self, context: &mut Context<'_>, side: Side) {
        let first_for = context.shared.settings.restore.same_first_for.of(self.kind);
        let mut targets = self.targets_again(context, side);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let old = &lost.old.endpoint.identity;
        let is_old = |target: &Target| location::same(&target.endpoint.identity, old);
        if targets.iter().any(is_old) && !lost.puts_off(old, context.now) {
            targets.retain(is_old);
            lost.all_at = Some(context.now + first_for);
        }
        self.ask(context, side, endpoints(targets));
    }

    /// Asks those of the next lower q-value; after the lowest everyone, again and again.
    fn ask_the_next(&mut self, context: &mut Context<'_>, side: Side) {
        let first_for = context.shared.settings.restore.same_first_for.of(self.kind);
        let mut targets = self.targets_again(context, side);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        targets.retain(|target| lost.turn.is_none_or(|turn| target.q < turn));
        let mut groups = routing::groups(targets, ForkOrder::Q).into_iter();
        let Some(group) = groups.next() else {
            return self.ask_all(context, side);
        };
        lost.turn = group.first().map(|target| target.q);
        lost.all_at = groups.next().map(|_| context.now + first_for);
        self.beyond_comes_next(context, side);
        self.ask(context, side, endpoints(group));
    }
}

fn endpoints(targets: Vec<Target>) -> Vec<Endpoint> {
    targets.into_iter().map(|target| target.endpoint).collect()
}
