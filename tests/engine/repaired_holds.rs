//! Who takes a call, or takes it back, that the other side holds, or has changed otherwise meanwhile (RFC 3264 6.1).

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::repair::replaces;
use crate::table::*;

const HOLDS: [(&str, &str); 2] = [("sendonly", "recvonly"), ("inactive", "inactive")];

fn direction(message: &Message) -> String {
    let body = text(message);
    let mut lines = body.lines().filter_map(|line| line.strip_prefix("a="));
    let found = lines.find(|line| !line.contains(':'));
    found.unwrap_or("sendrecv").to_owned()
}

fn elsewhere() -> SocketAddr {
    phone("203.0.113.9:5060")
}

/// Alice holds, and Bob's desk phone hears of it.
fn alice_holds(t: &mut Table, a: &mut Remote, (hold, answer): (&str, &str)) {
    let offer = sdp(alice(), 2, hold);
    t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
    let offer = t.request_to(desk(), Method::Invite);
    let ok = response(&offer, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &sdp(desk(), 2, answer)));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
}

/// Bob's desk phone takes its sound one way, and Alice's answers.
fn bob_turns(t: &mut Table, b: &mut Remote, (way, answer): (&str, &str)) {
    let offer = sdp(desk(), 2, way);
    t.receive(desk(), with_sdp(b.request(Method::Invite), &offer));
    let asked = t.request_to(alice(), Method::Invite);
    let ok = response(&asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 2, answer)));
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(desk(), 200);
    t.receive(desk(), b.ack(ok.cseq()));
}

/// Alice offers something while Bob is sought, and is answered here.
fn alice_offers(t: &mut Table, a: &mut Remote, offer: &str) {
    t.receive(alice(), with_sdp(a.request(Method::Invite), offer));
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
}

/// Bob's desk phone is lost, and his mobile rings; Alice holds before or after.
fn held_and_lost(held_before: bool, hold: (&str, &str)) -> (Table, Remote, Remote, Message) {
    let mut t = two();
    let (mut a, b) = t.established();
    if held_before {
        alice_holds(&mut t, &mut a, hold);
    }
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.discard(desk());
    let rings = t.request_to(mobile(), Method::Invite);
    t.reply(&rings, 180, mobile());
    if !held_before {
        alice_offers(&mut t, &mut a, &sdp(alice(), 2, hold.0));
    }
    (t, a, b, rings)
}

fn takes_by_replaces(t: &mut Table, b: &Remote, at: SocketAddr, offer: &str) -> (Message, Remote) {
    let invite = request(Method::Invite, "bob", "alice", at, "repair");
    let invite = invite.header(Name::Replaces, replaces(b));
    t.receive(at, with_sdp(invite, offer));
    let ok = t.response_to(at, 200);
    let dialog = Remote::of_answer(&ok, at);
    t.receive(at, dialog.ack(1));
    (ok, dialog)
}

/// All that Alice has is the word that Bob is elsewhere.
fn alice_is_told_where_bob_is(t: &mut Table) {
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
}

/// She takes her hold off, and who has the call hears of it.
fn alice_resumes(t: &mut Table, a: &mut Remote, at: SocketAddr) {
    let offer = sdp(alice(), 9, "sendrecv");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
    let resumed = t.next_to(at);
    assert_eq!(direction(&resumed), "sendrecv");
    let ok = response(&resumed, 200, at, "b1");
    t.receive(at, with_sdp(ok, &sdp(at, 9, "sendrecv")));
    let ok = t.response_to(alice(), 200);
    assert_eq!(direction(&ok), "sendrecv");
}

#[test]
fn who_takes_a_call_by_replaces_is_told_that_the_other_side_holds() {
    for hold in HOLDS {
        for held_before in [true, false] {
            let (mut t, mut a, b, _) = held_and_lost(held_before, hold);
            let at = elsewhere();
            let (ok, _) = takes_by_replaces(&mut t, &b, at, &audio(at));
            assert_eq!(direction(&ok), hold.0, "{hold:?} {held_before}");
            alice_is_told_where_bob_is(&mut t);
            t.request_to(mobile(), Method::Cancel);
            alice_resumes(&mut t, &mut a, at);
        }
        // Nobody was lost.
        let mut t = two();
        let (mut a, b) = t.established();
        alice_holds(&mut t, &mut a, hold);
        let (ok, _) = takes_by_replaces(&mut t, &b, mobile(), &audio(mobile()));
        assert_eq!(direction(&ok), hold.0, "{hold:?}");
        alice_is_told_where_bob_is(&mut t);
        t.nothing_to(mobile());
        alice_resumes(&mut t, &mut a, mobile());
    }
}

#[test]
fn who_is_held_by_a_phone_is_off_it_once_another_takes_the_call_without() {
    let mut t = two();
    let (_, mut b) = t.established();
    bob_turns(&mut t, &mut b, ("sendonly", "recvonly"));
    let (ok, _) = takes_by_replaces(&mut t, &b, mobile(), &audio(mobile()));
    assert_eq!(direction(&ok), "sendrecv");
    let resumed = t.waiting(alice(), &Method::Invite);
    assert_eq!(direction(&resumed.expect("Alice is off hold")), "sendrecv");
}

/// What Alice's phone wishes is not known before it has answered, however long that takes it.
#[test]
fn what_is_told_of_who_takes_long_to_answer_waits_for_as_long() {
    let mut t = two();
    let (_, mut b) = t.established();
    bob_turns(&mut t, &mut b, ("sendonly", "recvonly"));
    takes_by_replaces(&mut t, &b, mobile(), &audio(mobile()));
    let asked = t.waiting(alice(), &Method::Invite).expect("off hold");
    t.reply(&asked, 100, alice());
    // Bob's phone is found to live: what it was told is held against what Alice says.
    t.icmp(mobile());
    for _ in 0..30 {
        for at in [alice(), mobile()] {
            while let Some(probe) = t.waiting(at, &Method::Options) {
                t.reply(&probe, 200, at);
            }
            assert!(t.waiting(mobile(), &Method::Invite).is_none());
        }
        t.pass(Millis(1_000));
    }
    t.discard(mobile());
    let ok = response(&asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendonly")));
    let told = t.next_to(mobile());
    assert_eq!(direction(&told), "sendonly");
}

/// RFC 3264 6.1: that the survivor only speaks was no more than its answer.
#[test]
fn who_only_listened_and_is_back_to_speak_is_told_that_it_is_heard() {
    for by in [Some(Method::Invite), Some(Method::Update), None] {
        let mut t = two();
        let (_, mut b) = t.established();
        bob_turns(&mut t, &mut b, ("recvonly", "sendonly"));
        t.bob_is_lost();
        t.pass(Millis(2_100));
        t.discard(desk());
        let rings = t.request_to(mobile(), Method::Invite);
        assert_eq!(direction(&rings), "sendrecv");
        t.reply(&rings, 180, mobile());
        let at = elsewhere();
        let case = format!("{by:?}");
        let ok = match by {
            Some(method) => {
                b.at = at;
                let offer = sdp(at, 5, "sendrecv");
                t.receive(at, with_sdp(b.request(method.clone()), &offer));
                let ok = t.response_to(at, 200);
                if method == Method::Invite {
                    t.receive(at, b.ack(ok.cseq()));
                }
                ok
            }
            None => takes_by_replaces(&mut t, &b, at, &audio(at)).0,
        };
        assert_eq!(direction(&ok), "sendrecv", "{case}");
        let resumed = t.waiting(alice(), &Method::Invite).expect(&case);
        assert_eq!(direction(&resumed), "sendrecv", "{case}");
        let ok = response(&resumed, 200, alice(), "tcall1");
        t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendrecv")));
        // Of who takes the call from elsewhere she hears that first.
        t.waiting(alice(), &Method::Ack).expect(&case);
        t.pass(Millis(5_000));
        for again in [Method::Invite, Method::Update] {
            assert!(t.waiting(at, &again).is_none(), "{case}");
            assert!(t.waiting(alice(), &again).is_none(), "{case}");
        }
    }
}

#[test]
fn who_picks_up_a_call_that_is_on_hold_is_told_so() {
    for (hold, answer) in HOLDS {
        let mut t = two();
        t.alice_invites(&sdp(alice(), 1, hold));
        let invite = t.request_to(desk(), Method::Invite);
        t.receive(desk(), response(&invite, 180, desk(), "b1").end());
        t.response_to(alice(), 180);
        let at = third();
        let replaces = format!(
            "{};to-tag={};from-tag=b1;early-only",
            invite.call_id(),
            invite.from_tag().unwrap()
        );
        let pickup = request(Method::Invite, "carol", "alice", at, "pickup");
        let pickup = pickup.header(Name::Replaces, replaces);
        t.receive(at, with_sdp(pickup, &audio(at)));
        assert_eq!(direction(&t.response_to(at, 200)), hold);
        assert_eq!(direction(&t.response_to(alice(), 200)), answer);
        // The same where it rings again.
        let (mut t, mut a, _, rings) = held_and_lost(true, (hold, answer));
        let replaces = format!(
            "{};to-tag={};from-tag=x1;early-only",
            rings.call_id(),
            rings.from_tag().unwrap()
        );
        let pickup = request(Method::Invite, "dave", "alice", at, "pickup");
        let pickup = pickup.header(Name::Replaces, replaces);
        t.receive(at, with_sdp(pickup, &audio(at)));
        let ok = t.response_to(at, 200);
        assert_eq!(direction(&ok), hold);
        t.receive(at, Remote::of_answer(&ok, at).ack(1));
        alice_is_told_where_bob_is(&mut t);
        alice_resumes(&mut t, &mut a, at);
    }
}

/// It says what it wishes all along, or only where it is now.
#[test]
fn who_comes_back_by_an_offer_in_its_dialog_leaves_a_survivor_alone_that_holds() {
    for hold in HOLDS {
        for method in [Method::Invite, Method::Update] {
            for (held_before, moved) in [(true, true), (true, false), (false, true)] {
                let (mut t, mut a, mut b, _) = held_and_lost(held_before, hold);
                let at = if moved { elsewhere() } else { desk() };
                b.at = at;
                let offer = sdp(at, 5, "sendrecv");
                t.receive(at, with_sdp(b.request(method.clone()), &offer));
                let ok = t.response_to(at, 200);
                let case = format!("{hold:?} {method:?} {held_before} {moved}");
                assert_eq!(direction(&ok), hold.0, "{case}");
                if method == Method::Invite {
                    t.receive(at, b.ack(ok.cseq()));
                }
                t.nothing_to(alice());
                t.request_to(mobile(), Method::Cancel);
                let repaired = |what: &Happening| matches!(what, Happening::Repaired { .. });
                assert_eq!(t.happened(repaired), 1);
                t.pass(Millis(100));
                t.nothing_to(at);
                alice_resumes(&mut t, &mut a, at);
            }
        }
    }
}

#[test]
fn who_comes_back_without_a_session_is_offered_the_one_that_stands() {
    for hold in [None, Some(HOLDS[0])] {
        let (mut t, mut a, mut b, _) = match hold {
            Some(hold) => held_and_lost(false, hold),
            None => held_and_lost(false, ("sendrecv", "sendrecv")),
        };
        let at = elsewhere();
        b.at = at;
        t.media.clear();
        t.receive(at, b.request(Method::Invite).end());
        let ok = t.response_to(at, 200);
        assert_eq!(direction(&ok), hold.map_or("sendrecv", |hold| hold.0));
        assert!(text(&ok).contains("RTP/AVP 0 8 101"), "{}", text(&ok));
        let answer = hold.map_or("sendrecv", |hold| hold.1);
        let ack = b.numbered(Method::Ack, ok.cseq());
        t.receive(at, with_sdp(ack, &sdp(at, 5, answer)));
        t.nothing_to(alice());
        t.request_to(mobile(), Method::Cancel);
        t.pass(Millis(5_000));
        t.nothing_to(at);
        // Both may offer again.
        alice_resumes(&mut t, &mut a, at);
    }
}

#[test]
fn who_comes_back_and_holds_has_the_survivor_told_and_one_with_another_format_has_it_asked() {
    let (mut t, _, mut b, _) = held_and_lost(false, ("sendrecv", "sendrecv"));
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 5, "sendonly")),
    );
    assert_eq!(direction(&t.response_to(desk(), 200)), "recvonly");
    assert_eq!(
        direction(&t.request_to(alice(), Method::Invite)),
        "sendonly"
    );

    let (mut t, _, mut b, _) = held_and_lost(false, ("sendrecv", "sendrecv"));
    let other = g722(desk());
    t.receive(desk(), with_sdp(b.request(Method::Invite), &other));
    t.nothing_to(desk());
    let asked = t.request_to(alice(), Method::Invite);
    assert!(text(&asked).contains("RTP/AVP 9"), "{}", text(&asked));
}

/// Its dialog was asked where it was, and has not answered: that keeps nothing from it.
#[test]
fn who_comes_back_hears_at_once_what_the_survivor_has_changed() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    t.register_again("bob", elsewhere(), "desk", 2);
    t.request_to(elsewhere(), Method::Update);
    t.bob_is_lost();
    t.pass(Millis(2_100));
    let fewer = sdp(alice(), 2, "sendonly").replace("RTP/AVP 0 8 101", "RTP/AVP 8 101");
    alice_offers(&mut t, &mut a, &fewer);
    for at in [desk(), elsewhere(), mobile()] {
        t.discard(at);
    }
    let at = phone("203.0.113.77:5060");
    b.at = at;
    t.receive(
        at,
        with_sdp(b.request(Method::Invite), &sdp(at, 5, "sendrecv")),
    );
    let ok = t.response_to(at, 200);
    assert_eq!(direction(&ok), "sendonly");
    assert!(text(&ok).contains("RTP/AVP 8 101"), "{}", text(&ok));
    t.receive(at, b.ack(ok.cseq()));
    t.pass(Millis(6_000));
    assert!(t.waiting(at, &Method::Invite).is_none());
    assert!(t.waiting(at, &Method::Update).is_none());
    t.nothing_to(alice());
}

/// It has asked to speak again, was told that the other still holds, and has only moved since.
#[test]
fn who_is_held_and_says_where_it_is_now_stays_on_hold() {
    let mut t = two();
    let (mut a, mut b) = t.established();
    alice_holds(&mut t, &mut a, HOLDS[0]);
    let wish = sdp(desk(), 3, "sendrecv");
    t.receive(desk(), with_sdp(b.request(Method::Invite), &wish));
    let asked = t.request_to(alice(), Method::Invite);
    let ok = response(&asked, 200, alice(), "tcall1");
    t.receive(alice(), with_sdp(ok, &sdp(alice(), 3, "sendonly")));
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(desk(), 200);
    assert_eq!(direction(&ok), "sendonly");
    t.receive(desk(), b.ack(ok.cseq()));
    let at = elsewhere();
    b.at = at;
    for version in [4, 4] {
        let offer = sdp(at, version, "sendrecv");
        t.receive(at, with_sdp(b.request(Method::Invite), &offer));
        let ok = t.response_to(at, 200);
        assert_eq!(direction(&ok), "sendonly");
        t.receive(at, b.ack(ok.cseq()));
        t.nothing_to(alice());
    }
}

#[test]
fn a_call_whose_phone_has_come_back_by_itself_counts_as_restored() {
    let count = |t: &Table| t.engine.list(1)[0].restorations;
    let (mut t, _, mut b, _) = held_and_lost(false, HOLDS[0]);
    assert_eq!(count(&t), 0);
    t.receive(desk(), b.request(Method::Info).end());
    assert_eq!(count(&t), 1);
    let (mut t, _, b, _) = held_and_lost(false, HOLDS[0]);
    takes_by_replaces(&mut t, &b, elsewhere(), &audio(elsewhere()));
    assert_eq!(count(&t), 1);
    // Nobody was lost.
    let mut t = two();
    let (_, b) = t.established();
    takes_by_replaces(&mut t, &b, mobile(), &audio(mobile()));
    assert_eq!(count(&t), 0);
}

/// A digit or a text brings it back: the probe of its dialog that is open went where it no longer is.
#[test]
fn who_comes_back_by_another_request_hears_at_once_what_the_survivor_has_changed() {
    for method in [Method::Info, Method::Message] {
        let mut t = two();
        let (mut a, mut b) = t.established();
        t.register_again("bob", elsewhere(), "desk", 2);
        t.request_to(elsewhere(), Method::Update);
        t.bob_is_lost();
        t.pass(Millis(2_100));
        alice_offers(&mut t, &mut a, &sdp(alice(), 2, "sendonly"));
        for at in [desk(), elsewhere(), mobile()] {
            t.discard(at);
        }
        let at = phone("203.0.113.77:5060");
        b.at = at;
        let request = b.request(method.clone());
        t.receive(at, request.body("text/plain", b"5"));
        let told = t.request_to(at, Method::Update);
        assert_eq!(direction(&told), "sendonly", "{method:?}");
        let ok = response(&told, 200, at, "b1");
        t.receive(at, with_sdp(ok, &sdp(at, 5, "recvonly")));
        let carried = t.request_to(alice(), method.clone());
        t.reply(&carried, 200, alice());
        t.pass(Millis(6_000));
        assert!(t.waiting(at, &Method::Update).is_none());
        assert!(t.waiting(alice(), &Method::Invite).is_none());
    }
}

/// By its dialog, or by Replaces; the ACK says that it holds.
#[test]
fn who_comes_back_without_a_session_and_holds_has_the_survivor_told() {
    for (hold, _) in HOLDS {
        for replaced in [false, true] {
            let (mut t, _, mut b, _) = held_and_lost(false, ("sendrecv", "sendrecv"));
            let at = elsewhere();
            b.at = at;
            let ack = if replaced {
                let invite = request(Method::Invite, "bob", "alice", at, "repair");
                t.receive(at, invite.header(Name::Replaces, replaces(&b)).end());
                let ok = t.response_to(at, 200);
                Remote::of_answer(&ok, at).numbered(Method::Ack, 1)
            } else {
                t.receive(at, b.request(Method::Invite).end());
                let ok = t.response_to(at, 200);
                b.numbered(Method::Ack, ok.cseq())
            };
            assert!(t.waiting(alice(), &Method::Invite).is_none());
            t.receive(at, with_sdp(ack, &sdp(at, 5, hold)));
            let told = t.waiting(alice(), &Method::Invite);
            assert_eq!(direction(&told.expect("told")), hold, "{replaced}");
            assert!(t.waiting(at, &Method::Invite).is_none());
        }
    }
}

fn origin(message: &Message) -> String {
    let body = text(message);
    let line = body.lines().find(|line| line.starts_with("o="));
    let fields = line.unwrap().split(' ');
    fields.take(2).collect::<Vec<_>>().join(" ")
}

/// Alice's hold is under way to the phone that is replaced: what that was told is nothing that the next one knows of.
#[test]
fn who_takes_a_call_in_the_middle_of_an_offer_has_a_session_of_its_own() {
    for by in [Method::Invite, Method::Update] {
        let mut t = two();
        let (mut a, b) = t.established();
        let hold = sdp(alice(), 2, "sendonly");
        t.receive(alice(), with_sdp(a.request(by.clone()), &hold));
        let open = t.request_to(desk(), by.clone());
        let invite = request(Method::Invite, "bob", "alice", mobile(), "repair");
        let invite = invite.header(Name::Replaces, replaces(&b));
        t.receive(mobile(), with_sdp(invite, &audio(mobile())));
        let taken = t.response_to(mobile(), 200);
        assert_ne!(origin(&taken), origin(&open));
        let m = Remote::of_answer(&taken, mobile());
        t.receive(mobile(), m.ack(1));
        let held = t.response_to(alice(), 200);
        if by == Method::Invite {
            t.receive(alice(), a.ack(held.cseq()));
        }
        let told = (0..50).find_map(|_| {
            t.pass(Millis(100));
            t.waiting(mobile(), &Method::Invite)
        });
        let told = told.expect("it hears of the hold");
        assert_eq!(direction(&told), "sendonly");
        assert_eq!(origin(&told), origin(&taken));
        let ok = response(&told, 200, mobile(), "x1");
        t.receive(mobile(), with_sdp(ok, &sdp(mobile(), 2, "recvonly")));
        t.request_to(mobile(), Method::Ack);
        t.pass(Millis(5_000));
        assert!(t.waiting(mobile(), &Method::Invite).is_none());
        assert!(t.waiting(alice(), &Method::Invite).is_none());
    }
}
