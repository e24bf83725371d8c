//! Where responses go: by the flow of the request and the topmost Via.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::engine::hidden::is_hidden;
use crate::engine::ids::{ConnectionId, Flow, Transport};
use crate::engine::locating::Hop;
use crate::sip::Message;

/// No name in DNS is longer (RFC 1035 2.3.4).
const NAME_MAX: usize = 253;

/// The way that the responses to a request take (RFC 3261 18.2.2), and how far another one was sought.
///
/// ```text
///  as it came ──► over a connection: to its address at the port of the Via ──► where the host of the
///       └───────── by datagram, where ICMP says that nobody listens ─────────►  Via is (RFC 3263 5)
/// ```
///
/// Anybody can forge an ICMP, so datagrams go there too, and not instead.
#[derive(Debug)]
pub(super) struct WayBack {
    pub(super) flow: Flow,
    stage: Stage,
    /// Of its topmost Via.
    port: Option<u16>,
    /// The same: where it may lead elsewhere than to where the request came from.
    host: Option<Box<str>>,
}

#[derive(Debug)]
enum Stage {
    AsItCame,
    ToItsAddress,
    /// The host is being located, or will not be.
    Sought,
    Located(Box<Located>),
}

#[derive(Debug)]
struct Located {
    /// These are left.
    rest: VecDeque<Flow>,
    /// Where responses went before an ICMP, and go still.
    doubted: Option<Flow>,
}

/// What follows once the way is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Next {
    /// Responses go over another flow.
    Another,
    /// The same, and the host has to prove itself there.
    ToHost(Box<str>),
    /// The host is to be located.
    Seek(Hop),
    /// It was located: what went over the flow that failed goes there.
    Located,
    #[default]
    Nothing,
}

impl WayBack {
    pub(super) fn of(request: &Message, flow: Flow) -> Self {
        let via = request.via();
        Self {
            flow: reply_flow(request, flow),
            stage: Stage::AsItCame,
            port: via.port.filter(|port| *port != 0),
            host: leads_elsewhere(via.host, &flow).then(|| via.host.into()),
        }
    }

    /// Goes by another flow of the client.
    pub(super) fn turn(&mut self, flow: Flow) {
        (self.flow, self.stage) = (flow, Stage::AsItCame);
    }

    /// Goes as it came again: who says something there is there, whatever an ICMP said.
    pub(super) fn is_proven(&mut self) {
        if !self.flow.transport.is_reliable() {
            self.turn(self.doubted().unwrap_or(self.flow));
        }
    }

    /// Returns the flows that a response goes over: no more than two.
    pub(super) fn flows(&self) -> impl Iterator<Item = Flow> + use<> {
        self.doubted().into_iter().chain([self.flow])
    }

    fn doubted(&self) -> Option<Flow> {
        match &self.stage {
            Stage::Located(located) => located.doubted,
            Stage::AsItCame | Stage::ToItsAddress | Stage::Sought => None,
        }
    }

    /// Returns true where it matters that the way fails: there is another. While that is sought, which is for good
    /// where it may not be, nothing follows.
    pub(super) fn is_watched(&self) -> bool {
        let has_another = self.flow.transport.is_reliable() || self.host.is_some();
        has_another && !matches!(self.stage, Stage::Sought)
    }

    /// Returns true where it is the way that has failed; without a connection every one to that peer is meant.
    pub(super) fn is_over(&self, connection: Option<ConnectionId>) -> bool {
        let anew = matches!(self.stage, Stage::ToItsAddress | Stage::Located(_));
        connection.is_none()
            || self.flow.connection == connection
            || anew && self.flow.connection.is_none()
    }

    /// Turns to the next way.
    pub(super) fn fails(&mut self) -> Next {
        match &mut self.stage {
            Stage::AsItCame if self.flow.transport.is_reliable() => {
                self.stage = Stage::ToItsAddress;
                let port = self
                    .port
                    .unwrap_or_else(|| self.flow.transport.default_port());
                self.flow.peer.set_port(port);
                self.flow.connection = self.flow.connection.filter(|own| own.is_to_host());
                let proves = self.flow.transport == Transport::Tls;
                let host = self.host.as_ref().filter(|_| proves);
                match host.filter(|_| self.flow.connection.is_none()) {
                    Some(host) => Next::ToHost(host.clone()),
                    None => Next::Another,
                }
            }
            Stage::AsItCame | Stage::ToItsAddress => {
                self.stage = Stage::Sought;
                self.hop().map_or(Next::Nothing, Next::Seek)
            }
            Stage::Sought => Next::Nothing,
            Stage::Located(located) => match located.rest.pop_front() {
                Some(flow) => {
                    self.flow = flow;
                    Next::Located
                }
                None => Next::Nothing,
            },
        }
    }

    /// The host of the Via is there. Returns what follows.
    pub(super) fn located(&mut self, flows: &[Flow]) -> Next {
        if !matches!(self.stage, Stage::Sought) {
            // The client has come by another flow meanwhile.
            return Next::Nothing;
        }
        let before = self.flow;
        let failed = (before.transport, before.peer);
        let others = flows.iter().copied();
        let others = others.filter(|flow| (flow.transport, flow.peer) != failed);
        let mut located = Box::new(Located {
            rest: others.collect(),
            doubted: None,
        });
        if !located.rest.is_empty() && !before.transport.is_reliable() {
            located.doubted = Some(before);
        }
        self.stage = Stage::Located(located);
        self.fails()
    }

    /// RFC 3263 5: by the transport of the request, at the port of the Via where it says one.
    fn hop(&self) -> Option<Hop> {
        let transport = self.flow.transport;
        Some(Hop {
            host: self.host.as_deref()?.to_ascii_lowercase().into(),
            port: self.port,
            transport: Some(transport),
            secure: transport.is_secure(),
        })
    }
}

/// Returns true where a host is not simply that which the request came from: it is a name, or another address that
/// can be reached from here. Over TLS an address proves nothing, and who speaks WebSocket listens nowhere.
fn leads_elsewhere(host: &str, flow: &Flow) -> bool {
    let source = flow.peer.ip().to_canonical();
    match (flow.transport, host.parse::<IpAddr>()) {
        (Transport::Ws | Transport::Wss, _) | (Transport::Tls, Ok(_)) => false,
        (_, Ok(ip)) => {
            let ip = ip.to_canonical();
            let is_one = !ip.is_unspecified() && !ip.is_multicast() && !is_hidden(ip, source);
            is_one && ip != source
        }
        (_, Err(_)) => host.len() <= NAME_MAX,
    }
}

/// Returns where responses go (RFC 3261 18.2.2, RFC 3581 4): back where the request came from, but over
/// UDP to the port of the Via unless the client asks for the one that was seen. That of a client behind a NAT is
/// the NAT's to choose, and many phones do not ask. IPv6 has no such NAT: there a private address in the Via is
/// another of the same host, which may send from a port that it does not listen on.
pub(super) fn reply_flow(request: &Message, flow: Flow) -> Flow {
    let via = request.via();
    let host = via.host.parse().ok();
    let source = flow.peer.ip().to_canonical();
    let behind_nat = |ip| source.is_ipv4() && is_hidden(ip, source);
    let seen = via.rport.is_some() || host.is_some_and(behind_nat);
    if flow.transport.is_reliable() || seen {
        return flow;
    }
    let port = via.port.filter(|port| *port != 0);
    let port = port.unwrap_or_else(|| flow.transport.default_port());
    Flow {
        peer: SocketAddr::new(flow.peer.ip(), port),
        ..flow
    }
}
