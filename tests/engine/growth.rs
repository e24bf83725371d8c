//! A session that gets more streams while it stands, or fewer (RFC 3264 8.1, 8.2).

use refork::engine::ids::Side;
use refork::engine::ports::MediaCommand;
use refork::engine::time::Millis;
use refork::sip::{Method, Name};

use crate::people::*;
use crate::table::*;
use crate::video::{both, ports, shows_both, told};

/// Returns the Opens that the relay got: side, generation, streams.
fn opens(t: &Table) -> Vec<(Side, u32, usize)> {
    let open = |command: &MediaCommand| match command {
        MediaCommand::Open {
            side,
            generation,
            streams,
            ..
        } => Some((*side, *generation, *streams)),
        _ => None,
    };
    t.media.iter().filter_map(open).collect()
}

/// Returns the streams whose ports the relay got back.
fn closes(t: &Table) -> Vec<(Side, Vec<usize>)> {
    let close = |command: &MediaCommand| match command {
        MediaCommand::CloseStreams { side, streams, .. } => Some((*side, streams.clone())),
        _ => None,
    };
    t.media.iter().filter_map(close).collect()
}

/// Many streams of sound, of which those run that the test says.
fn lines(at: std::net::SocketAddr, runs: impl Fn(u16) -> bool) -> String {
    let head = sdp(at, 2, "sendrecv");
    let head = &head[..head.find("m=audio").unwrap()];
    let line = |stream| {
        let port = if runs(stream) { 4000 + 2 * stream } else { 0 };
        format!("m=audio {port} RTP/AVP 0\r\n")
    };
    head.to_owned() + &(0..16).map(line).collect::<String>()
}

#[test]
fn the_ports_of_streams_that_are_refused_are_given_back_and_taken_again_with_them() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&lines(alice(), |_| true));
    let invite = t.request_to(desk(), Method::Invite);
    assert_eq!(ports(&invite).len(), 16);
    assert!(ports(&invite).iter().all(|port| *port != 0));
    // The last one alone is taken.
    let last = |stream| stream == 15;
    t.receive(desk(), with_sdp(answer_to(&invite), &lines(desk(), last)));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    let refused: Vec<usize> = (0..15).collect();
    let both_sides = [(Side::Caller, refused.clone()), (Side::Callee, refused)];
    assert_eq!(closes(&t), both_sides);

    // A restart takes the one again, and no other.
    t.media.clear();
    t.restart();
    let again = |command: &MediaCommand| match command {
        MediaCommand::Open { again, .. } => Some(again.clone()),
        _ => None,
    };
    let mut only = vec![0; 15];
    let again: Vec<_> = t.media.iter().filter_map(again).collect();
    only.push(ports(&ok)[15]);
    assert_eq!(again[0], only);
    assert_eq!(again[1][..15], [0; 15]);

    // A hold that names the refused ones as such needs no ports.
    t.media.clear();
    a.cseq += 20;
    let hold = lines(alice(), last) + "a=sendonly\r\n";
    t.receive(alice(), with_sdp(a.request(Method::Invite), &hold));
    let offer = t.request_to(desk(), Method::Invite);
    let held = lines(desk(), last) + "a=recvonly\r\n";
    t.receive(desk(), with_sdp(response(&offer, 200, desk(), "b1"), &held));
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 200);
    t.receive(alice(), a.ack(a.cseq));
    assert_eq!((opens(&t), closes(&t)), (vec![], vec![]));

    // One comes back; what it is refused with takes its ports along once more.
    for status in [488, 200] {
        t.media.clear();
        let more = lines(alice(), |stream| stream == 15 || stream == 1);
        t.receive(alice(), with_sdp(a.request(Method::Invite), &more));
        assert_eq!(opens(&t), [(Side::Caller, 0, 16), (Side::Callee, 0, 16)]);
        let offer = t.request_to(desk(), Method::Invite);
        let told: Vec<usize> = (0..16).filter(|at| ports(&offer)[*at] != 0).collect();
        assert_eq!(told, [1, 15]);
        let answer = response(&offer, status, desk(), "b1");
        let more = lines(desk(), |stream| stream == 15 || stream == 1);
        if status == 200 {
            t.receive(desk(), with_sdp(answer, &more));
        } else {
            t.receive(desk(), answer.end());
        }
        t.request_to(desk(), Method::Ack);
        let back = t.response_to(alice(), status);
        t.receive(alice(), a.ack(back.cseq()));
        let given_back: Vec<_> = (0..15).filter(|at| status != 200 || *at != 1).collect();
        let both_sides = [
            (Side::Caller, given_back.clone()),
            (Side::Callee, given_back),
        ];
        assert_eq!(closes(&t), both_sides, "{status}");
    }
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.ends_empty();
}

#[test]
fn what_a_phone_refused_is_not_offered_to_it_again() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&both(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    let refused = both(desk()).replace("m=video 4002", "m=video 0");
    t.receive(desk(), with_sdp(answer_to(&invite), &refused));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    assert_eq!(
        closes(&t),
        [(Side::Caller, vec![1]), (Side::Callee, vec![1])]
    );
    // Alice is lost, and Bob asks for an offer, then makes one himself: what stands answers both.
    let mut b = Remote::of_invite(&invite, desk(), "b1");
    t.alice_is_lost();
    t.receive(desk(), b.request(Method::Invite).end());
    let offer = t.response_to(desk(), 200);
    assert_eq!(ports(&offer)[1], 0, "its ports may be another call's");
    let version = |message: &refork::sip::Message| {
        let text = text(message);
        let origin = text.lines().find(|line| line.starts_with("o=")).unwrap();
        origin.split(' ').nth(2).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(version(&offer), version(&invite) + 1);
    t.receive(desk(), with_sdp(b.numbered(Method::Ack, b.cseq), &refused));
    t.receive(desk(), with_sdp(b.request(Method::Invite), &both(desk())));
    assert_eq!(ports(&t.response_to(desk(), 200))[1], 0);
}

/// Alice shows pictures beside the sound of a call that stands.
fn alice_shows(t: &mut Table, a: &mut Remote) -> refork::sip::Message {
    t.receive(alice(), with_sdp(a.request(Method::Invite), &both(alice())));
    t.request_to(desk(), Method::Invite)
}

fn shows(t: &mut Table) -> (Remote, Remote) {
    let (mut a, b) = t.established();
    let offer = alice_shows(t, &mut a);
    let ok = response(&offer, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &both(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    (a, b)
}

#[test]
fn pictures_are_added_and_outlive_the_phone() {
    for by in [Side::Caller, Side::Callee] {
        let mut t = Table::new(settings());
        let (mut a, mut b) = t.established();
        t.media.clear();
        let (from, to, dialog) = match by {
            Side::Caller => (alice(), desk(), &mut a),
            Side::Callee => (desk(), alice(), &mut b),
        };
        t.receive(from, with_sdp(dialog.request(Method::Invite), &both(from)));
        assert_eq!(opens(&t), [(by, 0, 2), (by.other(), 0, 2)]);
        let offer = t.request_to(to, Method::Invite);
        let tag = if by == Side::Caller { "b1" } else { "x" };
        t.receive(to, with_sdp(response(&offer, 200, to, tag), &both(to)));
        t.request_to(to, Method::Ack);
        let ok = t.response_to(from, 200);
        t.receive(from, dialog.ack(ok.cseq()));
        for message in [&offer, &ok] {
            assert_eq!(ports(message).len(), 2);
            assert!(
                ports(message).iter().all(|port| *port >= 20_000),
                "{}",
                text(message)
            );
        }
        shows_both(&told(&t, Side::Caller, 0), alice());
        shows_both(&told(&t, Side::Callee, 0), desk());

        t.bob_is_lost();
        t.register("bob", mobile(), "mobile");
        let again = t.request_to(mobile(), Method::Invite);
        assert_eq!(ports(&again).len(), 2);
        let ok = response(&again, 200, mobile(), "m1");
        t.receive(mobile(), with_sdp(ok, &both(mobile())));
        shows_both(&told(&t, Side::Callee, 1), mobile());
        t.request_to(alice(), Method::Message);
        t.nothing_to(alice());
    }
}

#[test]
fn the_sound_stays_at_its_ports_and_all_are_taken_again_after_a_restart() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let sound = |t: &Table| {
        let commands = t.media.iter().filter_map(|command| match command {
            MediaCommand::Open { side, again, .. } => Some((*side, again.clone())),
            _ => None,
        });
        commands.collect::<Vec<_>>()
    };
    let offer = alice_shows(&mut t, &mut a);
    let ok = response(&offer, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &both(desk())));
    t.request_to(desk(), Method::Ack);
    let to_alice = ports(&t.response_to(alice(), 200));
    t.receive(alice(), a.ack(a.cseq));
    t.media.clear();
    t.restart();
    assert_eq!(
        sound(&t),
        [(Side::Caller, to_alice), (Side::Callee, ports(&offer))]
    );
}

#[test]
fn pictures_are_added_by_update_too() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    t.receive(alice(), with_sdp(a.request(Method::Update), &both(alice())));
    let offer = t.request_to(desk(), Method::Update);
    assert_eq!(ports(&offer).len(), 2);
    t.receive(
        desk(),
        with_sdp(response(&offer, 200, desk(), "b1"), &both(desk())),
    );
    t.response_to(alice(), 200);
    shows_both(&told(&t, Side::Callee, 0), desk());
}

#[test]
fn without_ports_for_them_pictures_are_refused_and_the_call_goes_on() {
    for fails in [alice().ip(), desk().ip()] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        t.no_ports = match fails == alice().ip() {
            true => |toward| toward == alice().ip(),
            false => |toward| toward == desk().ip(),
        };
        let offer = alice_shows(&mut t, &mut a);
        assert_eq!(ports(&offer)[1], 0, "nobody is asked for what cannot be");
        assert!(ports(&offer)[0] >= 20_000);
        let refused = both(desk()).replace("m=video 4002", "m=video 0");
        let ok = response(&offer, 200, desk(), "b1");
        t.receive(desk(), with_sdp(ok, &refused));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        assert_eq!(ports(&ok)[1], 0);
        let active = |side| -> Vec<bool> {
            told(&t, side, 0)
                .iter()
                .map(|stream| stream.active)
                .collect()
        };
        assert_eq!(active(Side::Callee), [true, false]);
    }
}

/// Alice's offer waits for the relay.
fn waiting(t: &mut Table) -> (Remote, Remote, bytes::Bytes) {
    let (mut a, b) = t.established();
    t.relay_waits = true;
    let offer = with_sdp(a.request(Method::Invite), &both(alice()));
    t.receive(alice(), offer.clone());
    t.nothing_to(desk());
    (a, b, offer)
}

#[test]
fn an_offer_that_waits_for_ports_may_be_taken_back() {
    let mut t = Table::new(settings());
    let (mut a, _, offer) = waiting(&mut t);
    let cancel = String::from_utf8(offer.to_vec()).unwrap();
    let head = cancel.split("Content-Type").next().unwrap();
    let head = head.replace("INVITE sip", "CANCEL sip");
    let cancel = head.replace("2 INVITE", "2 CANCEL") + "Content-Length: 0\r\n\r\n";
    t.receive(alice(), cancel.into());
    t.response_to(alice(), 200);
    t.response_to(alice(), 487);
    t.relay_answers();
    t.nothing_to(desk());
    // The next one finds the ports that came.
    let offer = alice_shows(&mut t, &mut a);
    assert!(ports(&offer)[1] >= 20_000);
}

#[test]
fn who_hangs_up_while_an_offer_waits_for_ports_ends_the_call() {
    for by in [Side::Caller, Side::Callee] {
        let mut t = Table::new(settings());
        let (mut a, mut b, _) = waiting(&mut t);
        let (at, other, dialog) = match by {
            Side::Caller => (alice(), desk(), &mut a),
            Side::Callee => (desk(), alice(), &mut b),
        };
        t.receive(at, dialog.request(Method::Bye).end());
        t.response_to(at, 200);
        let bye = t.request_to(other, Method::Bye);
        t.response_to(alice(), 481);
        t.reply(&bye, 200, other);
        t.relay_answers();
        t.ends_empty();
    }
}

#[test]
fn a_loss_while_an_offer_waits_for_ports() {
    // The other one: the standing session is the answer, and the new phone is asked for pictures only
    // once Alice asks again.
    let mut t = Table::new(settings());
    let (mut a, _, _) = waiting(&mut t);
    t.register("bob", mobile(), "mobile");
    t.bob_is_lost();
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    assert_eq!(ports(&ok)[1], 0);
    t.relay_answers();
    t.discard(desk());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    assert_eq!(ports(&invite)[1], 0, "what she was refused");
    let refused = both(mobile()).replace("m=video 4002", "m=video 0");
    let ok = response(&invite, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &refused));
    t.request_to(mobile(), Method::Ack);
    t.request_to(alice(), Method::Message);
    let again = both(alice()).replace("o=- 7 1 ", "o=- 7 3 ");
    t.receive(alice(), with_sdp(a.request(Method::Invite), &again));
    let offer = t.request_to(mobile(), Method::Invite);
    assert_eq!(ports(&offer).len(), 2);
    assert!(ports(&offer).iter().all(|port| *port >= 20_000));

    // The one who offered: nobody is left to answer.
    let mut t = Table::new(settings());
    let (_, mut b, _) = waiting(&mut t);
    t.alice_is_lost();
    t.relay_answers();
    t.discard(alice());
    t.receive(
        desk(),
        with_sdp(b.request(Method::Invite), &sdp(desk(), 2, "sendonly")),
    );
    t.response_to(desk(), 200);
}

#[test]
fn another_offer_meanwhile_is_told_to_wait() {
    let mut t = Table::new(settings());
    let (_, mut b, _) = waiting(&mut t);
    let hold = sdp(desk(), 2, "sendonly");
    t.receive(desk(), with_sdp(b.request(Method::Invite), &hold));
    t.response_to(desk(), 491);
    t.relay_answers();
    t.request_to(desk(), Method::Invite);
}

#[test]
fn a_session_of_text_becomes_a_call() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    assert_eq!(opens(&t), []);
    let talk = |at| text_sdp(at) + "m=audio 4000 RTP/AVP 0\r\n";
    t.receive(alice(), with_sdp(a.request(Method::Invite), &talk(alice())));
    assert_eq!(opens(&t), [(Side::Caller, 0, 2), (Side::Callee, 0, 2)]);
    let offer = t.request_to(desk(), Method::Invite);
    assert!(ports(&offer)[1] >= 20_000);
    let ok = response(&offer, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &talk(desk())));
    t.request_to(desk(), Method::Ack);
    t.response_to(alice(), 200);
    let active = |side| -> Vec<bool> {
        told(&t, side, 0)
            .iter()
            .map(|stream| stream.active)
            .collect()
    };
    assert_eq!(active(Side::Caller), [false, true]);
    assert_eq!(active(Side::Callee), [false, true]);
    t.receive(alice(), a.ack(a.cseq));
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    t.ends_empty();
    assert!(matches!(t.media.last(), Some(MediaCommand::Close { .. })));
}

#[test]
fn a_session_of_text_stays_one_where_there_are_no_ports() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.texting();
    t.no_ports = |_| true;
    for version in 2..4 {
        let talk = text_sdp(alice()) + "m=audio 4000 RTP/AVP 0\r\n";
        let talk = talk.replace("o=- 7 1 ", &format!("o=- 7 {version} "));
        t.receive(alice(), with_sdp(a.request(Method::Invite), &talk));
        let offer = t.request_to(desk(), Method::Invite);
        assert_eq!(ports(&offer)[1], 0);
        let refused = text_sdp(desk()) + "m=audio 0 RTP/AVP 0\r\n";
        let ok = response(&offer, 200, desk(), "b1");
        t.receive(desk(), with_sdp(ok, &refused));
        t.request_to(desk(), Method::Ack);
        t.response_to(alice(), 200);
        t.receive(alice(), a.ack(a.cseq));
    }
    t.receive(alice(), a.message("still here"));
    t.request_to(desk(), Method::Message);
}

#[test]
fn pictures_are_taken_out_and_added_again() {
    let mut t = Table::new(settings());
    let (mut a, _) = shows(&mut t);
    let first = told(&t, Side::Callee, 0);
    t.media.clear();
    for on in [false, true] {
        let change = |at| {
            let all = both(at);
            if on {
                all
            } else {
                all.replace("m=video 4002", "m=video 0")
            }
        };
        t.receive(
            alice(),
            with_sdp(a.request(Method::Invite), &change(alice())),
        );
        let offer = t.request_to(desk(), Method::Invite);
        assert_eq!(ports(&offer)[1] != 0, on);
        let ok = response(&offer, 200, desk(), "b1");
        t.receive(desk(), with_sdp(ok, &change(desk())));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), a.ack(ok.cseq()));
        assert_eq!(ports(&ok)[1] != 0, on);
        for side in [Side::Caller, Side::Callee] {
            assert!(told(&t, side, 0)[0].active);
            assert_eq!(told(&t, side, 0)[1].active, on);
        }
    }
    // The ports of what was taken out were given back, and others are there once it comes again.
    let anew = [(Side::Caller, 0, 2), (Side::Callee, 0, 2)];
    assert_eq!(opens(&t), anew);
    assert_eq!(
        closes(&t),
        [(Side::Caller, vec![1]), (Side::Callee, vec![1])]
    );
    assert_eq!(told(&t, Side::Callee, 0), first);
}

#[test]
fn another_codec_is_agreed_on_in_mid_call() {
    let mut t = Table::new(settings());
    let (mut a, _) = t.established();
    let opus = |at, number: u8| {
        let sdp = sdp(at, 2, "sendrecv");
        let from = sdp.find("m=audio").unwrap();
        let media = format!("m=audio 4000 RTP/AVP {number}\r\na=rtpmap:{number} opus/48000/2\r\n");
        sdp[..from].to_owned() + &media
    };
    t.receive(
        alice(),
        with_sdp(a.request(Method::Invite), &opus(alice(), 96)),
    );
    let offer = t.request_to(desk(), Method::Invite);
    assert!(text(&offer).contains("RTP/AVP 96\r\na=rtpmap:96 opus/48000/2"));
    // The desk may send it as soon as it has agreed, and the relay lets it pass.
    let besides = &told(&t, Side::Caller, 0)[0].besides;
    assert_eq!((besides.len(), besides[0].number), (1, 96));
    // Each under its own number: the relay maps.
    let ok = response(&offer, 200, desk(), "b1");
    t.receive(desk(), with_sdp(ok, &opus(desk(), 111)));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    let formats = |t: &Table, side, generation| -> Vec<(u8, String, u32)> {
        let formats = &told(t, side, generation)[0].formats;
        let named = formats
            .iter()
            .map(|f| (f.number, f.name.to_string(), f.clock));
        named.collect()
    };
    let opus_under = |number| vec![(number, "OPUS".to_owned(), 48_000)];
    assert_eq!(formats(&t, Side::Caller, 0), opus_under(96));
    assert_eq!(formats(&t, Side::Callee, 0), opus_under(111));
    assert_eq!(told(&t, Side::Caller, 0)[0].besides, []);
    // She sends it under the desk's number, whoever comes in its place.
    let sends = &told(&t, Side::Caller, 0)[0].told;
    assert_eq!((sends.len(), sends[0].number), (1, 111));
    // A phone without it costs the survivor one re-INVITE; one with it nothing.
    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    let again = t.request_to(mobile(), Method::Invite);
    assert!(text(&again).contains("RTP/AVP 96\r\n"), "{}", text(&again));
    let ok = response(&again, 200, mobile(), "m1");
    t.receive(mobile(), with_sdp(ok, &opus(mobile(), 100)));
    assert_eq!(formats(&t, Side::Callee, 1), opus_under(100));
    let notice = t.request_to(alice(), Method::Message);
    assert!(notice.header(Name::ContentType).is_some());
    t.nothing_to(alice());
}

#[test]
fn a_phone_that_repairs_itself_before_the_relay_has_its_ports_again_gives_each_back_once() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let (mut a, mut b) = t.established();
    let more = a.request(Method::Invite);
    t.receive(alice(), with_sdp(more, &both(alice())));
    t.request_to(desk(), Method::Invite);
    t.bob_is_lost();
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), a.ack(ok.cseq()));
    t.relay_waits = true;
    t.restart();
    t.media.clear();
    // His session has the one stream that it had.
    t.receive(desk(), b.request(Method::Info).end());
    t.relay_answers();
    let of_bob = |close: &(Side, Vec<usize>)| close.0 == Side::Callee;
    t.pass(Millis::from_secs(5));
    assert_eq!(closes(&t).into_iter().filter(of_bob).count(), 1);
}
