//! Offers before the call is taken: UPDATE (RFC 3311) in early dialogs, and what a PRACK brings (RFC 3262 5).

use crate::engine::conversation::context::{ALLOW, Context, Errand, What, end_with};
use crate::engine::conversation::forking::BranchState;
use crate::engine::conversation::inviting::Invitation;
use crate::engine::conversation::leg::Talk;
use crate::engine::conversation::restoring::survivor;
use crate::engine::conversation::session::enclosed::sdp_of;
pub(crate) use crate::engine::conversation::session::keys::{Role, Telling};
use crate::engine::conversation::session::media;
use crate::engine::conversation::{Conversation, hops_left};
use crate::engine::dialog::Dialog;
use crate::engine::ids::{ConversationId, LegId, Side};
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Message, Method, Name};

/// An offer of one side that waits for the other's answer.
#[derive(Debug)]
pub(crate) struct Crossing {
    from: Side,
    /// The caller's early dialog, and the branch.
    tag: Box<str>,
    leg: LegId,
    /// Whose dialog it is behind that.
    far: Option<Box<str>>,
    server: ServerId,
    client: ClientId,
    offer: Box<str>,
    /// What the other side was told before.
    before: Talk,
}

impl Invitation {
    /// Returns true where an offer in this early dialog of the caller's, with that branch, has no answer yet.
    pub(crate) fn is_crossing(&self, leg: LegId, tag: &str) -> bool {
        let mut open = self.crossings.iter();
        open.any(|open| open.leg == leg && *open.tag == *tag)
    }
}

impl Invitation {
    /// What crosses has another transaction.
    pub(crate) fn wait_for(&mut self, swap: impl Fn(&mut ClientId)) {
        for open in &mut self.crossings {
            swap(&mut open.client);
        }
    }
}

const BUSY: &str = "an offer is open in this early dialog";
const UNSETTLED: &str = "an offer before the first one has its answer";

impl Conversation {
    /// UPDATE of the caller in an early dialog.
    pub(super) fn early_update(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        server: ServerId,
        request: &Message,
    ) {
        let Some(early) = self.early_mut(at) else {
            return;
        };
        let Some(offer) = sdp_of(request) else {
            let _ = early.dialog.refresh(request);
            return self.accept_early(context, Side::Caller, at, None, server, None);
        };
        let (settled, tag) = (early.settled, early.dialog.local_tag.clone());
        let (leg, far) = (early.branches.last().copied(), early.far.clone());
        // RFC 3311 5.2: its own offer has no answer yet.
        if !settled {
            return context.refuse(server, 500, UNSETTLED);
        }
        if let Some(status) = self.open_in(&tag, Side::Caller) {
            return context.refuse(server, status, BUSY);
        }
        let able = |branch: &mut crate::engine::conversation::forking::Branch| {
            branch.settled && branch.leg.abilities.update
        };
        if let Some(branch) = leg.and_then(|leg| self.branch_mut(leg)) {
            branch.turn_back_to(far.as_deref());
        }
        let Some(leg) = leg.filter(|leg| self.branch_mut(*leg).is_some_and(able)) else {
            return context.refuse(server, 500, "the phone takes no offer before it answers");
        };
        let Some(before) = self.branch_mut(leg).map(|branch| branch.leg.talk.clone()) else {
            return;
        };
        let Some(hops) = hops_left(request) else {
            return context.refuse(server, 483, "no hops left");
        };
        let Some(told) = self.tell_branch(context, leg, &offer, Role::Offer) else {
            return context.refuse(server, 488, "offer that cannot be read");
        };
        let id = self.id;
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        let client = update(context, (id, leg), hops, &mut branch.leg.dialog, &told);
        self.cross_early(Side::Caller, at, leg, server, client, offer, before);
    }

    /// UPDATE of a branch in its early dialog.
    pub(super) fn branch_update(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
    ) {
        let Some(at) = self
            .invitation
            .as_ref()
            .and_then(|first| first.early_of(leg, request.from_tag()))
        else {
            return context.refuse(server, 500, "request before the answer");
        };
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        let settled = branch.settled;
        let Some(offer) = sdp_of(request) else {
            let _ = branch.leg.dialog.refresh(request);
            return self.accept_early(context, Side::Callee, at, Some(leg), server, None);
        };
        // RFC 3311 5.2: the offer of our INVITE has no answer yet.
        if !settled {
            return context.refuse(server, 491, UNSETTLED);
        }
        let abilities = self.leg_mut(Side::Caller).map(|leg| leg.abilities.update);
        let Some(early) = self.early_mut(at) else {
            return;
        };
        let (takes, tag) = (
            early.settled && abilities == Some(true),
            early.dialog.local_tag.clone(),
        );
        if let Some(status) = self.open_in(&tag, Side::Callee) {
            return context.refuse(server, status, BUSY);
        }
        if !takes {
            return self.answer_branch(context, at, leg, server, request, &offer);
        }
        let Some(before) = self.early_mut(at).map(|early| early.talk.clone()) else {
            return;
        };
        let Some(hops) = hops_left(request) else {
            return context.refuse(server, 483, "no hops left");
        };
        let Some(told) = self.tell_early(context, at, &offer, Role::Offer) else {
            return context.refuse(server, 488, "offer that cannot be read");
        };
        let (id, caller) = (self.id, self.leg_mut(Side::Caller).map(|leg| leg.id));
        if let Some(caller) = caller
            && let Some(early) = self.early_mut(at)
        {
            let client = update(context, (id, caller), hops, &mut early.dialog, &told);
            self.cross_early(Side::Callee, at, leg, server, client, offer, before);
        }
    }

    /// The caller takes no offer before the answer: the branch gets the session that stands, and the caller
    /// what comes of it with the 2xx.
    fn answer_branch(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        leg: LegId,
        server: ServerId,
        request: &Message,
        offer: &str,
    ) {
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        let Some(answer) = standing(context, &mut branch.leg.talk, offer) else {
            return context.refuse(server, 488, "offer that cannot be read");
        };
        let _ = branch.leg.dialog.refresh(request);
        self.accept_early(context, Side::Callee, at, Some(leg), server, Some(&answer));
        self.configure_early(context, leg);
    }

    /// UPDATE of who is asked again: the survivor has a session, which is the answer, and hears nothing of it. What
    /// the phone can do beside that counts once it has taken the call.
    pub(super) fn again_update(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
    ) {
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        let answer = match sdp_of(request) {
            None => None,
            // The survivor is asked about what it has answered.
            Some(_) if branch.state == BranchState::Joining => {
                return context.refuse(server, 500, "an offer before the survivor has consented");
            }
            // RFC 3311 5.2: the offer of our INVITE has no answer yet.
            Some(_) if !branch.settled => return context.refuse(server, 491, UNSETTLED),
            Some(offer) => match standing(context, &mut branch.leg.talk, &offer) {
                None => {
                    return context.refuse(server, 488, "offer that the session does not answer");
                }
                answer => answer,
            },
        };
        let _ = branch.leg.dialog.refresh(request);
        branch.leg.abilities.learn(request);
        context.accept_early(server, &branch.leg.dialog, answer.as_deref());
        self.persist(context);
    }

    /// Returns what an offer in an early dialog gets where another one is open there (RFC 3311 5.2).
    pub(super) fn open_in(&self, tag: &str, from: Side) -> Option<u16> {
        let crossings = &self.invitation.as_ref()?.crossings;
        let open = crossings.iter().find(|open| *open.tag == *tag)?;
        Some(if open.from == from { 500 } else { 491 })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "an offer and all that its answer needs"
    )]
    pub(super) fn cross_early(
        &mut self,
        from: Side,
        at: usize,
        leg: LegId,
        server: ServerId,
        client: ClientId,
        offer: Box<str>,
        before: Talk,
    ) {
        let Some(tag) = self
            .early_mut(at)
            .map(|early| early.dialog.local_tag.clone())
        else {
            return;
        };
        let branch = self.branch_mut(leg);
        let far = branch.and_then(|branch| branch.leg.dialog.remote_tag.clone());
        if let Some(invitation) = &mut self.invitation {
            invitation.crossings.push(Crossing {
                from,
                tag,
                leg,
                far,
                server,
                client,
                offer,
                before,
            });
        }
    }

    /// An answer to what we sent in an early dialog: PRACK, UPDATE or INFO.
    pub(crate) fn early_response(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        response: &Message,
    ) {
        if response.status() < 200 {
            return;
        }
        let Some((crossing_over, at)) = self.take_crossing(client) else {
            return self.carried_response(context, client, response);
        };
        let Crossing {
            from, leg, server, ..
        } = crossing_over;
        if response.status() >= 300 {
            self.restore_told(from, at, leg, crossing_over.before);
            let lines = self.lines_of(context, from.other(), response);
            context.hand_on(server, response, false, |builder| {
                builder.raw_lines(&lines).end()
            });
            return self.let_in(context);
        }
        let said = sdp_of(response);
        self.heard_early(from, at, leg, crossing_over.offer, Talk::offers);
        let told = said.as_deref().and_then(|said| match from {
            Side::Caller => self.tell_early(context, at, said, Role::Answer),
            Side::Callee => self.tell_branch(context, leg, said, Role::Answer),
        });
        if let Some(said) = said {
            self.heard_early(from.other(), at, leg, said, Talk::says);
        }
        self.accept_early(context, from, at, Some(leg), server, told.as_deref());
        self.configure_early(context, leg);
        self.let_in(context);
    }

    /// It got no answer: what was told is as before, and who offered may try again.
    pub(crate) fn early_unanswered(&mut self, context: &mut Context<'_>, client: ClientId) {
        if let Some((crossing, at)) = self.take_crossing(client) {
            self.restore_told(crossing.from, at, crossing.leg, crossing.before);
            context.answer(crossing.server, 500, None);
            return self.let_in(context);
        }
        self.carried_in_vain(context, client);
    }

    fn take_crossing(&mut self, client: ClientId) -> Option<(Crossing, usize)> {
        let invitation = self.invitation.as_deref_mut()?;
        let mut open = invitation.crossings.iter();
        let open = open.position(|open| open.client == client)?;
        let crossing = invitation.crossings.remove(open);
        let mut early = invitation.early.iter();
        let at = early.position(|early| early.dialog.local_tag == crossing.tag)?;
        if let Some(branch) = self.branch_mut(crossing.leg) {
            branch.turn_back_to(crossing.far.as_deref());
        }
        Some((crossing, at))
    }

    /// A branch is gone, or none is left: who waits for its answer is told so.
    pub(crate) fn settle_crossings(&mut self, context: &mut Context<'_>, gone: Option<LegId>) {
        let Some(invitation) = self.invitation.as_deref_mut() else {
            return;
        };
        let of = |open: &mut Crossing| gone.is_none_or(|leg| open.leg == leg);
        for open in invitation.crossings.extract_if(.., of) {
            context.answer(open.server, 481, None);
        }
    }

    fn restore_told(&mut self, from: Side, at: usize, leg: LegId, before: Talk) {
        match from {
            Side::Caller => {
                if let Some(branch) = self.branch_mut(leg) {
                    branch.leg.talk.back_to(before);
                }
            }
            Side::Callee => {
                if let Some(early) = self.early_mut(at) {
                    early.talk.back_to(before);
                }
            }
        }
    }

    fn heard_early(
        &mut self,
        from: Side,
        at: usize,
        leg: LegId,
        said: Box<str>,
        takes: fn(&mut Talk, Box<str>),
    ) {
        match from {
            Side::Caller => {
                if let Some(early) = self.early_mut(at) {
                    takes(&mut early.talk, said.clone());
                }
                if let Some(caller) = self.leg_mut(Side::Caller) {
                    takes(&mut caller.talk, said);
                }
            }
            Side::Callee => {
                if let Some(branch) = self.branch_mut(leg) {
                    takes(&mut branch.leg.talk, said);
                }
            }
        }
    }

    fn accept_early(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        at: usize,
        leg: Option<LegId>,
        server: ServerId,
        sdp: Option<&str>,
    ) {
        let dialog = match side {
            Side::Caller => self.early_mut(at).map(|early| &early.dialog),
            Side::Callee => leg
                .and_then(|leg| self.branch_mut(leg))
                .map(|branch| &branch.leg.dialog),
        };
        if let Some(dialog) = dialog {
            context.accept_early(server, dialog, sdp);
        }
    }

    /// Writes what the caller said for a branch.
    pub(super) fn tell_branch(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        said: &str,
        role: Role,
    ) -> Option<Box<str>> {
        let mode = context.shared.settings.media.mode;
        let invitation = self.invitation.as_deref_mut()?;
        let branch = invitation.fork.branch(leg)?;
        branch.keep_invited();
        let ports = self.ports[Side::Callee.index()].of(branch.generation);
        let ours = context.world.advertised(&branch.leg.dialog.flow);
        let telling = &mut Telling::new(context.shared, role);
        media::tell(&mut branch.leg.talk, said, ports, ours, mode, telling)
    }

    /// Tells the relay what both sides of an early dialog are now.
    pub(super) fn configure_early(&mut self, context: &mut Context<'_>, leg: LegId) {
        if !self.may_be_heard(leg) {
            return;
        }
        let said = self
            .branch_mut(leg)
            .and_then(|branch| branch.leg.talk.said.clone());
        self.configure(context, Side::Caller);
        if let Some(said) = said {
            self.configure_branch(context, leg, &said);
        }
    }
}

impl Context<'_> {
    /// Accepts a PRACK or UPDATE of an early dialog, which touches no session timer.
    fn accept_early(&mut self, server: ServerId, dialog: &Dialog, sdp: Option<&str>) {
        let (contact, supported) = (self.contact(dialog), self.supported());
        self.respond(server, 200, "OK", None, |builder| {
            let builder = builder
                .header(Name::Contact, contact)
                .header(Name::Allow, ALLOW)
                .header(Name::Supported, supported);
            end_with(
                builder,
                Some("application/sdp"),
                sdp.unwrap_or("").as_bytes(),
            )
        });
    }
}

/// Sends an UPDATE with an offer in an early dialog.
fn update(
    context: &mut Context<'_>,
    (id, leg): (ConversationId, LegId),
    hops: u8,
    dialog: &mut Dialog,
    told: &str,
) -> ClientId {
    let course = context.course(dialog);
    let via = context.via(id, &course.flow);
    let contact = context.contact_over(&course.flow, dialog.security().is_told());
    let bytes = dialog
        .carried(&Method::Update, &via, hops)
        .header(Name::Contact, contact)
        .header(Name::Allow, ALLOW)
        .body("application/sdp", told.as_bytes());
    let errand = Errand {
        conversation: id,
        leg,
        what: What::Early,
    };
    context.send_on(dialog, course, bytes, errand)
}

/// Answers an offer with the session that stands: one version more where it reads otherwise.
pub(super) fn standing(
    context: &mut Context<'_>,
    talk: &mut Talk,
    offer: &str,
) -> Option<Box<str>> {
    let told = talk.told.clone()?;
    survivor::stand(talk, &told, offer.into(), context.shared)
}
