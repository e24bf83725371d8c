//! A caller whose connection closes while it rings: it has `detect.grace` to come back.

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Where Alice's first connection comes from, and her second.
fn first() -> SocketAddr {
    phone("198.51.100.1:49152")
}

fn second() -> SocketAddr {
    phone("198.51.100.1:49153")
}

fn registers(t: &mut Table, at: SocketAddr, connection: u64, reg_id: u32, cseq: u32) {
    let register = t.register_request("alice", alice(), "laptop", cseq, 3600);
    let register = String::from_utf8_lossy(&register)
        .replace("SIP/2.0/UDP", "SIP/2.0/TCP")
        .replace("Call-ID: reg-", &format!("Call-ID: {reg_id}-reg-"))
        .replace(";+sip", &format!(";reg-id={reg_id};+sip"))
        .replacen("Expires:", "Supported: outbound, path\r\nExpires:", 1);
    t.receive_over(tcp(at, connection), register.into());
    t.response_to(at, 200);
}

fn the_invite() -> bytes::Bytes {
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    let invite = with_sdp(invite, &audio(alice()));
    let invite = String::from_utf8_lossy(&invite).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    invite.into()
}

/// Alice has registered and called over her first connection, and Bob's phone rings.
fn rings() -> (Table, Message) {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    registers(&mut t, first(), 7, 1, 1);
    t.receive_over(tcp(first(), 7), the_invite());
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.response_to(first(), 180);
    (t, invite)
}

fn takes(t: &mut Table, invite: &Message) {
    t.receive(desk(), with_sdp(answer_to(invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
}

/// Alice has her 200 there, and the call goes on over that connection.
fn talks(t: &mut Table, invite: &Message, at: SocketAddr, connection: u64) {
    let ok = t.response_to(at, 200);
    t.receive_over(tcp(at, connection), Remote::of_answer(&ok, alice()).ack(1));
    t.nothing_to(first());
    let mut b = Remote::of_invite(invite, desk(), "b1");
    t.receive(desk(), b.request(Method::Info).end());
    let info = t.request_to(at, Method::Info);
    let answer = response(&info, 200, alice(), "x1").end();
    t.receive_over(tcp(at, connection), answer);
    t.response_to(desk(), 200);
    t.receive(desk(), b.request(Method::Bye).end());
    let bye = t.request_to(at, Method::Bye);
    t.receive_over(
        tcp(at, connection),
        response(&bye, 200, alice(), "x1").end(),
    );
    let lost = t.happened(|what| matches!(what, Happening::Lost { .. }));
    assert_eq!(lost, 0);
}

#[test]
fn who_does_not_come_back_has_given_up() {
    let (mut t, invite) = rings();
    t.closed(first(), 7);
    t.pass(Millis(4_900));
    t.nothing_to(desk());
    t.pass(Millis(200));
    t.request_to(desk(), Method::Cancel);
    t.reply(&invite, 487, desk());
    t.request_to(desk(), Method::Ack);
}

#[test]
fn who_registers_again_hears_the_answer_there() {
    let (mut t, invite) = rings();
    t.closed(first(), 7);
    t.pass(Millis(3_000));
    registers(&mut t, second(), 8, 1, 2);
    t.pass(Millis::from_secs(10));
    t.nothing_to(desk());
    takes(&mut t, &invite);
    talks(&mut t, &invite, second(), 8);
}

#[test]
fn who_takes_our_connection_hears_the_answer_there() {
    for taken in [true, false] {
        let (mut t, invite) = rings();
        t.closed(first(), 7);
        t.reply(&invite, 183, desk());
        // RFC 3261 18.2.2: to where its Via says that it listens.
        t.response_to(alice(), 183);
        if taken {
            t.site.open.insert(alice(), tcp(alice(), 9));
        }
        t.pass(Millis::from_secs(10));
        if !taken {
            t.request_to(desk(), Method::Cancel);
            continue;
        }
        t.nothing_to(desk());
        takes(&mut t, &invite);
        talks(&mut t, &invite, alice(), 9);
    }
}

#[test]
fn another_flow_of_the_same_phone_is_taken_at_once() {
    let (mut t, invite) = rings();
    registers(&mut t, second(), 8, 2, 1);
    t.closed(first(), 7);
    takes(&mut t, &invite);
    talks(&mut t, &invite, second(), 8);
}

#[test]
fn who_sends_the_invite_again_hears_the_answer_there() {
    for answered_first in [true, false] {
        let (mut t, invite) = rings();
        t.closed(first(), 7);
        t.receive_over(tcp(second(), 8), the_invite());
        t.response_to(second(), 180);
        if !answered_first {
            t.pass(Millis::from_secs(10));
        }
        t.nothing_to(desk());
        takes(&mut t, &invite);
        talks(&mut t, &invite, second(), 8);
    }
}

#[test]
fn a_refusal_that_went_with_the_connection_is_said_again() {
    let (mut t, invite) = rings();
    t.closed(first(), 7);
    t.reply(&invite, 486, desk());
    t.request_to(desk(), Method::Ack);
    // RFC 3261 18.2.2: to where its Via says that it listens.
    t.response_to(alice(), 486);
}

#[test]
fn an_answer_that_went_with_the_connection_is_said_again_where_the_caller_registers() {
    let (mut t, invite) = rings();
    t.closed(first(), 7);
    takes(&mut t, &invite);
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.header(Name::CallId), Some("call1"));
    t.closed(alice(), 1);
    t.discard(alice());
    registers(&mut t, second(), 8, 1, 2);
    t.discard(alice());
    let ok = t.response_to(second(), 200);
    assert_eq!(ok.header(Name::CallId), Some("call1"));
}

#[test]
fn who_has_another_instance_is_not_the_caller() {
    let (mut t, _) = rings();
    t.closed(first(), 7);
    t.register("alice", third(), "mobile");
    t.pass(Millis(5_100));
    t.request_to(desk(), Method::Cancel);
    t.nothing_to(third());
}
