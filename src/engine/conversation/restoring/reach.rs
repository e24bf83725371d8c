//! Whom a lost participant is reached at, and the way there once its connection is closed.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Aor, ConnectionId, Flow, Side, Transport};
use crate::engine::locating::Hop;
use crate::engine::location;
use crate::engine::routing::{self, Q_DEFAULT, Target};
use crate::engine::settings::ServedBy;
use crate::sip::{Address, Uri};

impl Conversation {
    /// Returns whom a lost participant can be reached at, the lost endpoint among them.
    ///
    /// Highest q first, as of now: who has registered or left since the last round counts.
    pub(super) fn targets_again(&self, context: &Context<'_>, side: Side) -> Vec<Target> {
        let party = self.party(side);
        let Some(lost) = &party.lost else {
            return Vec::new();
        };
        let settings = &context.shared.settings;
        let mut targets = routing::endpoints(&party.aor, context.now, settings, context.world);
        targets.retain(|target| !self.is_the_survivors(side, &target.endpoint));
        let old = &lost.old;
        // The Contact of an upstream often names nobody.
        let beyond = old.is_beyond();
        if beyond && !targets.is_empty() {
            return targets;
        }
        if beyond && let Some(there) = self.target_beyond(context, side) {
            return vec![there];
        }
        // It may come back by itself. Its Contact is the far end's word too, and may be any number.
        if beyond && party.asked.is_none() {
            return Vec::new();
        }
        if !targets
            .iter()
            .any(|target| location::same(&target.endpoint.identity, &old.endpoint.identity))
        {
            // It never registered here, or no longer is: what it called or answered from is what we have, unless
            // another one is there by now.
            let endpoint = Endpoint {
                contact: old.dialog.target.clone(),
                flow: flow_again(context, old),
                ..old.endpoint.clone()
            };
            let mut known = targets.iter().map(|target| &target.endpoint);
            let displaced = known.any(|known| location::displaces(known, &endpoint));
            if !displaced && !self.is_the_survivors(side, &endpoint) {
                let q = Q_DEFAULT;
                targets.insert(0, Target { endpoint, q });
            }
        }
        targets
    }
}

impl Conversation {
    /// Returns true for the phone that the other side has, where somebody has called another phone of its own: it
    /// would ring for its own call, and hear itself.
    pub(super) fn is_the_survivors(&self, side: Side, endpoint: &Endpoint) -> bool {
        let (own, other) = (self.party(side), self.party(side.other()));
        let aside = other.lost.as_ref().map(|lost| &lost.old);
        let theirs = other.leg.as_ref().or(aside);
        own.aor == other.aor
            && theirs.is_some_and(|leg| location::same(&leg.endpoint.identity, &endpoint.identity))
    }

    /// Returns false for who came through an upstream, and is none of the users that we know there: there is
    /// nobody to be invited in its place.
    pub(crate) fn can_be_sought(&self, context: &Context<'_>, side: Side, leg: &Leg) -> bool {
        let party = self.party(side);
        let settings = &context.shared.settings;
        !leg.is_beyond()
            || party.asked.is_some()
            || !routing::endpoints(&party.aor, context.now, settings, context.world).is_empty()
    }

    /// Returns the upstream that knows a lost participant's other endpoints, asked for the participant at the best
    /// of its targets: each round draws anew among equals, and a backup is asked where the others are known to fail.
    pub(super) fn target_beyond(&self, context: &Context<'_>, side: Side) -> Option<Target> {
        let party = self.party(side);
        let round = party.lost.as_ref()?.round;
        let asked = party.asked.as_deref()?;
        let settings = &context.shared.settings;
        let there = routing::route(asked, &[], context.now, settings, context.world).ok()?;
        there.upstream.as_deref()?;
        let targets = context.choose(there, (self.id, round))?.targets;
        targets.into_iter().next()
    }
}

/// Returns the flow that a lost leg's endpoint is invited over: the one that it had, where that is open.
/// None leaves it to the name in the Contact.
fn flow_again(context: &Context<'_>, old: &Leg) -> Option<Flow> {
    let own = old.dialog.flow.connection;
    let before = Flow {
        connection: own.filter(|own| own.is_to_host()),
        ..old.dialog.flow
    };
    if let Some(flow) = standing(context, &before) {
        return Some(flow);
    }
    // A GRUU names a domain, which is ours (RFC 5627 3.2), and not where the phone is.
    let named = Uri::parse(&old.dialog.target)
        .is_ok_and(|uri| uri.host_ip().is_none() && !is_gruu_here(&uri, context));
    // Behind a NAT the port that it came from is as good as any other.
    way_anew(context, old).or_else(|| (!named).then_some(before))
}

fn is_gruu_here(uri: &Uri<'_>, context: &Context<'_>) -> bool {
    let served = location::domain(uri.host, &context.shared.settings);
    let served = served.map(|domain| &domain.served_by);
    uri.params.has("gr") && matches!(served, Some(ServedBy::Registrar(_)))
}

/// Returns how the peer of a flow can be told something as things stand: datagrams always find a way, over
/// a stream it takes an open connection.
pub(crate) fn standing(context: &Context<'_>, flow: &Flow) -> Option<Flow> {
    if !flow.transport.is_reliable() || is_to_host(flow) {
        return Some(*flow);
    }
    context.world.open_to(flow.transport, flow.peer)
}

/// Returns the other flows of a leg's phone (RFC 5626 4.3), where no proxy stands before it.
pub(crate) fn other_flows(context: &Context<'_>, aor: &Aor, leg: &Leg) -> Vec<Flow> {
    if !leg.dialog.routes.is_empty() || leg.is_beyond() {
        return Vec::new();
    }
    let known = routing::flows(aor, &leg.endpoint.identity, context.now, context.world);
    let direct = known.into_iter().filter(Endpoint::has_own_address);
    let standing = direct.filter_map(|known| standing(context, &known.flow?));
    standing
        .filter(|flow| {
            let known = flow.peer == leg.dialog.flow.peer || leg.is_also_at(flow);
            !known && context.may_take(&leg.dialog, flow)
        })
        .collect()
}

/// A connection that we open by the name of its host can be opened again.
fn is_to_host(flow: &Flow) -> bool {
    flow.connection.is_some_and(ConnectionId::is_to_host)
}

/// Returns the flow to a leg whose connection is closed: an open one that takes its place, else a new
/// one to its topmost Route or its Contact. None for what cannot be called: a WebSocket client, and a
/// phone behind a NAT, whose Contact is not where it is seen; or where a name had to be looked up.
pub(crate) fn way_anew(context: &Context<'_>, leg: &Leg) -> Option<Flow> {
    let old = leg.dialog.flow;
    if is_to_host(&old) {
        return Some(old);
    }
    let route = leg.dialog.routes.first();
    let hop = route.map_or(&*leg.dialog.target, |route| {
        Address::parse(route).map_or(route, |address| address.uri)
    });
    let mut hop = Hop::of(&Uri::parse(hop).ok()?)?;
    if !hop.secure {
        hop.transport = hop.transport.or(Some(old.transport));
    }
    let (transport, peer) = hop.numeric()?;
    let natted = route.is_none() && peer.ip() != old.peer.ip();
    if natted || matches!(transport, Transport::Ws | Transport::Wss) {
        return None;
    }
    let from = Some(old.listener);
    context.world.flow_to(transport, peer, &hop.host, from)
}
