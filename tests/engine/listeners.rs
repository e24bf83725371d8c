//! Where there are several listeners: by which of them what begins here leaves.

use refork::engine::ids::{Flow, ListenerId, Transport};
use refork::engine::ports::Input;
use refork::engine::settings::{Route, RouteFork, Upstream};
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

const OUTER: ListenerId = ListenerId(3);

/// Numbers that begin with 4 are behind an upstream that names a listener.
fn behind(uri: &str, probe: Option<Millis>) -> Table {
    let mut wishes = settings();
    let trunk = Upstream {
        listener: Some(OUTER),
        probe,
        ..upstream(uri, false)
    };
    wishes.upstreams.insert("trunk".into(), trunk);
    wishes.routes.push(Route {
        pattern: "sip:4*@*".into(),
        to: "trunk".into(),
        fork: RouteFork::default(),
        emergency: None,
    });
    Table::new(wishes)
}

#[test]
fn a_call_to_an_upstream_leaves_by_the_listener_that_it_names() {
    for uri in ["sip:198.51.100.2", "sip:trunk.example.net"] {
        let mut t = behind(uri, None);
        t.names.insert(
            "trunk.example.net".into(),
            vec![(Transport::Udp, desk()), (Transport::Udp, mobile())],
        );
        let invite = request(Method::Invite, "alice", "401", alice(), "call1");
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        t.request_to(desk(), Method::Invite);
        assert_eq!(t.reached_over[&desk()].listener, OUTER, "{uri}");
        if uri.contains("trunk") {
            t.pass(Millis(4_100));
            t.request_to(mobile(), Method::Invite);
            assert_eq!(t.reached_over[&mobile()].listener, OUTER);
        }
    }
}

#[test]
fn an_upstream_is_probed_from_the_listener_that_it_names() {
    let mut t = behind("sip:198.51.100.2", Some(Millis::from_secs(10)));
    t.pass(Millis(100));
    t.request_to(desk(), Method::Options);
    assert_eq!(t.reached_over[&desk()].listener, OUTER);
}

/// A phone registers over a connection to a listener, which then closes.
#[test]
fn a_phone_is_connected_to_from_where_it_registered() {
    let mut t = Table::new(settings());
    let over = Flow {
        listener: OUTER,
        ..tcp(desk(), 7)
    };
    let register = t.register_request("bob", desk(), "desk", 1, 3600);
    let register = String::from_utf8_lossy(&register).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    t.receive_over(over, register.into());
    t.response_to(desk(), 200);
    t.site.open.clear();
    t.input(Input::Closed { flow: over });
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    assert!(invite.header(Name::Via).unwrap().contains("TCP"));
    let there = t.reached_over[&desk()];
    assert_eq!((there.listener, there.connection), (OUTER, None));
}
