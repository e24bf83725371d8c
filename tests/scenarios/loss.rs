//! Calls whose one end is lost.

use std::time::Duration;

use refork::engine::settings::PerKind;
use refork::engine::time::Millis;
use refork::sip::Method;
use refork::ua::{Call, Continuity, Ending, Medium, Phone, Reaction};

use crate::stage::{
    LATER, Loss, SOON, Stage, answers, connect, hang_up, killed_and_frozen, only_told,
    requests_since, rings, standing, talk,
};

killed_and_frozen!(
    the_callee_is_lost,
    the_caller_is_lost,
    the_same_phone_comes_back_and_nobody_is_told,
    several_are_asked_and_only_one_is_left_with_the_call,
    the_gauges_show_what_is_there,
    nobody_comes_back,
    who_declines_on_another_phone_ends_it,
    the_survivor_hangs_up_while_the_other_is_looked_for,
    a_phone_that_registers_meanwhile_is_asked,
);

/// A packet's worth of samples, judged by the packets that were delayed least.
const DRIFT_MAX: i64 = 160;

/// The survivor's stream went on: one source, no sequence number missing, timestamps in step with the
/// time, and the marker where the new voice begins.
fn went_on(survivor: &Call, new: &Phone) {
    let heard = survivor.heard();
    let seen = Continuity::of(&heard);
    assert_eq!(
        (seen.sources, seen.breaks, seen.steps_back),
        (1, 0, 0),
        "{seen:?}"
    );
    for seam in &seen.seams {
        // A new phone that is late with its first packet is ahead with the next: nobody can know before.
        let run = heard.iter().skip_while(|packet| packet.at < seam.at);
        let run = run.take_while(|packet| packet.payload.first() == Some(&seam.voices[1]));
        let first = heard.iter().find(|packet| packet.at >= seam.at).unwrap();
        let ahead = run.map(|packet| {
            let stamp = i64::from(packet.timestamp.wrapping_sub(first.timestamp));
            stamp - (packet.at - first.at).as_micros() as i64 * 8 / 1000
        });
        let late = ahead.max().unwrap_or(0);
        let fits = -DRIFT_MAX..=DRIFT_MAX + late;
        assert!(fits.contains(&seam.drift), "{late} late: {seen:?}");
    }
    let seam = seen.seam_to(new.profile().voice).expect("a seam");
    assert!(seam.marker, "{seen:?}");
}

/// What a phone has heard from its first packet on is one stream: one source, no number missing, no step back.
fn one_stream(call: &Call) {
    let seen = Continuity::of(&call.heard());
    assert_eq!(
        (seen.sources, seen.breaks, seen.steps_back),
        (1, 0, 0),
        "{seen:?}"
    );
}

/// Bob's desk phone is lost; his mobile answers.
fn the_callee_is_lost(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let mobile = stage.mobile();
    answers(&mobile);
    let since = stage.log.now();
    loss.happens_to(&desk);

    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    let notice = call.wait_texts(1, SOON).unwrap();
    assert!(notice[0].body.contains("Bob's mobile"), "{notice:?}");
    went_on(&call, &mobile);
    one_stream(&again);
    // No other word to the survivor, and the conversation is as alive as before.
    only_told(&stage.log, &alice, since, 1);
    assert_eq!(call.message("still here?").unwrap(), 200);
    assert_eq!(again.message("yes").unwrap(), 200);
    assert_eq!(again.wait_texts(1, SOON).unwrap()[0].body, "still here?");

    loss.is_over_for(&desk);
    hang_up(&again, &call);
    assert_eq!(call.texts().len(), 2, "the notice came once");
    stage.finish();
}

/// Alice's desk phone is lost after she has called; her mobile answers.
fn the_caller_is_lost(loss: Loss) {
    let stage = Stage::new();
    let (desk, bob) = (stage.phone("alice-desk"), stage.desk());
    let (call, taken) = connect(&desk, &bob, Medium::Audio);
    talk(&call, &taken);
    let mobile = stage.phone("alice-mobile");
    answers(&mobile);
    let since = stage.log.now();
    loss.happens_to(&desk);

    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&taken, &again);
    taken.wait_texts(1, SOON).unwrap();
    went_on(&taken, &mobile);
    one_stream(&again);
    only_told(&stage.log, &bob, since, 1);
    // A re-fork looks as if the survivor had called.
    let invite = mobile
        .wait_received(SOON, "the INVITE", |seen| {
            seen.iter()
                .any(|message| *message.method() == Method::Invite)
        })
        .unwrap();
    let invite = invite
        .iter()
        .find(|message| *message.method() == Method::Invite)
        .unwrap();
    assert_eq!(invite.from().uri, "sip:bob@example.org");

    loss.is_over_for(&desk);
    hang_up(&taken, &again);
    stage.finish();
}

fn the_same_phone_comes_back_and_nobody_is_told(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let since = stage.log.now();
    loss.happens_to(&desk);
    let desk = loss.comes_back(&stage, &desk);
    let again = desk.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    one_stream(&call);
    one_stream(&again);
    // A text of Bob's is delivered after the notice would have been.
    assert_eq!(again.message("that was my battery").unwrap(), 200);
    let texts = call.wait_texts(1, SOON).unwrap();
    assert_eq!(texts[0].body, "that was my battery");
    hang_up(&call, &again);
    only_told(&stage.log, &alice, since, 1);
    assert_eq!(call.texts().len(), 1);
    stage.finish();
}

fn several_are_asked_and_only_one_is_left_with_the_call(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let (mobile, soft) = (stage.mobile(), stage.phone("bob-soft"));
    rings(&mobile);
    rings(&soft);
    let since = stage.log.now();
    loss.happens_to(&desk);
    let ringing = [
        mobile.incoming(LATER).unwrap(),
        soft.incoming(LATER).unwrap(),
    ];
    ringing[1].answer().unwrap();
    ringing[1].wait_up(SOON).unwrap();
    assert_eq!(ringing[0].wait_over(SOON).unwrap(), Ending::Cancelled);
    talk(&call, &ringing[1]);
    call.wait_texts(1, SOON).unwrap();
    only_told(&stage.log, &alice, since, 1);
    loss.is_over_for(&desk);
    assert_eq!(standing(&mobile), 0);
    hang_up(&call, &ringing[1]);
    stage.finish();
}

fn the_gauges_show_what_is_there(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    stage.wait_metric("refork_conversations{state=\"established\"}", 1.0);
    stage.wait_metric("refork_legs", 2.0);
    stage.wait_metric("refork_relay_sessions", 1.0);
    stage.wait_metric("refork_bindings", 2.0);
    assert!(stage.metric("refork_relay_ports{state=\"used\"}") >= 4.0);
    assert!(stage.metric("refork_relay_ports{state=\"free\"}") > 0.0);
    assert!(stage.metric("refork_timers") > 0.0);

    let mobile = stage.mobile();
    rings(&mobile);
    loss.happens_to(&desk);
    for text in ["one", "two"] {
        assert_eq!(call.message(text).unwrap(), 202);
    }
    let ringing = mobile.incoming(LATER).unwrap();
    stage.wait_metric("refork_conversations{state=\"restoring\"}", 1.0);
    stage.wait_metric("refork_conversations{state=\"established\"}", 0.0);
    stage.wait_metric("refork_messages_waiting", 2.0);
    stage.wait_metric("refork_message_bytes_waiting", 6.0);
    assert!(stage.metric("refork_legs") >= 1.0);
    assert!(stage.metric("refork_transactions{role=\"client\"}") >= 1.0);
    ringing.answer().unwrap();
    ringing.wait_up(SOON).unwrap();
    ringing.wait_texts(2, SOON).unwrap();
    stage.wait_metric("refork_messages_waiting", 0.0);
    loss.is_over_for(&desk);
    hang_up(&call, &ringing);
    stage.finish();
}

/// Alice's phone gets the last word and a BYE, and nothing else.
fn is_told_and_hung_up(stage: &Stage, alice: &Phone, call: &Call, since: Duration) {
    assert_eq!(call.wait_over(LATER).unwrap(), Ending::HungUpThere);
    let texts = call.texts();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].body.contains("could not be reached"), "{texts:?}");
    let seen = requests_since(&stage.log, alice, since);
    assert_eq!(seen, [Method::Message, Method::Bye]);
}

fn nobody_comes_back(loss: Loss) {
    let stage = Stage::with(|config| {
        config.engine.restore.timeout = PerKind::both(Millis(3000));
    });
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let since = stage.log.now();
    loss.happens_to(&desk);
    is_told_and_hung_up(&stage, &alice, &call, since);
    loss.is_over_for(&desk);
    // Meanwhile the line was not dead.
    let seen = Continuity::of(&call.heard());
    assert_eq!((seen.sources, seen.breaks), (1, 0), "{seen:?}");
    let last = call.heard().last().map(|packet| packet.at).unwrap();
    assert!(
        last > since + Duration::from_secs(2),
        "silence until the end"
    );
    assert_eq!(
        stage.metric("refork_restorations_total{result=\"timeout\"}"),
        1.0
    );
    stage.finish();
}

/// Bob's desk phone is lost, and he declines on his mobile: Alice is told, and does not wait in vain.
fn who_declines_on_another_phone_ends_it(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let mobile = stage.mobile();
    mobile.script(|script| script.invite = Reaction::Refuse(603, Duration::ZERO));
    let since = stage.log.now();
    loss.happens_to(&desk);
    is_told_and_hung_up(&stage, &alice, &call, since);
    loss.is_over_for(&desk);
    assert_eq!(
        stage.metric("refork_restorations_total{result=\"declined\"}"),
        1.0
    );
    stage.finish();
}

fn the_survivor_hangs_up_while_the_other_is_looked_for(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let mobile = stage.mobile();
    rings(&mobile);
    let since = stage.log.now();
    loss.happens_to(&desk);
    let ringing = mobile.incoming(LATER).unwrap();
    // Hold is answered meanwhile as if nothing were wrong.
    assert_eq!(call.hold().unwrap(), 200);
    assert_eq!(call.resume().unwrap(), 200);
    only_told(&stage.log, &alice, since, 0);
    assert_eq!(call.hang_up().unwrap(), 200);
    assert_eq!(ringing.wait_over(SOON).unwrap(), Ending::Cancelled);
    loss.is_over_for(&desk);
    stage.finish();
}

fn a_phone_that_registers_meanwhile_is_asked(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let since = stage.log.now();
    loss.happens_to(&desk);
    // Silence of the phone is filled by the server once it counts as lost.
    let voice = desk.profile().voice;
    call.wait_heard(LATER, "the filler", |heard| {
        let last = heard.last().and_then(|packet| packet.payload.first());
        last.is_some_and(|last| *last != voice)
    })
    .unwrap();
    let mobile = stage.phone_with("bob-mobile", |profile| {
        profile.script.invite = Reaction::Answer(Duration::ZERO);
    });
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    call.wait_texts(1, SOON).unwrap();
    only_told(&stage.log, &alice, since, 1);
    loss.is_over_for(&desk);
    hang_up(&again, &call);
    stage.finish();
}

#[test]
fn a_bye_that_is_no_farewell() {
    let stage = Stage::new();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let mobile = stage.mobile();
    answers(&mobile);
    rings(&desk);
    let reason = "SIP;cause=503;text=\"lost my network\"";
    assert_eq!(taken.hang_up_because(reason).unwrap(), 200);
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    hang_up(&call, &again);
    stage.finish();
}

/// Alice's phone takes no MESSAGE, within the dialog or outside.
#[test]
fn a_phone_that_takes_no_message_hears_a_tone() {
    let stage = Stage::with(|config| config.engine.notice.tone = true);
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    alice.script(|script| script.takes_messages = false);
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let mobile = stage.mobile();
    answers(&mobile);
    desk.kill();
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(LATER).unwrap();
    stage.wait_metric("refork_notices_total{outcome=\"tone\"}", 1.0);
    talk(&call, &again);
    let heard = call.heard();
    let seen = Continuity::of(&heard);
    assert_eq!(
        (seen.sources, seen.breaks, seen.steps_back),
        (1, 0, 0),
        "{seen:?}"
    );
    // A voice says one octet again and again, and silence is one too.
    let beeps: Vec<u8> = heard
        .iter()
        .filter(|packet| {
            packet
                .payload
                .windows(2)
                .any(|pair| pair[0] | 0x80 != pair[1] | 0x80)
        })
        .flat_map(|packet| packet.payload.clone())
        .collect();
    // Twice 150 ms of 1100 Hz, whose sign changes twice a turn.
    let changes = beeps
        .windows(2)
        .filter(|pair| (pair[0] ^ pair[1]) & 0x80 != 0);
    let changes = changes.count();
    assert!(
        (600..=720).contains(&changes),
        "{changes} in {} octets",
        beeps.len()
    );
    hang_up(&call, &again);
    stage.finish();
}
