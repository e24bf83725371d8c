//! A phone denies its dialog in answer to a letter (RFC 5057): it may be gone, or know no such request.

use super::queue::Letter;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::doubting::outcome::NOT_TAKEN;
use crate::engine::events::Signal;
use crate::engine::ids::Side;

impl Conversation {
    /// By its answer to a letter a phone says that it has no such dialog. The letter goes to the next one, once: that
    /// may be the same phone, which takes none.
    pub(super) fn letter_denied(&mut self, context: &mut Context<'_>, to: Side, number: u32) {
        let leg = self.party(to).leg.as_ref().map(|leg| leg.id);
        let letter = self.party_mut(to).queue.letter(number);
        let before = letter.and_then(|letter| std::mem::replace(&mut letter.denied, leg));
        if before.is_some() {
            self.reject_letter(context, to, number, NOT_TAKEN);
        }
        if !self.is_asked_first(context.now, to) {
            return self.denied(context, to, Signal::RequestFailed);
        }
        self.suspect(context, to, Signal::RequestFailed);
        self.pump(context, to);
        self.announce(context, to);
    }

    /// A phone that has denied its dialog to a letter, and counts as lost, asks something in it: that may be older than
    /// what it denied. An offer decides.
    pub(in crate::engine::conversation) fn ask_who_denied(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
    ) {
        let party = self.party(side);
        let leg = party.leg.as_ref().map(|leg| leg.id);
        let mut letters = party.queue.letters.iter();
        if letters.any(|letter| letter.denied.is_some() && letter.denied == leg) {
            self.suspect(context, side, Signal::RequestFailed);
        }
    }

    /// Its phone has denied its dialog to it, and has it: it takes no such letter, and the next one may go.
    pub(super) fn drop_denied(&mut self, context: &mut Context<'_>, to: Side) {
        let party = self.party(to);
        let Some(leg) = party.leg.as_ref().map(|leg| leg.id) else {
            return;
        };
        let denied = |letter: &&Letter| letter.denied == Some(leg);
        let denied = party.queue.letters.iter().filter(denied);
        let numbers: Vec<u32> = denied.map(|letter| letter.number).collect();
        if numbers.is_empty() {
            return;
        }
        for number in numbers {
            self.reject_letter(context, to, number, NOT_TAKEN);
        }
        self.announce(context, to);
    }
}
