//! Requests too large for a datagram (RFC 3261 18.1.1): what is located goes over TCP where the other end
//! has it. A phone is sent everything over the flow that it came by.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::calling::hop_of;
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Flow, Transport};
use crate::engine::locating::Located;
use crate::engine::upstreams::place_of;
use crate::sip::{Builder, Message, Name, Uri};

/// Octets above which a request needs a transport with congestion control.
pub(crate) const DATAGRAM_MAX: usize = 1300;

/// Returns the flow that a request goes over which would be too large for the datagram that it is. DNS may
/// say that there is TCP; else it is tried, and the datagram stands first among the rest.
pub(crate) fn over_tcp(
    context: &Context<'_>,
    endpoint: &Endpoint,
    flow: Flow,
    len: usize,
    rest: &mut VecDeque<Located>,
) -> Option<Flow> {
    let told = Uri::parse(place_of(endpoint)).ok();
    let told = told.and_then(|uri| uri.transport().and_then(Transport::parse));
    // Who writes `transport=udp` has no other.
    if len <= DATAGRAM_MAX || flow.transport != Transport::Udp || told == Some(Transport::Udp) {
        return None;
    }
    let found = rest
        .iter()
        .position(|(transport, _)| *transport == Transport::Tcp);
    let target = match found {
        Some(at) => rest.remove(at)?,
        None => (Transport::Tcp, flow.peer),
    };
    if context.shared.shunned.has(&target, context.now) {
        return None;
    }
    let host = hop_of(endpoint)?.host;
    let from = Some(flow.listener);
    let tcp = context.world.flow_to(target.0, target.1, &host, from)?;
    rest.push_front((Transport::Udp, flow.peer));
    Some(tcp)
}

/// Writes a request anew for another flow, with another Contact where it has one, and the branch of another
/// transaction.
pub(crate) fn over(
    context: &Context<'_>,
    bytes: &Bytes,
    flow: &Flow,
    contact: &str,
    branch: Option<&str>,
) -> Option<Bytes> {
    let request = Message::parse(bytes.clone()).ok()?;
    rewritten(context, &request, request.uri(), flow, contact, branch)
}

/// The same for the Contact that its phone has now.
pub(super) fn to_target(
    context: &Context<'_>,
    bytes: &Bytes,
    target: &str,
    flow: &Flow,
    contact: &str,
    branch: &str,
) -> Option<Bytes> {
    let request = Message::parse(bytes.clone()).ok()?;
    rewritten(context, &request, target, flow, contact, Some(branch))
}

fn rewritten(
    context: &Context<'_>,
    request: &Message,
    uri: &str,
    flow: &Flow,
    contact: &str,
    branch: Option<&str>,
) -> Option<Bytes> {
    let ours = context.world.advertised(flow);
    let via = request.header(Name::Via)?;
    let params = match branch {
        Some(branch) => format!("branch={branch};rport"),
        None => via.split_once(';')?.1.to_owned(),
    };
    let mut builder = Builder::request(request.method(), uri);
    for field in request.all() {
        builder = match field.name {
            Some(Name::Via) => builder.header(
                Name::Via,
                format_args!(
                    "SIP/2.0/{} {ours};{params}",
                    context.world.spoken(flow).via()
                ),
            ),
            Some(Name::Contact) => builder.header(Name::Contact, contact),
            // The body brings them.
            Some(Name::ContentLength | Name::ContentType) => builder,
            Some(_) | None => builder.raw_lines(&line(field.raw_name, field.value)),
        };
    }
    Some(crate::engine::conversation::context::end_with(
        builder,
        request.content_type(),
        request.body(),
    ))
}

fn line(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b": ", value, b"\r\n"].concat()
}
