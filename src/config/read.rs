//! Fills the file structs from the tree: a serde deserializer that keeps the place of what it cannot
//! read. A faulty key is set aside and the rest read again, so that one run finds all of them.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use super::problem::{Problem, nearest};
use super::tree::{NodeId, Tree, Value};

/// Faulty keys told in one run.
const PROBLEMS_MAX: usize = 100;

/// Reads the whole tree; nothing where not even the faulty keys' absence helps.
pub(super) fn read<T: DeserializeOwned>(tree: &Tree, problems: &mut Vec<Problem>) -> Option<T> {
    for _ in 0..PROBLEMS_MAX {
        match T::deserialize(Reader { tree, node: 0 }) {
            Ok(file) => return Some(file),
            Err(error) => {
                let node = error.node.unwrap_or(0);
                problems.push(if error.on_key {
                    Problem::of_key(tree, node, error.what, error.mend)
                } else {
                    Problem::of_value(tree, node, error.what, error.mend)
                });
                if node == 0 {
                    return None;
                }
                tree.set_aside(node);
            }
        }
    }
    None
}

/// Why a node cannot be read. The second line of a custom message is the mend.
#[derive(Debug)]
pub(super) struct ReadError {
    node: Option<NodeId>,
    on_key: bool,
    what: String,
    mend: Option<String>,
}

impl ReadError {
    fn of(what: impl Into<String>, mend: Option<String>) -> Self {
        Self {
            node: None,
            on_key: false,
            what: what.into(),
            mend,
        }
    }

    fn at(mut self, node: NodeId, on_key: bool) -> Self {
        if self.node.is_none() {
            self.node = Some(node);
            self.on_key = on_key;
        }
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        let message = message.to_string();
        match message.split_once('\n') {
            Some((what, mend)) => Self::of(what, Some(mend.to_owned())),
            None => Self::of(message, None),
        }
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = if unexpected == de::Unexpected::Map {
            "a map"
        } else if unexpected == de::Unexpected::Seq {
            "a list"
        } else if unexpected == de::Unexpected::Unit {
            "nothing"
        } else {
            "a single value"
        };
        Self::of(
            format!("{found} stands where {} belongs", expected_thing(expected)),
            None,
        )
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::of(
            "no such key",
            Some(suggestion(field, known, "the keys here are")),
        )
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::of(
            format!("`{word}` is not permitted"),
            Some(suggestion(word, known, "permitted are")),
        )
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of(format!("`{field}` is missing"), None)
    }
}

/// Serde says "struct Probe" of a derived struct.
fn expected_thing(expected: &dyn de::Expected) -> String {
    let expected = expected.to_string();
    if expected.starts_with("struct ") {
        "a map".to_owned()
    } else if expected == "a sequence" {
        "a list".to_owned()
    } else if expected.starts_with("enum ") {
        "a word".to_owned()
    } else {
        expected
    }
}

fn suggestion(word: &str, known: &[&str], all: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none here".to_owned(),
        None => format!("{all}: {}", known.join(", ")),
    }
}

#[derive(Clone, Copy)]
struct Reader<'t> {
    tree: &'t Tree,
    node: NodeId,
}

impl<'t> Reader<'t> {
    /// Returns the text of a scalar that holds a value.
    fn text(self, wanted: &str) -> Result<&'t str, ReadError> {
        let found = match self.tree.value(self.node) {
            Value::Scalar { .. } if self.tree.is_null(self.node) => "nothing",
            Value::Scalar { text, .. } => return Ok(text),
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        Err(ReadError::of(
            format!("{found} stands where {wanted} belongs"),
            None,
        ))
    }

    fn shown(self, text: &str) -> String {
        if self.tree.is_secret(self.node) {
            "this".to_owned()
        } else {
            format!("`{text}`")
        }
    }

    fn children(self) -> Children<'t> {
        let mut nodes: Vec<_> = self.tree.children(self.node).collect();
        nodes.reverse();
        Children {
            tree: self.tree,
            rest: nodes,
            entry: None,
        }
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.tree.value(self.node) {
            Value::Scalar { .. } if self.tree.is_null(self.node) => visitor.visit_unit(),
            Value::Scalar { text, .. } => visitor.visit_str(text),
            Value::List(_) => visitor.visit_seq(self.children()),
            Value::Map(_) => visitor.visit_map(self.children()),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.text("true or false")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            other => Err(ReadError::of(
                format!("{} is neither true nor false", self.shown(other)),
                Some("write true or false".to_owned()),
            )),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let text = self.text("a single value")?;
        visitor.visit_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.tree.is_null(self.node) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    /// A section whose every line is commented out has no value; that is an empty one.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.tree.is_null(self.node) {
            visitor.visit_map(self.children())
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.tree.value(self.node) {
            // A derived struct would read a list as its fields in order.
            Value::List(_) => Err(ReadError::of("a list stands where a map belongs", None)),
            Value::Scalar { .. } | Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.tree.is_null(self.node) {
            visitor.visit_seq(self.children())
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.tree.value(self.node) {
            Value::Scalar { .. } => {
                let word = self.text(&format!("one of {}", variants.join(", ")))?;
                visitor.visit_enum(word.into_deserializer())
            }
            Value::Map(_) => {
                visitor.visit_enum(de::value::MapAccessDeserializer::new(self.children()))
            }
            Value::List(_) => Err(ReadError::of("a list stands where a word belongs", None)),
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// The items of a list or the entries of a map, last first.
struct Children<'t> {
    tree: &'t Tree,
    rest: Vec<NodeId>,
    entry: Option<NodeId>,
}

impl Children<'_> {
    fn read<'de, S: DeserializeSeed<'de>>(
        &self,
        node: NodeId,
        seed: S,
    ) -> Result<S::Value, ReadError> {
        let reader = Reader {
            tree: self.tree,
            node,
        };
        seed.deserialize(reader).map_err(|e| e.at(node, false))
    }
}

impl<'de> de::SeqAccess<'de> for Children<'_> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let Some(node) = self.rest.pop() else {
            return Ok(None);
        };
        self.read(node, seed).map(Some)
    }
}

impl<'de> de::MapAccess<'de> for Children<'_> {
    type Error = ReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let Some(node) = self.rest.pop() else {
            return Ok(None);
        };
        self.entry = Some(node);
        let key = self.tree.key(node).unwrap_or("");
        let key: StrDeserializer<'_, ReadError> = key.into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|e| e.at(node, true))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        match self.entry.take() {
            Some(node) => self.read(node, seed),
            None => Err(de::Error::custom("a value was read before its key")),
        }
    }
}
