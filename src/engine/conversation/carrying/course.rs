//! Where requests within a dialog go now: over the flow, or to the targets of its hop, one after another.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::engine::conversation::context::Context;
use crate::engine::dialog::onward::{By, Known, Leads, Place, leads, place};
use crate::engine::dialog::{Dialog, Security};
use crate::engine::hidden::is_hidden;
use crate::engine::ids::Flow;
use crate::engine::locating::{Hop, Located};
use crate::engine::time::Millis;
use crate::sip::Uri;

/// Targets that one request is sent to.
const TARGETS_MAX: usize = 4;
/// Requests that wait for their hop to be located; one more goes over its flow.
const HELD_MAX: usize = 10_000;

/// Where a request within a dialog goes.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    /// Where it goes first; where it would go, as long as its hop is not located.
    pub(crate) flow: Flow,
    /// Where it goes when that fails.
    pub(super) rest: VecDeque<Flow>,
    /// How long each has time to say anything, where that is less than elsewhere: it may come twice then.
    pub(super) patience: Option<Millis>,
    /// The hop that it leads to. None: over the flow and nowhere else.
    pub(super) hop: Option<Hop>,
    /// The hop has to be located first.
    pub(crate) sought: bool,
    /// Nothing rules TCP out for what is large.
    pub(super) grows: bool,
    pub(super) security: Security,
}

impl Course {
    /// Over a flow and nowhere else.
    pub(crate) fn over(flow: Flow, security: Security) -> Self {
        Self {
            flow,
            rest: VecDeque::new(),
            patience: None,
            hop: None,
            sought: false,
            grows: false,
            security,
        }
    }

    /// Where all that fails it goes over these, too.
    pub(crate) fn or_over(mut self, others: impl IntoIterator<Item = Flow>) -> Self {
        for flow in others {
            let known = flow == self.flow || self.rest.contains(&flow);
            if !known && self.rest.len() < TARGETS_MAX {
                self.rest.push_back(flow);
            }
        }
        self
    }

    /// The next of them has its turn where one has said nothing for so long, and what is sent may come twice.
    pub(crate) fn each_for(mut self, patience: Millis) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Returns true where the far end is told a `sips:` Contact.
    pub(super) fn sips(&self) -> bool {
        self.security.is_told()
    }

    /// Returns all flows that it may take, the first to be tried first.
    pub(crate) fn flows(&self) -> impl Iterator<Item = Flow> {
        std::iter::once(self.flow).chain(self.rest.iter().copied())
    }
}

impl Context<'_> {
    /// Finds out where requests within a dialog go now.
    pub(crate) fn course(&self, dialog: &Dialog) -> Course {
        let (by, uri) = dialog.next_hop();
        self.course_to(by, uri, dialog.flow, dialog.known, dialog.security())
    }

    /// The same, out of what makes it up.
    pub(crate) fn course_to(
        &self,
        by: By,
        uri: &str,
        heard: Flow,
        known: Known,
        security: Security,
    ) -> Course {
        let hop = Uri::parse(uri).ok().and_then(|uri| Hop::of(&uri));
        let hop = match security {
            Security::None => hop,
            Security::Hops | Security::Contact => hop.map(Hop::secured),
        };
        let place = place(hop.as_ref(), &heard, |ip| self.is_configured(ip));
        let Some(mut hop) = hop.filter(|_| leads(by, place, known) == Leads::There) else {
            return Course::over(heard, security);
        };
        // Who writes `transport=udp` has no other.
        let grows = hop.transport.is_none();
        if matches!(place, Place::Heard | Place::Beside) && !hop.secure {
            // Without a word of its own it speaks what it is heard over.
            hop.transport = hop.transport.or(Some(heard.transport));
        }
        let fresh = self.shared.within.located.get(&hop);
        let fresh = fresh.filter(|(_, until)| *until > self.now);
        let course = match (hop.numeric(), fresh) {
            (Some(target), _) => self.toward(hop, &[target], heard),
            (None, Some((targets, _))) => self.toward(hop, targets, heard),
            (None, None) if self.shared.within.waiting() >= HELD_MAX => {
                Course::over(heard, security)
            }
            (None, None) => Course {
                hop: Some(hop),
                sought: true,
                ..Course::over(heard, security)
            },
        };
        Course {
            grows,
            security,
            ..course
        }
    }

    /// Orders the targets of a hop: where the far end is heard first, and who failed lately last. Before those
    /// stands the flow that is heard, whatever that leads to.
    pub(super) fn toward(&self, hop: Hop, targets: &[Located], heard: Flow) -> Course {
        let named = hop.numeric().is_none();
        let source = heard.peer.ip();
        let may = |(_, at): &&Located| {
            !named || self.is_configured(at.ip()) || !is_hidden(at.ip(), source)
        };
        let targets: Vec<Located> = targets.iter().filter(may).copied().collect();
        let mut targets = self.shared.shunned.order(&targets, self.now);
        let is_heard = |(transport, at): &Located| {
            *transport == heard.transport
                && if transport.is_reliable() {
                    at.ip().to_canonical() == source.to_canonical()
                } else {
                    *at == heard.peer
                }
        };
        let shunned = |target: &Located| self.shared.shunned.has(target, self.now);
        if let Some(at) = targets.iter().position(|t| is_heard(t) && !shunned(t))
            && let Some(target) = targets.remove(at)
        {
            targets.push_front(target);
        }
        let open = self.world.is_open(&heard);
        let mut flows = VecDeque::with_capacity(TARGETS_MAX + 1);
        let mut sound = 0;
        for target in targets {
            let flow = if open && is_heard(&target) {
                Some(heard)
            } else {
                let from = Some(heard.listener);
                self.world.flow_to(target.0, target.1, &hop.host, from)
            };
            if let Some(flow) = flow.filter(|flow| !flows.contains(flow))
                && flows.len() < TARGETS_MAX
            {
                flows.push_back(flow);
                sound += usize::from(!shunned(&target));
            }
        }
        let weaker = hop.secure && !self.world.spoken(&heard).is_secure();
        if open && !weaker && !flows.contains(&heard) {
            let failed = shunned(&(heard.transport, heard.peer));
            flows.insert(if failed { flows.len() } else { sound }, heard);
        }
        let flow = flows.pop_front().unwrap_or(heard);
        Course {
            rest: flows,
            hop: Some(hop),
            ..Course::over(flow, Security::None)
        }
    }

    /// Returns true where requests within a dialog may go over a flow: none of a `sips:` one goes in the clear.
    pub(crate) fn may_take(&self, dialog: &Dialog, flow: &Flow) -> bool {
        dialog.security() == Security::None || self.world.spoken(flow).is_secure()
    }

    fn is_configured(&self, ip: IpAddr) -> bool {
        let settings = &self.shared.settings;
        let is = |uri: &str| {
            let host = Uri::parse(uri).ok().and_then(|uri| uri.host_ip());
            host.is_some_and(|host| host.to_canonical() == ip.to_canonical())
        };
        let mut upstreams = settings.upstreams.values();
        settings.acl.trusts(ip)
            || upstreams.any(|upstream| {
                upstream.targets.iter().any(|target| is(&target.uri))
                    || upstream.sources.iter().any(|source| source.holds(ip))
            })
    }
}
