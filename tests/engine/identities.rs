//! Who is there may change in a call, and whoever may know is told so (RFC 5876), with what is wished of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::admission::{again, gateway, guarded, trunk};
use crate::attended::bob_consults_carol;
use crate::people::*;
use crate::table::*;
use crate::transfer::{CAROL, carol, refer};

const FIRST: &str = "\"One\" <tel:+4940001>";
const SECOND: &str = "\"Two\" <tel:+4940002>";
const THIRD: &str = "\"Three\" <tel:+4940003>";

fn says(builder: Builder, who: &str) -> Builder {
    builder.header(Name::PAssertedIdentity, who)
}

fn heard(message: &Message) -> (Option<&str>, Option<&str>) {
    let name = message.header(Name::PAssertedIdentity);
    (name, message.header(Name::Privacy))
}

/// A trusted gateway has called a number of a trunk, which is trusted, or not.
fn call(trusted: bool) -> (Table, Remote, Remote) {
    let mut settings = guarded();
    settings.upstreams.get_mut("trunk").unwrap().trusted = trusted;
    let mut t = Table::new(settings);
    let invite = request(Method::Invite, "+4940", "+4930123", gateway(), "c1");
    let invite = invite.header(Name::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE");
    t.receive(gateway(), with_sdp(says(invite, FIRST), &audio(gateway())));
    let invite = t.request_to(trunk(), Method::Invite);
    let ok = says(answer_at(&invite, trunk()), THIRD);
    t.receive(trunk(), with_sdp(ok, &audio(trunk())));
    t.request_to(trunk(), Method::Ack);
    let ok = t.response_to(gateway(), 200);
    let a = Remote::of_answer(&ok, gateway());
    t.receive(gateway(), a.ack(1));
    let b = Remote::of_invite(&invite, trunk(), "b1");
    (t, a, b)
}

#[test]
fn another_name_that_comes_with_no_other_session_is_told_to_who_may_know() {
    for trusted in [true, false] {
        let (mut t, mut a, mut b) = call(trusted);
        let update = says(a.request(Method::Update), SECOND).header(Name::Privacy, "id");
        t.receive(gateway(), update.end());
        t.response_to(gateway(), 200);
        if !trusted {
            t.nothing_to(trunk());
            continue;
        }
        let update = t.request_to(trunk(), Method::Update);
        assert_eq!(heard(&update), (Some(SECOND), Some("id")));
        assert!(update.body().is_empty(), "the session is the same");
        t.reply(&update, 200, trunk());
        // No news.
        t.receive(gateway(), says(a.request(Method::Update), SECOND).end());
        t.response_to(gateway(), 200);
        t.nothing_to(trunk());
        // The same session once more, by another name; the wish stands.
        let same = says(a.request(Method::Invite), FIRST);
        t.receive(gateway(), with_sdp(same, &audio(gateway())));
        let ok = t.response_to(gateway(), 200);
        t.receive(gateway(), a.ack(ok.cseq()));
        let update = t.request_to(trunk(), Method::Update);
        assert_eq!(heard(&update), (Some(FIRST), Some("id")));
        t.reply(&update, 200, trunk());
        // Who has answered has said already who it is.
        t.receive(trunk(), says(b.request(Method::Update), THIRD).end());
        t.response_to(trunk(), 200);
        t.nothing_to(gateway());
        t.receive(trunk(), says(b.request(Method::Update), SECOND).end());
        t.response_to(trunk(), 200);
        let update = t.request_to(gateway(), Method::Update);
        assert_eq!(heard(&update), (Some(SECOND), None));
        t.reply(&update, 200, gateway());
        t.nothing_to(trunk());
    }
}

#[test]
fn a_name_in_a_later_offer_keeps_the_wish_beside_it() {
    let mut settings = guarded();
    settings.upstreams.get_mut("trunk").unwrap().trusted = true;
    let mut t = Table::new(settings);
    let first = request(Method::Invite, "alice", "+4930123", alice(), "c1");
    let first = with_sdp(first.header(Name::Privacy, "id"), &audio(alice()));
    let challenged = t.is_asked(alice(), &first);
    t.receive(alice(), again(&first, &challenged, "alice"));
    let invite = t.request_to(trunk(), Method::Invite);
    let ok = with_sdp(answer_at(&invite, trunk()), &audio(trunk()));
    t.receive(trunk(), ok);
    t.request_to(trunk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(2));
    a.cseq = 2;
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    let reinvite = t.request_to(trunk(), Method::Invite);
    let (name, wish) = heard(&reinvite);
    assert!(name.is_some_and(|name| name.contains("<sip:alice@example.org>")));
    assert_eq!(wish, Some("id"));
}

/// The gateway says that somebody else is there now.
fn names_the_second(t: &mut Table, a: &mut Remote) {
    t.receive(gateway(), says(a.request(Method::Update), SECOND).end());
    t.response_to(gateway(), 200);
}

/// The trunk hears of it within so long.
fn hears_of_the_second(t: &mut Table) -> Message {
    t.pass(Millis(4_100));
    let update = t.waiting(trunk(), &Method::Update).expect("the name");
    assert_eq!(heard(&update).0, Some(SECOND));
    update
}

/// The gateway's offer, with a name where it says one, is at the trunk. Returns what that got.
fn offers(t: &mut Table, a: &mut Remote, direction: &str, who: Option<&str>) -> Message {
    let offer = a.request(Method::Invite);
    let offer = match who {
        Some(who) => says(offer, who),
        None => offer,
    };
    t.receive(gateway(), with_sdp(offer, &sdp(gateway(), 2, direction)));
    t.request_to(trunk(), Method::Invite)
}

fn agrees(t: &mut Table, a: &Remote, offer: &Message) {
    let ok = response(offer, 200, trunk(), "b1");
    t.receive(trunk(), with_sdp(ok, &sdp(trunk(), 2, "sendrecv")));
    let ok = t.response_to(gateway(), 200);
    t.receive(gateway(), a.ack(ok.cseq()));
    t.request_to(trunk(), Method::Ack);
}

#[test]
fn a_name_that_meets_an_offer_is_told_as_soon_as_that_is_answered() {
    for restarted in [false, true] {
        let (mut t, mut a, _) = call(true);
        let hold = offers(&mut t, &mut a, "sendonly", None);
        names_the_second(&mut t, &mut a);
        assert!(t.waiting(trunk(), &Method::Update).is_none());
        if restarted {
            t.discard(trunk());
            t.restart();
        } else {
            agrees(&mut t, &a, &hold);
        }
        let update = hears_of_the_second(&mut t);
        t.reply(&update, 200, trunk());
        is_told_no_more(&mut t);
    }
}

fn is_told_no_more(t: &mut Table) {
    t.discard(trunk());
    t.pass(Millis::from_secs(10));
    assert!(t.waiting(trunk(), &Method::Update).is_none());
}

#[test]
fn a_name_that_is_put_off_is_told_again_and_one_that_is_refused_is_not() {
    for (status, again) in [(491, true), (422, true), (500, true), (403, false)] {
        let (mut t, mut a, _) = call(true);
        names_the_second(&mut t, &mut a);
        let update = t.request_to(trunk(), Method::Update);
        let refused = response(&update, status, trunk(), "b1").header(Name::MinSe, 7200);
        t.receive(trunk(), refused.end());
        if !again {
            is_told_no_more(&mut t);
            continue;
        }
        let update = hears_of_the_second(&mut t);
        t.reply(&update, 200, trunk());
        is_told_no_more(&mut t);
    }
}

/// RFC 3261 14.2: who answers another request yet says when it is done.
#[test]
fn a_name_is_told_again_when_who_puts_it_off_says() {
    let (mut t, mut a, _) = call(true);
    names_the_second(&mut t, &mut a);
    let update = t.request_to(trunk(), Method::Update);
    let later = response(&update, 500, trunk(), "b1").header(Name::RetryAfter, 9);
    t.receive(trunk(), later.end());
    t.pass(Millis(8_900));
    assert!(t.waiting(trunk(), &Method::Update).is_none());
    let update = hears_of_the_second(&mut t);
    t.reply(&update, 200, trunk());
    is_told_no_more(&mut t);
}

#[test]
fn who_puts_a_name_off_for_ever_is_left_alone() {
    let (mut t, mut a, _) = call(true);
    names_the_second(&mut t, &mut a);
    let mut told = BTreeSet::new();
    for _ in 0..60 {
        while let Some(update) = t.waiting(trunk(), &Method::Update) {
            told.insert(update.cseq());
            t.reply(&update, 491, trunk());
        }
        t.pass(Millis(1_000));
    }
    assert_eq!(told.len(), 5);
}

#[test]
fn a_name_that_is_none_any_more_is_not_told() {
    let (mut t, mut a, _) = call(true);
    let hold = offers(&mut t, &mut a, "sendonly", None);
    names_the_second(&mut t, &mut a);
    agrees(&mut t, &a, &hold);
    let resume = offers(&mut t, &mut a, "sendrecv", Some(THIRD));
    assert_eq!(heard(&resume).0, Some(THIRD));
    agrees(&mut t, &a, &resume);
    is_told_no_more(&mut t);
}

/// Alice, Bob and Carol have phones that are believed in what they say of themselves.
fn all_trusted() -> Table {
    let mut wishes = settings();
    wishes.acl.trusted.push("198.51.100.0/24".parse().unwrap());
    let mut t = Table::new(wishes);
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    t
}

/// Who has called says who they are, and the other phone of the call puts that off.
fn is_the_second(t: &mut Table, who: &mut Remote, other: SocketAddr) {
    t.receive(who.at, says(who.request(Method::Update), SECOND).end());
    t.response_to(who.at, 200);
    let told = t.next_to(other);
    assert_eq!(heard(&told).0, Some(SECOND));
    t.reply(&told, 491, other);
    t.waiting(other, &Method::Ack);
}

/// Returns how often a phone is told within so long that it talks to the second; it agrees to all.
fn hears(t: &mut Table, at: SocketAddr, seconds: u64) -> usize {
    let mut times = 0;
    for _ in 0..seconds * 2 {
        t.pass(Millis(500));
        while let Some(asked) = [Method::Invite, Method::Update, Method::Options]
            .iter()
            .find_map(|method| t.waiting(at, method))
        {
            times += usize::from(heard(&asked).0 == Some(SECOND));
            let ok = response(&asked, 200, at, "x1");
            t.receive(at, with_sdp(ok, &audio(at)));
        }
    }
    times
}

/// Who hands a call on and has a name that nobody knows yet: that is told where the caller has the call again.
#[test]
fn a_name_of_who_hands_the_call_on_is_told_where_nobody_takes_it() {
    for taken in [true, false] {
        let mut t = all_trusted();
        let (mut a, _) = t.established();
        is_the_second(&mut t, &mut a, desk());
        t.receive(alice(), refer(&mut a, CAROL));
        t.response_to(alice(), 202);
        let invite = t.request_to(carol(), Method::Invite);
        t.reply(&invite, 180, carol());
        t.discard(alice());
        assert_eq!(hears(&mut t, desk(), 6), 0, "another is called");
        if taken {
            t.carol_answers(&invite);
        } else {
            t.reply(&invite, 486, carol());
        }
        assert_eq!(hears(&mut t, desk(), 8), usize::from(!taken));
    }
}

/// The same of who is lost and comes back, or is replaced.
#[test]
fn a_name_of_who_is_lost_is_told_where_the_same_phone_is_back() {
    for back in [true, false] {
        let mut t = all_trusted();
        t.register("alice", third(), "other");
        let (mut a, _) = t.established();
        is_the_second(&mut t, &mut a, desk());
        t.alice_is_lost();
        assert_eq!(hears(&mut t, desk(), 6), 0, "nobody is there");
        if back {
            t.receive(alice(), a.request(Method::Info).end());
        } else {
            let invite = t.waiting(third(), &Method::Invite).expect("asked");
            let took = response(&invite, 200, third(), "a2");
            t.receive(third(), with_sdp(took, &audio(third())));
        }
        assert_eq!(hears(&mut t, desk(), 8), usize::from(back));
    }
}

/// A phone whose call is joined with another is not told who it is that has left it.
#[test]
fn a_name_of_who_has_joined_two_others_is_told_to_neither() {
    let mut t = all_trusted();
    let (_, mut b) = t.established();
    let (mut consulting, c) = bob_consults_carol(&mut t);
    is_the_second(&mut t, &mut consulting, carol());
    let asked = t.referred_to(&mut b, &consulting, &c);
    t.carol_agrees(&asked);
    t.bob_is_rid_of(&consulting);
    assert_eq!(hears(&mut t, alice(), 8), 0);
    assert_eq!(hears(&mut t, carol(), 8), 0);
}
