//! Is the endpoint still there? Signs of loss, and the probes that settle them.
//!
//! ```text
//!  Idle ── no life for `probe.interval` ──► Asked ── answered ──► Idle
//!   │                                        │ │
//!   └── a sign ──► Asked (suspect)           │ └─ 481, or no media ─► Doubted ── 2xx ──► Idle
//!                    │ media still flows:    │                          │ ▲
//!                    │                       │                       503▼ │later
//!                    │                       │                         PutOff
//!                    └─► waits `grace`  ─────┴──────────────────────────┴── no, or nothing ──► lost
//!
//!  nothing, and nothing is heard of the upstream on the way ──► Out (`outage`)
//!  lost, and its media comes, and it was elsewhere before ──► Doubted there, once (`moving`)
//! ```
//!
//! An answer to OPTIONS proves the device. Where nothing is heard of its media it may have forgotten the call, and
//! the dialog is asked too: after a silence once `grace` is over, in which a speaker may go on. Who never answered
//! OPTIONS is asked by the dialog beside the last try. A phone that denies or ignores OPTIONS in a dialog which it
//! then is found to hold is doubted from Idle, and seldom. A caller that has not acknowledged our 2xx may not know its
//! dialog: it is asked by OPTIONS alone, and lives by any answer.

use super::outage::Out;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::events::{Happening, Signal};
use crate::engine::ids::{Flow, Side};
use crate::engine::settings::{Kind, ProbeSettings};
use crate::engine::time::{Millis, Time};

/// An offer asks more of a phone than OPTIONS does: so many times rarer.
const SELDOM: u64 = 4;
/// How long a phone has to be heard after ICMP has said that nobody takes its media: one that has moved is believed at
/// its new address half a second after it was heard at the old one last.
const HEARD_ON: Millis = Millis(700);
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
    pub(super) step: Step,
    /// Media still flows: no verdict before then.
    pub(super) grace: Time,
    /// It has that grace, which is given once to a suspicion.
    pub(super) granted: bool,
    /// A connection that is closed: no probe goes there.
    pub(super) dead: Option<Box<Flow>>,
    /// ICMP says that nobody takes what goes to it over the flow of its leg.
    pub(super) astray: bool,
    /// It is closed, and who could only be asked over a new one need not take that: media is life.
    pub(super) unasked: bool,
    /// OPTIONS was denied.
    pub(super) denied: bool,
    /// ICMP says that nobody takes its media.
    pub(super) refused: bool,
    /// ICMP that proves nothing says that nobody takes what it is asked.
    pub(super) hurried: bool,
    /// The sign is one of a phone that has forgotten its call, too.
    pub(super) unproven: bool,
    /// The dialog is asked beside OPTIONS.
    pub(super) dialog: bool,
    /// When it was asked last.
    pub(super) asked: Time,
    /// It is waited for, since the way there is broken.
    pub(super) out: Option<Out>,
    /// It registered then as one that has begun anew, and may have forgotten its call.
    pub(super) anew: Option<Time>,
}

impl Check {
    pub(super) fn new(now: Time) -> Self {
        Self {
            signal: None,
            next: None,
            step: Step::Idle,
            grace: now,
            granted: false,
            dead: None,
            astray: false,
            unasked: false,
            denied: false,
            refused: false,
            hurried: false,
            unproven: false,
            dialog: false,
            asked: now,
            out: None,
            anew: None,
        }
    }

    pub(crate) fn is_anew(&self) -> bool {
        self.anew.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Idle,
    /// Probes are out: tries left after these, and how many still may be answered.
    Asked {
        left: u32,
        out: u32,
    },
    /// Nothing more is asked; at the end of the grace it is lost.
    Waiting,
    /// The dialog is asked: tries left after this one.
    Doubted {
        left: u32,
    },
    /// It is asked in a moment: a speaker may go on, or somebody on the way has refused it.
    PutOff {
        left: u32,
    },
    /// The way there is broken: it is asked again in a while.
    Out,
}

/// Returns true for signs that a phone shows as well which is there, and has forgotten its call.
fn is_of_the_dialog(signal: Signal) -> bool {
    matches!(
        signal,
        Signal::Silence | Signal::MediaUnreachable | Signal::Registration
    )
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
            next,
            dead: before.filter(|dead| flow == Some(**dead)),
            ..Check::new(context.now)
        });
    }

    /// The endpoint said something within its dialog.
    pub(crate) fn shows_life(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        if let Some(leg) = self.leg_mut(side) {
            leg.seen = now;
            leg.elsewhere = None;
        }
        if self.party(side).check.as_ref().is_some_and(|check| {
            let doubted = matches!(check.step, Step::Doubted { .. } | Step::PutOff { .. });
            check.signal.is_some() || doubted
        }) {
            self.alive(context, side);
        }
    }

    /// A suspicion came to nothing.
    pub(super) fn alive(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        let check = self.party(side).check.as_ref();
        let suspected = check.and_then(|check| check.signal);
        let refused = check.is_some_and(|check| check.refused);
        self.watch(context, side);
        if suspected == Some(Signal::Moved) {
            // The relay takes what comes from where its signalling does, whatever its SDP says.
            self.configure(context, side);
            // What is under way went to where it no longer is.
            self.send_letter_again(side);
        }
        let party = self.party_mut(side);
        if let Some(leg) = party.leg.as_mut() {
            leg.seen = now;
        }
        if let Some(signal) = suspected {
            if let Some(leg) = party.leg.as_ref() {
                let silent = party.silent;
                party.trust.begin(leg.id, signal, silent, refused, now);
            }
            let endpoint = self.endpoint_of(side);
            self.note(context, Happening::Alive { side, endpoint });
            // An offer that did not reach it was answered without it.
            self.catch_up_with_who_is_there(context, side);
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
            | Signal::Superseded
            | Signal::NoAck
            | Signal::SessionExpired
            | Signal::Operator => true,
        };
        let refused = signal == Signal::MediaUnreachable;
        let grace = if refused {
            detect.grace.min(HEARD_ON)
        } else {
            detect.grace
        };
        let grace = context.now + grace;
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
            || self.may_be_forged(context, side)
            || soft && self.is_left_alone(context.now, side, signal)
        {
            return;
        }
        let before = self.party(side).check.as_ref();
        let before = before.filter(|_| signal != Signal::Moved);
        if before.is_some_and(|check| check.signal.is_some()) {
            return self.suspect_more(context, side, signal);
        }
        if before.is_some_and(|check| matches!(check.step, Step::Doubted { .. })) {
            // By routine its dialog is asked already, and the answer to that decides.
            self.becomes_suspect(context, side, signal);
            return;
        }
        let silence = context.shared.settings.detect.media_silence;
        let before = self.party_mut(side).check.as_mut();
        let (dead, anew) = before.map_or((None, None), |check| (check.dead.take(), check.anew));
        // What it said after that is no word of one that has forgotten its call.
        let anew = anew.filter(|at| silence.is_none_or(|silence| *at + silence >= context.now));
        self.note_suspected(context, side, signal);
        let waits = self.party(side).flowing;
        self.party_mut(side).check = Some(Check {
            signal: Some(signal),
            grace: if waits { grace } else { context.now },
            granted: waits && !refused,
            dead,
            refused,
            unproven: is_of_the_dialog(signal),
            anew,
            ..Check::new(context.now)
        });
        match signal {
            // Nothing to wait for: there is no media, and no other way to an IM client.
            Signal::Transport
                if self.kind == Kind::Session && self.flows(context, side).is_empty() =>
            {
                self.is_unheard(context, side, signal)
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
            | Signal::Superseded
            | Signal::NoAck
            | Signal::Operator => {
                let tries = self.probing(context).tries;
                self.ask_alive(context, side, tries);
            }
        }
    }

    /// A sign of somebody that was found to be well a moment ago, or of a dialog that it may not know yet: it is
    /// looked at later.
    pub(super) fn is_left_alone(&mut self, now: Time, side: Side, signal: Signal) -> bool {
        let party = self.party_mut(side);
        let unsure = party.may_not_know() && signal == Signal::RequestFailed;
        let Some(leg) = party.leg.as_ref() else {
            return true;
        };
        if unsure {
            party.trust.put_off(leg.id, signal, now);
        }
        unsure || party.trust.leaves(leg.id, signal, now)
    }

    /// What was asked by routine is asked of a suspect from now on. Returns false where it was one.
    pub(super) fn becomes_suspect(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        signal: Signal,
    ) -> bool {
        let check = self.party_mut(side).check.as_mut();
        let Some(check) = check.filter(|check| check.signal.is_none()) else {
            return false;
        };
        check.signal = Some(signal);
        self.note_suspected(context, side, signal);
        true
    }

    fn note_suspected(&mut self, context: &mut Context<'_>, side: Side, signal: Signal) {
        let suspected = Happening::Suspected {
            side,
            signal,
            endpoint: self.endpoint_of(side),
        };
        self.note(context, suspected);
    }

    /// Another sign of who is under suspicion already.
    fn suspect_more(&mut self, context: &mut Context<'_>, side: Side, signal: Signal) {
        let asked_at_both = self.is_asked_at_both(side);
        let party = self.party_mut(side);
        let Some(check) = party.check.as_mut() else {
            return;
        };
        check.unproven |= is_of_the_dialog(signal);
        if signal == Signal::MediaUnreachable {
            (check.refused, check.granted) = (true, false);
            check.grace = check.grace.min(context.now + HEARD_ON);
        }
        match check.step {
            // Without media there is no grace any more.
            Step::Waiting if !party.flowing => self.is_unheard(context, side, signal),
            Step::Waiting if check.refused => check.next = Some(check.grace),
            // Its host is there and says that nobody listens: the probe that is out is the last. Both kinds of ICMP can
            // be forged, and do no more than one.
            Step::Asked { out, .. } if signal == Signal::MediaUnreachable && !check.hurried => {
                check.step = Step::Asked { left: 0, out };
                self.ask_dialog_beside(context, side);
            }
            // It was asked where it was since it was heard there.
            Step::Doubted { .. } if signal == Signal::Silence && asked_at_both => {
                self.lose(context, side, Signal::Moved);
            }
            // A speaker that has closed its port, or has begun anew, does not go on.
            Step::PutOff { left }
                if matches!(signal, Signal::MediaUnreachable | Signal::Registration) =>
            {
                self.doubt_with(context, side, left.saturating_sub(1));
            }
            // OPTIONS would prove the device alone.
            Step::Asked { .. } | Step::Waiting | Step::Out if signal == Signal::RequestFailed => {
                self.doubt_now(context, side);
            }
            Step::Idle
            | Step::Asked { .. }
            | Step::Waiting
            | Step::Doubted { .. }
            | Step::PutOff { .. }
            | Step::Out => {}
        }
    }

    /// Returns true where its media comes, as far as anybody can tell.
    pub(crate) fn is_heard(&self, side: Side) -> bool {
        let party = self.party(side);
        let refused = party.check.as_ref().is_some_and(|check| check.refused);
        party.flowing && !refused
    }

    /// The same where somebody would say that it has stopped: without a time of silence nobody does.
    pub(crate) fn is_watched_and_heard(&self, context: &Context<'_>, side: Side) -> bool {
        context.shared.settings.detect.media_silence.is_some() && self.is_heard(side)
    }

    /// Media comes from who is suspected for another reason: it has the grace that it would have had.
    pub(super) fn flows_again(&mut self, context: &Context<'_>, side: Side) {
        let until = context.now + context.shared.settings.detect.grace;
        if let Some(check) = self.party_mut(side).check.as_mut()
            && check.signal.is_some()
        {
            check.refused = false;
            if !std::mem::replace(&mut check.granted, true) {
                check.grace = check.grace.max(until);
            }
        }
    }

    /// Returns true where a sign says less than the media that still comes: its registration is gone, or its
    /// signalling goes astray, and the two talk on.
    pub(super) fn talks_on(&self, context: &Context<'_>, side: Side) -> bool {
        // Without a time of silence nobody would say that it has stopped.
        let check = self.party(side).check.as_ref();
        let outweighed = check.is_some_and(|check| {
            let slight = matches!(check.signal, Some(Signal::Registration | Signal::Transport));
            check.unasked || slight
        });
        outweighed && self.is_watched_and_heard(context, side)
    }

    pub(crate) fn probing(&self, context: &Context<'_>) -> ProbeSettings {
        context.shared.settings.detect.probe.unwrap_or(PROBE)
    }

    /// Returns after how much quiet a side is asked by routine.
    fn pace(&self, context: &Context<'_>, side: Side) -> Millis {
        let leg = self.party(side).leg.as_ref();
        let seldom = leg.is_some_and(|leg| leg.denies_options);
        let times = if seldom { SELDOM } else { 1 };
        self.probing(context).interval.times(times)
    }

    /// Does what the watch over a side wants done now.
    pub(crate) fn check_due(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        self.look_again(context, side);
        let (probe, pace) = (self.probing(context), self.pace(context, side));
        let (flowing, talks_on) = (
            self.is_watched_and_heard(context, side),
            self.talks_on(context, side),
        );
        let party = self.party(side);
        let unsure = party.may_not_know();
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
        let (step, signal) = (check.step, check.signal);
        match step {
            Step::Idle => {
                // Its 2xx is asking by itself, for as long as that has no ACK.
                let forged = self.may_be_forged(context, side);
                let quiet = seen + pace <= now && !flowing && !forged;
                if quiet && denies && !unsure {
                    self.doubt(context, side);
                } else if quiet {
                    self.ask_alive(context, side, probe.tries);
                } else if let Some(check) = self.party_mut(side).check.as_mut() {
                    let from = if flowing || forged { now } else { seen };
                    check.next = Some(from + pace);
                }
            }
            Step::Asked { left, .. } if left > 0 => {
                self.becomes_suspect(context, side, Signal::ProbeTimeout);
                self.ask_alive(context, side, left);
            }
            Step::Asked { .. } | Step::Waiting | Step::Doubted { .. }
                if self.is_asked_where_it_was(context, side, Signal::Moved) => {}
            Step::Asked { .. } | Step::Waiting | Step::Doubted { .. }
                if self.may_wait(context, side) =>
            {
                self.wait(side);
            }
            Step::Asked { .. } | Step::Waiting | Step::Out if talks_on => {
                self.alive(context, side);
            }
            Step::Out => self.ask_once_more(context, side),
            Step::PutOff { left } if left > 0 => self.doubt_with(context, side, left - 1),
            Step::Asked { .. } | Step::Waiting | Step::Doubted { .. } | Step::PutOff { .. } => {
                self.is_unheard(context, side, signal.unwrap_or(Signal::ProbeTimeout));
            }
        }
    }

    /// The time is over in which a sign was left alone.
    fn look_again(&mut self, context: &mut Context<'_>, side: Side) {
        let party = self.party_mut(side);
        let leg = party.leg.as_ref().map(|leg| leg.id);
        let heard = party.flowing;
        if let Some(leg) = leg
            && let Some(signal) = party.trust.due(leg, context.now)
            // Its reports come just now: the next silence is looked at.
            && !(heard && signal == Signal::Silence)
        {
            self.suspect(context, side, signal);
        }
    }
}
