//! The far end of another call takes the transferor's place (RFC 5589 7): what the conversation does that it
//! comes to. Its other side, who is transferred, notices nothing where the sessions fit.
//!
//! Until the other conversation has given its leg there is a branch for it here, whose INVITE is a re-INVITE
//! that the other sends.

use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::fork::{Branch, BranchState};
use super::leg::Leg;
use super::{Conversation, Party};
use crate::engine::dialog::Dialog;
use crate::engine::endpoint::Identity;
use crate::engine::events::Happening;
use crate::engine::handover::{Wanted, Word};
use crate::engine::ids::{ConversationId, LegId, Side};
use crate::engine::ports::Generation;
use crate::engine::time::Millis;

/// A re-INVITE has its time-out, and may have to be sent again after another's.
pub(super) const ANSWERED: Millis = Millis::from_secs(40);

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
            Word::Give(leg) => self.on_given(context, from, &leg),
            Word::Taken => self.on_taken(context, from),
            Word::Keep(_) if self.has_giving_to(from) => self.declined(context, from),
            Word::Keep(status) => {
                if let Some((side, leg)) = self.taken_from(from)
                    && !self.calls_anew(context, side, leg, status)
                {
                    self.again_failed(context, side, leg, status);
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
    pub(super) fn ask_for(
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
            let endpoint = branch.endpoint().name.clone();
            self.note(context, Happening::Ringing { endpoint });
            self.target_rings(context, side);
            self.persist(context);
        }
    }

    fn addresses(&self, side: Side, generation: Generation) -> Vec<std::net::SocketAddr> {
        self.ports[side.index()].of(generation).addresses.clone()
    }

    /// The leg is ours from now on.
    fn on_given(&mut self, context: &mut Context<'_>, from: ConversationId, leg: &Bytes) {
        let id = self.id;
        let Ok(mut given) = rmp_serde::from_slice::<Leg>(leg) else {
            return context.tell(id, from, Word::Keep(500));
        };
        let Some((side, number)) = self.taken_from(from) else {
            let mut asides = self.parties.iter().filter_map(|party| party.lost.as_ref());
            return match () {
                // It has come before.
                () if self.has_dialog(&given.dialog) => context.tell(id, from, Word::Taken),
                // After a restart it is asked for in a moment.
                () if asides.any(|aside| aside.giver() == Some(from)) => {}
                () => context.tell(id, from, Word::Keep(481)),
            };
        };
        let uuid = self.uuid_of(side.other());
        let Some(branch) = self.branch_mut(number) else {
            return;
        };
        context.forget_tag(&branch.leg.dialog.local_tag);
        context.know_tag(&given.dialog.local_tag, (id, number));
        (given.id, given.side) = (number, side);
        given.dialog.session.ours = uuid;
        branch.giver = None;
        branch.leg = given;
        self.taken(context, side, number);
        self.persist(context);
        context.tell(id, from, Word::Taken);
    }

    /// A dialog is one of this conversation's.
    fn has_dialog(&self, dialog: &Dialog) -> bool {
        let same = |leg: &Leg| leg.dialog.local_tag == dialog.local_tag;
        let of_party = |party: &Party| {
            let aside = party.lost.as_ref();
            party.leg.as_ref().is_some_and(same)
                || aside.is_some_and(|aside| {
                    same(&aside.old) || aside.fork.branches.iter().any(|branch| same(&branch.leg))
                })
        };
        self.parties.iter().any(of_party) || self.leaving.iter().any(|known| same(&known.leg))
    }

    /// A restart has forgotten the call that rang: its phone is called by us. Returns false where the target
    /// had answered.
    fn calls_anew(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        status: u16,
    ) -> bool {
        let Some(aside) = &mut self.party_mut(side).lost else {
            return false;
        };
        let Some(transfer) = &mut aside.transfer else {
            return false;
        };
        if transfer.rings.take().is_none() || status != 481 {
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
    pub(super) fn introduce(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        transferor: Arc<Identity>,
    ) {
        self.party_mut(side.other()).believed = Some(transferor);
        self.announce(context, side.other());
    }
}
