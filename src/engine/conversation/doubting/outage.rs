//! The way to an endpoint is broken: who is reached through an upstream says nothing, and neither does that, as a PBX
//! that starts anew. Or its Contact is our own: then it is the other half of a call of ours that goes through a PBX
//! twice, where the half that has the phone knows more of it, and answers for it where it is lost. To call somebody
//! would find a phone that is in this very call, or go where nothing is heard. So it is waited for, for
//! `detect.outage`, and asked again and again.

use super::check::Step;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::people::proof::upstream_of;
use crate::engine::events::Signal;
use crate::engine::health::{Observation, Sign};
use crate::engine::ids::Side;
use crate::engine::routing;
use crate::engine::time::{Millis, Time};
use crate::engine::upstreams::hop_of;
use crate::sip::Uri;

/// After so long it is looked at what an upstream has said, which is probed within a second since somebody beyond it says
/// nothing: where ICMP speaks for that one there was no time before.
const PROBED_WITHIN: Millis = Millis::from_secs(2);
/// And so long again and again, since its first address may be a dead one, and its second is asked after some seconds.
const ANSWERED_WITHIN: Millis = Millis::from_secs(8);

/// Somebody is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    until: Time,
    /// The way there is open again since, and all that is asked now counts.
    back: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Broken,
}

impl Conversation {
    /// Nothing is heard of a side: it is lost, unless that may be the way there.
    pub(crate) fn is_unheard(&mut self, context: &mut Context<'_>, side: Side, signal: Signal) {
        let out = self.out_as_of(context, side);
        let Some((out, way)) = out.filter(|_| !self.is_missed(context, side)) else {
            return self.lose(context, side, signal);
        };
        let probe = self.probing(context);
        let now = context.now;
        let Some(check) = self.party_mut(side).check.as_mut() else {
            return;
        };
        match (way, check.out) {
            // The upstream may not have had the time yet to answer after what was asked last.
            (Way::Broken, before) => {
                let soon = before.is_none_or(|before| before.back);
                let pause = if soon { PROBED_WITHIN } else { probe.interval };
                (check.step, check.out) = (Step::Out, Some(out));
                check.next = Some(out.until.min(now + pause));
                self.becomes_suspect(context, side, signal);
                self.ask_the_way(context, side);
            }
            // What it was asked may have come to nothing before that.
            (Way::Open, Some(Out { back: false, .. })) => {
                check.out = Some(Out { back: true, ..out });
                self.ask_alive(context, side, probe.tries);
            }
            (Way::Open, _) => self.lose(context, side, signal),
        }
    }

    /// Returns true for one whose voice has gone, and who has phones here that may have the call: what stands at an
    /// upstream is no use to who hears nothing of it.
    fn is_missed(&self, context: &Context<'_>, side: Side) -> bool {
        let party = self.party(side);
        let settings = &context.shared.settings;
        let other_half = |leg: &Leg| context.is_other_half(leg);
        party.due
            && party.silent
            && !party.leg.as_ref().is_some_and(other_half)
            && upstream_of(&party.aor, settings).is_none()
            && !routing::endpoints(&party.aor, context.now, settings, &*context.world).is_empty()
    }

    /// Returns true where what a side does not answer may be lost on a way that is broken: its probes tell.
    pub(crate) fn may_be_cut_off(&self, context: &Context<'_>, side: Side) -> bool {
        let upstreams = &context.shared.upstreams;
        let waits = context.shared.settings.detect.outage > Millis(0);
        let leg = self.party(side).leg.as_ref().filter(|_| waits);
        leg.is_some_and(|leg| {
            let names = context.on_the_way(leg);
            let mut probed = names.iter().map(|name| upstreams.probed_of(name));
            context.is_other_half(leg) || probed.any(|hops| !hops.is_empty())
        })
    }

    /// Returns until when a side that says nothing is waited for, and what the way there is. None: no longer.
    fn out_as_of(&self, context: &Context<'_>, side: Side) -> Option<(Out, Way)> {
        let party = self.party(side);
        let (check, leg) = (party.check.as_ref()?, party.leg.as_ref()?);
        let anew = Out {
            until: context.now + context.shared.settings.detect.outage,
            back: false,
        };
        let out = check.out.unwrap_or(anew);
        let way = match context.is_cut_off(leg, check.asked) {
            true => Way::Broken,
            false => Way::Open,
        };
        (out.until > context.now).then_some((out, way))
    }

    /// Returns true for a side that is waited for until the way there is open again.
    pub(crate) fn is_out(&self, side: Side) -> bool {
        let check = self.party(side).check.as_ref();
        check.is_some_and(|check| check.out.is_some())
    }

    /// Who is waited for is asked once more, and by all tries where the way there is open again.
    pub(super) fn ask_once_more(&mut self, context: &mut Context<'_>, side: Side) {
        let tries = self.probing(context).tries;
        let out = self.out_as_of(context, side);
        let Some(check) = self.party_mut(side).check.as_mut() else {
            return;
        };
        let signal = check.signal.unwrap_or(Signal::ProbeTimeout);
        let Some((out, way)) = out else {
            return self.lose(context, side, signal);
        };
        let back = way == Way::Open;
        if !back && context.now < check.asked + ANSWERED_WITHIN {
            check.next = Some(out.until.min(context.now + PROBED_WITHIN));
            return;
        }
        if back && out.back {
            // It was asked since, and the upstream has answered after that.
            return self.lose(context, side, signal);
        }
        check.out = Some(Out { back, ..out });
        self.ask_alive(context, side, if back { tries } else { 1 });
    }

    /// The upstream that a side is asked through for the last time is asked, too: whose silence is it?
    pub(super) fn ask_the_way(&self, context: &mut Context<'_>, side: Side) {
        let leg = self.party(side).leg.as_ref();
        let names = leg.map_or_else(Vec::new, |leg| context.on_the_way(leg));
        for name in names {
            let upstreams = &context.shared.upstreams;
            let mut hops = upstreams.probed_of(&name);
            hops.retain(|hop| !upstreams.is_hurried(hop));
            for hop in hops {
                let (sign, at) = (Sign::Doubted, context.now);
                context.observe(Observation { hop, sign, at });
            }
        }
    }
}

impl Context<'_> {
    /// Returns the upstreams that a leg goes through, as far as that is known: one of them it is.
    fn on_the_way(&self, leg: &Leg) -> Vec<Box<str>> {
        let Some(through) = &leg.endpoint.through else {
            return leg.callers();
        };
        let names = hop_of(through).map(|hop| self.shared.upstreams.names_of(&hop));
        let names = names.unwrap_or_default().into_iter();
        names.map(|(name, _)| name).collect()
    }

    /// Returns true for a leg that may go through one of these upstreams.
    pub(crate) fn is_through(&self, leg: &Leg, upstreams: &[Box<str>]) -> bool {
        let on_the_way = self.on_the_way(leg);
        on_the_way.iter().any(|name| upstreams.contains(name))
    }

    /// Returns true where the silence of a leg since then may be that of the way there.
    fn is_cut_off(&self, leg: &Leg, since: Time) -> bool {
        let names = self.on_the_way(leg);
        let upstreams = &self.shared.upstreams;
        let mut on_the_way = names.iter();
        self.is_other_half(leg)
            || !names.is_empty() && on_the_way.all(|name| upstreams.is_silent(name, since))
    }

    /// Returns true for a leg whose far end shows our own Contact: a proxy or a PBX has led the call back to us.
    pub(crate) fn is_other_half(&self, leg: &Leg) -> bool {
        let ours = self.world.advertised(&leg.dialog.flow);
        let led = !leg.dialog.routes.is_empty() || leg.is_beyond();
        led && Uri::parse(&leg.dialog.target).is_ok_and(|target| {
            let at = target.host_ip().map(|ip| ip.to_canonical());
            target.user == Some("refork")
                && at == Some(ours.ip().to_canonical())
                && target.port == Some(ours.port())
        })
    }
}
