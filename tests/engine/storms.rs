//! A network is down: many calls lose their phones at once, and `restore.rate` is held.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use refork::engine::events::{Ending, Event, Happening};
use refork::engine::ids::{ConversationId, Side};
use refork::engine::ports::{Command, Input};
use refork::engine::settings::*;
use refork::engine::time::{Millis, Time};
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;

/// A call of somebody's phone to somebody's desk phone.
fn caller(call: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, (call >> 8) as u8, call as u8], 5060))
}

fn callee(call: usize) -> SocketAddr {
    SocketAddr::from(([10, 2, (call >> 8) as u8, call as u8], 5060))
}

fn other(call: usize) -> SocketAddr {
    SocketAddr::from(([10, 3, 0, call as u8], 5060))
}

fn at_a_rate(rate: u32, timeout: u64) -> Settings {
    let settings = settings();
    Settings {
        restore: RestoreSettings {
            rate,
            timeout: PerKind::both(Millis::from_secs(timeout)),
            ..settings.restore
        },
        ..settings
    }
}

impl Table {
    fn many_calls(&mut self, calls: usize) {
        for call in 0..calls {
            let (from, to) = (caller(call), callee(call));
            let user = format!("u{call}");
            self.register(&user, to, &user);
            let invite = request(Method::Invite, "alice", &user, from, &format!("call{call}"));
            self.receive(from, with_sdp(invite, &audio(from)));
            let invite = self.request_to(to, Method::Invite);
            let answer = response(&invite, 200, to, "b1");
            self.receive(to, with_sdp(answer, &audio(to)));
            self.request_to(to, Method::Ack);
            let taken = self.response_to(from, 200);
            let ack = Remote::of_answer(&taken, from).ack(1);
            self.receive(from, ack);
        }
    }

    /// Every callee is lost in the same moment. Returns the calls in that order.
    fn all_are_lost(&mut self) -> Vec<ConversationId> {
        let all = self.engine.list(5000).into_iter();
        let all: Vec<_> = all.map(|summary| summary.key).collect();
        for conversation in &all {
            self.input(Input::Command(Command::DeclareLost {
                conversation: *conversation,
                side: Side::Callee,
            }));
        }
        all
    }
}

/// What phones were sent, of which one that is sent again is nothing new.
#[derive(Default)]
struct Watch(BTreeSet<String>);

impl Watch {
    /// Lets time pass. Returns when which call's phones were sent a new INVITE.
    fn invites(
        &mut self,
        t: &mut Table,
        span: Millis,
        each: Millis,
    ) -> Vec<(Time, usize, Message)> {
        let mut invites = Vec::new();
        let end = t.now + span;
        loop {
            for (to, message) in t.all_mail() {
                let std::net::IpAddr::V4(ip) = to.ip() else {
                    continue;
                };
                let [net, side, high, low] = ip.octets();
                if net != 10 || side < 2 {
                    continue;
                }
                let of = message.branch().unwrap_or("").to_owned();
                if *message.method() == Method::Invite && self.0.insert(of) {
                    let call = usize::from(high) << 8 | usize::from(low);
                    invites.push((t.now, call, message));
                }
            }
            if t.now >= end {
                return invites;
            }
            t.pass(each);
        }
    }
}

fn held(invites: &[(Time, usize, Message)], rate: usize) {
    for (first, (at, ..)) in invites.iter().enumerate() {
        let later = invites[first..].iter();
        let within = later.filter(|(then, ..)| then.since(*at) < Millis(1000));
        assert!(
            within.count() <= rate,
            "more than {rate} in the second of {at:?}"
        );
    }
}

#[test]
fn a_thousand_calls_lost_at_once_are_each_tried_in_order_and_at_the_rate() {
    const CALLS: usize = 1000;
    // The last has its turn when the time of the first is long over.
    let mut t = Table::new(at_a_rate(50, 5));
    t.many_calls(CALLS);
    let order = t.all_are_lost();
    assert_eq!(order.len(), CALLS);
    let begun = t.now;
    let invites = Watch::default().invites(&mut t, Millis::from_secs(40), Millis(5));
    held(&invites, 50);
    let mut first: BTreeMap<usize, Time> = BTreeMap::new();
    for (at, call, _) in &invites {
        first.entry(*call).or_insert(*at);
    }
    assert_eq!(first.len(), CALLS, "none ends without having been tried");
    // Twenty seconds and not much more: nothing of the rate is wasted on who waits.
    let last = first.values().max().unwrap().since(begun);
    assert!(
        last < Millis::from_secs(21),
        "the last had its turn after {last:?}"
    );
    // Who was lost first is asked first.
    let lost: BTreeMap<ConversationId, usize> = order
        .into_iter()
        .enumerate()
        .map(|(at, id)| (id, at))
        .collect();
    let turns = t.events.iter().filter_map(|event| match event {
        Event::Conversation {
            id,
            what: Happening::Reinvited { attempt: 1, .. },
            ..
        } => Some(lost[id]),
        _ => None,
    });
    assert!(turns.is_sorted(), "nobody overtakes");
    let late = |what: &Happening| {
        matches!(
            what,
            Happening::Ended {
                how: Ending::RestoreTimeout(_),
                ..
            }
        )
    };
    assert_eq!(t.happened(late), CALLS, "each had its time");
    t.ends_empty();
}

#[test]
fn rounds_and_other_phones_take_their_part_of_the_rate_too() {
    let mut t = Table::new(at_a_rate(10, 30));
    t.many_calls(5);
    for call in 0..5 {
        t.register(&format!("u{call}"), other(call), &format!("other{call}"));
    }
    t.all_are_lost();
    let (mut watch, mut sent) = (Watch::default(), Vec::new());
    for _ in 0..2000 {
        // Nobody is there, and the network says so.
        for call in 0..5 {
            t.icmp(callee(call));
            t.icmp(other(call));
        }
        sent.extend(watch.invites(&mut t, Millis(10), Millis(10)));
    }
    held(&sent, 10);
    assert!(sent.len() > 40, "{} in twenty seconds", sent.len());
}

#[test]
fn a_phone_that_wants_another_invite_does_not_wait_behind_all_others() {
    let mut t = Table::new(at_a_rate(1, 30));
    t.many_calls(3);
    t.all_are_lost();
    let mut watch = Watch::default();
    let first = watch.invites(&mut t, Millis(0), Millis(1));
    let [(_, call, invite)] = &first[..] else {
        panic!("one at a time: {first:?}");
    };
    // It has restarted, and knows nothing of the dialog that is to be replaced.
    assert!(invite.header(refork::sip::Name::Replaces).is_none());
    t.reply(invite, 486, callee(*call));
    let again = watch.invites(&mut t, Millis(600), Millis(10));
    assert_eq!(again.len(), 1, "after the BYE it is asked again");
    assert_eq!(again[0].1, *call);
    // The others pay for it.
    assert!(watch.invites(&mut t, Millis(1200), Millis(10)).is_empty());
    assert_eq!(watch.invites(&mut t, Millis(300), Millis(10)).len(), 1);
}

#[test]
fn a_restart_keeps_those_who_wait_for_their_turn() {
    let mut t = Table::new(at_a_rate(1, 30));
    t.many_calls(4);
    t.all_are_lost();
    let mut watch = Watch::default();
    assert_eq!(watch.invites(&mut t, Millis(0), Millis(1)).len(), 1);
    t.restart();
    let invites = watch.invites(&mut t, Millis::from_secs(4), Millis(10));
    let asked: BTreeSet<usize> = invites.iter().map(|invite| invite.1).collect();
    // The one that has its INVITE gets the same again.
    assert_eq!(asked.len(), 3);
    held(&invites, 1);
}

#[test]
fn nothing_waits_for_ever() {
    let mut t = Table::new(at_a_rate(1, 30));
    t.many_calls(700);
    t.all_are_lost();
    t.pass(Millis::from_secs(590));
    assert!(t.happened(|what| matches!(what, Happening::Lost { .. })) == 700);
    t.pass(Millis::from_secs(60));
    let gauges = t.engine.gauges();
    assert_eq!((gauges.restoring, gauges.legs), (0, 0));
    let late = |what: &Happening| matches!(what, Happening::Ended { .. });
    assert_eq!(t.happened(late), 700);
}
