//! A phone that takes a re-fork and dies at once, again and again.

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::settings::RestoreOrder;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

impl Table {
    /// Its stack fails, as it says itself (RFC 3326).
    fn fails(&mut self, who: &mut Remote) {
        self.discard(who.at);
        // Another CSeq each time makes another branch.
        let losses = self.losses().len() as u32;
        let bye = who.numbered(Method::Bye, 10 + losses);
        self.receive(who.at, bye.header(Name::Reason, "SIP;cause=503").end());
        self.response_to(who.at, 200);
    }

    /// Returns the text that the desk phone was sent last.
    fn last_text(&mut self) -> Message {
        let texts = std::iter::from_fn(|| self.waiting(desk(), &Method::Message));
        texts.last().expect("a text")
    }

    fn invited(&mut self, at: SocketAddr) -> Option<Message> {
        self.waiting(at, &Method::Invite)
    }

    /// Bob's desk phone, which is asked, takes the re-fork.
    fn desk_takes(&mut self, tag: &str) -> Remote {
        let invite = self.invited(desk()).expect("asked");
        let answer = response(&invite, 200, desk(), tag);
        self.receive(desk(), with_sdp(answer, &audio(desk())));
        Remote::of_invite(&invite, desk(), tag)
    }

    /// The same, and fails at once.
    fn relapses(&mut self, tag: &str) {
        let mut phone = self.desk_takes(tag);
        self.pass(Millis(100));
        self.discard(mobile());
        self.fails(&mut phone);
    }

    /// Returns after how long the desk phone is asked, in steps of 100 ms. It is asked for good then.
    fn desk_asked_after(&mut self) -> u64 {
        let is = |(to, message): &(SocketAddr, Message)| {
            *to == desk() && message.is_request() && *message.method() == Method::Invite
        };
        let mut steps = 0;
        while !self.mail().any(is) {
            assert!(steps < 600, "never asked");
            self.pass(Millis(100));
            steps += 1;
        }
        steps * 100
    }
}

#[test]
fn the_others_have_time_to_ring_before_one_that_dies_at_once() {
    for order in [RestoreOrder::SameFirst, RestoreOrder::All, RestoreOrder::Q] {
        let mut wishes = settings();
        wishes.restore.order = order;
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        t.register("bob", mobile(), "mobile");
        let (_, mut b) = t.established();
        t.fails(&mut b);
        t.relapses("b2");
        let first = t.invited(mobile()).unwrap();
        t.reply(&first, 180, mobile());
        t.pass(Millis(1_900));
        assert!(t.invited(desk()).is_none(), "{order:?}");
        t.pass(Millis(200));
        t.relapses("b3");
        // It has done so twice: now it is asked once nobody else rings any more.
        let second = t.invited(mobile()).unwrap();
        t.reply(&second, 180, mobile());
        t.pass(Millis::from_secs(20));
        t.discard(desk());
        t.registers_anew("bob", desk(), "desk", "again");
        assert!(t.invited(desk()).is_none(), "{order:?}");
        let answer = response(&second, 200, mobile(), "m1");
        t.receive(mobile(), with_sdp(answer, &audio(mobile())));
        t.pass(Millis::from_secs(5));
        assert!(t.invited(desk()).is_none(), "{order:?}");
    }
}

#[test]
fn it_is_asked_as_soon_as_nobody_else_is() {
    let mut t = two();
    let (_, mut b) = t.established();
    t.fails(&mut b);
    t.relapses("b2");
    let other = t.invited(mobile()).unwrap();
    t.reply(&other, 486, mobile());
    assert_eq!(t.desk_asked_after(), 500);
}

#[test]
fn who_has_one_phone_that_dies_at_once_is_asked_more_and_more_seldom() {
    for restarts in [false, true] {
        let mut t = Table::new(settings());
        let (_, mut b) = t.established();
        t.fails(&mut b);
        let mut pauses = Vec::new();
        for tag in ["b2", "b3", "b4", "b5", "b6", "b7"] {
            pauses.push(t.desk_asked_after());
            t.relapses(tag);
            if restarts {
                t.restart();
            }
            // It comes back at once each time.
            let register = t.register_request("bob", desk(), "desk", 1, 3600);
            let register = String::from_utf8_lossy(&register).replace("reg-desk", tag);
            let register = register.replace("z9hG4bKr", &format!("z9hG4bK{tag}"));
            t.receive(desk(), register.into());
        }
        assert_eq!(pauses, [0, 500, 1_000, 2_000, 4_000, 8_000]);
        t.nothing_to(alice());
    }
}

#[test]
fn who_has_held_for_a_while_has_its_precedence_again() {
    let mut t = two();
    let (_, mut b) = t.established();
    t.fails(&mut b);
    t.relapses("b2");
    t.pass(Millis(2_100));
    let mut again = t.desk_takes("b3");
    t.pass(Millis::from_secs(16));
    t.discard(mobile());
    t.fails(&mut again);
    assert!(t.invited(desk()).is_some());
    t.nothing_to(mobile());
}

#[test]
fn a_text_that_kills_each_phone_that_gets_it_is_given_up_for_those_behind_it() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let (mut a, b) = t.established();
    t.receive(alice(), a.message("poison"));
    t.receive(alice(), a.message("after"));
    let mut phone = b;
    for tag in ["d1", "d2", "d3"] {
        let word = t.last_text();
        assert_eq!(word.body(), b"poison", "before {tag}");
        t.fails(&mut phone);
        t.desk_asked_after();
        phone = t.desk_takes(tag);
    }
    let word = t.last_text();
    assert_eq!(word.body(), b"after");
    let given_up = t.happened(|what| matches!(what, Happening::Rejected { status: 488, .. }));
    assert_eq!(given_up, 1);
}
