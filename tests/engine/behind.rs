//! Which of the phones behind an upstream has the call: it forks as it likes, and its 2xx says who took it.

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

fn trunk() -> SocketAddr {
    phone("192.0.2.60:5060")
}

/// Who answers there: its Contact, and what it is.
type Shown = (&'static str, &'static str);

const DESK: Shown = (
    "<sip:bob@10.0.0.1>;+sip.instance=\"<urn:uuid:one>\"",
    "Desk/1",
);
/// No instance is shown.
const PLAIN: Shown = ("<sip:bob@10.0.0.1>", "Desk/1");

impl Table {
    /// What the upstream is asked is answered by a phone there.
    fn takes(&mut self, invite: &Message, tag: &str, (contact, server): Shown) {
        let ok = response(invite, 200, trunk(), tag);
        let ok = ok.header(Name::RecordRoute, format_args!("<sip:{};lr>", trunk()));
        let ok = match server {
            "" => ok,
            server => ok.header(Name::Server, server),
        };
        let ok = with_sdp(ok, &audio(trunk()));
        let own = format!("<sip:phone@{}>", trunk());
        let ok = String::from_utf8_lossy(&ok).replace(&own, contact);
        assert!(ok.contains(contact), "{ok}");
        self.receive(trunk(), ok.into());
        let acknowledged = self.waiting(trunk(), &Method::Ack);
        acknowledged.expect("an ACK by way of the upstream");
        self.discard(trunk());
    }

    /// Alice talks to a number there, whose phone is lost.
    fn lost_there(&mut self, first: Shown) -> Message {
        let invite = request(Method::Invite, "alice", "+43123", alice(), "call1");
        self.receive(alice(), with_sdp(invite, &audio(alice())));
        let invite = self.request_to(trunk(), Method::Invite);
        self.takes(&invite, "f1", first);
        let near = Remote::of_answer(&self.response_to(alice(), 200), alice());
        self.receive(alice(), near.ack(1));
        self.bob_is_lost();
        self.discard(alice());
        self.asked_again()
    }

    fn asked_again(&mut self) -> Message {
        let found = (0..20).find_map(|_| {
            let found = self.waiting(trunk(), &Method::Invite);
            self.pass(Millis(200));
            found
        });
        found.expect("asked again")
    }
}

fn house() -> Table {
    Table::new(Settings {
        upstreams: [("trunk".into(), upstream("sip:192.0.2.60", true))].into(),
        routes: vec![Route {
            pattern: "sip:+*@*".into(),
            to: "trunk".into(),
            fork: RouteFork::default(),
            emergency: None,
        }],
        ..settings()
    })
}

fn restored(t: &Table) -> Vec<bool> {
    let history = t.history().into_iter();
    let restored = history.filter_map(|what| match what {
        Happening::Restored { same, .. } => Some(*same),
        _ => None,
    });
    restored.collect()
}

#[test]
fn who_takes_it_there_is_known_by_what_its_2xx_shows() {
    let desk_named = "<sip:bob@10.0.0.1>;+sip.instance=\"<urn:uuid:desk>\"";
    let elsewhere = "<sip:bob@10.0.0.2>;+sip.instance=\"<urn:uuid:one>\"";
    for (first, second, another) in [
        // Two instances are two phones, whatever else is alike; the name is the file's, else what it shows.
        (DESK, (desk_named, "Desk/1"), Some("Bob's desk phone")),
        (
            DESK,
            (
                "\"Attic\" <sip:bob@10.0.0.2>;+sip.instance=\"<urn:uuid:two>\"",
                "Mobile/2",
            ),
            Some("Attic"),
        ),
        (DESK, (elsewhere, "Mobile/2"), None),
        // One shows none: another Contact and another product, both.
        (DESK, ("<sip:bob@10.0.0.2>", "Mobile/2"), Some("Mobile")),
        (PLAIN, ("<sip:bob@10.0.0.2>", "Mobile/2"), Some("Mobile")),
        (PLAIN, ("<sip:bobby@10.0.0.1>", "Mobile/2"), Some("Mobile")),
        (PLAIN, ("<sip:bob@10.0.0.1>", "Mobile/2"), None),
        (PLAIN, ("<sip:bob@10.0.0.2>", "Desk/2"), None),
        (PLAIN, ("<sip:bob@10.0.0.2>", ""), None),
        (PLAIN, PLAIN, None),
        // A trunk shows one for all.
        (
            ("<sip:192.0.2.60>", "Trunk"),
            ("<sip:192.0.2.60>", "Trunk"),
            None,
        ),
        (("<sip:192.0.2.60>", ""), ("<sip:192.0.2.60>", ""), None),
    ] {
        let mut t = house();
        let again = t.lost_there(first);
        t.takes(&again, "f2", second);
        assert_eq!(restored(&t), [another.is_none()], "{first:?} {second:?}");
        if let Some(name) = another {
            let word = t.request_to(alice(), Method::Message);
            let says = format!("+43123 is continuing on {name}.");
            assert_eq!(text(&word), says);
            t.reply(&word, 200, alice());
        }
        t.nothing_to(alice());
    }
}

#[test]
fn each_change_there_is_told_once_and_a_restart_forgets_nothing() {
    let two = (
        "<sip:bob@10.0.0.2>;+sip.instance=\"<urn:uuid:two>\"",
        "Mobile/2",
    );
    let mut t = house();
    let again = t.lost_there(DESK);
    t.takes(&again, "f2", two);
    let word = t.request_to(alice(), Method::Message);
    assert_eq!(text(&word), "+43123 is continuing on Mobile.");
    t.reply(&word, 200, alice());
    t.restart();
    for (tag, taken, told) in [
        ("f3", two, None),
        ("f4", DESK, Some("+43123 is continuing on Desk.")),
        ("f5", DESK, None),
    ] {
        t.bob_is_lost();
        t.discard(alice());
        let again = t.asked_again();
        t.takes(&again, tag, taken);
        if let Some(told) = told {
            let word = t.request_to(alice(), Method::Message);
            assert_eq!(text(&word), told);
            t.reply(&word, 200, alice());
        }
        t.nothing_to(alice());
    }
}
