//! Ports toward the endpoints of a fork. Nearly always all of them reach us at one address, and share one
//! set of ports. Where one speaks another family, or comes by another of our networks, it is offered
//! ports of its own there; the set of who takes the call becomes the side's, and the others are given back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Branch, BranchState, Fork};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
pub(crate) use crate::engine::conversation::session::media::{PortState, Ports};
use crate::engine::events::{Ending, GaveUp, Happening, Refuser};
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::ports::{Claim, Generation, MediaCommand, MediaId};

/// Sets of ports that a side may have at a time; further endpoints are offered the first. With the set
/// of a lost phone they stay well below what the relay allows.
const SETS_MAX: usize = 4;

impl Ports {
    /// Returns the set for endpoints that reach us there; a new one where there is none yet.
    fn toward(&mut self, reach: IpAddr) -> &mut Self {
        if self.state == PortState::None {
            self.reach = Some(reach);
            return self;
        }
        if self.serves(reach) {
            return self;
        }
        let known = self.others.iter().position(|set| set.serves(reach));
        let at = match known {
            Some(at) => at,
            None if self.others.len() + 1 >= SETS_MAX => return self,
            None => {
                self.newest += 1;
                self.others.push(Self {
                    generation: self.newest,
                    newest: self.newest,
                    reach: Some(reach),
                    ..Self::default()
                });
                self.others.len() - 1
            }
        };
        &mut self.others[at]
    }

    fn serves(&self, reach: IpAddr) -> bool {
        match self.reach {
            Some(known) => known == reach,
            None => {
                let first = self.addresses.first();
                first.is_none_or(|address| address.is_ipv4() == reach.is_ipv4())
            }
        }
    }

    /// Returns the set of a generation, the first where it has no set of its own.
    pub(crate) fn of(&self, generation: Generation) -> &Self {
        let mut others = self.others.iter();
        others
            .find(|set| set.generation == generation)
            .unwrap_or(self)
    }

    pub(crate) fn find(&mut self, generation: Generation) -> Option<&mut Self> {
        if self.generation == generation {
            return Some(self);
        }
        let mut others = self.others.iter_mut();
        others.find(|set| set.generation == generation)
    }

    pub(crate) fn failed(&mut self, generation: Generation) -> bool {
        self.find(generation)
            .is_some_and(|set| set.state == PortState::Failed)
    }

    /// Drops a set. Returns false, and keeps it, where it is the only one.
    pub(crate) fn do_without(&mut self, generation: Generation) -> bool {
        if self.others.is_empty() {
            return false;
        }
        if self.generation == generation {
            self.put_first(0);
        }
        self.others.retain(|set| set.generation != generation);
        true
    }

    /// Swaps one of the others with the first.
    fn put_first(&mut self, at: usize) {
        let (newest, others) = (self.newest, std::mem::take(&mut self.others));
        let first = std::mem::replace(
            self,
            Self {
                others,
                ..Self::default()
            },
        );
        let mut others = std::mem::take(&mut self.others);
        let next = std::mem::replace(&mut others[at], first);
        *self = Self {
            newest,
            others,
            ..next
        };
    }

    /// Makes the set of who took the call the side's own. Returns the generations of the others.
    pub(crate) fn settle(&mut self, generation: Generation) -> Vec<Generation> {
        let mut others = self.others.iter();
        if let Some(at) = others.position(|set| set.generation == generation) {
            self.put_first(at);
        }
        let unused = std::mem::take(&mut self.others);
        unused.into_iter().map(|set| set.generation).collect()
    }

    /// Returns all generations that the relay was asked for.
    pub(crate) fn generations(&self) -> Vec<Generation> {
        let first = (self.state != PortState::None).then_some(self.generation);
        let others = self.others.iter().map(|set| set.generation);
        first.into_iter().chain(others).collect()
    }

    /// After a restart: keeps what was open, one of it as the first.
    pub(crate) fn keep_taken(&mut self) {
        self.others.retain(Self::are_taken);
        if !self.are_taken() && !self.others.is_empty() {
            self.put_first(0);
            self.others.retain(Self::are_taken);
        }
    }

    pub(crate) fn open_others_again(&mut self, media: MediaId, side: Side) -> Vec<MediaCommand> {
        let others = self.others.iter_mut();
        others
            .filter_map(|set| {
                let toward = set.addresses.first().map(SocketAddr::ip)?;
                Some(set.open_again(media, side, toward))
            })
            .collect()
    }
}

impl Conversation {
    /// Has ports opened for the caller, where that needs any. Returns true once nothing is missing.
    pub(crate) fn caller_ports(&mut self, context: &mut Context<'_>, streams: usize) -> bool {
        let claim = self.claim(Side::Caller);
        let ports = &mut self.ports[Side::Caller.index()];
        if streams == 0 {
            return true;
        }
        let leg = self.parties[Side::Caller.index()].leg.as_ref();
        if ports.state == PortState::None
            && let Some(leg) = leg
        {
            let flow = leg.dialog.flow;
            let toward = flow.peer.ip();
            ports.reach = Some(reach(context, &flow));
            let command = ports.open(self.id, Side::Caller, streams, claim, toward);
            self.media(context, command);
        }
        self.ports[Side::Caller.index()].state == PortState::Open
    }

    /// Finds the ports for each branch that is ready, and has those opened that are missing.
    pub(crate) fn want_ports(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        fork: &mut Fork,
        (streams, claim): (usize, Claim),
    ) {
        if streams == 0 {
            return;
        }
        for branch in &mut fork.branches {
            if branch.state != BranchState::Ready {
                continue;
            }
            let flow = branch.leg.dialog.flow;
            let set = self.ports[side.index()].toward(reach(context, &flow));
            branch.generation = set.generation;
            if set.state == PortState::None {
                let command = set.open(self.id, side, streams, claim, flow.peer.ip());
                self.media(context, command);
            }
        }
    }

    /// Returns true where a branch's INVITE may go now.
    pub(crate) fn callable(&self, branch: &Branch, streams: usize) -> bool {
        let ports = &self.ports[branch.leg.side.index()];
        branch.state == BranchState::Ready
            && (streams == 0 || ports.of(branch.generation).state == PortState::Open)
    }

    pub(crate) fn close_ports(
        &self,
        context: &mut Context<'_>,
        side: Side,
        generations: Vec<Generation>,
    ) {
        for generation in generations {
            self.media(
                context,
                MediaCommand::CloseSide {
                    media: self.id,
                    side,
                    generation,
                },
            );
        }
    }

    /// Returns true where the caller may hear a phone that has not answered yet. What the relay is told
    /// of one set closes the older ones: no endpoint that may still answer is to lose its ports so.
    pub(crate) fn may_be_heard(&mut self, leg: LegId) -> bool {
        let Some(invitation) = &self.invitation else {
            return false;
        };
        let branches = &invitation.fork.branches;
        let Some(heard) = branches.iter().find(|branch| branch.leg.id == leg) else {
            return false;
        };
        let generation = heard.generation;
        let older = |branch: &Branch| branch.has_ports() && branch.generation < generation;
        if branches.iter().any(older) {
            return false;
        }
        let ports = &mut self.ports[Side::Callee.index()];
        for known in ports.generations() {
            if known < generation {
                ports.do_without(known);
            }
        }
        true
    }
}

/// Returns at which address of ours the media of a peer arrives.
pub(crate) fn reach(context: &Context<'_>, flow: &Flow) -> IpAddr {
    let peer = flow.peer.ip();
    let fits = |ip: &IpAddr| ip.is_ipv4() == peer.is_ipv4();
    let any = || match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let all = context.shared.settings.media.address.filter(fits);
    all.or_else(|| Some(context.world.advertised(flow).ip()).filter(fits))
        .unwrap_or_else(any)
}

/// Returns the Reason of a first INVITE's refusal, where it has one. Without media ports that is 500: a 503
/// would keep a proxy from sending anything here for a while (RFC 3261 21.5.4), also what needs no ports.
pub(crate) fn why_refused(how: Ending) -> &'static str {
    match how {
        // RFC 6432, Q.850: no circuit/channel available.
        Ending::Gave(GaveUp::NoMediaPorts) => "Q.850;cause=34;text=\"No media ports are free\"",
        Ending::Gave(GaveUp::TooManyRestorations | GaveUp::NeverAcknowledged)
        | Ending::HungUp(_)
        | Ending::Cancelled
        | Ending::Failed(_)
        | Ending::Challenged(_)
        | Ending::RestoreTimeout(_)
        | Ending::Declined(_)
        | Ending::Operator
        | Ending::Joined
        | Ending::Transfer(_) => "",
    }
}

/// Where the relay has no ports that an endpoint could reach.
pub(crate) fn unreached_by_media(branch: &Branch) -> Happening {
    Happening::Refused {
        side: branch.leg.side,
        endpoint: branch.endpoint().name.clone(),
        status: 503,
        by: Refuser::Refork,
        attempt: branch.attempt(),
    }
}
