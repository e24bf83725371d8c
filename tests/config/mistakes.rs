//! Files that can be read and are not what their operator means: what can't work is refused, what may be meant is
//! warned of, each with its place.

use refork::engine::ids::ListenerId;
use refork::engine::settings::{Presented, ServedBy};

use super::{parse, valid};

/// Returns a file with one upstream, at these listeners.
fn calling(listen: &str, target: &str) -> String {
    format!(
        "listen: [{listen}]\nupstreams:\n  pbx:\n    targets: [\"{target}\"]\n\
         routes: [{{ match: \"sip:*@*\", to: pbx }}]\n"
    )
}

#[track_caller]
fn is_refused(text: &str, key: &str, line: usize, what: &str, mend: &str) {
    let errors = parse(text)
        .err()
        .unwrap_or_else(|| panic!("accepted:\n{text}"));
    let [problem] = errors.problems() else {
        panic!("{errors}");
    };
    assert_eq!(problem.key, key, "{errors}");
    assert_eq!(problem.at.map(|at| at.0), Some(line), "{errors}");
    assert!(problem.what.contains(what), "{errors}");
    let help = problem.mend.as_deref().unwrap_or("");
    assert!(help.contains(mend), "{errors}");
}

#[track_caller]
fn is_warned_of(text: &str, begins: &str, parts: &[&str]) {
    let warnings = valid(text).warnings;
    let [warning] = &warnings[..] else {
        panic!("{text}: {warnings:?}");
    };
    assert!(warning.starts_with(begins), "{warning}");
    for part in parts {
        assert!(warning.contains(part), "{warning}");
    }
}

#[track_caller]
fn is_quiet(text: &str) {
    assert_eq!(valid(text).warnings, Vec::<String>::new(), "{text}");
}

#[test]
fn a_target_that_no_listener_speaks_to_is_refused() {
    let key = "upstreams.pbx.targets[0]";
    let [udp, tcp, six, tls] = [
        "\"udp://0.0.0.0:5060\"",
        "\"tcp://0.0.0.0:5060\"",
        "\"udp://[::]:5060\"",
        "\"ws://127.0.0.1:5066\"",
    ];
    for (listen, target, what, mend) in [
        (
            udp,
            "sip:192.0.2.1;transport=tcp",
            "wants TCP",
            "tcp://0.0.0.0:5060",
        ),
        (
            udp,
            "sip:pbx.example.net;transport=tcp",
            "wants TCP",
            "tcp://",
        ),
        (tcp, "sip:192.0.2.1", "wants UDP", ";transport=tcp"),
        (
            tcp,
            "sip:pbx.example.net;transport=udp",
            "wants UDP",
            "udp://0.0.0.0:5060",
        ),
        (
            udp,
            "sip:192.0.2.1;transport=tls",
            "wants TLS",
            "tls://0.0.0.0:5061",
        ),
        (
            udp,
            "sips:pbx.example.net",
            "wants TLS",
            "tls://0.0.0.0:5061",
        ),
        (
            udp,
            "sip:[2001:db8::1]",
            "an IPv6 address",
            "udp://[::]:5060",
        ),
        (
            six,
            "sip:192.0.2.1",
            "an IPv4 address",
            "udp://0.0.0.0:5060",
        ),
        (tls, "sip:pbx.example.net", "wants UDP", "udp://"),
    ] {
        is_refused(&calling(listen, target), key, 4, what, mend);
    }
    for (listen, target) in [
        (udp, "sip:192.0.2.1"),
        (udp, "sip:pbx.example.net"),
        (tcp, "sip:pbx.example.net"),
        (tcp, "sip:192.0.2.1:5070;transport=tcp"),
        (six, "sip:[2001:db8::1]:5060"),
    ] {
        is_quiet(&calling(listen, target));
    }
    let fixed = "domains: { example.org: {} }\nendpoints:\n  - { aor: \"sip:door@example.org\", contact: \"sip:[2001:db8::7]\" }\n";
    is_refused(fixed, "endpoints[0].contact", 3, "an IPv6 address", "[::]");
}

#[test]
fn a_target_that_is_refork_itself_is_refused() {
    let key = "upstreams.pbx.targets[0]";
    let told = "{ at: \"udp://10.0.0.1:5060\", advertise: \"203.0.113.5:5070\" }";
    for (listen, target) in [
        ("\"udp://10.0.0.1:5060\"", "sip:10.0.0.1"),
        ("\"udp://0.0.0.0:5060\"", "sip:127.0.0.1"),
        ("\"udp://[::]:5080\"", "sip:[::1]:5080"),
        (told, "sip:203.0.113.5:5070"),
        ("\"tcp://10.0.0.1:5060\"", "sip:10.0.0.1;transport=tcp"),
    ] {
        let text = calling(listen, target);
        is_refused(&text, key, 4, "Refork itself", "name the server");
    }
    for (listen, target) in [
        ("\"udp://0.0.0.0:5060\"", "sip:127.0.0.1:5070"),
        ("\"udp://10.0.0.1:5060\"", "sip:10.0.0.1:5080"),
        ("\"udp://10.0.0.1:5060\"", "sip:127.0.0.1"),
        (
            "\"udp://10.0.0.1:5060\", \"tcp://10.0.0.2:5060\"",
            "sip:10.0.0.1;transport=tcp",
        ),
        (told, "sip:203.0.113.5"),
    ] {
        is_quiet(&calling(listen, target));
    }
}

#[test]
fn what_is_told_to_nobody_is_refused() {
    let six = "advertise: \"2001:db8::1\"\n";
    is_refused(
        six,
        "advertise",
        1,
        "no listener for IPv6",
        "udp://[::]:5060",
    );
    is_quiet("listen: [\"udp://0.0.0.0:5060\", \"udp://[::]:5060\"]\nadvertise: \"2001:db8::1\"\n");
}

#[test]
fn everybody_as_somebody_to_trust_is_warned_of() {
    for all in ["0.0.0.0/0", "::/0"] {
        let text = format!("acl:\n  trusted: [10.0.0.0/8, \"{all}\"]\n");
        let begins = format!("`acl.trusted[1]` (line 2): {all} is everybody");
        is_warned_of(&text, &begins, &["password"]);
        let pbx = |trusted| {
            format!(
                "upstreams:\n  pbx: {{ targets: [\"sip:pbx\"], sources: [\"{all}\"], trusted: {trusted} }}\n"
            )
        };
        let begins = format!("`upstreams.pbx.sources[0]` (line 2): {all} is everybody");
        is_warned_of(&pbx(true), &begins, &["believed"]);
        is_quiet(&pbx(false));
        let text = format!(
            "listen: [\"udp://127.0.0.1:5060\", {{ at: \"ws://127.0.0.1:5066\", proxies: [\"{all}\"] }}]\n"
        );
        let begins = format!("`listen[1].proxies[0]` (line 1): {all} is everybody");
        is_warned_of(&text, &begins, &["who it is"]);
    }
    is_quiet("acl: { trusted: [10.0.0.0/8] }\n");
}

#[test]
fn what_serves_nobody_well_is_warned_of() {
    let open = "listen: [\"udp://0.0.0.0:5060\", \"ws://0.0.0.0:8088\"]\n";
    is_warned_of(
        open,
        "`listen[1]` (line 1): ",
        &["in the clear", "`proxies`"],
    );
    is_quiet("listen: [\"udp://127.0.0.1:5060\", \"ws://127.0.0.1:8088\"]\n");
    let few = "media: { ports: 20000-20003 }\n";
    is_warned_of(few, "`media.ports` (20000-20003)", &["2 of the pairs"]);
    is_quiet("media: { ports: 20000-20005 }\n");
}

#[test]
fn an_upstream_that_is_not_let_in_is_told_of() {
    let with = |acl: &str, target: &str| {
        format!(
            "acl: {{ {acl} }}\nupstreams:\n  pbx: {{ targets: [\"{target}\"] }}\n\
             routes: [{{ match: \"sip:*@*\", to: pbx }}]\n"
        )
    };
    let key = "upstreams.pbx.targets[0]";
    let (udp, tcp) = ("sip:192.0.2.10", "sip:192.0.2.10;transport=tcp");
    for (acl, by) in [
        ("allow: [10.0.0.0/8]", "`acl.allow` leaves it out"),
        ("deny: [192.0.2.0/24]", "`acl.deny` names it"),
    ] {
        is_refused(&with(acl, udp), key, 3, by, "`acl.allow`");
        // Over a connection of ours its answers come all the same.
        let begins = format!("`{key}` (line 3): nothing that begins at 192.0.2.10");
        is_warned_of(&with(acl, tcp), &begins, &[by]);
    }
    for acl in [
        "allow: [10.0.0.0/8, 192.0.2.10]",
        "allow: [10.0.0.0/8], trusted: [192.0.2.0/24]",
        "deny: [198.51.100.0/24]",
    ] {
        is_quiet(&with(acl, udp));
    }
    let source = "acl: { allow: [10.0.0.0/8] }\nupstreams:\n  pbx: { targets: [\"sip:10.0.0.1\"], sources: [10.1.0.0/16, 192.0.2.0/28] }\n";
    let begins = "`upstreams.pbx.sources[1]` (line 3): `acl` lets in nothing from 192.0.2.0/28";
    is_warned_of(source, begins, &["dropped"]);
    let fixed = "acl: { allow: [10.0.0.0/8] }\ndomains: { example.org: {} }\nendpoints:\n  - { aor: \"sip:door@example.org\", contact: \"sip:192.0.2.40\" }\n";
    is_refused(
        fixed,
        "endpoints[0].contact",
        4,
        "192.0.2.40",
        "`acl.allow`",
    );
}

#[test]
fn a_route_that_others_leave_nothing_to_is_warned_of() {
    let with = |routes: &[&str]| {
        let routes = routes.join("\n  - ");
        format!(
            "upstreams: {{ a: {{ targets: [\"sip:a\"] }}, b: {{ targets: [\"sip:b\"], sources: [192.0.2.7] }} }}\nroutes:\n  - {routes}\n"
        )
    };
    let all = "{ match: \"sip:*@*\", to: a }";
    let begins = "`routes[1].match` (line 4): ";
    for (second, parts) in [
        (
            "{ match: \"sip:+49*@*\", to: a }",
            ["never reached", "`sip:*@*`"],
        ),
        (
            "{ match: \"sip:+49*@*\", to: b }",
            ["from the upstream `a` alone", "put it first"],
        ),
        (
            "{ match: \"sip:112@*\", to: a, emergency: users }",
            ["never reached", "not taken for calls for help"],
        ),
    ] {
        is_warned_of(&with(&[all, second]), begins, &parts);
    }
    let third = with(&[
        "{ match: \"sip:+*@*\", to: a }",
        "{ match: \"sip:0*@*\", to: b }",
        "{ match: \"SIP:+49*@example.org\", to: a }",
    ]);
    is_warned_of(&third, "`routes[2].match` (line 5): ", &["never reached"]);
    for second in [
        "{ match: \"urn:service:sos*\", to: a }",
        "{ match: \"*\", to: a }",
    ] {
        is_quiet(&with(&[all, second]));
    }
    is_quiet(&with(&["{ match: \"sip:+49*@*\", to: a }", all]));
}

#[test]
fn an_upstream_names_a_listener_that_calls_it() {
    let with = |listener: &str, target: &str| {
        let listen = "[\"udp://10.0.0.1:5060\", \"udp://10.0.0.1:5080\", \"tcp://10.0.0.1:5060\", \"ws://127.0.0.1:5066\", \"udp://[::1]:5060\"]";
        format!(
            "listen: {listen}\nupstreams:\n  pbx: {{ targets: [\"{target}\"], listener: \"{listener}\" }}\n"
        )
    };
    for (listener, target, index) in [
        ("udp://10.0.0.1:5080", "sip:192.0.2.1", 1),
        ("udp://10.0.0.1:5080", "sip:pbx", 1),
        // TCP leaves from the same address.
        ("udp://10.0.0.1:5080", "sip:192.0.2.1;transport=tcp", 1),
        ("udp://[::1]", "sip:pbx", 4),
    ] {
        let config = valid(&with(listener, target));
        let named = config.engine.upstreams["pbx"].listener;
        assert_eq!(named, Some(ListenerId(index)), "{listener} {target}");
    }
    let key = "upstreams.pbx.listener";
    for (listener, target, what, mend) in [
        (
            "udp://10.0.0.1:5070",
            "sip:pbx",
            "no listener",
            "udp://10.0.0.1:5080",
        ),
        (
            "udp://[::1]:5060",
            "sip:192.0.2.1",
            "none of the targets",
            "address family",
        ),
        (
            "udp://[::1]:5060",
            "sip:pbx;transport=tcp",
            "none of the targets",
            "transport",
        ),
        (
            "ws://127.0.0.1:5066",
            "sip:pbx",
            "none of the targets",
            "transport",
        ),
    ] {
        is_refused(&with(listener, target), key, 3, what, mend);
    }
}

#[test]
fn a_domain_for_numbers_is_one_and_stands_beside_numbers() {
    let with = |more: &str| format!("upstreams:\n  pbx: {{ targets: [\"sip:pbx\"], {more} }}\n");
    let shown = |more: &str| {
        let pbx = valid(&with(more)).engine.upstreams["pbx"].clone();
        (pbx.identity, pbx.from_domain)
    };
    assert_eq!(shown("probe: 10s"), (Presented::Number, None));
    assert_eq!(shown("identity: user"), (Presented::User, None));
    let carrier = Some("carrier.example".into());
    let text = "from_domain: carrier.example";
    assert_eq!(shown(text), (Presented::Number, carrier));
    let key = "upstreams.pbx.from_domain";
    let (user, none) = (format!("{text}, identity: user"), "from_domain: \"a b\"");
    is_refused(
        &with(&user),
        key,
        2,
        "beside numbers alone",
        "identity: number",
    );
    is_refused(&with(none), key, 2, "no domain", "host name");
}

#[test]
fn the_first_number_of_a_user_is_the_one_that_is_shown() {
    let text = "domains: { example.org: {} }\nusers: { sip:a@example.org: { password: long enough, numbers: [\"+49-30-2\", \"+49301\"] } }\n";
    let shown = valid(text).engine.shown_numbers;
    let shown: Vec<_> = shown.values().map(|number| &**number).collect();
    assert_eq!(shown, ["+49302"]);
}

#[test]
fn the_api_at_a_port_that_is_taken_is_refused() {
    for (listen, admin) in [
        ("tcp://127.0.0.1:8080", "127.0.0.1:8080"),
        ("ws://0.0.0.0:8080", "127.0.0.1:8080"),
        ("tcp://127.0.0.1:5070", "127.0.0.1:5070"),
    ] {
        let text = format!("listen: [\"{listen}\"]\nadmin:\n  listen: \"{admin}\"\n");
        let what = format!("{admin} is taken by the listener {listen}");
        is_refused(&text, "admin.listen", 3, &what, "another port");
    }
    for (listen, admin) in [
        ("udp://0.0.0.0:8080", "127.0.0.1:8080"),
        ("tcp://127.0.0.2:8080", "127.0.0.1:8080"),
        ("tcp://127.0.0.1:8081", "127.0.0.1:8080"),
        ("tcp://[::]:8080", "127.0.0.1:8080"),
        ("tcp://127.0.0.1:0", "127.0.0.1:0"),
    ] {
        is_quiet(&format!(
            "listen: [\"{listen}\"]\nadmin: {{ listen: \"{admin}\" }}\n"
        ));
    }
}

#[test]
fn an_upstream_that_nothing_leads_to_is_warned_of() {
    let pbx = "upstreams:\n  pbx: { targets: [\"sip:pbx\"] }\n";
    is_warned_of(
        pbx,
        "`upstreams.pbx` (line 2): nothing is sent there",
        &["`sources`"],
    );
    is_quiet(&format!(
        "{pbx}routes: [{{ match: \"sip:*@*\", to: pbx }}]\n"
    ));
    is_quiet(&format!(
        "{pbx}domains: {{ example.org: {{ upstream: pbx }} }}\n"
    ));
    is_quiet("upstreams:\n  pbx: { targets: [\"sip:pbx\"], sources: [192.0.2.0/24] }\n");
}

#[test]
fn a_first_number_that_is_not_global_is_warned_of() {
    let with = |numbers: &str, identity: &str| {
        format!(
            "domains: {{ example.org: {{}} }}\nusers:\n  \"sip:alice@example.org\":\n    \
             {{ password: long enough, numbers: [{numbers}] }}\nupstreams:\n  \
             trunk: {{ targets: [\"sip:trunk\"], identity: {identity} }}\n\
             routes: [{{ match: \"sip:*@*\", to: trunk }}]\n"
        )
    };
    is_warned_of(
        &with("\"030123456\", \"+4930123456\"", "number"),
        "`users.sip:alice@example.org.numbers[0]` (line 4): 030123456 is no global number",
        &["`upstreams.*.identity: number`", "with + first"],
    );
    is_quiet(&with("\"+4930123456\", \"030123456\"", "number"));
    is_quiet(&with("\"030123456\"", "user"));
}

#[test]
fn a_name_to_advertise_is_refused_with_what_to_write() {
    is_refused(
        "advertise: sip.example.org\n",
        "advertise",
        1,
        "names are not looked up",
        "getent ahosts",
    );
}

#[test]
fn lamps_are_lit_by_a_registrar_that_is_here() {
    let upstream = "upstreams:\n  pbx:\n    targets: [\"sip:192.0.2.10\"]\n";
    let domain = |more: &str| format!("{upstream}domains:\n  example.org:\n    lamps: {more}\n");
    let with = |more: &str| domain(&format!("{more}\n    upstream: pbx"));
    for lamps in ["true", "false"] {
        let text = with(lamps);
        is_refused(
            &text,
            "domains.example.org.lamps",
            6,
            "that an upstream serves",
            "leave it out",
        );
        let served = &valid(&domain(lamps)).engine.domains[0].served_by;
        let ServedBy::Registrar(registrar) = served else {
            panic!("{served:?}");
        };
        assert_eq!(registrar.lamps, lamps == "true");
    }
}
