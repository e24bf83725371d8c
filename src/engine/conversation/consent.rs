//! A phone that repairs itself with a session which the survivor must agree to: its media goes between the
//! endpoints themselves (`direct`, MSRP, DTLS), or has no format in common with what the survivor was told.
//!
//! ```text
//!   who repairs itself      Refork          survivor
//!      │── INVITE, Replaces ─►│                 │
//!      │                      │── INVITE ──────►│   its offer
//!      │                      │◄─ 200 ──────────│
//!      │◄─ 200 ───────────────│── ACK ─────────►│   the survivor's answer
//!      │◄─ BYE ───────────────│                 │   the dialog that was replaced
//! ```
//!
//! Until then the INVITE is a branch of its side, whose old leg stands aside: lost, or only waiting.

use super::Conversation;
use super::aside::Restoration;
use super::context::{Context, end_with};
use super::fork::{Asking, Branch, BranchState};
use super::keys::{Role, Telling};
use super::leg::{Leg, Unacknowledged};
use super::media;
use crate::engine::dialog::Happens;
use crate::engine::events::{Ending, Happening, Signal};
use crate::engine::ids::{LegId, Side};
use crate::engine::time::Millis;
use crate::engine::transaction::ServerId;
use crate::sip::sdp;

/// A re-INVITE has its time-out, and may have to be sent again after another's.
const AGREED: Millis = Millis::from_secs(40);

impl Conversation {
    /// The survivor is asked first.
    pub(super) fn ask_consent(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: Leg,
        asking: Asking,
    ) {
        let server = asking.server;
        let refusal = if leg.talk.said.is_none() {
            Some((488, "Replaces without the session that the other must know"))
        } else if self.is_transferring(side) {
            Some((491, "Replaces of a dialog whose phone transfers the call"))
        } else {
            None
        };
        if let Some((status, why)) = refusal {
            context.forget_tag(&leg.dialog.local_tag);
            return context.refuse(server, status, why);
        }
        // It wins over what is under way.
        self.stop_restoring(context, side);
        if let Some(old) = self.party_mut(side).leg.take() {
            let now = context.now;
            let aside = Restoration {
                start: None,
                stands: true,
                ..Restoration::new(old, now, now, now + AGREED)
            };
            self.put_aside(context, side, aside);
        }
        let id = leg.id;
        context.shared.transactions.bind(server, (self.id, id));
        let branch = Branch {
            asks: Some(Box::new(asking)),
            ..Branch::new(leg, BranchState::Joining, context.now)
        };
        let Some(aside) = &mut self.party_mut(side).lost else {
            return self.drop_branch(context, branch, None);
        };
        aside.fork.branches.push(branch);
        self.join(context, side, id);
    }

    /// The survivor has agreed, or is gone meanwhile.
    pub(super) fn consented(&mut self, context: &mut Context<'_>, side: Side, branch: Branch) {
        let Some(asking) = branch.asks else { return };
        let gone = self.party(side).lost.as_ref().is_some_and(|l| l.gone);
        let old = self.revive(context, side);
        let old = match old {
            Some(old) if gone => {
                context.forget_tag(&old.dialog.local_tag);
                None
            }
            old => old,
        };
        let answered = self.party(side.other()).is_up();
        self.seat(context, side, branch.leg, *asking, old, answered);
    }

    /// The phone takes the place of the one that it was, or is, and has its 2xx. `answered`: what the other
    /// side last said is the answer to its offer.
    pub(super) fn seat(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        mut leg: Leg,
        asking: Asking,
        old: Option<Leg>,
        answered: bool,
    ) {
        let id = self.id;
        let Asking { server, person } = asking;
        let offer = leg.talk.said.clone();
        let other = self.party(side.other()).talk();
        let heard = other.and_then(|talk| talk.said.clone());
        let mode = context.shared.settings.media.mode;
        let ours_at = context.world.advertised(&leg.dialog.flow);
        let role = if offer.is_some() {
            Role::Answer
        } else {
            Role::Offer
        };
        let standing = heard.as_deref().and_then(|heard| {
            media::tell(
                &mut leg.talk,
                heard,
                &self.ports[side.index()],
                ours_at,
                mode,
                &mut Telling::new(context.shared, role),
            )
        });
        let body = match (&offer, &standing) {
            (Some(offer), Some(standing)) if !answered => {
                sdp::answer_with(standing.as_bytes(), offer.as_bytes())
                    .and_then(|answer| String::from_utf8(answer).ok())
                    .map(String::into_boxed_str)
            }
            (Some(_), None) => None,
            (None | Some(_), standing) => standing.clone(),
        };
        if offer.is_some() && body.is_none() {
            context.forget_tag(&leg.dialog.local_tag);
            context.refuse(server, 488, "Replaces with a session that does not fit");
            return self.stays(context, side, old, person.is_none());
        }
        let before = self.drop_giving(context, side);
        if self.inquires_for(side) {
            self.drop_inquiry(context);
        }
        leg.talk.told.clone_from(&body);
        let _ = leg.life.take(Happens::Accept);
        let (leg_id, endpoint) = (leg.id, leg.endpoint.name.clone());
        let tag = leg.dialog.local_tag.clone();
        let accepting = leg.accepting(context, server);
        context.shared.transactions.bind(server, (id, leg_id));
        context.respond(server, 200, "OK", Some(&tag), |builder| {
            end_with(
                accepting.write(builder),
                Some("application/sdp"),
                body.as_deref().unwrap_or("").as_bytes(),
            )
        });
        leg.unacknowledged = Some(Unacknowledged {
            server,
            cseq: leg.dialog.remote_cseq.unwrap_or(0),
            answer_due: offer.is_none() && body.is_some(),
            provisional: None,
        });
        self.party_mut(side).leg = Some(leg);
        if let Some(mut old) = old {
            old.talk = before.unwrap_or(old.talk);
            self.bury(context, old);
        }
        let transferred = person.is_some();
        if let Some(mut person) = person {
            self.letters_before_transfer(context, side);
            let party = self.party_mut(side);
            person.swap(party);
            party.walked = None;
            // What either said at the beginning was for somebody else.
            self.parties
                .iter_mut()
                .for_each(|party| party.for_user = Box::default());
        }
        // What the old dialog owed the other side, nobody owes any more.
        self.acknowledge_with_the_standing(context, side.other());
        self.settle_renegotiation(context, side);
        self.settle_carried(context, side);
        self.letters_of_the_lost(context, side);
        if transferred {
            self.letters_after_transfer(context, side);
        }
        self.configure(context, side);
        self.watch(context, side);
        let happening = match transferred {
            true => Happening::Transferred { side, endpoint },
            false => Happening::Repaired { side, endpoint },
        };
        self.note(context, happening);
        self.persist(context);
        self.pump(context, side);
        self.announce(context, side);
    }

    /// The old leg is the side's again; where its own phone has asked, a probe will tell whether it lives.
    fn stays(&mut self, context: &mut Context<'_>, side: Side, old: Option<Leg>, own: bool) {
        let Some(old) = old else { return };
        self.party_mut(side).leg = Some(old);
        self.configure(context, side);
        self.watch(context, side);
        if own {
            self.suspect(context, side, Signal::Moved);
        }
        self.persist(context);
        self.pump(context, side);
    }

    /// The survivor does not take its session, or it has thought better of it: all is as it was.
    pub(super) fn not_agreed(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        branch: Branch,
        status: u16,
    ) {
        context.forget_tag(&branch.leg.dialog.local_tag);
        let Some(Asking { server, person }) = branch.asks.map(|asking| *asking) else {
            return;
        };
        let why = "Replaces with a session that the other does not take";
        context.tell_refusal(server, status, why);
        context.answer(server, status, Some(&branch.leg.dialog.local_tag));
        let Some(lost) = &self.party(side).lost else {
            return;
        };
        let (stands, gone) = (lost.stands, lost.gone);
        if stands && gone {
            return self.finish(context, Ending::HungUp(side));
        }
        if stands {
            let old = self.revive(context, side);
            return self.stays(context, side, old, person.is_none());
        }
        self.go_on(context, side);
    }

    /// The survivor has agreed to a session of nobody: where the old leg stands it has its own again.
    pub(super) fn restate_where_it_stands(&mut self, context: &mut Context<'_>, side: Side) {
        if self.party(side).is_up() {
            self.restate(context);
        } else if let Some(survivor) = self.leg_mut(side.other()) {
            survivor.lent = false;
        }
    }

    /// Returns the branch whose phone asks by this INVITE of its own.
    fn asking(&self, test: impl Fn(&Branch) -> bool) -> Option<(Side, LegId)> {
        [Side::Caller, Side::Callee].into_iter().find_map(|side| {
            let fork = &self.party(side).lost.as_ref()?.fork;
            let mut branches = fork.branches.iter();
            let branch = branches.find(|branch| branch.asks.is_some() && test(branch))?;
            Some((side, branch.leg.id))
        })
    }

    /// CANCEL of who asks. Returns false where it is another's.
    pub(super) fn asking_cancelled(&mut self, context: &mut Context<'_>, server: ServerId) -> bool {
        let is = |branch: &Branch| {
            branch
                .asks
                .as_ref()
                .is_some_and(|asks| asks.server == server)
        };
        let found = self.asking(is);
        found.is_some_and(|(side, leg)| self.ask_no_more(context, side, leg, 487))
    }

    /// It takes too long to agree, and nobody is sought meanwhile.
    pub(super) fn consent_overdue(&mut self, context: &mut Context<'_>, side: Side) {
        let Some((_, leg)) = self.asking(|branch| branch.leg.side == side) else {
            // The phone went on in its old dialog, or nobody knows any more who asked.
            let old = self.revive(context, side);
            return self.stays(context, side, old, true);
        };
        self.ask_no_more(context, side, leg, 500);
    }

    fn ask_no_more(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        status: u16,
    ) -> bool {
        let Some(lost) = &mut self.party_mut(side).lost else {
            return false;
        };
        let joining = lost.joining.take();
        let branch = lost.fork.take(leg);
        self.unask(context, side.other(), joining);
        if let Some(branch) = branch {
            self.not_agreed(context, side, branch, status);
        }
        true
    }
}
