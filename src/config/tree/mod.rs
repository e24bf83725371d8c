//! A YAML text as a tree that knows where each key and value stands, so that every problem can be
//! told with its place. Values stay text: what they must be is known to whoever reads them.

mod build;

use std::cell::{Cell, RefCell};

use super::environment::Environment;
use super::problem::{ConfigErrors, Problem};

/// Characters of a file.
const TEXT_MAX: usize = 32 << 20;

pub(super) type NodeId = usize;

/// Where something stands: line and column from 1, length in characters (1 where it is longer than
/// its line).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) length: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Plain: without quotes, so that nothing, `~` and `null` mean no value.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<NodeId>),
    Map(Vec<NodeId>),
}

#[derive(Clone, Debug)]
enum Key {
    Root,
    Name(String, Place),
    Index(usize),
}

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    key: Key,
    place: Place,
    value: Value,
    /// A problem with it is known: it is skipped from then on.
    set_aside: Cell<bool>,
}

/// A whole file. The root has id 0.
#[derive(Debug)]
pub(super) struct Tree {
    name: String,
    lines: Vec<String>,
    nodes: Vec<Node>,
    problems: RefCell<Vec<Problem>>,
}

/// One step of a key's path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

impl Tree {
    /// Parses a text. Problems with single values are noted in the tree, their values set aside.
    ///
    /// # Errors
    /// The text is no YAML, or is beyond a limit: nothing of it can be used.
    pub(super) fn parse(
        text: &str,
        name: &str,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigErrors> {
        let mut tree = Self {
            name: name.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            nodes: Vec::new(),
            problems: RefCell::default(),
        };
        if text.len() > TEXT_MAX {
            let what = format!("the file is larger than {} MiB", TEXT_MAX >> 20);
            return Err(ConfigErrors::of_file(name, what, None));
        }
        match build::fill(&mut tree, text, environment) {
            Ok(()) => Ok(tree),
            Err(fault) => Err(ConfigErrors::new(vec![Problem::at_place(
                &tree,
                fault.place,
                String::new(),
                fault.what,
                fault.mend,
            )])),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn value(&self, node: NodeId) -> &Value {
        &self.nodes[node].value
    }

    /// Returns the name of a map's entry, nothing for an item of a list.
    pub(super) fn key(&self, node: NodeId) -> Option<&str> {
        match &self.nodes[node].key {
            Key::Name(name, _) => Some(name),
            Key::Root | Key::Index(_) => None,
        }
    }

    /// Returns true where the value says that there is none.
    pub(super) fn is_null(&self, node: NodeId) -> bool {
        match &self.nodes[node].value {
            Value::Scalar { text, plain } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// Returns the entries or items that are not set aside.
    pub(super) fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let all: &[NodeId] = match &self.nodes[node].value {
            Value::Scalar { .. } => &[],
            Value::List(children) | Value::Map(children) => children,
        };
        all.iter()
            .copied()
            .filter(|child| !self.nodes[*child].set_aside.get())
    }

    pub(super) fn place(&self, node: NodeId) -> Place {
        self.nodes[node].place
    }

    /// Returns the place of an entry's key, or of the value where it has none.
    pub(super) fn key_place(&self, node: NodeId) -> Place {
        match &self.nodes[node].key {
            Key::Name(_, place) => *place,
            Key::Root | Key::Index(_) => self.nodes[node].place,
        }
    }

    /// Returns the path as people write it: `restore.retry.max`, `endpoints[0].aor`.
    pub(super) fn path(&self, node: NodeId) -> String {
        let mut steps = Vec::new();
        let mut at = Some(node);
        while let Some(node) = at {
            steps.push(&self.nodes[node].key);
            at = self.nodes[node].parent;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Key::Root => {}
                Key::Index(index) => path.push_str(&format!("[{index}]")),
                Key::Name(name, _) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
            }
        }
        path
    }

    /// Returns true where no entry or item is set aside.
    pub(super) fn is_whole(&self, node: NodeId) -> bool {
        match &self.nodes[node].value {
            Value::Scalar { .. } => true,
            Value::List(all) | Value::Map(all) => {
                !all.iter().any(|child| self.nodes[*child].set_aside.get())
            }
        }
    }

    /// Skips a node from now on.
    pub(super) fn set_aside(&self, node: NodeId) {
        self.nodes[node].set_aside.set(true);
    }

    /// Returns the node at a path; items are counted without those set aside.
    pub(super) fn find(&self, path: &[Step<'_>]) -> Option<NodeId> {
        self.nearest(path).ok()
    }

    /// Returns the node at a path, or the deepest one on the way to it.
    pub(super) fn nearest(&self, path: &[Step<'_>]) -> Result<NodeId, NodeId> {
        let mut node = 0;
        for step in path {
            let next = match step {
                Step::Key(key) => self.children(node).find(|c| self.key(*c) == Some(key)),
                Step::Item(index) => self.children(node).nth(*index),
            };
            node = next.ok_or(node)?;
        }
        Ok(node)
    }

    /// Returns the names of a map's entries, also of those set aside.
    pub(super) fn all_keys(&self, path: &[Step<'_>]) -> Vec<&str> {
        let Some(node) = self.find(path) else {
            return Vec::new();
        };
        match &self.nodes[node].value {
            Value::Map(children) => children.iter().filter_map(|c| self.key(*c)).collect(),
            Value::Scalar { .. } | Value::List(_) => Vec::new(),
        }
    }

    /// Takes the problems noted so far.
    pub(super) fn take_problems(&self) -> Vec<Problem> {
        std::mem::take(&mut self.problems.borrow_mut())
    }

    /// Returns a line as it may be shown: secrets are blotted out, it goes to logs and screens.
    pub(super) fn line_for_print(&self, line: usize) -> Option<String> {
        let text = self.lines.get(line.checked_sub(1)?)?;
        let mut shown: Vec<char> = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        for (id, node) in self.nodes.iter().enumerate() {
            let on_line = node.place.line == line && matches!(node.value, Value::Scalar { .. });
            if on_line && self.is_secret(id) {
                let from = node.place.column - 1;
                let until = (from + node.place.length).min(shown.len());
                shown[from.min(until)..until].fill('*');
            }
        }
        Some(shown.into_iter().collect())
    }

    fn parent_key(&self, node: NodeId) -> Option<&str> {
        self.nodes[node].parent.and_then(|parent| self.key(parent))
    }

    /// Returns true for values that must not be shown, misspelled keys of users' secrets among them.
    pub(super) fn is_secret(&self, node: NodeId) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            match self.key(node) {
                // How much is kept for users, and nobody's secret (`media.reserve`).
                Some("users") if self.parent_key(node) == Some("reserve") => {}
                Some("users" | "token" | "credentials" | "redis") => return true,
                Some(key) if key.contains("password") || key.contains("ha1") => return true,
                Some(key) if key.starts_with("sip:") || key.starts_with("sips:") => return true,
                Some(_) | None => {}
            }
            at = self.nodes[node].parent;
        }
        false
    }
}
