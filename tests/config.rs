//! The configuration as operators meet it: what is wrong is told with its place, examples are valid, the
//! reference is whole.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

#[path = "config/mistakes.rs"]
mod mistakes;
#[path = "config/refused.rs"]
mod refused;
#[path = "config/schema.rs"]
mod schema;
#[path = "config/tls.rs"]
mod tls;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refork::config::{self, Config, ConfigErrors};
use refork::engine::ids::{Aor, Transport};
use refork::engine::settings::{
    Auth, Emergency, FailureCause, Filler, Redirects, RouteFork, ServedBy, Settings,
};
use refork::engine::time::Millis;
use refork::sip::digest::{Algorithm, ha1};

fn top(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(top(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("5099".to_owned()),
        "SECRET" => Some("swordfish".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    config::parse(text, "refork.yaml", &environment)
}

fn valid(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

const EXAMPLES: [&str; 6] = [
    "config/refork.yaml",
    "config/minimal.yaml",
    "config/office.yaml",
    "config/in-front-of-pbx.yaml",
    "config/im-only.yaml",
    "deploy/refork.yaml",
];

#[test]
fn an_empty_file_is_the_defaults() {
    let config = valid("");
    let node = config.engine.node.clone();
    let defaults = Settings {
        node,
        ..Settings::default()
    };
    assert_eq!(config.engine, defaults);
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|l| (l.transport, l.at.to_string()))
        .collect();
    assert_eq!(
        listeners,
        [
            (Transport::Udp, "0.0.0.0:5060".to_owned()),
            (Transport::Tcp, "0.0.0.0:5060".to_owned())
        ]
    );
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.token, None);
    assert_eq!(config.media.ports, 10_000..=32_767);
    assert_eq!(&*config.engine.domains[0].host, "*");
    assert_eq!(&*config.engine.domains[0].realm, "refork");
    assert!(!config.engine.node.is_empty());
    assert!(config.workers >= 1);
    assert_eq!(config.engine.restore.same_first_for.audio, Millis(2_000));
    assert_eq!(config.engine.restore.same_first_for.message, Millis(12_000));
    assert_eq!(config.limits.keepalive, Duration::from_secs(25));
    assert_eq!(config.warnings, Vec::<String>::new());
    let ServedBy::Registrar(registrar) = &config.engine.domains[0].served_by else {
        panic!("the default domain has a registrar");
    };
    assert_eq!(registrar.auth, Auth::Users);
    assert_eq!(registrar.max_bindings, 10);
}

#[test]
fn sections_without_a_line_are_empty() {
    let sections = "node:\nlisten:\n  - udp://127.0.0.1:5060\ndomains:\nusers:\nendpoints:\nupstreams:\nroutes:\ndetect:\n";
    assert_eq!(valid(sections).engine.domains.len(), 1);
}

#[test]
fn values_come_from_the_environment() {
    let config = valid(
        "listen: [\"udp://127.0.0.1:${PORT}\"]\n\
         limits: { connections: \"${CONNECTIONS:-77}\" }\n\
         admin: { token: \"${SECRET}\", listen: 0.0.0.0:8080 }\n\
         node:\n  name: ${NAME:-}\n",
    );
    assert_eq!(config.listeners[0].at.port(), 5099);
    assert_eq!(config.limits.connections, 77);
    assert_eq!(config.admin.token.as_deref(), Some("swordfish"));
}

#[test]
fn every_kind_of_value_reaches_the_program() {
    let config = valid(
        r#"
node: { name: refork-1, workers: 3, data_dir: /tmp/refork }
listen:
  - { at: "udp://127.0.0.1:5060", dscp: cs3, advertise: "203.0.113.5:5070" }
  - tcp://[::1]:5061
advertise: 198.51.100.1
domains:
  Example.ORG: { registrar: { max_expires: 10m, auth: none } }
  pbx.example.net: { upstream: pbx }
users:
  sip:al%69ce@EXAMPLE.org: { password: swordfish }
  sip:bob@example.org: { ha1_md5: "FFD893EDA3D1A5AEBA6E5BD2F7A2C8E7" }
endpoints:
  - { aor: "sip:bob@example.org", contact: "sip:bob@127.0.0.1:5080", name: "Bob's desk phone" }
  - { instance: "urn:uuid:00000000-0000-1000-8000-000A95A0E128", name: "Bob's mobile" }
upstreams:
  pbx: { targets: ["sip:[::1]:5090;transport=tcp", { uri: "sip:b", priority: 7, weight: 3 }], probe: 5s }
  idle: { targets: [{ uri: "sip:c" }], probe: null, restore_after: 0s }
routes: [{ match: "sip:+*@*", to: pbx, fork: { redirects: pass, ring_timeout: 45s } }, { match: "sip:1*@*", to: idle }, { match: "urn:service:sos*", to: pbx }, { match: "sip:112@*", to: pbx, emergency: anyone }]
dns: { servers: [192.0.2.53, "[::1]:5353"], timeout: 1s, attempts: 3 }
fork: { failover: 2s }
detect: { probe: off, media: off, failure_bye: [503, "q850:27"] }
restore: { same_first_for: 1s, timeout: { message: 10m }, filler: off, rate: 10/s }
notice: { language: de, continued: { de: "{participant} ist jetzt an {endpoint}.", en: "{endpoint}" }, anonymous: Niemand, exempt: ["DeskPhone*"] }
log: { level: "info,refork::observe=debug", format: json }
"#,
    );
    assert_eq!(config.workers, 3);
    assert_eq!(config.listeners[0].dscp, 24);
    let told: Vec<_> = config.listeners.iter().map(|l| l.advertise).collect();
    assert_eq!(told, [Some("203.0.113.5:5070".parse().unwrap()), None]);
    assert_eq!(config.media.address, Some("198.51.100.1".parse().unwrap()));
    let servers: Vec<_> = config.dns.servers.iter().map(|at| at.to_string()).collect();
    assert_eq!(servers, ["192.0.2.53:53", "[::1]:5353"]);
    assert_eq!((config.dns.timeout.as_secs(), config.dns.attempts), (1, 3));
    assert_eq!(config.engine.fork.failover, Millis(2_000));
    let engine = &config.engine;
    let pbx = &engine.upstreams["pbx"];
    let numbers = pbx.targets.iter().map(|t| (t.priority, t.weight));
    assert_eq!(numbers.collect::<Vec<_>>(), [(1, 1), (7, 3)]);
    assert_eq!(pbx.probe, Some(Millis(5_000)));
    assert_eq!(engine.upstreams["idle"].probe, None);
    let after = ["pbx", "idle"].map(|name| engine.upstreams[name].restore_after);
    assert_eq!(after, [Millis(15_000), Millis(0)]);
    assert_eq!(&*engine.domains[0].host, "example.org");
    let alice = &engine.users[&Aor::from_canonical("sip:alice@example.org")];
    // printf 'alice:example.org:swordfish' | md5sum
    assert_eq!(
        alice.ha1_md5.as_deref(),
        Some("0f2caac78f2716b1bfddf0a656091718")
    );
    assert_eq!(alice.ha1_sha256.as_ref().map(|h| h.len()), Some(64));
    let bob = &engine.users[&Aor::from_canonical("sip:bob@example.org")];
    assert_eq!(
        bob.ha1_md5.as_deref(),
        Some("ffd893eda3d1a5aeba6e5bd2f7a2c8e7")
    );
    assert_eq!(bob.ha1_sha256, None);
    assert_eq!(&*engine.endpoints[0].contact, "sip:bob@127.0.0.1:5080");
    assert_eq!(
        engine
            .names
            .get("urn:uuid:00000000-0000-1000-8000-000a95a0e128")
            .map(|n| &**n),
        Some("Bob's mobile")
    );
    assert_eq!(engine.routes[0].to, "pbx".into());
    let own = RouteFork {
        ring_timeout: Some(Millis(45_000)),
        redirects: Some(Redirects::Pass),
    };
    let help: Vec<_> = engine.routes.iter().map(|route| route.emergency).collect();
    let (users, anyone) = (Some(Emergency::Users), Some(Emergency::Anyone));
    assert_eq!(help, [None, None, users, anyone]);
    let rules: Vec<_> = engine.routes.iter().map(|route| route.fork).collect();
    assert_eq!(rules[..2], [own, RouteFork::default()]);
    assert_eq!(engine.detect.probe, None);
    assert_eq!(engine.detect.media_silence, None);
    assert_eq!(
        engine.detect.failure_bye,
        [FailureCause::Sip(503), FailureCause::Q850(27)]
    );
    assert_eq!(engine.restore.same_first_for.message, Millis(1_000));
    assert_eq!(engine.restore.timeout.audio, Millis(60_000));
    assert_eq!(engine.restore.timeout.message, Millis(600_000));
    assert_eq!(engine.restore.filler, Filler::Off);
    assert_eq!(engine.restore.rate, 10);
    assert_eq!(engine.notice.continued[""], engine.notice.continued["de"]);
    assert_eq!(&*engine.notice.continued["en"], "{endpoint}");
    assert!(engine.notice.failed.contains_key(""));
    assert_eq!(&*engine.notice.anonymous[""], "Niemand");
    assert_eq!(&*engine.notice.other_phone[""], "another phone");
    assert_eq!(
        &*engine.notice.too_often[""],
        "{participant} was lost too often, and the call is given up. {undelivered} messages were not delivered."
    );
    assert_eq!(
        &*engine.notice.undelivered[""],
        "{undelivered} messages to {participant} were not delivered."
    );
    assert_eq!(&*engine.notice.exempt[0], "deskphone*");
}

#[test]
fn users_of_any_domain_have_its_realm() {
    let config = valid("users: { \"sip:alice@*\": { password: swordfish } }\n");
    let aors: Vec<_> = config.engine.users.keys().map(Aor::as_str).collect();
    assert_eq!(aors, ["sip:alice@refork"]);
    assert_eq!(&*config.engine.domains[0].host, "*");
    // The user of the address is what a phone logs in with.
    for (text, user, realm) in [
        (
            "users: { \"sip:alice@*\": { password: swordfish } }\n",
            "alice",
            "refork",
        ),
        (
            "domains: { \"*\": { realm: home } }\nusers: { \"sips:%61lice@*\": { password: swordfish } }\n",
            "alice",
            "home",
        ),
        (
            "domains: { example.org: {} }\nusers: { \"sip:b%20b@example.org\": { password: swordfish } }\n",
            "b b",
            "example.org",
        ),
        (
            "domains: { example.org: {} }\nusers: { \"sip:+49-30-1@example.org\": { password: swordfish } }\n",
            "+49-30-1",
            "example.org",
        ),
    ] {
        let config = valid(text);
        let made = |algorithm| ha1(algorithm, user, realm, "swordfish").into_boxed_str();
        let credentials = config.engine.users.values().next().unwrap();
        assert_eq!(credentials.ha1_md5, Some(made(Algorithm::Md5)), "{text}");
        assert_eq!(
            credentials.ha1_sha256,
            Some(made(Algorithm::Sha256)),
            "{text}"
        );
    }
}

#[test]
fn call_records_need_a_folder_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refork.yaml");
    for (to, wrong) in [
        ("calls.json", None),
        ("./calls.json", None),
        ("missing/calls.json", Some("there is no folder")),
        (".", Some("is a folder")),
        ("refork.yaml/calls.json", Some("there is no folder")),
    ] {
        fs::write(&file, format!("cdr: {{ file: {to} }}\n")).unwrap();
        match (config::check(&file), wrong) {
            (Ok(config), None) => assert_eq!(config.cdr, Some(folder.path().join(to))),
            (Err(errors), Some(wrong)) => {
                let text = errors.to_string();
                assert!(text.contains("cdr.file") && text.contains(wrong), "{text}");
            }
            (Ok(_), Some(_)) => panic!("{to} is valid"),
            (Err(errors), None) => panic!("{to}: {errors}"),
        }
    }
}

#[test]
fn aliases_repeat_what_they_stand_for() {
    let config = valid("restore: { ring_timeout: &long 45s }\nfork: { ring_timeout: *long }\n");
    assert_eq!(config.engine.fork.ring_timeout, Millis(45_000));
}

#[test]
fn what_has_no_effect_is_warned_of() {
    for (text, key) in [
        ("capture: { hep: \"udp://homer:9060\" }", "`capture.hep`"),
        (
            "messages: { store_and_forward: true }",
            "`messages.store_and_forward: true`",
        ),
        ("messages: { page_idle: 1m }", "`messages.page_idle`"),
        (
            "media: { rtpengine: [\"udp://127.0.0.1:2223\"] }",
            "`media.rtpengine`",
        ),
        ("store: embedded", "`store`"),
        ("history: { max: 2GiB }", "`history.max`"),
        ("tls: { key: key.pem }", "`tls`"),
    ] {
        let warnings = valid(text).warnings;
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert!(
            warnings[0].starts_with(key) || warnings[0].contains("no effect in this version"),
            "{text}: {warnings:?}"
        );
        assert!(
            warnings[0].contains(key.trim_matches('`')),
            "{text}: {warnings:?}"
        );
    }
    for text in [
        "capture: { hep: null }",
        "messages: { store_and_forward: false }",
        "acl: { allow: [], deny: [], trusted: [], trusted_certificates: [] }",
    ] {
        assert_eq!(valid(text).warnings, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn proxies_that_are_trusted_are_warned_of() {
    let of = |proxies: &str, more: &str| {
        let text = format!(
            "listen: [{{ at: \"ws://127.0.0.1:5080\", proxies: [{proxies}] }}, \"udp://127.0.0.1:5060\"]\n{more}"
        );
        valid(&text).warnings
    };
    let pbx = |trusted| {
        format!(
            "upstreams: {{ pbx: {{ targets: [\"sip:127.0.0.1:5070\"], trusted: {trusted} }} }}\nroutes: [{{ match: \"sip:*@*\", to: pbx }}]"
        )
    };
    for (more, by) in [
        ("acl: { trusted: [127.0.0.1] }".to_owned(), "`acl.trusted`"),
        (pbx(true), "`upstreams.pbx.trusted`"),
    ] {
        let warnings = of("127.0.0.0/8", &more);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let said = &warnings[0];
        assert!(
            said.starts_with("`listen[0].proxies`: 127.0.0.0/8") && said.contains(by),
            "{said}"
        );
        assert_eq!(of("10.0.0.1", &more), Vec::<String>::new());
    }
    assert_eq!(of("127.0.0.1", &pbx(false)), Vec::<String>::new());
}

#[test]
fn guessable_passwords_are_warned_of() {
    let text =
        "users: { sip:a@refork: { password: 1234 }, sip:b@refork: { password: \"long enough\" } }";
    assert_eq!(
        valid(text).warnings,
        ["the password of `sip:a@refork` is easily guessed"]
    );
}

#[test]
fn examples_are_valid() {
    for path in EXAMPLES {
        let checked = config::check(&top(path));
        assert!(checked.is_ok(), "{}", checked.unwrap_err());
    }
}

#[test]
fn the_reference_has_the_defaults() {
    let defaults = format!("{:#?}", valid(""));
    let reference = format!("{:#?}", valid(&read("config/refork.yaml")));
    assert_eq!(reference, defaults);
}

#[test]
fn what_the_reference_comments_out_is_valid_too() {
    let directory = tempfile::tempdir().unwrap();
    let whole: String = read("config/refork.yaml")
        .lines()
        .map(|line| {
            let text = line.trim_start();
            match text.strip_prefix('#') {
                Some(key) if !key.is_empty() && !key.starts_with(' ') => {
                    format!("{}{key}\n", &line[..line.len() - text.len()])
                }
                Some(_) | None => format!("{line}\n"),
            }
        })
        .collect();
    assert!(whole.contains("\ncdr:") && whole.contains("\n  example.org:\n    realm:"));
    let path = directory.path().join("refork.yaml");
    // The package's folder, which need not be on this machine.
    fs::write(&path, whole.replace("/var/lib/refork/", "")).unwrap();
    fs::write(
        directory.path().join("users.yaml"),
        "sip:carol@example.org: { password: swordfish }\n",
    )
    .unwrap();
    tls::write_pair(directory.path(), "cert.pem", "key.pem");
    let config = config::check(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.engine.users.len(), 3);
    assert_eq!(config.engine.domains.len(), 2);
    assert_eq!(config.listeners.len(), 8);
}

#[test]
fn the_first_start_makes_users_and_later_ones_keep_them() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("state");
    let path = directory.path().join("refork.yaml");
    fs::write(
        &path,
        format!("node: {{ data_dir: \"{}\" }}\n", data.display()),
    )
    .unwrap();

    assert!(config::check(&path).unwrap().made_users.is_empty());
    assert!(!data.exists(), "a check writes nothing");

    let first = config::load(&path).unwrap();
    let names: Vec<_> = first.made_users.iter().map(|u| u.aor.as_str()).collect();
    assert_eq!(
        names,
        ["sip:alice@refork", "sip:bob@refork", "sip:carol@refork"]
    );
    assert!(first.made_users.iter().all(|u| u.password.len() == 12));
    assert_ne!(first.made_users[0].password, first.made_users[1].password);
    assert_eq!(first.engine.users.len(), 3);
    let kept = data.join("users.yaml");
    assert_eq!(
        fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(&data).unwrap().count(),
        1,
        "no half file is left"
    );

    let second = config::load(&path).unwrap();
    assert_eq!(second.made_users, first.made_users);
    assert_eq!(second.engine.users, first.engine.users);

    fs::write(&kept, "sip:dave@refork: { password: }\n").unwrap();
    let errors = config::load(&path).unwrap_err();
    assert!(
        errors.problems()[0].file.ends_with("users.yaml"),
        "{errors}"
    );
    // A check sees what a start would fail at.
    let checked = config::check(&path).unwrap_err();
    assert_eq!(checked.to_string(), errors.to_string());

    fs::write(&kept, "# nobody\n").unwrap();
    for config in [config::check(&path), config::load(&path)] {
        let warnings = config.unwrap().warnings;
        let told = warnings
            .iter()
            .any(|warning| warning.contains("names no user"));
        assert!(told, "{warnings:?}");
    }

    fs::write(&kept, [0xff, b'\n']).unwrap();
    for errors in [config::check(&path), config::load(&path)] {
        let errors = errors.unwrap_err().to_string();
        assert!(
            errors.contains("cannot read the users of the first start"),
            "{errors}"
        );
        assert!(errors.contains("move it away"), "{errors}");
        assert!(!errors.contains("data_dir`"), "{errors}");
    }
}

#[test]
fn a_share_for_users_is_no_secret() {
    let errors = parse("media: { reserve: { users: 1.5 } }").unwrap_err();
    assert!(errors.to_string().contains("users: 1.5"), "{errors}");
}

#[test]
fn a_survivor_may_hear_a_tone_or_a_file() {
    let heard = |config: Config| match config.engine.restore.filler {
        Filler::Sound(samples) => samples,
        other @ (Filler::Off | Filler::Silence) => panic!("{other:?}"),
    };
    let config = valid("restore: { filler: tone }");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(heard(config).iter().any(|sample| *sample != 0));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refork.yaml");
    fs::write(&path, "restore: { filler: wait.wav }\n").unwrap();
    let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0".to_vec();
    wav.extend(b"\x80\x3e\0\0\x02\0\x10\0data\x04\0\0\0\x01\0\xff\xff");
    fs::write(directory.path().join("wait.wav"), wav).unwrap();
    let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(heard(config)[..], [1, -1]);
}

#[test]
fn users_may_stand_in_a_file_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refork.yaml");
    fs::write(
        &path,
        "users_file: people.yaml\nusers: { sip:a@refork: { password: swordfish } }\n",
    )
    .unwrap();
    let people = directory.path().join("people.yaml");

    let numbered =
        "sip:b@refork: { password: swordfish, numbers: [\"+49-30-1\", \"0301\", \"*1#\"] }\n";
    fs::write(&people, numbered).unwrap();
    let config = config::load(&path).unwrap();
    assert_eq!(config.engine.users.len(), 2);
    let numbers = config.engine.numbers.iter();
    let numbers = numbers.map(|(number, whose)| (&**number, whose.as_str()));
    let of_b = "sip:b@refork";
    assert_eq!(
        numbers.collect::<Vec<_>>(),
        [("*1%23", of_b), ("+49301", of_b), ("0301", of_b)]
    );
    assert!(config.made_users.is_empty());

    fs::write(
        &people,
        "sip:a@refork: { password: another one }\nsip:c@refork: { pass: x }\n",
    )
    .unwrap();
    let errors = config::load(&path).unwrap_err();
    let problem = &errors.problems()[0];
    assert!(problem.file.ends_with("people.yaml"), "{errors}");
    assert_eq!(
        (problem.at, problem.key.as_str()),
        (Some((2, 17)), "sip:c@refork.pass")
    );
}

#[test]
fn a_directory_that_cannot_be_written_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("taken");
    fs::write(&file, "").unwrap();
    let path = directory.path().join("refork.yaml");
    fs::write(
        &path,
        format!("node: {{ data_dir: \"{}\" }}\n", file.display()),
    )
    .unwrap();
    let errors = config::load(&path).unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("cannot keep the users of the first start"),
        "{errors}"
    );
    assert!(errors.to_string().contains("node.data_dir"), "{errors}");
}
