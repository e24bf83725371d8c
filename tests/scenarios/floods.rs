//! Calls and texts that nobody answers, in great number: good ones have their ports and their place all the same.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use refork::sip::Message;
use refork::ua::{Ending, Medium, Transport};

use crate::stage::{LATER, SOON, Stage, answers, connect, hang_up, rings, talk};

const PAIRS: u16 = 40;
/// What is not answered by then is not answered.
const SILENCE: Duration = Duration::from_millis(500);
/// Believed in what it says of who calls.
const TRUNK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 99);

/// Returns the first of a row of ports that are free, an even one.
fn free_ports() -> u16 {
    let row = (0..100).find_map(|_| {
        let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let from = probe.local_addr().unwrap().port() & !1;
        drop(probe);
        let end = from.checked_add(2 * PAIRS)?;
        let sockets: Result<Vec<_>, _> = (from..end)
            .map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)))
            .collect();
        sockets.ok().map(|_| from)
    });
    row.expect("free ports in a row")
}

fn narrow() -> Stage {
    let from = free_ports();
    Stage::with(|config| {
        config.media.ports = from..=from + 2 * PAIRS - 1;
        config.engine.limits.ringing_per_ip = 5;
        config.engine.limits.ringing_per_called = 1000;
        config.engine.acl.trusted = vec![format!("{TRUNK}").parse().unwrap()];
    })
}

/// Calls Carol again and again, and never hears of it.
struct Caller {
    socket: UdpSocket,
    server: SocketAddr,
    from: &'static str,
    calls: usize,
}

impl Caller {
    fn at(ip: Ipv4Addr, from: &'static str, stage: &Stage) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        Self {
            socket,
            server: stage.sip(Transport::Udp, false),
            from,
            calls: 0,
        }
    }

    fn send(&self, method: &str, number: usize, body: &str) {
        let at = self.socket.local_addr().unwrap();
        let kind = match (method, body) {
            (_, "") => "",
            ("MESSAGE", _) => "Content-Type: text/plain\r\n",
            (_, _) => "Content-Type: application/sdp\r\n",
        };
        let text = format!(
            "{method} sip:carol@example.org SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};branch=z9hG4bKf{number};rport\r\n\
             From: <{}>;tag=f{number}\r\nTo: <sip:carol@example.org>\r\n\
             Call-ID: {number}-{at}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:f@{at}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.from,
            body.len()
        );
        self.socket.send_to(text.as_bytes(), self.server).unwrap();
    }

    /// Calls so many times. Returns the final answers that come at once.
    fn flood(&mut self, calls: usize) -> Vec<u16> {
        for _ in 0..calls {
            self.calls += 1;
            let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                        m=audio 4000 RTP/AVP 0\r\n";
            self.send("INVITE", self.calls, body);
        }
        self.refusals(calls)
    }

    /// Returns the final answers that come at once, of so many requests.
    fn refusals(&mut self, requests: usize) -> Vec<u16> {
        let mut buffer = [0; 65536];
        let mut refused = std::collections::BTreeMap::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let heard = Message::parse(buffer[..length].to_vec().into()).unwrap();
            if heard.status() >= 300 {
                refused.insert(heard.call_id().to_owned(), heard.status());
            }
            if refused.len() == requests {
                break;
            }
        }
        refused.into_values().collect()
    }

    fn gives_up(&self) {
        for number in 1..=self.calls {
            self.send("CANCEL", number, "");
        }
    }
}

#[test]
fn calls_that_nobody_answers_leave_ports_to_good_calls_and_restorations() {
    let stage = narrow();
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    let carol = stage.phone("carol");
    rings(&carol);
    let mut strangers: Vec<Caller> = (1..=8)
        .map(|n| Caller::at(Ipv4Addr::new(127, 0, 1, n), "sip:x@elsewhere.test", &stage))
        .collect();
    let refused: Vec<u16> = strangers
        .iter_mut()
        .flat_map(|stranger| stranger.flood(8))
        .collect();
    let count = |status| refused.iter().filter(|seen| **seen == status).count();
    // Each had its five; then there were no ports for strangers.
    assert!(count(480) >= 3, "{refused:?}");
    assert!(count(500) >= 10, "{refused:?}");
    assert!(stage.metric("refork_calls_crowded_total{of=\"address\"}") >= 3.0);
    assert!(stage.metric("refork_relay_ports_refused_total{claim=\"stranger\"}") >= 10.0);

    let kitchen = stage.phone("alice-kitchen");
    let (good, heard) = connect(&carol, &kitchen, Medium::Audio);
    talk(&good, &heard);

    // Whoever is trusted may take more, and still not all.
    let mut trunk = Caller::at(TRUNK, "sip:x@elsewhere.test", &stage);
    let refused = trunk.flood(20);
    assert!(!refused.is_empty() && refused.iter().all(|status| *status == 500));
    let known = "refork_relay_ports_refused_total{claim=\"known\"}";
    assert!(stage.metric(known) > 0.0);

    let mobile = stage.mobile();
    answers(&mobile);
    desk.kill();
    let again = mobile.incoming(LATER).unwrap();
    again.wait_up(SOON).unwrap();
    talk(&call, &again);
    let standing = "refork_relay_ports_refused_total{claim=\"standing\"}";
    assert_eq!(stage.metric(standing), 0.0);

    for caller in strangers.iter().chain([&trunk]) {
        caller.gives_up();
    }
    hang_up(&good, &heard);
    hang_up(&call, &again);
    stage.finish();
}

#[test]
fn texts_that_nobody_answers_are_few_and_leave_room_for_others() {
    let stage = Stage::with(|config| {
        config.engine.limits.texts_per_unproven_ip = 5;
        config.engine.limits.texts_per_called = 8;
        config.engine.acl.trusted = vec![format!("{TRUNK}").parse().unwrap()];
    });
    let (alice, desk) = (stage.phone("alice"), stage.desk());
    let carol = stage.phone("carol");
    // It hears them all, and says nothing.
    carol.freeze();
    let text = "x".repeat(1000);
    let mut strangers: Vec<Caller> = (1..=3)
        .map(|n| Caller::at(Ipv4Addr::new(127, 0, 2, n), "sip:x@elsewhere.test", &stage))
        .collect();
    let mut refused = Vec::new();
    for stranger in &mut strangers {
        for number in 0..20 {
            stranger.send("MESSAGE", number, &text);
        }
        refused.push(stranger.refusals(20).iter().filter(|s| **s == 480).count());
    }
    // Five of the first, three of the next, none of the last: eight to one user.
    assert!(
        refused[0] >= 15 && refused[1] >= 12 && refused[2] >= 12,
        "{refused:?}"
    );
    assert!(stage.metric("refork_requests_crowded_total{of=\"address\"}") >= 15.0);
    assert!(stage.metric("refork_requests_crowded_total{of=\"called\"}") >= 12.0);
    assert!(stage.metric("refork_requests_under_way_bytes") > 0.0);
    let mut trunk = Caller::at(TRUNK, "sip:x@elsewhere.test", &stage);
    for number in 0..20 {
        trunk.send("MESSAGE", number, &text);
    }
    assert!(
        trunk.refusals(1).is_empty(),
        "whoever is trusted has no such limit"
    );
    let (call, taken) = connect(&alice, &desk, Medium::Audio);
    talk(&call, &taken);
    hang_up(&call, &taken);
    stage.wait_metric("refork_requests_under_way_bytes", 0.0);
}

#[test]
fn as_many_conversations_stand_as_may_whichever_workers_have_them() {
    const MAX: usize = 3;
    let stage = Stage::with(|config| config.engine.limits.conversations = MAX);
    let (alice, bob) = (stage.phone("alice"), stage.phone("bob"));
    // Call-IDs fall to the two workers by chance: never all to one, in so many rounds.
    for _ in 0..8 {
        let mut calls: Vec<_> = (0..MAX)
            .map(|_| connect(&alice, &bob, Medium::Audio))
            .collect();
        for _ in 0..2 {
            let more = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
            assert_eq!(more.wait_over(SOON).unwrap(), Ending::Refused(503));
        }
        for (call, taken) in calls.drain(..) {
            hang_up(&call, &taken);
        }
        stage.wait_metric("refork_legs", 0.0);
    }
    stage.finish();
}
