//! Phones that register with an upstream through us: what the upstream agrees to is kept as bindings, which
//! are the flows that they are reached over.

use super::bindings::{Flows, Order, Unchanged, Wanted, Wish, apply, apply_over, replaces};
use super::identity::same_uri;
use super::registrar::{event, seconds, wish};
use crate::engine::endpoint::{Binding, BindingsChanged};
use crate::engine::events::Event;
use crate::engine::ids::{Aor, Flow};
use crate::engine::ports::World;
use crate::engine::settings::{Auth, RegistrarSettings, Settings};
use crate::engine::time::{Millis, Time};
use crate::sip::{Address, Message, Name};

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
    /// What is wrong with it; 403 where the user has too many bindings whose phones are in calls.
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
            lamps: false,
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
        let flows = Flows::of(&held.aor, world);
        // The others make room.
        let others = others.iter().filter(|known| {
            let mut wanted = held.wanted().iter();
            known.expires > now
                && !flows.may_go(known)
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
        let mut events = Vec::new();
        let wish = match wish {
            Wish::RemoveAll => Wish::RemoveAll,
            Wish::Contacts(mut wanted) => {
                let answer = Answer {
                    response,
                    // Of several it cannot be said which is which.
                    alone: wanted.len() == 1,
                    others: others(&wanted, world.bindings(&self.aor)),
                    is,
                };
                for wanted in &mut wanted {
                    let binding = &mut wanted.binding;
                    match answer.grants(binding, binding.expires.since(now)) {
                        Grant::For(expires) if !wanted.remove => binding.expires = now + expires,
                        Grant::Hidden if !wanted.remove => {
                            wanted.remove = true;
                            events.push(Event::NotKept {
                                aor: self.aor.as_str().into(),
                                contact: binding.endpoint.contact.clone(),
                            });
                        }
                        Grant::For(_) | Grant::Hidden | Grant::Nothing => wanted.remove = true,
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
            let flows = Flows::of(&self.aor, world);
            world.change_bindings(&self.aor, &mut |bindings| {
                outcome = apply_over(bindings, &wish, order, HELD_MAX, now, &flows);
            });
        }
        // An answer that came after that to a later request, or too many at once: what is kept stays.
        let changes = outcome.unwrap_or_default();
        events.extend(changes.iter().map(|change| event(&self.aor, change, now)));
        let aor = self.aor;
        let changed = (!changes.is_empty()).then_some(BindingsChanged { aor, changes });
        (changed, events)
    }
}

/// An upstream's 2xx to a REGISTER.
struct Answer<'a, I> {
    response: &'a Message,
    /// The REGISTER has one Contact.
    alone: bool,
    /// What else of the user is kept here.
    others: Vec<Binding>,
    is: I,
}

/// What it says of one Contact.
enum Grant {
    For(Millis),
    Nothing,
    /// It shows others, and not this one.
    Hidden,
}

impl<I: Fn(&Address<'_>, &Binding) -> bool> Answer<'_, I> {
    /// Returns how long the upstream binds a Contact (RFC 3261 10.2.4). A registrar that shows no Contact at all
    /// has done as it was asked. One that shows the only Contact of the REGISTER as another (some write down the
    /// address that it came from) means it by what nobody here is known by.
    fn grants(&self, binding: &Binding, asked: Millis) -> Grant {
        let response = self.response;
        let header = response.expires().map(|s| Millis::from_secs(u64::from(s)));
        let for_all = header.unwrap_or(asked);
        let expires = |contact: &Address<'_>| {
            let own = contact.params.value("expires").and_then(seconds);
            own.unwrap_or(for_all)
        };
        let shown = response.values(Name::Contact);
        let shown: Vec<Address<'_>> = shown.filter_map(|v| Address::parse(v).ok()).collect();
        if let Some(own) = shown.iter().find(|contact| (self.is)(contact, binding)) {
            return Grant::of(expires(own));
        }
        let known =
            |contact: &Address<'_>| self.others.iter().any(|other| (self.is)(contact, other));
        let mut strange = shown.iter().filter(|contact| !known(contact));
        match (strange.next(), strange.next()) {
            _ if shown.is_empty() => Grant::of(for_all),
            (Some(one), None) if self.alone => Grant::of(expires(one)),
            (Some(_), Some(_)) if self.alone => Grant::of(for_all),
            (Some(_) | None, _) => Grant::Hidden,
        }
    }
}

impl Grant {
    fn of(expires: Millis) -> Self {
        match expires.min(EXPIRES_MAX) {
            Millis(0) => Self::Nothing,
            expires => Self::For(expires),
        }
    }
}

/// Returns the bindings that a REGISTER says nothing of.
fn others(wanted: &[Wanted], mut kept: Vec<Binding>) -> Vec<Binding> {
    kept.retain(|kept| !wanted.iter().any(|wanted| replaces(&wanted.binding, kept)));
    kept
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
