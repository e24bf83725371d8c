//! Media is never sent to where SIP is spoken, nor to the relay's own ports, at a phone's word.

use std::net::SocketAddr;

use refork::engine::events::{Barred, Event};
use refork::engine::ids::Side;
use refork::engine::settings::{AclSettings, Settings};
use refork::sip::Method;

use crate::people::*;
use crate::table::*;
use crate::video::told;

/// An upstream speaks SIP at one port; what is trusted besides is `more`.
fn believing(more: &str) -> Settings {
    Settings {
        upstreams: [("pbx".into(), upstream("sip:203.0.113.50:5070", true))].into(),
        acl: AclSettings {
            trusted: vec!["203.0.113.77/32".parse().unwrap(), more.parse().unwrap()],
            ..AclSettings::default()
        },
        ..settings()
    }
}

fn sound(at: &str) -> String {
    let at: SocketAddr = at.parse().unwrap();
    audio(at).replace("m=audio 4000", &format!("m=audio {}", at.port()))
}

/// Where media is sent: of a barred address no port is left.
fn place(at: &str, why: Option<Barred>) -> Option<SocketAddr> {
    let at: SocketAddr = at.parse().unwrap();
    Some(why.map_or(at, |_| SocketAddr::new(at.ip(), 0)))
}

fn noted(t: &Table) -> Vec<Barred> {
    let barred = t.events.iter().filter_map(|event| match event {
        Event::Barred { why, .. } => Some(*why),
        _ => None,
    });
    barred.collect()
}

#[test]
fn a_phone_has_no_media_sent_where_sip_is_spoken() {
    use Barred::Sip;
    for (at, why) in [
        ("203.0.113.50:5070", Some(Sip)),
        ("203.0.113.50:5060", Some(Sip)),
        ("203.0.113.50:4000", None),
        ("203.0.113.77:5060", Some(Sip)),
        ("203.0.113.77:5061", Some(Sip)),
        ("203.0.113.77:20000", None),
        ("192.0.2.1:5060", Some(Sip)),
        ("192.0.2.1:5061", Some(Sip)),
        ("192.0.2.1:20000", None),
        ("10.0.0.1:20000", None),
        ("192.0.2.1:40000", None),
        ("203.0.113.99:5060", None),
        ("203.0.113.99:20000", None),
    ] {
        for (side, offer, answer) in [
            (Side::Caller, sound(at), audio(desk())),
            (Side::Callee, audio(alice()), sound(at)),
        ] {
            let mut t = Table::new(believing("203.0.113.78/32"));
            let (mut a, _) = t.established_with(&offer, &answer);
            let stream = &told(&t, side, 0)[0];
            assert_eq!(stream.rtp, place(at, why), "{side:?} {at}");
            assert!(stream.active, "what it sends is heard");
            assert_eq!(noted(&t), Vec::from_iter(why), "{side:?} {at}");
            t.receive(alice(), a.request(Method::Bye).end());
            t.request_to(desk(), Method::Bye);
        }
    }
}

#[test]
fn a_ring_of_the_relay_is_told_of_once_and_rtcp_goes_there_no_more_than_rtp() {
    // Bob names the relay, as in a call that a third party has put together: that is well as long as Alice does not.
    let mut t = Table::new(believing("203.0.113.78/32"));
    let there = "10.0.0.1:20002";
    let (mut a, _) = t.established_with(&audio(alice()), &sound(there));
    assert_eq!(told(&t, Side::Callee, 0)[0].rtp, place(there, None));
    for version in [2, 3] {
        let moved = sound("192.0.2.1:20000").replace("o=- 7 1", &format!("o=- 7 {version}"));
        t.receive(alice(), with_sdp(a.request(Method::Invite), &moved));
        // Bob hears of it, or does not, for where she is does not show.
        if let Some(asked) = t.waiting(desk(), &Method::Invite) {
            let answer = sound(there).replace("o=- 7 1", &format!("o=- 7 {version}"));
            t.receive(
                desk(),
                with_sdp(response(&asked, 200, desk(), "b1"), &answer),
            );
        }
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), a.ack(ok.cseq()));
        let at = "192.0.2.1:20000";
        assert_eq!(
            told(&t, Side::Caller, 0)[0].rtp,
            place(at, Some(Barred::Relay))
        );
    }
    assert_eq!(noted(&t), [Barred::Relay; 2], "each end once");

    let mut t = Table::new(believing("203.0.113.78/32"));
    let rtcp = audio(alice()) + "a=rtcp:5060 IN IP4 203.0.113.50\r\n";
    t.established_with(&rtcp, &audio(desk()));
    let stream = &told(&t, Side::Caller, 0)[0];
    assert_eq!(stream.rtp, Some(SocketAddr::new(alice().ip(), 4000)));
    assert_eq!(stream.rtcp.map(|at| at.port()), Some(0));
    assert_eq!(noted(&t), [Barred::Sip]);
}

#[test]
fn early_media_goes_there_no_more() {
    let mut t = Table::new(believing("203.0.113.78/32"));
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let early = response(&invite, 183, desk(), "b1");
    t.receive(desk(), with_sdp(early, &sound("203.0.113.50:5070")));
    let at = "203.0.113.50:5070";
    assert_eq!(
        told(&t, Side::Callee, 0)[0].rtp,
        place(at, Some(Barred::Sip))
    );
    assert_eq!(noted(&t), [Barred::Sip]);
}

/// A call that goes by way of us twice, the trusted peer staying out of its media.
#[test]
fn who_is_trusted_may_name_the_relay_and_not_our_sip() {
    for (at, why) in [
        ("192.0.2.1:20000", None),
        ("203.0.113.50:5070", None),
        ("192.0.2.1:5060", Some(Barred::Sip)),
    ] {
        let trusted = format!("{}/32", desk().ip());
        let mut t = Table::new(believing(&trusted));
        t.established_with(&audio(alice()), &sound(at));
        assert_eq!(told(&t, Side::Callee, 0)[0].rtp, place(at, why), "{at}");
        assert_eq!(noted(&t), Vec::from_iter(why), "{at}");
    }
}
