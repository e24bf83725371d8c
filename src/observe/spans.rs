//! One span a conversation: what its lines in the log have in common, whichever thread writes them.
//!
//! A span stands from the first word of a conversation until a while after its last, for what its transactions
//! still have to say. It is made where anything can be logged at all, so that a warning names the call also
//! where the log has nothing but warnings.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Span;
use tracing::level_filters::LevelFilter;

use super::Clean;
use crate::engine::ids::{ConversationId, VIRTUAL_SHARDS};
use crate::engine::time::{Millis, Time};

/// How long a span is kept behind the end: a BYE that nobody answers is given up after 64*T1.
const LINGER: Millis = Millis::from_secs(40);
/// Spans of conversations that have ended, in all; of more than these the oldest go at once.
const LINGER_MAX: usize = 16_384;

/// The spans of one server, by conversation.
///
/// A map for each virtual shard: its worker alone writes there, and others look into it when they have a line
/// to write.
#[derive(Clone, Debug)]
pub struct Spans(Arc<[Mutex<Standing>]>);

#[derive(Debug, Default)]
struct Standing {
    spans: HashMap<ConversationId, Span>,
    /// Those that have ended, with when, the first in front.
    ended: VecDeque<(Time, ConversationId)>,
}

impl Default for Spans {
    fn default() -> Self {
        Self((0..VIRTUAL_SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Spans {
    /// Returns the span of a conversation; where it has none (not yet, or no more), one that has its id alone.
    pub fn of(&self, id: ConversationId) -> Span {
        if LevelFilter::current() == LevelFilter::OFF {
            return Span::none();
        }
        let standing = self.standing(id).spans.get(&id).cloned();
        standing.unwrap_or_else(|| span(id, None))
    }

    /// Begins the span of a conversation, where anything is logged.
    pub(super) fn begin(&self, id: ConversationId, call_id: &str) {
        let span = span(id, Some(call_id));
        if !span.is_disabled() {
            self.standing(id).spans.insert(id, span);
        }
    }

    /// The conversation has ended: its span stands a while longer.
    pub(super) fn end(&self, id: ConversationId, now: Time) {
        if LevelFilter::current() == LevelFilter::OFF {
            return;
        }
        let mut standing = self.standing(id);
        if standing.spans.contains_key(&id) {
            standing.ended.push_back((now, id));
            if standing.ended.len() > LINGER_MAX / usize::from(VIRTUAL_SHARDS) {
                standing.let_go();
            }
        }
    }

    /// Closes the spans whose conversations have ended long enough ago.
    pub fn sweep(&self, now: Time) {
        for standing in self.0.iter() {
            let mut standing = locked(standing);
            let is_due = |(at, _): &(Time, ConversationId)| *at + LINGER <= now;
            while standing.ended.front().is_some_and(is_due) {
                standing.let_go();
            }
        }
    }

    /// Returns how many spans stand.
    pub fn count(&self) -> usize {
        self.0.iter().map(|one| locked(one).spans.len()).sum()
    }

    fn standing(&self, id: ConversationId) -> MutexGuard<'_, Standing> {
        locked(&self.0[usize::from(id.shard().0) % self.0.len()])
    }
}

impl Standing {
    /// Closes the span whose conversation ended first.
    fn let_go(&mut self) {
        if let Some((_, id)) = self.ended.pop_front() {
            self.spans.remove(&id);
        }
    }
}

/// A panic elsewhere leaves a map of spans whole.
fn locked(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a span, which says whose a line is at every level that a line can have.
fn span(id: ConversationId, call_id: Option<&str>) -> Span {
    let call_id = call_id.map(|text| tracing::field::display(Clean(text)));
    tracing::error_span!(target: "refork", "conversation", %id, call_id)
}
