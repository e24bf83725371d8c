//! What must hold of any bytes at all. The fuzz targets and `tests/fuzz_smoke.rs` share it.

use bytes::Bytes;
use refork::sip::cpim::Asked;
use refork::sip::digest::{Challenge, Credentials};
use refork::sip::multipart;
use refork::sip::proof::{self, By, Proof};
use refork::sip::sdp::{self, Place, Rewrite, Sdp};
use refork::sip::stream::{Frame, FrameError, Framer};
use refork::sip::stun;
use refork::sip::{Address, Builder, Message, Name, Uri, Via};

const OTHER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nt=0 0";

/// A datagram. Whatever is taken, or can be answered, is answered by a message that is taken.
pub fn message(bytes: &[u8]) {
    match Message::parse(Bytes::copy_from_slice(bytes)) {
        Ok(message) => {
            look_at(&message);
            let again = Message::parse(message.bytes().clone()).expect("taken once, taken twice");
            assert_eq!(again.body(), message.body());
            answered(&message);
        }
        Err(malformed) => {
            if let Some(request) = malformed.salvaged {
                assert!(request.is_request());
                look_at(&request);
                let answer = answer(&request);
                assert!(answer.starts_with(b"SIP/2.0 400 x\r\nVia: "));
            }
        }
    }
}

/// Asks a message for everything it can tell.
fn look_at(message: &Message) {
    let fields: usize = message.all().map(|field| field.value.len()).sum();
    assert!(fields + message.body().len() <= message.bytes().len());
    if let Some(asked) = Asked::of(message.body()) {
        let told = asked.failed("1", "2026-11-28T12:00:00.000Z");
        assert_eq!(Asked::of(told.as_bytes()), None, "words about words");
    }
    let _ = (
        message.uri(),
        message.reason_phrase(),
        message.via(),
        message.contacts(),
    );
    let _ = (
        message.expires(),
        message.max_forwards(),
        message.content_type(),
    );
    for field in message.all() {
        assert!(!field.value.contains(&b'\n') && !field.value.contains(&b'\r'));
        let Ok(value) = std::str::from_utf8(field.value) else {
            continue;
        };
        uri(value);
        let _ = (Via::parse(value), Credentials::parse(value));
        if let Ok(address) = Address::parse(value) {
            uri(address.uri);
            assert!(address.params.iter().count() <= value.len());
        }
    }
    for party in [message.from(), message.to()] {
        uri(party.uri);
    }
    let _ = message.has_token(Name::Supported, "timer");
    enclosed(message);
}

/// A body may have a session description in it; another one that is put in its place is found there.
fn enclosed(message: &Message) {
    let Some(content_type) = message.header(Name::ContentType) else {
        return;
    };
    let body = message.body();
    let Some(spot) = multipart::session(content_type, body) else {
        return;
    };
    assert!(spot.of(body).len() <= body.len());
    let _ = multipart::is_optional(message.header(Name::ContentDisposition));
    let replaced = spot.replaced(body, OTHER);
    let again = multipart::session(content_type, &replaced);
    let again = again.expect("it has a description as before");
    assert_eq!(again.of(&replaced), OTHER);
}

fn uri(text: &str) {
    if let Ok(uri) = Uri::parse(text) {
        assert!(uri.equals(&uri), "{text}");
        let _ = (uri.user_unescaped(), uri.host_ip(), uri.transport());
    }
}

fn answer(request: &Message) -> Bytes {
    Builder::respond(
        request,
        400,
        "x",
        Some("ours"),
        ([198, 51, 100, 7], 5060).into(),
    )
    .end()
}

fn answered(request: &Message) {
    if !request.is_request() {
        return;
    }
    let answer = Message::parse(answer(request)).expect("an answer is a message");
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.call_id(), request.call_id());
    assert_eq!(answer.branch(), request.branch());
    assert_eq!(
        (answer.cseq(), answer.method()),
        (request.cseq(), request.method())
    );
    assert_eq!(answer.from_tag(), request.from_tag());
    assert_eq!(answer.to_tag(), request.to_tag().or(Some("ours")));
}

/// A stream, cut where its first bytes say: the same as in one piece. Framer and parser must agree on
/// where each message ends, or one could hide in another.
pub fn stream(bytes: &[u8]) {
    let (cuts, bytes) = bytes.split_at(bytes.len().min(4));
    let whole = frames(&[bytes]);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    assert_eq!(frames(&pieces), whole);
    for frame in whole.into_iter().flatten() {
        if let Ok(message) = Message::parse(frame.clone()) {
            let head = frame.len() - message.body().len();
            assert!(frame.ends_with(message.body()));
            assert_eq!(frame[head - 1], b'\n');
            look_at(&message);
        }
    }
}

fn frames(pieces: &[&[u8]]) -> Vec<Result<Bytes, FrameError>> {
    let mut framer = Framer::new(2048, 2048);
    let mut frames = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(frame) = framer.next_frame() {
            match frame {
                Ok(Frame::Message(bytes)) => frames.push(Ok(bytes)),
                Ok(Frame::TooLarge(_) | Frame::Ping | Frame::Pong) => {}
                Err(error) => frames.push(Err(error)),
            }
        }
    }
    frames
}

/// Two descriptions, cut at the first zero byte.
pub fn sdp(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |b| *b == 0);
    let (one, two) = (parts.next().unwrap_or(b""), parts.next().unwrap_or(b""));
    let _ = (sdp::fits(one, two, one), sdp::shares(one, two));
    let _ = (
        sdp::may_be_asked_for(one, two),
        sdp::takes_some(one, two, one),
    );
    let made = [sdp::offer_again(one, two), sdp::answer_with(one, two)];
    for made in made.into_iter().flatten() {
        assert!(Sdp::parse(&made).is_ok() || made.len() > 16 * 1024);
    }
    let Ok(parsed) = Sdp::parse(one) else { return };
    for media in parsed.media() {
        for crypto in media.crypto() {
            assert_eq!(sdp::Crypto::parse(&crypto.write()), Ok(crypto));
        }
        let _ = (
            media.payloads().count(),
            [false, true].map(|muxed| media.rtcp_address(muxed)),
            (media.is_rtp(), media.is_datagrams()),
        );
    }
    for place in [
        Place::Keep,
        Place::At(([198, 51, 100, 7], 4000).into()),
        Place::Rejected,
    ] {
        let places = vec![place; parsed.media().len()];
        let rewritten = parsed.rewrite(&Rewrite {
            session: 1,
            version: 2,
            address: [198, 51, 100, 7].into(),
            keep_session_address: false,
            covers: &[],
            places: &places,
            drop_ice: true,
        });
        if rewritten.len() > 16 * 1024 {
            continue;
        }
        let again = Sdp::parse(&rewritten).expect("what was rewritten can be read");
        assert_eq!(again.media().len(), parsed.media().len());
        for (ours, theirs) in again.media().iter().zip(parsed.media()) {
            match place {
                Place::At(at) if theirs.port != 0 => {
                    assert_eq!((ours.address, ours.port), (Some(at.ip()), at.port()));
                }
                Place::At(_) | Place::Rejected => assert_eq!(ours.port, 0),
                Place::Keep if theirs.port == 0 => {}
                Place::Keep => assert_eq!((ours.address, ours.port), (theirs.address, theirs.port)),
            }
        }
    }
}

/// A header value of authentication.
pub fn digest(bytes: &[u8]) {
    let Ok(value) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(credentials) = Credentials::parse(value) {
        for algorithm in [
            refork::sip::digest::Algorithm::Md5,
            refork::sip::digest::Algorithm::Sha256,
            refork::sip::digest::Algorithm::Sha512_256,
        ] {
            let _ = credentials.prove(algorithm, "00", "INVITE", bytes);
        }
    }
    if let Some(challenge) = Challenge::parse(value) {
        let answer = challenge.answer("bob", "00", "REGISTER", "sip:x", "c");
        if let Some(credentials) = Credentials::parse(&answer) {
            assert!(credentials.prove(challenge.algorithm, "00", "REGISTER", b""));
        }
    }
    let asked = proof::Asked::parse(By::Proxy, value);
    if let Some(mut proof) = asked.and_then(|asked| Proof::of(&asked, "bob", "secret", "c")) {
        let answer = proof.answer("INVITE", "sip:x", bytes);
        if let Some(credentials) = Credentials::parse(&answer) {
            assert!(
                credentials.count().is_some_and(|count| count < 2),
                "{answer}"
            );
        }
    }
}

/// A compound RTCP packet, between two lines and between none.
pub fn rtcp(bytes: &[u8]) {
    for whole in [false, true] {
        let mut packet = bytes.to_vec();
        let Some(length) = refork::media::pass_rtcp(&mut packet, whole) else {
            continue;
        };
        assert!(length <= bytes.len(), "what passes does not grow");
        // What has passed once is RTCP.
        let mut again = packet[..length].to_vec();
        assert!(length == 0 || refork::media::pass_rtcp(&mut again, whole).is_some());
    }
}

/// Packets of RTP, RTCP, SRTP and SRTCP, some of them under their phone's key, to a session of the relay.
pub fn relay(bytes: &[u8]) -> refork::media::Passed {
    refork::media::pass_packets(bytes)
}

/// A file of the configuration. Whatever is in it, it is taken, or each fault has its place.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(errors) = refork::config::parse(text, "fuzz.yaml", &|_| None) {
        assert!(errors.to_string().contains("fuzz.yaml"), "{errors}");
    }
}

/// A STUN packet. Little comes back, and it is STUN that is not answered again.
pub fn stun(bytes: &[u8]) {
    let peer = ([192, 0, 2, 1], 5060).into();
    if let Some(answer) = stun::answer(bytes, peer) {
        assert!(stun::is_stun(bytes) && stun::is_stun(&answer));
        assert!(answer.len() <= 64 && answer.len() % 4 == 0);
        assert_eq!(stun::answer(&answer, peer), None);
    }
}
