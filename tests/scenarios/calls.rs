//! What every phone call needs, with nobody lost.

use std::time::Duration;

use refork::sip::Method;
use refork::ua::{Ending, Medium, Reaction};

use crate::stage::{SOON, Stage, answers, connect, hang_up, rings, talk};

#[test]
fn either_side_hangs_up() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    hang_up(&call, &taken);

    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    hang_up(&taken, &call);

    // Nothing of one leg shows through on the other.
    assert_ne!(call.call_id(), taken.call_id());
    for (end, other) in [(&call, &bob), (&taken, &alice)] {
        let far = other.local().to_string();
        assert!(!end.target().contains(&far), "{}", end.target());
    }
    stage.finish();
}

#[test]
fn the_caller_gives_up() {
    let stage = Stage::new();
    let (alice, desk, mobile) = (stage.phone("alice"), stage.desk(), stage.mobile());
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let branches = [desk.incoming(SOON).unwrap(), mobile.incoming(SOON).unwrap()];
    call.wait_ringing(SOON).unwrap();
    call.cancel().unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Cancelled);
    for branch in branches {
        assert_eq!(branch.wait_over(SOON).unwrap(), Ending::Cancelled);
        branch
            .phone()
            .wait_received(SOON, "the ACK to 487", |seen| {
                seen.iter().any(|message| *message.method() == Method::Ack)
            })
            .unwrap();
    }
    stage.finish();
}

#[test]
fn busy() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    bob.script(|script| script.invite = Reaction::Refuse(486, Duration::ZERO));
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(486));
    bob.wait_received(SOON, "the ACK to 486", |seen| {
        seen.iter().any(|message| *message.method() == Method::Ack)
    })
    .unwrap();
    stage.finish();
}

#[test]
fn nobody_answers() {
    let stage = Stage::with(|config| {
        config.engine.fork.ring_timeout = refork::engine::time::Millis(1000);
    });
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    rings(&bob);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let taken = bob.incoming(SOON).unwrap();
    let ending = call.wait_over(SOON).unwrap();
    assert!(
        matches!(ending, Ending::Refused(408 | 480)),
        "the caller is told {ending:?}"
    );
    assert_eq!(taken.wait_over(SOON).unwrap(), Ending::Cancelled);
    stage.finish();
}

#[test]
fn nobody_is_there() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    for (callee, statuses) in [
        ("sip:bob@example.org", [480, 480]),
        ("sip:nobody@example.org", [404, 404]),
        ("sip:bob@elsewhere.example", [403, 404]),
    ] {
        let call = alice.call(callee, Medium::Audio).unwrap();
        let ending = call.wait_over(SOON).unwrap();
        let Ending::Refused(status) = ending else {
            panic!("{callee}: {ending:?}");
        };
        assert!(statuses.contains(&status), "{callee}: {status}");
    }
    stage.finish();
}

#[test]
fn texts_go_both_ways_within_a_call() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    for nth in 0..5 {
        assert_eq!(call.message(&format!("to Bob {nth}")).unwrap(), 200);
        assert_eq!(taken.message(&format!("to Alice {nth}")).unwrap(), 200);
    }
    let bodies = |texts: Vec<refork::ua::Text>| -> Vec<String> {
        texts.into_iter().map(|text| text.body).collect()
    };
    let expected =
        |who: &str| -> Vec<String> { (0..5).map(|nth| format!("to {who} {nth}")).collect() };
    assert_eq!(bodies(taken.texts()), expected("Bob"));
    assert_eq!(bodies(call.texts()), expected("Alice"));
    // What the far phone thinks of a message is what the near one is told.
    bob.script(|script| script.message_status = 415);
    assert_eq!(call.message("in a language that Bob has not").unwrap(), 415);
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn hold_and_resume() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    for (holder, held) in [(&call, &taken), (&taken, &call)] {
        assert_eq!(holder.hold().unwrap(), 200);
        let sdp = String::from_utf8(held.remote_sdp()).unwrap();
        assert!(sdp.contains("a=sendonly"), "{sdp}");
        let sdp = String::from_utf8(holder.remote_sdp()).unwrap();
        assert!(sdp.contains("a=recvonly"), "{sdp}");
        assert_eq!(holder.resume().unwrap(), 200);
        talk(&call, &taken);
    }
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn requests_within_the_dialog_are_carried_across() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    // The far phone's answer is the near one's, whatever it is.
    for status in [200, 486] {
        bob.script(|script| script.options_status = status);
        let answer = call.request(Method::Options, vec![], None).unwrap();
        assert_eq!(answer, status);
    }
    bob.script(|script| script.options_status = 200);
    let asked = bob.wait_received(SOON, "OPTIONS", |seen| {
        let asked = seen.iter().filter(|it| *it.method() == Method::Options);
        asked.count() == 2
    });
    asked.unwrap();
    let dtmf = Some(("application/dtmf-relay", b"Signal=5\r\n".to_vec()));
    assert_eq!(taken.request(Method::Info, vec![], dtmf).unwrap(), 200);
    alice
        .wait_received(SOON, "INFO", |seen| {
            seen.iter().any(|message| {
                *message.method() == Method::Info && message.body() == b"Signal=5\r\n"
            })
        })
        .unwrap();
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn a_wrong_password_registers_nobody() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let mut profile = alice.profile().clone();
    profile.label = "mallory".to_owned();
    profile.user = "bob".to_owned();
    profile.password = "wrong".to_owned();
    let mallory = refork::ua::Phone::start(profile, &stage.log).unwrap();
    let status = mallory.register().unwrap();
    assert!(matches!(status, 401 | 403), "{status}");
    answers(&mallory);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    assert!(matches!(call.wait_over(SOON).unwrap(), Ending::Refused(_)));
    assert_eq!(mallory.calls(), 0);
    stage.finish();
}
