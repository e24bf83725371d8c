//! Which targets of an upstream a request goes to, and in which order.

use std::collections::VecDeque;

use crate::engine::conversation::context::Context;
use crate::engine::endpoint::Endpoint;
use crate::engine::mint::hash64;
use crate::engine::routing::{hops, upstream_endpoint};
use crate::engine::upstreams::{hop_of, place_of};
use crate::sip::{Message, Uri};

pub(super) fn upstream_targets(
    context: &Context<'_>,
    upstream: &str,
    request: &Message,
) -> VecDeque<Endpoint> {
    let targets = hops(upstream, &context.shared.settings);
    let targets: Vec<Endpoint> = targets.flat_map(|target| onward(target, request)).collect();
    let (upstreams, key) = (&context.shared.upstreams, hash64(request.call_id()));
    let place = |endpoint: &Endpoint| hop_of(place_of(endpoint));
    let chosen = upstreams.choose(upstream, targets.clone(), place, key, context.now);
    // Where all are down, whoever waits for an answer has time to see one come back.
    if chosen.is_empty() { targets } else { chosen }.into()
}

/// A target that is asked by the Request-URI as it came.
pub(super) fn onward(target: &str, request: &Message) -> Option<Endpoint> {
    let at = Uri::parse(target).ok()?;
    Some(upstream_endpoint(target, &at, "", request.uri().into()))
}
