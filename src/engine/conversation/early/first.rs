//! One answer to one offer: what the caller was told first in an early dialog stands in it (RFC 3261 13.2.1), and
//! comes no more once it has come reliably (RFC 3262 5). Who answers in it may have agreed to something else,
//! where the caller has one dialog for all phones, or where something beyond us speaks for several under one tag.
//! Where that goes with what the caller was told, the relay maps the one to the other; else the caller is offered
//! it as soon as it has the call.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::early::Role;
use crate::engine::conversation::session::fits::suits;
use crate::engine::ids::{LegId, Side};
use crate::sip::sdp;

impl Conversation {
    /// Early media: the caller is told where it comes from, and the relay what it is. None where the caller
    /// has heard of it, or cannot.
    pub(super) fn early_media(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        at: usize,
        said: &str,
    ) -> Option<Box<str>> {
        // After an answer only an offer can change what is heard.
        let settled = self.early_mut(at)?.settled;
        let may = self.may_be_heard(leg);
        let invitation = self.invitation.as_deref()?;
        let offered = invitation.offer.is_some();
        if !may {
            // It may be once those are gone that have our other addresses.
            let talk = &invitation.early.get(at)?.talk;
            let first = offered && talk.told.is_some();
            if !first || suits(context.shared, talk, said) {
                self.voice_of(context, leg, said);
            }
            return None;
        }
        if settled {
            // Another one that rings in the same dialog may be heard by what the caller knows.
            let tag = invitation.fork.find(leg)?.leg.dialog.remote_tag.as_deref();
            let known = !offered || invitation.voices.has(leg, tag);
            if !known && suits(context.shared, &invitation.early.get(at)?.talk, said) {
                self.configure_branch(context, leg, said);
            }
            return None;
        }
        let role = if offered { Role::Answer } else { Role::Offer };
        let before = self.early_mut(at)?.talk.clone();
        let told = self.tell_early(context, at, said, role)?;
        let first = before.told.clone();
        let first = first.filter(|first| offered && *first != told);
        let goes = first.is_none() || suits(context.shared, &before, said);
        if first.is_some() {
            if let Some(caller) = self.leg_mut(Side::Caller) {
                caller.talk.keys.clone_from(&before.keys);
            }
            self.early_mut(at)?.talk = before;
        }
        if goes {
            self.configure(context, Side::Caller);
            self.configure_branch(context, leg, said);
        }
        Some(first.unwrap_or(told))
    }

    /// Returns what the caller's 2xx says of the session, by what who has the call has said and by what the caller
    /// was told before, which is `settled` where it came reliably.
    pub(crate) fn answer_in(
        &mut self,
        context: &mut Context<'_>,
        settled: bool,
        said: Option<&str>,
        role: Role,
    ) -> Option<Box<str>> {
        let before = self.leg_mut(Side::Caller)?.talk.clone();
        let told = said.and_then(|said| self.tell(context, Side::Caller, said, role));
        let Some(first) = before.told.clone() else {
            return told;
        };
        if told.is_some_and(|told| told != first) {
            let goes = said.is_none_or(|said| suits(context.shared, &before, said));
            let caller = self.leg_mut(Side::Caller)?;
            (caller.talk, caller.misled) = (before, !goes);
        }
        // Once more, it might be taken for an offer (RFC 6337 3.1.1).
        (!settled).then_some(first)
    }

    /// The caller knows of a session that does not go with the one of who has answered: it is offered that, as the
    /// survivor is where a new phone brings another.
    pub(crate) fn set_right(&mut self, context: &mut Context<'_>) {
        let (id, side) = (self.id, Side::Caller);
        let party = self.party(side);
        let due = party.leg.as_ref();
        let due = due.is_some_and(|leg| leg.misled && leg.is_quiet(context));
        let other = self.party(side.other());
        let said = other.leg.as_ref().and_then(|leg| leg.talk.said.clone());
        let Some(said) = said.filter(|_| due) else {
            return;
        };
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let before = leg.talk.clone();
        let told = self.tell(context, side, &said, Role::Offer);
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        // Nobody is asked to agree to nothing.
        let told = told.filter(|told| !sdp::is_mute(said.as_bytes(), told.as_bytes()));
        let (Some(told), Some(open)) = (told, leg.may_offer(context)) else {
            leg.talk.back_to(before);
            leg.misled = false;
            return;
        };
        let method = leg.abilities.offers_by();
        leg.offer_alone(context, id, &method, (open, before), &told);
        self.persist(context);
    }
}
