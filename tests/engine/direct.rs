//! Media that goes between the endpoints themselves: their addresses, keys and candidates cross as they are,
//! and a new endpoint's cost the survivor one re-INVITE.

use std::net::SocketAddr;

use refork::engine::settings::{MediaMode, MediaSettings, Settings};
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;

fn direct() -> Table {
    let mut t = Table::new(Settings {
        media: MediaSettings {
            mode: MediaMode::Direct,
            ..MediaSettings::default()
        },
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t
}

fn head(at: SocketAddr) -> String {
    let ip = at.ip();
    format!("v=0\r\no=- 7 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n")
}

/// DTLS-SRTP (RFC 5763, 5764) by way of ICE (RFC 8445, 8839).
fn browser(at: SocketAddr, setup: &str) -> String {
    let ip = at.ip();
    let host = ip.to_string().replace('.', "");
    head(at)
        + &format!(
            "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000\r\na=ice-ufrag:u{host}\r\n\
             a=ice-pwd:pwd{host}0123456789abcdef\r\na=ice-options:trickle ice2\r\n\
             a=fingerprint:sha-256 AA:{host}\r\na=setup:{setup}\r\na=rtcp-mux\r\na=sendrecv\r\n\
             a=candidate:1 1 UDP 2130706431 {ip} 4000 typ host\r\n\
             a=candidate:2 1 UDP 1694498815 203.0.113.7 4001 typ srflx raddr {ip} rport 4000\r\n"
        )
}

/// MSRP (RFC 4975 8, with the parts of RFC 6135 and 6714).
fn msrp(at: SocketAddr, setup: &str) -> String {
    let ip = at.ip();
    let host = ip.to_string().replace('.', "");
    head(at)
        + &format!(
            "m=message 7654 TCP/MSRP *\r\na=accept-types:message/cpim text/plain\r\n\
             a=path:msrp://{ip}:7654/s{host};tcp\r\na=setup:{setup}\r\na=msrp-cema\r\n"
        )
}

/// Returns what is said of the streams, without whose session it is.
fn streams(message: &Message) -> String {
    let whole = text(message);
    let at = whole.find("c=").expect("a connection");
    whole[at..].to_owned()
}

fn said(sdp: &str) -> String {
    sdp[sdp.find("c=").unwrap()..].to_owned()
}

fn crosses_and_moves(of: fn(SocketAddr, &str) -> String) {
    let mut t = direct();
    t.alice_invites(&of(alice(), "actpass"));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(streams(&invite), said(&of(alice(), "actpass")));
    t.receive(desk(), with_sdp(answer_to(&invite), &of(desk(), "active")));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(streams(&ok), said(&of(desk(), "active")));
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    t.register("bob", mobile(), "mobile");
    assert_eq!(t.media, [], "nothing for the relay");

    t.bob_is_lost();
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    let offered = text(&invite);
    for line in said(&of(alice(), "actpass")).lines() {
        let own = ["a=candidate", "a=ice-ufrag", "a=fingerprint", "a=path"];
        if own.iter().any(|own| line.starts_with(own)) {
            assert!(offered.contains(line), "{line} is not in\n{offered}");
        }
    }
    let answer = of(mobile(), "active");
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &answer),
    );
    let join = t.request_to(alice(), Method::Invite);
    let told = text(&join);
    for line in said(&answer).lines() {
        assert!(
            line.starts_with("a=setup") || told.contains(line),
            "{line} is not in\n{told}"
        );
    }
    let agreed = of(alice(), "passive");
    t.receive(
        alice(),
        with_sdp(response(&join, 200, alice(), "tcall1"), &agreed),
    );
    t.request_to(alice(), Method::Ack);
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn keys_and_candidates_of_browsers_cross_and_a_new_ones_restart_ice() {
    crosses_and_moves(browser);
}

#[test]
fn paths_of_msrp_cross_and_a_new_one_is_told_the_survivor() {
    crosses_and_moves(msrp);
}

#[test]
fn beside_relayed_sound_msrp_goes_its_own_way() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let line = |at: SocketAddr| {
        let whole = msrp(at, "actpass");
        whole[whole.find("m=").unwrap()..].to_owned()
    };
    t.alice_invites(&(audio(alice()) + &line(alice())));
    let invite = t.request_to(desk(), Method::Invite);
    let offered = text(&invite);
    assert!(offered.contains("a=path:msrp://198.51.100.1:7654/s198511001;tcp\r\n"));
    assert!(offered.contains("m=message 7654 TCP/MSRP *\r\n"));
    assert!(!offered.contains("m=audio 4000"), "{offered}");
    // Where CEMA (RFC 6714) would go: to the endpoint too, not to us.
    let (sound, messages) = offered.split_once("m=message").unwrap();
    assert!(sound.contains("c=IN IP4 192.0.2.1\r\n"), "{offered}");
    assert!(messages.contains("c=IN IP4 198.51.100.1\r\n"), "{offered}");
}
