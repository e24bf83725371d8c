//! More of the services of RFC 5359, each by its section.

use std::time::Duration;

use refork::sip::{Message, Name};
use refork::ua::{Ending, Medium, Phone, Reaction};

use crate::stage::{SOON, Stage, answers, connect, hang_up, rings, talk};

/// Returns the last response with a status that a phone has sent.
fn answered(stage: &Stage, phone: &Phone, status: u16) -> Message {
    let entries = stage.log.of(phone.label());
    let sent = entries.iter().filter(|entry| entry.received().is_none());
    let mut sent = sent.filter_map(|entry| entry.message());
    sent.rfind(|message| message.status() == status)
        .unwrap_or_else(|| panic!("{} has not answered {status}", phone.label()))
        .clone()
}

#[test]
fn section_2_6_instant_messaging_transfer() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (call, taken) = connect(&alice, &bob, Medium::Text);
    assert_eq!(call.message("is this sales?").unwrap(), 200);
    answers(&carol);
    assert_eq!(taken.transfer("sip:carol@example.org").unwrap(), 202);
    let target = carol.incoming(SOON).unwrap();
    assert_eq!(taken.wait_transferred(SOON).unwrap(), 200);
    taken.hang_up().unwrap();
    assert_eq!(call.message("hello sales").unwrap(), 200);
    let texts = target.wait_texts(1, SOON).unwrap();
    assert_eq!(texts[0].body, "hello sales");
    hang_up(&target, &call);
    stage.finish();
}

/// The phone is busy with another call, and says itself where its calls go meanwhile.
#[test]
fn section_2_8_forwarding_where_it_is_busy() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (before, busy) = connect(&stage.phone("alice-mobile"), &bob, Medium::Audio);
    rings(&bob);
    answers(&carol);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let second = bob.incoming(SOON).unwrap();
    second.forward("sip:carol@example.org").unwrap();
    let taken = carol.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    talk(&call, &taken);
    talk(&before, &busy);
    hang_up(&call, &taken);
    hang_up(&before, &busy);
    stage.finish();
}

/// Bob has both on the line; the phone mixes, and the server keeps two calls that know nothing of each other.
#[test]
fn section_2_10_a_third_party_is_added() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    assert_eq!(taken.hold().unwrap(), 200);
    let (added, third) = connect(&bob, &carol, Medium::Audio);
    assert_eq!(taken.resume().unwrap(), 200);
    talk(&call, &taken);
    talk(&added, &third);
    hang_up(&third, &added);
    talk(&call, &taken);
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn section_2_12_find_me() {
    let stage = Stage::new();
    let (alice, desk, mobile) = (stage.phone("alice"), stage.desk(), stage.mobile());
    rings(&desk);
    rings(&mobile);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let here = desk.incoming(SOON).unwrap();
    let there = mobile.incoming(SOON).unwrap();
    here.refuse(480).unwrap();
    there.answer().unwrap();
    call.wait_up(SOON).unwrap();
    talk(&call, &there);
    hang_up(&call, &there);
    stage.finish();
}

#[test]
fn section_2_13_incoming_call_screening() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    bob.script(|script| script.invite = Reaction::Refuse(603, Duration::ZERO));
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(603));
    stage.finish();
}

/// Alice may not call there, and the server tells her so itself.
#[test]
fn section_2_14_outgoing_call_screening() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let call = alice
        .call("sip:premium@elsewhere.example", Medium::Audio)
        .unwrap();
    let ending = call.wait_over(SOON).unwrap();
    assert!(matches!(ending, Ending::Refused(403 | 404)), "{ending:?}");
    stage.finish();
}

#[test]
fn section_2_16_call_pickup() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    for _ in 0..4 {
        rings(&bob);
        let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
        let ringing = bob.incoming(SOON).unwrap();
        call.wait_ringing(SOON).unwrap();
        // As Bob's phone would tell those who watch its dialogs (RFC 4235).
        let heard = answered(&stage, &bob, 180);
        let tag = |name| {
            heard
                .header(name)
                .and_then(|value| value.rsplit_once("tag="))
        };
        let replaces = format!(
            "{};to-tag={};from-tag={};early-only",
            heard.call_id(),
            tag(Name::From).unwrap().1,
            tag(Name::To).unwrap().1
        );
        let headers = vec![
            (Name::Require, "replaces".to_owned()),
            (Name::Replaces, replaces),
        ];
        let picked = carol
            .call_with("sip:alice@example.org", Medium::Audio, headers)
            .unwrap();
        picked.wait_up(SOON).unwrap();
        call.wait_up(SOON).unwrap();
        assert_eq!(ringing.wait_over(SOON).unwrap(), Ending::Cancelled);
        talk(&call, &picked);
        hang_up(&picked, &call);
    }
    stage.finish();
}

/// Bob was busy, and is called again: nothing of the first call stands in the way.
#[test]
fn section_2_17_automatic_redial() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    rings(&bob);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    bob.incoming(SOON).unwrap().refuse(486).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(486));
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    hang_up(&call, &taken);
    stage.finish();
}

/// RFC 5627: a URI that leads to the desk phone alone, and shows nobody that it is Bob's; it ends with the binding.
#[test]
fn a_phone_is_called_by_its_temporary_gruu() {
    let stage = Stage::new();
    let (alice, desk, mobile) = (stage.phone("alice"), stage.desk(), stage.mobile());
    answers(&desk);
    let temporary = |phone: &Phone| {
        let told = phone.registered().unwrap();
        let mut contacts = told.values(Name::Contact);
        let own = contacts.find(|contact| contact.contains("00000000000d>"));
        let (_, gruu) = own.unwrap().split_once(";temp-gruu=\"").unwrap();
        format!("<{}>", gruu.split('"').next().unwrap())
    };
    let (first, second) = (temporary(&desk), temporary(&desk));
    assert_ne!(first, second);
    for gruu in [&first, &second] {
        assert!(!gruu.contains("bob"), "{gruu}");
        let call = alice.call(gruu, Medium::Audio).unwrap();
        let taken = desk.incoming(SOON).unwrap();
        call.wait_up(SOON).unwrap();
        talk(&call, &taken);
        hang_up(&call, &taken);
    }
    assert_eq!(mobile.calls(), 0);
    assert_eq!(desk.unregister_all().unwrap(), 200);
    assert_eq!(mobile.register().unwrap(), 200);
    let call = alice.call(&first, Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(404));
    assert_eq!(desk.register().unwrap(), 200);
    let call = alice.call(&second, Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(404));
    stage.finish();
}
