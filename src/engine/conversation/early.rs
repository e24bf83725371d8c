//! Early dialogs: what the caller sees of phones that ring (RFC 3261 12.1, 13.2.2.1).

use super::Conversation;
use super::context::{Context, crossing, end_with};
use super::inviting::{Invitation, sdp_of};
use super::keys::Role;
use super::media::{self, PortState};
use crate::engine::dialog::{Do, Happens};
use crate::engine::events::Happening;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::ports::MediaCommand;
use crate::engine::settings::EarlyDialogs;
use crate::sip::{Message, Name};

impl Conversation {
    /// A provisional response of a branch (RFC 3261 13.2.2.1): the caller sees it under the branch's tag.
    pub(super) fn ringing(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let forward = context.shared.settings.fork.early_dialogs == EarlyDialogs::Forward;
        let Some(invitation) = &mut self.invitation else {
            return;
        };
        let server = invitation.server;
        let Some(branch) = invitation.fork.branch(leg) else {
            return;
        };
        let first = !branch.rang;
        branch.rang = true;
        if response.to_tag().is_some() && branch.leg.life.take(Happens::Provisional) == Do::Ring {
            branch.leg.dialog.answered_by(response, flow);
        }
        branch.leg.abilities.learn(response);
        let said = sdp_of(response);
        if let Some(said) = &said {
            branch.leg.talk.said = Some(said.clone());
        }
        let endpoint = branch.endpoint().name.clone();
        if first {
            self.note(context, Happening::Ringing { endpoint });
        }
        let tag = self.early_tag(context, leg, forward);
        let body = said.and_then(|said| self.early_media(context, leg, &said));
        let status = response.status();
        let lines = crossing(response);
        let Some(caller) = self.leg_mut(Side::Caller) else {
            return;
        };
        let contact = context.contact(&caller.dialog.flow);
        context.respond(
            server,
            status,
            response.reason_phrase(),
            Some(&tag),
            |builder| {
                let builder = builder.header(Name::Contact, contact).raw_lines(&lines);
                end_with(
                    builder,
                    Some("application/sdp"),
                    body.as_deref().unwrap_or("").as_bytes(),
                )
            },
        );
    }

    /// Returns the tag of the caller's early dialog with a branch.
    fn early_tag(&mut self, context: &mut Context<'_>, leg: LegId, forward: bool) -> Box<str> {
        let id = self.id;
        let Some(caller) = self.leg_mut(Side::Caller) else {
            return "".into();
        };
        let (own, caller_leg) = (caller.dialog.local_tag.clone(), caller.id);
        let Some(invitation) = &mut self.invitation else {
            return own;
        };
        if let Some((_, tag)) = invitation.early.iter().find(|(known, _)| *known == leg) {
            return tag.clone();
        }
        let tag = if forward && !invitation.early.is_empty() {
            context.tag((id, caller_leg))
        } else {
            own
        };
        invitation.early.push((leg, tag.clone()));
        tag
    }

    /// Early media: the caller is told where it comes from, and the relay what it is.
    fn early_media(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        said: &str,
    ) -> Option<Box<str>> {
        let offered = self
            .invitation
            .as_ref()
            .is_some_and(|invitation| invitation.offer.is_some());
        if !offered {
            // An offer in an unreliable response is none (RFC 3261 13.2.1).
            return None;
        }
        if !self.may_be_heard(leg) {
            return None;
        }
        let told = self.tell(context, Side::Caller, said, Role::Answer)?;
        self.configure(context, Side::Caller);
        let invitation = self.invitation.as_ref()?;
        let branch = invitation
            .fork
            .branches
            .iter()
            .find(|branch| branch.leg.id == leg)?;
        let ports = self.ports[Side::Callee.index()].of(branch.generation);
        if ports.state == PortState::Open {
            let command = MediaCommand::Configure {
                media: self.id,
                side: Side::Callee,
                generation: ports.generation,
                signalling: branch.leg.dialog.flow.peer.ip(),
                streams: media::streams(said, invitation.offer.as_deref(), &branch.leg.talk.keys),
            };
            self.media(context, command);
        }
        Some(told)
    }

    /// The caller's dialog is the early one of the branch that won; the others are gone.
    pub(super) fn choose_tag(
        &mut self,
        context: &mut Context<'_>,
        invitation: &Invitation,
        leg: LegId,
    ) {
        let Some(caller) = self.leg_mut(Side::Caller) else {
            return;
        };
        let own = caller.dialog.local_tag.clone();
        let chosen = invitation
            .early
            .iter()
            .find(|(known, _)| *known == leg)
            .map_or_else(|| own.clone(), |(_, tag)| tag.clone());
        for (_, tag) in &invitation.early {
            if *tag != chosen {
                context.forget_tag(tag);
            }
        }
        if own != chosen && !invitation.early.iter().any(|(_, tag)| *tag == own) {
            context.forget_tag(&own);
        }
        caller.dialog.local_tag = chosen;
    }

    pub(super) fn drop_early(&self, context: &mut Context<'_>, invitation: &Invitation) {
        for (_, tag) in &invitation.early {
            context.forget_tag(tag);
        }
    }
}
