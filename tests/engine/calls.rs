//! Calls in their first fork: who rings, who wins, what the caller sees.

use refork::engine::settings::{EarlyDialogs, ForkOrder};
use refork::engine::time::Millis;
use refork::sip::{Builder, Method, Name};

use crate::people::*;
use crate::table::*;

fn three() -> Table {
    let mut table = Table::new(settings());
    table.register("bob", desk(), "desk");
    table.register("bob", mobile(), "mobile");
    table.register("bob", third(), "third");
    table
}

#[test]
fn a_call_and_its_end() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.nothing_to(alice());
    t.ends_empty();
}

#[test]
fn nothing_of_one_leg_shows_on_the_other() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    let seen = String::from_utf8(invite.bytes().to_vec()).unwrap();
    for hidden in ["198.51.100.1", "call1", "tcall1", "Via: SIP/2.0/UDP 198"] {
        assert!(!seen.contains(hidden), "{hidden} shows in\n{seen}");
    }
    assert_eq!(invite.max_forwards(), Some(69));
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv")),
    );
    let ok = t.response_to(alice(), 200);
    let seen = String::from_utf8(ok.bytes().to_vec()).unwrap();
    assert!(
        !seen.contains("198.51.100.2") && !seen.contains("b1;"),
        "{seen}"
    );
}

#[test]
fn the_first_to_answer_wins_and_the_others_stop_ringing() {
    let mut t = three();
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let [i1, i2, i3] = [desk(), mobile(), third()].map(|at| (at, t.request_to(at, Method::Invite)));
    let mut tags = Vec::new();
    for (at, invite) in [&i1, &i2, &i3] {
        t.reply(invite, 180, *at);
        tags.push(t.response_to(alice(), 180).to_tag().unwrap().to_owned());
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 3, "one early dialog a branch");
    t.receive(
        mobile(),
        with_sdp(
            response(&i2.1, 200, mobile(), "x1"),
            &sdp(mobile(), 1, "sendrecv"),
        ),
    );
    t.request_to(mobile(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert!(tags.iter().any(|tag| Some(&**tag) == ok.to_tag()));
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    let cancel = t.request_to(desk(), Method::Cancel);
    // RFC 3326 3.
    let elsewhere = "SIP;cause=200;text=\"Call completed elsewhere\"";
    assert_eq!(cancel.header(Name::Reason), Some(elsewhere));
    t.reply(&cancel, 200, desk());
    t.reply(&i1.1, 487, desk());
    t.request_to(desk(), Method::Ack);
    // The third one answers as the CANCEL reaches it.
    t.request_to(third(), Method::Cancel);
    t.receive(
        third(),
        with_sdp(
            response(&i3.1, 200, third(), "c1"),
            &sdp(third(), 1, "sendrecv"),
        ),
    );
    t.request_to(third(), Method::Ack);
    t.request_to(third(), Method::Bye);
    t.nothing_to(alice());
}

#[test]
fn one_stable_early_dialog_where_it_is_wished() {
    let mut wishes = settings();
    wishes.fork.early_dialogs = EarlyDialogs::Single;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let mut tags = Vec::new();
    for at in [desk(), mobile()] {
        let invite = t.request_to(at, Method::Invite);
        t.reply(&invite, 180, at);
        tags.push(t.response_to(alice(), 180).to_tag().unwrap().to_owned());
    }
    assert_eq!(tags[0], tags[1]);
}

#[test]
fn serial_forking_asks_one_after_another() {
    let mut wishes = settings();
    wishes.fork.order = ForkOrder::Serial;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let first = t.request_to(desk(), Method::Invite);
    t.nothing_to(mobile());
    t.reply(&first, 486, desk());
    t.request_to(desk(), Method::Ack);
    let second = t.request_to(mobile(), Method::Invite);
    t.reply(&second, 603, mobile());
    t.response_to(alice(), 603);
    t.discard(mobile());
    t.receive(alice(), cancel_like(Method::Ack));
    t.ends_empty();
}

pub fn cancel_like(method: Method) -> bytes::Bytes {
    let name = method.as_str().to_owned();
    Builder::request(&method, "sip:bob@example.org")
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP {};branch=z9hG4bKcall1INVITE;rport", alice()),
        )
        .header(Name::MaxForwards, 70)
        .header(Name::From, "\"alice\" <sip:alice@example.org>;tag=tcall1")
        .header(Name::To, "<sip:bob@example.org>")
        .header(Name::CallId, "call1")
        .header(Name::CSeq, format_args!("1 {name}"))
        .end()
}

/// RFC 3261 9.2: the CANCEL is answered under the tag of the INVITE's final response.
#[test]
fn a_cancel_is_answered_under_the_tag_of_its_invite() {
    for early in [EarlyDialogs::Forward, EarlyDialogs::Single] {
        for ringing in 0..3 {
            let mut wishes = settings();
            wishes.fork.early_dialogs = early;
            let mut t = Table::new(wishes);
            t.register("bob", desk(), "desk");
            t.register("bob", mobile(), "mobile");
            t.alice_invites(&sdp(alice(), 1, "sendrecv"));
            for at in [desk(), mobile()].into_iter().take(ringing) {
                let invite = t.request_to(at, Method::Invite);
                t.reply(&invite, 180, at);
            }
            while let Some(ringing) = t.any_to(alice()) {
                assert_eq!(ringing.status(), 180);
            }
            t.receive(alice(), cancel_like(Method::Cancel));
            let cancelled = t.response_to(alice(), 200);
            assert_eq!(*cancelled.method(), Method::Cancel);
            let refused = t.response_to(alice(), 487);
            assert!(refused.to_tag().is_some());
            assert_eq!(cancelled.to_tag(), refused.to_tag(), "{early:?} {ringing}");
        }
    }
    // One that comes too late.
    let mut t = Table::new(settings());
    let (a, _) = t.established();
    t.receive(alice(), cancel_like(Method::Cancel));
    let late = t.response_to(alice(), 200);
    assert!(a.remote.ends_with(late.to_tag().unwrap()));
    t.nothing_to(alice());
}

/// RFC 3261 10.3 step 8.
#[test]
fn who_registers_is_told_the_time() {
    let mut t = Table::new(settings());
    let register = t.register_request("bob", desk(), "desk", 1, 3600);
    t.receive(desk(), register);
    let ok = t.response_to(desk(), 200);
    assert_eq!(ok.header(Name::Date), Some("Tue, 14 Nov 2023 22:13:20 GMT"));
    t.pass(Millis::from_secs(100));
    let register = t.register_request("bob", desk(), "desk", 2, 3600);
    t.receive(desk(), register);
    let ok = t.response_to(desk(), 200);
    assert_eq!(ok.header(Name::Date), Some("Tue, 14 Nov 2023 22:15:00 GMT"));
    // The machine's clock was wrong at the start, and NTP has set it.
    t.site.ahead = Millis::from_secs(3600);
    let register = t.register_request("bob", desk(), "desk", 3, 3600);
    t.receive(desk(), register);
    let ok = t.response_to(desk(), 200);
    assert_eq!(ok.header(Name::Date), Some("Tue, 14 Nov 2023 23:15:00 GMT"));
}

#[test]
fn the_caller_cancels() {
    let mut t = three();
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invites = [desk(), mobile(), third()].map(|at| (at, t.request_to(at, Method::Invite)));
    for (at, invite) in &invites {
        t.reply(invite, 180, *at);
        t.response_to(alice(), 180);
    }
    t.receive(alice(), cancel_like(Method::Cancel));
    t.response_to(alice(), 200);
    t.response_to(alice(), 487);
    t.receive(alice(), cancel_like(Method::Ack));
    for (at, invite) in &invites {
        let cancel = t.request_to(*at, Method::Cancel);
        t.reply(&cancel, 200, *at);
        t.reply(invite, 487, *at);
        t.request_to(*at, Method::Ack);
    }
    t.ends_empty();
}

#[test]
fn an_answer_that_crosses_the_callers_cancel_is_no_call_completed_elsewhere() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.receive(alice(), cancel_like(Method::Cancel));
    let cancel = t.request_to(desk(), Method::Cancel);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.reply(&cancel, 200, desk());
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.header(Name::Reason), None, "a missed call");
    t.reply(&bye, 200, desk());
    t.ends_empty();
}

#[test]
fn the_reason_for_which_the_caller_cancels_reaches_the_phones() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    // RFC 3326 3.1: the phones of a ring group show no missed call.
    let cancel = String::from_utf8(cancel_like(Method::Cancel).to_vec()).unwrap();
    let reasons =
        "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nReason: Q.850;cause=26\r\n";
    let cancel = cancel.replacen("CSeq:", &format!("{reasons}CSeq:"), 1);
    t.receive(alice(), cancel.into());
    let cancel = t.request_to(desk(), Method::Cancel);
    let reasons: Vec<_> = cancel.values(Name::Reason).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("cause=200"));
}

/// RFC 3261 13.3.1.
#[test]
fn an_invitation_is_good_for_as_long_as_the_caller_says() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    let invite = invite.header(Name::Expires, 20);
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let asked = t.request_to(desk(), Method::Invite);
    assert_eq!(asked.header(Name::Expires), Some("20"));
    t.reply(&asked, 180, desk());
    t.response_to(alice(), 180);
    t.pass(Millis(19_999));
    t.nothing_to(alice());
    t.pass(Millis(1));
    t.response_to(alice(), 487);
    t.receive(alice(), cancel_like(Method::Ack));
    let cancel = t.request_to(desk(), Method::Cancel);
    t.reply(&cancel, 200, desk());
    t.reply(&asked, 487, desk());
    t.request_to(desk(), Method::Ack);
    t.ends_empty();
}

#[test]
fn the_best_failure_reaches_the_caller() {
    let mut t = three();
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    for (at, status) in [(desk(), 404), (mobile(), 486), (third(), 503)] {
        let invite = t.request_to(at, Method::Invite);
        t.reply(&invite, status, at);
        t.request_to(at, Method::Ack);
    }
    let final_response = t.next_to(alice());
    assert!(
        matches!(final_response.status(), 404 | 486),
        "{}",
        title(&final_response)
    );
    t.receive(alice(), cancel_like(Method::Ack));
    t.ends_empty();
}

#[test]
fn a_redirection_says_where_to() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    let moved = Builder::respond(
        &invite,
        302,
        "Moved Temporarily",
        Some("b1"),
        SERVER.parse().unwrap(),
    )
    .header(
        Name::Contact,
        "<sip:carol@example.org>, <sip:dave@example.org>;q=0.5",
    )
    .end();
    t.receive(desk(), moved);
    t.request_to(desk(), Method::Ack);
    let moved = t.response_to(alice(), 302);
    let contacts: Vec<_> = moved.values(Name::Contact).collect();
    assert_eq!(
        contacts,
        ["<sip:carol@example.org>", "<sip:dave@example.org>;q=0.5"]
    );
}

#[test]
fn nobody_answers() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    t.pass(Millis(10));
    t.reply(&invite, 180, desk());
    t.response_to(alice(), 180);
    t.pass(Millis::from_secs(59));
    t.nothing_to(alice());
    t.pass(Millis::from_secs(2));
    t.request_to(desk(), Method::Cancel);
    t.response_to(alice(), 408);
}

#[test]
fn who_is_not_there_is_told_of() {
    let mut t = Table::new(settings());
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    assert!(matches!(t.next_to(alice()).status(), 404 | 480));
    t.receive(alice(), cancel_like(Method::Ack));
    t.ends_empty();
}

#[test]
fn an_icmp_while_it_rings_neither_fails_the_call_nor_leaves_it_ringing() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    t.pass(Millis(10));
    t.reply(&invite, 180, desk());
    t.response_to(alice(), 180);
    // Forged, or a router's for the moment that the Wi-Fi was away.
    t.icmp(desk());
    let probe = t.request_to(desk(), Method::Options);
    t.pass(Millis::from_secs(3));
    t.nothing_to(alice());
    t.reply(&probe, 200, desk());
    t.discard(desk());
    t.pass(Millis::from_secs(7));
    t.nothing_to(alice());
    // Nobody answers: the phone that was thought away is told too.
    t.pass(Millis::from_secs(60));
    t.request_to(desk(), Method::Cancel);
    t.response_to(alice(), 408);
}

#[test]
fn what_cannot_be_done_is_refused_with_what_would_be_right() {
    for (edit, status, header) in [
        ("Require: foo\r\n", 420, Some((Name::Unsupported, "foo"))),
        ("Max-Forwards: 0\r\n", 483, None),
    ] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let invite = with_sdp(
            request(Method::Invite, "alice", "bob", alice(), "call1"),
            &sdp(alice(), 1, "sendrecv"),
        );
        let text = String::from_utf8(invite.to_vec()).unwrap();
        let text = text.replace(
            "Max-Forwards: 70\r\n",
            if edit.starts_with("Max") {
                edit
            } else {
                "Max-Forwards: 70\r\n"
            },
        );
        let text = if edit.starts_with("Max") {
            text
        } else {
            text.replacen("From:", &format!("{edit}From:"), 1)
        };
        t.receive(alice(), text.into());
        let refusal = t.response_to(alice(), status);
        if let Some((name, value)) = header {
            assert_eq!(refusal.header(name), Some(value));
        }
        t.nothing_to(desk());
    }
}

#[test]
fn methods_that_are_not_served_are_told_with_those_that_are() {
    let mut t = Table::new(settings());
    for (method, status, header) in [
        (Method::Publish, 405, Some(Name::Allow)),
        (Method::Refer, 405, Some(Name::Allow)),
        (Method::Subscribe, 489, Some(Name::AllowEvents)),
        (Method::Info, 481, None),
        (Method::Other("NEWMETHOD".into()), 501, None),
    ] {
        let call = format!("x{}", method.as_str());
        t.receive(
            alice(),
            request(method, "alice", "bob", alice(), &call).end(),
        );
        let refusal = t.response_to(alice(), status);
        assert!(refusal.to_tag().is_some());
        if let Some(header) = header {
            assert!(refusal.header(header).is_some(), "{status}");
        }
    }
    t.ends_empty();
}

#[test]
fn an_invite_without_an_offer_gets_the_callees() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.receive(
        alice(),
        request(Method::Invite, "alice", "bob", alice(), "call1").end(),
    );
    let invite = t.request_to(desk(), Method::Invite);
    assert!(invite.body().is_empty());
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv")),
    );
    t.nothing_to(desk());
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("c=IN IP4 192.0.2.1"));
    let dialog = Remote::of_answer(&ok, alice());
    t.receive(
        alice(),
        with_sdp(
            dialog.numbered(Method::Ack, 1),
            &sdp(alice(), 1, "sendrecv"),
        ),
    );
    let ack = t.request_to(desk(), Method::Ack);
    assert!(text(&ack).contains("m=audio") && !text(&ack).contains("198.51.100.1"));
    // A 2xx that comes again is acknowledged again, with the same answer.
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv")),
    );
    assert_eq!(text(&t.request_to(desk(), Method::Ack)), text(&ack));
}

#[test]
fn the_2xx_is_repeated_until_the_caller_acknowledges_it() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv")),
    );
    let ok = t.response_to(alice(), 200);
    t.pass(Millis(600));
    assert_eq!(t.response_to(alice(), 200).bytes(), ok.bytes());
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.pass(Millis::from_secs(10));
    t.nothing_to(alice());
}

#[test]
fn a_drained_node_takes_no_new_calls_and_keeps_the_old() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.input(refork::engine::ports::Input::Command(
        refork::engine::ports::Command::Drain,
    ));
    let invite = request(Method::Invite, "alice", "bob", alice(), "call2");
    t.receive(alice(), with_sdp(invite, &sdp(alice(), 1, "sendrecv")));
    assert!(
        t.response_to(alice(), 503)
            .header(Name::RetryAfter)
            .is_some()
    );
    t.receive(alice(), a.message("still here"));
    assert_eq!(text(&t.request_to(desk(), Method::Message)), "still here");
}

#[test]
fn a_text_outside_of_any_dialog_goes_to_every_endpoint_and_one_answer_comes_back() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let text_request =
        request(Method::Message, "alice", "bob", alice(), "page1").body("text/plain", b"hi");
    t.receive(alice(), text_request);
    let first = t.request_to(desk(), Method::Message);
    let second = t.request_to(mobile(), Method::Message);
    t.reply(&first, 480, desk());
    t.nothing_to(alice());
    t.reply(&second, 200, mobile());
    t.response_to(alice(), 200);
    t.ends_empty();
}
