//! Calls for help: services named by URN (RFC 5031, RFC 6881), and numbers that a route says are for that.

use bytes::Bytes;
use refork::engine::events::{Event, Unproven};
use refork::engine::ports::Input;
use refork::engine::settings::{Emergency, LimitSettings, Route, RouteFork, Settings};
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::admission::{again, guarded, with_secret};
use crate::people::*;
use crate::table::*;

fn psap() -> std::net::SocketAddr {
    phone("192.0.2.112:5060")
}

fn route(pattern: &str, emergency: Option<Emergency>) -> Route {
    Route {
        pattern: pattern.into(),
        to: "psap".into(),
        fork: RouteFork::default(),
        emergency,
    }
}

fn with_route(base: Settings, pattern: &str, emergency: Option<Emergency>) -> Settings {
    let mut settings = base;
    let psap = upstream("sip:192.0.2.112", false);
    settings.upstreams.insert("psap".into(), psap);
    settings.routes.push(route(pattern, emergency));
    settings
}

const LOCATION: &str = "Geolocation: <cid:target123@example.org>\r\nGeolocation-Routing: yes\r\n";

/// An INVITE of Alice's for help, with her location.
fn calls(uri: &str, call_id: &str) -> Bytes {
    asks(&Method::Invite, uri, call_id)
}

fn asks(method: &Method, uri: &str, call_id: &str) -> Bytes {
    let sent = request(method.clone(), "alice", "bob", alice(), call_id);
    let sent = with_sdp(sent.raw_lines(LOCATION.as_bytes()), &audio(alice()));
    let sent = String::from_utf8(sent.to_vec()).unwrap();
    sent.replace("sip:bob@example.org", uri).into()
}

#[test]
fn a_service_leads_to_the_upstream_of_its_route_under_its_own_name() {
    for uri in [
        "urn:service:sos",
        "urn:service:sos.police",
        "URN:SERVICE:sos",
    ] {
        let mut t = Table::new(with_route(settings(), "urn:service:sos*", None));
        t.receive(alice(), calls(uri, "call1"));
        let invite = t.request_to(psap(), Method::Invite);
        assert_eq!(invite.uri(), uri);
        assert_eq!(invite.to().uri, uri);
        assert!(String::from_utf8_lossy(invite.bytes()).contains(LOCATION));
        let ok = with_sdp(response(&invite, 200, psap(), "p1"), &audio(psap()));
        t.receive(psap(), ok);
        let ok = t.response_to(alice(), 200);
        let ack = t.request_to(psap(), Method::Ack);
        assert!(ack.uri().contains("192.0.2.112"), "the Contact");
        let mut a = Remote::of_answer(&ok, alice());
        t.receive(alice(), a.ack(1));
        t.receive(alice(), a.request(Method::Bye).end());
        t.request_to(psap(), Method::Bye);
    }
}

#[test]
fn a_psap_that_is_lost_is_asked_for_help_again() {
    let mut t = Table::new(with_route(settings(), "urn:service:sos*", None));
    t.receive(alice(), calls("urn:service:sos", "call1"));
    let invite = t.request_to(psap(), Method::Invite);
    let ok = with_sdp(response(&invite, 200, psap(), "p1"), &audio(psap()));
    t.receive(psap(), ok);
    let ok = t.response_to(alice(), 200);
    t.request_to(psap(), Method::Ack);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.bob_is_lost();
    let again = (0..30).find_map(|_| {
        t.pass(Millis::from_secs(1));
        t.waiting(psap(), &Method::Invite)
            .filter(|again| again.uri() == "urn:service:sos")
    });
    assert!(again.is_some());
}

#[test]
fn without_a_route_a_service_is_416() {
    for uri in ["urn:service:sos", "urn:service:counseling", "urn:nbn:x"] {
        for method in [Method::Invite, Method::Message, Method::Options] {
            let mut t = Table::new(with_route(settings(), "urn:service:sos.*", None));
            t.receive(alice(), asks(&method, uri, "call1"));
            t.response_to(alice(), 416);
            t.nothing_to(psap());
            let told = t.events.iter();
            let told = told.filter(|event| matches!(event, Event::NoService { .. }));
            let called = method == Method::Invite && uri.starts_with("urn:service:");
            assert_eq!(told.count(), usize::from(called), "{uri} {method:?}");
        }
    }
    let mut t = Table::new(with_route(settings(), "urn:service:sos*", None));
    t.receive(alice(), asks(&Method::Register, "urn:service:sos", "r"));
    t.response_to(alice(), 416);
    t.receive(alice(), asks(&Method::Options, "urn:service:sos", "o"));
    t.response_to(alice(), 200);
}

#[test]
fn a_call_for_help_passes_the_limits_that_others_meet() {
    let busy = || {
        let limits = LimitSettings {
            conversations: 0,
            ringing: 0,
            ringing_per_user: 0,
            under_way: 1,
            ..LimitSettings::default()
        };
        Settings {
            limits,
            ..settings()
        }
    };
    for (pattern, emergency, uri, passes) in [
        (
            "urn:service:sos*",
            Some(Emergency::Users),
            "urn:service:sos",
            true,
        ),
        ("urn:service:sos*", None, "urn:service:sos", false),
        (
            "sip:112@*",
            Some(Emergency::Users),
            "sip:112@example.org",
            true,
        ),
        ("sip:112@*", None, "sip:112@example.org", false),
    ] {
        for late in [false, true] {
            let mut t = Table::new(with_route(busy(), pattern, emergency));
            if late {
                for _ in 0..12 {
                    t.pass(Millis(100));
                    t.input(Input::Lateness(Millis(300)));
                }
            }
            t.receive(alice(), calls(uri, "call1"));
            let out = t.waiting(psap(), &Method::Invite);
            assert_eq!(
                out.is_some(),
                passes,
                "{pattern} {emergency:?} late: {late}"
            );
        }
    }
}

#[test]
fn who_calls_for_help_proves_who_it_is_where_the_route_says_so() {
    let mut t = Table::new(with_route(
        guarded(),
        "urn:service:sos*",
        Some(Emergency::Users),
    ));
    let invite = calls("urn:service:sos", "call1");
    t.receive(alice(), invite.clone());
    let challenged = t.response_to(alice(), 407);
    t.nothing_to(psap());
    t.receive(alice(), again(&invite, &challenged, "alice"));
    t.request_to(psap(), Method::Invite);
    // A stranger cannot get there.
    let stranger = String::from_utf8(calls("urn:service:sos", "call2").to_vec()).unwrap();
    let stranger = stranger.replace("sip:alice@example.org", "sip:x@elsewhere.example");
    t.receive(mobile(), stranger.into());
    t.response_to(mobile(), 403);
}

#[test]
fn anyone_may_call_for_help_where_the_route_says_so_and_nobody_else() {
    let wishes = with_route(guarded(), "urn:service:sos*", Some(Emergency::Anyone));
    for from in ["sip:alice@example.org", "sip:x@elsewhere.example"] {
        let mut t = Table::new(wishes.clone());
        let invite = String::from_utf8(calls("urn:service:sos", "call1").to_vec()).unwrap();
        t.receive(
            alice(),
            invite.replace("sip:alice@example.org", from).into(),
        );
        let invite = t.request_to(psap(), Method::Invite);
        assert_eq!(
            invite.header(Name::PAssertedIdentity),
            None,
            "nothing is proven"
        );
        // Other calls are asked as ever.
        let other = String::from_utf8(calls("sip:+4930@example.org", "call2").to_vec()).unwrap();
        t.receive(alice(), other.replace("sip:alice@example.org", from).into());
        let refused = t.response_to(alice(), if from.contains("elsewhere") { 403 } else { 407 });
        assert!(refused.to_tag().is_some());
    }
}

/// Whoever has its call without proof is told of all the same where it guesses.
#[test]
fn a_call_for_help_is_no_way_to_guess_at_passwords() {
    let wishes = with_route(guarded(), "urn:service:sos*", Some(Emergency::Anyone));
    let mut t = Table::new(wishes);
    t.receive(alice(), calls("sip:+4930@example.org", "call1"));
    let challenged = t.response_to(alice(), 407);
    let help = calls("urn:service:sos", "call2");
    t.receive(alice(), with_secret(&help, &challenged, "alice", "12345"));
    t.request_to(psap(), Method::Invite);
    assert_eq!(t.unproven().last(), Some(&Unproven::Wrong));
}
