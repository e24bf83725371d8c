//! Who sends its datagrams from another port than it listens on: some phones, as they come from the factory, and
//! gateways.
//!
//! A client that asks for `rport` promises to listen where it sends from (RFC 3581 3). One that does not has
//! its responses sent to the port of its Via (RFC 3261 18.2.2) and requests to its Contact (12.2.1.1). Where both
//! name one place at the very address that it is seen at, no NAT lies between, and that place is its flow: what it
//! registers over, what its dialogs go by, and by what it is known again.

use std::net::{IpAddr, SocketAddr};

use crate::engine::dialog::contact_uri;
use crate::engine::ids::{Flow, Transport};
use crate::engine::locating::Hop;
use crate::sip::{Message, Uri};

/// Returns the flow that leads to who has sent a request.
pub(super) fn listens_at(request: &Message, flow: Flow) -> Flow {
    let via = request.via();
    let source = flow.peer.ip().to_canonical();
    let named = via.host.parse::<IpAddr>().ok();
    let is_first = request.vias().nth(1).is_none();
    let promises = flow.transport.is_reliable() || via.rport.is_some();
    if promises || !is_first || named.map(|ip| ip.to_canonical()) != Some(source) {
        return flow;
    }
    let port = via.port.filter(|port| *port != 0);
    let port = port.unwrap_or_else(|| flow.transport.default_port());
    let there = Flow {
        peer: SocketAddr::new(flow.peer.ip(), port),
        ..flow
    };
    // What follows within a dialog has no Contact, as a rule.
    let contact = contact_uri(request);
    let says_else = contact.is_some_and(|uri| !is_at(&uri, &there));
    if says_else { flow } else { there }
}

/// A Contact leads to this place by datagram.
fn is_at(contact: &str, flow: &Flow) -> bool {
    let hop = Uri::parse(contact).ok().and_then(|uri| Hop::of(&uri));
    let place = hop.and_then(|hop| hop.numeric());
    place.is_some_and(|(transport, at)| {
        let same = at.ip().to_canonical() == flow.peer.ip().to_canonical();
        transport == Transport::Udp && same && at.port() == flow.peer.port()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::ListenerId;

    #[test]
    fn a_via_and_a_contact_that_agree_say_where_it_listens() {
        const SEEN: &str = "203.0.113.5:49152";
        for (via, contact, listens) in [
            (
                "UDP 203.0.113.5:5070",
                "203.0.113.5:5070",
                "203.0.113.5:5070",
            ),
            ("UDP 203.0.113.5", "203.0.113.5", "203.0.113.5:5060"),
            (
                "UDP 203.0.113.5",
                "203.0.113.5;transport=udp",
                "203.0.113.5:5060",
            ),
            ("UDP 203.0.113.5", "", "203.0.113.5:5060"),
            // It promises to listen where it is seen.
            ("UDP 203.0.113.5;rport", "203.0.113.5", SEEN),
            // One of them says else.
            ("UDP 203.0.113.5:5070", "203.0.113.5", SEEN),
            ("UDP 203.0.113.5", "203.0.113.5:49152", SEEN),
            ("UDP 203.0.113.5", "203.0.113.6", SEEN),
            ("UDP 203.0.113.5", "203.0.113.5;transport=tcp", SEEN),
            ("UDP 203.0.113.5", "phone.example.org", SEEN),
            // A NAT lies between.
            ("UDP 192.168.0.5", "192.168.0.5", SEEN),
            ("UDP phone.example.org", "203.0.113.5", SEEN),
            // A proxy does.
            (
                "UDP 203.0.113.5,SIP/2.0/UDP 203.0.113.5",
                "203.0.113.5",
                SEEN,
            ),
        ] {
            let contact = match contact {
                "" => String::new(),
                contact => format!("Contact: <sip:a@{contact}>\r\n"),
            };
            let text = format!(
                "OPTIONS sip:b@example.org SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK1\r\n\
                 From: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>\r\nCall-ID: 1\r\n\
                 CSeq: 1 OPTIONS\r\n{contact}\r\n"
            );
            let request = Message::parse(text.into_bytes().into()).unwrap();
            for transport in [Transport::Udp, Transport::Tcp] {
                let seen = Flow {
                    transport,
                    listener: ListenerId(0),
                    peer: SEEN.parse().unwrap(),
                    connection: None,
                };
                let listens = match transport {
                    Transport::Udp => listens,
                    Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => SEEN,
                };
                let found = listens_at(&request, seen);
                assert_eq!(found.peer.to_string(), listens, "{via} {contact}");
                assert_eq!((found.transport, found.connection), (transport, None));
            }
        }
    }
}
