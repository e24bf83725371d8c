//! What is kept of a phone with its binding.

use super::*;
use crate::engine::endpoint::Identity;
use crate::engine::settings::StaticEndpoint;

/// RFC 5626 6, and phones whose Contact changes with every start.
#[test]
fn an_instance_is_one_phone_whatever_its_contact() {
    let contact = |uri: &str, instance: &str, more: &str| {
        format!("Contact: <{uri}>;+sip.instance=\"<urn:x:{instance}>\"{more}")
    };
    let (here, there) = ("192.0.2.1:5060", "198.51.100.1:5060");
    for (first, second, peer, expected) in [
        // Started again: another user.
        (
            contact("sip:bob-1@h", "1", ""),
            contact("sip:bob-2@h", "1", ""),
            here,
            vec!["+sip:bob-2@h"],
        ),
        // Moved.
        (
            contact("sip:bob-1@h", "1", ""),
            contact("sip:bob-1@i", "1", ""),
            there,
            vec![">sip:bob-1@i"],
        ),
        (
            contact("sip:b@h", "1", ";reg-id=1"),
            contact("sip:b@i", "1", ";reg-id=1"),
            there,
            vec![">sip:b@i"],
        ),
        // A second flow.
        (
            contact("sip:b@h", "1", ";reg-id=1"),
            contact("sip:b@h", "1", ";reg-id=2"),
            there,
            vec!["+sip:b@h", "2"],
        ),
        // Two phones with the same address at home.
        (
            contact("sip:b@192.168.0.2", "1", ""),
            contact("sip:b@192.168.0.2", "2", ""),
            there,
            vec!["+sip:b@192.168.0.2", "2"],
        ),
        // One phone set up anew.
        (
            contact("sip:b@192.168.0.2", "1", ""),
            contact("sip:b@192.168.0.2", "2", ""),
            here,
            vec!["+sip:b@192.168.0.2", "-sip:b@192.168.0.2"],
        ),
        // Gone under its new Contact.
        (
            contact("sip:bob-1@h", "1", ""),
            contact("sip:bob-2@h", "1", ";expires=0"),
            here,
            vec!["-sip:bob-1@h", "0"],
        ),
        // Without an instance, reg-id means nothing.
        (
            "Contact: <sip:b@h>;reg-id=1".into(),
            "Contact: <sip:b@h>;reg-id=2".into(),
            there,
            vec![">sip:b@h"],
        ),
        // Another phone behind the same Contact: no move.
        (
            "Contact: <sip:b@h>\nUser-Agent: A".into(),
            "Contact: <sip:b@h>\nUser-Agent: B".into(),
            there,
            vec!["+sip:b@h", "-sip:b@h"],
        ),
    ] {
        let mut room = Room::new(settings());
        room.contacts(&open(1, &first));
        let (done, _) = room.register(&open(2, &second).over(peer));
        let mut got = changes(&done);
        let count = room.bindings(OPEN).len();
        if count != 1 {
            got.push(count.to_string());
        }
        assert_eq!(got, expected, "{first} {second}");
    }
}

/// Phones of one make at several sites, as their routers number them.
#[test]
fn phones_at_several_sites_may_have_the_same_private_contact() {
    const PHONE: &str = "Contact: <sip:bob@192.168.1.10:5060>\nUser-Agent: Make/1";
    const HOME: &str = "203.0.113.1:5060";
    const WORK: &str = "198.51.100.1:5060";
    let register = |room: &mut Room, call: &str, cseq, peer: &str, more: &str| {
        let request = open(cseq, PHONE).in_call(call).over(peer).with(more);
        let (done, response) = room.register(&request);
        assert_eq!(done.status, 200, "{call} {peer}");
        assert!(response.values(Name::Contact).count() <= 1, "it knows one");
        let kept = room.bindings(OPEN);
        let mut kept: Vec<String> = kept
            .iter()
            .map(|binding| {
                let peer = binding.endpoint.flow.unwrap().peer;
                format!("{} {peer}", binding.call_id)
            })
            .collect();
        kept.sort();
        (kept, changes(&done).join(" "))
    };
    let mut room = Room::new(settings());
    register(&mut room, "home", 1, HOME, "");
    let two = ["home 203.0.113.1:5060", "work 198.51.100.1:5060"];
    let (kept, said) = register(&mut room, "work", 1, WORK, "");
    assert_eq!(
        (&kept[..], &*said),
        (&two.map(str::to_owned)[..], "+sip:bob@192.168.1.10:5060")
    );
    let identities = |room: &Room| -> Vec<_> {
        let kept = room.bindings(OPEN);
        kept.iter()
            .map(|one| one.endpoint.identity.clone())
            .collect()
    };
    let [home, work] = identities(&room).try_into().unwrap();
    assert_ne!(home, work);
    // Refreshed, each of them stays.
    for (call, cseq, peer) in [("home", 2, HOME), ("work", 2, WORK)] {
        let (kept, said) = register(&mut room, call, cseq, peer, "");
        assert_eq!(
            (&kept[..], &*said),
            (&two.map(str::to_owned)[..], "+sip:bob@192.168.1.10:5060")
        );
    }
    // Behind another port by a reboot, and behind another address by its router's: the same as before.
    let (kept, said) = register(&mut room, "reboot", 1, "198.51.100.1:6001", "");
    assert_eq!(kept, ["home 203.0.113.1:5060", "reboot 198.51.100.1:6001"]);
    assert_eq!(said, ">sip:bob@192.168.1.10:5060");
    assert!(identities(&room).contains(&work));
    let (kept, said) = register(&mut room, "reboot", 2, "198.51.100.77:6001", "");
    assert_eq!(kept, ["home 203.0.113.1:5060", "reboot 198.51.100.77:6001"]);
    assert_eq!(said, ">sip:bob@192.168.1.10:5060");
    assert!(identities(&room).contains(&work));
    // Gone: the other one stays.
    let (kept, _) = register(&mut room, "home", 3, HOME, "Expires: 0");
    assert_eq!(kept, ["reboot 198.51.100.77:6001"]);
    assert_eq!(identities(&room), [work]);
}

/// A router that has another address with each start, with a phone that starts with it.
#[test]
fn what_a_phone_was_at_other_addresses_makes_room() {
    let mut room = Room::new(settings());
    for number in 1..20 {
        let request = open(1, "Contact: <sip:bob@192.168.1.10:5060>").in_call(&number.to_string());
        room.now = room.now + Millis::from_secs(1);
        assert_eq!(
            room.status(&request.over(&format!("203.0.113.{number}:5060"))),
            200
        );
        assert!(room.bindings(OPEN).len() <= 3);
    }
    let last = room.bindings(OPEN).into_iter().map(|one| one.call_id);
    assert_eq!(last.collect::<Vec<_>>(), ["17", "18", "19"].map(Into::into));
}

/// An address that leads to one phone alone, wherever it comes from.
#[test]
fn a_public_contact_is_one_phone() {
    for contact in ["sip:bob@192.0.2.77:5060", "sip:bob@phone.example.com"] {
        let mut room = Room::new(settings());
        let line = format!("Contact: <{contact}>");
        room.contacts(&open(1, &line).in_call("one").over("203.0.113.1:5060"));
        room.contacts(&open(1, &line).in_call("two").over("198.51.100.1:5060"));
        assert_eq!(room.bindings(OPEN).len(), 1, "{contact}");
    }
}

#[test]
fn reg_id_is_kept_where_it_is_one() {
    for (reg_id, expected) in [
        ("1", Some(1)),
        ("2147483647", Some(2_147_483_647)),
        ("0", None),
        ("2147483648", None),
        ("x", None),
    ] {
        let mut room = Room::new(settings());
        room.contacts(&open(
            1,
            &format!("Contact: <sip:b@h>;reg-id={reg_id};+sip.instance=\"<urn:x:1>\""),
        ));
        let binding = &room.bindings(OPEN)[0];
        assert_eq!(binding.reg_id, expected, "{reg_id}");
        assert_eq!(
            *binding.endpoint.identity,
            Identity::Instance("urn:x:1".into())
        );
    }
}

#[test]
fn a_phone_that_keeps_flows_is_told_that_they_are_kept() {
    let flow = "Contact: <sip:b@h>;reg-id=1;+sip.instance=\"<urn:x:1>\"";
    for (contact, line, told) in [
        (flow, "Supported: path, outbound", true),
        (flow, "Require: outbound", true),
        (flow, "Supported: path", false),
        ("Contact: <sip:b@h>;reg-id=1", "Supported: outbound", false),
        (
            "Contact: <sip:b@h>;+sip.instance=\"<urn:x:1>\"",
            "Supported: outbound",
            false,
        ),
        // The proxy that the phone is connected to must keep the flow.
        (flow, "Supported: outbound\nPath: <sip:edge;lr;ob>", true),
    ] {
        let mut room = Room::new(settings());
        let (_, response) = room.register(&open(1, contact).with(line));
        assert_eq!(response.status(), 200, "{line}");
        let says = response.has_token(Name::Require, "outbound");
        assert_eq!(says, told, "{contact} {line}");
        let every = response.header(Name::FlowTimer);
        let ours = told && !line.contains("edge");
        assert_eq!(every, ours.then_some("30"), "{contact} {line}");
        let bindings = room.bindings(OPEN);
        assert!(bindings.iter().all(|binding| binding.timed == ours));
    }
}

/// RFC 5626 6.
#[test]
fn a_phone_hears_that_its_first_hop_keeps_no_flows() {
    let flow = "Contact: <sip:b@h>;reg-id=1;+sip.instance=\"<urn:x:1>\"";
    for (contact, line, status) in [
        (
            flow,
            "Supported: outbound\nPath: <sip:core;lr;ob>, <sip:edge;lr>",
            439,
        ),
        (
            flow,
            "Supported: outbound\nVia: SIP/2.0/UDP edge;branch=z9hG4bK2",
            439,
        ),
        // Who does not offer it is a phone as any other.
        (flow, "Via: SIP/2.0/UDP edge;branch=z9hG4bK2", 200),
        (
            "Contact: <sip:b@h>",
            "Supported: outbound\nVia: SIP/2.0/UDP edge;branch=z9hG4bK2",
            200,
        ),
        (flow, "Supported: outbound", 200),
    ] {
        let mut room = Room::new(settings());
        let (_, response) = room.register(&open(1, contact).with(line));
        assert_eq!(response.status(), status, "{contact} {line}");
    }
}

#[test]
fn an_epid_is_one_phone_too() {
    let mut room = Room::new(settings());
    let with_epid = |cseq, contact: &str, epid| {
        let mut request = open(cseq, &format!("Contact: <{contact}>"));
        request.from_params = epid;
        request
    };
    room.contacts(&with_epid(1, "sip:b@h:1", ";epid=AA"));
    assert_eq!(
        room.contacts(&with_epid(2, "sip:b@h:2", ";epid=aa")).len(),
        1
    );
    assert_eq!(
        room.contacts(&with_epid(3, "sip:b@h:3", ";epid=bb")).len(),
        2
    );
}

#[test]
fn a_path_is_kept_and_shown_to_who_knows_of_it() {
    let path = "Path: <sip:edge;lr>, \"x, y\" <sip:core;lr>\nPath: <sip:last;lr>";
    let kept = ["<sip:edge;lr>", "\"x, y\" <sip:core;lr>", "<sip:last;lr>"];
    for (line, shown) in [
        ("Supported: gruu, path", 3),
        ("Require: path", 3),
        ("Supported: gruu", 0),
    ] {
        let mut room = Room::new(settings());
        let (_, response) = room.register(&open(1, "Contact: <sip:b@h>").with(path).with(line));
        assert_eq!(response.values(Name::Path).count(), shown, "{line}");
        let binding = &room.bindings(OPEN)[0];
        let path: Vec<&str> = binding.endpoint.path.iter().map(|p| &**p).collect();
        assert_eq!(path, kept);
    }
    let mut room = Room::new(settings());
    let many = format!("Path: {}<sip:x;lr>", "<sip:x;lr>, ".repeat(16));
    for bad in [
        &*many,
        "Path: <sip:edge;lr",
        &format!("Path: <sip:{}>", "x".repeat(600)),
    ] {
        let status = room.status(&open(1, "Contact: <sip:b@h>").with(bad));
        assert_eq!(status, 400, "{bad}");
    }
}

#[test]
fn a_name_from_the_configuration_is_kept_with_the_binding() {
    let mut settings = settings();
    settings
        .names
        .insert("urn:x:1".into(), "Bob's mobile".into());
    settings.endpoints.push(StaticEndpoint {
        aor: aor(OPEN),
        contact: "sip:bob@192.0.2.7:5080".into(),
        name: Some("Bob's desk phone".into()),
    });
    let mut room = Room::new(settings);
    room.contacts(&open(
        1,
        "Contact: <sip:b@h>;+sip.instance=\"<URN:x:1>\", <sip:bob@192.0.2.7:5080>",
    ));
    let names: Vec<Box<str>> = room
        .bindings(OPEN)
        .into_iter()
        .map(|b| b.endpoint.name)
        .collect();
    assert_eq!(
        names,
        ["Bob's mobile".into(), "Bob's desk phone".into()] as [Box<str>; 2]
    );
}

/// RFC 5627 5.1 to 5.4.
#[test]
fn a_phone_that_knows_of_gruus_is_told_its_own() {
    let phone = |more: &str| format!("Contact: <sip:b@h>;+sip.instance=\"<urn:uuid:0A-b>\"{more}");
    let gruu = format!(";pub-gruu=\"{OPEN};gr=urn:uuid:0a-b\"");
    for (lines, told) in [
        (phone("") + "\nSupported: gruu", true),
        (phone("") + "\nRequire: gruu", true),
        (phone(""), false),
        // What it claims to have counts for nothing.
        (
            phone(";pub-gruu=\"sip:x@y;gr=1\";temp-gruu=\"sip:z@y;gr\""),
            false,
        ),
        ("Contact: <sip:b@h>\nSupported: gruu".into(), false),
        // Only a URN is fit to be one.
        (
            "Contact: <sip:b@h>;+sip.instance=\"<serial-7>\"\nSupported: gruu".into(),
            false,
        ),
    ] {
        let mut room = Room::new(settings());
        let contacts = room.contacts(&open(1, &lines));
        assert_eq!(contacts.len(), 1, "{lines}");
        assert_eq!(contacts[0].contains(&gruu), told, "{contacts:?}");
        assert_eq!(contacts[0].contains("gruu"), told, "{contacts:?}");
        // It stays what it is, and is told with each answer.
        let contacts = room.contacts(&open(2, "Supported: gruu"));
        assert_eq!(contacts[0].contains(&gruu), lines.contains("urn:"));
    }
}

#[test]
fn what_a_urn_holds_is_escaped_in_its_gruu() {
    let mut room = Room::new(settings());
    let contacts = room.contacts(&open(
        1,
        "Contact: <sip:b@h>;+sip.instance=\"<urn:x:a;b?c>\"\nSupported: gruu",
    ));
    let expected = format!("pub-gruu=\"{OPEN};gr=urn:x:a%3Bb%3Fc\"");
    assert!(contacts[0].contains(&expected), "{contacts:?}");
}

#[test]
fn a_gruu_is_no_contact_of_its_own_user() {
    let mut room = Room::new(settings());
    for (contact, status) in [
        (format!("<{OPEN};gr=urn:uuid:1>"), 403),
        (format!("<{OPEN};gr>"), 403),
        ("<sip:someone@elsewhere.example;gr=urn:uuid:1>".into(), 200),
    ] {
        let register = open(1, &format!("Contact: {contact}"));
        assert_eq!(room.status(&register), status, "{contact}");
    }
    assert_eq!(room.bindings(OPEN).len(), 1);
}
