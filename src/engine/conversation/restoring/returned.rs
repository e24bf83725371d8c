//! A phone that comes back by a re-INVITE or UPDATE in its lost dialog. It has the answer from here, with all that the
//! survivor has come to wish meanwhile, as who comes back by INVITE with Replaces has; the survivor is asked only where
//! the session does not go with its own.
//!
//! ```text
//!   who comes back          Refork          survivor
//!      │── INVITE, sendrecv ──►│               │   it holds
//!      │◄─ 200, sendonly ──────│               │
//! ```

use super::repair::Fit;
use super::survivor::stand_for;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::session::keys::{Role, Telling};
use crate::engine::conversation::session::media;
use crate::engine::dialog::{Negotiation, Request};
use crate::engine::ids::Side;
use crate::engine::settings::MediaMode;
use crate::engine::transaction::ServerId;
use crate::sip::sdp::{self, Sdp};
use crate::sip::{Message, Method};

impl Conversation {
    /// Answers the re-INVITE or UPDATE by which a phone has come back. Returns false where it is as any other.
    pub(crate) fn answer_returned(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        offer: Option<&str>,
    ) -> bool {
        let returns = self.leg_mut(side).is_some_and(|leg| leg.returns);
        let asks = Request::of(request.method(), offer.is_some());
        if !returns || asks == Request::Refresh || self.is_transferring(side.other()) {
            return false;
        }
        let leg = self.party(side).leg.as_ref();
        if leg.is_none_or(|leg| leg.negotiation != Negotiation::Idle) {
            return false;
        }
        let Some(told) = self.tell_returned(context, side, offer) else {
            return false;
        };
        let invite = *request.method() == Method::Invite;
        if let Some(leg) = self.leg_mut(side) {
            let _ = leg.dialog.refresh(request);
            leg.lent = false;
            if offer.is_none() {
                leg.negotiation = Negotiation::Offered;
            }
        }
        self.accept_alone(context, side, server, Some(&told));
        if invite {
            self.await_ack(context, side, server, request.cseq(), offer.is_none());
        }
        self.configure(context, side);
        self.persist(context);
        self.tell_who(context, side, request);
        // Whom the phone holds now, or no more, is told.
        self.catch_up(context, side.other());
        true
    }

    /// Returns the answer to the offer of who comes back, or an offer where it has made none. None where the survivor
    /// must hear of it first.
    fn tell_returned(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        offer: Option<&str>,
    ) -> Option<Box<str>> {
        let mode = context.shared.settings.media.mode;
        let leg = self.party(side).leg.as_ref()?;
        let before = leg.talk.said.as_deref()?;
        let more = offer.is_some_and(|offer| sdp::wants_more(before.as_bytes(), offer.as_bytes()));
        if more || mode != MediaMode::Relay || self.fits_again(context, side, offer) != Fit::Stands
        {
            return None;
        }
        // Whether it still holds the other it says by its offer.
        let resumed = self.resumed(side).filter(|_| offer.is_some());
        let other = self.party(side.other()).talk()?;
        let heard = resumed.as_deref().or(other.said.as_deref())?;
        let ours_at = context.world.advertised(&leg.dialog.flow);
        let ports = &self.ports[side.index()];
        let mut talk = leg.talk.clone();
        let told = match offer {
            Some(offer) => {
                let mut wished = talk.clone();
                wished.offers(offer.into());
                let mut telling = Telling::new(context.shared, Role::Answer);
                let wish = media::tell(&mut wished, heard, ports, ours_at, mode, &mut telling)?;
                let wish = Sdp::parse(wish.as_bytes()).ok()?.with_version(talk.version);
                let wish = String::from_utf8(wish).ok()?;
                stand_for(&mut talk, &wish, offer.into(), context.shared)?
            }
            None => {
                let mut telling = Telling::new(context.shared, Role::Offer);
                media::tell(&mut talk, heard, ports, ours_at, mode, &mut telling)?
            }
        };
        self.leg_mut(side)?.talk = talk;
        Some(told)
    }
}
