//! Files with a fault: the key, the line and column, what is said of it.

use super::{ConfigErrors, parse};

fn refused(text: &str) -> ConfigErrors {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors,
    }
}

/// Text, key, line and column, a part of what is wrong, a part of the mend.
type Case = (
    &'static str,
    &'static str,
    (usize, usize),
    &'static str,
    &'static str,
);

const CASES: &[Case] = &[
    ("node: [\n", "", (1, 7), "not valid YAML", ""),
    ("a: b: c\n", "", (1, 5), "not valid YAML", ""),
    (
        "admin: { token: ${TOKEN} }\n",
        "",
        (1, 18),
        "not valid YAML",
        "quotes",
    ),
    (
        "node: {}\n---\nnode: {}\n",
        "",
        (2, 1),
        "second document",
        "",
    ),
    ("? [a]\n: b\n", "", (1, 3), "a key must be a word", ""),
    ("node: !!map {}\n", "", (1, 13), "tags", ""),
    (
        "- node\n",
        "",
        (1, 1),
        "a list stands where a map belongs",
        "",
    ),
    (
        "node: refork\n",
        "node",
        (1, 7),
        "a single value stands where a map belongs",
        "",
    ),
    (
        "nod: {}\n",
        "nod",
        (1, 1),
        "no such key",
        "did you mean `node`?",
    ),
    (
        "fork: {}\nfork: {}\n",
        "fork",
        (2, 1),
        "given twice, first on line 1",
        "keep one",
    ),
    (
        "detect:\n  garce: 5s\n",
        "detect.garce",
        (2, 3),
        "no such key",
        "did you mean `grace`?",
    ),
    (
        "media: { reserve: { restorations: 0.3, users: 0.2 } }\n",
        "media.reserve.users",
        (1, 47),
        "0.2 is less than `media.reserve.restorations` (0.3)",
        "strangers leave",
    ),
    (
        "media: { reserve: { users: 1.5 } }\n",
        "media.reserve.users",
        (1, 28),
        "1.5",
        "",
    ),
    (
        "dns: { servers: [\"ns.example.net\"] }\n",
        "dns.servers[0]",
        (1, 18),
        "`ns.example.net` is no IP address",
        "192.0.2.53",
    ),
    (
        "dns: { servers: [0.0.0.0] }\n",
        "dns.servers[0]",
        (1, 18),
        "no address of a server",
        "192.0.2.53",
    ),
    (
        "upstreams: { a: { targets: [{ uri: \"tel:1\" }] } }\n",
        "upstreams.a.targets[0].uri",
        (1, 36),
        "no SIP URI",
        "sip:host",
    ),
    (
        "upstreams: { a: { targets: [{ uri: \"sip:a\", weight: 0 }] } }\n",
        "upstreams.a.targets[0].weight",
        (1, 53),
        "too small",
        "",
    ),
    (
        "dns: { attempts: 0 }\n",
        "dns.attempts",
        (1, 18),
        "too small",
        "",
    ),
    (
        "fork: { failover: 1ms }\n",
        "fork.failover",
        (1, 19),
        "too small",
        "",
    ),
    (
        "fork: { zzz: 1 }\n",
        "fork.zzz",
        (1, 9),
        "no such key",
        "order, ring_timeout, early_dialogs, failover, reliable_provisionals, redirects, pickup",
    ),
    (
        "node: { name: a b }\n",
        "node.name",
        (1, 15),
        "no name for a node",
        "letters",
    ),
    (
        "node: { workers: 0 }\n",
        "node.workers",
        (1, 18),
        "out of range",
        "1 to 64",
    ),
    (
        "node: { workers: many }\n",
        "node.workers",
        (1, 18),
        "`many`",
        "auto",
    ),
    ("listen: []\n", "listen", (1, 9), "no listener", ""),
    (
        "listen: [{ at: \"tcp://127.0.0.1:5060\", proxies: [10.0.0.1] }]\n",
        "listen[0].proxies",
        (1, 49),
        "by the PROXY protocol alone",
        "proxy_protocol: true",
    ),
    (
        "listen: [{ at: \"ws://127.0.0.1:5066\", proxies: [127.0.0.1] }]\n\
         domains: { a.example: { registrar: { auth: none } } }\n",
        "domains.a.example.registrar.auth",
        (2, 44),
        "ws://127.0.0.1:5066 is behind a proxy",
        "use `users`",
    ),
    (
        "listen: [{ at: \"udp://127.0.0.1:5060\", proxies: [10.0.0.1], proxy_protocol: true }]\n",
        "listen[0].proxies",
        (1, 49),
        "datagrams have no proxies",
        "tcp",
    ),
    (
        "listen: [{ at: \"tcp://127.0.0.1:5060\", proxy_protocol: true }]\n",
        "listen[0].proxy_protocol",
        (1, 56),
        "nobody's word is taken",
        "proxies",
    ),
    (
        "listen: [{ at: \"tcp://127.0.0.1:5060\", proxies_end_tls: true }]\n",
        "listen[0].proxies_end_tls",
        (1, 57),
        "nobody's word is taken",
        "proxies",
    ),
    (
        "listen: [{ at: \"tcp://127.0.0.1:5060\", proxies: [127.0.0.1], proxy_protocol: true, proxies_end_tls: true }]\n",
        "listen[0].proxies_end_tls",
        (1, 101),
        "told of TLS at the listener itself",
        "advertise",
    ),
    (
        "listen: [{ at: \"ws://127.0.0.1:5066\", proxies: [10.0.0.1], proxies_end_tls: true }]\n",
        "listen[0].proxies_end_tls",
        (1, 77),
        "only where TCP comes of it",
        "leave it out",
    ),
    (
        "listen: [{ at: \"ws://127.0.0.1:5066\", proxies: [host] }]\n",
        "listen[0].proxies[0]",
        (1, 49),
        "no network",
        "10.0.0.0/8",
    ),
    (
        "listen: [{ at: \"ws://127.0.0.1:5066\", proxies: [10.0.0.1], proxy_protocol: true, forwarded_by: forwarded }]\n",
        "listen[0].forwarded_by",
        (1, 96),
        "by the PROXY protocol",
        "keep one",
    ),
    (
        "listen: [{ at: \"ws://127.0.0.1:5066\", origins: [\"https://a.example/x\"] }]\n",
        "listen[0].origins[0]",
        (1, 49),
        "no origin",
        "https://phone.example.org",
    ),
    (
        "listen: [{ at: \"tcp://127.0.0.1:5060\", origins: [\"https://a.example\"] }]\n",
        "listen[0].origins",
        (1, 49),
        "only browsers",
        "ws",
    ),
    (
        "listen: [127.0.0.1:5060]\n",
        "listen[0]",
        (1, 10),
        "names no transport",
        "udp://192.0.2.1:5060",
    ),
    (
        "listen: [\"sctp://127.0.0.1:5060\"]\n",
        "listen[0]",
        (1, 10),
        "`sctp` is no transport",
        "",
    ),
    (
        "listen: [\"udp://localhost:5060\"]\n",
        "listen[0]",
        (1, 10),
        "no IP address",
        "",
    ),
    (
        "listen: [\"tls://127.0.0.1:5061\"]\n",
        "listen[0]",
        (1, 10),
        "needs `tls.certificate`",
        "openssl req",
    ),
    (
        "listen: [\"wss://127.0.0.1\"]\ntls: { certificate: cert.pem }\n",
        "listen[0]",
        (1, 10),
        "needs `tls.key`",
        "openssl req",
    ),
    (
        "listen: [\"tls://127.0.0.1\"]\ntls: { certificate: a.pem, key: b.pem }\n",
        "tls.certificate",
        (2, 21),
        "cannot be read",
        "relative to",
    ),
    (
        "tls: { client_auth: maybe }\n",
        "tls.client_auth",
        (1, 21),
        "maybe",
        "required",
    ),
    (
        "listen:\n  - udp://127.0.0.1:5060\n  - udp://127.0.0.1:5060\n",
        "listen[1]",
        (3, 5),
        "listed twice",
        "",
    ),
    (
        "listen: [{ at: \"udp://127.0.0.1\", dscp: 64 }]\n",
        "listen[0].dscp",
        (1, 41),
        "no code point",
        "cs0",
    ),
    (
        "listen: [{ dscp: cs3 }]\n",
        "listen[0]",
        (1, 10),
        "`at` is missing",
        "",
    ),
    (
        "advertise: sip.example.org\n",
        "advertise",
        (1, 12),
        "no IP address",
        "auto",
    ),
    (
        "advertise: { \"udp://127.0.0.1:5070\": 192.0.2.1 }\n",
        "advertise.udp://127.0.0.1:5070",
        (1, 14),
        "no such listener",
        "",
    ),
    (
        "domains: { \"a b\": }\n",
        "domains.a b",
        (1, 12),
        "is no domain",
        "host name",
    ),
    (
        "domains:\n  \"*\":\n  example.org:\n",
        "domains.example.org",
        (3, 3),
        "never reached",
        "first match",
    ),
    (
        "domains: { a.org: { realm: 'x\"y' } }\n",
        "domains.a.org.realm",
        (1, 28),
        "is no realm",
        "quotes",
    ),
    (
        "domains: { a.org: { registrar: { auth: none } } }\n",
        "domains.a.org.registrar.auth",
        (1, 40),
        "not on loopback",
        "`users`",
    ),
    (
        "domains: { a.org: { registrar: { auth: nobody } } }\n",
        "domains.a.org.registrar.auth",
        (1, 40),
        "not permitted",
        "users, none",
    ),
    (
        "domains: { a.org: { registrar: { min_expires: 2h } } }\n",
        "domains.a.org.registrar.min_expires",
        (1, 47),
        "longer than max_expires",
        "",
    ),
    (
        "domains: { a.org: { upstream: pbx } }\n",
        "domains.a.org.upstream",
        (1, 31),
        "no upstream `pbx`",
        "",
    ),
    (
        "users: { alice: { password: swordfish } }\n",
        "users.alice",
        (1, 10),
        "no address of record",
        "sip:user@host",
    ),
    (
        "users: { \"sip:a@b:5060\": { password: swordfish } }\n",
        "users.sip:a@b:5060",
        (1, 10),
        "no address of record",
        "",
    ),
    (
        "domains: { a.org: }\nusers: { sip:x@b.org: { password: swordfish } }\n",
        "users.sip:x@b.org",
        (2, 10),
        "no domain serves `b.org`",
        "a.org",
    ),
    (
        "users: { sip:a@refork: {} }\n",
        "users.sip:a@refork",
        (1, 10),
        "no secret",
        "`password`",
    ),
    (
        "users: { sip:a@refork: { password: longer than 8, numbers: [\"+1a\"] } }\n",
        "users.sip:a@refork.numbers[0]",
        (1, 61),
        "no telephone number",
        "as it is dialled",
    ),
    (
        "users: { sip:a@refork: { password: longer than 8, numbers: [\"+1\", \"+1-\"] } }\n",
        "users.sip:a@refork.numbers[1]",
        (1, 67),
        "one of `sip:a@refork` already",
        "one user's",
    ),
    (
        "users: { sip:a@refork: { ha1_md5: abc } }\n",
        "users.sip:a@refork.ha1_md5",
        (1, 35),
        "no such hash",
        "32 hex",
    ),
    (
        "users: { sip:a@refork: { ha1_sha256: 0123456789abcdef0123456789abcdef } }\n",
        "users.sip:a@refork.ha1_sha256",
        (1, 38),
        "no such hash",
        "64 hex",
    ),
    (
        "users: { sip:a@refork: { password: \"${UNSET}\" } }\n",
        "users.sip:a@refork.password",
        (1, 36),
        "`UNSET` is not set",
        "${UNSET:-default}",
    ),
    (
        "users_file: none.yaml\n",
        "users_file",
        (1, 13),
        "cannot read none.yaml",
        "relative",
    ),
    (
        "endpoints: [{ aor: \"sip:a@refork\" }]\n",
        "endpoints[0]",
        (1, 13),
        "neither",
        "`contact`",
    ),
    (
        "endpoints: [{ aor: \"sip:a@refork\", contact: \"http://a\" }]\n",
        "endpoints[0].contact",
        (1, 45),
        "no SIP URI",
        "sip:host",
    ),
    (
        "endpoints: [{ aor: \"sip:a@refork\", contact: \"sips:a@b\" }]\n",
        "endpoints[0].contact",
        (1, 45),
        "no listener to speak it from",
        "tls://",
    ),
    (
        "endpoints: [{ instance: mobile, name: M }]\n",
        "endpoints[0].instance",
        (1, 25),
        "no instance",
        "urn:uuid",
    ),
    (
        "upstreams: { pbx: {} }\n",
        "upstreams.pbx",
        (1, 19),
        "`targets` is missing",
        "",
    ),
    (
        "upstreams: { pbx: { targets: [] } }\n",
        "upstreams.pbx.targets",
        (1, 30),
        "no target",
        "",
    ),
    (
        "upstreams: { pbx: { targets: [\"sip:a\"] } }\nroutes: [{ match: \"urn:uuid:*\", to: pbx }]\n",
        "routes[0].match",
        (2, 19),
        "can match nothing",
        "urn:service:sos",
    ),
    (
        "upstreams: { pbx: { targets: [\"sip:a\"] } }\nroutes:\n  - { match: \"sip:1*@*\", to: pbx, emergency: anyone }\n",
        "routes[0].emergency",
        (3, 46),
        "anybody could call",
        "sip:112@*",
    ),
    (
        "upstreams: { pbx: { targets: [\"sip:a\"] } }\nroutes: [{ match: \"sip:*\", to: pbz }]\n",
        "routes[0].to",
        (2, 32),
        "no upstream `pbz`",
        "did you mean `pbx`?",
    ),
    (
        "upstreams: { pbx: { targets: [\"sip:a\"] } }\nroutes:\n  - match: \"sip:*\"\n    to: pbx\n    fork: { redirects: folow }\n",
        "routes[0].fork.redirects",
        (5, 24),
        "`folow` is not permitted",
        "did you mean `follow`?",
    ),
    (
        "upstreams: { pbx: { targets: [\"sip:a\"] } }\nroutes:\n  - { match: \"sip:*\", to: pbx, fork: { ring_timeout: 1h } }\n",
        "routes[0].fork.ring_timeout",
        (3, 54),
        "too large",
        "to 10m",
    ),
    (
        "upstreams: { pbx: { targets: [\"sip:a\"] } }\nroutes:\n  - { match: \"sip:*\", to: pbx, fork: { order: q } }\n",
        "routes[0].fork.order",
        (3, 40),
        "no such key",
        "ring_timeout, redirects",
    ),
    (
        "fork: { order: parallell }\n",
        "fork.order",
        (1, 16),
        "`parallell` is not permitted",
        "did you mean `parallel`?",
    ),
    (
        "fork: { ring_timeout: 60 }\n",
        "fork.ring_timeout",
        (1, 23),
        "no duration",
        "500ms, 10s",
    ),
    (
        "fork: { ring_timeout: 1h }\n",
        "fork.ring_timeout",
        (1, 23),
        "too large",
        "to 10m",
    ),
    (
        "fork: { ring_timeout: [1s] }\n",
        "fork.ring_timeout",
        (1, 23),
        "a list stands where",
        "",
    ),
    (
        "fork: { ring_timeout: }\n",
        "fork.ring_timeout",
        (1, 21),
        "nothing stands where",
        "",
    ),
    (
        "detect: { transport: yes }\n",
        "detect.transport",
        (1, 22),
        "neither true nor false",
        "",
    ),
    (
        "detect: { probe: on }\n",
        "detect.probe",
        (1, 18),
        "neither off nor a map",
        "",
    ),
    (
        "detect: { probe: { tries: 2.5 } }\n",
        "detect.probe.tries",
        (1, 27),
        "no whole number",
        "1 to 20",
    ),
    (
        "detect: { failure_bye: [200] }\n",
        "detect.failure_bye[0]",
        (1, 25),
        "no cause",
        "q850:27",
    ),
    (
        "detect: { session_timer: { expires: 2m, min: 3m } }\n",
        "detect.session_timer.expires",
        (1, 37),
        "expires (2m) is shorter than min (3m)",
        "at least",
    ),
    (
        "restore:\n  retry: { max: 8x }\n",
        "restore.retry.max",
        (2, 17),
        "`8x` is no duration",
        "500ms",
    ),
    (
        "restore: { retry: { factor: 0.5 } }\n",
        "restore.retry.factor",
        (1, 29),
        "too small",
        "from 1 to 10",
    ),
    (
        "restore: { retry: { first: 10s } }\n",
        "restore.retry",
        (1, 19),
        "shorter than first",
        "",
    ),
    (
        "restore: { timeout: { audoi: 1s } }\n",
        "restore.timeout.audoi",
        (1, 23),
        "no such key",
        "`audio`",
    ),
    (
        "restore: { rate: 100 }\n",
        "restore.rate",
        (1, 18),
        "no rate",
        "2500/s",
    ),
    (
        "restore: { filler: music }\n",
        "restore.filler",
        (1, 20),
        "no filler",
        ".wav",
    ),
    (
        "restore: { filler: none.wav }\n",
        "restore.filler",
        (1, 20),
        "`none.wav`: No such file",
        "16-bit PCM",
    ),
    (
        "notice: { continued: \"{who} moved\" }\n",
        "notice.continued",
        (1, 22),
        "`{who}` is no placeholder",
        "{participant}",
    ),
    (
        "notice: { failed: \"{participant} left {endpoint}\" }\n",
        "notice.failed",
        (1, 19),
        "`{endpoint}` is not known",
        "{participant} and {undelivered}",
    ),
    (
        "notice: { anonymous: \"{participant}\" }\n",
        "notice.anonymous",
        (1, 22),
        "`{participant}` is not known",
        "nothing is filled in here",
    ),
    (
        "notice: { exempt: [\"\"] }\n",
        "notice.exempt[0]",
        (1, 20),
        "empty or too long",
        "",
    ),
    (
        "notice: { continued: { en: x, de: \"{undelivered} warten\" } }\n",
        "notice.continued.de",
        (1, 35),
        "`{undelivered}` is not known",
        "{participant} and {endpoint}",
    ),
    (
        "notice: { failed: { de: weg } }\n",
        "notice.failed",
        (1, 19),
        "no text in `en`",
        "",
    ),
    (
        "notice: { language: english!, continued: x }\n",
        "notice.language",
        (1, 21),
        "no language",
        "RFC 5646",
    ),
    (
        "messages: { queue: { total_bytes: 4KB } }\n",
        "messages.queue.total_bytes",
        (1, 35),
        "no size",
        "64KiB",
    ),
    (
        "media: { mode: rtpengine }\n",
        "media.mode",
        (1, 16),
        "has not got rtpengine",
        "relay",
    ),
    (
        "media: { ports: 10001-20000 }\n",
        "media.ports",
        (1, 17),
        "10001 is odd",
        "pairs",
    ),
    (
        "media: { ports: 10000-20000 }\n",
        "media.ports",
        (1, 17),
        "20000 is even",
        "pairs",
    ),
    (
        "media: { ports: 20000-10001 }\n",
        "media.ports",
        (1, 17),
        "above",
        "",
    ),
    (
        "media: { address: 0.0.0.0 }\n",
        "media.address",
        (1, 19),
        "could reach",
        "",
    ),
    (
        "store: { redis: \"redis://127.0.0.1\" }\n",
        "store",
        (1, 8),
        "has not got Redis",
        "embedded",
    ),
    (
        "store: sqlite\n",
        "store",
        (1, 8),
        "not permitted",
        "embedded, redis",
    ),
    (
        "admin: { listen: 0.0.0.0:8080 }\n",
        "admin.listen",
        (1, 18),
        "there is no token",
        "admin.token",
    ),
    (
        "admin: { token: \"\" }\n",
        "admin.token",
        (1, 17),
        "no token",
        "",
    ),
    (
        "timers: { t2: 100ms }\n",
        "timers.t2",
        (1, 15),
        "shorter than t1",
        "",
    ),
    (
        "acl: { deny: [10.0.0.0/8, example.org] }\n",
        "acl.deny[1]",
        (1, 27),
        "no network",
        "10.0.0.0/8",
    ),
    (
        "acl: { trusted_certificates: [pbx.example.net] }\n",
        "acl.trusted_certificates",
        (1, 30),
        "no client is asked for a certificate",
        "tls.client_ca",
    ),
    (
        "upstreams: { pbx: { targets: [\"sip:192.0.2.1\"], sources: [192.0.2.0/40] } }\n",
        "upstreams.pbx.sources[0]",
        (1, 59),
        "no network",
        "an address",
    ),
    (
        "acl: { trusted: [10.0.0.0/33] }\n",
        "acl.trusted[0]",
        (1, 18),
        "no network",
        "10.0.0.0/8",
    ),
    (
        "limits: { message_size: 64 }\n",
        "limits.message_size",
        (1, 25),
        "no size",
        "KiB",
    ),
    (
        "limits: { connections: -1 }\n",
        "limits.connections",
        (1, 24),
        "no whole number",
        "",
    ),
    (
        "log: { level: inof }\n",
        "log.level",
        (1, 15),
        "no level",
        "debug",
    ),
    (
        "log: { format: xml }\n",
        "log.format",
        (1, 16),
        "not permitted",
        "text, json",
    ),
];

#[test]
fn every_fault_is_told_with_its_place_and_mend() {
    let mut wrong = Vec::new();
    for (text, key, at, what, mend) in CASES {
        let errors = refused(text);
        let [problem] = errors.problems() else {
            wrong.push(format!("not one problem:\n{text}{errors}"));
            continue;
        };
        let fits = problem.key == *key
            && problem.at == Some(*at)
            && problem.what.contains(what)
            && problem.mend.as_deref().unwrap_or("").contains(mend);
        if !fits {
            wrong.push(format!(
                "expected {key} {at:?} {what} {mend}:\n{text}{errors}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let errors = refused(
        "node: { wrokers: 3 }\n\
         listen: [\"udp://127.0.0.1:5060\", \"tls://127.0.0.1:5061\"]\n\
         detect: { grace: soon, probe: { tries: 0 } }\n\
         admin: { listen: 0.0.0.0:80 }\n",
    );
    let keys: Vec<_> = errors.problems().iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "node.wrokers",
            "listen[1]",
            "detect.grace",
            "detect.probe.tries",
            "admin.listen"
        ]
    );
}

#[test]
fn a_fault_is_shown_as_a_compiler_would() {
    let errors = refused("restore:\n  retry: { first: 500ms, max: 8x }\n");
    assert_eq!(
        errors.to_string(),
        "error: `restore.retry.max`: `8x` is no duration\n \
         --> refork.yaml:2:31\n  \
           |\n\
         2 |   retry: { first: 500ms, max: 8x }\n  \
           |                               ^^\n  \
           = help: a number and its unit, 500ms, 10s, 5m, 1h or 7d; from 10ms to 10m\n"
    );
}

#[test]
fn secrets_are_not_shown() {
    for text in [
        "users: { sip:a@refork: { passwrd: swordfish } }\n",
        "users: { sip:a@refork: { password: [swordfish] } }\n",
        "users: { sip:a@refork: swordfish }\n",
        "users: { sip:a@refork: { ha1_md5: swordfish } }\n",
        "admin: { listen: 0.0.0.0:1, tokn: x, token: \"sword fish swordfish\" }\n",
        "store: { redis: \"swordfish\" }\n",
        "upstreams: { a: { targets: 1, credentials: { user: a, password: swordfish } } }\n",
        "users: { sip:a@refork: { password: \"${SECRET}\", x: 1 } }\n",
    ] {
        let shown = refused(text).to_string();
        assert!(!shown.contains("swordfish"), "{shown}");
    }
}

#[test]
fn nothing_makes_it_panic() {
    let bomb = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                before.trim_end_matches(", ")
            ));
        }
        text
    };
    let texts = [
        bomb,
        "[".repeat(100_000),
        "{a: ".repeat(1_000),
        "a: &x [*x]\n".to_owned(),
        "a: *x\n".to_owned(),
        "\u{0}".to_owned(),
        "node: \"\\xff\n".to_owned(),
        "\u{feff}node: {}\nx: 1".to_owned(),
        "é: ü\n\tx".to_owned(),
        "x: 1\n".repeat(300),
    ];
    for text in texts {
        let errors = refused(&text);
        assert!(!errors.problems().is_empty());
        assert!(!errors.to_string().is_empty());
    }
}
