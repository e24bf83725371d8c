//! What an upstream is told of a user who has telephone numbers.

use refork::engine::ids::Aor;
use refork::engine::settings::{Presented, Settings};
use refork::sip::{Message, Method, Name};

use crate::admission::{again, guarded};
use crate::people::*;
use crate::table::*;

fn trunk() -> std::net::SocketAddr {
    phone("192.0.2.60:5060")
}

/// Alice has a number; the trunk believes what it is told, and is believed.
fn office(identity: Presented, from_domain: Option<&str>) -> Settings {
    let mut wishes = guarded();
    let alice = Aor::from_canonical("sip:alice@example.org");
    wishes.numbers.insert("+493011".into(), alice.clone());
    wishes.shown_numbers.insert(alice, "+493011".into());
    let trunk = wishes.upstreams.get_mut("trunk").unwrap();
    trunk.trusted = true;
    trunk.identity = identity;
    trunk.from_domain = from_domain.map(Into::into);
    wishes
}

/// Who it is by From and P-Asserted-Identity.
fn shown(message: &Message) -> [String; 2] {
    let from = message.header(Name::From).unwrap();
    let from = from.split(";tag=").next().unwrap();
    let asserted = message.header(Name::PAssertedIdentity).unwrap_or("");
    [from.into(), asserted.into()]
}

/// A user asks for somebody beyond the trunk, as whom the From says. Returns what the trunk gets.
fn asks(t: &mut Table, method: Method, from: &str, call_id: &str) -> Message {
    let first = request(method.clone(), "alice", "+4940", alice(), call_id)
        .header(Name::PPreferredIdentity, "<sip:alice@example.org>");
    let first = with_sdp(first, &audio(alice()));
    let text = String::from_utf8_lossy(&first).into_owned();
    let own = "From: \"alice\" <sip:alice@example.org>";
    assert!(text.contains(own), "{text}");
    let first = text.replacen(own, &format!("From: {from}"), 1).into();
    let challenged = t.is_asked(alice(), &first);
    t.receive(alice(), again(&first, &challenged, "alice"));
    t.request_to(trunk(), method)
}

const OWN: &str = "\"alice\" <sip:alice@example.org>";

#[test]
fn a_trunk_is_told_the_number_of_who_calls_and_who_writes() {
    for (identity, domain, told) in [
        (
            Presented::Number,
            None,
            "\"alice\" <sip:+493011@example.org;user=phone>",
        ),
        (
            Presented::Number,
            Some("carrier.example"),
            "\"alice\" <sip:+493011@carrier.example;user=phone>",
        ),
        (Presented::User, None, OWN),
    ] {
        for method in [Method::Invite, Method::Message] {
            let mut t = Table::new(office(identity, domain));
            let out = asks(&mut t, method, OWN, "call1");
            assert_eq!(shown(&out), [told, told]);
        }
    }
}

#[test]
fn who_is_unnamed_is_told_by_number_to_who_may_know_alone() {
    let mut t = Table::new(office(Presented::Number, None));
    let unnamed = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    let out = asks(&mut t, Method::Invite, unnamed, "call1");
    let number = "<sip:+493011@example.org;user=phone>";
    assert_eq!(shown(&out), [unnamed, number]);
}

#[test]
fn the_dialog_keeps_the_number() {
    let mut t = Table::new(office(Presented::Number, None));
    let invite = asks(&mut t, Method::Invite, OWN, "call1");
    let [from, _] = shown(&invite);
    t.receive(
        trunk(),
        with_sdp(answer_at(&invite, trunk()), &audio(trunk())),
    );
    let ack = t.request_to(trunk(), Method::Ack);
    assert_eq!(shown(&ack)[0], from);
    let ok = t.response_to(alice(), 200);
    // To herself she is who she said.
    assert!(ok.header(Name::From).unwrap().contains("sip:alice@"));
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(2));
    t.hangs_up(&mut a);
    let bye = t.request_to(trunk(), Method::Bye);
    assert_eq!(shown(&bye)[0], from);
}

#[test]
fn a_trunk_that_calls_is_told_the_number_of_who_is_connected() {
    let mut t = Table::new(office(Presented::Number, None));
    t.signs_on("alice", alice(), "own");
    let call = request(Method::Invite, "+4940", "+493011", trunk(), "in");
    t.receive(trunk(), with_sdp(call, &audio(trunk())));
    let invite = t.request_to(alice(), Method::Invite);
    t.receive(alice(), with_sdp(answer_to(&invite), &audio(alice())));
    t.request_to(alice(), Method::Ack);
    let ok = t.response_to(trunk(), 200);
    let said = ok.header(Name::PAssertedIdentity);
    assert_eq!(said, Some("<sip:+493011@example.org;user=phone>"));
}
