//! A YAML text as a tree that knows where each key and value stands, so that every problem can be
//! told with its place. Values stay text: what they must be is known to whoever reads them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::environment::{Environment, fill_in};
use super::problem::{ConfigErrors, Problem};

/// Characters of a file.
const TEXT_MAX: usize = 32 << 20;
/// Keys and values of a file, those repeated by aliases counted each time.
const NODES_MAX: usize = 2_000_000;
/// Lists and maps within each other.
const DEPTH_MAX: usize = 32;

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
        let mut builder = Builder {
            tree: &mut tree,
            parser: Parser::new_from_str(text),
            anchors: BTreeMap::new(),
            environment,
        };
        match builder.file() {
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

    /// Returns true for values that must not be shown, misspelled keys of users' secrets among them.
    pub(super) fn is_secret(&self, node: NodeId) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            match self.key(node) {
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

/// Why a text is no tree.
struct Fault {
    place: Place,
    what: String,
    mend: Option<String>,
}

impl Fault {
    fn new(place: Place, what: impl Into<String>) -> Self {
        Self {
            place,
            what: what.into(),
            mend: None,
        }
    }
}

struct Builder<'a, 'text> {
    tree: &'a mut Tree,
    parser: Parser<'text, serde_saphyr::granit_parser::StrInput<'text>>,
    anchors: BTreeMap<usize, NodeId>,
    environment: Environment<'a>,
}

impl<'text> Builder<'_, 'text> {
    fn file(&mut self) -> Result<(), Fault> {
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Fault::new(place(&span), "a second document begins here"));
                    }
                }
                Event::StreamEnd => break,
                event => {
                    self.node(event, &span, None, Key::Root, 0)?;
                }
            }
        }
        if self.tree.nodes.is_empty() {
            let start = Place {
                line: 1,
                column: 1,
                length: 1,
            };
            self.add(None, Key::Root, start, Value::Map(Vec::new()))?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(Event<'text>, Span), Fault> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(pair)) => return Ok(pair),
                Some(Err(error)) => {
                    let mut place = mark(error.marker());
                    place.line = place.line.min(self.tree.lines.len().max(1));
                    let what = error.info().to_owned();
                    let mut fault = Fault::new(place, format!("not valid YAML: {what}"));
                    let line = self.tree.lines.get(place.line - 1);
                    if line.is_some_and(|l| l.contains("${")) {
                        fault.mend =
                            Some("within { } and [ ] write \"${NAME}\" in quotes".to_owned());
                    } else if line.is_some_and(|l| l.contains('\t')) {
                        fault.mend = Some("indent by spaces, never by tabs".to_owned());
                    }
                    return Err(fault);
                }
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn add(
        &mut self,
        parent: Option<NodeId>,
        key: Key,
        place: Place,
        value: Value,
    ) -> Result<NodeId, Fault> {
        if self.tree.nodes.len() >= NODES_MAX {
            return Err(Fault::new(
                place,
                format!("more than {NODES_MAX} keys and values"),
            ));
        }
        self.tree.nodes.push(Node {
            parent,
            key,
            place,
            value,
            set_aside: Cell::new(false),
        });
        Ok(self.tree.nodes.len() - 1)
    }

    fn node(
        &mut self,
        event: Event<'text>,
        span: &Span,
        parent: Option<NodeId>,
        key: Key,
        depth: usize,
    ) -> Result<NodeId, Fault> {
        let place = place(span);
        if depth > DEPTH_MAX {
            return Err(Fault::new(
                place,
                format!("nested more than {DEPTH_MAX} levels deep"),
            ));
        }
        if event.tag().is_some() {
            return Err(Fault::new(place, "tags (`!`) have no meaning here"));
        }
        let anchor = event.anchor_id();
        let id = match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                self.scalar(&text, plain, place, parent, key)?
            }
            Event::SequenceStart(..) => {
                let id = self.add(parent, key, place, Value::List(Vec::new()))?;
                self.items(id, depth)?;
                id
            }
            Event::MappingStart(..) => {
                let id = self.add(parent, key, place, Value::Map(Vec::new()))?;
                self.entries(id, depth)?;
                id
            }
            Event::Alias(anchor) => {
                let Some(source) = self.anchors.get(&anchor).copied() else {
                    return Err(Fault::new(place, "this alias stands within its own anchor"));
                };
                self.copy(source, parent, key, place, depth)?
            }
            _ => return Err(Fault::new(place, "a value is expected here")),
        };
        if let Some(anchor) = anchor.filter(|a| *a != 0) {
            self.anchors.insert(anchor, id);
        }
        Ok(id)
    }

    fn scalar(
        &mut self,
        text: &str,
        plain: bool,
        place: Place,
        parent: Option<NodeId>,
        key: Key,
    ) -> Result<NodeId, Fault> {
        let (text, bad) = match fill_in(text, self.environment) {
            Ok(text) => (text, None),
            Err(bad) => (text.to_owned(), Some(bad)),
        };
        let id = self.add(parent, key, place, Value::Scalar { text, plain })?;
        if let Some(bad) = bad {
            let problem = Problem::of_value(self.tree, id, bad.to_string(), Some(bad.mend()));
            self.tree.problems.borrow_mut().push(problem);
            self.tree.set_aside(id);
        }
        Ok(id)
    }

    fn items(&mut self, list: NodeId, depth: usize) -> Result<(), Fault> {
        for index in 0.. {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let item = self.node(event, &span, Some(list), Key::Index(index), depth + 1)?;
            if let Value::List(items) = &mut self.tree.nodes[list].value {
                items.push(item);
            }
        }
        Ok(())
    }

    fn entries(&mut self, map: NodeId, depth: usize) -> Result<(), Fault> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            let key_place = place(&span);
            let name = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(Fault::new(key_place, "a key must be a word")),
            };
            let (event, span) = self.next()?;
            let key = Key::Name(name.clone(), key_place);
            let entry = self.node(event, &span, Some(map), key, depth + 1)?;
            if let Value::Map(entries) = &mut self.tree.nodes[map].value {
                entries.push(entry);
            }
            if let Some(first) = seen.get(&name) {
                let what = format!("given twice, first on line {first}");
                let mend = Some("keep one of them".to_owned());
                let problem = Problem::of_key(self.tree, entry, what, mend);
                self.tree.problems.borrow_mut().push(problem);
                self.tree.set_aside(entry);
            } else {
                seen.insert(name, key_place.line);
            }
        }
        Ok(())
    }

    /// Repeats what an alias stands for; its places are the alias's own.
    fn copy(
        &mut self,
        source: NodeId,
        parent: Option<NodeId>,
        key: Key,
        place: Place,
        depth: usize,
    ) -> Result<NodeId, Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::new(
                place,
                format!("nested more than {DEPTH_MAX} levels deep"),
            ));
        }
        let value = self.tree.nodes[source].value.clone();
        let (children, is_map) = match value {
            Value::Scalar { .. } => return self.add(parent, key, place, value),
            Value::List(children) => (children, false),
            Value::Map(children) => (children, true),
        };
        let id = self.add(parent, key, place, Value::List(Vec::new()))?;
        let mut copies = Vec::with_capacity(children.len());
        for child in children {
            let key = self.tree.nodes[child].key.clone();
            copies.push(self.copy(child, Some(id), key, place, depth + 1)?);
        }
        self.tree.nodes[id].value = if is_map {
            Value::Map(copies)
        } else {
            Value::List(copies)
        };
        Ok(id)
    }
}

fn place(span: &Span) -> Place {
    let mut place = mark(&span.start);
    if span.end.line() == span.start.line() {
        place.length = span.end.col().saturating_sub(span.start.col()).max(1);
    }
    place
}

fn mark(marker: &Marker) -> Place {
    Place {
        line: marker.line().max(1),
        column: marker.col() + 1,
        length: 1,
    }
}
