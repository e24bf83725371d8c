//! The metrics as an operator gets them: by HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What must be zero when the last conversation is over and the last phone has gone.
const GAUGES: [&str; 9] = [
    "refork_conversations{",
    "refork_legs ",
    "refork_transactions{",
    "refork_messages_waiting ",
    "refork_message_bytes_waiting ",
    "refork_relay_sessions ",
    "refork_relay_ports{state=\"used\"}",
    "refork_bindings ",
    "refork_timers ",
];

/// Returns the samples of a scrape, by name with labels.
pub(crate) fn scrape(admin: SocketAddr) -> Vec<(String, f64)> {
    ask(admin, "GET", "/metrics")
        .lines()
        .filter(|line| line.starts_with("refork_"))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Asks the admin interface for what it does not refuse.
pub(crate) fn ask(admin: SocketAddr, method: &str, path: &str) -> String {
    let mut socket = TcpStream::connect_timeout(&admin, Duration::from_secs(2)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 20"), "{text}");
    text
}

/// Returns the gauges that are not zero yet.
pub(crate) fn left_over(admin: SocketAddr) -> Vec<(String, f64)> {
    let samples = scrape(admin);
    for gauge in GAUGES {
        let there = samples
            .iter()
            .any(|(name, _)| format!("{name} ").starts_with(gauge));
        assert!(there, "no gauge {gauge}");
    }
    samples
        .into_iter()
        .filter(|(name, value)| {
            let name = format!("{name} ");
            *value != 0.0 && GAUGES.iter().any(|gauge| name.starts_with(gauge))
        })
        .collect()
}
