use std::sync::Arc;

use super::*;
use crate::engine::ids::{ConnectionId, Flow, Transport};
use crate::engine::location::testing::{Book, START, aor, default_settings, settings, udp};
use crate::engine::settings::{Domain, PathMode, Route, RouteFork, Upstream};
use crate::engine::time::Millis;

fn fixed(owner: &str, contact: &str) -> StaticEndpoint {
    StaticEndpoint {
        aor: aor(owner),
        contact: contact.into(),
        name: Some("fixed".into()),
    }
}

pub(super) fn binding(
    contact: &str,
    q: u16,
    identity: Option<(&str, u32)>,
    registered: u64,
) -> Binding {
    Binding {
        endpoint: Endpoint {
            identity: Arc::new(match identity {
                Some((instance, _)) => Identity::Instance(instance.into()),
                None => Identity::Contact {
                    user: "".into(),
                    host: contact.into(),
                    user_agent: "".into(),
                    behind: None,
                },
            }),
            contact: contact.into(),
            flow: Some(udp("192.0.2.1:5060")),
            path: vec!["<sip:edge;lr>".into()],
            through: None,
            name: contact.into(),
        },
        reg_id: identity.map(|(_, reg_id)| reg_id),
        q,
        expires: START + Millis(1000),
        call_id: "c".into(),
        cseq: 1,
        user_agent: "".into(),
        params: "".into(),
        allow: "".into(),
        registered: Time(registered),
        token: None,
        gruu: None,
        timed: false,
    }
}

fn expired(contact: &str) -> Binding {
    Binding {
        expires: START,
        ..binding(contact, 1000, None, 0)
    }
}

pub(super) fn book(entries: &[(&str, &[Binding])]) -> Book {
    let entries = entries.iter();
    Book::of(
        entries
            .map(|(owner, all)| (aor(owner), all.to_vec()))
            .collect(),
    )
}

fn contacts(targets: &[Target]) -> Vec<&str> {
    targets
        .iter()
        .map(|target| &*target.endpoint.contact)
        .collect()
}

/// The settings of `location` with an upstream of two targets and routes to it.
fn wired() -> Settings {
    let mut settings = settings();
    let upstream = |targets: &[&str]| Upstream {
        targets: targets.iter().map(|target| (*target).into()).collect(),
        trusted: true,
        path: PathMode::Path,
        sources: Vec::new(),
        probe: None,
        ..Upstream::default()
    };
    let route = |pattern: &str, to: &str| Route {
        pattern: pattern.into(),
        to: to.into(),
        fork: RouteFork::default(),
        emergency: None,
    };
    settings.upstreams = [
        (
            "pbx".into(),
            upstream(&[
                "sip:pbx1.example.net:5070;transport=tcp",
                "sip:[2001:DB8::5]",
            ]),
        ),
        ("trunk".into(), upstream(&["sips:trunk.example"])),
        ("empty".into(), upstream(&["tel:+1"])),
    ]
    .into();
    settings.routes = vec![
        route("sip:+49*@*", "trunk"),
        route("sip:+*@*", "pbx"),
        route("tel:+*", "pbx"),
        route("sip:void@*", "empty"),
        route("sip:gone@*", "nowhere"),
        route("*@Trunk.Example", "trunk"),
    ];
    settings.endpoints = vec![
        fixed("sip:door@example.org", "sip:door@192.0.2.8"),
        fixed("sip:lift@elsewhere.example", "sip:lift@192.0.2.9"),
        fixed("sip:gate@pbx.example.net", "sip:gate@192.0.2.10"),
        fixed("tel:+4911", "sip:guard@192.0.2.11"),
    ];
    settings
}

#[test]
fn where_a_request_goes() {
    let settings = wired();
    let world = book(&[
        (
            "sip:alice@example.org",
            &[binding("sip:alice@h", 500, None, 0)],
        ),
        // Kept here for the upstream, which forks.
        (
            "sip:dave@pbx.example.net",
            &[binding("sip:dave@h", 500, None, 0)],
        ),
        ("sip:bob@example.org", &[expired("sip:bob@h")]),
        ("sip:guest@open.example", &[expired("sip:guest@h")]),
    ]);
    let pbx = |user: &str, more: &str| {
        Ok(vec![
            format!("sip:{user}@pbx1.example.net:5070;transport=tcp{more}"),
            format!("sip:{user}@[2001:DB8::5]{more}"),
        ])
    };
    let one = |contact: &str| Ok(vec![contact.to_owned()]);
    let as_it_is = |uri: &str| Ok(vec![uri.to_owned(); 2]);
    for (uri, expected) in [
        ("sip:alice@example.org", one("sip:alice@h")),
        ("sips:%61lice@EXAMPLE.org:5061;x=y", one("sip:alice@h")),
        // Static endpoints: in a domain of ours, in no domain, in an upstream's, for a number.
        ("sip:door@example.org", one("sip:door@192.0.2.8")),
        ("sip:lift@elsewhere.example", one("sip:lift@192.0.2.9")),
        ("sip:gate@pbx.example.net", one("sip:gate@192.0.2.10")),
        ("tel:+49-11", one("sip:guard@192.0.2.11")),
        // Users that are not there now: of the configuration, and of an old binding.
        ("sip:carol@example.org", Err(480)),
        ("sip:bob@example.org", Err(480)),
        ("sip:guest@open.example", Err(480)),
        ("sip:nobody@example.org", Err(404)),
        ("sip:nobody@open.example", Err(404)),
        // Upstreams: by domain, by number, by the first pattern that matches.
        (
            "sip:dave@pbx.example.net",
            as_it_is("sip:dave@pbx.example.net"),
        ),
        (
            "sips:d%20v@PBX.example.net:5061;x=1",
            as_it_is("sips:d%20v@PBX.example.net:5061;x=1"),
        ),
        ("sip:+1555@example.org", pbx("+1555", "")),
        ("sip:+1555@elsewhere.example", pbx("+1555", "")),
        ("sip:+4930@example.org", one("sips:+4930@trunk.example")),
        ("tel:+1-555", pbx("+1-555", ";user=phone")),
        // A number goes on as it was written, and marked as one.
        (
            "sip:+1-555;npdi@example.org;user=phone",
            pbx("+1-555;npdi", ";user=phone"),
        ),
        ("sip:x@trunk.example", one("sips:x@trunk.example")),
        ("sip:void@example.org", Err(500)),
        ("sip:gone@example.org", Err(500)),
        ("sip:x@elsewhere.example", Err(404)),
        ("tel:112", Err(404)),
        // A Contact of ours is no address of record.
        ("sip:alice@h", Err(404)),
        ("sip:example.org", Err(404)),
        ("mailto:alice@example.org", Err(416)),
        ("nonsense", Err(400)),
    ] {
        let got = route(uri, &[], START, &settings, &world);
        let got = got
            .map(|destination| {
                let targets = contacts(&destination.targets).into_iter();
                targets.map(str::to_owned).collect::<Vec<_>>()
            })
            .map_err(|refusal| refusal.status);
        assert_eq!(got, expected, "{uri}");
    }
}

#[test]
fn an_upstream_is_resolved_and_its_targets_are_alternatives() {
    let settings = wired();
    let world = Book::default();
    let destination = route("sip:dave@pbx.example.net", &[], START, &settings, &world).unwrap();
    assert_eq!(destination.order, ForkOrder::Serial);
    assert_eq!(destination.aor, aor("sip:dave@pbx.example.net"));
    for target in &destination.targets {
        assert_eq!((target.endpoint.flow, target.q), (None::<Flow>, 1000));
    }
    let through = destination.targets.iter();
    let through = through.map(|target| target.endpoint.through.as_deref());
    let there = [
        "sip:pbx1.example.net:5070;transport=tcp",
        "sip:[2001:DB8::5]",
    ];
    assert_eq!(through.collect::<Vec<_>>(), there.map(Some));
    let door = route("sip:door@example.org", &[], START, &settings, &world).unwrap();
    assert_eq!(door.order, settings.fork.order);
    assert_eq!(&*door.targets[0].endpoint.name, "fixed");
    assert_eq!(door.targets[0].endpoint.flow, None);
}

#[test]
fn on_the_defaults_phones_meet_at_any_address_of_ours() {
    let mut settings = default_settings();
    let world = book(&[(
        "sip:alice@refork",
        &[binding("sip:alice@10.0.0.5", 1000, None, 0)],
    )]);
    for uri in [
        "sip:alice@192.0.2.1:5060",
        "sip:alice@server.lan",
        "sip:alice@refork",
    ] {
        let destination = route(uri, &[], START, &settings, &world).unwrap();
        assert_eq!(destination.aor, aor("sip:alice@refork"), "{uri}");
        assert_eq!(contacts(&destination.targets), ["sip:alice@10.0.0.5"]);
    }
    let refused = |uri: &str, world: &Book, settings: &Settings| {
        route(uri, &[], START, settings, world).unwrap_err().status
    };
    assert_eq!(
        refused("sip:alice@192.0.2.1", &Book::default(), &settings),
        480
    );
    assert_eq!(refused("sip:dave@192.0.2.1", &world, &settings), 404);
    // A domain that is named before is itself.
    settings.domains.insert(
        0,
        Domain {
            host: "server.lan".into(),
            realm: "lan".into(),
            served_by: settings.domains[0].served_by.clone(),
        },
    );
    assert_eq!(refused("sip:alice@server.lan", &world, &settings), 404);
}

#[test]
fn what_can_be_invited() {
    let mut settings = settings();
    settings.endpoints = vec![
        fixed("sip:bob@example.org", "sip:b@h1"),
        fixed("sip:bob@example.org", "sip:desk@h9"),
        fixed("sip:other@example.org", "sip:o@h"),
    ];
    let bob = aor("sip:bob@example.org");
    let world = book(&[(
        "sip:bob@example.org",
        &[
            binding("sip:a@h", 200, None, 1),
            expired("sip:old@h"),
            // Already there: not twice.
            binding("sip:b@H1", 1000, None, 1),
            // Two flows of one phone: the latest.
            binding("sip:m1@h", 500, Some(("urn:x:1", 1)), 1),
            binding("sip:m2@h", 500, Some(("urn:x:1", 2)), 3),
            binding("sip:m3@h", 500, Some(("urn:x:1", 3)), 2),
            binding("sip:n@h", 500, Some(("urn:x:2", 1)), 1),
        ],
    )]);
    let targets = endpoints(&bob, START, &settings, &world);
    assert_eq!(
        contacts(&targets),
        ["sip:b@H1", "sip:desk@h9", "sip:m2@h", "sip:n@h", "sip:a@h"]
    );
    assert_eq!(&*targets[2].endpoint.path[0], "<sip:edge;lr>");
    assert!(targets[2].endpoint.flow.is_some());
    let mobile = Identity::Instance("urn:x:1".into());
    let all: Vec<_> = flows(&bob, &mobile, START, &world);
    let all: Vec<&str> = all.iter().map(|endpoint| &*endpoint.contact).collect();
    assert_eq!(all, ["sip:m2@h", "sip:m3@h", "sip:m1@h"]);
    assert_eq!(flows(&bob, &mobile, START + Millis(1000), &world), []);
    // Static endpoints do not expire.
    let later = endpoints(&bob, START + Millis(1000), &settings, &world);
    assert_eq!(contacts(&later), ["sip:b@h1", "sip:desk@h9"]);
}

#[test]
fn of_two_flows_the_one_that_is_open_is_taken() {
    let over = |contact: &str, reg_id, registered, connection| {
        let mut binding = binding(contact, 500, Some(("urn:x:1", reg_id)), registered);
        binding.endpoint.flow = Some(Flow {
            transport: Transport::Tls,
            connection: Some(ConnectionId(connection)),
            ..udp("192.0.2.1:5061")
        });
        binding
    };
    let bob = "sip:bob@example.org";
    // Nothing is open in this world: only what needs no connection is.
    let datagrams = binding("sip:udp@h", 500, Some(("urn:x:1", 2)), 1);
    for bindings in [
        [over("sip:tls@h", 1, 2, 7), datagrams.clone()],
        [datagrams, over("sip:tls@h", 1, 2, 7)],
    ] {
        let world = book(&[(bob, &bindings)]);
        let targets = endpoints(&aor(bob), START, &settings(), &world);
        assert_eq!(contacts(&targets), ["sip:udp@h"]);
    }
    // Where none is, the latest is as good as any.
    let world = book(&[(bob, &[over("sip:a@h", 1, 1, 7), over("sip:b@h", 2, 2, 8)])]);
    let targets = endpoints(&aor(bob), START, &settings(), &world);
    assert_eq!(contacts(&targets), ["sip:b@h"]);
}

#[test]
fn groups_by_order() {
    let world = book(&[(
        "sip:bob@example.org",
        &[
            binding("sip:a@h", 200, None, 1),
            binding("sip:b@h", 1000, None, 1),
            binding("sip:c@h", 200, None, 1),
            binding("sip:d@h", 0, None, 1),
        ],
    )]);
    let targets = endpoints(&aor("sip:bob@example.org"), START, &settings(), &world);
    for (order, expected) in [
        (ForkOrder::Parallel, "b a c d"),
        (ForkOrder::Q, "b|a c|d"),
        (ForkOrder::Serial, "b|a|c|d"),
    ] {
        let groups: Vec<String> = groups(targets.clone(), order)
            .iter()
            .map(|group| {
                let names: Vec<&str> = contacts(group)
                    .iter()
                    .map(|contact| &contact[4..5])
                    .collect();
                names.join(" ")
            })
            .collect();
        assert_eq!(groups.join("|"), expected);
    }
    assert_eq!(
        groups(Vec::new(), ForkOrder::Parallel),
        [] as [Vec<Target>; 0]
    );
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("", "", true),
        ("", "x", false),
        ("sip:+*@*", "sip:+1@h", true),
        ("sip:+*@*", "sip:1@h", false),
        ("sip:+*@*", "sip:+@", true),
        ("sip:*@H", "sip:x@h", true),
        ("*ab", "aab", true),
        ("*ab", "aba", false),
        ("a*b*c", "axxbyybc", true),
        ("a*b*c", "axxbyyb", false),
        ("**a**", "bab", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
    // Many stars and no match: no more than pattern times text.
    assert!(!matches(
        &"a*".repeat(200),
        &format!("{}b", "a".repeat(199))
    ));
    assert!(!matches(&"*a".repeat(2000), &"b".repeat(60_000)));
}

#[test]
fn nothing_goes_back_to_the_upstream_that_it_comes_by() {
    let (settings, world) = (wired(), Book::default());
    let goes = |uri: &str, by: &[&str]| {
        let by: Vec<Box<str>> = by.iter().map(|name| (*name).into()).collect();
        let there = route(uri, &by, START, &settings, &world);
        there
            .map(|there| there.upstream.unwrap())
            .map_err(|refusal| refusal.status)
    };
    // The next route that leads elsewhere, else nobody.
    let number = "sip:+4930@192.0.2.1";
    assert_eq!(goes(number, &[]).as_deref(), Ok("trunk"));
    assert_eq!(goes(number, &["trunk"]).as_deref(), Ok("pbx"));
    assert_eq!(goes(number, &["trunk", "pbx"]), Err(404));
    assert_eq!(
        goes("sip:+1555@example.org", &["trunk"]).as_deref(),
        Ok("pbx")
    );
    assert_eq!(goes("sip:+1555@example.org", &["pbx"]), Err(404));
    // A domain of its own.
    let own = "sip:dave@pbx.example.net";
    assert_eq!(goes(own, &["trunk"]).as_deref(), Ok("pbx"));
    assert_eq!(goes(own, &["pbx"]), Err(482));
}
