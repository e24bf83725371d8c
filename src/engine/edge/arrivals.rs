//! Which requests are an upstream's and its phones' own business, and only carried here.

use super::Named;
use super::register::is_bulk;
use crate::engine::Engine;
use crate::engine::asker::{Asker, NOT_FOR_STRANGERS};
use crate::engine::conversation::context::joined;
use crate::engine::ids::Flow;
use crate::engine::location;
use crate::engine::ports::World;
use crate::engine::settings::{Domain, ServedBy, Settings};
use crate::engine::time::Time;
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method, Name, Uri};

impl Engine {
    /// Carries a request on where a proxy would. Returns false where it is not of that kind.
    pub(in crate::engine) fn carried_over_the_edge(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) -> bool {
        if !is_carried(request.method()) {
            return false;
        }
        let first = request.to_tag().is_none();
        // A phone's first request goes where its Request-URI says, whatever Route it was given once.
        let named = Named::by(request, now, world).filter(|named| !first || !named.is_from(&flow));
        let upstream = match &named {
            Some(_) => None,
            None if first => upstream_of(request, &self.shared.settings),
            None => return false,
        };
        if named.is_none() && upstream.is_none() {
            return false;
        }
        let mut asker = Asker::Stranger;
        if let Some(upstream) = &upstream {
            let Some(admitted) = self.admit(server, request, flow, now, world) else {
                return true;
            };
            asker = admitted;
            if !asker.may_reach(Some(upstream)) {
                let mut context = self.shared.context(now, world);
                context.turn_down(server, NOT_FOR_STRANGERS);
                return true;
            }
        }
        let mut context = self.shared.context(now, world);
        let requires = proxy_requires(request);
        if !requires.is_empty() {
            let why = "extension that is not supported";
            context.refuse_extension(server, why, &requires);
        } else if let Some(named) = &named {
            self.relays
                .named(&mut context, server, request, flow, named);
        } else if let Some(upstream) = upstream {
            self.relays
                .outward(&mut context, server, request, flow, &upstream, &asker);
        }
        true
    }

    /// Takes a REGISTER on where an upstream serves its domain. Returns false where none does.
    pub(in crate::engine) fn registered_beyond(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) -> bool {
        let Some((domain, upstream)) = registrar_beyond(request, &self.shared.settings) else {
            return false;
        };
        // RFC 3261 10.3 step 1; phones that were given an address in the domain's place are let through.
        let uri = Uri::parse(request.uri()).ok();
        let meant = uri.is_some_and(|uri| {
            let there = location::domain(uri.host, &self.shared.settings);
            uri.host_ip().is_some() || there.is_some_and(|there| there.host == domain)
        });
        let aor = location::aor_in(request.to().uri, &self.shared.settings);
        let known = self
            .shared
            .peers
            .trusts(&flow, &self.shared.settings, world)
            || aor.is_some_and(|aor| location::is_bound(&aor, &flow, now, world));
        let mut context = self.shared.context(now, world);
        if meant {
            self.relays
                .register(&mut context, server, request, flow, &upstream, known);
        } else {
            context.refuse(server, 404, "not served here");
            self.misdirected(request, flow, now, world);
        }
        true
    }
}

/// Returns what a request demands of proxies, who have nothing to offer (RFC 3261 16.3 step 5).
pub(super) fn proxy_requires(request: &Message) -> String {
    joined(request.values(Name::ProxyRequire))
}

/// Returns what a REGISTER demands of us that we do not have; for many users at once (RFC 6140) it is `gin`.
pub(super) fn register_requires(request: &Message) -> String {
    match proxy_requires(request) {
        none if none.is_empty() && is_bulk(request) => "gin".into(),
        requires => requires,
    }
}

/// RFC 6665 4.3, RFC 3515: a proxy that wants to stay on the way of what follows says so in these.
pub(super) fn begins_dialog(method: &Method) -> bool {
    matches!(method, Method::Subscribe | Method::Notify | Method::Refer)
}

/// Calls and texts are anchored; what belongs to a call goes with it.
fn is_carried(method: &Method) -> bool {
    match method {
        Method::Options
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Refer
        | Method::Info
        | Method::Other(_) => true,
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Register
        | Method::Message
        | Method::Update
        | Method::Prack => false,
    }
}

/// Returns the upstream that a phone's first request is for.
fn upstream_of(request: &Message, settings: &Settings) -> Option<Box<str>> {
    let uri = Uri::parse(request.uri()).ok()?;
    let meant = match request.method() {
        // Without a user it asks whether we are there.
        Method::Options => uri.user.is_some(),
        Method::Subscribe
        | Method::Publish
        | Method::Refer
        | Method::Notify
        | Method::Info
        | Method::Other(_) => true,
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Register
        | Method::Message
        | Method::Update
        | Method::Prack => false,
    };
    let domain = location::domain(uri.host, settings).filter(|_| meant)?;
    served_beyond(domain)
}

fn registrar_beyond(request: &Message, settings: &Settings) -> Option<(Box<str>, Box<str>)> {
    let to = request.to();
    let host = to.uri_parsed().ok()?.host;
    let domain = location::domain(host, settings)?;
    Some((domain.host.clone(), served_beyond(domain)?))
}

fn served_beyond(domain: &Domain) -> Option<Box<str>> {
    match &domain.served_by {
        ServedBy::Upstream(upstream) => Some(upstream.clone()),
        ServedBy::Registrar(_) => None,
    }
}
