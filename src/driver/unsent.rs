//! What is to be sent over a connection of another shard whose mailbox is full: it waits here, in order.

use std::collections::VecDeque;

use super::mailbox::{Mail, Mailboxes};

/// Mail that may wait for one shard. One that does not take so much in its time does not work.
const WAITING_MAX: usize = 16 * 1024;

/// By the worker that it is for.
#[derive(Default)]
pub(super) struct Unsent(Vec<VecDeque<Mail>>);

impl Unsent {
    pub(super) fn new(workers: usize) -> Self {
        Self(
            std::iter::repeat_with(VecDeque::new)
                .take(workers)
                .collect(),
        )
    }

    /// Posts behind what waits already. What is lost where too much does is counted.
    pub(super) fn post(&mut self, worker: usize, mail: Mail, mailboxes: &Mailboxes) {
        let Some(waiting) = self.0.get_mut(worker) else {
            return;
        };
        let back = if waiting.is_empty() {
            mailboxes.offer(worker, mail).err()
        } else {
            Some(mail)
        };
        let Some(mail) = back else { return };
        if waiting.len() < WAITING_MAX {
            waiting.push_back(mail);
        } else {
            mailboxes.lost(worker);
        }
    }

    /// Posts what there is room for now.
    pub(super) fn flush(&mut self, mailboxes: &Mailboxes) {
        for (worker, waiting) in self.0.iter_mut().enumerate() {
            while let Some(mail) = waiting.pop_front() {
                if let Err(mail) = mailboxes.offer(worker, mail) {
                    waiting.push_front(mail);
                    break;
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mio::{Poll, Token};

    use super::*;
    use crate::engine::ids::{Flow, ListenerId, Transport};

    fn send(number: usize) -> Mail {
        Mail::Send {
            flow: Flow {
                transport: Transport::Tcp,
                listener: ListenerId(0),
                peer: ([127, 0, 0, 1], 5060).into(),
                connection: None,
            },
            bytes: Bytes::from(number.to_string()),
            from: 0,
        }
    }

    #[test]
    fn what_a_full_mailbox_does_not_take_comes_later_in_order() {
        let poll = Poll::new().unwrap();
        let mailboxes = Mailboxes::new([poll.registry()].into_iter(), Token(0)).unwrap();
        let mut unsent = Unsent::new(1);
        let mut posted = 0;
        while unsent.0[0].len() < 100 {
            unsent.post(0, send(posted), &mailboxes);
            posted += 1;
        }
        let mut taken = 0;
        loop {
            while let Some(mail) = mailboxes.take(0) {
                let Mail::Send { bytes, .. } = mail else {
                    panic!("something else");
                };
                assert_eq!(bytes, taken.to_string());
                taken += 1;
            }
            if unsent.is_empty() {
                break;
            }
            // What comes now is behind what waits.
            unsent.post(0, send(posted), &mailboxes);
            posted += 1;
            unsent.flush(&mailboxes);
        }
        assert_eq!((taken, mailboxes.overflows()), (posted, 0));
        for number in 0..2 * WAITING_MAX + 100 {
            unsent.post(0, send(number), &mailboxes);
        }
        assert_eq!(unsent.0[0].len(), WAITING_MAX);
        assert!(mailboxes.overflows() > 0);
    }
}
