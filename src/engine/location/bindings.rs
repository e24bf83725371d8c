//! The bindings of one AOR under a REGISTER: RFC 3261 10.3 step 7, and RFC 5626 6.
//!
//! A private address means another phone at each site (RFC 1918 3): of those that name no instance, and have the
//! same Contact, all are kept that come from behind different NATs under Call-IDs of their own. Which of them it is
//! a binding's identity says (`Identity::Contact::behind`). One that has begun anew where it was, or goes on under
//! its Call-ID from elsewhere, is the same as before.

use super::identity::{alike, same, same_uri};
use crate::engine::endpoint::{Binding, BindingChange, Identity};
use crate::engine::hidden::is_hidden;
use crate::engine::ids::{Aor, Flow};
use crate::engine::mint::peer_number;
use crate::engine::ports::World;
use crate::engine::time::Time;
use crate::sip::{Scheme, Uri};

/// What a REGISTER asks of the bindings.
#[derive(Debug)]
pub(super) enum Wish {
    /// `Contact: *` with Expires 0.
    RemoveAll,
    /// One for each Contact, in their order.
    Contacts(Vec<Wanted>),
}

impl Wish {
    /// Returns true where a `sips:` Contact is to be bound.
    pub(super) fn is_secret(&self) -> bool {
        let Self::Contacts(wanted) = self else {
            return false;
        };
        let mut bound = wanted.iter().filter(|wanted| !wanted.remove);
        bound.any(|wanted| {
            let uri = Uri::parse(&wanted.binding.endpoint.contact);
            uri.is_ok_and(|uri| uri.scheme == Scheme::Sips)
        })
    }

    /// Gives each device a new number, which `apply` takes where it has none that holds.
    pub(super) fn number(&mut self, of: impl Fn(&str) -> u64) {
        let Self::Contacts(wanted) = self else { return };
        for wanted in wanted {
            if let Identity::Instance(instance) = &*wanted.binding.endpoint.identity {
                wanted.binding.gruu = Some(of(instance));
            }
        }
    }
}

/// One Contact of a REGISTER.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) binding: Binding,
    /// It asked for zero seconds.
    pub(super) remove: bool,
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unchanged {
    /// A binding was made by a later request of the same Call-ID.
    OutOfOrder,
    TooMany,
}

/// Place of a request among those of its client.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) call_id: &'a str,
    pub(super) cseq: u32,
}

impl Order<'_> {
    /// Returns true where a binding is not older than the request (RFC 3261 10.3 step 7).
    fn is_behind(&self, binding: &Binding) -> bool {
        *binding.call_id == *self.call_id && binding.cseq >= self.cseq
    }
}

/// A binding of the user that counts lies on such a flow.
pub(crate) fn has_flow(
    aor: &Aor,
    now: Time,
    world: &dyn World,
    is: impl Fn(&Flow) -> bool,
) -> bool {
    let bindings = world.bindings(aor);
    let mut live = bindings.iter().filter(|binding| binding.expires > now);
    live.any(|binding| binding.endpoint.flow.as_ref().is_some_and(&is))
}

/// The user has registered over this very flow.
pub(crate) fn is_bound(aor: &Aor, flow: &Flow, now: Time, world: &dyn World) -> bool {
    has_flow(aor, now, world, |known| is_same(known, flow))
}

/// The same of one of its bindings.
pub(super) fn is_over(binding: &Binding, flow: &Flow) -> bool {
    let known = binding.endpoint.flow.as_ref();
    known.is_some_and(|known| is_same(known, flow))
}

fn is_same(known: &Flow, flow: &Flow) -> bool {
    (known.transport, known.peer) == (flow.transport, flow.peer)
        || (known.connection.is_some() && known.connection == flow.connection)
}

/// Does all of what is wished, or nothing. Expired bindings go first: they count for nothing.
///
/// # Errors
/// The request came out of order, or would leave more than `max` bindings; nothing has changed then.
pub(super) fn apply(
    bindings: &mut Vec<Binding>,
    wish: &Wish,
    order: Order<'_>,
    max: usize,
    now: Time,
) -> Result<Vec<BindingChange>, Unchanged> {
    let mut changes = Vec::new();
    let mut kept = bindings.clone();
    drop_expired(&mut kept, now, &mut changes);
    match wish {
        Wish::RemoveAll => {
            if kept.iter().any(|binding| order.is_behind(binding)) {
                return Err(Unchanged::OutOfOrder);
            }
            changes.extend(kept.drain(..).map(|binding| removed(binding, false)));
        }
        Wish::Contacts(wanted) => {
            // Bindings of this very request are no measure for its order.
            let mut fresh: Vec<Binding> = Vec::new();
            for wanted in wanted {
                fresh.retain(|binding| !replaces(&wanted.binding, binding));
                let old: Vec<Binding> = kept
                    .extract_if(.., |binding| replaces(&wanted.binding, binding))
                    .collect();
                if old.iter().any(|binding| order.is_behind(binding)) {
                    return Err(Unchanged::OutOfOrder);
                }
                if !wanted.remove {
                    let mut binding = wanted.binding.clone();
                    tell_apart(&mut binding, &old, kept.iter().chain(&fresh));
                    let others = kept.iter_mut().chain(&mut fresh);
                    number(&mut binding, &old, others.collect());
                    let twin = kept.iter().any(|known| are_apart(known, &binding));
                    changes.push(registered(&binding, &old, twin));
                    let others = old
                        .into_iter()
                        .filter(|old| !is_same_flow_of(old, &binding));
                    changes.extend(others.map(|binding| removed(binding, false)));
                    fresh.push(binding);
                } else {
                    changes.extend(old.into_iter().map(|binding| removed(binding, false)));
                }
            }
            make_room(&mut kept, &fresh, max, &mut changes);
            kept.append(&mut fresh);
            if kept.len() > max {
                return Err(Unchanged::TooMany);
            }
        }
    }
    *bindings = kept;
    Ok(changes)
}

/// What is known of the flows of a user's bindings.
#[derive(Default)]
pub(super) struct Flows {
    /// The connection is closed.
    closed: Vec<Flow>,
    /// A call of whoever is there was answered, and stands.
    in_calls: Vec<Flow>,
}

impl Flows {
    /// Asks for all of an AOR.
    pub(super) fn of(aor: &Aor, world: &dyn World) -> Self {
        let mut flows = Self::default();
        for binding in &world.bindings(aor) {
            // Over a proxy's flow it may be anybody who talks.
            let alone = binding.endpoint.has_own_address();
            let Some(flow) = binding.endpoint.flow else {
                continue;
            };
            if !world.is_open(&flow) {
                flows.closed.push(flow);
            } else if alone && world.legs(peer_number(flow.transport, flow.peer)) > 0 {
                flows.in_calls.push(flow);
            }
        }
        flows
    }

    /// Returns true where a binding may make room for others: a phone that talks keeps its own.
    pub(super) fn may_go(&self, binding: &Binding) -> bool {
        let flow = binding.endpoint.flow;
        flow.is_none_or(|flow| !self.in_calls.contains(&flow))
    }

    fn is_closed(&self, binding: &Binding) -> bool {
        let flow = binding.endpoint.flow;
        flow.is_some_and(|flow| self.closed.contains(&flow))
    }
}

/// As `apply`, where others make room for what is too much: a phone that has a new port or instance at each start
/// would be shut out by what it was before. First those over connections that are closed, then those that may be what
/// the phone was before, then any; of each the one that was heard of least lately. Who is in a call stays.
pub(super) fn apply_over(
    bindings: &mut Vec<Binding>,
    wish: &Wish,
    order: Order<'_>,
    max: usize,
    now: Time,
    flows: &Flows,
) -> Result<Vec<BindingChange>, Unchanged> {
    let (mut kept, mut changes) = (bindings.clone(), Vec::new());
    loop {
        match apply(&mut kept, wish, order, max, now) {
            Ok(applied) => {
                changes.extend(applied);
                *bindings = kept;
                return Ok(changes);
            }
            Err(Unchanged::OutOfOrder) => return Err(Unchanged::OutOfOrder),
            Err(Unchanged::TooMany) => {}
        }
        let Wish::Contacts(wanted) = wish else {
            return Err(Unchanged::TooMany);
        };
        let named = |known: &Binding| wanted.iter().any(|own| replaces(&own.binding, known));
        let others = kept.iter().enumerate();
        let others = others.filter(|(_, known)| flows.may_go(known) && !named(known));
        let first = others.min_by_key(|(_, known)| {
            let was = wanted.iter().any(|own| may_have_been(&own.binding, known));
            (!flows.is_closed(known), !was, known.registered)
        });
        let Some((at, _)) = first else {
            return Err(Unchanged::TooMany);
        };
        changes.push(removed(kept.remove(at), false));
    }
}

/// Returns true where a phone may have had another binding before it was started anew: neither names an instance,
/// and the Contacts differ by their ports, or the same product comes from the same address.
fn may_have_been(new: &Binding, old: &Binding) -> bool {
    let site = |one: &Binding| one.endpoint.flow.map(|flow| flow.peer.ip().to_canonical());
    match (&*new.endpoint.identity, &*old.endpoint.identity) {
        (one @ Identity::Contact { user_agent, .. }, other @ Identity::Contact { .. }) => {
            let product = !user_agent.is_empty() && new.user_agent == old.user_agent;
            alike(one, other) || product && site(new).is_some() && site(new) == site(old)
        }
        (Identity::Instance(_) | Identity::Epid(_) | Identity::Contact { .. }, _) => false,
    }
}

/// Gives a binding the number that the device's temporary GRUUs have, and `others` of it the binding's where a
/// flow has another Call-ID than before, which ends all that were given out (RFC 5627 3.1.2).
fn number(binding: &mut Binding, old: &[Binding], mut others: Vec<&mut Binding>) {
    let identity = binding.endpoint.identity.clone();
    let is_of_device = |one: &Binding| same(&one.endpoint.identity, &identity);
    let began_anew = old
        .iter()
        .any(|old| is_same_flow_of(old, binding) && old.call_id != binding.call_id);
    others.retain(|other| is_of_device(other));
    if began_anew {
        for other in others {
            other.gruu = binding.gruu;
        }
        return;
    }
    let known = old.iter().filter(|old| is_of_device(old));
    let mut known = known.chain(others.iter().map(|other| &**other));
    binding.gruu = known.find_map(|known| known.gruu).or(binding.gruu);
}

/// Removes what has expired.
pub(super) fn drop_expired(
    bindings: &mut Vec<Binding>,
    now: Time,
    changes: &mut Vec<BindingChange>,
) {
    let expired = bindings.extract_if(.., |binding| binding.expires <= now);
    changes.extend(expired.map(|binding| removed(binding, true)));
}

fn removed(binding: Binding, expired: bool) -> BindingChange {
    BindingChange::Removed {
        binding: Box::new(binding),
        expired,
    }
}

/// Gives a binding the site of the one whose place it takes, or its own where another phone has its Contact.
fn tell_apart<'b>(
    binding: &mut Binding,
    old: &[Binding],
    mut others: impl Iterator<Item = &'b Binding>,
) {
    let own = old.iter().find(|old| old.call_id == binding.call_id);
    let place = match (own.or_else(|| old.first()), binding.endpoint.flow) {
        (Some(old), _) => match &*old.endpoint.identity {
            Identity::Contact { behind, .. } => *behind,
            Identity::Instance(_) | Identity::Epid(_) => None,
        },
        (None, Some(flow)) => others
            .any(|known| are_apart(known, binding))
            .then(|| flow.peer.ip().to_canonical()),
        (None, None) => None,
    };
    let Some(place) = place else { return };
    let mut identity = (*binding.endpoint.identity).clone();
    if let Identity::Contact { behind, .. } = &mut identity {
        *behind = Some(place);
        binding.endpoint.identity = identity.into();
    }
}

/// Those at other sites make room for what is too much, the oldest first: they may be what the phone was before its
/// NAT had another address.
fn make_room(
    kept: &mut Vec<Binding>,
    fresh: &[Binding],
    max: usize,
    changes: &mut Vec<BindingChange>,
) {
    while kept.len() + fresh.len() > max {
        let twins = kept.iter().enumerate();
        let twins = twins.filter(|(_, known)| fresh.iter().any(|new| are_apart(known, new)));
        let Some((at, _)) = twins.min_by_key(|(_, known)| known.registered) else {
            return;
        };
        changes.push(removed(kept.remove(at), false));
    }
}

/// Returns the bindings that a phone is told of, which has registered under this Call-ID: of several Contacts that
/// read like its own, its own alone.
pub(super) fn shown<'b>(
    bindings: &'b [Binding],
    call_id: &str,
    now: Time,
) -> impl Iterator<Item = &'b Binding> {
    let own = bindings.iter().find(|own| *own.call_id == *call_id);
    let live = bindings.iter().filter(move |binding| binding.expires > now);
    live.filter(move |binding| own.is_none_or(|own| !are_apart(own, binding)))
}

/// Returns true for two phones without an instance at two sites, whose private Contacts read the same.
fn are_apart(a: &Binding, b: &Binding) -> bool {
    let unnamed = |one: &Binding| matches!(*one.endpoint.identity, Identity::Contact { .. });
    let site = |one: &Binding| Some(one.endpoint.flow?.peer.ip().to_canonical());
    let (Some(one), Some(other)) = (site(a), site(b)) else {
        return false;
    };
    let contact = Uri::parse(&a.endpoint.contact).ok();
    let private = contact.and_then(|uri| uri.host_ip()).is_some_and(|ip| {
        let hidden = |site| is_hidden(ip, site);
        hidden(one) && hidden(other)
    });
    private
        && one != other
        && a.call_id != b.call_id
        && unnamed(a)
        && unnamed(b)
        && same_uri(&a.endpoint.contact, &b.endpoint.contact)
}

fn registered(binding: &Binding, old: &[Binding], twin: bool) -> BindingChange {
    let moved = old
        .iter()
        .any(|old| is_same_flow_of(old, binding) && old.endpoint.flow != binding.endpoint.flow);
    let began_anew =
        |old: &Binding| is_same_flow_of(old, binding) && old.call_id != binding.call_id;
    let anew = old.iter().any(began_anew) || old.is_empty() && twin;
    BindingChange::Registered {
        binding: Box::new(binding.clone()),
        moved,
        anew,
    }
}

/// The same endpoint and reg-id: what moves when the address changes.
fn is_same_flow_of(a: &Binding, b: &Binding) -> bool {
    same(&a.endpoint.identity, &b.endpoint.identity) && a.reg_id == b.reg_id
}

/// Returns true where a new binding takes the place of an old one.
///
/// - Both with an instance: the same instance and the same reg-id, or neither with one, whatever the
///   Contacts (RFC 5626 6). Two instances with the same Contact are two phones behind two NATs, unless
///   they share a flow: then it is one phone that was given a new instance.
/// - The same `epid`: as an instance without reg-id.
/// - Else by the URIs (RFC 3261 10.3 step 7), but for two phones at two sites.
pub(super) fn replaces(new: &Binding, old: &Binding) -> bool {
    let (a, b) = (&new.endpoint, &old.endpoint);
    let same_contact = || same_uri(&a.contact, &b.contact);
    match (&*a.identity, &*b.identity) {
        (Identity::Instance(one), Identity::Instance(other)) if one == other => {
            new.reg_id == old.reg_id
        }
        (Identity::Instance(_), Identity::Instance(_)) => a.flow == b.flow && same_contact(),
        (Identity::Epid(one), Identity::Epid(other)) => one == other || same_contact(),
        (Identity::Contact { .. }, Identity::Contact { .. }) => {
            same_contact() && !are_apart(new, old)
        }
        (Identity::Instance(_) | Identity::Epid(_) | Identity::Contact { .. }, _) => same_contact(),
    }
}
