//! What goes out when, and what is heard in which order.

use super::*;

const TIMERS: TimerSettings = TimerSettings {
    t1: Millis(500),
    t2: Millis(4000),
    t4: Millis(5000),
};
const START: Time = Time(1_000_000);

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn message(first: &str, cseq: &str, lines: &str) -> Message {
    let text = format!(
        "{first}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
         To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: {cseq}\r\nMax-Forwards: 70\r\n{lines}\r\n"
    );
    Message::parse(text.into_bytes().into()).unwrap()
}

#[test]
fn a_response_goes_out_again_at_doubled_pauses_until_64_t1_are_over() {
    let mut sent = Sent::after(6);
    assert_eq!(sent.number(), Some(7));
    assert!(sent.push(183, bytes("a"), Carries::Answer, START, &TIMERS));
    let mut at = Vec::new();
    loop {
        let next = sent.next().unwrap();
        match sent.due(next) {
            Due::Again(183, again) => {
                assert_eq!(again, bytes("a"));
                at.push(next.since(START).0);
            }
            Due::GiveUp => {
                assert_eq!(next.since(START), Millis(32_000));
                break;
            }
            other @ (Due::Nothing | Due::Again(..)) => panic!("{other:?} at {next:?}"),
        }
    }
    // Beyond T2, unlike a 2xx (RFC 3262 3).
    assert_eq!(at, [500, 1500, 3500, 7500, 15_500, 31_500]);
}

#[test]
fn one_is_out_at_a_time_and_its_own_prack_ends_it() {
    let mut sent = Sent::after(6);
    assert!(sent.push(180, bytes("a"), Carries::Nothing, START, &TIMERS));
    assert!(!sent.holds_success());
    assert!(!sent.push(183, bytes("b"), Carries::Answer, START, &TIMERS));
    assert!(sent.holds_success(), "one that waits as well");
    assert_eq!(sent.acknowledge(8, START, &TIMERS), None, "it is not out");
    assert_eq!(sent.acknowledge(6, START, &TIMERS), None);
    let first = sent.acknowledge(7, START, &TIMERS).unwrap();
    assert_eq!(first.carried, Carries::Nothing);
    assert_eq!(first.next, Some((183, bytes("b"))));
    assert_eq!(sent.acknowledge(7, START, &TIMERS), None, "once");
    // Its own time begins when it goes out.
    assert_eq!(sent.next(), Some(START + TIMERS.t1));
    let second = sent.acknowledge(8, START, &TIMERS).unwrap();
    assert_eq!((second.carried, second.next), (Carries::Answer, None));
    assert_eq!((sent.next(), sent.out()), (None, None));
    assert_eq!(sent.due(START + Millis(60_000)), Due::Nothing);
}

#[test]
fn so_many_wait_and_no_more() {
    let mut sent = Sent::after(0);
    for _ in 0..WAITING_MAX {
        assert!(sent.number().is_some());
        sent.push(180, Bytes::new(), Carries::Nothing, START, &TIMERS);
    }
    assert_eq!(sent.number(), None);
}

#[test]
fn what_is_heard_is_taken_in_order_in_each_dialog() {
    let mut heard = Heard::default();
    // Tag, number, what becomes of it.
    for (tag, rseq, order) in [
        ("a", 40, Order::Take),
        ("a", 40, Order::Again),
        ("a", 42, Order::Gap),
        ("a", 41, Order::Take),
        ("a", 42, Order::Take),
        ("a", 41, Order::Again),
        ("b", 7, Order::Take),
        ("b", 8, Order::Take),
        ("a", 43, Order::Take),
    ] {
        assert_eq!(heard.take(tag, rseq), order, "{tag} {rseq}");
    }
    for number in 2..HEARD_MAX {
        assert_eq!(heard.take(&number.to_string(), 1), Order::Take);
    }
    assert_eq!(heard.take("more", 1), Order::TooMany);
    let mut last = Heard::default();
    assert_eq!(last.take("a", u32::MAX), Order::Take);
    assert_eq!(last.take("a", u32::MAX), Order::Again);
}

#[test]
fn a_rack_names_an_invite() {
    for (lines, read) in [
        ("RAck: 7 1 INVITE\r\n", Some((7, 1))),
        ("rack:  7   1\tINVITE \r\n", Some((7, 1))),
        ("RAck: 7 1 UPDATE\r\n", None),
        ("RAck: 7 1\r\n", None),
        ("RAck: 7 1 INVITE x\r\n", None),
        ("RAck: -7 1 INVITE\r\n", None),
        ("RAck: 4294967296 1 INVITE\r\n", None),
        ("", None),
    ] {
        let prack = message("PRACK sip:b@h SIP/2.0", "2 PRACK", lines);
        let rack = RAck::of(&prack).map(|rack| (rack.rseq, rack.cseq));
        assert_eq!(rack, read, "{lines}");
    }
}

#[test]
fn a_response_is_reliable_by_both_of_its_headers() {
    let both = "Require: 100rel\r\nRSeq: 9\r\n";
    for (first, cseq, lines, number) in [
        ("SIP/2.0 183 Word", "1 INVITE", both, Some(9)),
        ("SIP/2.0 183 Word", "1 INVITE", "RSeq: 9\r\n", None),
        ("SIP/2.0 183 Word", "1 INVITE", "Require: 100rel\r\n", None),
        ("SIP/2.0 100 Word", "1 INVITE", both, None),
        ("SIP/2.0 200 Word", "1 INVITE", both, None),
        ("SIP/2.0 183 Word", "1 UPDATE", both, None),
    ] {
        assert_eq!(rseq(&message(first, cseq, lines)), number, "{first} {cseq}");
    }
}
