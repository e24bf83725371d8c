//! A server with several addresses, some of which are known by others outside.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use refork::config::{self, Listener};
use refork::engine::ids;
use refork::sip::{Message, Method, Name};
use refork::ua::{Medium, Phone};

use crate::stage::{Stage, connect, hang_up, talk};

/// What a phone was told: the INVITE that it got, or the 200 to its own.
fn told(stage: &Stage, phone: &Phone) -> Message {
    let entries = stage.log.of(phone.label());
    let received = entries.iter().filter_map(|entry| entry.received());
    let mut of_invite = received.filter(|message| *message.method() == Method::Invite);
    let found = of_invite.find(|message| message.is_request() || message.status() == 200);
    found.unwrap().clone()
}

#[test]
fn each_side_is_told_the_address_that_its_listener_advertises() {
    let [inner, outer]: [IpAddr; 2] = [[127, 0, 0, 2].into(), [127, 0, 0, 3].into()];
    let free = UdpSocket::bind((outer, 0)).unwrap().local_addr().unwrap();
    let stage = Stage::with(|config| {
        // What is told of the one leads to the other, as through a NAT.
        for (ip, advertise) in [(inner, Some(free)), (outer, None)] {
            config.listeners.push(Listener {
                advertise,
                ..Listener::new(ids::Transport::Udp, (ip, free.port()).into())
            });
        }
    });
    let outside = stage.sip_at(inner);
    let alice = stage.phone_with("alice", |profile| profile.server = outside);
    let bob = stage.phone("bob");
    let six = stage.sip(refork::ua::Transport::Udp, true);
    let carol = stage.phone_with("carol", |profile| {
        (profile.server, profile.address) = (six, six.ip());
    });
    for other in [&bob, &carol] {
        let (call, taken) = connect(&alice, other, Medium::Audio);
        talk(&call, &taken);
        hang_up(&call, &taken);
    }
    let says = |phone: &Phone, sip: &str, media: &str| {
        let told = told(&stage, phone);
        let contact = told.header(Name::Contact).unwrap();
        assert!(contact.contains(sip), "{contact}");
        let sdp = String::from_utf8_lossy(told.body());
        assert!(sdp.contains(&format!("c=IN {media}\r\n")), "{sdp}");
    };
    let home: SocketAddr = stage.sip(refork::ua::Transport::Udp, false);
    says(&alice, &free.to_string(), "IP4 127.0.0.3");
    says(&bob, &home.to_string(), "IP4 127.0.0.1");
    says(&carol, &six.to_string(), "IP6 ::1");
    stage.finish();
}

#[test]
fn a_user_of_any_domain_logs_in_by_whatever_address_the_server_is_known() {
    let stage = Stage::with(|config| {
        let text = "users:\n  sip:alice@*: { password: correct horse }\n  sip:bob@*: { password: correct horse }\n";
        let any = config::parse(text, "any domain", &|_| None).unwrap().engine;
        (config.engine.domains, config.engine.users) = (any.domains, any.users);
    });
    let by = |label: &str, domain: &str| {
        let domain = domain.to_owned();
        stage.phone_with(label, |profile| profile.domain = domain)
    };
    let (alice, bob) = (by("alice", "sip.lan"), by("bob", "server.lan"));
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    talk(&call, &taken);
    hang_up(&call, &taken);
    stage.finish();
}
