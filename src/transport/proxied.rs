//! Who a connection is really from, where a proxy stands before us: the PROXY protocol's header ahead of all
//! else, versions 1 and 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first 12 octets of version 2; no text and no TLS begins so.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// Of version 2 with what proxies add to it: checksums, names, what they know of TLS.
const HEADER_MAX: usize = 4096;
/// Of version 1, with its line end.
const LINE_MAX: usize = 107;

/// Whom a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Client(SocketAddr),
    /// The proxy speaks for itself, as in a health check, or does not know.
    Proxy,
}

/// What came is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoHeader;

/// Reads the header at the beginning of a connection. Returns whom it names and its length, once it is whole.
pub(super) fn header(bytes: &[u8]) -> Result<Option<(Named, usize)>, NoHeader> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes[..begun] == SIGNATURE[..begun] {
        binary(bytes)
    } else {
        text(bytes)
    }
}

fn binary(bytes: &[u8]) -> Result<Option<(Named, usize)>, NoHeader> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., kind, family, high, low] = *fixed;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if kind >> 4 != 2 || FIXED + len > HEADER_MAX {
        return Err(NoHeader);
    }
    let Some(rest) = bytes.get(FIXED..FIXED + len) else {
        return Ok(None);
    };
    let named = match (kind & 0xf, family) {
        (0, _) => Named::Proxy,
        // TCP: both addresses, then both ports.
        (1, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *rest.first_chunk().ok_or(NoHeader)?;
            let port = u16::from_be_bytes([high, low]);
            Named::Client(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port))
        }
        (1, 0x21) => {
            let whole = rest.first_chunk::<36>().ok_or(NoHeader)?;
            let (ip, ports) = whole.split_first_chunk::<16>().ok_or(NoHeader)?;
            let [high, low] = [ports[16], ports[17]];
            let port = u16::from_be_bytes([high, low]);
            Named::Client(SocketAddr::new(Ipv6Addr::from(*ip).into(), port))
        }
        // Unspecified, a datagram, or a UNIX socket: nobody who could come by TCP.
        (1, _) => Named::Proxy,
        _ => return Err(NoHeader),
    };
    Ok(Some((named, FIXED + len)))
}

fn text(bytes: &[u8]) -> Result<Option<(Named, usize)>, NoHeader> {
    const WORD: &[u8] = b"PROXY ";
    let begun = bytes.len().min(WORD.len());
    if bytes[..begun] != WORD[..begun] {
        return Err(NoHeader);
    }
    let within = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = memchr::memmem::find(within, b"\r\n") else {
        return if bytes.len() < LINE_MAX {
            Ok(None)
        } else {
            Err(NoHeader)
        };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| NoHeader)?;
    let words: Vec<&str> = line.split(' ').collect();
    let named = match *words {
        [_, "UNKNOWN", ..] => Named::Proxy,
        [_, family @ ("TCP4" | "TCP6"), from, to, port, to_port] => {
            let ip = |text: &str| -> Result<IpAddr, NoHeader> {
                let ip: IpAddr = text.parse().map_err(|_| NoHeader)?;
                (ip.is_ipv4() == (family == "TCP4"))
                    .then_some(ip)
                    .ok_or(NoHeader)
            };
            let number = |text: &str| text.parse::<u16>().map_err(|_| NoHeader);
            ip(to)?;
            number(to_port)?;
            Named::Client(SocketAddr::new(ip(from)?, number(port)?))
        }
        _ => return Err(NoHeader),
    };
    Ok(Some((named, end + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Named {
        Named::Client(text.parse().unwrap())
    }

    fn v2(kind: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([kind, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const V4: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x13, 0xc4];

    fn v6() -> Vec<u8> {
        let mut rest = Vec::new();
        for address in ["2001:db8::7", "2001:db8::1"] {
            rest.extend(address.parse::<Ipv6Addr>().unwrap().octets());
        }
        rest.extend([0x9c, 0x40, 0x13, 0xc4]);
        rest
    }

    #[test]
    fn headers_of_both_versions_name_the_client_wherever_they_are_cut() {
        let more = [V4, &[0x04, 0, 1, 0]].concat();
        let line = |text: &str| format!("{text}\r\n").into_bytes();
        for (bytes, named) in [
            (v2(0x21, 0x11, V4), client("192.0.2.7:40000")),
            (v2(0x21, 0x11, &more), client("192.0.2.7:40000")),
            (v2(0x21, 0x21, &v6()), client("[2001:db8::7]:40000")),
            (v2(0x20, 0x00, &[]), Named::Proxy),
            (v2(0x20, 0x11, V4), Named::Proxy),
            (v2(0x21, 0x00, &[]), Named::Proxy),
            (v2(0x21, 0x31, &[0; 216]), Named::Proxy),
            (
                line("PROXY TCP4 192.0.2.7 10.0.0.1 40000 5060"),
                client("192.0.2.7:40000"),
            ),
            (
                line("PROXY TCP6 2001:db8::7 2001:db8::1 40000 5060"),
                client("[2001:db8::7]:40000"),
            ),
            (line("PROXY UNKNOWN"), Named::Proxy),
            (line("PROXY UNKNOWN a b c d"), Named::Proxy),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(header(&bytes[..cut]), Ok(None), "{named:?} cut at {cut}");
            }
            let len = bytes.len();
            assert_eq!(header(&bytes), Ok(Some((named, len))));
            let followed = [&bytes[..], b"\r\n\r\nINVITE"].concat();
            assert_eq!(header(&followed), Ok(Some((named, len))));
        }
    }

    #[test]
    fn nothing_else_is_a_header() {
        let long = format!("PROXY UNKNOWN {}", "x".repeat(LINE_MAX));
        for bytes in [
            &b"INVITE sip:a@b SIP/2.0\r\n"[..],
            b"\r\n\r\nO",
            b"\x16\x03\x01",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 5060\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 70000\r\n",
            b"PROXY TCP4 192.0.2.7  10.0.0.1 40000 5060\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 40000 5060\r\n",
            b"PROXY \xff\xff\r\n",
            long.as_bytes(),
            &v2(0x11, 0x11, V4),
            &v2(0x22, 0x11, V4),
            &v2(0x21, 0x11, &V4[..11]),
            &v2(0x21, 0x21, &v6()[..35]),
            &v2(0x21, 0x11, &[0; HEADER_MAX]),
        ] {
            assert_eq!(header(bytes), Err(NoHeader), "{bytes:?}");
        }
    }
}
