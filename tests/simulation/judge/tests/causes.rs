//! Each cause beside the same log without it.

use super::excuses::has;
use super::peace::formats;
use super::*;

pub(super) const TEXTS: &str = "v=0\r\no=- 7 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
                     m=message 5060 sip null\r\n";

#[test]
fn a_server_that_dies_as_it_gives_up_has_forgotten_the_call() {
    let story = |restart| {
        let mut story = Story::call();
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.hears(71_000, A, "ca", "FAILED 0");
        story.restarted(restart);
        story.says(75_000, &body(1), 481);
        story.end(150_000, &[])
    };
    let wrong = ["answered so that the dialog ends", "told of failure"];
    let found = story(72_000);
    assert!(!wrong.iter().any(|wrong| has(&found, wrong)), "{found:?}");
    let found = story(95_000);
    wrong.iter().for_each(|wrong| finds(&found, wrong));
}

#[test]
fn whom_the_other_side_never_agrees_to_does_not_stay() {
    let story = |answers: &[u16]| {
        let mut story = Story::call();
        story.answer(5000, C, "cc");
        for (number, status) in (2..).zip(answers) {
            let offer = sdp(number, "sendrecv");
            let act = (Method::Update, &*offer);
            let at = 6000 + 1000 * u64::from(number);
            story.inside(at, A, "ca", act, Some(*status), false);
        }
        story.got(50_000, C, "cc", Method::Bye);
        story.end(60_000, &[(B, "cb")])
    };
    let wrong = ["BYE although nothing was over", "two phones of a side"];
    let found = story(&[491, 491]);
    assert!(!wrong.iter().any(|wrong| has(&found, wrong)), "{found:?}");
    for answers in [&[][..], &[491, 200]] {
        let found = story(answers);
        wrong.iter().for_each(|wrong| finds(&found, wrong));
    }
}

#[test]
fn who_says_that_it_lives_has_forgotten_unseen_until_it_is_written_to() {
    let story = |back, written: Option<u64>, session: &str| {
        let mut story = Story::new();
        story.log.roster[B].traits = Traits::of(Temper::OptionsAnyway);
        story.registers(B);
        story.registers(C);
        story.invite(1000, A, "ca", true);
        story.invite(1500, B, "cb", false);
        let of = ("cb", 1, "z9hG4bKicb");
        story.described(2000, B, (200, Method::Invite), of, session, true);
        story.ack(2010, B, "cb", false);
        story.accept(2000, A, "ca", true);
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.add(back, B, What::Recovered);
        if let Some(at) = written {
            story.says(at, &body(1), 202);
        }
        story.end(200_000, &[])
    };
    let alone = "b0-1 never asked";
    let found = story(13_000, None, TEXTS);
    assert!(!has(&found, alone), "{found:?}");
    finds(&story(13_000, Some(100_000), TEXTS), alone);
    finds(&story(60_000, None, TEXTS), alone);
    finds(&story(13_000, None, &sdp(1, "sendrecv")), alone);
}

const NOBODY_ASKED: &str = "that nobody asked for";

#[test]
fn a_server_that_has_died_does_not_know_whom_it_has_asked() {
    let story = |restart: Option<u64>, refresh: Option<u64>| {
        let sound = sdp(1, "sendrecv");
        let mut story = Story::call();
        story.offers(3000, (B, "cb"), [&sound, &sdp(1, "sendrecv")], 200, false);
        story.add(60_000, B, What::Fault(Fault::Unheard));
        if let Some(at) = refresh {
            story.offers(at, (A, "ca"), [&sdp(2, "sendrecv"), &sound], 200, true);
        }
        story.offers(66_000, (B, "cb"), [&sound, &sdp(2, "sendrecv")], 200, false);
        if let Some(at) = restart {
            story.restarted(at);
        }
        story.offers(80_000, (B, "cb"), [&sound, &sdp(3, "sendrecv")], 200, false);
        let mut found = story.end(90_000, &[(B, "cb")]);
        // What else was offered has a cause of its own.
        found.retain(|found| found.starts_with("80.") && found.contains(NOBODY_ASKED));
        found
    };
    spotless(&story(Some(70_000), None));
    finds(&story(None, None), NOBODY_ASKED);
    finds(&story(Some(62_000), None), NOBODY_ASKED);
    // It was no asking of the server's own.
    spotless(&story(None, Some(65_900)));
}

#[test]
fn an_offer_of_a_server_that_has_died_comes_late_and_is_refused_by_its_number() {
    for (down, status, wrong) in [
        (Some(5500), 500, false),
        (Some(5500), 491, true),
        (Some(3000), 500, true),
        (None, 500, true),
    ] {
        let mut story = Story::call();
        if let Some(down) = down {
            story.restarted(down);
        }
        story.offers(6000, (A, "ca"), [&sdp(2, "sendonly"), ""], status, false);
        let found = story.end(60_000, &[(B, "cb")]);
        assert_eq!(has(&found, NOBODY_ASKED), wrong, "{down:?} {status}");
    }
}

#[test]
fn who_agreed_to_one_that_another_displaces_is_told_what_stands() {
    for (bye, times, wrong) in [
        (Some(15_200), 2, false),
        (Some(15_200), 3, true),
        (None, 2, true),
    ] {
        let mut story = Story::call();
        let known = formats(1, "0");
        story.offers(5000, (A, "ca"), [&known, &known], 200, false);
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.invite(14_500, C, "cc", false);
        story.takes(15_000, C, "cc", &formats(1, "8"));
        story.ack(15_010, C, "cc", false);
        if let Some(bye) = bye {
            story.got(bye, C, "cc", Method::Bye);
        }
        for number in 0..times {
            let now = formats(10 + number, if number % 2 == 0 { "8" } else { "0" });
            let at = 15_100 + 200 * u64::from(number);
            story.offers(at, (A, "ca"), [&now, &now], 200, false);
        }
        let mut found = judge(&story.log);
        // The first has no cause here.
        found.retain(|found| !found.starts_with("5.") && found.contains(NOBODY_ASKED));
        let most = 1;
        assert_eq!(found.len() > most, wrong, "{bye:?} {times}: {found:?}");
    }
}

#[test]
fn whom_nobody_could_be_asked_about_does_not_stay() {
    let deaf = Some(Fault::Deaf);
    for (fault, session, until, wrong) in [
        (deaf, "8", 50_000, false),
        (deaf, "8", 90_000, true),
        // Nobody need be asked.
        (deaf, "0", 50_000, true),
        (None, "8", 50_000, true),
    ] {
        let mut story = Story::call();
        let known = formats(1, "0");
        story.offers(3000, (A, "ca"), [&known, &known], 200, false);
        if let Some(fault) = fault {
            story.add(4000, A, What::Fault(fault));
        }
        story.invite(4500, C, "cc", false);
        story.takes(5000, C, "cc", &formats(1, session));
        story.ack(5010, C, "cc", false);
        story.got(until, C, "cc", Method::Bye);
        let found = judge(&story.log);
        for fault in ["BYE although nothing was over", "two phones of a side"] {
            assert_eq!(has(&found, fault), wrong, "{fault}: {found:?}");
        }
    }
}

#[test]
fn who_takes_a_call_in_spite_of_a_cancel_is_let_go_where_the_other_side_has_declined() {
    for (status, cancelled, wrong) in [(603, true, false), (486, true, true), (603, false, true)] {
        let mut story = Story::call();
        story.add(10_000, B, What::Fault(Fault::Killed));
        let caller = Card {
            side: Side::Caller,
            ..story.log.roster[C].clone()
        };
        story.log.roster.push(caller);
        story.invite(12_000, C, "cc", false);
        story.invite(13_000, 3, "cd", false);
        story.final_response(13_100, 3, "cd", status, true);
        if cancelled {
            let branch = "z9hG4bKicc";
            story.request(13_200, C, Method::Cancel, "cc", 1, branch, "", "", false);
        }
        story.accept(14_000, C, "cc", false);
        story.got(14_100, C, "cc", Method::Bye);
        let mut found = judge(&story.log);
        found.retain(|found| found.contains("b0-1: BYE although nothing was over"));
        assert_eq!(!found.is_empty(), wrong, "{status} {cancelled}");
    }
}

#[test]
fn one_that_has_died_since_may_be_who_a_caller_talked_to_first() {
    for (died, wrong) in [(true, false), (false, true)] {
        let mut story = Story::new();
        story.invite(1000, A, "ca", true);
        for (phone, call) in [(B, "cb"), (C, "cc")] {
            story.invite(1500, phone, call, false);
            story.final_response(1900, phone, call, 200, true);
        }
        story.ack(1950, B, "cb", false);
        if died {
            story.add(1960, B, What::Fault(Fault::Killed));
        } else {
            story.got(1960, B, "cb", Method::Bye);
        }
        story.accept(2000, A, "ca", true);
        story.hears(15_500, A, "ca", "CONTINUED b0-1");
        let found = judge(&story.log);
        assert_eq!(has(&found, "without a change"), wrong, "{found:?}");
    }
}

#[test]
fn a_farewell_that_nobody_heard_for_long_explains_a_call() {
    for (invited, again, heard, wrong) in [
        (70_000, true, None, false),
        // It comes again within that time, and the call was over then.
        (69_400, true, None, true),
        (70_000, false, None, true),
        (70_000, true, Some(69_600), true),
        // It was called before that was heard, by an INVITE that came again.
        (70_300, true, Some(69_800), false),
        (70_600, true, Some(69_800), true),
    ] {
        let mut story = Story::call();
        let times = if again {
            &[69_000, 69_500][..]
        } else {
            &[69_000]
        };
        for at in times {
            let (method, branch) = (Method::Bye, "z9hG4bKbye");
            story.request(*at, B, method, "cb", 9, branch, ";tag=t", "", true);
        }
        if let Some(at) = heard {
            let of = ("cb", 9, "z9hG4bKbye");
            story.response(at, B, (200, Method::Bye), of, false);
        }
        story.invite(invited, B, "cb2", false);
        let found = judge(&story.log);
        let what = "called although nobody was missed";
        assert_eq!(has(&found, what), wrong, "{invited} {again} {heard:?}");
    }
}

#[test]
fn a_last_word_that_is_refused_by_its_number_is_said_once_more() {
    // The answer to the first, and when the second came.
    let story = |first: u16| {
        let mut story = Story::call();
        story.add(10_000, B, What::Fault(Fault::Killed));
        let word = (Method::Message, "FAILED 0");
        story.inside(71_000, A, "ca", word, Some(first), false);
        story.hears(73_000, A, "ca", "FAILED 0");
        story.got(73_100, A, "ca", Method::Bye);
        judge(&story.log)
    };
    assert!(!has(&story(500), "told of failure"));
    finds(&story(200), "told of failure");
}

#[test]
fn a_phone_that_holds_and_was_away_holds_again_as_it_is_back() {
    // Who holds what, whether it was away as the other asked, and whether the other asked.
    let story = |holds: &str, away: bool, asks: bool| {
        let mut story = Story::call();
        story.agrees(5000, B, "cb", [holds, "recvonly"], true);
        story.agrees(5010, A, "ca", [holds, "recvonly"], false);
        let fault = if away { Fault::Cut } else { Fault::Unheard };
        story.add(10_000, B, What::Fault(fault));
        if asks {
            story.agrees(20_000, A, "ca", ["sendonly", "recvonly"], true);
        }
        story.add(40_000, B, What::Recovered);
        let again = sdp(5000, holds);
        let act = (Method::Invite, &*again);
        story.inside(90_000, B, "cb", act, Some(200), true);
        story.agrees(90_050, A, "ca", ["sendonly", "inactive"], false);
        story.end(120_000, &[(B, "cb")])
    };
    let wrong = "UPDATE that nobody asked for";
    assert!(!has(&story("sendonly", true, true), wrong));
    finds(&story("sendrecv", true, true), wrong);
    finds(&story("sendonly", false, true), wrong);
    finds(&story("sendonly", true, false), wrong);
}
