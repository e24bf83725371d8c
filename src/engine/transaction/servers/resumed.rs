//! An INVITE's transaction that a restart has ended goes on from its 2xx, which is sent until the ACK is here (RFC 3261
//! 13.3.1.4).

use bytes::Bytes;

use super::{Input, Server, Servers, With};
use crate::engine::ids::Flow;
use crate::engine::transaction::effects::{Clock, Effects};
use crate::engine::transaction::lookup::Lookup;
use crate::engine::transaction::server_machine::Machine;
use crate::engine::transaction::way_back::WayBack;
use crate::engine::transaction::{Of, ServerId};
use crate::sip::{Message, Method};

impl<S: Clone + Of> Servers<S> {
    pub(in crate::engine::transaction) fn resume<C>(
        &mut self,
        success: Bytes,
        flow: Flow,
        context: S,
        effects: &mut Effects<'_, C, S>,
    ) -> Option<ServerId> {
        let response = Message::parse(success.clone()).ok()?;
        let lookup = Lookup::moved(&response, &flow)?;
        if self.by_branch.contains_key(&lookup) || self.slab.len() >= self.limit {
            return None;
        }
        let (mut machine, _) = Machine::start(&Method::Invite);
        let acts = machine.step(Input::Respond(response.status()));
        let id = self.keep(Server {
            machine,
            lookup,
            moved: None,
            merged: None,
            flow,
            back: WayBack::of(&response, flow),
            request: None,
            last: None,
            context: Some(context),
            tag: response.to_tag().map(Into::into),
            clock: Clock::default(),
        });
        self.act(id, acts, With::Response(success), effects);
        Some(id)
    }

    /// Takes a transaction up, to be found by what it is known by.
    pub(super) fn keep(&mut self, server: Server<S>) -> ServerId {
        let (lookup, merged) = (server.lookup, server.merged);
        let (back, watched) = (server.back.flow, server.back.is_watched());
        let id = ServerId(self.slab.insert(server));
        self.by_branch.insert(lookup, id);
        if let Some(merged) = merged {
            self.merged.insert(merged, id);
        }
        if watched {
            self.by_peer.insert((back.transport, back.peer, id.0));
        }
        id
    }
}
