//! A phone that says of a text or a digit that it has no such dialog, and is in the call.

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;

impl Table {
    fn holds_its_dialog(&mut self, tag: &str) {
        let update = self.request_to(desk(), Method::Update);
        let answer = response(&update, 200, desk(), tag);
        self.receive(desk(), with_sdp(answer, &audio(desk())));
    }

    fn lost(&self) -> usize {
        self.happened(|what| matches!(what, Happening::Lost { .. }))
    }
}

#[test]
fn a_text_that_is_denied_by_a_phone_in_the_call_is_refused_and_costs_no_call() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.desk_is_heard();
    t.receive(alice(), a.message("one"));
    let first = t.request_to(desk(), Method::Message);
    t.receive(alice(), a.message("two"));
    t.reply(&first, 481, desk());
    t.nothing_to(alice());
    t.holds_its_dialog("b1");
    t.response_to(alice(), 488);
    // The next one goes its way, and is refused without another question.
    let second = t.request_to(desk(), Method::Message);
    assert_eq!(text(&second), "two");
    t.reply(&second, 481, desk());
    t.response_to(alice(), 488);
    t.nothing_to(desk());
    assert_eq!(t.lost(), 0);
}

#[test]
fn who_has_its_202_is_told_of_a_text_that_a_phone_in_the_call_denies() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.desk_is_heard();
    t.receive(alice(), a.message("one"));
    let first = t.request_to(desk(), Method::Message);
    t.pass(Millis(2_200));
    t.response_to(alice(), 202);
    t.reply(&first, 481, desk());
    // It was being probed already, and does not know OPTIONS.
    t.pass(Millis(3_800));
    let update = t.waiting(desk(), &Method::Update).unwrap();
    let answer = response(&update, 200, desk(), "b1");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(text(&word), "1 messages to bob were not delivered.");
    assert_eq!(t.lost(), 0);
}

#[test]
fn a_text_that_is_denied_by_a_phone_that_has_begun_anew_goes_to_the_next_leg() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.desk_is_heard();
    t.receive(alice(), a.message("one"));
    let first = t.request_to(desk(), Method::Message);
    t.knows_no_call(&first, desk());
    t.response_to(alice(), 202);
    assert_eq!(t.lost(), 1);
    t.takes_over(desk(), "b2", &audio(desk()));
    assert_eq!(text(&t.waiting(desk(), &Method::Message).unwrap()), "one");
}

#[test]
fn a_text_that_the_new_leg_denies_too_is_at_fault_itself() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.receive(alice(), a.message("one"));
    let first = t.request_to(desk(), Method::Message);
    t.knows_no_call(&first, desk());
    t.response_to(alice(), 202);
    t.takes_over(desk(), "b2", &audio(desk()));
    let again = t.waiting(desk(), &Method::Message).unwrap();
    t.discard(desk());
    t.reply(&again, 481, desk());
    let asked = t.next_to(desk());
    let answer = response(&asked, 200, desk(), "b2");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    t.pass(Millis::from_secs(5));
    assert!(t.waiting(desk(), &Method::Message).is_none());
    assert_eq!(t.lost(), 1);
    let rejected = |what: &Happening| matches!(what, Happening::Rejected { status: 488, .. });
    assert_eq!(t.happened(rejected), 1);
}

#[test]
fn a_text_that_is_denied_by_a_phone_that_has_forgotten_its_call_and_answers_options_goes_to_the_next_leg()
 {
    let mut t = two();
    let (mut a, _) = t.established();
    t.desk_is_heard();
    // It was asked before, and had its call.
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(desk(), Method::Info);
    t.reply(&info, 481, desk());
    t.holds_its_dialog("b1");
    t.discard(alice());
    t.pass(Millis::from_secs(31));
    t.discard(desk());
    t.receive(alice(), a.message("one"));
    let first = t.request_to(desk(), Method::Message);
    t.pass(Millis(2_200));
    t.response_to(alice(), 202);
    let probe = t.waiting(desk(), &Method::Options).unwrap();
    t.discard(desk());
    t.reply(&first, 481, desk());
    t.reply(&probe, 200, desk());
    let update = t.request_to(desk(), Method::Update);
    t.reply(&update, 481, desk());
    assert_eq!(t.lost(), 1);
    t.pass(Millis(700));
    t.takes_over(desk(), "b2", &audio(desk()));
    assert_eq!(text(&t.waiting(desk(), &Method::Message).unwrap()), "one");
}

/// Bob's desk phone denies its dialog to a text that was promised, counts as lost, and what it had asked before is here.
fn asked_before_it_denied() -> (Table, Message) {
    let mut t = two();
    let (mut a, mut b) = t.established();
    t.receive(alice(), a.message("one"));
    let first = t.request_to(desk(), Method::Message);
    let older = b.request(Method::Info).end();
    t.knows_no_call(&first, desk());
    t.response_to(alice(), 202);
    assert_eq!(t.lost(), 1);
    t.request_to(desk(), Method::Invite);
    t.receive(desk(), older);
    let update = t.request_to(desk(), Method::Update);
    (t, update)
}

#[test]
fn a_text_stays_where_a_phone_that_denied_it_comes_back_by_what_it_had_asked_before() {
    let (mut t, update) = asked_before_it_denied();
    t.reply(&update, 481, desk());
    assert_eq!(t.lost(), 2);
    t.discard(desk());
    t.pass(Millis(2_700));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    assert_eq!(text(&t.waiting(mobile(), &Method::Message).unwrap()), "one");
}

#[test]
fn a_text_is_refused_where_a_phone_that_denied_it_comes_back_and_has_its_dialog() {
    let (mut t, update) = asked_before_it_denied();
    let answer = response(&update, 200, desk(), "b1");
    t.receive(desk(), with_sdp(answer, &audio(desk())));
    let rejected = |what: &Happening| matches!(what, Happening::Rejected { status: 488, .. });
    assert_eq!((t.happened(rejected), t.lost()), (1, 1));
}

#[test]
fn digits_that_are_denied_by_a_phone_in_the_call_cost_no_call() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.desk_is_heard();
    for digit in 0..12 {
        let info = a.request(Method::Info);
        t.receive(
            alice(),
            info.body("application/dtmf-relay", b"Signal=1\r\n"),
        );
        let info = t.request_to(desk(), Method::Info);
        t.reply(&info, 481, desk());
        t.response_to(alice(), 488);
        if digit == 0 {
            t.holds_its_dialog("b1");
        }
        t.pass(Millis(600));
    }
    t.nothing_to(desk());
    assert_eq!(t.lost(), 0);
}

#[test]
fn a_digit_that_is_denied_by_a_phone_that_has_begun_anew_is_its_loss() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.desk_is_heard();
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(desk(), Method::Info);
    t.reply(&info, 481, desk());
    t.response_to(alice(), 488);
    let update = t.request_to(desk(), Method::Update);
    t.reply(&update, 481, desk());
    assert_eq!(t.lost(), 1);
    t.pass(Millis(700));
    t.request_to(desk(), Method::Invite);
}

#[test]
fn who_has_hung_up_is_not_called_although_its_bye_was_lost() {
    for heard in [true, false] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        let bye = b.request(Method::Bye).end();
        t.receive(alice(), a.message("one"));
        let carried = t.request_to(desk(), Method::Message);
        t.reply(&carried, 481, desk());
        let update = t.request_to(desk(), Method::Update);
        t.reply(&update, 481, desk());
        assert_eq!(t.lost(), 1);
        // It comes again after T1 (RFC 3261 17.1.2.2).
        t.pass(Millis(500));
        t.nothing_to(desk());
        t.nothing_to(mobile());
        if heard {
            t.receive(desk(), bye);
            t.response_to(desk(), 200);
            assert!(t.waiting(alice(), &Method::Bye).is_some());
        }
        t.pass(Millis(200));
        assert_eq!(t.waiting(desk(), &Method::Invite).is_none(), heard);
    }
}
