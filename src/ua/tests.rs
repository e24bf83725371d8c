//! Phones against each other, without a server between them.

use std::time::Duration;

use crate::sip::{Method, Name};

use super::*;

const SOON: Duration = Duration::from_secs(5);
const T1: Duration = Duration::from_millis(50);

fn phone(log: &Log, label: &str, transport: Transport) -> Phone {
    let nobody = ([127, 0, 0, 1], 9).into();
    let mut profile = Profile::new(label, label, "example.org", nobody);
    profile.transport = transport;
    profile.t1 = T1;
    Phone::start(profile, log).unwrap()
}

fn pair(transport: Transport) -> (Log, Phone, Phone) {
    let log = Log::start();
    let (alice, bob) = (
        phone(&log, "alice", transport),
        phone(&log, "bob", transport),
    );
    (log, alice, bob)
}

fn address_of(phone: &Phone) -> String {
    let transport = phone.profile().transport.param();
    format!("sip:{}@{}{transport}", phone.label(), phone.local())
}

fn connected(alice: &Phone, bob: &Phone, medium: Medium) -> (Call, Call) {
    bob.script(|script| script.invite = Reaction::Answer(Duration::ZERO));
    let call = alice.call(&address_of(bob), medium).unwrap();
    let taken = bob.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    taken.wait_up(SOON).unwrap();
    (call, taken)
}

#[test]
fn a_call_with_voice_over_either_transport() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (log, alice, bob) = pair(transport);
        let (call, taken) = connected(&alice, &bob, Medium::Audio);
        call.wait_voice(bob.profile().voice, 5, SOON).unwrap();
        taken.wait_voice(alice.profile().voice, 5, SOON).unwrap();
        let heard = call.heard();
        assert!(heard[0].marker && !heard[1].marker);
        assert_eq!(heard[1].timestamp.wrapping_sub(heard[0].timestamp), 160);
        assert_eq!(heard[1].sequence.wrapping_sub(heard[0].sequence), 1);

        assert_eq!(call.message("one").unwrap(), 200);
        assert_eq!(taken.message("two").unwrap(), 200);
        assert_eq!(taken.texts()[0].body, "one");
        assert_eq!(call.texts()[0].body, "two");
        assert_eq!(call.request(Method::Options, vec![], None).unwrap(), 200);

        assert_eq!(call.hold().unwrap(), 200);
        assert!(String::from_utf8_lossy(&call.remote_sdp()).contains("a=recvonly"));
        assert_eq!(call.resume().unwrap(), 200);
        assert!(String::from_utf8_lossy(&call.remote_sdp()).contains("a=sendrecv"));

        assert_eq!(taken.hang_up().unwrap(), 200);
        assert_eq!(call.wait_over(SOON).unwrap(), Ending::HungUpThere);
        assert_eq!(taken.ending(), Some(Ending::HungUpHere));
        assert!(call.message("late").is_err());
        let ladder = Ladder::new(&["alice", "bob"], "-", 80).entries(&log.entries());
        assert!(ladder.draw(Duration::ZERO).contains("200 OK (BYE)"));
    }
}

#[test]
fn cancelled_and_refused_calls_are_acknowledged() {
    let (_log, alice, bob) = pair(Transport::Udp);
    let call = alice.call(&address_of(&bob), Medium::Audio).unwrap();
    let taken = bob.incoming(SOON).unwrap();
    call.wait_ringing(SOON).unwrap();
    call.cancel().unwrap();
    assert_eq!(taken.wait_over(SOON).unwrap(), Ending::Cancelled);
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Cancelled);
    let acks = |count: usize| {
        bob.wait_received(SOON, "ACK", move |seen| {
            seen.iter().filter(|it| *it.method() == Method::Ack).count() == count
        })
    };
    acks(1).unwrap();

    bob.script(|script| script.invite = Reaction::Refuse(486, Duration::ZERO));
    let call = alice.call(&address_of(&bob), Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(486));
    acks(2).unwrap();
}

#[test]
fn a_killed_phone_answers_nothing_and_a_frozen_one_late() {
    let (log, alice, bob) = pair(Transport::Udp);
    let (call, taken) = connected(&alice, &bob, Medium::Text);
    bob.freeze();
    let ticket = call.post("are you there?").unwrap();
    // Sent again while nobody reads.
    alice
        .0
        .wait(SOON, "a retransmission", |_| {
            let sent = log.of("alice");
            sent.iter().any(|entry| entry.again).then_some(())
        })
        .unwrap();
    assert!(matches!(bob.register(), Err(UaError::Frozen(_))));
    bob.thaw();
    assert_eq!(call.outcome(ticket).unwrap(), 200);
    // Retransmissions were answered, and the text was taken once.
    assert_eq!(taken.texts().len(), 1);

    bob.kill();
    assert!(matches!(taken.hang_up(), Err(UaError::Killed(_))));
    assert!(matches!(
        call.message("and now?"),
        Err(UaError::NoAnswer { .. })
    ));
    let again = bob.restarted().unwrap();
    assert_ne!(again.local(), bob.local());
}

#[test]
fn an_invite_with_replaces_takes_the_place_of_a_call() {
    let (log, alice, bob) = pair(Transport::Udp);
    let (call, taken) = connected(&alice, &bob, Medium::Audio);
    let invite = bob
        .wait_received(SOON, "INVITE", |seen| {
            seen.iter().any(|it| *it.method() == Method::Invite)
        })
        .unwrap();
    let ok = alice
        .wait_received(SOON, "200", |seen| seen.iter().any(|it| it.status() == 200))
        .unwrap();
    let ok = ok.iter().find(|it| it.status() == 200).unwrap();
    let replaces = format!(
        "{};to-tag={};from-tag={}",
        call.call_id(),
        ok.to_tag().unwrap(),
        invite[0].from_tag().unwrap()
    );
    let carol = phone(&log, "carol", Transport::Udp);
    let place = |value: String| {
        let headers = vec![(Name::Replaces, value)];
        carol
            .call_with(&address_of(&bob), Medium::Audio, headers)
            .unwrap()
    };
    let unknown = place(replaces.replace("to-tag=", "to-tag=x"));
    assert_eq!(unknown.wait_over(SOON).unwrap(), Ending::Refused(481));
    let known = place(replaces);
    known.wait_up(SOON).unwrap();
    assert_eq!(taken.wait_over(SOON).unwrap(), Ending::Replaced);
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::HungUpThere);
}

#[test]
fn what_a_script_refuses() {
    let (_log, alice, bob) = pair(Transport::Udp);
    bob.script(|script| {
        script.takes_messages = false;
        script.options_status = 405;
    });
    let (call, taken) = connected(&alice, &bob, Medium::Text);
    assert_eq!(call.message("hello").unwrap(), 405);
    assert_eq!(call.request(Method::Options, vec![], None).unwrap(), 405);
    assert_eq!(alice.page(&address_of(&bob), "hello").unwrap(), 405);
    assert!(taken.texts().is_empty() && bob.texts().is_empty());
    let ok = alice
        .wait_received(SOON, "200", |seen| seen.iter().any(|it| it.status() == 200))
        .unwrap();
    let allow = ok
        .iter()
        .find(|it| it.status() == 200)
        .and_then(|it| it.header(Name::Allow));
    assert!(!allow.unwrap().contains("MESSAGE"));
}
