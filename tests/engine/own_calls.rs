//! Bob calls himself: from his desk phone to his mobile.

use refork::engine::time::Millis;
use refork::sip::Method;

use crate::people::*;
use crate::table::*;

impl Table {
    fn desk_calls_the_mobile(&mut self) {
        let invite = request(Method::Invite, "bob", "bob", desk(), "own");
        self.receive(desk(), with_sdp(invite, &audio(desk())));
        let invite = self.request_to(mobile(), Method::Invite);
        self.receive(
            mobile(),
            with_sdp(response(&invite, 200, mobile(), "m1"), &audio(mobile())),
        );
        self.request_to(mobile(), Method::Ack);
    }
}

#[test]
fn the_phone_that_calls_does_not_ring_for_its_own_call() {
    let mut t = two();
    t.desk_calls_the_mobile();
    t.response_to(desk(), 200);
    t.nothing_to(desk());
}

#[test]
fn the_survivors_own_phone_is_not_asked_for_its_own_call() {
    let mut t = two();
    t.desk_calls_the_mobile();
    let ok = t.response_to(desk(), 200);
    let caller = Remote::of_answer(&ok, desk());
    t.receive(desk(), caller.ack(1));
    t.bob_is_lost();
    let away = t.request_to(mobile(), Method::Invite);
    t.reply(&away, 503, mobile());
    t.pass(Millis::from_secs(20));
    t.registers_anew("bob", desk(), "desk", "again");
    t.pass(Millis::from_secs(5));
    t.nothing_to(desk());
    // Another one of his may take it.
    t.register("bob", third(), "laptop");
    t.takes_over(third(), "l1", &audio(third()));
}
