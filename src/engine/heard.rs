//! What the transactions tell: requests, answers and the lack of them, each to whom it concerns.

use super::Engine;
use super::conversation::answers::Answer;
use super::conversation::carrying::within::{Failed, Renewed};
use super::conversation::context::{Errand, What, retry_after};
use super::conversation::ending::stray::{Leaving, acknowledge_and_leave, acknowledge_ringing};
use crate::engine::events::{Event, Signal, TargetFailure};
use crate::engine::ids::{Flow, Transport};
use crate::engine::listening::listens_at;
use crate::engine::mint::tag_key;
use crate::engine::ports::World;
use crate::engine::time::Time;
use crate::engine::transaction::{ClientId, Heard};
use crate::sip::{Message, Method};

impl Engine {
    /// Goes through what the transactions tell.
    pub(super) fn listen(&mut self, now: Time, world: &mut dyn World) {
        while let Some(heard) = self.shared.transactions.poll_heard() {
            match heard {
                Heard::Request {
                    server,
                    request,
                    flow,
                } => {
                    alias(&request, &flow, world);
                    let flow = listens_at(&request, flow);
                    self.request(server, &request, flow, now, world);
                }
                Heard::Ack { request, flow } => {
                    let bound = request
                        .to_tag()
                        .and_then(tag_key)
                        .and_then(|key| self.shared.tags.get(&key));
                    if let Some((id, leg)) = bound.copied()
                        && (request.body().is_empty()
                            || self.is_from_the_dialog(&request, flow, (id, leg), now, world))
                    {
                        self.with(id, now, world, |conversation, context| {
                            conversation.on_ack(context, leg, &request);
                        });
                    } else {
                        // Of a challenge, which nothing was kept of.
                        let asked = self.registrar.authenticator().tag(&request);
                        let mut context = self.shared.context(now, world);
                        if !context.parting_acknowledged(&request)
                            && request.to_tag() != Some(&*asked)
                        {
                            context.emit(Event::Stray { what: "ack" });
                        }
                    }
                }
                Heard::Cancelled {
                    server,
                    context: Some((id, _)),
                    cancel,
                } => {
                    self.with(id, now, world, |conversation, context| {
                        conversation.on_cancelled(context, server, &cancel)
                    });
                }
                Heard::Cancelled {
                    server,
                    context: None,
                    ..
                } => {
                    self.shared.context(now, world).answer(server, 487, None);
                }
                Heard::Response {
                    client,
                    context: errand,
                    response,
                    flow,
                    sent,
                } => {
                    let answer = Answer {
                        response: &response,
                        flow,
                        sent: sent.as_deref(),
                    };
                    self.response(client, errand, &answer, now, world);
                }
                Heard::Timeout {
                    client,
                    context: errand,
                } => {
                    self.unanswered(client, errand, false, now, world);
                }
                Heard::Unreachable {
                    client,
                    context: errand,
                } => {
                    self.unanswered(client, errand, true, now, world);
                }
                Heard::Severed {
                    context: errand,
                    closed,
                } => {
                    let leg = errand.leg;
                    self.with(errand.conversation, now, world, |conversation, context| {
                        if closed {
                            conversation.branch_severed(context, leg);
                        } else {
                            conversation.branch_deaf(context, leg, Signal::Transport);
                        }
                    });
                }
                Heard::NoAck {
                    server,
                    context: Some((id, leg)),
                } => {
                    // A dialog that was left waits for itself, whether its conversation goes on or not.
                    let mut context = self.shared.context(now, world);
                    if !context.parting_unacknowledged(server) {
                        self.with(id, now, world, |conversation, context| {
                            conversation.on_no_ack(context, leg, server)
                        });
                    }
                }
                Heard::NoAck { context: None, .. } => {}
                Heard::Stray { response, flow } => {
                    // A phone that thawed after everyone had given up: it must not be left in a call.
                    if (200..300).contains(&response.status())
                        && *response.method() == Method::Invite
                        && !self.acknowledge_standing(&response, now, world)
                        && self.shared.strays.take(now)
                    {
                        let mut context = self.shared.context(now, world);
                        acknowledge_and_leave(&mut context, &response, flow, Leaving::Once, None);
                    }
                }
            }
        }
    }

    /// Acknowledges a 2xx whose INVITE is forgotten, as after a restart, where its dialog stands. Returns
    /// false where it does not.
    fn acknowledge_standing(
        &mut self,
        response: &Message,
        now: Time,
        world: &mut dyn World,
    ) -> bool {
        let key = response.from_tag().and_then(tag_key);
        let Some((id, leg)) = key.and_then(|key| self.shared.tags.get(&key)).copied() else {
            return false;
        };
        let mut stands = false;
        self.with(id, now, world, |conversation, context| {
            stands = conversation.acknowledge_standing(context, leg, response);
        });
        stands
    }

    /// Requests go on in other transactions: whoever waits for their answers is told.
    pub(super) fn renewed(
        &mut self,
        renewed: impl IntoIterator<Item = Renewed>,
        now: Time,
        world: &mut dyn World,
    ) {
        for renewed in renewed {
            self.shared.proving.goes_on(renewed.before, renewed.now);
            let id = renewed.errand.conversation;
            self.with(id, now, world, |conversation, _| {
                conversation.goes_on_as(&renewed);
            });
        }
    }

    fn response(
        &mut self,
        client: ClientId,
        errand: Errand,
        answer: &Answer<'_>,
        now: Time,
        world: &mut dyn World,
    ) {
        let (response, flow) = (answer.response, answer.flow);
        if let What::Passage(number) = errand.what {
            let mut context = self.shared.context(now, world);
            return self
                .passages
                .on_response(&mut context, number, client, response);
        }
        if let What::Relay(number) = errand.what {
            let mut context = self.shared.context(now, world);
            let changed = self
                .relays
                .on_response(&mut context, number, client, response);
            return self.bindings_have_changed(changed, now, world);
        }
        if let What::Upstream(index) = errand.what {
            let mut context = self.shared.context(now, world);
            return self
                .probes
                .on_response(&mut context, index, client, response);
        }
        // RFC 3261 21.5.4: where there is a next target, that one has its turn.
        let unavailable = || TargetFailure::Unavailable(retry_after(response));
        if response.status() == 503 && self.gives_way(client, errand, unavailable(), now, world) {
            return;
        }
        let mut context = self.shared.context(now, world);
        let Some(client) = context.within_answered(client, response) else {
            return;
        };
        if let What::Lamp(number) = errand.what {
            return self.lamps.on_response(&mut context, number, response);
        }
        if self.proves(client, errand, answer, now, world) {
            return;
        }
        let known = self.with(errand.conversation, now, world, |conversation, context| {
            conversation.on_response(context, client, errand, answer);
        });
        if errand.what == What::Farewell
            && response.status() >= 200
            && *response.method() == Method::Bye
        {
            let key = (errand.conversation, errand.leg);
            self.shared.graves.answered(key, response.status(), &flow);
            let mut context = self.shared.context(now, world);
            context.farewell_answered(key, response.status(), &flow);
        }
        if known || *response.method() != Method::Invite {
            return;
        }
        let success = (200..300).contains(&response.status());
        let first = errand.what == What::Invite;
        if success && !first {
            // The leg has gone to another conversation, which the ACK is up to: it was lost. Or its own is over,
            // and a re-INVITE that was taken back is answered all the same.
            let moved = response.from_tag();
            let moved = moved.and_then(|tag| self.shared.moves.find(tag));
            if let Some(to) = moved {
                return self.shared.context(now, world).forward(to, flow, response);
            }
            if self.acknowledge_standing(response, now, world) {
                return;
            }
        }
        let mut context = self.shared.context(now, world);
        if success {
            acknowledge_and_leave(&mut context, response, flow, Leaving::Surely, None);
        } else if first {
            context.cancel(client, None);
            acknowledge_ringing(&mut context, response, flow);
        }
    }

    /// A request within a dialog is asked for proof. Returns true where it has gone out again.
    fn proves(
        &mut self,
        client: ClientId,
        errand: Errand,
        answer: &Answer<'_>,
        now: Time,
        world: &mut dyn World,
    ) -> bool {
        let Some(sent) = answer.sent.filter(|_| errand.what != What::Invite) else {
            return false;
        };
        let (id, response) = (errand.conversation, answer.response);
        let mut again = None;
        self.with(id, now, world, |conversation, context| {
            again = conversation.proves_again(context, client, errand, response, sent);
        });
        again.unwrap_or_else(|| {
            let mut context = self.shared.context(now, world);
            context.leave_again(client, errand, response, sent)
        })
    }

    fn unanswered(
        &mut self,
        client: ClientId,
        errand: Errand,
        unreachable: bool,
        now: Time,
        world: &mut dyn World,
    ) {
        if let What::Passage(number) = errand.what {
            let mut context = self.shared.context(now, world);
            return self
                .passages
                .on_unanswered(&mut context, number, client, unreachable);
        }
        if let What::Relay(number) = errand.what {
            let mut context = self.shared.context(now, world);
            return self
                .relays
                .on_unanswered(&mut context, number, client, unreachable);
        }
        if let What::Upstream(index) = errand.what {
            let mut context = self.shared.context(now, world);
            return self.probes.on_unanswered(&mut context, index, client);
        }
        let failure = if unreachable {
            TargetFailure::Unreachable
        } else {
            TargetFailure::Silent
        };
        if self.gives_way(client, errand, failure, now, world) {
            return;
        }
        if let What::Lamp(number) = errand.what {
            let mut context = self.shared.context(now, world);
            return self.lamps.on_unanswered(&mut context, number);
        }
        self.with(errand.conversation, now, world, |conversation, context| {
            conversation.on_unanswered(context, client, errand, unreachable);
        });
    }

    /// A target has failed. Returns false where that is the last word on the request.
    fn gives_way(
        &mut self,
        client: ClientId,
        errand: Errand,
        failure: TargetFailure,
        now: Time,
        world: &mut dyn World,
    ) -> bool {
        let asks = self.conversations.get(&errand.conversation);
        let speaks = asks.is_some_and(|asks| asks.speaks(errand.leg));
        let mut context = self.shared.context(now, world);
        match context.within_failed(client, failure, speaks) {
            Failed::Renewed(renewed) => self.renewed([renewed], now, world),
            Failed::Superseded => {}
            Failed::Doubted(_) if let What::Lamp(number) = errand.what => {
                self.lamps.on_unanswered(&mut context, number);
            }
            // What the later one said is no more than a suspicion.
            Failed::Doubted(current) => {
                self.with(errand.conversation, now, world, |conversation, context| {
                    conversation.on_unanswered(context, current, errand, true);
                });
            }
            Failed::Over => return false,
        }
        true
    }
}

/// RFC 5923 8.2: over TLS a client may say that its connection is for requests to it, too. Over anything else
/// nobody has proved to be who is meant, and the word means nothing.
fn alias(request: &Message, flow: &Flow, world: &dyn World) {
    let via = request.via();
    if flow.transport == Transport::Tls && via.params.has("alias") {
        let port = via.port.filter(|port| *port != 0);
        world.alias(flow, port.unwrap_or_else(|| Transport::Tls.default_port()));
    }
}
