//! Who sends a request that begins something, where its From does not tell (RFC 3323 4.1.1.3).

use super::aor::domain;
use super::bindings::is_over;
use super::same_uri;
use super::temporary::whose;
use crate::engine::asker::Asker;
use crate::engine::endpoint::Binding;
use crate::engine::ids::{Aor, Flow};
use crate::engine::ports::World;
use crate::engine::settings::{Domain, ServedBy, Settings};
use crate::engine::time::Time;
use crate::sip::{Address, Message, Name, Scheme, Uri};

/// Returns true for a URI of a From that names somebody, or a host.
pub(crate) fn is_named(uri: &Uri<'_>) -> bool {
    matches!(uri.scheme, Scheme::Sip | Scheme::Sips)
        && !uri.host.eq_ignore_ascii_case("anonymous.invalid")
}

/// Returns true where the From says of nobody that the request is theirs.
pub(crate) fn is_anonymous(request: &Message) -> bool {
    let from = request.from().uri_parsed();
    !from.is_ok_and(|uri| is_named(&uri))
}

/// Who has registered over the flow of a request.
struct Bound<'s> {
    aor: Aor,
    domain: &'s Domain,
    /// Under the very Contact that the request names.
    named: bool,
}

/// Returns those who have registered over the flow of a request: who did by a proxy shares that flow with strangers,
/// and counts only under the Contact that the request names.
fn bound<'s>(
    request: &Message,
    flow: &Flow,
    now: Time,
    settings: &'s Settings,
    world: &dyn World,
) -> Vec<Bound<'s>> {
    let contact = request.values(Name::Contact).next();
    let contact = contact.and_then(|contact| Address::parse(contact).ok());
    let bound = world.bound_over(flow).into_iter();
    let bound = bound.filter_map(|aor| {
        let domain = domain(aor.host(), settings)?;
        let mut bindings = world.bindings(&aor);
        bindings.retain(|binding| binding.expires > now && is_over(binding, flow));
        let names = |binding: &Binding| {
            let contact = contact.as_ref();
            contact.is_some_and(|contact| same_uri(&binding.endpoint.contact, contact.uri))
        };
        let named = bindings.iter().any(names);
        let alone = |binding: &Binding| binding.endpoint.path.is_empty();
        (named || bindings.iter().any(alone)).then_some(Bound { aor, domain, named })
    });
    bound.collect()
}

/// Returns whom the sender of a request is asked to prove to be by its flow: who has registered over it, of several
/// whose Contact it names, else one of the domain that it is for.
pub(crate) fn over_flow<'s>(
    request: &Message,
    flow: &Flow,
    now: Time,
    settings: &'s Settings,
    world: &dyn World,
) -> Option<(Aor, &'s Domain)> {
    let asked = Uri::parse(request.uri()).ok();
    let asked = asked.and_then(|uri| domain(uri.host, settings));
    let mut bound = bound(request, flow, now, settings, world);
    let named = bound.iter().position(|one| one.named);
    let meant = || bound.iter().position(|one| asked == Some(one.domain));
    let at = named.or_else(meant).unwrap_or(0);
    let one = (at < bound.len()).then(|| bound.swap_remove(at))?;
    Some((one.aor, one.domain))
}

/// Returns who it is for certain: nobody else has registered over the flow, or nobody else under its Contact.
fn alone_over_flow(
    request: &Message,
    flow: &Flow,
    now: Time,
    settings: &Settings,
    world: &dyn World,
) -> Option<(Aor, ServedBy)> {
    let mut bound = bound(request, flow, now, settings, world);
    if bound.len() > 1 {
        bound.retain(|one| one.named);
    }
    let [one] = &bound[..] else { return None };
    Some((one.aor.clone(), one.domain.served_by.clone()))
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
    let own = match asker {
        Asker::Proven(user) => return Some(user.clone()),
        Asker::Of(upstream) if is_anonymous(request) => {
            let served = ServedBy::Upstream(upstream.clone());
            let bound = alone_over_flow(request, flow, now, settings, world);
            bound.filter(|(_, by)| *by == served)
        }
        Asker::Of(_) | Asker::Unasked(_) | Asker::Trusted | Asker::Says(_) | Asker::Stranger => {
            None
        }
    };
    let own = own.map(|(aor, _)| aor);
    own.or_else(|| whose(request.from().uri, now, settings, world))
}
