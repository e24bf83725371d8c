//! Addresses of record in canonical form, and the domains they belong to.

use std::fmt::Write;
use std::net::Ipv6Addr;

use crate::engine::ids::Aor;
use crate::engine::settings::{Domain, ServedBy, Settings};
use crate::sip::{Params, Scheme, Uri};

/// Returns the address of record of a URI in the form that `Aor` documents: two URIs that name the
/// same person give the same text (RFC 3261 10.3 step 5).
///
/// Scheme `sips` becomes `sip`; password, port, parameters and headers are dropped; the host is in
/// lower case, without a closing dot, IPv6 in its short form and in brackets. Of the user, escapes
/// that need not be there are undone and others written with capitals; its case is kept (RFC 3261
/// 19.1.4). A user that is a telephone number (RFC 3261 19.1.6) is it without visual separators and parameters
/// (RFC 3966 3, RFC 4694), but for the context of a local one. Of a `tel:` URI both are dropped. A service
/// (`urn:service:sos.police`, RFC 5031) is in lower case.
///
/// None where it is no URI, has no user, or is of another scheme.
pub fn canonical(uri: &str) -> Option<Aor> {
    let uri = Uri::parse(uri).ok()?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {
            let user = uri.user?;
            let phone = uri.params.value("user");
            let phone = phone.is_some_and(|user| user.eq_ignore_ascii_case("phone"));
            let (user, host) = (unescaped(user.as_bytes()), host_text(uri.host));
            Some(match number(&user, &host, phone) {
                Some(number) => of_text(number.as_bytes(), &host),
                None => of_text(&user, &host),
            })
        }
        Scheme::Tel => {
            let number: String = uri
                .user?
                .chars()
                .filter(|c| !matches!(c, '-' | '.' | '(' | ')'))
                .map(|c| c.to_ascii_lowercase())
                .collect();
            (!number.is_empty()).then(|| Aor::from_canonical(format!("tel:{number}")))
        }
        Scheme::Other(scheme) => service(scheme, uri.host),
    }
}

/// RFC 5031 4.2: a URN whose labels name a service.
fn service(scheme: &str, rest: &str) -> Option<Aor> {
    let rest = rest.to_ascii_lowercase();
    let labels = rest.strip_prefix("service:")?;
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let named = scheme.eq_ignore_ascii_case("urn") && labels.split('.').all(is_label);
    named.then(|| Aor::from_canonical(format!("urn:{rest}")))
}

/// Returns the address of record that a URI means here: canonical, and under the domain `*` the one
/// that phones meet at whatever name or address of ours they use.
///
/// Where the first domain that matches is `*` with a registrar, the host says nothing about the
/// person: `sip:alice@192.0.2.1` and `sip:alice@server.lan` are one. The AOR is then, first of:
/// 1. the one that was named, where a user or a static endpoint has it word for word;
/// 2. the same user at the domain's realm, where a user or a static endpoint has that;
/// 3. the only AOR with that user that users and static endpoints know;
/// 4. the same user at the domain's realm.
///
/// None where `canonical` gives none.
pub fn aor_in(uri: &str, settings: &Settings) -> Option<Aor> {
    let named = canonical(uri)?;
    match domain(named.host(), settings) {
        Some(Domain {
            host,
            realm,
            served_by: ServedBy::Registrar(_),
        }) if &**host == "*" && !named.host().is_empty() => {
            Some(at_any_host(named, realm, settings))
        }
        Some(_) | None => Some(named),
    }
}

fn at_any_host(named: Aor, realm: &str, settings: &Settings) -> Aor {
    if is_known(&named, settings) {
        return named;
    }
    let at_realm = Aor::from_canonical(format!("sip:{}@{}", named.user(), host_text(realm)));
    if is_known(&at_realm, settings) {
        return at_realm;
    }
    only_known(named.user(), settings).unwrap_or(at_realm)
}

/// Returns true where the configuration names the AOR: as a user or by a static endpoint.
pub fn is_known(aor: &Aor, settings: &Settings) -> bool {
    settings.users.contains_key(aor) || settings.endpoints.iter().any(|fixed| fixed.aor == *aor)
}

/// Returns the first domain that a host belongs to; `*` is any, but not no host at all.
pub fn domain<'s>(host: &str, settings: &'s Settings) -> Option<&'s Domain> {
    if host.is_empty() {
        return None;
    }
    let host = host_text(host);
    settings
        .domains
        .iter()
        .find(|domain| &*domain.host == "*" || host_text(&domain.host) == host)
}

/// Returns the one AOR with a user that users and static endpoints know, at whatever host.
pub(crate) fn only_known(user: &str, settings: &Settings) -> Option<Aor> {
    let prefix = format!("sip:{user}@");
    // Users are in the order of their text: those of one user part stand side by side.
    let users = settings
        .users
        .range(Aor::from_canonical(prefix.as_str())..)
        .map(|(aor, _)| aor)
        .take_while(|aor| aor.as_str().starts_with(&prefix));
    let fixed = settings
        .endpoints
        .iter()
        .map(|fixed| &fixed.aor)
        .filter(|aor| aor.as_str().starts_with(&prefix));
    let mut known = users.chain(fixed);
    let first = known.next()?;
    known.all(|other| other == first).then(|| first.clone())
}

/// Returns the telephone number that a user part is. With `phone` (the parameter `user=phone`) a local one may
/// have visual separators, too; without it `10.1` is somebody's name.
fn number(user: &[u8], host: &str, phone: bool) -> Option<String> {
    let user = std::str::from_utf8(user).ok()?;
    let (written, params) = user.split_once(';').unwrap_or((user, ""));
    let digits: String = written
        .chars()
        .filter(|c| !matches!(c, '-' | '.' | '(' | ')'))
        .collect();
    let all = |digits: &str, also: &str| {
        let mut digits = digits.chars();
        digits.all(|c| c.is_ascii_digit() || also.contains(c))
    };
    if let Some(global) = digits.strip_prefix('+') {
        return (!global.is_empty() && all(global, "")).then_some(digits);
    }
    let local = !digits.is_empty() && all(&digits, "*#") && (phone || digits == written);
    let context = Params::new(params).value("phone-context");
    match context.filter(|context| !context.eq_ignore_ascii_case(host)) {
        Some(context) => {
            local.then(|| format!("{digits};phone-context={}", context.to_ascii_lowercase()))
        }
        None => local.then_some(digits),
    }
}

/// Makes the AOR of a user whose escapes are undone, at a host that is already canonical.
pub(super) fn of_user(user: &[u8], host: &str) -> Aor {
    match number(user, host, false) {
        Some(number) => of_text(number.as_bytes(), host),
        None => of_text(user, host),
    }
}

fn of_text(user: &[u8], host: &str) -> Aor {
    let mut text = String::with_capacity(user.len() + host.len() + 5);
    text.push_str("sip:");
    for byte in user {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text.push('@');
    text.push_str(host);
    Aor::from_canonical(text)
}

/// Returns a host in lower case, IPv6 short and in brackets.
pub(crate) fn host_text(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// Undoes escapes. Bytes, since what they stand for need not be UTF-8.
pub(super) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::testing::{aor, default_settings, registrar, settings};
    use super::*;
    use crate::engine::settings::{Auth, StaticEndpoint};

    #[test]
    fn canonical_form() {
        for (uri, expected) in [
            ("sip:bob@example.org", "sip:bob@example.org"),
            ("SIPS:Bob@Example.ORG.", "sip:Bob@example.org"),
            (
                "sip:bob:pw@example.org:5070;transport=tcp?subject=x",
                "sip:bob@example.org",
            ),
            ("sip:%62ob%2fx@example.org", "sip:bob/x@example.org"),
            ("sip:b%c3%a9%40x@h", "sip:b%C3%A9%40x@h"),
            ("sip:b\u{e9}@h", "sip:b%C3%A9@h"),
            ("sip:%ff%3A@h", "sip:%FF%3A@h"),
            // A number, however it is written.
            ("sip:+1-201;phone-context=x@h", "sip:+1201@h"),
            ("sip:+49-(30).123;npdi;rn=+4940@h", "sip:+4930123@h"),
            ("sip:%2B49-30-123@h;user=phone", "sip:+4930123@h"),
            ("sip:030-123@h;user=phone", "sip:030123@h"),
            ("sip:0301;tgrp=x@h", "sip:0301@h"),
            ("sip:12;Phone-Context=X@h", "sip:12;phone-context=x@h"),
            ("sip:12;phone-context=h@h", "sip:12@h"),
            // None.
            ("sip:10.1@h", "sip:10.1@h"),
            ("sip:+49a-b;x@h", "sip:+49a-b;x@h"),
            ("sip:bob;x@h;user=phone", "sip:bob;x@h"),
            ("sip:-@h;user=phone", "sip:-@h"),
            ("sip:+@h", "sip:+@h"),
            ("sip:bob@[2001:DB8:0::1]:5060", "sip:bob@[2001:db8::1]"),
            ("sip:bob@192.0.2.1:5060", "sip:bob@192.0.2.1"),
            ("tel:+1-(201).555-0123;x=y", "tel:+12015550123"),
            ("tel:7A42", "tel:7a42"),
            ("URN:Service:SOS.Police", "urn:service:sos.police"),
        ] {
            assert_eq!(canonical(uri).unwrap().as_str(), expected, "{uri}");
            // What is canonical stays so.
            assert_eq!(canonical(expected).unwrap().as_str(), expected);
        }
        for none in [
            "",
            "bob",
            "sip:example.org",
            "sip:@example.org",
            "mailto:bob@example.org",
            "tel:-.-",
            "sip:bob@",
            "sip:a%4@b",
            "urn:uuid:f81d4fae",
            "urn:service:",
            "urn:service:sos..x",
            "urn:service:sos@example.org",
            "urx:service:sos",
        ] {
            assert_eq!(canonical(none), None, "{none}");
        }
    }

    #[test]
    fn a_domain_of_any_host_has_one_address_for_a_user() {
        let mut settings = default_settings();
        for uri in [
            "sip:alice@refork",
            "sip:alice@192.0.2.1:5060",
            "sip:alice@[2001:db8::1]",
            "sips:alice@Server.lan",
        ] {
            assert_eq!(
                aor_in(uri, &settings).unwrap().as_str(),
                "sip:alice@refork",
                "{uri}"
            );
        }
        // Nobody's: at the realm.
        assert_eq!(
            aor_in("sip:dave@h", &settings).unwrap().as_str(),
            "sip:dave@refork"
        );
        // Named word for word.
        settings
            .users
            .insert(aor("sip:alice@example.org"), Default::default());
        for (uri, expected) in [
            ("sip:alice@example.org", "sip:alice@example.org"),
            ("sip:alice@192.0.2.1", "sip:alice@refork"),
        ] {
            assert_eq!(aor_in(uri, &settings).unwrap().as_str(), expected, "{uri}");
        }
        // The only one with that user, however often; not one of two; not one that begins alike.
        let fixed = |text: &str| StaticEndpoint {
            aor: aor(text),
            contact: "sip:x@y".into(),
            name: None,
        };
        settings
            .users
            .insert(aor("sip:bob@home"), Default::default());
        settings
            .users
            .insert(aor("sip:bobby@home"), Default::default());
        settings.endpoints = vec![
            fixed("sip:bob@home"),
            fixed("sip:carol@a"),
            fixed("sip:carol@b"),
        ];
        for (uri, expected) in [
            ("sip:bob@192.0.2.1", "sip:bob@home"),
            ("sip:carol@192.0.2.1", "sip:carol@refork"),
            ("sip:bo@192.0.2.1", "sip:bo@refork"),
        ] {
            assert_eq!(aor_in(uri, &settings).unwrap().as_str(), expected, "{uri}");
        }
        // A number is at no host.
        assert_eq!(aor_in("tel:+1", &settings).unwrap().as_str(), "tel:+1");
    }

    #[test]
    fn hosts_of_other_domains_stay() {
        let mut settings = settings();
        settings.domains.push(Domain {
            host: "*".into(),
            realm: "refork".into(),
            served_by: ServedBy::Upstream("pbx".into()),
        });
        for same in ["sip:alice@example.org", "sip:alice@elsewhere.example"] {
            assert_eq!(aor_in(same, &settings).unwrap().as_str(), same);
        }
    }

    #[test]
    fn the_first_domain_that_matches() {
        let mut settings = settings();
        settings.domains.push(Domain {
            host: "2001:db8::1".into(),
            realm: "six".into(),
            served_by: registrar(Auth::None),
        });
        let find = |settings: &Settings, host: &str| {
            domain(host, settings).map(|domain| domain.realm.to_string())
        };
        for (host, realm) in [
            ("Example.Org", Some("example.org")),
            ("example.org.", Some("example.org")),
            ("[2001:DB8::1]", Some("six")),
            ("sub.example.org", None),
            ("", None),
        ] {
            assert_eq!(find(&settings, host).as_deref(), realm, "{host}");
        }
        settings.domains.insert(
            0,
            Domain {
                host: "*".into(),
                realm: "any".into(),
                served_by: registrar(Auth::None),
            },
        );
        assert_eq!(find(&settings, "example.org").as_deref(), Some("any"));
        assert_eq!(find(&settings, ""), None);
    }
}
