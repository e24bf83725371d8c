//! Early dialogs that end while others go on: 199 (RFC 6228).

use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::people::*;
use crate::reliable::{alice_calls, prack, reliably, rseq};
use crate::table::*;

pub const TOLD: &str = "Supported: 199\r\n";

/// Both of Bob's phones ring, in an early dialog each. Returns their INVITEs and Alice's dialogs.
fn both_ring(t: &mut Table, lines: &str) -> [(Message, Message); 2] {
    alice_calls(t, lines, &audio(alice()));
    [desk(), mobile()].map(|at| {
        let invite = t.request_to(at, Method::Invite);
        t.reply(&invite, 180, at);
        (invite, t.response_to(alice(), 180))
    })
}

#[test]
fn the_caller_is_told_which_of_its_early_dialogs_ends() {
    let mut t = two();
    let [(first, rang), (second, rings)] = both_ring(&mut t, TOLD);
    assert!(first.has_token(Name::Supported, "199"));
    assert_ne!(rang.to_tag(), rings.to_tag());
    t.reply(&first, 486, desk());
    t.request_to(desk(), Method::Ack);
    let ended = t.response_to(alice(), 199);
    assert_eq!(ended.to_tag(), rang.to_tag());
    assert_eq!(
        ended.header(Name::Reason),
        Some("SIP;cause=486;text=\"Busy Here\"")
    );
    assert_eq!((ended.body(), ended.header(Name::RSeq)), (&b""[..], None));
    // There is no such dialog any more, and the other one goes on.
    let mut over = Remote::of_answer(&rang, alice());
    t.receive(alice(), over.request(Method::Update).end());
    t.response_to(alice(), 481);
    t.receive(
        mobile(),
        with_sdp(response(&second, 200, mobile(), "x1"), &audio(mobile())),
    );
    let ok = t.response_to(alice(), 200);
    assert_eq!(ok.to_tag(), rings.to_tag());
}

#[test]
fn the_last_early_dialog_ends_with_the_final_response() {
    let mut t = two();
    let [(first, _), (second, _)] = both_ring(&mut t, TOLD);
    t.reply(&first, 486, desk());
    t.response_to(alice(), 199);
    t.reply(&second, 480, mobile());
    // The best of all: 486.
    t.response_to(alice(), 486);
    t.nothing_to(alice());
}

#[test]
fn who_did_not_ring_had_no_dialog() {
    let mut t = two();
    alice_calls(&mut t, TOLD, &audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    t.request_to(mobile(), Method::Invite);
    t.reply(&first, 486, desk());
    t.nothing_to(alice());
}

#[test]
fn who_did_not_ask_is_told_nothing() {
    let mut t = two();
    let [(first, _), _] = both_ring(&mut t, "");
    assert!(!first.has_token(Name::Supported, "199"));
    t.reply(&first, 486, desk());
    t.nothing_to(alice());
}

#[test]
fn one_stable_early_dialog_does_not_end() {
    let mut t = Table::new(Settings {
        fork: ForkSettings {
            early_dialogs: EarlyDialogs::Single,
            ..ForkSettings::default()
        },
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let [(first, rang), (_, rings)] = both_ring(&mut t, TOLD);
    assert_eq!(rang.to_tag(), rings.to_tag());
    t.reply(&first, 486, desk());
    t.nothing_to(alice());
}

#[test]
fn in_series_each_one_ends_before_the_next_rings() {
    let mut t = Table::new(Settings {
        fork: ForkSettings {
            order: ForkOrder::Serial,
            ring_timeout: Millis::from_secs(5),
            ..ForkSettings::default()
        },
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    alice_calls(&mut t, TOLD, &audio(alice()));
    let at = [desk(), mobile()];
    let first = at
        .into_iter()
        .find_map(|at| Some((at, t.waiting(at, &Method::Invite)?)));
    let (at, invite) = first.unwrap();
    t.reply(&invite, 180, at);
    let rang = t.response_to(alice(), 180);
    t.pass(Millis::from_secs(6));
    let ended = t.response_to(alice(), 199);
    assert_eq!(ended.to_tag(), rang.to_tag());
    assert!(ended.header(Name::Reason).unwrap().contains("cause=408"));
}

#[test]
fn who_demands_reliable_responses_gets_a_reliable_one() {
    let mut t = two();
    let lines = format!("{TOLD}Require: 100rel\r\n");
    alice_calls(&mut t, &lines, &audio(alice()));
    let first = t.request_to(desk(), Method::Invite);
    t.request_to(mobile(), Method::Invite);
    t.reply(&first, 180, desk());
    let rang = t.response_to(alice(), 180);
    let mut dialog = Remote::of_answer(&rang, alice());
    let acknowledged = prack(&mut dialog, &rang).end();
    t.receive(alice(), acknowledged);
    t.response_to(alice(), 200);
    t.reply(&first, 486, desk());
    let ended = t.response_to(alice(), 199);
    assert_eq!(rseq(&ended), rseq(&rang) + 1);
    // It comes again until it is acknowledged, in the dialog that it ends.
    t.pass(Millis(600));
    t.response_to(alice(), 199);
    let acknowledged = prack(&mut dialog, &ended).end();
    t.receive(alice(), acknowledged);
    t.response_to(alice(), 200);
    t.pass(Millis::from_secs(10));
    t.nothing_to(alice());
}

/// A response of one of the phones behind a proxy.
fn beyond(invite: &Message, status: u16, tag: &str) -> Builder {
    response(invite, status, desk(), tag)
}

#[test]
fn a_phone_behind_a_proxy_rings_no_more_and_another_one_does() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, TOLD, &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), beyond(&invite, 180, "one").end());
    let rang = t.response_to(alice(), 180);
    let reason = "SIP;cause=480;text=\"gone\"";
    let ended = beyond(&invite, 199, "one").header(Name::Reason, reason);
    t.receive(desk(), ended.end());
    let ended = t.response_to(alice(), 199);
    assert_eq!(ended.to_tag(), rang.to_tag());
    assert_eq!(ended.header(Name::Reason), Some(reason));
    // Of one that is not shown nothing is said.
    t.receive(desk(), beyond(&invite, 199, "never").end());
    t.nothing_to(alice());
    t.receive(desk(), beyond(&invite, 180, "two").end());
    let rings = t.response_to(alice(), 180);
    assert_ne!(rings.to_tag(), rang.to_tag());
    let ok = with_sdp(beyond(&invite, 200, "two"), &audio(desk()));
    t.receive(desk(), ok);
    assert_eq!(t.response_to(alice(), 200).to_tag(), rings.to_tag());
}

#[test]
fn a_199_is_no_ringing_and_has_its_prack() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, "", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), reliably(&invite, 199, desk(), "one", 7).end());
    let prack = t.request_to(desk(), Method::Prack);
    assert_eq!(prack.to_tag(), Some("one"));
    assert!(prack.header(Name::RAck).unwrap().starts_with("7 "));
    t.nothing_to(alice());
    assert_eq!(
        t.happened(|what| matches!(what, refork::engine::events::Happening::Ringing { .. })),
        0
    );
}

#[test]
fn a_199_in_a_refork_is_nobodys_ringing() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    t.reply(&invite, 199, mobile());
    t.nothing_to(alice());
    let ok = with_sdp(response(&invite, 200, mobile(), "m1"), &audio(mobile()));
    t.receive(mobile(), ok);
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
}

/// The first of an upstream's targets rings, and then has no time. Returns its INVITE and Alice's dialog.
fn a_target_rings(t: &mut Table) -> (Message, Message) {
    let invite = request(Method::Invite, "alice", "401", alice(), "call1")
        .header(Name::Supported, "199, 100rel")
        .header(Name::Allow, "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let first = t.request_to(desk(), Method::Invite);
    let rings = reliably(&first, 183, desk(), "d1", 1);
    t.receive(desk(), with_sdp(rings, &audio(desk())));
    (first, t.response_to(alice(), 183))
}

#[test]
fn a_target_that_rang_and_gives_way_leaves_no_dialog() {
    let mut t = crate::failover::table();
    let (first, rang) = a_target_rings(&mut t);
    let mut over = Remote::of_answer(&rang, alice());
    t.receive(alice(), prack(&mut over, &rang).end());
    let acknowledged = t.request_to(desk(), Method::Prack);
    t.reply(&acknowledged, 200, desk());
    t.response_to(alice(), 200);
    // Alice's offer is on its way as the target gives up: nobody is left who could answer it.
    let update = over.request(Method::Update);
    t.receive(alice(), with_sdp(update, &sdp(alice(), 2, "sendonly")));
    t.request_to(desk(), Method::Update);
    t.reply(&first, 503, desk());
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 481);
    let ended = t.response_to(alice(), 199);
    assert_eq!(ended.to_tag(), rang.to_tag());
    let why = ended.header(Name::Reason).unwrap();
    assert!(why.starts_with("SIP;cause=503;"), "{why}");
    let second = t.request_to(mobile(), Method::Invite);
    t.reply(&second, 180, mobile());
    assert_ne!(t.response_to(alice(), 180).to_tag(), rang.to_tag());
    t.receive(alice(), over.request(Method::Update).end());
    t.response_to(alice(), 481);
    t.receive(
        mobile(),
        with_sdp(response(&second, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let mut a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), a.ack(1));
    t.discard(desk());
    t.hangs_up(&mut a);
    let bye = t.request_to(mobile(), Method::Bye);
    t.reply(&bye, 200, mobile());
    t.ends_empty();
}

#[test]
fn an_answer_that_waits_for_a_prack_goes_on_where_its_dialog_is_left() {
    let mut t = Table::new(settings());
    alice_calls(&mut t, "Require: 100rel\r\n", &audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = with_sdp(beyond(&invite, 183, "one"), &audio(desk()));
    t.receive(desk(), early);
    let shown = t.response_to(alice(), 183);
    let mut left = Remote::of_answer(&shown, alice());
    t.receive(desk(), beyond(&invite, 180, "two").end());
    let rings = t.response_to(alice(), 180);
    assert_ne!(rings.to_tag(), shown.to_tag());
    t.receive(desk(), beyond(&invite, 200, "one").end());
    t.nothing_to(desk());
    t.hangs_up(&mut left);
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.to_tag(), Some("one"));
}

#[test]
fn one_of_two_behind_a_proxy_that_leaves_a_re_fork_leaves_the_other_ringing() {
    for leaves in ["first", "second"] {
        let mut t = Table::new(settings());
        t.established();
        t.bob_is_lost();
        let invite = t.request_to(desk(), Method::Invite);
        for tag in ["first", "second"] {
            t.receive(desk(), response(&invite, 180, desk(), tag).end());
        }
        let mut gone = Remote::of_invite(&invite, desk(), leaves);
        t.receive(desk(), gone.request(Method::Bye).end());
        t.response_to(desk(), 200);
        t.nothing_to(desk());
        let stays = if leaves == "first" { "second" } else { "first" };
        let ok = response(&invite, 200, desk(), stays);
        t.receive(desk(), with_sdp(ok, &audio(desk())));
        let ack = t.request_to(desk(), Method::Ack);
        assert_eq!(ack.to_tag(), Some(stays));
        let lost = t.request_to(desk(), Method::Bye);
        assert_eq!(lost.to_tag(), Some("b1"));
        let mut b = Remote::of_invite(&invite, desk(), stays);
        b.cseq = 200;
        t.hangs_up(&mut b);
        t.request_to(alice(), Method::Bye);
    }
}
