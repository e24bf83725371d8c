//! Attended transfers (RFC 5589 7): Bob has called Carol before he passes Alice on to her. Both calls are
//! ours, and so their far ends are joined here.

use refork::engine::events::{Ending, Happening};
use refork::engine::ids::Side;
use refork::engine::mint::{ShardKey, hash_shard};
use refork::engine::ports::MediaCommand;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name, reason_phrase};

use crate::people::*;
use crate::table::*;
use crate::transfer::*;

/// Bob calls Carol from the phone that he talks with Alice on. Returns both ends.
pub fn bob_consults_carol(t: &mut Table) -> (Remote, Remote) {
    consulting_under(t, "call2")
}

pub fn consulting_under(t: &mut Table, call_id: &str) -> (Remote, Remote) {
    let invite = request(Method::Invite, "bob", "carol", desk(), call_id);
    t.receive(desk(), with_sdp(invite, &audio(desk())));
    let invite = t.request_to(carol(), Method::Invite);
    t.media_of_carol = media_line(&text(&invite));
    let ok = response(&invite, 200, carol(), "c1").header(
        Name::Allow,
        "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, UPDATE",
    );
    t.receive(carol(), with_sdp(ok, &audio(carol())));
    t.request_to(carol(), Method::Ack);
    let ok = t.response_to(desk(), 200);
    let bob = Remote::of_answer(&ok, desk());
    t.receive(desk(), bob.ack(1));
    (bob, Remote::of_invite(&invite, carol(), "c1"))
}

/// What a phone writes into Refer-To to name one of its dialogs (RFC 5589 7.3).
pub fn naming(dialog: &Remote) -> String {
    let tag = |value: &str| value.rsplit_once("tag=").unwrap().1.to_owned();
    format!(
        "<sip:carol@example.org?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}&Require=replaces>",
        dialog.call_id,
        tag(&dialog.remote),
        tag(&dialog.local)
    )
}

fn media_line(description: &str) -> String {
    let line = description.lines().find(|line| line.starts_with("m="));
    line.unwrap().split(" RTP").next().unwrap().into()
}

fn version(description: &str) -> u64 {
    let origin = description.lines().find(|line| line.starts_with("o="));
    origin.unwrap().split(' ').nth(2).unwrap().parse().unwrap()
}

impl Table {
    /// Bob's desk phone refers Alice to Carol, whose phone is asked within the dialog that it has.
    pub fn referred_to(
        &mut self,
        b: &mut Remote,
        consulting: &Remote,
        consulted: &Remote,
    ) -> Message {
        self.receive(desk(), refer(b, &naming(consulting)));
        self.response_to(desk(), 202);
        self.told(desk(), "100 Trying");
        self.asked_to_go(consulted)
    }

    fn asked_to_go(&mut self, consulted: &Remote) -> Message {
        let asked = self.request_to(carol(), Method::Invite);
        assert_eq!(asked.call_id(), consulted.call_id, "nobody rings");
        assert!(asked.to_tag().is_some());
        assert_eq!(asked.header(Name::Replaces), None);
        asked
    }

    /// Carol's phone agrees; it is hers no more what Bob's call was.
    pub fn carol_agrees(&mut self, asked: &Message) {
        let ok = response(asked, 200, carol(), "c1");
        self.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "sendrecv")));
        let ack = self.request_to(carol(), Method::Ack);
        assert_eq!(ack.cseq(), asked.cseq());
    }

    /// Bob's phone is told, and its call with Carol has ended.
    pub fn bob_is_rid_of(&mut self, consulting: &Remote) {
        let (mut bye, mut told) = (false, false);
        for _ in 0..2 {
            let message = self.next_to(desk());
            match message.method() {
                Method::Bye => {
                    assert_eq!(message.call_id(), consulting.call_id);
                    bye = true;
                }
                Method::Notify => {
                    assert_eq!(text(&message), "SIP/2.0 200 OK\r\n");
                    told = true;
                }
                _ => panic!("{}", title(&message)),
            }
            self.reply(&message, 200, desk());
        }
        assert!(bye && told);
    }

    /// Carol is told whom she talks to now.
    pub fn word_of_alice(&mut self) {
        let word = self.request_to(carol(), Method::Message);
        let says = text(&word);
        assert!(says.starts_with("alice is continuing on "), "{says}");
        self.reply(&word, 200, carol());
        self.nothing_to(carol());
    }
}

#[test]
fn the_far_ends_of_two_calls_are_joined_and_nobody_rings() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    // The relay's ports for the call with Alice, in the very session that Carol's phone has.
    let opened = t.media.iter().filter_map(|command| match command {
        MediaCommand::Open { media, side, .. } => Some((*media, *side)),
        _ => None,
    });
    let opened: Vec<_> = opened.collect();
    assert_eq!(opened.len(), 5, "{opened:?}");
    assert_eq!(opened[4], opened[1], "another generation of Bob's side");
    t.carol_agrees(&asked);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
    t.nothing_to(alice());
    t.calls_on(&mut a, &mut c);
    t.hangs_up(&mut b);
    let joined = |what: &Happening| {
        let how = Ending::Joined;
        *what
            == Happening::Ended {
                how,
                undelivered: 0,
            }
    };
    assert_eq!(t.happened(joined), 1);
    // Carol's side is this conversation's: its BYE ends it.
    t.hangs_up(&mut c);
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.nothing_to(desk());
    t.ends_empty();
}

#[test]
fn the_offer_is_the_next_of_the_session_that_the_target_has() {
    let mut t = three();
    let (_, mut b) = t.established();
    let (consulting, c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    let offer = text(&asked);
    assert_eq!(version(&offer), 2, "{offer}");
    assert!(offer.contains("192.0.2.1"), "{offer}");
    t.carol_agrees(&asked);
    // Whatever is offered later goes on from there.
    t.discard(carol());
    t.discard(alice());
}

#[test]
fn an_end_that_another_worker_has_is_joined_too() {
    let worker = |call_id: &str| hash_shard(ShardKey::default(), call_id).0 % 2;
    let first = worker("call1");
    let other = (2..).map(|n| format!("call{n}"));
    let other = other.into_iter().find(|id| worker(id) != first).unwrap();
    let mut t = Table::of_two_workers(settings());
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = consulting_under(&mut t, &other);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.carol_agrees(&asked);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
    // By its tag it belongs to the shard of Bob's call with Carol.
    t.calls_on(&mut a, &mut c);
    let hold = with_sdp(c.request(Method::Invite), &sdp(carol(), 3, "sendonly"));
    t.receive(carol(), hold);
    let held = t.request_to(alice(), Method::Invite);
    let ok = response(&held, 200, alice(), "x1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 2, "recvonly")));
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(carol(), 200);
    t.receive(carol(), c.ack(ok.cseq()));
    // The ACK was lost: who has the dialog says it again.
    let ok = response(&asked, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "sendrecv")));
    assert_eq!(t.request_to(carol(), Method::Ack).cseq(), asked.cseq());
    t.hangs_up(&mut b);
    t.hangs_up(&mut c);
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.ends_empty();
}

#[test]
fn a_lost_target_is_restored_as_any_other() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, c) = bob_consults_carol(&mut t);
    t.register("carol", carols_mobile(), "cm");
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.carol_agrees(&asked);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
    t.hangs_up(&mut b);
    t.carols_mobile_takes_over(&mut a);
}

#[test]
fn a_lost_transferee_is_restored_toward_the_target() {
    let mut t = three();
    t.register("alice", third(), "laptop");
    let (_, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.carol_agrees(&asked);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
    t.receive(carol(), c.message("there?"));
    let there = t.request_to(alice(), Method::Message);
    t.knows_no_call(&there, alice());
    t.response_to(carol(), 202);
    t.discard(alice());
    t.pass(Millis(2_100));
    let mut laptop = t.takes_over(third(), "a2", &audio(third()));
    let there = t.request_to(third(), Method::Message);
    t.reply(&there, 200, third());
    t.word_of_alice();
    t.calls_on(&mut c, &mut laptop);
}

#[test]
fn a_restart_keeps_what_was_joined() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.carol_agrees(&asked);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
    t.restart();
    t.calls_on(&mut a, &mut c);
    t.hangs_up(&mut b);
}

#[test]
fn a_restart_before_the_target_agreed_asks_it_again() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.restart();
    t.pass(Millis(10));
    let again = t.asked_to_go(&c);
    assert!(version(&text(&again)) > version(&text(&asked)));
    t.carol_agrees(&again);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
    t.hangs_up(&mut b);
    t.calls_on(&mut a, &mut c);
}

#[test]
fn after_a_restart_a_target_that_nobody_wants_any_more_has_its_own_session_again() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let before = t.media_of_carol.clone();
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.restart();
    // Nobody knows whether Carol's phone has agreed, and Alice is gone.
    t.hangs_up(&mut a);
    t.pass(Millis(6_100));
    t.discard(desk());
    let again = t.request_to(carol(), Method::Invite);
    assert_eq!(again.call_id(), c.call_id);
    assert!(version(&text(&again)) > version(&text(&asked)));
    assert_eq!(media_line(&text(&again)), before);
    assert_ne!(media_line(&text(&asked)), before);
    let ok = response(&again, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 3, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    t.calls_on(&mut consulting, &mut c);
}

#[test]
fn a_target_that_refuses_the_session_leaves_both_calls_as_they_were() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.reply(&asked, 488, carol());
    t.request_to(carol(), Method::Ack);
    t.told(desk(), "488 Not Acceptable Here");
    t.nothing_to(carol());
    t.nothing_to(alice());
    t.calls_on(&mut a, &mut b);
    t.calls_on(&mut consulting, &mut c);
    // And it may be tried again.
    t.receive(desk(), refer(&mut b, &naming(&consulting)));
    t.response_to(desk(), 202);
    t.discard(desk());
    let asked = t.asked_to_go(&c);
    t.carol_agrees(&asked);
}

#[test]
fn a_target_with_an_offer_of_its_own_is_asked_again() {
    let mut t = three();
    let (_, mut b) = t.established();
    let (consulting, c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.reply(&asked, 491, carol());
    t.request_to(carol(), Method::Ack);
    t.nothing_to(carol());
    t.pass(Millis(2_500));
    let asked = t.asked_to_go(&c);
    t.carol_agrees(&asked);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
}

#[test]
fn a_target_whose_dialog_is_gone_fails_the_transfer_and_is_restored() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.reply(&asked, 481, carol());
    t.request_to(carol(), Method::Ack);
    t.told(desk(), "481 Call/Transaction Does Not Exist");
    t.calls_on(&mut a, &mut b);
    let lost = |what: &Happening| {
        matches!(
            what,
            Happening::Lost {
                side: Side::Callee,
                ..
            }
        )
    };
    assert_eq!(t.happened(lost), 1);
}

#[test]
fn a_transferor_that_hangs_up_both_calls_at_once_is_not_waited_for() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.hangs_up(&mut consulting);
    t.hangs_up(&mut b);
    t.nothing_to(carol());
    t.nothing_to(alice());
    t.carol_agrees(&asked);
    t.told(desk(), "200 OK");
    t.nothing_to(desk());
    t.word_of_carol();
    t.word_of_alice();
    t.calls_on(&mut a, &mut c);
    t.hangs_up(&mut a);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    t.ends_empty();
}

#[test]
fn a_target_that_refuses_after_the_transferor_left_ends_both_calls() {
    let mut t = three();
    let (_, mut b) = t.established();
    let (mut consulting, c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.receive(desk(), consulting.request(Method::Bye).end());
    t.receive(desk(), b.request(Method::Bye).end());
    t.discard(desk());
    t.reply(&asked, 488, carol());
    t.request_to(carol(), Method::Ack);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    let bye = t.request_to(alice(), Method::Bye);
    assert!(bye.header(Name::Reason).unwrap().contains("cause=488"));
    t.reply(&bye, 200, alice());
    t.discard(desk());
    t.ends_empty();
}

#[test]
fn a_target_that_hangs_up_meanwhile_fails_the_transfer() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.hangs_up(&mut c);
    t.reply(&asked, 487, carol());
    let mut bye = None;
    for _ in 0..2 {
        let message = t.next_to(desk());
        match message.method() {
            Method::Bye => bye = Some(message.clone()),
            _ => assert_eq!(text(&message), "SIP/2.0 480 Temporarily Unavailable\r\n"),
        }
        t.reply(&message, 200, desk());
    }
    assert_eq!(bye.unwrap().call_id(), consulting.call_id);
    t.calls_on(&mut a, &mut b);
}

#[test]
fn a_transferee_that_hangs_up_meanwhile_leaves_the_other_call_as_it_was() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.hangs_up(&mut a);
    t.told(desk(), "487 Request Terminated");
    let bye = t.request_to(desk(), Method::Bye);
    assert_eq!(bye.call_id(), b.call_id);
    t.reply(&bye, 200, desk());
    // Carol's phone agrees before it hears of that, and is told what stands.
    let ok = response(&asked, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 2, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    let again = t.request_to(carol(), Method::Invite);
    assert!(version(&text(&again)) > version(&text(&asked)));
    let ok = response(&again, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &sdp(carol(), 3, "sendrecv")));
    t.request_to(carol(), Method::Ack);
    t.calls_on(&mut consulting, &mut c);
    t.hangs_up(&mut consulting);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    t.ends_empty();
}

#[test]
fn a_target_that_talks_otherwise_costs_the_transferee_one_invite() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, mut c) = bob_consults_carol(&mut t);
    let asked = t.referred_to(&mut b, &consulting, &c);
    let ok = response(&asked, 200, carol(), "c1");
    t.receive(carol(), with_sdp(ok, &g722(carol())));
    t.request_to(carol(), Method::Ack);
    let again = t.request_to(alice(), Method::Invite);
    t.receive(
        alice(),
        with_sdp(response(&again, 200, alice(), "x1"), &g722(alice())),
    );
    t.request_to(alice(), Method::Ack);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
    t.calls_on(&mut a, &mut c);
}

#[test]
fn of_two_calls_that_are_referred_to_one_another_one_is() {
    let mut t = three();
    let (_, mut b) = t.established();
    let (mut consulting, c) = bob_consults_carol(&mut t);
    // Bob's phone sends both, in one breath.
    let (one, two) = (
        refer(&mut b, &naming(&consulting)),
        refer(&mut consulting, &naming(&b)),
    );
    t.receive(desk(), one);
    t.receive(desk(), two);
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    t.response_to(desk(), 491);
    let asked = t.asked_to_go(&c);
    t.carol_agrees(&asked);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    t.word_of_alice();
}

#[test]
fn a_target_that_is_not_free_is_invited_with_replaces() {
    let mut t = three();
    let (_, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let options = c.request(Method::Options);
    t.receive(carol(), options.header(Name::Supported, "replaces").end());
    let options = t.request_to(desk(), Method::Options);
    t.reply(&options, 200, desk());
    t.response_to(carol(), 200);
    // A message of Bob's has not reached her.
    t.receive(desk(), consulting.message("one moment"));
    t.request_to(carol(), Method::Message);
    t.receive(desk(), refer(&mut b, &naming(&consulting)));
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    let invite = t.request_to(carol(), Method::Invite);
    // RFC 3891: her own dialog, as she knows it.
    let tag = |value: &str| value.rsplit_once("tag=").unwrap().1.to_owned();
    let expected = format!("{};to-tag=c1;from-tag={}", c.call_id, tag(&c.remote));
    assert_eq!(invite.header(Name::Replaces), Some(&*expected));
    t.reply(&invite, 481, carol());
    t.request_to(carol(), Method::Ack);
    t.told(desk(), "481 Call/Transaction Does Not Exist");
}

#[test]
fn a_target_that_is_not_free_takes_the_replaces_and_its_call_with_the_transferor_ends() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (mut consulting, mut c) = bob_consults_carol(&mut t);
    let options = c.request(Method::Options);
    t.receive(carol(), options.header(Name::Supported, "replaces").end());
    let options = t.request_to(desk(), Method::Options);
    t.reply(&options, 200, desk());
    t.response_to(carol(), 200);
    t.receive(desk(), consulting.message("one moment"));
    let message = t.request_to(carol(), Method::Message);
    t.receive(desk(), refer(&mut b, &naming(&consulting)));
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    let invite = t.request_to(carol(), Method::Invite);
    assert!(invite.header(Name::Replaces).is_some());
    // RFC 3891 3: she takes it in place of the other, and ends that.
    t.reply(&message, 200, carol());
    t.response_to(desk(), 200);
    let ok = response(&invite, 200, carol(), "c2");
    t.receive(carol(), with_sdp(ok, &audio(carol())));
    t.request_to(carol(), Method::Ack);
    t.hangs_up(&mut c);
    t.bob_is_rid_of(&consulting);
    t.word_of_carol();
    let mut new = Remote::of_invite(&invite, carol(), "c2");
    t.calls_on(&mut a, &mut new);
    t.hangs_up(&mut b);
    t.hangs_up(&mut a);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    t.ends_empty();
}

#[test]
fn only_a_call_of_ones_own_is_joined() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, _) = bob_consults_carol(&mut t);
    // Alice has no call with Carol, whatever she has overheard.
    t.receive(alice(), refer(&mut a, &naming(&consulting)));
    t.response_to(alice(), 603);
    // Nor is there anybody at the other end of the very call but who is to be transferred.
    let itself = naming(&b);
    t.receive(desk(), refer(&mut b, &itself));
    t.response_to(desk(), 603);
    let mut ended = consulting.clone();
    ended.call_id.push('x');
    t.receive(desk(), refer(&mut b, &naming(&ended)));
    t.response_to(desk(), 603);
    t.nothing_to(carol());
    t.calls_on(&mut a, &mut b);
}

#[test]
fn a_shard_that_does_not_answer_leaves_the_call_as_it_was() {
    let mut t = three();
    let (mut a, mut b) = t.established();
    let (consulting, _) = bob_consults_carol(&mut t);
    t.inquiries_lost = true;
    t.receive(desk(), refer(&mut b, &naming(&consulting)));
    t.nothing_to(desk());
    t.receive(desk(), refer(&mut b, CAROL));
    t.response_to(desk(), 491);
    t.pass(Millis(2_100));
    t.response_to(desk(), 500);
    t.calls_on(&mut a, &mut b);
    t.receive(desk(), refer(&mut b, &naming(&consulting)));
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.response_to(desk(), 481);
    t.reply(&bye, 200, desk());
}

/// A call between Bob and Carol that Refork knows nothing of.
const ELSEWHERE: &str = "<sip:carol@example.org?Replaces=far%40pbx%3Bto-tag%3Dt1%3Bfrom-tag%3Df1>";

#[test]
fn a_target_that_must_not_be_replaced_is_simply_called() {
    for status in [403, 420, 481] {
        let mut t = three();
        let (mut a, mut b) = t.established();
        t.receive(desk(), refer(&mut b, ELSEWHERE));
        t.response_to(desk(), 202);
        t.told(desk(), "100 Trying");
        let invite = t.request_to(carol(), Method::Invite);
        let replaces = invite.header(Name::Replaces);
        assert_eq!(replaces, Some("far@pbx;to-tag=t1;from-tag=f1"));
        t.reply(&invite, status, carol());
        t.request_to(carol(), Method::Ack);
        let invite = t.request_to(carol(), Method::Invite);
        assert_eq!(invite.header(Name::Replaces), None, "{status}");
        let mut c = t.carol_answers(&invite);
        t.told(desk(), "200 OK");
        t.word_of_carol();
        t.calls_on(&mut a, &mut c);
    }
}

#[test]
fn a_target_that_says_no_is_not_called_again() {
    for status in [403, 486, 603] {
        let mut t = three();
        let (mut a, mut b) = t.established();
        t.receive(desk(), refer(&mut b, ELSEWHERE));
        t.response_to(desk(), 202);
        t.told(desk(), "100 Trying");
        let mut invite = t.request_to(carol(), Method::Invite);
        if status == 403 {
            t.reply(&invite, status, carol());
            t.request_to(carol(), Method::Ack);
            invite = t.request_to(carol(), Method::Invite);
        }
        t.reply(&invite, status, carol());
        t.request_to(carol(), Method::Ack);
        t.nothing_to(carol());
        t.told(desk(), &format!("{status} {}", reason_phrase(status)));
        t.calls_on(&mut a, &mut b);
    }
}

/// Either end of the named call may be the one that is sought.
#[test]
fn a_transfer_to_a_call_that_is_being_restored_is_put_off() {
    for carol_is_lost in [true, false] {
        let mut t = three();
        let (_, mut b) = t.established();
        let (consulting, _) = bob_consults_carol(&mut t);
        if carol_is_lost {
            t.bob_is_lost();
        } else {
            t.alice_is_lost();
        }
        t.discard(carol());
        t.discard(desk());
        t.receive(desk(), refer(&mut b, &naming(&consulting)));
        let later = t.response_to(desk(), 500);
        assert!(later.header(Name::RetryAfter).is_some(), "{carol_is_lost}");
        t.nothing_to(alice());
    }
}
