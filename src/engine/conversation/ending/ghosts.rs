//! Lost dialogs: each gets an end, so that a phone which comes back to life finds no call left on it.

use super::parting::Bye;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::restoring::reach::{standing, way_anew};
use crate::engine::dialog::{Do, Happens, Life};
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::Flow;
use crate::engine::location;
use crate::engine::routing;

/// Lost dialogs remembered at a time.
const GHOSTS_MAX: usize = 4;

impl Conversation {
    /// A lost dialog gets a best-effort end: a phone that comes back to life finds no call left on it.
    pub(crate) fn bury(&mut self, context: &mut Context<'_>, mut old: Leg) {
        context.forget_tag(&old.dialog.local_tag);
        old.dialog.flow = self.way_back(context, &old);
        if old.life == Life::Answered {
            return old.part(context, self.id, Bye::because(Some(ELSEWHERE)));
        }
        old.bye(context, self.id, Some(ELSEWHERE));
        if self.ghosts.len() < GHOSTS_MAX {
            self.ghosts.push(old);
        }
    }

    /// Returns where a lost endpoint is best reached: where it registered last, else where it was.
    pub(super) fn way_back(&self, context: &Context<'_>, old: &Leg) -> Flow {
        let aor = &self.party(old.side).aor;
        let known = routing::flows(aor, &old.endpoint.identity, context.now, context.world);
        let registered = known.into_iter().filter_map(|endpoint| endpoint.flow);
        let standing = registered
            .filter_map(|flow| standing(context, &flow))
            .next();
        // A connection that is closed may be opened again.
        let anew = || way_anew(context, old).filter(|_| old.dialog.flow.transport.is_reliable());
        standing.or_else(anew).unwrap_or(Flow {
            connection: None,
            ..old.dialog.flow
        })
    }

    /// A phone is back on the network: a dead call of ours that it still holds ends now.
    pub(crate) fn lay_ghosts(&mut self, context: &mut Context<'_>, endpoint: &Endpoint) {
        let id = self.id;
        for ghost in &mut self.ghosts {
            if !location::same(&ghost.endpoint.identity, &endpoint.identity) {
                continue;
            }
            if let Some(flow) = endpoint.flow {
                ghost.dialog.flow = flow;
            }
            if ghost.life.take(Happens::Return) == Do::Bye {
                ghost.bye(context, id, Some(ELSEWHERE));
            }
        }
    }
}
