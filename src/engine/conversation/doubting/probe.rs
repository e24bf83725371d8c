//! OPTIONS: does the device live, and over which flow?

use super::check::Step;
use super::outcome::{self, is_away};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, What, retry_after};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::restoring::reach::way_anew;
use crate::engine::events::Signal;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::location;
use crate::engine::time::{Millis, Time};
use crate::sip::{Builder, Message, Method};

/// How long a phone has for an answer where ICMP says, without proof, that nobody takes the question.
const IN_A_MOMENT: Millis = Millis::from_secs(1);

impl Conversation {
    /// Sends OPTIONS over every flow known for the endpoint.
    pub(super) fn ask_alive(&mut self, context: &mut Context<'_>, side: Side, tries: u32) {
        let probe = self.probing(context);
        let flows = self.flows(context, side);
        let leg = self.party(side).leg.as_ref();
        let sought = leg.is_some_and(|leg| context.course(&leg.dialog).sought);
        let unasked = self.closed_leg(side).is_some_and(|leg| {
            let anew = way_anew(context, leg);
            flows.iter().all(|flow| Some(*flow) == anew)
        });
        let id = self.id;
        for flow in &flows {
            if let Some(leg) = self.leg_mut(side) {
                leg.request_over(
                    context,
                    id,
                    &Method::Options,
                    What::Probe,
                    *flow,
                    |builder| builder.end(),
                );
            }
        }
        if sought && let Some(leg) = self.leg_mut(side) {
            leg.request(context, id, &Method::Options, What::Probe, Builder::end);
        }
        let Some(check) = self.party_mut(side).check.as_mut() else {
            return;
        };
        (check.unasked, check.asked) = (unasked, context.now);
        if flows.is_empty() {
            check.step = Step::Waiting;
            check.next = Some(check.grace.max(context.now));
        } else {
            check.step = Step::Asked {
                left: tries.saturating_sub(1),
                out: flows.len() as u32 + u32::from(sought),
            };
            check.next = Some(context.now + probe.timeout);
            if tries <= 1 {
                self.ask_the_way(context, side);
                self.ask_dialog_beside(context, side);
            }
        }
    }

    /// Who has never answered OPTIONS may have no answer to it at all: the last try asks the dialog, too.
    pub(super) fn ask_dialog_beside(&mut self, context: &mut Context<'_>, side: Side) {
        let party = self.party(side);
        let asked = party.check.as_ref().is_none_or(|check| check.dialog);
        let known = party.leg.as_ref().is_none_or(|leg| leg.answers_options);
        if asked || known || party.may_not_know() || self.closed_leg(side).is_some() {
            return;
        }
        if self.ask_dialog(context, side)
            && let Some(check) = self.party_mut(side).check.as_mut()
            && let Step::Asked { left, out } = check.step
        {
            check.dialog = true;
            check.step = Step::Asked { left, out: out + 1 };
        }
    }

    /// Returns the flows that a side's endpoint may be reached over.
    pub(super) fn flows(&self, context: &Context<'_>, side: Side) -> Vec<Flow> {
        let party = self.party(side);
        let Some(leg) = &party.leg else {
            return Vec::new();
        };
        let dead = party.check.as_ref().and_then(|check| check.dead.as_deref());
        let registered = context
            .world
            .bindings(&party.aor)
            .into_iter()
            .filter(|binding| {
                binding.expires > context.now
                    && location::same(&binding.endpoint.identity, &leg.endpoint.identity)
            })
            .filter_map(|binding| binding.endpoint.flow);
        let mut flows: Vec<Flow> = match self.closed_leg(side) {
            Some(leg) => way_anew(context, leg).into_iter().collect(),
            None => context.course(&leg.dialog).flows().collect(),
        };
        for flow in registered.filter(|flow| Some(flow) != dead) {
            if !flows.contains(&flow) {
                flows.push(flow);
            }
        }
        flows.truncate(4);
        flows
    }

    /// Returns a side's leg where the connection that its requests take is closed.
    pub(super) fn closed_leg(&self, side: Side) -> Option<&Leg> {
        let party = self.party(side);
        let dead = party.check.as_ref()?.dead.as_deref()?;
        party.leg.as_ref().filter(|leg| leg.dialog.flow == *dead)
    }

    /// An answer to OPTIONS: any proves the device, but 481 denies the dialog (design: signals of loss).
    pub(crate) fn probe_response(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let Some(side) = self.side_of(leg) else {
            return self.deaf_answers(context, leg, response);
        };
        if response.status() < 200 {
            return;
        }
        let status = response.status();
        let unsure = self.party(side).may_not_know();
        if !is_away(status)
            && let Some(leg) = self.leg_mut(side)
        {
            leg.answers_options = true;
            leg.denies_options &= status >= 300;
        }
        let asked = self.party(side).check.as_ref().is_some_and(|check| {
            matches!(check.step, Step::Asked { .. } | Step::Waiting | Step::Out)
        });
        if !asked {
            return;
        }
        match status {
            // It denies what it may not know yet.
            status if outcome::ends_dialog(status) && !unsure => {
                self.becomes_suspect(context, side, Signal::ProbeRefused);
                if let Some(check) = self.party_mut(side).check.as_mut() {
                    check.denied = true;
                }
                self.doubt_now(context, side);
            }
            // Whoever it is from, it says nothing of the device: as good as no answer.
            status if is_away(status) => self.probe_later(context, side, response),
            ..300 | 300.. => {
                if let Some(endpoint) = self.found_elsewhere(context, side, flow) {
                    return self.registered(context, side, &endpoint, true, false);
                }
                self.reconnect(context, side, flow);
                if let Some(leg) = self.leg_mut(side) {
                    leg.heard = context.now;
                }
                self.device_lives(context, side);
            }
        }
    }

    /// The device is there. Where it should be heard and is not, it may have forgotten its call.
    fn device_lives(&mut self, context: &mut Context<'_>, side: Side) {
        let (now, tries) = (context.now, self.probing(context).tries.max(1));
        let grace = context.shared.settings.detect.grace;
        let heard = self.is_heard(side);
        let party = self.party(side);
        let leg = party.leg.as_ref();
        let proven = leg.is_some_and(|leg| party.trust.is_proven(leg.id, now));
        let unsure = party.may_not_know();
        let Some(check) = self.party_mut(side).check.as_mut() else {
            return;
        };
        if heard || unsure || !check.unproven {
            return self.alive(context, side);
        }
        let silence = check.signal == Some(Signal::Silence) && check.anew.is_none();
        if silence && !check.refused && !check.dialog {
            if proven {
                return self.alive(context, side);
            }
            // Who says nothing for a moment is not asked more than that.
            check.step = Step::PutOff { left: tries };
            check.next = Some(now + grace);
            return;
        }
        self.doubt_now(context, side);
    }

    /// The next try has its turn when this one's time is over, or when whoever refused it wishes.
    fn probe_later(&mut self, context: &Context<'_>, side: Side, response: &Message) {
        let longest = self.probing(context).interval;
        let after = retry_after(response).map(|after| context.now + after.min(longest));
        if let Some(check) = self.party_mut(side).check.as_mut()
            && matches!(check.step, Step::Asked { .. })
        {
            check.next = check.next.max(after);
        }
    }

    /// ICMP says that nobody takes a probe, and proves nothing: who is there answers in a moment, or to the next try.
    pub(super) fn hurry_probe(&mut self, context: &Context<'_>, side: Side) {
        let timeout = self.probing(context).timeout;
        // Another flow may still lead there.
        let leg = self.party(side).leg.as_ref();
        let sought = leg.is_some_and(|leg| context.course(&leg.dialog).sought);
        let others = sought || self.flows(context, side).len() > 1;
        let Some(check) = self.party_mut(side).check.as_mut() else {
            return;
        };
        let Step::Asked { left, out } = check.step else {
            return;
        };
        let soon = (check.asked + IN_A_MOMENT).max(context.now);
        // Where somebody on the way has refused it, it has its time.
        let waits = |next: &Time| soon < *next && *next <= check.asked + timeout;
        if others || !check.next.is_some_and(|next| waits(&next)) {
            return;
        }
        check.next = Some(soon);
        let first = !std::mem::replace(&mut check.hurried, true);
        if first && check.refused {
            // Its media was refused, and this try would be the last.
            check.step = Step::Asked {
                left: left.max(1),
                out,
            };
        }
    }

    /// The connection of a leg is closed, and it was found over another one: what follows takes that.
    fn reconnect(&mut self, context: &mut Context<'_>, side: Side, flow: Flow) {
        if self.closed_leg(side).is_some()
            && let Some(leg) = self.leg_mut(side)
            && context.may_take(&leg.dialog, &flow)
        {
            leg.dialog.flow = flow;
            self.configure(context, side);
            self.persist(context);
        }
    }

    /// A probe could not be delivered.
    pub(crate) fn probe_unanswered(&mut self, context: &mut Context<'_>, leg: LegId) {
        let Some(side) = self.side_of(leg) else {
            return self.deaf_unreached(context, leg);
        };
        let heard = self.is_heard(side);
        let Some(check) = self.party_mut(side).check.as_mut() else {
            return;
        };
        let Step::Asked { left, out } = check.step else {
            return;
        };
        if out > 1 {
            check.step = Step::Asked { left, out: out - 1 };
            return;
        }
        if heard && self.becomes_suspect(context, side, Signal::Transport) {
            // Its media has begun since it was asked: what ICMP says is a suspicion now, as any.
            self.flows_again(context, side);
        }
        if self.may_wait(context, side) {
            return self.wait(side);
        }
        if self.talks_on(context, side) {
            return self.alive(context, side);
        }
        let check = self.party(side).check.as_ref();
        let signal = check.and_then(|check| check.signal);
        self.is_unheard(context, side, signal.unwrap_or(Signal::Transport));
    }

    /// Returns true for who is heard, or was when its media was refused, and has its grace.
    pub(super) fn may_wait(&self, context: &Context<'_>, side: Side) -> bool {
        let party = self.party(side);
        let check = party.check.as_ref();
        party.flowing && check.is_some_and(|check| check.grace > context.now)
    }

    /// Nothing more is asked until that is over.
    pub(super) fn wait(&mut self, side: Side) {
        if let Some(check) = self.party_mut(side).check.as_mut() {
            check.step = Step::Waiting;
            check.next = Some(check.grace);
        }
    }
}
