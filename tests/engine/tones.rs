//! A tone in the survivor's media, where its phone takes no MESSAGE: asked of the relay, which says what came of it.

use refork::engine::events::{Happening, NoticeOutcome};
use refork::engine::ids::Side;
use refork::engine::ports::{Input, MediaCommand, MediaEvent};
use refork::engine::settings::{MediaMode, Settings};
use refork::engine::time::Millis;
use refork::sip::Method;

use crate::people::*;
use crate::table::*;

fn wishing(tone: bool, out_of_dialog: bool) -> Settings {
    let mut wishes = settings();
    wishes.notice.tone = tone;
    wishes.notice.out_of_dialog = out_of_dialog;
    wishes
}

/// Bob's mobile has taken the place of his desk phone, and Alice's phone is told of it.
fn moved(wishes: Settings) -> Table {
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t
}

/// Alice's phone refuses a MESSAGE within the dialog, and one outside where there is one.
fn refuses_all(t: &mut Table, outside: bool) {
    let notice = t.request_to(alice(), Method::Message);
    assert!(notice.to_tag().is_some());
    assert_eq!(tones(t), []);
    t.reply(&notice, 405, alice());
    if outside {
        let notice = t.request_to(alice(), Method::Message);
        assert!(notice.to_tag().is_none());
        assert_eq!(tones(t), []);
        t.reply(&notice, 405, alice());
    }
}

fn tones(t: &Table) -> Vec<Side> {
    let tone = |command: &MediaCommand| match command {
        MediaCommand::Tone { side, .. } => Some(*side),
        _ => None,
    };
    t.media.iter().filter_map(tone).collect()
}

fn told(t: &Table) -> Vec<NoticeOutcome> {
    let outcome = |what: &Happening| match what {
        Happening::Notice { side, outcome, .. } => {
            assert_eq!(*side, Side::Caller);
            Some(*outcome)
        }
        _ => None,
    };
    t.history().into_iter().filter_map(outcome).collect()
}

fn relay_says(t: &mut Table, whole: bool) {
    let media = t.engine.list(1)[0].key;
    t.input(Input::Media(MediaEvent::Toned {
        media,
        side: Side::Caller,
        whole,
    }));
}

#[test]
fn where_no_message_is_taken_a_tone_tells() {
    for (outside, whole, outcome) in [
        (true, true, NoticeOutcome::Tone),
        (false, true, NoticeOutcome::Tone),
        (true, false, NoticeOutcome::NotTold),
    ] {
        let mut t = moved(wishing(true, outside));
        refuses_all(&mut t, outside);
        assert_eq!(tones(&t), [Side::Caller]);
        // What came of it is the relay's to say.
        assert_eq!(told(&t), []);
        relay_says(&mut t, whole);
        assert_eq!(told(&t), [outcome]);
        // Which it does once.
        relay_says(&mut t, whole);
        t.pass(Millis::from_secs(10));
        assert_eq!((told(&t), tones(&t)), (vec![outcome], vec![Side::Caller]));
        t.nothing_to(alice());
    }
}

#[test]
fn a_notice_that_is_not_answered_outside_of_the_dialog_ends_in_a_tone() {
    let mut t = moved(wishing(true, true));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 405, alice());
    t.pass(Millis::from_secs(80));
    assert_eq!(tones(&t), [Side::Caller]);
    relay_says(&mut t, true);
    assert_eq!(told(&t), [NoticeOutcome::Tone]);
}

#[test]
fn who_was_told_hears_no_tone() {
    let mut t = moved(wishing(true, true));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    assert_eq!(
        (told(&t), tones(&t)),
        (vec![NoticeOutcome::Delivered], vec![])
    );
}

#[test]
fn without_the_wish_there_is_no_tone() {
    let mut t = moved(wishing(false, true));
    refuses_all(&mut t, true);
    assert_eq!(
        (told(&t), tones(&t)),
        (vec![NoticeOutcome::Refused], vec![])
    );
}

#[test]
fn the_last_word_is_no_tone() {
    let mut t = Table::new(wishing(true, true));
    t.register("bob", desk(), "desk");
    t.established();
    t.bob_is_lost();
    for _ in 0..400 {
        t.pass(Millis(500));
        if let Some(word) = t.waiting(alice(), &Method::Message) {
            t.reply(&word, 405, alice());
        }
    }
    t.request_to(alice(), Method::Bye);
    assert_eq!((told(&t), tones(&t)), (vec![], vec![]));
}

#[test]
fn media_that_passes_by_us_carries_none() {
    let mut wishes = wishing(true, false);
    wishes.media.mode = MediaMode::Direct;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    let answer = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(answer, &audio(mobile())));
    let join = t.request_to(alice(), Method::Invite);
    let agreed = response(&join, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(agreed, &audio(alice())));
    t.request_to(alice(), Method::Ack);
    refuses_all(&mut t, false);
    assert_eq!(
        (told(&t), tones(&t)),
        (vec![NoticeOutcome::NotTold], vec![])
    );
}
