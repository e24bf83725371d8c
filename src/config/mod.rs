//! What the operator writes (YAML), and what the program makes of it: resolved, checked, without
//! defaults left to take.

mod environment;
mod file;
mod first_start;
mod host;
mod problem;
mod read;
mod resolve;
mod resolved;
mod schema;
mod tree;
mod written;

use std::path::Path;

pub use host::warnings as warnings_of_host;
pub use problem::{ConfigErrors, Problem};
pub use resolved::DnsConfig;
pub use resolved::{
    AdminConfig, BanConfig, Config, ForwardedBy, Listener, LogConfig, LogFormat, MadeUser,
    MediaConfig, NamedBy, Proxies, RateConfig, TransportLimits,
};
pub use schema::schema;
pub use written::Written;

use environment::Environment;
use file::File;
use resolve::Resolved;
use tree::Tree;

/// Reads the configuration for a start: where it names neither domains nor users, those of the first
/// start are read from `node.data_dir`, or made and kept there.
///
/// # Errors
/// Everything that is wrong with the file; nothing has been started.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    for_start(&read_file(path)?, &name, &process_environment)
}

/// Makes the configuration of a start without a file.
///
/// # Errors
/// The users of the first start cannot be kept.
pub fn defaults() -> Result<Config, ConfigErrors> {
    for_start("", "built-in defaults", &process_environment)
}

/// Reads the configuration and writes nothing: users of the first start are left out, but what is wrong with those
/// that an earlier one has kept is told.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn check(path: &Path) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    let environment = &process_environment;
    let Resolved {
        mut config,
        names_nobody,
    } = resolved(&read_file(path)?, &name, environment)?;
    if names_nobody {
        first_start::check_users(&mut config, environment)?;
    }
    Ok(config)
}

/// Reads a configuration from text and writes nothing. `name` is shown in errors; `users_file` is
/// relative to its directory. `environment` looks variables up.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn parse(
    text: &str,
    name: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    resolved(text, name, environment).map(|resolved| resolved.config)
}

fn for_start(text: &str, name: &str, environment: Environment<'_>) -> Result<Config, ConfigErrors> {
    let Resolved {
        mut config,
        names_nobody,
    } = resolved(text, name, environment)?;
    if names_nobody {
        first_start::add_users(&mut config, environment)?;
    }
    Ok(config)
}

fn resolved(
    text: &str,
    name: &str,
    environment: Environment<'_>,
) -> Result<Resolved, ConfigErrors> {
    let tree = Tree::parse(text, name, environment)?;
    let mut problems = Vec::new();
    let file: Option<File> = read::read(&tree, &mut problems);
    problems.extend(tree.take_problems());
    let directory = Path::new(name).parent().unwrap_or_else(|| Path::new(""));
    let resolved =
        file.map(|file| resolve::resolve(&file, &tree, directory, environment, &mut problems));
    match resolved {
        Some(resolved) if problems.is_empty() => Ok(resolved),
        Some(_) | None => Err(ConfigErrors::new(problems)),
    }
}

fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    std::fs::read_to_string(path).map_err(|error| {
        ConfigErrors::of_file(
            &path.display().to_string(),
            format!("cannot read the file: {error}"),
            None,
        )
    })
}

fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
