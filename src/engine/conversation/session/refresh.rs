//! Session timers (RFC 4028): each leg has its own, and a refresh of one does not cross to the other.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{ALLOW, Context, Errand, What, end_with, supported};
use crate::engine::conversation::doubting::outcome::{self, is_away};
use crate::engine::conversation::leg::Leg;
use crate::engine::dialog::Negotiation;
use crate::engine::dialog::session_id::SessionId;
use crate::engine::dialog::session_timer::{self, Accepted, SessionTimer};
use crate::engine::events::Signal;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Builder, Message, Method, Name};

/// After so long it is looked whether an offer still is in the way of a refresh.
const IN_THE_WAY: Millis = Millis(500);

/// What every 2xx of ours to an INVITE or UPDATE carries.
pub(crate) struct Accepting {
    contact: String,
    supported: &'static str,
    timer: Option<Accepted>,
    session: Option<SessionId>,
}

impl Accepting {
    pub(crate) fn write(self, builder: Builder) -> Builder {
        let builder = builder
            .header(Name::Contact, self.contact)
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, self.supported);
        let builder = match self.session {
            Some(session) => builder.header(Name::SessionId, session),
            None => builder,
        };
        match self.timer {
            Some(timer) => timer.write(builder),
            None => builder,
        }
    }
}

impl Leg {
    /// Adds what every INVITE or UPDATE of ours says of us.
    pub(crate) fn capable(
        &self,
        context: &Context<'_>,
        builder: Builder,
        reliable: bool,
    ) -> Builder {
        let settings = &context.shared.settings;
        let builder = builder
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, supported(settings, reliable));
        let Some(wish) = &settings.detect.session_timer else {
            return builder;
        };
        match &self.timer {
            Some(timer) => timer.ask(wish, builder),
            None => SessionTimer::default().ask(wish, builder),
        }
    }

    /// The endpoint's request is accepted: where it is an INVITE or UPDATE, its timer begins anew.
    pub(crate) fn accepting(&mut self, context: &Context<'_>, server: ServerId) -> Accepting {
        let request = context.shared.transactions.request_of(server);
        let timer = request.and_then(|(request, _)| self.timed_by_request(context, request));
        let first = request.is_some_and(|(request, _)| request.to_tag().is_none());
        let session = self.dialog.session;
        Accepting {
            session: (first && !session.ours.is_nil()).then_some(session),
            contact: context.contact(&self.dialog),
            supported: context.supported(),
            timer,
        }
    }

    fn timed_by_request(&mut self, context: &Context<'_>, request: &Message) -> Option<Accepted> {
        let wish = context.shared.settings.detect.session_timer.as_ref()?;
        if !refreshes(request.method()) {
            return None;
        }
        if self.timer.is_none() && !session_timer::speaks(request) {
            return None;
        }
        let timer = self.timer.get_or_insert_default();
        timer.accept(request, wish, context.now)
    }

    /// A 2xx to an INVITE or UPDATE of ours: what it says of the timer holds.
    pub(crate) fn timed_by(&mut self, context: &Context<'_>, response: &Message) {
        let wanted = context.shared.settings.detect.session_timer.is_some();
        if wanted && (self.timer.is_some() || session_timer::speaks(response)) {
            let timer = self.timer.get_or_insert_default();
            timer.answered(response, context.now);
        }
    }

    /// A 422 (RFC 4028 7.3). Returns true where the next request asks for what it demands.
    pub(crate) fn too_brief(&mut self, context: &Context<'_>, response: &Message) -> bool {
        let Some(wish) = &context.shared.settings.detect.session_timer else {
            return false;
        };
        let timer = self.timer.get_or_insert_default();
        timer.too_brief(response, wish)
    }

    /// Returns true where the endpoint may be giving its session up which was not refreshed, as far as it has heard: by a
    /// BYE that is no farewell.
    pub(crate) fn has_run_out(&self, now: Time) -> bool {
        let timer = self.timer.as_ref();
        timer.is_some_and(|timer| timer.may_have_run_out(now))
    }

    /// The same of one that is there, and should have had a refresh.
    pub(crate) fn runs_out_unheard(&self, now: Time) -> bool {
        let timer = self.timer.as_ref();
        self.has_run_out(now) && timer.is_some_and(|timer| timer.is_unanswered())
    }

    pub(crate) fn resume_timer(&mut self, now: Time) {
        if let Some(timer) = &mut self.timer {
            timer.resume(now);
        }
    }
}

impl Conversation {
    /// Returns the leg of a side whose session goes on: also of who hands the call on, which stands aside meanwhile.
    fn timed(&self, side: Side) -> Option<&Leg> {
        let party = self.party(side);
        let aside = party.lost.as_deref().filter(|lost| lost.is_handed_on());
        party.leg.as_ref().or_else(|| aside.map(|lost| &lost.old))
    }

    fn timed_mut(&mut self, side: Side) -> Option<&mut Leg> {
        let party = self.party_mut(side);
        let aside = party.lost.as_deref_mut();
        let aside = aside.filter(|lost| lost.is_handed_on());
        party
            .leg
            .as_mut()
            .or_else(|| aside.map(|lost| &mut lost.old))
    }

    /// Returns the side of such a leg.
    fn timed_side_of(&self, leg: LegId) -> Option<Side> {
        let sides = [Side::Caller, Side::Callee].into_iter();
        let mut timed = sides.filter(|side| self.timed(*side).is_some_and(|it| it.id == leg));
        timed.next()
    }

    /// Returns when a side's session is to be refreshed, or is missed.
    pub(crate) fn next_refresh(&self, side: Side) -> Option<Time> {
        self.timed(side)?.timer.as_ref()?.next()
    }

    /// Refreshes a side's session, or misses the refresh of its endpoint.
    pub(crate) fn refresh_due(&mut self, context: &mut Context<'_>, side: Side) {
        let timer = self.timed_mut(side).and_then(|leg| leg.timer.as_mut());
        match timer.map(|timer| timer.due(context.now)) {
            Some(session_timer::Act::Refresh) => {
                self.refresh(context, side);
            }
            // Its dialog is in doubt, and the other side's is not: it hears nothing of this.
            Some(session_timer::Act::Suspect) => {
                self.suspect(context, side, Signal::SessionExpired);
            }
            Some(session_timer::Act::Nothing) | None => {}
        }
    }

    /// Sends a refresh: UPDATE, or the standing session by re-INVITE where Allow lacks that; with what the side is to
    /// be told yet. Returns false where another offer is in its way.
    pub(super) fn refresh(&mut self, context: &mut Context<'_>, side: Side) -> bool {
        // The offer for who is to be joined goes first, and refreshes it as well.
        let joins = self.party(side.other()).lost.as_ref();
        let joins = joins.is_some_and(|lost| lost.joining.is_some());
        // Who stands aside hears of nobody.
        let waits = self.forget_who_has_left(side) || self.party(side).leg.is_none();
        let id = self.id;
        let Some(leg) = self.timed_mut(side) else {
            return false;
        };
        let update = leg.abilities.update;
        let offered = leg.may_offer(context).filter(|_| !update && !joins);
        let told = offered.and_then(|_| leg.talk.tell_standing());
        let method = match offered.filter(|_| told.is_some()) {
            Some(offered) => {
                leg.negotiation = offered;
                Method::Invite
            }
            // It offers nothing, and no offer of theirs is in its way (RFC 3311 5.1).
            None if update && leg.negotiation != Negotiation::Offered => Method::Update,
            None => {
                // What is open refreshes it as well, where it is agreed to.
                if let Some(timer) = &mut leg.timer {
                    timer.waits(context.now, IN_THE_WAY);
                }
                return false;
            }
        };
        let untold = leg.untold.as_ref().filter(|_| !waits);
        let lines = untold.map(|untold| untold.lines());
        let client = leg.request(context, id, &method, What::Refresh, |builder| {
            end_with(
                builder.raw_lines(lines.as_deref().unwrap_or_default()),
                Some("application/sdp"),
                told.as_deref().unwrap_or("").as_bytes(),
            )
        });
        if let Some(untold) = &mut leg.untold
            && !waits
        {
            untold.is_said_in(client);
        }
        if update {
            // It offers nothing, and holds up no offer.
            leg.reinvite = None;
        }
        true
    }

    /// A 2xx to any INVITE or UPDATE within a dialog refreshes its session.
    pub(crate) fn session_renewed(
        &mut self,
        context: &Context<'_>,
        errand: Errand,
        response: &Message,
    ) {
        let within = match errand.what {
            What::Carry | What::Doubt | What::Join | What::Give | What::Wish | What::Refresh => {
                true
            }
            What::Invite
            | What::Letter(..)
            | What::Probe
            | What::Report
            | What::Early
            | What::Farewell
            | What::Passage(_)
            | What::Relay(_)
            | What::Upstream(_)
            | What::Lamp(_) => false,
        };
        let renews =
            within && (200..300).contains(&response.status()) && refreshes(response.method());
        if renews
            && let Some(side) = self.timed_side_of(errand.leg)
            && let Some(leg) = self.timed_mut(side)
        {
            leg.timed_by(context, response);
        }
    }

    /// The answer to a refresh of ours.
    pub(crate) fn refresh_response(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let (id, status) = (self.id, response.status());
        let Some(side) = self.timed_side_of(leg).filter(|_| status >= 200) else {
            return;
        };
        let aside = self.party(side).leg.is_none();
        // Who stands aside is asked for its dialog where it has the call back; its 2xx is taken already.
        if aside && (status < 300 || outcome::ends_dialog(status)) {
            return;
        }
        if outcome::ends_dialog(status) {
            return self.denied(context, side, Signal::RequestFailed);
        }
        // RFC 3261 14.1: it has met an offer of the phone's own.
        let glare = (status == 491).then(|| self.pause_of_glare(context, side));
        let Some(leg) = self.timed_mut(side) else {
            return;
        };
        if status >= 300 {
            let longer = status == 422 && leg.too_brief(context, response);
            if let Some(timer) = &mut leg.timer {
                match glare {
                    Some(pause) => timer.meets_glare(context.now, pause),
                    None => timer.refused(context.now),
                }
            }
            if longer && self.refresh(context, side) || aside {
                return;
            }
            self.untold_answered(context, side, client, Some(response));
            // A proxy's word that it is away.
            if is_away(status) {
                self.suspect(context, side, Signal::NoAnswer);
            }
            return;
        }
        if *response.method() == Method::Invite {
            leg.acknowledge(context, id, response.cseq(), None);
        }
        if leg.agreed(response, flow) {
            self.configure(context, side);
        }
        self.untold_answered(context, side, client, Some(response));
        self.persist(context);
    }

    /// It got no answer: a probe over every flow settles what that means.
    pub(crate) fn refresh_unanswered(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        signal: Signal,
    ) {
        let Some(side) = self.timed_side_of(leg) else {
            return;
        };
        self.untold_answered(context, side, client, None);
        if let Some(timer) = self.timed_mut(side).and_then(|leg| leg.timer.as_mut()) {
            timer.refused(context.now);
        }
        self.suspect(context, side, signal);
    }

    /// A branch takes no timer as short as that (RFC 4028 7.3). Returns true where it is to be called
    /// again, as what it demands makes sense.
    pub(crate) fn asks_for_longer(
        &mut self,
        context: &Context<'_>,
        leg: LegId,
        response: &Message,
    ) -> bool {
        let Some(branch) = self.branch_mut(leg) else {
            return false;
        };
        let again = branch.leg.too_brief(context, response);
        if again {
            branch.call_again();
        }
        again
    }
}

/// Returns true where a request that begins or refreshes a session asks for less than we take.
pub(crate) fn too_brief(context: &Context<'_>, request: &Message) -> bool {
    let wish = &context.shared.settings.detect.session_timer;
    wish.is_some_and(|wish| session_timer::is_too_brief(request, &wish))
}

fn refreshes(method: &Method) -> bool {
    match method {
        Method::Invite | Method::Update => true,
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Message
        | Method::Info
        | Method::Prack
        | Method::Subscribe
        | Method::Notify
        | Method::Refer
        | Method::Publish
        | Method::Other(_) => false,
    }
}
