//! Directed pickup (RFC 3891 3): a call that rings somebody's phone is taken by another person's, which has
//! learned of the dialog by its dialog events (RFC 4235) and names it in the Replaces of an INVITE.
//!
//! ```text
//!   caller            Refork             called          who picks up
//!      │── INVITE ──────►│── INVITE ───────►│                 │
//!      │◄── 180 ─────────│◄── 180 ──────────│                 │
//!      │                 │◄── INVITE, Replaces: the called phone's dialog
//!      │                 │── 200 ──────────────────────────── ►│
//!      │◄── 200 ─────────│── CANCEL ───────►│                 │
//! ```
//!
//! Both have offered a session, so each gets the other's for an answer, where they have a format in common. Who picks
//! up and has offered nothing is offered the caller's (`unoffered`).
//!
//! A phone that rings by a transfer or by a re-fork is no other case; there it is the survivor who learns of
//! nobody but by the word that it gets, and whose session stands. Where that must be another one it is asked first,
//! and who picks up has its 2xx once it has agreed (`consent`). Who has offered nothing has it at once, and is let go
//! where the survivor does not agree to what its ACK brings.

use super::answered::Won;
use crate::engine::asker::Asker;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE, end_with};
use crate::engine::conversation::forking::{Asking, Branch, BranchState, Meant};
use crate::engine::conversation::leg::{Leg, Unacknowledged};
use crate::engine::conversation::people::person::Person;
use crate::engine::conversation::restoring::repair::Replaced;
use crate::engine::conversation::session::enclosed::sdp_of;
pub(crate) use crate::engine::conversation::session::keys::{Role, Telling};
use crate::engine::conversation::session::media;
use crate::engine::dialog::{Happens, Life};
use crate::engine::ids::{Aor, Flow, LegId, Side};
use crate::engine::location;
use crate::engine::mint::veiled;
use crate::engine::refusal::{Refusal, SIPS_NOT_ALLOWED};
use crate::engine::settings::{MediaMode, Pickup};
use crate::engine::transaction::ServerId;
use crate::sip::sdp::{Keying, Sdp};
use crate::sip::{Message, sdp};

impl Conversation {
    /// An INVITE that replaces a dialog which rings, perhaps of somebody beyond one of these upstreams.
    pub(crate) fn on_pickup(
        &mut self,
        context: &mut Context<'_>,
        named: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
        (asker, beyond): (&Asker, Option<Vec<Box<str>>>),
        replaced: &Replaced<'_>,
    ) {
        let picker = match self.may_pick_up(context, named, request, asker, replaced) {
            Ok(picker) => (picker, beyond),
            Err(refusal) => return context.turn_down(server, refusal),
        };
        if self.would_leave_secrecy(context, &flow) {
            return context.turn_down(server, SIPS_NOT_ALLOWED);
        }
        let taken = match self.branch_side(named) {
            None => self.pick_up(context, named, server, request, flow, picker),
            Some(side) => self.pick_up_again(context, (side, named), server, request, flow, picker),
        };
        if let Err(refusal) = taken {
            context.turn_down(server, refusal);
        }
    }

    /// Returns who it is that may have the call.
    fn may_pick_up(
        &self,
        context: &Context<'_>,
        named: LegId,
        request: &Message,
        asker: &Asker,
        replaced: &Replaced<'_>,
    ) -> Result<Person, Refusal> {
        const UNKNOWN: Refusal = Refusal::new(481, "Replaces of a dialog that is not known");
        let settings = &context.shared.settings;
        let again = self.branch_side(named);
        let fork = match again {
            Some(side) => self.party(side).lost.as_ref().map(|lost| &lost.fork),
            None => self.invitation.as_ref().map(|first| &first.fork),
        };
        let branch = fork.and_then(|fork| fork.find(named)).ok_or(UNKNOWN)?;
        let dialog = &branch.leg.dialog;
        let names = branch.leg.life == Life::Ringing
            && *dialog.call_id == *replaced.call_id
            && *dialog.local_tag == *replaced.local_tag
            && dialog.remote_tag.as_deref().is_some_and(|tag| {
                // As its lamps show it, or as an upstream that tells of it.
                let shown = || veiled(context.shared.shard_key, tag);
                tag == replaced.remote_tag || shown() == replaced.remote_tag
            });
        if !names {
            return Err(UNKNOWN);
        }
        let from = location::whose(request.from().uri, context.now, settings, context.world);
        let who = match asker {
            Asker::Proven(user) | Asker::Unasked(user) => Some(user.clone()),
            Asker::Trusted | Asker::Of(_) => from,
            // Nothing shows that it is who it says.
            Asker::Says(_) | Asker::Stranger => None,
        };
        let called = self.party(again.unwrap_or(Side::Callee));
        // Whose phone rings has the lamp that it is shown by: a call that was forwarded is another's.
        let (rung, theirs) = match &branch.meant {
            Some(meant) => (&meant.person.aor, &meant.person.asker),
            None => (&called.aor, &called.asker),
        };
        let same_upstream = !matches!(asker, Asker::Of(_)) || asker == theirs;
        let may = |who: &Aor| match settings.fork.pickup {
            Pickup::Domain => who.host() == rung.host() && same_upstream,
            Pickup::Own => who == rung && same_upstream,
            Pickup::Off => false,
        };
        let who = who.filter(may);
        let aor = who.ok_or((403, "pickup of a call that is not theirs to take"))?;
        Ok(Person::calling(request, asker, aor))
    }

    fn pick_up(
        &mut self,
        context: &mut Context<'_>,
        named: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
        (picker, beyond): (Person, Option<Vec<Box<str>>>),
    ) -> Result<(), Refusal> {
        const UNFIT: Refusal = Refusal::new(488, "pickup with a session that does not fit");
        let branch = self.branch_mut(named).ok_or(UNFIT)?;
        let tag = branch.leg.dialog.remote_tag.clone();
        let at = self.early_for(context, named, tag.as_deref());
        let at = at.ok_or(UNFIT)?;
        let invitation = self.invitation.as_ref().ok_or(UNFIT)?;
        let mut branches = invitation.fork.branches.iter();
        let is_picked_up = branches.any(Branch::is_being_asked);
        if invitation.held.is_some() || invitation.holds(named, at) || is_picked_up {
            return Err((491, "pickup of a call that is just being answered").into());
        }
        if invitation.early.get(at).is_some_and(|early| early.settled) {
            return Err((488, "pickup of a call whose caller has agreed to a session").into());
        }
        let generation = invitation
            .fork
            .find(named)
            .map_or(0, |branch| branch.generation);
        let Some(wanted) = invitation.offer.clone() else {
            return Err((488, "pickup of a call whose caller has offered nothing").into());
        };
        let mode = context.shared.settings.media.mode;
        let told = invitation
            .early
            .get(at)
            .is_some_and(|early| early.talk.told.is_some());
        let offer = sdp_of(request);
        let keys = has_keys(&wanted) || offer.as_deref().is_some_and(has_keys);
        if mode == MediaMode::Direct && (told || keys) {
            // RFC 6337 3.1.1: the caller goes by what it was told first; and keys in two offers are no answer
            // to one another (RFC 4568 5.1.2).
            return Err((488, "pickup of a session that is the phones' own").into());
        }
        let Some(offer) = offer else {
            let (aor, asker) = (&picker.aor, &picker.asker);
            let mut leg = self.replacing_leg(context, Side::Callee, aor, asker, request, flow);
            leg.is_called_by(beyond);
            let asked = (server, request.cseq());
            return self.offer_to_picker(context, (named, generation), asked, leg, picker, wanted);
        };
        let fits =
            sdp::shares(wanted.as_bytes(), offer.as_bytes()) || media::is_all_signalling(&offer);
        let heard = sdp::answer_with(offer.as_bytes(), wanted.as_bytes());
        let heard = heard.and_then(|heard| String::from_utf8(heard).ok());
        let heard = heard.filter(|_| fits).ok_or(UNFIT)?;
        let mut leg = self.replacing_leg(
            context,
            Side::Callee,
            &picker.aor,
            &picker.asker,
            request,
            flow,
        );
        leg.is_called_by(beyond);
        leg.talk.offers(offer.clone());
        let ours_at = context.world.advertised(&flow);
        let mut telling = Telling::new(context.shared, Role::Answer);
        let ports = self.ports[Side::Callee.index()].of(generation);
        let standing = sdp::answer_with(wanted.as_bytes(), offer.as_bytes());
        let standing = standing.and_then(|standing| String::from_utf8(standing).ok());
        let body = standing.and_then(|standing| {
            media::tell(&mut leg.talk, &standing, ports, ours_at, mode, &mut telling)
        });
        let Some(body) = body else {
            context.forget_tag(&leg.dialog.local_tag);
            return Err(UNFIT);
        };
        self.accept_picker(context, &mut leg, (server, request.cseq()), &body, false);
        let Some(mut invitation) = self.invitation.take() else {
            return Ok(());
        };
        self.cancel_branches(context, &mut invitation.fork, Some(ELSEWHERE));
        self.invitation = Some(invitation);
        self.settle_crossings(context, None);
        let Some(invitation) = self.invitation.take() else {
            return Ok(());
        };
        let mut branch = Branch::new(leg, BranchState::Joining, context.now);
        branch.meant = Some(Box::new(Meant {
            person: picker,
            trail: None,
        }));
        branch.generation = generation;
        let won = Won {
            branch,
            said: Some(heard.into()),
            delayed: false,
        };
        self.answer_caller(context, invitation, at, won, None);
        Ok(())
    }

    /// The same where the phone rings by a transfer or a re-fork: whoever survives has a session that stands.
    fn pick_up_again(
        &mut self,
        context: &mut Context<'_>,
        (side, named): (Side, LegId),
        server: ServerId,
        request: &Message,
        flow: Flow,
        (picker, beyond): (Person, Option<Vec<Box<str>>>),
    ) -> Result<(), Refusal> {
        const UNFIT: Refusal = Refusal::new(488, "pickup with a session that does not fit");
        let lost = self.party(side).lost.as_ref().ok_or(UNFIT)?;
        if lost.joining.is_some() || lost.fork.branches.iter().any(Branch::is_being_asked) {
            return Err((491, "pickup of a call that is just being answered").into());
        }
        let generation = lost.fork.find(named).map_or(0, |branch| branch.generation);
        let Some(offer) = sdp_of(request) else {
            let wanted = self.offer_anew(side).ok_or(UNFIT)?;
            let (aor, asker) = (&picker.aor, &picker.asker);
            let mut leg = self.replacing_leg(context, side, aor, asker, request, flow);
            leg.is_called_by(beyond);
            let asked = (server, request.cseq());
            return self.offer_to_picker(context, (named, generation), asked, leg, picker, wanted);
        };
        let wanted = self.offer_to(side).ok_or(UNFIT)?;
        if !sdp::shares(wanted.as_bytes(), offer.as_bytes()) && !media::is_all_signalling(&offer) {
            return Err(UNFIT);
        }
        let mut leg = self.replacing_leg(context, side, &picker.aor, &picker.asker, request, flow);
        leg.is_called_by(beyond);
        leg.talk.offers(offer);
        let number = leg.id;
        context.shared.transactions.bind(server, (self.id, number));
        let mut branch = Branch::new(leg, BranchState::Joining, context.now);
        branch.generation = generation;
        branch.picker = Some(Box::new(picker));
        // It is answered once whoever survives has agreed, which it has where it need not be asked.
        let person = None;
        branch.asks = Some(Box::new(Asking { server, person }));
        if let Some(lost) = &mut self.party_mut(side).lost {
            lost.fork.branches.push(branch);
        }
        self.keep_open_invite(context, server);
        self.taken(context, side, number);
        Ok(())
    }

    /// Who picks up a call that rings again has the place, and its 2xx. Returns false where the two have no session
    /// in common after all.
    pub(crate) fn seat_picker(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        branch: &mut Branch,
    ) -> bool {
        let Some(server) = branch.asks.as_ref().map(|asks| asks.server) else {
            return false;
        };
        let lost = self.party(side).lost.as_ref();
        let asked = lost.is_some_and(|lost| lost.before.is_some());
        let survivor = self.party(side.other());
        let standing = if asked && survivor.is_up() {
            // What it has said last is the answer.
            survivor.talk().and_then(|talk| talk.said.clone())
        } else {
            let offer = branch.leg.talk.said.as_deref().unwrap_or("");
            let wanted = self.offer_to(side);
            let answer = wanted.and_then(|wanted| {
                let answer = sdp::answer_with(wanted.as_bytes(), offer.as_bytes())?;
                String::from_utf8(answer).ok()
            });
            answer.map(String::into_boxed_str)
        };
        let mode = context.shared.settings.media.mode;
        let ours_at = context.world.advertised(&branch.leg.dialog.flow);
        let mut telling = Telling::new(context.shared, Role::Answer);
        let ports = self.ports[side.index()].of(branch.generation);
        let talk = &mut branch.leg.talk;
        let body = standing
            .and_then(|standing| media::tell(talk, &standing, ports, ours_at, mode, &mut telling));
        let Some(body) = body else {
            return false;
        };
        branch.asks = None;
        let cseq = branch.leg.dialog.remote_cseq.unwrap_or(0);
        self.accept_picker(context, &mut branch.leg, (server, cseq), &body, false);
        true
    }

    /// Who picks up has its 2xx, with an answer, or with an offer whose `answer_due` comes by the ACK.
    pub(super) fn accept_picker(
        &self,
        context: &mut Context<'_>,
        leg: &mut Leg,
        (server, cseq): (ServerId, u32),
        body: &str,
        answer_due: bool,
    ) {
        let _ = leg.life.take(Happens::Accept);
        let tag = leg.dialog.local_tag.clone();
        let accepting = leg.accepting(context, server);
        context.shared.transactions.bind(server, (self.id, leg.id));
        context.respond(server, 200, "OK", Some(&tag), |builder| {
            let builder = accepting.write(builder);
            end_with(builder, Some("application/sdp"), body.as_bytes())
        });
        leg.unacknowledged = Some(Unacknowledged {
            server,
            cseq,
            answer_due,
        });
    }
}

fn has_keys(said: &str) -> bool {
    let secure = |sdp: Sdp<'_>| {
        sdp.media()
            .iter()
            .any(|media| media.keying() != Keying::None)
    };
    Sdp::parse(said.as_bytes()).is_ok_and(secure)
}
