//! One caller, several endpoints of the callee.

use std::time::Duration;

use refork::sip::Method;
use refork::ua::{Call, Ending, Medium, Phase, Phone, Reaction};

use crate::stage::{SOON, Stage, hang_up, talk};
use crate::wire::{Wire, sound_of};

fn three(stage: &Stage) -> [Phone; 3] {
    [stage.desk(), stage.mobile(), stage.phone("bob-soft")]
}

#[test]
fn three_ring_and_one_answers() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let phones = three(&stage);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let [desk, mobile, soft] = phones.map(|phone| phone.incoming(SOON).unwrap());
    call.wait_ringing(SOON).unwrap();
    mobile.answer().unwrap();
    call.wait_up(SOON).unwrap();
    mobile.wait_up(SOON).unwrap();
    for other in [desk, soft] {
        assert_eq!(other.wait_over(SOON).unwrap(), Ending::Cancelled);
        other
            .phone()
            .wait_received(SOON, "the ACK to 487", |seen| {
                seen.iter().any(|message| *message.method() == Method::Ack)
            })
            .unwrap();
    }
    talk(&call, &mobile);
    hang_up(&mobile, &call);
    stage.finish();
}

#[test]
fn refusals_are_forgotten_after_timer_d() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let phones = three(&stage);
    for phone in &phones {
        phone.script(|script| script.invite = Reaction::Refuse(486, Duration::ZERO));
    }
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(486));
    assert_eq!(alice.unregister_all().unwrap(), 200);
    assert_eq!(phones[0].unregister_all().unwrap(), 200);
    stage.wait_drained(Duration::from_secs(40), |_, _| false);
    stage.finish();
}

#[test]
fn two_answer_at_once() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let phones = three(&stage);
    for phone in &phones[..2] {
        phone.script(|script| script.invite = Reaction::Answer(Duration::ZERO));
    }
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let taken: Vec<Call> = phones
        .iter()
        .map(|phone| phone.incoming(SOON).unwrap())
        .collect();
    call.wait_up(SOON).unwrap();
    assert_eq!(taken[2].wait_over(SOON).unwrap(), Ending::Cancelled);
    // Whose answer came second was acknowledged, and hung up on.
    let (winner, loser) = {
        let first = taken[0].clone();
        let second = taken[1].clone();
        let over = |call: &Call| call.wait_over(Duration::from_millis(500)).is_ok();
        if over(&first) {
            (second, first)
        } else {
            (first, second)
        }
    };
    let ending = loser.wait_over(SOON).unwrap();
    assert!(
        matches!(ending, Ending::HungUpThere | Ending::Cancelled),
        "{ending:?}"
    );
    winner.wait_up(SOON).unwrap();
    assert_eq!(call.phase(), Phase::Up);
    talk(&call, &winner);
    hang_up(&call, &winner);
    stage.finish();
}

#[test]
fn the_best_refusal_is_the_callers_answer() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let phones = three(&stage);
    // RFC 3261 16.7: the lowest class wins, and a busy phone says more than one that is away.
    for (phone, status) in phones.iter().zip([503, 486, 500]) {
        phone.script(|script| script.invite = Reaction::Refuse(status, Duration::ZERO));
    }
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(486));
    stage.finish();
}

#[test]
fn everybody_is_asked_before_the_caller_is_refused() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let phones = three(&stage);
    phones[0].script(|script| script.invite = Reaction::Refuse(486, Duration::ZERO));
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let mobile = phones[1].incoming(SOON).unwrap();
    phones[0].incoming(SOON).unwrap().wait_over(SOON).unwrap();
    mobile.answer().unwrap();
    call.wait_up(SOON).unwrap();
    hang_up(&call, &mobile);
    stage.finish();
}

/// Returns true where the voice has come to somebody by now.
fn hears(who: &Wire, voice: u8) -> bool {
    who.sound.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    let mut heard = false;
    while let Ok(length) = who.sound.recv(&mut buffer) {
        heard |= length > 12 && buffer[12] == voice;
    }
    heard
}

/// Two phones with early media; the first to say so is heard until it ends, or is silent while the other one sends.
#[test]
fn whoever_sends_early_media_is_heard() {
    let stage = Stage::new();
    let mut alice = Wire::of(&stage, "alice");
    let mut phones = [Wire::of(&stage, "bob"), Wire::of(&stage, "bob")];
    phones.iter_mut().for_each(|phone| phone.register(60));
    let mut call = alice.first(Method::Invite, "sip:bob@example.org");
    call.sdp = alice.sdp(1, "sendrecv");
    alice.prove(&mut call);
    let tags = ["one", "two"];
    let mut invites = Vec::new();
    for (phone, tag) in phones.iter_mut().zip(tags) {
        let invite = phone.request(&Method::Invite);
        phone.answer(&invite, 183, tag, "", &phone.sdp(1, "sendrecv"));
        alice.response(&call, |status| status == 183);
        invites.push(invite);
    }
    let [one, two] = [0x11, 0x22];
    let ours = [sound_of(&invites[0]), sound_of(&invites[1])];
    // The second sends, and the first does not.
    phones[1].speaks(ours[1], two, || hears(&alice, two));
    // It falls silent, and the first begins.
    phones[0].speaks(ours[0], one, || hears(&alice, one));
    phones[0].answer(&invites[0], 486, "one", "", "");
    phones[0].request(&Method::Ack);
    // The other one is heard at once, though it has sent nothing since.
    phones[1].speaks(ours[1], two, || hears(&alice, two));
    phones[1].answer(&invites[1], 200, "two", "", &phones[1].sdp(1, "sendrecv"));
    let ok = alice.response(&call, |status| status == 200);
    let mut dialog = alice.acknowledge(&call, &ok, "");
    phones[1].request(&Method::Ack);
    alice.leave_answered(&mut dialog, &mut phones[1]);
    for phone in &mut phones {
        phone.register(0);
    }
    stage.finish_refused(1);
}
