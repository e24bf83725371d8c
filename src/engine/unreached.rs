//! A flow has failed, or somebody says so.
//!
//! Who knows no more than the address of a phone can forge an ICMP error for it (RFC 5927), and what is open there must
//! not end by that. A request of ours is proof: whoever is not on its way does not know its branch (RFC 8085 5.2). Many a
//! host quotes no more than eight octets, though, and what went out may be no request: such an error is a sign, and who it
//! is about is asked.

use std::net::SocketAddr;

use crate::engine::Engine;
use crate::engine::conversation::{Failing, peer_key};
use crate::engine::ids::{Flow, ListenerId, Transport};
use crate::engine::mint::branch_shard;
use crate::engine::ports::{Witness, World};
use crate::engine::time::Time;
use crate::sip::{Method, glance};

impl Engine {
    pub(super) fn unreachable(
        &mut self,
        transport: Transport,
        peer: SocketAddr,
        witness: &Witness,
        now: Time,
        world: &mut dyn World,
    ) {
        let flow = Flow {
            transport,
            listener: ListenerId(0),
            peer,
            connection: None,
        };
        let failing = match witness {
            Witness::Host => Some(Failing::Unreachable),
            Witness::Icmp(quoted) => self.shown_by(quoted, &flow, now),
        };
        if let Some(failing) = failing {
            self.flow_failed(&flow, failing, now, world);
        }
    }

    /// Returns what an ICMP error shows by what it quotes: nothing where that is a request of ours which is not open. A
    /// proxy has passed our branch on to its phones, whoever they are: there no request within a dialog ends by that of
    /// another, nor a probe.
    fn shown_by(&mut self, quoted: &[u8], flow: &Flow, now: Time) -> Option<Failing> {
        let rumoured = Some(Failing::Rumoured);
        let Some((method, branch)) = glance::quoted(quoted) else {
            return rumoured;
        };
        let shared = &mut self.shared;
        let ip = flow.peer.ip();
        let open = shared
            .transactions
            .quoted(&method, branch, flow.transport, flow.peer);
        match open {
            Some(id) if shared.peers.knows(ip) || shared.doubted.knows(ip) => {
                shared.transactions.not_taken(id, now, &mut shared.out);
                return rumoured;
            }
            Some(_) => return Some(Failing::Unreachable),
            None => {}
        }
        // The ACK of a 2xx has no transaction, and another shard knows its own.
        let moves = &self.shared.moves;
        let elsewhere = branch_shard(branch).is_some_and(|shard| !moves.is_own(shard));
        rumoured.filter(|_| method == Method::Ack || elsewhere)
    }

    pub(super) fn flow_failed(
        &mut self,
        flow: &Flow,
        failing: Failing,
        now: Time,
        world: &mut dyn World,
    ) {
        let (transactions, out) = (&mut self.shared.transactions, &mut self.shared.out);
        let stranded = match failing {
            Failing::Rumoured => transactions.flow_doubted(flow.transport, flow.peer, now, out),
            Failing::Closed | Failing::Unreachable => {
                transactions.flow_failed(flow.transport, flow.peer, flow.connection, now, out)
            }
        };
        self.find_ways_back(stranded, world);
        let there = self.found_by(peer_key(flow.transport, flow.peer));
        // Before anybody asks again for a request that went down with it.
        for id in there.iter().filter(|_| failing == Failing::Closed) {
            self.with(*id, now, world, |conversation, _| {
                conversation.connection_closed(flow);
            });
        }
        self.listen(now, world);
        for id in self.found_by(peer_key(flow.transport, flow.peer)) {
            self.with(id, now, world, |conversation, context| {
                conversation.on_flow_failed(context, flow, failing);
            });
        }
    }
}
