//! The lost endpoint is reached, and busy: perhaps with the very call that is to be restored.

use serde::{Deserialize, Serialize};

use super::Conversation;
use super::context::Context;
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Flow, Side};
use crate::engine::location;
use crate::engine::time::{Millis, Time};

use super::index::{answered_peers, peer_key};

/// A busy endpoint is asked so many times more.
const BUSY_MAX: u32 = 3;

/// How often it said so, and when it is asked again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Busy {
    times: u32,
    again: Option<Box<(Time, Endpoint)>>,
}

impl Busy {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.again.as_deref().map(|(at, _)| *at)
    }

    /// Returns true where an endpoint is to be asked later, and not before.
    pub(super) fn holds_back(&self, endpoint: &Endpoint) -> bool {
        let waits = self.again.as_deref();
        waits.is_some_and(|(_, known)| location::same(&known.identity, &endpoint.identity))
    }
}

impl Conversation {
    /// Ends the lost dialog at its busy endpoint, over the flow by which it said so, and asks it again
    /// once that has had time to arrive: an INVITE that overtakes the BYE finds it busy still. Returns
    /// false where it was asked often enough: it is busy with something else.
    pub(super) fn free(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: &Endpoint,
        flow: Flow,
    ) -> bool {
        let first = context.shared.settings.restore.retry.first;
        let id = self.id;
        let Some(lost) = &mut self.party_mut(side).lost else {
            return false;
        };
        let times = lost.busy.times;
        if times >= BUSY_MAX {
            return false;
        }
        if times == 0 && !lost.gone {
            lost.old.dialog.flow = flow;
            lost.old.bye(context, id, None);
            lost.gone = true;
        }
        let at = context.now + Millis(first.0.saturating_mul(1 << times));
        lost.busy = Busy {
            times: times + 1,
            again: Some(Box::new((at, endpoint.clone()))),
        };
        true
    }

    /// Returns true where an endpoint is to be left alone, for it is in another conversation.
    pub(super) fn is_spared(&self, context: &Context<'_>, endpoint: &Endpoint) -> bool {
        let Some(flow) = endpoint
            .flow
            .filter(|_| context.shared.settings.restore.spare_busy)
        else {
            return false;
        };
        let peer = peer_key(flow.transport, flow.peer);
        let ours = answered_peers(&self.indexed, self.expected).filter(|known| *known == peer);
        context.world.legs(peer.number()) as usize > ours.count()
    }

    /// Asks the endpoint again that was busy.
    pub(super) fn ask_the_freed(&mut self, context: &mut Context<'_>, side: Side) {
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let due = lost
            .busy
            .again
            .take_if(|again| again.0 <= context.now)
            .map(|again| again.1);
        if let Some(endpoint) = due {
            self.ask(context, side, vec![endpoint]);
        }
    }
}
