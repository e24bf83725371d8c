//! Connections that have been silent for long, and whether a conversation still needs one: any shard's
//! may, so the others are asked before it is closed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::engine::ids::{ConnectionId, Flow};
use crate::engine::time::{Millis, Time};
use crate::transport::Need;

use super::mailbox::{Mail, Mailboxes};

/// How long an answer is believed, and waited for.
const BELIEVED: Millis = Millis::from_secs(60);
/// Of how many connections the others are asked at a time.
const ASKED_MAX: usize = 512;

#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// So many shards have yet to answer; none that has needs it.
    Asked {
        at: Time,
        question: u64,
        left: usize,
    },
    Needed(Time),
}

/// What is known of one shard's silent connections.
#[derive(Debug, Default)]
pub(super) struct Spared(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    verdicts: BTreeMap<ConnectionId, Verdict>,
    /// The number of the next question, and what it is about.
    question: u64,
    about: Vec<Flow>,
}

impl Spared {
    /// Returns whether another shard needs a connection that no message has passed over for so long. Whoever
    /// did not need it since the last message does not need it now: without another it comes to nobody's mind.
    pub(super) fn needs(&self, flow: &Flow, wordless: Millis, others: usize, now: Time) -> Need {
        let Some(connection) = flow.connection.filter(|_| others > 0) else {
            return Need::Free;
        };
        let known = &mut *self.0.borrow_mut();
        match known.verdicts.get(&connection) {
            Some(Verdict::Needed(at)) if now.since(*at) < BELIEVED => return Need::Needed,
            Some(Verdict::Asked { at, left, .. }) if now.since(*at) < BELIEVED.min(wordless) => {
                return if *left == 0 { Need::Free } else { Need::Asked };
            }
            Some(Verdict::Asked { .. } | Verdict::Needed(_)) | None => {}
        }
        if known.about.len() < ASKED_MAX {
            let verdict = Verdict::Asked {
                at: now,
                question: known.question,
                left: others,
            };
            known.verdicts.insert(connection, verdict);
            known.about.push(*flow);
        }
        Need::Asked
    }

    /// Asks the other shards about what they have to be asked about, all at once.
    pub(super) fn ask(&self, worker: usize, mailboxes: &Mailboxes) {
        let known = &mut *self.0.borrow_mut();
        if known.about.is_empty() {
            return;
        }
        let about = std::mem::take(&mut known.about);
        let question = known.question;
        known.question += 1;
        let others = (0..mailboxes.workers()).filter(|other| *other != worker);
        let heard = others
            .map(|other| {
                let (back, about) = (mailboxes.clone(), about.clone());
                let answer = move |engine: &Engine| {
                    let used = about.iter().filter(|flow| engine.uses(flow));
                    let needed = used.filter_map(|flow| flow.connection).collect();
                    back.post(worker, Mail::Needs { question, needed });
                };
                mailboxes.post(other, Mail::Ask(Box::new(answer)))
            })
            .fold(true, |all, one| all & one);
        if !heard {
            // One that has no room for the question just now is asked again.
            known.verdicts.retain(|_, verdict| !verdict.is_of(question));
        }
    }

    /// Takes the answer of one shard.
    pub(super) fn answered(&self, question: u64, needed: &[ConnectionId], now: Time) {
        let verdicts = &mut self.0.borrow_mut().verdicts;
        for connection in needed {
            verdicts.insert(*connection, Verdict::Needed(now));
        }
        for verdict in verdicts.values_mut() {
            if let Verdict::Asked {
                question: of, left, ..
            } = verdict
                && *of == question
            {
                *left = left.saturating_sub(1);
            }
        }
    }

    /// Forgets what is old: the connection has been closed, or is silent no longer.
    pub(super) fn forget(&self, now: Time) {
        let verdicts = &mut self.0.borrow_mut().verdicts;
        verdicts.retain(|_, verdict| match verdict {
            Verdict::Asked { at, .. } | Verdict::Needed(at) => now.since(*at) < BELIEVED,
        });
    }
}

impl Verdict {
    fn is_of(&self, asked: u64) -> bool {
        matches!(self, Self::Asked { question, .. } if *question == asked)
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;
    use crate::engine::ids::{ListenerId, Transport};

    const LONG: Millis = Millis::from_secs(600);

    fn flow(number: u64) -> Flow {
        Flow {
            transport: Transport::Tcp,
            listener: ListenerId(0),
            peer: ([127, 0, 0, 1], 5060).into(),
            connection: Some(ConnectionId(number)),
        }
    }

    fn mailboxes(workers: usize) -> Mailboxes {
        let polls: Vec<_> = (0..workers).map(|_| Poll::new().unwrap()).collect();
        Mailboxes::new(polls.iter().map(Poll::registry), Token(0)).unwrap()
    }

    fn questions(mailboxes: &Mailboxes, worker: usize) -> usize {
        std::iter::from_fn(|| mailboxes.take(worker)).count()
    }

    #[test]
    fn one_that_nobody_needs_is_free_until_it_says_something() {
        let (spared, mailboxes) = (Spared::default(), mailboxes(3));
        let at = |seconds| Time(1_000_000) + Millis::from_secs(seconds);
        let needs = |number, wordless, now| spared.needs(&flow(number), wordless, 2, now);
        for number in 0..100 {
            assert_eq!(needs(number, LONG, at(0)), Need::Asked);
        }
        spared.ask(0, &mailboxes);
        let heard = [0, 1, 2].map(|worker| questions(&mailboxes, worker));
        assert_eq!(heard, [0, 1, 1], "all in one question");
        spared.answered(0, &[ConnectionId(7)], at(0));
        assert_eq!(needs(1, LONG, at(9)), Need::Asked, "one has not answered");
        spared.answered(0, &[], at(9));
        for seconds in [9, 30, 59] {
            assert_eq!(needs(1, LONG, at(seconds)), Need::Free);
            assert_eq!(needs(7, LONG, at(seconds)), Need::Needed);
            spared.forget(at(seconds));
        }
        // Somebody may need what has spoken since.
        assert_eq!(needs(2, Millis::from_secs(20), at(30)), Need::Asked);
        assert_eq!(needs(1, LONG, at(60)), Need::Asked, "too long ago");
        spared.ask(0, &mailboxes);
        // An answer to the old question says nothing of the new one.
        spared.answered(0, &[], at(60));
        spared.answered(1, &[], at(60));
        assert_eq!(needs(1, LONG, at(61)), Need::Asked);
        spared.answered(1, &[], at(61));
        assert_eq!(needs(1, LONG, at(61)), Need::Free);
        spared.forget(at(130));
        assert!(spared.0.borrow().verdicts.is_empty());
    }

    #[test]
    fn who_has_no_room_for_the_question_is_asked_again() {
        let (spared, mailboxes) = (Spared::default(), mailboxes(2));
        while mailboxes.post(1, Mail::Ask(Box::new(|_| {}))) {}
        let now = Time(1_000_000);
        for _ in 0..2 {
            assert_eq!(spared.needs(&flow(1), LONG, 1, now), Need::Asked);
            spared.ask(0, &mailboxes);
            assert!(spared.0.borrow().verdicts.is_empty());
        }
        questions(&mailboxes, 1);
        assert_eq!(spared.needs(&flow(1), LONG, 1, now), Need::Asked);
        spared.ask(0, &mailboxes);
        assert_eq!(questions(&mailboxes, 1), 1);
    }

    #[test]
    fn a_single_shard_asks_nobody() {
        let spared = Spared::default();
        assert_eq!(spared.needs(&flow(1), LONG, 0, Time(1_000_000)), Need::Free);
    }
}
