//! What must come about, and how long an excuse lasts.

use super::excuses::has;
use super::*;

impl Story {
    /// B and C are known to the registrar.
    pub(super) fn registered() -> Self {
        let mut story = Self::call();
        story.registers(B);
        story.registers(C);
        story
    }

    pub(super) fn restarted(&mut self, at: u64) {
        self.log.add(START + Millis(at), None, What::ServerDown);
        self.log.add(START + Millis(at + 500), None, What::ServerUp);
    }

    /// The usual end of a restoration in vain, for A.
    pub(super) fn gives_up(&mut self, at: u64) -> Vec<String> {
        self.hears(at, A, "ca", "FAILED 0");
        self.got(at + 500, A, "ca", Method::Bye);
        judge(&self.log)
    }
}

#[test]
fn a_phone_that_is_gone_must_be_noticed() {
    for fault in [Fault::Killed, Fault::Cut, Fault::Frozen] {
        let mut story = Story::registered();
        story.add(10_000, B, What::Fault(fault));
        finds(&story.end(150_000, &[]), "b0-1 never asked");
        // It came back before anybody had to notice.
        let mut story = Story::registered();
        story.add(10_000, B, What::Fault(fault));
        story.add(40_000, B, What::Recovered);
        let found = story.end(60_000, &[(B, "cb")]);
        spotless(&found);
    }
}

#[test]
fn a_willing_phone_must_be_joined() {
    let story = |traits, rings: bool| {
        let mut story = Story::registered();
        story.log.roster[C].traits = traits;
        story.add(10_000, B, What::Fault(Fault::Killed));
        if rings {
            story.invite(20_000, C, "cc", false);
            story.final_response(50_000, C, "cc", 480, true);
        }
        story.gives_up(90_000)
    };
    let joined = "b0-1 not joined";
    finds(&story(Traits::perfect(), true), joined);
    let unwilling = story(Traits::of(Temper::NeverAnswers), true);
    assert!(!unwilling.iter().any(|found| found.contains("left alone")));
    // It is asked although nobody knows that it declines.
    finds(&story(Traits::of(Temper::Declines), false), "never asked");
}

#[test]
fn who_is_away_or_talks_elsewhere_need_not_be_joined() {
    let mut story = Story::registered();
    story.add(9000, C, What::Fault(Fault::Cut));
    story.add(10_000, B, What::Fault(Fault::Killed));
    spotless(&story.gives_up(90_000));
    let mut story = Story::registered();
    story.invite(5000, C, "other", true);
    story.add(10_000, B, What::Fault(Fault::Killed));
    let found = story.gives_up(90_000);
    assert!(!found.iter().any(|found| found.contains("left alone")));
}

#[test]
fn a_restoration_ends_at_its_timeout() {
    let story = |until| {
        let mut story = Story::call();
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.gives_up(until)
    };
    spotless(&story(100_000));
    finds(&story(160_000), "and not told so");
}

#[test]
fn the_timeout_is_counted_from_who_was_there_last() {
    let mut story = Story::taken_over();
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    story.add(60_000, C, What::Fault(Fault::Killed));
    finds(&story.gives_up(75_000), "BYE although nothing was over");
    // B has come back, and was heard.
    let mut story = Story::call();
    story.add(10_000, B, What::Fault(Fault::Frozen));
    story.add(11_000, B, What::Recovered);
    story.got(60_000, B, "cb", Method::Options);
    story.add(61_000, B, What::Fault(Fault::Killed));
    finds(&story.gives_up(75_000), "BYE although nothing was over");
}

#[test]
fn one_hold_is_one_offer() {
    let story = |times: u64| {
        let mut story = Story::call();
        story.agrees(5000, B, "cb", ["sendonly", "recvonly"], true);
        for time in 0..times {
            let at = 5100 + 1000 * time;
            story.agrees(at, A, "ca", ["sendonly", "recvonly"], false);
        }
        story.end(30_000, &[(B, "cb")])
    };
    spotless(&story(1));
    finds(&story(2), "UPDATE that nobody asked for");
}

#[test]
fn a_restart_excuses_what_was_under_way() {
    let story = |restart, again| {
        let mut story = Story::call();
        story.says(3000, &body(1), 200);
        story.hears(3050, B, "cb", &body(1));
        story.restarted(restart);
        story.hears(again, B, "cb", &body(1));
        story.end(90_000, &[(B, "cb")])
    };
    spotless(&story(3100, 4000));
    finds(&story(50_000, 51_000), "came twice");
    // What the restart excused is excused once.
    let mut found = Story::call();
    found.says(3000, &body(1), 200);
    found.restarted(3100);
    for at in [3050, 4000, 60_000] {
        found.hears(at, B, "cb", &body(1));
    }
    finds(&found.end(90_000, &[(B, "cb")]), "came twice");
}

#[test]
fn two_that_nothing_befell_are_not_both_in_the_conversation() {
    let story = |told| {
        let mut story = Story::call();
        story.answer(3000, C, "cc");
        story.got(told, C, "cc", Method::Bye);
        story.end(90_000, &[(B, "cb")])
    };
    let two = "two phones of a side";
    finds(&story(20_000), two);
    assert!(!story(5000).iter().any(|found| found.contains(two)));
}

#[test]
fn what_comes_twice_is_counted() {
    let mut story = Story::taken_over();
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    story.says(9900, &body(1), 202);
    story.hears(9950, B, "cb", &body(1));
    story.hears(15_600, C, "cc", &body(1));
    story.end(50_000, &[(C, "cc")]);
    let scrape = |count: u32| format!("refork_messages_redelivered_total {count}\n");
    let again = "messages sent again";
    for wrong in [0, 9] {
        finds(&counted(&story.log, &scrape(wrong)), again);
    }
    let found = counted(&story.log, &scrape(1));
    assert!(
        !found.iter().any(|found| found.contains(again)),
        "{found:?}"
    );
}

#[test]
fn who_is_told_that_another_early_dialog_is_gone_has_its_call() {
    for (tag, wrong) in [(";tag=other", false), (";tag=t", true)] {
        let mut story = Story::call();
        let (branch, method) = ("z9hG4bKprack", Method::Prack);
        story.request(2010, A, method.clone(), "ca", 2, branch, tag, "", true);
        story.response(2050, A, (481, method), ("ca", 2, branch), false);
        let found = story.end(200_000, &[(B, "cb")]);
        assert_eq!(has(&found, "left alone"), wrong, "{tag}: {found:?}");
    }
}

#[test]
fn who_registers_anew_while_its_person_is_sought_is_asked_at_once() {
    // B dies, C rings, and B begins anew: when it is asked, and what befalls it or the server then.
    let story = |asked: Option<u64>, fault: bool, restart: bool| {
        let mut story = Story::registered();
        story.log.roster[C].traits = Traits::of(Temper::NeverAnswers);
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.invite(20_000, C, "cc", false);
        story.add(52_000, B, What::Recovered);
        let of = ("again", 1, "z9hG4bKr2");
        story.response(52_100, B, (200, Method::Register), of, false);
        if fault {
            story.add(54_000, B, What::Fault(Fault::Deaf));
        }
        if restart {
            story.restarted(53_000);
        }
        if let Some(at) = asked {
            story.invite(at, B, "cb2", false);
            story.final_response(at + 100, B, "cb2", 486, true);
        }
        story.gives_up(71_000)
    };
    let unasked = "not asked as it came back";
    finds(&story(None, false, false), unasked);
    finds(&story(Some(65_000), false, false), unasked);
    assert!(!has(&story(Some(52_200), false, false), unasked));
    assert!(!has(&story(None, true, false), unasked));
    assert!(!has(&story(None, false, true), unasked));
}

/// It comes back without a word, and would have to wait for the end of the restoration.
#[test]
fn who_could_not_be_reached_must_be_asked_again() {
    for (asked, wrong) in [(None, true), (Some(95_000), false)] {
        let mut story = Story::registered();
        story.log.rules = serde_json::from_str(r#"{"restore": 120000}"#).unwrap();
        story.add(9000, C, What::Fault(Fault::Cut));
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.add(60_000, C, What::Recovered);
        if let Some(at) = asked {
            story.invite(at, C, "cc", false);
            story.final_response(at + 20_000, C, "cc", 480, true);
        }
        let found = story.gives_up(135_000);
        assert_eq!(has(&found, "b0-1 not asked again"), wrong, "{found:?}");
    }
}

#[test]
fn a_reinvite_that_is_accepted_has_its_ack() {
    for acked in [true, false] {
        let mut story = Story::call();
        let (method, branch, tag) = (Method::Invite, "z9hG4bKre", ";tag=t");
        let session = sdp(2, "sendonly");
        story.request(5000, A, method, "ca", 2, branch, tag, &session, false);
        let of = ("ca", 2, branch);
        story.described(5020, A, (200, Method::Invite), of, &session, true);
        if acked {
            let branch = "z9hG4bKack";
            story.request(5030, A, Method::Ack, "ca", 2, branch, tag, "", false);
        }
        let found = story.end(60_000, &[(B, "cb")]);
        assert_eq!(
            !has(&found, "re-INVITE never acknowledged"),
            acked,
            "{found:?}"
        );
    }
}

/// The BYE that nothing could bring to it comes again, over a restart too.
#[test]
fn who_has_lost_its_place_while_it_was_away_is_told_as_it_is_back() {
    for (told, wrong) in [(Some(91_000), false), (None, true)] {
        let mut story = Story::registered();
        story.add(10_000, B, What::Fault(Fault::Cut));
        story.answer(30_000, C, "cc");
        story.add(70_000, B, What::Recovered);
        if let Some(at) = told {
            story.got(at, B, "cb", Method::Bye);
        }
        let found = story.end(200_000, &[(C, "cc")]);
        assert_eq!(has(&found, "not told as it is back"), wrong, "{found:?}");
    }
}
