//! Who asks for a WebSocket through a proxy: by X-Forwarded-For, or by Forwarded (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use tungstenite::http::HeaderMap;

use crate::config::ForwardedBy;
use crate::engine::network::Network;

const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const FORWARDED: &str = "Forwarded";

/// Returns the client: of the hops that the header names, the nearest that is none of our proxies. What stands
/// before it anybody may have written, and anything; it is not read. None where the header names nobody, or
/// what our proxies have written cannot be read.
pub(super) fn client(headers: &HeaderMap, by: ForwardedBy, proxies: &[Network]) -> Option<IpAddr> {
    let name = match by {
        ForwardedBy::XForwardedFor => X_FORWARDED_FOR,
        ForwardedBy::Forwarded => FORWARDED,
    };
    let values = headers.get_all(name).iter().rev();
    let hops = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    let mut nearest = None;
    for hop in hops {
        let hop = std::str::from_utf8(hop).ok()?;
        let hop = match by {
            ForwardedBy::XForwardedFor => hop,
            ForwardedBy::Forwarded => of_element(hop)?,
        };
        let ip = address(hop.trim())?.to_canonical();
        nearest = Some(ip);
        if !proxies.iter().any(|proxy| proxy.holds(ip)) {
            break;
        }
    }
    nearest
}

/// RFC 7239 4: `for=192.0.2.43;proto=https`, in quotation marks where there is a colon in it.
fn of_element(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let value = value.trim();
    let bare = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some(bare.unwrap_or(value))
}

/// An address with or without a port; an IPv6 one with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse().ok();
    ip.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(by: ForwardedBy, lines: &[&[u8]]) -> Option<String> {
        let name = match by {
            ForwardedBy::XForwardedFor => X_FORWARDED_FOR,
            ForwardedBy::Forwarded => FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            let name: tungstenite::http::HeaderName = name.parse().unwrap();
            let value = tungstenite::http::HeaderValue::from_bytes(line).unwrap();
            headers.append(name, value);
        }
        let proxies = [
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8:f::/48".parse().unwrap(),
        ];
        client(&headers, by, &proxies).map(|ip| ip.to_string())
    }

    #[test]
    fn the_nearest_hop_that_is_no_proxy_is_the_client() {
        for (lines, client) in [
            (&["192.0.2.7"][..], Some("192.0.2.7")),
            (&["::ffff:192.0.2.7"], Some("192.0.2.7")),
            (&["[2001:db8::7]"], Some("2001:db8::7")),
            (&["192.0.2.7:40000"], Some("192.0.2.7")),
            (&["[2001:db8::7]:40000"], Some("2001:db8::7")),
            // Whatever the client has claimed stands before what the proxies add.
            (&["198.51.100.1, 192.0.2.7, 10.0.0.2"], Some("192.0.2.7")),
            (
                &["198.51.100.1", "192.0.2.7", "10.0.0.2,10.0.0.3"],
                Some("192.0.2.7"),
            ),
            (&["nonsense, 192.0.2.7"], Some("192.0.2.7")),
            (&["192.0.2.7, nonsense"], None),
            (&["192.0.2.7, "], None),
            (&["10.1.1.1, 10.0.0.2"], Some("10.1.1.1")),
            (&[], None),
            (&[""], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            let found = found(ForwardedBy::XForwardedFor, &lines);
            assert_eq!(found.as_deref(), client, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_well() {
        for (lines, client) in [
            (&["for=192.0.2.7"][..], Some("192.0.2.7")),
            (
                &["proto=https;For=\"[2001:db8::7]:4711\";by=10.0.0.1"],
                Some("2001:db8::7"),
            ),
            (
                &[
                    "for=198.51.100.1, for=192.0.2.7;proto=https",
                    "for=10.0.0.2",
                ],
                Some("192.0.2.7"),
            ),
            (&["for=_hidden"], None),
            (&["for=unknown, for=10.0.0.2"], None),
            (&["proto=https"], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            let found = found(ForwardedBy::Forwarded, &lines);
            assert_eq!(found.as_deref(), client, "{lines:?}");
        }
    }

    #[test]
    fn what_the_client_has_written_is_not_read() {
        for (by, lines, client) in [
            (
                ForwardedBy::XForwardedFor,
                &[&b"\xff, 192.0.2.7"[..]][..],
                Some("192.0.2.7"),
            ),
            (
                ForwardedBy::XForwardedFor,
                &[b"\xe9", b"nonsense", b"192.0.2.7", b"10.0.0.2"],
                Some("192.0.2.7"),
            ),
            (
                ForwardedBy::XForwardedFor,
                &[b"unknown,,192.0.2.7, 10.0.0.2"],
                Some("192.0.2.7"),
            ),
            (
                ForwardedBy::Forwarded,
                &[b"for=\"\xff", b"for=192.0.2.7"],
                Some("192.0.2.7"),
            ),
            // Nobody but the client may have written these.
            (ForwardedBy::XForwardedFor, &[b"\xff"], None),
            (ForwardedBy::XForwardedFor, &[b"\xff, 10.0.0.2"], None),
            (ForwardedBy::XForwardedFor, &[b"192.0.2.7", b"\xff"], None),
            (ForwardedBy::Forwarded, &[b"for=\xff"], None),
        ] {
            assert_eq!(found(by, lines).as_deref(), client, "{lines:?}");
        }
    }
}
