//! Which endpoint a Contact stands for, and what it is called.

use super::gruu;
use super::temporary::revealed;
use crate::engine::endpoint::{Binding, Endpoint, Identity};
use crate::engine::ids::{Aor, Flow};
use crate::engine::ports::World;
use crate::engine::settings::Settings;
use crate::engine::time::Time;
use crate::sip::{Address, Message, Name, Uri};

/// Characters of a name shown to people; what is longer is cut.
const NAME_MAX: usize = 64;

/// Returns what tells the endpoint behind a Contact from others, the surest sign that is there:
/// `+sip.instance` (RFC 5626 4.1), the instance in a GRUU (RFC 5627), `epid`, else the Contact's
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
    if let Some(instance) = gruu.and_then(gruu::instance) {
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
    by_contact_alone(contact, message)
}

/// Returns what tells it from others where nothing surer does.
pub(crate) fn by_contact_alone(contact: &Address<'_>, message: &Message) -> Identity {
    let uri = contact.uri_parsed().ok();
    Identity::Contact {
        user: uri
            .as_ref()
            .map_or_else(Box::default, |uri| uri.user_unescaped().into()),
        host: uri
            .as_ref()
            .map_or_else(Box::default, |uri| uri.host.to_ascii_lowercase().into()),
        user_agent: product(message).unwrap_or_default().into(),
        behind: None,
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
        identity: identity.into(),
        contact: contact.uri.into(),
        flow,
        path: Vec::new(),
        through: None,
        name,
    }
}

/// Returns the endpoint that sent a request over `flow` in the name of `aor`.
///
/// Phones name their instance when they register, but seldom when they call. The sender is the binding
/// of `aor` that its temporary GRUU means, or with the same instance or `epid`; where the request has no instance, else the only one with
/// that flow, or with that Contact, or else one that `same` agrees to. Its identity, name and path hold
/// then, with the Contact and flow of this request.
pub fn caller(
    contact: &Address<'_>,
    request: &Message,
    flow: &Flow,
    aor: &Aor,
    now: Time,
    settings: &Settings,
    world: &dyn World,
) -> Endpoint {
    let mut caller = endpoint(contact, request, Some(*flow), settings);
    let mut bindings = world.bindings(aor);
    bindings.retain(|binding| binding.expires > now);
    let uri = contact.uri_parsed().ok();
    let device = uri.and_then(|uri| revealed(&uri, now, world));
    let device = device.filter(|(whose, _)| whose == aor);
    let device = device.and_then(|(_, device)| by_identity(&bindings, &device));
    let registered = device.or_else(|| match &*caller.identity {
        Identity::Instance(_) => by_identity(&bindings, &caller.identity),
        Identity::Epid(_) => {
            by_identity(&bindings, &caller.identity).or_else(|| by_flow(&bindings, flow))
        }
        Identity::Contact { .. } => by_flow(&bindings, flow)
            .or_else(|| by_contact(&bindings, contact.uri))
            .or_else(|| by_site(&bindings, contact.uri, flow))
            .or_else(|| by_identity(&bindings, &caller.identity)),
    });
    if let Some(binding) = registered {
        caller.identity = binding.endpoint.identity.clone();
        caller.name = binding.endpoint.name.clone();
        caller.path = binding.endpoint.path.clone();
    }
    caller
}

fn by_identity<'b>(bindings: &'b [Binding], identity: &Identity) -> Option<&'b Binding> {
    bindings
        .iter()
        .find(|b| same(&b.endpoint.identity, identity))
}

fn by_flow<'b>(bindings: &'b [Binding], flow: &Flow) -> Option<&'b Binding> {
    only(bindings.iter().filter(|b| b.endpoint.flow == Some(*flow)))
}

fn by_contact<'b>(bindings: &'b [Binding], uri: &str) -> Option<&'b Binding> {
    only(
        bindings
            .iter()
            .filter(|b| same_uri(&b.endpoint.contact, uri)),
    )
}

/// Of phones with one Contact at several sites the one that is there.
fn by_site<'b>(bindings: &'b [Binding], uri: &str, flow: &Flow) -> Option<&'b Binding> {
    let there = |known: &Flow| known.peer.ip() == flow.peer.ip();
    only(bindings.iter().filter(|b| {
        b.endpoint.flow.as_ref().is_some_and(there) && same_uri(&b.endpoint.contact, uri)
    }))
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
    let behind = |identity: &Identity| match identity {
        Identity::Contact { behind, .. } => *behind,
        Identity::Instance(_) | Identity::Epid(_) => None,
    };
    behind(a) == behind(b) && alike(a, b)
}

/// The same where nobody knows any more which of several phones it is that have one Contact at several sites.
pub(crate) fn alike(a: &Identity, b: &Identity) -> bool {
    match (a, b) {
        (Identity::Instance(a), Identity::Instance(b)) | (Identity::Epid(a), Identity::Epid(b)) => {
            a == b
        }
        (
            Identity::Contact {
                user,
                host,
                user_agent,
                behind: _,
            },
            Identity::Contact {
                user: their_user,
                host: their_host,
                user_agent: their_agent,
                behind: _,
            },
        ) => {
            user == their_user
                && host == their_host
                && (user_agent == their_agent || user_agent.is_empty() || their_agent.is_empty())
        }
        (Identity::Instance(_) | Identity::Epid(_) | Identity::Contact { .. }, _) => false,
    }
}

/// Returns true where an endpoint is at the place of one that was told from it by as sure a sign, which is gone then:
/// a phone that has begun anew as another instance, or another one that was given the address.
///
/// Behind a NAT a Contact says where a phone is with its flow alone, and one flow may be many phones' behind a proxy.
pub(crate) fn displaces(new: &Endpoint, old: &Endpoint) -> bool {
    let as_sure = match (&*new.identity, &*old.identity) {
        (Identity::Instance(_), Identity::Instance(_))
        | (Identity::Epid(_), Identity::Epid(_))
        | (Identity::Contact { .. }, Identity::Contact { .. }) => true,
        (Identity::Instance(_) | Identity::Epid(_) | Identity::Contact { .. }, _) => false,
    };
    let (Ok(there), Ok(was)) = (Uri::parse(&new.contact), Uri::parse(&old.contact)) else {
        return false;
    };
    let seen = |flow: Option<Flow>| flow.map(|flow| (flow.transport, flow.peer));
    let same_flow = new.flow.is_some() && seen(new.flow) == seen(old.flow);
    let direct = new
        .flow
        .is_some_and(|flow| there.host_ip() == Some(flow.peer.ip()));
    let same_host = there.host.eq_ignore_ascii_case(was.host) && there.port == was.port;
    as_sure
        && new.path == old.path
        && !same(&new.identity, &old.identity)
        && (there.equals(&was) && (direct || same_flow) || same_host && same_flow)
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
        .or_else(|| display.filter(|display| !display.is_empty()))
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

#[cfg(test)]
mod tests {
    use super::super::testing::{Book, START, aor, message, settings, udp};
    use super::*;
    use crate::engine::settings::StaticEndpoint;
    use crate::engine::time::Millis;
    use crate::sip::Contacts;

    fn request(lines: &str) -> Message {
        message(&format!(
            "INVITE sip:alice@example.org SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\n\
             To: <sip:alice@example.org>;epid=ffff\nCall-ID: c\nCSeq: 1 INVITE\n{lines}\n"
        ))
    }

    fn response(lines: &str) -> Message {
        message(&format!(
            "SIP/2.0 200 OK\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\n\
             From: <sip:alice@example.org>;tag=1;epid=eeee\nCall-ID: c\nCSeq: 1 INVITE\n{lines}\n"
        ))
    }

    fn first(message: &Message) -> Address<'_> {
        match message.contacts().unwrap() {
            Contacts::List(list) => list.into_iter().next().unwrap(),
            Contacts::None | Contacts::Star => panic!("no contact"),
        }
    }

    fn of(message: &Message) -> Identity {
        identity(&first(message), message)
    }

    fn by_contact(user: &str, host: &str, user_agent: &str) -> Identity {
        Identity::Contact {
            user: user.into(),
            host: host.into(),
            user_agent: user_agent.into(),
            behind: None,
        }
    }

    #[test]
    fn the_surest_sign_counts() {
        let urn = "urn:uuid:00000000-0000-1000-8000-000a95a0e128";
        let from = "From: <sip:bob@example.org>;tag=1;epid=01AB";
        let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
        let gruu = "<sip:bob@example.org;gr=urn:uuid:00000000-0000-1000-8000-000A95A0E128>";
        let escaped = gruu.replace("urn:uuid:", "urn%3Auuid%3a");
        let to = "To: <sip:bob@example.org>;tag=2;epid=01AB";
        for (message, expected) in [
            (
                request(&format!("{from}\nContact: <sip:bob@h:5>;{instance}")),
                Identity::Instance(urn.into()),
            ),
            (
                request(&format!("{from}\nContact: sip:bob@h:5;reg-id=1;{instance}")),
                Identity::Instance(urn.into()),
            ),
            (
                request(&format!("{from}\nContact: {gruu}")),
                Identity::Instance(urn.into()),
            ),
            (
                request(&format!("{from}\nContact: {escaped}")),
                Identity::Instance(urn.into()),
            ),
            // A GRUU that does not show its instance; an empty instance.
            (
                request(&format!(
                    "{from}\nContact: <sip:bob@h;gr=kjh29>;+sip.instance=\"<>\""
                )),
                Identity::Epid("01ab".into()),
            ),
            (
                response(&format!("{to}\nContact: <sip:bob@h:5>")),
                Identity::Epid("01ab".into()),
            ),
            (
                request(
                    "From: <sip:b@c>;tag=1\nContact: <sip:%62ob@H:5>\nUser-Agent: Phone/1.0 (x)",
                ),
                by_contact("bob", "h", "Phone"),
            ),
            (
                response("To: <sip:b@c>;tag=1\nContact: <sip:bob@H>\nServer: Phone 2"),
                by_contact("bob", "h", "Phone"),
            ),
            (
                response("To: <sip:b@c>;tag=1\nContact: <sip:bob@H>\nUser-Agent: Phone"),
                by_contact("bob", "h", "Phone"),
            ),
            (
                request("From: <sip:b@c>;tag=1\nContact: <sip:[2001:DB8::1]>\nServer: X"),
                by_contact("", "2001:db8::1", ""),
            ),
        ] {
            assert_eq!(of(&message), expected, "{message:?}");
        }
    }

    #[test]
    fn which_are_the_same() {
        let instance = |text: &str| Identity::Instance(text.into());
        let epid = |text: &str| Identity::Epid(text.into());
        let phone = by_contact("bob", "h", "Phone");
        for (a, b, expected) in [
            (instance("x"), instance("x"), true),
            (instance("x"), instance("y"), false),
            (instance("x"), epid("x"), false),
            (epid("x"), epid("x"), true),
            (instance("x"), phone.clone(), false),
            (phone.clone(), phone.clone(), true),
            (phone.clone(), by_contact("bob", "h", ""), true),
            (phone.clone(), by_contact("bob", "h", "Other"), false),
            (phone.clone(), by_contact("bob", "i", "Phone"), false),
            (phone.clone(), by_contact("rob", "h", "Phone"), false),
        ] {
            assert_eq!(same(&a, &b), expected, "{a:?} {b:?}");
            assert_eq!(same(&b, &a), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn who_is_in_the_place_of_another() {
        let at = |instance: &str, contact: &str, flow: Option<&str>| Endpoint {
            identity: Identity::Instance(instance.into()).into(),
            contact: contact.into(),
            flow: flow.map(udp),
            path: Vec::new(),
            name: "x".into(),
            through: None,
        };
        let (here, natted) = ("sip:bob@198.51.100.2:5060", "sip:bob@10.0.0.2:5060");
        let old = at("old", here, Some("198.51.100.2:5060"));
        let behind = at("old", natted, Some("203.0.113.1:4001"));
        let edge = |endpoint: &Endpoint| Endpoint {
            path: vec!["<sip:edge.example;lr>".into()],
            ..endpoint.clone()
        };
        let table = [
            (at("new", here, Some("198.51.100.2:5060")), &old, true),
            // By another connection, or a port that it has given up.
            (at("new", here, Some("198.51.100.2:40001")), &old, true),
            // Under another name on the same socket.
            (
                at("new", "sip:x7@198.51.100.2:5060", Some("198.51.100.2:5060")),
                &old,
                true,
            ),
            // The same one, and another one beside it.
            (at("old", here, Some("198.51.100.2:5060")), &old, false),
            (
                at(
                    "new",
                    "sip:bob@198.51.100.2:5062",
                    Some("198.51.100.2:5062"),
                ),
                &old,
                false,
            ),
            (at("new", here, None), &old, false),
            // Behind a NAT, and behind another one.
            (at("new", natted, Some("203.0.113.1:4001")), &behind, true),
            (at("new", natted, Some("203.0.113.1:4002")), &behind, false),
            // By way of a proxy, or not.
            (
                edge(&at("new", here, Some("198.51.100.2:5060"))),
                &old,
                false,
            ),
        ];
        for (new, old, expected) in table {
            assert_eq!(displaces(&new, old), expected, "{new:?} {old:?}");
        }
    }

    #[test]
    fn the_name_shown() {
        let mut settings = settings();
        settings
            .names
            .insert("urn:x:1".into(), "Bob's mobile".into());
        settings.endpoints.push(StaticEndpoint {
            aor: aor("sip:bob@example.org"),
            contact: "sip:bob@192.0.2.9:5080".into(),
            name: Some("Bob's desk".into()),
        });
        let long = "x".repeat(100);
        for (lines, expected) in [
            (
                "Contact: \"Me\" <sip:bob@h>;+sip.instance=\"<URN:x:1>\"",
                "Bob's mobile",
            ),
            (
                "Contact: \"Me\" <sip:bob@h>;+sip.instance=\"<urn:x:2>\"",
                "Me",
            ),
            ("Contact: \"Me\" <sip:bob@192.0.2.9:5080>", "Bob's desk"),
            (
                "Contact: \" Me too \" <sip:bob@h>\nUser-Agent: Phone/1",
                "Me too",
            ),
            ("Contact: \"\" <sip:bob@h>\nUser-Agent: Phone/1", "Phone"),
            ("Contact: <sip:bob@h>\nUser-Agent: (none) x", "h"),
            ("Contact: <sip:bob@[2001:db8::1]:5060>", "2001:db8::1"),
            (&format!("Contact: {long} <sip:bob@h>"), &long[..64]),
        ] {
            let message = request(&format!("From: <sip:b@c>;tag=1\n{lines}"));
            let endpoint = endpoint(&first(&message), &message, None, &settings);
            assert_eq!(&*endpoint.name, expected, "{lines}");
        }
    }

    #[test]
    fn a_caller_is_known_by_its_registration() {
        let settings = settings();
        let bob = aor("sip:bob@example.org");
        let binding = |contact: &str, peer: &str, name: &str, live: bool| {
            let message = request(&format!("From: <sip:b@c>;tag=1\nContact: {contact}"));
            let mut endpoint = endpoint(&first(&message), &message, Some(udp(peer)), &settings);
            endpoint.name = name.into();
            Binding {
                endpoint,
                reg_id: None,
                q: 1000,
                expires: if live { START + Millis(1) } else { START },
                call_id: "c".into(),
                cseq: 1,
                user_agent: "".into(),
                params: "".into(),
                allow: "".into(),
                registered: START,
                token: None,
                gruu: None,
                timed: false,
            }
        };
        let one = "<sip:bob-0x1@192.0.2.1>;+sip.instance=\"<urn:x:1>\"";
        let two = "<sip:bob-0x2@192.0.2.2>;+sip.instance=\"<urn:x:2>\"";
        let book = Book::of(
            [(
                bob.clone(),
                vec![
                    binding(one, "192.0.2.1:5060", "one", true),
                    binding(two, "192.0.2.2:5060", "two", true),
                    binding("<sip:bob@old>", "192.0.2.3:5060", "old", false),
                    binding("<sip:a@192.0.2.7:1>", "192.0.2.7:5060", "a", true),
                    binding("<sip:b@192.0.2.7:2>", "192.0.2.7:5060", "b", true),
                ],
            )]
            .into(),
        );
        for (contact, peer, expected) in [
            // By the instance, wherever it calls from now.
            (two, "192.0.2.1:5060", "two"),
            // By the flow.
            ("<sip:bob@elsewhere:9>", "192.0.2.1:5060", "one"),
            // By the Contact, from another port.
            ("<sip:bob-0x2@192.0.2.2>", "192.0.2.2:9999", "two"),
            // Two on one flow: by the Contact.
            ("<sip:b@192.0.2.7:2>", "192.0.2.7:5060", "b"),
            // By user and host, where the port alone is new.
            ("<sip:a@192.0.2.7:3>", "192.0.2.7:5061", "a"),
            // Another instance is another endpoint, even on a flow that is known.
            (
                "<sip:x@h>;+sip.instance=\"<urn:x:3>\"",
                "192.0.2.1:5060",
                "h",
            ),
            ("<sip:bob@old>", "192.0.2.3:5060", "old"),
            ("<sip:bob@new>", "192.0.2.3:5060", "new"),
        ] {
            let message = request(&format!("From: <sip:b@c>;tag=1\nContact: {contact}"));
            let contact = first(&message);
            let flow = udp(peer);
            let caller = caller(&contact, &message, &flow, &bob, START, &settings, &book);
            assert_eq!(&*caller.name, expected, "{contact:?}");
            assert_eq!((&*caller.contact, caller.flow), (contact.uri, Some(flow)));
        }
    }
}
