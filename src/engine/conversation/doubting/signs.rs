//! Signs from outside of the dialogs: media, ICMP and closed connections, the registrar.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::endpoint::{BindingChange, BindingsChanged, Endpoint, Identity};
use crate::engine::events::Signal;
use crate::engine::ids::{Flow, Side};
use crate::engine::location;
use crate::engine::ports::MediaEvent;
use crate::engine::routing;

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
                }
            }
            MediaEvent::Silent { side, .. } => {
                let party = self.party_mut(side);
                (party.flowing, party.silent) = (false, true);
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
                let party = self.party_mut(side);
                (party.flowing, party.silent) = (true, false);
                let by_media = self.party(side).check.as_ref().is_some_and(|check| {
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
                self.party_mut(side).trust.end();
            }
            MediaEvent::Unreachable { side, .. } => {
                self.suspect(context, side, Signal::MediaUnreachable)
            }
            MediaEvent::Toned { side, whole, .. } => self.on_toned(context, side, whole),
        }
    }

    /// ICMP names a peer, or a connection is closed: which of our legs went there?
    pub(crate) fn on_flow_failed(
        &mut self,
        context: &mut Context<'_>,
        failed: &Flow,
        closed: bool,
    ) {
        for side in [Side::Caller, Side::Callee] {
            let Some(leg) = &self.party(side).leg else {
                continue;
            };
            let flow = leg.dialog.reached_over();
            let hit = flow.transport == failed.transport
                && flow.peer == failed.peer
                && (failed.connection.is_none() || flow.connection == failed.connection);
            if !hit {
                continue;
            }
            if self.answered.is_none() {
                if side == Side::Caller && closed {
                    self.caller_adrift(context, flow);
                }
                continue;
            }
            if closed && let Some(check) = self.party_mut(side).check.as_mut() {
                check.dead = Some(flow.into());
            }
            self.suspect(context, side, Signal::Transport);
        }
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
                        self.lay_ghosts(context, &binding.endpoint);
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

    /// Returns the binding of a leg that does not answer where it was, but does over another flow: its move
    /// was not seen, as in a restart.
    pub(super) fn found_elsewhere(
        &self,
        context: &Context<'_>,
        side: Side,
        flow: Flow,
    ) -> Option<Endpoint> {
        let party = self.party(side);
        let (leg, check) = (party.leg.as_ref()?, party.check.as_ref()?);
        let deaf = matches!(check.signal, Some(Signal::NoAnswer | Signal::ProbeTimeout));
        if !deaf || flow.peer == leg.dialog.flow.peer {
            return None;
        }
        let known = routing::flows(
            &party.aor,
            &leg.endpoint.identity,
            context.now,
            context.world,
        );
        known
            .into_iter()
            .find(|endpoint| endpoint.flow.is_some_and(|known| known.peer == flow.peer))
    }

    /// The endpoint of a standing leg registered: over another flow, its dialog goes there too. One that has begun
    /// `anew` may have forgotten its call, unless it is heard; and be another phone of the same make, where no
    /// instance tells the two apart.
    pub(super) fn registered(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: &Endpoint,
        moved: bool,
        anew: bool,
    ) {
        let heard = self.is_heard(side);
        let another = anew
            && matches!(*endpoint.identity, Identity::Contact { .. })
            && self.is_watched_and_heard(context, side);
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let (known, seen) = (&leg.endpoint.identity, &endpoint.identity);
        let same = location::same(known, seen);
        let may_be = same || anew && location::alike(known, seen);
        if !may_be {
            return;
        }
        let elsewhere = endpoint.flow.filter(|flow| {
            same && moved && *flow != leg.dialog.flow && flow.peer != leg.dialog.flow.peer
        });
        let there = elsewhere.filter(|flow| !another && context.may_take(&leg.dialog, flow));
        let Some(flow) = there else {
            let now = context.now;
            if let Some(check) = self.party_mut(side).check.as_mut()
                && anew
            {
                check.anew = Some(now);
            }
            if (anew || elsewhere.is_some()) && !heard {
                self.suspect(context, side, Signal::Registration);
            }
            return;
        };
        leg.dialog.flow = flow;
        leg.dialog.target.clone_from(&endpoint.contact);
        leg.endpoint = endpoint.clone();
        if let Some(waiting) = &leg.unacknowledged {
            // It may not have our 2xx yet.
            context.redirect(waiting.server, flow);
        }
        let open = leg.reinvite;
        let again = open.and_then(|open| context.send_elsewhere(open, flow, &endpoint.contact));
        if let Some(again) = again {
            self.goes_on_as(&again);
        }
        self.suspect(context, side, Signal::Moved);
    }
}
