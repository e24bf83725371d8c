//! A privacy service (RFC 3323, RFC 3325): who wishes it stays unnamed to those who are not trusted.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::attended::naming;
use crate::people::*;
use crate::table::*;
use crate::transfer::{carol, refer};

/// In a network that is trusted.
fn gateway() -> SocketAddr {
    phone("192.0.2.61:5060")
}

fn trunk() -> SocketAddr {
    phone("192.0.2.60:5060")
}

/// Numbers go to a trunk that is trusted, or not.
fn house(trusted: bool) -> Table {
    house_where(trusted, false)
}

/// The same, and whether phones hear who calls.
fn house_where(trusted: bool, identity_to_phones: bool) -> Table {
    let trunk = upstream("sip:192.0.2.60", trusted);
    let mut t = Table::new(Settings {
        upstreams: [("trunk".into(), trunk)].into(),
        routes: vec![Route {
            pattern: "sip:+*@*".into(),
            to: "trunk".into(),
            fork: RouteFork::default(),
            emergency: None,
        }],
        acl: AclSettings {
            trusted: vec!["192.0.2.61".parse().unwrap()],
            identity_to_phones,
            ..AclSettings::default()
        },
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t
}

/// What tells who Alice is, and what does not.
const TELLING: &str = "Subject: alice wants you\r\nCall-Info: <http://example.org/alice.jpg>;purpose=icon\r\n\
    Reply-To: <sip:alice@example.org>\r\nOrganization: Alice & Sons\r\nUser-Agent: AlicePhone/1\r\n\
    Remote-Party-ID: \"Alice\" <sip:alice@example.org>\r\nIn-Reply-To: alice-7@example.org\r\n\
    Geolocation: <cid:alice@example.org>\r\nX-Other: yes\r\n";

fn calls(t: &mut Table, to: &str, lines: &str) {
    let invite = request(Method::Invite, "alice", to, alice(), "call1")
        .raw_lines(TELLING.as_bytes())
        .raw_lines(lines.as_bytes());
    t.receive(alice(), with_sdp(invite, &audio(alice())));
}

#[track_caller]
fn names_nobody(message: &Message) {
    let shown = String::from_utf8(message.bytes().to_vec()).unwrap();
    assert!(!shown.to_ascii_lowercase().contains("alice"), "{shown}");
    let from = message.header(Name::From).unwrap();
    assert!(
        from.starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="),
        "{from}"
    );
    assert_eq!(message.other("X-Other"), Some("yes"));
}

#[test]
fn who_asks_for_it_is_not_named() {
    for (to, at) in [("bob", desk()), ("+4930", trunk())] {
        let mut t = house(false);
        calls(&mut t, to, "Privacy: user;id\r\n");
        let invite = t.request_to(at, Method::Invite);
        names_nobody(&invite);
        // What is done is asked of nobody else any more; RFC 3325's `id` is for every edge.
        assert_eq!(invite.header(Name::Privacy), Some("id"));
    }
}

#[test]
fn a_trusted_peer_is_told_and_asked_to_do_the_same() {
    let mut t = house(true);
    calls(&mut t, "+4930", "Privacy: user;header;critical\r\n");
    let invite = t.request_to(trunk(), Method::Invite);
    assert!(invite.header(Name::From).unwrap().contains("alice@"));
    assert_eq!(invite.header(Name::Privacy), Some("user;header;critical"));
    assert_eq!(invite.other("Organization"), Some("Alice & Sons"));
}

#[test]
fn nobody_is_hidden_unasked() {
    for (lines, privacy) in [
        ("", None),
        ("Privacy: none\r\n", Some("none")),
        ("Privacy: header\r\n", None),
    ] {
        let mut t = house(false);
        calls(&mut t, "bob", lines);
        let invite = t.request_to(desk(), Method::Invite);
        assert!(invite.header(Name::From).unwrap().contains("alice@"));
        assert_eq!(invite.header(Name::Privacy), privacy);
        assert!(invite.header(Name::Subject).is_some(), "{lines}");
        let hidden = lines.contains("header");
        assert_eq!(invite.other("Organization").is_none(), hidden);
        // Which only a trusted peer may claim.
        assert_eq!(invite.other("Remote-Party-ID"), None);
        assert_eq!(invite.header(Name::UserAgent), None);
    }
}

#[test]
fn what_is_insisted_on_and_cannot_be_given_is_refused() {
    let direct = MediaSettings {
        mode: MediaMode::Direct,
        ..MediaSettings::default()
    };
    for (value, media, status) in [
        ("critical;sealed", MediaSettings::default(), Some(500)),
        ("sealed", MediaSettings::default(), None),
        ("session;critical", direct.clone(), Some(500)),
        ("session;critical", MediaSettings::default(), None),
        ("session", direct, None),
        ("user;critical", MediaSettings::default(), None),
    ] {
        let mut t = Table::new(Settings {
            media,
            ..settings()
        });
        t.register("bob", desk(), "desk");
        calls(&mut t, "bob", &format!("Privacy: {value}\r\n"));
        match status {
            Some(status) => {
                t.response_to(alice(), status);
                t.nothing_to(desk());
            }
            None => {
                t.request_to(desk(), Method::Invite);
            }
        }
    }
}

#[test]
fn what_goes_from_phone_to_phone_hides_nobodys_address() {
    let bfcp = "m=application 23006 TCP/BFCP *\r\na=setup:actpass\r\n";
    for (value, more, refused) in [
        ("session;critical", bfcp, true),
        ("session;critical", &bfcp.replace("23006", "0"), false),
        ("session", bfcp, false),
        ("user;critical", bfcp, false),
    ] {
        let mut t = house(false);
        let invite = request(Method::Invite, "alice", "bob", alice(), "call1")
            .raw_lines(format!("Privacy: {value}\r\n").as_bytes());
        t.receive(alice(), with_sdp(invite, &(audio(alice()) + more)));
        if refused {
            t.response_to(alice(), 500);
            t.nothing_to(desk());
        } else {
            t.request_to(desk(), Method::Invite);
        }
    }
}

#[test]
fn a_privacy_service_may_be_demanded() {
    let mut t = house(false);
    calls(&mut t, "bob", "Privacy: user\r\nProxy-Require: privacy\r\n");
    let invite = t.request_to(desk(), Method::Invite);
    names_nobody(&invite);
    assert_eq!(invite.header(Name::Privacy), None);
    assert_eq!(invite.header(Name::ProxyRequire), None);
}

#[test]
fn within_the_dialog_nobody_is_named_either() {
    let mut t = house(false);
    calls(&mut t, "bob", "Privacy: user\r\n");
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    for method in [Method::Info, Method::Message] {
        let sent = a.request(method.clone()).raw_lines(TELLING.as_bytes());
        t.receive(alice(), sent.body("text/plain", b"hello"));
        let carried = t.request_to(desk(), method);
        names_nobody(&carried);
        t.reply(&carried, 200, desk());
        t.response_to(alice(), 200);
    }
}

#[test]
fn a_re_fork_keeps_what_was_wished() {
    let mut t = house(false);
    t.register("bob", mobile(), "mobile");
    calls(&mut t, "bob", "Privacy: user;id\r\n");
    let first = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&first), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.discard(mobile());
    // Bob's phone is lost, and the process too.
    t.bob_is_lost();
    t.restart();
    t.pass(Millis(2_100));
    let again = t.request_to(mobile(), Method::Invite);
    let from = again.header(Name::From).unwrap();
    assert!(from.contains("anonymous.invalid"), "{from}");
    assert!(!String::from_utf8_lossy(again.bytes()).contains("alice"));
    assert_eq!(again.header(Name::Privacy), Some("id"));
    t.receive(
        mobile(),
        with_sdp(response(&again, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let word = t.request_to(alice(), Method::Message);
    t.reply(&word, 200, alice());
    let bye = a.request(Method::Bye);
    t.receive(alice(), bye.end());
}

#[test]
fn the_word_to_the_survivor_names_nobody() {
    let mut t = house(false);
    t.register("alice", third(), "laptop");
    calls(&mut t, "bob", "Privacy: user\r\n");
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.alice_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(third(), "a2", &audio(third()));
    let word = t.request_to(desk(), Method::Message);
    assert_eq!(text(&word), "Anonymous is continuing on another phone.");
    assert!(!String::from_utf8_lossy(word.bytes()).contains("alice"));
}

#[test]
fn in_the_survivors_language_too() {
    let texts = |en: &str, de: &str| -> BTreeMap<Box<str>, Box<str>> {
        let of = [("", en), ("en", en), ("de", de)];
        of.map(|(language, text)| (language.into(), text.into()))
            .into()
    };
    let mut settings = settings();
    settings.notice.continued = texts("{participant}: {endpoint}", "{participant} an {endpoint}");
    settings.notice.anonymous = texts("Nobody", "Jemand");
    settings.notice.other_phone = texts("a phone", "einem Telefon");
    let mut t = Table::new(settings);
    t.register("bob", desk(), "desk");
    t.register("alice", third(), "laptop");
    // Bob calls, and Alice is to be told in German; he does not want to be named.
    t.register("bob", mobile(), "mobile");
    let invite =
        request(Method::Invite, "bob", "alice", desk(), "call1").header(Name::Privacy, "user");
    t.receive(desk(), with_sdp(invite, &audio(desk())));
    let invite = t.request_to(third(), Method::Invite);
    let ok = response(&invite, 200, third(), "a1");
    t.receive(third(), with_sdp(ok, &audio(third())));
    let ok = t.response_to(desk(), 200);
    t.receive(desk(), Remote::of_answer(&ok, desk()).ack(1));
    t.discard(third());
    t.alice_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let word = t.request_to(third(), Method::Message);
    assert_eq!(text(&word), "Nobody: a phone");
    // The same where it is Bob who speaks German.
    let mut settings = t.engine.settings().clone();
    settings.notice.language = "de".into();
    let mut t = Table::new(settings);
    t.register("alice", third(), "laptop");
    let invite =
        request(Method::Invite, "alice", "bob", alice(), "call1").header(Name::Privacy, "user");
    t.register("bob", desk(), "desk");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.alice_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(third(), "a2", &audio(third()));
    let word = t.request_to(desk(), Method::Message);
    assert_eq!(text(&word), "Jemand an einem Telefon");
}

/// Carol's wish goes with her leg to the other call.
#[test]
fn who_is_joined_stays_unnamed() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let (mut b, consulting, mut c) = {
        let (_, b) = t.established();
        // Carol calls Bob's phone, and does not want to be named.
        let invite =
            request(Method::Invite, "carol", "bob", carol(), "call2").header(Name::Privacy, "user");
        t.receive(carol(), with_sdp(invite, &audio(carol())));
        let invite = t.request_to(desk(), Method::Invite);
        let ok = response(&invite, 200, desk(), "b2");
        t.receive(desk(), with_sdp(ok, &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(carol(), 200);
        let c = Remote::of_answer(&ok, carol());
        t.receive(carol(), c.ack(1));
        (b, Remote::of_invite(&invite, desk(), "b2"), c)
    };
    t.receive(desk(), refer(&mut b, &naming(&consulting)));
    t.response_to(desk(), 202);
    t.told(desk(), "100 Trying");
    let asked = t.request_to(carol(), Method::Invite);
    t.carol_agrees(&asked);
    t.discard(desk());
    t.discard(carol());
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(text(&word), "Anonymous is continuing on another phone.");
    t.reply(&word, 200, alice());
    // Alice is lost: her phone is called by nobody that is named.
    t.receive(carol(), c.message("there?"));
    let there = t.request_to(alice(), Method::Message);
    t.knows_no_call(&there, alice());
    t.request_to(alice(), Method::Ack);
    let again = t.request_to(alice(), Method::Invite);
    let from = again.header(Name::From).unwrap();
    assert!(from.contains("anonymous.invalid"), "{from}");
    assert!(!String::from_utf8_lossy(again.bytes()).contains("carol"));
}

#[test]
fn a_text_names_nobody() {
    let mut t = house(false);
    let page = request(Method::Message, "alice", "bob", alice(), "page1")
        .raw_lines(TELLING.as_bytes())
        .raw_lines(b"Privacy: user\r\n");
    t.receive(alice(), page.body("text/plain", b"hello"));
    names_nobody(&t.request_to(desk(), Method::Message));
}

#[test]
fn who_is_called_may_wish_it_too() {
    let mut t = house(false);
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    for status in [180, 200] {
        let said = response(&invite, status, desk(), "b1")
            .header(Name::Privacy, "user")
            .other("Organization", "Bob & Co")
            .header(Name::ReplyTo, "<sip:bob@home.example>");
        t.receive(desk(), with_sdp(said, &audio(desk())));
        let heard = t.response_to(alice(), status);
        assert_eq!(heard.other("Organization"), None);
        assert_eq!(heard.header(Name::ReplyTo), None);
        assert_eq!(heard.header(Name::Privacy), None);
    }
}

/// Whom the carrier knows, as a peer says it that knows nothing of RFC 3323.
const PARTY: &str = "Remote-Party-ID: \"Alice\" <sip:+4940@carrier>;screen=yes";

#[test]
fn a_party_that_is_private_by_itself_is_named_to_trusted_peers_alone() {
    for (privacy, withheld) in [
        ("", false),
        (";privacy=off", false),
        (";privacy=full", true),
    ] {
        let line = format!("{PARTY}{privacy}\r\n");
        let named = |message: &Message| message.other("Remote-Party-ID").is_some();
        let mut t = house_where(true, true);
        for method in [Method::Invite, Method::Message] {
            for (to, at) in [("bob", desk()), ("+4930", trunk())] {
                let call = format!("{to}{}", method.as_str());
                let told = request(method.clone(), "anonymous", to, gateway(), &call)
                    .raw_lines(line.as_bytes());
                t.receive(gateway(), with_sdp(told, &audio(gateway())));
                let shown = t.request_to(at, method.clone());
                assert_eq!(named(&shown), at == trunk() || !withheld, "{privacy} {to}");
            }
        }
        // Of who is called, and within the call.
        let mut t = house_where(true, true);
        calls(&mut t, "+4930", "");
        let invite = t.request_to(trunk(), Method::Invite);
        let rings = response(&invite, 180, trunk(), "b1").raw_lines(line.as_bytes());
        t.receive(trunk(), rings.end());
        assert_eq!(named(&t.response_to(alice(), 180)), !withheld, "{privacy}");
        let ok = answer_at(&invite, trunk()).raw_lines(line.as_bytes());
        t.receive(trunk(), with_sdp(ok, &audio(trunk())));
        t.request_to(trunk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        assert_eq!(named(&ok), !withheld, "{privacy}");
        t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
        let mut b = Remote::of_invite(&invite, trunk(), "b1");
        let info = b.request(Method::Info).raw_lines(line.as_bytes());
        t.receive(trunk(), info.end());
        assert_eq!(
            named(&t.request_to(alice(), Method::Info)),
            !withheld,
            "{privacy}"
        );
    }
}
