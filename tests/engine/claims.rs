//! What not everybody may say: a claim of who somebody is, and an order to take a call by itself.

use bytes::Bytes;
use refork::engine::settings::*;
use refork::sip::{Builder, Message, Method, Name};

use crate::admission::{again, gateway, guarded, instead, trunk};
use crate::edge::{first, in_front, pbx};
use crate::people::*;
use crate::table::*;

/// What is believed of trusted peers alone.
const CLAIMS: &str = "Remote-Party-ID: \"Boss\" <sip:boss@example.org>;screen=yes\r\n\
    P-Served-User: <sip:boss@example.org>\r\nP-Asserted-Service: urn:urn-7:3gpp-service.ims\r\n\
    P-Charging-Vector: icid-value=1234bc9876e\r\n\
    P-Charging-Function-Addresses: ccf=192.0.2.9\r\nP-Visited-Network-ID: \"Visited\"\r\n\
    P-User-Database: <aaa://hss.example.org>\r\n";
/// What is asked of a phone, and who is said to wish for it.
const ORDERS: &str = "Priv-Answer-Mode: Auto\r\nAnswer-Mode: Auto\r\nAlert-Info: <http://10.0.0.1/admin>\r\n\
    Call-Info: <sip:example.org>;answer-after=0\r\nReferred-By: <sip:boss@example.org>\r\n\
    History-Info: <sip:boss@example.org>;index=1\r\n";

fn says(builder: Builder) -> Builder {
    builder
        .raw_lines(CLAIMS.as_bytes())
        .raw_lines(ORDERS.as_bytes())
}

#[track_caller]
fn is_told(message: &Message, party: bool, networks: bool, orders: bool) {
    let shown = String::from_utf8(message.bytes().to_vec()).unwrap();
    assert_eq!(shown.contains("Remote-Party-ID"), party, "{shown}");
    knows_networks(message, networks);
    for word in [
        "Priv-Answer-Mode",
        "\nAnswer-Mode",
        "Alert-Info",
        "answer-after",
        "Referred-By",
        "History-Info: <sip:boss",
    ] {
        assert_eq!(shown.contains(word), orders, "{word} in {shown}");
    }
}

/// It says what networks tell one another, or nothing of that.
#[track_caller]
fn knows_networks(message: &Message, knows: bool) {
    let shown = String::from_utf8(message.bytes().to_vec()).unwrap();
    for word in [
        "P-Served-User",
        "P-Asserted-Service",
        "P-Charging-Vector",
        "P-Charging-Function-Addresses",
        "P-Visited-Network-ID",
        "P-User-Database",
    ] {
        assert_eq!(shown.contains(word), knows, "{word} in {shown}");
    }
}

/// A request by name of somebody of elsewhere.
fn of_a_stranger(method: Method, body: bool) -> Bytes {
    let name = method.as_str().to_owned();
    let request = says(request(method, "mallory", "bob", stranger(), &name));
    let bytes = match body {
        true => with_sdp(request, &audio(stranger())),
        false => request.body("text/plain", b"hello"),
    };
    instead(
        &bytes,
        "sip:mallory@example.org",
        "sip:mallory@elsewhere.example",
    )
}

fn stranger() -> std::net::SocketAddr {
    phone("198.51.100.77:5060")
}

#[test]
fn a_stranger_opens_no_microphone_and_is_nobodys_boss() {
    let mut t = Table::new(guarded());
    t.signs_on("bob", desk(), "desk");
    for (method, call) in [(Method::Invite, true), (Method::Message, false)] {
        t.receive(stranger(), of_a_stranger(method.clone(), call));
        is_told(&t.request_to(desk(), method), false, false, false);
    }
}

#[test]
fn a_colleague_may_call_by_the_intercom_and_claims_no_other_name() {
    for to in ["bob", "+4930123"] {
        let mut t = with_trusted_trunk();
        let invite = says(request(Method::Invite, "alice", to, alice(), "c1"));
        let invite = with_sdp(invite, &audio(alice()));
        let challenged = t.is_asked(alice(), &invite);
        t.receive(alice(), again(&invite, &challenged, "alice"));
        let at = if to == "bob" { desk() } else { trunk() };
        is_told(&t.request_to(at, Method::Invite), false, false, true);
    }
}

#[test]
fn a_phone_within_the_call_claims_nothing_either() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let reinvite = a.request(Method::Invite).raw_lines(CLAIMS.as_bytes());
    t.receive(alice(), with_sdp(reinvite, &sdp(alice(), 2, "sendonly")));
    is_told(&t.request_to(desk(), Method::Invite), false, false, false);
}

/// A trunk that is trusted, and Bob.
fn with_trusted_trunk() -> Table {
    telling_phones(false)
}

/// The same, and whether phones hear who it is.
fn telling_phones(wished: bool) -> Table {
    let mut settings = guarded();
    settings.acl.identity_to_phones = wished;
    settings.upstreams.get_mut("trunk").unwrap().trusted = true;
    let mut t = Table::new(settings);
    t.signs_on("bob", desk(), "desk");
    t
}

#[test]
fn a_trusted_peer_is_believed() {
    // A phone is told who it is where the operator wishes, and never how networks work.
    for (to, at, wished, networks) in [
        ("bob", desk(), false, false),
        ("bob", desk(), true, false),
        ("+4930123", trunk(), false, true),
    ] {
        for method in [Method::Invite, Method::Message] {
            let mut t = telling_phones(wished);
            let known = says(request(method.clone(), "+4940", to, gateway(), "in"));
            t.receive(gateway(), with_sdp(known, &audio(gateway())));
            is_told(
                &t.request_to(at, method),
                wished || networks,
                networks,
                true,
            );
        }
    }
}

#[test]
fn what_networks_tell_one_another_reaches_no_phone() {
    let mut t = with_trusted_trunk();
    let invite = request(Method::Invite, "bob", "+4930123", desk(), "c1")
        .other("P-Access-Network-Info", "IEEE-802.11");
    let invite = with_sdp(invite, &audio(desk()));
    let challenged = t.is_asked(desk(), &invite);
    t.receive(desk(), again(&invite, &challenged, "bob"));
    let invite = t.request_to(trunk(), Method::Invite);
    // A phone may say where it is.
    assert_eq!(invite.other("P-Access-Network-Info"), Some("IEEE-802.11"));
    t.receive(trunk(), says(response(&invite, 180, trunk(), "b1")).end());
    knows_networks(&t.response_to(desk(), 180), false);
    let ok = says(answer_at(&invite, trunk()));
    t.receive(trunk(), with_sdp(ok, &audio(trunk())));
    t.request_to(trunk(), Method::Ack);
    let ok = t.response_to(desk(), 200);
    knows_networks(&ok, false);
    t.receive(desk(), Remote::of_answer(&ok, desk()).ack(2));
    let mut b = Remote::of_invite(&invite, trunk(), "b1");
    t.receive(trunk(), says(b.request(Method::Info)).end());
    knows_networks(&t.request_to(desk(), Method::Info), false);
}

#[test]
fn where_a_phone_is_tells_no_other_phone() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "c1")
        .other("P-Access-Network-Info", "IEEE-802.11");
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(invite.other("P-Access-Network-Info"), None);
}

#[test]
fn nor_does_what_the_pbx_says_of_them_in_passing() {
    let mut t = in_front(PathMode::Path);
    let register = t.register_beyond("bob", desk());
    let subscribe = first(Method::Subscribe, "bob", "bob", desk(), "sub1", 1)
        .header(Name::Event, "message-summary")
        .header(Name::Contact, "<sip:bob@10.0.0.7:5060>");
    t.receive(desk(), subscribe.end());
    let subscribe = t.request_to(pbx(), Method::Subscribe);
    t.receive(pbx(), says(response(&subscribe, 202, pbx(), "p9")).end());
    knows_networks(&t.response_to(desk(), 202), false);
    let notify = says(first(Method::Notify, "bob", "bob", pbx(), "n1", 1))
        .header(Name::Route, crate::edge::path_of(&register))
        .header(Name::Event, "message-summary");
    t.receive(pbx(), notify.end());
    let notify = t.request_to(desk(), Method::Notify);
    knows_networks(&notify, false);
    t.receive(desk(), says(response(&notify, 200, desk(), "x")).end());
    t.response_to(pbx(), 200);
}

#[test]
fn the_users_own_pbx_judges_what_a_phone_of_it_asks() {
    let mut t = in_front(PathMode::Path);
    let invite = says(first(Method::Invite, "alice", "bob", alice(), "c1", 1))
        .header(Name::Contact, format_args!("<sip:alice@{}>", alice()));
    t.receive(alice(), with_sdp(invite, &audio(alice())));
    is_told(&t.request_to(pbx(), Method::Invite), false, false, true);
}

#[test]
fn nothing_is_asserted_to_the_pbx_by_a_phones_subscription() {
    let mut t = in_front(PathMode::Path);
    t.register_beyond("bob", desk());
    let subscribe = says(first(Method::Subscribe, "bob", "bob", desk(), "sub1", 1))
        .header(Name::PAssertedIdentity, "<sip:boss@pbx.example.net>")
        .header(Name::Event, "message-summary")
        .header(Name::Contact, "<sip:bob@10.0.0.7:5060>");
    t.receive(desk(), subscribe.end());
    let onward = t.request_to(pbx(), Method::Subscribe);
    is_told(&onward, false, false, true);
    assert_eq!(onward.header(Name::PAssertedIdentity), None);
}

#[test]
fn phones_hear_who_calls_where_the_operator_wishes() {
    let carriers = "\"Carrier\" <tel:+4940123>";
    for (wished, privacy, heard) in [
        (true, "none", Some(carriers)),
        (true, "id", None),
        (true, "user", None),
        (false, "none", None),
    ] {
        let mut settings = guarded();
        settings.acl.identity_to_phones = wished;
        let mut t = Table::new(settings);
        t.signs_on("bob", desk(), "desk");
        for method in [Method::Invite, Method::Message] {
            let name = method.as_str().to_owned();
            let known = request(method.clone(), "+4940", "bob", gateway(), &name)
                .header(Name::PAssertedIdentity, carriers)
                .other("Remote-Party-ID", carriers)
                .header(Name::Privacy, privacy);
            t.receive(gateway(), with_sdp(known, &audio(gateway())));
            let shown = t.request_to(desk(), method);
            assert_eq!(asserted(&shown), heard, "{privacy}");
        }
        // A trunk that is not trusted is no phone.
        let through = request(Method::Invite, "+4940", "+4930123", gateway(), "out")
            .header(Name::PAssertedIdentity, carriers)
            .other("Remote-Party-ID", carriers);
        t.receive(gateway(), with_sdp(through, &audio(gateway())));
        assert_eq!(asserted(&t.request_to(trunk(), Method::Invite)), None);
    }
}

/// Whom somebody hears of, by either word for it.
#[track_caller]
fn asserted(message: &Message) -> Option<&str> {
    let who = message.header(Name::PAssertedIdentity);
    assert_eq!(message.other("Remote-Party-ID"), who);
    who
}

/// By the word that we say ourselves, and that crosses with another session.
fn identity(message: &Message) -> Option<&str> {
    message.header(Name::PAssertedIdentity)
}

#[test]
fn who_is_connected_is_told_to_whom_it_may_be() {
    const FIRST: &str = "\"Desk\" <tel:+4930123>";
    const SECOND: &str = "\"Boss\" <tel:+4930124>";
    for (wished, privacy) in [
        (true, "none"),
        (true, "id"),
        (true, "user"),
        (false, "none"),
    ] {
        let heard = |who: &'static str| (wished && privacy == "none").then_some(who);
        let says = |builder: Builder, who| {
            let builder = builder.header(Name::PAssertedIdentity, who);
            let builder = builder.other("Remote-Party-ID", who);
            builder.header(Name::Privacy, privacy)
        };
        let mut t = telling_phones(wished);
        let invite = request(Method::Invite, "bob", "+4930123", desk(), "c1");
        let invite = with_sdp(invite, &audio(desk()));
        let challenged = t.is_asked(desk(), &invite);
        t.receive(desk(), again(&invite, &challenged, "bob"));
        let invite = t.request_to(trunk(), Method::Invite);
        t.receive(
            trunk(),
            says(response(&invite, 180, trunk(), "b1"), FIRST).end(),
        );
        assert_eq!(
            asserted(&t.response_to(desk(), 180)),
            heard(FIRST),
            "{privacy}"
        );
        let ok = says(answer_at(&invite, trunk()), FIRST);
        t.receive(trunk(), with_sdp(ok, &audio(trunk())));
        t.request_to(trunk(), Method::Ack);
        let ok = t.response_to(desk(), 200);
        assert_eq!(asserted(&ok), heard(FIRST), "{privacy}");
        let mut a = Remote::of_answer(&ok, desk());
        t.receive(desk(), a.ack(2));
        a.cseq = 2;
        // It is passed on beyond the trunk, and tells so with another session.
        let mut b = Remote::of_invite(&invite, trunk(), "b1");
        let hold = sdp(trunk(), 2, "sendonly");
        t.receive(
            trunk(),
            with_sdp(says(b.request(Method::Invite), SECOND), &hold),
        );
        let reinvite = t.request_to(desk(), Method::Invite);
        assert_eq!(identity(&reinvite), heard(SECOND), "{privacy}");
        let ok = response(&reinvite, 200, desk(), "x")
            .header(Name::PAssertedIdentity, "<sip:boss@example.org>");
        t.receive(desk(), with_sdp(ok, &sdp(desk(), 2, "recvonly")));
        t.request_to(desk(), Method::Ack);
        // Of a user of ours it is we who say who it is.
        let ok = t.response_to(trunk(), 200);
        assert_eq!(identity(&ok), Some("<sip:bob@example.org>"));
        t.receive(trunk(), b.ack(ok.cseq()));
        let resumed = sdp(desk(), 3, "inactive");
        t.receive(desk(), with_sdp(a.request(Method::Invite), &resumed));
        let reinvite = t.request_to(trunk(), Method::Invite);
        assert!(identity(&reinvite).is_some_and(|who| who.contains("<sip:bob@example.org>")));
        let ok = says(response(&reinvite, 200, trunk(), "b1"), SECOND);
        t.receive(trunk(), with_sdp(ok, &sdp(trunk(), 3, "inactive")));
        assert_eq!(
            identity(&t.response_to(desk(), 200)),
            heard(SECOND),
            "{privacy}"
        );
    }
}
