//! The far end of another call takes the transferor's place (RFC 5589 7): what the conversation does that it
//! comes to. Its other side, who is transferred, notices nothing where the sessions fit.
//!
//! Until the other conversation has given its leg there is a branch for it here, whose INVITE is a re-INVITE
//! that the other sends.

use std::sync::Arc;

use bytes::Bytes;

use super::given::Given;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::{Branch, BranchState};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::letters::queue::Letter;
use crate::engine::dialog::Dialog;
use crate::engine::endpoint::Identity;
use crate::engine::events::{Happening, Refuser};
use crate::engine::handover::{Wanted, Word};
use crate::engine::ids::{ConversationId, LegId, Side};
use crate::engine::ports::{Generation, Output, Token};
use crate::engine::time::Millis;

/// A re-INVITE has its time-out, and may have to be sent again after another's.
pub(super) const ANSWERED: Millis = Millis::from_secs(40);

/// A leg has arrived, and whoever gave it does not know yet.
#[derive(Debug)]
pub(crate) struct Arriving {
    from: ConversationId,
    /// The store is asked to keep it; none where that has failed.
    storing: Option<Token>,
}

impl Conversation {
    /// Another conversation says something about a leg that changes hands.
    pub(crate) fn on_handover(
        &mut self,
        context: &mut Context<'_>,
        from: ConversationId,
        word: Word,
    ) {
        match word {
            Word::Ask(wanted) => self.on_wanted(context, from, wanted),
            Word::Decline => self.declined(context, from),
            Word::Rings => self.on_giver_rings(context, from),
            Word::Give(leg) => {
                if let Some(status) = self.on_given(context, from, &leg) {
                    context.tell(self.id, from, Word::Keep(status));
                }
            }
            Word::Leave(leg) => self.on_left(context, from, &leg),
            Word::Taken => self.on_taken(context, from),
            Word::Half { upstreams, secure } => self.on_half(context, from, (&upstreams, secure)),
            Word::HungUp => self.on_half_hung_up(context),
            Word::Here(endpoint) => self.on_half_here(context, from, *endpoint),
            Word::Keep(_) if self.has_giving_to(from) => self.declined(context, from),
            Word::Keep(status) => {
                if let Some((side, leg)) = self.taken_from(from)
                    && !self.half_keeps(context, side, leg)
                {
                    self.rings_no_more(side);
                    self.again_failed(context, side, leg, status, Refuser::Endpoint);
                }
            }
            Word::Unknown => {
                if let Some((side, leg)) = self.taken_from(from)
                    && !self.half_keeps(context, side, leg)
                    && !self.calls_anew(context, side, leg)
                {
                    self.again_failed(context, side, leg, 481, Refuser::Endpoint);
                }
            }
        }
    }

    /// Returns the branch whose leg another conversation is asked for.
    fn taken_from(&self, from: ConversationId) -> Option<(Side, LegId)> {
        [Side::Caller, Side::Callee].into_iter().find_map(|side| {
            let fork = &self.party(side).lost.as_ref()?.fork;
            let mut branches = fork.branches.iter();
            let branch = branches.find(|branch| branch.giver == Some(from))?;
            Some((side, branch.leg.id))
        })
    }

    /// Has the other conversation offer its phone the session of a branch.
    pub(crate) fn ask_for(
        &self,
        context: &mut Context<'_>,
        branch: &mut Branch,
        (giver, rings): (ConversationId, Millis),
        said: &str,
    ) {
        let side = branch.leg.side;
        let other = self.party(side.other());
        let wanted = Wanted {
            said: said.into(),
            addresses: self.addresses(side, branch.generation),
            asserted: other.asserted.clone(),
            privacy: other.veil.value().map(Into::into),
        };
        context.tell(self.id, giver, Word::Ask(wanted));
        branch.state = BranchState::Calling;
        branch.until = context.now + rings + ANSWERED;
    }

    /// Who is to be given has not answered, and rings.
    fn on_giver_rings(&mut self, context: &mut Context<'_>, from: ConversationId) {
        let Some((side, leg)) = self.taken_from(from) else {
            return;
        };
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        if !std::mem::replace(&mut branch.rang, true) {
            let (endpoint, attempt) = (branch.endpoint().name.clone(), branch.attempt());
            let ringing = Happening::Ringing {
                side,
                endpoint,
                attempt,
            };
            self.note(context, ringing);
            self.target_rings(context, side);
            self.persist(context);
        }
    }

    fn addresses(&self, side: Side, generation: Generation) -> Vec<std::net::SocketAddr> {
        self.ports[side.index()].of(generation).addresses.clone()
    }

    /// The leg is ours from now on. Returns the status for which it is not.
    fn on_given(
        &mut self,
        context: &mut Context<'_>,
        from: ConversationId,
        leg: &Bytes,
    ) -> Option<u16> {
        let id = self.id;
        let Some(Given {
            leg: mut given,
            person,
            letters,
        }) = Given::read(leg)
        else {
            return Some(500);
        };
        let Some((side, number)) = self.taken_from(from) else {
            let known = self.leg_of(&given.dialog);
            if let Some(leg) = known {
                // Whoever gave it has let go of its tag once more.
                context.know_tag(&given.dialog.local_tag, (id, leg));
            }
            let mut asides = self.parties.iter().filter_map(|party| party.lost.as_ref());
            let arriving = self.arriving.as_ref().filter(|known| known.from == from);
            match arriving.map(|known| known.storing) {
                // It has come before.
                Some(Some(_)) => {}
                Some(None) => self.store_arrival(context, from),
                None if known.is_some() => context.tell(id, from, Word::Taken),
                // After a restart it is asked for in a moment.
                None if asides.any(|aside| aside.giver() == Some(from)) => {}
                None => return Some(481),
            }
            return None;
        };
        let uuid = self.uuid_of(side.other());
        let lost = self.party(side).lost.as_ref();
        let of_half = lost.is_some_and(|lost| lost.is_of_half(number));
        // The PBX may have named the very user by another domain.
        let another = !of_half && person.aor != self.party(side).aor;
        let branch = self.branch_mut(number)?;
        // Somebody else than who was asked for has taken the call there.
        branch.picker = another.then(|| Box::new(person));
        context.forget_tag(&branch.leg.dialog.local_tag);
        context.know_tag(&given.dialog.local_tag, (id, number));
        (given.id, given.side, given.untold) = (number, side, None);
        given.dialog.session.ours = uuid;
        branch.giver = None;
        branch.leg = given;
        self.letters_of_half(context, side.other(), number, letters);
        self.taken(context, side, number);
        self.store_arrival(context, from);
        None
    }

    /// What the phone of a leg had written before that came here, and was told that it is accepted.
    fn letters_of_half(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        over: LegId,
        letters: Vec<Letter>,
    ) {
        for mut letter in letters {
            letter.over = Some(over);
            if self.enqueue(context, to, letter.clone()).is_err() {
                self.is_dropped(context, to, &letter);
            }
        }
        self.pump(context, to);
    }

    /// Who gave the leg is over: nobody has it but us.
    fn on_left(&mut self, context: &mut Context<'_>, from: ConversationId, leg: &Bytes) {
        let Some(Given { leg: given, .. }) = Given::read(leg) else {
            return;
        };
        let wanted = self.taken_from(from).is_some();
        if wanted && self.on_given(context, from, leg).is_none() {
            return;
        }
        if self.leg_of(&given.dialog).is_none() {
            context.end_given(self.id, leg);
        }
    }

    /// The giver hears that the leg is here once the store has it: until then one of the two has, after a kill.
    fn store_arrival(&mut self, context: &mut Context<'_>, from: ConversationId) {
        if self.ended.is_some() {
            return context.tell(self.id, from, Word::Taken);
        }
        let token = context.ask(self.id);
        self.arriving = Some(Box::new(Arriving {
            from,
            storing: Some(token),
        }));
        context.shared.out.push_back(Output::Persist {
            conversation: self.id,
            token: Some(token),
        });
    }

    /// The store has answered. Returns false where it was asked for something else.
    pub(crate) fn arrival_stored(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        ok: bool,
    ) -> bool {
        let Some(arriving) = &mut self.arriving else {
            return false;
        };
        if arriving.storing.take_if(|known| *known == token).is_none() {
            return false;
        }
        // The giver says its word again, and the store is asked again then.
        if ok {
            let from = arriving.from;
            self.arriving = None;
            context.tell(self.id, from, Word::Taken);
        }
        true
    }

    /// All is over, and the leg with it: it does not go back.
    pub(crate) fn settle_arrival(&mut self, context: &mut Context<'_>) {
        if let Some(arriving) = self.arriving.take() {
            if let Some(token) = arriving.storing {
                context.shared.asked.remove(&token);
            }
            context.tell(self.id, arriving.from, Word::Taken);
        }
    }

    /// Returns the leg of this conversation that has a dialog.
    fn leg_of(&self, dialog: &Dialog) -> Option<LegId> {
        let legs = self.parties.iter().flat_map(|party| {
            let aside = party.lost.iter().flat_map(|aside| {
                let branches = aside.fork.branches.iter().map(|branch| &branch.leg);
                branches.chain([&aside.old])
            });
            party.leg.iter().chain(aside)
        });
        let mut legs = legs.chain(self.leaving.iter().map(|known| &known.leg));
        let same = |leg: &&Leg| leg.dialog.local_tag == dialog.local_tag;
        legs.find(same).map(|leg| leg.id)
    }

    /// The giver has heard of its phone: it is not one that a restart has forgotten.
    fn rings_no_more(&mut self, side: Side) {
        let aside = self.party_mut(side).lost.as_mut();
        if let Some(transfer) = aside.and_then(|aside| aside.transfer.as_mut()) {
            transfer.rings = None;
        }
    }

    /// A restart has forgotten the call that rang: its phone is called by us. Returns false where the target
    /// had answered.
    fn calls_anew(&mut self, context: &mut Context<'_>, side: Side, leg: LegId) -> bool {
        let Some(aside) = &mut self.party_mut(side).lost else {
            return false;
        };
        let Some(transfer) = &mut aside.transfer else {
            return false;
        };
        if transfer.rings.take().is_none() {
            return false;
        }
        transfer.giver = None;
        let Some(branch) = aside.fork.take(leg) else {
            return false;
        };
        context.forget_tag(&branch.leg.dialog.local_tag);
        self.ask(context, side, vec![branch.leg.endpoint]);
        true
    }

    /// Whom it has talked to so far has left: it is told who talks to it now.
    pub(crate) fn introduce(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        transferor: Arc<Identity>,
    ) {
        self.party_mut(side.other()).believed = Some(transferor);
        self.announce(context, side.other());
    }
}
