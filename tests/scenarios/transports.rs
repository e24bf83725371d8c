//! Other ways to be reached than UDP over IPv4.

use refork::ua::{Medium, Phone, Transport};

use crate::stage::{
    LATER, Loss, SOON, Stage, answers, connect, hang_up, killed_and_frozen, only_told, talk,
};

killed_and_frozen!(
    a_tcp_phone_is_replaced,
    an_ipv6_phone_is_replaced,
    a_tcp_caller_is_replaced,
    an_ipv4_phone_is_replaced_by_an_ipv6_one,
);

pub(crate) fn over(stage: &Stage, label: &str, transport: Transport, v6: bool) -> Phone {
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

/// One end is lost, and its user's other phone takes the call.
fn replaced(loss: Loss, transport: Transport, v6: bool, callee: bool) {
    let stage = Stage::new();
    let phone = |label: &str| over(&stage, label, transport, v6);
    let (survivor, lost, mobile) = if callee {
        (phone("alice"), phone("bob-desk"), "bob-mobile")
    } else {
        (phone("bob"), phone("alice-desk"), "alice-mobile")
    };
    let (stays, goes) = if callee {
        connect(&survivor, &lost, Medium::Audio)
    } else {
        let (call, taken) = connect(&lost, &survivor, Medium::Audio);
        (taken, call)
    };
    talk(&stays, &goes);
    let mobile = phone(mobile);
    answers(&mobile);
    let since = stage.log.now();
    loss.happens_to(&lost);
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&stays, &again);
    stays.wait_texts(1, SOON).unwrap();
    only_told(&stage.log, &survivor, since, 1);
    loss.is_over_for(&lost);
    hang_up(&again, &stays);
    stage.finish();
}

fn a_tcp_phone_is_replaced(loss: Loss) {
    replaced(loss, Transport::Tcp, false, true);
}

/// Both phones are offered ports that they can reach, when they are called and when one is lost.
fn an_ipv4_phone_is_replaced_by_an_ipv6_one(loss: Loss) {
    let stage = Stage::new();
    let alice = over(&stage, "alice", Transport::Udp, false);
    let desk = over(&stage, "bob-desk", Transport::Udp, false);
    let mobile = over(&stage, "bob-mobile", Transport::Udp, true);
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    mobile.incoming(SOON).unwrap().wait_over(SOON).unwrap();
    answers(&mobile);
    let since = stage.log.now();
    loss.happens_to(&desk);
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    call.wait_texts(1, SOON).unwrap();
    only_told(&stage.log, &alice, since, 1);
    loss.is_over_for(&desk);
    hang_up(&again, &call);
    stage.finish();
}

fn an_ipv6_phone_is_replaced(loss: Loss) {
    replaced(loss, Transport::Udp, true, true);
}

fn a_tcp_caller_is_replaced(loss: Loss) {
    replaced(loss, Transport::Tcp, false, false);
}
