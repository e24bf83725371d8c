//! GRUUs (RFC 5627): one device of a user, from wherever it is asked for.

use std::net::SocketAddr;

use refork::engine::settings::PathMode;
use refork::engine::time::Millis;
use refork::sip::{Builder, Method, Name};

use crate::edge::{first, in_front, pbx, register};
use crate::people::*;
use crate::table::*;
use crate::transfer::{carol, refer, three};

const DESK: &str = "sip:bob@example.org;gr=urn:uuid:desk";

/// A request to one device of Bob's.
fn to_the_desk(method: Method, call_id: &str) -> Builder {
    request_to_uri(method, DESK, call_id)
}

pub fn request_to_uri(method: Method, uri: &str, call_id: &str) -> Builder {
    let name = method.as_str().to_owned();
    Builder::request(&method, uri)
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP {};branch=z9hG4bK{call_id};rport", alice()),
        )
        .header(Name::MaxForwards, 70)
        .header(Name::From, "<sip:alice@example.org>;tag=a1")
        .header(Name::To, format_args!("<{uri}>"))
        .header(Name::CallId, call_id)
        .header(Name::CSeq, format_args!("1 {name}"))
        .header(Name::Contact, format_args!("<sip:alice@{}>", alice()))
}

#[test]
fn a_call_to_a_gruu_rings_that_device_alone() {
    let mut t = two();
    t.receive(
        alice(),
        with_sdp(to_the_desk(Method::Invite, "c1"), &audio(alice())),
    );
    let invite = t.request_to(desk(), Method::Invite);
    // RFC 5627 6.1: by its Contact, as any other call.
    assert_eq!(invite.uri(), format!("sip:bob@{}", desk()));
    t.nothing_to(mobile());
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 200);
    t.receive(
        alice(),
        to_the_desk(Method::Message, "m1").body("text/plain", b"hi"),
    );
    t.request_to(desk(), Method::Message);
    t.nothing_to(mobile());
}

#[test]
fn a_device_that_is_not_there_is_told_from_one_that_nobody_has() {
    let mut t = two();
    t.unregister("bob", desk(), "desk", 2);
    for (number, (uri, status)) in [
        (DESK, 480),
        ("sip:bob@example.org;gr=urn:uuid:never", 480),
        ("sip:nobody@example.org;gr=urn:uuid:desk", 404),
        ("sip:bob@example.org;gr", 404),
        ("sip:tgruu.7@example.org;gr", 404),
    ]
    .into_iter()
    .enumerate()
    {
        let invite = request_to_uri(Method::Invite, uri, &format!("call{number}"));
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        t.response_to(alice(), status);
        t.nothing_to(mobile());
        t.nothing_to(desk());
    }
}

#[test]
fn a_transfer_to_a_gruu_rings_that_device_alone() {
    let mut t = three();
    t.register("carol", third(), "laptop");
    let (_, mut b) = t.established();
    let to = "<sip:carol@example.org;gr=urn:uuid:laptop>";
    t.receive(desk(), refer(&mut b, to));
    t.response_to(desk(), 202);
    t.request_to(third(), Method::Invite);
    t.nothing_to(carol());
}

/// The mobile takes part under its GRUU.
fn known_by_its_gruu(t: &mut Table) -> (Remote, Remote) {
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let ok = with_sdp(answer_to(&invite), &audio(desk()));
    let ok = String::from_utf8(ok.to_vec()).unwrap();
    let contact = ok.lines().find(|line| line.starts_with("Contact:"));
    let contact = contact.unwrap().to_owned();
    let ok = ok.replacen(&contact, &format!("Contact: <{DESK}>"), 1);
    t.receive(desk(), ok.into());
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    (a, Remote::of_invite(&invite, desk(), "b1"))
}

#[test]
fn a_phone_whose_contact_is_its_gruu_is_reached_over_its_flow() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let (mut a, _) = known_by_its_gruu(&mut t);
    t.receive(alice(), a.message("hi"));
    let message = t.request_to(desk(), Method::Message);
    assert_eq!(message.uri(), DESK);
    t.reply(&message, 200, desk());
    t.response_to(alice(), 200);
    // It moves, and is the same phone still.
    let register = t.register_request("bob", mobile(), "desk", 2, 3600);
    t.receive(mobile(), register);
    t.response_to(mobile(), 200);
    let moves = t.next_to(mobile());
    assert_eq!(moves.uri(), format!("sip:bob@{}", mobile()));
    assert!(moves.to_tag().is_some(), "within the dialog");
    t.nothing_to(alice());
}

#[test]
fn a_lost_phone_is_asked_by_its_contact_and_never_at_our_own_domain() {
    for registered in [true, false] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        known_by_its_gruu(&mut t);
        if !registered {
            t.unregister("bob", desk(), "desk", 2);
            t.discard(desk());
        }
        t.bob_is_lost();
        let invite = t.request_to(desk(), Method::Invite);
        let expected = match registered {
            true => format!("sip:bob@{}", desk()),
            false => DESK.into(),
        };
        assert_eq!(invite.uri(), expected);
        t.takes_back(&invite);
        t.nothing_to(alice());
    }
}

impl Table {
    /// The desk phone takes the INVITE of a re-fork, and is no other phone than before.
    fn takes_back(&mut self, invite: &refork::sip::Message) {
        self.receive(
            desk(),
            with_sdp(response(invite, 200, desk(), "b2"), &audio(desk())),
        );
        self.request_to(desk(), Method::Ack);
    }
}

/// Who begins by its GRUU is known by its registration.
#[test]
fn a_caller_whose_contact_is_its_gruu_is_its_phone() {
    let mut t = two();
    t.register("alice", alice(), "laptop");
    let uri = "sip:alice@example.org;gr=urn:uuid:laptop";
    let invite = with_sdp(
        request(Method::Invite, "alice", "bob", alice(), "c1"),
        &audio(alice()),
    );
    let text = String::from_utf8(invite.to_vec()).unwrap();
    let text = text.replacen(&format!("<sip:alice@{}>", alice()), &format!("<{uri}>"), 1);
    t.receive(alice(), text.into());
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.discard(desk());
    t.discard(mobile());
    t.alice_is_lost();
    let invite = t.request_to(alice(), Method::Invite);
    assert_eq!(invite.uri(), format!("sip:alice@{}", alice()));
    t.receive(
        alice(),
        with_sdp(response(&invite, 200, alice(), "a2"), &audio(alice())),
    );
    t.request_to(alice(), Method::Ack);
    // No word of another phone.
    t.nothing_to(desk());
    t.pass(Millis(100));
}

/// The PBX is the registrar: it is asked, and its GRUU is the phone's.
#[test]
fn a_pbx_gives_gruus_of_its_own() {
    for mode in [PathMode::Path, PathMode::Contact] {
        let mut t = in_front(mode);
        let at: SocketAddr = desk();
        let register = register("bob", at, 1, 600)
            .header(Name::Supported, "gruu, path")
            .end();
        t.receive(at, register);
        let onward = t.request_to(pbx(), Method::Register);
        assert!(onward.has_token(Name::Supported, "gruu"));
        let contact = onward.header(Name::Contact).unwrap().to_owned();
        let urn = format!("urn:uuid:{}", at.ip());
        assert!(contact.contains(&format!("+sip.instance=\"<{urn}>\"")));
        let uri = format!("sip:bob@pbx.example.net;gr={urn}");
        let gruu = format!(";pub-gruu=\"{uri}\"");
        let ok = String::from_utf8(response(&onward, 200, pbx(), "p").end().to_vec()).unwrap();
        let own = ok.lines().find(|line| line.starts_with("Contact:"));
        let own = own.unwrap().to_owned();
        let granted = format!("Contact: {contact};expires=600{gruu}");
        t.receive(pbx(), ok.replacen(&own, &granted, 1).into());
        let ok = t.response_to(at, 200);
        let told = ok.header(Name::Contact).unwrap();
        assert!(told.contains("<sip:bob@10.0.0.7:5060;x=1>"), "{told}");
        assert!(told.contains(&gruu), "{told}");
        // A call to it is the PBX's to find, by the URI as it is.
        let invite = first(Method::Invite, "alice", "bob", alice(), "c1", 1)
            .header(Name::Contact, format_args!("<sip:alice@{}>", alice()));
        let text = String::from_utf8(with_sdp(invite, &audio(alice())).to_vec()).unwrap();
        let line = text.lines().next().unwrap().to_owned();
        let text = text.replacen(&line, &format!("INVITE {uri} SIP/2.0"), 1);
        t.receive(alice(), text.into());
        let invite = t.request_to(pbx(), Method::Invite);
        assert_eq!(invite.uri(), uri);
    }
}
