//! The judge can find fault: each rule against a log made by hand that breaks it.

mod causes;
mod crossed;
mod detection;
mod excuses;
mod life;
mod peace;
mod repairs;
mod undelivered;

use refork::engine::view::Gauges;
use refork::sip::{Builder, Message, Method, Name, reason_phrase};

use super::*;
use crate::log::Card;
use crate::phone::{Temper, Traits};

/// A log written as it could have been.
struct Story {
    log: Log,
    branches: u32,
}

const A: PhoneId = 0;
const B: PhoneId = 1;
/// Another phone of the callee.
const C: PhoneId = 2;

impl Story {
    fn new() -> Self {
        let card = |name: &str, side| Card {
            name: name.to_owned(),
            user: name[..2].to_owned(),
            talk: 0,
            side,
            traits: Traits::perfect(),
            stream: false,
        };
        let roster = vec![
            card("a0-0", Side::Caller),
            card("b0-0", Side::Callee),
            card("b0-1", Side::Callee),
        ];
        let log = Log {
            roster,
            ..Log::default()
        };
        Self { log, branches: 0 }
    }

    /// The usual beginning: A has called, B has answered.
    fn call() -> Self {
        let mut story = Self::new();
        story.invite(1000, A, "ca", true);
        story.answer(2000, B, "cb");
        story.accept(2000, A, "ca", true);
        story
    }

    fn add(&mut self, at: u64, phone: PhoneId, what: What) -> &mut Self {
        self.log.add(START + Millis(at), Some(phone), what);
        self
    }

    fn message(&mut self, at: u64, phone: PhoneId, bytes: bytes::Bytes, sent: bool) {
        let message = Message::parse(bytes).unwrap();
        let what = if sent {
            What::Sent(message)
        } else {
            What::Got(message)
        };
        self.add(at, phone, what);
    }

    fn request(
        &mut self,
        at: u64,
        phone: PhoneId,
        method: Method,
        call: &str,
        number: u32,
        branch: &str,
        tag: &str,
        body: &str,
        sent: bool,
    ) {
        let bytes = Builder::request(&method, "sip:x@y")
            .header(
                Name::Via,
                format_args!("SIP/2.0/UDP 10.0.0.9;branch={branch}"),
            )
            .header(Name::From, "<sip:f@x>;tag=f")
            .header(Name::To, format_args!("<sip:t@x>{tag}"))
            .header(Name::CallId, call)
            .header(Name::CSeq, format_args!("{number} {}", method.as_str()))
            .body("text/plain", body.as_bytes());
        self.message(at, phone, bytes, sent);
    }

    fn response(
        &mut self,
        at: u64,
        phone: PhoneId,
        (status, method): (u16, Method),
        of: (&str, u32, &str),
        sent: bool,
    ) {
        self.described(at, phone, (status, method), of, "", sent);
    }

    fn described(
        &mut self,
        at: u64,
        phone: PhoneId,
        (status, method): (u16, Method),
        (call, number, branch): (&str, u32, &str),
        body: &str,
        sent: bool,
    ) {
        let bytes = Builder::response(status, reason_phrase(status))
            .header(
                Name::Via,
                format_args!("SIP/2.0/UDP 10.0.0.9;branch={branch}"),
            )
            .header(Name::From, "<sip:f@x>;tag=f")
            .header(Name::To, "<sip:t@x>;tag=t")
            .header(Name::CallId, call)
            .header(Name::CSeq, format_args!("{number} {}", method.as_str()))
            .body("application/sdp", body.as_bytes());
        self.message(at, phone, bytes, sent);
    }

    fn invite(&mut self, at: u64, phone: PhoneId, call: &str, sent: bool) {
        let branch = format!("z9hG4bKi{call}");
        self.request(at, phone, Method::Invite, call, 1, &branch, "", "", sent);
    }

    fn final_response(&mut self, at: u64, phone: PhoneId, call: &str, status: u16, sent: bool) {
        let branch = format!("z9hG4bKi{call}");
        let of = (call, 1, &*branch);
        self.response(at, phone, (status, Method::Invite), of, sent);
    }

    fn ack(&mut self, at: u64, phone: PhoneId, call: &str, sent: bool) {
        let branch = format!("z9hG4bKa{call}");
        let tag = ";tag=t";
        self.request(at, phone, Method::Ack, call, 1, &branch, tag, "", sent);
    }

    /// 2xx and ACK. `ours`: the phone was the one that called.
    fn accept(&mut self, at: u64, phone: PhoneId, call: &str, ours: bool) {
        self.final_response(at, phone, call, 200, !ours);
        self.ack(at + 10, phone, call, ours);
    }

    /// The registrar knows it from now on.
    fn registers(&mut self, phone: PhoneId) {
        let of = ("reg", 1, "z9hG4bKr");
        self.response(500, phone, (200, Method::Register), of, false);
    }

    /// The phone is called and takes it.
    fn answer(&mut self, at: u64, phone: PhoneId, call: &str) {
        self.invite(at - 500, phone, call, false);
        self.accept(at, phone, call, false);
    }

    /// A request within the dialog, and its answer, if any.
    fn inside(
        &mut self,
        at: u64,
        phone: PhoneId,
        call: &str,
        (method, body): (Method, &str),
        answer: Option<u16>,
        sent: bool,
    ) {
        self.branches += 1;
        let (number, branch) = (self.branches + 1, format!("z9hG4bKn{}", self.branches));
        let tag = ";tag=t";
        self.request(
            at,
            phone,
            method.clone(),
            call,
            number,
            &branch,
            tag,
            body,
            sent,
        );
        if let Some(status) = answer {
            let of = (call, number, &*branch);
            self.response(at + 20, phone, (status, method), of, !sent);
        }
    }

    /// An offer within the dialog, and what it is answered.
    fn agrees(&mut self, at: u64, phone: PhoneId, call: &str, said: [&str; 2], sent: bool) {
        let [offer, answer] = said.map(|said| sdp(at as u32, said));
        self.branches += 1;
        let (number, branch) = (self.branches + 1, format!("z9hG4bKo{}", self.branches));
        let (method, tag) = (Method::Update, ";tag=t");
        self.request(at, phone, method, call, number, &branch, tag, &offer, sent);
        let of = (call, number, &*branch);
        let status = (200, Method::Update);
        self.described(at + 20, phone, status, of, &answer, !sent);
    }

    fn got(&mut self, at: u64, phone: PhoneId, call: &str, method: Method) -> &mut Self {
        self.inside(at, phone, call, (method, ""), Some(200), false);
        self
    }

    fn hears(&mut self, at: u64, phone: PhoneId, call: &str, body: &str) -> &mut Self {
        self.inside(at, phone, call, (Method::Message, body), Some(200), false);
        self
    }

    fn says(&mut self, at: u64, body: &str, status: u16) -> &mut Self {
        self.log.add(START + Millis(at), None, What::Stored(true));
        let act = (Method::Message, body);
        self.inside(at, A, "ca", act, Some(status), true);
        self
    }

    /// A hangs up, and every phone named gets its BYE.
    fn end(&mut self, at: u64, others: &[(PhoneId, &str)]) -> Vec<String> {
        self.add(at, A, What::HungUp);
        self.inside(at, A, "ca", (Method::Bye, ""), Some(200), true);
        for (phone, call) in others {
            self.got(at + 50, *phone, call, Method::Bye);
        }
        judge(&self.log)
    }

    /// B dies, and C takes over.
    fn taken_over() -> Self {
        let mut story = Self::call();
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.answer(15_000, C, "cc");
        story
    }
}

#[track_caller]
fn finds(found: &[String], what: &str) {
    assert!(
        found.iter().any(|found| found.contains(what)),
        "{what:?} is not in {found:?}"
    );
}

#[track_caller]
fn spotless(found: &[String]) {
    assert!(found.is_empty(), "{found:?}");
}

fn sdp(version: u32, direction: &str) -> String {
    format!(
        "v=0\r\no=- 7 {version} IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP 0\r\na={direction}\r\n"
    )
}

fn body(number: u32) -> String {
    text(0, Side::Caller, number)
}

#[test]
fn a_plain_call_is_without_fault() {
    let mut story = Story::call();
    story
        .says(3000, &body(1), 200)
        .hears(3050, B, "cb", &body(1));
    story.got(9000, A, "ca", Method::Options);
    spotless(&story.end(20_000, &[(B, "cb")]));
}

#[test]
fn a_change_with_its_notice_is_without_fault() {
    let mut story = Story::taken_over();
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    spotless(&story.end(50_000, &[(C, "cc")]));
}

#[test]
fn a_bye_to_the_survivor() {
    let mut story = Story::call();
    story.add(10_000, B, What::Fault(Fault::Killed));
    story.got(12_000, A, "ca", Method::Bye);
    finds(&judge(&story.log), "BYE although nothing was over");
}

#[test]
fn a_bye_at_the_timeout_must_have_asked_everybody() {
    let story = |asked: bool| {
        let mut story = Story::call();
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.registers(C);
        if asked {
            story.invite(20_000, C, "cc", false);
            story.final_response(50_000, C, "cc", 486, true);
            let branch = "z9hG4bKicc";
            let tag = ";tag=t";
            story.request(50_010, C, Method::Ack, "cc", 1, branch, tag, "", false);
        }
        story.hears(71_000, A, "ca", "FAILED 0");
        story.got(71_500, A, "ca", Method::Bye);
        judge(&story.log)
    };
    spotless(&story(true));
    finds(&story(false), "BYE although nothing was over");
}

#[test]
fn a_bye_since_who_was_sought_has_declined() {
    let story = |status| {
        let mut story = Story::call();
        story.add(10_000, B, What::Fault(Fault::Killed));
        story.invite(20_000, C, "cc", false);
        story.final_response(21_000, C, "cc", status, true);
        story.hears(21_100, A, "ca", "FAILED 0");
        story.got(21_200, A, "ca", Method::Bye);
        judge(&story.log)
    };
    let bye = "BYE although nothing was over";
    assert!(!story(603).iter().any(|found| found.contains(bye)));
    finds(&story(486), bye);
    finds(&story(606), bye);
}

#[test]
fn a_bye_before_the_timeout() {
    let mut story = Story::call();
    story.add(10_000, B, What::Fault(Fault::Killed));
    story.answer(15_000, C, "cc");
    story.hears(16_000, A, "ca", "FAILED 0");
    story.got(16_500, A, "ca", Method::Bye);
    finds(&judge(&story.log), "BYE although nothing was over");
}

#[test]
fn a_reinvite_or_update_to_the_survivor() {
    for method in [Method::Invite, Method::Update] {
        let mut story = Story::taken_over();
        story.hears(15_500, A, "ca", "CONTINUED b0-1");
        story.got(16_000, A, "ca", method);
        finds(&story.end(50_000, &[(C, "cc")]), "that nobody asked for");
    }
    let mut story = Story::call();
    let offer = sdp(2, "sendonly");
    let act = (Method::Invite, &*offer);
    story.inside(5000, B, "cb", act, Some(200), true);
    story.got(5100, A, "ca", Method::Invite);
    spotless(&story.end(20_000, &[(B, "cb")]));
}

#[test]
fn a_code_that_ends_the_dialog_and_no_answer_at_all() {
    let mut story = Story::call();
    story.says(5000, &body(1), 481);
    finds(&story.end(90_000, &[(B, "cb")]), "so that the dialog ends");
    let mut story = Story::call();
    let act = (Method::Message, &*body(1));
    story.inside(5000, A, "ca", act, None, true);
    finds(&story.end(90_000, &[(B, "cb")]), "MESSAGE never answered");
}

#[test]
fn a_second_success_of_another_dialog() {
    let mut story = Story::call();
    let bytes = Builder::response(200, "OK")
        .header(Name::Via, "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKica")
        .header(Name::From, "<sip:f@x>;tag=f")
        .header(Name::To, "<sip:t@x>;tag=other")
        .header(Name::CallId, "ca")
        .header(Name::CSeq, "1 INVITE")
        .end();
    story.message(3000, A, bytes, false);
    finds(&story.end(20_000, &[(B, "cb")]), "a second 2xx");
}

#[test]
fn texts_out_of_order_twice_and_lost() {
    let mut story = Story::call();
    story.says(3000, &body(1), 200).says(4000, &body(2), 200);
    story
        .hears(4100, B, "cb", &body(2))
        .hears(4200, B, "cb", &body(1));
    finds(&story.end(20_000, &[(B, "cb")]), "out of order");

    let mut story = Story::call();
    story.says(3000, &body(1), 200);
    story
        .hears(3100, B, "cb", &body(1))
        .hears(3900, B, "cb", &body(1));
    finds(&story.end(20_000, &[(B, "cb")]), "came twice");

    let mut story = Story::call();
    story.says(3000, &body(1), 200).says(4000, &body(2), 200);
    story.hears(4100, B, "cb", &body(2));
    finds(&story.end(20_000, &[(B, "cb")]), "accepted and lost");

    let mut story = Story::call();
    story.says(3000, &body(1), 202);
    finds(&story.end(60_000, &[(B, "cb")]), "accepted and lost");

    let mut story = Story::call();
    story.says(3000, &body(1), 200);
    story.hears(3100, B, "cb", &text(0, Side::Callee, 1));
    finds(&story.end(5000, &[(B, "cb")]), "is not for it");
}

#[test]
fn only_the_text_under_way_may_come_again() {
    let mut story = Story::taken_over();
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    story
        .says(9000, &body(1), 200)
        .hears(9010, B, "cb", &body(1));
    story
        .says(9900, &body(2), 202)
        .hears(9950, B, "cb", &body(2));
    story.hears(15_600, C, "cc", &body(2));
    spotless(&story.end(50_000, &[(C, "cc")]));
    story.hears(15_700, C, "cc", &body(1));
    finds(&judge(&story.log), "after its successor");
}

#[test]
fn notices_too_many_too_few_and_wrong() {
    let mut story = Story::taken_over();
    finds(&story.end(50_000, &[(C, "cc")]), "never told");

    let mut story = Story::taken_over();
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    story.hears(16_500, A, "ca", "CONTINUED b0-1");
    finds(&story.end(50_000, &[(C, "cc")]), "without a change");

    let mut story = Story::call();
    story.hears(5000, A, "ca", "CONTINUED b0-0");
    finds(&story.end(20_000, &[(B, "cb")]), "without a change");

    let mut story = Story::call();
    story.hears(5000, A, "ca", "CONTINUED b0-1");
    finds(&story.end(20_000, &[(B, "cb")]), "who has not answered");

    let mut story = Story::call();
    story.hears(5000, A, "ca", "FAILED 0");
    finds(&story.end(60_000, &[(B, "cb")]), "that was not the end");
}

#[test]
fn a_phone_that_rings_on() {
    let mut story = Story::call();
    story.invite(1500, C, "cc", false);
    story.final_response(60_000, C, "cc", 480, true);
    let tag = ";tag=t";
    story.request(
        60_010,
        C,
        Method::Ack,
        "cc",
        1,
        "z9hG4bKicc",
        tag,
        "",
        false,
    );
    finds(
        &story.end(70_000, &[(B, "cb")]),
        "rang on after another had answered",
    );

    let mut story = Story::new();
    story.invite(1500, C, "cc", false);
    finds(&judge(&story.log), "INVITE never finished");
    story.final_response(101_500, C, "cc", 480, true);
    let tag = ";tag=t";
    story.request(
        101_600,
        C,
        Method::Ack,
        "cc",
        1,
        "z9hG4bKicc",
        tag,
        "",
        false,
    );
    finds(&judge(&story.log), "left ringing");
}

#[test]
fn finals_that_are_not_acknowledged_and_calls_that_stay() {
    let mut story = Story::call();
    story.invite(1500, C, "cc", false);
    story.final_response(2000, C, "cc", 200, true);
    finds(&story.end(60_000, &[(B, "cb")]), "2xx never acknowledged");

    let mut story = Story::call();
    story.invite(1500, C, "cc", false);
    story.final_response(2000, C, "cc", 486, true);
    finds(
        &story.end(60_000, &[(B, "cb")]),
        "final response never acknowledged",
    );

    let mut story = Story::call();
    finds(&story.end(60_000, &[]), "call never ended");
}

#[test]
fn a_healthy_phone_is_not_given_up_for_another() {
    let mut story = Story::call();
    story.answer(60_000, C, "cc");
    story.got(60_100, B, "cb", Method::Bye);
    finds(
        &story.end(90_000, &[(C, "cc")]),
        "BYE although nothing was over",
    );
}

#[test]
fn a_call_that_another_declined_for_all_is_taken_back() {
    let story = |status| {
        let mut story = Story::new();
        story.invite(1000, A, "ca", true);
        story.invite(1050, B, "cb", false);
        story.invite(1050, C, "cc", false);
        story.final_response(1100, C, "cc", status, true);
        story.final_response(1200, A, "ca", status, false);
        story.final_response(1300, B, "cb", 200, true);
        story.ack(1350, B, "cb", false);
        story.got(1360, B, "cb", Method::Bye);
        judge(&story.log)
    };
    let bye = "BYE although nothing was over";
    assert!(!story(603).iter().any(|found| found.contains(bye)));
    finds(&story(486), bye);
}

#[test]
fn a_phone_may_learn_from_an_answer_that_its_call_is_over() {
    let mut story = Story::call();
    story.add(60_000, B, What::HungUp);
    story.inside(60_000, B, "cb", (Method::Bye, ""), Some(200), true);
    let ended = "call never ended";
    finds(&judge(&story.log), ended);
    story.says(70_000, "are you there?", 481);
    spotless(&judge(&story.log));
}

#[test]
fn a_refusal_may_go_down_with_its_connection() {
    let mut story = Story::call();
    story.invite(1500, C, "cc", false);
    story.final_response(2000, C, "cc", 486, true);
    story.add(2050, C, What::Fault(Fault::Reset));
    spotless(&story.end(60_000, &[(B, "cb")]));
}

#[test]
fn two_phones_of_a_side() {
    let mut story = Story::call();
    story.answer(3000, C, "cc");
    finds(
        &story.end(90_000, &[(B, "cb"), (C, "cc")]),
        "two phones of a side",
    );
    // One that was away for longer than its BYE is told when it speaks.
    let mut story = Story::call();
    story.add(10_000, B, What::Fault(Fault::Cut));
    story.answer(15_000, C, "cc");
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    story.add(80_000, B, What::Recovered);
    let act = (Method::Message, "are you there?");
    story.inside(81_000, B, "cb", act, Some(481), true);
    // Its own new call is then its only one.
    story.add(90_000, C, What::Fault(Fault::Killed));
    story.answer(100_000, B, "cb2");
    let found = story.end(200_000, &[(B, "cb2")]);
    let two = |what: &String| what.contains("two phones of a side");
    assert!(!found.iter().any(two), "{found:?}");
    // One that has just been thawed is given the time to be told.
    let mut story = Story::call();
    story.add(10_000, B, What::Fault(Fault::Frozen));
    story.answer(15_000, C, "cc");
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    story.add(80_000, B, What::Recovered);
    story.got(81_000, B, "cb", Method::Bye);
    spotless(&story.end(90_000, &[(C, "cc")]));
}

fn clean() -> Rest {
    Rest {
        gauges: Gauges::default(),
        broken: Vec::new(),
        media_sessions: 0,
        media_ports: 0,
        misuse: Vec::new(),
        snapshots: 0,
        bindings: 0,
        busy: Vec::new(),
        metrics: String::new(),
    }
}

#[test]
fn what_is_left_behind() {
    let log = Log::default();
    spotless(&drained(&log, &clean()));
    let mut rest = clean();
    rest.gauges.timers = 1;
    finds(&drained(&log, &rest), "gauges");
    for (rest, what) in [
        (
            Rest {
                media_ports: 2,
                ..clean()
            },
            "2 media ports",
        ),
        (
            Rest {
                media_sessions: 1,
                ..clean()
            },
            "1 media sessions",
        ),
        (
            Rest {
                snapshots: 1,
                ..clean()
            },
            "1 snapshots",
        ),
        (
            Rest {
                bindings: 3,
                ..clean()
            },
            "3 bindings",
        ),
        (
            Rest {
                broken: vec!["an index".to_owned()],
                ..clean()
            },
            "an index",
        ),
        (
            Rest {
                busy: vec!["b0-0".to_owned()],
                ..clean()
            },
            "b0-0 is still in a call",
        ),
        (
            Rest {
                misuse: vec!["opened twice".to_owned()],
                ..clean()
            },
            "opened twice",
        ),
    ] {
        finds(&drained(&log, &rest), what);
    }
}

#[test]
fn a_dialog_is_lost_only_where_something_befell() {
    let found = |mut story: Story| {
        let rest = Rest {
            gauges: Gauges {
                lost_dialogs: 1,
                ..Gauges::default()
            },
            ..clean()
        };
        story.add(20_000, A, What::HungUp);
        drained(&story.log, &rest)
    };
    finds(&found(Story::call()), "1 lost dialogs");
    spotless(&found(Story::taken_over()));
    let mut restarted = Story::call();
    restarted.restarted(10_000);
    spotless(&found(restarted));
}

#[test]
fn little_is_asked_of_the_scarred() {
    let mut story = Story::call();
    story.log.roster[B].traits = Traits::of(Temper::IgnoresOptions);
    story.got(30_000, B, "cb", Method::Invite);
    spotless(&story.end(60_000, &[(B, "cb")]));
}

#[test]
fn a_hold_that_the_other_was_never_told() {
    // Whoever is told more than that, and wants no more, has nothing to be told.
    for (told, says, fault) in [
        ("sendonly", "recvonly", false),
        ("sendrecv", "recvonly", false),
        ("sendrecv", "sendrecv", true),
    ] {
        let mut story = Story::call();
        story.agrees(5000, B, "cb", ["sendonly", "recvonly"], true);
        story.agrees(5100, A, "ca", [told, says], false);
        let found = story.end(90_000, &[(B, "cb")]);
        if fault {
            finds(&found, "was told Some([Some(SendRecv)");
        } else {
            spotless(&found);
        }
    }
}

#[test]
fn a_refresh_of_a_phone_with_a_timer_only() {
    for (timer, fault) in [(90, false), (0, true)] {
        let mut story = Story::call();
        story.log.roster[A].traits.timer = timer;
        story.got(30_000, A, "ca", Method::Update);
        let found = story.end(60_000, &[(B, "cb")]);
        if fault {
            finds(&found, "that nobody asked for");
        } else {
            spotless(&found);
        }
    }
}

#[test]
fn a_session_that_is_not_refreshed() {
    // An offer of its own that is open would refresh it by its answer.
    for offers in [false, true] {
        let mut story = Story::call();
        if offers {
            story.inside(59_000, B, "cb", (Method::Invite, ""), None, true);
        }
        story.add(60_000, B, What::Expired);
        story.inside(60_000, B, "cb", (Method::Bye, ""), Some(200), true);
        story.got(60_050, A, "ca", Method::Bye);
        let found = judge(&story.log);
        let blamed = found.iter().any(|it| it.contains("was not refreshed"));
        assert_eq!(blamed, !offers, "{found:?}");
    }
}

#[test]
fn what_a_scrape_shows_is_what_the_phones_saw() {
    let mut story = Story::taken_over();
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    story.end(50_000, &[(C, "cc")]);
    let scrape = |restored: u32, ended: u32| {
        format!(
            "refork_conversations_started_total{{kind=\"call\"}} 1\n\
             refork_conversations_answered_total{{kind=\"call\"}} 1\n\
             refork_conversations_ended_total{{kind=\"call\",how=\"hung_up\"}} {ended}\n\
             refork_losses_total{{reason=\"silence\"}} 1\n\
             refork_restorations_total{{result=\"other_endpoint\"}} {restored}\n\
             refork_notices_total{{outcome=\"delivered\"}} 1\n"
        )
    };
    spotless(&counted(&story.log, &scrape(1, 1)));
    finds(&counted(&story.log, &scrape(2, 1)), "restorations");
    finds(&counted(&story.log, &scrape(1, 2)), "ended");
}

#[test]
fn a_phone_that_was_stopped_finds_the_invite_of_the_first_fork() {
    for (back, wrong) in [(60_000, false), (50_000, true)] {
        let mut story = Story::call();
        story.add(3000, C, What::Fault(Fault::Frozen));
        story.add(back, C, What::Recovered);
        story.invite(60_000, C, "cc", false);
        let found = counted(&story.log, "refork_reinvites_total 0\n");
        let told = found.iter().any(|it| it.contains("INVITEs of re-forks 0"));
        assert_eq!(told, wrong, "{found:?}");
    }
}

#[test]
fn a_word_outside_of_dialogs_that_comes_again_after_an_invite_is_one() {
    let mut story = Story::call();
    for (at, call) in [(30_000, "cd"), (31_000, "ce")] {
        let branch = "z9hG4bKlast";
        let word = "FAILED 0";
        story.request(at, B, Method::Message, "out", 1, branch, "", word, false);
        story.invite(at + 500, B, call, false);
    }
    let legs = legs::of(&story.log);
    let got = legs.iter().flat_map(|leg| &leg.got);
    assert_eq!(got.count(), 1);
}

/// Of one call, in which one phone was lost and another one asked, as other families count it.
#[test]
fn what_a_scrape_shows_of_losses_goes_together() {
    let mut story = Story::taken_over();
    story.hears(15_500, A, "ca", "CONTINUED b0-1");
    story.end(50_000, &[(C, "cc")]);
    let scrape = |lost: &str, restored: u32, timeouts: u32| {
        format!(
            "refork_conversations_started_total{{kind=\"call\"}} 1\n\
             refork_conversations_answered_total{{kind=\"call\"}} 1\n\
             refork_conversations_ended_total{{kind=\"call\",how=\"hung_up\"}} 1\n\
             refork_losses_total{{reason=\"{lost}\n\
             refork_reinvites_total 1\n\
             refork_restorations_total{{result=\"other_endpoint\"}} {restored}\n\
             refork_restorations_total{{result=\"timeout\"}} {timeouts}\n\
             refork_notices_total{{outcome=\"delivered\"}} 1\n"
        )
    };
    let found = |lost, restored, timeouts| counted(&story.log, &scrape(lost, restored, timeouts));
    spotless(&found("silence\"} 1", 1, 0));
    finds(&found("silence\"} 0", 1, 0), "counters: losses 0");
    finds(&found("silence\"} 4", 1, 0), "counters: losses 4");
    finds(&found("operator\"} 1", 1, 0), "losses by order");
    finds(&found("failure_bye\"} 1", 1, 0), "losses by a BYE");
    finds(&found("session_expired\"} 1", 1, 0), "a session's end");
    finds(&found("silence\"} 2", 1, 2), "in vain");
    // One that hangs up as it is told of it ends the call itself.
    story.hears(49_990, A, "ca", "FAILED 0");
    spotless(&counted(&story.log, &scrape("silence\"} 1", 1, 0)));
    let mut left = Story::taken_over();
    left.hears(15_500, A, "ca", "CONTINUED b0-1");
    left.gives_up(49_990);
    let found = counted(&left.log, &scrape("silence\"} 1", 1, 0));
    finds(&found, "restorations in vain 0");
    story.log.rules.silence = None;
    let found = counted(&story.log, &scrape("silence\"} 1", 1, 0));
    finds(&found, "losses by silence");
}
