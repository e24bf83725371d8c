//! Other ways to be reached than UDP over IPv4.

use refork::ua::{Medium, Phone, Transport};

use crate::stage::{LATER, SOON, Stage, answers, connect, hang_up, talk};

fn over(stage: &Stage, label: &str, transport: Transport, v6: bool) -> Phone {
    let server = stage.sip(transport, v6);
    stage.phone_with(label, |profile| {
        profile.server = server;
        profile.address = server.ip();
        profile.transport = transport;
    })
}

fn call_across(caller: (Transport, bool), callee: (Transport, bool)) {
    let stage = Stage::new();
    let alice = over(&stage, "alice", caller.0, caller.1);
    let bob = over(&stage, "bob", callee.0, callee.1);
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    assert_eq!(call.message("over there?").unwrap(), 200);
    assert_eq!(taken.message("yes").unwrap(), 200);
    assert_eq!(call.hold().unwrap(), 200);
    assert_eq!(call.resume().unwrap(), 200);
    hang_up(&taken, &call);
    stage.finish();
}

#[test]
fn tcp_phones() {
    call_across((Transport::Tcp, false), (Transport::Tcp, false));
}

#[test]
fn udp_calls_tcp_and_tcp_calls_udp() {
    call_across((Transport::Udp, false), (Transport::Tcp, false));
    call_across((Transport::Tcp, false), (Transport::Udp, false));
}

#[test]
fn ipv6_phones() {
    call_across((Transport::Udp, true), (Transport::Udp, true));
}

#[test]
fn ipv6_calls_ipv4_over_another_transport() {
    call_across((Transport::Tcp, true), (Transport::Udp, false));
}

#[test]
fn a_killed_tcp_phone_is_replaced() {
    let stage = Stage::new();
    let alice = over(&stage, "alice", Transport::Tcp, false);
    let desk = over(&stage, "bob-desk", Transport::Tcp, false);
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let mobile = over(&stage, "bob-mobile", Transport::Tcp, false);
    answers(&mobile);
    desk.kill();
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    call.wait_texts(1, SOON).unwrap();
    hang_up(&again, &call);
    stage.finish();
}
