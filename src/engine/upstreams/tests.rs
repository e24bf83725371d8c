use super::*;
use crate::engine::routing::route;
use crate::engine::settings::{PathMode, Route, Upstream, UpstreamTarget};

struct Nowhere;

impl crate::engine::ports::World for Nowhere {
    fn advertised(&self, flow: &crate::engine::ids::Flow) -> std::net::SocketAddr {
        flow.peer
    }

    fn flow_to(
        &self,
        _: crate::engine::ids::Transport,
        _: std::net::SocketAddr,
        _: &str,
    ) -> Option<crate::engine::ids::Flow> {
        None
    }

    fn open_to(
        &self,
        _: crate::engine::ids::Transport,
        _: std::net::SocketAddr,
    ) -> Option<crate::engine::ids::Flow> {
        None
    }

    fn bindings(&self, _: &crate::engine::ids::Aor) -> Vec<crate::engine::endpoint::Binding> {
        Vec::new()
    }

    fn change_bindings(
        &mut self,
        _: &crate::engine::ids::Aor,
        _: &mut dyn FnMut(&mut Vec<crate::engine::endpoint::Binding>),
    ) {
    }

    fn expired(&mut self, _: Time) -> Vec<crate::engine::ids::Aor> {
        Vec::new()
    }
}

fn settings(targets: &[(&str, u16, u16)], probe: Option<Millis>) -> Settings {
    let targets = targets
        .iter()
        .map(|(uri, priority, weight)| UpstreamTarget {
            uri: (*uri).into(),
            priority: *priority,
            weight: *weight,
        });
    let upstream = Upstream {
        targets: targets.collect(),
        trusted: false,
        path: PathMode::Path,
        probe,
        account: None,
    };
    Settings {
        upstreams: [("pbx".into(), upstream)].into(),
        routes: vec![Route {
            pattern: "sip:4*@*".into(),
            to: "pbx".into(),
        }],
        ..Settings::default()
    }
}

/// Returns the hosts in the order in which they are asked.
fn order(upstreams: &Upstreams, settings: &Settings, key: u64, now: Time) -> String {
    let there = route("sip:401@example.org", now, settings, &Nowhere).unwrap();
    let chosen = upstreams.choose(
        "pbx",
        there.targets,
        |target| hop_of(place_of(&target.endpoint)),
        key,
        now,
    );
    let hosts = chosen.iter().map(|target| {
        let uri = Uri::parse(place_of(&target.endpoint)).unwrap();
        uri.host.to_owned()
    });
    hosts.collect::<Vec<_>>().join(" ")
}

fn hop(uri: &str) -> Hop {
    hop_of(uri).unwrap()
}

#[test]
fn by_priority_then_by_weight() {
    let settings = settings(
        &[("sip:c", 2, 1), ("sip:a", 1, 30), ("sip:b", 1, 10)],
        Some(Millis::from_secs(10)),
    );
    let upstreams = Upstreams::new(&settings, Time(0));
    let mut first_a = 0;
    for key in 0..4000 {
        let order = order(&upstreams, &settings, key, Time(0));
        assert!(["a b c", "b a c"].contains(&&*order), "{order}");
        assert_eq!(order, self::order(&upstreams, &settings, key, Time(0)));
        first_a += usize::from(order.starts_with('a'));
    }
    assert!((2850..3150).contains(&first_a), "{first_a} of 4000");
}

#[test]
fn who_fails_is_asked_last_then_not_at_all_until_two_answers() {
    let settings = settings(
        &[("sip:a", 1, 1), ("sip:b", 2, 1)],
        Some(Millis::from_secs(10)),
    );
    let mut upstreams = Upstreams::new(&settings, Time(0));
    let a = hop("sip:a");
    let mut see = |sign| {
        let news = upstreams.observe(&a, sign, Time(5));
        let news = news.map(|(_, health)| health);
        (news, order(&upstreams, &settings, 0, Time(100_000)))
    };
    assert_eq!(see(Sign::ProbeAnswered), (None, "a b".into()));
    assert_eq!(see(Sign::CallFailed), (Some(Health::Suspect), "b a".into()));
    assert_eq!(see(Sign::ProbeFailed), (Some(Health::Ejected), "b".into()));
    assert_eq!(see(Sign::ProbeFailed), (None, "b".into()));
    let returning = (Some(Health::Returning), "b".into());
    assert_eq!(see(Sign::ProbeAnswered), returning);
    assert_eq!(see(Sign::ProbeAnswered), (Some(Health::Up), "a b".into()));
    assert_eq!(upstreams.hurried(), BTreeSet::from([a.clone()]));
    assert!(upstreams.hurried().is_empty());
    assert!(!upstreams.minds(&a, Sign::CallAnswered));
    assert!(upstreams.minds(&a, Sign::CallFailed));
    assert!(!upstreams.minds(&hop("sip:elsewhere"), Sign::CallFailed));
}

#[test]
fn without_probes_all_are_asked_and_who_failed_has_its_turn_after_a_rest() {
    let settings = settings(&[("sip:a", 1, 1), ("sip:b", 2, 1)], None);
    let mut upstreams = Upstreams::new(&settings, Time(0));
    let a = hop("sip:a");
    for _ in 0..2 {
        upstreams.observe(&a, Sign::CallFailed, Time(1_000));
    }
    assert_eq!(order(&upstreams, &settings, 0, Time(30_999)), "b a");
    assert_eq!(order(&upstreams, &settings, 0, Time(31_000)), "a b");
    // It fails again: another rest.
    upstreams.observe(&a, Sign::CallFailed, Time(31_000));
    assert_eq!(order(&upstreams, &settings, 0, Time(60_999)), "b a");
    upstreams.observe(&a, Sign::CallAnswered, Time(61_000));
    assert_eq!(order(&upstreams, &settings, 0, Time(61_000)), "b a");
    upstreams.observe(&a, Sign::CallAnswered, Time(61_000));
    assert_eq!(order(&upstreams, &settings, 0, Time(61_000)), "a b");
    assert!(upstreams.probed().is_empty());
}

#[test]
fn a_place_in_two_groups_is_watched_once() {
    let mut both = settings(&[("sip:a", 1, 1)], Some(Millis(9_000)));
    let mut other = both.upstreams["pbx"].clone();
    other.probe = Some(Millis(4_000));
    both.upstreams.insert("other".into(), other);
    let upstreams = Upstreams::new(&both, Time(0));
    assert_eq!(
        upstreams.probed(),
        [(hop("sip:a"), "sip:a".into(), Millis(4_000))]
    );
    assert_eq!(upstreams.view().len(), 2);
}
