//! Signs of loss: what is one, what only looks like one.

use std::net::SocketAddr;

use refork::engine::events::{Happening, Signal};
use refork::engine::ids::Side;
use refork::engine::ports::{Input, MediaCommand, MediaEvent};
use refork::engine::settings::Settings;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::admission::instead;
use crate::people::*;
use crate::table::*;

impl Table {
    pub fn media_event(
        &mut self,
        event: impl Fn(refork::engine::ids::ConversationId) -> MediaEvent,
    ) {
        let id = self.engine.list(1)[0].key;
        self.input(Input::Media(event(id)));
    }

    pub fn losses(&self) -> Vec<Signal> {
        self.history()
            .into_iter()
            .filter_map(|what| match what {
                Happening::Lost { signal, .. } => Some(*signal),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn a_481_is_loss_and_the_survivor_hears_nothing_of_it() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(
        alice(),
        a.request(Method::Info)
            .body("application/dtmf-relay", b"Signal=1\r\n"),
    );
    let info = t.request_to(desk(), Method::Info);
    t.knows_no_call(&info, desk());
    assert_eq!(t.losses(), [Signal::RequestFailed]);
    // A digit that was not taken ends nothing.
    t.response_to(alice(), 488);
    t.nothing_to(alice());
}

#[test]
fn silence_asks_and_a_living_phone_answers() {
    for (status, losses) in [(200, 0), (405, 0), (501, 0)] {
        let mut t = Table::new(settings());
        t.established();
        t.media_event(|media| MediaEvent::Silent {
            media,
            side: Side::Callee,
        });
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, status, desk());
        // The device is there; whether it knows of the call, its dialog says.
        t.pass(Millis(5_100));
        let update = t.request_to(desk(), Method::Update);
        t.reply(&update, 200, desk());
        assert_eq!(t.losses().len(), losses, "{status}");
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Alive { .. })),
            1
        );
        // The same sign again is left alone for a while, and then looked at.
        t.media_event(|media| MediaEvent::Silent {
            media,
            side: Side::Callee,
        });
        t.nothing_to(desk());
        t.pass(Millis(30_100));
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Suspected { .. })),
            2
        );
    }
}

#[test]
fn silence_without_an_answer_is_loss_after_two_tries() {
    let mut t = Table::new(settings());
    t.established();
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Callee,
    });
    t.pass(Millis(7_900));
    assert!(t.losses().is_empty());
    t.pass(Millis(200));
    assert_eq!(t.losses(), [Signal::Silence]);
    t.nothing_to(alice());
}

#[test]
fn a_silent_phone_whose_media_port_is_closed_is_asked_once() {
    for lives in [false, true] {
        let mut t = Table::new(settings());
        t.established();
        let side = Side::Callee;
        t.media_event(|media| MediaEvent::Silent { media, side });
        let probe = t.request_to(desk(), Method::Options);
        t.pass(Millis(1_000));
        t.media_event(|media| MediaEvent::Unreachable { media, side });
        t.pass(Millis(2_900));
        assert!(t.losses().is_empty());
        if lives {
            t.reply(&probe, 200, desk());
        }
        t.pass(Millis(200));
        let lost: &[Signal] = if lives { &[] } else { &[Signal::Silence] };
        assert_eq!(t.losses(), lost);
    }
}

#[test]
fn a_probe_that_denies_the_dialog_is_settled_by_update() {
    for (status, lost) in [(200, false), (481, true), (500, false)] {
        let mut t = Table::new(settings());
        t.established();
        t.media_event(|media| MediaEvent::Silent {
            media,
            side: Side::Callee,
        });
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, 481, desk());
        let update = t.request_to(desk(), Method::Update);
        assert!(
            text(&update).contains("m=audio"),
            "it shows the session that stands"
        );
        t.reply(&update, status, desk());
        assert_eq!(!t.losses().is_empty(), lost, "{status}");
    }
}

#[test]
fn a_probe_that_denies_the_dialog_is_a_sign_of_its_own() {
    for (status, lost) in [(200, false), (481, true)] {
        let mut t = Table::new(settings());
        t.texting();
        t.pass(Millis::from_secs(15));
        let probe = t.request_to(desk(), Method::Options);
        t.reply(&probe, 481, desk());
        let suspected = |what: &Happening| {
            matches!(
                what,
                Happening::Suspected {
                    signal: Signal::ProbeRefused,
                    side: Side::Callee,
                    ..
                }
            )
        };
        assert_eq!(t.happened(suspected), 1);
        let update = t.request_to(desk(), Method::Update);
        let answer = response(&update, status, desk(), "b1");
        t.receive(
            desk(),
            if lost {
                answer.end()
            } else {
                with_sdp(answer, &text_sdp(desk()))
            },
        );
        let signals: &[Signal] = if lost { &[Signal::ProbeRefused] } else { &[] };
        assert_eq!(t.losses(), signals, "{status}");
    }
}

#[test]
fn a_rebooted_phone_at_another_port_is_found_lost_by_its_move() {
    let mut t = Table::new(settings());
    t.established();
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Callee,
    });
    // The same instance from another port: its dialog must be asked there.
    let again = phone("198.51.100.2:6000");
    t.register_again("bob", again, "desk", 2);
    let update = t.request_to(again, Method::Update);
    t.reply(&update, 481, again);
    assert_eq!(t.losses(), [Signal::Moved]);
    t.request_to(again, Method::Invite);
}

#[test]
fn a_phone_that_moved_with_its_dialog_goes_on_there() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let again = phone("203.0.113.9:6000");
    t.register_again("bob", again, "desk", 2);
    let update = t.request_to(again, Method::Update);
    assert!(update.uri().contains("203.0.113.9"));
    t.receive(
        again,
        with_sdp(
            response(&update, 200, again, "b1"),
            &sdp(again, 2, "sendrecv"),
        ),
    );
    assert!(t.losses().is_empty());
    t.receive(alice(), a.message("hello"));
    t.request_to(again, Method::Message);
    t.nothing_to(alice());
}

/// Bob has answered, and no copy of the 200 has come to Alice, of whom nothing is heard.
fn unacknowledged() -> (Table, Message) {
    let mut t = Table::new(settings());
    t.register("alice", alice(), "alice");
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(alice(), 200);
    t.pass(Millis::from_secs(3));
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Caller,
    });
    (t, ok)
}

#[test]
fn a_caller_that_has_not_acknowledged_is_not_asked_about_a_dialog_it_may_not_know() {
    for status in [200, 481] {
        let (mut t, ok) = unacknowledged();
        let probe = t.waiting(alice(), &Method::Options).unwrap();
        t.reply(&probe, status, alice());
        t.pass(Millis::from_secs(14));
        let asked = |method| t.waiting(alice(), &method).is_some();
        let asked = [Method::Options, Method::Update, Method::Invite].map(asked);
        assert_eq!(asked, [false; 3], "{status}");
        t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
        t.discard(alice());
        t.pass(Millis::from_secs(20));
        t.request_to(alice(), Method::Options);
        assert!(t.losses().is_empty());
    }
}

#[test]
fn a_caller_that_answers_and_does_not_acknowledge_is_lost_by_that() {
    let (mut t, _) = unacknowledged();
    for _ in 0..29 {
        if let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 481, alice());
        }
        assert!(t.losses().is_empty());
        t.pass(Millis::from_secs(1));
    }
    t.pass(Millis::from_secs(1));
    assert_eq!(t.losses(), [Signal::NoAck]);
}

#[test]
fn a_caller_that_is_lost_before_its_ack_is_sought_as_any_other() {
    let (mut t, _) = unacknowledged();
    t.pass(Millis(7_900));
    assert!(t.losses().is_empty());
    t.pass(Millis(200));
    assert_eq!(t.losses(), [Signal::Silence]);
    t.discard(alice());
    t.pass(Millis::from_secs(60));
    // The 200 that had no ACK is no second loss.
    assert_eq!(t.losses(), [Signal::Silence]);
}

#[test]
fn a_phone_whose_move_was_not_seen_is_found_by_its_registration() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    // It registered anew while nobody listened, as in a restart.
    let again = phone("203.0.113.9:6000");
    let binding = &mut t.site.bindings.get_mut(&bob()).unwrap()[0];
    binding.endpoint.flow = Some(flow(again));
    binding.endpoint.contact = format!("sip:bob@{again}").into();
    t.receive(alice(), a.message("hello"));
    t.request_to(desk(), Method::Message);
    t.pass(Millis(2_100));
    t.response_to(alice(), 202);
    t.discard(desk());
    let probe = t.request_to(again, Method::Options);
    t.reply(&probe, 200, again);
    let update = t.request_to(again, Method::Update);
    assert!(update.uri().contains("203.0.113.9"));
    t.receive(
        again,
        with_sdp(response(&update, 200, again, "b1"), &text_sdp(again)),
    );
    // Its text does not wait for the time-out of what went to the old place.
    let message = t.request_to(again, Method::Message);
    assert_eq!(text(&message), "hello");
    t.reply(&message, 200, again);
    assert!(t.losses().is_empty());
    t.nothing_to(alice());
}

#[test]
fn a_doubt_without_an_answer_does_not_block_offers_for_good() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    let again = phone("203.0.113.9:6000");
    t.register_again("bob", again, "desk", 2);
    t.request_to(again, Method::Update);
    t.receive(again, b.request(Method::Info).end());
    for _ in 0..8 {
        t.pass(Millis::from_secs(5));
        t.receive(again, b.request(Method::Info).end());
        while let Some(info) = t.waiting(alice(), &Method::Info) {
            t.reply(&info, 200, alice());
        }
    }
    assert!(t.losses().is_empty());
    t.discard(again);
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 2, "sendonly")),
    );
    t.nothing_to(alice());
    t.request_to(again, Method::Invite);
}

#[test]
fn icmp_while_media_flows_waits_for_the_grace() {
    let mut t = Table::new(settings());
    t.established();
    t.icmp(desk());
    // Probed at once, over the same flow; ICMP again says that nobody listens.
    t.request_to(desk(), Method::Options);
    t.icmp(desk());
    assert!(t.losses().is_empty(), "media still flows");
    t.pass(Millis(2_900));
    assert!(t.losses().is_empty());
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Callee,
    });
    assert_eq!(t.losses(), [Signal::Silence]);
}

#[test]
fn icmp_without_media_is_settled_at_once() {
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_silent();
    t.media_event(|media| MediaEvent::Unreachable {
        media,
        side: Side::Callee,
    });
    t.request_to(desk(), Method::Options);
    t.icmp(desk());
    assert_eq!(t.losses(), [Signal::Silence]);
}

#[test]
fn icmp_for_the_media_of_who_is_heard_on_is_no_loss() {
    // Its address has changed, and its media comes from the new one: nobody is at the old one.
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_heard();
    let side = Side::Callee;
    t.media_event(|media| MediaEvent::Unreachable { media, side });
    t.request_to(desk(), Method::Options);
    t.icmp(desk());
    t.pass(Millis(600));
    assert!(t.losses().is_empty(), "it may be heard on");
    t.desk_is_heard();
    let probe = t.waiting(desk(), &Method::Options);
    assert!(probe.is_none());
    t.pass(Millis::from_secs(10));
    assert!(t.losses().is_empty());
    // Once nothing comes it is asked as any other.
    t.desk_is_silent();
    t.request_to(desk(), Method::Options);
    t.icmp(desk());
    assert_eq!(t.losses(), [Signal::Silence]);
}

#[test]
fn icmp_for_the_media_of_who_is_not_heard_on_is_a_loss_in_a_moment() {
    for other_before in [false, true] {
        let mut t = Table::new(settings());
        t.established();
        t.desk_is_heard();
        if other_before {
            t.icmp(desk());
            t.request_to(desk(), Method::Options);
            t.icmp(desk());
            t.pass(Millis::from_secs(2));
        }
        let side = Side::Callee;
        t.media_event(|media| MediaEvent::Unreachable { media, side });
        t.icmp(desk());
        t.pass(Millis(600));
        assert!(t.losses().is_empty());
        t.pass(Millis(200));
        assert_eq!(t.losses().len(), 1);
        t.nothing_to(alice());
    }
}

#[test]
fn a_phone_that_hangs_up_since_its_answer_was_never_acknowledged_is_sought() {
    for (heard_at, lost) in [(32, true), (9, false)] {
        let mut t = two();
        t.alice_invites(&audio(alice()));
        let invite = t.request_to(desk(), Method::Invite);
        let ok = with_sdp(answer_to(&invite), &audio(desk()));
        // It sends that until it has the ACK, which is lost on the way.
        for second in 0..heard_at {
            t.receive(desk(), ok.clone());
            t.pass(Millis::from_secs(1));
            if second == 0 {
                let ok = t.response_to(alice(), 200);
                t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
            }
        }
        t.discard(desk());
        let mut b = Remote::of_invite(&invite, desk(), "b1");
        t.pass(Millis::from_secs(1));
        t.receive(desk(), b.request(Method::Bye).end());
        let losses: &[Signal] = if lost { &[Signal::NoAck] } else { &[] };
        assert_eq!(t.losses(), losses);
        assert_eq!(t.waiting(alice(), &Method::Bye).is_some(), !lost);
        assert_eq!(t.waiting(desk(), &Method::Invite).is_some(), lost);
    }
}

/// What ICMP quotes of the probe that is out.
type Quoted = fn(&Message) -> Vec<u8>;

/// Of Bob's desk phone, which says nothing: how long it takes to lose it, where ICMP comes so often.
fn lost_after(quoted: Quoted, every: Millis, media_too: bool) -> Millis {
    let mut t = Table::new(settings());
    t.established();
    t.desk_is_silent();
    let mut probe = t.request_to(desk(), Method::Options);
    let began = t.now;
    while t.losses().is_empty() {
        assert!(t.now.since(began) < Millis::from_secs(60), "never");
        t.icmp_quoting(desk(), &quoted(&probe));
        if media_too {
            t.media_event(|media| MediaEvent::Unreachable {
                media,
                side: Side::Callee,
            });
        }
        if t.losses().is_empty() {
            t.pass(every);
        }
        while let Some(next) = t.waiting(desk(), &Method::Options) {
            probe = next;
        }
    }
    t.now.since(began)
}

#[test]
fn icmp_settles_what_it_proves_and_hurries_what_it_says_without_proof() {
    let whole = |probe: &Message| probe.bytes().to_vec();
    let nothing = |_: &Message| Vec::new();
    let eight = |probe: &Message| probe.bytes()[..8].to_vec();
    let cut = |probe: &Message| {
        let text = probe.bytes();
        let at = memchr::memmem::find(text, b"branch=").unwrap();
        text[..at + 20].to_vec()
    };
    let other = |probe: &Message| {
        let text = String::from_utf8(probe.bytes().to_vec()).unwrap();
        let branch = probe.branch().unwrap();
        text.replace(branch, &format!("{}x", &branch[..branch.len() - 1]))
            .into_bytes()
    };
    let another_method = |probe: &Message| {
        let text = String::from_utf8(probe.bytes().to_vec()).unwrap();
        text.replace("OPTIONS", "MESSAGE").into_bytes()
    };
    let cases: [(&str, Quoted, Millis); 6] = [
        ("the probe", whole, Millis(0)),
        ("nothing", nothing, Millis(2_000)),
        ("eight octets", eight, Millis(2_000)),
        ("half of its branch", cut, Millis(2_000)),
        ("another branch", other, Millis(8_000)),
        ("another request", another_method, Millis(8_000)),
    ];
    for (what, quoted, after) in cases {
        // However many come, they do no more than one.
        for every in [Millis(10), Millis(500)] {
            assert_eq!(lost_after(quoted, every, false), after, "{what} {every:?}");
        }
    }
    // Nor does that for its media with it.
    assert_eq!(lost_after(nothing, Millis(10), true), Millis(2_000));
}

#[test]
fn a_spray_of_forged_icmp_harms_nobody() {
    for session in [false, true] {
        let mut t = Table::new(settings());
        if session {
            t.texting();
        } else {
            t.established();
        }
        let mut asked = 0;
        // A hundred a second for a minute, and the phone's round trip is longer than their pause.
        for _ in 0..600 {
            let probe = t.waiting(desk(), &Method::Options);
            for _ in 0..10 {
                t.icmp_quoting(desk(), b"");
                t.pass(Millis(10));
            }
            while let Some(probe) = t.waiting(alice(), &Method::Options) {
                t.reply(&probe, 200, alice());
            }
            if let Some(probe) = probe {
                asked += 1;
                t.reply(&probe, 200, desk());
            }
        }
        assert!(t.losses().is_empty());
        assert!((2..=6).contains(&asked), "{asked}");
        t.nothing_to(mobile());
    }
}

#[test]
fn what_is_carried_or_rings_does_not_fail_by_forged_icmp() {
    let mut t = two();
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.icmp_quoting(desk(), b"");
    t.reply(&invite, 180, desk());
    t.response_to(alice(), 180);
    t.icmp_quoting(desk(), b"");
    let probe = t.request_to(desk(), Method::Options);
    t.icmp_quoting(desk(), b"");
    t.reply(&probe, 200, desk());
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    t.request_to(desk(), Method::Ack);
    t.receive(alice(), a.request(Method::Info).end());
    let carried = t.request_to(desk(), Method::Info);
    t.icmp_quoting(desk(), b"");
    t.reply(&carried, 200, desk());
    t.response_to(alice(), 200);
    assert!(t.losses().is_empty());
}

#[test]
fn an_invite_that_nobody_takes_fails_with_its_third_copy_where_icmp_quotes_too_little() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    for pause in [0, 500] {
        t.pass(Millis(pause));
        t.request_to(desk(), Method::Invite);
        t.icmp_quoting(desk(), b"");
        assert_eq!(t.engine.list(2).len(), 1, "it may be forged");
    }
    t.pass(Millis(1_000));
    t.request_to(desk(), Method::Invite);
    t.discard(alice());
    t.icmp_quoting(desk(), b"");
    t.response_to(alice(), 480);
}

/// Alice calls from a TCP connection, her Contact as given; she and Bob's desk phone talk.
fn over_tcp(from: SocketAddr, contact: SocketAddr, offer: &str, answer: &str) -> (Table, Remote) {
    over_tcp_by(settings(), from, contact, offer, answer)
}

fn over_tcp_by(
    settings: Settings,
    from: SocketAddr,
    contact: SocketAddr,
    offer: &str,
    answer: &str,
) -> (Table, Remote) {
    let mut t = Table::new(settings);
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", contact, "call1");
    t.receive_over(tcp(from, 7), with_sdp(invite, offer));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), answer));
    let ok = t.response_to(from, 200);
    let a = Remote::of_answer(&ok, from);
    t.receive_over(tcp(from, 7), a.ack(1));
    t.discard(desk());
    (t, a)
}

#[test]
fn a_closed_connection_of_a_talking_phone_is_no_loss() {
    // An idle connection is closed, as Kamailio does after two minutes; the media goes on. The phone
    // behind a NAT cannot be asked, another may be asked at its Contact, and a firewall keep that away.
    for (contact, answers) in [
        (alice(), true),
        (alice(), false),
        (phone("10.0.0.1:5060"), false),
    ] {
        let from = phone("198.51.100.1:49152");
        let (mut t, _) = over_tcp(
            from,
            contact,
            &sdp(alice(), 1, "sendrecv"),
            &sdp(desk(), 1, "sendrecv"),
        );
        let media = t.engine.list(1)[0].key;
        t.input(Input::Media(MediaEvent::Flowing {
            media,
            side: Side::Caller,
        }));
        t.closed(from, 7);
        t.pass(Millis::from_secs(4));
        let probe = t.waiting(alice(), &Method::Options);
        assert_eq!(probe.is_some(), contact == alice());
        if let Some(probe) = probe.filter(|_| answers) {
            t.receive_over(tcp(alice(), 8), response(&probe, 200, alice(), "x1").end());
        }
        t.pass(Millis::from_secs(60));
        assert!(t.losses().is_empty());
        t.nothing_to(from);
        assert_eq!(
            t.happened(|what| matches!(what, Happening::Alive { .. })),
            1
        );
        // Once the media stops, a phone that cannot be asked is lost.
        t.discard(alice());
        t.input(Input::Media(MediaEvent::Silent {
            media,
            side: Side::Caller,
        }));
        t.pass(Millis::from_secs(40));
        assert_eq!(t.losses().len(), 1);
    }
}

#[test]
fn a_closed_connection_is_a_loss_where_nobody_watches_the_media() {
    let mut wishes = settings();
    wishes.detect.media_silence = None;
    // Behind a NAT: it may register in its grace, and cannot be asked.
    let (from, contact) = (phone("198.51.100.1:49152"), phone("10.0.0.1:5060"));
    let sessions = [sdp(alice(), 1, "sendrecv"), sdp(desk(), 1, "sendrecv")];
    let (mut t, _) = over_tcp_by(wishes, from, contact, &sessions[0], &sessions[1]);
    let media = t.engine.list(1)[0].key;
    t.input(Input::Media(MediaEvent::Flowing {
        media,
        side: Side::Caller,
    }));
    t.closed(from, 7);
    t.pass(Millis::from_secs(4));
    assert!(t.losses().is_empty());
    t.pass(Millis::from_secs(2));
    assert_eq!(t.losses(), [Signal::Transport]);
    t.nothing_to(desk());
}

#[test]
fn what_follows_a_closed_connection_takes_the_one_that_was_answered_over() {
    let from = phone("198.51.100.1:49152");
    let (mut t, _) = over_tcp(from, alice(), &text_sdp(alice()), &text_sdp(desk()));
    t.closed(from, 7);
    let probe = t.request_to(alice(), Method::Options);
    t.receive_over(tcp(alice(), 8), response(&probe, 200, alice(), "x1").end());
    assert!(t.losses().is_empty());
    t.closed(alice(), 8);
    t.request_to(alice(), Method::Options);
    t.nothing_to(from);
}

#[test]
fn a_text_session_on_a_closed_connection_that_cannot_be_opened_is_restored_at_once() {
    // Behind a NAT nobody opens one; elsewhere it is tried, and refused.
    for (contact, asked) in [(phone("10.0.0.1:5060"), 0), (alice(), 1)] {
        let from = phone("198.51.100.1:49152");
        let (mut t, _) = over_tcp(from, contact, &text_sdp(alice()), &text_sdp(desk()));
        t.closed(from, 7);
        assert_eq!(t.discard(alice()), asked);
        if asked > 0 {
            assert!(t.losses().is_empty());
            t.closed(alice(), 8);
        }
        assert_eq!(t.losses(), [Signal::Transport]);
    }
}

#[test]
fn a_bye_that_is_no_farewell_is_loss() {
    for (reason, lost) in [
        ("SIP;cause=503;text=\"gone\"", true),
        ("Q.850;cause=38", true),
        ("SIP;cause=200", false),
        ("Q.850;cause=16", false),
        ("SIP;cause=38", false),
    ] {
        let mut t = Table::new(settings());
        let (_, mut b) = t.established();
        t.receive(
            desk(),
            b.request(Method::Bye).header(Name::Reason, reason).end(),
        );
        t.response_to(desk(), 200);
        let signals: &[Signal] = if lost { &[Signal::FailureBye] } else { &[] };
        assert_eq!(t.losses(), signals, "{reason}");
        if lost {
            t.nothing_to(alice());
        } else {
            t.request_to(alice(), Method::Bye);
        }
    }
}

#[test]
fn a_leg_without_a_word_is_probed_and_one_lost_probe_is_no_loss() {
    let mut t = Table::new(settings());
    t.texting();
    t.pass(Millis::from_secs(16));
    t.request_to(alice(), Method::Options);
    let probe = t.request_to(desk(), Method::Options);
    // The first is lost, its retransmissions too; the second is answered.
    drop(probe);
    t.discard(desk());
    t.pass(Millis::from_secs(4));
    let mut last = t.request_to(desk(), Method::Options);
    while last.cseq() < 3 {
        last = t.request_to(desk(), Method::Options);
    }
    t.reply(&last, 200, desk());
    assert_eq!(
        t.happened(|what| matches!(
            what,
            Happening::Lost {
                side: Side::Callee,
                ..
            }
        )),
        0
    );
}

#[test]
fn no_probe_where_media_flows() {
    let mut t = Table::new(settings());
    t.established();
    t.pass(Millis::from_secs(120));
    t.nothing_to(desk());
    t.nothing_to(alice());
}

#[test]
fn where_nobody_watches_the_media_the_phones_are_probed() {
    let mut wishes = settings();
    wishes.detect.media_silence = None;
    let mut t = Table::new(wishes);
    t.established();
    t.pass(Millis::from_secs(16));
    let probe = t.request_to(alice(), Method::Options);
    t.reply(&probe, 200, alice());
    t.request_to(desk(), Method::Options);
    t.pass(Millis::from_secs(20));
    assert_eq!(t.losses(), [Signal::ProbeTimeout]);
}

#[test]
fn a_2xx_that_the_caller_never_acknowledges_is_its_loss() {
    for moves in [false, true] {
        let mut t = Table::new(settings());
        t.register("alice", alice(), "alice");
        t.register("bob", desk(), "desk");
        t.alice_invites(&sdp(alice(), 1, "sendrecv"));
        let invite = t.request_to(desk(), Method::Invite);
        let elsewhere = phone("192.0.2.77:5060");
        if moves {
            t.register_again("alice", elsewhere, "alice", 2);
        }
        t.receive(
            desk(),
            with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendrecv")),
        );
        t.request_to(desk(), Method::Ack);
        t.pass(Millis::from_secs(33));
        t.nothing_to(desk());
        if moves {
            // It is sought where it is since.
            assert_eq!(t.losses().len(), 1);
            t.request_to(elsewhere, Method::Invite);
        } else {
            assert_eq!(t.losses(), [Signal::NoAck]);
        }
    }
}

/// Somebody of elsewhere calls Bob, whose phone takes the call by itself.
fn called_from_nowhere(way: &str) -> (Table, Remote) {
    called_by_nowhere(settings(), way)
}

fn called_by_nowhere(settings: Settings, way: &str) -> (Table, Remote) {
    let mut t = Table::new(settings);
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "mallory", "bob", nowhere(), "call1");
    let invite = with_sdp(invite, &sdp(nowhere(), 1, way));
    let from = "sip:mallory@elsewhere.example";
    t.receive(nowhere(), instead(&invite, "sip:mallory@example.org", from));
    let invite = t.request_to(desk(), Method::Invite);
    let answer = if way == "recvonly" { "sendonly" } else { way };
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &sdp(desk(), 1, answer)),
    );
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(nowhere(), 200);
    (t, Remote::of_answer(&ok, nowhere()))
}

fn nowhere() -> SocketAddr {
    phone("198.51.100.77:5060")
}

/// Where the relay was told to send what the caller is to hear.
fn heard_at(t: &Table) -> Option<SocketAddr> {
    let streams = |command: &MediaCommand| match command {
        MediaCommand::Configure {
            side: Side::Caller,
            streams,
            ..
        } => Some(streams[0].rtp),
        _ => None,
    };
    t.media.iter().rev().find_map(streams).flatten()
}

#[test]
fn who_may_be_nobody_gets_its_answer_for_a_while_and_a_bye() {
    for way in ["sendrecv", "recvonly"] {
        let (mut t, _) = called_from_nowhere(way);
        assert!(heard_at(&t).is_some());
        let mut titles = Vec::new();
        for second in 1..100 {
            t.pass(Millis::from_secs(1));
            if second == 3 && way == "sendrecv" {
                t.media_event(|media| MediaEvent::Silent {
                    media,
                    side: Side::Caller,
                });
            }
            while let Some(more) = t.any_to(nowhere()) {
                titles.push(title(&more));
            }
            if second == 4 {
                assert_eq!(heard_at(&t), None, "{way}");
            }
            if let Some(bye) = t.waiting(desk(), &Method::Bye) {
                t.reply(&bye, 200, desk());
                assert!((31..34).contains(&second), "{second}");
            }
        }
        titles.dedup();
        assert_eq!(titles.len(), 2, "{titles:?}");
        assert!(titles[0].starts_with("200") && titles[1].starts_with("BYE"));
        assert!(t.losses().is_empty());
        t.ends_empty();
    }
}

#[test]
fn who_may_be_nobody_hears_no_more_where_nobody_looks_at_the_media() {
    let mut wishes = settings();
    wishes.detect.media_silence = None;
    let (mut t, _) = called_by_nowhere(wishes, "sendrecv");
    assert!(heard_at(&t).is_some());
    t.pass(Millis::from_secs(4));
    assert_eq!(heard_at(&t), None);
}

#[test]
fn who_acknowledges_late_is_heard_and_lost_as_anybody() {
    let (mut t, a) = called_from_nowhere("recvonly");
    t.pass(Millis::from_secs(5));
    assert_eq!(heard_at(&t), None);
    t.receive(nowhere(), a.ack(1));
    assert!(heard_at(&t).is_some());
    t.discard(nowhere());
    t.pass(Millis::from_secs(30));
    t.request_to(nowhere(), Method::Options);
}

#[test]
fn a_reinvite_that_is_never_acknowledged_is_a_suspicion() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &sdp(alice(), 1, "sendrecv")),
    );
    t.pass(Millis::from_secs(33));
    let suspected = |what: &Happening| {
        matches!(
            what,
            Happening::Suspected {
                side: Side::Caller,
                signal: Signal::NoAnswer,
                ..
            }
        )
    };
    assert_eq!(t.happened(suspected), 1);
    let probe = t.waiting(alice(), &Method::Options).unwrap();
    t.reply(&probe, 200, alice());
    t.pass(Millis::from_secs(10));
    assert!(t.losses().is_empty());
}

#[test]
fn a_callee_whose_offer_the_lost_caller_never_answers_is_acknowledged() {
    let mut t = Table::new(settings());
    t.register("alice", alice(), "alice");
    t.register("bob", desk(), "desk");
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1").end();
    t.receive(alice(), invite);
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(
        desk(),
        with_sdp(answer_to(&invite), &sdp(desk(), 1, "sendonly")),
    );
    t.nothing_to(desk());
    t.alice_is_lost();
    let ack = t.request_to(desk(), Method::Ack);
    let body = text(&ack);
    assert!(
        body.contains("a=recvonly") && !body.contains("198.51.100"),
        "{body}"
    );
}

#[test]
fn a_registration_that_ends_is_a_suspicion() {
    let mut t = Table::new(settings());
    t.texting();
    t.unregister("bob", desk(), "desk", 2);
    let probe = t.request_to(desk(), Method::Options);
    t.reply(&probe, 200, desk());
    assert!(t.losses().is_empty());
}

#[test]
fn both_lost_before_their_turn_give_the_media_ports_back() {
    let mut settings = settings();
    settings.restore.rate = 1;
    let mut t = Table::new(settings);
    let (_, mut b) = t.established();
    // The first loss takes this second's turn; Bob's phone says at once that it lives.
    t.bob_is_lost();
    t.receive(desk(), b.request(Method::Options).end());
    t.bob_is_lost();
    t.alice_is_lost();
    let key = t.engine.list(1)[0].key;
    let closed = |t: &Table| {
        let is = |command: &&MediaCommand| matches!(command, MediaCommand::Close { media } if *media == key);
        t.media.iter().filter(is).count()
    };
    assert_eq!(closed(&t), 0);
    t.receive(desk(), b.request(Method::Bye).end());
    assert_eq!(closed(&t), 1);
    t.pass(Millis::from_secs(120));
    assert_eq!(closed(&t), 1);
}

#[test]
fn a_481_that_speaks_of_a_subscription_asks_the_dialog_itself() {
    for method in [Method::Notify, Method::Subscribe, Method::Refer] {
        let mut t = Table::new(refer_passes());
        let (mut a, _) = t.established();
        // RFC 6665 4.1.3, RFC 5057 5.1: nobody subscribed, or no longer; the call may go on all the same.
        let request = a.request(method.clone()).other("Event", "talk").end();
        t.receive(alice(), request);
        let carried = t.request_to(desk(), method.clone());
        t.reply(&carried, 481, desk());
        t.response_to(alice(), 481);
        assert!(t.losses().is_empty(), "{method:?}");
        let update = t.request_to(desk(), Method::Update);
        t.reply(&update, 481, desk());
        assert_eq!(t.losses(), [Signal::RequestFailed]);
    }
}

#[test]
fn a_request_that_a_living_phone_ignores_is_no_loss() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.receive(alice(), a.request(Method::Info).body("application/x", b"x"));
    t.request_to(desk(), Method::Info);
    for _ in 0..9 {
        t.pass(Millis::from_secs(4));
        t.discard(desk());
        t.receive(desk(), b.request(Method::Info).end());
        while let Some(info) = t.waiting(alice(), &Method::Info) {
            t.reply(&info, 200, alice());
        }
    }
    // RFC 4320 4.2: who asked has given up by now, and gets no answer any more.
    t.nothing_to(alice());
    assert!(t.losses().is_empty(), "it spoke a moment ago");
    let doubts = |what: &Happening| {
        matches!(
            what,
            Happening::Suspected {
                signal: Signal::NoAnswer,
                ..
            }
        )
    };
    assert_eq!(t.happened(doubts), 1);
}

#[test]
fn a_new_leg_is_watched_like_the_first() {
    let mut t = two();
    t.texting();
    t.bob_is_lost();
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.discard(desk());
    // Nobody says a word; then the mobile is dead too.
    t.pass(Millis::from_secs(16));
    while let Some(probe) = t.waiting(alice(), &Method::Options) {
        t.reply(&probe, 200, alice());
    }
    t.request_to(mobile(), Method::Options);
    t.pass(Millis::from_secs(9));
    assert_eq!(t.losses(), [Signal::Operator, Signal::ProbeTimeout]);
    assert!(t.waiting(mobile(), &Method::Invite).is_some());
}

#[test]
fn a_phone_to_which_options_means_nothing_is_asked_otherwise_and_seldom() {
    let mut t = Table::new(settings());
    t.texting();
    let (mut asked, mut offers) = (0, 0);
    for _ in 0..20 {
        t.pass(Millis::from_secs(15));
        while let Some(probe) = t.waiting(alice(), &Method::Options) {
            t.reply(&probe, 200, alice());
        }
        while let Some(probe) = t.waiting(desk(), &Method::Options) {
            asked += 1;
            t.reply(&probe, 481, desk());
        }
        while let Some(doubt) = t.waiting(desk(), &Method::Update) {
            offers += 1;
            let ok = response(&doubt, 200, desk(), "b1");
            t.receive(desk(), with_sdp(ok, &text_sdp(desk())));
        }
    }
    assert!(t.losses().is_empty());
    assert_eq!(asked, 1);
    // Five minutes: the first doubt, then one a minute.
    assert!((4..=6).contains(&offers), "{offers}");
    let suspected = |what: &Happening| matches!(what, Happening::Suspected { .. });
    assert_eq!(t.happened(suspected), 1);
    // It is watched all the same.
    t.pass(Millis::from_secs(75));
    let lost = |what: &Happening| {
        matches!(
            what,
            Happening::Lost {
                side: Side::Callee,
                signal: Signal::ProbeTimeout,
                ..
            }
        )
    };
    assert_eq!(t.happened(lost), 1);
}

/// Bob's phone is silent, and its dialog is there.
fn silent(t: &mut Table) -> Remote {
    let (_, b) = t.established();
    t.media_event(|media| MediaEvent::Silent {
        media,
        side: Side::Callee,
    });
    let probe = t.request_to(desk(), Method::Options);
    t.reply(&probe, 200, desk());
    t.pass(Millis(5_100));
    let doubt = t.request_to(desk(), Method::Update);
    let ok = response(&doubt, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &sdp(desk(), 1, "sendrecv")));
    b
}

/// Then it is asked by routine.
fn silent_and_asked(t: &mut Table) -> Remote {
    let b = silent(t);
    t.pass(Millis::from_secs(16));
    t.request_to(desk(), Method::Options);
    b
}

/// Then it is asked since its binding is gone.
fn silent_and_suspected(t: &mut Table) -> Remote {
    let b = silent(t);
    t.unregister("bob", desk(), "desk", 2);
    t.request_to(desk(), Method::Options);
    b
}

/// Bob's phone talks, and denies a request: its dialog is asked.
fn doubted(t: &mut Table) -> Remote {
    let (mut a, b) = t.established();
    let request = a.request(Method::Notify).other("Event", "talk").end();
    t.receive(alice(), request);
    let carried = t.request_to(desk(), Method::Notify);
    t.reply(&carried, 481, desk());
    t.request_to(desk(), Method::Update);
    b
}

#[test]
fn who_talks_has_its_grace_whatever_icmp_says() {
    type Asked = fn(&mut Table) -> Remote;
    // What its media outweighs in the end is no loss.
    let cases: [(Asked, usize); 3] = [
        (silent_and_asked, 0),
        (silent_and_suspected, 0),
        (doubted, 1),
    ];
    for (asked, lost) in cases {
        for says_a_word in [true, false] {
            let mut t = Table::new(refer_passes());
            let mut b = asked(&mut t);
            t.media_event(|media| MediaEvent::Flowing {
                media,
                side: Side::Callee,
            });
            for _ in 0..4 {
                t.icmp(desk());
                t.pass(Millis(1_200));
            }
            assert!(t.losses().is_empty(), "it talks");
            if says_a_word {
                t.receive(desk(), b.request(Method::Info).end());
                t.pass(Millis::from_secs(5));
                assert!(t.losses().is_empty());
            } else {
                t.pass(Millis::from_secs(1));
                assert_eq!(t.losses().len(), lost);
            }
        }
    }
}
