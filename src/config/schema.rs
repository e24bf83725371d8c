//! The JSON Schema of the file.

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{Schema, json_schema};
use serde_json::Value;

use super::file::File;

/// Returns the JSON Schema (draft 2020-12) of the configuration file, for editors and checks.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<File>();
    widen(&mut schema);
    schema.insert("title".to_owned(), "Refork configuration".into());
    schema.to_value()
}

/// Any value may come from the environment, and any section may be empty.
fn widen(schema: &mut Schema) {
    transform_subschemas(&mut widen, schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let is_word = match object.get("type") {
        Some(Value::String(kind)) => matches!(kind.as_str(), "integer" | "number" | "boolean"),
        Some(Value::Array(kinds)) => kinds
            .iter()
            .any(|k| matches!(k.as_str(), Some("integer" | "number" | "boolean"))),
        _ => false,
    };
    let narrow = is_word
        || object.contains_key("pattern")
        || object.contains_key("enum")
        || object.contains_key("const");
    if let Some(kind @ ("object" | "array")) = object.get("type").and_then(Value::as_str) {
        let kinds = serde_json::json!([kind, "null"]);
        object.insert("type".to_owned(), kinds);
    }
    if narrow {
        let mut inner = std::mem::take(object);
        let description = inner.remove("description");
        let default = inner.remove("default");
        let mut wide = json_schema!({
            "anyOf": [inner, { "type": "string", "pattern": "[$][{]" }]
        });
        for (key, value) in [("description", description), ("default", default)] {
            if let Some(value) = value {
                wide.insert(key.to_owned(), value);
            }
        }
        *schema = wide;
    }
}
