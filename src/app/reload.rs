//! The configuration read again, while the node runs.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::config::{self, Config, ConfigErrors, Written};
use crate::engine::revision::Revision;
use crate::gate::Rules;

use super::{Server, share};

/// Keys named in one line of the log.
const NAMED_MAX: usize = 20;

/// What the file said when it was read.
pub(super) struct Reloading {
    /// At the start: in force for what takes a restart to change.
    started: Written,
    /// Last: in force for the rest.
    latest: Mutex<Written>,
}

impl Reloading {
    pub(super) fn new(written: Written) -> Self {
        Self {
            latest: Mutex::new(written.clone()),
            started: written,
        }
    }
}

/// Returns what the gate is to keep to.
pub(super) fn rules(config: &Config) -> Rules {
    Rules::new(config.rate, config.bans, config.engine.acl.clone())
}

impl Server {
    /// Reads the configuration again, and puts in force what may be changed while the node runs (`Written`
    /// lists the keys), for every shard: none can miss it. What else has changed is named in the log; so is
    /// what is wrong with the file, and then all stays as it was. Returns true where it is in force.
    pub fn reload(&self, path: &Path) -> bool {
        let in_force = match config::check(path) {
            Ok(config) => {
                self.revise(&config);
                true
            }
            Err(errors) => {
                refuse(&errors);
                false
            }
        };
        self.shared.metrics.reloaded(in_force);
        in_force
    }

    fn revise(&self, config: &Config) {
        let (shared, limits) = (&self.shared, &config.limits);
        let workers = shared.mailboxes.workers();
        let settings = share::of_shard(&config.engine, workers);
        shared.gate.revise(rules(config));
        shared.revisions.put(Revision::of(&settings));
        shared
            .registry
            .limit(limits.connections, limits.connections_per_ip);
        shared.media.reserve(config.engine.media.reserve);
        shared.mailboxes.ring_all();
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let latest = &self.reloading.latest;
        let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
        let revised = named(latest.revised(&config.written));
        tracing::info!(changed = %revised, "the configuration was read again");
        let rest = self.reloading.started.for_a_restart(&config.written);
        if !rest.is_empty() {
            tracing::warn!(keys = %named(rest), "these take a restart to change");
        }
        *latest = config.written.clone();
    }
}

fn refuse(errors: &ConfigErrors) {
    for problem in errors.problems().iter().take(NAMED_MAX) {
        let line = problem.at.map_or(0, |(line, _)| line);
        tracing::warn!(
            file = %problem.file,
            line,
            key = %problem.key,
            mend = problem.mend.as_deref().unwrap_or(""),
            "the configuration stays as it was: {}",
            problem.what
        );
    }
}

fn named(mut keys: Vec<&str>) -> String {
    keys.sort_unstable();
    let more = keys.len().saturating_sub(NAMED_MAX);
    keys.truncate(NAMED_MAX);
    let mut text = keys.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
