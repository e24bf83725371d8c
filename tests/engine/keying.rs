//! A phone that agrees on keys by DTLS with the far phone (RFC 5764) and later by the session description (RFC 4568),
//! or the other way round.

use std::net::SocketAddr;

use refork::engine::ids::Side;
use refork::engine::ports::Inside;
use refork::engine::settings::{MediaMode, Srtp};
use refork::sip::{Message, Method};

use crate::people::*;
use crate::srtp::{S80, keys, line, offered, pair, secure, with};
use crate::table::*;
use crate::video::told;

/// A session whose keys are the phones' own.
fn dtls(at: SocketAddr, version: u32, setup: &str) -> String {
    let plain = sdp(at, version, "sendrecv").replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
    format!("{plain}a=setup:{setup}\r\na=fingerprint:sha-256 AA:BB:{version:02X}\r\n")
}

/// The same sound with a line of the phone's.
fn sdes(at: SocketAddr, version: u32, octet: u8) -> String {
    secure(at, &[line(1, S80, octet)]).replace(" 1 IN IP4", &format!(" {version} IN IP4"))
}

/// Bob's phone gets the re-INVITE and answers so. Returns it and the 200 to Alice.
fn renews(t: &mut Table, a: &mut Remote, offer: &str, answer: &str) -> [Message; 2] {
    t.receive(alice(), with_sdp(a.request(Method::Invite), offer));
    let across = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(response(&across, 200, desk(), "x"), answer),
    );
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    [across, ok]
}

#[track_caller]
fn is_sealed(t: &Table) {
    for side in [Side::Caller, Side::Callee] {
        let stream = told(t, side, 0).swap_remove(0);
        assert!(stream.active, "{side:?}");
        assert_eq!((stream.inside, stream.srtp), (Inside::Sealed, None));
    }
}

#[track_caller]
fn is_between_the_phones(message: &Message, version: u32) {
    let said = text(message);
    assert!(said.contains("UDP/TLS/RTP/SAVPF"), "{said}");
    assert!(said.contains(&format!("AA:BB:{version:02X}")), "{said}");
    assert!(!said.contains("crypto"), "{said}");
}

/// The keys end at each leg now: those of neither phone cross.
#[test]
fn from_dtls_to_keys_in_the_session_each_leg_gets_its_own() {
    for srtp in [Srtp::Optional, Srtp::Required] {
        let mut t = Table::new(with(srtp));
        let (offer, answer) = (dtls(alice(), 1, "actpass"), dtls(desk(), 1, "active"));
        let (mut a, _) = t.established_with(&offer, &answer);
        is_sealed(&t);
        let (hers, his) = (line(1, S80, 1), line(1, S80, 2));
        let [across, ok] = renews(&mut t, &mut a, &sdes(alice(), 2, 1), &sdes(desk(), 2, 2));
        let (profile, to_bob) = offered(&across);
        assert_eq!(profile, "RTP/SAVP");
        assert_ne!(to_bob[0].key, hers.key);
        let (profile, to_alice) = offered(&ok);
        assert_eq!((profile.as_str(), to_alice.len()), ("RTP/SAVP", 1));
        assert_ne!(to_alice[0].key, his.key);
        assert_eq!(keys(&t, Side::Caller, 0), pair(&to_alice[0], &hers));
        assert_eq!(keys(&t, Side::Callee, 0), pair(&to_bob[0], &his));
        // And back.
        let [across, ok] = renews(
            &mut t,
            &mut a,
            &dtls(alice(), 3, "actpass"),
            &dtls(desk(), 4, "active"),
        );
        is_between_the_phones(&across, 3);
        is_between_the_phones(&ok, 4);
        is_sealed(&t);
    }
}

#[test]
fn from_keys_in_the_session_to_dtls_they_agree_between_them() {
    for srtp in [Srtp::Optional, Srtp::Required] {
        let mut t = Table::new(with(srtp));
        let (mut a, _) = t.established_with(&sdes(alice(), 1, 1), &sdes(desk(), 1, 2));
        let before = [keys(&t, Side::Caller, 0), keys(&t, Side::Callee, 0)];
        assert!(before.iter().all(Option::is_some));
        // Bob's phone has no DTLS: all is as it was.
        t.receive(
            alice(),
            with_sdp(a.request(Method::Invite), &dtls(alice(), 2, "actpass")),
        );
        let across = t.request_to(desk(), Method::Invite);
        is_between_the_phones(&across, 2);
        t.reply(&across, 488, desk());
        t.request_to(desk(), Method::Ack);
        t.response_to(alice(), 488);
        t.receive(alice(), a.ack(a.cseq));
        t.nothing_to(desk());
        let [across, ok] = renews(&mut t, &mut a, &sdes(alice(), 3, 1), &sdes(desk(), 3, 2));
        assert_eq!(
            [keys(&t, Side::Caller, 0), keys(&t, Side::Callee, 0)],
            before
        );
        assert_eq!(
            (offered(&across).0, offered(&ok).0),
            ("RTP/SAVP".into(), "RTP/SAVP".into())
        );
        // It has.
        let [across, ok] = renews(
            &mut t,
            &mut a,
            &dtls(alice(), 4, "actpass"),
            &dtls(desk(), 5, "active"),
        );
        is_between_the_phones(&across, 4);
        is_between_the_phones(&ok, 5);
        is_sealed(&t);
    }
}

/// RFC 3264 6: it is no answer, and nothing runs by it.
#[test]
fn an_answer_by_the_other_kind_of_keys_is_none() {
    for [offer, answer] in [
        [dtls(alice(), 2, "actpass"), sdes(desk(), 2, 2)],
        [sdes(alice(), 2, 1), dtls(desk(), 2, "active")],
    ] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established_with(&sdes(alice(), 1, 1), &sdes(desk(), 1, 2));
        let [_, ok] = renews(&mut t, &mut a, &offer, &answer);
        let proto = if offer.contains("TLS") {
            "UDP/TLS/RTP/SAVPF"
        } else {
            "RTP/SAVP"
        };
        assert!(
            text(&ok).contains(&format!("m=audio 0 {proto} ")),
            "{}",
            text(&ok)
        );
        for side in [Side::Caller, Side::Callee] {
            assert!(!told(&t, side, 0)[0].active, "{side:?}");
        }
    }
}

/// What a phone adds that would agree on keys by itself, and knows its own ways.
const UNASKED: &str = "a=setup:active\r\na=fingerprint:sha-256 AA:BB\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\na=candidate:1 1 UDP 2130706431 192.0.2.9 40000 typ host\r\n";

#[track_caller]
fn is_plain(t: &Table, generation: u32) {
    for (side, generation) in [(Side::Caller, 0), (Side::Callee, generation)] {
        let stream = told(t, side, generation).swap_remove(0);
        assert!(stream.active, "{side:?}");
        assert_eq!(stream.inside, Inside::Rtp, "{side:?}");
    }
}

#[track_caller]
fn names_nothing(message: &Message) {
    let said = text(message);
    for line in ["fingerprint", "setup", "ice-", "candidate", "192.0.2.9"] {
        assert!(!said.contains(line), "{said}");
    }
}

/// RFC 5763 5, RFC 8122 5: an answer names a fingerprint where its offer does.
#[test]
fn a_fingerprint_that_nobody_asked_for_counts_for_nothing() {
    // Of who answers first, and of who changes the session.
    let mut t = Table::new(settings());
    let (mut a, _) = t.established_with(&audio(alice()), &(audio(desk()) + UNASKED));
    is_plain(&t, 0);
    let answer = sdp(desk(), 2, "sendrecv") + UNASKED;
    let [_, ok] = renews(&mut t, &mut a, &sdp(alice(), 2, "sendrecv"), &answer);
    names_nothing(&ok);
    is_plain(&t, 0);
    // Of who takes a lost one's place: Alice hears of another phone, and no more.
    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    let invite = t.request_to(mobile(), Method::Invite);
    names_nothing(&invite);
    let ok = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &(audio(mobile()) + UNASKED)));
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
    is_plain(&t, 1);
}

/// RFC 8643: plain RTP with a fingerprint beside it is as the answer has it.
#[test]
fn a_fingerprint_beside_plain_rtp_counts_where_both_have_one() {
    let print = "a=setup:actpass\r\na=fingerprint:sha-256 AA:BB\r\n";
    let mut t = Table::new(settings());
    t.established_with(&(audio(alice()) + print), &(audio(desk()) + print));
    is_sealed(&t);
    let mut t = Table::new(settings());
    t.established_with(&(audio(alice()) + print), &audio(desk()));
    is_plain(&t, 0);
}

/// Nobody is there to agree with: what stands answers offers of its own kind alone, and goes on.
#[test]
fn a_survivor_that_wants_another_kind_of_keys_is_refused_and_goes_on() {
    for from_dtls in [true, false] {
        let mut t = Table::new(settings());
        let (mut a, _) = if from_dtls {
            t.established_with(&dtls(alice(), 1, "actpass"), &dtls(desk(), 1, "active"))
        } else {
            t.established_with(&sdes(alice(), 1, 1), &sdes(desk(), 1, 2))
        };
        let before = told(&t, Side::Caller, 0);
        t.bob_is_lost();
        let other = if from_dtls {
            sdes(alice(), 2, 1)
        } else {
            dtls(alice(), 2, "actpass")
        };
        t.receive(alice(), with_sdp(a.request(Method::Invite), &other));
        t.response_to(alice(), 488);
        t.receive(alice(), a.ack(a.cseq));
        assert_eq!(told(&t, Side::Caller, 0), before);
        // What she has is answered as ever.
        let same = if from_dtls {
            dtls(alice(), 3, "actpass")
        } else {
            sdes(alice(), 3, 1)
        };
        t.receive(alice(), with_sdp(a.request(Method::Invite), &same));
        let ok = t.response_to(alice(), 200);
        assert!(!text(&ok).contains("m=audio 0 "), "{}", text(&ok));
        assert_eq!(text(&ok).contains("UDP/TLS"), from_dtls, "{}", text(&ok));
        t.receive(alice(), a.ack(ok.cseq()));
    }
}

/// Media runs past us: whatever keys they agree on, both kinds cross as they are.
#[test]
fn where_media_is_direct_both_kinds_cross_as_they_are() {
    let mut wishes = settings();
    wishes.media.mode = MediaMode::Direct;
    for from_dtls in [true, false] {
        let mut t = Table::new(wishes.clone());
        let (by_dtls, by_sdes) = (
            |version| {
                (
                    dtls(alice(), version, "actpass"),
                    dtls(desk(), version, "active"),
                )
            },
            |version| (sdes(alice(), version, 1), sdes(desk(), version, 2)),
        );
        let ((offer, answer), (next, its_answer)) = if from_dtls {
            (by_dtls(1), by_sdes(2))
        } else {
            (by_sdes(1), by_dtls(2))
        };
        let (mut a, _) = t.established_with(&offer, &answer);
        let [across, ok] = renews(&mut t, &mut a, &next, &its_answer);
        let keys = |said: &str| {
            let own =
                |line: &&str| line.starts_with("a=crypto") || line.starts_with("a=fingerprint");
            said.lines()
                .filter(own)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(&text(&across)), keys(&next));
        assert_eq!(keys(&text(&ok)), keys(&its_answer));
        assert_eq!(keys(&next).len(), 1);
    }
}
