//! A lost phone that is reached and does not take the call: busy, refused, or no longer where it was.

use refork::engine::settings::RestoreOrder;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

#[test]
fn a_phone_busy_with_the_old_dialog_is_freed_of_it_and_asked_again() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let busy = t.request_to(desk(), Method::Invite);
    t.reply(&busy, 486, desk());
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.header(Name::Reason), None, "it is wanted here");
    t.reply(&bye, 200, desk());
    // Not at once: overtaking its BYE, the INVITE would find the phone busy still.
    t.nothing_to(desk());
    t.pass(Millis(500));
    let again = t.request_to(desk(), Method::Invite);
    assert_eq!(again.header(Name::Replaces), None);
    t.reply(&again, 486, desk());
    t.request_to(desk(), Method::Ack);
    t.pass(Millis(1000));
    t.request_to(desk(), Method::Invite);
}

#[test]
fn a_phone_busy_with_something_else_is_left_in_peace() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let mut byes = 0;
    for pause in [500, 1000, 2000, 4000] {
        let busy = t.request_to(desk(), Method::Invite);
        t.reply(&busy, 486, desk());
        if let Some(bye) = t.waiting(desk(), &Method::Bye) {
            byes += 1;
            t.reply(&bye, 200, desk());
        }
        t.discard(desk());
        t.pass(Millis(pause - 1));
        t.nothing_to(desk());
        t.pass(Millis(1));
    }
    assert_eq!(byes, 1);
    assert!(t.waiting(desk(), &Method::Invite).is_none());
    t.request_to(mobile(), Method::Invite);
}

#[test]
fn a_phone_busy_with_the_lost_call_is_freed_without_replaces_too() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(response(&invite, 200, desk(), "b1"), &audio(desk())),
    );
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.discard(desk());
    t.bob_is_lost();
    let busy = t.request_to(desk(), Method::Invite);
    t.reply(&busy, 486, desk());
    t.discard(desk());
    t.pass(Millis::from_secs(30));
    assert!(
        t.waiting(desk(), &Method::Invite).is_some(),
        "one line, held by the very call that is to be restored: never asked again"
    );
}

#[test]
fn who_pressed_reject_while_it_rang_is_not_rung_again() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.pass(Millis(500));
    t.reply(&invite, 486, desk());
    t.discard(desk());
    t.pass(Millis::from_secs(20));
    assert!(
        t.waiting(desk(), &Method::Invite).is_none(),
        "rung again after a rejection"
    );
}

#[test]
fn who_registers_while_the_lost_phone_is_busy_is_asked_at_once() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 486, desk());
    t.discard(desk());
    t.register("bob", mobile(), "mobile");
    t.request_to(mobile(), Method::Invite);
}

#[test]
fn by_q_value_too_the_busy_phone_is_asked_again() {
    let mut wishes = settings();
    wishes.restore.order = RestoreOrder::Q;
    let mut t = Table::new(wishes);
    t.register_with_q("bob", desk(), "desk", "0.9");
    t.established();
    t.register_with_q("bob", mobile(), "mobile", "0.5");
    t.register_with_q("bob", third(), "third", "0.2");
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 486, desk());
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.pass(Millis(600));
    assert!(
        t.waiting(mobile(), &Method::Invite).is_none(),
        "the next are asked though the first has its pause"
    );
    t.request_to(desk(), Method::Invite);
}

/// Bob's desk phone over a connection from another port than its Contact's.
fn tcp_desk(contact: &str) -> Table {
    let seen = phone("198.51.100.2:49152");
    let mut t = Table::new(settings());
    let register = t.register_request("bob", desk(), "desk", 1, 3600);
    let register = String::from_utf8_lossy(&register).replace(">;+sip", contact);
    t.receive_over(tcp(seen, 7), register.into());
    t.response_to(seen, 200);
    t
}

#[test]
fn the_bye_that_frees_a_busy_phone_goes_where_the_invite_went() {
    let seen = phone("198.51.100.2:49152");
    let mut t = tcp_desk(";transport=tcp>;+sip");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(seen, Method::Invite);
    t.receive_over(
        tcp(seen, 7),
        with_sdp(
            response(&invite, 200, seen, "b1")
                .header(Name::Supported, "replaces")
                .header(
                    Name::Allow,
                    "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, UPDATE",
                ),
            &audio(desk()),
        ),
    );
    t.discard(seen);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.closed(seen, 7);
    t.discard(desk());
    t.bob_is_lost();
    let busy = t.request_to(desk(), Method::Invite);
    t.receive_over(tcp(desk(), 8), response(&busy, 486, desk(), "x").end());
    assert!(
        t.waiting(seen, &Method::Bye).is_none(),
        "BYE to the closed connection"
    );
    t.request_to(desk(), Method::Ack);
    t.request_to(desk(), Method::Bye);
}

#[test]
fn a_restart_keeps_the_pause_of_a_busy_phone() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let busy = t.request_to(desk(), Method::Invite);
    t.reply(&busy, 486, desk());
    t.discard(desk());
    t.restart();
    t.nothing_to(desk());
    t.pass(Millis(600));
    let again = t.request_to(desk(), Method::Invite);
    assert!(again.header(Name::Replaces).is_none());
}

#[test]
fn who_refused_is_not_rung_again_after_a_restart() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.established();
    t.bob_is_lost();
    let no = t.request_to(desk(), Method::Invite);
    t.reply(&no, 180, desk());
    t.reply(&no, 486, desk());
    t.discard(desk());
    t.restart();
    t.pass(Millis::from_secs(20));
    assert!(t.waiting(desk(), &Method::Invite).is_none(), "rung again");
}

#[test]
fn a_contact_without_transport_is_called_over_the_transport_it_registered_over() {
    let seen = phone("198.51.100.2:49152");
    let mut t = tcp_desk(">;+sip");
    t.closed(seen, 7);
    t.alice_invites(&audio(alice()));
    let anew = t.request_to(desk(), Method::Invite);
    assert!(
        anew.header(Name::Via).unwrap().starts_with("SIP/2.0/TCP"),
        "{:?}",
        anew.header(Name::Via)
    );
}

#[test]
fn a_fresh_binding_of_a_phone_without_instance_is_not_hidden_by_the_old_one() {
    let (old, fresh) = (phone("198.51.100.2:49152"), phone("198.51.100.2:49153"));
    let mut t = Table::new(settings());
    let register = |t: &mut Table, at, call_id: &str| {
        let register = t.register_request("bob", at, "desk", 1, 3600);
        let register = String::from_utf8_lossy(&register)
            .replace(";+sip.instance=\"<urn:uuid:desk>\"", "")
            .replace("reg-desk", call_id);
        t.receive(at, register.into());
        t.response_to(at, 200);
    };
    register(&mut t, old, "before");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(old, Method::Invite);
    t.receive(
        old,
        with_sdp(response(&invite, 200, old, "b1"), &audio(old)),
    );
    t.discard(old);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    // Killed and started again from another port: nothing tells the two bindings apart but that.
    register(&mut t, fresh, "after");
    t.bob_is_lost();
    t.request_to(fresh, Method::Invite);
    t.request_to(old, Method::Invite);
}
