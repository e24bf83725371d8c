//! Responses to a trusted peer that is not where its request came from any more: its Via says where else it is
//! (RFC 3261 18.2.2, RFC 3263 5).

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::ids::Transport;
use refork::engine::settings::Settings;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

fn sbc() -> SocketAddr {
    phone("203.0.113.9:5060")
}

/// Two more of its kind, of the same name.
fn others() -> [SocketAddr; 2] {
    ["203.0.113.10:5060", "203.0.113.11:5060"].map(phone)
}

fn table() -> Table {
    let mut t = Table::new(Settings {
        acl: refork::engine::settings::AclSettings {
            trusted: vec!["203.0.113.0/24".parse().unwrap()],
            ..Default::default()
        },
        ..settings()
    });
    t.register("bob", desk(), "desk");
    t
}

/// An INVITE of somebody beyond the peer, with this in its Via.
fn invite(call_id: &str, transport: &str, sent_by: &str) -> Bytes {
    let invite = request(Method::Invite, "carol", "bob", sbc(), call_id);
    let invite = with_sdp(invite, &audio(sbc()));
    let via = format!("SIP/2.0/UDP {}", sbc());
    let text = String::from_utf8_lossy(&invite).into_owned();
    assert!(text.contains(&via));
    text.replace(&via, &format!("SIP/2.0/{transport} {sent_by}"))
        .into()
}

fn located(t: &mut Table, name: &str, transport: Transport) {
    let at = others().map(|at| (transport, at));
    t.names.insert(name.into(), at.to_vec());
}

fn rings(t: &mut Table) -> Message {
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.response_to(sbc(), 180);
    invite
}

/// A call rings, and ICMP has said that its server is gone: another of its name is told. Returns its INVITE, and ours.
fn spoken_against() -> (Table, Bytes, Message) {
    let mut t = table();
    located(&mut t, "sbc.example.net", Transport::Udp);
    let invite = invite("call1", "UDP", "sbc.example.net");
    t.receive(sbc(), invite.clone());
    let ringing = rings(&mut t);
    t.icmp(sbc());
    t.response_to(others()[0], 180);
    (t, invite, ringing)
}

#[test]
fn where_nobody_listens_another_server_of_the_name_is_answered() {
    let mut t = table();
    located(&mut t, "sbc.example.net", Transport::Udp);
    let [second, last] = others();
    t.receive(sbc(), invite("call1", "UDP", "sbc.example.net"));
    let invite = rings(&mut t);
    t.icmp(sbc());
    t.response_to(second, 180);
    t.icmp(second);
    t.response_to(last, 180);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    // Also what is said again.
    t.pass(Millis(600));
    t.response_to(last, 200);
    let ok = t.response_to(last, 200);
    // An ICMP proves nothing.
    assert_eq!(t.discard(sbc()), 2);
    t.receive(last, Remote::of_answer(&ok, last).ack(1));
    t.pass(Millis::from_secs(5));
    t.nothing_to(last);
    t.nothing_to(second);
    t.nothing_to(sbc());
}

/// Anybody can forge an ICMP, and another server of the name may know nothing of the call.
#[test]
fn an_icmp_takes_no_answer_from_a_server_that_is_there() {
    for says_so in [false, true] {
        let (mut t, invite, ringing) = spoken_against();
        let second = others()[0];
        t.nothing_to(sbc());
        if says_so {
            t.receive(sbc(), invite);
            t.response_to(sbc(), 180);
        }
        t.receive(desk(), with_sdp(answer_to(&ringing), &audio(desk())));
        t.request_to(desk(), Method::Ack);
        t.pass(Millis(600));
        t.response_to(sbc(), 200);
        let ok = t.response_to(sbc(), 200);
        // Who has proven to be there has it alone.
        assert_eq!(t.discard(second), if says_so { 0 } else { 2 });
        t.receive(sbc(), Remote::of_answer(&ok, sbc()).ack(1));
        t.pass(Millis::from_secs(5));
        t.nothing_to(sbc());
        t.nothing_to(second);
    }
}

#[test]
fn a_refusal_goes_on_from_a_connection_to_the_address_and_then_to_the_name() {
    let mut t = table();
    located(&mut t, "sbc.example.net", Transport::Tcp);
    let from = phone("203.0.113.9:40000");
    t.receive_over(tcp(from, 7), invite("call1", "TCP", "sbc.example.net:5070"));
    let invite = t.request_to(desk(), Method::Invite);
    t.closed(from, 7);
    t.reply(&invite, 486, desk());
    let there = phone("203.0.113.9:5070");
    t.response_to(there, 486);
    t.closed(there, 1);
    let refused = t.response_to(others()[0], 486);
    assert_eq!(refused.header(Name::CallId), Some("call1"));
    t.nothing_to(others()[1]);
}

/// Who called over it is where it says, and is connected to there: nobody has given up.
#[test]
fn a_server_that_closes_its_connection_goes_on_calling() {
    let mut t = table();
    let from = phone("203.0.113.9:40000");
    t.receive_over(tcp(from, 7), invite("call1", "TCP", "sbc.example.net:5070"));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.response_to(from, 180);
    t.closed(from, 7);
    t.pass(Millis::from_secs(20));
    t.nothing_to(desk());
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let there = phone("203.0.113.9:5070");
    let ok = t.response_to(there, 200);
    t.receive_over(tcp(there, 8), Remote::of_answer(&ok, sbc()).ack(1));
    t.nothing_to(from);
}

/// What another server says in the transaction is heard: it is the one that is answered.
#[test]
fn the_server_that_is_answered_has_the_transaction() {
    for cancels in [true, false] {
        let (mut t, invite, ringing) = spoken_against();
        let second = others()[0];
        let within = |method: &str, tag: &str| {
            let text = String::from_utf8_lossy(&invite);
            let head = text.split("Content-Type").next().unwrap();
            let head = head.replacen("INVITE sip", &format!("{method} sip"), 1);
            let head = head.replace("1 INVITE", &format!("1 {method}"));
            let to = "To: <sip:bob@example.org>";
            let head = head.replace(to, &format!("{to}{tag}"));
            Bytes::from(format!("{head}Content-Length: 0\r\n\r\n"))
        };
        let status = if cancels {
            t.receive(second, within("CANCEL", ""));
            t.response_to(second, 200);
            t.request_to(desk(), Method::Cancel);
            487
        } else {
            t.reply(&ringing, 486, desk());
            486
        };
        let refused = t.response_to(second, status);
        let tag = format!(";tag={}", refused.to_tag().unwrap());
        t.receive(second, within("ACK", &tag));
        t.pass(Millis::from_secs(5));
        t.nothing_to(second);
    }
}

#[test]
fn what_is_no_invite_is_answered_there_too() {
    let mut t = table();
    located(&mut t, "sbc.example.net", Transport::Udp);
    let ask = request(Method::Options, "carol", "bob", sbc(), "ask").end();
    let text = String::from_utf8_lossy(&ask).replace("203.0.113.9:5060;", "sbc.example.net;");
    t.receive(sbc(), text.into());
    t.response_to(sbc(), 200);
    t.icmp(sbc());
    t.response_to(others()[0], 200);
}

#[test]
fn nobody_has_names_sought_by_what_it_writes_into_its_vias() {
    // Of one address that fails, one name, however many are named.
    let mut t = table();
    for (number, name) in ["one.example", "two.example"].into_iter().enumerate() {
        t.names
            .insert(name.into(), vec![(Transport::Udp, others()[number])]);
    }
    for number in 0..10 {
        let name = if number % 2 == 0 {
            "one.example"
        } else {
            "two.example"
        };
        let ask = request(
            Method::Options,
            "carol",
            "bob",
            sbc(),
            &format!("ask{number}"),
        );
        let text =
            String::from_utf8_lossy(&ask.end()).replace("203.0.113.9:5060;", &format!("{name};"));
        t.receive(sbc(), text.into());
    }
    assert_eq!(t.discard(sbc()), 10);
    t.icmp(sbc());
    let told = others().map(|at| t.discard(at));
    assert!(told == [5, 0] || told == [0, 5], "{told:?}");
    // Who is not trusted is not looked for at all.
    let mut t = Table::new(settings());
    located(&mut t, "victim.example", Transport::Udp);
    t.register("bob", desk(), "desk");
    t.receive(sbc(), invite("call1", "UDP", "victim.example"));
    rings(&mut t);
    t.icmp(sbc());
    for at in others() {
        t.nothing_to(at);
    }
}

#[test]
fn so_many_names_are_sought_at_a_time_and_no_more() {
    let mut t = table();
    located(&mut t, "sbc.example.net", Transport::Udp);
    t.dns_waits = true;
    let peers = (1..=12).map(|last| phone(&format!("203.0.113.{}:5060", 100 + last)));
    for (number, peer) in peers.enumerate() {
        let ask = request(
            Method::Options,
            "carol",
            "bob",
            peer,
            &format!("ask{number}"),
        );
        let own = format!("{peer};");
        let text = String::from_utf8_lossy(&ask.end()).replace(&own, "sbc.example.net;");
        t.receive(peer, text.into());
        t.response_to(peer, 200);
        t.icmp(peer);
    }
    t.dns_answers();
    assert_eq!(t.discard(others()[0]), 8);
}
