//! A caller whose connection closes before anybody has answered. It may come back: by another flow of its own
//! (RFC 5626 4.3), by a registration or a request over a new connection, or by one of ours that it takes. The phones
//! ring on for `detect.grace`; then it is gone.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::restoring::reach::{standing, way_anew};
use crate::engine::dialog::Dialog;
use crate::engine::dialog::onward::Known;
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Happening, Signal};
use crate::engine::ids::{Flow, Side, Transport};
use crate::engine::location;
use crate::engine::routing;
use crate::engine::time::Time;

/// A caller that is waited for.
#[derive(Debug)]
pub(crate) struct Adrift {
    /// What has closed.
    flow: Flow,
    pub(crate) until: Time,
}

/// Returns true for a server that is where it says: what it is to be told goes over a new connection to there
/// (RFC 3261 18.2.2), and none that closed is a sign of anything.
fn listens(caller: &Dialog) -> bool {
    let opens = match caller.flow.transport {
        Transport::Tcp | Transport::Tls => true,
        Transport::Udp | Transport::Ws | Transport::Wss => false,
    };
    opens && caller.known == Known::Peer
}

impl Conversation {
    /// The caller's connection is closed.
    pub(crate) fn caller_adrift(&mut self, context: &mut Context<'_>, flow: Flow) {
        if self.invitation.as_ref().is_none_or(|i| i.adrift.is_some()) {
            return;
        }
        let leg = self.party(Side::Caller).leg.as_ref();
        if leg.is_some_and(|leg| listens(&leg.dialog)) {
            return;
        }
        let (side, signal) = (Side::Caller, Signal::Transport);
        let suspected = Happening::Suspected {
            side,
            signal,
            endpoint: self.endpoint_of(side),
        };
        self.note(context, suspected);
        let until = context.now + context.shared.settings.detect.grace;
        if let Some(invitation) = &mut self.invitation {
            invitation.adrift = Some(Adrift { flow, until });
        }
        let party = self.party(Side::Caller);
        let Some(identity) = party.leg.as_ref().map(|leg| &leg.endpoint.identity) else {
            return;
        };
        let known = routing::flows(&party.aor, identity, context.now, context.world);
        let open = known.into_iter().find_map(|endpoint| {
            let other = endpoint.flow.filter(|known| *known != flow)?;
            standing(context, &other)
        });
        if let Some(open) = open {
            self.caller_back(context, open);
        }
    }

    /// Somebody registered: it may be the caller that is waited for.
    pub(crate) fn caller_registered(&mut self, context: &mut Context<'_>, endpoint: &Endpoint) {
        let waits = self.invitation.as_ref().is_some_and(|i| i.adrift.is_some());
        let Some(flow) = endpoint.flow.filter(|_| waits) else {
            return;
        };
        let leg = self.party(Side::Caller).leg.as_ref();
        if leg.is_some_and(|leg| location::same(&leg.endpoint.identity, &endpoint.identity)) {
            self.caller_back(context, flow);
        }
    }

    /// The caller is heard over another flow: what it is to be told goes there.
    pub(crate) fn caller_back(&mut self, context: &mut Context<'_>, flow: Flow) {
        let Some(invitation) = self.invitation.as_deref_mut() else {
            return;
        };
        let elsewhere = |adrift: &mut Adrift| adrift.flow != flow;
        if invitation.adrift.take_if(elsewhere).is_none() {
            return;
        }
        for early in &mut invitation.early {
            early.dialog.flow = flow;
        }
        context.redirect(invitation.server, flow);
        if let Some(leg) = self.leg_mut(Side::Caller) {
            leg.dialog.flow = flow;
        }
        let side = Side::Caller;
        let endpoint = self.endpoint_of(side);
        self.note(context, Happening::Alive { side, endpoint });
    }

    /// The time for the caller to come back is over.
    pub(crate) fn adrift_due(&mut self, context: &mut Context<'_>) {
        let Some(invitation) = &self.invitation else {
            return;
        };
        let due = |adrift: &Adrift| adrift.until <= context.now;
        if invitation.adrift.as_ref().is_some_and(due)
            && !self.caller_asks_again(context)
            && !self.caller_is_reached(context)
        {
            self.caller_gone(context);
        }
    }

    /// Returns true where the caller has taken a connection of ours, by which it has heard of phones that ring since
    /// (RFC 3261 18.2.2).
    fn caller_is_reached(&mut self, context: &mut Context<'_>) -> bool {
        let leg = self.party(Side::Caller).leg.as_ref();
        let there = leg.and_then(|leg| way_anew(context, leg));
        let there = there.filter(|flow| flow.transport.is_reliable());
        let open = there.and_then(|flow| context.world.open_to(flow.transport, flow.peer));
        let Some(open) = open else {
            return false;
        };
        self.caller_back(context, open);
        self.invitation.as_ref().is_some_and(|i| i.adrift.is_none())
    }

    /// Returns true where the caller has sent its INVITE again over another connection.
    pub(super) fn caller_asks_again(&mut self, context: &mut Context<'_>) -> bool {
        let Some(invitation) = self.invitation.as_ref().filter(|i| i.adrift.is_some()) else {
            return false;
        };
        let request = context.shared.transactions.request_of(invitation.server);
        let Some(flow) = request.map(|(_, flow)| flow) else {
            return false;
        };
        self.caller_back(context, flow);
        self.invitation.as_ref().is_some_and(|i| i.adrift.is_none())
    }
}
