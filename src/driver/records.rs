//! Conversations that have ended, on their way to who writes them down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

use crate::engine::view::Detail;

/// Records that wait to be written; a disk that is slower than that loses some, and never delays a call.
const WAITING_MAX: usize = 10_000;

/// Where shards put them. Without a writer they are put nowhere.
#[derive(Debug, Default)]
pub struct Records(Option<Sender>);

#[derive(Debug)]
struct Sender {
    /// None wakes a writer that waits.
    waiting: SyncSender<Option<Box<Detail>>>,
    over: Arc<AtomicBool>,
}

/// What is to be written, in the order of the ends.
#[derive(Debug)]
pub struct Recorded {
    waiting: Receiver<Option<Box<Detail>>>,
    /// No more come.
    over: Arc<AtomicBool>,
}

impl Records {
    /// Makes a place to put them, and where they are to be taken from.
    pub fn to_write() -> (Self, Recorded) {
        let (sender, waiting) = sync_channel(WAITING_MAX);
        let over = Arc::new(AtomicBool::new(false));
        let recorded = Recorded {
            waiting,
            over: Arc::clone(&over),
        };
        let sender = Sender {
            waiting: sender,
            over,
        };
        (Self(Some(sender)), recorded)
    }

    /// Returns false where there is no room.
    pub fn take(&self, detail: Box<Detail>) -> bool {
        let Some(sender) = &self.0 else {
            return true;
        };
        match sender.waiting.try_send(Some(detail)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Tells the writer that no more come. Never waits for it.
    pub fn end(&self) {
        if let Some(sender) = &self.0 {
            sender.over.store(true, Ordering::Release);
            // Where there is no room the writer has something to do, and sees that it is over when it has done
            // that; one that has ended by itself waits for nothing.
            let _ = sender.waiting.try_send(None);
        }
    }
}

impl Recorded {
    /// Waits for the next ones and returns those that are there, up to `most`; none after the last.
    pub fn next(&self, most: usize) -> Vec<Box<Detail>> {
        let mut there = Vec::new();
        while there.len() < most {
            let next = match self.waiting.try_recv() {
                Err(TryRecvError::Empty)
                    if there.is_empty() && !self.over.load(Ordering::Acquire) =>
                {
                    self.waiting.recv().ok().flatten()
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
                Ok(next) => next,
            };
            let Some(detail) = next else {
                break;
            };
            there.push(detail);
        }
        there
    }
}
