//! REGISTER of a phone for an upstream: on to it with a Path of ours (RFC 3327), or with Contacts that are
//! ours, and what it grants is kept here.

use super::forward::our_uri;
use crate::engine::conversation::context::Context;
use crate::engine::endpoint::BindingsChanged;
use crate::engine::events::Event;
use crate::engine::ids::{Aor, Flow};
use crate::engine::location::{Held, Naming, knows_path, token};
use crate::engine::ports::Output;
use crate::engine::refusal::Refusal;
use crate::engine::settings::PathMode;
use crate::sip::{Address, Contacts, Message, Name, Scheme};

/// What a REGISTER under way is for.
#[derive(Debug)]
pub(super) struct Registration {
    held: Held,
    naming: Naming,
}

impl Registration {
    /// Reads a REGISTER for `aor`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(
        context: &mut Context<'_>,
        request: &Message,
        aor: Aor,
        flow: &Flow,
        mode: PathMode,
    ) -> Result<Self, Refusal> {
        if aor.as_str().len() > token::AOR_MAX {
            return Err((400, "address of record too long").into());
        }
        let naming = match mode {
            PathMode::Path => Naming::Together,
            PathMode::Contact => Naming::Apart,
        };
        let (settings, world) = (&context.shared.settings, &*context.world);
        let mut held = Held::of(request, aor, flow, context.now, settings, world)?;
        let mint = &mut context.shared.mint;
        held.name(naming, world, || token::new(mint));
        Ok(Self { held, naming })
    }

    /// Returns whom it is for.
    pub(super) fn aor(&self) -> &Aor {
        &self.held.aor
    }

    /// Returns the header fields that the upstream finds us by, and the Contacts where they are rewritten.
    pub(super) fn ours(
        &self,
        context: &Context<'_>,
        request: &Message,
        flow: &Flow,
    ) -> (Vec<(Name, String)>, Option<Vec<String>>) {
        let mut uris = self
            .held
            .tokens()
            .map(|token| our_uri(context, flow, token, &self.held.aor));
        match self.naming {
            Naming::Together => {
                let path = uris.next().map(|uri| (Name::Path, format!("<{uri};lr>")));
                let mut added: Vec<(Name, String)> = path.into_iter().collect();
                if !added.is_empty() && !request.has_token(Name::Supported, "path") {
                    // Registrars that keep to RFC 3327 5.3 take no Path without; we see to it ourselves.
                    added.push((Name::Supported, "path".into()));
                }
                (added, None)
            }
            Naming::Apart => {
                let Ok(Contacts::List(contacts)) = request.contacts() else {
                    return (Vec::new(), None);
                };
                let contacts = contacts
                    .iter()
                    .zip(uris)
                    .map(|(contact, uri)| readdressed(contact, &uri))
                    .collect();
                (Vec::new(), Some(contacts))
            }
        }
    }

    /// Returns header fields of an answer as the phone is to see them, and names that it is not to see.
    pub(super) fn shown(
        &self,
        context: &Context<'_>,
        request: &Message,
        response: &Message,
    ) -> (Vec<(Name, String)>, &'static [Name]) {
        let without: &[Name] = if knows_path(request) {
            &[]
        } else {
            &[Name::Path]
        };
        if self.naming == Naming::Together {
            return (Vec::new(), without);
        }
        let mut contacts = Vec::new();
        for value in response.values(Name::Contact) {
            let own = Address::parse(value).ok().and_then(|contact| {
                let own = self.own_contact(context, request, contact.uri)?;
                Some(readdressed(&contact, &own))
            });
            contacts.push((Name::Contact, own.unwrap_or_else(|| value.into())));
        }
        (contacts, without)
    }

    /// Returns what a phone called a Contact that is ours toward the upstream.
    fn own_contact(&self, context: &Context<'_>, request: &Message, uri: &str) -> Option<String> {
        let (token, aor) = token::of_uri(uri)?;
        if aor == self.held.aor
            && let Ok(Contacts::List(contacts)) = request.contacts()
            && let Some(at) = self.held.tokens().position(|own| own == token)
        {
            return contacts.get(at).map(|contact| contact.uri.into());
        }
        let bindings = context.world.bindings(&aor);
        let mut bindings = bindings.into_iter();
        bindings
            .find(|binding| binding.token.as_deref() == Some(token))
            .map(|binding| binding.endpoint.contact.into())
    }

    /// Keeps what a 2xx grants.
    pub(super) fn granted(
        self,
        context: &mut Context<'_>,
        response: &Message,
    ) -> Option<BindingsChanged> {
        let naming = self.naming;
        let (changed, events): (_, Vec<Event>) =
            self.held
                .granted(response, context.now, context.world, |contact, binding| {
                    let named = |uri: &str| token::of_uri(uri).map(|(token, _)| token.into());
                    naming.is(contact, binding, named)
                });
        let out = &mut context.shared.out;
        out.extend(events.into_iter().map(Output::from));
        changed
    }
}

/// Writes a Contact with another URI; its name and its parameters stay.
fn readdressed(contact: &Address<'_>, uri: &str) -> String {
    let mut text = crate::engine::dialog::name_addr(contact).into_string();
    let end = text.len() - contact.uri.len() - 1;
    text.truncate(end);
    text.push_str(uri);
    text.push('>');
    if !contact.params.as_str().is_empty() {
        text.extend([";", contact.params.as_str()]);
    }
    text
}

const NOT_SERVED: Refusal = Refusal::new(404, "not served here");

/// Returns whom a REGISTER is for, where that is said well (RFC 3261 10.3 step 5).
pub(super) fn whom(request: &Message, aor: Option<Aor>) -> Result<Aor, Refusal> {
    let to = request.to();
    let named = to.uri_parsed().map_err(|_| Refusal::new(400, "bad To"))?;
    match named.scheme {
        Scheme::Sip | Scheme::Sips => aor.ok_or(NOT_SERVED),
        Scheme::Tel | Scheme::Other(_) => Err(NOT_SERVED),
    }
}

/// RFC 6140 5.2: a Contact for all numbers of a PBX. What comes for one of them would find no phone here, so it is
/// refused also where it does not say that a proxy has to know of it.
pub(super) fn is_bulk(register: &Message) -> bool {
    let mut contacts = register.values(Name::Contact);
    contacts.any(|contact| {
        let contact = Address::parse(contact).ok();
        let uri = contact
            .as_ref()
            .and_then(|contact| contact.uri_parsed().ok());
        uri.is_some_and(|uri| uri.params.has("bnc"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_keeps_its_name_and_its_parameters() {
        for (value, expected) in [
            ("<sip:a@h;x=1>;expires=5", "<sip:new@us>;expires=5"),
            ("sip:a@h;expires=5", "<sip:new@us>;expires=5"),
            (
                "\"A \\\"B\\\"\" <sip:a@h>;+sip.instance=\"<urn:uuid:1>\"",
                "\"A \\\"B\\\"\" <sip:new@us>;+sip.instance=\"<urn:uuid:1>\"",
            ),
            ("<sip:a@h>", "<sip:new@us>"),
        ] {
            let contact = Address::parse(value).unwrap();
            assert_eq!(readdressed(&contact, "sip:new@us"), expected);
        }
    }
}
