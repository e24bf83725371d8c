//! SRTP on each leg, judged by what the phones could decipher.

use std::time::Duration;

use refork::engine::settings;
use refork::ua::{Call, Continuity, Ending, Medium, Phone, Reaction, Srtp};

use crate::stage::{
    LATER, Loss, SOON, Stage, connect, hang_up, killed_and_frozen, only_told, talk,
};

killed_and_frozen!(
    a_secure_survivor_hears_a_new_secure_phone,
    a_secure_survivor_hears_a_new_plain_phone,
    a_plain_survivor_hears_a_new_secure_phone,
);

fn with(stage: &Stage, label: &str, srtp: Srtp) -> Phone {
    stage.phone_with(label, |profile| {
        profile.script.srtp = srtp;
        profile.script.invite = Reaction::Answer(Duration::from_millis(50));
    })
}

/// One source, no sequence number missing, nothing that could not be deciphered.
#[track_caller]
fn went_on(survivor: &Call) {
    let seen = Continuity::of(&survivor.heard());
    assert_eq!(
        (seen.sources, seen.breaks, seen.steps_back),
        (1, 0, 0),
        "{seen:?}"
    );
    assert_eq!(survivor.undeciphered(), 0);
}

#[track_caller]
fn profile_is(call: &Call, profile: &str) {
    let said = String::from_utf8(call.remote_sdp()).unwrap();
    assert!(said.contains(&format!(" {profile} ")), "{said}");
    assert_eq!(said.contains("a=crypto:"), profile != "RTP/AVP", "{said}");
}

/// Alice and Bob talk; Bob's phone is lost, and he goes on at another one.
fn goes_on(loss: Loss, alice: Srtp, desk: Srtp, mobile: Srtp) {
    let stage = Stage::new();
    let alice = with(&stage, "alice", alice);
    let lost = with(&stage, "bob-desk", desk);
    let (call, taken) = connect(&alice, &lost, Medium::Audio);
    talk(&call, &taken);
    let before = call.remote_sdp();
    let since = stage.log.now();
    loss.happens_to(&lost);
    let other = with(&stage, "bob-mobile", mobile);
    let again = other.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    call.wait_texts(1, SOON).unwrap();
    only_told(&stage.log, &alice, since, 1);
    assert_eq!(call.remote_sdp(), before);
    went_on(&call);
    assert_eq!(again.undeciphered(), 0);
    let secure = |srtp| {
        if srtp == Srtp::Off {
            "RTP/AVP"
        } else {
            "RTP/SAVP"
        }
    };
    profile_is(&call, secure(alice.profile().script.srtp));
    profile_is(&again, secure(mobile));
    loss.is_over_for(&lost);
    hang_up(&again, &call);
    stage.finish();
}

fn a_secure_survivor_hears_a_new_secure_phone(loss: Loss) {
    goes_on(loss, Srtp::Required, Srtp::Required, Srtp::Required);
}

fn a_secure_survivor_hears_a_new_plain_phone(loss: Loss) {
    goes_on(loss, Srtp::Required, Srtp::Required, Srtp::Off);
}

fn a_plain_survivor_hears_a_new_secure_phone(loss: Loss) {
    goes_on(loss, Srtp::Off, Srtp::Off, Srtp::Required);
}

#[test]
fn a_secure_caller_is_lost_and_comes_back() {
    let stage = Stage::new();
    let alice = stage.phone_with("alice", |profile| {
        profile.script.srtp = Srtp::Required;
        profile.instance = Some("urn:uuid:00000000-0000-1000-8000-00000000000a".into());
    });
    let desk = with(&stage, "bob-desk", Srtp::Required);
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let since = stage.log.now();
    alice.kill();
    let back = Loss::Kill.comes_back(&stage, &alice);
    let again = back.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&again, &taken);
    assert_eq!(again.undeciphered(), 0);
    went_on(&taken);
    only_told(&stage.log, &desk, since, 0);
    hang_up(&again, &taken);
    stage.finish();
}

#[test]
fn phones_with_srtp_and_without_talk() {
    // Who calls, who is called, and what each is told.
    let (off, optional, required) = (Srtp::Off, Srtp::Optional, Srtp::Required);
    for (caller, callee, told) in [
        (required, required, ["RTP/SAVP", "RTP/SAVP"]),
        (required, off, ["RTP/SAVP", "RTP/AVP"]),
        (off, required, ["RTP/AVP", "RTP/SAVP"]),
        (required, optional, ["RTP/SAVP", "RTP/SAVP"]),
        (off, optional, ["RTP/AVP", "RTP/AVP"]),
        (off, off, ["RTP/AVP", "RTP/AVP"]),
    ] {
        let stage = Stage::new();
        let (alice, bob) = (with(&stage, "alice", caller), with(&stage, "bob", callee));
        let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
        call.wait_up(SOON).unwrap();
        let taken = bob.all_calls().pop().unwrap();
        taken.wait_up(SOON).unwrap();
        talk(&call, &taken);
        profile_is(&call, told[0]);
        profile_is(&taken, told[1]);
        // A hold and its end change no key.
        assert_eq!(call.hold().unwrap(), 200);
        assert_eq!(call.resume().unwrap(), 200);
        talk(&call, &taken);
        assert_eq!((call.undeciphered(), taken.undeciphered()), (0, 0));
        hang_up(&call, &taken);
        stage.finish();
    }
}

#[test]
fn who_offers_a_key_at_pleasure_is_answered_with_one() {
    let stage = Stage::new();
    let (alice, bob) = (
        with(&stage, "alice", Srtp::Optional),
        with(&stage, "bob", Srtp::Off),
    );
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    let said = String::from_utf8(call.remote_sdp()).unwrap();
    assert!(
        said.contains(" RTP/AVP ") && said.contains("a=crypto:1 "),
        "{said}"
    );
    // As a plain phone takes it, which passes the keys over.
    let offered = String::from_utf8(taken.remote_sdp()).unwrap();
    assert!(
        offered.contains(" RTP/AVP ") && offered.contains("a=crypto:1 "),
        "{offered}"
    );
    assert_eq!(call.undeciphered(), 0);
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn where_srtp_is_required_a_plain_phone_is_refused() {
    let stage = Stage::with(|config| config.engine.media.srtp = settings::Srtp::Required);
    let (alice, bob) = (
        with(&stage, "alice", Srtp::Off),
        with(&stage, "bob", Srtp::Required),
    );
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(488));
    assert_eq!(bob.calls(), 0);
    stage.finish();
}
