//! A server with two ports on one address.

use std::net::Ipv4Addr;

use refork::config::Listener;
use refork::engine::ids::{self, ListenerId};
use refork::engine::settings::{Route, RouteFork, Upstream};
use refork::sip::Name;
use refork::ua::{Medium, Transport};

use crate::stage::{SOON, Stage, answers, hang_up, talk};

#[test]
fn a_trunk_is_called_from_the_port_that_it_names() {
    let probe = Stage::new();
    let trunk = probe.server("trunk", Transport::Udp, false);
    let stage = Stage::with(|config| {
        let index = u16::try_from(config.listeners.len()).unwrap();
        let at = (Ipv4Addr::LOCALHOST, 0).into();
        config
            .listeners
            .push(Listener::new(ids::Transport::Udp, at));
        let upstream = Upstream {
            targets: vec![format!("sip:{}", trunk.local()).as_str().into()],
            listener: Some(ListenerId(index)),
            probe: None,
            ..Upstream::default()
        };
        config.engine.upstreams.insert("trunk".into(), upstream);
        config.engine.routes.push(Route {
            pattern: "sip:4*@*".into(),
            to: "trunk".into(),
            fork: RouteFork::default(),
            emergency: None,
        });
    });
    let outer = stage.last_sip();
    assert_ne!(outer, stage.sip(Transport::Udp, false));
    let alice = stage.phone("alice");
    answers(&trunk);
    let call = alice.call("sip:401@example.org", Medium::Audio).unwrap();
    let taken = trunk.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    taken.wait_up(SOON).unwrap();
    talk(&call, &taken);
    hang_up(&call, &taken);
    let entries = probe.log.of("trunk");
    let invite = entries.iter().find_map(|entry| entry.received()).unwrap();
    for name in [Name::Via, Name::Contact] {
        let said = invite.header(name).unwrap();
        assert!(said.contains(&outer.to_string()), "{said}, not {outer}");
    }
    stage.finish_refused(probe.refusals());
}
