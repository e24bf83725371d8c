//! Whoever answers 503 with Retry-After is left alone where another is well (RFC 3261 21.5.4): an upstream by all
//! shards, and for a minute at most where its probes are answered.

use std::net::SocketAddr;

use refork::engine::events::Event;
use refork::engine::health::{Observation, Sign};
use refork::engine::ids::Transport;
use refork::engine::ports::Input;
use refork::engine::settings::{Settings, UpstreamTarget};
use refork::engine::time::Millis;
use refork::engine::upstreams::hop_of;
use refork::sip::{Builder, Message, Method, Name};

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
    let over = |event: &&Event| matches!(event, Event::UpstreamPauseOver { .. });
    assert_eq!(t.events.iter().filter(over).count(), 1);
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

fn at(targets: &[&str]) -> Settings {
    let mut wishes = behind_a_name();
    let upstream = wishes.upstreams.get_mut("pbx").unwrap();
    upstream.targets = UpstreamTarget::in_order(targets.iter().copied());
    wishes
}

#[test]
fn an_edge_that_no_upstream_names_is_left_alone_for_a_minute_and_no_upstream_is() {
    let (mut t, mut a) = by_an_edge(at(&["sip:198.51.100.2"]));
    is_busy(&mut t, &mut a);
    assert_eq!((paused(&t), pauses(&t)), (None, 0));
    assert_eq!(told(&t), []);
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(desk(), Method::Info);
    t.reply(&info, 200, desk());
    t.nothing_to(mobile());
    t.pass(Millis::from_secs(61));
    t.discard(alice());
    t.receive(alice(), a.request(Method::Info).end());
    t.request_to(mobile(), Method::Info);
}

/// A 200 that says by no Contact of its own where it comes from.
fn taken(invite: &Message) -> Builder {
    Builder::respond(invite, 200, "OK", Some("b1"), SERVER.parse().unwrap())
}

/// Alice talks with somebody whom the first target reaches, and who wants to be asked elsewhere within the call.
fn talks_with_a_stranger(t: &mut Table, call_id: &str, contact: &str) -> Remote {
    invites(t, call_id);
    let invite = t.request_to(desk(), Method::Invite);
    let answer = taken(&invite).header(Name::Contact, contact);
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    let at = if contact.contains("203.0.113.66") {
        evil()
    } else {
        desk()
    };
    t.request_to(at, Method::Ack);
    let a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), a.ack(1));
    a
}

fn evil() -> SocketAddr {
    "203.0.113.66:25666".parse().unwrap()
}

#[test]
fn who_is_called_beyond_an_upstream_does_not_speak_for_it() {
    for targets in [
        &["sip:198.51.100.2", "sip:198.51.100.3"][..],
        &["sip:pbx.example.net", "sip:198.51.100.3"],
    ] {
        let mut t = Table::new(at(targets));
        t.names
            .insert("pbx.example.net".into(), vec![(Transport::Udp, desk())]);
        let mut a = talks_with_a_stranger(&mut t, "call1", "<sip:evil@203.0.113.66:25666>");
        t.receive(alice(), a.request(Method::Info).end());
        let info = t.request_to(evil(), Method::Info);
        let busy = response(&info, 503, evil(), "b1").header(Name::RetryAfter, HOUR_S);
        t.receive(evil(), busy.end());
        assert_eq!((paused(&t), pauses(&t)), (None, 0));
        assert_eq!(told(&t), []);
        t.discard(desk());
        // The upstream still has another target for who is silent.
        invites(&mut t, "the-second-call");
        t.request_to(desk(), Method::Invite);
        t.pass(Millis(4_100));
        t.request_to(mobile(), Method::Invite);
    }
}

#[test]
fn who_names_the_upstream_in_its_contact_does_not_speak_for_it_either() {
    let mut t = Table::new(at(&["sip:pbx.example.net"]));
    t.names
        .insert("pbx.example.net".into(), vec![(Transport::Udp, desk())]);
    invites(&mut t, "call1");
    let invite = t.request_to(desk(), Method::Invite);
    let answer = taken(&invite)
        .header(Name::RecordRoute, "<sip:203.0.113.66:25666;lr>")
        .header(Name::Contact, "<sip:401@pbx.example.net>");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.request_to(evil(), Method::Ack);
    let mut a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), a.ack(1));
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(evil(), Method::Info);
    let busy = response(&info, 503, evil(), "b1").header(Name::RetryAfter, HOUR_S);
    t.receive(evil(), busy.end());
    assert_eq!((paused(&t), pauses(&t)), (None, 0));
}

#[test]
fn what_the_name_of_a_target_was_located_at_speaks_for_it_within_a_dialog_too() {
    let mut t = Table::new(at(&["sip:pbx.example.net"]));
    let there = [mobile(), third()].map(|at| (Transport::Udp, at));
    t.names.insert("pbx.example.net".into(), there.to_vec());
    invites(&mut t, "call1");
    let invite = t.request_to(mobile(), Method::Invite);
    let answer = taken(&invite).header(Name::Contact, "<sip:401@pbx.example.net>");
    t.receive(mobile(), with_sdp(answer, &audio(mobile())));
    t.request_to(mobile(), Method::Ack);
    let mut a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), a.ack(1));
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(mobile(), Method::Info);
    let busy = response(&info, 503, mobile(), "b1").header(Name::RetryAfter, 20);
    t.receive(mobile(), busy.end());
    t.request_to(third(), Method::Info);
    assert_eq!(paused(&t), Some(Millis::from_secs(20)));
    assert_eq!(told(&t), [("pbx udp:198.51.100.3:5060".to_owned(), 20)]);
}

/// Alice calls, and every target wants to be left alone for so long.
fn all_pause_for(t: &mut Table, call_id: &str, all: &[(SocketAddr, u32)]) -> Message {
    invites(t, call_id);
    for (at, pause_s) in all {
        let invite = t.request_to(*at, Method::Invite);
        unavailable(t, &invite, *at, *pause_s);
    }
    // RFC 3261 16.7 step 6: that one is for us, and when it is worth another try is for the caller.
    let refused = t.response_to(alice(), 500);
    t.discard(alice());
    refused
}

#[test]
fn who_has_one_target_alone_is_asked_all_the_same() {
    for target in ["sip:198.51.100.2", "sip:pbx.example.net"] {
        let mut t = Table::new(at(&[target]));
        t.names
            .insert("pbx.example.net".into(), vec![(Transport::Udp, desk())]);
        let refused = all_pause_for(&mut t, "call1", &[(desk(), HOUR_S)]);
        assert_eq!(refused.header(Name::RetryAfter), Some("3600"), "{target}");
        assert_eq!(paused(&t), Some(Millis::from_secs(u64::from(HOUR_S))));
        goes_to(&mut t, "the-second-call", desk());
        // It says so of each call by itself.
        all_pause_for(&mut t, "and-the-third-call", &[(desk(), 10)]);
        assert_eq!(told(&t).len(), 1);
        // A text goes there too.
        let text = request(Method::Message, "alice", "401", alice(), "text1");
        t.receive(alice(), text.body("text/plain", b"hello"));
        t.request_to(desk(), Method::Message);
    }
}

#[test]
fn a_re_fork_asks_the_only_target_in_spite_of_its_pause() {
    let mut t = Table::new(at(&["sip:198.51.100.2"]));
    talks_with_a_stranger(&mut t, "call1", "<sip:401@198.51.100.2>");
    let sign = Sign::Paused((Transport::Udp, desk()), Millis::from_secs(50));
    t.input(Input::Observed(Observation {
        hop: hop_of("sip:198.51.100.2").unwrap(),
        sign,
        at: t.now,
    }));
    assert_eq!(paused(&t), Some(Millis::from_secs(50)));
    t.bob_is_lost();
    t.request_to(desk(), Method::Invite);
}

#[test]
fn of_several_that_all_pause_the_one_that_is_free_soonest_is_asked_first() {
    let mut t = Table::new(at(&["sip:198.51.100.2", "sip:198.51.100.3"]));
    all_pause_for(&mut t, "call1", &[(desk(), 100), (mobile(), 50)]);
    goes_to(&mut t, "the-second-call", mobile());
    t.nothing_to(desk());
    // The other has its turn after it.
    all_pause_for(&mut t, "and-the-third-call", &[(mobile(), 5), (desk(), 5)]);
    t.pass(Millis::from_secs(51));
    t.discard(alice());
    goes_to(&mut t, "the-fourth-and-last", mobile());
    t.nothing_to(desk());
    // Who is known to have failed is no reason to leave the other alone: it may be dead.
    invites(&mut t, "one-more-call-of-them");
    t.request_to(mobile(), Method::Invite);
    t.icmp(mobile());
    t.response_to(alice(), 480);
    invites(&mut t, "and-the-last-call-of-them-all");
    t.request_to(mobile(), Method::Invite);
    t.icmp(mobile());
    t.request_to(desk(), Method::Invite);
}

#[test]
fn a_pause_longer_than_can_be_counted_is_a_long_one() {
    let mut t = Table::new(at(&["sip:198.51.100.2", "sip:198.51.100.3"]));
    invites(&mut t, "call1");
    let first = t.request_to(desk(), Method::Invite);
    let busy = response(&first, 503, desk(), "busy").header(Name::RetryAfter, "99999999999");
    t.receive(desk(), busy.end());
    assert_eq!(paused(&t), Some(Millis::from_secs(u64::from(HOUR_S))));
}

#[test]
fn the_operator_ends_a_pause_on_all_shards() {
    let mut t = Table::of_two_workers(with_probes());
    let both = [(desk(), 200), (mobile(), 200)];
    lives(&mut t, 2, &both);
    pauses_for(&mut t, "call1", 50);
    assert!(paused(&t).is_some());
    let resumed = |t: &Table| Observation {
        hop: hop_of("sip:198.51.100.2").unwrap(),
        sign: Sign::Resumed,
        at: t.now,
    };
    // The app tells every worker.
    t.observed_by_all(&resumed(&t));
    assert_eq!((paused(&t), pauses(&t)), (None, 0));
    let over = |event: &&Event| matches!(event, Event::UpstreamPauseOver { .. });
    assert_eq!(t.events.iter().filter(over).count(), 1);
    for number in 0..20 {
        goes_to(
            &mut t,
            &format!("another-call-{}", "1".repeat(number)),
            desk(),
        );
        t.nothing_to(mobile());
    }
    // Where there is none it ends none.
    t.observed_by_all(&resumed(&t));
    assert_eq!(t.events.iter().filter(over).count(), 1);
    pauses_for(&mut t, "the-last-call", 50);
    assert_eq!(told(&t).len(), 2);
}
