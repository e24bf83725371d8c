//! One caller, several endpoints of the callee.

use std::time::Duration;

use refork::sip::Method;
use refork::ua::{Call, Ending, Medium, Phase, Phone, Reaction};

use crate::stage::{SOON, Stage, hang_up, talk};

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
