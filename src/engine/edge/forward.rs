//! Writing what goes on: the request as it came, with the way that it takes from here.

use bytes::Bytes;

use crate::engine::conversation::context::{Context, end_with};
use crate::engine::conversation::people::claims::{is_for_trusted, is_withheld};
use crate::engine::ids::{Aor, ConversationId, Flow};
use crate::engine::location::token;
use crate::engine::transaction::ServerId;
use crate::engine::trust::is_listed;
use crate::sip::{Builder, Field, Message, Name};

/// Header fields of a request that are written anew.
const OF_THE_WAY: &[Name] = &[
    Name::Via,
    Name::MaxForwards,
    Name::Route,
    Name::ContentLength,
    Name::ContentType,
];
/// Header fields of a response that its request gives, or that are written anew. A Service-Route (RFC 3608)
/// would lead the phone past us.
const OF_THE_ANSWER: &[Name] = &[
    Name::Via,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::ContentLength,
    Name::ContentType,
    Name::ServiceRoute,
];

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    Upstream,
    Phone,
}

/// Tells what does not go on.
type Stays = fn(&Field<'_>) -> bool;

/// Returns what does not go on of a request that came over a flow.
pub(super) fn stays_of(toward: Toward, from: &Flow, context: &Context<'_>) -> Stays {
    match toward {
        Toward::Upstream if is_listed(from, &context.shared.settings, context.world) => |_| false,
        Toward::Upstream => is_for_trusted,
        Toward::Phone => is_withheld,
    }
}

/// Returns what does not go back of the answer to it.
pub(super) fn withheld_of(toward: Toward, from: &Flow, context: &Context<'_>) -> Stays {
    match toward {
        Toward::Upstream if !is_listed(from, &context.shared.settings, context.world) => {
            is_withheld
        }
        Toward::Upstream | Toward::Phone => |_| false,
    }
}

/// A request on its way out.
pub(super) struct Onward<'a> {
    pub(super) request: &'a Message,
    pub(super) uri: &'a str,
    pub(super) hops: u8,
    /// Route values, topmost first.
    pub(super) routes: Vec<&'a str>,
    /// Our own values: Path and Record-Route stand above those of others.
    pub(super) added: Vec<(Name, String)>,
    /// These take the place of the Contact.
    pub(super) contacts: Option<Vec<String>>,
    /// What else does not go on: what its sender may not claim, or who hears it is not to know.
    pub(super) stays: Stays,
}

impl Onward<'_> {
    /// Writes it for a flow.
    pub(super) fn write(
        &self,
        context: &mut Context<'_>,
        id: ConversationId,
        flow: &Flow,
    ) -> Bytes {
        let via = context.via(id, flow);
        let request = self.request;
        let mut builder = Builder::request(request.method(), self.uri)
            .header(Name::Via, via)
            .header(Name::MaxForwards, self.hops);
        for route in &self.routes {
            builder = builder.header(Name::Route, route);
        }
        for (name, value) in &self.added {
            builder = builder.header(*name, value);
        }
        for contact in self.contacts.iter().flatten() {
            builder = builder.header(Name::Contact, contact);
        }
        let builder = builder.raw_lines(&request.lines_but(|field| {
            let written = |name| {
                OF_THE_WAY.contains(&name) || (name == Name::Contact && self.contacts.is_some())
            };
            field.name.is_some_and(written) || (self.stays)(field)
        }));
        end_with(builder, request.content_type(), request.body())
    }
}

/// Writes a URI of ours that names phones by a token, to be reached over `flow`.
pub(super) fn our_uri(context: &Context<'_>, flow: &Flow, token: &str, aor: &Aor) -> String {
    let ours = context.world.advertised(flow);
    let user = token::user(token, aor);
    if flow.transport.is_reliable() {
        let spoken = context.world.spoken(flow);
        format!("sip:{user}@{ours};transport={}", spoken.uri_param())
    } else {
        format!("sip:{user}@{ours}")
    }
}

/// Hands an answer back as it came but for what `stays`; `rewritten` are values that take the place of a name's.
pub(super) fn hand_back(
    context: &mut Context<'_>,
    server: ServerId,
    response: &Message,
    stays: Stays,
    without: &[Name],
    rewritten: &[(Name, String)],
) {
    let Some((request, flow)) = context.shared.transactions.request_of(server) else {
        return;
    };
    // RFC 3261 16.7 step 6: a 503 speaks of the upstream, not of us.
    let (status, reason) = match response.status() {
        503 => (500, crate::sip::reason_phrase(500)),
        status => (status, response.reason_phrase()),
    };
    let mut builder = Builder::respond(request, status, reason, response.to_tag(), flow.peer);
    for (name, value) in rewritten {
        builder = builder.header(*name, value);
    }
    let builder = builder.raw_lines(&response.lines_but(|field| {
        let written = |name| {
            OF_THE_ANSWER.contains(&name)
                || without.contains(&name)
                || rewritten.iter().any(|(rewritten, _)| *rewritten == name)
        };
        field.name.is_some_and(written) || stays(field)
    }));
    let bytes = end_with(builder, response.content_type(), response.body());
    let shared = &mut *context.shared;
    shared
        .transactions
        .respond(server, status, bytes, context.now, &mut shared.out);
}
