//! A leg that goes to another conversation (RFC 5589 7), and comes back where that does not want it.
//!
//! ```text
//!   giver                                 taker
//!     │ stored: the leg is given            │
//!     │── Give ────────────────────────────►│
//!     │                                     │ stored: the leg is its own
//!     │◄─ Taken ────────────────────────────│
//!     │ over                                │
//! ```
//!
//! In the store the leg is always with one of the two at least. Where it is with both, after a restart, the
//! giver says its word again: the taker knows the leg, or wants it still, or never will.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::giving::Giving;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, What};
use crate::engine::conversation::ending::parting::Bye;
use crate::engine::conversation::leg::{Leg, Talk};
pub(crate) use crate::engine::conversation::letters::queue::{Author, Letter};
use crate::engine::conversation::people::person::Person;
use crate::engine::conversation::rebuild::JUMP;
use crate::engine::conversation::restoring::notice::{MARK, NOTICE_TYPE};
use crate::engine::events::Ending;
use crate::engine::handover::Word;
use crate::engine::ids::{ConversationId, Side};
use crate::engine::time::Millis;
use crate::sip::Method;

/// The word is said again after that: another shard answers at once.
const TAKEN: Millis = Millis::from_secs(2);
/// A taker asks anew for what it was promised within that after a restart.
const RESUMED: Millis = Millis::from_secs(6);

/// What goes from one conversation to the other.
#[derive(Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) leg: Leg,
    /// Whose phone it is: it may be somebody else's than was promised, by a redirection or a pickup since.
    pub(super) person: Person,
    /// What its phone has written, and is the taker's to deliver.
    #[serde(default)]
    pub(super) letters: Vec<Letter>,
}

impl Given {
    fn write(leg: &Leg, person: Person, letters: Vec<Letter>) -> Option<Bytes> {
        let given = Self {
            leg: leg.clone(),
            person,
            letters,
        };
        rmp_serde::to_vec_named(&given).ok().map(Bytes::from)
    }

    pub(super) fn read(bytes: &Bytes) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }
}

impl Leg {
    /// Sends a MESSAGE whose answer nobody here waits for.
    fn write(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        lines: &[u8],
        kind: &str,
        body: &[u8],
    ) {
        self.request(context, id, &Method::Message, What::Farewell, |builder| {
            builder.raw_lines(lines).body(kind, body)
        });
    }
}

impl Context<'_> {
    /// Ends a leg that was given to a conversation which has not got it, by one that is over.
    pub(crate) fn end_given(&mut self, to: ConversationId, leg: &Bytes) {
        if let Some(Given {
            mut leg, person, ..
        }) = Given::read(leg)
        {
            // Whatever the taker may have sent: CSeq only has to rise (RFC 3261 12.2.1.1).
            leg.dialog.resume(JUMP);
            leg.part(self, to, person.aor, Bye::because(None));
        }
    }
}

impl Conversation {
    /// The leg goes to the other conversation, and this one is over once it is there.
    pub(super) fn give(&mut self, context: &mut Context<'_>, side: Side) {
        self.settle_carried(context, side.other());
        self.last_letters(context, side);
        self.turn_back_unaccepted(context, side.other());
        let party = self.party_mut(side);
        party.check = None;
        let Some(mut leg) = party.leg.take() else {
            return;
        };
        leg.lent = false;
        if let Some(giving) = &mut self.giving {
            giving.asked = None;
            giving.given = Some(Box::new(leg));
        }
        self.persist(context);
        self.offer_given(context);
    }

    /// What has no answer yet of what was written here does not go along: its writer sends it again, where it is by then.
    fn turn_back_unaccepted(&mut self, context: &mut Context<'_>, to: Side) {
        if self.giving.as_ref().is_none_or(|giving| !giving.half) {
            return;
        }
        let letters = self.party(to).queue.letters.iter();
        let open = letters.filter_map(|letter| Some((letter.number, letter.server?)));
        for (number, server) in open.collect::<Vec<_>>() {
            self.dequeue(context, to, number);
            context.refuse(
                server,
                500,
                "message to who is taken over by the other half of the call",
            );
        }
    }

    /// Says that the leg is the other's.
    pub(super) fn offer_given(&mut self, context: &mut Context<'_>) {
        let Some(giving) = &mut self.giving else {
            return;
        };
        let Some(leg) = &giving.given else { return };
        giving.again_at = Some(context.now + TAKEN);
        context.tag_moves(&leg.dialog.local_tag, giving.to);
        let person = Person::of(&self.parties[giving.side.index()]);
        let written = match giving.half {
            true => &self.parties[giving.side.other().index()].queue.letters,
            false => &VecDeque::new(),
        };
        let accepted = written.iter().filter(|letter| letter.is_accepted());
        if let Some(given) = Given::write(leg, person, accepted.cloned().collect()) {
            context.tell(self.id, giving.to, Word::Give(given));
        }
    }

    /// It has arrived.
    pub(super) fn on_taken(&mut self, context: &mut Context<'_>, from: ConversationId) {
        let arrived = |giving: &mut Box<Giving>| giving.to == from && giving.given.is_some();
        if let Some(giving) = self.giving.take_if(arrived) {
            if giving.half {
                // The other half delivers what was written here.
                self.drain_queue(context, giving.side.other());
            }
            self.finish(context, Ending::Joined);
        }
    }

    /// The leg is on its way: this conversation has nothing to ask of it.
    pub(crate) fn has_given(&self, side: Side) -> bool {
        let giving = self.giving.as_ref();
        giving.is_some_and(|giving| giving.side == side && giving.given.is_some())
    }

    /// What was accepted for the leg goes out before it does; of what it said and nobody has taken its phone is
    /// told, as that was meant for who has left.
    fn last_letters(&mut self, context: &mut Context<'_>, side: Side) {
        let (id, left) = (self.id, side.other());
        let under_way = self.party(side).queue.under_way;
        let accepted = |letter: &Letter| letter.author == Author::Other && letter.server.is_none();
        let is_told = |letter: &&Letter| accepted(letter) && !letter.is_automatic();
        let letters = self.party(side).queue.letters.iter();
        let numbers: Vec<u32> = letters
            .filter(|letter| accepted(letter))
            .map(|letter| letter.number)
            .collect();
        for number in numbers {
            let Some(letter) = self.dequeue(context, side, number) else {
                continue;
            };
            if let Some(leg) = self.leg_mut(side).filter(|_| under_way != Some(number)) {
                leg.write(
                    context,
                    id,
                    &letter.lines,
                    &letter.content_type,
                    &letter.body,
                );
            }
        }
        if self.giving.as_ref().is_some_and(|giving| giving.half) {
            return;
        }
        let queue = &self.party(left).queue;
        let undelivered = queue.letters.iter().filter(is_told).count() + queue.untold as usize;
        if undelivered == 0 {
            return;
        }
        let body = self.undelivered_text(context, left, undelivered);
        if let Some(leg) = self.leg_mut(side).filter(|leg| leg.abilities.message) {
            leg.write(context, id, MARK, NOTICE_TYPE, body.as_bytes());
        }
    }

    /// The leg stays here; whoever waits for it is told.
    pub(crate) fn keep(&mut self, context: &mut Context<'_>, status: u16) {
        let id = self.id;
        let Some(giving) = self.giving.take() else {
            return;
        };
        context.tell(id, giving.to, Word::Keep(status));
        self.taken_back(context, *giving);
    }

    /// The other conversation does not want it any more.
    pub(super) fn declined(&mut self, context: &mut Context<'_>, from: ConversationId) {
        if let Some(giving) = self.giving.take_if(|giving| giving.to == from) {
            self.taken_back(context, *giving);
        }
    }

    fn taken_back(&mut self, context: &mut Context<'_>, giving: Giving) {
        let (id, other) = (self.id, giving.side.other());
        let returned = giving.given.is_some();
        if let Some(mut leg) = giving.given {
            context.know_tag(&leg.dialog.local_tag, (id, leg.id));
            leg.lent = true;
            self.party_mut(giving.side).leg = Some(*leg);
            self.watch(context, giving.side);
        }
        if let Some(leg) = self.leg_mut(giving.side) {
            if giving.asked.is_some() {
                leg.take_back(context);
            }
            if let Some(before) = giving.before {
                leg.talk.back_to(*before);
            }
        }
        if giving.left && self.invitation.is_some() {
            return self.give_up_inviting(context, 487, Ending::Cancelled, None);
        }
        if giving.left {
            return self.finish(context, Ending::HungUp(other));
        }
        if returned || giving.asked.is_none() {
            self.restate(context);
        }
        self.persist(context);
    }

    /// A side's leg is put aside, or all is over: whoever waits for it is told, and what it was told before
    /// comes back.
    pub(crate) fn drop_giving(&mut self, context: &mut Context<'_>, side: Side) -> Option<Talk> {
        let giving = self.giving.take_if(|giving| giving.side == side)?;
        let person = Person::of(self.party(side));
        match giving
            .given
            .map(|leg| Given::write(&leg, person, Vec::new()))
        {
            None => context.tell(self.id, giving.to, Word::Keep(480)),
            // What has been given is the other's to end, and nobody else's any more.
            Some(Some(given)) => context.tell(self.id, giving.to, Word::Leave(given)),
            Some(None) => {}
        }
        giving.before.map(|before| *before)
    }

    /// The other side of who is to be given hangs up: its phone takes the transfer for done. Returns false
    /// where nobody is to be given.
    pub(crate) fn leaves_given(&mut self, side: Side) -> bool {
        let giving = self.giving.as_mut();
        let Some(giving) = giving.filter(|giving| giving.side == side.other()) else {
            return false;
        };
        giving.left = true;
        true
    }

    /// Nobody is left to restore a side for that is to be given.
    pub(crate) fn given_alone(&self, side: Side) -> bool {
        let giving = self.giving.as_ref();
        giving.is_some_and(|giving| giving.left && giving.side == side)
    }

    /// After a restart: the phone may have heard of the other session, or not. Who was promised it asks anew.
    pub(crate) fn giving_resumes(&mut self, context: &mut Context<'_>) {
        let Some(giving) = &mut self.giving else {
            return;
        };
        giving.until = context.now + RESUMED;
        giving.again_at = None;
        let (side, left, before) = (giving.side, giving.left, giving.before.take());
        if left {
            // It has hung up.
            let gone = self.party_mut(side.other()).leg.take();
            if let Some(gone) = gone {
                context.forget_tag(&gone.dialog.local_tag);
            }
            self.party_mut(side.other()).check = None;
        }
        if let (Some(leg), Some(before)) = (self.leg_mut(side), before) {
            leg.talk.back_to(*before);
        }
        self.offer_given(context);
    }

    /// A phone may have agreed to a session that came to nothing, and is told once more what stands; where something
    /// is open in its dialog, later.
    pub(crate) fn restate(&mut self, context: &mut Context<'_>) {
        self.set_right(context);
        let id = self.id;
        for side in [Side::Caller, Side::Callee] {
            let there = self.party(side.other()).lost.is_none();
            let due = |leg: &&mut Leg| {
                // What it is to hear besides comes with that.
                let waits = there && leg.wish.at.is_some();
                leg.lent && !waits && leg.is_quiet(context)
            };
            let Some(leg) = self.leg_mut(side).filter(due) else {
                continue;
            };
            let before = leg.talk.clone();
            let (Some(told), Some(open)) = (leg.talk.tell_anew(), leg.may_offer(context)) else {
                continue;
            };
            leg.offer_alone(context, id, &Method::Invite, (open, before), &told);
        }
    }
}
