//! The services of RFC 5359, each by its section: what phones do with one another through the server.

use refork::sip::{Method, Name};
use refork::ua::{Call, Ending, Medium, Phone};

use crate::stage::{LATER, SOON, Stage, answers, connect, hang_up, rings, talk};

/// The transferee's new call is up, and nobody noticed but by what was heard.
fn goes_on(call: &Call, target: &Call) {
    target.wait_up(SOON).unwrap();
    talk(call, target);
    assert_eq!(call.ending(), None);
}

/// A phone has seen no request of that kind.
fn never_saw(phone: &Phone, stage: &Stage, method: &Method) {
    let entries = stage.log.entries();
    let seen = entries
        .iter()
        .filter(|entry| *entry.who == *phone.label())
        .filter_map(|entry| entry.received())
        .any(|message| message.is_request() && message.method() == method);
    assert!(!seen, "{} saw a {}", phone.label(), method.as_str());
}

#[test]
fn section_2_1_call_hold() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    assert_eq!(taken.hold().unwrap(), 200);
    assert_eq!(taken.resume().unwrap(), 200);
    talk(&call, &taken);
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn section_2_2_consultation_hold() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    assert_eq!(taken.hold().unwrap(), 200);
    let (asking, asked) = connect(&bob, &carol, Medium::Audio);
    talk(&asking, &asked);
    hang_up(&asking, &asked);
    assert_eq!(taken.resume().unwrap(), 200);
    talk(&call, &taken);
    hang_up(&taken, &call);
    stage.finish();
}

#[test]
fn section_2_4_unattended_transfer() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    assert_eq!(taken.hold().unwrap(), 200);
    rings(&carol);
    assert_eq!(taken.transfer("sip:carol@example.org").unwrap(), 202);
    let target = carol.incoming(SOON).unwrap();
    target.answer().unwrap();
    assert_eq!(taken.wait_transferred(SOON).unwrap(), 200);
    taken.hang_up().unwrap();
    goes_on(&call, &target);
    never_saw(&alice, &stage, &Method::Refer);
    let told = call.wait_texts(1, SOON).unwrap();
    assert!(told[0].body.contains("carol"), "{:?}", told[0]);
    hang_up(&target, &call);
    stage.finish();
}

#[test]
fn section_2_4_unattended_transfer_to_nobody_who_answers() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    rings(&carol);
    assert_eq!(taken.transfer("sip:carol@example.org").unwrap(), 202);
    carol.incoming(SOON).unwrap().refuse(486).unwrap();
    assert_eq!(taken.wait_transferred(SOON).unwrap(), 486);
    talk(&call, &taken);
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn section_2_4_the_target_is_lost_and_sought_as_any_other() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let (desk, mobile) = (stage.phone("carol-desk"), stage.phone("carol-mobile"));
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    rings(&mobile);
    answers(&desk);
    assert_eq!(taken.transfer("sip:carol@example.org").unwrap(), 202);
    assert_eq!(taken.wait_transferred(SOON).unwrap(), 200);
    taken.hang_up().unwrap();
    goes_on(&call, &desk.incoming(SOON).unwrap());
    assert_eq!(
        mobile.incoming(SOON).unwrap().wait_over(SOON).unwrap(),
        Ending::Cancelled
    );
    desk.kill();
    let again = mobile.incoming(LATER).unwrap();
    again.answer().unwrap();
    goes_on(&call, &again);
    hang_up(&call, &again);
    stage.finish();
}

/// Several times, since the two calls belong to the same shard or to different ones.
#[test]
fn section_2_5_attended_transfer() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    for _ in 0..6 {
        let (call, taken) = connect(&alice, &bob, Medium::Audio);
        assert_eq!(taken.hold().unwrap(), 200);
        let (asking, asked) = connect(&bob, &carol, Medium::Audio);
        talk(&asking, &asked);
        assert_eq!(taken.transfer_to(&asking).unwrap(), 202);
        assert_eq!(taken.wait_transferred(SOON).unwrap(), 200);
        taken.hang_up().unwrap();
        assert_eq!(asking.wait_over(SOON).unwrap(), Ending::HungUpThere);
        // Carol's phone talks on in the very call that it had, and does not ring again.
        goes_on(&call, &asked);
        never_saw(&alice, &stage, &Method::Refer);
        hang_up(&call, &asked);
    }
    stage.finish();
}

#[test]
fn section_2_7_forwarding_unconditional() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    rings(&bob);
    answers(&carol);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    bob.incoming(SOON)
        .unwrap()
        .forward("sip:carol@example.org")
        .unwrap();
    let taken = carol.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    goes_on(&call, &taken);
    let told = stage.log.entries().iter().any(|entry| {
        let invite = entry.received().filter(|_| *entry.who == *carol.label());
        invite.is_some_and(|invite| {
            let history = invite.header(Name::HistoryInfo).unwrap_or("");
            history.contains("bob@example.org") && history.contains("cause%3D302")
        })
    });
    assert!(told, "Carol's phone learns whose call it was");
    hang_up(&taken, &call);
    stage.finish();
}

#[test]
fn section_2_9_forwarding_where_nobody_answers() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    rings(&bob);
    answers(&carol);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    call.wait_ringing(SOON).unwrap();
    let ringing = bob.incoming(SOON).unwrap();
    ringing.forward("sip:carol@example.org").unwrap();
    let taken = carol.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    goes_on(&call, &taken);
    hang_up(&call, &taken);
    stage.finish();
}
