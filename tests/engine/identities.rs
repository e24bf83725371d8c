//! Who is there may change in a call, and whoever may know is told so (RFC 5876), with what is wished of them.

use refork::sip::{Builder, Message, Method, Name};

use crate::admission::{again, gateway, guarded, trunk};
use crate::people::*;
use crate::table::*;

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
