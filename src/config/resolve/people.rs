//! `domains`, `users`, `endpoints`, `upstreams`, `routes`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Check, key};
use crate::config::environment::Environment;
use crate::config::file::{self, File, Ordered, User};
use crate::config::problem::{ConfigErrors, Problem, nearest};
use crate::config::read::read;
use crate::config::resolved::Listener;
use crate::config::tree::{Step, Tree};
use crate::engine::ids::{Aor, Transport};
use crate::engine::settings::{
    Auth, Credentials, Domain, RegistrarSettings, Route, ServedBy, StaticEndpoint, Upstream,
};
use crate::engine::time::Millis;
use crate::sip::digest::{Algorithm, ha1};
use crate::sip::{Scheme, Uri};

/// The realm of `*`, and of the domain that there is where none is named.
const REALM: &str = "refork";
const AOR_FORM: &str = "sip:user@host, without port and parameters";
const DOMAIN_FORM: &str = "a host name, an IP address, or * for any";
const NAME_MAX: usize = 128;

pub(super) fn domains(file: &File, listeners: &[Listener], check: &mut Check<'_>) -> Vec<Domain> {
    let mut domains: Vec<Domain> = Vec::new();
    for (name, domain) in &file.domains.0 {
        let path = [Step::Key("domains"), Step::Key(name)];
        let host = name.to_ascii_lowercase();
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
            ServedBy::Registrar(self::registrar(&registrar, &path, listeners, check))
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
    let open = listeners.iter().find(|l| !l.at.ip().is_loopback());
    if let (Auth::None, Some(open)) = (auth, open) {
        below.push(Step::Key("auth"));
        check.problem(
            &below,
            format!(
                "`none` lets anyone register, and {}://{} is not on loopback",
                open.transport.param(),
                open.at
            ),
            "use `users`, or listen on 127.0.0.1 and [::1] only",
        );
    }
    RegistrarSettings {
        max_expires: Millis(registrar.max_expires.0),
        min_expires: Millis(registrar.min_expires.0),
        max_bindings: super::operation::count(registrar.max_bindings.0),
        auth,
    }
}

/// A realm goes into a quoted string, that of `*` also into URIs.
fn is_realm(realm: &str, host: &str) -> bool {
    if host == "*" {
        return is_host(&realm.to_ascii_lowercase());
    }
    (1..=NAME_MAX).contains(&realm.chars().count())
        && !realm
            .chars()
            .any(|c| c.is_control() || matches!(c, '"' | '\\'))
}

fn is_host(host: &str) -> bool {
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

/// Returns the address of record as the engine names it, with the domain that serves it.
fn aor_in<'d>(text: &str, domains: &'d [Domain]) -> Result<(Aor, Option<&'d Domain>), String> {
    let bad = || format!("`{text}` is no address of record");
    let uri = Uri::parse(text).map_err(|_| bad())?;
    let (Scheme::Sip | Scheme::Sips, Some(user)) = (uri.scheme, uri.user) else {
        return Err(bad());
    };
    if uri.port.is_some() || uri.password.is_some() || text.contains([';', '?']) {
        return Err(bad());
    }
    let host = uri.host.to_ascii_lowercase();
    let domain = domains.iter().find(|d| *d.host == host || &*d.host == "*");
    let host = match domain {
        Some(domain) if &*domain.host == "*" => &*domain.realm,
        Some(_) | None => &host,
    };
    Ok((Aor::from_canonical(format!("sip:{user}@{host}")), domain))
}

/// Users with their credentials, and what of them is written in the clear.
#[derive(Default)]
pub(crate) struct UsersOf {
    pub(crate) credentials: BTreeMap<Aor, Credentials>,
    pub(crate) passwords: Vec<(Aor, String)>,
}

pub(super) fn users(
    file: &File,
    domains: &[Domain],
    directory: &Path,
    environment: Environment<'_>,
    check: &mut Check<'_>,
) -> BTreeMap<Aor, Credentials> {
    let mut users = UsersOf::default();
    resolve_users(
        &file.users,
        &[Step::Key("users")],
        domains,
        &mut users,
        check,
    );
    let Some(path) = &file.users_file else {
        return users.credentials;
    };
    let path = directory.join(path);
    let name = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => match users_of(&text, &name, domains, environment) {
            Ok(more) => {
                for (aor, credentials) in more.credentials {
                    if users.credentials.contains_key(&aor) {
                        let what = format!("{name} has `{aor}` too");
                        check.key_problem(&key("users_file"), what, "keep one of them");
                    }
                    users.credentials.insert(aor, credentials);
                }
            }
            Err(errors) => check.problems.extend_from_slice(errors.problems()),
        },
        Err(error) => check.problem(
            &key("users_file"),
            format!("cannot read {name}: {error}"),
            "the path is relative to the configuration file",
        ),
    }
    users.credentials
}

/// Reads a file of users: addresses of record to secrets.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn users_of(
    text: &str,
    name: &str,
    domains: &[Domain],
    environment: Environment<'_>,
) -> Result<UsersOf, ConfigErrors> {
    let tree = Tree::parse(text, name, environment)?;
    let mut problems: Vec<Problem> = Vec::new();
    let mut users = UsersOf::default();
    if let Some(file) = read::<Ordered<User>>(&tree, &mut problems) {
        let mut check = Check::new(&tree, &mut problems);
        resolve_users(&file, &[], domains, &mut users, &mut check);
    }
    problems.extend(tree.take_problems());
    if problems.is_empty() {
        Ok(users)
    } else {
        Err(ConfigErrors::new(problems))
    }
}

fn resolve_users(
    file: &Ordered<User>,
    at: &[Step<'_>],
    domains: &[Domain],
    users: &mut UsersOf,
    check: &mut Check<'_>,
) {
    for (name, user) in &file.0 {
        let mut path = at.to_vec();
        path.push(Step::Key(name));
        let (aor, domain) = match aor_in(name, domains) {
            Ok(found) => found,
            Err(what) => {
                check.key_problem(&path, what, AOR_FORM);
                continue;
            }
        };
        let Some(domain) = domain else {
            let hosts: Vec<_> = domains.iter().map(|d| &*d.host).collect();
            let what = format!("no domain serves `{}`", aor.host());
            let mend = format!("the domains are: {}", hosts.join(", "));
            check.key_problem(&path, what, &mend);
            continue;
        };
        if let ServedBy::Upstream(upstream) = &domain.served_by {
            let what = format!("`{}` is served by the upstream `{upstream}`", domain.host);
            check.key_problem(&path, what, "only users of a registrar have a secret here");
            continue;
        }
        let credentials = credentials(name, user, domain, &path, check);
        if users.credentials.insert(aor.clone(), credentials).is_some() {
            let what = format!("the same user as another: both are `{aor}`");
            check.key_problem(&path, what, "keep one of them");
        }
        if let Some(password) = &user.password {
            users.passwords.push((aor, password.clone()));
        }
    }
}

fn credentials(
    name: &str,
    user: &User,
    domain: &Domain,
    path: &[Step<'_>],
    check: &mut Check<'_>,
) -> Credentials {
    const FORM: &str = "`password`, or `ha1_md5`, `ha1_sha256` or both";
    let mut hash = |part, value: &Option<String>, digits: usize| {
        let value = value.as_ref()?;
        if value.len() != digits || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
            let mut path = path.to_vec();
            path.push(Step::Key(part));
            check.problem(
                &path,
                "this is no such hash",
                &format!("{digits} hexadecimal digits"),
            );
        }
        Some(value.to_ascii_lowercase().into_boxed_str())
    };
    let ha1_md5 = hash("ha1_md5", &user.ha1_md5, 32);
    let ha1_sha256 = hash("ha1_sha256", &user.ha1_sha256, 64);
    let has_hash = ha1_md5.is_some() || ha1_sha256.is_some();
    let Some(password) = &user.password else {
        if !has_hash {
            check.key_problem(path, "there is no secret", FORM);
        }
        return Credentials {
            ha1_md5,
            ha1_sha256,
        };
    };
    if has_hash {
        check.key_problem(path, "there are a password and a hash", FORM);
    }
    if password.is_empty() {
        let mut path = path.to_vec();
        path.push(Step::Key("password"));
        check.problem(&path, "the password is empty", "");
    }
    let login =
        Uri::parse(name).map_or_else(|_| String::new(), |u| u.user_unescaped().into_owned());
    let made = |algorithm| Some(ha1(algorithm, &login, &domain.realm, password).into_boxed_str());
    Credentials {
        ha1_md5: made(Algorithm::Md5),
        ha1_sha256: made(Algorithm::Sha256),
    }
}

/// Tells of registrars that nobody can register with.
pub(super) fn warn_of_nobody(domains: &[Domain], check: &mut Check<'_>) {
    for domain in domains {
        if let ServedBy::Registrar(registrar) = &domain.served_by
            && registrar.auth == Auth::Users
        {
            check.warn(format!(
                "nobody can register in the domain `{}`: there are no users",
                domain.host
            ));
        }
    }
}

type Endpoints = (Vec<StaticEndpoint>, BTreeMap<Box<str>, Box<str>>);

pub(super) fn endpoints(file: &File, domains: &[Domain], check: &mut Check<'_>) -> Endpoints {
    let mut fixed = Vec::new();
    let mut names = BTreeMap::new();
    for (index, endpoint) in file.endpoints.iter().enumerate() {
        let path = [Step::Key("endpoints"), Step::Item(index)];
        let part = |part| [path[0], path[1], Step::Key(part)];
        if let Some(name) = &endpoint.name
            && (name.trim().is_empty()
                || name.chars().count() > NAME_MAX
                || name.chars().any(char::is_control))
        {
            check.problem(
                &part("name"),
                "this is no name to show",
                "up to 128 characters, no control characters",
            );
        }
        let file::Endpoint {
            aor,
            contact,
            instance,
            name,
        } = endpoint;
        match (aor, contact, instance, name) {
            (Some(aor), Some(contact), None, name) => {
                check_target(contact, &part("contact"), check);
                match aor_in(aor, domains) {
                    Ok((aor, _)) => fixed.push(StaticEndpoint {
                        aor,
                        contact: contact.as_str().into(),
                        name: name.as_deref().map(Into::into),
                    }),
                    Err(what) => check.problem(&part("aor"), what, AOR_FORM),
                }
            }
            (None, None, Some(instance), Some(name)) => {
                let urn = instance.trim_matches(['<', '>']).to_ascii_lowercase();
                if !is_urn(&urn) {
                    check.problem(
                        &part("instance"),
                        format!("`{instance}` is no instance"),
                        "the URN of +sip.instance: urn:uuid:00000000-0000-1000-8000-000a95a0e128",
                    );
                }
                if names.insert(urn.into(), name.as_str().into()).is_some() {
                    check.problem(&part("instance"), "this instance has two names", "");
                }
            }
            (_, _, _, _) => check.problem(
                &path,
                "this is neither a fixed endpoint nor a name",
                "`aor` and `contact` (and `name`) make one, `instance` and `name` the other",
            ),
        }
    }
    (fixed, names)
}

fn is_urn(text: &str) -> bool {
    text.strip_prefix("urn:")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(space, name)| {
            !space.is_empty()
                && !name.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"'))
        })
}

/// Checks a SIP URI that requests are sent to.
fn check_target(text: &str, path: &[Step<'_>], check: &mut Check<'_>) {
    const FORM: &str = "sip:host, sip:user@host:port or sip:host;transport=tcp";
    let Ok(uri) = Uri::parse(text) else {
        return check.problem(path, format!("`{text}` is no SIP URI"), FORM);
    };
    let transport = uri.transport().map(Transport::parse);
    match (uri.scheme, transport) {
        (Scheme::Sip, None | Some(Some(Transport::Udp | Transport::Tcp))) => {}
        (Scheme::Sips, _)
        | (Scheme::Sip, Some(Some(Transport::Tls | Transport::Ws | Transport::Wss))) => {
            check.problem(
                path,
                format!("`{text}` wants TLS or a WebSocket, which this version has not got yet"),
                FORM,
            );
        }
        (Scheme::Sip, Some(None)) => {
            check.problem(path, format!("`{text}` names an unknown transport"), FORM);
        }
        (Scheme::Tel | Scheme::Other(_), _) => {
            check.problem(path, format!("`{text}` is no SIP URI"), FORM);
        }
    }
}

pub(super) fn upstreams(file: &File, check: &mut Check<'_>) -> BTreeMap<Box<str>, Upstream> {
    let mut upstreams = BTreeMap::new();
    for (name, upstream) in &file.upstreams.0 {
        let path = [
            Step::Key("upstreams"),
            Step::Key(name),
            Step::Key("targets"),
        ];
        if upstream.targets.is_empty() {
            check.problem(&path, "there is no target", "name at least one SIP URI");
        }
        for (index, target) in upstream.targets.iter().enumerate() {
            let path = [path[0], path[1], path[2], Step::Item(index)];
            check_target(target, &path, check);
        }
        let targets = upstream.targets.iter().map(|t| t.as_str().into()).collect();
        upstreams.insert(name.as_str().into(), Upstream { targets });
    }
    upstreams
}

/// Checks that there is an upstream of that name.
fn check_upstream(name: &str, path: &[Step<'_>], check: &mut Check<'_>) {
    let known = check.all_keys("upstreams");
    if known.contains(&name) {
        return;
    }
    let mend = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are no `upstreams`".to_owned(),
        None => format!("the upstreams are: {}", known.join(", ")),
    };
    check.problem(path, format!("there is no upstream `{name}`"), &mend);
}

pub(super) fn routes(file: &File, check: &mut Check<'_>) -> Vec<Route> {
    let mut routes = Vec::new();
    for (index, route) in file.routes.iter().enumerate() {
        let path = [Step::Key("routes"), Step::Item(index)];
        check_upstream(&route.to, &[path[0], path[1], Step::Key("to")], check);
        let scheme = ["sip:", "*"].iter().any(|s| route.pattern.starts_with(s));
        if !scheme || route.pattern.contains(char::is_whitespace) {
            check.problem(
                &[path[0], path[1], Step::Key("match")],
                format!("`{}` can match nothing", route.pattern),
                "held against sip:user@host; * is any run of characters: sip:+*@*",
            );
        }
        routes.push(Route {
            pattern: route.pattern.as_str().into(),
            to: route.to.as_str().into(),
        });
    }
    routes
}
