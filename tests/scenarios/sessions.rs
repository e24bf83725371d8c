//! IM sessions whose one end is lost: no message is lost, none comes out of order.

use refork::engine::settings::PerKind;
use refork::engine::time::Millis;
use refork::sip::Method;
use refork::ua::{Call, Medium, Phone, Text};

use crate::stage::{LATER, Loss, SOON, Stage, answers, connect, hang_up, requests_since, rings};

fn bodies(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(|text| text.body.as_str()).collect()
}

fn chat(a: &Call, b: &Call) {
    assert_eq!(a.message("hello").unwrap(), 200);
    assert_eq!(b.message("hello yourself").unwrap(), 200);
    assert_eq!(bodies(&b.wait_texts(1, SOON).unwrap()), ["hello"]);
    assert_eq!(bodies(&a.wait_texts(1, SOON).unwrap()), ["hello yourself"]);
}

/// Alice writes while Bob's phone is gone; his mobile gets it all.
fn session_is_lost(loss: Loss, change: impl Fn(&Stage, &str) -> Phone) {
    let stage = Stage::new();
    let alice = change(&stage, "alice");
    let desk = change(&stage, "bob-desk");
    let (call, taken) = connect(&alice, &desk, Medium::Text);
    chat(&call, &taken);
    let mobile = change(&stage, "bob-mobile");
    rings(&mobile);
    let since = stage.log.now();
    loss.happens_to(&desk);
    for text in ["one", "two", "three"] {
        assert_eq!(call.message(text).unwrap(), 202, "{text}");
    }
    let again = mobile.incoming(LATER).unwrap();
    again.answer().unwrap();
    let texts = again.wait_texts(3, SOON).unwrap();
    assert_eq!(bodies(&texts), ["one", "two", "three"]);
    // The notice comes when everything is delivered.
    let notice = call.wait_texts(2, SOON).unwrap();
    assert!(notice[1].at >= texts[2].at, "{notice:?} {texts:?}");
    assert_eq!(call.message("four").unwrap(), 200);
    assert_eq!(again.message("five").unwrap(), 200);
    let texts = again.wait_texts(4, SOON).unwrap();
    assert_eq!(bodies(&texts), ["one", "two", "three", "four"]);
    assert_eq!(bodies(&call.wait_texts(3, SOON).unwrap())[2], "five");
    assert_eq!(
        requests_since(&stage.log, &alice, since),
        [Method::Message, Method::Message]
    );
    if let Loss::Freeze = loss {
        desk.thaw();
        taken.wait_over(SOON).unwrap();
    }
    hang_up(&again, &call);
    stage.finish();
}

#[test]
fn a_session_whose_phone_is_killed() {
    session_is_lost(Loss::Kill, Stage::phone);
}

#[test]
fn a_session_whose_phone_freezes() {
    session_is_lost(Loss::Freeze, Stage::phone);
}

#[test]
fn a_session_over_tcp_whose_phone_is_killed() {
    session_is_lost(Loss::Kill, |stage, label| {
        let server = stage.sip(refork::ua::Transport::Tcp, false);
        stage.phone_with(label, |profile| {
            profile.server = server;
            profile.transport = refork::ua::Transport::Tcp;
        })
    });
}

#[test]
fn the_same_phone_gets_what_was_written_meanwhile() {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Text);
    chat(&call, &taken);
    desk.kill();
    for nth in 0..10 {
        assert_eq!(call.message(&format!("text {nth}")).unwrap(), 202);
    }
    let desk = stage.restart(&desk);
    answers(&desk);
    assert_eq!(desk.register().unwrap(), 200);
    let again = desk.incoming(LATER).unwrap();
    let texts = again.wait_texts(10, LATER).unwrap();
    let expected: Vec<String> = (0..10).map(|nth| format!("text {nth}")).collect();
    assert_eq!(bodies(&texts), expected);
    assert_eq!(again.message("all read").unwrap(), 200);
    assert_eq!(
        bodies(&call.wait_texts(2, SOON).unwrap()),
        ["hello yourself", "all read"],
        "no notice: it is the same phone"
    );
    hang_up(&call, &again);
    stage.finish();
}

#[test]
fn the_caller_of_a_session_is_lost() {
    let stage = Stage::new();
    let (desk, bob) = (stage.phone("alice-desk"), stage.desk());
    let (call, taken) = connect(&desk, &bob, Medium::Text);
    chat(&call, &taken);
    let mobile = stage.phone("alice-mobile");
    answers(&mobile);
    desk.kill();
    assert_eq!(taken.message("are you there?").unwrap(), 202);
    let again = mobile.incoming(LATER).unwrap();
    let texts = again.wait_texts(1, SOON).unwrap();
    assert_eq!(bodies(&texts), ["are you there?"]);
    taken.wait_texts(2, SOON).unwrap();
    hang_up(&taken, &again);
    stage.finish();
}

#[test]
fn the_sender_is_told_how_many_were_not_delivered() {
    let stage = Stage::with(|config| {
        config.engine.restore.timeout = PerKind::both(Millis(2000));
    });
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Text);
    chat(&call, &taken);
    desk.kill();
    for text in ["one", "two"] {
        assert_eq!(call.message(text).unwrap(), 202);
    }
    call.wait_over(LATER).unwrap();
    let texts = call.texts();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[1].body.contains("could not be reached") && texts[1].body.contains('2'),
        "{texts:?}"
    );
    stage.finish();
}

#[test]
fn a_survivor_that_takes_no_messages_is_told_otherwise_or_not_at_all() {
    let stage = Stage::new();
    let alice = stage.phone_with("alice", |profile| profile.script.takes_messages = false);
    let desk = stage.desk();
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    crate::stage::talk(&call, &taken);
    let mobile = stage.mobile();
    answers(&mobile);
    let since = stage.log.now();
    desk.kill();
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    crate::stage::talk(&call, &again);
    // Its Allow says so, and it is not asked within the dialog; a refusal outside is no sign of loss.
    alice
        .wait_received(LATER, "the notice out of dialog", |seen| {
            seen.iter()
                .any(|message| *message.method() == Method::Message && message.to_tag().is_none())
        })
        .unwrap();
    crate::stage::talk(&call, &again);
    assert_eq!(requests_since(&stage.log, &alice, since), [Method::Message]);
    hang_up(&again, &call);
    stage.finish();
}

#[test]
fn one_bad_message_blocks_nobody() {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Text);
    chat(&call, &taken);
    let mobile = stage.mobile();
    mobile.script(|script| script.message_status = 415);
    rings(&mobile);
    desk.kill();
    assert_eq!(call.message("refused").unwrap(), 202);
    let again = mobile.incoming(LATER).unwrap();
    again.answer().unwrap();
    mobile
        .wait_received(SOON, "the message", |seen| {
            seen.iter()
                .any(|message| *message.method() == Method::Message)
        })
        .unwrap();
    mobile.script(|script| script.message_status = 200);
    assert_eq!(call.message("taken").unwrap(), 200);
    assert_eq!(bodies(&again.wait_texts(1, SOON).unwrap()), ["taken"]);
    assert_eq!(again.texts().len(), 1);
    assert!(again.ending().is_none(), "a refused message ends nothing");
    hang_up(&call, &again);
    stage.finish();
}
