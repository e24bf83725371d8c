//! The call flows of RFC 3665, with Refork where they have a registrar or a proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use refork::engine::ids::Aor;
use refork::engine::settings::{Account, Domain, PathMode, ServedBy, Upstream};
use refork::sip::digest::{Algorithm, Credentials, ha1};
use refork::sip::{Address, Message, Method, Name};
use refork::ua::{Call, Ending, Medium, Phone, Profile, Reaction, Transport};

use crate::stage::{SOON, Stage, answers, connect, hang_up, requests_since, rings, talk};
use crate::wire::{Dialog, Wire, sound_of};

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
    (house_before(there, None), beyond)
}

/// A house that sends there what is for `example.net`.
fn house_before(there: SocketAddr, account: Option<Account>) -> Stage {
    Stage::with(|config| {
        let upstream = Upstream {
            targets: vec![format!("sip:{there}").as_str().into()],
            trusted: false,
            path: PathMode::Path,
            account,
            sources: Vec::new(),
            probe: None,
            ..Upstream::default()
        };
        config.engine.upstreams.insert("beyond".into(), upstream);
        config.engine.domains.push(Domain {
            host: "example.net".into(),
            realm: "example.net".into(),
            served_by: ServedBy::Upstream("beyond".into()),
        });
    })
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

const CHALLENGE: &str =
    "Proxy-Authenticate: Digest realm=\"example.net\", nonce=\"n\", qop=\"auth\"\r\n";

/// Returns what a request shows to the second house, which must be right, as its nonce count.
#[track_caller]
fn shown(request: &Message) -> u32 {
    let mut all = request
        .fields(Name::ProxyAuthorization)
        .filter_map(Credentials::parse);
    let shown = all.next().unwrap();
    assert!(all.next().is_none(), "what Alice showed here stays here");
    assert_eq!((shown.username, shown.realm), ("refork", "example.net"));
    let ha1 = ha1(Algorithm::Md5, "refork", "example.net", "secret");
    // RFC 3261 22.1: an ACK shows what its INVITE has shown.
    let method = match request.method().as_str() {
        "ACK" => "INVITE",
        other => other,
    };
    assert!(shown.prove(Algorithm::Md5, &ha1, method, request.body()));
    shown.count().unwrap()
}

#[test]
fn section_3_3_with_multiple_proxy_authentication() {
    let mut second = Wire::bind("second", Ipv4Addr::LOCALHOST);
    let account = Account {
        user: "refork".into(),
        password: "secret".into(),
        realms: Box::new(["example.net".into()]),
    };
    let here = house_before(second.local(), Some(account));
    let alice = here.phone("alice");
    let call = alice.call("sip:bob@example.net", Medium::Audio).unwrap();
    let bare = second.request(&Method::Invite);
    assert_eq!(bare.header(Name::ProxyAuthorization), None);
    second.answer(&bare, 407, "asks", CHALLENGE, "");
    let ack = second.request(&Method::Ack);
    assert_eq!((ack.branch(), ack.cseq()), (bare.branch(), bare.cseq()));
    let proven = second.request(&Method::Invite);
    assert_eq!(
        (proven.call_id(), proven.cseq()),
        (bare.call_id(), bare.cseq() + 1)
    );
    assert_eq!(shown(&proven), 1);
    second.answer(&proven, 180, "second", "", "");
    call.wait_ringing(SOON).unwrap();
    let answer = second.sdp(1, "sendrecv");
    second.answer(&proven, 200, "second", "", &answer);
    assert_eq!(shown(&second.request(&Method::Ack)), 1);
    call.wait_up(SOON).unwrap();
    // Alice was asked once, by the first house: the second one's question is no matter of hers.
    let asked = here.log.of("alice").into_iter().filter(|entry| {
        let heard = entry.received();
        heard.is_some_and(|heard| heard.status() == 407 && *heard.method() == Method::Invite)
    });
    assert_eq!(asked.count(), 1);
    second.hears_voice(alice.profile().voice);
    second.speaks(sound_of(&proven), 0x55, || heard(&call, 0x55));
    let mut dialog = Dialog::of_invite(&proven, "second");
    second.leave(&mut dialog);
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::HungUpThere);
    here.finish_refused(1);
}

/// A text outside of any dialog is asked for proof there as a call is.
#[test]
fn the_second_proxy_has_proof_of_a_text_too() {
    let mut second = Wire::bind("second", Ipv4Addr::LOCALHOST);
    let account = Account {
        user: "refork".into(),
        password: "secret".into(),
        realms: Box::default(),
    };
    let here = house_before(second.local(), Some(account));
    let alice = here.phone("alice");
    let waiting = {
        let alice = alice.clone();
        std::thread::spawn(move || alice.page("sip:bob@example.net", "hello"))
    };
    let bare = second.request(&Method::Message);
    second.answer(&bare, 407, "asks", CHALLENGE, "");
    let proven = second.request(&Method::Message);
    assert_eq!((proven.body(), shown(&proven)), (&b"hello"[..], 1));
    second.answer(&proven, 200, "second", "", "");
    assert_eq!(waiting.join().unwrap().unwrap(), 200);
    here.finish();
}

fn heard(call: &Call, voice: u8) -> bool {
    let heard = call.heard();
    let mut heard = heard.iter();
    heard.any(|packet| packet.payload.first() == Some(&voice))
}

/// The server has the place of the ALG: neither phone learns where the other one's sound is.
#[test]
fn section_3_5_through_an_alg() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    let described = |phone: &Phone, heard: bool| {
        let entries = stage.log.of(phone.label());
        let mut messages = entries.iter().filter_map(|entry| {
            let received = entry.received().is_some();
            entry.message().filter(|_| received == heard)
        });
        let found = messages.find(|message| !message.body().is_empty());
        sound_of(found.unwrap())
    };
    for (speaks, hears) in [(&alice, &bob), (&bob, &alice)] {
        assert_ne!(described(speaks, false), described(hears, true));
    }
    hang_up(&taken, &call);
    stage.finish();
}

/// Bob has forwarded his calls to Carol, whose phone makes the offer: Alice's answer comes with her ACK.
#[test]
fn section_3_6_a_redirection_and_the_sdp_in_the_ack() {
    let stage = Stage::new();
    let (bob, carol) = (stage.desk(), stage.phone("carol"));
    rings(&bob);
    answers(&carol);
    let mut alice = Wire::of(&stage, "alice");
    let mut invite = alice.first(Method::Invite, "sip:bob@example.org");
    alice.prove(&mut invite);
    let ringing = bob.incoming(SOON).unwrap();
    ringing.forward("sip:carol@example.org").unwrap();
    alice.response(&invite, |status| status == 180);
    let ok = alice.response(&invite, |status| status == 200);
    let taken = carol.incoming(SOON).unwrap();
    let answer = alice.sdp(1, "sendrecv");
    let mut dialog = alice.acknowledge(&invite, &ok, &answer);
    taken.wait_up(SOON).unwrap();
    for phone in [&bob, &carol] {
        let entries = stage.log.of(phone.label());
        let mut invites = entries.iter().filter_map(|entry| entry.received());
        let invite = invites.find(|message| *message.method() == Method::Invite);
        assert_eq!(invite.unwrap().body(), b"");
    }
    alice.hears_voice(carol.profile().voice);
    alice.speaks(sound_of(&ok), 0x55, || heard(&taken, 0x55));
    alice.leave(&mut dialog);
    assert_eq!(taken.wait_over(SOON).unwrap(), Ending::HungUpThere);
    stage.finish();
}

/// Bob's phone has another address in mid-call, and offers anew from there.
#[test]
fn section_3_7_reinvite_from_another_address() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let mut bob = Wire::of(&stage, "bob");
    bob.register(60);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let answer = bob.sdp(1, "sendrecv");
    let (mut dialog, _) = bob.takes(&answer);
    call.wait_up(SOON).unwrap();
    bob.hears_voice(alice.profile().voice);

    let since = stage.log.now();
    let mut moved = Wire::at(&stage, "bob", Ipv4Addr::new(127, 0, 0, 2));
    let mut again = moved.within(&mut dialog, Method::Invite);
    again.sdp = moved.sdp(2, "sendrecv");
    // Whoever comes from somewhere else proves who it is.
    let ok = moved.ask(&mut again);
    assert_eq!(ok.status(), 200);
    let mut dialog = moved.acknowledge(&again, &ok, "");
    moved.hears_voice(alice.profile().voice);
    assert!(bob.hears_nothing(), "the sound has moved too");
    moved.speaks(sound_of(&ok), 0x55, || heard(&call, 0x55));
    // What Alice has to say is said there.
    let ticket = call.post("found you").unwrap();
    let text = moved.request(&Method::Message);
    assert_eq!(text.uri(), format!("sip:bob@{}", moved.local()));
    moved.answer(&text, 200, "", "", "");
    assert_eq!(call.outcome(ticket).unwrap(), 200);
    assert_eq!(requests_since(&stage.log, &alice, since), []);
    moved.leave(&mut dialog);
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::HungUpThere);
    bob.register(0);
    stage.finish();
}

/// Bob's phone says nothing at all. The RFC's proxy says 480; RFC 3261 16.7 and 17.1.1 have 408.
#[test]
fn section_3_10_no_response() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    rings(&bob);
    bob.freeze();
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let ending = call.wait_over(SOON).unwrap();
    assert_eq!(ending, Ending::Refused(408));
    // Once it hears of the call, that is taken back.
    bob.thaw();
    let late = bob.incoming(SOON).unwrap();
    assert_eq!(late.wait_over(SOON).unwrap(), Ending::Cancelled);
    stage.finish();
}
