//! What is seen of the engine from outside: gauges, lists, and what must always hold.

use std::cmp::Reverse;
use std::net::SocketAddr;

use super::Engine;
use super::conversation::peer_key;
use crate::engine::ids::{ConversationId, Flow, Transport};
use crate::engine::ports::World;
use crate::engine::settings::Settings;
use crate::engine::view::{Detail, Gauges, Stage, Summary, UpstreamView};

impl Engine {
    /// Counts what there is now.
    pub fn gauges(&self) -> Gauges {
        let (client_transactions, server_transactions) = self.shared.transactions.counts();
        let mut gauges = Gauges {
            client_transactions: client_transactions + self.shared.within.waiting(),
            server_transactions,
            restorations_waiting: self.shared.budget.waiting(),
            lost_dialogs: self.shared.graves.len(),
            queued_messages: self.shared.queued.0,
            queued_bytes: self.shared.queued.1,
            under_way: self.shared.under_way.bytes(),
            lamps: self.lamps.len(),
            // All shards know the same of them.
            pauses: if self.shared.leads {
                self.shared.upstreams.paused()
            } else {
                0
            },
            timers: self.timers.len() + self.shared.transactions.timers(),
            overloaded: usize::from(self.overload.is_on()),
            ..Gauges::default()
        };
        for conversation in self.conversations.values() {
            gauges.legs += conversation.leg_count();
            gauges.lost_dialogs += conversation.ghost_count();
            match conversation.stage() {
                Stage::Inviting => gauges.inviting += 1,
                Stage::Established => gauges.established += 1,
                Stage::Suspect => gauges.suspect += 1,
                Stage::Restoring => gauges.restoring += 1,
                // It has been let go of.
                Stage::Ended => {}
            }
        }
        gauges
    }

    /// Lists the targets of upstreams.
    pub fn upstreams(&self) -> Vec<UpstreamView> {
        self.shared.upstreams.view()
    }

    /// Lists live conversations, and ended ones as long as their history is kept; newest first.
    pub fn list(&self, limit: usize) -> Vec<Summary> {
        let live = self
            .conversations
            .values()
            .map(|conversation| (Reverse(conversation.started), conversation.id, None));
        let ended = self.ended.iter().map(|detail| {
            let summary = &detail.summary;
            (Reverse(summary.started), summary.key, Some(summary))
        });
        let mut all: Vec<_> = live.chain(ended).collect();
        all.sort_by_key(|(started, id, _)| (*started, *id));
        all.truncate(limit);
        all.into_iter()
            .filter_map(|(_, id, ended)| match ended {
                Some(summary) => Some(summary.clone()),
                None => self.conversations.get(&id).map(|live| live.summary()),
            })
            .collect()
    }

    /// Returns one conversation with its history.
    pub fn detail(&self, id: ConversationId) -> Option<Detail> {
        let live = self
            .conversations
            .get(&id)
            .map(|conversation| conversation.detail());
        live.or_else(|| {
            self.ended
                .iter()
                .find(|detail| detail.summary.key == id)
                .cloned()
        })
    }

    /// Returns true where a conversation needs the flow. Quick: it may be asked of every silent one.
    pub fn uses(&self, flow: &Flow) -> bool {
        let found = self.found_by(peer_key(flow.transport, flow.peer));
        let mut conversations = found.iter().filter_map(|id| self.conversations.get(id));
        conversations.any(|conversation| conversation.needs(flow))
    }

    /// Names a peer, as `World::leg` is told of it.
    pub fn peer_number(transport: Transport, peer: SocketAddr) -> u64 {
        peer_key(transport, peer).number()
    }

    /// Returns true where a peer is trusted: by its address or its certificate, or as an upstream.
    pub fn trusts(&self, flow: &Flow, world: &dyn World) -> bool {
        self.shared.peers.trusts(flow, &self.shared.settings, world)
    }

    /// Returns how many conversations have not ended.
    pub fn conversations(&self) -> usize {
        self.conversations.len()
    }

    /// Returns the settings it works by.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Looks at what must always be so; returns what is not, for tests and simulations.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (key, id) in &self.index {
            if !self.conversations.contains_key(id) {
                return Err(format!("the index names {key:?} of {id}, which has ended"));
            }
        }
        for conversation in self.conversations.values() {
            conversation.check_negotiations(|client| {
                self.shared.transactions.waits(client) || self.shared.within.holds(client)
            })?;
        }
        let calls = self.conversations.values();
        let calls = calls.filter_map(|call| call.burden.as_ref());
        let burdens = self.passages.burdens().chain(self.relays.burdens());
        let burdens = burdens.chain(calls);
        if !self.shared.under_way.is_made_up_of(burdens) {
            return Err("what is under way is not what is counted of it".into());
        }
        if self.conversations.is_empty() {
            let left = (
                self.shared.tags.len(),
                self.shared.asked.len(),
                self.shared.queued,
                self.timers.len(),
                self.ringing.counts(),
                self.shared.budget.waiting(),
            );
            if left != (0, 0, (0, 0), 0, (0, 0), 0) {
                return Err(format!(
                    "no conversation, but tags, questions, messages, timers, ringing, turns: {left:?}"
                ));
            }
        }
        Ok(())
    }
}
