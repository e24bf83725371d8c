//! Where a phone takes no MESSAGE of ours: a short tone in its media says that something has changed.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::letters::queue::Author;
use crate::engine::conversation::session::media::PortState;
use crate::engine::events::{Happening, NoticeOutcome};
use crate::engine::ids::Side;
use crate::engine::ports::MediaCommand;
use crate::engine::settings::MediaMode;

impl Conversation {
    /// No MESSAGE told a side of a change. `outcome` is what became of it where nothing else is tried.
    pub(super) fn notice_fails(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
        outcome: NoticeOutcome,
    ) {
        let letter = self.party_mut(to).queue.letter(number);
        // The last word is followed by a BYE, which no phone takes for anything else.
        let is_notice = letter.is_some_and(|letter| letter.author == Author::Notice);
        if !is_notice || !context.shared.settings.notice.tone {
            return self.notice_ends(context, to, number, Some(outcome));
        }
        // What goes from phone to phone, or is no audio at all, passes by us.
        let relayed = context.shared.settings.media.mode == MediaMode::Relay
            && self.ports[to.index()].state == PortState::Open;
        if !relayed {
            return self.notice_ends(context, to, number, Some(NoticeOutcome::NotTold));
        }
        self.party_mut(to).tones += 1;
        let media = self.id;
        self.media(context, MediaCommand::Tone { media, side: to });
        self.notice_ends(context, to, number, None);
    }

    /// The relay tells what became of a tone to a side.
    pub(crate) fn on_toned(&mut self, context: &mut Context<'_>, side: Side, whole: bool) {
        let tones = &mut self.party_mut(side).tones;
        let Some(rest) = tones.checked_sub(1) else {
            // Of before a restart, or made up.
            return;
        };
        *tones = rest;
        let outcome = match whole {
            true => NoticeOutcome::Tone,
            false => NoticeOutcome::NotTold,
        };
        let endpoint = self.endpoint_of(side);
        let notice = Happening::Notice {
            side,
            endpoint,
            outcome,
        };
        self.note(context, notice);
    }
}
