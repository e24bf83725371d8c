use super::*;

const CALLER: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=candidate:1 1 UDP 1 192.0.2.1 4000 typ host\r\n\
    m=video 0 RTP/AVP 99\r\n";

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_is_seen() {
    let sdp = Sdp::parse(CALLER.as_bytes()).unwrap();
    let audio = &sdp.media()[0];
    assert_eq!(
        (audio.kind, audio.port, audio.ptime),
        (Kind::Audio, 4000, Some(20))
    );
    assert_eq!(audio.address, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(
        audio.rtcp_address(false),
        Some("192.0.2.1:4001".parse().unwrap())
    );
    let payloads: Vec<_> = audio
        .payloads()
        .map(|p| (p.number, p.name, p.clock))
        .collect();
    assert_eq!(
        payloads,
        [
            (0, "PCMU", 8000),
            (8, "PCMA", 8000),
            (101, "telephone-event", 8000)
        ]
    );
    assert_eq!(sdp.media()[1].port, 0);
}

#[test]
fn rewritten_only_where_it_must_be() {
    let sdp = Sdp::parse(CALLER.as_bytes()).unwrap();
    let places = [
        Place::At("198.51.100.7:10000".parse().unwrap()),
        Place::Rejected,
    ];
    let with = Rewrite {
        session: 5,
        version: 6,
        address: "198.51.100.7".parse().unwrap(),
        keep_session_address: false,
        covers: &[],
        places: &places,
        drop_ice: true,
    };
    assert_eq!(
        text(sdp.rewrite(&with)),
        "v=0\r\no=- 5 6 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
         m=audio 10000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n\
         m=video 0 RTP/AVP 99\r\n"
    );
}

#[test]
fn another_family_and_media_level_addresses() {
    let v6 =
        "v=0\no=- 1 1 IN IP6 ::1\ns=-\nt=0 0\nm=audio 4000 RTP/AVP 0\nc=IN IP6 ::1\na=rtcp:4009\n";
    let sdp = Sdp::parse(v6.as_bytes()).unwrap();
    assert_eq!(
        sdp.media()[0].rtcp_address(false),
        Some("[::1]:4009".parse().unwrap())
    );
    let places = [Place::At("198.51.100.7:10000".parse().unwrap())];
    let with = Rewrite {
        session: 1,
        version: 1,
        address: "198.51.100.7".parse().unwrap(),
        keep_session_address: false,
        covers: &[],
        places: &places,
        drop_ice: true,
    };
    assert_eq!(
        text(sdp.rewrite(&with)),
        "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nt=0 0\r\nm=audio 10000 RTP/AVP 0\r\nc=IN IP4 198.51.100.7\r\na=rtcp:10001\r\n"
    );
}

#[test]
fn a_section_that_stays_keeps_its_address() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=message 7000 TCP/MSRP *\r\n";
    let sdp = Sdp::parse(sdp.as_bytes()).unwrap();
    let places = [
        Place::At("198.51.100.7:10000".parse().unwrap()),
        Place::Keep,
    ];
    let with = Rewrite {
        session: 1,
        version: 1,
        address: "198.51.100.7".parse().unwrap(),
        keep_session_address: false,
        covers: &[],
        places: &places,
        drop_ice: true,
    };
    let out = text(sdp.rewrite(&with));
    assert!(
        out.ends_with("m=message 7000 TCP/MSRP *\r\nc=IN IP4 192.0.2.1\r\n"),
        "{out}"
    );
}

#[test]
fn keys_are_covered_by_ours() {
    let theirs = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\na=ptime:20\r\na=fingerprint:sha-1 A\r\n\
        m=video 4002 RTP/AVPF 96\r\na=crypto:2 NONE inline:x\r\n\
        m=audio 4004 RTP/SAVP 0\r\na=crypto:1 NONE inline:x\r\n\
        m=audio 4006  RTP/SAVP 0\r\na=crypto:1 NONE inline:x\r\n";
    let sdp = Sdp::parse(theirs.as_bytes()).unwrap();
    let key = MasterKey::fresh(Suite::AesCm128HmacSha1_80, |octets| octets.fill(0));
    let keys = [Crypto { tag: 7, key }];
    let covers = [
        Cover::Ours {
            profile: "RTP/AVP",
            keys: &[],
        },
        Cover::Ours {
            profile: "RTP/SAVPF",
            keys: &keys,
        },
        Cover::Refused { profile: "RTP/AVP" },
        Cover::Keep,
    ];
    let line = format!("a=crypto:{}\r\n", keys[0].write());
    let media = |video: u16| {
        format!(
            "m=audio 4000 RTP/AVP 0\r\na=ptime:20\r\nm=video {video} RTP/SAVPF 96\r\n{}\
             m=audio 0 RTP/AVP 0\r\nm=audio 4006  RTP/SAVP 0\r\na=crypto:1 NONE inline:x\r\n",
            if video == 0 { "" } else { &line }
        )
    };
    let covered = text(sdp.covered(&covers));
    let head = &theirs[..theirs.find("m=").unwrap()];
    assert_eq!(covered, format!("{head}{}", media(4002)));
    let with = Rewrite {
        session: 1,
        version: 1,
        address: "192.0.2.1".parse().unwrap(),
        keep_session_address: false,
        covers: &covers,
        places: &[Place::Keep, Place::Rejected],
        drop_ice: true,
    };
    let rewritten = text(sdp.rewrite(&with));
    let without = |text: &str| text.replace("c=IN IP4 192.0.2.1\r\n", "");
    assert!(without(&rewritten).ends_with(&media(0)), "{rewritten}");
}

#[test]
fn who_agrees_on_the_keys() {
    let of = |session: &str, media: &str| {
        let sdp = format!("v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\n{session}{media}");
        Sdp::parse(sdp.as_bytes()).unwrap().media()[0].keying()
    };
    let (crypto, print) = ("a=crypto:1 X inline:y\r\n", "a=fingerprint:sha-1 A\r\n");
    for (session, media, keying) in [
        ("", "m=audio 9 RTP/AVP 0\r\n".to_owned(), Keying::None),
        ("", "m=audio 9 RTP/SAVP 0\r\n".to_owned(), Keying::Sdes),
        ("", format!("m=audio 9 RTP/AVP 0\r\n{crypto}"), Keying::Sdes),
        (
            "",
            format!("m=audio 9 RTP/SAVP 0\r\n{crypto}{print}"),
            Keying::Sdes,
        ),
        (
            print,
            format!("m=audio 9 RTP/SAVPF 0\r\n{crypto}"),
            Keying::Sdes,
        ),
        (
            print,
            "m=audio 9 RTP/AVP 0\r\n".to_owned(),
            Keying::EndToEnd,
        ),
        (
            "",
            format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n{crypto}"),
            Keying::EndToEnd,
        ),
        (
            "",
            "m=audio 9 RTP/SAVP 0\r\na=key-mgmt:mikey AQ\r\n".to_owned(),
            Keying::EndToEnd,
        ),
        (
            print,
            "m=message 9 TCP/TLS/MSRP *\r\n".to_owned(),
            Keying::None,
        ),
    ] {
        assert_eq!(of(session, &media), keying, "{session}{media}");
    }
}

#[test]
fn an_offer_again_has_what_is_in_use_first() {
    let told = "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\n";
    let again = text(offer_again(CALLER.as_bytes(), told.as_bytes()).unwrap());
    assert!(
        again.contains("m=audio 4000 RTP/AVP 8 101 0\r\n"),
        "{again}"
    );
}

#[test]
fn what_was_offered_once_stands_behind_what_is_said_now() {
    let of = |media: &str| format!("v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\n{media}\r\n");
    let digits = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15";
    for (said, more, wider) in [
        (
            "m=audio 7 RTP/AVP 9\r\na=sendonly",
            format!("m=audio 9 RTP/AVP 0 9 101\r\n{digits}\r\na=ptime:20"),
            Some(format!(
                "m=audio 7 RTP/AVP 9 0 101\r\na=sendonly\r\n{digits}"
            )),
        ),
        // All is there, under other numbers; or the number is another format's by now.
        (
            "m=audio 7 RTP/AVP 96 0\r\na=rtpmap:96 telephone-event/8000",
            format!("m=audio 9 RTP/AVP 0 101\r\n{digits}"),
            None,
        ),
        (
            "m=audio 7 RTP/AVP 101\r\na=rtpmap:101 opus/48000/2",
            format!("m=audio 9 RTP/AVP 101\r\n{digits}"),
            None,
        ),
        // A repair names the number of what it repairs.
        (
            "m=video 7 RTP/AVP 31",
            "m=video 9 RTP/AVP 31 97\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=31".into(),
            None,
        ),
        ("m=audio 0 RTP/AVP 9", "m=audio 9 RTP/AVP 0 9".into(), None),
        ("m=image 7 udptl t38", "m=audio 9 RTP/AVP 0".into(), None),
    ] {
        let found = widened(of(said).as_bytes(), of(&more).as_bytes());
        assert_eq!(found.map(text), wider.map(|wider| of(&wider)), "{said}");
    }
}

#[test]
fn which_answers_fit() {
    let told = b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
    for (media, fit) in [
        ("m=audio 9 RTP/AVP 0", true),
        ("m=audio 9 RTP/AVP 96\r\na=rtpmap:96 pcmu/8000", true),
        ("m=audio 9 RTP/AVP 8 0", true),
        ("m=audio 9 RTP/AVP 8", false),
        ("m=audio 0 RTP/AVP 0", false),
        ("m=video 9 RTP/AVP 0", false),
        (
            "m=audio 9 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000",
            false,
        ),
    ] {
        let said = format!("v=0\r\no=- 1 1 IN IP4 2.2.2.2\r\ns=-\r\nt=0 0\r\n{media}\r\n");
        assert_eq!(fits(told, told, said.as_bytes()), fit, "{media}");
    }
    // Text within the dialog has no place of its own; what goes from endpoint to endpoint has.
    for (line, fit) in [
        ("m=message 5060 sip null", true),
        (
            "m=message 7654 TCP/MSRP *\r\na=path:msrp://2.2.2.2:7654/s;tcp",
            false,
        ),
        ("m=image 9 udptl t38", false),
    ] {
        let of = |ip| format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\n{line}\r\n");
        let (told, said) = (of("1.1.1.1"), of("2.2.2.2"));
        assert_eq!(fits(told.as_bytes(), b"", said.as_bytes()), fit, "{line}");
        // The survivor may be asked for that place, and for the sound beside it.
        assert!(may_be_asked_for(told.as_bytes(), said.as_bytes()));
        for (sound, fit) in [("RTP/AVP 0", true), ("RTP/AVP 9", true)] {
            let told = format!("{told}m=audio 9 RTP/AVP 0\r\n");
            let said = format!("{said}m=audio 9 {sound}\r\n");
            let found = may_be_asked_for(told.as_bytes(), said.as_bytes());
            assert_eq!(found, fit, "{line}, {sound}");
        }
    }
}

#[test]
fn who_says_where_it_is_now_says_no_more() {
    let of = |session: &str, media: &str| {
        format!("v=0\r\no=- 1 {session}\r\ns=-\r\nt=0 0\r\n{media}\r\n")
    };
    let audio = "m=audio 9 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp:10";
    let before = of("1 IN IP4 1.1.1.1\r\nc=IN IP4 1.1.1.1", audio);
    let moved = "2 IN IP4 2.2.2.2\r\nc=IN IP4 2.2.2.2";
    let more = "m=audio 7 RTP/AVP 9 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=x";
    for (offer, moves) in [
        (before.clone(), false),
        (of(moved, audio), true),
        (
            of(
                moved,
                &audio
                    .replace("audio 9", "audio 7")
                    .replace("rtcp:10", "rtcp:8"),
            ),
            true,
        ),
        (of(moved, more), true),
        // It is where it was, and wants another format.
        (of("2 IN IP4 1.1.1.1\r\nc=IN IP4 1.1.1.1", more), false),
        (of(moved, &more.replace("0 8 101", "8 101")), false),
        (of(moved, &more.replace("101", "96")), false),
        (of(moved, &more.replace("a=x", "a=sendonly")), false),
        (
            of(
                moved,
                &more.replace("a=x", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"),
            ),
            false,
        ),
        (of(moved, &format!("{audio}\r\na=sendonly")), false),
        (of(moved, &audio.replace("audio 9", "audio 0")), false),
        (
            of(moved, &format!("{audio}\r\nm=video 9 RTP/AVP 99")),
            false,
        ),
        (of("2 IN IP4 2.2.2.2\r\nc=IN IP4 0.0.0.0", audio), false),
        (of("2 IN IP4 2.2.2.2\r\nc=IN IP4 0.0.0.0", more), false),
        ("nonsense".into(), false),
    ] {
        assert_eq!(
            only_moves(before.as_bytes(), before.as_bytes(), offer.as_bytes()),
            moves,
            "{offer}"
        );
    }
    // What goes from endpoint to endpoint goes to another place now.
    let msrp = |ip| {
        of(
            &format!("1 IN IP4 {ip}\r\nc=IN IP4 {ip}"),
            "m=message 7654 TCP/MSRP *",
        )
    };
    let (old, new) = (msrp("1.1.1.1"), msrp("2.2.2.2"));
    assert!(!only_moves(old.as_bytes(), old.as_bytes(), new.as_bytes()));
    // What it was refused it asks for again.
    let two = |session| of(session, &format!("{audio}\r\nm=video 9 RTP/AVP 31"));
    let (old, new) = (two("1 IN IP4 1.1.1.1\r\nc=IN IP4 1.1.1.1"), two(moved));
    let refused = old.replace("m=video 9", "m=video 0");
    assert!(only_moves(old.as_bytes(), old.as_bytes(), new.as_bytes()));
    assert!(!only_moves(
        old.as_bytes(),
        refused.as_bytes(),
        new.as_bytes()
    ));
}

#[test]
fn a_hold_is_answered_with_the_standing_session() {
    let standing = b"v=0\r\no=- 5 6 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
    let offer = b"v=0\r\no=- 1 2 IN IP4 2.2.2.2\r\ns=-\r\nt=0 0\r\na=sendonly\r\nm=audio 7 RTP/AVP 0\r\nm=video 8 RTP/AVP 99\r\n";
    assert_eq!(
        text(answer_with(standing, offer).unwrap()),
        "v=0\r\no=- 5 6 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=recvonly\r\nm=video 0 RTP/AVP 99\r\n"
    );
    let same = answer_with(standing, &standing[..]).unwrap();
    assert_eq!(same, standing);
}

#[test]
fn an_answer_is_what_both_ends_allow() {
    let said = |direction: &str| {
        format!(
            "v=0\r\no=- 5 6 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n{direction}"
        )
    };
    // What stands, what is offered, the answer, and the one where nobody is there.
    for (ours, offer, expected, asked) in [
        ("", "", "", ""),
        ("a=sendonly\r\n", "", "a=sendonly\r\n", ""),
        ("a=inactive\r\n", "a=sendrecv\r\n", "a=inactive\r\n", ""),
        ("a=recvonly\r\n", "", "a=recvonly\r\n", ""),
        ("", "a=sendonly\r\n", "a=recvonly\r\n", "a=recvonly\r\n"),
        (
            "a=sendonly\r\n",
            "a=recvonly\r\n",
            "a=sendonly\r\n",
            "a=sendonly\r\n",
        ),
        (
            "a=sendonly\r\n",
            "a=sendonly\r\n",
            "a=inactive\r\n",
            "a=recvonly\r\n",
        ),
        ("", "a=inactive\r\n", "a=inactive\r\n", "a=inactive\r\n"),
    ] {
        let (ours, offer) = (said(ours), said(offer));
        let answered = answer_with(ours.as_bytes(), offer.as_bytes()).unwrap();
        assert_eq!(text(answered), said(expected), "{ours}{offer}");
        let answered = answer_as_asked(ours.as_bytes(), offer.as_bytes()).unwrap();
        assert_eq!(text(answered), said(asked), "{ours}{offer}");
    }
}

#[test]
fn who_had_no_such_stream_wants_more() {
    let said = |audio: u16, video: u16| {
        format!(
            "v=0\r\no=- 5 6 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio {audio} RTP/AVP 0\r\nm=video {video} RTP/AVP 99\r\n"
        )
    };
    let more = |before: &str, now: &str| wants_more(before.as_bytes(), now.as_bytes());
    assert!(!more(&said(9, 8), &said(7, 6)) && !more(&said(9, 8), &said(7, 0)));
    assert!(more(&said(9, 0), &said(7, 6)) && more("", &said(7, 6)));
    let sound = said(9, 8);
    let sound = sound.split("m=video").next().unwrap();
    assert!(more(sound, &said(7, 6)) && !more(&said(9, 8), sound));
}

#[test]
fn what_is_no_description() {
    for bad in [
        &b""[..],
        b"\xff",
        b"m=audio 9 RTP/AVP 0\r\n",
        b"v=0\r\nnonsense\r\n",
        b"v=0\r\nm=audio x RTP/AVP 0\r\n",
        b"v=1\r\n",
    ] {
        assert!(Sdp::parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(Sdp::parse(&[b'v'; 20_000]), Err(SdpError::TooLarge));
}

#[test]
fn only_the_version_changes() {
    let out = text(Sdp::parse(CALLER.as_bytes()).unwrap().with_version(9));
    assert_eq!(out, CALLER.replace("o=alice 1 1", "o=alice 1 9"));
}

#[test]
fn an_address_is_put_behind_its_media_line() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 96\r\ni=talk\r\na=fmtp:96 stream=1\r\n\
        m=message 7000 TCP/MSRP *\r\ni=text\r\na=path:x?m=1\r\n";
    let sdp = Sdp::parse(sdp.as_bytes()).unwrap();
    let with = Rewrite {
        session: 1,
        version: 1,
        address: "198.51.100.7".parse().unwrap(),
        keep_session_address: false,
        covers: &[],
        places: &[
            Place::At("198.51.100.8:10000".parse().unwrap()),
            Place::Keep,
        ],
        drop_ice: false,
    };
    assert_eq!(
        text(sdp.rewrite(&with)),
        "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
         m=audio 10000 RTP/AVP 96\r\ni=talk\r\nc=IN IP4 198.51.100.8\r\na=fmtp:96 stream=1\r\n\
         m=message 7000 TCP/MSRP *\r\ni=text\r\nc=IN IP4 192.0.2.1\r\na=path:x?m=1\r\n"
    );
}

/// RFC 8866 5.7.
#[test]
fn a_name_stands_in_place_of_an_address() {
    for (line, host) in [
        ("IN IP4 media.example.net", Some("media.example.net")),
        ("IN IP6 Phone-7_x", Some("Phone-7_x")),
        ("IN IP4 192.0.2.1", None),
        ("IN IP4 192.0.2.256", None),
        ("IN IP4 a b", Some("a")),
        ("IN IP4 a/b", None),
        ("IN IP4 <x>", None),
        ("IN IP4", None),
        ("IN IP6 fe80::1%eth0", None),
    ] {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc={line}\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
        );
        let mut sdp = Sdp::parse(text.as_bytes()).unwrap();
        assert_eq!(sdp.media()[0].host, host, "{line}");
        if let Some(host) = host {
            let at = "198.51.100.7".parse().unwrap();
            sdp.locate("other", at);
            assert_eq!(sdp.media()[0].address, None);
            sdp.locate(host, at);
            assert_eq!(sdp.media()[0].address, Some(at));
        }
    }
    let long = format!(
        "v=0\r\nc=IN IP4 {}\r\nm=audio 9 RTP/AVP 0\r\n",
        "a".repeat(254)
    );
    assert_eq!(Sdp::parse(long.as_bytes()).unwrap().media()[0].host, None);
}
