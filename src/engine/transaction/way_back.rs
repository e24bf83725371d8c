//! Where responses go: by the flow of the request and the topmost Via.

use std::net::IpAddr;

use crate::engine::hidden::is_hidden;
use crate::engine::ids::{Flow, Transport};
use crate::sip::Message;

/// Returns where responses go (RFC 3261 18.2.2, RFC 3581 4): back where the request came from, but over
/// UDP to the port of the Via unless the client asks for the one that was seen. That of a client behind a NAT is
/// the NAT's to choose, and many phones do not ask. IPv6 has no such NAT: there a private address in the Via is
/// another of the same host, which may send from a port that it does not listen on.
pub(super) fn reply_flow(request: &Message, flow: Flow) -> Flow {
    let mut reply = flow;
    let via = request.via();
    let host = via.host.parse().ok();
    let source = flow.peer.ip().to_canonical();
    let behind_nat = |ip| source.is_ipv4() && is_hidden(ip, source);
    let seen = via.rport.is_some() || host.is_some_and(behind_nat);
    if !flow.transport.is_reliable() && !seen {
        reply.peer.set_port(sent_by_port(request, flow.transport));
    }
    reply
}

pub(super) fn sent_by_port(request: &Message, transport: Transport) -> u16 {
    let port = request.via().port.filter(|port| *port != 0);
    port.unwrap_or_else(|| transport.default_port())
}

/// Returns the host of the topmost Via of a request over TLS, where that is a name: an address proves nothing.
pub(super) fn name_of(request: &Message, transport: Transport) -> Option<Box<str>> {
    let host = request.via().host;
    let is_name = transport == Transport::Tls && host.parse::<IpAddr>().is_err();
    is_name.then(|| host.into())
}
