//! What one release has kept and another one reads.

use std::collections::BTreeSet;
use std::fmt;

use refork::engine::snapshot::Snapshot;
use refork::sip::{Message, Method};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::people::*;
use crate::table::*;

/// Anything that MessagePack can say.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Nothing,
    Bool(bool),
    Int(i64),
    Large(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Nothing)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Nothing)
            }

            fn visit_bool<E>(self, known: bool) -> Result<Value, E> {
                Ok(Value::Bool(known))
            }

            fn visit_i64<E>(self, known: i64) -> Result<Value, E> {
                Ok(Value::Int(known))
            }

            fn visit_u64<E>(self, known: u64) -> Result<Value, E> {
                Ok(Value::Large(known))
            }

            fn visit_f64<E>(self, known: f64) -> Result<Value, E> {
                Ok(Value::Float(known))
            }

            fn visit_str<E>(self, known: &str) -> Result<Value, E> {
                Ok(Value::Text(known.into()))
            }

            fn visit_bytes<E>(self, known: &[u8]) -> Result<Value, E> {
                Ok(Value::Bytes(known.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
                let mut all = Vec::new();
                while let Some(next) = from.next_element()? {
                    all.push(next);
                }
                Ok(Value::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
                let mut all = Vec::new();
                while let Some(next) = from.next_entry()? {
                    all.push(next);
                }
                Ok(Value::Map(all))
            }
        }
        from.deserialize_any(Any)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => to.serialize_none(),
            Self::Bool(known) => to.serialize_bool(*known),
            Self::Int(known) => to.serialize_i64(*known),
            Self::Large(known) => to.serialize_u64(*known),
            Self::Float(known) => to.serialize_f64(*known),
            Self::Text(known) => to.serialize_str(known),
            Self::Bytes(known) => to.serialize_bytes(known),
            Self::List(all) => {
                let mut list = to.serialize_seq(Some(all.len()))?;
                all.iter()
                    .try_for_each(|next| list.serialize_element(next))?;
                list.end()
            }
            Self::Map(all) => {
                let mut map = to.serialize_map(Some(all.len()))?;
                all.iter()
                    .try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

impl Value {
    /// Does something with the fields of each struct that is called so, or is in a list of that name.
    fn each(&mut self, name: &str, act: &mut impl FnMut(&mut Vec<(Self, Self)>)) {
        let Self::Map(fields) = self else {
            if let Self::List(all) = self {
                all.iter_mut().for_each(|next| next.each(name, act));
            }
            return;
        };
        for (known, value) in fields {
            let is_it = *known == Self::Text(name.into());
            match value {
                Self::Map(own) if is_it => act(own),
                Self::List(all) if is_it => {
                    for next in all {
                        if let Self::Map(own) = next {
                            act(own);
                        }
                    }
                }
                _ => {}
            }
            value.each(name, act);
        }
    }
}

/// Bob's mobile rings in a re-fork. Returns its INVITE.
fn rings_again() -> (Table, Message) {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let there = t.request_to(desk(), Method::Invite);
    t.reply(&there, 403, desk());
    t.request_to(desk(), Method::Ack);
    let invite = t.request_to(mobile(), Method::Invite);
    t.reply(&invite, 180, mobile());
    (t, invite)
}

/// Does something with what is kept.
fn kept(t: &mut Table, mut act: impl FnMut(&mut Value)) {
    for bytes in t.store.values_mut() {
        let mut snapshot: Snapshot = rmp_serde::from_slice(bytes).unwrap();
        let mut state: Value = rmp_serde::from_slice(&snapshot.state).unwrap();
        act(&mut state);
        snapshot.state = rmp_serde::to_vec(&state).unwrap().into();
        *bytes = rmp_serde::to_vec(&snapshot).unwrap();
    }
}

fn goes_on(mut t: Table, invite: &Message) {
    t.restart();
    let same = t.request_to(mobile(), Method::Invite);
    assert_eq!(same.bytes(), invite.bytes());
    t.receive(
        mobile(),
        with_sdp(response(&same, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let word = t.request_to(alice(), Method::Message);
    t.reply(&word, 200, alice());
    t.nothing_to(alice());
}

#[test]
fn what_a_later_release_has_kept_beyond_is_left_out() {
    let (mut t, invite) = rings_again();
    let mut seen = BTreeSet::new();
    kept(&mut t, |state| {
        for name in [
            "parties", "leg", "lost", "fork", "branches", "dialog", "old", "talk",
        ] {
            let more = (
                Value::Text("of_tomorrow".into()),
                Value::List(vec![Value::Bool(true)]),
            );
            state.each(name, &mut |fields| {
                fields.insert(0, more.clone());
                seen.insert(name);
            });
        }
        if let Value::Map(own) = state {
            own.insert(0, (Value::Text("of_tomorrow".into()), Value::Nothing));
        }
    });
    assert_eq!(seen.len(), 8, "{seen:?}");
    goes_on(t, &invite);
}

#[test]
fn what_an_earlier_release_has_not_kept_has_a_default() {
    let (mut t, invite) = rings_again();
    let mut left = 0;
    kept(&mut t, |state| {
        let mut without = |of: &str, names: &[&str]| {
            state.each(of, &mut |fields| {
                let before = fields.len();
                fields.retain(|(name, _)| match name {
                    Value::Text(name) => !names.contains(&name.as_str()),
                    _ => true,
                });
                left += before - fields.len();
            });
        };
        without(
            "lost",
            &[
                "machines", "turned", "stands", "before", "turns", "named_at", "unjoined",
            ],
        );
        without("fork", &["waiting", "best"]);
        without(
            "branches",
            &[
                "attempt",
                "generation",
                "secure",
                "turned",
                "meant",
                "picker",
                "giver",
            ],
        );
    });
    assert_eq!(left, 16);
    goes_on(t, &invite);
}

/// Structs as lists, as before they had names.
#[test]
fn what_has_no_names_is_read_by_its_order() {
    let (mut t, invite) = rings_again();
    kept(&mut t, |state| {
        let Value::Map(own) = state else {
            panic!("{state:?}")
        };
        *state = Value::List(own.drain(..).map(|(_, value)| value).collect());
    });
    goes_on(t, &invite);
}
