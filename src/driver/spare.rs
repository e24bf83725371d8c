//! Connections that have been silent for long, and whether a conversation still needs one: any shard's
//! may, so the others are asked before it is closed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::engine::ids::{ConnectionId, Flow};
use crate::engine::time::{Millis, Time};

use super::mailbox::{Mail, Mailboxes};

/// How long the other shards may take to answer.
const PATIENCE: Millis = Millis::from_secs(5);
/// How long an answer is believed.
const BELIEVED: Millis = Millis::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// Nobody has said yet that it is needed.
    Asked(Time),
    Needed(Time),
}

/// What is known of one shard's silent connections.
#[derive(Debug, Default)]
pub(super) struct Spared(RefCell<BTreeMap<ConnectionId, Verdict>>);

impl Spared {
    /// Returns true while another shard needs the connection, or has yet to say so.
    pub(super) fn holds(
        &self,
        flow: &Flow,
        worker: usize,
        mailboxes: &Mailboxes,
        now: Time,
    ) -> bool {
        let Some(connection) = flow.connection.filter(|_| mailboxes.workers() > 1) else {
            return false;
        };
        let mut verdicts = self.0.borrow_mut();
        match verdicts.get(&connection) {
            Some(Verdict::Asked(at)) if now.since(*at) < PATIENCE => true,
            Some(Verdict::Asked(at)) if now.since(*at) < PATIENCE.times(2) => false,
            Some(Verdict::Needed(at)) if now.since(*at) < BELIEVED => true,
            Some(Verdict::Asked(_) | Verdict::Needed(_)) | None => {
                let verdict = if ask(*flow, connection, worker, mailboxes) {
                    Verdict::Asked(now)
                } else {
                    // A shard that cannot be asked just now may need it.
                    Verdict::Needed(now)
                };
                verdicts.insert(connection, verdict);
                true
            }
        }
    }

    /// A shard needs the connection.
    pub(super) fn needed(&self, connection: ConnectionId, now: Time) {
        self.0.borrow_mut().insert(connection, Verdict::Needed(now));
    }

    /// Forgets what is old: the connection has been closed, or is silent no longer.
    pub(super) fn forget(&self, now: Time) {
        let kept = BELIEVED.times(2);
        self.0.borrow_mut().retain(|_, verdict| match verdict {
            Verdict::Asked(at) | Verdict::Needed(at) => now.since(*at) < kept,
        });
    }
}

/// Asks the other shards. Returns false where one cannot be.
fn ask(flow: Flow, connection: ConnectionId, worker: usize, mailboxes: &Mailboxes) -> bool {
    let others = (0..mailboxes.workers()).filter(|other| *other != worker);
    others
        .map(|other| {
            let back = mailboxes.clone();
            let question = move |engine: &Engine| {
                if engine.uses(&flow) {
                    back.post(worker, Mail::Needed(connection));
                }
            };
            mailboxes.post(other, Mail::Ask(Box::new(question)))
        })
        .fold(true, |all, one| all & one)
}
