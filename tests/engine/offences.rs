//! What speaks of an attack, and whether its source can be believed.

use bytes::Bytes;
use refork::engine::Engine;
use refork::engine::events::{Event, Offence};
use refork::engine::ids::{Flow, Transport};
use refork::engine::ports::Input;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

impl Table {
    /// Takes bytes and returns the offences that they are.
    fn offends(&mut self, flow: Flow, bytes: Bytes) -> Vec<(Offence, bool)> {
        self.events.clear();
        self.input(Input::Message { flow, bytes });
        let offence = |event: &Event| match event {
            Event::Offence {
                what,
                flow: from,
                proven,
            } => {
                assert_eq!(*from, flow);
                Some((*what, *proven))
            }
            _ => None,
        };
        self.events.iter().filter_map(offence).collect()
    }
}

fn stranger() -> std::net::SocketAddr {
    phone("198.51.100.66:5060")
}

fn for_whom(method: Method, to: &str, call_id: &str) -> Bytes {
    let request = request(method, "mallory", to, stranger(), call_id);
    let text = String::from_utf8(request.end().to_vec()).unwrap();
    text.replace("sip:mallory@example.org", "sip:mallory@elsewhere.example")
        .into()
}

#[test]
fn a_scanner_gets_no_answer() {
    let mut t = Table::new(settings());
    for (agent, is_one) in [
        ("friendly-scanner", true),
        ("SIPVicious 0.3", true),
        ("sipsak 0.9.8.1", false),
        ("Desk phone (not a friendly-scanner)", false),
    ] {
        let call_id = agent.replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let options = request(Method::Options, "a", "bob", stranger(), &call_id);
        let bytes = options.header(Name::UserAgent, agent).end();
        let found = t.offends(flow(stranger()), bytes.clone());
        assert_eq!(
            found,
            if is_one {
                vec![(Offence::Scanner, false)]
            } else {
                vec![]
            }
        );
        assert_eq!(t.any_to(stranger()).is_none(), is_one, "{agent}");
        let found = t.offends(tcp(stranger(), 1), bytes);
        assert!(!is_one || found == [(Offence::Scanner, true)]);
        t.discard(stranger());
    }
    t.ends_empty();
}

#[test]
fn names_that_are_tried_count_for_strangers_whose_source_is_sure() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    for (method, call_id) in [(Method::Options, "o"), (Method::Message, "m")] {
        let tried = for_whom(method.clone(), "admin", call_id);
        let found = t.offends(tcp(stranger(), 1), tried);
        assert_eq!(found, [(Offence::UnknownUser, true)], "{method:?}");
        let tried = for_whom(method, "admin", &format!("{call_id}2"));
        let found = t.offends(flow(stranger()), tried);
        assert_eq!(found, [(Offence::UnknownUser, false)]);
    }
    let known = for_whom(Method::Options, "bob", "known");
    assert_eq!(t.offends(tcp(stranger(), 1), known), []);
    // A user of ours who has dialled a wrong number.
    let wrong = request(Method::Options, "alice", "admin", alice(), "wrong").end();
    assert_eq!(t.offends(tcp(alice(), 2), wrong), []);
    t.ends_empty();
}

#[test]
fn who_lets_ring_is_not_expected_before_the_call_is_answered() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let of = |at| Engine::peer_number(Transport::Udp, at);
    t.alice_invites(&sdp(alice(), 1, "sendrecv"));
    let invite = t.request_to(desk(), Method::Invite);
    t.reply(&invite, 180, desk());
    t.response_to(alice(), 180);
    assert!(t.site.legs.is_empty());
    let ok = with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv"));
    t.receive(desk(), ok);
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert_eq!(t.site.legs, [(of(alice()), 1), (of(desk()), 1)].into());
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    assert_eq!(t.site.legs.len(), 2);
    t.receive(alice(), a.request(Method::Bye).end());
    assert!(t.site.legs.is_empty());
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.ends_empty();
}

#[test]
fn nonsense_is_an_offence() {
    let mut t = Table::new(settings());
    let nonsense = || Bytes::from_static(b"nonsense\r\n\r\n");
    let found = t.offends(flow(stranger()), nonsense());
    assert_eq!(found, [(Offence::Malformed, false)]);
    let found = t.offends(tcp(stranger(), 1), nonsense());
    assert_eq!(found, [(Offence::Malformed, true)]);
    t.ends_empty();
}
