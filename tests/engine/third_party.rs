//! A controller beyond us that joins two of its calls by offers that come with the answers (RFC 3725).

use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

/// Flow I (4.1): INVITE without an offer, the offer in the 2xx, the answer in the ACK.
#[test]
fn flow_i_the_answer_comes_with_the_ack() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive(alice(), invite.end());
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(
        (invite.body(), invite.header(Name::ContentType)),
        (&b""[..], None)
    );
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    // Its ACK has the answer, and the controller has none yet: it asks the other party first.
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("m=audio"));
    t.pass(Millis::from_secs(10));
    t.nothing_to(desk());
    assert!(t.discard(alice()) > 0, "the 2xx comes again until then");
    let a = Remote::of_answer(&ok, alice());
    let ack = a.numbered(Method::Ack, 1);
    t.receive(alice(), with_sdp(ack, &audio(alice())));
    let ack = t.request_to(desk(), Method::Ack);
    assert!(text(&ack).contains("m=audio") && !text(&ack).contains("198.51.100"));
    t.pass(Millis::from_secs(60));
    assert_eq!(t.waiting(desk(), &Method::Bye).map(|_| ()), None);
    assert_eq!(t.waiting(alice(), &Method::Bye).map(|_| ()), None);
}

/// Flow III (4.3): a session on hold first, then a re-INVITE without an offer.
#[test]
fn flow_iii_a_session_on_hold_is_asked_for_its_offer() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive(alice(), invite.end());
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    let held = audio(alice()).replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0");
    t.receive(alice(), with_sdp(a.numbered(Method::Ack, 1), &held));
    let ack = t.request_to(desk(), Method::Ack);
    assert!(text(&ack).contains("m=audio"));
    joins(&mut t, &mut a);
}

/// Flow IV (4.4): an offer without any stream first, which is what the RFC recommends.
#[test]
fn flow_iv_a_session_without_streams_gets_them_later() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let none = |text: String| text[..text.find("m=").unwrap()].to_owned();
    t.alice_invites(&none(audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    assert!(!text(&invite).contains("m="), "{}", text(&invite));
    t.receive(desk(), with_sdp(answer_to(&invite), &none(audio(desk()))));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert!(!text(&ok).contains("m="));
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    joins(&mut t, &mut a);
}

/// The controller asks for an offer, and brings the other party's answer to it.
#[track_caller]
fn joins(t: &mut Table, a: &mut Remote) {
    t.receive(alice(), a.request(Method::Invite).end());
    let asked = t.request_to(desk(), Method::Invite);
    assert_eq!(asked.body(), b"");
    let ok = response(&asked, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &sdp(desk(), 2, "sendrecv")));
    let offer = t.response_to(alice(), 200);
    let offered = text(&offer);
    assert!(
        offered.contains("m=audio") && !offered.contains("198.51.100"),
        "{offered}"
    );
    let ack = a.numbered(Method::Ack, offer.cseq());
    t.receive(alice(), with_sdp(ack, &sdp(alice(), 2, "sendrecv")));
    let ack = t.request_to(desk(), Method::Ack);
    let answered = text(&ack);
    assert!(
        answered.contains("m=audio 2") && !answered.contains("198.51.100"),
        "{answered}"
    );
    t.nothing_to(alice());
    t.nothing_to(desk());
}
