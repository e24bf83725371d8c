//! Another phone is where the lost one was: it is rung once, and taken for what it is.

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;

/// The phone takes the call as the one that it is by now.
fn takes_over_as(t: &mut Table, invite: &Message, at: SocketAddr, instance: &str) {
    let ok = with_sdp(response(invite, 200, at, "n1"), &audio(at));
    let ok = String::from_utf8_lossy(&ok).replace(
        &format!("<sip:phone@{at}>"),
        &format!("<sip:phone@{at}>;+sip.instance=\"<urn:uuid:{instance}>\""),
    );
    t.receive(at, ok.into());
    t.request_to(at, Method::Ack);
}

/// Alice is told, since it is another phone.
fn is_another(t: &mut Table) {
    let notice = t.request_to(alice(), Method::Message);
    assert!(text(&notice).contains("newphone"), "{}", text(&notice));
    let restored = |what: &Happening| matches!(what, Happening::Restored { same: false, .. });
    assert_eq!(t.happened(restored), 1);
    let asked = |what: &Happening| matches!(what, Happening::Reinvited { .. });
    assert_eq!(t.happened(asked), 1);
    assert!(t.waiting(desk(), &Method::Invite).is_none());
}

#[test]
fn a_phone_that_has_begun_anew_as_another_instance_is_rung_once() {
    let mut t = Table::new(settings());
    t.established();
    t.register("bob", desk(), "newphone");
    // Whether it knows of the call is asked of it.
    t.discard(desk());
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.pass(Millis(3_000));
    assert!(t.waiting(desk(), &Method::Invite).is_none());
    // OPTIONS was sent again.
    t.discard(desk());
    takes_over_as(&mut t, &invite, desk(), "newphone");
    is_another(&mut t);
}

#[test]
fn an_invite_that_rings_there_is_the_new_ones() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.register("bob", desk(), "newphone");
    t.pass(Millis(3_000));
    t.nothing_to(desk());
    // It need not say again which it is.
    let ok = with_sdp(response(&invite, 200, desk(), "n1"), &audio(desk()));
    t.receive(desk(), ok);
    t.request_to(desk(), Method::Ack);
    is_another(&mut t);
}

#[test]
fn who_answers_for_another_says_which_it_is() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    takes_over_as(&mut t, &invite, desk(), "newphone");
    let notice = t.request_to(alice(), Method::Message);
    assert!(!text(&notice).contains("Phone-desk"), "{}", text(&notice));
    let restored = |what: &Happening| matches!(what, Happening::Restored { same: false, .. });
    assert_eq!(t.happened(restored), 1);
    // The same one may say so, too.
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    takes_over_as(&mut t, &invite, desk(), "desk");
    t.nothing_to(alice());
}

/// Two phones behind one address, which the NAT tells apart, are two.
#[test]
fn a_phone_beside_the_lost_one_is_not_in_its_place() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.request_to(desk(), Method::Invite);
    t.nothing_to(mobile());
    t.pass(Millis(2_100));
    t.request_to(mobile(), Method::Invite);
}

#[test]
fn an_invite_that_nobody_has_heard_there_is_the_new_ones_too() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.register("bob", desk(), "newphone");
    for _ in 0..30 {
        t.pass(Millis(100));
        while let Some(again) = t.waiting(desk(), &Method::Invite) {
            assert_eq!(again.branch(), invite.branch(), "two calls ring there");
        }
    }
    t.discard(desk());
    takes_over_as(&mut t, &invite, desk(), "newphone");
    is_another(&mut t);
}

#[test]
fn who_has_begun_anew_there_has_not_let_it_ring_out() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.register("bob", desk(), "newphone");
    t.pass(Millis::from_secs(31));
    t.request_to(desk(), Method::Cancel);
    t.reply(&invite, 487, desk());
    t.pass(Millis::from_secs(10));
    let again = t.waiting(desk(), &Method::Invite).expect("an INVITE");
    assert_ne!(again.call_id(), invite.call_id());
}

/// Who finds the one identity asks for the other, over and over.
#[test]
fn who_answered_for_another_and_is_not_taken_is_not_asked_again() {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    let invite = t.request_to(desk(), Method::Invite);
    let ok = with_sdp(response(&invite, 200, desk(), "n1"), &g722(desk()));
    let ok = String::from_utf8_lossy(&ok).replace(
        &format!("<sip:phone@{}>", desk()),
        &format!("<sip:phone@{}>;+sip.instance=\"<urn:uuid:other>\"", desk()),
    );
    t.receive(desk(), ok.into());
    t.request_to(desk(), Method::Ack);
    let join = t.request_to(alice(), Method::Invite);
    t.reply(&join, 488, alice());
    let bye = t.waiting(desk(), &Method::Bye).expect("a BYE");
    t.reply(&bye, 200, desk());
    t.discard(desk());
    t.pass(Millis::from_secs(30));
    assert!(t.waiting(desk(), &Method::Invite).is_none());
}
