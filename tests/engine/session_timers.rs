//! Session timers (RFC 4028): each leg has its own.

use refork::engine::events::{Happening, Signal};
use refork::engine::settings::RefresherChoice;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;
use crate::transfer::{carol, three};

/// Alice's phone talks, Bob's too, each with lines about its timer. Returns both dialogs, what Bob's was
/// asked, and what Alice's was answered.
fn call(t: &mut Table, alices: &str, bobs: &str) -> (Remote, Remote, Message, Message) {
    if t.site.bindings.is_empty() {
        t.register("bob", desk(), "desk");
    }
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive(
        alice(),
        with_sdp(invite.raw_lines(alices.as_bytes()), &audio(alice())),
    );
    let invite = t.request_to(desk(), Method::Invite);
    let answer = answer_to(&invite).raw_lines(bobs.as_bytes());
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    let b = Remote::of_invite(&invite, desk(), "b1");
    (a, b, invite, ok)
}

/// Turns the clock while both phones answer OPTIONS. Stops at the first other request to either.
fn pass_until_asked(t: &mut Table, secs: u64) -> Option<Message> {
    for _ in 0..secs {
        t.pass(Millis::from_secs(1));
        for at in [alice(), desk(), mobile()] {
            while let Some(options) = t.waiting(at, &Method::Options) {
                t.reply(&options, 200, at);
            }
            if let Some(message) = t.any_to(at) {
                return Some(message);
            }
        }
    }
    None
}

const UAC: &str = "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n";

#[test]
fn each_leg_has_its_own_timer() {
    let mut t = Table::new(settings());
    // The caller knows of no timer, the callee wants to be refreshed.
    let (_, _, invite, ok) = call(&mut t, "", "Session-Expires: 600;refresher=uac\r\n");
    assert_eq!(invite.header(Name::SessionExpires), Some("1800"));
    assert_eq!(invite.header(Name::MinSe), Some("90"));
    assert!(invite.has_token(Name::Supported, "timer"));
    assert_eq!(ok.header(Name::SessionExpires), None);
    let start = t.now;
    let update = pass_until_asked(&mut t, 400).unwrap();
    assert_eq!(t.now.since(start).0 / 1000, 300);
    assert_eq!(title(&update), format!("UPDATE sip:phone@{} 2", desk()));
    assert_eq!(
        update.header(Name::SessionExpires),
        Some("600;refresher=uac")
    );
    assert_eq!(update.body(), b"");
    let renewed = response(&update, 200, desk(), "b1")
        .header(Name::SessionExpires, "600;refresher=uac")
        .header(Name::Require, "timer")
        .end();
    t.receive(desk(), renewed);
    let update = pass_until_asked(&mut t, 299);
    assert!(update.is_none(), "{update:?}");
    // Without a timer in the answer the session lasts for ever (RFC 4028 7.2).
    let update = pass_until_asked(&mut t, 2).unwrap();
    t.receive(desk(), response(&update, 200, desk(), "b1").end());
    assert!(pass_until_asked(&mut t, 2900).is_none());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Suspected { .. })),
        0
    );
}

#[test]
fn the_callers_refresh_does_not_cross() {
    let mut t = Table::new(settings());
    let (mut a, _, _, ok) = call(&mut t, UAC, "");
    assert_eq!(ok.header(Name::SessionExpires), Some("600;refresher=uac"));
    assert!(ok.has_token(Name::Require, "timer"));
    assert!(pass_until_asked(&mut t, 300).is_none());
    let update = a.request(Method::Update).raw_lines(UAC.as_bytes()).end();
    t.receive(alice(), update);
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.header(Name::SessionExpires), Some("600;refresher=uac"));
    t.nothing_to(desk());
    // By re-INVITE with what stands, too.
    assert!(pass_until_asked(&mut t, 300).is_none());
    let again = a.request(Method::Invite).raw_lines(UAC.as_bytes());
    t.receive(alice(), with_sdp(again, &audio(alice())));
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.header(Name::SessionExpires), Some("600;refresher=uac"));
    t.receive(alice(), a.ack(ok.cseq()));
    t.nothing_to(desk());
    assert!(pass_until_asked(&mut t, 560).is_none());
}

#[test]
fn a_refresh_that_does_not_come_is_a_sign_of_loss_and_no_bye() {
    let mut t = Table::new(settings());
    call(&mut t, "", "Session-Expires: 600;refresher=uas\r\n");
    let start = t.now;
    let doubt = pass_until_asked(&mut t, 700).unwrap();
    // RFC 4028 10: 32 seconds before its end.
    assert_eq!(t.now.since(start).0 / 1000, 568);
    assert_eq!(
        t.happened(|what| matches!(
            what,
            Happening::Suspected {
                signal: Signal::SessionExpired,
                ..
            }
        )),
        1
    );
    // The phone has ended the call on its side.
    assert_eq!(*doubt.method(), Method::Update);
    t.reply(&doubt, 481, desk());
    t.pass(Millis(700));
    t.nothing_to(alice());
    t.takes_over(desk(), "b2", &audio(desk()));
    t.nothing_to(alice());
}

#[test]
fn a_late_phone_that_still_has_its_call_goes_on() {
    let mut t = Table::new(settings());
    call(&mut t, "", "Session-Expires: 600;refresher=uas\r\n");
    let doubt = pass_until_asked(&mut t, 700).unwrap();
    assert_eq!(doubt.header(Name::SessionExpires), Some("600"));
    let answer =
        response(&doubt, 200, desk(), "b1").header(Name::SessionExpires, "600;refresher=uac");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Alive { .. })),
        1
    );
    // It has been asked to refresh no longer.
    let update = pass_until_asked(&mut t, 301).unwrap();
    assert_eq!(*update.method(), Method::Update);
}

/// Bob's phone has no UPDATE. Returns the first refresh, and what his answer says of the session.
fn refreshed_by_reinvite(t: &mut Table) -> (Message, &'static str) {
    let bobs = "Session-Expires: 600;refresher=uac\r\n";
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let answer = response(&invite, 200, desk(), "b1")
        .header(Name::Allow, "INVITE, ACK, BYE, CANCEL, OPTIONS")
        .raw_lines(bobs.as_bytes());
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    let again = pass_until_asked(t, 301).unwrap();
    assert_eq!(*again.method(), Method::Invite);
    assert_eq!(text(&again), text(&invite), "the same version of the same");
    (again, bobs)
}

#[test]
fn without_update_the_standing_session_is_offered_by_reinvite() {
    let mut t = Table::new(settings());
    let (again, bobs) = refreshed_by_reinvite(&mut t);
    // RFC 3261 14.2: he has an offer of his own.
    t.reply(&again, 491, desk());
    t.request_to(desk(), Method::Ack);
    // RFC 3261 14.1: it goes out again as any other that met one.
    let again = pass_until_asked(&mut t, 5).unwrap();
    let answer = response(&again, 200, desk(), "b1").raw_lines(bobs.as_bytes());
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.request_to(desk(), Method::Ack);
    t.nothing_to(alice());
}

/// At once, three times after a moment, and then every half minute.
#[test]
fn a_phone_that_answers_491_to_each_refresh_is_not_asked_all_the_time() {
    let mut t = Table::new(settings());
    let (mut again, _) = refreshed_by_reinvite(&mut t);
    let (mut asked, began) = (1, t.now);
    while t.now < began + Millis::from_secs(132) {
        t.reply(&again, 491, desk());
        t.discard(desk());
        again = pass_until_asked(&mut t, 31).unwrap();
        asked += 1;
    }
    assert_eq!(asked, 1 + 3 + 4);
}

/// A refresh that nothing comes back for asks the dialog as well as a probe does.
#[test]
fn who_never_answers_options_is_missed_as_soon_though_a_refresh_is_out() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&text_sdp(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let lines =
        b"Allow: INVITE, ACK, BYE, CANCEL, MESSAGE\r\nSession-Expires: 90;refresher=uac\r\n";
    let answer = |invite: &Message| response(invite, 200, desk(), "b1").raw_lines(lines);
    t.receive(desk(), with_sdp(answer(&invite), &text_sdp(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    let (mut answered, mut last) = (0, t.now);
    while t.losses().is_empty() {
        t.pass(Millis::from_secs(1));
        while let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
        if let Some(asked) = t.waiting(desk(), &Method::Invite).filter(|_| answered < 3) {
            t.receive(desk(), with_sdp(answer(&asked), &text_sdp(desk())));
            (answered, last) = (answered + 1, t.now);
        }
        assert!(t.now.since(last) < Millis::from_secs(120));
    }
    // A minute of silence, which is asked into after 45 s by the refresh, and the time of two probes.
    let missed = t.now.since(last);
    assert!(missed <= Millis::from_secs(70), "{missed:?}");
    assert_eq!(answered, 3);
}

/// Bob holds, Alice's phone says nothing to that for half a minute, and his session is about to end by then.
#[test]
fn a_refresh_goes_out_as_soon_as_the_offer_in_its_way_has_failed() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let answer = response(&invite, 200, desk(), "b1")
        .header(Name::Allow, "INVITE, ACK, BYE, CANCEL, OPTIONS")
        .header(Name::SessionExpires, "90;refresher=uac");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    assert!(pass_until_asked(&mut t, 30).is_none());
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    let hold = b.request(Method::Invite);
    t.receive(desk(), with_sdp(hold, &sdp(desk(), 2, "sendonly")));
    for _ in 0..320 {
        t.pass(Millis(100));
        while let Some(options) = t.waiting(alice(), &Method::Options) {
            t.reply(&options, 200, alice());
        }
    }
    let refused = loop {
        let answer = t.next_to(desk());
        if !answer.is_request() && answer.status() > 100 {
            break answer;
        }
    };
    assert_eq!(refused.status(), 500);
    t.receive(desk(), b.ack(refused.cseq()));
    t.pass(Millis(600));
    assert!(t.waiting(desk(), &Method::Invite).is_some());
}

#[test]
fn a_refresh_does_not_wait_for_an_offer_of_theirs() {
    let lines = "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n";
    for (allows, refreshed) in [
        ("Allow: INVITE, UPDATE\r\n", true),
        ("Allow: INVITE\r\n", false),
    ] {
        let mut t = Table::new(settings());
        let (mut a, ..) = call(&mut t, &format!("{lines}{allows}"), "");
        assert!(pass_until_asked(&mut t, 40).is_none());
        let hold = a.request(Method::Invite);
        t.receive(alice(), with_sdp(hold, &sdp(alice(), 2, "sendonly")));
        let offer = t.request_to(desk(), Method::Invite);
        t.pass(Millis::from_secs(6));
        let update = t.waiting(alice(), &Method::Update);
        assert_eq!(update.is_some(), refreshed, "{allows}");
        if let Some(update) = update {
            assert!(update.body().is_empty());
            assert_eq!(
                update.header(Name::SessionExpires),
                Some("90;refresher=uac")
            );
            let renewed = response(&update, 200, alice(), "x");
            let renewed = renewed.header(Name::SessionExpires, "90;refresher=uac");
            t.receive(alice(), renewed.end());
        }
        // The hold goes on.
        t.discard(alice());
        let ok = response(&offer, 200, desk(), "b1");
        t.receive(desk(), with_sdp(ok, &sdp(desk(), 2, "recvonly")));
        let ok = t.response_to(alice(), 200);
        assert!(text(&ok).contains("a=recvonly"));
    }
}

#[test]
fn a_refresh_that_an_offer_of_theirs_has_held_up_follows_as_that_is_refused() {
    let mut t = Table::new(settings());
    let lines = "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: INVITE\r\n";
    let (mut a, ..) = call(&mut t, lines, "");
    assert!(pass_until_asked(&mut t, 40).is_none());
    let hold = a.request(Method::Invite);
    t.receive(alice(), with_sdp(hold, &sdp(alice(), 2, "sendonly")));
    let offer = t.request_to(desk(), Method::Invite);
    t.pass(Millis::from_secs(17));
    t.reply(&offer, 488, desk());
    // Her session ends 90 s after it began, and she gives it up half a minute before that.
    t.discard(alice());
    t.pass(Millis(1_100));
    let again = t.waiting(alice(), &Method::Invite).expect("a refresh");
    assert_eq!(again.header(Name::SessionExpires), Some("90;refresher=uac"));
}

#[test]
fn a_refresh_gives_way_to_the_offer_for_who_is_to_be_joined() {
    let mut t = Table::new(settings());
    let lines = "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: INVITE\r\n";
    call(&mut t, lines, "");
    t.register("bob", mobile(), "mobile");
    assert!(pass_until_asked(&mut t, 40).is_none());
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &g722(mobile()));
    let asked = t.request_to(alice(), Method::Invite);
    let later = response(&asked, 500, alice(), "x1").header(Name::RetryAfter, 5);
    t.receive(alice(), later.end());
    t.request_to(alice(), Method::Ack);
    // The refresh is due meanwhile, and offers what stands.
    t.pass(Millis::from_secs(8));
    let again = t
        .waiting(alice(), &Method::Invite)
        .expect("the offer again");
    let formats = |of: &Message| {
        text(of)
            .lines()
            .find(|line| line.starts_with("m="))
            .map(str::to_owned)
    };
    assert_eq!(formats(&again), formats(&asked));
}

#[test]
fn who_hands_the_call_on_is_refreshed_while_its_target_rings() {
    let bobs = "Session-Expires: 90;refresher=uac\r\n";
    for (allows, method) in [
        ("INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE", Method::Update),
        ("INVITE, ACK, BYE, CANCEL, OPTIONS", Method::Invite),
    ] {
        let mut t = three();
        t.alice_invites(&audio(alice()));
        let invite = t.request_to(desk(), Method::Invite);
        let ok = |request: &Message| {
            let answer = response(request, 200, desk(), "b1").header(Name::Allow, allows);
            answer.raw_lines(bobs.as_bytes())
        };
        t.receive(desk(), with_sdp(ok(&invite), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let answer = t.response_to(alice(), 200);
        t.receive(alice(), Remote::of_answer(&answer, alice()).ack(1));
        let mut b = Remote::of_invite(&invite, desk(), "b1");
        assert!(pass_until_asked(&mut t, 40).is_none());
        let target = t.referred(&mut b);
        t.reply(&target, 180, carol());
        t.told(desk(), "180 Ringing");
        let refresh = pass_until_asked(&mut t, 8).expect("a refresh");
        assert_eq!(*refresh.method(), method);
        assert_eq!(
            refresh.header(Name::SessionExpires),
            Some("90;refresher=uac")
        );
        if method == Method::Invite {
            assert_eq!(
                text(&refresh),
                text(&invite),
                "the same version of the same"
            );
            t.receive(desk(), with_sdp(ok(&refresh), &audio(desk())));
            t.request_to(desk(), Method::Ack);
        } else {
            t.receive(desk(), ok(&refresh).end());
        }
        assert!(pass_until_asked(&mut t, 15).is_none());
        // Nobody takes the call: he has it back, and it goes on from there.
        t.reply(&target, 603, carol());
        t.told(desk(), "603 Decline");
        assert!(pass_until_asked(&mut t, 25).is_none());
        assert!(pass_until_asked(&mut t, 10).is_some());
    }
}

#[test]
fn a_refresh_that_is_denied_is_a_loss_and_one_that_is_unanswered_a_suspicion() {
    for denied in [true, false] {
        let mut t = Table::new(settings());
        call(&mut t, "", "Session-Expires: 600;refresher=uac\r\n");
        let update = pass_until_asked(&mut t, 301).unwrap();
        if denied {
            t.reply(&update, 481, desk());
        } else {
            t.pass(Millis::from_secs(45));
        }
        assert_eq!(t.happened(|what| matches!(what, Happening::Lost { .. })), 1);
        while let Some(options) = t.waiting(alice(), &Method::Options) {
            t.reply(&options, 200, alice());
        }
        t.nothing_to(alice());
    }
}

#[test]
fn who_asks_for_less_than_we_take_is_told_what_we_take() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let brief = "Supported: timer\r\nSession-Expires: 60\r\n";
    let invite = request(Method::Invite, "alice", "bob", alice(), "brief");
    t.receive(
        alice(),
        with_sdp(invite.raw_lines(brief.as_bytes()), &audio(alice())),
    );
    let refused = t.response_to(alice(), 422);
    assert_eq!(refused.header(Name::MinSe), Some("90"));
    t.nothing_to(desk());
    // Within the dialog as well.
    let (mut a, ..) = call(&mut t, UAC, "");
    let update = a.request(Method::Update).raw_lines(brief.as_bytes()).end();
    t.receive(alice(), update);
    let refused = t.response_to(alice(), 422);
    assert_eq!(refused.header(Name::MinSe), Some("90"));
}

#[test]
fn who_takes_no_less_is_asked_for_more() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    let brief = response(&first, 422, desk(), "b0").header(Name::MinSe, 7200);
    t.receive(desk(), brief.end());
    t.request_to(desk(), Method::Ack);
    t.nothing_to(alice());
    // RFC 4028 7.3: the same call, one CSeq on.
    let second = t.request_to(desk(), Method::Invite);
    assert_eq!(second.call_id(), first.call_id());
    assert_eq!(second.cseq(), first.cseq() + 1);
    assert_eq!(second.to_tag(), None);
    assert_eq!(text(&second), text(&first));
    assert_eq!(second.header(Name::SessionExpires), Some("7200"));
    assert_eq!(second.header(Name::MinSe), Some("7200"));
    // One who demands the same again wants no call.
    let brief = response(&second, 422, desk(), "b0").header(Name::MinSe, 7200);
    t.receive(desk(), brief.end());
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 422);
    t.nothing_to(desk());
}

#[test]
fn a_hold_goes_to_who_takes_no_less() {
    let mut t = Table::new(settings());
    let (mut a, ..) = call(&mut t, "", "");
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let first = t.request_to(desk(), Method::Invite);
    let brief = response(&first, 422, desk(), "b1").header(Name::MinSe, 7200);
    t.receive(desk(), brief.end());
    t.request_to(desk(), Method::Ack);
    t.nothing_to(alice());
    let second = t.request_to(desk(), Method::Invite);
    assert_eq!(text(&second), text(&first));
    assert_eq!(second.header(Name::SessionExpires), Some("7200"));
    let answer = response(&second, 200, desk(), "b1");
    t.receive(desk(), with_sdp(answer, &sdp(desk(), 2, "recvonly")));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=recvonly"));
}

#[test]
fn the_survivor_refreshes_while_the_other_is_sought() {
    let mut t = Table::new(settings());
    let (mut a, ..) = call(&mut t, UAC, "");
    t.pass(Millis::from_secs(300));
    for at in [alice(), desk()] {
        t.discard(at);
    }
    t.bob_is_lost();
    let update = a.request(Method::Update).raw_lines(UAC.as_bytes()).end();
    t.receive(alice(), update);
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.header(Name::SessionExpires), Some("600;refresher=uac"));
}

#[test]
fn a_timer_survives_a_restart() {
    let mut t = Table::new(settings());
    call(&mut t, UAC, "Session-Expires: 600;refresher=uac\r\n");
    t.pass(Millis::from_secs(10));
    t.restart();
    let update = pass_until_asked(&mut t, 291).unwrap();
    assert_eq!(
        update.header(Name::SessionExpires),
        Some("600;refresher=uac")
    );
    let renewed =
        response(&update, 200, desk(), "b1").header(Name::SessionExpires, "600;refresher=uac");
    t.receive(desk(), renewed.end());
    // Alice's phone should have refreshed.
    let doubt = pass_until_asked(&mut t, 280).unwrap();
    assert_eq!(doubt.call_id(), "call1");
}

#[test]
fn who_is_to_refresh_can_be_chosen() {
    for (refresher, asked, answered) in [
        (RefresherChoice::Auto, "1800", "1800;refresher=uac"),
        (
            RefresherChoice::Uac,
            "1800;refresher=uac",
            "1800;refresher=uac",
        ),
        (
            RefresherChoice::Uas,
            "1800;refresher=uas",
            "1800;refresher=uas",
        ),
    ] {
        let mut wishes = settings();
        wishes.detect.session_timer.as_mut().unwrap().refresher = refresher;
        let mut t = Table::new(wishes);
        let (_, _, invite, ok) = call(&mut t, "Supported: timer\r\n", "");
        assert_eq!(invite.header(Name::SessionExpires), Some(asked));
        assert_eq!(ok.header(Name::SessionExpires), Some(answered));
    }
}

#[test]
fn where_it_is_off_nothing_is_said_of_timers() {
    let mut wishes = settings();
    wishes.detect.session_timer = None;
    let mut t = Table::new(wishes);
    let (_, _, invite, ok) = call(&mut t, UAC, "Session-Expires: 600;refresher=uac\r\n");
    for message in [&invite, &ok] {
        assert_eq!(message.header(Name::SessionExpires), None);
        assert!(!message.has_token(Name::Supported, "timer"));
    }
    assert!(pass_until_asked(&mut t, 700).is_none());
    let required = request(Method::Invite, "alice", "bob", alice(), "call2");
    let required = required.header(Name::Require, "timer");
    t.receive(alice(), with_sdp(required, &audio(alice())));
    let refused = t.response_to(alice(), 420);
    assert_eq!(refused.header(Name::Unsupported), Some("timer"));
}

/// A phone that hears nothing gives its session up (RFC 4028 10), which is no word of its user's.
#[test]
fn the_bye_of_who_has_heard_no_refresh_is_no_farewell() {
    for (lost, at_once) in [(false, false), (true, false), (false, true)] {
        let mut t = Table::new(settings());
        let (_, mut b, ..) = call(&mut t, "", "Session-Expires: 90;refresher=uac\r\n");
        t.register("bob", mobile(), "mobile");
        let refresh = pass_until_asked(&mut t, 60).expect("a refresh");
        assert_eq!(*refresh.method(), Method::Update);
        if lost {
            t.bob_is_lost();
        }
        // It gives up half a minute before the session's end.
        for _ in 0..if at_once { 2 } else { 15 } {
            t.pass(Millis::from_secs(1));
            while let Some(options) = t.waiting(desk(), &Method::Options) {
                t.reply(&options, 200, desk());
            }
        }
        t.discard(mobile());
        t.receive(desk(), b.request(Method::Bye).end());
        t.pass(Millis(2_500));
        let over = t.waiting(alice(), &Method::Bye).is_some();
        assert_eq!(over, at_once, "{lost}");
        if !at_once {
            assert!(t.waiting(mobile(), &Method::Invite).is_some(), "{lost}");
        }
    }
}
