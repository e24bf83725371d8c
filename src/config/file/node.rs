//! `node`: this process.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{FromText, text_type};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Node {
    /// Name in logs and metrics; by default the host name.
    pub(crate) name: Option<String>,
    /// Shards; `auto` makes one per core.
    pub(crate) workers: Workers,
    /// Where state is kept.
    pub(crate) data_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: None,
            workers: Workers::Auto,
            data_dir: PathBuf::from("./data"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    Auto,
    Count(usize),
}

/// As many as there are virtual shards.
pub(crate) const WORKERS_MAX: usize = crate::engine::ids::VIRTUAL_SHARDS as usize;

impl FromText for Workers {
    const WHAT: &'static str = "a number of workers";

    fn form() -> String {
        format!("auto, or a whole number from 1 to {WORKERS_MAX}")
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(count) if (1..=WORKERS_MAX).contains(&count) => Ok(Self::Count(count)),
            Ok(_) => Err(format!("`{text}` is out of range")),
            Err(_) => Err(format!("`{text}` is no number of workers")),
        }
    }

    fn pattern() -> String {
        "^(auto|[0-9]+)$".to_owned()
    }

    fn looks_like() -> &'static [&'static str] {
        &["string", "integer"]
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

text_type!(Workers);
