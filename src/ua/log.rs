//! The record of a scene: what each phone sent and received, and when.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sip::Message;

/// More than any scene has; what comes after is not kept.
const ENTRIES_MAX: usize = 100_000;

/// A record that all phones of a scene share; its start is their zero of time. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    entries: Mutex<Vec<Entry>>,
}

/// Something that a phone saw or did.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Since the log's start.
    pub at: Duration,
    /// The phone's label.
    pub who: Arc<str>,
    pub what: What,
    /// The same bytes as once before: a retransmission.
    pub again: bool,
}

/// What an entry is about.
#[derive(Clone, Debug)]
pub enum What {
    Sent { to: SocketAddr, message: Message },
    Received { from: SocketAddr, message: Message },
    Killed,
    Frozen,
    Thawed,
    Note(String),
}

impl Entry {
    /// Returns the message, where it is about one.
    pub fn message(&self) -> Option<&Message> {
        match &self.what {
            What::Sent { message, .. } | What::Received { message, .. } => Some(message),
            What::Killed | What::Frozen | What::Thawed | What::Note(_) => None,
        }
    }

    /// Returns the message, where it came in for the first time.
    pub fn received(&self) -> Option<&Message> {
        match &self.what {
            What::Received { message, .. } if !self.again => Some(message),
            What::Received { .. }
            | What::Sent { .. }
            | What::Killed
            | What::Frozen
            | What::Thawed
            | What::Note(_) => None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::start()
    }
}

impl Log {
    /// Begins a record.
    pub fn start() -> Self {
        Self(Arc::new(Shared {
            started: clock(),
            entries: Mutex::new(Vec::new()),
        }))
    }

    /// Returns the time since the start.
    pub fn now(&self) -> Duration {
        clock().duration_since(self.0.started)
    }

    /// Returns everything so far, in order.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// Returns what one phone saw and did.
    pub fn of(&self, who: &str) -> Vec<Entry> {
        self.lock()
            .iter()
            .filter(|entry| &*entry.who == who)
            .cloned()
            .collect()
    }

    /// Writes a remark beside a phone's line.
    pub fn note(&self, who: &str, text: impl Into<String>) {
        self.push(&Arc::from(who), What::Note(text.into()));
    }

    pub(super) fn push(&self, who: &Arc<str>, what: What) {
        let at = self.now();
        let mut entries = self.lock();
        if entries.len() >= ENTRIES_MAX {
            return;
        }
        let again = entries
            .iter()
            .any(|old| old.who == *who && same_bytes(&old.what, &what));
        entries.push(Entry {
            at,
            who: Arc::clone(who),
            what,
            again,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn same_bytes(old: &What, new: &What) -> bool {
    match (old, new) {
        (What::Sent { message: old, .. }, What::Sent { message: new, .. })
        | (What::Received { message: old, .. }, What::Received { message: new, .. }) => {
            old.bytes() == new.bytes()
        }
        (
            What::Sent { .. }
            | What::Received { .. }
            | What::Killed
            | What::Frozen
            | What::Thawed
            | What::Note(_),
            _,
        ) => false,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a phone lives in real time; nothing else of this module reads the clock"
)]
fn clock() -> Instant {
    Instant::now()
}
