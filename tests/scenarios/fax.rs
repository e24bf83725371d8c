//! Fax (ITU-T T.38) over real sockets.

use std::net::{Ipv4Addr, SocketAddr};

use refork::sip::{Message, Method};

use crate::stage::Stage;
use crate::wire::{Dialog, Wire, sound_of};

/// Two machines of the open Internet, which must not learn of each other.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

fn fax(sound: &str) -> String {
    let (head, line) = sound.split_once("m=audio ").unwrap();
    let port = line.split(' ').next().unwrap();
    format!(
        "{head}m=image {port} udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
    )
}

/// Where the fax of a message goes, which is nobody's but ours.
fn fax_of(message: &Message) -> SocketAddr {
    let said = std::str::from_utf8(message.body()).unwrap();
    assert!(
        said.contains(" udptl t38\r\n") && said.contains("t38UDPRedundancy"),
        "{said}"
    );
    for machine in [HERE, THERE] {
        assert!(!said.contains(&machine.to_string()), "{said}");
    }
    let (_, rest) = said.split_once("m=image ").unwrap();
    let port = rest.split(' ').next().unwrap().parse().unwrap();
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// A page goes from one machine to the other; its numbers pass through all that looks like RTP and RTCP.
fn page(from: &Wire, to: SocketAddr, by: &Wire) {
    let mut buffer = [0; 2048];
    for number in [0_u16, 1, 0x7fff, 0x8000, 0x80c8, 0x80c9, 0xbfff, 0xffff] {
        let packet = [
            &number.to_be_bytes()[..],
            &[3, 0xc0, 1, 0x80, 0, 1, 20],
            &[7; 20],
        ]
        .concat();
        let mut came = false;
        for _ in 0..50 {
            from.sound.send_to(&packet, to).unwrap();
            // What was under way before is none of the page.
            let mut heard = std::iter::from_fn(|| {
                by.sound
                    .recv(&mut buffer)
                    .ok()
                    .map(|len| buffer[..len] == packet)
            });
            came = heard.any(|same| same);
            if came {
                break;
            }
        }
        assert!(came, "{number:#06x} does not arrive");
    }
}

#[test]
fn a_call_becomes_a_fax_and_a_call_again() {
    let stage = Stage::new();
    let mut alice = Wire::at(&stage, "alice", HERE);
    let mut bob = Wire::at(&stage, "bob", THERE);
    bob.register(60);
    let mut invite = alice.first(Method::Invite, "sip:bob@example.org");
    invite.sdp = alice.sdp(1, "sendrecv");
    alice.prove(&mut invite);
    let asked = bob.request(&Method::Invite);
    bob.answer(&asked, 200, "fax", "", &bob.sdp(1, "sendrecv"));
    let ok = alice.response(&invite, |status| status == 200);
    let mut at_alice = alice.acknowledge(&invite, &ok, "");
    bob.request(&Method::Ack);
    let mut at_bob = Dialog::of_invite(&asked, "fax");

    for (version, is_fax) in [(2, true), (3, false), (4, true)] {
        let describe = |machine: &Wire| {
            let sound = machine.sdp(version, "sendrecv");
            if is_fax { fax(&sound) } else { sound }
        };
        // The one that is called hears the tone of the other, and offers.
        let mut offer = bob.within(&mut at_bob, Method::Invite);
        offer.sdp = describe(&bob);
        bob.send(&mut offer);
        // It may overtake the caller's ACK, and comes again then (RFC 3261 14.1).
        while bob.response(&offer, |_| true).status() == 491 {
            offer = bob.within(&mut at_bob, Method::Invite);
            offer.sdp = describe(&bob);
            bob.send(&mut offer);
        }
        let offered = alice.request(&Method::Invite);
        alice.answer(&offered, 200, "", "", &describe(&alice));
        let ok = bob.response(&offer, |status| status >= 200);
        assert_eq!(ok.status(), 200);
        at_bob = bob.acknowledge(&offer, &ok, "");
        alice.request(&Method::Ack);
        if is_fax {
            page(&alice, fax_of(&offered), &bob);
            page(&bob, fax_of(&ok), &alice);
        } else {
            let heard = std::cell::Cell::new(0);
            let waits = || heard.replace(heard.get() + 1) >= 5;
            bob.speaks(sound_of(&ok), 0x44, waits);
            alice.hears_voice(0x44);
        }
    }
    alice.leave_answered(&mut at_alice, &mut bob);
    bob.register(0);
    stage.finish();
}
