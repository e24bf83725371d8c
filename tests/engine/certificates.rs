//! Peers that are trusted by their certificates.

use bytes::Bytes;
use refork::engine::ids::{ConnectionId, Flow, Transport};
use refork::sip::{Method, Name};

use crate::admission::{ack_of, guarded, trunk};
use crate::people::*;
use crate::table::*;

const TRUSTED: u64 = 1;
const OTHER: u64 = 2;

/// A connection of somebody whose address says nothing.
fn over(transport: Transport, number: u64) -> Flow {
    Flow {
        transport,
        ..tcp(phone("198.51.100.77:40000"), number)
    }
}

fn house() -> Table {
    let mut settings = guarded();
    settings.acl.trusted_certificates = vec!["pbx.example.com".into(), "sip:gw@example.com".into()];
    let mut t = Table::new(settings);
    let vouched: [(u64, &[&str]); 2] = [
        (TRUSTED, &["a.example.com", "pbx.example.com"]),
        // Neither a part of a name, nor a domain for a user of it, is the name.
        (
            OTHER,
            &["x.pbx.example.com", "gw@example.com", "example.com"],
        ),
    ];
    for (number, names) in vouched {
        let names = names.iter().map(|name| Box::from(*name)).collect();
        t.site.vouched.insert(ConnectionId(number), names);
    }
    t
}

fn call(to: &str, call_id: &str) -> Bytes {
    let at = over(Transport::Tls, TRUSTED).peer;
    let invite = request(Method::Invite, "alice", to, at, call_id)
        .header(Name::PAssertedIdentity, "<tel:+4940123>");
    with_sdp(invite, &audio(at))
}

#[test]
fn a_certificate_stands_for_credentials() {
    let mut t = house();
    let peer = over(Transport::Tls, TRUSTED).peer;
    for (flow, call_id) in [
        (over(Transport::Tls, OTHER), "another"),
        (over(Transport::Tls, 3), "nobody"),
        (flow(peer), "datagram"),
    ] {
        let invite = call("+4930123", call_id);
        assert!(!t.engine.trusts(&flow, &t.site), "{call_id}");
        t.receive_over(flow, invite.clone());
        let challenged = t.response_to(peer, 407);
        t.receive_over(flow, ack_of(&invite, &challenged));
        let register = t.register_request("bob", peer, call_id, 1, 3600);
        t.receive_over(flow, register);
        t.response_to(peer, 401);
        t.nothing_to(peer);
    }
    for transport in [Transport::Tls, Transport::Wss] {
        let flow = over(transport, TRUSTED);
        assert!(t.engine.trusts(&flow, &t.site));
        let register = t.register_request("bob", peer, transport.param(), 1, 3600);
        t.receive_over(flow, register);
        t.response_to(peer, 200);
        t.receive_over(flow, call("+4930123", transport.param()));
        // Its word on who calls is believed.
        let out = t.request_to(trunk(), Method::Invite);
        assert_eq!(
            out.header(Name::PAssertedIdentity),
            None,
            "the trunk is not trusted"
        );
        t.reply(&out, 486, trunk());
        t.request_to(trunk(), Method::Ack);
        t.response_to(peer, 486);
    }
}

#[test]
fn who_is_trusted_by_its_certificate_is_told_who_calls() {
    for (number, told) in [(TRUSTED, Some("<tel:+4940123>")), (OTHER, None)] {
        let mut t = house();
        let flow = over(Transport::Tls, number);
        let at = flow.peer;
        t.site.open.insert(at, flow);
        // Whoever registered it: what is told goes by the connection.
        let register = t.register_request("bob", at, "gw", 1, 3600);
        t.site.vouched.insert(
            ConnectionId(9),
            t.site.vouched[&ConnectionId(TRUSTED)].clone(),
        );
        t.receive_over(over(Transport::Tls, 9), register);
        t.response_to(at, 200);
        t.site.open.insert(at, flow);
        let caller = Flow {
            peer: phone("198.51.100.78:40000"),
            ..over(Transport::Tls, TRUSTED)
        };
        t.receive_over(caller, call("bob", "in"));
        let ringing = t.request_to(at, Method::Invite);
        assert_eq!(ringing.header(Name::PAssertedIdentity), told);
    }
}

#[test]
fn over_tls_a_client_may_say_that_its_connection_is_for_requests_to_it() {
    let mut t = house();
    for (transport, via, port) in [
        (Transport::Tls, "pbx.example.com:5071;alias", Some(5071)),
        (Transport::Tls, "pbx.example.com;alias", Some(5061)),
        (Transport::Tls, "pbx.example.com:5071", None),
        // Nobody has proved to be it.
        (Transport::Tcp, "pbx.example.com:5071;alias", None),
        (Transport::Wss, "pbx.example.com:5071;alias", None),
    ] {
        let flow = over(transport, TRUSTED);
        let text = format!(
            "OPTIONS sip:example.org SIP/2.0\r\n\
             Via: SIP/2.0/{} {via};branch=z9hG4bK{}{}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@example.com>;tag=1\r\nTo: <sip:example.org>\r\n\
             Call-ID: {via}{}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            transport.via(),
            via.len(),
            transport.param(),
            transport.param()
        );
        t.receive_over(flow, text.into());
        let heard = t.site.aliases.take();
        let expected = port.map(|port| (flow.connection, port));
        assert_eq!(heard, Vec::from_iter(expected), "{transport:?} {via}");
    }
}
