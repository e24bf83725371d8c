//! The next target of a name, where one fails (RFC 3263 4.3).

use std::net::SocketAddr;

use refork::engine::events::{Event, TargetFailure};
use refork::engine::ids::Transport;
use refork::engine::ports::Input;
use refork::engine::settings::{PathMode, Route, Settings, Upstream};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Numbers that begin with 4 are behind a name.
fn behind_a_name() -> Settings {
    let mut wishes = settings();
    let targets = vec!["sip:pbx.example.net".into()];
    wishes.upstreams.insert(
        "pbx".into(),
        Upstream {
            targets,
            path: PathMode::Path,
            account: None,
            trusted: false,
        },
    );
    wishes.routes.push(Route {
        pattern: "sip:4*@*".into(),
        to: "pbx".into(),
    });
    wishes
}

/// DNS knows the name at three places.
fn table() -> Table {
    let mut t = Table::new(behind_a_name());
    let targets = [desk(), mobile(), third()].map(|at| (Transport::Udp, at));
    t.names.insert("pbx.example.net".into(), targets.to_vec());
    t
}

fn invites(t: &mut Table, call_id: &str) {
    let invite = request(Method::Invite, "alice", "401", alice(), call_id);
    t.receive(alice(), with_sdp(invite, &audio(alice())));
}

fn answers(t: &mut Table, invite: &Message, at: SocketAddr) {
    t.receive(at, with_sdp(answer_to(invite), &audio(at)));
    t.request_to(at, Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.receive(alice(), a.request(Method::Bye).end());
    t.response_to(alice(), 200);
    let bye = t.request_to(at, Method::Bye);
    t.reply(&bye, 200, at);
}

fn failures(t: &Table) -> Vec<(TargetFailure, bool)> {
    let failures = t.events.iter().filter_map(|event| match event {
        Event::TargetFailed { failure, next, .. } => Some((*failure, *next)),
        _ => None,
    });
    failures.collect()
}

#[test]
fn a_silent_target_gives_way() {
    let mut t = table();
    invites(&mut t, "call1");
    let first = t.request_to(desk(), Method::Invite);
    t.pass(Millis(3_900));
    t.nothing_to(mobile());
    t.pass(Millis(200));
    let second = t.request_to(mobile(), Method::Invite);
    assert_ne!(first.branch(), second.branch());
    t.nothing_to(alice());
    // It wakes up, and must not ring on.
    t.discard(desk());
    t.reply(&first, 180, desk());
    t.request_to(desk(), Method::Cancel);
    answers(&mut t, &second, mobile());
    t.nothing_to(third());
    assert_eq!(failures(&t), [(TargetFailure::Silent, true)]);
    t.ends_empty();
}

#[test]
fn a_silent_target_that_answers_too_late_is_hung_up() {
    let mut t = table();
    invites(&mut t, "call1");
    let first = t.request_to(desk(), Method::Invite);
    t.pass(Millis(4_100));
    let second = t.request_to(mobile(), Method::Invite);
    t.discard(desk());
    t.receive(desk(), with_sdp(answer_to(&first), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.nothing_to(alice());
    answers(&mut t, &second, mobile());
    t.ends_empty();
}

#[test]
fn one_that_rings_or_only_tries_is_left_to_ring() {
    for status in [100, 180] {
        let mut t = table();
        invites(&mut t, "call1");
        let first = t.request_to(desk(), Method::Invite);
        t.reply(&first, status, desk());
        t.discard(alice());
        t.pass(Millis::from_secs(30));
        t.nothing_to(mobile());
        answers(&mut t, &first, desk());
        assert_eq!(failures(&t), []);
        t.ends_empty();
    }
}

#[test]
fn one_that_cannot_be_reached_gives_way_at_once() {
    let mut t = table();
    invites(&mut t, "call1");
    t.request_to(desk(), Method::Invite);
    let (transport, peer) = (Transport::Udp, desk());
    t.input(Input::Unreachable { transport, peer });
    let second = t.request_to(mobile(), Method::Invite);
    answers(&mut t, &second, mobile());
    assert_eq!(failures(&t), [(TargetFailure::Unreachable, true)]);
    // It is asked last for a while, and first again after that.
    invites(&mut t, "the-second-call");
    let second = t.request_to(mobile(), Method::Invite);
    answers(&mut t, &second, mobile());
    t.pass(Millis::from_secs(31));
    invites(&mut t, "and-the-third-call");
    let first = t.request_to(desk(), Method::Invite);
    answers(&mut t, &first, desk());
    t.ends_empty();
}

fn unavailable(t: &mut Table, invite: &Message, at: SocketAddr, pause: u32) {
    let refusal = response(invite, 503, at, "busy").header(Name::RetryAfter, pause);
    t.receive(at, refusal.end());
    t.request_to(at, Method::Ack);
}

#[test]
fn a_503_gives_way_and_its_retry_after_is_kept() {
    let mut t = table();
    invites(&mut t, "call1");
    let first = t.request_to(desk(), Method::Invite);
    unavailable(&mut t, &first, desk(), 120);
    let second = t.request_to(mobile(), Method::Invite);
    unavailable(&mut t, &second, mobile(), 60);
    let last = t.request_to(third(), Method::Invite);
    unavailable(&mut t, &last, third(), 60);
    // RFC 3261 16.7 step 6: it is for us, not for the caller.
    t.response_to(alice(), 500);
    let pause = |s| TargetFailure::Unavailable(Some(Millis::from_secs(s)));
    assert_eq!(
        failures(&t),
        [(pause(120), true), (pause(60), true), (pause(60), false)]
    );
    // Nobody may be asked: the caller knows at once.
    t.pass(Millis::from_secs(40));
    t.discard(alice());
    invites(&mut t, "the-second-call");
    t.response_to(alice(), 500);
    for target in [desk(), mobile(), third()] {
        t.nothing_to(target);
    }
    t.pass(Millis::from_secs(21));
    t.discard(alice());
    invites(&mut t, "and-the-third-call");
    let second = t.request_to(mobile(), Method::Invite);
    answers(&mut t, &second, mobile());
    t.pass(Millis::from_secs(60));
    t.discard(alice());
    invites(&mut t, "the-fourth-and-last");
    let first = t.request_to(desk(), Method::Invite);
    answers(&mut t, &first, desk());
    t.ends_empty();
}

#[test]
fn other_refusals_are_the_callers() {
    for status in [408, 480, 486, 500, 504, 603] {
        let mut t = table();
        invites(&mut t, "call1");
        let first = t.request_to(desk(), Method::Invite);
        t.reply(&first, status, desk());
        t.request_to(desk(), Method::Ack);
        t.response_to(alice(), status);
        t.nothing_to(mobile());
        t.ends_empty();
    }
}

#[test]
fn the_last_target_has_its_whole_time() {
    let mut t = table();
    t.names.insert(
        "pbx.example.net".into(),
        vec![(Transport::Udp, desk()), (Transport::Ws, mobile())],
    );
    invites(&mut t, "call1");
    let only = t.request_to(desk(), Method::Invite);
    t.pass(Millis::from_secs(20));
    t.discard(desk());
    answers(&mut t, &only, desk());
    t.ends_empty();
}

#[test]
fn a_name_that_is_nowhere() {
    let mut t = table();
    t.names.clear();
    invites(&mut t, "call1");
    t.response_to(alice(), 480);
    t.ends_empty();
}

fn texts(t: &mut Table, call_id: &str) {
    let message = request(Method::Message, "alice", "401", alice(), call_id);
    t.receive(alice(), message.body("text/plain", b"hello"));
}

#[test]
fn a_message_goes_on_to_the_next_target() {
    let mut t = table();
    texts(&mut t, "m1");
    let first = t.request_to(desk(), Method::Message);
    t.reply(&first, 503, desk());
    let second = t.request_to(mobile(), Method::Message);
    // Whoever gets both can tell (RFC 3261 8.2.2.2).
    assert_ne!(first.branch(), second.branch());
    assert_eq!(
        (first.call_id(), first.from_tag(), first.cseq()),
        (second.call_id(), second.from_tag(), second.cseq())
    );
    let (transport, peer) = (Transport::Udp, mobile());
    t.input(Input::Unreachable { transport, peer });
    let third_try = t.request_to(third(), Method::Message);
    t.nothing_to(alice());
    t.reply(&third_try, 200, third());
    t.response_to(alice(), 200);
    t.ends_empty();
}

#[test]
fn a_message_that_nobody_answers_goes_on_to_the_next_target() {
    let mut t = table();
    texts(&mut t, "m1");
    let first = t.request_to(desk(), Method::Message);
    t.pass(Millis(5_100));
    t.request_to(mobile(), Method::Message);
    // The first one still counts.
    t.reply(&first, 202, desk());
    t.response_to(alice(), 202);
    t.pass(Millis::from_secs(40));
    t.nothing_to(alice());
    t.ends_empty();
}

#[test]
fn a_message_that_all_targets_refuse_is_answered_once() {
    let mut t = table();
    texts(&mut t, "m1");
    for target in [desk(), mobile(), third()] {
        let sent = t.request_to(target, Method::Message);
        t.nothing_to(alice());
        t.reply(&sent, 503, target);
    }
    t.response_to(alice(), 500);
    texts(&mut t, "m2");
    let sent = t.request_to(desk(), Method::Message);
    t.reply(&sent, 404, desk());
    t.response_to(alice(), 404);
    t.nothing_to(mobile());
    t.ends_empty();
}

#[test]
fn the_re_fork_goes_on_to_the_next_target_too() {
    let mut t = table();
    invites(&mut t, "call1");
    let first = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&first), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    t.pass(Millis(4_100));
    t.discard(desk());
    let next = t.request_to(mobile(), Method::Invite);
    assert_ne!(again.call_id(), next.call_id());
    t.receive(mobile(), with_sdp(answer_to(&next), &audio(mobile())));
    t.request_to(mobile(), Method::Ack);
    t.discard(alice());
    t.receive(alice(), a.request(Method::Bye).end());
    t.response_to(alice(), 200);
    let bye = t.request_to(mobile(), Method::Bye);
    t.reply(&bye, 200, mobile());
    t.ends_empty();
}
