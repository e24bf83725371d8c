//! Which endpoint a Contact stands for, and what it is called.

use crate::engine::endpoint::{Binding, Endpoint, Identity};
use crate::engine::ids::{Aor, Flow};
use crate::engine::ports::World;
use crate::engine::settings::Settings;
use crate::engine::time::Time;
use crate::sip::{Address, Message, Name, Uri};

/// Characters of a name shown to people; what is longer is cut.
const NAME_MAX: usize = 64;

/// Returns what tells the endpoint behind a Contact from others, the surest sign that is there:
/// `+sip.instance` (RFC 5626 4.1), the instance in a GRUU (RFC 5627 5.1), `epid`, else the Contact's
/// user and host with the product of User-Agent or Server.
///
/// `message` is the request or response that the Contact stands in; `epid` is that of its sender:
/// From of a request, To of a response.
pub fn identity(contact: &Address<'_>, message: &Message) -> Identity {
    let uri = contact.uri_parsed().ok();
    if let Some(instance) = contact.params.value("+sip.instance").and_then(instance) {
        return Identity::Instance(instance);
    }
    let gruu = uri.as_ref().and_then(|uri| uri.params.value("gr"));
    if let Some(instance) = gruu.and_then(gruu_instance) {
        return Identity::Instance(instance);
    }
    let sender = if message.is_request() {
        message.from()
    } else {
        message.to()
    };
    if let Some(epid) = sender.params.value("epid").filter(|epid| !epid.is_empty()) {
        return Identity::Epid(epid.to_ascii_lowercase().into());
    }
    Identity::Contact {
        user: uri
            .as_ref()
            .map_or_else(Box::default, |uri| uri.user_unescaped().into()),
        host: uri
            .as_ref()
            .map_or_else(Box::default, |uri| uri.host.to_ascii_lowercase().into()),
        user_agent: product(message).unwrap_or_default().into(),
    }
}

/// Returns the endpoint behind a Contact as it can be invited: by the Contact's URI, over `flow`.
///
/// Its name is the first of: the one given to its instance, the one of a static endpoint with that
/// Contact, the Contact's display name, the product of User-Agent or Server, the Contact's host.
pub fn endpoint(
    contact: &Address<'_>,
    message: &Message,
    flow: Option<Flow>,
    settings: &Settings,
) -> Endpoint {
    let identity = identity(contact, message);
    let name = name(&identity, contact, message, settings);
    Endpoint {
        identity,
        contact: contact.uri.into(),
        flow,
        path: Vec::new(),
        name,
    }
}

/// Returns the endpoint that sent a request over `flow` in the name of `aor`.
///
/// Phones name their instance when they register, but seldom when they call: the sender is the binding
/// of `aor` with the same identity, else the only one with that flow, else the one with that Contact.
/// Its identity, name and path hold then, with the Contact and flow of this request.
pub fn caller(
    contact: &Address<'_>,
    request: &Message,
    flow: &Flow,
    aor: &Aor,
    now: Time,
    settings: &Settings,
    world: &dyn World,
) -> Endpoint {
    let mut endpoint = endpoint(contact, request, Some(*flow), settings);
    let bindings = world.bindings(aor);
    let live = || bindings.iter().filter(|binding| binding.expires > now);
    let by_identity = live().find(|binding| same(&binding.endpoint.identity, &endpoint.identity));
    let by_flow = || only(live().filter(|binding| binding.endpoint.flow == Some(*flow)));
    let by_contact = || only(live().filter(|b| same_uri(&b.endpoint.contact, contact.uri)));
    if let Some(binding) = by_identity.or_else(by_flow).or_else(by_contact) {
        endpoint.identity = binding.endpoint.identity.clone();
        endpoint.name = binding.endpoint.name.clone();
        endpoint.path = binding.endpoint.path.clone();
    }
    endpoint
}

/// Returns the one binding there is, none where there are more.
fn only<'b>(mut bindings: impl Iterator<Item = &'b Binding>) -> Option<&'b Binding> {
    bindings.next().filter(|_| bindings.next().is_none())
}

/// Returns true where two appearances are of one endpoint.
///
/// A product that was not said agrees with any: phones name themselves in requests, but not always in
/// responses.
pub fn same(a: &Identity, b: &Identity) -> bool {
    match (a, b) {
        (Identity::Instance(a), Identity::Instance(b)) | (Identity::Epid(a), Identity::Epid(b)) => {
            a == b
        }
        (
            Identity::Contact {
                user,
                host,
                user_agent,
            },
            Identity::Contact {
                user: their_user,
                host: their_host,
                user_agent: their_agent,
            },
        ) => {
            user == their_user
                && host == their_host
                && (user_agent == their_agent || user_agent.is_empty() || their_agent.is_empty())
        }
        (Identity::Instance(_) | Identity::Epid(_) | Identity::Contact { .. }, _) => false,
    }
}

/// Returns true where two URIs are equal by RFC 3261 19.1.4, or word for word where they are none.
pub fn same_uri(a: &str, b: &str) -> bool {
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(a), Ok(b)) => a.equals(&b),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => a == b,
    }
}

/// Reads the value of `+sip.instance`: brackets off, lower case.
fn instance(value: &str) -> Option<Box<str>> {
    let urn = value.trim().trim_start_matches('<').trim_end_matches('>');
    (!urn.is_empty()).then(|| urn.to_ascii_lowercase().into())
}

/// Reads the `gr` parameter where it holds the instance itself.
fn gruu_instance(value: &str) -> Option<Box<str>> {
    let urn = value.to_ascii_lowercase().replace("%3a", ":");
    urn.starts_with("urn:").then(|| urn.into())
}

fn name(
    identity: &Identity,
    contact: &Address<'_>,
    message: &Message,
    settings: &Settings,
) -> Box<str> {
    let by_instance = match identity {
        Identity::Instance(instance) => settings.names.get(instance).map(|name| &**name),
        Identity::Epid(_) | Identity::Contact { .. } => None,
    };
    let by_contact = || {
        settings
            .endpoints
            .iter()
            .find(|fixed| same_uri(&fixed.contact, contact.uri))
            .and_then(|fixed| fixed.name.as_deref())
    };
    let display = contact.display.as_deref().map(str::trim);
    by_instance
        .or_else(by_contact)
        .or(display.filter(|display| !display.is_empty()))
        .or_else(|| product(message))
        .map_or_else(|| host_of(contact.uri), shown)
}

/// Returns a name as it may be shown: no control characters, not too long.
pub(crate) fn shown(name: &str) -> Box<str> {
    let text: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME_MAX)
        .collect();
    text.into()
}

fn host_of(uri: &str) -> Box<str> {
    Uri::parse(uri).map_or_else(|_| shown(uri), |uri| shown(uri.host))
}

/// Returns the first product of User-Agent, or of Server in a response (RFC 3261 20.35, 20.41), without
/// its version: `Linphone/5.1 (x)` is `Linphone`.
fn product(message: &Message) -> Option<&str> {
    let server = || message.header(Name::Server);
    let agent = message.header(Name::UserAgent);
    let value = if message.is_request() {
        agent
    } else {
        server().or(agent)
    };
    value?
        .split(|c: char| c.is_whitespace() || matches!(c, '/' | '(' | ','))
        .next()
        .filter(|product| !product.is_empty())
}
