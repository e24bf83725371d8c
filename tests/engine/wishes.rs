//! An offer of ours alone is open, and something comes between: a loss, a restart, or a phone that does not take it.

use std::collections::BTreeSet;

use refork::engine::ids::Side;
use refork::engine::settings::Settings;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::holds::direction;
use crate::people::*;
use crate::repair::replaces;
use crate::table::*;
use crate::video::told;

/// Bob's mobile, with its dialog.
struct Mobile(Remote);

impl Mobile {
    /// Returns the last re-INVITE that waits for it, and forgets the rest.
    fn asked(&self, t: &mut Table) -> Option<Message> {
        let mut last = None;
        while let Some(one) = t.waiting(mobile(), &Method::Invite) {
            last = Some(one)
                .filter(|one| *one.call_id() == *self.0.call_id)
                .or(last);
        }
        last
    }

    /// Turns the clock, while all phones live. Returns the numbers of what the mobile is asked.
    fn lives(&self, t: &mut Table, span: Millis) -> BTreeSet<u32> {
        let (mut asked, end) = (BTreeSet::new(), t.now + span);
        while t.now < end {
            t.pass(Millis(500));
            for at in [alice(), mobile()] {
                while let Some(probe) = t.waiting(at, &Method::Options) {
                    t.reply(&probe, 200, at);
                }
            }
            asked.extend(self.asked(t).map(|one| one.cseq()));
        }
        asked
    }

    fn agrees(&self, t: &mut Table, offer: &Message, answer: &str) {
        let ok = response(offer, 200, mobile(), "m1");
        t.receive(mobile(), with_sdp(ok, answer));
        while t.waiting(mobile(), &Method::Ack).is_some() {}
    }
}

/// Where the mobile says it has its media after all.
fn moved(version: u32) -> String {
    sdp(mobile(), version, "sendrecv").replace("m=audio 4000", "m=audio 4100")
}

fn media_goes_to_where_it_moved(t: &Table, case: &str) {
    let rtp = told(t, Side::Callee, 1)[0].rtp;
    assert_eq!(rtp, Some(phone("198.51.100.3:4100")), "{case}");
}

/// Alice has Bob on hold, and takes him off it while his mobile rings; that has the call, and is offered to speak.
fn off_hold_while_it_rang() -> (Table, Remote, Mobile, Message) {
    let mut t = Table::new(Settings {
        upstreams: [("pbx".into(), upstream("sip:192.0.2.60", true))].into(),
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let hold = sdp(alice(), 1, "sendonly");
    let (mut a, _) = t.established_with(&hold, &sdp(desk(), 1, "recvonly"));
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    assert_eq!(direction(&invite), "sendonly");
    alice_offers(&mut t, &mut a, 2, "sendrecv");
    let ok = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &sdp(mobile(), 1, "recvonly")));
    t.request_to(mobile(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    let offer = t.request_to(mobile(), Method::Invite);
    assert_eq!(direction(&offer), "sendrecv");
    t.discard(desk());
    let m = Mobile(Remote::of_invite(&invite, mobile(), "m1"));
    (t, a, m, offer)
}

/// She is answered here.
fn alice_offers(t: &mut Table, a: &mut Remote, version: u32, direction: &str) {
    let offer = sdp(alice(), version, direction);
    t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum When {
    Never,
    Sought,
    Asked,
    Agreed,
}

/// What became of the offer is not known where its phone is lost, and it says so late or never.
#[test]
fn who_is_back_from_a_loss_in_the_middle_of_an_offer_is_offered_it_again() {
    for (late, when) in [
        (0, When::Never),
        (491, When::Sought),
        (200, When::Sought),
        (487, When::Asked),
        (491, When::Asked),
        (200, When::Asked),
        (487, When::Agreed),
    ] {
        let case = format!("{late} {when:?}");
        let (mut t, _, mut m, offer) = off_hold_while_it_rang();
        let info = m.0.request(Method::Info).end();
        let answers = |t: &mut Table, now: When| {
            match late {
                _ if now != when => {}
                200 => m.agrees(t, &offer, &sdp(mobile(), 2, "sendrecv")),
                _ => t.reply(&offer, late, mobile()),
            }
            t.discard(mobile());
        };
        t.bob_is_lost();
        answers(&mut t, When::Sought);
        t.receive(mobile(), info);
        let again = m.asked(&mut t).expect(&case);
        assert_eq!(direction(&again), "sendrecv", "{case}");
        assert!(again.cseq() > offer.cseq(), "{case}");
        answers(&mut t, When::Asked);
        m.agrees(&mut t, &again, &moved(3));
        answers(&mut t, When::Agreed);
        let mut asked = m.lives(&mut t, Millis::from_secs(40));
        // That comes again and again.
        asked.remove(&offer.cseq());
        assert_eq!(asked, BTreeSet::new(), "{case}");
        media_goes_to_where_it_moved(&t, &case);
        // As it was written down.
        t.restart();
        media_goes_to_where_it_moved(&t, &case);
        assert_eq!(t.losses().len(), 2, "{case}");
    }
}

/// It has its answer by that: an offer of before says nothing any more.
#[test]
fn who_is_back_by_an_offer_of_its_own_keeps_that_whatever_it_says_to_ours() {
    for late in [487, 491] {
        let (mut t, _, mut m, offer) = off_hold_while_it_rang();
        t.bob_is_lost();
        t.discard(mobile());
        let own = with_sdp(m.0.request(Method::Invite), &moved(2));
        t.receive(mobile(), own);
        let ok = t.next_to(mobile());
        assert_eq!((ok.status(), direction(&ok)), (200, "sendrecv".into()));
        t.receive(mobile(), m.0.ack(ok.cseq()));
        t.reply(&offer, late, mobile());
        t.request_to(mobile(), Method::Ack);
        let asked = m.lives(&mut t, Millis::from_secs(40));
        assert_eq!(asked, BTreeSet::new(), "{late}");
        t.restart();
        media_goes_to_where_it_moved(&t, &late.to_string());
    }
}

/// Its phone may have agreed to what has passed, and nothing would have to be said if it had not.
#[test]
fn who_may_have_agreed_to_what_has_passed_is_told_what_stands() {
    for agrees in [true, false] {
        let (mut t, mut a, mut m, offer) = off_hold_while_it_rang();
        t.bob_is_lost();
        if agrees {
            m.agrees(&mut t, &offer, &sdp(mobile(), 2, "sendrecv"));
        }
        alice_offers(&mut t, &mut a, 3, "sendonly");
        t.discard(mobile());
        t.receive(mobile(), m.0.request(Method::Info).end());
        let told = m.asked(&mut t).expect("what stands");
        assert_eq!(direction(&told), "sendonly", "{agrees}");
        m.agrees(&mut t, &told, &sdp(mobile(), 3, "recvonly"));
        let mut asked = m.lives(&mut t, Millis::from_secs(20));
        asked.remove(&offer.cseq());
        assert_eq!(asked, BTreeSet::new(), "{agrees}");
    }
}

/// A PBX wants somebody in its place meanwhile, with what Alice has not got.
#[test]
fn who_keeps_its_place_in_the_middle_of_an_offer_is_not_put_back_on_hold() {
    for agrees in [true, false] {
        let (mut t, _, m, offer) = off_hold_while_it_rang();
        let pbx = phone("192.0.2.60:5060");
        let asks = request(Method::Invite, "+43123", "alice", pbx, "transfer");
        let asks = asks.header(Name::Replaces, replaces(&m.0));
        t.receive(pbx, with_sdp(asks, &g722(pbx)));
        let join = t.request_to(alice(), Method::Invite);
        t.reply(&join, 488, alice());
        t.discard(alice());
        t.discard(mobile());
        if agrees {
            m.agrees(&mut t, &offer, &sdp(mobile(), 2, "sendrecv"));
        } else {
            t.reply(&offer, 487, mobile());
        }
        t.pass(Millis(4_100));
        let again = t.waiting(mobile(), &Method::Invite).expect("what stands");
        assert_eq!(direction(&again), "sendrecv", "{agrees}");
        t.discard(mobile());
        m.agrees(&mut t, &again, &moved(3));
        media_goes_to_where_it_moved(&t, "it stays");
        assert_eq!(m.lives(&mut t, Millis::from_secs(20)), BTreeSet::new());
    }
}

#[test]
fn an_offer_that_a_restart_has_met_is_made_again() {
    for (said, again) in [(None, 200), (Some(200), 200), (Some(491), 200), (None, 488)] {
        let case = format!("{said:?} {again}");
        let (mut t, _, m, offer) = off_hold_while_it_rang();
        if said == Some(491) {
            t.reply(&offer, 491, mobile());
        }
        t.restart();
        if said == Some(200) {
            m.agrees(&mut t, &offer, &sdp(mobile(), 2, "sendrecv"));
        }
        t.pass(Millis(4_100));
        let once_more = m.asked(&mut t).expect(&case);
        assert_eq!(direction(&once_more), "sendrecv", "{case}");
        match again {
            200 => m.agrees(&mut t, &once_more, &moved(3)),
            refusal => t.reply(&once_more, refusal, mobile()),
        }
        let asked = m.lives(&mut t, Millis::from_secs(20));
        t.restart();
        let later = m.lives(&mut t, Millis::from_secs(20));
        assert_eq!([asked, later], [BTreeSet::new(), BTreeSet::new()], "{case}");
        if again == 200 {
            media_goes_to_where_it_moved(&t, &case);
        }
    }
}

/// RFC 4028 7.3.
#[test]
fn an_offer_for_too_brief_a_session_is_made_again_for_a_longer_one() {
    let (mut t, _, m, mut offer) = off_hold_while_it_rang();
    for (demands, offers) in [("3600", true), ("7200", true), ("nothing", false)] {
        let brief = response(&offer, 422, mobile(), "m1").header(Name::MinSe, demands);
        t.receive(mobile(), brief.end());
        t.request_to(mobile(), Method::Ack);
        t.pass(Millis(4_100));
        let again = m.asked(&mut t);
        assert_eq!(again.is_some(), offers, "{demands}");
        let Some(again) = again else { break };
        assert_eq!(direction(&again), "sendrecv");
        assert_eq!(again.header(Name::MinSe), Some(demands));
        offer = again;
    }
}

/// It was left alone: what comes up later is told all the same, as often.
#[test]
fn who_had_an_offer_open_each_time_once_is_not_worse_off_later() {
    let (mut t, mut a, m, offer) = off_hold_while_it_rang();
    let turned_away = |t: &mut Table, first: Message| {
        let (mut offer, mut offers) = (Some(first), 0);
        while let Some(one) = offer {
            offers += 1;
            assert!(offers < 10, "it is asked for ever");
            t.reply(&one, 491, mobile());
            t.pass(Millis(4_100));
            offer = m.asked(t);
        }
        offers
    };
    assert_eq!(turned_away(&mut t, offer), 6);
    t.discard(mobile());
    let hold = with_sdp(a.request(Method::Invite), &sdp(alice(), 3, "inactive"));
    t.receive(alice(), hold);
    t.request_to(mobile(), Method::Invite);
    t.icmp(mobile());
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    let probe = t.waiting(mobile(), &Method::Options).expect("a probe");
    t.reply(&probe, 200, mobile());
    let offer = m.asked(&mut t).expect("the hold");
    assert_eq!(direction(&offer), "inactive");
    assert_eq!(turned_away(&mut t, offer), 6);
}

#[test]
fn who_lives_and_never_says_a_word_to_an_offer_is_left_alone_in_the_end() {
    let (mut t, _, m, _) = off_hold_while_it_rang();
    let asked = m.lives(&mut t, Millis::from_secs(600));
    assert_eq!(asked.len(), 6, "{asked:?}");
    assert_eq!(t.losses().len(), 1);
}

/// Bob's desk phone holds, and is lost before Alice's has agreed; she is told that nothing has come of it, and puts that
/// off.
#[test]
fn who_puts_off_what_stands_is_told_of_it_later() {
    for (status, name, value) in [(500, Name::RetryAfter, "1"), (422, Name::MinSe, "3600")] {
        let mut t = two();
        let (_, mut b) = t.established();
        let hold = with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly"));
        t.receive(desk(), hold);
        let hold = t.request_to(alice(), Method::Invite);
        t.bob_is_lost();
        t.discard(desk());
        let ok = response(&hold, 200, alice(), "tcall1");
        t.receive(alice(), with_sdp(ok, &sdp(alice(), 2, "recvonly")));
        t.request_to(alice(), Method::Ack);
        let mut told = 0;
        while let Some(one) = t.waiting(alice(), &Method::Invite) {
            told += 1;
            assert_eq!(direction(&one), "sendrecv", "{status}");
            let later = response(&one, status, alice(), "tcall1").header(name, value);
            t.receive(alice(), later.end());
            t.discard(alice());
            assert!(told < 10, "{status}: it is told for ever");
            t.pass(Millis(2_500));
        }
        assert_eq!(told, if status == 500 { 6 } else { 2 });
    }
}
