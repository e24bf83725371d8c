//! Whom an upstream asks for proof: who asks through us in the name of one of its users, by whatever header it says
//! so. Our own account there is for what we do ourselves.

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::events::{Event, Unanswered};
use refork::engine::settings::{Account, PathMode, ReferPolicy, Settings};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::admission::instead;
use crate::edge::{OF_BOB, asked_at_the_pbx, beyond, first, invite_by, path_of, pbx};
use crate::people::*;
use crate::table::*;

const CHALLENGE: &str = "Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\"";
const NUMBER: &str = "900123";

fn stranger() -> SocketAddr {
    phone("198.51.100.77:5060")
}

/// In front of a PBX that has given us an account.
fn with_account() -> Settings {
    let mut settings = beyond(PathMode::Path);
    let pbx = settings.upstreams.get_mut("pbx").unwrap();
    pbx.account = Some(Account {
        user: "refork".into(),
        password: "secret".into(),
        realms: Box::default(),
    });
    settings
}

fn in_front() -> Table {
    let mut t = Table::new(with_account());
    t.register_beyond("alice", alice());
    t
}

/// Ways to speak in the name of a user of the PBX, whom the From does not name: From and further lines.
fn ways() -> [(&'static str, &'static str); 5] {
    let junk = "Proxy-Authorization: Digest username=\"x\", realm=\"pbx.example.net\", nonce=\"x\", \
        uri=\"sip:x@y\", response=\"00\"\r\n";
    let anybody = "P-Preferred-Identity: <sip:anybody@pbx.example.net>\r\n";
    [
        ("<sip:pbx.example.net>", ""),
        ("<sip:anonymous@anonymous.invalid>", anybody),
        ("<sip:anonymous@anonymous.invalid>", junk),
        ("<tel:+4911>", anybody),
        ("<tel:+4911>", junk),
    ]
}

fn with_body(method: &Method, to: &str, at: SocketAddr, call_id: &str) -> Bytes {
    let request = first(method.clone(), "x", to, at, call_id, 1)
        .header(Name::Contact, format_args!("<sip:x@{at}>"));
    match method {
        Method::Invite => with_sdp(request, &audio(at)),
        _ => request.body("text/plain", b"hi"),
    }
}

/// A request by one of those ways.
fn by(way: (&str, &str), method: &Method, at: SocketAddr, call_id: &str) -> Bytes {
    let request = with_body(method, NUMBER, at, call_id);
    let text = std::str::from_utf8(&request).unwrap();
    let (from, lines) = way;
    let text = text.replacen("<sip:x@pbx.example.net>", from, 1);
    text.replacen("CSeq:", &format!("{lines}CSeq:"), 1).into()
}

fn asked(t: &mut Table, request: &Message, tag: &str) {
    let asked = response(request, 407, pbx(), tag).header(Name::ProxyAuthenticate, CHALLENGE);
    t.receive(pbx(), asked.end());
    if *request.method() == Method::Invite {
        t.request_to(pbx(), Method::Ack);
    }
}

/// Bob's desk phone forwards who calls it to a user of the PBX.
fn forwards(t: &mut Table, rung: &Message, to: &str) {
    let forwards = response(rung, 302, desk(), "f1").end();
    let own = "Contact: <sip:phone@198.51.100.2:5060>";
    let to = format!("Contact: <sip:{to}@pbx.example.net>");
    t.receive(desk(), instead(&forwards, own, &to));
    t.request_to(desk(), Method::Ack);
}

/// The PBX asks, and whoever is at the other end is to answer.
#[track_caller]
fn the_challenge_crosses(t: &mut Table, request: &Message, at: SocketAddr, tag: &str) {
    asked(t, request, tag);
    t.nothing_to(pbx());
    let crossed = t.response_to(at, 407);
    assert_eq!(crossed.header(Name::ProxyAuthenticate), Some(CHALLENGE));
}

#[test]
fn who_asks_in_the_name_of_a_user_of_the_pbx_is_asked_and_not_we() {
    for method in [Method::Invite, Method::Message] {
        for way in ways() {
            for at in [stranger(), alice()] {
                let mut t = in_front();
                t.receive(at, by(way, &method, at, "c1"));
                let onward = t.request_to(pbx(), method.clone());
                the_challenge_crosses(&mut t, &onward, at, "x");
            }
        }
        // Nothing but its flow says whose phone it is.
        for from in ["<sip:anonymous@anonymous.invalid>", "<tel:+4911>"] {
            let mut t = in_front();
            t.receive(alice(), by((from, ""), &method, alice(), "c1"));
            let onward = t.request_to(pbx(), method.clone());
            the_challenge_crosses(&mut t, &onward, alice(), "x");
            let unknown = by((from, ""), &method, stranger(), "c2");
            t.is_refused(stranger(), &unknown, 403);
            t.nothing_to(pbx());
        }
    }
}

#[test]
fn a_phone_that_withholds_its_name_is_the_same_phone() {
    let mut t = in_front();
    in_a_call(&mut t, ("<sip:anonymous@anonymous.invalid>", ""), alice());
    t.alice_is_lost();
    // Its own endpoint, as it has registered it.
    let invite = t.request_to(alice(), Method::Invite);
    assert!(invite.uri().starts_with("sip:alice@"), "{}", invite.uri());
}

#[test]
fn of_two_users_of_one_phone_nobody_is_sought_but_who_calls_by_its_contact() {
    for contact in ["carol", "x"] {
        let mut t = in_front();
        t.register_beyond("carol", alice());
        let way = ("<sip:anonymous@anonymous.invalid>", "");
        let invite = by(way, &Method::Invite, alice(), "c1");
        let named = format!("Contact: <sip:{contact}@");
        let invite = String::from_utf8_lossy(&invite).replace("Contact: <sip:x@", &named);
        t.receive(alice(), invite.into());
        let onward = asked_at_the_pbx(&mut t, NUMBER);
        t.receive(
            pbx(),
            with_sdp(response(&onward, 200, pbx(), "b1"), &audio(pbx())),
        );
        t.request_to(pbx(), Method::Ack);
        let caller = Remote::of_answer(&t.response_to(alice(), 200), alice());
        t.receive(alice(), caller.ack(1));
        t.alice_is_lost();
        t.pass(Millis::from_secs(5));
        let mut asked = 0;
        while let Some(invite) = t.waiting(alice(), &Method::Invite) {
            let uri = invite.uri();
            assert!(uri.starts_with(&format!("sip:{contact}@")), "{uri}");
            asked += 1;
        }
        assert!(asked > 0);
    }
}

#[test]
fn what_it_proves_itself_by_reaches_the_pbx() {
    let own = "Digest username=\"alice\", realm=\"pbx\", nonce=\"n1\", uri=\"sip:900123@pbx.example.net\", response=\"0\"";
    for method in [Method::Invite, Method::Message] {
        let lines = format!(
            "P-Preferred-Identity: <sip:alice@pbx.example.net>\r\nProxy-Authorization: {own}\r\n"
        );
        let way = ("<sip:anonymous@anonymous.invalid>", lines.as_str());
        let mut t = in_front();
        t.receive(alice(), by(way, &method, alice(), "c1"));
        let onward = t.request_to(pbx(), method.clone());
        assert_eq!(onward.header(Name::ProxyAuthorization), Some(own));
        assert_eq!(onward.header(Name::PPreferredIdentity), None);
    }
}

/// The PBX takes the call of who asks by one of those ways, and asks for nothing.
fn in_a_call(t: &mut Table, way: (&str, &str), at: SocketAddr) -> Remote {
    t.receive(at, by(way, &Method::Invite, at, "c1"));
    let onward = asked_at_the_pbx(t, NUMBER);
    t.receive(
        pbx(),
        with_sdp(response(&onward, 200, pbx(), "b1"), &audio(pbx())),
    );
    t.request_to(pbx(), Method::Ack);
    let caller = Remote::of_answer(&t.response_to(at, 200), at);
    t.receive(at, caller.ack(1));
    caller
}

#[test]
fn within_its_call_it_is_asked_too() {
    for way in ways() {
        for at in [stranger(), alice()] {
            let mut t = in_front();
            let mut caller = in_a_call(&mut t, way, at);
            for method in [Method::Invite, Method::Info, Method::Message] {
                let request = caller.request(method.clone());
                let bytes = match method {
                    Method::Invite => with_sdp(request, &sdp(at, 2, "sendonly")),
                    _ => request.body("text/plain", b"hi"),
                };
                t.receive(at, bytes);
                let onward = t.request_to(pbx(), method.clone());
                the_challenge_crosses(&mut t, &onward, at, "b1");
                if method == Method::Invite {
                    t.receive(at, caller.numbered(Method::Ack, 2).end());
                }
            }
            // It has hung up: to end the call is for us.
            let bye = caller.request(Method::Bye);
            t.receive(at, bye.end());
            t.response_to(at, 200);
            let bye = t.request_to(pbx(), Method::Bye);
            asked(&mut t, &bye, "b1");
            let again = t.request_to(pbx(), Method::Bye);
            t.reply(&again, 200, pbx());
            t.ends_empty();
        }
    }
}

#[test]
fn who_only_says_so_has_no_call_made_there() {
    for way in ways() {
        let mut t = in_front();
        let mut caller = in_a_call(&mut t, way, stranger());
        let refer = caller
            .request(Method::Refer)
            .header(Name::ReferTo, "<sip:900666@pbx.example.net>");
        t.receive(stranger(), refer.end());
        t.response_to(stranger(), 403);
        t.nothing_to(pbx());
    }
    // A phone that the PBX let register, whose name is withheld, has: we make the call.
    let own = "P-Preferred-Identity: <sip:alice@pbx.example.net>\r\n";
    let mut t = in_front();
    let way = ("<sip:anonymous@anonymous.invalid>", own);
    let mut caller = in_a_call(&mut t, way, alice());
    let refer = caller
        .request(Method::Refer)
        .header(Name::ReferTo, "<sip:900666@pbx.example.net>");
    t.receive(alice(), refer.end());
    t.response_to(alice(), 202);
    let onward = asked_at_the_pbx(&mut t, "900666");
    asked(&mut t, &onward, "x");
    let again = asked_at_the_pbx(&mut t, "900666");
    let shown = again.header(Name::ProxyAuthorization).unwrap();
    assert!(shown.contains("username=\"refork\""), "{shown}");
}

/// With `refer: pass` the PBX makes the call, and would bill it to whoever has proven the REFER.
#[test]
fn a_transfer_beyond_is_not_proven_for_who_may_have_none() {
    for method in [Method::Refer, Method::Info] {
        let mut settings = with_account();
        settings.refer = ReferPolicy::Pass;
        let mut t = Table::new(settings);
        // Carol, whom nobody knows, calls Bob, whose phone forwards to somebody beyond.
        t.register("bob", desk(), "desk");
        let invite = request(Method::Invite, "carol", "bob", stranger(), "c1");
        let invite = with_sdp(invite, &audio(stranger()));
        let elsewhere = "<sip:carol@elsewhere.example>";
        t.receive(
            stranger(),
            instead(&invite, "<sip:carol@example.org>", elsewhere),
        );
        let rung = t.request_to(desk(), Method::Invite);
        forwards(&mut t, &rung, NUMBER);
        let onward = asked_at_the_pbx(&mut t, NUMBER);
        let ok = response(&onward, 200, pbx(), "b1");
        t.receive(pbx(), with_sdp(ok, &audio(pbx())));
        t.request_to(pbx(), Method::Ack);
        let mut caller = Remote::of_answer(&t.response_to(stranger(), 200), stranger());
        t.receive(stranger(), caller.ack(1));
        let request = caller.request(method.clone());
        let to = "<sip:900666@pbx.example.net>";
        t.receive(stranger(), request.header(Name::ReferTo, to).end());
        let onward = t.request_to(pbx(), method.clone());
        asked(&mut t, &onward, "b1");
        if method == Method::Refer {
            t.nothing_to(pbx());
            continue;
        }
        // The call stands by Bob's word: what else goes on within it is proven as that was.
        let again = t.request_to(pbx(), method);
        assert!(again.header(Name::ProxyAuthorization).is_some());
    }
}

/// The PBX calls Bob, whose phone forwards to another of its users: what it asks of that call is for nobody beyond it
/// to answer, who has called whom ever.
#[test]
fn a_call_that_a_phone_forwards_to_the_pbx_is_proven_by_our_account() {
    let users = "<sip:alice@pbx.example.net>";
    // What is too long for a datagram goes over TCP first, which the PBX may not have.
    let long = format!("Subject: {}\r\nCSeq:", "long ".repeat(300));
    let elsewhere = "<sip:alice@elsewhere.example>";
    for (from, subject) in [
        (users, "CSeq:"),
        (users, long.as_str()),
        (elsewhere, "CSeq:"),
    ] {
        for fails in [None, Some(Unanswered::NoAccount), Some(Unanswered::Refused)] {
            let mut settings = with_account();
            if fails == Some(Unanswered::NoAccount) {
                settings.upstreams.get_mut("pbx").unwrap().account = None;
            }
            let mut t = Table::new(settings);
            let path = path_of(&t.register_beyond("bob", desk()));
            let invite = instead(&invite_by(&path, OF_BOB, "c1"), users, from);
            t.receive(pbx(), instead(&invite, "CSeq:", subject));
            let rung = t.request_to(desk(), Method::Invite);
            forwards(&mut t, &rung, "carol");
            let mut onward = asked_at_the_pbx(&mut t, "carol");
            if subject == long {
                t.closed(pbx(), 1);
                onward = asked_at_the_pbx(&mut t, "carol");
            }
            asked(&mut t, &onward, "x");
            let proven = |request: &Message, nonce: &str| {
                let shown = request.header(Name::ProxyAuthorization).unwrap_or("");
                assert!(
                    shown.contains("username=\"refork\"") && shown.contains(nonce),
                    "{shown}"
                );
            };
            if fails != Some(Unanswered::NoAccount) {
                let again = asked_at_the_pbx(&mut t, "carol");
                proven(&again, "\"n1\"");
                if fails.is_some() {
                    asked(&mut t, &again, "x");
                } else {
                    let ok = response(&again, 200, pbx(), "b1");
                    t.receive(pbx(), with_sdp(ok, &audio(pbx())));
                    t.request_to(pbx(), Method::Ack);
                }
            }
            if let Some(why) = fails {
                let refused = t.response_to(pbx(), 403);
                assert_eq!(refused.header(Name::ProxyAuthenticate), None);
                let told = |event: &Event| {
                    matches!(event, Event::Unanswered { why: told, upstream, .. }
                        if *told == why && **upstream == *"pbx")
                };
                assert_eq!(t.events.iter().filter(|event| told(event)).count(), 1);
                continue;
            }
            let mut caller = Remote::of_answer(&t.response_to(pbx(), 200), pbx());
            t.receive(pbx(), caller.ack(1));
            // So is what goes on within it.
            t.receive(pbx(), caller.request(Method::Info).end());
            let info = t.request_to(pbx(), Method::Info);
            let stale = "Digest realm=\"pbx\", nonce=\"n2\", qop=\"auth\", stale=true";
            let stale = response(&info, 407, pbx(), "b1").header(Name::ProxyAuthenticate, stale);
            t.receive(pbx(), stale.end());
            proven(&t.request_to(pbx(), Method::Info), "\"n2\"");
            // And what goes on after a restart, which knows of nothing that was shown.
            t.restart();
            is_proven_for_who_is_beyond(&mut t, &mut caller);
        }
    }
}

/// Bob's phone forwards whoever calls it: our account vouches for a phone that the PBX has let register, and for nobody
/// who has but its name.
#[test]
fn a_forwarded_call_in_the_name_of_a_user_of_the_pbx_is_not_proven_for_a_stranger() {
    for at in [stranger(), alice()] {
        let mut t = in_front();
        t.register("bob", desk(), "desk");
        let invite = with_sdp(
            request(Method::Invite, "alice", "bob", at, "c1"),
            &audio(at),
        );
        let claimed = "<sip:alice@pbx.example.net>";
        t.receive(at, instead(&invite, "<sip:alice@example.org>", claimed));
        let rung = t.request_to(desk(), Method::Invite);
        forwards(&mut t, &rung, "carol");
        let onward = asked_at_the_pbx(&mut t, "carol");
        asked(&mut t, &onward, "x");
        if at == stranger() {
            t.nothing_to(pbx());
            let refused = t.response_to(at, 403);
            assert_eq!(refused.header(Name::ProxyAuthenticate), None);
            continue;
        }
        let again = asked_at_the_pbx(&mut t, "carol");
        let shown = again.header(Name::ProxyAuthorization).unwrap();
        assert!(shown.contains("username=\"refork\""), "{shown}");
    }
}

/// Alice shows the PBX who she is; whom it has her call instead, and whom that one's phone names, are shown nothing of it.
#[test]
fn what_the_caller_shows_the_pbx_goes_on_to_nobody_who_is_called_instead() {
    const OWN: &str =
        "Digest username=\"alice\", realm=\"pbx\", nonce=\"n1\", uri=\"sip:x@y\", response=\"0\"";
    let mut t = in_front();
    t.register("bob", desk(), "desk");
    let lines = format!(
        "Proxy-Authorization: {OWN}\r\nAuthorization: {OWN}\r\nReplaces: x@pbx;to-tag=1;from-tag=2\r\n"
    );
    let way = ("<sip:alice@pbx.example.net>", lines.as_str());
    t.receive(alice(), by(way, &Method::Invite, alice(), "c1"));
    let shown = |request: &Message| {
        let names = [
            Name::ProxyAuthorization,
            Name::Authorization,
            Name::Replaces,
        ];
        names.map(|name| request.header(name).is_some())
    };
    let first = t.request_to(pbx(), Method::Invite);
    assert_eq!(shown(&first), [true; 3]);
    let moved = response(&first, 302, pbx(), "m1").end();
    let own = format!("Contact: <sip:phone@{}>", pbx());
    t.receive(
        pbx(),
        instead(&moved, &own, "Contact: <sip:bob@example.org>"),
    );
    t.request_to(pbx(), Method::Ack);
    let rung = t.request_to(desk(), Method::Invite);
    assert_eq!(shown(&rung), [false; 3]);
    forwards(&mut t, &rung, "dave");
    let onward = asked_at_the_pbx(&mut t, "dave");
    assert_eq!(shown(&onward), [false; 3]);
    // What it asks of that call is our account's to prove.
    asked(&mut t, &onward, "x");
    let again = asked_at_the_pbx(&mut t, "dave");
    let proof = again.header(Name::ProxyAuthorization).unwrap();
    assert!(proof.contains("username=\"refork\""), "{proof}");
    assert_eq!(shown(&again), [true, false, false]);
}

/// What crosses to the PBX for who has called by it is asked for proof, and that is ours.
fn is_proven_for_who_is_beyond(t: &mut Table, caller: &mut Remote) {
    t.discard(pbx());
    t.receive(pbx(), caller.request(Method::Info).end());
    let info = t.waiting(pbx(), &Method::Info).expect("what crosses");
    let stale = "Digest realm=\"pbx\", nonce=\"n3\", qop=\"auth\", stale=true";
    let stale = response(&info, 407, pbx(), "b1").header(Name::ProxyAuthenticate, stale);
    t.receive(pbx(), stale.end());
    let again = t.waiting(pbx(), &Method::Info).expect("it once more");
    let shown = again.header(Name::ProxyAuthorization).unwrap_or("");
    assert!(
        shown.contains("username=\"refork\"") && shown.contains("\"n3\""),
        "{shown}"
    );
}

/// Bob, whom the PBX has called for one of its users, is lost, and asked for at the PBX: who proves that proves what
/// goes on within it, too.
#[test]
fn a_call_that_goes_on_by_the_pbx_is_proven_by_our_account() {
    let mut t = Table::new(with_account());
    let path = path_of(&t.register_beyond("bob", desk()));
    t.receive(pbx(), invite_by(&path, OF_BOB, "c1"));
    let rung = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(response(&rung, 200, desk(), "d1"), &audio(desk())),
    );
    t.request_to(desk(), Method::Ack);
    let mut caller = Remote::of_answer(&t.response_to(pbx(), 200), pbx());
    t.receive(pbx(), caller.ack(1));
    t.bob_is_lost();
    let onward = (0..60).find_map(|_| {
        t.icmp(desk());
        t.pass(Millis(1_000));
        t.waiting(pbx(), &Method::Invite)
    });
    let onward = onward.expect("Bob is asked for at the PBX");
    asked(&mut t, &onward, "x");
    t.discard(desk());
    let again = t.waiting(pbx(), &Method::Invite).expect("it is proven");
    let ok = response(&again, 200, pbx(), "b1");
    t.receive(pbx(), with_sdp(ok, &audio(pbx())));
    t.pass(Millis(100));
    is_proven_for_who_is_beyond(&mut t, &mut caller);
}
