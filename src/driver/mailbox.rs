//! What shards are told by others: a bounded queue for each, and a bell that is rung once for however
//! much is in it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use crossbeam_queue::SegQueue;
use mio::{Registry, Token, Waker};

use crate::engine::Engine;
use crate::engine::ids::{ConnectionId, ConversationId, Flow, VirtualShard};
use crate::engine::ports::Input;

const CAPACITY: usize = 16 * 1024;
/// The last part of a mailbox is kept for what nobody would send again.
const RESERVE: usize = CAPACITY / 4;
/// Of which so much is not for streams either: they can wait.
const LAST_RESERVE: usize = RESERVE / 2;

/// One thing for a shard to do.
pub enum Mail {
    Input(Input),
    /// Something to send over a connection that belongs to the shard.
    Send {
        flow: Flow,
        bytes: Bytes,
        /// The worker to be told where the connection is gone.
        from: usize,
    },
    /// A question to the engine. It must be quick.
    Ask(Box<dyn FnOnce(&Engine) + Send>),
    /// What another shard says to a question of this one: which of the connections its conversations need.
    Needs {
        question: u64,
        needed: Vec<ConnectionId>,
    },
    /// Shows how long mail waits.
    Mark,
    /// A shard has taken up again what was kept, and has told the others before this what they must know.
    Rebuilt,
    /// Leave everything as it stands, and end.
    Stop,
}

impl Mail {
    /// Returns how full a mailbox may be that takes it.
    fn room(&self) -> usize {
        match self {
            // Nobody sends it again; a connection is not read meanwhile, and what is to be sent waits.
            Self::Input(Input::Message { flow, .. }) if flow.transport.is_reliable() => {
                CAPACITY - LAST_RESERVE
            }
            Self::Send { .. } => CAPACITY - LAST_RESERVE,
            // SIP sends it again, or other signs say the same later.
            Self::Input(
                Input::Message { .. } | Input::Unreachable { .. } | Input::Unkept { .. },
            )
            | Self::Ask(_) => CAPACITY - RESERVE,
            Self::Input(_) | Self::Needs { .. } | Self::Mark | Self::Stop => CAPACITY,
            // One of each worker, which nobody sends again.
            Self::Rebuilt => usize::MAX,
        }
    }
}

struct Mailbox {
    /// Grows in blocks and gives them back: a ring of this capacity would cost its megabytes for ever.
    queue: SegQueue<Mail>,
    waker: Waker,
    rung: AtomicBool,
    overflows: AtomicU64,
}

impl Mailbox {
    fn post(&self, mail: Mail) -> bool {
        let taken = self.offer(mail).is_ok();
        if !taken {
            self.overflows.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn offer(&self, mail: Mail) -> Result<(), Mail> {
        // Who posts at the same moment may go beyond it by one each.
        if self.queue.len() >= mail.room() {
            return Err(mail);
        }
        self.queue.push(mail);
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) && self.waker.wake().is_err() {
            // The next one to post rings again.
            self.rung.store(false, Ordering::Release);
        }
    }
}

/// The mailboxes of all workers. Cheap to clone.
#[derive(Clone)]
pub struct Mailboxes(Arc<[Mailbox]>);

impl Mailboxes {
    /// Makes a mailbox for each worker's poll; `bell` is the token of its waker.
    ///
    /// # Errors
    /// The system has no waker to give.
    pub fn new<'p>(polls: impl Iterator<Item = &'p Registry>, bell: Token) -> io::Result<Self> {
        let boxes = polls.map(|registry| {
            Ok(Mailbox {
                queue: SegQueue::new(),
                waker: Waker::new(registry, bell)?,
                rung: AtomicBool::new(false),
                overflows: AtomicU64::new(0),
            })
        });
        Ok(Self(boxes.collect::<io::Result<_>>()?))
    }

    /// Returns how many workers there are.
    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// Returns the worker that a virtual shard belongs to.
    pub fn owner(&self, shard: VirtualShard) -> usize {
        usize::from(shard.0) % self.0.len()
    }

    /// Returns the worker that a conversation belongs to.
    pub fn owner_of(&self, id: ConversationId) -> usize {
        self.owner(id.shard())
    }

    /// Puts mail into a worker's box. Returns false, and counts it, where the box is full.
    pub fn post(&self, worker: usize, mail: Mail) -> bool {
        self.0[worker].post(mail)
    }

    /// Puts mail into a worker's box, or gives it back where the box is full: who can wait offers it again.
    pub(super) fn offer(&self, worker: usize, mail: Mail) -> Result<(), Mail> {
        self.0[worker].offer(mail)
    }

    /// Wakes every worker, with mail or without.
    pub fn ring_all(&self) {
        self.0.iter().for_each(Mailbox::ring);
    }

    /// Returns true where a worker's box takes nothing more of what can wait.
    #[cfg(test)]
    pub(crate) fn is_full(&self, worker: usize) -> bool {
        self.0[worker].queue.len() >= CAPACITY - LAST_RESERVE
    }

    /// Counts what was lost since a box stayed full for too long.
    pub(super) fn lost(&self, worker: usize) {
        self.0[worker].overflows.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells every worker but one.
    pub fn tell_others(&self, but: usize, input: impl Fn() -> Input) {
        for (worker, mailbox) in self.0.iter().enumerate() {
            if worker != but {
                mailbox.post(Mail::Input(input()));
            }
        }
    }

    /// Tells the other workers that one has taken up again what was kept.
    pub fn tell_rebuilt(&self, worker: usize) {
        for (other, mailbox) in self.0.iter().enumerate() {
            if other != worker {
                mailbox.post(Mail::Rebuilt);
            }
        }
    }

    /// Returns what was lost because a box was full, over all workers.
    pub fn overflows(&self) -> u64 {
        let of = |mailbox: &Mailbox| mailbox.overflows.load(Ordering::Relaxed);
        self.0.iter().map(of).sum()
    }

    /// Silences the bell; to be called before what waits is taken.
    pub(super) fn hear(&self, worker: usize) {
        // A swap, so that whatever was posted before the bell rang is seen after.
        self.0[worker].rung.swap(false, Ordering::AcqRel);
    }

    pub(super) fn take(&self, worker: usize) -> Option<Mail> {
        self.0[worker].queue.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::engine::ids::{ListenerId, Transport};

    fn message() -> Mail {
        message_over(Transport::Udp)
    }

    fn message_over(transport: Transport) -> Mail {
        Mail::Input(Input::Message {
            flow: Flow {
                transport,
                listener: ListenerId(0),
                peer: ([127, 0, 0, 1], 5060).into(),
                connection: None,
            },
            bytes: Bytes::new(),
        })
    }

    #[test]
    fn the_bell_rings_once_until_it_is_heard() {
        let mut poll = Poll::new().unwrap();
        let mailboxes = Mailboxes::new([poll.registry()].into_iter(), Token(0)).unwrap();
        let mut events = Events::with_capacity(4);
        let mut rings = |wait| {
            poll.poll(&mut events, Some(wait)).unwrap();
            events.iter().count()
        };
        assert!(mailboxes.post(0, message()));
        assert!(mailboxes.post(0, message()));
        assert_eq!(rings(Duration::from_secs(5)), 1);
        assert!(mailboxes.post(0, message()));
        assert_eq!(rings(Duration::ZERO), 0, "not heard yet");
        mailboxes.hear(0);
        assert!(mailboxes.post(0, message()));
        assert_eq!(rings(Duration::from_secs(5)), 1);
        assert_eq!(std::iter::from_fn(|| mailboxes.take(0)).count(), 4);
    }

    #[test]
    fn a_full_box_still_has_room_for_what_is_not_sent_again() {
        let poll = Poll::new().unwrap();
        let mailboxes = Mailboxes::new([poll.registry()].into_iter(), Token(0)).unwrap();
        let taken = std::iter::repeat_with(|| mailboxes.post(0, message())).take_while(|ok| *ok);
        assert_eq!(taken.count(), CAPACITY - RESERVE);
        assert_eq!(mailboxes.overflows(), 1);
        let stream = || mailboxes.offer(0, message_over(Transport::Tls)).ok();
        assert_eq!(
            std::iter::from_fn(stream).count(),
            RESERVE - LAST_RESERVE,
            "who is flooded by datagrams still hears its connections"
        );
        assert_eq!(mailboxes.overflows(), 1, "given back is not lost");
        assert!(mailboxes.post(0, Mail::Stop));
        assert_eq!(mailboxes.overflows(), 1);
    }
}
