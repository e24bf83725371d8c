//! Text that has no answer for a while, or gets none: its sender is told that it is kept, and its endpoint is asked.

use super::queue::{Author, TRIES};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::events::Signal;
use crate::engine::ids::{LegId, Side};

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

    /// A letter got no answer at all: by time-out, or since nobody could be reached.
    pub(in crate::engine::conversation) fn letter_unanswered(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        to: Side,
        (number, tried): (u32, u32),
        signal: Signal,
    ) {
        let queue = &self.party(to).queue;
        if !queue.is_latest(number, tried) {
            return;
        }
        if self.side_of(leg) != Some(to) || queue.under_way != Some(number) {
            if queue.aside == Some((leg, number)) {
                self.party_mut(to).queue.aside = None;
            }
            return;
        }
        let queue = &mut self.party_mut(to).queue;
        queue.under_way = None;
        if let Some(letter) = queue.letter(number)
            && letter.author != Author::Other
        {
            if signal == Signal::Transport && letter.is_said_again() {
                queue.notice_rests(context.now);
                return self.pump(context, to);
            }
            // A failed notice is never a sign of loss.
            return self.notice_answered(context, to, number, 408);
        }
        // One that speaks and hears nothing is as lost to the sender as one that is silent.
        let heard = self.leg_mut(to).map(|leg| leg.heard);
        if self.is_out(to) {
            // It goes once more when the way there is open again.
            return;
        }
        let Some(letter) = self.party_mut(to).queue.letter(number) else {
            return self.pump(context, to);
        };
        let lives = heard > Some(letter.sent_at);
        letter.ignored += u32::from(lives);
        let tries = letter.tries;
        let cut_off = !lives && self.may_be_cut_off(context, to);
        let Some(letter) = self.party_mut(to).queue.letter(number) else {
            return;
        };
        if signal == Signal::Transport || cut_off || lives && letter.ignored < TRIES {
            // A probe settles it; the letter goes once more if the phone is there.
            if signal == Signal::Transport || cut_off {
                self.party_mut(to).queue.is_not_reached(tries, context.now);
            }
            self.suspect(context, to, signal);
            self.pump(context, to);
        } else if lives {
            // It answers everything but this: one bad message never blocks the rest.
            self.reject_letter(context, to, number, 408);
            self.pump(context, to);
            self.announce(context, to);
        } else {
            self.lose(context, to, signal);
        }
    }
}
