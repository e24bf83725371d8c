//! Fills the tree from the events of the YAML parser.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::{Key, Node, NodeId, Place, Tree, Value};
use crate::config::environment::{Environment, fill_in};
use crate::config::problem::Problem;

/// Keys and values of a file, those repeated by aliases counted each time.
const NODES_MAX: usize = 1_000_000;
/// Lists and maps within each other.
const DEPTH_MAX: usize = 32;

/// Why a text is no tree.
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) what: String,
    pub(super) mend: Option<String>,
}

/// Fills a tree from its text.
///
/// # Errors
/// The text is no YAML, or more than a limit permits.
pub(super) fn fill(tree: &mut Tree, text: &str, environment: Environment<'_>) -> Result<(), Fault> {
    Builder {
        tree,
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        environment,
    }
    .file()
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
    parser: Parser<'text, StrInput<'text>>,
    anchors: BTreeMap<usize, NodeId>,
    environment: Environment<'a>,
}

impl<'text> Builder<'_, 'text> {
    fn file(&mut self) -> Result<(), Fault> {
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::StreamEnd) {
                break;
            }
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    return Err(Fault::new(place(&span), "a second document begins here"));
                }
            }
            if event.is_node() {
                self.node(event, &span, None, Key::Root, 0)?;
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
        let id = if let Some((text, style)) = event.scalar() {
            let plain = style == ScalarStyle::Plain;
            self.scalar(text, plain, place, parent, key)?
        } else if let Some(anchor) = event.alias_id() {
            let Some(source) = self.anchors.get(&anchor).copied() else {
                return Err(Fault::new(place, "this alias stands within its own anchor"));
            };
            self.copy(source, parent, key, place, depth)?
        } else if matches!(event, Event::SequenceStart(..)) {
            let id = self.add(parent, key, place, Value::List(Vec::new()))?;
            self.items(id, depth)?;
            id
        } else if matches!(event, Event::MappingStart(..)) {
            let id = self.add(parent, key, place, Value::Map(Vec::new()))?;
            self.entries(id, depth)?;
            id
        } else {
            return Err(Fault::new(place, "a value is expected here"));
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
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let Event::Scalar(name, ..) = event else {
                return Err(Fault::new(key_place, "a key must be a word"));
            };
            let name = name.into_owned();
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
