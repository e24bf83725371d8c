//! What goes on while both are there: requests across, offers, glare.

use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

#[test]
fn a_hold_goes_across_and_the_session_version_rises_by_one() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    // Bob's phone knows UPDATE, but a re-INVITE stays one.
    let hold = t.request_to(desk(), Method::Invite);
    let body = text(&hold);
    assert!(
        body.contains("a=sendonly") && !body.contains("198.51.100"),
        "{body}"
    );
    let version = |body: &str| -> u64 {
        let origin = body.lines().find(|line| line.starts_with("o=")).unwrap();
        origin.split(' ').nth(2).unwrap().parse().unwrap()
    };
    assert_eq!(version(&body), 2);
    t.receive(
        desk(),
        with_sdp(
            response(&hold, 200, desk(), "b1"),
            &sdp(desk(), 2, "recvonly"),
        ),
    );
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"));
    assert_eq!(version(&text(&ok)), 2);
    t.receive(alice(), a.ack(ok.cseq()));
    t.nothing_to(alice());
}

#[test]
fn a_hold_of_the_old_kind_reaches_the_other_phone_as_one() {
    for (said, told) in [("", "a=sendonly"), ("a=recvonly\r\n", "a=inactive")] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        // RFC 3264 8.4: by the address, and no direction.
        let hold = sdp(alice(), 2, "sendrecv")
            .replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0")
            .replace("a=sendrecv\r\n", said);
        t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
        let offer = t.request_to(desk(), Method::Invite);
        let directions: Vec<_> = text(&offer)
            .lines()
            .filter(|line| line.starts_with("a=") && !line.contains(':'))
            .map(str::to_owned)
            .collect();
        assert_eq!(directions, [told]);
    }
}

/// Returns the o= line of a description.
fn origin(message: &Message) -> String {
    let body = text(message);
    body.lines()
        .find(|line| line.starts_with("o="))
        .unwrap()
        .to_owned()
}

#[test]
fn an_offer_that_changes_nothing_for_the_other_side_has_an_equal_o_line() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv")),
    );
    t.request_to(desk(), Method::Ack);
    let answer = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&answer, alice());
    t.receive(alice(), a.ack(1));
    // She counts her version up and says the same (RFC 3264 8): nothing of it concerns Bob's phone.
    for version in 2..5 {
        t.receive(
            alice(),
            with_sdp(
                a.request(Method::Invite),
                &sdp(alice(), version, "sendrecv"),
            ),
        );
        let offer = t.request_to(desk(), Method::Invite);
        assert_eq!(origin(&offer), origin(&invite));
        t.receive(
            desk(),
            with_sdp(
                response(&offer, 200, desk(), "b1"),
                &sdp(desk(), version, "sendrecv"),
            ),
        );
        t.request_to(desk(), Method::Ack);
        let again = t.response_to(alice(), 200);
        assert_eq!(text(&again), text(&answer));
        t.receive(alice(), a.ack(again.cseq()));
    }
    // What does change counts from there.
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 5, "sendonly")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    assert_eq!(
        origin(&offer),
        origin(&invite).replacen(" 1 IN", " 2 IN", 1)
    );
}

#[test]
fn an_offer_that_says_nothing_new_is_answered_here() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Update), &sdp(alice(), 1, "sendrecv")),
    );
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("m=audio"));
    t.receive(alice(), a.request(Method::Update).end());
    t.response_to(alice(), 200);
    t.nothing_to(desk());
}

#[test]
fn an_update_becomes_a_reinvite_where_the_phone_knows_none() {
    let mut t = Table::new(settings());
    let (_, mut b) = t.established();
    t.receive(
        desk(),
        with_sdp(b.request(Method::Update), &sdp(desk(), 2, "sendonly")),
    );
    let offer = t.request_to(alice(), Method::Invite);
    t.receive(
        alice(),
        with_sdp(
            response(&offer, 200, alice(), "tcall1"),
            &sdp(alice(), 2, "recvonly"),
        ),
    );
    t.request_to(alice(), Method::Ack);
    t.response_to(desk(), 200);
}

#[test]
fn glare_gets_491_and_the_first_offer_goes_on() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly")),
    );
    t.response_to(desk(), 491);
    t.receive(desk(), b.ack(b.cseq));
    t.receive(
        desk(),
        with_sdp(
            response(&offer, 200, desk(), "b1"),
            &sdp(desk(), 2, "recvonly"),
        ),
    );
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 200);
}

#[test]
fn a_refused_offer_leaves_all_as_it_was() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    t.media.clear();
    t.reply(&offer, 488, desk());
    t.request_to(desk(), Method::Ack);
    let refused = t.response_to(alice(), 488);
    t.receive(alice(), a.ack(refused.cseq()));
    assert_eq!(t.media, [], "the sound goes on as it was");
    // The next one is tried like the first, under a version of its own (RFC 3264 8): some go by that alone.
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 3, "inactive")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    assert!(text(&offer).contains("o=- ") && text(&offer).contains(" 3 IN IP4"));
}

#[test]
fn an_offer_that_is_taken_back_leaves_all_as_it_was() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold.clone());
    let offer = t.request_to(desk(), Method::Invite);
    t.reply(&offer, 180, desk());
    // The CANCEL has the INVITE's branch.
    let cancel = String::from_utf8(hold.to_vec()).unwrap();
    let head = cancel.split("Content-Type").next().unwrap();
    let cancel = format!(
        "{}Content-Length: 0\r\n\r\n",
        head.replace("INVITE sip", "CANCEL sip")
            .replace("2 INVITE", "2 CANCEL")
    );
    t.receive(alice(), cancel.into());
    t.response_to(alice(), 200);
    t.response_to(alice(), 487);
    t.request_to(desk(), Method::Cancel);
    t.reply(&offer, 487, desk());
    t.request_to(desk(), Method::Ack);
    // Both may offer again.
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly")),
    );
    t.request_to(alice(), Method::Invite);
}

#[test]
fn a_held_call_is_probed_since_no_media_tells_of_its_life() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(
            response(&offer, 200, desk(), "b1"),
            &sdp(desk(), 2, "recvonly"),
        ),
    );
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.pass(Millis::from_secs(31));
    t.request_to(desk(), Method::Options);
    t.request_to(alice(), Method::Options);
}

#[test]
fn an_ack_without_the_answer_it_owes_does_not_keep_the_other_sides_back() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), a.request(Method::Invite).end());
    let late = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(
            response(&late, 200, desk(), "b1"),
            &sdp(desk(), 2, "sendrecv"),
        ),
    );
    t.response_to(alice(), 200);
    t.nothing_to(desk());
    t.receive(alice(), a.ack(a.cseq));
    let ack = t.request_to(desk(), Method::Ack);
    assert!(text(&ack).contains("m=audio"));
}

#[test]
fn digits_and_unknown_headers_cross() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let info = a
        .request(Method::Info)
        .other("X-Trace", "7")
        .body("application/dtmf-relay", b"Signal=5\r\n");
    t.receive(alice(), info);
    let carried = t.request_to(desk(), Method::Info);
    assert_eq!(carried.other("X-Trace"), Some("7"));
    assert_eq!(carried.body(), b"Signal=5\r\n");
    assert_eq!(carried.max_forwards(), Some(69));
    t.reply(&carried, 200, desk());
    t.response_to(alice(), 200);
}

/// RFC 3261 11: outside of a dialog it is ours to say what we take, of a user what an INVITE would be told; within one
/// the far phone is asked.
#[test]
fn questions_are_answered_by_whom_they_are_for() {
    let mut t = Table::new(settings());
    let told = |answer: &Message| {
        let header = |name| answer.header(name).unwrap_or("").to_owned();
        let allow = header(Name::Allow);
        for method in [
            "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "MESSAGE", "UPDATE", "PRACK",
        ] {
            assert!(allow.split(", ").any(|known| known == method), "{allow}");
        }
        let supported = header(Name::Supported);
        for option in ["replaces", "timer", "100rel"] {
            assert!(
                supported.split(", ").any(|known| known == option),
                "{supported}"
            );
        }
        [Name::Accept, Name::AcceptEncoding, Name::AcceptLanguage].map(header)
    };
    let asks = |user: &str| request(Method::Options, "alice", user, alice(), user).end();
    // Nobody is registered yet.
    t.receive(alice(), asks("bob"));
    t.response_to(alice(), 404);
    let (mut a, mut b) = t.established();
    t.receive(
        alice(),
        request(Method::Options, "alice", "bob", alice(), "again").end(),
    );
    let ours = ["application/sdp, multipart/mixed", "identity", "*"];
    assert_eq!(told(&t.response_to(alice(), 200)), ours);
    t.nothing_to(desk());

    for (from, to, asker) in [(alice(), desk(), &mut a), (desk(), alice(), &mut b)] {
        t.receive(from, asker.request(Method::Options).end());
        let asked = t.request_to(to, Method::Options);
        let answer = response(&asked, 200, to, "x")
            .header(Name::Allow, "INVITE, ACK, BYE")
            .header(Name::Supported, "outbound")
            .header(Name::Accept, "text/plain")
            .header(Name::AcceptEncoding, "gzip")
            .header(Name::AcceptLanguage, "cy");
        t.receive(to, answer.end());
        let answer = t.response_to(from, 200);
        assert_eq!(told(&answer), ["text/plain", "gzip", "cy"]);
        assert_eq!(answer.values(Name::Allow).count(), 8 + 3, "ours alone");
        t.receive(from, asker.request(Method::Options).end());
        let asked = t.request_to(to, Method::Options);
        t.reply(&asked, 486, to);
        t.response_to(from, 486);
    }
}

#[test]
fn what_belongs_to_no_dialog_is_told_so() {
    let mut t = Table::new(settings());
    let (a, mut b) = t.established();
    let mut forged = a.clone();
    forged.local = forged.local.replace("tcall1", "other");
    t.receive(alice(), forged.request(Method::Bye).end());
    t.response_to(alice(), 481);
    let mut unknown = a.clone();
    unknown.remote = "<sip:bob@example.org>;tag=rf00ffffffffffffffff".into();
    unknown.cseq = 50;
    t.receive(alice(), unknown.request(Method::Info).end());
    t.response_to(alice(), 481);
    t.nothing_to(desk());
    // An old CSeq is refused, and does not reach the other side (RFC 3261 12.2.2).
    t.receive(desk(), b.request(Method::Info).end());
    let info = t.request_to(alice(), Method::Info);
    t.reply(&info, 200, alice());
    t.response_to(desk(), 200);
    t.receive(desk(), b.numbered(Method::Options, 3).end());
    t.response_to(desk(), 500);
    t.nothing_to(alice());
}

#[test]
fn a_farewell_carries_its_reason() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let bye = a
        .request(Method::Bye)
        .header(Name::Reason, "Q.850;cause=16;text=\"bye\"")
        .end();
    t.receive(alice(), bye);
    assert!(
        t.request_to(desk(), Method::Bye)
            .header(Name::Reason)
            .unwrap()
            .contains("cause=16")
    );
}

#[test]
fn a_503_of_a_phone_does_not_stop_the_other_phones_client() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(desk(), Method::Info);
    t.reply(&info, 503, desk());
    let refused = t.response_to(alice(), 500);
    assert!(refused.header(Name::RetryAfter).is_some());
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let offer = t.request_to(desk(), Method::Invite);
    t.reply(&offer, 503, desk());
    let refused = t.response_to(alice(), 500);
    assert!(refused.header(Name::RetryAfter).is_some());
}

#[test]
fn what_the_survivor_wishes_while_the_new_phone_rings_is_applied_after() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let hold = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(
            response(&hold, 200, desk(), "b1"),
            &sdp(desk(), 2, "recvonly"),
        ),
    );
    t.receive(alice(), a.ack(a.cseq));
    t.discard(alice());
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    assert!(text(&invite).contains("a=sendonly"));
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 3, "sendrecv")),
    );
    let ok = t.response_to(alice(), 200);
    assert!(!text(&ok).contains("only"), "Alice may speak and hear");
    t.receive(alice(), a.ack(a.cseq));
    t.receive(
        mobile(),
        with_sdp(
            response(&invite, 200, mobile(), "m1"),
            &sdp(mobile(), 1, "recvonly"),
        ),
    );
    t.request_to(mobile(), Method::Ack);
    let resume = t.request_to(mobile(), Method::Invite);
    assert!(text(&resume).contains("a=sendrecv") && text(&resume).contains(" 2 IN IP4"));
    // Meanwhile nobody else may offer.
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 4, "sendonly")),
    );
    t.response_to(alice(), 491);
    t.receive(alice(), a.ack(a.cseq));
    t.receive(
        mobile(),
        with_sdp(
            response(&resume, 200, mobile(), "m1"),
            &sdp(mobile(), 2, "sendrecv"),
        ),
    );
    t.request_to(mobile(), Method::Ack);
    t.nothing_to(alice());
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 5, "sendonly")),
    );
    t.request_to(mobile(), Method::Invite);
}
