//! Runs by hand: each a situation that chance would meet too seldom, under the same judge.

mod unheard;

use refork::engine::ids::Side;
use refork::engine::settings::Kind;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::log::{Fault, Log, PhoneId, What};
use crate::phone::{Temper, Traits};
use crate::run::{START, Simulation};
use crate::scenario::{Act, Scenario, Victim, user};
use crate::verdict;

const CALLER: Side = Side::Caller;
const CALLEE: Side = Side::Callee;

/// Adds a phone that registers at once.
fn phone(scenario: &mut Scenario, side: Side, traits: Traits) -> PhoneId {
    scenario.phone(0, side, traits, false, 0)
}

/// A caller and a callee's phone, and the call at one second; it stands at about two.
fn call(kind: Kind) -> (Scenario, PhoneId, PhoneId) {
    let mut scenario = Scenario::empty(1);
    let a = phone(&mut scenario, CALLER, Traits::perfect());
    let b = phone(&mut scenario, CALLEE, Traits::perfect());
    let act = Act::Call {
        phone: a,
        user: user(0, CALLEE),
        kind,
    };
    scenario.at(1000, act);
    (scenario, a, b)
}

/// One whose user takes the call later than the others.
fn late() -> Traits {
    Traits {
        answer_after: Millis(3000),
        ..Traits::perfect()
    }
}

fn befall(scenario: &mut Scenario, ms: u64, phone: PhoneId, fault: Fault, lasts: Option<u64>) {
    let act = Act::Befall {
        victim: Victim::Phone(phone),
        fault,
        speaks: true,
        lasts: lasts.map(Millis),
    };
    scenario.at(ms, act);
}

fn say(scenario: &mut Scenario, ms: u64, side: Side) {
    scenario.at(ms, Act::Say { talk: 0, side });
}

fn hang_up(scenario: &mut Scenario, ms: u64, side: Side) {
    scenario.at(ms, Act::HangUp { talk: 0, side });
}

/// Runs it, and returns what the phones saw if the judge is content.
#[track_caller]
fn fair(scenario: Scenario) -> Simulation {
    let (found, run) = verdict(scenario);
    assert!(
        found.is_empty(),
        "{}{}",
        run.log.ladder(START),
        found.join("\n")
    );
    run
}

/// Returns when a phone got requests of a method for the first time each, in milliseconds.
fn got(log: &Log, phone: PhoneId, method: &Method) -> Vec<u64> {
    let mut branches = Vec::new();
    let mut times = Vec::new();
    for entry in &log.entries {
        if entry.phone == Some(phone)
            && let What::Got(message) = &entry.what
            && message.is_request()
            && message.method() == method
        {
            let branch = message.branch().unwrap_or_default();
            if !branches.contains(&branch) {
                branches.push(branch);
                times.push(entry.at.since(START).0);
            }
        }
    }
    times
}

/// Returns the bodies of the messages that a phone got.
fn heard(log: &Log, phone: PhoneId) -> Vec<String> {
    let body = |message: &Message| String::from_utf8_lossy(message.body()).into_owned();
    let mut texts = Vec::new();
    for entry in &log.entries {
        if entry.phone == Some(phone)
            && let What::Got(message) = &entry.what
            && message.is_request()
            && *message.method() == Method::Message
        {
            texts.push(body(message));
        }
    }
    texts.dedup();
    texts
}

#[test]
fn nothing_happens() {
    let (mut scenario, a, b) = call(Kind::Call);
    hang_up(&mut scenario, 60_000, CALLER);
    let run = fair(scenario);
    assert_eq!(got(&run.log, b, &Method::Invite).len(), 1);
    assert_eq!(got(&run.log, b, &Method::Bye).len(), 1);
    assert_eq!(heard(&run.log, a), [""; 0]);
}

#[test]
fn both_sides_are_lost_at_once() {
    let (mut scenario, a, b) = call(Kind::Call);
    let a2 = phone(&mut scenario, CALLER, Traits::perfect());
    let b2 = phone(&mut scenario, CALLEE, late());
    befall(&mut scenario, 20_000, a, Fault::Killed, None);
    befall(&mut scenario, 20_000, b, Fault::Killed, None);
    hang_up(&mut scenario, 80_000, CALLEE);
    let run = fair(scenario);
    assert_eq!(got(&run.log, a2, &Method::Invite).len(), 1);
    let byes = got(&run.log, a2, &Method::Bye);
    assert!(
        byes.len() == 1 && byes[0] >= 80_000,
        "the new phones talked until one hung up: {byes:?}"
    );
    assert!(!got(&run.log, b2, &Method::Ack).is_empty());
}

#[test]
fn both_sides_are_lost_and_nobody_comes_back() {
    let (mut scenario, a, b) = call(Kind::Session);
    befall(&mut scenario, 20_000, a, Fault::Killed, None);
    befall(&mut scenario, 20_000, b, Fault::Killed, None);
    fair(scenario);
}

#[test]
fn the_lost_one_comes_back_while_another_rings() {
    let (mut scenario, a, b) = call(Kind::Call);
    let slow = Traits {
        answer_after: Millis(20_000),
        ..Traits::perfect()
    };
    let c = phone(&mut scenario, CALLEE, slow);
    befall(&mut scenario, 20_000, b, Fault::Killed, Some(10_000));
    hang_up(&mut scenario, 80_000, CALLER);
    let run = fair(scenario);
    let rung = got(&run.log, c, &Method::Invite);
    assert!(
        rung.iter().any(|at| (20_000..30_000).contains(at)),
        "{rung:?}"
    );
    assert!(
        got(&run.log, c, &Method::Cancel)
            .iter()
            .any(|at| *at > 30_000),
        "the other rings no longer"
    );
    assert_eq!(heard(&run.log, a), [""; 0], "it is the same phone");
    let again = got(&run.log, b, &Method::Invite);
    assert!(again.last().is_some_and(|at| *at >= 30_000), "{again:?}");
}

#[test]
fn the_frozen_one_wakes_after_another_has_answered() {
    let (mut scenario, a, b) = call(Kind::Call);
    let c = phone(&mut scenario, CALLEE, late());
    befall(&mut scenario, 20_000, b, Fault::Frozen, Some(40_000));
    hang_up(&mut scenario, 90_000, CALLER);
    let run = fair(scenario);
    assert_eq!(heard(&run.log, a), ["CONTINUED b0-1"]);
    assert_eq!(got(&run.log, a, &Method::Invite), [0u64; 0]);
    let byes = got(&run.log, b, &Method::Bye);
    assert!(
        byes.iter().any(|at| (60_000..64_000).contains(at)),
        "it finds no call left: {byes:?}"
    );
    assert!(
        got(&run.log, c, &Method::Bye)
            .iter()
            .all(|at| *at >= 90_000)
    );
}

/// It answers what asked its old dialog late, and takes the INVITE that replaces it in the same breath: its BYE to the old
/// one is no farewell.
#[test]
fn the_frozen_one_wakes_while_it_is_asked_again() {
    let (mut scenario, a, b) = call(Kind::Call);
    befall(&mut scenario, 5_000, b, Fault::Frozen, Some(16_000));
    hang_up(&mut scenario, 60_000, CALLER);
    let run = fair(scenario);
    assert_eq!(got(&run.log, a, &Method::Bye), [0u64; 0]);
    assert_eq!(heard(&run.log, a), [""; 0]);
    let update = got(&run.log, b, &Method::Update);
    let invite = got(&run.log, b, &Method::Invite);
    assert!(
        update
            .iter()
            .chain(&invite)
            .filter(|at| **at == 21_000)
            .count()
            > 1
    );
}

#[test]
fn lost_between_its_2xx_and_the_ack() {
    let (mut scenario, a, b) = call(Kind::Call);
    phone(&mut scenario, CALLEE, late());
    // It answers a second after its INVITE came, at 2015; the ACK comes ten milliseconds later.
    befall(&mut scenario, 2018, b, Fault::Killed, None);
    hang_up(&mut scenario, 80_000, CALLER);
    let run = fair(scenario);
    assert_eq!(got(&run.log, b, &Method::Ack), [0u64; 0], "it died in time");
    assert_eq!(heard(&run.log, a), ["CONTINUED b0-1"]);
    assert!(got(&run.log, a, &Method::Bye).is_empty());
}

#[test]
fn the_caller_is_lost_between_the_2xx_and_its_ack() {
    let (mut scenario, a, b) = call(Kind::Call);
    let a2 = phone(&mut scenario, CALLER, Traits::perfect());
    befall(&mut scenario, 2022, a, Fault::Killed, None);
    hang_up(&mut scenario, 110_000, CALLEE);
    let run = fair(scenario);
    assert!(!got(&run.log, a2, &Method::Invite).is_empty());
    assert!(got(&run.log, b, &Method::Bye).is_empty());
}

#[test]
fn the_survivor_hangs_up_while_restoring() {
    let (mut scenario, a, b) = call(Kind::Call);
    let c = phone(&mut scenario, CALLEE, Traits::of(Temper::NeverAnswers));
    befall(&mut scenario, 20_000, b, Fault::Killed, None);
    hang_up(&mut scenario, 35_000, CALLER);
    let run = fair(scenario);
    assert_eq!(heard(&run.log, a), [""; 0]);
    let cancels = got(&run.log, c, &Method::Cancel);
    assert!(
        cancels.iter().any(|at| (35_000..36_000).contains(at)),
        "{cancels:?}"
    );
}

#[test]
fn a_bye_crosses_the_refork() {
    // The survivor hangs up at about the time that the new phone answers: before, at it, after.
    for at in (27_000..32_000).step_by(37) {
        let (mut scenario, _, b) = call(Kind::Session);
        let c = phone(&mut scenario, CALLEE, late());
        befall(&mut scenario, 12_000, b, Fault::Killed, None);
        say(&mut scenario, 12_500, CALLER);
        hang_up(&mut scenario, at, CALLER);
        let run = fair(scenario);
        assert!(!got(&run.log, c, &Method::Invite).is_empty());
    }
}

#[test]
fn the_old_phones_bye_crosses_the_refork() {
    // The frozen phone wakes as the other is about to answer, and its user puts it down.
    for at in (20_000..32_000).step_by(471) {
        let (mut scenario, _, b) = call(Kind::Call);
        phone(&mut scenario, CALLEE, late());
        befall(&mut scenario, 15_000, b, Fault::Frozen, Some(at - 15_000));
        hang_up(&mut scenario, at + 20, CALLEE);
        fair(scenario);
    }
}

#[test]
fn nobody_comes_back() {
    let (mut scenario, a, b) = call(Kind::Session);
    befall(&mut scenario, 20_000, b, Fault::Killed, None);
    for at in [21_000, 22_000, 23_000] {
        say(&mut scenario, at, CALLER);
    }
    let run = fair(scenario);
    assert_eq!(heard(&run.log, a), ["FAILED 3"]);
    assert_eq!(got(&run.log, a, &Method::Bye).len(), 1);
}

#[test]
fn messages_wait_and_come_in_order() {
    let (mut scenario, a, b) = call(Kind::Session);
    let c = phone(&mut scenario, CALLEE, late());
    say(&mut scenario, 10_000, CALLER);
    befall(&mut scenario, 12_000, b, Fault::Frozen, Some(60_000));
    for at in [13_000, 14_000, 18_000, 22_000] {
        say(&mut scenario, at, CALLER);
    }
    say(&mut scenario, 60_000, CALLEE);
    hang_up(&mut scenario, 90_000, CALLER);
    let run = fair(scenario);
    let texts: Vec<_> = (2..=5).map(|n| crate::judge::text(0, CALLER, n)).collect();
    assert_eq!(heard(&run.log, c), texts);
    assert_eq!(heard(&run.log, a)[0], "CONTINUED b0-1");
}

/// The hold is answered here, and who answers later is told of it.
#[test]
fn the_survivor_holds_while_another_phone_rings() {
    let mut told = 0;
    for at in (20_300..34_000).step_by(700) {
        let (mut scenario, _, b) = call(Kind::Call);
        let c = phone(&mut scenario, CALLEE, late());
        befall(&mut scenario, 20_000, b, Fault::Killed, None);
        let (talk, side, on) = (0, CALLER, true);
        scenario.at(at, Act::Hold { talk, side, on });
        hang_up(&mut scenario, 120_000, CALLER);
        let run = fair(scenario);
        let offers = [Method::Invite, Method::Update].map(|method| got(&run.log, c, &method).len());
        told += usize::from(offers.iter().sum::<usize>() > 1);
    }
    assert!(told > 1, "told after it had answered in {told} runs");
}

/// Kills the server at a time, for as long as that.
fn with_restart(mut scenario: Scenario, at: u64, down: u64) -> Simulation {
    scenario.at(at, Act::Restart { down: Millis(down) });
    fair(scenario)
}

#[test]
fn restart_while_inviting() {
    for at in (1000..2100).step_by(90) {
        let (mut scenario, ..) = call(Kind::Call);
        hang_up(&mut scenario, 60_000, CALLER);
        with_restart(scenario, at, 700);
    }
}

#[test]
fn restart_while_established() {
    let (mut scenario, a, b) = call(Kind::Call);
    hang_up(&mut scenario, 60_000, CALLER);
    let run = with_restart(scenario, 20_000, 1500);
    for phone in [a, b] {
        assert_eq!(got(&run.log, phone, &Method::Update), [0u64; 0]);
        assert!(
            got(&run.log, phone, &Method::Bye)
                .iter()
                .all(|at| *at >= 60_000)
        );
    }
    assert!(!got(&run.log, b, &Method::Bye).is_empty(), "it went on");
}

#[test]
fn restart_while_restoring() {
    for at in (20_100..34_000).step_by(970) {
        let (mut scenario, a, b) = call(Kind::Call);
        let c = phone(&mut scenario, CALLEE, late());
        befall(&mut scenario, 20_000, b, Fault::Killed, None);
        hang_up(&mut scenario, 120_000, CALLER);
        let run = with_restart(scenario, at, 500);
        assert_eq!(heard(&run.log, a), ["CONTINUED b0-1"], "restarted at {at}");
        assert!(
            got(&run.log, c, &Method::Bye)
                .iter()
                .any(|at| *at >= 120_000)
        );
    }
}

#[test]
fn restart_with_messages_in_the_queue() {
    for at in (14_500..32_000).step_by(730) {
        let (mut scenario, _, b) = call(Kind::Session);
        let c = phone(&mut scenario, CALLEE, late());
        befall(&mut scenario, 12_000, b, Fault::Killed, None);
        for at in [12_500, 13_000, 14_000] {
            say(&mut scenario, at, CALLER);
        }
        scenario.slow_store = 50;
        hang_up(&mut scenario, 120_000, CALLER);
        let run = with_restart(scenario, at, 500);
        let mut texts = heard(&run.log, c);
        texts.dedup();
        let all: Vec<_> = (1..=3).map(|n| crate::judge::text(0, CALLER, n)).collect();
        assert_eq!(texts, all, "restarted at {at}");
    }
}

#[test]
fn a_new_dialogs_numbers_are_not_the_old_ones() {
    // Both texts are the first of their dialogs, and both wait for the same caller.
    let (mut scenario, a, b) = call(Kind::Session);
    phone(&mut scenario, CALLEE, late());
    befall(&mut scenario, 10_000, a, Fault::Killed, Some(55_000));
    say(&mut scenario, 11_000, CALLEE);
    befall(&mut scenario, 14_000, b, Fault::Killed, None);
    say(&mut scenario, 60_000, CALLEE);
    hang_up(&mut scenario, 100_000, CALLER);
    let run = fair(scenario);
    let heard = heard(&run.log, a);
    for number in 1..=2 {
        let text = crate::judge::text(0, CALLEE, number);
        assert!(heard.contains(&text), "{text:?} is not in {heard:?}");
    }
}
