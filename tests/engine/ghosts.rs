//! Lost dialogs: the phone that comes back, soon or late, is left without a call.

use std::collections::BTreeSet;

use refork::engine::events::{Event, Forgotten};
use refork::engine::ids::ConversationId;
use refork::engine::settings::Settings;
use refork::engine::snapshot::Snapshot;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::repair::replaces;
use crate::table::*;
use crate::transfer::{CAROL, carol, refer};
use crate::unjoined::only_the_mobile;

impl Table {
    /// Bob's desk phone is lost, and the mobile goes on. Returns the BYE of the old dialog.
    fn desk_is_left_for_the_mobile(&mut self) -> Message {
        self.established();
        self.bob_is_lost();
        self.pass(Millis(2_100));
        self.takes_over(mobile(), "m1", &audio(mobile()));
        let notice = self.request_to(alice(), Method::Message);
        self.reply(&notice, 200, alice());
        let bye = self.waiting(desk(), &Method::Bye).expect("the BYE");
        self.discard(desk());
        bye
    }

    /// Lets time pass in which the kernel finds nobody at the desk phone's address. Returns how many BYEs went there.
    fn nobody_answers_arp_for(&mut self, seconds: u64) -> usize {
        for _ in 0..seconds {
            self.icmp(desk());
            self.pass(Millis(1000));
        }
        let mut byes = 0;
        while self.waiting(desk(), &Method::Bye).is_some() {
            byes += 1;
        }
        self.discard(desk());
        byes
    }
}

#[test]
fn the_bye_of_a_lost_dialog_goes_out_again_in_spite_of_an_icmp() {
    let mut t = two();
    let bye = t.desk_is_left_for_the_mobile();
    assert!(t.nobody_answers_arp_for(20) >= 6);
    t.pass(Millis(4_000));
    let again = t.waiting(desk(), &Method::Bye).expect("another BYE");
    assert_eq!(again.branch(), bye.branch(), "it is the same transaction");
    // Now it is there, and it is enough.
    t.reply(&again, 200, desk());
    t.discard(desk());
    t.pass(Millis::from_secs(3000));
    assert!(t.waiting(desk(), &Method::Bye).is_none());
    t.nothing_to(alice());
}

#[test]
fn a_phone_that_never_registers_is_told_once_more_by_time() {
    let mut t = two();
    let first = t.desk_is_left_for_the_mobile();
    t.nobody_answers_arp_for(58);
    t.pass(Millis(3_000));
    let again = t.waiting(desk(), &Method::Bye).expect("another BYE");
    assert_ne!(again.branch(), first.branch());
    assert!(again.cseq() > first.cseq());
    t.reply(&again, 481, desk());
    t.discard(desk());
    t.pass(Millis::from_secs(3000));
    t.nothing_to(desk());
}

#[test]
fn a_phone_busy_with_a_call_that_it_has_lost_is_freed_of_it_and_asked_again() {
    let mut t = two();
    let first = t.desk_is_left_for_the_mobile();
    t.nobody_answers_arp_for(40);
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let busy = t.request_to(desk(), Method::Invite);
    t.reply(&busy, 486, desk());
    let bye = t.waiting(desk(), &Method::Bye).expect("its BYE");
    assert_eq!(bye.call_id(), first.call_id());
    t.reply(&bye, 200, desk());
    t.discard(desk());
    t.pass(Millis(500));
    let again = t.request_to(desk(), Method::Invite);
    assert_eq!(again.header(Name::Replaces), None);
}

/// Who is busy with the dialog that was lost last has the BYE of that, whoever was freed before it.
#[test]
fn a_lost_phone_is_freed_of_the_call_after_another_was_freed_of_it() {
    let mut t = two();
    t.desk_is_left_for_the_mobile();
    t.nobody_answers_arp_for(40);
    t.discard(mobile());
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let unheard = t.request_to(mobile(), Method::Invite);
    let busy = t.request_to(desk(), Method::Invite);
    t.reply(&busy, 486, desk());
    let bye = t.waiting(desk(), &Method::Bye).expect("its BYE");
    t.reply(&bye, 200, desk());
    t.discard(desk());
    t.reply(&unheard, 486, mobile());
    let bye = t.waiting(mobile(), &Method::Bye).expect("its BYE, too");
    assert_ne!(bye.call_id(), unheard.call_id());
    t.reply(&bye, 200, mobile());
    t.discard(mobile());
    t.pass(Millis(500));
    for at in [desk(), mobile()] {
        let again = t.request_to(at, Method::Invite);
        assert_eq!(again.header(Name::Replaces), None);
    }
}

/// A BYE by time comes when it was to come.
fn is_told_by_time(t: &mut Table, first: &Message, put_off: impl FnOnce(&mut Table)) {
    t.nobody_answers_arp_for(40);
    put_off(t);
    t.pass(Millis::from_secs(22));
    let mut byes = std::iter::from_fn(|| t.waiting(desk(), &Method::Bye));
    let again = byes.find(|bye| bye.call_id() == first.call_id() && bye.cseq() > first.cseq());
    assert!(again.is_some(), "another BYE");
}

#[test]
fn the_end_of_the_call_puts_off_no_bye_by_time() {
    let mut t = two();
    let first = t.desk_is_left_for_the_mobile();
    is_told_by_time(&mut t, &first, |t| {
        let conversation = t.engine.list(1)[0].key;
        t.input(refork::engine::ports::Input::Command(
            refork::engine::ports::Command::HangUp { conversation },
        ));
    });
}

#[test]
fn the_loss_of_another_phone_puts_off_no_bye_by_time() {
    let mut t = two();
    t.register("bob", third(), "third");
    let first = t.desk_is_left_for_the_mobile();
    is_told_by_time(&mut t, &first, |t| {
        t.discard(third());
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.takes_over(third(), "s1", &audio(third()));
        let notice = t.request_to(alice(), Method::Message);
        t.reply(&notice, 200, alice());
    });
}

#[test]
fn a_phone_that_is_gone_for_good_is_left_alone_after_an_hour() {
    let mut t = two();
    let first = t.desk_is_left_for_the_mobile();
    let mut branches = BTreeSet::new();
    for minute in 1..180 {
        t.pass(Millis::from_secs(60));
        if minute % 50 == 0 {
            t.register_again("bob", mobile(), "mobile", minute);
        }
        while let Some(bye) = t.waiting(desk(), &Method::Bye) {
            assert!(minute < 65, "another BYE after {minute} minutes");
            branches.extend(bye.branch().map(str::to_owned));
        }
    }
    branches.remove(first.branch().unwrap());
    assert_eq!(branches.len(), 6);
    t.nothing_to(alice());
}

#[test]
fn a_restart_does_not_forget_whom_a_lost_dialog_is_with() {
    let mut t = two();
    let first = t.desk_is_left_for_the_mobile();
    t.restart();
    // Its transaction has ended with us.
    t.pass(Millis(1));
    let again = t.request_to(desk(), Method::Bye);
    assert_eq!(again.call_id(), first.call_id());
    assert!(again.cseq() > first.cseq());
}

/// Bob's mobile takes the call after the desk phone has it, and does not hear that nobody waits for it. Returns our
/// BYE, and its 2xx.
fn taken_too_late(t: &mut Table) -> (Message, bytes::Bytes) {
    t.alice_invites(&audio(alice()));
    let late = t.request_to(mobile(), Method::Invite);
    t.takes_over(desk(), "b1", &audio(desk()));
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.discard(mobile());
    let ok = with_sdp(response(&late, 200, mobile(), "m1"), &audio(mobile()));
    t.receive(mobile(), ok.clone());
    t.request_to(mobile(), Method::Ack);
    let bye = t.request_to(mobile(), Method::Bye);
    t.discard(mobile());
    (bye, ok)
}

#[test]
fn a_restart_does_not_forget_who_took_the_call_too_late() {
    let mut t = two();
    let (first, _) = taken_too_late(&mut t);
    assert_eq!(first.to_tag(), Some("m1"));
    t.restart();
    t.pass(Millis(1));
    let again = t.request_to(mobile(), Method::Bye);
    assert_eq!(again.call_id(), first.call_id());
    assert_eq!(again.to_tag(), Some("m1"));
    assert!(again.cseq() > first.cseq());
    t.reply(&again, 200, mobile());
    t.discard(mobile());
    t.pass(Millis::from_secs(200));
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
}

#[test]
fn who_took_the_call_too_late_is_told_so_when_it_is_back() {
    let mut t = two();
    let (first, _) = taken_too_late(&mut t);
    t.pass(Millis(40_000));
    t.discard(mobile());
    t.register_again("bob", mobile(), "mobile", 2);
    let again = t.request_to(mobile(), Method::Bye);
    assert_eq!(again.call_id(), first.call_id());
    assert_ne!(again.branch(), first.branch());
}

#[test]
fn a_2xx_that_came_too_late_and_comes_again_has_its_ack_and_no_other_bye() {
    let mut t = two();
    let (_, ok) = taken_too_late(&mut t);
    t.receive(mobile(), ok);
    t.request_to(mobile(), Method::Ack);
    t.nothing_to(mobile());
}

#[test]
fn after_a_restart_too_a_phone_that_registers_is_left_without_a_call() {
    let mut t = two();
    let first = t.desk_is_left_for_the_mobile();
    t.restart();
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    let again = t.request_to(desk(), Method::Bye);
    assert_eq!(again.call_id(), first.call_id());
}

#[test]
fn a_farewell_reaches_a_phone_whose_network_is_down_for_a_moment() {
    let mut t = two();
    let (mut a, _) = t.established();
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    assert!(t.nobody_answers_arp_for(20) >= 6);
    t.pass(Millis(4_000));
    let again = t.waiting(desk(), &Method::Bye).expect("another BYE");
    assert_eq!(again.branch(), bye.branch());
    t.reply(&again, 200, desk());
    t.discard(desk());
    t.ends_empty();
}

#[test]
fn a_phone_that_rings_behind_a_network_that_fails_is_cancelled() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    // It gets the INVITE, and its 180 is lost.
    let invite = t.request_to(desk(), Method::Invite);
    t.icmp(desk());
    t.takes_over(mobile(), "m1", &audio(mobile()));
    t.discard(desk());
    t.reply(&invite, 180, desk());
    let cancel = t.waiting(desk(), &Method::Cancel).expect("a CANCEL");
    assert_eq!(cancel.call_id(), invite.call_id());
}

/// Nobody came back, and Alice was told so. Returns the BYE to Bob's desk phone.
fn nobody_came_back() -> (Table, Message) {
    let mut t = Table::new(settings());
    t.established();
    t.bob_is_lost();
    t.pass(Millis::from_secs(60));
    let word = t.request_to(alice(), Method::Message);
    t.reply(&word, 200, alice());
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    let bye = t.waiting(desk(), &Method::Bye).expect("a BYE");
    t.discard(desk());
    (t, bye)
}

#[test]
fn hours_after_the_end_a_phone_that_registers_is_left_without_a_call() {
    let (mut t, bye) = nobody_came_back();
    t.pass(Millis::from_secs(9 * 3600));
    t.discard(desk());
    let back = phone("198.51.100.2:7000");
    t.register_again("bob", back, "desk", 2);
    let again = t.request_to(back, Method::Bye);
    assert_eq!(again.call_id(), bye.call_id());
    assert!(again.cseq() > bye.cseq());
    t.reply(&again, 481, back);
    // Once is enough.
    t.register_again("bob", back, "desk", 3);
    t.nothing_to(back);
}

#[test]
fn another_phone_of_the_same_person_has_no_part_in_it() {
    let (mut t, _) = nobody_came_back();
    t.register("bob", mobile(), "mobile");
    t.nothing_to(mobile());
    t.register("carol", desk(), "desk");
    t.nothing_to(desk());
}

#[test]
fn a_dead_call_is_not_told_of_for_ever() {
    let (mut t, first) = nobody_came_back();
    // By time, for an hour.
    let mut branches = BTreeSet::new();
    for minute in 1..150 {
        t.pass(Millis::from_secs(60));
        while let Some(bye) = t.waiting(desk(), &Method::Bye) {
            assert!(minute < 70, "another BYE after {minute} minutes");
            branches.insert(bye.branch().unwrap().to_owned());
        }
    }
    branches.remove(first.branch().unwrap());
    assert_eq!(branches.len(), 6);
    // One that registers and never answers has had enough after some times.
    t.discard(desk());
    let mut told = 0;
    for cseq in 2..20 {
        t.register_again("bob", desk(), "desk", cseq);
        told += usize::from(t.waiting(desk(), &Method::Bye).is_some());
        t.pass(Millis::from_secs(40));
        t.discard(desk());
    }
    assert_eq!(told, 8);
    let (mut t, _) = nobody_came_back();
    t.pass(Millis::from_secs(13 * 3600));
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    t.nothing_to(desk());
}

#[test]
fn a_dialog_that_was_replaced_is_told_of_after_the_end_too() {
    let mut t = two();
    let first = t.desk_is_left_for_the_mobile();
    t.nobody_answers_arp_for(40);
    let conversation = t.engine.list(1)[0].key;
    t.input(refork::engine::ports::Input::Command(
        refork::engine::ports::Command::HangUp { conversation },
    ));
    for at in [alice(), mobile()] {
        let bye = t.request_to(at, Method::Bye);
        t.reply(&bye, 200, at);
    }
    t.pass(Millis::from_secs(3 * 3600));
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    let again = t.request_to(desk(), Method::Bye);
    assert_eq!(again.call_id(), first.call_id());
}

/// A gateway has many calls, and one registration.
#[test]
fn a_gateway_that_registers_is_told_of_its_dead_calls_bit_by_bit() {
    const CALLS: usize = 50;
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    for call in 0..CALLS {
        let at = phone(&format!("10.1.0.{}:5060", call + 1));
        let invite = request(Method::Invite, "alice", "bob", at, &format!("call{call}"));
        t.receive(at, with_sdp(invite, &audio(at)));
        let invite = t.request_to(desk(), Method::Invite);
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(at, 200);
        t.receive(at, Remote::of_answer(&ok, at).ack(1));
    }
    for known in t.engine.list(100) {
        t.input(refork::engine::ports::Input::Command(
            refork::engine::ports::Command::DeclareLost {
                conversation: known.key,
                side: refork::engine::ids::Side::Callee,
            },
        ));
    }
    // Long after the last BYE by time.
    t.pass(Millis::from_secs(2 * 3600));
    assert_eq!(t.engine.gauges().lost_dialogs, CALLS);
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    let mut told = BTreeSet::new();
    let mut answers = |t: &mut Table| {
        while let Some(bye) = t.waiting(desk(), &Method::Bye) {
            t.reply(&bye, 200, desk());
            told.insert(bye.call_id().to_owned());
        }
        told.len()
    };
    assert_eq!(answers(&mut t), 20);
    t.pass(Millis(1_100));
    assert_eq!(answers(&mut t), CALLS);
    assert_eq!(t.engine.gauges().lost_dialogs, 0);
}

#[test]
fn what_is_told_once_more_after_the_end_is_another_request() {
    let (mut t, first) = nobody_came_back();
    t.pass(Millis::from_secs(61));
    let mut byes = Vec::new();
    while let Some(bye) = t.waiting(desk(), &Method::Bye) {
        byes.push(bye);
    }
    let again = byes.iter().find(|bye| bye.branch() != first.branch());
    let again = again.expect("another BYE");
    assert!(again.cseq() > first.cseq(), "RFC 3261 12.2.1.1");
}

#[test]
fn of_many_lost_dialogs_none_is_forgotten() {
    for restart in [false, true] {
        none_is_forgotten(restart);
    }
}

fn none_is_forgotten(restart: bool) {
    let mut t = two();
    t.established();
    let (mut dialogs, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..6 {
        let (from, to) = match round % 2 {
            0 => (desk(), mobile()),
            _ => (mobile(), desk()),
        };
        t.bob_is_lost();
        t.pass(Millis(2_100));
        let invite = loop {
            // The INVITEs of the rounds before go on until they have a response.
            let invite = t.waiting(to, &Method::Invite).expect("an INVITE");
            if seen.insert(invite.call_id().to_owned()) {
                break invite;
            }
        };
        t.discard(to);
        let tag = format!("m{round}");
        t.receive(to, with_sdp(response(&invite, 200, to, &tag), &audio(to)));
        assert!(t.waiting(to, &Method::Ack).is_some());
        let notice = t.request_to(alice(), Method::Message);
        t.reply(&notice, 200, alice());
        while let Some(bye) = t.waiting(from, &Method::Bye) {
            dialogs.insert(bye.call_id().to_owned());
        }
        while let Some(invite) = t.waiting(from, &Method::Invite) {
            seen.insert(invite.call_id().to_owned());
        }
        t.discard(from);
    }
    assert_eq!(dialogs.len(), 6);
    t.pass(Millis::from_secs(50));
    for at in [desk(), mobile()] {
        t.discard(at);
    }
    if restart {
        t.restart();
    }
    t.pass(Millis::from_secs(240));
    let mut told = BTreeSet::new();
    for at in [desk(), mobile()] {
        while let Some(bye) = t.waiting(at, &Method::Bye) {
            told.insert(bye.call_id().to_owned());
        }
    }
    assert_eq!(told, dialogs);
}

/// The desk phone's dialog is lost, and Bob's mobile has the call. Returns the BYE and the mobile's dialog.
fn lost_and_on_the_mobile() -> (Table, Message, Remote) {
    let mut t = Table::new(Settings {
        upstreams: [("pbx".into(), upstream("sip:192.0.2.60", true))].into(),
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.register("carol", carol(), "carol");
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let on = t.takes_over(mobile(), "m1", &audio(mobile()));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    let bye = t.waiting(desk(), &Method::Bye).expect("the BYE");
    t.discard(desk());
    (t, bye, on)
}

/// Bob's desk phone is back, and hears of its dead call.
fn desk_is_laid_to_rest(t: &mut Table, bye: &Message) {
    t.pass(Millis::from_secs(40));
    t.discard(desk());
    t.register_again("bob", desk(), "desk", 2);
    let again = t.request_to(desk(), Method::Bye);
    assert_eq!(again.call_id(), bye.call_id());
}

#[test]
fn who_passed_the_call_on_hears_of_its_dead_call_at_its_own_phone() {
    let (mut t, bye, mut on) = lost_and_on_the_mobile();
    t.receive(mobile(), refer(&mut on, CAROL));
    t.response_to(mobile(), 202);
    let invite = t.request_to(carol(), Method::Invite);
    t.carol_answers(&invite);
    desk_is_laid_to_rest(&mut t, &bye);
}

#[test]
fn whose_call_somebody_else_took_hears_of_its_dead_call_at_its_own_phone() {
    let (mut t, bye, on) = lost_and_on_the_mobile();
    // A PBX is believed in what it says of who goes on.
    let pbx = phone("192.0.2.60:5060");
    let invite = request(Method::Invite, "carol", "alice", pbx, "taking")
        .header(Name::Replaces, replaces(&on))
        .header(Name::Require, "replaces");
    t.receive(pbx, with_sdp(invite, &audio(pbx)));
    let ok = t.response_to(pbx, 200);
    t.receive(pbx, Remote::of_answer(&ok, pbx).ack(1));
    desk_is_laid_to_rest(&mut t, &bye);
}

#[test]
fn a_restart_does_not_forget_a_farewell_that_nobody_has_answered() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.hangs_up(&mut a);
    let first = t.request_to(desk(), Method::Bye);
    t.restart();
    let again = t.request_to(desk(), Method::Bye);
    assert_eq!(again.call_id(), first.call_id());
    assert!(again.cseq() > first.cseq());
    assert_eq!(t.store.len(), 1);
    t.reply(&again, 200, desk());
    assert!(t.store.is_empty());
    t.restart();
    t.pass(Millis::from_secs(200));
    t.nothing_to(desk());
}

#[test]
fn a_restart_does_not_forget_a_lost_phone_of_a_call_that_has_just_ended() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.bob_is_lost();
    t.discard(desk());
    t.hangs_up(&mut a);
    assert!(t.waiting(desk(), &Method::Bye).is_some());
    t.discard(desk());
    t.restart();
    t.pass(Millis(1));
    let again = t.request_to(desk(), Method::Bye);
    t.reply(&again, 481, desk());
    assert!(t.store.is_empty());
}

/// Nobody has come back in so many calls that have ended.
fn many_graves(calls: u64) -> Table {
    let (mut t, _) = nobody_came_back();
    let (id, kept) = t.store.pop_first().expect("a grave");
    for call in 1..=calls {
        let id = ConversationId(id.0 + call);
        let mut snapshot: Snapshot = rmp_serde::from_slice(&kept).unwrap();
        snapshot.id = id;
        t.store.insert(id, rmp_serde::to_vec(&snapshot).unwrap());
    }
    t
}

#[test]
fn a_restart_after_an_outage_tells_of_many_dead_calls_bit_by_bit() {
    const CALLS: usize = 500;
    let mut t = many_graves(CALLS as u64);
    t.restart();
    let mut told = BTreeSet::new();
    for (second, most) in [200, 400, CALLS].into_iter().enumerate() {
        t.pass(Millis(if second == 0 { 1 } else { 1000 }));
        while let Some(bye) = t.waiting(desk(), &Method::Bye) {
            told.insert(bye.branch().unwrap().to_owned());
        }
        assert_eq!(told.len(), most, "in second {second}");
    }
    assert_eq!(t.engine.gauges().lost_dialogs, CALLS);
    assert_eq!(t.store.len(), CALLS);
}

/// Graves may be kept for an hour: the oldest makes room.
#[test]
fn where_the_store_has_too_many_graves_who_has_just_hung_up_is_not_forgotten() {
    let mut t = many_graves(10_000);
    t.restart();
    let graves = t.store.clone();
    let (mut a, _) = t.established();
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    let forgotten = |t: &Table| {
        let events = t.events.iter().filter_map(|event| match event {
            Event::Forgotten { when, tell } => Some((*when, *tell)),
            _ => None,
        });
        events.collect::<Vec<_>>()
    };
    assert_eq!(forgotten(&t), [(Forgotten::AtRestart, true)]);
    assert_eq!(t.store.len(), 10_000);
    let gone: Vec<_> = graves
        .keys()
        .filter(|id| !t.store.contains_key(id))
        .collect();
    assert_eq!(gone, [graves.first_key_value().unwrap().0]);
    t.store.retain(|id, _| !graves.contains_key(id));
    t.restart();
    let again = t.request_to(desk(), Method::Bye);
    assert_eq!(again.call_id(), bye.call_id());
}

/// Alice's phone does not take what Bob's mobile speaks. The call goes on, and the process dies as he is let go.
#[test]
fn a_restart_does_not_forget_who_was_let_go_while_the_call_goes_on() {
    let (mut t, _) = only_the_mobile();
    t.takes_over(mobile(), "m1", &g722(mobile()));
    let asked = t.request_to(alice(), Method::Invite);
    t.reply(&asked, 488, alice());
    let bye = t.request_to(mobile(), Method::Bye);
    t.discard(mobile());
    t.restart();
    let again = t.request_to(mobile(), Method::Bye);
    assert_eq!(again.call_id(), bye.call_id());
    assert!(again.cseq() > bye.cseq());
    t.reply(&again, 200, mobile());
    t.discard(mobile());
    t.restart();
    t.pass(Millis::from_secs(10));
    assert!(t.waiting(mobile(), &Method::Bye).is_none());
    assert_eq!(t.engine.list(9).len(), 1);
}

#[test]
fn a_farewell_has_its_time_and_is_forgotten() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.hangs_up(&mut a);
    t.pass(Millis::from_secs(31));
    assert_eq!(t.store.len(), 1);
    t.pass(Millis::from_secs(5));
    assert!(t.store.is_empty());
}

/// RFC 3261 15: the BYE to a caller waits for the ACK of its 2xx.
#[test]
fn a_restart_does_not_forget_a_farewell_that_waits_for_an_ack() {
    for acknowledged in [false, true] {
        let (mut t, a, mut b) = crate::partings::answered();
        t.hangs_up(&mut b);
        if acknowledged {
            t.receive(alice(), a.ack(1));
            t.request_to(alice(), Method::Bye);
        }
        t.discard(alice());
        t.restart();
        let bye = t.request_to(alice(), Method::Bye);
        t.reply(&bye, 200, alice());
        assert!(t.store.is_empty());
    }
}
