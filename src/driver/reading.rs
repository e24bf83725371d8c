//! What connections bring: handed on message by message, and read no faster than it is taken.

use std::collections::VecDeque;

use mio::Token;

use crate::engine::events::{Event, Offence};
use crate::engine::ids::{ConnectionId, Flow};
use crate::engine::time::{Millis, Time};
use crate::gate::Source;
use crate::sip::Fault;
use crate::sip::stream::FrameError;
use crate::transport::{Fault as Ending, Refusal, Shake, StreamEvent, Views};

use super::entrance::Entrance;
use super::shard::{NO_ROOM, Shard};

impl Shard {
    /// Reads a connection, unless it has to wait. Returns true where more may be there.
    pub(super) fn read_stream(&mut self, token: Token) -> bool {
        let now = self.shared.clock.now();
        if self.held.holds(token) {
            return false;
        }
        if let Some(kept) = self.kept.remove(&token) {
            // A new read waits for its turn.
            return self.hand_on(token, kept, now);
        }
        let Some(flow) = self.streams.flow_of(token) else {
            self.streams.drain(token);
            return false;
        };
        // Who is not known yet is not the proxy: the gate is asked once somebody is named.
        if self.streams.is_known(token) {
            let entrance = self.entrance(now);
            if entrance.closes(&flow) {
                self.close(flow);
                return false;
            }
            let wait = entrance.holds(&flow);
            if wait > Millis(0) {
                self.hold(token, wait, now);
                return false;
            }
        }
        let entrance = Entrance {
            shared: &self.shared,
            engine: &self.engine,
            site: &self.site,
            rules: &self.rules,
            now,
        };
        let others = &self.spared;
        let views = Views {
            admits: &|flow| entrance.admits(flow),
            trusts: &|flow| entrance.trusts(flow),
            needs: &|flow, wordless| entrance.needs(flow, wordless, others),
        };
        let mut events = Vec::new();
        let more = self.streams.ready(token, now, &views, &mut events);
        others.ask(self.worker, &self.shared.mailboxes);
        self.tell_refused(now);
        self.tell_yielded(now);
        for event in &events {
            match event {
                StreamEvent::Message { flow, bytes } => self.entrance(now).read(flow, bytes),
                StreamEvent::Pings { flow, count } => self.entrance(now).pinged(flow, *count),
                StreamEvent::TooLarge { .. } | StreamEvent::Over { .. } => {}
            }
        }
        self.hand_on(token, events.into(), now) && more
    }

    /// Hands on what a connection has brought. Returns false where a shard has no room for it: the rest is
    /// kept, and the connection not read until it has. What is sent to a full node over TCP waits at the peer
    /// (RFC 3261 18.1.1 leaves congestion to the transport), and nothing of it is lost.
    fn hand_on(&mut self, token: Token, mut events: VecDeque<StreamEvent>, now: Time) -> bool {
        while let Some(event) = events.pop_front() {
            match event {
                StreamEvent::Message { flow, bytes } => {
                    if let Err(bytes) = self.deliver(flow, bytes) {
                        events.push_front(StreamEvent::Message { flow, bytes });
                        self.kept.insert(token, events);
                        self.hold(token, NO_ROOM, now);
                        return false;
                    }
                }
                // Counted, and answered already.
                StreamEvent::Pings { .. } => {}
                StreamEvent::TooLarge { flow, count } => {
                    for _ in 0..count {
                        self.tell_malformed(Fault::TooLarge, flow);
                    }
                }
                StreamEvent::Over {
                    flow,
                    connection,
                    fault,
                } => {
                    self.tell_trouble(connection, flow, now);
                    self.tell_fault(fault, flow);
                    if let Some(flow) = self.streams.end(connection, fault, now) {
                        self.tell_closed(flow);
                        self.settle();
                    }
                }
            }
        }
        true
    }

    fn hold(&mut self, token: Token, wait: Millis, now: Time) {
        self.streams.pause(token, now);
        self.held.hold(token, now + wait);
    }

    /// Names who was turned away; whom the gate keeps out, it names itself.
    pub(super) fn tell_refused(&mut self, now: Time) {
        let Some((peer, why)) = self.streams.take_refused() else {
            return;
        };
        let is_due = || self.shared.gate.names(Source::of(peer.ip()), now);
        match why {
            Refusal::Gate => tracing::debug!(%peer, why = why.as_str(), "turned a connection away"),
            Refusal::Limit | Refusal::LimitPerIp | Refusal::NotAProxy if is_due() => {
                tracing::warn!(%peer, why = why.as_str(), "turned a connection away");
            }
            Refusal::Limit | Refusal::LimitPerIp | Refusal::NotAProxy => {}
        }
    }

    /// Tells the engine which connections gave way to others, and names some of them.
    pub(super) fn tell_yielded(&mut self, now: Time) {
        for (flow, why) in self.streams.take_yielded() {
            let peer = flow.peer;
            if self.shared.gate.names(Source::of(peer.ip()), now) {
                tracing::info!(%peer, why = why.as_str(), "closed a connection to make place for another");
            }
            self.tell_closed(flow);
            self.settle();
        }
    }

    /// Says why a host that was connected to cannot be spoken with, once for each reason.
    fn tell_trouble(&self, connection: ConnectionId, flow: Flow, now: Time) {
        let Some((host, what)) = self.streams.trouble(connection) else {
            return;
        };
        let (troubles, peer) = (&self.shared.registry.troubles, flow.peer);
        if troubles.note(&host, peer, what.clone(), now) {
            tracing::warn!(%host, %peer, "cannot speak TLS with an upstream or phone: {what}");
        }
    }

    fn tell_fault(&self, fault: Ending, flow: Flow) {
        let peer = flow.peer;
        let malformed = match fault {
            Ending::Ended => return,
            Ending::Shake(Shake::Proxy) => {
                let now = self.shared.clock.now();
                if self.shared.gate.names(Source::of(peer.ip()), now) {
                    tracing::warn!(proxy = %peer, "refused a connection: the proxy does not say whom it is from");
                }
                return;
            }
            Ending::Shake(why) => {
                return tracing::debug!(%peer, why = why.as_str(), "handshake failed");
            }
            Ending::Overflow => {
                return tracing::info!(%peer, "closed a connection whose peer does not read");
            }
            Ending::Frame(FrameError::HeadTooLarge | FrameError::BodyTooLarge) => Fault::TooLarge,
            Ending::Frame(FrameError::Length) => Fault::ContentLength,
            Ending::WebSocket => Fault::NotSip,
        };
        self.tell_malformed(malformed, flow);
    }

    fn tell_malformed(&self, malformed: Fault, flow: Flow) {
        let event = Event::Malformed {
            reason: malformed.as_str(),
            peer: flow.peer.to_string().into(),
        };
        self.tell(None, &event);
        let event = Event::Offence {
            what: Offence::Malformed,
            flow,
            proven: true,
        };
        self.tell(None, &event);
    }
}
