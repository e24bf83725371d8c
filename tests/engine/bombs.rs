//! Messages that are whole and far too much: each is dealt with soon, and leaves nothing.

use std::fmt::Write;
use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::ports::Input;
use refork::sip::Method;

use crate::people::*;
use crate::table::*;

fn stranger() -> SocketAddr {
    phone("203.0.113.66:5060")
}

/// A request with one header more, of as many values as a message holds.
fn bomb(method: Method, name: &str, value: impl Fn(usize) -> String) -> Bytes {
    let plain = request(method, "alice", "bob", stranger(), name).end();
    let plain = String::from_utf8(plain.to_vec()).unwrap();
    let mut list = format!("{name}: {}", value(0));
    for number in 1.. {
        let one = value(number);
        if plain.len() + list.len() + one.len() > 40_000 {
            assert!(number > 500, "{name} is no bomb");
            break;
        }
        write!(list, ",{one}").unwrap();
    }
    plain.replacen("\r\n", &format!("\r\n{list}\r\n"), 1).into()
}

impl Table {
    /// What a message is answered, if at all.
    fn answered(&mut self, bytes: Bytes) -> Option<u16> {
        let flow = flow(stranger());
        self.input(Input::Message { flow, bytes });
        self.any_to(stranger()).map(|message| message.status())
    }
}

#[test]
fn more_hops_than_any_way_has() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    for method in [
        Method::Invite,
        Method::Message,
        Method::Options,
        Method::Register,
    ] {
        let via = |n| format!("SIP/2.0/UDP h{n};branch=z9hG4bKx{n}");
        let bytes = bomb(method.clone(), "Via", via);
        assert_eq!(t.answered(bytes), None, "{method:?}");
        for name in ["Route", "Record-Route"] {
            let bytes = bomb(method.clone(), name, |n| format!("<sip:h{n};lr>"));
            assert_eq!(t.answered(bytes), None, "{method:?} {name}");
        }
    }
    t.nothing_to(desk());
    t.ends_empty();
}

#[test]
fn lists_of_everything_else() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let contact = |n| format!("<sip:a@h{n}>");
    assert_eq!(
        t.answered(bomb(Method::Register, "Contact", contact)),
        Some(403)
    );
    let bound: usize = t.site.bindings.values().map(Vec::len).sum();
    assert_eq!(bound, 1);
    let token = |n| format!("x{n}");
    assert_eq!(
        t.answered(bomb(Method::Options, "Require", token)),
        Some(420)
    );
    assert_eq!(
        t.answered(bomb(Method::Options, "Supported", token)),
        Some(200)
    );
    let credentials = |n| format!("Digest username=\"u{n}\", realm=\"example.org\"");
    let bytes = bomb(Method::Register, "Authorization", credentials);
    assert!(t.answered(bytes).is_some());
    t.ends_empty();
}

#[test]
fn many_headers_and_long_ones() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let plain = request(Method::Options, "alice", "bob", stranger(), "x").end();
    let plain = String::from_utf8(plain.to_vec()).unwrap();
    let with = |lines: String| plain.replacen("\r\n", &format!("\r\n{lines}"), 1).into();
    for (lines, status) in [
        // Of so many nothing can be told from which it could be answered.
        ("X: y\r\n".repeat(10_000), None),
        (format!("Subject: {}\r\n", "s".repeat(50_000)), Some(200)),
        (format!("Subject: {}\r\n", "s".repeat(70_000)), None),
        (
            format!("User-Agent:{}\r\n", "\r\n x".repeat(10_000)),
            Some(200),
        ),
    ] {
        let told = lines.len();
        let answer = t.answered(with(lines));
        assert_eq!(answer, status, "{told}");
    }
    t.ends_empty();
}

#[test]
fn a_description_of_ten_thousand_streams() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    for line in [
        "m=audio 4000 RTP/AVP 0\r\n",
        "a=rtpmap:0 PCMU/8000\r\n",
        "a=crypto:1 x inline:y\r\n",
    ] {
        let start = "v=0\r\no=a 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
        let body = format!("{start}{}", line.repeat(2_000));
        let invite = request(
            Method::Invite,
            "alice",
            "bob",
            stranger(),
            &line[..3].replace('=', ""),
        );
        let bytes = invite.body("application/sdp", body.as_bytes());
        assert_eq!(t.answered(bytes), Some(400), "{line}");
    }
    t.nothing_to(desk());
    t.ends_empty();
}
