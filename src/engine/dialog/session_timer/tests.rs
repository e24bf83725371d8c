//! The table of the session timer, and what both ends write of it.

use super::*;
use crate::engine::dialog::check::assert_rows;
use crate::sip::Method;

const WISH: SessionTimerSettings = SessionTimerSettings {
    expires_s: 1800,
    min_s: 90,
    refresher: RefresherChoice::Auto,
};
const START: Time = Time(1_000_000);

fn after(secs: u64) -> Time {
    START + Millis::from_secs(secs)
}

fn message(first: &str, lines: &str) -> Message {
    let text = format!(
        "{first}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
         To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 UPDATE\r\nMax-Forwards: 70\r\n{lines}\r\n"
    );
    Message::parse(text.into_bytes().into()).unwrap()
}

fn update(lines: &str) -> Message {
    message("UPDATE sip:b@h SIP/2.0", lines)
}

fn answer(status: u16, lines: &str) -> Message {
    message(&format!("SIP/2.0 {status} Word"), lines)
}

/// The lines that were added to a message.
fn added(write: impl FnOnce(Builder) -> Builder) -> Vec<String> {
    let built = write(Builder::request(&Method::Update, "sip:b@h")).end();
    let text = String::from_utf8(built.to_vec()).unwrap();
    text.lines()
        .skip(1)
        .filter(|line| !line.is_empty() && !line.starts_with("Content-Length"))
        .map(Into::into)
        .collect()
}

#[test]
fn every_pair_does_what_the_table_says() {
    let states = [
        Turn::Off,
        Turn::Ours,
        Turn::Asked,
        Turn::Theirs,
        Turn::Missed,
    ];
    let ticks = [
        Tick::WeRefresh,
        Tick::TheyRefresh,
        Tick::NoTimer,
        Tick::Refused,
        Tick::Due,
        Tick::End,
    ];
    let table = "
        Off WeRefresh -> Ours Nothing
        Off TheyRefresh -> Theirs Nothing
        Off NoTimer -> Off Nothing
        Off Refused -> Off Nothing
        Off Due -> Off Nothing
        Off End -> Off Nothing

        Ours WeRefresh -> Ours Nothing
        Ours TheyRefresh -> Theirs Nothing
        Ours NoTimer -> Off Nothing
        Ours Refused -> Ours Nothing
        Ours Due -> Asked Refresh
        Ours End -> Missed Suspect

        Asked WeRefresh -> Ours Nothing
        Asked TheyRefresh -> Theirs Nothing
        Asked NoTimer -> Off Nothing
        Asked Refused -> Ours Nothing
        Asked Due -> Asked Nothing
        Asked End -> Missed Suspect

        Theirs WeRefresh -> Ours Nothing
        Theirs TheyRefresh -> Theirs Nothing
        Theirs NoTimer -> Off Nothing
        Theirs Refused -> Theirs Nothing
        Theirs Due -> Theirs Nothing
        Theirs End -> Missed Suspect

        Missed WeRefresh -> Ours Nothing
        Missed TheyRefresh -> Theirs Nothing
        Missed NoTimer -> Off Nothing
        Missed Refused -> Missed Nothing
        Missed Due -> Missed Nothing
        Missed End -> Missed Nothing
    ";
    assert_rows(table, &states, &ticks, |state, tick| {
        let (next, act) = state.after(*tick);
        format!("{next:?} {act:?}")
    });
}

/// RFC 4028 9, table 2, and what the 2xx says; in the end what is due first, and when.
#[test]
fn what_the_far_end_asks_is_answered() {
    let cases = [
        ("", RefresherChoice::Auto, &[][..], None),
        (
            "Supported: timer\r\n",
            RefresherChoice::Auto,
            &["Session-Expires: 1800;refresher=uac", "Require: timer"],
            Some((1768, Act::Suspect)),
        ),
        (
            "Supported: timer\r\n",
            RefresherChoice::Uas,
            &["Session-Expires: 1800;refresher=uas", "Require: timer"],
            Some((900, Act::Refresh)),
        ),
        (
            "k: timer\r\nx: 600;refresher=uas\r\n",
            RefresherChoice::Uac,
            &["Session-Expires: 600;refresher=uas", "Require: timer"],
            Some((300, Act::Refresh)),
        ),
        // Made shorter; but not below what is asked for on the way.
        (
            "Supported: timer\r\nSession-Expires: 7200;refresher=uac\r\n",
            RefresherChoice::Auto,
            &["Session-Expires: 1800;refresher=uac", "Require: timer"],
            Some((1768, Act::Suspect)),
        ),
        (
            "Supported: timer\r\nSession-Expires: 7200;refresher=uac\r\nMin-SE: 3600\r\n",
            RefresherChoice::Auto,
            &["Session-Expires: 3600;refresher=uac", "Require: timer"],
            Some((3568, Act::Suspect)),
        ),
        // Of a proxy: the far end need not understand it.
        (
            "Session-Expires: 60;refresher=uac\r\n",
            RefresherChoice::Auto,
            &["Session-Expires: 60;refresher=uas"],
            Some((30, Act::Refresh)),
        ),
        (
            "Session-Expires: soon\r\n",
            RefresherChoice::Auto,
            &[],
            None,
        ),
    ];
    for (lines, refresher, expected, due) in cases {
        let mut timer = SessionTimer::default();
        let wish = SessionTimerSettings { refresher, ..WISH };
        let accepted = timer.accept(&update(lines), &wish, START);
        let said = added(|builder| match accepted {
            Some(accepted) => accepted.write(builder),
            None => builder,
        });
        assert_eq!(said, expected, "{lines}");
        assert_eq!(timer.next(), due.map(|(secs, _)| after(secs)), "{lines}");
        if let Some((secs, act)) = due {
            assert_eq!(timer.due(after(secs) - Millis(1)), Act::Nothing);
            assert_eq!(timer.due(after(secs)), act, "{lines}");
        }
    }
}

#[test]
fn what_is_answered_holds() {
    let cases = [
        ("", None),
        (
            "Session-Expires: 1800;refresher=uac\r\n",
            Some((900, Act::Refresh)),
        ),
        (
            "Session-Expires: 1800;refresher=UAS\r\n",
            Some((1768, Act::Suspect)),
        ),
        (
            "Session-Expires: 90;refresher=uas\r\n",
            Some((60, Act::Suspect)),
        ),
        // It should have said who; an interval of nothing would be a flood.
        ("Session-Expires: 1800\r\n", Some((900, Act::Refresh))),
        (
            "Session-Expires: 0;refresher=uac\r\n",
            Some((5, Act::Refresh)),
        ),
    ];
    for (lines, due) in cases {
        let mut timer = SessionTimer::default();
        timer.answered(&answer(200, lines), START);
        assert_eq!(timer.next(), due.map(|(secs, _)| after(secs)), "{lines}");
        if let Some((secs, act)) = due {
            assert_eq!(timer.due(after(secs)), act, "{lines}");
        }
    }
}

#[test]
fn a_refresh_names_who_refreshes_now() {
    let mut timer = SessionTimer::default();
    let asks = |timer: &SessionTimer| added(|builder| timer.ask(&WISH, builder));
    assert_eq!(asks(&timer), ["Session-Expires: 1800", "Min-SE: 90"]);
    timer.answered(&answer(200, "x: 600;refresher=uas\r\n"), START);
    assert_eq!(
        asks(&timer),
        ["Session-Expires: 600;refresher=uas", "Min-SE: 90"]
    );
    timer.answered(&answer(200, "x: 600;refresher=uac\r\n"), START);
    assert_eq!(
        asks(&timer),
        ["Session-Expires: 600;refresher=uac", "Min-SE: 90"]
    );
}

#[test]
fn a_refresh_that_is_refused_is_tried_until_the_end() {
    let mut timer = SessionTimer::default();
    timer.answered(&answer(200, "x: 100;refresher=uac\r\n"), START);
    let mut tries = 0;
    while let Some(next) = timer.next() {
        match timer.due(next) {
            Act::Refresh => {
                tries += 1;
                timer.refused(next);
            }
            Act::Suspect => assert!(next >= after(100)),
            Act::Nothing => panic!("nothing is due at {next:?}"),
        }
    }
    assert_eq!(tries, 8);
}

#[test]
fn a_422_is_heeded_as_often_as_makes_sense() {
    let mut timer = SessionTimer::default();
    let mut told = |seconds: u32| {
        let brief = answer(422, &format!("Min-SE: {seconds}\r\n"));
        timer.too_brief(&brief, &WISH)
    };
    // We asked for that much.
    assert!(!told(1800));
    assert!(!told(u32::MAX));
    assert!(told(3600));
    assert!(!told(3600));
    assert!(told(3601));
    assert!(told(3602));
    assert!(!told(3603));
    let asks = added(|builder| timer.ask(&WISH, builder));
    assert_eq!(asks, ["Session-Expires: 3602", "Min-SE: 3602"]);
    assert!(!SessionTimer::default().too_brief(&answer(422, ""), &WISH));
}

#[test]
fn too_brief_is_told_to_who_understands_it() {
    for (lines, brief) in [
        ("k: timer\r\nx: 89\r\n", true),
        ("k: timer\r\nx: 90\r\n", false),
        ("x: 89\r\n", false),
        ("k: timer\r\n", false),
    ] {
        assert_eq!(is_too_brief(&update(lines), &WISH), brief, "{lines}");
    }
}

#[test]
fn after_a_restart_their_refresh_is_waited_for_once_more() {
    let mut timer = SessionTimer::default();
    timer.answered(&answer(200, "x: 600;refresher=uas\r\n"), START);
    timer.resume(after(700));
    assert_eq!(timer.due(after(700)), Act::Nothing);
    assert_eq!(timer.due(after(732)), Act::Suspect);
    // Ours may not have left.
    timer.answered(&answer(200, "x: 600;refresher=uac\r\n"), START);
    assert_eq!(timer.due(after(300)), Act::Refresh);
    timer.resume(after(310));
    assert_eq!(timer.due(after(340)), Act::Refresh);
}
