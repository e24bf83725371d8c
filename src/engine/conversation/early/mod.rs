//! Early dialogs: what the caller sees of phones that ring (RFC 3261 12.1, 13.2.2.1).
//!
//! `requests`, `offers` and `infos` what goes on in them, `prack` reliable provisional responses, `ends` one that ends
//! while others go on, `first` which session is told where there are several, `heard` whom of those the caller hears.

mod ends;
mod first;
pub(crate) mod heard;
mod infos;
pub(crate) mod offers;
pub(crate) mod prack;
mod requests;

use self::prack::Owed;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::carrying::crossing::with_session;
use crate::engine::conversation::context::{ALLOW, Context};
use crate::engine::conversation::inviting::Invitation;
use crate::engine::conversation::leg::Talk;
use crate::engine::conversation::session::enclosed::{Enclosed, end_enclosed, sdp_of};
pub(crate) use crate::engine::conversation::session::keys::{Role, Telling};
pub(crate) use crate::engine::conversation::session::media;
use crate::engine::dialog::reliable::{self, Carries, Order, Sent};
use crate::engine::dialog::{Dialog, Do, Happens};
use crate::engine::events::Happening;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::settings::EarlyDialogs;
use crate::sip::{Message, Name};

/// Early dialogs that the caller has of one branch: a proxy beyond us may make any number of them.
const OF_ONE_MAX: usize = 8;

/// One early dialog with the caller: of one that rings, or the one that stands for all of them.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) dialog: Dialog,
    /// Whose it is behind a branch that has rung with several tags (RFC 3261 12.1): where it has shown one, and the
    /// dialog is no other's.
    pub(super) far: Option<Box<str>>,
    pub(super) talk: Talk,
    pub(super) branches: Vec<LegId>,
    /// Responses that want a PRACK of the caller's.
    pub(super) sent: Sent,
    /// PRACKs that wait for the caller's, which may bring what they carry.
    pub(super) owed: Vec<Owed>,
    /// The caller has the answer to its offer, or has answered ours: both may offer anew.
    pub(super) settled: bool,
    /// The caller was told that it has ended (RFC 6228).
    pub(super) over: bool,
    /// The caller wants no more of it, and others behind the same branch ring on.
    pub(super) left: bool,
}

impl Invitation {
    /// Returns the caller's early dialog with who has this tag behind a branch.
    pub(super) fn early_of(&self, leg: LegId, tag: Option<&str>) -> Option<usize> {
        let of = |early: &Early| {
            early.branches.contains(&leg)
                && !early.over
                && (early.far.is_none() || early.far.as_deref() == tag)
        };
        self.early.iter().position(of)
    }
}

impl Conversation {
    /// A provisional response of a branch (RFC 3261 13.2.2.1): the caller sees it in the branch's dialog.
    pub(super) fn ringing(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let Some(invitation) = &mut self.invitation else {
            return;
        };
        let (wants, offered) = (invitation.wants, invitation.offer.is_some());
        let Some(branch) = invitation.fork.branch(leg) else {
            return;
        };
        let asks = reliable::rseq(response);
        if let (Some(rseq), Some(tag)) = (asks, response.to_tag()) {
            match branch.heard.take(tag, rseq) {
                Order::Take => {}
                // RFC 3262 4: its PRACK is under way, or it is looked at in its turn.
                Order::Again | Order::Gap | Order::TooMany => return,
            }
        }
        let first = !std::mem::replace(&mut branch.rang, true);
        branch.turn_to(response.to_tag());
        branch.is_heard();
        if response.to_tag().is_some() && branch.leg.life.take(Happens::Provisional) == Do::Ring {
            branch.leg.dialog.answered_by(response, flow);
        }
        branch.leg.abilities.learn(response);
        let said = sdp_of(response);
        if let Some(said) = &said {
            branch.leg.talk.says(said.clone());
            branch.settled |= asks.is_some() && offered;
        }
        let endpoint = branch.endpoint().name.clone();
        let owed = asks.map(|rseq| Owed::new(&branch.leg, rseq, response.cseq()));
        if first {
            let ringing = Happening::Ringing {
                side: Side::Callee,
                endpoint,
                attempt: None,
            };
            self.note(context, ringing);
            self.tell_of_ringing(context);
        }
        let reliably = wants.reliably(asks.is_some());
        // An offer in an unreliable response is none (RFC 3261 13.2.1).
        let takes = offered || reliably && asks.is_some();
        let at = self.early_with(context, leg, response);
        let at = at.filter(|at| self.early_mut(*at).is_some_and(|early| !early.left));
        let Some(at) = at else {
            // The caller does not hear of it, and so has no PRACK for it.
            if let Some(owed) = owed {
                self.prack(context, &owed, None);
            }
            return;
        };
        let body = said
            .filter(|_| takes)
            .and_then(|said| self.early_media(context, leg, at, &said));
        let carries = match (&body, offered) {
            (None, _) => Carries::Nothing,
            (Some(_), true) => Carries::Answer,
            (Some(_), false) => Carries::Offer,
        };
        let how = reliably.then_some(carries);
        let lines = self.lines_of(context, Side::Callee, response);
        let mut lines = with_session(lines, response);
        // Of whom a phone has forwarded to the peer that names that one is not known to be trusted.
        let branch = self.branch_mut(leg);
        if branch.is_some_and(|branch| branch.meant.is_none()) {
            lines.extend(self.asserted_line(context, Side::Callee, response));
        }
        lines.extend(self.history_back(context, leg, response));
        let number = self.show_ringing(context, at, response, &lines, body.as_deref(), how);
        let waits = number.filter(|_| carries != Carries::Nothing);
        let early = self.early_mut(at);
        match (owed, waits, early) {
            (Some(owed), Some(number), Some(early)) => early.owed.push(owed.under(number)),
            (Some(owed), ..) => {
                self.prack(context, &owed, None);
            }
            (None, ..) => {}
        }
    }

    /// Sends a branch's response on to the caller, where told so reliably (RFC 3262 3). Returns the number
    /// that it has then.
    fn show_ringing(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        response: &Message,
        lines: &[u8],
        body: Option<&str>,
        reliably: Option<Carries>,
    ) -> Option<u32> {
        let timers = context.shared.settings.timers;
        let supported = context.supported();
        let invitation = self.invitation.as_deref_mut()?;
        let server = invitation.server;
        let early = invitation.early.get_mut(at)?;
        let tag = early.dialog.local_tag.clone();
        let contact = context.contact(&early.dialog);
        let number = match reliably {
            None => None,
            // So many wait that the caller need not hear of one more.
            Some(_) => Some(early.sent.number()?),
        };
        let bytes = context.compose(
            server,
            response.status(),
            response.reason_phrase(),
            Some(&tag),
            |builder| {
                let mut builder = builder.header(Name::Contact, contact).raw_lines(lines);
                if let Some(number) = number {
                    builder = builder
                        .header(Name::Require, "100rel")
                        .header(Name::RSeq, number)
                        .header(Name::Allow, ALLOW)
                        .header(Name::Supported, supported);
                }
                end_enclosed(builder, Enclosed::of(response).as_ref(), body)
            },
        )?;
        let status = response.status();
        let now = reliably.is_none_or(|carries| {
            let bytes = bytes.clone();
            early
                .sent
                .push(status, bytes, carries, context.now, &timers)
        });
        if now {
            context.reply(server, status, bytes);
        }
        number
    }

    pub(super) fn early_mut(&mut self, at: usize) -> Option<&mut Early> {
        let invitation = self.invitation.as_deref_mut()?;
        invitation.early.get_mut(at)
    }

    /// Returns the caller's early dialog with who has answered so, a new one where there is none yet. None where
    /// there are so many that it does not hear of one more, unless that has the call.
    pub(super) fn early_with(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
    ) -> Option<usize> {
        let of_one = |early: &&Early| early.branches.contains(&leg);
        let tag = response.to_tag();
        let invitation = self.invitation.as_deref()?;
        let known = invitation.early_of(leg, tag);
        let many = invitation.early.iter().filter(of_one).count() >= OF_ONE_MAX;
        if known.is_none() && many && response.status() < 200 {
            return None;
        }
        self.early_for(context, leg, tag)
    }

    /// The same by the tag, whatever there is.
    pub(super) fn early_for(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        tag: Option<&str>,
    ) -> Option<usize> {
        let forward = context.shared.settings.fork.early_dialogs == EarlyDialogs::Forward;
        let id = self.id;
        let caller = self.parties[Side::Caller.index()].leg.as_ref()?;
        let invitation = self.invitation.as_deref_mut()?;
        let far = tag.filter(|_| forward).map(Into::into);
        if let Some(known) = invitation.early_of(leg, tag) {
            let early = &mut invitation.early[known];
            // It may have rung without one (RFC 2543).
            early.far = early.far.take().or(far);
            return Some(known);
        }
        if !forward && let Some(one) = invitation.early.first_mut() {
            one.branches.push(leg);
            return Some(0);
        }
        let mut dialog = caller.dialog.clone();
        if !invitation.early.is_empty() {
            dialog.local_tag = context.tag((id, caller.id));
        }
        // RFC 3262 3: a number that nobody can know before.
        let first = context.shared.mint.session() as u32;
        invitation.early.push(Early {
            dialog,
            far,
            talk: caller.talk.clone(),
            branches: vec![leg],
            sent: Sent::after(first),
            owed: Vec::new(),
            settled: false,
            over: false,
            left: false,
        });
        Some(invitation.early.len() - 1)
    }

    /// Writes what a branch said for the caller, in its early dialog with it.
    pub(super) fn tell_early(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        said: &str,
        role: Role,
    ) -> Option<Box<str>> {
        let mode = context.shared.settings.media.mode;
        let ports = &self.ports[Side::Caller.index()];
        let early = self.invitation.as_deref_mut()?.early.get_mut(at)?;
        let ours = context.world.advertised(&early.dialog.flow);
        let telling = &mut Telling::new(context.shared, role);
        let told = media::tell(&mut early.talk, said, ports, ours, mode, telling);
        // The caller has one address of ours, and so one set of keys, whoever is heard.
        if let Some(caller) = self.parties[Side::Caller.index()].leg.as_mut() {
            caller.talk.keys.clone_from(&early.talk.keys);
        }
        told
    }

    /// The caller's dialog is the early one of the branch that won; the others are gone. Returns it.
    pub(super) fn choose_early(
        &mut self,
        context: &mut Context<'_>,
        mut invitation: Box<Invitation>,
        at: usize,
    ) -> Option<Early> {
        let chosen = (at < invitation.early.len()).then(|| invitation.early.swap_remove(at));
        let caller = self.leg_mut(Side::Caller)?;
        let own = caller.dialog.local_tag.clone();
        if let Some(chosen) = &chosen {
            caller.dialog = chosen.dialog.clone();
            caller.talk = chosen.talk.clone();
        }
        let tag = caller.dialog.local_tag.clone();
        let others = invitation.early.iter();
        for other in others.map(|early| &early.dialog.local_tag).chain([&own]) {
            if *other != tag {
                context.forget_tag(other);
            }
        }
        chosen
    }

    pub(super) fn drop_early(&self, context: &mut Context<'_>, invitation: &Invitation) {
        for early in &invitation.early {
            context.forget_tag(&early.dialog.local_tag);
        }
    }
}
