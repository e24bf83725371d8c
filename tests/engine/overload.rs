//! A shard that is late: what is new is put off, what stands goes on.

use bytes::Bytes;
use refork::engine::events::Event;
use refork::engine::ports::Input;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::repair::replaces;
use crate::table::*;

impl Table {
    fn is_late(&mut self, by: u64) {
        for _ in 0..12 {
            self.pass(Millis(100));
            self.input(Input::Lateness(Millis(by)));
        }
    }

    /// The request gets a 503 with a pause, and leaves no trace.
    #[track_caller]
    fn puts_off(&mut self, request: Bytes) -> u64 {
        let before = self.engine.gauges();
        self.receive(alice(), request);
        let refused = self.response_to(alice(), 503);
        assert_eq!(self.engine.gauges(), before);
        refused.header(Name::RetryAfter).unwrap().parse().unwrap()
    }

    fn overloads(&self) -> Vec<bool> {
        let on = |event: &Event| match event {
            Event::Overload { on, .. } => Some(*on),
            _ => None,
        };
        self.events.iter().filter_map(on).collect()
    }
}

fn invite(call_id: &str) -> Bytes {
    let invite = request(Method::Invite, "alice", "bob", alice(), call_id);
    with_sdp(invite, &sdp(alice(), 1, "sendrecv"))
}

#[test]
fn what_is_new_is_put_off_until_the_shard_is_in_time_again() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.is_late(300);
    let pauses: Vec<u64> = (0..20)
        .map(|number| t.puts_off(invite(&format!("call{number}"))))
        .collect();
    assert!(
        pauses.iter().all(|pause| (5..=30).contains(pause)),
        "{pauses:?}"
    );
    let first = pauses[0];
    assert!(pauses.iter().any(|pause| *pause != first), "all at once");
    let text = request(Method::Message, "alice", "bob", alice(), "text");
    t.puts_off(text.body("text/plain", b"hello"));
    t.nothing_to(desk());
    // A question costs nothing and keeps a peer from thinking us dead; a phone that is known stays.
    t.receive(
        alice(),
        request(Method::Options, "alice", "bob", alice(), "o").end(),
    );
    t.response_to(alice(), 200);
    t.register("bob", desk(), "desk");
    let newcomer = t.register_request("carol", alice(), "new", 1, 3600);
    t.puts_off(newcomer.clone());
    assert_eq!(t.overloads(), [true]);
    t.is_late(0);
    assert_eq!(t.overloads(), [true, false]);
    t.receive(alice(), newcomer);
    t.response_to(alice(), 200);
}

#[test]
fn calls_that_ring_or_stand_go_on_and_the_lost_are_restored() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let (mut a, b) = t.established();
    let ringing = invite("ringing");
    t.receive(alice(), ringing.clone());
    t.discard(desk());
    t.is_late(1000);
    // The copy of one that rings is no new one.
    t.receive(alice(), ringing);
    let hold = a.request(Method::Update);
    t.receive(alice(), with_sdp(hold, &sdp(alice(), 2, "sendonly")));
    assert!(t.waiting(desk(), &Method::Update).is_some());
    t.nothing_is_put_off();
    t.bob_is_lost();
    t.pass(Millis::from_secs(3));
    let again = t.waiting(desk(), &Method::Invite);
    assert!(again.is_some(), "he is invited again");
    // Or his phone repairs the call by itself.
    t.discard(desk());
    let repair = request(Method::Invite, "bob", "alice", desk(), "repair")
        .header(Name::Replaces, replaces(&b));
    t.receive(desk(), with_sdp(repair, &sdp(desk(), 1, "sendrecv")));
    t.nothing_is_put_off();
    // A dialog that is made up opens no door.
    let forged = request(Method::Invite, "bob", "alice", desk(), "forged")
        .header(Name::Replaces, "x;to-tag=rf000000000000000000;from-tag=y");
    t.receive(desk(), with_sdp(forged, &sdp(desk(), 1, "sendrecv")));
    assert_eq!(t.refused_503(), 1);
}

impl Table {
    fn refused_503(&self) -> usize {
        let is = |event: &&Event| matches!(event, Event::Refused { status: 503, .. });
        self.events.iter().filter(is).count()
    }

    #[track_caller]
    fn nothing_is_put_off(&self) {
        assert_eq!(self.refused_503(), 0);
    }
}
