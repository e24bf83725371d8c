//! In front of a PBX: which phone a token names, whatever the PBX has made of the Contact and whatever Routes it
//! writes; and what is kept of a phone whose Contact it changes.

use refork::engine::events::Event;
use refork::engine::settings::PathMode;
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::edge::*;
use crate::people::*;
use crate::table::*;

/// The PBX has us for its outbound proxy, too.
const OUTBOUND: &str = "<sip:sip.refork.example;lr>";

/// Returns how long Bob's phones are kept.
fn kept(t: &Table) -> Vec<Millis> {
    let kept = t.site.bindings.get(&at_pbx("bob"));
    let kept = kept.into_iter().flatten();
    kept.map(|binding| binding.expires.since(t.now)).collect()
}

fn not_kept(t: &Table) -> Vec<&str> {
    let contacts = t.events.iter().filter_map(|event| match event {
        Event::NotKept { contact, .. } => Some(&**contact),
        _ => None,
    });
    contacts.collect()
}

/// The PBX's 200, with these Contacts in place of the phone's.
fn shows(register: &Message, contacts: &[&str], expires: Option<u32>) -> bytes::Bytes {
    let ok = granted(register, 1).end();
    let text = String::from_utf8(ok.to_vec()).unwrap();
    let (head, lines) = text.split_once("\r\n").unwrap();
    assert!(head.ends_with("200 OK"));
    let lines: String = lines
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("Contact:") && !line.starts_with("Content-Length"))
        .take_while(|line| *line != "\r\n")
        .collect();
    let mut builder = Builder::response(200, "OK").raw_lines(lines.as_bytes());
    for contact in contacts {
        builder = builder.header(Name::Contact, contact);
    }
    if let Some(expires) = expires {
        builder = builder.header(Name::Expires, expires);
    }
    builder.end()
}

#[test]
fn what_led_here_above_the_path_is_taken_off() {
    for above in [
        OUTBOUND,
        "<sip:192.0.2.1:5060;lr>",
        "<sip:192.0.2.1;lr>,<sip:sip.refork.example;lr>",
    ] {
        let mut t = in_front(PathMode::Path);
        let path = path_of(&t.register_beyond("bob", desk()));
        let routes = format!("{above}, {path}");
        t.receive(pbx(), invite_by(&routes, OF_BOB, "c1"));
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(invite.uri(), OF_BOB);
        assert_eq!(invite.header(Name::Route), None);
        t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        t.response_to(pbx(), 200);

        let ping = first(Method::Options, "pbx", "bob", pbx(), "ping", 1)
            .header(Name::Route, above)
            .header(Name::Route, &path)
            .end();
        t.receive(pbx(), ping);
        let ping = t.request_to(desk(), Method::Options);
        assert_eq!(ping.header(Name::Route), None, "{above}");
        t.reply(&ping, 200, desk());
        t.response_to(pbx(), 200);
    }
}

#[test]
fn a_route_beyond_ours_stays() {
    let mut t = in_front(PathMode::Path);
    let path = path_of(&t.register_beyond("bob", desk()));
    let notify = first(Method::Notify, "pbx", "bob", pbx(), "mwi", 1)
        .header(Name::Event, "message-summary")
        .header(Name::Route, OUTBOUND)
        .header(Name::Route, &path)
        .header(Name::Route, &path)
        .header(Name::Route, "<sip:10.0.0.9;lr>")
        .end();
    t.receive(pbx(), notify);
    let notify = t.request_to(desk(), Method::Notify);
    assert_eq!(notify.header(Name::Route), Some("<sip:10.0.0.9;lr>"));
    assert_eq!(notify.values(Name::Route).count(), 1);
}

#[test]
fn a_token_of_one_phone_names_it_whatever_the_request_uri() {
    for uri in [
        "sip:bob@pbx.example.net",
        "sip:+4930200@10.0.0.7:5060",
        "sip:bob@10.0.0.7",
        "sip:bob@192.0.2.1:5060",
        "sip:bob@10.0.0.7:5099",
    ] {
        let mut t = in_front(PathMode::Path);
        let path = path_of(&t.register_beyond("bob", desk()));
        t.register_beyond("bob", mobile());
        t.receive(pbx(), invite_by(&path, uri, "c1"));
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(
            invite.uri(),
            OF_BOB,
            "what the phone calls itself, for {uri}"
        );
        t.nothing_to(mobile());
        t.reply(&invite, 486, desk());
        t.request_to(desk(), Method::Ack);
        t.response_to(pbx(), 486);

        let ping =
            first(Method::Options, "pbx", "bob", pbx(), "ping", 1).header(Name::Route, &path);
        let ping = String::from_utf8(ping.end().to_vec()).unwrap();
        t.receive(
            pbx(),
            ping.replacen("sip:bob@pbx.example.net", uri, 1).into(),
        );
        let ping = t.request_to(desk(), Method::Options);
        assert_eq!(ping.uri(), OF_BOB, "for {uri}");
    }
}

#[test]
fn a_token_of_several_contacts_needs_the_request_uri() {
    let mut t = in_front(PathMode::Path);
    let both = first(Method::Register, "bob", "", desk(), "two", 1)
        .header(Name::Contact, "<sip:bob@10.0.0.7:5060>")
        .header(Name::Contact, "<sip:bob@10.0.0.7:5062>");
    t.receive(desk(), both.end());
    let onward = t.request_to(pbx(), Method::Register);
    t.receive(pbx(), granted(&onward, 1800).end());
    t.response_to(desk(), 200);
    let path = path_of(&onward);
    t.receive(pbx(), invite_by(&path, "sip:bob@10.0.0.7:5062;x=2", "c1"));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(invite.uri(), "sip:bob@10.0.0.7:5062");
    t.receive(pbx(), invite_by(&path, "sip:bob@pbx.example.net", "c2"));
    t.response_to(pbx(), 430);
}

#[test]
fn a_contact_that_the_pbx_changes_is_kept_for_as_long_as_granted() {
    let seen = "<sip:bob@192.0.2.1:5060>;expires=300";
    let fixed = "<sip:bob@198.51.100.99:5060>;expires=77";
    for (contacts, expires, kept_for) in [
        (&[seen][..], None, 300),
        (&["<sip:bob@192.0.2.1:5060>"], Some(120), 120),
        // Which of the two is meant, nobody knows.
        (&[seen, fixed], Some(120), 120),
        (&[seen, fixed], None, 3600),
    ] {
        let mut t = in_front(PathMode::Path);
        t.receive(desk(), register("bob", desk(), 1, 3600).end());
        let onward = t.request_to(pbx(), Method::Register);
        t.receive(pbx(), shows(&onward, contacts, expires));
        t.response_to(desk(), 200);
        assert_eq!(kept(&t), [Millis::from_secs(kept_for)], "{contacts:?}");
        assert_eq!(not_kept(&t), [""; 0]);
        let uri = "sip:bob@192.0.2.1:5060";
        t.receive(pbx(), invite_by(&path_of(&onward), uri, "c1"));
        let invite = t.request_to(desk(), Method::Invite);
        assert_eq!(invite.uri(), OF_BOB);
        t.reply(&invite, 486, desk());
        t.request_to(desk(), Method::Ack);
        t.response_to(pbx(), 486);

        t.receive(desk(), register("bob", desk(), 2, 0).end());
        let onward = t.request_to(pbx(), Method::Register);
        t.receive(pbx(), shows(&onward, &[fixed], None));
        t.response_to(desk(), 200);
        assert!(kept(&t).is_empty(), "the phone has left");
    }
}

#[test]
fn what_the_pbx_shows_of_another_phone_is_of_that_one() {
    let mut t = in_front(PathMode::Path);
    t.receive(desk(), register("bob", desk(), 1, 3600).end());
    let onward = t.request_to(pbx(), Method::Register);
    t.receive(pbx(), granted(&onward, 1800).end());
    t.response_to(desk(), 200);
    let other = || {
        first(Method::Register, "bob", "", mobile(), "reg-m", 1)
            .header(Name::Contact, "<sip:bob@10.0.0.8:5060>")
            .header(Name::Expires, 3600)
    };
    t.receive(mobile(), other().end());
    let onward = t.request_to(pbx(), Method::Register);
    let of_desk = format!("<{OF_BOB}>;expires=1700");
    let strange = "<sip:bob@192.0.2.1:5060>;expires=90";
    t.receive(pbx(), shows(&onward, &[&of_desk, strange], None));
    t.response_to(mobile(), 200);
    assert_eq!(kept(&t), [1800, 90].map(Millis::from_secs));

    // Nothing that could be the phone's.
    let mut t = in_front(PathMode::Path);
    t.register_beyond("bob", desk());
    t.receive(mobile(), other().end());
    let onward = t.request_to(pbx(), Method::Register);
    t.receive(pbx(), shows(&onward, &[&of_desk], None));
    t.response_to(mobile(), 200);
    assert_eq!(kept(&t), [Millis::from_secs(1800)]);
    assert_eq!(not_kept(&t), ["sip:bob@10.0.0.8:5060"]);
}

#[test]
fn of_several_contacts_those_are_kept_that_are_known_again() {
    let mut t = in_front(PathMode::Path);
    let both = first(Method::Register, "bob", "", desk(), "two", 1)
        .header(Name::Contact, "<sip:bob@10.0.0.7:5060>")
        .header(Name::Contact, "<sip:bob@10.0.0.7:5062>");
    t.receive(desk(), both.end());
    let onward = t.request_to(pbx(), Method::Register);
    let contacts = [
        "<sip:bob@10.0.0.7:5062>;expires=60",
        "<sip:bob@192.0.2.1>;expires=60",
    ];
    t.receive(pbx(), shows(&onward, &contacts, None));
    t.response_to(desk(), 200);
    assert_eq!(kept(&t), [Millis::from_secs(60)]);
    assert_eq!(not_kept(&t), ["sip:bob@10.0.0.7:5060"]);
}
