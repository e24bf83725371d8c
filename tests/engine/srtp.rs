//! SRTP with keys in the session description (RFC 4568): each leg has its own.

use std::net::SocketAddr;

use refork::engine::events::Event;
use refork::engine::ids::Side;
use refork::engine::ports::{Inside, SrtpKeys};
use refork::engine::settings::{Settings, Srtp};
use refork::sip::sdp::{Crypto, MasterKey, Sdp, Suite};
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;
use crate::video::told;

pub const S80: Suite = Suite::AesCm128HmacSha1_80;
const S32: Suite = Suite::AesCm128HmacSha1_32;

/// A line of a phone, whose key is so many times the same octet.
pub fn line(tag: u32, suite: Suite, octet: u8) -> Crypto {
    let key = MasterKey::fresh(suite, |octets| octets.fill(octet));
    Crypto { tag, key }
}

/// What a phone says that speaks SRTP alone.
pub fn secure(at: SocketAddr, lines: &[Crypto]) -> String {
    with_lines(&audio(at).replace("RTP/AVP", "RTP/SAVP"), lines)
}

pub fn with_lines(sdp: &str, lines: &[Crypto]) -> String {
    let lines = lines
        .iter()
        .map(|line| format!("a=crypto:{}\r\n", line.write()));
    sdp.to_owned() + &lines.collect::<String>()
}

/// Returns the profile and our lines of the stream.
pub fn offered(message: &Message) -> (String, Vec<Crypto>) {
    stream(message, 0)
}

fn stream(message: &Message, at: usize) -> (String, Vec<Crypto>) {
    let sdp = Sdp::parse(message.body()).unwrap();
    let media = &sdp.media()[at];
    (media.proto.to_owned(), media.crypto())
}

/// Returns the keys of a side's sound as the relay was told last.
pub fn keys(t: &Table, side: Side, generation: u32) -> Option<SrtpKeys> {
    let stream = told(t, side, generation).swap_remove(0);
    assert!(stream.active && stream.inside == Inside::Rtp);
    stream.srtp.map(|keys| *keys)
}

pub fn pair(ours: &Crypto, theirs: &Crypto) -> Option<SrtpKeys> {
    Some(SrtpKeys {
        ours: ours.key.clone(),
        theirs: theirs.key.clone(),
    })
}

pub fn with(srtp: Srtp) -> Settings {
    let mut settings = settings();
    settings.media.srtp = srtp;
    settings
}

/// Alice and Bob's desk phone talk over SRTP. Returns Alice's dialog, the 200 to her, and what Bob got.
pub fn both_secure(t: &mut Table) -> (Remote, Message, Message) {
    t.register("bob", desk(), "desk");
    t.alice_invites(&secure(alice(), &[line(4, S80, 1)]));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &secure(desk(), &[line(1, S80, 2)])),
    );
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let dialog = Remote::of_answer(&ok, alice());
    t.receive(alice(), dialog.ack(1));
    (dialog, ok, invite)
}

#[test]
fn each_leg_has_keys_of_its_own() {
    let mut t = Table::new(settings());
    let (_, ok, invite) = both_secure(&mut t);
    let (profile, to_bob) = offered(&invite);
    assert_eq!(profile, "RTP/SAVP");
    // Her suite first, and the one that phones have besides; keys of ours.
    assert_eq!(
        to_bob
            .iter()
            .map(|line| (line.tag, line.key.suite()))
            .collect::<Vec<_>>(),
        [(1, S80), (2, S32)]
    );
    let (profile, to_alice) = offered(&ok);
    assert_eq!(profile, "RTP/SAVP");
    let [to_alice] = &to_alice[..] else {
        panic!("one line answers: {to_alice:?}");
    };
    assert_eq!((to_alice.tag, to_alice.key.suite()), (4, S80));
    assert_ne!(to_alice.key, to_bob[0].key);
    assert_eq!(keys(&t, Side::Caller, 0), pair(to_alice, &line(4, S80, 1)));
    assert_eq!(
        keys(&t, Side::Callee, 0),
        pair(&to_bob[0], &line(1, S80, 2))
    );
    // Nothing of either phone's keys crosses.
    let theirs = line(4, S80, 1).write();
    assert!(!text(&invite).contains(theirs.split("inline:").nth(1).unwrap()));
    let clear = |event: &&Event| matches!(event, Event::Keyed { clear: true });
    assert_eq!(t.events.iter().filter(clear).count(), 2, "once a leg");
}

#[test]
fn a_new_phone_has_new_keys_and_the_survivor_learns_nothing() {
    for answer in [
        secure(mobile(), &[line(2, S32, 3)]),
        secure(mobile(), &[line(1, S80, 3)]),
    ] {
        let mut t = Table::new(settings());
        let (_, _, first) = both_secure(&mut t);
        let before = keys(&t, Side::Caller, 0);
        t.bob_is_lost();
        t.register("bob", mobile(), "mobile");
        let again = t.request_to(mobile(), Method::Invite);
        let (profile, lines) = offered(&again);
        assert_eq!(profile, "RTP/SAVP");
        assert!(
            offered(&first)
                .1
                .iter()
                .all(|old| lines.iter().all(|new| new.key != old.key))
        );
        t.receive(
            mobile(),
            with_sdp(response(&again, 200, mobile(), "m1"), &answer),
        );
        t.request_to(mobile(), Method::Ack);
        let theirs = Sdp::parse(answer.as_bytes()).unwrap().media()[0]
            .crypto()
            .remove(0);
        let ours = lines.iter().find(|line| line.tag == theirs.tag).unwrap();
        assert_eq!(keys(&t, Side::Callee, 1), pair(ours, &theirs));
        assert_eq!(keys(&t, Side::Caller, 0), before);
        t.request_to(alice(), Method::Message);
        t.nothing_to(alice());
    }
}

#[test]
fn a_secure_survivor_goes_on_with_a_phone_that_has_no_srtp() {
    let mut t = Table::new(settings());
    both_secure(&mut t);
    let before = keys(&t, Side::Caller, 0);
    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    let again = t.request_to(mobile(), Method::Invite);
    assert_eq!(offered(&again).0, "RTP/SAVP");
    t.reply(&again, 488, mobile());
    t.request_to(mobile(), Method::Ack);
    let plain = t.request_to(mobile(), Method::Invite);
    assert_eq!(offered(&plain), ("RTP/AVP".to_owned(), Vec::new()));
    t.receive(
        mobile(),
        with_sdp(response(&plain, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    assert_eq!(keys(&t, Side::Callee, 1), None);
    assert_eq!(keys(&t, Side::Caller, 0), before);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());

    // Lost again, it is asked the same way as last time, at once.
    t.bob_is_lost();
    let third = t.request_to(mobile(), Method::Invite);
    assert_eq!(offered(&third).0, "RTP/AVP");
}

#[test]
fn a_secure_phone_and_a_plain_one_are_joined() {
    // What Alice offers, what Bob refuses, what he takes.
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&secure(alice(), &[line(1, S32, 1)]));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 488, desk());
    t.request_to(desk(), Method::Ack);
    let plain = t.request_to(desk(), Method::Invite);
    assert_ne!(plain.call_id(), invite.call_id());
    assert_eq!(offered(&plain), ("RTP/AVP".to_owned(), Vec::new()));
    t.receive(desk(), with_sdp(answer_to(&plain), &audio(desk())));
    let ok = t.response_to(alice(), 200);
    let (profile, lines) = offered(&ok);
    assert_eq!((profile.as_str(), lines.len()), ("RTP/SAVP", 1));
    assert_eq!(keys(&t, Side::Caller, 0), pair(&lines[0], &line(1, S32, 1)));
    assert_eq!(keys(&t, Side::Callee, 0), None);

    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(offered(&invite), ("RTP/AVP".to_owned(), Vec::new()));
    t.reply(&invite, 488, desk());
    t.request_to(desk(), Method::Ack);
    let asked = t.request_to(desk(), Method::Invite);
    let (profile, lines) = offered(&asked);
    assert_eq!((profile.as_str(), lines.len()), ("RTP/SAVP", 2));
    let theirs = line(2, S32, 9);
    let answer = secure(desk(), std::slice::from_ref(&theirs));
    t.receive(desk(), with_sdp(answer_to(&asked), &answer));
    let ok = t.response_to(alice(), 200);
    assert_eq!(offered(&ok), ("RTP/AVP".to_owned(), Vec::new()));
    assert_eq!(keys(&t, Side::Caller, 0), None);
    assert_eq!(keys(&t, Side::Callee, 0), pair(&lines[1], &theirs));
}

#[test]
fn who_refuses_both_ways_has_refused() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    for _ in 0..2 {
        let invite = t.request_to(desk(), Method::Invite);
        t.reply(&invite, 488, desk());
        t.request_to(desk(), Method::Ack);
    }
    t.response_to(alice(), 488);
    t.nothing_to(desk());
}

#[test]
fn a_phone_that_takes_the_call_without_keys_is_asked_for_a_plain_one() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&secure(alice(), &[line(1, S80, 1)]));
    let invite = t.request_to(desk(), Method::Invite);
    let keyless = secure(desk(), &[]);
    t.receive(desk(), with_sdp(answer_to(&invite), &keyless));
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.call_id(), invite.call_id());
    t.reply(&bye, 200, desk());
    let plain = t.request_to(desk(), Method::Invite);
    assert_eq!(offered(&plain).0, "RTP/AVP");
    // Under another tag than any of ours it is no better.
    t.receive(desk(), with_sdp(answer_to(&plain), &audio(desk())));
    t.response_to(alice(), 200);
}

/// Alice's phone would have SRTP, Bob's leaves its keys out: a call at the first try, hers encrypted and his not.
#[test]
fn who_leaves_out_the_keys_that_are_offered_has_the_call_in_the_clear() {
    let at_pleasure = with_lines(&audio(alice()), &[line(3, S80, 1)]);
    let demanded = secure(alice(), &[line(3, S80, 1)]);
    for offer in [at_pleasure, demanded] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        t.alice_invites(&offer);
        let invite = t.request_to(desk(), Method::Invite);
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        let hers = offered(&ok).1;
        assert_eq!(hers.len(), 1);
        assert_eq!(keys(&t, Side::Caller, 0), pair(&hers[0], &line(3, S80, 1)));
        assert_eq!(keys(&t, Side::Callee, 0), None);
        t.nothing_to(desk());
        let mut a = Remote::of_answer(&ok, alice());
        t.receive(alice(), a.ack(1));

        // A hold finds it so.
        let held = offer.replace("sendrecv", "sendonly");
        t.receive(alice(), with_sdp(a.request(Method::Invite), &held));
        let hold = t.request_to(desk(), Method::Invite);
        assert_eq!(offered(&hold), ("RTP/AVP".to_owned(), Vec::new()));
        let answer = audio(desk()).replace("sendrecv", "recvonly");
        t.receive(
            desk(),
            with_sdp(response(&hold, 200, desk(), "b1"), &answer),
        );
        let ok = t.response_to(alice(), 200);
        assert_eq!(offered(&ok).1, hers);
        t.receive(alice(), a.ack(2));
        t.discard(desk());

        // Lost, it is asked for what it had.
        t.bob_is_lost();
        let again = t.request_to(desk(), Method::Invite);
        assert_eq!(offered(&again), ("RTP/AVP".to_owned(), Vec::new()));
    }
}

#[test]
fn who_has_srtp_alone_and_refuses_keys_at_pleasure_is_asked_for_it() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&with_lines(&audio(alice()), &[line(3, S80, 1)]));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(offered(&invite).0, "RTP/AVP");
    t.reply(&invite, 488, desk());
    t.request_to(desk(), Method::Ack);
    let again = t.request_to(desk(), Method::Invite);
    assert_eq!(offered(&again).0, "RTP/SAVP");
}

#[test]
fn keys_cannot_be_left_out_where_srtp_is_required() {
    let mut t = Table::new(with(Srtp::Required));
    t.register("bob", desk(), "desk");
    t.alice_invites(&with_lines(&audio(alice()), &[line(3, S80, 1)]));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(offered(&invite).0, "RTP/SAVP");
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    t.request_to(desk(), Method::Bye);
    t.response_to(alice(), 488);
}

#[test]
fn what_the_policy_does_not_allow_is_refused_at_once() {
    let unknown = secure(alice(), &[]) + "a=crypto:1 F8_128_HMAC_SHA1_80 inline:abc\r\n";
    let known = secure(alice(), &[line(1, S80, 1)]);
    let plain = audio(alice());
    let optional = with_lines(&plain, &[line(1, S80, 1)]);
    for (srtp, offer, refused) in [
        (Srtp::Off, &known, true),
        (Srtp::Off, &plain, false),
        (Srtp::Off, &optional, false),
        (Srtp::Optional, &known, false),
        (Srtp::Optional, &unknown, true),
        (Srtp::Optional, &plain, false),
        (Srtp::Required, &known, false),
        (Srtp::Required, &unknown, true),
        (Srtp::Required, &plain, true),
        (Srtp::Required, &optional, false),
        (Srtp::Required, &text_sdp(alice()), false),
    ] {
        let mut t = Table::new(with(srtp));
        t.register("bob", desk(), "desk");
        t.alice_invites(offer);
        if refused {
            t.response_to(alice(), 488);
            t.nothing_to(desk());
            continue;
        }
        let invite = t.request_to(desk(), Method::Invite);
        let (profile, lines) = offered(&invite);
        let keyed = srtp != Srtp::Off && offer.contains("crypto");
        assert_eq!(lines.is_empty(), !keyed, "{srtp:?} {offer}");
        let bound = keyed && (srtp == Srtp::Required || *offer == known);
        assert_eq!(profile == "RTP/SAVP", bound, "{srtp:?} {offer}");
        if srtp != Srtp::Optional {
            // Nor is anybody asked the other way.
            t.reply(&invite, 488, desk());
            t.request_to(desk(), Method::Ack);
            t.nothing_to(desk());
        }
    }
}

#[test]
fn srtp_that_is_offered_at_pleasure_is_taken() {
    // Under the plain profile, as many phones write it.
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let hers = line(3, S80, 1);
    t.alice_invites(&with_lines(&audio(alice()), std::slice::from_ref(&hers)));
    let invite = t.request_to(desk(), Method::Invite);
    let (profile, to_bob) = offered(&invite);
    assert_eq!((profile.as_str(), to_bob.len()), ("RTP/AVP", 2));
    let his = line(1, S80, 2);
    let answer = with_lines(&audio(desk()), std::slice::from_ref(&his));
    t.receive(desk(), with_sdp(answer_to(&invite), &answer));
    let ok = t.response_to(alice(), 200);
    let (profile, lines) = offered(&ok);
    assert_eq!((profile.as_str(), lines[0].tag), ("RTP/AVP", 3));
    assert_eq!(keys(&t, Side::Caller, 0), pair(&lines[0], &hers));
    assert_eq!(keys(&t, Side::Callee, 0), pair(&to_bob[0], &his));

    // As a second section: the secure one is taken, wherever it stands.
    let section = |profile: &str, lines: &[Crypto]| {
        let body = audio(alice());
        let from = body.find("m=audio").unwrap();
        with_lines(&body[from..].replace("RTP/AVP", profile), lines)
    };
    let head = audio(alice());
    let head = &head[..head.find("m=audio").unwrap()];
    for first in [true, false] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let (one, other) = (
            section("RTP/SAVP", &[line(1, S80, 1)]),
            section("RTP/AVP", &[]),
        );
        let offer = if first {
            format!("{head}{one}{other}")
        } else {
            format!("{head}{other}{one}")
        };
        t.alice_invites(&offer);
        let invite = t.request_to(desk(), Method::Invite);
        let sdp = Sdp::parse(invite.body()).unwrap();
        let used: Vec<(bool, bool)> = sdp
            .media()
            .iter()
            .map(|media| (media.port != 0, !media.crypto().is_empty()))
            .collect();
        let expected = if first {
            [(true, true), (false, false)]
        } else {
            [(false, false), (true, true)]
        };
        assert_eq!(used, expected);
    }
}

#[test]
fn a_hold_keeps_the_keys_and_a_new_key_is_no_matter_of_the_other_side() {
    let mut t = Table::new(settings());
    let (mut a, ok, invite) = both_secure(&mut t);
    let (before, bobs) = (keys(&t, Side::Caller, 0), keys(&t, Side::Callee, 0));
    for (version, octet) in [(2, 1), (3, 7)] {
        let hers = line(4, S80, octet);
        let hold = secure(alice(), std::slice::from_ref(&hers)).replace("sendrecv", "sendonly");
        let hold = hold.replace("o=- 7 1 ", &format!("o=- 7 {version} "));
        t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
        if version == 2 {
            let across = t.request_to(desk(), Method::Invite);
            let (profile, lines) = offered(&across);
            assert_eq!(profile, "RTP/SAVP");
            assert_eq!(
                lines,
                offered(&invite).1[..1],
                "the line that was chosen, alone"
            );
            let answer = secure(desk(), &[line(1, S80, 2)]).replace("sendrecv", "recvonly");
            t.receive(
                desk(),
                with_sdp(response(&across, 200, desk(), "b1"), &answer),
            );
            t.request_to(desk(), Method::Ack);
        }
        t.nothing_to(desk());
        let held = t.response_to(alice(), 200);
        t.receive(alice(), a.ack(a.cseq));
        assert_eq!(offered(&held), offered(&ok));
        assert_eq!(keys(&t, Side::Callee, 0), bobs);
        let now = keys(&t, Side::Caller, 0);
        assert_eq!(now, pair(&offered(&ok).1[0], &hers));
        assert_eq!(now == before, octet == 1);
    }
}

#[test]
fn a_keep_alive_is_answered_with_the_line_that_was_chosen() {
    let mut t = Table::new(settings());
    let (_, _, invite) = both_secure(&mut t);
    let bobs = keys(&t, Side::Callee, 0);
    // Bob was offered two lines. He says what he said, as his session timer has him do.
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    let again = secure(desk(), &[line(1, S80, 2)]);
    for _ in 0..2 {
        t.receive(desk(), with_sdp(b.request(Method::Invite), &again));
        let ok = t.response_to(desk(), 200);
        t.receive(desk(), b.ack(b.cseq));
        let (profile, lines) = offered(&ok);
        assert_eq!(
            (profile.as_str(), lines.len(), lines[0].tag),
            ("RTP/SAVP", 1, 1)
        );
        assert_eq!(lines[0].key, bobs.as_ref().unwrap().ours);
        assert_eq!(keys(&t, Side::Callee, 0), bobs);
        t.nothing_to(alice());
    }
}

#[test]
fn who_holds_while_the_other_is_lost_is_answered_under_the_keys_that_stand() {
    let mut t = Table::new(settings());
    let (mut a, ok, _) = both_secure(&mut t);
    t.bob_is_lost();
    t.discard(desk());
    // With its key under another tag, and a suite before it that does not run.
    let lines = [line(1, S32, 5), line(9, S80, 6)];
    let hold = secure(alice(), &lines).replace("sendrecv", "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    let held = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(a.cseq));
    let (_, answer) = offered(&held);
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].tag, 9);
    assert_eq!(answer[0].key, offered(&ok).1[0].key);
    assert_eq!(keys(&t, Side::Caller, 0), pair(&answer[0], &lines[1]));
    // What nobody can go with changes nothing.
    let nonsense = secure(alice(), &[]) + "a=crypto:1 NONE inline:x\r\n";
    t.receive(alice(), with_sdp(a.request(Method::Invite), &nonsense));
    t.response_to(alice(), 488);
}

#[test]
fn keys_outlive_the_process() {
    let mut t = Table::new(settings());
    let (mut a, ok, _) = both_secure(&mut t);
    let before = [keys(&t, Side::Caller, 0), keys(&t, Side::Callee, 0)];
    t.media.clear();
    t.restart();
    assert_eq!(
        [keys(&t, Side::Caller, 0), keys(&t, Side::Callee, 0)],
        before
    );
    // And through a restart while the other side is sought.
    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    let invite = t.request_to(mobile(), Method::Invite);
    t.media.clear();
    t.restart();
    let again = t.request_to(mobile(), Method::Invite);
    assert_eq!(invite.bytes(), again.bytes());
    let his = line(1, S80, 8);
    let answer = secure(mobile(), std::slice::from_ref(&his));
    t.receive(
        mobile(),
        with_sdp(response(&again, 200, mobile(), "m1"), &answer),
    );
    assert_eq!(
        keys(&t, Side::Callee, 1),
        pair(&offered(&invite).1[0], &his)
    );
    assert_eq!(keys(&t, Side::Caller, 0), before[0]);
    let hold = secure(alice(), &[line(4, S80, 1)]).replace("sendrecv", "sendonly");
    t.request_to(alice(), Method::Message);
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    t.request_to(mobile(), Method::Ack);
    let across = t.request_to(mobile(), Method::Invite);
    let answer = answer.replace("sendrecv", "recvonly");
    t.receive(
        mobile(),
        with_sdp(response(&across, 200, mobile(), "m1"), &answer),
    );
    assert_eq!(offered(&t.response_to(alice(), 200)), offered(&ok));
}

#[test]
fn an_offer_that_comes_in_the_answer_has_keys_too() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1").end();
    t.receive(alice(), invite);
    let invite = t.request_to(desk(), Method::Invite);
    let his = [line(1, S32, 2), line(2, S80, 3)];
    t.receive(desk(), with_sdp(answer_to(&invite), &secure(desk(), &his)));
    let ok = t.response_to(alice(), 200);
    let (profile, to_alice) = offered(&ok);
    assert_eq!(profile, "RTP/SAVP");
    let hers = line(2, S80, 1);
    assert_eq!(to_alice[1].key.suite(), S80);
    let ack = Remote::of_answer(&ok, alice()).numbered(Method::Ack, 1);
    t.receive(
        alice(),
        with_sdp(ack, &secure(alice(), std::slice::from_ref(&hers))),
    );
    let ack = t.request_to(desk(), Method::Ack);
    let (_, to_bob) = offered(&ack);
    assert_eq!((to_bob.len(), to_bob[0].tag), (1, 1));
    assert_eq!(keys(&t, Side::Caller, 0), pair(&to_alice[1], &hers));
    assert_eq!(keys(&t, Side::Callee, 0), pair(&to_bob[0], &his[0]));
}

#[test]
fn early_media_is_under_the_keys_of_the_answer() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&secure(alice(), &[line(1, S80, 1)]));
    let invite = t.request_to(desk(), Method::Invite);
    let answer = secure(desk(), &[line(1, S80, 2)]);
    t.receive(
        desk(),
        with_sdp(response(&invite, 183, desk(), "b1"), &answer),
    );
    let early = offered(&t.response_to(alice(), 183));
    assert_eq!(
        keys(&t, Side::Callee, 0),
        pair(&offered(&invite).1[0], &line(1, S80, 2))
    );
    assert_eq!(
        keys(&t, Side::Caller, 0),
        pair(&early.1[0], &line(1, S80, 1))
    );
    t.receive(desk(), with_sdp(answer_to(&invite), &answer));
    assert_eq!(offered(&t.response_to(alice(), 200)), early);
}

#[test]
fn of_several_that_are_heard_early_the_keys_of_who_answers_count() {
    for takes in [desk(), mobile()] {
        let mut t = two();
        let hers = line(1, S80, 1);
        t.alice_invites(&secure(alice(), std::slice::from_ref(&hers)));
        let mut early = Vec::new();
        let mut invites = Vec::new();
        for (at, tag, octet) in [(desk(), "b1", 2), (mobile(), "m1", 3)] {
            let invite = t.request_to(at, Method::Invite);
            let answer = secure(at, &[line(1, S80, octet)]);
            t.receive(at, with_sdp(response(&invite, 183, at, tag), &answer));
            while let Some(heard) = t.any_to(alice()) {
                if !heard.body().is_empty() {
                    early.push((heard.to_tag().unwrap().to_owned(), offered(&heard)));
                }
            }
            invites.push((at, invite, tag, answer));
        }
        let (at, invite, tag, answer) = invites.into_iter().find(|one| one.0 == takes).unwrap();
        t.receive(at, with_sdp(response(&invite, 200, at, tag), &answer));
        let ok = loop {
            let message = t.next_to(alice());
            if message.status() == 200 {
                break message;
            }
        };
        let (_, told) = offered(&ok);
        assert_eq!(keys(&t, Side::Caller, 0), pair(&told[0], &hers));
        // Who heard of it early was told the same then.
        let before = early
            .iter()
            .filter(|(tag, _)| Some(tag.as_str()) == ok.to_tag());
        for (_, before) in before {
            assert_eq!(*before, offered(&ok));
        }
        let theirs = Sdp::parse(answer.as_bytes()).unwrap().media()[0].crypto();
        let ours = &offered(&invite).1[0];
        assert_eq!(keys(&t, Side::Callee, 0), pair(ours, &theirs[0]));
    }
}

#[test]
fn keys_between_the_phones_alone_stay_between_them() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let dtls = |at| {
        audio(at).replace("RTP/AVP", "UDP/TLS/RTP/SAVP")
            + "a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n"
    };
    t.alice_invites(&dtls(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    assert!(text(&invite).contains("a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n"));
    t.receive(desk(), with_sdp(answer_to(&invite), &dtls(desk())));
    let stream = told(&t, Side::Callee, 0).swap_remove(0);
    assert!(stream.active && stream.inside == Inside::Sealed && stream.srtp.is_none());
}

#[test]
fn each_stream_has_keys_of_its_own_and_pictures_may_be_turned_down() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let video = |port: u16, lines: &[Crypto]| {
        with_lines(
            &format!("m=video {port} RTP/SAVPF 96\r\na=rtpmap:96 H264/90000\r\n"),
            lines,
        )
    };
    let offer = secure(alice(), &[line(1, S80, 1)]) + &video(4002, &[line(1, S80, 2)]);
    t.alice_invites(&offer);
    let invite = t.request_to(desk(), Method::Invite);
    let (sound, pictures) = (offered(&invite), stream(&invite, 1));
    assert_eq!(
        (sound.0.as_str(), pictures.0.as_str()),
        ("RTP/SAVP", "RTP/SAVPF")
    );
    assert_ne!(sound.1[0].key, pictures.1[0].key);
    let answer = secure(desk(), &[line(1, S80, 3)]) + &video(0, &[]);
    t.receive(desk(), with_sdp(answer_to(&invite), &answer));
    let ok = t.response_to(alice(), 200);
    assert_eq!(stream(&ok, 1), ("RTP/SAVPF".to_owned(), Vec::new()));
    let active: Vec<bool> = told(&t, Side::Callee, 0).iter().map(|s| s.active).collect();
    assert_eq!(active, [true, false]);
}

#[test]
fn srtp_that_is_refused_in_other_words_is_tried_plain() {
    for status in [415, 606] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        t.alice_invites(&secure(alice(), &[line(1, S80, 1)]));
        let invite = t.request_to(desk(), Method::Invite);
        t.request_to(mobile(), Method::Invite);
        t.reply(&invite, status, desk());
        t.request_to(desk(), Method::Ack);
        t.nothing_to(mobile());
        let plain = t.request_to(desk(), Method::Invite);
        assert_eq!(offered(&plain), ("RTP/AVP".to_owned(), Vec::new()));
    }
    // By an answer without a stream.
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&secure(alice(), &[line(1, S80, 1)]));
    let invite = t.request_to(desk(), Method::Invite);
    let refused = secure(desk(), &[]).replace("m=audio 4000", "m=audio 0");
    t.receive(desk(), with_sdp(answer_to(&invite), &refused));
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.nothing_to(alice());
    let plain = t.request_to(desk(), Method::Invite);
    assert_eq!(offered(&plain), ("RTP/AVP".to_owned(), Vec::new()));
    t.receive(desk(), with_sdp(answer_to(&plain), &audio(desk())));
    let ok = t.response_to(alice(), 200);
    let (profile, lines) = offered(&ok);
    assert_eq!((profile.as_str(), lines.len()), ("RTP/SAVP", 1));
}

#[test]
fn a_call_of_which_no_stream_is_taken_is_the_callers_to_judge_where_nothing_else_is_allowed() {
    for (srtp, offer) in [
        (Srtp::Required, secure(alice(), &[line(1, S80, 1)])),
        (Srtp::Optional, audio(alice())),
    ] {
        let mut t = Table::new(with(srtp));
        t.register("bob", desk(), "desk");
        t.alice_invites(&offer);
        let invite = t.request_to(desk(), Method::Invite);
        let refused = audio(desk()).replace("m=audio 4000", "m=audio 0");
        t.receive(desk(), with_sdp(answer_to(&invite), &refused));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        assert!(text(&ok).contains("m=audio 0"));
        t.nothing_to(desk());
    }
}

#[test]
fn a_re_fork_too_tries_plain_where_srtp_is_refused_by_an_answer() {
    let mut t = Table::new(settings());
    both_secure(&mut t);
    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    let again = t.request_to(mobile(), Method::Invite);
    assert_eq!(offered(&again).0, "RTP/SAVP");
    let refused = secure(mobile(), &[]).replace("m=audio 4000", "m=audio 0");
    t.receive(
        mobile(),
        with_sdp(response(&again, 200, mobile(), "m1"), &refused),
    );
    t.request_to(mobile(), Method::Ack);
    let bye = t.request_to(mobile(), Method::Bye);
    t.reply(&bye, 200, mobile());
    let plain = t.request_to(mobile(), Method::Invite);
    assert_eq!(offered(&plain), ("RTP/AVP".to_owned(), Vec::new()));
    t.receive(
        mobile(),
        with_sdp(response(&plain, 200, mobile(), "m2"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn a_phone_that_repairs_itself_with_fresh_keys_asks_the_survivor_for_nothing() {
    for (lost, moves) in [(false, true), (true, true), (false, false)] {
        let mut t = Table::new(settings());
        let (_, _, invite) = both_secure(&mut t);
        let mut b = Remote::of_invite(&invite, desk(), "b1");
        let before = keys(&t, Side::Callee, 0);
        if lost {
            t.bob_is_lost();
            t.discard(desk());
        }
        b.at = if moves {
            phone("203.0.113.9:5060")
        } else {
            desk()
        };
        let at = b.at;
        let fresh = line(1, S80, 9);
        let offer = secure(at, std::slice::from_ref(&fresh)).replace("o=- 7 1 ", "o=- 7 2 ");
        t.receive(at, with_sdp(b.request(Method::Invite), &offer));
        let ok = t.response_to(at, 200);
        t.receive(at, b.ack(ok.cseq()));
        t.nothing_to(alice());
        let now = keys(&t, Side::Callee, 0);
        assert_eq!(now, pair(&offered(&ok).1[0], &fresh));
        assert_ne!(now, before);
    }
}
