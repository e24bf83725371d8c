//! An upstream asks us for proof (RFC 3261 22.2, 22.3): what was asked for goes out again with the account that
//! we have there, and nobody else notices.

use std::net::SocketAddr;

use refork::engine::events::{Event, Happening, Unanswered};
use refork::engine::settings::{Account, Route, RouteFork, Settings};
use refork::engine::time::Millis;
use refork::sip::digest::{Algorithm, Credentials, ha1};
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

pub(crate) const TRUNK: fn() -> SocketAddr = desk;
pub(crate) const NONCE: &str = "Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\"";

/// Numbers that begin with 4 are behind a trunk that has given us an account, for these realms.
pub(crate) fn with_account(realms: &[&str]) -> Settings {
    let mut settings = refer_passes();
    let mut trunk = upstream("sip:198.51.100.2", false);
    trunk.account = Some(Account {
        user: "refork".into(),
        password: "secret".into(),
        realms: realms.iter().map(|realm| (*realm).into()).collect(),
    });
    settings.upstreams.insert("trunk".into(), trunk);
    settings.routes.push(Route {
        pattern: "sip:4*@*".into(),
        to: "trunk".into(),
        fork: RouteFork::default(),
        emergency: None,
    });
    settings
}

fn calls() -> Table {
    let mut t = Table::new(with_account(&[]));
    let invite = request(Method::Invite, "alice", "401", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    t
}

/// Alice and somebody beyond the trunk talk, and nothing was asked.
fn talking() -> (Table, Remote, Remote) {
    let mut t = calls();
    let (a, b) = taken(&mut t);
    (t, a, b)
}

fn taken(t: &mut Table) -> (Remote, Remote) {
    let invite = t.request_to(TRUNK(), Method::Invite);
    t.receive(
        TRUNK(),
        with_sdp(answer_at(&invite, TRUNK()), &audio(TRUNK())),
    );
    t.request_to(TRUNK(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    (a, Remote::of_invite(&invite, TRUNK(), "b1"))
}

/// The trunk asks for proof, by these challenges.
pub(crate) fn asks(t: &mut Table, request: &Message, status: u16, challenges: &[(Name, &str)]) {
    let tag = match request.to_tag() {
        Some(_) => "b1",
        None => "asked",
    };
    let mut asked = response(request, status, TRUNK(), tag);
    for (name, value) in challenges {
        asked = asked.header(*name, value);
    }
    t.receive(TRUNK(), asked.end());
    if *request.method() == Method::Invite {
        let ack = t.request_to(TRUNK(), Method::Ack);
        assert_eq!(ack.cseq(), request.cseq());
    }
}

fn asks_once(t: &mut Table, request: &Message) {
    asks(t, request, 407, &[(Name::ProxyAuthenticate, NONCE)]);
}

/// Returns what a request shows to a realm, which must be right, as (nonce, count, qop).
#[track_caller]
fn shown(request: &Message, name: Name, realm: &str) -> (String, u32, String) {
    let credentials = request.fields(name).filter_map(Credentials::parse);
    let mut of_realm = credentials.filter(|known| known.realm == realm);
    let known = of_realm
        .next()
        .unwrap_or_else(|| panic!("nothing for {realm}"));
    assert!(of_realm.next().is_none(), "twice for {realm}");
    assert_eq!((known.username, known.uri), ("refork", request.uri()));
    let word = known.algorithm.unwrap();
    let plain = word.trim_end_matches("-sess");
    let algorithm = Algorithm::parse(Some(plain)).unwrap();
    let mut key = ha1(algorithm, "refork", realm, "secret");
    if plain != word {
        key = algorithm.hash(format!("{key}:{}:{}", known.nonce, known.cnonce.unwrap()));
    }
    let method = request.method().as_str();
    assert!(
        known.prove(algorithm, &key, method, request.body()),
        "{realm}"
    );
    let qop = known.qop.unwrap_or("").to_owned();
    (known.nonce.to_owned(), known.count().unwrap(), qop)
}

#[track_caller]
pub(crate) fn shown_to_proxy(request: &Message) -> (String, u32) {
    let (nonce, count, _) = shown(request, Name::ProxyAuthorization, "pbx");
    (nonce, count)
}

pub(crate) fn unanswered(t: &Table) -> Vec<Unanswered> {
    let why = t.events.iter().filter_map(|event| match event {
        Event::Unanswered { why, upstream, .. } => {
            assert_eq!(&**upstream, "trunk");
            Some(*why)
        }
        _ => None,
    });
    why.collect()
}

fn lost(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Lost { .. } | Happening::Suspected { .. }))
}

fn has_none(request: &Message) -> bool {
    [Name::Authorization, Name::ProxyAuthorization]
        .into_iter()
        .all(|name| request.header(name).is_none())
}

#[test]
fn what_crosses_within_a_dialog_goes_out_again_with_proof() {
    for method in [
        Method::Info,
        Method::Message,
        Method::Invite,
        Method::Update,
        Method::Options,
        Method::Refer,
        Method::Notify,
        Method::Bye,
    ] {
        let (mut t, mut a, _) = talking();
        let request = a.request(method.clone());
        let bytes = match method {
            Method::Invite | Method::Update => with_sdp(request, &sdp(alice(), 2, "sendonly")),
            Method::Refer => request
                .header(Name::ReferTo, "<sip:carol@example.org>")
                .end(),
            Method::Notify => request
                .header(Name::Event, "refer")
                .header(Name::SubscriptionState, "active")
                .body("message/sipfrag", b"SIP/2.0 100 Trying"),
            Method::Bye => request.end(),
            _ => request.body("text/plain", b"hi"),
        };
        t.receive(alice(), bytes);
        if method == Method::Bye {
            t.response_to(alice(), 200);
        }
        let first = t.request_to(TRUNK(), method.clone());
        assert!(has_none(&first), "{method:?}");
        asks_once(&mut t, &first);
        let again = t.request_to(TRUNK(), method.clone());
        assert_eq!(shown_to_proxy(&again), ("n1".into(), 1), "{method:?}");
        assert_eq!(again.cseq(), first.cseq() + 1);
        assert_ne!(again.branch(), first.branch());
        assert_eq!(again.body(), first.body());
        let same = [
            Name::CallId,
            Name::From,
            Name::To,
            Name::Contact,
            Name::ReferTo,
            Name::Event,
        ];
        for name in same {
            assert_eq!(again.header(name), first.header(name), "{method:?}");
        }
        t.nothing_to(alice());
        let ok = match method {
            Method::Invite | Method::Update => with_sdp(
                response(&again, 200, TRUNK(), "b1"),
                &sdp(TRUNK(), 2, "recvonly"),
            ),
            _ => response(&again, 200, TRUNK(), "b1").end(),
        };
        t.receive(TRUNK(), ok);
        if method == Method::Invite {
            // RFC 3261 13.2.2.4: the same credentials as its INVITE.
            let ack = t.request_to(TRUNK(), Method::Ack);
            let name = Name::ProxyAuthorization;
            assert_eq!(
                (ack.cseq(), ack.header(name)),
                (again.cseq(), again.header(name))
            );
        }
        if method != Method::Bye {
            t.response_to(alice(), 200);
        }
        t.nothing_to(TRUNK());
        t.nothing_to(alice());
        assert_eq!((lost(&t), unanswered(&t).len()), (0, 0), "{method:?}");
        if method == Method::Bye {
            t.ends_empty();
        }
    }
}

#[test]
fn what_follows_is_shown_at_once_and_counted() {
    let (mut t, mut a, _) = talking();
    t.receive(alice(), a.request(Method::Info).end());
    let first = t.request_to(TRUNK(), Method::Info);
    asks_once(&mut t, &first);
    let again = t.request_to(TRUNK(), Method::Info);
    t.reply(&again, 200, TRUNK());
    t.response_to(alice(), 200);
    for count in 2..5 {
        t.receive(alice(), a.request(Method::Info).end());
        let info = t.request_to(TRUNK(), Method::Info);
        assert_eq!(shown_to_proxy(&info), ("n1".into(), count));
        t.reply(&info, 200, TRUNK());
        t.response_to(alice(), 200);
    }
    // Two at a time: the one that is asked again has the next number.
    for _ in 0..2 {
        t.receive(alice(), a.request(Method::Info).end());
    }
    let [early, late] = [0; 2].map(|_| t.request_to(TRUNK(), Method::Info));
    let stale = "Digest realm=\"pbx\", nonce=\"n2\", qop=\"auth\", stale=true";
    asks(&mut t, &early, 407, &[(Name::ProxyAuthenticate, stale)]);
    let again = t.request_to(TRUNK(), Method::Info);
    assert_eq!(again.cseq(), late.cseq() + 1);
    assert_eq!(shown_to_proxy(&again), ("n2".into(), 1));
    for info in [&late, &again] {
        t.reply(info, 200, TRUNK());
        t.response_to(alice(), 200);
    }
    t.hangs_up(&mut a);
    let bye = t.request_to(TRUNK(), Method::Bye);
    assert_eq!(shown_to_proxy(&bye), ("n2".into(), 2));
    t.reply(&bye, 200, TRUNK());
    t.ends_empty();
}

/// RFC 3261 22.3: a proxy asks, then the server behind it; or several in one response.
#[test]
fn several_realms_are_shown_theirs_together() {
    let mut t = calls();
    let first = t.request_to(TRUNK(), Method::Invite);
    asks_once(&mut t, &first);
    let second = t.request_to(TRUNK(), Method::Invite);
    assert_eq!(
        (second.call_id(), second.cseq()),
        (first.call_id(), first.cseq() + 1)
    );
    assert_eq!(shown_to_proxy(&second), ("n1".into(), 1));
    let server = "Digest realm=\"server\", nonce=\"s1\", qop=\"auth\", algorithm=SHA-256";
    asks(&mut t, &second, 401, &[(Name::WwwAuthenticate, server)]);
    let third = t.request_to(TRUNK(), Method::Invite);
    assert_eq!(shown_to_proxy(&third), ("n1".into(), 2));
    let (nonce, count, _) = shown(&third, Name::Authorization, "server");
    assert_eq!((nonce.as_str(), count), ("s1", 1));
    t.receive(
        TRUNK(),
        with_sdp(answer_at(&third, TRUNK()), &audio(TRUNK())),
    );
    let ack = t.request_to(TRUNK(), Method::Ack);
    for name in [Name::Authorization, Name::ProxyAuthorization] {
        assert_eq!(ack.header(name), third.header(name));
    }
    t.response_to(alice(), 200);
    t.nothing_to(alice());

    // Of one realm the first that is known counts (RFC 8760 2.4).
    let (mut t, mut a, _) = talking();
    t.receive(alice(), a.request(Method::Info).end());
    let first = t.request_to(TRUNK(), Method::Info);
    let challenges = [
        (
            Name::ProxyAuthenticate,
            "Digest realm=\"one\", nonce=\"x\", algorithm=SHA-3, qop=\"auth\"",
        ),
        (
            Name::ProxyAuthenticate,
            "Digest realm=\"one\", nonce=\"o\", algorithm=SHA-512-256, qop=\"auth\"",
        ),
        (
            Name::ProxyAuthenticate,
            "Digest realm=\"one\", nonce=\"o\", algorithm=MD5, qop=\"auth\"",
        ),
        (
            Name::ProxyAuthenticate,
            "Digest realm=\"two\", nonce=\"t\", qop=\"auth\"",
        ),
        (Name::WwwAuthenticate, "Digest realm=\"one\", nonce=\"w\""),
    ];
    asks(&mut t, &first, 407, &challenges);
    let again = t.request_to(TRUNK(), Method::Info);
    assert_eq!(shown(&again, Name::ProxyAuthorization, "one").0, "o");
    assert!(
        again
            .header(Name::ProxyAuthorization)
            .unwrap()
            .contains("SHA-512-256")
    );
    assert_eq!(shown(&again, Name::ProxyAuthorization, "two").0, "t");
    assert_eq!(shown(&again, Name::Authorization, "one").0, "w");
    t.reply(&again, 200, TRUNK());
    t.response_to(alice(), 200);
}

#[test]
fn a_nonce_that_is_stale_is_worth_one_more_try() {
    let stale =
        |nonce: &str| format!("Digest realm=\"pbx\", nonce=\"{nonce}\", qop=\"auth\", stale=true");
    for method in [Method::Invite, Method::Info] {
        let (mut t, mut a, _) = match method {
            Method::Invite => (calls(), None, ()),
            _ => {
                let (mut t, mut a, _) = talking();
                t.receive(alice(), a.request(Method::Info).end());
                (t, Some(a), ())
            }
        };
        let first = t.request_to(TRUNK(), method.clone());
        asks_once(&mut t, &first);
        let second = t.request_to(TRUNK(), method.clone());
        asks(
            &mut t,
            &second,
            407,
            &[(Name::ProxyAuthenticate, &stale("n2"))],
        );
        let third = t.request_to(TRUNK(), method.clone());
        assert_eq!(shown_to_proxy(&third), ("n2".into(), 1));
        // Whoever says so for ever is not answered for ever.
        asks(
            &mut t,
            &third,
            407,
            &[(Name::ProxyAuthenticate, &stale("n3"))],
        );
        t.nothing_to(TRUNK());
        t.response_to(alice(), 403);
        assert_eq!(unanswered(&t), [Unanswered::Refused]);
        assert_eq!(lost(&t), 0);
        if let Some(a) = &mut a {
            // The next request begins anew.
            t.receive(alice(), a.request(Method::Info).end());
            let info = t.request_to(TRUNK(), Method::Info);
            assert!(has_none(&info));
            asks_once(&mut t, &info);
            let again = t.request_to(TRUNK(), Method::Info);
            t.reply(&again, 200, TRUNK());
            t.response_to(alice(), 200);
        }
    }
}

/// RFC 7616 3.5.
#[test]
fn a_server_may_name_the_next_nonce() {
    let (mut t, mut a, _) = talking();
    t.receive(alice(), a.request(Method::Info).end());
    let first = t.request_to(TRUNK(), Method::Info);
    let server = "Digest realm=\"pbx\", nonce=\"s1\", qop=\"auth\"";
    asks(&mut t, &first, 401, &[(Name::WwwAuthenticate, server)]);
    let again = t.request_to(TRUNK(), Method::Info);
    let ok = response(&again, 200, TRUNK(), "b1")
        .header(Name::AuthenticationInfo, "qop=auth, nextnonce=\"s2\"");
    t.receive(TRUNK(), ok.end());
    let told = t.response_to(alice(), 200);
    assert_eq!(told.header(Name::AuthenticationInfo), None);
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(TRUNK(), Method::Info);
    let (nonce, count, _) = shown(&info, Name::Authorization, "pbx");
    assert_eq!((nonce.as_str(), count), ("s2", 1));
}

#[test]
fn every_algorithm_is_spoken_and_the_body_is_held_where_that_is_wanted() {
    for algorithm in [
        "MD5",
        "MD5-sess",
        "SHA-256",
        "SHA-256-sess",
        "SHA-512-256",
        "SHA-512-256-sess",
    ] {
        for (offered, taken) in [
            ("auth", "auth"),
            ("auth-int", "auth-int"),
            ("auth-int,auth", "auth"),
        ] {
            let (mut t, mut a, _) = talking();
            let offer = sdp(alice(), 2, "sendonly");
            t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
            let first = t.request_to(TRUNK(), Method::Invite);
            let challenge = format!(
                "Digest realm=\"pbx\", nonce=\"n1\", algorithm={algorithm}, qop=\"{offered}\""
            );
            asks(
                &mut t,
                &first,
                407,
                &[(Name::ProxyAuthenticate, &challenge)],
            );
            let again = t.request_to(TRUNK(), Method::Invite);
            assert!(!again.body().is_empty());
            let (_, _, qop) = shown(&again, Name::ProxyAuthorization, "pbx");
            assert_eq!(qop, taken, "{algorithm}");
            let answer = sdp(TRUNK(), 2, "recvonly");
            t.receive(
                TRUNK(),
                with_sdp(response(&again, 200, TRUNK(), "b1"), &answer),
            );
            t.request_to(TRUNK(), Method::Ack);
            t.response_to(alice(), 200);
            // A key of the session is the same for the next request.
            t.receive(alice(), a.ack(a.cseq));
            t.receive(alice(), a.message("and a text"));
            let text = t.request_to(TRUNK(), Method::Message);
            let (_, count, _) = shown(&text, Name::ProxyAuthorization, "pbx");
            assert_eq!(count, 2);
        }
    }
}

#[test]
fn what_cannot_be_answered_fails_by_itself_and_the_call_goes_on() {
    let basic = "Basic realm=\"pbx\"";
    let sha1 = "Digest realm=\"pbx\", nonce=\"n\", algorithm=SHA-1, qop=\"auth\"";
    let conf = "Digest realm=\"pbx\", nonce=\"n\", qop=\"auth-conf\"";
    for (realms, challenges, why) in [
        (
            &[][..],
            &[(Name::ProxyAuthenticate, basic)][..],
            Unanswered::Unreadable,
        ),
        (&[], &[], Unanswered::Unreadable),
        (
            &[],
            &[(Name::ProxyAuthenticate, sha1)],
            Unanswered::Algorithm,
        ),
        (
            &[],
            &[(Name::ProxyAuthenticate, conf)],
            Unanswered::Algorithm,
        ),
        (
            &["other"],
            &[(Name::ProxyAuthenticate, NONCE)],
            Unanswered::Realm,
        ),
    ] {
        let mut t = Table::new(with_account(realms));
        let invite = request(Method::Invite, "alice", "401", alice(), "call1");
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        let (mut a, _) = taken(&mut t);
        for round in 1..3 {
            t.receive(alice(), a.request(Method::Info).end());
            let info = t.request_to(TRUNK(), Method::Info);
            asks(&mut t, &info, 407, challenges);
            t.nothing_to(TRUNK());
            // RFC 3261 21.4.8: the challenge is ours, and she could not answer it.
            let told = t.response_to(alice(), 403);
            assert_eq!(told.header(Name::ProxyAuthenticate), None);
            assert_eq!(unanswered(&t), vec![why; round]);
        }
        assert_eq!(lost(&t), 0);
        t.hangs_up(&mut a);
        let bye = t.request_to(TRUNK(), Method::Bye);
        asks(&mut t, &bye, 407, challenges);
        t.nothing_to(TRUNK());
        t.ends_empty();
    }
}

#[test]
fn realms_without_end_come_to_an_end() {
    for method in [Method::Invite, Method::Info, Method::Bye] {
        let (mut t, mut a) = match method {
            Method::Invite => (calls(), None),
            _ => {
                let (t, a, _) = talking();
                (t, Some(a))
            }
        };
        if let Some(a) = &mut a {
            t.receive(alice(), a.request(method.clone()).end());
        }
        let mut rounds = 0;
        while let Some(request) = t.waiting(TRUNK(), &method) {
            rounds += 1;
            let challenge = format!("Digest realm=\"r{rounds}\", nonce=\"n\", qop=\"auth\"");
            asks(
                &mut t,
                &request,
                407,
                &[(Name::ProxyAuthenticate, &challenge)],
            );
        }
        assert_eq!(
            rounds, 5,
            "{method:?}: the first, and one for each of four realms"
        );
        assert_eq!(unanswered(&t), [Unanswered::TooOften]);
        assert_eq!(lost(&t), 0);
    }
}

/// Our own: the word to a survivor behind the trunk, and the BYE of a call that is over.
#[test]
fn what_is_our_own_is_proven_too() {
    // The trunk calls Bob, from the address that the settings name.
    let mut t = Table::new(with_account(&[]));
    t.register("bob", mobile(), "mobile");
    t.register("bob", third(), "third");
    let invite = request(Method::Invite, "+49401", "bob", TRUNK(), "in1");
    t.receive(TRUNK(), with_sdp(invite, &audio(TRUNK())));
    let invite = t.request_to(mobile(), Method::Invite);
    t.receive(
        mobile(),
        with_sdp(answer_at(&invite, mobile()), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    let ok = t.response_to(TRUNK(), 200);
    let caller = Remote::of_answer(&ok, TRUNK());
    t.receive(TRUNK(), caller.ack(1));
    let other = t.waiting(third(), &Method::Invite).unwrap();
    t.reply(&other, 487, third());
    t.discard(third());
    t.bob_is_lost();
    t.discard(mobile());
    t.pass(Millis(2_100));
    let mut b = t.takes_over(third(), "b3", &audio(third()));
    let notice = t.request_to(TRUNK(), Method::Message);
    asks_once(&mut t, &notice);
    let again = t.request_to(TRUNK(), Method::Message);
    assert_eq!(shown_to_proxy(&again), ("n1".into(), 1));
    t.reply(&again, 200, TRUNK());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Notice { .. })),
        1
    );
    t.receive(third(), b.request(Method::Bye).end());
    t.response_to(third(), 200);
    let bye = t.request_to(TRUNK(), Method::Bye);
    // Its nonce is too old by now; the conversation is over.
    let stale = "Digest realm=\"pbx\", nonce=\"n2\", qop=\"auth\", stale=true";
    asks(&mut t, &bye, 407, &[(Name::ProxyAuthenticate, stale)]);
    let again = t.request_to(TRUNK(), Method::Bye);
    assert_eq!(shown_to_proxy(&again), ("n2".into(), 1));
    t.reply(&again, 200, TRUNK());
    t.ends_empty();
}

/// Who has no account there hears of it once, and the call stands.
#[test]
fn without_an_account_nothing_ends() {
    let mut settings = with_account(&[]);
    settings.upstreams.get_mut("trunk").unwrap().account = None;
    let mut t = Table::new(settings);
    let invite = request(Method::Invite, "alice", "401", alice(), "call1");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let (mut a, _) = taken(&mut t);
    for method in [Method::Info, Method::Message, Method::Invite] {
        let request = a.request(method.clone());
        let bytes = match method {
            Method::Invite => with_sdp(request, &sdp(alice(), 2, "sendonly")),
            _ => request.body("text/plain", b"hi"),
        };
        t.receive(alice(), bytes);
        let onward = t.request_to(TRUNK(), method.clone());
        asks_once(&mut t, &onward);
        t.response_to(alice(), 403);
        t.nothing_to(TRUNK());
    }
    assert_eq!(unanswered(&t), [Unanswered::NoAccount; 3]);
    assert_eq!(lost(&t), 0);
    t.hangs_up(&mut a);
}

/// Fits a datagram as long as no proof is beside it.
fn all_but_too_long() -> String {
    "x".repeat(800)
}

fn over(message: &Message) -> &str {
    message.via().transport
}

/// RFC 3261 18.1.1: it is the size of what is sent that counts.
#[test]
fn what_grows_by_its_proof_goes_over_tcp() {
    let invites = |t: &mut Table, call_id: &str, subject: &str| {
        let invite = request(Method::Invite, "alice", "401", alice(), call_id);
        let invite = invite.header(Name::Subject, subject);
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        t.request_to(TRUNK(), Method::Invite)
    };
    // As long as fits.
    let mut subject = String::new();
    let mut t = Table::new(with_account(&[]));
    let first = invites(&mut t, "call1", &subject);
    subject.push_str(&"x".repeat(1_250 - first.bytes().len()));
    let mut t = Table::new(with_account(&[]));
    let first = invites(&mut t, "call1", &subject);
    assert_eq!(over(&first), "UDP");
    asks_once(&mut t, &first);
    let again = t.request_to(TRUNK(), Method::Invite);
    assert!(again.bytes().len() > 1_300);
    assert_eq!(shown_to_proxy(&again), ("n1".into(), 1));
    assert_eq!(over(&again), "TCP");
    // Where that is refused, by datagram all the same.
    t.closed(TRUNK(), 1);
    let again = t.request_to(TRUNK(), Method::Invite);
    assert_eq!(over(&again), "UDP");
}

#[test]
fn within_a_dialog_what_grows_by_its_proof_goes_over_tcp_too() {
    let (mut t, mut a, _) = talking();
    t.receive(alice(), a.message(&all_but_too_long()));
    let first = t.request_to(TRUNK(), Method::Message);
    assert!((1_100..=1_300).contains(&first.bytes().len()));
    assert_eq!(over(&first), "UDP");
    asks_once(&mut t, &first);
    let again = t.request_to(TRUNK(), Method::Message);
    assert_eq!(shown_to_proxy(&again), ("n1".into(), 1));
    assert_eq!(over(&again), "TCP");
    t.closed(TRUNK(), 1);
    let again = t.request_to(TRUNK(), Method::Message);
    assert_eq!(over(&again), "UDP");
    t.reply(&again, 200, TRUNK());
    t.response_to(alice(), 200);
    assert_eq!(lost(&t), 0);
    // What is shown from then on counts too.
    t.receive(alice(), a.message(&all_but_too_long()));
    let next = t.request_to(TRUNK(), Method::Message);
    assert!(next.bytes().len() > 1_300);
    assert_eq!(over(&next), "UDP", "TCP was refused a moment ago");
}

/// A softphone on the PBX's host, or a PBX behind the NAT of its phones: what is proven to the one is not shown to
/// the other.
#[test]
fn a_phone_that_shares_the_address_of_an_upstream_is_shown_no_proof() {
    let beside = phone("198.51.100.2:5062");
    let mut t = Table::new(with_account(&[]));
    t.register("bob", beside, "beside");
    // It is called, or calls.
    for calls in [false, true] {
        let (invite, from, to) = if calls {
            let invite = request(Method::Invite, "bob", "alice", beside, "in2");
            (invite, beside, alice())
        } else {
            let invite = request(Method::Invite, "alice", "bob", alice(), "in1");
            (invite, alice(), beside)
        };
        t.register("alice", alice(), "alice");
        t.receive(from, with_sdp(invite, &audio(from)));
        let rung = t.request_to(to, Method::Invite);
        t.receive(to, with_sdp(answer_at(&rung, to), &audio(to)));
        t.request_to(to, Method::Ack);
        let ok = t.response_to(from, 200);
        let caller = Remote::of_answer(&ok, from);
        t.receive(from, caller.ack(1));
        let mut a = if calls {
            Remote::of_invite(&rung, alice(), "b1")
        } else {
            caller
        };
        t.receive(alice(), a.message("hello"));
        let text = t.request_to(beside, Method::Message);
        let asked = response(&text, 407, beside, "b1");
        t.receive(beside, asked.header(Name::ProxyAuthenticate, NONCE).end());
        t.nothing_to(beside);
        t.response_to(alice(), 403);
        assert!(unanswered(&t).is_empty());
        t.hangs_up(&mut a);
        t.discard(beside);
    }
}

/// A PBX that the settings trust calls over a connection, whose port is none of its target's.
#[test]
fn what_a_listed_upstream_asks_for_over_a_connection_is_shown_to_it() {
    for listed in [true, false] {
        let mut wishes = with_account(&[]);
        if listed {
            wishes.acl.trusted.push("198.51.100.2/32".parse().unwrap());
        }
        let mut t = Table::new(wishes);
        let from = phone("198.51.100.2:49152");
        t.register("alice", alice(), "alice");
        let invite = request(Method::Invite, "401", "alice", from, "in1");
        t.receive_over(tcp(from, 7), with_sdp(invite, &audio(from)));
        let rung = t.request_to(alice(), Method::Invite);
        let took = with_sdp(answer_at(&rung, alice()), &audio(alice()));
        t.receive(alice(), took);
        t.request_to(alice(), Method::Ack);
        let ok = t.response_to(from, 200);
        let caller = Remote::of_answer(&ok, from);
        t.receive_over(tcp(from, 7), caller.ack(1));
        let mut a = Remote::of_invite(&rung, alice(), "b1");
        t.receive(alice(), a.message("hello"));
        let text = t.request_to(from, Method::Message);
        let asked = response(&text, 407, from, "b1").header(Name::ProxyAuthenticate, NONCE);
        t.receive_over(tcp(from, 7), asked.end());
        let proved = t.request_to(from, Method::Message);
        assert_eq!(shown_to_proxy(&proved), ("n1".into(), 1), "{listed}");
        t.receive_over(tcp(from, 7), response(&proved, 200, from, "b1").end());
        t.response_to(alice(), 200);
    }
}
