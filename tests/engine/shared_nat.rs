//! Customers behind one address of a carrier's NAT, whose routers have given their phones the same private address:
//! neither names an instance, and each is its own user's.

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::ids::Aor;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

const CONTACT: &str = "sip:phone@10.0.0.7:5060";

fn bobs() -> SocketAddr {
    phone("203.0.113.50:1001")
}

fn carols() -> SocketAddr {
    phone("203.0.113.50:1002")
}

fn register(user: &str, at: SocketAddr, cseq: u32) -> Bytes {
    let uri = format!("<sip:{user}@example.org>");
    refork::sip::Builder::request(&Method::Register, "sip:example.org")
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP 10.0.0.7:5060;branch=z9hG4bK{user}{cseq};rport"),
        )
        .header(Name::MaxForwards, 70)
        .header(Name::From, format_args!("{uri};tag={}", at.port()))
        .header(Name::To, uri)
        .header(Name::CallId, format_args!("r-{user}"))
        .header(Name::CSeq, format_args!("{cseq} REGISTER"))
        .header(Name::Contact, format_args!("<{CONTACT}>"))
        .header(Name::UserAgent, "Router phone 1.0")
        .header(Name::Expires, 3600)
        .end()
}

#[test]
fn each_is_its_own_users_and_neither_takes_the_others_call() {
    let mut t = Table::new(settings());
    for (user, at) in [("bob", bobs()), ("carol", carols())] {
        t.receive(at, register(user, at, 1));
        t.response_to(at, 200);
        let aor = Aor::from_canonical(format!("sip:{user}@example.org"));
        assert_eq!(t.site.bindings[&aor].len(), 1);
    }
    // Bob's phone rings and takes a call.
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(bobs(), Method::Invite);
    t.nothing_to(carols());
    let answer = response(&invite, 200, phone("10.0.0.7:5060"), "b1");
    t.receive(bobs(), with_sdp(answer, &audio(phone("10.0.0.7:5060"))));
    t.request_to(bobs(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    // Carol's registers again and again, and from another port.
    t.receive(carols(), register("carol", carols(), 2));
    t.response_to(carols(), 200);
    let moved = phone("203.0.113.50:1003");
    t.receive(moved, register("carol", moved, 3));
    t.response_to(moved, 200);
    t.pass(Millis::from_secs(1));
    for at in [carols(), moved] {
        t.nothing_to(at);
    }
    assert!(t.losses().is_empty());
    t.receive(alice(), a.message("still there?"));
    let text = t.request_to(bobs(), Method::Message);
    t.reply(&text, 200, bobs());
    t.response_to(alice(), 200);
    // Who calls Carol rings hers.
    let invite = request(Method::Invite, "alice", "carol", alice(), "c2");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    t.request_to(moved, Method::Invite);
    t.nothing_to(bobs());
}
