//! Values written as one word, and the shapes around them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// A type with a form in one word.
pub(crate) trait FromText: Sized {
    /// What is expected: "a duration".
    const WHAT: &'static str;
    /// How it is written.
    fn form() -> String;
    /// Reads it; the error says what is wrong.
    fn from_text(text: &str) -> Result<Self, String>;
    /// A regular expression of ECMA 262 that every such word fits.
    fn pattern() -> String;
    /// Types of YAML that the word may look like.
    fn looks_like() -> &'static [&'static str] {
        &["string"]
    }
}

/// Reads a word into a type; for `Deserialize` and for map keys.
pub(crate) struct TextVisitor<T>(PhantomData<T>);

impl<T> TextVisitor<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(|what| E::custom(format!("{what}\n{}", T::form())))
    }
}

/// Gives a text type its serde and schema.
macro_rules! text_type {
    ($type:ident $(< $($name:ident : $kind:ty),+ >)?) => {
        impl<'de $($(, const $name: $kind)+)?> serde::Deserialize<'de> for $type $(<$($name),+>)? {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str($crate::config::file::text::TextVisitor::new())
            }
        }

        impl $(<$(const $name: $kind),+>)? serde::Serialize for $type $(<$($name),+>)? {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl $(<$(const $name: $kind),+>)? schemars::JsonSchema for $type $(<$($name),+>)? {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                std::any::type_name::<Self>().into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                use $crate::config::file::text::FromText;
                schemars::json_schema!({ "type": Self::looks_like(), "pattern": Self::pattern() })
            }
        }
    };
}
pub(crate) use text_type;

/// One word, or a map that says more.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextOr<T, M> {
    Text(T),
    Map(M),
}

struct TextOrVisitor<T, M>(PhantomData<(T, M)>);

impl<'de, T: FromText, M: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T, M> {
    type Value = TextOr<T, M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} or a map", T::WHAT)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        TextVisitor::new().visit_str(text).map(TextOr::Text)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Map)
    }
}

impl<'de, T: FromText, M: Deserialize<'de>> Deserialize<'de> for TextOr<T, M> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextOrVisitor(PhantomData))
    }
}

impl<T: Serialize, M: Serialize> Serialize for TextOr<T, M> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(to),
            Self::Map(map) => map.serialize(to),
        }
    }
}

impl<T: JsonSchema, M: JsonSchema> JsonSchema for TextOr<T, M> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_{}", T::schema_name(), M::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [generator.subschema_for::<T>(), generator.subschema_for::<M>()]
        })
    }
}

/// A map that keeps the order of the file, with any keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ordered<V>(pub(crate) Vec<(String, V)>);

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

struct OrderedVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for OrderedVisitor<V> {
    type Value = Ordered<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Ordered(entries))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(OrderedVisitor(PhantomData))
    }
}

impl<V: Serialize> Serialize for Ordered<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(k, v)| (k, v)))
    }
}

impl<V: JsonSchema> JsonSchema for Ordered<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("map_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // An empty section is null.
        json_schema!({
            "type": ["object", "null"],
            "additionalProperties": generator.subschema_for::<V>()
        })
    }
}
