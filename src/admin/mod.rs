//! The admin interface over HTTP: metrics, health, conversations, bindings. `docs/api.md` describes it.

mod bans;
mod directory;
mod guard;
mod json;
mod refusal;
mod routes;
mod serve;

use std::sync::Arc;

use crate::metrics::Metrics;
use crate::observe::Spans;

pub use self::directory::{Directory, Unanswered};
pub use self::json::record;
pub use self::serve::serve;

/// What the admin interface works with.
pub struct AdminState<D> {
    pub directory: D,
    pub metrics: Arc<Metrics>,
    /// Of the conversations, for the log.
    pub spans: Spans,
    /// Demanded of every request but those for health, where there is one.
    pub token: Option<Box<str>>,
}

#[cfg(test)]
mod tests;
