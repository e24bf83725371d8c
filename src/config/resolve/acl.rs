//! `acl`: who is heard, and who is trusted.

use super::{Check, key};
use crate::config::file::File;
use crate::config::tree::Step;
use crate::engine::network::Network;
use crate::engine::settings::AclSettings;

pub(super) fn resolve(file: &File, check: &mut Check<'_>) -> AclSettings {
    let trusted_certificates = certificates(file, check);
    let trusting = "nobody is asked for a password, and whoever sends a request may call anywhere";
    let path = key("acl.trusted");
    warn_of_everybody(&path, &file.acl.trusted, trusting, check);
    let mut of = |name: &str, list: &[String]| networks(&key(name), list, check);
    AclSettings {
        allow: of("acl.allow", &file.acl.allow),
        deny: of("acl.deny", &file.acl.deny),
        trusted: of("acl.trusted", &file.acl.trusted),
        trusted_certificates,
        identity_to_phones: file.acl.identity_to_phones,
    }
}

/// Reads a list of networks.
pub(super) fn networks(path: &[Step<'_>], list: &[String], check: &mut Check<'_>) -> Vec<Network> {
    let mut networks = Vec::with_capacity(list.len());
    for (index, text) in list.iter().enumerate() {
        match text.parse() {
            Ok(network) => networks.push(network),
            Err(_) => check.problem(
                &[path, &[Step::Item(index)]].concat(),
                format!("`{text}` is no network"),
                "an address, or one with a prefix length: 192.0.2.7, 10.0.0.0/8, 2001:db8::/32",
            ),
        }
    }
    networks
}

/// Warns of networks that are trusted and hold every address. `trusting` says what everybody can do then.
pub(super) fn warn_of_everybody(
    path: &[Step<'_>],
    list: &[String],
    trusting: &str,
    check: &mut Check<'_>,
) {
    for (index, text) in list.iter().enumerate() {
        if text.parse().is_ok_and(|network: Network| network.is_all()) {
            let path = [path, &[Step::Item(index)]].concat();
            let what =
                format!("{text} is everybody: {trusting}; name the addresses that are meant");
            check.warn_at(&path, &what);
        }
    }
}

/// Returns the names as `tls::names` gives them.
fn certificates(file: &File, check: &mut Check<'_>) -> Vec<Box<str>> {
    let path = key("acl.trusted_certificates");
    let listed = &file.acl.trusted_certificates;
    if !listed.is_empty() && file.tls.client_ca.is_none() && check.is_whole(&key("tls")) {
        check.problem(
            &path,
            "no client is asked for a certificate",
            "name in `tls.client_ca` who signs those of whom you trust",
        );
    }
    let mut names = Vec::with_capacity(listed.len());
    for (index, text) in listed.iter().enumerate() {
        let Some(name) = identity(text) else {
            let mut path = path.clone();
            path.push(Step::Item(index));
            check.problem(
                &path,
                format!("`{text}` is no name of a certificate"),
                "a domain without wildcards, or a SIP user: pbx.example.net, sip:example.net, \
                 sip:bob@example.net",
            );
            continue;
        };
        names.push(name);
    }
    names
}

/// RFC 5922 7.1: a domain, or a user of one.
fn identity(text: &str) -> Option<Box<str>> {
    let lower = text.to_ascii_lowercase();
    let (user, domain) = match lower.strip_prefix("sip:") {
        None => (None, &*lower),
        Some(rest) => match rest.split_once('@') {
            None => (None, rest),
            Some((user, domain)) => (Some(user), domain),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if !domain.split('.').all(is_label) {
        return None;
    }
    match user {
        None => Some(domain.into()),
        Some(user) if user.is_empty() || !user.bytes().all(|b| b.is_ascii_graphic()) => None,
        Some(_) => Some(lower.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_certificates_have_them() {
        for (text, name) in [
            ("PBX.example.net", Some("pbx.example.net")),
            ("sip:Example.net", Some("example.net")),
            ("sip:Bob@Example.net", Some("sip:bob@example.net")),
            ("localhost", Some("localhost")),
            ("", None),
            ("*.example.net", None),
            ("sip:", None),
            ("sip:@example.net", None),
            ("sips:example.net", None),
            ("example.net:5061", None),
            ("example..net", None),
            ("sip:b b@example.net", None),
        ] {
            assert_eq!(identity(text).as_deref(), name, "{text}");
        }
    }
}
