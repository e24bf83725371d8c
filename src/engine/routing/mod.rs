//! Where a request goes: (request, bindings, rules) to targets.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::asker::Asker;
use crate::engine::endpoint::{Binding, Endpoint, Identity};
use crate::engine::ids::Aor;
use crate::engine::location::{
    Meant, aor_in, canonical, domain, is_known, meant, revealed, same, same_uri,
};
use crate::engine::ports::World;
use crate::engine::refusal::Refusal;
use crate::engine::settings::{
    Auth, Emergency, ForkOrder, RouteFork, ServedBy, Settings, StaticEndpoint, Upstream,
};
use crate::engine::time::Time;
use crate::sip::{Scheme, Uri};

mod dialled;
#[cfg(test)]
mod tests;

pub(crate) use self::dialled::{By, dialled};

pub(crate) const SCHEME_NOT_CARRIED: Refusal = Refusal::new(416, "scheme that is not carried");
/// RFC 3261 8.1.3.5: the phone may dial the number instead.
pub(crate) const NO_SERVICE: Refusal = Refusal::new(416, "no route leads to the service");

/// Quality of what names none, in thousandths (RFC 3261 20.10).
pub(crate) const Q_DEFAULT: u16 = 1000;

/// One endpoint to invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub endpoint: Endpoint,
    /// Preference in thousandths.
    pub q: u16,
}

/// Who is meant, and by what they can be invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub aor: Aor,
    /// The URI that leads there.
    pub uri: Box<str>,
    /// Highest q first; never empty.
    pub targets: Vec<Target>,
    /// How they are to be tried: as configured, but an upstream's targets, which are alternatives to
    /// each other, one after another.
    pub order: ForkOrder,
    /// The targets are this upstream's, which knows the user's endpoints; we don't.
    pub upstream: Option<Box<str>>,
    /// This upstream asks, for a phone that is kept here for it.
    pub asked_by: Option<Box<str>>,
    /// What the route that leads there has otherwise.
    pub fork: RouteFork,
    /// It is for calls for help.
    pub emergency: Option<Emergency>,
}

impl Destination {
    /// Leaves out the phone that calls, where others of the same person are there: it would ring for its own call.
    pub(crate) fn leave_out(&mut self, caller: &Aor, calling: &Identity) {
        let is_other = |target: &Target| !same(&target.endpoint.identity, calling);
        if self.aor == *caller && self.targets.iter().any(is_other) {
            self.targets.retain(is_other);
        }
    }

    /// Returns what is known of whoever takes the call there.
    pub fn asker(&self, settings: &Settings) -> Asker {
        if let Some(name) = &self.upstream {
            let trusted = settings.upstreams.get(name).is_some_and(|u| u.trusted);
            return if trusted {
                Asker::Trusted
            } else {
                Asker::Of(name.clone())
            };
        }
        let aor = self.aor.clone();
        match domain(aor.host(), settings).map(|domain| &domain.served_by) {
            Some(ServedBy::Registrar(registrar)) if registrar.auth == Auth::None => {
                Asker::Unasked(aor)
            }
            Some(ServedBy::Registrar(_) | ServedBy::Upstream(_)) | None => Asker::Proven(aor),
        }
    }
}

/// Finds where a request with this Request-URI goes (RFC 3261 16.5), which `dialled` has made a SIP URI, but for that
/// of a service (RFC 5031), which routes alone lead to. It comes by these upstreams, to which it does not go back: as a new call it would go round for ever, at our expense.
///
/// 1. The one endpoint that a GRUU of a domain of ours means (RFC 5627 6.1), else endpoints of the AOR: live
///    bindings and static endpoints, the latter for any host. Of a domain that an upstream serves the latter
///    alone: its bindings are the upstream's to fork to.
/// 2. A domain that an upstream serves: the upstream, by the Request-URI as it is, which credentials for the
///    upstream were computed over (RFC 7616 3.4.3).
/// 3. A user of a domain of ours with no endpoint now.
/// 4. The first route whose pattern matches, also for numbers dialled at a domain of ours, as it says, and that leads
///    elsewhere than back.
///
/// # Errors
/// 400 no URI; 416 a scheme that is not carried; 480 a user with no endpoint now (RFC 3261 21.4.18);
/// 404 nobody; 482 an upstream asks for a user of its own; 500 an upstream that the configuration does not have.
pub fn route(
    uri: &str,
    came_by: &[Box<str>],
    now: Time,
    settings: &Settings,
    world: &dyn World,
) -> Result<Destination, Refusal> {
    let parsed = Uri::parse(uri).map_err(|_| Refusal::new(400, "the Request-URI is no URI"))?;
    let (Some(named), Some(aor)) = (canonical(uri), aor_in(uri, settings)) else {
        return Err(match parsed.scheme {
            Scheme::Other(_) => SCHEME_NOT_CARRIED,
            Scheme::Sip | Scheme::Sips | Scheme::Tel => {
                Refusal::new(404, "the Request-URI names no user")
            }
        });
    };
    let served_by = domain(named.host(), settings).map(|domain| &domain.served_by);
    let (aor, device) = match served_by {
        Some(ServedBy::Registrar(_)) => whom(&parsed, aor, now, world)?,
        Some(ServedBy::Upstream(_)) | None => (aor, None),
    };
    let mut targets = match served_by {
        Some(ServedBy::Upstream(_)) => with_fixed(Vec::new(), &aor, settings),
        Some(ServedBy::Registrar(_)) | None => endpoints(&aor, now, settings, world),
    };
    if let Some(device) = device {
        targets.retain(|target| target.endpoint.identity == device);
        if targets.is_empty() && was_known(&aor, settings, world) {
            return Err(Refusal::new(480, "the device is not registered"));
        }
        if targets.is_empty() {
            return Err(Refusal::new(404, "no user of ours by that GRUU"));
        }
    }
    if !targets.is_empty() {
        let order = settings.fork.order;
        return Ok(Destination {
            aor,
            uri: uri.into(),
            targets,
            order,
            upstream: None,
            asked_by: None,
            fork: RouteFork::default(),
            emergency: None,
        });
    }
    match served_by {
        Some(ServedBy::Upstream(upstream)) if came_by.contains(upstream) => {
            return Err(Refusal::new(482, "an upstream asks for a user of its own"));
        }
        Some(ServedBy::Upstream(upstream)) => {
            return to_upstream(upstream, aor, uri, settings, |_| Some(uri.into()));
        }
        Some(ServedBy::Registrar(_)) if was_known(&aor, settings, world) => {
            return Err(Refusal::new(480, "no endpoint of the user is registered"));
        }
        Some(ServedBy::Registrar(_)) | None => {}
    }
    let route = settings
        .routes
        .iter()
        .find(|route| matches(&route.pattern, named.as_str()) && !came_by.contains(&route.to));
    match route {
        Some(route) => {
            let there = to_upstream(&route.to, named, uri, settings, |at| {
                if is_service(&parsed) {
                    // RFC 6881 9.2 (ED-62): it goes on as it is, whoever the next hop is.
                    return Some(uri.into());
                }
                readdressed(at, &parsed)
            })?;
            Ok(Destination {
                fork: route.fork,
                emergency: route.emergency,
                ..there
            })
        }
        None if is_service(&parsed) => Err(NO_SERVICE),
        None => Err(Refusal::new(404, "nobody here by that name")),
    }
}

/// Returns who is meant by a URI of a domain of ours, and the one device of theirs where it is a GRUU. A temporary
/// one that holds no more is nobody's (RFC 5627 6.1).
fn whom(
    uri: &Uri<'_>,
    aor: Aor,
    now: Time,
    world: &dyn World,
) -> Result<(Aor, Option<Arc<Identity>>), Refusal> {
    let revealed = match meant(uri) {
        Meant::Any => return Ok((aor, None)),
        Meant::Instance(instance) => Some((aor, Arc::new(Identity::Instance(instance)))),
        Meant::Temporary => revealed(uri, now, world),
        Meant::Nobody => None,
    };
    let (aor, device) = revealed.ok_or(Refusal::new(404, "no device of ours by that GRUU"))?;
    Ok((aor, Some(device)))
}

/// Bindings that have expired but were not swept yet show that there is such a user.
fn was_known(aor: &Aor, settings: &Settings, world: &dyn World) -> bool {
    is_known(aor, settings) || !world.bindings(aor).is_empty()
}

/// Returns what can be invited for a participant now: live bindings, then static endpoints that are not
/// among them, highest q first.
///
/// Of several flows of one instance only one is among them: of those that are open the latest (RFC 5626 7);
/// `flows` has the others.
pub fn endpoints(aor: &Aor, now: Time, settings: &Settings, world: &dyn World) -> Vec<Target> {
    let mut live: Vec<Binding> = Vec::new();
    for binding in world.bindings(aor) {
        if binding.expires <= now {
            continue;
        }
        let other_flow = live.iter_mut().find(|known| is_other_flow(known, &binding));
        match other_flow {
            Some(known) => {
                let rank = |one: &Binding| (is_open(one, world), one.registered);
                if rank(known) < rank(&binding) {
                    *known = binding;
                }
            }
            None => live.push(binding),
        }
    }
    let targets = live
        .into_iter()
        .map(|binding| Target {
            endpoint: binding.endpoint,
            q: binding.q,
        })
        .collect();
    with_fixed(targets, aor, settings)
}

fn with_fixed(mut targets: Vec<Target>, aor: &Aor, settings: &Settings) -> Vec<Target> {
    for fixed in settings.endpoints.iter().filter(|fixed| fixed.aor == *aor) {
        let known = targets
            .iter()
            .any(|target| same_uri(&target.endpoint.contact, &fixed.contact));
        if !known {
            targets.push(Target {
                endpoint: fixed_endpoint(fixed),
                q: Q_DEFAULT,
            });
        }
    }
    targets.sort_by_key(|target| Reverse(target.q));
    targets
}

/// Returns false for a binding whose connection is closed.
fn is_open(binding: &Binding, world: &dyn World) -> bool {
    let flow = binding.endpoint.flow;
    flow.is_none_or(|flow| world.is_open(&flow))
}

fn is_other_flow(a: &Binding, b: &Binding) -> bool {
    matches!(*a.endpoint.identity, Identity::Instance(_))
        && a.endpoint.identity == b.endpoint.identity
}

/// Returns every way to one endpoint of a participant, the latest registered first.
pub fn flows(aor: &Aor, identity: &Identity, now: Time, world: &dyn World) -> Vec<Endpoint> {
    let mut bindings = world.bindings(aor);
    bindings.retain(|b| b.expires > now && same(&b.endpoint.identity, identity));
    bindings.sort_by_key(|binding| Reverse(binding.registered));
    bindings.into_iter().map(|b| b.endpoint).collect()
}

/// Cuts targets, highest q first, into groups that are invited one after another.
pub fn groups(targets: Vec<Target>, order: ForkOrder) -> Vec<Vec<Target>> {
    let mut groups: Vec<Vec<Target>> = Vec::new();
    for target in targets {
        let joins = |group: &&mut Vec<Target>| match order {
            ForkOrder::Parallel => true,
            ForkOrder::Q => group.last().is_some_and(|last| last.q == target.q),
            ForkOrder::Serial => false,
        };
        match groups.last_mut().filter(joins) {
            Some(group) => group.push(target),
            None => groups.push(vec![target]),
        }
    }
    groups
}

fn fixed_endpoint(fixed: &StaticEndpoint) -> Endpoint {
    let uri = Uri::parse(&fixed.contact).ok();
    let host = uri.map_or(&*fixed.contact, |uri| uri.host);
    Endpoint {
        identity: Arc::new(Identity::Contact {
            user: uri.map_or_else(Box::default, |uri| uri.user_unescaped().into()),
            host: host.to_ascii_lowercase().into(),
            user_agent: Box::default(),
            behind: None,
        }),
        contact: fixed.contact.clone(),
        flow: None,
        path: Vec::new(),
        through: None,
        name: fixed.name.clone().unwrap_or_else(|| host.into()),
    }
}

fn to_upstream(
    name: &str,
    aor: Aor,
    uri: &str,
    settings: &Settings,
    contact: impl Fn(&Uri<'_>) -> Option<String>,
) -> Result<Destination, Refusal> {
    let targets = hops(name, settings)
        .filter_map(|target| {
            let at = Uri::parse(target).ok()?;
            let endpoint = upstream_endpoint(target, &at, aor.user(), contact(&at)?);
            Some(Target {
                endpoint,
                q: Q_DEFAULT,
            })
        })
        .collect::<Vec<Target>>();
    if targets.is_empty() {
        return Err(Refusal::new(500, "the upstream has no targets"));
    }
    Ok(Destination {
        aor,
        uri: uri.into(),
        targets,
        order: ForkOrder::Serial,
        upstream: Some(name.into()),
        asked_by: None,
        fork: RouteFork::default(),
        emergency: None,
    })
}

/// Returns the targets of an upstream that requests can be sent to, in their order.
pub(crate) fn hops<'s>(name: &str, settings: &'s Settings) -> impl Iterator<Item = &'s str> {
    let targets = settings.upstreams.get(name).map_or(&[][..], |u| &u.targets);
    targets.iter().map(|target| &*target.uri).filter(|target| {
        Uri::parse(target).is_ok_and(|uri| match uri.scheme {
            Scheme::Sip | Scheme::Sips => true,
            Scheme::Tel | Scheme::Other(_) => false,
        })
    })
}

/// Returns the upstream that a hop is a target of, and its name.
pub(crate) fn upstream_with<'s>(
    hop: &str,
    settings: &'s Settings,
) -> Option<(&'s str, &'s Upstream)> {
    let mut known = settings.upstreams.iter();
    let found = known.find(|(name, _)| hops(name, settings).any(|known| known == hop));
    found.map(|(name, upstream)| (&**name, upstream))
}

/// An upstream, asked for a user by this Request-URI.
pub(crate) fn upstream_endpoint(
    target: &str,
    at: &Uri<'_>,
    user: &str,
    contact: String,
) -> Endpoint {
    Endpoint {
        identity: Arc::new(Identity::Contact {
            user: user.into(),
            host: at.host.to_ascii_lowercase().into(),
            user_agent: Box::default(),
            behind: None,
        }),
        contact: contact.into(),
        flow: None,
        path: Vec::new(),
        name: at.host.into(),
        through: Some(target.into()),
    }
}

/// Returns true for the URI of a service (RFC 5031) that has an address of record.
fn is_service(uri: &Uri<'_>) -> bool {
    matches!(uri.scheme, Scheme::Other(_))
}

/// Writes the user that was asked for, at the upstream's address.
fn readdressed(at: &Uri<'_>, uri: &Uri<'_>) -> Option<String> {
    let user = uri.user?;
    let scheme = match at.scheme {
        // RFC 5630 5.3: what was asked for by sips is asked for so further on.
        Scheme::Sip if uri.scheme == Scheme::Sips => "sips",
        Scheme::Sip => "sip",
        Scheme::Sips => "sips",
        Scheme::Tel | Scheme::Other(_) => return None,
    };
    let mut contact = format!("{scheme}:{user}@");
    if at.host.contains(':') {
        contact.extend(["[", at.host, "]"]);
    } else {
        contact.push_str(at.host);
    }
    if let Some(port) = at.port {
        contact.push_str(&format!(":{port}"));
    }
    for param in at
        .params
        .as_str()
        .split(';')
        .filter(|param| !param.is_empty())
    {
        // RFC 3261 26.2.2: `sips` says TLS already.
        if scheme == "sip" || !param.eq_ignore_ascii_case("transport=tls") {
            contact.extend([";", param]);
        }
    }
    // RFC 3261 19.1.6: a number stays marked as one.
    let phone = uri.params.value("user");
    let phone = phone.is_some_and(|user| user.eq_ignore_ascii_case("phone"));
    if (phone || uri.scheme == Scheme::Tel) && !at.params.has("user") {
        contact.push_str(";user=phone");
    }
    Some(contact)
}

/// Holds a pattern against text; `*` matches any run of characters, case does not count.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on from when the last `*` must take one more character.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if byte.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
