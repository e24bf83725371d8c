//! Who it was that an endpoint did not take a call by: it itself, the survivor, the network, or we.

use refork::engine::events::{Happening, Refuser};
use refork::engine::time::Millis;
use refork::sip::Method;

use crate::people::*;
use crate::table::*;

/// What the history says of phones that did not take the call.
fn refusals(t: &Table) -> Vec<(u16, Refuser)> {
    let refused = |what: &Happening| match what {
        Happening::Refused { status, by, .. } => Some((*status, *by)),
        _ => None,
    };
    t.history().into_iter().filter_map(refused).collect()
}

#[test]
fn a_phone_that_took_the_call_has_not_refused_it_where_the_survivor_did() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let there = t.request_to(desk(), Method::Invite);
    t.reply(&there, 403, desk());
    let invite = t.request_to(mobile(), Method::Invite);
    let answer = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(answer, &g722(mobile())));
    let join = t.request_to(alice(), Method::Invite);
    t.reply(&join, 488, alice());
    let expected = [(403, Refuser::Endpoint), (488, Refuser::Survivor)];
    assert_eq!(refusals(&t), expected);
}

#[test]
fn nobody_refuses_where_icmp_says_that_nobody_is_there() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.request_to(desk(), Method::Invite);
    t.icmp(desk());
    assert_eq!(refusals(&t)[0], (503, Refuser::Network));
}

#[test]
fn who_rings_out_is_told_from_who_says_nothing() {
    for (rings, by) in [(true, Refuser::Endpoint), (false, Refuser::Network)] {
        let mut t = Table::new(settings());
        t.established();
        t.bob_is_lost();
        let invite = t.request_to(desk(), Method::Invite);
        if rings {
            t.reply(&invite, 180, desk());
        }
        while refusals(&t).is_empty() {
            t.pass(Millis::from_secs(1));
        }
        assert_eq!(refusals(&t)[0], (408, by));
    }
}

/// In the first fork, too.
#[test]
fn a_callee_that_is_not_there_has_not_refused() {
    for (status, by) in [(None, Refuser::Network), (Some(486), Refuser::Endpoint)] {
        let mut t = two();
        t.alice_invites(&audio(alice()));
        let invite = t.request_to(desk(), Method::Invite);
        match status {
            Some(status) => t.reply(&invite, status, desk()),
            None => t.icmp(desk()),
        }
        assert_eq!(refusals(&t)[0].1, by);
    }
}
