//! What REGISTER does to bindings (RFC 3261 10.3 step 7).

use super::*;
use crate::engine::ids::{ConnectionId, Transport};
use crate::engine::mint::peer_number;

#[test]
fn a_binding_is_made_shown_and_removed() {
    let mut room = Room::new(settings());
    let (done, response) = room.register(
        &open(
            1,
            "Contact: \"B\" <sip:bob@h:5>;q=0.7;x=\"a;b\";expires=100\nAllow: INVITE, ACK",
        )
        .with("Allow: MESSAGE\nUser-Agent: Phone/1"),
    );
    assert_eq!(changes(&done), ["+sip:bob@h:5"]);
    assert_eq!(
        done.events,
        [Event::Registered {
            aor: OPEN.into(),
            contact: "sip:bob@h:5".into(),
            expires: Millis::from_secs(100)
        }]
    );
    assert_eq!(
        response.header(Name::Contact),
        Some("<sip:bob@h:5>;q=0.7;x=\"a;b\";expires=100")
    );
    let [binding] = room.bindings(OPEN).try_into().unwrap();
    assert_eq!(binding.q, 700);
    assert_eq!(binding.expires, START + Millis::from_secs(100));
    assert_eq!((&*binding.call_id, binding.cseq), ("call", 1));
    assert_eq!(&*binding.user_agent, "Phone/1");
    assert_eq!(&*binding.allow, "INVITE, ACK, MESSAGE");
    assert_eq!(&*binding.endpoint.name, "B");
    assert_eq!(binding.endpoint.flow, Some(udp("192.0.2.1:5060")));
    // Asked later, less is left; nothing has changed.
    room.now = START + Millis(40_500);
    let (done, response) = room.register(&open(2, ""));
    assert_eq!((done.changed, done.events), (None, vec![]));
    assert_eq!(
        response.header(Name::Contact),
        Some("<sip:bob@h:5>;q=0.7;x=\"a;b\";expires=60")
    );
    let (done, response) = room.register(&open(3, "Contact: sip:bob@H:5;expires=0"));
    assert_eq!(changes(&done), ["-sip:bob@h:5"]);
    assert_eq!(
        done.events,
        [Event::Unregistered {
            aor: OPEN.into(),
            contact: "sip:bob@h:5".into(),
            expired: false
        }]
    );
    assert_eq!(response.header(Name::Contact), None);
    // What is not there is removed in silence.
    let (done, _) = room.register(&open(4, "Contact: sip:bob@h:5;expires=0"));
    assert_eq!((done.status, done.changed), (200, None));
}

#[test]
fn how_long() {
    for (lines, expected) in [
        ("Contact: <sip:a@h>", Ok(3600)),
        ("Contact: <sip:a@h>\nExpires: 600", Ok(600)),
        ("Contact: <sip:a@h>;expires=700\nExpires: 600", Ok(700)),
        ("Contact: <sip:a@h>;expires=\"700\"", Ok(700)),
        ("Contact: <sip:a@h>;expires=soon\nExpires: 600", Ok(3600)),
        ("Contact: <sip:a@h>;expires\nExpires: 600", Ok(3600)),
        ("Contact: <sip:a@h>;expires=-1", Ok(3600)),
        ("Contact: <sip:a@h>;expires=99999999999", Ok(7200)),
        ("Contact: <sip:a@h>;expires=60", Ok(60)),
        ("Contact: <sip:a@h>;expires=59", Err(423)),
        ("Contact: <sip:a@h>\nExpires: 1", Err(423)),
        ("Contact: <sip:a@h>, <sip:b@h>;expires=59", Err(423)),
    ] {
        let mut room = Room::new(settings());
        let (done, response) = room.register(&open(1, lines));
        match expected {
            Ok(seconds) => {
                let contact = format!(";expires={seconds}");
                let got = response.header(Name::Contact).unwrap_or("");
                assert!(got.ends_with(&contact), "{lines}: {got}");
            }
            Err(status) => {
                assert_eq!(done.status, status, "{lines}");
                assert_eq!(response.header(Name::MinExpires), Some("60"));
                assert_eq!(room.bindings(OPEN), [], "{lines}: all or nothing");
            }
        }
    }
}

#[test]
fn quality() {
    for (q, expected) in [
        ("q=1", 1000),
        ("q=1.000", 1000),
        ("q=0", 0),
        ("q=0.", 0),
        ("q=0.5", 500),
        ("q=0.123", 123),
        ("q=0.05", 50),
        // Without a value it says nothing.
        ("q", 1000),
    ] {
        let mut room = Room::new(settings());
        room.contacts(&open(1, &format!("Contact: <sip:a@h>;{q}")));
        assert_eq!(room.bindings(OPEN)[0].q, expected, "{q}");
    }
    // RFC 3261 25.1.
    for q in [
        "q=1.5", "q=0.1234", "q=high", "q=0.x", "q=-0.5", "q=0.+5", "q=2",
    ] {
        let mut room = Room::new(settings());
        let request = open(1, &format!("Contact: <sip:a@h>, <sip:b@h>;{q}"));
        let (done, response) = room.register(&request);
        assert_eq!(done.status, 400, "{q}");
        assert!(response.reason_phrase().contains('q'), "{q}");
        assert!(room.bindings(OPEN).is_empty(), "{q}");
    }
}

/// After each loss such a phone has a new port, and it names no instance.
#[test]
fn a_phone_is_not_shut_out_by_the_connections_that_it_lost() {
    let mut room = Room::new(settings());
    room.contacts(&open(1, "Contact: <sip:udp@h>").in_call("other"));
    for cseq in 1..9 {
        let mut request = open(cseq, &format!("Contact: <sip:a@h:{cseq}>"));
        request.flow.transport = Transport::Tcp;
        request.flow.connection = Some(ConnectionId(cseq.into()));
        let (done, _) = room.register(&request);
        assert_eq!(done.status, 200, "{cseq}");
        room.now = room.now + Millis(1);
    }
    let kept = room.bindings(OPEN);
    let mut kept: Vec<&str> = kept.iter().map(|b| &*b.endpoint.contact).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["sip:a@h:7", "sip:a@h:8", "sip:udp@h"]);
}

/// What it was before makes room, then whoever was not heard of for longest; a phone that talks keeps its own.
#[test]
fn a_phone_is_not_shut_out_by_what_it_was_before() {
    let softphone = |port: u16, host: &str, peer: &str| {
        open(1, &format!("Contact: <sip:a@{host}:{port}>"))
            .with("User-Agent: Soft/1")
            .in_call(&format!("start-{port}"))
            .over(peer)
    };
    let contacts = |room: &Room| {
        let kept = room.bindings(OPEN);
        let mut kept: Vec<_> = kept
            .iter()
            .map(|b| b.endpoint.contact.to_string())
            .collect();
        kept.sort_unstable();
        kept
    };
    let mut room = Room::new(settings());
    let other = open(1, "Contact: <sip:desk@d>").with("User-Agent: Desk/1");
    room.contacts(&other.in_call("other").over("192.0.2.9:5060"));
    for start in 1..9_u16 {
        room.now = room.now + Millis(1);
        // Its address on its own network changes, too.
        let host = if start < 5 { "10.0.0.7" } else { "10.0.0.8" };
        let (done, _) = room.register(&softphone(start, host, &format!("192.0.2.1:{start}")));
        assert_eq!(done.status, 200, "{start}");
    }
    assert_eq!(
        contacts(&room),
        ["sip:a@10.0.0.8:7", "sip:a@10.0.0.8:8", "sip:desk@d"]
    );
    // It talks, as it was and as it is.
    for port in 7..9 {
        let flow = udp(&format!("192.0.2.1:{port}"));
        room.book.2.insert(peer_number(flow.transport, flow.peer));
    }
    room.now = room.now + Millis(1);
    let (done, _) = room.register(&softphone(9, "10.0.0.8", "192.0.2.1:9"));
    assert_eq!(changes(&done), ["-sip:desk@d", "+sip:a@10.0.0.8:9"]);
    let flow = udp("192.0.2.1:9");
    room.book.2.insert(peer_number(flow.transport, flow.peer));
    assert_eq!(room.status(&softphone(10, "10.0.0.8", "192.0.2.1:10")), 403);
    assert_eq!(contacts(&room).len(), 3);
    // A refresh is no new phone.
    let again = softphone(8, "10.0.0.8", "192.0.2.1:8");
    assert_eq!(room.status(&Request { cseq: 2, ..again }), 200);
}

#[test]
fn several_bindings_and_all_removed() {
    let mut room = Room::new(settings());
    room.contacts(&open(1, "Contact: <sip:a@h>, <sip:b@h>"));
    let all = room.contacts(&open(1, "Contact: <sip:c@h>").in_call("other"));
    assert_eq!(all.len(), 3);
    let more = open(2, "Contact: <sip:d@h>, <sip:e@h>, <sip:f@h>, <sip:g@h>").in_call("other");
    let (done, response) = room.register(&more);
    assert_eq!((done.status, why(&done)), (403, Some("too many bindings")));
    assert_eq!(response.reason_phrase(), "too many bindings");
    assert_eq!(room.bindings(OPEN).len(), 3);
    // One may take another's place.
    let (done, _) =
        room.register(&open(3, "Contact: <sip:a@h>;expires=0, <sip:d@h>").in_call("other"));
    assert_eq!(changes(&done), ["-sip:a@h", "+sip:d@h"]);
    for (lines, status) in [
        ("Contact: *", 400),
        ("Contact: *\nExpires: 60", 400),
        ("Contact: *, <sip:a@h>\nExpires: 0", 400),
    ] {
        assert_eq!(room.status(&open(9, lines)), status, "{lines}");
    }
    assert_eq!(room.bindings(OPEN).len(), 3);
    let (done, response) = room.register(&open(9, "Contact: *\nExpires: 0"));
    assert_eq!(changes(&done), ["-sip:b@h", "-sip:c@h", "-sip:d@h"]);
    assert_eq!(response.header(Name::Contact), None);
    assert_eq!(room.bindings(OPEN), []);
}

#[test]
fn out_of_order_changes_nothing() {
    let mut room = Room::new(settings());
    room.contacts(&open(5, "Contact: <sip:a@h>"));
    room.contacts(&open(1, "Contact: <sip:b@h>").in_call("other"));
    for lines in [
        "Contact: <sip:a@h>",
        "Contact: <sip:a@h>;expires=0",
        "Contact: <sip:c@h>, <sip:a@h>",
        "Contact: <sip:b@h>, <sip:a@h>",
        "Contact: *\nExpires: 0",
    ] {
        for cseq in [4, 5] {
            let (done, _) = room.register(&open(cseq, lines));
            assert_eq!(
                (done.status, why(&done)),
                (500, Some("REGISTER out of order"))
            );
        }
        assert_eq!(room.bindings(OPEN).len(), 2, "{lines}");
    }
    // It is each binding's own order that counts, and that of its own Call-ID.
    assert_eq!(room.contacts(&open(4, "Contact: <sip:b@h>")).len(), 2);
    assert_eq!(
        room.contacts(&open(1, "Contact: <sip:a@h>").in_call("new"))
            .len(),
        2
    );
    // The same Contact twice in one request: the last counts.
    let twice = open(6, "Contact: <sip:a@h>;q=0.1, <sip:a@h>;q=0.2").in_call("new");
    assert_eq!(room.contacts(&twice).len(), 2);
    let bindings = room.bindings(OPEN);
    let again = bindings.iter().find(|b| &*b.endpoint.contact == "sip:a@h");
    assert_eq!(again.map(|binding| binding.q), Some(200));
}

#[test]
fn contacts_are_compared_as_uris() {
    for (first, second, one) in [
        ("<sip:%61@H.example>", "<sip:a@h.example>", true),
        ("<sip:a@h;transport=TCP>", "<sip:a@h;transport=tcp>", true),
        ("<sip:a@h>", "<sip:a@h:5060>", false),
        ("<sip:a@h>", "<sip:A@h>", false),
        ("<sip:a@h>", "<sips:a@h>", false),
    ] {
        let mut room = Room::new(settings());
        // Where a sips: Contact may come.
        let secure = |cseq, contact: &str| {
            let mut request = open(cseq, &format!("Contact: {contact}"));
            request.flow.transport = Transport::Tls;
            request
        };
        room.contacts(&secure(1, first));
        let all = room.contacts(&secure(2, second));
        assert_eq!(all.len() == 1, one, "{first} {second}: {all:?}");
    }
}

#[test]
fn what_expires_is_swept_and_told() {
    let mut room = Room::new(settings());
    room.contacts(&open(
        1,
        "Contact: <sip:a@h>;expires=60, <sip:b@h>;expires=120",
    ));
    let sweep = |room: &mut Room, at: u64| {
        room.now = START + Millis::from_secs(at);
        room.registrar.sweep(room.now, &mut room.book)
    };
    assert_eq!(sweep(&mut room, 59), (vec![], vec![]));
    let (changed, events) = sweep(&mut room, 60);
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].aor, aor(OPEN));
    assert!(matches!(
        changed[0].changes.as_slice(),
        [BindingChange::Removed { binding, expired: true }] if &*binding.endpoint.contact == "sip:a@h"
    ));
    assert_eq!(
        events,
        [Event::Unregistered {
            aor: OPEN.into(),
            contact: "sip:a@h".into(),
            expired: true
        }]
    );
    assert_eq!(sweep(&mut room, 60), (vec![], vec![]), "told once");
    // Not yet swept: not shown, no hindrance, told by the next REGISTER.
    room.now = START + Millis::from_secs(120);
    assert_eq!(room.contacts(&open(2, "")), [] as [&str; 0]);
    let (done, _) = room.register(&open(1, "Contact: <sip:b@h>, <sip:c@h>, <sip:d@h>"));
    assert_eq!(
        changes(&done),
        ["!sip:b@h", "+sip:b@h", "+sip:c@h", "+sip:d@h"]
    );
}
