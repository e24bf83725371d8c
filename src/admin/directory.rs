//! What the admin interface asks of the running server.

use std::future::Future;

use crate::engine::endpoint::Binding;
use crate::engine::ids::{Aor, ConversationId};
use crate::engine::ports::Command;
use crate::engine::time::Millis;
use crate::engine::view::{Detail, Summary, UpstreamView};
use crate::gate::{Ban, Source};
use crate::metrics::Readings;

/// A shard did not answer: it hangs, it is overloaded, or the server is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a shard does not answer")]
pub struct Unanswered;

/// The server as the admin interface sees it. The app implements it over the shards' mailboxes; tests
/// implement it over a table.
///
/// An implementation need not time out by itself: every call is given up after a deadline, and a future
/// that is dropped must leave nothing behind.
pub trait Directory: Send + Sync + 'static {
    /// Returns false from the beginning of a drain on: what is new is for other nodes.
    fn is_listening(&self) -> bool;

    /// Asks every shard, the sockets and the relay for their counts.
    fn readings(&self) -> impl Future<Output = Result<Readings, Unanswered>> + Send;

    /// Lists up to `limit` conversations of all shards, newest first.
    fn list(&self, limit: usize) -> impl Future<Output = Result<Vec<Summary>, Unanswered>> + Send;

    /// Returns one conversation with its history, where its shard knows it.
    fn detail(
        &self,
        id: ConversationId,
    ) -> impl Future<Output = Result<Option<Detail>, Unanswered>> + Send;

    /// Hands an order to the conversation's shard. Returns when it is in the mailbox, not when it is
    /// carried out.
    fn command(&self, command: Command) -> impl Future<Output = Result<(), Unanswered>> + Send;

    /// Lists the targets of upstreams.
    fn upstreams(&self) -> impl Future<Output = Result<Vec<UpstreamView>, Unanswered>> + Send;

    /// Has a target of upstreams asked again that is left alone since it asked for that. Returns false where there is
    /// none, or it is not left alone.
    fn resume(&self, target: &str) -> impl Future<Output = Result<bool, Unanswered>> + Send;

    /// Returns up to `limit` bindings: of one AOR, or of all, in the order of AORs.
    fn bindings(&self, aor: Option<&Aor>, limit: usize) -> Vec<(Aor, Binding)>;

    /// Returns up to `limit` sources that are shut out, in their order.
    fn bans(&self, limit: usize) -> Vec<Ban>;

    /// Shuts a source out, for the configured time where none is named. None: no more can be.
    fn ban(&self, source: Source, span: Option<Millis>) -> Option<Ban>;

    /// Lets a source in again. Returns false where it was not shut out.
    fn lift(&self, source: Source) -> bool;
}
