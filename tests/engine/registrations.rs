//! What the registrar sees of a phone in a call: its binding expires, its flow is kept alive no longer, another flow of
//! its is registered.

use std::net::SocketAddr;

use refork::engine::events::{Happening, Signal};
use refork::engine::ports::Input;
use refork::engine::settings::Settings;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

fn suspicions(t: &Table) -> Vec<Signal> {
    let history = t.history().into_iter();
    let suspected = history.filter_map(|what| match what {
        Happening::Suspected { signal, .. } => Some(*signal),
        _ => None,
    });
    suspected.collect()
}

/// Whether its phone answers decides, and whether it has its call; Alice learns of neither.
fn is_settled(t: &mut Table, lives: bool) {
    let probe = t.request_to(desk(), Method::Options);
    if !lives {
        t.pass(Millis::from_secs(10));
        assert_eq!(t.losses(), [Signal::Registration]);
        t.nothing_to(alice());
        return;
    }
    t.reply(&probe, 200, desk());
    let update = t.waiting(desk(), &Method::Update);
    let update = update.expect("its dialog is asked");
    let ok = response(&update, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &text_sdp(desk())));
    t.pass(Millis::from_secs(10));
    assert_eq!(t.losses(), []);
    t.nothing_to(desk());
    t.nothing_to(alice());
}

#[test]
fn a_binding_that_expires_in_a_call_is_a_suspicion() {
    for lives in [true, false] {
        let mut t = Table::new(settings());
        let register = t.register_request("bob", desk(), "desk", 1, 63);
        t.receive(desk(), register);
        t.response_to(desk(), 200);
        t.texting();
        while suspicions(&t).is_empty() {
            assert!(t.site.bindings.values().flatten().next().is_some());
            t.pass(Millis(500));
            // Both are asked at a pace of their own, and answer, until there is more to ask.
            for at in [alice(), desk()] {
                if at == alice() || suspicions(&t).is_empty() {
                    while let Some(probe) = t.waiting(at, &Method::Options) {
                        t.reply(&probe, 200, at);
                    }
                }
            }
        }
        assert_eq!(suspicions(&t), [Signal::Registration]);
        is_settled(&mut t, lives);
    }
}

#[test]
fn a_flow_that_is_kept_alive_no_longer_is_a_suspicion() {
    for lives in [true, false] {
        let mut t = Table::new(settings());
        t.texting();
        let flow = flow(desk());
        t.input(Input::Unkept { flow });
        assert_eq!(suspicions(&t), [Signal::Registration]);
        is_settled(&mut t, lives);
    }
}

#[test]
fn a_flow_that_is_kept_alive_no_longer_disturbs_no_other_and_nobody_where_it_is_not_asked() {
    let mut t = Table::new(settings());
    t.texting();
    t.input(Input::Unkept {
        flow: flow(mobile()),
    });
    assert!(suspicions(&t).is_empty());
    // It is talking: it has the grace to show itself.
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_heard();
    t.input(Input::Unkept { flow: flow(desk()) });
    t.pass(Millis::from_secs(20));
    t.discard(desk());
    t.nothing_to(alice());
    assert!(t.losses().is_empty());
    let mut deaf = settings();
    deaf.detect.registration = false;
    let mut t = Table::new(Settings { ..deaf });
    t.texting();
    t.input(Input::Unkept { flow: flow(desk()) });
    assert!(suspicions(&t).is_empty());
}

/// A flow of Bob's desk phone.
fn registers(t: &mut Table, at: SocketAddr, reg_id: usize, cseq: u32) {
    let register = t.register_request("bob", at, "desk", cseq, 3600);
    let register = String::from_utf8_lossy(&register)
        .replace("Call-ID: reg-", &format!("Call-ID: {reg_id}-reg-"))
        .replace(";+sip", &format!(";reg-id={reg_id};+sip"));
    t.receive(at, register.into());
    t.response_to(at, 200);
}

#[test]
fn a_second_flow_that_is_registered_in_a_call_is_no_move() {
    let mut t = Table::new(settings());
    registers(&mut t, desk(), 1, 1);
    let (mut a, mut b) = t.texting();
    registers(&mut t, mobile(), 2, 1);
    // RFC 5626 4.2: it has the first one still.
    for at in [alice(), desk(), mobile()] {
        t.nothing_to(at);
    }
    assert!(suspicions(&t).is_empty());
    t.receive(alice(), a.message("hi"));
    let hi = t.request_to(desk(), Method::Message);
    t.reply(&hi, 200, desk());
    t.response_to(alice(), 200);
    // The same number from another place is one.
    registers(&mut t, third(), 1, 2);
    let moved = t.request_to(third(), Method::Update);
    assert!(moved.header(Name::CallId).is_some_and(|id| id == b.call_id));
    b.at = third();
    let ok = response(&moved, 200, third(), "b1");
    t.receive(third(), with_sdp(ok, &text_sdp(third())));
    t.hangs_up(&mut b);
    t.request_to(alice(), Method::Bye);
}
