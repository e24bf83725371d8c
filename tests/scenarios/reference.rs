//! The call flows of RFC 3665, with Refork where they have a registrar or a proxy.

use std::net::SocketAddr;
use std::time::Duration;

use refork::engine::ids::Aor;
use refork::engine::settings::{Domain, PathMode, ServedBy, Upstream};
use refork::sip::{Address, Message, Method, Name};
use refork::ua::{Ending, Medium, Phone, Profile, Reaction, Transport};

use crate::stage::{SOON, Stage, answers, connect, hang_up, rings, talk};

/// Returns the final responses to the REGISTERs of a phone.
fn answered(stage: &Stage, phone: &Phone) -> Vec<Message> {
    let entries = stage.log.of(phone.label());
    let heard = entries.iter().filter_map(|entry| entry.received());
    let heard = heard.filter(|message| *message.method() == Method::Register);
    heard
        .filter(|message| message.status() >= 200)
        .cloned()
        .collect()
}

/// Returns where a 200 says that the user is, and for how many seconds.
fn contacts(ok: &Message) -> Vec<(SocketAddr, u32)> {
    assert_eq!(ok.status(), 200);
    let values = ok.values(Name::Contact);
    let mut contacts: Vec<(SocketAddr, u32)> = values
        .map(|value| {
            let contact = Address::parse(value).unwrap();
            let uri = contact.uri_parsed().unwrap();
            let at = SocketAddr::new(uri.host_ip().unwrap(), uri.port.unwrap());
            (
                at,
                contact.params.value("expires").unwrap().parse().unwrap(),
            )
        })
        .collect();
    contacts.sort();
    contacts
}

/// A phone of Bob's that is not registered.
fn bobs(stage: &Stage, label: &str, password: &str) -> Phone {
    stage.stranger(label, |profile| {
        profile.user = "bob".into();
        profile.password = password.into();
        profile.user_agent = format!("{label}/1");
    })
}

fn seconds(contacts: &[(SocketAddr, u32)], at: SocketAddr) -> u32 {
    contacts.iter().find(|(known, _)| *known == at).unwrap().1
}

#[test]
fn section_2_1_new_registration() {
    let stage = Stage::new();
    let bob = bobs(&stage, "bob-new", "correct horse");
    assert_eq!(bob.register().unwrap(), 200);
    let heard = answered(&stage, &bob);
    let [challenged, ok] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(challenged.status(), 401);
    let asked = challenged.header(Name::WwwAuthenticate).unwrap();
    assert!(
        asked.contains("realm=\"example.org\"") && asked.contains("qop="),
        "{asked}"
    );
    // F4: the same Call-ID, the next CSeq, and the one binding.
    assert_eq!(
        (ok.call_id(), ok.cseq()),
        (challenged.call_id(), challenged.cseq() + 1)
    );
    let bindings = contacts(ok);
    assert_eq!(bindings.len(), 1);
    assert!((3590..=3600).contains(&seconds(&bindings, bob.local())));
    assert_eq!(bob.unregister_all().unwrap(), 200);
    stage.finish();
}

#[test]
fn section_2_2_update_of_the_contact_list() {
    let stage = Stage::new();
    let (first, second) = (
        bobs(&stage, "bob-first", "correct horse"),
        bobs(&stage, "bob-second", "correct horse"),
    );
    assert_eq!(first.register().unwrap(), 200);
    assert_eq!(second.register_for(120).unwrap(), 200);
    let both = contacts(answered(&stage, &second).last().unwrap());
    assert_eq!(both.len(), 2);
    assert!((3590..=3600).contains(&seconds(&both, first.local())));
    assert!((110..=120).contains(&seconds(&both, second.local())));
    // A refresh renews its own alone.
    assert_eq!(second.register_for(240).unwrap(), 200);
    let both = contacts(answered(&stage, &second).last().unwrap());
    assert_eq!(both.len(), 2);
    assert!((230..=240).contains(&seconds(&both, second.local())));
    assert_eq!(first.unregister_all().unwrap(), 200);
    stage.finish();
}

#[test]
fn section_2_3_request_for_the_current_contact_list() {
    let stage = Stage::new();
    let (first, second) = (
        bobs(&stage, "bob-first", "correct horse"),
        bobs(&stage, "bob-second", "correct horse"),
    );
    assert!(contacts(&first.registered().unwrap()).is_empty());
    for phone in [&first, &second] {
        assert_eq!(phone.register().unwrap(), 200);
    }
    let known: Vec<SocketAddr> = contacts(&first.registered().unwrap())
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    let mut expected = vec![first.local(), second.local()];
    expected.sort();
    assert_eq!(known, expected);
    assert_eq!(first.unregister_all().unwrap(), 200);
    stage.finish();
}

#[test]
fn section_2_4_cancellation_of_a_registration() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let (first, second) = (
        bobs(&stage, "bob-first", "correct horse"),
        bobs(&stage, "bob-second", "correct horse"),
    );
    for phone in [&first, &second] {
        assert_eq!(phone.register().unwrap(), 200);
    }
    assert_eq!(first.register_for(0).unwrap(), 200);
    let left = contacts(answered(&stage, &first).last().unwrap());
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, second.local());
    let (call, taken) = connect(&alice, &second, Medium::Audio);
    hang_up(&call, &taken);
    assert_eq!(first.calls(), 0);
    assert_eq!(second.unregister_all().unwrap(), 200);
    assert!(contacts(answered(&stage, &second).last().unwrap()).is_empty());
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(480));
    stage.finish();
}

#[test]
fn section_2_5_unsuccessful_registration() {
    let stage = Stage::new();
    let mallory = bobs(&stage, "mallory", "a guess");
    assert_eq!(mallory.register().unwrap(), 401);
    let heard = answered(&stage, &mallory);
    let statuses: Vec<u16> = heard.iter().map(Message::status).collect();
    assert_eq!(statuses, [401, 401]);
    assert!(
        heard
            .iter()
            .all(|refused| refused.values(Name::Contact).count() == 0)
    );
    let bob = bobs(&stage, "bob-true", "correct horse");
    assert!(contacts(&bob.registered().unwrap()).is_empty());
    stage.finish();
}

/// A second house, `example.net`, and the first one that sends there what is for it.
fn two_houses() -> (Stage, Stage) {
    let beyond = Stage::with(|config| {
        config.engine.node = "beyond".into();
        config.engine.domains[0].host = "example.net".into();
        let users = std::mem::take(&mut config.engine.users);
        let moved =
            |aor: Aor| Aor::from_canonical(aor.as_str().replace("example.org", "example.net"));
        let users = users.into_iter().map(|(aor, secret)| (moved(aor), secret));
        config.engine.users = users.collect();
    });
    let there = beyond.sip(Transport::Udp, false);
    let here = Stage::with(|config| {
        let upstream = Upstream {
            targets: vec![format!("sip:{there}").as_str().into()],
            trusted: false,
            path: PathMode::Path,
            account: None,
            probe: None,
        };
        config.engine.upstreams.insert("beyond".into(), upstream);
        config.engine.domains.push(Domain {
            host: "example.net".into(),
            realm: "example.net".into(),
            served_by: ServedBy::Upstream("beyond".into()),
        });
    });
    (here, beyond)
}

fn of_the_other_house(profile: &mut Profile) {
    profile.domain = "example.net".into();
}

#[test]
fn section_3_2_through_two_proxies() {
    let (here, beyond) = two_houses();
    let alice = here.phone("alice");
    let bob = beyond.phone_with("bob", of_the_other_house);
    answers(&bob);
    let call = alice.call("sip:bob@example.net", Medium::Audio).unwrap();
    let taken = bob.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    taken.wait_up(SOON).unwrap();
    talk(&call, &taken);
    // Each house asks its own user for proof, and neither shows its phone to the other one.
    let asked = alice.wait_received(SOON, "a challenge", |seen| {
        seen.iter().any(|message| message.status() == 407)
    });
    asked.unwrap();
    let far = alice.local().to_string();
    assert!(!taken.target().contains(&far), "{}", taken.target());
    assert_eq!(call.message("over two houses").unwrap(), 200);
    assert_eq!(taken.texts()[0].body, "over two houses");
    assert_eq!(taken.hold().unwrap(), 200);
    assert_eq!(taken.resume().unwrap(), 200);
    hang_up(&taken, &call);
    here.finish();
    beyond.finish();
}

#[test]
fn section_3_8_no_answer_through_two_proxies() {
    let (here, beyond) = two_houses();
    let alice = here.phone("alice");
    let bob = beyond.phone_with("bob", of_the_other_house);
    rings(&bob);
    let call = alice.call("sip:bob@example.net", Medium::Audio).unwrap();
    let taken = bob.incoming(SOON).unwrap();
    call.wait_ringing(SOON).unwrap();
    call.cancel().unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Cancelled);
    assert_eq!(taken.wait_over(SOON).unwrap(), Ending::Cancelled);
    here.finish_refused(1);
    beyond.finish();
}

#[test]
fn section_3_9_and_3_11_busy_and_unavailable_through_two_proxies() {
    let (here, beyond) = two_houses();
    let alice = here.phone("alice");
    let bob = beyond.phone_with("bob", of_the_other_house);
    for status in [486, 480] {
        bob.script(|script| script.invite = Reaction::Refuse(status, Duration::ZERO));
        let call = alice.call("sip:bob@example.net", Medium::Audio).unwrap();
        assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(status));
    }
    here.finish_refused(2);
    beyond.finish();
}
