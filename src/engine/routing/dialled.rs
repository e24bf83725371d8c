//! What somebody dials: the SIP URI that it stands for here, by which it is routed.
//!
//! | what is dialled | stands for |
//! | --- | --- |
//! | `tel:` (RFC 3966) | the number, as RFC 3261 19.1.6 writes it, in the domain of who dials; of a peer or a stranger whoever has it, else in the first domain |
//! | a number of a user (`Settings::numbers`) in the user's domain | that user |
//! | anybody at an address of ours, which is no domain; a global number that an upstream asks for at any host | whoever has that user part or number, where that is one |
//! | anything else | itself |

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

use crate::engine::asker::Asker;
use crate::engine::ids::{Aor, Flow};
use crate::engine::location::{aor_in, canonical, domain, host_text, is_known, only_known};
use crate::engine::ports::World;
use crate::engine::settings::{Domain, ServedBy, Settings};
use crate::sip::{Scheme, Uri};

/// Who dials.
pub(crate) struct By<'a> {
    pub(crate) asker: &'a Asker,
    /// The address of ours that it is told. It may know others.
    pub(crate) at: IpAddr,
    /// The upstreams that it comes by.
    pub(crate) came_by: &'a [Box<str>],
}

impl<'a> By<'a> {
    /// Somebody who is heard over a flow, and is told the address that we have there.
    pub(crate) fn over(flow: &Flow, asker: &'a Asker, world: &dyn World) -> Self {
        Self {
            asker,
            at: world.advertised(flow).ip(),
            came_by: &[],
        }
    }

    fn finds_us_at(&self, ip: IpAddr, world: &dyn World) -> bool {
        ip == self.at.to_canonical() || world.is_ours(ip)
    }
}

/// Returns the SIP URI that stands for a URI here.
pub(crate) fn dialled<'u>(
    uri: &'u str,
    by: &By<'_>,
    settings: &Settings,
    world: &dyn World,
) -> Cow<'u, str> {
    let Ok(parsed) = Uri::parse(uri) else {
        return uri.into();
    };
    let (uri, anywhere) = match parsed.scheme {
        Scheme::Other(_) => return uri.into(),
        // A fixed endpoint may be of a number that is in no domain.
        Scheme::Tel if canonical(uri).is_some_and(|aor| is_known(&aor, settings)) => {
            return uri.into();
        }
        Scheme::Tel => {
            // An upstream dials whom it takes to be here, and not itself.
            let own = domain_of(by.asker, settings).filter(|_| by.came_by.is_empty());
            let Some(host) = own.clone().or_else(|| first_domain(settings)) else {
                return uri.into();
            };
            (Cow::Owned(in_domain(&parsed, &host)), own.is_none())
        }
        Scheme::Sip | Scheme::Sips => {
            let address = parsed.host_ip().map(|ip| ip.to_canonical());
            let number = || parsed.user_unescaped().starts_with('+');
            let meant = || {
                address.is_some_and(|ip| by.finds_us_at(ip, world))
                    || (!by.came_by.is_empty() && number())
            };
            let theirs = |there: &Domain| match &there.served_by {
                ServedBy::Upstream(upstream) => by.came_by.contains(upstream),
                ServedBy::Registrar(_) => false,
            };
            let anywhere = domain(parsed.host, settings).is_none_or(theirs) && meant();
            (Cow::Borrowed(uri), anywhere)
        }
    };
    let Some(user) = user_with(&uri, anywhere, settings, world) else {
        return uri;
    };
    let scheme = match parsed.scheme {
        Scheme::Sips => "sips",
        Scheme::Sip | Scheme::Tel | Scheme::Other(_) => "sip",
    };
    format!("{scheme}:{}@{}", user.user(), user.host()).into()
}

/// Returns the user who is meant by a URI that does not name them.
fn user_with(uri: &str, anywhere: bool, settings: &Settings, world: &dyn World) -> Option<Aor> {
    let named = canonical(uri)?;
    let served = domain(named.host(), settings);
    let is_somebody = |aor: &Aor| is_known(aor, settings) || !world.bindings(aor).is_empty();
    if aor_in(uri, settings).is_some_and(|aor| served.is_some() && is_somebody(&aor)) {
        return None;
    }
    let by_number = settings.numbers.get(named.user()).cloned();
    if !anywhere {
        let in_domain = |aor: &Aor| domain(aor.host(), settings) == served;
        return by_number.filter(|aor| served.is_some() && in_domain(aor));
    }
    let registrars = settings
        .domains
        .iter()
        .filter(|domain| is_registrar(domain));
    let bound = || {
        let mut at = registrars.map(|domain| format!("sip:{}@{}", named.user(), host_of(domain)));
        let (only, None) = (at.next()?, at.next()) else {
            return None;
        };
        Some(Aor::from_canonical(only)).filter(is_somebody)
    };
    by_number
        .or_else(|| only_known(named.user(), settings))
        .or_else(bound)
        .filter(|aor| domain(aor.host(), settings).is_some_and(is_registrar))
}

/// Returns the domain that somebody dials in.
fn domain_of(asker: &Asker, settings: &Settings) -> Option<Box<str>> {
    match asker {
        Asker::Proven(aor) | Asker::Unasked(aor) => Some(aor.host().into()),
        Asker::Of(upstream) | Asker::Says(upstream) => {
            let served = ServedBy::Upstream(upstream.clone());
            let mut domains = settings.domains.iter();
            let own = domains.find(|domain| domain.served_by == served && &*domain.host != "*");
            own.map(host_of)
        }
        Asker::Trusted | Asker::Stranger => None,
    }
}

/// Returns the domain of who has none here: one of our own users, where there is one.
fn first_domain(settings: &Settings) -> Option<Box<str>> {
    let mut named = settings
        .domains
        .iter()
        .filter(|domain| is_registrar(domain) || &*domain.host != "*");
    let own = named.clone().find(|domain| is_registrar(domain));
    own.or_else(|| named.next()).map(host_of)
}

fn is_registrar(domain: &Domain) -> bool {
    match domain.served_by {
        ServedBy::Registrar(_) => true,
        ServedBy::Upstream(_) => false,
    }
}

/// Returns the host of the addresses of a domain's users.
fn host_of(domain: &Domain) -> Box<str> {
    let host = if &*domain.host == "*" {
        &domain.realm
    } else {
        &domain.host
    };
    host_text(host).into()
}

/// Writes a telephone number as a SIP URI (RFC 3261 19.1.6).
fn in_domain(number: &Uri<'_>, host: &str) -> String {
    let mut text = "sip:".to_owned();
    let params = number.params.as_str();
    let semicolon = if params.is_empty() { "" } else { ";" };
    let user = [number.user.unwrap_or(""), semicolon, params].concat();
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text.extend(["@", host, ";user=phone"]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::endpoint::Binding;
    use crate::engine::location::testing::{Book, aor, default_settings, settings};
    use crate::engine::routing::tests::{binding, book};
    use crate::engine::settings::{Credentials, StaticEndpoint};

    /// Alice has two numbers, Bob's name is one; a PBX has a domain of its own.
    fn numbered() -> Settings {
        let mut settings = settings();
        let user = |settings: &mut Settings, text: &str| {
            settings.users.insert(aor(text), Credentials::default());
        };
        user(&mut settings, "sip:alice@example.org");
        user(&mut settings, "sip:+4930222@example.org");
        for number in ["+4930111", "030111"] {
            settings
                .numbers
                .insert(number.into(), aor("sip:alice@example.org"));
        }
        settings.endpoints.push(StaticEndpoint {
            aor: aor("tel:+4999"),
            contact: "sip:guard@192.0.2.11".into(),
            name: None,
        });
        settings
    }

    fn ask(settings: &Settings, asker: &Asker, came_by: &[&str], uri: &str) -> String {
        let came_by: Vec<Box<str>> = came_by.iter().map(|name| (*name).into()).collect();
        let by = By {
            asker,
            at: [192, 0, 2, 1].into(),
            came_by: &came_by,
        };
        dialled(uri, &by, settings, &Book::default()).into_owned()
    }

    #[test]
    fn a_number_is_one_of_the_domain_of_who_dials() {
        let settings = numbered();
        let alice = Asker::Proven(aor("sip:alice@example.org"));
        let of = Asker::Of("pbx".into());
        let says = Asker::Says("pbx".into());
        for (asker, uri, expected) in [
            (&alice, "tel:+49-40", "sip:+49-40@example.org;user=phone"),
            (
                &alice,
                "tel:12;phone-context=+4930;x=a:b",
                "sip:12;phone-context=+4930;x=a%3Ab@example.org;user=phone",
            ),
            (&of, "tel:+4940", "sip:+4940@pbx.example.net;user=phone"),
            (&says, "tel:+4940", "sip:+4940@pbx.example.net;user=phone"),
            // The PBX's to know.
            (
                &of,
                "tel:+4930111",
                "sip:+4930111@pbx.example.net;user=phone",
            ),
            (
                &Asker::Trusted,
                "tel:+4940",
                "sip:+4940@example.org;user=phone",
            ),
            (
                &Asker::Stranger,
                "tel:+4940",
                "sip:+4940@example.org;user=phone",
            ),
            // A user's.
            (&alice, "tel:+49-30-111", "sip:alice@example.org"),
            (&Asker::Trusted, "tel:+4930111", "sip:alice@example.org"),
            (
                &Asker::Trusted,
                "tel:+4930222",
                "sip:+4930222@example.org;user=phone",
            ),
            (&alice, "tel:+49-99", "tel:+49-99"),
        ] {
            assert_eq!(ask(&settings, asker, &[], uri), expected, "{asker:?} {uri}");
        }
        let dialled = ask(&settings, &says, &["pbx"], "tel:+4930111");
        assert_eq!(dialled, "sip:alice@example.org", "the PBX itself asks");
    }

    #[test]
    fn a_users_numbers_mean_the_user_in_its_domain_and_at_our_address() {
        let settings = numbered();
        let trunk: &[&str] = &["trunk"];
        for (came_by, uri, expected) in [
            (
                &[][..],
                "sip:+49-30-111;npdi@example.org",
                "sip:alice@example.org",
            ),
            (&[], "sips:030111@example.org", "sips:alice@example.org"),
            (
                &[],
                "sip:030-111@192.0.2.1:5060;user=phone",
                "sip:alice@example.org",
            ),
            (&[], "sip:+4930222@192.0.2.1", "sip:+4930222@example.org"),
            (&[], "sip:alice@192.0.2.1", "sip:alice@example.org"),
            // Another host is somebody else's, unless an upstream asks for a number.
            (&[], "sip:+4930111@192.0.2.9", "sip:+4930111@192.0.2.9"),
            (
                &[],
                "sip:+4930111@pbx.example.net",
                "sip:+4930111@pbx.example.net",
            ),
            (trunk, "sip:+4930111@trunk.example", "sip:alice@example.org"),
            // It does not ask for itself.
            (
                &["pbx"],
                "sip:+4930111@pbx.example.net",
                "sip:alice@example.org",
            ),
            (
                trunk,
                "sip:+4930222@trunk.example",
                "sip:+4930222@example.org",
            ),
            (trunk, "sip:alice@trunk.example", "sip:alice@trunk.example"),
            (
                trunk,
                "sip:030111@trunk.example",
                "sip:030111@trunk.example",
            ),
            // Nobody's.
            (trunk, "sip:+4930333@192.0.2.1", "sip:+4930333@192.0.2.1"),
            (&[], "sip:dave@192.0.2.1", "sip:dave@192.0.2.1"),
            (&[], "sip:dave@example.org", "sip:dave@example.org"),
        ] {
            let asked = ask(&settings, &Asker::Trusted, came_by, uri);
            assert_eq!(asked, expected, "{uri}");
        }
    }

    #[test]
    fn the_name_of_a_user_goes_before_a_number() {
        let mut settings = numbered();
        let alice = aor("sip:alice@example.org");
        settings.numbers.insert("+4930222".into(), alice);
        for uri in ["sip:+4930222@example.org", "tel:+4930222"] {
            let asked = ask(&settings, &Asker::Trusted, &[], uri);
            assert!(asked.starts_with("sip:+4930222@example.org"), "{asked}");
        }
    }

    #[test]
    fn where_one_domain_has_whoever_registers_it_is_meant_by_our_address() {
        let mut settings = default_settings();
        settings.domains[0].host = "office.example".into();
        let held: &[Binding] = &[binding("sip:7@h", 500, None, 0)];
        let world = book(&[("sip:7@office.example", held)]);
        let by = By {
            asker: &Asker::Trusted,
            at: [192, 0, 2, 1].into(),
            came_by: &[],
        };
        for (uri, expected) in [
            ("sip:7@192.0.2.1", "sip:7@office.example"),
            ("sip:8@192.0.2.1", "sip:8@192.0.2.1"),
        ] {
            assert_eq!(dialled(uri, &by, &settings, &world), expected);
        }
    }
}
