//! A network is down: many calls lose their phones at once, and `restore.rate` is held.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use refork::engine::events::{Ending, Event, Happening};
use refork::engine::ids::{ConversationId, Side};
use refork::engine::ports::{Command, Input};
use refork::engine::settings::*;
use refork::engine::time::{Millis, Time};
use refork::sip::{Builder, Message, Method, Name};

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
        self.many_calls_with(calls, |invite, to| response(invite, 200, to, "b1"));
    }

    fn many_calls_with(&mut self, calls: usize, taken: fn(&Message, SocketAddr) -> Builder) {
        for call in 0..calls {
            let (from, to) = (caller(call), callee(call));
            let user = format!("u{call}");
            self.register(&user, to, &user);
            let invite = request(Method::Invite, "alice", &user, from, &format!("call{call}"));
            self.receive(from, with_sdp(invite, &audio(from)));
            let invite = self.request_to(to, Method::Invite);
            let answer = taken(&invite, to);
            self.receive(to, with_sdp(answer, &audio(to)));
            self.request_to(to, Method::Ack);
            let ok = self.response_to(from, 200);
            let ack = Remote::of_answer(&ok, from).ack(1);
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
    // It is busy with the lost dialog, which it cannot replace.
    assert!(invite.header(Name::Replaces).is_none());
    t.reply(invite, 486, callee(*call));
    let again = watch.invites(&mut t, Millis(600), Millis(10));
    assert_eq!(again.len(), 1, "after the BYE it is asked again");
    assert_eq!(again[0].1, *call);
    // The others pay for it.
    assert!(watch.invites(&mut t, Millis(1200), Millis(10)).is_empty());
    assert_eq!(watch.invites(&mut t, Millis(300), Millis(10)).len(), 1);
}

/// What a phone, or the upstream before it, wants before it takes an INVITE of the re-fork.
type Demand = fn(&Message, SocketAddr) -> Option<Builder>;

/// Every INVITE is answered at once, by what is demanded or by a 2xx. Returns when each went out.
fn demanding(t: &mut Table, span: Millis, demand: Demand) -> Vec<Time> {
    let (mut known, mut sent) = (BTreeSet::new(), Vec::new());
    let end = t.now + span;
    while t.now < end {
        for (to, message) in t.all_mail() {
            let of = message.branch().unwrap_or("").to_owned();
            if !message.is_request() || *message.method() != Method::Invite || !known.insert(of) {
                continue;
            }
            sent.push(t.now);
            let answer = match demand(&message, to) {
                Some(refusal) => refusal.end(),
                None => with_sdp(response(&message, 200, to, "again"), &audio(to)),
            };
            t.receive(to, answer);
        }
        t.pass(Millis(10));
    }
    sent
}

/// Each of these costs another INVITE, which goes at once; the others pay for it.
#[test]
fn what_phones_demand_in_a_storm_stays_within_the_rate() {
    const CALLS: usize = 40;
    let demands: [Demand; 2] = [
        |invite, to| {
            let replaces = invite.header(Name::Replaces);
            replaces.map(|_| response(invite, 481, to, "no"))
        },
        |invite, to| {
            let brief = invite.cseq() == 1;
            brief.then(|| response(invite, 422, to, "no").header(Name::MinSe, 7200))
        },
    ];
    for demand in demands {
        let mut t = Table::new(at_a_rate(10, 60));
        t.many_calls_with(CALLS, answer_at);
        t.all_mail();
        t.all_are_lost();
        let begun = t.now;
        let sent = demanding(&mut t, Millis::from_secs(12), demand);
        assert_eq!(sent.len(), 2 * CALLS);
        evenly(&sent, 10);
        assert!(sent.last().unwrap().since(begun) > Millis(7_500));
        let restored = |what: &Happening| matches!(what, Happening::Restored { .. });
        assert_eq!(t.happened(restored), CALLS);
    }
}

/// An INVITE that is asked for may go beside the one whose turn it was, and no more.
fn evenly(sent: &[Time], rate: usize) {
    for (first, at) in sent.iter().enumerate() {
        let within = sent[first..].partition_point(|then| then.since(*at) < Millis(1000));
        assert!(within <= rate + 1, "{within} in the second of {at:?}");
    }
}

#[test]
fn what_an_upstream_asks_proof_of_in_a_storm_stays_within_the_rate() {
    const CALLS: usize = 40;
    let asked: Demand = |invite, to| {
        let bare = invite.header(Name::ProxyAuthorization).is_none();
        let challenge = (Name::ProxyAuthenticate, crate::proofs::NONCE);
        bare.then(|| response(invite, 407, to, "no").header(challenge.0, challenge.1))
    };
    let mut wishes = crate::proofs::with_account(&[]);
    wishes.restore = at_a_rate(10, 60).restore;
    let mut t = Table::new(wishes);
    for call in 0..CALLS {
        let (from, to) = (caller(call), crate::proofs::TRUNK());
        let (number, id) = (format!("4{call}"), format!("call{call}"));
        let invite = request(Method::Invite, "alice", &number, from, &id);
        t.receive(from, with_sdp(invite, &audio(from)));
        let invite = t.request_to(to, Method::Invite);
        t.receive(to, with_sdp(answer_at(&invite, to), &audio(to)));
        t.request_to(to, Method::Ack);
        let ok = t.response_to(from, 200);
        t.receive(from, Remote::of_answer(&ok, from).ack(1));
    }
    t.all_are_lost();
    let sent = demanding(&mut t, Millis::from_secs(12), asked);
    assert_eq!(sent.len(), 2 * CALLS);
    evenly(&sent, 10);
    let restored = |what: &Happening| matches!(what, Happening::Restored { .. });
    assert_eq!(t.happened(restored), CALLS);
}

/// Calls that end together have the BYEs of their lost dialogs again, and not all in one moment.
#[test]
fn lost_dialogs_of_many_calls_are_told_of_again_bit_by_bit() {
    const CALLS: usize = 450;
    let mut t = Table::new(at_a_rate(2500, 5));
    t.many_calls(CALLS);
    t.all_are_lost();
    t.pass(Millis::from_secs(40));
    assert_eq!(t.engine.gauges().lost_dialogs, CALLS);
    let mut known = BTreeSet::new();
    let mut byes = |t: &mut Table| {
        let mail = t.all_mail().into_iter();
        let bye = |message: &Message| *message.method() == Method::Bye && message.is_request();
        let mut lost = mail.filter(|(to, message)| to.ip() != caller(0).ip() && bye(message));
        let mut new = |message: &Message| known.insert(message.branch().unwrap_or("").to_owned());
        lost.by_ref().filter(|(_, message)| new(message)).count()
    };
    byes(&mut t);
    let (mut all, mut most) = (0, 0);
    for _ in 0..60 {
        t.pass(Millis(1000));
        let now = byes(&mut t);
        (all, most) = (all + now, most.max(now));
    }
    assert_eq!((all, most), (CALLS, 200));
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

/// A phone registers again, and answers the INVITE that it has at once.
fn comes_back(t: &mut Table, call: usize) {
    t.discard(callee(call));
    let user = format!("u{call}");
    t.register_again(&user, callee(call), &user, 2);
    let begun = t.now;
    let invite = loop {
        if let Some(invite) = t.waiting(callee(call), &Method::Invite) {
            break invite;
        }
        assert!(t.now.since(begun) < Millis(5), "call {call} waits");
        t.pass(Millis(1));
    };
    let answer = response(&invite, 200, callee(call), "back");
    t.receive(callee(call), with_sdp(answer, &audio(callee(call))));
}

fn calls_of(invites: &[(Time, usize, Message)]) -> BTreeSet<usize> {
    invites.iter().map(|(_, call, _)| *call).collect()
}

#[test]
fn who_comes_back_in_a_storm_rings_at_once() {
    const CALLS: usize = 300;
    // It takes 30 seconds until each has had its turn, and a call has 10.
    let mut t = Table::new(at_a_rate(10, 10));
    t.many_calls(CALLS);
    t.all_are_lost();
    let mut watch = Watch::default();
    let mut tried = calls_of(&watch.invites(&mut t, Millis::from_secs(2), Millis(10)));
    // The network says that nobody is there: the next round would wait behind all others.
    let failed: Vec<_> = tried.iter().copied().take(5).collect();
    for call in &failed {
        t.icmp(callee(*call));
    }
    let more = watch.invites(&mut t, Millis::from_secs(2), Millis(10));
    for call in &failed {
        comes_back(&mut t, *call);
    }
    tried.extend(calls_of(&more));
    // Those whose turn is far away.
    let mut back = 5;
    for _ in 0..2 {
        tried.extend(calls_of(&watch.invites(
            &mut t,
            Millis::from_secs(9),
            Millis(10),
        )));
        let late: Vec<_> = (0..CALLS)
            .filter(|call| !tried.contains(call))
            .take(15)
            .collect();
        assert_eq!(late.len(), 15);
        for call in late {
            comes_back(&mut t, call);
            tried.insert(call);
            back += 1;
        }
    }
    t.pass(Millis::from_secs(60));
    let restored = |what: &Happening| matches!(what, Happening::Restored { .. });
    assert_eq!(t.happened(restored), back);
    let ended = |what: &Happening| matches!(what, Happening::Ended { .. });
    assert_eq!(t.happened(ended), CALLS - back);
}

#[test]
fn those_who_wait_pay_for_who_comes_back_and_lose_no_turn() {
    let mut t = Table::new(at_a_rate(10, 60));
    t.many_calls(60);
    t.all_are_lost();
    let mut watch = Watch::default();
    let tried = calls_of(&watch.invites(&mut t, Millis(450), Millis(10)));
    assert_eq!(tried.len(), 5);
    let late: Vec<_> = (0..60)
        .filter(|call| !tried.contains(call))
        .take(10)
        .collect();
    for call in late {
        comes_back(&mut t, call);
    }
    let later = watch.invites(&mut t, Millis(900), Millis(10));
    assert!(later.is_empty(), "{} for ten that went before", later.len());
    let others = watch.invites(&mut t, Millis(4800), Millis(10));
    assert_eq!(others.len(), 60 - 10 - 5);
}

#[test]
fn the_time_of_a_call_stands_still_while_it_waits_for_its_next_turn() {
    let mut t = Table::new(at_a_rate(10, 5));
    t.many_calls(200);
    t.all_are_lost();
    let mut watch = Watch::default();
    let sent = watch.invites(&mut t, Millis(0), Millis(1));
    let first = sent[0].1;
    // Nobody is there, and the network says so: the second round waits behind all others.
    t.icmp(callee(first));
    let sent = watch.invites(&mut t, Millis::from_secs(15), Millis(20));
    assert!(!calls_of(&sent).contains(&first));
    t.restart();
    let sent = watch.invites(&mut t, Millis::from_secs(7), Millis(20));
    assert!(
        calls_of(&sent).contains(&first),
        "it has been waiting, and not asking"
    );
    t.pass(Millis::from_secs(15));
    assert_eq!(t.engine.gauges().restoring, 0, "and its time is over");
}

#[test]
fn what_was_late_goes_at_the_rate_too() {
    // More than 10 ms' worth of turns fall into the time in which there are no ports.
    let mut t = Table::new(at_a_rate(200, 60));
    t.many_calls(300);
    t.relay_waits = true;
    t.all_are_lost();
    let mut watch = Watch::default();
    assert!(watch.invites(&mut t, Millis(800), Millis(10)).is_empty());
    t.relay_answers();
    let begun = t.now;
    let sent = watch.invites(&mut t, Millis(1700), Millis(1));
    held(&sent, 200);
    let first = sent.iter().filter(|(at, ..)| at.since(begun) < Millis(10));
    assert!(first.count() <= 5, "all at one moment");
    assert_eq!(calls_of(&sent).len(), 300, "and none is forgotten");
}
