//! How the rest of the process speaks to the relay's threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use thiserror::Error;

use crate::engine::ids::Side;
use crate::engine::ports::{MediaCommand, MediaEvent, MediaId};
use crate::engine::settings::Reserve;
use crate::media::counters::RelayCounters;
use crate::media::pairs::Bounds;
use crate::media::pool::Share;
use crate::media::report::{LineState, SessionReport};
use crate::media::settings::RelaySettings;
use crate::media::sound::Fill;
use crate::media::{sys, thread};

/// Pairs at rest that are kept open, over all threads: enough for 800 calls a second that come and
/// go. Each costs the kernel about 5 KiB, for some seconds.
const KEPT: usize = 8192;
/// Files that a pair needs.
const PAIR: usize = 2;

/// The relay could not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("media.ports {from}-{to} holds no even port with an odd one above it")]
    NoPorts { from: u16, to: u16 },
    #[error("could not set up a relay thread")]
    System(#[source] io::Error),
}

/// What a relay thread is told.
pub(crate) enum Order {
    Command(MediaCommand),
    Report {
        media: MediaId,
        reply: Box<dyn FnOnce(Option<SessionReport>) + Send>,
    },
    Resume {
        media: MediaId,
        side: Side,
        lines: Vec<LineState>,
    },
    /// What is kept of the ports from now on.
    Reserve(Reserve),
    Stop,
}

/// Where a relay thread's events go. It must not block: it is called on the relay's thread.
pub(crate) type EventSink = Arc<dyn Fn(MediaEvent) + Send + Sync>;

/// The way to one relay thread.
pub(crate) struct Worker {
    pub(crate) orders: Sender<Order>,
    pub(crate) bell: Arc<Bell>,
}

/// Wakes a relay thread, once for however many orders wait.
pub(crate) struct Bell {
    waker: mio::Waker,
    rung: AtomicBool,
    /// The thread looks for orders within `thread::LINGER` even if nobody rings.
    attended: AtomicBool,
}

impl Bell {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self {
            waker,
            rung: AtomicBool::new(false),
            attended: AtomicBool::new(false),
        }
    }

    /// Lowers the bell, before the queue is looked at: whoever queues after the look rings again.
    pub(crate) fn hear(&self) {
        if self.rung.load(Ordering::Relaxed) {
            self.rung.swap(false, Ordering::AcqRel);
        }
    }

    /// Promises to look for orders soon, or no more: then the queue is to be looked at once again.
    pub(crate) fn attend(&self, attended: bool) {
        self.attended.store(attended, Ordering::Relaxed);
        if !attended {
            // Either we see the order, or whoever queued it sees that nobody attends.
            fence(Ordering::SeqCst);
        }
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) && self.waker.wake().is_err() {
            self.rung.store(false, Ordering::Release);
        }
    }

    /// Rings unless the queue is looked at soon anyway. To be called once the order is queued.
    fn ring_unless_attended(&self) {
        fence(Ordering::SeqCst);
        if !self.attended.load(Ordering::Relaxed) {
            self.ring();
        }
    }
}

/// The running relay. Dropping it stops its threads and closes its sockets.
pub struct Relay {
    handle: MediaHandle,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Raises the limit on open files and starts the relay's threads. `events` is called on them and
    /// must not block.
    pub fn start(
        settings: RelaySettings,
        events: impl Fn(MediaEvent) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let pairs = Share::new(settings.ports.clone(), 0, 1).ports().count();
        if pairs == 0 {
            return Err(StartError::NoPorts {
                from: *settings.ports.start(),
                to: *settings.ports.end(),
            });
        }
        let files = sys::raise_file_limit();
        let counters = Arc::new(RelayCounters::default());
        let events: EventSink = Arc::new(events);
        // Each thread has its own share of the ports.
        let count = settings.threads.clamp(1, pairs);
        // A quarter of the files is never filled with pairs that only rest.
        let bounds = Bounds {
            at_rest: KEPT / count,
            open: (files / 4 * 3) / PAIR / count,
        };
        // A long file is in memory once.
        let filler = Fill::from(&settings.filler);
        let mut workers = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (worker, thread) = thread::spawn(
                index,
                count,
                settings.clone(),
                filler.clone(),
                bounds,
                Arc::clone(&events),
                Arc::clone(&counters),
            )?;
            workers.push(worker);
            threads.push(thread);
        }
        Ok(Self {
            handle: MediaHandle {
                workers: workers.into(),
                counters,
            },
            threads,
        })
    }

    /// Returns a handle for others to keep.
    pub fn handle(&self) -> MediaHandle {
        self.handle.clone()
    }

    /// Stops the threads and waits for them. Sessions end without a word to anyone.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        for worker in self.handle.workers.iter() {
            worker.send(Order::Stop);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a relay thread panicked");
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.halt();
    }
}

/// The way to the relay. Cheap to clone; every method returns at once.
#[derive(Clone)]
pub struct MediaHandle {
    workers: Arc<[Worker]>,
    counters: Arc<RelayCounters>,
}

impl MediaHandle {
    /// Passes a command on. Commands of one session are carried out in the order they are given.
    ///
    /// The queue has no bound of its own: there are a few commands a conversation, conversations
    /// are limited, and one that were dropped would leak ports.
    pub fn command(&self, command: MediaCommand) {
        self.send(command_media(&command), Order::Command(command));
    }

    /// Asks for a session's counters and lines; `reply` is called on a relay thread, with nothing
    /// where there is no such session.
    pub fn report(
        &self,
        media: MediaId,
        reply: impl FnOnce(Option<SessionReport>) + Send + 'static,
    ) {
        let reply = Box::new(reply);
        self.send(media, Order::Report { media, reply });
    }

    /// After a restart, between `Open` and `Configure` of a side: the lines toward it go on from
    /// these states, by stream, beyond anything that can have been sent since.
    pub fn resume(&self, media: MediaId, side: Side, lines: Vec<LineState>) {
        self.send(media, Order::Resume { media, side, lines });
    }

    /// Changes what is kept of the ports, for calls that come from now on.
    pub fn reserve(&self, reserve: Reserve) {
        for worker in self.workers.iter() {
            worker.send(Order::Reserve(reserve));
        }
    }

    /// Returns the totals of all threads.
    pub fn counters(&self) -> &Arc<RelayCounters> {
        &self.counters
    }

    fn send(&self, media: MediaId, order: Order) {
        let hash = media.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.workers[hash as usize % self.workers.len()].send(order);
    }
}

impl Worker {
    fn send(&self, order: Order) {
        // It fails only after Stop, when there is nothing left to command.
        let can_wait = order.can_wait();
        if self.orders.send(order).is_err() {
            return;
        }
        if can_wait {
            self.bell.ring_unless_attended();
        } else {
            self.bell.ring();
        }
    }
}

impl Order {
    /// Returns true where nobody waits for the outcome. A packet that it matters to wakes the thread,
    /// which carries out orders first.
    fn can_wait(&self) -> bool {
        match self {
            Self::Command(
                MediaCommand::Configure { .. }
                | MediaCommand::Overhear { .. }
                | MediaCommand::CloseStreams { .. }
                | MediaCommand::CloseSide { .. }
                | MediaCommand::Close { .. },
            )
            | Self::Reserve(_) => true,
            Self::Command(
                MediaCommand::Open { .. } | MediaCommand::Lost { .. } | MediaCommand::Tone { .. },
            )
            | Self::Report { .. }
            | Self::Resume { .. }
            | Self::Stop => false,
        }
    }
}

fn command_media(command: &MediaCommand) -> MediaId {
    match command {
        MediaCommand::Open { media, .. }
        | MediaCommand::Configure { media, .. }
        | MediaCommand::Overhear { media, .. }
        | MediaCommand::Lost { media, .. }
        | MediaCommand::Tone { media, .. }
        | MediaCommand::CloseStreams { media, .. }
        | MediaCommand::CloseSide { media, .. }
        | MediaCommand::Close { media } => *media,
    }
}
