//! What holds for every message, stream, URI and description.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

mod generated;

use bytes::Bytes;
use generated::{draft, uri};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use refork::sip::sdp::{Place, Rewrite, Sdp};
use refork::sip::stream::{Frame, FrameError, Framer};
use refork::sip::{Builder, Message, Method, Name, Uri};

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

/// Pieces that stand in SIP, among bytes that do not.
fn nearly_sip() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        select(
            &[
                "INVITE sip:a@b SIP/2.0",
                "SIP/2.0 200 OK",
                "\r\n",
                "\r\n\r\n",
                "\n",
                "\r",
                " ",
                "\t",
                "Via: SIP/2.0/UDP h;branch=z9hG4bK1",
                "v:",
                "From: <sip:a@b>;tag=1",
                "To: \"x\" <sip:b@b>",
                "Call-ID: 1",
                "CSeq: 1 INVITE",
                "Contact: *",
                "m: <sip:a@[::1]:5;x=\"",
                "Content-Length: 5",
                "l: 18446744073709551615",
                ",",
                ";",
                "<",
                ">",
                "\"",
                "\\",
                "%",
                "%zz",
                "[",
                "]",
                ":",
                "?",
                "@",
                "v=0",
                "o=- 1 1 IN IP4 1.1.1.1",
                "m=audio 4000 RTP/AVP 0",
                "c=IN IP6 ::1",
                "a=rtcp:9",
            ][..],
        )
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..6),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop_oneof![vec(any::<u8>(), 0..400), nearly_sip()]) {
        if let Ok(message) = Message::parse(Bytes::from(bytes.clone())) {
            let _ = (message.via(), message.from(), message.to(), message.contacts(), message.expires());
            let fields: usize = message.all().map(|field| field.value.len()).sum();
            prop_assert!(fields <= message.bytes().len());
            prop_assert!(Message::parse(message.bytes().clone()).is_ok());
        }
        if let Ok(sdp) = Sdp::parse(&bytes) {
            let version = sdp.with_version(2);
            prop_assert!(Sdp::parse(&version).is_ok());
        }
        let mut framer = Framer::new(200, 200);
        framer.push(&bytes);
        // Each frame takes at least one byte: this ends.
        let frames = std::iter::from_fn(|| framer.next_frame()).count();
        prop_assert!(frames <= bytes.len() + 1);
    }

    #[test]
    fn what_is_built_is_what_is_read(draft in draft(any_body())) {
        let message = Message::parse(Bytes::from(draft.bytes())).unwrap();
        let read: Vec<_> = message
            .all()
            .map(|field| (field.raw_name.to_owned(), std::str::from_utf8(field.value).unwrap().to_owned()))
            .collect();
        let written: Vec<_> = draft
            .fields()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        prop_assert_eq!(read, written);
        prop_assert_eq!(message.body(), draft.body.as_slice());
        prop_assert_eq!(message.method().as_str(), draft.method);
        prop_assert_eq!((message.cseq(), message.call_id()), (draft.cseq, draft.call_id.as_str()));
        prop_assert_eq!(message.branch(), Some(draft.branch.as_str()));
        prop_assert_eq!(message.from_tag(), draft.from.tag.as_deref());
        prop_assert_eq!(message.to_tag(), draft.to.tag.as_deref());
    }

    #[test]
    fn a_copy_keeps_every_byte(draft in draft(any_body()), noise in vec(1u8.., 0..40)) {
        // A value in no encoding at all, but for what ends a line.
        let noise: Vec<u8> = noise.into_iter().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        let mut bytes = draft.bytes();
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 2;
        let line = [&b"Organization: x"[..], &noise, b"x\r\nWarning: x", &noise, b"x\r\n"].concat();
        bytes.splice(head..head, line);
        let message = Message::parse(Bytes::from(bytes)).unwrap();
        let mut builder = Builder::request(&Method::parse(draft.method), "sip:x@y");
        for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq, Name::Warning] {
            builder = builder.copy(&message, name);
        }
        for field in message.all() {
            let copied = field.name.is_none() || field.name == Some(Name::Subject);
            if copied {
                builder = builder.raw(&field);
            }
        }
        let copy = Message::parse(builder.body("x/y", message.body())).unwrap();
        for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq, Name::Warning, Name::Subject] {
            prop_assert!(copy.raw_fields(name).eq(message.raw_fields(name)), "{:?}", name);
        }
        let unknown = |message: &Message| -> Vec<(String, Vec<u8>)> {
            let unknown = message.all().filter(|field| field.name.is_none());
            unknown.map(|field| (field.raw_name.to_owned(), field.value.to_vec())).collect()
        };
        prop_assert_eq!(unknown(&copy), unknown(&message));
        prop_assert_eq!(copy.body(), message.body());
    }

    #[test]
    fn an_answer_finds_its_way_back(draft in draft(any_body()), port in 1u16..) {
        let message = Message::parse(Bytes::from(draft.bytes())).unwrap();
        let source = ([198, 51, 100, 7], port).into();
        let answer = Builder::respond(&message, 200, "OK", Some("ours"), source).end();
        let answer = Message::parse(answer).unwrap();
        prop_assert_eq!(answer.branch(), message.branch());
        prop_assert_eq!((answer.call_id(), answer.cseq()), (message.call_id(), message.cseq()));
        prop_assert_eq!(answer.from_tag(), message.from_tag());
        prop_assert_eq!(answer.to_tag(), message.to_tag().or(Some("ours")));
        prop_assert_eq!(answer.via().received, Some("198.51.100.7"));
    }

    #[test]
    fn a_stream_is_the_same_wherever_it_is_cut(
        drafts in vec(draft(any_body()), 1..4),
        tail in prop_oneof![Just(Vec::new()), nearly_sip()],
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut stream: Vec<u8> = drafts.iter().flat_map(generated::Draft::bytes).collect();
        stream.extend_from_slice(&tail);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let mut framer = Framer::new(4096, 4096);
        let (mut pieces, mut at) = (Vec::new(), 0);
        for cut in cuts {
            framer.push(&stream[at..cut]);
            at = cut;
            pieces.extend(std::iter::from_fn(|| framer.next_frame()));
        }
        let mut framer = Framer::new(4096, 4096);
        framer.push(&stream);
        let whole: Vec<_> = std::iter::from_fn(|| framer.next_frame()).collect();
        // Keep-alives are counted by what was there at the time.
        prop_assert_eq!(messages(&pieces), messages(&whole));
        for (frame, draft) in messages(&whole).iter().zip(&drafts) {
            prop_assert_eq!(frame, &Ok(Bytes::from(draft.bytes())));
        }
    }

    #[test]
    fn comparison_of_uris_is_an_equivalence(
        a in loose_uri(),
        b in loose_uri(),
    ) {
        let (Ok(one), Ok(two)) = (Uri::parse(&a), Uri::parse(&b)) else { return Ok(()) };
        prop_assert!(one.equals(&one), "{} is itself", a);
        prop_assert_eq!(one.equals(&two), two.equals(&one), "{} {}", a, b);
    }

    #[test]
    fn a_uri_is_its_parts(text in uri()) {
        let uri = Uri::parse(&text).unwrap();
        let port = uri.port.map_or(String::new(), |port| format!(":{port}"));
        let params = match uri.params.as_str() {
            "" => String::new(),
            params => format!(";{params}"),
        };
        prop_assert_eq!(format!("sip:{}@{}{port}{params}", uri.user.unwrap(), uri.host), text);
    }

    #[test]
    fn a_rewritten_description_keeps_the_lines_it_does_not_know(
        session in vec(unknown_line(), 0..5),
        media in vec((select(&["audio", "video", "application"][..]), 1u16.., vec(unknown_line(), 0..5)), 0..4),
        places in vec(select(&[0u8, 1, 2][..]), 0..4),
    ) {
        let mut text = String::from("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n");
        text.extend(session.iter().cloned());
        for (kind, port, lines) in &media {
            text.push_str(&format!("m={kind} {port} RTP/AVP 0 96\r\n"));
            text.extend(lines.iter().cloned());
        }
        let places: Vec<_> = places
            .iter()
            .map(|place| match place {
                0 => Place::Keep,
                1 => Place::At(([198, 51, 100, 7], 4000).into()),
                _ => Place::Rejected,
            })
            .collect();
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        let with = Rewrite {
            session: 7,
            version: 8,
            address: [198, 51, 100, 7].into(),
            keep_session_address: false,
            covers: &[],
            places: &places,
            drop_ice: true,
        };
        let out = String::from_utf8(sdp.rewrite(&with)).unwrap();
        let known = |line: &&str| !matches!(line.as_bytes()[0], b'o' | b'c' | b'm');
        let before: Vec<_> = text.lines().filter(known).collect();
        let after: Vec<_> = out.lines().filter(known).collect();
        prop_assert_eq!(before, after);
        let again = Sdp::parse(out.as_bytes()).unwrap();
        prop_assert_eq!(again.media().len(), media.len());
        for (at, media) in again.media().iter().enumerate() {
            match places.get(at) {
                Some(Place::At(place)) => {
                    prop_assert_eq!((media.address, media.port), (Some(place.ip()), place.port()));
                }
                Some(Place::Rejected) => prop_assert_eq!(media.port, 0),
                Some(Place::Keep) | None => prop_assert_eq!(media.address, Some([192, 0, 2, 1].into())),
            }
        }
    }
}

/// URIs that are alike often enough to be equal.
fn loose_uri() -> impl Strategy<Value = String> {
    let user = select(&["", "a@", "A@", "%61@", "a%ff@", "a%fe@", "a:b@", "a:%62@"][..]);
    let host = select(&["b", "B", "[::1]", "[0::1]", "b:5060"][..]);
    let params = [
        ";x=1",
        ";x=2",
        ";X=1",
        ";x",
        ";user=phone",
        ";lr",
        ";transport=tcp",
        ";y=\"1\"",
    ];
    let headers = select(
        &[
            "", "?", "?a=1", "?a=1&b=2", "?b=2&a=1", "?a=1&a=1", "?a=1&b=1",
        ][..],
    );
    let scheme = select(&["sip:", "sips:", "tel:", "SIP:", "im:"][..]);
    (
        scheme,
        user,
        host,
        subsequence(params.to_vec(), 0..4).prop_shuffle(),
        headers,
    )
        .prop_map(|(scheme, user, host, params, headers)| {
            format!("{scheme}{user}{host}{}{headers}", params.concat())
        })
}

/// Lines that a rewrite has no business with.
fn unknown_line() -> impl Strategy<Value = String> {
    prop_oneof![
        "b=AS:[0-9]{1,4}\r\n",
        "a=x-[a-z]{1,8}(:[ -~]{0,30})?\r\n",
        "a=fmtp:96 [a-z]{1,4}m=[0-9]\r\n",
        "a=rtpmap:96 opus/48000/2\r\n",
        "k=clear:[a-z]{1,8}\r\n",
        "a=(sendrecv|sendonly|recvonly|inactive)\r\n",
    ]
}

fn messages(frames: &[Result<Frame, FrameError>]) -> Vec<Result<Bytes, FrameError>> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            Ok(Frame::Message(bytes)) => Some(Ok(bytes.clone())),
            Ok(Frame::TooLarge(_) | Frame::Ping | Frame::Pong) => None,
            Err(error) => Some(Err(*error)),
        })
        .collect()
}
