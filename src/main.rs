//! The program: configuration first, then the server until a signal.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use refork::cli::{self, Cli, Command};
use refork::{app, config, demo, logging};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config } => run(config.as_deref()),
        Command::Check { config } => cli::check(&config),
        Command::Demo => demo::run(),
        Command::Schema => cli::schema(),
    }
}

fn run(path: Option<&Path>) -> ExitCode {
    let config = match path {
        Some(path) => config::load(path),
        None => config::defaults(),
    };
    let config = match config {
        Ok(config) => config,
        Err(errors) => return cli::refuse(&errors),
    };
    if let Err(error) = logging::start(&config.log) {
        return cli::fail(&error);
    }
    let ended = app::run(config, path);
    logging::finish();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(&error),
    }
}
