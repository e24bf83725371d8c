//! WebSocket listeners, plain and under TLS.

use std::io::{Read, Write};
use std::net::TcpStream;

use refork::engine::ids::Transport;
use refork::engine::time::Millis;
use refork::sip::stream::FrameError;
use refork::transport::{Fault, Shake};
use rustls::version::TLS13;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Bytes as Octets, Message, WebSocket};

use super::authority::Authority;
use super::shard::Shard;
use super::{OPTIONS, PATIENCE};

const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\n\r\n";
const UPGRADE: &[u8] = b"GET /sip HTTP/1.1\r\nHost: refork\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n";

/// Opens a WebSocket from a thread of its own, does something with it, and gives it back.
fn browser<S: Read + Write + Send + 'static, T: Send + 'static>(
    stream: impl FnOnce() -> S + Send + 'static,
    act: impl FnOnce(&mut WebSocket<S>) -> T + Send + 'static,
) -> std::thread::JoinHandle<(WebSocket<S>, T)> {
    std::thread::spawn(move || {
        let mut request = "ws://refork/sip".into_client_request().unwrap();
        let sip = HeaderValue::from_static("sip");
        request.headers_mut().insert("Sec-WebSocket-Protocol", sip);
        let (mut socket, response) = tungstenite::client(request, stream()).ok().unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
        let done = act(&mut socket);
        (socket, done)
    })
}

fn plain(shard: &Shard) -> impl FnOnce() -> TcpStream + Send + 'static {
    let at = shard.at;
    move || {
        let socket = TcpStream::connect(at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }
}

#[test]
fn one_message_a_frame_both_ways() {
    let mut shard = Shard::over(Transport::Ws, None, 10, 10);
    let phone = browser(plain(&shard), |socket| {
        // RFC 7118 5: a length is not needed.
        socket
            .send(Message::text("OPTIONS sip:a@b SIP/2.0\r\n\r\nbody"))
            .unwrap();
        let text = socket.read().unwrap();
        socket.send(Message::binary(OPTIONS)).unwrap();
        (text, socket.read().unwrap())
    });
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(
        &*shard.messages[0].1,
        b"OPTIONS sip:a@b SIP/2.0\r\n\r\nbody"
    );
    shard.answer(ANSWER);
    shard.until(|shard| shard.messages.len() == 2);
    assert_eq!(shard.messages[1].1, OPTIONS);
    shard.answer(b"SIP/2.0 200 \xff\r\n\r\n");
    let (mut socket, (text, binary)) = phone.join().unwrap();
    assert_eq!(text, Message::text("SIP/2.0 200 OK\r\n\r\n"));
    assert_eq!(binary, Message::binary(&b"SIP/2.0 200 \xff\r\n\r\n"[..]));
    let flow = shard.messages[0].0;
    assert_eq!(flow.transport, Transport::Ws);
    assert_eq!(shard.registry.find(Transport::Ws, flow.peer), Some(flow));
    // A farewell is answered, and the server closes first (RFC 6455 7.1.1).
    socket.close(None).unwrap();
    shard.until(|shard| shard.closed.len() == 1);
    assert_eq!(shard.faults, [Fault::Ended]);
    loop {
        match socket.read() {
            Ok(Message::Close(_)) => {}
            Ok(other) => panic!("{other}"),
            Err(tungstenite::Error::ConnectionClosed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(shard.open(), 0);
}

#[test]
fn pings_of_both_kinds_are_answered() {
    let mut shard = Shard::over(Transport::Ws, None, 10, 10);
    let phone = browser(plain(&shard), |socket| {
        socket
            .send(Message::Ping(Octets::from_static(b"?")))
            .unwrap();
        let pong = socket.read().unwrap();
        socket.send(Message::text("\r\n\r\n")).unwrap();
        let crlf = socket.read().unwrap();
        socket.send(Message::text("\r\n")).unwrap();
        socket.send(Message::binary(OPTIONS)).unwrap();
        (pong, crlf)
    });
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(shard.messages[0].1, OPTIONS, "keep-alives are no messages");
    let (_socket, (pong, crlf)) = phone.join().unwrap();
    assert_eq!(pong, Message::Pong(Octets::from_static(b"?")));
    assert_eq!(crlf, Message::text("\r\n"));
}

#[test]
fn browsers_speak_under_tls() {
    let authority = Authority::new();
    let tls = authority.listener(&["refork"]);
    let mut shard = Shard::over(Transport::Wss, Some(tls), 10, 10);
    let (config, socket) = (authority.client(None, &[&TLS13]), plain(&shard));
    let secured = move || {
        let name = "refork".try_into().unwrap();
        let session = rustls::ClientConnection::new(config, name).unwrap();
        rustls::StreamOwned::new(session, socket())
    };
    let phone = browser(secured, |socket| {
        socket
            .send(Message::text("OPTIONS sip:a@b SIP/2.0\r\n\r\n"))
            .unwrap();
        socket.read().unwrap()
    });
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(shard.messages[0].0.transport, Transport::Wss);
    shard.answer(ANSWER);
    let (_socket, answer) = phone.join().unwrap();
    assert_eq!(answer, Message::text("SIP/2.0 200 OK\r\n\r\n"));
}

#[test]
fn who_asks_for_no_sip_is_told_what_would_be_right() {
    let upgrade = std::str::from_utf8(UPGRADE).unwrap();
    for request in [
        "GET / HTTP/1.1\r\nHost: refork\r\n\r\n".to_owned(),
        upgrade.replace("Sec-WebSocket-Protocol: sip\r\n", ""),
        upgrade.replace("Protocol: sip", "Protocol: chat, mqtt"),
        upgrade.replace("Version: 13", "Version: 8"),
        upgrade.replace("GET", "POST"),
        "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(17_000)),
    ] {
        let mut shard = Shard::over(Transport::Ws, None, 10, 10);
        let mut phone = shard.connect();
        phone.write_all(request.as_bytes()).unwrap();
        shard.until(|shard| shard.closed.len() == 1);
        assert_eq!(shard.failed(Shake::Upgrade), 1, "{request}");
        let mut answer = String::new();
        // What was not read resets the connection: the answer may be lost with it.
        let _ = phone.read_to_string(&mut answer);
        let told = answer.starts_with("HTTP/1.1 426 ") && answer.contains("Protocol: sip");
        assert!(told || request.len() > 17_000, "{request}: {answer}");
    }
}

#[test]
fn what_is_too_large_or_no_frame_closes() {
    let too_large = browser_bytes(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]);
    let unmasked = browser_bytes(&[0x82, 0x01, b'x']);
    let unknown = browser_bytes(&[0x83, 0x80, 0, 0, 0, 0]);
    for (bytes, fault) in [
        (too_large, Fault::Frame(FrameError::BodyTooLarge)),
        (unmasked, Fault::WebSocket),
        (unknown, Fault::WebSocket),
    ] {
        let mut shard = Shard::over(Transport::Ws, None, 10, 10);
        let mut phone = shard.connect();
        phone.write_all(&bytes).unwrap();
        shard.until(|shard| shard.closed.len() == 1);
        assert_eq!(shard.faults, [fault]);
        assert!(shard.messages.is_empty());
    }
}

#[test]
fn what_is_too_large_is_refused_and_the_socket_goes_on() {
    let mut shard = Shard::over(Transport::Ws, None, 10, 10);
    let phone = browser(plain(&shard), |socket| {
        let head = "MESSAGE sip:b@example.org SIP/2.0\r\n\
            Via: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\nFrom: <sip:a@example.org>;tag=1\r\n\
            To: <sip:b@example.org>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\n";
        let much = "x".repeat(100_000);
        for large in [
            format!("{head}\r\n{much}"),
            format!("{head}X: {much}\r\n\r\n"),
        ] {
            socket.send(Message::text(large)).unwrap();
        }
        let answers = [socket.read().unwrap(), socket.read().unwrap()];
        socket.send(Message::binary(OPTIONS)).unwrap();
        answers.map(|answer| answer.into_text().unwrap().to_string())
    });
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(shard.messages[0].1, OPTIONS);
    let (_socket, [body, head]) = phone.join().unwrap();
    assert!(body.starts_with("SIP/2.0 413 "), "{body}");
    assert!(head.starts_with("SIP/2.0 513 "), "{head}");
    assert_eq!((shard.too_large, shard.faults.len()), (2, 0));
}

fn browser_bytes(frames: &[u8]) -> Vec<u8> {
    [UPGRADE, frames].concat()
}

#[test]
fn an_upgrade_and_a_frame_take_no_longer_than_a_header() {
    let mut shard = Shard::over(Transport::Ws, None, 10, 10);
    let mut slow = shard.connect();
    slow.write_all(&UPGRADE[..20]).unwrap();
    assert!(shard.sweep_after(Millis(4_999)).is_empty());
    assert_eq!(shard.sweep_after(Millis(1)).len(), 1);
    assert_eq!(shard.failed(Shake::Timeout), 1);
    let mut slower = shard.connect();
    slower.write_all(UPGRADE).unwrap();
    let mut first = [0; 12];
    let peer = slower.local_addr().unwrap();
    shard.until(|shard| shard.registry.find(Transport::Ws, peer).is_some());
    slower.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 101");
    assert!(
        shard.sweep_after(Millis(5_000)).is_empty(),
        "nothing is begun"
    );
    // A frame of ten octets of which nine never come; an answered ping shows that it was read.
    slower.write_all(&[0x89, 0x80, 0, 0, 0, 0]).unwrap();
    shard.turn();
    slower.write_all(&[0x82, 0x8a, 0, 0, 0, 0, b'O']).unwrap();
    shard.turn();
    assert!(shard.sweep_after(Millis(4_999)).is_empty());
    assert_eq!(shard.sweep_after(Millis(1)).len(), 1);
    assert_eq!(shard.open(), 0);
}

#[test]
fn a_frame_is_whole_wherever_it_is_cut() {
    let mask = [1_u8, 2, 3, 4];
    let masked = |bytes: &[u8]| -> Vec<u8> {
        let of = |(at, byte): (usize, &u8)| byte ^ mask[at % 4];
        bytes.iter().enumerate().map(of).collect()
    };
    let mut stream = UPGRADE.to_vec();
    // In two fragments with a ping between them.
    let (first, last) = OPTIONS.split_at(20);
    for (head, part) in [(0x01, first), (0x89, b"?"), (0x80, last)] {
        stream.extend([head, 0x80 | part.len() as u8]);
        stream.extend(mask);
        stream.extend(masked(part));
    }
    let mut shard = Shard::over(Transport::Ws, None, 10, 10);
    let mut phone = shard.connect();
    for byte in &stream {
        phone.write_all(&[*byte]).unwrap();
        shard.turn();
    }
    shard.until(|shard| shard.messages.len() == 1);
    assert_eq!(shard.messages[0].1, OPTIONS);
}

#[test]
fn a_browser_that_does_not_read_keeps_nobody_else_waiting() {
    let mut shard = Shard::over(Transport::Ws, None, 10, 10);
    let mut pair = [shard.connect(), shard.connect()];
    for browser in &mut pair {
        browser.write_all(UPGRADE).unwrap();
        let peer = browser.local_addr().unwrap();
        shard.until(|shard| shard.registry.find(Transport::Ws, peer).is_some());
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            browser.read_exact(&mut octet).unwrap();
            head.push(octet[0]);
        }
    }
    let [deaf, mut other] = pair;
    // RFC 6455 5.2: one whole frame of text, without a mask.
    let framed = [&[0x81, OPTIONS.len() as u8][..], OPTIONS].concat();
    super::hears_meanwhile(&mut shard, Transport::Ws, &deaf, &mut other, &framed);
}
