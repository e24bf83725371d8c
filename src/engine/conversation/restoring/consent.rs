//! A phone that repairs itself with a session which the survivor must agree to: its media goes between the
//! endpoints themselves (`media.mode: direct`, or MSRP beside the relay), it is a fax, or it lacks a format that the
//! survivor may be sending. Where the survivor does not agree the phone gets 488, and the restoration goes on.
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
//! Until then the INVITE is a branch of its side, whose old leg stands aside: lost, or only waiting. So is that of
//! another person who picks up a call that rings again (`pickup`); the phones ring on meanwhile.

use super::aside::Restoration;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, end_with};
use crate::engine::conversation::forking::{Asking, Branch, BranchState};
use crate::engine::conversation::leg::{Leg, Unacknowledged};
pub(crate) use crate::engine::conversation::session::keys::{Role, Telling};
use crate::engine::conversation::session::media;
use crate::engine::conversation::session::refused::Streams;
use crate::engine::dialog::Happens;
use crate::engine::events::{Ending, Happening, Signal};
use crate::engine::ids::{LegId, Side};
use crate::engine::time::Millis;
use crate::engine::transaction::ServerId;
use crate::sip::sdp;

/// A re-INVITE has its time-out, and may have to be sent again after another's.
const AGREED: Millis = Millis::from_secs(40);

/// A phone's offer has no answer.
#[derive(Debug)]
pub(super) struct Unfit;

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
        let said = leg.talk.said.as_deref();
        let refusal = if !said.is_some_and(media::has_streams) {
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
                ..Restoration::new(old, now, now + AGREED)
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
        self.keep_open_invite(context, server);
        self.join(context, side, id);
    }

    /// The survivor has agreed, or is gone meanwhile.
    pub(super) fn consented(&mut self, context: &mut Context<'_>, side: Side, mut branch: Branch) {
        let answered = self.party(side.other()).is_up();
        let Ok(answer) = self.answer_to(context, side, &mut branch.leg, answered) else {
            return self.disagreed(context, side, branch);
        };
        let Some(asking) = branch.asks else { return };
        let lost = self.party(side).is_missed();
        let gone = self.party(side).lost.as_ref().is_some_and(|l| l.gone);
        let old = self.revive(context, side);
        let old = match old {
            Some(old) if gone => {
                context.forget_tag(&old.dialog.local_tag);
                None
            }
            old => old,
        };
        self.seat(context, side, branch.leg, *asking, (old, lost), answer);
    }

    /// What the survivor has agreed to is no answer to who asks.
    pub(super) fn disagreed(&mut self, context: &mut Context<'_>, side: Side, branch: Branch) {
        let lost = self.party_mut(side).lost.as_mut();
        let before = lost.and_then(|lost| lost.before.take());
        if let (Some(before), Some(survivor)) = (before, self.leg_mut(side.other())) {
            survivor.talk.told = before.told;
            survivor.lent = true;
        }
        self.not_agreed(context, side, branch, 488);
        self.restate(context);
    }

    /// Writes what the phone that is going to take the place is told: the answer to its offer, or an offer. What
    /// the other side last said may be `answered` to that offer already. None where the call has no session.
    ///
    /// # Errors
    /// The two have no session in common.
    pub(super) fn answer_to(
        &self,
        context: &mut Context<'_>,
        side: Side,
        leg: &mut Leg,
        answered: bool,
    ) -> Result<Option<Box<str>>, Unfit> {
        let offer = leg.talk.said.clone();
        // Without the hold of the one that was there: who comes says itself whether it holds.
        let resumed = self.resumed(side).filter(|_| offer.is_some() && !answered);
        let other = self.party(side.other()).talk();
        let heard = other.and_then(|talk| talk.said.as_deref());
        let heard = resumed.as_deref().or(heard);
        let mode = context.shared.settings.media.mode;
        let ours_at = context.world.advertised(&leg.dialog.flow);
        let role = if offer.is_some() {
            Role::Answer
        } else {
            Role::Offer
        };
        // It goes on with the ports of the leg that it replaces.
        let lost = self.party(side).lost.as_ref();
        let ports = lost.map_or_else(|| &self.ports[side.index()], |lost| &lost.old_ports);
        let mut telling = Telling::new(context.shared, role);
        let standing = heard.and_then(|heard| {
            media::tell(&mut leg.talk, heard, ports, ours_at, mode, &mut telling)
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
            return Err(Unfit);
        }
        leg.talk.told.clone_from(&body);
        Ok(body)
    }

    /// The phone takes the place of the one that it was, or is, and has its 2xx with the session. `old` is the leg
    /// that was there, and whether it was lost.
    pub(super) fn seat(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        mut leg: Leg,
        asking: Asking,
        (old, lost): (Option<Leg>, bool),
        answer: Option<Box<str>>,
    ) {
        let before = self.drop_giving(context, side);
        if self.inquires_for(side) {
            self.drop_inquiry(context);
        }
        let endpoint = leg.endpoint.name.clone();
        let same = old.as_ref().is_some_and(|old| leg.is_endpoint_of(old));
        if let Some(old) = old.as_ref().filter(|_| asking.person.is_none()) {
            leg.follows(old, same);
        }
        let Asking { server, person } = asking;
        self.accept_repair(context, &mut leg, server, answer.as_deref());
        self.party_mut(side).leg = Some(leg);
        if let Some(mut old) = old {
            old.talk = before.unwrap_or(old.talk);
            self.bury(context, old);
        }
        let transferred = person.is_some();
        if let Some(mut person) = person {
            self.letters_before_transfer(context, side);
            self.letters_of_the_lost(context, side);
            self.letters_after_transfer(context, side);
            let aor = self.party(side).aor.clone();
            if person.aor != aor {
                self.leave_ghosts_of(context, side, &aor);
            }
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
        if !transferred {
            self.letters_of_the_lost(context, side);
        }
        self.configure(context, side);
        self.watch(context, side);
        let happening = match (transferred, lost) {
            (true, _) => Happening::Transferred { side, endpoint },
            (false, true) => Happening::Repaired { side, endpoint },
            (false, false) => Happening::TakenOver {
                side,
                endpoint,
                same,
            },
        };
        self.restorations += u32::from(matches!(happening, Happening::Repaired { .. }));
        self.note(context, happening);
        self.persist(context);
        self.pump(context, side);
        self.announce(context, side);
    }

    fn accept_repair(
        &self,
        context: &mut Context<'_>,
        leg: &mut Leg,
        server: ServerId,
        session: Option<&str>,
    ) {
        let _ = leg.life.take(Happens::Accept);
        let tag = leg.dialog.local_tag.clone();
        let accepting = leg.accepting(context, server);
        context.shared.transactions.bind(server, (self.id, leg.id));
        context.respond(server, 200, "OK", Some(&tag), |builder| {
            end_with(
                accepting.write(builder),
                Some("application/sdp"),
                session.unwrap_or("").as_bytes(),
            )
        });
        leg.unacknowledged = Some(Unacknowledged {
            server,
            cseq: leg.dialog.remote_cseq.unwrap_or(0),
            answer_due: leg.talk.said.is_none() && session.is_some(),
        });
    }

    /// Returns for which streams there are ports on a side: who repairs itself is to go on with those of the leg
    /// that stands aside.
    pub(crate) fn room(&self, side: Side) -> Streams {
        let lost = self.party(side).lost.as_ref();
        let asks = |branch: &Branch| branch.asks.is_some() && branch.picker.is_none();
        match lost.filter(|lost| lost.fork.branches.iter().any(asks)) {
            Some(lost) => lost.old_ports.room(),
            None => self.ports[side.index()].room(),
        }
    }

    /// The old leg is the side's again; where its own phone has asked, a probe will tell whether it lives.
    fn stays(&mut self, context: &mut Context<'_>, side: Side, own: bool) {
        let Some(old) = self.revive(context, side) else {
            return;
        };
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
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        lost.before = None;
        let stands = lost.stands;
        if lost.gone && (stands || lost.farewell) {
            // It has taken leave of the one dialog, and cannot have the other.
            return self.finish(context, Ending::HungUp(side));
        }
        if stands {
            return self.stays(context, side, person.is_none());
        }
        self.go_on(context, side);
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
    pub(crate) fn asking_cancelled(&mut self, context: &mut Context<'_>, server: ServerId) -> bool {
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
            return self.stays(context, side, true);
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
