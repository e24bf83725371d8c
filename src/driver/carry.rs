//! What the engine wants done, done: in order, one before the next.

use bytes::Bytes;

use crate::engine::events::Event;
use crate::engine::handover::Forward;
use crate::engine::ids::{ConversationId, Flow, Transport};
use crate::engine::ports::{Input, Output, Witness};
use crate::metrics::Recording;
use crate::transport::{Carried, Sent};

use super::mailbox::Mail;
use super::resolver::Question;
use super::shard::{Listening, Shard};

/// RFC 5626 4.4.1's ping. Over UDP nothing answers it; it keeps the NAT's binding.
const PING: &[u8] = b"\r\n\r\n";

impl Shard {
    /// Carries out all that waits in the engine.
    pub(super) fn carry_out(&mut self) {
        // Before anybody hears of it: who was told that a call is over has room for another.
        let standing = self.engine.conversations();
        self.shared.conversations.tell(self.worker, standing);
        while let Some(output) = self.engine.poll_output() {
            self.carry(output);
        }
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Send { flow, bytes } => self.send(flow, bytes),
            Output::Resolve { token, hop } => {
                let worker = self.worker;
                let question = Question { worker, token, hop };
                self.backlog.extend(self.shared.resolver.ask(question));
            }
            Output::Media(command) => self.shared.media.command(command),
            Output::Persist {
                conversation,
                token,
            } => {
                let ok = self.persist(conversation);
                let stored = token.map(|token| Input::Stored { token, ok });
                self.backlog.extend(stored);
            }
            Output::Forget { conversation } => {
                if let Err(error) = self.shared.store.remove(conversation) {
                    let span = self.shared.spans.of(conversation);
                    tracing::warn!(parent: &span, error = %cause(&error), "not forgotten");
                }
            }
            Output::Bindings(changed) => {
                let tell = || Input::Bindings(changed.clone());
                self.shared.mailboxes.tell_others(self.worker, tell);
            }
            Output::Inquiry(inquiry) => {
                let owner = self.shared.mailboxes.owner(inquiry.shard);
                self.hand_over(owner, Input::Inquiry(inquiry));
            }
            Output::Found(found) => {
                let owner = self.shared.mailboxes.owner_of(found.by);
                self.hand_over(owner, Input::Found(found));
            }
            Output::Handover(handover) => {
                let owner = self.shared.mailboxes.owner_of(handover.to);
                self.hand_over(owner, Input::Handover(handover));
            }
            Output::Moved(moved) => {
                let owner = self.shared.mailboxes.owner(moved.shard);
                self.hand_over(owner, Input::Moved(moved));
            }
            Output::Forward(Forward { to, flow, bytes }) => {
                let owner = self.shared.mailboxes.owner_of(to);
                self.hand_over(owner, Input::Message { flow, bytes });
            }
            Output::Lit(user) => {
                let tell = || Input::Lit(user.clone());
                self.shared.mailboxes.tell_others(self.worker, tell);
            }
            Output::Watches(watch) => {
                let tell = || Input::Watches(watch.clone());
                self.shared.mailboxes.tell_others(self.worker, tell);
            }
            Output::Observed(seen) => {
                let tell = || Input::Observed(seen.clone());
                self.shared.mailboxes.tell_others(self.worker, tell);
            }
            Output::Record(detail) => {
                if !self.shared.records.take(detail) {
                    self.shared.metrics.recorded(Recording::Dropped, 1);
                }
            }
            Output::Event { of, event } => self.tell(of, &event),
        }
    }

    /// Gives an input to the worker that it is for.
    fn hand_over(&mut self, worker: usize, input: Input) {
        if worker == self.worker {
            self.backlog.push_back(input);
        } else {
            self.shared.mailboxes.post(worker, Mail::Input(input));
        }
    }

    /// Counts and logs an event.
    pub(super) fn tell(&self, of: Option<ConversationId>, event: &Event) {
        let now = self.shared.clock.now();
        if let Event::Offence { what, flow, proven } = event {
            self.entrance(now).strike(flow, *what, *proven);
        }
        self.shared.metrics.event(event);
        self.shared.spans.log(of, event, now);
    }

    fn send(&mut self, flow: Flow, bytes: Bytes) {
        match flow.transport {
            Transport::Udp => self.send_datagram(&flow, &bytes),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                self.send_stream(flow, bytes, self.worker);
            }
        }
    }

    fn send_datagram(&mut self, flow: &Flow, bytes: &[u8]) {
        let mut unreachable = Vec::new();
        let listening = self.listening.get(usize::from(flow.listener.0));
        let Some(Listening::Udp(udp)) = listening else {
            // The flow is of a former life, with other listeners.
            return self.tell_nobody(flow.peer, Witness::Host);
        };
        let sent = udp.send(bytes, flow.peer, &self.counters, &mut unreachable);
        match sent {
            Sent::Done => {}
            Sent::Dropped => {
                tracing::debug!(peer = %flow.peer, len = bytes.len(), "datagram not sent");
            }
            Sent::Unreachable => self.tell_nobody(flow.peer, Witness::Host),
        }
        self.tell_unreachable(unreachable);
    }

    /// Sends over a connection; `from` is the worker to be told where it is gone.
    pub(super) fn send_stream(&mut self, flow: Flow, bytes: Bytes, from: usize) {
        let now = self.shared.clock.now();
        match self.streams.send(&flow, bytes.clone(), now) {
            Carried::Done => {}
            Carried::Elsewhere(worker) if worker < self.shared.mailboxes.workers() => {
                let mail = Mail::Send { flow, bytes, from };
                self.unsent.post(worker, mail, &self.shared.mailboxes);
            }
            // A connection of a former life, with more workers, is gone as well.
            Carried::Elsewhere(_) | Carried::Gone => {
                let gone = Input::Closed { flow };
                if from == self.worker {
                    self.backlog.push_back(gone);
                } else {
                    self.shared.mailboxes.post(from, Mail::Input(gone));
                }
            }
            Carried::Closed(flow) => self.tell_closed(flow),
        }
    }

    pub(super) fn send_keepalive(&mut self, flow: &Flow) {
        self.send_datagram(flow, PING);
    }

    /// Returns true once the conversation's state is safe.
    fn persist(&self, conversation: ConversationId) -> bool {
        if !self.shared.store.keeps() {
            return true;
        }
        let Some(snapshot) = self.engine.snapshot(conversation) else {
            // Ended since, or not answered yet: there is nothing to keep.
            return true;
        };
        let stored = match rmp_serde::to_vec_named(&snapshot) {
            Ok(bytes) => self.shared.store.put(conversation, &bytes),
            Err(error) => {
                let span = self.shared.spans.of(conversation);
                tracing::error!(parent: &span, %error, "snapshot could not be written");
                return false;
            }
        };
        if let Err(error) = &stored {
            let span = self.shared.spans.of(conversation);
            tracing::warn!(parent: &span, error = %cause(error), "not stored");
        }
        stored.is_ok()
    }
}

/// Returns what is behind an error, in one line.
fn cause(error: &crate::store::StoreError) -> String {
    format!("{error}: {}", error.0)
}
