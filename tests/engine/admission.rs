//! Who may: digest, trusted peers and strangers.

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::events::{Event, Unproven};
use refork::engine::ids::{Aor, Transport};
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::digest::{Algorithm, Challenge, ha1};
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// In a network that is trusted.
pub fn gateway() -> SocketAddr {
    phone("203.0.113.7:5060")
}

fn pbx() -> SocketAddr {
    phone("192.0.2.50:5060")
}

pub fn trunk() -> SocketAddr {
    phone("192.0.2.60:5060")
}

/// Alice, Bob and Carol have secrets; numbers go to a trunk, `pbx.example.net` is a PBX's.
pub fn guarded() -> Settings {
    let domain = |host: &str, served_by| Domain {
        host: host.into(),
        realm: host.into(),
        served_by,
    };
    let user = |name: &str| {
        let secret = secret(name);
        let ha1 = |algorithm| Some(ha1(algorithm, name, "example.org", &secret).into());
        let credentials = Credentials {
            ha1_md5: ha1(Algorithm::Md5),
            ha1_sha256: ha1(Algorithm::Sha256),
            ha1_sha512_256: None,
        };
        (aor(name), credentials)
    };
    Settings {
        domains: vec![
            domain(
                "example.org",
                ServedBy::Registrar(RegistrarSettings::default()),
            ),
            domain("pbx.example.net", ServedBy::Upstream("pbx".into())),
        ],
        users: ["alice", "bob", "carol"].map(user).into(),
        upstreams: [
            ("pbx".into(), upstream("sip:192.0.2.50", true)),
            ("trunk".into(), upstream("sip:192.0.2.60", false)),
        ]
        .into(),
        routes: vec![Route {
            pattern: "sip:+*@*".into(),
            to: "trunk".into(),
            fork: RouteFork::default(),
            emergency: None,
        }],
        acl: AclSettings {
            trusted: vec!["203.0.113.0/24".parse().unwrap()],
            ..AclSettings::default()
        },
        ..settings()
    }
}

fn aor(user: &str) -> Aor {
    Aor::from_canonical(format!("sip:{user}@example.org"))
}

fn secret(user: &str) -> String {
    format!("{user}'s secret")
}

/// The request once more with credentials, as a phone sends it (RFC 3261 22.2): the next CSeq, a new branch.
pub fn with_secret(request: &Bytes, challenged: &Message, user: &str, secret: &str) -> Bytes {
    let (asked, answer) = match challenged.status() {
        401 => (Name::WwwAuthenticate, "Authorization"),
        407 => (Name::ProxyAuthenticate, "Proxy-Authorization"),
        other => panic!("{other} is no challenge"),
    };
    let first = Message::parse(request.clone()).unwrap();
    let method = first.method().as_str();
    let challenge = challenged.fields(asked).find_map(Challenge::parse).unwrap();
    let ha1 = ha1(challenge.algorithm, user, challenge.realm, secret);
    let credentials = challenge.answer(user, &ha1, method, first.uri(), "c");
    let text = std::str::from_utf8(request).unwrap();
    let next = format!(
        "{answer}: {credentials}\r\nCSeq: {} {method}",
        first.cseq() + 1
    );
    text.replacen(&format!("CSeq: {} {method}", first.cseq()), &next, 1)
        .replacen("branch=z9hG4bK", "branch=z9hG4bKagain", 1)
        .into()
}

/// The same with the user's own secret.
pub fn again(request: &Bytes, challenged: &Message, user: &str) -> Bytes {
    with_secret(request, challenged, user, &secret(user))
}

/// A phone's ACK to a final response that is no 2xx.
pub fn ack_of(invite: &Bytes, refused: &Message) -> Bytes {
    let to = refused.header(Name::To).unwrap();
    let text = std::str::from_utf8(invite).unwrap();
    let head = text.split("\r\n\r\n").next().unwrap();
    let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
        None => line.replacen("INVITE", "ACK", 1),
        Some(("CSeq", value)) => format!("CSeq: {}", value.replace("INVITE", "ACK")),
        Some(("To", _)) => format!("To: {to}"),
        Some(("Content-Length", _)) => "Content-Length: 0".into(),
        Some(_) => line.into(),
    });
    let lines: Vec<String> = lines.collect();
    format!("{}\r\n\r\n", lines.join("\r\n")).into()
}

pub fn invite(from: &str, to: &str, at: SocketAddr, call_id: &str) -> Bytes {
    with_sdp(
        request(Method::Invite, from, to, at, call_id),
        &sdp(at, 1, "sendrecv"),
    )
}

fn page(from: &str, to: &str, at: SocketAddr, call_id: &str) -> Bytes {
    request(Method::Message, from, to, at, call_id).body("text/plain", b"hello")
}

/// The same request from somewhere else, or to somewhere else.
pub fn instead(request: &Bytes, what: &str, by: &str) -> Bytes {
    let text = std::str::from_utf8(request).unwrap();
    assert!(text.contains(what), "{text}");
    text.replace(what, by).into()
}

/// Bob's desk phone has registered.
pub fn house() -> Table {
    let mut t = Table::new(guarded());
    t.signs_on("bob", desk(), "desk");
    t
}

impl Table {
    /// Registers an endpoint by digest.
    pub fn signs_on(&mut self, user: &str, at: SocketAddr, instance: &str) {
        let register = self.register_request(user, at, instance, 1, 3600);
        self.receive(at, register.clone());
        let challenged = self.response_to(at, 401);
        self.receive(at, again(&register, &challenged, user));
        self.response_to(at, 200);
    }

    /// Sends a request, is challenged, and returns the challenge.
    #[track_caller]
    pub fn is_asked(&mut self, at: SocketAddr, request: &Bytes) -> Message {
        self.receive(at, request.clone());
        let challenged = self.response_to(at, 407);
        if *challenged.method() == Method::Invite {
            self.receive(at, ack_of(request, &challenged));
        }
        self.nothing_to(at);
        challenged
    }

    /// Sends a request and is refused for good.
    #[track_caller]
    pub fn is_refused(&mut self, at: SocketAddr, request: &Bytes, status: u16) {
        self.receive(at, request.clone());
        let refused = self.response_to(at, status);
        if *refused.method() == Method::Invite {
            self.receive(at, ack_of(request, &refused));
        }
    }

    pub fn unproven(&self) -> Vec<Unproven> {
        let why = |event: &Event| match event {
            Event::Unproven { why, .. } => Some(*why),
            _ => None,
        };
        self.events.iter().filter_map(why).collect()
    }
}

#[test]
fn a_caller_proves_who_it_is() {
    let mut t = house();
    let first = invite("alice", "bob", alice(), "call1");
    t.receive(alice(), first.clone());
    let challenged = t.response_to(alice(), 407);
    // A copy gets the same answer, and nobody is asked twice.
    t.receive(alice(), first.clone());
    let copy = t.response_to(alice(), 407);
    assert_eq!(copy.to_tag(), challenged.to_tag());
    assert_eq!(t.engine.gauges().server_transactions, 1, "Bob's REGISTER");
    t.receive(alice(), ack_of(&first, &challenged));
    t.nothing_to(alice());
    t.nothing_to(desk());
    let stray = |event: &Event| matches!(event, Event::Stray { .. });
    assert!(!t.events.iter().any(stray), "its ACK is of the challenge");
    let other = ack_of(&first, &challenged);
    let other = String::from_utf8_lossy(&other).replace("Call-ID: call1", "Call-ID: call7");
    t.receive(alice(), other.into());
    assert!(t.events.iter().any(stray), "and this one of nothing");
    assert!(t.engine.list(10).is_empty(), "a conversation of nobody");
    let gauges = t.engine.gauges();
    assert_eq!((gauges.legs, gauges.inviting), (0, 0));
    t.receive(alice(), again(&first, &challenged, "alice"));
    let invite = t.request_to(desk(), Method::Invite);
    for secret in [Name::ProxyAuthorization, Name::Authorization] {
        assert_eq!(invite.header(secret), None, "it is between Alice and us");
    }
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_ne!(ok.to_tag(), challenged.to_tag());
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(2));
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    // Of Bob's registration, of Alice's call, and of its copy.
    assert_eq!(t.unproven(), [Unproven::Missing; 3]);
    t.ends_empty();
}

#[test]
fn texts_and_questions_about_users_are_asked_too() {
    let mut t = house();
    let text = page("alice", "bob", alice(), "text1");
    let challenged = t.is_asked(alice(), &text);
    t.nothing_to(desk());
    t.receive(alice(), again(&text, &challenged, "alice"));
    let came = t.request_to(desk(), Method::Message);
    assert_eq!(came.body(), b"hello");
    t.reply(&came, 200, desk());
    t.response_to(alice(), 200);
    // Whether there is such a user, and where, is for those who may call it.
    for user in ["bob", "nobody"] {
        let options = request(Method::Options, "alice", user, alice(), user).end();
        t.is_asked(alice(), &options);
    }
    let options = request(Method::Options, "alice", "x", alice(), "o3").end();
    let of_the_server = instead(&options, "OPTIONS sip:x@", "OPTIONS sip:");
    t.receive(alice(), of_the_server);
    t.response_to(alice(), 200);
    t.ends_empty();
}

#[test]
fn what_proves_nothing_is_counted_and_told() {
    let mut t = house();
    let first = invite("alice", "bob", alice(), "call1");
    let challenged = t.is_asked(alice(), &first);
    let guess = with_secret(&first, &challenged, "alice", "12345");
    let once_more = t.is_asked(alice(), &guess);
    assert!(
        !once_more
            .header(Name::ProxyAuthenticate)
            .unwrap()
            .contains("stale")
    );
    // A user that does not exist looks like one whose password is wrong.
    let nobody = instead(&first, "alice", "nobody");
    let nobody = instead(&nobody, "call1", "call2");
    let challenged = t.is_asked(alice(), &nobody);
    t.is_asked(alice(), &again(&nobody, &challenged, "nobody"));
    // Bob's password is good for Bob alone.
    let third = invite("alice", "bob", alice(), "call3");
    let challenged = t.is_asked(alice(), &third);
    t.is_refused(alice(), &again(&third, &challenged, "bob"), 403);
    t.nothing_to(desk());
    assert!(t.engine.list(10).is_empty());
    use Unproven::{Missing, Other, Wrong};
    // The first is of Bob's registration.
    let expected = [Missing, Missing, Wrong, Missing, Wrong, Missing, Other];
    assert_eq!(t.unproven(), expected);
    let told = t.events.iter().find_map(|event| match event {
        Event::Unproven {
            why: Wrong,
            aor,
            peer,
            method,
        } => Some((aor.as_ref(), *peer, method.as_ref())),
        _ => None,
    });
    assert_eq!(told, Some(("sip:alice@example.org", alice(), "INVITE")));
    let refused = |status: u16| {
        let is = |event: &&Event| matches!(event, Event::Refused { status: s, .. } if *s == status);
        t.events.iter().filter(is).count()
    };
    assert_eq!((refused(407), refused(403)), (2, 1));
    t.ends_empty();
}

#[test]
fn who_is_only_asked_for_proof_is_not_remembered() {
    let mut t = house();
    t.pass(Millis::from_secs(60));
    assert_eq!(t.engine.gauges().server_transactions, 0);
    let mut asked = Vec::new();
    for number in 0..100 {
        let call = invite("alice", "bob", alice(), &format!("flood{number}"));
        t.receive(alice(), call.clone());
        asked.push((call, t.response_to(alice(), 407)));
        let register = t.register_request("carol", mobile(), "cm", number + 1, 3600);
        t.receive(mobile(), register);
        t.response_to(mobile(), 401);
        t.receive(
            alice(),
            page("alice", "bob", alice(), &format!("page{number}")),
        );
        t.response_to(alice(), 407);
    }
    let gauges = t.engine.gauges();
    assert_eq!((gauges.server_transactions, gauges.timers), (0, 0));
    // Whoever comes back with proof is let in, and a guess is told from its copies.
    let (call, challenged) = asked.pop().unwrap();
    t.receive(alice(), ack_of(&call, &challenged));
    t.receive(alice(), again(&call, &challenged, "alice"));
    t.request_to(desk(), Method::Invite);
    t.discard(alice());
    let (call, challenged) = asked.pop().unwrap();
    let guess = with_secret(&call, &challenged, "alice", "a guess");
    let wrong = |t: &Table| {
        t.unproven()
            .iter()
            .filter(|why| **why == Unproven::Wrong)
            .count()
    };
    let before = wrong(&t);
    t.receive(alice(), guess.clone());
    t.response_to(alice(), 407);
    t.receive(alice(), guess);
    t.response_to(alice(), 407);
    assert_eq!(wrong(&t), before + 1);
}

#[test]
fn strangers_reach_our_users_and_nothing_beyond() {
    let mut t = house();
    let stranger = phone("198.51.100.77:5060");
    let of = |to: &str, call_id: &str| {
        let from = invite("mallory", to, stranger, call_id);
        instead(
            &from,
            "sip:mallory@example.org",
            "sip:mallory@elsewhere.example",
        )
    };
    t.receive(stranger, of("bob", "call1"));
    let ringing = t.request_to(desk(), Method::Invite);
    t.reply(&ringing, 486, desk());
    t.request_to(desk(), Method::Ack);
    let busy = t.response_to(stranger, 486);
    t.receive(stranger, ack_of(&of("bob", "call1"), &busy));
    t.is_refused(stranger, &of("+4930123", "call2"), 403);
    let to_pbx = instead(
        &of("dave", "call3"),
        "sip:dave@example.org",
        "sip:dave@pbx.example.net",
    );
    t.is_refused(stranger, &to_pbx, 403);
    let text = page("mallory", "+4930123", stranger, "text1");
    let text = instead(
        &text,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    );
    t.is_refused(stranger, &text, 403);
    for beyond in [pbx(), trunk()] {
        t.nothing_to(beyond);
    }
    t.ends_empty();
}

#[test]
fn a_stranger_cannot_transfer_anybody_beyond_our_users() {
    let mut t = house();
    let stranger = phone("198.51.100.77:5060");
    let from = invite("mallory", "bob", stranger, "call1");
    let from = instead(
        &from,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    );
    t.receive(stranger, from);
    let ringing = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&ringing), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let mut mallory = Remote::of_answer(&t.response_to(stranger, 200), stranger);
    t.receive(stranger, mallory.ack(1));
    let refer = mallory
        .request(Method::Refer)
        .header(Name::ReferTo, "<sip:+4930123@example.org>");
    t.receive(stranger, refer.end());
    t.response_to(stranger, 403);
    t.nothing_to(trunk());
    // Whom it called may.
    let mut bob = Remote::of_invite(&ringing, desk(), "b1");
    let refer = bob
        .request(Method::Refer)
        .header(Name::ReferTo, "<sip:+4930123@example.org>");
    t.receive(desk(), refer.end());
    t.response_to(desk(), 202);
    t.request_to(trunk(), Method::Invite);
}

#[test]
fn who_only_says_to_be_of_a_pbx_transfers_nobody_there() {
    let mut t = house();
    let handset = phone("198.51.100.78:5060");
    let from = invite("dave", "bob", handset, "call1");
    let from = instead(&from, "sip:dave@example.org", "sip:dave@pbx.example.net");
    t.receive(handset, from);
    let ringing = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&ringing), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let mut dave = Remote::of_answer(&t.response_to(handset, 200), handset);
    t.receive(handset, dave.ack(1));
    let refer = dave
        .request(Method::Refer)
        .header(Name::ReferTo, "<sip:+190055@pbx.example.net>");
    t.receive(handset, refer.end());
    t.response_to(handset, 403);
    t.nothing_to(pbx());
}

#[test]
fn a_user_of_a_pbx_is_the_pbxs_to_judge() {
    let mut t = house();
    let handset = phone("198.51.100.78:5060");
    let of = |to: &str, call_id: &str| {
        let from = invite("dave", to, handset, call_id);
        instead(&from, "sip:dave@example.org", "sip:dave@pbx.example.net")
    };
    let within = instead(
        &of("erin", "call1"),
        "sip:erin@example.org",
        "sip:erin@pbx.example.net",
    );
    t.receive(handset, within.clone());
    let asked = t.request_to(pbx(), Method::Invite);
    t.reply(&asked, 404, pbx());
    t.request_to(pbx(), Method::Ack);
    let refused = t.response_to(handset, 404);
    t.receive(handset, ack_of(&within, &refused));
    // Not for calls over another upstream, which would bill us.
    t.is_refused(handset, &of("+4930123", "call2"), 403);
    t.nothing_to(trunk());
    t.ends_empty();
}

#[test]
fn a_trusted_peer_is_asked_nothing() {
    for peer in [gateway(), pbx(), phone("192.0.2.50:40123")] {
        let mut t = house();
        let first = invite("alice", "bob", peer, "call1");
        t.receive(peer, first.clone());
        let ringing = t.request_to(desk(), Method::Invite);
        // Its word on who calls stands, be that a user of ours.
        let from = ringing.header(Name::From).unwrap();
        assert!(from.contains("<sip:alice@example.org>"), "{from}");
        t.reply(&ringing, 486, desk());
        t.request_to(desk(), Method::Ack);
        let busy = t.response_to(peer, 486);
        t.receive(peer, ack_of(&first, &busy));
        t.receive(peer, page("+4940", "bob", peer, "text1"));
        let text = t.request_to(desk(), Method::Message);
        t.reply(&text, 200, desk());
        t.response_to(peer, 200);
        t.ends_empty();
    }
    // An upstream that is not trusted is like anybody else.
    let mut t = house();
    t.is_asked(trunk(), &invite("alice", "bob", trunk(), "call1"));
    t.nothing_to(desk());
}

#[test]
fn only_a_trusted_network_registers_without_a_secret() {
    let mut t = house();
    t.register("carol", gateway(), "carol");
    assert_eq!(t.site.bindings[&aor("carol")].len(), 1);
    let register = t.register_request("carol", pbx(), "another", 1, 3600);
    t.receive(pbx(), register);
    t.response_to(pbx(), 401);
}

#[test]
fn an_upstream_is_known_by_the_addresses_of_its_name() {
    let mut settings = guarded();
    let upstream = settings.upstreams.get_mut("pbx").unwrap();
    upstream.targets = vec!["sip:pbx.example.net;transport=tcp".into()];
    let mut t = Table::new(settings);
    let at = |pbx| vec![(Transport::Tcp, pbx)];
    t.names.insert("pbx.example.net".into(), at(pbx()));
    t.is_asked(pbx(), &invite("alice", "bob", pbx(), "call1"));
    t.pass(Millis(1));
    t.is_refused(pbx(), &invite("alice", "bob", pbx(), "call2"), 480);
    // It moves; the old address is believed for a while.
    let moved = phone("192.0.2.51:5060");
    t.names.insert("pbx.example.net".into(), at(moved));
    t.pass(Millis::from_secs(61));
    t.is_refused(moved, &invite("alice", "bob", moved, "call3"), 480);
    t.is_refused(pbx(), &invite("alice", "bob", pbx(), "call4"), 480);
    t.pass(Millis::from_secs(16 * 60));
    t.is_asked(pbx(), &invite("alice", "bob", pbx(), "call5"));
    t.is_refused(moved, &invite("alice", "bob", moved, "call6"), 480);
}

#[test]
fn who_hides_its_name_from_others_proves_it_to_us() {
    let anonymous = |from: &str, to: &str, call_id: &str, preferred: Option<&str>| {
        let mut builder = request(Method::Invite, from, to, alice(), call_id);
        if let Some(preferred) = preferred {
            builder = builder.header(Name::PPreferredIdentity, preferred);
        }
        let invite = with_sdp(builder, &sdp(alice(), 1, "sendrecv"));
        instead(
            &invite,
            &format!("<sip:{from}@example.org>;tag"),
            "<sip:anonymous@anonymous.invalid>;tag",
        )
    };
    let mut t = house();
    // By the identity that it prefers.
    let first = anonymous(
        "alice",
        "+4930123",
        "call1",
        Some("<sip:alice@example.org>"),
    );
    let challenged = t.is_asked(alice(), &first);
    t.receive(alice(), again(&first, &challenged, "alice"));
    let out = t.request_to(trunk(), Method::Invite);
    assert!(
        out.header(Name::From)
            .unwrap()
            .contains("anonymous.invalid")
    );
    assert_eq!(out.header(Name::PPreferredIdentity), None);
    t.reply(&out, 486, trunk());
    t.request_to(trunk(), Method::Ack);
    t.response_to(alice(), 486);
    // By nothing: whoever wants more than a stranger may have is asked who of the domain it is.
    let second = anonymous("alice", "+4930123", "call2", None);
    let asked = t.is_asked(alice(), &second);
    t.receive(alice(), again(&second, &asked, "alice"));
    t.request_to(trunk(), Method::Invite);
    t.discard(alice());
    let third = anonymous("alice", "+4930123", "call3", None);
    let challenged = t.is_asked(alice(), &again(&third, &challenged, "alice"));
    let asked = challenged.header(Name::ProxyAuthenticate).unwrap();
    assert!(
        asked.contains("stale=true"),
        "these were used before: {asked}"
    );
    let fourth = anonymous("alice", "+4930123", "call4", None);
    t.receive(alice(), again(&fourth, &challenged, "alice"));
    t.request_to(trunk(), Method::Invite);
    // Where a domain is for every host, nobody is a stranger.
    let mut settings = guarded();
    settings.domains[0].host = "*".into();
    let mut t = Table::new(settings);
    let fifth = anonymous("alice", "+4930123", "call5", None);
    let challenged = t.is_asked(alice(), &fifth);
    t.receive(alice(), again(&fifth, &challenged, "alice"));
    t.request_to(trunk(), Method::Invite);
}

#[test]
fn a_phone_that_withholds_its_name_is_asked_by_its_flow() {
    let withheld = |to: &str, at: SocketAddr, call_id: &str, from: &str| {
        let invite = invite("alice", to, at, call_id);
        instead(
            &invite,
            "<sip:alice@example.org>;tag",
            &format!("<{from}>;tag"),
        )
    };
    for from in ["sip:anonymous@anonymous.invalid", "tel:+4911"] {
        let mut t = house();
        t.signs_on("alice", alice(), "phone");
        let first = withheld("bob", alice(), "call1", from);
        let asked = t.is_asked(alice(), &first);
        t.receive(alice(), again(&first, &asked, "alice"));
        let rung = t.request_to(desk(), Method::Invite);
        assert!(!rung.header(Name::From).unwrap().contains("sip:alice@"));
        t.reply(&rung, 486, desk());
        t.request_to(desk(), Method::Ack);
        t.response_to(alice(), 486);
        let second = withheld("+4930123", alice(), "call2", from);
        let asked = t.is_asked(alice(), &second);
        t.receive(alice(), again(&second, &asked, "alice"));
        let out = t.request_to(trunk(), Method::Invite);
        assert!(!String::from_utf8_lossy(out.bytes()).contains("sip:alice@"));
        // Whose flow has no binding is a stranger, as long as that gets it there.
        let third = withheld("bob", mobile(), "call3", from);
        t.receive(mobile(), third);
        t.request_to(desk(), Method::Invite);
    }
}

#[test]
fn who_cancels_is_not_asked_again() {
    let mut t = house();
    let first = invite("alice", "bob", alice(), "call1");
    let challenged = t.is_asked(alice(), &first);
    let second = again(&first, &challenged, "alice");
    t.receive(alice(), second.clone());
    let ringing = t.request_to(desk(), Method::Invite);
    t.reply(&ringing, 180, desk());
    t.response_to(alice(), 180);
    let sent = Message::parse(second.clone()).unwrap();
    let cancel = refork::sip::Builder::request(&Method::Cancel, sent.uri())
        .header(Name::Via, sent.header(Name::Via).unwrap())
        .header(Name::MaxForwards, 70)
        .header(Name::From, sent.header(Name::From).unwrap())
        .header(Name::To, sent.header(Name::To).unwrap())
        .header(Name::CallId, "call1")
        .header(Name::CSeq, "2 CANCEL")
        .end();
    t.receive(alice(), cancel);
    t.response_to(alice(), 200);
    let gone = t.response_to(alice(), 487);
    t.receive(alice(), ack_of(&second, &gone));
    let cancel = t.request_to(desk(), Method::Cancel);
    t.reply(&cancel, 200, desk());
    t.reply(&ringing, 487, desk());
    t.request_to(desk(), Method::Ack);
    t.ends_empty();
}

/// Alice and Bob's desk phone talk, both known by their passwords.
fn in_a_call() -> (Table, Remote, Remote) {
    let mut t = house();
    let first = invite("alice", "bob", alice(), "call1");
    let challenged = t.is_asked(alice(), &first);
    t.receive(alice(), again(&first, &challenged, "alice"));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(2));
    (t, a, Remote::of_invite(&invite, desk(), "b1"))
}

/// Where nobody of ours has been seen.
fn elsewhere() -> SocketAddr {
    phone("198.51.100.200:5060")
}

#[test]
fn who_knows_the_tags_cannot_take_a_dialog_over() {
    for method in [
        Method::Bye,
        Method::Invite,
        Method::Update,
        Method::Message,
        Method::Refer,
        Method::Options,
    ] {
        let (mut t, mut a, _) = in_a_call();
        a.at = elsewhere();
        let forged = a
            .request(method.clone())
            .body("application/sdp", audio(elsewhere()).as_bytes());
        let challenged = t.is_asked(elsewhere(), &forged);
        // Bob's password does not open Alice's dialog.
        t.is_refused(elsewhere(), &again(&forged, &challenged, "bob"), 403);
        for phone in [alice(), desk()] {
            t.nothing_to(phone);
        }
        // What was forged has used no number up, and our requests go where they went.
        a.at = alice();
        a.cseq -= 1;
        t.receive(alice(), a.message("mine"));
        let text = t.request_to(desk(), Method::Message);
        t.reply(&text, 200, desk());
        t.response_to(alice(), 200);
        let conversation = t.engine.list(1)[0].key;
        t.input(refork::engine::ports::Input::Command(
            refork::engine::ports::Command::HangUp { conversation },
        ));
        assert!(
            t.waiting(alice(), &Method::Bye).is_some(),
            "after {method:?}"
        );
    }
}

#[test]
fn a_phone_that_moved_proves_itself_and_goes_on() {
    let (mut t, mut a, mut b) = in_a_call();
    a.at = elsewhere();
    let moved = with_sdp(a.request(Method::Invite), &audio(elsewhere()));
    let challenged = t.is_asked(elsewhere(), &moved);
    a.cseq += 1;
    t.receive(elsewhere(), again(&moved, &challenged, "alice"));
    t.response_to(elsewhere(), 200);
    t.receive(elsewhere(), a.ack(a.cseq));
    t.nothing_to(desk());
    // What is for Alice goes there now, and nothing more is asked.
    t.receive(desk(), b.message("to where you are"));
    let text = t.request_to(elsewhere(), Method::Message);
    t.reply(&text, 200, elsewhere());
    t.response_to(desk(), 200);
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.nothing_to(alice());
    t.ends_empty();
}

#[test]
fn a_phone_that_registered_from_there_is_not_asked() {
    let (mut t, _, mut b) = in_a_call();
    t.signs_on("bob", mobile(), "desk2");
    b.at = mobile();
    t.hangs_up(&mut b);
    let bye = t.request_to(alice(), Method::Bye);
    t.reply(&bye, 200, alice());
    t.ends_empty();
}

#[test]
fn a_lost_dialog_comes_back_with_the_password_only() {
    let (mut t, _, mut b) = in_a_call();
    t.bob_is_lost();
    t.discard(desk());
    b.at = elsewhere();
    let back = b.request(Method::Options).end();
    let challenged = t.is_asked(elsewhere(), &back);
    let repaired = |t: &Table| {
        t.happened(|what| matches!(what, refork::engine::events::Happening::Repaired { .. }))
    };
    assert_eq!(repaired(&t), 0);
    t.receive(elsewhere(), again(&back, &challenged, "bob"));
    assert_eq!(repaired(&t), 1);
}

#[test]
fn only_its_owner_replaces_a_dialog() {
    let (mut t, a, _) = in_a_call();
    let replacing = |from: &str, at: SocketAddr, call_id: &str| {
        let (local, remote) = (&a.local, &a.remote);
        let tag = |value: &str| value.split("tag=").nth(1).unwrap().to_owned();
        let replaces = format!(
            "{};to-tag={};from-tag={}",
            a.call_id,
            tag(remote),
            tag(local)
        );
        let builder =
            request(Method::Invite, from, "bob", at, call_id).header(Name::Replaces, replaces);
        with_sdp(builder, &audio(at))
    };
    // In Alice's name, but without her password.
    let forged = replacing("alice", elsewhere(), "r1");
    let challenged = t.is_asked(elsewhere(), &forged);
    t.is_refused(elsewhere(), &again(&forged, &challenged, "carol"), 403);
    // In Carol's own name.
    let hers = replacing("carol", third(), "r2");
    let challenged = t.is_asked(third(), &hers);
    t.is_refused(third(), &again(&hers, &challenged, "carol"), 403);
    // In Alice's name, from another domain's.
    let foreign = instead(
        &replacing("alice", elsewhere(), "r3"),
        "sip:alice@example.org>;tag",
        "sip:alice@elsewhere.example>;tag",
    );
    t.is_refused(elsewhere(), &foreign, 403);
    t.nothing_to(alice());
    let right = replacing("alice", elsewhere(), "r4");
    let challenged = t.is_asked(elsewhere(), &right);
    t.receive(elsewhere(), again(&right, &challenged, "alice"));
    t.response_to(elsewhere(), 200);
    t.request_to(alice(), Method::Bye);
}

#[test]
fn a_stranger_that_moves_may_leave_but_takes_nothing_along() {
    let mut t = house();
    let stranger = phone("198.51.100.77:5060");
    let first = invite("mallory", "bob", stranger, "call1");
    let first = instead(
        &first,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    );
    t.receive(stranger, first);
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let mut m = Remote::of_answer(&t.response_to(stranger, 200), stranger);
    t.receive(stranger, m.ack(1));
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    m.at = elsewhere();
    let diverted = with_sdp(m.request(Method::Invite), &audio(elsewhere()));
    t.is_refused(elsewhere(), &diverted, 403);
    t.receive(elsewhere(), m.message("still here"));
    let text = t.request_to(desk(), Method::Message);
    t.reply(&text, 200, desk());
    t.response_to(elsewhere(), 200);
    t.receive(desk(), b.message("where?"));
    let text = t.request_to(stranger, Method::Message);
    t.reply(&text, 200, stranger);
    t.response_to(desk(), 200);
    // It may not have others called at our cost either.
    m.at = stranger;
    let refer = m
        .request(Method::Refer)
        .header(Name::ReferTo, "<sip:+4930123@example.org>")
        .end();
    t.receive(stranger, refer);
    t.response_to(stranger, 403);
    t.nothing_to(trunk());
    m.at = elsewhere();
    t.hangs_up(&mut m);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.ends_empty();
}

#[test]
fn an_answer_from_elsewhere_moves_nothing() {
    let (mut t, mut a, mut b) = in_a_call();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    let across = t.request_to(desk(), Method::Invite);
    // By whoever has seen the branch: the answer counts, its source does not.
    let ok = with_sdp(response(&across, 200, desk(), "b1"), &audio(desk()));
    t.receive(elsewhere(), ok);
    t.response_to(alice(), 200);
    t.receive(alice(), a.ack(a.cseq));
    t.request_to(desk(), Method::Ack);
    t.receive(alice(), a.message("to the desk"));
    let text = t.request_to(desk(), Method::Message);
    t.reply(&text, 200, desk());
    t.response_to(alice(), 200);
    t.nothing_to(elsewhere());
    t.hangs_up(&mut b);
}

#[test]
fn only_who_is_trusted_is_told_who_calls() {
    let asserted = |message: &Message| {
        message
            .header(Name::PAssertedIdentity)
            .map(ToOwned::to_owned)
    };
    let claimed = "<sip:president@example.org>";
    let alices = "\"alice\" <sip:alice@example.org>";
    let carriers = "<tel:+4940123>, <sip:+4940123@carrier.example>";
    for trusted in [true, false] {
        let mut settings = guarded();
        settings.upstreams.get_mut("trunk").unwrap().trusted = trusted;
        let mut t = Table::new(settings);
        t.signs_on("bob", desk(), "desk");
        for method in [Method::Invite, Method::Message] {
            let call_id = method.as_str().to_owned();
            // Whatever she says of herself, it is what she has proven.
            let first = request(method.clone(), "alice", "+4930123", alice(), &call_id)
                .header(Name::PAssertedIdentity, claimed)
                .header(Name::Privacy, "id");
            let first = with_sdp(first, &audio(alice()));
            let challenged = t.is_asked(alice(), &first);
            t.receive(alice(), again(&first, &challenged, "alice"));
            let out = t.request_to(trunk(), method);
            assert_eq!(asserted(&out).as_deref(), trusted.then_some(alices));
            assert_eq!(out.header(Name::Privacy), Some("id"));
        }
        // A phone is not told, even where we know.
        let known = request(Method::Invite, "+4940", "bob", gateway(), "in")
            .header(Name::PAssertedIdentity, carriers);
        t.receive(gateway(), with_sdp(known, &audio(gateway())));
        let ringing = t.request_to(desk(), Method::Invite);
        assert_eq!(asserted(&ringing), None);
        let from = ringing.header(Name::From).unwrap();
        assert!(from.contains("<sip:+4940@"), "{from}");
        // From one trusted peer to another it goes as it is.
        let through = request(Method::Invite, "+4940", "+4930123", gateway(), "through")
            .header(Name::PAssertedIdentity, carriers);
        t.receive(gateway(), with_sdp(through, &audio(gateway())));
        let out = t.request_to(trunk(), Method::Invite);
        assert_eq!(asserted(&out).as_deref(), trusted.then_some(carriers));
    }
    // A stranger's word is nobody's.
    let mut settings = guarded();
    settings.acl.trusted.push("198.51.100.2".parse().unwrap());
    let mut t = Table::new(settings);
    t.register("bob", desk(), "desk");
    let stranger = phone("198.51.100.77:5060");
    let from = request(Method::Invite, "mallory", "bob", stranger, "call1")
        .header(Name::PAssertedIdentity, claimed);
    let from = with_sdp(from, &audio(stranger));
    let from = instead(
        &from,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    );
    t.receive(stranger, from);
    assert_eq!(asserted(&t.request_to(desk(), Method::Invite)), None);
}

#[test]
fn a_user_who_is_named_by_our_address_or_a_number_is_asked_as_by_the_domain() {
    let mut settings = guarded();
    settings.numbers.insert("+4930100".into(), aor("alice"));
    let ours = SERVER.split(':').next().unwrap();
    let stranger = phone("198.51.100.77:5060");
    let by = |request: Bytes, from: &str| {
        let named = format!("<{from}>;tag");
        instead(&request, "<sip:alice@example.org>;tag", &named)
    };
    for (at, (from, is_alice)) in [
        (format!("sip:alice@{ours}"), true),
        (format!("sips:%61lice@{SERVER}"), true),
        // Not the one that these are told: another one that we have.
        ("sip:alice@10.0.0.1".to_owned(), true),
        ("sip:alice@[2001:db8::1]:5060".to_owned(), true),
        ("sip:alice@10.0.0.2".to_owned(), false),
        (format!("sip:+49-30-100@{ours}"), true),
        ("tel:+49-30-100".to_owned(), true),
        ("sip:+4930100@elsewhere.example;user=phone".to_owned(), true),
        (format!("sip:dave@{ours}"), false),
        ("sip:alice@elsewhere.example".to_owned(), false),
        ("tel:+4930999".to_owned(), false),
    ]
    .into_iter()
    .enumerate()
    {
        for method in [Method::Invite, Method::Message] {
            let mut t = Table::new(settings.clone());
            t.signs_on("bob", desk(), "desk");
            let call_id = format!("{method:?}{at}");
            let of = |at: SocketAddr, call_id: &str| match method {
                Method::Invite => by(invite("alice", "bob", at, call_id), &from),
                _ => by(page("alice", "bob", at, call_id), &from),
            };
            if is_alice {
                let first = of(stranger, &call_id);
                let asked = t.is_asked(stranger, &first);
                t.is_refused(stranger, &again(&first, &asked, "bob"), 403);
                t.nothing_to(desk());
                let own = of(alice(), &format!("own{call_id}"));
                let asked = t.is_asked(alice(), &own);
                t.receive(alice(), again(&own, &asked, "alice"));
            } else {
                t.receive(stranger, of(stranger, &call_id));
            }
            let heard = t.request_to(desk(), method.clone());
            let status = if method == Method::Invite { 486 } else { 200 };
            t.reply(&heard, status, desk());
            t.discard(desk());
            // A trunk shows whom it was called by.
            t.receive(gateway(), of(gateway(), &format!("g{call_id}")));
            t.receive(trunk(), of(trunk(), &format!("t{call_id}")));
            for _ in ["a peer that is trusted", "an upstream that is not"] {
                t.request_to(desk(), method.clone());
            }
        }
    }
}
