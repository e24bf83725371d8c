//! Notices that a phone does not take now: said once more, and in nobody's way.

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Alice's phone, whose Allow lacks MESSAGE, talks to Bob's desk phone.
fn without_message(t: &mut Table) -> Remote {
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1")
        .header(Name::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.register("bob", mobile(), "mobile");
    a
}

fn put_off(t: &mut Table, notice: &Message, status: u16) {
    let later = response(notice, status, alice(), "x1").header(Name::RetryAfter, 5);
    t.receive(alice(), later.end());
}

#[test]
fn a_notice_outside_of_the_dialog_is_said_twice_at_most_and_texts_pass_it() {
    for status in [480, 486, 500, 600] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        let mut a = without_message(&mut t);
        t.bob_is_lost();
        t.pass(Millis(2_100));
        let mut b = t.takes_over(mobile(), "m1", &audio(mobile()));
        let notice = t.request_to(alice(), Method::Message);
        assert!(notice.to_tag().is_none());
        put_off(&mut t, &notice, status);
        // What Bob writes does not wait for it.
        t.receive(mobile(), b.message("hello"));
        let hello = t.request_to(alice(), Method::Message);
        assert_eq!(text(&hello), "hello");
        t.reply(&hello, 200, alice());
        t.response_to(mobile(), 200);
        // Nor is it forgotten where Alice's text arrives.
        t.receive(alice(), a.message("hi"));
        let hi = t.request_to(mobile(), Method::Message);
        t.reply(&hi, 200, mobile());
        t.response_to(alice(), 200);
        t.pass(Millis(5_100));
        let again = t.request_to(alice(), Method::Message);
        assert_eq!(text(&again), text(&notice));
        assert!(again.to_tag().is_none());
        put_off(&mut t, &again, status);
        t.pass(Millis::from_secs(20));
        assert!(t.waiting(alice(), &Method::Message).is_none(), "{status}");
        assert_eq!(t.engine.gauges().queued_messages, 0);
        let told = |what: &Happening| matches!(what, Happening::Notice { .. });
        assert_eq!(t.happened(told), 1);
    }
}
