//! What a step of a transaction reaches: timers, the wire, the user.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;

use super::table::{Hand, Timer};
use super::{ClientId, Heard, ServerId, compose};
use crate::engine::events::{Event, Retransmission};
use crate::engine::ids::{ConversationId, Flow};
use crate::engine::ports::Output;
use crate::engine::settings::TimerSettings;
use crate::engine::time::{Millis, Time};
use crate::engine::timers::{TimerId, Timers};
use crate::sip::Message;

/// Whose timer went off, and which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) whose: Whose,
    pub(super) hand: Hand,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    Client(ClientId),
    Server(ServerId),
}

/// Everything outside of the transaction that takes a step.
pub(super) struct Effects<'a, C, S> {
    pub(super) settings: TimerSettings,
    pub(super) now: Time,
    pub(super) timers: &'a mut Timers<Due>,
    pub(super) heard: &'a mut VecDeque<Heard<C, S>>,
    pub(super) out: &'a mut VecDeque<Output>,
}

impl<C, S> Effects<'_, C, S> {
    pub(super) fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.out.push_back(Output::Send { flow, bytes });
    }

    /// Sends what was sent before.
    pub(super) fn send_again(&mut self, flow: Flow, bytes: Bytes, of: Option<ConversationId>) {
        let kind = Retransmission::Sent;
        self.event_of(of, Event::Retransmitted { kind });
        self.send(flow, bytes);
    }

    pub(super) fn absorbed(&mut self, of: Option<ConversationId>) {
        let kind = Retransmission::Received;
        self.event_of(of, Event::Retransmitted { kind });
    }

    /// Tells what is of no conversation.
    pub(super) fn event(&mut self, event: Event) {
        self.event_of(None, event);
    }

    pub(super) fn event_of(&mut self, of: Option<ConversationId>, event: Event) {
        self.out.push_back(Output::Event { of, event });
    }

    pub(super) fn tell(&mut self, heard: Heard<C, S>) {
        self.heard.push_back(heard);
    }

    /// Refuses a request without keeping anything of it.
    pub(super) fn refuse(
        &mut self,
        request: &Message,
        status: u16,
        why: &'static str,
        reply: Flow,
        source: SocketAddr,
    ) {
        self.event(Event::Refused {
            method: request.method().as_str().into(),
            status,
            why,
            peer: source.to_string().into(),
        });
        self.send(reply, compose::answer(request, status, None, source));
    }
}

/// The two timers of a transaction.
#[derive(Debug, Default)]
pub(super) struct Clock {
    resend: Option<TimerId>,
    deadline: Option<TimerId>,
    /// How long the one that sends again ran last.
    last: Millis,
}

/// What setting a timer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Runs,
    /// Its span is zero here: it goes off now.
    AtOnce,
}

impl Clock {
    pub(super) fn start<C, S>(
        &mut self,
        timer: Timer,
        reliable: bool,
        whose: Whose,
        effects: &mut Effects<'_, C, S>,
    ) -> Set {
        match timer.span(&effects.settings, reliable) {
            None => Set::Runs,
            Some(Millis(0)) => Set::AtOnce,
            Some(span) => {
                self.run(timer, span, whose, effects);
                Set::Runs
            }
        }
    }

    pub(super) fn double<C, S>(
        &mut self,
        timer: Timer,
        whose: Whose,
        effects: &mut Effects<'_, C, S>,
    ) {
        let span = timer.doubled(self.last, &effects.settings);
        self.run(timer, span, whose, effects);
    }

    pub(super) fn run<C, S>(
        &mut self,
        timer: Timer,
        span: Millis,
        whose: Whose,
        effects: &mut Effects<'_, C, S>,
    ) {
        let hand = timer.hand();
        let place = match hand {
            Hand::Resend => {
                self.last = span;
                &mut self.resend
            }
            Hand::Deadline => &mut self.deadline,
        };
        let id = effects
            .timers
            .insert(effects.now + span, Due { whose, hand });
        if let Some(before) = place.replace(id) {
            effects.timers.cancel(before);
        }
    }

    /// Returns how long it is, or was, until the next copy.
    pub(super) fn waits(&self) -> Millis {
        self.last
    }

    /// Stops the timer that sends again.
    pub(super) fn quiet(&mut self, timers: &mut Timers<Due>) {
        if let Some(id) = self.resend.take() {
            timers.cancel(id);
        }
    }

    pub(super) fn stop(&mut self, timers: &mut Timers<Due>) {
        self.quiet(timers);
        if let Some(id) = self.deadline.take() {
            timers.cancel(id);
        }
    }
}
