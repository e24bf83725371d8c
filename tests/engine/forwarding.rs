//! Phones that forward their calls, requests that come back, and how many may ring for one.

use refork::engine::events::Happening;
use refork::engine::ports::Input;
use refork::engine::revision::Revision;
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

pub(crate) fn carol() -> std::net::SocketAddr {
    phone("198.51.100.5:5060")
}

pub(crate) fn dave() -> std::net::SocketAddr {
    phone("198.51.100.6:5060")
}

/// Bob, Carol and Dave have a phone each.
pub(crate) fn four() -> Table {
    with(settings())
}

pub(crate) fn with(settings: Settings) -> Table {
    let mut t = Table::new(settings);
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    t.register("dave", dave(), "dave");
    t
}

impl Table {
    /// A phone forwards the call.
    pub(crate) fn forwards(&mut self, invite: &Message, at: std::net::SocketAddr, to: &[&str]) {
        let mut moved = refork::sip::Builder::respond(
            invite,
            302,
            "Moved Temporarily",
            Some("f1"),
            SERVER.parse().unwrap(),
        );
        for to in to {
            moved = moved.header(Name::Contact, to);
        }
        self.receive(at, moved.end());
        self.request_to(at, Method::Ack);
    }
}

#[test]
fn a_phone_that_forwards_is_followed_and_the_other_one_takes_part() {
    let mut t = four();
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    assert_eq!(first.header(Name::HistoryInfo), None);
    t.forwards(&first, desk(), &["<sip:carol@example.org>"]);
    t.nothing_to(alice());
    let invite = t.request_to(carol(), Method::Invite);
    assert_eq!(invite.uri(), "sip:carol@198.51.100.5:5060");
    // RFC 7044: whose call it was, and why it is hers now.
    assert_eq!(
        invite.header(Name::HistoryInfo),
        Some(
            "<sip:bob@example.org?Reason=SIP%3Bcause%3D302>;index=1, \
             <sip:carol@example.org>;index=1.1;mp=1, \
             <sip:carol@198.51.100.5:5060>;index=1.1.1;rc=1.1"
        )
    );
    assert!(invite.header(Name::To).unwrap().contains("bob@example.org"));
    t.receive(
        carol(),
        with_sdp(response(&invite, 200, carol(), "c1"), &audio(carol())),
    );
    t.request_to(carol(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    assert_eq!(t.engine.list(1)[0].to, "sip:carol@example.org");
    // It is Carol who is sought when her phone is lost.
    t.register("carol", mobile(), "cm");
    t.receive(alice(), a.message("there?"));
    let there = t.request_to(carol(), Method::Message);
    t.knows_no_call(&there, carol());
    t.response_to(alice(), 202);
    t.discard(carol());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.nothing_to(desk());
}

#[test]
fn those_named_are_tried_by_preference_and_nobody_twice() {
    let mut t = four();
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    t.forwards(
        &first,
        desk(),
        &[
            "<sip:dave@example.org>;q=0.3",
            "<sip:carol@example.org>;q=0.7",
            "<sip:bob@example.org>",
            "<sip:nobody@elsewhere.example>",
            "nonsense",
        ],
    );
    let second = t.request_to(carol(), Method::Invite);
    t.nothing_to(dave());
    // Carol sends it back, and to Dave, whose turn comes by itself.
    t.forwards(
        &second,
        carol(),
        &["<sip:bob@example.org>", "<sip:dave@example.org>"],
    );
    let third = t.request_to(dave(), Method::Invite);
    assert!(
        third
            .header(Name::HistoryInfo)
            .unwrap()
            .contains("<sip:dave@example.org>;index=1.2;mp=1, ")
    );
    t.reply(&third, 486, dave());
    t.request_to(dave(), Method::Ack);
    // Nobody is left: what was followed is no answer any more (RFC 3261 16.7 step 4).
    t.response_to(alice(), 486);
    t.nothing_to(desk());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Redirected { .. })),
        2
    );
}

#[test]
fn forwarding_ends_somewhere() {
    let mut settings = settings();
    settings.endpoints = (0..8)
        .map(|n| StaticEndpoint {
            aor: refork::engine::ids::Aor::from_canonical(format!("sip:u{n}@example.org")),
            contact: format!("sip:u{n}@198.51.100.{}", 20 + n).into(),
            name: None,
        })
        .collect();
    let mut t = Table::new(settings);
    let at = |n: usize| phone(&format!("198.51.100.{}:5060", 20 + n));
    let invite = request(Method::Invite, "alice", "u0", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    for n in 0..5 {
        let invite = t.request_to(at(n), Method::Invite);
        let to = format!("<sip:u{}@example.org>", n + 1);
        t.forwards(&invite, at(n), &[&to]);
    }
    let last = t.request_to(at(5), Method::Invite);
    t.forwards(&last, at(5), &["<sip:u6@example.org>"]);
    t.nothing_to(at(6));
    t.response_to(alice(), 302);
}

#[test]
fn a_redirection_is_the_callers_where_that_is_wished() {
    let mut t = with(Settings {
        fork: ForkSettings {
            redirects: Redirects::Pass,
            ..ForkSettings::default()
        },
        ..settings()
    });
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    t.forwards(&first, desk(), &["<sip:carol@example.org>"]);
    let moved = t.response_to(alice(), 302);
    assert_eq!(contact(&moved), "sip:carol@example.org");
    t.nothing_to(carol());
}

/// Numbers are behind an upstream, at Bob's desk: those that begin with 4 by this route, others as all.
fn with_routes(all: Redirects, rules: RouteFork) -> Settings {
    let route = |pattern: &str, fork| Route {
        pattern: pattern.into(),
        to: "pbx".into(),
        fork,
        emergency: None,
    };
    let mut wishes = settings();
    let pbx = upstream("sip:198.51.100.2", false);
    wishes.upstreams.insert("pbx".into(), pbx);
    wishes.routes = vec![
        route("sip:4*@*", rules),
        route("sip:5*@*", RouteFork::default()),
    ];
    wishes.fork.redirects = all;
    wishes
}

const PASS: RouteFork = RouteFork {
    redirects: Some(Redirects::Pass),
    ring_timeout: None,
};

/// Alice calls a number, whose upstream names Carol. Returns true where Carol is called in its place.
fn is_followed(t: &mut Table, number: &str) -> bool {
    let invite = request(Method::Invite, "alice", number, alice(), number);
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    t.forwards(&invite, desk(), &["<sip:carol@example.org>"]);
    match t.waiting(carol(), &Method::Invite) {
        Some(invite) => {
            t.reply(&invite, 486, carol());
            t.request_to(carol(), Method::Ack);
            t.response_to(alice(), 486);
            true
        }
        None => {
            let moved = t.response_to(alice(), 302);
            assert_eq!(contact(&moved), "sip:carol@example.org");
            false
        }
    }
}

#[test]
fn a_route_says_whether_a_redirection_is_followed() {
    let follow = RouteFork {
        redirects: Some(Redirects::Follow),
        ..RouteFork::default()
    };
    for (all, rules, expected) in [
        (Redirects::Follow, PASS, [false, true]),
        (Redirects::Pass, follow, [true, false]),
        (Redirects::Pass, RouteFork::default(), [false, false]),
    ] {
        let mut t = with_carol(with_routes(all, rules));
        assert_eq!(
            ["401", "5001"].map(|number| is_followed(&mut t, number)),
            expected,
            "{all:?} {rules:?}"
        );
    }
}

fn with_carol(settings: Settings) -> Table {
    let mut t = Table::new(settings);
    t.register("carol", carol(), "carol");
    t
}

#[test]
fn what_a_route_says_is_for_those_whom_it_leads_to() {
    // Bob forwards to a number whose route passes on what is said there.
    let mut t = with_carol(with_routes(Redirects::Follow, PASS));
    t.register("bob", mobile(), "mobile");
    t.alice_invites(&audio(alice()));
    let first = t.request_to(mobile(), Method::Invite);
    t.forwards(&first, mobile(), &["<sip:401@example.org>"]);
    let second = t.request_to(desk(), Method::Invite);
    t.forwards(&second, desk(), &["<sip:carol@example.org>"]);
    t.nothing_to(carol());
    t.response_to(alice(), 302);
}

#[test]
fn a_route_says_how_long_it_rings_there() {
    let short = RouteFork {
        ring_timeout: Some(Millis::from_secs(20)),
        redirects: None,
    };
    for (number, rings_s) in [("401", 20), ("5001", 60)] {
        let mut t = with_carol(with_routes(Redirects::Follow, short));
        let invite = request(Method::Invite, "alice", number, alice(), number);
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        let invite = t.request_to(desk(), Method::Invite);
        t.reply(&invite, 180, desk());
        t.pass(Millis::from_secs(rings_s - 1));
        assert!(t.waiting(desk(), &Method::Cancel).is_none(), "{number}");
        t.pass(Millis::from_secs(2));
        t.request_to(desk(), Method::Cancel);
    }
}

#[test]
fn what_a_route_says_may_change_while_the_node_runs() {
    let mut t = with_carol(with_routes(Redirects::Follow, RouteFork::default()));
    assert!(is_followed(&mut t, "401"));
    let mut again = with_routes(Redirects::Pass, RouteFork::default());
    let follow = RouteFork {
        redirects: Some(Redirects::Follow),
        ..RouteFork::default()
    };
    again.routes[0].fork = PASS;
    again.routes[1].fork = follow;
    // One that is not there yet takes a restart, with all that it leads to.
    let mut later = again.routes[0].clone();
    later.pattern = "sip:bob@*".into();
    again.routes.insert(0, later);
    t.input(Input::Revised(Box::new(Revision::of(&again))));
    t.discard(alice());
    assert!(!is_followed(&mut t, "4001"));
    t.discard(alice());
    assert!(is_followed(&mut t, "50001"));
    t.register("bob", mobile(), "mobile");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(mobile(), Method::Invite);
    t.forwards(&invite, mobile(), &["<sip:carol@example.org>"]);
    t.nothing_to(carol());
}

#[test]
fn one_phone_of_several_takes_the_call_from_nobody() {
    let mut t = four();
    t.register("bob", mobile(), "mobile");
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    let other = t.request_to(mobile(), Method::Invite);
    t.reply(&other, 180, mobile());
    t.response_to(alice(), 180);
    t.forwards(&first, desk(), &["<sip:carol@example.org>"]);
    t.nothing_to(carol());
    t.reply(&other, 486, mobile());
    t.request_to(mobile(), Method::Ack);
    t.request_to(carol(), Method::Invite);
}

#[test]
fn a_target_of_a_transfer_may_forward_too() {
    let mut t = four();
    let (mut a, mut b) = t.established();
    let refer = b
        .request(Method::Refer)
        .header(Name::ReferTo, "<sip:carol@example.org>");
    t.receive(desk(), refer.end());
    t.discard(desk());
    let invite = t.request_to(carol(), Method::Invite);
    t.forwards(&invite, carol(), &["<sip:dave@example.org>"]);
    let invite = t.request_to(dave(), Method::Invite);
    assert!(invite.header(Name::ReferredBy).is_some());
    t.receive(
        dave(),
        with_sdp(response(&invite, 200, dave(), "d1"), &audio(dave())),
    );
    t.request_to(dave(), Method::Ack);
    let word = t.request_to(alice(), Method::Message);
    assert!(text(&word).starts_with("dave is continuing on "));
    t.reply(&word, 200, alice());
    t.receive(alice(), a.message("hello"));
    t.request_to(dave(), Method::Message);
}

/// Phones that know their server by its address write that.
#[test]
fn an_address_of_ours_stands_for_our_users() {
    for to in [
        "<sip:carol@192.0.2.1>",
        "<sip:carol@192.0.2.1:5060>",
        "<sip:carol@192.0.2.1;transport=udp>",
    ] {
        let mut t = four();
        t.alice_invites(&audio(alice()));
        let first = t.request_to(desk(), Method::Invite);
        t.forwards(&first, desk(), &[to]);
        t.request_to(carol(), Method::Invite);

        let mut t = four();
        let (_, mut b) = t.established();
        let refer = b.request(Method::Refer).header(Name::ReferTo, to);
        t.receive(desk(), refer.end());
        t.request_to(carol(), Method::Invite);
    }
    let mut t = four();
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    t.forwards(&first, desk(), &["<sip:carol@192.0.2.9>"]);
    t.response_to(alice(), 302);
}

/// Returns our INVITE as a proxy sends it back to us.
fn proxied(invite: &Message, uri: &str, at: std::net::SocketAddr) -> bytes::Bytes {
    let text = String::from_utf8(invite.bytes().to_vec()).unwrap();
    let (_, rest) = text.split_once("\r\n").unwrap();
    format!("INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKproxy;rport\r\n{rest}")
        .into()
}

#[test]
fn a_request_that_comes_back_is_a_loop_and_one_for_another_person_is_none() {
    let mut t = four();
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let proxy = phone("198.51.100.99:5060");
    t.receive(proxy, proxied(&invite, "sip:bob@example.org", proxy));
    t.response_to(proxy, 482);
    // RFC 5393 2: a spiral.
    let other = proxied(&invite, "sip:carol@example.org", proxy);
    let other = String::from_utf8(other.to_vec())
        .unwrap()
        .replace("z9hG4bKproxy", "z9hG4bKother");
    let other = other.replace("CSeq: 1 INVITE", "CSeq: 2 INVITE");
    t.receive(proxy, other.into());
    t.request_to(carol(), Method::Invite);
}

#[test]
fn breadth_is_shared_by_those_who_ring_and_the_rest_waits() {
    let mut t = four();
    t.register("bob", mobile(), "mobile");
    t.register("bob", third(), "third");
    let with_breadth = |breadth: &str, call: &str| {
        let invite = request(Method::Invite, "alice", "bob", alice(), call)
            .header(Name::MaxBreadth, breadth);
        with_sdp(invite, &audio(alice()))
    };
    t.receive(alice(), with_breadth("2", "call1"));
    let phones = [desk(), mobile(), third()];
    let mut ringing: Vec<_> = phones
        .iter()
        .filter_map(|at| Some((*at, t.waiting(*at, &Method::Invite)?)))
        .collect();
    assert_eq!(ringing.len(), 2);
    for (at, invite) in ringing.drain(..) {
        let given: Vec<_> = invite.values(Name::MaxBreadth).collect();
        assert_eq!(given, ["1"]);
        t.reply(&invite, 486, at);
        t.request_to(at, Method::Ack);
    }
    let last = phones.iter().find_map(|at| t.waiting(*at, &Method::Invite));
    assert_eq!(last.unwrap().header(Name::MaxBreadth), Some("2"));
    for none in ["0", "many"] {
        t.receive(alice(), with_breadth(none, &format!("call{none}")));
        t.response_to(alice(), 440);
    }
}

/// RFC 3665 3.6: the offer comes with the answer of whom the redirection led to.
#[test]
fn a_call_without_an_offer_is_forwarded_and_its_ack_brings_the_answer() {
    let mut t = four();
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive(alice(), invite.end());
    let first = t.request_to(desk(), Method::Invite);
    assert_eq!(first.body(), b"");
    t.forwards(&first, desk(), &["<sip:carol@example.org>"]);
    let invite = t.request_to(carol(), Method::Invite);
    assert_eq!(invite.body(), b"");
    t.reply(&invite, 180, carol());
    t.response_to(alice(), 180);
    let ok = with_sdp(response(&invite, 200, carol(), "c1"), &audio(carol()));
    t.receive(carol(), ok);
    // The ACK waits for what Alice answers.
    t.nothing_to(carol());
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("m=audio") && !text(&ok).contains("198.51.100.5"));
    let ack = Remote::of_answer(&ok, alice()).numbered(Method::Ack, 1);
    t.receive(alice(), with_sdp(ack, &sdp(alice(), 1, "recvonly")));
    let ack = t.request_to(carol(), Method::Ack);
    assert_eq!(ack.cseq(), invite.cseq());
    assert!(text(&ack).contains("a=recvonly") && !text(&ack).contains("198.51.100.1"));
}

/// RFC 3665 3.7: a phone that changes its address offers anew.
#[test]
fn a_phone_at_another_address_is_reached_there_and_the_other_one_learns_nothing_of_it() {
    let mut t = four();
    let (mut a, mut b) = t.established();
    let moved = phone("198.51.100.77:5070");
    b.at = moved;
    let offer = with_sdp(b.request(Method::Invite), &sdp(moved, 2, "sendrecv"));
    t.receive(moved, offer);
    let ok = t.response_to(moved, 200);
    t.nothing_to(alice());
    t.receive(moved, b.ack(ok.cseq()));
    t.receive(alice(), a.message("found you"));
    let found = t.request_to(moved, Method::Message);
    assert_eq!(found.uri(), "sip:phone@198.51.100.77:5070");
    t.nothing_to(desk());
}

/// Bob's phone refuses; returns what Alice hears.
fn refused(status: u16, contacts: &[&str], body: Option<(&str, &str)>) -> Message {
    let mut t = four();
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let mut answer = refork::sip::Builder::respond(
        &invite,
        status,
        "So It Is",
        Some("f1"),
        SERVER.parse().unwrap(),
    );
    for contact in contacts {
        answer = answer.header(Name::Contact, contact);
    }
    let answer = match body {
        Some((content_type, body)) => answer.body(content_type, body.as_bytes()),
        None => answer.end(),
    };
    t.receive(desk(), answer);
    t.request_to(desk(), Method::Ack);
    let mut out = t.next_to(alice());
    while out.status() < 200 {
        out = t.next_to(alice());
    }
    out
}

#[test]
fn what_there_is_instead_is_said_in_a_body_that_crosses() {
    let html = (
        "text/html",
        "<a href=\"sip:voicemail@example.org\">leave word</a>",
    );
    for status in [300, 380] {
        let said = refused(status, &[], Some(html));
        assert_eq!(said.status(), status);
        assert_eq!(said.content_type(), Some(html.0));
        assert_eq!(said.body(), html.1.as_bytes());
        // Where the phone is for media is nobody's business.
        let session = audio(desk());
        let said = refused(status, &[], Some(("application/sdp", &session)));
        assert_eq!((said.status(), said.body()), (status, &b""[..]));
    }
}

#[test]
fn who_else_may_be_meant_is_named() {
    let said = refused(
        485,
        &["<sip:bob.b@example.org>", "<sip:bob.c@example.org>"],
        None,
    );
    assert_eq!(said.status(), 485);
    let named: Vec<_> = said.values(Name::Contact).collect();
    assert_eq!(
        named,
        ["<sip:bob.b@example.org>", "<sip:bob.c@example.org>"]
    );
    // Where a phone is, nobody is told by a refusal.
    assert_eq!(
        refused(486, &["<sip:bob@10.0.0.7>"], None).header(Name::Contact),
        None
    );
}

#[test]
fn a_proxy_of_the_phones_is_nobody_elses_to_ask() {
    let said = refused(305, &["<sip:proxy.inside.example;lr>"], None);
    assert_eq!((said.status(), said.header(Name::Contact)), (480, None));
}
