//! Sending an INVITE to one endpoint: find the flow, have media ports, call.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Conversation;
use super::context::{Context, Errand, What};
use super::fork::{Branch, BranchState, Fork};
use super::keys::{Role, Telling};
use super::leg::Leg;
use super::media;
use super::reach::standing;
use crate::engine::dialog::Dialog;
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Flow, ListenerId, Side, Transport};
use crate::engine::ports::Output;
use crate::engine::time::Millis;
use crate::sip::{Address, Builder, Method, Name, Scheme, Uri};

/// Where a request to an endpoint goes.
pub(crate) enum Way {
    Known(Flow),
    /// A name has to be looked up first.
    Ask {
        host: Box<str>,
        port: Option<u16>,
        transport: Option<Transport>,
    },
    /// No listener speaks the transport or the family, or it is no SIP URI.
    None,
}

/// Finds the way to an endpoint: the flow it registered over, else its topmost Route or its Contact
/// (RFC 3261 8.1.2).
pub(crate) fn way(context: &Context<'_>, endpoint: &Endpoint) -> Way {
    if let Some(flow) = endpoint.flow {
        if let Some(flow) = standing(context, &flow) {
            return Way::Known(flow);
        }
        // Its connection is closed. Another can be made where no NAT lies between.
        let contact = Uri::parse(&endpoint.contact).ok();
        let here = contact.and_then(|uri| uri.host_ip()) == Some(flow.peer.ip());
        if !here || !endpoint.path.is_empty() {
            return Way::Known(flow);
        }
    }
    let first = endpoint.path.first();
    let hop = first.map_or(&*endpoint.contact, |route| {
        Address::parse(route).map_or(route, |address| address.uri)
    });
    let Ok(uri) = Uri::parse(hop) else {
        return Way::None;
    };
    let transport = match (uri.scheme, uri.transport().map(Transport::parse)) {
        (Scheme::Sip, None) => None,
        (Scheme::Sip, Some(Some(transport))) => Some(transport),
        (Scheme::Sips, _) => Some(Transport::Tls),
        (Scheme::Sip, Some(None)) | (Scheme::Tel | Scheme::Other(_), _) => return Way::None,
    };
    match uri.host_ip() {
        Some(ip) => {
            // Without a word of its own it speaks what it registered over.
            let own = endpoint.flow.map(|flow| flow.transport);
            let transport = transport.or(own).unwrap_or(Transport::Udp);
            let peer = SocketAddr::new(ip, uri.port.unwrap_or_else(|| transport.default_port()));
            context
                .world
                .flow_to(transport, peer)
                .map_or(Way::None, Way::Known)
        }
        None => Way::Ask {
            host: uri.host.into(),
            port: uri.port,
            transport,
        },
    }
}

/// Stands in a dialog whose flow is not known yet; nothing is ever sent over it.
const NOWHERE: Flow = Flow {
    transport: Transport::Udp,
    listener: ListenerId(0),
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    connection: None,
};

impl Conversation {
    /// Makes a branch to an endpoint of a side. None where there is no way to it.
    pub(super) fn make_branch(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: Endpoint,
        ring: Millis,
    ) -> Option<Branch> {
        let (flow, state) = match way(context, &endpoint) {
            Way::Known(flow) => (flow, BranchState::Ready),
            Way::Ask {
                host,
                port,
                transport,
            } => {
                let token = context.ask(self.id);
                context.shared.out.push_back(Output::Resolve {
                    token,
                    host,
                    port,
                    transport,
                });
                (NOWHERE, BranchState::Resolving(token))
            }
            Way::None => return None,
        };
        let leg = self.new_leg_id();
        let dialog = Dialog {
            call_id: context.shared.mint.call_id(),
            local_tag: context.tag((self.id, leg)),
            remote_tag: None,
            local: self.party(side.other()).address.clone(),
            remote: self.party(side).address.clone(),
            local_cseq: 0,
            remote_cseq: None,
            target: endpoint.contact.clone(),
            routes: endpoint.path.clone(),
            flow,
        };
        let session = context.shared.mint.session();
        let leg = Leg::new(leg, side, dialog, endpoint, session, context.now);
        Some(Branch::new(leg, state, context.now + ring))
    }

    /// Sends the INVITE of a branch that is ready, with an offer for it. `more` adds header fields.
    pub(super) fn call(
        &self,
        context: &mut Context<'_>,
        branch: &mut Branch,
        offer: Option<&str>,
        hops: u8,
        more: impl FnOnce(Builder) -> Builder,
    ) {
        let leg = &mut branch.leg;
        let flow = leg.dialog.flow;
        let mode = context.shared.settings.media.mode;
        let ours = context.world.advertised(&flow);
        let mut telling = Telling::new(context.shared, Role::Offer);
        telling.secure = branch.secure;
        let body = offer.and_then(|offer| {
            media::tell(
                &mut leg.talk,
                offer,
                self.ports[leg.side.index()].of(branch.generation),
                ours,
                mode,
                &mut telling,
            )
        });
        let via = context.via(self.id, &flow);
        let builder = leg
            .dialog
            .carried(&Method::Invite, &via, hops)
            .header(Name::Contact, context.contact(&flow));
        let builder = more(leg.capable(context, builder));
        let bytes = match body {
            Some(sdp) => builder.body("application/sdp", sdp.as_bytes()),
            None => builder.end(),
        };
        branch.invite = bytes.clone();
        let errand = Errand {
            conversation: self.id,
            leg: leg.id,
            what: What::Invite,
        };
        branch.state = BranchState::Calling;
        branch.client = Some(context.send(bytes, flow, errand));
    }

    /// Takes branches out of the fork and cancels them: nothing of them is left.
    pub(super) fn cancel_branches(
        &self,
        context: &mut Context<'_>,
        fork: &mut Fork,
        reason: Option<&str>,
    ) {
        for branch in fork.branches.drain(..) {
            self.drop_branch(context, branch, reason);
        }
        fork.waiting.clear();
    }

    /// Ends one branch, answered or not.
    pub(super) fn drop_branch(
        &self,
        context: &mut Context<'_>,
        mut branch: Branch,
        reason: Option<&str>,
    ) {
        context.forget_tag(&branch.leg.dialog.local_tag);
        match branch.state {
            BranchState::Resolving(token) => {
                context.shared.asked.remove(&token);
            }
            BranchState::Ready => {}
            BranchState::Calling => {
                if let Some(client) = branch.client {
                    context.cancel(client, reason);
                }
            }
            BranchState::Joining => branch.leg.bye(context, self.id, reason),
        }
    }

    /// Takes branches that ring too long out of a fork and cancels them.
    pub(super) fn rung_out(&self, context: &mut Context<'_>, fork: &mut Fork) -> Vec<Branch> {
        let now = context.now;
        let (out, stay) = fork
            .branches
            .drain(..)
            .partition(|branch| branch.state == BranchState::Calling && branch.until <= now);
        fork.branches = stay;
        let out: Vec<Branch> = out;
        for branch in &out {
            context.forget_tag(&branch.leg.dialog.local_tag);
            if let Some(client) = branch.client {
                context.cancel(client, None);
            }
        }
        out
    }

    /// Takes the answer of a look-up to the branch that asked. Returns the branch's leg where nothing
    /// was found.
    pub(super) fn resolved(
        context: &mut Context<'_>,
        fork: &mut Fork,
        token: crate::engine::ports::Token,
        addresses: &[(Transport, SocketAddr)],
    ) -> Option<Branch> {
        let at = fork
            .branches
            .iter()
            .position(|branch| branch.state == BranchState::Resolving(token))?;
        let flow = addresses
            .iter()
            .find_map(|(transport, peer)| context.world.flow_to(*transport, *peer));
        match flow {
            Some(flow) => {
                let branch = &mut fork.branches[at];
                branch.leg.dialog.flow = flow;
                branch.state = BranchState::Ready;
                None
            }
            None => {
                let branch = fork.branches.remove(at);
                context.forget_tag(&branch.leg.dialog.local_tag);
                Some(branch)
            }
        }
    }
}
