//! Who is beyond an upstream has us call our own users, and nobody at our expense.

use std::net::SocketAddr;

use refork::engine::settings::*;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;
use crate::transfer::{CAROL, carol, refer};

const NUMBER: &str = "<sip:+900666@example.org>";

fn trunk() -> SocketAddr {
    phone("192.0.2.60:5060")
}

/// Numbers go to a trunk that is believed, or not, in what it says of who calls. Bob and Carol have phones.
fn house(trusted: bool) -> Table {
    with_acl(trusted, AclSettings::default())
}

fn with_acl(trusted: bool, acl: AclSettings) -> Table {
    let trunk = upstream("sip:192.0.2.60", trusted);
    let mut t = Table::new(Settings {
        upstreams: [("trunk".into(), trunk)].into(),
        routes: vec![Route {
            pattern: "sip:+*@*".into(),
            to: "trunk".into(),
        }],
        acl,
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    t
}

/// Alice calls a number. Returns what the trunk gets.
fn dials(t: &mut Table) -> Message {
    let invite = request(Method::Invite, "alice", "+43123", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    t.request_to(trunk(), Method::Invite)
}

fn answered(t: &mut Table) -> (Remote, Remote) {
    let invite = dials(t);
    let ok = response(&invite, 200, trunk(), "f1");
    t.receive(trunk(), with_sdp(ok, &audio(trunk())));
    t.request_to(trunk(), Method::Ack);
    let near = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), near.ack(1));
    (near, Remote::of_invite(&invite, trunk(), "f1"))
}

#[test]
fn who_was_called_there_transfers_nobody_to_a_number() {
    for trusted in [true, false] {
        let mut t = house(trusted);
        let (_, mut far) = answered(&mut t);
        t.receive(trunk(), refer(&mut far, NUMBER));
        t.response_to(trunk(), 403);
        assert!(t.waiting(trunk(), &Method::Invite).is_none());
        // Our own users are theirs to reach as by a call.
        t.receive(trunk(), refer(&mut far, CAROL));
        t.response_to(trunk(), 202);
        t.request_to(carol(), Method::Invite);
    }
}

#[test]
fn a_user_transfers_whom_it_has_called_there() {
    let mut t = house(true);
    let (mut near, _) = answered(&mut t);
    t.receive(alice(), refer(&mut near, NUMBER));
    t.response_to(alice(), 202);
    let invite = t.request_to(trunk(), Method::Invite);
    assert!(invite.uri().starts_with("sip:+900666@"), "{}", invite.uri());
}

/// A number calls Bob by the trunk's address. Returns the caller's end.
fn calls_bob(t: &mut Table) -> Remote {
    let invite = request(Method::Invite, "+43123", "bob", trunk(), "call1");
    t.receive(trunk(), with_sdp(invite, &audio(trunk())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let far = Remote::of_answer(&t.response_to(trunk(), 200), trunk());
    t.receive(trunk(), far.ack(1));
    far
}

#[test]
fn who_calls_from_there_transfers_nobody_to_a_number_either() {
    let mut t = house(true);
    let mut far = calls_bob(&mut t);
    t.receive(trunk(), refer(&mut far, NUMBER));
    t.response_to(trunk(), 403);
    assert!(t.waiting(trunk(), &Method::Invite).is_none());
    t.receive(trunk(), refer(&mut far, CAROL));
    t.response_to(trunk(), 202);
    t.request_to(carol(), Method::Invite);
}

#[test]
fn a_network_that_is_trusted_may_do_anything() {
    let acl = AclSettings {
        trusted: vec!["192.0.2.60".parse().unwrap()],
        ..AclSettings::default()
    };
    let mut t = with_acl(true, acl);
    let mut far = calls_bob(&mut t);
    t.receive(trunk(), refer(&mut far, NUMBER));
    t.response_to(trunk(), 202);
    t.told(trunk(), "100 Trying");
    t.request_to(trunk(), Method::Invite);
}

#[test]
fn a_redirection_from_there_leads_to_our_users_alone() {
    let moves = |t: &mut Table, to: &str| {
        let invite = dials(t);
        let ok = response(&invite, 302, trunk(), "f1").end();
        let ok = String::from_utf8(ok.to_vec()).unwrap();
        let contact = ok.lines().find(|line| line.starts_with("Contact:"));
        let contact = contact.unwrap().to_owned();
        t.receive(
            trunk(),
            ok.replacen(&contact, &format!("Contact: {to}"), 1).into(),
        );
        t.request_to(trunk(), Method::Ack);
    };
    for trusted in [true, false] {
        let mut t = house(trusted);
        moves(&mut t, NUMBER);
        assert!(t.waiting(trunk(), &Method::Invite).is_none());
        // Where it points to is the caller's own to call.
        t.response_to(alice(), 302);
        let mut t = house(trusted);
        moves(&mut t, CAROL);
        t.request_to(carol(), Method::Invite);
    }
}
