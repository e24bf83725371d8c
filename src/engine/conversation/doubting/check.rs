//! Is the endpoint still there? Signs of loss, and the probes that settle them.
//!
//! ```text
//!  Idle ── no life for `probe.interval` ──► Asked ── answered ──► Idle
//!   │                                        │ │
//!   └── a sign ──► Asked (suspect)           │ └─ 481 ─► Doubted ── 2xx ──► Idle
//!                    │ media still flows:    │             │
//!                    └─► waits `grace`  ─────┴─────────────┴── no, or nothing ──► lost
//! ```
//!
//! A phone that denies OPTIONS in a dialog which it then is found to hold is doubted from Idle, and seldom.

use super::outcome;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, What, end_with};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::restoring::reach::way_anew;
use crate::engine::conversation::session::enclosed::sdp_of;
use crate::engine::dialog::Act;
use crate::engine::events::{Happening, Signal};
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::location;
use crate::engine::settings::{Kind, ProbeSettings};
use crate::engine::time::{Millis, Time};
use crate::sip::{Builder, Message, Method};

/// After a suspicion that came to nothing, the same kind of sign is left alone for so long.
const TRUST: Millis = Millis::from_secs(30);
/// An offer asks more of a phone than OPTIONS does: so many times rarer.
const SELDOM: u64 = 4;
/// Where the operator wants no probes, a suspicion still has to be settled.
const PROBE: ProbeSettings = ProbeSettings {
    interval: Millis::from_secs(15),
    timeout: Millis::from_secs(4),
    tries: 2,
};

/// The watch over one leg.
#[derive(Debug)]
pub(crate) struct Check {
    /// None: no more than routine.
    pub(crate) signal: Option<Signal>,
    pub(crate) next: Option<Time>,
    step: Step,
    /// Media still flows: no verdict before then.
    grace: Time,
    /// A connection that is closed: no probe goes there.
    pub(super) dead: Option<Box<Flow>>,
    /// It is closed, and who could only be asked over a new one need not take that: media is life.
    unasked: bool,
    /// OPTIONS was denied.
    denied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    /// Probes are out: tries left after these, and how many still may be answered.
    Asked {
        left: u32,
        out: u32,
    },
    /// Nothing more is asked; at the end of the grace it is lost.
    Waiting,
    Doubted,
}

impl Conversation {
    /// Begins the routine watch over a side's new leg.
    pub(crate) fn watch(&mut self, context: &mut Context<'_>, side: Side) {
        let wanted = context.shared.settings.detect.probe.is_some();
        let next = wanted.then(|| context.now + self.pace(context, side));
        let party = self.party_mut(side);
        let flow = party.leg.as_ref().map(|leg| leg.dialog.flow);
        let before = party.check.as_mut().and_then(|check| check.dead.take());
        party.check = Some(Check {
            signal: None,
            next,
            step: Step::Idle,
            grace: context.now,
            dead: before.filter(|dead| flow == Some(**dead)),
            unasked: false,
            denied: false,
        });
    }

    /// The endpoint said something within its dialog.
    pub(crate) fn shows_life(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        if let Some(leg) = self.leg_mut(side) {
            leg.seen = now;
        }
        if self
            .party(side)
            .check
            .as_ref()
            .is_some_and(|check| check.signal.is_some() || check.step == Step::Doubted)
        {
            self.alive(context, side);
        }
    }

    /// A suspicion came to nothing.
    pub(super) fn alive(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        let suspected = self
            .party(side)
            .check
            .as_ref()
            .is_some_and(|check| check.signal.is_some());
        self.watch(context, side);
        let party = self.party_mut(side);
        if let Some(leg) = party.leg.as_mut() {
            leg.seen = now;
        }
        if suspected {
            party.trusted_until = now + TRUST;
            self.note(context, Happening::Alive { side });
            self.pump(context, side);
        }
    }

    /// A sign that a side may be lost.
    pub(crate) fn suspect(&mut self, context: &mut Context<'_>, side: Side, signal: Signal) {
        let detect = &context.shared.settings.detect;
        let wanted = match signal {
            Signal::Transport | Signal::MediaUnreachable => detect.transport,
            Signal::Registration | Signal::Moved => detect.registration,
            Signal::RequestFailed
            | Signal::NoAnswer
            | Signal::ProbeTimeout
            | Signal::ProbeRefused
            | Signal::Silence
            | Signal::FailureBye
            | Signal::NoAck
            | Signal::SessionExpired
            | Signal::Operator => true,
        };
        let grace = context.now + detect.grace;
        let party = self.party(side);
        let soft = matches!(
            signal,
            Signal::MediaUnreachable
                | Signal::Silence
                | Signal::Registration
                | Signal::RequestFailed
        );
        if !wanted
            || !party.is_up()
            || self.answered.is_none()
            || self.closing.is_some()
            || soft && (context.now < party.trusted_until || party.may_not_know())
        {
            return;
        }
        if matches!(signal, Signal::MediaUnreachable | Signal::Silence) {
            self.party_mut(side).flowing = false;
        }
        let before = self
            .party(side)
            .check
            .as_ref()
            .and_then(|check| check.signal);
        if before.is_some() && signal != Signal::Moved {
            return self.suspect_more(context, side, signal);
        }
        let before = self.party_mut(side).check.as_mut();
        let dead = before.and_then(|check| check.dead.take());
        self.note(context, Happening::Suspected { side, signal });
        self.party_mut(side).check = Some(Check {
            signal: Some(signal),
            next: None,
            step: Step::Idle,
            grace: if self.party(side).flowing {
                grace
            } else {
                context.now
            },
            dead,
            unasked: false,
            denied: false,
        });
        match signal {
            // Nothing to wait for: there is no media, and no other way to an IM client.
            Signal::Transport
                if self.kind == Kind::Session && self.flows(context, side).is_empty() =>
            {
                self.lose(context, side, signal)
            }
            Signal::Moved
            | Signal::ProbeRefused
            | Signal::RequestFailed
            | Signal::SessionExpired => self.doubt(context, side),
            Signal::NoAnswer
            | Signal::ProbeTimeout
            | Signal::Transport
            | Signal::MediaUnreachable
            | Signal::Registration
            | Signal::Silence
            | Signal::FailureBye
            | Signal::NoAck
            | Signal::Operator => {
                let tries = self.probing(context).tries;
                self.ask_alive(context, side, tries);
            }
        }
    }

    /// Another sign of who is under suspicion already.
    fn suspect_more(&mut self, context: &mut Context<'_>, side: Side, signal: Signal) {
        let party = self.party_mut(side);
        let flowing = party.flowing;
        let Some(check) = party.check.as_mut() else {
            return;
        };
        match check.step {
            // Without media there is no grace any more.
            Step::Waiting if !flowing => self.lose(context, side, signal),
            // Its host is there and says that nobody listens: the probe that is out is the last.
            Step::Asked { out, .. } if signal == Signal::MediaUnreachable => {
                check.step = Step::Asked { left: 0, out };
            }
            Step::Idle | Step::Asked { .. } | Step::Waiting | Step::Doubted => {}
        }
    }

    fn probing(&self, context: &Context<'_>) -> ProbeSettings {
        context.shared.settings.detect.probe.unwrap_or(PROBE)
    }

    /// Returns after how much quiet a side is asked by routine.
    fn pace(&self, context: &Context<'_>, side: Side) -> Millis {
        let leg = self.party(side).leg.as_ref();
        let seldom = leg.is_some_and(|leg| leg.denies_options);
        let times = if seldom { SELDOM } else { 1 };
        self.probing(context).interval.times(times)
    }

    /// Sends OPTIONS over every flow known for the endpoint.
    fn ask_alive(&mut self, context: &mut Context<'_>, side: Side, tries: u32) {
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
        check.unasked = unasked;
        if flows.is_empty() {
            check.step = Step::Waiting;
            check.next = Some(check.grace.max(context.now));
        } else {
            check.step = Step::Asked {
                left: tries.saturating_sub(1),
                out: flows.len() as u32 + u32::from(sought),
            };
            check.next = Some(context.now + probe.timeout);
        }
    }

    /// Returns the flows that a side's endpoint may be reached over.
    fn flows(&self, context: &Context<'_>, side: Side) -> Vec<Flow> {
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
    fn closed_leg(&self, side: Side) -> Option<&Leg> {
        let party = self.party(side);
        let dead = party.check.as_ref()?.dead.as_deref()?;
        party.leg.as_ref().filter(|leg| leg.dialog.flow == *dead)
    }

    /// Does what the watch over a side wants done now.
    pub(crate) fn check_due(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        let (probe, pace) = (self.probing(context), self.pace(context, side));
        let party = self.party(side);
        let (flowing, unsure) = (party.flowing, party.may_not_know());
        let Some(check) = party
            .check
            .as_ref()
            .filter(|check| check.next.is_some_and(|next| next <= now))
        else {
            return;
        };
        let leg = party.leg.as_ref();
        let Some((seen, denies)) = leg.map(|leg| (leg.seen, leg.denies_options)) else {
            return;
        };
        let (step, signal, grace) = (check.step, check.signal, check.grace);
        match step {
            Step::Idle => {
                let quiet = seen + pace <= now && !flowing && !unsure;
                if quiet && denies {
                    self.doubt(context, side);
                } else if quiet {
                    self.ask_alive(context, side, probe.tries);
                } else if let Some(check) = self.party_mut(side).check.as_mut() {
                    let from = if flowing || unsure { now } else { seen };
                    check.next = Some(from + pace);
                }
            }
            Step::Asked { left, .. } if left > 0 => {
                if signal.is_none() {
                    self.note(
                        context,
                        Happening::Suspected {
                            side,
                            signal: Signal::ProbeTimeout,
                        },
                    );
                    if let Some(check) = self.party_mut(side).check.as_mut() {
                        check.signal = Some(Signal::ProbeTimeout);
                    }
                }
                self.ask_alive(context, side, left);
            }
            Step::Asked { .. } if flowing && grace > now => {
                if let Some(check) = self.party_mut(side).check.as_mut() {
                    check.step = Step::Waiting;
                    check.next = Some(grace);
                }
            }
            Step::Asked { .. } | Step::Waiting if flowing && check.unasked => {
                self.alive(context, side);
            }
            Step::Asked { .. } | Step::Waiting | Step::Doubted => {
                self.lose(context, side, signal.unwrap_or(Signal::ProbeTimeout));
            }
        }
    }

    /// An answer to OPTIONS: any proves the device, but 481 denies the dialog (design: signals of loss).
    pub(crate) fn probe_response(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let Some(side) = self.side_of(leg).filter(|_| response.status() >= 200) else {
            return;
        };
        let asked = self
            .party(side)
            .check
            .as_ref()
            .is_some_and(|check| matches!(check.step, Step::Asked { .. } | Step::Waiting));
        if !asked {
            return;
        }
        match response.status() {
            status if outcome::ends_dialog(status) => {
                if self
                    .party(side)
                    .check
                    .as_ref()
                    .is_some_and(|check| check.signal.is_none())
                {
                    let signal = Signal::ProbeRefused;
                    self.note(context, Happening::Suspected { side, signal });
                    if let Some(check) = self.party_mut(side).check.as_mut() {
                        check.signal = Some(signal);
                    }
                }
                if let Some(check) = self.party_mut(side).check.as_mut() {
                    check.denied = true;
                }
                self.doubt(context, side);
            }
            // A proxy's word that the device is away.
            408 | 480 | 503 | 504 => self.probe_unanswered(context, leg),
            ..300 | 300.. => {
                if let Some(endpoint) = self.found_elsewhere(context, side, flow) {
                    return self.registered(context, side, &endpoint, true);
                }
                self.reconnect(context, side, flow);
                if let Some(leg) = self.leg_mut(side) {
                    leg.heard = context.now;
                }
                self.alive(context, side);
            }
        }
    }

    /// The connection of a leg is closed, and it was found over another one: what follows takes that.
    fn reconnect(&mut self, context: &mut Context<'_>, side: Side, flow: Flow) {
        if self.closed_leg(side).is_some()
            && let Some(leg) = self.leg_mut(side)
        {
            leg.dialog.flow = flow;
            self.persist(context);
        }
    }

    /// A probe could not be delivered.
    pub(crate) fn probe_unanswered(&mut self, context: &mut Context<'_>, leg: LegId) {
        let Some(side) = self.side_of(leg) else {
            return;
        };
        let flowing = self.party(side).flowing;
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
        if flowing && check.grace > context.now {
            check.step = Step::Waiting;
            check.next = Some(check.grace);
            return;
        }
        if flowing && check.unasked {
            return self.alive(context, side);
        }
        let signal = check.signal.unwrap_or(Signal::Transport);
        self.lose(context, side, signal);
    }

    /// Asks the dialog itself, by the session that stands: UPDATE, or re-INVITE where Allow lacks it.
    fn doubt(&mut self, context: &mut Context<'_>, side: Side) {
        let probe = self.probing(context);
        let id = self.id;
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let Ok(offered) = leg.negotiation.step(Act::SendOffer) else {
            // Another offer is open: its outcome decides as well.
            return self.alive(context, side);
        };
        leg.negotiation = offered;
        let told = leg.talk.tell_standing();
        let method = if leg.abilities.update {
            Method::Update
        } else {
            Method::Invite
        };
        leg.request(context, id, &method, What::Doubt, |builder| {
            end_with(
                builder,
                Some("application/sdp"),
                told.as_deref().unwrap_or("").as_bytes(),
            )
        });
        if let Some(check) = self.party_mut(side).check.as_mut() {
            check.step = Step::Doubted;
            check.next = Some(context.now + probe.timeout.times(u64::from(probe.tries.max(1))));
        }
    }

    /// The dialog's own answer.
    pub(crate) fn doubt_response(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let Some(side) = self.side_of(leg) else {
            return;
        };
        let status = response.status();
        if status < 200 {
            return;
        }
        let id = self.id;
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        if (200..300).contains(&status) && *response.method() == Method::Invite {
            leg.acknowledge(context, id, response.cseq(), None);
        }
        if self
            .party(side)
            .check
            .as_ref()
            .is_none_or(|check| check.step != Step::Doubted)
        {
            return;
        }
        let check = self.party(side).check.as_ref();
        let signal = check.and_then(|check| check.signal);
        let denied = check.is_some_and(|check| check.denied);
        if outcome::ends_dialog(status) || matches!(status, 408 | 480 | 503) {
            return self.lose(context, side, signal.unwrap_or(Signal::ProbeRefused));
        }
        if (200..300).contains(&status)
            && let Some(leg) = self.leg_mut(side)
        {
            leg.heard = context.now;
            leg.dialog.refresh_over(response, flow);
            leg.abilities.learn(response);
            let said = sdp_of(response);
            leg.denies_options |= denied;
            if signal == Some(Signal::Moved) {
                // What is under way went to where it no longer is.
                self.send_letter_again(side);
            }
            let Some(leg) = self.leg_mut(side) else {
                return;
            };
            let changed = said.is_some() && said != leg.talk.said;
            if changed {
                leg.talk.said = said;
                self.configure(context, side);
            }
            self.persist(context);
        }
        self.alive(context, side);
    }

    pub(crate) fn doubt_unanswered(&mut self, context: &mut Context<'_>, leg: LegId) {
        let Some(side) = self.side_of(leg) else {
            return;
        };
        let Some(check) = self
            .party(side)
            .check
            .as_ref()
            .filter(|check| check.step == Step::Doubted)
        else {
            return;
        };
        let signal = check.signal.unwrap_or(Signal::ProbeRefused);
        self.lose(context, side, signal);
    }
}
