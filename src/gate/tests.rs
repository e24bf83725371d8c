use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;

const START: Time = Time(1_800_000_000_000);

fn gate() -> Gate {
    let rate = RateConfig {
        per_second: 10,
        burst: 20,
    };
    let bans = BanConfig {
        after: 3,
        within: Duration::from_secs(60),
        duration: Duration::from_secs(600),
    };
    Gate::new(rate, bans, AclSettings::default())
}

fn networks(list: &[&str]) -> Vec<crate::engine::network::Network> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn who_is_denied_is_not_heard_and_who_is_not_allowed_neither() {
    let verdicts = |allow: &[&str], deny: &[&str]| {
        let mut gate = gate();
        gate.acl = AclSettings {
            allow: networks(allow),
            deny: networks(deny),
            trusted: networks(&["192.0.2.9"]),
            ..AclSettings::default()
        };
        // Whoever it is: a registered phone, and a trusted peer too.
        let heard = [1, 2, 9]
            .map(|last| gate.hear(ip(last), Load::Request, START, |_| true) == Verdict::Heard);
        let denied = heard.iter().filter(|heard| !**heard).count() as u64;
        assert_eq!(gate.reading().dropped_denied, denied);
        heard
    };
    assert_eq!(verdicts(&[], &[]), [true, true, true]);
    assert_eq!(verdicts(&[], &["192.0.2.1"]), [false, true, true]);
    assert_eq!(verdicts(&["192.0.2.1"], &[]), [true, false, true]);
    let both = verdicts(&["192.0.2.0/24"], &["192.0.2.8/29", "192.0.2.2"]);
    assert_eq!(both, [true, false, false]);
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn nobody(_: Ground) -> bool {
    false
}

fn heard(gate: &Gate, from: IpAddr, load: Load, times: usize) -> usize {
    (0..times)
        .filter(|_| gate.hear(from, load, START, nobody) == Verdict::Heard)
        .count()
}

#[test]
fn a_burst_is_heard_and_no_more() {
    let gate = gate();
    assert_eq!(heard(&gate, ip(1), Load::Request, 500), 20);
    assert_eq!(heard(&gate, ip(1), Load::Response, 500), 200);
    assert_eq!(heard(&gate, ip(2), Load::Request, 5), 5);
    assert_eq!(gate.reading().dropped_too_much, 480 + 300);
    let expected = gate.hear(ip(1), Load::Request, START, |ground| ground == Ground::Any);
    assert_eq!(expected, Verdict::Heard);
}

#[test]
fn an_ipv6_network_is_one_source() {
    let gate = gate();
    let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
    let all: usize = (0..500)
        .map(|last| heard(&gate, address(last), Load::Request, 1))
        .sum();
    assert_eq!(all, 20);
}

#[test]
fn strikes_of_a_proven_source_shut_it_out() {
    let gate = gate();
    for _ in 0..3 {
        gate.strike(ip(1), Offence::Credentials, true, START);
    }
    let verdict =
        |from, exempt: &dyn Fn(Ground) -> bool| gate.hear(from, Load::Request, START, exempt);
    assert_eq!(verdict(ip(1), &nobody), Verdict::Banned);
    assert_eq!(verdict(ip(2), &nobody), Verdict::Heard);
    assert_eq!(
        verdict(ip(1), &|_| true),
        Verdict::Heard,
        "who is registered"
    );
    assert!(gate.closes(ip(1), START, nobody) && !gate.closes(ip(1), START, |_| true));
    let reading = gate.reading();
    assert_eq!((reading.banned_now, reading.closed), (1, 1));
    assert_eq!((reading.strikes[0], reading.bans[0]), (3, 1));
    let later = START + Millis::from_secs(601);
    assert_eq!(
        gate.hear(ip(1), Load::Request, later, nobody),
        Verdict::Heard
    );
    gate.sweep(later);
    assert_eq!(gate.reading().banned_now, 0);
}

#[test]
fn what_anybody_could_have_sent_shuts_nobody_out() {
    let gate = gate();
    for _ in 0..1000 {
        gate.strike(ip(1), Offence::Malformed, false, START);
    }
    assert_eq!(
        gate.hear(ip(1), Load::Request, START, nobody),
        Verdict::Heard
    );
    assert_eq!(gate.reading().strikes[1], 1000);
}

#[test]
fn an_operator_shuts_out_the_registered_too_and_no_trusted_peer() {
    let gate = gate();
    let ban = gate
        .ban(Source::of(ip(1)), Some(Millis(5000)), START)
        .unwrap();
    assert_eq!(ban.until, START + Millis(5000));
    let registered = |ground| ground == Ground::Any;
    let verdict = gate.hear(ip(1), Load::Request, START, registered);
    assert_eq!(verdict, Verdict::Banned);
    let verdict = gate.hear(ip(1), Load::Request, START, |_| true);
    assert_eq!(verdict, Verdict::Heard);
    assert!(gate.lift(Source::of(ip(1)), START));
    let verdict = gate.hear(ip(1), Load::Request, START, nobody);
    assert_eq!(verdict, Verdict::Heard);
    let for_long = gate.ban(Source::of(ip(1)), None, START).unwrap();
    assert_eq!(for_long.until, START + Millis::from_secs(600));
}

#[test]
fn a_connection_waits_until_its_messages_are_paid_for() {
    let gate = gate();
    assert_eq!(gate.unheard_for(ip(1), START, nobody), Millis(0));
    for _ in 0..50 {
        gate.read(ip(1), Load::Request, START, nobody);
    }
    assert_eq!(gate.unheard_for(ip(1), START, nobody), Millis(3100));
    assert_eq!(gate.unheard_for(ip(1), START, |_| true), Millis(0));
    let later = START + Millis(3100);
    assert_eq!(gate.unheard_for(ip(1), later, nobody), Millis(0));
}

#[test]
fn the_log_names_a_source_once_a_minute() {
    let gate = gate();
    let named = |last: u8, now| gate.names(Source::of(ip(last)), now);
    assert!(named(1, START) && !named(1, START) && named(2, START));
    let all: usize = (0..200).map(|last| usize::from(named(last, START))).sum();
    assert!(all < 20, "{all} lines about many sources");
    assert!(named(1, START + Millis::from_secs(61)));
}
