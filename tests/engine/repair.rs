//! Phones that repair themselves while we are at it.

use std::net::SocketAddr;

use refork::engine::events::{Ending, Happening, Signal};
use refork::engine::ids::Side;
use refork::engine::ports::MediaCommand;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

pub fn replaces(dialog: &Remote) -> String {
    let tag = |value: &str| value.rsplit_once("tag=").unwrap().1.to_owned();
    format!(
        "{};to-tag={};from-tag={}",
        dialog.call_id,
        tag(&dialog.remote),
        tag(&dialog.local)
    )
}

#[test]
fn a_request_in_the_lost_dialog_brings_it_back() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, mut b) = t.established();
    t.bob_is_lost();
    t.request_to(desk(), Method::Invite);
    t.pass(Millis(2_100));
    let ringing = t.request_to(mobile(), Method::Invite);
    t.reply(&ringing, 180, mobile());
    t.discard(desk());
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 1, "sendrecv")),
    );
    let ok = t.response_to(desk(), 200);
    t.receive(desk(), b.ack(ok.cseq()));
    t.request_to(mobile(), Method::Cancel);
    t.nothing_to(alice());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Repaired { .. })),
        1
    );
    t.discard(desk());
    t.receive(alice(), a.message("back?"));
    t.request_to(desk(), Method::Message);
}

#[test]
fn what_a_lost_phone_says_to_the_session_that_it_has_counts_when_it_is_back() {
    let mut t = two();
    let (_, mut b) = t.established();
    let elsewhere = phone("203.0.113.9:6000");
    b.at = elsewhere;
    t.register_again("bob", elsewhere, "desk", 2);
    let doubt = t.request_to(elsewhere, Method::Update);
    t.bob_is_lost();
    // Its answer comes late, under the version that answers have of their own.
    let said = sdp(elsewhere, 2, "sendrecv");
    let ok = response(&doubt, 200, elsewhere, "b1");
    t.receive(elsewhere, with_sdp(ok, &said));
    while t.any_to(elsewhere).is_some() {}
    // It is back, and refreshes what it has.
    t.receive(elsewhere, with_sdp(b.request(Method::Invite), &said));
    let ok = t.response_to(elsewhere, 200);
    t.receive(elsewhere, b.ack(ok.cseq()));
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Repaired { .. })),
        1
    );
    assert!(t.waiting(elsewhere, &Method::Invite).is_none());
    t.nothing_to(alice());
}

#[test]
fn a_phone_that_says_where_it_is_now_asks_the_other_for_nothing() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    let elsewhere = phone("203.0.113.9:5060");
    b.at = elsewhere;
    t.media.clear();
    t.receive(
        elsewhere,
        with_sdp(b.request(Method::Invite), &sdp(elsewhere, 2, "sendrecv")),
    );
    let ok = t.response_to(elsewhere, 200);
    assert!(text(&ok).contains("m=audio") && text(&ok).contains("192.0.2.1"));
    t.receive(elsewhere, b.ack(ok.cseq()));
    t.nothing_to(alice());
    let told = |command: &MediaCommand| match command {
        MediaCommand::Configure { side, streams, .. } => Some((*side, streams[0].rtp)),
        _ => None,
    };
    let told = t.media.iter().filter_map(told).next_back();
    let there = (Side::Callee, Some(phone("203.0.113.9:4000")));
    assert_eq!(told, Some(there), "its media goes there");
    // What comes later finds nothing open.
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let hold = t.request_to(elsewhere, Method::Invite);
    assert!(text(&hold).contains("a=sendonly"));
}

#[test]
fn an_invite_with_replaces_wins() {
    let mut t = Table::new(settings());
    let (mut a, b) = t.established();
    t.bob_is_lost();
    let asked = t.request_to(desk(), Method::Invite);
    let again = phone("203.0.113.9:5060");
    let invite = request(Method::Invite, "bob", "alice", again, "repair")
        .header(Name::Replaces, replaces(&b))
        .header(Name::Require, "replaces");
    t.receive(again, with_sdp(invite, &sdp(again, 1, "sendrecv")));
    let ok = t.response_to(again, 200);
    assert!(text(&ok).contains("m=audio") && text(&ok).contains("192.0.2.1"));
    t.nothing_to(again);
    let dialog = Remote::of_answer(&ok, again);
    t.receive(again, dialog.ack(1));
    let repaired = |what: &Happening| matches!(what, Happening::Repaired { .. });
    assert_eq!(t.happened(repaired), 1);
    // The old dialog is ended (RFC 3891 3), and so is the INVITE that was out: as soon as it is answered at all
    // (RFC 3261 9.1).
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.call_id(), b.call_id);
    t.reply(&bye, 481, desk());
    t.nothing_to(desk());
    t.reply(&asked, 180, desk());
    let cancel = t.request_to(desk(), Method::Cancel);
    assert_eq!(cancel.call_id(), asked.call_id());
    t.reply(&cancel, 200, desk());
    t.reply(&asked, 487, desk());
    t.request_to(desk(), Method::Ack);
    // Without an instance it is another phone by its address: Alice is told so, and asked for nothing.
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    t.receive(alice(), a.message("hello"));
    let carried = t.request_to(again, Method::Message);
    t.reply(&carried, 200, again);
    t.response_to(alice(), 200);
    t.hangs_up(&mut a);
    let bye = t.request_to(again, Method::Bye);
    t.reply(&bye, 200, again);
    t.nothing_to(desk());
    t.ends_empty();
}

/// Nobody was lost: Alice's other phone takes the call, by its user's wish, and the one that had it may do so itself.
#[test]
fn a_call_that_its_user_pulls_over_is_no_restoration() {
    for (at, same) in [(third(), false), (alice(), true)] {
        let mut t = Table::new(settings());
        t.register("alice", alice(), "alice");
        t.register("alice", third(), "laptop");
        let (a, _) = t.established();
        let invite = request(Method::Invite, "alice", "bob", at, "pull")
            .header(Name::Replaces, replaces(&a))
            .header(Name::Require, "replaces");
        t.receive(at, with_sdp(invite, &audio(at)));
        let ok = t.response_to(at, 200);
        t.receive(at, Remote::of_answer(&ok, at).ack(1));
        t.request_to(alice(), Method::Bye);
        let over = |what: &Happening| matches!(what, Happening::TakenOver { side: Side::Caller, same: it, .. } if *it == same);
        assert_eq!(t.happened(over), 1, "{same}");
        let restored = |what: &Happening| {
            matches!(
                what,
                Happening::Repaired { .. } | Happening::Restored { .. } | Happening::Lost { .. }
            )
        };
        assert_eq!(t.happened(restored), 0);
        assert_eq!(t.waiting(desk(), &Method::Message).is_some(), !same);
    }
}

#[test]
fn a_confirmed_dialog_is_not_replaced_where_an_early_one_was_meant() {
    let mut t = Table::new(settings());
    let (mut a, b) = t.established();
    let invite = request(Method::Invite, "bob", "alice", mobile(), "early")
        .header(Name::Replaces, format_args!("{};early-only", replaces(&b)));
    t.receive(mobile(), with_sdp(invite, &audio(mobile())));
    t.response_to(mobile(), 486);
    t.receive(alice(), a.message("still there?"));
    t.request_to(desk(), Method::Message);
}

#[test]
fn what_was_under_way_in_a_replaced_dialog_is_settled() {
    let mut t = Table::new(settings());
    let (mut a, b) = t.established();
    t.receive(alice(), a.message("hi"));
    t.request_to(desk(), Method::Message);
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold);
    t.request_to(desk(), Method::Invite);
    let again = phone("203.0.113.9:5060");
    let invite = request(Method::Invite, "bob", "alice", again, "repair")
        .header(Name::Replaces, replaces(&b));
    t.receive(again, with_sdp(invite, &audio(again)));
    let ok = t.response_to(again, 200);
    t.response_to(alice(), 200);
    t.response_to(alice(), 202);
    t.receive(again, Remote::of_answer(&ok, again).ack(1));
    t.request_to(again, Method::Message);
}

#[test]
fn replaces_of_somebody_else_is_refused() {
    let mut t = Table::new(settings());
    let (_, b) = t.established();
    let thief = phone("203.0.113.66:5060");
    let invite = |call: &str, replaces: String, user: &str| {
        with_sdp(
            request(Method::Invite, user, "alice", thief, call).header(Name::Replaces, replaces),
            &sdp(thief, 1, "sendrecv"),
        )
    };
    t.receive(thief, invite("x1", replaces(&b), "mallory"));
    t.response_to(thief, 403);
    t.receive(
        thief,
        invite(
            "x2",
            replaces(&b).replace("from-tag=b1", "from-tag=zz"),
            "bob",
        ),
    );
    t.response_to(thief, 481);
    t.receive(thief, invite("x3", "nonsense".into(), "bob"));
    t.response_to(thief, 400);
    t.nothing_to(desk());
    t.nothing_to(alice());
}

#[test]
fn a_lost_phone_that_says_bye_ends_the_conversation() {
    let mut t = Table::new(settings());
    let (_, mut b) = t.established();
    t.bob_is_lost();
    let replacing = t.request_to(desk(), Method::Invite);
    t.hangs_up(&mut b);
    // What our Replaces asked for would be followed by a 200; it knows no such dialog any more.
    t.nothing_to(alice());
    t.reply(&replacing, 481, desk());
    t.request_to(alice(), Method::Bye);
}

#[test]
fn the_bye_of_a_lost_phone_that_never_answers_our_replaces_is_a_farewell() {
    // It is deaf: nothing that is sent reaches it, and it is heard.
    for icmp in [false, true] {
        let mut t = two();
        let (_, mut b) = t.established();
        t.bob_is_lost();
        let replacing = t.request_to(desk(), Method::Invite);
        assert!(replacing.header(Name::Replaces).is_some());
        t.hangs_up(&mut b);
        t.pass(Millis::from_secs(5));
        t.nothing_to(alice());
        if icmp {
            t.icmp(desk());
        }
        t.pass(Millis::from_secs(35));
        t.request_to(alice(), Method::Bye);
        assert_eq!(
            t.happened(|what| matches!(
                what,
                Happening::Ended {
                    how: Ending::HungUp(Side::Callee),
                    ..
                }
            )),
            1
        );
    }
}

#[test]
fn the_bye_that_our_replaces_brings_along_is_no_farewell() {
    let mut t = two();
    let (_, mut b) = t.established();
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    assert!(again.header(Name::Replaces).is_some());
    // RFC 3891 3: the phone accepts and ends the replaced dialog; its 200 is lost or comes second.
    t.receive(desk(), b.request(Method::Bye).end());
    t.receive(
        desk(),
        with_sdp(response(&again, 200, desk(), "b2"), &audio(desk())),
    );
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Ended { .. })),
        0
    );
    t.nothing_to(alice());
}

#[test]
fn the_bye_that_our_replaces_brings_along_is_none_either_where_an_older_request_was_here_first() {
    for taken_first in [false, true] {
        let mut t = two();
        let (_, mut b) = t.established();
        t.bob_is_lost();
        let again = t.request_to(desk(), Method::Invite);
        assert!(again.header(Name::Replaces).is_some());
        let older = b.request(Method::Info).end();
        // Where Alice must agree to his formats first, the 200 waits.
        let said = if taken_first {
            g722(desk())
        } else {
            audio(desk())
        };
        let answer = with_sdp(response(&again, 200, desk(), "b2"), &said);
        let (first, second) = if taken_first {
            (answer, older)
        } else {
            (older, answer)
        };
        t.receive(desk(), first);
        t.receive(desk(), second);
        t.request_to(desk(), Method::Ack);
        let ours = t.request_to(desk(), Method::Bye);
        t.reply(&ours, 200, desk());
        t.hangs_up(&mut b);
        assert!(t.waiting(alice(), &Method::Bye).is_none());
        t.takes_over(desk(), "b3", &audio(desk()));
        let lost = |what: &Happening| matches!(what, Happening::Lost { .. });
        assert_eq!(t.happened(lost), 2);
        let ended = |what: &Happening| matches!(what, Happening::Ended { .. });
        assert_eq!(t.happened(ended), 0);
    }
}

#[test]
fn nor_is_the_bye_of_a_phone_that_takes_our_replaces_as_its_dialog_has_the_call_again() {
    for restarts in [false, true] {
        let mut t = two();
        let (_, mut b) = t.established();
        t.bob_is_lost();
        let again = t.request_to(desk(), Method::Invite);
        assert!(again.header(Name::Replaces).is_some());
        let given_up = |what: &Happening| matches!(what, Happening::Refused { status: 408, .. });
        while t.happened(given_up) == 0 {
            t.pass(Millis(500));
            t.discard(desk());
            t.discard(mobile());
        }
        // An older request comes late, and gives the dialog its call again.
        t.receive(desk(), b.request(Method::Info).end());
        t.discard(desk());
        t.receive(
            desk(),
            with_sdp(response(&again, 200, desk(), "b2"), &audio(desk())),
        );
        t.request_to(desk(), Method::Ack);
        let ours = t.request_to(desk(), Method::Bye);
        t.reply(&ours, 200, desk());
        if restarts {
            t.restart();
            t.pass(Millis(10));
        }
        t.discard(desk());
        t.hangs_up(&mut b);
        // No network has failed.
        let last = t.losses().pop();
        assert_eq!(last, Some(Signal::Superseded));
        t.pass(Millis(100));
        t.takes_over(desk(), "b3", &audio(desk()));
        assert!(t.waiting(alice(), &Method::Bye).is_none());
    }
}

#[test]
fn a_failure_bye_in_the_lost_dialog_does_not_end_the_conversation() {
    let mut t = two();
    let (_, mut b) = t.established();
    t.bob_is_lost();
    let bye = b
        .request(Method::Bye)
        .header(Name::Reason, "Q.850;cause=38;text=\"RTP timeout\"")
        .end();
    t.receive(desk(), bye);
    assert_eq!(
        t.happened(|what| matches!(
            what,
            Happening::Ended {
                how: Ending::HungUp(_),
                ..
            }
        )),
        0
    );
}

fn at_another_address() -> SocketAddr {
    phone("203.0.113.9:5060")
}

/// Bob's phone asks for its call from another address.
fn comes_back(t: &mut Table, b: &Remote, offer: &str) {
    let at = at_another_address();
    let invite = request(Method::Invite, "bob", "alice", at, "repair");
    let invite = invite.header(Name::Replaces, replaces(b));
    t.receive(at, with_sdp(invite, offer));
}

/// What does not go with what Alice was told by the relay.
fn unfit() -> [String; 3] {
    let at = at_another_address();
    let keys = "RTP/SAVPF 0\r\na=fingerprint:sha-256 AA:BB\r\na=setup:actpass";
    [
        audio(at).replace("RTP/AVP 0 8 101", &format!("UDP/TLS/{keys}")),
        audio(at).replace("m=audio 4000", "m=audio 0"),
        "v=0\r\nnonsense\r\n".into(),
    ]
}

#[test]
fn a_replaces_that_does_not_fit_leaves_nothing_behind() {
    for offer in unfit() {
        let mut t = Table::new(settings());
        let (mut a, b) = t.established();
        let told = t.media.len();
        comes_back(&mut t, &b, &offer);
        t.response_to(at_another_address(), 488);
        t.nothing_to(alice());
        assert_eq!(t.media.len(), told, "the relay goes on as it was");
        // Whether the old dialog lives is asked, and the call goes on in it.
        let doubt = t.request_to(desk(), Method::Update);
        t.receive(
            desk(),
            with_sdp(response(&doubt, 200, desk(), "b1"), &audio(desk())),
        );
        t.receive(alice(), a.message("still there?"));
        t.request_to(desk(), Method::Message);
        t.receive(alice(), a.request(Method::Bye).end());
        t.ends_empty();
    }
}

#[test]
fn a_replaces_that_does_not_fit_leaves_alone_who_rings() {
    for offer in unfit() {
        let mut t = two();
        let (_, b) = t.established();
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.discard(desk());
        let rings = t.request_to(mobile(), Method::Invite);
        t.reply(&rings, 180, mobile());
        let told = t.media.len();
        comes_back(&mut t, &b, &offer);
        t.response_to(at_another_address(), 488);
        for at in [alice(), desk(), mobile()] {
            t.nothing_to(at);
        }
        assert_eq!(t.media.len(), told, "the side is lost as it was");
        let ok = response(&rings, 200, mobile(), "x1");
        t.receive(mobile(), with_sdp(ok, &audio(mobile())));
        t.request_to(mobile(), Method::Ack);
        t.request_to(alice(), Method::Message);
        t.nothing_to(alice());
    }
}

#[test]
fn whom_the_phone_had_on_hold_is_off_it_when_it_repairs_itself_without() {
    let mut t = Table::new(settings());
    let (_, mut b) = t.established();
    let hold = sdp(desk(), 2, "sendonly");
    t.receive(desk(), with_sdp(b.request(Method::Invite), &hold));
    let held = t.request_to(alice(), Method::Invite);
    let ok = response(&held, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 2, "recvonly")));
    t.request_to(alice(), Method::Ack);
    t.response_to(desk(), 200);
    t.receive(desk(), b.ack(b.cseq));
    t.bob_is_lost();
    t.discard(desk());
    let at = at_another_address();
    comes_back(&mut t, &b, &audio(at));
    let ok = t.response_to(at, 200);
    t.receive(at, Remote::of_answer(&ok, at).ack(1));
    let resumed = t.waiting(alice(), &Method::Update);
    let resumed = resumed.or_else(|| t.waiting(alice(), &Method::Invite));
    let resumed = resumed.expect("Alice is off hold");
    assert!(text(&resumed).contains("a=sendrecv"), "{}", text(&resumed));
    assert!(crate::video::ports(&resumed)[0] > 0);
}

#[test]
fn after_a_repair_while_joining_the_survivor_may_offer_again() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &g722(mobile())),
    );
    let join = t.request_to(alice(), Method::Invite);
    // The old phone comes back by itself, then Alice agrees.
    t.receive(desk(), b.request(Method::Info).end());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Repaired { .. })),
        1
    );
    t.receive(
        alice(),
        with_sdp(
            response(&join, 200, alice(), "tcall1"),
            &sdp(alice(), 2, "sendrecv"),
        ),
    );
    // She has agreed to what is over, and is told what stands.
    let anew = t.waiting(alice(), &Method::Invite).expect("a word");
    assert!(text(&anew).contains("PCMU"), "{}", text(&anew));
    let ok = response(&anew, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendrecv")));
    t.discard(alice());
    t.discard(desk());
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 4, "sendonly")),
    );
    t.nothing_to(alice());
    t.request_to(desk(), Method::Invite);
}

#[test]
fn ports_that_were_given_back_are_not_taken_for_the_next_ones() {
    let mut t = two();
    let (_, mut b) = t.established();
    let opened = |t: &Table| -> Vec<u32> {
        let of = |command: &MediaCommand| match command {
            MediaCommand::Open {
                side: Side::Callee,
                generation,
                ..
            } => Some(*generation),
            _ => None,
        };
        t.media.iter().filter_map(of).collect()
    };
    t.bob_is_lost();
    t.receive(desk(), b.request(Method::Info).end());
    t.bob_is_lost();
    assert_eq!(opened(&t), [0, 1, 2]);
}

#[test]
fn replaces_names_one_dialog_and_comes_with_an_invite() {
    let mut t = Table::new(settings());
    let (mut a, b) = t.established();
    let twice = request(Method::Invite, "bob", "alice", mobile(), "twice")
        .header(Name::Replaces, replaces(&b))
        .header(Name::Replaces, "x;to-tag=1;from-tag=2");
    t.receive(mobile(), with_sdp(twice, &audio(mobile())));
    t.response_to(mobile(), 400);
    let text = request(Method::Message, "bob", "alice", mobile(), "text");
    let text = text.header(Name::Replaces, replaces(&b));
    t.receive(mobile(), text.body("text/plain", b"hi"));
    t.response_to(mobile(), 400);
    t.calls_on(&mut a, &mut b.clone());
}

#[test]
fn a_repair_with_another_codec_costs_the_survivor_one_reinvite() {
    for lost in [true, false] {
        let mut t = Table::new(settings());
        let (mut a, b) = t.established();
        if lost {
            t.bob_is_lost();
            t.discard(desk());
        }
        comes_back(&mut t, &b, &g722(at_another_address()));
        let asked = t.request_to(alice(), Method::Invite);
        assert!(text(&asked).contains("RTP/AVP 9"));
        assert!(t.waiting(at_another_address(), &Method::Invite).is_none());
        let answer = response(&asked, 200, alice(), "x1");
        t.receive(alice(), with_sdp(answer, &g722(alice())));
        t.request_to(alice(), Method::Ack);
        let ok = t.response_to(at_another_address(), 200);
        t.receive(
            at_another_address(),
            Remote::of_answer(&ok, at_another_address()).ack(1),
        );
        // Without an instance it is another phone by its address.
        let notice = t.request_to(alice(), Method::Message);
        t.reply(&notice, 200, alice());
        t.nothing_to(alice());
        t.receive(alice(), a.message("there?"));
        t.request_to(at_another_address(), Method::Message);
    }
}

#[test]
fn where_the_survivor_has_no_such_codec_the_restoration_goes_on() {
    let mut t = two();
    let (_, b) = t.established();
    t.bob_is_lost();
    t.discard(desk());
    comes_back(&mut t, &b, &g722(at_another_address()));
    let asked = t.request_to(alice(), Method::Invite);
    t.reply(&asked, 488, alice());
    t.request_to(alice(), Method::Ack);
    t.response_to(at_another_address(), 488);
    t.pass(Millis(700));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn a_repair_that_takes_not_all_that_the_survivor_sends_is_no_silence() {
    let mut t = Table::new(settings());
    let (_, b) = t.established();
    t.bob_is_lost();
    t.discard(desk());
    // Alice may be sending PCMU, which it does not take any more.
    let less = audio(at_another_address()).replace("RTP/AVP 0 8 101", "RTP/AVP 8 101");
    comes_back(&mut t, &b, &less);
    let asked = t.request_to(alice(), Method::Invite);
    assert!(text(&asked).contains("RTP/AVP 8 101"));
    let answer = audio(alice()).replace("RTP/AVP 0 8 101", "RTP/AVP 8 101");
    t.receive(
        alice(),
        with_sdp(response(&asked, 200, alice(), "x1"), &answer),
    );
    t.request_to(alice(), Method::Ack);
    t.response_to(at_another_address(), 200);
}
