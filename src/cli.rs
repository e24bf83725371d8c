//! The command line.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{self, ConfigErrors};
use crate::logging;

/// The configuration is wrong; nothing has been started.
const EXIT_CONFIG: u8 = 2;

/// How long the last words may take where nobody reads them: a service manager that waits for the end starts the
/// server again.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Keeps SIP calls and IM sessions alive when an endpoint is lost.
#[derive(Debug, Parser)]
#[command(name = "refork", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the server
    Run {
        /// Configuration; without one the server starts on its defaults
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check a configuration and start nothing
    Check {
        /// Configuration
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show a call and an IM session that outlive a phone
    Demo,
    /// Print the JSON Schema of the configuration
    Schema,
}

/// Says what is wrong with a configuration.
pub fn refuse(errors: &ConfigErrors) -> ExitCode {
    let count = match errors.problems().len() {
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    let text = format!("{errors}\n{count} in the configuration\n");
    logging::show(io::stderr(), text, LAST_WORDS);
    ExitCode::from(EXIT_CONFIG)
}

/// Says why a command could not do what it is for.
pub fn fail(error: &dyn Error) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some messages have their cause in them.
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text.push('\n');
    logging::show(io::stderr(), text, LAST_WORDS);
    ExitCode::FAILURE
}

/// Runs `refork check`.
pub fn check(path: &Path) -> ExitCode {
    let config = match config::check(path) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    let mut text = String::new();
    let of_host = config::warnings_of_host(&config);
    for warning in config.warnings.iter().chain(&of_host) {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str(&format!("{} is valid\n", path.display()));
    print(&text)
}

/// Runs `refork schema`.
pub fn schema() -> ExitCode {
    print(&format!("{:#}\n", config::schema()))
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // `refork schema | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
