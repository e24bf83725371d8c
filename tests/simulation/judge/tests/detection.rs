//! Who is gone must be missed as soon as there is something to notice it by; who is there must not.

use super::causes::TEXTS;
use super::excuses::has;
use super::*;

const ASKED: &str = "b0-1 never asked";

impl Story {
    /// A has called, B has answered, and both have told what they send.
    fn of(session: &str) -> Self {
        let mut story = Self::new();
        story.registers(B);
        story.registers(C);
        for (at, phone, call, ours) in [(1000, A, "ca", true), (1500, B, "cb", false)] {
            let branch = format!("z9hG4bKi{call}");
            story.request(
                at,
                phone,
                Method::Invite,
                call,
                1,
                &branch,
                "",
                session,
                ours,
            );
            let of = (call, 1, &*branch);
            story.described(2000, phone, (200, Method::Invite), of, session, !ours);
            story.ack(2010, phone, call, ours);
        }
        story
    }

    fn asks(&mut self, at: u64) -> Vec<String> {
        self.invite(at, C, "cc", false);
        self.final_response(at + 100, C, "cc", 486, true);
        self.end(150_000, &[])
    }
}

#[test]
fn who_falls_silent_is_missed_sooner_than_by_probes() {
    let gone = |session: &str, fault, asked, does: &dyn Fn(&mut Story)| {
        let mut story = Story::of(session);
        does(&mut story);
        story.add(30_000, B, What::Fault(fault));
        story.asks(asked)
    };
    let (sound, nothing) = (sdp(1, "sendrecv"), |_: &mut Story| {});
    for fault in [Fault::Killed, Fault::Cut, Fault::Frozen] {
        finds(&gone(&sound, fault, 80_000, &nothing), ASKED);
        assert!(!has(&gone(&sound, fault, 60_000, &nothing), ASKED));
    }
    let late = |session: &str, does: &dyn Fn(&mut Story)| {
        let found = gone(session, Fault::Cut, 80_000, does);
        assert!(!has(&found, ASKED), "{found:?}");
    };
    // There is nothing that could fall silent, nobody looks, or it was found to mean nothing.
    late(TEXTS, &nothing);
    late(&sdp(1, "sendonly"), &nothing);
    late(&sound, &|story| story.log.rules.silence = None);
    late(&sound, &|story| {
        story.add(10_000, B, What::Fault(Fault::Unheard));
        story.add(20_000, B, What::Heard);
    });
    late(&sound, &|story| story.restarted(31_000));
    late(&sound, &|story| {
        story.agrees(29_000, A, "ca", ["sendonly", "recvonly"], true);
    });
}

#[test]
fn who_is_written_to_is_missed_sooner_than_by_probes() {
    let story = |written: Option<u64>, trouble: bool| {
        let mut story = Story::of(TEXTS);
        if trouble {
            story.add(10_000, B, What::Fault(Fault::Deaf));
            story.add(11_000, B, What::Recovered);
        }
        story.add(30_000, B, What::Fault(Fault::Frozen));
        if let Some(at) = written {
            story.says(at, &body(1), 202);
        }
        story.asks(80_000)
    };
    finds(&story(Some(31_000), false), ASKED);
    for (written, trouble) in [(None, false), (Some(60_000), false), (Some(31_000), true)] {
        let found = story(written, trouble);
        assert!(!has(&found, ASKED), "{written:?} {trouble}: {found:?}");
    }
}

#[test]
fn nobody_is_called_where_nobody_is_missed() {
    let story = |fault| {
        let mut story = Story::of(TEXTS);
        if let Some(fault) = fault {
            story.add(30_000, B, What::Fault(fault));
        }
        story.asks(70_000)
    };
    let wrong = "called although nobody was missed";
    finds(&story(None), wrong);
    finds(&story(Some(Fault::Unheard)), wrong);
    assert!(!has(&story(Some(Fault::Cut)), wrong));
}

#[test]
fn who_is_not_heard_is_asked_whether_it_has_its_call_and_not_often() {
    let sound = sdp(1, "sendrecv");
    let story = |fault: Option<Fault>, asked: &[u64]| {
        let mut story = Story::of(&sound);
        if let Some(fault) = fault {
            story.add(30_000, B, What::Fault(fault));
        }
        for at in asked {
            story.inside(*at, B, "cb", (Method::Update, &sound), Some(200), false);
        }
        story.end(150_000, &[(B, "cb")])
    };
    let wrong = "UPDATE that nobody asked for";
    spotless(&story(Some(Fault::Unheard), &[40_000, 80_000]));
    finds(&story(Some(Fault::Unheard), &[40_000, 50_000]), wrong);
    finds(&story(Some(Fault::Unheard), &[20_000]), wrong);
    finds(&story(None, &[40_000]), wrong);
    // And it is not ended for that.
    let mut story = Story::of(&sound);
    story.add(30_000, B, What::Fault(Fault::Unheard));
    story.got(50_000, B, "cb", Method::Bye);
    finds(&judge(&story.log), "BYE although nothing was over");
}
