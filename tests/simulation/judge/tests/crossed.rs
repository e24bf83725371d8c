//! What is on its way while something else is, beside the same log where it is not.

use super::excuses::has;
use super::peace::formats;
use super::*;

const NOBODY_ASKED: &str = "that nobody asked for";

impl Story {
    /// A call whose caller was told of a session.
    fn described_call() -> Self {
        let mut story = Self::new();
        story.invite(1000, A, "ca", true);
        story.answer(2000, B, "cb");
        let of = ("ca", 1, "z9hG4bKica");
        let told = sdp(1, "sendrecv");
        story.described(2000, A, (200, Method::Invite), of, &told, false);
        story.ack(2010, A, "ca", true);
        story
    }
}

#[test]
fn what_a_server_that_died_never_heard_is_news_to_the_next_one() {
    for (mute, dies, wrong) in [
        (true, true, false),
        (false, true, true),
        (true, false, true),
    ] {
        let standing = sdp(1, "sendrecv");
        let mut story = Story::new();
        story.invite(1000, A, "ca", true);
        let invite = || Method::Invite;
        let branch = "z9hG4bKicb";
        story.request(1500, B, invite(), "cb", 1, branch, "", &standing, false);
        let answer = sdp(3, "sendrecv");
        story.described(2000, B, (200, invite()), ("cb", 1, branch), &answer, true);
        story.ack(2010, B, "cb", false);
        let of = ("ca", 1, "z9hG4bKica");
        story.described(2000, A, (200, invite()), of, &standing, false);
        story.ack(2010, A, "ca", true);
        if mute {
            story.befalls(3000, B, Fault::Mute);
        }
        let said = sdp(9, "sendrecv");
        let update = || Method::Update;
        let branch = "z9hG4bKasks";
        story.request(
            4000,
            B,
            update(),
            "cb",
            7,
            branch,
            ";tag=t",
            &standing,
            false,
        );
        story.described(4020, B, (200, update()), ("cb", 7, branch), &said, true);
        story.add(6000, B, What::Recovered);
        if dies {
            story.restarted(7000);
        }
        story.inside(60_000, B, "cb", (Method::Invite, &said), Some(200), true);
        let asked = (Method::Invite, &*standing);
        story.inside(60_050, A, "ca", asked, Some(200), false);
        let found = judge(&story.log);
        let blamed = has(&found, "a0-0: INVITE that nobody asked for");
        assert_eq!(blamed, wrong, "{mute} {dies}: {found:?}");
    }
}

#[test]
fn an_invite_crosses_the_answer_of_who_is_called_on_the_other_side() {
    for (invited, known, wrong) in [
        (14_050, "0 8", false),
        (16_000, "0 8", true),
        (14_050, "0", true),
    ] {
        let mut story = Story::call();
        let caller = Card {
            side: Side::Caller,
            ..story.log.roster[C].clone()
        };
        story.log.roster.push(caller);
        for phone in [A, B] {
            story.add(10_000, phone, What::Fault(Fault::Killed));
        }
        story.invite(12_000, 3, "cd", false);
        story.takes(14_000, 3, "cd", &formats(1, "0"));
        story.ack(14_010, 3, "cd", false);
        let (branch, offer) = ("z9hG4bKicc", formats(1, known));
        let method = Method::Invite;
        story.request(invited, C, method, "cc", 1, branch, "", &offer, false);
        story.takes(17_000, C, "cc", &offer);
        story.ack(17_010, C, "cc", false);
        let now = formats(2, "0");
        story.offers(17_100, (C, "cc"), [&now, &now], 200, false);
        let found = judge(&story.log);
        assert_eq!(has(&found, NOBODY_ASKED), wrong, "{invited} {known}");
    }
}

#[test]
fn an_answer_that_nobody_heard_by_then_brings_nothing() {
    for (recovered, wrong) in [(5008, false), (5003, true)] {
        let mut story = Story::call();
        story.add(2900, C, What::Fault(Fault::Mute));
        story.invite(3000, C, "cc", false);
        for at in [3500, 5005] {
            if at > recovered {
                story.add(recovered, C, What::Recovered);
            }
            story.takes(at, C, "cc", &sdp(1, "sendonly"));
        }
        let hold = sdp(2, "sendonly");
        story.offers(5000, (B, "cb"), [&hold, ""], 500, true);
        if recovered > 5005 {
            story.add(recovered, C, What::Recovered);
        }
        story.offers(5010, (A, "ca"), [&hold, &sdp(2, "recvonly")], 200, false);
        let stands = [&*sdp(3, "sendrecv"), &*sdp(3, "sendrecv")];
        story.offers(5100, (A, "ca"), stands, 200, false);
        let found = story.end(40_000, &[(B, "cb")]);
        assert_eq!(has(&found, NOBODY_ASKED), wrong, "{recovered}: {found:?}");
    }
}

#[test]
fn who_agreed_to_a_target_that_is_gone_at_once_has_the_transferor_again() {
    for (refers, bye, wrong) in [
        (true, Some(6300), false),
        (true, Some(10_000), true),
        (true, None, true),
        (false, Some(6300), true),
    ] {
        let mut story = Story::described_call();
        if refers {
            story.inside(4000, B, "cb", (Method::Refer, ""), Some(202), true);
        }
        story.log.roster[C].user = "c0".to_owned();
        story.invite(4500, C, "cc", false);
        story.takes(6000, C, "cc", &formats(1, "8"));
        story.ack(6010, C, "cc", false);
        let [target, again] = [formats(2, "8"), formats(3, "0")];
        story.offers(6100, (A, "ca"), [&target, &target], 200, false);
        if let Some(at) = bye {
            story.inside(at, C, "cc", (Method::Bye, ""), Some(200), true);
        }
        story.offers(10_500, (A, "ca"), [&again, &again], 200, false);
        let found = judge(&story.log);
        assert_eq!(has(&found, NOBODY_ASKED), wrong, "{refers} {bye:?}");
    }
}

#[test]
fn an_offer_is_taken_back_by_a_bye_that_meets_its_answer() {
    for (bye, again, wrong) in [
        (5100, true, false),
        (5100, false, false),
        (6500, true, true),
    ] {
        let mut story = Story::call();
        let hold = sdp(2, "sendonly");
        let (method, branch) = (Method::Invite, "z9hG4bKmet");
        story.request(5000, B, method, "cb", 2, branch, ";tag=t", &hold, true);
        story.offers(5010, (A, "ca"), [&hold, &sdp(2, "recvonly")], 200, false);
        story.inside(bye, B, "cb", (Method::Bye, ""), Some(200), true);
        let of = ("cb", 2, branch);
        story.response(6600, B, (500, Method::Invite), of, false);
        if again {
            let stands = [&*sdp(3, "sendrecv"), &*sdp(3, "sendrecv")];
            story.offers(6700, (A, "ca"), stands, 200, false);
        }
        let mut found = story.end(40_000, &[]);
        found.retain(|found| found.contains("asked for") || found.contains("hears no more"));
        assert_eq!(!found.is_empty(), wrong, "{bye} {again}: {found:?}");
    }
}

#[test]
fn a_refusal_that_comes_after_its_phone_has_given_up_is_none() {
    for (deaf, refused, status, wrong) in [
        (true, 45_000, 481, false),
        (false, 45_000, 481, true),
        (true, 20_000, 481, true),
        // That word is no answer to its BYE.
        (true, 20_000, 500, false),
        (false, 20_000, 500, true),
    ] {
        let mut story = Story::call();
        if deaf {
            story.add(4000, B, What::Fault(Fault::Deaf));
        }
        let hold = sdp(2, "sendonly");
        let (method, branch) = (Method::Invite, "z9hG4bKlate");
        story.request(5000, B, method, "cb", 2, branch, ";tag=t", &hold, true);
        story.offers(5010, (A, "ca"), [&hold, &sdp(2, "recvonly")], 200, false);
        let stands = [&*sdp(3, "sendrecv"), &*sdp(3, "sendrecv")];
        story.offers(5100, (A, "ca"), stands, 200, false);
        story.inside(15_000, B, "cb", (Method::Bye, ""), Some(200), true);
        let of = ("cb", 2, branch);
        story.response(refused, B, (status, Method::Invite), of, false);
        let found = judge(&story.log);
        let case = format!("{deaf} {refused} {status}");
        assert_eq!(has(&found, NOBODY_ASKED), wrong, "{case}");
    }
}

#[test]
fn what_a_phone_was_owed_as_it_came_is_told_once() {
    for (paid, times, wrong) in [
        (true, 1, false),
        (true, 2, true),
        (false, 1, false),
        (false, 2, true),
    ] {
        let mut story = Story::call();
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.invite(14_500, C, "cc", false);
        let [hold, held] = ["sendonly", "recvonly"];
        let open = "sendrecv";
        let asks = |story: &mut Story, at, version, said, status| {
            let offer = sdp(version, said);
            story.offers(at, (A, "ca"), [&offer, ""], status, true);
        };
        let tells = |story: &mut Story, at, version, told, said| {
            let texts = [sdp(version, told), sdp(version, said)];
            story.offers(at, (C, "cc"), [&texts[0], &texts[1]], 200, false);
        };
        asks(&mut story, 14_700, 2, hold, 200);
        story.takes(15_000, C, "cc", &sdp(1, open));
        story.ack(15_010, C, "cc", false);
        if paid {
            tells(&mut story, 15_200, 2, hold, held);
        }
        asks(&mut story, 17_000, 3, open, 200);
        tells(&mut story, 17_050, 3, open, open);
        asks(&mut story, 20_000, 4, hold, 500);
        tells(&mut story, 20_050, 4, hold, held);
        for number in 0..times {
            tells(
                &mut story,
                20_200 + u64::from(number),
                6 + number,
                open,
                open,
            );
        }
        let found = judge(&story.log);
        assert_eq!(
            has(&found, NOBODY_ASKED),
            wrong,
            "{paid} {times}: {found:?}"
        );
    }
}

#[test]
fn a_server_that_rises_asks_once_more_what_was_open_though_it_was_no_news() {
    for (asked, down, again, wrong) in [
        (5000, 5100, 6000, false),
        // It was the server's own asking.
        (3500, 5100, 6000, true),
        // It was answered long since.
        (5000, 60_000, 61_000, true),
    ] {
        let mut story = Story::described_call();
        let known = sdp(1, "sendrecv");
        let (method, branch) = (Method::Invite, "z9hG4bKmoved");
        let moved = sdp(2, "sendrecv");
        story.request(asked, B, method, "cb", 2, branch, ";tag=t", &moved, true);
        story.offers(5010, (A, "ca"), [&known, &known], 200, false);
        story.restarted(down);
        story.offers(again, (A, "ca"), [&known, &known], 200, false);
        let found = judge(&story.log);
        assert_eq!(
            has(&found, NOBODY_ASKED),
            wrong,
            "{asked} {down}: {found:?}"
        );
    }
}

#[test]
fn an_answer_that_comes_again_is_no_source_of_what_it_does_not_say() {
    for (times, says, wrong) in [
        (&[3500, 5005][..], "sendrecv", false),
        (&[3500, 5005], "sendonly", true),
        // It is heard for the first time.
        (&[5005], "sendrecv", true),
    ] {
        let mut story = Story::call();
        story.invite(3000, C, "cc", false);
        for at in times {
            story.takes(*at, C, "cc", &sdp(1, says));
        }
        let hold = sdp(2, "sendonly");
        story.offers(5000, (B, "cb"), [&hold, ""], 500, true);
        story.offers(5010, (A, "ca"), [&hold, &sdp(2, "recvonly")], 200, false);
        let stands = [&*sdp(3, "sendrecv"), &*sdp(3, "sendrecv")];
        story.offers(5100, (A, "ca"), stands, 200, false);
        let found = story.end(40_000, &[(B, "cb")]);
        assert_eq!(
            has(&found, NOBODY_ASKED),
            wrong,
            "{times:?} {says}: {found:?}"
        );
    }
}

#[test]
fn a_text_that_was_refused_for_its_number_is_under_way_until_that_is_heard() {
    // When B refuses which text; A hangs up at 24 s.
    for (refused, wrong) in [
        (Some((15_000, 1)), false),
        (Some((10_000, 1)), true),
        (Some((15_000, 2)), true),
        (None, true),
    ] {
        let mut story = Story::call();
        story.says(9000, &body(1), 202);
        if let Some((at, number)) = refused {
            let act = (Method::Message, &*body(number));
            story.inside(at, B, "cb", act, Some(500), false);
        }
        let found = story.end(24_000, &[(B, "cb")]);
        assert_eq!(has(&found, "accepted and lost"), wrong, "{refused:?}");
    }
}
