//! What a newcomer runs first: `refork demo`.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// It takes some seconds; other tests may keep the machine busy meanwhile.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the page must show, by the beginnings of its points.
const POINTS: [&str; 21] = [
    // The call.
    "Both phones of Bob rang; the mobile fell silent when the desk phone was answered",
    "Alice and Bob's desk phone heard each other",
    "Bob's mobile rang ",
    "Alice was told in a MESSAGE: \"Bob is continuing on Bob's mobile.\"",
    "Alice and Bob's mobile heard each other",
    "Alice's phone noticed nothing: no BYE, no re-INVITE",
    "RTP to Alice went on",
    "Its packets carry 1 SSRC",
    "Its timestamps advanced by the time that passed",
    "Its marker is set where the mobile's voice begins",
    "Bob hung up on his mobile, and Alice's phone got its BYE",
    "There was one notice, not two",
    "Nothing is left ringing, and no call is left on any phone",
    // The session.
    "Alice and Bob's desk phone exchanged messages",
    "Each was taken in Bob's absence: [202, 202, 202]",
    "They arrived at Bob's mobile in order, once each: one, two, three",
    "Then Alice was told in a MESSAGE: \"Bob is continuing on Bob's mobile.\"",
    "Bob's reply reached her within the same session",
    "Alice's phone noticed nothing: no BYE, no re-INVITE",
    "Alice closed the session, and Bob's mobile got the BYE",
    "Nothing is left ringing, and no call is left on any phone",
];

#[test]
fn the_demo_shows_what_it_promises() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_refork"))
        .arg("demo")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = demo.stdout.take().unwrap();
    let (sender, printed) = channel();
    thread::spawn(move || {
        let mut page = String::new();
        let read = pipe.read_to_string(&mut page);
        let _ = sender.send(read.map(|_| page));
    });
    let Ok(page) = printed.recv_timeout(DEADLINE) else {
        demo.kill().unwrap();
        demo.wait().unwrap();
        panic!("not done in {DEADLINE:?}");
    };
    let page = page.unwrap();
    let status = demo.wait().unwrap();
    assert!(status.success(), "{status}\n{page}");
    let mut seen = page.lines().filter_map(|line| line.strip_prefix("  ✓ "));
    for point in POINTS {
        assert!(
            seen.any(|line| line.starts_with(point)),
            "{point:?} is not among the points, or not in its place\n{page}"
        );
    }
    assert!(!page.contains('✗'), "{page}");
    assert!(
        page.contains("points were observed by the phones"),
        "{page}"
    );
}
