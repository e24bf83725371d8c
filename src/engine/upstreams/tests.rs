use super::*;
use crate::engine::location::testing::Book;
use crate::engine::routing::route;
use crate::engine::settings::{PathMode, Route, RouteFork, Upstream, UpstreamTarget};

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
        sources: Vec::new(),
        probe,
        ..Upstream::default()
    };
    Settings {
        upstreams: [("pbx".into(), upstream)].into(),
        routes: vec![Route {
            pattern: "sip:4*@*".into(),
            to: "pbx".into(),
            fork: RouteFork::default(),
            emergency: None,
        }],
        ..Settings::default()
    }
}

/// Returns the hosts in the order in which they are asked.
fn order(upstreams: &Upstreams, settings: &Settings, key: u64, now: Time) -> String {
    let there = route("sip:401@example.org", &[], now, settings, &Book::default()).unwrap();
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
    let seen = |sign, at| Observation {
        hop: a.clone(),
        sign,
        at: Time(at),
    };
    let mut see = |sign| {
        let news = upstreams.observe(&seen(sign, 5), Time(5));
        let news = news.map(|(_, health)| health);
        (news, order(&upstreams, &settings, 0, Time(100_000)))
    };
    assert_eq!(see(Sign::ProbeAnswered), (None, "a b".into()));
    assert_eq!(see(Sign::CallFailed), (Some(Health::Suspect), "b a".into()));
    assert_eq!(see(Sign::CallFailed), (None, "b a".into()));
    assert_eq!(see(Sign::ProbeFailed), (Some(Health::Ejected), "b".into()));
    assert_eq!(see(Sign::ProbeFailed), (None, "b".into()));
    let returning = (Some(Health::Returning), "b".into());
    assert_eq!(see(Sign::ProbeAnswered), returning);
    // A call that was under way when it was put out.
    assert_eq!(see(Sign::CallFailed), (None, "b".into()));
    assert_eq!(see(Sign::ProbeAnswered), (Some(Health::Up), "a b".into()));
    assert_eq!(upstreams.hurried(), BTreeSet::from([a.clone()]));
    assert!(upstreams.hurried().is_empty());
}

#[test]
fn what_was_sent_before_the_last_sign_of_life_says_nothing_by_its_failure() {
    let settings = settings(&[("sip:a", 1, 1)], Some(Millis::from_secs(10)));
    let mut upstreams = Upstreams::new(&settings, Time(0));
    let seen = |uri, sign, at| Observation {
        hop: hop(uri),
        sign,
        at: Time(at),
    };
    let mut see = |sign, at| {
        let news = upstreams.observe(&seen("sip:a", sign, at), Time(40_000));
        news.map(|(_, health)| health)
    };
    assert_eq!(see(Sign::CallAnswered, 30_000), None);
    // An answer that came earlier, and was told later, changes nothing of that.
    assert_eq!(see(Sign::CallAnswered, 20_000), None);
    assert_eq!(see(Sign::CallFailed, 29_999), None);
    assert_eq!(see(Sign::ProbeFailed, 29_999), None);
    assert_eq!(see(Sign::CallFailed, 30_000), Some(Health::Suspect));
    assert_eq!(see(Sign::ProbeFailed, 29_999), None);
    assert_eq!(see(Sign::ProbeFailed, 31_000), Some(Health::Ejected));
    // What says nothing new is not told to other shards, nor what is of no upstream.
    let minds = |sign, at| upstreams.minds(&seen("sip:a", sign, at));
    assert!(!minds(Sign::CallFailed, 29_999) && minds(Sign::CallFailed, 30_000));
    assert!(minds(Sign::CallAnswered, 30_001));
    assert!(!upstreams.minds(&seen("sip:elsewhere", Sign::CallFailed, 40_000)));
}

#[test]
fn that_a_target_answers_calls_is_told_once_a_second() {
    let settings = settings(&[("sip:a", 1, 1)], Some(Millis::from_secs(10)));
    let mut upstreams = Upstreams::new(&settings, Time(0));
    let mut told = 0;
    for at in (0..10_000).step_by(100) {
        let seen = Observation {
            hop: hop("sip:a"),
            sign: Sign::CallAnswered,
            at: Time(at),
        };
        if upstreams.minds(&seen) {
            upstreams.observe(&seen, Time(at));
            told += 1;
        }
    }
    assert_eq!(told, 9);
}

#[test]
fn without_probes_all_are_asked_and_who_failed_has_its_turn_after_a_rest() {
    let settings = settings(&[("sip:a", 1, 1), ("sip:b", 2, 1)], None);
    let mut upstreams = Upstreams::new(&settings, Time(0));
    let see = |upstreams: &mut Upstreams, sign, at| {
        let (hop, at) = (hop("sip:a"), Time(at));
        upstreams.observe(&Observation { hop, sign, at }, at);
        upstreams.view()[0].state
    };
    for _ in 0..3 {
        // "Ejected" would be that it is not asked.
        let state = see(&mut upstreams, Sign::CallFailed, 1_000);
        assert_eq!(state, Health::Suspect);
    }
    assert_eq!(order(&upstreams, &settings, 0, Time(30_999)), "b a");
    assert_eq!(order(&upstreams, &settings, 0, Time(31_000)), "a b");
    // It fails again: another rest.
    see(&mut upstreams, Sign::CallFailed, 31_000);
    assert_eq!(order(&upstreams, &settings, 0, Time(60_999)), "b a");
    assert_eq!(upstreams.view()[0].since, Time(1_000));
    let state = see(&mut upstreams, Sign::CallAnswered, 40_000);
    assert_eq!(state, Health::Up);
    assert_eq!(order(&upstreams, &settings, 0, Time(40_000)), "a b");
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
