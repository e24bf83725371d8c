//! Who sends a request that begins something, where its From does not tell (RFC 3323 4.1.1.3).

use super::aor::domain;
use super::bindings::is_bound;
use super::temporary::whose;
use crate::engine::asker::Asker;
use crate::engine::ids::{Aor, Flow};
use crate::engine::ports::World;
use crate::engine::settings::{Domain, ServedBy, Settings};
use crate::engine::time::Time;
use crate::sip::{Message, Scheme, Uri};

/// Returns true for a URI of a From that names somebody, or a host.
pub(crate) fn is_named(uri: &Uri<'_>) -> bool {
    matches!(uri.scheme, Scheme::Sip | Scheme::Sips)
        && !uri.host.eq_ignore_ascii_case("anonymous.invalid")
}

/// Returns who has registered over the flow of a request: of several the one of the domain that it is for.
pub(crate) fn over_flow<'s>(
    request: &Message,
    flow: &Flow,
    now: Time,
    settings: &'s Settings,
    world: &dyn World,
) -> Option<(Aor, &'s Domain)> {
    let asked = Uri::parse(request.uri()).ok();
    let asked = asked.and_then(|uri| domain(uri.host, settings));
    let bound = world.bound_over(flow).into_iter();
    let mut bound: Vec<(Aor, &Domain)> = bound
        .filter(|aor| is_bound(aor, flow, now, world))
        .filter_map(|aor| {
            let domain = domain(aor.host(), settings)?;
            Some((aor, domain))
        })
        .collect();
    let meant = |(_, domain): &(Aor, &Domain)| asked == Some(*domain);
    let at = bound.iter().position(meant).unwrap_or(0);
    (at < bound.len()).then(|| bound.swap_remove(at))
}

/// Returns who sends a request, as far as anything shows it: who has proven it, else whom the From names, else
/// who has registered over its flow with the upstream that it is of.
pub(crate) fn sender(
    request: &Message,
    asker: &Asker,
    flow: &Flow,
    now: Time,
    settings: &Settings,
    world: &dyn World,
) -> Option<Aor> {
    let from = request.from();
    let own = match asker {
        Asker::Proven(user) => return Some(user.clone()),
        Asker::Of(upstream) if !from.uri_parsed().is_ok_and(|uri| is_named(&uri)) => {
            let served = ServedBy::Upstream(upstream.clone());
            let bound = over_flow(request, flow, now, settings, world);
            bound.filter(|(_, domain)| domain.served_by == served)
        }
        Asker::Of(_) | Asker::Unasked(_) | Asker::Trusted | Asker::Says(_) | Asker::Stranger => {
            None
        }
    };
    let own = own.map(|(aor, _)| aor);
    own.or_else(|| whose(from.uri, now, settings, world))
}
