//! Responses whose way back is gone: the host of the Via is located (RFC 3261 18.2.2, RFC 3263 5).
//!
//! Only for who is trusted. A server has a name that leads to another of its kind; a phone's leads nowhere. And
//! whoever could have us look names up, and answer whom they lead to, would have a tool against others. So a flow
//! that fails asks for one name, however many requests came over it, and so many are sought at a time.

use std::collections::BTreeMap;

use super::Engine;
use crate::engine::ids::{Flow, ListenerId, Transport};
use crate::engine::locating::{Hop, Located};
use crate::engine::ports::{Output, Token, World};
use crate::engine::time::Time;
use crate::engine::transaction::{ServerId, Stranded};

/// Names that are sought at a time.
const SOUGHT_MAX: usize = 8;
/// More targets than these are not tried.
const TARGETS_MAX: usize = 4;

/// Requests whose responses wait for a name, and what it is.
#[derive(Debug, Default)]
pub(super) struct Returns(BTreeMap<Token, Waiting>);

/// The host that was asked for, the listener that the requests came to, and these.
type Waiting = (Box<str>, ListenerId, Vec<ServerId>);

impl Engine {
    pub(super) fn find_ways_back(&mut self, stranded: Vec<Stranded>, world: &dyn World) {
        let mut sought: Option<(Hop, ListenerId, Vec<ServerId>)> = None;
        for one in stranded {
            match one {
                Stranded::Named { server, peer, host } => {
                    if let Some(anew) = world.flow_to(Transport::Tls, peer, &host, None) {
                        self.shared.transactions.answer_over(server, anew);
                    }
                }
                Stranded::Sought {
                    server,
                    source,
                    hop,
                } if self.may_seek(&source, world) => match &mut sought {
                    None => sought = Some((hop, source.listener, vec![server])),
                    Some((first, _, servers)) if *first == hop => servers.push(server),
                    Some(_) => {}
                },
                Stranded::Sought { .. } => {}
            }
        }
        let free = self.returns.0.len() < SOUGHT_MAX;
        if let Some((hop, listener, servers)) = sought.filter(|_| free) {
            let token = self.shared.mint.token();
            let waiting = (hop.host.clone(), listener, servers);
            self.returns.0.insert(token, waiting);
            self.shared.out.push_back(Output::Resolve { token, hop });
        }
    }

    /// What came over TLS to a proxy before us is answered there or not at all.
    fn may_seek(&self, source: &Flow, world: &dyn World) -> bool {
        let trusted = self
            .shared
            .peers
            .trusts(source, &self.shared.settings, world);
        trusted && world.spoken(source) == source.transport
    }

    /// Takes what was located for responses. Returns false where that was not asked for.
    pub(super) fn way_back_found(
        &mut self,
        token: Token,
        targets: &[Located],
        now: Time,
        world: &dyn World,
    ) -> bool {
        let Some((host, from, servers)) = self.returns.0.remove(&token) else {
            return false;
        };
        let targets = targets.iter().take(TARGETS_MAX);
        let flows = targets.filter_map(|(t, at)| world.flow_to(*t, *at, &host, Some(from)));
        let flows: Vec<Flow> = flows.collect();
        let (transactions, out) = (&mut self.shared.transactions, &mut self.shared.out);
        for server in servers {
            transactions.answer_at(server, &flows, now, out);
        }
        true
    }
}
