//! What may be asked of a phone that nothing befell, and from when on.

use super::excuses::has;
use super::*;

/// A description with these formats.
pub(super) fn formats(version: u32, formats: &str) -> String {
    sdp(version, "sendrecv").replace("RTP/AVP 0", &format!("RTP/AVP {formats}"))
}

impl Story {
    /// What a phone is offered within its dialog, and says to it, or the other way round.
    pub(super) fn offers(
        &mut self,
        at: u64,
        (phone, call): (PhoneId, &str),
        [offer, answer]: [&str; 2],
        status: u16,
        sent: bool,
    ) {
        self.branches += 1;
        let (number, branch) = (self.branches + 1, format!("z9hG4bKp{}", self.branches));
        let (method, tag) = (Method::Invite, ";tag=t");
        self.request(at, phone, method, call, number, &branch, tag, offer, sent);
        let of = (call, number, &*branch);
        let status = (status, Method::Invite);
        let accepted = status.0 < 300;
        self.described(at + 20, phone, status, of, answer, !sent);
        if accepted {
            let ack = format!("{branch}a");
            self.request(
                at + 30,
                phone,
                Method::Ack,
                call,
                number,
                &ack,
                tag,
                "",
                sent,
            );
        }
    }

    /// C is called, with two formats.
    fn calls_c(&mut self, at: u64) {
        let (branch, offer) = ("z9hG4bKicc", formats(1, "0 8"));
        let method = Method::Invite;
        self.request(at, C, method, "cc", 1, branch, "", &offer, false);
    }

    /// The phone's 2xx to its INVITE, with a session.
    pub(super) fn takes(&mut self, at: u64, phone: PhoneId, call: &str, session: &str) {
        let branch = format!("z9hG4bKi{call}");
        let of = (call, 1, &*branch);
        self.described(at, phone, (200, Method::Invite), of, session, true);
    }

    /// B dies; C has been called, and A says less by then to an offer that it knows before C answers.
    fn narrowed(less: &str, taken: &str, by: u64) -> Vec<String> {
        let mut story = Self::new();
        let (branch, known) = ("z9hG4bKica", formats(1, "0 8"));
        let (method, of) = (Method::Invite, ("ca", 1, branch));
        story.request(1000, A, method, "ca", 1, branch, "", &known, true);
        story.answer(2000, B, "cb");
        story.described(2000, A, (200, Method::Invite), of, &known, false);
        story.ack(2010, A, "ca", true);
        story.log.roster[A].traits.timer = 90;
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.calls_c(14_000);
        let answer = formats(2, less);
        story.offers(by, (A, "ca"), [&known, &answer], 200, false);
        story.takes(15_000, C, "cc", &formats(1, taken));
        story.ack(15_010, C, "cc", false);
        let now = [&*formats(2, less), &*formats(2, less)];
        story.offers(15_100, (C, "cc"), now, 200, false);
        story.hears(16_000, A, "ca", "CONTINUED b0-1");
        story.end(50_000, &[(C, "cc")])
    }
}

#[test]
fn who_was_called_is_told_what_the_other_takes_no_longer() {
    spotless(&Story::narrowed("0", "0 8", 14_500));
    // Whenever that was: C is offered all that A has ever said.
    spotless(&Story::narrowed("0", "0 8", 12_000));
    // It sends nothing of that.
    finds(&Story::narrowed("0", "0", 14_500), NOBODY_ASKED);
    finds(&Story::narrowed("0 8", "0 8", 14_500), NOBODY_ASKED);
}

const NOBODY_ASKED: &str = "that nobody asked for";

#[test]
fn what_was_refused_while_nobody_could_hear_it_is_set_right() {
    for (fault, wrong) in [
        (Some(Fault::Killed), false),
        (Some(Fault::Deaf), false),
        (None, true),
    ] {
        let mut story = Story::call();
        let hold = sdp(2, "sendonly");
        let (method, branch) = (Method::Invite, "z9hG4bKunheard");
        story.request(5000, B, method, "cb", 2, branch, ";tag=t", &hold, true);
        if let Some(fault) = fault {
            story.add(5005, B, What::Fault(fault));
        }
        story.offers(5010, (A, "ca"), [&hold, &sdp(2, "recvonly")], 200, false);
        let stands = [&*sdp(3, "sendrecv"), &*sdp(3, "sendrecv")];
        story.offers(5100, (A, "ca"), stands, 200, false);
        let mut found = story.end(40_000, &[(B, "cb")]);
        found.retain(|found| found.contains(NOBODY_ASKED));
        assert_eq!(!found.is_empty(), wrong, "{fault:?}: {found:?}");
    }
}

#[test]
fn an_offer_that_was_taken_back_is_known_though_another_is_mute_or_shows_no_pictures() {
    let video = |port| format!("m=video {port} RTP/AVP 96\r\n");
    for (mute, pictures, wrong) in [
        (None, "", false),
        // Whose answer is it that A is told?
        (Some(true), "", false),
        (Some(false), "", true),
        // It has shown pictures before, and no longer.
        (None, &*video(0), false),
        (None, &*video(4002), true),
    ] {
        let mut story = Story::call();
        if let Some(mute) = mute {
            if mute {
                story.add(2900, C, What::Fault(Fault::Mute));
            }
            story.invite(3000, C, "cc", false);
            for at in [3500, 5005] {
                story.takes(at, C, "cc", &sdp(1, "sendonly"));
            }
        }
        let hold = sdp(2, "sendonly");
        story.offers(5000, (B, "cb"), [&hold, ""], 500, true);
        let carried = hold + pictures;
        let held = [&*carried, &*sdp(2, "recvonly")];
        story.offers(5010, (A, "ca"), held, 200, false);
        let stands = [&*sdp(3, "sendrecv"), &*sdp(3, "sendrecv")];
        story.offers(5100, (A, "ca"), stands, 200, false);
        let mut found = story.end(40_000, &[(B, "cb")]);
        found.retain(|found| found.contains(NOBODY_ASKED));
        assert_eq!(!found.is_empty(), wrong, "{mute:?} {pictures}: {found:?}");
    }
}

#[test]
fn a_session_is_refreshed_without_the_streams_that_were_refused() {
    let pictured = |version, direction, port| {
        let video = format!("m=video {port} RTP/AVP 96\r\n");
        sdp(version, direction) + &video
    };
    for (timer, direction, port, wrong) in [
        (90, "sendrecv", 0, false),
        (0, "sendrecv", 0, true),
        (90, "sendonly", 0, true),
        (90, "sendrecv", 4002, true),
    ] {
        let mut story = Story::call();
        story.log.roster[A].traits.timer = timer;
        let [shows, sees] = [pictured(2, "sendrecv", 4002), pictured(2, "sendrecv", 0)];
        story.offers(5000, (B, "cb"), [&shows, &sees], 200, true);
        story.offers(5010, (A, "ca"), [&shows, &sees], 200, false);
        let [again, same] = [3, 3].map(|version| pictured(version, direction, port));
        story.offers(60_000, (A, "ca"), [&again, &same], 200, false);
        let mut found = story.end(80_000, &[(B, "cb")]);
        found.retain(|found| found.contains(NOBODY_ASKED));
        assert_eq!(
            !found.is_empty(),
            wrong,
            "{timer} {direction} {port}: {found:?}"
        );
    }
}

#[test]
fn what_was_taken_back_is_set_right_once() {
    // The offer was refused, and A has agreed to it, or has not.
    for (refused, agreed, times, fault) in [
        (500, 200, 1, false),
        (500, 200, 2, true),
        (500, 200, 0, true),
        (500, 488, 1, true),
        (200, 200, 1, true),
    ] {
        let mut story = Story::call();
        let hold = sdp(2, "sendonly");
        story.offers(5000, (B, "cb"), [&hold, ""], refused, true);
        story.offers(5010, (A, "ca"), [&hold, &sdp(2, "recvonly")], agreed, false);
        // What was refused may be offered again by itself.
        let again = times + u32::from(agreed >= 300);
        for number in 0..again {
            let stands = [sdp(3 + number, "sendrecv"), sdp(3 + number, "sendrecv")];
            let at = 5100 + 100 * u64::from(number);
            story.offers(at, (A, "ca"), [&stands[0], &stands[1]], 200, false);
        }
        let mut found = story.end(40_000, &[(B, "cb")]);
        found.retain(|found| found.contains("asked for") || found.contains("hears no more"));
        assert_eq!(!found.is_empty(), fault, "{refused} {agreed}: {found:?}");
    }
}

#[test]
fn what_was_taken_back_and_is_offered_again_stands() {
    for (direction, answer, wrong) in [
        ("sendonly", 200, false),
        ("sendonly", 500, true),
        ("inactive", 200, true),
    ] {
        let (mut story, hold) = (Story::call(), sdp(2, "sendonly"));
        story.offers(5000, (B, "cb"), [&hold, ""], 500, true);
        story.offers(5010, (A, "ca"), [&hold, &sdp(2, "recvonly")], 200, false);
        let again = [sdp(3, direction), sdp(3, "recvonly")];
        story.offers(9000, (B, "cb"), [&*again[0], &*again[1]], answer, true);
        let found = story.end(40_000, &[]);
        assert_eq!(
            has(&found, "hears no more"),
            wrong,
            "{direction} {answer}: {found:?}"
        );
    }
}

#[test]
fn the_session_that_stands_is_offered_in_doubt_alone() {
    // The answer to OPTIONS was lost so that it came again; it was not; it is too long ago.
    for (again, at, fault) in [(600, 6500, false), (80, 6500, true), (600, 16_000, true)] {
        let mut story = Story::call();
        let of = ("ca", 2, "z9hG4bKprobe");
        for at in [5000, 5000 + again] {
            let (method, tag) = (Method::Options, ";tag=t");
            story.request(at, A, method, of.0, of.1, of.2, tag, "", false);
            story.response(at, A, (200, Method::Options), of, true);
        }
        story.got(at, A, "ca", Method::Update);
        let found = story.end(50_000, &[(B, "cb")]);
        assert_eq!(!found.is_empty(), fault, "{again} {at}: {found:?}");
    }
}

#[test]
fn a_probe_that_the_offer_has_overtaken_was_not_answered_before() {
    for (at, status, wrong) in [
        (20_200, 500, false),
        (20_200, 200, true),
        (32_000, 500, true),
    ] {
        let mut story = Story::call();
        story.got(20_100, A, "ca", Method::Update);
        let probe = (Method::Options, "");
        story.inside(at, A, "ca", probe, Some(status), false);
        let found = story.end(50_000, &[(B, "cb")]);
        assert_eq!(has(&found, NOBODY_ASKED), wrong, "{at} {status}");
    }
}

#[test]
fn a_probe_whose_first_tries_were_lost_is_answered_too_late() {
    for (at, offered, wrong) in [
        (20_000, 20_100, false),
        (18_000, 18_100, true),
        (20_000, 35_000, true),
    ] {
        let mut story = Story::call();
        story.got(at, A, "ca", Method::Options);
        story.got(offered, A, "ca", Method::Update);
        let found = story.end(50_000, &[(B, "cb")]);
        assert_eq!(has(&found, NOBODY_ASKED), wrong, "{at} {offered}");
    }
}

#[test]
fn a_phone_is_let_go_where_who_is_to_agree_to_it_is_gone() {
    for (gone, session, wrong) in [
        (true, "0 8", false),
        (false, "0 8", true),
        // Nobody need be asked.
        (true, "0", true),
    ] {
        let mut story = Story::call();
        let known = formats(1, "0");
        story.offers(5000, (A, "ca"), [&known, &known], 200, false);
        story.add(10_000, B, What::Fault(Fault::Killed));
        if gone {
            story.add(14_000, A, What::Fault(Fault::Killed));
        }
        story.calls_c(14_500);
        story.takes(15_000, C, "cc", &formats(1, session));
        story.ack(15_010, C, "cc", false);
        story.got(15_100, C, "cc", Method::Bye);
        let mut found = judge(&story.log);
        found.retain(|found| found.contains("nothing was over"));
        assert_eq!(!found.is_empty(), wrong, "{gone} {session}: {found:?}");
    }
}

#[test]
fn a_server_that_rises_asks_once_more_what_was_open() {
    for (down, again, fault) in [
        (5100, 6000, false),
        // It was answered long since; it rose long ago.
        (60_000, 61_000, true),
        (5100, 60_000, true),
    ] {
        let mut story = Story::call();
        let hold = sdp(2, "sendonly");
        story.offers(5000, (B, "cb"), [&hold, ""], 200, true);
        let held = [&*hold, &*sdp(2, "recvonly")];
        story.offers(5010, (A, "ca"), held, 200, false);
        story.restarted(down);
        story.offers(again, (A, "ca"), held, 200, false);
        let mut found = story.end(90_000, &[(B, "cb")]);
        found.retain(|found| found.contains("asked for"));
        assert_eq!(!found.is_empty(), fault, "{down} {again}: {found:?}");
    }
}

#[test]
fn an_answer_that_was_heard_late_brings_news_to_who_was_called_meanwhile() {
    for (taken, fault) in [("0", false), ("0 8", true)] {
        let mut story = Story::call();
        story.add(10_000, A, What::Fault(Fault::Mute));
        story.add(10_000, B, What::Fault(Fault::Killed));
        // A's next leg; nobody hears its 2xx before it comes again.
        story.invite(12_000, A, "ca2", false);
        story.takes(12_500, A, "ca2", &formats(1, taken));
        story.calls_c(14_000);
        story.takes(15_000, C, "cc", &formats(1, "0 8"));
        story.ack(15_010, C, "cc", false);
        story.add(16_000, A, What::Recovered);
        story.takes(16_500, A, "ca2", &formats(1, taken));
        let now = [&*formats(2, taken), &*formats(2, taken)];
        story.offers(16_600, (C, "cc"), now, 200, false);
        let mut found = story.end(50_000, &[(C, "cc")]);
        found.retain(|found| found.contains("asked for"));
        assert_eq!(!found.is_empty(), fault, "{taken}: {found:?}");
    }
}

#[test]
fn an_invite_may_be_on_its_way_as_its_server_rises() {
    for (invited, fault) in [(3000, false), (9000, true)] {
        let mut story = Story::call();
        story.restarted(2000);
        story.invite(invited, C, "cc", false);
        story.final_response(invited + 3000, C, "cc", 200, true);
        story.got(invited + 3100, C, "cc", Method::Bye);
        let mut found = story.end(60_000, &[(B, "cb")]);
        found.retain(|found| found.contains("never acknowledged"));
        assert_eq!(!found.is_empty(), fault, "{invited}: {found:?}");
    }
}

#[test]
fn a_server_that_dies_as_it_ends_a_call_leaves_who_missed_its_bye() {
    for (down, fault) in [(Some(60_200), false), (None, true)] {
        let mut story = Story::call();
        story.add(60_000, B, What::HungUp);
        story.inside(60_000, B, "cb", (Method::Bye, ""), Some(200), true);
        if let Some(down) = down {
            story.restarted(down);
        }
        let found = story.end(400_000, &[]);
        assert_eq!(!found.is_empty(), fault, "{down:?}: {found:?}");
    }
}

#[test]
fn what_is_written_to_a_caller_that_missed_its_answer_is_sent_again() {
    let scrape = "refork_conversations_started_total{kind=\"session\"} 1\n\
                  refork_conversations_answered_total{kind=\"session\"} 1\n\
                  refork_messages_queued_total 1\n\
                  refork_messages_redelivered_total 1\n";
    for (moved, fault) in [(true, false), (false, true)] {
        let mut story = Story::new();
        story.invite(1000, A, "ca", true);
        if moved {
            story.add(1500, A, What::Fault(Fault::Moved));
        }
        story.answer(2000, B, "cb");
        let text = text(0, Side::Callee, 1);
        let act = (Method::Message, &*text);
        story.inside(5000, B, "cb", act, Some(202), true);
        let mut found = counted(&story.log, scrape);
        found.retain(|found| found.contains("sent again"));
        assert_eq!(!found.is_empty(), fault, "{moved}: {found:?}");
    }
}

#[test]
fn what_is_written_to_who_missed_the_ack_is_sent_again() {
    let scrape = "refork_messages_redelivered_total 1\n";
    // Whether B has answered, and whether it is deaf.
    for (answers, deaf, fault) in [
        (true, true, false),
        (true, false, true),
        (false, true, true),
    ] {
        let mut story = Story::new();
        story.invite(1000, A, "ca", true);
        story.invite(1500, B, "cb", false);
        if deaf {
            story.add(1600, B, What::Fault(Fault::Deaf));
        }
        if answers {
            story.final_response(2000, B, "cb", 200, true);
        }
        story.accept(2000, A, "ca", true);
        story.says(5000, &body(1), 202);
        let mut found = counted(&story.log, scrape);
        found.retain(|found| found.contains("sent again"));
        assert_eq!(!found.is_empty(), fault, "{answers} {deaf}: {found:?}");
    }
}

#[test]
fn what_is_promised_is_stored() {
    for (stored, fault) in [(Some(5010), false), (Some(4990), true), (None, true)] {
        let mut story = Story::call();
        if let Some(at) = stored {
            story.log.add(START + Millis(at), None, What::Stored(true));
        }
        story
            .log
            .add(START + Millis(5015), None, What::Stored(false));
        let text = body(1);
        let act = (Method::Message, &*text);
        story.inside(5000, A, "ca", act, Some(202), true);
        story.hears(6000, B, "cb", &text);
        let found = story.end(40_000, &[(B, "cb")]);
        assert_eq!(!found.is_empty(), fault, "{stored:?}: {found:?}");
    }
}

#[test]
fn a_mute_phone_hears_that_it_has_lost_its_place() {
    for (fault, told, wrong) in [
        (Fault::Mute, Some(15_100), false),
        (Fault::Mute, None, true),
        (Fault::Deaf, None, false),
    ] {
        let mut story = Story::call();
        story.add(10_000, B, What::Fault(fault));
        story.answer(15_000, C, "cc");
        story.hears(15_500, A, "ca", "CONTINUED b0-1");
        if let Some(at) = told {
            story.got(at, B, "cb", Method::Bye);
        }
        let found = story.end(90_000, &[(C, "cc")]);
        assert_eq!(!found.is_empty(), wrong, "{fault:?} {told:?}: {found:?}");
    }
}

#[test]
fn a_mute_caller_whose_ack_nobody_hears_is_told_once_the_success_has_had_its_time() {
    for (mute, told, wrong) in [
        (1500, 38_000, false),
        (1500, 60_000, true),
        (10_000, 38_000, true),
    ] {
        let mut story = Story::new();
        story.log.roster[C].side = Side::Caller;
        story.log.roster[C].user = "a0".to_owned();
        story.invite(1000, A, "ca", true);
        story.answer(2000, B, "cb");
        story.add(mute, A, What::Fault(Fault::Mute));
        story.accept(2000, A, "ca", true);
        story.answer(15_000, C, "cc");
        story.hears(15_500, B, "cb", "CONTINUED a0-1");
        story.got(told, A, "ca", Method::Bye);
        let found = story.end(90_000, &[(B, "cb"), (C, "cc")]);
        assert_eq!(
            has(&found, "has lost its place"),
            wrong,
            "{mute} {told}: {found:?}"
        );
    }
}

#[test]
fn the_bye_of_a_phone_whose_dialog_was_replaced_ends_no_call() {
    // B takes another INVITE, and ends its old dialog as it has the ACK, or later.
    for (bye, wrong) in [(15_010, true), (15_500, false)] {
        let mut story = Story::call();
        story.answer(15_000, B, "cb2");
        story.inside(bye, B, "cb", (Method::Bye, ""), Some(200), true);
        story.got(15_600, A, "ca", Method::Bye);
        story.got(15_700, B, "cb2", Method::Bye);
        let found = judge(&story.log);
        assert_eq!(has(&found, "nothing was over"), wrong, "{bye}: {found:?}");
    }
}
