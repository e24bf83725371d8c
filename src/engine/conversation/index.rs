//! By what a conversation is found that is not named: the peers of its legs, and the two AORs.

use std::net::SocketAddr;

use super::Conversation;
use crate::engine::ids::{Aor, Flow, Transport};
use crate::engine::mint::hash64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Peer(Transport, SocketAddr),
    /// A hash: whoever is found compares for himself.
    Aor(u64),
}

pub(crate) fn aor_key(aor: &Aor) -> Key {
    Key::Aor(hash64(aor))
}

pub(crate) fn peer_key(transport: Transport, peer: SocketAddr) -> Key {
    Key::Peer(transport, peer)
}

impl Conversation {
    /// Returns what it is to be found by now.
    pub(crate) fn keys(&self) -> [Option<Key>; 4] {
        let [a, b] = &self.parties;
        let peer = |party: &super::Party| {
            let flow = party.leg.as_ref()?.dialog.flow;
            Some(peer_key(flow.transport, flow.peer))
        };
        [
            Some(aor_key(&a.aor)),
            Some(aor_key(&b.aor)),
            peer(a),
            peer(b),
        ]
    }

    /// Returns true where a leg needs the flow, or whichever connection there is to its peer.
    pub(crate) fn needs(&self, flow: &Flow) -> bool {
        let legs = self.parties.iter().filter_map(|party| party.leg.as_ref());
        legs.map(|leg| leg.dialog.flow).any(|own| {
            (own.transport, own.peer) == (flow.transport, flow.peer)
                && own
                    .connection
                    .is_none_or(|own| Some(own) == flow.connection)
        })
    }
}
