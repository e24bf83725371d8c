//! A phone of which no media arrives, and which has its call all the same.

use super::*;

/// Returns how often it was asked whether it holds its dialog.
fn asked(log: &Log, phone: PhoneId) -> usize {
    got(log, phone, &Method::Update).len()
}

#[test]
fn who_is_not_heard_keeps_its_call_and_is_asked_seldom() {
    let (mut scenario, a, b) = call(Kind::Call);
    let other = phone(&mut scenario, CALLEE, late());
    befall(&mut scenario, 10_000, b, Fault::Unheard, None);
    hang_up(&mut scenario, 200_000, CALLER);
    let run = fair(scenario);
    assert_eq!(got(&run.log, other, &Method::Invite).len(), 1);
    assert_eq!(asked(&run.log, a), 0);
    let asked = asked(&run.log, b);
    assert!((1..=4).contains(&asked), "{asked}");
}

#[test]
fn who_is_heard_again_is_asked_no_more() {
    let (mut scenario, _, b) = call(Kind::Call);
    befall(&mut scenario, 10_000, b, Fault::Unheard, Some(20_000));
    hang_up(&mut scenario, 200_000, CALLER);
    let run = fair(scenario);
    assert_eq!(asked(&run.log, b), 1);
}

#[test]
fn who_is_not_heard_and_then_dies_is_missed() {
    let (mut scenario, _, b) = call(Kind::Call);
    let other = phone(&mut scenario, CALLEE, late());
    befall(&mut scenario, 10_000, b, Fault::Unheard, None);
    scenario.at(
        60_000,
        Act::Befall {
            victim: Victim::Phone(b),
            fault: Fault::Killed,
            speaks: false,
            lasts: None,
        },
    );
    hang_up(&mut scenario, 150_000, CALLER);
    let run = fair(scenario);
    assert_eq!(got(&run.log, other, &Method::Invite).len(), 2);
}
