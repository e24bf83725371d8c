//! How long temporary GRUUs hold (RFC 5627 3.1.2, 5.1).

use super::super::revealed;
use super::*;
use crate::sip::Uri;

/// A REGISTER of the one phone with an instance, by its flow with this reg-id.
fn flow(cseq: u32, call_id: &str, reg_id: u32, more: &str) -> Request {
    let contact = format!(
        "Contact: <sip:b{reg_id}@h>;reg-id={reg_id};+sip.instance=\"<urn:uuid:0a>\"{more}\n\
         Supported: gruu"
    );
    open(cseq, &contact).in_call(call_id)
}

impl Room {
    /// Registers, and returns the temporary GRUU of each Contact.
    fn temporary(&mut self, request: &Request) -> Vec<String> {
        let contacts = self.contacts(request);
        let parts = contacts.iter().filter_map(|contact| {
            let (_, rest) = contact.split_once(";temp-gruu=\"")?;
            Some(rest.split('"').next().unwrap().to_owned())
        });
        parts.collect()
    }

    /// Returns whom it means, and by which instance.
    fn meant(&self, gruu: &str) -> Option<(String, String)> {
        let uri = Uri::parse(gruu).unwrap();
        let (aor, device) = revealed(&uri, self.now, &self.book)?;
        Some((aor.to_string(), format!("{device:?}")))
    }

    fn holds(&self, gruus: &[String]) -> Vec<bool> {
        gruus
            .iter()
            .map(|gruu| self.meant(gruu).is_some())
            .collect()
    }
}

#[test]
fn each_register_gives_another_and_all_of_them_hold() {
    let mut room = Room::new(settings());
    let mut given = Vec::new();
    for cseq in 1..=5 {
        room.now = room.now + Millis::from_secs(600);
        given.extend(room.temporary(&flow(cseq, "c", 1, "")));
    }
    // A question what there is gets one too.
    given.extend(room.temporary(&open(6, "Supported: gruu").in_call("c")));
    let all: std::collections::BTreeSet<&String> = given.iter().collect();
    assert_eq!(all.len(), 6, "{given:?}");
    for gruu in &given {
        assert!(gruu.starts_with("sip:tgruu.") && gruu.ends_with("@open.example;gr"));
        assert!(!gruu.contains("bob") && !gruu.contains("0a>"), "{gruu}");
        let (user, device) = room.meant(gruu).unwrap();
        assert_eq!(user, OPEN);
        assert!(device.contains("urn:uuid:0a"), "{device}");
    }
}

#[test]
fn another_call_id_ends_those_given_before() {
    let mut room = Room::new(settings());
    let before = room.temporary(&flow(1, "c", 1, ""));
    let after = room.temporary(&flow(1, "d", 1, ""));
    assert_eq!(room.holds(&[before, after].concat()), [false, true]);
}

#[test]
fn the_last_contact_ends_them_and_the_same_call_id_brings_none_back() {
    for removed in [true, false] {
        let mut room = Room::new(settings());
        let mut given = room.temporary(&flow(1, "c", 1, ""));
        if removed {
            room.contacts(&flow(2, "c", 1, ";expires=0"));
        } else {
            room.now = room.now + Millis::from_secs(3601);
        }
        assert_eq!(room.holds(&given), [false]);
        given.extend(room.temporary(&flow(3, "c", 1, "")));
        assert_eq!(room.holds(&given), [false, true]);
    }
}

/// RFC 5626: flows of one phone have Call-IDs of their own, and it is the phone that is named.
#[test]
fn those_of_a_phone_with_two_flows_hold_while_it_has_one() {
    let mut room = Room::new(settings());
    let first = room.temporary(&flow(1, "c", 1, ""));
    let both = room.temporary(&flow(1, "d", 2, ""));
    assert_eq!(both.len(), 2);
    let mut given = [first, both].concat();
    assert_eq!(room.holds(&given), [true; 3]);
    // One flow goes.
    room.contacts(&flow(2, "c", 1, ";expires=0"));
    assert_eq!(room.holds(&given), [true; 3]);
    // It comes back, and then the other one begins anew: so does the phone.
    given.extend(room.temporary(&flow(1, "e", 1, "")));
    assert!(room.holds(&given).iter().all(|holds| *holds));
    let last = room.temporary(&flow(1, "f", 2, ""));
    assert!(room.holds(&given).iter().all(|holds| !holds));
    assert!(room.holds(&last).iter().all(|holds| *holds));
}

#[test]
fn another_phone_of_the_user_has_its_own() {
    let mut room = Room::new(settings());
    let first = room.temporary(&flow(1, "c", 1, ""));
    let other = "Contact: <sip:b@i>;+sip.instance=\"<urn:uuid:0b>\"\nSupported: gruu";
    let both = room.temporary(&open(1, other).in_call("d"));
    let devices: Vec<_> = [first, both]
        .concat()
        .iter()
        .map(|gruu| room.meant(gruu).unwrap().1)
        .collect();
    assert_eq!(devices.iter().filter(|one| one.contains("0a")).count(), 2);
    assert_eq!(devices.iter().filter(|one| one.contains("0b")).count(), 1);
}

/// RFC 5627 5.1: a user would be sought at itself.
#[test]
fn a_temporary_gruu_is_no_contact_of_its_own_user() {
    let mut room = Room::new(settings());
    let given = room.temporary(&flow(1, "c", 1, ""));
    let contact = format!("Contact: <{}>", given[0]);
    assert_eq!(room.status(&open(2, &contact)), 403);
    let mut other = Request::new("sip:carol@open.example", 1, &contact);
    other.call_id = "x".into();
    assert_eq!(room.status(&other), 200);
}
