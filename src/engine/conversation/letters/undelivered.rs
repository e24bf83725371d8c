//! Letters that were accepted and will not be delivered: who asked to know is told (RFC 5438).

use bytes::Bytes;

use super::queue::{Author, Letter};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::doubting::outcome::for_the_other_leg;
use crate::engine::dialog::HOPS;
use crate::engine::events::Happening;
use crate::engine::ids::Side;
use crate::engine::timestamp::Timestamp;
use crate::sip::Method;
use crate::sip::cpim::{Asked, is_cpim};

impl Conversation {
    /// Takes a letter out that will not be delivered: its sender gets this status, 500 where that would end more than
    /// the request or is no answer to one (RFC 5057 5.1, RFC 4320 4.2), or is told where it has its 202.
    pub(super) fn reject_letter(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
        status: u16,
    ) {
        let Some(letter) = self.dequeue(context, to, number) else {
            return;
        };
        self.rejected(context, to, &letter, status);
        self.persist(context);
    }

    /// The same for one that is out already.
    pub(super) fn rejected(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        letter: &Letter,
        status: u16,
    ) {
        if let Some(server) = letter.server {
            // Its dialog stands, and goes on with whoever is there.
            let told = for_the_other_leg(&Method::Message, status, false);
            context.answer(server, told, None);
        }
        if letter.author == Author::Other {
            let rejected = Happening::Rejected {
                from: to.other(),
                status,
                endpoint: None,
            };
            self.note(context, rejected);
        }
        self.is_dropped(context, to, letter);
    }

    /// A letter has left the queue, and does not arrive. Who has its 202 and has not asked to know of it at once is
    /// told how many there were; a machine is not, which may tell us of that in turn.
    pub(crate) fn is_dropped(&mut self, context: &mut Context<'_>, to: Side, letter: &Letter) {
        if !letter.is_accepted() {
            return;
        }
        let told = self.tell_undelivered(context, to, letter);
        let queue = &mut self.party_mut(to).queue;
        queue.dropped += 1;
        queue.untold += u32::from(!told && !letter.is_automatic());
    }

    /// Tells the other side how many of its letters to this one were dropped, once the rest is delivered.
    pub(crate) fn tell_dropped(&mut self, context: &mut Context<'_>, side: Side) {
        let party = self.party(side);
        if party.leg.is_some() && party.queue.waiting() == 0 {
            self.say_dropped(context, side);
        }
    }

    /// The same now.
    pub(super) fn say_dropped(&mut self, context: &mut Context<'_>, side: Side) {
        let dropped = self.party(side).queue.untold;
        if dropped == 0 {
            return;
        }
        let body = self.undelivered_text(context, side, dropped as usize);
        self.party_mut(side).queue.untold = 0;
        self.say(context, side.other(), Author::Undelivered, body);
        self.persist(context);
    }

    /// Tells the sender of a letter to `to` that it is not delivered, where that has its 202 and asked for a
    /// negative delivery notification. Returns true where it is told.
    pub(super) fn tell_undelivered(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        letter: &Letter,
    ) -> bool {
        if !letter.is_accepted()
            || !is_cpim(&letter.content_type)
            || self.party(to.other()).leg.is_none()
        {
            return false;
        }
        let Some(asked) = Asked::of(&letter.body) else {
            return false;
        };
        let message_id = context.shared.mint.hex(8);
        let when = Timestamp(context.now).to_string();
        let word = Letter {
            number: 0,
            lines: Bytes::new(),
            content_type: "message/cpim".into(),
            body: Bytes::from(asked.failed(&message_id, &when)),
            received: context.now,
            until: None,
            author: Author::Undelivered,
            cseq: 0,
            over: None,
            tries: 0,
            ignored: 0,
            fatal: 0,
            sent_at: context.now,
            overdue: false,
            for_transferor: false,
            hops: HOPS,
            refused: false,
            denied: None,
            server: None,
            storing: None,
        };
        let told = self.enqueue(context, to.other(), word).is_ok();
        self.pump(context, to.other());
        told
    }

    /// Nobody came back: tells the other side of each letter that was for who is lost. Returns how many are told.
    pub(crate) fn tell_all_undelivered(&mut self, context: &mut Context<'_>, lost: Side) -> u32 {
        let letters = self.party(lost).queue.letters.iter();
        let accepted = letters.filter(|letter| letter.server.is_none());
        let accepted: Vec<Letter> = accepted.cloned().collect();
        let told = accepted
            .iter()
            .filter(|letter| self.tell_undelivered(context, lost, letter));
        told.count() as u32
    }
}
