//! Requests that reach us: those within a dialog go to their conversation, the others begin something.

use super::admission::offence;
use super::asker::{Asker, NOT_FOR_STRANGERS};
use super::conversation::carrying::crossing::joins;
use super::conversation::carrying::demands::is_encoded;
use super::conversation::context::{ACCEPT, ALLOW, Context, Shared, supported};
use super::conversation::people::veil::cannot_be_given;
use super::conversation::{
    Arrival, Conversation, Rings, breadth, has_looped, hops_left, is_foreign, refusal, replaced,
    sdp_of, streams_needed, too_brief, way,
};
use super::edge::Named;
use super::location::{Registered, canonical};
use super::routing::{By, Destination, NO_SERVICE, SCHEME_NOT_CARRIED, Target, dialled};
use super::{Engine, routing};
use crate::engine::dialog::is_sips;
use crate::engine::events::{Event, Offence};
use crate::engine::handover::{Handover, Word};
use crate::engine::ids::Flow;
use crate::engine::inquiry::{Found, Inquiry};
use crate::engine::mint::{hash_shard, tag_key};
use crate::engine::ports::{Output, World};
use crate::engine::refusal::{Refusal, SIPS_NOT_ALLOWED};
use crate::engine::settings::Emergency;
use crate::engine::time::Time;
use crate::engine::transaction::ServerId;
use crate::engine::trust;
use crate::sip::{Builder, Malformed, Message, Method, Name, Scheme, Uri, reason_phrase, sdp::Sdp};

impl Engine {
    pub(super) fn request(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) {
        if request.to_tag().is_some() {
            return self.within_dialog(server, request, flow, now, world);
        }
        if self.carried_over_the_edge(server, request, flow, now, world) {
            return;
        }
        if let Err(refusal) = self.acceptable(request) {
            return self
                .shared
                .context(now, world)
                .turn_away(server, request, refusal);
        }
        match request.method() {
            Method::Register => self.register(server, request, flow, now, world),
            Method::Invite => {
                if let Some(asker) = self.admit(server, request, flow, now, world) {
                    self.invite(server, request, flow, &asker, now, world);
                }
            }
            Method::Options => self.options(server, request, flow, now, world),
            Method::Message => {
                if let Some(asker) = self.admit(server, request, flow, now, world) {
                    let by = self.came_by(request, &flow, &asker, now, world);
                    let by = by.unwrap_or_default();
                    let mut context = self.shared.context(now, world);
                    let begun =
                        self.passages
                            .begin(&mut context, server, request, &flow, &asker, &by);
                    if let Err(status) = begun {
                        self.looked_for(&asker, status, (request, flow), now, world);
                    }
                }
            }
            Method::Bye | Method::Info | Method::Update | Method::Prack | Method::Notify => {
                self.shared
                    .context(now, world)
                    .refuse(server, 481, "no dialog is named");
            }
            Method::Subscribe => self.subscribe(server, request, flow, now, world),
            Method::Refer | Method::Publish => {
                let why = "method outside of a dialog";
                self.shared.context(now, world).refuse(server, 405, why);
            }
            Method::Ack | Method::Cancel | Method::Other(_) => {
                self.shared
                    .context(now, world)
                    .refuse(server, 501, "method that is not known");
            }
        }
    }

    fn within_dialog(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) {
        let bound = request
            .to_tag()
            .and_then(tag_key)
            .and_then(|key| self.shared.tags.get(&key))
            .copied();
        let known = bound.is_some_and(|(id, leg)| {
            let Some(flow) = self.admit_within(server, request, flow, (id, leg), now, world) else {
                return true;
            };
            self.with(id, now, world, |conversation, context| {
                conversation.on_request(context, leg, server, request, flow);
            })
        });
        let known = known
            || self
                .shared
                .context(now, world)
                .parting_request(server, request);
        let known = known || self.resubscribed(server, request, flow, now, world);
        if !known && !self.carried_over_the_edge(server, request, flow, now, world) {
            self.shared
                .context(now, world)
                .refuse(server, 481, "no such dialog");
        }
    }

    /// RFC 3261 8.2.2, 16.3: what is looked at before anything is done.
    fn acceptable(&self, request: &Message) -> Result<(), Refusal> {
        if request.max_forwards() == Some(0)
            && !matches!(request.method(), Method::Register | Method::Options)
        {
            return Err((483, "no hops left").into());
        }
        let mut replaced = request.values(Name::Replaces);
        let begins = *request.method() == Method::Invite;
        if replaced.next().is_some_and(|_| !begins) || replaced.next().is_some() {
            // RFC 3891 3.
            return Err((
                400,
                "Replaces of two dialogs, or by another request than INVITE",
            )
                .into());
        }
        let known = |value: &str| {
            let own = if *request.method() == Method::Register {
                // The registrar knows its own.
                return true;
            } else if *request.method() == Method::Invite {
                supported(&self.shared.settings, true)
            } else {
                ""
            };
            let theirs = value.eq_ignore_ascii_case("join") && joins(request);
            theirs || tokens(own).any(|own| value.eq_ignore_ascii_case(own))
        };
        let demanded = request.values(Name::Require).chain(proxy_demands(request));
        if demanded.into_iter().any(|value| !known(value)) {
            return Err((420, "extension that is not supported").into());
        }
        let carried = Uri::parse(request.uri()).is_ok_and(|uri| match uri.scheme {
            Scheme::Sip | Scheme::Sips | Scheme::Tel => true,
            Scheme::Other(_) => names_service(request),
        });
        if carried {
            Ok(())
        } else {
            Err(SCHEME_NOT_CARRIED)
        }
    }

    fn register(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) {
        if self.registered_beyond(server, request, flow, now, world) {
            return;
        }
        let registered = self
            .registrar
            .register(request, &flow, now, &self.shared.settings, world);
        self.shared
            .out
            .extend(registered.events.into_iter().map(Output::from));
        let Registered {
            status, response, ..
        } = registered;
        if status == 404 {
            self.misdirected(request, flow, now, world);
        }
        let Shared {
            transactions, out, ..
        } = &mut self.shared;
        if registered.asks {
            transactions.challenge(server, response, now, out);
        } else {
            transactions.respond(server, status, response, now, out);
        }
        self.bindings_have_changed(registered.changed, now, world);
    }

    /// About a user it tells what an INVITE would be told, and to nobody else; what is taken is what we take, who
    /// are the end of each call (RFC 3261 11.2).
    fn options(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) {
        if request.max_forwards() != Some(0)
            && (Uri::parse(request.uri()).is_ok_and(|uri| uri.user.is_some())
                || names_service(request))
        {
            let Some(asker) = self.admit(server, request, flow, now, world) else {
                return;
            };
            let by = self.came_by(request, &flow, &asker, now, world);
            let by = by.unwrap_or_default();
            let context = self.shared.context(now, world);
            if let Err(refusal) = destination(&context, request, &flow, &asker, &by) {
                self.shared.context(now, world).turn_down(server, refusal);
                return self.looked_for(&asker, refusal.status, (request, flow), now, world);
            }
        }
        let mut context = self.shared.context(now, world);
        let (tag, supported) = (context.shared.mint.hex(8), context.supported());
        context.respond(server, 200, "OK", Some(&tag), |builder| {
            builder
                .header(Name::Allow, ALLOW)
                .header(Name::Accept, ACCEPT)
                .header(Name::AcceptEncoding, "identity")
                .header(Name::AcceptLanguage, "*")
                .header(Name::Supported, supported)
                .end()
        });
    }

    fn invite(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        asker: &Asker,
        now: Time,
        world: &mut dyn World,
    ) {
        let by = self.came_by(request, &flow, asker, now, world);
        // The From and the Contact are the word of whoever is beyond, then.
        let listed = trust::is_listed(&flow, &self.shared.settings, world);
        let beyond = by.clone().filter(|_| !listed);
        if let Some(value) = request.header(Name::Replaces)
            && !self.replaces_beyond(request, value, &flow, asker, now, world)
        {
            return self.replacing(server, request, flow, asker, beyond, value, now, world);
        }
        let by = by.unwrap_or_default();
        let standing = self.conversations.len() + world.elsewhere();
        let full = standing >= self.shared.settings.limits.conversations
            && (asker.is_unknown() || self.emergency(request, flow, now, world).is_none());
        let mut context = self.shared.context(now, world);
        if full || self.draining {
            let why = if full {
                "limits.conversations is reached"
            } else {
                "draining"
            };
            return context.refuse(server, 503, why);
        }
        let arrival = match arrival(&context, server, request, flow, asker, &by) {
            Ok(arrival) => Arrival { beyond, ..arrival },
            Err(refusal) => {
                context.turn_away(server, request, refusal);
                if refusal == NO_SERVICE {
                    return self.no_service(request, flow, now);
                }
                return self.looked_for(asker, refusal.status, (request, flow), now, world);
            }
        };
        let rings = arrival.rings;
        let limits = &context.shared.settings.limits;
        let mode = context.shared.settings.media.mode;
        let streams = streams_needed(arrival.offer.as_deref(), mode);
        if let Some(crowd) = self.ringing.crowd((rings, streams), limits, context.world) {
            let tell = self.ringing.tells(crowd, now);
            return context.refuse_one_more(server, crowd, tell);
        }
        let (there, claim) = (&arrival.destination, rings.claim());
        let Some(burden) = context.begin_ringing(server, request, there, claim) else {
            return;
        };
        self.ringing.begin(rings, &mut *context.world);
        let shard = hash_shard(context.shared.shard_key, request.call_id());
        let id = context.shared.mint.conversation(shard);
        context.of = Some(id);
        let mut conversation = Conversation::begin(&mut context, id, arrival);
        conversation.burden = Some(burden);
        self.conversations.insert(id, Box::new(conversation));
        self.settle(id, now, world);
    }

    /// Returns true where the dialog to be replaced is none of ours and the request goes to an upstream, which
    /// may well have it (RFC 3891 4).
    fn replaces_beyond(
        &self,
        request: &Message,
        value: &str,
        flow: &Flow,
        asker: &Asker,
        now: Time,
        world: &dyn World,
    ) -> bool {
        let settings = &self.shared.settings;
        let foreign = replaced(value).is_some_and(|replaced| tag_key(replaced.local_tag).is_none());
        let uri = || {
            dialled(
                request.uri(),
                &By::over(flow, asker, world),
                settings,
                world,
            )
        };
        foreign
            && routing::route(&uri(), &[], now, settings, world)
                .is_ok_and(|destination| destination.upstream.is_some())
    }

    /// RFC 3891 3: the dialog is ours, or there is none to replace.
    fn replacing(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        asker: &Asker,
        beyond: Option<Vec<Box<str>>>,
        value: &str,
        now: Time,
        world: &mut dyn World,
    ) {
        let replaced = replaced(value);
        let bound = replaced
            .as_ref()
            .and_then(|replaced| tag_key(replaced.local_tag))
            .and_then(|key| self.shared.tags.get(&key))
            .copied();
        let known = match (&replaced, bound) {
            (Some(replaced), Some((id, leg))) => {
                self.with(id, now, world, |conversation, context| {
                    context.cancel_follows(request.call_id(), id);
                    let by = (asker, beyond);
                    conversation.on_replacing(context, leg, server, request, flow, by, replaced);
                })
            }
            _ => false,
        };
        if !known {
            let (status, why) = if replaced.is_some() {
                (481, "Replaces of a dialog that is not known")
            } else {
                (400, "Replaces that cannot be read")
            };
            self.shared.context(now, world).refuse(server, status, why);
        }
    }

    /// Another conversation, perhaps of another shard, asks for the other end of a call.
    pub(super) fn inquired(&mut self, mut inquiry: Inquiry, now: Time, world: &mut dyn World) {
        if let Some(moved) = self.shared.moves.find(&inquiry.local_tag) {
            inquiry.shard = moved.shard();
            return self.shared.out.push_back(Output::Inquiry(inquiry));
        }
        let key = tag_key(&inquiry.local_tag);
        let bound = key.and_then(|key| self.shared.tags.get(&key)).copied();
        let taken_back = key.is_some_and(|key| self.shared.taken_back.has(key, now));
        let mut counterpart = Err(if taken_back { 487 } else { 603 });
        if let Some((id, leg)) = bound {
            self.with(id, now, world, |conversation, context| {
                counterpart = conversation.counterpart(context, leg, &inquiry);
            });
        }
        self.shared.out.push_back(Output::Found(Found {
            token: inquiry.token,
            by: inquiry.by,
            counterpart: counterpart.map(Box::new),
        }));
    }

    /// A word of another conversation about a leg that is to go to it, or to come from it.
    pub(super) fn handed_over(&mut self, handover: Handover, now: Time, world: &mut dyn World) {
        let Handover { from, to, word } = handover;
        if self.conversations.contains_key(&to) {
            self.with(to, now, world, |conversation, context| {
                conversation.on_handover(context, from, word);
            });
            return;
        }
        let mut context = self.shared.context(now, world);
        match word {
            Word::Ask(_) => context.tell(to, from, Word::Unknown),
            // A leg goes back to who has given it.
            Word::Give(_) => context.tell(to, from, Word::Keep(481)),
            Word::Leave(leg) => context.end_given(to, &leg),
            Word::Taken
            | Word::Rings
            | Word::Decline
            | Word::Keep(_)
            | Word::Unknown
            | Word::Half { .. }
            | Word::HungUp
            | Word::Here(_) => {}
        }
    }

    /// Bytes that are no message we work with: counted, and answered where a request can be.
    pub(super) fn malformed(&mut self, malformed: Malformed, flow: Flow) {
        self.emit(Event::Malformed {
            reason: malformed.reason.as_str(),
            peer: flow.to_string().into(),
        });
        self.emit(offence(Offence::Malformed, flow, false));
        let Some(request) = malformed
            .salvaged
            .filter(|request| *request.method() != Method::Ack)
        else {
            return;
        };
        let tag = self.shared.mint.hex(8);
        let status = malformed.status;
        // Without a transaction: a peer that sends it again is told again (RFC 3261 8.2.7).
        let bytes = Builder::respond(
            &request,
            status,
            reason_phrase(status),
            Some(&tag),
            flow.peer,
        )
        .end();
        self.shared.out.push_back(Output::Send { flow, bytes });
    }
}

fn arrival<'a>(
    context: &Context<'_>,
    server: ServerId,
    request: &'a Message,
    flow: Flow,
    asker: &Asker,
    came_by: &[Box<str>],
) -> Result<Arrival<'a>, Refusal> {
    let hops = hops_left(request).ok_or((483, "no hops left"))?;
    let breadth = breadth(request).ok_or((440, "no breadth left"))?;
    let offer = sdp_of(request);
    if offer.is_some() && is_encoded(request) {
        return Err((415, "session description in an encoding").into());
    }
    if is_foreign(request) {
        return Err((415, "body of an INVITE that is no SDP").into());
    }
    if offer
        .as_deref()
        .is_some_and(|offer| Sdp::parse(offer.as_bytes()).is_err())
    {
        return Err((400, "session description that cannot be read").into());
    }
    if request.values(Name::Contact).next().is_none() {
        return Err((400, "INVITE without Contact").into());
    }
    if too_brief(context, request) {
        return Err((422, "session timer shorter than the smallest").into());
    }
    let media = &context.shared.settings.media;
    if let Some(why) = offer.as_deref().and_then(|offer| refusal(offer, media)) {
        return Err((488, why).into());
    }
    let destination = destination(context, request, &flow, asker, came_by)?;
    let settings = &context.shared.settings;
    let trusted = destination.asker(settings) == Asker::Trusted;
    if !trusted && cannot_be_given(request, offer.as_deref(), media.mode) {
        return Err((500, "privacy that cannot be given").into());
    }
    let rings = Rings::of(context, asker, &destination, request, &flow);
    Ok(Arrival {
        server,
        request,
        flow,
        asker: asker.clone(),
        beyond: None,
        destination,
        rings,
        offer,
        hops,
        breadth,
    })
}

/// Returns true for a request that a service can be asked (RFC 5031).
fn names_service(request: &Message) -> bool {
    let asks = matches!(
        request.method(),
        Method::Invite | Method::Message | Method::Options
    );
    asks && canonical(request.uri()).is_some_and(|named| named.as_str().starts_with("urn:"))
}

/// Returns where a request goes that comes by these upstreams, for one who may reach that.
pub(super) fn destination(
    context: &Context<'_>,
    request: &Message,
    flow: &Flow,
    asker: &Asker,
    came_by: &[Box<str>],
) -> Result<Destination, Refusal> {
    let secure = is_sips(request.uri());
    if secure && !context.world.spoken(flow).is_secure() {
        return Err(SIPS_NOT_ALLOWED);
    }
    let there = leads_to(context, request, flow, asker, came_by)?;
    if secure {
        in_secrecy(context, there)
    } else {
        Ok(there)
    }
}

/// Leaves of a destination whom nothing leads to in the clear (RFC 3261 26.2.2).
fn in_secrecy(context: &Context<'_>, mut there: Destination) -> Result<Destination, Refusal> {
    let secret = |target: &Target| way(context, &target.endpoint).is_secure(context);
    there.targets.retain(secret);
    if there.targets.is_empty() {
        return Err(SIPS_NOT_ALLOWED);
    }
    Ok(there)
}

fn leads_to(
    context: &Context<'_>,
    request: &Message,
    flow: &Flow,
    asker: &Asker,
    came_by: &[Box<str>],
) -> Result<Destination, Refusal> {
    let named = Named::by(request, context.now, context.world);
    if let Some(named) = named.filter(|named| !named.is_from(flow)) {
        return named.destination(request, &context.shared.settings);
    }
    let settings = &context.shared.settings;
    let by = By {
        came_by,
        ..By::over(flow, asker, context.world)
    };
    let uri = dialled(request.uri(), &by, settings, context.world);
    let destination = routing::route(&uri, came_by, context.now, settings, context.world)?;
    if has_looped(request, &settings.node, &destination.aor) {
        return Err((
            482,
            "request that went through us on its way to the same person",
        )
            .into());
    }
    if !asker.may_reach(destination.upstream.as_deref())
        && destination.emergency != Some(Emergency::Anyone)
    {
        return Err(NOT_FOR_STRANGERS);
    }
    let chosen = context.choose(destination, request.call_id());
    let down = Refusal::new(500, "every target of the upstream is down");
    chosen.ok_or(down)
}

impl Context<'_> {
    /// Refuses a request that begins something.
    fn turn_away(&mut self, server: ServerId, request: &Message, refusal: Refusal) {
        if refusal.status != 420 {
            return self.turn_down(server, refusal);
        }
        let unsupported = super::conversation::context::joined(
            request
                .values(Name::Require)
                .chain(proxy_demands(request))
                .filter(|value| {
                    let own = tokens(self.supported());
                    !own.into_iter().any(|own| value.eq_ignore_ascii_case(own))
                }),
        );
        self.refuse_extension(server, refusal.why, &unsupported);
    }
}

/// Returns what is demanded of whoever carries a request; we are a privacy service (RFC 3323 4.4).
fn proxy_demands(request: &Message) -> impl Iterator<Item = &str> {
    let demanded = request.values(Name::ProxyRequire);
    demanded.filter(|value| !value.eq_ignore_ascii_case("privacy"))
}

fn tokens(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}
