//! Whom a re-fork asks, in what order, and how often.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::settings::{PerKind, RestoreOrder, Settings};
use refork::engine::time::{Millis, Time};
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// INVITEs by their Call-ID, so that a retransmission counts no second time, with when they came.
#[derive(Default)]
struct Asked(BTreeMap<SocketAddr, Vec<(String, Time)>>);

impl Asked {
    fn times(&self, who: SocketAddr) -> usize {
        self.0.get(&who).map_or(0, Vec::len)
    }

    /// Milliseconds between one INVITE and the next.
    fn gaps(&self, who: SocketAddr) -> Vec<u64> {
        let all = &self.0[&who];
        all.windows(2)
            .map(|pair| pair[1].1.0 - pair[0].1.0)
            .collect()
    }
}

/// How finely the clock is turned: as far may a gap seem longer or shorter than it is.
const STEP: u64 = 50;

/// Turns the clock while each phone does with a new INVITE what its hand says.
fn watch(
    t: &mut Table,
    span: Millis,
    phones: &[SocketAddr],
    mut hand: impl FnMut(&mut Table, &Message, SocketAddr),
) -> Asked {
    let mut asked = Asked::default();
    for _ in 0..span.0 / STEP {
        for who in phones {
            while let Some(message) = t.any_to(*who) {
                match message.method() {
                    Method::Invite if message.is_request() => {
                        let known = asked.0.entry(*who).or_default();
                        if known.iter().all(|(id, _)| id != message.call_id()) {
                            known.push((message.call_id().into(), t.now));
                            hand(t, &message, *who);
                        }
                    }
                    Method::Cancel => {
                        t.reply(&message, 200, *who);
                        let invite = cancelled(&message);
                        t.receive(*who, invite);
                    }
                    _ => {}
                }
            }
        }
        t.pass(Millis(STEP));
    }
    asked
}

/// The 487 to the INVITE that a CANCEL ends.
fn cancelled(cancel: &Message) -> bytes::Bytes {
    let shown = String::from_utf8(cancel.bytes().to_vec()).unwrap();
    let invite = shown
        .replace("CANCEL sip", "INVITE sip")
        .replace(" CANCEL\r\n", " INVITE\r\n");
    let invite = Message::parse(invite.into()).unwrap();
    response(&invite, 487, desk(), "x1").end()
}

/// Wishes that leave a re-fork time to try for long.
fn patient() -> Settings {
    let mut wishes = settings();
    wishes.restore.timeout = PerKind::both(Millis::from_secs(120));
    // What is to be seen is asked, not found out.
    wishes.detect.probe = None;
    wishes.detect.media_silence = None;
    wishes
}

#[test]
fn who_is_away_is_asked_again_ever_later_up_to_the_limit() {
    let mut t = Table::new(patient());
    t.established();
    t.bob_is_lost();
    let asked = watch(
        &mut t,
        Millis::from_secs(100),
        &[desk()],
        |t, invite, who| {
            t.reply(invite, 503, who);
        },
    );
    // Half a second, and twice as long each time.
    let gaps = asked.gaps(desk());
    let wanted = [500, 1_000, 2_000, 4_000]
        .into_iter()
        .chain(std::iter::repeat(8_000));
    for (gap, pause) in gaps.iter().zip(wanted) {
        let (least, most) = (pause * 8 / 10, pause * 12 / 10 + 2 * STEP);
        assert!(
            (least.saturating_sub(STEP)..=most).contains(gap),
            "{gaps:?}"
        );
    }
    // 92.5 s in steps of 8 s, give or take a fifth.
    assert!((13..=19).contains(&gaps.len()), "{gaps:?}");
    let late = &gaps[4..];
    assert!(
        late.iter().any(|gap| *gap != late[0]),
        "without jitter: {gaps:?}"
    );
    t.nothing_to(alice());
}

/// The network says at once that nobody is there.
#[test]
fn who_fails_at_once_is_asked_again_with_the_next_round_and_not_before() {
    for order in [RestoreOrder::SameFirst, RestoreOrder::All, RestoreOrder::Q] {
        let mut wishes = patient();
        wishes.restore.order = order;
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        t.register_with_q("bob", mobile(), "mobile", "0.5");
        t.established();
        t.bob_is_lost();
        t.request_to(desk(), Method::Invite);
        t.icmp(desk());
        // The other one is, and rings.
        let other = t.request_to(mobile(), Method::Invite);
        t.reply(&other, 180, mobile());
        t.pass(Millis(390));
        assert!(t.waiting(desk(), &Method::Invite).is_none(), "{order:?}");
        t.pass(Millis(220));
        assert!(t.waiting(desk(), &Method::Invite).is_some(), "{order:?}");
        // Who registers is there, and waits for no round.
        t.icmp(desk());
        t.discard(desk());
        t.register_again("bob", desk(), "desk", 2);
        assert!(t.waiting(desk(), &Method::Invite).is_some(), "{order:?}");
        assert!(t.waiting(mobile(), &Method::Cancel).is_none());
    }
}

/// Bob has two phones, and the one that is lost demands something whenever it is asked. Returns its INVITEs, and when
/// each came; the other one is asked in any case.
fn demands(status: u16, more: &str) -> Vec<(Message, Time)> {
    let mut t = Table::new(patient());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.established();
    t.bob_is_lost();
    let begun = t.now;
    let mut asked: Vec<(Message, Time)> = Vec::new();
    for _ in 0..20 {
        while let Some(invite) = t.waiting(desk(), &Method::Invite) {
            let refusal = response(&invite, status, desk(), "no").raw_lines(more.as_bytes());
            t.receive(desk(), refusal.end());
            asked.push((invite, Time(t.now.0 - begun.0)));
        }
        t.pass(Millis(50));
    }
    let other = t.request_to(mobile(), Method::Invite);
    t.receive(
        mobile(),
        with_sdp(response(&other, 200, mobile(), "m1"), &audio(mobile())),
    );
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        1
    );
    asked
}

#[test]
fn what_cannot_be_met_is_a_refusal_and_asked_no_more() {
    // Nobody has an account at a phone.
    for (status, challenge) in [
        (401, "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\"\r\n"),
        (
            407,
            "Proxy-Authenticate: Digest realm=\"x\", nonce=\"n\"\r\n",
        ),
    ] {
        assert_eq!(demands(status, challenge).len(), 1, "{status}");
    }
    // RFC 4028 7.3: one more INVITE asks for what is demanded; who demands it again wants no call.
    let asked = demands(422, "Min-SE: 7200\r\n");
    let wishes: Vec<_> = asked
        .iter()
        .map(|(invite, _)| invite.header(Name::MinSe))
        .collect();
    assert_eq!(wishes.last(), Some(&Some("7200")));
    assert_eq!((asked.len(), asked[1].1), (2, Time(0)));
    // RFC 3891 3: once without Replaces, at once, and from then on as one that is away.
    let asked = demands(481, "");
    let replaces: Vec<_> = asked
        .iter()
        .map(|(invite, _)| invite.header(Name::Replaces).is_some())
        .collect();
    assert!(
        replaces[0] && !replaces[1..].contains(&true),
        "{replaces:?}"
    );
    assert_eq!(asked[1].1, Time(0));
    assert!(
        asked.len() == 3 && asked[2].1 >= Time(400),
        "{}",
        asked.len()
    );
}

#[test]
fn who_rang_out_is_rung_once_and_who_is_away_goes_on_being_asked() {
    let mut t = Table::new(patient());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.established();
    t.bob_is_lost();
    let phones = [desk(), mobile()];
    let asked = watch(&mut t, Millis::from_secs(100), &phones, |t, invite, who| {
        let status = if who == mobile() { 180 } else { 503 };
        t.reply(invite, status, who);
    });
    assert_eq!(
        asked.times(mobile()),
        1,
        "a phone that rang out rings again"
    );
    assert!(asked.times(desk()) > 5, "{}", asked.times(desk()));
}

#[test]
fn an_order_of_all_asks_everyone_at_once() {
    let mut wishes = settings();
    wishes.restore.order = RestoreOrder::All;
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t.established();
    t.bob_is_lost();
    // Without a turn of the clock.
    let same = t.request_to(desk(), Method::Invite);
    let other = t.request_to(mobile(), Method::Invite);
    assert!(same.header(Name::Replaces).is_some() && other.header(Name::Replaces).is_none());
    t.receive(
        mobile(),
        with_sdp(response(&other, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
}

fn sparing(spare: bool) -> Settings {
    let mut wishes = patient();
    wishes.restore.spare_busy = spare;
    wishes
}

/// One of Bob's phones calls Carol.
fn talks_with_carol(t: &mut Table, at: SocketAddr) -> Remote {
    t.register("carol", third(), "carol");
    let other = request(Method::Invite, "bob", "carol", at, "other");
    t.receive(at, with_sdp(other, &audio(at)));
    let invite = t.request_to(third(), Method::Invite);
    let answer = with_sdp(answer_at(&invite, third()), &audio(third()));
    t.receive(third(), answer);
    t.request_to(third(), Method::Ack);
    let ok = t.response_to(at, 200);
    let talking = Remote::of_answer(&ok, at);
    t.receive(at, talking.ack(1));
    t.pass(Millis(10));
    talking
}

#[test]
fn the_lost_phone_is_asked_whatever_call_it_had_besides() {
    let mut t = Table::new(sparing(true));
    t.register("bob", desk(), "desk");
    talks_with_carol(&mut t, desk());
    t.established();
    // Both calls died with it, and one of them is known to.
    t.bob_is_lost();
    t.request_to(desk(), Method::Invite);
}

#[test]
fn nobody_is_spared_for_a_call_of_who_shares_the_address() {
    let mut t = Table::new(sparing(true));
    let register = t.register_request("bob", mobile(), "mobile", 1, 3600);
    let path = format!("Path: <sip:{};lr>\r\nSupported: path\r\nExpires:", mobile());
    let register = String::from_utf8_lossy(&register).replacen("Expires:", &path, 1);
    t.receive(mobile(), register.into());
    t.response_to(mobile(), 200);
    talks_with_carol(&mut t, mobile());
    t.register("bob", desk(), "desk");
    t.established();
    t.bob_is_lost();
    let same = t.request_to(desk(), Method::Invite);
    t.reply(&same, 503, desk());
    t.request_to(mobile(), Method::Invite);
}

#[test]
fn a_phone_in_another_call_is_asked_once_that_is_over_where_the_policy_spares_it() {
    let told = |what: &Happening| matches!(what, Happening::Spared { .. });
    for spare in [true, false] {
        let mut t = Table::new(sparing(spare));
        t.register("bob", mobile(), "mobile");
        let mut talking = talks_with_carol(&mut t, mobile());
        t.register("bob", desk(), "desk");
        t.established();
        // The lost phone's own leg is no other call.
        t.bob_is_lost();
        let same = t.request_to(desk(), Method::Invite);
        t.reply(&same, 503, desk());
        t.request_to(desk(), Method::Ack);
        assert_eq!(t.waiting(mobile(), &Method::Invite).is_some(), !spare);
        assert_eq!(t.happened(told), usize::from(spare));
        if !spare {
            continue;
        }
        let asked = watch(
            &mut t,
            Millis::from_secs(20),
            &[desk(), mobile()],
            |t, invite, who| {
                t.reply(invite, 503, who);
            },
        );
        assert_eq!(asked.times(mobile()), 0);
        assert!(asked.times(desk()) > 1);
        assert_eq!(t.happened(told), 1);
        t.hangs_up(&mut talking);
        let asked = watch(
            &mut t,
            Millis::from_secs(20),
            &[desk(), mobile()],
            |t, invite, who| {
                t.reply(invite, 503, who);
            },
        );
        assert!(asked.times(mobile()) > 0);
    }
}
