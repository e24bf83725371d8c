//! A phone registers elsewhere, and its dialog goes there too. Until one of the two places has shown that it holds the
//! call the other is not forgotten: a second phone may have the instance of the first, by a profile that was copied.

use serde::{Deserialize, Serialize};

use super::outcome;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, What};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::restoring::reach::standing;
use crate::engine::endpoint::{Endpoint, Identity};
use crate::engine::events::Signal;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::location;
use crate::engine::routing;
use crate::sip::{Message, Method};

/// Where a phone is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    flow: Flow,
    target: Box<str>,
    endpoint: Endpoint,
}

/// The other place at which a leg's phone may be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Elsewhere {
    place: Place,
    /// The dialog was asked at both.
    asked: bool,
    /// There it is not: that place knows nothing of the dialog.
    #[serde(default)]
    denied: bool,
}

impl Leg {
    /// Its phone has registered at a place: what it had is remembered until it speaks in its dialog.
    fn moves(&mut self, to: Place) {
        let from = self.takes(to);
        let place = self.elsewhere.take().map_or(from, |known| known.place);
        let returns = place.flow.peer == self.dialog.flow.peer;
        self.elsewhere = (!returns).then(|| {
            Elsewhere {
                place,
                asked: false,
                denied: false,
            }
            .into()
        });
    }

    fn takes(&mut self, place: Place) -> Place {
        Place {
            flow: std::mem::replace(&mut self.dialog.flow, place.flow),
            target: std::mem::replace(&mut self.dialog.target, place.target),
            endpoint: std::mem::replace(&mut self.endpoint, place.endpoint),
        }
    }

    /// Requests go to the other place.
    pub(crate) fn changes_places(&mut self) {
        if let Some(mut elsewhere) = self.elsewhere.take() {
            elsewhere.place = self.takes(elsewhere.place);
            self.elsewhere = Some(elsewhere);
        }
    }

    pub(crate) fn is_also_at(&self, flow: &Flow) -> bool {
        let elsewhere = self.elsewhere.as_ref();
        elsewhere.is_some_and(|elsewhere| elsewhere.place.flow.peer == flow.peer)
    }

    /// Returns true where its phone may be at either of two places.
    pub(crate) fn may_be_elsewhere(&self) -> bool {
        let elsewhere = self.elsewhere.as_ref();
        elsewhere.is_some_and(|elsewhere| !elsewhere.denied)
    }

    /// One of two places knows nothing of its dialog: requests go to the other one.
    pub(crate) fn is_not_at(&mut self, flow: &Flow) {
        if !self.is_also_at(flow) {
            self.changes_places();
        }
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.denied = true;
        }
    }

    /// Requests go over a flow, be it the other place's, but where its phone is known not to be.
    pub(crate) fn goes_over(&mut self, flow: Flow) {
        let also = self.is_also_at(&flow);
        if also && !self.may_be_elsewhere() {
            return;
        }
        if also {
            self.changes_places();
        }
        self.dialog.flow = flow;
    }
}

impl Conversation {
    /// Returns the binding of a leg that does not answer where it was, or is not reached there, but does over another
    /// flow: its move was not seen, as in a restart, or that is its second one (RFC 5626 4.3).
    pub(super) fn found_elsewhere(
        &self,
        context: &Context<'_>,
        side: Side,
        flow: Flow,
    ) -> Option<Endpoint> {
        let party = self.party(side);
        let (leg, check) = (party.leg.as_ref()?, party.check.as_ref()?);
        let deaf = matches!(check.signal, Some(Signal::NoAnswer | Signal::ProbeTimeout));
        if !(deaf || check.astray) || flow.peer == leg.dialog.flow.peer {
            return None;
        }
        let known = routing::flows(
            &party.aor,
            &leg.endpoint.identity,
            context.now,
            context.world,
        );
        known
            .into_iter()
            .find(|endpoint| endpoint.flow.is_some_and(|known| known.peer == flow.peer))
    }

    /// The endpoint of a standing leg registered: over another flow, its dialog goes there too. One that has begun
    /// `anew` may have forgotten its call, unless it is heard; and be another phone of the same make, where no
    /// instance tells the two apart.
    pub(super) fn registered(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoint: &Endpoint,
        moved: bool,
        anew: bool,
    ) {
        let heard = self.is_heard(side);
        let another = anew
            && matches!(*endpoint.identity, Identity::Contact { .. })
            && self.is_watched_and_heard(context, side);
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let (known, seen) = (&leg.endpoint.identity, &endpoint.identity);
        let same = location::same(known, seen);
        let may_be = same || anew && location::alike(known, seen);
        if !may_be {
            return;
        }
        let elsewhere = endpoint.flow.filter(|flow| {
            same && moved && *flow != leg.dialog.flow && flow.peer != leg.dialog.flow.peer
        });
        let there = elsewhere.filter(|flow| !another && context.may_take(&leg.dialog, flow));
        let Some(flow) = there else {
            let now = context.now;
            if let Some(check) = self.party_mut(side).check.as_mut()
                && anew
            {
                check.anew = Some(now);
            }
            if (anew || elsewhere.is_some()) && !heard {
                self.suspect(context, side, Signal::Registration);
            }
            return;
        };
        if let Some(client) = leg.withdrawn
            && context.shared.transactions.is_unheard(client)
        {
            // It went to where its phone is not, and nothing of it is known here.
            leg.withdrawn = None;
        }
        leg.moves(Place {
            flow,
            target: endpoint.contact.clone(),
            endpoint: endpoint.clone(),
        });
        if let Some(waiting) = &leg.unacknowledged {
            // It may not have our 2xx yet.
            context.redirect(waiting.server, flow);
        }
        let open = leg.reinvite;
        self.success_follows(context, side, flow);
        let again = open.and_then(|open| context.send_elsewhere(open, flow, &endpoint.contact));
        if let Some(again) = again {
            self.goes_on_as(&again);
        }
        self.persist(context);
        self.suspect(context, side, Signal::Moved);
    }

    /// Nobody holds the call where its phone has registered, and its media comes all the while: the dialog is asked
    /// where it was. Returns false where there is no such place, or it has been asked.
    pub(crate) fn is_asked_where_it_was(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        signal: Signal,
    ) -> bool {
        let told = matches!(
            signal,
            Signal::Operator | Signal::FailureBye | Signal::Superseded | Signal::NoAck
        );
        let heard = self.is_heard(side);
        let Some(leg) = self.leg_mut(side).filter(|_| heard && !told) else {
            return false;
        };
        let reached = |elsewhere: &Elsewhere| standing(context, &elsewhere.place.flow).is_some();
        let known = leg.elsewhere.as_mut();
        let Some(elsewhere) = known.filter(|known| !known.asked && reached(known)) else {
            return false;
        };
        elsewhere.asked = true;
        leg.changes_places();
        self.joins_later(context, side);
        if let Some(leg) = self.leg_mut(side) {
            leg.leave(context);
            // What nobody has answered there is nothing that this place knows of.
            leg.withdrawn = None;
        }
        self.settle_renegotiation(context, side);
        self.settle_carried(context, side);
        let check = self.party(side).check.as_ref();
        if check.is_some_and(|check| check.signal.is_some()) {
            self.doubt(context, side);
        } else {
            self.suspect(context, side, Signal::Moved);
        }
        true
    }

    /// Returns true where that was done, and waits for an answer.
    pub(super) fn is_asked_at_both(&self, side: Side) -> bool {
        let leg = self.party(side).leg.as_ref();
        let elsewhere = leg.and_then(|leg| leg.elsewhere.as_ref());
        elsewhere.is_some_and(|elsewhere| elsewhere.asked)
    }

    /// A response within a dialog: the place from which it answers for its dialog, or takes an offer, which says where
    /// it is (RFC 3261 12.2.1.2), is the phone's. What else comes from a place that it has left it may have said
    /// before. Returns false where it was asked elsewhere since, and this is no word of the phone's.
    pub(crate) fn is_from_its_place(
        &mut self,
        leg: LegId,
        what: What,
        response: &Message,
        flow: &Flow,
    ) -> bool {
        let legs = self
            .parties
            .iter_mut()
            .filter_map(|party| party.leg.as_mut());
        let mut legs = legs.filter(|known| known.id == leg && known.is_also_at(flow));
        let Some(leg) = legs.next().filter(|_| what != What::Probe) else {
            return true;
        };
        let status = response.status();
        if status >= 200 && outcome::shows_life(status) {
            let offered = matches!(response.method(), Method::Invite | Method::Update);
            if what == What::Doubt || offered && status < 300 {
                leg.changes_places();
            }
            return true;
        }
        let asked = leg.elsewhere.as_ref().is_some_and(|known| known.asked);
        !(asked && status >= 300)
    }
}
