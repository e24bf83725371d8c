//! Who is beyond an upstream has us call our own users, and nobody at our expense.

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::ids::Transport;
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::repair::replaces;
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
            fork: RouteFork::default(),
            emergency: None,
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

/// Its From is of a domain of ours where it is believed, and of nobody's where not; its Contact is a number.
fn shows_a_number(t: &mut Table, trusted: bool) -> Remote {
    let invite = request(Method::Invite, "+900666", "bob", trunk(), "call1");
    let text = String::from_utf8(with_sdp(invite, &audio(trunk())).to_vec()).unwrap();
    let contact = text.lines().find(|line| line.starts_with("Contact:"));
    let contact = contact.unwrap().to_owned();
    let text = text.replacen(&contact, "Contact: <sip:+900777@192.0.2.60>", 1);
    let text = match trusted {
        true => text,
        false => text.replace("<sip:+900666@example.org>", "<sip:+900666@trunk.example>"),
    };
    t.receive(trunk(), text.into());
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let far = Remote::of_answer(&t.response_to(trunk(), 200), trunk());
    t.receive(trunk(), far.ack(1));
    far
}

/// Calls that come by the trunk, told by its address or by its name.
fn houses() -> Vec<(bool, Table)> {
    let mut houses = Vec::new();
    for (trusted, target) in [
        (true, "sip:192.0.2.60"),
        (false, "sip:192.0.2.60"),
        (true, "sip:trunk.example"),
        (false, "sip:trunk.example"),
    ] {
        let mut t = Table::new(Settings {
            upstreams: [("trunk".into(), upstream(target, trusted))].into(),
            ..settings()
        });
        let located = vec![(Transport::Udp, trunk())];
        t.names.insert("trunk.example".into(), located);
        t.register("bob", desk(), "desk");
        t.pass(Millis::from_secs(1));
        houses.push((trusted, t));
    }
    houses
}

#[test]
fn who_called_from_there_and_is_lost_is_called_at_no_number() {
    for (trusted, mut t) in houses() {
        let mut far = shows_a_number(&mut t, trusted);
        t.alice_is_lost();
        t.pass(Millis::from_secs(10));
        assert!(t.waiting(trunk(), &Method::Invite).is_none());
        // It comes back by itself.
        t.receive(trunk(), far.request(Method::Info).end());
        let repaired = |what: &Happening| matches!(what, Happening::Repaired { .. });
        assert_eq!(t.happened(repaired), 1);
        // By an INVITE with Replaces it is the same one still.
        let invite = request(Method::Invite, "+900666", "bob", trunk(), "again")
            .header(Name::Replaces, replaces(&far));
        let text = String::from_utf8(with_sdp(invite, &audio(trunk())).to_vec()).unwrap();
        let text = match trusted {
            true => text,
            false => text.replace("<sip:+900666@example.org>", "<sip:+900666@trunk.example>"),
        };
        t.receive(trunk(), text.into());
        t.response_to(trunk(), 200);
        t.alice_is_lost();
        t.pass(Millis::from_secs(10));
        assert!(t.waiting(trunk(), &Method::Invite).is_none());
    }
}

#[test]
fn a_failure_there_ends_the_call() {
    for (trusted, mut t) in houses() {
        let mut far = shows_a_number(&mut t, trusted);
        let bye = far.request(Method::Bye);
        t.receive(trunk(), bye.header(Name::Reason, "Q.850;cause=38").end());
        t.response_to(trunk(), 200);
        t.request_to(desk(), Method::Bye);
    }
}

#[test]
fn a_users_phones_are_called_where_the_trunk_says_that_it_is_the_user() {
    let mut t = house(true);
    let invite = request(Method::Invite, "carol", "bob", trunk(), "call1");
    t.receive(trunk(), with_sdp(invite, &audio(trunk())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let far = Remote::of_answer(&t.response_to(trunk(), 200), trunk());
    t.receive(trunk(), far.ack(1));
    t.alice_is_lost();
    t.takes_over(carol(), "c1", &audio(carol()));
    assert!(t.waiting(trunk(), &Method::Invite).is_none());
}
