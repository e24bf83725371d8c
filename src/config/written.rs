//! What a file says, kept to tell what of it has changed when it is read again.

use std::collections::BTreeMap;
use std::fmt;

use super::tree::{NodeId, Tree, Value};
use crate::engine::mint::hash64;

/// What may be changed while the node runs: keys, or what they begin with.
const REVISABLE: [&str; 23] = [
    "acl",
    "bans",
    "fork.redirects",
    "fork.ring_timeout",
    "limits.calls_per_ip",
    "limits.calls_per_user",
    "limits.connections",
    "limits.connections_per_ip",
    "limits.conversations",
    "limits.requests_per_ip",
    "limits.ringing",
    "limits.ringing_per_called",
    "limits.ringing_per_ip",
    "limits.ringing_per_unproven_ip",
    "limits.ringing_per_user",
    "limits.streams_per_ip",
    "limits.streams_per_user",
    "limits.texts_per_called",
    "limits.texts_per_ip",
    "limits.texts_per_unproven_ip",
    "limits.texts_per_user",
    "limits.under_way",
    "media.reserve",
];

/// Each key that has a value, by its path, with a hash of that: there are secrets among them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Written(BTreeMap<String, u64>);

/// The hash of a weak secret is no secret.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

impl Written {
    pub(super) fn of(tree: &Tree) -> Self {
        let mut written = Self::default();
        written.add(tree, 0);
        written
    }

    /// The same of a file whose keys stand below one of another file's.
    pub(super) fn below(key: &str, tree: &Tree) -> Self {
        let Self(own) = Self::of(tree);
        let keys = own.into_iter();
        Self(
            keys.map(|(path, value)| (format!("{key}.{path}"), value))
                .collect(),
        )
    }

    /// Takes in what another file adds.
    pub(super) fn with(mut self, Self(other): Self) -> Self {
        self.0.extend(other);
        self
    }

    fn add(&mut self, tree: &Tree, node: NodeId) {
        match tree.value(node) {
            Value::Scalar { .. } if tree.is_null(node) => {}
            Value::Scalar { text, .. } => {
                self.0.insert(tree.path(node), hash64(text));
            }
            Value::List(_) | Value::Map(_) => {
                for child in tree.children(node) {
                    self.add(tree, child);
                }
            }
        }
    }

    /// Returns the keys whose values another file has otherwise, or not at all, or that it has in addition.
    fn changed<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = &'a str> {
        let gone = self.0.iter();
        let gone = gone.filter(|(key, value)| later.0.get(*key) != Some(value));
        let new = later.0.iter().filter(|(key, _)| !self.0.contains_key(*key));
        gone.chain(new).map(|(key, _)| &**key)
    }

    /// Returns the keys that another file has otherwise and that may be changed while the node runs.
    pub fn revised<'a>(&'a self, later: &'a Self) -> Vec<&'a str> {
        let changed = self.changed(later);
        changed.filter(|key| is_revisable(key)).collect()
    }

    /// Returns the keys that another file has otherwise and that take a restart to change.
    pub fn for_a_restart<'a>(&'a self, later: &'a Self) -> Vec<&'a str> {
        let changed = self.changed(later);
        changed.filter(|key| !is_revisable(key)).collect()
    }
}

fn is_revisable(key: &str) -> bool {
    // Of a route how its calls are made, not which they are.
    let rules = key
        .strip_prefix("routes[")
        .and_then(|rest| rest.split_once(']'));
    if rules.is_some_and(|(_, key)| key.starts_with(".fork.")) {
        return true;
    }
    let numbers = key
        .strip_prefix("users.")
        .and_then(|rest| rest.rsplit_once(".numbers["));
    let index = numbers.and_then(|(_, index)| index.strip_suffix(']'));
    if index.is_some_and(|index| index.bytes().all(|b| b.is_ascii_digit())) {
        return true;
    }
    REVISABLE.iter().any(|prefix| {
        let rest = key.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Written {
        super::super::parse(text, "test.yaml", &|_| None)
            .unwrap()
            .written
    }

    #[test]
    fn what_has_changed_is_told_by_its_key() {
        let before = written(
            "node: { name: a }\nacl: { deny: [192.0.2.1] }\nbans: { after: 5 }\n\
             limits: { idle: 1m, conversations: 7 }\n",
        );
        let after = written(
            "node: { name: b }\nacl: { deny: [192.0.2.1, 192.0.2.2] }\n\
             limits: { idle: 1m, conversations: 8, requests_per_ip: { rate: 5 } }\nmedia: {}\n",
        );
        let mut revised = before.revised(&after);
        revised.sort_unstable();
        assert_eq!(
            revised,
            [
                "acl.deny[1]",
                "bans.after",
                "limits.conversations",
                "limits.requests_per_ip.rate"
            ]
        );
        assert_eq!(before.for_a_restart(&after), ["node.name"]);
        assert!(after.revised(&after).is_empty() && after.for_a_restart(&after).is_empty());
    }

    #[test]
    fn only_whole_keys_count() {
        assert!(is_revisable("acl.allow[0]") && is_revisable("limits.conversations"));
        assert!(is_revisable("media.reserve.calls") && is_revisable("limits.ringing_per_ip"));
        assert!(is_revisable("routes[12].fork.redirects") && is_revisable("fork.redirects"));
        assert!(is_revisable("users.alice@example.org.numbers[0]"));
        assert!(!is_revisable("users.a.numbers[0]@example.org.password"));
        assert!(!is_revisable("routes[12].to") && !is_revisable("fork.order"));
        assert!(!is_revisable("acls") && !is_revisable("limits.idle"));
        assert!(!is_revisable("media.ports") && !is_revisable("limits.message_size"));
    }
}
