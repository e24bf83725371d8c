//! Pictures beside the sound, added while a call stands.

use std::time::Duration;

use refork::ua::{Call, Continuity, Medium, Phone, Reaction, Srtp};

use crate::stage::{
    LATER, Loss, SOON, Stage, connect, hang_up, killed_and_frozen, only_told, talk,
};

killed_and_frozen!(
    pictures_that_were_added_outlive_the_phone,
    encrypted_pictures_outlive_the_phone,
    whoever_held_is_lost_and_the_held_one_hears_again,
);

fn phone(stage: &Stage, label: &str, srtp: Srtp) -> Phone {
    stage.phone_with(label, |profile| {
        profile.script.srtp = srtp;
        profile.script.invite = Reaction::Answer(Duration::from_millis(50));
    })
}

/// Waits until each sees something new of the other.
fn show(a: &Call, b: &Call) {
    for (sees, shows) in [(a, b), (b, a)] {
        let voice = shows.phone().profile().voice;
        let seen = sees.seen();
        let so_far = seen
            .iter()
            .filter(|packet| packet.payload.first() == Some(&voice));
        sees.wait_pictures(voice, so_far.count() + 15, SOON)
            .unwrap();
    }
}

fn outlive(loss: Loss, srtp: Srtp) {
    let stage = Stage::new();
    let (alice, desk) = (
        phone(&stage, "alice", srtp),
        phone(&stage, "bob-desk", srtp),
    );
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    assert_eq!(call.show(true).unwrap(), 200);
    show(&call, &taken);
    talk(&call, &taken);
    let since = stage.log.now();
    loss.happens_to(&desk);
    let mobile = phone(&stage, "bob-mobile", srtp);
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    show(&call, &again);
    call.wait_texts(1, SOON).unwrap();
    only_told(&stage.log, &alice, since, 1);
    for stream in [call.heard(), call.seen()] {
        let line = Continuity::of(&stream);
        assert_eq!((line.sources, line.breaks), (1, 0), "{line:?}");
    }
    assert_eq!((call.undeciphered(), again.undeciphered()), (0, 0));
    loss.is_over_for(&desk);
    hang_up(&call, &again);
    stage.finish();
}

fn pictures_that_were_added_outlive_the_phone(loss: Loss) {
    outlive(loss, Srtp::Off);
}

fn encrypted_pictures_outlive_the_phone(loss: Loss) {
    outlive(loss, Srtp::Required);
}

#[test]
fn either_adds_pictures_and_takes_them_out() {
    let stage = Stage::new();
    let (alice, bob) = (
        phone(&stage, "alice", Srtp::Off),
        phone(&stage, "bob", Srtp::Off),
    );
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    for who in [&call, &taken] {
        assert_eq!(who.show(true).unwrap(), 200);
        show(&call, &taken);
        assert_eq!(who.show(false).unwrap(), 200);
        let before = call.seen().len();
        talk(&call, &taken);
        assert_eq!(call.seen().len(), before, "the sound alone goes on");
    }
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn a_phone_without_pictures_hears_on() {
    let stage = Stage::new();
    let (alice, bob) = (
        phone(&stage, "alice", Srtp::Off),
        phone(&stage, "bob", Srtp::Off),
    );
    bob.script(|script| script.shows = false);
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    assert_eq!(call.show(true).unwrap(), 200);
    let said = String::from_utf8(call.remote_sdp()).unwrap();
    assert!(said.contains("m=video 0 "), "{said}");
    talk(&call, &taken);
    assert_eq!((call.seen().len(), taken.seen().len()), (0, 0));
    hang_up(&call, &taken);
    stage.finish();
}

fn whoever_held_is_lost_and_the_held_one_hears_again(loss: Loss) {
    let stage = Stage::new();
    let (alice, desk) = (
        phone(&stage, "alice", Srtp::Off),
        phone(&stage, "bob-desk", Srtp::Off),
    );
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    assert_eq!(taken.hold().unwrap(), 200);
    let since = stage.log.now();
    loss.happens_to(&desk);
    // Nobody misses the voice of who holds: his phone is asked for a sign of life.
    assert_eq!(call.message("are you there?").unwrap(), 202);
    let mobile = phone(&stage, "bob-mobile", Srtp::Off);
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    again.wait_texts(1, SOON).unwrap();
    call.wait_texts(1, SOON).unwrap();
    let seen = crate::stage::requests_since(&stage.log, &alice, since);
    let offers = seen.iter().filter(|method| method.as_str() == "INVITE");
    assert_eq!((offers.count(), seen.len()), (1, 2), "{seen:?}");
    loss.is_over_for(&desk);
    hang_up(&again, &call);
    stage.finish();
}
