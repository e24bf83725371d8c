//! Media that goes between the endpoints themselves: their addresses, keys and candidates cross as they are,
//! and a new endpoint's cost the survivor one re-INVITE.

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::ids::Side;
use refork::engine::ports::MediaCommand;
use refork::engine::settings::{MediaMode, MediaSettings, Settings, Srtp};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::crowds::cancel_of;
use crate::people::*;
use crate::repair::replaces;
use crate::srtp::{S80, line, secure};
use crate::table::*;
use crate::video::{ports, told};

pub fn direct() -> Table {
    let mut t = Table::new(past_us());
    t.register("bob", desk(), "desk");
    t
}

fn past_us() -> Settings {
    Settings {
        media: MediaSettings {
            mode: MediaMode::Direct,
            ..MediaSettings::default()
        },
        ..settings()
    }
}

fn head(at: SocketAddr) -> String {
    let ip = at.ip();
    format!("v=0\r\no=- 7 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n")
}

/// DTLS-SRTP (RFC 5763, 5764) by way of ICE (RFC 8445, 8839).
fn browser(at: SocketAddr, setup: &str) -> String {
    let ip = at.ip();
    let host = ip.to_string().replace('.', "");
    head(at)
        + &format!(
            "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000\r\na=ice-ufrag:u{host}\r\n\
             a=ice-pwd:pwd{host}0123456789abcdef\r\na=ice-options:trickle ice2\r\n\
             a=fingerprint:sha-256 AA:{host}\r\na=setup:{setup}\r\na=rtcp-mux\r\na=sendrecv\r\n\
             a=candidate:1 1 UDP 2130706431 {ip} 4000 typ host\r\n\
             a=candidate:2 1 UDP 1694498815 203.0.113.7 4001 typ srflx raddr {ip} rport 4000\r\n"
        )
}

/// MSRP (RFC 4975 8, with the parts of RFC 6135 and 6714).
fn msrp(at: SocketAddr, setup: &str) -> String {
    let ip = at.ip();
    let host = ip.to_string().replace('.', "");
    head(at)
        + &format!(
            "m=message 7654 TCP/MSRP *\r\na=accept-types:message/cpim text/plain\r\n\
             a=path:msrp://{ip}:7654/s{host};tcp\r\na=setup:{setup}\r\na=msrp-cema\r\n"
        )
}

/// Returns what is said of the streams, without whose session it is.
fn streams(message: &Message) -> String {
    let whole = text(message);
    let at = whole.find("c=").expect("a connection");
    whole[at..].to_owned()
}

fn said(sdp: &str) -> String {
    sdp[sdp.find("c=").unwrap()..].to_owned()
}

fn crosses_and_moves(of: fn(SocketAddr, &str) -> String) {
    let mut t = direct();
    t.alice_invites(&of(alice(), "actpass"));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(streams(&invite), said(&of(alice(), "actpass")));
    t.receive(desk(), with_sdp(answer_to(&invite), &of(desk(), "active")));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(streams(&ok), said(&of(desk(), "active")));
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.register("bob", mobile(), "mobile");
    assert_eq!(t.media, [], "nothing for the relay");

    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    let offered = text(&invite);
    for line in said(&of(alice(), "actpass")).lines() {
        let own = ["a=candidate", "a=ice-ufrag", "a=fingerprint", "a=path"];
        if own.iter().any(|own| line.starts_with(own)) {
            assert!(offered.contains(line), "{line} is not in\n{offered}");
        }
    }
    let answer = of(mobile(), "active");
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &answer),
    );
    let join = t.request_to(alice(), Method::Invite);
    let told = text(&join);
    for line in said(&answer).lines() {
        assert!(
            line.starts_with("a=setup") || told.contains(line),
            "{line} is not in\n{told}"
        );
    }
    let agreed = of(alice(), "passive");
    t.receive(
        alice(),
        with_sdp(response(&join, 200, alice(), "tcall1"), &agreed),
    );
    t.request_to(alice(), Method::Ack);
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn keys_and_candidates_of_browsers_cross_and_a_new_ones_restart_ice() {
    crosses_and_moves(browser);
}

#[test]
fn paths_of_msrp_cross_and_a_new_one_is_told_the_survivor() {
    crosses_and_moves(msrp);
}

/// Alice and Bob's desk phone talk past us.
fn talking(t: &mut Table, of: fn(SocketAddr, &str) -> String) -> (Remote, Remote) {
    t.established_with(&of(alice(), "actpass"), &of(desk(), "active"))
}

fn plain(at: SocketAddr, _: &str) -> String {
    audio(at)
}

fn again() -> SocketAddr {
    phone("203.0.113.9:5060")
}

/// Bob's desk phone is at another address, and asks for its call there.
fn comes_back(t: &mut Table, b: &Remote, offer: &str) -> Message {
    let invite = request(Method::Invite, "bob", "alice", again(), "repair")
        .header(Name::Replaces, replaces(b))
        .header(Name::Require, "replaces");
    t.receive(again(), with_sdp(invite, offer));
    assert!(t.waiting(again(), &Method::Ack).is_none());
    t.request_to(alice(), Method::Invite)
}

fn repairs(of: fn(SocketAddr, &str) -> String, lost: bool) {
    let mut t = direct();
    let (mut a, b) = talking(&mut t, of);
    if lost {
        t.bob_is_lost();
        t.discard(desk());
    }
    let ask = comes_back(&mut t, &b, &of(again(), "actpass"));
    assert_eq!(streams(&ask), said(&of(again(), "actpass")));
    t.nothing_to(again());
    let agreed = of(alice(), "passive");
    t.receive(
        alice(),
        with_sdp(response(&ask, 200, alice(), "tcall1"), &agreed),
    );
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(again(), 200);
    assert_eq!(streams(&ok), said(&agreed));
    t.receive(again(), Remote::of_answer(&ok, again()).ack(1));
    t.request_to(desk(), Method::Bye);
    t.discard(alice());
    t.receive(alice(), a.message("there you are"));
    t.request_to(again(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn the_survivor_agrees_to_where_a_phone_repairs_itself() {
    for of in [plain, browser, msrp] {
        repairs(of, false);
        repairs(of, true);
    }
}

#[test]
fn a_repair_that_the_survivor_refuses_leaves_all_as_it_was() {
    for lost in [false, true] {
        let mut t = direct();
        let (mut a, mut b) = talking(&mut t, plain);
        if lost {
            t.bob_is_lost();
            t.discard(desk());
        }
        let ask = comes_back(&mut t, &b, &audio(again()));
        t.receive(alice(), response(&ask, 488, alice(), "tcall1").end());
        t.request_to(alice(), Method::Ack);
        t.response_to(again(), 488);
        t.discard(desk());
        t.receive(desk(), b.request(Method::Info).end());
        t.request_to(alice(), Method::Info);
        t.receive(alice(), a.request(Method::Bye).end());
        t.ends_empty();
    }
}

#[test]
fn a_survivor_that_takes_no_stream_of_the_repair_has_its_own_session_again() {
    let mut t = direct();
    let (_, b) = talking(&mut t, plain);
    let ask = comes_back(&mut t, &b, &audio(again()));
    let mute = audio(alice()).replace("m=audio 4000", "m=audio 0");
    let deaf = with_sdp(response(&ask, 200, alice(), "tcall1"), &mute);
    t.receive(alice(), deaf);
    t.request_to(alice(), Method::Ack);
    t.response_to(again(), 488);
    let anew = t.request_to(alice(), Method::Invite);
    assert_eq!(streams(&anew), said(&audio(desk())));
    let ok = response(&anew, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &audio(alice())));
    t.request_to(alice(), Method::Ack);
    t.next_to(desk());
}

#[test]
fn a_repair_may_be_cancelled_or_overtaken() {
    let mut t = direct();
    let (mut a, mut b) = talking(&mut t, plain);
    let ask = comes_back(&mut t, &b, &audio(again()));
    t.receive(alice(), response(&ask, 100, alice(), "tcall1").end());
    let cancel = request(Method::Cancel, "bob", "alice", again(), "repair").end();
    let cancel = String::from_utf8(cancel.to_vec()).unwrap();
    let cancel = cancel.replacen("repairCANCEL", "repairINVITE", 1);
    t.receive(again(), cancel.into());
    t.response_to(again(), 200);
    t.response_to(again(), 487);
    t.request_to(alice(), Method::Cancel);
    t.receive(alice(), response(&ask, 487, alice(), "tcall1").end());
    t.discard(alice());
    t.discard(desk());
    // Once more; meanwhile it finds that its old dialog does after all.
    let ask = request(Method::Invite, "bob", "alice", again(), "repair2")
        .header(Name::Replaces, replaces(&b));
    t.receive(again(), with_sdp(ask, &audio(again())));
    t.request_to(alice(), Method::Invite);
    t.receive(desk(), b.request(Method::Info).end());
    t.response_to(again(), 481);
    t.discard(alice());
    t.discard(desk());
    t.receive(alice(), a.message("still there?"));
    t.request_to(desk(), Method::Message);
}

/// An INVITE with Replaces goes to the worker that has the dialog, whatever its Call-ID; its CANCEL names no dialog.
#[test]
fn a_repair_is_cancelled_whichever_worker_has_its_call_id() {
    for number in 0..8 {
        let mut t = Table::of_two_workers(past_us());
        t.register("bob", desk(), "desk");
        let (_, b) = talking(&mut t, plain);
        let repair = request(
            Method::Invite,
            "bob",
            "alice",
            again(),
            &format!("{number}"),
        );
        let repair = with_sdp(repair.header(Name::Replaces, replaces(&b)), &audio(again()));
        t.receive(again(), repair.clone());
        let ask = t.request_to(alice(), Method::Invite);
        t.receive(alice(), response(&ask, 100, alice(), "tcall1").end());
        t.receive(again(), cancel_of(&repair));
        t.response_to(again(), 200);
        t.response_to(again(), 487);
        t.request_to(alice(), Method::Cancel);
    }
}

#[test]
fn a_survivor_that_never_agrees_keeps_the_old_dialog() {
    let mut t = direct();
    let (_, b) = talking(&mut t, plain);
    let ask = comes_back(&mut t, &b, &audio(again()));
    for _ in 0..20 {
        t.receive(alice(), response(&ask, 491, alice(), "tcall1").end());
        t.pass(Millis(2_000));
        if let Some(ask) = t.waiting(alice(), &Method::Invite) {
            t.receive(alice(), response(&ask, 491, alice(), "tcall1").end());
        }
    }
    t.pass(Millis(100));
    t.response_to(again(), 500);
    // Whether it lives is asked, in the old dialog.
    t.next_to(desk());
    assert_eq!(
        t.happened(|what| matches!(
            what,
            Happening::Lost {
                side: Side::Callee,
                ..
            }
        )),
        0
    );
}

#[test]
fn a_repair_without_an_offer_is_refused_where_the_survivor_must_know_the_session() {
    let mut t = direct();
    let (_, b) = talking(&mut t, plain);
    let invite = request(Method::Invite, "bob", "alice", again(), "repair")
        .header(Name::Replaces, replaces(&b));
    t.receive(again(), invite.end());
    t.response_to(again(), 488);
    t.nothing_to(alice());
    t.nothing_to(desk());
}

#[test]
fn a_repair_with_no_stream_to_agree_to_disturbs_nobody() {
    for offer in [
        "v=0\r\nnonsense\r\n".to_owned(),
        head(again()),
        audio(again()).replace("m=audio 4000", "m=audio 0"),
    ] {
        for lost in [false, true] {
            let mut t = direct();
            let (_, b) = talking(&mut t, plain);
            if lost {
                t.bob_is_lost();
                t.discard(desk());
            }
            let invite = request(Method::Invite, "bob", "alice", again(), "repair")
                .header(Name::Replaces, replaces(&b));
            t.receive(again(), with_sdp(invite, &offer));
            t.response_to(again(), 488);
            t.nothing_to(alice());
            t.nothing_to(desk());
        }
    }
}

#[test]
fn a_survivor_that_agrees_to_what_was_taken_back_has_its_own_session_again() {
    for cancelled in [true, false] {
        let mut t = direct();
        let (_, mut b) = talking(&mut t, plain);
        let ask = comes_back(&mut t, &b, &audio(again()));
        if cancelled {
            let cancel = request(Method::Cancel, "bob", "alice", again(), "repair").end();
            let cancel = String::from_utf8(cancel.to_vec()).unwrap();
            let cancel = cancel.replacen("repairCANCEL", "repairINVITE", 1);
            t.receive(again(), cancel.into());
            t.response_to(again(), 200);
            t.response_to(again(), 487);
        } else {
            t.receive(desk(), b.request(Method::Info).end());
            t.response_to(again(), 481);
        }
        t.discard(alice());
        let ok = response(&ask, 200, alice(), "tcall1");
        t.receive(alice(), with_sdp(ok, &audio(alice())));
        t.request_to(alice(), Method::Ack);
        let anew = t.request_to(alice(), Method::Invite);
        assert_eq!(streams(&anew), said(&audio(desk())));
    }
}

#[test]
fn who_takes_leave_while_it_is_asked_for_is_not_rung_again() {
    for lost in [false, true] {
        let mut t = direct();
        let (_, mut b) = talking(&mut t, plain);
        if lost {
            t.bob_is_lost();
            t.discard(desk());
        }
        let ask = comes_back(&mut t, &b, &audio(again()));
        t.hangs_up(&mut b);
        t.nothing_to(alice());
        t.receive(alice(), response(&ask, 488, alice(), "tcall1").end());
        t.request_to(alice(), Method::Ack);
        t.response_to(again(), 488);
        let bye = t.request_to(alice(), Method::Bye);
        t.reply(&bye, 200, alice());
        t.nothing_to(desk());
        t.ends_empty();
    }
}

#[test]
fn after_a_restart_whoever_may_have_agreed_is_told_what_stands() {
    for lost in [false, true] {
        let mut t = direct();
        let (mut a, b) = talking(&mut t, plain);
        if lost {
            t.bob_is_lost();
            t.discard(desk());
        }
        comes_back(&mut t, &b, &audio(again()));
        // Something is stored while it waits.
        t.receive(alice(), a.message("hello?"));
        t.discard(alice());
        // Her 200 comes to nobody.
        t.restart();
        let anew = t.request_to(alice(), Method::Invite);
        assert_eq!(streams(&anew), said(&audio(desk())));
        let ok = response(&anew, 200, alice(), "tcall1");
        t.receive(alice(), with_sdp(ok, &audio(alice())));
        t.request_to(alice(), Method::Ack);
        if !lost {
            t.request_to(desk(), Method::Message);
        }
        t.nothing_to(again());
    }
}

#[test]
fn beside_relayed_sound_a_new_path_is_told_the_survivor() {
    let with_path = |at: SocketAddr| {
        let whole = msrp(at, "actpass");
        audio(at) + &whole[whole.find("m=").unwrap()..]
    };
    let relayed = |message: &Message| {
        let sound = ports(message)[0];
        assert!(sound > 0 && sound != 4000, "{}", text(message));
    };
    for lost in [false, true] {
        let mut t = Table::new(settings());
        let (_, b) = t.established_with(&with_path(alice()), &with_path(desk()));
        if lost {
            t.bob_is_lost();
            t.discard(desk());
        }
        let before = t.media.len();
        let ask = comes_back(&mut t, &b, &with_path(again()));
        assert!(
            text(&ask).contains("a=path:msrp://203.0.113.9:7654/"),
            "{}",
            text(&ask)
        );
        relayed(&ask);
        // Who stands talks on meanwhile.
        let lost = |command: &MediaCommand| matches!(command, MediaCommand::Lost { .. });
        assert!(!t.media[before..].iter().any(lost));
        let ok = response(&ask, 200, alice(), "tcall1");
        t.receive(alice(), with_sdp(ok, &with_path(alice())));
        let ok = t.response_to(again(), 200);
        assert!(
            text(&ok).contains("a=path:msrp://198.51.100.1:7654/"),
            "{}",
            text(&ok)
        );
        relayed(&ok);
        for side in [Side::Caller, Side::Callee] {
            assert!(told(&t, side, 0)[0].active, "{side:?}");
        }
    }
}

#[test]
fn a_pickup_tells_each_of_the_two_where_the_other_is() {
    // What is offered to whom, and whether Bob's phone has sent the caller its session before.
    for (early, offered, status) in [
        (false, audio(alice()), 200),
        (true, audio(alice()), 488),
        (false, browser(alice(), "actpass"), 488),
    ] {
        let mut t = direct();
        t.alice_invites(&offered);
        let invite = t.request_to(desk(), Method::Invite);
        let ringing = response(&invite, 180, desk(), "b1");
        let ringing = match early {
            true => with_sdp(ringing, &audio(desk())),
            false => ringing.end(),
        };
        t.receive(desk(), ringing);
        t.response_to(alice(), 180);
        let dialog = format!(
            "{};to-tag={};from-tag=b1",
            invite.call_id(),
            invite.from_tag().unwrap()
        );
        let at = again();
        let wish =
            request(Method::Invite, "bob", "alice", at, "pickup").header(Name::Replaces, dialog);
        t.receive(at, with_sdp(wish, &audio(at)));
        let taken = t.response_to(at, status);
        if status != 200 {
            t.nothing_to(alice());
            continue;
        }
        assert!(
            text(&taken).contains("c=IN IP4 198.51.100.1"),
            "{}",
            text(&taken)
        );
        let ok = t.response_to(alice(), 200);
        assert!(text(&ok).contains("c=IN IP4 203.0.113.9"), "{}", text(&ok));
    }
}

#[test]
fn beside_relayed_sound_msrp_goes_its_own_way() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let line = |at: SocketAddr| {
        let whole = msrp(at, "actpass");
        whole[whole.find("m=").unwrap()..].to_owned()
    };
    t.alice_invites(&(audio(alice()) + &line(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    let offered = text(&invite);
    assert!(offered.contains("a=path:msrp://198.51.100.1:7654/s198511001;tcp\r\n"));
    assert!(offered.contains("m=message 7654 TCP/MSRP *\r\n"));
    assert!(!offered.contains("m=audio 4000"), "{offered}");
    // Where CEMA (RFC 6714) would go: to the endpoint too, not to us.
    let (sound, messages) = offered.split_once("m=message").unwrap();
    assert!(sound.contains("c=IN IP4 192.0.2.1\r\n"), "{offered}");
    assert!(messages.contains("c=IN IP4 198.51.100.1\r\n"), "{offered}");
}

#[test]
fn a_restart_after_a_repair_was_taken_back_leaves_the_survivor_its_session() {
    let mut t = direct();
    let (_, b) = talking(&mut t, plain);
    let ask = comes_back(&mut t, &b, &audio(again()));
    t.receive(alice(), response(&ask, 100, alice(), "tcall1").end());
    let cancel = request(Method::Cancel, "bob", "alice", again(), "repair").end();
    let cancel = String::from_utf8(cancel.to_vec()).unwrap();
    let cancel = cancel.replacen("repairCANCEL", "repairINVITE", 1);
    t.receive(again(), cancel.into());
    t.request_to(alice(), Method::Cancel);
    // Her 200 has crossed it, and comes to a process that is no more.
    t.restart();
    let anew = t.request_to(alice(), Method::Invite);
    assert_eq!(streams(&anew), said(&audio(desk())));
    let ok = response(&anew, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &audio(alice())));
    t.request_to(alice(), Method::Ack);
    t.nothing_to(alice());
}

#[test]
fn who_has_refused_what_was_taken_back_is_told_nothing_after_a_restart() {
    let mut t = direct();
    let (mut a, b) = talking(&mut t, plain);
    let ask = comes_back(&mut t, &b, &audio(again()));
    t.receive(alice(), response(&ask, 100, alice(), "tcall1").end());
    let cancel = request(Method::Cancel, "bob", "alice", again(), "repair").end();
    let cancel = String::from_utf8(cancel.to_vec()).unwrap();
    let cancel = cancel.replacen("repairCANCEL", "repairINVITE", 1);
    t.receive(again(), cancel.into());
    t.discard(alice());
    t.receive(alice(), response(&ask, 487, alice(), "tcall1").end());
    t.request_to(alice(), Method::Ack);
    // What is written is stored.
    t.receive(alice(), a.message("hello?"));
    t.discard(alice());
    t.restart();
    assert!(t.waiting(alice(), &Method::Invite).is_none());
}

/// The mobile rings for Bob once more, and Dave asks for the call. Returns his INVITE and what Alice is asked.
fn dave_asks_for_it(t: &mut Table) -> (bytes::Bytes, Message) {
    talking(t, plain);
    t.register("bob", mobile(), "mobile");
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    let rings = t.request_to(mobile(), Method::Invite);
    t.discard(mobile());
    t.reply(&rings, 180, mobile());
    let tag = rings.from_tag().unwrap();
    let dialog = format!("{};to-tag={tag};from-tag=x1", rings.call_id());
    let wish = request(Method::Invite, "dave", "alice", again(), "pickup");
    let wish = with_sdp(wish.header(Name::Replaces, dialog), &audio(again()));
    t.receive(again(), wish.clone());
    let asked = t.request_to(alice(), Method::Invite);
    assert_eq!(streams(&asked), said(&audio(again())));
    t.nothing_to(again());
    (wish, asked)
}

#[test]
fn who_picks_up_a_call_that_rings_again_is_answered_once_the_survivor_has_agreed() {
    let mut t = direct();
    let (_, asked) = dave_asks_for_it(&mut t);
    t.nothing_to(mobile());
    let ok = response(&asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &audio(alice())));
    t.request_to(alice(), Method::Ack);
    let taken = t.response_to(again(), 200);
    assert_eq!(streams(&taken), said(&audio(alice())));
    t.receive(again(), Remote::of_answer(&taken, again()).ack(1));
    t.request_to(mobile(), Method::Cancel);
    let word = t.request_to(alice(), Method::Message);
    assert!(text(&word).starts_with("dave"), "{}", text(&word));
}

#[test]
fn a_pickup_to_which_the_survivor_does_not_agree_lets_the_phone_ring_on() {
    let mut t = direct();
    let (_, asked) = dave_asks_for_it(&mut t);
    t.reply(&asked, 488, alice());
    t.request_to(alice(), Method::Ack);
    t.response_to(again(), 488);
    t.nothing_to(mobile());
    t.nothing_to(again());
    t.nothing_to(alice());
}

#[test]
fn a_pickup_may_be_taken_back_while_the_survivor_is_asked() {
    let mut t = direct();
    let (wish, asked) = dave_asks_for_it(&mut t);
    t.receive(alice(), response(&asked, 100, alice(), "tcall1").end());
    t.receive(again(), cancel_of(&wish));
    t.response_to(again(), 200);
    t.response_to(again(), 487);
    t.request_to(alice(), Method::Cancel);
    t.receive(alice(), response(&asked, 487, alice(), "tcall1").end());
    t.request_to(alice(), Method::Ack);
    t.nothing_to(mobile());
    t.nothing_to(again());
}

/// Media goes between the phones, and nothing of it in the clear.
fn only_secure() -> Table {
    let mut t = Table::new(Settings {
        media: MediaSettings {
            mode: MediaMode::Direct,
            srtp: Srtp::Required,
            ..MediaSettings::default()
        },
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t
}

fn keyed(at: SocketAddr, _: &str) -> String {
    secure(at, &[line(1, S80, 1)])
}

#[test]
fn an_offer_in_the_clear_is_refused_where_srtp_is_required() {
    for (offer, refused) in [
        (audio(alice()), true),
        (secure(alice(), &[line(1, S80, 1)]), false),
        (browser(alice(), "actpass"), false),
        (msrp(alice(), "actpass"), false),
    ] {
        let mut t = only_secure();
        t.alice_invites(&offer);
        if refused {
            t.response_to(alice(), 488);
            t.nothing_to(desk());
        } else {
            let invite = t.request_to(desk(), Method::Invite);
            assert_eq!(streams(&invite), said(&offer));
        }
    }
}

#[test]
fn an_answer_in_the_clear_is_no_call_where_srtp_is_required() {
    let mut t = only_secure();
    t.alice_invites(&keyed(alice(), ""));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    t.request_to(desk(), Method::Bye);
    t.response_to(alice(), 488);
    t.nothing_to(desk());
}

#[test]
fn one_stream_in_the_clear_does_not_cross_where_srtp_is_required() {
    let mut t = only_secure();
    let video = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    t.alice_invites(&(keyed(alice(), "") + video));
    let told = text(&t.request_to(desk(), Method::Invite));
    assert!(told.contains("m=audio 4000 RTP/SAVP"), "{told}");
    assert!(told.contains("m=video 0 RTP/AVP"), "{told}");
}

#[test]
fn what_stands_stays_encrypted_where_srtp_is_required() {
    let mut t = only_secure();
    let (mut a, mut b) = talking(&mut t, keyed);
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &audio(alice())),
    );
    t.response_to(alice(), 488);
    t.nothing_to(desk());
    // Nor by an answer.
    let moved = keyed(desk(), "").replace("4000", "4010");
    t.receive(desk(), with_sdp(b.request(Method::Invite), &moved));
    let ask = t.request_to(alice(), Method::Invite);
    t.receive(
        alice(),
        with_sdp(response(&ask, 200, alice(), "tcall1"), &audio(alice())),
    );
    let ok = text(&t.response_to(desk(), 200));
    assert!(ok.contains("m=audio 0 "), "{ok}");

    // Nor where a phone that is found again says so.
    let mut t = only_secure();
    talking(&mut t, keyed);
    t.register("bob", mobile(), "mobile");
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    t.request_to(mobile(), Method::Bye);
    t.nothing_to(alice());
}
