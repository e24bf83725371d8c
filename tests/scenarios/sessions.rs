//! IM sessions whose one end is lost: no message is lost, none comes out of order.

use refork::engine::settings::PerKind;
use refork::engine::time::Millis;
use refork::sip::Method;
use refork::ua::{Call, Medium, Phone, Text, Transport};

use crate::stage::{
    LATER, Loss, SOON, Stage, answers, connect, hang_up, killed_and_frozen, only_told, rings, talk,
};
use crate::transports::over;

killed_and_frozen!(
    a_session_is_lost,
    a_session_over_tcp_is_lost,
    the_same_phone_gets_what_was_written_meanwhile,
    the_caller_of_a_session_is_lost,
    the_sender_is_told_how_many_were_not_delivered,
    a_survivor_that_takes_no_messages_is_told_otherwise_or_not_at_all,
    one_bad_message_blocks_nobody,
);

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
    only_told(&stage.log, &alice, since, 2);
    loss.is_over_for(&desk);
    hang_up(&again, &call);
    stage.finish();
}

fn a_session_is_lost(loss: Loss) {
    session_is_lost(loss, Stage::phone);
}

fn a_session_over_tcp_is_lost(loss: Loss) {
    session_is_lost(loss, |stage, label| {
        over(stage, label, Transport::Tcp, false)
    });
}

fn the_same_phone_gets_what_was_written_meanwhile(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Text);
    chat(&call, &taken);
    loss.happens_to(&desk);
    for nth in 0..10 {
        assert_eq!(call.message(&format!("text {nth}")).unwrap(), 202);
    }
    let desk = loss.comes_back(&stage, &desk);
    let again = desk.incoming(LATER).unwrap();
    // What had waited in the socket of the frozen one came within the lost dialog.
    let before = taken.texts().len() - 1;
    let new = again.wait_texts(10 - before, LATER).unwrap();
    let mut texts = taken.texts();
    texts.extend(new);
    let expected: Vec<String> = (0..10).map(|nth| format!("text {nth}")).collect();
    assert_eq!(bodies(&texts[1..]), expected);
    assert_eq!(again.message("all read").unwrap(), 200);
    assert_eq!(
        bodies(&call.wait_texts(2, SOON).unwrap()),
        ["hello yourself", "all read"],
        "no notice: it is the same phone"
    );
    hang_up(&call, &again);
    stage.finish();
}

fn the_caller_of_a_session_is_lost(loss: Loss) {
    let stage = Stage::new();
    let (desk, bob) = (stage.phone("alice-desk"), stage.desk());
    let (call, taken) = connect(&desk, &bob, Medium::Text);
    chat(&call, &taken);
    let mobile = stage.phone("alice-mobile");
    answers(&mobile);
    let since = stage.log.now();
    loss.happens_to(&desk);
    assert_eq!(taken.message("are you there?").unwrap(), 202);
    let again = mobile.incoming(LATER).unwrap();
    let texts = again.wait_texts(1, SOON).unwrap();
    assert_eq!(bodies(&texts), ["are you there?"]);
    taken.wait_texts(2, SOON).unwrap();
    only_told(&stage.log, &bob, since, 1);
    loss.is_over_for(&desk);
    hang_up(&taken, &again);
    stage.finish();
}

fn the_sender_is_told_how_many_were_not_delivered(loss: Loss) {
    let stage = Stage::with(|config| {
        config.engine.restore.timeout = PerKind::both(Millis(2000));
    });
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Text);
    chat(&call, &taken);
    loss.happens_to(&desk);
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
    loss.is_over_for(&desk);
    stage.finish();
}

fn a_survivor_that_takes_no_messages_is_told_otherwise_or_not_at_all(loss: Loss) {
    let stage = Stage::new();
    let alice = stage.phone_with("alice", |profile| profile.script.takes_messages = false);
    let desk = stage.desk();
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let mobile = stage.mobile();
    answers(&mobile);
    let since = stage.log.now();
    loss.happens_to(&desk);
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    // Its Allow says so, and it is not asked within the dialog; a refusal outside is no sign of loss.
    alice
        .wait_received(LATER, "the notice out of dialog", |seen| {
            seen.iter()
                .any(|message| *message.method() == Method::Message && message.to_tag().is_none())
        })
        .unwrap();
    talk(&call, &again);
    only_told(&stage.log, &alice, since, 1);
    loss.is_over_for(&desk);
    hang_up(&again, &call);
    stage.finish();
}

fn one_bad_message_blocks_nobody(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Text);
    chat(&call, &taken);
    let mobile = stage.mobile();
    mobile.script(|script| script.message_status = 415);
    rings(&mobile);
    loss.happens_to(&desk);
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
    loss.is_over_for(&desk);
    hang_up(&call, &again);
    stage.finish();
}
