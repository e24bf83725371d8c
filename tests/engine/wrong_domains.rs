//! What is for a domain that is not served here: the operator hears which it was.

use refork::engine::events::Event;
use refork::engine::settings::{Domain, Settings, Upstream};
use refork::engine::time::Millis;
use refork::sip::Method;

use crate::people::*;
use crate::table::*;

/// Returns what was told: the method, the domain, those that there are, and whether at once.
fn told(t: &mut Table) -> Vec<(String, String, String, bool)> {
    let events = std::mem::take(&mut t.events);
    let told = events.into_iter().filter_map(|event| match event {
        Event::WrongDomain {
            method,
            domain,
            served,
            tell,
            ..
        } => Some((method.into(), domain.into(), served.into(), tell)),
        _ => None,
    });
    told.collect()
}

fn of(method: &str, domain: &str, served: &str, tell: bool) -> (String, String, String, bool) {
    (method.into(), domain.into(), served.into(), tell)
}

const BOTH: &str = "example.org, example.net";

fn table() -> Table {
    let mut wishes: Settings = settings();
    let other = Domain {
        host: "example.net".into(),
        ..wishes.domains[0].clone()
    };
    wishes.domains.push(other);
    Table::new(wishes)
}

#[test]
fn a_phone_with_another_domain_is_told_of_once_an_hour() {
    let mut t = table();
    for number in 1..=3 {
        let register = t.register_request("bob", desk(), "desk", number, 3600);
        let register = String::from_utf8_lossy(&register)
            .replace("example.org", "sip.example.org")
            .replace("z9hG4bKr", &format!("z9hG4bKr{number}"));
        t.receive(desk(), register.into());
        t.response_to(desk(), 404);
        let domain = "sip.example.org";
        let expected = match number {
            2 => of("REGISTER", domain, "", false),
            _ => of("REGISTER", domain, BOTH, true),
        };
        assert_eq!(told(&mut t), [expected]);
        if number == 2 {
            t.pass(Millis::from_secs(3600));
        }
    }
}

#[test]
fn calls_and_texts_for_another_domain_are_told_of() {
    for method in [Method::Invite, Method::Message, Method::Options] {
        for (uri, wrong) in [
            ("sip:bob@Other.Example", Some("other.example")),
            ("sip:nobody@example.net", None),
        ] {
            let mut t = table();
            let sent = request(method.clone(), "alice", "bob", alice(), "call1");
            let sent = match method {
                Method::Message => sent.body("text/plain", b"hello"),
                _ => sent.end(),
            };
            let sent = String::from_utf8_lossy(&sent).replacen("sip:bob@example.org", uri, 1);
            t.receive(alice(), sent.into());
            t.response_to(alice(), 404);
            let expected: Vec<_> = wrong
                .map(|domain| of(method.as_str(), domain, BOTH, true))
                .into_iter()
                .collect();
            assert_eq!(told(&mut t), expected, "{uri}");
        }
    }
}

/// A trunk asks for numbers at our address, or at its own host: one that nobody has is no matter of domains.
#[test]
fn a_number_that_nobody_has_is_no_wrong_domain() {
    for (uri, from_upstream, wrong) in [
        ("sip:+4930123@192.0.2.1", false, false),
        ("sip:nobody@192.0.2.1:5060", false, false),
        ("sip:nobody@10.0.0.1", false, false),
        ("sip:+4930123@trunk.example", true, false),
        ("sip:+4930123@trunk.example", false, true),
        ("sip:nobody@trunk.example", true, true),
    ] {
        let mut wishes = settings();
        let trunk = Upstream {
            targets: vec!["sip:198.51.100.90".into()],
            probe: None,
            ..Upstream::default()
        };
        wishes.upstreams.insert("trunk".into(), trunk);
        let mut t = Table::new(wishes);
        let at = if from_upstream {
            phone("198.51.100.90:5060")
        } else {
            alice()
        };
        let sent = request(Method::Invite, "alice", "bob", at, "call1").end();
        let sent = String::from_utf8_lossy(&sent).replacen("sip:bob@example.org", uri, 1);
        t.receive(at, sent.into());
        t.response_to(at, 404);
        assert_eq!(!told(&mut t).is_empty(), wrong, "{uri} {from_upstream}");
    }
}

/// A phone may have an address of ours for its registrar.
#[test]
fn an_address_in_place_of_a_domain_is_told_of_where_it_leads_nowhere() {
    let mut t = table();
    let register = t.register_request("bob", desk(), "desk", 1, 3600);
    let text = String::from_utf8_lossy(&register).into_owned();
    t.receive(
        desk(),
        text.replacen("sip:example.org", "sip:192.0.2.1", 1).into(),
    );
    t.response_to(desk(), 200);
    assert_eq!(told(&mut t), []);
    let text = text.replace("example.org", "192.0.2.77");
    t.receive(desk(), text.replace("z9hG4bKr", "z9hG4bKx").into());
    t.response_to(desk(), 404);
    assert_eq!(told(&mut t), [of("REGISTER", "192.0.2.77", BOTH, true)]);
}
