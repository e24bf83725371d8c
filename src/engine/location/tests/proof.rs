//! REGISTER with digest.

use super::super::testing::default_settings;
use super::*;
use crate::sip::digest::{Algorithm, Challenge, ha1};

fn answered(request: &Request, challenge: &str, user: &str, password: &str) -> Request {
    let challenge = Challenge::parse(challenge).unwrap();
    let ha1 = ha1(challenge.algorithm, user, challenge.realm, password);
    let answer = challenge.answer(user, &ha1, "REGISTER", &request.uri, "cnonce");
    let mut request = request.clone();
    request.cseq += 1;
    request.with(&format!("Authorization: {answer}"))
}

#[test]
fn digest_of_both_kinds() {
    for (user, offered) in [
        ("alice", vec![Algorithm::Md5, Algorithm::Sha256]),
        ("bob", vec![Algorithm::Md5]),
        ("carol", vec![Algorithm::Sha256]),
        ("erin", Algorithm::ALL.to_vec()),
        // Nobody: as one of them, which is drawn by the name.
        ("dave", vec![Algorithm::Sha256]),
    ] {
        let to = format!("sip:{user}@example.org");
        let mut room = Room::new(settings());
        let request = Request::new(&to, 1, "Contact: <sip:x@h>");
        let (done, response) = room.register(&request);
        assert_eq!((done.status, why(&done)), (401, None));
        assert_eq!(unproven(&done), [Unproven::Missing], "no refusal");
        let challenges: Vec<&str> = response.fields(Name::WwwAuthenticate).collect();
        let algorithms: Vec<Algorithm> = challenges
            .iter()
            .map(|challenge| Challenge::parse(challenge).unwrap().algorithm)
            .collect();
        assert_eq!(algorithms, offered, "{user}");
        for challenge in challenges {
            let (done, again) = room.register(&answered(&request, challenge, user, "wrong"));
            assert_eq!((done.status, why(&done)), (401, Some("wrong credentials")));
            assert_eq!(unproven(&done), [Unproven::Wrong]);
            let again = again.header(Name::WwwAuthenticate).unwrap();
            assert!(!Challenge::parse(again).unwrap().stale);
            assert_eq!(room.book.0.len(), 0);
            let (_, afresh) = room.register(&request);
            let mut afresh = afresh.fields(Name::WwwAuthenticate).filter(|header| {
                let algorithm = Challenge::parse(header).unwrap().algorithm;
                algorithm == Challenge::parse(challenge).unwrap().algorithm
            });
            let mut right = answered(&request, afresh.next().unwrap(), user, "secret");
            right.call_id = challenge.into();
            right.call_id.retain(|c| c.is_ascii_alphanumeric());
            let expected = if user == "dave" { 401 } else { 200 };
            assert_eq!(room.status(&right), expected, "{user}");
            assert_eq!(room.bindings(&to).len(), usize::from(expected == 200));
            room.book.0.clear();
        }
    }
}

#[test]
fn a_phone_that_gives_up_at_an_unknown_algorithm_is_not_shown_one() {
    for (user, agent, offered) in [
        (
            "alice",
            "baresip v1.0.0 (x86_64/linux)",
            vec![Algorithm::Md5],
        ),
        (
            "carol",
            "baresip v1.0.0 (x86_64/linux)",
            vec![Algorithm::Sha256],
        ),
        (
            "alice",
            "baresip v3.1.0",
            vec![Algorithm::Md5, Algorithm::Sha256],
        ),
        ("alice", "Other", vec![Algorithm::Md5, Algorithm::Sha256]),
    ] {
        let mut room = Room::new(settings());
        let lines = format!("User-Agent: {agent}\r\nContact: <sip:x@h>");
        let request = Request::new(&format!("sip:{user}@example.org"), 1, &lines);
        let (_, response) = room.register(&request);
        let algorithms: Vec<Algorithm> = response
            .fields(Name::WwwAuthenticate)
            .map(|challenge| Challenge::parse(challenge).unwrap().algorithm)
            .collect();
        assert_eq!(algorithms, offered, "{user} {agent}");
    }
}

#[test]
fn keys_of_a_session_are_neither_offered_nor_taken() {
    let mut room = Room::new(settings());
    let request = Request::new("sip:erin@example.org", 1, "Contact: <sip:x@h>");
    let (_, response) = room.register(&request);
    let challenges: Vec<&str> = response.fields(Name::WwwAuthenticate).collect();
    assert_eq!(challenges.len(), Algorithm::ALL.len());
    for challenge in challenges {
        assert!(!challenge.contains("-sess"), "{challenge}");
        let challenge = Challenge::parse(challenge).unwrap();
        let (algorithm, nonce) = (challenge.algorithm, challenge.nonce);
        let own = ha1(algorithm, "erin", challenge.realm, "secret");
        // RFC 7616 3.4.2.
        let key = algorithm.hash(format!("{own}:{nonce}:cnonce"));
        let answer = challenge.answer("erin", &key, "REGISTER", &request.uri, "cnonce");
        let plain = format!("algorithm={}", algorithm.as_str());
        assert!(answer.contains(&plain), "{answer}");
        let answer = answer.replace(&plain, &format!("{plain}-sess"));
        let mut again = request.clone();
        again.cseq += 1;
        let again = again.with(&format!("Authorization: {answer}"));
        assert_eq!(room.status(&again), 401, "{answer}");
    }
    assert!(room.bindings("sip:erin@example.org").is_empty());
}

#[test]
fn nobody_registers_for_another() {
    let mut room = Room::new(settings());
    let request = Request::new("sip:alice@example.org", 1, "Contact: <sip:x@h>");
    let (_, response) = room.register(&request);
    let challenge = response.header(Name::WwwAuthenticate).unwrap();
    let (done, _) = room.register(&answered(&request, challenge, "bob", "secret"));
    assert_eq!(
        (done.status, why(&done)),
        (403, Some("registers for somebody else"))
    );
    assert_eq!(unproven(&done), [Unproven::Other]);
    assert_eq!(room.book.0.len(), 0);
}

#[test]
fn under_a_nonce_of_nobodys_no_password_is_judged() {
    let mut room = Room::new(settings());
    let request = Request::new("sip:bob@example.org", 1, "Contact: <sip:x@h>");
    let made_up = r#"Digest realm="example.org", nonce="made-up", qop="auth", algorithm=MD5"#;
    let answers = ["secret", "wrong"].map(|password| {
        let (done, response) = room.register(&answered(&request, made_up, "bob", password));
        let challenge = response.header(Name::WwwAuthenticate).unwrap();
        let stale = Challenge::parse(challenge).unwrap().stale;
        (done.status, stale, unproven(&done))
    });
    assert_eq!(answers[0], (401, true, vec![Unproven::Stale]));
    assert_eq!(
        answers[0], answers[1],
        "the right one looks like a wrong one"
    );
}

#[test]
fn an_old_nonce_is_renewed_without_asking_the_user() {
    let mut room = Room::new(settings());
    let request = Request::new("sip:bob@example.org", 1, "Contact: <sip:x@h>");
    let (_, response) = room.register(&request);
    let challenge = response.header(Name::WwwAuthenticate).unwrap();
    room.now = START + Millis::from_secs(301);
    let (done, response) = room.register(&answered(&request, challenge, "bob", "secret"));
    assert_eq!((done.status, why(&done)), (401, None));
    assert_eq!(unproven(&done), [Unproven::Stale]);
    let challenge = response.header(Name::WwwAuthenticate).unwrap();
    assert!(challenge.ends_with("stale=true"), "{challenge}");
    assert_eq!(
        room.status(&answered(&request, challenge, "bob", "secret")),
        200
    );
}

#[test]
fn on_the_defaults_a_phone_registers_at_any_address_of_ours() {
    let mut room = Room::new(default_settings());
    for (call_id, host) in [
        ("1", "192.0.2.1"),
        ("2", "server.lan"),
        ("3", "[2001:db8::1]"),
    ] {
        let request = Request::new(
            &format!("sip:alice@{host}"),
            1,
            &format!("Contact: <sip:alice@{host}:5070>"),
        )
        .in_call(call_id);
        let (_, response) = room.register(&request);
        let challenge = response.header(Name::WwwAuthenticate).unwrap();
        assert!(challenge.contains("realm=\"refork\""));
        let (done, _) = room.register(&answered(&request, challenge, "alice", "secret"));
        let aor = done.changed.map(|changed| changed.aor.to_string());
        assert_eq!(aor.as_deref(), Some("sip:alice@refork"));
    }
    assert_eq!(room.bindings("sip:alice@refork").len(), 3);
}
