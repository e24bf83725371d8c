//! Of texts that were dropped their sender is told, once and with the right number.

use super::excuses::has;
use super::*;

#[test]
fn who_has_its_202_is_told_of_what_was_dropped() {
    // Which of three texts arrive, and what is said of the others.
    let story = |arrive: &[u32], words: &[&str]| {
        let mut story = Story::call();
        for number in 1..=3 {
            story.says(3000 + 1000 * u64::from(number), &body(number), 202);
        }
        for number in arrive {
            story.hears(8000 + u64::from(*number), B, "cb", &body(*number));
        }
        for (at, word) in (10_000..).step_by(1000).zip(words) {
            story.hears(at, A, "ca", word);
        }
        story.end(60_000, &[(B, "cb")])
    };
    spotless(&story(&[1, 2, 3], &[]));
    spotless(&story(&[1, 3], &["UNDELIVERED 1"]));
    spotless(&story(&[3], &["UNDELIVERED 2"]));
    finds(&story(&[1, 3], &[]), "accepted and lost");
    finds(&story(&[3], &["UNDELIVERED 1"]), "accepted and lost");
    let wrong = "texts that were dropped";
    for words in [
        &["UNDELIVERED 1"][..],
        &["UNDELIVERED 3"],
        &["UNDELIVERED 2", "UNDELIVERED 2"],
    ] {
        finds(&story(&[3], words), wrong);
    }
    finds(&story(&[1, 2, 3], &["UNDELIVERED 1"]), wrong);
}

#[test]
fn a_text_whose_taking_nobody_heard_counts_as_dropped() {
    let story = |fault: Option<Fault>| {
        let mut story = Story::call();
        if let Some(fault) = fault {
            story.add(3000, B, What::Fault(fault));
        }
        story
            .says(4000, &body(1), 202)
            .hears(4100, B, "cb", &body(1));
        story.hears(10_000, A, "ca", "UNDELIVERED 1");
        story.end(60_000, &[(B, "cb")])
    };
    let wrong = "texts that were dropped";
    assert!(!has(&story(Some(Fault::Mute)), wrong));
    finds(&story(Some(Fault::Deaf)), wrong);
    finds(&story(None), wrong);
}

#[test]
fn a_word_that_was_not_answered_comes_again_after_a_restart() {
    let story = |restart: Option<u64>| {
        let mut story = Story::call();
        story.says(4000, &body(1), 202);
        story.hears(10_000, A, "ca", "UNDELIVERED 1");
        if let Some(at) = restart {
            story.restarted(at);
        }
        story.hears(12_000, A, "ca", "UNDELIVERED 1");
        story.end(60_000, &[(B, "cb")])
    };
    let wrong = "texts that were dropped";
    assert!(!has(&story(Some(10_500)), wrong));
    finds(&story(None), wrong);
}
