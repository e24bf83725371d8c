//! Targets that are reached over TLS alone.

use refork::engine::ids::Transport;
use refork::engine::settings::{PathMode, Route, RouteFork, Upstream};
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

#[test]
fn a_sips_target_is_called_over_tls_and_told_a_sips_contact() {
    for (target, contact) in [
        ("sips:pbx.example.net", "<sips:refork@"),
        ("sip:pbx.example.net;transport=tls", "<sip:refork@"),
    ] {
        let mut wishes = settings();
        let upstream = Upstream {
            targets: vec![target.into()],
            trusted: false,
            path: PathMode::default(),
            account: None,
            probe: None,
        };
        wishes.upstreams.insert("pbx".into(), upstream);
        wishes.routes.push(Route {
            pattern: "sip:4*@*".into(),
            to: "pbx".into(),
            fork: RouteFork::default(),
        });
        let mut t = Table::new(wishes);
        let at = vec![(Transport::Tls, desk())];
        t.names.insert("pbx.example.net".into(), at);
        let invite = request(Method::Invite, "alice", "401", alice(), "secure");
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(invite.via().transport, "TLS");
        assert!(invite.via().params.has("alias"), "RFC 5923 8.1");
        let told = invite.header(Name::Contact).unwrap();
        assert!(told.starts_with(contact), "{target}: {told}");
    }
}
