//! Directed pickup: Alice's call rings at Bob's, and Carol takes it (RFC 3891 3, RFC 5359 2.16).

use refork::engine::events::Happening;
use refork::engine::settings::Pickup;
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::admission::ack_of;
use crate::calls::cancel_like;
use crate::people::*;
use crate::table::*;
use crate::transfer::{carol, carols_mobile, three};
use crate::undelivered::is_told;

/// Bob's desk phone rings. Returns its INVITE.
fn ringing(t: &mut Table) -> Message {
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), response(&invite, 180, desk(), "b1").end());
    t.response_to(alice(), 180);
    invite
}

/// Carol's phone has heard of that dialog from Bob's (RFC 4235): his own tag and ours.
fn naming(invite: &Message) -> String {
    naming_with(invite, "b1")
}

fn naming_with(invite: &Message, theirs: &str) -> String {
    let ours = invite.from_tag().unwrap();
    let call_id = invite.call_id();
    format!("{call_id};to-tag={ours};from-tag={theirs};early-only")
}

fn pickup(who: &str, at: std::net::SocketAddr, replaces: &str) -> Builder {
    pickup_by(who, at, replaces, "pickup")
}

fn pickup_by(who: &str, at: std::net::SocketAddr, replaces: &str, call: &str) -> Builder {
    request(Method::Invite, who, "alice", at, call)
        .header(Name::Require, "replaces")
        .header(Name::Replaces, replaces)
}

#[test]
fn another_user_of_the_domain_takes_a_call_that_rings() {
    let mut t = three();
    let invite = ringing(&mut t);
    let wish = pickup("carol", carol(), &naming(&invite));
    t.receive(carol(), with_sdp(wish, &audio(carol())));
    let taken = t.response_to(carol(), 200);
    assert!(text(&taken).contains("192.0.2.1"), "{}", text(&taken));
    let mut c = Remote::of_answer(&taken, carol());
    t.receive(carol(), c.ack(1));
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("192.0.2.1"), "{}", text(&ok));
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    // RFC 3326: Bob's phone shows no missed call.
    let cancel = t.request_to(desk(), Method::Cancel);
    assert!(cancel.header(Name::Reason).unwrap().contains("cause=200"));
    t.reply(&cancel, 200, desk());
    t.reply(&invite, 487, desk());
    t.request_to(desk(), Method::Ack);
    t.calls_on(&mut a, &mut c);
    t.hangs_up(&mut a);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    t.ends_empty();
}

#[test]
fn a_call_that_was_picked_up_outlives_who_took_it() {
    let mut t = three();
    let invite = ringing(&mut t);
    let wish = pickup("carol", carol(), &naming(&invite));
    t.receive(carol(), with_sdp(wish, &audio(carol())));
    let taken = t.response_to(carol(), 200);
    t.receive(carol(), Remote::of_answer(&taken, carol()).ack(1));
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.discard(desk());
    t.register("carol", mobile(), "cm");
    t.receive(alice(), a.message("there?"));
    let there = t.request_to(carol(), Method::Message);
    t.knows_no_call(&there, carol());
    t.response_to(alice(), 202);
    t.discard(carol());
    // It is Carol who is sought, not Bob.
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "cm1", &audio(mobile()));
    assert!(t.waiting(desk(), &Method::Invite).is_none());
}

#[test]
fn who_may_not_pick_up_is_told_so_and_the_phone_rings_on() {
    for (policy, who, status) in [
        (Pickup::Domain, "carol", 200),
        (Pickup::Own, "carol", 403),
        (Pickup::Own, "bob", 200),
        (Pickup::Off, "bob", 403),
    ] {
        let mut wishes = settings();
        wishes.fork.pickup = policy;
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        let invite = ringing(&mut t);
        let wish = pickup(who, carol(), &naming(&invite));
        t.receive(carol(), with_sdp(wish, &audio(carol())));
        t.response_to(carol(), status);
        if status == 200 {
            t.response_to(alice(), 200);
            t.request_to(desk(), Method::Cancel);
            continue;
        }
        t.nothing_to(desk());
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.response_to(alice(), 200);
    }
}

/// An INVITE with Replaces goes to the worker that has the dialog, whatever its Call-ID; so does the ACK of its refusal.
#[test]
fn the_ack_of_a_refused_pickup_finds_who_has_refused() {
    for number in 0..8 {
        let mut wishes = settings();
        wishes.fork.pickup = Pickup::Own;
        let mut t = Table::of_two_workers(wishes);
        t.register("bob", desk(), "desk");
        let invite = ringing(&mut t);
        let call_id = format!("{number}-pickup");
        let wish = request(Method::Invite, "carol", "alice", carol(), &call_id)
            .header(Name::Replaces, naming(&invite));
        let wish = with_sdp(wish, &audio(carol()));
        t.receive(carol(), wish.clone());
        let refused = t.response_to(carol(), 403);
        t.receive(carol(), ack_of(&wish, &refused));
        t.pass(Millis::from_secs(2));
        t.nothing_to(carol());
    }
}

#[test]
fn somebody_of_another_domain_picks_up_nothing() {
    let mut t = three();
    let invite = ringing(&mut t);
    let wish = pickup("carol", carol(), &naming(&invite));
    let wish = with_sdp(wish, &audio(carol()));
    let wish =
        String::from_utf8_lossy(&wish).replace("carol@example.org", "carol@elsewhere.example");
    t.receive(carol(), wish.into());
    t.response_to(carol(), 403);
    t.nothing_to(desk());
    t.nothing_to(alice());
}

#[test]
fn what_does_not_ring_is_not_picked_up() {
    let mut t = three();
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    // It has not rung yet; nobody can know of that dialog.
    let wish = pickup("carol", carol(), &naming(&invite));
    t.receive(carol(), with_sdp(wish, &audio(carol())));
    t.response_to(carol(), 481);
    t.receive(desk(), response(&invite, 180, desk(), "b1").end());
    let ringing = t.response_to(alice(), 180);
    // RFC 3891 3: the dialog that the caller began is not ours to give away.
    let tag = |value: &str| value.rsplit_once("tag=").unwrap().1.to_owned();
    let callers = format!(
        "{};to-tag={};from-tag={}",
        ringing.call_id(),
        tag(ringing.header(Name::To).unwrap()),
        tag(ringing.header(Name::From).unwrap())
    );
    let wish = request(Method::Invite, "carol", "alice", carol(), "pickup2")
        .header(Name::Replaces, &callers);
    t.receive(carol(), with_sdp(wish, &audio(carol())));
    t.response_to(carol(), 481);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.response_to(alice(), 200);
    // Now it is too late.
    let wish = request(Method::Invite, "bob", "alice", carol(), "pickup3")
        .header(Name::Replaces, naming(&invite));
    t.receive(carol(), with_sdp(wish, &audio(carol())));
    t.response_to(carol(), 486);
}

#[test]
fn a_session_that_does_not_fit_leaves_the_phone_ringing() {
    let mut t = three();
    let invite = ringing(&mut t);
    let wish = pickup("carol", carol(), &naming(&invite));
    t.receive(carol(), with_sdp(wish, &g722(carol())));
    t.response_to(carol(), 488);
    t.nothing_to(desk());
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.response_to(alice(), 200);
}

/// RFC 3261 13.2.1: the 2xx offers, and the ACK answers.
#[test]
fn who_picks_up_without_an_offer_is_offered_the_callers_session() {
    let mut t = three();
    let invite = ringing(&mut t);
    t.receive(carol(), pickup("carol", carol(), &naming(&invite)).end());
    let taken = t.response_to(carol(), 200);
    assert!(text(&taken).contains("192.0.2.1"), "{}", text(&taken));
    assert!(text(&taken).contains("RTP/AVP 0 8 101"), "{}", text(&taken));
    // Until she has answered, Bob's phone rings on.
    t.nothing_to(desk());
    t.nothing_to(alice());
    let mut c = Remote::of_answer(&taken, carol());
    let only = audio(carol()).replace("RTP/AVP 0 8 101", "RTP/AVP 8");
    let ack = with_sdp(c.numbered(Method::Ack, 1), &only);
    t.receive(carol(), ack);
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("RTP/AVP 8"), "{}", text(&ok));
    assert!(text(&ok).contains("192.0.2.1"), "{}", text(&ok));
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    let cancel = t.request_to(desk(), Method::Cancel);
    t.reply(&cancel, 200, desk());
    t.reply(&invite, 487, desk());
    t.request_to(desk(), Method::Ack);
    t.calls_on(&mut a, &mut c);
    t.hangs_up(&mut a);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    t.ends_empty();
}

#[test]
fn who_is_offered_a_session_and_has_none_leaves_the_phone_ringing() {
    // An ACK without an answer, none at all, and Bob who is faster.
    for what in ["empty", "none", "late"] {
        let mut t = three();
        let invite = ringing(&mut t);
        t.receive(carol(), pickup("carol", carol(), &naming(&invite)).end());
        let taken = t.response_to(carol(), 200);
        let c = Remote::of_answer(&taken, carol());
        match what {
            "empty" => t.receive(carol(), c.ack(1)),
            "none" => {
                t.pass(Millis(32_100));
                t.discard(carol());
            }
            _ => {}
        }
        if what == "empty" {
            let bye = t.request_to(carol(), Method::Bye);
            t.reply(&bye, 200, carol());
        }
        t.nothing_to(desk());
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        let mut a = Remote::of_answer(&ok, alice());
        t.receive(alice(), a.ack(1));
        if what == "late" {
            t.receive(carol(), c.ack(1));
            let bye = t.request_to(carol(), Method::Bye);
            t.reply(&bye, 200, carol());
        }
        t.discard(carol());
        t.calls_on(&mut a, &mut Remote::of_invite(&invite, desk(), "b1"));
    }
}

/// Two phones are not asked for their sessions at a time.
#[test]
fn a_call_that_somebody_is_picking_up_is_picked_up_by_nobody_else() {
    let mut t = three();
    let invite = ringing(&mut t);
    t.receive(carol(), pickup("carol", carol(), &naming(&invite)).end());
    t.response_to(carol(), 200);
    let second = request(Method::Invite, "carol", "alice", carols_mobile(), "second")
        .header(Name::Require, "replaces")
        .header(Name::Replaces, naming(&invite));
    t.receive(carols_mobile(), second.end());
    t.response_to(carols_mobile(), 491);
    t.nothing_to(desk());
}

/// The caller hangs up while who picks up is asked for its session.
#[test]
fn a_caller_who_leaves_takes_who_picks_up_along() {
    let mut t = three();
    let invite = ringing(&mut t);
    t.receive(carol(), pickup("carol", carol(), &naming(&invite)).end());
    let taken = t.response_to(carol(), 200);
    t.receive(alice(), cancel_like(Method::Cancel));
    t.response_to(alice(), 200);
    t.response_to(alice(), 487);
    let cancel = t.request_to(desk(), Method::Cancel);
    t.reply(&cancel, 200, desk());
    t.reply(&invite, 487, desk());
    let c = Remote::of_answer(&taken, carol());
    t.receive(carol(), c.ack(1));
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
}

impl Table {
    /// Dave takes a call that rings at a phone, which is told so. Returns his end.
    fn dave_picks_up(&mut self, rings: &Message, at: std::net::SocketAddr) -> Remote {
        let dave = carols_mobile();
        let wish = pickup("dave", dave, &naming_with(rings, "x1"));
        self.receive(dave, with_sdp(wish, &audio(dave)));
        let taken = self.response_to(dave, 200);
        assert!(text(&taken).contains("192.0.2.1"), "{}", text(&taken));
        let end = Remote::of_answer(&taken, dave);
        self.receive(dave, end.ack(1));
        let cancel = self.request_to(at, Method::Cancel);
        self.reply(&cancel, 200, at);
        self.reply(rings, 487, at);
        self.request_to(at, Method::Ack);
        end
    }

    fn word_of_dave(&mut self) {
        let word = self.request_to(alice(), Method::Message);
        let says = text(&word);
        assert!(says.starts_with("dave is continuing on "), "{says}");
        self.reply(&word, 200, alice());
        self.nothing_to(alice());
    }
}

#[test]
fn a_call_that_rings_by_a_transfer_is_picked_up() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let rings = t.referred(&mut b);
    t.reply(&rings, 180, carol());
    t.told(desk(), "180 Ringing");
    let mut d = t.dave_picks_up(&rings, carol());
    t.told(desk(), "200 OK");
    t.word_of_dave();
    t.hangs_up(&mut b);
    t.calls_on(&mut a, &mut d);
    t.hangs_up(&mut a);
    let bye = t.request_to(d.at, Method::Bye);
    t.reply(&bye, 200, d.at);
    t.ends_empty();
}

#[test]
fn a_call_that_rings_by_a_restoration_is_picked_up() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    let rings = t.request_to(mobile(), Method::Invite);
    t.reply(&rings, 180, mobile());
    let mut d = t.dave_picks_up(&rings, mobile());
    t.word_of_dave();
    t.calls_on(&mut a, &mut d);
}

#[test]
fn who_may_not_pick_up_gets_no_call_that_rings_again_either() {
    for (policy, format, status) in [
        (Pickup::Own, "PCMU", 403),
        (Pickup::Off, "PCMU", 403),
        (Pickup::Domain, "G722", 488),
    ] {
        let mut wishes = settings();
        wishes.fork.pickup = policy;
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        t.register("carol", carol(), "carol");
        let (mut a, mut b) = t.established();
        let rings = t.referred(&mut b);
        // It has not rung yet.
        let dave = carols_mobile();
        let offer = match format {
            "G722" => g722(dave),
            _ => audio(dave),
        };
        let early = pickup("dave", dave, &naming_with(&rings, "x1"));
        t.receive(dave, with_sdp(early, &offer));
        t.response_to(dave, 481);
        t.reply(&rings, 180, carol());
        t.told(desk(), "180 Ringing");
        let wish = request(Method::Invite, "dave", "alice", dave, "pickup2")
            .header(Name::Replaces, naming_with(&rings, "x1"));
        t.receive(dave, with_sdp(wish, &offer));
        t.response_to(dave, status);
        t.nothing_to(carol());
        let ok = response(&rings, 200, carol(), "x1");
        t.receive(carol(), with_sdp(ok, &audio(carol())));
        t.request_to(carol(), Method::Ack);
        t.told(desk(), "200 OK");
        t.word_of_carol();
        t.calls_on(&mut a, &mut Remote::of_invite(&rings, carol(), "x1"));
    }
}

#[test]
fn what_was_written_to_who_is_lost_is_not_for_who_picks_up() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.receive(alice(), a.message("for Bob alone"));
    t.response_to(alice(), 202);
    t.pass(Millis(2_100));
    t.discard(desk());
    let rings = t.request_to(mobile(), Method::Invite);
    t.reply(&rings, 180, mobile());
    let mut d = t.dave_picks_up(&rings, mobile());
    is_told(&mut t, "1 messages to bob were not delivered.");
    t.word_of_dave();
    t.nothing_to(d.at);
    assert_eq!(t.engine.gauges().queued_messages, 0);
    let rejected = |what: &Happening| matches!(what, Happening::Rejected { status: 480, .. });
    assert_eq!(t.happened(rejected), 1);
    t.calls_on(&mut a, &mut d);
}

/// RFC 3891 3: nobody has a call that another must agree to first.
#[test]
fn who_picks_up_with_another_format_waits_until_the_survivor_has_agreed() {
    for agrees in [true, false] {
        let only = |at, format| audio(at).replace("RTP/AVP 0 8 101", &format!("RTP/AVP {format}"));
        let mut t = two();
        t.established_with(&audio(alice()), &only(desk(), 0));
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.discard(desk());
        let rings = t.request_to(mobile(), Method::Invite);
        t.reply(&rings, 180, mobile());
        let dave = carols_mobile();
        let wish = pickup("dave", dave, &naming_with(&rings, "x1"));
        t.receive(dave, with_sdp(wish, &only(dave, 8)));
        let asked = t.request_to(alice(), Method::Invite);
        t.nothing_to(dave);
        if agrees {
            let ok = response(&asked, 200, alice(), "tcall1");
            t.receive(alice(), with_sdp(ok, &only(alice(), 8)));
            t.request_to(alice(), Method::Ack);
            let taken = t.response_to(dave, 200);
            assert!(text(&taken).contains("RTP/AVP 8\r\n"), "{}", text(&taken));
            assert!(text(&taken).contains("192.0.2.1"), "the relay's address");
            t.request_to(mobile(), Method::Cancel);
        } else {
            t.reply(&asked, 488, alice());
            t.request_to(alice(), Method::Ack);
            t.response_to(dave, 488);
            t.nothing_to(mobile());
        }
    }
}

/// RFC 3261 13.2.1: the 2xx offers what the phone that rings was offered, and the ACK answers.
#[test]
fn a_call_that_rings_again_is_picked_up_without_an_offer() {
    let only = |at, format| audio(at).replace("RTP/AVP 0 8 101", &format!("RTP/AVP {format}"));
    // An answer that fits, one that the survivor must agree to, one that it does not agree to; none, and no ACK.
    for what in ["fits", "asks", "refuses", "empty", "none", "restart"] {
        let mut t = two();
        let (mut a, _) = t.established_with(&audio(alice()), &only(desk(), 0));
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.discard(desk());
        let rings = t.request_to(mobile(), Method::Invite);
        t.reply(&rings, 180, mobile());
        let dave = carols_mobile();
        let wish = |id| pickup_by("dave", dave, &naming_with(&rings, "x1"), id);
        t.receive(dave, wish("dave1").end());
        let taken = t.response_to(dave, 200);
        assert!(text(&taken).contains("RTP/AVP 0 8 101"), "{}", text(&taken));
        assert!(text(&taken).contains("192.0.2.1"), "the relay's address");
        t.nothing_to(mobile());
        t.nothing_to(alice());
        let mut d = Remote::of_answer(&taken, dave);
        if what == "none" {
            // Nobody else is asked for a session meanwhile.
            t.receive(dave, wish("dave2").end());
            t.response_to(dave, 491);
            t.pass(Millis(32_100));
        }
        if what == "restart" {
            t.restart();
        }
        let ack = d.numbered(Method::Ack, 1);
        match what {
            "fits" => t.receive(dave, with_sdp(ack, &only(dave, 0))),
            "asks" | "refuses" => t.receive(dave, with_sdp(ack, &only(dave, 8))),
            "empty" => t.receive(dave, ack.end()),
            _ => {}
        }
        if what == "asks" || what == "refuses" {
            let asked = t.request_to(alice(), Method::Invite);
            t.nothing_to(dave);
            if what == "asks" {
                let ok = response(&asked, 200, alice(), "tcall1");
                t.receive(alice(), with_sdp(ok, &only(alice(), 8)));
            } else {
                t.reply(&asked, 488, alice());
            }
            t.request_to(alice(), Method::Ack);
        }
        if what == "fits" || what == "asks" {
            t.request_to(mobile(), Method::Cancel);
            t.word_of_dave();
            t.calls_on(&mut a, &mut d);
            continue;
        }
        let bye = t.waiting(dave, &Method::Bye).unwrap();
        t.reply(&bye, 200, dave);
        // Bob's phone rings on, for as long as one does.
        let over = t.waiting(mobile(), &Method::Cancel).is_some();
        assert_eq!(over, what == "none", "{what}");
    }
}
