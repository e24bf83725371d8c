//! What explains a thing explains no more than that: each cause beside the same log without it.

use super::peace::formats;
use super::*;

/// A phone of a third user, to whom one side may hand the call.
const D: PhoneId = 3;

const BYE: &str = "BYE although nothing was over";

impl Story {
    pub(super) fn befalls(&mut self, at: u64, phone: PhoneId, fault: Fault) {
        self.add(at, phone, What::Fault(fault));
    }

    fn third(&mut self, side: Side, user: &str) {
        let card = Card {
            name: "c0-0".into(),
            user: user.into(),
            side,
            ..self.log.roster[A].clone()
        };
        self.log.roster.push(card);
        self.registers(D);
    }

    fn cancel(&mut self, at: u64, phone: PhoneId, call: &str) {
        let branch = format!("z9hG4bKi{call}");
        self.request(at, phone, Method::Cancel, call, 1, &branch, "", "", false);
    }
}

pub(super) fn has(found: &[String], what: &str) -> bool {
    found.iter().any(|found| found.contains(what))
}

#[test]
fn who_answered_too_late_was_not_there_last() {
    let story = |until, loser: bool| {
        let mut story = Story::registered();
        story.log.roster[B].traits = Traits::of(Temper::IgnoresOptions);
        if loser {
            story.answer(2100, C, "cc");
            story.got(2200, C, "cc", Method::Bye);
        }
        story.befalls(10_000, B, Fault::Frozen);
        story.end(until, &[])
    };
    // Who ignores OPTIONS is asked seldom.
    for loser in [false, true] {
        assert!(!has(&story(90_000, loser), "left alone"));
        finds(&story(150_000, loser), "left alone");
    }
}

#[test]
fn of_a_caller_that_never_heard_the_answer_the_own_phones_are_sought() {
    let story = |user, late: bool| {
        let mut story = Story::new();
        story.third(Side::Caller, user);
        story.invite(1000, A, "ca", true);
        let fault = if late { Fault::Frozen } else { Fault::Killed };
        story.befalls(1600, A, fault);
        story.answer(2000, B, "cb");
        story.hears(64_000, B, "cb", "FAILED 0");
        story.got(64_500, B, "cb", Method::Bye);
        if late {
            // It hears the answer when all is over.
            story.add(70_000, A, What::Recovered);
            story.accept(70_000, A, "ca", true);
        }
        judge(&story.log)
    };
    for late in [false, true] {
        finds(&story("a0", late), BYE);
        assert!(!has(&story("c0", late), BYE));
    }
}

#[test]
fn who_has_handed_the_call_on_was_not_there_last() {
    let story = |handed: bool| {
        let mut story = Story::registered();
        story.third(Side::Callee, "c0");
        if handed {
            let act = (Method::Refer, "");
            story.inside(5000, B, "cb", act, Some(202), true);
            // Its BYE does not reach it.
            story.befalls(5500, B, Fault::Moved);
            story.answer(6000, D, "cd");
            story.befalls(10_000, D, Fault::Killed);
        } else {
            story.befalls(10_000, B, Fault::Killed);
        }
        story.gives_up(72_000)
    };
    assert!(!has(&story(true), BYE));
    finds(&story(false), BYE);
}

#[test]
fn whom_the_other_did_not_agree_to_is_not_sought() {
    let story = |ended| {
        let mut story = Story::call();
        story.third(Side::Callee, "c0");
        story.answer(5000, D, "cd");
        story.got(ended, D, "cd", Method::Bye);
        story.befalls(10_000, B, Fault::Killed);
        story.gives_up(72_000)
    };
    assert!(!has(&story(5100), BYE));
    finds(&story(14_000), BYE);
}

#[test]
fn who_answers_in_spite_of_a_cancel_is_ended() {
    let story = |cancelled: bool, trouble: bool| {
        let mut story = Story::new();
        story.invite(1000, A, "ca", true);
        story.invite(1100, B, "cb", false);
        if trouble {
            story.befalls(2000, A, Fault::Reset);
        }
        story.final_response(7000, A, "ca", 487, false);
        if cancelled {
            story.cancel(7050, B, "cb");
        }
        story.accept(7500, B, "cb", false);
        story.got(7600, B, "cb", Method::Bye);
        judge(&story.log)
    };
    assert!(!has(&story(true, true), BYE));
    finds(&story(true, false), BYE);
    finds(&story(false, true), BYE);
}

#[test]
fn an_invite_that_a_dead_server_sent_has_no_acknowledgement() {
    let story = |invited| {
        let mut story = Story::new();
        story.restarted(1000);
        story.invite(invited, B, "cb", false);
        story.final_response(30_000, B, "cb", 504, true);
        judge(&story.log)
    };
    let never = "final response never acknowledged";
    assert!(!has(&story(1510), never));
    finds(&story(4000), never);
}

#[test]
fn whom_the_other_was_asked_about_across_a_restart_may_be_ended_late() {
    let offer = sdp(2, "sendrecv");
    let story = |answers: &[Option<u16>], restart| {
        let mut story = Story::taken_over();
        for answer in answers {
            let act = (Method::Update, &*offer);
            story.inside(16_000, A, "ca", act, *answer, false);
        }
        if restart {
            story.restarted(22_000);
        }
        story.got(57_000, C, "cc", Method::Bye);
        judge(&story.log)
    };
    assert!(!has(&story(&[None], true), BYE));
    finds(&story(&[None], false), BYE);
    // Nobody was asked, or has agreed long since.
    finds(&story(&[], true), BYE);
    finds(&story(&[Some(200)], true), BYE);
}

#[test]
fn whom_a_server_has_forgotten_as_it_died_may_be_left_alone() {
    let story = |restart| {
        let mut story = Story::call();
        story.inside(60_000, B, "cb", (Method::Bye, ""), None, true);
        story.restarted(restart);
        story.end(300_000, &[])
    };
    assert!(!has(&story(70_000), "left alone"));
    finds(&story(80_000), "left alone");
}

#[test]
fn who_has_refused_since_its_other_phone_was_missed_need_not_be_joined() {
    let story = |refused: u64| {
        let mut story = Story::registered();
        story.befalls(5000, B, Fault::Deaf);
        story.invite(refused - 1000, C, "cc", false);
        story.final_response(refused, C, "cc", 488, true);
        story.inside(60_000, B, "cb", (Method::Bye, ""), None, true);
        story.end(170_000, &[])
    };
    let joined = "b0-1 not joined";
    assert!(!has(&story(40_000), joined));
    let mut early = Story::registered();
    early.inside(60_000, B, "cb", (Method::Bye, ""), None, true);
    early.invite(39_000, C, "cc", false);
    early.final_response(40_000, C, "cc", 488, true);
    finds(&early.end(170_000, &[]), joined);
}

#[test]
fn who_has_let_it_ring_out_need_not_be_asked_as_it_moves() {
    // B dies, and C rings so long.
    let story = |ended: u64, cancelled: bool, invited: u64| {
        let mut story = Story::registered();
        story.befalls(10_000, B, Fault::Killed);
        story.invite(invited, C, "cc", false);
        if cancelled {
            story.cancel(ended - 20, C, "cc");
        }
        story.final_response(ended, C, "cc", 487, true);
        story.befalls(52_000, C, Fault::Moved);
        let of = ("again", 1, "z9hG4bKr2");
        story.response(52_100, C, (200, Method::Register), of, false);
        story.gives_up(71_000)
    };
    let unasked = "not asked as it came back";
    assert!(!has(&story(42_000, true, 12_000), unasked));
    finds(&story(30_000, true, 12_000), unasked);
    finds(&story(42_000, false, 12_000), unasked);
    // That was for another loss.
    finds(&story(42_000, true, 9_000), unasked);
}

#[test]
fn who_has_rung_and_refused_need_not_be_asked_as_it_begins_anew() {
    // B dies, and C says no to that, or to another call.
    let story = |status, rings: bool, invited: u64| {
        let mut story = Story::registered();
        story.befalls(10_000, B, Fault::Killed);
        story.invite(invited, C, "cc", false);
        if rings {
            let of = ("cc", 1, "z9hG4bKicc");
            story.response(invited + 100, C, (180, Method::Invite), of, true);
        }
        story.final_response(30_000, C, "cc", status, true);
        story.befalls(40_000, C, Fault::Killed);
        story.add(52_000, C, What::Recovered);
        let of = ("again", 1, "z9hG4bKr2");
        story.response(52_100, C, (200, Method::Register), of, false);
        story.gives_up(71_000)
    };
    let unasked = "not asked as it came back";
    assert!(!has(&story(486, true, 12_000), unasked));
    // It was engaged, and may be free.
    finds(&story(486, false, 12_000), unasked);
    finds(&story(487, true, 12_000), unasked);
    // That was for another loss.
    finds(&story(486, true, 9_000), unasked);
}

#[test]
fn who_is_mute_keeps_its_place_until_the_other_side_agrees_to_another() {
    // What C takes, when A agrees to it, what befalls A, and when B is told.
    let story = |taken, agreed: Option<u64>, fault: bool, told: u64| {
        let (mut story, known) = (Story::new(), formats(1, "0 8"));
        let branch = "z9hG4bKica";
        let (method, of) = (Method::Invite, ("ca", 1, branch));
        story.request(1000, A, method, "ca", 1, branch, "", &known, true);
        story.answer(2000, B, "cb");
        story.described(2000, A, (200, Method::Invite), of, &known, false);
        story.ack(2010, A, "ca", true);
        story.befalls(10_000, B, Fault::Mute);
        if fault {
            story.befalls(12_000, A, Fault::Deaf);
        }
        story.invite(14_500, C, "cc", false);
        story.takes(15_000, C, "cc", &formats(1, taken));
        story.ack(15_010, C, "cc", false);
        if let Some(at) = agreed {
            let said = [2, 3].map(|version| formats(version, taken));
            story.offers(at, (A, "ca"), [&*said[0], &*said[1]], 200, false);
        }
        story.got(told, B, "cb", Method::Bye);
        story.end(90_000, &[(C, "cc")])
    };
    let untold = "has lost its place";
    assert!(!has(&story("0", None, true, 50_000), untold));
    finds(&story("0 8", None, true, 50_000), untold);
    finds(&story("0", None, false, 50_000), untold);
    finds(&story("0", None, true, 70_000), untold);
    assert!(!has(&story("0", Some(30_000), false, 40_000), untold));
    finds(&story("0", Some(30_000), false, 45_000), untold);
    finds(&story("0 8", Some(30_000), false, 40_000), untold);
}

#[test]
fn who_takes_the_call_and_leaves_before_the_other_agrees_has_refused() {
    // C takes the place of B, and leaves; when A is asked whether it agrees.
    let story = |asked: Option<u64>| {
        let mut story = Story::registered();
        story.befalls(10_000, B, Fault::Killed);
        story.answer(20_000, C, "cc");
        if let Some(at) = asked {
            let said = [2, 3].map(|version| formats(version, "0"));
            story.offers(at, (A, "ca"), [&*said[0], &*said[1]], 200, false);
        }
        story.inside(24_000, C, "cc", (Method::Bye, ""), Some(200), true);
        story.gives_up(90_000)
    };
    let asked = "b0-1 never asked";
    assert!(!has(&story(Some(24_200)), asked));
    finds(&story(Some(21_000)), asked);
    finds(&story(Some(40_000)), asked);
    finds(&story(None), asked);
}

#[test]
fn who_is_asked_once_more_since_its_refusal_was_lost_may_take_the_call() {
    // A mute phone says 486, and the INVITE comes again when it knows nothing of that any more.
    let story = |takes: bool, ended: u64| {
        let mut story = Story::registered();
        story.befalls(10_000, B, Fault::Killed);
        story.invite(14_000, C, "cc", false);
        story.final_response(14_010, C, "cc", 486, true);
        story.invite(47_000, C, "cc", false);
        if takes {
            story.accept(50_000, C, "cc", false);
            story.got(ended, C, "cc", Method::Bye);
        }
        story.end(250_000, &[])
    };
    let alone = "left alone";
    assert!(!has(&story(true, 250_050), alone));
    finds(&story(true, 60_000), alone);
    finds(&story(false, 0), alone);
}

#[test]
fn who_takes_the_same_invite_once_more_after_its_farewell_has_the_call() {
    // Nobody hears that a mute phone takes the call, nor that it leaves it; the INVITE comes again as it is heard.
    let story = |again: bool| {
        let mut story = Story::registered();
        story.befalls(10_000, B, Fault::Killed);
        story.invite(14_000, C, "cc", false);
        story.final_response(16_000, C, "cc", 200, true);
        story.inside(48_000, C, "cc", (Method::Bye, ""), Some(481), true);
        if again {
            story.invite(48_500, C, "cc", false);
            let took = Builder::response(200, "OK")
                .header(Name::Via, "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKicc")
                .header(Name::From, "<sip:f@x>;tag=f")
                .header(Name::To, "<sip:t@x>;tag=another")
                .header(Name::CallId, "cc")
                .header(Name::CSeq, "1 INVITE");
            story.message(50_000, C, took.end(), true);
            story.ack(50_010, C, "cc", false);
            story.got(250_050, C, "cc", Method::Bye);
        }
        story.end(250_000, &[])
    };
    assert!(!has(&story(true), "left alone"));
    finds(&story(false), "left alone");
}

#[test]
fn who_is_mute_keeps_its_place_while_one_that_was_just_killed_is_asked() {
    // What C takes, when A is killed, and when B is told.
    let story = |taken, killed, told| {
        let (mut story, known) = (Story::new(), formats(1, "0 8"));
        let branch = "z9hG4bKica";
        let (method, of) = (Method::Invite, ("ca", 1, branch));
        story.request(1000, A, method, "ca", 1, branch, "", &known, true);
        story.answer(2000, B, "cb");
        story.described(2000, A, (200, Method::Invite), of, &known, false);
        story.ack(2010, A, "ca", true);
        story.befalls(10_000, B, Fault::Mute);
        story.befalls(killed, A, Fault::Killed);
        story.invite(killed + 2500, C, "cc", false);
        story.takes(99_000, C, "cc", &formats(1, taken));
        story.ack(99_010, C, "cc", false);
        story.got(told, B, "cb", Method::Bye);
        story.got(190_000, C, "cc", Method::Bye);
        judge(&story.log)
    };
    let untold = "has lost its place";
    assert!(!has(&story("0", 95_000, 112_000), untold));
    finds(&story("0 8", 95_000, 112_000), untold);
    finds(&story("0", 95_000, 150_000), untold);
    // Long ago: nobody asks it any more.
    finds(&story("0", 12_000, 112_000), untold);
}

#[test]
fn who_handed_the_call_on_may_hear_of_that_by_a_bye_alone_after_a_restart() {
    let story = |down: Option<u64>, bye: u64, told: bool, taken: bool| {
        let mut story = Story::call();
        story.third(Side::Callee, "c0");
        let act = (Method::Refer, "");
        story.inside(5000, B, "cb", act, Some(202), true);
        if taken {
            story.answer(40_000, D, "cd");
        }
        if let Some(at) = down {
            story.restarted(at);
        }
        if told {
            let act = (Method::Notify, "SIP/2.0 200 OK\r\n");
            story.inside(41_000, B, "cb", act, Some(200), false);
        }
        let (method, branch) = (Method::Bye, "z9hG4bKbye");
        story.request(bye, B, method, "cb", 2, branch, ";tag=t", "", false);
        story.end(90_000, &[(D, "cd")])
    };
    let down = Some(40_100);
    assert!(!has(&story(down, 44_100, false, true), BYE));
    finds(&story(None, 44_100, false, true), BYE);
    finds(&story(Some(30_000), 44_100, false, true), BYE);
    finds(&story(down, 41_500, false, true), BYE);
    finds(&story(down, 44_100, true, true), BYE);
    finds(&story(down, 44_100, false, false), BYE);
}

#[test]
fn who_handed_the_call_on_may_hear_of_that_by_a_bye_alone_where_words_are_lost() {
    // The number of the BYE, and when the NOTIFY before that word comes last.
    for (number, last, wrong) in [(3, 6500, true), (4, 6500, false), (3, 44_200, false)] {
        let mut story = Story::call();
        story.third(Side::Callee, "c0");
        let act = (Method::Refer, "");
        story.inside(5000, B, "cb", act, Some(202), true);
        story.answer(40_000, D, "cd");
        for (at, method, number) in [
            (6000, Method::Notify, 2),
            (44_100, Method::Bye, number),
            (last, Method::Notify, 2),
        ] {
            let branch = format!("z9hG4bK{number}");
            story.request(at, B, method, "cb", number, &branch, ";tag=t", "", false);
        }
        let found = story.end(90_000, &[(D, "cd")]);
        assert_eq!(has(&found, BYE), wrong, "{number} {last}: {found:?}");
    }
}

const NO_MORE: &str = "hears no more";

#[test]
fn what_comes_again_after_the_bye_was_not_taken_back() {
    let story = |bye: Option<u64>| {
        let (mut story, hold) = (Story::call(), sdp(2, "sendonly"));
        let (branch, method) = ("z9hG4bKagain", Method::Invite);
        story.request(5000, B, method, "cb", 5, branch, ";tag=t", &hold, true);
        story.offers(5010, (A, "ca"), [&hold, &sdp(2, "recvonly")], 200, false);
        if let Some(at) = bye {
            story.add(at, B, What::HungUp);
            story.inside(at, B, "cb", (Method::Bye, ""), Some(200), true);
        }
        let of = ("cb", 5, branch);
        story.response(30_000, B, (481, Method::Invite), of, false);
        story.end(45_000, &[])
    };
    assert!(!has(&story(Some(28_000)), NO_MORE));
    finds(&story(Some(31_000)), NO_MORE);
    finds(&story(None), NO_MORE);
}

#[test]
fn who_is_called_is_told_what_the_other_has_agreed_on_meanwhile() {
    let story = |before: &str, at| {
        let (mut story, hold) = (Story::call(), sdp(3, "sendonly"));
        story.befalls(3000, B, Fault::Killed);
        story.invite(5000, C, "cc", false);
        let said = [before, "recvonly"].map(|said| sdp(2, said));
        story.offers(at, (A, "ca"), [&*said[0], &*said[1]], 200, true);
        story.offers(7000, (A, "ca"), [&*hold, ""], 491, true);
        story.accept(8000, C, "cc", false);
        story.offers(8100, (C, "cc"), [&*hold, &sdp(3, "recvonly")], 200, false);
        story.end(45_000, &[(C, "cc")])
    };
    assert!(!has(&story("sendonly", 6000), NO_MORE));
    finds(&story("inactive", 6000), NO_MORE);
    finds(&story("sendonly", 4000), NO_MORE);
}

#[test]
fn who_holds_is_not_asked_for_what_a_phone_that_comes_could_hear() {
    let story = |says, held: u64, answers| {
        let (mut story, heard) = (Story::call(), sdp(1, answers));
        story.agrees(5000, B, "cb", ["sendonly", "recvonly"], true);
        story.agrees(5100, A, "ca", ["sendonly", "recvonly"], false);
        if held < 10_000 {
            story.agrees(held, A, "ca", [says, "inactive"], true);
        }
        story.befalls(10_000, B, Fault::Killed);
        let (branch, offer) = ("z9hG4bKicc", sdp(1, says));
        let invite = Method::Invite;
        story.request(14_500, C, invite, "cc", 1, branch, "", &offer, false);
        story.takes(15_000, C, "cc", &heard);
        story.ack(15_010, C, "cc", false);
        if held > 10_000 {
            story.agrees(held, A, "ca", [says, "inactive"], true);
        }
        story.end(120_000, &[(C, "cc")])
    };
    let told = "was told Some";
    assert!(!has(&story("sendonly", 8000, "recvonly"), told));
    finds(&story("sendrecv", 8000, "sendrecv"), told);
    finds(&story("sendonly", 20_000, "recvonly"), told);
}

#[test]
fn what_a_transferor_wishes_while_its_target_rings_need_not_be_told() {
    for (refers, taken, wrong) in [
        (Some(5000), true, false),
        (Some(5000), false, true),
        // It asked for that afterwards.
        (Some(50_000), true, true),
        (None, false, true),
    ] {
        let mut story = Story::call();
        story.agrees(4000, A, "ca", ["sendrecv", "sendrecv"], false);
        if let Some(at) = refers {
            let act = (Method::Refer, "");
            story.inside(at, B, "cb", act, Some(202), true);
        }
        story.agrees(6000, B, "cb", ["sendonly", "recvonly"], true);
        if taken {
            story.add(89_000, B, What::Transferred);
        }
        let found = story.end(90_000, &[(B, "cb")]);
        assert_eq!(has(&found, "was told Some"), wrong, "{refers:?} {taken}");
    }
}

#[test]
fn an_offer_that_comes_again_after_the_next_changes_nothing() {
    for (again, wrong) in [("z9hG4bKhold", false), ("z9hG4bKanew", true)] {
        let mut story = Story::call();
        let both = |way, answer| (sdp(2, way), sdp(2, answer));
        let (hold, resume) = (both("sendonly", "recvonly"), both("sendrecv", "sendrecv"));
        for (at, branch, (offer, answer)) in [
            (4000, "z9hG4bKhold", &hold),
            (5000, "z9hG4bKresume", &resume),
            (6000, again, &hold),
        ] {
            for (phone, call, sent) in [(B, "cb", true), (A, "ca", false)] {
                if at == 6000 && sent {
                    continue;
                }
                let of = (call, at, branch);
                let update = || Method::Update;
                story.request(
                    at.into(),
                    phone,
                    update(),
                    call,
                    at,
                    branch,
                    ";tag=t",
                    offer,
                    sent,
                );
                story.described((at + 20).into(), phone, (200, update()), of, answer, !sent);
            }
        }
        let found = story.end(90_000, &[(B, "cb")]);
        assert_eq!(has(&found, "was told Some"), wrong, "{again}");
    }
}

#[test]
fn what_a_transferor_wishes_while_its_target_is_silent_need_not_be_told_yet() {
    // When it hangs up, and whether it has heard by then that nobody comes.
    for (ends, told, wrong) in [
        (85_000, false, false),
        (100_500, false, false),
        (85_000, true, true),
        (110_000, false, true),
    ] {
        let mut story = Story::call();
        story.agrees(4000, A, "ca", ["sendrecv", "sendrecv"], false);
        story.inside(60_000, B, "cb", (Method::Refer, ""), Some(202), true);
        story.agrees(61_000, B, "cb", ["sendonly", "recvonly"], true);
        let outcome = if told {
            "SIP/2.0 408 No"
        } else {
            "SIP/2.0 100 Trying"
        };
        let notify = (Method::Notify, outcome);
        story.inside(62_000, B, "cb", notify, Some(200), false);
        let found = story.end(ends, &[(B, "cb")]);
        assert_eq!(has(&found, "was told Some"), wrong, "{ends} {told}");
    }
}

#[test]
fn a_text_on_its_way_as_the_server_died_may_come_again() {
    let story = |written, down, came| {
        let mut story = Story::call();
        story.restarted(down);
        story.says(written, &body(1), 200);
        story.hears(came, B, "cb", &body(1));
        story.hears(20_000, B, "cb", &body(1));
        story.end(40_000, &[(B, "cb")])
    };
    let twice = "came twice";
    // The server is down for half a second.
    assert!(!has(&story(9900, 10_000, 10_600), twice));
    finds(&story(10_550, 10_000, 10_600), twice);
    finds(&story(9900, 10_000, 13_000), twice);
}

#[test]
fn who_was_gone_before_a_phone_was_called_is_no_reason_to_end_that() {
    let story = |died, answer: Option<u16>| {
        let mut story = Story::call();
        story.befalls(died, B, Fault::Killed);
        story.answer(15_000, C, "cc");
        if let Some(status) = answer {
            let act = (Method::Update, &*sdp(2, "sendrecv"));
            story.inside(15_020, A, "ca", act, Some(status), false);
        }
        story.got(15_100, C, "cc", Method::Bye);
        judge(&story.log)
    };
    finds(&story(10_000, None), BYE);
    assert!(!has(&story(14_800, None), BYE));
    // Who survives was asked, and has not agreed.
    assert!(!has(&story(10_000, Some(488)), BYE));
    finds(&story(10_000, Some(200)), BYE);
}

#[test]
fn who_hands_a_call_on_is_told_that_it_failed_before_it_ends() {
    let story = |told| {
        let mut story = Story::call();
        story.third(Side::Caller, "a0");
        story.befalls(10_000, A, Fault::Killed);
        let act = (Method::Refer, "");
        story.inside(15_000, B, "cb", act, Some(202), true);
        story.invite(20_000, D, "cd", false);
        story.final_response(20_050, D, "cd", 603, true);
        if let Some(at) = told {
            let act = (Method::Notify, "SIP/2.0 603 Decline\r\n");
            story.inside(at, B, "cb", act, Some(200), false);
        }
        story.got(20_100, B, "cb", Method::Bye);
        judge(&story.log)
    };
    assert!(!has(&story(Some(20_080)), BYE));
    // It is the BYE that was faster.
    assert!(!has(&story(Some(20_120)), BYE));
    finds(&story(Some(16_000)), BYE);
    finds(&story(None), BYE);
}

#[test]
fn the_end_of_a_restoration_waits_until_the_word_of_it_is_heard() {
    let story = |told, refused: u64| {
        let mut story = Story::registered();
        story.befalls(10_000, B, Fault::Killed);
        story.invite(refused - 20, C, "cc", false);
        story.final_response(refused, C, "cc", 488, true);
        story.hears(told, A, "ca", "FAILED 0");
        story.got(73_000, A, "ca", Method::Bye);
        judge(&story.log)
    };
    assert!(!has(&story(70_600, 10_500), BYE));
    finds(&story(72_900, 10_500), BYE);
}

#[test]
fn who_answers_as_the_other_side_is_given_up_is_ended() {
    let story = |answered| {
        let mut story = Story::call();
        story.befalls(10_000, A, Fault::Killed);
        story.befalls(answered - 5000, B, Fault::Killed);
        story.answer(answered, C, "cc");
        story.got(answered + 100, C, "cc", Method::Bye);
        judge(&story.log)
    };
    assert!(!has(&story(71_000), BYE));
    finds(&story(60_000), BYE);
}

#[test]
fn a_call_is_handed_on_past_a_deaf_phone_once_what_is_out_to_it_has_had_its_time() {
    let story = |deaf: bool, user: &str, until: u64| {
        let mut story = Story::call();
        story.log.roster[C].user = user.to_owned();
        if deaf {
            story.befalls(8000, A, Fault::Deaf);
        } else {
            story.befalls(8000, A, Fault::Reset);
        }
        story.answer(10_000, C, "cc");
        story.got(until, B, "cb", Method::Bye);
        story.end(120_000, &[(C, "cc")])
    };
    let two = "two phones of a side";
    assert!(!has(&story(true, "c0", 50_000), two));
    finds(&story(false, "c0", 50_000), two);
    finds(&story(true, "b0", 50_000), two);
    finds(&story(true, "c0", 90_000), two);
}

#[test]
fn a_2xx_that_could_not_come_again_has_no_ack() {
    // How often it was sent before its phone was cut off, and whether that had its BYE.
    let story = |sent: u64, told: bool| {
        let mut story = Story::call();
        story.invite(3000, C, "cc", false);
        for again in 0..sent {
            story.final_response(4000 + 500 * again, C, "cc", 200, true);
        }
        if told {
            story.got(4200, C, "cc", Method::Bye);
        }
        story.add(8000, C, What::Fault(Fault::Cut));
        story.end(60_000, &[(B, "cb")])
    };
    let wrong = "2xx never acknowledged";
    assert!(!has(&story(2, true), wrong));
    finds(&story(3, true), wrong);
}

#[test]
fn who_is_mute_keeps_its_place_while_an_offer_is_out_to_a_deaf_phone() {
    let story = |fault: Fault, offered: u64| {
        let mut story = Story::call();
        story.add(5000, A, What::Fault(fault));
        story.add(9000, B, What::Fault(Fault::Mute));
        let offer = sdp(offered as u32, "sendonly");
        let act = (Method::Invite, &*offer);
        story.inside(offered, B, "cb", act, Some(500), true);
        story.answer(60_000, C, "cc");
        story.end(90_000, &[(B, "cb"), (C, "cc")])
    };
    let wrong = "has lost its place";
    assert!(!has(&story(Fault::Deaf, 40_000), wrong));
    finds(&story(Fault::Deaf, 10_000), wrong);
    finds(&story(Fault::Unheard, 40_000), wrong);
}
