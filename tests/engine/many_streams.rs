//! Sessions of more streams than the relay carries: those beyond are refused, and the call goes on (RFC 3264 6).

use std::fmt::Write;
use std::net::SocketAddr;

use refork::engine::ports::STREAMS_MAX;
use refork::sip::Method;

use crate::people::*;
use crate::table::*;
use crate::video::ports;

/// A session of so many streams; the first `refused` of them have no port.
fn many(at: SocketAddr, version: u32, count: usize, refused: usize) -> String {
    let mut text = sdp(at, version, "sendrecv");
    if refused > 0 {
        text = text.replace("m=audio 4000", "m=audio 0");
    }
    for number in 1..count {
        let port = if number < refused {
            0
        } else {
            4000 + 2 * number
        };
        let _ = write!(
            text,
            "m=video {port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        );
    }
    text
}

#[test]
fn streams_beyond_what_the_relay_carries_are_refused_alone() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&many(alice(), 1, STREAMS_MAX + 3, 0));
    let invite = t.request_to(desk(), Method::Invite);
    let offered = ports(&invite);
    assert_eq!(offered.len(), STREAMS_MAX + 3);
    assert!(offered[..STREAMS_MAX].iter().all(|port| *port != 0));
    assert_eq!(offered[STREAMS_MAX..], [0; 3]);
    // An answer that takes them all the same is no reason to believe it.
    let answer = many(desk(), 1, STREAMS_MAX + 3, 0);
    t.receive(desk(), with_sdp(answer_to(&invite), &answer));
    let ok = t.response_to(alice(), 200);
    assert_eq!(ports(&ok)[STREAMS_MAX..], [0; 3]);
    assert!(ports(&ok)[..STREAMS_MAX].iter().all(|port| *port != 0));
}

#[test]
fn streams_beyond_that_come_in_mid_call_are_refused_alone() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let offer = many(alice(), 2, STREAMS_MAX + 1, 0);
    t.receive(alice(), with_sdp(a.request(Method::Invite), &offer));
    let invite = t.request_to(desk(), Method::Invite);
    let answer = many(desk(), 2, STREAMS_MAX + 1, 0);
    let answer = with_sdp(response(&invite, 200, desk(), "b1"), &answer);
    t.receive(desk(), answer);
    let ok = t.response_to(alice(), 200);
    for told in [ports(&invite), ports(&ok)] {
        assert_eq!(told.len(), STREAMS_MAX + 1);
        assert!(
            told[..STREAMS_MAX].iter().all(|port| *port != 0),
            "{told:?}"
        );
        assert_eq!(told[STREAMS_MAX], 0);
    }
}

#[test]
fn an_offer_of_nothing_but_streams_beyond_is_488() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&many(alice(), 1, STREAMS_MAX + 2, STREAMS_MAX));
    t.response_to(alice(), 488);
    t.nothing_to(desk());
}
