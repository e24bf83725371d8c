//! Transfers: Bob, whom Alice has called, passes her on to Carol (RFC 3515, RFC 5589).

use bytes::Bytes;
use refork::engine::events::{Ending, Happening};
use refork::engine::ids::Side;
use refork::engine::ports::{MediaCommand, MediaEvent};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

pub fn carol() -> std::net::SocketAddr {
    phone("198.51.100.5:5060")
}

pub fn carols_mobile() -> std::net::SocketAddr {
    phone("198.51.100.6:5060")
}

/// Bob has a desk phone, Carol one too.
pub fn three() -> Table {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    t
}

pub fn refer(dialog: &mut Remote, to: &str) -> Bytes {
    dialog
        .request(Method::Refer)
        .header(Name::ReferTo, to)
        .end()
}

pub const CAROL: &str = "<sip:carol@example.org>";

impl Table {
    /// The phone is told what becomes of its REFER. Returns the state of its subscription.
    #[track_caller]
    pub fn told(&mut self, at: std::net::SocketAddr, status: &str) -> String {
        let notify = self.request_to(at, Method::Notify);
        assert_eq!(
            notify.content_type(),
            Some("message/sipfrag;version=2.0"),
            "RFC 3515 2.4.5"
        );
        assert_eq!(text(&notify), format!("SIP/2.0 {status}\r\n"));
        self.reply(&notify, 200, at);
        notify.header(Name::SubscriptionState).unwrap().into()
    }

    /// Bob's desk phone refers Alice to Carol, whose phone is invited.
    pub fn referred(&mut self, bob: &mut Remote) -> Message {
        self.receive(desk(), refer(bob, CAROL));
        self.response_to(desk(), 202);
        let state = self.told(desk(), "100 Trying");
        assert!(state.starts_with("active;expires="), "{state}");
        self.request_to(carol(), Method::Invite)
    }

    /// Carol's phone takes the call.
    pub fn carol_answers(&mut self, invite: &Message) -> Remote {
        let ok = response(invite, 200, carol(), "c1")
            .header(Name::Allow, "INVITE, ACK, BYE, OPTIONS, MESSAGE, UPDATE");
        self.receive(carol(), with_sdp(ok, &audio(carol())));
        self.request_to(carol(), Method::Ack);
        Remote::of_invite(invite, carol(), "c1")
    }

    /// Alice is told who she talks to now, and by nothing else.
    pub fn word_of_carol(&mut self) {
        let word = self.request_to(alice(), Method::Message);
        assert!(
            text(&word).starts_with("carol is continuing on "),
            "{}",
            text(&word)
        );
        self.reply(&word, 200, alice());
        self.nothing_to(alice());
    }

    /// Carol's phone says that it knows nothing of the call, and her mobile takes it.
    pub fn carols_mobile_takes_over(&mut self, a: &mut Remote) {
        self.receive(alice(), a.message("there?"));
        let there = self.request_to(carol(), Method::Message);
        self.knows_no_call(&there, carol());
        self.response_to(alice(), 202);
        self.discard(carol());
        self.pass(Millis(2_100));
        let mut m = self.takes_over(carols_mobile(), "cm1", &audio(carols_mobile()));
        let there = self.request_to(carols_mobile(), Method::Message);
        assert_eq!(text(&there), "there?");
        self.reply(&there, 200, carols_mobile());
        self.word_of_carol();
        self.calls_on(a, &mut m);
    }

    pub fn calls_on(&mut self, one: &mut Remote, two: &mut Remote) {
        self.receive(one.at, one.message("hello"));
        let there = self.request_to(two.at, Method::Message);
        self.reply(&there, 200, two.at);
        self.response_to(one.at, 200);
        self.receive(two.at, two.message("hello yourself"));
        let here = self.request_to(one.at, Method::Message);
        self.reply(&here, 200, one.at);
        self.response_to(two.at, 200);
    }
}

#[test]
fn a_blind_transfer_joins_the_target_and_the_transferee_keeps_its_dialog() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    assert_eq!(invite.uri(), "sip:carol@198.51.100.5:5060");
    assert!(
        invite
            .header(Name::From)
            .unwrap()
            .contains("alice@example.org")
    );
    assert!(
        invite
            .header(Name::To)
            .unwrap()
            .contains("carol@example.org")
    );
    assert_eq!(
        invite.header(Name::ReferredBy),
        Some("<sip:bob@example.org>")
    );
    assert!(
        invite.header(Name::RejectContact).is_none(),
        "voicemail may answer"
    );
    assert!(text(&invite).contains("192.0.2.1"), "media is anchored");
    t.reply(&invite, 180, carol());
    t.told(desk(), "180 Ringing");
    t.nothing_to(alice());
    let mut c = t.carol_answers(&invite);
    let state = t.told(desk(), "200 OK");
    assert_eq!(state, "terminated;reason=noresource");
    t.hangs_up(&mut b);
    t.word_of_carol();
    t.calls_on(&mut a, &mut c);
    // One line of RTP toward Alice: her ports stay, Carol's are new ones of Bob's side.
    let opened: Vec<_> = t
        .media
        .iter()
        .filter(|command| matches!(command, MediaCommand::Open { .. }))
        .collect();
    assert_eq!(opened.len(), 3, "{opened:?}");
    t.receive(alice(), a.request(Method::Bye).end());
    t.request_to(carol(), Method::Bye);
    t.discard(alice());
    t.discard(carol());
    t.nothing_to(desk());
    t.ends_empty();
}

#[test]
fn a_transferor_may_hang_up_at_once() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    t.hangs_up(&mut b);
    t.nothing_to(alice());
    let invite = t.request_to(carol(), Method::Invite);
    let mut c = t.carol_answers(&invite);
    // RFC 5589 6.1: the subscription outlives the call.
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.calls_on(&mut a, &mut c);
    t.receive(carol(), c.request(Method::Bye).end());
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.discard(carol());
    t.nothing_to(desk());
    t.ends_empty();
}

#[test]
fn a_transferor_that_stays_is_hung_up_on() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let mut c = t.carol_answers(&invite);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    // It has nobody to talk to.
    t.receive(desk(), b.message("still here?"));
    t.response_to(desk(), 480);
    t.pass(Millis(4_100));
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.calls_on(&mut a, &mut c);
}

#[test]
fn a_transferor_that_did_not_hear_its_bye_is_hung_up_on_when_it_is_back() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let mut c = t.carol_answers(&invite);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.pass(Millis::from_secs(40));
    let first = t.request_to(desk(), Method::Bye);
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    let again = t.request_to(desk(), Method::Bye);
    assert_eq!(again.call_id(), first.call_id());
    assert!(again.cseq() > first.cseq());
    t.reply(&again, 200, desk());
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 3);
    assert!(t.waiting(desk(), &Method::Bye).is_none());
    t.discard(carol());
    t.discard(alice());
    t.calls_on(&mut a, &mut c);
}

#[test]
fn a_transfer_that_fails_leaves_the_call_as_it_was() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let aside = |command: &MediaCommand| match command {
        MediaCommand::Lost { transferred, .. } => Some(*transferred),
        _ => None,
    };
    // Alice is to hear nothing of a loss.
    assert_eq!(t.media.iter().find_map(aside), Some(true));
    t.reply(&invite, 486, carol());
    t.request_to(carol(), Method::Ack);
    assert_eq!(
        t.told(desk(), "486 Busy Here"),
        "terminated;reason=noresource"
    );
    t.nothing_to(alice());
    t.calls_on(&mut a, &mut b);
    // Bob hears Alice again on the ports that he knows.
    let last = t.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { generation, .. } => Some(*generation),
        _ => None,
    });
    assert_eq!(last, Some(0));
    // RFC 3515 2.4.6: the second one is told from the first.
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 202);
    let notify = t.request_to(desk(), Method::Notify);
    assert_eq!(
        notify.header(Name::Event),
        Some(&*format!("refer;id={}", b.cseq))
    );
    let failed = |what: &Happening| matches!(what, Happening::TransferFailed { status: 486, .. });
    assert_eq!(t.happened(failed), 1);
}

#[test]
fn a_transfer_that_fails_after_the_transferor_hung_up_ends_with_a_reason() {
    let mut t = three();
    let (_, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.hangs_up(&mut b);
    t.reply(&invite, 486, carol());
    t.told(desk(), "486 Busy Here");
    let bye = t.request_to(alice(), Method::Bye);
    assert_eq!(
        bye.header(Name::Reason),
        Some("SIP;cause=486;text=\"The transfer failed: Busy Here\"")
    );
    t.reply(&bye, 200, alice());
    let ended = |what: &Happening| {
        matches!(
            what,
            Happening::Ended {
                how: Ending::Transfer(486),
                ..
            }
        )
    };
    assert_eq!(t.happened(ended), 1);
    t.discard(carol());
    t.ends_empty();
}

#[test]
fn nobody_answers_and_all_targets_stop_ringing() {
    let mut t = three();
    t.register("carol", carols_mobile(), "cm");
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.reply(&invite, 180, carol());
    t.told(desk(), "180 Ringing");
    let other = t.request_to(carols_mobile(), Method::Invite);
    t.reply(&other, 180, carols_mobile());
    t.pass(Millis::from_secs(61));
    let cancel = t.request_to(carol(), Method::Cancel);
    t.reply(&cancel, 200, carol());
    t.request_to(carols_mobile(), Method::Cancel);
    t.told(desk(), "408 Request Timeout");
    for probe in [alice(), desk()] {
        t.discard(probe);
    }
    t.calls_on(&mut a, &mut b);
}

#[test]
fn one_no_for_all_stops_the_others() {
    let mut t = three();
    t.register("carol", carols_mobile(), "cm");
    let (_, mut b) = t.established();
    let invite = t.referred(&mut b);
    let other = t.request_to(carols_mobile(), Method::Invite);
    t.reply(&other, 180, carols_mobile());
    t.told(desk(), "180 Ringing");
    t.reply(&invite, 603, carol());
    t.request_to(carols_mobile(), Method::Cancel);
    t.told(desk(), "603 Decline");
}

#[test]
fn whom_the_transferor_has_on_hold_is_taken_off_it_by_one_invite() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly")),
    );
    let held = t.request_to(alice(), Method::Invite);
    let ok = response(&held, 200, alice(), "x1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 2, "recvonly")));
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(desk(), 200);
    t.receive(desk(), b.ack(ok.cseq()));
    let invite = t.referred(&mut b);
    assert!(text(&invite).contains("a=sendrecv"), "{}", text(&invite));
    let mut c = t.carol_answers(&invite);
    let resumed = t.request_to(alice(), Method::Invite);
    assert!(text(&resumed).contains("a=sendrecv"), "{}", text(&resumed));
    t.nothing_to(desk());
    let ok = response(&resumed, 200, alice(), "x1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendrecv")));
    t.request_to(alice(), Method::Ack);
    t.told(desk(), "200 OK");
    t.word_of_carol();
    t.nothing_to(carol());
    t.calls_on(&mut a, &mut c);
}

#[test]
fn a_target_that_talks_otherwise_costs_the_transferee_one_invite() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let ok = response(&invite, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &g722(carol())));
    t.request_to(carol(), Method::Ack);
    t.takes_over(alice(), "x1", &g722(alice()));
    t.told(desk(), "200 OK");
    t.word_of_carol();
    let mut c = Remote::of_invite(&invite, carol(), "c1");
    t.calls_on(&mut a, &mut c);
}

#[test]
fn a_transferee_that_refuses_the_targets_session_stays_with_the_transferor() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let ok = response(&invite, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &g722(carol())));
    t.request_to(carol(), Method::Ack);
    let again = t.request_to(alice(), Method::Invite);
    t.reply(&again, 488, alice());
    t.request_to(alice(), Method::Ack);
    t.request_to(carol(), Method::Bye);
    t.told(desk(), "488 Not Acceptable Here");
    t.calls_on(&mut a, &mut b);
}

#[test]
fn a_transferee_that_hangs_up_ends_it_all() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.reply(&invite, 180, carol());
    t.told(desk(), "180 Ringing");
    t.hangs_up(&mut a);
    let cancel = t.request_to(carol(), Method::Cancel);
    t.reply(&cancel, 200, carol());
    t.reply(&invite, 487, carol());
    t.told(desk(), "487 Request Terminated");
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.discard(carol());
    t.ends_empty();
}

#[test]
fn the_target_is_a_participant_as_any_other() {
    let mut t = three();
    t.register("carol", carols_mobile(), "cm");
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    let other = t.request_to(carols_mobile(), Method::Invite);
    t.reply(&other, 180, carols_mobile());
    t.told(desk(), "180 Ringing");
    t.carol_answers(&invite);
    let cancel = t.request_to(carols_mobile(), Method::Cancel);
    t.reply(&cancel, 200, carols_mobile());
    t.reply(&other, 487, carols_mobile());
    t.discard(carols_mobile());
    t.told(desk(), "200 OK");
    t.hangs_up(&mut b);
    t.word_of_carol();
    t.carols_mobile_takes_over(&mut a);
    t.nothing_to(desk());
}

#[test]
fn a_restart_in_the_middle_goes_on_with_the_transfer() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.reply(&invite, 180, carol());
    t.told(desk(), "180 Ringing");
    t.restart();
    let again = t.request_to(carol(), Method::Invite);
    assert_eq!(
        again.bytes(),
        invite.bytes(),
        "a retransmission to the phone"
    );
    let mut c = t.carol_answers(&again);
    t.told(desk(), "200 OK");
    t.hangs_up(&mut b);
    t.word_of_carol();
    t.calls_on(&mut a, &mut c);
    t.restart();
    t.calls_on(&mut a, &mut c);
}

#[test]
fn a_restart_after_the_transferor_hung_up_ends_cleanly_where_nobody_answers() {
    let mut t = three();
    let (_, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.hangs_up(&mut b);
    t.restart();
    let again = t.request_to(carol(), Method::Invite);
    assert_eq!(again.call_id(), invite.call_id());
    t.reply(&again, 486, carol());
    t.discard(desk());
    t.request_to(carol(), Method::Ack);
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.ends_empty();
}

#[test]
fn the_transferor_may_ask_for_silence() {
    let mut t = three();
    let (_, mut b) = t.established();
    let silent = b
        .request(Method::Refer)
        .header(Name::ReferTo, CAROL)
        .header(Name::ReferSub, "false")
        .header(Name::Supported, "norefersub");
    t.receive(desk(), silent.end());
    let accepted = t.response_to(desk(), 202);
    assert_eq!(accepted.header(Name::ReferSub), Some("false"));
    let invite = t.request_to(carol(), Method::Invite);
    t.reply(&invite, 180, carol());
    t.carol_answers(&invite);
    t.nothing_to(desk());
}

#[test]
fn nobody_to_call_is_told_at_once_and_the_call_goes_on() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    for to in [
        "<sip:nobody@elsewhere.example>",
        "<sip:ghost@example.org>",
        "<http://example.org>",
        "<sip:carol@example.org;method=BYE>",
    ] {
        t.receive(desk(), refer(&mut b, to));
        // RFC 5057 5.1: 404 and 480 would end the dialog.
        t.response_to(desk(), 603);
    }
    t.receive(desk(), refer(&mut b, "nonsense"));
    t.response_to(desk(), 400);
    t.nothing_to(alice());
    t.calls_on(&mut a, &mut b);
}

#[test]
fn the_transferor_is_answered_while_the_target_rings() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.reply(&invite, 100, carol());
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 491);
    t.receive(desk(), b.request(Method::Options).end());
    t.response_to(desk(), 200);
    let hold = with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly"));
    t.receive(desk(), hold);
    let ok = t.response_to(desk(), 200);
    assert!(text(&ok).contains("a=recvonly"), "{}", text(&ok));
    t.receive(desk(), b.ack(ok.cseq()));
    t.pass(Millis::from_secs(2));
    t.nothing_to(desk());
    // RFC 6665 4.1.2.2: how is it?
    let ask = b
        .request(Method::Subscribe)
        .header(Name::Event, "refer")
        .header(Name::Expires, 10);
    t.receive(desk(), ask.end());
    t.response_to(desk(), 200);
    assert_eq!(t.told(desk(), "100 Trying"), "active;expires=10");
    // It no longer wants to know.
    let ask = b
        .request(Method::Subscribe)
        .header(Name::Event, "refer")
        .header(Name::Expires, 0);
    t.receive(desk(), ask.end());
    t.response_to(desk(), 200);
    assert_eq!(t.told(desk(), "100 Trying"), "terminated;reason=timeout");
    t.nothing_to(alice());
    t.receive(alice(), a.request(Method::Options).end());
    t.response_to(alice(), 200);
    t.carol_answers(&invite);
    t.nothing_to(desk());
}

/// The transferor has its answer from here while its target rings; that may be the one who talks to Alice next.
#[test]
fn a_suspect_hears_nothing_of_a_transferor_that_holds_while_the_target_rings() {
    let mut t = three();
    let (_, mut b) = t.established();
    let invite = t.referred(&mut b);
    t.reply(&invite, 180, carol());
    t.told(desk(), "180 Ringing");
    let hold = with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly"));
    t.receive(desk(), hold);
    let ok = t.response_to(desk(), 200);
    t.receive(desk(), b.ack(ok.cseq()));
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Caller,
    });
    let mut asked = 0;
    for _ in 0..10 {
        t.pass(Millis::from_secs(1));
        while let Some(asked) = t.waiting(alice(), &Method::Options) {
            t.reply(&asked, 200, alice());
        }
        while let Some(offer) = t.waiting(alice(), &Method::Invite) {
            assert!(text(&offer).contains("a=sendrecv"), "{}", text(&offer));
            let ok = response(&offer, 200, alice(), "x");
            t.receive(alice(), with_sdp(ok, &audio(alice())));
            asked += 1;
        }
        t.discard(alice());
    }
    let alive = |what: &Happening| matches!(what, Happening::Alive { .. });
    assert_eq!((asked, t.happened(alive)), (1, 1));
    // It fails, and the transferor has the call, and Alice on hold.
    t.reply(&invite, 603, carol());
    let told = t.request_to(alice(), Method::Invite);
    assert!(text(&told).contains("a=sendonly"), "{}", text(&told));
}

#[test]
fn words_for_the_transferor_wait_for_one_another() {
    let mut t = three();
    let (_, mut b) = t.established();
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 202);
    let first = t.request_to(desk(), Method::Notify);
    let invite = t.request_to(carol(), Method::Invite);
    t.reply(&invite, 180, carol());
    t.carol_answers(&invite);
    t.nothing_to(desk());
    t.reply(&first, 200, desk());
    // What lay between is no news any more.
    t.told(desk(), "200 OK");
}

#[test]
fn a_transferor_that_does_not_know_its_subscription_hears_no_more() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 202);
    let notify = t.request_to(desk(), Method::Notify);
    t.reply(&notify, 481, desk());
    let invite = t.request_to(carol(), Method::Invite);
    t.reply(&invite, 180, carol());
    t.nothing_to(desk());
    let mut c = t.carol_answers(&invite);
    t.word_of_carol();
    t.calls_on(&mut a, &mut c);
}

#[test]
fn the_caller_may_transfer_too() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    t.receive(alice(), refer(&mut a, CAROL));
    t.response_to(alice(), 202);
    t.told(alice(), "100 Trying");
    let invite = t.request_to(carol(), Method::Invite);
    assert!(
        invite
            .header(Name::From)
            .unwrap()
            .contains("bob@example.org")
    );
    let mut c = t.carol_answers(&invite);
    t.told(alice(), "200 OK");
    t.hangs_up(&mut a);
    let word = t.request_to(desk(), Method::Message);
    t.reply(&word, 200, desk());
    t.calls_on(&mut b, &mut c);
}

#[test]
fn a_refer_passes_where_the_operator_wishes() {
    let mut t = Table::new(refer_passes());
    let (_, mut b) = t.established();
    t.receive(desk(), refer(&mut b, CAROL));
    let refer = t.request_to(alice(), Method::Refer);
    assert_eq!(refer.header(Name::ReferTo), Some(CAROL));
    t.reply(&refer, 202, alice());
    t.response_to(desk(), 202);
}
