//! Endpoints of one user that reach us at different addresses: each is offered ports that it can reach.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use refork::engine::events::{Ending, GaveUp, Happening};
use refork::engine::ids::Side;
use refork::engine::ports::{Generation, Input, MediaCommand, MediaEvent};
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::table::*;

/// Bob's phone that speaks IPv6 only.
fn six() -> SocketAddr {
    phone("[2001:db8::6]:5060")
}

/// What the IPv6 phone offers or answers.
fn audio_six() -> String {
    audio(six()).replace("IP4", "IP6")
}

/// Bob has an IPv4 desk phone and an IPv6 one.
fn mixed() -> Table {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", six(), "six");
    t
}

/// Returns the generations of the callee's side that the relay keeps ports for.
fn standing(t: &Table) -> BTreeSet<Generation> {
    let mut standing = BTreeSet::new();
    for command in &t.media {
        match command {
            MediaCommand::Open {
                side: Side::Callee,
                generation,
                ..
            } => {
                standing.insert(*generation);
            }
            MediaCommand::Configure {
                side: Side::Callee,
                generation,
                ..
            } => {
                assert!(standing.contains(generation), "configured, but not open");
                standing = standing.split_off(generation);
            }
            MediaCommand::CloseSide {
                side: Side::Callee,
                generation,
                ..
            } => {
                standing.remove(generation);
            }
            MediaCommand::Close { .. } => standing.clear(),
            _ => {}
        }
    }
    standing
}

/// Returns the generation of the callee's side that was configured last.
fn live(t: &Table) -> Generation {
    let configured = |command: &MediaCommand| match command {
        MediaCommand::Configure {
            side: Side::Callee,
            generation,
            ..
        } => Some(*generation),
        _ => None,
    };
    t.media.iter().rev().find_map(configured).unwrap()
}

fn opened(t: &Table) -> usize {
    let is = |command: &&MediaCommand| {
        matches!(
            command,
            MediaCommand::Open {
                side: Side::Callee,
                ..
            }
        )
    };
    t.media.iter().filter(is).count()
}

#[track_caller]
fn offers(invite: &Message, address: &str) {
    let offer = text(invite);
    assert!(
        offer.contains(&format!("c=IN {address}\r\n")) && !offer.contains("m=audio 0 "),
        "{offer}"
    );
}

const V4: &str = "IP4 192.0.2.1";
const V6: &str = "IP6 2001:db8::1";

fn both_ring(t: &mut Table) -> (Message, Message) {
    t.alice_invites(&audio(alice()));
    let four = t.request_to(desk(), Method::Invite);
    let six = t.request_to(six(), Method::Invite);
    offers(&four, V4);
    offers(&six, V6);
    for (invite, at) in [(&four, desk()), (&six, self::six())] {
        t.reply(invite, 180, at);
        t.response_to(alice(), 180);
    }
    (four, six)
}

/// Another phone took the call: this one stops ringing.
#[track_caller]
fn stops(t: &mut Table, invite: &Message, at: SocketAddr) {
    let cancel = t.request_to(at, Method::Cancel);
    t.reply(&cancel, 200, at);
    t.reply(invite, 487, at);
    t.request_to(at, Method::Ack);
    t.nothing_to(at);
}

#[track_caller]
fn is_taken(t: &mut Table, invite: &Message, at: SocketAddr, answer: &str) {
    t.receive(at, with_sdp(response(invite, 200, at, "w1"), answer));
    t.request_to(at, Method::Ack);
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("c=IN IP4 192.0.2.1\r\n"));
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    assert_eq!(standing(t), BTreeSet::from([live(t)]));
}

#[test]
fn the_ipv6_phone_takes_the_call() {
    let mut t = mixed();
    let (other, invite) = both_ring(&mut t);
    assert_eq!(standing(&t).len(), 2);
    is_taken(&mut t, &invite, six(), &audio_six());
    assert_eq!(live(&t), 1);
    stops(&mut t, &other, desk());
}

#[test]
fn the_ipv4_phone_takes_the_call() {
    let mut t = mixed();
    let (invite, other) = both_ring(&mut t);
    is_taken(&mut t, &invite, desk(), &audio(desk()));
    assert_eq!(live(&t), 0);
    stops(&mut t, &other, six());
}

#[test]
fn phones_that_share_an_address_share_their_ports() {
    let mut t = two();
    t.established();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    assert_eq!(opened(&t), 2, "one set for the call, one for the re-fork");
    let closed = |command: &MediaCommand| matches!(command, MediaCommand::CloseSide { .. });
    assert!(!t.media.iter().any(closed));
}

#[test]
fn a_phone_in_the_lan_is_offered_the_address_there() {
    let near = phone("10.0.0.7:5060");
    for (everywhere, sets) in [(None, 2), (Some("192.0.2.1".parse().unwrap()), 1)] {
        let mut settings = settings();
        settings.media.address = everywhere;
        let mut t = Table::new(settings);
        t.register("bob", desk(), "desk");
        t.register("bob", near, "near");
        t.alice_invites(&audio(alice()));
        offers(&t.request_to(desk(), Method::Invite), V4);
        let invite = t.request_to(near, Method::Invite);
        offers(&invite, if sets == 2 { "IP4 10.0.0.1" } else { V4 });
        assert_eq!(opened(&t), sets);
        is_taken(&mut t, &invite, near, &audio(near));
    }
}

#[test]
fn the_relay_is_told_which_address_each_peer_reaches() {
    let lan = phone("10.0.0.7:5060");
    let mut t = Table::new(settings());
    t.register("bob", lan, "desk");
    t.alice_invites(&audio(alice()));
    t.request_to(lan, Method::Invite);
    let mut told = Vec::new();
    for command in &t.media {
        if let MediaCommand::Open { side, told: ip, .. } = command {
            told.push((*side, ip.unwrap()));
        }
    }
    told.sort();
    let [outer, inner] = [alice(), lan].map(|peer| ours(peer.ip()).ip());
    assert_eq!(told, [(Side::Caller, outer), (Side::Callee, inner)]);
}

#[test]
fn a_phone_heard_early_takes_no_ports_from_the_others() {
    let mut t = mixed();
    let (four, invite) = both_ring(&mut t);
    t.receive(
        six(),
        with_sdp(response(&invite, 183, six(), "e1"), &audio_six()),
    );
    assert_eq!(text(&t.response_to(alice(), 183)), "");
    assert_eq!(standing(&t).len(), 2);
    t.reply(&four, 486, desk());
    t.request_to(desk(), Method::Ack);
    // Nobody needs the others any more.
    t.receive(
        six(),
        with_sdp(response(&invite, 183, six(), "e1"), &audio_six()),
    );
    assert!(text(&t.response_to(alice(), 183)).contains("m=audio"));
    assert_eq!(standing(&t), BTreeSet::from([1]));
    t.receive(
        six(),
        with_sdp(response(&invite, 200, six(), "e1"), &audio_six()),
    );
    t.response_to(alice(), 200);
    assert_eq!((live(&t), standing(&t)), (1, BTreeSet::from([1])));
}

#[test]
fn a_phone_heard_early_loses_to_one_at_another_address() {
    let mut t = mixed();
    let (four, invite) = both_ring(&mut t);
    t.receive(
        desk(),
        with_sdp(response(&four, 183, desk(), "e1"), &audio(desk())),
    );
    assert!(text(&t.response_to(alice(), 183)).contains("m=audio"));
    assert_eq!((live(&t), standing(&t).len()), (0, 2));
    t.receive(
        six(),
        with_sdp(response(&invite, 200, six(), "w1"), &audio_six()),
    );
    t.response_to(alice(), 200);
    assert_eq!((live(&t), standing(&t)), (1, BTreeSet::from([1])));
}

#[test]
fn a_phone_that_speaks_at_another_address_is_heard_once_who_is_heard_ends() {
    let mut t = mixed();
    let (four, invite) = both_ring(&mut t);
    let early = with_sdp(response(&four, 183, desk(), "e1"), &audio(desk()));
    t.receive(desk(), early);
    t.response_to(alice(), 183);
    let early = with_sdp(response(&invite, 183, six(), "w1"), &audio_six());
    t.receive(six(), early);
    t.response_to(alice(), 183);
    assert_eq!((live(&t), standing(&t).len()), (0, 2));
    t.reply(&four, 486, desk());
    assert_eq!((live(&t), standing(&t)), (1, BTreeSet::from([1])));
}

#[test]
fn without_ports_in_one_family_the_other_rings() {
    for (none, rings, silent, address) in [
        (
            (|ip| ip.is_ipv6()) as fn(std::net::IpAddr) -> bool,
            desk(),
            six(),
            V4,
        ),
        (|ip| ip == desk().ip(), six(), desk(), V6),
    ] {
        let mut t = mixed();
        t.no_ports = none;
        t.alice_invites(&audio(alice()));
        let invite = t.request_to(rings, Method::Invite);
        offers(&invite, address);
        t.nothing_to(silent);
        let answer = if rings == six() {
            audio_six()
        } else {
            audio(rings)
        };
        t.receive(
            rings,
            with_sdp(response(&invite, 200, rings, "w1"), &answer),
        );
        t.request_to(rings, Method::Ack);
        t.response_to(alice(), 200);
        let refused = |what: &Happening| matches!(what, Happening::Refused { status: 503, .. });
        assert_eq!(t.happened(refused), 1);
    }
}

#[test]
fn without_any_ports_the_caller_is_refused() {
    let mut t = mixed();
    t.no_ports = |ip| ip != alice().ip();
    t.alice_invites(&audio(alice()));
    // The server is not down: what needs no ports goes on.
    let refused = t.response_to(alice(), 500);
    assert_eq!(refused.header(Name::RetryAfter), Some("2"));
    let reason = refused.header(Name::Reason).unwrap();
    assert!(reason.starts_with("Q.850;cause=34;"), "{reason}");
    t.nothing_to(desk());
    t.nothing_to(six());
    let how = Ending::Gave(GaveUp::NoMediaPorts);
    let ended = |what: &Happening| matches!(what, Happening::Ended { how: as_, .. } if *as_ == how);
    assert_eq!(t.happened(ended), 1);
    assert_eq!(standing(&t), BTreeSet::new());
}

#[test]
fn a_cancel_gives_all_ports_back() {
    let mut t = mixed();
    both_ring(&mut t);
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1").end();
    let cancel = String::from_utf8_lossy(&invite).replace("INVITE sip", "CANCEL sip");
    let cancel = cancel.replace("1 INVITE", "1 CANCEL");
    t.receive(alice(), cancel.into());
    t.response_to(alice(), 200);
    t.response_to(alice(), 487);
    t.request_to(desk(), Method::Cancel);
    t.request_to(six(), Method::Cancel);
    assert_eq!(standing(&t), BTreeSet::new());
}

#[test]
fn an_answer_that_comes_before_the_other_ports_leaves_none() {
    let mut t = mixed();
    t.relay_waits = true;
    t.alice_invites(&audio(alice()));
    t.nothing_to(desk());
    let asked: Vec<_> = t.media.clone();
    assert_eq!(asked.len(), 3);
    let open = |t: &mut Table, command: &MediaCommand| {
        let MediaCommand::Open {
            media,
            side,
            generation,
            toward,
            ..
        } = command
        else {
            panic!("{command:?}");
        };
        t.input(Input::Media(MediaEvent::Opened {
            media: *media,
            side: *side,
            generation: *generation,
            result: Some(vec![ours(*toward)]),
        }));
    };
    open(&mut t, &asked[0]);
    open(&mut t, &asked[1]);
    let invite = t.request_to(desk(), Method::Invite);
    t.nothing_to(six());
    is_taken(&mut t, &invite, desk(), &audio(desk()));
    open(&mut t, &asked[2]);
    t.nothing_to(six());
    assert_eq!((live(&t), standing(&t)), (0, BTreeSet::from([0])));
}

/// Alice talks to Bob's desk phone; the IPv6 one rang, too.
fn talking() -> (Table, Remote) {
    let mut t = mixed();
    let (invite, other) = both_ring(&mut t);
    is_taken(&mut t, &invite, desk(), &audio(desk()));
    stops(&mut t, &other, six());
    (t, Remote::of_invite(&invite, desk(), "w1"))
}

/// The desk phone is lost; the IPv6 phone is asked, too.
fn lost() -> (Table, Message, Message) {
    let (mut t, _) = talking();
    let (again, other) = both_are_asked(&mut t);
    (t, again, other)
}

fn both_are_asked(t: &mut Table) -> (Message, Message) {
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    t.pass(Millis(2_100));
    t.discard(desk());
    let other = t.request_to(six(), Method::Invite);
    offers(&again, V4);
    offers(&other, V6);
    t.discard(alice());
    (again, other)
}

#[test]
fn a_phone_that_repairs_its_dialog_keeps_its_ports_alone() {
    let (mut t, mut dialog) = talking();
    both_are_asked(&mut t);
    assert_eq!(standing(&t).len(), 3);
    let anew = dialog.request(Method::Invite);
    t.receive(desk(), with_sdp(anew, &audio(desk())));
    assert_eq!((live(&t), standing(&t)), (0, BTreeSet::from([0])));
}

#[test]
fn the_call_goes_on_at_the_ipv6_phone_and_the_survivor_gets_one_word() {
    let (mut t, _, invite) = lost();
    assert_eq!(standing(&t).len(), 3, "the lost phone's, and two");
    t.receive(
        six(),
        with_sdp(response(&invite, 200, six(), "n1"), &audio_six()),
    );
    t.request_to(six(), Method::Ack);
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.nothing_to(alice());
    assert_eq!(standing(&t), BTreeSet::from([live(&t)]));
}

#[test]
fn the_lost_phone_answers_after_all_and_the_others_ports_go() {
    let (mut t, invite, _) = lost();
    t.receive(
        desk(),
        with_sdp(response(&invite, 200, desk(), "n1"), &audio(desk())),
    );
    t.nothing_to(alice());
    assert_eq!(standing(&t), BTreeSet::from([live(&t)]));
}

#[test]
fn after_a_restart_both_ring_on_with_the_ports_they_know() {
    let (mut t, _, invite) = lost();
    let before = standing(&t);
    t.media.clear();
    t.restart();
    t.discard(desk());
    assert_eq!(standing(&t), before);
    let again = t.request_to(six(), Method::Invite);
    assert_eq!(again.body(), invite.body());
    t.receive(
        six(),
        with_sdp(response(&again, 200, six(), "n1"), &audio_six()),
    );
    t.request_to(six(), Method::Ack);
    assert_eq!(standing(&t), BTreeSet::from([live(&t)]));
}

#[test]
fn a_re_fork_without_ports_in_one_family_goes_on_in_the_other() {
    let (mut t, _) = talking();
    t.no_ports = |ip| ip.is_ipv6();
    t.bob_is_lost();
    let again = t.request_to(desk(), Method::Invite);
    t.pass(Millis(2_100));
    t.nothing_to(six());
    // It is tried again, and with other ports.
    t.no_ports = |_| false;
    t.pass(Millis(10_000));
    let other = t.request_to(six(), Method::Invite);
    offers(&again, V4);
    offers(&other, V6);
}

#[test]
fn rounds_without_an_answer_take_no_more_ports() {
    let (mut t, again, other) = lost();
    let before = opened(&t);
    t.reply(&again, 503, desk());
    t.reply(&other, 503, six());
    t.discard(desk());
    t.discard(six());
    t.pass(Millis(5_000));
    t.request_to(desk(), Method::Invite);
    t.request_to(six(), Method::Invite);
    assert_eq!(opened(&t), before);
}
