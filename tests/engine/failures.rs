//! What failures within a dialog mean (RFC 5057), and what is carried, or refused with what would be right.

use refork::engine::events::{Happening, Signal};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

fn lost(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Lost { .. }))
}

fn suspected(t: &Table) -> usize {
    t.happened(|what| {
        matches!(
            what,
            Happening::Suspected {
                signal: Signal::RequestFailed,
                ..
            }
        )
    })
}

/// Alice's request is carried to Bob, who answers so. Returns what she gets, if anything.
fn carried(t: &mut Table, request: bytes::Bytes, method: Method, status: u16) -> Option<Message> {
    t.receive(alice(), request);
    let asked = t.request_to(desk(), method);
    t.reply(&asked, status, desk());
    t.any_to(alice())
}

#[test]
fn a_code_that_a_proxy_may_have_sent_ends_no_call_and_is_settled_by_a_probe() {
    for status in [408, 416, 480, 482, 484, 485, 502] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        let info = a.request(Method::Info).end();
        let answer = carried(&mut t, info, Method::Info, status).unwrap();
        // RFC 3261 12.2.1.2, RFC 5057 5.1: she would hang up, and her leg stands.
        assert_eq!(answer.status(), 500, "{status}");
        assert!(answer.header(Name::RetryAfter).is_some(), "{status}");
        assert_eq!((lost(&t), suspected(&t)), (0, 1), "{status}");
        let probe = t.request_to(desk(), Method::Update);
        let answer = response(&probe, 200, desk(), "b1");
        t.receive(desk(), with_sdp(answer, &audio(desk())));
        assert_eq!(lost(&t), 0);
        t.nothing_to(alice());
    }
}

#[test]
fn a_phone_behind_a_proxy_that_answers_for_it_is_restored_and_its_caller_keeps_the_call() {
    for method in [Method::Invite, Method::Update] {
        let mut t = two();
        let (mut a, _) = t.established();
        let hold = |a: &mut Remote| {
            let hold = a.request(method.clone());
            with_sdp(hold, &sdp(alice(), 2, "sendonly"))
        };
        let wish = hold(&mut a);
        let answer = carried(&mut t, wish, method.clone(), 408).unwrap();
        assert_eq!(answer.status(), 500, "{method:?}");
        // So the proxy says to the probes.
        for _ in 0..20 {
            while let Some(probe) = t.waiting(desk(), &Method::Update) {
                t.reply(&probe, 408, desk());
            }
            t.pass(Millis::from_secs(1));
        }
        assert_eq!(lost(&t), 1, "{method:?}");
        t.discard(alice());
        // She holds once more, and is held.
        t.receive(alice(), hold(&mut a));
        let held = t.response_to(alice(), 200);
        assert!(text(&held).contains("a=recvonly"), "{}", text(&held));
    }
}

/// A proxy answers a text for the phone behind it.
fn text_is_answered(t: &mut Table, status: u16) -> Remote {
    let (mut a, _) = t.established();
    let text = a.message("there?");
    assert!(carried(t, text, Method::Message, status).is_none());
    assert_eq!((lost(t), suspected(t)), (0, 1), "{status}");
    a
}

#[test]
fn a_text_that_a_proxy_refuses_for_a_phone_goes_once_more_where_that_is_there() {
    for status in [408, 416, 480, 482, 484, 485, 502] {
        let mut t = two();
        text_is_answered(&mut t, status);
        let probe = t.request_to(desk(), Method::Update);
        let answer = response(&probe, 200, desk(), "b1");
        t.receive(desk(), with_sdp(answer, &audio(desk())));
        let again = t.request_to(desk(), Method::Message);
        assert_eq!(text(&again), "there?");
        // Whoever says so says it for good.
        t.reply(&again, status, desk());
        let refused = t.response_to(alice(), 500);
        assert!(refused.header(Name::RetryAfter).is_some(), "{status}");
        assert_eq!(lost(&t), 0);
    }
}

#[test]
fn a_text_that_a_proxy_refuses_for_a_dead_phone_is_kept_for_the_next_one() {
    for status in [408, 480, 502] {
        let mut t = two();
        text_is_answered(&mut t, status);
        let probe = t.request_to(desk(), Method::Update);
        t.reply(&probe, 481, desk());
        assert_eq!(lost(&t), 1);
        t.response_to(alice(), 202);
        // A BYE that was lost might come again first.
        t.pass(Millis::from_secs(3));
        t.takes_over(mobile(), "m1", &audio(mobile()));
        let kept = t.request_to(mobile(), Method::Message);
        assert_eq!(text(&kept), "there?");
    }
}

#[test]
fn a_code_that_ends_the_request_alone_is_handed_on_and_no_more() {
    // What she is told in place of what is for us alone.
    for (status, told) in [
        (400, 400),
        (401, 403),
        (403, 403),
        (405, 405),
        (407, 403),
        (469, 469),
        (483, 500),
        (486, 486),
        (489, 489),
        (501, 501),
        (503, 500),
        (603, 603),
    ] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        let info = a.request(Method::Info).end();
        let answer = carried(&mut t, info, Method::Info, status).unwrap();
        assert_eq!(answer.status(), told);
        assert_eq!(answer.header(Name::RetryAfter).is_some(), told == 500);
        assert_eq!((lost(&t), suspected(&t)), (0, 0), "{status}");
        t.nothing_to(desk());
    }
}

#[test]
fn a_code_of_the_endpoints_own_to_an_offer_too_is_a_loss() {
    for status in [404, 410, 430, 481, 604] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        let info = a.request(Method::Info).end();
        let answer = carried(&mut t, info, Method::Info, status).unwrap();
        assert_eq!(answer.status(), 488, "{status}");
        let asked = t.request_to(desk(), Method::Update);
        assert_eq!(lost(&t), 0, "{status}");
        t.reply(&asked, status, desk());
        assert_eq!(lost(&t), 1, "{status}");
        t.nothing_to(alice());
    }
}

#[test]
fn a_hold_that_a_proxy_has_refused_leaves_all_as_it_was_until_a_probe_settles_it() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly"));
    t.receive(alice(), hold);
    let hold = t.request_to(desk(), Method::Invite);
    t.reply(&hold, 480, desk());
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 500);
    assert_eq!((lost(&t), suspected(&t)), (0, 1));
    let probe = t.request_to(desk(), Method::Update);
    assert!(text(&probe).contains("a=sendrecv"), "all is as it was");
}

#[test]
fn a_challenge_to_our_invite_is_no_challenge_to_the_caller() {
    for status in [401, 407] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        t.alice_invites(&audio(alice()));
        let invite = t.request_to(desk(), Method::Invite);
        t.reply(&invite, status, desk());
        t.request_to(desk(), Method::Ack);
        t.response_to(alice(), 403);
    }
}

#[test]
fn packages_of_info_and_unknown_methods_cross_with_all_they_say() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    // RFC 6086 4.2: what package it is stands in a header of its own.
    let info = a
        .request(Method::Info)
        .other("Info-Package", "dtmf-relay")
        .other("Content-Disposition", "Info-Package")
        .body("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n");
    t.receive(alice(), info);
    let info = t.request_to(desk(), Method::Info);
    assert_eq!(info.other("Info-Package"), Some("dtmf-relay"));
    assert_eq!(info.content_type(), Some("application/dtmf-relay"));
    assert_eq!(text(&info), "Signal=5\r\nDuration=160\r\n");
    let unknown = response(&info, 469, desk(), "b1").other("Recv-Info", "trickle-ice");
    t.receive(desk(), unknown.end());
    let refused = t.response_to(alice(), 469);
    assert_eq!(refused.other("Recv-Info"), Some("trickle-ice"));

    let wave = a
        .request(Method::parse("WAVE"))
        .other("X-Hand", "left")
        .body("x/y", b"hello");
    t.receive(alice(), wave);
    let wave = t.request_to(desk(), Method::parse("WAVE"));
    assert_eq!(wave.other("X-Hand"), Some("left"));
    assert_eq!(
        (wave.content_type(), wave.body()),
        (Some("x/y"), &b"hello"[..])
    );
    t.reply(&wave, 501, desk());
    t.response_to(alice(), 501);
}

#[test]
fn what_is_demanded_of_the_far_end_is_its_to_refuse_and_what_of_us_is_ours() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let info = a.request(Method::Info).header(Name::Require, "magic").end();
    t.receive(alice(), info);
    let info = t.request_to(desk(), Method::Info);
    assert_eq!(info.header(Name::Require), Some("magic"));
    let refused = response(&info, 420, desk(), "b1").header(Name::Unsupported, "magic");
    t.receive(desk(), refused.end());
    let refused = t.response_to(alice(), 420);
    assert_eq!(refused.header(Name::Unsupported), Some("magic"));

    for method in [
        Method::Invite,
        Method::Update,
        Method::Message,
        Method::Refer,
    ] {
        let request = a.request(method.clone());
        let request = request.header(Name::Require, "timer, magic, 100rel, more");
        t.receive(alice(), with_sdp(request, &sdp(alice(), 2, "sendonly")));
        let refused = t.response_to(alice(), 420);
        assert_eq!(
            refused.header(Name::Unsupported),
            Some("magic, more"),
            "{method:?}"
        );
        t.nothing_to(desk());
    }
    // A farewell is one whatever it demands.
    let bye = a.request(Method::Bye).header(Name::Require, "magic").end();
    t.receive(alice(), bye);
    t.response_to(alice(), 200);
    t.request_to(desk(), Method::Bye);
}

#[test]
fn refusals_say_what_would_be_right() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    for (method, status, name, value) in [
        (Method::Refer, 405, Name::Allow, "INVITE"),
        (Method::Publish, 405, Name::Allow, "PRACK"),
        (Method::Subscribe, 489, Name::AllowEvents, "dialog"),
    ] {
        let request = request(method.clone(), "alice", "bob", alice(), "lone");
        t.receive(alice(), request.end());
        let refused = t.response_to(alice(), status);
        assert!(refused.has_token(name, value), "{method:?}");
        // RFC 3261 21.4.6: what was refused is not among it.
        assert!(!refused.has_token(name, method.as_str()), "{method:?}");
    }
    // Within a dialog as well: no session description, no re-INVITE (RFC 3261 8.2.3).
    let (mut a, _) = t.established();
    let odd = a.request(Method::Invite).body("text/plain", b"hello");
    t.receive(alice(), odd);
    let refused = t.response_to(alice(), 415);
    assert_eq!(
        refused.header(Name::Accept),
        Some("application/sdp, multipart/mixed")
    );
}

/// RFC 4321 1: a 408 that would come when nobody listens any more, and provisional responses to what is no
/// INVITE, help nobody (RFC 4320 4).
#[test]
fn nobody_is_told_late_or_in_between_of_what_is_no_invite() {
    let mut t = two();
    let text = request(Method::Message, "alice", "bob", alice(), "page");
    t.receive(alice(), text.body("text/plain", b"hello"));
    for at in [desk(), mobile()] {
        let carried = t.request_to(at, Method::Message);
        for status in [180, 183, 180] {
            t.reply(&carried, status, at);
        }
    }
    t.pass(Millis::from_secs(40));
    t.nothing_to(alice());

    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), a.request(Method::Info).end());
    let carried = t.request_to(desk(), Method::Info);
    t.reply(&carried, 183, desk());
    t.pass(Millis::from_secs(3));
    t.nothing_to(alice());
    t.reply(&carried, 200, desk());
    t.response_to(alice(), 200);
}
