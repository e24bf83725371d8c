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
use crate::engine::ids::{Flow, Side};
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
    wait: Wait,
}

/// How it is waited for.
///
/// ```text
///          asked in vain, way broken               asked again, way broken
///    None ──────────────────────────► Away ◄────────────────────────────── Back
///     │                                │                                    │ ▲
///     │ way open                       └──────── way open: asked it all ────┼─┘
///     ▼                                                                     │
///    lost ◄─────────────────────── way open ────────────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Not at all.
    None,
    /// Nothing is heard of the way there.
    Away,
    /// The way there is open again since, and all that is asked now counts.
    Back,
}

/// What is seen of a side of which nothing is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// The way there is open.
    Open,
    /// It is broken, and what the side was asked has just come to nothing.
    InVain,
    /// It is broken, as far as it has had the time to answer since the side was asked.
    Lately,
    /// It is broken, and it is time to ask the side again.
    Due,
    /// It was waited for long enough.
    Over,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Lose,
    /// By all tries.
    AskAll,
    AskOnce,
    /// The way is asked, and soon it is looked at what it says.
    AskTheWay,
    LookSoon,
    /// Until it is asked by routine.
    Rest,
}

impl Wait {
    /// Returns the next state, and what is to be done.
    #[rustfmt::skip]
    fn after(self, seen: Seen) -> (Self, Act) {
        use Seen as S;
        match (self, seen) {
            (Self::None | Self::Away | Self::Back, S::Over) => (Self::None, Act::Lose),

            // It was asked since, and the way has answered after that.
            (Self::None | Self::Back, S::Open) => (Self::None, Act::Lose),
            // What it was asked may have come to nothing before that.
            (Self::Away, S::Open) => (Self::Back, Act::AskAll),

            // The way may not have had the time yet to answer after what was asked last.
            (Self::None, S::InVain) => (Self::Away, Act::AskTheWay),
            (Self::Back, S::InVain) => (Self::Back, Act::AskTheWay),
            (Self::Away, S::InVain) => (Self::Away, Act::Rest),

            (Self::None | Self::Away | Self::Back, S::Lately) => (self, Act::LookSoon),
            (Self::None | Self::Away | Self::Back, S::Due) => (Self::Away, Act::AskOnce),
        }
    }
}

impl Conversation {
    /// Nothing is heard of a side: it is lost, unless that may be the way there.
    pub(crate) fn is_unheard(&mut self, context: &mut Context<'_>, side: Side, signal: Signal) {
        if self.is_missed(context, side) {
            return self.lose(context, side, signal);
        }
        self.waits(context, side, signal, Seen::InVain);
    }

    /// Who is waited for is asked once more, and by all tries where the way there is open again.
    pub(super) fn ask_once_more(&mut self, context: &mut Context<'_>, side: Side) {
        let Some(check) = self.party(side).check.as_ref() else {
            return;
        };
        let signal = check.signal.unwrap_or(Signal::ProbeTimeout);
        let broken = match context.now < check.asked + ANSWERED_WITHIN {
            true => Seen::Lately,
            false => Seen::Due,
        };
        self.waits(context, side, signal, broken);
    }

    /// Goes on as the table says; `broken` is what is seen where the way is.
    fn waits(&mut self, context: &mut Context<'_>, side: Side, signal: Signal, broken: Seen) {
        let (probe, now) = (self.probing(context), context.now);
        let party = self.party(side);
        let (Some(check), Some(leg)) = (party.check.as_ref(), party.leg.as_ref()) else {
            return self.lose(context, side, signal);
        };
        let out = check.out.unwrap_or(Out {
            until: now + context.shared.settings.detect.outage,
            wait: Wait::None,
        });
        let seen = match context.is_cut_off(leg, check.asked) {
            _ if out.until <= now => Seen::Over,
            true => broken,
            false => Seen::Open,
        };
        let (wait, act) = out.wait.after(seen);
        let pause = match act {
            Act::Lose => return self.lose(context, side, signal),
            Act::AskAll | Act::AskOnce => None,
            Act::AskTheWay | Act::LookSoon => Some(PROBED_WITHIN),
            Act::Rest => Some(probe.interval),
        };
        if let Some(check) = self.party_mut(side).check.as_mut() {
            check.out = Some(Out { wait, ..out });
            if let Some(pause) = pause {
                check.step = Step::Out;
                check.next = Some(out.until.min(now + pause));
            }
        }
        match act {
            Act::AskAll => self.ask_alive(context, side, probe.tries),
            Act::AskOnce => self.ask_alive(context, side, 1),
            Act::AskTheWay => {
                self.becomes_suspect(context, side, signal);
                self.ask_the_way(context, side);
            }
            Act::Lose | Act::LookSoon | Act::Rest => {}
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
            let names = context.stands_between(leg);
            let mut probed = names.iter().map(|name| upstreams.probed_of(name));
            context.is_other_half(leg) || probed.any(|hops| !hops.is_empty())
        })
    }

    /// Returns true for a side that is waited for until the way there is open again.
    pub(crate) fn is_out(&self, side: Side) -> bool {
        let check = self.party(side).check.as_ref();
        check.is_some_and(|check| check.out.is_some())
    }

    /// The upstream that a side is asked through for the last time is asked, too: whose silence is it?
    pub(super) fn ask_the_way(&self, context: &mut Context<'_>, side: Side) {
        let leg = self.party(side).leg.as_ref();
        let names = leg.map_or_else(Vec::new, |leg| context.stands_between(leg));
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
    pub(crate) fn on_the_way(&self, leg: &Leg) -> Vec<Box<str>> {
        let Some(through) = &leg.endpoint.through else {
            return leg.callers();
        };
        let names = hop_of(through).map(|hop| self.shared.upstreams.names_of(&hop));
        let names = names.unwrap_or_default().into_iter();
        names.map(|(name, _)| name).collect()
    }

    /// The same of those whose silence would be the leg's: who has called by way of an upstream may be reached past its
    /// targets, as one that comes from its `sources`.
    fn stands_between(&self, leg: &Leg) -> Vec<Box<str>> {
        let mut names = self.on_the_way(leg);
        let called = leg.endpoint.through.is_none() || !leg.callers().is_empty();
        if called && !names.is_empty() {
            let peers = [&self.shared.peers, &self.shared.doubted];
            let hops: Vec<Flow> = self.course(&leg.dialog).flows().collect();
            let is_at = |name: &str, flow: &Flow| {
                let ip = flow.peer.ip();
                peers.iter().any(|peers| peers.stands_at(name, ip))
            };
            names.retain(|name| hops.iter().any(|flow| is_at(name, flow)));
        }
        names
    }

    /// Returns true for a leg that may go through one of these upstreams.
    pub(crate) fn is_through(&self, leg: &Leg, upstreams: &[Box<str>]) -> bool {
        let on_the_way = self.on_the_way(leg);
        on_the_way.iter().any(|name| upstreams.contains(name))
    }

    /// Returns true where the silence of a leg since then may be that of the way there.
    fn is_cut_off(&self, leg: &Leg, since: Time) -> bool {
        let names = self.stands_between(leg);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn every_pair() {
        use Wait::{Away, Back, None};
        for (seen, none, away, back) in [
            (Seen::Open, (None, Act::Lose), (Back, Act::AskAll), (None, Act::Lose)),
            (Seen::InVain, (Away, Act::AskTheWay), (Away, Act::Rest), (Back, Act::AskTheWay)),
            (Seen::Lately, (None, Act::LookSoon), (Away, Act::LookSoon), (Back, Act::LookSoon)),
            (Seen::Due, (Away, Act::AskOnce), (Away, Act::AskOnce), (Away, Act::AskOnce)),
            (Seen::Over, (None, Act::Lose), (None, Act::Lose), (None, Act::Lose)),
        ] {
            for (wait, wanted) in [(None, none), (Away, away), (Back, back)] {
                assert_eq!(wait.after(seen), wanted, "{wait:?} {seen:?}");
            }
        }
    }
}
