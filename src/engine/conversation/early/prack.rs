//! PRACK (RFC 3262): each leg has its own. Where both speak reliably and a session description is in it,
//! the callee's waits for the caller's, which may bring an answer, or a new offer.

use super::offers::standing;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, Errand, What, end_with};
use crate::engine::conversation::inviting::Invitation;
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::session::enclosed::sdp_of;
pub(crate) use crate::engine::conversation::session::keys::Role;
use crate::engine::dialog::Dialog;
use crate::engine::dialog::reliable::{Carries, Due, RAck};
use crate::engine::events::Ending;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::settings::Settings;
use crate::engine::time::Time;
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Message, Method, Name};

/// What the caller's INVITE says of reliable responses (RFC 3262 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// It knows none, or we are to send none.
    Never,
    Supported,
    Required,
}

impl Wants {
    pub(crate) fn of(invite: &Message, settings: &Settings) -> Self {
        if !settings.fork.reliable_provisionals {
            Self::Never
        } else if invite.has_token(Name::Require, "100rel") {
            Self::Required
        } else if invite.has_token(Name::Supported, "100rel") {
            Self::Supported
        } else {
            Self::Never
        }
    }

    /// Returns true where a response goes to the caller reliably, which was heard so or not.
    pub(super) fn reliably(self, heard: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Supported => heard,
            Self::Required => true,
        }
    }
}

/// A PRACK that a branch waits for.
#[derive(Debug)]
pub(crate) struct Owed {
    /// The number under which its response went to the caller.
    under: u32,
    leg: LegId,
    /// As the response made it: another phone may ring behind the same proxy by now.
    dialog: Dialog,
    rack: RAck,
}

impl Owed {
    pub(crate) fn new(leg: &Leg, rseq: u32, cseq: u32) -> Self {
        Self {
            under: 0,
            leg: leg.id,
            dialog: leg.dialog.clone(),
            rack: RAck { rseq, cseq },
        }
    }

    /// The same in the early dialog of a response that does not become the leg's.
    pub(super) fn apart(leg: &Leg, rseq: u32, response: &Message, flow: Flow) -> Self {
        let mut owed = Self::new(leg, rseq, response.cseq());
        owed.dialog.answered_by(response, flow);
        owed
    }

    /// Returns the tag of whose it is.
    fn far(&self) -> Option<&str> {
        self.dialog.remote_tag.as_deref()
    }

    pub(super) fn under(self, number: u32) -> Self {
        Self {
            under: number,
            ..self
        }
    }
}

impl Conversation {
    /// Acknowledges a branch's reliable response, with what the caller has to say.
    pub(crate) fn prack(
        &mut self,
        context: &mut Context<'_>,
        owed: &Owed,
        body: Option<&str>,
    ) -> Option<ClientId> {
        let id = self.id;
        let leg = &mut self.branch_mut(owed.leg)?.leg;
        let mut dialog = owed.dialog.clone();
        dialog.local_cseq = leg.dialog.local_cseq;
        dialog.proofs = std::mem::take(&mut leg.dialog.proofs);
        let course = context.course(&dialog);
        let via = context.via(id, &course.flow);
        let RAck { rseq, cseq } = owed.rack;
        let builder = dialog
            .request(&Method::Prack, &via)
            .header(Name::RAck, format_args!("{rseq} {cseq} INVITE"));
        leg.dialog.local_cseq = dialog.local_cseq;
        let bytes = end_with(
            builder,
            Some("application/sdp"),
            body.unwrap_or("").as_bytes(),
        );
        let errand = Errand {
            conversation: id,
            leg: owed.leg,
            what: What::Early,
        };
        let client = context.send_on(&mut dialog, course, bytes, errand);
        leg.dialog.proofs = dialog.proofs;
        Some(client)
    }

    /// The caller's PRACK in an early dialog.
    pub(super) fn on_prack(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        server: ServerId,
        request: &Message,
    ) {
        let timers = context.shared.settings.timers;
        let invite = self.leg_mut(Side::Caller);
        let invite = invite.and_then(|leg| leg.dialog.remote_cseq);
        let Some(early) = self.early_mut(at) else {
            return;
        };
        let rack = RAck::of(request).filter(|rack| Some(rack.cseq) == invite);
        let out = early.sent.out();
        let Some((number, carried)) =
            out.filter(|(number, _)| rack.is_some_and(|rack| rack.rseq == *number))
        else {
            return context.refuse(
                server,
                481,
                "PRACK for a response that does not wait for one",
            );
        };
        let said = sdp_of(request);
        let settled = early.settled;
        match (carried, &said) {
            (Carries::Offer, None) => {
                return context.refuse(server, 400, "PRACK without the answer to our offer");
            }
            // RFC 3262 5: while its own offer is open it may not make another.
            (Carries::Nothing, Some(_)) if !settled => {
                return context.refuse(server, 400, "PRACK with an offer beside another one");
            }
            (Carries::Nothing | Carries::Answer, _) | (Carries::Offer, Some(_)) => {}
        }
        let acknowledged = early.sent.acknowledge(number, context.now, &timers);
        early.settled |= carried != Carries::Nothing;
        let owed = early.owed.iter().position(|owed| owed.under == number);
        let owed = owed.map(|owed| early.owed.remove(owed));
        match (carried, said) {
            (Carries::Offer, Some(answer)) => {
                context.answer(server, 200, None);
                self.answer_by_prack(context, at, owed, &answer);
            }
            (Carries::Nothing | Carries::Answer, Some(offer)) => {
                self.offer_by_prack(context, at, server, owed, offer);
            }
            (_, None) => {
                context.answer(server, 200, None);
                if let Some(owed) = owed {
                    self.prack(context, &owed, None);
                }
            }
        }
        if let Some((status, bytes)) = acknowledged.and_then(|acknowledged| acknowledged.next)
            && let Some(invitation) = &self.invitation
        {
            context.reply(invitation.server, status, bytes);
        }
        self.let_in(context);
    }

    /// The caller's answer to the offer of a reliable response goes on by our PRACK.
    fn answer_by_prack(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        owed: Option<Owed>,
        answer: &str,
    ) {
        if let Some(early) = self.early_mut(at) {
            early.talk.says(answer.into());
        }
        if let Some(caller) = self.leg_mut(Side::Caller) {
            caller.talk.says(answer.into());
        }
        let Some(owed) = owed else { return };
        let leg = owed.leg;
        if let Some(branch) = self.branch_mut(leg) {
            branch.turn_back_to(owed.far());
        }
        let told = self.tell_branch(context, leg, answer, Role::Answer);
        self.prack(context, &owed, told.as_deref());
        if let Some(branch) = self.branch_mut(leg) {
            branch.settled = true;
        }
        self.configure_early(context, leg);
    }

    /// The caller offers anew by its PRACK: our PRACK takes it on, or the session that stands is the answer.
    fn offer_by_prack(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        server: ServerId,
        owed: Option<Owed>,
        offer: Box<str>,
    ) {
        let tag = self
            .early_mut(at)
            .map(|early| early.dialog.local_tag.clone());
        let open = tag.and_then(|tag| self.open_in(&tag, Side::Caller));
        if let Some(owed) = owed {
            let leg = owed.leg;
            let before = self.branch_mut(leg).map(|branch| {
                branch.turn_back_to(owed.far());
                branch.leg.talk.clone()
            });
            if open.is_none()
                && let Some(before) = before
                && let Some(told) = self.tell_branch(context, leg, &offer, Role::Offer)
                && let Some(client) = self.prack(context, &owed, Some(&told))
            {
                return self.cross_early(Side::Caller, at, leg, server, client, offer, before);
            }
            self.prack(context, &owed, None);
        }
        let early = self.early_mut(at);
        let body = early.and_then(|early| standing(context, &mut early.talk, &offer));
        if let Some(caller) = self.leg_mut(Side::Caller).filter(|_| body.is_some()) {
            caller.talk.offers(offer);
        }
        context.respond(server, 200, "OK", None, |builder| {
            end_with(
                builder,
                Some("application/sdp"),
                body.as_deref().unwrap_or("").as_bytes(),
            )
        });
    }

    /// Sends again what waits for a PRACK, and refuses the INVITE where none comes (RFC 3262 3).
    pub(crate) fn provisionals_due(&mut self, context: &mut Context<'_>) {
        let Some(invitation) = self.invitation.as_deref_mut() else {
            return;
        };
        let server = invitation.server;
        let mut over = false;
        for early in &mut invitation.early {
            match early.sent.due(context.now) {
                Due::Nothing => {}
                Due::Again(status, bytes) => context.reply(server, status, bytes),
                Due::GiveUp => over = true,
            }
        }
        if over {
            self.give_up_inviting(context, 504, Ending::Failed(504), None);
        }
    }

    /// A 2xx that waited for a PRACK, or for an offer in its early dialog, has its turn.
    pub(crate) fn let_in(&mut self, context: &mut Context<'_>) {
        let held = self.invitation.as_deref_mut();
        let held = held.and_then(|invitation| invitation.held.take());
        if let Some(held) = held {
            let (leg, response, flow) = *held;
            self.accepted(context, leg, &response, flow);
        }
    }

    /// The caller's PRACK for what its 2xx has overtaken (RFC 3262 3).
    pub(crate) fn late_prack(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
    ) {
        let rack = RAck::of(request);
        let waiting = self.leg_mut(side).and_then(|leg| {
            let known = &mut leg.overtaken;
            known.take_if(|known| Some(*known) == rack)
        });
        if waiting.is_some() {
            context.answer(server, 200, None);
        } else {
            context.refuse(
                server,
                481,
                "PRACK for a response that does not wait for one",
            );
        }
    }
}

impl Invitation {
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let again = self.early.iter().filter_map(|early| early.sent.next());
        let adrift = self.adrift.as_ref().map(|adrift| adrift.until);
        let own = again.chain(adrift).chain(self.expires);
        own.chain(self.fork.next_deadline()).min()
    }
}
