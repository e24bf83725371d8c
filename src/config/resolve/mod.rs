//! From the file to what the program needs: what values mean together, and what this version lacks.

mod acl;
mod behaviour;
mod domains;
mod door;
mod effect;
mod endpoints;
mod listeners;
mod operation;
mod reach;
mod sound;
mod tls;
mod upstreams;
mod users;

pub(super) use users::{UsersOf, users_of};

use std::path::Path;

use super::file::File;
use super::problem::Problem;
use super::resolved::{Config, Listener, MediaConfig};
use super::tree::{Step, Tree};
use super::written::Written;
use crate::engine::settings::{LimitSettings, MediaSettings, Settings};
use crate::engine::time::Millis;

/// What resolving finds out beside the configuration.
pub(super) struct Resolved {
    pub(super) config: Config,
    /// The file names nobody: the first start makes users.
    pub(super) names_nobody: bool,
}

/// Problems and warnings, with their places.
pub(super) struct Check<'a> {
    tree: &'a Tree,
    problems: &'a mut Vec<Problem>,
    /// What has been said of `listen`.
    listeners: Vec<Listener>,
    warnings: Vec<String>,
}

/// A path of fixed keys.
pub(super) fn key(path: &str) -> Vec<Step<'_>> {
    path.split('.').map(Step::Key).collect()
}

impl<'a> Check<'a> {
    pub(super) fn new(tree: &'a Tree, problems: &'a mut Vec<Problem>) -> Self {
        Self {
            tree,
            problems,
            listeners: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Returns false where a part of the value could not be read: what it lacks may be there.
    pub(super) fn is_whole(&self, path: &[Step<'_>]) -> bool {
        self.tree.find(path).is_none_or(|n| self.tree.is_whole(n))
    }

    /// Notes what is wrong with a value.
    pub(super) fn problem(&mut self, path: &[Step<'_>], what: impl Into<String>, mend: &str) {
        let mend = (!mend.is_empty()).then(|| mend.to_owned());
        let (Ok(node) | Err(node)) = self.tree.nearest(path);
        self.problems
            .push(Problem::of_value(self.tree, node, what.into(), mend));
    }

    /// Notes what is wrong with a key.
    pub(super) fn key_problem(&mut self, path: &[Step<'_>], what: impl Into<String>, mend: &str) {
        let mend = (!mend.is_empty()).then(|| mend.to_owned());
        let (Ok(node) | Err(node)) = self.tree.nearest(path);
        self.problems
            .push(Problem::of_key(self.tree, node, what.into(), mend));
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Notes what may be meant, and is told of with its place.
    pub(super) fn warn_at(&mut self, path: &[Step<'_>], what: &str) {
        let at = self.path_of(path);
        self.warn(format!("{at}: {what}"));
    }

    /// Returns a key and its line, as warnings name them.
    fn path_of(&self, path: &[Step<'_>]) -> String {
        let (Ok(node) | Err(node)) = self.tree.nearest(path);
        let (key, line) = (self.tree.path(node), self.tree.place(node).line);
        format!("`{key}` (line {line})")
    }

    /// Returns true where the file gives the key a value.
    pub(super) fn is_set(&self, path: &[Step<'_>]) -> bool {
        self.tree.find(path).is_some_and(|n| !self.tree.is_null(n))
    }

    /// Returns the names of a map's entries, also of those that could not be read.
    fn all_keys(&self, path: &str) -> Vec<&'a str> {
        self.tree.all_keys(&key(path))
    }
}

/// Resolves a file. Problems are noted; with any, the result is not to be used.
///
/// `directory` is what a relative `users_file` is relative to.
pub(super) fn resolve(
    file: &File,
    tree: &Tree,
    directory: &Path,
    environment: super::environment::Environment<'_>,
    problems: &mut Vec<Problem>,
) -> Resolved {
    let mut check = Check::new(tree, problems);
    effect::check(file, &mut check);
    let listeners = listeners::resolve(file, &mut check);
    check.listeners.clone_from(&listeners);
    let tls = tls::resolve(file, &listeners, directory, &mut check);
    let domains = domains::resolve(file, &listeners, &mut check);
    let users = users::resolve(file, &domains, directory, environment, &mut check);
    users::warn_of_local_numbers(file, &users, &mut check);
    let written = Written::of(tree).with(users.written);
    let (users, numbers, shown_numbers) = (users.credentials, users.numbers, users.shown);
    let (endpoints, names) = endpoints::resolve(file, &domains, &mut check);
    let upstreams = upstreams::resolve(file, &mut check);
    let routes = upstreams::routes(file, &mut check);
    upstreams::warn_of_unused(file, &mut check);
    let names_nobody =
        file.domains.0.is_empty() && file.users.0.is_empty() && file.users_file.is_none();
    if !names_nobody && users.is_empty() {
        users::warn_of_nobody(&domains, &mut check);
    }
    let media_address = operation::media_address(file, &listeners, &mut check);
    let engine = Settings {
        node: operation::node_name(file, &mut check),
        timers: operation::timers(file, &mut check),
        domains,
        users,
        numbers,
        shown_numbers,
        endpoints,
        names,
        upstreams,
        routes,
        fork: behaviour::fork(&file.fork),
        detect: behaviour::detect(&file.detect, &mut check),
        refer: behaviour::refer(file.refer),
        restore: behaviour::restore(&file.restore, directory, &mut check),
        notice: behaviour::notice(&file.notice, &mut check),
        messages: behaviour::messages(&file.messages, &mut check),
        media: MediaSettings {
            mode: operation::media_mode(file),
            srtp: operation::srtp(file, &listeners, &mut check),
            address: media_address,
            ports: file.media.ports.first..=file.media.ports.last,
            latch: operation::latch(file),
            reserve: operation::reserve(file, &mut check),
        },
        limits: LimitSettings {
            conversations: operation::count(file.limits.conversations.0),
            ringing: operation::count(file.limits.ringing.0),
            ringing_per_user: operation::count(file.limits.ringing_per_user.0),
            ringing_per_ip: operation::count(file.limits.ringing_per_ip.0),
            ringing_per_unproven_ip: operation::count(file.limits.ringing_per_unproven_ip.0),
            ringing_per_called: operation::count(file.limits.ringing_per_called.0),
            calls_per_user: operation::count(file.limits.calls_per_user.0),
            calls_per_ip: operation::count(file.limits.calls_per_ip.0),
            streams_per_user: operation::count(file.limits.streams_per_user.0),
            streams_per_ip: operation::count(file.limits.streams_per_ip.0),
            under_way: operation::count(file.limits.under_way.0),
            texts_per_user: operation::count(file.limits.texts_per_user.0),
            texts_per_ip: operation::count(file.limits.texts_per_ip.0),
            texts_per_unproven_ip: operation::count(file.limits.texts_per_unproven_ip.0),
            texts_per_called: operation::count(file.limits.texts_per_called.0),
            message_size: operation::count(file.limits.message_size.0),
        },
        acl: acl::resolve(file, &mut check),
        history_keep: Millis(file.history.keep.0),
        records: file.cdr.file.is_some(),
    };
    door::warn_of_trust(&engine, &listeners, &mut check);
    reach::hearing(file, &engine, &mut check);
    operation::warn_of_shares(file, &mut check);
    let config = Config {
        data_dir: file.node.data_dir.clone(),
        workers: operation::workers(file),
        media: MediaConfig {
            ports: file.media.ports.first..=file.media.ports.last,
            address: media_address,
            dscp: file.media.dscp.0,
        },
        dns: operation::dns(file),
        listeners,
        tls,
        engine,
        limits: operation::limits(file),
        rate: operation::rate(file),
        bans: operation::bans(file),
        admin: operation::admin(file, &mut check),
        log: operation::log(file, &mut check),
        cdr: operation::records(file, directory, &mut check),
        warnings: check.warnings,
        written,
        made_users: Vec::new(),
    };
    Resolved {
        config,
        names_nobody,
    }
}
