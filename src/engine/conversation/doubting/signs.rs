//! Signs from outside of the dialogs: media, ICMP and closed connections, the registrar.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::endpoint::{BindingChange, BindingsChanged};
use crate::engine::events::Signal;
use crate::engine::ids::{Flow, Side};
use crate::engine::location;
use crate::engine::ports::MediaEvent;

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// Its connection is closed.
    Closed,
    /// Nobody takes what is sent.
    Unreachable,
    /// The same says somebody who may not know.
    Rumoured,
}

impl Conversation {
    /// What the relay saw.
    pub(crate) fn on_media(&mut self, context: &mut Context<'_>, event: MediaEvent) {
        match event {
            MediaEvent::Opened {
                side,
                generation,
                result,
                ..
            } => {
                if let Some(ports) = self.ports[side.index()].find(generation) {
                    ports.opened(result);
                    if !self.grown(context, side, generation) {
                        self.ports_opened(context, side, generation);
                    }
                    self.take_open_invite(context);
                    self.shrink(context);
                } else if let Some(lost) = &mut self.party_mut(side).lost
                    && let Some(ports) = lost.old_ports.find(generation)
                {
                    // A phone that repairs itself goes on with these.
                    ports.opened(result);
                }
            }
            MediaEvent::Silent { side, .. } => {
                let party = self.party_mut(side);
                (party.flowing, party.silent) = (false, true);
                if self.hush(context, side) {
                    return;
                }
                // Music on hold may end.
                if context.shared.settings.detect.media_confirm || !self.party(side).due {
                    self.suspect(context, side, Signal::Silence);
                } else if self.party(side).is_up()
                    && self.answered.is_some()
                    && self.closing.is_none()
                {
                    self.lose(context, side, Signal::Silence);
                }
            }
            MediaEvent::Flowing { side, .. } => {
                if side == Side::Callee {
                    self.early_media_flows(context);
                }
                self.party_mut(side).silent = false;
                self.is_heard_again(context, side);
                self.party_mut(side).trust.end();
            }
            // A phone that is muted goes on to be: it is asked ever more seldom.
            MediaEvent::Reported { side, .. } => self.is_heard_again(context, side),
            MediaEvent::Overheard { number, .. } => self.overheard(context, number),
            MediaEvent::Unreachable {
                side: Side::Callee, ..
            } if self.answered.is_none() => self.early_media_refused(context),
            MediaEvent::Unreachable { side, .. } => {
                self.suspect(context, side, Signal::MediaUnreachable)
            }
            MediaEvent::Toned { side, whole, .. } => self.on_toned(context, side, whole),
        }
    }

    fn is_heard_again(&mut self, context: &mut Context<'_>, side: Side) {
        let party = self.party_mut(side);
        party.flowing = true;
        let by_media = party.check.as_ref().is_some_and(|check| {
            matches!(
                check.signal,
                Some(Signal::Silence | Signal::MediaUnreachable)
            )
        });
        if by_media {
            self.alive(context, side);
        } else {
            self.flows_again(context, side);
        }
    }

    /// ICMP names a peer, or a connection is closed: which of our legs went there?
    pub(crate) fn on_flow_failed(
        &mut self,
        context: &mut Context<'_>,
        failed: &Flow,
        failing: Failing,
    ) {
        let closed = failing == Failing::Closed;
        for side in [Side::Caller, Side::Callee] {
            let Some(flow) = self.goes_over(side, failed) else {
                continue;
            };
            if self.answered.is_none() {
                if side == Side::Caller && closed {
                    self.caller_adrift(context, flow);
                }
                continue;
            }
            if failing == Failing::Rumoured {
                self.rumoured(context, side);
                continue;
            }
            self.suspect(context, side, Signal::Transport);
            if let Some(check) = self.party_mut(side).check.as_mut() {
                check.astray |= !closed;
            }
        }
    }

    /// ICMP without proof is a sign as any, but that who was found to live is left alone for a while. Of who is
    /// suspected it says that nobody may be there to answer: each try has no more than its moment.
    fn rumoured(&mut self, context: &mut Context<'_>, side: Side) {
        let check = self.party(side).check.as_ref();
        if check.is_some_and(|check| check.signal.is_some()) {
            self.hurry_probe(context, side);
        } else if !self.is_left_alone(context.now, side, Signal::Transport) {
            self.suspect(context, side, Signal::Transport);
            // Where it answers over another flow of its own, it goes on there.
            if let Some(check) = self.party_mut(side).check.as_mut() {
                check.astray = true;
            }
        }
    }

    /// A phone does not keep the flow alive any more over which it has its leg.
    pub(crate) fn on_flow_unkept(&mut self, context: &mut Context<'_>, unkept: &Flow) {
        for side in [Side::Caller, Side::Callee] {
            if self.goes_over(side, unkept).is_some() {
                self.suspect(context, side, Signal::Registration);
            }
        }
    }

    /// A connection is closed: whoever is asked from now on, for whatever reason, is asked another way.
    pub(crate) fn connection_closed(&mut self, closed: &Flow) {
        for side in [Side::Caller, Side::Callee] {
            if let Some(flow) = self.goes_over(side, closed)
                && let Some(check) = self.party_mut(side).check.as_mut()
            {
                check.dead = Some(flow.into());
            }
        }
    }

    /// Returns the flow of a side's leg, where that is the one that failed.
    fn goes_over(&self, side: Side, failed: &Flow) -> Option<Flow> {
        let flow = self.party(side).leg.as_ref()?.dialog.reached_over();
        let hit = flow.transport == failed.transport
            && flow.peer == failed.peer
            && (failed.connection.is_none() || flow.connection == failed.connection);
        hit.then_some(flow)
    }

    /// The registrar's news of one of the two.
    pub(crate) fn on_bindings(&mut self, context: &mut Context<'_>, changed: &BindingsChanged) {
        for side in [Side::Caller, Side::Callee] {
            if self.party(side).aor != changed.aor || self.closing.is_some() {
                continue;
            }
            if self.answered.is_none() {
                self.on_bindings_early(context, side, changed);
                continue;
            }
            for change in &changed.changes {
                match change {
                    BindingChange::Registered {
                        binding,
                        moved,
                        anew,
                    } => {
                        let endpoint = &binding.endpoint;
                        self.lay_ghosts(context, &endpoint.identity, endpoint.flow);
                        if self.party(side).lost.is_some() {
                            self.registered_meanwhile(context, side, &binding.endpoint, *anew);
                        } else {
                            self.registered(context, side, &binding.endpoint, *moved, *anew);
                        }
                    }
                    BindingChange::Removed { binding, .. } => {
                        let ours = self.party(side).leg.as_ref().is_some_and(|leg| {
                            location::same(&leg.endpoint.identity, &binding.endpoint.identity)
                        });
                        if ours {
                            self.suspect(context, side, Signal::Registration);
                        }
                    }
                }
            }
        }
    }

    /// The same before anybody has answered: a caller that is waited for may be back, or a phone that rings.
    fn on_bindings_early(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        changed: &BindingsChanged,
    ) {
        for change in &changed.changes {
            match change {
                BindingChange::Registered { binding, anew, .. } => match side {
                    Side::Caller => self.caller_registered(context, &binding.endpoint),
                    Side::Callee => self.callee_registered(context, &binding.endpoint, *anew),
                },
                // Who is no longer registered may yet answer what rings.
                BindingChange::Removed { .. } => {}
            }
        }
    }
}
