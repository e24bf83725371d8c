//! `refork schema` describes what `refork check` accepts, and the reference page names all of it.

use std::collections::BTreeSet;

use refork::config;
use serde_json::Value;

use super::{EXAMPLES, read};

/// As much of JSON Schema as ours uses; an unknown keyword is a failure, so that none goes unchecked.
fn faults(schema: &Value, value: &Value, root: &Value, path: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        if schema == &Value::Bool(false) {
            found.push(format!("{path}: nothing is permitted here"));
        }
        return;
    };
    for (keyword, rule) in schema {
        let fits = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix('#').unwrap();
                faults(root.pointer(name).unwrap(), value, root, path, found);
                true
            }
            "anyOf" | "oneOf" => rule.as_array().unwrap().iter().any(|option| {
                let mut inner = Vec::new();
                faults(option, value, root, path, &mut inner);
                inner.is_empty()
            }),
            "type" => match rule.as_array() {
                Some(kinds) => kinds.iter().any(|kind| is_a(kind, value)),
                None => is_a(rule, value),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "minimum" => value.as_f64().is_none_or(|v| v >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|v| v <= rule.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| {
                regex::Regex::new(rule.as_str().unwrap())
                    .unwrap()
                    .is_match(text)
            }),
            "required" => value.as_object().is_none_or(|map| {
                rule.as_array()
                    .unwrap()
                    .iter()
                    .all(|key| map.contains_key(key.as_str().unwrap()))
            }),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    faults(rule, item, root, &format!("{path}[{index}]"), found);
                }
                true
            }
            "properties" => {
                for (key, item) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(key) {
                        faults(rule, item, root, &format!("{path}.{key}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (key, item) in value.as_object().into_iter().flatten() {
                    if !known.is_some_and(|known| known.contains_key(key)) {
                        faults(rule, item, root, &format!("{path}.{key}"), found);
                    }
                }
                true
            }
            other => panic!("{path}: the schema has the unknown keyword {other}"),
        };
        if !fits {
            found.push(format!("{path}: {value} breaks {keyword}: {rule}"));
        }
    }
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

fn faults_of(value: &Value) -> Vec<String> {
    let schema = config::schema();
    let mut found = Vec::new();
    faults(&schema, value, &schema, "", &mut found);
    found
}

fn yaml(text: &str) -> Value {
    // YAML 1.2: `off` is a word.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap()
}

#[test]
fn the_schema_accepts_the_examples() {
    for path in EXAMPLES {
        assert_eq!(
            faults_of(&yaml(&read(path))),
            Vec::<String>::new(),
            "{path}"
        );
    }
}

#[test]
fn the_schema_refuses_what_check_refuses() {
    for text in [
        "nod: {}",
        "fork: { order: sideways }",
        "fork: { ring_timeout: 60 }",
        "restore: { retry: { factor: 20 } }",
        "limits: { connections: 0 }",
        "listen: [\"sctp://127.0.0.1\"]",
        "listen: [{ dscp: cs3 }]",
        "upstreams: { a: {} }",
        "notice: { continued: \"{who}\" }",
        "media: { ports: all }",
        "detect: { probe: { trys: 2 } }",
    ] {
        assert!(!faults_of(&yaml(text)).is_empty(), "{text}");
        assert!(super::parse(text).is_err(), "{text}");
    }
    let from_environment =
        yaml("limits: { connections: \"${N}\" }\nfork: { order: \"${ORDER:-q}\" }");
    assert_eq!(faults_of(&from_environment), Vec::<String>::new());
}

/// Collects the paths of all keys that hold a value.
fn keys(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return keys(root.pointer(&name[1..]).unwrap(), root, path, found);
    }
    for option in ["anyOf", "oneOf"] {
        for option in schema
            .get(option)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            keys(option, root, path, found);
        }
    }
    for (key, inner) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        keys(inner, root, &path, found);
        found.insert(path);
    }
    if let Some(inner @ Value::Object(_)) = schema.get("additionalProperties") {
        keys(inner, root, &format!("{path}.*"), found);
    }
    if let Some(inner) = schema.get("items") {
        keys(inner, root, &format!("{path}[]"), found);
    }
}

#[test]
fn the_example_names_every_key() {
    let schema = config::schema();
    let mut known = BTreeSet::new();
    keys(&schema, &schema, "", &mut known);
    let example = read("config/refork.yaml");
    let named = |key: &&String| {
        let last = key.rsplit('.').next().unwrap();
        let words = example.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        last.starts_with('*')
            || words
                .flat_map(|word| word.split_inclusive(':'))
                .any(|word| word.trim_end_matches(':') == last)
    };
    let missing: Vec<_> = known.iter().filter(|key| !named(key)).collect();
    assert!(missing.is_empty(), "not in config/refork.yaml: {missing:?}");
}

#[test]
fn the_reference_page_names_every_key_and_no_other() {
    let schema = config::schema();
    let mut known = BTreeSet::new();
    keys(&schema, &schema, "", &mut known);
    assert!(
        known.contains("restore.retry.max") && known.contains("listen[].dscp"),
        "{known:?}"
    );
    let page = read("docs/configuration.md");
    // A section is told by what is in it.
    let leaves = known.iter().filter(|key| {
        let inside = [format!("{key}."), format!("{key}[].")];
        !known
            .iter()
            .any(|k| inside.iter().any(|i| k.starts_with(i.as_str())))
    });
    let missing: Vec<_> = leaves
        .filter(|key| !page.contains(&format!("`{key}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "not in docs/configuration.md: {missing:?}"
    );

    let rows = page
        .lines()
        .filter_map(|l| l.strip_prefix("| `"))
        .filter_map(|l| l.split('`').next());
    let unknown: Vec<_> = rows.filter(|key| !known.contains(*key)).collect();
    assert!(unknown.is_empty(), "no such keys: {unknown:?}");
}
