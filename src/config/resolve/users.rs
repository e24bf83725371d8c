//! `users` and `users_file`: secrets.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::Path;

use super::domains::{AOR_FORM, aor};
use super::{Check, key};
use crate::config::environment::Environment;
use crate::config::file::{self, File, Ordered, User};
use crate::config::problem::{ConfigErrors, Problem};
use crate::config::read::read;
use crate::config::tree::{Step, Tree};
use crate::config::written::Written;
use crate::engine::ids::Aor;
use crate::engine::location::canonical;
use crate::engine::settings::{Auth, Credentials, Domain, ServedBy};
use crate::sip::Uri;
use crate::sip::digest::{Algorithm, ha1};

/// Octets; shorter ones are warned of.
const GOOD_PASSWORD: usize = 8;

/// Users with their credentials, and what of them is written in the clear.
#[derive(Default)]
pub(crate) struct UsersOf {
    pub(crate) credentials: BTreeMap<Aor, Credentials>,
    pub(crate) passwords: Vec<(Aor, String)>,
    /// Telephone numbers, as user parts, and whose they are.
    pub(crate) numbers: BTreeMap<Box<str>, Aor>,
    /// Of each the first.
    pub(crate) shown: BTreeMap<Aor, Box<str>>,
    /// Of those the ones without a country.
    pub(crate) local: Vec<Local>,
    /// What a file of its own says of them.
    pub(crate) written: Written,
}

/// A first number that means one line in one country alone.
pub(crate) struct Local {
    /// The key, with its line.
    path: String,
    number: String,
}

pub(super) fn resolve(
    file: &File,
    domains: &[Domain],
    directory: &Path,
    environment: Environment<'_>,
    check: &mut Check<'_>,
) -> UsersOf {
    let mut users = UsersOf::default();
    resolve_users(
        &file.users,
        &[Step::Key("users")],
        domains,
        &mut users,
        check,
    );
    let Some(path) = &file.users_file else {
        return users;
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
                for (number, aor) in more.numbers {
                    if users.numbers.contains_key(&number) {
                        let what = format!("{name} has the number {number} too");
                        check.key_problem(&key("users_file"), what, "keep one of them");
                    }
                    users.numbers.insert(number, aor);
                }
                users.shown.extend(more.shown);
                let named = |local: Local| Local {
                    path: format!("{name}: {}", local.path),
                    ..local
                };
                users.local.extend(more.local.into_iter().map(named));
                users.written = more.written;
            }
            Err(errors) => check.problems.extend_from_slice(errors.problems()),
        },
        Err(error) => check.problem(
            &key("users_file"),
            format!("cannot read {name}: {error}"),
            mend_of(&error),
        ),
    }
    users
}

fn mend_of(error: &Error) -> &'static str {
    if error.kind() == ErrorKind::PermissionDenied {
        "let whoever runs the server read it"
    } else if error.kind() == ErrorKind::InvalidData {
        "it is text in UTF-8"
    } else {
        "the path is relative to the configuration file"
    }
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
    users.written = Written::below("users", &tree);
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
        let (aor, domain) = match aor(name, domains) {
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
        numbers(user, &aor, &path, users, check);
        let credentials = credentials(name, &aor, user, domain, &path, check);
        if users.credentials.insert(aor.clone(), credentials).is_some() {
            let what = format!("the same user as another: both are `{aor}`");
            check.key_problem(&path, what, "keep one of them");
        }
        if let Some(password) = &user.password {
            users.passwords.push((aor, password.clone()));
        }
    }
}

fn numbers(user: &User, aor: &Aor, path: &[Step<'_>], users: &mut UsersOf, check: &mut Check<'_>) {
    for (index, number) in user.numbers.iter().enumerate() {
        let mut path = path.to_vec();
        path.extend([Step::Key("numbers"), Step::Item(index)]);
        let digits = number.strip_prefix('+').unwrap_or(number);
        let is_number = digits
            .bytes()
            .all(|b| b.is_ascii_digit() || b"*#-.()".contains(&b));
        let escaped = number.replace('#', "%23");
        let read = canonical(&format!("sip:{escaped}@x;user=phone"));
        let Some(read) = read.filter(|_| is_number) else {
            check.problem(
                &path,
                format!("`{number}` is no telephone number"),
                "as it is dialled: \"+4930123456\"",
            );
            continue;
        };
        if !users.shown.contains_key(aor) {
            users.shown.insert(aor.clone(), read.user().into());
            if !number.starts_with('+') {
                users.local.push(Local {
                    path: check.path_of(&path),
                    number: number.clone(),
                });
            }
        }
        if let Some(other) = users.numbers.insert(read.user().into(), aor.clone()) {
            let what = format!("the number is one of `{other}` already");
            check.problem(&path, what, "a number is one user's");
        }
    }
}

fn credentials(
    name: &str,
    aor: &Aor,
    user: &User,
    domain: &Domain,
    path: &[Step<'_>],
    check: &mut Check<'_>,
) -> Credentials {
    const FORM: &str = "`password`, or `ha1_md5`, `ha1_sha256`, `ha1_sha512_256` or several";
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
    let ha1_sha512_256 = hash("ha1_sha512_256", &user.ha1_sha512_256, 64);
    let has_hash = ha1_md5.is_some() || ha1_sha256.is_some() || ha1_sha512_256.is_some();
    let Some(password) = &user.password else {
        if !has_hash && check.is_whole(path) {
            check.key_problem(path, "there is no secret", FORM);
        }
        return Credentials {
            ha1_md5,
            ha1_sha256,
            ha1_sha512_256,
        };
    };
    if has_hash {
        check.key_problem(path, "there are a password and a hash", FORM);
    }
    if password.is_empty() {
        let mut path = path.to_vec();
        path.push(Step::Key("password"));
        check.problem(&path, "the password is empty", "");
    } else if password.len() < GOOD_PASSWORD || password.starts_with("change me") {
        check.warn(format!("the password of `{name}` is easily guessed"));
    }
    // The phone hashes what it was told, and a number has more forms than one. What is written need be no URI
    // (`sip:alice@*`), and who it is.
    let user = name.rsplit_once('@').map(|(user, _)| format!("{user}@x"));
    let user = user.unwrap_or_default();
    let Ok(uri) = Uri::parse(&user) else {
        check.key_problem(path, format!("`{aor}` has no user"), AOR_FORM);
        return Credentials::default();
    };
    let login = uri.user_unescaped();
    let made = |algorithm| Some(ha1(algorithm, &login, &domain.realm, password).into_boxed_str());
    Credentials {
        ha1_md5: made(Algorithm::Md5),
        ha1_sha256: made(Algorithm::Sha256),
        // Few phones know it, and some give up where it is offered: for those it must be asked for.
        ha1_sha512_256: None,
    }
}

/// Tells of first numbers that an upstream cannot call back by, where one is told of users by their numbers.
pub(super) fn warn_of_local_numbers(file: &File, users: &UsersOf, check: &mut Check<'_>) {
    let mut upstreams = file.upstreams.0.iter();
    if !upstreams.any(|(_, upstream)| upstream.identity == file::Presented::Number) {
        return;
    }
    for Local { path, number } in &users.local {
        check.warn(format!(
            "{path}: {number} is no global number, and upstreams are shown it (`upstreams.*.identity: number`): \
             put the one with + first"
        ));
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
