//! The lost phone comes back by itself, under the instance that it had, while another phone of its user rings or has
//! just answered. The first valid one wins, the others end cleanly, and the survivor has nothing but media that goes
//! on.

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::ids::Side;
use refork::engine::ports::MediaCommand;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::repair::replaces;
use crate::table::*;

/// Where Bob's desk phone is after its network has changed.
fn there() -> SocketAddr {
    phone("203.0.113.9:5060")
}

/// Bob's desk phone asks for its call from its new address, and says which phone it is.
fn asks_for_its_call(t: &mut Table, b: &Remote) {
    let at = there();
    let contact = format!("<sip:bob@{at}>");
    let invite = request(Method::Invite, "bob", "alice", at, "repair")
        .header(Name::Replaces, replaces(b))
        .header(Name::Require, "replaces");
    let invite = String::from_utf8(with_sdp(invite, &audio(at)).to_vec()).unwrap();
    let named = format!("{contact};+sip.instance=\"<urn:uuid:desk>\"");
    assert!(invite.contains(&contact));
    t.receive(at, invite.replace(&contact, &named).into());
}

/// The same by a re-INVITE in the dialog that was lost.
fn goes_on_in_its_dialog(t: &mut Table, b: &mut Remote) {
    b.at = there();
    let offer = sdp(there(), 2, "sendrecv");
    t.receive(there(), with_sdp(b.request(Method::Invite), &offer));
}

/// Bob's desk phone is lost, what was sent to it is gone, and his mobile rings.
fn the_mobile_rings(t: &mut Table) -> Message {
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    let rings = t.request_to(mobile(), Method::Invite);
    t.reply(&rings, 180, mobile());
    rings
}

/// Returns where the relay has been told last to send what a side is to hear.
fn media_goes_to(t: &Table, of: Side) -> Option<SocketAddr> {
    let told = |command: &MediaCommand| match command {
        MediaCommand::Configure { side, streams, .. } if *side == of => Some(streams[0].rtp),
        _ => None,
    };
    t.media.iter().filter_map(told).next_back().flatten()
}

fn repaired(what: &Happening) -> bool {
    matches!(what, Happening::Repaired { .. })
}

fn restored(what: &Happening) -> bool {
    matches!(what, Happening::Restored { .. })
}

/// Bob's desk phone has the call again, at its new address: the other phone was told, the old dialog gets a BYE, and
/// nothing at all went to Alice.
fn the_desk_phone_has_it(t: &mut Table, a: &mut Remote, again: &mut Remote) {
    assert_eq!((t.happened(repaired), t.happened(restored)), (1, 0));
    let media = phone(&format!("{}:4000", there().ip()));
    assert_eq!(media_goes_to(t, Side::Callee), Some(media));
    t.nothing_to(alice());
    t.receive(alice(), a.message("hello"));
    let carried = t.request_to(there(), Method::Message);
    assert_eq!(text(&carried), "hello");
    t.reply(&carried, 200, there());
    t.response_to(alice(), 200);
    t.receive(there(), again.message("here I am"));
    let carried = t.request_to(alice(), Method::Message);
    assert_eq!(text(&carried), "here I am");
    t.reply(&carried, 200, alice());
    t.response_to(there(), 200);
    t.nothing_to(alice());
    t.receive(alice(), a.request(Method::Bye).end());
    t.response_to(alice(), 200);
    t.request_to(there(), Method::Bye);
}

#[test]
fn a_phone_that_replaces_its_lost_dialog_wins_over_one_that_rings() {
    for crosses in [false, true] {
        let mut t = two();
        let (mut a, b) = t.established();
        let rings = the_mobile_rings(&mut t);
        asks_for_its_call(&mut t, &b);
        let ok = t.response_to(there(), 200);
        assert!(text(&ok).contains("m=audio") && text(&ok).contains("192.0.2.1"));
        let mut again = Remote::of_answer(&ok, there());
        t.receive(there(), again.ack(1));
        // Who rang is told that it was answered elsewhere.
        let cancel = t.request_to(mobile(), Method::Cancel);
        assert_eq!(cancel.call_id(), rings.call_id());
        let elsewhere = "SIP;cause=200;text=\"Call completed elsewhere\"";
        assert_eq!(cancel.header(Name::Reason), Some(elsewhere));
        t.reply(&cancel, 200, mobile());
        if crosses {
            let ok = response(&rings, 200, mobile(), "x1");
            t.receive(mobile(), with_sdp(ok, &audio(mobile())));
            t.request_to(mobile(), Method::Ack);
            let bye = t.request_to(mobile(), Method::Bye);
            t.reply(&bye, 200, mobile());
        } else {
            t.reply(&rings, 487, mobile());
            t.request_to(mobile(), Method::Ack);
        }
        t.nothing_to(mobile());
        // RFC 3891 3: the replaced dialog is ended, though its phone is not there any more.
        let bye = t.waiting(desk(), &Method::Bye).expect("a BYE");
        assert_eq!(bye.call_id(), b.call_id);
        t.discard(desk());
        the_desk_phone_has_it(&mut t, &mut a, &mut again);
        t.ends_empty();
    }
}

#[test]
fn a_phone_that_goes_on_in_its_lost_dialog_wins_over_one_that_rings() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    let rings = the_mobile_rings(&mut t);
    goes_on_in_its_dialog(&mut t, &mut b);
    let ok = t.response_to(there(), 200);
    t.receive(there(), b.ack(ok.cseq()));
    let cancel = t.request_to(mobile(), Method::Cancel);
    assert_eq!(cancel.call_id(), rings.call_id());
    t.reply(&cancel, 200, mobile());
    t.reply(&rings, 487, mobile());
    t.request_to(mobile(), Method::Ack);
    assert!(t.waiting(desk(), &Method::Bye).is_none());
    the_desk_phone_has_it(&mut t, &mut a, &mut b);
}

/// Bob's mobile has the call: whatever else comes of the desk phone, Alice hears of the mobile once.
fn the_mobile_has_it(t: &mut Table, a: &mut Remote, m: &mut Remote) {
    assert_eq!((t.happened(repaired), t.happened(restored)), (0, 1));
    let notice = t.request_to(alice(), Method::Message);
    assert!(text(&notice).contains("mobile"), "{}", text(&notice));
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    let media = phone(&format!("{}:4000", mobile().ip()));
    assert_eq!(media_goes_to(t, Side::Callee), Some(media));
    t.receive(alice(), a.message("hello"));
    let carried = t.request_to(mobile(), Method::Message);
    t.reply(&carried, 200, mobile());
    t.response_to(alice(), 200);
    t.receive(mobile(), m.request(Method::Bye).end());
    t.response_to(mobile(), 200);
    t.request_to(alice(), Method::Bye);
}

#[test]
fn whose_dialog_was_replaced_a_moment_ago_is_told_so_and_disturbs_nobody() {
    for by_replaces in [true, false] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        let rings = the_mobile_rings(&mut t);
        let ok = response(&rings, 200, mobile(), "m1");
        t.receive(mobile(), with_sdp(ok, &audio(mobile())));
        t.request_to(mobile(), Method::Ack);
        let mut m = Remote::of_invite(&rings, mobile(), "m1");
        // The desk phone has not had its BYE.
        t.discard(desk());
        if by_replaces {
            asks_for_its_call(&mut t, &b);
        } else {
            goes_on_in_its_dialog(&mut t, &mut b);
        }
        t.response_to(there(), 481);
        t.nothing_to(mobile());
        the_mobile_has_it(&mut t, &mut a, &mut m);
        t.pass(Millis::from_secs(40));
        assert!(t.waiting(there(), &Method::Invite).is_none());
    }
}

/// The mobile has answered with what Alice must agree to first, and she is asked.
fn the_mobile_waits_for_alice(t: &mut Table) -> (Message, Message) {
    let rings = the_mobile_rings(t);
    let ok = response(&rings, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &g722(mobile())));
    t.request_to(mobile(), Method::Ack);
    let asked = t.request_to(alice(), Method::Invite);
    assert!(text(&asked).contains("RTP/AVP 9"), "{}", text(&asked));
    (rings, asked)
}

/// She has agreed to what is over, and is told what stands.
fn alice_has_her_session_again(t: &mut Table, asked: &Message) {
    let agreed = response(asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(agreed, &g722(alice())));
    t.request_to(alice(), Method::Ack);
    let anew = t.request_to(alice(), Method::Invite);
    assert!(text(&anew).contains("PCMU"), "{}", text(&anew));
    let ok = response(&anew, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendrecv")));
    t.request_to(alice(), Method::Ack);
}

#[test]
fn the_lost_one_is_back_while_the_survivor_is_asked_about_another() {
    for by_replaces in [true, false] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        let (rings, asked) = the_mobile_waits_for_alice(&mut t);
        t.discard(desk());
        if by_replaces {
            asks_for_its_call(&mut t, &b);
        } else {
            goes_on_in_its_dialog(&mut t, &mut b);
        }
        let bye = t.request_to(mobile(), Method::Bye);
        assert_eq!(bye.call_id(), rings.call_id());
        t.reply(&bye, 200, mobile());
        // It has her session at once: she need not be asked about it.
        let ok = t.response_to(there(), 200);
        let mut again = if by_replaces {
            Remote::of_answer(&ok, there())
        } else {
            b.clone()
        };
        t.receive(there(), again.ack(ok.cseq()));
        alice_has_her_session_again(&mut t, &asked);
        the_desk_phone_has_it(&mut t, &mut a, &mut again);
    }
}

#[test]
fn the_lost_one_is_back_once_the_survivor_has_agreed_to_another() {
    for by_replaces in [true, false] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        let (rings, asked) = the_mobile_waits_for_alice(&mut t);
        let mut m = Remote::of_invite(&rings, mobile(), "m1");
        let agreed = response(&asked, 200, alice(), "tcall1");
        t.receive(alice(), with_sdp(agreed, &g722(alice())));
        t.request_to(alice(), Method::Ack);
        t.discard(desk());
        if by_replaces {
            asks_for_its_call(&mut t, &b);
        } else {
            goes_on_in_its_dialog(&mut t, &mut b);
        }
        t.response_to(there(), 481);
        t.nothing_to(mobile());
        the_mobile_has_it(&mut t, &mut a, &mut m);
    }
}
