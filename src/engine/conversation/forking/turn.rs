//! Phones that speak SRTP alone, and phones that do not speak it: who refuses the one is asked for the other.

use std::sync::Arc;

use super::{Branch, BranchState};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::session::keys::demands_keys;
use crate::engine::conversation::session::media;
use crate::engine::endpoint::Identity;
use crate::engine::ids::{LegId, Side};
use crate::engine::location;
use crate::engine::settings::{MediaMode, MediaSettings, Srtp};
use crate::sip::Message;

/// Returns true for a refusal of the session, and not of the call (RFC 3261 21.4.13, 21.4.26, 21.6.4): so a
/// phone says, too, that it has not got the profile of SRTP.
pub(crate) fn is_of_the_session(status: u16) -> bool {
    matches!(status, 415 | 488 | 606)
}

/// Returns how an endpoint that refused a session may be asked once more: with SRTP where it was asked
/// without, and the other way round. None where that is not to be tried.
pub(crate) fn other_way(
    settings: &MediaSettings,
    status: u16,
    offer: Option<&str>,
    branch: &Branch,
) -> Option<bool> {
    let may = is_of_the_session(status)
        && settings.mode == MediaMode::Relay
        && settings.srtp == Srtp::Optional
        && !branch.turned;
    let offer = offer.filter(|_| may)?;
    let told = branch.leg.talk.told.as_deref();
    media::has_our_rtp(offer).then(|| !told.is_some_and(demands_keys))
}

/// Returns whether an endpoint that refused a session in this restoration is asked with SRTP now.
pub(crate) fn turned(known: &[(Arc<Identity>, bool)], identity: &Identity) -> Option<bool> {
    let known = known
        .iter()
        .find(|(known, _)| location::same(known, identity));
    known.map(|(_, secure)| *secure)
}

impl Conversation {
    /// Returns true where a phone takes the call without a word to our offer (RFC 3261 13.2.1): nobody would be heard
    /// in it, and it is not for the want of keys.
    pub(crate) fn lacks_answer(&mut self, leg: LegId, response: &Message) -> bool {
        let Some(branch) = self.branch_mut(leg) else {
            return false;
        };
        let lacks = branch.lacks_answer(response);
        branch.turned |= lacks;
        lacks
    }

    /// Returns true where a phone of the first fork takes the call without the keys that it was asked for, or
    /// refuses every stream that should have had some.
    pub(crate) fn lacks_keys(
        &mut self,
        media: &MediaSettings,
        leg: LegId,
        response: &Message,
    ) -> bool {
        let Some(invitation) = &mut self.invitation else {
            return false;
        };
        let offer = invitation.offer.clone();
        let branch = invitation.fork.branch(leg);
        branch.is_some_and(|branch| {
            // Streams that are refused since they would be encrypted.
            let mute = !branch.leg.talk.keys.is_empty() && branch.is_mute(response);
            branch.lacks_keys(media, response)
                || mute && other_way(media, 488, offer.as_deref(), branch).is_some()
        })
    }

    /// Asks an endpoint once more that may only have refused SRTP, or the lack of it.
    pub(crate) fn ask_the_other_way(
        &mut self,
        context: &mut Context<'_>,
        refused: Branch,
        secure: bool,
    ) {
        let rules = self.invitation.as_ref().map(|first| first.fork.rules);
        let all = &context.shared.settings.fork;
        let ring = rules.unwrap_or_default().ring_timeout(all);
        let branch = self.make_branch(context, Side::Callee, refused.leg.endpoint, ring);
        if let Ok(mut branch) = branch
            && let Some(invitation) = &mut self.invitation
        {
            (branch.secure, branch.turned) = (Some(secure), true);
            branch.is_for(refused.meant);
            invitation.fork.branches.push(branch);
        }
        self.next_group(context);
    }

    /// Returns true where a phone takes the call without the keys that it was asked for, or without a single
    /// stream of those that the survivor has: it would be a call in which nobody is heard.
    pub(crate) fn again_lacks_keys(
        &mut self,
        media: &MediaSettings,
        side: Side,
        leg: LegId,
        response: &Message,
    ) -> bool {
        let lost = self.party_mut(side).lost.as_mut();
        let branch = lost.and_then(|lost| lost.fork.branch(leg));
        branch.is_some_and(|branch| {
            let useless = branch.lacks_keys(media, response) || branch.is_mute(response);
            branch.state == BranchState::Calling && useless
        })
    }

    /// Notes that an endpoint is to be asked the other way. Returns false where that is not to be tried.
    pub(crate) fn turns(
        &mut self,
        context: &Context<'_>,
        side: Side,
        branch: &Branch,
        status: u16,
    ) -> bool {
        let offer = self.offer_anew(side);
        let media = &context.shared.settings.media;
        let other = other_way(media, status, offer.as_deref(), branch);
        let (Some(secure), Some(lost)) = (other, &mut self.party_mut(side).lost) else {
            return false;
        };
        let identity = &branch.leg.endpoint.identity;
        lost.turned.push((identity.clone(), secure));
        true
    }
}
