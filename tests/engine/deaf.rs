//! A phone that rings, and of which ICMP says that nobody takes its early media, or its SIP.

use refork::engine::events::{Happening, Signal};
use refork::engine::ids::Side;
use refork::engine::ports::MediaEvent;
use refork::engine::settings::ForkOrder;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::reliable::alice_calls;
use crate::table::*;

const DESK: Side = Side::Callee;

/// The desk phone speaks before it has answered. Returns its INVITE.
fn speaks_early(t: &mut Table) -> Message {
    alice_calls(t, "", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = with_sdp(response(&invite, 183, desk(), "b1"), &audio(desk()));
    t.receive(desk(), early);
    t.response_to(alice(), 183);
    invite
}

fn media_refused(t: &mut Table) {
    t.media_event(|media| MediaEvent::Unreachable { media, side: DESK });
}

fn suspected(t: &Table) -> Vec<Signal> {
    let signal = |what: &&Happening| match what {
        Happening::Suspected { side, signal, .. } => Some((*side, *signal)),
        _ => None,
    };
    let all = t.history();
    let all = all.iter().filter_map(signal);
    all.map(|(side, signal)| {
        assert_eq!(side, DESK);
        signal
    })
    .collect()
}

fn alive(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Alive { side: DESK, .. }))
}

#[test]
fn one_that_speaks_early_and_dies_does_not_ring_for_all_of_its_time() {
    // By the ICMP of its early media, or of its SIP; what its OPTIONS have: an ICMP, nothing, or the word of somebody
    // on the way.
    let ways = [(true, Some("icmp")), (true, None), (true, Some("408"))];
    let others = [(false, Some("icmp")), (false, None)];
    for (by_media, answered) in ways.into_iter().chain(others) {
        let mut t = Table::new(settings());
        let invite = speaks_early(&mut t);
        let signal = match by_media {
            true => Signal::MediaUnreachable,
            false => Signal::Transport,
        };
        match by_media {
            true => media_refused(&mut t),
            false => t.icmp(desk()),
        }
        assert_eq!(suspected(&t), [signal]);
        let probe = t.request_to(desk(), Method::Options);
        assert_eq!(probe.call_id(), invite.call_id());
        match answered {
            Some("icmp") => {
                t.icmp(desk());
                t.pass(Millis(1_100));
                t.request_to(desk(), Method::Options);
                t.icmp(desk());
            }
            Some(_) => t.reply(&probe, 408, desk()),
            None => {}
        }
        t.pass(Millis::from_secs(3));
        t.nothing_to(alice());
        t.pass(Millis::from_secs(2));
        t.response_to(alice(), 480);
        assert!(t.waiting(desk(), &Method::Cancel).is_some());
        assert_eq!(suspected(&t), [signal], "once");
    }
}

#[test]
fn another_phone_has_its_turn_then() {
    let mut wishes = settings();
    wishes.fork.order = ForkOrder::Serial;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let invite = speaks_early(&mut t);
    media_refused(&mut t);
    t.pass(Millis(5_100));
    let next = t.request_to(mobile(), Method::Invite);
    let took = with_sdp(response(&next, 200, mobile(), "m1"), &audio(mobile()));
    t.receive(mobile(), took);
    t.request_to(mobile(), Method::Ack);
    t.response_to(alice(), 200);
    // The first comes back to life, and takes the call: it is told that it has none.
    t.discard(desk());
    let late = with_sdp(response(&invite, 200, desk(), "b1"), &audio(desk()));
    t.receive(desk(), late);
    t.request_to(desk(), Method::Ack);
    t.request_to(desk(), Method::Bye);
}

#[test]
fn one_that_is_heard_rings_on() {
    type Says = fn(&mut Table, &Message, &Message);
    let ways: [(&str, Says); 5] = [
        ("OPTIONS", |t, _, probe| t.reply(probe, 481, desk())),
        ("180", |t, invite, _| {
            t.receive(desk(), response(invite, 180, desk(), "b1").end());
            t.response_to(alice(), 180);
        }),
        ("media", |t, _, _| {
            t.media_event(|media| MediaEvent::Flowing { media, side: DESK })
        }),
        ("REGISTER", |t, _, _| {
            t.register_again("bob", desk(), "desk", 2)
        }),
        ("second try", |t, _, _| {
            t.icmp(desk());
            t.pass(Millis(1_100));
            let probe = t.request_to(desk(), Method::Options);
            t.reply(&probe, 200, desk());
        }),
    ];
    for (how, says) in ways {
        let mut t = Table::new(settings());
        let invite = speaks_early(&mut t);
        media_refused(&mut t);
        let probe = t.request_to(desk(), Method::Options);
        t.pass(Millis(1_000));
        t.discard(desk());
        says(&mut t, &invite, &probe);
        assert_eq!(alive(&t), usize::from(how != "180"), "{how}");
        t.pass(Millis::from_secs(10));
        t.nothing_to(alice());
        t.discard(desk());
        let took = with_sdp(answer_to(&invite), &audio(desk()));
        t.receive(desk(), took);
        t.request_to(desk(), Method::Ack);
        t.response_to(alice(), 200);
    }
}

#[test]
fn icmp_counts_for_nothing_where_the_operator_says_so() {
    let mut wishes = settings();
    wishes.detect.transport = false;
    let mut t = Table::new(wishes);
    speaks_early(&mut t);
    media_refused(&mut t);
    t.icmp(desk());
    t.nothing_to(desk());
    t.pass(Millis::from_secs(10));
    t.nothing_to(alice());
}

/// It cannot hear us; it says by its REGISTER that it is there, or says nothing.
#[test]
fn in_a_refork_one_that_rings_and_dies_is_asked_again_and_one_that_registers_rings_on() {
    for registers in [None, Some("as before"), Some("anew")] {
        let mut t = Table::new(settings());
        t.established();
        t.bob_is_lost();
        let invite = t.request_to(desk(), Method::Invite);
        t.reply(&invite, 180, desk());
        t.icmp(desk());
        t.request_to(desk(), Method::Options);
        t.icmp(desk());
        t.pass(Millis(3_000));
        t.discard(desk());
        let anew = registers == Some("anew");
        match registers {
            None => {}
            Some(_) if anew => t.registers_anew("bob", desk(), "desk", "boot2"),
            Some(_) => t.register_again("bob", desk(), "desk", 2),
        }
        t.pass(Millis(8_000));
        let refused = |what: &Happening| matches!(what, Happening::Refused { status: 480, .. });
        assert_eq!(t.happened(refused), usize::from(registers.is_none()));
        // One that has begun anew knows nothing of what rang.
        let again = t.waiting(desk(), &Method::Invite);
        assert_eq!(again.is_some(), anew || registers.is_none());
        let invite = again.unwrap_or(invite);
        t.discard(desk());
        let took = response(&invite, 200, desk(), "b2");
        t.receive(desk(), with_sdp(took, &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let back = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
        assert_eq!(t.happened(back), 1);
    }
}

/// Whoever forges ICMP has a phone that rings asked now and then, and no more; one that falls silent meanwhile is missed.
#[test]
fn rumours_have_one_that_rings_asked_seldom_and_missed_all_the_same() {
    for dies in [false, true] {
        let mut t = Table::new(settings());
        let invite = speaks_early(&mut t);
        let mut asked = 0;
        for tick in 0..100 {
            t.icmp(desk());
            t.pass(Millis(100));
            while let Some(probe) = t.waiting(desk(), &Method::Options) {
                asked += 1;
                assert!(asked == 1 || tick >= 30, "at once");
                t.reply(&probe, 200, desk());
            }
        }
        assert!((2..=4).contains(&asked), "{asked} times in 10 s");
        t.nothing_to(alice());
        if dies {
            t.icmp(desk());
            t.pass(Millis::from_secs(10));
            t.response_to(alice(), 480);
        } else {
            t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
            t.request_to(desk(), Method::Ack);
            t.response_to(alice(), 200);
        }
    }
}
