//! Conversations that have ended, on their way to who writes them down.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::engine::view::Detail;

/// Records that wait to be written; a disk that is slower than that loses some, and never delays a call.
const WAITING_MAX: usize = 10_000;

/// Where shards put them. Without a writer they are put nowhere.
#[derive(Debug, Default)]
pub struct Records(Option<SyncSender<Option<Box<Detail>>>>);

/// What is to be written, in the order of the ends; none is the last.
pub type Recorded = Receiver<Option<Box<Detail>>>;

impl Records {
    /// Makes a place to put them, and where they are to be taken from.
    pub fn to_write() -> (Self, Recorded) {
        let (sender, recorded) = sync_channel(WAITING_MAX);
        (Self(Some(sender)), recorded)
    }

    /// Returns false where there is no room.
    pub(super) fn take(&self, detail: Box<Detail>) -> bool {
        let Some(sender) = &self.0 else {
            return true;
        };
        match sender.try_send(Some(detail)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Tells the writer that no more come.
    pub fn end(&self) {
        if let Some(sender) = &self.0 {
            // A writer that has ended by itself waits for nothing.
            let _ = sender.send(None);
        }
    }
}
