//! MESSAGE outside of a dialog (RFC 3428): on to the endpoints of whom it is for, and the answer back; `proving`
//! what an upstream asks of us before it takes one.

mod proving;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::arrivals::destination;
use super::conversation::carrying::crossing::{crossing, signature};
use super::conversation::carrying::failover::{Sent, next_flow, target_failed};
use super::conversation::carrying::size::{over, over_tcp};
use super::conversation::context::{Context, Errand, What, end_with, retry_after};
use super::conversation::forking::trail::{Step, Steps, Trail};
use super::conversation::people::asserted::{heard_of, hears_names};
use super::conversation::people::claims::for_own_upstream;
use super::conversation::people::presented::by_number_to;
use super::conversation::people::veil::{ANONYMOUS, Veil, cannot_be_given, veiled};
use super::conversation::under_way::Burden;
use super::conversation::{Rings, Way, asserted, hops_left, is_judged_by, is_told, proof, way};
use super::location::token::known_as;
use super::location::{self, Tried};
use crate::engine::asker::Asker;
use crate::engine::dialog::proofs::{Proofs, Rounds};
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Glut, TargetFailure};
use crate::engine::ids::{Aor, ConversationId, Flow, LegId, VirtualShard};
use crate::engine::locating::Located;
use crate::engine::ports::{Output, Token};
use crate::engine::refusal::Refusal;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Address, Builder, Message, Name, reason_phrase};

/// Nobody waits longer for an answer than its own transaction does.
const AGE_MAX: Millis = Millis::from_secs(64);

/// Requests on their way.
pub(super) struct Passages {
    /// Whose tags and branches they bear: the answers come back to this shard.
    shard: VirtualShard,
    next: u64,
    standing: BTreeMap<u64, Passage>,
    asked: HashMap<Token, (u64, Addressee)>,
}

struct Passage {
    server: ServerId,
    request: Message,
    burden: Burden,
    /// Whom it is for.
    to: Aor,
    /// Who is there.
    addressed: Asker,
    /// Who sends it, and what trusted peers are told of that.
    asker: Asker,
    asserted: Option<Box<str>>,
    /// Whom it was for before (RFC 7044).
    trail: Option<Box<Trail>>,
    steps: Steps,
    began: Time,
    hops: u8,
    /// Endpoints whose targets are being located, and tries that have not failed.
    out: usize,
    tries: Vec<Try>,
    best: u16,
    /// It goes to the upstream that knows its sender, who is there: who asks for proof is answered by whom
    /// it asks.
    proves: Option<Flow>,
}

/// An endpoint that gets the request, by the same Call-ID and tag wherever it is sent to: reached twice, it
/// can tell (RFC 3261 8.2.2.2).
#[derive(Clone)]
struct Addressee {
    endpoint: Endpoint,
    call_id: Box<str>,
    tag: Box<str>,
    cseq: u32,
    /// What an upstream that has asked for proof is shown.
    proofs: Proofs,
    rounds: Rounds,
}

/// The request, sent to one target.
struct Try {
    client: ClientId,
    to: Addressee,
    flow: Flow,
    sent: Time,
    /// Other targets of the same hop; None where the flow is a phone's own.
    rest: Option<VecDeque<Located>>,
    /// It was too large for a datagram: what follows on a failure is sent as it is.
    grown: bool,
    /// When the next of them has its turn, where this one has said nothing.
    silent_at: Option<Time>,
}

/// Why a request is not sent on.
enum Not {
    Refused(Refusal),
    Glut(Glut),
}

impl From<Refusal> for Not {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Glut> for Not {
    fn from(glut: Glut) -> Self {
        Self::Glut(glut)
    }
}

impl Passage {
    /// Returns the lines of the request, or of an answer to it, that cross to one who is trusted, or may hear names.
    fn lines(&self, message: &Message, trusted: bool, named: bool) -> Vec<u8> {
        let sender = match message.is_request() {
            true => &self.asker,
            false => &self.addressed,
        };
        let mut lines = match trusted {
            true => crossing(message, sender),
            false => veiled(message, sender, named),
        };
        if trusted && message.is_request() {
            lines.extend(signature(message));
        }
        if self.proves.is_some() {
            lines.extend(proof(message));
            if message.is_request() {
                lines.extend(for_own_upstream(message, &self.asker));
            }
        }
        lines
    }
}

impl Passages {
    pub(super) fn new(shard: VirtualShard) -> Self {
        Self {
            shard,
            next: 0,
            standing: BTreeMap::new(),
            asked: HashMap::new(),
        }
    }

    /// Sends a request to every endpoint of whom it is for; the first that takes it answers.
    ///
    /// # Errors
    /// It was refused with this status.
    pub(super) fn begin(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: &Flow,
        asker: &Asker,
        came_by: &[Box<str>],
    ) -> Result<(), u16> {
        let begun = self.try_begin(context, server, request, flow, asker, came_by);
        begun.map_err(|not| match not {
            Not::Refused(refusal) => {
                context.turn_down(server, refusal);
                refusal.status
            }
            Not::Glut(glut) => context.refuse_glut(server, glut),
        })
    }

    fn try_begin(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: &Flow,
        asker: &Asker,
        came_by: &[Box<str>],
    ) -> Result<(), Not> {
        let destination = destination(context, request, flow, asker, came_by)?;
        let hops = hops_left(request).ok_or(Refusal::new(483, "no hops left"))?;
        if cannot_be_given(request, None, context.shared.settings.media.mode) {
            return Err(Refusal::new(500, "privacy that cannot be given").into());
        }
        let settings = &context.shared.settings;
        let text = Rings::of(context, asker, &destination, request, flow);
        let sender = location::aor_in(request.from().uri, settings);
        let upstream = destination.upstream.as_deref();
        let goes_home = upstream
            .is_some_and(|upstream| is_judged_by(upstream, asker, sender.as_ref(), settings));
        let burden = context.begin_text(request, destination.targets.len(), text)?;
        self.next += 1;
        let number = self.next;
        let mut passage = Passage {
            server,
            request: request.clone(),
            burden,
            addressed: destination.asker(&context.shared.settings),
            asserted: asserted(request, asker),
            asker: asker.clone(),
            trail: Trail::of(request, &destination.aor, goes_home || !asker.is_unknown()),
            steps: Steps::default(),
            to: destination.aor,
            began: context.now,
            hops,
            out: 0,
            tries: Vec::new(),
            best: 480,
            proves: goes_home.then_some(*flow),
        };
        for target in destination.targets {
            let way = way(context, &target.endpoint);
            let to = Addressee {
                endpoint: target.endpoint,
                call_id: context.shared.mint.call_id(),
                tag: context.shared.mint.hex(8).into(),
                cseq: 1,
                proofs: Proofs::default(),
                rounds: Rounds::default(),
            };
            // The targets of an upstream are alternatives to each other.
            let alternative = to.endpoint.through.is_some() && passage.out > 0;
            match way {
                _ if alternative => {}
                Way::Known(flow) => self.send(context, number, &mut passage, to, flow, None, false),
                Way::Located(flow) => {
                    let rest = Some(VecDeque::new());
                    self.send(context, number, &mut passage, to, flow, rest, false);
                }
                Way::Ask(hop) => {
                    passage.out += 1;
                    let token = context.shared.mint.token();
                    self.asked.insert(token, (number, to));
                    let out = &mut context.shared.out;
                    out.push_back(Output::Resolve { token, hop });
                }
                Way::None => {}
            }
        }
        if passage.out == 0 {
            context.no_longer_under_way(passage.burden, false);
            return Err(Refusal::new(480, "no way to any endpoint").into());
        }
        self.standing.insert(number, passage);
        Ok(())
    }

    fn send(
        &self,
        context: &mut Context<'_>,
        number: u64,
        passage: &mut Passage,
        mut to: Addressee,
        flow: Flow,
        rest: Option<VecDeque<Located>>,
        grown: bool,
    ) {
        let request = &passage.request;
        let (method, body) = (request.method().as_str(), request.body());
        let credentials = to.proofs.lines(method, &to.endpoint.contact, body);
        let id = ConversationId(u64::from(self.shard.0) << 56);
        let via = context.via_toward(id, &flow, &passage.to);
        let endpoint = &to.endpoint;
        let mut builder = Builder::request(request.method(), &endpoint.contact)
            .header(Name::Via, via)
            .header(Name::MaxForwards, passage.hops);
        for route in &endpoint.path {
            builder = builder.header(Name::Route, route);
        }
        let told = is_told(&passage.addressed, &flow, context);
        let asserted = passage.asserted.as_deref();
        let settings = &context.shared.settings;
        if let Some(asserted) = heard_of(asserted, &Veil::of(request), endpoint, told, context) {
            let proven = matches!(passage.asker, Asker::Proven(_)).then_some(asserted);
            let number = proven.and_then(|user| by_number_to(user, endpoint, settings));
            builder = builder.header(
                Name::PAssertedIdentity,
                number.as_deref().unwrap_or(asserted),
            );
        }
        if let Some(trail) = &passage.trail {
            let step = Step::toward(endpoint);
            let trail = trail.toward(&endpoint.contact, step, &mut passage.steps);
            builder = builder.raw_lines(trail.line(told).as_bytes());
        }
        let from = match Veil::of(request).hides_name() && !told {
            true => ANONYMOUS.into(),
            false => {
                let from = bare(request.header(Name::From).unwrap_or(""));
                by_number_to(&from, endpoint, settings).unwrap_or(from)
            }
        };
        let builder = builder
            .header(Name::From, format_args!("{from};tag={}", to.tag))
            .header(Name::To, called(request, &passage.to))
            .header(Name::CallId, &to.call_id)
            .header(Name::CSeq, format_args!("{} {method}", to.cseq))
            .copy(request, Name::SessionId)
            .raw_lines(&passage.lines(request, told, hears_names(context, endpoint)))
            .raw_lines(&credentials);
        let mut bytes = end_with(builder, request.content_type(), body);
        let (mut flow, mut rest, mut grown) = (flow, rest, grown);
        if let Some(rest) = rest.as_mut().filter(|_| !grown)
            && let Some(tcp) = over_tcp(context, endpoint, flow, bytes.len(), rest)
            && let Some(moved) = over(context, &bytes, &tcp, "", None)
        {
            (flow, bytes, grown) = (tcp, moved, true);
        }
        let errand = Errand {
            conversation: id,
            leg: LegId(0),
            what: What::Passage(number),
        };
        let failover = context.shared.settings.fork.failover;
        let others = rest.as_ref().is_some_and(|rest| !rest.is_empty());
        passage.out += 1;
        passage.tries.push(Try {
            client: context.send(bytes, flow, errand),
            to,
            flow,
            sent: context.now,
            rest,
            grown,
            silent_at: others.then(|| context.now + failover),
        });
    }

    pub(super) fn on_resolved(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        targets: &[Located],
    ) {
        let Some((number, to)) = self.asked.remove(&token) else {
            return;
        };
        let Some(mut passage) = self.standing.remove(&number) else {
            return;
        };
        let mut rest = context.shared.shunned.order(targets, context.now);
        if let Some(flow) = next_flow(context, &to.endpoint, &mut rest) {
            self.send(context, number, &mut passage, to, flow, Some(rest), false);
        }
        // The question is settled; what was sent counts by itself.
        self.standing.insert(number, passage);
        self.failed(context, number, 480, None);
    }

    pub(super) fn on_response(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        client: ClientId,
        response: &Message,
    ) {
        match response.status() {
            ..200 => {}
            200..300 => {
                self.over(context, number, client, None);
                if let Some(passage) = self.take(context, number) {
                    pass_back(context, &passage, response);
                }
            }
            401 | 407 if self.proves_again(context, number, client, response) => {}
            status => {
                let failure = TargetFailure::Unavailable(retry_after(response));
                self.over(context, number, client, (status == 503).then_some(failure));
                let passage = self.standing.get(&number);
                let theirs = passage.is_some_and(|passage| passage.proves.is_some());
                let status = match status {
                    // A challenge to us is none to the sender, who could not meet it.
                    401 | 407 if !theirs => 403,
                    _ => status,
                };
                self.failed(context, number, status, Some(response));
            }
        }
    }

    pub(super) fn on_unanswered(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        client: ClientId,
        unreachable: bool,
    ) {
        let failure = if unreachable {
            TargetFailure::Unreachable
        } else {
            TargetFailure::Silent
        };
        self.over(context, number, client, Some(failure));
        // RFC 4320 4.2: a 408 that comes when the sender has given up helps nobody.
        self.failed(context, number, if unreachable { 480 } else { 408 }, None);
    }

    /// A try is over. Where its target failed, the next one has its turn (RFC 3263 4.3).
    fn over(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        client: ClientId,
        failure: Option<TargetFailure>,
    ) {
        let Some(mut passage) = self.standing.remove(&number) else {
            return;
        };
        let tries = &mut passage.tries;
        let at = tries.iter().position(|sent| sent.client == client);
        match (at.map(|at| tries.swap_remove(at)), failure) {
            (Some(over), Some(failure)) => {
                self.next_target(context, number, &mut passage, over, failure);
            }
            (Some(over), None) if over.rest.is_some() && !passage.asker.is_unknown() => {
                context.call_answered(&over.to.endpoint);
            }
            (Some(_), None) | (None, _) => {}
        }
        self.standing.insert(number, passage);
    }

    fn next_target(
        &self,
        context: &mut Context<'_>,
        number: u64,
        passage: &mut Passage,
        failed: Try,
        failure: TargetFailure,
    ) {
        let Some(mut rest) = failed.rest else { return };
        let next = next_flow(context, &failed.to.endpoint, &mut rest);
        let sent = Sent {
            endpoint: &failed.to.endpoint,
            flow: failed.flow,
            at: failed.sent,
            strangers: passage.asker.is_unknown(),
        };
        target_failed(context, &sent, failure, (next.is_some(), false));
        if let Some(flow) = next {
            let grown = failed.grown;
            self.send(context, number, passage, failed.to, flow, Some(rest), grown);
        }
    }

    fn failed(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        status: u16,
        response: Option<&Message>,
    ) {
        let Some(passage) = self.standing.get_mut(&number) else {
            return;
        };
        passage.out = passage.out.saturating_sub(1);
        if matches!(passage.best, 480 | 408 | 503) || status >= 600 {
            passage.best = status;
        }
        if passage.out > 0 {
            return;
        }
        let Some(passage) = self.take(context, number) else {
            return;
        };
        match response.filter(|response| response.status() == passage.best) {
            Some(response) => pass_back(context, &passage, response),
            None => {
                let tag = context.shared.mint.hex(8);
                // RFC 3261 16.7 step 6: a 503 speaks of that target, not of us.
                let status = if passage.best == 503 {
                    500
                } else {
                    passage.best
                };
                context.answer(passage.server, status, Some(&tag));
            }
        }
    }

    /// Lets go of what nobody will answer any more, and asks the next target where one is silent.
    pub(super) fn sweep(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        while let Some((number, passage)) = self.standing.first_key_value() {
            if passage.began + AGE_MAX > now {
                break;
            }
            let number = *number;
            self.take(context, number);
        }
        let standing = &self.standing;
        self.asked
            .retain(|_, (number, _)| standing.contains_key(number));
        let silent = |passage: &Passage| {
            let mut tries = passage.tries.iter();
            tries.any(|sent| sent.silent_at.is_some_and(|at| at <= now))
        };
        let due: Vec<u64> = self
            .standing
            .iter()
            .filter(|(_, passage)| silent(passage))
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            self.fall_silent(context, number);
        }
    }

    /// Lets go of a request that is answered, or given up.
    fn take(&mut self, context: &mut Context<'_>, number: u64) -> Option<Passage> {
        let passage = self.standing.remove(&number)?;
        context.no_longer_under_way(passage.burden, !passage.tries.is_empty());
        Some(passage)
    }

    pub(super) fn burdens(&self) -> impl Iterator<Item = &Burden> {
        self.standing.values().map(|passage| &passage.burden)
    }

    /// The silent target may still answer: whichever does first counts.
    fn fall_silent(&mut self, context: &mut Context<'_>, number: u64) {
        let Some(mut passage) = self.standing.remove(&number) else {
            return;
        };
        let now = context.now;
        let tries = passage.tries.iter_mut();
        let due: Vec<Try> = tries
            .filter_map(|sent| {
                sent.silent_at.take_if(|at| *at <= now)?;
                let silent = context.shared.transactions.is_silent(sent.client);
                silent.then(|| Try {
                    to: sent.to.clone(),
                    rest: sent.rest.take(),
                    ..*sent
                })
            })
            .collect();
        for silent in due {
            self.next_target(context, number, &mut passage, silent, TargetFailure::Silent);
        }
        self.standing.insert(number, passage);
    }
}

fn pass_back(context: &mut Context<'_>, passage: &Passage, response: &Message) {
    if let Some(from) = &passage.proves {
        let tried = Tried::of(&passage.request, from);
        for event in tried.judged(response, context.now, context.world) {
            context.emit(event);
        }
    }
    let tag = context.shared.mint.hex(8);
    // RFC 3261 16.7 step 6: a 503 speaks of that endpoint, not of us.
    let status = if response.status() == 503 {
        500
    } else {
        response.status()
    };
    let reason = if status == response.status() {
        response.reason_phrase()
    } else {
        reason_phrase(status)
    };
    context.respond(passage.server, status, reason, Some(&tag), |builder| {
        let builder = builder
            .copy(response, Name::SessionId)
            .raw_lines(&passage.lines(response, false, false));
        end_with(builder, response.content_type(), response.body())
    });
}

/// Returns To as others may know it who is meant.
fn called(request: &Message, user: &Aor) -> Box<str> {
    let to = request.to();
    crate::engine::dialog::name_addr(&Address {
        uri: known_as(to.uri, user),
        ..to
    })
}

/// Returns a From or To without its tag and other parameters.
fn bare(value: &str) -> Box<str> {
    Address::parse(value).map_or_else(
        |_| value.into(),
        |address| crate::engine::dialog::name_addr(&address),
    )
}
