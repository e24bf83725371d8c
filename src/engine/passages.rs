//! MESSAGE outside of a dialog (RFC 3428): on to the endpoints of whom it is for, and the answer back.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::admission::Asker;
use super::arrivals::destination;
use super::conversation::context::{Context, Errand, What, crossing, end_with};
use super::conversation::{Way, hops_left, way};
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{ConversationId, Flow, LegId, Transport, VirtualShard};
use crate::engine::ports::{Output, Token};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Address, Builder, Message, Name, reason_phrase};

/// Nobody waits longer for an answer than its own transaction does.
const AGE_MAX: Millis = Millis::from_secs(64);
const PASSAGES_MAX: usize = 50_000;

/// Requests on their way.
pub(super) struct Passages {
    /// Whose tags and branches they bear: the answers come back to this shard.
    shard: VirtualShard,
    next: u64,
    standing: BTreeMap<u64, Passage>,
    asked: HashMap<Token, (u64, Endpoint)>,
}

struct Passage {
    server: ServerId,
    request: Message,
    began: Time,
    /// Endpoints that have not answered.
    out: usize,
    best: u16,
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
    pub(super) fn begin(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        asker: &Asker,
    ) {
        if self.standing.len() >= PASSAGES_MAX {
            return context.refuse(server, 500, "too many messages under way");
        }
        let destination = match destination(context, request, asker) {
            Ok(destination) => destination,
            Err((status, why)) => return context.refuse(server, status, why),
        };
        let Some(hops) = hops_left(request) else {
            return context.refuse(server, 483, "no hops left");
        };
        self.next += 1;
        let number = self.next;
        let mut passage = Passage {
            server,
            request: request.clone(),
            began: context.now,
            out: 0,
            best: 480,
        };
        for target in destination.targets {
            match way(context, &target.endpoint) {
                Way::Known(flow) => {
                    passage.out += 1;
                    self.send(context, number, request, &target.endpoint, flow, hops);
                }
                Way::Ask {
                    host,
                    port,
                    transport,
                } => {
                    passage.out += 1;
                    let token = context.shared.mint.token();
                    self.asked.insert(token, (number, target.endpoint));
                    context.shared.out.push_back(Output::Resolve {
                        token,
                        host,
                        port,
                        transport,
                    });
                }
                Way::None => {}
            }
        }
        if passage.out == 0 {
            return context.refuse(server, 480, "no way to any endpoint");
        }
        self.standing.insert(number, passage);
    }

    fn send(
        &self,
        context: &mut Context<'_>,
        number: u64,
        request: &Message,
        endpoint: &Endpoint,
        flow: Flow,
        hops: u8,
    ) {
        let id = ConversationId(u64::from(self.shard.0) << 56);
        let via = context.via(id, &flow);
        let tag = context.shared.mint.hex(8);
        let call_id = context.shared.mint.call_id();
        let from = bare(request.header(Name::From).unwrap_or(""));
        let to = bare(request.header(Name::To).unwrap_or(""));
        let mut builder = Builder::request(request.method(), &endpoint.contact)
            .header(Name::Via, via)
            .header(Name::MaxForwards, hops);
        for route in &endpoint.path {
            builder = builder.header(Name::Route, route);
        }
        let builder = builder
            .header(Name::From, format_args!("{from};tag={tag}"))
            .header(Name::To, to)
            .header(Name::CallId, call_id)
            .header(Name::CSeq, format_args!("1 {}", request.method().as_str()))
            .raw_lines(&crossing(request));
        let bytes = end_with(builder, request.content_type(), request.body());
        let errand = Errand {
            conversation: id,
            leg: LegId(0),
            what: What::Passage(number),
        };
        context.send(bytes, flow, errand);
    }

    pub(super) fn on_resolved(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        addresses: &[(Transport, SocketAddr)],
    ) {
        let Some((number, endpoint)) = self.asked.remove(&token) else {
            return;
        };
        let flow = addresses
            .iter()
            .find_map(|(transport, peer)| context.world.flow_to(*transport, *peer));
        let request = self
            .standing
            .get(&number)
            .map(|passage| passage.request.clone());
        let Some(request) = request else { return };
        match (flow, hops_left(&request)) {
            (Some(flow), Some(hops)) => self.send(context, number, &request, &endpoint, flow, hops),
            (None, Some(_) | None) | (Some(_), None) => self.failed(context, number, 480, None),
        }
    }

    pub(super) fn on_response(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        _client: ClientId,
        response: &Message,
    ) {
        match response.status() {
            ..200 => {}
            200..300 => {
                if let Some(passage) = self.standing.remove(&number) {
                    pass_back(context, &passage, response);
                }
            }
            status => self.failed(context, number, status, Some(response)),
        }
    }

    pub(super) fn on_unanswered(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        _client: ClientId,
        unreachable: bool,
    ) {
        // RFC 4320 4.2: a 408 that comes when the sender has given up helps nobody.
        self.failed(context, number, if unreachable { 480 } else { 408 }, None);
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
        if passage.best == 480 || passage.best == 408 || status >= 600 {
            passage.best = status;
        }
        if passage.out > 0 {
            return;
        }
        let Some(passage) = self.standing.remove(&number) else {
            return;
        };
        match response.filter(|response| response.status() == passage.best) {
            Some(response) => pass_back(context, &passage, response),
            None => {
                let tag = context.shared.mint.hex(8);
                context.answer(passage.server, passage.best, Some(&tag));
            }
        }
    }

    /// Lets go of what nobody will answer any more.
    pub(super) fn sweep(&mut self, now: Time) {
        while let Some(entry) = self.standing.first_entry() {
            if entry.get().began + AGE_MAX > now {
                break;
            }
            entry.remove();
        }
        let standing = &self.standing;
        self.asked
            .retain(|_, (number, _)| standing.contains_key(number));
    }
}

fn pass_back(context: &mut Context<'_>, passage: &Passage, response: &Message) {
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
        let builder = builder.raw_lines(&crossing(response));
        end_with(builder, response.content_type(), response.body())
    });
}

/// Returns a From or To without its tag and other parameters.
fn bare(value: &str) -> Box<str> {
    Address::parse(value).map_or_else(
        |_| value.into(),
        |address| crate::engine::dialog::name_addr(&address),
    )
}
