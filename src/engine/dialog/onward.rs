//! Where a request within a dialog goes (RFC 3261 12.2.1.1, 8.1.2): to what the route set or the remote target
//! names, or over the flow that the far end was heard over.
//!
//! The RFC knows only the first. Phones are behind NATs: what their Contact names can often not be reached,
//! and the flow that they registered or called over always can (RFC 5626 5.3). So the flow is kept where the
//! hop may be no more than such a name, and left where it must be another one's. Who is known to listen at another
//! port than it sends from (`listening`) has that for its flow.
//!
//! | the hop is | Route | target of a phone | of a stranger | of a peer |
//! | --- | --- | --- | --- | --- |
//! | the address that is heard | flow | flow | flow | there |
//! | another port of that host | there | flow | flow | there |
//! | named in the configuration | there | flow | there | there |
//! | another address that can be reached | there | flow | there | there |
//! | an address behind a NAT | flow | flow | flow | flow |
//! | a name | there | flow | there | there |
//! | nothing that could be called | flow | flow | flow | flow |
//!
//! A peer is always sent *there*, since what is located may have a next target, and TCP for what is large.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::engine::asker::Asker;
use crate::engine::endpoint::Endpoint;
use crate::engine::hidden::is_hidden;
use crate::engine::ids::Flow;
use crate::engine::locating::Hop;
use crate::sip::{Message, Uri};

/// What the far end of a dialog is to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Known {
    /// A phone, at the end of the flow that it registered or called over.
    #[default]
    Phone,
    /// Whoever it is, phone or proxy, it called from there.
    Stranger,
    /// An upstream, a fixed endpoint, or who is trusted and no phone: it is where it says.
    Peer,
}

impl Known {
    /// Tells by who began a dialog over a flow. Who is `registered` over it, and who is seen elsewhere than where it
    /// takes itself to be (RFC 3581 4), is a phone, also where it is trusted or nobody knows who it is.
    pub fn caller(
        endpoint: &Endpoint,
        asker: &Asker,
        request: &Message,
        flow: &Flow,
        registered: bool,
    ) -> Self {
        let known = Self::of(endpoint, asker);
        let behind = registered || is_translated(request, &endpoint.contact, flow);
        if known != Self::Phone && endpoint.through.is_none() && behind {
            return Self::Phone;
        }
        known
    }

    /// Tells by how an endpoint is reached and who it is.
    pub fn of(endpoint: &Endpoint, asker: &Asker) -> Self {
        if endpoint.through.is_some() || endpoint.flow.is_none() {
            return Self::Peer;
        }
        match asker {
            Asker::Trusted => Self::Peer,
            Asker::Proven(_) | Asker::Unasked(_) | Asker::Of(_) => Self::Phone,
            Asker::Says(_) | Asker::Stranger => Self::Stranger,
        }
    }
}

/// Its Via and its Contact name one address, and it is heard from another: a NAT lies between. Whoever only
/// wants what follows elsewhere, as a cluster does, has its own address in the Via.
fn is_translated(request: &Message, contact: &str, flow: &Flow) -> bool {
    let believed = Uri::parse(contact).ok().and_then(|uri| uri.host_ip());
    let named = request.via().host.parse::<IpAddr>().ok();
    let canonical = |ip: Option<IpAddr>| ip.map(|ip| ip.to_canonical());
    request.vias().count() == 1
        && believed.is_some()
        && canonical(believed) == canonical(named)
        && canonical(named) != Some(flow.peer.ip().to_canonical())
}

/// What names the next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Route,
    Target,
}

/// The next hop, beside where the far end is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The very address.
    Heard,
    /// Another port of the same host.
    Beside,
    /// An address that the configuration names.
    Configured,
    /// Another address that can be reached from here.
    Reachable,
    /// A private address, and the far end is not heard from that network.
    Hidden,
    /// A name, to be located.
    Named,
    /// No SIP URI, a WebSocket, or a name that never leads anywhere.
    Nowhere,
}

/// Where the request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    Flow,
    There,
}

/// The table above.
pub fn leads(by: By, place: Place, known: Known) -> Leads {
    match (by, place, known) {
        (_, Place::Hidden | Place::Nowhere, _) => Leads::Flow,
        (_, Place::Heard, Known::Phone | Known::Stranger) => Leads::Flow,
        (_, Place::Heard, Known::Peer) => Leads::There,
        (
            By::Route,
            Place::Beside | Place::Configured | Place::Reachable | Place::Named,
            Known::Phone | Known::Stranger | Known::Peer,
        ) => Leads::There,
        (
            By::Target,
            Place::Beside | Place::Configured | Place::Reachable | Place::Named,
            Known::Phone,
        )
        | (By::Target, Place::Beside, Known::Stranger) => Leads::Flow,
        (
            By::Target,
            Place::Configured | Place::Reachable | Place::Named,
            Known::Stranger | Known::Peer,
        )
        | (By::Target, Place::Beside, Known::Peer) => Leads::There,
    }
}

/// Tells what a hop is, beside the flow that the far end is heard over. `configured` says whether an address
/// stands in the configuration.
pub fn place(hop: Option<&Hop>, heard: &Flow, configured: impl Fn(IpAddr) -> bool) -> Place {
    // RFC 7118 5: a browser is reached over its own connection alone.
    let web = |hop: &&Hop| !hop.transport.is_some_and(|named| named.is_web_socket());
    let Some(hop) = hop.filter(web).filter(|_| !heard.transport.is_web_socket()) else {
        return Place::Nowhere;
    };
    let Ok(ip) = hop.host.parse::<IpAddr>() else {
        // RFC 6761 6.4.
        let nowhere = hop.host.ends_with(".invalid");
        return if nowhere {
            Place::Nowhere
        } else {
            Place::Named
        };
    };
    let (ip, source) = (ip.to_canonical(), heard.peer.ip().to_canonical());
    if ip.is_unspecified() || ip.is_multicast() {
        return Place::Nowhere;
    }
    if ip == source {
        let transport = hop.transport.unwrap_or(heard.transport);
        let port = hop.port.unwrap_or_else(|| transport.default_port());
        // The port of a connection that it opened is any.
        let same =
            transport == heard.transport && (transport.is_reliable() || port == heard.peer.port());
        return if same { Place::Heard } else { Place::Beside };
    }
    if !is_hidden(ip, source) {
        Place::Reachable
    } else if configured(ip) {
        Place::Configured
    } else {
        Place::Hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::{ListenerId, Transport};

    #[test]
    fn every_row_of_the_table() {
        const KNOWN: [Known; 3] = [Known::Phone, Known::Stranger, Known::Peer];
        for (place, route, target) in [
            (Place::Heard, "ffT", "ffT"),
            (Place::Beside, "TTT", "ffT"),
            (Place::Configured, "TTT", "fTT"),
            (Place::Reachable, "TTT", "fTT"),
            (Place::Hidden, "fff", "fff"),
            (Place::Named, "TTT", "fTT"),
            (Place::Nowhere, "fff", "fff"),
        ] {
            for (by, row) in [(By::Route, route), (By::Target, target)] {
                let found = KNOWN.map(|known| match leads(by, place, known) {
                    Leads::Flow => 'f',
                    Leads::There => 'T',
                });
                assert_eq!(found.iter().collect::<String>(), row, "{by:?} {place:?}");
            }
        }
    }

    #[test]
    fn what_a_hop_is() {
        let configured: IpAddr = "10.1.1.1".parse().unwrap();
        for (uri, heard, wanted) in [
            ("sip:a@203.0.113.5", "udp 203.0.113.5:5060", Place::Heard),
            ("sip:a@203.0.113.5", "udp 203.0.113.5:61000", Place::Beside),
            (
                "sip:a@203.0.113.5:5070",
                "udp 203.0.113.5:5060",
                Place::Beside,
            ),
            // The port of a connection says nothing of where its host listens.
            (
                "sip:a@203.0.113.5;transport=tcp",
                "tcp 203.0.113.5:61000",
                Place::Heard,
            ),
            ("sip:a@203.0.113.5", "tcp 203.0.113.5:61000", Place::Heard),
            (
                "sip:a@203.0.113.5;transport=tcp",
                "udp 203.0.113.5:5060",
                Place::Beside,
            ),
            ("sips:a@203.0.113.5", "tls 203.0.113.5:61000", Place::Heard),
            (
                "sip:a@[2001:db8::5]",
                "udp [2001:db8::5]:5060",
                Place::Heard,
            ),
            (
                "sip:a@[::ffff:203.0.113.5]",
                "udp 203.0.113.5:5060",
                Place::Heard,
            ),
            (
                "sip:a@203.0.113.6",
                "udp 203.0.113.5:5060",
                Place::Reachable,
            ),
            ("sip:a@203.0.113.6", "udp 10.0.0.5:5060", Place::Reachable),
            ("sip:a@10.0.0.6", "udp 10.9.0.5:5060", Place::Reachable),
            ("sip:a@127.0.0.2", "udp 127.0.0.1:5060", Place::Reachable),
            ("sip:a@127.0.0.2", "udp 10.0.0.1:5060", Place::Hidden),
            ("sip:a@10.0.0.6", "udp 203.0.113.5:5060", Place::Hidden),
            ("sip:a@172.17.0.6", "udp 10.0.0.5:5060", Place::Hidden),
            ("sip:a@192.168.0.6", "udp 172.16.0.5:5060", Place::Hidden),
            ("sip:a@100.64.0.6", "udp 203.0.113.5:5060", Place::Hidden),
            ("sip:a@[fd00::6]", "udp [2001:db8::5]:5060", Place::Hidden),
            ("sip:a@[fe80::6]", "udp [2001:db8::5]:5060", Place::Hidden),
            ("sip:a@10.1.1.1", "udp 203.0.113.5:5060", Place::Configured),
            (
                "sip:a@proxy.example.net;lr",
                "udp 203.0.113.5:5060",
                Place::Named,
            ),
            (
                "sip:a@proxy.example.net",
                "wss 203.0.113.5:5060",
                Place::Nowhere,
            ),
            (
                "sip:a@df7jal23ls0d.invalid;transport=ws",
                "udp 203.0.113.5:5060",
                Place::Nowhere,
            ),
            (
                "sip:a@df7jal23ls0d.invalid",
                "udp 203.0.113.5:5060",
                Place::Nowhere,
            ),
            ("sip:a@proxy", "udp 203.0.113.5:5060", Place::Named),
            ("sip:a@0.0.0.0", "udp 203.0.113.5:5060", Place::Nowhere),
            ("sip:a@224.0.1.75", "udp 203.0.113.5:5060", Place::Nowhere),
            ("tel:+4930", "udp 203.0.113.5:5060", Place::Nowhere),
            (
                "sip:a@203.0.113.6;transport=sctp",
                "udp 203.0.113.5:5060",
                Place::Nowhere,
            ),
        ] {
            let (transport, peer) = heard.split_once(' ').unwrap();
            let heard = Flow {
                transport: Transport::parse(transport).unwrap(),
                listener: ListenerId(0),
                peer: peer.parse().unwrap(),
                connection: None,
            };
            let hop = Hop::of(&Uri::parse(uri).unwrap());
            let found = place(hop.as_ref(), &heard, |ip| ip == configured);
            assert_eq!(found, wanted, "{uri} of {peer}");
        }
    }
}
