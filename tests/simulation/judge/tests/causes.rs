//! Each cause beside the same log without it.

use super::excuses::has;
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
