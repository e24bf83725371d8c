//! Requests under way between phones and their upstream, and the answers back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

use super::arrivals::{begins_dialog, register_requires};
use super::forward::{Onward, Toward, hand_back, our_uri, stays_of, withheld_of};
use super::named::Named;
use super::register::{Registration, whom};
use super::targets::{onward, upstream_targets};
use crate::engine::asker::Asker;
use crate::engine::conversation::carrying::failover::{Sent, next_flow, target_failed};
use crate::engine::conversation::context::{Context, Errand, What, retry_after};
use crate::engine::conversation::under_way::Burden;
use crate::engine::conversation::{Way, hops_left, in_secrecy, way};
use crate::engine::endpoint::{BindingsChanged, Endpoint};
use crate::engine::events::TargetFailure;
use crate::engine::ids::{Aor, ConversationId, Flow, LegId, VirtualShard};
use crate::engine::locating::Located;
use crate::engine::location::{self, Tried};
use crate::engine::ports::{Output, Token};
use crate::engine::refusal::SIPS_NOT_ALLOWED;
use crate::engine::settings::PathMode;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Address, Message, Method, Name};

/// Nobody waits longer for an answer than its own transaction does.
const AGE_MAX: Millis = Millis::from_secs(64);
/// REGISTERs of one phone under way at a time: one that asks faster than its upstream answers waits.
const REGISTERS_MAX: usize = 8;

/// Requests on their way.
pub(crate) struct Relays {
    /// Whose branches they bear: the answers come back to this shard.
    shard: VirtualShard,
    next: u64,
    standing: BTreeMap<u64, Relay>,
    asked: HashMap<Token, (u64, Endpoint)>,
    /// REGISTERs under way, by whom they are for and where they come from: nobody keeps another's phone
    /// from registering.
    registering: BTreeMap<(Aor, SocketAddr), usize>,
}

struct Relay {
    server: ServerId,
    request: Message,
    /// What it holds, once it is under way.
    burden: Option<Burden>,
    /// Where the request came from.
    from: Flow,
    /// Nothing shows whose it is.
    strangers: bool,
    began: Time,
    /// Where it can go, one after another.
    targets: VecDeque<Endpoint>,
    /// What is under way: look-ups, and tries that have not failed.
    out: usize,
    tries: Vec<Try>,
    /// Routes of ours at the top of the request, which end here.
    own_routes: usize,
    toward: Toward,
    /// The phone's token, where the dialog that begins is to come through here.
    recorded: Option<(Box<str>, Aor)>,
    registration: Option<Box<Registration>>,
}

/// The request, sent to one target.
struct Try {
    client: ClientId,
    target: Endpoint,
    flow: Flow,
    sent: Time,
    /// Other addresses of the same target; None where the flow is a phone's own.
    rest: Option<VecDeque<Located>>,
    /// When the next one has its turn, where this one has said nothing.
    silent_at: Option<Time>,
}

impl Relays {
    pub(crate) fn new(shard: VirtualShard) -> Self {
        Self {
            shard,
            next: 0,
            standing: BTreeMap::new(),
            asked: HashMap::new(),
            registering: BTreeMap::new(),
        }
    }

    /// Takes a phone's REGISTER on to the upstream that serves its domain; `known` where the phone is.
    pub(crate) fn register(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        upstream: &str,
        known: bool,
    ) {
        let requires = register_requires(request);
        if !requires.is_empty() {
            return context.refuse_extension(server, "extension that is not supported", &requires);
        }
        let settings = &context.shared.settings;
        let asked = settings.upstreams.get(upstream);
        let mode = asked.map_or(PathMode::Path, |asked| asked.path);
        let aor = location::aor_in(request.to().uri, settings);
        let registration = whom(request, aor).and_then(|aor| {
            let under_way = self.registering.get(&(aor.clone(), flow.peer));
            if under_way.is_some_and(|under_way| *under_way >= REGISTERS_MAX) {
                return Err((500, "too many REGISTERs of the user under way").into());
            }
            Registration::of(context, request, aor, &flow, mode)
        });
        let registration = match registration {
            Ok(registration) => registration,
            Err(refusal) => return context.turn_down(server, refusal),
        };
        let relay = Relay {
            registration: Some(Box::new(registration)),
            strangers: !known,
            ..Relay::upward(context, server, request, flow, upstream)
        };
        self.begin(context, relay, false);
    }

    /// Takes another first request of a phone on to its upstream.
    pub(crate) fn outward(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        upstream: &str,
        asker: &Asker,
    ) {
        let mut recorded = None;
        if begins_dialog(request.method()) {
            let aor = location::aor_in(request.from().uri, &context.shared.settings);
            recorded = aor.and_then(|aor| {
                let bindings = context.world.bindings(&aor);
                let mut bindings = bindings.into_iter().filter(|b| b.expires > context.now);
                let own = bindings.find(|b| b.endpoint.flow == Some(flow))?;
                Some((own.token?, aor))
            });
            if recorded.is_none() {
                // What the upstream says in the dialog would not find the phone.
                return context.refuse(server, 403, "the phone has not registered through here");
            }
        }
        let relay = Relay {
            recorded,
            strangers: asker.is_unknown(),
            ..Relay::upward(context, server, request, flow, upstream)
        };
        self.begin(context, relay, false);
    }

    /// Takes on a request that names a phone by its token: to the phone, or, in a dialog, from it.
    pub(crate) fn named(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        named: &Named,
    ) {
        let mut relay = Relay::new(
            context.now,
            server,
            request,
            flow,
            Toward::Phone,
            VecDeque::new(),
        );
        relay.own_routes = named.own_routes;
        if request.to_tag().is_some() && named.is_from(&flow) {
            (relay.toward, relay.strangers) = (Toward::Upstream, false);
            let route = request.values(Name::Route).nth(named.own_routes);
            let next = route.map_or_else(
                || request.uri(),
                |route| Address::parse(route).map_or(route, |address| address.uri),
            );
            relay.targets.extend(onward(next, request));
        } else {
            let exact = named.exactly(request.uri());
            let Some(binding) = exact.or_else(|| named.bindings.first()) else {
                let why = "the phone is no longer registered through here";
                return context.refuse(server, 430, why);
            };
            let mut endpoint = binding.endpoint.clone();
            endpoint.contact = named.uri_for(binding, request).into();
            relay.targets.push_back(endpoint);
            if request.to_tag().is_none() && begins_dialog(request.method()) {
                relay.recorded = Some((named.token.clone(), named.aor.clone()));
            }
        }
        self.begin(context, relay, true);
    }

    fn begin(&mut self, context: &mut Context<'_>, mut relay: Relay, named: bool) {
        if hops_left(&relay.request).is_none() {
            return context.refuse(relay.server, 483, "no hops left");
        }
        if !in_secrecy(context, relay.request.uri(), &mut relay.targets) {
            return context.turn_down(relay.server, SIPS_NOT_ALLOWED);
        }
        let (request, targets) = (&relay.request, relay.targets.len());
        // Who knows a token is no stranger.
        let of_stranger = relay.strangers && !named;
        relay.burden = context.begin_carrying(relay.server, request, targets, of_stranger);
        if relay.burden.is_none() {
            return;
        }
        self.next += 1;
        let number = self.next;
        if let Some(registration) = &relay.registration {
            *self
                .registering
                .entry((registration.aor().clone(), relay.from.peer))
                .or_default() += 1;
        }
        self.standing.insert(number, relay);
        self.go_on(context, number, None);
    }

    /// Tries the next target. Where there is none, and nothing else is under way, what failed last is the
    /// answer.
    fn go_on(&mut self, context: &mut Context<'_>, number: u64, failed: Option<Failure>) {
        while let Some(relay) = self.standing.get_mut(&number) {
            let Some(target) = relay.targets.pop_front() else {
                break;
            };
            match way(context, &target) {
                Way::Known(flow) => return self.send(context, number, target, flow, None),
                Way::Located(flow) => {
                    return self.send(context, number, target, flow, Some(VecDeque::new()));
                }
                Way::Ask(hop) => {
                    relay.out += 1;
                    let token = context.shared.mint.token();
                    self.asked.insert(token, (number, target));
                    let out = &mut context.shared.out;
                    return out.push_back(Output::Resolve { token, hop });
                }
                Way::None => {}
            }
        }
        if self.standing.get(&number).is_none_or(|relay| relay.out > 0) {
            return;
        }
        let Some(relay) = self.take(context, number) else {
            return;
        };
        match failed {
            Some(Failure::Answer(response)) => {
                let withheld = withheld_of(relay.toward, &relay.from, context);
                hand_back(context, relay.server, &response, withheld, &[], &[]);
            }
            // RFC 4320 4.2: who asked has given up too; a proxy that asks whether the phone lives hears
            // nothing, as it would of a phone that does not.
            Some(Failure::Silence) => context.answer(relay.server, 408, None),
            Some(Failure::Unreachable) | None => match relay.toward {
                Toward::Phone if *relay.request.method() == Method::Options => {
                    context.answer(relay.server, 408, None);
                }
                Toward::Phone => context.refuse(relay.server, 430, "the phone cannot be reached"),
                Toward::Upstream => {
                    context.refuse(relay.server, 500, "the upstream cannot be reached");
                }
            },
        }
    }

    fn send(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        target: Endpoint,
        flow: Flow,
        rest: Option<VecDeque<Located>>,
    ) {
        let Some(relay) = self.standing.get_mut(&number) else {
            return;
        };
        let id = ConversationId(u64::from(self.shard.0) << 56);
        let bytes = relay
            .onward(context, &target, &flow)
            .write(context, id, &flow);
        let errand = Errand {
            conversation: id,
            leg: LegId(0),
            what: What::Relay(number),
        };
        let others = rest.as_ref().is_some_and(|rest| !rest.is_empty());
        let others = others || (rest.is_some() && !relay.targets.is_empty());
        let failover = context.shared.settings.fork.failover;
        relay.out += 1;
        relay.tries.push(Try {
            client: context.send(bytes, flow, errand),
            target,
            flow,
            sent: context.now,
            rest,
            silent_at: others.then(|| context.now + failover),
        });
    }

    pub(crate) fn on_resolved(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        targets: &[Located],
    ) {
        let Some((number, target)) = self.asked.remove(&token) else {
            return;
        };
        if let Some(relay) = self.standing.get_mut(&number) {
            relay.out -= 1;
        }
        let mut rest = context.shared.shunned.order(targets, context.now);
        match next_flow(context, &target, &mut rest) {
            Some(flow) => self.send(context, number, target, flow, Some(rest)),
            None => self.go_on(context, number, Some(Failure::Unreachable)),
        }
    }

    /// A response. Returns what changed of the bindings that are kept.
    pub(crate) fn on_response(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        client: ClientId,
        response: &Message,
    ) -> Option<BindingsChanged> {
        match response.status() {
            // RFC 4320 4.1: none goes back.
            ..200 => return None,
            // RFC 3263 4.3: another target may do better.
            503 => {
                let failure = TargetFailure::Unavailable(retry_after(response));
                let last = Failure::Answer(response.clone());
                self.target_over(context, number, client, failure, last);
                return None;
            }
            _ => {}
        }
        let relay = self.take(context, number)?;
        if let Some(sent) = relay.tries.iter().find(|sent| sent.client == client) {
            let target = (sent.flow.transport, sent.flow.peer);
            context.shared.shunned.answered(&target);
            if !relay.strangers {
                context.call_answered(&sent.target);
            }
        }
        if relay.toward == Toward::Upstream {
            let tried = Tried::of(&relay.request, &relay.from);
            for event in tried.judged(response, context.now, context.world) {
                context.emit(event);
            }
        }
        let (rewritten, without) = match &relay.registration {
            Some(registration) => registration.shown(context, &relay.request, response),
            None => (Vec::new(), &[][..]),
        };
        let withheld = withheld_of(relay.toward, &relay.from, context);
        hand_back(
            context,
            relay.server,
            response,
            withheld,
            without,
            &rewritten,
        );
        let granted = (200..300).contains(&response.status());
        let registration = relay.registration.filter(|_| granted)?;
        registration.granted(context, response)
    }

    pub(crate) fn on_unanswered(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        client: ClientId,
        unreachable: bool,
    ) {
        let (failure, last) = if unreachable {
            (TargetFailure::Unreachable, Failure::Unreachable)
        } else {
            (TargetFailure::Silent, Failure::Silence)
        };
        self.target_over(context, number, client, failure, last);
    }

    /// A try has failed: the next target has its turn (RFC 3263 4.3).
    fn target_over(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        client: ClientId,
        failure: TargetFailure,
        last: Failure,
    ) {
        let Some(relay) = self.standing.get_mut(&number) else {
            return;
        };
        let Some(at) = relay.tries.iter().position(|sent| sent.client == client) else {
            return;
        };
        let over = relay.tries.swap_remove(at);
        relay.out -= 1;
        if !self.next_address(context, number, over, failure) {
            self.go_on(context, number, Some(last));
        }
    }

    /// Tries the next address of a target that has failed at one. Returns false where it has no other.
    fn next_address(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        over: Try,
        failure: TargetFailure,
    ) -> bool {
        let Some(mut rest) = over.rest else {
            return false;
        };
        let next = next_flow(context, &over.target, &mut rest);
        let relay = self.standing.get(&number);
        let others = relay.is_some_and(|relay| !relay.targets.is_empty());
        let sent = Sent {
            endpoint: &over.target,
            flow: over.flow,
            at: over.sent,
            strangers: relay.is_none_or(|relay| relay.strangers),
        };
        target_failed(context, &sent, failure, (next.is_some(), others));
        match next {
            Some(flow) => {
                self.send(context, number, over.target, flow, Some(rest));
                true
            }
            None => false,
        }
    }

    /// Lets go of what nobody will answer any more, and asks the next target where one is silent.
    pub(crate) fn sweep(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        while let Some((number, relay)) = self.standing.first_key_value() {
            if relay.began + AGE_MAX > now {
                break;
            }
            let number = *number;
            self.take(context, number);
        }
        let standing = &self.standing;
        self.asked
            .retain(|_, (number, _)| standing.contains_key(number));
        let mut silent = Vec::new();
        for (number, relay) in &mut self.standing {
            for sent in &mut relay.tries {
                let due = sent.silent_at.take_if(|at| *at <= now).is_some();
                if due && context.shared.transactions.is_silent(sent.client) {
                    let (target, rest) = (sent.target.clone(), sent.rest.take());
                    silent.push((
                        *number,
                        Try {
                            target,
                            rest,
                            ..*sent
                        },
                    ));
                }
            }
        }
        // The silent target may still answer: whichever does first counts.
        for (number, over) in silent {
            if !self.next_address(context, number, over, TargetFailure::Silent) {
                self.go_on(context, number, None);
            }
        }
    }

    fn take(&mut self, context: &mut Context<'_>, number: u64) -> Option<Relay> {
        let relay = self.standing.remove(&number)?;
        if let Some(burden) = relay.burden {
            context.no_longer_under_way(burden, relay.tries.len() > 1);
        }
        if let Some(registration) = &relay.registration {
            let phone = (registration.aor().clone(), relay.from.peer);
            if let Some(under_way) = self.registering.get_mut(&phone) {
                *under_way -= 1;
                if *under_way == 0 {
                    self.registering.remove(&phone);
                }
            }
        }
        Some(relay)
    }

    pub(crate) fn burdens(&self) -> impl Iterator<Item = &Burden> {
        self.standing
            .values()
            .filter_map(|relay| relay.burden.as_ref())
    }
}

/// What became of one target.
enum Failure {
    Answer(Message),
    Silence,
    Unreachable,
}

impl Relay {
    /// Returns what is to be sent to a target over a flow.
    fn onward<'a>(
        &'a self,
        context: &Context<'_>,
        target: &'a Endpoint,
        flow: &Flow,
    ) -> Onward<'a> {
        let request = &self.request;
        let (mut added, contacts) = match &self.registration {
            Some(registration) => registration.ours(context, request, flow),
            None => (Vec::new(), None),
        };
        if let Some((token, aor)) = &self.recorded {
            // RFC 5658 4: where the two sides reach us at different addresses, both are on the way.
            let there = our_uri(context, flow, token, aor);
            let here = our_uri(context, &self.from, token, aor);
            if there != here {
                added.push((Name::RecordRoute, format!("<{there};lr>")));
            }
            added.push((Name::RecordRoute, format!("<{here};lr>")));
        }
        let path = target.path.iter().map(|route| &**route);
        let rest = request.values(Name::Route).skip(self.own_routes);
        let (uri, routes) = match self.toward {
            // A first request goes where the configuration says, whatever way the phone has been told.
            Toward::Upstream if request.to_tag().is_none() => (request.uri(), Vec::new()),
            Toward::Upstream => (request.uri(), rest.collect()),
            Toward::Phone => (&*target.contact, path.chain(rest).collect()),
        };
        Onward {
            request,
            uri,
            hops: hops_left(request).unwrap_or(0),
            routes,
            added,
            contacts,
            stays: stays_of(self.toward, &self.from, context),
        }
    }

    fn new(
        now: Time,
        server: ServerId,
        request: &Message,
        from: Flow,
        toward: Toward,
        targets: VecDeque<Endpoint>,
    ) -> Self {
        Self {
            server,
            request: request.clone(),
            burden: None,
            from,
            strangers: true,
            began: now,
            targets,
            out: 0,
            tries: Vec::new(),
            own_routes: 0,
            toward,
            recorded: None,
            registration: None,
        }
    }

    /// To the upstream's targets, as they may be asked now.
    fn upward(
        context: &Context<'_>,
        server: ServerId,
        request: &Message,
        from: Flow,
        upstream: &str,
    ) -> Self {
        let targets = upstream_targets(context, upstream, request);
        let (now, toward) = (context.now, Toward::Upstream);
        Self::new(now, server, request, from, toward, targets)
    }
}
