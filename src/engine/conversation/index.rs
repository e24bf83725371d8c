//! By what a conversation is found that is not named: the peers of its legs, and the two AORs.

use std::hash::Hash;
use std::net::SocketAddr;
use std::num::NonZeroU64;

use super::Conversation;
use super::forking::{Branch, BranchState};
use crate::engine::ids::{Aor, Flow, Transport};
use crate::engine::mint::{hash64, peer_number};

/// A hash, for there are six to a conversation: whoever is found compares for himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(NonZeroU64);

/// What a conversation is found by.
pub(crate) type Keys = [Option<Key>; 6];

impl Key {
    pub(crate) fn number(self) -> u64 {
        self.0.get()
    }
}

pub(crate) fn aor_key(aor: &Aor) -> Key {
    key(aor)
}

pub(crate) fn peer_key(transport: Transport, peer: SocketAddr) -> Key {
    Key(NonZeroU64::new(peer_number(transport, peer)).unwrap_or(NonZeroU64::MIN))
}

fn key(of: impl Hash) -> Key {
    Key(NonZeroU64::new(hash64(of)).unwrap_or(NonZeroU64::MIN))
}

/// Returns the number of phones at a peer that ring by INVITEs of ours.
pub(crate) fn rung_at(flow: &Flow) -> u64 {
    hash64(("rings at", flow.transport, flow.peer))
}

/// Which of the peers have a leg whose call was answered: whoever lets ring is not expected yet.
pub(crate) type Answered = [bool; 2];

/// Returns the keys of those peers among them.
pub(crate) fn answered_peers(keys: &Keys, answered: Answered) -> impl Iterator<Item = Key> {
    // Where a leg only says that it is, anybody may be.
    let peers = keys[2..4].iter().zip(answered);
    peers.filter_map(|(key, answered)| key.filter(|_| answered))
}

impl Conversation {
    /// Returns what it is to be found by now.
    pub(crate) fn keys(&self) -> Keys {
        let [a, b] = &self.parties;
        let key = |flow: Flow| peer_key(flow.transport, flow.peer);
        let heard = |party: &super::Party| Some(key(party.leg.as_ref()?.dialog.flow));
        let went = |party: &super::Party| Some(key(party.leg.as_ref()?.dialog.went?));
        [
            Some(aor_key(&a.aor)),
            Some(aor_key(&b.aor)),
            heard(a),
            heard(b),
            went(a),
            went(b),
        ]
    }

    /// Returns the numbers of those that ring by its INVITEs, and have an address of their own.
    pub(crate) fn rung_peers(&self) -> Box<[u64]> {
        let ring = |branch: &&Branch| {
            branch.state == BranchState::Calling && branch.leg.endpoint.has_own_address()
        };
        let branches = self.branches().filter(ring);
        branches
            .map(|branch| rung_at(&branch.leg.dialog.flow))
            .collect()
    }

    /// Returns which of the peers have a leg whose call was answered.
    pub(crate) fn answered_legs(&self) -> Answered {
        self.parties.each_ref().map(super::Party::is_up)
    }

    /// Returns true where a leg needs the flow, or whichever connection there is to its peer.
    pub(crate) fn needs(&self, flow: &Flow) -> bool {
        let legs = self.parties.iter().filter_map(|party| party.leg.as_ref());
        let flows = legs.flat_map(|leg| [Some(leg.dialog.flow), leg.dialog.went]);
        flows.flatten().any(|own| {
            (own.transport, own.peer) == (flow.transport, flow.peer)
                && own
                    .connection
                    .is_none_or(|own| Some(own) == flow.connection)
        })
    }
}
