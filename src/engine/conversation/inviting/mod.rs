//! The first fork: the caller waits, the callee's endpoints ring, the first 2xx wins (RFC 3261 13, 16.7).
//!
//! `ringing` how many may wait for an answer, `answered` the first 2xx, `giving_up` the end without one, `instead`
//! what a refusal names in the place of who was called, `pickup` somebody else who takes it, `adrift` a caller whose connection closes.

mod adrift;
mod answered;
mod giving_up;
mod instead;
mod pickup;
pub(crate) mod ringing;
pub(crate) mod success;
mod unoffered;

use self::adrift::Adrift;
use self::instead::{choices, contacts, names_others};
use crate::engine::asker::Asker;
use crate::engine::conversation::answers::Answer;
use crate::engine::conversation::carrying::crossing::{for_user, joining, replacing, with_session};
use crate::engine::conversation::carrying::demands::demands;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::early::Early;
use crate::engine::conversation::early::heard::Voices;
use crate::engine::conversation::early::offers::Crossing;
pub(crate) use crate::engine::conversation::early::prack::Wants;
use crate::engine::conversation::ending::stray::{Leaving, acknowledge_and_leave};
use crate::engine::conversation::forking::breadth;
use crate::engine::conversation::forking::diverted::Diverted;
use crate::engine::conversation::forking::toward::unreached_by_media;
use crate::engine::conversation::forking::trail::{self, Trail};
use crate::engine::conversation::forking::{Fork, Turn, Verdict, turn::other_way};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::people::asserted::{asserted, asserted_of_called, hears_names};
use crate::engine::conversation::people::claims::for_own_upstream;
use crate::engine::conversation::people::proof::proof;
use crate::engine::conversation::people::veil::{FirstLines, Veil};
use crate::engine::conversation::session::enclosed::Enclosed;
use crate::engine::conversation::session::media;
use crate::engine::conversation::{Conversation, Party, Rings};
use crate::engine::dialog::onward::Known;
use crate::engine::dialog::{Dialog, Life, is_sips, name_addr};
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Ending, GaveUp, Happening, Refuser};
use crate::engine::ids::{Aor, ConversationId, Flow, LegId, Side};
use crate::engine::locating::Located;
use crate::engine::location;
use crate::engine::ports::{Generation, Token};
use crate::engine::routing::{self, Destination};
use crate::engine::settings::Kind;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::{Address, Message, Name, reason_phrase};

/// What there is only until the answer.
#[derive(Debug)]
pub(super) struct Invitation {
    pub(super) server: ServerId,
    pub(super) fork: Fork,
    /// The caller had registered over the flow that it calls by.
    pub(super) registered: bool,
    pub(super) offer: Option<Box<str>>,
    /// What the offer came in.
    enclosed: Option<Enclosed>,
    pub(super) streams: usize,
    /// Header lines of the caller's INVITE that cross.
    pub(super) lines: FirstLines,
    hops: u8,
    /// Endpoints that may ring at a time (RFC 5393 5).
    breadth: u32,
    /// What the caller sees of the branches (RFC 3261 12.1).
    pub(super) early: Vec<Early>,
    /// Whose early media the relay knows of.
    pub(super) voices: Voices,
    pub(super) wants: Wants,
    /// Offers in early dialogs that have no answer yet.
    pub(super) crossings: Vec<Crossing>,
    /// When nobody is to be rung any more, by the caller's word (RFC 3261 13.3.1).
    pub(super) expires: Option<Time>,
    /// The caller's connection is closed.
    pub(super) adrift: Option<Adrift>,
    /// A 2xx that must wait.
    pub(super) held: Option<Box<(LegId, Message, Flow)>>,
    /// The caller wants to know whom its call went to (RFC 7044).
    pub(super) told: bool,
    /// It wants to know which of its early dialogs end (RFC 6228).
    pub(super) told_ends: bool,
    /// Who has diverted it before, by a word that is believed.
    diverted: Diverted,
}

/// An INVITE that begins a conversation.
pub(crate) struct Arrival<'a> {
    pub(crate) server: ServerId,
    pub(crate) request: &'a Message,
    pub(crate) flow: Flow,
    pub(crate) asker: Asker,
    /// It comes by an upstream, one of these: who calls, and from where, is the word of whoever is beyond.
    pub(crate) beyond: Option<Vec<Box<str>>>,
    pub(crate) destination: Destination,
    pub(crate) rings: Rings,
    pub(crate) offer: Option<Box<str>>,
    pub(crate) hops: u8,
    /// Max-Breadth.
    pub(crate) breadth: u32,
}

impl Conversation {
    /// Begins a conversation.
    pub(crate) fn begin(
        context: &mut Context<'_>,
        id: ConversationId,
        arrival: Arrival<'_>,
    ) -> Self {
        let Arrival {
            server,
            request,
            flow,
            asker,
            beyond,
            mut destination,
            rings,
            offer,
            hops,
            breadth,
        } = arrival;
        let text_only = offer.as_deref().is_some_and(media::is_text_only);
        let (from, mut to) = (request.from(), request.to());
        let called = destination.aor.clone();
        to.uri = location::token::known_as(to.uri, &called);
        let settings = &context.shared.settings;
        // Also where it hides its name from the other side.
        let caller_aor =
            location::sender(request, &asker, &flow, context.now, settings, context.world)
                .unwrap_or_else(|| Aor::from_canonical(from.uri));
        let callee = destination.asker(settings);
        let identities = [asserted(request, &asker), asserted_of_called(&callee)];
        let endpoint = caller_endpoint(context, request, flow, &caller_aor, &destination);
        destination.leave_out(&caller_aor, &endpoint.identity);
        let mut conversation = Self {
            id,
            kind: if text_only { Kind::Session } else { Kind::Call },
            call_id: request.call_id().into(),
            started: context.now,
            answered: None,
            ended: None,
            parties: [
                Party::new(caller_aor, asker, name_addr(&from)),
                Party::new(destination.aor.clone(), callee, name_addr(&to)),
            ],
            ports: Default::default(),
            next_leg: 0,
            restorations: 0,
            restored_at: Vec::new(),
            history: Vec::new(),
            ghosts: Vec::new(),
            dropped: Vec::new(),
            leaving: Vec::new(),
            closing: None,
            made_by: rings.asker(),
            stands: false,
            streams: 0,
            crowded: false,
            rings: Some(rings),
            burden: None,
            invitation: None,
            carried: Vec::new(),
            renegotiation: None,
            open_invite: None,
            growing: None,
            inquiring: None,
            giving: None,
            haunts: Default::default(),
            secure: is_sips(request.uri()),
            naming: Vec::new(),
            arriving: None,
            timer: None,
            indexed: Default::default(),
            half: None,
            expected: [false; 2],
            rung: Box::default(),
            lit: Box::default(),
        };
        for (party, asserted) in conversation.parties.iter_mut().zip(identities) {
            party.asserted = asserted;
        }
        let caller = conversation.party_mut(Side::Caller);
        caller.veil = Veil::of(request);
        caller.for_user = for_user(request);
        let leg = conversation.new_leg_id();
        let tag = context.tag((id, leg));
        let mut dialog = Dialog::of_request(request, flow, tag);
        let caller = conversation.party(Side::Caller);
        let registered = location::is_bound(&caller.aor, &flow, context.now, context.world);
        dialog.known = Known::caller(&endpoint, &caller.asker, request, &flow, registered);
        let session = context.shared.mint.session();
        let mut leg = Leg::new(leg, Side::Caller, dialog, endpoint, session, context.now);
        leg.life = Life::Invited;
        leg.is_called_by(beyond);
        leg.is_named(context);
        leg.abilities.learn(request);
        if let Some(offer) = &offer {
            leg.talk.offers(offer.clone());
        }
        let transactions = &mut context.shared.transactions;
        transactions.bind(server, (id, leg.id));
        transactions.tagged(server, &leg.dialog.local_tag);
        let caller = conversation.party_mut(Side::Caller);
        caller.languages = request.header(Name::AcceptLanguage).unwrap_or("").into();
        caller.leg = Some(leg);
        conversation.vouched_for(context, &destination);
        let through = destination.targets.first();
        let through = through.and_then(|target| target.endpoint.through.as_deref());
        let is_judged = conversation.proves_through(context, Side::Caller, through);
        let caller = &conversation.party(Side::Caller).asker;
        let mut lines = FirstLines::of(request, caller, joining(request));
        if is_judged {
            lines.to_judge = proof(request);
            lines.to_judge.extend(for_own_upstream(request, caller));
        }
        if destination.upstream.is_some() {
            lines.replacing = replacing(request);
        }
        let believed = destination.asked_by.is_some() || *caller == Asker::Trusted;
        let diverted = Diverted::of(request, believed);
        let trail = Trail::of(request, &called, is_judged || !caller.is_unknown());
        if destination.upstream.is_some() {
            conversation.party_mut(Side::Callee).asked = Some(destination.uri.clone());
        }
        let settings = &context.shared.settings;
        let mode = settings.media.mode;
        conversation.invitation = Some(Box::new(Invitation {
            server,
            fork: Fork {
                waiting: Turn::of(
                    breadth::narrow(
                        routing::groups(destination.targets, destination.order),
                        breadth,
                    ),
                    trail.as_deref(),
                    destination.fork,
                ),
                ..Fork::default()
            },
            breadth,
            registered,
            told: trail::wants(request),
            told_ends: request.has_token(Name::Supported, "199"),
            diverted,
            streams: media::streams_needed(offer.as_deref(), mode),
            offer,
            enclosed: Enclosed::of(request),
            lines,
            hops,
            early: Vec::new(),
            voices: Voices::default(),
            wants: Wants::of(request, settings),
            crossings: Vec::new(),
            expires: expires(request, context.now),
            adrift: None,
            held: None,
        }));
        let (from, to) = (from.uri.into(), to.uri.into());
        conversation.note(context, Happening::Invited { from, to });
        conversation.next_group(context);
        conversation
    }

    /// Gives the next group of endpoints its turn, or the caller the best failure.
    pub(super) fn next_group(&mut self, context: &mut Context<'_>) {
        loop {
            let Some(invitation) = &mut self.invitation else {
                return;
            };
            if invitation.fork.is_calling() {
                return self.launch(context);
            }
            let Some(turn) = invitation.fork.next_turn() else {
                return self.fail(context);
            };
            let rules = invitation.fork.rules;
            let ring = rules.ring_timeout(&context.shared.settings.fork);
            for target in turn.targets {
                let endpoint = match turn.meant {
                    Some(_) => target.endpoint,
                    None => self.where_it_is(context, target.endpoint),
                };
                let branch = self.make_branch(context, Side::Callee, endpoint, ring);
                let Some(invitation) = &mut self.invitation else {
                    return;
                };
                match branch {
                    Ok(mut branch) => {
                        branch.is_for(turn.meant.clone());
                        invitation.fork.branches.push(branch);
                    }
                    Err(status) => invitation.fork.judge(verdict(status)),
                }
            }
        }
    }

    /// Sends what is ready to be sent.
    fn launch(&mut self, context: &mut Context<'_>) {
        let Some(mut invitation) = self.invitation.take() else {
            return;
        };
        let streams = invitation.streams;
        let caller_ready = self.caller_ports(context, streams);
        let wanted = (streams, self.claim(Side::Callee));
        self.want_ports(context, Side::Callee, &mut invitation.fork, wanted);
        let share = breadth::share(invitation.breadth, invitation.fork.branches.len());
        invitation.fork.lead_on();
        for branch in &mut invitation.fork.branches {
            if caller_ready && self.callable(branch, streams) {
                let (lines, diverted) = (&invitation.lines, &invitation.diverted);
                let named = hears_names(context, branch.endpoint());
                // Whom a phone or the upstream names instead is shown neither.
                let judges = self.proves_to(context, Side::Caller, Some(&branch.leg));
                let dialled = branch.endpoint().through.is_some() && branch.meant.is_none();
                let apart = lines.apart(judges, dialled);
                let asks: &[u8] = match (invitation.told, invitation.told_ends) {
                    (true, true) => b"Supported: histinfo, 199\r\n",
                    (true, false) => b"Supported: histinfo\r\n",
                    (false, true) => b"Supported: 199\r\n",
                    (false, false) => b"",
                };
                branch.enclosed.clone_from(&invitation.enclosed);
                // RFC 3262 5: an offer in one of its responses needs an answer, which only a caller can give
                // that hears of it.
                let reliable = invitation.offer.is_some() || invitation.wants != Wants::Never;
                self.call(
                    context,
                    branch,
                    invitation.offer.as_deref(),
                    invitation.hops,
                    reliable,
                    |builder, told| {
                        builder
                            .header(Name::MaxBreadth, share)
                            .raw_lines(asks)
                            .raw_lines(lines.toward(told, named))
                            .raw_lines(&apart)
                            .raw_lines(diverted.lines(told).as_bytes())
                    },
                );
            }
        }
        self.invitation = Some(invitation);
    }

    /// The relay has opened ports, or has none.
    pub(super) fn invitation_ports(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        generation: Generation,
    ) {
        if self.invitation.is_none() {
            return;
        }
        let ports = &mut self.ports[side.index()];
        if !ports.failed(generation) {
            return self.launch(context);
        }
        if !ports.do_without(generation) {
            return self.give_up_inviting(context, 500, Ending::Gave(GaveUp::NoMediaPorts), None);
        }
        // The endpoints at our other addresses ring on.
        let Some(invitation) = &mut self.invitation else {
            return;
        };
        let unreached = invitation.fork.take_of(generation);
        for branch in unreached {
            context.forget_tag(&branch.leg.dialog.local_tag);
            self.note(context, unreached_by_media(&branch));
            if let Some(invitation) = &mut self.invitation {
                invitation.fork.judge(verdict(503));
            }
        }
        self.next_group(context);
    }

    pub(super) fn invitation_resolved(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        targets: &[Located],
    ) {
        let Some(invitation) = &mut self.invitation else {
            return;
        };
        if let Some(status) = Self::resolved(context, &mut invitation.fork, token, targets) {
            invitation.fork.judge(giving_up::unlocated(status));
        }
        self.next_group(context);
    }

    /// An answer of a branch while the caller waits.
    pub(super) fn invitation_response(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        answer: &Answer<'_>,
    ) {
        let (response, flow) = (answer.response, answer.flow);
        self.judge_proof(context, leg, response);
        if (200..300).contains(&response.status())
            && let Some(branch) = self.branch_mut(leg)
        {
            branch.turn_to(response.to_tag());
        }
        match response.status() {
            199 => self.early_ended_beyond(context, leg, response, flow),
            ..200 => self.ringing(context, leg, response, flow),
            200..300
                if self.lacks_answer(leg, response)
                    || self.lacks_keys(&context.shared.settings.media, leg, response) =>
            {
                acknowledge_and_leave(context, response, flow, Leaving::Surely, None);
                self.branch_failed(context, leg, (verdict(488), Refuser::Refork));
            }
            200..300 => self.accepted(context, leg, response, flow),
            422 if self.asks_for_longer(context, leg, response) => self.launch(context),
            // Who has an account there answers for itself.
            401 | 407
                if !self.asker_proves(context, leg)
                    && self.answers_challenge(context, leg, answer) =>
            {
                self.launch(context);
            }
            status => {
                let through = self.through(leg);
                let through = through.as_deref();
                if let (Some(_), true, Some(invitation)) =
                    (through, status != 503, &mut self.invitation)
                {
                    invitation.fork.skip_other_machines(leg);
                }
                self.redirected(context, Side::Callee, leg, response);
                let lines = self.lines_of(context, Side::Callee, response);
                let mut lines = with_session(lines, response);
                lines.extend(self.history_back(context, leg, response));
                if self.asker_proves(context, leg) {
                    lines.extend(proof(response));
                }
                if names_others(status) {
                    lines.extend(contacts(response));
                }
                lines.extend(demands(response));
                let (status, reason) = match status {
                    // A word between proxies (RFC 5626 7): to the caller the phone is not there.
                    430 => (480, "Temporarily Unavailable"),
                    // It names a proxy on the phone's side, where nobody else is to go (RFC 3261 21.3.4).
                    305 => (480, "Temporarily Unavailable"),
                    _ => (status, response.reason_phrase()),
                };
                let reason = reason.into();
                let verdict = Verdict {
                    status,
                    reason,
                    lines,
                    body: choices(response),
                };
                self.branch_failed(context, leg, (verdict, Refuser::Endpoint));
            }
        }
    }

    /// Returns the upstream's target that a branch was asked through.
    fn through(&self, leg: LegId) -> Option<Box<str>> {
        let invitation = self.invitation.as_ref()?;
        invitation.fork.find(leg)?.leg.endpoint.through.clone()
    }

    /// A branch failed: the others go on, or the next group has its turn.
    pub(super) fn branch_failed(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        (verdict, by): (Verdict, Refuser),
    ) {
        let Some(invitation) = &mut self.invitation else {
            return;
        };
        let Some(branch) = invitation.fork.take(leg) else {
            return;
        };
        context.forget_tag(&branch.leg.dialog.local_tag);
        self.settle_crossings(context, Some(leg));
        let status = verdict.status;
        let first = self.invitation.as_deref();
        let asks = first
            .is_some_and(|first| self.asks_the_caller(context, first, (status, &verdict.lines)));
        let Some(invitation) = &mut self.invitation else {
            return;
        };
        let refused = giving_up::failure(&branch, status, by, asks);
        let media = &context.shared.settings.media;
        if let Some(secure) = other_way(media, status, invitation.offer.as_deref(), &branch) {
            self.note(context, refused);
            return self.ask_the_other_way(context, branch, secure);
        }
        // RFC 3261 16.7 step 4: what was followed is no answer any more.
        if !branch.followed {
            invitation.fork.judge(verdict);
        }
        self.note(context, refused);
        if status >= 600
            && let Some(mut invitation) = self.invitation.take()
        {
            // RFC 3261 16.7 step 5: nobody else need ring.
            self.cancel_branches(context, &mut invitation.fork, None);
            self.invitation = Some(invitation);
        }
        self.early_ended(context, leg, status);
        self.next_group(context);
    }

    /// Returns true where the leg is one of the first fork's branches.
    pub(super) fn is_inviting(&self, leg: LegId) -> bool {
        self.invitation.as_ref().is_some_and(|invitation| {
            invitation
                .fork
                .branches
                .iter()
                .any(|branch| branch.leg.id == leg)
        })
    }

    /// What follows an INVITE's failure without a response.
    pub(super) fn invitation_unanswered(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        status: u16,
    ) {
        let branches = self.invitation.iter().flat_map(|i| &i.fork.branches);
        let rang = branches
            .filter(|branch| branch.leg.id == leg)
            .any(|branch| branch.rang);
        self.branch_failed(context, leg, (verdict(status), Refuser::of_silence(rang)));
    }

    /// Whoever is called has said BYE in its early dialog, which is for the caller alone (RFC 3261 15): it has refused.
    /// Others behind the same branch ring on; of the last one nothing is left there.
    pub(super) fn early_farewell(&mut self, context: &mut Context<'_>, leg: LegId) {
        if self.hung_up_behind(context, leg) {
            return;
        }
        let client = self.branch_mut(leg).and_then(|branch| branch.client);
        if let Some(client) = client {
            context.cancel(client, None);
        }
        self.branch_failed(context, leg, (verdict(480), Refuser::Endpoint));
    }
}

fn expires(request: &Message, now: Time) -> Option<Time> {
    let seconds = request.expires().filter(|seconds| *seconds > 0)?;
    Some(now + Millis::from_secs(seconds.into()))
}

/// A failure of our own making.
pub(super) fn verdict(status: u16) -> Verdict {
    Verdict {
        status,
        reason: reason_phrase(status).into(),
        lines: Vec::new(),
        body: None,
    }
}

fn caller_endpoint(
    context: &Context<'_>,
    request: &Message,
    flow: Flow,
    aor: &Aor,
    destination: &Destination,
) -> Endpoint {
    let contact = request.values(Name::Contact).next().unwrap_or("");
    let contact = Address::parse(contact).unwrap_or_else(|_| request.from());
    let settings = &context.shared.settings;
    if let Some(upstream) = &destination.asked_by {
        // Whoever it is, it is not a phone of ours that calls, but the upstream.
        return Endpoint {
            through: routing::hops(upstream, settings).next().map(Into::into),
            ..location::endpoint(&contact, request, Some(flow), settings)
        };
    }
    location::caller(
        &contact,
        request,
        &flow,
        aor,
        context.now,
        settings,
        context.world,
    )
}
