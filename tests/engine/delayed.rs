//! Offers that come with the answer (RFC 3261 13.2.1, 14.1), and media before it.

use refork::engine::ids::Side;
use refork::engine::ports::MediaCommand;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;

/// Which streams the relay was told of, by side, and where each wants its sound.
fn configured(t: &mut Table) -> Vec<(Side, String)> {
    let commands = std::mem::take(&mut t.media);
    let of = |command: MediaCommand| match command {
        MediaCommand::Configure { side, streams, .. } => {
            let at = streams.first().and_then(|stream| stream.rtp);
            Some((
                side,
                at.map_or_else(|| "nowhere".into(), |at| at.to_string()),
            ))
        }
        _ => None,
    };
    commands.into_iter().filter_map(of).collect()
}

#[test]
fn of_a_fork_the_first_offer_is_the_callers_and_its_answer_goes_to_that_phone() {
    let mut t = two();
    let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
    t.receive(alice(), invite.end());
    let [i1, i2] = [desk(), mobile()].map(|at| t.request_to(at, Method::Invite));
    assert_eq!((i1.body(), i2.body()), (&b""[..], &b""[..]));
    for (at, invite, tag) in [(desk(), &i1, "b1"), (mobile(), &i2, "m1")] {
        // RFC 3261 13.2.1: no offer in what is not reliable.
        let early = response(invite, 183, at, tag);
        t.receive(at, with_sdp(early, &audio(at)));
        assert_eq!(t.response_to(alice(), 183).body(), b"");
    }
    t.receive(
        mobile(),
        with_sdp(
            response(&i2, 200, mobile(), "m1"),
            &sdp(mobile(), 1, "sendonly"),
        ),
    );
    t.request_to(desk(), Method::Cancel);
    t.nothing_to(mobile());
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("a=sendonly") && !text(&ok).contains("198.51.100"));
    let a = Remote::of_answer(&ok, alice());
    let ack = a.numbered(Method::Ack, 1);
    t.receive(alice(), with_sdp(ack, &sdp(alice(), 1, "recvonly")));
    let ack = t.request_to(mobile(), Method::Ack);
    assert!(text(&ack).contains("a=recvonly") && !text(&ack).contains("198.51.100"));
    assert_eq!(
        configured(&mut t).last(),
        Some(&(Side::Callee, "198.51.100.3:4000".to_owned()))
    );
    // The other one takes it as the CANCEL reaches it.
    t.receive(
        desk(),
        with_sdp(response(&i1, 200, desk(), "b1"), &audio(desk())),
    );
    t.request_to(desk(), Method::Ack);
    let bye = t.request_to(desk(), Method::Bye);
    assert!(bye.header(Name::Reason).unwrap().contains("cause=200"));
    t.nothing_to(alice());
}

#[test]
fn a_reinvite_without_an_offer_gets_the_other_phones_and_the_answer_goes_back() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.media.clear();
    t.receive(alice(), a.request(Method::Invite).end());
    let asked = t.request_to(desk(), Method::Invite);
    assert_eq!(asked.body(), b"");
    let elsewhere = |text: String| text.replace("m=audio 4000", "m=audio 4600");
    let offer = elsewhere(sdp(desk(), 2, "sendrecv"));
    t.receive(
        desk(),
        with_sdp(response(&asked, 200, desk(), "b1"), &offer),
    );
    // Its ACK waits for the answer.
    t.nothing_to(desk());
    let ok = t.response_to(alice(), 200);
    assert!(text(&ok).contains("m=audio"));
    let answer = elsewhere(sdp(alice(), 2, "sendrecv"));
    t.receive(
        alice(),
        with_sdp(a.numbered(Method::Ack, ok.cseq()), &answer),
    );
    let ack = t.request_to(desk(), Method::Ack);
    assert!(text(&ack).contains("m=audio") && !text(&ack).contains("198.51.100"));
    assert_eq!(
        configured(&mut t),
        [
            (Side::Caller, "198.51.100.1:4600".to_owned()),
            (Side::Callee, "198.51.100.2:4600".to_owned())
        ]
    );
    t.nothing_to(alice());
}

#[test]
fn a_reinvite_without_an_offer_that_is_refused_leaves_all_as_it_was() {
    let mut t = Table::new(settings());
    let (mut a, mut b) = t.established();
    t.receive(alice(), a.request(Method::Invite).end());
    let asked = t.request_to(desk(), Method::Invite);
    t.reply(&asked, 488, desk());
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 488);
    // Nothing is open: the other one may offer.
    let hold = with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly"));
    t.receive(desk(), hold);
    let hold = t.request_to(alice(), Method::Invite);
    assert!(text(&hold).contains("a=sendonly"));
}

#[test]
fn media_before_the_answer_runs_between_our_ports() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&audio(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.media.clear();
    let early = response(&invite, 183, desk(), "b1");
    t.receive(desk(), with_sdp(early, &audio(desk())));
    let early = t.response_to(alice(), 183);
    assert!(text(&early).contains("c=IN IP4 192.0.2.1"));
    assert_eq!(
        configured(&mut t),
        [
            (Side::Caller, "198.51.100.1:4000".to_owned()),
            (Side::Callee, "198.51.100.2:4000".to_owned())
        ]
    );
    // The phone itself answers after the announcement: other sound, the same ports of ours.
    let answer = audio(desk()).replace("m=audio 4000", "m=audio 4800");
    t.receive(desk(), with_sdp(answer_to(&invite), &answer));
    let ok = t.response_to(alice(), 200);
    assert_eq!(text(&ok), text(&early));
    assert_eq!(
        configured(&mut t).last(),
        Some(&(Side::Callee, "198.51.100.2:4800".to_owned()))
    );
}
