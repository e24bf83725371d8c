//! A phone that comes back by itself: by a request in the lost dialog, or an INVITE with Replaces. It wins
//! over whatever we have under way.

use super::Conversation;
use super::context::{Context, end_with};
use super::enclosed::sdp_of;
use super::keys::{Role, Telling};
use super::leg::{Leg, Unacknowledged};
use super::media;
use crate::engine::asker::Asker;
use crate::engine::dialog::onward::Known;
use crate::engine::dialog::{Dialog, Happens, Life};
use crate::engine::events::{Ending, Happening};
use crate::engine::ids::{Aor, Flow, LegId, Side};
use crate::engine::location;
use crate::engine::transaction::ServerId;
use crate::sip::{Address, Message, Method, Name, Params, sdp};

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
    pub(super) fn lost_request(
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
        let Some(mut leg) = self.revive(context, side) else {
            return;
        };
        let (id, endpoint) = (leg.id, leg.endpoint.name.clone());
        leg.dialog.flow = flow;
        leg.resume_timer(context.now);
        self.party_mut(side).leg = Some(leg);
        self.configure(context, side);
        self.watch(context, side);
        self.note(context, Happening::Repaired { side, endpoint });
        self.persist(context);
        self.on_request(context, id, server, request, flow);
        self.catch_up(context, side);
        self.pump(context, side);
        self.announce(context, side);
    }

    /// A BYE in the lost dialog: a farewell, the end that our Replaces asked for (RFC 3891 3), or a phone
    /// that gives up a network.
    fn lost_bye(&mut self, context: &mut Context<'_>, side: Side, request: &Message) {
        let old = self.party(side).lost.as_ref().map(|lost| &lost.old);
        let sought = old.is_some_and(|old| self.can_be_sought(context, side, old));
        let failed = sought && self.is_failure_bye(context, request);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let replaced = lost.fork.branches.iter().any(|branch| branch.replaces);
        if !failed && !replaced {
            return self.finish(context, Ending::HungUp(side));
        }
        lost.gone = true;
        lost.farewell = !failed;
        self.persist(context);
    }

    /// An INVITE that replaces a dialog of ours (RFC 3891 3).
    pub(crate) fn on_replacing(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
        asker: &Asker,
        replaced: &Replaced<'_>,
    ) {
        if self.is_inviting(leg) {
            return self.on_pickup(context, leg, server, request, flow, asker, replaced);
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
        let named = location::aor_in(request.from().uri, settings);
        let owner = match asker {
            Asker::Proven(user) | Asker::Unasked(user) => party.may_be_replaced_by(user),
            Asker::Trusted => named.is_some_and(|named| party.may_be_replaced_by(&named)),
            // Nothing shows who it is but where it comes from.
            Asker::Of(_) | Asker::Says(_) | Asker::Stranger => {
                let here = |old: &Leg| old.dialog.flow.peer.ip() == flow.peer.ip();
                named.is_some_and(|named| party.may_be_replaced_by(&named)) && old.is_some_and(here)
            }
        };
        if !matches {
            return context.refuse(server, 481, "Replaces of a dialog that is not known");
        }
        if !owner {
            return context.refuse(server, 403, "Replaces of somebody else's dialog");
        }
        if replaced.early_only {
            // RFC 3891 3.
            return context.refuse(server, 486, "Replaces of an early dialog that is confirmed");
        }
        self.replace(context, side, server, request, flow);
    }

    fn replace(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let id = self.id;
        let aor = self.party(side).aor.clone();
        let mut leg = self.replacing_leg(context, side, &aor, request, flow);
        let offer = sdp_of(request);
        let other = self.party(side.other()).talk();
        let (heard, told) = (
            other.and_then(|talk| talk.said.clone()),
            other.and_then(|talk| talk.told.clone()),
        );
        // The ports of the lost leg are the side's again: nothing else has been agreed for others.
        let old = match self.revive(context, side) {
            Some(old) => Some(old),
            None => self.party_mut(side).leg.take(),
        };
        let mode = context.shared.settings.media.mode;
        let ours_at = context.world.advertised(&flow);
        leg.talk.said.clone_from(&offer);
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
            (Some(offer), Some(standing)) => {
                sdp::answer_with(standing.as_bytes(), offer.as_bytes())
                    .and_then(|answer| String::from_utf8(answer).ok())
                    .map(String::into_boxed_str)
            }
            (Some(_), None) => None,
            (None, standing) => standing.clone(),
        };
        let fits = match (&offer, &told) {
            (Some(offer), Some(told)) => {
                sdp::fits(told.as_bytes(), offer.as_bytes()) || media::is_all_signalling(offer)
            }
            (Some(_), None) | (None, _) => true,
        };
        if !fits || offer.is_some() && body.is_none() {
            context.forget_tag(&leg.dialog.local_tag);
            // The old leg is the side's again, and a probe will tell whether it lives.
            self.party_mut(side).leg = old;
            self.watch(context, side);
            self.suspect(context, side, crate::engine::events::Signal::Moved);
            return context.refuse(server, 488, "Replaces with a session that does not fit");
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
            cseq: request.cseq(),
            answer_due: offer.is_none() && body.is_some(),
            provisional: None,
        });
        self.party_mut(side).leg = Some(leg);
        if let Some(old) = old {
            self.bury(context, old);
        }
        // What the old dialog owed the other side, nobody owes any more.
        self.acknowledge_with_the_standing(context, side.other());
        self.settle_renegotiation(context, side);
        self.settle_carried(context, side);
        self.letters_of_the_lost(context, side);
        self.configure(context, side);
        self.watch(context, side);
        self.note(context, Happening::Repaired { side, endpoint });
        self.persist(context);
        self.pump(context, side);
        self.announce(context, side);
    }

    pub(super) fn replacing_leg(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        aor: &Aor,
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
        dialog.known = Known::of(&endpoint, &self.party(side).asker);
        let session = context.shared.mint.session();
        let mut leg = Leg::new(leg, side, dialog, endpoint, session, context.now);
        leg.life = Life::Invited;
        leg.is_named(context);
        leg.dialog.session.ours = self.uuid_of(side.other());
        leg.abilities.learn(request);
        leg
    }
}
