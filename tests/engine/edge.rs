//! In front of a PBX: phones register with it through us, and what it says to them comes back over their
//! flows.

use std::net::SocketAddr;

use refork::engine::events::{Ending, Event, Happening};
use refork::engine::health::Health;
use refork::engine::ids::{Aor, Side};
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::people::*;
use crate::table::*;

pub fn pbx() -> SocketAddr {
    phone("198.51.100.50:5060")
}

fn other_pbx() -> SocketAddr {
    phone("198.51.100.51:5060")
}

/// Phones of pbx.example.net register with the PBX, which has a second machine.
pub fn in_front(path: PathMode) -> Table {
    Table::new(beyond(path))
}

pub fn beyond(path: PathMode) -> Settings {
    let mut settings = settings();
    settings.domains.insert(
        0,
        Domain {
            host: "pbx.example.net".into(),
            realm: "pbx.example.net".into(),
            served_by: ServedBy::Upstream("pbx".into()),
        },
    );
    settings.upstreams.insert(
        "pbx".into(),
        Upstream {
            targets: UpstreamTarget::in_order([
                format!("sip:{}", pbx()),
                format!("sip:{}", other_pbx()),
            ]),
            sources: Vec::new(),
            probe: None,
            path,
            trusted: true,
            ..Upstream::default()
        },
    );
    settings
}

pub fn at_pbx(user: &str) -> Aor {
    Aor::from_canonical(format!("sip:{user}@pbx.example.net"))
}

/// All phones have the same private address, each behind a NAT of its own.
pub fn contact_of(user: &str, at: SocketAddr) -> String {
    let ip = at.ip();
    format!("\"{user}\" <sip:{user}@10.0.0.7:5060;x=1>;q=0.5;+sip.instance=\"<urn:uuid:{ip}>\"")
}

/// A REGISTER of a phone for the PBX.
pub fn register(user: &str, at: SocketAddr, cseq: u32, expires: u32) -> Builder {
    first(
        Method::Register,
        user,
        "",
        at,
        &format!("reg-{user}-{}", at.ip()),
        cseq,
    )
    .header(Name::Contact, contact_of(user, at))
    .header(Name::Expires, expires)
}

/// A request outside of any dialog to somebody of the PBX's domain, or to the domain itself.
pub fn first(
    method: Method,
    from: &str,
    to: &str,
    at: SocketAddr,
    call_id: &str,
    cseq: u32,
) -> Builder {
    let name = method.as_str().to_owned();
    let domain = "pbx.example.net";
    let (uri, to) = if to.is_empty() {
        (format!("sip:{domain}"), format!("sip:{from}@{domain}"))
    } else {
        (format!("sip:{to}@{domain}"), format!("sip:{to}@{domain}"))
    };
    Builder::request(&method, &uri)
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP {at};branch=z9hG4bK{call_id}{name}{cseq};rport"),
        )
        .header(Name::MaxForwards, 70)
        .header(
            Name::From,
            format_args!("<sip:{from}@{domain}>;tag=t{call_id}"),
        )
        .header(Name::To, format_args!("<{to}>"))
        .header(Name::CallId, call_id)
        .header(Name::CSeq, format_args!("{cseq} {name}"))
}

/// The PBX's 200 to a REGISTER: the Contacts as they came, and what it grants.
pub fn granted(register: &Message, expires: u32) -> Builder {
    let mut ok = response(register, 200, pbx(), "p1").end();
    // Without the Contact that every response of this table has.
    let text = String::from_utf8(ok.to_vec()).unwrap();
    let text: String = text
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("Contact:") && !line.starts_with("Content-Length"))
        .take_while(|line| *line != "\r\n")
        .collect();
    ok = text.into_bytes().into();
    let mut builder = Builder::response(200, "OK");
    let head = String::from_utf8(ok.to_vec()).unwrap();
    builder = builder.raw_lines(head.split_once("\r\n").unwrap().1.as_bytes());
    for contact in register.values(Name::Contact) {
        builder = builder.header(Name::Contact, format_args!("{contact};expires={expires}"));
    }
    builder
        .copy(register, Name::Path)
        .header(Name::ServiceRoute, "<sip:198.51.100.50;lr>")
}

impl Table {
    /// A phone registers with the PBX. Returns what the PBX was sent.
    pub fn register_beyond(&mut self, user: &str, at: SocketAddr) -> Message {
        self.receive(at, register(user, at, 1, 3600).end());
        let onward = self.request_to(pbx(), Method::Register);
        self.receive(pbx(), granted(&onward, 1800).end());
        self.response_to(at, 200);
        onward
    }
}

pub fn path_of(register: &Message) -> String {
    register.header(Name::Path).expect("a Path").to_owned()
}

#[test]
fn a_register_goes_on_with_a_path_and_is_kept_for_as_long_as_granted() {
    let mut t = in_front(PathMode::Path);
    let asked = register("bob", desk(), 1, 3600)
        .header(
            Name::Authorization,
            "Digest username=\"bob\", uri=\"sip:pbx.example.net\"",
        )
        .header(Name::Route, "<sip:192.0.2.1;lr>")
        .other("X-Phone", "kept")
        .end();
    t.receive(desk(), asked);
    let onward = t.request_to(pbx(), Method::Register);
    assert_eq!(onward.uri(), "sip:pbx.example.net");
    assert_eq!(onward.call_id(), "reg-bob-198.51.100.2");
    assert_eq!((onward.cseq(), onward.max_forwards()), (1, Some(69)));
    assert_eq!(
        onward.vias().count(),
        1,
        "the phone's own address is nobody's business"
    );
    assert!(onward.via().host.contains("192.0.2.1"));
    assert_eq!(
        onward.header(Name::Contact),
        Some(&*contact_of("bob", desk()))
    );
    assert!(
        onward
            .header(Name::Authorization)
            .unwrap()
            .contains("username=\"bob\"")
    );
    assert_eq!(onward.header(Name::Route), None);
    assert_eq!(onward.other("X-Phone"), Some("kept"));
    assert!(onward.has_token(Name::Supported, "path"));
    let path = path_of(&onward);
    assert!(path.ends_with("@192.0.2.1:5060;lr>"), "{path}");
    assert!(
        t.site
            .bindings
            .get(&at_pbx("bob"))
            .is_none_or(Vec::is_empty),
        "not before the 200"
    );

    t.receive(pbx(), granted(&onward, 1800).end());
    let ok = t.response_to(desk(), 200);
    assert_eq!(ok.to_tag(), Some("p1"));
    assert_eq!(
        ok.header(Name::Contact),
        Some(&*format!("{};expires=1800", contact_of("bob", desk())))
    );
    for hidden in [Name::Path, Name::ServiceRoute] {
        assert_eq!(ok.header(hidden), None);
    }
    let kept = &t.site.bindings[&at_pbx("bob")];
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].endpoint.flow, Some(flow(desk())));
    assert_eq!(kept[0].expires, t.now + Millis::from_secs(1800));
    assert!(
        t.events
            .iter()
            .any(|event| matches!(event, Event::Registered { .. }))
    );
    t.pass(Millis::from_secs(1802));
    assert!(t.site.bindings[&at_pbx("bob")].is_empty(), "expired");
    t.ends_empty();
}

#[test]
fn a_challenge_and_a_refusal_are_the_pbxs_own_and_keep_nothing() {
    for (status, name, value) in [
        (
            401,
            Name::WwwAuthenticate,
            "Digest realm=\"pbx\", nonce=\"n\"",
        ),
        (
            407,
            Name::ProxyAuthenticate,
            "Digest realm=\"pbx\", nonce=\"n\"",
        ),
        (423, Name::MinExpires, "7200"),
        (403, Name::Reason, "SIP;cause=403"),
    ] {
        let mut t = in_front(PathMode::Path);
        t.receive(desk(), register("bob", desk(), 1, 3600).end());
        let onward = t.request_to(pbx(), Method::Register);
        t.receive(
            pbx(),
            response(&onward, status, pbx(), "p1")
                .header(name, value)
                .end(),
        );
        let refused = t.response_to(desk(), status);
        assert_eq!(refused.header(name), Some(value));
        assert!(
            t.site
                .bindings
                .get(&at_pbx("bob"))
                .is_none_or(Vec::is_empty)
        );
        // With credentials, under the next number.
        t.receive(desk(), register("bob", desk(), 2, 3600).end());
        let onward = t.request_to(pbx(), Method::Register);
        t.receive(pbx(), granted(&onward, 60).end());
        t.response_to(desk(), 200);
        assert_eq!(t.site.bindings[&at_pbx("bob")].len(), 1);
        t.ends_empty();
    }
}

#[test]
fn a_refresh_keeps_its_path_and_another_phone_has_another() {
    let mut t = in_front(PathMode::Path);
    let first = path_of(&t.register_beyond("bob", desk()));
    t.receive(desk(), register("bob", desk(), 2, 3600).end());
    let again = t.request_to(pbx(), Method::Register);
    assert_eq!(path_of(&again), first);
    t.receive(pbx(), granted(&again, 1800).end());
    t.response_to(desk(), 200);
    assert_eq!(t.site.bindings[&at_pbx("bob")].len(), 1);
    assert_ne!(path_of(&t.register_beyond("alice", alice())), first);
}

#[test]
fn a_phone_that_leaves_is_forgotten() {
    let mut t = in_front(PathMode::Path);
    t.register_beyond("bob", desk());
    t.receive(desk(), register("bob", desk(), 2, 0).end());
    let onward = t.request_to(pbx(), Method::Register);
    assert_eq!(
        t.site.bindings[&at_pbx("bob")].len(),
        1,
        "not before the PBX agrees"
    );
    t.receive(pbx(), response(&onward, 200, pbx(), "p1").end());
    t.response_to(desk(), 200);
    assert!(t.site.bindings[&at_pbx("bob")].is_empty());

    t.register_beyond("bob", mobile());
    let all = first(
        Method::Register,
        "bob",
        "",
        mobile(),
        "reg-bob-198.51.100.3",
        9,
    )
    .header(Name::Contact, "*")
    .header(Name::Expires, 0);
    t.receive(mobile(), all.end());
    let onward = t.request_to(pbx(), Method::Register);
    assert_eq!(onward.header(Name::Contact), Some("*"));
    t.receive(pbx(), response(&onward, 200, pbx(), "p1").end());
    t.response_to(mobile(), 200);
    assert!(t.site.bindings[&at_pbx("bob")].is_empty());
}

#[test]
fn a_pbx_without_path_is_given_contacts_of_ours() {
    let mut t = in_front(PathMode::Contact);
    t.receive(desk(), register("bob", desk(), 1, 3600).end());
    let onward = t.request_to(pbx(), Method::Register);
    assert_eq!(onward.header(Name::Path), None);
    let contact = onward.header(Name::Contact).unwrap();
    assert!(contact.starts_with("\"bob\" <sip:rf-"), "{contact}");
    assert!(
        contact.contains("@192.0.2.1:5060>;q=0.5;+sip.instance="),
        "{contact}"
    );
    assert!(!contact.contains("10.0.0.7"));
    let uri = crate::table::contact(&onward.clone()).replace("\"bob\" <", "");
    t.receive(pbx(), granted(&onward, 1800).end());
    let ok = t.response_to(desk(), 200);
    assert_eq!(
        ok.header(Name::Contact),
        Some(&*format!("{};expires=1800", contact_of("bob", desk()))),
        "the phone finds its own"
    );
    // A call to that Contact is a call to the phone.
    let invite = first(Method::Invite, "alice", "bob", pbx(), "c9", 1)
        .header(Name::Contact, format_args!("<sip:{}>", pbx()));
    let invite = with_sdp(invite, &audio(pbx()));
    let text = String::from_utf8(invite.to_vec()).unwrap();
    let invite = text.replacen("sip:bob@pbx.example.net", &uri, 1);
    t.receive(pbx(), invite.into());
    let asked = t.request_to(desk(), Method::Invite);
    assert_eq!(asked.uri(), "sip:bob@10.0.0.7:5060;x=1");
}

/// The PBX calls Bob's phone, as which it knows a Contact of ours: so it writes To as well. Returns what the phone is
/// asked, and that Contact.
fn called_by_a_token(t: &mut Table) -> (Message, String) {
    t.receive(desk(), register("bob", desk(), 1, 3600).end());
    let onward = t.request_to(pbx(), Method::Register);
    let uri = contact(&onward).replace("\"bob\" <", "");
    t.receive(pbx(), granted(&onward, 1800).end());
    t.response_to(desk(), 200);
    let invite = first(Method::Invite, "alice", "bob", pbx(), "c9", 1)
        .header(Name::Supported, "histinfo")
        .header(Name::Contact, format_args!("<sip:{}>", pbx()));
    let invite = with_sdp(invite, &audio(pbx()));
    let text = String::from_utf8(invite.to_vec()).unwrap();
    let text = text.replace("<sip:bob@pbx.example.net>", &format!("\"Bob\" <{uri}>"));
    let text = text.replace("sip:bob@pbx.example.net", &uri);
    t.receive(pbx(), text.into());
    (t.request_to(desk(), Method::Invite), uri)
}

/// It has no token of ours in it.
#[track_caller]
fn names_no_token(message: &Message) {
    let text = String::from_utf8_lossy(message.bytes());
    assert!(!text.contains("rf-"), "{text}");
}

#[test]
fn who_is_called_by_a_contact_of_ours_is_known_by_name() {
    const BOB: &str = "\"Bob\" <sip:bob@pbx.example.net>";
    let mut t = in_front(PathMode::Contact);
    let (invite, uri) = called_by_a_token(&mut t);
    assert_eq!(invite.header(Name::To), Some(BOB));
    names_no_token(&invite);
    let invited = |what: &Happening| matches!(what, Happening::Invited { to, .. } if **to == *"sip:bob@pbx.example.net");
    assert_eq!(t.happened(invited), 1);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(pbx(), 200);
    // In the PBX's own dialog he is whom it has called.
    assert!(ok.header(Name::To).unwrap().contains(&uri));
    t.receive(pbx(), Remote::of_answer(&ok, pbx()).ack(1));
    let mut callee = Remote::of_invite(&invite, desk(), "b1");
    let refer = callee
        .request(Method::Refer)
        .header(Name::ReferTo, "<sip:carol@pbx.example.net>");
    t.receive(desk(), refer.end());
    t.response_to(desk(), 202);
    let onward = asked_at_the_pbx(&mut t, "carol");
    let by = onward.header(Name::ReferredBy);
    assert_eq!(by, Some("<sip:bob@pbx.example.net>"));
    names_no_token(&onward);

    // A call that he forwards is one for him.
    let mut t = in_front(PathMode::Contact);
    let (invite, _) = called_by_a_token(&mut t);
    let server = SERVER.parse().unwrap();
    let moved = Builder::respond(&invite, 302, "Moved Temporarily", Some("b1"), server);
    let moved = moved.header(Name::Contact, "<sip:carol@pbx.example.net>");
    t.receive(desk(), moved.end());
    t.request_to(desk(), Method::Ack);
    let onward = asked_at_the_pbx(&mut t, "carol");
    assert_eq!(onward.header(Name::To), Some(BOB));
    let history = onward.values(Name::HistoryInfo).collect::<Vec<_>>();
    assert!(
        history
            .iter()
            .any(|entry| entry.contains("sip:bob@pbx.example.net")),
        "{history:?}"
    );
    names_no_token(&onward);
}

#[test]
fn a_text_by_a_contact_of_ours_is_for_its_user_by_name() {
    let mut t = in_front(PathMode::Contact);
    t.receive(desk(), register("bob", desk(), 1, 3600).end());
    let onward = t.request_to(pbx(), Method::Register);
    let uri = contact(&onward).replace("\"bob\" <", "");
    t.receive(pbx(), granted(&onward, 1800).end());
    t.response_to(desk(), 200);
    let text = first(Method::Message, "alice", "bob", pbx(), "m1", 1).body("text/plain", b"hello");
    let text = String::from_utf8(text.to_vec()).unwrap();
    t.receive(pbx(), text.replace("sip:bob@pbx.example.net", &uri).into());
    let text = t.request_to(desk(), Method::Message);
    assert_eq!(text.header(Name::To), Some("<sip:bob@pbx.example.net>"));
}

#[test]
fn the_next_target_is_asked_where_one_is_down() {
    let mut t = in_front(PathMode::Path);
    t.receive(desk(), register("bob", desk(), 1, 3600).end());
    t.request_to(pbx(), Method::Register);
    t.icmp(pbx());
    let onward = t.request_to(other_pbx(), Method::Register);
    t.receive(other_pbx(), response(&onward, 503, other_pbx(), "p1").end());
    // 503 would keep the phone from all that we do.
    t.response_to(desk(), 500);
    assert!(
        t.site
            .bindings
            .get(&at_pbx("bob"))
            .is_none_or(Vec::is_empty)
    );
    t.ends_empty();
}

/// Lets a PUBLISH of somebody's in Bob's name meet with silence at both machines of the PBX.
fn publishes_in_vain(t: &mut Table, at: SocketAddr, call_id: &str) {
    let publish = first(Method::Publish, "bob", "bob", at, call_id, 1);
    t.receive(at, publish.header(Name::Event, "presence").end());
    t.request_to(pbx(), Method::Publish);
    t.pass(Millis::from_secs(40));
    t.request_to(other_pbx(), Method::Publish);
    for at in [pbx(), other_pbx(), at] {
        t.discard(at);
    }
}

#[test]
fn what_a_strangers_request_meets_with_says_nothing_of_the_pbx() {
    let mut t = in_front(PathMode::Path);
    let states = |t: &Table| {
        let all = t.engine.upstreams();
        [all[0].state, all[1].state].map(Health::as_str)
    };
    for call_id in ["p1", "p2", "p3"] {
        publishes_in_vain(&mut t, third(), call_id);
        assert_eq!(states(&t), ["up", "up"]);
    }
    // The same of a phone that has registered is a suspicion; without probes it never is more.
    t.register_beyond("bob", desk());
    for call_id in ["p4", "p5", "p6"] {
        publishes_in_vain(&mut t, desk(), call_id);
        assert_eq!(states(&t), ["suspect", "suspect"]);
    }
    // What a stranger is answered is no sign either, what the phone is answered is.
    for (at, call_id, then) in [(third(), "p7", "suspect"), (desk(), "p8", "up")] {
        let publish = first(Method::Publish, "bob", "bob", at, call_id, 1);
        t.receive(at, publish.header(Name::Event, "presence").end());
        let onward = t.request_to(pbx(), Method::Publish);
        t.reply(&onward, 489, pbx());
        t.response_to(at, 489);
        assert_eq!(states(&t)[0], then);
    }
}

#[test]
fn what_asks_for_secrecy_is_carried_to_no_pbx_in_the_clear() {
    let mut t = in_front(PathMode::Path);
    let publish = first(Method::Publish, "bob", "bob", desk(), "p1", 1);
    let publish = publish.header(Name::Event, "presence").end();
    let text = String::from_utf8(publish.to_vec()).unwrap();
    let by_sips = text.replacen("PUBLISH sip:", "PUBLISH sips:", 1);
    t.receive(desk(), by_sips.into());
    let refused = t.response_to(desk(), 480);
    let warning = refused.header(Name::Warning).unwrap();
    assert!(warning.starts_with("380 "), "{warning}");
    t.nothing_to(pbx());
    t.nothing_to(other_pbx());
}

#[test]
fn a_pause_that_a_strangers_request_meets_with_is_for_nobody_else() {
    let mut t = in_front(PathMode::Path);
    t.register_beyond("bob", desk());
    let publish = |at, call_id: &str| {
        let publish = first(Method::Publish, "bob", "bob", at, call_id, 1);
        publish.header(Name::Event, "presence").end()
    };
    for (at, call_id, paused) in [(third(), "p1", false), (desk(), "p2", true)] {
        t.receive(at, publish(at, call_id));
        let onward = t.request_to(pbx(), Method::Publish);
        let busy = response(&onward, 503, pbx(), "p1").header(Name::RetryAfter, 20);
        t.receive(pbx(), busy.end());
        let next = t.request_to(other_pbx(), Method::Publish);
        t.reply(&next, 200, other_pbx());
        t.response_to(at, 200);
        assert_eq!(t.engine.upstreams()[0].paused.is_some(), paused);
    }
    t.receive(desk(), publish(desk(), "p3"));
    t.request_to(other_pbx(), Method::Publish);
    t.nothing_to(pbx());
}

#[test]
fn a_phone_that_asks_too_fast_waits_and_what_is_malformed_goes_nowhere() {
    let mut t = in_front(PathMode::Path);
    for cseq in 1..=8 {
        t.receive(desk(), register("bob", desk(), cseq, 3600).end());
        t.request_to(pbx(), Method::Register);
    }
    t.receive(desk(), register("bob", desk(), 9, 3600).end());
    t.response_to(desk(), 500);
    t.nothing_to(pbx());
    t.receive(
        mobile(),
        register("carol", mobile(), 1, 60)
            .header(Name::ProxyRequire, "gold")
            .end(),
    );
    t.response_to(mobile(), 420);
    let bad =
        first(Method::Register, "carol", "", mobile(), "r2", 1).header(Name::Contact, "<tel:+49>");
    t.receive(mobile(), bad.end());
    t.response_to(mobile(), 400);
    let many = (0..40).fold(
        first(Method::Register, "carol", "", mobile(), "r3", 1),
        |builder, n| builder.header(Name::Contact, format_args!("<sip:c{n}@10.0.0.9>")),
    );
    t.receive(mobile(), many.end());
    t.response_to(mobile(), 403);
    t.nothing_to(pbx());
    t.discard(pbx());
    t.ends_empty();
}

/// The PBX calls a phone by its Path.
pub fn invite_by(path: &str, contact: &str, call_id: &str) -> bytes::Bytes {
    let invite = first(Method::Invite, "alice", "bob", pbx(), call_id, 1)
        .header(Name::Route, path)
        .header(Name::Contact, format_args!("<sip:{}>", pbx()));
    let invite = with_sdp(invite, &audio(pbx()));
    let text = String::from_utf8(invite.to_vec()).unwrap();
    text.replacen("sip:bob@pbx.example.net", contact, 1).into()
}

pub const OF_BOB: &str = "sip:bob@10.0.0.7:5060;x=1";

#[test]
fn the_pbx_asks_for_one_phone_and_gets_that_one() {
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    t.register_beyond("bob", mobile());
    t.receive(pbx(), invite_by(&path, OF_BOB, "c1"));
    let invite = t.request_to(desk(), Method::Invite);
    t.nothing_to(mobile());
    assert_eq!(invite.uri(), OF_BOB);
    assert_eq!(invite.header(Name::Route), None);
    assert!(!String::from_utf8_lossy(invite.bytes()).contains("198.51.100.50"));
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    t.response_to(pbx(), 200);
}

#[test]
fn who_is_gone_or_unknown_is_a_flow_that_failed() {
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    // No token at all; one that nobody gave out; a phone that has left.
    let forged = path.replacen("rf-", "rf-0", 1).replacen("-736", "-73", 1);
    t.receive(pbx(), invite_by(&forged, OF_BOB, "c2"));
    t.nothing_to(desk());
    t.discard(pbx());
    let guessed = {
        let at = path.find("rf-").unwrap() + 3;
        let digit = if &path[at..=at] == "0" { "1" } else { "0" };
        format!("{}{digit}{}", &path[..at], &path[at + 1..])
    };
    t.receive(pbx(), invite_by(&guessed, OF_BOB, "c3"));
    t.response_to(pbx(), 430);
    t.pass(Millis::from_secs(1801));
    t.discard(pbx());
    t.receive(pbx(), invite_by(&path, OF_BOB, "c4"));
    t.response_to(pbx(), 430);
    t.nothing_to(desk());
}

#[test]
fn a_fork_of_the_pbx_to_two_phones_is_no_merged_request() {
    let mut t = in_front(PathMode::Path);
    let one = path_of(&t.register_beyond("bob", desk()));
    let other = path_of(&t.register_beyond("bob", mobile()));
    // Both phones have the same private address.
    t.receive(pbx(), invite_by(&one, OF_BOB, "c1"));
    let text = String::from_utf8(invite_by(&other, OF_BOB, "c1").to_vec()).unwrap();
    t.receive(
        pbx(),
        text.replacen("branch=z9hG4bK", "branch=z9hG4bKother", 1)
            .into(),
    );
    t.request_to(desk(), Method::Invite);
    t.request_to(mobile(), Method::Invite);
}

#[test]
fn a_subscription_is_the_phones_own_and_comes_through_here() {
    let mut t = in_front(PathMode::Path);
    t.register_beyond("bob", desk());
    let subscribe = first(Method::Subscribe, "bob", "bob", desk(), "sub1", 1)
        .header(Name::Event, "message-summary")
        .header(Name::Contact, "<sip:bob@10.0.0.7:5060>");
    t.receive(desk(), subscribe.end());
    let onward = t.request_to(pbx(), Method::Subscribe);
    assert_eq!(onward.header(Name::Event), Some("message-summary"));
    let record = onward
        .header(Name::RecordRoute)
        .expect("a Record-Route")
        .to_owned();
    t.receive(
        pbx(),
        response(&onward, 202, pbx(), "p9")
            .copy(&onward, Name::RecordRoute)
            .end(),
    );
    let accepted = t.response_to(desk(), 202);
    assert_eq!(
        accepted.values(Name::RecordRoute).collect::<Vec<_>>(),
        [&*record]
    );
    assert_eq!(accepted.to_tag(), Some("p9"));

    // The PBX notifies in the phone's dialog.
    let notify = Builder::request(&Method::Notify, "sip:bob@10.0.0.7:5060")
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP {};branch=z9hG4bKn1", pbx()),
        )
        .header(Name::MaxForwards, 70)
        .header(Name::Route, &record)
        .header(Name::From, "<sip:bob@pbx.example.net>;tag=p9")
        .header(Name::To, "<sip:bob@pbx.example.net>;tag=tsub1")
        .header(Name::CallId, "sub1")
        .header(Name::CSeq, "5 NOTIFY")
        .header(Name::Event, "message-summary")
        .header(Name::Contact, format_args!("<sip:{}>", pbx()));
    t.receive(
        pbx(),
        notify.body(
            "application/simple-message-summary",
            b"Messages-Waiting: yes\r\n",
        ),
    );
    let notify = t.request_to(desk(), Method::Notify);
    assert_eq!(
        (notify.uri(), notify.header(Name::Route)),
        ("sip:bob@10.0.0.7:5060", None)
    );
    assert_eq!(text(&notify), "Messages-Waiting: yes\r\n");
    t.receive(desk(), response(&notify, 200, desk(), "x").end());
    t.response_to(pbx(), 200);

    // The phone refreshes, by the route that it was shown.
    let refresh = Builder::request(&Method::Subscribe, &format!("sip:{}", pbx()))
        .header(
            Name::Via,
            format_args!("SIP/2.0/UDP {};branch=z9hG4bKs2;rport", desk()),
        )
        .header(Name::MaxForwards, 70)
        .header(Name::Route, &record)
        .header(Name::From, "<sip:bob@pbx.example.net>;tag=tsub1")
        .header(Name::To, "<sip:bob@pbx.example.net>;tag=p9")
        .header(Name::CallId, "sub1")
        .header(Name::CSeq, "2 SUBSCRIBE")
        .header(Name::Event, "message-summary");
    t.receive(desk(), refresh.end());
    let refresh = t.request_to(pbx(), Method::Subscribe);
    assert_eq!(refresh.header(Name::Route), None);
    t.reply(&refresh, 481, pbx());
    t.response_to(desk(), 481);
    t.ends_empty();
}

#[test]
fn what_a_phone_says_out_of_dialog_is_the_upstreams_to_answer() {
    for method in [Method::Notify, Method::Info, Method::Other("KICK".into())] {
        let mut t = in_front(PathMode::Path);
        t.register_beyond("bob", desk());
        let said = first(method.clone(), "bob", "bob", desk(), "word1", 1)
            .header(Name::Contact, "<sip:bob@10.0.0.7:5060>");
        t.receive(desk(), said.end());
        let onward = t.request_to(pbx(), method.clone());
        t.reply(&onward, 200, pbx());
        t.response_to(desk(), 200);
        // A dialog may begin by it, which is for those who have registered.
        if method == Method::Notify {
            let said = first(method.clone(), "bob", "bob", third(), "word2", 1);
            t.receive(third(), said.end());
            t.response_to(third(), 403);
            t.nothing_to(pbx());
        }
    }
}

#[test]
fn an_unasked_word_of_the_upstream_reaches_the_phone() {
    for method in [Method::Notify, Method::Info] {
        let mut t = in_front(PathMode::Path);
        let path = path_of(&t.register_beyond("bob", desk()));
        let said = first(method.clone(), "pbx", "bob", pbx(), "word3", 1)
            .header(Name::Route, &path)
            .header(Name::Event, "check-sync;reboot=false")
            .end();
        let text = String::from_utf8(said.to_vec()).unwrap();
        let said = bytes::Bytes::from(text.replacen("sip:bob@pbx.example.net", OF_BOB, 1));
        t.receive(pbx(), said);
        let there = t.request_to(desk(), method.clone());
        assert_eq!(there.header(Name::Event), Some("check-sync;reboot=false"));
        t.reply(&there, 200, desk());
        t.response_to(pbx(), 200);
    }
}

#[test]
fn a_stranger_subscribes_to_nothing() {
    let mut t = in_front(PathMode::Path);
    let subscribe =
        first(Method::Subscribe, "bob", "bob", third(), "sub1", 1).header(Name::Event, "presence");
    t.receive(third(), subscribe.end());
    t.response_to(third(), 403);
    t.nothing_to(pbx());
}

#[test]
fn the_pbx_pings_a_phone_and_hears_nothing_of_a_dead_one() {
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    let options = |cseq| {
        let options = first(Method::Options, "pbx", "bob", pbx(), "ping", cseq)
            .header(Name::Route, &path)
            .end();
        let text = String::from_utf8(options.to_vec()).unwrap();
        bytes::Bytes::from(text.replacen("sip:bob@pbx.example.net", OF_BOB, 1))
    };
    t.receive(pbx(), options(1));
    let ping = t.request_to(desk(), Method::Options);
    t.reply(&ping, 200, desk());
    t.response_to(pbx(), 200);
    t.receive(pbx(), options(2));
    t.request_to(desk(), Method::Options);
    t.icmp(desk());
    t.pass(Millis::from_secs(40));
    t.nothing_to(pbx());
    t.ends_empty();
}

#[test]
fn no_route_above_the_path_leads_past_the_phone() {
    for above in [
        "sip:192.0.2.1;lr",
        "sip:refork.example;lr",
        "sip:203.0.113.66;lr",
    ] {
        let mut t = in_front(PathMode::Path);
        let path = path_of(&t.register_beyond("bob", desk()));
        let options = first(Method::Options, "pbx", "bob", pbx(), "ping", 1)
            .header(Name::Route, format_args!("<{above}>, {path}"))
            .end();
        t.receive(pbx(), options);
        let ping = t.request_to(desk(), Method::Options);
        assert_eq!(ping.header(Name::Route), None, "{above}");
        t.reply(&ping, 200, desk());
        t.response_to(pbx(), 200);
        t.nothing_to(phone("203.0.113.66:5060"));
        t.receive(
            pbx(),
            invite_by(&format!("<{above}>, {path}"), OF_BOB, "c1"),
        );
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(invite.header(Name::Route), None, "{above}");
        t.nothing_to(phone("203.0.113.66:5060"));
    }
}

#[test]
fn a_lost_phone_is_sought_over_the_flows_that_are_kept() {
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    t.register_beyond("bob", mobile());
    t.receive(pbx(), invite_by(&path, OF_BOB, "c1"));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(pbx(), 200);
    t.receive(pbx(), Remote::of_answer(&ok, pbx()).ack(1));
    t.bob_is_lost();
    // The same phone first, then whoever else is kept here; the PBX is not asked while one of them rings.
    t.request_to(desk(), Method::Invite);
    t.nothing_to(mobile());
    t.pass(Millis(2_100));
    let again = t.request_to(mobile(), Method::Invite);
    t.reply(&again, 180, mobile());
    t.nothing_to(pbx());
    t.receive(
        mobile(),
        with_sdp(response(&again, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        1
    );
}

/// The caller at the PBX and Bob's desk phone talk. Returns the caller's end.
fn called_by_the_pbx(t: &mut Table, path: &str) -> Remote {
    t.receive(pbx(), invite_by(path, OF_BOB, "c1"));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(pbx(), 200);
    let caller = Remote::of_answer(&ok, pbx());
    t.receive(pbx(), caller.ack(1));
    caller
}

/// The same, where the PBX is asked for who is lost as soon as the phones here have failed.
fn in_front_at_once() -> Table {
    Table::new(restoring_after(Millis(0)))
}

fn restoring_after(after: Millis) -> Settings {
    let mut wishes = beyond(PathMode::Path);
    wishes.upstreams.get_mut("pbx").unwrap().restore_after = after;
    wishes
}

/// The INVITE of a re-fork that the PBX gets for somebody.
pub fn asked_at_the_pbx(t: &mut Table, user: &str) -> Message {
    let invite = t.request_to(pbx(), Method::Invite);
    assert_eq!(invite.uri(), format!("sip:{user}@pbx.example.net"));
    assert_eq!(invite.to_tag(), None);
    assert_eq!(invite.header(Name::Route), None);
    assert_eq!(invite.header(Name::Replaces), None);
    invite
}

#[test]
fn where_no_phone_here_answers_the_pbx_is_asked_for_others() {
    let mut t = in_front_at_once();
    let path = path_of(&t.register_beyond("bob", desk()));
    called_by_the_pbx(&mut t, &path);
    t.bob_is_lost();
    t.request_to(desk(), Method::Invite);
    t.nothing_to(pbx());
    // It says nothing: who else Bob is, the PBX knows.
    t.pass(Millis(2_100));
    let invite = asked_at_the_pbx(&mut t, "bob");
    t.receive(
        pbx(),
        with_sdp(response(&invite, 200, pbx(), "m1"), &audio(pbx())),
    );
    t.request_to(pbx(), Method::Ack);
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        1
    );
    // From now on he is there.
    t.bob_is_lost();
    t.discard(pbx());
    t.discard(desk());
    t.pass(Millis(2_100));
    assert!(
        t.waiting(desk(), &Method::Invite).is_some(),
        "what is kept here is asked too"
    );
}

/// In each order who is asked here has its time first, and none where the settings give it none.
#[test]
fn the_pbx_is_asked_once_those_here_have_had_their_time() {
    for order in [RestoreOrder::SameFirst, RestoreOrder::All, RestoreOrder::Q] {
        for first_for in [2_000, 0] {
            let mut wishes = restoring_after(Millis(0));
            wishes.restore.order = order;
            wishes.restore.same_first_for = PerKind::both(Millis(first_for));
            let mut t = Table::new(wishes);
            let path = path_of(&t.register_beyond("bob", desk()));
            called_by_the_pbx(&mut t, &path);
            t.bob_is_lost();
            t.request_to(desk(), Method::Invite);
            if first_for > 0 {
                t.pass(Millis(first_for - 100));
                t.nothing_to(pbx());
            }
            t.pass(Millis(200));
            let invite = asked_at_the_pbx(&mut t, "bob");
            t.reply(&invite, 180, pbx());
            // It is one more: who says nothing here may answer yet.
            assert!(t.waiting(desk(), &Method::Cancel).is_none());
            let ok = with_sdp(response(&invite, 200, pbx(), "m1"), &audio(pbx()));
            t.receive(pbx(), ok);
            t.request_to(pbx(), Method::Ack);
            let back = |what: &Happening| matches!(what, Happening::Restored { .. });
            assert_eq!(t.happened(back), 1, "{order:?} {first_for}");
        }
    }
}

/// Bob's desk phone is lost, and cannot be reached. Returns after how many tenths of a second the PBX is asked for him,
/// and how often the phone was.
fn asked_after(t: &mut Table) -> (u64, usize) {
    t.bob_is_lost();
    let mut asked = 0;
    for tenths in 0..600 {
        while t.waiting(desk(), &Method::Invite).is_some() {
            asked += 1;
            t.icmp(desk());
        }
        if t.waiting(pbx(), &Method::Invite).is_some() {
            return (tenths, asked);
        }
        t.pass(Millis(100));
    }
    panic!("the PBX is never asked");
}

/// A phone that starts anew cannot be reached for a while, and the voicemail of the PBX answers at once.
#[test]
fn who_has_phones_here_has_time_before_the_pbx_is_asked() {
    let default = Upstream::default().restore_after;
    for order in [RestoreOrder::SameFirst, RestoreOrder::All, RestoreOrder::Q] {
        for (after, timeout, expected) in [
            (default, 60_000, 150),
            (default, 20_000, 100),
            (Millis(4_000), 60_000, 40),
            (Millis(0), 60_000, 0),
        ] {
            let mut wishes = restoring_after(after);
            wishes.restore.order = order;
            wishes.restore.timeout = PerKind::both(Millis(timeout));
            let mut t = Table::new(wishes);
            let path = path_of(&t.register_beyond("bob", desk()));
            called_by_the_pbx(&mut t, &path);
            let (tenths, asked) = asked_after(&mut t);
            assert_eq!(tenths, expected, "{order:?} {after:?} {timeout}");
            assert!(
                expected == 0 || asked > 2,
                "the phone was asked {asked} times"
            );
        }
    }
    // Nobody's phone is registered here any more.
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    called_by_the_pbx(&mut t, &path);
    t.receive(desk(), register("bob", desk(), 2, 0).end());
    let gone = t.request_to(pbx(), Method::Register);
    t.receive(pbx(), granted(&gone, 0).end());
    t.response_to(desk(), 200);
    assert_eq!(asked_after(&mut t).0, 0);
}

#[test]
fn a_phone_that_is_back_in_time_keeps_its_call_from_the_pbx() {
    for restarts in [false, true] {
        let mut t = in_front(PathMode::Path);
        let path = path_of(&t.register_beyond("bob", desk()));
        called_by_the_pbx(&mut t, &path);
        t.bob_is_lost();
        for second in 0..10 {
            if restarts && second == 5 {
                t.restart();
            }
            if t.discard(desk()) > 0 {
                t.icmp(desk());
            }
            t.pass(Millis::from_secs(1));
        }
        t.discard(desk());
        t.nothing_to(pbx());
        t.receive(desk(), register("bob", desk(), 2, 3600).end());
        let anew = t.request_to(pbx(), Method::Register);
        t.receive(pbx(), granted(&anew, 1800).end());
        t.response_to(desk(), 200);
        let invite = t.request_to(desk(), Method::Invite);
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.pass(Millis::from_secs(20));
        assert!(t.waiting(pbx(), &Method::Invite).is_none());
        let back = |what: &Happening| matches!(what, Happening::Restored { .. });
        assert_eq!(t.happened(back), 1);
    }
}

/// The second target of an upstream is for when the first fails, also after a round in which the PBX was not asked.
#[test]
fn the_best_target_of_the_pbx_is_asked_for_others() {
    let mut t = in_front_at_once();
    let path = path_of(&t.register_beyond("bob", desk()));
    called_by_the_pbx(&mut t, &path);
    t.bob_is_lost();
    for _ in 0..200 {
        if t.discard(desk()) > 0 {
            t.icmp(desk());
        }
        if let Some(invite) = t.waiting(pbx(), &Method::Invite) {
            t.reply(&invite, 404, pbx());
        }
        assert!(t.waiting(other_pbx(), &Method::Invite).is_none());
        t.pass(Millis(100));
    }
    assert!(
        t.happened(|what| matches!(what, Happening::Refused { status: 404, .. })) > 1,
        "the PBX was asked"
    );
}

/// A proxy that still has the dead phone's binding keeps to itself that the others know nothing of the dialog.
#[test]
fn behind_a_proxy_that_forks_the_others_are_asked_without_replaces() {
    for rings in [false, true] {
        let mut t = in_front(PathMode::Path);
        t.register_beyond("alice", alice());
        let invite = first(Method::Invite, "alice", "bob", alice(), "c1", 1)
            .header(Name::Contact, format_args!("<sip:alice@{}>", alice()));
        t.receive(alice(), with_sdp(invite, &audio(alice())));
        let onward = asked_at_the_pbx(&mut t, "bob");
        let ok = response(&onward, 200, pbx(), "b1").header(Name::Supported, "replaces");
        t.receive(pbx(), with_sdp(ok, &audio(pbx())));
        t.request_to(pbx(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
        t.bob_is_lost();
        let asked = t.request_to(pbx(), Method::Invite);
        assert!(asked.header(Name::Replaces).is_some());
        t.reply(&asked, if rings { 180 } else { 100 }, pbx());
        t.pass(Millis(1_900));
        assert!(t.waiting(pbx(), &Method::Cancel).is_none());
        t.pass(Millis(200));
        if rings {
            // The phone is there: it rings as long as any.
            t.pass(Millis::from_secs(10));
            assert!(t.waiting(pbx(), &Method::Cancel).is_none());
            continue;
        }
        let cancel = t.request_to(pbx(), Method::Cancel);
        t.reply(&cancel, 200, pbx());
        t.reply(&asked, 487, pbx());
        let invite = asked_at_the_pbx(&mut t, "bob");
        let ok = response(&invite, 200, pbx(), "b2");
        t.receive(pbx(), with_sdp(ok, &audio(pbx())));
        t.nothing_to(alice());
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Restored { .. })),
            1
        );
    }
}

#[test]
fn a_phone_that_rings_or_refuses_is_not_rung_again_by_way_of_the_pbx() {
    for refuses in [false, true] {
        let mut t = in_front_at_once();
        let path = path_of(&t.register_beyond("bob", desk()));
        t.register_beyond("bob", mobile());
        called_by_the_pbx(&mut t, &path);
        t.bob_is_lost();
        t.pass(Millis(2_100));
        let invite = t.request_to(mobile(), Method::Invite);
        t.reply(&invite, if refuses { 486 } else { 180 }, mobile());
        t.icmp(desk());
        t.pass(Millis::from_secs(10));
        for there in [pbx(), other_pbx()] {
            assert!(t.waiting(there, &Method::Invite).is_none());
        }
    }
}

/// As long as one is engaged that the PBX would ring all the same, that is not asked; one that has gone since is none.
#[test]
fn an_engaged_phone_that_has_gone_keeps_nobody_from_the_pbx() {
    for gone in [true, false] {
        let mut t = in_front_at_once();
        let path = path_of(&t.register_beyond("bob", desk()));
        t.register_beyond("bob", mobile());
        called_by_the_pbx(&mut t, &path);
        t.bob_is_lost();
        t.icmp(desk());
        t.pass(Millis(1_000));
        let mut asked = 0;
        let begin = t.now;
        while t.now.since(begin) < Millis::from_secs(30) {
            if let Some(invite) = t.waiting(mobile(), &Method::Invite) {
                asked += 1;
                if asked == 1 || !gone {
                    t.reply(&invite, 486, mobile());
                } else {
                    t.icmp(mobile());
                }
            }
            if t.discard(desk()) > 0 {
                t.icmp(desk());
            }
            t.pass(Millis(100));
        }
        assert!(asked > 1, "{asked}");
        let at_the_pbx = t.waiting(pbx(), &Method::Invite).is_some();
        assert_eq!(at_the_pbx, gone);
        assert!(gone || t.waiting(other_pbx(), &Method::Invite).is_none());
    }
}

#[test]
fn a_dead_phone_makes_room_for_the_others_here_before_the_pbx() {
    let mut t = in_front_at_once();
    let path = path_of(&t.register_beyond("bob", desk()));
    t.register_beyond("bob", mobile());
    called_by_the_pbx(&mut t, &path);
    t.pass(Millis(1_000));
    t.bob_is_lost();
    t.pass(Millis(10));
    assert!(t.waiting(desk(), &Method::Invite).is_some());
    t.icmp(desk());
    t.request_to(mobile(), Method::Invite);
    t.nothing_to(pbx());
    t.pass(Millis(1_000));
    for there in [pbx(), other_pbx()] {
        assert!(t.waiting(there, &Method::Invite).is_none());
    }
    // It has had its time.
    t.pass(Millis(1_100));
    asked_at_the_pbx(&mut t, "bob");
}

/// Alice's phone, registered through us, calls Bob, who is somewhere beyond the PBX.
fn calls_beyond(t: &mut Table) -> (Remote, Message) {
    t.register_beyond("alice", alice());
    let invite = first(Method::Invite, "alice", "bob", alice(), "c1", 1)
        .header(Name::Contact, format_args!("<sip:alice@{}>", alice()));
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let onward = asked_at_the_pbx(t, "bob");
    t.receive(
        pbx(),
        with_sdp(response(&onward, 200, pbx(), "b1"), &audio(pbx())),
    );
    t.request_to(pbx(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let caller = Remote::of_answer(&ok, alice());
    t.receive(alice(), caller.ack(1));
    (caller, onward)
}

#[test]
fn a_far_end_that_is_lost_is_asked_for_again_through_the_pbx() {
    let mut t = in_front(PathMode::Path);
    calls_beyond(&mut t);
    t.bob_is_lost();
    let invite = asked_at_the_pbx(&mut t, "bob");
    assert!(
        invite
            .header(Name::From)
            .unwrap()
            .contains("sip:alice@pbx.example.net")
    );
    t.receive(
        pbx(),
        with_sdp(response(&invite, 200, pbx(), "b2"), &audio(pbx())),
    );
    t.request_to(pbx(), Method::Ack);
    t.nothing_to(alice());
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Restored { .. })),
        1
    );
}

#[test]
fn a_phone_that_the_pbx_let_register_transfers_to_whom_the_pbx_knows() {
    let mut t = in_front(PathMode::Path);
    let (mut caller, _) = calls_beyond(&mut t);
    let refer = caller
        .request(Method::Refer)
        .header(Name::ReferTo, "<sip:carol@pbx.example.net>");
    t.receive(alice(), refer.end());
    t.response_to(alice(), 202);
    asked_at_the_pbx(&mut t, "carol");
}

#[test]
fn a_far_caller_is_asked_for_through_the_pbx_and_a_near_one_here() {
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    // She calls from somewhere else; her mobile phone is known here, and says nothing.
    t.register_beyond("alice", mobile());
    called_by_the_pbx(&mut t, &path);
    t.alice_is_lost();
    t.discard(desk());
    t.request_to(mobile(), Method::Invite);
    t.icmp(mobile());
    t.pass(Millis::from_secs(10));
    asked_at_the_pbx(&mut t, "alice");

    let mut t = in_front(PathMode::Path);
    calls_beyond(&mut t);
    t.alice_is_lost();
    t.request_to(alice(), Method::Invite);
    assert!(t.waiting(pbx(), &Method::Invite).is_none());
}

#[test]
fn who_is_no_user_here_is_never_called_by_the_number_that_it_shows() {
    for fails in [false, true] {
        let mut t = in_front(PathMode::Path);
        let path = path_of(&t.register_beyond("bob", desk()));
        let text = String::from_utf8(invite_by(&path, OF_BOB, "c1").to_vec()).unwrap();
        let text = text.replace("<sip:alice@pbx", "<sip:+900666@pbx");
        let contact = format!("<sip:{}>", pbx());
        let text = text.replacen(&contact, "<sip:+900777@pbx.example.net>", 1);
        t.receive(pbx(), text.into());
        let invite = t.request_to(desk(), Method::Invite);
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(pbx(), 200);
        let mut caller = Remote::of_answer(&ok, pbx());
        t.receive(pbx(), caller.ack(1));
        if fails {
            let bye = caller.request(Method::Bye);
            t.receive(pbx(), bye.header(Name::Reason, "Q.850;cause=41").end());
            t.response_to(pbx(), 200);
            let bye = t.request_to(desk(), Method::Bye);
            t.reply(&bye, 200, desk());
            t.nothing_to(pbx());
            continue;
        }
        t.alice_is_lost();
        t.pass(Millis::from_secs(10));
        for there in [pbx(), other_pbx()] {
            assert!(t.waiting(there, &Method::Invite).is_none());
        }
        // It comes back by itself.
        let back = caller.request(Method::Info);
        t.receive(pbx(), back.end());
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Repaired { .. })),
            1
        );
    }
}

#[test]
fn a_call_in_somebodys_name_makes_no_call_to_the_name() {
    let mut t = in_front(PathMode::Path);
    let invite = first(Method::Invite, "+900666", "bob", alice(), "c1", 1)
        .header(Name::Contact, format_args!("<sip:alice@{}>", alice()));
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let onward = asked_at_the_pbx(&mut t, "bob");
    t.receive(
        pbx(),
        with_sdp(response(&onward, 200, pbx(), "b1"), &audio(pbx())),
    );
    t.request_to(pbx(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.alice_is_lost();
    t.request_to(alice(), Method::Invite);
    t.icmp(alice());
    t.pass(Millis::from_secs(10));
    for there in [pbx(), other_pbx()] {
        assert!(t.waiting(there, &Method::Invite).is_none());
    }
}

const CHALLENGE: &str = "Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\"";
const CREDENTIALS: &str = "Digest username=\"alice\", realm=\"pbx\", nonce=\"n1\", uri=\"sip:bob@pbx.example.net\", response=\"0\"";

/// Alice calls Bob, whom the PBX knows.
fn invite(cseq: u32) -> Builder {
    first(Method::Invite, "alice", "bob", alice(), "c1", cseq)
        .header(Name::Contact, format_args!("<sip:alice@{}>", alice()))
}

#[test]
fn the_pbx_asks_its_user_for_proof_and_nobody_else_is_shown_it() {
    let mut t = in_front(PathMode::Path);
    t.register_beyond("alice", alice());
    t.receive(alice(), with_sdp(invite(1), &audio(alice())));
    let onward = asked_at_the_pbx(&mut t, "bob");
    let refused = response(&onward, 407, pbx(), "x").header(Name::ProxyAuthenticate, CHALLENGE);
    t.receive(pbx(), refused.end());
    t.request_to(pbx(), Method::Ack);
    let asked = t.response_to(alice(), 407);
    assert_eq!(asked.header(Name::ProxyAuthenticate), Some(CHALLENGE));
    let again = invite(2).header(Name::ProxyAuthorization, CREDENTIALS);
    t.receive(alice(), with_sdp(again, &audio(alice())));
    let onward = asked_at_the_pbx(&mut t, "bob");
    assert_eq!(onward.header(Name::ProxyAuthorization), Some(CREDENTIALS));

    // To a phone of ours they do not go.
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    let text = String::from_utf8(invite_by(&path, OF_BOB, "c1").to_vec()).unwrap();
    let with = format!("CSeq: 1 INVITE\r\nProxy-Authorization: {CREDENTIALS}");
    t.receive(pbx(), text.replacen("CSeq: 1 INVITE", &with, 1).into());
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(invite.header(Name::ProxyAuthorization), None);
    let refused = response(&invite, 407, desk(), "x").header(Name::ProxyAuthenticate, CHALLENGE);
    t.receive(desk(), refused.end());
    t.request_to(desk(), Method::Ack);
    assert_eq!(
        t.response_to(pbx(), 403).header(Name::ProxyAuthenticate),
        None
    );
}

#[test]
fn a_call_that_the_pbx_has_proven_first_is_one_call_and_none_that_failed() {
    let mut settings = beyond(PathMode::Path);
    settings.records = true;
    let mut t = Table::new(settings);
    t.register_beyond("alice", alice());
    t.receive(alice(), with_sdp(invite(1), &audio(alice())));
    let onward = asked_at_the_pbx(&mut t, "bob");
    let asks = response(&onward, 407, pbx(), "x").header(Name::ProxyAuthenticate, CHALLENGE);
    t.receive(pbx(), asks.end());
    t.request_to(pbx(), Method::Ack);
    t.response_to(alice(), 407);
    let again = invite(2).header(Name::ProxyAuthorization, CREDENTIALS);
    t.receive(alice(), with_sdp(again, &audio(alice())));
    let onward = asked_at_the_pbx(&mut t, "bob");
    let ok = with_sdp(answer_at(&onward, pbx()), &audio(pbx()));
    t.receive(pbx(), ok);
    t.request_to(pbx(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut caller = Remote::of_answer(&ok, alice());
    t.receive(alice(), caller.ack(2));
    t.hangs_up(&mut caller);
    let bye = t.request_to(pbx(), Method::Bye);
    t.reply(&bye, 200, pbx());
    let ended = |what: &Happening| match what {
        Happening::Ended { how, .. } => Some(*how),
        _ => None,
    };
    let endings: Vec<Ending> = t.history().into_iter().filter_map(ended).collect();
    assert_eq!(
        endings,
        [Ending::Challenged(407), Ending::HungUp(Side::Caller)]
    );
    assert_eq!(
        t.happened(|what| matches!(what, Happening::Refused { .. })),
        0
    );
    assert_eq!(t.recorded, 1);
}

/// Whose proof is wrong has a call that failed; whose nonce is too old is asked once more.
#[test]
fn a_call_whose_proof_the_pbx_refuses_has_failed_and_is_recorded() {
    for (again, how, recorded) in [
        ("", Ending::Failed(407), 1),
        (", stale=true", Ending::Challenged(407), 0),
    ] {
        let mut settings = beyond(PathMode::Path);
        settings.records = true;
        let mut t = Table::new(settings);
        t.register_beyond("alice", alice());
        for (cseq, shown) in [(1, None), (2, Some(CREDENTIALS))] {
            let mut invite = first(Method::Invite, "alice", "bob", alice(), "c1", cseq)
                .header(Name::Contact, format_args!("<sip:alice@{}>", alice()));
            if let Some(shown) = shown {
                invite = invite.header(Name::ProxyAuthorization, shown);
            }
            t.receive(alice(), with_sdp(invite, &audio(alice())));
            let onward = asked_at_the_pbx(&mut t, "bob");
            let challenge = match shown {
                Some(_) => format!("Digest realm=\"pbx\", nonce=\"n2\", qop=\"auth\"{again}"),
                None => CHALLENGE.into(),
            };
            let asks =
                response(&onward, 407, pbx(), "x").header(Name::ProxyAuthenticate, &challenge);
            t.receive(pbx(), asks.end());
            t.request_to(pbx(), Method::Ack);
            let asked = t.response_to(alice(), 407);
            assert_eq!(asked.header(Name::ProxyAuthenticate), Some(&*challenge));
        }
        let ended = |what: &Happening| match what {
            Happening::Ended { how, .. } => Some(*how),
            _ => None,
        };
        let endings: Vec<Ending> = t.history().into_iter().filter_map(ended).collect();
        assert_eq!(endings, [Ending::Challenged(407), how]);
        let refused = t.happened(|what| matches!(what, Happening::Refused { status: 407, .. }));
        assert_eq!((refused, t.recorded), (recorded, recorded));
    }
}

#[test]
fn a_call_that_the_pbx_refuses_has_failed_and_is_recorded() {
    let mut settings = beyond(PathMode::Path);
    settings.records = true;
    let mut t = Table::new(settings);
    t.register_beyond("alice", alice());
    let invite = first(Method::Invite, "alice", "bob", alice(), "c1", 1)
        .header(Name::Contact, format_args!("<sip:alice@{}>", alice()));
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let onward = asked_at_the_pbx(&mut t, "bob");
    t.reply(&onward, 403, pbx());
    t.request_to(pbx(), Method::Ack);
    t.response_to(alice(), 403);
    let failed = |what: &Happening| {
        matches!(
            what,
            Happening::Ended {
                how: Ending::Failed(403),
                ..
            }
        )
    };
    assert_eq!(t.happened(failed), 1);
    assert_eq!(t.recorded, 1);
}

#[test]
fn a_text_proves_itself_too_in_and_out_of_a_dialog() {
    let mut t = in_front(PathMode::Path);
    t.register_beyond("alice", alice());
    let message = first(Method::Message, "alice", "bob", alice(), "m1", 1)
        .header(Name::ProxyAuthorization, CREDENTIALS);
    t.receive(alice(), message.body("text/plain", b"hi"));
    let onward = t.request_to(pbx(), Method::Message);
    assert_eq!(onward.uri(), "sip:bob@pbx.example.net");
    assert_eq!(onward.header(Name::ProxyAuthorization), Some(CREDENTIALS));
    let refused = response(&onward, 407, pbx(), "x").header(Name::ProxyAuthenticate, CHALLENGE);
    t.receive(pbx(), refused.end());
    let asked = t.response_to(alice(), 407);
    assert_eq!(asked.header(Name::ProxyAuthenticate), Some(CHALLENGE));

    let mut t = in_front(PathMode::Path);
    let (mut caller, _) = calls_beyond(&mut t);
    for method in [Method::Message, Method::Info, Method::Invite] {
        let request = caller
            .request(method.clone())
            .header(Name::ProxyAuthorization, CREDENTIALS);
        let bytes = match method {
            Method::Invite => with_sdp(request, &audio(alice()).replace("sendrecv", "sendonly")),
            _ => request.body("text/plain", b"hi"),
        };
        t.receive(alice(), bytes);
        let onward = t.request_to(pbx(), method.clone());
        assert_eq!(
            onward.header(Name::ProxyAuthorization),
            Some(CREDENTIALS),
            "{method:?}"
        );
        let refused = response(&onward, 407, pbx(), "x").header(Name::ProxyAuthenticate, CHALLENGE);
        t.receive(pbx(), refused.end());
        let asked = t.response_to(alice(), 407);
        assert_eq!(
            asked.header(Name::ProxyAuthenticate),
            Some(CHALLENGE),
            "{method:?}"
        );
        t.discard(pbx());
    }
}

#[test]
fn the_pbx_texts_a_phone_by_its_path() {
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    t.register_beyond("bob", mobile());
    let message = first(Method::Message, "alice", "bob", pbx(), "m1", 1)
        .header(Name::Route, &path)
        .body("text/plain", b"hi");
    let text = String::from_utf8(message.to_vec()).unwrap();
    t.receive(
        pbx(),
        text.replacen("sip:bob@pbx.example.net", OF_BOB, 1).into(),
    );
    let message = t.request_to(desk(), Method::Message);
    assert_eq!(
        (message.uri(), crate::table::text(&message).as_str()),
        (OF_BOB, "hi")
    );
    t.nothing_to(mobile());
    t.reply(&message, 200, desk());
    t.response_to(pbx(), 200);
}

#[test]
fn a_pbx_that_asks_who_asks_again_hears_of_our_account_once() {
    for (account, challenge) in [
        (
            true,
            "Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth,auth-int\", opaque=\"o1\"",
        ),
        (true, "Digest realm=\"pbx\", nonce=\"n1\", algorithm=MD5"),
        (false, CHALLENGE),
    ] {
        let mut settings = beyond(PathMode::Path);
        if let Some(upstream) = settings.upstreams.get_mut("pbx") {
            upstream.account = account.then(|| Account {
                user: "refork".into(),
                password: "secret".into(),
                realms: Box::default(),
            });
        }
        let mut t = Table::new(settings);
        calls_beyond(&mut t);
        t.bob_is_lost();
        let first = asked_at_the_pbx(&mut t, "bob");
        let refused = response(&first, 407, pbx(), "x").header(Name::ProxyAuthenticate, challenge);
        t.receive(pbx(), refused.end());
        t.request_to(pbx(), Method::Ack);
        if !account {
            t.nothing_to(pbx());
            continue;
        }
        let again = asked_at_the_pbx(&mut t, "bob");
        assert_eq!(again.call_id(), first.call_id());
        assert_eq!(again.cseq(), first.cseq() + 1);
        let proof = again.header(Name::ProxyAuthorization).unwrap();
        assert_eq!(
            proof.contains("opaque=\"o1\""),
            challenge.contains("opaque")
        );
        let proof = refork::sip::digest::Credentials::parse(proof).unwrap();
        assert_eq!((proof.username, proof.uri), ("refork", again.uri()));
        if challenge.contains("qop") {
            let md5 = refork::sip::digest::Algorithm::Md5;
            let ha1 = refork::sip::digest::ha1(md5, "refork", "pbx", "secret");
            assert!(proof.prove(md5, &ha1, "INVITE", b""));
        }
        // Taken for wrong.
        let refused = response(&again, 407, pbx(), "x").header(Name::ProxyAuthenticate, challenge);
        t.receive(pbx(), refused.end());
        t.request_to(pbx(), Method::Ack);
        t.nothing_to(pbx());
    }
}

/// RFC 3891 4: a phone takes over a call of the PBX's, of which it has heard from the PBX (RFC 4235).
#[test]
fn a_dialog_of_the_pbx_is_for_the_pbx_to_replace() {
    let mut t = in_front(PathMode::Path);
    let named = "pbxcall@198.51.100.50;to-tag=abc;from-tag=def;early-only";
    let pickup = |replaces: &str, call_id: &str| {
        let invite = first(Method::Invite, "alice", "101", alice(), call_id, 1)
            .header(Name::Contact, contact_of("alice", alice()))
            .header(Name::Require, "replaces")
            .header(Name::Replaces, replaces);
        with_sdp(invite, &audio(alice()))
    };
    t.receive(alice(), pickup(named, "pickup1"));
    let invite = t.request_to(pbx(), Method::Invite);
    assert_eq!(invite.header(Name::Replaces), Some(named));
    assert!(invite.has_token(Name::Require, "replaces"));
    t.receive(pbx(), with_sdp(answer_at(&invite, pbx()), &audio(pbx())));
    t.request_to(pbx(), Method::Ack);
    t.response_to(alice(), 200);
    // A tag as ours are, of a dialog that is over.
    let ours = invite.from_tag().unwrap();
    let ours: String = ours[..ours.len() - 2].to_owned() + "00";
    let named = format!("pbxcall@198.51.100.50;to-tag={ours};from-tag=def");
    t.receive(alice(), pickup(&named, "pickup2"));
    t.response_to(alice(), 481);
    t.nothing_to(pbx());
    // What cannot be read is nobody's.
    t.receive(alice(), pickup("pbxcall@198.51.100.50", "pickup3"));
    t.response_to(alice(), 400);
}
