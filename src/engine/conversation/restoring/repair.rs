//! A phone that comes back by itself: by a request in the lost dialog, or an INVITE with Replaces. It wins
//! over whatever we have under way.
//!
//! So does whoever is to take somebody's place and comes by way of a peer that is trusted (RFC 5589 7): the
//! transferor and who is transferred are beyond that peer, and what we have is the call that the transferor
//! has named. Such a peer could as well say that it is the transferor.

use crate::engine::asker::Asker;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::{Asking, Branch, BranchState};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::people::person::Person;
use crate::engine::conversation::people::proof::upstream_of;
use crate::engine::conversation::session::enclosed::sdp_of;
pub(crate) use crate::engine::conversation::session::fits::Fit;
use crate::engine::dialog::onward::Known;
use crate::engine::dialog::{Dialog, Life};
use crate::engine::events::{Ending, Happening, Signal};
use crate::engine::ids::{Aor, Flow, LegId, Side};
use crate::engine::location;
use crate::engine::refusal::SIPS_NOT_ALLOWED;
use crate::engine::transaction::ServerId;
use crate::sip::{Address, Message, Method, Name, Params};

/// The value of a Replaces header (RFC 3891 6.1), the tags as we see them.
pub(crate) struct Replaced<'a> {
    pub(crate) call_id: &'a str,
    /// Ours.
    pub(crate) local_tag: &'a str,
    pub(crate) remote_tag: &'a str,
    /// Only while nobody has answered it.
    pub(crate) early_only: bool,
}

/// Reads a Replaces header.
pub(crate) fn replaced(value: &str) -> Option<Replaced<'_>> {
    let (call_id, params) = value.split_once(';')?;
    let params = Params::new(params);
    Some(Replaced {
        call_id: call_id.trim(),
        local_tag: params.value("to-tag")?,
        remote_tag: params.value("from-tag")?,
        early_only: params.has("early-only"),
    })
}

impl Conversation {
    /// A request in the dialog of an endpoint that counts as lost: it lives.
    pub(crate) fn lost_request(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        if self.is_transferring(side) {
            return self.transferor_request(context, side, server, request, flow);
        }
        let owned = self
            .party(side)
            .lost
            .as_ref()
            .is_some_and(|lost| lost.old.dialog.owns(request));
        if !owned || self.closing.is_some() {
            return context.refuse(server, 481, "dialog that has ended");
        }
        if *request.method() == Method::Bye {
            context.answer(server, 200, None);
            return self.lost_bye(context, side, request);
        }
        if self.party(side).lost.as_ref().is_some_and(|lost| lost.gone) {
            return context.refuse(server, 481, "dialog that has ended");
        }
        let lost = self.party(side).lost.as_ref();
        let taken = |branch: &Branch| branch.replaces && branch.state == BranchState::Joining;
        let superseded = lost.is_some_and(|lost| lost.fork.branches.iter().any(taken));
        let Some(mut leg) = self.revive(context, side) else {
            return;
        };
        if superseded {
            leg.superseded = Some(context.now);
        }
        let (id, endpoint) = (leg.id, leg.endpoint.name.clone());
        if context.may_take(&leg.dialog, &flow) {
            leg.dialog.flow = flow;
        }
        leg.resume_timer(context.now);
        leg.returns = true;
        self.party_mut(side).leg = Some(leg);
        self.configure(context, side);
        self.watch(context, side);
        self.restorations += 1;
        self.note(context, Happening::Repaired { side, endpoint });
        self.persist(context);
        self.on_request(context, id, server, request, flow);
        self.catch_up(context, side);
        if let Some(leg) = self.leg_mut(side) {
            leg.returns = false;
        }
        self.ask_who_denied(context, side);
        self.pump(context, side);
        self.announce(context, side);
    }

    /// A BYE in the lost dialog: a farewell, the end that our Replaces asked for (RFC 3891 3), or a phone
    /// that gives up a network.
    fn lost_bye(&mut self, context: &mut Context<'_>, side: Side, request: &Message) {
        let old = self.party(side).lost.as_ref().map(|lost| &lost.old);
        let sought = old.is_some_and(|old| self.can_be_sought(context, side, old));
        let run_out = old.is_some_and(|old| old.has_run_out(context.now));
        let failed = sought && (run_out || self.is_failure_bye(context, request));
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let own = |branch: &Branch| branch.asks.is_some() && branch.picker.is_none();
        let begun = |branch: &Branch| branch.replaces || own(branch);
        let replaced = lost.fork.branches.iter().any(begun);
        // It has taken an INVITE that we had given up.
        let superseded = lost.old.is_superseded(context);
        if !failed && !replaced && !superseded {
            return self.finish(context, Ending::HungUp(side));
        }
        lost.gone = true;
        lost.farewell = !failed && !superseded;
        if superseded {
            lost.retry_at = Some(context.now);
        }
        self.persist(context);
    }

    /// An INVITE that replaces a dialog of ours (RFC 3891 3), perhaps of somebody beyond one of these upstreams.
    pub(crate) fn on_replacing(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
        (asker, beyond): (&Asker, Option<Vec<Box<str>>>),
        replaced: &Replaced<'_>,
    ) {
        if self.is_inviting(leg) || self.branch_side(leg).is_some() {
            let asks = (asker, beyond);
            return self.on_pickup(context, leg, server, request, flow, asks, replaced);
        }
        let side = self.side_of(leg).or_else(|| self.lost_side_of(leg));
        let Some(side) = side.filter(|_| self.answered.is_some() && self.closing.is_none()) else {
            return context.refuse(server, 481, "Replaces of a dialog that has ended");
        };
        let party = self.party(side);
        let old = party
            .leg
            .as_ref()
            .or_else(|| party.lost.as_ref().map(|lost| &lost.old));
        let matches = old.is_some_and(|old| {
            *old.dialog.call_id == *replaced.call_id
                && *old.dialog.local_tag == *replaced.local_tag
                && old.dialog.remote_tag.as_deref() == Some(replaced.remote_tag)
        });
        let settings = &context.shared.settings;
        let named = location::whose(request.from().uri, context.now, settings, context.world);
        let own = named
            .as_ref()
            .is_some_and(|named| party.may_be_replaced_by(named));
        let owner = match asker {
            Asker::Proven(user) | Asker::Unasked(user) => party.may_be_replaced_by(user),
            Asker::Trusted => true,
            // Nothing shows who it is but where it comes from.
            Asker::Of(_) | Asker::Says(_) | Asker::Stranger => {
                let here = |old: &Leg| old.dialog.flow.peer.ip() == flow.peer.ip();
                own && old.is_some_and(here)
            }
        };
        if !matches {
            return context.refuse(server, 481, "Replaces of a dialog that is not known");
        }
        if !owner {
            return context.refuse(server, 403, "Replaces of somebody else's dialog");
        }
        if self.would_leave_secrecy(context, &flow) {
            return context.turn_down(server, SIPS_NOT_ALLOWED);
        }
        if replaced.early_only {
            // RFC 3891 3.
            return context.refuse(server, 486, "Replaces of an early dialog that is confirmed");
        }
        let other = *asker == Asker::Trusted && !own;
        if other && self.is_transferring(side) {
            return context.refuse(server, 491, "Replaces of who transfers the other side");
        }
        let person = other.then(|| {
            let aor = named.unwrap_or_else(|| Aor::from_canonical(request.from().uri));
            let asked = upstream_of(&aor, settings).map(|_| aor.as_str().into());
            Person {
                asked,
                ..Person::calling(request, asker, aor)
            }
        });
        self.replace(context, side, server, request, flow, (person, beyond));
    }

    /// Returns true where a call by `sips:` would have a leg in the clear (RFC 3261 26.2.2).
    pub(crate) fn would_leave_secrecy(&self, context: &Context<'_>, flow: &Flow) -> bool {
        self.secure && !context.world.spoken(flow).is_secure()
    }

    /// The leg of a side is another one now, and where there is a `person`, so is its participant.
    fn replace(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        flow: Flow,
        (person, beyond): (Option<Person>, Option<Vec<Box<str>>>),
    ) {
        let party = self.party(side);
        let (aor, asker) = match &person {
            Some(person) => (person.aor.clone(), person.asker.clone()),
            None => (party.aor.clone(), party.asker.clone()),
        };
        let through = self.through_which(side, &flow);
        let mut leg = self.replacing_leg(context, side, &aor, &asker, request, flow);
        leg.endpoint.through = through;
        let old = self.party(side).leg.as_ref();
        let lost = self.party(side).lost.as_ref().map(|lost| &lost.old);
        // Another person comes from where the trusted peer is.
        match person {
            Some(_) => leg.is_called_by(beyond),
            None => {
                leg.beyond = old.or(lost).is_some_and(|old| old.beyond);
                let callers = old.or(lost).map(Leg::callers);
                leg.is_called_as(callers.unwrap_or_default());
            }
        }
        if let Some(said) = sdp_of(request) {
            leg.talk.offers(said);
        }
        let asking = Asking { server, person };
        // Nothing is touched before it is known to fit.
        match self.fits_again(context, side, leg.talk.said.as_deref()) {
            Fit::Stands => {}
            Fit::Asked => return self.ask_consent(context, side, leg, asking),
            Fit::Never => return self.unfit(context, side, &leg, &asking),
        }
        let Ok(answer) = self.answer_to(context, side, &mut leg, false) else {
            return self.unfit(context, side, &leg, &asking);
        };
        // Who is asked for its consent to somebody else is asked by the new dialog.
        self.joins_later(context, side);
        let lost = self.party(side).is_missed();
        // The ports of the lost leg are the side's again: nothing else has been agreed for others.
        let old = match self.revive(context, side) {
            Some(old) => Some(old),
            None => self.party_mut(side).leg.take(),
        };
        self.seat(context, side, leg, asking, (old, lost), answer);
        // Whom the phone had on hold is told what that says now, and whom it holds now; it, what the other side has
        // offered meanwhile, and was answered here.
        self.catch_up(context, side.other());
        self.catch_up_after(context, side);
    }

    /// The session fits nobody, and all stays as it is; whether a leg lives whose phone is elsewhere, a probe will
    /// tell.
    fn unfit(&mut self, context: &mut Context<'_>, side: Side, leg: &Leg, asking: &Asking) {
        context.forget_tag(&leg.dialog.local_tag);
        let why = "Replaces with a session that does not fit";
        context.refuse(asking.server, 488, why);
        if asking.person.is_none() && self.party(side).leg.is_some() {
            self.suspect(context, side, Signal::Moved);
        }
    }

    /// Returns the upstream's target that a side was reached through, where its dialog is replaced from there.
    fn through_which(&self, side: Side, flow: &Flow) -> Option<Box<str>> {
        let party = self.party(side);
        let lost = party.lost.as_ref().map(|lost| &lost.old);
        let old = party.leg.as_ref().or(lost)?;
        let same = old.dialog.flow.peer.ip() == flow.peer.ip();
        old.endpoint.through.clone().filter(|_| same)
    }

    pub(crate) fn replacing_leg(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        aor: &Aor,
        asker: &Asker,
        request: &Message,
        flow: Flow,
    ) -> Leg {
        let leg = self.new_leg_id();
        let tag = context.tag((self.id, leg));
        let mut dialog = Dialog::of_request(request, flow, tag);
        let settings = &context.shared.settings;
        let contact = request.values(Name::Contact).next().unwrap_or("");
        let contact = Address::parse(contact).unwrap_or_else(|_| request.from());
        let endpoint = location::caller(
            &contact,
            request,
            &flow,
            aor,
            context.now,
            settings,
            context.world,
        );
        let registered = location::is_bound(aor, &flow, context.now, context.world);
        dialog.known = Known::caller(&endpoint, asker, request, &flow, registered);
        let session = context.shared.mint.session();
        let mut leg = Leg::new(leg, side, dialog, endpoint, session, context.now);
        leg.life = Life::Invited;
        leg.is_named(context);
        leg.dialog.session.ours = self.uuid_of(side.other());
        leg.abilities.learn(request);
        leg
    }
}
