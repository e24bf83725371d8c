//! Requests within a dialog: from where they may come.
//!
//! Call-ID and tags are known to whoever has seen one message of the dialog. So a request that comes from
//! elsewhere than the dialog's messages came from must prove that it is of the same user: a phone that has
//! moved answers the 407 with its password. Who has none here (a phone of another domain, a fixed endpoint,
//! an upstream behind several addresses) may speak and may leave, but moves nothing: not the session, not
//! the call, not the address that our requests go to.

use std::net::IpAddr;

use super::Engine;
use crate::engine::asker::Asker;
use crate::engine::conversation::Partner;
use crate::engine::dialog::Dialog;
use crate::engine::events::Unproven;
use crate::engine::ids::{Aor, ConversationId, Flow, LegId};
use crate::engine::location;
use crate::engine::ports::World;
use crate::engine::settings::{Auth, ServedBy, Settings};
use crate::engine::time::Time;
use crate::engine::transaction::ServerId;
use crate::sip::{Address, Message, Method};

/// What a request within a dialog may do, by where it comes from.
pub(in crate::engine) enum Place {
    /// It comes from where the dialog is, or has proven who it is.
    Same,
    /// Our requests go on to where the dialog was.
    Elsewhere(Flow),
    /// It must prove to be of this user.
    Asked(Aor),
    NotFound,
}

impl Engine {
    /// Lets a request into its dialog, or answers it. Returns the flow that the dialog has from now on.
    pub(in crate::engine) fn admit_within(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        bound: (ConversationId, LegId),
        now: Time,
        world: &mut dyn World,
    ) -> Option<Flow> {
        let place = self.place(request, flow, bound, now, world);
        self.admitted(server, request, flow, place, now, world)
    }

    /// The same, where its place is known.
    pub(in crate::engine) fn admitted(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        place: Place,
        now: Time,
        world: &mut dyn World,
    ) -> Option<Flow> {
        match place {
            // What is not of the dialog is told so by the dialog.
            Place::Same | Place::NotFound => Some(flow),
            Place::Elsewhere(before) if moves_nothing(request.method()) => Some(before),
            Place::Elsewhere(_) => {
                let why = "another address than the dialog's, and no credentials to ask for";
                self.shared.context(now, world).refuse(server, 403, why);
                None
            }
            Place::Asked(aor) => {
                let settings = &self.shared.settings;
                let domain = location::domain(aor.host(), settings)?;
                let authenticator = self.registrar.authenticator();
                match authenticator.authenticate(
                    request,
                    &aor,
                    domain,
                    settings,
                    flow.peer.ip(),
                    now,
                    true,
                    world,
                ) {
                    Ok(user) if user == aor => Some(flow),
                    Ok(_) => {
                        self.unproven(request, flow, &aor, Unproven::Other, false);
                        let why = "within the dialog of somebody else";
                        self.shared.context(now, world).refuse(server, 403, why);
                        None
                    }
                    Err(challenge) => {
                        self.ask(server, request, flow, &aor, &challenge, now, world);
                        None
                    }
                }
            }
        }
    }

    /// Returns true where a message that cannot be challenged comes from where its dialog is.
    pub(in crate::engine) fn is_from_the_dialog(
        &self,
        request: &Message,
        flow: Flow,
        bound: (ConversationId, LegId),
        now: Time,
        world: &dyn World,
    ) -> bool {
        matches!(
            self.place(request, flow, bound, now, world),
            Place::Same | Place::NotFound
        )
    }

    fn place(
        &self,
        request: &Message,
        flow: Flow,
        (id, leg): (ConversationId, LegId),
        now: Time,
        world: &dyn World,
    ) -> Place {
        let conversation = self.conversations.get(&id);
        let Some(partner) = conversation.and_then(|conversation| conversation.partner(leg)) else {
            return Place::NotFound;
        };
        let Partner { dialog, asker } = partner;
        self.place_in(dialog, asker, request, flow, now, world)
    }

    /// Returns what a request may do within a dialog with somebody.
    pub(in crate::engine) fn place_in(
        &self,
        dialog: &Dialog,
        asker: &Asker,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &dyn World,
    ) -> Place {
        let settings = &self.shared.settings;
        if !dialog.owns(request) {
            return Place::NotFound;
        }
        if is_near(&dialog.flow, &flow)
            || dialog.went.is_some_and(|went| is_near(&went, &flow))
            || is_named(dialog, flow.peer.ip())
            || self.shared.peers.trusts(&flow, settings, world)
        {
            return Place::Same;
        }
        match asker {
            Asker::Unasked(_) => Place::Same,
            Asker::Proven(aor) if is_registered(aor, &flow, now, world) => Place::Same,
            Asker::Proven(aor) if has_secret(aor, settings) => Place::Asked(aor.clone()),
            Asker::Proven(_) | Asker::Trusted | Asker::Of(_) | Asker::Says(_) | Asker::Stranger => {
                Place::Elsewhere(dialog.flow)
            }
        }
    }
}

/// The same connection, or the same host: a NAT may change the port of a flow at any time.
fn is_near(known: &Flow, flow: &Flow) -> bool {
    known.peer.ip().to_canonical() == flow.peer.ip().to_canonical()
        || (known.connection.is_some() && known.connection == flow.connection)
}

/// The dialog's routes or its target name the address.
fn is_named(dialog: &Dialog, source: IpAddr) -> bool {
    let source = source.to_canonical();
    let is = |uri: &str| {
        crate::sip::Uri::parse(uri)
            .ok()
            .and_then(|uri| uri.host_ip())
            .is_some_and(|ip| ip.to_canonical() == source)
    };
    let mut routes = dialog.routes.iter();
    is(&dialog.target) || routes.any(|route| Address::parse(route).is_ok_and(|route| is(route.uri)))
}

/// The user has registered from there.
fn is_registered(aor: &Aor, flow: &Flow, now: Time, world: &dyn World) -> bool {
    location::has_flow(aor, now, world, |known| is_near(known, flow))
}

fn has_secret(aor: &Aor, settings: &Settings) -> bool {
    let asks = location::domain(aor.host(), settings).is_some_and(|domain| {
        matches!(&domain.served_by, ServedBy::Registrar(registrar) if registrar.auth == Auth::Users)
    });
    asks && settings.users.contains_key(aor)
}

/// Returns true for what changes neither the session nor where the dialog's messages go.
fn moves_nothing(method: &Method) -> bool {
    match method {
        Method::Bye
        | Method::Options
        | Method::Info
        | Method::Message
        | Method::Notify
        | Method::Prack
        | Method::Ack
        | Method::Cancel => true,
        Method::Invite
        | Method::Update
        | Method::Refer
        | Method::Subscribe
        | Method::Publish
        | Method::Register
        | Method::Other(_) => false,
    }
}
