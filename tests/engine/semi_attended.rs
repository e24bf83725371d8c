//! Attended transfers to a call that still rings: Bob has called Carol, and passes Alice on to her before she
//! has answered. Most phones take back their own call at once then.

use bytes::Bytes;
use refork::engine::events::{Ending, Happening};
use refork::engine::mint::{ShardKey, hash_shard};
use refork::engine::settings::ForkOrder;
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::attended::naming;
use crate::crowds::cancel_of;
use crate::people::*;
use crate::reliable::reliably;
use crate::table::*;
use crate::transfer::*;

/// Bob's call to Carol, as far as it is.
struct Consulting {
    invite: Bytes,
    /// Bob's early dialog.
    bob: Remote,
    /// What Carol's phone got.
    asked: Message,
}

impl Consulting {
    /// Carol's end, once she has answered.
    fn carol(&self) -> Remote {
        Remote::of_invite(&self.asked, carol(), "c1")
    }
}

impl Table {
    /// Bob calls Carol from the phone that he talks with Alice on, and hers rings.
    fn bob_rings_carol(&mut self, call_id: &str) -> Consulting {
        let invite = request(Method::Invite, "bob", "carol", desk(), call_id);
        self.bob_rings_carol_by(with_sdp(invite, &audio(desk())))
    }

    fn bob_rings_carol_by(&mut self, invite: Bytes) -> Consulting {
        self.receive(desk(), invite.clone());
        let asked = self.request_to(carol(), Method::Invite);
        self.receive(carol(), response(&asked, 180, carol(), "c1").end());
        let rings = self.response_to(desk(), 180);
        Consulting {
            invite,
            bob: Remote::of_answer(&rings, desk()),
            asked,
        }
    }

    /// Bob's phone refers Alice to that call, and hears that it rings. Carol's phone hears nothing.
    fn is_referred(&mut self, b: &mut Remote, consulting: &Consulting) {
        self.receive(desk(), refer(b, &naming(&consulting.bob)));
        self.response_to(desk(), 202);
        self.told(desk(), "100 Trying");
        self.told(desk(), "180 Ringing");
        self.nothing_to(carol());
    }

    fn bob_cancels(&mut self, consulting: &Consulting) {
        self.receive(desk(), cancel_of(&consulting.invite));
        self.response_to(desk(), 200);
        let over = self.response_to(desk(), 487);
        assert_eq!(over.call_id(), consulting.bob.call_id);
        self.nothing_to(carol());
    }

    /// Carol answers. Returns the offer of the other call, which her phone has next.
    fn carol_takes_it(&mut self, consulting: &Consulting) -> Message {
        let ok = response(&consulting.asked, 200, carol(), "c1")
            .header(Name::Allow, "INVITE, ACK, BYE, OPTIONS, MESSAGE, UPDATE");
        self.receive(carol(), with_sdp(ok, &audio(carol())));
        self.request_to(carol(), Method::Ack);
        let offered = self.request_to(carol(), Method::Invite);
        assert_eq!(offered.call_id(), consulting.asked.call_id());
        assert!(offered.to_tag().is_some(), "nobody rings twice");
        offered
    }

    fn both_are_told(&mut self) {
        self.word_of_carol();
        self.word_of_alice();
    }

    fn all_hang_up(&mut self, a: &mut Remote) {
        self.hangs_up(a);
        let bye = self.request_to(carol(), Method::Bye);
        self.reply(&bye, 200, carol());
        self.ends_empty();
    }
}

#[test]
fn who_rings_is_joined_once_she_answers_though_the_transferor_has_left_both_calls() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    t.bob_cancels(&consulting);
    t.hangs_up(&mut b);
    t.nothing_to(alice());
    let offered = t.carol_takes_it(&consulting);
    t.carol_agrees(&offered);
    t.told(desk(), "200 OK");
    t.both_are_told();
    t.nothing_to(desk());
    let mut c = consulting.carol();
    t.calls_on(&mut a, &mut c);
    t.all_hang_up(&mut a);
}

#[test]
fn a_transferor_that_stays_is_answered_and_hung_up() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    let offered = t.carol_takes_it(&consulting);
    let ok = t.response_to(desk(), 200);
    let mut bob = Remote::of_answer(&ok, desk());
    t.receive(desk(), bob.ack(1));
    t.carol_agrees(&offered);
    t.bob_is_rid_of(&bob);
    t.both_are_told();
    t.calls_on(&mut a, &mut consulting.carol());
    t.hangs_up(&mut b);
    t.receive(desk(), bob.request(Method::Bye).end());
    t.response_to(desk(), 481);
    t.all_hang_up(&mut a);
}

#[test]
fn it_may_be_with_another_worker() {
    let worker = |call_id: &str| hash_shard(ShardKey::default(), call_id).0 % 2;
    let other = (2..).map(|n| format!("call{n}"));
    let other = other.into_iter().find(|id| worker(id) != worker("call1"));
    let mut t = Table::of_two_workers(settings());
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol(&other.unwrap());
    t.is_referred(&mut b, &consulting);
    t.bob_cancels(&consulting);
    let offered = t.carol_takes_it(&consulting);
    t.carol_agrees(&offered);
    t.told(desk(), "200 OK");
    t.both_are_told();
    t.hangs_up(&mut b);
    t.calls_on(&mut a, &mut consulting.carol());
    t.all_hang_up(&mut a);
}

#[test]
fn a_target_that_refuses_gives_the_transferor_its_call_back() {
    for cancels in [true, false] {
        let mut t = three();
        let (mut a, mut b) = t.established();
        let consulting = t.bob_rings_carol("call2");
        t.is_referred(&mut b, &consulting);
        if cancels {
            t.bob_cancels(&consulting);
        }
        t.reply(&consulting.asked, 486, carol());
        t.request_to(carol(), Method::Ack);
        if !cancels {
            t.response_to(desk(), 486);
        }
        t.told(desk(), "486 Busy Here");
        t.calls_on(&mut a, &mut b);
        t.hangs_up(&mut b);
        let bye = t.request_to(alice(), Method::Bye);
        t.reply(&bye, 200, alice());
        t.ends_empty();
    }
}

#[test]
fn a_target_that_refuses_after_the_transferor_left_ends_the_other_call() {
    let mut t = three();
    let (_, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    t.bob_cancels(&consulting);
    t.hangs_up(&mut b);
    t.reply(&consulting.asked, 603, carol());
    t.request_to(carol(), Method::Ack);
    t.told(desk(), "603 Decline");
    let bye = t.request_to(alice(), Method::Bye);
    assert!(bye.header(Name::Reason).unwrap().contains("cause=603"));
    t.reply(&bye, 200, alice());
    t.ends_empty();
}

#[test]
fn a_target_that_never_answers_rings_out() {
    let mut wishes = settings();
    wishes.fork.ring_timeout = Millis::from_secs(5);
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    t.bob_cancels(&consulting);
    t.pass(Millis(4_900));
    // Its 487 comes again, since nobody acknowledges it here.
    t.discard(desk());
    t.pass(Millis(100));
    let cancel = t.request_to(carol(), Method::Cancel);
    t.reply(&cancel, 200, carol());
    t.reply(&consulting.asked, 487, carol());
    t.told(desk(), "408 Request Timeout");
    t.calls_on(&mut a, &mut b);
}

#[test]
fn the_next_phone_of_the_target_has_its_turn() {
    let mut wishes = settings();
    wishes.fork.order = ForkOrder::Serial;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register_with_q("carol", carol(), "carol", "0.9");
    t.register_with_q("carol", carols_mobile(), "cm", "0.5");
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    t.bob_cancels(&consulting);
    t.reply(&consulting.asked, 486, carol());
    t.request_to(carol(), Method::Ack);
    let at = carols_mobile();
    let asked = t.request_to(at, Method::Invite);
    t.receive(at, response(&asked, 180, at, "m1").end());
    t.receive(at, with_sdp(response(&asked, 200, at, "m1"), &audio(at)));
    t.request_to(at, Method::Ack);
    let offered = t.request_to(at, Method::Invite);
    let ok = response(&offered, 200, at, "m1");
    t.receive(at, with_sdp(ok, &sdp(at, 2, "sendrecv")));
    t.request_to(at, Method::Ack);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    let word = t.request_to(at, Method::Message);
    t.reply(&word, 200, at);
    t.calls_on(&mut a, &mut Remote::of_invite(&asked, at, "m1"));
}

#[test]
fn a_survivor_that_hangs_up_ends_the_ringing_that_was_for_it() {
    for cancels in [true, false] {
        let mut t = three();
        let (mut a, mut b) = t.established();
        let consulting = t.bob_rings_carol("call2");
        t.is_referred(&mut b, &consulting);
        if cancels {
            t.bob_cancels(&consulting);
        }
        t.hangs_up(&mut a);
        t.told(desk(), "487 Request Terminated");
        let bye = t.request_to(desk(), Method::Bye);
        assert_eq!(bye.call_id(), b.call_id);
        t.reply(&bye, 200, desk());
        if cancels {
            let cancel = t.request_to(carol(), Method::Cancel);
            t.reply(&cancel, 200, carol());
            t.reply(&consulting.asked, 487, carol());
            t.request_to(carol(), Method::Ack);
            t.ends_empty();
            continue;
        }
        // Bob is still there, and it is his call again.
        t.nothing_to(carol());
        let ok = response(&consulting.asked, 200, carol(), "c1");
        t.receive(carol(), with_sdp(ok, &audio(carol())));
        t.request_to(carol(), Method::Ack);
        let mut bob = Remote::of_answer(&t.response_to(desk(), 200), desk());
        t.receive(desk(), bob.ack(1));
        t.calls_on(&mut bob, &mut consulting.carol());
    }
}

#[test]
fn a_target_that_answers_and_refuses_the_session_is_hung_up_where_nobody_else_is_there() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    t.bob_cancels(&consulting);
    let offered = t.carol_takes_it(&consulting);
    t.reply(&offered, 488, carol());
    t.request_to(carol(), Method::Ack);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    t.told(desk(), "488 Not Acceptable Here");
    t.calls_on(&mut a, &mut b);
}

#[test]
fn what_a_phone_asks_for_reliably_is_acknowledged_though_the_transferor_is_gone() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = request(Method::Invite, "bob", "carol", desk(), "call2")
        .header(Name::Supported, "100rel")
        .header(Name::Allow, "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE");
    let invite = with_sdp(invite, &audio(desk()));
    t.receive(desk(), invite.clone());
    let asked = t.request_to(carol(), Method::Invite);
    let rings = reliably(&asked, 183, carol(), "c1", 1);
    t.receive(carol(), with_sdp(rings, &audio(carol())));
    let rings = t.response_to(desk(), 183);
    let bob = Remote::of_answer(&rings, desk());
    let consulting = Consulting { invite, bob, asked };
    t.is_referred(&mut b, &consulting);
    // Bob owes a PRACK, and takes back his call.
    t.receive(desk(), cancel_of(&consulting.invite));
    t.response_to(desk(), 200);
    t.response_to(desk(), 487);
    for rseq in [1, 2] {
        let prack = t.request_to(carol(), Method::Prack);
        assert_eq!(prack.header(Name::RAck), Some(&*format!("{rseq} 1 INVITE")));
        t.reply(&prack, 200, carol());
        if rseq == 1 {
            let again = reliably(&consulting.asked, 180, carol(), "c1", 2);
            t.receive(carol(), again.end());
        }
    }
    // Nor does it end since no PRACK of his comes.
    t.pass(Millis::from_secs(40));
    t.discard(desk());
    t.nothing_to(carol());
    let offered = t.carol_takes_it(&consulting);
    t.carol_agrees(&offered);
    t.told(desk(), "200 OK");
    t.both_are_told();
    t.calls_on(&mut a, &mut consulting.carol());
}

#[test]
fn only_the_callers_own_early_dialog_is_named() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    // Alice has heard of it.
    t.receive(alice(), refer(&mut a, &naming(&consulting.bob)));
    t.response_to(alice(), 603);
    let mut wrong = consulting.bob.clone();
    wrong.local.push('x');
    t.receive(desk(), refer(&mut b, &naming(&wrong)));
    t.response_to(desk(), 603);
    // It was cancelled long before.
    t.receive(desk(), cancel_of(&consulting.invite));
    t.pass(Millis(4_100));
    t.discard(desk());
    t.receive(desk(), refer(&mut b, &naming(&consulting.bob)));
    t.response_to(desk(), 603);
    t.calls_on(&mut a, &mut b);
}

#[test]
fn a_refer_that_the_cancel_has_overtaken_calls_the_target() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.receive(desk(), cancel_of(&consulting.invite));
    let cancel = t.request_to(carol(), Method::Cancel);
    t.reply(&cancel, 200, carol());
    t.reply(&consulting.asked, 487, carol());
    t.request_to(carol(), Method::Ack);
    t.discard(desk());
    t.receive(desk(), refer(&mut b, &naming(&consulting.bob)));
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    let invite = t.request_to(carol(), Method::Invite);
    assert_eq!(invite.header(Name::Replaces), None);
    let mut c = t.carol_answers(&invite);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.calls_on(&mut a, &mut c);
}

/// Whoever calls without an offer would have to answer the target's.
#[test]
fn a_target_that_was_called_without_an_offer_is_called_anew() {
    for cancels_first in [true, false] {
        let mut t = three();
        let (mut a, mut b) = t.established();
        let invite = request(Method::Invite, "bob", "carol", desk(), "call2");
        let consulting = t.bob_rings_carol_by(invite.end());
        let cancels = |t: &mut Table| {
            t.receive(desk(), cancel_of(&consulting.invite));
            let cancel = t.request_to(carol(), Method::Cancel);
            t.reply(&cancel, 200, carol());
            t.reply(&consulting.asked, 487, carol());
            t.request_to(carol(), Method::Ack);
            t.discard(desk());
        };
        if cancels_first {
            cancels(&mut t);
        }
        t.receive(desk(), refer(&mut b, &naming(&consulting.bob)));
        t.response_to(desk(), 202);
        t.told(desk(), "100 Trying");
        let invite = t.request_to(carol(), Method::Invite);
        assert_ne!(invite.call_id(), consulting.asked.call_id());
        assert_eq!(invite.header(Name::Replaces), None);
        if !cancels_first {
            cancels(&mut t);
        }
        let mut c = t.carol_answers(&invite);
        t.told(desk(), "200 OK");
        t.word_of_carol();
        t.calls_on(&mut a, &mut c);
    }
}

#[test]
fn a_transferor_that_is_gone_ends_nothing() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    // RFC 3261 15: a caller may end its early dialog by a BYE as well.
    let mut bob = consulting.bob.clone();
    t.receive(desk(), bob.request(Method::Bye).end());
    t.response_to(desk(), 200);
    t.response_to(desk(), 487);
    t.hangs_up(&mut b);
    t.nothing_to(carol());
    let offered = t.carol_takes_it(&consulting);
    t.carol_agrees(&offered);
    t.told(desk(), "200 OK");
    t.both_are_told();
    let joined = |what: &Happening| {
        let how = Ending::Joined;
        matches!(what, Happening::Ended { how: known, .. } if *known == how)
    };
    assert_eq!(t.happened(joined), 1);
    t.all_hang_up(&mut a);
}

#[test]
fn after_a_restart_who_rang_is_called_anew() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    t.bob_cancels(&consulting);
    t.hangs_up(&mut b);
    t.restart();
    t.pass(Millis(10));
    let invite = t.request_to(carol(), Method::Invite);
    assert!(invite.to_tag().is_none());
    let mut c = t.carol_answers(&invite);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.discard(carol());
    t.calls_on(&mut a, &mut c);
}

#[test]
fn who_has_answered_and_denies_its_dialog_is_not_called_anew() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    t.bob_cancels(&consulting);
    let offered = t.carol_takes_it(&consulting);
    t.reply(&offered, 481, carol());
    t.request_to(carol(), Method::Ack);
    t.told(desk(), "481 Call/Transaction Does Not Exist");
    t.pass(Millis(300));
    assert!(t.waiting(carol(), &Method::Invite).is_none());
    t.calls_on(&mut a, &mut b);
}

/// RFC 3261 13.3.1: the time that it may take is over for the transferor's own call, and not for the transfer.
#[test]
fn the_expires_of_a_consultation_ends_no_ringing_that_another_one_waits_for() {
    for leaves in [true, false] {
        let mut t = three();
        let (mut a, mut b) = t.established();
        let invite = request(Method::Invite, "bob", "carol", desk(), "call2");
        let invite = invite.header(Name::Expires, 5);
        let consulting = t.bob_rings_carol_by(with_sdp(invite, &audio(desk())));
        t.is_referred(&mut b, &consulting);
        if leaves {
            t.bob_cancels(&consulting);
            t.hangs_up(&mut b);
        }
        t.pass(Millis(6_000));
        assert!(t.waiting(carol(), &Method::Cancel).is_none());
        if !leaves {
            t.response_to(desk(), 487);
        }
        // No ACK of the phone's: it hears that more than once.
        t.discard(desk());
        if !leaves {
            t.hangs_up(&mut b);
        }
        t.nothing_to(carol());
        let offered = t.carol_takes_it(&consulting);
        t.carol_agrees(&offered);
        t.told(desk(), "200 OK");
        t.both_are_told();
        t.all_hang_up(&mut a);
    }
}

/// Carol's phone forwards Bob's call to Dave, who takes it: he is whom Alice talks to, and whom she is left with.
#[test]
fn who_took_the_call_in_her_place_is_who_is_sought_later() {
    let (dave, daves_mobile) = (carols_mobile(), third());
    let mut t = three();
    t.register("dave", dave, "dave");
    let (mut a, mut b) = t.established();
    let consulting = t.bob_rings_carol("call2");
    t.is_referred(&mut b, &consulting);
    let server = SERVER.parse().unwrap();
    let moved = Builder::respond(
        &consulting.asked,
        302,
        "Moved Temporarily",
        Some("c1"),
        server,
    );
    t.receive(
        carol(),
        moved.header(Name::Contact, "<sip:dave@example.org>").end(),
    );
    t.request_to(carol(), Method::Ack);
    t.bob_cancels(&consulting);
    t.hangs_up(&mut b);
    let asked = t.request_to(dave, Method::Invite);
    let ok = response(&asked, 200, dave, "d1");
    t.receive(dave, with_sdp(ok, &audio(dave)));
    t.request_to(dave, Method::Ack);
    let offered = t.request_to(dave, Method::Invite);
    let ok = response(&offered, 200, dave, "d1");
    t.receive(dave, with_sdp(ok, &audio(dave)));
    t.request_to(dave, Method::Ack);
    t.told(desk(), "200 OK");
    let word = t.request_to(alice(), Method::Message);
    assert!(
        text(&word).starts_with("dave is continuing"),
        "{}",
        text(&word)
    );
    t.reply(&word, 200, alice());
    let word = t.request_to(dave, Method::Message);
    t.reply(&word, 200, dave);
    let mut d = Remote::of_invite(&asked, dave, "d1");
    t.calls_on(&mut a, &mut d);
    // His phone knows nothing of the call any more.
    t.register("dave", daves_mobile, "daves-mobile");
    t.receive(alice(), a.message("there?"));
    let there = t.request_to(dave, Method::Message);
    t.knows_no_call(&there, dave);
    t.response_to(alice(), 202);
    t.discard(dave);
    t.pass(Millis(2_100));
    let invite = t.request_to(daves_mobile, Method::Invite);
    assert!(invite.header(Name::To).unwrap().contains("dave"));
    t.nothing_to(carol());
}
