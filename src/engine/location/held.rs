//! Phones that register with an upstream through us: what the upstream agrees to is kept as bindings, which
//! are the flows that they are reached over.

use super::bindings::{Order, Unchanged, Wanted, Wish, apply, apply_over, replaces};
use super::identity::same_uri;
use super::registrar::{closed, event, seconds, wish};
use crate::engine::endpoint::{Binding, BindingsChanged};
use crate::engine::events::Event;
use crate::engine::ids::{Aor, Flow};
use crate::engine::ports::World;
use crate::engine::settings::{Auth, RegistrarSettings, Settings};
use crate::engine::time::{Millis, Time};
use crate::sip::{Address, Message};

/// How long a binding is kept at most, whatever the upstream says: what is kept must end.
const EXPIRES_MAX: Millis = Millis::from_secs(24 * 3600);
/// Bindings kept of one user.
const HELD_MAX: usize = 32;

/// How the upstream names the bindings to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// All by one token, and by their Contacts: the token stands in a Path (RFC 3327).
    Together,
    /// Each by a token of its own, which stands in its Contact.
    Apart,
}

/// What a REGISTER asks an upstream for.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) aor: Aor,
    /// None where it only asks what there is.
    wish: Option<Wish>,
    call_id: Box<str>,
    cseq: u32,
}

impl Held {
    /// Reads a REGISTER for `aor` that came over `flow`.
    ///
    /// # Errors
    /// What is wrong with it; 403 where the user has too many bindings.
    pub(crate) fn of(
        request: &Message,
        aor: Aor,
        flow: &Flow,
        now: Time,
        settings: &Settings,
        world: &dyn World,
    ) -> Result<Self, (u16, &'static str)> {
        // How long is the upstream's to say.
        let any = RegistrarSettings {
            max_expires: EXPIRES_MAX,
            min_expires: Millis(0),
            max_bindings: HELD_MAX,
            auth: Auth::None,
        };
        let wish = wish(request, flow, &any, now, settings)
            .map_err(|refused| (refused.status, refused.why.unwrap_or("bad REGISTER")))?;
        let held = Self {
            aor,
            wish,
            call_id: request.call_id().into(),
            cseq: request.cseq(),
        };
        let others = world.bindings(&held.aor);
        // Those whose connections are closed make room.
        let others = others.iter().filter(|known| {
            let mut wanted = held.wanted().iter();
            let mut flow = known.endpoint.flow.iter();
            known.expires > now
                && flow.all(|flow| world.is_open(flow))
                && !wanted.any(|wanted| replaces(&wanted.binding, known))
        });
        let new = held.wanted().iter().filter(|wanted| !wanted.remove);
        if others.count() + new.count() > HELD_MAX {
            return Err((403, "too many bindings"));
        }
        Ok(held)
    }

    fn wanted(&self) -> &[Wanted] {
        match &self.wish {
            Some(Wish::Contacts(wanted)) => wanted,
            Some(Wish::RemoveAll) | None => &[],
        }
    }

    /// Gives each Contact the token by which the upstream will name it: the one that it has already, so that
    /// a refresh changes nothing, else a new one.
    pub(crate) fn name(
        &mut self,
        naming: Naming,
        world: &dyn World,
        mut new: impl FnMut() -> Box<str>,
    ) {
        let known = world.bindings(&self.aor);
        let Some(Wish::Contacts(wanted)) = &mut self.wish else {
            return;
        };
        let mut together: Option<Box<str>> = None;
        for wanted in wanted {
            let before = known
                .iter()
                .find(|known| replaces(&wanted.binding, known))
                .and_then(|known| known.token.clone());
            let token = match naming {
                Naming::Apart => before.unwrap_or_else(&mut new),
                Naming::Together => together
                    .get_or_insert_with(|| before.unwrap_or_else(&mut new))
                    .clone(),
            };
            wanted.binding.token = Some(token);
        }
    }

    /// Returns the token of each Contact, in their order.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.wanted()
            .iter()
            .filter_map(|wanted| wanted.binding.token.as_deref())
    }

    /// Keeps what the upstream's 2xx grants; `is` tells whether a Contact of the answer is the binding's.
    pub(crate) fn granted(
        self,
        response: &Message,
        now: Time,
        world: &mut dyn World,
        is: impl Fn(&Address<'_>, &Binding) -> bool,
    ) -> (Option<BindingsChanged>, Vec<Event>) {
        let Some(wish) = self.wish else {
            return (None, Vec::new());
        };
        let wish = match wish {
            Wish::RemoveAll => Wish::RemoveAll,
            Wish::Contacts(mut wanted) => {
                for wanted in &mut wanted {
                    let asked = wanted.binding.expires.since(now);
                    match granted(response, &wanted.binding, asked, &is) {
                        Some(expires) if !wanted.remove => wanted.binding.expires = now + expires,
                        Some(_) | None => wanted.remove = true,
                    }
                }
                Wish::Contacts(wanted)
            }
        };
        let order = Order {
            call_id: &self.call_id,
            cseq: self.cseq,
        };
        let mut outcome = Ok(Vec::new());
        world.change_bindings(&self.aor, &mut |bindings| {
            outcome = apply(bindings, &wish, order, HELD_MAX, now);
        });
        if matches!(outcome, Err(Unchanged::TooMany)) {
            let closed = closed(&world.bindings(&self.aor), world);
            world.change_bindings(&self.aor, &mut |bindings| {
                outcome = apply_over(bindings, &wish, order, HELD_MAX, now, &closed);
            });
        }
        // An answer that came after that to a later request, or too many at once: what is kept stays.
        let changes = outcome.unwrap_or_default();
        let events = changes
            .iter()
            .map(|change| event(&self.aor, change, now))
            .collect();
        let aor = self.aor;
        let changed = (!changes.is_empty()).then_some(BindingsChanged { aor, changes });
        (changed, events)
    }
}

/// Returns how long the upstream binds a Contact (RFC 3261 10.2.4); none where it does not. A registrar that
/// shows no Contact at all has done as it was asked.
fn granted(
    response: &Message,
    binding: &Binding,
    asked: Millis,
    is: impl Fn(&Address<'_>, &Binding) -> bool,
) -> Option<Millis> {
    let header = response.expires().map(|s| Millis::from_secs(u64::from(s)));
    let mut any = false;
    for value in response.values(crate::sip::Name::Contact) {
        let Ok(contact) = Address::parse(value) else {
            continue;
        };
        any = true;
        if is(&contact, binding) {
            let own = contact.params.value("expires").and_then(seconds);
            let expires = own.or(header).unwrap_or(asked).min(EXPIRES_MAX);
            return Some(expires).filter(|expires| expires.0 > 0);
        }
    }
    let expires = header.unwrap_or(asked).min(EXPIRES_MAX);
    Some(expires).filter(|expires| !any && expires.0 > 0)
}

impl Naming {
    /// Returns true where a Contact of the upstream's answer is the binding's; `named` reads a token in it.
    pub(crate) fn is(
        self,
        contact: &Address<'_>,
        binding: &Binding,
        named: impl Fn(&str) -> Option<Box<str>>,
    ) -> bool {
        match self {
            Self::Together => same_uri(contact.uri, &binding.endpoint.contact),
            Self::Apart => {
                let token = named(contact.uri);
                token.is_some() && token == binding.token
            }
        }
    }
}
