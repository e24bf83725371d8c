//! Bodies and packages that are the endpoints' own: they cross as they came.

use refork::engine::settings::PathMode;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::edge::{first, in_front, pbx, register};
use crate::people::*;
use crate::table::*;

const CPIM: &str = "Message/CPIM";

/// RFC 5438 7.1.1: a text that wants proof of its delivery, with a name of its own.
const WITH_PROOF: &str = "From: Alice <im:alice@example.org>\r\nTo: Bob <im:bob@example.org>\r\n\
     NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 34jk324j\r\nDateTime: 2026-04-04T12:16:49-05:00\r\n\
     imdn.Disposition-Notification: positive-delivery, negative-delivery\r\n\r\n\
     Content-type: text/plain\r\nContent-length: 12\r\n\r\nHello World\n";

const PROOF: &str = "From: Bob <im:bob@example.org>\r\nTo: Alice <im:alice@example.org>\r\n\
     NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: d834jied93rf\r\n\r\n\
     Content-type: message/imdn+xml\r\nContent-Disposition: notification\r\nContent-length: 94\r\n\r\n\
     <imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>34jk324j</message-id></imdn>\r\n";

fn cpim(dialog: &mut Remote, body: &str) -> bytes::Bytes {
    dialog.request(Method::Message).body(CPIM, body.as_bytes())
}

#[test]
fn proofs_of_delivery_are_the_endpoints_own() {
    let mut t = two();
    let (mut a, mut b) = t.texting();
    t.receive(alice(), cpim(&mut a, WITH_PROOF));
    let carried = t.request_to(desk(), Method::Message);
    assert_eq!(carried.content_type(), Some(CPIM));
    assert_eq!(text(&carried), WITH_PROOF);
    t.reply(&carried, 200, desk());
    t.response_to(alice(), 200);
    t.receive(desk(), cpim(&mut b, PROOF));
    let proof = t.request_to(alice(), Method::Message);
    assert_eq!((proof.content_type(), &*text(&proof)), (Some(CPIM), PROOF));
    t.reply(&proof, 200, alice());
    t.response_to(desk(), 200);

    // What waits for who is lost keeps its name, by which the next phone knows it again.
    t.receive(alice(), cpim(&mut a, WITH_PROOF));
    t.request_to(desk(), Method::Message);
    t.bob_is_lost();
    t.response_to(alice(), 202);
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    let again = t.request_to(mobile(), Method::Message);
    assert_eq!(again.content_type(), Some(CPIM));
    assert_eq!(text(&again), WITH_PROOF);
}

#[test]
fn outside_of_dialogs_they_cross_too() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let message = request(Method::Message, "alice", "bob", alice(), "page");
    t.receive(alice(), message.body(CPIM, WITH_PROOF.as_bytes()));
    let carried = t.request_to(desk(), Method::Message);
    assert_eq!(carried.content_type(), Some(CPIM));
    assert_eq!(text(&carried), WITH_PROOF);
    t.reply(&carried, 200, desk());
    t.response_to(alice(), 200);
}

/// RFC 3903, 3856, 4235.
#[test]
fn presence_and_dialog_events_go_between_a_phone_and_its_upstream() {
    for (package, body) in [
        ("presence", "application/pidf+xml"),
        ("dialog", "application/dialog-info+xml"),
        ("message-summary", "application/simple-message-summary"),
    ] {
        let mut t = in_front(PathMode::Path);
        t.receive(desk(), register("bob", desk(), 1, 3600).end());
        let onward = t.request_to(pbx(), Method::Register);
        t.receive(pbx(), crate::edge::granted(&onward, 1800).end());
        t.response_to(desk(), 200);

        let publish = first(Method::Publish, "bob", "bob", desk(), "pub1", 1)
            .header(Name::Event, package)
            .other("SIP-If-Match", "dx200xyz");
        t.receive(desk(), publish.body(body, b"<state/>"));
        let onward = t.request_to(pbx(), Method::Publish);
        assert_eq!(onward.header(Name::Event), Some(package));
        assert_eq!(onward.other("SIP-If-Match"), Some("dx200xyz"));
        assert_eq!(onward.content_type(), Some(body));
        assert_eq!(text(&onward), "<state/>");
        let ok = response(&onward, 200, pbx(), "p1").other("SIP-ETag", "kwj449x");
        t.receive(pbx(), ok.end());
        let ok = t.response_to(desk(), 200);
        assert_eq!(ok.other("SIP-ETag"), Some("kwj449x"));

        let subscribe = first(Method::Subscribe, "bob", "carol", desk(), "sub1", 1)
            .header(Name::Event, package)
            .header(Name::Accept, body)
            .header(Name::Contact, "<sip:bob@10.0.0.7:5060>");
        t.receive(desk(), subscribe.end());
        let onward = t.request_to(pbx(), Method::Subscribe);
        assert_eq!(onward.header(Name::Event), Some(package));
        assert_eq!(onward.header(Name::Accept), Some(body));
        let route = onward.header(Name::RecordRoute).unwrap().to_owned();
        let accepted = response(&onward, 200, pbx(), "p9").copy(&onward, Name::RecordRoute);
        t.receive(pbx(), accepted.end());
        t.response_to(desk(), 200);

        let notify = first(Method::Notify, "carol", "bob", pbx(), "sub1", 5);
        let notify = String::from_utf8(
            notify
                .header(Name::Route, route)
                .header(Name::Event, package)
                .header(Name::SubscriptionState, "active;expires=600")
                .body(body, b"<state/>")
                .to_vec(),
        );
        let notify = notify.unwrap().replace(
            "To: <sip:bob@pbx.example.net>",
            "To: <sip:bob@pbx.example.net>;tag=tsub1",
        );
        t.receive(pbx(), notify.into());
        let notify = t.request_to(desk(), Method::Notify);
        assert_eq!(notify.header(Name::Event), Some(package));
        assert_eq!(
            notify.header(Name::SubscriptionState),
            Some("active;expires=600")
        );
        assert_eq!(
            (notify.content_type(), &*text(&notify)),
            (Some(body), "<state/>")
        );
        t.reply(&notify, 200, desk());
        t.response_to(pbx(), 200);
    }
}

/// The lamps of a phone whose address changes, as behind a NAT that has forgotten it: what the PBX says within its
/// subscription goes where it has registered since, and its refresh from there goes to the PBX.
#[test]
fn lamps_go_on_for_a_phone_that_moves() {
    let moved = phone("198.51.100.2:40444");
    for mode in [PathMode::Path, PathMode::Contact] {
        let mut t = in_front(mode);
        t.register_beyond("bob", desk());
        let subscribe = first(Method::Subscribe, "bob", "201", desk(), "lamp", 1)
            .header(Name::Event, "dialog")
            .header(Name::Expires, 600)
            .header(Name::Contact, "<sip:bob@10.0.0.7:5060>");
        t.receive(desk(), subscribe.end());
        let onward = t.request_to(pbx(), Method::Subscribe);
        assert_eq!(onward.header(Name::Expires), Some("600"));
        let route = onward.header(Name::RecordRoute).unwrap().to_owned();
        let accepted = response(&onward, 200, pbx(), "p9").copy(&onward, Name::RecordRoute);
        t.receive(pbx(), accepted.header(Name::Expires, 600).end());
        let accepted = t.response_to(desk(), 200);
        assert_eq!(accepted.header(Name::Expires), Some("600"));

        t.receive(moved, register("bob", moved, 2, 3600).end());
        let onward = t.request_to(pbx(), Method::Register);
        t.receive(pbx(), crate::edge::granted(&onward, 1800).end());
        t.response_to(moved, 200);

        let within = |method: Method, at, to_phone: bool, cseq: u32| {
            let name = method.as_str().to_owned();
            let (uri, [from, to]) = match to_phone {
                true => ("sip:bob@10.0.0.7:5060".into(), ["p9", "tlamp"]),
                false => (format!("sip:{}", pbx()), ["tlamp", "p9"]),
            };
            refork::sip::Builder::request(&method, &uri)
                .header(
                    Name::Via,
                    format_args!("SIP/2.0/UDP {at};branch=z9hG4bKl{name}{cseq};rport"),
                )
                .header(Name::MaxForwards, 70)
                .header(Name::Route, &route)
                .header(
                    Name::From,
                    format_args!("<sip:201@pbx.example.net>;tag={from}"),
                )
                .header(Name::To, format_args!("<sip:bob@pbx.example.net>;tag={to}"))
                .header(Name::CallId, "lamp")
                .header(Name::CSeq, format_args!("{cseq} {name}"))
                .header(Name::Event, "dialog")
        };
        for (cseq, state) in [(7, "active;expires=590"), (8, "terminated;reason=timeout")] {
            let notify = within(Method::Notify, pbx(), true, cseq);
            let notify = notify.header(Name::SubscriptionState, state);
            t.receive(pbx(), notify.end());
            let notify = t.request_to(moved, Method::Notify);
            assert_eq!(notify.header(Name::SubscriptionState), Some(state));
            t.reply(&notify, 200, moved);
            t.response_to(pbx(), 200);
            if cseq == 7 {
                t.receive(moved, within(Method::Subscribe, moved, false, 2).end());
                let refresh = t.request_to(pbx(), Method::Subscribe);
                assert_eq!(refresh.cseq(), 2);
                t.reply(&refresh, 200, pbx());
                t.response_to(moved, 200);
            }
        }
        t.nothing_to(desk());
        t.ends_empty();
    }
}

/// What waits for a user is told without a subscription, too, by whoever knows the phone's Path.
#[test]
fn a_pbx_tells_unasked_what_waits() {
    let mut t = in_front(PathMode::Path);
    let registered = t.register_beyond("bob", desk());
    let notify = first(Method::Notify, "bob", "bob", pbx(), "mwi", 1)
        .header(Name::Route, registered.header(Name::Path).unwrap())
        .header(Name::Event, "message-summary")
        .header(Name::SubscriptionState, "terminated")
        .body(
            "application/simple-message-summary",
            b"Messages-Waiting: yes\r\n",
        );
    let notify = String::from_utf8(notify.to_vec()).unwrap();
    let contact = "NOTIFY sip:bob@10.0.0.7:5060;x=1 ";
    t.receive(
        pbx(),
        notify
            .replacen("NOTIFY sip:bob@pbx.example.net ", contact, 1)
            .into(),
    );
    let notify = t.request_to(desk(), Method::Notify);
    assert_eq!(text(&notify), "Messages-Waiting: yes\r\n");
    t.reply(&notify, 200, desk());
    t.response_to(pbx(), 200);
    t.ends_empty();
}

/// Bob is lost, and Alice writes to him what she wants to hear of; it is stored, and she has her 202.
fn waits_with_proof(t: &mut Table, expires: Option<u32>) -> Remote {
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    let mut message = a.request(Method::Message);
    if let Some(expires) = expires {
        message = message.header(Name::Expires, expires);
    }
    t.receive(alice(), message.body(CPIM, WITH_PROOF.as_bytes()));
    t.response_to(alice(), 202);
    a
}

/// RFC 5438 7.2.1.1: the word is Alice's phone's, which knows the text again by its name.
#[track_caller]
fn is_told(t: &mut Table) {
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(word.content_type(), Some("message/cpim"));
    let says = text(&word);
    let head = "From: Bob <im:bob@example.org>\r\nTo: Alice <im:alice@example.org>\r\nNS: imdn ";
    assert!(says.starts_with(head), "{says}");
    assert!(says.contains("<message-id>34jk324j</message-id>"), "{says}");
    assert!(says.contains("<status><failed/></status>"), "{says}");
    t.reply(&word, 200, alice());
}

#[test]
fn who_asked_is_told_that_its_text_grew_too_old() {
    for (max_age, expires) in [(5, None), (5, Some(0)), (5, Some(60)), (20, Some(5))] {
        let mut wishes = settings();
        wishes.messages.max_age = Millis::from_secs(max_age);
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        let mut a = waits_with_proof(&mut t, expires);
        t.receive(alice(), a.message("who does not ask is told nothing"));
        t.response_to(alice(), 202);
        t.pass(Millis(4_999));
        t.nothing_to(alice());
        t.pass(Millis(1));
        is_told(&mut t);
        t.nothing_to(alice());
        let left = usize::from(max_age == 20);
        assert_eq!(t.engine.gauges().queued_messages, left);
    }
}

#[test]
fn who_asked_is_told_that_its_text_was_refused() {
    let mut t = two();
    waits_with_proof(&mut t, None);
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    let again = t.request_to(mobile(), Method::Message);
    t.reply(&again, 415, mobile());
    is_told(&mut t);
    // Then the word that Bob is at his mobile.
    let notice = t.request_to(alice(), Method::Message);
    assert!(text(&notice).contains("Phone-mobile"));
}

#[test]
fn who_asked_is_told_that_nobody_came_back() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    waits_with_proof(&mut t, None);
    let lives = |t: &mut Table| {
        t.pass(Millis::from_secs(1));
        while let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
    };
    for _ in 0..59 {
        lives(&mut t);
        t.nothing_to(alice());
    }
    lives(&mut t);
    is_told(&mut t);
    let last = t.request_to(alice(), Method::Message);
    // Her phone speaks in envelopes, and is spoken to so.
    assert_eq!(last.content_type(), Some("message/cpim"));
    let says = text(&last);
    assert!(
        says.ends_with("\r\n\r\nbob is gone; 1 not delivered."),
        "{says}"
    );
    t.reply(&last, 200, alice());
    t.request_to(alice(), Method::Bye);
}

/// Its phone has 2 s for each word, and no more for all of them where it answers none.
#[test]
fn a_phone_that_answers_no_last_words_has_its_bye_soon() {
    for answers in [true, false] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let mut a = waits_with_proof(&mut t, None);
        for _ in 0..2 {
            t.receive(alice(), cpim(&mut a, WITH_PROOF));
            t.response_to(alice(), 202);
        }
        let mut word = None;
        for _ in 0..700 {
            while let Some(probe) = t.waiting(alice(), &Method::Options) {
                t.reply(&probe, 200, alice());
            }
            word = t.waiting(alice(), &Method::Message);
            if word.is_some() {
                break;
            }
            t.pass(Millis(100));
        }
        let mut word = word.unwrap();
        if answers {
            for _ in 0..3 {
                t.pass(Millis(1_600));
                t.discard(alice());
                t.reply(&word, 200, alice());
                word = t.request_to(alice(), Method::Message);
            }
            assert!(text(&word).ends_with("bob is gone; 3 not delivered."));
            t.reply(&word, 200, alice());
        } else {
            t.pass(Millis(1_800));
            assert!(t.waiting(alice(), &Method::Bye).is_none());
            t.pass(Millis(300));
        }
        assert!(t.waiting(alice(), &Method::Bye).is_some(), "{answers}");
    }
}

/// RFC 6140 5.2: what comes for one of a PBX's numbers would find no phone here, so nothing goes on.
#[test]
fn a_bulk_registration_is_refused_by_name() {
    for (number, (contact, lines)) in [
        (
            "<sip:198.51.100.2;bnc>",
            "Require: gin\r\nProxy-Require: gin\r\n",
        ),
        ("<sip:198.51.100.2;bnc>", "Require: gin\r\n"),
        ("\"PBX\" <sip:198.51.100.2:5060;transport=udp;BNC>;q=1", ""),
    ]
    .into_iter()
    .enumerate()
    {
        for mode in [PathMode::Path, PathMode::Contact] {
            let mut t = in_front(mode);
            let at = desk();
            let register = first(
                Method::Register,
                "branch",
                "",
                at,
                &format!("bulk{number}"),
                1,
            )
            .header(Name::Contact, contact)
            .raw_lines(lines.as_bytes());
            t.receive(at, register.end());
            let refused = t.response_to(at, 420);
            assert_eq!(refused.header(Name::Unsupported), Some("gin"));
            t.nothing_to(pbx());
        }
    }
}
