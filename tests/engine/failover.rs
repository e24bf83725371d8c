//! The next target of a name, where one fails (RFC 3263 4.3).

use std::net::SocketAddr;

use refork::engine::events::{Event, TargetFailure};
use refork::engine::health::{Observation, Sign};
use refork::engine::ids::Transport;
use refork::engine::ports::Input;
use refork::engine::settings::{Route, RouteFork, Settings, Upstream, UpstreamTarget};
use refork::engine::time::Millis;
use refork::engine::upstreams::hop_of;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Numbers that begin with 4 are behind a name.
pub fn behind_a_name() -> Settings {
    let mut wishes = settings();
    let targets = vec!["sip:pbx.example.net".into()];
    wishes.upstreams.insert(
        "pbx".into(),
        Upstream {
            targets,
            ..upstream("", false)
        },
    );
    wishes.routes.push(Route {
        pattern: "sip:4*@*".into(),
        to: "pbx".into(),
        fork: RouteFork::default(),
        emergency: None,
    });
    wishes
}

/// DNS knows the name at three places.
pub fn table() -> Table {
    let mut t = Table::new(behind_a_name());
    let targets = [desk(), mobile(), third()].map(|at| (Transport::Udp, at));
    t.names.insert("pbx.example.net".into(), targets.to_vec());
    t
}

pub fn invites(t: &mut Table, call_id: &str) {
    let invite = request(Method::Invite, "alice", "401", alice(), call_id);
    t.receive(alice(), with_sdp(invite, &audio(alice())));
}

pub fn answers(t: &mut Table, invite: &Message, at: SocketAddr) {
    t.receive(at, with_sdp(answer_at(invite, at), &audio(at)));
    t.request_to(at, Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.hangs_up(&mut a);
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
fn what_is_told_of_a_call_below_its_life_is_of_it_too() {
    let mut t = table();
    invites(&mut t, "call1");
    t.request_to(desk(), Method::Invite);
    t.pass(Millis(4_100));
    let has = |told: &[Event], is: fn(&Event) -> bool| told.iter().any(is);
    assert!(has(&t.of_calls, |event| matches!(
        event,
        Event::TargetFailed { .. }
    )));
    assert!(has(&t.of_calls, |event| matches!(
        event,
        Event::Retransmitted { .. }
    )));
    // Whose it is nobody knows.
    let stray = t.request_to(mobile(), Method::Invite);
    let bytes = response(&stray, 200, mobile(), "b1").end();
    let unknown = String::from_utf8_lossy(&bytes).replace("branch=z9hG4bK", "branch=z9hG4bKx");
    t.raw(mobile(), unknown.into_bytes().into());
    let is_stray: fn(&Event) -> bool = |event| matches!(event, Event::Stray { .. });
    assert!(has(&t.events, is_stray) && !has(&t.of_calls, is_stray));
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
    t.icmp(desk());
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

pub fn unavailable(t: &mut Table, invite: &Message, at: SocketAddr, pause: u32) {
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
    // All are left alone: who is free soonest is asked all the same.
    t.pass(Millis::from_secs(40));
    t.discard(alice());
    invites(&mut t, "the-second-call");
    let soonest = t.request_to(mobile(), Method::Invite);
    answers(&mut t, &soonest, mobile());
    for target in [desk(), third()] {
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
    t.icmp(mobile());
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
    let answer = answer_at(&next, mobile());
    t.receive(mobile(), with_sdp(answer, &audio(mobile())));
    t.request_to(mobile(), Method::Ack);
    t.discard(alice());
    t.hangs_up(&mut a);
    let bye = t.request_to(mobile(), Method::Bye);
    t.reply(&bye, 200, mobile());
    t.ends_empty();
}

/// An upstream of two targets that are probed: the desk phone's place first, the mobile's second.
fn probed() -> Table {
    Table::new(with_probes())
}

pub fn with_probes() -> Settings {
    let mut wishes = behind_a_name();
    let upstream = wishes.upstreams.get_mut("pbx").unwrap();
    upstream.probe = Some(Millis::from_secs(10));
    upstream.targets = UpstreamTarget::in_order(["sip:198.51.100.2", "sip:198.51.100.3"]);
    wishes
}

/// Lets time pass; these answer what they are probed with.
pub fn lives(t: &mut Table, seconds: u64, who: &[(SocketAddr, u16)]) {
    for _ in 0..seconds * 10 {
        t.pass(Millis(100));
        for (at, status) in who {
            while let Some(probe) = t.waiting(*at, &Method::Options) {
                t.reply(&probe, *status, *at);
            }
        }
    }
    t.discard(desk());
    t.discard(mobile());
}

fn states(t: &Table) -> String {
    let states = t.engine.upstreams().into_iter();
    let states = states.map(|view| view.state.as_str());
    states.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_target_that_answers_no_probe_is_put_out_and_comes_back() {
    let mut t = probed();
    // Whatever it says, it lives.
    lives(&mut t, 20, &[(desk(), 404), (mobile(), 200)]);
    assert_eq!(states(&t), "up up");
    lives(&mut t, 30, &[(mobile(), 405)]);
    assert_eq!(states(&t), "ejected up");
    invites(&mut t, "call1");
    let invite = t.request_to(mobile(), Method::Invite);
    t.nothing_to(desk());
    answers(&mut t, &invite, mobile());
    // 503 is no sign of life, 408 is a proxy's word that there is none.
    lives(&mut t, 30, &[(desk(), 503), (mobile(), 408)]);
    assert_eq!(states(&t), "ejected ejected");
    invites(&mut t, "the-second-call");
    let refusal = t.response_to(alice(), 500);
    assert!(refusal.header(Name::RetryAfter).is_some());
    t.nothing_to(desk());
    t.nothing_to(mobile());
    texts(&mut t, "m1");
    t.response_to(alice(), 500);
    // Two answers in a row, ten seconds apart.
    for wanted in ["returning ejected", "up ejected"] {
        let mut seconds = 0;
        while states(&t) != wanted {
            lives(&mut t, 1, &[(desk(), 200)]);
            seconds += 1;
            assert!(seconds < 15, "{} and not {wanted}", states(&t));
        }
    }
    t.discard(alice());
    invites(&mut t, "and-the-third-call");
    let invite = t.request_to(desk(), Method::Invite);
    answers(&mut t, &invite, desk());
    let told = t.events.iter().filter_map(|event| match event {
        Event::UpstreamChanged { state, used, .. } => Some((*state, *used)),
        _ => None,
    });
    let told: Vec<_> = told.skip(2).collect();
    assert_eq!(told[..2], [("suspect", true), ("ejected", false)]);
    assert_eq!(told[told.len() - 2..], [("returning", false), ("up", true)]);
}

#[test]
fn a_call_that_fails_makes_a_probe_and_both_put_the_target_out() {
    let mut t = probed();
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    invites(&mut t, "call1");
    t.request_to(desk(), Method::Invite);
    t.icmp(desk());
    // The next one of the group, as the next branch of a serial fork.
    let invite = t.request_to(mobile(), Method::Invite);
    answers(&mut t, &invite, mobile());
    assert_eq!(states(&t), "suspect up");
    lives(&mut t, 6, &[(mobile(), 200)]);
    assert_eq!(states(&t), "ejected up");
}

#[test]
fn calls_that_fail_put_no_target_out_that_answers_probes() {
    let mut t = probed();
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    for call_id in ["call1", "call2", "call3"] {
        invites(&mut t, call_id);
        t.request_to(desk(), Method::Invite);
    }
    t.icmp(desk());
    let next = [1, 2, 3].map(|_| t.request_to(mobile(), Method::Invite));
    assert_eq!(states(&t), "suspect up");
    // The probe is hurried, and its answer ends the suspicion.
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    assert_eq!(states(&t), "up up");
    for invite in next {
        t.reply(&invite, 486, mobile());
        t.request_to(mobile(), Method::Ack);
    }
    t.discard(alice());
    invites(&mut t, "the-fourth-and-last");
    let invite = t.request_to(desk(), Method::Invite);
    answers(&mut t, &invite, desk());
}

/// The phone behind a proxy knows our branch, too, and may forge an error that quotes it.
#[test]
fn an_icmp_that_quotes_a_call_which_rings_ends_no_probe_of_its_target() {
    let mut t = probed();
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    invites(&mut t, "call1");
    let ringing = t.request_to(desk(), Method::Invite);
    t.reply(&ringing, 180, desk());
    for _ in 0..400 {
        t.pass(Millis(100));
        for at in [desk(), mobile()] {
            while let Some(probe) = t.waiting(at, &Method::Options) {
                t.icmp_quoting(desk(), ringing.bytes());
                t.reply(&probe, 200, at);
            }
        }
        assert_eq!(states(&t), "up up");
    }
    t.discard(alice());
    answers(&mut t, &ringing, desk());
}

#[test]
fn a_call_that_nobody_answers_says_nothing_where_a_later_one_was_answered() {
    let mut t = probed();
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    invites(&mut t, "call1");
    t.request_to(desk(), Method::Invite);
    t.pass(Millis(2_000));
    t.discard(desk());
    invites(&mut t, "the-second-call");
    let second = t.request_to(desk(), Method::Invite);
    answers(&mut t, &second, desk());
    t.discard(alice());
    t.pass(Millis(2_100));
    // The first one goes on all the same.
    let first = t.request_to(mobile(), Method::Invite);
    assert_eq!(failures(&t), [(TargetFailure::Silent, false)]);
    assert_eq!(states(&t), "up up");
    answers(&mut t, &first, mobile());
}

#[test]
fn a_503_without_a_pause_is_for_the_one_request() {
    let mut t = probed();
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    for call_id in ["call1", "call2", "call3"] {
        t.discard(alice());
        invites(&mut t, call_id);
        let first = t.request_to(desk(), Method::Invite);
        t.reply(&first, 503, desk());
        t.request_to(desk(), Method::Ack);
        let second = t.request_to(mobile(), Method::Invite);
        t.reply(&second, 503, mobile());
        t.request_to(mobile(), Method::Ack);
        t.response_to(alice(), 500);
        assert_eq!(states(&t), "up up");
    }
    // Nor is an address of a name asked last for it.
    let mut t = table();
    for call_id in ["call1", "the-second-call"] {
        t.discard(alice());
        invites(&mut t, call_id);
        let first = t.request_to(desk(), Method::Invite);
        t.reply(&first, 503, desk());
        t.request_to(desk(), Method::Ack);
        let second = t.request_to(mobile(), Method::Invite);
        answers(&mut t, &second, mobile());
    }
    t.ends_empty();
}

#[test]
fn what_another_shard_has_seen_counts_here() {
    let mut t = probed();
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    for sign in [Sign::CallFailed, Sign::ProbeFailed] {
        t.input(Input::Observed(Observation {
            hop: hop_of("sip:198.51.100.2").unwrap(),
            sign,
            at: t.now,
        }));
    }
    assert_eq!(states(&t), "ejected up");
}

#[test]
fn a_silent_target_of_an_upstream_gives_way_to_the_next() {
    let mut t = probed();
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    invites(&mut t, "call1");
    t.request_to(desk(), Method::Invite);
    t.pass(Millis(4_100));
    t.discard(desk());
    let invite = t.request_to(mobile(), Method::Invite);
    // The last one has its whole time.
    t.pass(Millis::from_secs(5));
    t.discard(mobile());
    answers(&mut t, &invite, mobile());
}

#[test]
fn the_silence_of_a_target_is_told_once_however_many_calls_meet_it() {
    let mut t = probed();
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    for call in 0..5 {
        invites(&mut t, &format!("call{call}"));
    }
    t.pass(Millis(4_100));
    t.discard(desk());
    while let Some(invite) = t.waiting(mobile(), &Method::Invite) {
        t.reply(&invite, 486, mobile());
    }
    let silent = |sign: &&Sign| matches!(sign, Sign::Silent(_));
    assert_eq!(t.observed.iter().filter(silent).count(), 1);
}

/// An INVITE of Alice's whose Subject makes it too large for a datagram.
fn invites_at_length(t: &mut Table, call_id: &str) {
    let invite = request(Method::Invite, "alice", "401", alice(), call_id);
    let invite = invite.header(Name::Subject, "long ".repeat(300));
    t.receive(alice(), with_sdp(invite, &audio(alice())));
}

fn goes_over(message: &Message, transport: &str, contact: &str) {
    let via = message.header(Name::Via).unwrap();
    assert!(via.starts_with(&format!("SIP/2.0/{transport} ")), "{via}");
    if *message.method() == Method::Invite {
        assert_eq!(message.header(Name::Contact).unwrap(), contact);
    }
}

const OVER_TCP: &str = "<sip:refork@192.0.2.1:5060;transport=tcp>";
const OVER_UDP: &str = "<sip:refork@192.0.2.1:5060>";

#[test]
fn what_is_too_large_for_a_datagram_goes_over_tcp_where_dns_has_it() {
    let mut t = table();
    let targets = vec![(Transport::Udp, desk()), (Transport::Tcp, mobile())];
    t.names.insert("pbx.example.net".into(), targets);
    invites_at_length(&mut t, "call1");
    let invite = t.request_to(mobile(), Method::Invite);
    goes_over(&invite, "TCP", OVER_TCP);
    assert_eq!(invite.values(Name::Via).count(), 1);
    assert!(invite.body().starts_with(b"v=0") && invite.header(Name::Subject).is_some());
    answers(&mut t, &invite, mobile());
    // What fits stays where it is.
    invites(&mut t, "the-second-call");
    let invite = t.request_to(desk(), Method::Invite);
    goes_over(&invite, "UDP", OVER_UDP);
    answers(&mut t, &invite, desk());
    t.ends_empty();
}

#[test]
fn tcp_is_tried_where_nothing_is_known_and_a_refusal_is_remembered() {
    let mut t = table();
    t.names
        .insert("pbx.example.net".into(), vec![(Transport::Udp, desk())]);
    invites_at_length(&mut t, "call1");
    let invite = t.request_to(desk(), Method::Invite);
    goes_over(&invite, "TCP", OVER_TCP);
    t.closed(desk(), 1);
    // RFC 3261 18.1.1: where TCP is refused, by UDP all the same.
    let invite = t.request_to(desk(), Method::Invite);
    goes_over(&invite, "UDP", OVER_UDP);
    answers(&mut t, &invite, desk());
    invites_at_length(&mut t, "the-second-call");
    let invite = t.request_to(desk(), Method::Invite);
    goes_over(&invite, "UDP", OVER_UDP);
    answers(&mut t, &invite, desk());
    t.ends_empty();
}

#[test]
fn a_name_that_leads_nowhere_is_told_with_the_reason() {
    let mut t = Table::new(behind_a_name());
    invites(&mut t, "call1");
    let refused = t.response_to(alice(), 480);
    let reason = refused.header(Name::Reason).unwrap();
    assert!(reason.starts_with("Q.850;cause=3;"), "{reason}");
    t.ends_empty();
}

/// What one worker has found out, another need not wait for.
#[test]
fn a_trunk_that_drops_tcp_costs_one_call_its_time_and_not_one_on_each_worker() {
    for target in ["sip:pbx.example.net", "sip:198.51.100.2"] {
        let mut wishes = behind_a_name();
        wishes.upstreams.get_mut("pbx").unwrap().targets = vec![target.into()];
        let mut t = Table::of_two_workers(wishes);
        t.names
            .insert("pbx.example.net".into(), vec![(Transport::Udp, desk())]);
        invites_at_length(&mut t, "call1");
        let invite = t.request_to(desk(), Method::Invite);
        goes_over(&invite, "TCP", OVER_TCP);
        t.pass(Millis::from_secs(5));
        let invite = t.request_to(desk(), Method::Invite);
        goes_over(&invite, "UDP", OVER_UDP);
        t.discard(desk());
        // Eight Call-IDs: both workers have some.
        for number in 0..8 {
            invites_at_length(&mut t, &format!("{number}-call"));
            let invite = t.request_to(desk(), Method::Invite);
            goes_over(&invite, "UDP", OVER_UDP);
            t.discard(desk());
        }
    }
}

#[test]
fn a_phone_gets_everything_over_its_own_flow() {
    let mut t = table();
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    let invite = invite.header(Name::Subject, "long ".repeat(300));
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    goes_over(&invite, "UDP", OVER_UDP);
    // Nor does what is said to have nothing but UDP.
    let mut wishes = behind_a_name();
    let upstream = wishes.upstreams.get_mut("pbx").unwrap();
    upstream.targets = vec!["sip:198.51.100.2;transport=udp".into()];
    let mut t = Table::new(wishes);
    invites_at_length(&mut t, "call1");
    let invite = t.request_to(desk(), Method::Invite);
    goes_over(&invite, "UDP", OVER_UDP);
}

#[test]
fn a_message_that_is_too_large_goes_over_tcp_too() {
    let mut t = table();
    let message = request(Method::Message, "alice", "401", alice(), "m1");
    t.receive(
        alice(),
        message.body("text/plain", "long ".repeat(300).as_bytes()),
    );
    let sent = t.request_to(desk(), Method::Message);
    goes_over(&sent, "TCP", OVER_TCP);
    t.closed(desk(), 1);
    let sent = t.request_to(desk(), Method::Message);
    goes_over(&sent, "UDP", OVER_UDP);
    assert_eq!(sent.body().len(), 1500);
    t.reply(&sent, 200, desk());
    t.response_to(alice(), 200);
    t.ends_empty();
}

/// Bob's phone has two flows (RFC 5626), the second one registered last.
fn two_flows(t: &mut Table) {
    for (at, connection, reg_id) in [(desk(), 1, 1), (mobile(), 2, 2)] {
        let register = t.register_request("bob", desk(), "desk", 1, 3600);
        let register = String::from_utf8_lossy(&register)
            .replace("Call-ID: reg-", &format!("Call-ID: {reg_id}-reg-"))
            .replace(";+sip", &format!(";reg-id={reg_id};+sip"));
        t.receive_over(tcp(at, connection), register.into());
        t.response_to(at, 200);
        t.pass(Millis(1_000));
    }
}

#[test]
fn a_phone_whose_flow_fails_is_called_over_its_other_one() {
    let mut t = Table::new(settings());
    two_flows(&mut t);
    t.alice_invites(&audio(alice()));
    let first = t.request_to(mobile(), Method::Invite);
    t.nothing_to(desk());
    t.closed(mobile(), 2);
    let second = t.request_to(desk(), Method::Invite);
    assert_ne!(first.call_id(), second.call_id());
    t.nothing_to(alice());
    t.receive_over(tcp(desk(), 1), with_sdp(answer_to(&second), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 200);
    assert_eq!(failures(&t), [(TargetFailure::Unreachable, true)]);
}

#[test]
fn a_phone_whose_flows_all_fail_is_not_there() {
    let mut t = Table::new(settings());
    two_flows(&mut t);
    t.alice_invites(&audio(alice()));
    t.request_to(mobile(), Method::Invite);
    t.closed(mobile(), 2);
    t.request_to(desk(), Method::Invite);
    t.closed(desk(), 1);
    t.response_to(alice(), 480);
    t.nothing_to(mobile());
    t.ends_empty();
}

#[test]
fn a_phone_that_rings_is_left_to_ring_where_its_flow_closes() {
    let mut t = Table::new(settings());
    two_flows(&mut t);
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(mobile(), Method::Invite);
    t.receive_over(tcp(mobile(), 2), response(&invite, 180, desk(), "b1").end());
    t.closed(mobile(), 2);
    t.nothing_to(desk());
    // RFC 3261 18.2.2: it answers over the connection that it has then.
    let answer = with_sdp(answer_to(&invite), &audio(desk()));
    t.receive_over(tcp(desk(), 1), answer);
    t.response_to(alice(), 180);
    t.response_to(alice(), 200);
}

#[test]
fn a_phone_that_rings_is_cancelled_over_the_flow_that_it_has_by_then() {
    // Its second flow closes while it rings, and it has its first one still, or comes over a third.
    for (registers, at, connection) in [(false, desk(), 1), (true, third(), 7)] {
        let mut t = Table::new(settings());
        two_flows(&mut t);
        t.alice_invites(&audio(alice()));
        let invite = t.request_to(mobile(), Method::Invite);
        t.receive_over(tcp(mobile(), 2), response(&invite, 180, desk(), "b1").end());
        t.response_to(alice(), 180);
        t.closed(mobile(), 2);
        if registers {
            t.closed(desk(), 1);
            let register = t.register_request("bob", desk(), "desk", 1, 3600);
            let register = String::from_utf8_lossy(&register)
                .replace("Call-ID: reg-", "Call-ID: anew-reg-")
                .replace(";+sip", ";reg-id=2;+sip");
            t.receive_over(tcp(at, connection), register.into());
            t.response_to(at, 200);
        }
        let first = request(Method::Invite, "alice", "bob", alice(), "call1").end();
        let cancel = String::from_utf8_lossy(&first).replace("INVITE sip", "CANCEL sip");
        t.receive(alice(), cancel.replace("1 INVITE", "1 CANCEL").into());
        t.response_to(alice(), 200);
        t.response_to(alice(), 487);
        let again = t.waiting(at, &Method::Invite);
        assert_eq!(again.is_some(), registers, "it was asked anew");
        let cancel = t.request_to(at, Method::Cancel);
        assert_eq!(cancel.branch(), invite.branch());
        t.nothing_to(mobile());
        t.receive_over(
            tcp(at, connection),
            response(&cancel, 200, desk(), "b1").end(),
        );
        for invite in [Some(invite), again].into_iter().flatten() {
            t.receive_over(
                tcp(at, connection),
                response(&invite, 487, desk(), "b1").end(),
            );
            t.request_to(at, Method::Ack);
        }
        t.ends_empty();
    }
}

#[test]
fn a_phone_that_rings_over_another_connection_than_it_was_asked_by_is_cancelled_there() {
    let mut t = Table::new(settings());
    two_flows(&mut t);
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(mobile(), Method::Invite);
    // The network has changed: it has not registered yet, and where it had is dead, as nobody knows here.
    t.receive_over(tcp(third(), 9), response(&invite, 180, desk(), "b1").end());
    t.response_to(alice(), 180);
    t.closed(mobile(), 2);
    let first = request(Method::Invite, "alice", "bob", alice(), "call1").end();
    let cancel = String::from_utf8_lossy(&first).replace("INVITE sip", "CANCEL sip");
    t.receive(alice(), cancel.replace("1 INVITE", "1 CANCEL").into());
    t.response_to(alice(), 200);
    t.response_to(alice(), 487);
    t.nothing_to(desk());
    let cancel = t.request_to(third(), Method::Cancel);
    assert_eq!(cancel.branch(), invite.branch());
}

#[test]
fn where_a_proxy_has_lost_the_flow_of_a_phone_its_other_one_is_tried_once() {
    for (status, then) in [(200, 200), (430, 480), (486, 486)] {
        let mut t = Table::new(settings());
        two_flows(&mut t);
        t.alice_invites(&audio(alice()));
        let first = t.request_to(mobile(), Method::Invite);
        t.receive_over(
            tcp(mobile(), 2),
            response(&first, 430, mobile(), "b1").end(),
        );
        t.request_to(mobile(), Method::Ack);
        let second = t.request_to(desk(), Method::Invite);
        assert_ne!(first.call_id(), second.call_id());
        t.nothing_to(alice());
        let answer = response(&second, status, desk(), "b2");
        let answer = match status {
            200 => with_sdp(answer, &audio(desk())),
            _ => answer.end(),
        };
        t.receive_over(tcp(desk(), 1), answer);
        t.request_to(desk(), Method::Ack);
        t.nothing_to(mobile());
        t.response_to(alice(), then);
        assert_eq!(failures(&t), [(TargetFailure::Unreachable, true)]);
    }
}
