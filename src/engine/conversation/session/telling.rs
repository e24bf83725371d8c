//! Writing what one side said for the leg of the other, and once more in the other way where a phone refuses it with
//! SRTP, or without, in a stream that nothing says yet how it is to be.

use super::keys::{Role, Telling, demands_keys};
use super::media;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::turn::is_of_the_session;
use crate::engine::conversation::leg::Talk;
use crate::engine::ids::Side;
use crate::engine::settings::{MediaMode, Srtp};

impl Conversation {
    /// Writes what one side said for the leg of another.
    pub(crate) fn tell(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        said: &str,
        role: Role,
    ) -> Option<Box<str>> {
        self.tell_so(context, side, said, role, None)
    }

    /// The same, with SRTP or without in streams of sound that come in the place of others.
    pub(super) fn tell_so(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        said: &str,
        role: Role,
        secure: Option<bool>,
    ) -> Option<Box<str>> {
        let mode = context.shared.settings.media.mode;
        let room = self.room(side.other());
        let ports = &self.ports[side.index()];
        let leg = self.parties[side.index()].leg.as_mut()?;
        let ours = context.world.advertised(&leg.dialog.flow);
        let mut telling = Telling::new(context.shared, role);
        telling.secure = secure;
        if role == Role::Offer {
            telling.room = room;
        }
        media::tell(&mut leg.talk, said, ports, ours, mode, &mut telling)
    }

    /// Returns how an offer that was refused may be made once more: `before` is what stood with that phone. What ran
    /// by RTP ran in a way that it has.
    pub(super) fn other_way_within(
        &self,
        context: &Context<'_>,
        to: Side,
        status: u16,
        before: &Talk,
    ) -> Option<bool> {
        let media = &context.shared.settings.media;
        let may = is_of_the_session(status)
            && media.mode == MediaMode::Relay
            && media.srtp == Srtp::Optional
            && !before.runs_by_rtp();
        let told = self.party(to).talk()?;
        let asked = told.told.as_deref().filter(|_| may)?;
        media::has_our_rtp(asked).then(|| !demands_keys(asked))
    }
}
