//! Whom a call was for before: History-Info (RFC 7044) and Diversion (RFC 5806).

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::admission::instead;
use crate::edge::{asked_at_the_pbx, in_front, invite_by, path_of, pbx};
use crate::people::*;
use crate::table::*;

fn carol() -> SocketAddr {
    phone("198.51.100.5:5060")
}

fn gateway() -> SocketAddr {
    phone("203.0.113.9:5060")
}

fn trunk() -> SocketAddr {
    phone("192.0.2.60:5060")
}

/// Numbers go to a trunk, and a gateway's word is believed.
fn house() -> Table {
    let trunk = |trusted| upstream("sip:192.0.2.60", trusted);
    let mut t = Table::new(Settings {
        upstreams: [
            ("trunk".into(), trunk(true)),
            ("public".into(), trunk(false)),
        ]
        .into(),
        routes: vec![
            Route {
                pattern: "sip:+49*@*".into(),
                to: "trunk".into(),
                fork: RouteFork::default(),
                emergency: None,
            },
            Route {
                pattern: "sip:+*@*".into(),
                to: "public".into(),
                fork: RouteFork::default(),
                emergency: None,
            },
        ],
        acl: AclSettings {
            trusted: vec!["203.0.113.0/24".parse().unwrap()],
            ..AclSettings::default()
        },
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    t
}

fn calls(from: SocketAddr, to: &str, call_id: &str, lines: &str) -> Bytes {
    let invite = request(Method::Invite, "alice", to, from, call_id);
    with_sdp(invite.raw_lines(lines.as_bytes()), &audio(from))
}

fn history(message: &Message) -> Option<String> {
    let values: Vec<&str> = message.values(Name::HistoryInfo).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn forwards(t: &mut Table, invite: &Message, at: SocketAddr, to: &str) {
    let server = SERVER.parse().unwrap();
    let moved = Builder::respond(invite, 302, "Moved Temporarily", Some("f1"), server);
    t.receive(at, moved.header(Name::Contact, to).end());
    t.request_to(at, Method::Ack);
}

const BEFORE: &str = "History-Info: <sip:sales@example.net?Reason=SIP%3Bcause%3D486>;index=1, \
                      <sip:bob@example.org>;index=1.2;mp=1\r\n";

#[test]
fn those_before_us_cross_and_each_step_of_ours_is_added() {
    let mut t = house();
    t.register("bob", mobile(), "mobile");
    let lines = format!("{BEFORE}Supported: histinfo\r\n");
    t.receive(alice(), calls(alice(), "bob", "call1", &lines));
    let before = "<sip:sales@example.net?Reason=SIP%3Bcause%3D486>;index=1";
    let (first, second) = (
        t.request_to(desk(), Method::Invite),
        t.request_to(mobile(), Method::Invite),
    );
    let steps = [&first, &second].map(|invite| {
        assert!(invite.has_token(Name::Supported, "histinfo"));
        history(invite).unwrap()
    });
    let contact = |at: SocketAddr, n: u8| {
        format!(
            "{before}, <sip:bob@example.org>;index=1.2;mp=1, <sip:bob@{at}>;index=1.2.{n};rc=1.2"
        )
    };
    let either = [
        [contact(desk(), 1), contact(mobile(), 2)],
        [contact(desk(), 2), contact(mobile(), 1)],
    ];
    assert!(either.contains(&steps), "{steps:?}");
    // The caller learns whom it went to, and no phone's address.
    t.reply(&second, 180, mobile());
    let ringing = t.response_to(alice(), 180);
    let here = format!("{before}, <sip:bob@example.org>;index=1.2;mp=1");
    assert_eq!(history(&ringing).as_ref(), Some(&here));
    t.reply(&second, 486, mobile());
    t.request_to(mobile(), Method::Ack);
    forwards(&mut t, &first, desk(), "<sip:carol@example.org>");
    let third = t.request_to(carol(), Method::Invite);
    let there = format!(
        "{before}, <sip:bob@example.org?Reason=SIP%3Bcause%3D302>;index=1.2;mp=1, \
         <sip:carol@example.org>;index=1.2.3;mp=1.2"
    );
    let hers = format!("{there}, <sip:carol@{}>;index=1.2.3.1;rc=1.2.3", carol());
    assert_eq!(history(&third), Some(hers));
    let ok = with_sdp(response(&third, 200, carol(), "c1"), &audio(carol()));
    t.receive(carol(), ok);
    assert_eq!(history(&t.response_to(alice(), 200)), Some(there));
}

#[test]
fn who_does_not_ask_is_told_nothing() {
    let mut t = house();
    t.receive(alice(), calls(alice(), "bob", "call1", ""));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(history(&invite), None);
    assert!(!invite.has_token(Name::Supported, "histinfo"));
    let ringing =
        response(&invite, 180, desk(), "b1").header(Name::HistoryInfo, "<sip:x@y>;index=1");
    t.receive(desk(), ringing.end());
    assert_eq!(history(&t.response_to(alice(), 180)), None);
}

#[test]
fn what_an_upstream_did_comes_back() {
    let mut t = house();
    t.receive(
        alice(),
        calls(alice(), "+4930", "call1", "Supported: histinfo\r\n"),
    );
    let invite = t.request_to(trunk(), Method::Invite);
    let sent = history(&invite).unwrap();
    assert_eq!(
        sent,
        "<sip:+4930@example.org>;index=1, <sip:+4930@192.0.2.60>;index=1.1;np=1"
    );
    let went_on = format!("{sent}, <sip:+4940@pbx>;index=1.1.1;mp=1.1");
    let ringing = response(&invite, 180, trunk(), "b1").header(Name::HistoryInfo, &went_on);
    t.receive(trunk(), ringing.end());
    assert_eq!(history(&t.response_to(alice(), 180)), Some(went_on.clone()));
    // Whoever took it there does not want to be named.
    let busy = response(&invite, 486, trunk(), "b1")
        .header(Name::HistoryInfo, &went_on)
        .header(Name::Privacy, "history");
    t.receive(trunk(), busy.end());
    let busy = t.response_to(alice(), 486);
    let nobody = format!("{sent}, <sip:anonymous@anonymous.invalid>;index=1.1.1;mp=1.1");
    assert_eq!(history(&busy), Some(nobody));
}

#[test]
fn who_is_to_be_hidden_is_named_to_trusted_peers_alone() {
    for (to, at, shown) in [
        ("+4930", trunk(), true),
        ("bob", desk(), false),
        ("+1", trunk(), false),
    ] {
        let mut t = house();
        let lines = format!("{BEFORE}Privacy: history\r\n");
        t.receive(gateway(), calls(gateway(), to, "call1", &lines));
        let invite = t.request_to(at, Method::Invite);
        let said = history(&invite).unwrap();
        assert_eq!(said.contains("sales@"), shown, "{to}: {said}");
        assert!(
            said.contains("Reason=SIP%3Bcause%3D486>;index=1,"),
            "{said}"
        );
        assert_eq!(invite.header(Name::Privacy), shown.then_some("history"));
    }
}

#[test]
fn a_text_has_a_history_too() {
    let mut t = house();
    let page =
        request(Method::Message, "alice", "bob", alice(), "page1").raw_lines(BEFORE.as_bytes());
    t.receive(alice(), page.body("text/plain", b"hello"));
    let page = t.request_to(desk(), Method::Message);
    let last = format!("<sip:bob@{}>;index=1.2.1;rc=1.2", desk());
    assert!(history(&page).unwrap().ends_with(&last));
}

#[test]
fn a_diversion_is_believed_of_trusted_peers_alone() {
    let open = "<sip:sales@example.net>;reason=user-busy;counter=1";
    let private = "\"Boss\" <sip:boss@example.net>;reason=unconditional;privacy=full";
    let lines = format!("Diversion: {open}\r\nDiversion: {private}\r\nDiversion: <nonsense\r\n");
    let values = |message: &Message| -> Vec<String> {
        message.values(Name::Diversion).map(Into::into).collect()
    };
    for (from, to, at, told) in [
        (gateway(), "+4930", trunk(), &[open, private][..]),
        (gateway(), "+1", trunk(), &[open]),
        (gateway(), "bob", desk(), &[open]),
        (alice(), "+4930", trunk(), &[]),
        (alice(), "bob", desk(), &[]),
    ] {
        let mut t = house();
        t.receive(from, calls(from, to, "call1", &lines));
        assert_eq!(
            values(&t.request_to(at, Method::Invite)),
            told,
            "{from} to {to}"
        );
    }
}

/// RFC 3325 5, 7: whom a phone of ours forwards to is told as much as if it had been called.
#[test]
fn a_trunk_that_a_call_is_forwarded_to_is_told_who_calls() {
    let caller = "<sip:+4940123@carrier.example>";
    let private = "\"Boss\" <sip:boss@example.net>;reason=unconditional;privacy=full";
    for (number, at, told) in [("+4930", trunk(), true), ("+1", trunk(), false)] {
        let mut t = house();
        let lines =
            format!("P-Asserted-Identity: {caller}\r\nPrivacy: id\r\nDiversion: {private}\r\n");
        t.receive(gateway(), calls(gateway(), "bob", "call1", &lines));
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(invite.header(Name::PAssertedIdentity), None);
        forwards(
            &mut t,
            &invite,
            desk(),
            &format!("<sip:{number}@example.org>"),
        );
        let onward = t.request_to(at, Method::Invite);
        assert_eq!(
            onward.header(Name::PAssertedIdentity),
            told.then_some(caller),
            "{number}"
        );
        let diverted = onward.values(Name::Diversion).any(|value| value == private);
        assert_eq!(diverted, told, "{number}");
    }
}

/// RFC 7044 9.2: the INVITE of a re-fork is one more step from whom the call was for.
#[test]
fn a_re_fork_goes_on_from_who_was_called() {
    let mut t = house();
    t.receive(alice(), calls(alice(), "bob", "call1", BEFORE));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.register("bob", mobile(), "mobile");
    let before = "<sip:sales@example.net?Reason=SIP%3Bcause%3D486>;index=1, \
                  <sip:bob@example.org>;index=1.2;mp=1";
    let step = |at: SocketAddr, n: u8| format!("{before}, <sip:bob@{at}>;index=1.2.{n};rc=1.2");
    // The process is another one by then.
    t.restart();
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    assert_eq!(history(&again), Some(step(desk(), 2)));
    t.pass(Millis(2_100));
    let again = t.request_to(mobile(), Method::Invite);
    assert_eq!(history(&again), Some(step(mobile(), 3)));
    t.receive(
        mobile(),
        with_sdp(response(&again, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    t.discard(alice());
    t.discard(desk());
    t.bob_is_lost();
    let again = t.request_to(mobile(), Method::Invite);
    assert_eq!(history(&again), Some(step(mobile(), 4)));
}

/// A phone's Contact is what it likes: that it looks like one of ours makes nobody of it but the user whose phone it is.
#[test]
fn a_token_that_a_phone_has_made_up_names_the_user_alone() {
    for made_up in [
        "sip:ceo@pbx.example.net",
        "sip:a@b>;index=1\r\nP-Asserted-Identity: <sip:ceo@pbx.example.net>\r\nX: <sip:x",
    ] {
        let mut t = in_front(PathMode::Path);
        let path = path_of(&t.register_beyond("bob", desk()));
        let hex: String = made_up.bytes().map(|byte| format!("{byte:02x}")).collect();
        let contact = format!("sip:rf-00112233445566778899-{hex}@10.0.0.7:5060");
        let asks = "Supported: histinfo\r\nCSeq: 1";
        let invite = instead(&invite_by(&path, &contact, "c1"), "CSeq: 1", asks);
        t.receive(pbx(), invite);
        let rung = t.request_to(desk(), Method::Invite);
        let rung_as = history(&rung).unwrap();
        forwards(&mut t, &rung, desk(), "<sip:carol@pbx.example.net>");
        let onward = asked_at_the_pbx(&mut t, "carol");
        for request in [&rung, &onward] {
            assert_eq!(request.header(Name::PAssertedIdentity), None);
            let text = String::from_utf8_lossy(request.bytes());
            assert!(!text.contains("ceo@"), "{text}");
        }
        // A token that can be none of ours is a user part like any other.
        let user = if made_up.contains('>') {
            contact.as_str()
        } else {
            "sip:bob@pbx.example.net"
        };
        assert!(
            rung_as.starts_with(&format!("<{user}>;index=1")),
            "{rung_as}"
        );
    }
}
