//! Sound and pictures: two streams of one session.

use std::net::SocketAddr;

use refork::engine::ids::Side;
use refork::engine::ports::{MediaCommand, StreamSettings, Voice};
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;

pub fn both(at: SocketAddr) -> String {
    let video = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=sendrecv\r\n";
    audio(at) + video
}

/// Returns the ports of the m= lines.
pub fn ports(message: &Message) -> Vec<u16> {
    text(message)
        .lines()
        .filter_map(|line| line.strip_prefix("m="))
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect()
}

/// Returns the streams of a side as the relay was told last.
pub fn told(t: &Table, of: Side, in_generation: u32) -> Vec<StreamSettings> {
    let last = t.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure {
            side,
            generation,
            streams,
            ..
        } if *side == of && *generation == in_generation => Some(streams.clone()),
        _ => None,
    });
    last.expect("the side was configured")
}

/// Two streams: the second one, and no other, carries pictures.
#[track_caller]
pub fn shows_both(streams: &[StreamSettings], at: SocketAddr) {
    let seen: Vec<_> = streams
        .iter()
        .map(|stream| {
            (
                stream.video,
                stream.active,
                stream.voice == Voice::Due,
                stream.rtp,
            )
        })
        .collect();
    let place = |port| Some(SocketAddr::new(at.ip(), port));
    assert_eq!(
        seen,
        [
            (false, true, true, place(4000)),
            (true, true, true, place(4002))
        ]
    );
    let format = &streams[1].formats[0];
    assert_eq!(
        (format.number, &*format.name, format.clock),
        (96, "H264", 90_000)
    );
}

#[test]
fn a_call_with_pictures_has_two_streams_before_and_after_a_refork() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.alice_invites(&both(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &both(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
    let (to_bob, to_alice) = (ports(&invite), ports(&ok));
    let mut all = [to_bob.clone(), to_alice].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4, "each stream has a port of its own: {all:?}");
    assert!(all.iter().all(|port| *port >= 20_000), "of the relay");
    shows_both(&told(&t, Side::Caller, 0), alice());
    shows_both(&told(&t, Side::Callee, 0), desk());

    t.bob_is_lost();
    t.register("bob", mobile(), "mobile");
    let again = t.request_to(mobile(), Method::Invite);
    assert_eq!(ports(&again).len(), 2);
    assert!(ports(&again).iter().all(|port| !all.contains(port)));
    t.receive(
        mobile(),
        with_sdp(response(&again, 200, mobile(), "m1"), &both(mobile())),
    );
    shows_both(&told(&t, Side::Callee, 1), mobile());
    // Alice learns of it by the notice alone: her streams stay as they are.
    t.request_to(alice(), Method::Message);
    t.nothing_to(alice());
}

#[test]
fn a_phone_without_pictures_turns_down_the_second_stream_only() {
    let mut t = Table::new(settings());
    let refused = audio(desk()) + "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    t.register("bob", desk(), "desk");
    t.alice_invites(&both(alice()));
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), with_sdp(answer_to(&invite), &refused));
    let ok = t.response_to(alice(), 200);
    assert_eq!(ports(&ok)[1], 0);
    let active: Vec<bool> = told(&t, Side::Callee, 0)
        .iter()
        .map(|stream| stream.active)
        .collect();
    assert_eq!(active, [true, false]);
    // What she would send to nobody is not missed.
    let sends: Vec<bool> = told(&t, Side::Caller, 0)
        .iter()
        .map(|stream| stream.voice == Voice::Due)
        .collect();
    assert_eq!(sends, [true, false]);
}

/// RFC 3264 8.2: the survivor is offered nothing for a phone that could show pictures, and either may ask for them.
#[test]
fn pictures_that_the_lost_phone_turned_down_come_only_where_somebody_asks_for_them() {
    for by in [Side::Caller, Side::Callee] {
        let mut t = Table::new(settings());
        t.register("bob", desk(), "desk");
        t.alice_invites(&both(alice()));
        let invite = t.request_to(desk(), Method::Invite);
        let refused = both(desk()).replace("m=video 4002", "m=video 0");
        t.receive(desk(), with_sdp(answer_to(&invite), &refused));
        t.request_to(desk(), Method::Ack);
        let ok = t.response_to(alice(), 200);
        let mut a = Remote::of_answer(&ok, alice());
        t.receive(alice(), a.ack(1));

        t.bob_is_lost();
        t.register("bob", mobile(), "mobile");
        let again = t.request_to(mobile(), Method::Invite);
        assert_eq!((ports(&again).len(), ports(&again)[1]), (2, 0));
        let took = both(mobile()).replace("m=video 4002", "m=video 0");
        let took = with_sdp(response(&again, 200, mobile(), "m1"), &took);
        t.receive(mobile(), took);
        t.request_to(mobile(), Method::Ack);
        let notice = t.request_to(alice(), Method::Message);
        t.reply(&notice, 200, alice());
        t.nothing_to(alice());
        assert!(!told(&t, Side::Callee, 1)[1].active);

        let mut m = Remote::of_invite(&again, mobile(), "m1");
        let (from, to, tag) = match by {
            Side::Caller => (alice(), mobile(), "m1"),
            Side::Callee => (mobile(), alice(), "x"),
        };
        let asks = match by {
            Side::Caller => &mut a,
            Side::Callee => &mut m,
        };
        // The same once more, byte for byte, would be a refresh.
        let wish = both(from).replace(" 1 IN IP4", " 2 IN IP4");
        t.receive(from, with_sdp(asks.request(Method::Invite), &wish));
        let offer = t.request_to(to, Method::Invite);
        assert!(ports(&offer).iter().all(|port| *port >= 20_000), "{by:?}");
        t.receive(to, with_sdp(response(&offer, 200, to, tag), &both(to)));
        t.request_to(to, Method::Ack);
        let ok = t.response_to(from, 200);
        t.receive(from, asks.ack(ok.cseq()));
        assert!(ports(&ok).iter().all(|port| *port >= 20_000), "{by:?}");
        shows_both(&told(&t, Side::Caller, 0), alice());
        shows_both(&told(&t, Side::Callee, 1), mobile());
    }
}
