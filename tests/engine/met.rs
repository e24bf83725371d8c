//! Two phones here are in a call that goes through a PBX, and each half of it has lost the PBX: they go on with one
//! another.

use refork::engine::events::{Ending, Happening};
use refork::sip::Method;

use crate::halves::*;
use crate::people::*;
use crate::table::*;

/// Nobody rings, and nobody is told of anything: the two go on with one another.
fn goes_on_past_it(mut house: House, mut caller: Remote) {
    let rings = |what: &Happening| matches!(what, Happening::Reinvited { .. });
    assert_eq!((house.lost(), house.t.happened(rings)), (2, 0));
    assert_eq!(house.told, []);
    let same = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
    assert_eq!((house.t.happened(same), house.ended()), (1, 1));
    house.t.receive(alice(), caller.message("still there"));
    house.lives(1);
    house.t.receive(alice(), caller.request(Method::Bye).end());
    house.lives(1);
    assert_eq!(house.told(desk()), ["MESSAGE still there", "BYE"]);
    assert_eq!(house.told.len(), 2);
    assert_eq!(house.ended(), 2);
}

#[test]
fn a_call_that_the_pbx_has_forgotten_goes_on_past_it_and_nobody_rings() {
    for two in [false, true] {
        for first in [None, Some(alice()), Some(desk())] {
            let table = match two {
                true => Table::of_two_workers(probed()),
                false => Table::new(probed()),
            };
            let (mut house, mut caller) = House::quiet_within(table);
            house.anew = true;
            // Whose half hears of it first.
            if let Some(at) = first {
                let invite = house.invite.clone().unwrap();
                let mut callee = Remote::of_invite(&invite, desk(), "b1");
                let who = if at == alice() {
                    &mut caller
                } else {
                    &mut callee
                };
                let info = who.request(Method::Info).end();
                house.t.receive(at, info);
            }
            house.lives(45);
            goes_on_past_it(house, caller);
        }
    }
}

#[test]
fn a_call_whose_pbx_stays_away_goes_on_past_it_and_nobody_rings() {
    let (mut house, caller) = House::quiet(probed());
    house.away = true;
    house.lives(360);
    goes_on_past_it(house, caller);
}

/// What was accepted of either is told to the other, once.
#[test]
fn texts_to_one_another_outlive_a_pbx_that_stays_away() {
    let (mut house, mut caller) = House::texting(probed());
    let invite = house.invite.clone().unwrap();
    let mut callee = Remote::of_invite(&invite, desk(), "b1");
    house.away = true;
    house.t.receive(alice(), caller.message("from alice"));
    house.t.receive(desk(), callee.message("from bob"));
    house.lives(5);
    house.t.receive(desk(), callee.message("once more"));
    house.lives(360);
    assert_eq!(
        house.told(alice()),
        ["MESSAGE from bob", "MESSAGE once more"]
    );
    assert_eq!(house.told(desk()), ["MESSAGE from alice"]);
    let undelivered = |what: &Happening| {
        matches!(
            what,
            Happening::Ended {
                undelivered: 1..,
                ..
            }
        )
    };
    assert_eq!((house.ended(), house.t.happened(undelivered)), (1, 0));
}

/// The phone does not agree to go on with the other one: then all are called, as ever.
#[test]
fn a_phone_that_does_not_agree_is_called_as_ever() {
    let (mut house, _) = House::quiet_within(Table::new(probed()));
    house.anew = true;
    house.refuses = Some(desk());
    house.lives(60);
    // It was asked within its dialog first.
    assert_eq!(house.offered[0], (desk(), true));
    assert_eq!(house.told(desk())[..1], ["INVITE"]);
    house.refuses = None;
    house.lives(20);
    let restored = |what: &Happening| matches!(what, Happening::Restored { .. });
    assert!(house.t.happened(restored) > 0);
}

/// Who hangs up is not called once more by the other half.
#[test]
fn who_hangs_up_before_the_halves_have_met_does_so_for_both() {
    for (at, other) in [(alice(), desk()), (desk(), alice())] {
        for tenths in [0, 8, 12, 30] {
            let (mut house, mut caller) = House::quiet_within(Table::new(probed()));
            let invite = house.invite.clone().unwrap();
            let mut callee = Remote::of_invite(&invite, desk(), "b1");
            house.anew = true;
            let info = caller.request(Method::Info).end();
            house.t.receive(alice(), info);
            let info = callee.request(Method::Info).end();
            house.t.receive(desk(), info);
            (0..tenths).for_each(|_| house.tenth());
            let who = if at == alice() {
                &mut caller
            } else {
                &mut callee
            };
            let bye = who.request(Method::Bye).end();
            house.t.receive(at, bye);
            house.lives(60);
            let wanted = if tenths == 0 {
                vec![]
            } else {
                vec![(other, "BYE".into())]
            };
            assert!(
                tenths == 0 || house.told == wanted,
                "{at} {tenths} {:?}",
                house.told
            );
            assert!(tenths == 0 || house.ended() == 2, "{at} {tenths}");
        }
    }
}

/// The same users, in two calls with one another: which halves belong together is not known before two are left.
#[test]
fn two_calls_of_the_same_users_are_not_mixed_up() {
    let (mut house, _) = House::quiet_within(Table::new(probed()));
    house.calls_once_more();
    house.anew = true;
    house.lives(45);
    let same = |what: &Happening| {
        matches!(
            what,
            Happening::Ended {
                how: Ending::Joined,
                ..
            }
        )
    };
    assert_eq!(house.lost(), 4);
    assert!(house.t.happened(same) < 2);
}

#[test]
fn a_restart_in_the_middle_leaves_no_phone_without_the_other() {
    // From before they ask one another to after they have met.
    for tenths in (0..60).step_by(3) {
        let (mut house, mut caller) = House::quiet_within(Table::new(probed()));
        house.anew = true;
        let info = caller.request(Method::Info).end();
        house.t.receive(alice(), info);
        // The phone answers once we are back.
        house.refuses_to_answer = Some(desk());
        (0..tenths).for_each(|_| house.tenth());
        house.refuses_to_answer = None;
        house.t.restart();
        house.lives(60);
        assert_eq!(house.told, [], "{tenths}");
        assert_eq!(house.t.engine.conversations(), 1, "{tenths}");
        house.t.receive(alice(), caller.request(Method::Bye).end());
        house.lives(1);
        assert_eq!(house.told(desk()), ["BYE"], "{tenths}");
    }
}
