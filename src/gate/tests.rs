use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::*;
use crate::config::{BanConfig, RateConfig};
use crate::engine::ids::Transport;
use crate::engine::settings::AclSettings;

const START: Time = Time(1_800_000_000_000);

/// A gate with the rules that it was made with.
struct Ruled(Gate, Arc<Rules>);

impl std::ops::Deref for Ruled {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.0
    }
}

impl Ruled {
    fn hear(
        &self,
        from: Origin,
        freight: impl Into<Freight>,
        now: Time,
        of: impl Fn() -> Standing,
    ) -> Verdict {
        self.0.hear(&self.1, from, freight, now, of)
    }

    fn read(
        &self,
        from: Origin,
        freight: impl Into<Freight>,
        now: Time,
        of: impl Fn() -> Standing,
    ) {
        self.0.read(&self.1, from, freight, now, of);
    }

    fn unheard_for(&self, from: Origin, now: Time, of: impl Fn() -> Standing) -> Millis {
        self.0.unheard_for(&self.1, from, now, of)
    }

    fn closes(&self, from: Origin, now: Time, of: impl Fn() -> Standing) -> bool {
        self.0.closes(&self.1, from, now, of)
    }

    fn strike(&self, from: Origin, what: Offence, proven: bool, now: Time, of: fn() -> Standing) {
        self.0.strike(&self.1, from, what, proven, now, of);
    }

    fn revise(&mut self, rules: Rules) {
        self.0.revise(rules);
        self.1 = self.0.rules();
    }
}

fn gate() -> Ruled {
    let gate = Gate::new(rules(AclSettings::default()));
    let rules = gate.rules();
    Ruled(gate, rules)
}

fn rules(acl: AclSettings) -> Rules {
    let rate = RateConfig {
        per_second: 10,
        burst: 20,
    };
    let bans = BanConfig {
        after: 3,
        within: Duration::from_secs(60),
        duration: Duration::from_secs(600),
    };
    Rules::new(rate, bans, acl)
}

fn networks(list: &[&str]) -> Vec<crate::engine::network::Network> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn who_is_denied_is_not_heard_and_who_is_not_allowed_neither() {
    let verdicts = |allow: &[&str], deny: &[&str]| {
        let mut gate = gate();
        gate.revise(rules(AclSettings {
            allow: networks(allow),
            deny: networks(deny),
            trusted: networks(&["192.0.2.9"]),
            ..AclSettings::default()
        }));
        // Whoever it is: a registered phone, and a trusted peer too.
        let heard = [1, 2, 9].map(|last| {
            gate.hear(udp(last), Load::Request, START, || Standing::Trusted) == Verdict::Heard
        });
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

fn udp(last: u8) -> Origin {
    port(last, Transport::Udp, 5060)
}

fn port(last: u8, transport: Transport, port: u16) -> Origin {
    let peer = (ip(last), port).into();
    Origin { transport, peer }
}

fn source(last: u8) -> Source {
    Source::of(ip(last))
}

fn nobody() -> Standing {
    Standing::Stranger
}

fn known() -> Standing {
    Standing::Bound
}

fn trusted() -> Standing {
    Standing::Trusted
}

fn heard(gate: &Ruled, from: Origin, load: Load, times: usize, standing: Standing) -> usize {
    (0..times)
        .filter(|_| gate.hear(from, load, START, || standing) == Verdict::Heard)
        .count()
}

#[test]
fn a_burst_is_heard_and_no_more() {
    let gate = gate();
    assert_eq!(heard(&gate, udp(1), Load::Request, 500, nobody()), 20);
    assert_eq!(heard(&gate, udp(1), Load::Response, 500, nobody()), 200);
    assert_eq!(heard(&gate, udp(2), Load::Request, 5, nobody()), 5);
    assert_eq!(gate.reading().dropped_too_much, 480 + 300);
    assert_eq!(heard(&gate, udp(1), Load::Request, 1000, trusted()), 1000);
}

#[test]
fn a_known_flow_has_more_of_its_own_and_leaves_half_to_strangers() {
    let gate = gate();
    let of = |last, number, standing| {
        let from = port(last, Transport::Udp, number);
        heard(&gate, from, Load::Request, 1000, standing)
    };
    // Of what its source may send it takes no more than half, and ten times as much of its own.
    assert_eq!(of(1, 5060, known()), 11 + 200);
    assert_eq!(of(1, 5062, known()), 200, "its neighbour has its own");
    assert_eq!(of(1, 6000, nobody()), 9);
    // Whoever floods under their address changes nothing for them.
    assert_eq!(of(2, 6000, nobody()), 20);
    assert_eq!(of(2, 5060, known()), 200);
}

#[test]
fn calls_of_one_source_share_what_they_may_send() {
    let gate = gate();
    let of = |number, standing| {
        let from = port(1, Transport::Udp, number);
        heard(&gate, from, Load::Request, 1000, standing)
    };
    assert_eq!(of(5060, Standing::InCall), 11 + 200);
    assert_eq!(of(5062, Standing::InCall), 0, "another call is no more");
    assert_eq!(of(5064, Standing::Bound), 200, "a phone beside them");
    assert_eq!(of(6000, nobody()), 9);
    let over = port(1, Transport::Tcp, 5066);
    assert_eq!(
        heard(&gate, over, Load::Request, 1000, Standing::InCall),
        211
    );
    assert!(gate.unheard_for(over, START, || Standing::InCall) > Millis(0));
}

#[test]
fn datagrams_in_anothers_name_do_not_slow_its_connections() {
    let gate = gate();
    assert_eq!(heard(&gate, udp(1), Load::Request, 500, nobody()), 20);
    let connection = port(1, Transport::Tcp, 40000);
    assert_eq!(gate.unheard_for(connection, START, nobody), Millis(0));
    assert_eq!(heard(&gate, connection, Load::Request, 500, nobody()), 20);
    assert!(gate.unheard_for(connection, START, nobody) > Millis(0));
}

#[test]
fn an_ipv6_network_is_one_source() {
    let gate = gate();
    let address = |last: u16| Origin {
        transport: Transport::Udp,
        peer: (IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]), 5060).into(),
    };
    let all: usize = (0..500)
        .map(|last| heard(&gate, address(last), Load::Request, 1, nobody()))
        .sum();
    assert_eq!(all, 20);
}

#[test]
fn strikes_of_a_proven_source_shut_it_out() {
    let gate = gate();
    for _ in 0..3 {
        gate.strike(udp(1), Offence::Credentials, true, START, nobody);
    }
    let verdict = |from, standing: Standing| gate.hear(from, Load::Request, START, || standing);
    assert_eq!(verdict(udp(1), nobody()), Verdict::Banned);
    assert_eq!(verdict(udp(2), nobody()), Verdict::Heard);
    assert_eq!(verdict(udp(1), known()), Verdict::Heard);
    assert!(gate.closes(udp(1), START, nobody) && !gate.closes(udp(1), START, known));
    let reading = gate.reading();
    assert_eq!((reading.banned_now, reading.closed), (1, 1));
    assert_eq!((reading.strikes[0], reading.bans[0]), (3, 1));
    let later = START + Millis::from_secs(601);
    assert_eq!(
        gate.hear(udp(1), Load::Request, later, nobody),
        Verdict::Heard
    );
    gate.sweep(later);
    assert_eq!(gate.reading().banned_now, 0);
}

#[test]
fn a_known_flow_is_shut_out_alone_and_several_with_their_source() {
    let gate = gate();
    let flow = |number| port(1, Transport::Tcp, number);
    let verdict = |from, standing: Standing| gate.hear(from, Load::Request, START, || standing);
    let guesses = |from| {
        for _ in 0..3 {
            gate.strike(from, Offence::Credentials, true, START, known);
        }
    };
    guesses(flow(1));
    assert_eq!(verdict(flow(1), known()), Verdict::Banned);
    assert!(gate.closes(flow(1), START, known));
    assert_eq!(verdict(flow(1), trusted()), Verdict::Heard);
    assert_eq!(verdict(flow(2), known()), Verdict::Heard, "its neighbour");
    assert_eq!(verdict(flow(3), nobody()), Verdict::Heard, "a new phone");
    let listed = gate.banned(10, START);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].whom.to_string(), "tcp:192.0.2.1:1");
    // Three flows of it are enough: a strike of the source each.
    guesses(flow(4));
    assert_eq!(verdict(flow(3), nobody()), Verdict::Heard);
    guesses(flow(5));
    assert_eq!(verdict(flow(3), nobody()), Verdict::Banned);
    assert_eq!(verdict(flow(2), known()), Verdict::Heard);
    let listed = gate.banned(10, START);
    assert_eq!((listed.len(), listed[0].whom.flow), (4, None));
    assert!(gate.lift(source(1), START));
    assert!(gate.banned(10, START).is_empty() && gate.reading().banned_now == 0);
    assert_eq!(verdict(flow(1), known()), Verdict::Heard);
}

#[test]
fn a_source_that_is_shut_out_is_not_forgiven_what_its_known_flows_do() {
    let gate = gate();
    for _ in 0..3 {
        gate.strike(udp(1), Offence::Credentials, true, START, nobody);
    }
    for _ in 0..3 {
        gate.strike(udp(1), Offence::Credentials, true, START, known);
    }
    let verdict = gate.hear(udp(1), Load::Request, START, known);
    assert_eq!(verdict, Verdict::Banned);
}

#[test]
fn who_is_trusted_is_not_counted() {
    let gate = gate();
    for _ in 0..10 {
        gate.strike(udp(1), Offence::Credentials, true, START, trusted);
    }
    let reading = gate.reading();
    assert_eq!((reading.strikes[0], reading.banned_now), (0, 0));
}

#[test]
fn what_anybody_could_have_sent_shuts_nobody_out() {
    let gate = gate();
    for _ in 0..1000 {
        gate.strike(udp(1), Offence::Malformed, false, START, nobody);
    }
    assert_eq!(
        gate.hear(udp(1), Load::Request, START, nobody),
        Verdict::Heard
    );
    assert_eq!(gate.reading().strikes[1], 1000);
}

#[test]
fn an_operator_shuts_out_the_registered_too_and_no_trusted_peer() {
    let gate = gate();
    let ban = gate.ban(source(1), Some(Millis(5000)), START).unwrap();
    assert_eq!(ban.until, START + Millis(5000));
    let verdict = gate.hear(udp(1), Load::Request, START, known);
    assert_eq!(verdict, Verdict::Banned);
    let verdict = gate.hear(udp(1), Load::Request, START, trusted);
    assert_eq!(verdict, Verdict::Heard);
    assert!(gate.lift(source(1), START));
    let verdict = gate.hear(udp(1), Load::Request, START, nobody);
    assert_eq!(verdict, Verdict::Heard);
    let for_long = gate.ban(source(1), None, START).unwrap();
    assert_eq!(for_long.until, START + Millis::from_secs(600));
}

#[test]
fn a_connection_waits_until_its_messages_are_paid_for() {
    let gate = gate();
    let from = port(1, Transport::Tls, 5061);
    assert_eq!(gate.unheard_for(from, START, nobody), Millis(0));
    for _ in 0..50 {
        gate.read(from, Load::Request, START, nobody);
    }
    assert_eq!(gate.unheard_for(from, START, nobody), Millis(3100));
    assert_eq!(gate.unheard_for(from, START, known), Millis(0));
    assert_eq!(gate.unheard_for(from, START, trusted), Millis(0));
    let later = START + Millis(3100);
    assert_eq!(gate.unheard_for(from, later, nobody), Millis(0));
}

#[test]
fn a_large_message_counts_as_several() {
    let gate = gate();
    let heard = |last, bytes| {
        let freight = Freight(Load::Request, bytes);
        let verdicts = (0..100).map(|_| gate.hear(udp(last), freight, START, nobody));
        verdicts
            .filter(|verdict| *verdict == Verdict::Heard)
            .count()
    };
    // 20 at once.
    assert_eq!(heard(1, 0), 20);
    assert_eq!(heard(2, 4096), 20);
    assert_eq!(heard(3, 4097), 10);
    assert_eq!(heard(4, 65_535), 1);
    // More than all that there can be is heard all the same, where nothing else is.
    assert_eq!(heard(5, 1 << 24), 1);
    let from = port(6, Transport::Tcp, 40000);
    for _ in 0..3 {
        gate.read(from, Freight(Load::Request, 60_000), START, nobody);
    }
    assert_eq!(gate.unheard_for(from, START, nobody), Millis(2600));
    // A flow that is known has ten times as much.
    let from = port(7, Transport::Tcp, 40000);
    for _ in 0..30 {
        gate.read(from, Freight(Load::Request, 60_000), START, known);
    }
    assert_eq!(gate.unheard_for(from, START, known), Millis(2360));
}

#[test]
fn responses_have_a_rate_over_connections_too() {
    let gate = gate();
    let from = port(1, Transport::Tcp, 40000);
    for _ in 0..500 {
        gate.read(from, Load::Response, START, nobody);
    }
    assert_eq!(gate.unheard_for(from, START, nobody), Millis(3010));
    assert_eq!(gate.unheard_for(from, START, trusted), Millis(0));
    let later = START + Millis(3010);
    assert_eq!(gate.unheard_for(from, later, nobody), Millis(0));
    for (last, of) in [(2, Standing::Bound), (3, Standing::InCall)] {
        let from = port(last, Transport::Tcp, 40000);
        for _ in 0..500 {
            gate.read(from, Load::Response, START, || of);
        }
        assert!(gate.unheard_for(from, START, || of) > Millis(0), "{of:?}");
    }
}

#[test]
fn a_known_connection_waits_too_and_nobody_beside_it() {
    let gate = gate();
    let (from, beside) = (
        port(1, Transport::Tcp, 40000),
        port(1, Transport::Tcp, 40001),
    );
    for _ in 0..11 + 300 {
        gate.read(from, Load::Request, START, known);
    }
    assert_eq!(gate.unheard_for(from, START, known), Millis(1010));
    assert_eq!(gate.unheard_for(beside, START, known), Millis(0));
    assert_eq!(gate.unheard_for(beside, START, nobody), Millis(0));
}

#[test]
fn other_rules_hold_from_now_on_and_bans_that_there_are_stay() {
    let mut gate = gate();
    let of = gate.generation();
    for _ in 0..3 {
        gate.strike(udp(1), Offence::Credentials, true, START, nobody);
    }
    let deny = networks(&["192.0.2.7"]);
    let acl = AclSettings {
        deny,
        ..AclSettings::default()
    };
    let rate = RateConfig {
        per_second: 10,
        burst: 50,
    };
    let bans = BanConfig {
        after: 1,
        within: Duration::from_secs(60),
        duration: Duration::from_secs(30),
    };
    assert!(!gate.closes(port(7, Transport::Tcp, 1), START, known));
    gate.revise(Rules::new(rate, bans, acl));
    assert_eq!(gate.revision(), 1);
    assert!(gate.generation() > of + 1, "connections are looked at");
    assert!(gate.closes(port(7, Transport::Tcp, 1), START, known));
    assert_eq!(heard(&gate, udp(2), Load::Request, 500, nobody()), 50);
    assert_eq!(heard(&gate, udp(1), Load::Request, 1, nobody()), 0);
    gate.strike(udp(3), Offence::Scanner, true, START, nobody);
    let later = START + Millis::from_secs(31);
    let banned = gate.banned(10, later);
    assert_eq!(banned.len(), 1, "the old one");
}

#[test]
fn a_number_is_remembered_for_its_time() {
    let gate = gate();
    let hour = Millis::from_secs(3600);
    gate.mark(7, hour, START);
    let marked = |number, after| gate.is_marked(number, START + Millis::from_secs(after));
    assert!(marked(7, 0) && marked(7, 3599) && !marked(7, 3600) && !marked(8, 0));
    gate.mark(7, hour, START + Millis::from_secs(1800));
    assert!(marked(7, 5399) && !marked(7, 5400), "anew, and no longer");
}

#[test]
fn the_log_names_a_source_once_a_minute() {
    let gate = gate();
    let named = |last: u8, now| gate.names(source(last), now);
    assert!(named(1, START) && !named(1, START) && named(2, START));
    let all: usize = (0..200).map(|last| usize::from(named(last, START))).sum();
    assert!(all < 20, "{all} lines about many sources");
    assert!(named(1, START + Millis::from_secs(61)));
}
