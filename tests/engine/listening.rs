//! Phones and gateways that send from another port than they listen on, and say so by a Via without `rport`.

use std::net::SocketAddr;

use bytes::Bytes;
use refork::engine::events::Signal;
use refork::engine::ids::Side;
use refork::engine::ports::MediaEvent;
use refork::engine::time::Millis;
use refork::sip::Method;

use crate::people::*;
use crate::table::*;

/// Where what such a phone sends comes from; nobody listens there.
fn mouth(ear: SocketAddr) -> SocketAddr {
    SocketAddr::new(ear.ip(), 49_152)
}

impl Table {
    /// It sends what it says about its own port, and asks for no other.
    fn says(&mut self, ear: SocketAddr, bytes: &Bytes) {
        let text = String::from_utf8_lossy(bytes).replace(";rport\r\n", "\r\n");
        self.receive(mouth(ear), text.into());
    }

    /// Bob has such a phone.
    fn bobs_phone(&mut self) {
        let register = self.register_request("bob", desk(), "desk", 1, 3600);
        self.says(desk(), &register);
        self.response_to(desk(), 200);
    }
}

/// Alice talks to Bob, whom she has called.
fn called(t: &mut Table) -> (Remote, Remote) {
    t.bobs_phone();
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.says(desk(), &response(&invite, 180, desk(), "b1").end());
    t.response_to(alice(), 180);
    t.says(desk(), &with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let a = Remote::of_answer(&t.response_to(alice(), 200), alice());
    t.receive(alice(), a.ack(1));
    (a, Remote::of_invite(&invite, desk(), "b1"))
}

#[test]
fn it_is_called_and_hung_up_on_where_it_listens() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = called(&mut t);
    // What it asks and answers within the dialog moves nothing.
    t.says(desk(), &b.request(Method::Info).end());
    let info = t.request_to(alice(), Method::Info);
    t.reply(&info, 200, alice());
    t.response_to(desk(), 200);
    let hold = sdp(alice(), 2, "sendonly");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    let invite = t.request_to(desk(), Method::Invite);
    let ok = response(&invite, 200, desk(), "b1");
    t.says(desk(), &with_sdp(ok, &sdp(desk(), 2, "recvonly")));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.receive(alice(), a.request(Method::Info).end());
    let info = t.request_to(desk(), Method::Info);
    // An answer that names no Contact.
    let server = SERVER.parse().unwrap();
    let ok = refork::sip::Builder::respond(&info, 200, "OK", Some("b1"), server);
    t.says(desk(), &ok.end());
    t.response_to(alice(), 200);
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.says(desk(), &response(&bye, 200, desk(), "b1").end());
    t.nothing_to(mouth(desk()));
    assert!(t.losses().is_empty());
    t.ends_empty();
}

#[test]
fn it_calls_and_is_hung_up_on_where_it_listens() {
    let mut t = Table::new(settings());
    t.bobs_phone();
    t.register("alice", alice(), "a");
    let invite = request(Method::Invite, "bob", "alice", desk(), "call2");
    t.says(desk(), &with_sdp(invite, &audio(desk())));
    let invite = t.request_to(alice(), Method::Invite);
    t.receive(
        alice(),
        with_sdp(response(&invite, 200, alice(), "a1"), &audio(alice())),
    );
    t.request_to(alice(), Method::Ack);
    let b = Remote::of_answer(&t.response_to(desk(), 200), desk());
    // Without a Contact, as most phones write it.
    let ack = String::from_utf8_lossy(&b.ack(1)).replace("Contact", "X-Contact");
    t.says(desk(), &ack.into());
    let mut a = Remote::of_invite(&invite, alice(), "a1");
    t.hangs_up(&mut a);
    t.request_to(desk(), Method::Bye);
    t.nothing_to(mouth(desk()));
}

#[test]
fn it_is_asked_where_it_listens_whether_it_is_there() {
    let mut t = Table::new(settings());
    called(&mut t);
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Callee,
    });
    let probe = t.request_to(desk(), Method::Options);
    t.says(desk(), &response(&probe, 200, desk(), "b1").end());
    t.pass(Millis(5_100));
    let update = t.request_to(desk(), Method::Update);
    t.says(desk(), &response(&update, 200, desk(), "b1").end());
    t.pass(Millis::from_secs(5));
    t.nothing_to(mouth(desk()));
    assert!(t.losses().is_empty());
}

#[test]
fn that_nobody_listens_there_is_said_of_it() {
    let mut t = Table::new(settings());
    called(&mut t);
    t.media_event(|media| MediaEvent::Unreachable {
        media,
        side: Side::Callee,
    });
    t.request_to(desk(), Method::Options);
    t.icmp(desk());
    t.pass(Millis(700));
    assert_eq!(t.losses(), [Signal::MediaUnreachable]);
}

#[test]
fn who_is_unknown_is_asked_where_it_listens() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let gateway = mobile();
    let invite = request(Method::Invite, "gateway", "bob", gateway, "call3");
    let invite = with_sdp(invite, &audio(gateway));
    let invite = String::from_utf8_lossy(&invite)
        .replace("gateway@example.org", "gateway@elsewhere.example");
    t.says(gateway, &invite.into());
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(gateway, 200);
    let caller = Remote::of_answer(&ok, gateway);
    t.says(gateway, &caller.ack(1));
    t.request_to(desk(), Method::Ack);
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.hangs_up(&mut b);
    t.request_to(gateway, Method::Bye);
    t.nothing_to(mouth(gateway));
}
