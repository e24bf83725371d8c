//! Sending an INVITE to one endpoint: find the flow, have media ports, call.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::{Branch, BranchState, Fork};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::carrying::failover::next_flow;
use crate::engine::conversation::carrying::size::{over, over_tcp};
use crate::engine::conversation::context::{Context, Errand, What};
use crate::engine::conversation::ending::parting::Bye;
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::people::asserted::{heard_of, is_told};
use crate::engine::conversation::people::presented::by_number;
use crate::engine::conversation::people::veil::ANONYMOUS;
use crate::engine::conversation::restoring::reach::standing;
use crate::engine::conversation::session::enclosed::end_enclosed;
pub(crate) use crate::engine::conversation::session::keys::{Role, Telling};
use crate::engine::conversation::session::media;
use crate::engine::dialog::onward::Known;
use crate::engine::dialog::proofs::Proofs;
use crate::engine::dialog::session_id::{SessionId, Uuid};
use crate::engine::dialog::{Dialog, Security, is_sips};
use crate::engine::endpoint::Endpoint;
use crate::engine::handover::Word;
use crate::engine::ids::{Aor, Flow, ListenerId, Side, Transport};
use crate::engine::locating::{Hop, Located};
use crate::engine::ports::{Output, Token};
use crate::engine::routing;
use crate::engine::time::{Millis, Time};
use crate::engine::upstreams::place_of;
use crate::sip::{Address, Builder, Method, Name, Uri};

/// Where a request to an endpoint goes.
pub(crate) enum Way {
    /// Where the endpoint came from.
    Known(Flow),
    /// The address that its URI names.
    Located(Flow),
    /// A name has to be located first.
    Ask(Hop),
    /// No listener speaks the transport or the family, or it is no SIP URI.
    None,
}

impl Way {
    /// Returns true where nothing can be read on it, as far as our next hop: what a `sips:` URI demands
    /// (RFC 3261 26.2.2).
    pub(crate) fn is_secure(&self, context: &Context<'_>) -> bool {
        match self {
            Self::Known(flow) | Self::Located(flow) => context.world.spoken(flow).is_secure(),
            Self::Ask(hop) => hop.is_secure(),
            Self::None => true,
        }
    }
}

/// Finds the way to an endpoint: the flow it registered over, else its topmost Route, the upstream that it is
/// asked through, or its Contact (RFC 3261 8.1.2).
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
    let Some(mut hop) = hop_of(endpoint) else {
        return Way::None;
    };
    if hop.numeric().is_some() {
        // Without a word of its own it speaks what it registered over.
        let own = endpoint.flow.map(|flow| flow.transport);
        hop.transport = hop.transport.or(own);
    }
    let Some(target) = hop.numeric() else {
        return Way::Ask(hop);
    };
    let from = listener_for(context, endpoint);
    let flow = context.world.flow_to(target.0, target.1, &hop.host, from);
    flow.map_or(Way::None, Way::Located)
}

/// Leaves of those who are asked for by this URI whom nothing leads to in the clear, where it is a `sips:` one.
/// Returns false where that leaves none of them.
pub(crate) fn in_secrecy(
    context: &Context<'_>,
    uri: &str,
    endpoints: &mut VecDeque<Endpoint>,
) -> bool {
    if !is_sips(uri) || endpoints.is_empty() {
        return true;
    }
    endpoints.retain(|endpoint| way(context, endpoint).is_secure(context));
    !endpoints.is_empty()
}

/// Returns the listener that a new flow to an endpoint begins at: where it came from before, else the one that its
/// upstream names.
pub(crate) fn listener_for(context: &Context<'_>, endpoint: &Endpoint) -> Option<ListenerId> {
    if let Some(flow) = endpoint.flow {
        return Some(flow.listener);
    }
    let through = endpoint.through.as_deref()?;
    routing::upstream_with(through, &context.shared.settings)?
        .1
        .listener
}

/// Returns the next hop toward an endpoint whose flow is not known.
pub(crate) fn hop_of(endpoint: &Endpoint) -> Option<Hop> {
    let first = endpoint.path.first();
    let last = endpoint.through.as_ref().unwrap_or(&endpoint.contact);
    let uri = first.map_or(&**last, |route| {
        Address::parse(route).map_or(route, |address| address.uri)
    });
    Hop::of(&Uri::parse(uri).ok()?)
}

/// Stands in a dialog whose flow is not known yet; nothing is ever sent over it.
const NOWHERE: Flow = Flow {
    transport: Transport::Udp,
    listener: ListenerId(0),
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    connection: None,
};

impl Conversation {
    /// Makes a branch to an endpoint of a side.
    ///
    /// # Errors
    /// There is no way to it: the status that says so.
    pub(crate) fn make_branch(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: Endpoint,
        ring: Millis,
    ) -> Result<Branch, u16> {
        let way = way(context, &endpoint);
        if self.secure && !way.is_secure(context) {
            return Err(480);
        }
        let (flow, state, located) = match way {
            Way::Known(flow) => (flow, BranchState::Ready, false),
            Way::Located(flow) => (flow, BranchState::Ready, true),
            Way::Ask(hop) => {
                let token = context.ask(self.id);
                let out = &mut context.shared.out;
                out.push_back(Output::Resolve { token, hop });
                (NOWHERE, BranchState::Resolving(token), true)
            }
            Way::None => return Err(480),
        };
        let until = context.now + ring;
        let mut branch = self.branch_over(context, side, endpoint, flow, state, until);
        branch.located = located;
        Ok(branch)
    }

    /// Makes a branch over a flow.
    pub(crate) fn branch_over(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: Endpoint,
        flow: Flow,
        state: BranchState,
        until: Time,
    ) -> Branch {
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
            session: SessionId {
                ours: self.uuid_of(side.other()),
                theirs: Uuid::default(),
            },
            known: Known::of(&endpoint, &self.party(side).asker),
            security: if self.secure {
                Security::Hops
            } else {
                Security::None
            },
            ours_alone: false,
            went: None,
            proofs: Proofs::default(),
            credentials: None,
        };
        let session = context.shared.mint.session();
        let leg = Leg::new(leg, side, dialog, endpoint, session, context.now);
        Branch::new(leg, state, until)
    }

    /// Sends the INVITE of a branch that is ready, with an offer for it; `reliable` where provisional responses
    /// may want a PRACK. `more` adds header fields, and is told whether the endpoint is trusted.
    pub(crate) fn call(
        &self,
        context: &mut Context<'_>,
        branch: &mut Branch,
        offer: Option<&str>,
        hops: u8,
        reliable: bool,
        more: impl FnOnce(Builder, bool) -> Builder,
    ) {
        let leg = &mut branch.leg;
        let flow = leg.dialog.flow;
        let party = self.party(leg.side);
        // Whom a phone forwards to is not whom the party is known as.
        let known = branch
            .meant
            .as_ref()
            .map_or(&party.asker, |meant| &meant.person.asker);
        let told = is_told(known, &flow, context);
        let caller = self.party(leg.side.other());
        leg.dialog.local = match caller.veil.hides_name() && !told {
            true => ANONYMOUS.into(),
            false => by_number(&caller.address, leg, &context.shared.settings)
                .unwrap_or_else(|| caller.address.clone()),
        };
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
        let to = branch
            .meant
            .as_ref()
            .map_or(&party.aor, |meant| &meant.person.aor);
        let via = context.via_toward(self.id, &flow, to);
        let builder = leg
            .dialog
            .carried(&Method::Invite, &via, hops)
            .header(Name::Contact, context.contact(&leg.dialog));
        let builder = builder.raw_lines(caller.veil.line(told).as_bytes());
        let asserted = caller.asserted.as_deref();
        let endpoint = &leg.endpoint;
        let builder = match heard_of(asserted, &caller.veil, endpoint, told, context) {
            Some(asserted) => {
                let number = by_number(asserted, leg, &context.shared.settings);
                builder.header(
                    Name::PAssertedIdentity,
                    number.as_deref().unwrap_or(asserted),
                )
            }
            None => builder,
        };
        let mut builder = more(leg.capable(context, builder, reliable), told);
        if let Some(trail) = &branch.trail {
            builder = builder.raw_lines(trail.line(told).as_bytes());
        }
        let bytes = end_enclosed(builder, branch.enclosed.as_ref(), body.as_deref());
        let errand = Errand {
            conversation: self.id,
            leg: branch.leg.id,
            what: What::Invite,
        };
        let bytes = context.shown(&mut branch.leg.dialog, bytes, errand);
        let (flow, bytes) = Self::sized(context, branch, flow, bytes);
        branch.invite = bytes.clone();
        branch.state = BranchState::Calling;
        branch.client = Some(context.send(bytes, flow, errand));
        branch.sent = context.now;
        let failover = context.shared.settings.fork.failover;
        let place = place_of(&branch.leg.endpoint);
        let other = branch.located && context.shared.upstreams.has_other(place, context.now);
        let hurry = other || !branch.rest.is_empty();
        branch.silent_at = hurry.then(|| context.now + failover);
    }

    /// Moves an INVITE that no datagram should carry to TCP, once.
    fn sized(
        context: &mut Context<'_>,
        branch: &mut Branch,
        flow: Flow,
        bytes: Bytes,
    ) -> (Flow, Bytes) {
        if !branch.located || branch.grown {
            return (flow, bytes);
        }
        let (endpoint, rest) = (&branch.leg.endpoint, &mut branch.rest);
        let tcp = over_tcp(context, endpoint, flow, bytes.len(), rest);
        let moved = tcp.and_then(|tcp| {
            let dialog = Dialog {
                flow: tcp,
                ..branch.leg.dialog.clone()
            };
            let contact = context.contact(&dialog);
            Some((tcp, over(context, &bytes, &tcp, &contact, None)?))
        });
        let Some((tcp, bytes)) = moved else {
            return (flow, bytes);
        };
        branch.grown = true;
        branch.leg.dialog.flow = tcp;
        (tcp, bytes)
    }

    /// Takes branches out of the fork and cancels them: nothing of them is left.
    pub(crate) fn cancel_branches(
        &mut self,
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
    pub(crate) fn drop_branch(
        &mut self,
        context: &mut Context<'_>,
        branch: Branch,
        reason: Option<&str>,
    ) {
        context.forget_tag(&branch.leg.dialog.local_tag);
        match branch.state {
            BranchState::Resolving(token) => {
                context.shared.asked.remove(&token);
            }
            BranchState::Ready => {
                if let Some(giver) = branch.giver {
                    context.tell(self.id, giver, Word::Decline);
                }
            }
            BranchState::Calling => {
                if let Some(giver) = branch.giver {
                    context.tell(self.id, giver, Word::Decline);
                }
                self.take_back(context, &branch, reason);
                self.may_be_answered_yet(context, branch, false);
            }
            BranchState::Joining => match branch.asks {
                // The dialog that it names has gone on without it.
                Some(asking) => {
                    let tag = &branch.leg.dialog.local_tag;
                    context.answer(asking.server, 481, Some(tag));
                }
                // Who picks up may not have acknowledged its 2xx yet.
                None => {
                    self.has_made_room(context, branch.leg.side, branch.names);
                    let aor = self.called(&branch).clone();
                    branch.leg.part(context, self.id, aor, Bye::because(reason));
                }
            },
        }
    }

    /// Takes branches that ring too long, or whose phone is gone, out of a fork and cancels them.
    pub(crate) fn rung_out(&mut self, context: &mut Context<'_>, fork: &mut Fork) -> Vec<Branch> {
        let now = context.now;
        let (out, stay) = fork.branches.drain(..).partition(|branch| {
            branch.state == BranchState::Calling && branch.rings_until() <= now
        });
        fork.branches = stay;
        let out: Vec<Branch> = out;
        for branch in &out {
            if let Some(giver) = branch.giver {
                context.tell(self.id, giver, Word::Decline);
            }
            self.give_up(context, branch.clone());
        }
        out
    }

    /// Takes an INVITE back that nobody has answered. Its phone may sleep, and take the call as it wakes.
    pub(crate) fn give_up(&mut self, context: &mut Context<'_>, branch: Branch) {
        context.forget_tag(&branch.leg.dialog.local_tag);
        self.take_back(context, &branch, None);
        self.may_be_answered_yet(context, branch, true);
    }

    /// Returns whose phone a branch leads to.
    pub(crate) fn called<'a>(&'a self, branch: &'a Branch) -> &'a Aor {
        let picker = branch.picker.as_deref();
        let meant = branch.meant.as_deref().map(|meant| &meant.person);
        let person = picker.or(meant);
        person.map_or_else(|| &self.party(branch.leg.side).aor, |person| &person.aor)
    }

    /// Cancels the INVITE of a branch: where it went (RFC 3261 9.1) or its last answer came from, or over the flow
    /// by which the phone is reached now, where its own is closed or was given up for another.
    pub(crate) fn take_back(
        &self,
        context: &mut Context<'_>,
        branch: &Branch,
        reason: Option<&str>,
    ) {
        let Some(client) = branch.client else { return };
        let flow = branch.leg.dialog.flow;
        let last = context.shared.transactions.goes_over(client);
        let elsewhere = |last: &Flow| last.connection.is_some() && last.peer != flow.peer;
        if let Some(last) = last.filter(elsewhere)
            && context.world.is_open(&last)
        {
            return context.cancel(client, reason);
        }
        let aor = self.called(branch);
        let identity = &branch.leg.endpoint.identity;
        let known = routing::flows(aor, identity, context.now, context.world);
        let known = || known.iter().filter_map(|endpoint| endpoint.flow);
        let has_moved = known().all(|own| own != flow);
        if !context.world.is_open(&flow) || has_moved {
            // By its Via it is an answer to the same INVITE over any flow of that transport.
            let open = |own: &Flow| own.transport == flow.transport && context.world.is_open(own);
            if let Some(now) = known().find(open) {
                context.shared.transactions.moved(client, now);
            }
        }
        context.cancel(client, reason);
    }

    /// Takes what was located to the branch that asked. Returns what becomes of the branch where there is
    /// no target that can be asked now: it is gone, with this status.
    pub(crate) fn resolved(
        context: &mut Context<'_>,
        fork: &mut Fork,
        token: Token,
        targets: &[Located],
    ) -> Option<u16> {
        let at = fork
            .branches
            .iter()
            .position(|branch| branch.state == BranchState::Resolving(token))?;
        let mut rest = context.shared.shunned.order(targets, context.now);
        // All that asked to be left alone give way to who has its turn after them, but not to nobody.
        let away =
            !fork.waiting.is_empty() && context.shared.shunned.all_away(targets, context.now);
        if away {
            rest.clear();
        }
        match next_flow(context, &fork.branches[at].leg.endpoint, &mut rest) {
            Some(flow) => {
                let branch = &mut fork.branches[at];
                branch.leg.dialog.flow = flow;
                branch.rest = rest;
                branch.state = BranchState::Ready;
                None
            }
            None => {
                let branch = fork.branches.remove(at);
                context.forget_tag(&branch.leg.dialog.local_tag);
                Some(if away { 503 } else { 480 })
            }
        }
    }
}
