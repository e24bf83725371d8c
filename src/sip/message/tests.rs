use super::*;
use crate::sip::{Builder, Scheme, Uri};

/// An OPTIONS with these lines besides what it must have, and a body.
fn request(lines: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "OPTIONS sip:bob@example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa\r\n\
         From: <sip:alice@example.com>;tag=1\r\n\
         To: <sip:bob@example.com>\r\n\
         Call-ID: c@192.0.2.1\r\n\
         CSeq: 1 OPTIONS\r\n{lines}\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn parse(bytes: impl Into<Vec<u8>>) -> Result<Message, Malformed> {
    Message::parse(Bytes::from(bytes.into()))
}

fn taken(lines: &str, body: &[u8]) -> Message {
    parse(request(lines, body)).unwrap_or_else(|error| panic!("{lines}: {error}"))
}

fn fault(lines: &str, body: &[u8]) -> Fault {
    parse(request(lines, body)).expect_err(lines).reason
}

/// A message of whole lines, each ended by CRLF.
fn lines(lines: &[&str]) -> Vec<u8> {
    let mut text = lines.join("\r\n");
    text.push_str("\r\n\r\n");
    text.into_bytes()
}

#[test]
fn a_space_before_the_colon_is_legal() {
    let message = taken(
        "Content-Length : 4\r\n",
        b"bodyOPTIONS sip:x SIP/2.0\r\n\r\n",
    );
    assert_eq!(message.body(), b"body");
}

#[test]
fn a_content_length_of_two_to_the_64_less_one_in_a_datagram_is_refused() {
    for length in [
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999",
        "65536",
        "5",
    ] {
        let lines = format!("Content-Length: {length}\r\n");
        assert_eq!(fault(&lines, b"body"), Fault::ContentLength, "{length}");
    }
}

#[test]
fn a_content_length_that_is_no_number_is_refused() {
    for length in ["", "-1", "+4", "4 4", "0x4", "4;x", "\u{664}"] {
        let lines = format!("Content-Length: {length}\r\n");
        let malformed = parse(request(&lines, b"body")).unwrap_err();
        assert_eq!(malformed.reason, Fault::ContentLength, "{length}");
        assert!(malformed.salvaged.is_some(), "{length}");
    }
}

#[test]
fn two_content_lengths_are_refused_where_they_differ() {
    assert_eq!(
        fault("Content-Length: 4\r\nl: 0\r\n", b"body"),
        Fault::ContentLength
    );
    assert_eq!(
        taken("Content-Length: 4\r\nl: 04\r\n", b"body").body(),
        b"body"
    );
}

#[test]
fn a_datagram_without_content_length_is_body_to_its_end() {
    assert_eq!(taken("", b"all\r\n\r\nof it").body(), b"all\r\n\r\nof it");
    assert_eq!(taken("", b"").body(), b"");
}

#[test]
fn what_follows_the_body_of_a_datagram_is_left_aside() {
    assert_eq!(
        taken("Content-Length: 4\r\n", b"body and more").body(),
        b"body"
    );
}

#[test]
fn an_empty_via_is_refused() {
    let empty = request("", b"");
    let empty = String::from_utf8(empty).unwrap();
    let malformed = parse(empty.replace("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa", ""));
    let malformed = malformed.unwrap_err();
    assert_eq!(malformed.reason, Fault::Via);
    assert!(malformed.salvaged.is_none(), "there is nobody to answer");
    for second in ["Via:\r\n", "v: ,\r\n", "Via: SIP/2.0/UDP\r\n", "Via: x\r\n"] {
        let malformed = parse(request(second, b"")).unwrap_err();
        assert_eq!(malformed.reason, Fault::Via, "{second}");
        assert!(malformed.salvaged.is_some(), "{second}");
    }
}

#[test]
fn one_header_that_is_not_utf_8_takes_no_other_with_it() {
    let mut bytes = request(
        "X: 1\r\nSubject: gr\u{a7}\r\nUser-Agent: u\r\n",
        b"\xff\x00body",
    );
    let at = bytes
        .windows(2)
        .position(|w| w == "\u{a7}".as_bytes())
        .unwrap();
    bytes[at] = 0xe4;
    let message = parse(bytes).unwrap();
    assert_eq!(message.header(Name::Subject), None);
    assert_eq!(message.header(Name::UserAgent), Some("u"));
    assert_eq!(message.body(), b"\xff\x00body");
    let copy = Builder::response(200, "OK")
        .copy(&message, Name::Subject)
        .end();
    assert!(copy.windows(5).any(|w| w == b"gr\xe4\xa7\r"), "{copy:?}");
}

#[test]
fn a_display_name_in_latin_1_costs_only_itself() {
    let bytes = [
        &b"INVITE sip:b@c SIP/2.0\r\nv: SIP/2.0/UDP h\r\nf: \"J\xf6rg <x>\" <sip:j@c>;tag=t\r\nt: J\xf6rg <sip:b@c>\r\n"[..],
        b"i: 1\r\nCSeq: 1 INVITE\r\nm: \"\xe9\" <sip:j@h:5070>;q=0.5, \"two\" <sip:k@h>\r\n\r\n",
    ]
    .concat();
    let message = parse(bytes).unwrap();
    assert_eq!(
        (message.from().uri, message.from_tag()),
        ("sip:j@c", Some("t"))
    );
    assert_eq!(message.to().uri, "sip:b@c");
    let Contacts::List(contacts) = message.contacts().unwrap() else {
        panic!("no contacts")
    };
    let uris: Vec<_> = contacts.iter().map(|contact| contact.uri).collect();
    assert_eq!(uris, ["sip:j@h:5070", "sip:k@h"]);
    let answer = Builder::respond(
        &message,
        486,
        "Busy Here",
        Some("x"),
        ([192, 0, 2, 1], 5060).into(),
    )
    .end();
    let answer = parse(answer.to_vec()).unwrap();
    assert_eq!((answer.from_tag(), answer.to_tag()), (Some("t"), Some("x")));
}

#[test]
fn a_reason_phrase_in_latin_1_costs_only_itself() {
    let bytes = [
        &b"SIP/2.0 486 besch\xe4ftigt\r\nv: SIP/2.0/UDP h;branch=z9hG4bKx\r\nf: <sip:a@b>;tag=1\r\nt: <sip:b@b>;tag=2\r\n"[..],
        b"i: 1\r\nCSeq: 1 INVITE\r\n\r\n",
    ]
    .concat();
    let message = parse(bytes).unwrap();
    assert_eq!(
        (message.status(), message.branch()),
        (486, Some("z9hG4bKx"))
    );
    assert_eq!(*message.method(), Method::Invite);
}

#[test]
fn compact_forms_in_any_case() {
    let message = parse(lines(&[
        "MESSAGE sip:b@c SIP/2.0",
        "V: SIP/2.0/TCP h;branch=z9hG4bK1",
        "F: <sip:a@c>;tag=f",
        "T: <sip:b@c>;tag=t",
        "I: id",
        "CSEQ: 7 MESSAGE",
        "M: <sip:a@h>",
        "C: text/plain",
        "K: timer , replaces",
        "S: hello",
        "L: 0",
    ]))
    .unwrap();
    assert_eq!(
        (message.branch(), message.from_tag(), message.to_tag()),
        (Some("z9hG4bK1"), Some("f"), Some("t"))
    );
    assert_eq!((message.call_id(), message.cseq()), ("id", 7));
    assert!(message.has_token(Name::Supported, "Replaces"));
    assert_eq!(message.content_type(), Some("text/plain"));
    assert!(matches!(message.contacts(), Ok(Contacts::List(list)) if list[0].uri == "sip:a@h"));
}

#[test]
fn folded_values_are_one_and_the_body_is_not_touched() {
    let message = taken(
        "Subject: one\r\n two\r\n\tthree\r\nContent-Length:\r\n 13\r\n",
        b"a\r\n b\r\n\tc\r\n\r\n",
    );
    assert_eq!(message.header(Name::Subject), Some("one   two  \tthree"));
    assert_eq!(message.body(), b"a\r\n b\r\n\tc\r\n\r\n");
}

#[test]
fn a_body_behind_bare_line_feeds_is_not_unfolded() {
    let text = String::from_utf8(request("Subject: a\r\n b\r\n", b"")).unwrap();
    let mut bytes = text.replace("\r\n", "\n").into_bytes();
    bytes.extend_from_slice(b"x\n y\r\n z\r\n\r\n");
    let message = parse(bytes).unwrap();
    assert_eq!(message.header(Name::Subject), Some("a  b"));
    assert_eq!(message.body(), b"x\n y\r\n z\r\n\r\n");
}

#[test]
fn a_fold_hides_no_header() {
    let message = taken("X: 1\r\n Content-Length: 0\r\n", b"body");
    assert_eq!(message.header(Name::ContentLength), None);
    assert_eq!(message.body(), b"body");
}

#[test]
fn a_bare_carriage_return_is_no_line_end() {
    assert_eq!(
        fault("Subject: a\rContent-Length: 0\r\n", b"body"),
        Fault::HeaderLine
    );
}

#[test]
fn line_ends_before_a_message_mean_nothing() {
    let bytes = [b"\r\n\r\n", &request("", b"body")[..]].concat();
    assert_eq!(parse(bytes).unwrap().body(), b"body");
    assert_eq!(parse(*b"\r\n\r\n").unwrap_err().reason, Fault::NotSip);
}

#[test]
fn a_version_has_no_case_and_a_method_has_one() {
    let text = String::from_utf8(request("", b"")).unwrap();
    assert!(parse(text.replace(" SIP/2.0\r\nVia", " sip/2.0\r\nVia")).is_ok());
    let message = parse(text.replace("OPTIONS", "Options")).unwrap();
    assert_eq!(*message.method(), Method::Other("Options".into()));
    assert!(parse("sip/2.0 200\r\nv: SIP/2.0/UDP h\r\nf: <sip:a@b>;tag=1\r\nt: <sip:b@b>\r\ni: 1\r\nCSeq: 1 BYE\r\n\r\n").is_ok());
}

#[test]
fn commas_in_quotes_and_brackets_part_nothing() {
    let message = taken(
        "Contact: \"a, \\\"b\\\", <c>\" <sip:a,b@h;x=1,2>;q=1, <sip:c@h>\r\nContact: sip:d@h;q=0.1\r\n",
        b"",
    );
    let Contacts::List(contacts) = message.contacts().unwrap() else {
        panic!("no contacts")
    };
    assert_eq!(contacts.len(), 3);
    assert_eq!(contacts[0].display.as_deref(), Some("a, \"b\", <c>"));
    assert_eq!(contacts[0].uri, "sip:a,b@h;x=1,2");
    assert_eq!(contacts[2].params.value("q"), Some("0.1"));
}

#[test]
fn ipv6_escaped_users_and_telephone_numbers() {
    let text = String::from_utf8(request(
        "Contact: <sip:al%69ce%20b@[2001:db8::9]:5070;transport=tcp>\r\n",
        b"",
    ))
    .unwrap();
    let text = text.replace(
        "sip:bob@example.com SIP",
        "tel:+1-201-555-0123;phone-context=x SIP",
    );
    let text = text.replace(
        "UDP 192.0.2.1:5060",
        "UDP [2001:db8::1]:5061;received=2001:db8::2;rport=9",
    );
    let message = parse(text).unwrap();
    let number = Uri::parse(message.uri()).unwrap();
    assert_eq!(
        (number.scheme, number.user),
        (Scheme::Tel, Some("+1-201-555-0123"))
    );
    let via = message.via();
    assert_eq!(
        (via.host, via.port, via.rport),
        ("2001:db8::1", Some(5061), Some(Some(9)))
    );
    assert_eq!(via.received, Some("2001:db8::2"));
    let Contacts::List(contacts) = message.contacts().unwrap() else {
        panic!("no contacts")
    };
    let uri = contacts[0].uri_parsed().unwrap();
    assert_eq!(uri.user_unescaped(), "alice b");
    assert_eq!((uri.host, uri.port), ("2001:db8::9", Some(5070)));
}

#[test]
fn numbers_are_digits_and_have_limits() {
    let with = |from: &str, to: &str| {
        let text = String::from_utf8(request("Max-Forwards: 70\r\n", b"")).unwrap();
        assert!(text.contains(from), "{from}");
        parse(text.replace(from, to)).map_err(|malformed| malformed.reason)
    };
    for (from, to, reason) in [
        ("CSeq: 1 ", "CSeq: +1 ", Fault::CSeq),
        ("CSeq: 1 ", "CSeq: 2147483648 ", Fault::CSeq),
        ("CSeq: 1 OPTIONS", "CSeq: 1", Fault::CSeq),
        ("CSeq: 1 OPTIONS", "CSeq: 1OPTIONS", Fault::CSeq),
        ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE", Fault::MethodMismatch),
        ("Max-Forwards: 70", "Max-Forwards: +7", Fault::Number),
        ("Max-Forwards: 70", "Max-Forwards: 256", Fault::Number),
        ("Max-Forwards: 70", "Expires: -1", Fault::Number),
        ("192.0.2.1:5060", "192.0.2.1:+5060", Fault::Via),
        ("192.0.2.1:5060", "192.0.2.1:65536", Fault::Via),
        (
            "bob@example.com SIP",
            "bob@example.com:+1 SIP",
            Fault::RequestUri,
        ),
    ] {
        assert_eq!(with(from, to).err(), Some(reason), "{to}");
    }
    let message = with("CSeq: 1 ", "CSeq: 0002147483647 ").unwrap();
    assert_eq!(message.cseq(), 2_147_483_647);
    let message = with("Max-Forwards: 70", "Expires: 99999999999").unwrap();
    assert_eq!(message.expires(), Some(u32::MAX));
}

#[test]
fn what_stands_once_may_not_stand_twice() {
    for name in [
        "f: <sip:x@y>",
        "To: <sip:x@y>",
        "i: x",
        "CSeq: 2 OPTIONS",
        "c: a/b\r\nc: a/b",
    ] {
        assert_eq!(
            fault(&format!("{name}\r\n"), b""),
            Fault::RepeatedHeader,
            "{name}"
        );
    }
}

#[test]
fn a_request_that_lacks_all_but_its_via_can_be_answered() {
    let malformed = parse(lines(&["INVITE sip:b@c SIP/2.0", "Via: SIP/2.0/UDP h"])).unwrap_err();
    assert_eq!(malformed.reason, Fault::MissingHeader);
    let request = malformed.salvaged.unwrap();
    let answer = Builder::respond(
        &request,
        400,
        "Bad Request",
        Some("t"),
        ([192, 0, 2, 9], 7).into(),
    )
    .end();
    assert_eq!(
        &answer[..],
        b"SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/UDP h;received=192.0.2.9\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn limits_are_faults_that_can_be_answered() {
    let most = "X: 1\r\n".repeat(FIELDS_MAX - 5);
    assert!(parse(request(&most, b"")).is_ok());
    let malformed = parse(request(&format!("{most}Y: 1\r\n"), b"")).unwrap_err();
    assert_eq!(malformed.reason, Fault::TooManyHeaders);
    assert!(malformed.salvaged.is_some());
    let room = BYTES_MAX - request("", b"").len();
    assert_eq!(taken("", &vec![0; room]).body().len(), room);
    let malformed = parse(request("", &vec![b'x'; room + 1])).unwrap_err();
    assert_eq!((malformed.reason, malformed.status), (Fault::TooLarge, 513));
    assert_eq!(malformed.salvaged.unwrap().call_id(), "c@192.0.2.1");
    let long = format!("{}: 1\r\n", "n".repeat(256));
    assert_eq!(fault(&long, b""), Fault::HeaderLine);
}

#[test]
fn more_hops_than_any_way_has_are_refused_before_they_are_read() {
    for (name, value) in [
        ("Record-Route", "\"a,b\" <sip:h,i@h;lr>"),
        ("Route", "<sip:h;lr>"),
        ("Via", "SIP/2.0/UDP h;branch=z9hG4bKx"),
    ] {
        let list = |values: usize| vec![value; values].join(",");
        // The request has a Via already.
        let most = HOPS_MAX - usize::from(name == "Via");
        taken(&format!("{name}: {}\r\n", list(most)), b"");
        let two = format!("{name}: {}\r\n{name}: {value}\r\n", list(most));
        let malformed = parse(request(&two, b"")).unwrap_err();
        assert_eq!(malformed.reason, Fault::TooManyHeaders, "{name}");
        assert!(malformed.salvaged.is_none(), "{name}");
        // What is nonsense among them, or behind them, has not been looked at.
        let more = format!("{name}: {},;;;\r\nno header\r\n", list(2000));
        assert_eq!(fault(&more, b""), Fault::TooManyHeaders, "{name}");
    }
}

#[test]
fn a_head_without_an_end_is_refused() {
    let mut bytes = request("", b"");
    bytes.truncate(bytes.len() - 2);
    assert_eq!(parse(bytes).unwrap_err().reason, Fault::HeaderLine);
}

#[test]
fn no_value_begins_another_header() {
    let bytes = Builder::request(&Method::Options, "sip:a\r\nX: 1\r\n@b")
        .header(Name::Subject, "a\r\nX: 2")
        .other("Y", "b\nX: 3\r")
        .body("text/plain\r\nX: 4", b"\r\nX: 5");
    let text = std::str::from_utf8(&bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.lines().all(|line| !line.starts_with("X:")), "{head}");
    assert_eq!(body, "\r\nX: 5");
}

#[test]
fn a_response_keeps_every_via_parameter() {
    let text = String::from_utf8(request("", b"")).unwrap();
    let text = text.replace(";branch", ";x=\"a;b\";rport;received=1.1.1.1;flag ; branch");
    let text = text.replace(
        "From:",
        "Via: SIP/2.0/TCP p;branch=b, SIP/2.0/UDP q\r\nFrom:",
    );
    let message = parse(text).unwrap();
    let answer = Builder::respond(
        &message,
        100,
        "Trying",
        Some("t"),
        ([198, 51, 100, 7], 9).into(),
    )
    .end();
    let answer = parse(answer.to_vec()).unwrap();
    let vias: Vec<_> = answer.vias().collect();
    assert_eq!(
        vias,
        [
            "SIP/2.0/UDP 192.0.2.1:5060;x=\"a;b\";flag;branch=z9hG4bKa;rport=9;received=198.51.100.7",
            "SIP/2.0/TCP p;branch=b",
            "SIP/2.0/UDP q",
        ]
    );
    assert_eq!(answer.to_tag(), None, "a 100 makes no dialog");
}

#[test]
fn an_empty_tag_is_none() {
    for (params, kept) in [
        (";tag=", ""),
        (";tag", ""),
        (" ; a=1; TAG = ;b ", ";a=1;b"),
        (";tag;tag=2", ""),
    ] {
        let text = String::from_utf8(request("", b"")).unwrap();
        let said = format!("To: <sip:bob@example.com>{params}");
        let message = parse(text.replace("To: <sip:bob@example.com>", &said)).unwrap();
        assert_eq!(message.to_tag(), None, "{params}");
        // What is answered has ours alone.
        let source = "192.0.2.1:5060".parse().unwrap();
        let answer = Builder::respond(&message, 200, "OK", Some("ours"), source).end();
        let answer = Message::parse(answer).unwrap();
        let to = format!("<sip:bob@example.com>{kept};tag=ours");
        assert_eq!(answer.header(Name::To), Some(&*to), "{params}");
    }
}

/// RFC 6223 4.3: who asks for it on the way that it sends, and of a flow that lasts, is told how often.
#[test]
fn a_flow_that_is_to_be_kept_is_told_how_often() {
    for (method, via, status, told) in [
        (
            "REGISTER",
            "UDP h;keep;branch=z9hG4bKa",
            200,
            Some(Some("30")),
        ),
        (
            "REGISTER",
            "TCP h;branch=z9hG4bKa;KEEP",
            200,
            Some(Some("120")),
        ),
        (
            "INVITE",
            "TLS h;keep;branch=z9hG4bKa",
            180,
            Some(Some("120")),
        ),
        ("INVITE", "UDP h;keep;branch=z9hG4bKa", 100, Some(None)),
        ("INVITE", "UDP h;keep;branch=z9hG4bKa", 486, Some(None)),
        ("MESSAGE", "UDP h;keep;branch=z9hG4bKa", 200, Some(None)),
        (
            "REGISTER",
            "UDP h;keep=7;branch=z9hG4bKa",
            200,
            Some(Some("7")),
        ),
        ("REGISTER", "UDP h;branch=z9hG4bKa", 200, None),
    ] {
        let text = format!(
            "{method} sip:example.com SIP/2.0\r\nVia: SIP/2.0/{via}\r\n\
             Via: SIP/2.0/UDP p;keep;branch=z9hG4bKb\r\nMax-Forwards: 70\r\n\
             From: <sip:a@example.com>;tag=a\r\nTo: <sip:a@example.com>\r\nCall-ID: c\r\n\
             CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        let message = parse(text).unwrap();
        let source = ([198, 51, 100, 7], 9).into();
        let answer = Builder::respond(&message, status, "Said", Some("t"), source).end();
        let answer = parse(answer.to_vec()).unwrap();
        assert_eq!(
            answer.via().params.get("keep"),
            told,
            "{method} {via} {status}"
        );
        let next = answer.vias().nth(1).unwrap();
        assert!(next.contains(";keep;"), "it is no business of ours: {next}");
    }
}
