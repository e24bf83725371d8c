//! Text that has no answer for a while: its sender is told that it is kept, and its endpoint is asked.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::events::Signal;
use crate::engine::ids::Side;

impl Conversation {
    /// The far side lets a letter wait: the store takes it, then the sender is told, and the far side asked.
    pub(in crate::engine::conversation) fn letters_overdue(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
    ) {
        let after = context.shared.settings.messages.suspect_after;
        let overdue = self.answered.is_some()
            && self.party(to).queue.letters.iter().any(|letter| {
                letter.server.is_some()
                    && letter.storing.is_none()
                    && letter.received + after <= context.now
            });
        if overdue {
            self.store_letters(context, to);
            let party = self.party(to);
            let asked = party.queue.under_way.is_some();
            if party.lost.is_none() && asked {
                self.suspect(context, to, Signal::NoAnswer);
            }
        }
        self.letter_overdue(context, to);
    }

    /// The letter under way has no answer, whether its sender waits or has had its 202: who says nothing else either
    /// is asked whether it is there.
    fn letter_overdue(&mut self, context: &mut Context<'_>, to: Side) {
        let (after, now) = (context.shared.settings.messages.suspect_after, context.now);
        if self.answered.is_none() || !self.party(to).is_up() {
            return;
        }
        let Some(sent_at) = self.party_mut(to).queue.falls_overdue(after, now) else {
            return;
        };
        let silent = self.leg_mut(to).is_some_and(|leg| leg.seen <= sent_at);
        if silent {
            self.suspect(context, to, Signal::NoAnswer);
        }
    }
}
