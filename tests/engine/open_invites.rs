//! kill -9 while an INVITE waits: for ports, for consent, or with a phone that rings over a connection.

use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::repair::replaces;
use crate::table::*;
use crate::video::{both, ports};

#[test]
fn an_offer_that_waits_for_ports_is_taken_once_more_when_there_are_those_that_there_were() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.relay_waits = true;
    t.receive(alice(), with_sdp(a.request(Method::Invite), &both(alice())));
    t.nothing_to(desk());
    t.restart();
    t.nothing_to(desk());
    // First those of the sound, then those that the pictures need.
    t.relay_answers();
    let offer = t.request_to(desk(), Method::Invite);
    assert!(ports(&offer).iter().all(|port| *port >= 20_000));
    assert_eq!(ports(&offer).len(), 2);
    let answer = response(&offer, 200, desk(), "b1");
    t.receive(desk(), with_sdp(answer, &both(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.restart();
    t.relay_answers();
    t.nothing_to(desk());
    t.nothing_to(alice());
}

fn repairs(t: &mut Table, b: &Remote) {
    let invite = request(Method::Invite, "bob", "alice", mobile(), "repair");
    let invite = invite.header(Name::Replaces, replaces(b));
    t.receive(mobile(), with_sdp(invite, &g722(mobile())));
}

#[test]
fn a_phone_that_repairs_itself_has_its_answer_after_it() {
    for lost in [false, true] {
        let mut t = Table::new(settings());
        let (_, b) = t.established();
        if lost {
            t.bob_is_lost();
        }
        repairs(&mut t, &b);
        t.request_to(alice(), Method::Invite);
        t.discard(desk());
        t.restart();
        t.nothing_to(mobile());
        // Alice may have agreed, and is told of what stands first.
        let agrees = |t: &mut Table, ask: &Message| {
            let ok = response(ask, 200, alice(), "tcall1");
            t.discard(alice());
            t.receive(alice(), with_sdp(ok, &g722(alice())));
            t.request_to(alice(), Method::Ack);
        };
        let stands = t.request_to(alice(), Method::Invite);
        agrees(&mut t, &stands);
        t.pass(Millis(4_100));
        let ask = t.request_to(alice(), Method::Invite);
        assert!(text(&ask).contains("RTP/AVP 9"), "{}", text(&ask));
        agrees(&mut t, &ask);
        let ok = t.response_to(mobile(), 200);
        t.receive(mobile(), Remote::of_answer(&ok, mobile()).ack(1));
        t.request_to(alice(), Method::Message);
        t.discard(desk());
        // It has its answer, and is not taken once more.
        t.restart();
        t.nothing_to(alice());
        t.nothing_to(mobile());
    }
}

#[test]
fn what_has_waited_for_too_long_is_not_asked_any_more() {
    for (minutes, taken) in [(2, true), (4, false)] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        let hold = sdp(alice(), 2, "sendonly");
        t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
        t.request_to(desk(), Method::Invite);
        t.now = t.now + Millis::from_secs(60 * minutes);
        t.restart();
        let again = t.waiting(desk(), &Method::Invite);
        assert_eq!(again.is_some(), taken, "{minutes} minutes");
    }
}

/// Bob's desk phone registers over a connection.
fn registers_over(t: &mut Table, connection: u64) {
    let register = t.register_request("bob", desk(), "desk", connection as u32, 3600);
    let register = String::from_utf8_lossy(&register).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    t.receive_over(tcp(desk(), connection), register.into());
    t.response_to(desk(), 200);
}

/// It is called again over that, and rings when we are killed.
fn rings_over_a_restart(t: &mut Table) -> Message {
    registers_over(t, 7);
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    let ok = with_sdp(answer_to(&first), &audio(desk()));
    t.receive_over(tcp(desk(), 7), ok);
    t.discard(desk());
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.bob_is_lost();
    let rings = t.request_to(desk(), Method::Invite);
    let ringing = response(&rings, 180, desk(), "b2").end();
    t.receive_over(tcp(desk(), 7), ringing);
    t.site.open.clear();
    t.restart();
    t.nothing_to(desk());
    rings
}

#[test]
fn a_phone_that_rings_over_a_connection_is_asked_anew_when_it_is_back_and_rings_once() {
    let mut t = Table::new(settings());
    let rings = rings_over_a_restart(&mut t);
    t.pass(Millis(900));
    t.nothing_to(desk());
    registers_over(&mut t, 8);
    let cancel = t.request_to(desk(), Method::Cancel);
    assert_eq!(cancel.branch(), rings.branch());
    let again = t.request_to(desk(), Method::Invite);
    assert_ne!(again.call_id(), rings.call_id());
    t.nothing_to(desk());
}

#[test]
fn a_phone_that_answers_over_another_connection_what_rang_over_a_restart_is_joined() {
    let mut t = Table::new(settings());
    let rings = rings_over_a_restart(&mut t);
    let ok = with_sdp(response(&rings, 200, desk(), "b2"), &audio(desk()));
    t.receive_over(tcp(desk(), 8), ok);
    t.request_to(desk(), Method::Ack);
    t.nothing_to(alice());
}

#[test]
fn a_phone_that_rang_over_a_restart_and_is_not_back_in_time_is_asked_again() {
    let mut t = Table::new(settings());
    let rings = rings_over_a_restart(&mut t);
    t.pass(settings().detect.grace);
    t.request_to(desk(), Method::Cancel);
    t.pass(Millis(2_000));
    let again = t.request_to(desk(), Method::Invite);
    assert_ne!(again.call_id(), rings.call_id());
}
