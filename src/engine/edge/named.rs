//! Phones that a request of an upstream's names by the token in a Path or a Contact of ours.

use crate::engine::endpoint::Binding;
use crate::engine::ids::{Aor, Flow};
use crate::engine::location::token::{of_uri, of_value};
use crate::engine::ports::World;
use crate::engine::time::Time;
use crate::sip::{Address, Message, Name, Uri};

/// Phones kept here that a request names by their token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(super) aor: Aor,
    pub(super) token: Box<str>,
    /// Not expired; none where they have gone.
    pub(super) bindings: Vec<Binding>,
    /// By the Request-URI, and not by a Route.
    pub(super) by_uri: bool,
    /// Routes at the top of the request that end here: the one with the token, whatever led here above it, and
    /// what names us by the same below.
    pub(super) own_routes: usize,
}

impl Named {
    /// Reads a request; none where it names nobody by a token.
    ///
    /// Who has us for its outbound proxy, too, writes that Route above the one of the Path: a proxy takes off
    /// what names itself (RFC 3261 16.4) before it looks on. By which names it knows us is not known here, and one
    /// that sends all it has to us writes another proxy's Route there as well. Nor is that followed: the token says
    /// who is meant, and whoever follows any Route carries for anybody.
    pub(crate) fn by(request: &Message, now: Time, world: &dyn World) -> Option<Self> {
        let mut routes = request.values(Name::Route);
        let routed = routes.by_ref().enumerate().find_map(|(above, route)| {
            let (token, aor) = of_uri(Address::parse(route).ok()?.uri)?;
            Some((above, Box::<str>::from(token), aor))
        });
        let by_uri = routed.is_none();
        let (token, aor, own_routes) = match routed {
            Some((above, token, aor)) => {
                let below = routes.take_while(|route| of_value(route) == Some(&token));
                let own_routes = above + 1 + below.count();
                (token, aor, own_routes)
            }
            None => {
                let (token, aor) = of_uri(request.uri())?;
                (token.into(), aor, 0)
            }
        };
        let mut bindings = world.bindings(&aor);
        bindings.retain(|kept| kept.expires > now && kept.token.as_ref() == Some(&token));
        Some(Self {
            aor,
            token,
            bindings,
            by_uri,
            own_routes,
        })
    }

    /// Returns the binding that is meant. A Path names all Contacts of one REGISTER, and which of them is
    /// said by the Request-URI; where there is one it is that, whatever the Request-URI has become (the
    /// address of record, a number, the address that the REGISTER came from).
    pub(super) fn exactly(&self, uri: &str) -> Option<&Binding> {
        match &*self.bindings {
            [one] => Some(one),
            several if self.by_uri => several.first(),
            several => several
                .iter()
                .find(|binding| same_place(&binding.endpoint.contact, uri)),
        }
    }

    /// Returns what a phone is asked by: the Request-URI as it came where that is a place of the phone's, as it
    /// is within a dialog, where the phone itself has said it; else its Contact.
    pub(super) fn uri_for<'a>(&self, binding: &'a Binding, request: &'a Message) -> &'a str {
        let (contact, uri) = (&*binding.endpoint.contact, request.uri());
        let within = request.to_tag().is_some();
        if !self.by_uri && (within || same_place(contact, uri)) {
            uri
        } else {
            contact
        }
    }

    /// Returns true where the request came from one of the phones, and not from their upstream.
    pub(crate) fn is_from(&self, flow: &Flow) -> bool {
        self.bindings.iter().any(|binding| {
            let known = binding.endpoint.flow;
            known.is_some_and(|known| known.transport == flow.transport && known.peer == flow.peer)
        })
    }
}

/// Upstreams change the parameters of a Contact, but not where it leads.
fn same_place(contact: &str, uri: &str) -> bool {
    let (Ok(contact), Ok(uri)) = (Uri::parse(contact), Uri::parse(uri)) else {
        return contact == uri;
    };
    contact.user_unescaped() == uri.user_unescaped()
        && contact.host.eq_ignore_ascii_case(uri.host)
        && contact.port == uri.port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_may_change_the_parameters_of_a_contact() {
        for (contact, uri, same) in [
            ("sip:bob@10.0.0.1:5070", "sip:bob@10.0.0.1:5070", true),
            (
                "sip:bob@10.0.0.1:5070;ob",
                "sip:bob@10.0.0.1:5070;x=1",
                true,
            ),
            ("sip:%62ob@H", "sip:bob@h", true),
            ("sip:bob@10.0.0.1:5070", "sip:bob@10.0.0.1:5071", false),
            ("sip:bob@10.0.0.1", "sip:alice@10.0.0.1", false),
            ("sip:bob@10.0.0.1", "sip:bob@10.0.0.2", false),
        ] {
            assert_eq!(same_place(contact, uri), same, "{contact} {uri}");
        }
    }
}
