//! Endpoints that give a name in place of the address of their media (RFC 8866 5.7).

use std::net::SocketAddr;

use refork::engine::ids::{Side, Transport};
use refork::engine::ports::MediaCommand;
use refork::engine::settings::{MediaMode, MediaSettings, Settings};
use refork::engine::time::Millis;
use refork::sip::Method;

use crate::people::*;
use crate::table::*;

const NAME: &str = "media.example.net";

fn named(at: SocketAddr) -> String {
    audio(at).replace(
        &format!("c=IN IP4 {}", at.ip()),
        &format!("c=IN IP4 {NAME}"),
    )
}

fn located(t: &mut Table, at: &[&str]) {
    let at = at.iter().map(|at| (Transport::Udp, at.parse().unwrap()));
    t.names.insert(NAME.into(), at.collect());
}

/// Where the relay was told last that a side's sound is.
fn told(t: &Table, of: Side) -> Option<SocketAddr> {
    let last = t.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { side, streams, .. } if *side == of => Some(streams[0].rtp),
        _ => None,
    });
    assert!(last.is_some(), "not configured");
    last.flatten()
}

#[test]
fn a_name_is_looked_up_for_either_side() {
    for callee in [false, true] {
        let mut t = Table::new(settings());
        // The first of our family.
        located(&mut t, &["[2001:db8::9]:4000", "203.0.113.9:4000"]);
        let side = if callee { Side::Callee } else { Side::Caller };
        let (offer, answer) = match callee {
            true => (audio(alice()), named(desk())),
            false => (named(alice()), audio(desk())),
        };
        let (mut a, _) = t.established_with(&offer, &answer);
        let at = "203.0.113.9:4000".parse().unwrap();
        assert_eq!(told(&t, side), Some(at));
        t.receive(alice(), a.request(Method::Bye).end());
        t.request_to(desk(), Method::Bye);
    }
}

#[test]
fn until_the_name_is_known_the_call_goes_on() {
    let mut t = Table::new(settings());
    t.dns_waits = true;
    let (mut a, _) = t.established_with(&named(alice()), &audio(desk()));
    assert_eq!(told(&t, Side::Caller), None, "the first packet tells");
    // Another description asks no second time.
    let hold = named(alice())
        .replace("sendrecv", "sendonly")
        .replace("o=- 7 1", "o=- 7 2");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    let held = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(response(&held, 200, desk(), "b1"), &audio(desk())),
    );
    t.response_to(alice(), 200);
    assert_eq!(t.sought.len(), 1);
    located(&mut t, &["203.0.113.9:4000"]);
    t.dns_answers();
    let at = "203.0.113.9:4000".parse().unwrap();
    assert_eq!(told(&t, Side::Caller), Some(at));
}

#[test]
fn a_name_that_nobody_knows_and_one_that_comes_too_late_do_no_harm() {
    let mut t = Table::new(settings());
    t.established_with(&named(alice()), &audio(desk()));
    assert_eq!(told(&t, Side::Caller), None);
    let mut t = Table::new(settings());
    t.dns_waits = true;
    let (mut a, _) = t.established_with(&named(alice()), &audio(desk()));
    t.receive(alice(), a.request(Method::Bye).end());
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.pass(Millis::from_secs(40));
    t.dns_answers();
}

#[test]
fn what_is_not_anchored_keeps_the_name() {
    let mut t = Table::new(Settings {
        media: MediaSettings {
            mode: MediaMode::Direct,
            ..MediaSettings::default()
        },
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t.alice_invites(&named(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    assert!(text(&invite).contains(&format!("c=IN IP4 {NAME}\r\n")));
}
