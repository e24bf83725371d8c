//! The users of a configuration that names nobody: made at the first start, read again after.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;

use super::environment::Environment;
use super::problem::ConfigErrors;
use super::resolve::{UsersOf, users_of};
use super::resolved::{Config, MadeUser};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// Without those that look alike; 32 of them, so that a byte chooses without bias.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 60 bits.
const PASSWORD_LENGTH: usize = 12;
const FILE: &str = "users.yaml";

/// Gives the configuration its users, made now if this is the first start.
///
/// # Errors
/// The file cannot be read or written, or holds what is no list of users.
pub(super) fn add_users(
    config: &mut Config,
    environment: Environment<'_>,
) -> Result<(), ConfigErrors> {
    let path = config.data_dir.join(FILE);
    let text = match read(&path).map_err(|error| unreadable(&path, &error))? {
        Some(text) => text,
        None => made_at(&path).map_err(|error| {
            ConfigErrors::of_file(
                &path.display().to_string(),
                format!("cannot keep the users of the first start: {error}"),
                Some("set `node.data_dir` to a directory that can be written, or name `users`"),
            )
        })?,
    };
    let UsersOf {
        credentials,
        passwords,
        numbers,
        shown,
        // They are made without numbers.
        local: _,
        written,
    } = listed(&text, &path, config, environment)?;
    config.engine.users = credentials;
    config.engine.numbers = numbers;
    config.engine.shown_numbers = shown;
    config.written = std::mem::take(&mut config.written).with(written);
    config.made_users = passwords
        .into_iter()
        .map(|(aor, password)| MadeUser {
            aor: aor.as_str().to_owned(),
            password,
        })
        .collect();
    Ok(())
}

/// Tells what is wrong with the users that a start would read, and makes none.
///
/// # Errors
/// The file cannot be read, or holds what is no list of users.
pub(super) fn check_users(
    config: &mut Config,
    environment: Environment<'_>,
) -> Result<(), ConfigErrors> {
    let path = config.data_dir.join(FILE);
    check_kept(read(&path), &path, config, environment)
}

fn check_kept(
    kept: io::Result<Option<String>>,
    path: &Path,
    config: &mut Config,
    environment: Environment<'_>,
) -> Result<(), ConfigErrors> {
    match kept {
        Ok(Some(text)) => {
            let users = listed(&text, path, config, environment)?;
            config.engine.users = users.credentials;
            config.engine.numbers = users.numbers;
            config.engine.shown_numbers = users.shown;
            config.written = std::mem::take(&mut config.written).with(users.written);
            Ok(())
        }
        Ok(None) => Ok(()),
        // It is its owner's alone, and who checks need not be that.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            config.warnings.push(format!(
                "the users in {} are not checked: {error}; check as root, or as whoever runs the server",
                path.display()
            ));
            Ok(())
        }
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn listed(
    text: &str,
    path: &Path,
    config: &mut Config,
    environment: Environment<'_>,
) -> Result<UsersOf, ConfigErrors> {
    let name = path.display().to_string();
    let users = users_of(text, &name, &config.engine.domains, environment)?;
    if users.credentials.is_empty() {
        config.warnings.push(format!(
            "nobody can register: {name} names no user; put some there, or move it away, and the next start makes some"
        ));
    }
    Ok(users)
}

/// Returns what an earlier start has kept; none where there was none.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        // Who makes one is told of what stands in the directory's place.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        read => read.map(Some),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigErrors {
    ConfigErrors::of_file(
        &path.display().to_string(),
        format!("cannot read the users of the first start: {error}"),
        Some(
            "let whoever runs the server read it, or move it away, and the next start makes others",
        ),
    )
}

fn made_at(path: &Path) -> io::Result<String> {
    let text = made()?;
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    // Whole or not at all: a start that is cut short must not leave half a list.
    let half = path.with_extension(format!("yaml.{}", std::process::id()));
    // A second process that starts at the same time has made other passwords: the first file stands.
    let linked = write_new(&half, &text).and_then(|()| fs::hard_link(&half, path));
    let removed = fs::remove_file(&half);
    match linked.and(removed) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::read_to_string(path),
        Err(error) => Err(error),
        Ok(()) => Ok(text),
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn made() -> io::Result<String> {
    let mut text = String::from(
        "# Made by the first start, since the configuration names neither domains nor users.\n",
    );
    for name in NAMES {
        let password = password()?;
        text.push_str(&format!(
            "sip:{name}@refork: {{ password: \"{password}\" }}\n"
        ));
    }
    Ok(text)
}

fn password() -> io::Result<String> {
    let mut bytes = [0; PASSWORD_LENGTH];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(io::Error::other)?;
    Ok(bytes
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn who_may_not_read_the_users_checks_all_else_and_is_told_so() {
        let environment = &|_: &str| None;
        let path = Path::new("/var/lib/refork/users.yaml");
        let mut config = parse("", "refork.yaml", environment).unwrap();
        let before = config.warnings.len();
        let mut check = |kind: ErrorKind| {
            let checked = check_kept(Err(kind.into()), path, &mut config, environment);
            (checked, config.warnings.split_off(before))
        };
        let (checked, warned) = check(ErrorKind::PermissionDenied);
        assert_eq!(checked, Ok(()));
        assert_eq!(warned.len(), 1, "{warned:?}");
        for words in ["/var/lib/refork/users.yaml", "permission denied", "as root"] {
            assert!(warned[0].contains(words), "{}", warned[0]);
        }
        let (checked, warned) = check(ErrorKind::IsADirectory);
        assert!(checked.is_err() && warned.is_empty(), "{warned:?}");
    }
}
