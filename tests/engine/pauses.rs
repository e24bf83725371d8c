//! Whoever answers 503 with Retry-After is left alone (RFC 3261 21.5.4): an upstream by all shards, and for a
//! minute at most where its probes are answered.

use std::net::SocketAddr;

use refork::engine::events::Event;
use refork::engine::health::{Observation, Sign};
use refork::engine::ids::Transport;
use refork::engine::ports::Input;
use refork::engine::settings::Settings;
use refork::engine::time::Millis;
use refork::engine::upstreams::hop_of;
use refork::sip::{Message, Method, Name};

use crate::failover::{answers, behind_a_name, invites, lives, unavailable, with_probes};
use crate::people::*;
use crate::table::*;

const HOUR_S: u32 = 3_600;

/// Returns how much longer the first target is left alone.
fn paused(t: &Table) -> Option<Millis> {
    let until = t.engine.upstreams()[0].paused?;
    Some(until.since(t.now))
}

/// Returns the pauses that the operator was told of, in seconds.
fn told(t: &Table) -> Vec<(String, u64)> {
    let told = t.events.iter().filter_map(|event| match event {
        Event::UpstreamPaused {
            upstream,
            address,
            span,
            ..
        } => Some((format!("{upstream} {address}"), span.as_secs_ceil())),
        _ => None,
    });
    told.collect()
}

fn pauses(t: &Table) -> usize {
    t.engine.gauges().pauses
}

/// Alice calls, and the first target wants to be left alone.
fn pauses_for(t: &mut Table, call_id: &str, pause_s: u32) {
    invites(t, call_id);
    let first = t.request_to(desk(), Method::Invite);
    unavailable(t, &first, desk(), pause_s);
    let second = t.request_to(mobile(), Method::Invite);
    answers(t, &second, mobile());
    t.discard(alice());
}

fn goes_to(t: &mut Table, call_id: &str, at: SocketAddr) {
    invites(t, call_id);
    let invite = t.request_to(at, Method::Invite);
    answers(t, &invite, at);
    t.discard(alice());
}

#[test]
fn where_probes_are_answered_a_pause_lasts_a_minute_at_most() {
    let mut t = Table::new(with_probes());
    let both = [(desk(), 200), (mobile(), 200)];
    lives(&mut t, 2, &both);
    pauses_for(&mut t, "call1", HOUR_S);
    assert_eq!(paused(&t), Some(Millis::from_secs(60)));
    assert_eq!(told(&t), [("pbx udp:198.51.100.2:5060".to_owned(), 60)]);
    assert_eq!(pauses(&t), 1);
    // That the probes are answered does not end it, nor what was asked before.
    lives(&mut t, 58, &both);
    goes_to(&mut t, "the-second-call", mobile());
    t.nothing_to(desk());
    lives(&mut t, 4, &both);
    assert_eq!((paused(&t), pauses(&t)), (None, 0));
    goes_to(&mut t, "and-the-third-call", desk());
    // Another pause is another line.
    pauses_for(&mut t, "the-fourth-and-last", 5);
    assert_eq!(told(&t).len(), 2);
    assert_eq!(told(&t)[1].1, 5);
}

#[test]
fn without_probes_it_lasts_as_long_as_was_asked_for() {
    let settings = Settings {
        upstreams: {
            let mut upstreams = with_probes().upstreams;
            upstreams.get_mut("pbx").unwrap().probe = None;
            upstreams
        },
        ..with_probes()
    };
    let mut t = Table::new(settings);
    pauses_for(&mut t, "call1", HOUR_S);
    assert_eq!(paused(&t), Some(Millis::from_secs(u64::from(HOUR_S))));
    t.pass(Millis::from_secs(3_590));
    goes_to(&mut t, "the-second-call", mobile());
    t.pass(Millis::from_secs(11));
    goes_to(&mut t, "and-the-third-call", desk());
    // Nobody is left alone for a day.
    pauses_for(&mut t, "the-fourth-and-last", 24 * HOUR_S);
    assert_eq!(paused(&t), Some(Millis::from_secs(u64::from(HOUR_S))));
}

#[test]
fn one_address_of_a_name_is_left_alone_and_the_others_are_asked() {
    let mut t = crate::failover::table();
    pauses_for(&mut t, "call1", 20);
    assert_eq!(paused(&t), Some(Millis::from_secs(20)));
    assert_eq!(told(&t), [("pbx udp:198.51.100.2:5060".to_owned(), 20)]);
    goes_to(&mut t, "the-second-call", mobile());
    t.nothing_to(desk());
    t.pass(Millis::from_secs(21));
    goes_to(&mut t, "and-the-third-call", desk());
}

#[test]
fn what_one_shard_was_asked_for_all_keep_to_and_one_tells() {
    let mut t = Table::of_two_workers(with_probes());
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    // The hash of a Call-ID says which worker has it: of twenty both have some.
    pauses_for(&mut t, "call1", 50);
    for number in 0..20 {
        goes_to(
            &mut t,
            &format!("another-call-{}", "1".repeat(number)),
            mobile(),
        );
        t.nothing_to(desk());
    }
    assert_eq!(told(&t), [("pbx udp:198.51.100.2:5060".to_owned(), 50)]);
}

#[test]
fn another_shards_pause_counts_here_for_what_is_left_of_it() {
    let mut t = Table::new(with_probes());
    lives(&mut t, 2, &[(desk(), 200), (mobile(), 200)]);
    let asked = |t: &mut Table, ago: u64, span: u64| {
        let sign = Sign::Paused((Transport::Udp, desk()), Millis::from_secs(span));
        t.input(Input::Observed(Observation {
            hop: hop_of("sip:198.51.100.2").unwrap(),
            sign,
            at: t.now - Millis::from_secs(ago),
        }));
    };
    asked(&mut t, 5, 20);
    assert_eq!(paused(&t), Some(Millis::from_secs(15)));
    // Neither one that is over nor a shorter one changes anything, and a longer one is told as part of this one.
    asked(&mut t, 30, 20);
    asked(&mut t, 0, 10);
    assert_eq!(paused(&t), Some(Millis::from_secs(15)));
    asked(&mut t, 0, 30);
    assert_eq!(paused(&t), Some(Millis::from_secs(30)));
    assert_eq!(told(&t).len(), 1);
    goes_to(&mut t, "call1", mobile());
}

/// Alice calls 401, and the trunk takes the call; requests of hers go there by way of an edge that it names.
fn by_an_edge(wishes: Settings) -> (Table, Remote) {
    let mut t = Table::new(wishes);
    let invite = request(Method::Invite, "alice", "401", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    let answer = response(&invite, 200, desk(), "b1")
        .header(Name::RecordRoute, "<sip:198.51.100.3;lr>")
        .header(Name::Contact, "<sip:401@198.51.100.2>");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.request_to(mobile(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    (t, a)
}

fn is_busy(t: &mut Table, a: &mut Remote) -> Message {
    t.receive(alice(), a.request(Method::Info).end());
    let first = t.request_to(mobile(), Method::Info);
    let busy = response(&first, 503, mobile(), "b1").header(Name::RetryAfter, HOUR_S);
    t.receive(mobile(), busy.end());
    // The flow that it is heard over is the dialog's last way.
    let second = t.request_to(desk(), Method::Info);
    t.reply(&second, 200, desk());
    t.response_to(alice(), 200)
}

#[test]
fn a_pause_that_is_asked_for_within_a_dialog_is_shown_and_ends_too() {
    let (mut t, mut a) = by_an_edge(with_probes());
    is_busy(&mut t, &mut a);
    let second = t.engine.upstreams()[1].paused.unwrap();
    assert_eq!(second.since(t.now), Millis::from_secs(60));
    assert_eq!(told(&t), [("pbx udp:198.51.100.3:5060".to_owned(), 60)]);
    // The conversation is not cut off by it, and goes by the edge again.
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(desk(), Method::Info);
    t.reply(&info, 200, desk());
    t.nothing_to(mobile());
    lives(&mut t, 61, &[(desk(), 200), (mobile(), 200)]);
    t.discard(alice());
    t.receive(alice(), a.request(Method::Info).end());
    t.request_to(mobile(), Method::Info);
}

#[test]
fn an_edge_that_no_upstream_names_is_the_upstreams_that_the_leg_is_of() {
    let mut wishes = behind_a_name();
    let upstream = wishes.upstreams.get_mut("pbx").unwrap();
    upstream.targets = vec!["sip:198.51.100.2".into()];
    let (mut t, mut a) = by_an_edge(wishes);
    is_busy(&mut t, &mut a);
    assert!(paused(&t).is_some());
    assert_eq!(told(&t).len(), 1);
    goes_to(&mut t, "the-second-call", desk());
}
