//! The device answers, and the dialog is another question; and phones that only look as if they were gone.

use std::net::SocketAddr;

use refork::engine::events::{Happening, Signal};
use refork::engine::ids::Side;
use refork::engine::ports::{MediaCommand, MediaEvent, StreamSettings, Voice};
use refork::engine::settings::Settings;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

const DESK: Side = Side::Callee;

impl Table {
    /// Returns the last copy of what waits for a phone.
    fn last(&mut self, at: SocketAddr, method: &Method) -> Option<Message> {
        let mut last = None;
        while let Some(next) = self.waiting(at, method) {
            last = Some(next);
        }
        last
    }

    /// The phone agrees to the session that stands.
    fn agrees(&mut self, asked: &Message, at: SocketAddr, answer: &str) {
        self.receive(at, with_sdp(response(asked, 200, at, "b1"), answer));
    }

    fn suspicions(&self) -> Vec<Signal> {
        let history = self.history().into_iter();
        let suspected = history.filter_map(|what| match what {
            Happening::Suspected { signal, .. } => Some(*signal),
            _ => None,
        });
        suspected.collect()
    }

    /// Returns what the relay was last told of the desk phone.
    fn desk_streams(&self) -> Vec<StreamSettings> {
        let told = self.media.iter().rev().find_map(|command| match command {
            MediaCommand::Configure { side, streams, .. } if *side == DESK => Some(streams),
            _ => None,
        });
        told.cloned().unwrap_or_default()
    }
}

#[test]
fn a_rebooted_phone_at_its_old_address_is_found_by_its_silence() {
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_silent();
    let probe = t.request_to(desk(), Method::Options);
    t.reply(&probe, 200, desk());
    // It may be a pause.
    t.pass(Millis(4_900));
    t.nothing_to(desk());
    t.pass(Millis(200));
    let update = t.request_to(desk(), Method::Update);
    assert!(t.losses().is_empty());
    t.reply(&update, 481, desk());
    assert_eq!(t.losses(), [Signal::Silence]);
    t.pass(Millis(700));
    t.request_to(desk(), Method::Invite);
    t.nothing_to(alice());
}

#[test]
fn a_rebooted_phone_whose_media_port_is_closed_is_found_at_once() {
    for silent_before in [false, true] {
        let mut t = Table::new(settings());
        t.established();
        if silent_before {
            t.desk_is_silent();
            let probe = t.request_to(desk(), Method::Options);
            t.reply(&probe, 200, desk());
        }
        t.media_event(|media| MediaEvent::Unreachable { media, side: DESK });
        if !silent_before {
            let probe = t.request_to(desk(), Method::Options);
            t.reply(&probe, 200, desk());
        }
        let update = t.request_to(desk(), Method::Update);
        t.reply(&update, 481, desk());
        assert_eq!(t.losses().len(), 1);
        t.nothing_to(alice());
    }
}

#[test]
fn a_phone_that_registers_as_if_for_the_first_time_is_asked_for_its_call() {
    for (holds, heard) in [(false, false), (true, false), (true, true)] {
        let mut t = Table::new(settings());
        if heard {
            t.established();
            t.desk_is_heard();
        } else {
            t.texting();
        }
        // A refresh is the same registration.
        t.register_again("bob", desk(), "desk", 2);
        t.nothing_to(desk());
        t.registers_anew("bob", desk(), "desk", "boot2");
        if heard {
            t.nothing_to(desk());
            continue;
        }
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, 200, desk());
        let update = t.request_to(desk(), Method::Update);
        if holds {
            t.agrees(&update, desk(), &text_sdp(desk()));
        } else {
            t.reply(&update, 481, desk());
        }
        let lost: &[Signal] = if holds { &[] } else { &[Signal::Registration] };
        assert_eq!(t.losses(), lost);
        t.nothing_to(alice());
    }
}

#[test]
fn a_muted_phone_is_asked_more_and_more_seldom_and_never_lost() {
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_silent();
    let mut offers = 0;
    for _ in 0..600 {
        t.pass(Millis::from_secs(1));
        while let Some(probe) = t.waiting(desk(), &Method::Options) {
            t.reply(&probe, 200, desk());
        }
        while let Some(update) = t.waiting(desk(), &Method::Update) {
            offers += 1;
            t.agrees(&update, desk(), &sdp(desk(), 1, "sendrecv"));
        }
        t.nothing_to(alice());
    }
    assert!(t.losses().is_empty());
    // After 5 s, then 30, 60, 120 and 240 s, and 5 each time.
    assert_eq!(offers, 5);
    assert_eq!(t.suspicions(), [Signal::Silence; 5]);
    // All the while it is asked by routine, so that its death shows.
    t.pass(Millis::from_secs(15 + 8 + 1));
    assert_eq!(t.losses().len(), 1);
}

#[test]
fn a_muted_phone_that_reboots_at_its_address_is_found_as_its_silence_is_looked_at_again() {
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_silent();
    for status in [200, 481] {
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, 200, desk());
        t.pass(Millis(5_100));
        let update = t.request_to(desk(), Method::Update);
        if status == 200 {
            t.agrees(&update, desk(), &sdp(desk(), 1, "sendrecv"));
        } else {
            t.reply(&update, status, desk());
        }
        for _ in 0..30 {
            t.pass(Millis::from_secs(1));
            if t.suspicions().len() == 2 {
                break;
            }
            while let Some(probe) = t.waiting(desk(), &Method::Options) {
                t.reply(&probe, 200, desk());
            }
        }
    }
    assert_eq!(t.losses(), [Signal::Silence]);
    t.nothing_to(alice());
}

/// The silence of a muted phone that lives is looked at, and means nothing.
fn found_muted(t: &mut Table) {
    t.desk_is_silent();
    let probe = t.request_to(desk(), Method::Options);
    t.reply(&probe, 200, desk());
    t.pass(Millis(5_100));
    let update = t.request_to(desk(), Method::Update);
    t.agrees(&update, desk(), &sdp(desk(), 1, "sendrecv"));
    t.discard(desk());
}

#[test]
fn a_muted_phone_whose_media_port_closes_is_asked_at_once() {
    for holds in [false, true] {
        let mut t = Table::new(settings());
        t.established();
        found_muted(&mut t);
        t.pass(Millis::from_secs(1));
        t.media_event(|media| MediaEvent::Unreachable { media, side: DESK });
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, 200, desk());
        let update = t.request_to(desk(), Method::Update);
        if holds {
            t.agrees(&update, desk(), &sdp(desk(), 1, "sendrecv"));
        } else {
            t.reply(&update, 481, desk());
        }
        let lost: &[Signal] = if holds {
            &[]
        } else {
            &[Signal::MediaUnreachable]
        };
        assert_eq!(t.losses(), lost);
        assert_eq!(
            t.suspicions(),
            [Signal::Silence, Signal::MediaUnreachable],
            "holds {holds}"
        );
        t.nothing_to(alice());
    }
}

#[test]
fn a_muted_phone_that_lives_with_its_media_port_closed_is_asked_more_and_more_seldom() {
    let mut t = Table::new(settings());
    t.established();
    found_muted(&mut t);
    let mut offered = Vec::new();
    for second in 1..=1000 {
        t.pass(Millis::from_secs(1));
        // Real or forged, it does not end.
        t.media_event(|media| MediaEvent::Unreachable { media, side: DESK });
        while let Some(probe) = t.waiting(desk(), &Method::Options) {
            t.reply(&probe, 200, desk());
        }
        while let Some(update) = t.waiting(desk(), &Method::Update) {
            offered.push(second);
            t.agrees(&update, desk(), &sdp(desk(), 1, "sendrecv"));
        }
        t.nothing_to(alice());
    }
    assert_eq!(offered, [1, 31, 91, 211, 451, 691, 931]);
    assert!(t.losses().is_empty());
}

#[test]
fn a_phone_that_suppresses_silence_is_offered_nothing() {
    let mut t = Table::new(settings());
    t.established();
    for _ in 0..20 {
        t.desk_is_silent();
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, 200, desk());
        t.pass(Millis::from_secs(4));
        t.desk_is_heard();
        t.pass(Millis::from_secs(10));
    }
    t.nothing_to(desk());
    t.nothing_to(alice());
    assert!(t.losses().is_empty());
}

/// A pause of ten seconds between packets of comfort noise; the phone knows OPTIONS.
fn pauses(t: &mut Table) {
    t.desk_is_heard();
    t.pass(Millis::from_secs(3));
    t.desk_is_silent();
    let probe = t.request_to(desk(), Method::Options);
    t.reply(&probe, 200, desk());
    t.pass(Millis::from_secs(7));
}

#[test]
fn who_makes_noise_and_is_silent_in_turn_is_offered_something_more_and_more_seldom() {
    let mut t = Table::new(settings());
    t.established();
    let mut offered = Vec::new();
    for pause in 0..30 {
        pauses(&mut t);
        if let Some(update) = t.waiting(desk(), &Method::Update) {
            offered.push(pause);
            t.agrees(&update, desk(), &sdp(desk(), 1, "sendrecv"));
            // What was sent again while the pause went on.
            t.discard(desk());
        }
    }
    assert_eq!(offered, [0, 4, 11, 24]);
    assert!(t.losses().is_empty());
    // Its dialog stands, but it may yet freeze.
    t.desk_is_heard();
    t.desk_is_silent();
    t.pass(Millis(8_100));
    assert_eq!(t.losses(), [Signal::Silence]);
    t.nothing_to(alice());
}

#[test]
fn the_doubts_of_a_long_call_leave_room_in_its_history_for_its_loss() {
    let mut t = two();
    t.established();
    for _ in 0..150 {
        t.desk_is_heard();
        t.desk_is_silent();
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, 200, desk());
    }
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let key = t.engine.list(1)[0].key;
    let kept = t.engine.detail(key).unwrap().history;
    let is = |test: fn(&Happening) -> bool| kept.iter().filter(|entry| test(&entry.what)).count();
    assert_eq!(kept.len(), 256);
    assert_eq!(is(|what| matches!(what, Happening::Invited { .. })), 1);
    assert_eq!(is(|what| matches!(what, Happening::Answered { .. })), 1);
    assert_eq!(is(|what| matches!(what, Happening::Lost { .. })), 1);
    assert_eq!(is(|what| matches!(what, Happening::Restored { .. })), 1);
}

#[test]
fn a_phone_that_begins_anew_in_a_silence_has_its_dialog_asked_at_once() {
    for while_asked in [true, false] {
        let mut t = Table::new(settings());
        t.established();
        t.desk_is_heard();
        if !while_asked {
            t.pass(Millis::from_secs(1));
            t.registers_anew("bob", desk(), "desk", "again");
            t.pass(Millis::from_secs(2));
        }
        t.desk_is_silent();
        let probe = t.request_to(desk(), Method::Options);
        if while_asked {
            t.registers_anew("bob", desk(), "desk", "again");
        }
        t.reply(&probe, 200, desk());
        let update = t.request_to(desk(), Method::Update);
        t.reply(&update, 481, desk());
        assert_eq!(t.losses(), [Signal::Silence]);
    }
}

#[test]
fn a_phone_that_spoke_after_it_began_anew_knows_its_call() {
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_heard();
    t.registers_anew("bob", desk(), "desk", "again");
    t.pass(Millis::from_secs(4));
    t.desk_is_silent();
    let probe = t.request_to(desk(), Method::Options);
    t.reply(&probe, 200, desk());
    t.nothing_to(desk());
}

#[test]
fn a_phone_that_freezes_after_a_pause_is_lost_as_soon_as_any_other() {
    let silent = Settings::default().detect;
    for probe in [silent.probe, None] {
        let mut settings = settings();
        settings.detect.probe = probe;
        let mut t = Table::new(settings);
        t.established();
        t.desk_is_silent();
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, 200, desk());
        t.pass(Millis::from_secs(1));
        t.desk_is_heard();
        t.pass(Millis::from_secs(14));
        t.nothing_to(desk());
        t.desk_is_silent();
        t.pass(Millis(7_900));
        assert!(t.losses().is_empty());
        t.pass(Millis(200));
        assert_eq!(t.losses(), [Signal::Silence]);
    }
}

#[test]
fn a_sign_that_is_left_alone_is_looked_at_once_the_time_of_trust_is_over() {
    let mut settings = settings();
    settings.detect.probe = None;
    let mut t = Table::new(settings);
    t.texting();
    t.unregister("bob", desk(), "desk", 2);
    let probe = t.request_to(desk(), Method::Options);
    t.reply(&probe, 200, desk());
    let update = t.request_to(desk(), Method::Update);
    t.agrees(&update, desk(), &text_sdp(desk()));
    t.register_again("bob", desk(), "desk", 3);
    t.unregister("bob", desk(), "desk", 4);
    t.nothing_to(desk());
    t.pass(Millis(29_900));
    t.nothing_to(desk());
    t.pass(Millis(200));
    t.request_to(desk(), Method::Options);
    t.pass(Millis::from_secs(8));
    assert_eq!(t.losses(), [Signal::Registration]);
}

#[test]
fn a_phone_that_never_answers_options_is_asked_by_its_dialog_before_it_is_lost() {
    let mut t = Table::new(settings());
    t.texting();
    let (mut asked, mut offers) = (0, 0);
    for _ in 0..300 {
        t.pass(Millis::from_secs(1));
        while let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
        if let Some(probe) = t.last(desk(), &Method::Options) {
            asked = asked.max(probe.cseq());
        }
        if let Some(update) = t.last(desk(), &Method::Update) {
            offers += 1;
            t.agrees(&update, desk(), &text_sdp(desk()));
        }
        t.nothing_to(alice());
    }
    assert!(t.losses().is_empty());
    // Two OPTIONS after the INVITE, and then no more: it is known as one that has no answer to them.
    assert_eq!(asked, 3);
    assert!((4..=6).contains(&offers), "{offers}");
}

#[test]
fn who_never_answered_options_is_found_dead_as_soon_as_who_did() {
    for answered in [false, true] {
        let mut t = Table::new(settings());
        t.established();
        if answered {
            t.desk_is_silent();
            let probe = t.request_to(desk(), Method::Options);
            t.reply(&probe, 200, desk());
            t.desk_is_heard();
        }
        t.desk_is_silent();
        t.pass(Millis(7_900));
        assert!(t.losses().is_empty());
        let asked = t.waiting(desk(), &Method::Update).is_some();
        assert_eq!(asked, !answered);
        t.pass(Millis(200));
        assert_eq!(t.losses(), [Signal::Silence]);
        t.nothing_to(alice());
    }
}

#[test]
fn a_phone_that_talks_on_is_not_lost_by_its_registration_or_by_icmp() {
    for by_icmp in [false, true] {
        let mut t = Table::new(settings());
        t.established();
        if by_icmp {
            t.icmp(desk());
            t.icmp(desk());
        } else {
            t.unregister("bob", desk(), "desk", 2);
        }
        // It answers nothing at all, and is heard.
        t.pass(Millis::from_secs(60));
        assert!(t.losses().is_empty());
        let alive = |what: &Happening| matches!(what, Happening::Alive { .. });
        assert_eq!(t.happened(alive), 1);
        t.discard(desk());
        t.desk_is_silent();
        t.pass(Millis(8_100));
        assert_eq!(t.losses(), [Signal::Silence]);
        t.nothing_to(alice());
    }
}

#[test]
fn a_word_of_somebody_on_the_way_is_no_answer_to_a_probe() {
    for status in [408, 480, 503, 504] {
        for dies in [false, true] {
            let mut t = Table::new(settings());
            t.established();
            t.desk_is_silent();
            let first = t.request_to(desk(), Method::Options);
            t.reply(&first, status, desk());
            assert!(t.losses().is_empty(), "{status}");
            t.pass(Millis(4_100));
            let second = t.request_to(desk(), Method::Options);
            assert!(second.cseq() > first.cseq());
            t.reply(&second, if dies { status } else { 200 }, desk());
            let update = t.last(desk(), &Method::Update).unwrap();
            t.reply(&update, if dies { status } else { 200 }, desk());
            assert!(t.losses().is_empty(), "{status}");
            t.pass(Millis(4_000));
            let lost: &[Signal] = if dies { &[Signal::Silence] } else { &[] };
            assert_eq!(t.losses(), lost, "{status}");
            t.nothing_to(alice());
        }
    }
}

#[test]
fn a_word_of_somebody_on_the_way_is_no_answer_to_an_update() {
    for status in [408, 480, 503, 504] {
        for dies in [false, true] {
            let mut t = Table::new(settings());
            t.established();
            t.desk_is_silent();
            let probe = t.request_to(desk(), Method::Options);
            t.reply(&probe, 481, desk());
            let update = t.request_to(desk(), Method::Update);
            t.reply(&update, status, desk());
            assert!(t.losses().is_empty(), "{status}");
            t.pass(Millis(3_900));
            t.nothing_to(desk());
            t.pass(Millis(200));
            let update = t.request_to(desk(), Method::Update);
            t.reply(&update, if dies { status } else { 200 }, desk());
            t.pass(Millis(4_100));
            let lost: &[Signal] = if dies { &[Signal::Silence] } else { &[] };
            assert_eq!(t.losses(), lost, "{status}");
            t.nothing_to(alice());
        }
    }
}

#[test]
fn a_retry_after_puts_the_next_try_off_and_no_further_than_the_pace_of_probes() {
    for (after, wait) in [(1, 4_000), (10, 10_000), (3_600, 15_000)] {
        let mut t = Table::new(settings());
        t.established();
        t.desk_is_silent();
        let probe = t.request_to(desk(), Method::Options);
        let busy = response(&probe, 503, desk(), "x1").header(Name::RetryAfter, after);
        t.receive(desk(), busy.end());
        t.pass(Millis(wait - 100));
        t.nothing_to(desk());
        t.pass(Millis(200));
        t.request_to(desk(), Method::Options);
        assert!(t.losses().is_empty());
    }
}

#[test]
fn a_slow_phone_lives() {
    for late in [3_900, 7_900] {
        let mut t = Table::new(settings());
        t.texting();
        t.pass(Millis::from_secs(15));
        t.pass(Millis(late));
        while let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
        let probe = t.waiting(desk(), &Method::Options).unwrap();
        t.reply(&probe, 200, desk());
        t.pass(Millis::from_secs(5));
        assert!(t.losses().is_empty(), "{late}");
    }
}

#[test]
fn a_phone_is_expected_to_be_heard_from_its_answer_and_not_while_it_rings() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), response(&invite, 180, desk(), "b1").end());
    t.response_to(alice(), 180);
    assert!(t.desk_streams().is_empty(), "nothing to come yet");
    t.desk_is_silent();
    t.pass(Millis::from_secs(40));
    assert!(t.suspicions().is_empty());
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    assert!(
        t.desk_streams()
            .iter()
            .all(|stream| stream.voice == Voice::Due)
    );
    let ok = t.last_answer(alice());
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.discard(desk());
    t.pass(Millis::from_secs(14));
    t.nothing_to(desk());
    assert!(t.suspicions().is_empty());
}

impl Table {
    fn last_answer(&mut self, at: SocketAddr) -> Message {
        loop {
            let next = self.next_to(at);
            if next.status() == 200 {
                return next;
            }
        }
    }
}

#[test]
fn who_is_not_to_send_is_not_expected_to_be_heard() {
    for (direction, answer, voice) in [
        ("sendrecv", "sendrecv", Voice::Due),
        ("recvonly", "sendonly", Voice::Due),
        ("sendonly", "recvonly", Voice::None),
        ("inactive", "inactive", Voice::None),
    ] {
        let mut t = Table::new(settings());
        t.established_with(&sdp(alice(), 1, direction), &sdp(desk(), 1, answer));
        let streams = t.desk_streams();
        assert_eq!(streams.len(), 1);
        assert_eq!(streams[0].voice, voice, "{direction}");
    }
}

#[test]
fn who_is_made_to_speak_alone_is_due_and_who_holds_may_play_music() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    // What is said, what is answered, and what is due of the desk phone then.
    let table = [
        (alice(), "recvonly", "sendonly", Voice::Due),
        (alice(), "sendrecv", "sendrecv", Voice::Due),
        (desk(), "sendonly", "recvonly", Voice::Perhaps),
        (desk(), "sendrecv", "sendrecv", Voice::Due),
        (alice(), "sendonly", "recvonly", Voice::None),
        // Both hold: nobody hears anything.
        (desk(), "sendonly", "inactive", Voice::None),
    ];
    for (version, (from, said, answer, voice)) in (2..).zip(table) {
        let (own, to) = match from == alice() {
            true => (&mut a, desk()),
            false => (&mut b, alice()),
        };
        t.receive(
            from,
            with_sdp(own.request(Method::Invite), &sdp(from, version, said)),
        );
        let asked = t.request_to(to, Method::Invite);
        t.agrees(&asked, to, &sdp(to, version, answer));
        let ok = t.last_answer(from);
        t.receive(from, own.ack(ok.cseq()));
        t.discard(to);
        assert_eq!(t.desk_streams()[0].voice, voice, "{said} of {from}");
    }
}

#[test]
fn music_that_ends_is_no_loss_even_where_silence_is() {
    for (holds, lost) in [(true, false), (false, true)] {
        let mut settings = settings();
        settings.detect.media_confirm = false;
        let mut t = Table::new(settings);
        let (_, mut b) = t.established();
        if holds {
            let hold = sdp(desk(), 2, "sendonly");
            t.receive(desk(), with_sdp(b.request(Method::Invite), &hold));
            let held = t.request_to(alice(), Method::Invite);
            t.agrees(&held, alice(), &sdp(alice(), 2, "recvonly"));
            let ok = t.last_answer(desk());
            t.receive(desk(), b.ack(ok.cseq()));
            t.desk_is_heard();
        }
        t.desk_is_silent();
        assert_eq!(!t.losses().is_empty(), lost, "{holds}");
        assert_eq!(t.suspicions().is_empty(), lost, "{holds}");
    }
}

#[test]
fn media_may_come_from_where_a_phone_has_moved_although_its_session_says_the_same() {
    let mut t = Table::new(settings());
    t.established();
    let again = phone("203.0.113.9:6000");
    t.register_again("bob", again, "desk", 2);
    let before = t.media.len();
    let update = t.request_to(again, Method::Update);
    // A NAT's public address has changed, which the phone does not know.
    t.agrees(&update, again, &sdp(desk(), 1, "sendrecv"));
    let from = t.media[before..].iter().find_map(|command| match command {
        MediaCommand::Configure {
            side, signalling, ..
        } if *side == DESK => Some(*signalling),
        _ => None,
    });
    assert_eq!(from, Some(again.ip()));
    assert!(t.losses().is_empty());
    t.nothing_to(alice());
}

#[test]
fn a_muted_phone_that_only_reports_is_asked_ever_more_seldom() {
    let mut t = Table::new(settings());
    t.established();
    let side = Side::Callee;
    for second in 0..1_200 {
        match second % 5 {
            0 => t.media_event(|media| MediaEvent::Reported { media, side }),
            3 => t.desk_is_silent(),
            _ => {}
        }
        t.pass(Millis::from_secs(1));
        t.discard(alice());
        while let Some(request) = t.any_to(desk()) {
            if *request.method() == Method::Update {
                let ok = response(&request, 200, desk(), "b1");
                t.receive(desk(), with_sdp(ok, &audio(desk())));
            } else {
                t.reply(&request, 200, desk());
            }
        }
    }
    let suspected = t.happened(|what| matches!(what, Happening::Suspected { .. }));
    // After half a minute, then after twice as long each time, up to four minutes.
    assert!((4..=8).contains(&suspected), "{suspected}");
    assert!(t.losses().is_empty());
    // It speaks, and falls silent: that is news.
    t.desk_is_heard();
    t.desk_is_silent();
    t.request_to(desk(), Method::Options);
}

#[test]
fn a_muted_phone_that_reports_and_dies_is_found_dead() {
    let mut t = Table::new(settings());
    t.established();
    let side = Side::Callee;
    t.media_event(|media| MediaEvent::Reported { media, side });
    t.desk_is_silent();
    t.pass(Millis::from_secs(30));
    assert_eq!(t.losses().len(), 1);
}
