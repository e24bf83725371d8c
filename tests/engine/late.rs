//! A phone that answers an INVITE which nobody waits for any more: it has the call where nobody else has it.

use refork::engine::events::{Ending, Happening};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Bob is lost, and of his two phones none says anything to its INVITE for so long.
fn nobody_answers(t: &mut Table, seconds: u64) -> (Message, Message) {
    t.bob_is_lost();
    let desks = t.request_to(desk(), Method::Invite);
    assert!(desks.header(Name::Replaces).is_some());
    t.pass(Millis(2_100));
    let mobiles = t.request_to(mobile(), Method::Invite);
    t.pass(Millis::from_secs(seconds));
    t.discard(desk());
    t.discard(mobile());
    (desks, mobiles)
}

fn takes(t: &mut Table, invite: &Message, tag: &str, at: std::net::SocketAddr) -> Remote {
    let ok = response(invite, 200, at, tag);
    t.receive(at, with_sdp(ok, &audio(at)));
    let ack = t.request_to(at, Method::Ack);
    assert_eq!((ack.cseq(), ack.to_tag()), (invite.cseq(), Some(tag)));
    Remote::of_invite(invite, at, tag)
}

/// What Alice says goes to that dialog.
fn has_the_call(t: &mut Table, a: &mut Remote, b: &Remote) {
    t.discard(b.at);
    t.receive(alice(), a.message("still there?"));
    let text = t.request_to(b.at, Method::Message);
    assert_eq!(text.call_id(), &*b.call_id);
    t.reply(&text, 200, b.at);
    t.response_to(alice(), 200);
    assert!(t.waiting(alice(), &Method::Bye).is_none());
}

fn ended(what: &Happening) -> bool {
    matches!(what, Happening::Ended { .. })
}

#[test]
fn who_takes_the_call_as_it_has_rung_out_has_it_where_nobody_else_has() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    let invite = t.request_to(mobile(), Method::Invite);
    t.reply(&invite, 180, mobile());
    // It has rung for all of its time, and the first 2xx is lost.
    t.pass(Millis::from_secs(31));
    t.request_to(mobile(), Method::Cancel);
    t.discard(mobile());
    let m = takes(&mut t, &invite, "x1", mobile());
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    has_the_call(&mut t, &mut a, &m);
}

#[test]
fn a_phone_that_wakes_takes_the_call_by_an_invite_that_has_timed_out() {
    for seconds in [31, 45] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        let (desks, _) = nobody_answers(&mut t, seconds);
        let woken = takes(&mut t, &desks, "b2", desk());
        assert!(
            t.waiting(desk(), &Method::Bye)
                .is_none_or(|bye| bye.call_id() == &*b.call_id)
        );
        // RFC 3891 3: it ends the dialog that it has replaced.
        t.receive(desk(), b.request(Method::Bye).end());
        has_the_call(&mut t, &mut a, &woken);
        // The next INVITE that it finds names the same dialog.
        t.pass(Millis(100));
        has_the_call(&mut t, &mut a, &woken);
        assert_eq!(t.happened(ended), 0);
        // Its farewell is one.
        let mut woken = woken;
        woken.cseq += 10;
        t.hangs_up(&mut woken);
        t.request_to(alice(), Method::Bye);
    }
}

/// Returns two INVITEs that the desk phone sleeps through.
fn asked_twice(t: &mut Table) -> (Message, Message) {
    let first = t.request_to(desk(), Method::Invite);
    let mut second = None;
    for _ in 0..45 {
        t.pass(Millis(1000));
        while let Some(invite) = t.waiting(desk(), &Method::Invite) {
            second = Some(invite)
                .filter(|invite| invite.call_id() != first.call_id())
                .or(second);
        }
        t.discard(mobile());
    }
    (first, second.expect("another INVITE"))
}

#[test]
fn all_that_it_finds_as_it_wakes_but_the_first_are_ended() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    t.bob_is_lost();
    let (first, second) = asked_twice(&mut t);
    let woken = takes(&mut t, &first, "b2", desk());
    t.discard(desk());
    takes(&mut t, &second, "b3", desk());
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.to_tag(), Some("b3"));
    t.reply(&bye, 200, desk());
    t.receive(desk(), b.request(Method::Bye).end());
    has_the_call(&mut t, &mut a, &woken);
    // What it hangs up by is no end of a dialog that another has replaced.
    let mut woken = woken;
    woken.cseq += 10;
    t.hangs_up(&mut woken);
    t.request_to(alice(), Method::Bye);
    let hung_up = |what: &Happening| {
        matches!(
            what,
            Happening::Ended {
                how: Ending::HungUp(_),
                ..
            }
        )
    };
    assert_eq!(t.happened(hung_up), 1);
}

#[test]
fn who_wakes_as_another_has_the_call_is_told_so() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    let (desks, mobiles) = nobody_answers(&mut t, 20);
    let m = takes(&mut t, &mobiles, "m1", mobile());
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.pass(Millis::from_secs(40));
    t.discard(desk());
    takes(&mut t, &desks, "b2", desk());
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.to_tag(), Some("b2"));
    t.receive(desk(), b.request(Method::Bye).end());
    has_the_call(&mut t, &mut a, &m);
    assert_eq!(t.happened(ended), 0);
}

#[test]
fn the_bye_that_our_replaces_brings_along_is_no_farewell_where_the_other_does_not_agree() {
    for refused_first in [true, false] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        t.bob_is_lost();
        let again = t.request_to(desk(), Method::Invite);
        let ok = response(&again, 200, desk(), "b2");
        t.receive(desk(), with_sdp(ok, &g722(desk())));
        t.request_to(desk(), Method::Ack);
        let asked = t.request_to(alice(), Method::Invite);
        if !refused_first {
            t.receive(desk(), b.request(Method::Bye).end());
        }
        t.receive(alice(), response(&asked, 488, alice(), "tcall1").end());
        t.request_to(alice(), Method::Ack);
        t.discard(desk());
        if refused_first {
            t.hangs_up(&mut b);
        }
        t.pass(Millis(100));
        assert_eq!(t.happened(ended), 0);
        let m = t.takes_over(mobile(), "m1", &audio(mobile()));
        let notice = t.request_to(alice(), Method::Message);
        t.reply(&notice, 200, alice());
        has_the_call(&mut t, &mut a, &m);
    }
}

#[test]
fn a_phone_that_wakes_and_rings_first_rings_on_and_takes_the_call() {
    for (seconds, trying) in [(31, false), (31, true), (45, false), (45, true)] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        let (desks, _) = nobody_answers(&mut t, seconds);
        if trying {
            t.reply(&desks, 100, desk());
        }
        let ringing = response(&desks, 180, desk(), "b2");
        t.receive(desk(), ringing.end());
        t.pass(Millis::from_secs(5));
        assert!(t.waiting(desk(), &Method::Cancel).is_none(), "{seconds}");
        t.discard(desk());
        let woken = takes(&mut t, &desks, "b2", desk());
        t.discard(desk());
        t.receive(desk(), b.request(Method::Bye).end());
        has_the_call(&mut t, &mut a, &woken);
        assert_eq!(t.happened(ended), 0);
        let mut woken = woken;
        woken.cseq += 10;
        t.hangs_up(&mut woken);
        t.request_to(alice(), Method::Bye);
    }
}

#[test]
fn a_phone_that_wakes_and_rings_for_what_another_has_rings_no_more() {
    let mut t = two();
    let (mut a, _) = t.established();
    let (desks, mobiles) = nobody_answers(&mut t, 20);
    let m = takes(&mut t, &mobiles, "m1", mobile());
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.pass(Millis::from_secs(40));
    t.discard(desk());
    t.reply(&desks, 180, desk());
    let cancel = t.request_to(desk(), Method::Cancel);
    assert_eq!(cancel.call_id(), desks.call_id());
    has_the_call(&mut t, &mut a, &m);
}

#[test]
fn of_two_invites_that_a_phone_finds_as_it_wakes_it_rings_for_one() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    let (first, second) = asked_twice(&mut t);
    t.reply(&first, 180, desk());
    t.reply(&second, 180, desk());
    t.pass(Millis(100));
    let cancel = t.request_to(desk(), Method::Cancel);
    assert_eq!(cancel.call_id(), second.call_id());
    assert!(t.waiting(desk(), &Method::Cancel).is_none());
    // Who rings by the later one is not to ring by the earlier one as well.
    t.reply(&cancel, 200, desk());
    t.reply(&second, 487, desk());
    t.discard(desk());
    t.pass(Millis::from_secs(31));
    let cancel = t.request_to(desk(), Method::Cancel);
    assert_eq!(cancel.call_id(), first.call_id());
}

/// It may as well be somebody on the way who has said 100: that INVITE is not left there once it can lead to nothing.
#[test]
fn an_invite_that_has_had_a_100_alone_gets_its_cancel_once_it_leads_to_nothing() {
    type Then = fn(&mut Table, &mut Remote, &mut Remote, &Message);
    let ways: [(&str, Then); 3] = [
        ("another has the call", |t, _, _, mobiles| {
            takes(t, mobiles, "m1", mobile());
        }),
        ("it is back by its old dialog", |t, _, b, _| {
            let digit = b.request(Method::Info);
            t.receive(desk(), digit.body("text/plain", b"5"));
        }),
        ("the survivor hangs up", |t, a, _, _| t.hangs_up(a)),
    ];
    for (how, then) in ways {
        for (seconds, before) in [(31, true), (31, false), (45, true), (45, false)] {
            let mut t = two();
            let (mut a, mut b) = t.established();
            let (desks, mobiles) = nobody_answers(&mut t, seconds);
            if before {
                t.reply(&desks, 100, desk());
                t.nothing_to(desk());
            }
            then(&mut t, &mut a, &mut b, &mobiles);
            if !before {
                t.reply(&desks, 100, desk());
            }
            let cancel = t.waiting(desk(), &Method::Cancel);
            let cancel = cancel.unwrap_or_else(|| panic!("{how}, {seconds}, {before}"));
            assert_eq!(cancel.call_id(), desks.call_id());
            t.discard(desk());
            t.reply(&desks, 180, desk());
            assert!(t.waiting(desk(), &Method::Cancel).is_none(), "{how}");
        }
    }
}
