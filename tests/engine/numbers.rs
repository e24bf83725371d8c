//! Telephone numbers: whom they are for, however they are written, and which way calls by them go.

use bytes::Bytes;
use refork::engine::events::Event;
use refork::sip::{Method, Name};

use crate::admission::{ack_of, again, gateway, guarded, instead, invite, trunk};
use crate::people::*;
use crate::table::*;

/// Numbers go to the trunk; Bob has one, and a phone.
fn office(trusted: bool) -> Table {
    let mut settings = guarded();
    settings.upstreams.get_mut("trunk").unwrap().trusted = trusted;
    settings.numbers.insert("+4930111".into(), bob());
    let mut t = Table::new(settings);
    t.signs_on("bob", desk(), "desk");
    t
}

/// A request of the trunk's for a URI.
fn of_trunk(method: &Method, uri: &str, call_id: &str) -> Bytes {
    let request = request(method.clone(), "x", "y", trunk(), call_id);
    let request = match method {
        Method::Invite => with_sdp(request, &audio(trunk())),
        Method::Message => request.body("text/plain", b"hello"),
        _ => request.end(),
    };
    let from = instead(&request, "<sip:x@example.org>", "<sip:+431@trunk.example>");
    let text = std::str::from_utf8(&from).unwrap();
    text.replacen("sip:y@example.org", uri, 1).into()
}

#[test]
fn nothing_goes_back_to_the_trunk_that_it_comes_from() {
    for trusted in [true, false] {
        let mut t = office(trusted);
        for (at, uri) in [
            "sip:+4930999@192.0.2.1:5060",
            "sip:+4930999@example.org",
            "sip:+4930999@trunk.example",
            "tel:+4930999",
        ]
        .into_iter()
        .enumerate()
        {
            for method in [Method::Invite, Method::Message, Method::Options] {
                let request = of_trunk(&method, uri, &format!("{at}{}", method.as_str()));
                t.is_refused(trunk(), &request, 404);
            }
        }
        t.nothing_to(trunk());
        t.ends_empty();
        // What others have dialled is no offence of the trunk's.
        let offence = |event: &Event| matches!(event, Event::Offence { .. });
        assert!(!t.events.iter().any(offence));
    }
}

#[test]
fn a_call_by_a_trunk_rings_whose_number_it_is() {
    for trusted in [true, false] {
        let mut t = office(trusted);
        for (at, uri) in [
            "sip:+4930111@192.0.2.1:5060",
            "sip:+4930111@example.org;user=phone",
            "sip:+4930111;npdi;rn=+4940@192.0.2.1",
            "sip:+49-30-111@trunk.example",
            "tel:+49-30-111",
            "sip:bob@192.0.2.1",
        ]
        .into_iter()
        .enumerate()
        {
            let invite = of_trunk(&Method::Invite, uri, &format!("call{at}"));
            t.receive(trunk(), invite.clone());
            let rung = t.request_to(desk(), Method::Invite);
            t.reply(&rung, 486, desk());
            t.request_to(desk(), Method::Ack);
            let refused = t.response_to(trunk(), 486);
            t.receive(trunk(), ack_of(&invite, &refused));
        }
        t.nothing_to(trunk());
        t.ends_empty();
    }
}

#[test]
fn a_number_that_is_dialled_is_a_number_of_the_users_domain() {
    let mut t = office(true);
    for (at, (dialled, goes_to)) in [
        ("tel:+43-123", "sip:+43-123@192.0.2.60;user=phone"),
        (
            "tel:+43123;isub=4",
            "sip:+43123;isub=4@192.0.2.60;user=phone",
        ),
        (
            "sip:+43-123@example.org;user=phone",
            "sip:+43-123@192.0.2.60;user=phone",
        ),
        ("sip:+43123@example.org", "sip:+43123@192.0.2.60"),
    ]
    .into_iter()
    .enumerate()
    {
        let first = invite("alice", "y", alice(), &format!("call{at}"));
        let text = std::str::from_utf8(&first).unwrap();
        let first: Bytes = text.replacen("sip:y@example.org", dialled, 1).into();
        let asked = t.is_asked(alice(), &first);
        t.receive(alice(), again(&first, &asked, "alice"));
        let out = t.request_to(trunk(), Method::Invite);
        assert_eq!(out.uri(), goes_to, "{dialled}");
        t.reply(&out, 486, trunk());
        t.request_to(trunk(), Method::Ack);
        t.response_to(alice(), 486);
    }
    // Bob's.
    let first = invite("alice", "y", alice(), "call9");
    let text = std::str::from_utf8(&first).unwrap();
    let first: Bytes = text
        .replacen("sip:y@example.org", "tel:+49-30-111", 1)
        .into();
    let asked = t.is_asked(alice(), &first);
    t.receive(alice(), again(&first, &asked, "alice"));
    t.request_to(desk(), Method::Invite);
}

#[test]
fn a_call_is_transferred_to_a_number() {
    let mut t = office(true);
    let first = invite("alice", "bob", alice(), "call1");
    let asked = t.is_asked(alice(), &first);
    t.receive(alice(), again(&first, &asked, "alice"));
    let rung = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&rung), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let mut caller = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), caller.ack(2));
    let refer = caller.request(Method::Refer);
    t.receive(alice(), refer.header(Name::ReferTo, "<tel:+43123>").end());
    t.response_to(alice(), 202);
    let out = t.request_to(trunk(), Method::Invite);
    assert_eq!(out.uri(), "sip:+43123@192.0.2.60;user=phone");
}

#[test]
fn a_provider_is_known_by_where_it_calls_from_too() {
    for trusted in [true, false] {
        for known in [true, false] {
            let mut settings = guarded();
            let upstream = settings.upstreams.get_mut("trunk").unwrap();
            upstream.trusted = trusted;
            if known {
                upstream.sources = vec!["203.0.113.0/24".parse().unwrap()];
            }
            let mut t = Table::new(settings);
            let call = invite("alice", "+4930999", gateway(), "call1");
            t.receive(gateway(), call);
            // Else nothing tells whose call it is, and the route leads there.
            let back = t.waiting(trunk(), &Method::Invite);
            assert_eq!(back.is_none(), known, "{trusted}");
            if known {
                t.response_to(gateway(), 404);
            }
        }
    }
}
