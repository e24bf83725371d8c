//! UPDATE or re-INVITE of the session that stands: does the endpoint hold the dialog?

use super::check::Step;
use super::outcome::{self, is_away};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, What, end_with, retry_after};
use crate::engine::conversation::leg::Leg;
use crate::engine::events::Signal;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::time::{Millis, Time};
use crate::sip::{Message, Method};

impl Conversation {
    /// Asks the dialog itself.
    pub(super) fn doubt(&mut self, context: &mut Context<'_>, side: Side) {
        let left = self.probing(context).tries.saturating_sub(1);
        self.doubt_with(context, side, left);
    }

    /// Returns true where a phone that denies its dialog, in answer to anything but an offer, may know no more than the
    /// method: it is heard, has just taken the call, or was found to have its dialog before. An offer decides.
    pub(crate) fn is_asked_first(&self, now: Time, side: Side) -> bool {
        let party = self.party(side);
        let stood = |leg: &Leg| party.trust.has_stood(leg.id);
        let relapses = party.relapses.as_deref();
        self.is_heard(side)
            || relapses.is_some_and(|relapses| relapses.has_just_taken(now))
            || party.leg.as_ref().is_some_and(stood)
    }

    /// The same where it may have been asked already: then its answer decides.
    pub(super) fn doubt_now(&mut self, context: &mut Context<'_>, side: Side) {
        let left = self.probing(context).tries.saturating_sub(1);
        let check = self.party(side).check.as_ref();
        if check.is_some_and(|check| check.dialog) {
            self.doubts(context, side, left);
        } else {
            self.doubt_with(context, side, left);
        }
    }

    pub(super) fn doubt_with(&mut self, context: &mut Context<'_>, side: Side, left: u32) {
        let check = self.party(side).check.as_ref();
        let moved = check.is_some_and(|check| check.signal == Some(Signal::Moved));
        let leg = self.party(side).leg.as_ref();
        if leg.is_some_and(|leg| leg.is_asked_still(context)) {
            // What was taken back decides nothing, and has its time.
            let pause = self.probing(context).timeout;
            return self.doubts_after(context, side, left + 1, pause);
        }
        if self.ask_dialog(context, side) {
            self.doubts(context, side, left);
        } else if moved {
            // Another offer is open, and went there too: its outcome decides of the dialog.
            self.ask_alive(context, side, left + 1);
        } else if self.is_asked_in_vain(context, side) {
            self.doubts(context, side, left);
        } else {
            self.alive(context, side);
        }
    }

    /// Returns true where an offer of ours is out in its dialog, a refresh perhaps, to which nothing at all has come back
    /// yet: that asks the dialog as well.
    fn is_asked_in_vain(&self, context: &Context<'_>, side: Side) -> bool {
        let leg = self.party(side).leg.as_ref();
        let out = leg.and_then(|leg| leg.reinvite);
        out.is_some_and(|client| context.shared.transactions.is_silent(client))
    }

    /// The dialog is asked, and has its time for an answer.
    fn doubts(&mut self, context: &mut Context<'_>, side: Side, left: u32) {
        let probe = self.probing(context);
        if let Some(check) = self.party_mut(side).check.as_mut() {
            check.step = Step::Doubted { left };
            check.next = Some(context.now + probe.timeout.times(u64::from(probe.tries.max(1))));
            check.asked = context.now;
        }
        self.ask_the_way(context, side);
    }

    /// Offers the session that stands: by UPDATE, or re-INVITE where Allow lacks it. Returns false where an offer
    /// is open.
    pub(super) fn ask_dialog(&mut self, context: &mut Context<'_>, side: Side) -> bool {
        let id = self.id;
        let Some(leg) = self.leg_mut(side) else {
            return false;
        };
        let Some(offered) = leg.may_offer(context) else {
            return false;
        };
        leg.negotiation = offered;
        let told = leg.talk.tell_standing();
        let method = leg.abilities.offers_by();
        leg.request(context, id, &method, What::Doubt, |builder| {
            end_with(
                builder,
                Some("application/sdp"),
                told.as_deref().unwrap_or("").as_bytes(),
            )
        });
        true
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
        let check = self.party(side).check.as_ref();
        let (signal, denied) = check.map_or((None, false), |check| (check.signal, check.denied));
        let beside = check.and_then(|check| match check.step {
            Step::Asked { .. } | Step::Waiting if check.dialog => Some(true),
            // It may have been asked before its media began.
            Step::Doubted { .. } | Step::Waiting | Step::Out => Some(false),
            Step::Idle | Step::Asked { .. } | Step::PutOff { .. } => None,
        });
        // What it agrees to stands, also where OPTIONS has settled the doubt before.
        if (200..300).contains(&status)
            && let Some(leg) = self.leg_mut(side)
        {
            (leg.heard, leg.elsewhere) = (context.now, None);
            let another = leg.agreed(response, flow);
            // Its dialog answers, and it does not: it knows no OPTIONS.
            leg.denies_options |= denied || beside == Some(true) && !leg.answers_options;
            if another {
                self.configure(context, side);
            }
            self.persist(context);
        }
        if beside.is_none() {
            return;
        }
        if outcome::ends_dialog(status) {
            return self.denied(context, side, signal.unwrap_or(Signal::ProbeRefused));
        }
        if is_away(status) {
            return self.doubt_later(context, side, response);
        }
        let now = context.now;
        let party = self.party_mut(side);
        if let Some(leg) = &party.leg {
            party.trust.dialog_stands(leg.id, now);
        }
        self.alive(context, side);
    }

    /// Somebody on the way has refused it, which says nothing of the dialog (RFC 5057 5.1): it is asked again.
    fn doubt_later(&mut self, context: &Context<'_>, side: Side, response: &Message) {
        let probe = self.probing(context);
        let after = retry_after(response).map(|after| after.min(probe.interval));
        let pause = after.unwrap_or(probe.timeout).max(probe.timeout);
        let check = self.party(side).check.as_ref();
        if let Some(Step::Doubted { left }) = check.map(|check| check.step) {
            self.doubts_after(context, side, left, pause);
        }
    }

    /// The dialog is asked after a while.
    fn doubts_after(&mut self, context: &Context<'_>, side: Side, left: u32, pause: Millis) {
        if let Some(check) = self.party_mut(side).check.as_mut() {
            check.dialog = false;
            check.step = Step::PutOff { left };
            check.next = Some(context.now + pause);
        }
    }

    pub(crate) fn doubt_unanswered(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        unreachable: bool,
    ) {
        let Some(side) = self.side_of(leg) else {
            return;
        };
        let Some(check) = self.party(side).check.as_ref() else {
            return;
        };
        let (step, beside) = (check.step, check.dialog);
        let signal = check.signal.unwrap_or(Signal::ProbeRefused);
        match step {
            Step::Doubted { .. } if self.is_asked_where_it_was(context, side, signal) => {}
            // No more than ICMP's word against its media: it may yet say where it is.
            Step::Doubted { .. } if unreachable && self.may_wait(context, side) => self.wait(side),
            Step::Doubted { .. } => self.is_unheard(context, side, signal),
            Step::Asked { .. } if beside => self.probe_unanswered(context, leg),
            Step::Idle | Step::Asked { .. } | Step::Waiting | Step::PutOff { .. } | Step::Out => {}
        }
    }
}
