//! The configuration read again: what of it is in force at once, and for whom.

use refork::engine::ids::Aor;
use refork::engine::ports::Input;
use refork::engine::revision::Revision;
use refork::engine::settings::*;
use refork::sip::Method;

use crate::admission::{ack_of, gateway, guarded, invite, trunk};
use crate::people::*;
use crate::table::*;

impl Table {
    fn reads_again(&mut self, settings: &Settings) {
        self.input(Input::Revised(Box::new(Revision::of(settings))));
    }
}

#[test]
fn who_is_trusted_is_so_from_the_next_request_on() {
    let mut t = Table::new(guarded());
    t.signs_on("bob", desk(), "desk");
    let nobody = Settings {
        acl: AclSettings::default(),
        ..guarded()
    };
    let house = guarded();
    for (round, trusted) in [true, false, true].into_iter().enumerate() {
        t.reads_again(if trusted { &house } else { &nobody });
        let call = invite("alice", "bob", gateway(), &format!("call{round}"));
        t.receive(gateway(), call.clone());
        if trusted {
            let rings = t.request_to(desk(), Method::Invite);
            t.reply(&rings, 486, desk());
            t.request_to(desk(), Method::Ack);
            let busy = t.response_to(gateway(), 486);
            t.receive(gateway(), ack_of(&call, &busy));
        } else {
            let asked = t.response_to(gateway(), 407);
            t.receive(gateway(), ack_of(&call, &asked));
            t.nothing_to(desk());
        }
    }
    t.ends_empty();
}

#[test]
fn limits_of_calls_are_for_those_that_come_and_end_none_that_ring() {
    let few = |ringing, conversations| Settings {
        limits: LimitSettings {
            ringing,
            conversations,
            ..settings().limits
        },
        ..settings()
    };
    let mut t = Table::new(few(2, 10));
    t.register("bob", desk(), "desk");
    let mut calls = 0..;
    let mut call = |t: &mut Table| {
        let id = format!("call{}", calls.next().unwrap());
        let invite = request(Method::Invite, "alice", "bob", alice(), &id);
        t.receive(alice(), with_sdp(invite, &audio(alice())));
    };
    for _ in 0..2 {
        call(&mut t);
        t.request_to(desk(), Method::Invite);
    }
    call(&mut t);
    t.response_to(alice(), 500);
    t.reads_again(&few(3, 10));
    call(&mut t);
    t.request_to(desk(), Method::Invite);
    // Fewer than there are: these ring on.
    for (fewer, status) in [(few(1, 10), 500), (few(9, 2), 503)] {
        t.reads_again(&fewer);
        call(&mut t);
        t.response_to(alice(), status);
    }
    t.nothing_to(desk());
    assert_eq!(t.engine.list(9).len(), 3);
    // What sockets were made for stays as it was.
    let other = Settings {
        limits: LimitSettings {
            message_size: 7,
            ..few(5, 10).limits
        },
        ..few(5, 10)
    };
    t.reads_again(&other);
    let now = &t.engine.settings().limits;
    assert_eq!(
        (now.message_size, now.ringing),
        (settings().limits.message_size, 5)
    );
}

#[test]
fn numbers_of_users_are_read_again_and_those_of_users_to_come_wait() {
    let number = |number: &str, user: Aor| Settings {
        numbers: [(number.into(), user)].into(),
        ..guarded()
    };
    let mut t = Table::new(number("+4930111", bob()));
    t.signs_on("bob", desk(), "desk");
    let dials = |t: &mut Table, dialled: &str, call_id: &str| {
        let call = invite("alice", dialled, gateway(), call_id);
        t.receive(gateway(), call);
        t.waiting(desk(), &Method::Invite)
    };
    assert!(dials(&mut t, "+4930111", "call1").is_some());
    t.reads_again(&number("+4930222", bob()));
    assert!(dials(&mut t, "+4930111", "call2").is_none());
    assert!(dials(&mut t, "+4930222", "call3").is_some());
    // A file that names nobody leaves those of the first start theirs.
    let nobody = Settings {
        users: Default::default(),
        numbers: Default::default(),
        ..guarded()
    };
    t.reads_again(&nobody);
    assert!(dials(&mut t, "+4930222", "call4").is_some());
    t.reads_again(&number(
        "+4930333",
        Aor::from_canonical("sip:new@example.org"),
    ));
    t.discard(trunk());
    assert!(dials(&mut t, "+4930333", "call5").is_none());
    assert!(t.waiting(trunk(), &Method::Invite).is_some(), "as before");
}
