//! `domains`: who is ours.

use super::{Check, key, operation::count, upstreams::check_upstream};
use crate::config::file::{self, File};
use crate::config::resolved::Listener;
use crate::config::tree::Step;
use crate::engine::ids::Aor;
use crate::engine::location::canonical;
use crate::engine::settings::{Auth, Domain, RegistrarSettings, ServedBy};
use crate::engine::time::Millis;
use crate::sip::Uri;

/// The realm of `*`, and of the domain that there is where none is named.
const REALM: &str = "refork";
pub(super) const AOR_FORM: &str = "sip:user@host, without port and parameters";
const DOMAIN_FORM: &str = "a host name, an IP address, or * for any";
const REALM_MAX: usize = 128;

pub(super) fn resolve(file: &File, listeners: &[Listener], check: &mut Check<'_>) -> Vec<Domain> {
    let mut domains: Vec<Domain> = Vec::new();
    for (name, domain) in &file.domains.0 {
        let path = [Step::Key("domains"), Step::Key(name)];
        let host = name
            .trim_matches(['[', ']'])
            .trim_end_matches('.')
            .to_ascii_lowercase();
        if host != "*" && !is_host(&host) {
            check.key_problem(&path, format!("`{name}` is no domain"), DOMAIN_FORM);
        }
        if let Some(before) = domains.iter().find(|d| *d.host == host || &*d.host == "*") {
            let what = if *before.host == host {
                format!("`{name}` is listed twice")
            } else {
                "this is never reached: `*` stands before it".to_owned()
            };
            check.key_problem(&path, what, "the first match wins");
        }
        let domain = domain.clone().unwrap_or_default();
        domains.push(self::domain(&host, &domain, &path, listeners, check));
    }
    if file.domains.0.is_empty() {
        let path = key("domains");
        domains.push(domain(
            "*",
            &file::Domain::default(),
            &path,
            listeners,
            check,
        ));
    }
    domains
}

fn domain(
    host: &str,
    domain: &file::Domain,
    path: &[Step<'_>],
    listeners: &[Listener],
    check: &mut Check<'_>,
) -> Domain {
    let below = |part| {
        let mut below = path.to_vec();
        below.push(Step::Key(part));
        below
    };
    let default = if host == "*" { REALM } else { host };
    let realm = domain.realm.as_deref().unwrap_or(default);
    if !is_realm(realm, host) {
        check.problem(
            &below("realm"),
            format!("`{realm}` is no realm"),
            if host == "*" {
                "of `*` it also becomes the host of addresses: letters, digits, dots and hyphens"
            } else {
                "visible characters, no quotes and no backslashes"
            },
        );
    }
    if let (Some(lamps), Some(_)) = (domain.lamps, &domain.upstream) {
        check.problem(
            &below("lamps"),
            format!("lamps ({lamps}) of a domain that an upstream serves"),
            "they are the upstream's to light: leave it out",
        );
    }
    let served_by = match (&domain.registrar, &domain.upstream) {
        (Some(_), Some(_)) => {
            check.problem(
                &below("upstream"),
                "a domain has a registrar or an upstream, not both",
                "keep one of them",
            );
            ServedBy::Upstream(REALM.into())
        }
        (None, Some(upstream)) => {
            check_upstream(upstream, &below("upstream"), check);
            ServedBy::Upstream(upstream.as_str().into())
        }
        (registrar, None) => {
            let registrar = registrar.clone().unwrap_or_default();
            let path = below("registrar");
            ServedBy::Registrar(RegistrarSettings {
                lamps: domain.lamps.unwrap_or(true),
                ..self::registrar(&registrar, &path, listeners, check)
            })
        }
    };
    Domain {
        host: host.into(),
        realm: realm.into(),
        served_by,
    }
}

fn registrar(
    registrar: &file::Registrar,
    path: &[Step<'_>],
    listeners: &[Listener],
    check: &mut Check<'_>,
) -> RegistrarSettings {
    let mut below = path.to_vec();
    if registrar.min_expires.0 > registrar.max_expires.0 {
        below.push(Step::Key("min_expires"));
        check.problem(
            &below,
            format!(
                "min_expires ({}) is longer than max_expires ({})",
                registrar.min_expires, registrar.max_expires
            ),
            "",
        );
        below.pop();
    }
    let auth = match registrar.auth {
        file::Auth::Users => Auth::Users,
        file::Auth::None => Auth::None,
    };
    // Whoever comes through a proxy comes from anywhere.
    let open = listeners
        .iter()
        .find(|l| !l.at.ip().is_loopback() || l.proxies.is_some());
    if let (Auth::None, Some(open)) = (auth, open) {
        below.push(Step::Key("auth"));
        let why = if open.proxies.is_some() {
            "is behind a proxy"
        } else {
            "is not on loopback"
        };
        check.problem(
            &below,
            format!(
                "`none` lets anyone register, and {}://{} {why}",
                open.transport.param(),
                open.at
            ),
            "use `users`, or listen on 127.0.0.1 and [::1] only, without `proxies`",
        );
    }
    RegistrarSettings {
        max_expires: Millis(registrar.max_expires.0),
        min_expires: Millis(registrar.min_expires.0),
        max_bindings: count(registrar.max_bindings.0),
        auth,
        ..RegistrarSettings::default()
    }
}

/// A realm goes into a quoted string, that of `*` also into URIs.
fn is_realm(realm: &str, host: &str) -> bool {
    if host == "*" {
        return is_host(&realm.to_ascii_lowercase());
    }
    (1..=REALM_MAX).contains(&realm.chars().count())
        && !realm
            .chars()
            .any(|c| c.is_control() || matches!(c, '"' | '\\'))
}

pub(super) fn is_host(host: &str) -> bool {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// Returns an address of record of the file in canonical form, with the domain that it belongs to.
/// `sip:alice@*` is Alice at the realm of the domain `*`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn aor<'d>(
    text: &str,
    domains: &'d [Domain],
) -> Result<(Aor, Option<&'d Domain>), String> {
    let bad = || format!("`{text}` is no address of record");
    let of_any = text.strip_suffix("@*").and_then(|user| {
        let any = domains.iter().find(|d| &*d.host == "*")?;
        Some(format!("{user}@{}", any.realm))
    });
    let text = of_any.as_deref().unwrap_or(text);
    let uri = Uri::parse(text).map_err(|_| bad())?;
    if uri.port.is_some() || uri.password.is_some() || text.contains([';', '?']) {
        return Err(bad());
    }
    let aor = canonical(text).ok_or_else(bad)?;
    let host = aor.host().trim_matches(['[', ']']);
    let domain = domains
        .iter()
        .find(|d| !host.is_empty() && (&*d.host == "*" || *d.host == *host));
    Ok((aor, domain))
}
