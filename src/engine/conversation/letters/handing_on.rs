//! What becomes of letters in a transfer: those from before it were written to the transferor, and the target
//! never sees them. Those that come while the target is called are for who takes the call.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::people::person::Person;
use crate::engine::ids::Side;

/// Nobody is left who could be given it: so it is told in the history.
const GONE: u16 = 480;

impl Conversation {
    /// A transfer begins: what waits for the transferor is kept for it, should it have the call back. The one
    /// that is under way may yet be answered; the senders of the others learn at once that they were not
    /// delivered, where they still wait.
    pub(crate) fn letters_before_transfer(&mut self, context: &mut Context<'_>, side: Side) {
        let under_way = self.party(side).queue.under_way;
        let mut unsent = Vec::new();
        if self.party(side).queue.letters.is_empty() {
            return;
        }
        for letter in &mut self.party_mut(side).queue.letters {
            letter.for_transferor = true;
            let promised = letter.server.is_none() || letter.storing.is_some();
            if !promised && under_way != Some(letter.number) {
                unsent.push(letter.number);
            }
        }
        self.give_back(context, side, unsent);
    }

    /// The target takes the transferor's place: what the transferor has not got is for nobody, and who wrote it and
    /// has our 202 is told.
    pub(crate) fn letters_after_transfer(&mut self, context: &mut Context<'_>, side: Side) {
        let letters = self.party(side).queue.letters.iter();
        let left = letters.filter(|letter| letter.for_transferor);
        let left = left.map(|letter| letter.number).collect();
        self.give_back(context, side, left);
        // In the name of whom they were for, before somebody else has its place.
        self.say_dropped(context, side);
    }

    /// The transferor has the call back, and its letters.
    pub(crate) fn letters_after_failed_transfer(&mut self, side: Side) {
        if self.party(side).queue.letters.is_empty() {
            return;
        }
        for letter in &mut self.party_mut(side).queue.letters {
            letter.for_transferor = false;
        }
    }

    /// Another person takes the place of who was called again, or of a transfer's target (`transferred`): what
    /// was written to somebody who was lost is for nobody, as after a transfer.
    pub(crate) fn hand_on(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        mut person: Person,
        transferred: bool,
    ) {
        if !transferred && person.aor != self.party(side).aor {
            let aor = self.party(side).aor.clone();
            self.leave_ghosts_of(context, side, &aor);
            self.letters_before_transfer(context, side);
            self.letters_after_transfer(context, side);
            // What either said at the beginning was for somebody else.
            self.parties
                .iter_mut()
                .for_each(|party| party.for_user = Box::default());
        }
        person.swap(self.party_mut(side));
    }

    fn give_back(&mut self, context: &mut Context<'_>, side: Side, numbers: Vec<u32>) {
        for number in numbers {
            let Some(letter) = self.dequeue(context, side, number) else {
                continue;
            };
            self.rejected(context, side, &letter, GONE);
        }
    }
}
