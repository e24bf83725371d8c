//! Temporary GRUUs (RFC 5627 3.1.2): a device that can be reached, and not told whose it is.

use refork::sip::{Builder, Message, Method, Name};

use crate::gruu::request_to_uri;
use crate::people::*;
use crate::table::*;
use crate::transfer::{carol, refer, three};

impl Table {
    /// A phone of Bob's registers, and is given a temporary GRUU.
    fn temporary(
        &mut self,
        user: &str,
        at: std::net::SocketAddr,
        device: &str,
        cseq: u32,
    ) -> String {
        let register = self.register_request(user, at, device, cseq, 3600);
        let register = String::from_utf8(register.to_vec()).unwrap();
        let register = register.replacen("Max-Forwards", "Supported: gruu\r\nMax-Forwards", 1);
        self.receive(at, register.into());
        let ok = self.response_to(at, 200);
        let contacts: Vec<&str> = ok.values(Name::Contact).collect();
        let urn = format!("urn:uuid:{device}");
        let own = contacts.iter().find(|contact| contact.contains(&urn));
        let (_, gruu) = own.unwrap().split_once(";temp-gruu=\"").unwrap();
        gruu.split('"').next().unwrap().to_owned()
    }
}

fn invite(uri: &str, call_id: &str) -> bytes::Bytes {
    with_sdp(
        request_to_uri(Method::Invite, uri, call_id),
        &audio(alice()),
    )
}

fn text_of(message: &Message) -> String {
    String::from_utf8_lossy(message.bytes()).into_owned()
}

fn two_with_temporary() -> (Table, String) {
    let mut t = Table::new(settings());
    t.register("bob", mobile(), "mobile");
    let gruu = t.temporary("bob", desk(), "desk", 1);
    (t, gruu)
}

#[test]
fn a_call_to_one_rings_that_device_and_tells_nothing_of_whose_it_is() {
    let (mut t, first) = two_with_temporary();
    let second = t.temporary("bob", desk(), "desk", 2);
    assert_ne!(first, second);
    for (number, uri) in [first, second].into_iter().enumerate() {
        let call = request_to_uri(Method::Invite, &uri, &"c".repeat(number + 1))
            .header(Name::Supported, "histinfo");
        t.receive(alice(), with_sdp(call, &audio(alice())));
        let invite = t.request_to(desk(), Method::Invite);
        // RFC 5627 6.1: by its Contact.
        assert_eq!(invite.uri(), format!("sip:bob@{}", desk()));
        t.nothing_to(mobile());
        t.receive(desk(), response(&invite, 180, desk(), "b1").end());
        let ringing = t.response_to(alice(), 180);
        t.receive(
            desk(),
            with_sdp(response(&invite, 200, desk(), "b1"), &audio(desk())),
        );
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        let mut a = Remote::of_answer(&ok, alice());
        t.receive(alice(), a.ack(1));
        for told in [&ringing, &ok] {
            assert!(!text_of(told).contains("bob@"), "{}", text_of(told));
        }
        t.receive(alice(), a.request(Method::Bye).end());
        let bye = t.request_to(desk(), Method::Bye);
        t.reply(&bye, 200, desk());
        t.response_to(alice(), 200);
    }
    let text = request_to_uri(
        Method::Message,
        &t.temporary("bob", desk(), "desk", 3),
        "m1",
    );
    t.receive(alice(), text.body("text/plain", b"hi"));
    t.request_to(desk(), Method::Message);
    t.nothing_to(mobile());
}

#[test]
fn one_that_holds_no_more_or_is_made_up_is_nobodys() {
    let (mut t, gruu) = two_with_temporary();
    let user = gruu
        .strip_prefix("sip:")
        .unwrap()
        .split('@')
        .next()
        .unwrap();
    let forged = format!("sip:{}0@example.org;gr", &user[..user.len() - 1]);
    let forged = match forged == gruu {
        true => forged.replacen("0@", "1@", 1),
        false => forged,
    };
    for (number, uri) in [
        forged,
        format!("sip:{}@example.org;gr", &user[..user.len() - 2]),
        format!("sip:{user}{}@example.org;gr", "ab".repeat(2000)),
        "sip:tgruu.@example.org;gr".into(),
        "sip:tgruu.%ff%00@example.org;gr".into(),
        // Without the mark of a GRUU it is a name like any other.
        format!("sip:{user}@example.org"),
    ]
    .iter()
    .enumerate()
    {
        t.receive(alice(), invite(uri, &format!("f{number}")));
        t.response_to(alice(), 404);
    }
    t.unregister("bob", desk(), "desk", 2);
    t.receive(alice(), invite(&gruu, "gone"));
    t.response_to(alice(), 404);
    // The same phone by the same Call-ID: what was given before does not come back.
    let fresh = t.temporary("bob", desk(), "desk", 3);
    t.receive(alice(), invite(&gruu, "again"));
    t.response_to(alice(), 404);
    t.nothing_to(desk());
    t.receive(alice(), invite(&fresh, "fresh"));
    t.request_to(desk(), Method::Invite);
    t.nothing_to(mobile());
}

/// Alice talks with the desk phone, which she called by its temporary GRUU and whose Contact is one.
fn talking(t: &mut Table, gruu: &str) -> Remote {
    t.receive(alice(), invite(gruu, "c1"));
    let call = t.request_to(desk(), Method::Invite);
    let ok = with_sdp(response(&call, 200, desk(), "b1"), &audio(desk()));
    let ok = String::from_utf8(ok.to_vec()).unwrap();
    let contact = ok.lines().find(|line| line.starts_with("Contact:"));
    let contact = contact.unwrap().to_owned();
    t.receive(
        desk(),
        ok.replacen(&contact, &format!("Contact: <{gruu}>"), 1)
            .into(),
    );
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    a
}

#[test]
fn a_re_fork_finds_the_user_and_the_survivor_learns_no_name() {
    let (mut t, gruu) = two_with_temporary();
    talking(&mut t, &gruu);
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    assert_eq!(again.uri(), format!("sip:bob@{}", desk()));
    t.pass(refork::engine::time::Millis(2_100));
    let other = t.request_to(mobile(), Method::Invite);
    t.receive(
        mobile(),
        with_sdp(response(&other, 200, mobile(), "b2"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    let text = text_of(&notice);
    assert!(text.contains("Anonymous is continuing on"), "{text}");
    assert!(
        !text.contains("bob") && !text.contains("Phone-mobile"),
        "{text}"
    );
}

#[test]
fn a_phone_whose_contact_is_one_is_reached_over_its_flow_and_known_when_it_moves() {
    let (mut t, gruu) = two_with_temporary();
    let mut a = talking(&mut t, &gruu);
    t.receive(alice(), a.message("hi"));
    let message = t.request_to(desk(), Method::Message);
    t.reply(&message, 200, desk());
    t.response_to(alice(), 200);
    let register = t.register_request("bob", third(), "desk", 2, 3600);
    t.receive(third(), register);
    t.response_to(third(), 200);
    let moves = t.next_to(third());
    assert_eq!(moves.uri(), format!("sip:bob@{}", third()));
    assert!(moves.to_tag().is_some(), "within the dialog");
    t.nothing_to(alice());
}

#[test]
fn a_transfer_to_one_rings_that_device_alone() {
    let mut t = three();
    let gruu = t.temporary("carol", third(), "laptop", 1);
    let (_, mut b) = t.established();
    t.receive(desk(), refer(&mut b, &format!("<{gruu}>")));
    t.response_to(desk(), 202);
    let invite = t.request_to(third(), Method::Invite);
    assert_eq!(invite.to().uri, gruu);
    t.nothing_to(carol());
}

#[test]
fn a_phone_that_forwards_to_one_does_not_say_whose_it_is() {
    let mut t = three();
    let gruu = t.temporary("carol", third(), "laptop", 1);
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let moved =
        response(&invite, 302, desk(), "b1").header(Name::Contact, format_args!("<{gruu}>"));
    t.receive(desk(), moved.end());
    let invite = t.request_to(third(), Method::Invite);
    assert_eq!(invite.uri(), format!("sip:carol@{}", third()));
    assert!(text_of(&invite).contains(&gruu));
    assert!(!text_of(&invite).contains("sip:carol@example.org"));
    t.nothing_to(carol());
}

/// RFC 5767: who calls so wants to be called back, and not to be known.
#[test]
fn a_caller_that_is_from_one_is_its_user_to_us_alone() {
    let mut t = two();
    let gruu = t.temporary("alice", alice(), "laptop", 1);
    let call = request(Method::Invite, "alice", "bob", alice(), "c1");
    let text = String::from_utf8(with_sdp(call, &audio(alice())).to_vec()).unwrap();
    let text = text
        .replacen("\"alice\" <sip:alice@example.org>", &format!("<{gruu}>"), 1)
        .replacen(&format!("<sip:alice@{}>", alice()), &format!("<{gruu}>"), 1);
    t.receive(alice(), text.into());
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(invite.from().uri, gruu);
    assert!(!text_of(&invite).contains("alice"), "{}", text_of(&invite));
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.discard(desk());
    t.discard(mobile());
    t.alice_is_lost();
    // Found by her registration, at her Contact.
    let invite = t.request_to(alice(), Method::Invite);
    assert_eq!(invite.uri(), format!("sip:alice@{}", alice()));
    t.receive(
        alice(),
        with_sdp(response(&invite, 200, alice(), "a2"), &audio(alice())),
    );
    t.request_to(alice(), Method::Ack);
    t.nothing_to(desk());
}

/// Whatever is asked for, nobody is rung by a token that was not given out.
#[test]
fn of_many_forged_ones_none_rings_anybody() {
    let (mut t, gruu) = two_with_temporary();
    let user = gruu
        .strip_prefix("sip:")
        .unwrap()
        .split('@')
        .next()
        .unwrap();
    for at in 0..user.len() {
        let mut bytes = user.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'7' { b'3' } else { b'7' };
        let forged = String::from_utf8(bytes).unwrap();
        let uri = format!("sip:{forged}@example.org;gr");
        let options: Builder = request_to_uri(Method::Message, &uri, &format!("m{at}"));
        t.receive(alice(), options.body("text/plain", b"hi"));
        t.response_to(alice(), 404);
    }
    t.nothing_to(desk());
    t.nothing_to(mobile());
}
