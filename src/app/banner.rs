//! What a person who has just started the server wants to know.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::MadeUser;
use crate::transport::{Bound, toward};

/// RFC 5737: an address beyond every router, to learn which of ours leads out.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The same of RFC 3849.
const OUTSIDE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Writes where to point a phone, with which user, and where the metrics are.
pub(super) fn banner(listeners: &[Bound], admin: SocketAddr, users: &[MadeUser]) -> String {
    let mut text = String::from("\nRefork is running. Point a SIP phone at\n");
    for bound in listeners {
        let transport = bound.listener.transport.param();
        for address in reachable(bound) {
            let (is_web, note) = (
                bound.listener.transport.is_web_socket(),
                note(bound, address),
            );
            let _ = if is_web {
                writeln!(text, "  {transport}://{address} (a browser){note}")
            } else {
                writeln!(text, "  sip:{address};transport={transport}{note}")
            };
        }
    }
    if !users.is_empty() {
        text.push_str("as one of these users, made by the first start and kept since\n");
        for MadeUser { aor, password } in users {
            let _ = writeln!(text, "  {aor}  password {password}");
        }
    }
    let _ = writeln!(text, "Metrics:       http://{admin}/metrics");
    let _ = writeln!(text, "Conversations: http://{admin}/api/v1/conversations");
    text.push('\n');
    text
}

/// Returns what a person has to know of an address that not every phone reaches.
fn note(bound: &Bound, address: SocketAddr) -> &'static str {
    if bound.listener.proxies.is_some() {
        " (by its proxies alone)"
    } else if address.ip().is_loopback() {
        " (from this machine alone)"
    } else {
        ""
    }
}

/// Returns the addresses that a phone can be given for a listener.
fn reachable(bound: &Bound) -> Vec<SocketAddr> {
    if let Some(told) = bound.listener.advertise {
        return vec![told];
    }
    if !bound.at.ip().is_unspecified() {
        return vec![bound.at];
    }
    let (outside, loopback) = match bound.at.ip() {
        IpAddr::V4(_) => (OUTSIDE, IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(_) => (OUTSIDE_V6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
    };
    let out = toward(outside).filter(|ip| !ip.is_loopback());
    let ips = out.into_iter().chain([loopback]);
    ips.map(|ip| SocketAddr::new(ip, bound.at.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listener;
    use crate::engine::ids::Transport;

    #[test]
    fn says_all_that_a_phone_needs() {
        let at = "127.0.0.1:5060".parse().unwrap();
        let bound = Bound {
            listener: Listener::new(Transport::Tcp, at),
            at,
            receive_buffer: None,
        };
        let user = MadeUser {
            aor: "sip:alice@localhost".to_owned(),
            password: "s3cret".to_owned(),
        };
        let text = banner(&[bound], "127.0.0.1:8080".parse().unwrap(), &[user]);
        for part in [
            "sip:127.0.0.1:5060;transport=tcp (from this machine alone)",
            "sip:alice@localhost  password s3cret",
            "http://127.0.0.1:8080/metrics",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn all_addresses_means_loopback_too() {
        let at = "0.0.0.0:5070".parse().unwrap();
        let bound = Bound {
            listener: Listener::new(Transport::Udp, at),
            at,
            receive_buffer: None,
        };
        assert!(reachable(&bound).contains(&"127.0.0.1:5070".parse().unwrap()));
    }

    #[test]
    fn nobody_is_pointed_to_what_is_no_address() {
        let at: SocketAddr = "[::]:5070".parse().unwrap();
        let bound = Bound {
            listener: Listener::new(Transport::Udp, at),
            at,
            receive_buffer: None,
        };
        let told = reachable(&bound);
        assert!(told.contains(&"[::1]:5070".parse().unwrap()));
        assert!(!told.contains(&at));
    }
}
