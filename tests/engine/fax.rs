//! Fax (ITU-T T.38) by way of the relay: a call becomes one by a re-INVITE, or is one from the start.

use std::net::SocketAddr;

use refork::engine::events::Event;
use refork::engine::ids::Side;
use refork::engine::ports::{Inside, MediaCommand, Voice};
use refork::engine::settings::Srtp;
use refork::sip::sdp::Crypto;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::repair::replaces;
use crate::srtp::{S80, both_secure, keys, line, offered, pair, secure, with, with_lines};
use crate::table::*;
use crate::video::{ports, told};

const LINES: &str = "a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n\
    a=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";

/// A fax in the place of the sound.
fn fax(at: SocketAddr, version: u32) -> String {
    let sound = sdp(at, version, "sendrecv");
    let (head, _) = sound.split_once("m=audio").unwrap();
    format!("{head}m=image 4000 udptl t38\r\n{LINES}")
}

/// A fax beside the sound, which is taken out.
fn beside(at: SocketAddr, version: u32) -> String {
    let sound = sdp(at, version, "sendrecv").replace("m=audio 4000", "m=audio 0");
    format!("{sound}m=image 4002 udptl t38\r\n{LINES}")
}

/// It is a fax at our address, with all that the machine said of it.
#[track_caller]
fn is_ours(message: &Message) {
    let said = text(message);
    assert!(
        said.contains(" udptl t38\r\n") && said.contains(LINES),
        "{said}"
    );
    assert!(!said.contains("198.51.100."), "{said}");
}

/// One phone offers this, and the other answers: Bob's and Alice's, or the other way round.
fn offers(t: &mut Table, from: &mut Remote, offer: &str, answer: &str) -> [Message; 2] {
    let to = if from.at == desk() { alice() } else { desk() };
    t.receive(from.at, with_sdp(from.request(Method::Invite), offer));
    let offered = t.request_to(to, Method::Invite);
    t.receive(to, with_sdp(response(&offered, 200, to, "x"), answer));
    t.request_to(to, Method::Ack);
    let ok = t.response_to(from.at, 200);
    t.receive(from.at, from.ack(ok.cseq()));
    [offered, ok]
}

/// The relay carries a fax between the two on a stream; or sound.
#[track_caller]
fn carries(t: &Table, stream: usize, is_fax: bool, port: u16) {
    for (side, at) in [(Side::Caller, alice()), (Side::Callee, desk())] {
        let known = &told(t, side, 0)[stream];
        let inside = if is_fax { Inside::Fax } else { Inside::Rtp };
        assert_eq!(
            (known.active, known.inside, known.voice == Voice::Due),
            (true, inside, !is_fax)
        );
        assert_eq!(known.rtp, Some(SocketAddr::new(at.ip(), port)));
        if is_fax {
            assert_eq!((known.rtcp, known.formats.len()), (known.rtp, 0));
        }
    }
}

fn opens(t: &Table) -> usize {
    let opens = |command: &&MediaCommand| matches!(command, MediaCommand::Open { .. });
    t.media.iter().filter(opens).count()
}

#[test]
fn a_call_becomes_a_fax_by_way_of_us_and_a_call_again() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    let before = opens(&t);
    let [offered, ok] = offers(&mut t, &mut b, &fax(desk(), 2), &fax(alice(), 2));
    is_ours(&offered);
    is_ours(&ok);
    carries(&t, 0, true, 4000);
    let (fax_at, other) = (ports(&offered), ports(&ok));
    let [offered, ok] = offers(
        &mut t,
        &mut b,
        &sdp(desk(), 3, "sendrecv"),
        &sdp(alice(), 3, "sendrecv"),
    );
    carries(&t, 0, false, 4000);
    // All by the ports that there were.
    assert_eq!((ports(&offered), ports(&ok)), (fax_at, other));
    assert_eq!(opens(&t), before);
    t.hangs_up(&mut b);
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    a.cseq += 1;
    t.ends_empty();
}

#[test]
fn a_fax_beside_the_sound_has_ports_of_its_own() {
    let mut t = Table::new(settings());
    let (_, mut b) = t.established();
    let [offered, ok] = offers(&mut t, &mut b, &beside(desk(), 2), &beside(alice(), 2));
    for message in [&offered, &ok] {
        is_ours(message);
        let ports = ports(message);
        assert!(ports[0] == 0 && ports[1] != 0, "{ports:?}");
    }
    carries(&t, 1, true, 4002);
}

#[test]
fn a_fax_from_the_start() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&fax(alice(), 1));
    let invite = t.request_to(desk(), Method::Invite);
    is_ours(&invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &fax(desk(), 1)));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    is_ours(&ok);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    carries(&t, 0, true, 4000);
}

#[test]
fn who_takes_no_fax_goes_on_talking() {
    let mut t = Table::new(settings());
    let (_, mut b) = t.established();
    t.receive(desk(), with_sdp(b.request(Method::Invite), &fax(desk(), 2)));
    let offered = t.request_to(alice(), Method::Invite);
    t.reply(&offered, 488, alice());
    t.request_to(alice(), Method::Ack);
    t.response_to(desk(), 488);
    carries(&t, 0, false, 4000);
}

/// The machine that is found again may have other ways: the survivor is told of them.
#[test]
fn a_fax_that_is_lost_is_offered_anew() {
    let mut t = two();
    let (_, mut b) = t.established();
    offers(&mut t, &mut b, &fax(desk(), 2), &fax(alice(), 2));
    t.discard(mobile());
    t.bob_is_lost();
    t.pass(refork::engine::time::Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    is_ours(&invite);
    let slower = fax(mobile(), 1).replace("14400", "9600");
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &slower),
    );
    let offered = t.request_to(alice(), Method::Invite);
    let said = text(&offered);
    assert!(
        said.contains("T38MaxBitRate:9600") && !said.contains("198.51.100."),
        "{said}"
    );
}

#[test]
fn a_machine_that_repairs_itself_is_answered_once_the_survivor_has_agreed() {
    let mut t = Table::new(settings());
    let (_, mut b) = t.established();
    offers(&mut t, &mut b, &fax(desk(), 2), &fax(alice(), 2));
    let again = request(Method::Invite, "bob", "alice", third(), "again");
    let again = again.header(Name::Replaces, replaces(&b));
    t.receive(third(), with_sdp(again, &fax(third(), 1)));
    t.nothing_to(third());
    let offered = t.request_to(alice(), Method::Invite);
    is_ours(&offered);
    let agreed = response(&offered, 200, alice(), "x");
    t.receive(alice(), with_sdp(agreed, &fax(alice(), 3)));
    t.request_to(alice(), Method::Ack);
    is_ours(&t.response_to(third(), 200));
}

/// Sound with SRTP alone, as a phone says it again.
fn sound(at: SocketAddr, version: u32, key: &Crypto) -> String {
    secure(at, std::slice::from_ref(key)).replace("o=- 7 1 ", &format!("o=- 7 {version} "))
}

/// Each leg has SRTP under keys of its own, of what was offered to one and answered to the other.
#[track_caller]
fn is_secure(t: &Table, [across, ok]: &[Message; 2], (from, to): (Side, Side), said: [&Crypto; 2]) {
    let (profile, lines) = offered(across);
    assert_eq!(profile, "RTP/SAVP");
    let taken = lines.iter().find(|line| line.tag == said[1].tag);
    let taken = taken.expect("a line of ours with the tag of the answer");
    assert_eq!(keys(t, to, 0), pair(taken, said[1]));
    let (profile, lines) = offered(ok);
    assert_eq!((profile.as_str(), lines.len()), ("RTP/SAVP", 1));
    assert_eq!(keys(t, from, 0), pair(&lines[0], said[0]));
}

/// What the fax was told says nothing of how the sound in its place is to be: it is never in the clear.
#[test]
fn the_sound_after_a_fax_is_encrypted() {
    let his = line(1, S80, 2);
    for (srtp, from_the_start, by_bob) in [
        (Srtp::Required, true, true),
        (Srtp::Required, true, false),
        (Srtp::Required, false, true),
        (Srtp::Required, false, false),
        (Srtp::Optional, true, true),
        (Srtp::Optional, true, false),
        (Srtp::Optional, false, true),
        (Srtp::Optional, false, false),
    ] {
        let mut t = Table::new(with(srtp));
        let (mut a, mut b) = if from_the_start {
            t.established_with(&fax(alice(), 1), &fax(desk(), 1))
        } else {
            let (a, _, invite) = both_secure(&mut t);
            (a, Remote::of_invite(&invite, desk(), "b1"))
        };
        if !from_the_start {
            offers(&mut t, &mut b, &fax(desk(), 2), &fax(alice(), 2));
        }
        carries(&t, 0, true, 4000);
        let noted = t.events.iter().filter(|e| matches!(e, Event::BareFax));
        let bare = srtp == Srtp::Required || !from_the_start;
        assert_eq!(noted.count(), if bare { 2 } else { 0 }, "once a leg");
        // She answers with the tag that she was offered: the one of her own line before, or our first.
        let tag = if by_bob && from_the_start { 1 } else { 4 };
        let hers = line(tag, S80, 1);
        let (alices, bobs) = (sound(alice(), 3, &hers), sound(desk(), 3, &his));
        if by_bob {
            let told = offers(&mut t, &mut b, &bobs, &alices);
            is_secure(&t, &told, (Side::Callee, Side::Caller), [&his, &hers]);
        } else {
            let told = offers(&mut t, &mut a, &alices, &bobs);
            is_secure(&t, &told, (Side::Caller, Side::Callee), [&hers, &his]);
        }
    }
}

/// A phone without SRTP is not asked for it after the fax, nor one that has it for plain sound.
#[test]
fn after_a_fax_each_phone_has_srtp_or_not_as_before() {
    let hers = line(4, S80, 1);
    for by_bob in [true, false] {
        let mut t = Table::new(with(Srtp::Optional));
        t.register("bob", desk(), "desk");
        t.alice_invites(&sound(alice(), 1, &hers));
        let invite = t.request_to(desk(), Method::Invite);
        t.reply(&invite, 488, desk());
        t.request_to(desk(), Method::Ack);
        let plain = t.request_to(desk(), Method::Invite);
        t.receive(desk(), with_sdp(answer_to(&plain), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        let mut a = Remote::of_answer(&ok, alice());
        t.receive(alice(), a.ack(1));
        let mut b = Remote::of_invite(&plain, desk(), "b1");
        offers(&mut t, &mut b, &fax(desk(), 2), &fax(alice(), 2));
        let (alices, bobs) = (sound(alice(), 3, &hers), sdp(desk(), 3, "sendrecv"));
        let [to_alice, to_bob] = if by_bob {
            offers(&mut t, &mut b, &bobs, &alices)
        } else {
            let [across, ok] = offers(&mut t, &mut a, &alices, &bobs);
            [ok, across]
        };
        assert_eq!(offered(&to_bob), ("RTP/AVP".to_owned(), Vec::new()));
        let (profile, lines) = offered(&to_alice);
        assert_eq!((profile.as_str(), lines.len()), ("RTP/SAVP", 1));
        assert_eq!(keys(&t, Side::Caller, 0), pair(&lines[0], &hers));
        assert_eq!(keys(&t, Side::Callee, 0), None);
    }
}

/// Neither side's stream on this place runs.
#[track_caller]
fn rests(t: &Table) {
    for side in [Side::Caller, Side::Callee] {
        assert!(!told(t, side, 0)[0].active);
    }
}

/// What is answered by another transport than it was offered is refused (RFC 3264 6), and nothing is carried by it.
#[test]
fn an_answer_of_another_transport_is_none() {
    for srtp in [Srtp::Required, Srtp::Optional] {
        let mut t = Table::new(with(srtp));
        let (mut a, _, _) = both_secure(&mut t);
        let (hers, his) = (line(4, S80, 1), line(1, S80, 2));
        let as_fax = fax(desk(), 2).replace("m=image", "m=audio");
        let hold = sound(alice(), 2, &hers).replace("sendrecv", "sendonly");
        let [_, ok] = offers(&mut t, &mut a, &hold, &as_fax);
        assert!(text(&ok).contains("m=audio 0 RTP/SAVP 0 8 101\r\n"));
        assert!(!text(&ok).contains("T38"), "{}", text(&ok));
        rests(&t);
        // What is offered next is as good as ever.
        let told = offers(
            &mut t,
            &mut a,
            &sound(alice(), 3, &hers),
            &sound(desk(), 3, &his),
        );
        is_secure(&t, &told, (Side::Caller, Side::Callee), [&hers, &his]);

        let mut t = Table::new(with(srtp));
        let (_, _, invite) = both_secure(&mut t);
        let mut b = Remote::of_invite(&invite, desk(), "b1");
        let [_, ok] = offers(
            &mut t,
            &mut b,
            &fax(desk(), 2),
            &sdp(alice(), 2, "sendrecv"),
        );
        assert!(
            text(&ok).contains("m=image 0 udptl t38\r\n"),
            "{}",
            text(&ok)
        );
        assert!(!text(&ok).contains("rtpmap"), "{}", text(&ok));
        rests(&t);
    }
}

#[test]
fn a_fax_that_is_answered_as_a_call_has_no_stream() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&fax(alice(), 1));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert!(
        text(&ok).contains("m=image 0 udptl t38\r\n"),
        "{}",
        text(&ok)
    );
    rests(&t);
}

#[test]
fn keys_beside_a_fax_are_told_to_nobody() {
    let mut t = Table::new(settings());
    let (_, _, invite) = both_secure(&mut t);
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    let keyed = |at, key: &Crypto| with_lines(&fax(at, 2), std::slice::from_ref(key));
    let [across, ok] = offers(
        &mut t,
        &mut b,
        &keyed(desk(), &line(1, S80, 2)),
        &keyed(alice(), &line(4, S80, 1)),
    );
    for message in [&across, &ok] {
        is_ours(message);
        assert!(!text(message).contains("crypto"), "{}", text(message));
    }
    carries(&t, 0, true, 4000);
    for side in [Side::Caller, Side::Callee] {
        assert_eq!(told(&t, side, 0)[0].srtp, None);
    }
}

/// From a fax to sound: nothing has shown yet whether Bob's phone has SRTP, and she who offers it takes what comes.
#[test]
fn sound_after_a_fax_is_offered_in_the_other_way_where_it_is_refused() {
    let hers = line(1, S80, 1);
    let his = line(1, S80, 2);
    for (offer, answer, first, then) in [
        (
            sound(alice(), 3, &hers),
            sdp(desk(), 3, "sendrecv"),
            "RTP/SAVP",
            "RTP/AVP",
        ),
        (
            sdp(alice(), 3, "sendrecv"),
            sound(desk(), 3, &his),
            "RTP/AVP",
            "RTP/SAVP",
        ),
    ] {
        let mut t = Table::new(with(Srtp::Optional));
        let (mut a, _) = t.established_with(&fax(alice(), 1), &fax(desk(), 1));
        t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
        let refused = t.request_to(desk(), Method::Invite);
        assert_eq!(offered(&refused).0, first);
        t.reply(&refused, 488, desk());
        t.request_to(desk(), Method::Ack);
        t.nothing_to(alice());
        let again = t.request_to(desk(), Method::Invite);
        assert_eq!(offered(&again).0, then);
        assert_eq!(again.cseq(), refused.cseq() + 1);
        t.receive(
            desk(),
            with_sdp(response(&again, 200, desk(), "x"), &answer),
        );
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), a.ack(ok.cseq()));
        let (profile, lines) = offered(&ok);
        assert_eq!(profile, first, "she is answered as she has offered");
        let keys_of = |said: &[Crypto], theirs| said.first().and_then(|ours| pair(ours, theirs));
        assert_eq!(keys(&t, Side::Caller, 0), keys_of(&lines, &hers));
        assert_eq!(keys(&t, Side::Callee, 0), keys_of(&offered(&again).1, &his));
    }
}

/// What is refused both ways, or where nothing else is allowed, is refused, and the fax stands.
#[test]
fn sound_that_is_refused_after_a_fax_leaves_the_fax() {
    for (srtp, tries) in [(Srtp::Optional, 2), (Srtp::Required, 1)] {
        let mut t = Table::new(with(srtp));
        let (mut a, _) = t.established_with(&fax(alice(), 1), &fax(desk(), 1));
        let offer = sound(alice(), 3, &line(1, S80, 1));
        t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
        for _ in 0..tries {
            t.nothing_to(alice());
            let refused = t.request_to(desk(), Method::Invite);
            t.reply(&refused, 488, desk());
            t.request_to(desk(), Method::Ack);
        }
        t.response_to(alice(), 488);
        t.receive(alice(), a.ack(a.cseq));
        t.nothing_to(desk());
        carries(&t, 0, true, 4000);
    }
}

/// What runs by RTP has shown what the phone has: its refusal is of something else.
#[test]
fn sound_that_ran_before_is_offered_once() {
    let mut t = Table::new(with(Srtp::Optional));
    let (mut a, _, _) = both_secure(&mut t);
    let offer = sound(alice(), 2, &line(4, S80, 1));
    t.receive(
        alice(),
        with_sdp(
            a.request(Method::Invite),
            &offer.replace("sendrecv", "sendonly"),
        ),
    );
    let refused = t.request_to(desk(), Method::Invite);
    t.reply(&refused, 488, desk());
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 488);
    t.nothing_to(desk());
}
